//! Where the trials of a search lie: one in the folder itself, several in `trial-000`, `trial-001`, … below it. Every trial
//! is a run of its own.

use std::path::{Path, PathBuf};

use super::{config, files};
use crate::error::{Error, Result};

/// The folder of one trial or of several.
#[derive(Clone, Debug)]
pub struct Trials {
    folder: PathBuf,
    count: u32,
}

impl Trials {
    /// `count` trials in or below a folder.
    ///
    /// # Errors
    /// [`Error::Occupied`] if the folder holds something that does not go with it: one run where several trials should lie
    /// or the other way round, or anything at all without `resume`.
    pub fn new(folder: &Path, count: u32, resume: bool) -> Result<Self> {
        let trials = Self { folder: folder.to_owned(), count };
        if !folder.is_dir() {
            // Absent, or the run itself will complain.
            return if count > 1 && folder.exists() { Err(Error::NotAFolder(folder.to_owned())) } else { Ok(trials) };
        }
        let names = files::names(folder)?;
        let has_run = names.iter().any(|name| name == config::NAME);
        let has_trials = names.iter().any(|name| *name == Self::name(0));
        let occupied =
            |holds: &str, advice| Err(Error::Occupied { path: folder.to_owned(), holds: holds.to_owned(), advice });
        match count {
            1 if has_trials && !has_run => {
                let advice = if resume {
                    "resume it with the same --trials or more"
                } else {
                    "continue them with --trials and --resume, or choose another --out"
                };
                occupied("several trials", advice)
            }
            1 => Ok(trials),
            _ if has_run => occupied("a single run", "leave out --trials, or choose another --out"),
            _ if has_trials && !resume => {
                occupied("several trials", "continue them with --resume, or choose another --out")
            }
            _ if !has_trials && !names.is_empty() => occupied(&files::contents(&names), "choose another --out"),
            _ => Ok(trials),
        }
    }

    /// The trial numbers and their folders.
    #[must_use]
    pub fn folders(&self) -> Vec<PathBuf> {
        if self.count == 1 {
            return vec![self.folder.clone()];
        }
        (0..self.count).map(|trial| self.folder.join(Self::name(trial))).collect()
    }

    fn name(trial: u32) -> String {
        format!("trial-{trial:03}")
    }
}
