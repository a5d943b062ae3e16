//! The run directory: everything a run leaves behind, and the rules for pausing and resuming. The same for every experiment;
//! what is measured, and in which columns, is the experiment's business ([`Record`]).
//!
//! - [`directory`]: who may write where: new, started, finished or foreign folders; the lock
//! - [`trials`]: one trial in the folder itself, several in folders below it
//! - [`config`]: `config.toml`, written once
//! - [`log`]: `metrics.csv` and `theta.csv`, appended
//! - [`checkpoint`]: `checkpoint.safetensors`, replaced as a whole
//! - [`drive`](mod@drive): a search or a training that fills such a folder
//! - `files`: writing a file as a whole or not at all

pub mod checkpoint;
pub mod config;
pub mod directory;
pub mod drive;
pub(crate) mod files;
pub mod log;
pub mod trials;

pub use checkpoint::{Checkpoint, Note};
pub use config::Config;
pub use directory::{Run, Standing};
pub use drive::{Ended, Orders, Process, Record, SearchRecord, TrainingRecord, drive};
pub use trials::Trials;
