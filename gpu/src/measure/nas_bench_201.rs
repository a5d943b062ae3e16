//! The network of section 5.2: every kernel for 3×3 convolutions on all edges, and whole steps.

use advantage_nas::network::nas_bench_201::{BATCH, Candidates, Data, Images, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Supernet};

use super::{LAUNCHES, Timing, Work};
use crate::check::mix;
use crate::device::Device;
use crate::error::Result;
use crate::model;
use crate::model::nas_bench_201::{Arithmetic, Asked, Cells, Network, lanes};
use crate::nas_bench_201::order::{Kind, Launch};
use crate::nas_bench_201::{NasBench201Supernet, Settings, supernet};

/// A network that is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Size {
    /// Cells of every stage.
    pub cells: usize,
    /// Channels of the first stage.
    pub channels: usize,
    /// Images of a minibatch.
    pub batch: usize,
}

/// That of section 5.2.
pub const PAPER: Size = Size { cells: 5, channels: 16, batch: BATCH };
/// One for a software device.
pub const SMALL: Size = Size { cells: 1, channels: 2, batch: 2 };

impl Size {
    /// The parent network, without zero operations.
    ///
    /// # Errors
    /// For sizes outside their range.
    pub fn parent(&self) -> advantage_nas::Result<Parent> {
        let skeleton = Skeleton { cells: self.cells, channels: self.channels, ..Skeleton::paper() };
        Parent::new(skeleton, &Candidates::without_zero())
    }

    /// Its model with so many trials.
    ///
    /// # Errors
    /// For sizes that kernels can't count.
    pub fn model(&self, trials: usize) -> advantage_nas::Result<Network> {
        Network::new(self.parent()?, self.batch, trials)
    }

    /// The supernet of so many trials, on images that are made up: two minibatches for each half.
    fn supernet(&self, device: &Device, trials: &[u32]) -> advantage_nas::Result<NasBench201Supernet> {
        let classes = Skeleton::paper().classes;
        let count = (4 * self.batch).next_multiple_of(2 * classes);
        let pixels: Vec<u8> = (0..count * PIXELS).map(|place| (mix(place) >> 16) as u8).collect();
        let labels: Vec<u8> = (0..count).map(|image| (image % classes) as u8).collect();
        let names: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        let streams = Streams::new(1);
        let data = Data::new(Images::new(pixels, labels, names)?, None, &streams)?;
        let settings = Settings { batch: self.batch, weights: paper_sgd(), activity: Activity::One, tf32: false };
        supernet(device, self.parent()?, settings, data, &streams, trials)
    }
}

/// What a time is taken of.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed {
    /// As in the model.
    pub what: String,
    /// What has to be done at least; of uniform cells the mean.
    pub work: Work,
    /// Whether the host waits for the answer: then the time is the wall's, else the device's, of many calls in a row.
    pub waits: bool,
    /// Launches or steps of a call.
    pub calls: u32,
}

/// Kernels and steps for so many trials together. Each time is taken `times` times, after one that does not count; the second-level cache is left as
/// the last launch left it: warm for kernels, which are repeated, and as in a search for steps.
///
/// # Errors
/// What the device reports.
///
/// # Panics
/// If `times` is zero.
pub fn times(device: &Device, size: Size, trials: usize, times: usize) -> Result<Vec<Timing>> {
    let mut out = Vec::new();
    let mut taken = |timed: Timed, call: &mut dyn FnMut() -> Result<()>| {
        let Timed { what, work, waits, calls } = timed;
        call()?;
        device.synchronize()?;
        let mut taken = Vec::with_capacity(times);
        for _ in 0..times {
            taken.push(if waits {
                let clock = std::time::Instant::now();
                call()?;
                clock.elapsed() / calls
            } else {
                device.time(&mut *call)? / calls
            });
        }
        out.push(Timing::new(what, trials, !waits, taken, work));
        Ok(())
    };
    kernels(device, size, trials, &mut taken)?;
    steps(device, size, trials, &mut taken)?;
    Ok(out)
}

/// Operations of the multiply-adds of convolutions in some steps' kernels of a name, or of all; the mean over the steps.
fn flop(steps: &[model::Step], kernel: Option<&str>) -> u64 {
    let kernels = steps.iter().flat_map(|step| &step.kernels);
    let wanted = kernels.filter(|work| kernel.is_none_or(|kernel| work.what == kernel));
    // The convolution of the images is always in single precision, and has next to nothing beside it.
    let sum: f64 = wanted.map(|work| if work.what.contains("stem") { work.fp32 } else { work.tf32 }).sum();
    (2.0 * sum / steps.len() as f64) as u64
}

/// Prepares every kernel for 3×3 convolutions on all edges, the first one of each name, and hands out what launches it [`LAUNCHES`] times.
///
/// # Errors
/// What the device or `visit` reports.
pub fn kernels(
    device: &Device,
    size: Size,
    trials: usize,
    mut visit: impl FnMut(Timed, &mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let numbers: Vec<u32> = (0..trials as u32).collect();
    let mut supernet = size.supernet(device, &numbers)?;
    let model = size.model(trials)?;
    let cells = lanes(&size.parent()?, Cells::Convolutions, trials)?;
    for asked in [Asked::Weights, Asked::Gradient] {
        ask(&mut supernet, &numbers, asked, &cells[0], 0)?;
        let counted = model.steps(asked, Cells::Convolutions, Arithmetic::Tf32)?;
        let weights = asked == Asked::Weights;
        let kind = Kind { backward: true, weights, edges: !weights };
        for (what, launch) in supernet.network().launches(kind) {
            // The way back of both is the same but for sums; what only one of them has is timed once.
            if !weights && launch != Launch::Answers {
                continue;
            }
            let of_kernel: Vec<_> = counted[0].kernels.iter().filter(|work| work.what == what).collect();
            let launches = of_kernel.len().max(1) as u64;
            let work = match flop(&counted, Some(&what)) / launches {
                0 => Work::Bytes((of_kernel.iter().map(|work| work.l2_bytes).sum::<f64>() / launches as f64) as u64),
                flop => Work::Flop(flop),
            };
            let graph = supernet.network_mut().repeat(launch, LAUNCHES)?;
            visit(Timed { what, work, waits: false, calls: LAUNCHES }, &mut || graph.launch())?;
        }
    }
    Ok(())
}

/// Prepares a supernet, and hands out what takes steps of each kind; every step has other architectures, where cells are uniform, and another minibatch.
/// Steps of the weights are handed out [`LAUNCHES`] at a time.
///
/// # Errors
/// What the device or `visit` reports.
pub fn steps(
    device: &Device,
    size: Size,
    trials: usize,
    mut visit: impl FnMut(Timed, &mut dyn FnMut() -> Result<()>) -> Result<()>,
) -> Result<()> {
    let numbers: Vec<u32> = (0..trials as u32).collect();
    let mut supernet = size.supernet(device, &numbers)?;
    let model = size.model(trials)?;
    for cells in Cells::ALL {
        let architectures = lanes(&size.parent()?, cells, trials)?;
        for asked in Asked::ALL {
            let counted = model.steps(asked, cells, Arithmetic::Tf32)?;
            let waits = asked != Asked::Weights;
            let calls = if waits { 1 } else { LAUNCHES };
            let timed = Timed { what: counted[0].what.clone(), work: Work::Flop(flop(&counted, None)), waits, calls };
            let mut step = 0;
            visit(timed, &mut || {
                for _ in 0..calls {
                    let lanes = &architectures[step % architectures.len()];
                    ask(&mut supernet, &numbers, asked, lanes, step as u64)?;
                    step += 1;
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// A step of all trials.
fn ask(
    supernet: &mut NasBench201Supernet,
    numbers: &[u32],
    asked: Asked,
    lanes: &[Architecture],
    step: u64,
) -> Result<()> {
    let (set, want) = match asked {
        Asked::Weights => (Set::Training, Want::Loss),
        Asked::Gradient => (Set::Validation, Want::Gradient),
        Asked::Loss => (Set::Validation, Want::Loss),
    };
    let shape = supernet.space().shape().clone();
    let request = |(&trial, architecture)| {
        let proposal = Proposal::one_hot(&shape, architecture, want)?;
        Ok(Request { batch: Batch { trial, set, step }, proposal })
    };
    let requests = numbers.iter().zip(lanes).map(request).collect::<advantage_nas::Result<Vec<_>>>()?;
    if asked == Asked::Weights {
        let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
        supernet.weight_step(&vec![step; requests.len()], &requests)?;
    } else {
        let mut feedback = vec![Feedback::new(&shape); requests.len()];
        supernet.probe(&requests, &mut feedback)?;
    }
    Ok(())
}
