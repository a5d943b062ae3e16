//! What the kernels of NAS-Bench-201's parent network have to do, and what a search of section 5.2 should take.
//!
//! Launches are those that are recorded (`nas_bench_201::order`); what each has to do is counted from its shapes and from the architectures of its
//! lanes: multiply-adds; bytes that its blocks load and store, borders and what several blocks load included; partial sums that every block joins.
//! Reads come from memory if more was touched since than the second-level cache holds, writes go there once.
//!
//! Not counted: what is loaded for batch norms and edges beyond three operations a number, indices, epilogues. They are in the share of stalls.

use std::fmt;

use advantage_nas::network::nas_bench_201::parent::Norm;
use advantage_nas::network::nas_bench_201::pass::{Operation, PassLayout, Selection};
use advantage_nas::network::nas_bench_201::{self as described};
use advantage_nas::network::nas_bench_201::{Candidates, EDGES, PIXELS, Parent, Skeleton, evaluation_minibatches};
use advantage_nas::strategy::{Activity, Proposal, Want};
use advantage_nas::{Architecture, Result};
use serde::Serialize;

use super::{Around, Assumption, Bound, H100, Joins, Machine, Step, Work};
use crate::kernels::nas_bench_201::update::PIECE;
use crate::kernels::nas_bench_201::{Shape, tiles};
use crate::nas_bench_201::arena::{Arena, Reading, splits};
use crate::nas_bench_201::order::{Convolutions, Kind, Launch, UPDATE, convolutions, launches};

/// Channels of a block: of outputs in `node_*` and `stem`, of inputs in `back_*`, of both in `weights_*`.
const BLOCK: usize = 16;
/// Channels of a block of `last_node`.
const LAST_CHANNELS: usize = 8;
/// Weights of a block of `head_weights`.
const HEAD_WEIGHTS: usize = 32;
/// Bytes of a number.
const FLOAT: f64 = 4.0;
/// Bytes of the two partial sums of a channel of a tile.
const PARTS: f64 = 8.0;
/// FP32 instructions for a number on its way to shared memory: a difference, a product with the sum of two more.
const LOADED: f64 = 3.0;
/// Integer instructions for a pixel out of the bytes of an image: where it is, whether it is there, which of four bytes, what it stands for.
const PIXEL: f64 = 20.0;

/// What joins take, in FP64 instructions of a channel, counted in the kernels' text: of every tile and for the whole channel. A conversion from
/// single precision has a quarter of the rate, and so counts as four.
#[derive(Clone, Copy, Debug)]
struct Join {
    tile: f64,
    channel: f64,
}

/// `join_statistics`: three conversions, two products and three sums a tile; ten sums of a warp of 32, and a root and a quotient in all its lanes.
const STATISTICS: Join = Join { tile: 3.0 * 4.0 + 5.0, channel: 32.0 * (10.0 + 45.0) };
/// Of `back_*`: two conversions and two sums a tile; nine sums of a warp for four channels, and the factors in a quarter of its steps.
const FOURS: Join = Join { tile: 2.0 * (4.0 + 1.0), channel: 32.0 * (9.0 + 40.0) / 4.0 };
/// Twice `join_sums`: two conversions and two sums a tile; ten sums of a warp of 32, and two quotients in all its lanes.
const SUMS: Join = Join { tile: 2.0 * (4.0 + 1.0), channel: 32.0 * (10.0 + 60.0) };

impl Join {
    /// Of so many channels of so many tiles, by each of so many blocks.
    fn of(self, blocks: usize, channels: usize, tiles: usize) -> Joins {
        let entries = (blocks * channels) as f64;
        Joins { fp64: entries * (self.tile * tiles as f64 + self.channel), l2_bytes: entries * PARTS * tiles as f64 }
    }
}

impl std::ops::AddAssign for Joins {
    fn add_assign(&mut self, other: Self) {
        self.fp64 += other.fp64;
        self.l2_bytes += other.l2_bytes;
    }
}

const RING: &str = "gpu/PERFORMANCE.md, ring 2b, sm_90: bound of the loop";

/// The shares of the rates that loops reach.
pub const EFFICIENCIES: [Assumption; 8] = [
    Assumption { what: "FP32 of node_*, stem", value: 0.92, unit: "", source: RING },
    Assumption { what: "FP32 of node_down_*", value: 0.83, unit: "", source: RING },
    Assumption { what: "FP32 of back_*", value: 0.93, unit: "", source: RING },
    Assumption { what: "FP32 of back_up_*", value: 0.78, unit: "", source: RING },
    Assumption { what: "FP32 of weights_*", value: 0.91, unit: "", source: RING },
    Assumption { what: "FP32 of weights_down_*", value: 0.87, unit: "", source: RING },
    Assumption {
        what: "of those, without stalls",
        value: 0.88,
        unit: "",
        source: "assumed: barriers, first loads, epilogues",
    },
    Assumption {
        what: "TF32, all that included",
        value: 0.55,
        unit: "",
        source: "assumed: loops of prototypes had bounds from 0.67 to 1.0",
    },
];

/// How convolutions multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arithmetic {
    /// In single precision.
    Fp32,
    /// By tensor cores, operands rounded; all but the convolution of the images.
    Tf32,
}

impl Arithmetic {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fp32, Self::Tf32];
}

impl fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fp32 => "FP32",
            Self::Tf32 => "TF32",
        })
    }
}

/// What a step asks of every trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    /// An update of the weights.
    Weights,
    /// Loss and `∂loss/∂a`: a `θ` step of AdvantageNAS, which has one proposal.
    Gradient,
    /// The loss: a `θ` step of REINFORCE, and a minibatch of an evaluation.
    Loss,
}

impl Asked {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Weights, Self::Gradient, Self::Loss];

    /// As steps are called.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Weights => "w step",
            Self::Gradient => "theta step",
            Self::Loss => "loss",
        }
    }
}

/// Which cells the lanes of a step have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cells {
    /// Drawn uniformly: times are means over [`architectures`].
    Uniform,
    /// 3×3 convolutions on all edges, the most work that there is.
    Convolutions,
}

impl Cells {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Uniform, Self::Convolutions];

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform cells",
            Self::Convolutions => "all 3x3",
        }
    }
}

/// The architectures of so many lanes, step after step.
///
/// # Errors
/// For a space of other sizes.
pub fn lanes(parent: &Parent, cells: Cells, lanes: usize) -> Result<Vec<Vec<Architecture>>> {
    match cells {
        // As often as it takes until all have had their turn in full steps.
        Cells::Uniform => {
            let all = architectures(parent)?;
            let steps = all.len().div_ceil(lanes);
            let step = |step: usize| (0..lanes).map(|lane| all[(step * lanes + lane) % all.len()].clone()).collect();
            Ok((0..steps).map(step).collect())
        }
        Cells::Convolutions => {
            let wanted = described::Operation::CONVOLUTION_3X3;
            let place = parent.candidates().operations().iter().position(|candidate| *candidate == wanted);
            let shape = parent.space().shape();
            let cell = Architecture::new(shape, vec![place.unwrap_or(0); shape.edges()])?;
            Ok(vec![vec![cell; lanes]])
        }
    }
}

/// 64 architectures of four candidates in which any three edges have every combination equally often, as often as in all 4 096: the words of the hexacode.
///
/// # Errors
/// For a space of other sizes.
pub fn architectures(parent: &Parent) -> Result<Vec<Architecture>> {
    // The field of four elements: sums are exclusive ors; 2 and 3 are the roots of x² + x + 1.
    let times = |a: usize, b: usize| if a == 0 || b == 0 { 0 } else { (a - 1 + b - 1) % 3 + 1 };
    let word = |number: usize| {
        let [a, b, c] = [number % 4, number / 4 % 4, number / 16];
        vec![a, b, c, a ^ b ^ c, a ^ times(2, b) ^ times(3, c), a ^ times(3, b) ^ times(2, c)]
    };
    (0..64).map(|number| Architecture::new(parent.space().shape(), word(number))).collect()
}

/// A network with its places on the device, for so many trials together; every proposal has one candidate of an edge.
#[derive(Clone, Debug)]
pub struct Network {
    parent: Parent,
    layout: PassLayout,
    arena: Arena,
    lists: Vec<Convolutions>,
    batch: usize,
    trials: usize,
}

impl Network {
    /// The network of section 5.2 with its minibatches.
    ///
    /// # Errors
    /// For sizes that kernels can't count.
    pub fn paper(trials: usize) -> Result<Self> {
        Self::new(Parent::new(Skeleton::paper(), &Candidates::without_zero())?, described::BATCH, trials)
    }

    /// A network with minibatches of a size.
    ///
    /// # Errors
    /// For sizes that kernels can't count.
    pub fn new(parent: Parent, batch: usize, trials: usize) -> Result<Self> {
        let layout = PassLayout::new(&parent, Activity::One);
        let arena = Arena::new(&parent, &layout, Activity::One, batch, trials, trials)?;
        let lists = convolutions(&parent, &arena);
        Ok(Self { parent, layout, arena, lists, batch, trials })
    }

    /// Its steps that ask for something with such cells: a step for every launch that it takes until each of the architectures had its turn.
    ///
    /// # Errors
    /// For a space of other sizes.
    pub fn steps(&self, asked: Asked, cells: Cells, arithmetic: Arithmetic) -> Result<Vec<Step>> {
        let what = format!("{}, {}", asked.name(), cells.name());
        let step = |lanes: &Vec<Architecture>| self.step(what.clone(), asked, lanes, arithmetic);
        lanes(&self.parent, cells, self.trials)?.iter().map(step).collect()
    }

    /// A step of lanes with these architectures.
    ///
    /// # Errors
    /// For architectures of another space.
    pub fn step(&self, what: String, asked: Asked, lanes: &[Architecture], arithmetic: Arithmetic) -> Result<Step> {
        let shape = self.parent.space().shape();
        let select = |architecture: &Architecture| {
            let mut selection = Selection::new(&self.parent, &self.layout);
            let proposal = Proposal::one_hot(shape, architecture, Want::Gradient)?;
            selection.select(&self.parent, &self.layout, &proposal, None)?;
            Ok(selection)
        };
        let selections = lanes.iter().map(select).collect::<Result<Vec<_>>>()?;
        let edges = asked == Asked::Gradient;
        let weights = asked == Asked::Weights;
        let kind = Kind { backward: edges || weights, weights, edges };
        let mut order = launches(kind, &self.arena, self.lists.len());
        if weights {
            order.extend(UPDATE);
        }
        let mut counted = Counted { network: self, selections, arithmetic, edges, recent: Vec::new() };
        let kernels = order.into_iter().map(|launch| counted.work(launch)).collect();
        // Samples, plan and rates; or samples and plan before an answer.
        let around = if weights { Around::Copies(3) } else { Around::RoundTrip };
        Ok(Step { what, trials: self.trials, kernels, around })
    }
}

/// A tensor of a lane, as far as it is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tensor {
    Value(usize),
    Gradient(usize),
    Output(usize),
    Partial(usize),
    Weights,
    Gradients,
    Velocities,
}

/// A step as it is counted, launch after launch.
struct Counted<'a> {
    network: &'a Network,
    /// Of every lane.
    selections: Vec<Selection>,
    arithmetic: Arithmetic,
    edges: bool,
    /// What was touched, with its bytes, the last one last.
    recent: Vec<(usize, Tensor, f64)>,
}

/// Rows that tiles load of an image, over the rows that it has: `more` above and below each, as far as there are any.
fn halo(side: usize, more: usize) -> f64 {
    let tiles = tiles(side, 2) / 2;
    (side + 2 * more * (tiles.max(1) - 1)) as f64 / side as f64
}

impl Counted<'_> {
    /// Bytes of memory for a read of a tensor.
    fn read(&mut self, lane: usize, tensor: Tensor, bytes: f64) -> f64 {
        let mut since = 0.0;
        let found = self.recent.iter().rposition(|entry| {
            since += entry.2;
            (entry.0, entry.1) == (lane, tensor)
        });
        let missed = found.is_none() || since > H100.l2_size.value;
        if let Some(place) = found {
            self.recent.remove(place);
        }
        self.recent.push((lane, tensor, bytes));
        if missed { bytes } else { 0.0 }
    }

    /// Bytes of memory for a write of a tensor.
    fn write(&mut self, lane: usize, tensor: Tensor, bytes: f64) -> f64 {
        self.read(lane, tensor, bytes);
        bytes
    }

    fn floats(&self, node: usize) -> f64 {
        let Shape { channels, side, .. } = self.network.arena.shapes[node];
        self.network.batch as f64 * f64::from(channels) * f64::from(side * side)
    }

    /// Adds multiply-adds of convolutions, and instructions for what they load.
    fn multiply(&self, work: &mut Work, multiply_adds: f64, loads: f64) {
        match self.arithmetic {
            Arithmetic::Fp32 => work.fp32 += multiply_adds + loads,
            Arithmetic::Tf32 => {
                work.tf32 += multiply_adds;
                work.fp32 += loads;
            }
        }
    }

    /// Sets what follows from the number of blocks: `bound` is that of ring 2b.
    fn spread(&self, work: &mut Work, launch: Launch, bound: Option<Assumption>) {
        let all = H100.multiprocessors.value;
        let blocks = work.blocks as f64;
        let expected = launch.signature(&self.network.arena, &self.network.lists).expected;
        let room = all * expected.map_or(1, |expected| expected.blocks) as f64;
        work.waves = (blocks / room).max(1.0);
        let Some(bound) = bound else { return };
        let [.., stalls, tf32] = EFFICIENCIES;
        // The multiprocessor with the most blocks is the last to be done.
        let even = if blocks > all { blocks / ((blocks / all).ceil() * all) } else { 1.0 };
        work.efficiency = if work.tf32 > 0.0 { tf32.value } else { bound.value * stalls.value * even };
    }

    fn work(&mut self, launch: Launch) -> Work {
        let name = launch.name(&self.network.arena, &self.network.lists);
        let [node, node_down, back, back_up, weights, weights_down, ..] = EFFICIENCIES;
        let arena = &self.network.arena;
        let mut work = Work::new(name, 0);
        let mut bound = None;
        for lane in 0..self.selections.len() {
            match launch {
                Launch::Stem => {
                    bound = Some(node);
                    self.stem(&mut work, lane);
                }
                Launch::Node(number) => {
                    bound = Some(if arena.readings[number] == Reading::Half { node_down } else { node });
                    self.node(&mut work, lane, number);
                }
                Launch::LastNode => self.last_node(&mut work, lane),
                Launch::HeadForward => self.head_forward(&mut work, lane),
                Launch::HeadFinish => work.blocks += 1,
                Launch::BackLast => self.back_last(&mut work, lane),
                Launch::Back(number) => {
                    bound = Some(if arena.readings[number] == Reading::Half { back_up } else { back });
                    self.back(&mut work, lane, number);
                }
                Launch::Answers => self.answers(&mut work),
                Launch::Weights(list) => {
                    let half = self.network.lists[list].reading == Reading::Half;
                    bound = Some(if half { weights_down } else { weights });
                    self.weights(&mut work, lane, list);
                }
                Launch::WeightsStem => {
                    bound = Some(weights);
                    self.weights_stem(&mut work, lane);
                }
                Launch::HeadWeights => self.head_weights(&mut work),
                Launch::FinishGradient => self.finish_gradient(&mut work, lane),
                Launch::ClipUpdate => self.clip_update(&mut work, lane),
            }
        }
        self.spread(&mut work, launch, bound);
        work
    }

    fn stem(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let (images, stem) = (network.arena.shapes[0], 1);
        let outputs = images.outputs as usize;
        let blocks = tiles(32, network.batch) * outputs.div_ceil(BLOCK);
        let pixels = (network.batch * PIXELS) as f64;
        let z = self.floats(stem);
        work.blocks += blocks;
        work.fp32 += 27.0 * z;
        work.integers += PIXEL * pixels * halo(32, 1);
        work.l2_bytes += pixels * halo(32, 1) + FLOAT * z + FLOAT * (27 * BLOCK * blocks) as f64;
        work.memory_bytes += pixels + self.write(lane, Tensor::Output(images.first_slot as usize), FLOAT * z);
    }

    /// What the terms of a node load: bytes of the second-level cache if every number is loaded once and borders by `halo`, and bytes of memory.
    fn terms(&mut self, lane: usize, number: usize, border: usize) -> (f64, f64, usize) {
        let own = FLOAT * self.floats(number);
        let side = self.network.arena.shapes[number].side as usize;
        let (mut l2, mut memory, mut normalized) = (0.0, 0.0, 0);
        for index in 0..self.selections[lane].terms(number).len() {
            let term = self.selections[lane].terms(number)[index];
            let (tensor, bytes, more) = match term.operation {
                Operation::Skip => (Tensor::Value(term.source), own, border),
                Operation::AveragePooling => (Tensor::Value(term.source), own, border + 1),
                Operation::Halving => (Tensor::Value(term.source), 4.0 * own, border),
                Operation::Convolution { slot } => {
                    normalized += usize::from(self.is_normalized(lane, slot));
                    (Tensor::Output(self.network.arena.place_of[slot]), own, border)
                }
            };
            l2 += bytes * halo(side, more);
            memory += self.read(lane, tensor, bytes);
        }
        (l2, memory, normalized)
    }

    fn is_normalized(&self, lane: usize, slot: usize) -> bool {
        self.selections[lane].chosen()[slot].is_some_and(|chosen| chosen.layer.norm != Norm::Without)
    }

    /// Slots that read a node, with the size of their filters.
    fn readers(&self, lane: usize, number: usize) -> Vec<(usize, usize)> {
        let selection = &self.selections[lane];
        let kernel = |slot: &usize| Some((*slot, selection.chosen()[*slot]?.layer.kernel));
        selection.readers(number).iter().filter_map(kernel).collect()
    }

    fn node(&mut self, work: &mut Work, lane: usize, number: usize) {
        let network = self.network;
        let shape = network.arena.shapes[number];
        let [channels, outputs, side] = [shape.channels, shape.outputs, shape.side].map(|size| size as usize);
        let half = network.arena.readings[number] == Reading::Half;
        let side_out = if half { side / 2 } else { side };
        let readers = self.readers(lane, number);
        // Without a convolution, only the blocks that write the value go on.
        let across = if readers.is_empty() { 1 } else { outputs.div_ceil(BLOCK) };
        let blocks = tiles(side_out, network.batch) * across;
        work.blocks += blocks;
        let (l2, memory, normalized) = self.terms(lane, number, 1);
        let value = FLOAT * self.floats(number);
        work.l2_bytes += l2 * across as f64 + value;
        work.memory_bytes += memory + self.write(lane, Tensor::Value(number), value);
        work.joins += STATISTICS.of(blocks, normalized * channels, tiles(side, network.batch));
        let mut multiply_adds = 0.0;
        for (slot, kernel) in readers {
            let z = (network.batch * outputs * side_out * side_out) as f64;
            let taps = (channels * kernel * kernel) as f64;
            multiply_adds += z * taps;
            work.l2_bytes += FLOAT * (z + (blocks * BLOCK.min(outputs)) as f64 * taps);
            work.memory_bytes += self.write(lane, Tensor::Output(network.arena.place_of[slot]), FLOAT * z);
        }
        self.multiply(work, multiply_adds, LOADED * l2 / FLOAT * across as f64);
    }

    fn last_node(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let number = network.arena.shapes.len() - 1;
        let channels = network.arena.head.channels as usize;
        let blocks = tiles(8, network.batch) * channels.div_ceil(LAST_CHANNELS);
        work.blocks += blocks;
        let (l2, memory, normalized) = self.terms(lane, number, 0);
        let value = FLOAT * self.floats(number);
        work.l2_bytes += l2 + value;
        work.memory_bytes += memory + self.write(lane, Tensor::Value(number), value);
        work.fp32 += LOADED * l2 / FLOAT;
        work.joins += STATISTICS.of(blocks, normalized * LAST_CHANNELS.min(channels), tiles(8, network.batch));
    }

    fn head_forward(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let (number, head) = (network.arena.shapes.len() - 1, network.arena.head);
        let value = FLOAT * self.floats(number);
        work.blocks += network.batch;
        work.l2_bytes += value + FLOAT * (network.batch * (head.classes * head.channels) as usize) as f64;
        work.memory_bytes += self.read(lane, Tensor::Value(number), value);
        work.fp32 += 2.0 * LOADED * value / FLOAT;
        work.joins += STATISTICS.of(network.batch, head.channels as usize, tiles(8, network.batch));
    }

    /// Sums over the gradient of a node, times what its terms multiply.
    fn sum_up(&mut self, work: &mut Work, lane: usize, number: usize) {
        let own = FLOAT * self.floats(number);
        let side = self.network.arena.shapes[number].side as usize;
        for index in 0..self.selections[lane].terms(number).len() {
            let term = self.selections[lane].terms(number)[index];
            let wanted = self.edges && term.place.is_some();
            let (tensor, more) = match term.operation {
                Operation::Convolution { slot } if wanted || self.is_normalized(lane, slot) => {
                    (Tensor::Output(self.network.arena.place_of[slot]), 0)
                }
                Operation::Skip if wanted => (Tensor::Value(term.source), 0),
                Operation::AveragePooling if wanted => (Tensor::Value(term.source), 1),
                _ => continue,
            };
            work.l2_bytes += own * halo(side, more);
            work.memory_bytes += self.read(lane, tensor, own);
            work.fp32 += 2.0 * own / FLOAT;
        }
    }

    fn back_last(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let (number, head) = (network.arena.shapes.len() - 1, network.arena.head);
        let channels = head.channels as usize;
        let blocks = tiles(8, network.batch) * channels.div_ceil(BLOCK);
        let value = FLOAT * self.floats(number);
        work.blocks += blocks;
        work.l2_bytes += 2.0 * value;
        work.memory_bytes += self.read(lane, Tensor::Value(number), value);
        work.memory_bytes += self.write(lane, Tensor::Gradient(number), value);
        work.fp32 += 2.0 * LOADED * value / FLOAT;
        // Over images instead of tiles.
        work.joins += SUMS.of(blocks, BLOCK.min(channels), network.batch);
        self.sum_up(work, lane, number);
    }

    fn back(&mut self, work: &mut Work, lane: usize, number: usize) {
        let network = self.network;
        let shape = network.arena.shapes[number];
        let [channels, outputs, side] = [shape.channels, shape.outputs, shape.side].map(|size| size as usize);
        let half = network.arena.readings[number] == Reading::Half;
        let side_out = if half { side / 2 } else { side };
        let across = channels.div_ceil(BLOCK);
        let blocks = tiles(side, network.batch) * across;
        work.blocks += blocks;
        let own = FLOAT * self.floats(number);
        let readers = self.readers(lane, number);
        // A row of outputs more than tiles have with stride 2, one above and one below with stride 1.
        let border = if half { (1.0 + halo(side, 1)) / 2.0 } else { halo(side, 1) };
        let (mut multiply_adds, mut loaded) = (0.0, 0.0);
        for &(slot, kernel) in &readers {
            let place = network.arena.place_of[slot];
            let z = (network.batch * outputs * side_out * side_out) as f64;
            let taps = (channels * kernel * kernel) as f64;
            multiply_adds += z * taps;
            let normalized = self.is_normalized(lane, slot);
            let tensors = if normalized { 2.0 } else { 1.0 };
            loaded += z * border * across as f64;
            work.l2_bytes += FLOAT * tensors * z * border * across as f64;
            work.l2_bytes += FLOAT * (blocks * outputs * BLOCK.min(channels) * kernel * kernel) as f64;
            let target = network.arena.places[place].node;
            work.memory_bytes += self.read(lane, Tensor::Gradient(target), FLOAT * z);
            if normalized {
                work.memory_bytes += self.read(lane, Tensor::Output(place), FLOAT * z);
                work.joins += FOURS.of(blocks, outputs, tiles(side_out, network.batch));
            }
        }
        self.multiply(work, multiply_adds, LOADED * loaded);
        if !readers.is_empty() && shape.relu != 0 {
            work.l2_bytes += own;
            work.memory_bytes += self.read(lane, Tensor::Value(number), own);
        }
        for target in number + 1..network.arena.shapes.len() {
            for index in 0..self.selections[lane].terms(target).len() {
                let term = self.selections[lane].terms(target)[index];
                if term.source != number {
                    continue;
                }
                let (bytes, more) = match term.operation {
                    Operation::Skip => (own, 0),
                    Operation::AveragePooling => (own, 1),
                    Operation::Halving => (own / 4.0, 0),
                    Operation::Convolution { .. } => continue,
                };
                work.l2_bytes += bytes * halo(side, more);
                work.memory_bytes += self.read(lane, Tensor::Gradient(target), bytes);
                work.fp32 += own / FLOAT;
            }
        }
        work.l2_bytes += own;
        work.memory_bytes += self.write(lane, Tensor::Gradient(number), own);
        self.sum_up(work, lane, number);
    }

    fn answers(&self, work: &mut Work) {
        // Of the block of an edge's active candidate; the others end at once.
        let mut numbers = 0;
        for (shape, node) in self.network.arena.shapes.iter().zip(self.network.parent.nodes()) {
            let edges = node.inputs.iter().filter(|input| input.edge.is_some()).count();
            numbers += edges * shape.channels as usize * tiles(shape.side as usize, self.network.batch);
        }
        work.blocks += EDGES;
        work.l2_bytes += FLOAT * numbers as f64;
        // Two conversions, a product and a sum.
        work.fp64 += 10.0 * numbers as f64;
    }

    fn weights(&mut self, work: &mut Work, lane: usize, list: usize) {
        let network = self.network;
        let Convolutions { reading, side, slots, .. } = &network.lists[list];
        let sources = |place: u32| {
            let of = |shape: &&Shape| (shape.first_slot..shape.first_slot + shape.slots).contains(&(place as i32));
            network.arena.shapes.iter().find(of)
        };
        for &place in slots {
            let slot = network.arena.place_of.iter().position(|other| *other == place as usize);
            let (Some(slot), Some(source)) = (slot, sources(place)) else { continue };
            let Some(chosen) = self.selections[lane].chosen()[slot] else { continue };
            let kernel = chosen.layer.kernel;
            let [inputs, outputs] = [source.channels, source.outputs].map(|channels| channels as usize);
            let (in_blocks, out_blocks) = (inputs.div_ceil(BLOCK), outputs.div_ceil(BLOCK));
            let blocks = splits(*side) * in_blocks * out_blocks;
            work.blocks += blocks;
            let z = (network.batch * outputs * side * side) as f64;
            let filters = (outputs * inputs * kernel * kernel) as f64;
            let x = FLOAT * self.floats(source.node as usize);
            let border = match (kernel, reading) {
                (1, _) => 1.0,
                (_, Reading::Same) => halo(*side, 1),
                (_, Reading::Half) => (1.0 + halo(2 * side, 1)) / 2.0,
            };
            let normalized = chosen.layer.norm != Norm::Without;
            let tensors = if normalized { 2.0 } else { 1.0 };
            self.multiply(work, z * (inputs * kernel * kernel) as f64, LOADED * z * in_blocks as f64);
            let partial = FLOAT * filters * splits(*side) as f64;
            work.l2_bytes += x * border * out_blocks as f64 + FLOAT * tensors * z * in_blocks as f64 + partial;
            work.memory_bytes += self.read(lane, Tensor::Value(source.node as usize), x);
            let target = network.arena.places[place as usize].node;
            work.memory_bytes += self.read(lane, Tensor::Gradient(target), FLOAT * z);
            if normalized {
                work.memory_bytes += self.read(lane, Tensor::Output(place as usize), FLOAT * z);
                work.joins += SUMS.of(blocks, BLOCK.min(outputs), tiles(*side, network.batch));
            }
            work.memory_bytes += self.write(lane, Tensor::Partial(place as usize), partial);
        }
    }

    fn weights_stem(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let images = network.arena.shapes[0];
        let outputs = images.outputs as usize;
        let blocks = splits(32) * outputs.div_ceil(BLOCK);
        let z = self.floats(1);
        let pixels = (network.batch * PIXELS) as f64 * halo(32, 1);
        work.blocks += blocks;
        work.fp32 += 27.0 * z + LOADED * z;
        work.integers += PIXEL * pixels;
        work.l2_bytes += pixels + 2.0 * FLOAT * z;
        work.memory_bytes += self.read(lane, Tensor::Gradient(1), FLOAT * z);
        work.memory_bytes += self.read(lane, Tensor::Output(images.first_slot as usize), FLOAT * z);
        work.joins += SUMS.of(blocks, BLOCK.min(outputs), tiles(32, network.batch));
    }

    fn head_weights(&self, work: &mut Work) {
        let head = self.network.arena.head;
        let numbers = (head.parameters() * self.network.batch) as f64;
        work.blocks += head.parameters().div_ceil(HEAD_WEIGHTS);
        work.l2_bytes += 2.0 * FLOAT * numbers;
        work.fp64 += 10.0 * numbers;
    }

    /// Parameters that take part, pieces of them, and of all.
    fn taking_part(&self, lane: usize) -> ([usize; 2], [usize; 2]) {
        let (mut used, mut all) = ([0, 0], [0, 0]);
        for (parameter, active) in self.network.parent.parameters().iter().zip(self.selections[lane].active()) {
            let [length, pieces] = [parameter.len(), parameter.len().div_ceil(PIECE)];
            all = [all[0] + length, all[1] + pieces];
            if *active {
                used = [used[0] + length, used[1] + pieces];
            }
        }
        (used, all)
    }

    fn finish_gradient(&mut self, work: &mut Work, lane: usize) {
        let network = self.network;
        let ([used, _], [all, pieces]) = self.taking_part(lane);
        work.blocks += pieces;
        let mut parts = 0.0;
        for (slot, described) in network.layout.slots().iter().enumerate() {
            let Some(chosen) = self.selections[lane].chosen()[slot] else { continue };
            let length = network.parent.parameters()[chosen.layer.weight].len();
            let bytes = FLOAT * (length * splits(network.parent.nodes()[described.node].side)) as f64;
            parts += bytes;
            let place = network.arena.place_of[slot];
            work.memory_bytes += self.read(lane, Tensor::Partial(place), bytes);
        }
        work.l2_bytes += parts + FLOAT * (used + all) as f64;
        work.memory_bytes += self.read(lane, Tensor::Weights, FLOAT * used as f64);
        work.memory_bytes += self.write(lane, Tensor::Gradients, FLOAT * all as f64);
        work.fp32 += parts / FLOAT;
        work.fp64 += 5.0 * all as f64;
    }

    fn clip_update(&mut self, work: &mut Work, lane: usize) {
        let ([used, used_pieces], [_, pieces]) = self.taking_part(lane);
        let bytes = FLOAT * used as f64;
        // Every block adds up all squares.
        work.blocks += used_pieces;
        work.l2_bytes += 5.0 * bytes;
        for tensor in [Tensor::Gradients, Tensor::Velocities, Tensor::Weights] {
            work.memory_bytes += self.read(lane, tensor, bytes);
        }
        for tensor in [Tensor::Velocities, Tensor::Weights] {
            work.memory_bytes += self.write(lane, tensor, bytes);
        }
        work.joins += Joins { fp64: (used_pieces * pieces) as f64, l2_bytes: 8.0 * (used_pieces * pieces) as f64 };
        work.fp32 += 4.0 * used as f64;
    }
}

/// What steps of a kind should take on a device: means over some of them, whose launches are the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// What is asked: as in the list of times.
    pub what: String,
    /// How convolutions multiply.
    pub arithmetic: Arithmetic,
    /// Trials that are answered together.
    pub trials: usize,
    /// Launches of a step.
    pub launches: usize,
    /// With all launches, and what is around them.
    pub microseconds: f64,
    /// Of those, what goes by before the first blocks of a launch have joined partial sums.
    pub joins_microseconds: f64,
    /// What is around the kernels.
    pub around_microseconds: f64,
    /// The kernels, those of the same name together.
    pub kernels: Vec<Group>,
}

/// Launches of the same name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Their name: as in the list of times.
    pub what: String,
    /// How many a step has.
    pub launches: usize,
    /// Blocks of a launch that have something to do.
    pub blocks: f64,
    /// What a launch should take.
    pub microseconds: f64,
    /// Of those, what goes by before the first blocks have joined partial sums.
    pub joins_microseconds: f64,
    /// What bounds most of them.
    pub bound: Bound,
}

impl Mean {
    /// The mean of steps of a network.
    ///
    /// # Errors
    /// For a space of other sizes.
    ///
    /// # Panics
    /// Never: there is a step at least.
    pub fn of(
        machine: &Machine,
        network: &Network,
        asked: Asked,
        cells: Cells,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let steps = network.steps(asked, cells, arithmetic)?;
        let share = 1.0 / steps.len() as f64;
        let first = &steps[0];
        let mut kernels: Vec<Group> = Vec::new();
        for (place, work) in first.kernels.iter().enumerate() {
            let predictions: Vec<_> = steps.iter().map(|step| machine.predict(&step.kernels[place])).collect();
            let mean = |of: &dyn Fn(usize) -> f64| share * (0..steps.len()).map(of).sum::<f64>();
            let count = |bound: Bound| predictions.iter().filter(|prediction| prediction.bound == bound).count();
            let bound = predictions.iter().map(|prediction| prediction.bound).max_by_key(|bound| count(*bound));
            let one = Group {
                what: work.what.clone(),
                launches: 1,
                blocks: mean(&|step| steps[step].kernels[place].blocks as f64),
                microseconds: mean(&|step| predictions[step].microseconds),
                joins_microseconds: mean(&|step| predictions[step].joins_microseconds),
                bound: bound.expect("a step at least"),
            };
            match kernels.iter_mut().find(|group| group.what == one.what) {
                Some(group) => group.add(&one),
                None => kernels.push(one),
            }
        }
        let sum =
            |of: &dyn Fn(&Group) -> f64| kernels.iter().map(|group| group.launches as f64 * of(group)).sum::<f64>();
        let around_microseconds = first.around.microseconds(machine);
        Ok(Self {
            what: first.what.clone(),
            arithmetic,
            trials: network.trials,
            launches: first.kernels.len(),
            microseconds: sum(&|group| group.microseconds) + around_microseconds,
            joins_microseconds: sum(&|group| group.joins_microseconds),
            around_microseconds,
            kernels,
        })
    }
}

impl Group {
    /// One more launch of the same name.
    fn add(&mut self, one: &Self) {
        let before = self.launches as f64;
        self.launches += 1;
        let mix = |ours: f64, theirs: f64| (before * ours + theirs) / (before + 1.0);
        self.blocks = mix(self.blocks, one.blocks);
        self.microseconds = mix(self.microseconds, one.microseconds);
        self.joins_microseconds = mix(self.joins_microseconds, one.joins_microseconds);
        if one.microseconds > self.microseconds {
            self.bound = one.bound;
        }
    }
}

/// What a search does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Schedule {
    /// Updates of the weights.
    pub weight_steps: u64,
    /// Those of them before the first update of `θ`.
    pub warmup: u64,
    /// Updates of `θ`.
    pub theta_steps: u64,
    /// Evaluations of the argmax cell.
    pub evaluations: u64,
    /// Images of an evaluation.
    pub evaluated_images: usize,
    /// Random cells that are compared with the table in the end: each is evaluated, and then probed with as many minibatches.
    pub compared_cells: u64,
}

/// What a search of AdvantageNAS should take.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Search {
    /// How convolutions multiply.
    pub arithmetic: Arithmetic,
    /// Trials that run together.
    pub trials: usize,
    /// The cells that it draws once `θ` is trained; uniform ones before.
    pub later: Cells,
    /// Of the whole, a trial's share.
    pub seconds_per_trial: f64,
    /// Of those, updates of the weights.
    pub weights: f64,
    /// Updates of `θ`.
    pub theta: f64,
    /// Evaluations and comparisons.
    pub evaluations: f64,
    /// Of all of those, what goes by before the first blocks of a launch have joined partial sums.
    pub joins: f64,
}

impl Search {
    /// What a search of a network should take.
    ///
    /// # Errors
    /// For a space of other sizes.
    pub fn of(
        machine: &Machine,
        network: &Network,
        schedule: Schedule,
        later: Cells,
        arithmetic: Arithmetic,
    ) -> Result<Self> {
        let mean = |asked, cells| Mean::of(machine, network, asked, cells, arithmetic);
        let (first, second) = (mean(Asked::Weights, Cells::Uniform)?, mean(Asked::Weights, later)?);
        let theta = mean(Asked::Gradient, later)?;
        let (drawn, last) = (mean(Asked::Loss, Cells::Uniform)?, mean(Asked::Loss, later)?);
        let Schedule { weight_steps, warmup, theta_steps, evaluations, evaluated_images, compared_cells } = schedule;
        let trials = network.trials;
        let minibatches = evaluation_minibatches(evaluated_images, network.batch).len();
        // A trial's minibatches share the lanes, trial after trial; nobody waits but for the last one. Probes of all trials go together.
        let of_set = (trials * minibatches.div_ceil(trials)) as f64;
        let total = |of: &dyn Fn(&Mean) -> f64| {
            let weights = warmup as f64 * of(&first) + (weight_steps - warmup) as f64 * of(&second);
            let theta = theta_steps as f64 * of(&theta);
            let compared = compared_cells as f64 * (of_set + minibatches as f64) * of(&drawn);
            [weights, theta, evaluations as f64 * of_set * of(&last) + compared]
        };
        let seconds = 1e-6 / trials as f64;
        let [weights, theta_time, evaluated] = total(&|mean| mean.microseconds).map(|time| seconds * time);
        let joins = total(&|mean| mean.joins_microseconds).iter().sum::<f64>() * seconds;
        Ok(Self {
            arithmetic,
            trials,
            later,
            seconds_per_trial: weights + theta_time + evaluated,
            weights,
            theta: theta_time,
            evaluations: evaluated,
            joins,
        })
    }

    /// The time that was aimed for, in seconds a trial, where there is an aim.
    #[must_use]
    pub fn aim(&self) -> Option<f64> {
        match (self.trials, self.arithmetic) {
            (1, Arithmetic::Fp32) => Some(100.0),
            (1, Arithmetic::Tf32) => Some(65.0),
            (8, Arithmetic::Fp32) => Some(85.0),
            (8, Arithmetic::Tf32) => Some(45.0),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sum(steps: &[Step], of: impl Fn(&Work) -> f64) -> f64 {
        steps.iter().flat_map(|step| &step.kernels).map(of).sum()
    }

    /// What the whole is known to be: a step of 3×3 convolutions everywhere is 84.5 GFLOP forward and back, and as much again by a half for gradients of
    /// weights is in it: forward, to the inputs, to the weights alike but for what the images need.
    #[test]
    fn work_of_the_papers_network() {
        let network = Network::paper(1).unwrap();
        let steps = |asked, cells| network.steps(asked, cells, Arithmetic::Tf32).unwrap();
        let all = steps(Asked::Weights, Cells::Convolutions);
        assert_eq!(all.len(), 1);
        let forward = steps(Asked::Loss, Cells::Convolutions);
        // Per image, of 15 cells with six convolutions each: 9 · channels² · pixels, the same in all stages; two blocks, of 9 · 2c · c/2 …
        let cells = 15.0 * 6.0 * 9.0 * 16.0 * 16.0 * 1024.0;
        let block = |channels: f64, pixels: f64| (9.0 * 2.0 + 9.0 * 4.0 + 2.0) * channels * channels * pixels;
        let expected = 64.0 * (cells + block(16.0, 256.0) + block(32.0, 64.0));
        assert_eq!(sum(&forward, |work| work.tf32), expected);
        assert_eq!(sum(&all, |work| work.tf32), 3.0 * expected);
        let flop = 2.0 * (3.0 * expected + 2.0 * 64.0 * 27.0 * 16.0 * 1024.0);
        assert!((flop / 84.5e9 - 1.0).abs() < 0.01, "{flop}");
        // Uniform cells have a quarter of the 3×3 convolutions, and as many of 1×1.
        let uniform = sum(&steps(Asked::Loss, Cells::Uniform), |work| work.tf32) / 64.0;
        let blocks = expected - 64.0 * cells;
        assert!(((uniform - blocks) / (64.0 * cells) - (1.0 + 1.0 / 9.0) / 4.0).abs() < 1e-9);
    }

    #[test]
    fn the_architectures_are_balanced() {
        let network = Network::paper(1).unwrap();
        let all = architectures(&network.parent).unwrap();
        for edges in [[0, 1, 2], [0, 1, 5], [1, 3, 4], [2, 4, 5], [3, 4, 5]] {
            let mut counts = BTreeMap::new();
            for architecture in &all {
                *counts.entry(edges.map(|edge| architecture.choices()[edge])).or_insert(0) += 1;
            }
            assert!(counts.len() == 64 && counts.values().all(|count| *count == 1), "{edges:?}");
        }
    }

    #[test]
    fn more_is_never_faster() {
        let [one, eight] = [1, 8].map(|trials| Network::paper(trials).unwrap());
        let mean = |network, asked, cells, arithmetic| Mean::of(&H100, network, asked, cells, arithmetic).unwrap();
        let time = |network, asked, cells, arithmetic| mean(network, asked, cells, arithmetic).microseconds;
        for arithmetic in Arithmetic::ALL {
            for cells in Cells::ALL {
                let [weights, gradient, loss] = Asked::ALL.map(|asked| time(&one, asked, cells, arithmetic));
                assert!(weights > gradient && gradient > loss);
                let together = time(&eight, Asked::Weights, cells, arithmetic);
                assert!(together > weights && together < 8.0 * weights);
            }
            let asked = Asked::Weights;
            assert!(time(&one, asked, Cells::Convolutions, arithmetic) > time(&one, asked, Cells::Uniform, arithmetic));
        }
        let [single, tensors] = Arithmetic::ALL.map(|of| mean(&eight, Asked::Weights, Cells::Convolutions, of));
        assert!(single.microseconds > tensors.microseconds);
        assert_eq!(single.launches, 114 + 2);
        let parts: f64 = single.kernels.iter().map(|group| group.launches as f64 * group.microseconds).sum();
        assert!((parts + single.around_microseconds - single.microseconds).abs() < 1e-6 * single.microseconds);
    }
}
