//! The answer: losses as the supernet measures them, rewards as the estimators want them.

use super::{Proposal, Want};
use crate::error::{Error, Result};
use crate::space::{OpTable, Shape};

/// The supernet's answer to a [`Proposal`], averaged over the minibatch. Buffers are kept from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// What was answered.
    pub answered: Want,
    /// The loss.
    pub loss: f64,
    /// `∂loss/∂a`, `[edges, candidates]`; zero for candidates that were not asked for. Valid after
    /// [`Want::Gradient`] and [`Want::GradientWithUnitOutputs`].
    pub gradient: OpTable<f64>,
    /// The loss without each edge's output, `[edges]`. Valid after [`Want::Removals`].
    pub removals: Vec<f64>,
}

impl Feedback {
    /// An empty answer for a search space.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        Self {
            answered: Want::Loss,
            loss: 0.0,
            gradient: OpTable::filled(shape, 0.0),
            removals: vec![0.0; shape.edges()],
        }
    }

    /// Starts a new answer: what is answered, with a cleared gradient.
    pub fn begin(&mut self, want: Want) {
        self.answered = want;
        self.loss = 0.0;
        self.gradient.fill(0.0);
        self.removals.fill(0.0);
    }

    /// Turns losses into rewards, `r = −loss`: the only place where the sign flips.
    ///
    /// # Errors
    /// [`Error::Feedback`] if the proposal wanted something else than was answered, [`Error::Shape`] or [`Error::Length`] for a
    /// proposal or an answer over another space.
    pub fn rewards_into(&self, strategy: &'static str, proposal: &Proposal, rewards: &mut Rewards) -> Result<()> {
        if self.answered != proposal.want() {
            return Err(Error::Feedback { strategy, needed: proposal.want().name(), got: self.answered.name() });
        }
        let shape = rewards.gradient.shape();
        shape.expect("proposal", proposal.shape())?;
        shape.expect("gradient of the feedback", self.gradient.shape())?;
        shape.expect_edges("losses without each edge", self.removals.len())?;
        rewards.reward = -self.loss;
        for (reward, loss) in rewards.gradient.values_mut().iter_mut().zip(self.gradient.values()) {
            *reward = -loss;
        }
        for (reward, loss) in rewards.removals.iter_mut().zip(&self.removals) {
            *reward = -loss;
        }
        Ok(())
    }
}

/// A proposal with the supernet's answer to it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// What was asked.
    pub proposal: &'a Proposal,
    /// What was answered.
    pub feedback: &'a Feedback,
}

impl<'a> Answer<'a> {
    /// The answer to a proposal.
    #[must_use]
    pub fn new(proposal: &'a Proposal, feedback: &'a Feedback) -> Self {
        Self { proposal, feedback }
    }
}

/// The answer of a method that asks once per step.
pub(super) fn only<'a>(answers: &[Answer<'a>]) -> Result<Answer<'a>> {
    match answers {
        [answer] => Ok(*answer),
        _ => Err(Error::Length { what: "answers to one proposal", expected: 1, got: answers.len() }),
    }
}

/// The answer as rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewards {
    /// `r(a)`.
    pub reward: f64,
    /// `∂r/∂a`, `[edges, candidates]`.
    pub gradient: OpTable<f64>,
    /// `r(s_i, 0)`, `[edges]`.
    pub removals: Vec<f64>,
}

impl Rewards {
    /// Buffers for a search space.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        Self { reward: 0.0, gradient: OpTable::filled(shape, 0.0), removals: vec![0.0; shape.edges()] }
    }
}
