//! The kernels of NAS-Bench-201's network, each with its naive version, against the host in double precision.

pub mod forward;
