//! The strategies of Table 1 themselves on the linear testbed, against the moments that the derivations give (claims C16 to C19).
//!
//! A strategy is run as a search runs it: it proposes, is answered, learns. The answer is that of a network whose candidates put out
//! their reward as one number and whose reward is the sum over the edges: `∂r/∂a_i^j = r_i^j`, and 1 for an output of ones. Every draw
//! starts from the same θ, so that the estimates are independent. N draws per row, α = 10⁻⁴ after Bonferroni over the components.

use advantage_nas::strategy::{
    Answer, Darts, Feedback, Gdas, GdasSettings, Parsec, ParsecSettings, ProductStrategy, Proposal, ProxylessNas, Snas,
    SnasSettings, Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::tolerance::assert_all_close;
use advantage_nas::{OpTable, Policy, Shape};
use advantage_nas_theory::enumerate::{LIMIT, Law};
use advantage_nas_theory::methods::{gdas, parsec, proxylessnas};
use advantage_nas_theory::reward::{Affine, Reward};
use advantage_nas_theory::statistics::{Bonferroni, mean_p};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const ALPHA: f64 = 1e-4;
const DRAWS: u64 = 40_000;
const STEP: Step = Step { kind: StepKind::Theta, progress: 0.0, schedule: 0.0 };

/// Rewards of two edges.
fn rewards() -> OpTable<f64> {
    OpTable::from_rows([vec![1.0, -0.5, 2.0], vec![0.25, -1.0]]).unwrap()
}

/// A network that answers with the linear reward.
fn answer(proposal: &Proposal, rewards: &OpTable<f64>) -> Feedback {
    let mut feedback = Feedback::new(rewards.shape());
    feedback.begin(proposal.want());
    let weights = proposal.weights();
    feedback.loss = -weights.values().iter().zip(rewards.values()).map(|(w, r)| w * r).sum::<f64>();
    if matches!(proposal.want(), Want::Gradient | Want::GradientWithUnitOutputs) {
        let active = proposal.active();
        for (at, slope) in feedback.gradient.values_mut().iter_mut().enumerate() {
            *slope = match (active.values()[at], proposal.want()) {
                (true, _) => -rewards.values()[at],
                (false, Want::GradientWithUnitOutputs) => -1.0,
                (false, _) => 0.0,
            };
        }
    }
    feedback
}

/// p-values of the mean of every component and of the second moment of every edge.
fn compare<S: Strategy + Clone>(
    fresh: &S,
    evaluations: usize,
    estimate: impl Fn(&S) -> &OpTable<f64>,
    expectation: &OpTable<f64>,
    second_moment: &[f64],
    seed: u64,
) {
    let rewards = rewards();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let shape = rewards.shape();
    let mut proposal = Proposal::new(shape);
    // Sums and sums of squares.
    let mut components = vec![[0.0; 2]; shape.len()];
    let mut norms = vec![[0.0; 2]; shape.edges()];
    for _ in 0..DRAWS {
        let mut strategy = fresh.clone();
        for _ in 0..evaluations {
            strategy.propose(&STEP, &mut rng, &mut proposal).unwrap();
            let feedback = answer(&proposal, &rewards);
            strategy.learn(&STEP, &[Answer::new(&proposal, &feedback)]).unwrap();
        }
        let delta = estimate(&strategy);
        for (sum, value) in components.iter_mut().zip(delta.values()) {
            sum[0] += value;
            sum[1] += value * value;
        }
        for (edge, sum) in norms.iter_mut().enumerate() {
            let square: f64 = delta.edge(edge).iter().map(|d| d * d).sum();
            sum[0] += square;
            sum[1] += square * square;
        }
    }
    let n = DRAWS as f64;
    let mut rows = Bonferroni::default();
    let expected = expectation.values().iter().chain(second_moment);
    for (sum, mean) in components.iter().chain(&norms).zip(expected) {
        rows.add(mean_p(sum[0], DRAWS, *mean, sum[1] / n - (sum[0] / n).powi(2)));
    }
    assert_eq!(rows.rows() as usize, shape.len() + shape.edges());
    assert!(rows.p() > ALPHA, "p = {:e}", rows.p());
}

/// Tables of the parts of one form per edge.
fn parts(forms: &[advantage_nas_theory::testbed::Form<f64>]) -> (OpTable<f64>, Vec<f64>) {
    let expectation = OpTable::from_rows(forms.iter().map(|form| form.expectation.clone())).unwrap();
    (expectation, forms.iter().map(|form| form.second_moment).collect())
}

/// The logits of all strategies here: far from uniform, so that no method is right by symmetry.
fn logits() -> OpTable<f64> {
    OpTable::from_rows([vec![0.5, -0.8, 0.2], vec![0.9, -0.3]]).unwrap()
}

fn start() -> (Shape, Policy) {
    let policy = Policy::new(logits()).unwrap();
    (policy.shape().clone(), policy)
}

fn moved<S: ProductStrategy>(mut strategy: S) -> S {
    strategy.theta_mut().policy_mut().update(|values| values.values_mut().copy_from_slice(logits().values())).unwrap();
    strategy
}

#[test]
fn proxylessnas_estimates() {
    let (shape, policy) = start();
    let rewards = rewards();
    let forms: Vec<_> = (0..2).map(|e| proxylessnas::form(policy.probabilities().edge(e), rewards.edge(e))).collect();
    let (expectation, second) = parts(&forms);
    let strategy = moved(ProxylessNas::new(&shape, ThetaSettings::toy()).unwrap());
    compare(&strategy, 1, ProxylessNas::estimate, &expectation, &second, 1);
}

#[test]
fn gdas_and_snas_estimates() {
    let (shape, policy) = start();
    let rewards = rewards();
    for (tau, seed) in [(1.0, 2), (0.4, 3)] {
        let forms: Vec<_> = (0..2)
            .map(|edge| gdas::forms(policy.probabilities().edge(edge), rewards.edge(edge), tau, 1.0).unwrap())
            .collect();
        let (dense, one): (Vec<_>, Vec<_>) = forms.into_iter().map(|forms| (forms.dense, forms.one_output)).unzip();
        let settings = GdasSettings { first_temperature: tau, last_temperature: tau };
        let strategy = moved(Gdas::new(&shape, ThetaSettings::toy(), settings).unwrap());
        let (expectation, second) = parts(&one);
        compare(&strategy, 1, Gdas::estimate, &expectation, &second, seed);
        if tau == 1.0 {
            // SNAS begins at temperature 1.
            let strategy = snas(&shape);
            let (expectation, second) = parts(&dense);
            compare(&strategy, 1, Snas::estimate, &expectation, &second, 10 + seed);
        }
    }
}

fn snas(shape: &Shape) -> Snas {
    moved(Snas::new(shape, ThetaSettings::toy(), SnasSettings { lowest_temperature: 1e-3 }).unwrap())
}

#[test]
fn parsec_estimates() {
    let (shape, policy) = start();
    let reward = Affine::linear(rewards());
    let law = Law::product(policy.probabilities(), LIMIT).unwrap();
    for (samples, seed) in [(1usize, 4), (2, 5), (4, 6)] {
        let exact = parsec::moments(&law, policy.probabilities(), samples, |a| reward.at(a).exp()).unwrap();
        let strategy = moved(Parsec::new(&shape, ThetaSettings::toy(), ParsecSettings { samples }).unwrap());
        compare(&strategy, samples, Parsec::estimate, &exact.expectation, &exact.second_moment, seed);
    }
}

/// DARTS draws nothing: one step is the exact gradient.
#[test]
fn darts_is_the_gradient() {
    let (shape, policy) = start();
    let reward = Affine::linear(rewards());
    let mut strategy = moved(Darts::new(&shape, ThetaSettings::toy()).unwrap());
    let mut proposal = Proposal::new(&shape);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    Strategy::propose(&mut strategy, &STEP, &mut rng, &mut proposal).unwrap();
    let feedback = answer(&proposal, &reward.rewards);
    Strategy::learn(&mut strategy, &STEP, &[Answer::new(&proposal, &feedback)]).unwrap();
    let exact = advantage_nas_theory::enumerate::gradient(|a| reward.at(a), policy.probabilities()).unwrap();
    assert_all_close(strategy.estimate().values(), exact.values(), 1e-13, 1e-15);
}
