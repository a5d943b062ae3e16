//! ProxylessNAS (Cai, Zhu, Han, 2019): two sampled candidates per edge learn from each other.

use rand::RngCore;

use super::feedback::only;
use super::product::ProductStrategy;
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::{Error, Result};
use crate::policy::softmax_pullback;
use crate::space::{OpTable, Shape};
use crate::state::State;

/// ProxylessNAS.
///
/// # Formula
/// Two distinct candidates `k, l` of every edge are drawn without replacement and evaluated together, both with weight 1. With
/// `p = softmax(θ_k, θ_l)` and `g = ∂r/∂a`: `δ_k = p_k p_l (g_k − g_l) = −δ_l`, zero for the others. After the optimiser's step the
/// two logits are shifted together, so that the probability that one of the two is drawn, `μ_k + μ_l`, is what it was before.
#[derive(Clone, Debug)]
pub struct ProxylessNas {
    theta: Theta,
    pairs: Vec<[usize; 2]>,
    log_odds: Vec<f64>,
    rewards: Rewards,
    estimate: OpTable<f64>,
}

impl ProxylessNas {
    /// ProxylessNAS over a search space.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings) -> Result<Self> {
        if let Some(candidates) = (0..shape.edges()).map(|edge| shape.candidates(edge)).find(|count| *count < 2) {
            return Err(Error::Setting {
                name: "the number of candidates per edge",
                expected: "at least 2 for ProxylessNAS",
                got: candidates.to_string(),
            });
        }
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            pairs: vec![[0, 0]; shape.edges()],
            log_odds: vec![0.0; shape.edges()],
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

/// The two active candidates of an edge, if it has just two.
fn active_pair(active: &[bool]) -> Option<[usize; 2]> {
    let mut members = active.iter().enumerate().filter(|(_, active)| **active).map(|(candidate, _)| candidate);
    let pair = [members.next()?, members.next()?];
    members.next().is_none().then_some(pair)
}

/// `ln((μ_k + μ_l) / (1 − μ_k − μ_l))`; infinite if there are only two candidates.
fn log_odds(logits: &[f64], pair: [usize; 2]) -> f64 {
    let pooled = |inside: bool| {
        let members =
            || logits.iter().enumerate().filter(|(index, _)| pair.contains(index) == inside).map(|(_, logit)| *logit);
        let largest = members().fold(f64::NEG_INFINITY, f64::max);
        if largest == f64::NEG_INFINITY {
            return largest;
        }
        largest + members().map(|logit| (logit - largest).exp()).sum::<f64>().ln()
    };
    pooled(true) - pooled(false)
}

impl ProductStrategy for ProxylessNas {
    fn name(&self) -> &'static str {
        "ProxylessNAS"
    }

    fn theta(&self) -> &Theta {
        &self.theta
    }

    fn theta_mut(&mut self) -> &mut Theta {
        &mut self.theta
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.theta.policy().sample_two_into(rng, &mut self.pairs)?;
        proposal.set_pairs(&self.pairs, Want::Gradient)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let Answer { proposal, feedback } = only(answers)?;
        feedback.rewards_into(self.name(), proposal, &mut self.rewards)?;
        for (pair, active) in self.pairs.iter_mut().zip(proposal.active().rows()) {
            let (needed, got) = ("two active candidates per edge", "another number of them");
            let [k, l] = active_pair(active).ok_or(Error::Feedback { strategy: "ProxylessNAS", needed, got })?;
            // The order drawn is kept where the proposal is our own.
            if *pair != [l, k] {
                *pair = [k, l];
            }
        }
        self.estimate.fill(0.0);
        for (edge, &[k, l]) in self.pairs.iter().enumerate() {
            let logits = self.theta.policy().logits().edge(edge);
            let gradient = self.rewards.gradient.edge(edge);
            let p = 1.0 / (1.0 + (logits[l] - logits[k]).exp());
            let mut estimate = [0.0; 2];
            softmax_pullback(&[p, 1.0 - p], &[gradient[k], gradient[l]], &mut estimate);
            let row = self.estimate.edge_mut(edge);
            [row[k], row[l]] = estimate;
            self.log_odds[edge] = log_odds(logits, [k, l]);
        }
        self.theta.ascend(step, &self.estimate)?;
        let (pairs, before) = (&self.pairs, &self.log_odds);
        self.theta.policy_mut().update(|logits| {
            for (edge, (&pair, &before)) in pairs.iter().zip(before).enumerate() {
                let row = logits.edge_mut(edge);
                let shift = before - log_odds(row, pair);
                // Of two candidates, one is always drawn; there is nothing to restore.
                if row.len() > 2 {
                    for candidate in pair {
                        row[candidate] += shift;
                    }
                }
            }
        })
    }

    // Nothing beside θ is remembered from step to step.
    fn save_rest(&self, _state: &mut State) {}

    fn restore_rest(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}
