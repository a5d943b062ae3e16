//! Conformance suites: what every [`Supernet`](crate::Supernet) and every [`Strategy`](crate::Strategy) must fulfil to be searched with, whoever
//! wrote it. The supernets and strategies of this project pass through them, and so should yours.
//!
//! - [`SupernetSuite`]: every kind of proposal that the supernet supports is answered, completely and independently of what was asked before or
//!   beside it; answers to different questions about the same agree, and gradients are those of the losses; saved and restored at any point, it
//!   goes on bit for bit, and other trials don't notice
//! - [`StrategySuite`]: proposals fit, every answer is used, what is learned makes the loss smaller, what is remembered from step to step is
//!   saved
//!
//! Not held against anything are the data (that minibatches differ by set and step), the schedule of the weights' learning rate, that weight
//! steps make a loss smaller, and that they leave inactive candidates alone: these are a network's own, and need tests of their own.
//!
//! A [`Report`] lists every check by name. What a supernet declares unsupported is skipped, and named.
//!
//! ```
//! use advantage_nas::SearchSpace;
//! use advantage_nas::conformance::StrategySuite;
//! use advantage_nas::random::Streams;
//! use advantage_nas::strategy::{Method, MethodSettings};
//!
//! let space = SearchSpace::anonymous([2, 3])?;
//! let build = || Method::AdvantageNas.build(&space, &MethodSettings::toy(), &Streams::new(1), 0);
//! StrategySuite::new(2).run(build).assert();
//! # Ok::<(), advantage_nas::Error>(())
//! ```

mod report;
mod strategy;
mod supernet;

pub use report::{Check, Outcome, Report};
pub use strategy::StrategySuite;
pub use supernet::{Differences, SupernetSuite};

use crate::state::{Entry, State};

/// All numbers of a state with their names, types and shapes, so that equal means the same bits.
fn bits(state: &State) -> Vec<(String, Vec<usize>, Vec<u64>)> {
    state.iter().map(|(name, entry)| (name.to_owned(), entry.shape().to_vec(), entry_bits(entry))).collect()
}

fn entry_bits(entry: &Entry) -> Vec<u64> {
    match entry {
        Entry::F64(array) => array.iter().map(|value| value.to_bits()).collect(),
        Entry::F32(array) => array.iter().map(|value| u64::from(value.to_bits())).collect(),
        Entry::U64(array) => array.iter().copied().collect(),
    }
}
