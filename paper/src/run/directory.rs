//! One run and its folder: who may start, resume or only read it.
//!
//! A folder is new (absent or empty), a run (it has a `config.toml`), or foreign. A run is finished once it has a
//! `result.json`. Whoever works on a run holds a lock on its `config.toml`, which vanishes with the process. Nothing is
//! changed on disk before everything that is there has been read and found good.

use std::fs::{self, File, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::checkpoint::{self, Checkpoint};
use super::config::{self, Config};
use super::files;
use super::log::{Columns, Log};
use crate::error::{Error, Result};

/// Name of the file that a finished run has.
pub const RESULT: &str = "result.json";

/// What is in a run's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing yet.
    New,
    /// A run that is not finished.
    Started,
    /// A finished run.
    Finished,
}

/// Looks at a folder in which a run is to be started or, if `resume`, to be resumed; changes nothing. Also says what the
/// run's builds differ in, if they do.
///
/// # Errors
/// Whatever forbids it: a folder that is not empty without `resume`, a foreign folder, other settings, a run that is in use.
pub fn survey(folder: &Path, config: &Config, resume: bool) -> Result<(Standing, Option<String>)> {
    match enter(folder, config, resume)? {
        None => Ok((Standing::New, None)),
        Some((there, _lock)) => Ok((standing(folder), config.other_build(&there))),
    }
}

/// The config and the lock of the run in a folder; nothing for a new folder.
fn enter(folder: &Path, config: &Config, resume: bool) -> Result<Option<(Config, File)>> {
    match folder.metadata() {
        Ok(metadata) if !metadata.is_dir() => return Err(Error::NotAFolder(folder.to_owned())),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("read", folder)(error)),
    }
    let names = files::names(folder)?;
    let is_run = names.iter().any(|name| name == config::NAME);
    let occupied = |holds: String, advice| Err(Error::Occupied { path: folder.to_owned(), holds, advice });
    if !resume && !names.is_empty() {
        return match (is_run, standing(folder)) {
            (true, Standing::Finished) => occupied("a finished run".to_owned(), "choose another --out"),
            (true, _) => {
                let advice = "continue it with --resume, or choose another --out";
                occupied("an unfinished run".to_owned(), advice)
            }
            (false, _) if names.iter().all(|name| files::is_temporary(name)) => {
                let advice = "start it again with --resume, or choose another --out";
                occupied("a run that is just being started, or was killed then".to_owned(), advice)
            }
            (false, _) => occupied(files::contents(&names), "choose another --out"),
        };
    }
    if !is_run {
        if names.iter().all(|name| files::is_temporary(name)) {
            return Ok(None);
        }
        return occupied(files::contents(&names), "there is no run in it to resume, choose another --out");
    }
    let path = folder.join(config::NAME);
    let mut file = files::open_to_lock(&path)?;
    lock(&file, folder)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(Error::io("read", &path))?;
    let there = Config::decode(&text, &path)?;
    config.expect_settings(&there.settings, &path)?;
    config.expect_data(&there.data, &path)?;
    Ok(Some((there, file)))
}

fn standing(folder: &Path) -> Standing {
    if folder.join(RESULT).exists() { Standing::Finished } else { Standing::Started }
}

fn lock(file: &File, folder: &Path) -> Result<()> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(Error::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => {
            // Some network file systems have no locks; that is no reason not to run there.
            tracing::warn!("can't lock {}: {error}; take care that no other process works on it", folder.display());
            Ok(())
        }
    }
}

/// A run of which this process holds the lock.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    config: Config,
    _lock: File,
}

impl Run {
    /// Takes possession of a folder: starts a run in a new one, or enters the one that is there.
    ///
    /// # Errors
    /// As [`survey`], and if the folder can't be written to.
    pub fn claim(folder: &Path, config: &Config, resume: bool) -> Result<Self> {
        let lock = match enter(folder, config, resume)? {
            Some((_, lock)) => lock,
            None => {
                fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
                let path = folder.join(config::NAME);
                let file = files::prepare(folder, config.encode().as_bytes())?;
                // Locked before it has its name: nobody can come between.
                lock(file.as_file(), folder)?;
                file.persist_noclobber(&path).map_err(|failure| match failure.error.kind() {
                    // The other process was first, and may have tidied up our file.
                    std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound => Error::InUse(folder.to_owned()),
                    _ => Error::io("write", &path)(failure.error),
                })?
            }
        };
        Ok(Self { folder: folder.to_owned(), config: config.clone(), _lock: lock })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The config of this process.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What is in the folder.
    #[must_use]
    pub fn standing(&self) -> Standing {
        standing(&self.folder)
    }

    /// Where the checkpoint lies.
    #[must_use]
    pub fn checkpoint_path(&self) -> PathBuf {
        self.folder.join(checkpoint::NAME)
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// [`Error::Damaged`], [`Error::OtherSettings`] or [`Error::ShortLog`] if it can't be resumed from.
    pub fn checkpoint(&self) -> Result<Option<Checkpoint>> {
        let path = self.checkpoint_path();
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        let checkpoint = Checkpoint::decode(&bytes, &path)?;
        self.config.expect_settings(&checkpoint.note.settings(&path)?, &path)?;
        for (name, expected) in &checkpoint.note.logs {
            Log::expect(&self.folder, name, *expected)?;
        }
        Ok(Some(checkpoint))
    }

    /// Opens the logs, as they were at the checkpoint or, without one, empty; from here on the folder is changed.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the checkpoint knows other logs; otherwise if the files can't be written.
    pub fn logs(&self, columns: &[Columns], checkpoint: Option<&Checkpoint>) -> Result<Vec<Log>> {
        if let Some(Checkpoint { note, .. }) = checkpoint
            && !(note.logs.len() == columns.len() && columns.iter().all(|log| note.logs.contains_key(log.name)))
        {
            let problem = "not a usable checkpoint: it belongs to a run with other logs";
            return Err(Error::damaged(&self.checkpoint_path(), problem));
        }
        files::remove_temporaries(&self.folder)?;
        columns
            .iter()
            .map(|columns| match checkpoint {
                Some(checkpoint) => Log::resume(&self.folder, columns, checkpoint.note.logs[columns.name]),
                None => Log::create(&self.folder, columns),
            })
            .collect()
    }

    /// Replaces the checkpoint.
    ///
    /// # Errors
    /// If it can't be written; the earlier one is still there then.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<()> {
        files::replace(&self.folder, checkpoint::NAME, &checkpoint.encode(&self.checkpoint_path())?)
    }

    /// Writes a file that belongs to the result.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn add(&self, name: &str, content: &str) -> Result<()> {
        files::replace(&self.folder, name, content.as_bytes())
    }

    /// Writes the result, which finishes the run.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn finish(&self, result: &impl Serialize) -> Result<()> {
        let path = self.folder.join(RESULT);
        let mut text = serde_json::to_string_pretty(result).map_err(|error| Error::damaged(&path, error))?;
        text.push('\n');
        files::replace(&self.folder, RESULT, text.as_bytes())
    }

    /// Reads the result of a finished run.
    ///
    /// # Errors
    /// As [`result_in`].
    pub fn result<T: DeserializeOwned>(&self) -> Result<T> {
        result_in(&self.folder)
    }
}

/// Reads the config of the run in a folder, without taking possession of it.
///
/// # Errors
/// If there is none, or it can't be read.
pub fn config_in(folder: &Path) -> Result<Config> {
    let path = folder.join(config::NAME);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    Config::decode(&text, &path)
}

/// Reads the result of the finished run in a folder.
///
/// # Errors
/// If there is none, or it can't be read.
pub fn result_in<T: DeserializeOwned>(folder: &Path) -> Result<T> {
    let path = folder.join(RESULT);
    let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    serde_json::from_str(&text).map_err(|error| Error::damaged(&path, error))
}
