//! The supernets of CUDA on the software device.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod affine;
mod support;

mod device;
mod together;
mod toy;
