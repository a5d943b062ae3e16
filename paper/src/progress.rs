//! The progress bar: one for all trials or for a download, on standard error, hidden where nobody looks at it.

use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

/// Progress over the steps of all trials.
#[derive(Clone, Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar over `steps` steps; it hides itself if standard error is no terminal.
    #[must_use]
    pub fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        let template = "{bar:30} {human_pos}/{human_len} steps, {rate} steps/s, {eta} left, {wide_msg}";
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            // Nobody is told if the terminal is gone.
            let rate = state.per_sec();
            let _ = if rate < 10.0 { write!(out, "{rate:.2}") } else { write!(out, "{rate:.0}") };
        }));
        Self { bar }
    }

    /// A bar over `steps` steps, unless there are none, it was asked for quiet, or log lines would overwrite it.
    #[must_use]
    pub fn over(steps: u64, quiet: bool) -> Self {
        if quiet || steps == 0 || tracing::enabled!(tracing::Level::INFO) { Self::hidden() } else { Self::new(steps) }
    }

    /// A bar over the bytes of a download.
    #[must_use]
    pub fn bytes(bytes: u64, quiet: bool) -> Self {
        if quiet {
            return Self::hidden();
        }
        let bar = ProgressBar::new(bytes);
        let template = "{bar:30} {bytes}/{total_bytes}, {binary_bytes_per_sec}, {eta} left, {wide_msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant"));
        Self { bar }
    }

    /// A bar that is never shown.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Steps that were done before this process.
    pub fn skip(&self, steps: u64) {
        self.bar.inc(steps);
        self.bar.reset_eta();
    }

    /// One step more.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// So much is done.
    pub fn at(&self, position: u64) {
        self.bar.set_position(position);
    }

    /// What is said beside the bar.
    pub fn say(&self, message: impl Into<String>) {
        if !self.bar.is_hidden() {
            self.bar.set_message(message.into());
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
