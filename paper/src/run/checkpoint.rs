//! `checkpoint.safetensors`: everything a search needs to go on bit for bit, in one file that other tools can read.
//!
//! The arrays of the search are tensors (`F64`, `F32`, `U64`); everything else is JSON in the metadata, with a checksum over
//! the JSON and the tensors, because a run that goes on from a damaged state would look like any other.

use std::collections::HashMap;
use std::path::Path;

use advantage_nas::state::{Entry, State};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::log::Lengths;
use crate::error::{Error, Result};
use crate::tensor::{self, Tensor};

/// The file's name.
pub const NAME: &str = "checkpoint.safetensors";

/// Version of the format. A reader refuses every other.
const FORMAT: u32 = 1;
const NOTE: &str = "advnas";
const CHECKSUM: &str = "advnas.crc32";

/// What is remembered beside the state of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    format: u32,
    settings: String,
    /// Lengths of the logs.
    pub logs: Lengths,
    /// Time spent so far, over all processes that worked on the run.
    pub wall_seconds: f64,
    /// What the experiment remembers of the run.
    pub record: serde_json::Value,
}

impl Note {
    /// The note of a run with these settings.
    #[must_use]
    pub fn new(settings: &Table, logs: Lengths, wall_seconds: f64, record: serde_json::Value) -> Self {
        Self { format: FORMAT, settings: settings.to_string(), logs, wall_seconds, record }
    }

    /// The settings of the run that wrote the checkpoint.
    ///
    /// # Errors
    /// [`Error::Damaged`] if they can't be read.
    pub fn settings(&self, path: &Path) -> Result<Table> {
        self.settings.parse().map_err(|error: toml::de::Error| Error::damaged(path, error.message()))
    }
}

/// Content of a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// The search.
    pub state: State,
    /// The rest.
    pub note: Note,
}

impl Checkpoint {
    /// As the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the state has no such form; `path` is where it was to be written.
    pub fn encode(&self, path: &Path) -> Result<Vec<u8>> {
        let note = serde_json::to_string(&self.note).map_err(|error| Error::damaged(path, error))?;
        let tensors: Vec<(&str, Tensor)> = self.state.iter().map(|(name, entry)| (name, encode_entry(entry))).collect();
        let views = tensors
            .iter()
            .map(|(name, tensor)| Ok((*name, tensor.view()?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|error| Error::damaged(path, error))?;
        let checksum = checksum(&note, views.iter().map(|(name, view)| (*name, view)));
        let metadata = HashMap::from([(NOTE.to_owned(), note), (CHECKSUM.to_owned(), checksum)]);
        safetensors::serialize(views, Some(metadata)).map_err(|error| Error::damaged(path, error))
    }

    /// From the bytes of the file at `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`] for everything that [`Checkpoint::encode`] did not write.
    pub fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |problem: String| Error::damaged(path, format!("not a usable checkpoint: {problem}"));
        let unreadable = |error: safetensors::SafeTensorError| damaged(error.to_string());
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let (Some(note), Some(expected)) = (metadata.get(NOTE), metadata.get(CHECKSUM)) else {
            return Err(damaged("it was not written by this program".to_owned()));
        };
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let mut tensors = file.tensors();
        tensors.sort_by(|(first, _), (second, _)| first.cmp(second));
        if checksum(note, tensors.iter().map(|(name, view)| (name.as_str(), view))) != *expected {
            return Err(damaged("the checksum does not fit its content".to_owned()));
        }
        let format: Format = serde_json::from_str(note).map_err(|error| damaged(error.to_string()))?;
        if format.format != FORMAT {
            return Err(damaged(format!("it has format {}, this version reads {FORMAT}", format.format)));
        }
        let note = serde_json::from_str(note).map_err(|error| damaged(error.to_string()))?;
        let mut state = State::new();
        for (name, view) in tensors {
            let entry = decode_entry(&view).map_err(|problem| damaged(format!("tensor {name:?} has {problem}")))?;
            state.insert(name, entry);
        }
        Ok(Self { state, note })
    }
}

/// The one field that every version of the note has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

fn encode_entry(entry: &Entry) -> Tensor {
    match entry {
        Entry::F64(array) => Tensor::new(array.view()),
        Entry::F32(array) => Tensor::new(array.view()),
        Entry::U64(array) => Tensor::new(array.view()),
    }
}

/// The array of a tensor, or what is wrong with it.
fn decode_entry(view: &TensorView<'_>) -> Result<Entry, String> {
    let entry = match view.dtype() {
        Dtype::F64 => tensor::array::<f64>(view).map(Entry::F64),
        Dtype::F32 => tensor::array::<f32>(view).map(Entry::F32),
        Dtype::U64 => tensor::array::<u64>(view).map(Entry::U64),
        other => return Err(format!("the unknown type {other:?}")),
    };
    entry.map_err(|error| format!("the shape {:?}: {error}", view.shape()))
}

/// Over the note and, in the order of their names, the tensors with their names, types and shapes.
fn checksum<'a>(note: &str, tensors: impl Iterator<Item = (&'a str, &'a TensorView<'a>)>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(note.as_bytes());
    for (name, view) in tensors {
        hasher.update(format!("\n{name} {:?} {:?}\n", view.dtype(), view.shape()).as_bytes());
        hasher.update(view.data());
    }
    format!("{:08x}", hasher.finalize())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    fn checkpoint() -> Checkpoint {
        let mut state = State::new();
        state.insert_f64("strategy/logits", &[1.0, -0.0, f64::from_bits(1), 0.1]);
        state.insert_u64("position", &[u64::MAX]);
        state.insert("w", array![[0.1f32], [f32::MAX], [-1.5]]);
        state.insert("empty", Array2::<f32>::zeros((0, 4)));
        let settings: Table = "clip = inf\nseed = 3".parse().unwrap();
        let logs = Lengths::from([("metrics.csv".to_owned(), 77)]);
        let record = serde_json::json!({ "first_hit": 185, "best": 0.1 });
        Checkpoint { state, note: Note::new(&settings, logs, 1.0 / 3.0, record) }
    }

    fn decode(bytes: &[u8]) -> Result<Checkpoint> {
        Checkpoint::decode(bytes, Path::new("checkpoint.safetensors"))
    }

    #[test]
    fn what_is_written_comes_back() {
        let written = checkpoint();
        let read = decode(&written.encode(Path::new("x")).unwrap()).unwrap();
        assert_eq!(read, written);
        let logits = read.state.array::<f64, _>("strategy/logits", 4).unwrap();
        assert_eq!(logits[1].to_bits(), (-0.0f64).to_bits());
        let settings = read.note.settings(Path::new("x")).unwrap();
        assert_eq!(settings, "clip = inf\nseed = 3".parse::<Table>().unwrap());
    }

    #[test]
    fn no_prefix_is_a_checkpoint() {
        let bytes = checkpoint().encode(Path::new("x")).unwrap();
        for length in 0..bytes.len() {
            let error = decode(&bytes[..length]).unwrap_err();
            assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(decode(&longer).is_err());
    }

    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let written = checkpoint();
        let bytes = written.encode(Path::new("x")).unwrap();
        let mut noticed = 0;
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[index] ^= 1 << bit;
                match decode(&flipped) {
                    // Such as a space of the header that became another space.
                    Ok(read) => assert_eq!(read, written, "byte {index}, bit {bit}"),
                    Err(_) => noticed += 1,
                }
            }
        }
        assert!(noticed > 7 * bytes.len());
    }

    #[test]
    fn foreign_files_are_refused() {
        let data = [0; 8];
        let tensor = TensorView::new(Dtype::F64, vec![1], &data).unwrap();
        let foreign = safetensors::serialize([("w", tensor)], None).unwrap();
        assert!(decode(&foreign).unwrap_err().to_string().contains("not written by this program"));
        let mut newer = checkpoint();
        newer.note.format = 2;
        let message = decode(&newer.encode(Path::new("x")).unwrap()).unwrap_err().to_string();
        assert!(message.contains("format 2, this version reads 1"), "{message}");
    }
}
