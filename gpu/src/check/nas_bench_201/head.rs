//! What is behind the last node: the kernels of `kernels/nas_bench_201/head.cu`.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::nas_bench_201::parent::{NORM_EPSILON, NORM_MOMENTUM};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_NETWORK, F64_SUMS, Tolerance, central_difference,
};
use advantage_nas_oracles::layers::{Moments, normalize, relu};
use ndarray::{Array1, Array2, Array4, ArrayView4, Axis};

use super::numbers::{Held, Numbers, Part};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::nas_bench_201::head::{HeadFinish, HeadForward, HeadWeights, SOURCE};
use crate::kernels::nas_bench_201::{Ask, Head, Plan, Sample, Sizes, TILE_ROWS, tiles};
use crate::kernels::{Kernels, Version};

/// Sizes of a head, and how many images two lanes are asked for; a third lane between them is asked nothing.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Channels.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
    /// Classes.
    pub classes: usize,
    /// Images of a minibatch, at most.
    pub batch: usize,
    /// Images of the lanes.
    pub images: [usize; 2],
}

/// More channels and classes than a warp has lanes, odd numbers of images, one image.
pub const SIZES: [Case; 3] = [
    Case { channels: 37, side: 8, classes: 35, batch: 9, images: [9, 4] },
    Case { channels: 1, side: 8, classes: 1, batch: 2, images: [1, 2] },
    Case { channels: 5, side: 16, classes: 10, batch: 3, images: [3, 2] },
];

/// As many channels and images as in the paper.
pub const PAPER: [Case; 1] = [Case { channels: 64, side: 8, classes: 10, batch: 64, images: [64, 64] }];

/// What a trial has learned.
#[derive(Clone, Debug)]
struct Weights {
    /// `[classes, channels]`
    linear: Array2<f64>,
    /// `[classes]`
    bias: Array1<f64>,
    /// `[channels]`
    scale: Array1<f64>,
    /// `[channels]`
    shift: Array1<f64>,
}

/// What the kernels must compute.
struct Expected {
    moments: Moments,
    /// `[images, channels]`
    features: Array2<f64>,
    /// `[images, classes]`
    logits: Array2<f64>,
    /// Of every image.
    losses: Vec<f64>,
    right: Vec<f64>,
    /// `[images, classes]`
    logit_slopes: Array2<f64>,
    /// `[images, channels]`
    feature_slopes: Array2<f64>,
    /// `[channels, images]` each.
    sums: [Array2<f64>; 2],
    /// In the order of the partial gradients.
    gradients: Weights,
}

impl Expected {
    /// x: `[images, channels, side, side]`
    fn new(weights: &Weights, x: &Array4<f64>, labels: &[usize]) -> Self {
        let (images, channels, side, _) = x.dim();
        let pixels = (side * side) as f64;
        let (normal, moments) = normalize(x);
        let inverse = moments.variance.mapv(|variance| 1.0 / (variance + NORM_EPSILON).sqrt());
        let by_channel =
            |values: &Array1<f64>| values.to_shape((1, channels, 1, 1)).expect("a channel each").to_owned();
        let y = &normal * &by_channel(&weights.scale) + by_channel(&weights.shift);
        let features = relu(&y).sum_axis(Axis(3)).sum_axis(Axis(2)) / pixels;
        let logits = features.dot(&weights.linear.t()) + &weights.bias;
        let mut expected = Self {
            losses: Vec::new(),
            right: Vec::new(),
            logit_slopes: Array2::zeros(logits.dim()),
            feature_slopes: Array2::zeros(features.dim()),
            sums: [(); 2].map(|()| Array2::zeros((channels, images))),
            gradients: weights.clone(),
            moments,
            features,
            logits,
        };
        for (image, label) in labels.iter().enumerate() {
            let row = expected.logits.row(image);
            let total = row.mapv(f64::exp).sum();
            expected.losses.push(total.ln() - row[*label]);
            let largest = (0..row.len()).rev().max_by(|a, b| row[*a].total_cmp(&row[*b]));
            expected.right.push(f64::from(u8::from(largest == Some(*label))));
            for class in 0..row.len() {
                let probability = row[class].exp() / total;
                let hit = f64::from(u8::from(class == *label));
                expected.logit_slopes[[image, class]] = (probability - hit) / images as f64;
            }
        }
        expected.feature_slopes = expected.logit_slopes.dot(&weights.linear);
        for image in 0..images {
            for channel in 0..channels {
                let slope = expected.feature_slopes[[image, channel]] / pixels;
                let plane =
                    |values: &Array4<f64>| values.index_axis(Axis(0), image).index_axis(Axis(0), channel).to_owned();
                for (y, x) in plane(&y).iter().zip(&plane(x)) {
                    if *y > 0.0 {
                        expected.sums[0][[channel, image]] += slope;
                        expected.sums[1][[channel, image]] += slope * (x - expected.moments.mean[channel]);
                    }
                }
            }
        }
        expected.gradients = Weights {
            linear: expected.logit_slopes.t().dot(&expected.features),
            bias: expected.logit_slopes.sum_axis(Axis(0)),
            scale: expected.sums[1].sum_axis(Axis(1)) * inverse,
            shift: expected.sums[0].sum_axis(Axis(1)),
        };
        expected
    }
}

/// Two trials, two lanes that are asked something, and one that is not.
struct Data {
    case: Case,
    trials: Vec<Weights>,
    /// Of every lane.
    x: [Vec<f32>; 2],
    labels: [Vec<usize>; 2],
}

const LANES: [usize; 2] = [0, 2];
/// The trial of a lane: not the lane's number.
const TRIALS: [usize; 2] = [1, 0];
const OUTCOMES: [usize; 2] = [3, 0];
const PLACES: usize = 4;

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

impl Data {
    fn new(case: Case) -> Self {
        let Case { channels, side, classes, images, .. } = case;
        let mut numbers = Numbers::new(channels as u64);
        let trials = (0..2).map(|_| Weights {
            linear: Array2::from_shape_simple_fn((classes, channels), || f64::from(2.0 * numbers.number())),
            bias: Array1::from_shape_simple_fn(classes, || f64::from(numbers.number())),
            scale: Array1::from_shape_simple_fn(channels, || f64::from(numbers.number())),
            shift: Array1::from_shape_simple_fn(channels, || f64::from(0.5 * numbers.number())),
        });
        let mut trials: Vec<Weights> = trials.collect();
        if classes > 1 {
            // The first two have the same logits, often the largest: it is the first that counts.
            for Weights { linear, bias, .. } in &mut trials {
                let row = linear.row(0).to_owned();
                linear.row_mut(1).assign(&row);
                bias[0] += 4.0;
                bias[1] = bias[0];
            }
        }
        // Channels with means of their own, which are large against what is around them.
        let x = images.map(|images| {
            let value = |at: usize| (at / (side * side) % channels) as f32 - 2.0 + numbers.number();
            (0..images * channels * side * side).map(value).collect()
        });
        let labels = images.map(|images| (0..images).map(|_| numbers.below(classes)).collect());
        Self { case, trials, x, labels }
    }

    fn expected(&self, lane: usize) -> Expected {
        let Case { channels, side, images, .. } = self.case;
        let x = Array4::from_shape_vec((images[lane], channels, side, side), wide(&self.x[lane])).expect("the images");
        Expected::new(&self.trials[TRIALS[lane]], &x, &self.labels[lane])
    }
}

/// `[channels, tiles of a minibatch]` pairs of mean and sum of squared deviations.
fn statistics(x: ArrayView4<'_, f64>, batch: usize) -> Vec<f32> {
    let (images, channels, side, _) = x.dim();
    let per_tile = if side < 16 { 2 } else { 1 };
    let mut out = vec![f32::NAN; 2 * channels * tiles(side, batch)];
    for channel in 0..channels {
        for tile in 0..tiles(side, images) {
            let (first, top) =
                if side < 16 { (2 * tile, 0) } else { (tile * TILE_ROWS / side, tile * TILE_ROWS % side) };
            let mut values = Vec::new();
            for image in first..(first + per_tile).min(images) {
                for y in top..top + TILE_ROWS {
                    values.extend((0..side).map(|column| x[[image, channel, y, column]]));
                }
            }
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
            let at = 2 * (channel * tiles(side, batch) + tile);
            (out[at], out[at + 1]) = (mean as f32, squares as f32);
        }
    }
    out
}

/// One after the other, from multiples of four on, with room between them.
struct Room(usize);

impl Room {
    fn take(&mut self, length: usize) -> u32 {
        let begin = (self.0 + 1).next_multiple_of(4);
        self.0 = begin + length;
        begin as u32
    }

    fn len(&self) -> u32 {
        (self.0 + 1).next_multiple_of(4) as u32
    }
}

/// The kernels of the head against the host.
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
    for &case in cases {
        for version in [Version::Fast, Version::Naive] {
            check(device, kernels, &Data::new(case), version, &mut checks)?;
        }
    }
    Ok(checks)
}

fn check(
    device: &Device,
    kernels: &Kernels,
    case: &Data,
    version: Version,
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let Case { channels, side, classes, batch, images } = case.case;
    let label = format!("{version:?}, {channels} channels, {classes} classes, {images:?} images");
    let (mut tensors, mut sums, mut norms) = (Room(0), Room(0), Room(0));
    let (mut weights, mut running, mut partials) = (Room(0), Room(0), Room(0));
    let int = |size: usize| size as i32;
    let head = Head {
        node: 0,
        channels: int(channels),
        side: int(side),
        classes: int(classes),
        value: tensors.take(batch * channels * side * side),
        gradient: 0,
        gradient_sum: 0,
        statistics: sums.take(2 * channels * tiles(side, batch)),
        norm: norms.take(2 * channels),
        scale: weights.take(channels),
        shift: weights.take(channels),
        running: running.take(2 * channels),
        weight: weights.take(classes * channels),
        bias: weights.take(classes),
        features: tensors.take(batch * channels),
        logits: tensors.take(batch * classes),
        logit_slopes: tensors.take(batch * classes),
        feature_slopes: tensors.take(batch * channels),
        sum: sums.take(2 * channels * batch),
        partial: partials.take((classes + 2) * channels + classes),
    };
    let sizes = Sizes {
        tensors: tensors.len(),
        sums: sums.len(),
        norms: norms.len(),
        partials: partials.len(),
        weights: weights.len(),
        running: running.len(),
        lanes: 3,
        trials: 2,
        ..Sizes::new(1, 1, 1, 1, 1, batch)?
    };
    let mut plan = Plan::new(device, sizes)?;
    let expected = [0, 1].map(|lane| case.expected(lane));
    let nan = |parts: usize, length: u32| vec![f32::NAN; parts * length as usize];
    let (mut tensors, mut sums) = (nan(3, sizes.tensors), nan(3, sizes.sums));
    let (mut weights, mut samples) = (nan(2, sizes.weights), vec![u32::MAX; 3 * batch * Sample::WORDS]);
    let mut numbers = Numbers::new(1);
    let running: Vec<f64> = (0..2 * sizes.running).map(|_| f64::from(numbers.number())).collect();
    let at = |part: usize, length: u32, offset: u32| part * length as usize + offset as usize;
    for (trial, learned) in case.trials.iter().enumerate() {
        let parts: [(u32, Vec<f64>); 4] = [
            (head.weight, learned.linear.iter().copied().collect()),
            (head.bias, learned.bias.to_vec()),
            (head.scale, learned.scale.to_vec()),
            (head.shift, learned.shift.to_vec()),
        ];
        for (offset, values) in parts {
            let begin = at(trial, sizes.weights, offset);
            for (to, value) in weights[begin..].iter_mut().zip(values) {
                *to = value as f32;
            }
        }
    }
    for (number, &lane) in LANES.iter().enumerate() {
        plan.ask(
            lane,
            Ask {
                present: 1,
                trial: int(TRIALS[number]),
                images: int(images[number]),
                outcome: int(OUTCOMES[number]),
                running: int(1 - number),
                edges: 0,
                units: 0,
                spare: 0,
            },
        );
        let x = &case.x[number];
        tensors[at(lane, sizes.tensors, head.value)..][..x.len()].copy_from_slice(x);
        let x = Array4::from_shape_vec((images[number], channels, side, side), wide(x)).expect("the images");
        let parts = statistics(x.view(), batch);
        sums[at(lane, sizes.sums, head.statistics)..][..parts.len()].copy_from_slice(&parts);
        for (image, &label) in case.labels[number].iter().enumerate() {
            let sample = Sample { image: 0, top: 0, left: 0, flip: 0, label: int(label) };
            sample.write(&mut samples[(lane * batch + image) * Sample::WORDS..]);
        }
    }
    plan.upload()?;
    let mut tensors = Held::new(device, "tensors", tensors)?;
    let mut sums = Held::new(device, "sums", sums)?;
    let mut norms = Held::new(device, "norms", nan(3, sizes.norms))?;
    let mut statistics = Held::new(device, "running statistics", running.clone())?;
    let mut losses = Held::new(device, "losses", vec![f64::NAN; 3 * batch * 2])?;
    let mut outcomes = Held::new(device, "outcomes", vec![f64::NAN; PLACES * 2])?;
    let mut partials = Held::new(device, "partial gradients", nan(3, sizes.partials))?;
    let (samples, weights) = (device.upload("samples", &samples)?, device.upload("weights", &weights)?);
    let finish = |kernel: &str| {
        let what = format!("{kernel}, {label}, flags {}", device.flags());
        device.synchronize().map_err(|error| error.after(&what))
    };

    HeadForward {
        plan: &plan,
        head,
        samples: &samples,
        weights: &weights,
        tensors: &mut tensors.buffer,
        sums: &mut sums.buffer,
        norms: &mut norms.buffer,
        running: &mut statistics.buffer,
        losses: &mut losses.buffer,
    }
    .launch(kernels, version)?;
    finish("head_forward")?;
    HeadFinish { plan: &plan, losses: &losses.buffer, places: PLACES, outcomes: &mut outcomes.buffer }
        .launch(kernels, Version::Fast)?;
    finish("head_finish")?;
    HeadWeights {
        plan: &plan,
        head,
        tensors: &tensors.buffer,
        sums: &sums.buffer,
        norms: &norms.buffer,
        partials: &mut partials.buffer,
    }
    .launch(kernels, version)?;
    finish("head_weights")?;

    let part = |name: &str, begin: usize, expected: Vec<f64>| Part {
        name: name.to_owned(),
        begin,
        expected,
        tolerance: Tolerance::OfLargest(F32_NETWORK),
    };
    let all = |values: &Array2<f64>| values.iter().copied().collect::<Vec<f64>>();
    let mut parts: [Vec<Part>; 7] = Default::default();
    for (number, (&lane, expected)) in LANES.iter().zip(&expected).enumerate() {
        let of = |offset| at(lane, sizes.tensors, offset);
        parts[0].extend([
            part("features", of(head.features), all(&expected.features)),
            part("logits", of(head.logits), all(&expected.logits)),
            // A slope is the difference of a probability and one.
            Part {
                tolerance: Tolerance::Close { relative: 0.0, floor: F32_NETWORK / images[number] as f64 },
                ..part("gradient of the logits", of(head.logit_slopes), all(&expected.logit_slopes))
            },
            Part {
                tolerance: Tolerance::Close { relative: 0.0, floor: 2.0 * F32_NETWORK / images[number] as f64 },
                ..part("gradient of the features", of(head.feature_slopes), all(&expected.feature_slopes))
            },
        ]);
        for (which, sum) in expected.sums.iter().enumerate() {
            for (channel, row) in sum.outer_iter().enumerate() {
                let begin = at(lane, sizes.sums, head.sum) + (which * channels + channel) * batch;
                parts[1].push(Part {
                    tolerance: Tolerance::Close { relative: 0.0, floor: 2.0 * F32_NETWORK / images[number] as f64 },
                    ..part("sums of an image", begin, row.to_vec())
                });
            }
        }
        let Moments { mean, variance } = &expected.moments;
        let inverse = variance.mapv(|variance| 1.0 / (variance + NORM_EPSILON).sqrt());
        let norm = at(lane, sizes.norms, head.norm);
        parts[2].extend([part("means", norm, mean.to_vec()), part("1/√(v + ε)", norm + channels, inverse.to_vec())]);
        if number == 0 {
            let begin = at(TRIALS[number], sizes.running, head.running);
            let count = (images[number] * side * side) as f64;
            let moved = |which: usize, to: &Array1<f64>| {
                let old = &running[begin + which * channels..][..channels];
                old.iter().zip(to).map(|(old, to)| old + NORM_MOMENTUM * (to - old)).collect()
            };
            parts[3].extend([
                part("running means", begin, moved(0, mean)),
                part("running variances", begin + channels, moved(1, &(variance * (count / (count - 1.0))))),
            ]);
        }
        let pairs = expected.losses.iter().zip(&expected.right).flat_map(|(loss, right)| [*loss, *right]);
        parts[4].push(part("losses", lane * batch * 2, pairs.collect()));
        let [loss, right] = [&expected.losses, &expected.right].map(|values| values.iter().sum::<f64>());
        parts[5].push(part("outcome", 2 * OUTCOMES[number], vec![loss / images[number] as f64, right]));
        let Weights { linear, bias, scale, shift } = &expected.gradients;
        let mut begin = at(lane, sizes.partials, head.partial);
        for (name, values) in [
            ("linear layer", all(linear)),
            ("bias", bias.to_vec()),
            ("scale", scale.to_vec()),
            ("shift", shift.to_vec()),
        ] {
            let length = values.len();
            // What is added up is in part a difference, see above.
            parts[6].push(Part {
                tolerance: Tolerance::Close { relative: F32_NETWORK, floor: 4.0 * F32_NETWORK },
                ..part(&format!("gradient of the {name}"), begin, values)
            });
            begin += length;
        }
    }
    tensors.check(&label, &parts[0], checks)?;
    sums.check(&label, &parts[1], checks)?;
    norms.check(&label, &parts[2], checks)?;
    statistics.check(&label, &parts[3], checks)?;
    losses.check(&label, &parts[4], checks)?;
    outcomes.check(&label, &parts[5], checks)?;
    partials.check(&label, &parts[6], checks)
}

/// The host's gradients against central differences of its loss.
#[must_use]
pub fn reference() -> Vec<Comparison> {
    let case = Data::new(Case { channels: 3, side: 8, classes: 4, batch: 2, images: [2, 1] });
    let x = Array4::from_shape_vec((2, 3, 8, 8), wide(&case.x[0])).expect("the images");
    let (weights, labels) = (&case.trials[0], &case.labels[0]);
    let loss = |weights: &Weights| Expected::new(weights, &x, labels).losses.iter().sum::<f64>() / 2.0;
    let got = Expected::new(weights, &x, labels).gradients;
    let slopes = |count: usize, place: fn(&mut Weights, usize) -> &mut f64| -> Vec<f64> {
        let slope = |at: usize| {
            central_difference(CENTRAL_STEP, |by| {
                let mut moved = weights.clone();
                *place(&mut moved, at) += by;
                loss(&moved)
            })
        };
        (0..count).map(slope).collect()
    };
    let tolerance = Tolerance::OfLargest(CENTRAL_DIFFERENCE);
    vec![
        Comparison::new(
            "linear layer",
            &got.linear.iter().copied().collect::<Vec<_>>(),
            &slopes(12, |weights, at| &mut weights.linear[[at / 3, at % 3]]),
            tolerance,
        ),
        Comparison::new("bias", &got.bias, &Array1::from(slopes(4, |weights, at| &mut weights.bias[at])), tolerance),
        Comparison::new("scale", &got.scale, &Array1::from(slopes(3, |weights, at| &mut weights.scale[at])), tolerance),
        Comparison::new("shift", &got.shift, &Array1::from(slopes(3, |weights, at| &mut weights.shift[at])), tolerance),
        // A sum of a few doubles is what it is whatever the order.
        Comparison::new(
            "gradient of the bias",
            &[got.bias.sum()],
            &[0.0],
            Tolerance::Close { relative: 0.0, floor: F64_SUMS },
        ),
    ]
}
