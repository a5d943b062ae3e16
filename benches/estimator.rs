//! What an estimate costs and what it is worth: the time of one estimate from given rewards or advantages, and the variance per unit
//! of compute relative to REINFORCE, on linear rewards and on the toy regression.
//!
//! The tables of the second part are printed after criterion's timings: `cargo bench --bench estimator`. The variance of an average of
//! as many estimates as fit into a given time is proportional to variance × time.

use std::hint::black_box;
use std::time::Instant;

use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, OpTable, Policy, Shape, Supernet, estimator};
use advantage_nas_cpu::toy::ToySupernet;
use advantage_nas_theory::testbed::Testbed;
use criterion::{BenchmarkId, Criterion};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const EDGES: [usize; 5] = [2, 6, 10, 50, 100];
const CANDIDATES: [usize; 4] = [2, 5, 10, 32];

struct Case {
    policy: Policy,
    rewards: OpTable<f64>,
    architecture: Architecture,
    out: OpTable<f64>,
    advantages: Vec<f64>,
    removals: Vec<f64>,
}

impl Case {
    fn new(edges: usize, candidates: usize, mean: f64) -> Self {
        let shape = Shape::new(vec![candidates; edges]).expect("a valid shape");
        let mut rng = ChaCha8Rng::seed_from_u64((edges * 1000 + candidates) as u64);
        let policy = Policy::new(OpTable::from_fn(&shape, |_, _| rng.random_range(-1.0..1.0))).expect("finite");
        // Variance 1, as ±1 would have.
        let width = 3f64.sqrt();
        let rewards = OpTable::from_fn(&shape, |_, _| mean + rng.random_range(-width..width));
        let architecture = policy.sample(&mut rng);
        Self {
            policy,
            rewards,
            architecture,
            out: OpTable::filled(&shape, 0.0),
            advantages: vec![0.0; edges],
            removals: vec![0.0; edges],
        }
    }

    fn reward(&self) -> f64 {
        self.architecture.choices().iter().enumerate().map(|(edge, &choice)| self.rewards[(edge, choice)]).sum()
    }

    /// Eq. (4), from the reward.
    fn reinforce(&mut self, reward: f64) {
        estimator::reinforce(&reward, &self.architecture, self.policy.probabilities(), &mut self.out).expect("fits");
    }

    /// Eq. (6), from the reward and the rewards without each edge.
    fn advantage(&mut self, reward: f64) {
        estimator::advantages(&reward, &self.removals, &mut self.advantages).expect("fits");
        self.gradient();
    }

    /// Eq. (7), from the gradient of the reward.
    fn first_order(&mut self) {
        estimator::first_order(&self.rewards, &self.architecture, &mut self.advantages).expect("fits");
        self.gradient();
    }

    fn gradient(&mut self) {
        let probabilities = self.policy.probabilities();
        estimator::policy_gradient(&self.advantages, &self.architecture, probabilities, &mut self.out).expect("fits");
    }
}

fn one_estimate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("estimate");
    for edges in EDGES {
        for candidates in CANDIDATES {
            let mut case = Case::new(edges, candidates, 0.0);
            let size = format!("{edges}x{candidates}");
            let reward = case.reward();
            group.bench_function(BenchmarkId::new("reinforce", &size), |bencher| {
                bencher.iter(|| case.reinforce(black_box(reward)));
            });
            group.bench_function(BenchmarkId::new("advantage", &size), |bencher| {
                bencher.iter(|| case.advantage(black_box(reward)));
            });
            group.bench_function(BenchmarkId::new("first_order", &size), |bencher| {
                bencher.iter(|| black_box(&mut case).first_order());
            });
        }
    }
    group.finish();
}

/// Seconds of one call, the smallest of several averages.
fn seconds(calls: u32, mut call: impl FnMut()) -> f64 {
    (0..5)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| call());
            start.elapsed().as_secs_f64() / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}

/// Linear rewards: the exact total variance in closed form; the time of a whole estimate, from the draw of the architecture on.
fn linear(calls: u32) {
    println!(
        "\nvariance x time relative to REINFORCE, linear rewards of variance 1 (a whole estimate: draw, reward, gradient)"
    );
    println!(
        "mean  size    Eq. (4) [ns]  Eq. (6) [ns]  Eq. (7) [ns]  Var (6)/(4)  Eq. (6)   Eq. (7)   optimal, same time"
    );
    for mean in [0.0, 1.0] {
        for edges in EDGES {
            for candidates in CANDIDATES {
                let mut case = Case::new(edges, candidates, mean);
                let bed = Testbed::new(case.policy.probabilities(), &case.rewards, 0.0).expect("one shape");
                let total = |of: &dyn Fn(usize) -> f64| (0..edges).map(of).sum::<f64>();
                let base = total(&|edge| bed.reinforce(edge).variance);
                let advantage = total(&|edge| bed.advantage(edge).variance);
                // Two candidates: zero, up to rounding.
                let optimal = total(&|edge| bed.optimal(edge).variance.max(0.0));
                let mut rng = ChaCha8Rng::seed_from_u64(1);
                let times = [
                    seconds(calls, || {
                        case.policy.sample_into(&mut rng, &mut case.architecture);
                        let reward = case.reward();
                        case.reinforce(reward);
                    }),
                    seconds(calls, || {
                        case.policy.sample_into(&mut rng, &mut case.architecture);
                        let reward = case.reward();
                        for (edge, &choice) in case.architecture.choices().iter().enumerate() {
                            case.removals[edge] = reward - case.rewards[(edge, choice)];
                        }
                        case.advantage(reward);
                    }),
                    seconds(calls, || {
                        case.policy.sample_into(&mut rng, &mut case.architecture);
                        case.first_order();
                    }),
                ];
                println!(
                    "{mean:<5} {:<7} {:>12.0} {:>13.0} {:>13.0} {:>12.4} {:>8.4} {:>9.4} {:>12.4}",
                    format!("{edges}x{candidates}"),
                    times[0] * 1e9,
                    times[1] * 1e9,
                    times[2] * 1e9,
                    advantage / base,
                    advantage * times[1] / (base * times[0]),
                    advantage * times[2] / (base * times[0]),
                    optimal / base,
                );
            }
        }
    }
}

/// The toy regression at the start of a search: variance over architectures and minibatches, measured; a forward pass for Eq. (4), a
/// backward pass as well for Eq. (7), and one more forward pass per edge for Eq. (6).
fn toy(draws: u64) {
    let streams = Streams::new(0);
    let mut supernet = ToySupernet::<f32>::new(Toy::paper(), &streams, &[0]).expect("the paper's sizes");
    let shape = supernet.space().shape().clone();
    let policy = Policy::initial(&shape);
    let mut feedback = [Feedback::new(&shape)];
    // REINFORCE as in the experiments has a baseline: the mean of all rewards seen here.
    let mut mean_reward = 0.0;
    println!("\nvariance x time relative to REINFORCE with the mean as baseline, toy regression, {draws} draws");
    println!("estimator                 time [us]   variance   variance x time, relative");
    let mut rows = Vec::new();
    for (name, want) in [
        ("Eq. (4), no baseline", Want::Loss),
        ("Eq. (4), mean baseline", Want::Loss),
        ("Eq. (6)", Want::Removals),
        ("Eq. (7)", Want::Gradient),
    ] {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let (mut sum, mut squares) = (OpTable::filled(&shape, 0.0), 0.0);
        let mut advantages = vec![0.0; shape.edges()];
        let mut out = sum.clone();
        let mut rewards = 0.0;
        let start = Instant::now();
        for step in 0..draws {
            let architecture = policy.sample(&mut rng);
            let proposal = Proposal::one_hot(&shape, &architecture, want).expect("in the space");
            let request = Request { batch: Batch { trial: 0, set: Set::Validation, step }, proposal };
            supernet.probe(&[request], &mut feedback).expect("a valid request");
            let feedback = &feedback[0];
            let reward = -feedback.loss;
            rewards += reward;
            match want {
                Want::Removals => {
                    let removals: Vec<f64> = feedback.removals.iter().map(|loss| -loss).collect();
                    estimator::advantages(&reward, &removals, &mut advantages).expect("fits");
                }
                Want::Gradient => {
                    estimator::first_order(&feedback.gradient, &architecture, &mut advantages).expect("fits");
                    advantages.iter_mut().for_each(|advantage| *advantage = -*advantage);
                }
                _ => advantages.fill(if name.contains("mean") { reward - mean_reward } else { reward }),
            }
            estimator::policy_gradient(&advantages, &architecture, policy.probabilities(), &mut out).expect("fits");
            sum.values_mut().iter_mut().zip(out.values()).for_each(|(sum, value)| *sum += value);
            squares += out.values().iter().map(|value| value * value).sum::<f64>();
        }
        let n = draws as f64;
        let time = start.elapsed().as_secs_f64() / n;
        let centre: f64 = sum.values().iter().map(|sum| (sum / n) * (sum / n)).sum();
        let variance = (squares / n - centre) * n / (n - 1.0).max(1.0);
        if want == Want::Loss && !name.contains("mean") {
            mean_reward = rewards / n;
        }
        rows.push((name, time, variance));
    }
    let reference = rows[1].1 * rows[1].2;
    for (name, time, variance) in rows {
        let relative = variance * time / reference;
        println!("{name:<24} {:>10.1} {variance:>10.3e}   {relative:.4}", time * 1e6);
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    one_estimate(&mut criterion);
    criterion.final_summary();
    // In test mode everything runs once.
    let test = std::env::args().any(|argument| argument == "--test");
    linear(if test { 1 } else { 20_000 });
    toy(if test { 2 } else { 5000 });
}
