//! `advnas variance`: expectation, bias, second moment and variance of every estimator on an instance of section 4.4.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use advantage_nas_theory::instance::{EdgeReport, Estimate, Instance, Options, Report, Total};
use advantage_nas_theory::number::{Rational, decimal, norm2, to_f64};
use advantage_nas_theory::testbed::Form;
use clap::{Args, value_parser};
use serde_json::{Map, Value, json};

use super::print;
use crate::error::Error;
use crate::instance;

#[derive(Debug, Args)]
#[command(after_help = FORMAT)]
pub(super) struct Variance {
    /// The instance, a TOML file
    #[arg(long, value_name = "FILE")]
    instance: PathBuf,
    /// List PARSEC with this many samples
    #[arg(long, value_name = "K", allow_negative_numbers = true, value_parser = value_parser!(u64).range(1..))]
    parsec_samples: Option<u64>,
    /// List GDAS at this temperature
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    gdas_temperature: Option<f64>,
    /// Print JSON, with exact numbers as fractions in strings; paper/README.md describes its keys
    #[arg(long)]
    json: bool,
}

const FORMAT: &str = "\
The reward of an architecture is the constant plus the sum of the rewards of its candidates. FILE:
  constant = 0                          # optional
  [[edges]]
  probabilities = [0.25, \"3/8\", \"3/8\"]  # integers, decimals, fractions in quotes
  rewards = [0, 2, -1.5]
  zero = 0                              # optional: this candidate is the zero operation";

/// Prints the analysis.
pub(super) fn run(arguments: &Variance) -> anyhow::Result<ExitCode> {
    let instance = instance::read(&arguments.instance)?;
    let options = Options {
        parsec_samples: arguments.parsec_samples.map(|samples| usize::try_from(samples).unwrap_or(usize::MAX)),
        gdas_temperature: arguments.gdas_temperature,
    };
    let report = instance
        .analyse(&options)
        .map_err(|error| Error::Usage(format!("{}: {error}", arguments.instance.display())))?;
    let text =
        if arguments.json { format!("{:#}\n", json_of(&instance, &report)) } else { text_of(&instance, &report) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn json_of(instance: &Instance, report: &Report) -> Value {
    let edges: Vec<Value> =
        report.edges.iter().enumerate().map(|(index, edge)| json_edge(instance, index, edge)).collect();
    let mut totals = Map::new();
    for (name, total) in &report.totals {
        let keys = ["bias_norm2", "second_moment", "variance"];
        let value: Map<String, Value> = match total {
            Total::Exact(parts) => {
                keys.iter().zip(parts).map(|(key, part)| ((*key).to_owned(), fraction(part))).collect()
            }
            Total::Decimal(parts, precision) => keys
                .iter()
                .zip(parts)
                .map(|(key, part)| ((*key).to_owned(), json!(part)))
                .chain([("precision".to_owned(), json!(precision))])
                .collect(),
        };
        totals.insert((*name).to_owned(), Value::Object(value));
    }
    let sum = |of: fn(&EdgeReport) -> &Rational| fraction(&report.edges.iter().map(of).sum());
    json!({
        "constant": fraction(instance.constant()),
        "objective": fraction(&report.objective),
        "confirmed_by_enumeration": report.enumerated > 0,
        "edges": edges,
        "total": {
            "gradient_norm2": sum(|edge| &edge.gradient_norm2),
            "printed_gradient_norm2": sum(|edge| &edge.printed_gradient_norm2),
            "printed_second_moment_adv": sum(|edge| &edge.printed_second_moment_adv),
            "printed_second_moment_base": sum(|edge| &edge.printed_second_moment_base),
            "estimators": totals,
        },
    })
}

fn json_edge(instance: &Instance, index: usize, edge: &EdgeReport) -> Value {
    let mut estimators = Map::new();
    for (name, estimate) in &edge.estimators {
        let mut value = match estimate {
            Estimate::Exact(form) => json!({
                "expectation": fractions(&form.expectation),
                "bias": fractions(&form.bias),
                "second_moment": fraction(&form.second_moment),
                "variance": fraction(&form.variance),
            }),
            Estimate::Decimal(form, precision) => json!({
                "expectation": form.expectation,
                "bias": form.bias,
                "second_moment": form.second_moment,
                "variance": form.variance,
                "precision": precision,
            }),
        };
        match (*name, &edge.zero) {
            ("zero_operation", Some((zero, worst))) => {
                value["zero"] = json!(zero);
                value["replacement"] = fraction(worst);
            }
            ("optimal_baseline", _) => value["baseline"] = edge.optimal_baseline.as_ref().map_or(Value::Null, fraction),
            _ => {}
        }
        estimators.insert((*name).to_owned(), value);
    }
    json!({
        "probabilities": fractions(instance.probabilities().edge(index)),
        "rewards": fractions(instance.rewards().edge(index)),
        "gradient": fractions(&edge.gradient),
        "gradient_norm2": fraction(&edge.gradient_norm2),
        "printed_gradient_norm2": fraction(&edge.printed_gradient_norm2),
        "printed_second_moment_adv": fraction(&edge.printed_second_moment_adv),
        "printed_second_moment_base": fraction(&edge.printed_second_moment_base),
        "estimators": estimators,
    })
}

fn fraction(value: &Rational) -> Value {
    Value::String(value.to_string())
}

fn fractions(values: &[Rational]) -> Value {
    values.iter().map(fraction).collect()
}

/// Longer fractions are printed in decimals; JSON has them in full.
const LONGEST: usize = 16;

/// Digits after the point of decimals.
const DIGITS: usize = 9;

/// A fraction with its decimals, or the decimals alone.
fn both(value: &Rational) -> String {
    let exact = value.to_string();
    let decimals = decimals(value);
    if exact == decimals {
        exact
    } else if exact.len() > LONGEST {
        format!("~{decimals}")
    } else {
        format!("{exact} = {decimals}")
    }
}

fn decimals(value: &Rational) -> String {
    let float = to_f64(value).abs();
    // Fixed point loses what is much smaller than one.
    if float != 0.0 && float < 1e-4 { format!("{:.6e}", to_f64(value)) } else { decimal(value, DIGITS as u32) }
}

fn short(value: &Rational) -> String {
    let exact = value.to_string();
    if exact.len() > LONGEST { format!("~{}", decimals(value)) } else { exact }
}

fn vector(values: &[Rational]) -> String {
    format!("({})", values.iter().map(short).collect::<Vec<_>>().join(", "))
}

fn floats(values: &[f64]) -> String {
    format!("({})", values.iter().map(|value| format!("{value:.DIGITS$}")).collect::<Vec<_>>().join(", "))
}

fn title(name: &str) -> &str {
    match name {
        "reinforce" => "REINFORCE, Eq. (4)",
        "reinforce_mean_baseline" => "  with baseline J",
        "advantage" => "advantage, Eq. (6)",
        "first_order" => "first order, Eq. (7)",
        "optimal_baseline" => "optimal baseline",
        "proxylessnas" => "ProxylessNAS",
        "zero_operation" => "zero operation, fn. 4",
        "parsec" => "PARSEC",
        "gdas" => "GDAS, dense (SNAS)",
        "gdas_one_output" => "GDAS, one output",
        other => other,
    }
}

fn text_of(instance: &Instance, report: &Report) -> String {
    let mut out = format!("J = {}\n", both(&report.objective));
    for (index, edge) in report.edges.iter().enumerate() {
        let mut line = |text: String| {
            out.push_str(&text);
            out.push('\n');
        };
        line(format!(
            "\nedge {index}: mu = {}, r = {}",
            vector(instance.probabilities().edge(index)),
            vector(instance.rewards().edge(index))
        ));
        line(format!("  gradient       {}", vector(&edge.gradient)));
        line(format!(
            "  ||gradient||^2 {}; the paper prints {}",
            both(&edge.gradient_norm2),
            both(&edge.printed_gradient_norm2)
        ));
        line(format!(
            "  the paper prints Var[adv] = {}, Var[base] = {}",
            both(&edge.printed_second_moment_adv),
            both(&edge.printed_second_moment_base)
        ));
        if let Some((zero, worst)) = &edge.zero {
            line(format!("  the advantage of the zero operation, candidate {zero}, is replaced by {}", short(worst)));
        }
        let mut rows = vec![["estimator", "second moment", "variance", "bias", "expectation"].map(str::to_owned)];
        for (name, estimate) in &edge.estimators {
            let cells = match estimate {
                Estimate::Exact(Form { expectation, bias, second_moment, variance }) => {
                    let bias = if norm2(bias) == Rational::default() { "0".to_owned() } else { vector(bias) };
                    [both(second_moment), both(variance), bias, vector(expectation)]
                }
                Estimate::Decimal(form, _) => [
                    format!("{:.DIGITS$}", form.second_moment),
                    format!("{:.DIGITS$}", form.variance),
                    floats(&form.bias),
                    floats(&form.expectation),
                ],
            };
            let [second, variance, bias, expectation] = cells;
            rows.push([title(name).to_owned(), second, variance, bias, expectation]);
        }
        out.push_str(&table(&rows));
    }
    if report.edges.len() > 1 {
        out.push_str("\nall edges\n");
        let mut rows = vec![["estimator", "second moment", "variance", "||bias||^2"].map(str::to_owned)];
        for (name, total) in &report.totals {
            rows.push(match total {
                Total::Exact([bias, second, variance]) => {
                    [title(name).to_owned(), both(second), both(variance), both(bias)]
                }
                Total::Decimal(parts, _) => {
                    let [bias, second, variance] = parts.map(|part| format!("{part:.DIGITS$}"));
                    [title(name).to_owned(), second, variance, bias]
                }
            });
        }
        out.push_str(&table(&rows));
    }
    let precision = report.edges.iter().flat_map(|edge| &edge.estimators).filter_map(|(_, estimate)| match estimate {
        Estimate::Decimal(_, precision) => Some(*precision),
        Estimate::Exact(_) => None,
    });
    if let Some(precision) = precision.reduce(f64::max) {
        writeln!(out, "\nPARSEC and GDAS are not rational; their values are right to {precision:.0e}")
            .expect("a string");
    }
    if report.enumerated > 0 {
        writeln!(out, "\nconfirmed by enumerating {} architectures", report.enumerated).expect("a string");
    }
    out
}

/// Columns as wide as their widest cell, two spaces between.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(out, "  {}", cells.join("  ").trim_end()).expect("a string");
    }
    out
}
