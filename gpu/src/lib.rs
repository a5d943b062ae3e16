//! The supernets of AdvantageNAS on CUDA devices.
//!
//! - [`device`]: finding devices, compiling and loading kernels, memory, graphs, timing; all of CUDA that the rest sees
//! - [`kernels`]: the sources in `kernels/*.cu`, and a table of their kernels, from which they are launched
//! - [`toy`], [`nas_bench_201`]: the networks, as `advantage-nas-cpu` has them
//! - [`together`]: one supernet that answers the searches of many threads in one launch
//! - [`model`]: how long kernels should take on an H100, from their shapes; no device is needed for it
//! - [`probe`]: what the model assumes of a device, measured on it
//! - [`check`]: every kernel against the host, every supernet against another one; [`measure`]: how long they take
//!
//! Built from the descriptions in [`advantage_nas::network`]; no estimators, no strategies and no run directories here.
//! CUDA is looked for when a device is asked for, so that the crate builds, and programs that use it start, on machines
//! without it.

#![deny(unsafe_code)]

pub mod check;
#[allow(unsafe_code, reason = "calls into CUDA")]
pub mod device;
mod error;
#[allow(unsafe_code, reason = "launches")]
pub mod kernels;
pub mod measure;
pub mod model;
pub mod nas_bench_201;
pub mod probe;
pub mod together;
pub mod toy;

pub use device::Device;
pub use error::{Error, Result};
