//! The kernels of NAS-Bench-201's network against the host in double precision, a module of kernels each.

mod numbers;

pub mod head;
pub mod update;
pub mod weights;
