//! A cell of skip and average pooling, whose reward is multi-affine, and minibatches that leave chunks empty.

use advantage_nas::network::nas_bench_201::{CHANNELS, Candidates, EDGES, IMAGE, Operation as Candidate, Skeleton};
use advantage_nas::random::Streams;
use advantage_nas::strategy::Want;
use advantage_nas::tolerance::{F64_SUMS, assert_close};
use advantage_nas::{Architecture, estimator};
use ndarray::Array4;
use ndarray_rand::RandomExt;
use rand::distr::Uniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use pulp::Arch;

use super::learned::Learned;
use super::passes::{Minibatch, Passes, Wanted};
use super::sizes::CHUNK;
use super::*;
use crate::layer::map::{self, Summand};
use crate::layer::{Pixel, Size};

/// A network whose first cell is examined: its output is node 4, after images, stem and two nodes.
const OUTPUT: usize = 4;

/// Images `[count, 3, 32, 32]`, one after the other.
fn random_images(count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let images = Array4::random_using((count, CHANNELS, IMAGE, IMAGE), Uniform::new(-1.0, 1.0).unwrap(), rng);
    images.into_raw_vec_and_offset().0
}

struct Examined {
    passes: Passes<f64>,
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
        let passes = Passes::new(parent, Activity::All, 2, Workers::new(1).unwrap());
        let length = 2 * passes.graph.sizes.nodes[OUTPUT].length();
        let functional = (0..length).map(|_| Pixel(std::array::from_fn(|_| rng.random_range(-1.0..1.0)))).collect();
        let images = random_images(2, rng);
        Self { passes, learned, images, functional }
    }

    /// The functional of the cell's output, with edge `without` left out.
    fn reward(&mut self, proposal: &Proposal, without: Option<usize>) -> f64 {
        let minibatch = Minibatch { images: &self.images, labels: &[0, 1] };
        self.passes.forward(&mut self.learned, minibatch, proposal, without, false).unwrap();
        let values = &self.passes.chunks[0].values[OUTPUT][..self.functional.len()];
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
        let Passes { graph, chunks, scratch, .. } = &mut self.passes;
        let buffer = graph.layout.gradient_of(OUTPUT);
        chunks[0].gradients[buffer][..self.functional.len()].copy_from_slice(&self.functional);
        chunks.iter_mut().for_each(|chunk| chunk.edge_slopes.iter_mut().for_each(|slopes| slopes.fill(0.0)));
        for slot in &mut graph.convolutions {
            slot.slope = 0.0;
            slot.transpose_filters(graph.arch, &self.learned);
        }
        let scratch = scratch[0].get_mut().unwrap();
        graph.complete(OUTPUT, &mut chunks[0], wanted);
        graph.join_slopes(OUTPUT, chunks, &mut self.learned);
        for node in (2..=OUTPUT).rev() {
            graph.backward_node(node, &mut chunks[0], wanted, scratch);
            for source in graph.layout.completed_by(node).to_vec() {
                if source > 1 {
                    graph.complete(source, &mut chunks[0], wanted);
                    graph.join_slopes(source, chunks, &mut self.learned);
                }
            }
        }
        let mut gradient = OpTable::filled(proposal.shape(), 0.0);
        self.passes.edge_gradient(wanted, proposal, &mut gradient);
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
    let shape = linear.passes.parent().space().shape().clone();
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
    let images = random_images(count, &mut rng);
    let labels: Vec<usize> = (0..count).map(|image| image % 2).collect();
    let gradients = |batch: usize, minibatches: &[usize]| {
        let mut learned = Learned::<f64>::new(&parent, &Streams::new(0), 0);
        let mut network = Passes::new(parent.clone(), Activity::One, batch, Workers::new(1).unwrap());
        for &count in minibatches {
            let minibatch = Minibatch { images: &images[..count * PIXELS], labels: &labels[..count] };
            network.forward(&mut learned, minibatch, &proposal, None, false).unwrap();
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
    let shape = linear.passes.parent().space().shape().clone();
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
