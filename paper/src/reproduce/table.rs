//! What the tables of the paper have in common: means ± deviations over runs, published numbers beside ours, Markdown and CSV.

use std::fmt;

use crate::statistics::{deviation, mean};

/// What is written where there is no number.
pub const NONE: &str = "–";

/// Mean and standard deviation of the population, as the paper writes them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, `√(Σ(x − mean)²/n)`.
    pub deviation: f64,
    /// Number of values; not known of published numbers.
    pub count: Option<usize>,
}

impl Spread {
    /// Of some values; nothing if there are none.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let count = Some(values.len());
        (!values.is_empty()).then(|| Self { mean: mean(values), deviation: deviation(values), count })
    }

    /// A published number.
    #[must_use]
    pub const fn published(mean: f64, deviation: f64) -> Self {
        Self { mean, deviation, count: None }
    }
}

/// `mean ± deviation`, with two decimals unless the format says otherwise.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(2);
        write!(f, "{:.digits$} ± {:.digits$}", self.mean, self.deviation)
    }
}

/// A cell with a number that may be absent.
#[must_use]
pub fn or_none(value: Option<impl fmt::Display>) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| value.to_string())
}

/// A table: a head and rows of the same length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A table without rows.
    #[must_use]
    pub fn new<T: Into<String>>(head: impl IntoIterator<Item = T>) -> Self {
        Self { head: head.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    /// Unless it has as many cells as the head.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        let cells: Vec<String> = cells.into_iter().map(Into::into).collect();
        assert_eq!(cells.len(), self.head.len(), "cells of the row {cells:?}");
        self.rows.push(cells);
    }

    /// As Markdown. Bars in cells, such as those of NAS-Bench-201's cells, are escaped.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut out = line(&self.head);
        out.push_str(&format!("|{}\n", " --- |".repeat(self.head.len())));
        out.extend(self.rows.iter().map(|row| line(row)));
        out
    }

    /// As CSV; cells that are [`NONE`] are empty.
    #[must_use]
    pub fn csv(&self) -> String {
        let quoted = |cell: &String| match cell.as_str() {
            NONE => String::new(),
            cell if cell.contains([',', '"', '\n', '\r']) => format!("\"{}\"", cell.replace('"', "\"\"")),
            cell => cell.to_owned(),
        };
        let line = |cells: &Vec<String>| format!("{}\n", cells.iter().map(quoted).collect::<Vec<_>>().join(","));
        std::iter::once(&self.head).chain(&self.rows).map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_written_as_in_the_paper() {
        // Deviations of 92.5, 93, 94.5 from their mean 93⅓: (25 + 4 + 49)/36 in the mean of squares, 0.85.
        assert_eq!(Spread::of(&[92.5, 93.0, 94.5]).unwrap().to_string(), "93.33 ± 0.85");
        assert_eq!(format!("{:.1}", Spread::published(93.76, 0.0)), "93.8 ± 0.0");
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0]).unwrap().count, Some(1));
        assert_eq!(or_none(None::<Spread>), "–");
    }

    #[test]
    fn grids_are_markdown_and_csv() {
        let mut grid = Grid::new(["method", "cell", "loss"]);
        grid.row(["gdas", "|none~0|", "1"]);
        grid.row(["a, \"b\"", NONE, ""]);
        assert_eq!(
            grid.markdown(),
            "| method | cell | loss |\n| --- | --- | --- |\n| gdas | \\|none~0\\| | 1 |\n| a, \"b\" | – |  |\n"
        );
        assert_eq!(grid.csv(), "method,cell,loss\ngdas,|none~0|,1\n\"a, \"\"b\"\"\",,\n");
    }

    #[test]
    #[should_panic(expected = "cells of the row")]
    fn rows_fit_the_head() {
        Grid::new(["a", "b"]).row(["1"]);
    }
}
