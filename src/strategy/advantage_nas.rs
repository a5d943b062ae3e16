//! AdvantageNAS (Algorithm 1): every edge learns from its own advantage, Eq. (7), or exactly, Eq. (6).

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, one_hot};
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::Result;
use crate::estimator::{
    CandidateAverages, EdgeBaselines, ZeroOperation, ZeroRule, advantages, first_order, optimal_baseline_of_drawn,
    policy_gradient,
};
use crate::space::{Architecture, OpTable, SearchSpace};
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
    /// What is subtracted from the advantages.
    pub baseline: AdvantageBaseline,
}

/// What is subtracted from the advantages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvantageBaseline {
    /// Nothing, as in the paper.
    None,
    /// Each edge's moving average of its own earlier advantages.
    EdgeAverage,
    /// The baseline that minimises the variance (claim C15), from moving averages of every candidate's earlier advantages.
    Optimal,
}

/// A baseline with its averages.
#[derive(Clone, Debug)]
enum Baseline {
    None,
    Edges(EdgeBaselines<f64>),
    Optimal(CandidateAverages<f64>),
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
    baseline: Baseline,
    /// The optimal baselines of the current step.
    baselines: Vec<f64>,
    drawn: Architecture,
    rewards: Rewards,
    advantages: Vec<f64>,
    estimate: OpTable<f64>,
}

impl AdvantageNas {
    /// AdvantageNAS over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(space: &SearchSpace, theta: ThetaSettings, settings: AdvantageSettings) -> Result<Self> {
        let shape = space.shape();
        let baseline = match settings.baseline {
            AdvantageBaseline::None => Baseline::None,
            AdvantageBaseline::EdgeAverage => Baseline::Edges(EdgeBaselines::new(shape.edges(), settings.decay)?),
            AdvantageBaseline::Optimal => Baseline::Optimal(CandidateAverages::new(shape, settings.decay)?),
        };
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            kind: settings.kind,
            zero: ZeroOperation::new(space, settings.zero_rule, settings.decay)?,
            baseline,
            baselines: Vec::with_capacity(shape.edges()),
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
}

impl ProductStrategy for AdvantageNas {
    fn name(&self) -> &'static str {
        match self.kind {
            AdvantageKind::FirstOrder => "AdvantageNAS",
            AdvantageKind::Exact => "AdvantageNAS with the exact advantage",
        }
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().sample_into(rng, &mut self.drawn);
        let want = match self.kind {
            AdvantageKind::FirstOrder => Want::Gradient,
            AdvantageKind::Exact => Want::Removals,
        };
        proposal.set_one_hot(&self.drawn, want)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        let architecture = one_hot(self.name(), proposal)?;
        match self.kind {
            AdvantageKind::FirstOrder => first_order(&self.rewards.gradient, architecture, &mut self.advantages)?,
            AdvantageKind::Exact => advantages(&self.rewards.reward, &self.rewards.removals, &mut self.advantages)?,
        }
        self.zero.apply(architecture, &mut self.advantages)?;
        let probabilities = self.theta.policy().probabilities();
        match &mut self.baseline {
            Baseline::None => {}
            Baseline::Edges(baselines) => baselines.subtract_then_update(&mut self.advantages)?,
            Baseline::Optimal(averages) => {
                self.baselines.clear();
                for (probabilities, averages) in probabilities.rows().zip(averages.averages().rows()) {
                    self.baselines.push(optimal_baseline_of_drawn(probabilities, averages)?);
                }
                averages.update(architecture, &self.advantages)?;
                for (advantage, baseline) in self.advantages.iter_mut().zip(&self.baselines) {
                    *advantage -= baseline;
                }
            }
        }
        policy_gradient(&self.advantages, architecture, probabilities, &mut self.estimate)?;
        self.theta.ascend(step, &self.estimate)
    }

    fn save_rest(&self, state: &mut State) {
        if self.zero.is_active() {
            state.insert_optional("zero_averages", self.zero.averages().averages().values());
        }
        match &self.baseline {
            Baseline::None => {}
            Baseline::Edges(baselines) => state.insert_optional("baselines", baselines.averages()),
            Baseline::Optimal(averages) => {
                state.insert_optional("candidate_averages", averages.averages().values());
            }
        }
    }

    fn restore_rest(&mut self, state: &State) -> Result<()> {
        let length = self.estimate.shape().len();
        let zero = self.zero.is_active().then(|| state.optional("zero_averages", length)).transpose()?;
        match &mut self.baseline {
            Baseline::None => {}
            Baseline::Edges(baselines) => {
                let saved = state.optional("baselines", self.advantages.len())?;
                baselines.averages_mut().clone_from_slice(&saved);
            }
            Baseline::Optimal(averages) => {
                let saved = state.optional("candidate_averages", length)?;
                averages.averages_mut().values_mut().clone_from_slice(&saved);
            }
        }
        if let Some(saved) = zero {
            self.zero.averages_mut().averages_mut().values_mut().clone_from_slice(&saved);
        }
        Ok(())
    }
}
