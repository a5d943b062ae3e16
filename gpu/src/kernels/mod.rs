//! The sources of the kernels, and a table of them per module: the only places, beside the device layer, where the
//! compiler can't help.
//!
//! An entry of a table (`kernel!`) is a struct with what a launch is given. It states the kernel's parameters, with how
//! many values are behind each pointer, and the geometry; lengths are checked before every launch, and the module's text
//! compiles only if its kernels have these parameters. What may stand in a buffer is kept by types. Constants
//! (`constants!`) and structs that are passed by value (`description!`) are written here alone: they are put before the
//! kernels' text.

#[macro_use]
mod table;
pub mod nas_bench_201;
pub mod probe;
pub mod toy;

pub use table::Kernels;

use crate::device::Source;
use crate::device::source::Signature;

/// Words of a block of random numbers.
pub const CHACHA_WORDS: usize = 16;

/// Random numbers; needs [`CHACHA_WORDS`].
const RANDOM: (&str, &str) = ("random.cuh", include_str!("../../kernels/random.cuh"));

/// Functions of numbers.
const MATH: (&str, &str) = ("math.cuh", include_str!("../../kernels/math.cuh"));

/// Products of matrices by tensor cores.
const MMA: (&str, &str) = ("mma.cuh", include_str!("../../kernels/mma.cuh"));

/// Copies that go on beside the arithmetic, for kernels that will have them.
pub const ASYNC: (&str, &str) = ("async.cuh", include_str!("../../kernels/async.cuh"));

/// All modules.
pub const ALL: [Source; 7] = [
    toy::SOURCE,
    probe::SOURCE,
    nas_bench_201::forward::SOURCE,
    nas_bench_201::head::SOURCE,
    nas_bench_201::backward::SOURCE,
    nas_bench_201::update::SOURCE,
    nas_bench_201::weights::SOURCE,
];

/// Kernels that may spill registers, each with the reason.
pub const SPILLS: [(&str, &str); 0] = [];

/// Which of the versions of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The fast one.
    Fast,
    /// The naive one, to check the others.
    Naive,
    /// The fast one with products by tensor cores, of factors that are rounded to TF32; where there is none, the fast one.
    Tf32,
}

impl Version {
    /// The version that a kernel has of these.
    #[must_use]
    pub fn of(self, signature: &Signature) -> Self {
        match self {
            Self::Tf32 if signature.tf32.is_none() => Self::Fast,
            _ => self,
        }
    }

    /// Its kernel.
    ///
    /// # Panics
    /// If there is none, see [`Version::of`].
    fn name(self, signature: &Signature) -> &'static str {
        match self {
            Self::Fast => signature.names[0],
            Self::Naive => signature.names[1],
            Self::Tf32 => signature.tf32.expect("a version that the kernel has").name,
        }
    }
}
