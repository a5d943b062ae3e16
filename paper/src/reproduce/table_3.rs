//! Table 3: perplexity of the cells that the methods find on the Penn Treebank, trained anew, beside the paper's numbers, a cell with the
//! same operation on every edge, and cells drawn at random.

use std::path::{Path, PathBuf};

use advantage_nas::Policy;
use advantage_nas::network::recurrent::{Cell, Operation, space};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::strategy::Method;

use super::table::{Grid, NONE, Spread, or_none};
use crate::error::Result;
use crate::experiment::ptb::RetrainingSettings;
use crate::experiment::ptb::cell::{parse_cell, svg};
use crate::experiment::ptb::retraining::RetrainingResult;
use crate::experiment::ptb::search::PtbResult;
use crate::run::directory::result_in;
use crate::run::log::float;
use crate::settings::Settings;
use crate::statistics::mean;

/// The methods of the table, in its order.
pub const METHODS: [Method; 5] =
    [Method::Reinforce, Method::Parsec, Method::ProxylessNas, Method::Gdas, Method::AdvantageNas];

/// Validation and test perplexity in the paper, over 5 trials.
#[must_use]
pub fn published(method: Method) -> Option<[Spread; 2]> {
    let numbers = match method {
        Method::Reinforce => [(99.48, 1.51), (95.50, 1.73)],
        Method::Parsec => [(99.68, 1.49), (95.51, 1.01)],
        Method::ProxylessNas => [(95.12, 0.22), (90.76, 0.23)],
        Method::Gdas => [(99.28, 2.00), (95.40, 2.01)],
        Method::AdvantageNas => [(94.90, 0.18), (91.18, 0.13)],
        _ => return None,
    };
    Some(numbers.map(|(mean, deviation)| Spread::published(mean, deviation)))
}

/// Where the cells of a row are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Found by a method.
    Searched(Method),
    /// The hyperbolic tangent on every edge.
    Tanh,
    /// Drawn uniformly, with the numbers of the seed.
    Random,
}

impl Origin {
    /// The rows beside those of the methods.
    pub const REFERENCES: [Self; 2] = [Self::Tanh, Self::Random];

    /// The name of the row, and of the folder of its runs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Searched(method) => method.name(),
            Self::Tanh => "all-tanh",
            Self::Random => "random",
        }
    }
}

/// Where the search of some settings lies.
#[must_use]
pub fn search_place(folder: &Path, settings: &Settings) -> PathBuf {
    folder.join("search").join(settings.method.name()).join(format!("seed-{}", settings.seed))
}

/// The retraining of the cell of a row for one seed: its folder and its settings, from those of the seed's searches. The search of a
/// method must be finished.
///
/// # Errors
/// If the result of the search can't be read, or has no such cell.
pub fn retraining(folder: &Path, origin: Origin, search: &Settings) -> Result<(PathBuf, Settings)> {
    let place = folder.join("retraining").join(origin.name()).join(format!("seed-{}", search.seed));
    let (cell, chosen) = match origin {
        Origin::Searched(method) => {
            let choose = search.get::<RetrainingSettings>("retraining")?.choose.of(method);
            let result: PtbResult = result_in(&search_place(folder, search))?;
            (result.chosen(choose)?.cell.cell.clone(), choose.name())
        }
        Origin::Tanh => (Cell::uniform(Operation::Tanh)?.to_string(), origin.name()),
        Origin::Random => {
            let mut rng = Streams::new(search.seed).at(Purpose::Architecture, search.trial, 0);
            let policy = Policy::initial(space().shape());
            (Cell::of(&policy.sample(&mut rng))?.to_string(), origin.name())
        }
    };
    Ok((place, search.for_retraining(&cell, chosen)))
}

/// A row: the finished retrainings of cells of one origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where the cells are from.
    pub origin: Origin,
    /// One retraining for every seed.
    pub runs: Vec<RetrainingResult>,
    /// The searches that the cells are from, in the same order; none for references.
    pub searches: Vec<PtbResult>,
}

impl Row {
    /// Mean and deviation over the runs.
    fn spread(&self, value: impl Fn(&RetrainingResult) -> f64) -> Option<Spread> {
        Spread::of(&self.runs.iter().map(value).collect::<Vec<f64>>())
    }

    /// The run with the smallest perplexity on the validation text.
    fn best(&self) -> Option<&RetrainingResult> {
        self.runs.iter().min_by(|one, other| one.validation.loss.total_cmp(&other.validation.loss))
    }
}

/// `table-3.md`, without a headline.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let mut grid = Grid::new([
        "cell",
        "chosen",
        "runs",
        "validation perplexity",
        "test perplexity",
        "published validation",
        "published test",
        "parameters, M",
        "by the authors' formula, M",
        "search, s",
        "retraining, s",
    ]);
    for row in rows {
        let (published, method) = match row.origin {
            Origin::Searched(method) => (published(method), Some(method)),
            _ => (None, None),
        };
        let millions = |count: u64| count as f64 / 1e6;
        let number = |value: Option<Spread>, digits| or_none(value.map(|value| format!("{:.digits$}", value.mean)));
        let seconds: Vec<f64> = row.searches.iter().map(|search| search.wall_seconds).collect();
        grid.row([
            row.origin.name().to_owned(),
            method.map_or_else(|| NONE.to_owned(), |_| row.runs.first().map_or("", |run| &run.chosen).to_owned()),
            row.runs.len().to_string(),
            or_none(row.spread(|run| run.validation.perplexity)),
            or_none(row.spread(|run| run.test.perplexity)),
            or_none(published.map(|published| published[0])),
            or_none(published.map(|published| published[1])),
            number(row.spread(|run| millions(run.cell.parameters)), 3),
            number(row.spread(|run| millions(run.cell.reported_parameters)), 3),
            if seconds.is_empty() { NONE.to_owned() } else { format!("{:.0}", mean(&seconds)) },
            number(row.spread(|run| run.wall_seconds), 0),
        ]);
    }
    let mut out = grid.markdown();
    if let Some(run) = rows.iter().flat_map(|row| &row.runs).next() {
        let apart = if run.preset == "full" {
            String::new()
        } else {
            format!(" of the whole text: perplexities of preset {} compare with each other only", run.preset)
        };
        out.push_str(&format!(
            "\nMean ± standard deviation of the population over the runs, one for every seed; published numbers are those of 5 trials{apart}. Corpus \
             {}, preset {}: {} different words, {} words of training text, {} predictions on the validation text, {} on the test text. Times \
             are means, parameters too.\n",
            run.corpus, run.preset, run.vocabulary, run.training_words, run.validation.predictions, run.test.predictions
        ));
    }
    out
}

/// `table-3.csv`: one line for every run.
#[must_use]
pub fn csv(rows: &[Row]) -> String {
    let mut grid = Grid::new([
        "origin",
        "seed",
        "chosen",
        "cell",
        "validation_perplexity",
        "test_perplexity",
        "parameters",
        "reported_parameters",
        "search_entropy",
        "search_seconds",
        "retraining_steps",
        "retraining_seconds",
        "commit",
    ]);
    for row in rows {
        for (index, run) in row.runs.iter().enumerate() {
            let search = row.searches.get(index);
            grid.row([
                row.origin.name().to_owned(),
                run.seed.to_string(),
                run.chosen.clone(),
                run.cell.cell.clone(),
                float(run.validation.perplexity),
                float(run.test.perplexity),
                run.cell.parameters.to_string(),
                run.cell.reported_parameters.to_string(),
                or_none(search.map(|search| float(search.entropy))),
                or_none(search.map(|search| format!("{:.1}", search.wall_seconds))),
                run.steps.to_string(),
                format!("{:.1}", run.wall_seconds),
                run.provenance.commit.clone(),
            ]);
        }
    }
    grid.csv()
}

/// `appendix-i.svg`: the best cells of AdvantageNAS and ProxylessNAS side by side, or those of the methods that there are.
///
/// # Errors
/// If a result has a cell that is none.
pub fn cells(rows: &[Row]) -> Result<String> {
    const SHOWN: [Method; 2] = [Method::AdvantageNas, Method::ProxylessNas];
    let of = |method: Method| rows.iter().find(|row| row.origin == Origin::Searched(method));
    let shown: Vec<&Row> = SHOWN.into_iter().filter_map(of).collect();
    let shown = if shown.is_empty() { rows.iter().take(2).collect() } else { shown };
    let mut panels = Vec::new();
    for row in shown {
        if let Some(run) = row.best() {
            let title = format!("{}, test perplexity {:.2}", row.origin.name(), run.test.perplexity);
            panels.push((title, parse_cell(&run.cell.cell)?));
        }
    }
    Ok(svg(&panels.iter().map(|(title, cell)| (title.as_str(), *cell)).collect::<Vec<_>>()))
}
