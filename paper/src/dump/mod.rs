//! One step of a search or a training as a file, for programs of other people that check it: named tensors, and JSON beside them.
//!
//! The file is in the format of safetensors. What is not a tensor is JSON, in the metadata under `advnas`. Here is how such a file is
//! written; what is in that of an experiment, in a file of its own.

pub mod cifar10;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use advantage_nas::OpTable;
use ndarray::{ArrayView, Dimension, aview0};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::run::files;
use crate::tensor::{Number, Tensor};

/// The key of the JSON in the metadata.
const NOTES: &str = "advnas";

/// Named tensors and notes.
#[derive(Clone, Debug, Default)]
pub struct Dump {
    tensors: BTreeMap<String, Tensor>,
    notes: Map<String, Value>,
}

impl Dump {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an array, or a slice as a vector: numbers in single or double precision, or whole numbers, such as tokens and labels.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn array<'a, T: Number + 'a, D: Dimension>(
        &mut self,
        name: impl Into<String>,
        array: impl Into<ArrayView<'a, T, D>>,
    ) {
        let (name, tensor) = (name.into(), Tensor::new(array.into()));
        assert!(self.tensors.insert(name.clone(), tensor).is_none(), "two tensors {name:?}");
    }

    /// Adds a single number.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn number<T: Number>(&mut self, name: impl Into<String>, number: T) {
        self.array(name, aview0(&number));
    }

    /// Adds a table of the search space, `[edges, candidates]`.
    ///
    /// # Panics
    /// If the name is taken, and if the edges don't have the same number of candidates.
    pub fn table<T: Number>(&mut self, name: impl Into<String>, table: &OpTable<T>) {
        self.array(name, table.as_array().expect("edges with the same number of candidates"));
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
        let views = self.tensors.iter().map(|(name, tensor)| Ok((name, tensor.view()?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let notes = Value::Object(self.notes.clone()).to_string();
        let metadata = HashMap::from([(NOTES.to_owned(), notes)]);
        views
            .and_then(|views| safetensors::serialize(views, Some(metadata)))
            .map_err(|error| Error::damaged(path, error))
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;
    use safetensors::{Dtype, SafeTensors};

    use super::*;

    #[test]
    fn what_is_dumped_can_be_read() {
        let mut dump = Dump::new();
        dump.array("w", &array![[1.5f32], [-0.0]]);
        dump.array("batch/tokens", &[0, -1, 1i64 << 40]);
        dump.number("loss", 0.5);
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
        assert_eq!(tensor("loss"), (Dtype::F64, vec![], 0.5f64.to_le_bytes().to_vec()));
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
    #[should_panic(expected = "two tensors \"w\"")]
    fn names_are_given_once() {
        let mut dump = Dump::new();
        dump.number("w", 1.0);
        dump.number("w", 2.0);
    }

    #[test]
    #[should_panic(expected = "the same number of candidates")]
    fn tables_are_matrices() {
        Dump::new().table("a", &OpTable::from_rows([vec![0.1], vec![0.3, 0.4]]).unwrap());
    }
}
