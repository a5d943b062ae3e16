//! Algorithm 1 over a fake supernet: the order and kinds of steps, which minibatch and random stream each gets, schedules,
//! snapshots, the process best, pauses, divergence and refusals; a search saved and restored at *every* step goes on bit for
//! bit, also when the losses of weight steps come late; strategies with several proposals per step get all answers.

use crate::common::*;
use advantage_nas::estimator::ZeroRule;
use advantage_nas::random::Streams;
use advantage_nas::search::{Observer, Outcome, Plan, ProcessBest, Saves, Snapshot, ThetaStep};
use advantage_nas::state::State;
use advantage_nas::strategy::{
    AdvantageBaseline, AdvantageKind, AdvantageNas, AdvantageSettings, Answer, Feedback, Proposal, RateSchedule,
    Reinforce, ReinforceSettings, Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set, Supernet};
use advantage_nas::tolerance::{F64_FEW_ROUNDINGS, assert_close};
use advantage_nas::{Architecture, Edge, Error, OpTable, Result, Search, SearchSpace, Shape};
use rand::RngCore;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

/// What happened, in order, as lines of text; shared by the fakes of one search.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

// ---------------------------------------------------------------- fakes

fn space() -> SearchSpace {
    SearchSpace::new(vec![Edge::new("first", ["a", "b", "none"]).with_zero(2), Edge::new("second", ["a", "b"])])
        .unwrap()
}

/// A supernet whose answers depend on the request and, if it trains, on one weight per trial.
struct FakeNet {
    space: SearchSpace,
    weights: Option<BTreeMap<u32, f64>>,
    /// Losses that are prescribed: by trial, set and step.
    losses: BTreeMap<(u32, u8, u64), f64>,
    /// Losses of weight steps that nobody fetched yet, and how many of them are not ready.
    unseen: Vec<f64>,
    late: usize,
    log: Log,
}

impl FakeNet {
    fn new(trains: bool, log: &Log) -> Self {
        let weights = trains.then(BTreeMap::new);
        Self { space: space(), weights, losses: BTreeMap::new(), unseen: Vec::new(), late: 0, log: log.clone() }
    }

    /// Its losses of weight steps are ready only so many steps later.
    fn with_late_losses(mut self, late: usize) -> Self {
        self.late = late;
        self
    }

    fn with_loss(mut self, trial: u32, set: Set, step: u64, loss: f64) -> Self {
        self.losses.insert((trial, set as u8, step), loss);
        self
    }

    fn loss(&self, request: &Request) -> f64 {
        let Batch { trial, set, step } = request.batch;
        if let Some(loss) = self.losses.get(&(trial, set as u8, step)) {
            return *loss;
        }
        let weights = request.proposal.weights();
        let chosen: f64 =
            weights.values().iter().enumerate().map(|(index, weight)| weight * (index + 1) as f64 * 17.0).sum();
        let noise = (u64::from(trial) * 7919 + set as u64 * 101 + step * 31) % 97;
        let trained = self.weights.as_ref().and_then(|weights| weights.get(&trial)).copied().unwrap_or(0.0);
        ((noise as f64 + chosen) % 101.0) / 101.0 + 0.1 * trained
    }
}

fn describe(request: &Request) -> String {
    let Batch { trial, set, step } = request.batch;
    let what = match request.proposal.architecture() {
        Some(architecture) => architecture.to_string(),
        None => "mixture".to_owned(),
    };
    format!("trial {trial} {set:?} {step}: {what}")
}

impl Supernet for FakeNet {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        assert_eq!(requests.len(), feedback.len());
        for (request, feedback) in requests.iter().zip(feedback) {
            self.log.note(format!("probe {}", describe(request)));
            let loss = self.loss(request);
            feedback.begin(request.proposal.want());
            feedback.loss = loss;
            for (index, slope) in feedback.gradient.values_mut().iter_mut().enumerate() {
                *slope = loss - 0.3 * index as f64;
            }
            for (edge, removal) in feedback.removals.iter_mut().enumerate() {
                *removal = 0.5 + 0.1 * edge as f64;
            }
        }
        Ok(())
    }

    fn trains_weights(&self) -> bool {
        self.weights.is_some()
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        let ([step], [request]) = (steps, requests) else { panic!("a search has one trial") };
        self.log.note(format!("train {:?} schedule {:?} {}", step.kind, step.schedule, describe(request)));
        let loss = self.loss(request);
        let weight = self.weights.as_mut().expect("asked only if trained").entry(request.batch.trial).or_default();
        *weight += (1.0 + step.schedule) * (loss - *weight) / 3.0;
        self.unseen.push(loss);
        Ok(())
    }

    fn weight_losses(&mut self, _trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        let late = if fetch == Fetch::Ready { self.late } else { 0 };
        losses.extend(self.unseen.drain(..self.unseen.len().saturating_sub(late)));
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        assert_eq!(request.proposal.want(), Want::Loss);
        self.log.note(format!("evaluate {}", describe(request)));
        Ok(Evaluation { loss: self.loss(request), accuracy: Some(0.25), count: 10 + request.batch.step })
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        let mut state = State::new();
        if let Some(weights) = &self.weights {
            assert!(self.unseen.is_empty(), "a search fetches all losses before it saves");
            state.insert_f64("weight", &[weights.get(&trial).copied().unwrap_or_default()]);
        }
        Ok(state)
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        if let Some(weights) = &mut self.weights {
            self.unseen.clear();
            weights.insert(trial, state.f64("weight", 1)?[0]);
        }
        Ok(())
    }
}

/// A strategy that proposes what it is told (`None` is a mixture), over and over, and whose mode is what it last learned from.
struct Scripted {
    shape: Shape,
    script: Vec<Option<[usize; 2]>>,
    proposed: usize,
    learned: u64,
    mode: Architecture,
    log: Log,
}

impl Scripted {
    fn boxed(script: &[Option<[usize; 2]>], log: &Log) -> Box<dyn Strategy> {
        let shape = space().shape().clone();
        let mode = Architecture::first(&shape);
        Box::new(Self { shape, script: script.to_vec(), proposed: 0, learned: 0, mode, log: log.clone() })
    }
}

impl Strategy for Scripted {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        let Step { kind, progress, schedule } = step;
        self.log.note(format!("propose {kind:?} progress {progress:?} schedule {schedule:?} word {}", rng.next_u32()));
        let told = self.script[self.proposed % self.script.len()];
        self.proposed += 1;
        match told {
            Some(a) => proposal.set_one_hot(&architecture(&self.shape, &a), Want::Loss),
            None => proposal.set_dense(&OpTable::filled(&self.shape, 0.5), Want::Loss),
        }
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let [Answer { proposal, feedback }] = answers else { panic!("one proposal per step") };
        self.log.note(format!("learn {:?} schedule {:?} from {:?}", step.kind, step.schedule, feedback.loss));
        self.learned += 1;
        if let Some(architecture) = proposal.architecture() {
            self.mode = architecture.clone();
        }
        Ok(())
    }

    fn probabilities_into(&self, out: &mut OpTable<f64>) {
        out.fill(self.learned as f64 / 8.0);
    }

    fn mode_into(&self, out: &mut Architecture) {
        *out = self.mode.clone();
    }

    fn entropy(&self) -> f64 {
        self.learned as f64
    }

    fn save(&self) -> State {
        State::new()
    }

    fn restore(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// Notes what it sees; pauses at the positions it is told.
#[derive(Default)]
struct Watcher {
    log: Log,
    pauses: Vec<u64>,
    saved: Vec<State>,
    keep: bool,
}

impl Watcher {
    fn new(log: &Log) -> Self {
        Self { log: log.clone(), ..Self::default() }
    }
}

impl Observer for Watcher {
    fn snapshot(&mut self, seen: &Snapshot<'_>) -> Result<()> {
        let probability = seen.probabilities[(0, 0)];
        self.log.note(format!(
            "snapshot trial {} theta {} weights {} loss {:?} mode {} evaluation {:?}/{} probability {:?} entropy {:?}",
            seen.trial,
            seen.theta_steps,
            seen.weight_steps,
            seen.loss,
            seen.mode,
            seen.evaluation.loss,
            seen.evaluation.count,
            probability,
            seen.entropy
        ));
        Ok(())
    }

    fn theta_step(&mut self, seen: &ThetaStep<'_>) -> Result<()> {
        let ThetaStep { trial, theta_steps, loss, mode } = seen;
        self.log.note(format!("theta step trial {trial} theta {theta_steps} loss {loss:?} mode {mode}"));
        Ok(())
    }

    fn between_steps(&mut self, search: &mut dyn Saves) -> Result<ControlFlow<()>> {
        self.log.note(format!("between {} of {}", search.position(), search.steps()));
        if self.keep {
            self.saved.push(search.save()?);
        }
        Ok(if self.pauses.contains(&search.position()) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

fn plan(warmup: u64, iterations: u64, interval: u64) -> Plan {
    Plan {
        warmup,
        iterations,
        interval,
        weight_steps_per_epoch: 2.0,
        theta_steps_per_epoch: 1.5,
        process_best: ProcessBest::ThetaSteps,
    }
}

// ---------------------------------------------------------------- the order of things

#[test]
fn algorithm_1_step_by_step() {
    // Two warm-up steps, then three rounds of w and θ, a snapshot before every second θ step and at the end. 5 w steps in
    // epochs of 2 are 2.5 epochs, 3 θ steps in epochs of 1.5 are 2. Trial 7 has stream 7 · 2¹⁶, every step its own place.
    let log = Log::default();
    let script = [Some([0, 1]), Some([1, 0]), None, Some([2, 1])];
    let net = FakeNet::new(true, &log)
        .with_loss(7, Set::Validation, 0, 0.5)
        .with_loss(7, Set::Validation, 1, 0.25)
        .with_loss(7, Set::Validation, 2, 0.75)
        .with_loss(7, Set::Test, 0, 4.0)
        .with_loss(7, Set::Test, 2, 5.0)
        .with_loss(7, Set::Test, 3, 6.0);
    let (trial, strategy) = (7, Scripted::boxed(&script, &log));
    let mut search = Search::new(plan(2, 3, 2), Streams::new(11), net, trial, strategy).unwrap();
    assert_eq!((search.position(), search.steps()), (0, 8));
    assert_eq!(search.run(None, &mut Watcher::new(&log)).unwrap(), Outcome::Finished);
    assert_eq!(search.position(), 8);

    let word = |position: u128| chacha::word(11, 7 << 16, position << 20);
    let third = 1.0 / 3.0;
    let expected = [
        format!("propose Warmup progress 0.0 schedule 0.0 word {}", word(0)),
        "train Warmup schedule 0.0 trial 7 Training 0: 0 1".into(),
        "between 1 of 8".into(),
        format!("propose Warmup progress 0.0 schedule 0.0 word {}", word(1)),
        "train Warmup schedule 0.0 trial 7 Training 1: 1 0".into(),
        "between 2 of 8".into(),
        format!("propose Weights progress 0.0 schedule 0.4 word {}", word(2)),
        "train Weights schedule 0.4 trial 7 Training 2: mixture".into(),
        "between 3 of 8".into(),
        "evaluate trial 7 Test 0: 0 0".into(),
        "snapshot trial 7 theta 0 weights 3 loss None mode 0 0 evaluation 4.0/10 probability 0.0 entropy 0.0".into(),
        format!("propose Theta progress 0.0 schedule 0.0 word {}", word(3)),
        "probe trial 7 Validation 0: 2 1".into(),
        "learn Theta schedule 0.0 from 0.5".into(),
        "theta step trial 7 theta 1 loss 0.5 mode 2 1".into(),
        "between 4 of 8".into(),
        format!("propose Weights progress {third:?} schedule 0.4 word {}", word(4)),
        "train Weights schedule 0.4 trial 7 Training 3: 0 1".into(),
        "between 5 of 8".into(),
        format!("propose Theta progress {third:?} schedule 0.0 word {}", word(5)),
        "probe trial 7 Validation 1: 1 0".into(),
        "learn Theta schedule 0.0 from 0.25".into(),
        "theta step trial 7 theta 2 loss 0.25 mode 1 0".into(),
        "between 6 of 8".into(),
        format!("propose Weights progress {:?} schedule 0.8 word {}", 2.0 * third, word(6)),
        "train Weights schedule 0.8 trial 7 Training 4: mixture".into(),
        "between 7 of 8".into(),
        "evaluate trial 7 Test 2: 1 0".into(),
        "snapshot trial 7 theta 2 weights 5 loss Some(0.25) mode 1 0 evaluation 5.0/12 probability 0.25 entropy 2.0"
            .into(),
        format!("propose Theta progress {:?} schedule 0.5 word {}", 2.0 * third, word(7)),
        "probe trial 7 Validation 2: 2 1".into(),
        "learn Theta schedule 0.5 from 0.75".into(),
        "theta step trial 7 theta 3 loss 0.75 mode 2 1".into(),
        "evaluate trial 7 Test 3: 2 1".into(),
        "snapshot trial 7 theta 3 weights 5 loss Some(0.75) mode 2 1 evaluation 6.0/13 probability 0.375 entropy 3.0"
            .into(),
    ];
    assert_eq!(log.lines(), expected);
}

#[test]
fn fixed_weights_leave_theta_steps_only() {
    let log = Log::default();
    let net = FakeNet::new(false, &log)
        .with_loss(0, Set::Validation, 0, 0.5)
        .with_loss(0, Set::Validation, 1, 0.25)
        .with_loss(0, Set::Test, 0, 4.0)
        .with_loss(0, Set::Test, 1, 5.0)
        .with_loss(0, Set::Test, 2, 6.0);
    let (trial, strategy) = (0, Scripted::boxed(&[Some([1, 1])], &log));
    let mut search = Search::new(Plan::theta_only(2, 1), Streams::new(1), net, trial, strategy).unwrap();
    assert_eq!(search.steps(), 2);
    search.run(None, &mut Watcher::new(&log)).unwrap();
    let word = |position: u128| chacha::word(1, 0, position << 20);
    let expected = [
        "evaluate trial 0 Test 0: 0 0".into(),
        "snapshot trial 0 theta 0 weights 0 loss None mode 0 0 evaluation 4.0/10 probability 0.0 entropy 0.0".into(),
        format!("propose Theta progress 0.0 schedule 0.0 word {}", word(0)),
        "probe trial 0 Validation 0: 1 1".into(),
        "learn Theta schedule 0.0 from 0.5".into(),
        "theta step trial 0 theta 1 loss 0.5 mode 1 1".into(),
        "between 1 of 2".into(),
        "evaluate trial 0 Test 1: 1 1".into(),
        "snapshot trial 0 theta 1 weights 0 loss Some(0.5) mode 1 1 evaluation 5.0/11 probability 0.125 entropy 1.0"
            .into(),
        format!("propose Theta progress 0.5 schedule 0.5 word {}", word(1)),
        "probe trial 0 Validation 1: 1 1".into(),
        "learn Theta schedule 0.5 from 0.25".into(),
        "theta step trial 0 theta 2 loss 0.25 mode 1 1".into(),
        "evaluate trial 0 Test 2: 1 1".into(),
        "snapshot trial 0 theta 2 weights 0 loss Some(0.25) mode 1 1 evaluation 6.0/12 probability 0.25 entropy 2.0"
            .into(),
    ];
    assert_eq!(log.lines(), expected);
}

/// Records every step that it is asked to propose for.
struct Recorder {
    shape: Shape,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl Strategy for Recorder {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn propose(&mut self, step: &Step, _rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.steps.lock().unwrap().push(*step);
        proposal.set_one_hot(&Architecture::first(&self.shape), Want::Loss)
    }

    fn learn(&mut self, step: &Step, _answers: &[Answer<'_>]) -> Result<()> {
        assert_eq!(self.steps.lock().unwrap().last(), Some(step), "learns in the step it proposed in");
        Ok(())
    }

    fn probabilities_into(&self, _out: &mut OpTable<f64>) {}

    fn mode_into(&self, _out: &mut Architecture) {}

    fn entropy(&self) -> f64 {
        0.0
    }

    fn save(&self) -> State {
        State::new()
    }

    fn restore(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}

#[test]
fn schedules_count_whole_epochs_of_fractional_length() {
    // 25000 images in minibatches of 64: 390.625 = 3125/8 steps per epoch. Epochs done are counted in whole numbers here,
    // ⌊8 · steps / 3125⌋; all epochs are 8 · total / 3125.
    let steps = Arc::new(Mutex::new(Vec::new()));
    let recorder = Recorder { shape: space().shape().clone(), steps: steps.clone() };
    let (warmup, iterations) = (391, 1172);
    let plan = Plan {
        warmup,
        iterations,
        interval: 1000,
        weight_steps_per_epoch: 390.625,
        theta_steps_per_epoch: 390.625,
        process_best: ProcessBest::AllSteps,
    };
    let net = FakeNet::new(true, &Log::default());
    let mut search = Search::new(plan, Streams::new(0), net, 0, Box::new(recorder)).unwrap();
    assert_eq!(search.steps(), 391 + 2 * 1172);
    search.run(None, &mut ()).unwrap();
    let steps = steps.lock().unwrap();
    assert_eq!(steps.len(), 391 + 2 * 1172);

    let schedule = |done: u64, total: u64| ((8 * done / 3125) as f64 / (8.0 * total as f64 / 3125.0)).min(1.0);
    let mut seen = BTreeMap::<String, usize>::new();
    for (position, step) in steps.iter().enumerate() {
        let position = position as u64;
        let (kind, done, total, theta_done) = if position < warmup {
            (StepKind::Warmup, position, warmup + iterations, 0)
        } else {
            let round = (position - warmup) / 2;
            if (position - warmup).is_multiple_of(2) {
                (StepKind::Weights, warmup + round, warmup + iterations, round)
            } else {
                (StepKind::Theta, round, iterations, round)
            }
        };
        assert_eq!(step.kind, kind);
        assert_close(step.schedule, schedule(done, total), F64_FEW_ROUNDINGS, 0.0);
        assert_close(step.progress, theta_done as f64 / iterations as f64, F64_FEW_ROUNDINGS, 0.0);
        *seen.entry(format!("{kind:?} in epoch {}", 8 * done / 3125)).or_default() += 1;
    }
    // Epochs begin at the steps 0, 391, 782, 1172 and 1563: their lengths alternate.
    let lengths = |kind: &str| -> Vec<usize> {
        (0..4).map(|epoch| seen.get(&format!("{kind} in epoch {epoch}")).copied().unwrap_or(0)).collect()
    };
    assert_eq!(lengths("Warmup"), [391, 0, 0, 0]);
    assert_eq!(lengths("Weights"), [0, 391, 390, 391]);
    assert_eq!(lengths("Theta"), [391, 391, 390, 0]);
}

// ---------------------------------------------------------------- process best

#[test]
fn the_process_best_is_the_smallest_one_hot_loss() {
    // w steps see losses 9, 0.1, 9, 9; θ steps 3, 2 (a mixture), 2.5, 2.5: the best θ step is the third, the tie is lost by
    // the later one; among all steps it is the second w step, after one θ step.
    let script = [
        Some([0, 0]), // w 0
        Some([0, 1]), // θ 0: 3
        Some([1, 0]), // w 1: 0.1
        None,         // θ 1: 2
        Some([1, 1]), // w 2
        Some([2, 0]), // θ 2: 2.5
        None,         // w 3: 0.05
        Some([2, 1]), // θ 3: 2.5
    ];
    let best = |process_best, until| {
        let log = Log::default();
        let mut net = FakeNet::new(true, &log);
        for (step, (training, validation)) in [(9.0, 3.0), (0.1, 2.0), (9.0, 2.5), (0.05, 2.5)].into_iter().enumerate()
        {
            net = net.with_loss(3, Set::Training, step as u64, training);
            net = net.with_loss(3, Set::Validation, step as u64, validation);
        }
        let plan = Plan { process_best, ..plan(0, 4, 9) };
        let (trial, strategy) = (3, Scripted::boxed(&script, &log));
        let mut search = Search::new(plan, Streams::new(0), net, trial, strategy).unwrap();
        search.run(until, &mut ()).unwrap();
        search.best().map(|best| (best.architecture.choices().to_vec(), best.loss, best.theta_steps))
    };
    assert_eq!(best(ProcessBest::ThetaSteps, Some(0)), None);
    assert_eq!(best(ProcessBest::ThetaSteps, Some(1)), None);
    assert_eq!(best(ProcessBest::ThetaSteps, Some(2)), Some((vec![0, 1], 3.0, 0)));
    assert_eq!(best(ProcessBest::ThetaSteps, Some(5)), Some((vec![0, 1], 3.0, 0)));
    assert_eq!(best(ProcessBest::ThetaSteps, None), Some((vec![2, 0], 2.5, 2)));
    assert_eq!(best(ProcessBest::AllSteps, Some(1)), Some((vec![0, 0], 9.0, 0)));
    assert_eq!(best(ProcessBest::AllSteps, Some(2)), Some((vec![0, 1], 3.0, 0)));
    assert_eq!(best(ProcessBest::AllSteps, None), Some((vec![1, 0], 0.1, 1)));
}

// ---------------------------------------------------------------- pauses

#[test]
fn a_search_pauses_where_it_is_told() {
    let log = Log::default();
    let (trial, strategy) = (0, Scripted::boxed(&[Some([1, 1])], &log));
    let mut search = Search::new(plan(1, 3, 1), Streams::new(0), FakeNet::new(true, &log), trial, strategy).unwrap();
    let mut watcher = Watcher::new(&log);
    assert_eq!(search.run(Some(0), &mut watcher).unwrap(), Outcome::Paused);
    assert!(log.lines().is_empty());
    assert_eq!(search.run(Some(3), &mut watcher).unwrap(), Outcome::Paused);
    assert_eq!(search.position(), 3);
    let lines = log.lines().len();
    assert_eq!(search.run(Some(3), &mut watcher).unwrap(), Outcome::Paused, "at once");
    assert_eq!(search.run(Some(1), &mut watcher).unwrap(), Outcome::Paused, "it does not go back");
    assert_eq!((search.position(), log.lines().len()), (3, lines));
    watcher.pauses = vec![5];
    assert_eq!(search.run(None, &mut watcher).unwrap(), Outcome::Paused);
    assert_eq!(search.position(), 5);
    assert_eq!(search.run(Some(1000), &mut watcher).unwrap(), Outcome::Finished);
    assert_eq!(search.position(), 7);
    let lines = log.lines().len();
    assert_eq!(search.run(None, &mut watcher).unwrap(), Outcome::Finished, "nothing is left to do");
    assert_eq!((search.position(), log.lines().len()), (7, lines));
    let between = log.lines().iter().filter(|line| line.starts_with("between")).count();
    assert_eq!(between, 6, "between seven steps");
}

#[test]
fn pausing_at_the_last_step_is_finishing() {
    let log = Log::default();
    let (trial, strategy) = (0, Scripted::boxed(&[Some([1, 1])], &log));
    let mut search =
        Search::new(Plan::theta_only(2, 1), Streams::new(0), FakeNet::new(false, &log), trial, strategy).unwrap();
    assert_eq!(search.run(Some(2), &mut ()).unwrap(), Outcome::Finished);
}

// ---------------------------------------------------------------- state

fn theta() -> ThetaSettings {
    ThetaSettings { learning_rate: 0.3, rate_schedule: RateSchedule::Cosine, ..ThetaSettings::toy() }
}

/// Real strategies: one with a baseline, one with footnote 4 and baselines, one exact.
fn strategy(trial: u32) -> Box<dyn Strategy> {
    let settings = |kind, zero_rule, baseline| AdvantageSettings { kind, zero_rule, decay: 0.9, baseline };
    match trial % 3 {
        0 => {
            Box::new(Reinforce::new(space().shape(), theta(), ReinforceSettings { baseline_decay: Some(0.9) }).unwrap())
        }
        1 => {
            let settings = settings(AdvantageKind::FirstOrder, ZeroRule::WorstOfOthers, AdvantageBaseline::EdgeAverage);
            Box::new(AdvantageNas::new(&space(), theta(), settings).unwrap())
        }
        _ => {
            let settings = settings(AdvantageKind::Exact, ZeroRule::Keep, AdvantageBaseline::None);
            Box::new(AdvantageNas::new(&space(), theta(), settings).unwrap())
        }
    }
}

fn search(trains: bool, trial: u32, log: &Log) -> Search<FakeNet> {
    let plan = if trains {
        Plan { process_best: ProcessBest::AllSteps, ..plan(3, 6, 2) }
    } else {
        Plan { interval: 2, ..Plan::theta_only(9, 2) }
    };
    Search::new(plan, Streams::new(5), FakeNet::new(trains, log), trial, strategy(trial)).unwrap()
}

/// Saves a search at every step, and goes on from each.
fn restore_at_every_step(build: impl Fn(&Log) -> Search<FakeNet>) {
    // The log holds losses, probabilities and entropies with all their digits (Debug of f64 tells all finite values apart).
    let log = Log::default();
    let mut reference = build(&log);
    let mut watcher = Watcher { keep: true, ..Watcher::new(&log) };
    let start = reference.save().unwrap();
    reference.run(None, &mut watcher).unwrap();
    let steps = reference.steps();
    assert_eq!(watcher.saved.len() as u64, steps - 1);
    // The state really changes from step to step.
    assert!(watcher.saved.windows(2).all(|pair| bits(&pair[0]) != bits(&pair[1])));

    for (position, saved) in std::iter::once(&start).chain(&watcher.saved).enumerate() {
        let rest = Log::default();
        let mut resumed = build(&rest);
        // Something else before, so that it can't be right by being fresh.
        resumed.run(Some(4), &mut ()).unwrap();
        resumed.restore(saved).unwrap();
        assert_eq!(resumed.position(), position as u64);
        assert_eq!(bits(&resumed.save().unwrap()), bits(saved));
        rest.0.lock().unwrap().clear();
        resumed.run(None, &mut Watcher::new(&rest)).unwrap();
        let (all, rest) = (log.lines(), rest.lines());
        assert!(!rest.is_empty());
        assert_eq!(all[all.len() - rest.len()..], rest);
        let between = |lines: &[String]| lines.iter().filter(|line| line.starts_with("between")).count();
        assert_eq!(between(&rest) as u64, steps - 1 - position as u64, "nothing was left out");
        assert_eq!(bits(&resumed.save().unwrap()), bits(&reference.save().unwrap()));
        assert_eq!(resumed.best(), reference.best());
    }

    // A finished search is restored as finished.
    let mut finished = build(&Log::default());
    finished.restore(&reference.save().unwrap()).unwrap();
    assert_eq!(finished.run(None, &mut ()).unwrap(), Outcome::Finished);
    assert_eq!(bits(&finished.save().unwrap()), bits(&reference.save().unwrap()));
}

#[test]
fn restored_at_every_step_it_goes_on_bit_for_bit() {
    for trains in [true, false] {
        for trial in [4, 0, 2] {
            restore_at_every_step(|log| search(trains, trial, log));
        }
    }
}

/// A search whose weight steps' losses come so many steps late.
fn late_search(trial: u32, late: usize, log: &Log) -> Search<FakeNet> {
    let plan = Plan { process_best: ProcessBest::AllSteps, ..plan(70, 6, 2) };
    let net = FakeNet::new(true, log).with_late_losses(late);
    Search::new(plan, Streams::new(5), net, trial, strategy(trial)).unwrap()
}

/// When losses of weight steps come is nothing that the search depends on: what is drawn, learned, seen and best is the same, and so is
/// what is saved, at every step.
#[test]
fn losses_may_come_late() {
    for trial in [4, 0, 2] {
        let run = |late| {
            let log = Log::default();
            let mut search = late_search(trial, late, &log);
            let mut watcher = Watcher { keep: true, ..Watcher::new(&log) };
            search.run(None, &mut watcher).unwrap();
            let saved: Vec<_> = watcher.saved.iter().map(bits).collect();
            (log.lines(), saved, search.best().cloned())
        };
        let at_once = run(0);
        assert!(at_once.2.is_some());
        for late in [1, 2, 63, 64, 1000] {
            assert!(run(late) == at_once, "{late} steps late");
        }
    }
    restore_at_every_step(|log| late_search(0, 3, log));
}

/// A loss that is not finite is seen wherever it is, and named with its step, however late it comes: at the latest before the next θ answer, a
/// snapshot or a checkpoint, and never more than 64 steps late.
#[test]
fn a_late_loss_that_is_not_finite_stops_the_search() {
    struct Saving;
    impl Observer for Saving {
        fn snapshot(&mut self, _seen: &Snapshot<'_>) -> Result<()> {
            panic!("the loss comes before the snapshot")
        }
        fn between_steps(&mut self, search: &mut dyn Saves) -> Result<ControlFlow<()>> {
            search.save()?;
            Ok(ControlFlow::Continue(()))
        }
    }
    for (step, position) in [(0, 63), (2, 63), (69, 71), (70, 71)] {
        // 70 warm-up steps, then w 70, θ 0: before θ 0 there is a snapshot. A full list of late losses is fetched after the 64th step.
        let net = || FakeNet::new(true, &Log::default()).with_loss(8, Set::Training, step, f64::NAN);
        let new = |net| {
            let script = Scripted::boxed(&[Some([0, 1])], &Log::default());
            Search::new(plan(70, 3, 1), Streams::new(0), net, 8, script).unwrap()
        };
        let mut search = new(net().with_late_losses(1000));
        let error = search.run(None, &mut ()).unwrap_err();
        assert!(matches!(error, Error::Diverged { trial: 8, position: at, .. } if at == step), "{error}");
        assert_eq!(search.position(), position);
        // A checkpoint sees it at once.
        let mut search = new(net().with_late_losses(1000));
        let error = search.run(None, &mut Saving).unwrap_err();
        assert!(matches!(error, Error::Diverged { trial: 8, position: at, .. } if at == step), "{error}");
        assert_eq!(search.position(), step + 1);
    }
}

/// A supernet that hands over too many losses, or too few when it is asked for all, is an error.
#[test]
fn losses_are_counted() {
    struct Counting(FakeNet, fn(&mut Vec<f64>));
    impl Supernet for Counting {
        fn space(&self) -> &SearchSpace {
            self.0.space()
        }
        fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
            self.0.probe(requests, feedback)
        }
        fn trains_weights(&self) -> bool {
            true
        }
        fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
            self.0.weight_step(steps, requests)
        }
        fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
            self.0.weight_losses(trial, fetch, losses)?;
            self.1(losses);
            Ok(())
        }
        fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
            self.0.evaluate(request)
        }
        fn save(&mut self, trial: u32) -> Result<State> {
            self.0.save(trial)
        }
        fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
            self.0.restore(trial, state)
        }
    }
    let message = |change| {
        let net = Counting(FakeNet::new(true, &Log::default()), change);
        let script = Scripted::boxed(&[Some([0, 1])], &Log::default());
        let mut search = Search::new(plan(1, 2, 1), Streams::new(0), net, 0, script).unwrap();
        search.run(None, &mut ()).unwrap_err().to_string()
    };
    assert_eq!(message(|losses| losses.push(0.0)), "losses of weight steps: expected 1 values, got 2");
    assert_eq!(message(Vec::clear), "losses of weight steps: expected 2 values, got 0");
}

/// Asks about so many architectures on the same minibatch, and learns from all of them.
struct Asking {
    shape: Shape,
    proposals: usize,
    proposed: usize,
    learned: Vec<Vec<(Vec<usize>, f64)>>,
    log: Log,
}

impl Asking {
    fn new(proposals: usize, log: &Log) -> Self {
        Self { shape: space().shape().clone(), proposals, proposed: 0, learned: Vec::new(), log: log.clone() }
    }
}

impl Strategy for Asking {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn proposals_per_step(&self) -> usize {
        self.proposals
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.log.note(format!("propose {:?} word {}", step.kind, rng.next_u32()));
        self.proposed += 1;
        proposal.set_one_hot(&architecture(&self.shape, &[self.proposed % 3, self.proposed % 2]), Want::Loss)
    }

    fn learn(&mut self, _step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let of =
            |answer: &Answer<'_>| (answer.proposal.architecture().unwrap().choices().to_vec(), answer.feedback.loss);
        self.learned.push(answers.iter().map(of).collect());
        self.log.note(format!("learn {:?}", self.learned.last().unwrap()));
        Ok(())
    }

    fn probabilities_into(&self, _out: &mut OpTable<f64>) {}

    fn mode_into(&self, _out: &mut Architecture) {}

    fn entropy(&self) -> f64 {
        0.0
    }

    fn save(&self) -> State {
        State::new()
    }

    fn restore(&mut self, _state: &State) -> Result<()> {
        Ok(())
    }
}

/// Two proposals of a θ step are drawn one after the other from the step's stream, asked on the same minibatch in one call, and learned from
/// together; the loss of the step is their mean, and both compete for the process best. Weight steps have one.
#[test]
fn all_proposals_of_a_step_are_answered_and_learned_from() {
    let log = Log::default();
    let strategy = Asking::new(2, &log);
    let net = FakeNet::new(true, &log);
    let (first, second) = (request([2, 0], 0), request([0, 1], 0));
    let mut search = Search::new(plan(0, 2, 5), Streams::new(3), net, 6, Box::new(strategy)).unwrap();
    search.run(Some(2), &mut Watcher::new(&log)).unwrap();
    let weight = search.save().unwrap().f64("supernet/trial-6/weight", 1).unwrap()[0];
    let mut reference = FakeNet::new(true, &Log::default());
    reference.weights = Some(BTreeMap::from([(6, weight)]));
    let losses = [&first, &second].map(|request| reference.loss(request));
    let word = |position: u128, word: u128| crate::common::chacha::word(3, 6 << 16, (position << 20) + word);
    let lines = log.lines();
    let expected = [
        format!("propose Theta word {}", word(1, 0)),
        format!("propose Theta word {}", word(1, 1)),
        "probe trial 6 Validation 0: 2 0".into(),
        "probe trial 6 Validation 0: 0 1".into(),
        format!("learn {:?}", [(vec![2, 0], losses[0]), (vec![0, 1], losses[1])]),
        format!("theta step trial 6 theta 1 loss {:?} mode 0 0", (losses[0] + losses[1]) / 2.0),
    ];
    let begin = lines.iter().position(|line| line.starts_with("propose Theta")).unwrap();
    assert_eq!(lines[begin..begin + expected.len()], expected);
    assert_eq!(lines.iter().filter(|line| line.starts_with("propose Weights")).count(), 1);
    assert_eq!(search.best().unwrap().loss, losses[0].min(losses[1]));
    // Asked for its next step, it names both.
    let (_, requests, _) = search.ask(StepKind::Theta).unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].batch, requests[1].batch);
}

fn request(choices: [usize; 2], step: u64) -> Request {
    let space = space();
    let proposal = Proposal::one_hot(space.shape(), &architecture(space.shape(), &choices), Want::Loss).unwrap();
    Request { batch: Batch { trial: 6, set: Set::Validation, step }, proposal }
}

/// What a search asks at its end is what its next step would have asked; of the other kind, it is the other set's next minibatch at
/// the other kind's place in the schedules.
#[test]
fn a_search_asks_for_its_next_step() {
    for trains in [true, false] {
        let log = Log::default();
        let mut reference = search(trains, 4, &log);
        let steps = reference.steps();
        for position in 0..steps {
            let mut asked = search(trains, 4, &Log::default());
            asked.run(Some(position), &mut ()).unwrap();
            log.0.lock().unwrap().clear();
            reference.run(Some(position + 1), &mut ()).unwrap();
            let done: Vec<String> =
                log.lines().into_iter().filter(|line| line.starts_with("probe") || line.starts_with("train")).collect();
            let kind = match done[0].split(' ').nth(1).unwrap() {
                "Warmup" => StepKind::Warmup,
                "Weights" => StepKind::Weights,
                _ => StepKind::Theta,
            };
            let (step, requests, _) = asked.ask(kind).unwrap();
            assert_eq!(step.kind, kind);
            let expected = requests.iter().map(|request| match kind {
                StepKind::Theta => format!("probe {}", describe(request)),
                _ => format!("train {:?} schedule {:?} {}", step.kind, step.schedule, describe(request)),
            });
            assert_eq!(done, expected.collect::<Vec<_>>());
        }
    }
    let mut warm = search(true, 4, &Log::default());
    warm.run(Some(2), &mut ()).unwrap();
    let (step, requests, _) = warm.ask(StepKind::Theta).unwrap();
    assert_eq!(step, Step { kind: StepKind::Theta, progress: 0.0, schedule: 0.0 });
    assert_eq!(requests[0].batch, Batch { trial: 4, set: Set::Validation, step: 0 });
}

#[test]
fn the_seed_and_the_trial_decide_what_is_drawn() {
    let drawn = |seed: u64, trial: u32| {
        let log = Log::default();
        let reinforce = Reinforce::new(space().shape(), theta(), ReinforceSettings { baseline_decay: None }).unwrap();
        let plan = Plan::theta_only(30, 100);
        let net = FakeNet::new(false, &log);
        let mut search = Search::new(plan, Streams::new(seed), net, trial, Box::new(reinforce)).unwrap();
        search.run(None, &mut ()).unwrap();
        let lines = log.lines().into_iter().filter(|line| line.starts_with("probe"));
        lines.map(|line| line.rsplit(": ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(drawn(1, 0), drawn(1, 0));
    assert_ne!(drawn(1, 0), drawn(2, 0));
    assert_ne!(drawn(1, 0), drawn(1, 1));
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let log = Log::default();
    let mut full = search(true, 0, &log);
    full.run(None, &mut ()).unwrap();
    let saved = full.save().unwrap();
    let refuse =
        |state: &State, trial: u32| search(true, trial, &Log::default()).restore(state).unwrap_err().to_string();
    assert_eq!(refuse(&State::new(), 0), "saved state, \"position\": is missing");
    assert!(refuse(&saved, 1).contains("is missing"));
    let mut late = saved.clone();
    late.insert_u64("position", &[16]);
    assert_eq!(refuse(&late, 0), "saved state, \"position\": is 16, the search has 15 steps");
    let mut outside = saved.clone();
    outside.insert_u64("trial-000/best.architecture", &[0, 2]);
    let message = refuse(&outside, 0);
    assert!(message.starts_with("saved state, \"best.architecture\": edge 1 has no candidate 2"), "{message}");
    let mut short = saved.clone();
    short.insert_f64("trial-000/strategy/theta/logits", &[1.0]);
    assert_eq!(refuse(&short, 0), "saved state, \"logits\": has 1 values, expected 5");
    // What was saved does fit.
    search(true, 0, &log).restore(&saved).unwrap();
}

// ---------------------------------------------------------------- what goes wrong

#[test]
fn a_loss_that_is_not_finite_stops_the_search() {
    for loss in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        // One warm-up step is step 0; then w 1, θ 0, w 2, θ 1 are the steps 1 to 4.
        for (set, step, position) in [(Set::Training, 2, 3), (Set::Validation, 1, 4), (Set::Training, 0, 0)] {
            let log = Log::default();
            let net = FakeNet::new(true, &log).with_loss(8, set, step, loss);
            let (trial, strategy) = (8, Scripted::boxed(&[Some([0, 1])], &log));
            let mut search = Search::new(plan(1, 3, 1), Streams::new(0), net, trial, strategy).unwrap();
            let error = search.run(None, &mut ()).unwrap_err();
            match &error {
                Error::Diverged { trial: 8, position: at, loss: got } => {
                    assert_eq!((*at, got.to_bits()), (position, loss.to_bits()));
                }
                other => panic!("{other}"),
            }
            let message = format!("trial 8: the loss at step {position} is {loss}, the search has diverged");
            assert_eq!(error.to_string(), message);
            assert_eq!(search.position(), position, "the step was not done");
        }
    }
}

#[test]
fn errors_of_observers_stop_the_search() {
    struct Full(&'static str);
    impl Observer for Full {
        fn snapshot(&mut self, _seen: &Snapshot<'_>) -> Result<()> {
            if self.0 == "snapshot" { Err(Error::other("the disk is full")) } else { Ok(()) }
        }
        fn theta_step(&mut self, _seen: &ThetaStep<'_>) -> Result<()> {
            if self.0 == "theta step" { Err(Error::other("the disk is full")) } else { Ok(()) }
        }
        fn between_steps(&mut self, _search: &mut dyn Saves) -> Result<ControlFlow<()>> {
            if self.0 == "between" { Err(Error::other("the disk is full")) } else { Ok(ControlFlow::Continue(())) }
        }
    }
    for (place, position) in [("snapshot", 1), ("theta step", 1), ("between", 1)] {
        let log = Log::default();
        let (trial, strategy) = (0, Scripted::boxed(&[Some([0, 1])], &log));
        let mut search =
            Search::new(plan(0, 2, 1), Streams::new(0), FakeNet::new(true, &log), trial, strategy).unwrap();
        let error = search.run(None, &mut Full(place)).unwrap_err();
        assert_eq!((error.to_string().as_str(), search.position()), ("the disk is full", position), "{place}");
    }
}

#[test]
fn impossible_searches_are_refused() {
    let refuse = |plan: Plan, trains: bool| {
        let log = Log::default();
        let strategy = Scripted::boxed(&[Some([0, 0])], &log);
        Search::new(plan, Streams::new(0), FakeNet::new(trains, &log), 0, strategy).err().expect("refused").to_string()
    };
    let good = plan(1, 2, 1);
    assert_eq!(refuse(Plan { iterations: 0, ..good }, true), "the number of iterations must be at least 1, got 0");
    assert_eq!(refuse(Plan { interval: 0, ..good }, true), "the log interval must be at least 1, got 0");
    for length in [0.0, 0.5, -2.0, f64::NAN, f64::INFINITY] {
        let expected = |which| format!("{which} steps per epoch must be finite and at least 1, got {length}");
        assert_eq!(refuse(Plan { weight_steps_per_epoch: length, ..good }, true), expected("weight"));
        assert_eq!(refuse(Plan { theta_steps_per_epoch: length, ..good }, true), expected("theta"));
    }
    assert_eq!(refuse(good, false), "the supernet can't warm up: the weights of this network are fixed");

    let silent = Box::new(Asking::new(0, &Log::default()));
    let net = FakeNet::new(true, &Log::default());
    let error = Search::new(good, Streams::new(0), net, 0, silent).err().expect("refused");
    assert_eq!(error.to_string(), "the number of proposals of a step must be at least 1, got 0");

    let other = SearchSpace::anonymous([2, 3]).unwrap();
    let settings = ReinforceSettings { baseline_decay: None };
    let strategy = Reinforce::new(other.shape(), theta(), settings).unwrap();
    let net = FakeNet::new(true, &Log::default());
    let error = Search::new(good, Streams::new(0), net, 0, Box::new(strategy)).err().expect("refused");
    let message = "the strategy's search space: candidates per edge differ, expected [3, 2], got [2, 3]";
    assert_eq!(error.to_string(), message);
}

#[test]
fn a_supernet_with_fixed_weights_refuses_to_train_them() {
    struct Fixed(SearchSpace);
    impl Supernet for Fixed {
        fn space(&self) -> &SearchSpace {
            &self.0
        }
        fn probe(&mut self, _requests: &[Request], _feedback: &mut [Feedback]) -> Result<()> {
            Err(Error::Unsupported { operation: "answer", reason: "it is broken" })
        }
        fn evaluate(&mut self, _request: &Request) -> Result<Evaluation> {
            Ok(Evaluation { loss: 0.0, accuracy: None, count: 1 })
        }
        fn save(&mut self, _trial: u32) -> Result<State> {
            Ok(State::new())
        }
        fn restore(&mut self, _trial: u32, _state: &State) -> Result<()> {
            Ok(())
        }
    }
    let mut net = Fixed(space());
    assert!(!net.trains_weights());
    let batch = Batch { trial: 0, set: Set::Training, step: 0 };
    let request = Request { batch, proposal: Proposal::new(space().shape()) };
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
    let error = net.weight_step(&[step], &[request]).unwrap_err();
    assert_eq!(error.to_string(), "the supernet can't update the weights: they are fixed in this network");
    // And what a supernet reports reaches the caller.
    let (trial, strategy) = (0, Scripted::boxed(&[Some([0, 0])], &Log::default()));
    let mut search = Search::new(Plan::theta_only(1, 1), Streams::new(0), net, trial, strategy).unwrap();
    assert_eq!(search.run(None, &mut ()).unwrap_err().to_string(), "the supernet can't answer: it is broken");
}
