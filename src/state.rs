//! What a search, a strategy or a supernet saves so that it can go on bit for bit: named arrays.

use std::collections::BTreeMap;

use crate::error::{Error, Result};

/// The numbers of one entry.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Double precision.
    F64(Vec<f64>),
    /// Single precision.
    F32(Vec<f32>),
    /// Counters, indices and flags.
    U64(Vec<u64>),
}

/// One named array with its shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Dimensions, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// The numbers, last dimension fastest.
    pub values: Values,
}

/// Named arrays. Names are paths, `part/array`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    entries: BTreeMap<String, Entry>,
}

impl State {
    /// An empty state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Adds an entry, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, entry: Entry) {
        self.entries.insert(name.into(), entry);
    }

    /// Adds a vector of `f64`.
    pub fn insert_f64(&mut self, name: impl Into<String>, values: &[f64]) {
        self.insert(name, Entry { shape: vec![values.len()], values: Values::F64(values.to_vec()) });
    }

    /// Adds a vector of `u64`.
    pub fn insert_u64(&mut self, name: impl Into<String>, values: &[u64]) {
        self.insert(name, Entry { shape: vec![values.len()], values: Values::U64(values.to_vec()) });
    }

    /// Adds values that may be absent: a presence flag and a value each.
    pub fn insert_optional(&mut self, name: &str, values: &[Option<f64>]) {
        let present: Vec<u64> = values.iter().map(|value| u64::from(value.is_some())).collect();
        let values: Vec<f64> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        self.insert_u64(format!("{name}.present"), &present);
        self.insert_f64(name, &values);
    }

    /// Adds another state below a prefix.
    pub fn nest(&mut self, prefix: &str, inner: State) {
        for (name, entry) in inner.entries {
            self.entries.insert(format!("{prefix}/{name}"), entry);
        }
    }

    /// The part of the state below a prefix, with the prefix cut off.
    #[must_use]
    pub fn below(&self, prefix: &str) -> State {
        let prefix = format!("{prefix}/");
        let entries = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(&prefix)?.to_owned(), entry.clone())))
            .collect();
        State { entries }
    }

    /// An entry.
    ///
    /// # Errors
    /// [`Error::State`] if there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| Error::State { name: name.to_owned(), problem: "is missing".to_owned() })
    }

    /// A vector of `f64` of a known length.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, of another type or another length.
    pub fn f64(&self, name: &str, length: usize) -> Result<&[f64]> {
        match &self.get(name)?.values {
            Values::F64(values) => check_length(name, values, length),
            other => Err(wrong_type(name, "f64", other)),
        }
    }

    /// A vector of `f32` of a known length.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, of another type or another length.
    pub fn f32(&self, name: &str, length: usize) -> Result<&[f32]> {
        match &self.get(name)?.values {
            Values::F32(values) => check_length(name, values, length),
            other => Err(wrong_type(name, "f32", other)),
        }
    }

    /// A vector of `u64` of a known length.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, of another type or another length.
    pub fn u64(&self, name: &str, length: usize) -> Result<&[u64]> {
        match &self.get(name)?.values {
            Values::U64(values) => check_length(name, values, length),
            other => Err(wrong_type(name, "u64", other)),
        }
    }

    /// Values that may be absent, as [`State::insert_optional`] wrote them.
    ///
    /// # Errors
    /// [`Error::State`] if they are missing, of another type or another length.
    pub fn optional(&self, name: &str, length: usize) -> Result<Vec<Option<f64>>> {
        let present = self.u64(&format!("{name}.present"), length)?;
        let values = self.f64(name, length)?;
        Ok(present.iter().zip(values).map(|(present, value)| (*present != 0).then_some(*value)).collect())
    }
}

fn check_length<'a, T>(name: &str, values: &'a [T], length: usize) -> Result<&'a [T]> {
    if values.len() == length {
        return Ok(values);
    }
    Err(Error::State { name: name.to_owned(), problem: format!("has {} values, expected {length}", values.len()) })
}

fn wrong_type(name: &str, expected: &str, got: &Values) -> Error {
    let got = match got {
        Values::F64(_) => "f64",
        Values::F32(_) => "f32",
        Values::U64(_) => "u64",
    };
    Error::State { name: name.to_owned(), problem: format!("holds {got}, expected {expected}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_comes_back() {
        let mut inner = State::new();
        inner.insert_f64("theta", &[1.0, -0.0]);
        inner.insert_optional("average", &[None, Some(0.0), Some(2.5)]);
        let mut state = State::new();
        state.insert_u64("position", &[3]);
        state.nest("strategy", inner.clone());
        assert_eq!(state.below("strategy"), inner);
        assert_eq!(inner.optional("average", 3).unwrap(), [None, Some(0.0), Some(2.5)]);
        assert_eq!(state.u64("position", 1).unwrap(), [3]);
        assert_eq!(state.f64("strategy/theta", 2).unwrap()[1].to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut state = State::new();
        state.insert_u64("position", &[3]);
        let message = |result: Result<&[f64]>| result.unwrap_err().to_string();
        assert_eq!(message(state.f64("theta", 1)), "saved state, \"theta\": is missing");
        assert_eq!(message(state.f64("position", 1)), "saved state, \"position\": holds u64, expected f64");
        assert_eq!(
            state.u64("position", 2).unwrap_err().to_string(),
            "saved state, \"position\": has 1 values, expected 2"
        );
        assert!(state.f32("position", 1).is_err());
    }
}
