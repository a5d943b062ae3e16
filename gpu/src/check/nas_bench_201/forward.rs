//! The kernels forward: random plans with all kinds of terms and slots, several lanes of which one is asked nothing, memory full of NaN where nothing is to
//! be read; what is not to be written must be as it was.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::nas_bench_201::parent::{NORM_EPSILON, NORM_MOMENTUM};
use advantage_nas::network::nas_bench_201::{Images, Normalization, PIXELS, Sample as Crop};
use advantage_nas::tolerance::{F32_NETWORK, Tolerance};
use advantage_nas_oracles::layers::{average_pooling, convolve, halving, normalize, relu};
use ndarray::{Array4, ArrayView4, s};

use super::numbers::{TF32, own};
use crate::device::{Buffer, Device};
use crate::error::Result;
use crate::kernels::nas_bench_201::forward::{LastNode, Node8, Node16, Node32, NodeDown8, NodeDown16, SOURCE, Stem};
use crate::kernels::nas_bench_201::{
    Ask, HALVE, Head, NORMALIZED, NOWHERE, Node, PLAIN, POOL, Plan, SKIP, Sample, Shape, Sizes, Slot, TILE_ROWS, Term,
    tiles,
};
use crate::kernels::{Kernels, Version};

/// Lanes of a launch.
const LANES: usize = 3;
/// Trials whose weights are on the device.
const TRIALS: usize = 2;
/// The place of each lane's trial.
const TRIAL_OF: [usize; LANES] = [1, 0, 0];
/// Slots of the network before those of the node.
const FIRST_SLOT: usize = 1;
/// The node's number.
const NODE: usize = 1;
/// Largest kernel.
const KERNEL: usize = 5;

/// What a launch is made for.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Height and width of the node.
    pub side: usize,
    /// Stride of the convolutions; 0 for the last node, which has none.
    pub stride: usize,
    /// Its channels.
    pub channels: usize,
    /// Output channels.
    pub outputs: usize,
    /// Images of a minibatch at most.
    pub batch: usize,
    /// Images of every lane; none where it is asked nothing.
    pub images: [usize; LANES],
    /// Kinds of the terms of every lane.
    pub terms: [&'static [usize]; LANES],
    /// Kernels of the slots of every lane; 0 of one that takes no part.
    pub kernels: [&'static [usize]; LANES],
    /// Whether the convolutions have a ReLU.
    pub relu: bool,
}

/// Sizes that are no multiples of chunks, tiles and warps, and those that are; every kind of term and slot.
pub const CASES: [Case; 13] = [
    Case {
        side: 32,
        stride: 1,
        channels: 5,
        outputs: 5,
        batch: 2,
        images: [2, 0, 1],
        terms: [&[NORMALIZED, SKIP, POOL, NORMALIZED, PLAIN], &[], &[POOL, HALVE, NORMALIZED, SKIP]],
        kernels: [&[3, 0, 1, 3], &[0; 4], &[0, 1, 0, 3]],
        relu: true,
    },
    Case {
        side: 32,
        stride: 1,
        channels: 1,
        outputs: 17,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[NORMALIZED], &[], &[]],
        kernels: [&[3], &[0], &[1]],
        relu: false,
    },
    Case {
        side: 16,
        stride: 1,
        channels: 17,
        outputs: 3,
        batch: 3,
        images: [3, 0, 2],
        terms: [&[NORMALIZED, NORMALIZED, PLAIN], &[], &[HALVE]],
        kernels: [&[3, 1, 3], &[0; 3], &[0; 3]],
        relu: true,
    },
    Case {
        side: 16,
        stride: 1,
        channels: 3,
        outputs: 17,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[HALVE], &[], &[NORMALIZED, POOL]],
        kernels: [&[1, 0], &[0; 2], &[3, 1]],
        relu: false,
    },
    Case {
        side: 8,
        stride: 1,
        channels: 17,
        outputs: 17,
        batch: 4,
        images: [3, 0, 4],
        terms: [&[NORMALIZED, SKIP, POOL], &[], &[NORMALIZED, NORMALIZED, NORMALIZED, HALVE]],
        kernels: [&[3, 3, 1, 0, 3, 1, 3], &[0; 7], &[1, 0, 0, 0, 0, 0, 3]],
        relu: true,
    },
    Case {
        side: 8,
        stride: 1,
        channels: 1,
        outputs: 1,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[PLAIN, NORMALIZED], &[], &[SKIP]],
        kernels: [&[3], &[0], &[0]],
        relu: false,
    },
    // Without slots, as of a network without convolutions.
    Case {
        side: 8,
        stride: 1,
        channels: 3,
        outputs: 3,
        batch: 2,
        images: [2, 0, 1],
        terms: [&[POOL], &[], &[NORMALIZED]],
        kernels: [&[], &[], &[]],
        relu: true,
    },
    Case {
        side: 32,
        stride: 2,
        channels: 5,
        outputs: 17,
        batch: 2,
        images: [2, 0, 1],
        terms: [&[NORMALIZED, POOL], &[], &[SKIP]],
        kernels: [&[3], &[0], &[0]],
        relu: true,
    },
    Case {
        side: 32,
        stride: 2,
        channels: 17,
        outputs: 3,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[SKIP], &[], &[NORMALIZED]],
        kernels: [&[1, 3], &[0; 2], &[3, 0]],
        relu: false,
    },
    Case {
        side: 16,
        stride: 2,
        channels: 9,
        outputs: 17,
        batch: 4,
        images: [4, 0, 3],
        terms: [&[NORMALIZED, NORMALIZED], &[], &[POOL, SKIP]],
        kernels: [&[3], &[0], &[1]],
        relu: true,
    },
    // Filters that only the naive version knows.
    Case {
        side: 16,
        stride: 1,
        channels: 3,
        outputs: 2,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[NORMALIZED], &[], &[SKIP]],
        kernels: [&[5, 1], &[0; 2], &[0, 5]],
        relu: true,
    },
    Case {
        side: 8,
        stride: 0,
        channels: 17,
        outputs: 0,
        batch: 4,
        images: [3, 0, 4],
        terms: [&[NORMALIZED, SKIP, POOL, PLAIN], &[], &[NORMALIZED, HALVE]],
        kernels: [&[], &[], &[]],
        relu: false,
    },
    Case {
        side: 8,
        stride: 0,
        channels: 3,
        outputs: 0,
        batch: 1,
        images: [1, 0, 1],
        terms: [&[NORMALIZED], &[], &[]],
        kernels: [&[], &[], &[]],
        relu: false,
    },
];

/// Minibatches for the stem: images of every lane, output channels.
pub const STEMS: [([usize; LANES], usize); 2] = [([3, 0, 2], 5), ([1, 0, 1], 17)];

/// The paper's channels, and as few images as fill a tile.
pub const PAPER: [Case; 6] = [
    paper(32, 1, 16, 16, &[&[3, 1, 3], &[0; 3], &[0; 3]]),
    paper(16, 1, 32, 32, &[&[3, 1, 3], &[0; 3], &[0; 3]]),
    paper(8, 1, 64, 64, &[&[3, 1, 3], &[0; 3], &[0; 3]]),
    paper(32, 2, 16, 32, &[&[3], &[0], &[0]]),
    paper(16, 2, 32, 64, &[&[3], &[0], &[0]]),
    paper(8, 0, 64, 0, &[&[], &[], &[]]),
];

/// The same for the stem.
pub const PAPER_STEMS: [([usize; LANES], usize); 1] = [([1, 0, 0], 16)];

const fn paper(
    side: usize,
    stride: usize,
    channels: usize,
    outputs: usize,
    kernels: &[&'static [usize]; LANES],
) -> Case {
    let batch = if side == 8 || stride == 2 { 2 } else { 1 };
    let terms: [&[usize]; LANES] = [&[NORMALIZED, POOL, SKIP], &[], &[]];
    Case { side, stride, channels, outputs, batch, images: [batch, 0, 0], terms, kernels: *kernels, relu: true }
}

/// Whatever has no other meaning: a small deterministic generator.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((self.0 >> 33) as usize) % count
    }

    /// From -1 to 1.
    fn value(&mut self) -> f32 {
        self.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0
    }
}

/// What a launch reads and writes, on the host.
#[derive(Clone)]
struct Memory {
    /// `[lanes, sizes.tensors]`
    tensors: Vec<f32>,
    /// `[lanes, sizes.sums]`
    sums: Vec<f32>,
    /// `[lanes, sizes.norms]`
    norms: Vec<f32>,
    /// `[trials, sizes.weights]`
    weights: Vec<f32>,
    /// `[trials, sizes.running]`
    running: Vec<f64>,
}

/// The same on the device.
struct Buffers {
    tensors: Buffer<f32>,
    sums: Buffer<f32>,
    norms: Buffer<f32>,
    weights: Buffer<f32>,
    running: Buffer<f64>,
}

impl Memory {
    /// NaN; weights and running statistics are random.
    fn new(sizes: &Sizes, random: &mut Random) -> Self {
        let nan = |size: u32| vec![f32::NAN; LANES * size as usize];
        Self {
            tensors: nan(sizes.tensors),
            sums: nan(sizes.sums),
            norms: nan(sizes.norms),
            weights: (0..TRIALS * sizes.weights as usize).map(|_| random.value()).collect(),
            running: (0..TRIALS * sizes.running as usize).map(|_| f64::from(random.value())).collect(),
        }
    }

    fn upload(&self, device: &Device) -> Result<Buffers> {
        Ok(Buffers {
            tensors: device.upload("tensors", &self.tensors)?,
            sums: device.upload("sums", &self.sums)?,
            norms: device.upload("norms", &self.norms)?,
            weights: device.upload("weights", &self.weights)?,
            running: device.upload("running statistics", &self.running)?,
        })
    }
}

/// Which part of the memory.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part {
    Tensors,
    Sums,
    Norms,
    Running,
}

/// What must have been written where.
struct Written {
    what: String,
    part: Part,
    at: Vec<usize>,
    values: Vec<f64>,
    /// How large the numbers are that these are sums of.
    scale: f64,
    /// What tensor cores' versions add up of rounded factors.
    rounded: Option<Tolerance>,
}

/// How far means of tiles may be, norm-wise, from those of sums of products of factors that were not rounded to TF32. Errors of neighbouring pixels, of which
/// many share the filters' ones, don't average out as their values do; sums of squared deviations have twice the error of the deviations.
const TF32_MEANS: Tolerance = Tolerance::OfNorm(1e-3);

/// Launches both versions, and compares everything that was or was not written.
fn check(
    device: &Device,
    label: &str,
    versions: &[Version],
    before: &Memory,
    written: &[Written],
    launch: impl Fn(&mut Buffers, Version) -> Result<()>,
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    for &version in versions {
        let mut buffers = before.upload(device)?;
        launch(&mut buffers, version)?;
        device
            .synchronize()
            .map_err(|error| error.after(&format!("{label}, {version:?}, flags {}", device.flags())))?;
        let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        for (part, was, is) in [
            (Part::Tensors, wide(before.tensors.clone()), wide(buffers.tensors.to_vec()?)),
            (Part::Sums, wide(before.sums.clone()), wide(buffers.sums.to_vec()?)),
            (Part::Norms, wide(before.norms.clone()), wide(buffers.norms.to_vec()?)),
            (Part::Running, before.running.clone(), buffers.running.to_vec()?),
        ] {
            let mut rest = vec![true; is.len()];
            for Written { what, at, values, scale, rounded, .. } in written.iter().filter(|one| one.part == part) {
                let got: Vec<f64> = at.iter().map(|&at| is[at]).collect();
                at.iter().for_each(|&at| rest[at] = false);
                let single = Tolerance::Close { relative: F32_NETWORK, floor: F32_NETWORK * scale };
                let tolerance = rounded.filter(|_| version == Version::Tf32).unwrap_or(single);
                checks.push(Comparison::new(format!("{what}, {label}, {version:?}"), &got, values, tolerance));
            }
            let bits = |values: &[f64]| -> Vec<u64> {
                values.iter().zip(&rest).filter(|(_, rest)| **rest).map(|(value, _)| value.to_bits()).collect()
            };
            let (was, is) = (bits(&was), bits(&is));
            if !was.is_empty() {
                checks.push(Comparison::equal(format!("the rest of {part:?}, {label}, {version:?}"), &is, &was));
            }
        }
    }
    Ok(())
}

/// The largest absolute value.
fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
    values.into_iter().fold(0.0, |largest, value| largest.max(value.abs()))
}

/// Mean and sum of squared deviations of every channel and tile, `[channels, tiles]`.
fn statistics(x: ArrayView4<'_, f64>) -> Vec<Vec<(f64, f64)>> {
    let (images, channels, side, _) = x.dim();
    let of_tile = |channel: usize, tile: usize| {
        let part = if side < 16 {
            x.slice(s![2 * tile..(2 * tile + 2).min(images), channel, .., ..])
        } else {
            let (image, row) = (tile / (side / TILE_ROWS), tile % (side / TILE_ROWS) * TILE_ROWS);
            x.slice(s![image..=image, channel, row..row + TILE_ROWS, ..])
        };
        let mean = part.mean().expect("a tile has pixels");
        (mean, part.mapv(|value| (value - mean).powi(2)).sum())
    };
    (0..channels).map(|channel| (0..tiles(side, images)).map(|tile| of_tile(channel, tile)).collect()).collect()
}

/// What must have been written of a tensor: its first images.
fn tensor(what: String, begin: usize, x: &Array4<f64>) -> Written {
    let values: Vec<f64> = x.iter().copied().collect();
    let scale = largest(&values);
    Written { what, part: Part::Tensors, at: (begin..begin + values.len()).collect(), values, scale, rounded: None }
}

/// What must have been written of statistics, `[channels, pitch]` pairs.
fn statistics_of(what: &str, begin: usize, pitch: usize, x: &Array4<f64>) -> [Written; 2] {
    let all = statistics(x.view());
    let places = |offset: usize| -> Vec<usize> {
        let tiles = all[0].len();
        (0..all.len() * tiles).map(|at| begin + 2 * (at / tiles * pitch + at % tiles) + offset).collect()
    };
    let means: Vec<f64> = all.iter().flatten().map(|pair| pair.0).collect();
    let squares: Vec<f64> = all.iter().flatten().map(|pair| pair.1).collect();
    let scale = largest(&squares);
    let part = Part::Sums;
    [
        Written {
            what: format!("means of {what}"),
            part,
            at: places(0),
            values: means,
            scale: largest(x),
            rounded: None,
        },
        Written { what: format!("squares of {what}"), part, at: places(1), values: squares, scale, rounded: None },
    ]
}

/// Where everything of a case lies in a lane's or trial's part of the memory.
struct Layout {
    case: Case,
    sizes: Sizes,
    /// Floats of a term's tensor, with twice the side.
    term: usize,
    /// Floats of a slot's.
    slot: usize,
}

impl Layout {
    fn new(case: Case) -> Result<Self> {
        let Case { side, stride, channels, outputs, batch, .. } = case;
        let terms = case.terms.iter().map(|kinds| kinds.len()).max().unwrap_or(0).max(1);
        let slots = case.kernels[0].len();
        let out = side / stride.max(1);
        let (term, slot) = (4 * batch * channels * side * side, batch * outputs * out * out);
        let mut sizes = Sizes::new(NODE + 2, terms, 1, FIRST_SLOT + slots + 1, 1, batch)?;
        sizes.tensors = (terms * term + term / 4 + slots * slot) as u32;
        sizes.sums = (2 * (channels * tiles(side, batch) * (terms + 1) + outputs * tiles(out, batch) * slots)) as u32;
        sizes.norms = (2 * channels * terms) as u32;
        sizes.weights = (1 + 2 * channels * terms + slots * outputs * channels * KERNEL * KERNEL) as u32;
        sizes.running = (2 * channels * terms) as u32;
        (sizes.lanes, sizes.trials) = (LANES as i32, TRIALS as i32);
        Ok(Self { case, sizes, term, slot })
    }

    fn terms(&self) -> usize {
        self.sizes.terms as usize
    }

    fn side_out(&self) -> usize {
        self.case.side / self.case.stride.max(1)
    }

    fn value(&self) -> usize {
        self.terms() * self.term
    }

    fn output(&self, slot: usize) -> usize {
        self.value() + self.term / 4 + slot * self.slot
    }

    fn term_statistics(&self, term: usize) -> usize {
        2 * self.case.channels * tiles(self.case.side, self.case.batch) * term
    }

    /// Of the value itself, behind those of the terms.
    fn value_statistics(&self) -> usize {
        self.term_statistics(self.terms())
    }

    fn slot_statistics(&self, slot: usize) -> usize {
        self.term_statistics(self.terms() + 1) + 2 * self.case.outputs * tiles(self.side_out(), self.case.batch) * slot
    }

    /// Not aligned for anything.
    fn scale(&self, term: usize) -> usize {
        1 + 2 * self.case.channels * term
    }

    fn filters(&self, slot: usize) -> usize {
        self.scale(self.terms()) + slot * self.case.outputs * self.case.channels * KERNEL * KERNEL
    }

    /// Fills in the terms of a lane. What they add up to, and what must be written of their batch norms.
    fn fill(
        &self,
        lane: usize,
        plan: &mut Plan,
        memory: &mut Memory,
        random: &mut Random,
        written: &mut Vec<Written>,
    ) -> Array4<f64> {
        let Case { side, channels, batch, images, terms, .. } = self.case;
        let (images, trial) = (images[lane], TRIAL_OF[lane]);
        let [tensors, sums, norms] =
            [self.sizes.tensors, self.sizes.sums, self.sizes.norms].map(|size| lane * size as usize);
        let (weights, running) = (trial * self.sizes.weights as usize, trial * self.sizes.running as usize);
        let ask = Ask {
            present: 1,
            trial: trial as i32,
            images: images as i32,
            outcome: 0,
            running: i32::from(lane == 0),
            edges: 0,
            units: 0,
            spare: 0,
        };
        plan.ask(lane, ask);
        plan.node(lane, NODE, Node { terms: terms[lane].len() as i32, outs: 0 });
        let mut value = Array4::zeros((images, channels, side, side));
        for (index, &kind) in terms[lane].iter().enumerate() {
            let weight = random.value() + 0.3;
            let side_in = if kind == HALVE { 2 * side } else { side };
            let begin = tensors + index * self.term;
            let count = images * channels * side_in * side_in;
            let means: Vec<f32> = (0..channels).map(|_| 3.0 * random.value()).collect();
            for (at, place) in memory.tensors[begin..begin + count].iter_mut().enumerate() {
                *place = random.value() + means[at / (side_in * side_in) % channels];
            }
            let data: Vec<f64> = memory.tensors[begin..begin + count].iter().map(|&value| f64::from(value)).collect();
            let x = Array4::from_shape_vec((images, channels, side_in, side_in), data).expect("as many numbers");
            let affine = kind == NORMALIZED && (index + lane).is_multiple_of(2);
            let somewhere = |affine: bool, place: usize| if affine { place as u32 } else { NOWHERE };
            let term = Term {
                kind: kind as i32,
                weight,
                data: (index * self.term) as u32,
                statistics: self.term_statistics(index) as u32,
                norm: (2 * channels * index) as u32,
                scale: somewhere(affine, self.scale(index)),
                shift: somewhere(affine, self.scale(index) + channels),
                running: somewhere(affine, 2 * channels * index),
                sum: NOWHERE,
                place: NOWHERE,
            };
            plan.term(lane, NODE, index, term);
            let mut output = match kind {
                POOL => average_pooling(&x),
                HALVE => halving(&x),
                NORMALIZED => {
                    let pitch = tiles(side, batch);
                    for (channel, row) in statistics(x.view()).into_iter().enumerate() {
                        for (tile, (mean, squares)) in row.into_iter().enumerate() {
                            let place = sums + self.term_statistics(index) + 2 * (channel * pitch + tile);
                            memory.sums[place..place + 2].copy_from_slice(&[mean as f32, squares as f32]);
                        }
                    }
                    let (output, moments) = normalize(&x);
                    let inverses: Vec<f64> =
                        moments.variance.iter().map(|variance| 1.0 / (variance + NORM_EPSILON).sqrt()).collect();
                    let norm = norms + 2 * channels * index;
                    written.push(Written {
                        what: format!("norm of term {index} of lane {lane}"),
                        part: Part::Norms,
                        at: (norm..norm + 2 * channels).collect(),
                        values: moments.mean.iter().chain(&inverses).copied().collect(),
                        scale: 3.0,
                        rounded: None,
                    });
                    if affine && ask.running != 0 {
                        let begin = running + 2 * channels * index;
                        let pixels = (images * side * side) as f64;
                        let unbiased = moments.variance.iter().map(|variance| variance * pixels / (pixels - 1.0));
                        let moved = |(at, new): (usize, f64)| {
                            let old = memory.running[begin + at];
                            old + NORM_MOMENTUM * (new - old)
                        };
                        written.push(Written {
                            what: format!("running statistics of term {index} of lane {lane}"),
                            part: Part::Running,
                            at: (begin..begin + 2 * channels).collect(),
                            values: moments.mean.iter().copied().chain(unbiased).enumerate().map(moved).collect(),
                            scale: 3.0,
                            rounded: None,
                        });
                    }
                    output
                }
                _ => x,
            };
            if affine {
                for channel in 0..channels {
                    let of = |place: usize| f64::from(memory.weights[weights + place + channel]);
                    let (scale, shift) = (of(self.scale(index)), of(self.scale(index) + channels));
                    output.slice_mut(s![.., channel, .., ..]).mapv_inplace(|value| value * scale + shift);
                }
            }
            value.scaled_add(f64::from(weight), &output);
        }
        value
    }
}

/// The kernels against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device, cases: &[Case], stems: &[([usize; LANES], usize)]) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &SOURCE)?, cases, stems)
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(
    device: &Device,
    kernels: &Kernels,
    cases: &[Case],
    stems: &[([usize; LANES], usize)],
) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for &case in cases {
        check_node(device, kernels, case, &mut checks)?;
    }
    for &(images, outputs) in stems {
        check_stem(device, kernels, images, outputs, &mut checks)?;
    }
    Ok(checks)
}

fn check_node(device: &Device, kernels: &Kernels, case: Case, checks: &mut Vec<Comparison>) -> Result<()> {
    let Case { side, stride, channels, outputs, batch, images, .. } = case;
    let layout = Layout::new(case)?;
    let sizes = layout.sizes;
    let mut random = Random((side * 1000 + channels * 10 + batch) as u64);
    let mut memory = Memory::new(&sizes, &mut random);
    let mut plan = Plan::new(device, sizes)?;
    let mut written = Vec::new();
    for lane in (0..LANES).filter(|lane| images[*lane] > 0) {
        let value = layout.fill(lane, &mut plan, &mut memory, &mut random, &mut written);
        let (tensors, sums) = (lane * sizes.tensors as usize, lane * sizes.sums as usize);
        written.push(tensor(format!("value of lane {lane}"), tensors + layout.value(), &value));
        if stride == 0 {
            let begin = sums + layout.value_statistics();
            written.extend(statistics_of(&format!("the value of lane {lane}"), begin, tiles(side, batch), &value));
        }
        let seen = if case.relu { relu(&value) } else { value };
        for (slot, &kernel) in case.kernels[lane].iter().enumerate() {
            let (place, begin) = (layout.filters(slot), layout.filters(slot) + TRIAL_OF[lane] * sizes.weights as usize);
            plan.slot(lane, FIRST_SLOT + slot, slot_of(&layout, slot, kernel, place));
            if kernel == 0 {
                continue;
            }
            let filters = &memory.weights[begin..begin + outputs * channels * kernel * kernel];
            let filters = filters.iter().map(|&value| f64::from(value)).collect();
            let filters = Array4::from_shape_vec((outputs, channels, kernel, kernel), filters).expect("as many taps");
            let z = convolve(&seen, filters.view(), stride);
            let name = format!("output {slot} of lane {lane}");
            let begin = sums + layout.slot_statistics(slot);
            let statistics = statistics_of(&name, begin, tiles(layout.side_out(), batch), &z);
            written.extend(statistics.map(|one| Written { rounded: Some(TF32_MEANS), ..one }));
            written.push(Written { rounded: Some(TF32), ..tensor(name, tensors + layout.output(slot), &z) });
        }
    }
    plan.upload()?;
    let shape = Shape {
        node: NODE as i32,
        channels: channels as i32,
        side: side as i32,
        first_slot: FIRST_SLOT as i32,
        slots: case.kernels[0].len() as i32,
        outputs: outputs as i32,
        relu: i32::from(case.relu),
        value: layout.value() as u32,
        gradient: NOWHERE,
        gradient_sum: NOWHERE,
    };
    let launch = |buffers: &mut Buffers, version: Version| {
        let Buffers { tensors, sums, norms, weights, running } = buffers;
        let (plan, weights) = (&plan, &*weights);
        macro_rules! launch {
            ($launch:ident) => {
                $launch { plan, weights, tensors, sums, norms, running, shape }.launch(kernels, version)
            };
        }
        match (side, stride) {
            (32, 1) => launch!(Node32),
            (16, 1) => launch!(Node16),
            (8, 1) => launch!(Node8),
            (32, 2) => launch!(NodeDown16),
            (16, 2) => launch!(NodeDown8),
            _ => {
                let head = head_of(&layout);
                LastNode { plan, weights, tensors, sums, norms, running, head }.launch(kernels, version)
            }
        }
    };
    let only_naive = case.kernels.iter().copied().flatten().any(|kernel| *kernel > 3);
    let versions: &[Version] =
        if only_naive { &[Version::Naive] } else { &[Version::Fast, Version::Naive, Version::Tf32] };
    let signature = match (side, stride) {
        (32, 1) => Node32::SIGNATURE,
        (16, 1) => Node16::SIGNATURE,
        (8, 1) => Node8::SIGNATURE,
        (32, 2) => NodeDown16::SIGNATURE,
        (16, 2) => NodeDown8::SIGNATURE,
        _ => LastNode::SIGNATURE,
    };
    let versions: Vec<Version> = own(versions, &signature).collect();
    let label =
        format!("node of {side}, stride {stride}, {channels} to {outputs} channels, images {images:?} of {batch}");
    check(device, &label, &versions, &memory, &written, launch, checks)
}

/// A slot, or one that takes no part, of which nothing else may be read.
fn slot_of(layout: &Layout, slot: usize, kernel: usize, filters: usize) -> Slot {
    let used = |place: usize| if kernel == 0 { NOWHERE } else { place as u32 };
    Slot {
        kernel: kernel as i32,
        relu: i32::from(layout.case.relu),
        normalized: 1,
        inputs: layout.case.channels as i32,
        outputs: layout.case.outputs as i32,
        weight: f32::NAN,
        filters: used(filters),
        scale: NOWHERE,
        output: used(layout.output(slot)),
        statistics: used(layout.slot_statistics(slot)),
        norm: NOWHERE,
        source: used(layout.value()),
        gradient: NOWHERE,
        gradient_sum: NOWHERE,
        sum: NOWHERE,
        partial: NOWHERE,
    }
}

/// The head behind a case's node; only what the last node needs.
fn head_of(layout: &Layout) -> Head {
    Head {
        node: NODE as i32,
        channels: layout.case.channels as i32,
        side: layout.case.side as i32,
        classes: 0,
        value: layout.value() as u32,
        gradient: NOWHERE,
        gradient_sum: NOWHERE,
        statistics: layout.value_statistics() as u32,
        norm: NOWHERE,
        scale: NOWHERE,
        shift: NOWHERE,
        running: NOWHERE,
        weight: NOWHERE,
        bias: NOWHERE,
        features: NOWHERE,
        logits: NOWHERE,
        logit_slopes: NOWHERE,
        feature_slopes: NOWHERE,
        sum: NOWHERE,
        partial: NOWHERE,
    }
}

fn check_stem(
    device: &Device,
    kernels: &Kernels,
    images: [usize; LANES],
    outputs: usize,
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    const SIDE: usize = 32;
    const THERE: usize = 4;
    let batch = images.iter().copied().max().unwrap_or(1);
    let none: [&[usize]; LANES] = [&[]; LANES];
    let kernels_of: [&[usize]; LANES] = [&[3], &[0], &[3]];
    let case = Case {
        side: SIDE,
        stride: 1,
        channels: 3,
        outputs,
        batch,
        images,
        terms: none,
        kernels: kernels_of,
        relu: false,
    };
    let layout = Layout::new(case)?;
    let sizes = layout.sizes;
    let mut random = Random(outputs as u64);
    let memory = Memory::new(&sizes, &mut random);
    let bytes: Vec<u8> = (0..THERE * PIXELS).map(|_| random.below(256) as u8).collect();
    let all = Images::new(bytes, vec![0; THERE], vec![String::new()])?;
    let normalization = Normalization::of(&all, &(0..THERE as u32).collect::<Vec<_>>())?;
    let table: Vec<f32> = normalization.values().iter().flatten().map(|&value| value as f32).collect();
    // Corners of the padded image, flipped and not, then whatever comes.
    let mut crops = Vec::new();
    for at in 0..LANES * batch {
        let [top, left] = [[0, 8], [8, 0], [4, 4]].get(at).copied().unwrap_or([random.below(9), random.below(9)]);
        let image = random.below(THERE) as u32;
        crops.push(Crop { image, top: top as u8, left: left as u8, flip: at % 2 == 0 });
    }
    let mut samples = vec![0; LANES * batch * Sample::WORDS];
    for (crop, words) in crops.iter().zip(samples.chunks_exact_mut(Sample::WORDS)) {
        let Crop { image, top, left, flip } = *crop;
        Sample { image, top: top.into(), left: left.into(), flip: flip.into(), label: 0 }.write(words);
    }
    let words: Vec<u32> = all.pixels().as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (words, samples) = (device.upload("images", &words)?, device.upload("samples", &samples)?);
    let values = device.upload("values of bytes", &table)?;

    let mut plan = Plan::new(device, sizes)?;
    let mut written = Vec::new();
    for lane in (0..LANES).filter(|lane| images[*lane] > 0) {
        let ask = Ask {
            present: 1,
            trial: TRIAL_OF[lane] as i32,
            images: images[lane] as i32,
            outcome: 0,
            running: 1,
            edges: 0,
            units: 0,
            spare: 0,
        };
        plan.ask(lane, ask);
        let mut pixels = vec![0.0f32; images[lane] * PIXELS];
        all.fill(&crops[lane * batch..][..images[lane]], &normalization, &mut pixels)?;
        let pixels = pixels.into_iter().map(f64::from).collect();
        let x = Array4::from_shape_vec((images[lane], 3, SIDE, SIDE), pixels).expect("as many pixels");
        let place = layout.filters(0);
        plan.slot(lane, FIRST_SLOT, slot_of(&layout, 0, 3, place));
        let begin = place + TRIAL_OF[lane] * sizes.weights as usize;
        let filters = memory.weights[begin..begin + outputs * 27].iter().map(|&value| f64::from(value)).collect();
        let filters = Array4::from_shape_vec((outputs, 3, 3, 3), filters).expect("as many taps");
        let z = convolve(&x, filters.view(), 1);
        let name = format!("output of lane {lane}");
        let sums = lane * sizes.sums as usize + layout.slot_statistics(0);
        written.extend(statistics_of(&name, sums, tiles(SIDE, batch), &z));
        written.push(tensor(name, lane * sizes.tensors as usize + layout.output(0), &z));
    }
    plan.upload()?;
    let shape = Shape {
        node: 0,
        channels: 3,
        side: SIDE as i32,
        first_slot: FIRST_SLOT as i32,
        slots: 1,
        outputs: outputs as i32,
        relu: 0,
        value: NOWHERE,
        gradient: NOWHERE,
        gradient_sum: NOWHERE,
    };
    let launch = |buffers: &mut Buffers, version: Version| {
        let Buffers { tensors, sums, weights, .. } = buffers;
        let (plan, weights) = (&plan, &*weights);
        Stem { plan, images: &words, samples: &samples, values: &values, weights, tensors, sums, shape }
            .launch(kernels, version)
    };
    let label = format!("stem, {outputs} channels, images {images:?}");
    check(device, &label, &[Version::Fast, Version::Naive], &memory, &written, launch, checks)
}
