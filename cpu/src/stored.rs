//! The number types of the CPU supernets that a search's saved state can hold.

use advantage_nas::state::Number;

use crate::Element;

/// Number types that the supernets compute in and that a state can hold.
pub trait Stored: Element + Number {}

impl<T: Element + Number> Stored for T {}
