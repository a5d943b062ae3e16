//! `advnas reproduce`: a table or a figure of the paper, from the searches it needs to the files that show it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use advantage_nas::strategy::Method;
use anyhow::Context;
use clap::{Args, Subcommand, value_parser};

use super::print;
use super::search::{CHECKPOINT_EVERY, LARGEST, RUNS, available_threads};
use crate::device::Backend;
use crate::experiment::Experiment as _;
use crate::experiment::toy::ToyRegression;
use crate::progress::Progress;
use crate::reproduce::figure_1::{self, Curves};
use crate::reproduce::section_4_4::Numbers;
use crate::run::{Orders, files};
use crate::settings::{Experiment, Override, Settings};
use crate::stop::{EXIT_INTERRUPTED, Stop};
use crate::sweep::Sweep;

#[derive(Debug, Subcommand)]
pub(super) enum Subject {
    /// Figure 1: toy regression, test loss over the iterations for every method
    ///
    /// Leaves figure-1.svg, figure-1.csv and figure-1.md in the folder, beside one folder of runs per method. Finished runs are
    /// not repeated, even of another build, which is a warning; after an interrupt, the same command goes on.
    #[command(name = "figure-1", after_help = EXAMPLE)]
    Figure1(Figure1),
    /// Section 4.4: variance against the number of edges, tightness of Theorem 4.1, the formulas as printed and correct
    ///
    /// Leaves section-4-4.svg, section-4-4-bound.svg, section-4-4.csv, section-4-4-bound.csv and section-4-4.md in the folder.
    #[command(name = "section-4-4")]
    Section44(Section44),
}

const EXAMPLE: &str = "\
Example:
  advnas reproduce figure-1                       10 trials of 8 methods
  advnas reproduce figure-1 --trials 100 --all --out runs/figure-1-100";

#[derive(Debug, Args)]
pub(super) struct Figure1 {
    /// Trials of every method
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = value_parser!(u32).range(1..=10_000))]
    trials: u32,
    /// Updates of theta
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = value_parser!(u64).range(1..=LARGEST))]
    iterations: u64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = value_parser!(u64).range(..=LARGEST))]
    seed: u64,
    /// All methods instead of the figure's eight
    #[arg(long)]
    all: bool,
    /// Logarithmic axis of the loss
    #[arg(long)]
    log: bool,
    /// Folder for the files [default: runs/figure-1]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Searches that run at the same time [default: all processors]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=65_536))]
    threads: Option<u64>,
    /// No progress bar
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct Section44 {
    /// Draws of rewards and architectures for every sampled point
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = value_parser!(u64).range(2..=1_000_000_000))]
    draws: u64,
    /// Seed of all random numbers
    #[arg(long, value_name = "S", default_value_t = 0, value_parser = value_parser!(u64).range(..=LARGEST))]
    seed: u64,
    /// Folder for the files [default: runs/section-4-4]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(subject: Subject) -> anyhow::Result<ExitCode> {
    match subject {
        Subject::Figure1(figure) => figure_1(&figure),
        Subject::Section44(section) => section_4_4(&section),
    }
}

fn section_4_4(section: &Section44) -> anyhow::Result<ExitCode> {
    let folder = section.out.clone().unwrap_or_else(|| Path::new(RUNS).join("section-4-4"));
    fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    let numbers = Numbers::compute(section.draws, section.seed)?;
    let table = numbers.table();
    let drawn = |svg: Result<String, String>| svg.map_err(anyhow::Error::msg).context("can't draw the figure");
    let files = [
        ("section-4-4.svg", drawn(numbers.variance_svg())?),
        ("section-4-4-bound.svg", drawn(numbers.bound_svg())?),
        ("section-4-4.csv", numbers.variance_csv()),
        ("section-4-4-bound.csv", numbers.bound_csv()),
        ("section-4-4.md", table.clone()),
    ];
    write(&folder, &files)?;
    print(&format!("{table}\nfigures, numbers and this table are in {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn figure_1(figure: &Figure1) -> anyhow::Result<ExitCode> {
    let folder = figure.out.clone().unwrap_or_else(|| Path::new(RUNS).join("figure-1"));
    let methods = figure_1::METHODS.to_vec();
    let others = Method::ALL.into_iter().filter(|method| figure.all && !figure_1::METHODS.contains(method));
    let settings = methods
        .into_iter()
        .chain(others)
        .map(|method| {
            let overrides = [
                Override::new("method", method),
                Override::new("seed", figure.seed),
                Override::new("iterations", figure.iterations),
            ];
            Settings::resolve(Experiment::Toy, None, &overrides)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let experiment = ToyRegression { backend: Backend::Cpu };
    let stop = Stop::on_signals()?;
    let runs = figure_1::runs(&folder, &settings, figure.trials);
    let places: Vec<PathBuf> = runs.iter().map(|(place, _)| place.clone()).collect();
    let sweep = Sweep::prepare(&experiment, runs, true)?;
    sweep.warn_of_other_builds();
    let steps = experiment.steps(&settings[0])?;
    let progress = Progress::over(steps.saturating_mul(sweep.left() as u64), figure.quiet);
    let orders = Orders { stop: &stop, stop_after: None, checkpoint_every: CHECKPOINT_EVERY, progress: &progress };
    let threads = figure.threads.map_or_else(available_threads, |threads| threads as usize);
    let ends = sweep.work(threads, &orders);
    progress.finish();
    ends?;
    if stop.is_interrupted() {
        print("interrupted; the same command goes on\n")?;
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }

    let trials = figure.trials as usize;
    let all = settings
        .iter()
        .zip(places.chunks(trials))
        .map(|(settings, places)| Curves::read(settings.method, places))
        .collect::<Result<Vec<_>, _>>()?;
    let table = figure_1::table(&all);
    let files = [
        ("figure-1.svg", figure_1::svg(&all, figure.log)?),
        ("figure-1.csv", figure_1::csv(&all)),
        ("figure-1.md", table.clone()),
    ];
    write(&folder, &files)?;
    print(&format!("{table}\nfigure-1.svg, figure-1.csv and figure-1.md are in {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes every file as a whole or not at all.
fn write(folder: &Path, contents: &[(&str, String)]) -> crate::Result<()> {
    contents.iter().try_for_each(|(name, content)| files::replace(folder, name, content.as_bytes()))
}
