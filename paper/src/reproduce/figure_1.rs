//! Figure 1: test loss of the argmax architecture over the iterations of the toy regression, per method, median and 25–75 % band
//! over trials.

use std::cmp::Ordering;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use advantage_nas::strategy::Method;

use crate::error::{Error, Result};
use crate::experiment::toy::ToyResult;
use crate::plot::{Band, Chart, Panel};
use crate::run::directory::RESULT;
use crate::run::log::float;
use crate::settings::Settings;
use crate::statistics::{mean, median, quantile};

/// The methods of the figure, in the order of its legend: those of sparse propagation, then those of dense propagation.
pub const METHODS: [Method; 8] = [
    Method::AdvantageNas,
    Method::Reinforce,
    Method::Parsec,
    Method::ProxylessNas,
    Method::Gdas,
    Method::Darts,
    Method::Snas,
    Method::Nasp,
];

/// Where the paper's axis ends.
pub const LAST_SHOWN: u64 = 600;

/// Iterations at which the table looks, and at the last one of a shorter search.
const LOOKS: [u64; 4] = [100, 300, 600, 1990];

/// The runs that the figure needs: `folder/METHOD/trial-NNN`.
#[must_use]
pub fn runs(folder: &Path, settings: &[Settings], trials: u32) -> Vec<(PathBuf, Settings)> {
    let run = |settings: &Settings, trial| {
        let place = folder.join(settings.method.name()).join(format!("trial-{trial:03}"));
        (place, settings.for_trial(trial))
    };
    settings.iter().flat_map(|settings| (0..trials).map(move |trial| run(settings, trial))).collect()
}

/// The finished trials of one method.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// The method.
    pub method: Method,
    /// Iterations at which the argmax architecture was evaluated.
    pub iterations: Vec<u64>,
    /// Its test losses, `[iterations, trials]`.
    pub losses: Vec<Vec<f64>>,
    /// First iteration at which the teacher was found, `[trials]`.
    pub first_hits: Vec<Option<u64>>,
    /// Seconds per step, `[trials]`.
    pub seconds_per_step: Vec<f64>,
}

impl Curves {
    /// Reads the finished runs of a method.
    ///
    /// # Errors
    /// If a file is missing or not what it should be.
    pub fn read(method: Method, folders: &[PathBuf]) -> Result<Self> {
        let mut curves = Self {
            method,
            iterations: Vec::new(),
            losses: Vec::new(),
            first_hits: Vec::new(),
            seconds_per_step: Vec::new(),
        };
        for folder in folders {
            let path = folder.join(RESULT);
            let text = fs::read(&path).map_err(Error::io("read", &path))?;
            let result: ToyResult =
                serde_json::from_slice(&text).map_err(|error| Error::damaged(&path, error.to_string()))?;
            curves.first_hits.push(result.first_hit);
            curves.seconds_per_step.push(result.steps_per_second.recip());

            let path = folder.join("metrics.csv");
            let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            let rows = metrics(&text).map_err(|problem| Error::damaged(&path, problem))?;
            let iterations: Vec<u64> = rows.iter().map(|(iteration, _)| *iteration).collect();
            if curves.iterations.is_empty() {
                curves.losses = vec![Vec::new(); iterations.len()];
                curves.iterations = iterations;
            } else if curves.iterations != iterations {
                return Err(Error::damaged(&path, "has other iterations than the first trial".to_owned()));
            }
            for (losses, (_, loss)) in curves.losses.iter_mut().zip(rows) {
                losses.push(loss);
            }
        }
        Ok(curves)
    }

    fn at(&self, iteration: u64) -> Option<&[f64]> {
        self.iterations.iter().position(|other| *other == iteration).map(|index| &*self.losses[index])
    }

    fn found_by(&self, iteration: u64) -> usize {
        self.first_hits.iter().filter(|hit| hit.is_some_and(|hit| hit <= iteration)).count()
    }
}

/// Iteration and test loss of every row of a `metrics.csv`.
fn metrics(text: &str) -> Result<Vec<(u64, f64)>, String> {
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column =
        |name: &str| header.iter().position(|other| *other == name).ok_or_else(|| format!("has no column {name:?}"));
    let (iteration, loss) = (column("iteration")?, column("test_loss")?);
    let row = |(index, line): (usize, &str)| {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: usize| cells.get(column).copied().unwrap_or_default();
        match (cell(iteration).parse(), cell(loss).parse()) {
            (Ok(iteration), Ok(loss)) => Ok((iteration, loss)),
            _ => Err(format!("line {} is not a row of numbers: {line:?}", index + 2)),
        }
    };
    lines.enumerate().map(row).collect()
}

/// `figure-1.csv`: method, iteration, quartiles and mean over trials of the test loss.
#[must_use]
pub fn csv(all: &[Curves]) -> String {
    let mut out = String::from("method,iteration,p25,median,p75,mean\n");
    for curves in all {
        for (iteration, losses) in curves.iterations.iter().zip(&curves.losses) {
            let numbers = [quantile(losses, 0.25), median(losses), quantile(losses, 0.75), mean(losses)].map(float);
            writeln!(out, "{},{iteration},{}", curves.method, numbers.join(",")).expect("strings take everything");
        }
    }
    out
}

/// `figure-1.svg`.
///
/// # Errors
/// If the picture can't be drawn.
pub fn svg(all: &[Curves], logarithmic: bool) -> Result<String> {
    let trials = all.first().map_or(0, |curves| curves.first_hits.len());
    let last = all.iter().filter_map(|curves| curves.iterations.last()).copied().max().unwrap_or(0);
    let bands = all
        .iter()
        .map(|curves| {
            let point = |(iteration, losses): (&u64, &Vec<f64>)| {
                let percent = |q| 100.0 * quantile(losses, q);
                (*iteration as f64, [percent(0.25), percent(0.5), percent(0.75)])
            };
            Band {
                name: curves.method.name().to_owned(),
                style: style(curves.method),
                points: curves.iterations.iter().zip(&curves.losses).map(point).collect(),
            }
        })
        .collect();
    let panel = |title: &str, last: u64| Panel { title: title.to_owned(), last: last as f64 };
    let panels = match last.cmp(&LAST_SHOWN) {
        Ordering::Less => vec![panel("the whole search", last)],
        Ordering::Equal => vec![panel("as in the paper", last)],
        Ordering::Greater => vec![panel("as in the paper", LAST_SHOWN), panel("the whole search", last)],
    };
    let trials = if trials == 1 { "1 trial".to_owned() } else { format!("{trials} trials") };
    let chart = Chart {
        title: format!("Toy regression: argmax architecture, median and 25–75 % band of {trials}"),
        x: "iteration".to_owned(),
        y: "test loss × 100".to_owned(),
        logarithmic,
        panels,
        bands,
    };
    chart.svg().map_err(|problem| Error::Process { action: "draw figure 1", problem })
}

/// Colour and line of a method, the same in every figure, whichever others are shown.
pub(super) fn style(method: Method) -> usize {
    METHODS.iter().chain(&Method::ALL).position(|other| *other == method).unwrap_or(0)
}

/// The table, in Markdown.
#[must_use]
pub fn table(all: &[Curves]) -> String {
    let last = all.iter().filter_map(|curves| curves.iterations.last()).copied().max().unwrap_or(0);
    let seen = |look: &u64| all.iter().any(|curves| curves.at(*look).is_some());
    let mut looks: Vec<u64> = LOOKS.into_iter().filter(seen).collect();
    if last < LOOKS[LOOKS.len() - 1] && !looks.contains(&last) {
        looks.push(last);
    }
    let mut ends = vec![LAST_SHOWN, last];
    ends.retain(|end| *end <= last);
    ends.dedup();
    let mut head = vec!["method".to_owned(), "trials".to_owned()];
    for statistic in ["median", "mean"] {
        head.extend(looks.iter().map(|look| format!("{statistic} at {look}")));
    }
    head.extend(ends.iter().map(|end| format!("found by {end}")));
    head.push("ms per step".to_owned());
    let mut out = format!("| {} |\n|{}\n", head.join(" | "), " --- |".repeat(head.len()));
    for curves in all {
        let trials = curves.first_hits.len();
        let mut cells = vec![curves.method.name().to_owned(), trials.to_string()];
        for statistic in [median, mean] {
            cells.extend(looks.iter().map(|look| {
                curves.at(*look).map_or_else(|| "–".to_owned(), |losses| format!("{:.3}", 1e3 * statistic(losses)))
            }));
        }
        cells.extend(ends.iter().map(|end| format!("{} of {trials}", curves.found_by(*end))));
        cells.push(format!("{:.3}", 1e3 * median(&curves.seconds_per_step)));
        writeln!(out, "| {} |", cells.join(" | ")).expect("strings take everything");
    }
    out.push_str(
        "\nTest loss × 1000 of the argmax architecture, a fresh minibatch each. \"Found\": the argmax architecture was the \
         teacher's after at most so many updates. Time: median over trials of the time per step, everything included, \
         while other trials ran beside it.\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curves() -> Curves {
        Curves {
            method: Method::Darts,
            iterations: vec![0, 100],
            losses: vec![vec![0.04, 0.02, 0.03], vec![0.0, 0.001, 0.005]],
            first_hits: vec![Some(90), None, Some(700)],
            seconds_per_step: vec![1e-4, 3e-4, 2e-4],
        }
    }

    #[test]
    fn rows_are_quartiles_and_means() {
        let expected = "method,iteration,p25,median,p75,mean\ndarts,0,0.025,0.03,0.035,0.03\n\
                        darts,100,0.0005,0.001,0.003,0.002\n";
        assert_eq!(csv(&[curves()]), expected);
    }

    fn head_and_row(last: u64) -> [String; 2] {
        let table = table(&[Curves { iterations: vec![0, last], ..curves() }]);
        let mut lines = table.lines();
        [0, 1].map(|skip| lines.nth(skip).unwrap().to_owned())
    }

    #[test]
    fn the_table_counts_hits_and_leaves_out_what_was_not_seen() {
        let expected = [
            "| method | trials | median at 1990 | mean at 1990 | found by 600 | found by 1990 | ms per step |",
            "| darts | 3 | 1.000 | 2.000 | 1 of 3 | 2 of 3 | 0.200 |",
        ];
        assert_eq!(head_and_row(1990), expected);
    }

    /// A search that ends early shows its end, and says nothing of later iterations or twice the same.
    #[test]
    fn a_short_table_ends_where_the_search_ends() {
        for last in [7, 100, 600] {
            let expected = [
                format!("| method | trials | median at {last} | mean at {last} | found by {last} | ms per step |"),
                format!("| darts | 3 | 1.000 | 2.000 | {} of 3 | 0.200 |", u64::from(last >= 90)),
            ];
            assert_eq!(head_and_row(last), expected);
        }
        assert!(head_and_row(1000)[0].contains("| median at 1000 | mean at 1000 | found by 600 | found by 1000 |"));
    }

    #[test]
    fn panels_and_title_fit_the_search() {
        let shown = |last, trials: usize| {
            let losses = vec![vec![0.1; trials]; 2];
            let first_hits = vec![None; trials];
            svg(&[Curves { iterations: vec![0, last], losses, first_hits, ..curves() }], false).unwrap()
        };
        for (last, paper, whole) in [(7, false, true), (600, true, false), (610, true, true)] {
            let svg = shown(last, 2);
            assert_eq!((svg.contains("as in the paper"), svg.contains("the whole search")), (paper, whole), "{last}");
        }
        assert!(shown(600, 2).contains("band of 2 trials\n") && shown(600, 1).contains("band of 1 trial\n"));
    }

    #[test]
    fn metrics_are_found_by_name() {
        let text = "iteration,loss,test_loss\n0,,0.5\n10,0.1,0.25\n";
        assert_eq!(metrics(text).unwrap(), [(0, 0.5), (10, 0.25)]);
        assert_eq!(metrics("iteration,loss\n").unwrap_err(), "has no column \"test_loss\"");
        assert_eq!(metrics("iteration,test_loss\n0,x\n").unwrap_err(), "line 2 is not a row of numbers: \"0,x\"");
    }

    #[test]
    fn the_picture_names_every_method() {
        let svg = svg(&[curves()], false).unwrap();
        assert!(svg.contains("darts") && svg.contains("iteration") && svg.contains("test loss"));
    }
}
