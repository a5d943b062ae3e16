//! PARSEC (Casale, Gordon, Fusi, 2019): importance-weighted maximum likelihood over sampled architectures.

use rand::RngCore;

use super::feedback::only;
use super::product::{ProductStrategy, one_hot};
use super::{Answer, Proposal, Rewards, Step, Theta, ThetaSettings, Want};
use crate::error::{Error, Result};
use crate::policy::score;
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// Largest number of samples per update: all of them are kept until then.
const MOST_SAMPLES: usize = 1_000_000;

/// Hyperparameters of PARSEC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParsecSettings {
    /// Architectures `K` per update of `θ`.
    pub samples: usize,
}

/// PARSEC.
///
/// # Formula
/// `δ = Σ_k ω_k (a_k − μ)` over `K` sampled architectures with weights `ω = softmax(r(a_1), …, r(a_K))`. Every evaluation takes a
/// `θ` step of the search; `θ` changes at every `K`-th.
#[derive(Clone, Debug)]
pub struct Parsec {
    theta: Theta,
    samples: usize,
    /// Rewards and architectures since the last update; the buffers of those before it stay behind them.
    collected: Vec<(f64, Architecture)>,
    /// How many of them are since the last update.
    count: usize,
    drawn: Architecture,
    rewards: Rewards,
    one: OpTable<f64>,
    estimate: OpTable<f64>,
}

impl Parsec {
    /// PARSEC over a search space.
    ///
    /// # Errors
    /// [`Error::Setting`] for hyperparameters outside their range.
    pub fn new(shape: &Shape, theta: ThetaSettings, settings: ParsecSettings) -> Result<Self> {
        if !(1..=MOST_SAMPLES).contains(&settings.samples) {
            let name = "the number of samples of PARSEC";
            let got = settings.samples.to_string();
            return Err(Error::Setting { name, expected: "from 1 to 1000000", got });
        }
        let zeros = OpTable::filled(shape, 0.0);
        Ok(Self {
            theta: Theta::new(shape, theta)?,
            samples: settings.samples,
            collected: Vec::new(),
            count: 0,
            drawn: Architecture::first(shape),
            rewards: Rewards::new(shape),
            one: zeros.clone(),
            estimate: zeros,
        })
    }

    /// The gradient estimate of the last update, `[edges, candidates]`.
    #[must_use]
    pub fn estimate(&self) -> &OpTable<f64> {
        &self.estimate
    }
}

impl ProductStrategy for Parsec {
    fn name(&self) -> &'static str {
        "PARSEC"
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
        match self.collected.get_mut(self.count) {
            None => self.collected.push((self.rewards.reward, architecture.clone())),
            Some((reward, kept)) => {
                *reward = self.rewards.reward;
                kept.choices_mut().copy_from_slice(architecture.choices());
            }
        }
        self.count += 1;
        if self.count < self.samples {
            return Ok(());
        }
        self.count = 0;
        // θ has not moved since the first of them, so that the scores of all are at the same μ.
        let probabilities = self.theta.policy().probabilities();
        let largest = self.collected.iter().map(|(reward, _)| *reward).fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = self.collected.iter().map(|(reward, _)| (reward - largest).exp()).sum();
        self.estimate.fill(0.0);
        for (reward, architecture) in &self.collected {
            let weight = (reward - largest).exp() / total;
            score(architecture, probabilities, &mut self.one)?;
            for (sum, value) in self.estimate.values_mut().iter_mut().zip(self.one.values()) {
                *sum += weight * value;
            }
        }
        self.theta.ascend(step, &self.estimate)
    }

    fn save_rest(&self, state: &mut State) {
        let collected = &self.collected[..self.count];
        let rewards: Vec<f64> = collected.iter().map(|(reward, _)| *reward).collect();
        let choices: Vec<u64> = collected
            .iter()
            .flat_map(|(_, architecture)| architecture.choices().iter().map(|&choice| choice as u64))
            .collect();
        state.insert_u64("collected", &[rewards.len() as u64]);
        state.insert_f64("collected.rewards", &rewards);
        state.insert_u64("collected.architectures", &choices);
    }

    fn restore_rest(&mut self, state: &State) -> Result<()> {
        let broken = |name: &str, problem: String| Error::State { name: name.to_owned(), problem };
        let count = usize::try_from(state.u64("collected", 1)?[0]).unwrap_or(usize::MAX);
        if count >= self.samples {
            let problem = format!("is {count}, expected fewer than {} samples", self.samples);
            return Err(broken("collected", problem));
        }
        let shape = self.theta.policy().shape();
        let rewards = state.f64("collected.rewards", count)?;
        let choices = state.u64("collected.architectures", count * shape.edges())?;
        let mut collected = Vec::with_capacity(count);
        for (&reward, choices) in rewards.iter().zip(choices.chunks_exact(shape.edges())) {
            let choices: Vec<usize> = choices.iter().map(|&choice| choice as usize).collect();
            let architecture = Architecture::new(shape, choices)
                .map_err(|error| broken("collected.architectures", error.to_string()))?;
            collected.push((reward, architecture));
        }
        (self.collected, self.count) = (collected, count);
        Ok(())
    }
}
