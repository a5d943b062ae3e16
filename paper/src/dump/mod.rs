//! One step of a search or a training as a file, for programs of other people that check it: named tensors, and JSON beside them.
//!
//! The file is in the format of safetensors. What is not a tensor is JSON, in the metadata under `advnas`. Here is how such a file is
//! written; what is in that of an experiment, in a file of its own.

pub mod cifar10;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use advantage_nas::OpTable;
use ndarray::{ArrayView, Dimension};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::run::files;
use crate::tensor::Number;

/// The key of the JSON in the metadata.
const NOTES: &str = "advnas";

/// Named tensors and notes.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    tensors: BTreeMap<String, Tensor>,
    notes: Map<String, Value>,
}

#[derive(Clone, Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Dump {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an array: numbers in single or double precision, or whole numbers, such as tokens and labels.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn array<T: Number, D: Dimension>(&mut self, name: impl Into<String>, array: ArrayView<'_, T, D>) {
        let mut bytes = Vec::new();
        array.iter().for_each(|number| number.write(&mut bytes));
        self.add(name.into(), T::DTYPE, array.shape(), array.len(), bytes.into_iter());
    }

    /// Adds numbers in single precision, the last dimension of `shape` fastest.
    ///
    /// # Panics
    /// If the shape has another number of values, or the name is taken; so do the others.
    pub fn f32(&mut self, name: impl Into<String>, shape: &[usize], values: &[f32]) {
        self.add(name.into(), Dtype::F32, shape, values.len(), values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds numbers in double precision.
    ///
    /// # Panics
    /// As [`Dump::f32`].
    pub fn f64(&mut self, name: impl Into<String>, shape: &[usize], values: &[f64]) {
        self.add(name.into(), Dtype::F64, shape, values.len(), values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds whole numbers, such as tokens and labels.
    ///
    /// # Panics
    /// As [`Dump::f32`].
    pub fn i64(&mut self, name: impl Into<String>, shape: &[usize], values: &[i64]) {
        self.add(name.into(), Dtype::I64, shape, values.len(), values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Adds a table of the search space in double precision, `[edges, candidates]`.
    ///
    /// # Panics
    /// As [`Dump::f32`], and if the edges don't have the same number of candidates.
    pub fn table(&mut self, name: impl Into<String>, table: &OpTable<f64>) {
        let (edges, candidates) = (table.shape().edges(), table.shape().candidates(0));
        self.f64(name, &[edges, candidates], table.values());
    }

    /// Adds a note.
    ///
    /// # Panics
    /// If it has no form in JSON, or the key is taken.
    pub fn note(&mut self, key: impl Into<String>, value: impl Serialize) {
        let value = serde_json::to_value(value).expect("notes are plain data");
        let key = key.into();
        assert!(self.notes.insert(key.clone(), value).is_none(), "two notes {key:?}");
    }

    /// Writes the file as a whole or not at all, over what is there.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let name = path.file_name().ok_or_else(|| Error::Usage(format!("{} is not a file", path.display())))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        files::replace(folder, &name.to_string_lossy(), &self.encode(path)?)
    }

    fn encode(&self, path: &Path) -> Result<Vec<u8>> {
        let views = self
            .tensors
            .iter()
            .map(|(name, Tensor { dtype, shape, bytes })| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let notes = Value::Object(self.notes.clone()).to_string();
        let metadata = HashMap::from([(NOTES.to_owned(), notes)]);
        views
            .and_then(|views| safetensors::serialize(views, Some(metadata)))
            .map_err(|error| Error::damaged(path, error))
    }

    fn add(&mut self, name: String, dtype: Dtype, shape: &[usize], count: usize, bytes: impl Iterator<Item = u8>) {
        assert_eq!(shape.iter().product::<usize>(), count, "values of {name:?}, {shape:?}");
        let tensor = Tensor { dtype, shape: shape.to_vec(), bytes: bytes.collect() };
        assert!(self.tensors.insert(name.clone(), tensor).is_none(), "two tensors {name:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    #[test]
    fn what_is_dumped_can_be_read() {
        let mut dump = Dump::new();
        dump.f32("w", &[2, 1], &[1.5, -0.0]);
        dump.i64("batch/tokens", &[3], &[0, -1, 1 << 40]);
        dump.table("a", &OpTable::from_rows([vec![0.1, 0.2], vec![0.3, 0.4]]).unwrap());
        dump.note("loss", 0.1);
        dump.note("method", "darts");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step.safetensors");
        dump.write(&path).unwrap();
        dump.write(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);

        let bytes = std::fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensor = |name: &str| {
            let view = file.tensor(name).unwrap();
            (view.dtype(), view.shape().to_vec(), view.data().to_vec())
        };
        // IEEE 754 and two's complement, low byte first.
        assert_eq!(tensor("w"), (Dtype::F32, vec![2, 1], vec![0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80]));
        let (dtype, shape, data) = tensor("batch/tokens");
        assert_eq!((dtype, shape, &data[8..16], data[21]), (Dtype::I64, vec![3], &[0xff; 8][..], 1));
        assert_eq!(tensor("a").1, [2, 2]);
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let notes: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["advnas"]).unwrap();
        assert_eq!(notes, serde_json::json!({"loss": 0.1, "method": "darts"}));
    }

    #[test]
    fn places_that_take_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let message = Dump::new().write(&folder.path().join("none/x.safetensors")).unwrap_err().to_string();
        assert!(message.starts_with("can't write to ") && message.ends_with("none"), "{message}");
        assert!(Dump::new().write(Path::new("/")).unwrap_err().is_usage());
    }

    #[test]
    #[should_panic(expected = "values of \"w\"")]
    fn shapes_must_fit() {
        Dump::new().f32("w", &[2], &[1.0]);
    }
}
