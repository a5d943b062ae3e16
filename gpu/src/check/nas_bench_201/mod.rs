//! The network of NAS-Bench-201's cells: its kernels against the host, a file per module of kernels, and the whole against another implementation.

pub mod backward;
pub mod forward;
pub mod head;
pub mod network;
mod numbers;
pub mod update;
pub mod weights;
