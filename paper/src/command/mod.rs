//! The command line: what is understood, how it is answered, and how it ends. One file per command.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly, 130 interrupted. An error is one line on standard error. Nothing is computed
//! here.

mod data;
mod dump;
mod evaluate;
mod gpu;
mod info;
mod methods;
mod reproduce;
mod retrain;
mod search;
mod summary;
mod variance;
mod verify;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::build;
use crate::error::Error;

/// Efficient neural architecture search with credit assignment: the experiments of the AdvantageNAS paper.
#[derive(Debug, Parser)]
#[command(name = "advnas", version = build::VERSION_AND_COMMIT, max_term_width = 100, after_help = EXAMPLE)]
struct Cli {
    /// Say more on standard error; twice for every checkpoint. RUST_LOG=... does the same, module by module.
    #[arg(short, long, action = ArgAction::Count, global = true)]
    verbose: u8,

    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
Example:
  advnas search toy                     a search of a second, its files in runs/
  advnas search toy --help              its settings
  advnas reproduce figure-1             eight methods, ten trials each";

#[derive(Debug, Subcommand)]
enum Command {
    /// Search an architecture
    Search {
        #[command(subcommand)]
        experiment: search::Experiment,
    },
    /// Train a found architecture with new weights
    Retrain {
        #[command(subcommand)]
        experiment: retrain::Experiment,
    },
    /// Reproduce a table or a figure of the paper
    Reproduce {
        #[command(subcommand)]
        subject: reproduce::Subject,
    },
    /// Check or download the data sets
    Data {
        #[command(subcommand)]
        action: data::Action,
    },
    /// Measure a result: a cell in the benchmark table, the cells of a search, the perplexity of a trained network
    Evaluate {
        #[command(subcommand)]
        experiment: evaluate::Experiment,
    },
    /// Write one step of a search to a file, for an outside program that computes the same
    Dump {
        #[command(subcommand)]
        experiment: dump::Experiment,
    },
    /// List the methods: Table 1 of the paper and what is implemented
    Methods,
    /// Check every claim of the paper: one line each, exit code 0 only if every verdict is reached
    Verify(verify::Verify),
    /// Expectation, bias and variance of every estimator on an instance of section 4.4, beside what the paper prints
    Variance(variance::Variance),
    /// Check and time the CUDA kernels on a device
    Gpu {
        #[command(subcommand)]
        action: gpu::Action,
    },
    /// Show version, commit, processor, CUDA devices and folders
    Info,
}

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    log(cli.verbose);
    let done = match cli.command {
        Command::Search { experiment } => search::run(experiment),
        Command::Retrain { experiment } => retrain::run(experiment),
        Command::Reproduce { subject } => reproduce::run(subject),
        Command::Data { action } => data::run(&action),
        Command::Evaluate { experiment } => evaluate::run(&experiment),
        Command::Dump { experiment } => dump::run(experiment),
        Command::Methods => methods::run(),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Variance(arguments) => variance::run(&arguments),
        Command::Gpu { action } => gpu::run(&action),
        Command::Info => info::run(),
    };
    done.unwrap_or_else(|error| {
        let usage = error.chain().any(|cause| cause.downcast_ref::<Error>().is_some_and(Error::is_usage));
        // Standard error may be closed as well; the exit code remains.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        ExitCode::from(if usage { 2 } else { 1 })
    })
}

/// Help and version as they are; an error in one line, as all of ours: its first paragraph, without usage and tips.
fn misunderstood(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let shown =
        [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
    if shown.contains(&error.kind()) {
        // A reader that has seen enough is no failure.
        let _ = error.print();
    } else {
        let text = error.to_string();
        let paragraph: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let _ = writeln!(std::io::stderr(), "{}", paragraph.join(" "));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::DEBUG,
    };
    // What takes seconds at first use only is always said.
    let usual = || Targets::new().with_default(level).with_target("advantage_nas_gpu", level.max(LevelFilter::INFO));
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let (filter, refused) = match wanted.as_deref().map(str::parse::<Targets>) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(error)) => (usual(), Some(error)),
        None => (usual(), None),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time();
    tracing_subscriber::registry().with(filter).with(lines).init();
    if let Some(error) = refused {
        tracing::warn!(
            "RUST_LOG is not understood ({error}); it takes levels, such as debug or advantage_nas_paper=debug,warn"
        );
    }
}

/// What failed in a run, with how it goes on.
fn stopped(error: Error, how: &str) -> anyhow::Error {
    if !matches!(error, Error::Stopped { .. }) {
        return error.into();
    }
    anyhow::anyhow!("{:#}; to go on: {how}", anyhow::Error::new(error))
}

/// Writes to standard output. A reader that has seen enough, such as `head`, is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output"))
        }
        _ => Ok(()),
    }
}
