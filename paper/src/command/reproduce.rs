//! `advnas reproduce`: a table or a figure of the paper, from the searches it needs to the files that show it.

use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::{env, fmt, fs};

use advantage_nas::strategy::Method;
use anyhow::Context;
use clap::{Args, Subcommand, value_parser};

use super::data::{CacheFolder, DataFolder};
use super::search::{CHECKPOINT_EVERY, LARGEST, RUNS, Workers, available_threads};
use super::summary::announce;
use super::{print, stopped};
use crate::data::nas_bench_201::Benchmark;
use crate::device::{Backend, Choice};
use crate::experiment::Experiment as _;
use crate::experiment::cifar10::{self, CellSearch, Cifar10Settings};
use crate::experiment::ptb::Language;
use crate::experiment::ptb::retraining::Retraining;
use crate::experiment::ptb::search::RecurrentSearch;
use crate::experiment::toy::ToyRegression;
use crate::progress::Progress;
use crate::reproduce::cells::{self, Searches};
use crate::reproduce::figure_1::{self, Curves};
use crate::reproduce::memory::{self, Measured, Question};
use crate::reproduce::section_4_4::Numbers;
use crate::reproduce::table_3::{self, Origin, Row};
use crate::run::directory::result_in;
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
    /// Table 2: cells found on CIFAR-10 by the methods of sparse propagation, argmax and process best, beside the paper's numbers
    ///
    /// Leaves table-2.md and table-2.csv in the folder, beside METHOD/seed-S with the files of a search each. Finished searches are
    /// not repeated, killed ones go on with the same command. Table 2, Figure 2, Appendix G and Appendix H share their searches.
    #[command(name = "table-2", after_help = CELLS_EXAMPLE)]
    Table2(Cells),
    /// Table 3: recurrent cells found on the Penn Treebank and trained anew, beside the paper's numbers and two references
    ///
    /// Leaves table-3.md, table-3.csv and appendix-i.svg in the folder, beside search/METHOD/seed-S and retraining/METHOD/seed-S with the
    /// files of a run each. Finished runs are not repeated, killed ones go on with the same command.
    #[command(name = "table-3", after_help = TABLE_3_EXAMPLE)]
    Table3(Table3),
    /// Figure 2: accuracy of the argmax cell over the epochs of theta, median over the seeds; leaves figure-2.svg and .csv
    #[command(name = "figure-2")]
    Figure2(Cells),
    /// Appendix F: Table 2 with the zero operation among the candidates; leaves appendix-f.md and .csv
    #[command(name = "appendix-f")]
    AppendixF(Cells),
    /// Appendix G: the methods of dense propagation beside AdvantageNAS; leaves appendix-g.md and .csv
    #[command(name = "appendix-g")]
    AppendixG(Cells),
    /// Appendix H: entropy of the policy over the epochs of theta, median over the seeds; leaves appendix-h.svg and .csv
    #[command(name = "appendix-h")]
    AppendixH(Cells),
    /// Table 1's memory (claim C20): what sparse and dense methods need beside the weights, for 2 to 32 candidates an edge
    ///
    /// Leaves memory.csv and memory.md in the folder. Every number is measured in a process of its own, which on the CPU only Linux can; no
    /// data set is needed. Takes some minutes and 3 GB, on cuda of the device's memory.
    #[command(name = "memory")]
    Memory(Memory),
    /// One measurement of `memory`, in this process
    #[command(name = "memory-of", hide = true)]
    MemoryOf(MemoryOf),
}

const TABLE_3_EXAMPLE: &str = "\
Example:
  advnas reproduce table-3 --preset small --data DIR
  advnas reproduce table-3 --methods advantage-nas,reinforce --seeds 0,1 --jobs 2";

const CELLS_EXAMPLE: &str = "\
Example:
  advnas reproduce table-2 --preset small --data DIR
  advnas reproduce table-2 --methods advantage-nas,reinforce --seeds 0,1 --jobs 2";

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
pub(super) struct Cells {
    /// Preset of the searches: full, small, tiny
    #[arg(long, value_name = "NAME", default_value = "full")]
    preset: String,
    /// Methods, separated by commas [default: those of the paper]
    #[arg(long, value_name = "M,...", value_delimiter = ',')]
    methods: Vec<Method>,
    /// Seeds, separated by commas
    #[arg(long, value_name = "S,...", value_delimiter = ',', default_value = "0,1,2",
          value_parser = value_parser!(u64).range(..=LARGEST))]
    seeds: Vec<u64>,
    /// Change a setting of all searches, such as cifar10.epochs=20; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    #[command(flatten)]
    folder: DataFolder,
    #[command(flatten)]
    cache: CacheFolder,
    #[command(flatten)]
    workers: Workers,
    /// Where the networks run: cpu, cuda, cuda:N, or auto for cuda if there is one
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Choice,
    /// On a CUDA device, convolutions by tensor cores with factors that are rounded to TF32: faster, less exact
    #[arg(long)]
    tf32: bool,
    /// Folder for the files [default: runs/cifar10-PRESET, with the zero operation runs/cifar10-PRESET-zero]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No estimate and no progress bar
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, Args)]
pub(super) struct Table3 {
    /// Preset of the runs: full, small, tiny
    #[arg(long, value_name = "NAME", default_value = "full")]
    preset: String,
    /// Methods, separated by commas [default: those of the paper]
    #[arg(long, value_name = "M,...", value_delimiter = ',')]
    methods: Vec<Method>,
    /// Seeds, separated by commas
    #[arg(long, value_name = "S,...", value_delimiter = ',', default_value = "0,1,2",
          value_parser = value_parser!(u64).range(..=LARGEST))]
    seeds: Vec<u64>,
    /// Corpus: CORPUS/CORPUS.train.txt, .valid.txt and .test.txt in the data folder [default: ptb]
    #[arg(long, value_name = "CORPUS")]
    corpus: Option<String>,
    /// Change a setting of all runs, such as retraining.epochs=20; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<Override>,
    #[command(flatten)]
    folder: DataFolder,
    #[command(flatten)]
    workers: Workers,
    /// Folder for the files [default: runs/ptb-PRESET]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No estimate and no progress bar
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

#[derive(Debug, Args)]
pub(super) struct Memory {
    /// All methods instead of one for every kind of proposal
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    sizes: Sizes,
    /// Where the networks run and memory is measured: cpu, cuda, cuda:N, or auto for cuda if there is one
    #[arg(long, value_name = "DEVICE", default_value_t)]
    device: Choice,
    /// Folder for the files [default: runs/memory, on cuda runs/memory-cuda]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// No progress bar
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, Args)]
struct Sizes {
    /// Images of a minibatch
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = value_parser!(u16).range(1..=4096))]
    batch: u16,
    /// Cells of every stage
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = value_parser!(u16).range(1..=100))]
    cells: u16,
    /// Channels of the first stage
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = value_parser!(u16).range(1..=256))]
    channels: u16,
}

#[derive(Debug, Args)]
pub(super) struct MemoryOf {
    method: Method,
    #[arg(value_parser = value_parser!(u16).range(1..=1000))]
    candidates: u16,
    #[command(flatten)]
    sizes: Sizes,
    #[arg(long, default_value_t)]
    device: Choice,
}

pub(super) fn run(subject: Subject) -> anyhow::Result<ExitCode> {
    match subject {
        Subject::Figure1(figure) => figure_1(&figure),
        Subject::Section44(section) => section_4_4(&section),
        Subject::Table2(cells) => cells.run(cells::Subject::Table2),
        Subject::Table3(table) => table.run(),
        Subject::Figure2(cells) => cells.run(cells::Subject::Figure2),
        Subject::AppendixF(cells) => cells.run(cells::Subject::AppendixF),
        Subject::AppendixG(cells) => cells.run(cells::Subject::AppendixG),
        Subject::AppendixH(cells) => cells.run(cells::Subject::AppendixH),
        Subject::Memory(arguments) => memory(&arguments),
        Subject::MemoryOf(question) => memory_of(&question),
    }
}

impl Cells {
    /// The settings of all searches, method by method.
    fn settings(&self, subject: cells::Subject) -> crate::Result<Vec<Settings>> {
        let methods = if self.methods.is_empty() { subject.methods() } else { &self.methods };
        distinct("method", methods)?;
        distinct("seed", &self.seeds)?;
        let mut all = Vec::new();
        for method in methods {
            for seed in &self.seeds {
                let mut overrides = vec![Override::new("method", method), Override::new("seed", seed)];
                if subject.zero() {
                    overrides.push(Override::new("cifar10.zero", true));
                }
                overrides.extend(self.overrides.iter().cloned());
                all.push(Settings::resolve(Experiment::Cifar10, Some(&self.preset), &overrides)?);
            }
        }
        Ok(all)
    }

    fn run(&self, subject: cells::Subject) -> anyhow::Result<ExitCode> {
        let all = self.settings(subject)?;
        let own: Cifar10Settings = all[0].own()?;
        all.iter().try_for_each(|settings| cifar10::plan(settings).map(drop))?;
        let folder = self.out.clone().unwrap_or_else(|| {
            let zero = if own.zero { "-zero" } else { "" };
            Path::new(RUNS).join(format!("cifar10-{}{zero}", self.preset))
        });
        let (jobs, threads) = self.workers.share(all.len(), None);
        let backend = Backend::open_with(self.device, self.tf32)?;
        // Without it, there is nothing to show.
        let benchmark = Benchmark::load(&self.folder.data)?;
        let experiment = CellSearch::load(&self.folder.data, &self.cache.cache(), threads, backend)?;
        let stop = Stop::on_signals()?;
        let runs: Vec<(PathBuf, Settings)> =
            all.iter().map(|settings| (cells::place(&folder, settings), settings.clone())).collect();
        let places: Vec<PathBuf> = runs.iter().map(|(place, _)| place.clone()).collect();
        let sweep = Sweep::prepare(&experiment, runs, true, jobs)?;
        sweep.warn_of_other_builds();
        announce(&sweep, self.quiet, &stop)?;
        let progress = Progress::over(experiment.steps(&all[0])?.saturating_mul(sweep.left() as u64), self.quiet);
        let orders = Orders { stop: &stop, stop_after: None, checkpoint_every: CHECKPOINT_EVERY, progress: &progress };
        let ends = sweep.work(&orders);
        progress.finish();
        ends.map_err(|error| stopped(error, "the same command"))?;
        if stop.is_interrupted() {
            print("interrupted; the same command goes on\n")?;
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }

        let seeds = self.seeds.len();
        let searches = all
            .chunks(seeds)
            .zip(places.chunks(seeds))
            .map(|(settings, places)| Searches::read(settings[0].method, places, own.steps_per_epoch()))
            .collect::<Result<Vec<_>, _>>()?;
        let name = subject.name();
        let (shown, files) = if subject.is_table() {
            let table = cells::markdown(subject, own.zero, &searches, &benchmark)?;
            (table.clone(), [(format!("{name}.md"), table), (format!("{name}.csv"), cells::csv(&searches))])
        } else {
            let svg = cells::svg(subject, &searches)?;
            (
                String::new(),
                [(format!("{name}.svg"), svg), (format!("{name}.csv"), cells::curves_csv(subject, &searches))],
            )
        };
        let named: Vec<(&str, String)> = files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
        write(&folder, &named)?;
        print(&format!("{shown}\n{} and {} are in {}\n", files[0].0, files[1].0, folder.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Table3 {
    /// The settings of the searches, method by method, seed by seed.
    fn settings(&self) -> crate::Result<Vec<(Method, Vec<Settings>)>> {
        let methods = if self.methods.is_empty() { &table_3::METHODS[..] } else { &self.methods };
        distinct("method", methods)?;
        distinct("seed", &self.seeds)?;
        methods
            .iter()
            .map(|&method| {
                let resolve = |&seed| self.resolve(Some(method), seed);
                Ok((method, self.seeds.iter().map(resolve).collect::<crate::Result<_>>()?))
            })
            .collect()
    }

    /// The settings of one seed, for a method or for cells that none has found.
    fn resolve(&self, method: Option<Method>, seed: u64) -> crate::Result<Settings> {
        let mut overrides = vec![Override::new("seed", seed)];
        overrides.extend(method.map(|method| Override::new("method", method)));
        overrides.extend(self.corpus.as_ref().map(|corpus| Override::new("ptb.corpus", corpus)));
        overrides.extend(self.overrides.iter().cloned());
        Settings::resolve(Experiment::Ptb, Some(&self.preset), &overrides)
    }

    fn run(&self) -> anyhow::Result<ExitCode> {
        let methods = self.settings()?;
        let folder = self.out.clone().unwrap_or_else(|| Path::new(RUNS).join(format!("ptb-{}", self.preset)));
        let searches: Vec<(PathBuf, Settings)> = methods
            .iter()
            .flat_map(|(_, all)| all)
            .map(|settings| (table_3::search_place(&folder, settings), settings.clone()))
            .collect();
        let (jobs, threads) = self.workers.share(searches.len(), None);
        let language = Language::load(&self.folder.data, &searches[0].1, threads)?;
        let stop = Stop::on_signals()?;
        if !self.work(&RecurrentSearch(language.clone()), searches, jobs, &stop)? {
            print("interrupted; the same command goes on\n")?;
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }

        // The settings of the references must not depend on which methods are shown.
        let of_none = self.seeds.iter().map(|&seed| self.resolve(None, seed)).collect::<Result<Vec<_>, _>>()?;
        let references = Origin::REFERENCES.map(|origin| (origin, &of_none));
        let rows: Vec<(Origin, &Vec<Settings>)> =
            methods.iter().map(|(method, all)| (Origin::Searched(*method), all)).chain(references).collect();
        let mut retrainings = Vec::new();
        for (origin, all) in &rows {
            for settings in *all {
                retrainings.push(table_3::retraining(&folder, *origin, settings)?);
            }
        }
        let places: Vec<PathBuf> = retrainings.iter().map(|(place, _)| place.clone()).collect();
        if !self.work(&Retraining(language), retrainings, jobs, &stop)? {
            print("interrupted; the same command goes on\n")?;
            return Ok(ExitCode::from(EXIT_INTERRUPTED));
        }

        let read = |((origin, all), places): (&(Origin, &Vec<Settings>), &[PathBuf])| -> crate::Result<Row> {
            let runs = places.iter().map(|place| result_in(place)).collect::<Result<_, _>>()?;
            let searches = match origin {
                Origin::Searched(_) => all
                    .iter()
                    .map(|settings| result_in(&table_3::search_place(&folder, settings)))
                    .collect::<Result<_, _>>()?,
                _ => Vec::new(),
            };
            Ok(Row { origin: *origin, runs, searches })
        };
        let rows = rows.iter().zip(places.chunks(self.seeds.len())).map(read).collect::<Result<Vec<Row>, _>>()?;
        let table = table_3::markdown(&rows);
        let files = [
            ("table-3.md", table.clone()),
            ("table-3.csv", table_3::csv(&rows)),
            ("appendix-i.svg", table_3::cells(&rows)?),
        ];
        write(&folder, &files)?;
        print(&format!("{table}\ntable-3.md, table-3.csv and appendix-i.svg are in {}\n", folder.display()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Works on runs of the same length; says whether all are finished.
    fn work<E: crate::experiment::Experiment>(
        &self,
        experiment: &E,
        runs: Vec<(PathBuf, Settings)>,
        jobs: usize,
        stop: &Stop,
    ) -> anyhow::Result<bool> {
        let steps = experiment.steps(&runs[0].1)?;
        let sweep = Sweep::prepare(experiment, runs, true, jobs)?;
        sweep.warn_of_other_builds();
        announce(&sweep, self.quiet, stop)?;
        let progress = Progress::over(steps.saturating_mul(sweep.left() as u64), self.quiet);
        let orders = Orders { stop, stop_after: None, checkpoint_every: CHECKPOINT_EVERY, progress: &progress };
        let ends = sweep.work(&orders);
        progress.finish();
        ends.map_err(|error| stopped(error, "the same command"))?;
        Ok(!stop.is_interrupted())
    }
}

/// Refuses a list that names something twice.
fn distinct<T: PartialEq + fmt::Display>(what: &str, values: &[T]) -> crate::Result<()> {
    match values.iter().enumerate().find(|(index, value)| values[..*index].contains(value)) {
        None => Ok(()),
        Some((_, twice)) => Err(crate::Error::Usage(format!("the {what} {twice} is given twice"))),
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

fn memory(arguments: &Memory) -> anyhow::Result<ExitCode> {
    // A device that is not there is said before anything is written; it is closed again, as it takes memory itself.
    let device = match Backend::open(arguments.device)? {
        Backend::Cpu => Choice::Cpu,
        Backend::Cuda { device, .. } => Choice::Cuda(device.info().ordinal),
    };
    let folder = arguments
        .out
        .clone()
        .unwrap_or_else(|| Path::new(RUNS).join(if device == Choice::Cpu { "memory" } else { "memory-cuda" }));
    fs::create_dir_all(&folder).with_context(|| format!("can't create {}", folder.display()))?;
    let methods = if arguments.all { Method::ALL.to_vec() } else { memory::METHODS.to_vec() };
    let Sizes { batch, cells, channels } = arguments.sizes;
    let progress = Progress::over((methods.len() * memory::COUNTS.len()) as u64, arguments.quiet);
    let program = env::current_exe().context("can't find this program")?;
    let mut rows = Vec::new();
    for &method in &methods {
        for count in memory::COUNTS {
            progress.say(format!("{method}, {count} candidates"));
            let sizes = [("batch", batch), ("cells", cells), ("channels", channels)];
            let sizes = sizes.map(|(name, size)| format!("--{name}={size}"));
            let output = process::Command::new(&program)
                .args(["reproduce", "memory-of", method.name()])
                .arg(count.to_string())
                .args(sizes)
                .arg(format!("--device={device}"))
                .output()
                .context("can't start a process to measure")?;
            if !output.status.success() {
                progress.finish();
                let said = String::from_utf8_lossy(&output.stderr);
                let problem = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                anyhow::bail!("{method} with {count} candidates: {} ({problem})", output.status);
            }
            rows.push(serde_json::from_slice::<Measured>(&output.stdout).context("can't read a measurement")?);
            progress.at(rows.len() as u64);
        }
    }
    progress.finish();
    let table = memory::table(&rows, cells.into(), channels.into(), batch.into());
    write(&folder, &[("memory.csv", memory::csv(&rows)), ("memory.md", table.clone())])?;
    print(&format!("{table}\nmemory.csv and memory.md are in {}\n", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn memory_of(arguments: &MemoryOf) -> anyhow::Result<ExitCode> {
    let Sizes { batch, cells, channels } = arguments.sizes;
    let (candidates, cells, channels, batch) =
        (arguments.candidates.into(), cells.into(), channels.into(), batch.into());
    let question = Question { method: arguments.method, candidates, cells, channels, batch };
    let measured = memory::measure(&question, &Backend::open(arguments.device)?)?;
    print(&format!("{}\n", serde_json::to_string(&measured)?))?;
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
    let threads = figure.threads.map_or_else(available_threads, |threads| threads as usize);
    let sweep = Sweep::prepare(&experiment, runs, true, threads)?;
    sweep.warn_of_other_builds();
    let steps = experiment.steps(&settings[0])?;
    let progress = Progress::over(steps.saturating_mul(sweep.left() as u64), figure.quiet);
    let orders = Orders { stop: &stop, stop_after: None, checkpoint_every: CHECKPOINT_EVERY, progress: &progress };
    let ends = sweep.work(&orders);
    progress.finish();
    ends.map_err(|error| stopped(error, "the same command"))?;
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
