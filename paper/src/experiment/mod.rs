//! The experiments, one file each: how a search is built from settings, what is recorded, and what its result says. Files and
//! resuming are in [`crate::run`]; how a result is shown is in [`crate::command`].

pub mod toy;
