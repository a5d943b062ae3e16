//! The network of NAS-Bench-201: its kernels against the host in double precision.

pub mod backward;
