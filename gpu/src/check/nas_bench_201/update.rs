//! Clipping and descent: the kernels of `kernels/nas_bench_201/update.cu` against the core's optimiser.

use std::ops::Range;

use advantage_nas::comparison::Comparison;
use advantage_nas::network::Layout;
use advantage_nas::optim;
use advantage_nas::tolerance::{F32_FEW_ROUNDINGS, F32_NETWORK, Tolerance};

use super::numbers::{Held, Numbers, Part};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::nas_bench_201::update::{ClipUpdate, FinishGradient, Pieces, SOURCE};
use crate::kernels::nas_bench_201::{Ask, Plan, Sizes, Take};
use crate::kernels::{Kernels, Version};

/// Parameters and settings of an update; of three lanes the one in the middle is asked nothing, and of three trials one has no lane.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Lengths of the parameters.
    pub lengths: &'static [usize],
    /// Parts of the gradient of each.
    pub slices: &'static [usize],
    /// Weight decay.
    pub decay: f32,
    /// Largest norm.
    pub clip: f64,
}

/// Parameters of all lengths around that of a piece, with and without decay, clipped and not.
pub const SIZES: [Case; 2] = [
    Case { lengths: &[5, 1, 1023, 1024, 1025, 2500, 37], slices: &[3, 1, 2, 16, 8, 4, 1], decay: 5e-2, clip: 10.0 },
    Case { lengths: &[3, 1030], slices: &[1, 4], decay: 0.0, clip: 1e6 },
];

const LANES: [usize; 2] = [0, 2];
const TRIALS: [usize; 2] = [2, 0];
const RATES: [f32; 3] = [0.1, f32::NAN, 0.025];
const MOMENTUM: f32 = 0.9;

/// The kernels of the update against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device, cases: &[Case]) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &SOURCE)?, cases)
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels, cases: &[Case]) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for case in cases {
        for version in [Version::Fast, Version::Naive] {
            check(device, kernels, case, version, &mut checks)?;
        }
    }
    Ok(checks)
}

/// What becomes of a trial.
struct Expected {
    gradients: Vec<Vec<f64>>,
    velocities: Vec<Vec<f64>>,
    weights: Vec<Vec<f64>>,
    norm: f64,
}

impl Expected {
    /// Of the parameters that take part, in double precision; `weights` and `velocities` of all. `gradients`: slices added up.
    fn new(
        case: &Case,
        used: &[bool],
        gradients: &[Vec<f64>],
        weights: Vec<Vec<f64>>,
        velocities: Vec<Vec<f64>>,
        rate: f64,
    ) -> Self {
        let mut of = Self { gradients: gradients.to_vec(), velocities, weights, norm: 0.0 };
        let mut together = Vec::new();
        for (parameter, used) in used.iter().enumerate() {
            let gradient = &mut of.gradients[parameter];
            if *used {
                optim::add_weight_decay(gradient, &of.weights[parameter], f64::from(case.decay))
                    .expect("as many weights");
                together.extend_from_slice(gradient);
            } else {
                gradient.fill(0.0);
            }
        }
        of.norm = optim::clip_norm(&mut together, case.clip).expect("a limit");
        let mut rest = &*together;
        for parameter in (0..used.len()).filter(|parameter| used[*parameter]) {
            let (gradient, others) = rest.split_at(of.weights[parameter].len());
            rest = others;
            let mut optimiser = optim::Nesterov::new(gradient.len(), f64::from(MOMENTUM)).expect("a momentum");
            optimiser.velocity_mut().copy_from_slice(&of.velocities[parameter]);
            optimiser.step(&mut of.weights[parameter], gradient, rate).expect("as many weights");
            of.velocities[parameter].copy_from_slice(optimiser.velocity());
        }
        of
    }
}

fn check(
    device: &Device,
    kernels: &Kernels,
    case: &Case,
    version: Version,
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let label =
        format!("{version:?}, {} parameters, decay {}, clipped to {}", case.lengths.len(), case.decay, case.clip);
    // A gap after every parameter, so that a value too far is seen.
    let layout = Layout::new(case.lengths.iter().map(|length| length + 1), 4);
    let ranges: Vec<Range<usize>> =
        layout.ranges().iter().zip(case.lengths).map(|(range, length)| range.start..range.start + length).collect();
    let mut begins = Vec::new();
    let mut partials = 3;
    for (length, slices) in case.lengths.iter().zip(case.slices) {
        begins.push(partials);
        partials += length * slices + 1;
    }
    let sizes = Sizes {
        partials: partials as u32,
        weights: layout.len() as u32,
        lanes: 3,
        trials: 3,
        ..Sizes::new(1, 1, 1, 1, case.lengths.len(), 1)?
    };
    let (whole, mut numbers) = (layout.len(), Numbers::new(case.lengths.len() as u64));
    let pieces = Pieces::new(device, &ranges)?;
    let mut plan = Plan::new(device, sizes)?;
    let mut parts_of = vec![f32::NAN; 3 * partials];
    let [mut weights, mut velocities] = [(); 2].map(|()| vec![f32::NAN; 3 * whole]);
    for trial in 0..3 {
        for range in &ranges {
            for at in range.clone() {
                weights[trial * whole + at] = numbers.number();
                velocities[trial * whole + at] = numbers.number();
            }
        }
    }
    let used = |lane: usize, parameter: usize| case.lengths.len() < 3 || parameter % 4 != (lane + 1) % 3;
    let mut expected = Vec::new();
    for (&lane, &trial) in LANES.iter().zip(&TRIALS) {
        plan.ask(
            lane,
            Ask { present: 1, trial: trial as i32, images: 1, outcome: 0, running: 0, edges: 0, units: 0, spare: 0 },
        );
        let mut gradients = Vec::new();
        for (parameter, (&length, &slices)) in case.lengths.iter().zip(case.slices).enumerate() {
            let used = used(lane, parameter);
            let partial = if used { begins[parameter] as u32 } else { u32::MAX };
            plan.take(lane, parameter, Take { used: i32::from(used), slices: slices as i32, partial });
            let mut sum = vec![0.0; length];
            if used {
                for (at, to) in
                    parts_of[lane * partials + begins[parameter]..][..length * slices].iter_mut().enumerate()
                {
                    *to = numbers.number();
                    sum[at % length] += f64::from(*to);
                }
            }
            gradients.push(sum);
        }
        let of = |values: &[f32]| -> Vec<Vec<f64>> {
            let values = &values[trial * whole..];
            ranges.iter().map(|range| values[range.clone()].iter().map(|value| f64::from(*value)).collect()).collect()
        };
        let used: Vec<bool> = (0..case.lengths.len()).map(|parameter| used(lane, parameter)).collect();
        let rate = f64::from(RATES[lane]);
        expected.push((lane, trial, Expected::new(case, &used, &gradients, of(&weights), of(&velocities), rate)));
    }
    plan.upload()?;
    let mut weights = Held::new(device, "weights", weights)?;
    let mut velocities = Held::new(device, "velocities", velocities)?;
    let mut gradients = Held::new(device, "gradients", vec![f32::NAN; 3 * whole])?;
    let mut squares = Held::new(device, "squares", vec![f64::NAN; 3 * pieces.count()])?;
    let mut norms = Held::new(device, "norms", vec![f64::NAN; 3])?;
    let partials = device.upload("partial gradients", &parts_of)?;
    let rates = device.upload("learning rates", &RATES)?;
    let finish = |kernel: &str| {
        let what = format!("{kernel}, {label}, flags {}", device.flags());
        device.synchronize().map_err(|error| error.after(&what))
    };

    FinishGradient {
        plan: &plan,
        pieces: &pieces,
        partials: &partials,
        weights: &weights.buffer,
        gradients: &mut gradients.buffer,
        squares: &mut squares.buffer,
        decay: case.decay,
    }
    .launch(kernels, version)?;
    finish("finish_gradient")?;
    ClipUpdate {
        plan: &plan,
        pieces: &pieces,
        gradients: &gradients.buffer,
        squares: &squares.buffer,
        rates: &rates,
        velocities: &mut velocities.buffer,
        weights: &mut weights.buffer,
        norms: &mut norms.buffer,
        momentum: MOMENTUM,
        clip: case.clip,
    }
    .launch(kernels, version)?;
    finish("clip_update")?;

    let mut parts: [Vec<Part>; 4] = Default::default();
    // Up to 16 numbers of single precision are added up, of size 1.
    let tolerance = Tolerance::Close { relative: F32_FEW_ROUNDINGS, floor: F32_NETWORK };
    for (lane, trial, expected) in &expected {
        let Expected { gradients, velocities, weights, norm } = expected;
        for (which, (name, values)) in
            [("gradient", gradients), ("velocity", velocities), ("weights", weights)].into_iter().enumerate()
        {
            for (parameter, (range, values)) in ranges.iter().zip(values).enumerate() {
                parts[which].push(Part {
                    name: format!("{name} of parameter {parameter}"),
                    begin: trial * whole + range.start,
                    expected: values.clone(),
                    tolerance,
                });
            }
        }
        parts[3].push(Part {
            name: "norm of the gradient".to_owned(),
            begin: *lane,
            expected: vec![*norm],
            tolerance: Tolerance::OfLargest(F32_FEW_ROUNDINGS),
        });
    }
    gradients.check(&label, &parts[0], checks)?;
    velocities.check(&label, &parts[1], checks)?;
    weights.check(&label, &parts[2], checks)?;
    norms.check(&label, &parts[3], checks)?;
    // Of every piece, from the gradients as they are on the device.
    let (on_device, mut parts) = (gradients.buffer.to_vec()?, Vec::new());
    for (lane, trial, _) in &expected {
        let mut sums = Vec::new();
        for range in &ranges {
            for piece in on_device[trial * whole..][range.clone()].chunks(crate::kernels::nas_bench_201::update::PIECE)
            {
                sums.push(piece.iter().map(|value| f64::from(*value) * f64::from(*value)).sum());
            }
        }
        parts.push(Part {
            name: "squares of the pieces".to_owned(),
            begin: lane * pieces.count(),
            expected: sums,
            tolerance: Tolerance::Close { relative: 1e-12, floor: 0.0 }, // sums of up to 1024 doubles, all of one sign
        });
    }
    squares.check(&label, &parts, checks)
}
