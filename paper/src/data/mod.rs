//! The data sets: found in their folder, checked, decoded once, and downloaded.
//!
//! - [`cifar10`]: the images of section 5.2, from the official binary files or from an image folder
//! - [`corpus`]: texts of words, and their tokens; [`ptb`]: the one of section 5.3
//! - [`nas_bench_201`]: the benchmark table that cells are evaluated with
//! - [`fetch`]: downloads with resume and checksum
//! - [`check`]: what is there, what is missing, what is corrupt
//! - `archive`, `pictures`, `cache`, `source`, `checksum`: what they share
//!
//! The folder of the data, `--data`, has one folder per set and may be read-only; nothing but a download is written there. What an
//! experiment does with the data is in [`advantage_nas::network`].

mod archive;
pub(crate) mod cache;
pub mod check;
mod checksum;
pub mod cifar10;
pub mod corpus;
pub mod fetch;
pub mod nas_bench_201;
mod pictures;
pub mod ptb;
mod source;

pub use cache::Cache;
