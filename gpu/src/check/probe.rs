//! The kernels that measure a device: what they compute along the way, against the host. One that computes something else measures something
//! else.

use advantage_nas::comparison::Comparison;
use advantage_nas::tolerance::Tolerance;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::probe::{ACCUMULATORS, Ffma, LOADS, Nothing, PRODUCTS, Reads, THREADS, Tf32, UniformLoads};
use crate::kernels::{Kernels, Version};

/// Two blocks, few steps, numbers that are exact in every format.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels) -> Result<Vec<Comparison>> {
    const BLOCKS: usize = 2;
    const STEPS: usize = 3;
    const FOURS: usize = BLOCKS * THREADS * 2 + 5;
    let (factor, term) = (0.5f32, 2.0f32);
    let factors = device.upload("factors", &[factor, term])?;
    let mut sums = device.upload("sums", &[f32::NAN; BLOCKS * THREADS])?;
    let mut cycles = device.zeros("cycles", BLOCKS)?;
    let mut checks = Vec::new();
    let mut done = device.upload("done", &[7u32])?;
    Nothing { done: &mut done }.launch(kernels, Version::Fast)?;
    checks.push(Comparison::equal("probe_nothing", &done.to_vec()?, &[7]));

    let (steps, blocks) = (STEPS, BLOCKS);
    let repeated = |of: &dyn Fn(usize) -> f64| -> Vec<f64> { (0..BLOCKS * THREADS).map(|i| of(i % THREADS)).collect() };
    let close = Tolerance::OfLargest(1e-6);
    Ffma { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }.launch(kernels, Version::Fast)?;
    let halved = |mut sum: f64| {
        (0..STEPS).for_each(|_| sum = sum * f64::from(factor) + f64::from(term));
        sum
    };
    let expected = repeated(&|thread| (0..ACCUMULATORS).map(|i| halved((thread + i) as f64)).sum());
    checks.push(Comparison::new("probe_ffma", &sums.to_vec()?, &expected, close));

    Tf32 { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }.launch(kernels, Version::Fast)?;
    // Four sums of a lane, each of eight products.
    let expected = repeated(&|_| (PRODUCTS * STEPS * 4 * 8) as f64 * f64::from(factor) * f64::from(term));
    checks.push(Comparison::new("probe_tf32", &sums.to_vec()?, &expected, close));

    UniformLoads { factors: &factors, sums: &mut sums, cycles: &mut cycles, blocks, steps }
        .launch(kernels, Version::Fast)?;
    let expected = repeated(&|_| (LOADS * STEPS * 2) as f64 * f64::from(factor + term));
    checks.push(Comparison::new("probe_uniform_loads", &sums.to_vec()?, &expected, close));

    let values: Vec<f32> = (0..4 * FOURS).map(|i| (i % 13) as f32).collect();
    let values_there = device.upload("values", &values)?;
    Reads { values: &values_there, fours: FOURS, sums: &mut sums, blocks, steps }.launch(kernels, Version::Fast)?;
    let mut expected = vec![0.0f64; BLOCKS * THREADS];
    for (four, values) in values.chunks(4).enumerate() {
        expected[four % (BLOCKS * THREADS)] += STEPS as f64 * values.iter().map(|&value| f64::from(value)).sum::<f64>();
    }
    checks.push(Comparison::new("probe_reads", &sums.to_vec()?, &expected, close));
    Ok(checks)
}

/// Loads the kernels and compares.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &crate::kernels::probe::SOURCE)?)
}
