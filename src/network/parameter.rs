//! Parameters of the networks that are trained: what they are called, how they start, which proposals they take part in, where they lie
//! in memory, and how they are updated.
//!
//! Both backends build their weights from these descriptions, so that initial values, checkpoints and updates are the same on both.

use std::ops::Range;

use ndarray::ArrayD;
use ndarray_rand::RandomExt;
use rand::Rng;
use rand::distr::Distribution;
use rand_distr::StandardNormal;

use crate::error::{Error, Result};
use crate::optim::cosine;
use crate::random::{Purpose, Streams, WORDS_PER_STEP, symmetric_uniform};
use crate::strategy::Proposal;

/// A parameter: an array that is trained.
///
/// ```
/// use advantage_nas::network::{Initial, Owner, Parameter};
///
/// let filters = Parameter {
///     name: "stem.conv.weight".into(),
///     shape: vec![16, 3, 3, 3],
///     initial: Initial::Normal { fan_in: 27 },
///     owner: Owner::Always,
/// };
/// assert_eq!(filters.len(), 432);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name, a path with dots.
    pub name: String,
    /// Its dimensions: `[output channels, input channels, height, width]` of filters, `[outputs, inputs]` of matrices.
    pub shape: Vec<usize>,
    /// How it starts.
    pub initial: Initial,
    /// What it belongs to.
    pub owner: Owner,
}

impl Parameter {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Never true.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a parameter starts: the distribution of its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Initial {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normal with standard deviation `1/√fan_in`, rounded to `f32`.
    Normal {
        /// Inputs of one output.
        fan_in: usize,
    },
    /// The [`symmetric_uniform`] of one word times the range.
    Uniform {
        /// The largest value.
        range: f32,
    },
}

impl Initial {
    /// Words of the random stream that are set aside for a value. A normal number needs two, seldom more; constants take as much room, so
    /// that what follows doesn't depend on which of the two a parameter is.
    fn words(self) -> usize {
        match self {
            Self::Zeros | Self::Ones | Self::Normal { .. } => 4,
            Self::Uniform { .. } => 1,
        }
    }
}

impl Distribution<f32> for Initial {
    fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> f32 {
        match *self {
            Self::Zeros => 0.0,
            Self::Ones => 1.0,
            Self::Normal { fan_in } => (1.0 / (fan_in as f64).sqrt() * rng.sample::<f64, _>(StandardNormal)) as f32,
            Self::Uniform { range } => range * symmetric_uniform(rng.next_u32()),
        }
    }
}

/// What a parameter belongs to; it decides which proposals it takes part in. The others leave it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The network: it takes part in every step.
    Always,
    /// An edge, whose candidates share it: it takes part unless only the zero operation is active.
    Edge {
        /// The edge.
        edge: usize,
    },
    /// A candidate of an edge: it takes part where that is active.
    Candidate {
        /// The edge.
        edge: usize,
        /// The candidate.
        candidate: usize,
    },
}

impl Owner {
    /// Whether a proposal reads the parameter; `zero` is the zero operation of its edge, if there is one.
    ///
    /// # Panics
    /// For an edge or candidate that the proposal's space doesn't have.
    #[must_use]
    pub fn takes_part(self, proposal: &Proposal, zero: Option<usize>) -> bool {
        match self {
            Self::Always => true,
            Self::Edge { edge } => {
                let mut active = proposal.active().edge(edge).iter().enumerate();
                active.any(|(candidate, &active)| active && Some(candidate) != zero)
            }
            Self::Candidate { edge, candidate } => proposal.active()[(edge, candidate)],
        }
    }
}

/// Which numbers of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The weights themselves.
    Value,
    /// Their gradient in the last pass, zero for parameters that took no part.
    Gradient,
    /// The velocity of the optimiser.
    Velocity,
}

impl Part {
    /// What the name of a parameter is followed by where these numbers of it are saved.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Value => "",
            Self::Gradient => ".gradient",
            Self::Velocity => ".velocity",
        }
    }
}

/// The initial values of every parameter in a trial, in the order of the parameters; drawn one parameter at a time, so that they need no
/// room beside the weights themselves.
///
/// Every parameter has its own steps in the stream of [`Purpose::Weights`], as many as its share of words takes: four words a value, one of
/// [`Initial::Uniform`].
///
/// ```
/// use advantage_nas::network::initial_values;
/// use advantage_nas::network::recurrent::{Parent, Recurrent};
/// use advantage_nas::random::Streams;
///
/// let parent = Parent::new(Recurrent { vocabulary: 7, units: 3, ..Recurrent::paper() })?;
/// let streams = Streams::new(0);
/// let mut values = initial_values(parent.parameters(), &streams, 0);
/// assert_eq!(values.next().unwrap().shape(), [7, 3]);
/// # Ok::<(), advantage_nas::Error>(())
/// ```
pub fn initial_values(parameters: &[Parameter], streams: &Streams, trial: u32) -> impl Iterator<Item = ArrayD<f32>> {
    let mut step = 0;
    parameters.iter().map(move |parameter| {
        let mut rng = streams.at(Purpose::Weights, trial, step);
        step += ((parameter.len() * parameter.initial.words()) as u64).div_ceil(WORDS_PER_STEP as u64);
        ArrayD::random_using(&*parameter.shape, parameter.initial, &mut rng)
    })
}

/// Where every parameter of a network lies in one arena. Values, gradients and velocities are an arena each, with the same layout.
///
/// ```
/// use advantage_nas::network::Layout;
///
/// let layout = Layout::new([10, 3, 8], 8);
/// assert_eq!(layout.range(1), 16..19);
/// assert_eq!(layout.len(), 32);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ranges: Vec<Range<usize>>,
    len: usize,
}

impl Layout {
    /// One parameter after the other, each from a multiple of the alignment on. The lengths count whatever a backend stores: numbers, or
    /// vectors of them; they include what it pads a parameter with.
    ///
    /// # Panics
    /// For an alignment of zero.
    #[must_use]
    pub fn new(lengths: impl IntoIterator<Item = usize>, alignment: usize) -> Self {
        let mut len = 0;
        let ranges = lengths.into_iter().map(|length| {
            let range = len..len + length;
            len = range.end.next_multiple_of(alignment);
            range
        });
        let ranges = ranges.collect();
        Self { ranges, len }
    }

    /// The place of a parameter.
    ///
    /// # Panics
    /// If there is no such parameter.
    #[must_use]
    pub fn range(&self, parameter: usize) -> Range<usize> {
        self.ranges[parameter].clone()
    }

    /// The places of all parameters.
    #[must_use]
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Length of the arena.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is laid out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Stochastic gradient descent on the weights of a network, with Nesterov momentum.
///
/// Parameters that take no part in a step stay as they are: neither decay nor momentum moves them.
///
/// # Formula
/// Of the gradient `g` of the weights `w` that take part, with velocity `v`, momentum `m` and learning rate `η`:
/// `g ← g + decay · w`; `g ← g · min(1, clip/‖g‖)` with the norm over all of them; `v ← m v + g`, `w ← w − η (g + m v)`.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sgd {
    /// Learning rate at the start; a cosine over all epochs takes it to zero.
    pub learning_rate: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient, decay included.
    pub clip_norm: f64,
}

impl Sgd {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] unless the learning rate and the decay are at least 0, the momentum is in `[0, 1)` and the norm positive.
    pub fn check(&self) -> Result<()> {
        let Self { learning_rate, momentum, weight_decay, clip_norm } = *self;
        let fits = |value: f64| value >= 0.0 && value.is_finite();
        for (name, value, expected, fits) in [
            ("the learning rate of the weights", learning_rate, "finite and at least 0", fits(learning_rate)),
            ("the momentum of the weights", momentum, "at least 0 and below 1", (0.0..1.0).contains(&momentum)),
            ("the decay of the weights", weight_decay, "finite and at least 0", fits(weight_decay)),
            ("the limit of the weights' gradient norm", clip_norm, "positive", clip_norm > 0.0),
        ] {
            if !fits {
                return Err(Error::Setting { name, expected, got: value.to_string() });
            }
        }
        Ok(())
    }

    /// Learning rate at a place of the schedule, see [`Step::schedule`](crate::strategy::Step::schedule).
    #[must_use]
    pub fn rate(&self, schedule: f64) -> f64 {
        self.learning_rate * cosine(schedule)
    }
}

#[cfg(test)]
mod tests {
    use rand::RngCore;

    use super::*;
    use crate::space::{Architecture, Shape};
    use crate::strategy::Want;

    fn parameter(shape: &[usize], initial: Initial) -> Parameter {
        Parameter { name: "p".to_owned(), shape: shape.to_vec(), initial, owner: Owner::Always }
    }

    /// Against draws one by one: the array is filled in the order of its shape, and every parameter begins at a step of its own.
    #[test]
    fn values_are_drawn_in_the_order_of_the_shape() {
        let parameters = [
            // Four words each: over one step's share, so that the next one begins at step 2.
            parameter(&[1 << 9, 1 << 9, 1, 2], Initial::Ones),
            parameter(&[2, 3], Initial::Normal { fan_in: 3 }),
            parameter(&[2, 2], Initial::Uniform { range: 0.25 }),
            parameter(&[3], Initial::Zeros),
        ];
        let streams = Streams::new(5);
        let values: Vec<ArrayD<f32>> = initial_values(&parameters, &streams, 3).collect();
        assert!(values[0].iter().all(|value| *value == 1.0));
        let mut rng = streams.at(Purpose::Weights, 3, 2);
        for row in 0..2 {
            for column in 0..3 {
                let normal: f64 = rng.sample(StandardNormal);
                assert_eq!(values[1][[row, column]], (1.0 / 3.0f64.sqrt() * normal) as f32);
            }
        }
        let mut rng = streams.at(Purpose::Weights, 3, 3);
        for place in [[0, 0], [0, 1], [1, 0], [1, 1]] {
            assert_eq!(values[2][place], 0.25 * symmetric_uniform(rng.next_u32()));
        }
        assert!(values[3].iter().all(|value| value.to_bits() == 0));
        for (parameter, values) in parameters.iter().zip(&values) {
            assert_eq!(values.shape(), parameter.shape);
        }
    }

    #[test]
    fn parameters_take_part_with_their_candidates() {
        let shape = Shape::new([2, 3]).unwrap();
        let takes_part = |proposal: &Proposal| {
            [
                Owner::Always.takes_part(proposal, None),
                Owner::Candidate { edge: 1, candidate: 2 }.takes_part(proposal, Some(0)),
                Owner::Edge { edge: 1 }.takes_part(proposal, Some(0)),
                Owner::Edge { edge: 1 }.takes_part(proposal, None),
            ]
        };
        let mut proposal = Proposal::new(&shape);
        for (choices, expected) in [([1, 0], [true, false, false, true]), ([0, 1], [true, false, true, true])] {
            proposal.set_one_hot(&Architecture::new(&shape, choices).unwrap(), Want::Loss).unwrap();
            assert_eq!(takes_part(&proposal), expected);
        }
        proposal.set_pairs(&[[0, 1], [0, 2]], Want::Loss).unwrap();
        assert_eq!(takes_part(&proposal), [true; 4]);
        // Active with weight 0: it is evaluated.
        proposal.set_one_hot_among_all(&Architecture::first(&shape), Want::Loss).unwrap();
        assert_eq!(takes_part(&proposal), [true; 4]);
    }

    #[test]
    fn places_are_aligned_and_apart() {
        let lengths = [5, 1, 0, 64, 7];
        let layout = Layout::new(lengths, 16);
        let mut end = 0;
        for (parameter, length) in lengths.into_iter().enumerate() {
            let range = layout.range(parameter);
            assert_eq!((range.len(), range.start % 16), (length, 0));
            assert!(range.start >= end && range.start < end + 16);
            end = range.end;
        }
        assert_eq!(layout.len(), 16 + 16 + 64 + 16);
        assert_eq!(Layout::new(lengths, 1).len(), lengths.iter().sum::<usize>());
        assert!(Layout::new([], 8).is_empty());
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let right = Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, clip_norm: 1.0 };
        right.check().unwrap();
        for wrong in [
            Sgd { learning_rate: f64::NAN, ..right },
            Sgd { learning_rate: -0.1, ..right },
            Sgd { momentum: 1.0, ..right },
            Sgd { weight_decay: f64::INFINITY, ..right },
            Sgd { clip_norm: 0.0, ..right },
        ] {
            assert!(matches!(wrong.check(), Err(Error::Setting { .. })), "{wrong:?}");
        }
        assert_eq!(right.rate(0.0), 0.1);
        assert!((right.rate(0.5) - 0.05).abs() < 1e-15);
    }
}
