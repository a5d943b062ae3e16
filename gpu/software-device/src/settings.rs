//! What the environment sets. Read once, when the library is first used.

use std::path::PathBuf;
use std::sync::LazyLock;

/// Order in which the blocks of a grid and the threads of a block run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Thread 0 first.
    Ascending,
    /// The last thread first.
    Descending,
    /// A permutation drawn from the seed, a new one after every barrier.
    Random(u64),
}

/// What is checked while kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Checks {
    /// Nothing but guard regions: fast.
    None,
    /// Every load and store of a kernel lies inside live memory.
    Memory,
    /// And no two threads of a block touch the same shared memory without a barrier between.
    Races,
}

/// Each has the stacks of a whole block, and the system allows a process so many mappings only.
const MOST_THREADS: usize = 16;

pub(crate) struct Settings {
    pub order: Order,
    pub checks: Checks,
    /// Threads of the host that run blocks.
    pub threads: usize,
    /// Device memory, bytes.
    pub memory: usize,
    /// Kernels after which the device is lost, if it is.
    pub lost: Option<u64>,
    /// What `cuInit` returns, if it is no success.
    pub init: i32,
    pub devices: i32,
    pub driver: i32,
    pub capability: (i32, i32),
    pub report: Option<PathBuf>,
    /// File for what is counted of memory.
    pub traffic: Option<PathBuf>,
    pub cache: PathBuf,
    pub compiler: String,
    pub flags: Vec<String>,
}

/// `Err` names the variable and its value; `cuInit` prints it and fails.
pub(crate) static SETTINGS: LazyLock<Result<Settings, String>> = LazyLock::new(|| {
    fn parse<T>(name: &str, default: T, parse: impl Fn(&str) -> Option<T>) -> Result<T, String> {
        match std::env::var(name) {
            Ok(text) if !text.is_empty() => parse(&text).ok_or(format!("{name}={text} is not valid")),
            _ => Ok(default),
        }
    }
    Ok(Settings {
        order: parse("SOFTWARE_CUDA_ORDER", Order::Ascending, |text| match text {
            "ascending" => Some(Order::Ascending),
            "descending" => Some(Order::Descending),
            _ => text.strip_prefix("random:")?.parse().ok().map(Order::Random),
        })?,
        checks: parse("SOFTWARE_CUDA_CHECKS", Checks::Races, |text| match text {
            "none" => Some(Checks::None),
            "memory" => Some(Checks::Memory),
            "races" => Some(Checks::Races),
            _ => None,
        })?,
        threads: parse("SOFTWARE_CUDA_THREADS", 1, |text| {
            text.parse().ok().filter(|threads| (1..=MOST_THREADS).contains(threads))
        })?,
        memory: parse("SOFTWARE_CUDA_MEMORY", 4 << 30, |text| text.parse().ok())?,
        lost: parse("SOFTWARE_CUDA_LOST", None, |text| text.parse().ok().map(Some))?,
        init: parse("SOFTWARE_CUDA_INIT", 0, |text| text.parse().ok())?,
        devices: parse("SOFTWARE_CUDA_DEVICES", 1, |text| text.parse().ok())?,
        driver: parse("SOFTWARE_CUDA_DRIVER", 13000, |text| text.parse().ok())?,
        capability: parse("SOFTWARE_CUDA_CAPABILITY", (9, 0), |text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })?,
        report: std::env::var_os("SOFTWARE_CUDA_REPORT").map(PathBuf::from),
        traffic: std::env::var_os("SOFTWARE_CUDA_TRAFFIC").map(PathBuf::from),
        cache: std::env::var_os("SOFTWARE_CUDA_CACHE")
            .map_or_else(|| std::env::temp_dir().join("software-cuda"), PathBuf::from),
        compiler: std::env::var("SOFTWARE_CUDA_CXX").unwrap_or("g++".into()),
        flags: std::env::var("SOFTWARE_CUDA_CXXFLAGS").unwrap_or_default().split_whitespace().map(Into::into).collect(),
    })
});

pub(crate) fn settings() -> &'static Settings {
    SETTINGS.as_ref().expect("cuInit checks the settings")
}
