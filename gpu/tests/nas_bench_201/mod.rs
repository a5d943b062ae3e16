//! The kernels of NAS-Bench-201's network on the software CUDA device, against the host.

mod backward;
