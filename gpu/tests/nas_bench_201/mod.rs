//! The kernels of NAS-Bench-201's network on the software CUDA device.

mod forward;
