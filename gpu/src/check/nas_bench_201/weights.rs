//! Gradients of filters: the kernels of `kernels/nas_bench_201/weights.cu`.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::nas_bench_201::parent::NORM_EPSILON;
use advantage_nas::network::nas_bench_201::{self as data, Images, PIXELS};
use advantage_nas::tolerance::{CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_NETWORK, Tolerance, central_difference};
use advantage_nas_oracles::layers::{convolve, normalize, relu};
use ndarray::{Array1, Array4, Array5};

use super::numbers::{Held, Numbers, Part, TF32, own};
use crate::device::Device;
use crate::device::source::Signature;
use crate::error::Result;
use crate::kernels::nas_bench_201::weights::{
    Channels, IMAGE_WORDS, SOURCE, TABLE, Weights8, Weights16, Weights32, WeightsDown8, WeightsDown16, WeightsStem,
};
use crate::kernels::nas_bench_201::{
    Ask, NOWHERE, Plan, SPLITS_8, SPLITS_16, SPLITS_32, Sample, Sizes, Slot, TILE_ROWS, tiles,
};
use crate::kernels::{Kernels, Version};

/// A kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `weights_32`
    Of32,
    /// `weights_16`
    Of16,
    /// `weights_8`
    Of8,
    /// `weights_down_16`
    Down16,
    /// `weights_down_8`
    Down8,
    /// `weights_stem`
    Stem,
}

impl Kind {
    /// Height and width of the outputs, stride, parts of the sum, images of a tile.
    fn sizes(self) -> (usize, usize, usize, usize) {
        match self {
            Self::Of32 | Self::Stem => (32, 1, SPLITS_32, 1),
            Self::Of16 => (16, 1, SPLITS_16, 1),
            Self::Of8 => (8, 1, SPLITS_8, 2),
            Self::Down16 => (16, 2, SPLITS_16, 1),
            Self::Down8 => (8, 2, SPLITS_8, 1),
        }
    }

    fn signature(self) -> Signature {
        match self {
            Self::Of32 => Weights32::SIGNATURE,
            Self::Of16 => Weights16::SIGNATURE,
            Self::Of8 => Weights8::SIGNATURE,
            Self::Down16 => WeightsDown16::SIGNATURE,
            Self::Down8 => WeightsDown8::SIGNATURE,
            Self::Stem => WeightsStem::SIGNATURE,
        }
    }
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// Nothing.
    Without,
    /// Batch norm.
    Plain,
    /// Batch norm with scale and shift.
    Affine,
}

/// A convolution.
#[derive(Clone, Copy, Debug)]
pub struct Convolution {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Height and width of the filters.
    pub kernel: usize,
    /// Whether its input goes through ReLU.
    pub relu: bool,
    /// What follows.
    pub norm: Norm,
}

/// A launch: of three lanes, the one in the middle is asked nothing, and the last one has not the first of the convolutions.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Which kernel.
    pub kind: Kind,
    /// The convolutions.
    pub convolutions: &'static [Convolution],
    /// Images of a minibatch, at most.
    pub batch: usize,
    /// Images of the lanes.
    pub images: [usize; 2],
}

const fn convolution(inputs: usize, outputs: usize, kernel: usize, relu: bool, norm: Norm) -> Convolution {
    Convolution { inputs, outputs, kernel, relu, norm }
}

/// Everything that a convolution may be; more tiles than parts of the sum and fewer, half a tile, more channels than a block has.
pub const SIZES: [Case; 7] = [
    Case {
        kind: Kind::Of32,
        convolutions: &[
            convolution(1, 1, 3, true, Norm::Plain),
            convolution(3, 5, 3, false, Norm::Affine),
            convolution(2, 3, 1, false, Norm::Without),
        ],
        batch: 6,
        images: [5, 2],
    },
    Case {
        kind: Kind::Of16,
        convolutions: &[convolution(17, 3, 3, true, Norm::Plain), convolution(3, 18, 1, true, Norm::Affine)],
        batch: 5,
        images: [5, 1],
    },
    Case {
        kind: Kind::Of8,
        convolutions: &[convolution(2, 3, 3, true, Norm::Affine), convolution(5, 17, 3, true, Norm::Plain)],
        batch: 12,
        images: [11, 2],
    },
    Case { kind: Kind::Of8, convolutions: &[convolution(2, 3, 5, true, Norm::Plain)], batch: 3, images: [3, 1] },
    Case {
        kind: Kind::Down16,
        convolutions: &[convolution(1, 2, 1, true, Norm::Without), convolution(3, 5, 3, true, Norm::Affine)],
        batch: 5,
        images: [5, 2],
    },
    Case {
        kind: Kind::Down8,
        convolutions: &[convolution(2, 1, 3, false, Norm::Plain), convolution(17, 3, 3, true, Norm::Affine)],
        batch: 6,
        images: [6, 3],
    },
    Case { kind: Kind::Stem, convolutions: &[convolution(3, 5, 3, false, Norm::Affine)], batch: 5, images: [5, 2] },
];

/// Channels of the paper's stages, a few images.
pub const PAPER: [Case; 6] = [
    Case {
        kind: Kind::Of32,
        convolutions: &[convolution(16, 16, 3, true, Norm::Plain), convolution(16, 16, 1, true, Norm::Plain)],
        batch: 5,
        images: [5, 4],
    },
    Case {
        kind: Kind::Of16,
        convolutions: &[convolution(32, 32, 3, true, Norm::Plain), convolution(32, 32, 1, true, Norm::Plain)],
        batch: 5,
        images: [5, 4],
    },
    Case {
        kind: Kind::Of8,
        convolutions: &[convolution(64, 32, 3, true, Norm::Plain), convolution(64, 32, 1, true, Norm::Plain)],
        batch: 10,
        images: [10, 8],
    },
    Case { kind: Kind::Down16, convolutions: &[convolution(16, 32, 3, true, Norm::Affine)], batch: 5, images: [5, 4] },
    Case { kind: Kind::Down8, convolutions: &[convolution(32, 32, 3, true, Norm::Affine)], batch: 5, images: [5, 4] },
    Case { kind: Kind::Stem, convolutions: &[convolution(3, 16, 3, false, Norm::Affine)], batch: 5, images: [5, 4] },
];

/// More products than a tensor core adds up, at the only side where a minibatch has as many.
pub const LONG: [Case; 1] = [Case {
    kind: Kind::Of32,
    convolutions: &[convolution(1, 1, 3, true, Norm::Plain), convolution(1, 2, 1, true, Norm::Plain)],
    batch: 160,
    images: [150, 130],
}];

/// What a convolution has in a lane: all `[images, channels, side, side]`.
struct Data {
    convolution: Convolution,
    weight: f64,
    /// Its input, before the ReLU.
    x: Array4<f64>,
    z: Array4<f64>,
    g: Array4<f64>,
    mean: Array1<f64>,
    inverse: Array1<f64>,
    scale: Array1<f64>,
}

/// What a kernel must compute.
struct Expected {
    /// `[splits, outputs, inputs, kernel, kernel]`
    filters: Array5<f64>,
    scale: Array1<f64>,
    shift: Array1<f64>,
}

impl Expected {
    fn new(data: &Data, kind: Kind) -> Self {
        let (side, stride, splits, tile_images) = kind.sizes();
        let Convolution { inputs, outputs, kernel, norm, relu: rectifies, .. } = data.convolution;
        let x = if rectifies { relu(&data.x) } else { data.x.clone() };
        let images = data.g.dim().0;
        let count = (images * side * side) as f64;
        let mut of = Self {
            filters: Array5::zeros((splits, outputs, inputs, kernel, kernel)),
            scale: Array1::zeros(outputs),
            shift: Array1::zeros(outputs),
        };
        for o in 0..outputs {
            let channel =
                || (0..images).flat_map(move |image| (0..side * side).map(move |p| [image, o, p / side, p % side]));
            let shift: f64 = channel().map(|at| data.g[at]).sum();
            let scale = channel().map(|at| data.g[at] * (data.z[at] - data.mean[o])).sum::<f64>() * data.inverse[o];
            (of.scale[o], of.shift[o]) = (scale, shift);
            let own = data.weight * data.scale[o] * data.inverse[o];
            for at in channel() {
                let [image, _, y, column] = at;
                let normal = (data.z[at] - data.mean[o]) * data.inverse[o];
                let dz = match norm {
                    Norm::Without => data.weight * data.g[at],
                    Norm::Plain | Norm::Affine => own * (data.g[at] - normal * scale / count - shift / count),
                };
                let split = (image / tile_images * side.div_ceil(TILE_ROWS) + y / TILE_ROWS) % splits;
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let place = |at: usize, tap: usize| {
                            (stride * at + tap).checked_sub(kernel / 2).filter(|place| *place < stride * side)
                        };
                        if let (Some(row), Some(from)) = (place(y, ky), place(column, kx)) {
                            for c in 0..inputs {
                                of.filters[[split, o, c, ky, kx]] += dz * x[[image, c, row, from]];
                            }
                        }
                    }
                }
            }
        }
        of
    }
}

impl Data {
    /// With numbers of single precision, as a pass would leave them.
    fn new(convolution: Convolution, kind: Kind, x: Array4<f64>, numbers: &mut Numbers) -> Self {
        let (side, stride, ..) = kind.sizes();
        let Convolution { inputs, outputs, kernel, norm, relu: rectifies } = convolution;
        let single = |values: Array4<f64>| values.mapv(|value| f64::from(value as f32));
        let filters = Array4::from_shape_simple_fn((outputs, inputs, kernel, kernel), || f64::from(numbers.number()));
        let input = if rectifies { relu(&x) } else { x.clone() };
        let z = single(convolve(&input, filters.view(), stride));
        let moments = normalize(&z).1;
        let inverse = moments.variance.mapv(|variance| f64::from((1.0 / (variance + NORM_EPSILON).sqrt()) as f32));
        let mean = moments.mean.mapv(|mean| f64::from(mean as f32));
        let g = Array4::from_shape_simple_fn((x.dim().0, outputs, side, side), || f64::from(numbers.number()));
        let mut scale = Array1::ones(outputs);
        if norm == Norm::Affine {
            scale.mapv_inplace(|_| f64::from(numbers.number()));
        }
        let weight = if norm == Norm::Affine { 1.0 } else { 0.75 };
        Self { convolution, weight, x, z, g, mean, inverse, scale }
    }

    /// `[outputs, tiles of a minibatch]`: sums over the pixels of a tile.
    fn sums(&self, batch: usize, of: impl Fn([usize; 4]) -> f64) -> Vec<f32> {
        let (images, outputs, side, _) = self.g.dim();
        let (row, tile_images) = (tiles(side, batch), if side < 16 { 2 } else { 1 });
        let mut sums = vec![f64::NAN; outputs * row];
        for o in 0..outputs {
            sums[o * row..][..tiles(side, images)].fill(0.0);
            for image in 0..images {
                for pixel in 0..side * side {
                    let tile = image / tile_images * side.div_ceil(TILE_ROWS) + pixel / side / TILE_ROWS;
                    sums[o * row + tile] += of([image, o, pixel / side, pixel % side]);
                }
            }
        }
        sums.into_iter().map(|sum| sum as f32).collect()
    }
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

/// Writes numbers to their place.
fn fill<'a>(to: &mut [f32], begin: usize, values: impl IntoIterator<Item = &'a f64>) {
    for (to, value) in to[begin..].iter_mut().zip(values) {
        *to = *value as f32;
    }
}

/// The kernels of the weights' gradients against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device, cases: &[Case]) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &SOURCE)?, cases, &[Version::Fast, Version::Naive, Version::Tf32])
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels, cases: &[Case], versions: &[Version]) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for case in cases {
        check(device, kernels, case, versions, &mut checks)?;
    }
    Ok(checks)
}

const LANES: [usize; 2] = [0, 2];
/// The trial of a lane: not the lane's number.
const TRIALS: [usize; 2] = [1, 0];
/// Images on the device.
const IMAGES: usize = 3;

/// Bytes on the device, what they stand for, and the samples of a minibatch.
struct Bytes {
    images: Images,
    words: Vec<u32>,
    table: Vec<f32>,
}

impl Bytes {
    fn new(numbers: &mut Numbers) -> advantage_nas::Result<Self> {
        let pixels: Vec<u8> = (0..IMAGES * PIXELS).map(|_| numbers.next() as u8).collect();
        let words = pixels.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let images = Images::new(pixels, vec![0; IMAGES], vec!["all".to_owned()])?;
        Ok(Self { images, words, table: numbers.vec(TABLE) })
    }

    /// The minibatch `[images, 3, 32, 32]` of samples, as the core crops it.
    fn minibatch(&self, samples: &[Sample]) -> Array4<f64> {
        let mut out = Array4::zeros((samples.len(), 3, 32, 32));
        let mut pixels = [0; PIXELS];
        for (sample, mut out) in samples.iter().zip(out.outer_iter_mut()) {
            let (top, left) = (sample.top as u8, sample.left as u8);
            let sample = data::Sample { image: sample.image, top, left, flip: sample.flip != 0 };
            self.images.crop(&sample, &mut pixels);
            for (at, (out, pixel)) in out.iter_mut().zip(pixels).enumerate() {
                *out = f64::from(self.table[at / 1024 * 256 + usize::from(pixel)]);
            }
        }
        out
    }
}

fn check(
    device: &Device,
    kernels: &Kernels,
    case: &Case,
    versions: &[Version],
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let &Case { kind, convolutions, batch, images } = case;
    let (side, stride, splits, _) = kind.sizes();
    let mut numbers = Numbers::new(batch as u64);
    let bytes = Bytes::new(&mut numbers).expect("images of the right size");
    let mut samples = vec![u32::MAX; 3 * batch * Sample::WORDS];
    // Slot 0 is of another list.
    let first = 1;
    let (mut tensors, mut sums, mut norms) = (Room(0), Room(0), Room(0));
    let (mut weights, mut partials) = (Room(0), Room(0));
    let int = |size: usize| size as i32;
    let slot = |convolution: &Convolution| {
        let &Convolution { inputs, outputs, kernel, relu, norm } = convolution;
        let row = outputs * tiles(side, batch);
        let count = splits * outputs * inputs * kernel * kernel;
        Slot {
            kernel: int(kernel),
            relu: i32::from(relu),
            normalized: i32::from(norm != Norm::Without),
            inputs: int(inputs),
            outputs: int(outputs),
            weight: 0.0,
            filters: NOWHERE,
            scale: if norm == Norm::Affine { weights.take(outputs) } else { NOWHERE },
            output: tensors.take(batch * outputs * side * side),
            statistics: NOWHERE,
            norm: norms.take(2 * outputs),
            source: tensors.take(batch * inputs * side * side * stride * stride),
            gradient: tensors.take(batch * outputs * side * side),
            gradient_sum: sums.take(row),
            sum: sums.take(row),
            partial: partials.take(count + if norm == Norm::Affine { 2 * outputs } else { 0 }),
        }
    };
    let slots: Vec<Slot> = convolutions.iter().map(slot).collect();
    let sizes = Sizes {
        tensors: tensors.len(),
        sums: sums.len(),
        norms: norms.len(),
        partials: partials.len(),
        weights: weights.len(),
        lanes: 3,
        trials: 2,
        ..Sizes::new(1, 1, 1, first + slots.len(), 1, batch)?
    };
    let nan = |parts: usize, length: u32| vec![f32::NAN; parts * length as usize];
    let (mut tensors, mut sums, mut norms) = (nan(3, sizes.tensors), nan(3, sizes.sums), nan(3, sizes.norms));
    let mut weights = nan(2, sizes.weights);
    let mut plan = Plan::new(device, sizes)?;
    let at = |part: usize, length: u32, offset: u32| part * length as usize + offset as usize;
    let mut expected = Vec::new();
    for (number, &lane) in LANES.iter().enumerate() {
        let (images, trial) = (images[number], TRIALS[number]);
        plan.ask(
            lane,
            Ask {
                present: 1,
                trial: int(trial),
                images: int(images),
                outcome: 0,
                running: 0,
                edges: 0,
                units: 0,
                spare: 0,
            },
        );
        let drawn: Vec<Sample> = (0..images)
            .map(|_| Sample {
                image: numbers.below(IMAGES) as u32,
                top: int(numbers.below(9)),
                left: int(numbers.below(9)),
                flip: int(numbers.below(2)),
                label: 0,
            })
            .collect();
        for (image, sample) in drawn.iter().enumerate() {
            sample.write(&mut samples[(lane * batch + image) * Sample::WORDS..]);
        }
        for (index, (&slot, &convolution)) in slots.iter().zip(convolutions).enumerate() {
            let source = (images, convolution.inputs, side * stride, side * stride);
            let x = if kind == Kind::Stem {
                bytes.minibatch(&drawn)
            } else {
                Array4::from_shape_simple_fn(source, || f64::from(numbers.number()))
            };
            let data = Data::new(convolution, kind, x, &mut numbers);
            // The trial's scale is that of its last lane; there is one lane of each trial.
            if slot.scale != NOWHERE {
                fill(&mut weights, at(trial, sizes.weights, slot.scale), &data.scale);
            }
            if number == 1 && index == 0 && slots.len() > 1 {
                continue;
            }
            plan.slot(lane, first + index, Slot { weight: data.weight as f32, ..slot });
            if kind != Kind::Stem {
                fill(&mut tensors, at(lane, sizes.tensors, slot.source), &data.x);
            }
            fill(&mut tensors, at(lane, sizes.tensors, slot.gradient), &data.g);
            if slot.normalized != 0 {
                fill(&mut tensors, at(lane, sizes.tensors, slot.output), &data.z);
                let norm = at(lane, sizes.norms, slot.norm);
                fill(&mut norms, norm, &data.mean);
                fill(&mut norms, norm + convolution.outputs, &data.inverse);
                let plain = data.sums(batch, |at| data.g[at]);
                let product = data.sums(batch, |at| data.g[at] * (data.z[at] - data.mean[at[1]]));
                sums[at(lane, sizes.sums, slot.gradient_sum)..][..plain.len()].copy_from_slice(&plain);
                sums[at(lane, sizes.sums, slot.sum)..][..product.len()].copy_from_slice(&product);
            }
            expected.push((lane, slot, convolution, Expected::new(&data, kind)));
        }
    }
    plan.upload()?;
    let list: Vec<u32> = (0..slots.len()).rev().map(|index| (first + index) as u32).collect();
    let list = device.upload("slots", &list)?;
    let words = device.upload("bytes of the images", &bytes.words)?;
    let (samples, table) = (device.upload("samples", &samples)?, device.upload("what bytes stand for", &bytes.table)?);
    let (tensors, sums) = (device.upload("tensors", &tensors)?, device.upload("sums", &sums)?);
    let (norms, weights) = (device.upload("norms", &norms)?, device.upload("weights", &weights)?);
    assert_eq!(bytes.words.len(), IMAGES * IMAGE_WORDS);
    let most = |of: fn(&Convolution) -> usize| convolutions.iter().map(of).max().expect("at least one");
    let channels = Channels { inputs: most(|one| one.inputs), outputs: most(|one| one.outputs) };
    for version in own(versions, &kind.signature()) {
        let label = format!("{version:?}, {kind:?}, {convolutions:?}, {images:?} images");
        let mut partials = Held::new(device, "partial gradients", nan(3, sizes.partials))?;
        macro_rules! launch {
            ($launch:ident) => {
                $launch {
                    plan: &plan,
                    slots: &list,
                    channels,
                    tensors: &tensors,
                    sums: &sums,
                    norms: &norms,
                    weights: &weights,
                    partials: &mut partials.buffer,
                }
                .launch(kernels, version)?
            };
        }
        match kind {
            Kind::Of32 => launch!(Weights32),
            Kind::Of16 => launch!(Weights16),
            Kind::Of8 => launch!(Weights8),
            Kind::Down16 => launch!(WeightsDown16),
            Kind::Down8 => launch!(WeightsDown8),
            Kind::Stem => WeightsStem {
                plan: &plan,
                slot: first as u32,
                outputs: channels.outputs,
                images: &words,
                samples: &samples,
                table: &table,
                tensors: &tensors,
                sums: &sums,
                norms: &norms,
                weights: &weights,
                partials: &mut partials.buffer,
            }
            .launch(kernels, version)?,
        }
        let what = format!("weights, {label}, flags {}", device.flags());
        device.synchronize().map_err(|error| error.after(&what))?;
        let mut parts = Vec::new();
        for (lane, slot, convolution, expected) in &expected {
            if version != Version::Naive && ![1, 3].contains(&convolution.kernel) {
                continue;
            }
            let begin = at(*lane, sizes.partials, slot.partial);
            let part = |name: &str, begin: usize, expected: Vec<f64>| Part {
                name: format!("gradient of the {name} of {convolution:?}, lane {lane}"),
                begin,
                expected,
                tolerance: if version == Version::Tf32 && name == "filters" {
                    TF32
                } else {
                    Tolerance::OfLargest(F32_NETWORK)
                },
            };
            let filters = expected.filters.len();
            parts.push(part("filters", begin, expected.filters.iter().copied().collect()));
            if slot.scale != NOWHERE {
                parts.push(part("scale", begin + filters, expected.scale.to_vec()));
                parts.push(part("shift", begin + filters + convolution.outputs, expected.shift.to_vec()));
            }
        }
        partials.check(&label, &parts, checks)?;
    }
    Ok(())
}

/// The host's gradients against central differences of `Σ g y`, where y is what follows the convolution.
#[must_use]
pub fn reference() -> Vec<Comparison> {
    let mut checks = Vec::new();
    for (kind, kernel, norm) in [
        (Kind::Of8, 3, Norm::Affine),
        (Kind::Of8, 1, Norm::Plain),
        (Kind::Of16, 3, Norm::Without),
        (Kind::Down8, 3, Norm::Affine),
    ] {
        let mut numbers = Numbers::new(5);
        let (side, stride, ..) = kind.sizes();
        let convolution = convolution(2, 2, kernel, true, norm);
        let x = Array4::from_shape_simple_fn((2, 2, side * stride, side * stride), || f64::from(numbers.number()));
        let filters = Array4::from_shape_simple_fn((2, 2, kernel, kernel), || f64::from(numbers.number()));
        let mut data = Data::new(convolution, kind, x, &mut numbers);
        let input = relu(&data.x);
        data.z = convolve(&input, filters.view(), stride);
        let moments = normalize(&data.z).1;
        data.inverse = moments.variance.mapv(|variance| 1.0 / (variance + NORM_EPSILON).sqrt());
        data.mean = moments.mean;
        let value = |filters: &Array4<f64>, scale: &Array1<f64>, shift: &Array1<f64>| {
            let z = convolve(&input, filters.view(), stride);
            let y = match norm {
                Norm::Without => z,
                Norm::Plain | Norm::Affine => normalize(&z).0,
            };
            let mut sum = 0.0;
            for ((image, o, row, column), y) in y.indexed_iter() {
                sum += data.g[[image, o, row, column]] * data.weight * (scale[o] * y + shift[o]);
            }
            sum
        };
        let (scale, shift) = (&data.scale, Array1::zeros(2));
        let got = Expected::new(&data, kind);
        let mut expected = filters.clone();
        for at in filters.indexed_iter().map(|(at, _)| at) {
            expected[at] = central_difference(CENTRAL_STEP, |by| {
                let mut moved = filters.clone();
                moved[at] += by;
                value(&moved, scale, &shift)
            });
        }
        // Of the sum over hundreds of pixels, rounding leaves more than of a single number.
        let tolerance = Tolerance::OfLargest(10.0 * CENTRAL_DIFFERENCE);
        let whole = got.filters.sum_axis(ndarray::Axis(0));
        checks.push(Comparison::new(format!("filters, {kind:?}, {norm:?}"), &whole, &expected, tolerance));
        if norm == Norm::Affine {
            let slopes = |of_scale: bool| -> Array1<f64> {
                let slope = |o: usize| {
                    central_difference(CENTRAL_STEP, |by| {
                        let (mut scale, mut shift) = (scale.clone(), shift.clone());
                        *(if of_scale { &mut scale[o] } else { &mut shift[o] }) += by;
                        value(&filters, &scale, &shift)
                    })
                };
                (0..2).map(slope).collect()
            };
            checks.push(Comparison::new(format!("scale, {kind:?}"), &got.scale, &slopes(true), tolerance));
            checks.push(Comparison::new(format!("shift, {kind:?}"), &got.shift, &slopes(false), tolerance));
        }
    }
    checks
}
