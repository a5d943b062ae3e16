//! The network of NAS-Bench-201's cells on the software device: its kernels, a file per module, and the whole.

mod backward;
mod faults;
mod forward;
mod head;
mod network;
mod update;
mod weights;
