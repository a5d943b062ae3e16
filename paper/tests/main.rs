//! The command and what it leaves behind.

mod support;

mod cifar10;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cifar10_on_cuda;
mod cli;
mod data;
mod dump;
mod fetch;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod gpu;
mod ptb;
mod reproduce;
mod resume;
mod theory;
