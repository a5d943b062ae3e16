//! `advnas data`: what of the data sets is there, and downloading them.

use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::print;
use crate::data::Cache;
use crate::data::check::{self, State};
use crate::data::fetch::{self, Outcome, Patience};
use crate::progress::Progress;

/// Where the data sets are.
#[derive(Debug, Args)]
pub(super) struct DataFolder {
    /// Folder of the data sets, with one folder for each: cifar10, ptb, nas-bench-201
    #[arg(long, value_name = "DIR", env = "ADVNAS_DATA", hide_env_values = true, default_value = "data")]
    pub(super) data: PathBuf,
}

/// Where decoded images are kept.
#[derive(Debug, Args)]
pub(super) struct CacheFolder {
    /// Folder for decoded images [default: the user's cache folder]
    #[arg(long, value_name = "DIR", env = "ADVNAS_CACHE", hide_env_values = true)]
    cache: Option<PathBuf>,
}

impl CacheFolder {
    pub(super) fn cache(&self) -> Cache {
        Cache::new(self.cache.clone())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say what is there, what is missing and how to get it, and what is corrupt; exit code 0 unless something is corrupt
    Check(Check),
    /// Download a data set; an interrupted download goes on
    Fetch(Fetch),
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    folder: DataFolder,
    #[command(flatten)]
    cache: CacheFolder,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fetch {
    /// The data set
    set: Set,
    #[command(flatten)]
    folder: DataFolder,
    /// Another address: of a folder with the files, or of CIFAR-10's archive [default: the official place]
    #[arg(long, value_name = "URL")]
    from: Option<String>,
    /// No progress bar
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Set {
    /// The official binary version, 170 MB
    Cifar10,
    /// The Penn Treebank as preprocessed by Mikolov, 6 MB
    Ptb,
}

pub(super) fn run(action: &Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Check(check) => run_check(check),
        Action::Fetch(fetch) => run_fetch(fetch),
    }
}

fn run_check(arguments: &Check) -> anyhow::Result<ExitCode> {
    let data = &arguments.folder.data;
    let all = check::check(data, &arguments.cache.cache());
    let corrupt = all.iter().any(|status| status.state == State::Corrupt);
    if arguments.json {
        let sets = all.iter().map(|status| {
            let md5: serde_json::Map<_, _> =
                status.md5.iter().map(|(name, md5)| ((*name).to_owned(), md5.as_str().into())).collect();
            json!({
                "set": status.set,
                "state": status.state,
                "detail": status.detail,
                "source": status.source,
                "md5": md5,
            })
        });
        let document = json!({ "data": data, "corrupt": corrupt, "sets": sets.collect::<Vec<_>>() });
        print(&format!("{document:#}\n"))?;
    } else {
        let mut out = format!("{:<14} {}\n", "data", data.display());
        for status in &all {
            let state = match status.state {
                State::Ok => "ok",
                State::Missing => "missing",
                State::Corrupt => "CORRUPT",
            };
            writeln!(out, "{:<14} {state:<8} {}", status.set, status.detail)?;
            if let Some(source) = &status.source {
                writeln!(out, "{:<23} {source}", "")?;
            }
            for (name, md5) in &status.md5 {
                writeln!(out, "{:<23} md5 {md5} {name}", "")?;
            }
        }
        print(&out)?;
    }
    Ok(if corrupt { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn run_fetch(arguments: &Fetch) -> anyhow::Result<ExitCode> {
    let (data, from) = (&arguments.folder.data, arguments.from.as_deref());
    let items = match arguments.set {
        Set::Cifar10 => fetch::cifar10(data, from),
        Set::Ptb => fetch::ptb(data, from),
    };
    for item in items {
        let progress = Progress::bytes(item.bytes, arguments.quiet);
        progress.say(item.path.file_name().unwrap_or_default().to_string_lossy());
        let outcome = fetch::fetch(&item, &Patience::default(), &progress);
        progress.finish();
        let how = match outcome? {
            Outcome::There => "is there already".to_owned(),
            Outcome::Downloaded { resumed: 0 } => format!("downloaded from {}", item.url),
            Outcome::Downloaded { resumed } => format!("downloaded from {}, from byte {resumed} on", item.url),
        };
        print(&format!("{}: {how}; {} bytes, md5 {}\n", item.path.display(), item.bytes, item.md5))?;
    }
    Ok(ExitCode::SUCCESS)
}
