//! Where supernets run: on this processor or on a CUDA device. Both answer the same questions, to a few roundings.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use advantage_nas::Supernet;
use advantage_nas_gpu as gpu;
use advantage_nas_gpu::together::{Seat, Table};

use crate::build::Provenance;
use crate::data::cache::users_folder;
use crate::error::{Error, Result};
use crate::settings::Settings;

/// Threads that searches on a CUDA device are spread over unless it is said otherwise: every search waits for its
/// launch.
pub const MOST_THREADS: usize = 1024;

/// What `--device` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// This processor.
    #[default]
    Cpu,
    /// A CUDA device.
    Cuda(usize),
    /// The first CUDA device, or this processor if there is none that kernels can be compiled for.
    Auto,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("unknown device {text:?}, known are: cpu, cuda, cuda:N, auto");
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            "auto" => Ok(Self::Auto),
            _ => {
                let number = text.strip_prefix("cuda:").ok_or_else(known)?;
                number.parse().map(Self::Cuda).map_err(|_| known())
            }
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// A device that is there.
#[derive(Clone, Debug)]
pub enum Backend {
    /// This processor.
    Cpu,
    /// A CUDA device.
    Cuda {
        /// The device.
        device: gpu::Device,
        /// Whether convolutions multiply by tensor cores, with factors that are rounded to TF32.
        tf32: bool,
    },
}

impl Backend {
    /// Opens what was chosen.
    ///
    /// # Errors
    /// [`Error::Device`], which says what was looked for.
    pub fn open(choice: Choice) -> Result<Self> {
        match choice {
            Choice::Cpu => Ok(Self::Cpu),
            Choice::Cuda(ordinal) => {
                let device = open(ordinal)?;
                device.expect_compiler().map_err(Error::Device)?;
                Ok(Self::Cuda { device, tf32: false })
            }
            Choice::Auto => match open(0) {
                Ok(device) => match device.expect_compiler() {
                    Ok(()) => Ok(Self::Cuda { device, tf32: false }),
                    Err(why) => {
                        tracing::warn!("on the CPU, though there is {}: {why}", device.info().describe());
                        Ok(Self::Cpu)
                    }
                },
                Err(why) => {
                    tracing::info!("on the CPU: {why}");
                    Ok(Self::Cpu)
                }
            },
        }
    }

    /// The same, where networks are to convolve in TF32 if that was asked.
    ///
    /// # Errors
    /// As [`Backend::open`]; [`Error::Usage`] for the processor, which has no TF32.
    pub fn open_with(choice: Choice, tf32: bool) -> Result<Self> {
        let on_cpu = || Error::Usage(format!("--tf32 needs a CUDA device (--device cuda), got --device {choice}"));
        if tf32 && choice == Choice::Cpu {
            return Err(on_cpu());
        }
        match Self::open(choice)? {
            Self::Cpu if tf32 => Err(on_cpu()),
            Self::Cuda { device, .. } => Ok(Self::Cuda { device, tf32 }),
            Self::Cpu => Ok(Self::Cpu),
        }
    }

    /// Whether networks convolve in TF32.
    #[must_use]
    pub fn tf32(&self) -> bool {
        matches!(self, Self::Cuda { tf32: true, .. })
    }

    /// What a run on it is computed with.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let cpu = Provenance::of_this_cpu();
        match self {
            Self::Cpu => cpu,
            Self::Cuda { device, tf32 } => {
                let versions = format!(
                    "{}, driver for CUDA {}, NVRTC {}",
                    device.info().describe(),
                    device.info().driver,
                    gpu::device::compiler_version()
                        .map_or_else(|_| "unknown".to_owned(), |version| version.to_string())
                );
                let flags = device.flags() + if *tf32 { "; convolutions in TF32" } else { "" };
                Provenance { device: versions, kernel_flags: Some(flags), ..cpu }
            }
        }
    }
}

/// The folder of compiled kernels: `ADVNAS_CACHE`, or the user's cache folder.
fn kernel_cache() -> PathBuf {
    let named = std::env::var_os("ADVNAS_CACHE").filter(|value| !value.is_empty()).map(PathBuf::from);
    named.or_else(users_folder).unwrap_or_else(|| std::env::temp_dir().join("advantage-nas"))
}

fn open(ordinal: usize) -> Result<gpu::Device> {
    gpu::Device::open(ordinal, kernel_cache()).map_err(Error::Device)
}

/// A supernet that is built where it lives, on a thread of its own.
pub type Build = Box<dyn FnOnce(&gpu::Device) -> advantage_nas::Result<Box<dyn Supernet>> + Send>;

/// The supernets of many searches on a device. Searches of several trials that have everything else in common share one.
#[derive(Debug)]
pub enum Supernets {
    /// Every search has its own, on its thread.
    Cpu,
    /// Each on a thread of its own, with a stream of its own on the device of this number; built when its first search sits down.
    Cuda(usize, Mutex<BTreeMap<String, Shared>>),
}

/// A supernet that searches share.
#[derive(Debug)]
pub struct Shared {
    trials: BTreeSet<u32>,
    /// Trials that are still to come.
    left: usize,
    table: Option<Table>,
}

impl Supernets {
    /// For searches with these settings; `key` says what those that share a supernet have in common, `build` makes the supernet of so many trials. If
    /// all share one, it is built now, so that what is in its way is said before anything is written.
    ///
    /// # Errors
    /// Those of `key` and `build`; what the device reports.
    pub fn new(
        backend: &Backend,
        searches: &[&Settings],
        key: impl Fn(&Settings) -> Result<String>,
        build: impl Fn(&Settings, Vec<u32>) -> Result<Build>,
    ) -> Result<Self> {
        let Backend::Cuda { device, .. } = backend else { return Ok(Self::Cpu) };
        let ordinal = device.info().ordinal;
        let mut all: BTreeMap<String, Shared> = BTreeMap::new();
        for settings in searches {
            let shared = all.entry(key(settings)?);
            let shared = shared.or_insert(Shared { trials: BTreeSet::new(), left: 0, table: None });
            shared.trials.insert(settings.trial);
            shared.left += 1;
        }
        if let ([settings, ..], 1) = (searches, all.len())
            && let Some(only) = all.values_mut().next()
        {
            only.table = Some(only.open(ordinal, |trials| build(settings, trials))?);
        }
        Ok(Self::Cuda(ordinal, Mutex::new(all)))
    }

    /// The place of one search, if its supernet is not its own; key and `build` are those that the supernets were made with.
    ///
    /// # Errors
    /// As [`Supernets::new`].
    ///
    /// # Panics
    /// For a search that was not announced.
    pub fn seat(
        &self,
        key: &str,
        settings: &Settings,
        build: impl Fn(&Settings, Vec<u32>) -> Result<Build>,
    ) -> Result<Option<Seat>> {
        let Self::Cuda(ordinal, all) = self else { return Ok(None) };
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = all.get_mut(key).expect("the supernets were made for these searches");
        let table = match shared.table.take() {
            Some(table) => table,
            None => shared.open(*ordinal, |trials| build(settings, trials))?,
        };
        let seat = table.seat(settings.trial)?;
        shared.left = shared.left.saturating_sub(1);
        // Without a table, the supernet goes with the last of its searches.
        shared.table = (shared.left > 0).then_some(table);
        Ok(Some(seat))
    }
}

impl Shared {
    /// Builds the supernet, with a stream of its own: it may give back its memory while another one records a graph.
    fn open(&self, ordinal: usize, build: impl FnOnce(Vec<u32>) -> Result<Build>) -> Result<Table> {
        let device = open(ordinal)?;
        let build = build(self.trials.iter().copied().collect())?;
        Ok(Table::new(move || build(&device))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_and_written() {
        for (text, choice) in [("cpu", Choice::Cpu), ("auto", Choice::Auto), ("cuda:3", Choice::Cuda(3))] {
            assert_eq!(text.parse(), Ok(choice));
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse(), Ok(Choice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            assert!(wrong.parse::<Choice>().unwrap_err().contains("known are: cpu, cuda, cuda:N, auto"), "{wrong}");
        }
    }
}
