//! The toy regression of section 5.1: a teacher and a student with the same fixed weights and different architectures.
//!
//! # Formula
//! `y(x) = (1/|I|) Σ_i Σ_p v_i[p] · tanh(Σ_k a_i^k (f_i^k ∗ x)[p])`, where `f_i^k` is a 7×7 filter applied with stride 2 to a
//! 13×13 image, `p` runs over the 4×4 positions of its output, and `v_i` is a 4×4 filter. The edge weights multiply the filters'
//! outputs, before the tanh. The loss is the mean over the minibatch of `(y(x) − y*(x))²`, where `y*` is the teacher's output.

use ndarray::{Array, Array3, Array4, ArrayViewMut3};
use ndarray_rand::RandomExt;
use rand::RngCore;
use rand_distr::Normal;

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams, WORDS_PER_STEP, below, symmetric_uniform};
use crate::space::{Architecture, Edge, SearchSpace, Shape};
use crate::supernet::{Batch, Set};

/// Height and width of the input image.
pub const IMAGE: usize = 13;
/// Number of pixels.
pub const PIXELS: usize = IMAGE * IMAGE;
/// Height and width of a candidate's filter.
pub const KERNEL: usize = 7;
/// Number of taps of a candidate's filter.
pub const TAPS: usize = KERNEL * KERNEL;
/// Stride of a candidate's filter.
pub const STRIDE: usize = 2;
/// Height and width of a candidate's output, and of the second stage's filter.
pub const OUTPUT: usize = (IMAGE - KERNEL) / STRIDE + 1;
/// Number of positions of a candidate's output.
pub const POSITIONS: usize = OUTPUT * OUTPUT;

/// The sizes that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toy {
    /// Number of edges `|I|`, all from the input node to an intermediate node of their own.
    pub edges: usize,
    /// Number of candidate filters `|J|` of every edge.
    pub candidates: usize,
    /// Number of images in a minibatch.
    pub batch: usize,
}

/// Candidates in all edges that are still thought to be meant: far beyond any experiment, small enough for any memory.
const MOST_CANDIDATES: usize = 1_000_000;

impl Toy {
    /// The paper's: 10 edges, 10 candidates, minibatches of 100.
    #[must_use]
    pub fn paper() -> Self {
        Self { edges: 10, candidates: 10, batch: 100 }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::NoEdges`], [`Error::NoCandidates`], and [`Error::Setting`] for more than a million candidates, an empty minibatch
    /// or one larger than a step's share of the random stream.
    pub fn check(&self) -> Result<()> {
        let candidates = self.edges.saturating_mul(self.candidates);
        if candidates > MOST_CANDIDATES {
            let got = format!("{} edges with {} candidates each", self.edges, self.candidates);
            return Err(Error::Setting { name: "the toy network", expected: "of at most 1000000 candidates", got });
        }
        Shape::new(std::iter::repeat_n(self.candidates, self.edges))?;
        // Far below 2²⁰ words, also after rounding up to whole vectors.
        let limit = WORDS_PER_STEP as usize / PIXELS;
        if self.batch == 0 || self.batch > limit {
            return Err(Error::Setting {
                name: "the toy minibatch",
                expected: "from 1 to 6204 images",
                got: self.batch.to_string(),
            });
        }
        Ok(())
    }

    /// The search space: `edges` edges with `candidates` filters each; there is no zero operation.
    ///
    /// # Errors
    /// As [`Toy::check`].
    pub fn space(&self) -> Result<SearchSpace> {
        self.check()?;
        let edges = (0..self.edges)
            .map(|edge| Edge::new(format!("input-{edge}"), (0..self.candidates).map(|k| format!("filter-{k}"))))
            .collect();
        SearchSpace::new(edges)
    }

    /// Weights and teacher of one trial.
    ///
    /// Filters are normal with standard deviation 1/7, the second stage's with 1/4 (one over the root of the fan-in); the
    /// teacher's candidate is uniform at every edge.
    ///
    /// # Errors
    /// As [`Toy::check`].
    pub fn parameters(&self, streams: &Streams, trial: u32) -> Result<Parameters> {
        let space = self.space()?;
        let mut rng = streams.at(Purpose::Weights, trial, 0);
        let normal = |fan_in: usize| Normal::new(0.0, 1.0 / (fan_in as f64).sqrt()).expect("a finite deviation");
        let filters = Array::random_using((self.edges, self.candidates, KERNEL, KERNEL), normal(TAPS), &mut rng);
        let heads = Array::random_using((self.edges, OUTPUT, OUTPUT), normal(POSITIONS), &mut rng);
        let mut rng = streams.at(Purpose::Teacher, trial, 0);
        let choices: Vec<usize> = (0..self.edges).map(|_| below(&mut rng, self.candidates)).collect();
        Ok(Parameters { filters, heads, teacher: Architecture::new(space.shape(), choices)? })
    }

    /// Draws the images of a minibatch, `[height, width, batch]`: the batch is the fastest dimension.
    ///
    /// Image `b`'s pixel `p` is word `p · batch + b` of the step's place in the stream, as
    /// [`symmetric_uniform`]. Validation batches (for `θ`) and test batches have streams of their own.
    ///
    /// # Errors
    /// [`Error::ArrayShape`] if `images` is not `[13, 13, batch]`; [`Error::Unsupported`] for training batches, which this network
    /// does not have.
    pub fn draw_batch(&self, streams: &Streams, batch: &Batch, images: ArrayViewMut3<'_, f32>) -> Result<()> {
        Error::expect_shape("images of a toy minibatch", &self.batch_shape(), images.shape())?;
        let mut rng = streams.at(Self::purpose(batch.set)?, batch.trial, batch.step);
        // Not a loop with `for`: an array's iterator asks at every step whether it goes over a slice, `for_each` asks once.
        images.into_iter().for_each(|pixel| *pixel = symmetric_uniform(rng.next_u32()));
        Ok(())
    }

    /// Shape of the images of a minibatch, `[height, width, batch]`.
    #[must_use]
    pub fn batch_shape(&self) -> [usize; 3] {
        [IMAGE, IMAGE, self.batch]
    }

    /// The random stream that minibatches of a set are drawn from.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for training batches, which this network does not have.
    pub fn purpose(set: Set) -> Result<Purpose> {
        match set {
            Set::Validation => Ok(Purpose::ToyBatch),
            Set::Test => Ok(Purpose::ToyTest),
            Set::Training => {
                let reason = "its weights are fixed";
                Err(Error::Unsupported { operation: "draw training batches of the toy network", reason })
            }
        }
    }
}

/// Weights and teacher of one trial, the same for all methods.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters {
    /// The candidates' filters `f`, `[edges, candidates, 7, 7]`.
    pub filters: Array4<f64>,
    /// The second stage's filters `v`, `[edges, 4, 4]`.
    pub heads: Array3<f64>,
    /// The teacher's architecture `a*`.
    pub teacher: Architecture,
}

#[cfg(test)]
mod tests {
    use ndarray::Axis;

    use super::*;

    #[test]
    fn sizes_are_the_papers() {
        let toy = Toy::paper();
        assert_eq!((OUTPUT, POSITIONS, TAPS), (4, 16, 49));
        let parameters = toy.parameters(&Streams::new(1), 0).unwrap();
        assert_eq!(parameters.filters.dim(), (10, 10, 7, 7));
        assert_eq!(parameters.heads.dim(), (10, 4, 4));
        // 4 900 squares have a relative standard error of sqrt(2/4900) = 2 %, 160 of 11 %: five of them.
        assert!((parameters.filters.pow2().mean().unwrap() * 49.0 - 1.0).abs() < 0.1);
        assert!((parameters.heads.pow2().mean().unwrap() * 16.0 - 1.0).abs() < 0.56);
    }

    #[test]
    fn trials_seeds_and_sets_differ_and_repeat() {
        let toy = Toy { edges: 3, candidates: 4, batch: 5 };
        let streams = Streams::new(1);
        let parameters = |seed, trial| toy.parameters(&Streams::new(seed), trial).unwrap();
        assert_eq!(parameters(1, 2), parameters(1, 2));
        assert_ne!(parameters(1, 2).filters, parameters(1, 3).filters);
        assert_ne!(parameters(1, 2).filters, parameters(2, 2).filters);
        let draw = |trial, set, step| {
            let mut images = Array3::zeros(toy.batch_shape());
            toy.draw_batch(&streams, &Batch { trial, set, step }, images.view_mut()).unwrap();
            images
        };
        let reference = draw(0, Set::Validation, 3);
        assert_eq!(reference, draw(0, Set::Validation, 3));
        assert_ne!(reference, draw(0, Set::Validation, 4));
        assert_ne!(reference, draw(0, Set::Test, 3));
        assert_ne!(reference, draw(1, Set::Validation, 3));
        assert!(reference.iter().all(|pixel| (-1.0..1.0).contains(pixel)));
        let mean = reference.mean().unwrap();
        // 845 uniforms of variance 1/3: five standard errors.
        assert!(mean.abs() < 5.0 * (1.0f32 / 3.0 / 845.0).sqrt());
    }

    #[test]
    fn teachers_are_uniform() {
        // N = 2000 edges over 4 candidates, χ² with 3 degrees of freedom; 21.1 is its quantile at α = 1e-4, the seed is fixed.
        let toy = Toy { edges: 2000, candidates: 4, batch: 1 };
        let teacher = toy.parameters(&Streams::new(3), 0).unwrap().teacher;
        let mut counts = [0.0; 4];
        for &choice in teacher.choices() {
            counts[choice] += 1.0;
        }
        let statistic: f64 = counts.iter().map(|count| (count - 500.0) * (count - 500.0) / 500.0).sum();
        assert!(statistic < 21.1, "χ² = {statistic}");
    }

    #[test]
    fn nonsense_is_rejected() {
        let toy = Toy::paper();
        assert!(matches!(Toy { edges: 0, ..toy }.space(), Err(Error::NoEdges)));
        assert!(matches!(Toy { candidates: 0, ..toy }.space(), Err(Error::NoCandidates { edge: 0 })));
        assert!(matches!(Toy { batch: 0, ..toy }.space(), Err(Error::Setting { .. })));
        assert!(matches!(Toy { batch: 6205, ..toy }.space(), Err(Error::Setting { .. })));
        let streams = Streams::new(0);
        let batch = Batch { trial: 0, set: Set::Training, step: 0 };
        let mut images = Array3::zeros(toy.batch_shape());
        assert!(matches!(toy.draw_batch(&streams, &batch, images.view_mut()), Err(Error::Unsupported { .. })));
        let batch = Batch { set: Set::Test, ..batch };
        let (_, one_less) = images.view_mut().split_at(Axis(2), 1);
        assert_eq!(
            toy.draw_batch(&streams, &batch, one_less).unwrap_err().to_string(),
            "images of a toy minibatch: expected the shape [13, 13, 100], got [13, 13, 99]"
        );
    }
}
