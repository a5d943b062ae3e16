//! The toy regression on the first CUDA device, the paper's size, one trial and a hundred together: every kernel by the device's clock, from event to
//! event, and whole steps by the wall's, with everything that goes to the device and comes back. The second-level cache is warm, as in a search. Without
//! a device it says SKIPPED.

use std::path::PathBuf;

use advantage_nas::network::toy::Toy;
use advantage_nas_gpu::measure::{LAUNCHES, toy_kernels, toy_steps};
use advantage_nas_gpu::{Device, Result};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};

/// Trials that are answered together.
const TRIALS: [usize; 2] = [1, 100];

fn kernels(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, trials: usize) -> Result<()> {
    toy_kernels(device, Toy::paper(), trials, |what, _, launch| {
        group.bench_function(what, |bencher| {
            bencher.iter_custom(|launches| {
                let time = device.time(|| (0..launches).try_for_each(|_| launch()));
                time.expect("launches of a kernel that was prepared") / LAUNCHES
            });
        });
        Ok(())
    })
}

fn steps(group: &mut BenchmarkGroup<'_, WallTime>, device: &Device, trials: usize) -> Result<()> {
    toy_steps(device, Toy::paper(), trials, |what, _, ask| {
        group.bench_function(what, |bencher| bencher.iter(|| ask().expect("a step of the toy regression")));
        Ok(())
    })
}

fn toy(criterion: &mut Criterion) {
    let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("benches");
    let device = match Device::open(0, cache) {
        Ok(device) => device,
        Err(why) => return println!("SKIPPED: benches of the GPU: {why}"),
    };
    println!("{}", device.info().describe());
    for trials in TRIALS {
        let mut group = criterion.benchmark_group(format!("cuda_toy/{trials}"));
        group.sample_size(10);
        let done = kernels(&mut group, &device, trials).and_then(|()| steps(&mut group, &device, trials));
        done.expect("the paper's sizes on this device");
        group.finish();
    }
}

criterion_group!(benches, toy);
criterion_main!(benches);
