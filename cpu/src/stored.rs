//! The number types of the CPU supernets that a search's saved state can hold, and what networks with a single lane have in common.

use advantage_nas::sharing::Precision;
use advantage_nas::state::{Entry, Number};
use advantage_nas::{Error, Result};
use ndarray::ArrayViewD;

use crate::Element;

/// Number types that the supernets compute in and that a state can hold: `f32` and `f64`.
pub trait Stored: Element + Number {
    /// In words of the harness.
    const PRECISION: Precision;
}

impl Stored for f32 {
    const PRECISION: Precision = Precision::Single;
}

impl Stored for f64 {
    const PRECISION: Precision = Precision::Double;
}

/// The array of an entry for a parameter.
///
/// # Errors
/// [`Error::State`] for another number type.
pub(crate) fn unpack<'a, T: Stored>(parameter: &str, values: &'a Entry) -> Result<ArrayViewD<'a, T>> {
    values.view::<T>().ok_or_else(|| Error::State {
        name: parameter.to_owned(),
        problem: format!("holds {}, expected {}", values.dtype(), T::NAME),
    })
}

/// What there is one of, in a network with one lane.
///
/// # Errors
/// [`Error::Length`] for any other number.
pub(crate) fn only<'a, V>(what: &'static str, values: &'a [V]) -> Result<&'a V> {
    let [value] = values else { return Err(Error::Length { what, expected: 1, got: values.len() }) };
    Ok(value)
}
