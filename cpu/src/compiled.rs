//! The number types that the networks are compiled for in this crate.

use crate::{Stored, nas_bench_201, recurrent};

/// Number types that the supernets compute in: `f32` and `f64`.
pub trait Compiled: Stored + nas_bench_201::passes::Compiled + recurrent::pass::Compiled {}

impl Compiled for f32 {}

impl Compiled for f64 {}
