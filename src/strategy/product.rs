//! What strategies with an independent categorical policy have in common as strategies: probabilities, mode, entropy, saved
//! state all come from their [`Theta`].

use rand::RngCore;

use super::{Answer, Proposal, Step, Strategy, Theta};
use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;

/// A strategy whose policy is the product of independent softmax categoricals of Eq. (2). Every such strategy is a [`Strategy`].
pub trait ProductStrategy: Send {
    /// Name of the method in messages.
    fn name(&self) -> &'static str;

    /// The policy and its optimiser.
    fn theta(&self) -> &Theta;

    /// The policy and its optimiser.
    fn theta_mut(&mut self) -> &mut Theta;

    /// As [`Strategy::proposals_per_step`].
    fn proposals_per_step(&self) -> usize {
        1
    }

    /// As [`Strategy::propose`].
    ///
    /// # Errors
    /// As [`Strategy::propose`].
    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()>;

    /// As [`Strategy::learn`].
    ///
    /// # Errors
    /// As [`Strategy::learn`].
    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()>;

    /// Saves what the strategy remembers from step to step beside its `θ`; there is no default, so that nobody forgets it.
    fn save_rest(&self, state: &mut State);

    /// Restores what [`ProductStrategy::save_rest`] saved.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit; nothing is changed then.
    fn restore_rest(&mut self, state: &State) -> Result<()>;
}

impl<P: ProductStrategy> Strategy for P {
    fn shape(&self) -> &Shape {
        self.theta().policy().shape()
    }

    fn proposals_per_step(&self) -> usize {
        ProductStrategy::proposals_per_step(self)
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        ProductStrategy::propose(self, step, rng, proposal)
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        ProductStrategy::learn(self, step, answers)
    }

    fn probabilities_into(&self, out: &mut OpTable<f64>) {
        out.values_mut().copy_from_slice(self.theta().policy().probabilities().values());
    }

    fn mode_into(&self, out: &mut Architecture) {
        self.theta().policy().mode_into(out);
    }

    fn entropy(&self) -> f64 {
        self.theta().policy().entropy()
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.nest("theta", self.theta().save());
        self.save_rest(&mut state);
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        // The rest may be refused too: until then, only a copy changes.
        let mut theta = self.theta().clone();
        theta.restore(&state.below("theta"))?;
        self.restore_rest(state)?;
        *self.theta_mut() = theta;
        Ok(())
    }
}

/// The architecture of a proposal that must be one-hot.
pub(super) fn one_hot<'a>(strategy: &'static str, proposal: &'a Proposal) -> Result<&'a Architecture> {
    proposal.architecture().ok_or(Error::Feedback { strategy, needed: "a one-hot proposal", got: "a mixture" })
}

/// Checks a setting that must be positive and finite.
pub(super) fn positive(name: &'static str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::Setting { name, expected: "positive and finite", got: value.to_string() })
}
