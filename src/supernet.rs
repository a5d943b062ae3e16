//! What a weight-sharing network must offer to be searched.

use crate::error::{Error, Result};
use crate::space::SearchSpace;
use crate::state::State;
use crate::strategy::{Feedback, Proposal, Step};

/// Which data a minibatch is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    /// `D`, for the weights `w`.
    Training,
    /// `V`, for the logits `θ`.
    Validation,
    /// For evaluation only.
    Test,
}

/// The identity of a minibatch, not its data: the supernet finds or draws the data from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// The trial, which selects the network and the random streams.
    pub trial: u32,
    /// The set.
    pub set: Set,
    /// Number of the minibatch in its set: the position in the random stream.
    pub step: u64,
}

/// A question to the supernet: a minibatch and the edge weights to evaluate on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The minibatch.
    pub batch: Batch,
    /// The edge weights.
    pub proposal: Proposal,
}

/// How good edge weights are on a minibatch or a set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean loss per item.
    pub loss: f64,
    /// Fraction of items that are classified correctly, where items are classified.
    pub accuracy: Option<f64>,
    /// Number of items.
    pub count: u64,
}

/// A weight-sharing network: the parent network with all candidates of all edges, its weights `w` and its data.
///
/// A supernet speaks of losses; rewards are the strategies' business. It evaluates the active candidates of a proposal and no
/// others. One supernet may run several trials together; every request names its trial.
pub trait Supernet {
    /// The search space.
    fn space(&self) -> &SearchSpace;

    /// Answers one request per trial run together: loss, and what the proposal wants beyond it.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is one feedback per request; otherwise what the backend reports.
    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()>;

    /// Whether the weights `w` are trained. If not, the search consists of `θ` steps only.
    fn trains_weights(&self) -> bool {
        false
    }

    /// One update of the weights `w`; returns the loss before it. What the proposal wants is ignored.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the weights are fixed; otherwise what the backend reports.
    fn weight_step(&mut self, _step: &Step, _request: &Request) -> Result<f64> {
        Err(Error::Unsupported { operation: "update the weights", reason: "they are fixed in this network" })
    }

    /// Loss and accuracy of a proposal, without any effect on the search. Of a set that is not drawn afresh, the whole set is
    /// evaluated, whatever the batch's step.
    ///
    /// # Errors
    /// What the backend reports.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation>;

    /// Everything that changes while a search runs.
    fn save(&self) -> State;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit.
    fn restore(&mut self, state: &State) -> Result<()>;
}

impl<S: Supernet + ?Sized> Supernet for Box<S> {
    fn space(&self) -> &SearchSpace {
        (**self).space()
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        (**self).probe(requests, feedback)
    }

    fn trains_weights(&self) -> bool {
        (**self).trains_weights()
    }

    fn weight_step(&mut self, step: &Step, request: &Request) -> Result<f64> {
        (**self).weight_step(step, request)
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        (**self).evaluate(request)
    }

    fn save(&self) -> State {
        (**self).save()
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        (**self).restore(state)
    }
}
