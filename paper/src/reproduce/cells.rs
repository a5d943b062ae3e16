//! What the table, the figure and the appendices of section 5.2 show of finished searches on CIFAR-10: methods × seeds, all in one
//! folder, so that none is searched twice.

use std::fs;
use std::path::{Path, PathBuf};

use advantage_nas::network::nas_bench_201::Candidates;
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::strategy::Method;

use super::figure_1::style;
use super::table::{Grid, Spread, or_none};
use crate::data::nas_bench_201::{Benchmark, Task};
use crate::error::{Error, Result};
use crate::experiment::cifar10::{Cifar10Result, FoundCell, random_architecture};
use crate::plot::{Band, Chart, Panel};
use crate::run::directory::RESULT;
use crate::run::log::float;
use crate::settings::Settings;
use crate::statistics::{mean, median, quantile};

/// What is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Table 2: accuracy of the found cells by the methods of sparse propagation.
    Table2,
    /// Figure 2: accuracy of the argmax cell over the epochs of `θ`.
    Figure2,
    /// Appendix F: Table 2 with the zero operation among the candidates.
    AppendixF,
    /// Appendix G: methods of dense propagation beside AdvantageNAS.
    AppendixG,
    /// Appendix H: entropy of the policy over the epochs of `θ`.
    AppendixH,
}

/// The methods of Table 2, in its order.
const SPARSE: [Method; 5] =
    [Method::Reinforce, Method::Parsec, Method::ProxylessNas, Method::Gdas, Method::AdvantageNas];

/// The methods of Appendix G.
const DENSE: [Method; 4] = [Method::Darts, Method::Snas, Method::Nasp, Method::AdvantageNas];

/// Where the axis of the paper's Figure 2 ends, in epochs of `θ`.
const LAST_SHOWN: f64 = 7.5;

/// Draws of the random cells that the tables are compared with.
pub const RANDOM_CELLS: u64 = 1000;

impl Subject {
    /// The name on the command line and of the files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Table2 => "table-2",
            Self::Figure2 => "figure-2",
            Self::AppendixF => "appendix-f",
            Self::AppendixG => "appendix-g",
            Self::AppendixH => "appendix-h",
        }
    }

    /// Its methods.
    #[must_use]
    pub fn methods(self) -> &'static [Method] {
        if self == Self::AppendixG { &DENSE } else { &SPARSE }
    }

    /// Whether the zero operation is a candidate, whatever the settings say.
    #[must_use]
    pub fn zero(self) -> bool {
        self == Self::AppendixF
    }

    /// Whether it is a table, not a picture.
    #[must_use]
    pub fn is_table(self) -> bool {
        matches!(self, Self::Table2 | Self::AppendixF | Self::AppendixG)
    }
}

/// Where the search of a method and seed lies: `folder/METHOD/seed-S`.
#[must_use]
pub fn place(folder: &Path, settings: &Settings) -> PathBuf {
    folder.join(settings.method.name()).join(format!("seed-{}", settings.seed))
}

/// The finished searches of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Searches {
    /// The method.
    pub method: Method,
    /// What they say, `[seeds]`.
    pub results: Vec<Cifar10Result>,
    /// Their logs, `[seeds]`.
    pub logs: Vec<Log>,
}

/// Columns of a `metrics.csv`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    /// Updates of `θ`.
    pub iterations: Vec<u64>,
    /// Epochs of `θ`.
    pub epochs: Vec<f64>,
    /// Accuracy of the argmax cell in the table, percent.
    pub accuracies: Vec<f64>,
    /// Entropy of the policy, nats.
    pub entropies: Vec<f64>,
}

impl Searches {
    /// Reads the searches of a method, with so many updates of `θ` in an epoch.
    ///
    /// # Errors
    /// If a file is missing or not what it should be, or the searches did not log at the same iterations.
    pub fn read(method: Method, folders: &[PathBuf], per_epoch: f64) -> Result<Self> {
        let mut searches = Self { method, results: Vec::new(), logs: Vec::new() };
        for folder in folders {
            let path = folder.join(RESULT);
            let text = fs::read(&path).map_err(Error::io("read", &path))?;
            searches.results.push(serde_json::from_slice(&text).map_err(|error| Error::damaged(&path, error))?);
            let path = folder.join("metrics.csv");
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let log = Log::parse(&text, per_epoch).map_err(|problem| Error::damaged(&path, problem))?;
            if searches.logs.first().is_some_and(|first| first.iterations != log.iterations) {
                return Err(Error::damaged(&path, "has other iterations than the search of the first seed"));
            }
            searches.logs.push(log);
        }
        Ok(searches)
    }

    /// The found cells: those of the argmax, and the process best where the method has one.
    fn found<'a>(&'a self, process_best: bool) -> Vec<&'a FoundCell> {
        let of = |result: &'a Cifar10Result| match process_best {
            false => Some(&result.argmax),
            true => result.process_best.as_ref().map(|best| &best.found),
        };
        self.results.iter().filter_map(of).collect()
    }
}

impl Log {
    fn parse(text: &str, per_epoch: f64) -> Result<Self, String> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let head = reader.headers().map_err(|error| error.to_string())?.clone();
        let column =
            |name: &str| head.iter().position(|other| other == name).ok_or_else(|| format!("has no column {name:?}"));
        let (iteration, accuracy, entropy) = (column("iteration")?, column("table_accuracy")?, column("entropy")?);
        let mut log = Self::default();
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|error| error.to_string())?;
            let cell = |column: usize| record.get(column).unwrap_or_default();
            let wrong = || format!("line {} is not a row of numbers", index + 2);
            let iterations: u64 = cell(iteration).parse().map_err(|_| wrong())?;
            log.iterations.push(iterations);
            log.epochs.push(iterations as f64 / per_epoch);
            log.accuracies.push(cell(accuracy).parse().map_err(|_| wrong())?);
            log.entropies.push(cell(entropy).parse().map_err(|_| wrong())?);
        }
        Ok(log)
    }
}

/// A number of Table 2: accuracy in percent and parameters in millions.
type Published = (Spread, Spread);

/// Argmax and process best of a method, as printed in Table 2 (three trials).
fn published(method: Method) -> (Option<Published>, Option<Published>) {
    let pair = |accuracy, deviation, parameters, spread| {
        Some((Spread::published(accuracy, deviation), Spread::published(parameters, spread)))
    };
    match method {
        Method::Reinforce => (pair(93.01, 0.47, 0.67, 0.18), pair(92.69, 0.52, 0.68, 0.20)),
        Method::Parsec => (pair(93.68, 0.12, 1.39, 0.20), pair(92.51, 0.65, 0.47, 0.12)),
        Method::ProxylessNas => (pair(93.22, 0.08, 0.74, 0.10), None),
        Method::Gdas => (pair(93.46, 0.13, 1.24, 0.10), pair(92.53, 0.98, 0.62, 0.20)),
        Method::AdvantageNas => (pair(93.76, 0.00, 1.53, 0.00), pair(93.29, 0.21, 0.94, 0.11)),
        _ => (None, None),
    }
}

fn accuracies(found: &[&FoundCell]) -> Vec<f64> {
    found.iter().filter_map(|found| found.cell.accuracy()).collect()
}

fn millions(found: &[&FoundCell]) -> Vec<f64> {
    found.iter().map(|found| found.cell.parameters as f64 / 1e6).collect()
}

/// The table of a subject, in Markdown: found cells, where the paper has numbers beside them; what can be had without a search, `zero`
/// with the zero operation among the candidates, as in the searches; what the searches were like.
///
/// # Errors
/// If a random cell is not in the benchmark table.
pub fn markdown(subject: Subject, zero: bool, all: &[Searches], benchmark: &Benchmark) -> Result<String> {
    // The published numbers are those without the zero operation, and of these methods.
    let printed = subject == Subject::Table2 && !zero;
    let mut head = vec!["method", "n"];
    for (accuracy, parameters) in [("argmax, %", "its parameters, M"), ("process best, %", "its parameters, M")] {
        for column in [accuracy, parameters] {
            head.push(column);
            if printed {
                head.push("paper");
            }
        }
    }
    let mut grid = Grid::new(head);
    for searches in all {
        let mut row = vec![searches.method.name().to_owned(), searches.results.len().to_string()];
        let papers = published(searches.method);
        for (found, paper) in [(searches.found(false), papers.0), (searches.found(true), papers.1)] {
            let ours = [Spread::of(&accuracies(&found)), Spread::of(&millions(&found))];
            for (ours, paper) in ours.into_iter().zip([paper.map(|paper| paper.0), paper.map(|paper| paper.1)]) {
                row.push(or_none(ours));
                if printed {
                    row.push(or_none(paper));
                }
            }
        }
        grid.row(row);
    }
    let mut out = grid.markdown();
    out.push_str(
        "\nTest accuracy on CIFAR-10 in the table of NAS-Bench-201 (200 epochs, mean of its trainings) and parameters of the \
         stand-alone network: mean ± standard deviation (of the population) over the n seeds.\n\n",
    );
    out.push_str(&references(zero, benchmark)?);
    out.push('\n');
    out.push_str(&quality(all));
    Ok(out)
}

/// What can be had without a search: random cells, and the best one.
fn references(zero: bool, benchmark: &Benchmark) -> Result<String> {
    let candidates = if zero { Candidates::with_zero() } else { Candidates::without_zero() };
    let (shape, streams) = (candidates.space().shape().clone(), Streams::new(0));
    let mut drawn = Vec::new();
    for draw in 0..RANDOM_CELLS {
        let architecture = random_architecture(&shape, &mut streams.at(Purpose::RandomArchitectures, 0, draw))?;
        drawn.push(benchmark.architecture(&candidates, &architecture)?.accuracy(Task::Cifar10));
    }
    let searched = |entry: &&crate::data::nas_bench_201::Entry| candidates.architecture(&entry.cell).is_ok();
    let all: Vec<f64> =
        benchmark.entries().iter().filter(searched).map(|entry| entry.accuracy(Task::Cifar10)).collect();
    let best = benchmark
        .entries()
        .iter()
        .filter(searched)
        .max_by(|first, second| first.accuracy(Task::Cifar10).total_cmp(&second.accuracy(Task::Cifar10)));
    let mut grid = Grid::new(["without a search", "cells", "accuracy, %", "median"]);
    for (name, accuracies) in [("random cells", &drawn), ("all cells", &all)] {
        let median = format!("{:.2}", median(accuracies));
        grid.row([name.to_owned(), accuracies.len().to_string(), or_none(Spread::of(accuracies)), median]);
    }
    if let Some(best) = best {
        let accuracy = format!("{:.2}", best.accuracy(Task::Cifar10));
        grid.row([format!("the best: {}", best.cell), "1".to_owned(), accuracy.clone(), accuracy]);
    }
    Ok(grid.markdown())
}

/// What the searches were like: entropy, weights, how the supernet's opinion goes with the table, time.
fn quality(all: &[Searches]) -> String {
    let mut grid = Grid::new([
        "method",
        "entropy at the end, nats",
        "of",
        "supernet: argmax, % of test images",
        "random cells, loss",
        "correlation with the table by loss",
        "by accuracy",
        "seconds per search",
    ]);
    for searches in all {
        let of = |value: &dyn Fn(&Cifar10Result) -> Option<f64>| {
            let values: Vec<f64> = searches.results.iter().filter_map(value).collect();
            Spread::of(&values)
        };
        grid.row([
            searches.method.name().to_owned(),
            or_none(of(&|result| Some(result.entropy)).map(|spread| format!("{spread:.3}"))),
            or_none(of(&|result| Some(result.largest_entropy)).map(|spread| format!("{:.3}", spread.mean))),
            or_none(
                of(&|result| Some(100.0 * result.argmax.supernet_test_accuracy)).map(|spread| format!("{spread:.1}")),
            ),
            or_none(of(&|result| Some(result.comparison.as_ref()?.loss.mean)).map(|spread| format!("{spread:.3}"))),
            or_none(of(&|result| result.comparison.as_ref()?.loss.spearman)),
            or_none(of(&|result| result.comparison.as_ref()?.accuracy.spearman)),
            or_none(of(&|result| Some(result.wall_seconds)).map(|spread| format!("{:.0}", spread.mean))),
        ]);
    }
    let mut out = grid.markdown();
    out.push_str(
        "\nThe supernet's numbers are with the shared weights: the argmax cell on test images; random cells on minibatches \
         of the half for the architecture. Correlations are Spearman's, of those random cells, with minus the loss and with the accuracy on test images. Time: of the updates, with whatever ran \
         beside them.\n",
    );
    out
}

/// A row for every search.
#[must_use]
pub fn csv(all: &[Searches]) -> String {
    let mut head = vec!["method", "seed"];
    head.extend([
        "argmax_cell",
        "argmax_accuracy",
        "argmax_parameters",
        "argmax_flops",
        "argmax_supernet_accuracy",
        "best_cell",
        "best_accuracy",
        "best_parameters",
        "best_flops",
        "best_supernet_accuracy",
    ]);
    head.extend(["entropy", "loss_spearman", "loss_kendall", "accuracy_spearman", "accuracy_kendall", "seconds"]);
    let mut grid = Grid::new(head);
    for searches in all {
        for result in &searches.results {
            let mut row = vec![searches.method.name().to_owned(), result.seed.to_string()];
            for found in [Some(&result.argmax), result.process_best.as_ref().map(|best| &best.found)] {
                row.extend([
                    or_none(found.map(|found| found.cell.cell.clone())),
                    or_none(found.and_then(|found| found.cell.accuracy()).map(float)),
                    or_none(found.map(|found| found.cell.parameters)),
                    or_none(found.map(|found| found.cell.flops)),
                    or_none(found.map(|found| float(found.supernet_test_accuracy))),
                ]);
            }
            let comparison = result.comparison.as_ref();
            row.push(float(result.entropy));
            for agreement in
                [comparison.map(|comparison| comparison.loss), comparison.map(|comparison| comparison.accuracy)]
            {
                row.push(or_none(agreement.and_then(|agreement| agreement.spearman).map(float)));
                row.push(or_none(agreement.and_then(|agreement| agreement.kendall).map(float)));
            }
            row.push(format!("{:.1}", result.wall_seconds));
            grid.row(row);
        }
    }
    grid.csv()
}

/// The curves of a figure as CSV: quartiles and mean over seeds.
#[must_use]
pub fn curves_csv(subject: Subject, all: &[Searches]) -> String {
    let mut grid = Grid::new(["method", "iteration", "epoch", "p25", "median", "p75", "mean"]);
    for searches in all {
        for (index, values) in searches.curve(subject).into_iter().enumerate() {
            let log = &searches.logs[0];
            let numbers = [quantile(&values, 0.25), median(&values), quantile(&values, 0.75), mean(&values)];
            let mut row =
                vec![searches.method.name().to_owned(), log.iterations[index].to_string(), float(log.epochs[index])];
            row.extend(numbers.map(float));
            grid.row(row);
        }
    }
    grid.csv()
}

impl Searches {
    /// What a figure shows: values over the log intervals, `[intervals, seeds]`.
    fn curve(&self, subject: Subject) -> Vec<Vec<f64>> {
        let column = |log: &Log, index: usize| match subject {
            Subject::AppendixH => log.entropies[index],
            _ => log.accuracies[index],
        };
        let intervals = self.logs.first().map_or(0, |log| log.iterations.len());
        (0..intervals).map(|index| self.logs.iter().map(|log| column(log, index)).collect()).collect()
    }
}

/// The picture of a figure: median and 25–75 % band over the seeds.
///
/// # Errors
/// If it can't be drawn.
pub fn svg(subject: Subject, all: &[Searches]) -> Result<String> {
    let last = all.iter().filter_map(|searches| searches.logs.first()?.epochs.last()).copied().fold(0.0, f64::max);
    let bands = all
        .iter()
        .map(|searches| {
            let point = |(index, values): (usize, Vec<f64>)| {
                (searches.logs[0].epochs[index], [0.25, 0.5, 0.75].map(|q| quantile(&values, q)))
            };
            Band {
                name: searches.method.name().to_owned(),
                style: style(searches.method),
                points: searches.curve(subject).into_iter().enumerate().map(point).collect(),
            }
        })
        .collect();
    let panel = |title: &str, last: f64| Panel { title: title.to_owned(), last };
    let whole = panel("the whole search", last);
    let panels = match subject {
        Subject::Figure2 if last > LAST_SHOWN => vec![panel("as in the paper", LAST_SHOWN), whole],
        _ => vec![whole],
    };
    let seeds = all.first().map_or(0, |searches| searches.results.len());
    let seeds = if seeds == 1 { "1 seed".to_owned() } else { format!("{seeds} seeds") };
    let (what, y) = match subject {
        Subject::AppendixH => ("entropy of the policy", "entropy, nats"),
        _ => ("argmax cell in NAS-Bench-201", "test accuracy, %"),
    };
    let chart = Chart {
        title: format!("CIFAR-10: {what}, median and 25–75 % band of {seeds}"),
        x: "epoch of θ".to_owned(),
        y: y.to_owned(),
        logarithmic: false,
        panels,
        bands,
    };
    chart.svg().map_err(|problem| Error::Process { action: "draw the figure", problem })
}
