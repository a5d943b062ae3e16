//! The numbers behind the figures of section 4.4: variance against the number of edges, exact on average over random rewards and
//! sampled by the core's estimators; the tightness of Theorem 4.1; the table of what is printed and what is correct.

use advantage_nas::{Architecture, OpTable, Policy, Shape};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::bound::{self, Step};
use crate::enumerate::{self, Estimator};
use crate::error::Result;
use crate::estimators::{Core, Estimators};
use crate::number::{Rational, norm2, rational, whole};
use crate::reward::{Affine, Reward};
use crate::testbed::{Edge, Testbed};

/// The estimators of the figure, in the order of its legend.
pub const ESTIMATORS: [&str; 4] = ["reinforce", "reinforce_mean_baseline", "advantage", "optimal_baseline"];

/// The policy of every edge in the figure.
pub const PROBABILITIES: [f64; 4] = [0.4, 0.3, 0.2, 0.1];

/// Variances of the estimate at one edge, averaged over rewards `m ± 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct VariancePoint {
    /// Number of edges.
    pub edges: usize,
    /// Mean `m` of the rewards.
    pub mean: f64,
    /// Exact average for every estimator.
    pub exact: [f64; 4],
    /// Sampled average for every estimator.
    pub sampled: [f64; 4],
    /// Its standard error.
    pub error: [f64; 4],
}

/// Exact averages over independent rewards of mean `m` and variance 1 on `edges` edges with the same `μ`, of the variances of
/// [`ESTIMATORS`] at one edge.
///
/// # Formula
/// With `g = q − 2 Σ μ_j³ + q²`, the average of `‖∇J‖²`, `v = (1 − q)(1 − ‖w‖²)` that of the optimal second moment:
/// `(1 − q)(N + N² m²) − g`; `v + (1 − q)((N − 1)(1 − q) + ‖w − μ‖²) − g`; `(1 − q)(1 + m²) − g`; `v − g`.
#[must_use]
pub fn average_variances(probabilities: &[f64], edges: usize, mean: f64) -> [f64; 4] {
    let q = norm2(probabilities);
    let spread = 1.0 - q;
    let weights: Vec<f64> = probabilities.iter().map(|mu| mu * (1.0 - 2.0 * mu + q) / spread).collect();
    let cubes: f64 = probabilities.iter().map(|mu| mu * mu * mu).sum();
    let gradient = q - 2.0 * cubes + q * q;
    let optimal = spread * (1.0 - norm2(&weights));
    let apart: f64 = weights.iter().zip(probabilities).map(|(w, mu)| (w - mu) * (w - mu)).sum();
    let n = edges as f64;
    [
        spread * (n + n * n * mean * mean) - gradient,
        optimal + spread * ((n - 1.0) * spread + apart) - gradient,
        spread * (1.0 + mean * mean) - gradient,
        optimal - gradient,
    ]
}

/// One point of the figure: exact, and sampled from `tables` tables of rewards with one architecture each.
///
/// # Errors
/// What the estimators return.
pub fn variance_point(edges: usize, mean: f64, tables: u64, seed: u64) -> Result<VariancePoint> {
    let shape = Shape::new(vec![PROBABILITIES.len(); edges])?;
    let policy = Policy::new(OpTable::from_fn(&shape, |_, candidate| PROBABILITIES[candidate].ln()))?;
    let mu = policy.probabilities();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(edges as u64);
    let mut sums = [[0.0; 2]; 4];
    let mut architecture = Architecture::first(&shape);
    let mut out = OpTable::filled(&shape, 0.0);
    for _ in 0..tables {
        let rewards = OpTable::from_fn(&shape, |_, _| if rng.random() { mean + 1.0 } else { mean - 1.0 });
        Core.sample(&policy, &mut rng, &mut architecture);
        let edge = Edge::new(mu.edge(0).to_vec(), rewards.edge(0).to_vec())?;
        let gradient = edge.gradient();
        let baseline = edge.optimal_baseline().unwrap_or(0.0);
        let reward = Affine::linear(rewards);
        // J without enumeration: the sum of the mean rewards.
        let objective: f64 = mu.values().iter().zip(reward.rewards.values()).map(|(mu, r)| mu * r).sum();
        let value = reward.at(&architecture);
        let removals: Vec<f64> = (0..edges).map(|edge| reward.without(&architecture, edge)).collect();
        let mut advantages = vec![0.0; edges];
        for (estimator, sum) in sums.iter_mut().enumerate() {
            match estimator {
                0 => Core.reinforce(&value, &architecture, mu, &mut out)?,
                1 => Core.reinforce_with_baseline(&value, &objective, &architecture, mu, &mut out)?,
                _ => {
                    Core.advantages(&value, &removals, &mut advantages)?;
                    if estimator == 3 {
                        advantages[0] -= baseline;
                    }
                    Core.policy_gradient(&advantages, &architecture, mu, &mut out)?;
                }
            }
            let square: f64 = out.edge(0).iter().zip(&gradient).map(|(d, g)| (d - g).powi(2)).sum();
            sum[0] += square;
            sum[1] += square * square;
        }
    }
    let moments = sums.map(|sum| mean_and_error(sum, tables));
    let (sampled, error) = (moments.map(|pair| pair[0]), moments.map(|pair| pair[1]));
    Ok(VariancePoint { edges, mean, exact: average_variances(&PROBABILITIES, edges, mean), sampled, error })
}

/// Mean of a sample and its standard error, from the sum and the sum of squares.
fn mean_and_error([sum, squares]: [f64; 2], draws: u64) -> [f64; 2] {
    let n = draws as f64;
    let mean = sum / n;
    [mean, ((squares / n - mean * mean).max(0.0) / n).sqrt()]
}

/// The ratio of Theorem 4.1 on the sharp family, `R = (ℓ, ηℓ)`, `μ = 1/2`, at `x = εℓ`: in closed form, and from the core's estimator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RatioPoint {
    /// `εℓ`.
    pub x: f64,
    /// `η`.
    pub eta: f64,
    /// The ratio in closed form.
    pub closed: f64,
    /// The ratio by enumeration of the core's REINFORCE.
    pub enumerated: f64,
}

/// One point of the bound's figure.
///
/// # Errors
/// What the estimator returns.
pub fn ratio_point(x: f64, eta: f64) -> Result<RatioPoint> {
    let mu = OpTable::from_rows([vec![0.5, 0.5]])?;
    let reward = Affine::linear(OpTable::from_rows([vec![x, eta * x]])?);
    let architectures: Vec<Architecture> = mu.shape().enumerate().collect();
    let rewards: Vec<f64> = architectures.iter().map(|a| reward.at(a)).collect();
    let mut estimates = Vec::new();
    for a in &architectures {
        let mut out = mu.clone();
        enumerate::run(&Core, &Estimator::Reinforce, &reward, &mu, a, &mut out)?;
        estimates.push(out);
    }
    let step: Step = bound::step(&mu, &architectures, &rewards, &estimates, 1.0);
    Ok(RatioPoint { x, eta, closed: bound::sharp_step(x, eta).ratio(), enumerated: step.ratio() })
}

/// A row of the table "as printed / correct": one formula on one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct PrintedRow {
    /// What is computed.
    pub quantity: &'static str,
    /// The instance; `μ = 1/2` everywhere.
    pub instance: String,
    /// What the paper's formula gives.
    pub printed: Rational,
    /// What the corrected formula gives.
    pub corrected: Rational,
    /// What enumeration of the core's estimators gives.
    pub enumerated: Rational,
}

/// The table on the ledger's instances.
///
/// # Errors
/// What the estimators return.
pub fn printed_rows() -> Result<Vec<PrintedRow>> {
    let mut rows = Vec::new();
    let instances: [&[[i64; 2]]; 7] = [
        &[[1, 1]],
        &[[1, 0]],
        &[[1, -1]],
        &[[1, 0], [1, 0]],
        &[[1, 1], [-1, -1]],
        &[[2, 0], [-1, 0]],
        &[[3, 2], [-1, -1]],
    ];
    for values in instances {
        let rewards = OpTable::from_rows(values.iter().map(|row| row.map(whole).to_vec()))?;
        let mu = OpTable::filled(rewards.shape(), rational(1, 2));
        let bed = Testbed::new(&mu, &rewards, whole(0))?;
        let reward = Affine::linear(rewards);
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
        let advantage = enumerate::moments(&Core, &Estimator::Advantage, &reward, &mu)?;
        let reinforce = enumerate::moments(&Core, &Estimator::Reinforce, &reward, &mu)?;
        let edge = &bed.edges()[0];
        let instance = values.iter().enumerate().map(|(i, r)| format!("r{} = ({}, {})", i + 1, r[0], r[1]));
        let instance = instance.collect::<Vec<_>>().join(", ");
        let mut row = |quantity, printed, corrected, enumerated| {
            rows.push(PrintedRow { quantity, instance: instance.clone(), printed, corrected, enumerated });
        };
        if values.len() == 1 {
            row(
                "squared norm of the gradient",
                edge.printed_gradient_norm2(),
                edge.gradient_norm2(),
                norm2(gradient.edge(0)),
            );
        }
        row(
            "Var[delta_adv]",
            edge.second_moment_advantage(),
            bed.advantage(0).variance,
            advantage.variance()[0].clone(),
        );
        if values.len() > 1 {
            // The paper's Var[δ_base], read as it stands: printed Var[δ_adv] plus the printed difference.
            row(
                "Var[delta_base]",
                bed.printed_second_moment_reinforce(0),
                bed.reinforce(0).variance,
                reinforce.variance()[0].clone(),
            );
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::tolerance::assert_close;

    /// The averages over all signs of the rewards, by the exact closed forms of every table.
    #[test]
    fn averages_are_the_averages_of_all_tables() {
        let mu = [0.7, 0.3];
        for edges in 1..=3usize {
            for mean in [0.0, 1.5] {
                let shape = Shape::new(vec![2; edges]).unwrap();
                let probabilities = OpTable::from_fn(&shape, |_, j| mu[j]);
                let mut averages = [0.0; 4];
                let count = 1u32 << shape.len();
                for code in 0..count {
                    let rewards = OpTable::from_fn(&shape, |edge, j| {
                        mean + if code >> (2 * edge + j) & 1 == 1 { 1.0 } else { -1.0 }
                    });
                    let bed = Testbed::new(&probabilities, &rewards, 0.0).unwrap();
                    let forms = [bed.reinforce(0), bed.reinforce_mean_baseline(0), bed.advantage(0), bed.optimal(0)];
                    for (average, form) in averages.iter_mut().zip(forms) {
                        *average += form.variance / f64::from(count);
                    }
                }
                for (average, exact) in averages.iter().zip(average_variances(&mu, edges, mean)) {
                    assert_close(*average, exact, 1e-12, 1e-13);
                }
            }
        }
    }

    #[test]
    fn sampled_points_lie_on_the_lines() {
        for (edges, mean) in [(2, 0.0), (10, 1.0)] {
            let point = variance_point(edges, mean, 20_000, 1).unwrap();
            for (estimator, name) in ESTIMATORS.iter().enumerate() {
                let off = (point.sampled[estimator] - point.exact[estimator]) / point.error[estimator];
                assert!(off.abs() < 4.5, "{name}: {off}");
                assert!(point.error[estimator] < 0.03 * point.exact[estimator]);
            }
        }
    }

    #[test]
    fn ratios_agree_and_reach_the_bound() {
        for eta in [0.0, 0.5] {
            for x in [0.1, 1.0, 3.0] {
                let point = ratio_point(x, eta).unwrap();
                assert_close(point.closed, point.enumerated, 1e-11, 0.0);
                assert!(point.closed < bound::SHARP);
            }
        }
        assert_close(ratio_point(0.01, 0.0).unwrap().closed, 0.25, 1e-4, 0.0);
    }

    #[test]
    fn the_table_shows_the_corrections() {
        let rows = printed_rows().unwrap();
        assert_eq!(rows.len(), 3 * 2 + 4 * 2);
        for row in &rows {
            assert_eq!(row.corrected, row.enumerated, "{row:?}");
        }
        assert!(rows.iter().filter(|row| row.printed != row.corrected).count() >= 12);
    }

    #[test]
    fn standard_errors_by_hand() {
        // 1, 3, 3, 5: mean 3, variance (4 + 0 + 0 + 4)/4 = 2.
        assert_eq!(mean_and_error([12.0, 44.0], 4), [3.0, 0.5f64.sqrt()]);
        assert_eq!(mean_and_error([6.0, 12.0], 3), [2.0, 0.0]);
    }

    /// The last instance of the ledger's C11: R > 0, and Eq. (6) still varies more than Eq. (4).
    #[test]
    fn the_table_names_its_instances() {
        let rows = printed_rows().unwrap();
        let variances: Vec<_> = rows.iter().filter(|row| row.instance == "r1 = (3, 2), r2 = (-1, -1)").collect();
        let found: Vec<_> = variances.iter().map(|row| (row.quantity, row.corrected.clone())).collect();
        assert_eq!(found, [("Var[delta_adv]", rational(25, 8)), ("Var[delta_base]", rational(9, 8))]);
        assert!(rows.iter().any(|row| row.instance == "r1 = (1, -1)"));
    }
}
