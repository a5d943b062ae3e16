//! The toy regression of section 5.1 on the CPU; the network is described in [`advantage_nas::network::toy`].
//!
//! Everything is laid out with the batch as the fastest dimension, padded to whole vectors, so that every inner loop is over
//! images. Padding images are zero, and their weight in every sum over the batch is zero.

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, PIXELS, POSITIONS, STRIDE, TAPS, Toy};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Evaluation, Request};
use advantage_nas::{Architecture, Error, Result, SearchSpace, Supernet};

use crate::Element;

/// Images per vector block; the batch is padded to a multiple of it.
const LANES: usize = 16;

/// The teacher, the student and their minibatches for one trial or several.
#[derive(Clone, Debug)]
pub struct ToySupernet<T> {
    toy: Toy,
    space: SearchSpace,
    streams: Streams,
    trials: Vec<Trial<T>>,
    scratch: Scratch<T>,
}

/// The fixed weights of one trial.
#[derive(Clone, Debug)]
struct Trial<T> {
    number: u32,
    /// `[edges, candidates, taps]`
    filters: Vec<T>,
    /// `[edges, positions]`, divided by the number of edges
    heads: Vec<T>,
    teacher: Architecture,
}

/// Buffers of one forward and backward pass, kept from step to step.
#[derive(Clone, Debug)]
struct Scratch<T> {
    /// Batch size rounded up to whole vectors.
    padded: usize,
    /// The minibatch as drawn, `[pixels, batch]`
    drawn: Vec<f32>,
    /// The minibatch, `[pixels, padded]`
    images: Vec<T>,
    /// Outputs of the active candidates of one edge, `[candidates, positions, padded]`
    outputs: Vec<T>,
    /// `tanh` of one edge's mixture, `[positions, padded]`
    hidden: Vec<T>,
    /// Every edge's share of the prediction, `[edges, padded]`
    shares: Vec<T>,
    /// The student's prediction minus the teacher's, `[padded]`
    errors: Vec<T>,
    /// `Σ_p v[p] (1 − tanh²) o[p]` per image for every edge and candidate, and one more row per edge with `o = 1`,
    /// `[edges, candidates + 1, padded]`
    slopes: Vec<T>,
}
