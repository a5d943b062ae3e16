//! Unmodified cudarc programs on the software device.

use crate::common::{context, module, parent};
use advantage_nas_software_cuda::{Checks, Order, SoftwareDevice};
use cudarc::driver::result;
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{self, CompileError, CompileOptions, Ptx, compile_ptx, compile_ptx_with_opts};
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::Arc;

const SOUND: &str = include_str!("kernels/sound.cu");

#[test]
fn kernels_and_graphs_give_exact_results() {
    if parent("device::kernels_and_graphs_give_exact_results", |device| device).is_some() {
        return;
    }
    let context = context();
    assert!(context.name().unwrap().contains("emulated"));
    assert_eq!(context.compute_capability().unwrap(), (9, 0));
    // SAFETY: one stream.
    unsafe { context.disable_event_tracking() };
    let stream = context.new_stream().unwrap();
    let module = module(&context, SOUND);
    let n = 100_000usize;
    let x: Vec<f32> = (0..n).map(|i| (i % 7) as f32).collect();
    let (dx, mut dy) = (stream.clone_htod(&x).unwrap(), stream.alloc_zeros::<f32>(n).unwrap());
    let saxpy = module.load_function("saxpy").unwrap();
    let (a, count) = (2f32, n as i32);
    stream.synchronize().unwrap();
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    let config = LaunchConfig::for_num_elems(n as u32);
    // SAFETY: (float a, const float* x, float* y, int n), n elements each.
    unsafe { stream.launch_builder(&saxpy).arg(&a).arg(&dx).arg(&mut dy).arg(&count).launch(config) }.unwrap();
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert!(stream.clone_dtoh(&dy).unwrap().iter().all(|y| *y == 0.0), "captured, not run");
    graph.upload().unwrap();
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    let y = stream.clone_dtoh(&dy).unwrap();
    assert!(x.iter().zip(&y).all(|(x, y)| *y == 6.0 * x));

    for name in ["block_sum", "warp_sum"] {
        let sum = module.load_function(name).unwrap();
        let mut out = stream.alloc_zeros::<f32>(8).unwrap();
        let config = LaunchConfig { grid_dim: (8, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: (const float* x, float* out, int n): n elements, one sum per block.
        unsafe { stream.launch_builder(&sum).arg(&dx).arg(&mut out).arg(&count).launch(config) }.unwrap();
        assert_eq!(stream.clone_dtoh(&out).unwrap().iter().sum::<f32>(), x.iter().sum::<f32>(), "{name}");
    }
}

/// Figures for the README; says nothing about a real device.
#[test]
#[ignore = "a measurement"]
fn speed() {
    if let Some(text) = parent("device::speed", |device| device) {
        print!("{text}");
        return;
    }
    let time = std::time::Instant::now();
    let context = context();
    println!("context {:?}", time.elapsed());
    let time = std::time::Instant::now();
    let module = module(&context, SOUND);
    println!("compile and load {:?}", time.elapsed());
    let stream = context.default_stream();
    let n = 1 << 20;
    let (x, mut y) = (stream.alloc_zeros::<f32>(n).unwrap(), stream.alloc_zeros::<f32>(n).unwrap());
    let (a, count, size) = (2f32, n as i32, 256i32);
    for name in ["saxpy", "block_sum", "warp_sum", "sgemm"] {
        let kernel = module.load_function(name).unwrap();
        let mut launch = stream.launch_builder(&kernel);
        let (grid_dim, block_dim, work) = match name {
            "saxpy" => ((n as u32 / 256, 1, 1), (256, 1, 1), n),
            "sgemm" => ((16, 16, 1), (16, 16, 1), 256 * 256 * 256),
            _ => ((1024, 1, 1), (256, 1, 1), 1024 * 256),
        };
        match name {
            "saxpy" => launch.arg(&a).arg(&x).arg(&mut y).arg(&count),
            "sgemm" => launch.arg(&x).arg(&x).arg(&mut y).arg(&size).arg(&size).arg(&size),
            _ => launch.arg(&x).arg(&mut y).arg(&count),
        };
        for _ in 0..2 {
            let time = std::time::Instant::now();
            // SAFETY: parameters as in sound.cu.
            unsafe { launch.launch(LaunchConfig { grid_dim, block_dim, shared_mem_bytes: 2048 }) }.unwrap();
            stream.synchronize().unwrap();
            println!(
                "{name}: {:.1} M/s (threads, or multiplications)",
                work as f64 / time.elapsed().as_secs_f64() / 1e6
            );
        }
    }
}

#[test]
fn every_order_gives_the_same_results() {
    if !SoftwareDevice::is_active() {
        let digests: Vec<String> = [Order::Ascending, Order::Descending, Order::Random(1), Order::Random(2)]
            .into_iter()
            .map(|order| {
                let text = parent("device::every_order_gives_the_same_results", |device| device.order(order)).unwrap();
                text.lines().find(|line| line.starts_with("order ")).unwrap_or_default().to_owned()
            })
            .collect();
        let results: Vec<&str> = digests.iter().filter_map(|d| d.split("results").nth(1)).collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
        let orders: BTreeSet<&str> = digests.iter().filter_map(|d| d.split("results").next()).collect();
        assert_eq!(orders.len(), if SoftwareDevice::missing().is_some() { 1 } else { 4 }, "{orders:?}");
        return;
    }
    let stream = context().default_stream();
    let source = format!(
        "{SOUND}\nextern \"C\" __global__ void arrival(unsigned* count, unsigned* when) {{
            when[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(count, 1u); }}"
    );
    let module = module(stream.context(), &source);
    let mut count = stream.alloc_zeros::<u32>(1).unwrap();
    let mut when = stream.alloc_zeros::<u32>(12).unwrap();
    let arrival = module.load_function("arrival").unwrap();
    let config = LaunchConfig { grid_dim: (3, 1, 1), block_dim: (4, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: (unsigned* count, unsigned* when): one, and one per thread.
    unsafe { stream.launch_builder(&arrival).arg(&mut count).arg(&mut when).launch(config) }.unwrap();
    let when = stream.clone_dtoh(&when).unwrap();
    let mut sorted = when.clone();
    sorted.sort_unstable();
    assert!(sorted.iter().copied().eq(0..12), "each thread once");
    let (m, n, k) = (33i32, 17i32, 40i32);
    let value = |i: i32| (i * 7 % 13) as f32 / 3.0;
    let a = stream.clone_htod(&(0..m * k).map(value).collect::<Vec<_>>()).unwrap();
    let b = stream.clone_htod(&(0..k * n).map(value).collect::<Vec<_>>()).unwrap();
    let mut c = stream.alloc_zeros::<f32>((m * n) as usize).unwrap();
    let sgemm = module.load_function("sgemm").unwrap();
    let config = LaunchConfig { grid_dim: (2, 3, 1), block_dim: (16, 16, 1), shared_mem_bytes: 2048 };
    let mut launch = stream.launch_builder(&sgemm);
    // SAFETY: (const float* a, const float* b, float* c, int m, int n, int k), m k, k n and m n elements.
    unsafe { launch.arg(&a).arg(&b).arg(&mut c).arg(&m).arg(&n).arg(&k).launch(config) }.unwrap();
    let c = stream.clone_dtoh(&c).unwrap();
    for (row, column) in (0..m).flat_map(|row| (0..n).map(move |column| (row, column))) {
        let sum = (0..k).fold(0f32, |sum, i| sum + value(row * k + i) * value(i * n + column));
        assert_eq!(c[(row * n + column) as usize], sum, "bit for bit: no fused products");
    }
    println!("\norder {when:?} results {:?}", c.iter().map(|c| c.to_bits()).collect::<Vec<_>>());
}

#[test]
fn memory_is_counted_and_runs_out() {
    if parent("device::memory_is_counted_and_runs_out", |device| device.memory(1 << 20)).is_some_and(|text| {
        assert!(
            text.is_empty() || text.contains("allocation of 524289 bytes with 524288 of 1048576 bytes free"),
            "{text}"
        );
        true
    }) {
        return;
    }
    let stream = context().default_stream();
    assert_eq!(stream.context().mem_get_info().unwrap(), (1 << 20, 1 << 20));
    let half = stream.alloc_zeros::<u8>(1 << 19).unwrap();
    let DriverError(status) = stream.alloc_zeros::<u8>((1 << 19) + 1).unwrap_err();
    assert_eq!(status, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let _other = stream.alloc_zeros::<u8>(1 << 19).expect("out of memory does not stay");
    assert_eq!(stream.context().mem_get_info().unwrap().0, 0);
    drop(half);
    assert_eq!(stream.context().mem_get_info().unwrap().0, 1 << 19);
}

#[test]
fn no_device_and_old_driver() {
    let name = "device::no_device_and_old_driver";
    if !SoftwareDevice::is_active() {
        parent(name, |device| device.devices(0));
        parent(name, |device| device.driver(12040).capability(8, 0));
        return;
    }
    let mut version = 0;
    // SAFETY: one int.
    unsafe { sys::cuDriverGetVersion(&mut version).result() }.unwrap();
    if version == 13000 {
        let DriverError(status) = CudaContext::device_count().unwrap_err();
        return assert_eq!(status, CUresult::CUDA_ERROR_NO_DEVICE);
    }
    assert_eq!(version, 12040);
    let context = context();
    assert_eq!(context.compute_capability().unwrap(), (8, 0));
    let ptx = compile_ptx(SOUND).unwrap();
    let DriverError(status) = context.load_module(ptx).unwrap_err();
    assert_eq!(status, CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
}

#[test]
fn without_a_compiler_nvrtc_says_so() {
    if parent("device::without_a_compiler_nvrtc_says_so", |device| device.compiler("no-such-g++")).is_some() {
        return;
    }
    let CompileError::CompileError { log, .. } = compile_ptx("// not compiled before").unwrap_err() else {
        panic!("of the wrong kind")
    };
    let log = log.to_string_lossy();
    assert!(log.starts_with("the software CUDA device compiles with no-such-g++, which did not start"), "{log}");
}

#[test]
fn compile_errors_have_the_place_and_the_option() {
    if parent("device::compile_errors_have_the_place_and_the_option", |device| device).is_some() {
        return;
    }
    let compile = |source: &str, options: CompileOptions| match compile_ptx_with_opts(source, options).unwrap_err() {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => panic!("{other:?}"),
    };
    let named = CompileOptions { name: Some("wrong.cu".into()), ..Default::default() };
    let log = compile("\nextern \"C\" __global__ void k(float* x) { x[0] = y; }", named);
    assert!(log.contains("wrong.cu:2") && log.contains("'y' was not declared"), "{log}");
    let unknown = CompileOptions { options: vec!["--no-such-option".into()], ..Default::default() };
    assert_eq!(compile("", unknown), "nvrtc: error: unrecognized option --no-such-option found");
}

/// CUBIN for a real architecture runs on devices of its major version; none is made for a virtual one.
#[test]
fn cubin_is_loaded_where_it_fits() {
    if parent("device::cubin_is_loaded_where_it_fits", |device| device.capability(9, 0)).is_some() {
        return;
    }
    let cubin = |arch: &str| {
        let source = CString::new(SOUND).unwrap();
        let program = nvrtc::result::create_program(&source, None).unwrap();
        // SAFETY: a live program, a buffer of the size it gives.
        unsafe {
            nvrtc::result::compile_program(program, &[format!("--gpu-architecture={arch}")]).unwrap();
            let mut size = 0;
            nvrtc::sys::nvrtcGetCUBINSize(program, &mut size).result().unwrap();
            let mut image = vec![0u8; size];
            nvrtc::sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast()).result().unwrap();
            nvrtc::result::destroy_program(program).unwrap();
            image
        }
    };
    let context = context();
    assert!(cubin("compute_90").is_empty());
    let module = context.load_module(Ptx::from_binary(cubin("sm_90"))).unwrap();
    assert!(module.load_function("saxpy").is_ok());
    assert_eq!(module.load_function("sax").unwrap_err().0, CUresult::CUDA_ERROR_NOT_FOUND);
    for arch in ["sm_80", "sm_100"] {
        let DriverError(status) = context.load_module(Ptx::from_binary(cubin(arch))).unwrap_err();
        assert_eq!(status, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU, "{arch}");
    }
    assert_eq!(context.load_module(Ptx::from_src(".version 9.0")).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_PTX);
}

/// A program compiled without checks is not taken from somebody's cache into a run with checks: it would find nothing.
#[test]
fn modules_for_other_checks_are_refused() {
    let name = "device::modules_for_other_checks_are_refused";
    let file = SoftwareDevice::install().unwrap().folder().join("unchecked.ptx");
    if !SoftwareDevice::is_active() {
        parent(name, |device| device.checks(Checks::None));
        let text = parent(name, |device| device).unwrap();
        return assert!(text.is_empty() || text.contains("or for other checks"), "{text}");
    }
    let context = context();
    if std::env::var("SOFTWARE_CUDA_CHECKS").as_deref() == Ok("none") {
        let ptx = compile_ptx(SOUND).unwrap().to_src();
        context.load_module(Ptx::from_src(&ptx)).unwrap();
        return std::fs::write(file, ptx).unwrap();
    }
    let DriverError(status) = context.load_module(Ptx::from_file(file)).unwrap_err();
    assert_eq!(status, CUresult::CUDA_ERROR_INVALID_IMAGE);
}

#[test]
fn captures_refuse_what_cuda_refuses() {
    if parent("device::captures_refuse_what_cuda_refuses", |device| device).is_some() {
        return;
    }
    let context = context();
    // SAFETY: one stream at a time.
    unsafe { context.disable_event_tracking() };
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    let stream = context.new_stream().unwrap();
    let status = |result: Result<(), DriverError>| result.unwrap_err().0;
    assert_eq!(status(context.default_stream().begin_capture(mode)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    for forbidden in [(|stream| stream.synchronize()) as fn(&Arc<CudaStream>) -> Result<(), DriverError>, |stream| {
        stream.alloc_zeros::<f32>(1).map(drop)
    }] {
        stream.begin_capture(mode).unwrap();
        assert_eq!(status(forbidden(&stream)), CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
        let ended = stream.end_capture(sys::CUgraphInstantiate_flags(0)).map(drop);
        assert_eq!(status(ended), CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
    }
    let before = stream.record_event(None).unwrap();
    stream.begin_capture(mode).unwrap();
    assert_eq!(status(stream.wait(&before)), CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert!(stream.end_capture(sys::CUgraphInstantiate_flags(0)).is_err());
    stream.synchronize().expect("a failed capture leaves the stream usable");
}

/// Work of a second stream joins a capture through events, in the order in which it was submitted.
#[test]
fn captures_fork_and_join() {
    if parent("device::captures_fork_and_join", |device| device).is_some() {
        return;
    }
    let context = context();
    // SAFETY: ordered by the events below.
    unsafe { context.disable_event_tracking() };
    let (one, two) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let (mut x, mut y) = (one.clone_htod(&[1f32; 8]).unwrap(), one.alloc_zeros::<f32>(8).unwrap());
    one.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    two.wait(&one.record_event(None).unwrap()).unwrap();
    two.memcpy_dtod(&x, &mut y).unwrap();
    one.wait(&two.record_event(None).unwrap()).unwrap();
    one.memset_zeros(&mut x).unwrap();
    let graph = one.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
    graph.launch().unwrap();
    assert_eq!(one.clone_dtoh(&y).unwrap(), [1f32; 8]);
    assert_eq!(one.clone_dtoh(&x).unwrap(), [0f32; 8]);
    two.synchronize().expect("the capture of the second stream has ended too");
}

#[test]
fn events_measure_time_and_attributes_answer() {
    if parent("device::events_measure_time_and_attributes_answer", |device| device).is_some() {
        return;
    }
    let context = context();
    let stream = context.new_stream().unwrap();
    let timed = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    let end = stream.record_event(timed).unwrap();
    let elapsed = start.elapsed_ms(&end).unwrap();
    assert!((20.0..5000.0).contains(&elapsed), "{elapsed} ms");
    let untimed = stream.record_event(None).unwrap();
    assert_eq!(start.elapsed_ms(&untimed).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_HANDLE);
    let limit =
        context.attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN).unwrap();
    assert_eq!(limit, 227 << 10);
    let module = module(&context, SOUND);
    let function = module.load_function("block_sum").unwrap();
    assert_eq!(function.max_threads_per_block().unwrap(), 256, "of its __launch_bounds__");
    assert_eq!(function.shared_size_bytes().unwrap(), 1024);
    let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert!(function.set_attribute(attribute, 200 << 10).is_ok());
    assert_eq!(function.set_attribute(attribute, 227 << 10).unwrap_err().0, CUresult::CUDA_ERROR_INVALID_VALUE);
    let ptx = CString::new(compile_ptx(SOUND).unwrap().to_src()).unwrap();
    // SAFETY: a module that lives on, and a kernel of it.
    let raw = unsafe {
        let module = result::module::load_data(ptx.as_ptr().cast()).unwrap();
        result::module::get_function(module, c"block_sum".into()).unwrap()
    };
    let parameter = |index| {
        let (mut offset, mut size) = (0, 0);
        // SAFETY: two numbers.
        unsafe { sys::cuFuncGetParamInfo(raw, index, &mut offset, &mut size).result().ok() }.map(|()| (offset, size))
    };
    assert_eq!([0, 1, 2, 3].map(parameter), [Some((0, 8)), Some((8, 8)), Some((16, 4)), None]);
}
