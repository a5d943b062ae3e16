//! `advnas retrain`: trains the architecture that a search has found, with new weights.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum, value_parser};

use super::data::DataFolder;
use super::search::{CHECKPOINT_EVERY, LARGEST, RUNS, available_threads, report};
use super::stopped;
use super::summary::announce;
use crate::error::{Error, Result};
use crate::experiment::Experiment as _;
use crate::experiment::ptb::cell::parse_cell;
use crate::experiment::ptb::retraining::Retraining;
use crate::experiment::ptb::search::PtbResult;
use crate::experiment::ptb::{Choose, Language};
use crate::progress::Progress;
use crate::run::Orders;
use crate::run::directory::{RESULT, config_in, result_in};
use crate::settings::{self, Override, Settings};
use crate::stop::Stop;
use crate::sweep::Sweep;

#[derive(Debug, Subcommand)]
pub(super) enum Experiment {
    /// A recurrent cell of section 5.3: its perplexity on the validation and the test text
    ///
    /// The settings are those of the search, unless they are changed. The folder gets the files of a run; result.json has the perplexities of
    /// the last weights. Ctrl-C pauses; --resume goes on, bit for bit.
    #[command(after_help = EXAMPLE)]
    Ptb(Ptb),
}

const EXAMPLE: &str = "\
Example:
  advnas retrain ptb --from runs/ptb-small-advantage-nas-seed0
  advnas retrain ptb --preset small --architecture '|tanh~0|+|tanh~0|tanh~1|+|tanh~0|tanh~1|tanh~2|'";

/// Which cell of a search.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// The argmax cell at the end
    Argmax,
    /// The cell with the smallest minibatch loss
    ProcessBest,
}

#[derive(Debug, Args)]
pub(super) struct Ptb {
    /// Folder of the finished search
    #[arg(long, value_name = "RUN", required_unless_present = "architecture")]
    from: Option<PathBuf>,
    /// Which of its cells [default: by method as in the paper, see the setting retraining.choose]
    #[arg(long, value_name = "WHICH", requires = "from", conflicts_with = "architecture")]
    choose: Option<Which>,
    /// Another cell: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|
    #[arg(long, value_name = "CELL")]
    architecture: Option<String>,
    /// Without --from, settings to start from, by name [default: full]
    #[arg(long, value_name = "NAME", conflicts_with = "from")]
    preset: Option<String>,
    #[command(flatten)]
    folder: DataFolder,
    /// Without --from, the corpus: CORPUS/CORPUS.train.txt, .valid.txt and .test.txt in the data folder [default: ptb]
    #[arg(long, value_name = "CORPUS", conflicts_with = "from")]
    corpus: Option<String>,
    /// Seed of the new weights and of the dropout masks [default: that of the search, or 0]
    #[arg(long, value_name = "S", value_parser = value_parser!(u64).range(..=LARGEST))]
    seed: Option<u64>,
    /// Change a setting, such as retraining.epochs=10; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    /// Folder for the files [default: that of the search with -retraining, or runs/ptb-retraining-seedS]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with what is in the folder; a finished run is left as it is
    #[arg(long)]
    resume: bool,
    /// Threads [default: all processors]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// Pause after so many steps in all; changes no number
    #[arg(long, value_name = "STEPS", value_parser = value_parser!(u64).range(1..))]
    stop_after: Option<u64>,
    /// Steps from one checkpoint to the next; changes no number
    #[arg(long, value_name = "STEPS", default_value_t = CHECKPOINT_EVERY, value_parser = value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// No estimate and no progress bar
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(experiment: Experiment) -> anyhow::Result<ExitCode> {
    let Experiment::Ptb(arguments) = experiment;
    let settings = arguments.settings()?;
    let threads = arguments.threads.map_or_else(available_threads, |threads| threads as usize);
    let experiment = Retraining(Language::load(&arguments.folder.data, &settings, threads)?);
    let steps = experiment.steps(&settings)?;
    let folder = arguments.out(&settings);
    let stop = Stop::on_signals()?;
    let sweep = Sweep::prepare(&experiment, [(folder.clone(), settings.clone())], arguments.resume, 1)?;
    let left = sweep.left();
    announce(&sweep, arguments.quiet, &stop)?;
    let progress = Progress::over(steps.saturating_mul(left as u64), arguments.quiet);
    let orders = Orders {
        stop: &stop,
        stop_after: arguments.stop_after,
        checkpoint_every: arguments.checkpoint_every,
        progress: &progress,
    };
    let ends = sweep.work(&orders);
    progress.finish();
    let resume = arguments.resume_command(&folder);
    let ends = ends.map_err(|error| stopped(error, &resume))?;
    report(&folder, left, &ends, &stop, &resume)
}

impl Ptb {
    fn settings(&self) -> Result<Settings> {
        let mut overrides: Vec<Override> = Vec::new();
        overrides.extend(self.seed.map(|seed| Override::new("seed", seed)));
        overrides.extend(self.corpus.as_ref().map(|corpus| Override::new("ptb.corpus", corpus)));
        overrides.extend(self.overrides.iter().cloned());
        // Cells are written in one way only.
        let given = self.architecture.as_deref().map(parse_cell).transpose()?;
        let given = given.map(|cell| (cell.to_string(), "given".to_owned()));
        let Some(from) = &self.from else {
            let search = Settings::resolve(settings::Experiment::Ptb, self.preset.as_deref(), &overrides)?;
            let (cell, chosen) = given.expect("clap wants one of them");
            return Ok(search.for_retraining(&cell, &chosen));
        };
        let config = config_in(from)?;
        let wrong = |problem: String| Error::Usage(format!("{}: {problem}", from.display()));
        let search = Settings::from_table(&config.settings).map_err(wrong)?;
        if search.experiment != settings::Experiment::Ptb {
            return Err(wrong(format!("expected a search of a recurrent cell, found {}", search.experiment.name())));
        }
        let method = search.method;
        let search = search.with(&overrides)?;
        if given.is_none() && search.method != method {
            let problem =
                format!("its cells are those of {method}, another method is not a setting of their retraining");
            return Err(wrong(problem));
        }
        let (cell, chosen) = match given {
            Some(given) => given,
            None => {
                if !from.join(RESULT).exists() {
                    return Err(wrong("the search is not finished; go on with it by --resume".to_owned()));
                }
                let result: PtbResult = result_in(from)?;
                let choose = match self.choose {
                    Some(Which::Argmax) => Choose::Argmax,
                    Some(Which::ProcessBest) => Choose::ProcessBest,
                    None => {
                        search.get::<crate::experiment::ptb::RetrainingSettings>("retraining")?.choose.of(search.method)
                    }
                };
                (result.chosen(choose)?.cell.cell.clone(), choose.name().to_owned())
            }
        };
        Ok(search.for_retraining(&cell, &chosen))
    }

    fn out(&self, settings: &Settings) -> PathBuf {
        match (&self.out, &self.from) {
            (Some(out), _) => out.clone(),
            (None, Some(from)) => {
                // `runs/x/` and `runs/x` are the same.
                let mut name = from.components().as_path().as_os_str().to_owned();
                name.push("-retraining");
                PathBuf::from(name)
            }
            (None, None) => Path::new(RUNS).join(format!("ptb-retraining-seed{}", settings.seed)),
        }
    }

    /// The command that goes on with this one, with everything that must agree.
    fn resume_command(&self, folder: &Path) -> String {
        let mut words = vec!["advnas".to_owned(), "retrain".to_owned(), "ptb".to_owned()];
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                words.push(format!("--{name}={value}"));
            }
        };
        option("from", self.from.as_ref().map(|from| from.display().to_string()));
        let choose = self.choose.and_then(|choose| choose.to_possible_value());
        option("choose", choose.map(|choose| choose.get_name().to_owned()));
        option("architecture", self.architecture.clone());
        option("preset", self.preset.clone());
        option("corpus", self.corpus.clone());
        option("seed", self.seed.map(|seed| seed.to_string()));
        for change in &self.overrides {
            option("set", Some(change.to_string()));
        }
        option("out", Some(folder.display().to_string()));
        words.push("--resume".to_owned());
        shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
    }
}
