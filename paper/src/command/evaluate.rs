//! `advnas evaluate`: a cell in the benchmark table, the cells of a search with its shared weights, and the perplexity of a network that
//! was trained.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use advantage_nas::network::nas_bench_201::{Candidates, Cell, Skeleton};
use clap::{Args, Subcommand, value_parser};
use serde_json::{Map, Value, json};

use super::data::{CacheFolder, DataFolder};
use super::search::available_threads;
use super::summary::perplexity;
use super::{print, summary};
use crate::data::nas_bench_201::{Benchmark, CELLS, Entry, Rank, Task};
use crate::device::{Backend, Choice};
use crate::error::Error;
use crate::experiment::Experiment as _;
use crate::experiment::cifar10::{CellSearch, Cifar10Settings};
use crate::experiment::ptb::Language;
use crate::experiment::ptb::evaluation::Measured;
use crate::experiment::ptb::search::RecurrentSearch;
use crate::memory;
use crate::run::directory::config_in;
use crate::settings::{self, Settings};

#[derive(Debug, Subcommand)]
pub(super) enum Experiment {
    /// A cell of section 5.2 in the table of NAS-Bench-201, or the cells of a search with the weights that it has
    ///
    /// Accuracies are means of the test accuracy after 200 epochs of training; parameters and FLOPs are those of the stand-alone
    /// network for CIFAR-10, FLOPs as NAS-Bench-201 counts them: one per multiply-accumulate of convolutions and the linear layer.
    #[command(after_help = EXAMPLE)]
    Cifar10(Cifar10),
    /// Perplexity of a run of section 5.3 on the validation and the test text, from its checkpoint
    ///
    /// Of a retraining, the trained network; of a search, the argmax cell with the weights that all cells share. Every text is read once from its
    /// beginning, one word after the other, without dropout; every word is predicted, the first one as what follows the last.
    Ptb(Ptb),
}

const EXAMPLE: &str = "\
Example:
  advnas evaluate cifar10 --architecture \\
    '|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|'
  advnas evaluate cifar10 --from runs/cifar10-small-advantage-nas-seed0";

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = false, args = ["architecture", "index", "from"])]
pub(super) struct Cifar10 {
    /// The cell as NAS-Bench-201 writes it: |op~0|+|op~0|op~1|+|op~0|op~1|op~2|
    #[arg(long, value_name = "CELL")]
    architecture: Option<String>,
    /// The cell's index in NAS-Bench-201, from 0 to 15624
    #[arg(long, value_name = "N")]
    index: Option<usize>,
    /// Folder of a search: what it has found by its last checkpoint, with the weights that all cells share
    #[arg(long, value_name = "RUN")]
    from: Option<PathBuf>,
    /// With --from, random cells whose evaluation is compared with the table [default: the setting cifar10.compared_cells]
    #[arg(long, value_name = "N", conflicts_with_all = ["architecture", "index"], value_parser = value_parser!(u16).range(..=15_625))]
    cells: Option<u16>,
    /// With --from, threads [default: all processors]; changes no number
    #[arg(long, value_name = "N", conflicts_with_all = ["architecture", "index"], value_parser = value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// With --from, where the network runs: cpu, cuda, cuda:N, or auto for cuda if there is one
    #[arg(long, value_name = "DEVICE", default_value_t, conflicts_with_all = ["architecture", "index"])]
    device: Choice,
    /// With --from on a CUDA device, convolutions by tensor cores with factors that are rounded to TF32: faster, less exact
    #[arg(long, conflicts_with_all = ["architecture", "index"])]
    tf32: bool,
    #[command(flatten)]
    cache: CacheFolder,
    #[command(flatten)]
    folder: DataFolder,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Ptb {
    /// Folder of the run
    #[arg(long, value_name = "RUN")]
    from: PathBuf,
    #[command(flatten)]
    folder: DataFolder,
    /// Threads [default: all processors]; changes no number
    #[arg(long, value_name = "N", value_parser = value_parser!(u64).range(1..=1024))]
    threads: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(experiment: &Experiment) -> anyhow::Result<ExitCode> {
    match experiment {
        Experiment::Cifar10(arguments) => cifar10(arguments),
        Experiment::Ptb(arguments) => ptb(arguments),
    }
}

fn ptb(arguments: &Ptb) -> anyhow::Result<ExitCode> {
    let config = config_in(&arguments.from)?;
    let wrong = |problem: String| Error::Usage(format!("{}: {problem}", arguments.from.display()));
    let settings = Settings::from_table(&config.settings).map_err(wrong)?;
    if !matches!(settings.experiment, settings::Experiment::Ptb | settings::Experiment::PtbRetraining) {
        let name = settings.experiment.name();
        return Err(wrong(format!("expected a search or a retraining of a recurrent cell, found {name}")).into());
    }
    let threads = arguments.threads.map_or_else(available_threads, |threads| threads as usize);
    let language = Language::load(&arguments.folder.data, &settings, threads)?;
    memory::check(vec![RecurrentSearch(language.clone()).memory(&settings)?], 1, 0)?;
    let measured = Measured::of(&arguments.from, language, &settings)?;
    let Measured { cell, steps_done, steps, validation, test, .. } = &measured;
    if arguments.json {
        print(&format!("{:#}\n", serde_json::to_value(&measured)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut out = format!("{cell}\n");
    writeln!(out, "  {:<12} {}", "weights", measured.weights)?;
    writeln!(out, "  {:<12} {steps_done} of {steps}", "steps")?;
    writeln!(out, "  {:<12} {}", "validation", perplexity(validation))?;
    writeln!(out, "  {:<12} {}", "test", perplexity(test))?;
    print(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn cifar10(arguments: &Cifar10) -> anyhow::Result<ExitCode> {
    if let Some(from) = &arguments.from {
        return searched(arguments, from);
    }
    // What was asked is looked at before the table: it may be wrong without it.
    let cell: Option<Cell> = match &arguments.architecture {
        Some(text) => Some(text.trim().parse().map_err(|error| Error::Usage(format!("{error}")))?),
        None => None,
    };
    if let Some(index) = arguments.index.filter(|index| *index >= CELLS) {
        return Err(Error::Usage(format!("--index must be from 0 to {}, got {index}", CELLS - 1)).into());
    }
    let table = Benchmark::load(&arguments.folder.data)?;
    let entry = match (cell, arguments.index) {
        (Some(cell), _) => table.cell(&cell)?,
        (None, index) => table.index(index.unwrap_or_default())?,
    };
    let text = if arguments.json { format!("{:#}\n", document(&table, entry)?) } else { text(&table, entry)? };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn searched(arguments: &Cifar10, from: &Path) -> anyhow::Result<ExitCode> {
    let config = config_in(from)?;
    let wrong = |problem: String| Error::Usage(format!("{}: {problem}", from.display()));
    let settings = Settings::from_table(&config.settings).map_err(wrong)?;
    if settings.experiment != settings::Experiment::Cifar10 {
        return Err(wrong(format!("expected a search on CIFAR-10, found {}", settings.experiment.name())).into());
    }
    let threads = arguments.threads.map_or_else(available_threads, |threads| threads as usize);
    let backend = Backend::open_with(arguments.device, arguments.tf32)?;
    let experiment = CellSearch::load(&arguments.folder.data, &arguments.cache.cache(), threads, backend)?;
    let cells = match arguments.cells {
        Some(cells) => cells.into(),
        None => settings.own::<Cifar10Settings>()?.compared_cells,
    };
    if arguments.cells.is_some_and(|cells| cells > 0) && experiment.table.is_none() {
        return Err(
            Error::Usage("--cells compares with the table of NAS-Bench-201, which is not there".to_owned()).into()
        );
    }
    memory::check(vec![experiment.memory(&settings)?], 1, experiment.shared_memory())?;
    let measured = experiment.evaluate(from, &settings, cells)?;
    let text =
        if arguments.json { format!("{:#}\n", serde_json::to_value(&measured)?) } else { summary::measured(&measured) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(table: &Benchmark, entry: &Entry) -> anyhow::Result<String> {
    let cost = Skeleton::paper().cost(&entry.cell)?;
    let mut out = format!("{}\n", entry.cell);
    writeln!(out, "  {:<16} {}", "index", entry.index)?;
    for task in Task::ALL {
        let of_all = place(table.rank(entry, task));
        let without = table
            .rank_without_zero(entry, task)
            .map_or("has the zero operation".to_owned(), |rank| format!("{} without zero", place(rank)));
        writeln!(out, "  {:<16} {:.4} %   rank {of_all}; {without}", task.name(), entry.accuracy(task))?;
    }
    writeln!(out, "  {:<16} {} ({:.2} M)", "parameters", cost.parameters, cost.parameters as f64 / 1e6)?;
    writeln!(out, "  {:<16} {} ({:.2} M)", "FLOPs", cost.flops, cost.flops as f64 / 1e6)?;
    writeln!(out, "  {:<16} {}, md5 {}", "table", table.source().display(), table.md5())?;
    Ok(out)
}

fn place(rank: Rank) -> String {
    let ties = match rank.ties {
        0 => String::new(),
        1 => " (tied with one other)".to_owned(),
        ties => format!(" (tied with {ties} others)"),
    };
    format!("{} of {}{ties}", rank.rank, rank.of)
}

fn document(table: &Benchmark, entry: &Entry) -> anyhow::Result<Value> {
    let cost = Skeleton::paper().cost(&entry.cell)?;
    let candidates = Candidates::with_zero();
    let tasks: Map<String, Value> = Task::ALL
        .into_iter()
        .map(|task| {
            let value = json!({
                "test_accuracy": entry.accuracy(task),
                "rank": table.rank(entry, task),
                "rank_without_zero": table.rank_without_zero(entry, task),
            });
            (task.key().to_owned(), value)
        })
        .collect();
    Ok(json!({
        "architecture": entry.cell.to_string(),
        "choices": candidates.architecture(&entry.cell)?.choices(),
        "candidates": candidates.operations().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "index": entry.index,
        "tasks": tasks,
        "parameters": cost.parameters,
        "flops": cost.flops,
        "table": { "path": table.source(), "md5": table.md5() },
    }))
}
