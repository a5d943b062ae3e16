//! The driver: contexts, memory, modules, streams, events, graphs. Work runs when it is submitted, in that order.

use crate::fault::{Fault, Status, last, report};
use crate::launch::{CALLBACKS, Engine, Grid, MAX_THREADS};
use crate::memory::Memory;
use crate::module::{Kernel, Module};
use crate::nvrtc::image_of_ptx;
use crate::settings::{SETTINGS, settings};
use crate::status::*;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Instant;

/// Shared memory of a block, bytes: without and with `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const SHARED: c_int = 48 << 10;
const SHARED_OPTIN: c_int = 227 << 10;
/// `CU_EVENT_DISABLE_TIMING`.
const NO_TIMING: u32 = 2;

pub(crate) struct Device {
    pub memory: Memory,
    engine: Engine,
    /// Those loaded: their variables are device memory too.
    modules: Vec<Weak<Module>>,
    /// Kernels that ran.
    kernels: u64,
    /// The error that killed the context, if one did: every later call returns it.
    sticky: Status,
}

/// SAFETY: tables and mappings, none of them tied to a thread; one thread at a time has them.
unsafe impl Send for Device {}

static DEVICE: Mutex<Option<Device>> = Mutex::new(None);

/// The device after `cuInit`, or the status that says why not: not initialised, or dead.
pub(crate) fn device() -> Result<Guard, Fault> {
    let guard = DEVICE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match guard.as_ref().map(|device| device.sticky) {
        None => Err(Fault(3, "CUDA_ERROR_NOT_INITIALIZED: cuInit was not called".into())),
        Some(SUCCESS) => Ok(Guard(guard)),
        Some(status) => Err(Fault(status, String::new())),
    }
}

/// The device under its lock.
pub(crate) struct Guard(MutexGuard<'static, Option<Device>>);

impl std::ops::Deref for Guard {
    type Target = Device;
    fn deref(&self) -> &Device {
        self.0.as_ref().expect("checked when it was locked")
    }
}

impl std::ops::DerefMut for Guard {
    fn deref_mut(&mut self) -> &mut Device {
        self.0.as_mut().expect("checked when it was locked")
    }
}

pub struct Function {
    module: Arc<Module>,
    kernel: *const Kernel,
    dynamic_limit: Option<c_int>,
}

impl Function {
    /// Static shared memory, bytes.
    fn shared(&self) -> usize {
        // SAFETY: the kernel lives as long as the module.
        self.module.shared_of(unsafe { &*self.kernel }).map(|variable| variable.size).sum()
    }
}

type Custom = Arc<dyn Fn(&mut Device) -> Result<(), Fault>>;

/// Something a stream can do.
#[derive(Clone)]
enum Work {
    Kernel {
        module: Arc<Module>,
        kernel: *const Kernel,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic: usize,
        arguments: Vec<Vec<u8>>,
    },
    Set {
        address: usize,
        value: u32,
        width: usize,
        count: usize,
    },
    Copy {
        to: usize,
        from: usize,
        size: usize,
    },
    Host {
        function: unsafe extern "C" fn(*mut c_void),
        data: *mut c_void,
    },
    Custom(Custom),
}

#[derive(Default)]
struct Capture {
    work: Vec<Work>,
    invalid: bool,
    ended: bool,
}

type SharedCapture = Arc<Mutex<Capture>>;

#[derive(Default)]
pub struct Stream {
    /// The capture that began here, or that this stream joined.
    capture: Option<SharedCapture>,
}

/// The capture that `stream` takes part in.
///
/// SAFETY: `stream` is null or a live stream.
unsafe fn capturing(stream: *mut Stream) -> Option<SharedCapture> {
    // SAFETY: see above.
    let capture = unsafe { stream.as_ref() }?.capture.clone()?;
    let ended = capture.lock().unwrap().ended;
    (!ended).then_some(capture)
}

pub struct Event {
    flags: u32,
    time: Option<Instant>,
    capture: Option<SharedCapture>,
}

#[derive(Clone)]
pub struct Graph(Vec<Work>);

thread_local! { static CONTEXT: Cell<usize> = const { Cell::new(0) }; }
/// The one context.
const PRIMARY: usize = 0xC0DA;

impl Device {
    fn range(&self, address: usize, size: usize, what: &str) -> Result<(), Fault> {
        let variable = || self.modules.iter().filter_map(Weak::upgrade).any(|module| module.holds(address, size));
        if size == 0 || self.memory.holds(address, size) || variable() {
            return Ok(());
        }
        Err(Fault(INVALID_VALUE, format!("{what} of {size} bytes at {}", self.memory.place(address))))
    }

    fn execute(&mut self, work: &Work) -> Result<(), Fault> {
        match work {
            Work::Kernel { module, kernel, grid, block, dynamic, arguments } => {
                let (grid, block, dynamic) = (*grid, *block, *dynamic);
                if let Some(lost) = settings().lost.filter(|lost| self.kernels >= *lost) {
                    return Err(Fault(DEVICE_UNAVAILABLE, format!("the device is lost after {lost} kernels")));
                }
                self.kernels += 1;
                // SAFETY: the kernel lives as long as its module.
                let kernel = unsafe { &**kernel }.name();
                self.engine.run(Grid { module, kernel, grid, block, dynamic, arguments }, &self.memory)
            }
            &Work::Set { address, value, width, count } => {
                self.range(address, width * count, "memset")?;
                for i in 0..count {
                    // SAFETY: checked above; little endian.
                    unsafe { (&raw const value).cast::<u8>().copy_to((address + i * width) as *mut u8, width) };
                }
                Ok(())
            }
            &Work::Copy { to, from, size } => {
                for (address, what) in [(to, "copy to device memory"), (from, "copy from device memory")] {
                    if self.memory.contains(address) {
                        self.range(address, size, what)?;
                    }
                }
                // SAFETY: device ranges are checked; host ranges are the caller's promise.
                unsafe { std::ptr::copy(from as *const u8, to as *mut u8, size) };
                Ok(())
            }
            Work::Host { .. } => unreachable!("runs without the lock"),
            Work::Custom(function) => function(self),
        }
    }
}

/// Runs `work` now, or keeps it where `stream` is being captured.
///
/// SAFETY: `stream` is null or a live stream.
unsafe fn submit(stream: *mut Stream, work: Work) -> Result<(), Fault> {
    // SAFETY: see above.
    if let Some(capture) = unsafe { capturing(stream) } {
        let mut capture = capture.lock().unwrap();
        if capture.invalid {
            return Err(Fault(CAPTURE_INVALIDATED, "work on a stream whose capture is invalid".into()));
        }
        capture.work.push(work);
        return Ok(());
    }
    perform(&work)
}

/// Errors of running work kill the context and are seen by the next call, as on a device that runs asynchronously.
fn perform(work: &Work) -> Result<(), Fault> {
    if let Work::Host { function, data } = work {
        // SAFETY: the caller's promise to cuLaunchHostFunc.
        unsafe { function(*data) };
        return Ok(());
    }
    let mut device = device()?;
    match device.execute(work) {
        Err(fault) if fault.0 != INVALID_VALUE => {
            device.sticky = report(fault);
            Ok(())
        }
        other => other,
    }
}

/// Work of cuBLAS.
///
/// SAFETY: as `submit`.
pub(crate) unsafe fn submit_custom(
    stream: *mut Stream,
    function: impl Fn(&mut Device) -> Result<(), Fault> + 'static,
) -> Result<(), Fault> {
    // SAFETY: see above.
    unsafe { submit(stream, Work::Custom(Arc::new(function))) }
}

/// A call that a capturing stream forbids: it also makes the capture invalid.
///
/// SAFETY: as `submit`.
unsafe fn not_while_capturing(stream: *mut Stream, call: &str) -> Result<(), Fault> {
    // SAFETY: see above.
    if let Some(capture) = unsafe { capturing(stream) } {
        capture.lock().unwrap().invalid = true;
        return Err(Fault(CAPTURE_UNSUPPORTED, format!("{call} on a stream that is being captured")));
    }
    Ok(())
}

fn allocate(size: usize) -> Result<usize, Fault> {
    let mut device = device()?;
    let (used, total) = (device.memory.used(), settings().memory);
    if size > total - used {
        let message = format!("allocation of {size} bytes with {} of {total} bytes free", total - used);
        return Err(Fault(OUT_OF_MEMORY, message));
    }
    device.memory.allocate(size).ok_or(Fault(OUT_OF_MEMORY, "the emulated range of addresses is used up".into()))
}

fn free(address: usize) -> Result<(), Fault> {
    if address == 0 {
        return Ok(());
    }
    device()?.memory.free(address).map_err(|message| Fault(INVALID_VALUE, message))
}

fn load(image: &[u8], ptx: bool) -> Result<Arc<Module>, Fault> {
    let mut device = device()?;
    if settings().driver < 13000 {
        let message = format!("module of CUDA 13.0 on a driver for CUDA {}", settings().driver);
        return Err(Fault(UNSUPPORTED_PTX_VERSION, message));
    }
    let module = Module::load(image, CALLBACKS)?;
    let (arch, (major, minor)) = (module.arch(), settings().capability);
    let fits = if ptx { arch <= major * 10 + minor } else { arch / 10 == major && arch % 10 <= minor };
    let kind = if ptx { "PTX for compute_" } else { "code for sm_" };
    if !fits {
        return Err(Fault(NO_BINARY_FOR_GPU, format!("{kind}{arch} on a device of capability {major}.{minor}")));
    }
    let module = Arc::new(module);
    device.modules.retain(|module| module.strong_count() > 0);
    device.modules.push(Arc::downgrade(&module));
    Ok(module)
}

/// SAFETY: `image` is an ELF object or a C string.
unsafe fn load_image(image: *const u8) -> Result<Arc<Module>, Fault> {
    // SAFETY: an ELF header, if its magic number is there, says how long the object is; else it is a C string.
    unsafe {
        if std::slice::from_raw_parts(image, 1)[0] == 0x7f
            && CStr::from_ptr(image.cast()).to_bytes().starts_with(b"\x7fELF")
        {
            let at = |offset: usize| image.add(offset);
            let sections = at(0x28).cast::<u64>().read_unaligned() as usize;
            let [size, count] = [0x3a, 0x3c].map(|o| at(o).cast::<u16>().read_unaligned() as usize);
            return load(std::slice::from_raw_parts(image, sections + size * count), false);
        }
        let text = CStr::from_ptr(image.cast()).to_string_lossy();
        let Some(path) = image_of_ptx(&text) else {
            return Err(Fault(INVALID_PTX, "PTX that the emulated NVRTC did not make".into()));
        };
        let bytes = std::fs::read(path).map_err(|error| Fault(INVALID_PTX, format!("{}: {error}", path.display())))?;
        load(&bytes, true)
    }
}

/// `CUlaunchConfig`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct LaunchConfig {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    dynamic: c_uint,
    stream: *mut Stream,
    _attributes: *mut c_void,
    _attribute_count: c_uint,
}

/// SAFETY: as `cuLaunchKernel`.
unsafe fn launch(
    function: &Function,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic: usize,
    stream: *mut Stream,
    parameters: *const *const u8,
) -> Result<(), Fault> {
    // SAFETY: lives as long as the function's module.
    let kernel = unsafe { &*function.kernel };
    let fault =
        |status: Status, what: String| Err(Fault(status, format!("launch of kernel `{}`: {what}", kernel.name())));
    let threads = block.iter().map(|n| u64::from(*n)).product::<u64>();
    if grid.contains(&0) || block.contains(&0) || grid[0] > i32::MAX as u32 || grid[1].max(grid[2]) > 65535 {
        return fault(INVALID_VALUE, format!("grid {grid:?} of blocks {block:?}"));
    }
    if threads > MAX_THREADS as u64 || block[2] > 64 {
        return fault(INVALID_VALUE, format!("block {block:?} has more than {MAX_THREADS} threads or 64 in z"));
    }
    if threads > kernel.max_threads as u64 {
        let bound = kernel.max_threads;
        return fault(LAUNCH_OUT_OF_RESOURCES, format!("{threads} threads per block, __launch_bounds__({bound})"));
    }
    let fixed = function.shared();
    // Without the attribute, static and dynamic together have 48 KiB; with it, its value is for the dynamic part.
    let limit = function.dynamic_limit.map_or((SHARED as usize).saturating_sub(fixed), |limit| limit as usize);
    if dynamic > limit {
        return fault(
            INVALID_VALUE,
            format!("{dynamic} bytes of dynamic shared memory, limit {limit} ({fixed} static)"),
        );
    }
    let count = kernel.parameters().count();
    if parameters.is_null() && count > 0 {
        return fault(INVALID_VALUE, format!("no arguments, {count} parameters"));
    }
    let device = device()?;
    let mut arguments = Vec::with_capacity(count);
    for (i, (size, pointer)) in kernel.parameters().enumerate() {
        // SAFETY: the caller's array; reading one slot too many stays in its allocation or finds what the allocator left.
        let argument = unsafe { *parameters.add(i) };
        let Some(bytes) = read(argument, size) else {
            let what = format!("argument {i} of {count} ({size} bytes) is missing or not readable");
            return fault(INVALID_VALUE, what);
        };
        if pointer {
            let value = usize::from_ne_bytes(bytes[..8].try_into().expect("pointers have 8 bytes"));
            let known = value == 0 || device.memory.contains(value) || function.module.holds(value, 1);
            if !known {
                return fault(
                    INVALID_VALUE,
                    format!("argument {i} of {count} is a pointer, {value:#x} no device address"),
                );
            }
        }
        arguments.push(bytes);
    }
    drop(device);
    let work = Work::Kernel { module: function.module.clone(), kernel, grid, block, dynamic, arguments };
    // SAFETY: the caller's stream.
    unsafe { submit(stream, work) }
}

/// `size` bytes at `address`, if they can be read at all.
fn read(address: *const u8, size: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; size];
    let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: size };
    let remote = libc::iovec { iov_base: address.cast_mut().cast(), iov_len: size };
    // SAFETY: the system checks the addresses.
    let got = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    (got == size as isize).then_some(bytes)
}

fn initialise() -> Result<(), Fault> {
    let settings = SETTINGS.as_ref().map_err(|message| Fault(INVALID_VALUE, message.clone()))?;
    if settings.init != SUCCESS {
        return Err(Fault(settings.init, format!("SOFTWARE_CUDA_INIT={}", settings.init)));
    }
    if settings.devices <= 0 {
        return Err(Fault(NO_DEVICE, "SOFTWARE_CUDA_DEVICES=0".into()));
    }
    let mut device = DEVICE.lock().unwrap();
    if device.is_none() {
        let none = || Fault(OUT_OF_MEMORY, "the system refuses to reserve addresses for device memory".into());
        let (memory, engine) = Memory::new().zip(Engine::new()).ok_or_else(none)?;
        *device = Some(Device { memory, engine, modules: Vec::new(), kernels: 0, sticky: SUCCESS });
    }
    Ok(())
}

fn attribute(attribute: c_int) -> c_int {
    match attribute {
        1..=3 => [1024, 1024, 64][attribute as usize - 1], // largest block: x, y, z
        4 => 0,
        5 => i32::MAX, // largest grid: x, y, z
        6 | 7 => 65535,
        8 => SHARED,
        9 => 64 << 10, // constant memory
        10 => 32,      // warp
        11 => i32::MAX,
        12 | 82 => 64 << 10, // registers of a block, of a multiprocessor
        13 => 1_000_000,     // clock, kHz
        14 => 512,           // texture alignment
        15 | 31 | 40 | 41 => 1,
        16 => 1, // multiprocessors
        36 => 1_000_000,
        37 => 5120,     // memory bus, bits
        38 => 50 << 20, // L2 cache
        39 => 2048,     // threads of a multiprocessor
        75 => settings().capability.0,
        76 => settings().capability.1,
        78..=80 => 1,    // stream priorities, caches
        81 => 228 << 10, // shared memory of a multiprocessor
        97 => SHARED_OPTIN,
        106 => 32,   // blocks of a multiprocessor
        111 => 1024, // shared memory kept by the system
        115 => 1,    // memory pools
        _ => 0,
    }
}

macro_rules! exports {
    ($($name:ident($($argument:ident: $kind:ty),*) $body:block)*) => { $(
        /// As in `cuda.h`.
        #[unsafe(no_mangle)]
        #[allow(unused_unsafe, reason = "some bodies need none")]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> Status {
            // SAFETY: pointers and handles are as CUDA's documentation asks of the caller.
            let body = || -> Result<(), Fault> { unsafe { $body } };
            match body() {
                Ok(()) => SUCCESS,
                Err(Fault(status, message)) if message.is_empty() => status,
                Err(Fault(status, message)) => report(Fault(status, format!("{}: {message}", stringify!($name)))),
            }
        }
    )* };
}

exports! {
    cuInit(_flags: c_uint) { initialise() }
    cuDriverGetVersion(version: *mut c_int) {
        *version = SETTINGS.as_ref().map_or(0, |settings| settings.driver);
        Ok(())
    }
    cuDeviceGetCount(count: *mut c_int) { device()?; *count = settings().devices; Ok(()) }
    cuDeviceGet(out: *mut c_int, ordinal: c_int) {
        device()?;
        if !(0..settings().devices).contains(&ordinal) {
            return Err(Fault(INVALID_DEVICE, format!("device {ordinal} of {}", settings().devices)));
        }
        *out = ordinal;
        Ok(())
    }
    cuDeviceGetName(out: *mut c_char, length: c_int, _device: c_int) {
        let name = c"emulated CUDA device (software)".to_bytes_with_nul();
        let length = name.len().min(length.max(1) as usize);
        name.as_ptr().copy_to(out.cast(), length);
        *out.add(length - 1) = 0;
        Ok(())
    }
    cuDeviceGetUuid_v2(out: *mut [u8; 16], device: c_int) { *out = *b"emulated device "; (*out)[15] = device as u8; Ok(()) }
    cuDeviceGetUuid(out: *mut [u8; 16], device: c_int) { *out = *b"emulated device "; (*out)[15] = device as u8; Ok(()) }
    cuDeviceTotalMem_v2(out: *mut usize, _device: c_int) { *out = settings().memory; Ok(()) }
    cuDeviceGetAttribute(out: *mut c_int, which: c_int, _device: c_int) { device()?; *out = attribute(which); Ok(()) }
    cuDevicePrimaryCtxRetain(out: *mut usize, _device: c_int) { device()?; *out = PRIMARY; Ok(()) }
    cuDevicePrimaryCtxRelease_v2(_device: c_int) { Ok(()) }
    cuCtxGetCurrent(out: *mut usize) { *out = CONTEXT.get(); Ok(()) }
    cuCtxSetCurrent(context: usize) { device()?; CONTEXT.set(context); Ok(()) }
    cuCtxSynchronize() { device().map(drop) }
    cuCtxSetFlags(_flags: c_uint) { Ok(()) }
    cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) { *least = 0; *greatest = -5; Ok(()) }

    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        let used = device()?.memory.used();
        (*free, *total) = (settings().memory - used, settings().memory);
        Ok(())
    }
    cuMemAlloc_v2(out: *mut usize, size: usize) {
        if size == 0 { return Err(Fault(INVALID_VALUE, "allocation of 0 bytes".into())); }
        *out = allocate(size)?;
        Ok(())
    }
    cuMemAllocAsync(out: *mut usize, size: usize, stream: *mut Stream) {
        not_while_capturing(stream, "cuMemAllocAsync (preallocate what a graph needs)")?;
        *out = allocate(size)?;
        Ok(())
    }
    cuMemFree_v2(address: usize) { free(address) }
    cuMemFreeAsync(address: usize, stream: *mut Stream) {
        not_while_capturing(stream, "cuMemFreeAsync")?;
        free(address)
    }
    cuMemHostAlloc(out: *mut *mut c_void, size: usize, _flags: c_uint) {
        device()?;
        *out = libc::calloc(1, size.max(1));
        if (*out).is_null() { Err(Fault(OUT_OF_MEMORY, format!("{size} bytes of pinned memory"))) } else { Ok(()) }
    }
    cuMemFreeHost(pointer: *mut c_void) { libc::free(pointer); Ok(()) }
    cuMemsetD8_v2(address: usize, value: u8, count: usize) {
        submit(null_mut(), Work::Set { address, value: value.into(), width: 1, count })
    }
    cuMemsetD8Async(address: usize, value: u8, count: usize, stream: *mut Stream) {
        submit(stream, Work::Set { address, value: value.into(), width: 1, count })
    }
    cuMemsetD32Async(address: usize, value: u32, count: usize, stream: *mut Stream) {
        submit(stream, Work::Set { address, value, width: 4, count })
    }
    cuMemcpyHtoD_v2(to: usize, from: usize, size: usize) {
        device()?.range(to, size, "copy to device memory")?;
        submit(null_mut(), Work::Copy { to, from, size })
    }
    cuMemcpyDtoH_v2(to: usize, from: usize, size: usize) {
        device()?.range(from, size, "copy from device memory")?;
        submit(null_mut(), Work::Copy { to, from, size })
    }
    cuMemcpyDtoD_v2(to: usize, from: usize, size: usize) {
        device()?.range(to, size, "copy to device memory")?;
        device()?.range(from, size, "copy from device memory")?;
        submit(null_mut(), Work::Copy { to, from, size })
    }
    cuMemcpyHtoDAsync_v2(to: usize, from: usize, size: usize, stream: *mut Stream) {
        device()?.range(to, size, "copy to device memory")?;
        submit(stream, Work::Copy { to, from, size })
    }
    cuMemcpyDtoHAsync_v2(to: usize, from: usize, size: usize, stream: *mut Stream) {
        device()?.range(from, size, "copy from device memory")?;
        submit(stream, Work::Copy { to, from, size })
    }
    cuMemcpyDtoDAsync_v2(to: usize, from: usize, size: usize, stream: *mut Stream) {
        device()?.range(to, size, "copy to device memory")?;
        device()?.range(from, size, "copy from device memory")?;
        submit(stream, Work::Copy { to, from, size })
    }

    cuModuleLoadData(out: *mut *mut Arc<Module>, image: *const u8) {
        *out = Box::into_raw(Box::new(load_image(image)?));
        Ok(())
    }
    cuModuleLoad(out: *mut *mut Arc<Module>, path: *const c_char) {
        let path = CStr::from_ptr(path).to_string_lossy();
        let mut bytes = std::fs::read(&*path).map_err(|error| Fault(301, format!("{path}: {error}")))?;
        bytes.push(0);
        *out = Box::into_raw(Box::new(load_image(bytes.as_ptr())?));
        Ok(())
    }
    cuModuleUnload(module: *mut Arc<Module>) { drop(Box::from_raw(module)); Ok(()) }
    cuModuleGetFunction(out: *mut *mut Function, module: *mut Arc<Module>, name: *const c_char) {
        let (module, name) = ((*module).clone(), CStr::from_ptr(name).to_string_lossy());
        let Some(kernel) = module.kernel(&name).map(|kernel| kernel as *const Kernel) else {
            return Err(Fault(NOT_FOUND, format!("no kernel `{name}` (is it extern \"C\"?)")));
        };
        let dynamic_limit = None;
        *out = Box::into_raw(Box::new(Function { module, kernel, dynamic_limit }));
        Ok(())
    }
    cuModuleGetGlobal_v2(out: *mut usize, size: *mut usize, module: *mut Arc<Module>, name: *const c_char) {
        let name = CStr::from_ptr(name).to_string_lossy();
        let module = &*module;
        let Some(found) = module.globals.iter().find(|variable| variable.name == name) else {
            return Err(Fault(NOT_FOUND, format!("no variable `{name}`")));
        };
        if !out.is_null() { *out = found.start; }
        if !size.is_null() { *size = found.size; }
        Ok(())
    }
    cuFuncGetParamInfo(function: *mut Function, index: usize, offset: *mut usize, size: *mut usize) {
        let mut at = 0usize;
        for (i, (bytes, _)) in (*(*function).kernel).parameters().enumerate() {
            at = at.next_multiple_of(bytes.next_power_of_two().min(16));
            if i == index {
                if !offset.is_null() { *offset = at; }
                if !size.is_null() { *size = bytes; }
                return Ok(());
            }
            at += bytes;
        }
        Err(Fault(INVALID_VALUE, String::new()))
    }
    cuFuncSetAttribute(function: *mut Function, which: c_int, value: c_int) {
        let function = &mut *function;
        let fixed = function.shared();
        if which == 8 {
            if value < 0 || value as usize + fixed > SHARED_OPTIN as usize {
                return Err(Fault(INVALID_VALUE, format!("{value} bytes of dynamic shared memory of {SHARED_OPTIN}")));
            }
            function.dynamic_limit = Some(value);
        }
        Ok(())
    }
    cuFuncGetAttribute(out: *mut c_int, which: c_int, function: *mut Function) {
        let function = &*function;
        *out = match which {
            0 => (*function.kernel).max_threads as c_int,
            1 => function.shared() as c_int,
            4 => 32, // registers; nothing real
            5 | 6 => function.module.arch(),
            8 => function.dynamic_limit.unwrap_or(SHARED - function.shared() as c_int),
            _ => 0,
        };
        Ok(())
    }
    cuFuncSetCacheConfig(_function: *mut Function, _config: c_int) { Ok(()) }
    cuOccupancyMaxActiveBlocksPerMultiprocessor(out: *mut c_int, _f: *mut Function, block: c_int, _dynamic: usize) {
        *out = (2048 / block.max(1)).min(32);
        Ok(())
    }
    cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        out: *mut c_int, _f: *mut Function, block: c_int, _dynamic: usize, _flags: c_uint
    ) {
        *out = (2048 / block.max(1)).min(32);
        Ok(())
    }
    cuLaunchKernel(
        function: *mut Function, gx: c_uint, gy: c_uint, gz: c_uint, bx: c_uint, by: c_uint, bz: c_uint,
        dynamic: c_uint, stream: *mut Stream, parameters: *mut *mut c_void, _extra: *mut *mut c_void
    ) {
        launch(&*function, [gx, gy, gz], [bx, by, bz], dynamic as usize, stream, parameters.cast())
    }
    cuLaunchKernelEx(
        config: *const LaunchConfig, function: *mut Function, parameters: *mut *mut c_void, _extra: *mut *mut c_void
    ) {
        // Attributes ask for speed, which there is none of here.
        let LaunchConfig { grid, block, dynamic, stream, .. } = *config;
        launch(&*function, grid, block, dynamic as usize, stream, parameters.cast())
    }
    cuLaunchHostFunc(stream: *mut Stream, function: unsafe extern "C" fn(*mut c_void), data: *mut c_void) {
        submit(stream, Work::Host { function, data })
    }

    cuStreamCreate(out: *mut *mut Stream, _flags: c_uint) { device()?; *out = Box::into_raw(Box::default()); Ok(()) }
    cuStreamCreateWithPriority(out: *mut *mut Stream, _flags: c_uint, _priority: c_int) {
        device()?;
        *out = Box::into_raw(Box::default());
        Ok(())
    }
    cuStreamDestroy_v2(stream: *mut Stream) { drop(Box::from_raw(stream)); Ok(()) }
    cuStreamSynchronize(stream: *mut Stream) {
        not_while_capturing(stream, "cuStreamSynchronize")?;
        device().map(drop)
    }
    cuStreamQuery(stream: *mut Stream) {
        not_while_capturing(stream, "cuStreamQuery")?;
        device().map(drop)
    }
    cuStreamWaitEvent(stream: *mut Stream, event: *mut Event, _flags: c_uint) {
        device()?;
        let (mine, event) = (capturing(stream), &*event);
        match (&mine, &event.capture) {
            (None, Some(capture)) if capture.lock().unwrap().ended => {
                return Err(Fault(CAPTURED_EVENT, "event of a capture that has ended".into()));
            }
            (None, Some(capture)) => (*stream).capture = Some(capture.clone()),
            (Some(mine), theirs) if event.time.is_some() && !theirs.as_ref().is_some_and(|t| Arc::ptr_eq(mine, t)) => {
                mine.lock().unwrap().invalid = true;
                return Err(Fault(CAPTURE_ISOLATION, "a captured stream waits for an event from outside".into()));
            }
            _ => {}
        }
        Ok(())
    }
    cuEventCreate(out: *mut *mut Event, flags: c_uint) {
        device()?;
        *out = Box::into_raw(Box::new(Event { flags, time: None, capture: None }));
        Ok(())
    }
    cuEventDestroy_v2(event: *mut Event) { drop(Box::from_raw(event)); Ok(()) }
    cuEventRecord(event: *mut Event, stream: *mut Stream) {
        device()?;
        (*event).time = Some(Instant::now());
        (*event).capture = capturing(stream);
        Ok(())
    }
    cuEventSynchronize(event: *mut Event) {
        if (*event).capture.is_some() { return Err(Fault(CAPTURED_EVENT, "event of a capture".into())); }
        device().map(drop)
    }
    cuEventQuery(event: *mut Event) {
        if (*event).capture.is_some() { return Err(Fault(CAPTURED_EVENT, "event of a capture".into())); }
        device().map(drop)
    }
    cuEventElapsedTime_v2(out: *mut f32, start: *mut Event, end: *mut Event) {
        device()?;
        let (start, end) = (&*start, &*end);
        match (start.time, end.time) {
            (Some(from), Some(to)) if (start.flags | end.flags) & NO_TIMING == 0 => {
                let back = || -from.duration_since(to).as_secs_f32();
                *out = 1e3 * to.checked_duration_since(from).map_or_else(back, |time| time.as_secs_f32());
                Ok(())
            }
            _ => Err(Fault(INVALID_HANDLE, "an event that was not recorded, or that keeps no time".into())),
        }
    }
    cuEventElapsedTime(out: *mut f32, start: *mut Event, end: *mut Event) {
        match cuEventElapsedTime_v2(out, start, end) { SUCCESS => Ok(()), status => Err(Fault(status, String::new())) }
    }

    cuStreamBeginCapture_v2(stream: *mut Stream, _mode: c_uint) {
        device()?;
        if stream.is_null() {
            return Err(Fault(CAPTURE_UNSUPPORTED, "the default stream can't be captured".into()));
        }
        if capturing(stream).is_some() {
            return Err(Fault(INVALID_VALUE, "the stream is being captured already".into()));
        }
        (*stream).capture = Some(Arc::default());
        Ok(())
    }
    cuStreamEndCapture(stream: *mut Stream, out: *mut *mut Graph) {
        *out = null_mut();
        let Some(capture) = capturing(stream) else {
            return Err(Fault(INVALID_VALUE, "the stream is not being captured".into()));
        };
        let mut capture = capture.lock().unwrap();
        capture.ended = true;
        if capture.invalid {
            return Err(Fault(CAPTURE_INVALIDATED, "an earlier call made the capture invalid".into()));
        }
        *out = Box::into_raw(Box::new(Graph(std::mem::take(&mut capture.work))));
        Ok(())
    }
    cuStreamIsCapturing(stream: *mut Stream, out: *mut c_int) {
        *out = capturing(stream).map_or(0, |capture| 1 + c_int::from(capture.lock().unwrap().invalid));
        Ok(())
    }
    cuGraphInstantiateWithFlags(out: *mut *mut Graph, graph: *mut Graph, _flags: u64) {
        device()?;
        *out = Box::into_raw(Box::new((*graph).clone()));
        Ok(())
    }
    cuGraphUpload(_graph: *mut Graph, _stream: *mut Stream) { device().map(drop) }
    cuGraphLaunch(graph: *mut Graph, stream: *mut Stream) {
        device()?;
        (*graph).0.iter().try_for_each(|work| submit(stream, work.clone()))
    }
    cuGraphGetNodes(graph: *mut Graph, _nodes: *mut *mut c_void, count: *mut usize) { *count = (&*graph).0.len(); Ok(()) }
    cuGraphExecDestroy(graph: *mut Graph) { drop(Box::from_raw(graph)); Ok(()) }
    cuGraphDestroy(graph: *mut Graph) { drop(Box::from_raw(graph)); Ok(()) }

    cuGetErrorName(status: Status, out: *mut *const c_char) {
        let known = words(status);
        *out = known.map_or(std::ptr::null(), |(name, _)| name.as_ptr());
        known.map(drop).ok_or(Fault(INVALID_VALUE, String::new()))
    }
    cuGetErrorString(status: Status, out: *mut *const c_char) {
        let known = last(status).map(|text| text.as_c_str()).or(words(status).map(|(_, meaning)| meaning));
        *out = known.map_or(std::ptr::null(), CStr::as_ptr);
        known.map(drop).ok_or(Fault(INVALID_VALUE, String::new()))
    }
}
