//! Training of one architecture: order of the steps, schedule, reports, pauses.

use std::ops::ControlFlow;

use advantage_nas::search::{Outcome, Saves};
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Step, StepKind};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set};
use advantage_nas::training::{Observer, Plan, Report, Training};
use advantage_nas::{Architecture, Error, Result, SearchSpace, Supernet};

/// A network with one weight `w`: the loss of minibatch `t` is `w + t`, and an update takes the learning rate from `w`.
struct Line {
    space: SearchSpace,
    weight: f64,
    seen: Vec<(Step, Request)>,
    /// Losses that nobody fetched yet, and how many of them are not ready.
    unseen: Vec<f64>,
    late: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            space: SearchSpace::anonymous([2, 3]).unwrap(),
            weight: 10.0,
            seen: Vec::new(),
            unseen: Vec::new(),
            late: 0,
        }
    }
}

impl Supernet for Line {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, _requests: &[Request], _feedback: &mut [Feedback]) -> Result<()> {
        panic!("a training asks for no feedback")
    }

    fn trains_weights(&self) -> bool {
        true
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        let ([step], [request]) = (steps, requests) else { panic!("a training has one trial") };
        self.seen.push((*step, request.clone()));
        let loss = self.weight + request.batch.step as f64;
        self.weight -= 1.0 - step.schedule;
        self.unseen.push(loss);
        Ok(())
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        assert_eq!(trial, self.seen[0].1.batch.trial);
        let late = if fetch == Fetch::Ready { self.late } else { 0 };
        losses.extend(self.unseen.drain(..self.unseen.len().saturating_sub(late)));
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let sign = match request.batch.set {
            Set::Validation => 1.0,
            Set::Test => -1.0,
            Set::Training => panic!("nobody asked for the training set"),
        };
        Ok(Evaluation { loss: sign * self.weight, accuracy: None, count: 7 })
    }

    fn save(&mut self, _trial: u32) -> Result<State> {
        assert!(self.unseen.is_empty(), "all losses are fetched before a training is saved");
        let mut state = State::new();
        state.insert_f64("weight", &[self.weight]);
        Ok(state)
    }

    fn restore(&mut self, _trial: u32, state: &State) -> Result<()> {
        self.unseen.clear();
        self.weight = state.f64("weight", 1)?[0];
        Ok(())
    }
}

fn plan() -> Plan {
    Plan { steps: 7, interval: 3, steps_per_epoch: 2.5 }
}

fn training() -> Training<Line> {
    let architecture = Architecture::new(Line::new().space.shape(), vec![1, 2]).unwrap();
    Training::new(plan(), Line::new(), 4, &architecture).unwrap()
}

/// Keeps the reports, and pauses after some steps.
#[derive(Default)]
struct Notes {
    reports: Vec<(u64, f64, Option<f64>, f64)>,
    pause_after: Option<u64>,
}

impl Observer for Notes {
    fn report(&mut self, report: &Report) -> Result<()> {
        assert_eq!((report.trial, report.evaluation.count), (4, 7));
        self.reports.push((report.steps, report.schedule, report.loss, report.evaluation.loss));
        Ok(())
    }

    fn between_steps(&mut self, training: &mut dyn Saves) -> Result<ControlFlow<()>> {
        assert_eq!(training.steps(), 7);
        let pause = self.pause_after == Some(training.position());
        Ok(if pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }
}

#[test]
fn steps_and_reports() {
    let mut training = training();
    let mut notes = Notes::default();
    assert_eq!(training.run(None, &mut notes).unwrap(), Outcome::Finished);
    // 2.8 epochs of 2.5 steps each: step 3 is the first of the second epoch, step 5 of the third.
    let schedules = [0.0, 0.0, 0.0, 1.0 / 2.8, 1.0 / 2.8, 2.0 / 2.8, 2.0 / 2.8];
    let mut weight = 10.0;
    let mut weights = vec![weight];
    for (index, (step, request)) in training.supernet().seen.iter().enumerate() {
        assert_eq!(*step, Step { kind: StepKind::Weights, progress: 0.0, schedule: schedules[index] });
        assert_eq!(request.batch, Batch { trial: 4, set: Set::Training, step: index as u64 });
        assert_eq!(request.proposal.architecture().unwrap().choices(), [1, 2]);
        weight -= 1.0 - schedules[index];
        weights.push(weight);
    }
    assert_eq!(training.supernet().seen.len(), 7);
    // Before steps 0, 3 and 6 and at the end; losses are means of w + t since the report before.
    let mean = |from: usize, to: usize| {
        let sum: f64 = (from..to).map(|step| weights[step] + step as f64).sum();
        Some(sum / (to - from) as f64)
    };
    let expected = [
        (0, 0.0, None, weights[0]),
        (3, 1.0 / 2.8, mean(0, 3), weights[3]),
        (6, 2.0 / 2.8, mean(3, 6), weights[6]),
        (7, 2.0 / 2.8, mean(6, 7), weights[7]),
    ];
    assert_eq!(notes.reports, expected);
    assert_eq!(training.evaluate(Set::Test).unwrap().loss, -weights[7]);
    assert_eq!(training.architecture().choices(), [1, 2]);
}

/// When the losses come changes neither reports nor what is saved, at whatever step; one that is not finite is named with its step.
#[test]
fn losses_may_come_late() {
    let run = |late: usize, until: Option<u64>| {
        let mut training = training();
        training.supernet_mut().late = late;
        let mut notes = Notes::default();
        training.run(until, &mut notes).unwrap();
        (notes.reports, training.save().unwrap())
    };
    for until in (0..7).map(Some).chain([None]) {
        for late in [1, 2, 100] {
            assert_eq!(run(late, until), run(0, until));
        }
    }
    let mut training = training();
    training.supernet_mut().late = 100;
    training.run(Some(1), &mut ()).unwrap();
    training.supernet_mut().weight = f64::NAN;
    let error = training.run(None, &mut ()).unwrap_err();
    assert!(matches!(error, Error::Diverged { trial: 4, position: 1, .. }), "{error}");
    assert_eq!(training.position(), 3, "seen at the next report");
}

#[test]
fn a_pause_changes_nothing() {
    let mut whole = training();
    let mut expected = Notes::default();
    whole.run(None, &mut expected).unwrap();
    for pause in 1..7 {
        let mut notes = Notes { pause_after: Some(pause), ..Notes::default() };
        let mut first = training();
        assert_eq!(first.run(None, &mut notes).unwrap(), Outcome::Paused);
        assert_eq!(first.position(), pause);
        let mut second = training();
        second.restore(&first.save().unwrap()).unwrap();
        // Also by a step limit, one that is passed already included.
        assert_eq!(second.run(Some(pause), &mut notes).unwrap(), Outcome::Paused);
        assert_eq!(second.run(Some(7), &mut notes).unwrap(), Outcome::Finished);
        assert_eq!(notes.reports, expected.reports, "paused after {pause}");
        assert_eq!(second.save().unwrap(), whole.save().unwrap());
    }
}

#[test]
fn nonsense_is_rejected() {
    let architecture = Architecture::first(Line::new().space.shape());
    let with = |plan: Plan| Training::new(plan, Line::new(), 0, &architecture).err().map(|error| error.to_string());
    assert_eq!(with(plan()), None);
    for (plan, part) in [
        (Plan { steps: 0, ..plan() }, "the number of steps"),
        (Plan { interval: 0, ..plan() }, "the log interval"),
        (Plan { steps_per_epoch: 0.5, ..plan() }, "steps per epoch"),
        (Plan { steps_per_epoch: f64::NAN, ..plan() }, "steps per epoch"),
    ] {
        let message = with(plan).unwrap();
        assert!(message.contains(part) && message.contains("at least 1"), "{message}");
    }
    let foreign = Architecture::first(SearchSpace::anonymous([2]).unwrap().shape());
    assert!(Training::new(plan(), Line::new(), 0, &foreign).is_err());
    let mut training = training();
    let mut state = training.save().unwrap();
    state.insert_u64("position", &[8]);
    let message = training.restore(&state).unwrap_err().to_string();
    assert!(message.contains("is 8, the training has 7 steps"), "{message}");

    /// Its weights are fixed.
    struct Fixed(Line);
    impl Supernet for Fixed {
        fn space(&self) -> &SearchSpace {
            self.0.space()
        }
        fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
            self.0.probe(requests, feedback)
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
    let fixed = Training::new(plan(), Fixed(Line::new()), 0, &architecture).err().unwrap();
    assert!(matches!(fixed, Error::Unsupported { operation: "train an architecture", .. }));
}

#[test]
fn a_loss_that_is_not_finite_ends_it() {
    let mut training = training();
    training.supernet_mut().weight = f64::NAN;
    let message = training.run(None, &mut ()).unwrap_err().to_string();
    assert!(matches!(training.advance(&mut ()), Err(Error::Diverged { trial: 4, position: 0, .. })), "{message}");
}
