//! GDAS (Dong, Yang, 2019): a one-hot sample forward, its Gumbel-softmax relaxation backward.

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, one_hot, positive};
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::{Error, Result};
use crate::policy::{first_maximum, softmax_pullback};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// Hyperparameters of GDAS.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GdasSettings {
    /// Temperature at the first `θ` step.
    pub first_temperature: f64,
    /// Temperature that the linear schedule reaches after the last one.
    pub last_temperature: f64,
}

/// GDAS.
///
/// # Formula
/// `h_i = softmax((θ_i + G_i)/τ)`, `a_i` the one-hot vector of the largest `h_i`; `δ_i = (1/τ) diag(h_i) (g_i − (g_i · h_i) 1)`,
/// where `g = ∂r/∂a` is taken at `a`. Of candidates that were not drawn, the output is not known, and is taken to be all ones, as
/// the reference code does. `τ` falls linearly over the `θ` steps.
#[derive(Clone, Debug)]
pub struct Gdas {
    theta: Theta,
    settings: GdasSettings,
    /// `h` of the last proposal, which the straight-through gradient needs.
    relaxed: OpTable<f64>,
    drawn: Architecture,
    rewards: Rewards,
    estimate: OpTable<f64>,
}

impl Gdas {
    /// GDAS over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings, settings: GdasSettings) -> Result<Self> {
        positive("the first temperature of GDAS", settings.first_temperature)?;
        positive("the last temperature of GDAS", settings.last_temperature)?;
        let zeros = OpTable::filled(shape, 0.0);
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            settings,
            relaxed: zeros.clone(),
            drawn: Architecture::first(shape),
            rewards: Rewards::new(shape),
            estimate: zeros,
        })
    }

    /// The temperature of a step.
    #[must_use]
    pub fn temperature(&self, step: &Step) -> f64 {
        let GdasSettings { first_temperature, last_temperature } = self.settings;
        first_temperature + (last_temperature - first_temperature) * step.progress
    }

    /// The relaxed sample `h` of the last proposal, `[edges, candidates]`.
    #[must_use]
    pub fn relaxed(&self) -> &OpTable<f64> {
        &self.relaxed
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }
}

impl ProductStrategy for Gdas {
    fn name(&self) -> &'static str {
        "GDAS"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().gumbel_softmax_into(self.temperature(step), rng, &mut self.relaxed)?;
        for (edge, choice) in self.drawn.choices_mut().iter_mut().enumerate() {
            *choice = first_maximum(self.relaxed.edge(edge));
        }
        proposal.set_one_hot(&self.drawn, Want::GradientWithUnitOutputs)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        if one_hot(self.name(), proposal)? != &self.drawn {
            // The relaxed sample belongs to the architecture that was drawn with it.
            let (needed, got) = ("its own last proposal", "another architecture");
            return Err(Error::Feedback { strategy: self.name(), needed, got });
        }
        let temperature = self.temperature(step);
        for edge in 0..proposal.shape().edges() {
            let estimate = self.estimate.edge_mut(edge);
            softmax_pullback(self.relaxed.edge(edge), self.rewards.gradient.edge(edge), estimate);
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
