//! Blocks on several threads of the host: the same bits, messages and counts as on one, and one where blocks are not apart.

use crate::common::{context, module, parent};
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice, Traffic};
use cudarc::driver::{DriverError, LaunchConfig, PushKernelArg, sys::CUresult};
use std::collections::BTreeSet;

const SOUND: &str = include_str!("kernels/sound.cu");

fn config(blocks: u32, threads: u32, shared: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (threads, 1, 1), shared_mem_bytes: shared }
}

/// What every child must say in the same words: the line that begins with `begin`.
#[track_caller]
fn same(test: &str, begin: &str, devices: impl IntoIterator<Item = SoftwareDevice>) -> Option<String> {
    let said = devices.into_iter().map(|device| {
        let text = parent(test, |_| device).expect("the test program");
        text.lines().find(|line| line.starts_with(begin)).map_or_else(|| format!("nothing: {text}"), str::to_owned)
    });
    let mut said: BTreeSet<String> = said.collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    said.pop_first()
}

/// One thread, and more than there are processors or blocks.
fn numbers(device: &SoftwareDevice) -> [SoftwareDevice; 4] {
    [1, 2, 3, 16].map(|count| device.clone().threads(count))
}

/// The software device without the check for races, or nothing after having said why not.
fn unordered(test: &str) -> Option<SoftwareDevice> {
    if SoftwareDevice::missing().is_some() {
        parent(test, |device| device);
        return None;
    }
    Some(SoftwareDevice::install().unwrap().checks(Checks::Memory))
}

/// Static and dynamic shared memory, barriers, shuffles.
#[test]
fn results_and_counts_are_the_same() {
    const TEST: &str = "host_threads::results_and_counts_are_the_same";
    if SoftwareDevice::is_active() {
        let stream = context().new_stream().unwrap();
        let module = module(stream.context(), SOUND);
        let (n, side) = (10_000i32, 40i32);
        let x: Vec<f32> = (0..n).map(|i| (i % 89) as f32 / 7.0).collect();
        let x = stream.clone_htod(&x).unwrap();
        let mut bits = Vec::new();
        for name in ["block_sum", "warp_sum", "sgemm"] {
            let function = module.load_function(name).unwrap();
            let mut out = stream.alloc_zeros::<f32>(1600).unwrap();
            let mut launch = stream.launch_builder(&function);
            let config = if name == "sgemm" {
                launch.arg(&x).arg(&x).arg(&mut out).arg(&side).arg(&side).arg(&side);
                LaunchConfig { grid_dim: (3, 3, 1), block_dim: (16, 16, 1), shared_mem_bytes: 2048 }
            } else {
                launch.arg(&x).arg(&mut out).arg(&n);
                config(17, 256, 0)
            };
            // SAFETY: parameters as in sound.cu.
            unsafe { launch.launch(config) }.unwrap();
            let out = stream.clone_dtoh(&out).unwrap();
            assert!(out.iter().any(|value| *value != 0.0), "{name}");
            bits.extend(out.iter().map(|value| value.to_bits()));
        }
        return println!("\nresults {bits:?}");
    }
    let Some(device) = unordered(TEST) else { return };
    let folder = tempfile::tempdir().unwrap();
    for order in [Order::Ascending, Order::Descending, Order::Random(3)] {
        same(TEST, "results ", numbers(&device.clone().order(order)));
    }
    same(TEST, "results ", numbers(&device.clone().checks(Checks::None)));
    let counts = numbers(&device).into_iter().enumerate().map(|(index, device)| {
        let path = folder.path().join(index.to_string());
        parent(TEST, |_| device.traffic(&path));
        Traffic::read(&path).unwrap()
    });
    let counts: Vec<_> = counts.collect();
    assert!(counts[0].len() > 5 && counts.windows(2).all(|pair| pair[0] == pair[1]), "{counts:#?}");
}

/// Of many blocks with a fault it is the first that is named.
#[test]
fn messages_are_the_same() {
    const TEST: &str = "host_threads::messages_are_the_same";
    if SoftwareDevice::is_active() {
        let source = "extern \"C\" __global__ void late(float* y) {\n  assert(blockIdx.x < 5 || threadIdx.x < 7);\n  \
                      y[blockIdx.x * blockDim.x + threadIdx.x] = 1.f;\n}";
        let stream = context().new_stream().unwrap();
        let function = module(stream.context(), source).load_function("late").unwrap();
        let mut out = stream.alloc_zeros::<f32>(320).unwrap();
        // SAFETY: (float* y), one number per thread.
        let launched = unsafe { stream.launch_builder(&function).arg(&mut out).launch(config(10, 32, 0)) };
        let DriverError(status) = launched.and_then(|_| stream.synchronize()).expect_err("a fault");
        return assert_eq!(status, CUresult::CUDA_ERROR_ASSERT);
    }
    let Some(device) = unordered(TEST) else { return };
    for (order, block, thread) in [(Order::Ascending, 5, 7), (Order::Descending, 9, 31)] {
        let said = same(TEST, "emulated CUDA device: ", numbers(&device.clone().order(order))).unwrap();
        assert!(said.contains(&format!("block [{block}, 0, 0], thread [{thread}, 0, 0]: line 2: assertion")), "{said}");
    }
    same(TEST, "emulated CUDA device: ", numbers(&device.order(Order::Random(4))));
}

/// What atomics return, sums of floats by them, and variables of the device depend on the order of blocks: they run on one thread, and so does everything
/// that is checked for races.
#[test]
fn blocks_that_are_not_apart_stay_in_order() {
    const TEST: &str = "host_threads::blocks_that_are_not_apart_stay_in_order";
    if SoftwareDevice::is_active() {
        let sources = [
            "extern \"C\" __global__ void place(float* sum, int* when) {\n\
             atomicAdd(sum, 1.f / (3.f + blockIdx.x));\n\
             when[blockIdx.x] = (int)(1e6f * *sum); }",
            "__device__ int count;\nextern \"C\" __global__ void place(float* sum, int* when) {\n\
             for (volatile int i = 0; i < 1000; i++) {}\n\
             when[blockIdx.x] = count++; }",
        ];
        let stream = context().new_stream().unwrap();
        let mut all = Vec::new();
        for source in sources {
            let function = module(stream.context(), source).load_function("place").unwrap();
            let (mut sum, mut when) = (stream.alloc_zeros::<f32>(1).unwrap(), stream.alloc_zeros::<i32>(200).unwrap());
            // SAFETY: (float* sum, int* when), one, and one per block.
            unsafe { stream.launch_builder(&function).arg(&mut sum).arg(&mut when).launch(config(200, 1, 0)) }.unwrap();
            all.push((stream.clone_dtoh(&sum).unwrap()[0].to_bits(), stream.clone_dtoh(&when).unwrap()));
        }
        assert!(all[1].1.iter().copied().eq(0..200), "{all:?}");
        return println!("\nresults {all:?}");
    }
    let Some(device) = unordered(TEST) else { return };
    same(TEST, "results ", numbers(&device));
}

#[test]
fn races_between_blocks_are_found_with_any_number() {
    const TEST: &str = "host_threads::races_between_blocks_are_found_with_any_number";
    if SoftwareDevice::is_active() {
        let stream = context().new_stream().unwrap();
        let source = "extern \"C\" __global__ void last(float* y) { y[blockIdx.x / 2] = 1.f; }";
        let function = module(stream.context(), source).load_function("last").unwrap();
        let mut out = stream.alloc_zeros::<f32>(4).unwrap();
        // SAFETY: (float* y), one number for two blocks.
        let launched = unsafe { stream.launch_builder(&function).arg(&mut out).launch(config(8, 1, 0)) };
        let DriverError(status) = launched.and_then(|_| stream.synchronize()).expect_err("a race");
        return assert_eq!(status, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    }
    let Some(device) = unordered(TEST) else { return };
    let said = same(TEST, "emulated CUDA device: ", numbers(&device.checks(Checks::Races))).unwrap();
    assert!(
        said.contains("block [1, 0, 0], thread [0, 0, 0]: race: ") && said.contains("of block [0, 0, 0]"),
        "{said}"
    );
}

/// Two blocks that wait for each other end only if both run.
#[test]
fn blocks_run_at_the_same_time() {
    const TEST: &str = "host_threads::blocks_run_at_the_same_time";
    let two = |device: SoftwareDevice| device.checks(Checks::None).threads(2);
    if parent(TEST, two).is_some() {
        return;
    }
    // In the end one of them gives up, so that the test fails and does not hang.
    let source = "extern \"C\" __global__ void meet(volatile int* here, int* met) {\n\
                  here[blockIdx.x] = 1;\n\
                  long long i = 0;\n\
                  while (!here[1 - blockIdx.x] && ++i < 20000000000ll) {}\n\
                  met[blockIdx.x] = here[1 - blockIdx.x]; }";
    let stream = context().new_stream().unwrap();
    let function = module(stream.context(), source).load_function("meet").unwrap();
    let (mut here, mut met) = (stream.alloc_zeros::<i32>(2).unwrap(), stream.alloc_zeros::<i32>(2).unwrap());
    for _ in 0..3 {
        stream.memset_zeros(&mut here).unwrap();
        // SAFETY: (int* here, int* met), one number per block each.
        unsafe { stream.launch_builder(&function).arg(&mut here).arg(&mut met).launch(config(2, 1, 0)) }.unwrap();
        assert_eq!(stream.clone_dtoh(&met).unwrap(), [1, 1]);
    }
}

/// On a thread of the device's own, too, a stack that overflows is named.
#[test]
fn a_stack_overflows_on_any_thread() {
    const TEST: &str = "host_threads::a_stack_overflows_on_any_thread";
    let source = "__device__ __noinline__ int deep(int x, int n) {\n\
                  volatile int kept[64];\n\
                  kept[n % 64] = x;\n\
                  return n > 0 ? deep(x + kept[n % 64], n - 1) + kept[n % 64] : x; }\n\
                  extern \"C\" __global__ void fall(volatile int* here, int* y, int n) {\n\
                  here[blockIdx.x] = 1;\n\
                  while (!here[1 - blockIdx.x]) {}\n\
                  if (blockIdx.x == 1) y[0] = deep(1, n);\n\
                  else while (here[0]) {} }";
    if !SoftwareDevice::is_active() {
        let Some(device) = unordered(TEST) else { return };
        let output = device.checks(Checks::None).threads(2).rerun(TEST).unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        let said = "kernel `fall`, block [1, 0, 0], thread [0, 0, 0]: the kernel died";
        return assert!(!output.status.success() && text.contains(said), "{text}");
    }
    let stream = context().new_stream().unwrap();
    let function = module(stream.context(), source).load_function("fall").unwrap();
    let (mut here, mut out) = (stream.alloc_zeros::<i32>(2).unwrap(), stream.alloc_zeros::<i32>(1).unwrap());
    let depth = 1_000_000;
    // SAFETY: (int* here, int* y, int n), one number per block, and one; it dies before it is wrong.
    unsafe { stream.launch_builder(&function).arg(&mut here).arg(&mut out).arg(&depth).launch(config(2, 1, 0)) }
        .unwrap();
}
