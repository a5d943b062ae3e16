//! The experiments, one file each: how a search or a training is built from settings, what is recorded, and what its result says. Files and
//! resuming are in [`crate::run`]; how a result is shown is in [`crate::command`].

pub mod cifar10;
pub mod ptb;
pub mod toy;

use advantage_nas::random::Streams;
use advantage_nas::search::{Best, Plan};
use advantage_nas::{Architecture, Search, Supernet};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use crate::build::Provenance;
use crate::error::{Error, Result};
use crate::run::{Ended, Orders, Process, Record, Run, drive};
use crate::settings::Settings;

/// What all runs of an experiment share, such as its data, and how one of them is made.
pub trait Experiment: Sync {
    /// What goes on in a run: a [`Search`] or a [`Training`](advantage_nas::Training).
    type Process: Process<Self::Record>;
    /// What the runs of a sweep share while they are worked on.
    type Shared: Sync;
    /// What is logged and remembered on the way.
    type Record: Record;
    /// What `result.json` says.
    type Outcome: Serialize + DeserializeOwned + Clone + Send;

    /// What these runs are going to share.
    ///
    /// # Errors
    /// What the device reports.
    fn share(&self, runs: &[&Settings]) -> Result<Self::Shared>;

    /// The process before its first step.
    ///
    /// # Errors
    /// [`Error::Settings`] for settings that make none.
    fn build(&self, settings: &Settings, shared: &Self::Shared) -> Result<Self::Process>;

    /// Steps of a run.
    ///
    /// # Errors
    /// As [`Experiment::build`].
    fn steps(&self, settings: &Settings) -> Result<u64>;

    /// The record of a process that was just built.
    ///
    /// # Errors
    /// As [`Experiment::build`].
    fn record(&self, settings: &Settings, process: &Self::Process) -> Result<Self::Record>;

    /// The result of a finished process that took `wall_seconds` seconds.
    ///
    /// # Errors
    /// What the evaluation of the final architectures reports.
    fn outcome(
        &self,
        settings: &Settings,
        process: &mut Self::Process,
        record: &Self::Record,
        wall_seconds: f64,
    ) -> Result<Self::Outcome>;

    /// What a whole run takes, found out by a few steps; nothing for experiments that are over before one has read it.
    ///
    /// # Errors
    /// As [`Experiment::build`], and what the steps report.
    fn estimate(&self, _settings: &Settings) -> Result<Option<Estimate>> {
        Ok(None)
    }

    /// More files of a finished run, names and contents; they lie beside `result.json`.
    fn files(&self, _outcome: &Self::Outcome) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Checksums of the data, which must agree when a run is resumed.
    fn data(&self) -> Table {
        Table::new()
    }

    /// What the runs are computed with.
    fn provenance(&self) -> Provenance {
        Provenance::of_this_cpu()
    }
}

/// A search of one trial before its first step, by the method of the settings.
fn search<S: Supernet>(settings: &Settings, plan: Plan, supernet: S) -> Result<Search<S>> {
    let (streams, trial) = (Streams::new(settings.seed), settings.trial);
    let build = || {
        let strategy = settings.method.build(supernet.space(), &settings.method_settings, &streams, trial)?;
        Search::new(plan, streams, supernet, vec![(trial, strategy)])
    };
    build().map_err(Error::Settings)
}

/// What the search of one trial has come to.
struct Conclusion {
    /// The argmax architecture.
    mode: Architecture,
    /// The process best, for methods that evaluate single architectures.
    best: Option<Best>,
    /// Entropy of the policy, in nats.
    entropy: f64,
    /// Entropy of the uniform policy, in nats.
    largest_entropy: f64,
}

impl Conclusion {
    fn of<S: Supernet>(search: &Search<S>) -> Self {
        let shape = search.supernet().space().shape();
        let mut mode = Architecture::first(shape);
        search.strategy(0).mode_into(&mut mode);
        Self {
            mode,
            best: search.best(0).cloned(),
            entropy: search.strategy(0).entropy(),
            largest_entropy: (0..shape.edges()).map(|edge| (shape.candidates(edge) as f64).ln()).sum(),
        }
    }
}

/// What a run takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Time in seconds, if the run had its threads for itself.
    pub seconds: f64,
    /// Memory in bytes: networks, optimisers, minibatches, images.
    pub bytes: usize,
    /// Where the time goes.
    pub detail: String,
}

/// How far a run came.
#[derive(Clone, Debug, PartialEq)]
pub enum Progressed<O> {
    /// To the end.
    Finished(Box<O>),
    /// To this step.
    Paused {
        /// Steps done.
        position: u64,
        /// Steps of the whole run.
        steps: u64,
    },
}

/// Works on a run that is not finished yet.
///
/// # Errors
/// As [`drive()`].
pub fn work<E: Experiment>(
    experiment: &E,
    settings: &Settings,
    shared: &E::Shared,
    run: &Run,
    orders: &Orders<'_>,
) -> Result<Progressed<E::Outcome>> {
    let mut process = experiment.build(settings, shared)?;
    let mut record = experiment.record(settings, &process)?;
    match drive(&mut process, &mut record, run, orders)? {
        Ended::Paused { position, steps } => Ok(Progressed::Paused { position, steps }),
        Ended::Finished { wall_seconds } => {
            let outcome = experiment.outcome(settings, &mut process, &record, wall_seconds)?;
            for (name, content) in experiment.files(&outcome) {
                run.add(name, &content)?;
            }
            run.finish(&outcome)?;
            Ok(Progressed::Finished(Box::new(outcome)))
        }
    }
}
