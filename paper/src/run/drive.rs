//! A search that fills a run's folder: logs at every interval, checkpoints on the way, a pause when it is asked for.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use advantage_nas::search::{Observer, Outcome, Saves, Snapshot, ThetaStep};
use advantage_nas::{Search, Supernet};

use super::checkpoint::{Checkpoint, Note};
use super::log::{Columns, Log, float};
use super::{Run, log};
use crate::error::{Error, Result, to_core};
use crate::progress::Progress;
use crate::stop::Stop;

/// What an experiment records of a search.
pub trait Record {
    /// Columns of `metrics.csv`; the first is the iteration.
    fn columns(&self) -> Vec<&'static str>;

    /// Sees a log interval and fills the columns of its row.
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Vec<String>;

    /// Sees an update of `θ`.
    fn theta_step(&mut self, step: &ThetaStep<'_>);

    /// What to say beside the progress bar.
    fn message(&self) -> String;

    /// What must be remembered when the run is paused.
    fn save(&self) -> serde_json::Value;

    /// Goes on from what was remembered.
    ///
    /// # Errors
    /// A description of what does not fit.
    fn restore(&mut self, saved: &serde_json::Value) -> Result<(), String>;
}

/// How to go through a search; nothing here changes what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Orders<'a> {
    /// Pauses the search when it is requested.
    pub stop: &'a Stop,
    /// Pauses the search after so many steps in all.
    pub stop_after: Option<u64>,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
    /// Is told of every step.
    pub progress: &'a Progress,
}

/// How far a search came.
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
        /// Steps of the whole search.
        steps: u64,
    },
}

/// Runs a search in a folder, from its last checkpoint if there is one. At the end, everything but the result is written.
///
/// # Errors
/// What the search reports; what can't be read or written. Nothing is changed on disk if the checkpoint can't be used.
pub fn drive<S: Supernet>(
    search: &mut Search<S>,
    record: &mut impl Record,
    run: &Run,
    orders: &Orders<'_>,
) -> Result<Ended> {
    let clock = Instant::now();
    let checkpoint = run.checkpoint()?;
    let mut earlier_seconds = 0.0;
    if let Some(Checkpoint { state, note }) = &checkpoint {
        let unusable =
            |problem: String| Error::damaged(&run.checkpoint_path(), format!("not a usable checkpoint: {problem}"));
        search.restore(state).map_err(|error| unusable(error.to_string()))?;
        record.restore(&note.record).map_err(|problem| unusable(format!("its record: {problem}")))?;
        earlier_seconds = note.wall_seconds;
        tracing::info!("{}: resuming at step {}", run.folder().display(), search.position());
        orders.progress.skip(search.position());
    }
    let columns = [
        Columns { name: "metrics.csv", columns: record.columns() },
        Columns { name: "theta.csv", columns: vec!["iteration", "edge", "candidate", "probability"] },
    ];
    let logs = run.logs(&columns, checkpoint.as_ref())?;
    let saved_at = checkpoint.is_some().then(|| search.position());
    let mut watch = Watch { record, run, orders, logs, saved_at, clock, earlier_seconds };
    let outcome = search.run(orders.stop_after, &mut watch)?;
    watch.save(search)?;
    Ok(match outcome {
        Outcome::Finished => Ended::Finished { wall_seconds: watch.wall_seconds() },
        Outcome::Paused => Ended::Paused { position: search.position(), steps: search.steps() },
    })
}

/// The observer that writes.
struct Watch<'a, R> {
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
    fn save(&mut self, search: &dyn Saves) -> Result<()> {
        if self.saved_at == Some(search.position()) {
            return Ok(());
        }
        // The logs first: a checkpoint must never count on rows that are not there.
        let lengths = self.logs.iter_mut().map(Log::flush).collect::<Result<log::Lengths>>()?;
        let note = Note::new(&self.run.config().settings, lengths, self.wall_seconds(), self.record.save());
        self.run.save(&Checkpoint { state: search.save(), note })?;
        self.saved_at = Some(search.position());
        tracing::debug!("{}: checkpoint at step {}", self.run.folder().display(), search.position());
        Ok(())
    }

    fn log(&mut self, snapshot: &Snapshot<'_>) -> Result<()> {
        let row = self.record.snapshot(snapshot);
        self.logs[0].append(&format!("{}\n", row.join(",")))?;
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

impl<R: Record> Observer for Watch<'_, R> {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> advantage_nas::Result<()> {
        self.log(snapshot).map_err(to_core)?;
        self.orders.progress.say(format!("trial {}: {}", snapshot.trial, self.record.message()));
        Ok(())
    }

    fn theta_step(&mut self, step: &ThetaStep<'_>) -> advantage_nas::Result<()> {
        self.record.theta_step(step);
        Ok(())
    }

    fn between_steps(&mut self, search: &dyn Saves) -> advantage_nas::Result<ControlFlow<()>> {
        self.orders.progress.step();
        if self.orders.stop.is_requested() {
            return Ok(ControlFlow::Break(()));
        }
        if search.position().is_multiple_of(self.orders.checkpoint_every) {
            self.save(search).map_err(to_core)?;
        }
        Ok(ControlFlow::Continue(()))
    }
}
