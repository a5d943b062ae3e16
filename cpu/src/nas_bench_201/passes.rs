//! Passes over minibatches: chunks of images go through the nodes, on any thread, and wait for each other where batch norms make them.
//!
//! # Order
//! That of [`advantage_nas::network::nas_bench_201::pass`]. A node is computed from its inputs, and at once everything that reads it through a
//! convolution, while it is in the cache. Partial sums of the chunks are added up in their order, whichever thread they come from.
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

use std::sync::{Mutex, PoisonError};

use advantage_nas::network::Sgd;
use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::pass::Operation;
use advantage_nas::strategy::{Activity, Proposal};
use advantage_nas::{Error, OpTable, Result};
use ndarray::Array2;

use super::chunk::{Chunk, Scratch};
use super::graph::Graph;
use super::learned::Learned;
use super::sizes::{CHUNK, Memory};
use crate::Element;
use crate::workers::Workers;

/// A minibatch: images `[count, 3, 32, 32]`, normalised, and the label of each.
#[derive(Clone, Copy, Debug)]
pub struct Minibatch<'a> {
    pub(super) images: &'a [f32],
    pub(super) labels: &'a [usize],
}

/// What a backward pass computes beside the gradients of the tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub(super) weights: bool,
    pub(super) edges: bool,
    /// Of inactive candidates, as if their outputs were all ones.
    pub(super) unit_outputs: bool,
}

/// Loss and number of images classified correctly.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    pub(super) loss: f64,
    pub(super) correct: usize,
}

/// Passes that are compiled here, once for each number type. A generic function is compiled anew in every crate and every test program that
/// calls it, and with it the loops of all layers for every instruction set, half a minute's work.
pub trait Compiled: Sized {
    /// [`Passes::forward`]
    fn forward(
        passes: &mut Passes<Self>,
        learned: &mut Learned<Self>,
        minibatch: Minibatch<'_>,
        proposal: &Proposal,
        without: Option<usize>,
        move_running: bool,
    ) -> Result<Outcome>;

    /// [`Passes::backward`]
    fn backward(passes: &mut Passes<Self>, learned: &mut Learned<Self>, wanted: Wanted);

    /// [`Passes::update`]
    fn update(passes: &Passes<Self>, learned: &mut Learned<Self>, sgd: &Sgd, rate: f64) -> f64;
}

macro_rules! compiled {
    ($($number:ty),*) => { $(
        impl Compiled for $number {
            #[inline(never)]
            fn forward(
                passes: &mut Passes<Self>,
                learned: &mut Learned<Self>,
                minibatch: Minibatch<'_>,
                proposal: &Proposal,
                without: Option<usize>,
                move_running: bool,
            ) -> Result<Outcome> {
                passes.forward(learned, minibatch, proposal, without, move_running)
            }

            #[inline(never)]
            fn backward(passes: &mut Passes<Self>, learned: &mut Learned<Self>, wanted: Wanted) {
                passes.backward(learned, wanted);
            }

            #[inline(never)]
            fn update(passes: &Passes<Self>, learned: &mut Learned<Self>, sgd: &Sgd, rate: f64) -> f64 {
                passes.update(learned, sgd, rate)
            }
        }
    )* };
}

compiled!(f32, f64);

/// The network with its memory for one minibatch.
#[derive(Debug)]
pub struct Passes<T> {
    pub(super) graph: Graph<T>,
    pub(super) chunks: Vec<Chunk<T>>,
    pub(super) scratch: Vec<Mutex<Scratch<T>>>,
    workers: Workers,
}

impl<T: Element> Passes<T> {
    pub(super) fn new(parent: Parent, activity: Activity, batch: usize, workers: Workers) -> Self {
        let graph = Graph::new(parent, activity, batch);
        let chunk = Chunk::new(&graph.parent, &graph.layout, &graph.sizes);
        Self {
            chunks: vec![chunk; graph.sizes.chunks()],
            scratch: (0..workers.count()).map(|_| Mutex::new(Scratch::new(&graph.sizes))).collect(),
            graph,
            workers,
        }
    }

    pub(super) fn parent(&self) -> &Parent {
        &self.graph.parent
    }

    /// Candidates of an edge that there is room for.
    pub(super) fn activity(&self) -> Activity {
        self.graph.activity
    }

    /// What is allocated, beside the data.
    pub(super) fn memory(&self, trials: usize) -> Memory {
        let Graph { parent, layout, sizes, .. } = &self.graph;
        sizes.memory::<T>(parent, layout, trials, self.workers.count())
    }

    /// Updates the weights that took part in the last pass; returns the norm of the gradient before clipping.
    pub(super) fn update(&self, learned: &mut Learned<T>, sgd: &Sgd, rate: f64) -> f64 {
        self.workers.run(|| learned.weights.update(self.graph.arch, &self.workers, sgd, rate))
    }

    /// Logits of the last forward pass, `[images, classes]`.
    pub(super) fn logits(&self) -> Array2<T> {
        let classes = self.graph.parent.skeleton().classes;
        let logits = self.chunks.iter().flat_map(|chunk| &chunk.head.logits[..chunk.images * classes]);
        let logits: Vec<T> = logits.copied().collect();
        Array2::from_shape_vec((logits.len() / classes, classes), logits).expect("classes for every image")
    }

    /// Forward pass; edge `without` is left out. All batch norms use the statistics of the minibatch; those with scale and shift add them to the
    /// running ones if these are to move.
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
        move_running: bool,
    ) -> Result<Outcome> {
        let (images, most) = (minibatch.labels.len(), self.graph.sizes.batch);
        if images == 0 || images > most {
            return Err(Error::Length { what: "images of a minibatch", expected: most, got: images });
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
            workers.each(&mut graph.convolutions, |convolution| convolution.transform_filters(arch, values));
            for group in 0..graph.selection.forward_groups().len() {
                let nodes = graph.selection.forward_groups()[group].clone();
                let (shared, values) = (&*graph, &*learned);
                workers.each(chunks, |chunk| {
                    let mut scratch = scratch[workers.index()].lock().unwrap_or_else(PoisonError::into_inner);
                    for node in nodes.clone() {
                        shared.forward_node(node, chunk, minibatch, values, &mut scratch);
                    }
                });
                graph.join_moments(nodes, chunks, learned, move_running);
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

    /// Backward pass of the last forward pass.
    pub(super) fn backward(&mut self, learned: &mut Learned<T>, wanted: Wanted) {
        let Self { graph, chunks, scratch, workers } = self;
        graph.prepare_head_backward(chunks, learned);
        workers.run(|| {
            let (arch, values) = (graph.arch, &*learned);
            workers.each(&mut graph.convolutions, |convolution| convolution.transpose_filters(arch, values));
            let last = graph.last();
            let shared = &*graph;
            workers.each(chunks, |chunk| {
                shared.backward_head(chunk);
                shared.complete(last, chunk, wanted);
            });
            graph.join_slopes(last, chunks, learned);
            for group in 0..graph.selection.backward_groups().len() {
                let nodes = graph.selection.backward_groups()[group].clone();
                let shared = &*graph;
                workers.each(chunks, |chunk| {
                    let mut scratch = scratch[workers.index()].lock().unwrap_or_else(PoisonError::into_inner);
                    for node in nodes.clone().rev() {
                        shared.backward_node(node, chunk, wanted, &mut scratch);
                        for &source in shared.layout.completed_by(node) {
                            shared.complete(source, chunk, wanted);
                        }
                    }
                });
                if wanted.weights {
                    graph.join_weight_gradients(nodes.clone(), chunks, learned, workers);
                }
                for node in nodes.rev() {
                    for index in 0..graph.layout.completed_by(node).len() {
                        let source = graph.layout.completed_by(node)[index];
                        graph.join_slopes(source, chunks, learned);
                    }
                }
            }
        });
    }

    /// Adds up `∂loss/∂a`, `[edges, candidates]`, after a backward pass.
    pub(super) fn edge_gradient(&self, wanted: Wanted, proposal: &Proposal, out: &mut OpTable<f64>) {
        let Graph { parent, selection, convolutions, .. } = &self.graph;
        out.fill(0.0);
        for (node, inputs) in parent.nodes().iter().map(|node| &node.inputs).enumerate() {
            for (index, term) in selection.terms(node).iter().enumerate() {
                let Some((edge, candidate)) = term.place else { continue };
                out[(edge, candidate)] += match term.operation {
                    Operation::Convolution { slot } => convolutions[slot].slope,
                    _ => self.chunks.iter().map(|chunk| chunk.edge_slopes[node][index]).sum(),
                };
            }
            if !wanted.unit_outputs {
                continue;
            }
            let sum = || self.chunks.iter().map(|chunk| chunk.sums[node]).sum::<f64>();
            for input in inputs {
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
