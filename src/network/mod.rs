//! The parent networks as data: shapes, candidates, initial weights, and what a minibatch is.
//!
//! Nothing is computed here. The backends build their supernets from these descriptions, so that both have the same numbers.

pub mod nas_bench_201;
pub mod recurrent;
pub mod toy;
