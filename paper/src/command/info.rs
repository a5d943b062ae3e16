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
    print(&cuda())?;
    Ok(ExitCode::SUCCESS)
}

/// The CUDA devices and the compiler, or why there are none.
fn cuda() -> String {
    use advantage_nas_gpu::device::{compiler_version, devices};
    let mut out = String::new();
    match devices() {
        Err(why) => out.push_str(&format!("cuda      none: {why}\n")),
        Ok(devices) => {
            for device in devices {
                let gibibytes = device.memory as f64 / f64::from(1 << 30);
                let (what, driver) = (device.describe(), &device.driver);
                out.push_str(&format!("cuda      {what}, {gibibytes:.1} GiB, driver for CUDA {driver}\n"));
            }
        }
    }
    match compiler_version() {
        Err(why) => out.push_str(&format!("nvrtc     none: {why}\n")),
        Ok(version) => out.push_str(&format!("nvrtc     {version}\n")),
    }
    out
}
