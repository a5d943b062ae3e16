//! One pass of a minibatch through the parent network, forward and backward.
//!
//! # Order
//! Chunks of images go through the nodes one after the other on any thread. A node is computed from its inputs, and at once
//! everything that reads it through a convolution, while it is in the cache. Chunks have to wait for each other only where a
//! batch norm needs the statistics of all images: before a node that adds up normalised outputs, and on the way back before the
//! gradient goes through them. The nodes between two such places are a *group*.
//!
//! # Convolutions
//! Those of 3×3 and stride 1 are done by minimal filtering (`layer::winograd`), which takes a little more than half the time of the
//! direct ones; these already run near the processor's peak.
//!
//! # Fusion
//! ReLU is applied while the border is put around an image. Normalisation and the weight of the edge are one multiplication and one
//! addition while a node is summed up. The gradient through a batch norm is computed while the border is put around it, the mask
//! of the ReLU when a gradient is added to that of the source. `∂loss/∂a` of a convolution is the sum `Σ ∂L/∂y · ẑ` that its
//! batch norm needs anyway.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use advantage_nas::network::Sgd;
use advantage_nas::network::nas_bench_201::parent::NORM_MOMENTUM;
use advantage_nas::network::nas_bench_201::parent::{Affine, Layer, Norm};
use advantage_nas::network::nas_bench_201::{PIXELS, Parent};
use advantage_nas::strategy::Proposal;
use advantage_nas::{Error, OpTable, Result};
use pulp::Arch;

use super::learned::Learned;
use super::plan::{CHUNK, NodePlan, Plan, SlotPlan, geometry};
use crate::Element;
use crate::layer::batch_norm::{self, Backward, EPSILON, Moments, Slopes};
use crate::layer::convolution::Convolution;
use crate::layer::global::{self, Normalization};
use crate::layer::map::{self, Summand};
use crate::layer::winograd::{self, Winograd};
use crate::layer::{LANES, Pixel, Size, blocks, linear};
use crate::workers::Workers;

/// A minibatch: images `[count, 3, 32, 32]`, normalised, and the label of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Minibatch<'a> {
    pub(super) images: &'a [f32],
    pub(super) labels: &'a [usize],
}

/// What becomes of the minibatch's statistics, which all batch norms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Statistics {
    /// Nothing else.
    Minibatch,
    /// Those of the batch norms with scale and shift are added to the running ones.
    MinibatchAndUpdate,
}

/// What a backward pass computes beside the gradients of the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) weights: bool,
    pub(super) edges: bool,
    /// Of inactive candidates, as if their outputs were all ones.
    pub(super) unit_outputs: bool,
}

/// Loss and number of images classified correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) loss: f64,
    pub(super) correct: usize,
}

/// Per channel, `[blocks]` each.
#[derive(Clone, Debug)]
struct Channels<T> {
    mean: Vec<Pixel<T>>,
    /// `1/√(v + ε)`
    inverse: Vec<Pixel<T>>,
    /// Of the normalisation, the edge's weight included.
    scale: Vec<Pixel<T>>,
    shift: Vec<Pixel<T>>,
    /// Of its gradient, see [`Backward`].
    own: Vec<Pixel<T>>,
    other: Vec<Pixel<T>>,
    all: Vec<Pixel<T>>,
}

impl<T: Element> Channels<T> {
    fn new(blocks: usize) -> Self {
        let zeros = || vec![Pixel::default(); blocks];
        Self {
            mean: zeros(),
            inverse: zeros(),
            scale: zeros(),
            shift: zeros(),
            own: zeros(),
            other: zeros(),
            all: zeros(),
        }
    }

    fn backward(&self) -> Backward<'_, T> {
        Backward { own: &self.own, other: &self.other, mean: &self.mean, all: &self.all }
    }

    fn normalization(&self) -> Normalization<'_, T> {
        Normalization { mean: &self.mean, scale: &self.scale, shift: &self.shift }
    }

    /// Sets up the forward pass of a block from the statistics of a minibatch, or the running ones.
    fn normalize(
        &mut self,
        block: usize,
        moments: &Moments,
        norm: Option<&Affine>,
        learned: &mut Learned<T>,
        statistics: Statistics,
        edge_weight: f64,
    ) {
        for lane in 0..LANES {
            let channel = block * LANES + lane;
            let (mean, variance) = (moments.mean[lane], moments.variance(lane));
            let (mut scale, mut shift) = (1.0, 0.0);
            if let Some(norm) = norm {
                scale = learned.weights.value(norm.scale)[block].0[lane].widen();
                shift = learned.weights.value(norm.shift)[block].0[lane].widen();
                let running = &mut learned.running[norm.running];
                if statistics == Statistics::MinibatchAndUpdate {
                    // Unbiased; of a single number there is none, and the variance is zero anyway.
                    let unbiased = moments.squares[lane] / (moments.count - 1.0).max(1.0);
                    running.mean[channel] += NORM_MOMENTUM * (mean - running.mean[channel]);
                    running.variance[channel] += NORM_MOMENTUM * (unbiased - running.variance[channel]);
                }
            }
            let inverse = 1.0 / (variance + EPSILON).sqrt();
            self.mean[block].0[lane] = T::of(mean);
            self.inverse[block].0[lane] = T::of(inverse);
            self.scale[block].0[lane] = T::of(edge_weight * scale * inverse);
            self.shift[block].0[lane] = T::of(edge_weight * shift);
        }
    }

    /// Sets up the backward pass of a block; returns `Σ ∂L/∂y · ẑ`. Writes the gradients of scale and shift.
    fn turn(
        &mut self,
        block: usize,
        slopes: &Slopes,
        norm: Option<&Affine>,
        learned: &mut Learned<T>,
        edge_weight: f64,
        count: f64,
    ) -> f64 {
        for lane in 0..LANES {
            let mut scale = 1.0;
            if let Some(norm) = norm {
                scale = learned.weights.value(norm.scale)[block].0[lane].widen();
                learned.weights.gradient_mut(norm.scale)[block].0[lane] = T::of(slopes.product[lane]);
                learned.weights.gradient_mut(norm.shift)[block].0[lane] = T::of(slopes.sum[lane]);
            }
            let inverse = self.inverse[block].0[lane].widen();
            let own = edge_weight * scale * inverse;
            self.own[block].0[lane] = T::of(own);
            self.other[block].0[lane] = T::of(-own * inverse * slopes.product[lane] / count);
            self.all[block].0[lane] = T::of(-own * slopes.sum[lane] / count);
        }
        slopes.product.iter().sum()
    }
}

/// A convolution that takes part in the pass.
#[derive(Clone, Debug)]
struct Slot<T> {
    plan: SlotPlan,
    convolution: Convolution,
    relu: bool,
    norm: Norm,
    /// The parameter.
    weight: usize,
    edge_weight: f64,
    channels: Channels<T>,
    /// If it is computed that way.
    winograd: Option<Winograd>,
    /// Its weights with inputs and outputs exchanged.
    transposed: Vec<Pixel<T>>,
    /// Its filters transformed: those of the forward pass, from the backward pass on those of the gradient.
    filters: Vec<Pixel<T>>,
    /// `∂loss/∂a`.
    slope: f64,
}

/// What an active candidate does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Skip,
    Pool,
    Halve,
    Convolve { slot: usize },
}

/// A summand of a node in this pass.
#[derive(Clone, Copy, Debug)]
struct Term<T> {
    source: usize,
    operation: Operation,
    weight: T,
    /// Edge and candidate.
    place: Option<(usize, usize)>,
    /// Whether it is the first to write the gradient of its source.
    fresh: bool,
}

/// What the threads share during a pass.
#[derive(Debug)]
struct Graph<T> {
    arch: Arch,
    parent: Parent,
    plan: Plan,
    slots: Vec<Slot<T>>,
    /// Of every node.
    terms: Vec<Vec<Term<T>>>,
    /// Slots that read a node.
    readers: Vec<Vec<usize>>,
    /// Whether a gradient reaches the node.
    reached: Vec<bool>,
    forward_groups: Vec<Range<usize>>,
    /// From the last node to the first.
    backward_groups: Vec<Range<usize>>,
    head: Channels<T>,
    images: usize,
}

/// The images that one thread works on together, with everything that is known of them.
#[derive(Clone, Debug)]
struct Chunk<T> {
    /// The first image, and how many.
    first: usize,
    images: usize,
    /// Every node, `[images, blocks, height, width]`.
    values: Vec<Vec<Pixel<T>>>,
    /// Output of every slot, `[images, blocks, height, width]`.
    outputs: Vec<Vec<Pixel<T>>>,
    /// Gradient buffers.
    gradients: Vec<Vec<Pixel<T>>>,
    /// Gradients of the weights of the slots of one node.
    weight_gradients: Vec<Vec<Pixel<T>>>,
    /// Of every slot, `[blocks]`.
    moments: Vec<Vec<Moments>>,
    slopes: Vec<Vec<Slopes>>,
    /// Of every node: sum of its gradient; of its terms, `∂loss/∂a` unless a batch norm knows it.
    sums: Vec<f64>,
    edge_slopes: Vec<Vec<f64>>,
    head: HeadChunk<T>,
}

#[derive(Clone, Debug)]
struct HeadChunk<T> {
    moments: Vec<Moments>,
    slopes: Vec<Slopes>,
    /// `[images, blocks]` each.
    features: Vec<Pixel<T>>,
    feature_gradients: Vec<Pixel<T>>,
    /// `[images, classes]`
    logits: Vec<T>,
    logit_slopes: Vec<T>,
    weight_gradient: Vec<Pixel<T>>,
    bias_gradient: Vec<Pixel<T>>,
    loss: f64,
    correct: usize,
}

/// Images with a border and in tiles, of one thread.
#[derive(Debug)]
struct Scratch<T> {
    input: Vec<Pixel<T>>,
    gradient: Vec<Pixel<T>>,
    room: winograd::Room<T>,
}

/// The network of one minibatch size.
#[derive(Debug)]
pub(super) struct Network<T> {
    graph: Graph<T>,
    chunks: Vec<Chunk<T>>,
    scratch: Vec<Mutex<Scratch<T>>>,
    workers: Workers,
}

/// Pixels of a piece of a gradient that is added up at once.
const PIECE: usize = 256;

impl<T: Element> Network<T> {
    pub(super) fn new(parent: Parent, plan: Plan, workers: Workers) -> Self {
        let zeros = |length: usize| vec![Pixel::default(); length];
        let slots: Vec<Slot<T>> = plan.slots.iter().map(|slot| Slot::new(&parent, &plan, slot)).collect();
        let classes = parent.skeleton().classes;
        let last = plan.nodes[plan.nodes.len() - 1].blocks;
        let most_terms = |node: usize| parent.nodes()[node].inputs.iter().map(|input| input.layers.len()).sum();
        let nodes = plan.nodes.len();
        let chunk = Chunk {
            first: 0,
            images: 0,
            values: plan.nodes.iter().map(|node| zeros(CHUNK * node.length())).collect(),
            outputs: plan.slots.iter().map(|slot| zeros(CHUNK * plan.output(slot))).collect(),
            gradients: plan.gradients.iter().map(|length| zeros(CHUNK * length)).collect(),
            weight_gradients: plan.weight_gradients.iter().map(|length| zeros(*length)).collect(),
            moments: plan.slots.iter().map(|slot| vec![Moments::default(); plan.nodes[slot.node].blocks]).collect(),
            slopes: plan.slots.iter().map(|slot| vec![Slopes::default(); plan.nodes[slot.node].blocks]).collect(),
            sums: vec![0.0; nodes],
            edge_slopes: (0..nodes).map(|node| vec![0.0; most_terms(node)]).collect(),
            head: HeadChunk {
                moments: vec![Moments::default(); last],
                slopes: vec![Slopes::default(); last],
                features: zeros(CHUNK * last),
                feature_gradients: zeros(CHUNK * last),
                logits: vec![T::zero(); CHUNK * classes],
                logit_slopes: vec![T::zero(); CHUNK * classes],
                weight_gradient: zeros(classes * last),
                bias_gradient: zeros(blocks(classes)),
                loss: 0.0,
                correct: 0,
            },
        };
        let chunks = vec![chunk; plan.chunks()];
        let scratch = || Scratch {
            input: zeros(plan.bordered_input),
            gradient: zeros(plan.bordered_gradient),
            room: winograd::Room::new(plan.winograd),
        };
        let scratch = (0..workers.count()).map(|_| Mutex::new(scratch())).collect();
        let readers = (0..nodes).map(|node| Vec::with_capacity(slots.iter().filter(|s| s.plan.source == node).count()));
        let graph = Graph {
            arch: Arch::new(),
            readers: readers.collect(),
            terms: (0..nodes).map(|node| Vec::with_capacity(most_terms(node))).collect(),
            reached: vec![false; nodes],
            forward_groups: Vec::with_capacity(nodes),
            backward_groups: Vec::with_capacity(nodes),
            head: Channels::new(last),
            images: 0,
            slots,
            parent,
            plan,
        };
        Self { graph, chunks, scratch, workers }
    }

    pub(super) fn parent(&self) -> &Parent {
        &self.graph.parent
    }

    /// Updates the weights that took part in the last pass; returns the norm of the gradient before clipping.
    pub(super) fn update(&self, learned: &mut Learned<T>, sgd: &Sgd, rate: f64) -> f64 {
        self.workers.run(|| learned.weights.update(self.graph.arch, &self.workers, sgd, rate))
    }

    /// Logits of the last forward pass, `[images, classes]`.
    pub(super) fn logits(&self) -> Vec<T> {
        let classes = self.graph.parent.skeleton().classes;
        self.chunks.iter().flat_map(|chunk| &chunk.head.logits[..chunk.images * classes]).copied().collect()
    }

    /// Forward pass; edge `without` is left out.
    ///
    /// # Errors
    /// [`Error::Shape`] for a proposal over another space, [`Error::Unsupported`] for more candidates than there is room for,
    /// [`Error::Length`] for an empty minibatch or too large a one.
    pub(super) fn forward(
        &mut self,
        learned: &mut Learned<T>,
        minibatch: Minibatch<'_>,
        proposal: &Proposal,
        without: Option<usize>,
        statistics: Statistics,
    ) -> Result<Outcome> {
        let images = minibatch.labels.len();
        if images == 0 || images > self.graph.plan.batch {
            return Err(Error::Length { what: "images of a minibatch", expected: self.graph.plan.batch, got: images });
        }
        self.graph.select(learned, proposal, without)?;
        self.graph.images = images;
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            chunk.first = (index * CHUNK).min(images);
            chunk.images = (images - chunk.first).min(CHUNK);
        }
        let Self { graph, chunks, scratch, workers } = self;
        workers.run(|| {
            let (arch, values) = (graph.arch, &*learned);
            workers.each(&mut graph.slots, |slot| slot.ready(arch, values));
            for group in 0..graph.forward_groups.len() {
                let nodes = graph.forward_groups[group].clone();
                let (shared, values) = (&*graph, &*learned);
                workers.each(chunks, |chunk| {
                    let mut scratch = scratch[workers.index()].lock().unwrap_or_else(PoisonError::into_inner);
                    for node in nodes.clone() {
                        shared.forward_node(node, chunk, minibatch, values, &mut scratch);
                    }
                });
                graph.join_moments(nodes, chunks, learned, statistics);
            }
            let (shared, values) = (&*graph, &*learned);
            workers.each(chunks, |chunk| shared.forward_head(chunk, minibatch, values));
        });
        let mut outcome = Outcome::default();
        for chunk in &self.chunks {
            outcome.loss += chunk.head.loss;
            outcome.correct += chunk.head.correct;
        }
        outcome.loss /= images as f64;
        Ok(outcome)
    }

    /// Backward pass of the last forward pass, which must have used the statistics of the minibatch.
    pub(super) fn backward(&mut self, learned: &mut Learned<T>, wanted: Wanted) {
        let Self { graph, chunks, scratch, workers } = self;
        graph.turn_head(chunks, learned);
        workers.run(|| {
            let (arch, values) = (graph.arch, &*learned);
            workers.each(&mut graph.slots, |slot| slot.turn(arch, values));
            let last = graph.plan.nodes.len() - 1;
            let shared = &*graph;
            workers.each(chunks, |chunk| {
                shared.backward_head(chunk);
                shared.complete(last, chunk, wanted);
            });
            graph.join_slopes(last, chunks, learned);
            for group in 0..graph.backward_groups.len() {
                let nodes = graph.backward_groups[group].clone();
                let shared = &*graph;
                workers.each(chunks, |chunk| {
                    let mut scratch = scratch[workers.index()].lock().unwrap_or_else(PoisonError::into_inner);
                    for node in nodes.clone().rev() {
                        shared.backward_node(node, chunk, wanted, &mut scratch);
                        for &source in &shared.plan.completed_by[node] {
                            shared.complete(source, chunk, wanted);
                        }
                    }
                });
                if wanted.weights {
                    graph.join_weight_gradients(nodes.clone(), chunks, learned, workers);
                }
                for node in nodes.rev() {
                    for index in 0..graph.plan.completed_by[node].len() {
                        let source = graph.plan.completed_by[node][index];
                        graph.join_slopes(source, chunks, learned);
                    }
                }
            }
        });
    }

    /// Adds up `∂loss/∂a`, `[edges, candidates]`, after a backward pass.
    pub(super) fn edge_gradient(&self, wanted: Wanted, proposal: &Proposal, out: &mut OpTable<f64>) {
        out.fill(0.0);
        for (node, terms) in self.graph.terms.iter().enumerate() {
            for (index, term) in terms.iter().enumerate() {
                let Some((edge, candidate)) = term.place else { continue };
                out[(edge, candidate)] += match term.operation {
                    Operation::Convolve { slot } => self.graph.slots[slot].slope,
                    _ => self.chunks.iter().map(|chunk| chunk.edge_slopes[node][index]).sum(),
                };
            }
            if !wanted.unit_outputs {
                continue;
            }
            let sum = || self.chunks.iter().map(|chunk| chunk.sums[node]).sum::<f64>();
            for input in &self.graph.parent.nodes()[node].inputs {
                let Some(edge) = input.edge else { continue };
                for candidate in 0..input.layers.len() {
                    if !proposal.active()[(edge, candidate)] {
                        out[(edge, candidate)] += sum();
                    }
                }
            }
        }
    }
}

impl<T: Element> Slot<T> {
    fn new(parent: &Parent, plan: &Plan, slot: &SlotPlan) -> Self {
        let layers = &parent.nodes()[slot.node].inputs[slot.input].layers;
        let first = layers.iter().find_map(|layer| match layer {
            Layer::Convolution(layer) => Some(layer),
            _ => None,
        });
        let first = first.expect("slots are planned for convolutions");
        Self {
            plan: *slot,
            convolution: geometry(parent, slot.source, slot.node, first),
            relu: first.relu,
            norm: first.norm,
            weight: usize::MAX,
            edge_weight: 0.0,
            channels: Channels::new(plan.nodes[slot.node].blocks),
            winograd: None,
            transposed: vec![Pixel::default(); slot.transposed],
            filters: vec![Pixel::default(); slot.filters],
            slope: 0.0,
        }
    }

    /// Whether it takes part in the pass.
    fn active(&self) -> bool {
        self.weight != usize::MAX
    }

    /// Readies its filters for the forward pass.
    fn ready(&mut self, arch: Arch, learned: &Learned<T>) {
        if let (true, Some(winograd)) = (self.active(), &self.winograd) {
            winograd.transform(arch, learned.weights.value(self.weight), &mut self.filters);
        }
    }

    /// Readies its filters for the backward pass. The images have no gradient.
    fn turn(&mut self, arch: Arch, learned: &Learned<T>) {
        if !self.active() || self.plan.source == 0 {
            return;
        }
        self.convolution.transpose(learned.weights.value(self.weight), &mut self.transposed);
        if let Some(winograd) = &self.winograd {
            winograd.transform_back(arch, &self.transposed[..self.convolution.transposed_weights()], &mut self.filters);
        }
    }

    fn affine(&self) -> Option<Affine> {
        match self.norm {
            Norm::Affine(affine) => Some(affine),
            Norm::Without | Norm::Plain => None,
        }
    }
}

impl<T: Element> Graph<T> {
    /// Lists what takes part in a pass, and where chunks have to wait for each other.
    fn select(&mut self, learned: &mut Learned<T>, proposal: &Proposal, without: Option<usize>) -> Result<()> {
        self.parent.space().shape().expect("proposal", proposal.shape())?;
        learned.weights.active_mut().fill(false);
        let head = self.parent.head();
        for parameter in [head.norm.scale, head.norm.shift, head.weight, head.bias] {
            learned.weights.active_mut()[parameter] = true;
        }
        self.readers.iter_mut().for_each(Vec::clear);
        self.terms.iter_mut().for_each(Vec::clear);
        self.slots.iter_mut().for_each(|slot| slot.weight = usize::MAX);
        let mut next = 0;
        for (index, (node, terms)) in self.parent.nodes().iter().zip(&mut self.terms).enumerate() {
            for (number, input) in node.inputs.iter().enumerate() {
                // The slots of this input are the next ones.
                let of_input = |slot: &Slot<T>| slot.plan.node == index && slot.plan.input == number;
                let first = next;
                while self.slots.get(next).is_some_and(of_input) {
                    next += 1;
                }
                if input.edge.is_some() && input.edge == without {
                    continue;
                }
                let mut free = first..next;
                for (candidate, layer) in input.layers.iter().enumerate() {
                    let place = input.edge.map(|edge| (edge, candidate));
                    if place.is_some_and(|place| !proposal.active()[place]) {
                        continue;
                    }
                    let weight = place.map_or(1.0, |place| proposal.weights()[place]);
                    let operation = match layer {
                        Layer::Zero => continue,
                        Layer::Skip => Operation::Skip,
                        Layer::AveragePooling => Operation::Pool,
                        Layer::Halving => Operation::Halve,
                        Layer::Convolution(layer) => {
                            let slot = free.next().ok_or(Error::Unsupported {
                                operation: "evaluate so many candidates of an edge at once",
                                reason: "its memory was planned for fewer",
                            })?;
                            let chosen = &mut self.slots[slot];
                            chosen.convolution = geometry(&self.parent, input.source, chosen.plan.node, layer);
                            chosen.winograd = Winograd::of(&chosen.convolution, CHUNK);
                            (chosen.relu, chosen.norm, chosen.weight) = (layer.relu, layer.norm, layer.weight);
                            chosen.edge_weight = weight;
                            chosen.slope = 0.0;
                            learned.weights.active_mut()[layer.weight] = true;
                            if let Norm::Affine(affine) = layer.norm {
                                learned.weights.active_mut()[affine.scale] = true;
                                learned.weights.active_mut()[affine.shift] = true;
                            }
                            self.readers[input.source].push(slot);
                            Operation::Convolve { slot }
                        }
                    };
                    terms.push(Term { source: input.source, operation, weight: T::of(weight), place, fresh: false });
                }
            }
        }
        self.order();
        Ok(())
    }

    /// Finds the groups, and which term is the first to write a gradient.
    fn order(&mut self) {
        let nodes = self.terms.len();
        let normalized = |slots: &[Slot<T>], term: &Term<T>| match term.operation {
            Operation::Convolve { slot } => slots[slot].norm != Norm::Without,
            _ => false,
        };
        self.forward_groups.clear();
        let mut first = 0;
        for node in 1..nodes {
            // An output that was computed since the chunks last waited.
            let waits = self.terms[node].iter().any(|term| normalized(&self.slots, term) && term.source >= first);
            if waits {
                self.forward_groups.push(first..node);
                first = node;
            }
        }
        self.forward_groups.push(first..nodes);

        self.reached.fill(false);
        self.reached[nodes - 1] = true;
        for node in (1..nodes).rev() {
            for term in &mut self.terms[node] {
                term.fresh = !self.reached[term.source];
                self.reached[term.source] = true;
            }
        }
        // Going back, the sums of a node are known to all once the chunks have waited after its first reader. A group has at most
        // one node with convolutions in front of it, for whose gradients there is room.
        self.backward_groups.clear();
        let mut end = nodes;
        let mut convolves = false;
        for node in (1..nodes).rev() {
            if self.terms[node].iter().any(|term| matches!(term.operation, Operation::Convolve { .. })) {
                let unknown =
                    self.plan.completed_by[node + 1..end].iter().flatten().any(|completed| *completed == node);
                if unknown || convolves {
                    self.backward_groups.push(node + 1..end);
                    end = node + 1;
                }
                convolves = true;
            }
        }
        self.backward_groups.push(1..end);
    }

    fn summand<'a>(&'a self, chunk: &'a Chunk<T>, term: &Term<T>, image: usize) -> Summand<'a, T> {
        let length = self.plan.nodes[term.source].length();
        let x = &chunk.values[term.source];
        let x = || &x[image * length..][..length];
        match term.operation {
            Operation::Skip => Summand::Scaled { x: x(), weight: term.weight },
            Operation::Pool => Summand::Pooled { x: x(), weight: term.weight },
            Operation::Halve => Summand::Halved { x: x() },
            Operation::Convolve { slot } => {
                let (output, slot) = (&chunk.outputs[slot], &self.slots[slot]);
                let length = self.plan.output(&slot.plan);
                let x = &output[image * length..][..length];
                match slot.norm {
                    Norm::Without => Summand::Scaled { x, weight: term.weight },
                    Norm::Plain | Norm::Affine(_) => {
                        let Channels { mean, scale, shift, .. } = &slot.channels;
                        Summand::Normalized { x, mean, scale, shift }
                    }
                }
            }
        }
    }

    /// Computes a node of a chunk, and all convolutions that read it.
    fn forward_node(
        &self,
        node: usize,
        chunk: &mut Chunk<T>,
        minibatch: Minibatch<'_>,
        learned: &Learned<T>,
        scratch: &mut Scratch<T>,
    ) {
        let plan = &self.plan.nodes[node];
        let length = plan.length();
        let mut value = std::mem::take(&mut chunk.values[node]);
        for (image, value) in value.chunks_exact_mut(length).take(chunk.images).enumerate() {
            if node == 0 {
                let start = (chunk.first + image) * PIXELS;
                interleave(&minibatch.images[start..start + PIXELS], plan.size, value);
            } else {
                let summands = self.terms[node].iter().map(|term| self.summand(chunk, term, image));
                map::combine(self.arch, summands, plan.size, value, true);
            }
        }
        let readers = &self.readers[node];
        for &slot in readers {
            chunk.moments[slot].fill(Moments::default());
        }
        let border = readers.iter().map(|&slot| self.slots[slot].convolution.padding()).max().unwrap_or(0);
        for (image, value) in value.chunks_exact(length).take(chunk.images).enumerate() {
            let Some(&first) = readers.first() else { break };
            // What reads a node through convolutions does so either with ReLU or without.
            map::border(self.arch, value, plan.size, border, self.slots[first].relu, &mut scratch.input);
            for &index in readers {
                let slot = &self.slots[index];
                let length = self.plan.output(&slot.plan);
                let output = &mut chunk.outputs[index][image * length..][..length];
                if let Some(winograd) = &slot.winograd {
                    let Scratch { input, room, .. } = &mut *scratch;
                    winograd.forward(self.arch, input, border, &slot.filters, room, output);
                } else {
                    let filters = learned.weights.value(slot.weight);
                    slot.convolution.forward(self.arch, &scratch.input, border, filters, output);
                }
                if slot.norm != Norm::Without {
                    let size = slot.convolution.output();
                    batch_norm::join_moments(self.arch, output, size, &mut chunk.moments[index]);
                }
            }
        }
        if node + 1 == self.terms.len() {
            chunk.head.moments.fill(Moments::default());
            for value in value.chunks_exact(length).take(chunk.images) {
                batch_norm::join_moments(self.arch, value, plan.size, &mut chunk.head.moments);
            }
        }
        chunk.values[node] = value;
    }

    /// Adds up the statistics of the convolutions that read these nodes.
    fn join_moments(
        &mut self,
        nodes: Range<usize>,
        chunks: &[Chunk<T>],
        learned: &mut Learned<T>,
        statistics: Statistics,
    ) {
        let last = nodes.end == self.terms.len();
        for node in nodes {
            for &index in &self.readers[node] {
                let slot = &mut self.slots[index];
                if slot.norm == Norm::Without {
                    continue;
                }
                let affine = slot.affine();
                for block in 0..self.plan.nodes[slot.plan.node].blocks {
                    let moments = join(chunks.iter().map(|chunk| &chunk.moments[index][block]));
                    slot.channels.normalize(block, &moments, affine.as_ref(), learned, statistics, slot.edge_weight);
                }
            }
        }
        if last {
            let norm = self.parent.head().norm;
            for block in 0..self.plan.nodes[self.terms.len() - 1].blocks {
                let moments = join(chunks.iter().map(|chunk| &chunk.head.moments[block]));
                self.head.normalize(block, &moments, Some(&norm), learned, statistics, 1.0);
            }
        }
    }

    /// Everything behind the last node, and the gradient up to the batch norm.
    fn forward_head(&self, chunk: &mut Chunk<T>, minibatch: Minibatch<'_>, learned: &Learned<T>) {
        let head = self.parent.head();
        let last = self.terms.len() - 1;
        let NodePlan { blocks, size, .. } = self.plan.nodes[last];
        let length = self.plan.nodes[last].length();
        let classes = self.parent.skeleton().classes;
        let own = &mut chunk.head;
        own.slopes.fill(Slopes::default());
        own.weight_gradient.fill(Pixel::default());
        own.bias_gradient.fill(Pixel::default());
        (own.loss, own.correct) = (0.0, 0);
        let (weight, bias) = (learned.weights.value(head.weight), learned.weights.value(head.bias));
        for image in 0..chunk.images {
            let x = &chunk.values[last][image * length..][..length];
            let features = &mut own.features[image * blocks..][..blocks];
            global::average(self.arch, x, size, self.head.normalization(), features);
            let logits = &mut own.logits[image * classes..][..classes];
            linear::forward(weight, bias, features, logits);
            let slopes = &mut own.logit_slopes[image * classes..][..classes];
            let label = minibatch.labels[chunk.first + image];
            let (loss, correct) = linear::cross_entropy(logits, label, self.images, slopes);
            own.loss += loss;
            own.correct += usize::from(correct);
            let gradient = &mut own.feature_gradients[image * blocks..][..blocks];
            let (weight_gradient, bias_gradient) = (&mut own.weight_gradient, &mut own.bias_gradient);
            linear::backward(weight, features, slopes, gradient, weight_gradient, bias_gradient);
            let (normalization, inverse) = (self.head.normalization(), &self.head.inverse);
            global::join_slopes(self.arch, x, size, normalization, gradient, inverse, &mut own.slopes);
        }
    }

    /// Adds up the gradients of the head's parameters, and sets up its batch norm's gradient.
    fn turn_head(&mut self, chunks: &[Chunk<T>], learned: &mut Learned<T>) {
        let head = *self.parent.head();
        let last = self.plan.nodes[self.terms.len() - 1];
        for (parameter, of) in [
            (head.weight, (|own| &own.weight_gradient) as fn(&HeadChunk<T>) -> &Vec<Pixel<T>>),
            (head.bias, |own| &own.bias_gradient),
        ] {
            let gradient = learned.weights.gradient_mut(parameter);
            let parts = chunks.iter().map(|chunk| Summand::Scaled { x: of(&chunk.head), weight: T::one() });
            map::combine(self.arch, parts, Size { height: 1, width: gradient.len() }, gradient, true);
        }
        let count = (self.images * last.size.pixels()) as f64;
        for block in 0..last.blocks {
            let slopes = join_slopes(chunks.iter().map(|chunk| &chunk.head.slopes[block]));
            self.head.turn(block, &slopes, Some(&head.norm), learned, 1.0, count);
        }
    }

    /// The gradient of the last node of a chunk.
    fn backward_head(&self, chunk: &mut Chunk<T>) {
        let last = self.terms.len() - 1;
        let NodePlan { blocks, size, buffer } = self.plan.nodes[last];
        let length = self.plan.nodes[last].length();
        for image in 0..chunk.images {
            let x = &chunk.values[last][image * length..][..length];
            let gradient = &chunk.head.feature_gradients[image * blocks..][..blocks];
            let out = &mut chunk.gradients[buffer][image * length..][..length];
            let (normalization, backward) = (self.head.normalization(), self.head.backward());
            global::input_gradient(self.arch, x, size, normalization, gradient, backward, out);
        }
    }

    /// Sums over the finished gradient of a node.
    fn complete(&self, node: usize, chunk: &mut Chunk<T>, wanted: Wanted) {
        let plan = &self.plan.nodes[node];
        let length = plan.length();
        let mut gradient = std::mem::take(&mut chunk.gradients[plan.buffer]);
        if !self.reached[node] {
            gradient[..chunk.images * length].fill(Pixel::default());
        }
        let images = || gradient.chunks_exact(length).take(chunk.images).enumerate();
        for (index, term) in self.terms[node].iter().enumerate() {
            if let Operation::Convolve { slot } = term.operation {
                let of = &self.slots[slot];
                if of.norm == Norm::Without {
                    continue;
                }
                let slopes = &mut chunk.slopes[slot];
                slopes.fill(Slopes::default());
                for (image, gradient) in images() {
                    let z = &chunk.outputs[slot][image * length..][..length];
                    let Channels { mean, inverse, .. } = &of.channels;
                    batch_norm::join_slopes(self.arch, gradient, z, plan.size, mean, inverse, slopes);
                }
            } else if wanted.edges && term.place.is_some() {
                let one = Term { weight: T::one(), ..*term };
                let mut sum = 0.0;
                for (image, gradient) in images() {
                    sum += map::product(self.arch, self.summand(chunk, &one, image), plan.size, gradient);
                }
                chunk.edge_slopes[node][index] = sum;
            }
        }
        if wanted.unit_outputs {
            chunk.sums[node] = images().map(|(_, gradient)| map::sum(self.arch, gradient)).sum();
        }
        chunk.gradients[plan.buffer] = gradient;
    }

    /// Adds up the sums of the convolutions that lead to a node.
    fn join_slopes(&mut self, node: usize, chunks: &[Chunk<T>], learned: &mut Learned<T>) {
        let plan = self.plan.nodes[node];
        let count = (self.images * plan.size.pixels()) as f64;
        for term in &self.terms[node] {
            let Operation::Convolve { slot: index } = term.operation else { continue };
            let slot = &mut self.slots[index];
            if slot.norm == Norm::Without {
                continue;
            }
            let affine = slot.affine();
            slot.slope = 0.0;
            for block in 0..plan.blocks {
                let slopes = join_slopes(chunks.iter().map(|chunk| &chunk.slopes[index][block]));
                slot.slope += slot.channels.turn(block, &slopes, affine.as_ref(), learned, slot.edge_weight, count);
            }
        }
    }

    /// Passes the gradient of a node on to its sources, and to the weights in between.
    fn backward_node(&self, node: usize, chunk: &mut Chunk<T>, wanted: Wanted, scratch: &mut Scratch<T>) {
        let plan = &self.plan.nodes[node];
        let length = plan.length();
        let gradient = std::mem::take(&mut chunk.gradients[plan.buffer]);
        for term in &self.terms[node] {
            let source = &self.plan.nodes[term.source];
            let source_length = source.length();
            // The images have no gradient.
            let passed_on = term.source > 0;
            let mut out = if passed_on { std::mem::take(&mut chunk.gradients[source.buffer]) } else { Vec::new() };
            if let Operation::Convolve { slot } = term.operation
                && wanted.weights
            {
                let slot = &self.slots[slot];
                // Minimal filtering writes its sum after the chunk's last image, if there is one.
                if slot.winograd.is_none() || chunk.images == 0 {
                    chunk.weight_gradients[slot.plan.position][..slot.convolution.weights()].fill(Pixel::default());
                }
            }
            for (image, gradient) in gradient.chunks_exact(length).take(chunk.images).enumerate() {
                let out = passed_on.then(|| &mut out[image * source_length..][..source_length]);
                let summand = match term.operation {
                    Operation::Skip => Summand::Scaled { x: gradient, weight: term.weight },
                    Operation::Pool => Summand::PooledBack { x: gradient, weight: term.weight },
                    Operation::Halve => Summand::HalvedBack { x: gradient },
                    Operation::Convolve { slot } => {
                        self.backward_convolution(slot, image, gradient, chunk, wanted, scratch, out, term.fresh);
                        continue;
                    }
                };
                if let Some(out) = out {
                    map::combine(self.arch, std::iter::once(summand), source.size, out, term.fresh);
                }
            }
            if passed_on {
                chunk.gradients[source.buffer] = out;
            }
        }
        chunk.gradients[plan.buffer] = gradient;
    }

    #[expect(clippy::too_many_arguments)]
    fn backward_convolution(
        &self,
        index: usize,
        image: usize,
        gradient: &[Pixel<T>],
        chunk: &mut Chunk<T>,
        wanted: Wanted,
        scratch: &mut Scratch<T>,
        out: Option<&mut [Pixel<T>]>,
        fresh: bool,
    ) {
        let slot = &self.slots[index];
        let convolution = &slot.convolution;
        let (border, size) = (convolution.padding(), convolution.output());
        if slot.norm == Norm::Without {
            map::border(self.arch, gradient, size, border, false, &mut scratch.gradient);
        } else {
            let z = &chunk.outputs[index][image * gradient.len()..][..gradient.len()];
            let backward = slot.channels.backward();
            batch_norm::input_gradient(self.arch, gradient, z, size, backward, border, &mut scratch.gradient);
        }
        let length = self.plan.nodes[slot.plan.source].length();
        let x = &chunk.values[slot.plan.source][image * length..][..length];
        if wanted.weights {
            map::border(self.arch, x, convolution.size, border, slot.relu, &mut scratch.input);
            let weights = &mut chunk.weight_gradients[slot.plan.position];
            if let Some(winograd) = &slot.winograd {
                let Scratch { input, gradient, room } = &mut *scratch;
                let last = image + 1 == chunk.images;
                winograd.weight_gradient(self.arch, image, last, input, border, gradient, room);
                if last {
                    winograd.finish(self.arch, room, &mut weights[..convolution.weights()]);
                }
            } else {
                convolution.weight_gradient(self.arch, &scratch.input, border, &scratch.gradient, weights);
            }
        }
        if let Some(out) = out {
            let relu = slot.relu.then_some((x, 0));
            if let Some(winograd) = &slot.winograd {
                let Scratch { gradient, room, .. } = &mut *scratch;
                winograd.input_gradient(self.arch, gradient, &slot.filters, relu, room, out, fresh);
            } else {
                convolution.input_gradient(self.arch, &scratch.gradient, &slot.transposed, relu, out, fresh);
            }
        }
    }

    /// Adds up the gradients of the weights in front of these nodes.
    fn join_weight_gradients(
        &self,
        nodes: Range<usize>,
        chunks: &[Chunk<T>],
        learned: &mut Learned<T>,
        workers: &Workers,
    ) {
        for term in self.terms[nodes].iter().flatten() {
            let Operation::Convolve { slot } = term.operation else { continue };
            let slot = &self.slots[slot];
            workers.pieces(learned.weights.gradient_mut(slot.weight), PIECE, |piece, out| {
                let range = piece * PIECE..piece * PIECE + out.len();
                let parts = chunks.iter().map(|chunk| Summand::Scaled {
                    x: &chunk.weight_gradients[slot.plan.position][range.clone()],
                    weight: T::one(),
                });
                map::combine(self.arch, parts, Size { height: 1, width: range.len() }, out, true);
            });
        }
    }
}

fn join<'a>(parts: impl Iterator<Item = &'a Moments>) -> Moments {
    let mut moments = Moments::default();
    parts.for_each(|part| moments.join(part));
    moments
}

fn join_slopes<'a>(parts: impl Iterator<Item = &'a Slopes>) -> Slopes {
    let mut slopes = Slopes::default();
    parts.for_each(|part| slopes.join(part));
    slopes
}

/// Writes an image `[channels, height, width]` as pixels.
fn interleave<T: Element>(image: &[f32], size: Size, out: &mut [Pixel<T>]) {
    for (channel, plane) in image.chunks_exact(size.pixels()).enumerate() {
        for (pixel, &value) in out.iter_mut().zip(plane) {
            pixel.0[channel] = T::of_f32(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::network::Part;
    use advantage_nas::network::nas_bench_201::{Candidates, EDGES, Operation as Candidate, Skeleton};
    use advantage_nas::random::Streams;
    use advantage_nas::strategy::Want;
    use advantage_nas::tolerance::{F64_SUMS, assert_close};
    use advantage_nas::{Architecture, estimator};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::plan::Simultaneous;
    use super::*;

    /// A network whose first cell is examined: its output is node 4, after images, stem and two nodes.
    const OUTPUT: usize = 4;

    struct Examined {
        network: Network<f64>,
        learned: Learned<f64>,
        images: Vec<f32>,
        /// Coefficients of a linear functional of the cell's output.
        functional: Vec<Pixel<f64>>,
    }

    impl Examined {
        fn new(candidates: &[Candidate], rng: &mut ChaCha8Rng) -> Self {
            let candidates = Candidates::new(candidates).unwrap();
            let parent = Parent::new(Skeleton { cells: 1, channels: 3, classes: 2 }, &candidates).unwrap();
            let learned = Learned::new(&parent, &Streams::new(0), 0);
            let plan = Plan::new(&parent, 2, Simultaneous::All);
            let length = 2 * plan.nodes[OUTPUT].length();
            let functional = (0..length).map(|_| Pixel(std::array::from_fn(|_| rng.random_range(-1.0..1.0)))).collect();
            let images = (0..2 * PIXELS).map(|_| rng.random_range(-1.0..1.0)).collect();
            Self { network: Network::new(parent, plan, Workers::new(1).unwrap()), learned, images, functional }
        }

        /// The functional of the cell's output, with edge `without` left out.
        fn reward(&mut self, proposal: &Proposal, without: Option<usize>) -> f64 {
            let minibatch = Minibatch { images: &self.images, labels: &[0, 1] };
            self.network.forward(&mut self.learned, minibatch, proposal, without, Statistics::Minibatch).unwrap();
            let values = &self.network.chunks[0].values[OUTPUT][..self.functional.len()];
            map::product(
                Arch::new(),
                Summand::Scaled { x: values, weight: 1.0 },
                Size { height: 1, width: 64 },
                &self.functional,
            )
        }

        /// `∂r/∂a` at the last forward pass.
        fn gradient(&mut self, proposal: &Proposal) -> OpTable<f64> {
            let wanted = Wanted { edges: true, ..Wanted::default() };
            let Network { graph, chunks, scratch, .. } = &mut self.network;
            let buffer = graph.plan.nodes[OUTPUT].buffer;
            chunks[0].gradients[buffer][..self.functional.len()].copy_from_slice(&self.functional);
            chunks.iter_mut().for_each(|chunk| chunk.edge_slopes.iter_mut().for_each(|slopes| slopes.fill(0.0)));
            for slot in &mut graph.slots {
                slot.slope = 0.0;
                slot.turn(graph.arch, &self.learned);
            }
            let scratch = scratch[0].get_mut().unwrap();
            graph.complete(OUTPUT, &mut chunks[0], wanted);
            graph.join_slopes(OUTPUT, chunks, &mut self.learned);
            for node in (2..=OUTPUT).rev() {
                graph.backward_node(node, &mut chunks[0], wanted, scratch);
                for source in graph.plan.completed_by[node].clone() {
                    if source > 1 {
                        graph.complete(source, &mut chunks[0], wanted);
                        graph.join_slopes(source, chunks, &mut self.learned);
                    }
                }
            }
            let mut gradient = OpTable::filled(proposal.shape(), 0.0);
            self.network.edge_gradient(wanted, proposal, &mut gradient);
            gradient
        }

        /// Largest difference of Eq. (6) and Eq. (7) over the edges, relative to the largest advantage.
        fn difference(&mut self, proposal: &Proposal, architecture: &Architecture) -> f64 {
            let (mut exact, mut first_order) = ([0.0; EDGES], [0.0; EDGES]);
            let removals: Vec<f64> = (0..EDGES).map(|edge| self.reward(proposal, Some(edge))).collect();
            let reward = self.reward(proposal, None);
            estimator::advantages(&reward, &removals, &mut exact).unwrap();
            let gradient = self.gradient(proposal);
            estimator::first_order(&gradient, architecture, &mut first_order).unwrap();
            let largest = exact.iter().fold(0.0, |largest: f64, advantage| largest.max(advantage.abs()));
            let apart = exact.iter().zip(first_order).map(|(exact, first_order)| (exact - first_order).abs());
            apart.fold(0.0, f64::max) / largest
        }
    }

    /// A cell of skip and average pooling is a sum over its paths, each linear in the weight of every edge on it: the reward is
    /// multi-affine, and Eq. (7) is Eq. (6) up to rounding. With convolutions it is not: batch norm divides the weights out.
    #[test]
    fn first_order_advantages_of_a_linear_cell_are_exact() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut linear = Examined::new(&[Candidate::Skip, Candidate::AveragePooling], &mut rng);
        let shape = linear.network.parent().space().shape().clone();
        for architecture in shape.enumerate() {
            let proposal = Proposal::one_hot(&shape, &architecture, Want::Gradient).unwrap();
            let difference = linear.difference(&proposal, &architecture);
            // Sums of 6 144 products of size one.
            assert!(difference <= 100.0 * F64_SUMS, "{architecture:?}: {difference:e}");
        }

        let mut curved = Examined::new(&[Candidate::CONVOLUTION_1X1, Candidate::CONVOLUTION_3X3], &mut rng);
        let architecture = Architecture::first(&shape);
        let proposal = Proposal::one_hot(&shape, &architecture, Want::Gradient).unwrap();
        assert!(curved.difference(&proposal, &architecture) > 1e-2);
    }

    /// A minibatch that leaves the last chunks empty has the gradients of a network of its size: nothing stays from the one before.
    #[test]
    fn chunks_without_images_add_nothing_to_the_gradients() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        // Channels for minimal filtering from the first stage on.
        let skeleton = Skeleton { cells: 1, channels: 8, classes: 2 };
        let parent = Parent::new(skeleton, &Candidates::new([Candidate::CONVOLUTION_3X3]).unwrap()).unwrap();
        let shape = parent.space().shape().clone();
        let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), Want::Gradient).unwrap();
        let count = 3 * CHUNK;
        let images: Vec<f32> = (0..count * PIXELS).map(|_| rng.random_range(-1.0..1.0)).collect();
        let labels: Vec<usize> = (0..count).map(|image| image % 2).collect();
        let gradients = |batch: usize, minibatches: &[usize]| {
            let mut learned = Learned::<f64>::new(&parent, &Streams::new(0), 0);
            let plan = Plan::new(&parent, batch, Simultaneous::One);
            let mut network = Network::new(parent.clone(), plan, Workers::new(1).unwrap());
            for &count in minibatches {
                let minibatch = Minibatch { images: &images[..count * PIXELS], labels: &labels[..count] };
                network.forward(&mut learned, minibatch, &proposal, None, Statistics::Minibatch).unwrap();
                network.backward(&mut learned, Wanted { weights: true, ..Wanted::default() });
            }
            let count = parent.parameters().len();
            (0..count).map(|index| learned.weights.read(index, Part::Gradient)).collect::<Vec<_>>()
        };
        let small = CHUNK - 1;
        assert_eq!(gradients(count, &[count, small]), gradients(small, &[small]));
    }

    /// With both candidates of every edge at any weights, the reward is affine in every one of them.
    #[test]
    fn the_reward_of_a_linear_cell_is_multi_affine() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let mut linear = Examined::new(&[Candidate::Skip, Candidate::AveragePooling], &mut rng);
        let shape = linear.network.parent().space().shape().clone();
        let weights = OpTable::from_fn(&shape, |_, _| rng.random_range(-1.0..1.0));
        let mut proposal = Proposal::new(&shape);
        proposal.set_dense(&weights, Want::Gradient).unwrap();
        let reward = linear.reward(&proposal, None);
        let gradient = linear.gradient(&proposal);
        for edge in 0..EDGES {
            for candidate in 0..2 {
                let mut moved = weights.clone();
                moved[(edge, candidate)] -= 1.5;
                let mut other = proposal.clone();
                other.set_dense(&moved, Want::Gradient).unwrap();
                let expected = (reward - linear.reward(&other, None)) / 1.5;
                assert_close(gradient[(edge, candidate)], expected, 0.0, 1e3 * F64_SUMS);
            }
        }
    }
}
