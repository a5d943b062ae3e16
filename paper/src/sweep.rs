//! Many runs of one experiment: a list of independent tasks, each in a folder of its own, worked on by a pool of threads.
//!
//! First everything is looked at ([`Sweep::prepare`]), so that what can't be done is refused before anything is written; then
//! the tasks that are not finished are worked on ([`Sweep::work`]).

use std::path::PathBuf;

use crate::error::Result;
use crate::experiment::{Experiment, Progressed, work};
use crate::pool;
use crate::run::directory::survey;
use crate::run::{Config, Orders, Run, Standing};
use crate::settings::Settings;

/// Runs to be worked on.
#[derive(Debug)]
pub struct Sweep<'a, E: Experiment> {
    experiment: &'a E,
    /// What the runs that are not finished have in common.
    shared: E::Shared,
    tasks: Vec<Task>,
    resume: bool,
    /// Finished runs of another build, and what it differed in.
    other_finished: Vec<(PathBuf, String)>,
}

/// One run and what is to be done for it.
#[derive(Debug)]
struct Task {
    settings: Settings,
    config: Config,
    path: PathBuf,
    standing: Standing,
    run: Option<Run>,
}

impl<'a, E: Experiment> Sweep<'a, E> {
    /// Looks at the folder of every run, and makes what they share, so that a device without room for it is found out here. The lock on the first run is held from here to the end, which keeps other processes
    /// from the whole sweep.
    ///
    /// # Errors
    /// Whatever forbids one of the runs, see [`survey`]; as [`Experiment::share`].
    pub fn prepare(
        experiment: &'a E,
        runs: impl IntoIterator<Item = (PathBuf, Settings)>,
        resume: bool,
    ) -> Result<Self> {
        let data = experiment.data();
        let provenance = experiment.provenance();
        let mut tasks = Vec::new();
        let mut other_builds = Vec::new();
        let mut other_finished = Vec::new();
        for (path, settings) in runs {
            let config = Config::new(settings.table(), &data, &provenance)?;
            let (standing, other_build) = survey(&path, &config, resume)?;
            if let Some(differences) = other_build {
                let others = if standing == Standing::Finished { &mut other_finished } else { &mut other_builds };
                others.push((path.clone(), differences));
            }
            tasks.push(Task { settings, config, path, standing, run: None });
        }
        let left = tasks.iter().filter(|task| task.standing != Standing::Finished);
        let shared = experiment.share(&left.map(|task| &task.settings).collect::<Vec<_>>())?;
        if let Some(first) = tasks.first_mut() {
            first.run = Some(first.claim(resume)?);
        }
        if let Some((path, differences)) = other_builds.first() {
            let path = path.display();
            tracing::warn!("{path}: started with another build, the last bits may differ: {differences}");
        }
        Ok(Self { experiment, shared, tasks, resume, other_finished })
    }

    /// Warns of finished runs of another build: what is made of them is not what this build computes.
    pub fn warn_of_other_builds(&self) {
        if let Some((path, differences)) = self.other_finished.first() {
            let (path, more) = (path.display(), self.other_finished.len() - 1);
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            tracing::warn!(
                "{path}{others}: finished by another build and taken as they are, choose another --out to repeat \
                 them: {differences}"
            );
        }
    }

    /// Number of runs that are not finished.
    #[must_use]
    pub fn left(&self) -> usize {
        self.tasks.iter().filter(|task| task.standing != Standing::Finished).count()
    }

    /// Works on all runs with at most `threads` threads. The ends are in the order of the runs; a run without an end was not
    /// begun, because it was asked to stop.
    ///
    /// # Errors
    /// The first failure; the other runs pause then.
    pub fn work(&self, threads: usize, orders: &Orders<'_>) -> Result<Vec<Option<Progressed<E::Outcome>>>> {
        let ends = pool::map(threads, self.tasks.iter().collect(), |task: &Task| {
            if orders.stop.is_requested() {
                return Ok(None);
            }
            let end = task.work(self.experiment, &self.shared, self.resume, orders);
            if end.is_err() {
                orders.stop.request();
            }
            end.map(Some)
        })?;
        ends.into_iter().collect()
    }
}

impl Task {
    fn claim(&self, resume: bool) -> Result<Run> {
        Run::claim(&self.path, &self.config, resume)
    }

    fn work<E: Experiment>(
        &self,
        experiment: &E,
        shared: &E::Shared,
        resume: bool,
        orders: &Orders<'_>,
    ) -> Result<Progressed<E::Outcome>> {
        let claimed;
        let run = match &self.run {
            Some(run) => run,
            None => {
                claimed = self.claim(resume)?;
                &claimed
            }
        };
        if run.standing() == Standing::Finished {
            return Ok(Progressed::Finished(Box::new(run.result()?)));
        }
        work(experiment, &self.settings, shared, run, orders)
    }
}
