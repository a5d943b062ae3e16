//! The supernets of CUDA on the software device.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

#[allow(dead_code, reason = "faults are planted in the tests of the core")]
#[path = "../../tests/common/affine.rs"]
mod affine;
mod support;

mod device;
mod nas_bench_201;
mod together;
mod toy;
mod traffic;
