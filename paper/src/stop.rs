//! Stopping a search between two steps: on Ctrl-C, on SIGTERM, or because another trial failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};

/// Exit code after an interrupt, as shells expect it.
pub const EXIT_INTERRUPTED: u8 = 130;

/// Asks all searches that share it to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    flags: Arc<Flags>,
}

#[derive(Debug, Default)]
struct Flags {
    stop: AtomicBool,
    interrupted: AtomicBool,
}

impl Stop {
    /// Stops on Ctrl-C and on SIGTERM; a second one ends the process at once.
    ///
    /// # Errors
    /// If the process already has a handler.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        let flags = Arc::clone(&stop.flags);
        ctrlc::set_handler(move || {
            if flags.interrupted.swap(true, Ordering::SeqCst) {
                std::process::exit(EXIT_INTERRUPTED.into());
            }
            flags.stop.store(true, Ordering::SeqCst);
        })
        .map_err(|error| Error::Process { action: "handle interrupts", problem: error.to_string() })?;
        Ok(stop)
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.flags.stop.store(true, Ordering::SeqCst);
    }

    /// Whether to stop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.flags.stop.load(Ordering::SeqCst)
    }

    /// Whether a signal asked for it.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.flags.interrupted.load(Ordering::SeqCst)
    }
}
