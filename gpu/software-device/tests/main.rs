//! The software device, run by cudarc in child processes.

mod common;

mod asynchronous;
mod barriers;
mod device;
mod faults;
mod host_threads;
mod language;
mod traffic;
