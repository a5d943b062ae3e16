//! Table 1 of the paper, the data in `strategy::table1`, against what the methods do: how many candidates a proposal
//! activates and whether that depends on how many there are, the form of the weights and their sum (claim C1), whether random
//! numbers are drawn, what is asked for; the proposals of weight steps and of the warm-up; and that every method has its row.

use crate::common::*;
use advantage_nas::random::Streams;
use advantage_nas::strategy::table1::{Hotness, Propagation, Row, TABLE_1};
use advantage_nas::strategy::{
    Answer, Feedback, Method, MethodSettings, Nasp, ProductStrategy, Proposal, Step, StepKind, Strategy, ThetaSettings,
    Want,
};
use advantage_nas::tolerance::{F64_SUMS, assert_close};
use advantage_nas::{Architecture, SearchSpace};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A generator that counts the 32-bit words it gives.
struct Counting {
    rng: ChaCha8Rng,
    words: u64,
}

impl Counting {
    fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed), words: 0 }
    }
}

impl RngCore for Counting {
    fn next_u32(&mut self) -> u32 {
        self.words += 1;
        self.rng.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.words += 2;
        self.rng.next_u64()
    }

    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.words += out.len().div_ceil(4) as u64;
        self.rng.fill_bytes(out);
    }
}

/// Ragged on purpose; the second has more candidates at every edge.
const SPACES: [[usize; 3]; 2] = [[3, 2, 4], [7, 5, 9]];

fn step(kind: StepKind) -> Step {
    Step { kind, progress: 0.5, schedule: 0.5 }
}

fn build(method: Method, counts: &[usize]) -> Box<dyn Strategy> {
    let theta = ThetaSettings { learning_rate: 0.1, ..ThetaSettings::toy() };
    let space = SearchSpace::anonymous(counts.iter().copied()).unwrap();
    method.build(&space, &MethodSettings { theta, ..MethodSettings::toy() }, &Streams::new(1), 0).unwrap()
}

/// One θ step with made-up losses and slopes.
fn theta_step(strategy: &mut dyn Strategy, t: u64, rng: &mut dyn RngCore) -> Proposal {
    let mut proposal = Proposal::new(strategy.shape());
    strategy.propose(&step(StepKind::Theta), rng, &mut proposal).unwrap();
    let mut feedback = Feedback::new(strategy.shape());
    feedback.begin(proposal.want());
    let number = |index: u64| ((13 * t + 7 * index) % 17) as f64 / 8.0 - 1.0;
    feedback.loss = number(3);
    for (index, slope) in feedback.gradient.values_mut().iter_mut().enumerate() {
        *slope = number(index as u64);
    }
    for (index, removal) in feedback.removals.iter_mut().enumerate() {
        *removal = number(5 + index as u64);
    }
    strategy.learn(&step(StepKind::Theta), &[Answer::new(&proposal, &feedback)]).unwrap();
    proposal
}

fn row_of(method: Method) -> &'static Row {
    TABLE_1.iter().find(|row| row.methods.contains(&method)).expect("every method has a row")
}

fn active_counts(proposal: &Proposal) -> Vec<usize> {
    proposal.active().rows().map(|row| row.iter().filter(|active| **active).count()).collect()
}

#[test]
fn every_method_has_one_row_and_every_row_is_named_after_its_first_method() {
    for method in Method::ALL {
        let rows = TABLE_1.iter().filter(|row| row.methods.contains(&method)).count();
        assert_eq!(rows, 1, "{method}");
    }
    // No method twice within a row either.
    assert_eq!(TABLE_1.iter().map(|row| row.methods.len()).sum::<usize>(), Method::ALL.len());
    for row in &TABLE_1 {
        let letters = |name: &str| name.to_lowercase().replace('-', "");
        assert_eq!(letters(row.methods[0].name()), letters(row.name));
        assert!(!row.source.is_empty());
    }
}

#[test]
fn the_rows_are_as_printed() {
    // Typed from the paper: propagation, a, stochastic, theoretical guarantee.
    let printed = [
        ("DARTS", "dense n-hot deterministic none"),
        ("SNAS", "dense n-hot stochastic none"),
        ("NASP", "dense one-hot deterministic guarantee"),
        ("ProxylessNAS", "sparse two-hot stochastic none"),
        ("PARSEC", "sparse one-hot stochastic none"),
        ("GDAS", "sparse one-hot stochastic none"),
        ("ENAS", "sparse one-hot stochastic none"),
        ("AdvantageNAS", "sparse one-hot stochastic guarantee"),
    ];
    for (row, (name, properties)) in TABLE_1.iter().zip(printed) {
        assert_eq!(row.name, name);
        let propagation = if row.propagation == Propagation::Dense { "dense" } else { "sparse" };
        let hotness = match row.hotness {
            Hotness::One => "one-hot",
            Hotness::Two => "two-hot",
            Hotness::All => "n-hot",
        };
        let stochastic = if row.stochastic { "stochastic" } else { "deterministic" };
        let guarantee = if row.guarantee { "guarantee" } else { "none" };
        assert_eq!(format!("{propagation} {hotness} {stochastic} {guarantee}"), properties, "{name}");
    }
}

/// Propagation: of a dense method every candidate is active, of a sparse one as many as in a larger space.
#[test]
fn propagation_is_what_a_theta_proposal_activates() {
    for method in Method::ALL {
        let row = row_of(method);
        let mut counts_of = SPACES.iter().map(|counts| {
            let mut strategy = build(method, counts);
            let mut rng = Counting::new(1);
            let mut seen: Vec<Vec<usize>> =
                (0..20).map(|t| active_counts(&theta_step(&mut *strategy, t, &mut rng))).collect();
            seen.dedup();
            assert_eq!(seen.len(), 1, "{method}: the same number of candidates in every step");
            seen.remove(0)
        });
        let (small, large) = (counts_of.next().unwrap(), counts_of.next().unwrap());
        match row.propagation {
            Propagation::Dense => assert!(small == SPACES[0] && large == SPACES[1], "{method}: {small:?}, {large:?}"),
            Propagation::Sparse => {
                assert_eq!(small, large, "{method}");
                let expected = if row.hotness == Hotness::Two { 2 } else { 1 };
                assert_eq!(small, [expected; 3], "{method}");
            }
        }
    }
}

/// Hotness, and claim C1: the weights of an edge sum to one for all methods but ProxylessNAS, whose two gates are both one.
#[test]
fn hotness_is_the_form_of_the_weights() {
    for method in Method::ALL {
        let hotness = row_of(method).hotness;
        for counts in &SPACES {
            let mut strategy = build(method, counts);
            let mut rng = Counting::new(2);
            for t in 0..20 {
                let proposal = theta_step(&mut *strategy, t, &mut rng);
                assert_eq!(proposal.architecture().is_some(), hotness == Hotness::One, "{method}");
                for (weights, active) in proposal.weights().rows().zip(proposal.active().rows()) {
                    let ones = weights.iter().filter(|weight| **weight == 1.0).count();
                    let zeros = weights.iter().filter(|weight| **weight == 0.0).count();
                    let sum: f64 = weights.iter().sum();
                    match hotness {
                        Hotness::One => assert_eq!((ones, ones + zeros), (1, weights.len()), "{method}"),
                        Hotness::Two => assert_eq!((ones, ones + zeros), (2, weights.len()), "{method}"),
                        Hotness::All => assert!(weights.iter().all(|weight| *weight > 0.0), "{method}: {weights:?}"),
                    }
                    let expected = if method == Method::ProxylessNas { 2.0 } else { 1.0 };
                    assert_close(sum, expected, F64_SUMS, 0.0);
                    // What is not evaluated has no weight.
                    assert!(weights.iter().zip(active).all(|(weight, active)| *active || *weight == 0.0));
                }
            }
        }
    }
}

/// Stochastic: at least one uniform number per edge, and proposals that differ from seed to seed; otherwise not one word, and
/// the same proposal whatever the seed.
#[test]
fn stochastic_methods_draw_and_the_others_do_not() {
    for method in Method::ALL {
        let mut proposals = Vec::new();
        for seed in 0..40 {
            let mut strategy = build(method, &SPACES[0]);
            let mut rng = Counting::new(seed);
            proposals.push(theta_step(&mut *strategy, 0, &mut rng));
            if row_of(method).stochastic {
                assert!(rng.words >= 3, "{method}: {} words", rng.words);
            } else {
                assert_eq!(rng.words, 0, "{method}");
            }
        }
        let differ = proposals.iter().any(|proposal| *proposal != proposals[0]);
        // Of two candidates at probability 1/2, 40 seeds draw the same with probability 2⁻³⁹.
        assert_eq!(differ, row_of(method).stochastic, "{method}");
    }
}

#[test]
fn what_every_method_asks_for() {
    for method in Method::ALL {
        let want = match method {
            Method::Reinforce | Method::ReinforcePlain | Method::Enas | Method::Parsec => Want::Loss,
            Method::AdvantageExact => Want::Removals,
            Method::Gdas => Want::GradientWithUnitOutputs,
            Method::AdvantageNas
            | Method::AdvantageOptimal
            | Method::ProxylessNas
            | Method::Darts
            | Method::Snas
            | Method::Nasp => Want::Gradient,
        };
        let proposal = theta_step(&mut *build(method, &SPACES[0]), 0, &mut Counting::new(3));
        assert_eq!(proposal.want(), want, "{method}");
    }
}

/// Weight steps and warm-up: every method's own proposal, one-hot and sparse for NASP (footnote 3).
#[test]
fn weight_steps_activate_what_the_method_mixes() {
    for method in Method::ALL {
        for kind in [StepKind::Weights, StepKind::Warmup] {
            for counts in &SPACES {
                let mut strategy = build(method, counts);
                let mut rng = Counting::new(4);
                for t in 0..5 {
                    theta_step(&mut *strategy, t, &mut rng);
                }
                let before = strategy.save();
                rng.words = 0;
                let mut proposal = Proposal::new(strategy.shape());
                strategy.propose(&step(kind), &mut rng, &mut proposal).unwrap();
                let expected = match row_of(method).hotness {
                    Hotness::One => vec![1; 3],
                    Hotness::Two => vec![2; 3],
                    Hotness::All => counts.to_vec(),
                };
                assert_eq!(active_counts(&proposal), expected, "{method} {kind:?}");
                assert_eq!(proposal.architecture().is_some(), row_of(method).hotness == Hotness::One, "{method}");
                // Of NASP, only the warm-up draws.
                let draws = if method == Method::Nasp { kind == StepKind::Warmup } else { row_of(method).stochastic };
                assert_eq!(rng.words > 0, draws, "{method} {kind:?}");
                assert_eq!(strategy.save(), before, "{method}: weight steps do not move θ");
            }
        }
    }
}

fn nasp(logits: &[Vec<f64>]) -> Nasp {
    let space = SearchSpace::anonymous(counts(logits)).unwrap();
    let mut nasp = Nasp::new(space.shape(), ThetaSettings::toy()).unwrap();
    let logits = table(logits);
    nasp.theta_mut().policy_mut().update(|values| *values = logits).unwrap();
    nasp
}

/// The weight steps of NASP take the argmax that the θ steps take; its warm-up draws from `μ(θ)`.
///
/// Chi-square over the 6 architectures, N = 20 000, seed 5, α = 10⁻⁴.
#[test]
fn nasp_takes_the_argmax_for_weights_and_draws_in_the_warmup() {
    let logits = [vec![0.1, 0.9, 0.4], vec![1.0, 0.2]];
    let mut strategy = nasp(&logits);
    let shape = Strategy::shape(&strategy).clone();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut proposal = Proposal::new(&shape);
    for kind in [StepKind::Weights, StepKind::Theta] {
        Strategy::propose(&mut strategy, &step(kind), &mut rng, &mut proposal).unwrap();
        assert_eq!(proposal.architecture(), Some(&architecture(&shape, &[1, 0])));
    }
    let all: Vec<Architecture> = shape.enumerate().collect();
    let mut observed = vec![0; all.len()];
    for _ in 0..20_000 {
        Strategy::propose(&mut strategy, &step(StepKind::Warmup), &mut rng, &mut proposal).unwrap();
        observed[all.iter().position(|a| Some(a) == proposal.architecture()).unwrap()] += 1;
    }
    let mu: Vec<Vec<f64>> = logits.iter().map(|row| softmax(row)).collect();
    let expected: Vec<f64> = all.iter().map(|a| mu[0][a.choice(0)] * mu[1][a.choice(1)]).collect();
    let p = chi_square_p(&observed, &expected);
    assert!(p > 1e-4, "p = {p}");
}
