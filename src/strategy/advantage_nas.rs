//! AdvantageNAS (Algorithm 1): every edge learns from its own advantage, Eq. (7), or exactly, Eq. (6).

use rand::RngCore;

use super::{Feedback, Proposal, Rewards, Step, Strategy, Theta, ThetaSettings, Want};
use crate::error::{Error, Result};
use crate::estimator::{EdgeBaselines, ZeroOperation, ZeroRule, advantages, first_order, policy_gradient};
use crate::space::{Architecture, OpTable, SearchSpace, Shape};
use crate::state::State;

/// Which advantage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvantageKind {
    /// The first-order advantage of Eq. (7): one backward pass.
    FirstOrder,
    /// The advantage of Eq. (6): the loss without each edge, `|I|` more forward passes.
    Exact,
}

/// Hyperparameters of AdvantageNAS.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdvantageSettings {
    /// Which advantage.
    pub kind: AdvantageKind,
    /// What the advantage of a drawn zero operation is set to (footnote 4).
    pub zero_rule: ZeroRule,
    /// Decay of all moving averages.
    pub decay: f64,
    /// Whether each edge's moving average of its advantage is subtracted as a baseline.
    pub baseline: bool,
}

/// AdvantageNAS.
///
/// # Formula
/// `δ_i = A_i (a_i − μ_i)` with the advantages of Eq. (7) or Eq. (6).
#[derive(Clone, Debug)]
pub struct AdvantageNas {
    theta: Theta,
    kind: AdvantageKind,
    zero: ZeroOperation<f64>,
    baselines: Option<EdgeBaselines<f64>>,
    drawn: Architecture,
    rewards: Rewards,
    advantages: Vec<f64>,
    estimate: OpTable<f64>,
}

impl AdvantageNas {
    /// AdvantageNAS over a search space.
    ///
    /// # Errors
    /// [`Error::Setting`] for hyperparameters outside their range.
    pub fn new(space: &SearchSpace, theta: ThetaSettings, settings: AdvantageSettings) -> Result<Self> {
        let shape = space.shape();
        let baselines = if settings.baseline { Some(EdgeBaselines::new(shape.edges(), settings.decay)?) } else { None };
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            kind: settings.kind,
            zero: ZeroOperation::new(space, settings.zero_rule, settings.decay)?,
            baselines,
            drawn: Architecture::first(shape),
            rewards: Rewards::new(shape),
            advantages: vec![0.0; shape.edges()],
            estimate: OpTable::filled(shape, 0.0),
        })
    }

    /// The policy and its optimiser.
    #[must_use]
    pub fn theta(&self) -> &Theta {
        &self.theta
    }

    /// The advantages of the last update after footnote 4 and the baseline, `[edges]`.
    #[must_use]
    pub fn advantages(&self) -> &[f64] {
        &self.advantages
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }

    fn name(&self) -> &'static str {
        match self.kind {
            AdvantageKind::FirstOrder => "AdvantageNAS",
            AdvantageKind::Exact => "AdvantageNAS with the exact advantage",
        }
    }
}

impl Strategy for AdvantageNas {
    fn shape(&self) -> &Shape {
        self.theta.policy().shape()
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().sample_into(rng, &mut self.drawn);
        let want = match self.kind {
            AdvantageKind::FirstOrder => Want::Gradient,
            AdvantageKind::Exact => Want::Removals,
        };
        proposal.set_one_hot(&self.drawn, want)
    }

    fn learn(&mut self, step: &Step, proposal: &Proposal, feedback: &Feedback) -> Result<()> {
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        let architecture = proposal.architecture().ok_or(Error::Feedback {
            strategy: self.name(),
            needed: "a one-hot proposal",
            got: "a mixture",
        })?;
        match self.kind {
            AdvantageKind::FirstOrder => first_order(&self.rewards.gradient, architecture, &mut self.advantages)?,
            AdvantageKind::Exact => advantages(&self.rewards.reward, &self.rewards.removals, &mut self.advantages)?,
        }
        self.zero.apply(architecture, &mut self.advantages)?;
        if let Some(baselines) = &mut self.baselines {
            baselines.subtract_then_update(&mut self.advantages)?;
        }
        let probabilities = self.theta.policy().probabilities();
        policy_gradient(&self.advantages, architecture, probabilities, &mut self.estimate)?;
        self.theta.ascend(step, &self.estimate)
    }

    fn probabilities_into(&self, out: &mut OpTable<f64>) {
        out.values_mut().copy_from_slice(self.theta.policy().probabilities().values());
    }

    fn mode_into(&self, out: &mut Architecture) {
        self.theta.policy().mode_into(out);
    }

    fn entropy(&self) -> f64 {
        self.theta.policy().entropy()
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.nest("theta", self.theta.save());
        if self.zero.is_active() {
            state.insert_optional("zero_averages", self.zero.averages().averages().values());
        }
        if let Some(baselines) = &self.baselines {
            state.insert_optional("baselines", baselines.averages());
        }
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        if self.zero.is_active() {
            let averages = self.zero.averages_mut().averages_mut();
            let saved = state.optional("zero_averages", averages.shape().len())?;
            averages.values_mut().clone_from_slice(&saved);
        }
        if let Some(baselines) = &mut self.baselines {
            let saved = state.optional("baselines", self.advantages.len())?;
            baselines.averages_mut().clone_from_slice(&saved);
        }
        self.theta.restore(&state.below("theta"))
    }
}
