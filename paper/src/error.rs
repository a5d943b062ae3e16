//! The one error type of the experiments.

use std::io;
use std::path::{Path, PathBuf};

use crate::memory::Bytes;

/// What an experiment can't do, and why. Every message fits on one line and names the file or the setting.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that the experiment does not have.
    #[error("unknown setting {key:?}, known are: {known}")]
    UnknownSetting {
        /// What was given.
        key: String,
        /// All known settings, separated by commas.
        known: String,
    },

    /// A setting of the wrong type or outside its choices.
    #[error("{key} = {value}: {problem}")]
    WrongSetting {
        /// The setting.
        key: String,
        /// What was given, as text.
        value: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Settings that contradict each other, or are not in the form that is understood.
    #[error("{0}")]
    Usage(String),

    /// Settings that the search refuses.
    #[error("settings: {0}")]
    Settings(advantage_nas::Error),

    /// A file or folder that can't be read or written.
    #[error("can't {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// Something else than a folder where the run should lie.
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),

    /// A folder that is not empty.
    #[error("{} holds {holds}; {advice}", path.display())]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What is in it.
        holds: String,
        /// What can be done.
        advice: &'static str,
    },

    /// A run that another process is working on.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),

    /// A preset that the experiment does not have.
    #[error("unknown preset {name:?}, known are: {known}")]
    UnknownPreset {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },

    /// A file of a run that was written with other settings.
    #[error("{} was written with other settings: {differences}", path.display())]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// Every setting that differs, with both values.
        differences: String,
    },

    /// A file of a run on other data.
    #[error("{} was written for other data: {differences}", path.display())]
    OtherData {
        /// The file.
        path: PathBuf,
        /// Every checksum that differs, with both values.
        differences: String,
    },

    /// A file of a run that is not what it should be.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// A log that has lost rows that the checkpoint counts on.
    #[error("{}: the checkpoint expects at least {expected} bytes, found {found}", path.display())]
    ShortLog {
        /// The log.
        path: PathBuf,
        /// Its length when the checkpoint was written.
        expected: u64,
        /// Its length now.
        found: u64,
    },

    /// A data set, or a part of it, that is not there.
    #[error("{what} not found in {}; {advice}", folder.display())]
    NoData {
        /// What was looked for.
        what: String,
        /// Where.
        folder: PathBuf,
        /// How to get it.
        advice: String,
    },

    /// A file of a data set that is not what it should be.
    #[error("{file}: expected {expected}, found {found}")]
    WrongData {
        /// The file; of a file in an archive, the archive before it.
        file: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },

    /// A download that failed.
    #[error("can't download {url}: {problem}")]
    Download {
        /// The address.
        url: String,
        /// Why it failed.
        problem: String,
    },

    /// Runs that don't fit into the memory.
    #[error(
        "{} about {needed} of memory, this machine has {total}; smaller networks and minibatches need less",
        if *at_once == 1 { "a run needs".to_owned() } else { format!("{at_once} runs at the same time need") }
    )]
    Memory {
        /// What they need.
        needed: Bytes,
        /// How many runs at the same time.
        at_once: usize,
        /// What there is.
        total: Bytes,
    },

    /// A failure of the search itself.
    #[error(transparent)]
    Search(advantage_nas::Error),

    /// A run that failed on its way; what it has written is intact.
    #[error(
        "{} stopped, {}",
        path.display(),
        saved_at.map_or_else(|| "before its first checkpoint".to_owned(), |step| format!("its checkpoint of step {step} is intact"))
    )]
    Stopped {
        /// Its folder.
        path: PathBuf,
        /// The step of its last checkpoint, if there is one.
        saved_at: Option<u64>,
        /// Why.
        source: Box<Self>,
    },

    /// A device that is not there, or fails.
    #[error(transparent)]
    Device(advantage_nas_gpu::Error),

    /// A failure to set up the process: threads, signals.
    #[error("can't {action}: {problem}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        problem: String,
    },
}

/// Result of the experiments.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the command was used wrongly, as opposed to a failure while it did its work.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::UnknownPreset { .. }
                | Self::UnknownSetting { .. }
                | Self::WrongSetting { .. }
                | Self::Usage(_)
                | Self::Memory { .. }
                | Self::Settings(_)
        )
    }

    /// For `map_err`: names what was tried with which file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    /// A file of a data set that is not what it should be.
    pub(crate) fn wrong(file: impl ToString, expected: impl ToString, found: impl ToString) -> Self {
        // Decoders' messages may have several lines.
        let line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        Self::WrongData { file: file.to_string(), expected: line(expected.to_string()), found: line(found.to_string()) }
    }

    /// A damaged file; the problem is cut to its first line.
    pub(crate) fn damaged(path: &Path, problem: impl ToString) -> Self {
        let problem = problem.to_string().lines().next().unwrap_or_default().to_owned();
        Self::Damaged { path: path.to_owned(), problem }
    }
}

impl From<advantage_nas::Error> for Error {
    /// An error of an observer comes back as the error it was.
    fn from(error: advantage_nas::Error) -> Self {
        match error {
            advantage_nas::Error::Other(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => Self::Search(advantage_nas::Error::Other(inner)),
            },
            error => Self::Search(error),
        }
    }
}

/// An error of ours on its way through the core library.
pub(crate) fn to_core(error: Error) -> advantage_nas::Error {
    advantage_nas::Error::other(error)
}
