//! Search strategies: how the logits `θ` of the policy are learned. One file per method of Table 1.
//!
//! A strategy proposes edge weights, the supernet answers with losses and gradients, the strategy learns. It owns `θ`, its
//! optimiser and its schedules, and knows nothing of networks, data or devices. The arithmetic of the estimators is in
//! [`crate::estimator`]; what the methods of Table 1 share is in `theta` (ascent on `θ`), [`proposal`] and [`feedback`]; the
//! table itself, as data, in [`table1`].

mod activity;
mod advantage_nas;
mod darts;
mod enas;
pub mod feedback;
mod gdas;
mod method;
mod nasp;
mod parsec;
mod product;
pub mod proposal;
mod proxyless_nas;
mod reinforce;
mod snas;
pub mod table1;
mod theta;

pub use activity::Activity;
pub use advantage_nas::{AdvantageBaseline, AdvantageKind, AdvantageNas, AdvantageSettings};
pub use darts::Darts;
pub use enas::{Enas, EnasSettings};
pub use feedback::{Answer, Feedback, Rewards};
pub use gdas::{Gdas, GdasSettings};
pub use method::{Method, MethodSettings};
pub use nasp::Nasp;
pub use parsec::{Parsec, ParsecSettings};
pub use product::ProductStrategy;
pub use proposal::{Proposal, Want};
pub use proxyless_nas::ProxylessNas;
pub use reinforce::{Reinforce, ReinforceSettings};
pub use snas::{Snas, SnasSettings};
pub use theta::{RateSchedule, Theta, ThetaSettings};

use rand::RngCore;

use crate::error::Result;
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// What kind of step of the search it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// The weights `w` are trained while `θ` is fixed, before the alternation begins.
    Warmup,
    /// A step of the weights `w` in the alternation (lines 2 to 5 of Algorithm 1).
    Weights,
    /// A step of the logits `θ` (lines 6 to 10 of Algorithm 1).
    Theta,
}

/// Where in the search a step lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What is updated.
    pub kind: StepKind,
    /// `θ` steps done, over the `θ` steps of the whole search; 0 during the warm-up. For temperatures.
    pub progress: f64,
    /// Whole epochs done, over all epochs (for `θ` steps: of the epochs that have them). For learning rates.
    pub schedule: f64,
}

/// A search strategy over one search space.
///
/// The order of calls is `propose`, as often as [`proposals_per_step`](Strategy::proposals_per_step) says for a [`StepKind::Theta`]
/// and once for the others; then, for [`StepKind::Theta`] only, `learn` with the feedback on those very proposals.
pub trait Strategy: Send {
    /// Number of candidates of every edge.
    fn shape(&self) -> &Shape;

    /// Proposals of a `θ` step, all of which are evaluated on the same minibatch; at least 1, and the same in every step.
    fn proposals_per_step(&self) -> usize {
        1
    }

    /// Writes the edge weights to evaluate next, which candidates are active, and what answer is wanted.
    ///
    /// For weight steps, what the proposal wants is ignored, and nothing that is proposed or learned later depends on them.
    ///
    /// # Errors
    /// If the method can't work on this space, or a schedule leaves its range.
    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()>;

    /// Updates `θ` from the answers to the proposals of the step, in the order in which they were proposed.
    ///
    /// # Errors
    /// [`crate::Error::Length`] for another number of answers, [`crate::Error::Feedback`] if the feedback lacks what the proposal wanted, [`crate::Error::NotFinite`] if `θ` leaves the
    /// finite numbers.
    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()>;

    /// Writes the probability of every candidate, `[edges, candidates]`. For an autoregressive policy, the conditionals along
    /// its mode.
    fn probabilities_into(&self, out: &mut OpTable<f64>);

    /// Writes the architecture that the search would end with now: at every edge the most probable candidate.
    fn mode_into(&self, out: &mut Architecture);

    /// Entropy of the architecture distribution in nats (of the conditionals along the mode for an autoregressive policy).
    fn entropy(&self) -> f64;

    /// Everything that is needed to go on bit for bit.
    fn save(&self) -> State;

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`crate::Error::State`] if something is missing or does not fit; nothing is changed then.
    fn restore(&mut self, state: &State) -> Result<()>;
}
