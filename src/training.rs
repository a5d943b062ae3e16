//! Training of one architecture: updates of the weights `w` alone, over any supernet that trains them. This is how an architecture
//! that a search has found is trained anew; there is no strategy.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::search::{MOST_AWAITED, Outcome, Saves, check_loss, schedule, supernet_prefix};
use crate::space::Architecture;
use crate::state::State;
use crate::strategy::{Proposal, Step, StepKind, Want};
use crate::supernet::{Batch, Evaluation, Fetch, Request, Set, Supernet};

/// The steps of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Updates of `w`.
    pub steps: u64,
    /// The architecture is evaluated on the validation set before every `interval`-th update, and at the end.
    pub interval: u64,
    /// Updates of `w` in an epoch; need not be whole.
    pub steps_per_epoch: f64,
}

impl Plan {
    fn check(&self) -> Result<()> {
        for (name, value) in [("the number of steps", self.steps), ("the log interval", self.interval)] {
            if value == 0 {
                return Err(Error::Setting { name, expected: "at least 1", got: value.to_string() });
            }
        }
        if !(self.steps_per_epoch >= 1.0 && self.steps_per_epoch.is_finite()) {
            let (name, expected) = ("steps per epoch", "finite and at least 1");
            return Err(Error::Setting { name, expected, got: self.steps_per_epoch.to_string() });
        }
        Ok(())
    }

    fn step(&self, position: u64) -> Step {
        let schedule = schedule(position, self.steps, self.steps_per_epoch);
        Step { kind: StepKind::Weights, progress: 0.0, schedule }
    }
}

/// What an observer sees at a log interval, before the update of `w`.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// The trial.
    pub trial: u32,
    /// Updates of `w` done.
    pub steps: u64,
    /// Whole epochs done, over all epochs.
    pub schedule: f64,
    /// Mean minibatch loss of the updates since the last report, if there were any.
    pub loss: Option<f64>,
    /// How good the architecture is on the validation set.
    pub evaluation: Evaluation,
}

/// Something that watches a training.
pub trait Observer {
    /// Called at every log interval and at the end of the training.
    ///
    /// # Errors
    /// Whatever the observer can't do; the training stops with it.
    fn report(&mut self, report: &Report) -> Result<()>;

    /// Called between two steps, where the training may be saved: `Break` pauses it.
    ///
    /// # Errors
    /// Whatever the observer can't do; the training stops with it.
    fn between_steps(&mut self, _training: &mut dyn Saves) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Nobody watches.
impl Observer for () {
    fn report(&mut self, _report: &Report) -> Result<()> {
        Ok(())
    }
}

/// The training of one architecture in one trial of a supernet.
pub struct Training<S> {
    plan: Plan,
    supernet: S,
    request: Request,
    position: u64,
    /// Sum and number of the minibatch losses since the last report.
    losses: (f64, u64),
    /// Updates whose losses were not fetched yet: the last ones.
    awaited: usize,
    fetched: Vec<f64>,
}

impl<S: Supernet> Training<S> {
    /// A training before its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] for an impossible plan, [`Error::Unsupported`] if the weights of the supernet are fixed; as
    /// [`Proposal::one_hot`] for an architecture of another space.
    pub fn new(plan: Plan, supernet: S, trial: u32, architecture: &Architecture) -> Result<Self> {
        plan.check()?;
        if !supernet.trains_weights() {
            let reason = "the weights of this network are fixed";
            return Err(Error::Unsupported { operation: "train an architecture", reason });
        }
        let proposal = Proposal::one_hot(supernet.space().shape(), architecture, Want::Loss)?;
        let request = Request { batch: Batch { trial, set: Set::Training, step: 0 }, proposal };
        Ok(Self { plan, supernet, request, position: 0, losses: (0.0, 0), awaited: 0, fetched: Vec::new() })
    }

    /// The plan.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The supernet.
    #[must_use]
    pub fn supernet(&self) -> &S {
        &self.supernet
    }

    /// The supernet, to evaluate with it.
    pub fn supernet_mut(&mut self) -> &mut S {
        &mut self.supernet
    }

    /// The architecture.
    ///
    /// # Panics
    /// Never: the proposal of a training is one-hot.
    #[must_use]
    pub fn architecture(&self) -> &Architecture {
        self.request.proposal.architecture().expect("the proposal is one-hot")
    }

    /// Steps done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Steps of the whole training.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.plan.steps
    }

    /// Runs to the end, to step `until` or until the observer pauses it, whichever comes first.
    ///
    /// # Errors
    /// What the supernet and the observer report.
    pub fn run(&mut self, until: Option<u64>, observer: &mut dyn Observer) -> Result<Outcome> {
        while self.position < self.plan.steps {
            if until.is_some_and(|until| self.position >= until) {
                return Ok(Outcome::Paused);
            }
            self.advance(observer)?;
            if self.position < self.plan.steps && observer.between_steps(self)?.is_break() {
                return Ok(Outcome::Paused);
            }
        }
        Ok(Outcome::Finished)
    }

    /// One update of `w`. After the last one, the observer sees the final report.
    ///
    /// # Errors
    /// What the supernet and the observer report, [`Error::Diverged`] for a loss that is not finite. The training must not be
    /// continued after an error.
    pub fn advance(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if self.position.is_multiple_of(self.plan.interval) {
            self.report(observer)?;
        }
        self.request.batch.set = Set::Training;
        self.request.batch.step = self.position;
        let step = self.plan.step(self.position);
        self.supernet.weight_step(std::slice::from_ref(&step), std::slice::from_ref(&self.request))?;
        self.awaited += 1;
        self.fetch(if self.awaited < MOST_AWAITED { Fetch::Ready } else { Fetch::All }, self.position + 1)?;
        self.position += 1;
        if self.position == self.plan.steps {
            self.report(observer)?;
        }
        Ok(())
    }

    /// How good the architecture is on a whole set with the present weights.
    ///
    /// # Errors
    /// What the supernet reports.
    pub fn evaluate(&mut self, set: Set) -> Result<Evaluation> {
        self.request.batch.set = set;
        self.supernet.evaluate(&self.request)
    }

    /// Sees losses of the updates before this one, in their order.
    fn fetch(&mut self, fetch: Fetch, before: u64) -> Result<()> {
        if self.awaited == 0 {
            return Ok(());
        }
        let trial = self.request.batch.trial;
        self.fetched.clear();
        self.supernet.weight_losses(trial, fetch, &mut self.fetched)?;
        let (expected, got) = (self.awaited, self.fetched.len());
        if got > expected || fetch == Fetch::All && got < expected {
            return Err(Error::Length { what: "losses of weight steps", expected, got });
        }
        for &loss in &self.fetched {
            let position = before - self.awaited as u64;
            self.awaited -= 1;
            check_loss(loss, trial, position)?;
            self.losses.0 += loss;
            self.losses.1 += 1;
        }
        Ok(())
    }

    fn report(&mut self, observer: &mut dyn Observer) -> Result<()> {
        self.fetch(Fetch::All, self.position)?;
        let evaluation = self.evaluate(Set::Validation)?;
        let (sum, count) = std::mem::take(&mut self.losses);
        observer.report(&Report {
            trial: self.request.batch.trial,
            steps: self.position,
            schedule: self.plan.step(self.position).schedule,
            loss: (count > 0).then(|| sum / count as f64),
            evaluation,
        })
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let position = state.u64("position", 1)?[0];
        if position > self.plan.steps {
            let problem = format!("is {position}, the training has {} steps", self.plan.steps);
            return Err(Error::State { name: "position".to_owned(), problem });
        }
        let losses = (state.f64("loss.sum", 1)?[0], state.u64("loss.count", 1)?[0]);
        let trial = self.request.batch.trial;
        self.supernet.restore(trial, &state.below(&supernet_prefix(trial)))?;
        (self.position, self.losses, self.awaited) = (position, losses, 0);
        Ok(())
    }
}

impl<S: Supernet> Saves for Training<S> {
    fn position(&self) -> u64 {
        self.position
    }

    fn steps(&self) -> u64 {
        self.plan.steps
    }

    fn save(&mut self) -> Result<State> {
        self.fetch(Fetch::All, self.position)?;
        let trial = self.request.batch.trial;
        let mut state = State::new();
        state.insert_u64("position", &[self.position]);
        state.insert_f64("loss.sum", &[self.losses.0]);
        state.insert_u64("loss.count", &[self.losses.1]);
        state.nest(&supernet_prefix(trial), self.supernet.save(trial)?);
        Ok(state)
    }
}
