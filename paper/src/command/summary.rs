//! The closing words of a search.

use std::fmt::Write;
use std::path::Path;

use super::print;
use crate::experiment::Experiment;
use crate::experiment::cifar10::{Agreement, BestCell, Cifar10Result, Comparison, Found, FoundCell, Looked, Measured};
use crate::experiment::ptb::retraining::RetrainingResult;
use crate::experiment::ptb::search::{FoundCell as FoundRecurrent, PtbResult};
use crate::experiment::ptb::{Choose, Perplexity, SizedCell};
use crate::experiment::toy::ToyResult;
use crate::memory::Bytes;
use crate::statistics::median;
use crate::stop::Stop;
use crate::sweep::{Estimates, KindEstimate, Sweep};

const FITS: &str = "writing to a string does not fail";

/// What is said of finished trials.
pub(super) trait Summary: Sized {
    /// Of a single trial; `folder` holds it.
    fn of_one(&self, folder: &Path) -> String;

    /// Of several of `trials` trials; `folder` holds theirs.
    fn of_many(results: &[Self], trials: usize, folder: &Path) -> String;
}

impl Summary for ToyResult {
    fn of_one(&self, folder: &Path) -> String {
        of_one(self, folder)
    }

    fn of_many(results: &[Self], trials: usize, folder: &Path) -> String {
        of_many(results, trials, folder)
    }
}

/// Says what the runs of a sweep are going to take, unless it was asked for quiet. Where that can't be found out, the runs themselves
/// will say why.
pub(super) fn announce<E: Experiment>(sweep: &Sweep<'_, E>, quiet: bool, stop: &Stop) -> anyhow::Result<()> {
    if quiet {
        return Ok(());
    }
    match sweep.estimate(stop) {
        Ok(Some(estimates)) => print(&announcement(&estimates)),
        Ok(None) => Ok(()),
        Err(error) => {
            tracing::warn!("no estimate: {error}");
            Ok(())
        }
    }
}

fn announcement(estimates: &Estimates) -> String {
    let runs = estimates.runs();
    let begun = match estimates.begun {
        0 => String::new(),
        _ if runs == 1 => " from the beginning".to_owned(),
        begun => format!(" from the beginning, {begun} of them are begun,"),
    };
    let takes = format!("about {} and {}{begun}", duration(estimates.seconds()), Bytes(estimates.bytes() as u64));
    let at_a_time = format!("{} at a time", estimates.at_once.min(runs));
    match estimates.kinds.as_slice() {
        [only] if runs == 1 => format!("{takes}: {}\n", only.estimate.detail),
        [only] => format!("{takes} for {runs} runs, {at_a_time}, each: {}\n", only.estimate.detail),
        kinds => {
            let mut out = format!("{takes} for {runs} runs, {at_a_time}:\n");
            for KindEstimate { kind, runs, bytes, estimate } in kinds {
                let (time, memory) = (duration(estimate.seconds), Bytes(*bytes as u64));
                writeln!(out, "  {runs} of {kind}, {time} and {memory} each: {}", estimate.detail).expect(FITS);
            }
            out
        }
    }
}

/// A time in the unit that fits.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        ..90.0 => format!("{seconds:.0} s"),
        ..5400.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} days", seconds / 86_400.0),
    }
}

fn line(out: &mut String, name: &str, value: &str) {
    writeln!(out, "  {name:<14} {value}").expect(FITS);
}

fn found_cells(out: &mut String, argmax: &FoundCell, best: Option<&BestCell>) {
    let cells = [("argmax", Some(argmax)), ("process best", best.map(|best| &best.found))];
    for (name, found) in cells {
        let Some(FoundCell { cell, supernet_test_accuracy, .. }) = found else { continue };
        line(out, name, &cell.cell);
        for looked in cell.table.iter().flat_map(|table| &table.tasks) {
            let Looked { task, test_accuracy, rank, rank_without_zero } = looked;
            let without = rank_without_zero
                .map_or_else(String::new, |rank| format!(", {} of {} without zero", rank.rank, rank.of));
            line(out, "", &format!("{test_accuracy:.2} % on {task}, rank {} of {}{without}", rank.rank, rank.of));
        }
        let (parameters, flops) = (cell.parameters as f64 / 1e6, cell.flops as f64 / 1e6);
        line(out, "", &format!("{parameters:.2} M parameters, {flops:.1} M FLOPs"));
        line(out, "", &format!("{:.1} % of the test images with the shared weights", 100.0 * supernet_test_accuracy));
    }
}

fn agreement(comparison: &Comparison) -> String {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    format!(
        "rank correlation with the table {} by accuracy, {} by minibatch loss (Spearman, random cells: {})",
        number(comparison.accuracy.spearman),
        number(comparison.loss.spearman),
        comparison.cells
    )
}

/// What a run has found by its last checkpoint.
pub(super) fn measured(measured: &Measured) -> String {
    let Measured { method, steps_done, steps, found: Found { argmax, process_best, comparison } } = measured;
    let mut out = format!("{method} on CIFAR-10, after {steps_done} of {steps} steps\n");
    found_cells(&mut out, argmax, process_best.as_ref());
    if let Some(comparison) = comparison {
        line(&mut out, "supernet", &agreement(comparison));
        for (name, unit, Agreement { mean, least, most, .. }) in
            [("accuracy", "", &comparison.accuracy), ("minibatch loss", " nats", &comparison.loss)]
        {
            let text = format!("{name} of the random cells {mean:.3}{unit} in the mean, {least:.3} to {most:.3}");
            line(&mut out, "", &text);
        }
    }
    out
}

impl Summary for Cifar10Result {
    fn of_one(&self, folder: &Path) -> String {
        let mut out =
            format!("{} on CIFAR-10, preset {}, seed {}, trial {}\n", self.method, self.preset, self.seed, self.trial);
        found_cells(&mut out, &self.argmax, self.process_best.as_ref());
        let mut line = |name: &str, value: String| line(&mut out, name, &value);
        line("entropy", format!("{:.2} of {:.2} nats", self.entropy, self.largest_entropy));
        if let Some(comparison) = &self.comparison {
            line("supernet", agreement(comparison));
        }
        line("speed", format!("{:.2} steps/s, {}", self.steps_per_second, duration(self.wall_seconds)));
        if !self.provenance.is_on_cpu() {
            line("device", self.provenance.device.clone());
        }
        line("files", folder.display().to_string());
        out
    }

    fn of_many(results: &[Self], trials: usize, folder: &Path) -> String {
        let Some(first) = results.first() else { return String::new() };
        let mut out = format!("{} on CIFAR-10, preset {}, seed {}\n\n", first.method, first.preset, first.seed);
        let mut row = |cells: [&str; 6]| {
            let [trial, argmax, best, entropy, speed, cell] = cells;
            writeln!(out, "{trial:>6}  {argmax:>9}  {best:>12}  {entropy:>7}  {speed:>7}  {cell}").expect(FITS);
        };
        row(["trial", "argmax, %", "process best", "entropy", "steps/s", "argmax cell"]);
        let percent =
            |accuracy: Option<f64>| accuracy.map_or_else(|| "-".to_owned(), |accuracy| format!("{accuracy:.2}"));
        for result in results {
            row([
                &result.trial.to_string(),
                &percent(result.argmax.cell.accuracy()),
                &percent(result.process_best.as_ref().and_then(|best| best.found.cell.accuracy())),
                &format!("{:.2}", result.entropy),
                &format!("{:.2}", result.steps_per_second),
                &result.argmax.cell.cell,
            ]);
        }
        if results.len() < trials {
            writeln!(out, "\n{} of {trials} trials are finished", results.len()).expect(FITS);
        }
        if !first.provenance.is_on_cpu() {
            writeln!(out, "device {}", first.provenance.device).expect(FITS);
        }
        writeln!(out, "files in {}, one folder per trial", folder.display()).expect(FITS);
        out
    }
}

impl Summary for PtbResult {
    fn of_one(&self, folder: &Path) -> String {
        let Self { method, corpus, preset, seed, trial, .. } = self;
        let mut out = format!("{method} on the corpus {corpus}, preset {preset}, seed {seed}, trial {trial}\n");
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<14} {value}").expect(FITS);
        let mut cell = |name: &str, found: &FoundRecurrent| {
            line(name, found.cell.cell.clone());
            line("", sizes(&found.cell));
            line("", format!("validation {} with the shared weights", perplexity(&found.supernet_validation)));
        };
        cell("argmax", &self.argmax);
        if let Some(best) = &self.process_best {
            cell("process best", &best.found);
        }
        line("to retrain", self.chosen.name().to_owned());
        line("entropy", format!("{:.2} of {:.2} nats", self.entropy, self.largest_entropy));
        line("speed", format!("{:.2} steps/s, {:.0} s", self.steps_per_second, self.wall_seconds));
        line("files", folder.display().to_string());
        out
    }

    fn of_many(results: &[Self], trials: usize, folder: &Path) -> String {
        let Some(first) = results.first() else { return String::new() };
        let mut out = format!(
            "{} on the corpus {}, preset {}, seed {}\n\n",
            first.method, first.corpus, first.preset, first.seed
        );
        let mut row = |cells: [&str; 5]| {
            let [trial, perplexity, entropy, speed, cell] = cells;
            writeln!(out, "{trial:>6}  {perplexity:>10}  {entropy:>7}  {speed:>7}  {cell}").expect(FITS);
        };
        row(["trial", "perplexity", "entropy", "steps/s", "cell to retrain"]);
        for result in results {
            let found = result.chosen(Choose::ByMethod).unwrap_or(&result.argmax);
            row([
                &result.trial.to_string(),
                &format!("{:.2}", found.supernet_validation.perplexity),
                &format!("{:.2}", result.entropy),
                &format!("{:.2}", result.steps_per_second),
                &found.cell.cell,
            ]);
        }
        writeln!(out, "\nperplexity: of that cell on the validation text, with the shared weights").expect(FITS);
        if results.len() < trials {
            writeln!(out, "{} of {trials} trials are finished", results.len()).expect(FITS);
        }
        writeln!(out, "files in {}, one folder per trial", folder.display()).expect(FITS);
        out
    }
}

impl Summary for RetrainingResult {
    fn of_one(&self, folder: &Path) -> String {
        let Self { corpus, preset, seed, trial, .. } = self;
        let mut out = format!("retraining on the corpus {corpus}, preset {preset}, seed {seed}, trial {trial}\n");
        let mut line = |name: &str, value: String| writeln!(out, "  {name:<14} {value}").expect(FITS);
        line("cell", self.cell.cell.clone());
        line("", sizes(&self.cell));
        line("from", self.origin());
        line("validation", perplexity(&self.validation));
        line("test", perplexity(&self.test));
        line("speed", format!("{:.2} steps/s, {:.0} s", self.steps_per_second, self.wall_seconds));
        line("files", folder.display().to_string());
        out
    }

    fn of_many(results: &[Self], _trials: usize, folder: &Path) -> String {
        results.iter().map(|result| result.of_one(folder)).collect()
    }
}

/// How well a text is predicted, in words.
pub(super) fn perplexity(perplexity: &Perplexity) -> String {
    format!("perplexity {:.2} over {} predictions", perplexity.perplexity, perplexity.predictions)
}

fn sizes(cell: &SizedCell) -> String {
    let millions = |count: u64| count as f64 / 1e6;
    let (ours, reported) = (millions(cell.parameters), millions(cell.reported_parameters));
    format!("{ours:.3} M parameters, {reported:.3} M by the authors' formula")
}

fn of_one(result: &ToyResult, folder: &Path) -> String {
    let edges = result.teacher.architecture.len();
    let right = result.argmax.edges_right;
    let verdict = match result.first_hit {
        Some(iteration) if right == edges => format!("found the teacher's architecture at iteration {iteration}"),
        Some(iteration) => format!(
            "{right} of {edges} edges right; the teacher's architecture was found at iteration {iteration} and lost again"
        ),
        None => format!("{right} of {edges} edges right; the teacher's architecture was not found"),
    };
    let mut out =
        format!("{} on toy regression, seed {}, trial {}: {verdict}\n", result.method, result.seed, result.trial);
    let mut line = |name: &str, value: String| writeln!(out, "  {name:<14} {value}").expect(FITS);
    line("test loss", number(result.argmax.test_loss));
    line("edges right", format!("{right}/{edges}"));
    line("teacher found", first_hit(result.first_hit));
    line("process best", process_best(result));
    line("speed", format!("{:.0} steps/s, {:.2} s", result.steps_per_second, result.wall_seconds));
    if !result.provenance.is_on_cpu() {
        line("device", result.provenance.device.clone());
    }
    line("files", folder.display().to_string());
    out
}

fn of_many(results: &[ToyResult], trials: usize, folder: &Path) -> String {
    let Some(first) = results.first() else { return String::new() };
    let mut out =
        format!("{} on toy regression, seed {}, {} iterations\n\n", first.method, first.seed, first.iterations);
    let mut row = |cells: [&str; 6]| {
        let [trial, loss, edges, found, best, speed] = cells;
        writeln!(out, "{trial:>6}  {loss:>10}  {edges:>11}  {found:>13}  {best:>12}  {speed:>8}").expect(FITS);
    };
    row(["trial", "test loss", "edges right", "teacher found", "process best", "steps/s"]);
    for result in results {
        row([
            &result.trial.to_string(),
            &number(result.argmax.test_loss),
            &format!("{}/{}", result.argmax.edges_right, result.teacher.architecture.len()),
            &result.first_hit.map_or_else(|| "not found".to_owned(), |iteration| iteration.to_string()),
            &result.process_best.as_ref().map_or_else(|| "-".to_owned(), |best| number(best.loss)),
            &format!("{:.0}", result.steps_per_second),
        ]);
    }
    let median_of = |value: &dyn Fn(&ToyResult) -> f64| median(&results.iter().map(value).collect::<Vec<f64>>());
    // A trial that never found it counts as later than every other.
    let hit = median_of(&|result| result.first_hit.map_or(f64::INFINITY, |iteration| iteration as f64));
    row([
        "median",
        &number(median_of(&|result| result.argmax.test_loss)),
        &median_of(&|result| result.argmax.edges_right as f64).to_string(),
        &if hit.is_finite() { hit.to_string() } else { "not found".to_owned() },
        &Some(median_of(&|result| result.process_best.as_ref().map_or(f64::INFINITY, |best| best.loss)))
            .filter(|loss| loss.is_finite())
            .map_or_else(|| "-".to_owned(), number),
        &format!("{:.0}", median_of(&|result| result.steps_per_second)),
    ]);
    let count = results.len();
    let found = results.iter().filter(|result| result.first_hit.is_some()).count();
    let held = results.iter().filter(|result| result.argmax.edges_right == result.teacher.architecture.len()).count();
    writeln!(
        out,
        "\nthe teacher's architecture was found in {found} of {count} trials and is the final one in {held} of {count}"
    )
    .expect(FITS);
    if count < trials {
        writeln!(out, "{count} of {trials} trials are finished").expect(FITS);
    }
    if !first.provenance.is_on_cpu() {
        writeln!(out, "device {}", first.provenance.device).expect(FITS);
    }
    writeln!(out, "files in {}, one folder per trial", folder.display()).expect(FITS);
    out
}

fn first_hit(iteration: Option<u64>) -> String {
    iteration.map_or_else(|| "not found".to_owned(), |iteration| format!("at iteration {iteration}"))
}

fn process_best(result: &ToyResult) -> String {
    match &result.process_best {
        None => "-".to_owned(),
        Some(best) => format!("minibatch loss {} at iteration {}", number(best.loss), best.iteration),
    }
}

/// Four digits.
fn number(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if (1e-3..1e4).contains(&value.abs()) {
        format!("{value:.5}")
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> = [0.0, 0.012_345_678, 1.234_567e-7, 12.0].into_iter().map(number).collect();
        assert_eq!(shown, ["0", "0.01235", "1.235e-7", "12.00000"]);
    }
}
