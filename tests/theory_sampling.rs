//! The estimators on the policy's own samples, against exact moments (claims C2, C3, C6).
//!
//! Every test has N draws per row and level α = 10⁻⁴ after Bonferroni's correction over its rows, with fixed seeds, the row's number;
//! a correct sampler fails one of them for one seed in ten thousand. A sampler that is off by a percent in one probability fails
//! (theory/tests/broken.rs).

use advantage_nas::{Architecture, OpTable, Policy, Shape, estimator};
use advantage_nas_theory::enumerate::{Estimator, LIMIT, Law, gradient, product_probability, run};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::reward::{Affine, Reward};
use advantage_nas_theory::statistics::{Bonferroni, chi_square_p, mean_p};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

const ALPHA: f64 = 1e-4;
const ROWS: u64 = 10;
const DRAWS: u64 = 40_000;

fn policy(rng: &mut ChaCha8Rng, shape: &Shape) -> Policy {
    Policy::new(OpTable::from_fn(shape, |_, _| rng.random_range(-2.0..2.0))).unwrap()
}

/// χ² of sampled architectures against p, all cells of the product space: the edges are independent, too.
#[test]
fn architectures_follow_the_policy() {
    let mut rows = Bonferroni::default();
    for row in 0..ROWS {
        let mut rng = ChaCha8Rng::seed_from_u64(row);
        let shape = Shape::new([3, 2, 2]).unwrap();
        let policy = policy(&mut rng, &shape);
        let all: Vec<Architecture> = shape.enumerate().collect();
        let p: Vec<f64> = all.iter().map(|a| product_probability(policy.probabilities(), a)).collect();
        let mut counts = vec![0u64; all.len()];
        for _ in 0..DRAWS {
            let a = policy.sample(&mut rng);
            counts[(a.choice(0) * 2 + a.choice(1)) * 2 + a.choice(2)] += 1;
        }
        rows.add(chi_square_p(&counts, &p));
    }
    assert!(rows.p() > ALPHA, "p = {:e}", rows.p());
}

/// Hotelling's T² of the mean of δ against ∇J, one edge at a time (without the last candidate: the components sum to zero), and the
/// mean of ‖δ‖² against the exact second moment.
#[test]
fn estimates_have_the_exact_moments() {
    let (mut means, mut seconds) = (Bonferroni::default(), Bonferroni::default());
    for row in 0..ROWS {
        let mut rng = ChaCha8Rng::seed_from_u64(100 + row);
        let shape = Shape::new([3, 3, 2]).unwrap();
        let policy = policy(&mut rng, &shape);
        let mu = policy.probabilities();
        let reward = Affine {
            constant: rng.random_range(-1.0..1.0),
            rewards: OpTable::from_fn(&shape, |_, _| rng.random_range(-1.0..1.0)),
        };
        let exact = gradient(|a| reward.at(a), mu).unwrap();
        for estimator in [Estimator::Reinforce, Estimator::Advantage, Estimator::FirstOrder] {
            let mut out = OpTable::filled(&shape, 0.0);
            let law = Law::product(mu, LIMIT).unwrap();
            // E‖δ_0‖² and E‖δ_0‖⁴.
            let mut norm = [0.0; 2];
            for (p, a) in law.atoms() {
                run(&Core, &estimator, &reward, mu, a, &mut out).unwrap();
                let square: f64 = out.edge(0).iter().map(|d| d * d).sum();
                norm[0] += p * square;
                norm[1] += p * square * square;
            }
            let (mut sum, mut products, mut squares) = ([0.0; 2], [[0.0; 2]; 2], 0.0);
            for _ in 0..DRAWS {
                let a = policy.sample(&mut rng);
                run(&Core, &estimator, &reward, mu, &a, &mut out).unwrap();
                let d = [out[(0, 0)], out[(0, 1)]];
                for i in 0..2 {
                    sum[i] += d[i];
                    for j in 0..2 {
                        products[i][j] += d[i] * d[j];
                    }
                }
                squares += out.edge(0).iter().map(|d| d * d).sum::<f64>();
            }
            let n = DRAWS as f64;
            let mean = sum.map(|s| s / n);
            let covariance = |i: usize, j: usize| (products[i][j] / n - mean[i] * mean[j]) * n / (n - 1.0);
            let (a, b, c) = (covariance(0, 0), covariance(0, 1), covariance(1, 1));
            let off = [mean[0] - exact[(0, 0)], mean[1] - exact[(0, 1)]];
            let form = c * off[0] * off[0] - 2.0 * b * off[0] * off[1] + a * off[1] * off[1];
            let t2 = n * form / (a * c - b * b);
            // T² (n − 2)/(2 (n − 1)) is F with 2 and n − 2 degrees of freedom.
            means.add(FisherSnedecor::new(2.0, n - 2.0).unwrap().sf(t2 * (n - 2.0) / (2.0 * (n - 1.0))));
            seconds.add(mean_p(squares, DRAWS, norm[0], norm[1] - norm[0] * norm[0]));
        }
    }
    assert_eq!(means.rows(), 3 * ROWS);
    assert!(means.p() > ALPHA, "means: p = {:e}", means.p());
    assert!(seconds.p() > ALPHA, "second moments: p = {:e}", seconds.p());
}

/// Eq. (3): the average of N architectures has 1/N of the variance.
#[test]
fn averages_shrink_like_one_over_n() {
    let shape = Shape::new([2, 2]).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(200);
    let policy = policy(&mut rng, &shape);
    let mu = policy.probabilities();
    let reward = Affine::linear(OpTable::from_fn(&shape, |edge, j| (1 + edge) as f64 - 2.5 * j as f64));
    let (samples, repeats) = (16, 4000);
    let exact = gradient(|a| reward.at(a), mu).unwrap();
    let one = advantage_nas_theory::enumerate::moments(&Core, &Estimator::Reinforce, &reward, mu).unwrap();
    let expected = one.variance()[0] / f64::from(samples);
    let (mut total, mut total_squares) = (0.0, 0.0);
    let mut out = OpTable::filled(&shape, 0.0);
    for _ in 0..repeats {
        let drawn: Vec<(f64, Architecture)> = (0..samples)
            .map(|_| {
                let a = policy.sample(&mut rng);
                (reward.at(&a), a)
            })
            .collect();
        estimator::reinforce_mean(&drawn, mu, &mut out).unwrap();
        let square: f64 = out.edge(0).iter().zip(exact.edge(0)).map(|(d, g)| (d - g) * (d - g)).sum();
        total += square;
        total_squares += square * square;
    }
    let n = f64::from(repeats);
    let spread = total_squares / n - (total / n).powi(2);
    let p = mean_p(total, repeats as u64, expected, spread);
    assert!(p > ALPHA, "{} in place of {expected}: p = {p:e}", total / n);
}
