//! SNAS (Xie et al., 2019): the architecture is a sample of the Gumbel-softmax distribution.

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, positive};
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::Result;
use crate::optim::cosine;
use crate::policy::softmax_pullback;
use crate::space::{OpTable, Shape};
use crate::state::State;

/// Hyperparameters of SNAS.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnasSettings {
    /// Smallest temperature: the schedule itself ends at zero.
    pub lowest_temperature: f64,
}

/// SNAS.
///
/// # Formula
/// `a_i = softmax((θ_i + G_i)/τ)`, `δ_i = (1/τ) diag(a_i) (g_i − (g_i · a_i) 1)` with `g = ∂r/∂a`, where `τ` falls from 1 to 0 as
/// `(cos(π t) + 1)/2` over the `θ` steps.
#[derive(Clone, Debug)]
pub struct Snas {
    theta: Theta,
    settings: SnasSettings,
    mixture: OpTable<f64>,
    rewards: Rewards,
    estimate: OpTable<f64>,
}

impl Snas {
    /// SNAS over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings, settings: SnasSettings) -> Result<Self> {
        positive("the lowest temperature of SNAS", settings.lowest_temperature)?;
        let zeros = OpTable::filled(shape, 0.0);
        let rewards = Rewards::new(shape);
        Ok(Self { theta: Theta::new(shape, theta)?, settings, mixture: zeros.clone(), rewards, estimate: zeros })
    }

    /// The temperature of a step.
    #[must_use]
    pub fn temperature(&self, step: &Step) -> f64 {
        cosine(step.progress).max(self.settings.lowest_temperature)
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }
}

impl ProductStrategy for Snas {
    fn name(&self) -> &'static str {
        "SNAS"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().gumbel_softmax_into(self.temperature(step), rng, &mut self.mixture)?;
        proposal.set_dense(&self.mixture, Want::Gradient)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        let temperature = self.temperature(step);
        for edge in 0..proposal.shape().edges() {
            let (mixture, gradient) = (proposal.weights().edge(edge), self.rewards.gradient.edge(edge));
            let estimate = self.estimate.edge_mut(edge);
            softmax_pullback(mixture, gradient, estimate);
            for value in estimate {
                *value /= temperature;
            }
        }
        self.theta.ascend(step, &self.estimate)
    }

    // Nothing beside θ is remembered from step to step.
    fn save_rest(&self, _state: &mut State) {}

    fn restore_rest(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}
