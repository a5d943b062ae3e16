//! `advnas verify`: every claim of the paper, with the evidence for its verdict.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::Instant;

use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::ledger::{Claim, Effort, Evidence, ledger};
use clap::Args;
use serde_json::{Value, json};

use super::print;
use crate::build;

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Print JSON: every check of every claim
    #[arg(long)]
    json: bool,
    /// Twenty times as many instances and draws
    #[arg(long)]
    long: bool,
    /// Seed of the random instances and samples
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
}

/// What became of a claim.
struct Outcome {
    evidence: Result<Evidence, String>,
    seconds: f64,
}

impl Outcome {
    fn reached(&self) -> bool {
        self.evidence.as_ref().is_ok_and(Evidence::reached)
    }
}

/// Goes through the ledger; the exit code is 0 only if every verdict was reached.
pub(super) fn run(arguments: &Verify) -> anyhow::Result<ExitCode> {
    let effort = if arguments.long { Effort::long(arguments.seed) } else { Effort::usual(arguments.seed) };
    let mut entries = Vec::new();
    let mut all_reached = true;
    for claim in ledger::<Core>() {
        let outcome = claim.evidence.map(|evidence| {
            let start = Instant::now();
            let evidence = evidence(&Core, &effort).map_err(|error| error.to_string());
            Outcome { evidence, seconds: start.elapsed().as_secs_f64() }
        });
        all_reached &= outcome.as_ref().is_none_or(Outcome::reached);
        if arguments.json {
            entries.push(entry(&claim, outcome.as_ref()));
        } else {
            print(&line(&claim, outcome.as_ref()))?;
        }
    }
    if arguments.json {
        let document = json!({
            "commit": build::COMMIT,
            "seed": arguments.seed,
            "long": arguments.long,
            "reached": all_reached,
            "claims": entries,
        });
        print(&format!("{document:#}\n"))?;
    } else {
        let verdict = if all_reached { "every verdict was reached" } else { "NOT every verdict was reached" };
        print(&format!("{verdict} (commit {}, seed {})\n", build::COMMIT, arguments.seed))?;
    }
    Ok(if all_reached { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(claim: &Claim<Core>, outcome: Option<&Outcome>) -> String {
    let mut line = format!("{:<4} {:<35} {:<12}", claim.id, claim.place, claim.verdict.name());
    let written = match outcome {
        None => write!(line, " measured elsewhere: {}", claim.finding),
        Some(Outcome { evidence: Ok(evidence), seconds }) => write!(line, " {} [{seconds:.2} s]", evidence.summary()),
        Some(Outcome { evidence: Err(error), seconds }) => write!(line, " FAILED: {error} [{seconds:.2} s]"),
    };
    written.expect("writing to a string does not fail");
    line.push('\n');
    line
}

fn entry(claim: &Claim<Core>, outcome: Option<&Outcome>) -> Value {
    let mut entry = json!({
        "id": claim.id,
        "place": claim.place,
        "statement": claim.statement,
        "verdict": claim.verdict.name(),
        "finding": claim.finding,
    });
    if let Some(outcome) = outcome {
        entry["reached"] = outcome.reached().into();
        entry["seconds"] = outcome.seconds.into();
        match &outcome.evidence {
            Ok(evidence) => entry["checks"] = json!(evidence.checks()),
            Err(error) => entry["error"] = error.as_str().into(),
        }
    }
    entry
}
