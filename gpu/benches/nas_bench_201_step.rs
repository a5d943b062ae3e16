//! The network of section 5.2 on the first CUDA device, one trial and eight together: every kernel by the device's clock, from event to event, with 3×3
//! convolutions on all edges; whole steps of uniform cells and of such: those of the weights by the device's clock, ten in a row, those of `θ` by the
//! wall's, with everything that goes to the device and comes back. The second-level cache is as the launches left it. Without a device it says SKIPPED.

use std::path::PathBuf;
use std::time::Instant;

use advantage_nas_gpu::measure::nas_bench_201::{PAPER, Timed, kernels, steps};
use advantage_nas_gpu::{Device, Result};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};

/// Trials that are answered together.
const TRIALS: [usize; 2] = [1, 8];

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    device: &Device,
    timed: Timed,
    call: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    group.bench_function(timed.what, |bencher| {
        bencher.iter_custom(|times| {
            let calls = || (0..times).try_for_each(|_| call());
            let time = if timed.waits {
                let clock = Instant::now();
                let mut calls = calls;
                calls().map(|()| clock.elapsed())
            } else {
                device.time(calls)
            };
            time.expect("what was prepared") / timed.calls
        });
    });
    Ok(())
}

fn cells(criterion: &mut Criterion) {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("benches");
    let device = match Device::open(0, cache) {
        Ok(device) => device,
        Err(why) => return println!("SKIPPED: benches of the GPU: {why}"),
    };
    println!("{}", device.info().describe());
    for trials in TRIALS {
        let mut group = criterion.benchmark_group(format!("cuda_nas_bench_201/{trials}"));
        group.sample_size(10);
        kernels(&device, PAPER, trials, |timed, call| bench(&mut group, &device, timed, call)).expect("kernels");
        steps(&device, PAPER, trials, |timed, call| bench(&mut group, &device, timed, call)).expect("steps");
        group.finish();
    }
}

criterion_group!(benches, cells);
criterion_main!(benches);
