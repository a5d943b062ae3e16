//! `advnas dump`: one step of a search as a file.

use std::path::PathBuf;
use std::process::ExitCode;

use advantage_nas::strategy::Method;
use clap::{Args, Subcommand, value_parser};

use super::data::DataFolder;
use super::print;
use super::search::{LARGEST, available_threads};
use crate::experiment::ptb::{self, Language};
use crate::settings::{self, Override, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Experiment {
    /// Penn Treebank (section 5.3)
    Ptb(Ptb),
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
    /// Updates of theta before the one that is dumped; each comes with one of the weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    after: u64,
    /// The file, in the format of safetensors
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
    #[command(flatten)]
    dump: Dump,
}

pub(super) fn run(experiment: Experiment) -> anyhow::Result<ExitCode> {
    let Experiment::Ptb(Ptb { folder, corpus, dump }) = experiment;
    let corpus = corpus.map(|corpus| Override::new("ptb.corpus", corpus));
    let settings = dump.settings(settings::Experiment::Ptb, corpus)?;
    let language = Language::load(&folder.data, &settings, available_threads())?;
    ptb::dump::dump(language, &settings, dump.after)?.write(&dump.out)?;
    dump.said(&settings)
}

impl Dump {
    fn settings(&self, experiment: settings::Experiment, own: Option<Override>) -> crate::Result<Settings> {
        let mut overrides = Vec::new();
        overrides.extend(self.method.map(|method| Override::new("method", method)));
        overrides.extend(self.seed.map(|seed| Override::new("seed", seed)));
        overrides.extend(own);
        overrides.extend(self.overrides.iter().cloned());
        Settings::resolve(experiment, self.preset.as_deref(), &overrides)
    }

    fn said(&self, settings: &Settings) -> anyhow::Result<ExitCode> {
        let Self { after, out, .. } = self;
        print(&format!("{}: {}, the step of theta after {after} others\n", out.display(), settings.method))?;
        Ok(ExitCode::SUCCESS)
    }
}
