//! How the weights of the parent network are trained, and on what.

use super::data::{Halves, Images, Normalization};
use crate::error::{Error, Result};
use crate::optim::cosine;
use crate::random::Streams;

/// The optimiser of the weights: stochastic gradient descent with Nesterov momentum.
///
/// Weight decay is added to the gradient, then its global norm is clipped. Weights of candidates that take no part in a step stay
/// as they are: neither decay nor momentum moves them.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightSettings {
    /// Learning rate at the start; a cosine over all epochs takes it to zero.
    pub learning_rate: f64,
    /// Nesterov momentum.
    pub momentum: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Largest norm of the gradient.
    pub clip_norm: f64,
}

impl WeightSettings {
    /// Those of the paper's experiment.
    #[must_use]
    pub fn paper() -> Self {
        Self { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, clip_norm: 1.0 }
    }

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

/// The images of a search. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Data {
    /// Training images, which are split.
    pub images: Images,
    /// The halves of `images` for weights and architecture.
    pub halves: Halves,
    /// Mean and deviation of the training half.
    pub normalization: Normalization,
    /// Test images, if the search evaluates on them.
    pub test: Option<Images>,
}

impl Data {
    /// Splits and normalises by the seed of the streams.
    ///
    /// # Errors
    /// As [`Images::halves`] and [`Normalization::of`].
    pub fn new(images: Images, test: Option<Images>, streams: &Streams) -> Result<Self> {
        let halves = images.halves(streams)?;
        let normalization = Normalization::of(&images, &halves.training)?;
        Ok(Self { images, halves, normalization, test })
    }
}
