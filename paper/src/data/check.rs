//! What of the data is there, what is missing, and what is corrupt.

use std::path::Path;

use serde::Serialize;

use super::cache::Cache;
use super::cifar10::{self, Cifar10, Kind};
use super::corpus::Corpus;
use super::nas_bench_201::{self, Benchmark, Task};
use super::ptb;
use crate::error::{Error, Result};

/// Whether a set can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is complete and correct.
    Ok,
    /// It is not there.
    Missing,
    /// Something is there that is incomplete, corrupt or unreadable.
    Corrupt,
}

/// What is known of a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Name of the set.
    pub set: &'static str,
    /// Whether it can be used.
    pub state: State,
    /// What was found, or what is wrong and how to get it.
    pub detail: String,
    /// The file or folder that was read.
    pub source: Option<String>,
    /// Checksums by name.
    pub md5: Vec<(&'static str, String)>,
}

/// Reads and checks every set completely. Images that are decoded go into the cache; what the cache has is believed only of an archive
/// with the same checksum.
#[must_use]
pub fn check(data: &Path, cache: &Cache) -> Vec<Status> {
    vec![
        status(cifar10::NAME, Cifar10::verify(data, cache).map(|cifar| of_cifar10(&cifar))),
        status(ptb::NAME, ptb::load(data).map(|ptb| of_ptb(&ptb))),
        status(nas_bench_201::NAME, Benchmark::load(data).map(|table| of_table(&table))),
    ]
}

type Found = (String, String, Vec<(&'static str, String)>);

fn status(set: &'static str, found: Result<Found>) -> Status {
    match found {
        Ok((detail, source, md5)) => Status { set, state: State::Ok, detail, source: Some(source), md5 },
        Err(error) => {
            let state = if matches!(error, Error::NoData { .. }) { State::Missing } else { State::Corrupt };
            let detail = format!("{:#}", anyhow::Error::new(error));
            Status { set, state, detail, source: None, md5: Vec::new() }
        }
    }
}

fn of_cifar10(cifar: &Cifar10) -> Found {
    let test = cifar.test.as_ref().map_or("no".to_owned(), |test| test.len().to_string());
    let kind = match cifar.source.kind {
        Kind::Official => "the official files",
        Kind::Pictures => "image files, whose pixels need not be the official ones",
    };
    let (images, classes) = (cifar.training.len(), cifar.training.classes().len());
    let detail = format!("{images} training and {test} test images of {classes} classes, from {kind}");
    let md5 = vec![("source", cifar.source.source_md5.clone()), ("images", cifar.source.images_md5.clone())];
    (detail, cifar.source.path.display().to_string(), md5)
}

fn of_ptb(ptb: &Corpus) -> Found {
    let [train, valid, test] = ptb.texts.each_ref().map(|text| text.split_whitespace().count() + text.lines().count());
    let md5 = ptb::FILES.iter().map(|file| (file.name, file.md5.to_owned())).collect();
    let detail = format!("{train} training, {valid} validation and {test} test tokens, one <eos> a line included");
    (detail, ptb.source.display().to_string(), md5)
}

fn of_table(table: &Benchmark) -> Found {
    let best = table.entries().iter().map(|entry| entry.accuracy(Task::Cifar10)).fold(0.0, f64::max);
    let detail = format!("{} cells, the best with {best:.4} % on CIFAR-10", table.entries().len());
    (detail, table.source().display().to_string(), vec![("table", table.md5().to_owned())])
}
