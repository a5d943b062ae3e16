//! Which CUDA libraries there are. cudarc loads them at first use and panics without them, or without a function; so
//! everything is asked here first.

use std::fmt;

use cudarc::driver::sys as driver;
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, DriverError};
use cudarc::nvrtc::sys as nvrtc;

use super::problem;
use crate::error::{Error, Result};

/// The oldest CUDA version that a driver must support.
const NEEDED: Version = Version { major: 12, minor: 0 };

/// More than a kernel can have: they take at most 32,764 bytes ("Kernel Parameters" in the CUDA C++ Programming Guide).
const MOST_PARAMETERS: usize = 32_764;

/// A CUDA version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: i32,
    /// Minor.
    pub minor: i32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The functions of the driver that are called, by cudarc or by us.
const DRIVER_FUNCTIONS: [&str; 41] = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxGetCurrent",
    "cuCtxSetCurrent",
    "cuCtxSynchronize",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemAllocAsync",
    "cuMemFree_v2",
    "cuMemFreeAsync",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemsetD8Async",
    "cuModuleLoadData",
    "cuModuleGetFunction",
    "cuModuleUnload",
    "cuLaunchKernel",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuEventElapsedTime",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuGraphExecDestroy",
    "cuGraphDestroy",
    "cuGetErrorString",
];

/// The functions of the compiler that are called.
const COMPILER_FUNCTIONS: [&str; 9] = [
    "nvrtcVersion",
    "nvrtcCreateProgram",
    "nvrtcCompileProgram",
    "nvrtcDestroyProgram",
    "nvrtcGetErrorString",
    "nvrtcGetProgramLogSize",
    "nvrtcGetProgramLog",
    "nvrtcGetCUBINSize",
    "nvrtcGetCUBIN",
];

/// File names that are tried for a library.
fn names(library: &str) -> Vec<String> {
    // cudarc has more, from long ago; these are the ones that exist.
    cudarc::get_lib_name_candidates(library).into_iter().filter(|name| !name.contains("64")).collect()
}

/// Makes sure of the driver library and its functions.
fn driver() -> Result<()> {
    // SAFETY: loads the library, whose initialisers are the system's.
    if !unsafe { driver::is_culib_present() } {
        let advice = "it comes with the NVIDIA driver";
        return Err(Error::NoLibrary { library: "the CUDA driver library", looked_for: names("cuda"), advice });
    }
    // SAFETY: it is there.
    let library = unsafe { driver::culib() };
    // SAFETY: only looked up, not called.
    let missing =
        DRIVER_FUNCTIONS.iter().find(|name| unsafe { library.get::<unsafe extern "C" fn()>(**name) }.is_err());
    match missing {
        None => Ok(()),
        Some(name) => Err(Error::OldDriver { found: format!("its library has no {name}"), needed: NEEDED.to_string() }),
    }
}

/// The newest CUDA version that the driver supports.
///
/// # Errors
/// [`Error::NoLibrary`], [`Error::OldDriver`] for a driver that lacks a function.
pub fn driver_version() -> Result<Version> {
    driver()?;
    let mut version = 0;
    // SAFETY: the function is there and writes one number; it needs no initialisation.
    let asked = unsafe { driver::cuDriverGetVersion(&raw mut version) };
    asked.result().map_err(super::failed(|| "ask for the driver's version".to_owned()))?;
    Ok(Version { major: version / 1000, minor: version % 1000 / 10 })
}

/// The number of devices, at least one.
///
/// # Errors
/// Why there is none.
pub(super) fn device_count() -> Result<usize> {
    let version = driver_version()?;
    if version < NEEDED {
        let found = format!("it supports CUDA {version}");
        return Err(Error::OldDriver { found, needed: NEEDED.to_string() });
    }
    match CudaContext::device_count() {
        Ok(0) => Err(Error::NoDevice { problem: "it counts 0".to_owned() }),
        Ok(count) => Ok(count.unsigned_abs() as usize),
        Err(error) => Err(no_device(error)),
    }
}

fn no_device(error: DriverError) -> Error {
    use driver::CUresult;
    match error.0 {
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE => {
            let found = format!("library and kernel module don't fit: {}", problem(error));
            Error::OldDriver { found, needed: NEEDED.to_string() }
        }
        _ => Error::NoDevice { problem: problem(error) },
    }
}

/// Milliseconds between two events that are done.
///
/// The function of cudarc wants one that drivers before CUDA 12.8 lack; this one is in all of them.
pub(super) fn elapsed(start: &CudaEvent, end: &CudaEvent) -> Result<f32, DriverError> {
    type Elapsed = unsafe extern "C" fn(*mut f32, driver::CUevent, driver::CUevent) -> driver::CUresult;
    // SAFETY: events come from a device, which is opened after the library and this function were found.
    let elapsed = unsafe { driver::culib().get::<Elapsed>("cuEventElapsedTime") };
    let elapsed = elapsed.map_err(|_| DriverError(driver::CUresult::CUDA_ERROR_NOT_FOUND))?;
    let mut milliseconds = 0.0;
    // SAFETY: both events are alive; one number is written.
    unsafe { elapsed(&raw mut milliseconds, start.cu_event(), end.cu_event()) }.result()?;
    Ok(milliseconds)
}

/// Bytes of each parameter of a kernel, in their order; nothing if the driver does not tell.
///
/// The function came with CUDA 12.4. An index past the last parameter is an invalid value; a kernel without any could
/// do nothing, so that none at all says that the question was not understood.
pub(super) fn parameters(function: &CudaFunction) -> Option<Vec<usize>> {
    type ParamInfo = unsafe extern "C" fn(driver::CUfunction, usize, *mut usize, *mut usize) -> driver::CUresult;
    // SAFETY: a kernel comes from a device, which is opened after the library was found.
    let ask = unsafe { driver::culib().get::<ParamInfo>("cuFuncGetParamInfo") }.ok()?;
    let mut sizes = Vec::new();
    loop {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: the kernel's module is loaded; two numbers are written.
        match unsafe { ask(function.cu_function(), sizes.len(), &raw mut offset, &raw mut size) } {
            driver::CUresult::CUDA_SUCCESS if sizes.len() < MOST_PARAMETERS => sizes.push(size),
            driver::CUresult::CUDA_ERROR_INVALID_VALUE if !sizes.is_empty() => return Some(sizes),
            _ => return None,
        }
    }
}

/// Makes sure of the compiler's library, and asks for its version.
///
/// # Errors
/// [`Error::NoLibrary`], [`Error::OldDriver`]-like lacks as [`Error::Driver`].
pub fn compiler_version() -> Result<Version> {
    // SAFETY: loads the library, whose initialisers are the vendor's.
    if !unsafe { nvrtc::is_culib_present() } {
        return Err(Error::NoLibrary {
            library: "the CUDA compiler NVRTC",
            looked_for: names("nvrtc"),
            advice: "it comes with the CUDA toolkit, or with the PyPI package nvidia-cuda-nvrtc, whose folder must be on \
                     LD_LIBRARY_PATH",
        });
    }
    let failed = |problem: String| Error::Driver { operation: "look into the NVRTC library".to_owned(), problem };
    // SAFETY: it is there.
    let library = unsafe { nvrtc::culib() };
    for name in COMPILER_FUNCTIONS {
        // SAFETY: only looked up, not called.
        if unsafe { library.get::<unsafe extern "C" fn()>(name) }.is_err() {
            return Err(failed(format!("it has no {name}")));
        }
    }
    let mut version = Version { major: 0, minor: 0 };
    // SAFETY: the function is there and writes two numbers.
    let asked = unsafe { nvrtc::nvrtcVersion(&raw mut version.major, &raw mut version.minor) };
    asked.result().map_err(|error| failed(error.to_string()))?;
    Ok(version)
}
