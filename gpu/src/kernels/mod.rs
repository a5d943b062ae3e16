//! The sources of the kernels, and one function per kernel that launches it: the only places, beside the device layer,
//! where the compiler can't help. A function checks the lengths of the buffers; what may stand in them is kept by
//! types.

pub mod toy;

use crate::device::Source;

/// Random numbers.
const RANDOM: (&str, &str) = ("random.cuh", include_str!("../../kernels/random.cuh"));

/// Functions of numbers.
const MATH: (&str, &str) = ("math.cuh", include_str!("../../kernels/math.cuh"));

/// All modules.
pub const ALL: [Source; 1] = [toy::SOURCE];

/// Kernels that may spill registers, each with the reason.
pub const SPILLS: [(&str, &str); 0] = [];

/// Which of the two versions of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The fast one.
    Fast,
    /// The naive one, to check the other.
    Naive,
}
