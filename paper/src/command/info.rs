//! `advnas info`: what this program is and where it runs.

use std::process::ExitCode;

use super::{print, search};
use crate::build;

/// Prints it.
pub(super) fn run() -> anyhow::Result<ExitCode> {
    let folder = std::env::current_dir().map_or_else(|_| search::RUNS.into(), |here| here.join(search::RUNS));
    print(&format!(
        "version   {}\ncommit    {}\nrustc     {}\ntarget    {} ({})\ncpu       {}\nthreads   {}\nruns      {}\n",
        build::VERSION,
        build::COMMIT,
        build::RUSTC,
        build::TARGET,
        build::PROFILE,
        advantage_nas_cpu::cpu_features(),
        search::available_threads(),
        folder.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
