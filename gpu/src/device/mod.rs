//! CUDA as the rest of the crate sees it: devices, kernels, memory, graphs, times.
//!
//! - `library`: which libraries there are, and which versions; asks before anything that would panic
//! - [`source`]: modules of kernels as the compiler gets them, with what host and kernels share
//! - [`compile`](mod@compile): CUDA C++ to machine code by NVRTC, without a driver
//! - `module`: compiled kernels, cached on disk and loaded
//! - `launch`: blocks, threads and arguments of a launch
//! - [`buffer`]: typed device memory
//! - [`graph`]: sequences of launches that are submitted as one
//!
//! Everything runs in order on one stream of one context per [`Device`]. What a kernel computes, and how many of its
//! threads there are, is not decided here.

pub mod buffer;
pub mod compile;
pub mod graph;
pub(crate) mod launch;
mod library;
mod module;
pub mod source;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cudarc::driver::sys::{CUdevice_attribute_enum as Attribute, CUevent_flags_enum};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use serde::Serialize;

pub use buffer::{Buffer, Staged};
pub use graph::Graph;
pub use launch::Geometry;
pub(crate) use launch::programmatic;
pub use library::{compiler_version, driver_version};
pub use module::{Kernel, Module};
pub use source::{DeviceType, Source};

use crate::error::{Error, Result};

/// Part of the name of a device that is software on the CPU.
const EMULATED: &str = "emulated";

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceInfo {
    /// Its number, as in `cuda:0`.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Compute capability, major and minor.
    pub compute_capability: (u32, u32),
    /// Bytes of memory.
    pub memory: u64,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Clock of the multiprocessors in kHz, as the driver gives it; 0 if it does not.
    pub clock: u32,
    /// Clock of the memory in kHz, as the driver gives it; 0 if it does not.
    pub memory_clock: u32,
    /// Width of the way to the memory in bits; 0 if the driver does not give it.
    pub memory_bus: u32,
    /// The newest CUDA version that the driver supports, such as `13.0`.
    pub driver: String,
    /// Whether the device is software on the CPU, for tests.
    pub emulated: bool,
}

impl DeviceInfo {
    /// The architecture that kernels are compiled for, such as `sm_90`.
    #[must_use]
    pub fn architecture(&self) -> String {
        format!("sm_{}{}", self.compute_capability.0, self.compute_capability.1)
    }

    /// Operations per second of fused multiply-adds in single precision, two each, at that clock; nothing where it is
    /// not known.
    ///
    /// Lanes per multiprocessor: "Arithmetic Instructions" in the CUDA C++ Programming Guide.
    #[must_use]
    pub fn peak_flops(&self) -> Option<f64> {
        let lanes = match self.compute_capability {
            (7, _) | (8, 0) => 64,
            (8 | 9 | 10 | 12, _) => 128,
            _ => return None,
        };
        let per_second = 2.0 * f64::from(lanes) * f64::from(self.multiprocessors) * f64::from(self.clock) * 1e3;
        (per_second > 0.0 && !self.emulated).then_some(per_second)
    }

    /// Bytes per second to and from the memory, two transfers per clock; nothing where they are not known.
    #[must_use]
    pub fn peak_bandwidth(&self) -> Option<f64> {
        let per_second = 2.0 * f64::from(self.memory_clock) * 1e3 * f64::from(self.memory_bus) / 8.0;
        (per_second > 0.0 && !self.emulated).then_some(per_second)
    }

    /// The device in a line, for the record of a run.
    #[must_use]
    pub fn describe(&self) -> String {
        let (major, minor) = self.compute_capability;
        format!("cuda:{} {}, compute capability {major}.{minor}", self.ordinal, self.name)
    }
}

/// The devices of this machine; never empty.
///
/// # Errors
/// [`Error::NoLibrary`], [`Error::OldDriver`], [`Error::NoDevice`]: why there is none.
pub fn devices() -> Result<Vec<DeviceInfo>> {
    (0..library::device_count()?).map(info).collect()
}

/// Needs no context, which takes time and memory of the device.
fn info(ordinal: usize) -> Result<DeviceInfo> {
    let ask = || -> Result<DeviceInfo, DriverError> {
        let device = result::device::get(ordinal as i32)?;
        // SAFETY: the driver gave the device.
        let attribute = |which| unsafe { result::device::get_attribute(device, which) };
        let name = result::device::get_name(device)?;
        Ok(DeviceInfo {
            ordinal,
            emulated: name.contains(EMULATED),
            name,
            compute_capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?.unsigned_abs(),
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?.unsigned_abs(),
            ),
            // SAFETY: the driver gave the device.
            memory: unsafe { result::device::total_mem(device) }? as u64,
            multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?.unsigned_abs(),
            clock: attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?.unsigned_abs(),
            memory_clock: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE)?.unsigned_abs(),
            memory_bus: attribute(Attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH)?.unsigned_abs(),
            driver: String::new(),
        })
    };
    let info = ask().map_err(failed(|| format!("ask for the properties of CUDA device {ordinal}")))?;
    Ok(DeviceInfo { driver: driver_version()?.to_string(), ..info })
}

/// What the driver says in an error, with the operation that it is about.
fn failed(operation: impl FnOnce() -> String) -> impl FnOnce(DriverError) -> Error {
    |error| Error::Driver { operation: operation(), problem: problem(error) }
}

fn problem(error: DriverError) -> String {
    let text = error.error_string().ok().map(|text| text.to_string_lossy().into_owned());
    format!("{:?} ({})", error.0, text.as_deref().unwrap_or("no description"))
}

/// One device with one context and one stream.
#[derive(Clone, Debug)]
pub struct Device {
    info: DeviceInfo,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    cache: PathBuf,
}

impl Device {
    /// Opens a device. Compiled kernels are cached in the folder `cache`.
    ///
    /// # Errors
    /// As [`devices`], [`Error::NoSuchDevice`], or what the driver says.
    pub fn open(ordinal: usize, cache: PathBuf) -> Result<Self> {
        let count = library::device_count()?;
        if ordinal >= count {
            return Err(Error::NoSuchDevice { ordinal, count });
        }
        let info = info(ordinal)?;
        let context = CudaContext::new(ordinal).map_err(failed(|| format!("open CUDA device {ordinal}")))?;
        // SAFETY: events order the accesses of several streams to a buffer. There is one stream, which runs in order,
        // so that none are needed; and captured launches must not wait for events from outside the graph.
        unsafe { context.disable_event_tracking() };
        // The default stream can't be captured.
        let stream = context.new_stream().map_err(failed(|| format!("make a stream on CUDA device {ordinal}")))?;
        Ok(Self { info, context, stream, cache })
    }

    /// What the device is.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Free and total memory in bytes.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let (free, total) = self.context.mem_get_info().map_err(failed(|| "ask for free memory".to_owned()))?;
        Ok((free as u64, total as u64))
    }

    /// Checks that there is room, before anything is allocated.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], which says what for.
    pub fn expect_room(&self, what: &str, needed: u64) -> Result<()> {
        let (free, total) = self.memory()?;
        if needed <= free {
            return Ok(());
        }
        let (device, what) = (self.info.describe(), what.to_owned());
        Err(Error::OutOfMemory { device, what, needed, free, total })
    }

    /// Waits until everything that was submitted is done.
    ///
    /// # Errors
    /// A failure of something that was submitted.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(failed(|| "finish what was submitted".to_owned()))
    }

    /// The time that the device spends on what `work` submits, from event to event on the stream.
    ///
    /// # Errors
    /// Those of `work`; what the driver says.
    pub fn time(&self, work: impl FnOnce() -> Result<()>) -> Result<Duration> {
        let event = || {
            let flags = CUevent_flags_enum::CU_EVENT_DEFAULT;
            self.stream.record_event(Some(flags)).map_err(failed(|| "record an event".to_owned()))
        };
        let start = event()?;
        work()?;
        let end = event()?;
        end.synchronize().map_err(failed(|| "wait for an event".to_owned()))?;
        let milliseconds =
            library::elapsed(&start, &end).map_err(failed(|| "take the time between events".to_owned()))?;
        Ok(Duration::from_secs_f64(f64::from(milliseconds) * 1e-3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the numbers of NVIDIA's data sheets: A100 PCIe 40 GB, 19.5 TFLOP/s and 1 555 GB/s.
    #[test]
    fn peaks_are_those_of_the_data_sheet() {
        let a100 = DeviceInfo {
            ordinal: 0,
            name: "NVIDIA A100-PCIE-40GB".to_owned(),
            compute_capability: (8, 0),
            memory: 40 << 30,
            multiprocessors: 108,
            clock: 1_410_000,
            memory_clock: 1_215_000,
            memory_bus: 5120,
            driver: "13.0".to_owned(),
            emulated: false,
        };
        assert!((a100.peak_flops().unwrap() / 19.5e12 - 1.0).abs() < 2e-3);
        assert!((a100.peak_bandwidth().unwrap() / 1555e9 - 1.0).abs() < 2e-3);
        let emulated = DeviceInfo { emulated: true, ..a100 };
        assert_eq!((emulated.peak_flops(), emulated.peak_bandwidth()), (None, None));
    }
}
