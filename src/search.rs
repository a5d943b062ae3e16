//! Algorithm 1 over any supernet and any strategy: the order of steps, the random streams, the state, the observers.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;
use crate::strategy::{Answer, Feedback, Proposal, Step, StepKind, Strategy, Want};
use crate::supernet::{Batch, Evaluation, Fetch, Request, Set, Supernet};

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
    /// Loss of the last update of `θ`, if there was one: the mean where it had several proposals.
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
    /// Loss of the proposal; the mean of several ones.
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
    fn between_steps(&mut self, _search: &mut dyn Saves) -> Result<ControlFlow<()>> {
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

    /// Everything that is needed to go on bit for bit. Losses that are still to be fetched are seen first.
    ///
    /// # Errors
    /// [`Error::Diverged`] for a loss that is not finite; what the supernet reports.
    fn save(&mut self) -> Result<State>;
}

/// How a run of a search or of a training ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// An observer, or the step limit, paused it.
    Paused,
}

/// Weight steps whose losses may be fetched later: a device need not wait for every one.
pub(crate) const MOST_AWAITED: usize = 64;

/// A weight step whose loss was not fetched yet.
struct Awaited {
    position: u64,
    theta_steps: u64,
    /// What was evaluated, if it competes for the process best. The buffer is kept from step to step.
    architecture: Architecture,
    competes: bool,
}

/// A search: Algorithm 1 over one trial of a supernet.
pub struct Search<S> {
    plan: Plan,
    streams: Streams,
    supernet: S,
    trial: u32,
    strategy: Box<dyn Strategy>,
    loss: Option<f64>,
    best: Option<Best>,
    mode: Architecture,
    probabilities: OpTable<f64>,
    /// As many as the strategy has proposals in a `θ` step.
    requests: Vec<Request>,
    feedback: Vec<Feedback>,
    awaited: VecDeque<Awaited>,
    /// Buffers that are not in use.
    spare: Vec<Awaited>,
    losses: Vec<f64>,
    position: u64,
}

impl<S: Supernet> Search<S> {
    /// The search of one trial, before its first step.
    ///
    /// # Errors
    /// [`Error::Setting`] for an impossible plan or a strategy without proposals, [`Error::Shape`] for a strategy of another space.
    pub fn new(plan: Plan, streams: Streams, supernet: S, trial: u32, strategy: Box<dyn Strategy>) -> Result<Self> {
        plan.check(supernet.trains_weights())?;
        let shape: Shape = supernet.space().shape().clone();
        shape.expect("the strategy's search space", strategy.shape())?;
        let proposals = strategy.proposals_per_step();
        if proposals == 0 {
            let (name, got) = ("the number of proposals of a step", "0".to_owned());
            return Err(Error::Setting { name, expected: "at least 1", got });
        }
        let batch = Batch { trial, set: Set::Validation, step: 0 };
        Ok(Self {
            plan,
            streams,
            supernet,
            trial,
            strategy,
            loss: None,
            best: None,
            mode: Architecture::first(&shape),
            probabilities: OpTable::filled(&shape, 0.0),
            requests: vec![Request { batch, proposal: Proposal::new(&shape) }; proposals],
            feedback: vec![Feedback::new(&shape); proposals],
            awaited: VecDeque::new(),
            spare: Vec::new(),
            losses: Vec::new(),
            position: 0,
        })
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

    /// The trial.
    #[must_use]
    pub fn trial(&self) -> u32 {
        self.trial
    }

    /// The strategy.
    #[must_use]
    pub fn strategy(&self) -> &dyn Strategy {
        &*self.strategy
    }

    /// The process best: `None` if no one-hot architecture was evaluated yet.
    #[must_use]
    pub fn best(&self) -> Option<&Best> {
        self.best.as_ref()
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
    /// What supernet, strategy and observer report, [`Error::Diverged`] for a loss that is not finite. The search must not be continued
    /// after an error.
    pub fn advance(&mut self, observer: &mut dyn Observer) -> Result<()> {
        let trains = self.supernet.trains_weights();
        let (weight_steps, theta_steps, kind) = self.plan.counts(trains, self.position);
        if kind == StepKind::Theta && theta_steps.is_multiple_of(self.plan.interval) {
            self.snapshot(weight_steps, theta_steps, observer)?;
        }
        let step = self.prepare(kind)?;
        if kind == StepKind::Theta {
            self.theta_step(&step, theta_steps, observer)?;
        } else {
            self.weight_step(&step, theta_steps)?;
        }
        self.position += 1;
        if self.position == self.plan.steps(trains) {
            let (weight_steps, theta_steps, _) = self.plan.counts(trains, self.position);
            self.snapshot(weight_steps, theta_steps, observer)?;
        }
        Ok(())
    }

    fn theta_step(&mut self, step: &Step, theta_steps: u64, observer: &mut dyn Observer) -> Result<()> {
        self.supernet.probe(&self.requests, &mut self.feedback)?;
        // Their losses come before this step's.
        self.fetch(Fetch::All)?;
        for feedback in &self.feedback {
            check_loss(feedback.loss, self.trial, self.position)?;
        }
        match (&*self.requests, &*self.feedback) {
            ([request], [feedback]) => self.strategy.learn(step, &[Answer::new(&request.proposal, feedback)])?,
            (requests, feedback) => {
                let answers = requests.iter().zip(feedback);
                let answers: Vec<Answer<'_>> =
                    answers.map(|(request, feedback)| Answer::new(&request.proposal, feedback)).collect();
                self.strategy.learn(step, &answers)?;
            }
        }
        let losses = self.feedback.iter().map(|feedback| feedback.loss);
        let loss = losses.reduce(|sum, loss| sum + loss).unwrap_or_default() / self.feedback.len() as f64;
        self.loss = Some(loss);
        self.strategy.mode_into(&mut self.mode);
        observer.theta_step(&ThetaStep { trial: self.trial, theta_steps: theta_steps + 1, loss, mode: &self.mode })?;
        for (request, feedback) in self.requests.iter().zip(&self.feedback) {
            if let Some(architecture) = request.proposal.architecture() {
                compete(&mut self.best, architecture, feedback.loss, theta_steps);
            }
        }
        Ok(())
    }

    fn weight_step(&mut self, step: &Step, theta_steps: u64) -> Result<()> {
        let request = &self.requests[0];
        self.supernet.weight_step(std::slice::from_ref(step), std::slice::from_ref(request))?;
        let mut awaited = self.spare.pop().unwrap_or_else(|| Awaited {
            position: 0,
            theta_steps: 0,
            architecture: self.mode.clone(),
            competes: false,
        });
        (awaited.position, awaited.theta_steps, awaited.competes) = (self.position, theta_steps, false);
        if let (ProcessBest::AllSteps, Some(architecture)) = (self.plan.process_best, request.proposal.architecture()) {
            awaited.architecture.choices_mut().copy_from_slice(architecture.choices());
            awaited.competes = true;
        }
        self.awaited.push_back(awaited);
        self.fetch(if self.awaited.len() < MOST_AWAITED { Fetch::Ready } else { Fetch::All })
    }

    /// Sees losses of weight steps, in the order of the steps.
    fn fetch(&mut self, fetch: Fetch) -> Result<()> {
        if self.awaited.is_empty() {
            return Ok(());
        }
        self.losses.clear();
        self.supernet.weight_losses(self.trial, fetch, &mut self.losses)?;
        let fits = match fetch {
            Fetch::Ready => self.losses.len() <= self.awaited.len(),
            Fetch::All => self.losses.len() == self.awaited.len(),
        };
        if !fits {
            let (expected, got) = (self.awaited.len(), self.losses.len());
            return Err(Error::Length { what: "losses of weight steps", expected, got });
        }
        for &loss in &self.losses {
            let Some(awaited) = self.awaited.pop_front() else { break };
            check_loss(loss, self.trial, awaited.position)?;
            if awaited.competes {
                compete(&mut self.best, &awaited.architecture, loss, awaited.theta_steps);
            }
            self.spare.push(awaited);
        }
        Ok(())
    }

    /// Fills the requests of the next step, if it is or were of this kind.
    fn prepare(&mut self, kind: StepKind) -> Result<Step> {
        let trains = self.supernet.trains_weights();
        let (weight_steps, theta_steps, _) = self.plan.counts(trains, self.position);
        let step = self.plan.step_of_kind(trains, self.position, kind);
        let (set, batch_step, proposals) = match kind {
            StepKind::Theta => (Set::Validation, theta_steps, self.requests.len()),
            _ => (Set::Training, weight_steps, 1),
        };
        let mut rng = self.streams.at(Purpose::Architecture, self.trial, self.position);
        for request in &mut self.requests[..proposals] {
            request.batch = Batch { trial: self.trial, set, step: batch_step };
            self.strategy.propose(&step, &mut rng, &mut request.proposal)?;
        }
        Ok(step)
    }

    /// What the next step would ask if it were of this kind, and the supernet to ask: one request, or several of a `θ` step by a
    /// strategy with several proposals. Ends the search: its strategy can't propose twice.
    ///
    /// # Errors
    /// What the strategy reports.
    pub fn ask(mut self, kind: StepKind) -> Result<(Step, Vec<Request>, S)> {
        let step = self.prepare(kind)?;
        if kind != StepKind::Theta {
            self.requests.truncate(1);
        }
        Ok((step, self.requests, self.supernet))
    }

    fn snapshot(&mut self, weight_steps: u64, theta_steps: u64, observer: &mut dyn Observer) -> Result<()> {
        self.fetch(Fetch::All)?;
        self.strategy.mode_into(&mut self.mode);
        self.strategy.probabilities_into(&mut self.probabilities);
        let batch = Batch { trial: self.trial, set: Set::Test, step: theta_steps };
        let proposal = Proposal::one_hot(self.supernet.space().shape(), &self.mode, Want::Loss)?;
        let evaluation = self.supernet.evaluate(&Request { batch, proposal })?;
        observer.snapshot(&Snapshot {
            trial: self.trial,
            theta_steps,
            weight_steps,
            loss: self.loss,
            mode: &self.mode,
            evaluation,
            probabilities: &self.probabilities,
            entropy: self.strategy.entropy(),
        })
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
        let own = state.below(&trial_prefix(self.trial));
        let loss = own.optional("loss", 1)?[0];
        let best = restore_best(self.supernet.space().shape(), &own)?;
        self.supernet.restore(self.trial, &state.below(&supernet_prefix(self.trial)))?;
        self.strategy.restore(&own.below("strategy"))?;
        (self.loss, self.best, self.position) = (loss, best, position);
        self.spare.extend(self.awaited.drain(..));
        Ok(())
    }
}

/// Where the state of a trial's search is among what is saved.
fn trial_prefix(trial: u32) -> String {
    format!("trial-{trial:03}")
}

/// Where the state of a trial's network is among what is saved.
pub(crate) fn supernet_prefix(trial: u32) -> String {
    format!("supernet/trial-{trial}")
}

impl<S: Supernet> Saves for Search<S> {
    fn position(&self) -> u64 {
        self.position
    }

    fn steps(&self) -> u64 {
        Search::steps(self)
    }

    fn save(&mut self) -> Result<State> {
        self.fetch(Fetch::All)?;
        let mut own = State::new();
        own.nest("strategy", self.strategy.save());
        own.insert_optional("loss", &[self.loss]);
        own.insert_optional("best.loss", &[self.best.as_ref().map(|best| best.loss)]);
        if let Some(best) = &self.best {
            let choices: Vec<u64> = best.architecture.choices().iter().map(|&choice| choice as u64).collect();
            own.insert_u64("best.architecture", &choices);
            own.insert_u64("best.theta_steps", &[best.theta_steps]);
        }
        let mut state = State::new();
        state.insert_u64("position", &[self.position]);
        state.nest(&supernet_prefix(self.trial), self.supernet.save(self.trial)?);
        state.nest(&trial_prefix(self.trial), own);
        Ok(state)
    }
}

/// Keeps an architecture if its loss is smaller than that of the best so far.
fn compete(best: &mut Option<Best>, architecture: &Architecture, loss: f64, theta_steps: u64) {
    match best {
        Some(best) if loss < best.loss => {
            best.architecture.choices_mut().copy_from_slice(architecture.choices());
            (best.loss, best.theta_steps) = (loss, theta_steps);
        }
        Some(_) => {}
        None => *best = Some(Best { architecture: architecture.clone(), loss, theta_steps }),
    }
}

fn restore_best(shape: &Shape, state: &State) -> Result<Option<Best>> {
    let Some(loss) = state.optional("best.loss", 1)?[0] else { return Ok(None) };
    let saved = state.u64("best.architecture", shape.edges())?;
    let choices: Vec<usize> = saved.iter().map(|&choice| choice as usize).collect();
    let architecture = Architecture::new(shape, choices)
        .map_err(|error| Error::State { name: "best.architecture".to_owned(), problem: error.to_string() })?;
    Ok(Some(Best { architecture, loss, theta_steps: state.u64("best.theta_steps", 1)?[0] }))
}

pub(crate) fn check_loss(loss: f64, trial: u32, position: u64) -> Result<()> {
    if loss.is_finite() {
        return Ok(());
    }
    Err(Error::Diverged { trial, position, loss })
}
