//! Passes of a segment through the parent network, forward and backward, and evaluations of a text.

use std::ops::Range;

use advantage_nas::network::Sgd;
use advantage_nas::network::recurrent::{CANDIDATES, EDGES, Operation, ParameterKind, Parent, Recurrent, Segment};
use advantage_nas::random::Streams;
use advantage_nas::sharing::Pass;
use advantage_nas::strategy::Proposal;
use advantage_nas::{OpTable, Result};
use ndarray::{Array2, Array3, ArrayView2, ArrayViewMut2};
use pulp::Arch;

use super::chunk::{Choice, Chunk, Layout};
use super::head::{Head, HeadWanted, ROWS};
use super::learned::Learned;
use super::pointwise::Terms;
use crate::Element;
use crate::layer::{LANES, Pixel};
use crate::matrix::{Rows, RowsMut, multiply_transposed};
use crate::workers::Workers;

/// Most streams that a thread takes at once; whole tiles of the products.
const STREAMS: usize = 64;
const TILE: usize = 8;

/// Passes that are compiled here, once for each number type. A generic function is compiled anew in every crate and every test program that
/// calls it, and with it the loops over units and words for every instruction set.
pub trait Compiled: Sized {
    /// [`Workspace::pass`]
    fn pass(
        workspace: &mut Workspace<Self>,
        learned: &mut Learned<Self>,
        proposal: &Proposal,
        pass: Pass,
    ) -> Result<f64>;

    /// [`Workspace::evaluate`]
    fn evaluate(
        workspace: &mut Workspace<Self>,
        learned: &Learned<Self>,
        proposal: &Proposal,
        text: &[u32],
    ) -> Result<f64>;

    /// [`Workspace::update`]
    fn update(workspace: &Workspace<Self>, learned: &mut Learned<Self>, sgd: &Sgd, rate: f64) -> f64;
}

macro_rules! compiled {
    ($($number:ty),*) => { $(
        impl Compiled for $number {
            #[inline(never)]
            fn pass(
                workspace: &mut Workspace<Self>,
                learned: &mut Learned<Self>,
                proposal: &Proposal,
                pass: Pass,
            ) -> Result<f64> {
                workspace.pass(learned, proposal, pass)
            }

            #[inline(never)]
            fn evaluate(
                workspace: &mut Workspace<Self>,
                learned: &Learned<Self>,
                proposal: &Proposal,
                text: &[u32],
            ) -> Result<f64> {
                workspace.evaluate(learned, proposal, text)
            }

            #[inline(never)]
            fn update(workspace: &Workspace<Self>, learned: &mut Learned<Self>, sgd: &Sgd, rate: f64) -> f64 {
                workspace.update(learned, sgd, rate)
            }
        }
    )* };
}

compiled!(f32, f64);

/// Everything that a pass needs beside the weights.
#[derive(Debug)]
pub struct Workspace<T> {
    arch: Arch,
    parent: Parent,
    layout: Layout,
    choice: Choice<T>,
    chunks: Vec<Chunk<T>>,
    /// A single stream without dropout, for evaluations: while the output layer reads one, the recurrence writes the other.
    single: [Chunk<T>; 2],
    head: Head<T>,
    /// What the last pass computed.
    last: Pass,
    workers: Workers,
}

/// The streams of every chunk of a minibatch.
fn shares(batch: usize) -> impl Iterator<Item = Range<usize>> {
    let streams = batch.div_ceil(4).next_multiple_of(TILE).min(STREAMS);
    (0..batch).step_by(streams).map(move |first| first..batch.min(first + streams))
}

impl<T: Element> Workspace<T> {
    /// What is allocated, in bytes.
    pub(super) fn bytes(parent: &Parent) -> usize {
        let (layout, sizes) = (Layout::new(parent), parent.sizes());
        let chunk = |streams, steps, dropout| Chunk::<T>::pixels(&layout, streams, steps, dropout);
        let chunks: usize = shares(sizes.batch).map(|share| chunk(share.len(), sizes.steps, sizes.dropout > 0.0)).sum();
        let pixels = chunks + 2 * chunk(1, ROWS, false) + Head::<T>::pixels(sizes.vocabulary, sizes.units);
        pixels * size_of::<Pixel<T>>()
    }

    pub(super) fn new(parent: Parent, workers: Workers) -> Self {
        let layout = Layout::new(&parent);
        let sizes = *parent.sizes();
        let dropout = sizes.dropout > 0.0;
        let chunks = shares(sizes.batch)
            .map(|share| Chunk::new(&layout, share.start, share.len(), sizes.steps, dropout))
            .collect();
        Self {
            arch: Arch::new(),
            choice: Choice::default(),
            chunks,
            single: std::array::from_fn(|_| Chunk::new(&layout, 0, 1, ROWS, false)),
            head: Head::new(sizes.vocabulary, sizes.units),
            last: Pass::default(),
            layout,
            parent,
            workers,
        }
    }

    pub(super) fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Updates the weights that took part in the last pass; returns the norm of the gradient before clipping.
    pub(super) fn update(&self, learned: &mut Learned<T>, sgd: &Sgd, rate: f64) -> f64 {
        self.workers.run(|| learned.update(self.arch, &self.workers, sgd, rate))
    }

    /// Sets up the chosen candidates.
    fn select(&mut self, proposal: &Proposal) -> Result<()> {
        self.parent.space().shape().expect("proposal", proposal.shape())?;
        for edge in 0..EDGES {
            self.choice.edges[edge] = Terms {
                weights: std::array::from_fn(|k| T::of(proposal.weights()[(edge, k)])),
                active: std::array::from_fn(|k| proposal.active()[(edge, k)]),
            };
        }
        Ok(())
    }

    /// Loads a segment of a trial and the state before it, `[batch, units]`, and draws its dropout masks.
    pub(super) fn load(&mut self, streams: &Streams, trial: u32, segment: &Segment, state: ArrayView2<'_, T>) {
        let Self { parent, chunks, workers, .. } = self;
        workers.run(|| {
            workers.each(chunks, |chunk| {
                chunk.set_state(0, state);
                chunk.load(parent, streams, trial, segment).expect("the mask's rows are in the minibatch");
            });
        });
    }

    /// Reads the state after the segment, `[batch, units]`.
    pub(super) fn state(&self, mut state: ArrayViewMut2<'_, T>) {
        self.chunks.iter().for_each(|chunk| chunk.state(chunk.steps, state.view_mut()));
    }

    /// The dropout masks of the segment, `[steps, batch, units]` each; all ones without dropout.
    pub(super) fn masks(&self) -> [Array3<T>; 2] {
        let Recurrent { steps, batch, units, .. } = *self.parent.sizes();
        std::array::from_fn(|layer| {
            let mut out = Array3::from_elem((steps, batch, units), T::one());
            for chunk in self.chunks.iter().filter(|chunk| !chunk.masks[layer].is_empty()) {
                for row in 0..chunk.rows() {
                    let (step, stream) = (row / chunk.streams, chunk.first + row % chunk.streams);
                    for unit in 0..units {
                        out[(step, stream, unit)] =
                            chunk.masks[layer][unit / LANES * chunk.rows() + row].0[unit % LANES];
                    }
                }
            }
            out
        })
    }

    /// A pass of the loaded segment; returns the loss.
    ///
    /// # Errors
    /// [`advantage_nas::Error::Shape`] for a proposal over another space.
    pub(super) fn pass(&mut self, learned: &mut Learned<T>, proposal: &Proposal, pass: Pass) -> Result<f64> {
        self.select(proposal)?;
        learned.select(&self.parent, proposal);
        self.last = pass;
        let back = pass.weights || pass.edges || pass.unit_outputs;
        let batch = self.parent.sizes().batch;
        let Self { arch, parent, layout, choice, chunks, head, workers, .. } = self;
        let (arch, layout, choice) = (*arch, &*layout, &*choice);
        Ok(workers.run(|| {
            let values = &*learned;
            workers.each(chunks, |chunk| chunk.forward(arch, layout, values, choice, pass.without));
            if back {
                learned.transpose(workers);
            }
            let mut loss = 0.0;
            let mut first = true;
            for chunk in chunks.iter_mut() {
                let rows = chunk.rows();
                for part in parts(rows) {
                    let outputs = Rows::all(&chunk.outputs, rows).part(part.start, part.len());
                    let targets = &targets(&chunk.words)[part.clone()];
                    let values = [layout.output_weight, layout.output_bias].map(|index| learned.value(index));
                    loss += head.forward(arch, workers, values, outputs, targets, batch);
                    if back {
                        let outputs = RowsMut::all(&mut chunk.outputs, rows).part(part.start, part.len());
                        let layer = learned.output_layer(layout.output_weight, layout.output_bias);
                        let wanted = HeadWanted { batch, weights: pass.weights, first };
                        head.backward(arch, workers, layer, outputs, targets, wanted);
                        first = false;
                    }
                }
            }
            if back {
                let values = &*learned;
                workers.each(chunks, |chunk| chunk.backward(arch, layout, values, choice, pass.weights));
                if pass.weights {
                    cell_gradients(arch, parent, chunks, learned, workers);
                    embedding_gradient(layout, chunks, learned);
                }
            }
            loss / batch as f64
        }))
    }

    /// `∂loss/∂a` of the last pass, which went back.
    pub(super) fn edge_gradient(&self, proposal: &Proposal, gradient: &mut OpTable<f64>) {
        for edge in 0..EDGES {
            let mut sums = [0.0; CANDIDATES + 1];
            for chunk in &self.chunks {
                for (sum, part) in sums.iter_mut().zip(chunk.slopes[edge]) {
                    *sum += part;
                }
            }
            for (k, operation) in Operation::ALL.into_iter().enumerate() {
                gradient[(edge, k)] = match proposal.active()[(edge, k)] {
                    true if operation == Operation::Zero => 0.0,
                    true => sums[k],
                    false if self.last.unit_outputs => sums[CANDIDATES],
                    false => 0.0,
                };
            }
        }
    }

    /// Mean cross-entropy over a whole text, as one stream from the zero state, without dropout. The target of the last word is the
    /// first.
    pub(super) fn evaluate(&mut self, learned: &Learned<T>, proposal: &Proposal, text: &[u32]) -> Result<f64> {
        self.select(proposal)?;
        let Self { arch, layout, choice, single, head, workers, .. } = self;
        let (arch, layout, choice) = (*arch, &*layout, &*choice);
        let output_layer = [layout.output_weight, layout.output_bias].map(|index| learned.value(index));
        let [reading, writing] = single;
        // State before the first word.
        reading.set_state(ROWS, Array2::from_elem((1, layout.units), T::zero()).view());
        Ok(workers.run(|| {
            let (mut reading, mut writing) = (reading, writing);
            let mut loss = 0.0;
            let mut read = 0;
            for (number, first) in (0..text.len() + ROWS).step_by(ROWS).enumerate() {
                // Words that are written and read; none at the end and at the beginning.
                let count = ROWS.min(text.len().saturating_sub(first));
                let (written, outputs) = (&mut *writing, &*reading);
                let ((), part) = workers.both(
                    || {
                        if count > 0 {
                            written.follow(outputs);
                            written.words.read(text, number as u64).expect("a text has words");
                            written.forward(arch, layout, learned, choice, None);
                        }
                    },
                    || {
                        if read == 0 {
                            return 0.0;
                        }
                        let rows = Rows::all(&outputs.outputs, ROWS).part(0, read);
                        head.forward(arch, workers, output_layer, rows, &targets(&outputs.words)[..read], 1)
                    },
                );
                loss += part;
                read = count;
                std::mem::swap(&mut reading, &mut writing);
            }
            loss / text.len() as f64
        }))
    }
}

/// Of every row.
fn targets(words: &Segment) -> &[u32] {
    words.targets().to_slice().expect("the streams of a step lie together")
}

/// Pieces of at most [`ROWS`] rows.
fn parts(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(ROWS).map(move |first| first..rows.min(first + ROWS))
}

/// Gradients of the cell's matrices, each over all steps and streams at once.
fn cell_gradients<T: Element>(
    arch: Arch,
    parent: &Parent,
    chunks: &[Chunk<T>],
    learned: &mut Learned<T>,
    workers: &Workers,
) {
    learned.each_gradient(workers, |parameter, gradient| {
        let ParameterKind::Cell(matrix) = parent.kinds()[parameter] else { return };
        for (place, chunk) in chunks.iter().enumerate() {
            let (left, right) = chunk.factors(matrix);
            multiply_transposed(arch, left, parent.sizes().units, right, gradient, place > 0);
        }
    });
}

/// Adds up the gradients of the words' embeddings.
fn embedding_gradient<T: Element>(layout: &Layout, chunks: &[Chunk<T>], learned: &mut Learned<T>) {
    let gradient = learned.gradient_mut(layout.embedding);
    gradient.fill(Pixel::default());
    for chunk in chunks {
        let rows = chunk.rows();
        for (row, &word) in chunk.words.inputs().iter().enumerate() {
            let sums = &mut gradient[word as usize * layout.panels..][..layout.panels];
            for (panel, sum) in sums.iter_mut().enumerate() {
                let slopes = &chunk.outputs[panel * rows + row];
                for (sum, slope) in sum.0.iter_mut().zip(&slopes.0) {
                    *sum += *slope;
                }
            }
        }
    }
}
