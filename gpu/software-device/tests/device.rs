//! Unmodified cudarc programs on the software device.

mod common;

use common::{context, module, parent};
use cudarc::driver::{LaunchConfig, PushKernelArg, sys};

const SOUND: &str = include_str!("kernels/sound.cu");

#[test]
fn kernels_and_graphs_give_exact_results() {
    if parent("kernels_and_graphs_give_exact_results", |device| device).is_some() {
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
    if let Some(text) = parent("speed", |device| device) {
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
