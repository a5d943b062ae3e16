//! Which CUDA libraries there are. cudarc loads them at first use and panics without them, or without a function; so
//! everything is asked here first.

use std::ffi::{CStr, OsString, c_char, c_int, c_uint};
use std::{fmt, ptr};

use cudarc::driver::sys as driver;
use cudarc::driver::{CudaContext, CudaEvent, CudaFunction, DriverError};
use cudarc::nvrtc::sys as nvrtc;

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

/// A status of the driver as a number: one that is newer than cudarc has no place in its enumeration.
type Status = u32;

const NOT_FOUND: Status = driver::CUresult::CUDA_ERROR_NOT_FOUND as Status;

/// What the driver says of a status, and what is known of it beside.
fn describe(status: Status) -> String {
    type Text = unsafe extern "C" fn(Status, *mut *const c_char) -> Status;
    let ask = |function: &str| {
        let mut text = ptr::null();
        // SAFETY: the library is there; where it has the function, that writes one address, of a text that stays.
        let asked = unsafe { driver::culib().get::<Text>(function).ok()?(status, &raw mut text) };
        // SAFETY: as above.
        (asked == 0 && !text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
    };
    let name = ask("cuGetErrorName").unwrap_or_else(|| format!("status {status}"));
    let text = ask("cuGetErrorString").unwrap_or_else(|| "no description".to_owned());
    format!("{name} ({text}){}", advice(status, std::env::var_os("CUDA_VISIBLE_DEVICES")))
}

/// What usually causes a status of which the driver's words tell little.
fn advice(status: Status, visible: Option<OsString>) -> String {
    use driver::CUresult;
    const STUB_LIBRARY: Status = CUresult::CUDA_ERROR_STUB_LIBRARY as Status;
    const NO_DEVICE: Status = CUresult::CUDA_ERROR_NO_DEVICE as Status;
    const SYSTEM_DRIVER_MISMATCH: Status = CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH as Status;
    const COMPAT_NOT_SUPPORTED_ON_DEVICE: Status = CUresult::CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE as Status;
    match (status, visible) {
        (STUB_LIBRARY, _) => "; it is the toolkit's, which is for linking, found before the driver's own".to_owned(),
        (NO_DEVICE, Some(visible)) => format!("; CUDA_VISIBLE_DEVICES is {visible:?}"),
        (SYSTEM_DRIVER_MISMATCH, _) => {
            "; the driver's library and its kernel module have different versions, as after an update without a restart"
                .to_owned()
        }
        (COMPAT_NOT_SUPPORTED_ON_DEVICE, _) => {
            "; it is a compatibility library, which is not for this device".to_owned()
        }
        _ => String::new(),
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
    let status = unsafe {
        driver::culib()
            .get::<unsafe extern "C" fn(*mut c_int) -> Status>("cuDriverGetVersion")
            .map_or(NOT_FOUND, |ask| ask(&raw mut version))
    };
    if status != 0 {
        return Err(Error::NoDevice { problem: describe(status) });
    }
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
    // SAFETY: the function is there; it may be called again and again.
    let status = unsafe {
        driver::culib()
            .get::<unsafe extern "C" fn(c_uint) -> Status>("cuInit")
            .map_or(NOT_FOUND, |initialise| initialise(0))
    };
    if status != 0 {
        return Err(Error::NoDevice { problem: describe(status) });
    }
    match CudaContext::device_count() {
        Ok(0) => Err(Error::NoDevice { problem: "it counts 0".to_owned() }),
        Ok(count) => Ok(count.unsigned_abs() as usize),
        Err(error) => Err(Error::NoDevice { problem: describe(error.0 as Status) }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said() {
        assert_eq!(advice(100, Some("".into())), "; CUDA_VISIBLE_DEVICES is \"\"");
        assert_eq!(advice(100, None), "");
        assert!(advice(34, None).contains("for linking"));
        assert!(advice(803, None).contains("update without a restart"));
        assert!(advice(804, None).contains("compatibility library"));
        assert_eq!(advice(999, Some("0".into())), "");
    }
}
