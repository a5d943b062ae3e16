//! NASP (Yao et al., 2020): proximal iterations; one-hot forward, gradient at all candidates.

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, one_hot};
use super::{Answer, Proposal, Rewards, Step, StepKind, Theta, ThetaSettings, Want};
use crate::error::Result;
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// NASP.
///
/// # Formula
/// `θ` lives in the box `[0, 1]`: per edge, `θ_i ← θ_i − min(0, min θ_i)`, then `θ_i ← θ_i / max(1, max θ_i)`, before and after each
/// update. `a_i` is the one-hot vector of the largest `θ_i` (the first of equals), and `θ` moves along `∂r/∂a` at that `a`, at all
/// candidates. Updates of `w` use the same `a` and evaluate it sparsely; while `θ` is fixed, `a` is drawn from `μ(θ)`.
#[derive(Clone, Debug)]
pub struct Nasp {
    theta: Theta,
    drawn: Architecture,
    rewards: Rewards,
}

impl Nasp {
    /// NASP over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings) -> Result<Self> {
        Ok(Self { theta: Theta::new(shape, theta)?, drawn: Architecture::first(shape), rewards: Rewards::new(shape) })
    }

    fn project(&mut self) -> Result<()> {
        self.theta.policy_mut().update(project)
    }
}

/// Moves every edge's logits into the box `[0, 1]`.
fn project(logits: &mut OpTable<f64>) {
    for edge in 0..logits.shape().edges() {
        let row = logits.edge_mut(edge);
        let lift = row.iter().copied().fold(0.0, f64::min);
        let scale = row.iter().copied().fold(f64::NEG_INFINITY, f64::max) - lift;
        let scale = scale.max(1.0);
        for logit in row {
            *logit = (*logit - lift) / scale;
        }
    }
}

impl ProductStrategy for Nasp {
    fn name(&self) -> &'static str {
        "NASP"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        match step.kind {
            StepKind::Warmup => {
                self.theta.policy().sample_into(rng, &mut self.drawn);
                proposal.set_one_hot(&self.drawn, Want::Loss)
            }
            StepKind::Weights => {
                self.theta.policy().mode_into(&mut self.drawn);
                proposal.set_one_hot(&self.drawn, Want::Loss)
            }
            StepKind::Theta => {
                self.project()?;
                self.theta.policy().mode_into(&mut self.drawn);
                proposal.set_one_hot_among_all(&self.drawn, Want::Gradient)
            }
        }
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        one_hot(self.name(), proposal)?;
        self.theta.ascend(step, &self.rewards.gradient)?;
        self.project()
    }

    // Nothing beside θ is remembered from step to step.
    fn save_rest(&self, _state: &mut State) {}

    fn restore_rest(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}
