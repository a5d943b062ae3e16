//! What the [`model`](crate::model) assumes of a device, measured on it: the first thing to run where there is a new one.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::device::{Buffer, Device, programmatic};
use crate::error::Result;
use crate::kernels::probe::{ACCUMULATORS, Ffma, LOADS, Nothing, PRODUCTS, Reads, SOURCE, THREADS, Tf32, UniformLoads};
use crate::kernels::{Kernels, Version};
use crate::model::{Assumption, H100};

/// Something that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Measurement {
    /// What.
    pub what: &'static str,
    /// The value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What the model assumes of an H100, where it assumes it.
    pub assumed: Option<f64>,
}

/// How much is done for a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Kernels of a chain.
    chain: usize,
    /// Steps of arithmetic.
    steps: usize,
    /// Blocks of arithmetic per multiprocessor.
    blocks: usize,
    /// Bytes that stay in the second-level cache, and how often they are read.
    cached: (usize, usize),
    /// Bytes that do not.
    uncached: usize,
    /// How often each time is taken; the median counts.
    times: usize,
}

impl Effort {
    /// For a real device: a few seconds.
    pub const WHOLE: Self =
        Self { chain: 100, steps: 1 << 14, blocks: 4, cached: (16 << 20, 50), uncached: 2 << 30, times: 15 };
    /// For the software device.
    pub const SMALL: Self = Self { chain: 5, steps: 2, blocks: 1, cached: (1 << 14, 2), uncached: 1 << 16, times: 2 };
}

/// Bytes of four numbers.
const FOUR: usize = 16;
/// Multiply-adds of a product of 16 × 8 by 8 × 8 numbers.
const PRODUCT: usize = 16 * 8 * 8;
const WARP: usize = 32;

/// Median time of what is submitted, on the device, after once that does not count.
fn median(device: &Device, times: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    work()?;
    let mut taken = (0..times).map(|_| device.time(&mut work)).collect::<Result<Vec<Duration>>>()?;
    taken.sort();
    Ok(taken[taken.len() / 2].as_secs_f64())
}

/// The cycles that most blocks took.
fn cycles_of(cycles: &Buffer<u32>) -> Result<f64> {
    let mut cycles = cycles.to_vec()?;
    cycles.sort_unstable();
    Ok(f64::from(cycles[cycles.len() / 2].max(1)))
}

/// Measures everything.
///
/// # Errors
/// What the device reports.
pub fn measure(device: &Device, effort: Effort) -> Result<Vec<Measurement>> {
    let Effort { chain, steps, blocks: resident, cached, uncached, times } = effort;
    let kernels = Kernels::load(device, &SOURCE)?;
    let mut out = Vec::new();
    let mut add = |assumption: Assumption, value: f64| {
        let Assumption { what, unit, value: assumed, .. } = assumption;
        out.push(Measurement { what, value, unit, assumed: Some(assumed) });
    };
    let mut done = device.zeros("what is done", 1)?;
    let graph = device.record("a chain of kernels that do nothing".to_owned(), || {
        (0..chain).try_for_each(|_| Nothing { done: &mut done }.launch(&kernels, Version::Fast))
    })?;
    add(H100.dependent_launch, median(device, times, || graph.launch())? / chain as f64);
    let kernel = kernels.kernel(&Nothing::SIGNATURE);
    let graph = device.record("the same with programmatic launch".to_owned(), || {
        (0..chain).try_for_each(|_| programmatic(device, kernel, &mut done))
    })?;
    add(H100.programmatic_launch, median(device, times, || graph.launch())? / chain as f64);

    let mut host = [0u32];
    let graph =
        device.record("one kernel".to_owned(), || Nothing { done: &mut done }.launch(&kernels, Version::Fast))?;
    let mut trips = Vec::with_capacity(times);
    for _ in 0..=times {
        let clock = Instant::now();
        done.write(&[0])?;
        graph.launch()?;
        done.read(&mut host)?;
        trips.push(clock.elapsed());
    }
    trips.remove(0);
    trips.sort();
    add(H100.round_trip, trips[trips.len() / 2].as_secs_f64());

    let multiprocessors = device.info().multiprocessors as usize;
    let blocks = resident * multiprocessors;
    let factors = device.upload("factors", &[0.5f32, 1.0])?;
    let mut sums = device.zeros("sums", blocks * THREADS)?;
    let mut cycles = device.zeros("cycles", blocks)?;
    let threads = (resident * THREADS * steps) as f64;
    let seconds = median(device, times, || {
        Ffma { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }.launch(&kernels, Version::Fast)
    })?;
    let taken = cycles_of(&cycles)?;
    add(H100.clock, taken / seconds);
    add(H100.fp32, threads * ACCUMULATORS as f64 / taken);
    Tf32 { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }.launch(&kernels, Version::Fast)?;
    add(H100.tf32, threads / WARP as f64 * (PRODUCTS * PRODUCT) as f64 / cycles_of(&cycles)?);
    UniformLoads { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }
        .launch(&kernels, Version::Fast)?;
    let loads = threads / WARP as f64 * LOADS as f64;
    let waves = cycles_of(&cycles)? / loads;

    let bytes = cached.0.max(uncached);
    let values = device.zeros::<f32>("values to read", bytes / size_of::<f32>())?;
    // Four numbers of every thread's are under way at a time: as many threads as fit.
    let readers = 8 * multiprocessors;
    let mut sums = device.zeros("sums", readers * THREADS)?;
    for (assumption, bytes, steps) in [(H100.l2, cached.0, cached.1), (H100.memory, uncached, 1)] {
        let seconds = median(device, times, || {
            let sums = &mut sums;
            Reads { values: &values, fours: bytes / FOUR, sums, blocks: readers, steps }.launch(&kernels, Version::Fast)
        })?;
        add(assumption, (bytes * steps) as f64 / seconds);
    }
    out.push(Measurement {
        what: "load of 16 bytes, the same for a warp",
        value: waves,
        unit: "cycles of shared memory",
        assumed: None,
    });
    Ok(out)
}
