//! How tests run a child process on the software device.

use crate::settings::{Checks, Order};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const LIBRARY: &str = "libadvantage_nas_software_cuda.so";
const NAMES: [&str; 7] = [
    "libcuda.so",
    "libcuda.so.1",
    "libnvrtc.so",
    "libnvrtc.so.13",
    "libcublas.so",
    "libcublas.so.13",
    "libnvrtc.so.12",
];
/// Set in processes that run on the software device.
const MARK: &str = "SOFTWARE_CUDA";

/// A folder with this library under CUDA's names, and the settings of a device.
///
/// Only child processes see it: their `LD_LIBRARY_PATH` begins with the folder.
#[derive(Clone, Debug)]
pub struct SoftwareDevice {
    folder: PathBuf,
    variables: Vec<(&'static str, String)>,
}

/// Numbers the links that this process makes.
static INSTALLS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

impl SoftwareDevice {
    /// Makes the folder `software-cuda` beside the library that cargo built with this test or program; what is compiled
    /// is kept there too.
    ///
    /// # Errors
    /// The library was not found, or the folder can't be written.
    pub fn install() -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let library = program
            .ancestors()
            .skip(1)
            .take(3)
            .flat_map(|folder| [folder.join(LIBRARY), folder.join("deps").join(LIBRARY)])
            .find(|path| path.is_file())
            .ok_or_else(|| io::Error::other(format!("no {LIBRARY} near {}", program.display())))?;
        let folder = library.with_file_name("software-cuda");
        std::fs::create_dir_all(&folder)?;
        for name in NAMES {
            let link = folder.join(name);
            if std::fs::read_link(&link).ok().as_deref() == Some(&library) {
                continue;
            }
            // Under a name of its own first: other tests may be at it too.
            let temporary = folder.join(format!(
                "{name}.{}.{}.tmp",
                std::process::id(),
                // Threads of one process may install at the same time.
                INSTALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
            ));
            let _ = std::fs::remove_file(&temporary);
            std::os::unix::fs::symlink(&library, &temporary)?;
            std::fs::rename(&temporary, &link)?;
        }
        let cache = folder.join("cache").display().to_string();
        Ok(Self { folder, variables: vec![("SOFTWARE_CUDA_CACHE", cache)] })
    }

    /// What is missing before kernels can be compiled here, in one line: the reason to skip a test.
    pub fn missing() -> Option<String> {
        let compiler = std::env::var("SOFTWARE_CUDA_CXX").unwrap_or("g++".into());
        let works = Command::new(&compiler).arg("--version").output().is_ok_and(|output| output.status.success());
        (!works).then(|| format!("the software CUDA device needs {compiler}, which is not installed"))
    }

    /// Whether this process runs on the software device.
    pub fn is_active() -> bool {
        std::env::var_os(MARK).is_some()
    }

    /// The folder with `libcuda.so` and the others.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn set(mut self, name: &'static str, value: impl ToString) -> Self {
        self.variables.push((name, value.to_string()));
        self
    }

    /// Order of blocks and threads; ascending unless set.
    #[must_use]
    pub fn order(self, order: Order) -> Self {
        let text = match order {
            Order::Ascending => "ascending".into(),
            Order::Descending => "descending".into(),
            Order::Random(seed) => format!("random:{seed}"),
        };
        self.set("SOFTWARE_CUDA_ORDER", text)
    }

    /// What is checked; everything unless set.
    #[must_use]
    pub fn checks(self, checks: Checks) -> Self {
        self.set("SOFTWARE_CUDA_CHECKS", format!("{checks:?}").to_lowercase())
    }

    /// Threads of the host that run blocks, where blocks allow it: without the check for races, in modules without atomics and without variables of
    /// the device that can be written. Results, messages and counts are the same for any number; 1 unless set, 16 at most.
    #[must_use]
    pub fn threads(self, count: usize) -> Self {
        self.set("SOFTWARE_CUDA_THREADS", count)
    }

    /// Device memory in bytes; 4 GiB unless set.
    #[must_use]
    pub fn memory(self, bytes: usize) -> Self {
        self.set("SOFTWARE_CUDA_MEMORY", bytes)
    }

    /// Kernels after which the device is lost, as if it had been pulled out; never unless set.
    #[must_use]
    pub fn lost_after(self, kernels: u64) -> Self {
        self.set("SOFTWARE_CUDA_LOST", kernels)
    }

    /// Number of devices; 1 unless set.
    #[must_use]
    pub fn devices(self, count: u32) -> Self {
        self.set("SOFTWARE_CUDA_DEVICES", count)
    }

    /// The status that `cuInit` fails with, as drivers do that can't start; 0, success, unless set.
    #[must_use]
    pub fn init(self, status: u32) -> Self {
        self.set("SOFTWARE_CUDA_INIT", status)
    }

    /// CUDA version of the driver as `cuDriverGetVersion` gives it; 13000 unless set.
    #[must_use]
    pub fn driver(self, version: u32) -> Self {
        self.set("SOFTWARE_CUDA_DRIVER", version)
    }

    /// Compute capability; 9.0 unless set.
    #[must_use]
    pub fn capability(self, major: u32, minor: u32) -> Self {
        self.set("SOFTWARE_CUDA_CAPABILITY", format!("{major}.{minor}"))
    }

    /// File to which the full messages are appended; they go to standard error too.
    #[must_use]
    pub fn report(self, path: &Path) -> Self {
        self.set("SOFTWARE_CUDA_REPORT", path.display())
    }

    /// File to which is appended what every launch does to memory, for [`Traffic::read`](crate::Traffic::read); slower. Needs checks.
    #[must_use]
    pub fn traffic(self, path: &Path) -> Self {
        self.set("SOFTWARE_CUDA_TRAFFIC", path.display())
    }

    /// The C++ compiler; `g++` unless set.
    #[must_use]
    pub fn compiler(self, path: &str) -> Self {
        self.set("SOFTWARE_CUDA_CXX", path)
    }

    /// Lets `command` run on the device.
    pub fn apply<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let mut path = self.folder.clone().into_os_string();
        if let Some(old) = std::env::var_os("LD_LIBRARY_PATH").filter(|old| !old.is_empty()) {
            path.push(":");
            path.push(old);
        }
        // What the allocator hands out is filled, so that an argument too few points nowhere.
        command.env("LD_LIBRARY_PATH", path).env(MARK, "1").env("MALLOC_PERTURB_", "165");
        command.envs(self.variables.iter().map(|(name, value)| (*name, value)))
    }

    /// Runs the test `name` (its path within the test program) of this program again, on the device.
    ///
    /// # Errors
    /// The process could not be started.
    pub fn rerun(&self, name: &str) -> io::Result<Output> {
        let mut command = Command::new(std::env::current_exe()?);
        self.apply(command.args([name, "--exact", "--nocapture", "--include-ignored"])).output()
    }
}
