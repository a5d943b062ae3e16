//! A network with everything that a network can have, small enough to be computed by hand: its loss is affine in the edge weights, its weights are
//! trained with momentum, a state is carried from minibatch to minibatch, and several trials are worked on together. Faults can be planted.

use advantage_nas::network::{Initial, Owner, Parameter, Part};
use advantage_nas::sharing::{Network, Pass, Precision};
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{Activity, Proposal};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set};
use advantage_nas::{Error, OpTable, Result, SearchSpace};
use ndarray::{Array2, Ix2};

pub const EDGES: usize = 3;
pub const CANDIDATES: usize = 3;

/// What is wrong with a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The carried state is not saved.
    StateNotSaved,
    /// The velocity is not restored.
    VelocityNotRestored,
    /// The loss has something of the last proposal in it.
    LastQuestion,
    /// The gradient of the reward instead of the loss.
    WrongSign,
    /// Removals start from the state after the main pass.
    RemovalsCarryOn,
    /// An evaluation goes on with the carried state.
    EvaluationCarriesOn,
    /// A pass forgets its last lane.
    LaneForgotten,
    /// A lane reads the weights of the first trial.
    FirstTrialsWeights,
    /// The losses that are owed come in the wrong order.
    LossesReversed,
    /// A refused state has been restored in part.
    RestoredInPart,
    /// The gradient of the reward, of one-hot proposals alone.
    WrongSignOfOne,
    /// Inactive candidates have no gradient, whatever is wanted.
    NoUnitOutputs,
    /// Another edge is left out than was wanted.
    NextEdgeRemoved,
    /// Every trial gets the weights that are restored of one.
    RestoredInAllTrials,
}

#[derive(Clone, Debug)]
struct Trial {
    weights: Array2<f64>,
    velocity: Array2<f64>,
    state: f64,
    position: u64,
}

/// Loss of a minibatch: `c + s + Σ a (w + b)`, with `c` and `b` of the minibatch and the carried state `s`.
#[derive(Clone, Debug)]
pub struct Affine {
    space: SearchSpace,
    numbers: Vec<u32>,
    parameters: Vec<Parameter>,
    trials: Vec<Trial>,
    lanes: usize,
    late: usize,
    activity: Activity,
    fault: Fault,
    /// Of every lane: its trial, minibatch and the state before it; the loss and the active candidates' weights of the last pass.
    loaded: Vec<(usize, Batch, f64)>,
    passed: Vec<(f64, OpTable<f64>)>,
    unit_outputs: bool,
    losses: Vec<f64>,
    norms: Vec<f64>,
    last: f64,
    /// How often minibatches were loaded.
    pub loads: usize,
}

/// A number in [−1, 1) of some whole numbers.
fn mixed(numbers: [u64; 4]) -> f64 {
    let mut hash = 0x9E37_79B9_7F4A_7C15_u64;
    for number in numbers {
        hash = (hash ^ number).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash ^= hash >> 29;
    }
    (hash >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

impl Affine {
    pub fn new(trials: &[u32], lanes: usize) -> Self {
        let shape = vec![EDGES, CANDIDATES];
        let parameter = Parameter { name: "weights".into(), shape, initial: Initial::Zeros, owner: Owner::Always };
        let trial = |number: &u32| Trial {
            weights: Array2::from_shape_fn((EDGES, CANDIDATES), |(i, j)| {
                mixed([9, u64::from(*number), i as u64, j as u64])
            }),
            velocity: Array2::zeros((EDGES, CANDIDATES)),
            state: 0.0,
            position: 0,
        };
        Self {
            space: SearchSpace::anonymous([CANDIDATES; EDGES]).unwrap(),
            numbers: trials.to_vec(),
            parameters: vec![parameter],
            trials: trials.iter().map(trial).collect(),
            lanes,
            late: 0,
            activity: Activity::All,
            fault: Fault::None,
            loaded: Vec::new(),
            passed: Vec::new(),
            unit_outputs: false,
            losses: Vec::new(),
            norms: Vec::new(),
            last: 0.0,
            loads: 0,
        }
    }

    /// Losses are ready only so many passes later.
    pub fn with_late_losses(self, late: usize) -> Self {
        Self { late, ..self }
    }

    pub fn with_activity(self, activity: Activity) -> Self {
        Self { activity, ..self }
    }

    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    fn place(&self, trial: u32) -> usize {
        self.numbers.iter().position(|number| *number == trial).expect("the harness asks for its trials only")
    }

    fn slope(&self, trial: usize, batch: &Batch, edge: usize, candidate: usize) -> f64 {
        let trial = if self.fault == Fault::FirstTrialsWeights { 0 } else { trial };
        let of_batch =
            [u64::from(batch.trial), batch.set as u64, 1 + batch.step, (edge * CANDIDATES + candidate) as u64];
        self.trials[trial].weights[[edge, candidate]] + mixed(of_batch)
    }

    fn loss(&self, trial: usize, batch: &Batch, state: f64, proposal: &Proposal, without: Option<usize>) -> f64 {
        let next = |edge: usize| if self.fault == Fault::NextEdgeRemoved { (edge + 1) % EDGES } else { edge };
        let without = without.map(next);
        let mut loss = 3.0 + mixed([u64::from(batch.trial), batch.set as u64, 1 + batch.step, 77]) + state;
        for edge in (0..EDGES).filter(|edge| Some(*edge) != without) {
            for (candidate, weight) in proposal.slots(edge) {
                loss += weight * self.slope(trial, batch, edge, candidate);
            }
        }
        loss
    }
}

impl Network for Affine {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn activity(&self) -> Activity {
        self.activity
    }

    fn trials(&self) -> &[u32] {
        &self.numbers
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn saved_parts(&self) -> &'static [Part] {
        &[Part::Value, Part::Velocity]
    }

    fn precision(&self) -> Precision {
        Precision::Double
    }

    fn load(&mut self, requests: &[Request]) -> Result<()> {
        assert!((1..=self.lanes).contains(&requests.len()));
        self.loads += 1;
        self.loaded.clear();
        for request in requests {
            let trial = self.place(request.batch.trial);
            assert!(self.loaded.iter().all(|(other, ..)| *other != trial), "distinct trials");
            // What a text network does: the minibatch is the next one, whatever is asked for.
            let batch = Batch { step: self.trials[trial].position, ..request.batch };
            self.loaded.push((trial, batch, self.trials[trial].state));
        }
        Ok(())
    }

    fn pass(&mut self, requests: &[Request], pass: Pass) -> Result<()> {
        assert_eq!(requests.len(), self.loaded.len());
        self.passed.clear();
        self.unit_outputs = pass.unit_outputs;
        for (lane, (request, (trial, batch, before))) in requests.iter().zip(&self.loaded).enumerate() {
            let carries_on = self.fault == Fault::RemovalsCarryOn && pass.without.is_some();
            let before = if carries_on { self.trials[*trial].state } else { *before };
            let mut loss = self.loss(*trial, batch, before, &request.proposal, pass.without);
            if self.fault == Fault::LastQuestion {
                loss += 1e-9 * self.last;
                self.last = request.proposal.weights()[(0, 0)];
            }
            self.passed.push((loss, request.proposal.weights().clone()));
            if self.fault != Fault::LaneForgotten || lane == 0 || lane + 1 < requests.len() {
                self.losses.push(loss);
            }
        }
        Ok(())
    }

    fn losses(&mut self, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        let late = if fetch == Fetch::Ready { self.late } else { 0 };
        let ready = self.losses.len().saturating_sub(late);
        if self.fault == Fault::LossesReversed {
            self.losses[..ready].reverse();
        }
        losses.extend(self.losses.drain(..ready));
        Ok(())
    }

    fn edge_gradient(&mut self, lane: usize, proposal: &Proposal, gradient: &mut OpTable<f64>) -> Result<()> {
        let (trial, batch, _) = self.loaded[lane];
        let wrong = match self.fault {
            Fault::WrongSign => true,
            Fault::WrongSignOfOne => proposal.activity() == Activity::One,
            _ => false,
        };
        let sign = if wrong { -1.0 } else { 1.0 };
        let unit_outputs = self.unit_outputs && self.fault != Fault::NoUnitOutputs;
        for edge in 0..EDGES {
            for candidate in 0..CANDIDATES {
                gradient[(edge, candidate)] = match proposal.active()[(edge, candidate)] {
                    true => sign * self.slope(trial, &batch, edge, candidate),
                    false => f64::from(u8::from(unit_outputs)),
                };
            }
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        for ((trial, ..), (loss, _)) in self.loaded.iter().zip(&self.passed) {
            let trial = &mut self.trials[*trial];
            trial.state = 0.5 * trial.state + 0.1 * loss;
            trial.position += 1;
        }
        Ok(())
    }

    fn rate(&self, schedule: f64) -> f64 {
        0.1 * (1.0 - schedule)
    }

    fn update(&mut self, rates: &[f64]) -> Result<()> {
        assert_eq!(rates.len(), self.loaded.len());
        self.norms.clear();
        for ((rate, (trial, ..)), (_, gradient)) in rates.iter().zip(&self.loaded).zip(&self.passed) {
            let Trial { weights, velocity, .. } = &mut self.trials[*trial];
            for ((weight, velocity), slope) in weights.iter_mut().zip(velocity).zip(gradient.values()) {
                *velocity = 0.9 * *velocity + slope;
                *weight -= rate * *velocity;
            }
            self.norms.push(gradient.values().iter().map(|slope| slope * slope).sum::<f64>().sqrt());
        }
        Ok(())
    }

    fn gradient_norm(&mut self, lane: usize) -> Result<f64> {
        Ok(self.norms[lane])
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.place(request.batch.trial);
        let state = if self.fault == Fault::EvaluationCarriesOn { self.trials[trial].state } else { 0.0 };
        let batch = Batch { step: 0, ..request.batch };
        let mut loss = self.loss(trial, &batch, state, &request.proposal, None);
        if self.fault == Fault::EvaluationCarriesOn {
            self.trials[trial].state += 0.25;
            loss += state;
        }
        Ok(Evaluation { loss, accuracy: None, count: 4 })
    }

    fn read(&mut self, trial: u32, _parameter: usize, part: Part) -> Result<Entry> {
        let trial = &self.trials[self.place(trial)];
        let array = match part {
            Part::Value => &trial.weights,
            Part::Velocity => &trial.velocity,
            Part::Gradient => {
                return Err(Error::Unsupported { operation: "read the gradient", reason: "it is the proposal" });
            }
        };
        Ok(Entry::F64(array.clone().into_dyn()))
    }

    fn write(&mut self, trial: u32, _parameter: usize, part: Part, values: &Entry) -> Result<()> {
        let place = self.place(trial);
        let Entry::F64(values) = values else { panic!("the harness checks the type") };
        let values = values.view().into_dimensionality::<Ix2>().expect("the harness checks the shape");
        match part {
            Part::Value if self.fault == Fault::RestoredInAllTrials => {
                self.trials.iter_mut().for_each(|trial| trial.weights.assign(&values));
            }
            Part::Value => self.trials[place].weights.assign(&values),
            Part::Velocity if self.fault == Fault::VelocityNotRestored => {}
            Part::Velocity => self.trials[place].velocity.assign(&values),
            Part::Gradient => panic!("nobody writes gradients"),
        }
        Ok(())
    }

    fn save_rest(&mut self, trial: u32, state: &mut State) -> Result<()> {
        let trial = &self.trials[self.place(trial)];
        if self.fault != Fault::StateNotSaved {
            state.insert_f64("state", &[trial.state]);
        }
        state.insert_u64("position", &[trial.position]);
        Ok(())
    }

    fn restore_rest(&mut self, trial: u32, state: &State) -> Result<()> {
        let place = self.place(trial);
        if self.fault == Fault::RestoredInPart {
            self.trials[place].position = state.u64("position", 1)?[0];
        }
        let carried = if self.fault == Fault::StateNotSaved { 0.0 } else { state.f64("state", 1)?[0] };
        let position = state.u64("position", 1)?[0];
        (self.trials[place].state, self.trials[place].position) = (carried, position);
        Ok(())
    }
}

/// A request for the next minibatch of a trial.
pub fn request(trial: u32, set: Set, proposal: &Proposal) -> Request {
    Request { batch: Batch { trial, set, step: 0 }, proposal: proposal.clone() }
}
