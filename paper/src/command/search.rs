//! `advnas search`: runs searches, shows how they get on, and says how they ended.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use advantage_nas::strategy::Method;
use clap::{Args, Subcommand, value_parser};

use super::data::{CacheFolder, DataFolder};
use super::summary::{self, Summary};
use super::{print, stopped};
use crate::device::{self, Backend, Choice};
use crate::error::{Error, Result};
use crate::experiment::cifar10::{self, CellSearch};
use crate::experiment::ptb::Language;
use crate::experiment::ptb::search::RecurrentSearch;
use crate::experiment::toy::ToyRegression;
use crate::experiment::{self, Progressed};
use crate::progress::Progress;
use crate::run::{Orders, Trials};
use crate::settings::{self, Override, Settings};
use crate::stop::{EXIT_INTERRUPTED, Stop};
use crate::sweep::Sweep;

/// Where runs lie if `--out` does not say otherwise.
pub(super) const RUNS: &str = "runs";

/// Steps from one checkpoint to the next.
pub(super) const CHECKPOINT_EVERY: u64 = 500;

/// TOML's integers have a sign.
pub(super) const LARGEST: u64 = i64::MAX as u64;

#[derive(Debug, Subcommand)]
pub(super) enum Experiment {
    /// Toy regression (section 5.1): find the teacher's architecture among 10^10, weights fixed
    ///
    /// The folder of a run gets config.toml, metrics.csv, theta.csv, result.json and checkpoint.safetensors. Several trials
    /// lie in trial-000, trial-001, ... below it and run in parallel. Ctrl-C pauses; --resume goes on, bit for bit.
    #[command(after_help = EXAMPLE)]
    Toy(Toy),
    /// CIFAR-10 (section 5.2): search a cell of NAS-Bench-201 and look it up in the table
    ///
    /// The weights are trained alone first, then in turn with theta. The folder of a run is that of every search; result.json
    /// has the argmax cell and the process best with their accuracies, ranks, parameters and FLOPs.
    #[command(after_help = CIFAR10_EXAMPLE)]
    Cifar10(Cifar10),
    /// Penn Treebank (section 5.3): search a recurrent cell on a text
    ///
    /// The weights are trained in turn with theta, on the words of one text. The folder of a run is that of every search, and cell.svg shows
    /// the argmax cell and the process best; `advnas retrain ptb` trains one of them with new weights.
    #[command(after_help = PTB_EXAMPLE)]
    Ptb(Ptb),
}

const EXAMPLE: &str = "\
Example:
  advnas search toy --method reinforce --trials 10 --out runs/figure-1
  advnas search toy --set theta.learning_rate=0.01 --set toy.edges=4

Every setting of the preset can be changed with --set; a wrong name lists them all.";

const CIFAR10_EXAMPLE: &str = "\
Example:
  advnas search cifar10 --preset small --data DIR
  advnas search cifar10 --method reinforce --set cifar10.zero=true --set cifar10.epochs=20

The presets are full (the paper's size), small and tiny. Every setting can be changed with --set; a wrong name lists them all.";

const PTB_EXAMPLE: &str = "\
Example:
  advnas search ptb --preset small --data DIR
  advnas retrain ptb --from runs/ptb-small-advantage-nas-seed0

The presets are full (the paper's size), small and tiny. Every setting can be changed with --set; a wrong name lists them all.";

#[derive(Debug, Args)]
pub(super) struct Toy {
    /// Updates of theta [default: 2000]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=LARGEST))]
    iterations: Option<u64>,
    /// Trials that run at the same time [default: all processors, on cuda all trials]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=65_536))]
    threads: Option<u64>,
    #[command(flatten)]
    search: Search,
}

#[derive(Debug, Args)]
pub(super) struct Cifar10 {
    #[command(flatten)]
    folder: DataFolder,
    #[command(flatten)]
    cache: CacheFolder,
    #[command(flatten)]
    workers: Workers,
    /// On a CUDA device, convolutions by tensor cores with factors that are rounded to TF32: faster, less exact
    #[arg(long)]
    tf32: bool,
    #[command(flatten)]
    search: Search,
}

/// How searches with large networks share the processors.
#[derive(Debug, Args)]
pub(super) struct Workers {
    /// Threads of every search [default: all processors, shared by the jobs]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// Searches that run at the same time [default: 1, on cuda all trials of a search]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1024))]
    jobs: Option<u64>,
}

impl Workers {
    /// Of so many searches: how many run at the same time, `together` unless it is said otherwise, and the threads of each.
    pub(super) fn share(&self, searches: usize, together: Option<usize>) -> (usize, usize) {
        let jobs = self.jobs.map_or(together.unwrap_or(1), |jobs| jobs as usize).min(searches).max(1);
        (jobs, self.threads.map_or_else(|| available_threads().div_ceil(jobs), |threads| threads as usize))
    }
}

#[derive(Debug, Args)]
pub(super) struct Ptb {
    #[command(flatten)]
    folder: DataFolder,
    /// Corpus: CORPUS/CORPUS.train.txt, .valid.txt and .test.txt in the data folder [default: ptb]
    #[arg(long, value_name = "CORPUS")]
    corpus: Option<String>,
    #[command(flatten)]
    workers: Workers,
    #[command(flatten)]
    search: Search,
}

/// What every search understands.
#[derive(Debug, Args)]
struct Search {
    /// Settings to start from, by name [default: full]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Search method, see `advnas methods` [default: advantage-nas]
    #[arg(long, value_name = "M")]
    method: Option<Method>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(..=LARGEST))]
    seed: Option<u64>,
    /// Number of independent trials of the seed
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u32).range(1..=10_000))]
    trials: u32,
    /// Updates of theta from one row of the logs to the next [default: the preset's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=LARGEST))]
    interval: Option<u64>,
    /// Change a setting, such as theta.learning_rate=0.01; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    /// Folder for the files [default: runs/EXPERIMENT-METHOD-seedS, with the preset if one is named]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with what is in the folder; a finished run is left as it is
    #[arg(long)]
    resume: bool,
    /// Pause each trial after so many steps in all; changes no number
    #[arg(long, value_name = "STEPS", value_parser = value_parser!(u64).range(1..))]
    stop_after: Option<u64>,
    /// Steps from one checkpoint to the next; changes no number
    #[arg(long, value_name = "STEPS", default_value_t = CHECKPOINT_EVERY, value_parser = value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Where the network runs: cpu, cuda, cuda:N, or auto for cuda if there is one
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Choice,
    /// Whether it convolves in TF32 there; an option of those searches that do.
    #[arg(skip)]
    tf32: bool,
    /// No estimate and no progress bar
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the searches of one command.
pub(super) fn run(experiment: Experiment) -> anyhow::Result<ExitCode> {
    match experiment {
        Experiment::Toy(Toy { iterations, threads, search }) => {
            let own = iterations.map(|iterations| Override::new("iterations", iterations));
            let backend = Backend::open(search.device)?;
            let at_once = threads.map_or_else(|| search.default_threads(&backend), |threads| threads as usize);
            search.run(&ToyRegression { backend }, settings::Experiment::Toy, own.as_slice(), None, at_once)
        }
        Experiment::Cifar10(Cifar10 { folder, cache, workers, tf32, search }) => {
            let search = Search { tf32, ..search };
            let backend = Backend::open_with(search.device, tf32)?;
            // On a device, all trials are answered by one launch.
            let together = matches!(backend, Backend::Cuda { .. }).then_some(search.trials as usize);
            let (jobs, threads) = workers.share(search.trials as usize, together);
            // What is wrong with the settings is said before images are decoded.
            cifar10::plan(&search.settings(settings::Experiment::Cifar10, &[])?)?;
            let experiment = CellSearch::load(&folder.data, &cache.cache(), threads, backend)?;
            search.run(&experiment, settings::Experiment::Cifar10, &[], Some(&folder.data), jobs)
        }
        Experiment::Ptb(Ptb { folder, corpus, workers, search }) => {
            search.on_the_cpu("the search on a text")?;
            let own = corpus.map(|corpus| Override::new("ptb.corpus", corpus));
            let (jobs, threads) = workers.share(search.trials as usize, None);
            let settings = search.settings(settings::Experiment::Ptb, own.as_slice())?;
            let experiment = RecurrentSearch(Language::load(&folder.data, &settings, threads)?);
            search.run(&experiment, settings::Experiment::Ptb, own.as_slice(), Some(&folder.data), jobs)
        }
    }
}

/// Says how the trials ended; a trial without an end was not begun.
pub(super) fn report<O: Summary + Clone>(
    folder: &Path,
    left: usize,
    ends: &[Option<Progressed<O>>],
    stop: &Stop,
    resume: &str,
) -> anyhow::Result<ExitCode> {
    let mut results: Vec<O> = Vec::new();
    let mut paused = Vec::new();
    for end in ends {
        match end {
            Some(Progressed::Finished(result)) => results.push((**result).clone()),
            Some(Progressed::Paused { position, steps }) => paused.push((*position, *steps)),
            None => {}
        }
    }
    let mut out = String::new();
    if left == 0 {
        out.push_str(&format!("{} is already finished, nothing is left to do\n", folder.display()));
    }
    match (&results[..], ends.len()) {
        ([result], 1) => out.push_str(&result.of_one(folder)),
        (results, count) => out.push_str(&O::of_many(results, count, folder)),
    }
    if results.len() == ends.len() {
        print(&out)?;
        return Ok(ExitCode::SUCCESS);
    }
    let how = if stop.is_interrupted() { "interrupted" } else { "paused" };
    let place = match paused[..] {
        [(position, steps)] if ends.len() == 1 => format!("{how} at step {position} of {steps}"),
        _ => format!("{how} with {} of {} trials finished", results.len(), ends.len()),
    };
    out.push_str(&format!("{place}; to go on:\n  {resume}\n"));
    print(&out)?;
    Ok(if stop.is_interrupted() { ExitCode::from(EXIT_INTERRUPTED) } else { ExitCode::SUCCESS })
}

impl Search {
    /// Runs the trials, so many at the same time; `own` are settings from options that only this experiment has, of
    /// their names; `data` is the folder of the data sets, where they are read.
    fn run<E>(
        &self,
        experiment: &E,
        name: settings::Experiment,
        own: &[Override],
        data: Option<&Path>,
        at_once: usize,
    ) -> anyhow::Result<ExitCode>
    where
        E: experiment::Experiment<Outcome: Summary>,
    {
        let settings = self.settings(name, own)?;
        let steps = experiment.steps(&settings)?;
        let folder = self.folder(&settings);
        // Before anything is written, so that nothing that is written can be left half done by a signal.
        let stop = Stop::on_signals()?;
        let trials = Trials::new(&folder, self.trials, self.resume)?;
        let runs = trials.folders().into_iter().enumerate().map(|(index, path)| {
            // A single run may be any trial; several are numbered as their folders.
            let settings = if self.trials > 1 { settings.for_trial(index as u32) } else { settings.clone() };
            (path, settings)
        });
        let sweep = Sweep::prepare(experiment, runs, self.resume, at_once)?;

        let left = sweep.left();
        summary::announce(&sweep, self.quiet, &stop)?;
        let progress = Progress::over(steps.saturating_mul(left as u64), self.quiet);
        let orders = Orders {
            stop: &stop,
            stop_after: self.stop_after,
            checkpoint_every: self.checkpoint_every,
            progress: &progress,
        };
        let ends = sweep.work(&orders);
        progress.finish();
        let resume = self.resume_command(&settings, own, data, &folder);
        let ends = ends.map_err(|error| stopped(error, &resume))?;
        report(&folder, left, &ends, &stop, &resume)
    }

    fn settings(&self, experiment: settings::Experiment, own: &[Override]) -> Result<Settings> {
        let mut overrides = Vec::new();
        overrides.extend(self.method.map(|method| Override::new("method", method)));
        overrides.extend(self.seed.map(|seed| Override::new("seed", seed)));
        overrides.extend(own.iter().cloned());
        overrides.extend(self.interval.map(|interval| Override::new("interval", interval)));
        overrides.extend(self.overrides.iter().cloned());
        if self.trials > 1 && overrides.iter().any(|change| change.key == "trial") {
            return Err(Error::Usage(
                "the setting trial picks a single trial, it does not go with --trials".to_owned(),
            ));
        }
        Settings::resolve(experiment, self.preset.as_deref(), &overrides)
    }

    fn folder(&self, settings: &Settings) -> PathBuf {
        self.out.clone().unwrap_or_else(|| {
            let (experiment, method, seed) = (settings.experiment.name(), settings.method, settings.seed);
            let preset = self.preset.as_ref().map(|preset| format!("-{preset}")).unwrap_or_default();
            Path::new(RUNS).join(format!("{experiment}{preset}-{method}-seed{seed}"))
        })
    }

    /// Refuses a CUDA device where there is no network for it.
    fn on_the_cpu(&self, what: &str) -> Result<()> {
        match self.device {
            Choice::Cpu | Choice::Auto => Ok(()),
            Choice::Cuda(_) => Err(Error::Usage(format!("{what} runs on the CPU only, got --device {}", self.device))),
        }
    }

    fn default_threads(&self, backend: &Backend) -> usize {
        match backend {
            Backend::Cpu => available_threads(),
            Backend::Cuda { .. } => device::MOST_THREADS.min(self.trials as usize),
        }
    }

    /// The command that goes on with this one, with everything that must agree.
    fn resume_command(&self, settings: &Settings, own: &[Override], data: Option<&Path>, folder: &Path) -> String {
        let mut words = vec!["advnas".to_owned(), "search".to_owned(), settings.experiment.name().to_owned()];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                // In one word, so that a value may begin with a dash.
                words.push(format!("--{name}={value}"));
            }
        };
        option("preset", self.preset.clone());
        option("method", self.method.map(|method| method.to_string()));
        option("seed", self.seed.map(|seed| seed.to_string()));
        option("trials", (self.trials > 1).then(|| self.trials.to_string()));
        for change in own {
            // An option has the name of its setting, without the table that this is in.
            option(change.key.rsplit('.').next().unwrap_or_default(), Some(change.value().to_owned()));
        }
        option("interval", self.interval.map(|interval| interval.to_string()));
        for change in &self.overrides {
            option("set", Some(change.to_string()));
        }
        option("device", (self.device != Choice::Cpu).then(|| self.device.to_string()));
        option("data", data.map(|data| data.display().to_string()));
        option("out", Some(folder.display().to_string()));
        if self.tf32 {
            words.push("--tf32".to_owned());
        }
        words.push("--resume".to_owned());
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
    }
}

/// Processors that this process may use.
pub(super) fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}
