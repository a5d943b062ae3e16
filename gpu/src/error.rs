//! The one error type of the CUDA backend.

use std::io;
use std::path::PathBuf;

/// What can't be done with CUDA, and why. Every message names what was tried.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A library that is not on this machine.
    #[error("{library} was not found (looked for {}); {advice}", looked_for.join(", "))]
    NoLibrary {
        /// What it is.
        library: &'static str,
        /// The file names that were tried, in the folders that the system's loader searches.
        looked_for: Vec<String>,
        /// Where it comes from.
        advice: &'static str,
    },

    /// A driver without a device, or one that does not start.
    #[error("the CUDA driver library is there, but it finds no device: {problem}")]
    NoDevice {
        /// What the driver says.
        problem: String,
    },

    /// A driver that lacks something.
    #[error("the CUDA driver is too old: {found}; needed is one for CUDA {needed} or newer")]
    OldDriver {
        /// What it supports, or what it lacks.
        found: String,
        /// What is needed.
        needed: String,
    },

    /// A device that is not there.
    #[error("there is no CUDA device {ordinal}: the driver finds {count}, counted from 0")]
    NoSuchDevice {
        /// The device that was asked for.
        ordinal: usize,
        /// How many there are.
        count: usize,
    },

    /// More memory than there is.
    #[error("{device}: {what} needs {needed} bytes of device memory, {free} of {total} are free")]
    OutOfMemory {
        /// The device.
        device: String,
        /// What it was for.
        what: String,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that the device has.
        total: u64,
    },

    /// A call of the driver that failed.
    #[error("{operation}: {problem}")]
    Driver {
        /// What was tried, with what.
        operation: String,
        /// What the driver says.
        problem: String,
    },

    /// Kernels that could not be compiled.
    #[error("can't compile {module} for {architecture}: {problem}; flags {flags}; log: {log}")]
    Compile {
        /// The module.
        module: &'static str,
        /// The architecture, such as `sm_90`.
        architecture: String,
        /// The flags.
        flags: String,
        /// What the compiler says.
        problem: String,
        /// Its log, in one line.
        log: String,
    },

    /// A launch that failed, or was found to have failed.
    #[error("can't launch {kernel} with grid {grid:?} and block {block:?}: {problem}; module {module}, flags {flags}")]
    Launch {
        /// The kernel.
        kernel: &'static str,
        /// Its module.
        module: &'static str,
        /// The flags that it was compiled with.
        flags: String,
        /// Blocks.
        grid: [u32; 3],
        /// Threads of a block.
        block: [u32; 3],
        /// What the driver says.
        problem: String,
    },

    /// More than a launch or a buffer can hold.
    #[error("{what}: {got} is more than the device can take, at most {most}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// How many were asked for.
        got: u64,
        /// How many there may be.
        most: u64,
    },

    /// A cached kernel that can't be written.
    #[error("can't write {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// What the core library refuses.
    #[error(transparent)]
    Core(#[from] advantage_nas::Error),
}

/// Result of the CUDA backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Says of a failure that was found later that it may be that of what was submitted before.
    #[must_use]
    pub fn after(self, what: &str) -> Self {
        match self {
            Self::Driver { operation, problem } => {
                Self::Driver { operation: format!("{operation} after {what}"), problem }
            }
            error => error,
        }
    }
}

impl From<Error> for advantage_nas::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Core(error) => error,
            error => Self::other(error),
        }
    }
}
