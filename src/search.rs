//! Algorithm 1 over any supernet and any strategy: the order of steps, the random streams, the state, the observers.

use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;
use crate::strategy::{Feedback, Proposal, Step, StepKind, Strategy, Want};
use crate::supernet::{Batch, Evaluation, Request, Set, Supernet};

/// Which minibatch losses compete for the process best, the one-hot architecture with the smallest loss seen during the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessBest {
    /// Those of the `θ` steps.
    ThetaSteps,
    /// Those of all steps.
    AllSteps,
}

/// The steps of a search: `warmup` updates of `w` alone, then `iterations` times an update of `w` (if the supernet trains its
/// weights) and an update of `θ`, as in Algorithm 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// Updates of `w` before the first update of `θ`.
    pub warmup: u64,
    /// Updates of `θ`.
    pub iterations: u64,
    /// The argmax architecture is evaluated before every `interval`-th update of `θ`, and at the end.
    pub interval: u64,
    /// Updates of `w` in an epoch; need not be whole.
    pub weight_steps_per_epoch: f64,
    /// Updates of `θ` in an epoch; need not be whole.
    pub theta_steps_per_epoch: f64,
    /// What the process best is chosen from.
    pub process_best: ProcessBest,
}

impl Plan {
    /// A search of `θ` alone: every iteration is its own epoch.
    #[must_use]
    pub fn theta_only(iterations: u64, interval: u64) -> Self {
        Self {
            warmup: 0,
            iterations,
            interval,
            weight_steps_per_epoch: 1.0,
            theta_steps_per_epoch: 1.0,
            process_best: ProcessBest::ThetaSteps,
        }
    }

    fn check(&self, trains_weights: bool) -> Result<()> {
        let whole = |name, value: u64| {
            if value > 0 {
                return Ok(());
            }
            Err(Error::Setting { name, expected: "at least 1", got: value.to_string() })
        };
        whole("the number of iterations", self.iterations)?;
        whole("the log interval", self.interval)?;
        for (name, value) in [
            ("weight steps per epoch", self.weight_steps_per_epoch),
            ("theta steps per epoch", self.theta_steps_per_epoch),
        ] {
            if !(value >= 1.0 && value.is_finite()) {
                return Err(Error::Setting { name, expected: "finite and at least 1", got: value.to_string() });
            }
        }
        if self.warmup > 0 && !trains_weights {
            let reason = "the weights of this network are fixed";
            return Err(Error::Unsupported { operation: "warm up", reason });
        }
        Ok(())
    }

    /// Number of steps of the search over a supernet that trains its weights, or one that does not.
    #[must_use]
    pub fn steps(&self, trains_weights: bool) -> u64 {
        self.warmup + self.iterations * if trains_weights { 2 } else { 1 }
    }

    /// Updates of `w` and of `θ` before step `position`, and the kind of that step.
    fn counts(&self, trains_weights: bool, position: u64) -> (u64, u64, StepKind) {
        if position < self.warmup {
            return (position, 0, StepKind::Warmup);
        }
        let rest = position - self.warmup;
        if !trains_weights {
            return (0, rest, StepKind::Theta);
        }
        // Algorithm 1: w first, then θ.
        let kind = if rest.is_multiple_of(2) { StepKind::Weights } else { StepKind::Theta };
        (self.warmup + rest.div_ceil(2), rest / 2, kind)
    }

    /// What step `position` of such a search is, and where in the schedules it lies.
    #[must_use]
    pub fn step(&self, trains_weights: bool, position: u64) -> Step {
        self.step_of_kind(trains_weights, position, self.counts(trains_weights, position).2)
    }

    /// Step `position`, if it is or were of this kind.
    fn step_of_kind(&self, trains_weights: bool, position: u64, kind: StepKind) -> Step {
        let (weight_steps, theta_steps, _) = self.counts(trains_weights, position);
        let (done, total, per_epoch) = match kind {
            StepKind::Theta => (theta_steps, self.iterations, self.theta_steps_per_epoch),
            _ => (weight_steps, self.warmup + self.iterations, self.weight_steps_per_epoch),
        };
        let schedule = schedule(done, total, per_epoch);
        Step { kind, progress: theta_steps as f64 / self.iterations as f64, schedule }
    }
}

/// Whole epochs done, over all epochs, before the step after `done` of `total` steps.
pub(crate) fn schedule(done: u64, total: u64, per_epoch: f64) -> f64 {
    let epochs = total as f64 / per_epoch;
    ((done as f64 / per_epoch).floor() / epochs).min(1.0)
}

/// The one-hot architecture with the smallest minibatch loss.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The architecture.
    pub architecture: Architecture,
    /// Its minibatch loss.
    pub loss: f64,
    /// Updates of `θ` before it was seen.
    pub theta_steps: u64,
}

/// What an observer sees at a log interval, before the update of `θ`.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    /// The trial.
    pub trial: u32,
    /// Updates of `θ` done.
    pub theta_steps: u64,
    /// Updates of `w` done.
    pub weight_steps: u64,
    /// Loss of the last update of `θ`, if there was one.
    pub loss: Option<f64>,
    /// The argmax architecture.
    pub mode: &'a Architecture,
    /// How good it is.
    pub evaluation: Evaluation,
    /// Probabilities `μ`, `[edges, candidates]`.
    pub probabilities: &'a OpTable<f64>,
    /// Entropy of the policy, in nats.
    pub entropy: f64,
}

/// What an observer sees after every update of `θ`.
#[derive(Clone, Copy, Debug)]
pub struct ThetaStep<'a> {
    /// The trial.
    pub trial: u32,
    /// Updates of `θ` done, this one included.
    pub theta_steps: u64,
    /// Loss of the proposal.
    pub loss: f64,
    /// The argmax architecture after the update.
    pub mode: &'a Architecture,
}

/// Something that watches a search.
pub trait Observer {
    /// Called at every log interval and at the end of the search.
    ///
    /// # Errors
    /// Whatever the observer can't do; the search stops with it.
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<()>;

    /// Called after every update of `θ`.
    ///
    /// # Errors
    /// Whatever the observer can't do; the search stops with it.
    fn theta_step(&mut self, _step: &ThetaStep<'_>) -> Result<()> {
        Ok(())
    }

    /// Called between two steps, where the search may be saved: `Break` pauses it.
    ///
    /// # Errors
    /// Whatever the observer can't do; the search stops with it.
    fn between_steps(&mut self, _search: &dyn Saves) -> Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

/// Nobody watches.
impl Observer for () {
    fn snapshot(&mut self, _snapshot: &Snapshot<'_>) -> Result<()> {
        Ok(())
    }
}

/// The part of a search, or of a [training](crate::training), that observers may ask for.
pub trait Saves {
    /// Steps done.
    fn position(&self) -> u64;

    /// Steps in all.
    fn steps(&self) -> u64;

    /// Everything that is needed to go on bit for bit.
    fn save(&self) -> State;
}

/// How a run of a search or of a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// An observer, or the step limit, paused it.
    Paused,
}

/// One trial: a strategy with what it last asked and heard.
struct Trial {
    number: u32,
    strategy: Box<dyn Strategy>,
    loss: Option<f64>,
    best: Option<Best>,
    mode: Architecture,
    probabilities: OpTable<f64>,
}

/// A search: Algorithm 1 over one supernet, for one trial or several in lockstep.
pub struct Search<S> {
    plan: Plan,
    streams: Streams,
    supernet: S,
    trials: Vec<Trial>,
    requests: Vec<Request>,
    feedback: Vec<Feedback>,
    position: u64,
}

impl<S: Supernet> Search<S> {
    /// A search before its first step, with one strategy for every trial number.
    ///
    /// # Errors
    /// [`Error::Setting`] for an impossible plan or a trial number given twice, [`Error::Shape`] for a strategy of another space,
    /// [`Error::Length`] without a trial.
    pub fn new(plan: Plan, streams: Streams, supernet: S, trials: Vec<(u32, Box<dyn Strategy>)>) -> Result<Self> {
        plan.check(supernet.trains_weights())?;
        if trials.is_empty() {
            return Err(Error::Length { what: "trials", expected: 1, got: 0 });
        }
        let shape: Shape = supernet.space().shape().clone();
        for (index, (number, strategy)) in trials.iter().enumerate() {
            shape.expect("the strategy's search space", strategy.shape())?;
            // They would share their random numbers and their place in the saved state.
            if trials[..index].iter().any(|(other, _)| other == number) {
                let got = format!("{number} twice");
                return Err(Error::Setting { name: "the trial numbers", expected: "distinct", got });
            }
        }
        let batch = |trial| Batch { trial, set: Set::Validation, step: 0 };
        let requests =
            trials.iter().map(|(trial, _)| Request { batch: batch(*trial), proposal: Proposal::new(&shape) }).collect();
        let feedback = trials.iter().map(|_| Feedback::new(&shape)).collect();
        let trials = trials
            .into_iter()
            .map(|(number, strategy)| Trial {
                number,
                strategy,
                loss: None,
                best: None,
                mode: Architecture::first(&shape),
                probabilities: OpTable::filled(&shape, 0.0),
            })
            .collect();
        Ok(Self { plan, streams, supernet, trials, requests, feedback, position: 0 })
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

    /// The strategy of the `index`-th trial.
    ///
    /// # Panics
    /// If there are fewer trials.
    #[must_use]
    pub fn strategy(&self, index: usize) -> &dyn Strategy {
        &*self.trials[index].strategy
    }

    /// The process best of the `index`-th trial: `None` if no one-hot architecture was evaluated yet.
    ///
    /// # Panics
    /// If there are fewer trials.
    #[must_use]
    pub fn best(&self, index: usize) -> Option<&Best> {
        self.trials[index].best.as_ref()
    }

    /// Steps done.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Steps of the whole search.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.plan.steps(self.supernet.trains_weights())
    }

    /// Runs to the end, to step `until` or until an observer pauses it, whichever comes first.
    ///
    /// # Errors
    /// What supernet, strategies and observers report.
    pub fn run(&mut self, until: Option<u64>, observer: &mut dyn Observer) -> Result<Outcome> {
        let end = self.steps();
        while self.position < end {
            if until.is_some_and(|until| self.position >= until) {
                return Ok(Outcome::Paused);
            }
            self.advance(observer)?;
            if self.position < end && observer.between_steps(self)?.is_break() {
                return Ok(Outcome::Paused);
            }
        }
        Ok(Outcome::Finished)
    }

    /// One step of the search. After the last step, the observer sees the final snapshot.
    ///
    /// # Errors
    /// What supernet, strategies and observers report. The search must not be continued after an error.
    pub fn advance(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let trains = self.supernet.trains_weights();
        let (weight_steps, theta_steps, kind) = self.plan.counts(trains, self.position);
        if kind == StepKind::Theta && theta_steps.is_multiple_of(self.plan.interval) {
            self.snapshot(weight_steps, theta_steps, observer)?;
        }
        let step = self.prepare(kind)?;
        let counts_for_best = kind == StepKind::Theta || self.plan.process_best == ProcessBest::AllSteps;
        if kind == StepKind::Theta {
            self.supernet.probe(&self.requests, &mut self.feedback)?;
            for ((trial, request), feedback) in self.trials.iter_mut().zip(&self.requests).zip(&self.feedback) {
                check_loss(feedback.loss, trial.number, self.position)?;
                trial.strategy.learn(&step, &request.proposal, feedback)?;
                trial.loss = Some(feedback.loss);
                trial.strategy.mode_into(&mut trial.mode);
                observer.theta_step(&ThetaStep {
                    trial: trial.number,
                    theta_steps: theta_steps + 1,
                    loss: feedback.loss,
                    mode: &trial.mode,
                })?;
                if counts_for_best {
                    trial.compete(&request.proposal, feedback.loss, theta_steps);
                }
            }
        } else {
            for (trial, request) in self.trials.iter_mut().zip(&self.requests) {
                let loss = self.supernet.weight_step(&step, request)?;
                check_loss(loss, trial.number, self.position)?;
                if counts_for_best {
                    trial.compete(&request.proposal, loss, theta_steps);
                }
            }
        }
        self.position += 1;
        if self.position == self.plan.steps(trains) {
            let (weight_steps, theta_steps, _) = self.plan.counts(trains, self.position);
            self.snapshot(weight_steps, theta_steps, observer)?;
        }
        Ok(())
    }

    /// Fills the requests of the next step, if it is or were of this kind.
    fn prepare(&mut self, kind: StepKind) -> Result<Step> {
        let trains = self.supernet.trains_weights();
        let (weight_steps, theta_steps, _) = self.plan.counts(trains, self.position);
        let step = self.plan.step_of_kind(trains, self.position, kind);
        let (set, batch_step) =
            if kind == StepKind::Theta { (Set::Validation, theta_steps) } else { (Set::Training, weight_steps) };
        for (trial, request) in self.trials.iter_mut().zip(&mut self.requests) {
            request.batch = Batch { trial: trial.number, set, step: batch_step };
            let mut rng = self.streams.at(Purpose::Architecture, trial.number, self.position);
            trial.strategy.propose(&step, &mut rng, &mut request.proposal)?;
        }
        Ok(step)
    }

    /// What the next step would ask if it were of this kind, one request per trial, and the supernet to ask. Ends the search: its
    /// strategies can't propose twice.
    ///
    /// # Errors
    /// What strategies report.
    pub fn ask(mut self, kind: StepKind) -> Result<(Step, Vec<Request>, S)> {
        let step = self.prepare(kind)?;
        Ok((step, self.requests, self.supernet))
    }

    fn snapshot(&mut self, weight_steps: u64, theta_steps: u64, observer: &mut dyn Observer) -> Result<()> {
        let shape = self.supernet.space().shape().clone();
        for trial in &mut self.trials {
            trial.strategy.mode_into(&mut trial.mode);
            trial.strategy.probabilities_into(&mut trial.probabilities);
            let batch = Batch { trial: trial.number, set: Set::Test, step: theta_steps };
            let proposal = Proposal::one_hot(&shape, &trial.mode, Want::Loss)?;
            let evaluation = self.supernet.evaluate(&Request { batch, proposal })?;
            observer.snapshot(&Snapshot {
                trial: trial.number,
                theta_steps,
                weight_steps,
                loss: trial.loss,
                mode: &trial.mode,
                evaluation,
                probabilities: &trial.probabilities,
                entropy: trial.strategy.entropy(),
            })?;
        }
        Ok(())
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let position = state.u64("position", 1)?[0];
        if position > self.steps() {
            return Err(Error::State {
                name: "position".to_owned(),
                problem: format!("is {position}, the search has {} steps", self.steps()),
            });
        }
        self.supernet.restore(&state.below("supernet"))?;
        let shape = self.supernet.space().shape().clone();
        for trial in &mut self.trials {
            trial.restore(&shape, &state.below(&trial.prefix()))?;
        }
        self.position = position;
        Ok(())
    }
}

impl<S: Supernet> Saves for Search<S> {
    fn position(&self) -> u64 {
        self.position
    }

    fn steps(&self) -> u64 {
        Search::steps(self)
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.insert_u64("position", &[self.position]);
        state.nest("supernet", self.supernet.save());
        for trial in &self.trials {
            state.nest(&trial.prefix(), trial.save());
        }
        state
    }
}

impl Trial {
    fn prefix(&self) -> String {
        format!("trial-{:03}", self.number)
    }

    fn compete(&mut self, proposal: &Proposal, loss: f64, theta_steps: u64) {
        let Some(architecture) = proposal.architecture() else { return };
        match &mut self.best {
            Some(best) if loss < best.loss => {
                best.architecture.choices_mut().copy_from_slice(architecture.choices());
                (best.loss, best.theta_steps) = (loss, theta_steps);
            }
            Some(_) => {}
            None => self.best = Some(Best { architecture: architecture.clone(), loss, theta_steps }),
        }
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.nest("strategy", self.strategy.save());
        state.insert_optional("loss", &[self.loss]);
        state.insert_optional("best.loss", &[self.best.as_ref().map(|best| best.loss)]);
        if let Some(best) = &self.best {
            let choices: Vec<u64> = best.architecture.choices().iter().map(|&choice| choice as u64).collect();
            state.insert_u64("best.architecture", &choices);
            state.insert_u64("best.theta_steps", &[best.theta_steps]);
        }
        state
    }

    fn restore(&mut self, shape: &Shape, state: &State) -> Result<()> {
        self.strategy.restore(&state.below("strategy"))?;
        self.loss = state.optional("loss", 1)?[0];
        self.best = match state.optional("best.loss", 1)?[0] {
            None => None,
            Some(loss) => {
                let saved = state.u64("best.architecture", shape.edges())?;
                let choices: Vec<usize> = saved.iter().map(|&choice| choice as usize).collect();
                let architecture = Architecture::new(shape, choices).map_err(|error| Error::State {
                    name: "best.architecture".to_owned(),
                    problem: error.to_string(),
                })?;
                Some(Best { architecture, loss, theta_steps: state.u64("best.theta_steps", 1)?[0] })
            }
        };
        Ok(())
    }
}

pub(crate) fn check_loss(loss: f64, trial: u32, position: u64) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    Err(Error::Diverged { trial, position, loss })
}
