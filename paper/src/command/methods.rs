//! `advnas methods`: Table 1 of the paper, and the methods by the name that `--method` takes.

use std::fmt::Write;
use std::process::ExitCode;

use advantage_nas::strategy::Method;
use advantage_nas::strategy::table1::{Hotness, Propagation, TABLE_1};

use super::print;

/// Prints them.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    print(&text())?;
    Ok(ExitCode::SUCCESS)
}

fn text() -> String {
    let mut out = String::from("Table 1: properties of the methods when the architecture is updated\n\n");
    let yes_no = |yes| if yes { "yes" } else { "no" };
    let mut row = |cells: [&str; 6]| {
        let [name, propagation, hotness, stochastic, guarantee, source] = cells;
        let line = format!("{name:<14} {propagation:<12} {hotness:<8} {stochastic:<11} {guarantee:<10} {source}\n");
        out.push_str(&line);
    };
    row(["method", "propagation", "a_i", "stochastic", "guarantee", "source"]);
    for entry in TABLE_1 {
        let propagation = match entry.propagation {
            Propagation::Dense => "dense",
            Propagation::Sparse => "sparse",
        };
        let hotness = match entry.hotness {
            Hotness::One => "one-hot",
            Hotness::Two => "two-hot",
            Hotness::All => "n-hot",
        };
        row([entry.name, propagation, hotness, yes_no(entry.stochastic), yes_no(entry.guarantee), entry.source]);
    }
    out.push_str("\nAll are implemented; beside Table 1 there are variants to compare with (--method):\n");
    for method in Method::ALL {
        writeln!(out, "  {:<18} {}", method.name(), method.summary()).expect("writing to a string does not fail");
    }
    out
}
