//! A CUDA device in software, for tests on machines without a GPU.
//!
//! As a shared library under the names `libcuda.so`, `libnvrtc.so` and `libcublas.so` it runs CUDA C++ on the CPU, and
//! finds what a real device lets pass: see `README.md`. As a Rust library it offers [`SoftwareDevice`], which puts it
//! under child processes. Its results are emulated and say nothing about speed.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(non_snake_case, clippy::missing_safety_doc, reason = "the C interface of CUDA")]

mod cublas;
mod driver;
mod fault;
mod fiber;
mod install;
mod launch;
mod memory;
mod module;
mod nvrtc;
mod settings;
mod shadow;
mod status;
mod traffic;

pub use install::SoftwareDevice;
pub use settings::{Checks, Order};
pub use traffic::{Space, Traffic};
