//! How long does it take? Device time of every kernel, from events; wall time of a whole step, with everything that
//! goes to the device and comes back. Here the toy regression; [`nas_bench_201`] has the network of section 5.2.

pub mod nas_bench_201;

use std::time::{Duration, Instant};

use advantage_nas::network::toy::{POSITIONS, TAPS, Toy};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, OpTable, Shape, Supernet};
use serde::Serialize;

use crate::device::Device;
use crate::error::Result;
use crate::kernels::toy::{Answers, Asks, Edges, Images, SOURCE, Shares, Sizes, Slopes, Sums, Weights};
use crate::kernels::{Kernels, Version};
use crate::toy::ToySupernet;

/// A time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// What took it.
    pub what: String,
    /// Trials that were answered together.
    pub trials: usize,
    /// Whether the time is the device's, from event to event, or the wall's.
    pub device_time: bool,
    /// Median, in microseconds.
    pub median_us: f64,
    /// Least, in microseconds.
    pub least_us: f64,
    /// Times that were taken.
    pub times: usize,
    /// What bounds it.
    pub work: Work,
}

/// What has to be done at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Floating-point operations of the fused multiply-adds that the network needs.
    Flop(u64),
    /// Bytes of what is written, and of what is read, each once.
    Bytes(u64),
}

impl Timing {
    fn new(what: String, trials: usize, device_time: bool, mut times: Vec<Duration>, work: Work) -> Self {
        times.sort();
        let microseconds = |time: Duration| time.as_secs_f64() * 1e6;
        Self {
            what,
            trials,
            device_time,
            median_us: microseconds(times[times.len() / 2]),
            least_us: microseconds(times[0]),
            times: times.len(),
            work,
        }
    }
}

/// Launches of a graph that is timed: so that what an event costs does not count. They are one graph, as in a search: many
/// kernels are shorter than it takes the host to launch one.
pub const LAUNCHES: u32 = 10;

/// Kernels and steps of the toy regression for so many trials together. Each time is taken `times` times, after one
/// that does not count; the second-level cache is left as the last launch left it, as in a search: warm.
///
/// # Errors
/// What the device reports.
///
/// # Panics
/// If `times` is zero.
pub fn toy(device: &Device, toy: Toy, trials: usize, times: usize) -> Result<Vec<Timing>> {
    let mut out = Vec::new();
    toy_kernels(device, toy, trials, |what, work, launch| {
        launch()?;
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            taken.push(device.time(&mut *launch)? / LAUNCHES);
        }
        out.push(Timing::new(what, trials, true, taken, work));
        Ok(())
    })?;
    toy_steps(device, toy, trials, |what, work, ask| {
        ask()?;
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            let clock = Instant::now();
            ask()?;
            taken.push(clock.elapsed());
        }
        out.push(Timing::new(what, trials, false, taken, work));
        Ok(())
    })?;
    Ok(out)
}

/// The proposals of the toy regression that are timed, by name: one, two, all candidates of every edge.
fn proposals(toy: Toy, shape: &Shape) -> Result<Vec<(&'static str, Proposal)>> {
    let one_hot = Proposal::one_hot(shape, &Architecture::first(shape), Want::Gradient)?;
    let mut kinds = vec![("one candidate", one_hot.clone())];
    if toy.candidates > 1 {
        let mut two = one_hot.clone();
        two.set_pairs(&vec![[0, 1]; toy.edges], Want::Gradient)?;
        kinds.push(("two candidates", two));
    }
    let mut all = one_hot;
    all.set_dense(&OpTable::filled(shape, 1.0 / toy.candidates as f64), Want::Gradient)?;
    kinds.push(("all candidates", all));
    Ok(kinds)
}

/// Operations of a step: teacher and mixture forward; each slot again for its slope, unless it is the mixture.
fn flop(toy: Toy, trials: usize, slots: usize) -> Work {
    let convolutions = if slots == 1 { 2 } else { 2 + slots };
    Work::Flop(2 * (trials * toy.edges * toy.batch * POSITIONS * TAPS * convolutions) as u64)
}

/// Prepares every kernel of the toy regression, fast and naive, for so many trials together, and hands out what launches it [`LAUNCHES`] times,
/// with its name and what a launch has to do.
///
/// # Errors
/// What the device or `visit` reports.
pub fn toy_kernels(
    device: &Device,
    toy: Toy,
    trials: usize,
    mut visit: impl FnMut(String, Work, &mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let kernels = Kernels::load(device, &SOURCE)?;
    for (name, proposal) in proposals(toy, toy.space()?.shape())? {
        let slots = proposal.activity().slots(toy.candidates);
        let sizes = Sizes { toy, trials, requests: trials, slots };
        let one = proposal.activity() == Activity::One;
        let key = device.upload("the key", &[0u32; 8])?;
        let mut asks = Asks::new(device, sizes)?;
        for trial in 0..trials {
            asks.push(trial, trial as u64, 0, (0..toy.edges * slots).map(|at| (at % slots, 1.0)))?;
        }
        asks.upload()?;
        let zeros = |count: usize| vec![0.0f32; count];
        let places = trials * toy.edges;
        let filters = zeros(places * toy.candidates * TAPS);
        let weights = Weights::new(device, toy, &filters, &zeros(places * POSITIONS), &vec![0; places])?;
        let mut images = device.zeros("images", sizes.images())?;
        let mut shares = Shares::new(device, &sizes)?;
        let mut slopes = device.zeros("slopes", sizes.slopes())?;
        let sums = Sums::Slopes(slots);
        let mut answers = device.zeros("answers", trials * sizes.sums(slots))?;
        let wanted = if one { Slopes::OfOne } else { Slopes::OfSeveral };
        let bytes = |values: usize| Work::Bytes((values * size_of::<f32>()) as u64);
        for version in [Version::Fast, Version::Naive] {
            let label = |kernel: &str| {
                if version == Version::Fast { format!("{kernel}, {name}") } else { format!("{kernel}_naive, {name}") }
            };
            let mut timed = |kernel, work, launch: &mut dyn FnMut() -> Result<()>| -> Result<()> {
                let graph = device.record(label(kernel), || (0..LAUNCHES).try_for_each(|_| launch()))?;
                visit(label(kernel), work, &mut || graph.launch())
            };
            timed("toy_images", bytes(sizes.images()), &mut || {
                Images { key: &key, asks: &asks, images: &mut images }.launch(&kernels, version)
            })?;
            timed("toy_edges", flop(toy, trials, slots), &mut || {
                let (shares, slopes) = (&mut shares, &mut slopes);
                Edges { asks: &asks, weights: &weights, wanted, images: &images, shares, slopes }
                    .launch(&kernels, version)
            })?;
            // The differences and as many rows of slopes as candidates.
            timed("toy_answers", bytes(sizes.shares() * (1 + slots)), &mut || {
                Answers { asks: &asks, sums, shares: &shares, slopes: &slopes, answers: &mut answers }
                    .launch(&kernels, version)
            })?;
        }
    }
    Ok(())
}

/// Prepares a supernet of the toy regression for so many trials together, and hands out what asks it for a step of each kind, with its name and what it
/// has to do; every call asks for another minibatch.
///
/// # Errors
/// What the device or `visit` reports.
pub fn toy_steps(
    device: &Device,
    toy: Toy,
    trials: usize,
    mut visit: impl FnMut(String, Work, &mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let numbers: Vec<u32> = (0..trials as u32).collect();
    let mut supernet = ToySupernet::new(device, toy, &Streams::new(1), &numbers)?;
    let shape = supernet.space().shape().clone();
    let mut feedback = vec![Feedback::new(&shape); trials];
    for (name, proposal) in proposals(toy, &shape)? {
        let slots = proposal.activity().slots(toy.candidates);
        let mut step = 0;
        visit(format!("step, {name}"), flop(toy, trials, slots), &mut || {
            let request = |&trial: &u32| {
                let batch = Batch { trial, set: Set::Validation, step };
                Request { batch, proposal: proposal.clone() }
            };
            let requests: Vec<Request> = numbers.iter().map(request).collect();
            step += 1;
            Ok(supernet.probe(&requests, &mut feedback)?)
        })?;
    }
    Ok(())
}
