//! What holds for every method: built by name, it goes on bit for bit from a saved state, alone and inside a search; states that
//! do not fit, answers of another kind or another space, and settings outside their range are errors that change nothing.

use crate::common::*;
use advantage_nas::random::Streams;
use advantage_nas::search::{Observer, Plan, ProcessBest, Saves, Snapshot};
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{
    Answer, EnasSettings, Feedback, GdasSettings, Method, MethodSettings, ParsecSettings, Proposal, RateSchedule,
    SnasSettings, Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::supernet::{Evaluation, Fetch, Request, Supernet};
use advantage_nas::{Edge, Error, OpTable, Result, Search, SearchSpace, Shape};
use ndarray::Array1;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn space() -> SearchSpace {
    let edges = vec![
        Edge::new("first", ["a", "b", "none"]).with_zero(2),
        Edge::new("second", ["a", "b"]),
        Edge::new("third", ["a", "b", "c", "d"]),
    ];
    SearchSpace::new(edges).unwrap()
}

fn settings() -> MethodSettings {
    let theta = ThetaSettings {
        learning_rate: 0.1,
        weight_decay: 0.01,
        clip_norm: Some(1.0),
        rate_schedule: RateSchedule::Cosine,
        ..ThetaSettings::toy()
    };
    let enas = EnasSettings { units: 4, learning_rate: 0.05, ..EnasSettings::default() };
    MethodSettings { theta, parsec: ParsecSettings { samples: 3 }, enas, ..MethodSettings::toy() }
}

fn build(method: Method, trial: u32) -> Box<dyn Strategy> {
    method.build(&space(), &settings(), &Streams::new(11), trial).unwrap()
}

fn step_at(t: u64, of: u64) -> Step {
    Step { kind: StepKind::Theta, progress: t as f64 / of as f64, schedule: t as f64 / of as f64 }
}

/// A loss with its slopes and removals, made up from the weights and a number.
fn answer_into(proposal: &Proposal, t: u64, feedback: &mut Feedback) {
    feedback.begin(proposal.want());
    let weights = proposal.weights().values();
    let mixed: f64 = weights.iter().enumerate().map(|(index, weight)| weight * (index as f64 * 2.3).sin()).sum();
    feedback.loss = mixed + 0.2 * (t as f64 * 1.9).cos();
    let units = proposal.want() == Want::GradientWithUnitOutputs;
    let active = proposal.active().values().to_vec();
    for (index, slope) in feedback.gradient.values_mut().iter_mut().enumerate() {
        if active[index] || units {
            *slope = (t as f64 * 0.7 + index as f64 * 2.3).sin() * (1.0 + mixed * mixed);
        }
    }
    for (edge, removal) in feedback.removals.iter_mut().enumerate() {
        *removal = feedback.loss + (t as f64 + edge as f64).sin();
    }
}

/// θ steps, each with its own stream; returns what was proposed.
fn run(strategy: &mut dyn Strategy, steps: std::ops::Range<u64>) -> Vec<Proposal> {
    let mut feedback = Feedback::new(strategy.shape());
    steps
        .map(|t| {
            let mut proposal = Proposal::new(strategy.shape());
            strategy.propose(&step_at(t, 12), &mut ChaCha8Rng::seed_from_u64(t), &mut proposal).unwrap();
            answer_into(&proposal, t, &mut feedback);
            strategy.learn(&step_at(t, 12), &[Answer::new(&proposal, &feedback)]).unwrap();
            proposal
        })
        .collect()
}

// ---------------------------------------------------------------- saved and restored

#[test]
fn a_restored_strategy_goes_on_bit_for_bit() {
    for method in Method::ALL {
        let mut reference = build(method, 0);
        let proposals = run(&mut *reference, 0..12);
        assert_ne!(bits(&reference.save()), bits(&build(method, 0).save()), "{method} learns");
        for cut in 0..=12 {
            let mut first = build(method, 0);
            run(&mut *first, 0..cut);
            let saved = first.save();
            // Another trial's, and something else before the restore: it can't be right by being fresh.
            let mut second = build(method, 1);
            run(&mut *second, 3..8);
            second.restore(&saved).unwrap();
            assert_eq!(bits(&second.save()), bits(&saved), "{method} at {cut}");
            let went_on = run(&mut *second, cut..12);
            assert!(went_on == proposals[cut as usize..], "{method} at {cut}: other proposals");
            assert_eq!(bits(&second.save()), bits(&reference.save()), "{method} at {cut}");
            let seen = |strategy: &dyn Strategy| {
                let mut probabilities = OpTable::filled(strategy.shape(), 0.0);
                strategy.probabilities_into(&mut probabilities);
                let entropy = strategy.entropy().to_bits();
                (probabilities.values().iter().map(|p| p.to_bits()).collect::<Vec<_>>(), entropy)
            };
            assert_eq!(seen(&*second), seen(&*reference), "{method} at {cut}");
        }
    }
}

/// A network with one weight, which its weight steps move.
struct FakeNet {
    space: SearchSpace,
    weight: f64,
    unseen: Vec<f64>,
}

impl FakeNet {
    fn new() -> Self {
        Self { space: space(), weight: 0.5, unseen: Vec::new() }
    }
}

impl Supernet for FakeNet {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        for (request, feedback) in requests.iter().zip(feedback) {
            answer_into(&request.proposal, request.batch.step + 100 * u64::from(request.batch.trial), feedback);
            feedback.loss += self.weight;
        }
        Ok(())
    }

    fn trains_weights(&self) -> bool {
        true
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        let ([step], [request]) = (steps, requests) else { panic!("a search has one trial") };
        let mut feedback = Feedback::new(self.space.shape());
        answer_into(&request.proposal, request.batch.step, &mut feedback);
        self.weight = 0.9 * self.weight + 0.1 * (1.0 - step.schedule) * feedback.loss;
        self.unseen.push(feedback.loss);
        Ok(())
    }

    fn weight_losses(&mut self, _trial: u32, _fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        losses.append(&mut self.unseen);
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let mut feedback = Feedback::new(self.space.shape());
        answer_into(&request.proposal, request.batch.step, &mut feedback);
        Ok(Evaluation { loss: feedback.loss + self.weight, accuracy: None, count: 1 })
    }

    fn save(&mut self, _trial: u32) -> Result<State> {
        let mut state = State::new();
        state.insert_f64("weight", &[self.weight]);
        Ok(state)
    }

    fn restore(&mut self, _trial: u32, state: &State) -> Result<()> {
        self.weight = state.f64("weight", 1)?[0];
        Ok(())
    }
}

/// Keeps the snapshots as text; every digit of a number is in it.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Result<()> {
        self.0.push(format!("{snapshot:?}"));
        Ok(())
    }
}

fn search(method: Method, trial: u32) -> Search<FakeNet> {
    let plan = Plan {
        warmup: 3,
        iterations: 8,
        interval: 2,
        weight_steps_per_epoch: 2.0,
        theta_steps_per_epoch: 2.0,
        process_best: ProcessBest::ThetaSteps,
    };
    Search::new(plan, Streams::new(11), FakeNet::new(), trial, build(method, trial)).unwrap()
}

#[test]
fn a_restored_search_goes_on_bit_for_bit() {
    for (method, trial) in Method::ALL.into_iter().flat_map(|method| [(method, 0), (method, 1)]) {
        let mut reference = search(method, trial);
        let mut notes = Notes::default();
        reference.run(None, &mut notes).unwrap();
        assert_eq!(reference.steps(), 19);
        let (end, best) = (bits(&reference.save().unwrap()), reference.best().cloned());
        for cut in 0..=19 {
            let mut first = search(method, trial);
            let mut before = Notes::default();
            first.run(Some(cut), &mut before).unwrap();
            let mut second = search(method, trial);
            second.run(Some(9), &mut Notes::default()).unwrap();
            second.restore(&first.save().unwrap()).unwrap();
            second.run(None, &mut before).unwrap();
            assert_eq!(before.0, notes.0, "{method} at {cut}");
            assert_eq!(bits(&second.save().unwrap()), end, "{method} at {cut}");
            assert_eq!(second.best().cloned(), best, "{method} at {cut}");
        }
        let mixes = matches!(method, Method::ProxylessNas | Method::Darts | Method::Snas);
        assert_eq!(best.is_none(), mixes, "{method}: only one-hot architectures can be the process best");
    }
}

// ---------------------------------------------------------------- states that do not fit

/// Every entry of a state is needed, in its type, its length and as finite logits; a refused state changes nothing.
#[test]
fn broken_states_are_errors_and_change_nothing() {
    for method in Method::ALL {
        let mut source = build(method, 0);
        run(&mut *source, 0..7);
        let saved = source.save();
        let mut strategy = build(method, 0);
        run(&mut *strategy, 2..4);
        let before = bits(&strategy.save());
        let mut refuse = |broken: &State, why: String| {
            let error = strategy.restore(broken).expect_err(&why);
            assert!(matches!(error, Error::State { .. }), "{why}: {error}");
            assert_eq!(bits(&strategy.save()), before, "{why}");
        };
        let mut names = Vec::new();
        for (name, entry) in saved.iter() {
            names.push(name.to_owned());
            let mut without = State::new();
            for (other, entry) in saved.iter().filter(|(other, _)| *other != name) {
                without.insert(other, entry.clone());
            }
            refuse(&without, format!("{method} without {name}"));
            let mut longer = without.clone();
            let one_more: Entry = match entry {
                Entry::F64(array) => array.iter().copied().chain([0.0]).collect::<Array1<_>>().into(),
                Entry::F32(array) => array.iter().copied().chain([0.0]).collect::<Array1<_>>().into(),
                Entry::U64(array) => array.iter().copied().chain([0]).collect::<Array1<_>>().into(),
            };
            longer.insert(name, one_more);
            refuse(&longer, format!("{method} with a longer {name}"));
            let mut other = without.clone();
            other.insert(name, Array1::<f32>::zeros(0));
            refuse(&other, format!("{method} with another type of {name}"));
        }
        let parameters = if method == Method::Enas { "controller" } else { "theta/logits" };
        assert!(names.iter().any(|name| name == parameters), "{method}: {names:?}");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for last in [false, true] {
                let mut broken = saved.clone();
                let length = saved.get(parameters).unwrap().shape()[0];
                let mut values = saved.f64(parameters, length).unwrap().to_vec();
                values[if last { length - 1 } else { 0 }] = bad;
                broken.insert_f64(parameters, &values);
                refuse(&broken, format!("{method} with {bad}"));
            }
        }
        strategy.restore(&saved).unwrap();
        assert_eq!(bits(&strategy.save()), bits(&saved));
    }
}

#[test]
fn the_message_names_the_logit_that_is_not_finite() {
    let mut strategy = build(Method::Darts, 0);
    let mut saved = strategy.save();
    let mut logits = saved.f64("theta/logits", 9).unwrap().to_vec();
    logits[4] = f64::NAN;
    saved.insert_f64("theta/logits", &logits);
    let error = strategy.restore(&saved).unwrap_err();
    assert_eq!(error.to_string(), "saved state, \"logits\": value 4 is NaN, expected a finite number");
}

// ---------------------------------------------------------------- answers that do not fit

#[test]
fn answers_of_another_kind_or_space_are_errors_and_change_nothing() {
    let wants = [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals];
    for method in Method::ALL {
        let mut strategy = build(method, 0);
        run(&mut *strategy, 0..4);
        let (step, shape) = (step_at(4, 12), strategy.shape().clone());
        let mut proposal = Proposal::new(&shape);
        strategy.propose(&step, &mut ChaCha8Rng::seed_from_u64(4), &mut proposal).unwrap();
        let before = bits(&strategy.save());
        let mut feedback = Feedback::new(&shape);
        answer_into(&proposal, 4, &mut feedback);
        for answered in wants.into_iter().filter(|answered| *answered != proposal.want()) {
            let wrong = Feedback { answered, ..feedback.clone() };
            let error = strategy.learn(&step, &[Answer::new(&proposal, &wrong)]).unwrap_err();
            let (needed_name, got_name) = (proposal.want().name(), answered.name());
            assert!(
                matches!(error, Error::Feedback { needed, got, .. } if needed == needed_name && got == got_name),
                "{method}: {error}"
            );
        }
        let other = Shape::new([3, 2, 5]).unwrap();
        let wrong = Feedback { gradient: OpTable::filled(&other, 0.0), ..feedback.clone() };
        let error = strategy.learn(&step, &[Answer::new(&proposal, &wrong)]).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{method}: {error}");
        let wrong = Feedback { removals: vec![0.0; 2], ..feedback.clone() };
        let error = strategy.learn(&step, &[Answer::new(&proposal, &wrong)]).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{method}: {error}");
        // A proposal of another space, with the right answer to the wrong question.
        let first = architecture(&other, &[0, 0, 0]);
        let wrong = Proposal::one_hot(&other, &first, proposal.want()).unwrap();
        let error = strategy.learn(&step, &[Answer::new(&wrong, &feedback)]).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{method}: {error}");
        // A mixture, where the method needs one architecture or a pair.
        let mut mixture = Proposal::new(&shape);
        mixture.set_dense(&OpTable::filled(&shape, 0.5), proposal.want()).unwrap();
        let refused = strategy.learn(&step, &[Answer::new(&mixture, &feedback)]);
        if !matches!(method, Method::Darts | Method::Snas) {
            let error = refused.unwrap_err();
            assert!(matches!(error, Error::Feedback { .. }), "{method}: {error}");
            assert_eq!(bits(&strategy.save()), before, "{method}");
        }
        strategy.learn(&step, &[Answer::new(&proposal, &feedback)]).unwrap();
    }
}

// ---------------------------------------------------------------- settings

/// The message of the first method that refuses; the others build.
fn refusal(settings: &MethodSettings, methods: &[Method]) -> String {
    let mut message = None;
    for method in Method::ALL {
        match method.build(&space(), settings, &Streams::new(0), 0) {
            Ok(_) => assert!(!methods.contains(&method), "{method} builds"),
            Err(error) => {
                assert!(methods.contains(&method), "{method}: {error}");
                assert!(matches!(error, Error::Setting { .. }), "{method}: {error}");
                assert!(message.is_none_or(|other| other == error.to_string()), "{method}: {error}");
                message = Some(error.to_string());
            }
        }
    }
    message.expect("someone refuses")
}

#[test]
fn settings_outside_their_range_are_named() {
    let good = MethodSettings::toy();
    let gdas = |first_temperature, last_temperature| MethodSettings {
        gdas: GdasSettings { first_temperature, last_temperature },
        ..good
    };
    let snas = |lowest_temperature| MethodSettings { snas: SnasSettings { lowest_temperature }, ..good };
    let enas = |enas: EnasSettings| MethodSettings { enas, ..good };
    for samples in [0, usize::MAX] {
        let bad = MethodSettings { parsec: ParsecSettings { samples }, ..good };
        assert_eq!(
            refusal(&bad, &[Method::Parsec]),
            format!("the number of samples of PARSEC must be from 1 to 1000000, got {samples}")
        );
    }
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let must = |name: &str| format!("{name} must be positive and finite, got {bad}");
        assert_eq!(refusal(&gdas(bad, 0.1), &[Method::Gdas]), must("the first temperature of GDAS"));
        assert_eq!(refusal(&gdas(10.0, bad), &[Method::Gdas]), must("the last temperature of GDAS"));
        assert_eq!(refusal(&snas(bad), &[Method::Snas]), must("the lowest temperature of SNAS"));
        let must = |name: &str| format!("the {name} of the controller must be finite and positive, got {bad}");
        let temperature = enas(EnasSettings { temperature: bad, ..good.enas });
        assert_eq!(refusal(&temperature, &[Method::Enas]), must("temperature"));
        let constant = enas(EnasSettings { tanh_constant: bad, ..good.enas });
        assert_eq!(refusal(&constant, &[Method::Enas]), must("tanh constant"));
    }
    for units in [0, usize::MAX] {
        assert_eq!(
            refusal(&enas(EnasSettings { units, ..good.enas }), &[Method::Enas]),
            format!("the number of LSTM units must be from 1 to 4096, got {units}")
        );
    }
    for bad in [-0.1, f64::NAN, f64::INFINITY] {
        let must = |name: &str| format!("the {name} of the controller must be finite and at least 0, got {bad}");
        let range = enas(EnasSettings { initial_range: bad, ..good.enas });
        assert_eq!(refusal(&range, &[Method::Enas]), must("initial range"));
        let bonus = enas(EnasSettings { entropy_weight: bad, ..good.enas });
        assert_eq!(refusal(&bonus, &[Method::Enas]), must("entropy weight"));
        let rate = enas(EnasSettings { learning_rate: bad, ..good.enas });
        assert_eq!(refusal(&rate, &[Method::Enas]), must("learning rate"));
        let epsilon = enas(EnasSettings { epsilon: bad, ..good.enas });
        assert_eq!(
            refusal(&epsilon, &[Method::Enas]),
            format!("Adam's epsilon must be finite and at least 0, got {bad}")
        );
    }
    for bad in [1.0, -0.5, f64::NAN] {
        let must = |name: &str| format!("{name} must be at least 0 and below 1, got {bad}");
        let beta = enas(EnasSettings { beta1: bad, ..good.enas });
        assert_eq!(refusal(&beta, &[Method::Enas]), must("Adam's first beta"));
        let beta = enas(EnasSettings { beta2: bad, ..good.enas });
        assert_eq!(refusal(&beta, &[Method::Enas]), must("Adam's second beta"));
        let decay = enas(EnasSettings { baseline_decay: bad, ..good.enas });
        assert!(
            refusal(&decay, &[Method::Enas]).starts_with("decay of a moving average must be at least 0 and below 1")
        );
        let decay = MethodSettings { average_decay: bad, ..good };
        let averaging = [Method::Reinforce, Method::AdvantageNas, Method::AdvantageExact, Method::AdvantageOptimal];
        assert!(refusal(&decay, &averaging).starts_with("decay of a moving average must be at least 0 and below 1"));
    }
    // θ's settings are all methods' but ENAS's.
    let product: Vec<Method> = Method::ALL.into_iter().filter(|method| *method != Method::Enas).collect();
    let theta = MethodSettings { theta: ThetaSettings { learning_rate: f64::NAN, ..good.theta }, ..good };
    assert_eq!(refusal(&theta, &product), "the learning rate of theta must be finite and at least 0, got NaN");
}
