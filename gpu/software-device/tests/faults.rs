//! Every fault the device claims to find, planted: what the program is told, and that the message names the place.

use crate::common::{context, module, parent, say};
use advantage_nas_software_cuda::{Checks, SoftwareDevice};
use cudarc::driver::{CudaSlice, CudaStream, DriverError, LaunchArgs, LaunchConfig, PushKernelArg, sys::CUresult};
use std::sync::Arc;

const FAULTS: &str = include_str!("kernels/faults.cu");
const ONE_WARP: LaunchConfig = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (32, 1, 1), shared_mem_bytes: 0 };

fn config(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

fn leak(address: u64) -> &'static u64 {
    Box::leak(Box::new(address))
}

/// Launches `kernel` with what `arguments` adds and waits for it; checks that its error stays.
fn run(
    stream: &Arc<CudaStream>,
    kernel: &str,
    config: LaunchConfig,
    arguments: impl for<'a> FnOnce(&mut LaunchArgs<'a>, &'a [CudaSlice<f32>; 2]),
) -> Result<(), DriverError> {
    let function = module(stream.context(), FAULTS).load_function(kernel).unwrap();
    let buffers = [stream.alloc_zeros::<f32>(32).unwrap(), stream.alloc_zeros::<f32>(32).unwrap()];
    let mut launch = stream.launch_builder(&function);
    arguments(&mut launch, &buffers);
    // SAFETY: wrong on purpose; the device is emulated.
    unsafe { launch.launch(config) }?;
    let result = stream.synchronize();
    if let Err(DriverError(first)) = result {
        assert_eq!(stream.alloc_zeros::<f32>(1).unwrap_err().0, first, "the error of a kernel stays");
    }
    result
}

/// A fault: the name of the test, the kernel, how it is launched, the status, and what the message must say.
macro_rules! faults {
    ($($test:ident: $kernel:literal, $config:expr, |$launch:ident, $buffers:ident| $arguments:expr,
        $status:ident, [$($words:literal),*];)*) => { $(
        #[test]
        fn $test() {
            let Some(text) = parent(concat!("faults::", stringify!($test)), |device| device) else {
                let stream = context().new_stream().unwrap();
                let result = run(&stream, $kernel, $config, |$launch, $buffers| { $arguments; });
                let DriverError(status) = result.expect_err("a fault");
                assert_eq!(status, CUresult::$status);
                return;
            };
            for words in [$($words),*] {
                assert!(text.is_empty() || text.contains(words), "{words:?} is not in {text}");
            }
        }
    )* };
}

faults! {
    write_past_the_end: "past_the_end", ONE_WARP, |l, b| l.arg(&b[0]).arg(&5i32), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["kernel `past_the_end`, block [0, 0, 0], thread [31, 0, 0]: line 2: write of 4 bytes out of bounds",
         "0 bytes past the end of allocation", "(128 bytes)"];
    read_before_the_start: "before_the_start", ONE_WARP, |l, b| l.arg(&b[0]).arg(&b[1]), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["`before_the_start`, block [0, 0, 0], thread [0, 0, 0]: line 3: read of 4 bytes out of bounds"];
    null_pointer: "read_once", ONE_WARP, |l, b| l.arg(&0u64).arg(&b[1]), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["thread [0, 0, 0]: line 4: read of 4 bytes out of bounds: 0x0: null pointer"];
    misaligned_vector: "misaligned", ONE_WARP, |l, b| l.arg(&b[0]).arg(&b[1]), CUDA_ERROR_MISALIGNED_ADDRESS,
        ["`misaligned`, block [0, 0, 0], thread [0, 0, 0]: line 6: address 0x", "is not aligned for 'const struct float4'"];
    over_static_shared: "over_shared", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["`over_shared`, block [0, 0, 0], thread [31, 0, 0]: line 14: read", "byte 128 of shared `first` (128 bytes)"];
    over_dynamic_shared: "over_dynamic", config(1, 32, 128), |l, b| l.arg(&b[0]), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["thread [31, 0, 0]", "dynamic shared memory", "128 bytes"];
    barriers_of_two_branches: "two_barriers", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["divergent barrier: thread [0, 0, 0] waits at __syncthreads of line 24, thread [16, 0, 0] waits at that of line 26"];
    barrier_after_a_return: "early_return", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["divergent barrier: thread [0, 0, 0] waits at __syncthreads of line 31, thread [24, 0, 0] has returned"];
    barrier_against_a_warp: "barrier_against_warp", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["deadlock: a warp collective of line 38", "lanes 0x0000ffff; 16 threads of the block wait at __syncthreads"];
    lane_outside_the_mask: "not_in_mask", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["line 41: the mask 0x0000ffff of a warp collective lacks the calling lane 16"];
    collectives_that_differ: "two_masks", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["line 93: warp collective with mask 0xffffffff, but lane 0 is in another one, line 93"];
    race_in_shared_memory: "shared_race", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["thread [16, 0, 0]: race: line 44: write of byte 64 of shared `values`", "line 45: read by thread [15, 0, 0] with no barrier"];
    race_in_dynamic_shared_memory: "dynamic_race", config(1, 32, 128), |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["thread [16, 0, 0]: race: line 49: write of byte 64 of dynamic shared", "line 50: read by thread [15, 0, 0]"];
    race_between_blocks: "block_race", config(2, 1, 0), |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["block [1, 0, 0], thread [0, 0, 0]: race: line 52: write of byte 0 of allocation", "of block [0, 0, 0]"];
    race_in_global_memory: "thread_race", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED,
        ["race: line 55: write of byte 0 of allocation", "line 54: write by thread [0, 0, 0] with no barrier"];
    failed_assertion: "assertion", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_ASSERT,
        ["thread [0, 0, 0]: line 57: assertion failed: x[threadIdx.x] > 0.f"];
    trap: "trap", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_FAILED, ["thread [7, 0, 0]: line 59: __trap()"];
    over_a_local_array: "local_index", ONE_WARP, |l, b| l.arg(&b[0]).arg(&5i32), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["`local_index`, block [0, 0, 0], thread [4, 0, 0]: line 76: index 4 out of bounds of 'float [4]'"];
    over_a_row: "row_index", ONE_WARP, |l, b| l.arg(&b[0]).arg(&9i32), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["thread [8, 0, 0]: line 82: index 8 out of bounds of 'float [8]'"];
    division_by_zero: "division", ONE_WARP, |l, b| l.arg(&b[0]).arg(&5i32), CUDA_ERROR_LAUNCH_FAILED,
        ["thread [0, 0, 0]: line 84: division of 'unsigned int' by zero"];
    shift_too_far: "shift", ONE_WARP, |l, b| l.arg(&b[0]).arg(&5i32), CUDA_ERROR_LAUNCH_FAILED,
        ["thread [27, 0, 0]: line 85: shift of 'unsigned int' by 32 bits"];
    over_a_device_variable: "over_variable", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_ILLEGAL_ADDRESS,
        ["thread [8, 0, 0]", "write of 4 bytes out of bounds"];

    too_few_arguments: "read_once", ONE_WARP, |l, b| l.arg(&b[0]), CUDA_ERROR_INVALID_VALUE,
        ["launch of kernel `read_once`: argument 1 of 2"];
    arguments_in_the_wrong_order: "past_the_end", ONE_WARP, |l, b| l.arg(&5i64).arg(&b[0]), CUDA_ERROR_INVALID_VALUE,
        ["launch of kernel `past_the_end`: argument 0 of 2 is a pointer, 0x5 no device address"];
    host_pointer: "read_once", ONE_WARP, |l, b| l.arg(leak(&raw const b as u64)).arg(&b[1]),
        CUDA_ERROR_INVALID_VALUE, ["argument 0 of 2 is a pointer"];
    block_too_large: "read_once", config(1, 1025, 0), |l, b| l.arg(&b[0]).arg(&b[1]), CUDA_ERROR_INVALID_VALUE,
        ["`read_once`: block [1025, 1, 1]"];
    no_blocks: "read_once", config(0, 32, 0), |l, b| l.arg(&b[0]).arg(&b[1]), CUDA_ERROR_INVALID_VALUE,
        ["`read_once`: grid [0, 1, 1]"];
    beyond_launch_bounds: "bounded", config(1, 33, 0), |l, b| l.arg(&b[0]), CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES,
        ["`bounded`: 33 threads per block, __launch_bounds__(32)"];
    too_much_dynamic_shared: "over_dynamic", config(1, 32, 49153), |l, b| l.arg(&b[0]), CUDA_ERROR_INVALID_VALUE,
        ["`over_dynamic`: 49153 bytes of dynamic shared memory, limit 49152"];
}

#[test]
fn use_after_free() {
    let Some(text) = parent("faults::use_after_free", |device| device) else {
        let stream = context().new_stream().unwrap();
        let freed = {
            let slice = stream.alloc_zeros::<f32>(32).unwrap();
            cudarc::driver::DevicePtr::device_ptr(&slice, &stream).0
        };
        let _other = stream.alloc_zeros::<f32>(32).unwrap();
        let status = run(&stream, "read_once", ONE_WARP, |launch, b| {
            launch.arg(leak(freed)).arg(&b[1]);
        });
        return assert_eq!(status.unwrap_err().0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    };
    assert!(text.is_empty() || text.contains("byte 0 of freed allocation #0 (128 bytes)"), "{text}");
}

#[test]
fn double_free() {
    let Some(text) = parent("faults::double_free", |device| device) else {
        let _context = context();
        // SAFETY: the second free is what is tested.
        unsafe {
            let pointer = cudarc::driver::result::malloc_sync(64).unwrap();
            cudarc::driver::result::free_sync(pointer).unwrap();
            for wrong in [pointer, pointer + 4] {
                let status = cudarc::driver::result::free_sync(wrong).unwrap_err().0;
                assert_eq!(status, CUresult::CUDA_ERROR_INVALID_VALUE);
            }
            return;
        }
    };
    assert!(text.is_empty() || text.contains("allocation #0 of 64 bytes") && text.contains("freed twice"), "{text}");
}

#[test]
fn copy_past_the_end() {
    let Some(text) = parent("faults::copy_past_the_end", |device| device) else {
        let stream = context().new_stream().unwrap();
        let slice = stream.alloc_zeros::<f32>(8).unwrap();
        let address = cudarc::driver::DevicePtr::device_ptr(&slice, &stream).0;
        let mut host = [0f32; 9];
        // SAFETY: what is tested.
        let copied = unsafe { cudarc::driver::result::memcpy_dtoh_sync(&mut host, address) };
        return assert_eq!(copied.unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
    };
    assert!(
        text.is_empty() || text.contains("copy from device memory of 36 bytes at byte 0 of allocation #0 (32 bytes)")
    );
}

/// Without checks the guard behind an allocation still tells, once the kernel has ended.
#[test]
fn guard_region_without_checks() {
    let unchecked = |device: SoftwareDevice| device.checks(Checks::None);
    let Some(text) = parent("faults::guard_region_without_checks", unchecked) else {
        let stream = context().new_stream().unwrap();
        let result = run(&stream, "past_the_end", ONE_WARP, |launch, b| {
            launch.arg(&b[0]).arg(&5i32);
        });
        return assert_eq!(result.unwrap_err().0, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    };
    assert!(
        text.is_empty() || text.contains("kernel `past_the_end`: write 0 bytes past the end of allocation"),
        "{text}"
    );
}

/// Memory that nobody wrote is NaN: device memory, shared memory of both kinds, and again in a second block.
#[test]
fn unwritten_memory_is_nan() {
    if parent("faults::unwritten_memory_is_nan", |device| device).is_some() {
        return;
    }
    let stream = context().new_stream().unwrap();
    // SAFETY: not initialised on purpose.
    let fresh = unsafe { stream.alloc::<f32>(1000) }.unwrap();
    assert!(stream.clone_dtoh(&fresh).unwrap().iter().all(|x| x.is_nan()));
    let module = module(stream.context(), FAULTS);
    for (name, shared) in [("unwritten_shared", 0), ("unwritten_dynamic", 128)] {
        let function = module.load_function(name).unwrap();
        for _ in 0..2 {
            let mut out = stream.alloc_zeros::<f32>(32).unwrap();
            // SAFETY: (float* y), 32 elements.
            unsafe { stream.launch_builder(&function).arg(&mut out).launch(config(1, 32, shared)) }.unwrap();
            assert!(stream.clone_dtoh(&out).unwrap().iter().all(|x| x.is_nan()), "{name}");
        }
    }
}

/// A stack that overflows kills the process, as nothing can go on; the message names the kernel all the same.
#[test]
fn stack_overflow() {
    if !SoftwareDevice::is_active() {
        if let Some(why) = SoftwareDevice::missing() {
            return say(&format!("SKIPPED stack_overflow: {why}"));
        }
        let output = SoftwareDevice::install().unwrap().rerun("faults::stack_overflow").unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success()
                && text.contains("kernel `stack_overflow`, block [0, 0, 0], thread [0, 0, 0]: the kernel died"),
            "{text}"
        );
        return;
    }
    let stream = context().new_stream().unwrap();
    let _ = run(&stream, "stack_overflow", ONE_WARP, |launch, b| {
        launch.arg(&b[0]).arg(&1_000_000i32);
    });
}

/// The full message is in the file too; a setting that makes no sense is named.
#[test]
fn reports_are_kept_and_settings_checked() {
    let name = "faults::reports_are_kept_and_settings_checked";
    if SoftwareDevice::is_active() {
        let stream = context().new_stream().unwrap();
        let result = run(&stream, "trap", ONE_WARP, |launch, b| {
            launch.arg(&b[0]);
        });
        return assert_eq!(result.unwrap_err().0, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    }
    if let Some(why) = SoftwareDevice::missing() {
        return say(&format!("SKIPPED {name}: {why}"));
    }
    let device = SoftwareDevice::install().unwrap();
    let file = device.folder().join(format!("report-{}.txt", std::process::id()));
    assert!(parent(name, |device| device.report(&file)).is_some());
    let report = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(report.lines().count(), 1, "{report}");
    assert!(
        report.starts_with("emulated CUDA device: kernel `trap`, block [0, 0, 0], thread [7, 0, 0]: line "),
        "{report}"
    );
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    device.apply(command.args([name, "--exact", "--nocapture"])).env("SOFTWARE_CUDA_ORDER", "sideways");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("cuInit: SOFTWARE_CUDA_ORDER=sideways is not valid"), "{text}");
}
