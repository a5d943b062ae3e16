//! Many runs of one experiment: a list of independent tasks, each in a folder of its own, worked on by a pool of threads.
//!
//! First everything is looked at ([`Sweep::prepare`]), so that what can't be done is refused before anything is written; then
//! the tasks that are not finished are worked on ([`Sweep::work`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::Result;
use crate::experiment::{Estimate, Experiment, Progressed, work};
use crate::memory;
use crate::pool;
use crate::run::directory::survey;
use crate::run::{Config, Orders, Run, Standing};
use crate::settings::Settings;
use crate::stop::Stop;

/// Runs to be worked on.
#[derive(Debug)]
pub struct Sweep<'a, E: Experiment> {
    experiment: &'a E,
    /// What the runs that are not finished have in common.
    shared: E::Shared,
    tasks: Vec<Task>,
    resume: bool,
    at_once: usize,
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
    /// Looks at the folder of every run and at the memory that `at_once` of them need at the same time, and makes what they share,
    /// so that a device without room for it is found out here. The lock on the first run is held from here to the end, which keeps other
    /// processes from the whole sweep.
    ///
    /// # Errors
    /// Whatever forbids one of the runs, see [`survey`]; as [`Experiment::share`] and [`memory::check`].
    pub fn prepare(
        experiment: &'a E,
        runs: impl IntoIterator<Item = (PathBuf, Settings)>,
        resume: bool,
        at_once: usize,
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
        let left = tasks.iter().filter(|task| task.standing != Standing::Finished).map(|task| &task.settings);
        memory::check(
            left.clone().map(|settings| experiment.memory(settings)).collect::<Result<_>>()?,
            at_once,
            experiment.shared_memory(),
        )?;
        let shared = experiment.share(&left.collect::<Vec<_>>(), at_once)?;
        if let Some(first) = tasks.first_mut() {
            first.run = Some(first.claim(resume)?);
        }
        if let Some((path, differences)) = other_builds.first() {
            let path = path.display();
            tracing::warn!("{path}: started with another build, the last bits may differ: {differences}");
        }
        Ok(Self { experiment, shared, tasks, resume, at_once, other_finished })
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
        self.open().count()
    }

    /// The runs that are not finished.
    fn open(&self) -> impl Iterator<Item = &Task> {
        self.tasks.iter().filter(|task| task.standing != Standing::Finished)
    }

    /// What the runs that are not finished take from their beginning, found out by a few steps of one run of every kind; nothing if there
    /// are none or `stop` is requested meanwhile, and for experiments that are over before one has read it.
    ///
    /// # Errors
    /// As [`Experiment::estimate`].
    pub fn estimate(&self, stop: &Stop) -> Result<Option<Estimates>> {
        let mut kinds: BTreeMap<String, (usize, &Settings)> = BTreeMap::new();
        for task in self.open() {
            kinds.entry(self.experiment.kind(&task.settings)).or_insert((0, &task.settings)).0 += 1;
        }
        let mut estimates = Vec::new();
        for (kind, (runs, settings)) in kinds {
            if stop.is_requested() {
                return Ok(None);
            }
            let Some(estimate) = self.experiment.estimate(settings)? else { return Ok(None) };
            estimates.push(KindEstimate { kind, runs, bytes: self.experiment.memory(settings)?, estimate });
        }
        let processors = std::thread::available_parallelism().map_or(1, Into::into);
        let threads = self.experiment.threads().min(processors);
        let begun = self.open().filter(|task| task.standing == Standing::Started).count();
        let estimates = Estimates {
            kinds: estimates,
            at_once: self.at_once,
            begun,
            shared: self.experiment.shared_memory(),
            crowding: (self.at_once.min(self.left()) * threads) as f64 / processors as f64,
        };
        Ok((!estimates.kinds.is_empty()).then_some(estimates))
    }

    /// Works on all runs, as many at the same time as was said when they were prepared. The ends are in the order of the runs; a run without an end was not
    /// begun, because it was asked to stop.
    ///
    /// # Errors
    /// The first failure; the other runs pause then.
    pub fn work(&self, orders: &Orders<'_>) -> Result<Vec<Option<Progressed<E::Outcome>>>> {
        let ends = pool::map(self.at_once, self.tasks.iter().collect(), |task: &Task| {
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

/// What the runs of a sweep take.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimates {
    /// Of every kind of runs.
    pub kinds: Vec<KindEstimate>,
    /// Runs at the same time.
    pub at_once: usize,
    /// Runs of which some steps are done.
    pub begun: usize,
    /// Memory that all runs share, in bytes.
    pub shared: usize,
    /// Threads of the runs at the same time, over the processors.
    pub crowding: f64,
}

/// What the runs of one kind take.
#[derive(Clone, Debug, PartialEq)]
pub struct KindEstimate {
    /// The kind, see [`Experiment::kind`].
    pub kind: String,
    /// How many there are.
    pub runs: usize,
    /// Memory of each in bytes.
    pub bytes: usize,
    /// Time of each.
    pub estimate: Estimate,
}

impl Estimates {
    /// Number of runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.kinds.iter().map(|kind| kind.runs).sum()
    }

    /// Time of all runs in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        // Every run takes the first place that gets free.
        let mut places = vec![0.0; self.at_once.min(self.runs()).max(1)];
        for kind in &self.kinds {
            for _ in 0..kind.runs {
                let first = places.iter_mut().min_by(|one, other| f64::total_cmp(one, other)).expect("there is one");
                *first += kind.estimate.seconds;
            }
        }
        places.into_iter().fold(0.0, f64::max) * self.crowding.max(1.0)
    }

    /// Most memory at the same time, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let mut each: Vec<usize> =
            self.kinds.iter().flat_map(|kind| std::iter::repeat_n(kind.bytes, kind.runs.min(self.at_once))).collect();
        each.sort_unstable_by(|one, other| other.cmp(one));
        self.shared + each.iter().take(self.at_once).sum::<usize>()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn estimates(kinds: &[(usize, usize, f64)], at_once: usize) -> Estimates {
        let kinds = kinds.iter().map(|&(runs, bytes, seconds)| KindEstimate {
            kind: String::new(),
            runs,
            bytes,
            estimate: Estimate { seconds, detail: String::new() },
        });
        Estimates { kinds: kinds.collect(), at_once, begun: 0, shared: 5, crowding: 0.5 }
    }

    #[test]
    fn estimates_of_many_runs() {
        // Of one kind: whole rounds.
        let five = estimates(&[(5, 100, 10.0)], 2);
        assert_eq!((five.runs(), five.seconds(), five.bytes()), (5, 30.0, 205));
        let one = estimates(&[(1, 100, 10.0)], 8);
        assert_eq!((one.seconds(), one.bytes()), (10.0, 105));
        // Of several: the largest may meet, and places are filled as they get free.
        let several = estimates(&[(3, 100, 10.0), (1, 700, 50.0), (1, 300, 20.0)], 2);
        assert_eq!((several.runs(), several.seconds(), several.bytes()), (5, 60.0, 1005));
        let several = estimates(&[(3, 100, 10.0), (1, 700, 50.0), (1, 300, 20.0)], 1);
        assert_eq!((several.seconds(), several.bytes()), (100.0, 705));
        let five = estimates(&[(1, 1, 10.0), (1, 1, 10.0), (1, 1, 10.0), (1, 1, 10.0), (1, 1, 10.0)], 4);
        assert_eq!(five.seconds(), 20.0);
        // Four runs of one thread on two processors take turns.
        let crowded = Estimates { crowding: 2.0, ..five };
        assert_eq!(crowded.seconds(), 40.0);
    }
}
