//! The number types of the CPU supernets, as a search's saved state holds them.

use advantage_nas::Result;
use advantage_nas::state::{State, Values};

use crate::Element;

/// Number types that a state can hold.
pub trait Stored: Element {
    /// Numbers for a state.
    fn values(values: Vec<Self>) -> Values;

    /// Numbers of a state, widened.
    ///
    /// # Errors
    /// As [`State::f32`].
    fn stored(state: &State, name: &str, length: usize) -> Result<Vec<f64>>;
}

impl Stored for f32 {
    fn values(values: Vec<Self>) -> Values {
        Values::F32(values)
    }

    fn stored(state: &State, name: &str, length: usize) -> Result<Vec<f64>> {
        Ok(state.f32(name, length)?.iter().map(|&value| f64::from(value)).collect())
    }
}

impl Stored for f64 {
    fn values(values: Vec<Self>) -> Values {
        Values::F64(values)
    }

    fn stored(state: &State, name: &str, length: usize) -> Result<Vec<f64>> {
        Ok(state.f64(name, length)?.to_vec())
    }
}
