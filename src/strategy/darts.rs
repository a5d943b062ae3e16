//! DARTS (Liu, Simonyan, Yang, 2019): the softmax mixture itself is the architecture.

use rand::RngCore;

use super::feedback::only;
use super::product::ProductStrategy;
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::Result;
use crate::policy::softmax_pullback;
use crate::space::{OpTable, Shape};
use crate::state::State;

/// DARTS.
///
/// # Formula
/// `a = μ(θ)`, `δ_i = ∇_{θ_i} r(μ(θ)) = diag(μ_i) (g_i − (g_i · μ_i) 1)` with `g = ∂r/∂a`.
#[derive(Clone, Debug)]
pub struct Darts {
    theta: Theta,
    rewards: Rewards,
    estimate: OpTable<f64>,
}

impl Darts {
    /// DARTS over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings) -> Result<Self> {
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            rewards: Rewards::new(shape),
            estimate: OpTable::filled(shape, 0.0),
        })
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }
}

impl ProductStrategy for Darts {
    fn name(&self) -> &'static str {
        "DARTS"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, _step: &Step, _rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        proposal.set_dense(self.theta.policy().probabilities(), Want::Gradient)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        for edge in 0..proposal.shape().edges() {
            let (mixture, gradient) = (proposal.weights().edge(edge), self.rewards.gradient.edge(edge));
            softmax_pullback(mixture, gradient, self.estimate.edge_mut(edge));
        }
        self.theta.ascend(step, &self.estimate)
    }

    // Nothing beside θ is remembered from step to step.
    fn save_rest(&self, _state: &mut State) {}

    fn restore_rest(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}
