//! What a weight-sharing network must offer to be searched.

use crate::error::{Error, Result};
use crate::space::SearchSpace;
use crate::state::State;
use crate::strategy::{Activity, Feedback, Proposal, Step};

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

/// Which losses of weight steps are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetch {
    /// Those that are there without waiting; none is an answer too.
    Ready,
    /// All of them.
    All,
}

/// A weight-sharing network: the parent network with all candidates of all edges, its weights `w` and its data.
///
/// A supernet speaks of losses; rewards are the strategies' business. It evaluates the active candidates of a proposal and no
/// others. One supernet may have the networks of several trials and answer their requests together; every request names its
/// trial, and no answer depends on what other trials ask.
///
/// A call with a request that can't be answered is refused before it changes anything: the others may be asked again without it.
pub trait Supernet {
    /// The search space.
    fn space(&self) -> &SearchSpace;

    /// The most candidates of an edge that a proposal may have active.
    fn activity(&self) -> Activity {
        Activity::All
    }

    /// Answers every request: the loss, and what the proposal wants beyond it.
    ///
    /// Requests of one call with the same batch are answered on the same minibatch, from the same state where a network carries one from
    /// minibatch to minibatch; the state goes on from the first of them.
    ///
    /// # Errors
    /// [`Error::Length`] unless there is one feedback per request; otherwise what the backend reports.
    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()>;

    /// Whether the weights `w` are trained. If not, the search consists of `θ` steps only.
    fn trains_weights(&self) -> bool {
        false
    }

    /// One update of the weights `w` of every request's trial, which are distinct; there is one step per request. What the proposals want is
    /// ignored. The losses before the updates are fetched by [`Supernet::weight_losses`].
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the weights are fixed, [`Error::Length`] unless there is one step per request; otherwise what the
    /// backend reports.
    fn weight_step(&mut self, _steps: &[Step], _requests: &[Request]) -> Result<()> {
        Err(Error::Unsupported { operation: "update the weights", reason: "they are fixed in this network" })
    }

    /// Appends the losses of a trial's weight steps that were not fetched yet, in the order of the steps.
    ///
    /// # Errors
    /// What the backend reports.
    fn weight_losses(&mut self, _trial: u32, _fetch: Fetch, _losses: &mut Vec<f64>) -> Result<()> {
        Ok(())
    }

    /// Loss and accuracy of a proposal, without any effect on the search. Of a set that is not drawn afresh, the whole set is
    /// evaluated, whatever the batch's step.
    ///
    /// # Errors
    /// What the backend reports.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation>;

    /// [`Supernet::evaluate`] of every request.
    ///
    /// # Errors
    /// As there.
    fn evaluate_all(&mut self, requests: &[Request]) -> Result<Vec<Evaluation>> {
        requests.iter().map(|request| self.evaluate(request)).collect()
    }

    /// Everything of a trial that changes while its search runs.
    ///
    /// # Errors
    /// What the backend reports.
    fn save(&mut self, trial: u32) -> Result<State>;

    /// Goes on with a trial from a saved state. Losses of weight steps that were not fetched are forgotten.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit; nothing is changed then.
    fn restore(&mut self, trial: u32, state: &State) -> Result<()>;
}

/// A supernet behind a pointer is a supernet.
macro_rules! forward_to_inner {
    ($($pointer:ty),*) => {$(
        impl<S: Supernet + ?Sized> Supernet for $pointer {
            fn space(&self) -> &SearchSpace {
                (**self).space()
            }

            fn activity(&self) -> Activity {
                (**self).activity()
            }

            fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
                (**self).probe(requests, feedback)
            }

            fn trains_weights(&self) -> bool {
                (**self).trains_weights()
            }

            fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
                (**self).weight_step(steps, requests)
            }

            fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
                (**self).weight_losses(trial, fetch, losses)
            }

            fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
                (**self).evaluate(request)
            }

            fn evaluate_all(&mut self, requests: &[Request]) -> Result<Vec<Evaluation>> {
                (**self).evaluate_all(requests)
            }

            fn save(&mut self, trial: u32) -> Result<State> {
                (**self).save(trial)
            }

            fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
                (**self).restore(trial, state)
            }
        }
    )*};
}

forward_to_inner!(Box<S>, &mut S);

/// The place of a trial among those that a supernet was built for.
///
/// # Errors
/// [`Error::Unsupported`] if it is none of them.
pub fn find_trial(trials: &[u32], trial: u32) -> Result<usize> {
    let reason = "this supernet was built for other trials";
    let place = trials.iter().position(|candidate| *candidate == trial);
    place.ok_or(Error::Unsupported { operation: "run the trial", reason })
}

/// Checks that there is one feedback per request, each for the search space.
///
/// # Errors
/// [`Error::Length`], [`Error::Shape`].
pub fn expect_feedback(space: &SearchSpace, requests: &[Request], feedback: &[Feedback]) -> Result<()> {
    if requests.len() != feedback.len() {
        return Err(Error::Length { what: "feedback", expected: requests.len(), got: feedback.len() });
    }
    for feedback in feedback {
        space.shape().expect("feedback", feedback.gradient.shape())?;
        space.shape().expect_edges("feedback", feedback.removals.len())?;
    }
    Ok(())
}
