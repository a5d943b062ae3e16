//! `advnas dump`: one step of a search as a file, for programs of other people that check it.

use std::path::PathBuf;
use std::process::ExitCode;

use advantage_nas::strategy::{Method, StepKind};
use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::data::{CacheFolder, DataFolder};
use super::print;
use super::search::{LARGEST, available_threads};
use crate::device::{Backend, Choice};
use crate::error::Error;
use crate::experiment::Experiment as _;
use crate::experiment::cifar10::{self, CellSearch};
use crate::experiment::ptb::search::RecurrentSearch;
use crate::experiment::ptb::{self, Language};
use crate::settings::{self, Override, Settings};
use crate::{dump, memory};

#[derive(Debug, Subcommand)]
pub(super) enum Experiment {
    /// Penn Treebank (section 5.3)
    Ptb(Ptb),
    /// CIFAR-10 (section 5.2): weights, minibatch, proposal, loss, gradients and updated weights of one step
    ///
    /// The search runs --after steps. Then the network is evaluated and its weights are updated once, on the minibatch and with the
    /// proposal of the next update of theta (or of the weights). paper/README.md lists every tensor of the file.
    #[command(after_help = CIFAR10_EXAMPLE)]
    Cifar10(Cifar10),
}

const CIFAR10_EXAMPLE: &str = "\
Example:
  advnas dump cifar10 --preset tiny --method darts --seed 1 --out step.safetensors --data DIR
  advnas dump cifar10 --preset tiny --method reinforce --set cifar10.zero=true --step weights --out step.safetensors";

#[derive(Debug, Args)]
pub(super) struct Cifar10 {
    #[command(flatten)]
    folder: DataFolder,
    #[command(flatten)]
    cache: CacheFolder,
    /// Steps of the search before
    #[arg(long, value_name = "STEPS", default_value_t = 4)]
    after: u64,
    /// Whose proposal and minibatch
    #[arg(long, value_name = "KIND", default_value = "theta")]
    step: Kind,
    /// Where the network runs: cpu, cuda, cuda:N, or auto for cuda if there is one
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Choice,
    /// On a CUDA device, convolutions by tensor cores with factors that are rounded to TF32: faster, less exact
    #[arg(long)]
    tf32: bool,
    #[command(flatten)]
    dump: Dump,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Of an update of theta
    Theta,
    /// Of an update of the weights
    Weights,
}

/// What every dump understands.
#[derive(Debug, Args)]
struct Dump {
    /// Settings to start from, by name [default: full]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Search method, see `advnas methods` [default: advantage-nas]
    #[arg(long, value_name = "M")]
    method: Option<Method>,
    /// Seed of all random numbers [default: 0]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(..=LARGEST))]
    seed: Option<u64>,
    /// Change a setting, such as theta.learning_rate=0.01; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    /// The file, in the format of safetensors; what is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Ptb {
    #[command(flatten)]
    folder: DataFolder,
    /// Corpus: CORPUS/CORPUS.train.txt, .valid.txt and .test.txt in the data folder [default: ptb]
    #[arg(long, value_name = "CORPUS")]
    corpus: Option<String>,
    /// Updates of theta before the one that is dumped; each comes with one of the weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    #[command(flatten)]
    dump: Dump,
}

pub(super) fn run(experiment: Experiment) -> anyhow::Result<ExitCode> {
    match experiment {
        Experiment::Ptb(Ptb { folder, corpus, after, dump }) => {
            let corpus = corpus.map(|corpus| Override::new("ptb.corpus", corpus));
            let settings = dump.settings(settings::Experiment::Ptb, corpus)?;
            let language = Language::load(&folder.data, &settings, available_threads())?;
            memory::check(vec![RecurrentSearch(language.clone()).memory(&settings)?], 1, 0)?;
            ptb::dump::dump(language, &settings, after)?.write(&dump.out)?;
            dump.said(&settings, &format!("the step of theta after {after} others"))
        }
        Experiment::Cifar10(Cifar10 { folder, cache, after, step, device, tf32, dump }) => {
            // What is wrong with the settings is said before images are decoded.
            let settings = dump.settings(settings::Experiment::Cifar10, None)?;
            cifar10::plan(&settings)?;
            let backend = Backend::open_with(device, tf32)?;
            let experiment = CellSearch::load(&folder.data, &cache.cache(), available_threads(), backend)?;
            memory::check(vec![experiment.memory(&settings)?], 1, experiment.shared_memory())?;
            let (kind, of) = match step {
                Kind::Theta => (StepKind::Theta, "theta"),
                Kind::Weights => (StepKind::Weights, "the weights"),
            };
            let (content, position) = dump::cifar10::dump(&experiment, &settings, after, kind)?;
            content.write(&dump.out)?;
            dump.said(&settings, &format!("a step of {of} after {position} steps"))
        }
    }
}

impl Dump {
    fn settings(&self, experiment: settings::Experiment, own: Option<Override>) -> crate::Result<Settings> {
        // A search may take minutes: that its file can't be written is said before.
        if self.out.is_dir() {
            return Err(Error::Usage(format!("--out must name a file, {} is a folder", self.out.display())));
        }
        let folder = self.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            return Err(Error::Usage(format!("--out: there is no folder {}", folder.display())));
        }
        let mut overrides = Vec::new();
        overrides.extend(self.method.map(|method| Override::new("method", method)));
        overrides.extend(self.seed.map(|seed| Override::new("seed", seed)));
        overrides.extend(own);
        overrides.extend(self.overrides.iter().cloned());
        Settings::resolve(experiment, self.preset.as_deref(), &overrides)
    }

    fn said(&self, settings: &Settings, which: &str) -> anyhow::Result<ExitCode> {
        print(&format!("{}: {}, {which}\n", self.out.display(), settings.method))?;
        Ok(ExitCode::SUCCESS)
    }
}
