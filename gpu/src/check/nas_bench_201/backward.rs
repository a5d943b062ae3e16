//! The way back: gradients of nodes and the sums over them, against formulas in double precision that pass on, pixel by pixel, what the kernels
//! gather. That these formulas are the derivatives is checked by central differences, in the tests of this file.

use advantage_nas::comparison::Comparison;
use advantage_nas::tolerance::{F32_NETWORK, F64_SUMS, Tolerance};
use advantage_nas_oracles::layers;
use ndarray::{Array4, ArrayView4};

use super::numbers::{TF32, own};
use crate::device::Device;
use crate::error::Result;
use crate::kernels::nas_bench_201::backward::{
    Answers, Back8, Back16, Back32, BackLast, BackUp16, BackUp32, SOURCE, Targets,
};
use crate::kernels::nas_bench_201::{
    Ask, HALVE, Head, NORMALIZED, NOWHERE, Node, Out, PLAIN, POOL, Plan, SKIP, Shape, Sizes, Slot, TILE_ROWS, Target,
    Term, tiles,
};
use crate::kernels::{Kernels, Version};

/// What a launch of `back` is checked with. All lanes have plans of their own; the last one has none.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Height and width of the node.
    pub side: usize,
    /// Stride of the convolutions that read it.
    pub stride: usize,
    /// Its channels.
    pub channels: usize,
    /// Channels behind the convolutions.
    pub outputs: usize,
    /// Images of a minibatch, at most.
    pub batch: usize,
    /// Images of every lane that has a plan.
    pub images: &'static [usize],
    /// Slots that read it.
    pub slots: usize,
    /// Layers without weights that read it.
    pub outs: usize,
    /// Terms that it is the sum of.
    pub terms: usize,
    /// Heights of filters, taken in turn; 0 for a slot without a convolution.
    pub kernels: &'static [usize],
}

/// The smallest case, from which others differ.
const ONE: Case = Case {
    side: 8,
    stride: 1,
    channels: 1,
    outputs: 1,
    batch: 1,
    images: &[1],
    slots: 1,
    outs: 1,
    terms: 1,
    kernels: &[3],
};

/// All sides and strides, channels that fill no block and more than one, more steps than stages, minibatches that are not whole, slots that are
/// taken one after the other, nodes that nothing reads.
pub const CASES: [Case; 11] = [
    Case {
        side: 32,
        channels: 17,
        outputs: 9,
        batch: 2,
        images: &[1],
        slots: 2,
        outs: 2,
        terms: 5,
        kernels: &[3, 1],
        ..ONE
    },
    Case {
        side: 32,
        channels: 3,
        outputs: 5,
        batch: 3,
        images: &[3, 2],
        slots: 3,
        outs: 3,
        terms: 4,
        kernels: &[1, 3, 0],
        ..ONE
    },
    Case {
        side: 16,
        channels: 5,
        outputs: 17,
        batch: 3,
        images: &[2, 3],
        slots: 3,
        outs: 3,
        terms: 5,
        kernels: &[3, 0, 1],
        ..ONE
    },
    Case {
        channels: 5,
        outputs: 17,
        batch: 5,
        images: &[3, 2, 5],
        slots: 3,
        outs: 2,
        terms: 5,
        kernels: &[3, 1, 0],
        ..ONE
    },
    Case { channels: 2, outputs: 130, batch: 2, images: &[2], slots: 2, outs: 0, terms: 1, kernels: &[1, 3], ..ONE },
    // One step of k: what is added up at the end lies where it was read.
    Case { channels: 16, outputs: 3, batch: 2, images: &[2], slots: 1, outs: 0, terms: 1, kernels: &[3], ..ONE },
    Case { channels: 3, outputs: 3, batch: 3, images: &[2, 3], slots: 2, outs: 2, terms: 3, kernels: &[0], ..ONE },
    Case { outputs: 0, slots: 0, outs: 0, terms: 2, ..ONE },
    Case {
        side: 32,
        stride: 2,
        channels: 3,
        outputs: 9,
        batch: 2,
        images: &[1, 2],
        slots: 1,
        outs: 2,
        terms: 3,
        ..ONE
    },
    Case {
        side: 16,
        stride: 2,
        channels: 17,
        outputs: 11,
        batch: 2,
        images: &[2],
        slots: 2,
        outs: 2,
        terms: 3,
        kernels: &[3, 1],
    },
    ONE,
];

/// Cases that are enough to see faults: most of the kernels' text is the same for all sides.
pub const FEW: [Case; 4] = [
    Case {
        side: 16,
        channels: 5,
        outputs: 17,
        batch: 3,
        images: &[2, 3],
        slots: 3,
        outs: 3,
        terms: 5,
        kernels: &[3, 0, 1],
        ..ONE
    },
    Case { channels: 2, outputs: 130, batch: 2, images: &[2], slots: 2, outs: 0, terms: 1, kernels: &[1, 3], ..ONE },
    // One step of k: what is added up at the end lies where it was read.
    Case { channels: 16, outputs: 3, batch: 2, images: &[2], slots: 1, outs: 0, terms: 1, kernels: &[3], ..ONE },
    Case {
        side: 32,
        stride: 2,
        channels: 3,
        outputs: 9,
        batch: 2,
        images: &[1, 2],
        slots: 1,
        outs: 2,
        terms: 3,
        ..ONE
    },
];

/// What only the naive versions can do: filters of any height.
pub const WIDE: Case = Case {
    side: 16,
    channels: 2,
    outputs: 3,
    batch: 2,
    images: &[2],
    slots: 2,
    outs: 1,
    terms: 1,
    kernels: &[5, 7],
    ..ONE
};

/// Numbers between -1 and 1 that look random.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let mixed = (self.0 >> 33) ^ (self.0 >> 40);
        (mixed as u32 as f32 / (1u32 << 30) as f32 - 1.0).clamp(-1.0, 1.0)
    }

    fn many(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// A part of a buffer for every lane or trial, NaN but where something was put.
struct Arena {
    parts: usize,
    length: usize,
    values: Vec<Vec<f32>>,
}

impl Arena {
    fn new(parts: usize) -> Self {
        Self { parts, length: 0, values: vec![Vec::new(); parts] }
    }

    /// Room for so many values in every part, which begins where vectors of 4 may.
    fn room(&mut self, count: usize) -> u32 {
        let begin = self.length;
        self.length = (begin + count).next_multiple_of(4);
        self.values.iter_mut().for_each(|values| values.resize(self.length, f32::NAN));
        begin as u32
    }

    fn put(&mut self, part: usize, at: u32, values: &[f32]) {
        self.values[part][at as usize..][..values.len()].copy_from_slice(values);
    }

    fn get(&self, part: usize, at: u32, count: usize) -> Vec<f64> {
        self.values[part][at as usize..][..count].iter().map(|value| f64::from(*value)).collect()
    }

    fn whole(&self) -> Vec<f32> {
        // Buffers are never empty.
        if self.length == 0 { vec![f32::NAN; self.parts] } else { self.values.concat() }
    }
}

/// A convolution that reads a node, with what lies behind it; `[batch, outputs, side, side]`.
#[derive(Clone)]
struct Convolution {
    filters: Array4<f64>,
    stride: usize,
    weight: f64,
    /// Scale, mean, `1/√(v + ε)`, sum of the gradient, sum of that times z − mean, of every channel; nothing without a batch norm.
    norm: Option<Vec<[f64; 5]>>,
    /// Of what the weight multiplies into.
    gradient: Array4<f64>,
    output: Array4<f64>,
}

impl Convolution {
    /// The gradient of z: `weight · scale · inverse · (g − mean(g) − ẑ · mean(g ẑ))` with `ẑ = (z − mean) · inverse`.
    fn output_gradient(&self) -> Array4<f64> {
        let count = (self.gradient.len() / self.gradient.dim().1) as f64;
        Array4::from_shape_fn(self.gradient.dim(), |place| {
            let g = self.gradient[place];
            let Some(norm) = &self.norm else { return self.weight * g };
            let [scale, mean, inverse, sum, product] = norm[place.1];
            let normalized = (self.output[place] - mean) * inverse;
            self.weight * scale * inverse * (g - sum / count - normalized * (product * inverse) / count)
        })
    }

    /// The gradient of its input: every output passes on to the pixels that it was made of.
    fn input_gradient(&self, side: usize) -> Array4<f64> {
        let dz = self.output_gradient();
        let (batch, ..) = dz.dim();
        let (_, inputs, kernel, _) = self.filters.dim();
        let mut out = Array4::zeros((batch, inputs, side, side));
        for ((image, o, y, x), slope) in dz.indexed_iter() {
            for ((_, c, ky, kx), tap) in self.filters.slice(ndarray::s![o..=o, .., .., ..]).indexed_iter() {
                let (row, column) = (y * self.stride + ky, x * self.stride + kx);
                let inside = kernel / 2..side + kernel / 2;
                if inside.contains(&row) && inside.contains(&column) {
                    out[[image, c, row - kernel / 2, column - kernel / 2]] += tap * slope;
                }
            }
        }
        out
    }
}

/// The gradient of the input of a layer without weights.
fn layer_gradient(kind: usize, gradient: &Array4<f64>, side: usize) -> Array4<f64> {
    let (batch, channels, ..) = gradient.dim();
    let mut out = Array4::zeros((batch, channels, side, side));
    for ((image, c, y, x), slope) in gradient.indexed_iter() {
        let (rows, columns) = match kind {
            SKIP => (y..y + 1, x..x + 1),
            POOL => (y.saturating_sub(1)..(y + 2).min(side), x.saturating_sub(1)..(x + 2).min(side)),
            _ => (2 * y..2 * y + 2, 2 * x..2 * x + 2),
        };
        let share = slope / (rows.len() * columns.len()) as f64;
        for row in rows {
            for column in columns.clone() {
                out[[image, c, row, column]] += share;
            }
        }
    }
    out
}

/// The gradient of a node from all that reads it.
fn node_gradient(
    value: &Array4<f64>,
    relu: bool,
    convolutions: &[Convolution],
    others: &[(usize, f64, Array4<f64>)],
) -> Array4<f64> {
    let side = value.dim().2;
    let mut out = Array4::zeros(value.dim());
    for convolution in convolutions {
        out += &convolution.input_gradient(side);
    }
    if relu {
        out.zip_mut_with(value, |g, x| *g = if *x > 0.0 { *g } else { 0.0 });
    }
    for (kind, weight, gradient) in others {
        out += &(layer_gradient(*kind, gradient, side) * *weight);
    }
    out
}

/// What a term multiplies, and whether the kernels sum it; of a batch norm, z − mean.
struct Summed {
    sum: u32,
    output: Array4<f64>,
}

/// A node with plans for all lanes, in host memory.
struct Setup {
    tensors: Arena,
    sums: Arena,
    norms: Arena,
    weights: Arena,
}

/// How far gradients may be apart in single precision.
const SINGLE: Tolerance = Tolerance::OfLargest(F32_NETWORK);

/// Lanes, trials, nodes; the node that is checked is the last one.
const TRIALS: usize = 2;
const NODES: usize = 2;

impl Setup {
    fn new(lanes: usize) -> Self {
        let parts = || Arena::new(lanes);
        Self { tensors: parts(), sums: parts(), norms: parts(), weights: Arena::new(TRIALS) }
    }

    /// The plan, once all room is known.
    fn plan(&self, device: &Device, terms: usize, outs: usize, slots: usize, batch: usize) -> Result<Plan> {
        let mut sizes = Sizes::new(NODES, terms, outs, slots, 0, batch)?;
        sizes.tensors = self.tensors.length as u32;
        sizes.sums = self.sums.length as u32;
        sizes.norms = self.norms.length as u32;
        sizes.weights = self.weights.length as u32;
        sizes.lanes = self.tensors.parts as i32;
        sizes.trials = TRIALS as i32;
        Plan::new(device, sizes)
    }

    /// A tensor of which so many images are there.
    fn tensor(&mut self, numbers: &mut Numbers, lane: usize, at: u32, shape: [usize; 4]) -> Array4<f64> {
        let values = numbers.many(shape.iter().product());
        self.tensors.put(lane, at, &values);
        array(&values, shape)
    }

    /// A row of sums for every channel, of which those of the images are there; what they add up to.
    fn row_sums(
        &mut self,
        numbers: &mut Numbers,
        lane: usize,
        at: u32,
        channels: usize,
        lengths: [usize; 2],
    ) -> Vec<f64> {
        let [row, there] = lengths;
        (0..channels)
            .map(|channel| {
                let values = numbers.many(there);
                self.sums.put(lane, at + (channel * row) as u32, &values);
                values.iter().map(|value| f64::from(*value)).sum()
            })
            .collect()
    }

    /// The terms of the node: of all kinds in turn.
    fn terms(
        &mut self,
        plan: &mut Plan,
        numbers: &mut Numbers,
        lane: usize,
        room: &[[u32; 3]],
        shape: [usize; 4],
        edges: bool,
    ) -> Vec<Summed> {
        let [_, channels, ..] = shape;
        let mut out = Vec::new();
        for (index, &[data, norm, sum]) in room.iter().enumerate() {
            let kind = [NORMALIZED, POOL, SKIP, PLAIN, HALVE][(index + lane) % 5];
            let place = if index == 2 { NOWHERE } else { index as u32 };
            let term = Term {
                kind: kind as i32,
                weight: numbers.next(),
                data,
                statistics: NOWHERE,
                norm,
                scale: NOWHERE,
                shift: NOWHERE,
                running: NOWHERE,
                sum,
                place,
            };
            plan.term(lane, NODES - 1, index, term);
            let mut output = self.tensor(numbers, lane, data, shape);
            if kind == NORMALIZED {
                let mean = numbers.many(channels);
                self.norms.put(lane, norm, &mean);
                for ((_, c, ..), u) in output.indexed_iter_mut() {
                    *u -= f64::from(mean[c]);
                }
            } else if !edges || place == NOWHERE || kind == HALVE {
                continue;
            } else if kind == POOL {
                output = layers::average_pooling(&output);
            }
            out.push(Summed { sum, output });
        }
        out
    }
}

fn array(values: &[f32], shape: [usize; 4]) -> Array4<f64> {
    let values = values.iter().map(|value| f64::from(*value)).collect();
    Array4::from_shape_vec(shape, values).expect("as many values as the shape says")
}

/// What has to be in the buffers of a lane after a launch.
struct Expected {
    lane: usize,
    /// Where the gradient is, and what it is.
    gradient: (u32, Array4<f64>),
    gradient_sum: u32,
    summed: Vec<Summed>,
}

/// Compares what is on the device with what is expected, and all that should not have been written with what it was.
fn compare_lanes(
    checks: &mut Vec<Comparison>,
    label: &str,
    setup: &Setup,
    batch: usize,
    got: [&[f32]; 2],
    expected: &[Expected],
    close: Tolerance,
) {
    let mut before = [setup.tensors.whole(), setup.sums.whole()];
    for Expected { lane, gradient: (at, gradient), gradient_sum, summed } in expected {
        let begin = lane * setup.tensors.length + *at as usize;
        let values = &got[0][begin..][..gradient.len()];
        before[0][begin..][..gradient.len()].copy_from_slice(values);
        let got_gradient = array(values, gradient.dim().into());
        checks.push(Comparison::new(format!("gradient of lane {lane}, {label}"), &got_gradient, gradient, close));

        // Sums are over what is on the device.
        let (images, channels, side, _) = gradient.dim();
        let (row, there) = (tiles(side, batch), tiles(side, images));
        let ones = Array4::ones(gradient.dim());
        let wanted = summed.iter().map(|one| (one.sum, &one.output)).chain([(*gradient_sum, &ones)]);
        for (sum, output) in wanted {
            let mut expected = vec![0.0; channels * there];
            let mut sizes = expected.clone();
            for ((place, g), u) in got_gradient.indexed_iter().zip(output) {
                let (image, c, y, _) = place;
                let tile = if side < 16 { image / 2 } else { image * (side / TILE_ROWS) + y / TILE_ROWS };
                expected[c * there + tile] += g * u;
                sizes[c * there + tile] += (g * u).abs();
            }
            let mut values = Vec::new();
            for channel in 0..channels {
                let begin = lane * setup.sums.length + sum as usize + channel * row;
                values.extend_from_slice(&got[1][begin..][..there]);
                let (from, to) = (&got[1][begin..][..there], &mut before[1][begin..][..there]);
                to.copy_from_slice(from);
            }
            let floor = F32_NETWORK * sizes.iter().copied().fold(0.0, f64::max);
            let name = format!("sums at {sum} of lane {lane}, {label}");
            checks.push(Comparison::new(name, &values, &expected, Tolerance::Close { relative: 0.0, floor }));
        }
    }
    for (what, got, before) in [("tensors", got[0], &before[0]), ("sums", got[1], &before[1])] {
        let changed = got.iter().zip(before).filter(|(got, before)| got.to_bits() != before.to_bits()).count();
        checks.push(Comparison::equal(format!("{what} that were not to be written, {label}"), &[changed], &[0]));
    }
}

/// `back` on a case.
fn back(
    device: &Device,
    kernels: &Kernels,
    case: &Case,
    versions: &[Version],
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let &Case { side, stride, channels, outputs, batch, .. } = case;
    let size = side / stride;
    let lanes = case.images.len() + 1;
    let mut setup = Setup::new(lanes);
    let mut numbers = Numbers(7);
    let _ = setup.tensors.room(4); // nothing begins at 0
    let _ = setup.sums.room(3);
    let pixels = side * side;
    let value = setup.tensors.room(batch * channels * pixels);
    let gradient = setup.tensors.room(batch * channels * pixels);
    let gradient_sum = setup.sums.room(channels * tiles(side, batch));
    let largest = case.kernels.iter().copied().max().unwrap_or(0);
    struct SlotRoom {
        filters: u32,
        scale: u32,
        output: u32,
        norm: u32,
        gradient: u32,
        gradient_sum: u32,
        sum: u32,
    }
    let slot_rooms: Vec<SlotRoom> = (0..case.slots)
        .map(|_| SlotRoom {
            filters: setup.weights.room(outputs * channels * largest * largest),
            scale: setup.weights.room(outputs),
            output: setup.tensors.room(batch * outputs * size * size),
            norm: setup.norms.room(2 * outputs),
            gradient: setup.tensors.room(batch * outputs * size * size),
            gradient_sum: setup.sums.room(outputs * tiles(size, batch)),
            sum: setup.sums.room(outputs * tiles(size, batch)),
        })
        .collect();
    let out_rooms: Vec<u32> = (0..case.outs).map(|_| setup.tensors.room(batch * channels * pixels)).collect();
    let term_rooms: Vec<[u32; 3]> = (0..case.terms)
        .map(|_| {
            [
                setup.tensors.room(batch * channels * pixels),
                setup.norms.room(2 * channels),
                setup.sums.room(channels * tiles(side, batch)),
            ]
        })
        .collect();
    let _ = setup.norms.room(1);
    let _ = setup.weights.room(1);
    for trial in 0..TRIALS {
        let values = numbers.many(setup.weights.length);
        setup.weights.put(trial, 0, &values);
    }
    // A slot before those of the node.
    let first_slot = 1;
    let mut plan = setup.plan(device, case.terms + 1, case.outs + 1, first_slot + case.slots, batch)?;
    let relu = channels % 2 == 1;
    let mut expected = Vec::new();
    for (lane, &images) in case.images.iter().enumerate() {
        let trial = (lane + 1) % TRIALS;
        let edges = lane != 1;
        plan.ask(
            lane,
            Ask {
                present: 1,
                trial: trial as i32,
                images: images as i32,
                outcome: 0,
                running: 0,
                edges: i32::from(edges),
                units: 0,
                spare: 0,
            },
        );
        plan.node(lane, NODES - 1, Node { terms: case.terms as i32, outs: case.outs as i32 });
        let shape = [images, channels, side, side];
        let x = setup.tensor(&mut numbers, lane, value, shape);
        let mut convolutions = Vec::new();
        for (index, room) in slot_rooms.iter().enumerate() {
            let kernel = case.kernels[(index + lane) % case.kernels.len()];
            let normalized = (index + lane) % 3 != 1;
            let scale = if index % 2 == 0 { room.scale } else { NOWHERE };
            let weight = numbers.next();
            let slot = Slot {
                kernel: kernel as i32,
                relu: i32::from(relu),
                normalized: i32::from(normalized),
                inputs: channels as i32,
                outputs: outputs as i32,
                weight,
                filters: room.filters,
                scale,
                output: room.output,
                statistics: NOWHERE,
                norm: room.norm,
                source: value,
                gradient: room.gradient,
                gradient_sum: room.gradient_sum,
                sum: room.sum,
                partial: NOWHERE,
            };
            plan.slot(lane, first_slot + index, slot);
            if kernel == 0 {
                continue;
            }
            let shape = [images, outputs, size, size];
            let gradient = setup.tensor(&mut numbers, lane, room.gradient, shape);
            let mut output = Array4::zeros(shape);
            let norm = normalized.then(|| {
                output = setup.tensor(&mut numbers, lane, room.output, shape);
                let mean = numbers.many(outputs);
                let inverse: Vec<f32> = numbers.many(outputs).into_iter().map(|value| 1.0 + 0.5 * value).collect();
                setup.norms.put(lane, room.norm, &mean);
                setup.norms.put(lane, room.norm + outputs as u32, &inverse);
                let lengths = [tiles(size, batch), tiles(size, images)];
                let sums = setup.row_sums(&mut numbers, lane, room.gradient_sum, outputs, lengths);
                let products = setup.row_sums(&mut numbers, lane, room.sum, outputs, lengths);
                let scales = setup.weights.get(trial, room.scale, outputs);
                (0..outputs)
                    .map(|o| {
                        let scale = if scale == NOWHERE { 1.0 } else { scales[o] };
                        [scale, mean[o].into(), inverse[o].into(), sums[o], products[o]]
                    })
                    .collect()
            });
            let filters = setup.weights.get(trial, room.filters, outputs * channels * kernel * kernel);
            let filters = ArrayView4::from_shape([outputs, channels, kernel, kernel], &filters).expect("all filters");
            let filters = filters.to_owned();
            convolutions.push(Convolution { filters, stride, weight: weight.into(), norm, gradient, output });
        }
        let mut others = Vec::new();
        for (index, &room) in out_rooms.iter().enumerate() {
            let kind = [POOL, SKIP, HALVE][(index + lane) % if side == 8 { 2 } else { 3 }];
            let weight = numbers.next();
            plan.out(lane, NODES - 1, index, Out { kind: kind as i32, weight, gradient: room });
            let side = if kind == HALVE { side / 2 } else { side };
            let gradient = setup.tensor(&mut numbers, lane, room, [images, channels, side, side]);
            others.push((kind, weight.into(), gradient));
        }
        let summed = setup.terms(&mut plan, &mut numbers, lane, &term_rooms, shape, edges);
        let whole = node_gradient(&x, relu, &convolutions, &others);
        expected.push(Expected { lane, gradient: (gradient, whole), gradient_sum, summed });
    }
    plan.upload()?;
    let shape = Shape {
        node: NODES as i32 - 1,
        channels: channels as i32,
        side: side as i32,
        first_slot: first_slot as i32,
        slots: case.slots as i32,
        outputs: outputs as i32,
        relu: i32::from(relu),
        value,
        gradient,
        gradient_sum,
    };
    let signature = match (side, stride) {
        (32, 1) => Back32::SIGNATURE,
        (16, 1) => Back16::SIGNATURE,
        (8, 1) => Back8::SIGNATURE,
        (32, _) => BackUp32::SIGNATURE,
        _ => BackUp16::SIGNATURE,
    };
    for version in own(versions, &signature) {
        let label = format!("back, {version:?}, {case:?}");
        let mut tensors = device.upload("tensors", &setup.tensors.whole())?;
        let mut sums = device.upload("sums", &setup.sums.whole())?;
        let norms = device.upload("norms", &setup.norms.whole())?;
        let weights = device.upload("weights", &setup.weights.whole())?;
        macro_rules! launch {
            ($launch:ident) => {
                $launch { plan: &plan, weights: &weights, tensors: &mut tensors, sums: &mut sums, norms: &norms, shape }
                    .launch(kernels, version)?
            };
        }
        match (side, stride) {
            (32, 1) => launch!(Back32),
            (16, 1) => launch!(Back16),
            (8, 1) => launch!(Back8),
            (32, _) => launch!(BackUp32),
            _ => launch!(BackUp16),
        }
        device.synchronize().map_err(|error| error.after(&label))?;
        let close = if version == Version::Tf32 { TF32 } else { SINGLE };
        compare_lanes(checks, &label, &setup, batch, [&tensors.to_vec()?, &sums.to_vec()?], &expected, close);
    }
    Ok(())
}

/// The gradient of the last node out of the head: `inverse · scale · (g − mean(g) − x̂ · mean(g x̂))` with `g` that of the batch norm's output, a
/// share of the average's where it is positive.
fn head_gradient(x: &Array4<f64>, slopes: &[f64], channels: &[[f64; 6]]) -> Array4<f64> {
    let (images, count, side, _) = x.dim();
    let pixels = (side * side) as f64;
    Array4::from_shape_fn(x.dim(), |place| {
        let (image, c, ..) = place;
        let [scale, shift, mean, inverse, sum, product] = channels[c];
        let normalized = (x[place] - mean) * inverse;
        let g = if normalized * scale + shift > 0.0 { slopes[image * count + c] / pixels } else { 0.0 };
        let all = images as f64 * pixels;
        scale * inverse * (g - sum / all - normalized * (product * inverse) / all)
    })
}

/// `back_last` with so many channels and images.
fn back_last(
    device: &Device,
    kernels: &Kernels,
    (channels, batch, of_lanes): (usize, usize, &[usize]),
    versions: &[Version],
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    const SIDE: usize = 8;
    let lanes = of_lanes.len() + 1;
    let mut setup = Setup::new(lanes);
    let mut numbers = Numbers(9);
    let _ = setup.tensors.room(4);
    let value = setup.tensors.room(batch * channels * SIDE * SIDE);
    let gradient = setup.tensors.room(batch * channels * SIDE * SIDE);
    let feature_slopes = setup.tensors.room(batch * channels);
    let gradient_sum = setup.sums.room(channels * tiles(SIDE, batch));
    let sum = setup.sums.room(2 * channels * batch);
    let norm = setup.norms.room(2 * channels);
    let (scale, shift) = (setup.weights.room(channels), setup.weights.room(channels));
    let term_rooms: Vec<[u32; 3]> = (0..4)
        .map(|_| {
            [
                setup.tensors.room(batch * channels * SIDE * SIDE),
                setup.norms.room(2 * channels),
                setup.sums.room(channels * tiles(SIDE, batch)),
            ]
        })
        .collect();
    for trial in 0..TRIALS {
        let values = numbers.many(setup.weights.length);
        setup.weights.put(trial, 0, &values);
    }
    let mut plan = setup.plan(device, 4, 0, 0, batch)?;
    let mut expected = Vec::new();
    for (lane, &images) in of_lanes.iter().enumerate() {
        let trial = lane % TRIALS;
        let edges = lane != 1;
        plan.ask(
            lane,
            Ask {
                present: 1,
                trial: trial as i32,
                images: images as i32,
                outcome: 0,
                running: 0,
                edges: i32::from(edges),
                units: 0,
                spare: 0,
            },
        );
        plan.node(lane, NODES - 1, Node { terms: 4, outs: 0 });
        let shape = [images, channels, SIDE, SIDE];
        let x = setup.tensor(&mut numbers, lane, value, shape);
        let slopes = numbers.many(images * channels);
        setup.tensors.put(lane, feature_slopes, &slopes);
        let slopes: Vec<f64> = slopes.into_iter().map(f64::from).collect();
        let (mean, inverse) = (numbers.many(channels), numbers.many(channels));
        let inverse: Vec<f32> = inverse.into_iter().map(|value| 1.5 + value).collect();
        setup.norms.put(lane, norm, &mean);
        setup.norms.put(lane, norm + channels as u32, &inverse);
        let sums = setup.row_sums(&mut numbers, lane, sum, channels, [batch, images]);
        let products = setup.row_sums(&mut numbers, lane, sum + (channels * batch) as u32, channels, [batch, images]);
        let (scales, shifts) = (setup.weights.get(trial, scale, channels), setup.weights.get(trial, shift, channels));
        let of: Vec<_> = (0..channels)
            .map(|c| [scales[c], shifts[c], mean[c].into(), inverse[c].into(), sums[c], products[c]])
            .collect();
        let whole = head_gradient(&x, &slopes, &of);
        let summed = setup.terms(&mut plan, &mut numbers, lane, &term_rooms, shape, edges);
        expected.push(Expected { lane, gradient: (gradient, whole), gradient_sum, summed });
    }
    plan.upload()?;
    let head = Head {
        node: NODES as i32 - 1,
        channels: channels as i32,
        side: SIDE as i32,
        classes: 1,
        value,
        gradient,
        gradient_sum,
        statistics: NOWHERE,
        norm,
        scale,
        shift,
        running: NOWHERE,
        weight: NOWHERE,
        bias: NOWHERE,
        features: NOWHERE,
        logits: NOWHERE,
        logit_slopes: NOWHERE,
        feature_slopes,
        sum,
        partial: NOWHERE,
    };
    for &version in versions {
        let label = format!("back_last, {version:?}, {channels} channels, {of_lanes:?} of {batch} images");
        let mut tensors = device.upload("tensors", &setup.tensors.whole())?;
        let mut sums = device.upload("sums", &setup.sums.whole())?;
        let norms = device.upload("norms", &setup.norms.whole())?;
        let weights = device.upload("weights", &setup.weights.whole())?;
        BackLast { plan: &plan, weights: &weights, tensors: &mut tensors, sums: &mut sums, norms: &norms, head }
            .launch(kernels, version)?;
        device.synchronize().map_err(|error| error.after(&label))?;
        compare_lanes(checks, &label, &setup, batch, [&tensors.to_vec()?, &sums.to_vec()?], &expected, SINGLE);
    }
    Ok(())
}

/// `answers` of two cells with two edges: one that asks everything, one without units, one that asks nothing, and one that is not there.
fn answers(device: &Device, kernels: &Kernels, checks: &mut Vec<Comparison>) -> Result<()> {
    const EDGES: usize = 2;
    const CANDIDATES: usize = 3;
    const BATCH: usize = 5;
    // Of both nodes.
    const CHANNELS: [usize; NODES] = [3, 70];
    const SIDES: [usize; NODES] = [16, 8];
    let asked = [(true, true, 5), (true, false, 3), (false, false, 4)];
    let lanes = asked.len() + 1;
    let mut setup = Setup::new(lanes);
    let mut numbers = Numbers(11);
    let length = |node: usize| CHANNELS[node] * tiles(SIDES[node], BATCH);
    let gradient_sums: Vec<u32> = (0..NODES).map(|node| setup.sums.room(length(node))).collect();
    let rooms: Vec<[[u32; 2]; 3]> = (0..NODES)
        .map(|node| std::array::from_fn(|_| [setup.sums.room(length(node)), setup.norms.room(2 * CHANNELS[node])]))
        .collect();
    let _ = setup.tensors.room(1);
    let _ = setup.weights.room(1);
    let mut plan = setup.plan(device, 3, 0, 0, BATCH)?;
    let mut expected = vec![f64::NAN; lanes * EDGES * CANDIDATES];
    for (lane, &(edges, units, images)) in asked.iter().enumerate() {
        let ask = Ask {
            present: 1,
            trial: 0,
            images: images as i32,
            outcome: 0,
            running: 0,
            edges: i32::from(edges),
            units: i32::from(units),
            spare: 0,
        };
        plan.ask(lane, ask);
        let answers = &mut expected[lane * EDGES * CANDIDATES..][..EDGES * CANDIDATES];
        answers.fill(0.0);
        for node in 0..NODES {
            let (side, channels) = (SIDES[node], CHANNELS[node]);
            let lengths = [tiles(side, BATCH), tiles(side, images)];
            let ones: f64 =
                setup.row_sums(&mut numbers, lane, gradient_sums[node], channels, lengths).into_iter().sum();
            if edges && units {
                answers.iter_mut().for_each(|answer| *answer += ones);
            }
            // The first edge has one candidate of three, the second one two; which is at which place differs from lane to lane.
            plan.node(lane, node, Node { terms: 3, outs: 0 });
            for (index, kind) in [SKIP, NORMALIZED, PLAIN].into_iter().enumerate() {
                let place = [lane % 3, 3 + (lane + 1) % 3, 3 + (lane + 2) % 3][index];
                let [sum, norm] = rooms[node][index];
                let term = Term {
                    kind: kind as i32,
                    weight: 0.5,
                    data: NOWHERE,
                    statistics: NOWHERE,
                    norm,
                    scale: NOWHERE,
                    shift: NOWHERE,
                    running: NOWHERE,
                    sum,
                    place: place as u32,
                };
                plan.term(lane, node, index, term);
                let sums = setup.row_sums(&mut numbers, lane, sum, channels, lengths);
                let inverse = numbers.many(channels);
                setup.norms.put(lane, norm + channels as u32, &inverse);
                let weighted = sums
                    .iter()
                    .zip(inverse)
                    .map(|(sum, inverse)| sum * if kind == NORMALIZED { f64::from(inverse) } else { 1.0 });
                let weighted: f64 = weighted.sum();
                if edges {
                    answers[place] += weighted - if units { ones } else { 0.0 };
                }
            }
        }
    }
    plan.upload()?;
    let targets: Vec<Target> = (0..NODES)
        .flat_map(|node| {
            let target = Target {
                node: node as i32,
                channels: CHANNELS[node] as i32,
                side: SIDES[node] as i32,
                gradient_sum: gradient_sums[node],
            };
            [target; EDGES]
        })
        .collect();
    let targets = Targets::new(device, EDGES, CANDIDATES, &targets)?;
    let sums = device.upload("sums", &setup.sums.whole())?;
    let norms = device.upload("norms", &setup.norms.whole())?;
    let mut out = device.upload("answers", &vec![f64::NAN; expected.len()])?;
    Answers { plan: &plan, targets: &targets, sums: &sums, norms: &norms, out: &mut out }
        .launch(kernels, Version::Fast)?;
    device.synchronize().map_err(|error| error.after("answers"))?;
    let got = out.to_vec()?;
    let there = asked.len() * EDGES * CANDIDATES;
    let close = Tolerance::OfLargest(F64_SUMS);
    checks.push(Comparison::new("answers", &got[..there], &expected[..there], close));
    let zero = |values: &[f64]| values.iter().map(|value| *value == 0.0).collect::<Vec<_>>();
    checks.push(Comparison::equal("no answers but what is asked", &zero(&got[..there]), &zero(&expected[..there])));
    let untouched = got[there..].iter().all(|value| value.is_nan());
    checks.push(Comparison::equal("no request, no answers", &[untouched], &[true]));
    Ok(())
}

/// The kernels of the way back against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &SOURCE)?, &CASES)
}

/// The kernels that are to be fast with the paper's channels, for what their accesses cost.
///
/// # Errors
/// What the device reports.
pub fn paper(device: &Device) -> Result<Vec<Comparison>> {
    let kernels = Kernels::load(device, &SOURCE)?;
    let cell = Case { batch: 16, images: &[16], slots: 2, outs: 2, terms: 4, kernels: &[3, 1], ..ONE };
    let block = Case { stride: 2, slots: 1, outs: 2, kernels: &[3], ..cell };
    let cases = [
        Case { side: 32, channels: 16, outputs: 16, batch: 2, images: &[2], ..cell },
        Case { side: 16, channels: 32, outputs: 32, batch: 4, images: &[4], ..cell },
        Case { side: 8, channels: 64, outputs: 64, ..cell },
        Case { side: 32, channels: 16, outputs: 32, batch: 4, images: &[4], ..block },
        Case { side: 16, channels: 32, outputs: 64, ..block },
    ];
    let mut checks = Vec::new();
    for case in &cases {
        back(device, &kernels, case, &[Version::Fast, Version::Tf32], &mut checks)?;
    }
    back_last(device, &kernels, (64, 16, &[16]), &[Version::Fast], &mut checks)?;
    answers(device, &kernels, &mut checks)?;
    Ok(checks)
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels, cases: &[Case]) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for case in cases {
        back(device, kernels, case, &[Version::Fast, Version::Naive, Version::Tf32], &mut checks)?;
    }
    back(device, kernels, &WIDE, &[Version::Naive], &mut checks)?;
    for sizes in [(1, 1, &[1][..]), (5, 5, &[5, 3]), (17, 2, &[2])] {
        back_last(device, kernels, sizes, &[Version::Fast, Version::Naive], &mut checks)?;
    }
    answers(device, kernels, &mut checks)?;
    Ok(checks)
}

#[cfg(test)]
mod tests {
    use advantage_nas::network::nas_bench_201::parent::NORM_EPSILON;
    use advantage_nas::tolerance::{CENTRAL_DIFFERENCE, CENTRAL_STEP, assert_all_close, central_difference};
    use ndarray::Axis;

    use super::*;

    fn random(numbers: &mut Numbers, shape: [usize; 4]) -> Array4<f64> {
        array(&numbers.many(shape.iter().product()), shape)
    }

    /// The derivative of a function of a tensor, by every number in it.
    fn differences(x: &Array4<f64>, loss: impl Fn(&Array4<f64>) -> f64) -> Vec<f64> {
        let by = |entry: usize| {
            central_difference(CENTRAL_STEP, |step| {
                let mut moved = x.clone();
                *moved.iter_mut().nth(entry).expect("an entry") += step;
                loss(&moved)
            })
        };
        (0..x.len()).map(by).collect()
    }

    /// All readers of a node, with norms and without, of stride 1 and 2: loss = Σ g · what is added, with formulas of the oracle forward.
    #[test]
    fn gradients_of_nodes_are_derivatives() {
        const SIDE: usize = 4;
        let mut numbers = Numbers(3);
        let x = random(&mut numbers, [2, 2, SIDE, SIDE]);
        for relu in [true, false] {
            let input = |x: &Array4<f64>| if relu { layers::relu(x) } else { x.clone() };
            let convolve = |x: &Array4<f64>, one: &Convolution| {
                let z = layers::convolve(&input(x), one.filters.view(), one.stride);
                let Some(norm) = &one.norm else { return z * one.weight };
                let mut y = layers::normalize(&z).0;
                y.axis_iter_mut(Axis(1)).zip(norm).for_each(|(mut plane, norm)| plane *= norm[0] * one.weight);
                y
            };
            let mut convolutions = Vec::new();
            for (kernel, stride, normalized) in
                [(3, 1, true), (1, 1, true), (3, 2, true), (5, 1, true), (1, 1, false), (3, 1, false), (1, 2, true)]
            {
                let filters = random(&mut numbers, [3, 2, kernel, kernel]);
                let gradient = random(&mut numbers, [2, 3, SIDE / stride, SIDE / stride]);
                let output = layers::convolve(&input(&x), filters.view(), stride);
                let norm = normalized.then(|| {
                    let moments = layers::normalize(&output).1;
                    let of = |channel: usize| {
                        let (g, z) = (gradient.index_axis(Axis(1), channel), output.index_axis(Axis(1), channel));
                        let (mean, variance) = (moments.mean[channel], moments.variance[channel]);
                        let product = g.iter().zip(z).map(|(g, z)| g * (z - mean)).sum();
                        [f64::from(numbers.next()), mean, 1.0 / (variance + NORM_EPSILON).sqrt(), g.sum(), product]
                    };
                    (0..3).map(of).collect()
                });
                let weight = f64::from(numbers.next());
                convolutions.push(Convolution { filters, stride, weight, norm, gradient, output });
            }
            let others = [(SKIP, SIDE), (POOL, SIDE), (HALVE, SIDE / 2)]
                .map(|(kind, side)| (kind, f64::from(numbers.next()), random(&mut numbers, [2, 2, side, side])));
            let layer = |kind: usize, x: &Array4<f64>| match kind {
                SKIP => x.clone(),
                POOL => layers::average_pooling(x),
                _ => layers::halving(x),
            };
            let expected = differences(&x, |x| {
                let convolved = convolutions.iter().map(|one| (&one.gradient * &convolve(x, one)).sum());
                let layered = others.iter().map(|(kind, weight, g)| weight * (g * &layer(*kind, x)).sum());
                convolved.chain(layered).sum()
            });
            let got: Vec<f64> = node_gradient(&x, relu, &convolutions, &others).into_iter().collect();
            let scale = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
            assert_all_close(&got, &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE * scale);
        }
    }

    #[test]
    fn the_gradient_of_the_head_is_a_derivative() {
        let mut numbers = Numbers(5);
        let shape = [3, 2, 4, 4];
        let x = random(&mut numbers, shape);
        let slopes: Vec<f64> = numbers.many(6).into_iter().map(f64::from).collect();
        let (scales, shifts) = ([0.7, -1.2], [0.1, 0.3]);
        let outputs = |x: &Array4<f64>| {
            let (mut y, moments) = layers::normalize(x);
            y.indexed_iter_mut().for_each(|((_, c, ..), y)| *y = *y * scales[c] + shifts[c]);
            (y, moments)
        };
        let loss = |x: &Array4<f64>| {
            let features = layers::relu(&outputs(x).0).mean_axis(Axis(3)).and_then(|rows| rows.mean_axis(Axis(2)));
            features.expect("some pixels").iter().zip(&slopes).map(|(feature, slope)| feature * slope).sum()
        };
        let (y, moments) = outputs(&x);
        let of = |c: usize| {
            let (mean, inverse) = (moments.mean[c], 1.0 / (moments.variance[c] + NORM_EPSILON).sqrt());
            let (mut sum, mut product) = (0.0, 0.0);
            for ((image, channel, ..), y) in y.indexed_iter() {
                if channel == c && *y > 0.0 {
                    sum += slopes[image * 2 + c] / 16.0;
                }
            }
            for (place, x) in x.indexed_iter() {
                if place.1 == c && y[place] > 0.0 {
                    product += slopes[place.0 * 2 + c] / 16.0 * (x - mean);
                }
            }
            [scales[c], shifts[c], mean, inverse, sum, product]
        };
        let got: Vec<f64> = head_gradient(&x, &slopes, &[of(0), of(1)]).into_iter().collect();
        let expected = differences(&x, loss);
        assert_all_close(&got, &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
    }
}
