//! A search or a training that fills a run's folder: logs at every interval, checkpoints on the way, a pause when it is asked for.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use advantage_nas::search::{self, Outcome, Saves, Snapshot, ThetaStep};
use advantage_nas::state::State;
use advantage_nas::training::{self, Report};
use advantage_nas::{Search, Supernet, Training};

use super::checkpoint::{Checkpoint, Note};
use super::log::{Columns, Log, float};
use super::{Run, log};
use crate::error::{Error, Result, to_core};
use crate::progress::Progress;
use crate::stop::Stop;

/// What an experiment records of a run.
pub trait Record {
    /// Columns of `metrics.csv`; the first is the iteration.
    fn columns(&self) -> Vec<&'static str>;

    /// What to say beside the progress bar.
    fn message(&self) -> String;

    /// What must be remembered when the run is paused; nothing unless it is said.
    fn save(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    /// Goes on from what was remembered.
    ///
    /// # Errors
    /// A description of what does not fit.
    fn restore(&mut self, saved: &serde_json::Value) -> Result<(), String> {
        if saved.is_null() { Ok(()) } else { Err("holds something, expected nothing".to_owned()) }
    }
}

/// What an experiment records of a search.
pub trait SearchRecord: Record {
    /// Sees a log interval and fills the columns of its row.
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Vec<String>;

    /// Sees an update of `θ`.
    fn theta_step(&mut self, _step: &ThetaStep<'_>) {}
}

/// What an experiment records of a training.
pub trait TrainingRecord: Record {
    /// Sees a log interval and fills the columns of its row.
    fn report(&mut self, report: &Report) -> Vec<String>;
}

/// A search or a training, as something that goes on step by step and is recorded in an `R`.
pub trait Process<R>: Saves {
    /// The logs; `metrics` are the columns of the first one, `metrics.csv`.
    fn logs(metrics: Vec<&'static str>) -> Vec<Columns>;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// If something is missing or does not fit.
    fn restore(&mut self, state: &State) -> advantage_nas::Result<()>;

    /// Runs to the end, to step `until` or until `watch` pauses it.
    ///
    /// # Errors
    /// What the process and `watch` report.
    fn run(&mut self, until: Option<u64>, watch: &mut Watch<'_, R>) -> advantage_nas::Result<Outcome>;
}

impl<S: Supernet, R: SearchRecord> Process<R> for Search<S> {
    fn logs(metrics: Vec<&'static str>) -> Vec<Columns> {
        vec![
            Columns { name: "metrics.csv", columns: metrics },
            Columns { name: "theta.csv", columns: vec!["iteration", "edge", "candidate", "probability"] },
        ]
    }

    fn restore(&mut self, state: &State) -> advantage_nas::Result<()> {
        Search::restore(self, state)
    }

    fn run(&mut self, until: Option<u64>, watch: &mut Watch<'_, R>) -> advantage_nas::Result<Outcome> {
        Search::run(self, until, watch)
    }
}

impl<S: Supernet, R: TrainingRecord> Process<R> for Training<S> {
    fn logs(metrics: Vec<&'static str>) -> Vec<Columns> {
        vec![Columns { name: "metrics.csv", columns: metrics }]
    }

    fn restore(&mut self, state: &State) -> advantage_nas::Result<()> {
        Training::restore(self, state)
    }

    fn run(&mut self, until: Option<u64>, watch: &mut Watch<'_, R>) -> advantage_nas::Result<Outcome> {
        Training::run(self, until, watch)
    }
}

/// How to go through a run; nothing here changes what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Orders<'a> {
    /// Pauses the run when it is requested.
    pub stop: &'a Stop,
    /// Pauses the run after so many steps in all.
    pub stop_after: Option<u64>,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
    /// Is told of every step.
    pub progress: &'a Progress,
}

/// How far a run came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ended {
    /// To the end.
    Finished {
        /// Time spent, over all processes that worked on the run.
        wall_seconds: f64,
    },
    /// To this step, where a checkpoint was written.
    Paused {
        /// Steps done.
        position: u64,
        /// Steps of the whole run.
        steps: u64,
    },
}

/// Goes through a run in a folder, from its last checkpoint if there is one. At the end, everything but the result is written.
///
/// # Errors
/// [`Error::Stopped`] with what the search or the training reports, or with what can't be written; what can't be read. Nothing is changed on disk if the checkpoint can't be
/// used.
pub fn drive<R: Record, P: Process<R>>(
    process: &mut P,
    record: &mut R,
    run: &Run,
    orders: &Orders<'_>,
) -> Result<Ended> {
    let clock = Instant::now();
    let checkpoint = run.checkpoint()?;
    let mut earlier_seconds = 0.0;
    if let Some(Checkpoint { state, note }) = &checkpoint {
        let unusable =
            |problem: String| Error::damaged(&run.checkpoint_path(), format!("not a usable checkpoint: {problem}"));
        process.restore(state).map_err(|error| unusable(error.to_string()))?;
        record.restore(&note.record).map_err(|problem| unusable(format!("its record: {problem}")))?;
        earlier_seconds = note.wall_seconds;
        tracing::info!("{}: resuming at step {}", run.folder().display(), process.position());
        orders.progress.skip(process.position());
    }
    let logs = run.logs(&P::logs(record.columns()), checkpoint.as_ref())?;
    let saved_at = checkpoint.is_some().then(|| process.position());
    // As large as the network.
    drop(checkpoint);
    let mut watch = Watch { record, run, orders, logs, saved_at, clock, earlier_seconds };
    let outcome = process.run(orders.stop_after, &mut watch).map_err(Error::from);
    let outcome = match outcome.and_then(|outcome| watch.save(process).map(|()| outcome)) {
        Ok(outcome) => outcome,
        Err(error) => {
            // Where the folder itself is gone, there is nothing to go on from.
            if !run.folder().is_dir() {
                return Err(error);
            }
            let saved_at = watch.saved_at.filter(|_| run.checkpoint_path().is_file());
            let path = run.folder().to_owned();
            return Err(Error::Stopped { path, saved_at, source: Box::new(error) });
        }
    };
    Ok(match outcome {
        Outcome::Finished => Ended::Finished { wall_seconds: watch.wall_seconds() },
        Outcome::Paused => Ended::Paused { position: process.position(), steps: process.steps() },
    })
}

/// The observer that writes.
#[derive(Debug)]
pub struct Watch<'a, R> {
    record: &'a mut R,
    run: &'a Run,
    orders: &'a Orders<'a>,
    logs: Vec<Log>,
    /// Position of the last checkpoint.
    saved_at: Option<u64>,
    clock: Instant,
    earlier_seconds: f64,
}

impl<R: Record> Watch<'_, R> {
    fn wall_seconds(&self) -> f64 {
        self.earlier_seconds + self.clock.elapsed().as_secs_f64()
    }

    /// Writes a checkpoint, unless the last one is of the same step.
    fn save(&mut self, process: &mut dyn Saves) -> Result<()> {
        if self.saved_at == Some(process.position()) {
            return Ok(());
        }
        // The logs first: a checkpoint must never count on rows that are not there.
        let lengths = self.logs.iter_mut().map(Log::flush).collect::<Result<log::Lengths>>()?;
        let note = Note::new(&self.run.config().settings, lengths, self.wall_seconds(), self.record.save());
        self.run.save(&Checkpoint { state: process.save()?, note })?;
        self.saved_at = Some(process.position());
        tracing::debug!("{}: checkpoint at step {}", self.run.folder().display(), process.position());
        Ok(())
    }

    /// Appends a row to `metrics.csv`.
    fn row(&mut self, trial: u32, row: &[String]) -> Result<()> {
        self.orders.progress.say(format!("trial {trial}: {}", self.record.message()));
        self.logs[0].append(&format!("{}\n", row.join(",")))
    }

    /// Sees the end of a step.
    fn step(&mut self, process: &mut dyn Saves) -> Result<ControlFlow<()>> {
        self.orders.progress.step();
        if self.orders.stop.is_requested() {
            return Ok(ControlFlow::Break(()));
        }
        if process.position().is_multiple_of(self.orders.checkpoint_every) {
            self.save(process)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}

impl<R: SearchRecord> Watch<'_, R> {
    fn log(&mut self, snapshot: &Snapshot<'_>) -> Result<()> {
        let row = self.record.snapshot(snapshot);
        self.row(snapshot.trial, &row)?;
        let mut rows = String::new();
        for (edge, probabilities) in snapshot.probabilities.rows().enumerate() {
            for (candidate, probability) in probabilities.iter().enumerate() {
                let probability = float(*probability);
                writeln!(rows, "{},{edge},{candidate},{probability}", snapshot.theta_steps)
                    .expect("writing to a string does not fail");
            }
        }
        self.logs[1].append(&rows)
    }
}

impl<R: SearchRecord> search::Observer for Watch<'_, R> {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> advantage_nas::Result<()> {
        self.log(snapshot).map_err(to_core)
    }

    fn theta_step(&mut self, step: &ThetaStep<'_>) -> advantage_nas::Result<()> {
        self.record.theta_step(step);
        Ok(())
    }

    fn between_steps(&mut self, search: &mut dyn Saves) -> advantage_nas::Result<ControlFlow<()>> {
        self.step(search).map_err(to_core)
    }
}

impl<R: TrainingRecord> training::Observer for Watch<'_, R> {
    fn report(&mut self, report: &Report) -> advantage_nas::Result<()> {
        let row = self.record.report(report);
        self.row(report.trial, &row).map_err(to_core)
    }

    fn between_steps(&mut self, training: &mut dyn Saves) -> advantage_nas::Result<ControlFlow<()>> {
        self.step(training).map_err(to_core)
    }
}
