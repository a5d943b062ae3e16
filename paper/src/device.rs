//! Where supernets run: on this processor or on a CUDA device. Both answer the same questions, to a few roundings.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas_gpu as gpu;
use advantage_nas_gpu::together::{Seat, Table};
use advantage_nas_gpu::toy::ToySupernet;

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
    Cuda(gpu::Device),
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
                Ok(Self::Cuda(device))
            }
            Choice::Auto => match open(0) {
                Ok(device) => match device.expect_compiler() {
                    Ok(()) => Ok(Self::Cuda(device)),
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

    /// What a run on it is computed with.
    #[must_use]
    pub fn provenance(&self) -> Provenance {
        let cpu = Provenance::of_this_cpu();
        match self {
            Self::Cpu => cpu,
            Self::Cuda(device) => {
                let versions = format!(
                    "{}, driver for CUDA {}, NVRTC {}",
                    device.info().describe(),
                    device.info().driver,
                    gpu::device::compiler_version()
                        .map_or_else(|_| "unknown".to_owned(), |version| version.to_string())
                );
                Provenance { device: versions, kernel_flags: Some(device.flags()), ..cpu }
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

/// The supernets of many searches on a device.
#[derive(Debug)]
pub enum Supernets {
    /// Every search has its own, on its thread.
    Cpu,
    /// The searches over the same networks share one.
    Cuda(Vec<(Toy, u64, Table)>),
}

impl Supernets {
    /// For searches with these settings.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(backend: &Backend, searches: &[&Settings]) -> Result<Self> {
        let Backend::Cuda(device) = backend else { return Ok(Self::Cpu) };
        let mut tables: Vec<(Toy, u64, Table)> = Vec::new();
        for settings in searches {
            let (toy, seed) = (settings.own::<Toy>()?, settings.seed);
            if tables.iter().any(|(other, other_seed, _)| (*other, *other_seed) == (toy, seed)) {
                continue;
            }
            let mut trials = BTreeSet::new();
            for settings in searches.iter().filter(|settings| settings.seed == seed) {
                if settings.own::<Toy>()? == toy {
                    trials.insert(settings.trial);
                }
            }
            let trials: Vec<u32> = trials.into_iter().collect();
            let device = device.clone();
            let table = Table::new(move || Ok(ToySupernet::new(&device, toy, &Streams::new(seed), &trials)?))?;
            tables.push((toy, seed, table));
        }
        Ok(Self::Cuda(tables))
    }

    /// The place of one search, if its supernet is not its own.
    ///
    /// # Errors
    /// What the device reports.
    pub fn seat(&self, toy: Toy, seed: u64, trial: u32) -> Result<Option<Seat>> {
        let Self::Cuda(tables) = self else { return Ok(None) };
        let (.., table) = tables
            .iter()
            .find(|(other, other_seed, _)| (*other, *other_seed) == (toy, seed))
            .expect("the tables were made for these searches");
        Ok(Some(table.seat(trial)?))
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
