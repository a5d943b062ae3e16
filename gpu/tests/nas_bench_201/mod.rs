//! The network of NAS-Bench-201's cells on the software device.

mod network;
