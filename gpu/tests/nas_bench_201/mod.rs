//! The kernels of NAS-Bench-201's network on the software CUDA device, a module of kernels each.

mod faults;
mod head;
mod update;
mod weights;
