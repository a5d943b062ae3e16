//! The supernets of the CPU against plain ones, and what they allocate.

mod support;

mod allocations;
mod conformance;
mod memory;
mod nas_bench_201;
mod recurrent;
mod toy;
