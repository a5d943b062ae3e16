//! The software device, run by cudarc in child processes.

mod common;

mod barriers;
mod device;
mod faults;
mod language;
