//! Every implemented strategy against an independent derivation on a tiny space: what it proposes, the first updates of `θ`
//! from given losses with a softmax and an Adam of the test's own, state that goes on bit for bit, and what is refused.

use crate::common::*;
use advantage_nas::estimator::ZeroRule;
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{
    AdvantageBaseline, AdvantageKind, AdvantageNas, AdvantageSettings, Answer, Feedback, Method, MethodSettings,
    Proposal, RateSchedule, Reinforce, ReinforceSettings, Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::tolerance::{F64_SUMS, assert_all_close};
use advantage_nas::{Architecture, Edge, Error, OpTable, SearchSpace, Shape};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// Two edges; candidate 2 of the first is the zero operation.
fn space() -> SearchSpace {
    SearchSpace::new(vec![Edge::new("first", ["a", "b", "none"]).with_zero(2), Edge::new("second", ["a", "b"])])
        .unwrap()
}

fn step(schedule: f64) -> Step {
    Step { kind: StepKind::Theta, progress: 0.0, schedule }
}

/// What the fake network measures in one step.
#[derive(Clone, Debug)]
struct Measured {
    a: [usize; 2],
    loss: f64,
    /// `∂loss/∂a`.
    slopes: Rows<f64>,
    removals: [f64; 2],
    schedule: f64,
}

/// A dozen steps that draw every candidate, the zero operation at its first and at later times, with losses of both orders.
fn measurements() -> Vec<Measured> {
    let draws = [[0, 1], [2, 0], [1, 1], [2, 1], [0, 0], [1, 0], [2, 1], [0, 1], [2, 0], [1, 1], [1, 0], [2, 0]];
    draws
        .into_iter()
        .enumerate()
        .map(|(t, a)| {
            let x = t as f64;
            let slope = |edge: usize, j: usize| ((7 * t + 3 * edge + 5 * j) % 11) as f64 / 4.0 - 1.2;
            let mut slopes =
                vec![(0..3).map(|j| slope(0, j)).collect::<Vec<_>>(), (0..2).map(|j| slope(1, j)).collect()];
            let mut removals = [0.9 - 0.05 * x, 0.4 + 0.03 * x * x];
            let loss = 0.7 + 0.3 * (x - 5.0) / (x + 1.0);
            // The zero operation: removing it changes nothing, and its output has no slope.
            slopes[0][2] = 0.0;
            // The second candidate harms, so that the worst of the others is below zero once it was drawn.
            slopes[0][1] = 0.4 + 0.1 * (t % 4) as f64;
            if a[0] == 1 {
                removals[0] = loss - 0.5 + 0.02 * x;
            }
            if a[0] == 2 {
                removals[0] = loss;
            }
            Measured { a, loss, slopes, removals, schedule: x / 12.0 }
        })
        .collect()
}

fn feedback(measured: &Measured, want: Want) -> Feedback {
    let mut feedback = Feedback::new(space().shape());
    feedback.begin(want);
    feedback.loss = measured.loss;
    match want {
        Want::Loss => {}
        Want::Removals => feedback.removals.copy_from_slice(&measured.removals),
        _ => feedback.gradient = table(&measured.slopes),
    }
    feedback
}

/// The settings of `θ` that the tests go through: plain, with weight decay, with a clip that bites, with the cosine, with all.
fn theta_settings() -> Vec<ThetaSettings> {
    let plain = ThetaSettings { learning_rate: 0.05, ..ThetaSettings::toy() };
    let decay = ThetaSettings { weight_decay: 0.3, ..plain };
    let clip = ThetaSettings { clip_norm: Some(0.02), epsilon: 1e-3, ..plain };
    let cosine = ThetaSettings { rate_schedule: RateSchedule::Cosine, ..plain };
    let all = ThetaSettings { clip_norm: Some(0.2), rate_schedule: RateSchedule::Cosine, epsilon: 0.1, ..decay };
    let betas = ThetaSettings { beta1: 0.5, beta2: 0.9, ..plain };
    vec![plain, decay, clip, cosine, all, betas]
}

/// `weight_i (a_i − μ_i)`
fn scores(plain: &PlainTheta, weights: [f64; 2], a: [usize; 2]) -> Rows<f64> {
    let score = |edge: usize, mu: &[f64]| -> Vec<f64> {
        mu.iter().enumerate().map(|(j, mu)| weights[edge] * if j == a[edge] { 1.0 - mu } else { -mu }).collect()
    };
    plain.mu().iter().enumerate().map(|(edge, mu)| score(edge, mu)).collect()
}

/// Feeds all measurements to a strategy and compares `θ` with the plain one after every step. `weights` says what multiplies
/// the score of each edge.
fn follow<S: Strategy>(
    mut strategy: S,
    settings: ThetaSettings,
    want: Want,
    logits: impl Fn(&S) -> Vec<f64>,
    mut weights: impl FnMut(&Measured) -> [f64; 2],
) {
    let mut plain = PlainTheta::new(&[3, 2], settings);
    let shape = space().shape().clone();
    for (t, measured) in measurements().iter().enumerate() {
        let proposal = Proposal::one_hot(&shape, &architecture(&shape, &measured.a), want).unwrap();
        strategy.learn(&step(measured.schedule), &[Answer::new(&proposal, &feedback(measured, want))]).unwrap();
        plain.ascend(&scores(&plain, weights(measured), measured.a), measured.schedule);
        let expected: Vec<f64> = plain.theta.iter().flatten().copied().collect();
        assert_all_close(&logits(&strategy), &expected, F64_SUMS, F64_SUMS);
        assert!(t > 0 || logits(&strategy).iter().all(|value| value.is_finite()));
        // What observers see is this policy.
        let mut seen = OpTable::filled(&shape, 9.0);
        strategy.probabilities_into(&mut seen);
        let mu: Vec<f64> = plain.theta.iter().flat_map(|row| softmax(row)).collect();
        assert_all_close(seen.values(), &mu, F64_SUMS, 0.0);
        let entropy: f64 = mu.iter().map(|p| -p * p.ln()).sum();
        assert_all_close(&[strategy.entropy()], &[entropy], F64_SUMS, 0.0);
    }
    assert!(plain.theta.iter().flatten().any(|value| (value - 1.0).abs() > 1e-3), "nothing was learned");
}

fn reinforce(settings: ThetaSettings, baseline_decay: Option<f64>) -> Reinforce {
    Reinforce::new(space().shape(), settings, ReinforceSettings { baseline_decay }).unwrap()
}

fn advantage(settings: ThetaSettings, kind: AdvantageKind, zero_rule: ZeroRule, baseline: bool) -> AdvantageNas {
    let baseline = if baseline { AdvantageBaseline::EdgeAverage } else { AdvantageBaseline::None };
    AdvantageNas::new(&space(), settings, AdvantageSettings { kind, zero_rule, decay: 0.8, baseline }).unwrap()
}

// ---------------------------------------------------------------- updates

#[test]
fn reinforce_without_baseline_follows_eq_4() {
    for settings in theta_settings() {
        let logits = |s: &Reinforce| s.theta().policy().logits().values().to_vec();
        follow(reinforce(settings, None), settings, Want::Loss, logits, |measured| [-measured.loss; 2]);
    }
}

#[test]
fn reinforce_with_baseline_subtracts_the_average_of_the_past() {
    for settings in theta_settings() {
        let logits = |s: &Reinforce| s.theta().policy().logits().values().to_vec();
        let mut past: Vec<f64> = Vec::new();
        follow(reinforce(settings, Some(0.8)), settings, Want::Loss, logits, |measured| {
            let reward = -measured.loss;
            // y = new at first, then 0.2 new + 0.8 y; the first evaluation has nothing to be compared with: weight 0.
            let baseline = past.iter().copied().reduce(|y, new| 0.2 * new + 0.8 * y);
            past.push(reward);
            [reward - baseline.unwrap_or(reward); 2]
        });
    }
}

#[test]
fn the_first_evaluation_only_starts_the_baseline() {
    let settings = ThetaSettings::toy();
    let shape = space().shape().clone();
    let mut strategy = reinforce(settings, Some(0.8));
    let before = strategy.theta().policy().logits().clone();
    let measured = &measurements()[0];
    let proposal = Proposal::one_hot(&shape, &architecture(&shape, &measured.a), Want::Loss).unwrap();
    strategy.learn(&step(0.0), &[Answer::new(&proposal, &feedback(measured, Want::Loss))]).unwrap();
    assert_eq!(strategy.theta().policy().logits(), &before);
    assert!(strategy.estimate().values().iter().all(|value| *value == 0.0));
    // The same reward again: still nothing. A better one: the drawn candidates rise, the others fall.
    strategy.learn(&step(0.0), &[Answer::new(&proposal, &feedback(measured, Want::Loss))]).unwrap();
    assert_eq!(strategy.theta().policy().logits(), &before);
    let better = Measured { loss: measured.loss - 1.0, ..measured.clone() };
    strategy.learn(&step(0.0), &[Answer::new(&proposal, &feedback(&better, Want::Loss))]).unwrap();
    for (edge, &drawn) in measured.a.iter().enumerate() {
        for j in 0..shape.candidates(edge) {
            let rose = strategy.theta().policy().logits()[(edge, j)] > before[(edge, j)];
            assert_eq!(rose, j == drawn, "edge {edge}, candidate {j}");
        }
    }
}

/// What footnote 4 makes of the first edge's advantage, from the history of its raw advantages per candidate.
fn zero_advantage(rule: ZeroRule, history: &[Vec<f64>; 3], raw: f64) -> f64 {
    let average = |values: &Vec<f64>| values.iter().copied().reduce(|y, new| (1.0 - 0.8) * new + 0.8 * y);
    let others = [average(&history[0]), average(&history[1])];
    let seen = others.iter().flatten().copied().reduce(f64::min);
    match rule {
        ZeroRule::Keep => raw,
        ZeroRule::WorstOfOthers => seen.unwrap_or(0.0),
        ZeroRule::WorstOfAll => seen.unwrap_or(0.0).min(0.0),
    }
}

fn follow_advantage(kind: AdvantageKind, rule: ZeroRule, with_baseline: bool) {
    let want = if kind == AdvantageKind::FirstOrder { Want::Gradient } else { Want::Removals };
    for settings in theta_settings() {
        let mut history: [Vec<f64>; 3] = Default::default();
        let mut past: [Vec<f64>; 2] = Default::default();
        let mut replaced = 0;
        let logits = |s: &AdvantageNas| s.theta().policy().logits().values().to_vec();
        follow(advantage(settings, kind, rule, with_baseline), settings, want, logits, |measured| {
            // Eq. (7): −∂loss/∂a at the drawn candidate. Eq. (6): r(a) − r(s_i, 0) = removed loss − loss.
            let mut values = [0, 1].map(|edge| match kind {
                AdvantageKind::FirstOrder => -measured.slopes[edge][measured.a[edge]],
                AdvantageKind::Exact => measured.removals[edge] - measured.loss,
            });
            history[measured.a[0]].push(values[0]);
            if measured.a[0] == 2 {
                let new = zero_advantage(rule, &history, values[0]);
                replaced += usize::from(new != values[0]);
                values[0] = new;
            }
            if with_baseline {
                for (value, past) in values.iter_mut().zip(&mut past) {
                    let baseline = past.iter().copied().reduce(|y, new| (1.0 - 0.8) * new + 0.8 * y);
                    past.push(*value);
                    *value -= baseline.unwrap_or(*value);
                }
            }
            values
        });
        assert_eq!(replaced > 0, rule != ZeroRule::Keep, "{rule:?} must matter in this test");
    }
}

#[test]
fn first_order_advantage_follows_eq_7() {
    follow_advantage(AdvantageKind::FirstOrder, ZeroRule::Keep, false);
}

#[test]
fn exact_advantage_follows_eq_6() {
    follow_advantage(AdvantageKind::Exact, ZeroRule::Keep, false);
}

#[test]
fn footnote_4_replaces_the_advantage_of_the_zero_operation() {
    for kind in [AdvantageKind::FirstOrder, AdvantageKind::Exact] {
        follow_advantage(kind, ZeroRule::WorstOfOthers, false);
        follow_advantage(kind, ZeroRule::WorstOfAll, false);
    }
}

#[test]
fn every_edge_subtracts_the_average_of_its_own_past() {
    for kind in [AdvantageKind::FirstOrder, AdvantageKind::Exact] {
        for rule in [ZeroRule::Keep, ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll] {
            follow_advantage(kind, rule, true);
        }
    }
}

#[test]
fn the_first_update_by_hand() {
    // μ is uniform up to the lead, so the estimates are known to 10⁻⁶: slopes −0.6 and 0.3 at the drawn candidates are
    // advantages 0.6 and −0.3; δ = 0.6 (2/3, −1/3, −1/3) and −0.3 (−1/2, 1/2). Adam's first step is the rate times the sign.
    let shape = space().shape().clone();
    let settings = ThetaSettings { learning_rate: 0.25, ..ThetaSettings::toy() };
    let mut strategy = advantage(settings, AdvantageKind::FirstOrder, ZeroRule::WorstOfOthers, false);
    let drawn = architecture(&shape, &[0, 1]);
    let mut answer = Feedback::new(&shape);
    answer.begin(Want::Gradient);
    answer.gradient = table(&[vec![-0.6, 100.0, 100.0], vec![100.0, 0.3]]);
    let proposal = Proposal::one_hot(&shape, &drawn, Want::Gradient).unwrap();
    strategy.learn(&step(0.0), &[Answer::new(&proposal, &answer)]).unwrap();
    assert_eq!(strategy.advantages(), [0.6, -0.3]);
    // The lead shifts μ by less than 10⁻⁶.
    assert_all_close(strategy.estimate().values(), &[0.4, -0.2, -0.2, 0.15, -0.15], 0.0, 1e-6);
    // ε = 10⁻⁸ beside slopes of at least 0.15 shortens the step by 10⁻⁷ of it.
    let expected = [1.25 + 1e-6, 0.75, 0.75, 1.25 + 1e-6, 0.75];
    assert_all_close(strategy.theta().policy().logits().values(), &expected, 0.0, 1e-7);
    let mut mode = Architecture::first(&shape);
    strategy.mode_into(&mut mode);
    assert_eq!(mode.choices(), [0, 0]);
}

// ---------------------------------------------------------------- proposals

fn all_strategies(settings: ThetaSettings) -> Vec<(Box<dyn Strategy>, Want)> {
    let mut all: Vec<(Box<dyn Strategy>, Want)> =
        vec![(Box::new(reinforce(settings, None)), Want::Loss), (Box::new(reinforce(settings, Some(0.8))), Want::Loss)];
    for rule in [ZeroRule::Keep, ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll] {
        for baseline in [false, true] {
            all.push((Box::new(advantage(settings, AdvantageKind::FirstOrder, rule, baseline)), Want::Gradient));
            all.push((Box::new(advantage(settings, AdvantageKind::Exact, rule, baseline)), Want::Removals));
        }
    }
    all
}

#[test]
fn proposals_are_one_hot_with_one_active_candidate() {
    let shape = space().shape().clone();
    for kind in [StepKind::Warmup, StepKind::Weights, StepKind::Theta] {
        for (mut strategy, want) in all_strategies(ThetaSettings::toy()) {
            assert_eq!(strategy.shape(), &shape);
            // The proposal held something else before: all candidates active at fractional weights.
            let mut proposal = Proposal::new(&shape);
            proposal.set_dense(&OpTable::filled(&shape, 0.5), Want::GradientWithUnitOutputs).unwrap();
            let mut seen = std::collections::BTreeSet::new();
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            for _ in 0..200 {
                strategy.propose(&Step { kind, progress: 0.0, schedule: 0.0 }, &mut rng, &mut proposal).unwrap();
                let drawn = proposal.architecture().expect("one-hot").clone();
                for edge in 0..2 {
                    for j in 0..shape.candidates(edge) {
                        let is = drawn.choice(edge) == j;
                        assert_eq!(proposal.active()[(edge, j)], is);
                        assert_eq!(proposal.weights()[(edge, j)], f64::from(u8::from(is)));
                    }
                }
                assert_eq!(proposal.want(), want);
                seen.insert(drawn.choices().to_vec());
            }
            // All six architectures: the chance to miss one in 200 draws of a uniform policy is below 6 (5/6)²⁰⁰ < 10⁻¹⁵.
            assert_eq!(seen.len(), 6);
        }
    }
}

#[test]
fn the_same_stream_draws_the_same_proposals() {
    for (mut strategy, _) in all_strategies(ThetaSettings::toy()) {
        let mut policy_draws = ChaCha8Rng::seed_from_u64(6);
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let mut proposal = Proposal::new(space().shape());
        let policy = advantage_nas::Policy::initial(space().shape());
        for _ in 0..20 {
            strategy.propose(&step(0.0), &mut rng, &mut proposal).unwrap();
            assert_eq!(proposal.architecture(), Some(&policy.sample(&mut policy_draws)));
        }
    }
}

// ---------------------------------------------------------------- state

#[test]
fn a_restored_strategy_goes_on_bit_for_bit() {
    let shape = space().shape().clone();
    let measured = measurements();
    for settings in theta_settings() {
        for index in 0..all_strategies(settings).len() {
            let new = || all_strategies(settings).swap_remove(index);
            // Draws with its own stream per step, learns from the measurement, and returns what it drew.
            let run = |strategy: &mut dyn Strategy, want: Want, steps: std::ops::Range<usize>| -> Vec<Architecture> {
                steps
                    .map(|t| {
                        let mut rng = ChaCha8Rng::seed_from_u64(t as u64);
                        let mut proposal = Proposal::new(&shape);
                        strategy.propose(&step(measured[t].schedule), &mut rng, &mut proposal).unwrap();
                        strategy
                            .learn(
                                &step(measured[t].schedule),
                                &[Answer::new(&proposal, &feedback(&measured[t], want))],
                            )
                            .unwrap();
                        proposal.architecture().unwrap().clone()
                    })
                    .collect()
            };
            let (mut reference, want) = new();
            let drawn = run(&mut *reference, want, 0..12);
            for cut in 0..=12 {
                let (mut first, _) = new();
                run(&mut *first, want, 0..cut);
                let saved = first.save();
                let (mut second, _) = new();
                // Something else before the restore, so that it can't be right by being fresh.
                run(&mut *second, want, 3..5);
                second.restore(&saved).unwrap();
                assert_eq!(second.save(), saved);
                assert_eq!(run(&mut *second, want, cut..12), drawn[cut..]);
                assert_eq!(bits(&second.save()), bits(&reference.save()));
            }
        }
    }
}

#[test]
fn states_of_other_strategies_are_refused() {
    for (mut strategy, _) in all_strategies(ThetaSettings::toy()) {
        assert!(matches!(strategy.restore(&State::new()), Err(Error::State { .. })));
    }
    let larger = SearchSpace::anonymous([3, 3]).unwrap();
    let other =
        Reinforce::new(larger.shape(), ThetaSettings::toy(), ReinforceSettings { baseline_decay: None }).unwrap();
    let error = reinforce(ThetaSettings::toy(), None).restore(&other.save()).unwrap_err();
    assert_eq!(error.to_string(), "saved state, \"logits\": has 6 values, expected 5");
    let without = reinforce(ThetaSettings::toy(), None).save();
    let error = reinforce(ThetaSettings::toy(), Some(0.9)).restore(&without).unwrap_err();
    assert_eq!(error.to_string(), "saved state, \"baseline.present\": is missing");
}

// ---------------------------------------------------------------- what is refused

/// The methods that this file is about.
const METHODS: [Method; 4] = [Method::Reinforce, Method::ReinforcePlain, Method::AdvantageNas, Method::AdvantageExact];

#[test]
fn feedback_of_another_kind_is_refused_and_changes_nothing() {
    let shape = space().shape().clone();
    let wants = [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals];
    for (mut strategy, want) in all_strategies(ThetaSettings::toy()) {
        let before = strategy.save();
        let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), want).unwrap();
        for answered in wants.into_iter().filter(|answered| *answered != want) {
            let error = strategy
                .learn(&step(0.0), &[Answer::new(&proposal, &feedback(&measurements()[0], answered))])
                .unwrap_err();
            assert!(
                matches!(error, Error::Feedback { needed, got, .. } if needed == want.name() && got == answered.name())
            );
        }
        // An answer to a mixture.
        let mut mixture = Proposal::new(&shape);
        mixture.set_dense(&OpTable::filled(&shape, 0.5), want).unwrap();
        let error =
            strategy.learn(&step(0.0), &[Answer::new(&mixture, &feedback(&measurements()[0], want))]).unwrap_err();
        assert!(matches!(error, Error::Feedback { needed: "a one-hot proposal", got: "a mixture", .. }), "{error}");
        // An answer over another space.
        let other = Shape::new([2, 2]).unwrap();
        let mut wrong = Feedback::new(&other);
        wrong.begin(want);
        let error = strategy.learn(&step(0.0), &[Answer::new(&proposal, &wrong)]).unwrap_err();
        assert!(matches!(error, Error::Shape { .. }), "{error}");
        let mut wrong = Feedback::new(&shape);
        wrong.begin(want);
        wrong.removals.pop();
        let error = strategy.learn(&step(0.0), &[Answer::new(&proposal, &wrong)]).unwrap_err();
        assert!(matches!(error, Error::Length { expected: 2, got: 1, .. }), "{error}");
        assert_eq!(strategy.save(), before);
    }
}

#[test]
fn theta_that_leaves_the_numbers_is_an_error() {
    let shape = space().shape().clone();
    for (mut strategy, want) in all_strategies(ThetaSettings::toy()) {
        let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), want).unwrap();
        let mut bad = feedback(&measurements()[0], want);
        bad.loss = f64::NAN;
        bad.gradient.fill(f64::NAN);
        // Where a baseline starts with NaN, NaN − NaN is NaN as well.
        let first = strategy.learn(&step(0.0), &[Answer::new(&proposal, &bad)]);
        let error = first.and_then(|()| strategy.learn(&step(0.0), &[Answer::new(&proposal, &bad)])).unwrap_err();
        assert!(matches!(error, Error::NotFinite { what: "logits", .. }), "{error}");
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let toy = ThetaSettings::toy();
    let bad = [
        (
            ThetaSettings { learning_rate: -1.0, ..toy },
            "the learning rate of theta must be finite and at least 0, got -1",
        ),
        (
            ThetaSettings { learning_rate: f64::NAN, ..toy },
            "the learning rate of theta must be finite and at least 0, got NaN",
        ),
        (
            ThetaSettings { weight_decay: f64::INFINITY, ..toy },
            "the weight decay of theta must be finite and at least 0, got inf",
        ),
        (ThetaSettings { beta1: 1.0, ..toy }, "Adam's first beta must be at least 0 and below 1, got 1"),
        (ThetaSettings { beta2: -0.5, ..toy }, "Adam's second beta must be at least 0 and below 1, got -0.5"),
        (ThetaSettings { epsilon: -1.0, ..toy }, "Adam's epsilon must be finite and at least 0, got -1"),
        (ThetaSettings { clip_norm: Some(0.0), ..toy }, "the limit of theta's gradient norm must be positive, got 0"),
        (
            ThetaSettings { clip_norm: Some(f64::NAN), ..toy },
            "the limit of theta's gradient norm must be positive, got NaN",
        ),
    ];
    for (theta, message) in bad {
        for method in METHODS {
            let error = build(method, &MethodSettings { theta, ..MethodSettings::toy() }).err().unwrap();
            assert_eq!(error.to_string(), message);
        }
    }
    for average_decay in [1.0, -0.1, f64::NAN] {
        for method in METHODS {
            let built = build(method, &MethodSettings { average_decay, ..MethodSettings::toy() });
            // Plain REINFORCE has no average.
            assert_eq!(built.is_ok(), method == Method::ReinforcePlain, "{method}");
        }
    }
}

fn build(method: Method, settings: &MethodSettings) -> advantage_nas::Result<Box<dyn Strategy>> {
    method.build(&space(), settings, &Streams::new(0), 0)
}

#[test]
fn methods_are_built_by_name() {
    let settings = MethodSettings { baseline: true, zero_rule: ZeroRule::WorstOfAll, ..MethodSettings::toy() };
    let names: Vec<&str> = Method::ALL.into_iter().map(Method::name).collect();
    for (name, expected) in
        ["reinforce", "reinforce-plain", "advantage-nas", "advantage-exact"].into_iter().zip(METHODS)
    {
        assert!(names.contains(&name));
        let method: Method = name.parse().unwrap();
        assert_eq!(method, expected);
        assert_eq!(method.to_string(), name);
        let mut strategy = build(method, &settings).unwrap();
        let mut proposal = Proposal::new(space().shape());
        strategy.propose(&step(0.0), &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
        let want = match method {
            Method::AdvantageNas => Want::Gradient,
            Method::AdvantageExact => Want::Removals,
            _ => Want::Loss,
        };
        assert_eq!(proposal.want(), want);
        let saved: Vec<String> = strategy.save().iter().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(saved.contains(&"baseline".to_owned()), method == Method::Reinforce);
        let advantage = matches!(method, Method::AdvantageNas | Method::AdvantageExact);
        assert_eq!(saved.contains(&"baselines".to_owned()), advantage);
        assert_eq!(saved.contains(&"zero_averages".to_owned()), advantage);
    }
    let error = "magic".parse::<Method>().unwrap_err().to_string();
    assert_eq!(error, format!("unknown method \"magic\", known are: {}", names.join(", ")));
}
