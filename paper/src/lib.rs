//! The experiments of the AdvantageNAS paper: settings, searches, run directories, and the command `advnas`.
//!
//! - [`settings`]: the hyperparameters of an experiment, from its preset and the command line
//! - [`experiment`]: what is searched and what is recorded, one file per experiment
//! - [`data`]: the data sets: found, checked, decoded, downloaded
//! - [`instance`]: the file of an instance of section 4.4
//! - [`run`]: what a run leaves on disk, and how it is paused and resumed; the same for every experiment
//! - [`sweep`]: many runs
//! - [`reproduce`], [`plot`], [`statistics`]: tables and figures of the paper from finished runs
//! - [`dump`]: one step as a file, for programs that check it
//! - [`tensor`]: arrays in such files and in checkpoints
//! - [`pool`], [`stop`], [`progress`]: several trials at once, stopping them, watching them
//! - [`build`], [`device`], [`memory`]: what this program was built from, where its supernets run, and what fits there
//! - [`command`]: the command line
//!
//! The equations are in [`advantage_nas`], the networks in [`advantage_nas_cpu`] and [`advantage_nas_gpu`]; none of them knows of runs.

#![forbid(unsafe_code)]

pub mod build;
pub mod command;
pub mod data;
pub mod device;
pub mod dump;
mod error;
pub mod experiment;
pub mod instance;
pub mod memory;
pub mod plot;
pub mod pool;
pub mod progress;
pub mod reproduce;
pub mod run;
pub mod settings;
pub mod statistics;
pub mod stop;
pub mod sweep;
pub mod tensor;

pub use error::{Error, Result};
