//! The experiments, one file each: how a search or a training is built from settings, what is recorded, and what its result says. Files and
//! resuming are in [`crate::run`]; how a result is shown is in [`crate::command`].

pub mod cifar10;
pub mod ptb;
pub mod toy;

use std::path::Path;
use std::time::Instant;

use advantage_nas::random::Streams;
use advantage_nas::search::{Best, Plan};
use advantage_nas::state::State;
use advantage_nas::strategy::{Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Search, Supernet, Training, training};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

use crate::build::Provenance;
use crate::error::{Error, Result};
use crate::run::{Config, Ended, Orders, Process, Record, Run, drive};
use crate::settings::Settings;

/// What all runs of an experiment share, such as its data, and how one of them is made.
pub trait Experiment: Sync {
    /// What goes on in a run: a [`Search`] or a [`Training`].
    type Process: Process<Self::Record>;
    /// What the runs of a sweep share while they are worked on.
    type Shared: Sync;
    /// What is logged and remembered on the way.
    type Record: Record;
    /// What `result.json` says.
    type Outcome: Serialize + DeserializeOwned + Clone + Send;

    /// What these runs are going to share, `at_once` of them at the same time.
    ///
    /// # Errors
    /// What the device reports.
    fn share(&self, runs: &[&Settings], at_once: usize) -> Result<Self::Shared>;

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

    /// Memory of what all runs share, such as the data, in bytes.
    fn shared_memory(&self) -> usize {
        0
    }

    /// Threads of every run.
    fn threads(&self) -> usize {
        1
    }

    /// Memory that a run takes in bytes, with its checkpoint and without what all runs share; from its sizes, nothing is built for it.
    /// Nothing to speak of for small networks.
    ///
    /// # Errors
    /// As [`Experiment::build`].
    fn memory(&self, _settings: &Settings) -> Result<usize> {
        Ok(0)
    }

    /// Runs of the same kind, with otherwise the same settings, take the same time.
    fn kind(&self, settings: &Settings) -> String {
        settings.method.to_string()
    }

    /// The time that a whole run takes, found out by a few steps; nothing for experiments that are over before one has read it.
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
        Search::new(plan, streams, supernet, trial, strategy)
    };
    build().map_err(Error::Settings)
}

/// The process of a run at its last checkpoint, and the state of its network. The run is locked meanwhile, and not changed.
fn at_checkpoint<E: Experiment>(
    folder: &Path,
    experiment: &E,
    settings: &Settings,
    restore: impl FnOnce(&mut E::Process, &State) -> advantage_nas::Result<()>,
) -> Result<(E::Process, State)> {
    let config = Config::new(settings.table(), &experiment.data(), &experiment.provenance())?;
    let run = Run::claim(folder, &config, true)?;
    let checkpoint = run
        .checkpoint()?
        .ok_or_else(|| Error::Usage(format!("{}: there is no checkpoint yet to measure", folder.display())))?;
    let mut process = experiment.build(settings, &experiment.share(&[settings], 1)?)?;
    restore(&mut process, &checkpoint.state)
        .map_err(|error| Error::damaged(&run.checkpoint_path(), format!("not a usable checkpoint: {error}")))?;
    let network = checkpoint.state.below(&format!("supernet/trial-{}", settings.trial));
    Ok((process, network))
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
    /// What there is to say of the argmax architecture, and of the process best.
    fn each<F>(&self, mut found: impl FnMut(&Architecture) -> Result<F>) -> Result<(F, Option<(F, &Best)>)> {
        let argmax = found(&self.mode)?;
        let best = self.best.as_ref().map(|best| found(&best.architecture).map(|found| (found, best)));
        Ok((argmax, best.transpose()?))
    }

    fn of<S: Supernet>(search: &Search<S>) -> Self {
        let shape = search.supernet().space().shape();
        let mut mode = Architecture::first(shape);
        search.strategy().mode_into(&mut mode);
        Self {
            mode,
            best: search.best().cloned(),
            entropy: search.strategy().entropy(),
            largest_entropy: (0..shape.edges()).map(|edge| (shape.candidates(edge) as f64).ln()).sum(),
        }
    }
}

/// The time that a run takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Time in seconds, if the run had its threads for itself.
    pub seconds: f64,
    /// Where it goes.
    pub detail: String,
}

/// Steps are timed for so many seconds, and at least one.
const TIMED_SECONDS: f64 = 1.0;
/// Updates of each kind that the timed process has at least: one before the clock starts, one that is timed, and the last.
const UPDATES: u64 = 3;

/// How long the parts of a run take, each once, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pace {
    weights: f64,
    theta: f64,
    evaluation: f64,
}

impl Pace {
    /// Of a search, found out in another one that begins with updates of both kinds in turn and is not evaluated between them.
    fn of_search<S: Supernet>(plan: Plan, trial: u32, build: impl FnOnce(Plan) -> Result<Search<S>>) -> Result<Self> {
        let iterations = plan.iterations.max(UPDATES);
        let mut search = build(Plan { warmup: 0, interval: u64::MAX, iterations, ..plan })?;
        let timed = |search: &mut Search<S>| timed(|| search.advance(&mut ()));
        // The first steps fill caches, and the second is evaluated.
        timed(&mut search)?;
        timed(&mut search)?;
        let (mut weights, mut theta, mut pairs) = (0.0, 0.0, 0);
        while (pairs == 0 || weights + theta < TIMED_SECONDS) && search.position() + 2 < search.steps() {
            weights += timed(&mut search)?;
            theta += timed(&mut search)?;
            pairs += 1;
        }
        let (weights, theta) = (weights / f64::from(pairs), theta / f64::from(pairs));
        let evaluation = Self::of_evaluation(search.supernet_mut(), trial)?;
        Ok(Self { weights, theta, evaluation })
    }

    /// Of a training, found out in another one.
    fn of_training<S: Supernet>(
        plan: training::Plan,
        trial: u32,
        build: impl FnOnce(training::Plan) -> Result<Training<S>>,
    ) -> Result<Self> {
        let mut training = build(training::Plan { interval: u64::MAX, steps: plan.steps.max(UPDATES), ..plan })?;
        let timed = |training: &mut Training<S>| timed(|| training.advance(&mut ()));
        timed(&mut training)?;
        let (mut weights, mut steps) = (0.0, 0);
        while (steps == 0 || weights < TIMED_SECONDS) && training.position() + 1 < training.steps() {
            weights += timed(&mut training)?;
            steps += 1;
        }
        let evaluation = Self::of_evaluation(training.supernet_mut(), trial)?;
        Ok(Self { weights: weights / f64::from(steps), theta: 0.0, evaluation })
    }

    fn of_evaluation<S: Supernet>(supernet: &mut S, trial: u32) -> Result<f64> {
        let shape = supernet.space().shape().clone();
        let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), Want::Loss)?;
        let request = Request { batch: Batch { trial, set: Set::Test, step: 0 }, proposal };
        timed(|| supernet.evaluate(&request).map(drop))
    }
}

/// A short time in the unit that fits.
fn short(seconds: f64) -> String {
    match seconds {
        1.0.. => format!("{seconds:.1} s"),
        1e-3.. => format!("{:.1} ms", 1e3 * seconds),
        _ => format!("{:.0} µs", 1e6 * seconds),
    }
}

fn timed(step: impl FnOnce() -> advantage_nas::Result<()>) -> Result<f64> {
    let clock = Instant::now();
    step()?;
    Ok(clock.elapsed().as_secs_f64())
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
