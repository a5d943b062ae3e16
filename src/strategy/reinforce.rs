//! REINFORCE (Williams, 1992) on the product policy, Eq. (4), plain or with the moving-average baseline of the experiments.

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, one_hot};
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::Result;
use crate::estimator::{MovingAverage, reinforce_with_baseline};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// Hyperparameters of REINFORCE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReinforceSettings {
    /// Decay of the moving average of the reward that serves as baseline; plain Eq. (4) if absent.
    pub baseline_decay: Option<f64>,
}

/// REINFORCE, one reward for all edges.
///
/// # Formula
/// `δ_i = (r(a) − b)(a_i − μ_i)`, where `b` is the moving average of the rewards of *earlier* `θ` steps, or 0 if there is no
/// baseline. The first evaluation only starts the average: its estimate is zero.
#[derive(Clone, Debug)]
pub struct Reinforce {
    theta: Theta,
    baseline: Option<MovingAverage<f64>>,
    drawn: Architecture,
    rewards: Rewards,
    estimate: OpTable<f64>,
}

impl Reinforce {
    /// REINFORCE over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings, settings: ReinforceSettings) -> Result<Self> {
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            baseline: settings.baseline_decay.map(MovingAverage::new).transpose()?,
            drawn: Architecture::first(shape),
            rewards: Rewards::new(shape),
            estimate: OpTable::filled(shape, 0.0),
        })
    }

    /// The policy and its optimiser.
    #[must_use]
    pub fn theta(&self) -> &Theta {
        &self.theta
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }
}

impl ProductStrategy for Reinforce {
    fn name(&self) -> &'static str {
        "REINFORCE"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().sample_into(rng, &mut self.drawn);
        proposal.set_one_hot(&self.drawn, Want::Loss)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        let architecture = one_hot(self.name(), proposal)?;
        let reward = self.rewards.reward;
        let baseline = match &mut self.baseline {
            None => 0.0,
            Some(average) => {
                let earlier = average.value().copied();
                average.update(&reward);
                // Nothing to compare the first reward with.
                earlier.unwrap_or(reward)
            }
        };
        let probabilities = self.theta.policy().probabilities();
        reinforce_with_baseline(&reward, &baseline, architecture, probabilities, &mut self.estimate)?;
        self.theta.ascend(step, &self.estimate)
    }

    fn save_rest(&self, state: &mut State) {
        if let Some(average) = &self.baseline {
            state.insert_optional("baseline", &[average.value().copied()]);
        }
    }

    fn restore_rest(&mut self, state: &State) -> Result<()> {
        if let Some(average) = &mut self.baseline {
            average.set(state.optional("baseline", 1)?[0]);
        }
        Ok(())
    }
}
