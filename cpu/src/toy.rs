//! The toy regression of section 5.1 on the CPU; the network is described in [`advantage_nas::network::toy`].
//!
//! The images of a minibatch stand side by side in vectors: every operation is on `LANES` images at once, and nothing crosses
//! the lanes before the sums over the batch. One block of images goes through the whole network before the next, so that
//! everything between the images and the sums stays in the first-level cache.

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, PIXELS, POSITIONS, STRIDE, TAPS, Toy};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Evaluation, Request, expect_feedback};
use advantage_nas::{Architecture, Error, Result, SearchSpace, Supernet};
use ndarray::{Array3, Array4, Axis};
use pulp::{Arch, Simd, WithSimd};

use crate::Element;

/// Images in a block.
const LANES: usize = 16;

/// Filters that are applied together: their sums fill the vector registers.
const FILTERS: usize = 10;

/// The teacher, the student and their minibatches, for one trial or several.
#[derive(Clone, Debug)]
pub struct ToySupernet<T> {
    toy: Toy,
    space: SearchSpace,
    streams: Streams,
    trials: Vec<Trial<T>>,
    scratch: Scratch<T>,
    arch: Arch,
}

/// The fixed weights of one trial.
#[derive(Clone, Debug)]
struct Trial<T> {
    number: u32,
    /// `[edges, candidates, 7, 7]`
    filters: Array4<T>,
    /// The teacher's filters as [`pack`] lays them out.
    teacher_filters: Vec<T>,
    /// `[edges, positions]`, divided by the number of edges.
    heads: Vec<T>,
    teacher: Architecture,
}

/// An active candidate.
#[derive(Clone, Copy, Debug)]
struct Slot {
    edge: usize,
    candidate: usize,
    weight: f64,
}

/// Buffers of one forward and backward pass, kept from step to step. `blocks` is the number of blocks of [`LANES`] images; images
/// beyond the batch are zero and take no part in the sums.
#[derive(Clone, Debug, Default)]
struct Scratch<T> {
    /// The minibatch as drawn, `[height, width, batch]`.
    drawn: Array3<f32>,
    /// The minibatch, `[blocks, pixels, LANES]`.
    images: Vec<T>,
    /// The active candidates, edge after edge.
    slots: Vec<Slot>,
    /// Their filters as [`pack`] lays them out.
    slot_filters: Vec<T>,
    /// Outputs of the candidates for one block, `[slots, positions, LANES]`.
    outputs: Vec<T>,
    /// Every edge's share of the teacher's prediction for one block, `[edges, LANES]`.
    teacher_shares: Vec<T>,
    /// The student's prediction minus the teacher's, `[blocks, LANES]`.
    errors: Vec<T>,
    /// Every edge's share of the prediction, `[edges, blocks, LANES]`.
    shares: Vec<T>,
    /// Derivative of the prediction with respect to the weight of every slot, `[slots, blocks, LANES]`.
    slopes: Vec<T>,
    /// The same as if the output were all ones, `[edges, blocks, LANES]`.
    unit_slopes: Vec<T>,
}

impl<T: Element> ToySupernet<T> {
    /// The networks of the given trials.
    ///
    /// # Errors
    /// As [`Toy::check`].
    pub fn new(toy: Toy, streams: &Streams, trials: &[u32]) -> Result<Self> {
        let space = toy.space()?;
        let trials = trials.iter().map(|&number| Trial::new(&toy, streams, number)).collect::<Result<_>>()?;
        let blocks = toy.batch.div_ceil(LANES);
        let zeros = |count: usize| vec![T::zero(); count];
        let scratch = Scratch {
            drawn: Array3::zeros(toy.batch_shape()),
            images: zeros(blocks * PIXELS * LANES),
            teacher_shares: zeros(toy.edges * LANES),
            errors: zeros(blocks * LANES),
            shares: zeros(toy.edges * blocks * LANES),
            unit_slopes: zeros(toy.edges * blocks * LANES),
            ..Scratch::default()
        };
        Ok(Self { toy, space, streams: streams.clone(), trials, scratch, arch: Arch::new() })
    }

    /// The teacher's architecture in a trial, if this supernet has that trial.
    #[must_use]
    pub fn teacher(&self, trial: u32) -> Option<&Architecture> {
        self.trials.iter().find(|candidate| candidate.number == trial).map(|trial| &trial.teacher)
    }

    /// Runs a minibatch through teacher and student; the results are in the scratch buffers.
    fn pass(&mut self, batch: &Batch, proposal: &Proposal, gradient: bool) -> Result<()> {
        self.space.shape().expect("proposal", proposal.shape())?;
        let trial = self.trials.iter().find(|trial| trial.number == batch.trial).ok_or(Error::Unsupported {
            operation: "run the trial",
            reason: "this supernet was built for other trials",
        })?;
        let scratch = &mut self.scratch;
        self.toy.draw_batch(&self.streams, batch, scratch.drawn.view_mut())?;
        scatter(&scratch.drawn, &mut scratch.images);
        scratch.slots.clear();
        for (edge, active) in proposal.active().rows().enumerate() {
            for (candidate, _) in active.iter().enumerate().filter(|(_, active)| **active) {
                scratch.slots.push(Slot { edge, candidate, weight: proposal.weights()[(edge, candidate)] });
            }
        }
        let filter = |slot: &Slot| taps(&trial.filters, slot.edge, slot.candidate);
        pack(scratch.slots.iter().map(filter), &mut scratch.slot_filters);
        let slots = scratch.slots.len();
        let rows = (scratch.slot_filters.len().max(trial.teacher_filters.len())) / TAPS;
        scratch.outputs.resize(rows * POSITIONS * LANES, T::zero());
        scratch.slopes.resize(slots * scratch.errors.len(), T::zero());
        self.arch.dispatch(Pass { trial, edges: self.toy.edges, gradient, scratch });
        Ok(())
    }

    /// Mean over the batch of the squared error of the prediction, less another share of it if given.
    fn mean_squared_error(&self, without: Option<usize>) -> f64 {
        let scratch = &self.scratch;
        let errors = &scratch.errors[..self.toy.batch];
        let sum = match without {
            None => dot(errors, errors),
            Some(edge) => {
                let start = edge * scratch.errors.len();
                let shares = &scratch.shares[start..start + self.toy.batch];
                let mut sum = 0.0;
                for (error, share) in errors.iter().zip(shares) {
                    let rest = error.widen() - share.widen();
                    sum += rest * rest;
                }
                sum
            }
        };
        sum / self.toy.batch as f64
    }

    /// Derivative of the loss along a derivative of the prediction: the `index`-th row of `slopes`.
    fn loss_slope(&self, slopes: &[T], index: usize) -> f64 {
        let start = index * self.scratch.errors.len();
        let slopes = &slopes[start..start + self.toy.batch];
        2.0 / self.toy.batch as f64 * dot(&self.scratch.errors[..self.toy.batch], slopes)
    }

    fn answer(&self, proposal: &Proposal, feedback: &mut Feedback) {
        feedback.begin(proposal.want());
        feedback.loss = self.mean_squared_error(None);
        let scratch = &self.scratch;
        match proposal.want() {
            Want::Loss => {}
            Want::Removals => {
                for (edge, loss) in feedback.removals.iter_mut().enumerate() {
                    *loss = self.mean_squared_error(Some(edge));
                }
            }
            Want::Gradient | Want::GradientWithUnitOutputs => {
                if proposal.want() == Want::GradientWithUnitOutputs {
                    for edge in 0..self.toy.edges {
                        let slope = self.loss_slope(&scratch.unit_slopes, edge);
                        feedback.gradient.edge_mut(edge).fill(slope);
                    }
                }
                for (index, slot) in scratch.slots.iter().enumerate() {
                    feedback.gradient[(slot.edge, slot.candidate)] = self.loss_slope(&scratch.slopes, index);
                }
            }
        }
    }
}

impl<T: Element> Supernet for ToySupernet<T> {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        expect_feedback(&self.space, requests, feedback)?;
        for (request, feedback) in requests.iter().zip(feedback) {
            let gradient = matches!(request.proposal.want(), Want::Gradient | Want::GradientWithUnitOutputs);
            self.pass(&request.batch, &request.proposal, gradient)?;
            self.answer(&request.proposal, feedback);
        }
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        self.pass(&request.batch, &request.proposal, false)?;
        Ok(Evaluation { loss: self.mean_squared_error(None), accuracy: None, count: self.toy.batch as u64 })
    }

    fn save(&mut self, _trial: u32) -> Result<State> {
        // The weights are fixed and drawn from the seed.
        Ok(State::new())
    }

    fn restore(&mut self, _trial: u32, _state: &State) -> Result<()> {
        Ok(())
    }
}

impl<T: Element> Trial<T> {
    fn new(toy: &Toy, streams: &Streams, number: u32) -> Result<Self> {
        let parameters = toy.parameters(streams, number)?;
        let heads = parameters.heads.iter().map(|&value| T::of(value / toy.edges as f64)).collect();
        let filters = parameters.filters.mapv(T::of);
        let mut teacher_filters = Vec::new();
        let choices = parameters.teacher.choices().iter().enumerate();
        pack(choices.map(|(edge, &candidate)| taps(&filters, edge, candidate)), &mut teacher_filters);
        Ok(Self { number, filters, teacher_filters, heads, teacher: parameters.teacher })
    }
}

/// The taps of one candidate's filter, `[7 · 7]`.
fn taps<T>(filters: &Array4<T>, edge: usize, candidate: usize) -> &[T] {
    let filter = filters.index_axis(Axis(0), edge).index_axis_move(Axis(0), candidate);
    filter.to_slice().expect("filters lie in one piece")
}

/// Lays filters out as the convolution reads them: groups of [`FILTERS`], in each group tap after tap, `[groups, taps, FILTERS]`;
/// what is left is padded with zero filters up to 5 or to a whole group.
fn pack<'a, T: Element>(filters: impl ExactSizeIterator<Item = &'a [T]>, out: &mut Vec<T>) {
    let count = filters.len();
    let groups = count / FILTERS;
    let rest = padded_rest(count);
    out.clear();
    out.resize((groups * FILTERS + rest) * TAPS, T::zero());
    for (index, filter) in filters.enumerate() {
        let (group, column) = (index / FILTERS, index % FILTERS);
        let width = if group < groups { FILTERS } else { rest };
        let block = &mut out[group * FILTERS * TAPS..];
        for (tap, &value) in filter.iter().enumerate() {
            block[tap * width + column] = value;
        }
    }
}

/// Width of the last, incomplete group of `count` filters.
fn padded_rest(count: usize) -> usize {
    match count % FILTERS {
        0 => 0,
        1 => 1,
        2 => 2,
        3..=5 => 5,
        _ => FILTERS,
    }
}

/// Moves images from `[height, width, batch]` to `[blocks, pixels, LANES]`.
fn scatter<T: Element>(drawn: &Array3<f32>, images: &mut [T]) {
    for (pixel, row) in drawn.rows().into_iter().enumerate() {
        for (block, values) in row.to_slice().expect("the batch is the fastest dimension").chunks(LANES).enumerate() {
            let start = (block * PIXELS + pixel) * LANES;
            for (out, &value) in images[start..start + values.len()].iter_mut().zip(values) {
                *out = T::of_f32(value);
            }
        }
    }
}

/// Sum of products in double precision, in eight interleaved partial sums.
fn dot<T: Element>(left: &[T], right: &[T]) -> f64 {
    const WAYS: usize = 8;
    let mut sums = [0.0; WAYS];
    let (left_blocks, left_rest) = left.as_chunks::<WAYS>();
    let (right_blocks, right_rest) = right.as_chunks::<WAYS>();
    for (l, r) in left_blocks.iter().zip(right_blocks) {
        for way in 0..WAYS {
            sums[way] += l[way].widen() * r[way].widen();
        }
    }
    for (way, (l, r)) in left_rest.iter().zip(right_rest).enumerate() {
        sums[way] += l.widen() * r.widen();
    }
    sums.iter().sum()
}

/// One pass of a minibatch through teacher and student.
struct Pass<'a, T> {
    trial: &'a Trial<T>,
    edges: usize,
    gradient: bool,
    scratch: &'a mut Scratch<T>,
}

impl<T: Element> WithSimd for Pass<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { trial, edges, gradient, scratch } = self;
        let blocks = scratch.errors.len() / LANES;
        let heads = trial.heads.as_slice();
        for block in 0..blocks {
            let images = &scratch.images[block * PIXELS * LANES..][..PIXELS * LANES];
            let lanes = block * LANES..(block + 1) * LANES;

            convolve(simd, images, &trial.teacher_filters, &mut scratch.outputs);
            let vectors = T::vectors::<S>(&scratch.outputs[..LANES]).len();
            for edge in 0..edges {
                for vector in 0..vectors {
                    let outputs = T::vectors::<S>(&scratch.outputs);
                    let mut share = T::splat(simd, T::zero());
                    for position in 0..POSITIONS {
                        let row = edge * POSITIONS + position;
                        let hidden = T::vector_tanh(simd, outputs[row * vectors + vector]);
                        share = T::fma(simd, T::splat(simd, heads[row]), hidden, share);
                    }
                    T::vectors_mut::<S>(&mut scratch.teacher_shares)[edge * vectors + vector] = share;
                }
            }
            scratch.errors[lanes].fill(T::zero());

            convolve(simd, images, &scratch.slot_filters, &mut scratch.outputs);
            let one = T::splat(simd, T::one());
            let mut next = 0;
            for edge in 0..edges {
                let first = next;
                while next < scratch.slots.len() && scratch.slots[next].edge == edge {
                    next += 1;
                }
                let slots = &scratch.slots[first..next];
                let heads = &heads[edge * POSITIONS..][..POSITIONS];
                for vector in 0..vectors {
                    // The lanes of this vector in row `row` of a buffer `[rows, blocks, LANES]`.
                    let place = |row: usize| (row * blocks + block) * vectors + vector;
                    let outputs = T::vectors::<S>(&scratch.outputs);
                    let output = |slot: usize, position: usize| {
                        outputs[((first + slot) * POSITIONS + position) * vectors + vector]
                    };
                    let mut share = T::splat(simd, T::zero());
                    let mut inner = [share; POSITIONS];
                    for position in 0..POSITIONS {
                        let mixture = match slots {
                            [slot] if slot.weight == 1.0 => output(0, position),
                            _ => {
                                let mut sum = T::splat(simd, T::zero());
                                for (index, slot) in slots.iter().enumerate() {
                                    let weight = T::splat(simd, T::of(slot.weight));
                                    sum = T::fma(simd, weight, output(index, position), sum);
                                }
                                sum
                            }
                        };
                        let hidden = T::vector_tanh(simd, mixture);
                        let head = T::splat(simd, heads[position]);
                        share = T::fma(simd, head, hidden, share);
                        // v (1 − tanh²), the derivative with respect to the mixture
                        inner[position] = T::times(simd, head, T::minus(simd, one, T::times(simd, hidden, hidden)));
                    }
                    if gradient {
                        let mut unit = T::splat(simd, T::zero());
                        for slope in inner {
                            unit = T::fma(simd, slope, one, unit);
                        }
                        T::vectors_mut::<S>(&mut scratch.unit_slopes)[place(edge)] = unit;
                        for index in 0..slots.len() {
                            let mut sum = T::splat(simd, T::zero());
                            for (position, &slope) in inner.iter().enumerate() {
                                sum = T::fma(simd, slope, output(index, position), sum);
                            }
                            T::vectors_mut::<S>(&mut scratch.slopes)[place(first + index)] = sum;
                        }
                    }
                    // Edge by edge, so that an edge on which both agree adds exactly zero.
                    let teacher_share = T::vectors::<S>(&scratch.teacher_shares)[edge * vectors + vector];
                    let error = &mut T::vectors_mut::<S>(&mut scratch.errors)[place(0)];
                    *error = T::fma(simd, T::minus(simd, share, teacher_share), one, *error);
                    T::vectors_mut::<S>(&mut scratch.shares)[place(edge)] = share;
                }
            }
        }
    }
}

/// Applies packed filters to one block of images: `[pixels, LANES]` to `[filters, positions, LANES]`.
#[inline(always)]
fn convolve<S: Simd, T: Element>(simd: S, images: &[T], packed: &[T], outputs: &mut [T]) {
    let mut packed = packed;
    let mut outputs = outputs;
    while !packed.is_empty() {
        let width = (packed.len() / TAPS).min(FILTERS);
        let (filters, packed_rest) = packed.split_at(width * TAPS);
        let (group, outputs_rest) = outputs.split_at_mut(width * POSITIONS * LANES);
        match width {
            1 => convolve_group::<S, T, 1>(simd, images, filters, group),
            2 => convolve_group::<S, T, 2>(simd, images, filters, group),
            5 => convolve_group::<S, T, 5>(simd, images, filters, group),
            _ => convolve_group::<S, T, FILTERS>(simd, images, filters, group),
        }
        packed = packed_rest;
        outputs = outputs_rest;
    }
}

/// Applies `WIDTH` filters to one block of images; their sums stay in registers.
#[inline(always)]
fn convolve_group<S: Simd, T: Element, const WIDTH: usize>(simd: S, images: &[T], filters: &[T], outputs: &mut [T]) {
    let images = T::vectors::<S>(images);
    let outputs = T::vectors_mut::<S>(outputs);
    let vectors = images.len() / PIXELS;
    let (taps, _) = filters.as_chunks::<WIDTH>();
    for position in 0..POSITIONS {
        let corner = (position / OUTPUT * IMAGE + position % OUTPUT) * STRIDE;
        for vector in 0..vectors {
            let mut sums = [T::splat(simd, T::zero()); WIDTH];
            for (row, taps) in taps.chunks_exact(KERNEL).enumerate() {
                let start = corner + row * IMAGE;
                for (column, taps) in taps.iter().enumerate() {
                    let pixel = images[(start + column) * vectors + vector];
                    for (sum, &tap) in sums.iter_mut().zip(taps) {
                        *sum = T::fma(simd, T::splat(simd, tap), pixel, *sum);
                    }
                }
            }
            for (filter, sum) in sums.into_iter().enumerate() {
                outputs[(filter * POSITIONS + position) * vectors + vector] = sum;
            }
        }
    }
}
