//! C5 and C5b: the improvement bound, and what does not follow from it.

use advantage_nas::{Architecture, OpTable, Policy};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::evidence::all;
use super::{Effort, Evidence};
use crate::bound::{self, PRINTED, RANGE, SHARP, Step};
use crate::enumerate::{self, Estimator};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::reward::{Affine, Reward, Table};

/// What a random search for violations of the bound found.
#[derive(Clone, Debug, PartialEq)]
pub struct BoundSearch {
    /// Number of instances.
    pub instances: u64,
    /// Violations of the bound with 1/4.
    pub sharp_violations: u64,
    /// Violations of the bound with 1/2, as printed.
    pub printed_violations: u64,
    /// Violations of the form with ranges.
    pub range_violations: u64,
    /// Largest ratio found; the bound says at most 1/4.
    pub ratio: f64,
    /// Largest ratio of the form with ranges; at most 1/8.
    pub range_ratio: f64,
    /// The first violation, or the instance of the largest ratio.
    pub instance: String,
}

/// Rounding of a ratio: with steps of at least a hundredth and probabilities of at least 1e-4, some ulps over 1e-6.
const ROUNDING: f64 = 1e-9;

/// Whether a ratio breaks its bound; NaN does.
fn breaks(ratio: f64, bound: f64) -> bool {
    !(ratio <= bound + ROUNDING)
}

impl BoundSearch {
    fn new(instances: u64) -> Self {
        Self {
            instances,
            sharp_violations: 0,
            printed_violations: 0,
            range_violations: 0,
            ratio: f64::NEG_INFINITY,
            range_ratio: f64::NEG_INFINITY,
            instance: String::new(),
        }
    }

    fn violations(&self) -> u64 {
        self.sharp_violations + self.range_violations
    }

    /// Takes in the ratios of an instance.
    fn add(&mut self, ratio: f64, range_ratio: f64, describe: impl Fn() -> String) {
        let before = self.violations();
        self.sharp_violations += u64::from(breaks(ratio, SHARP));
        self.printed_violations += u64::from(breaks(ratio, PRINTED));
        self.range_violations += u64::from(breaks(range_ratio, RANGE));
        let largest = ratio > self.ratio;
        self.ratio = self.ratio.max(ratio);
        self.range_ratio = self.range_ratio.max(range_ratio);
        // The first violation stays; until there is one, the instance of the largest ratio.
        if before == 0 && (largest || self.violations() > 0) {
            self.instance = describe();
        }
    }

    /// Whether no instance violates Theorem 4.1, in a search that came near to the bound.
    fn holds(&self) -> bool {
        all([self.sharp_violations == 0, self.printed_violations == 0, self.ratio > 0.24])
    }
}

/// Draws instances of the theorem, with `R ≥ 0` and `J > 0` only, and looks for one that breaks the bound.
///
/// One or two edges, two to four candidates; policies that are uniform, generic, near a vertex or on a face; rewards over many
/// orders of magnitude, some of them zero; the estimators of Eq. (4), of Eq. (6) with arbitrary `R(s_i, 0)`, and with the optimal
/// baseline; one half of the one-edge instances near the family on which the bound is sharp.
///
/// # Errors
/// What the code under test returns.
pub fn search_bound<E: Estimators>(code: &E, seed: u64, instances: u64) -> Result<BoundSearch> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut found = BoundSearch::new(instances);
    let mut estimates: Vec<OpTable<f64>> = Vec::new();
    for index in 0..instances {
        let edges = if rng.random_range(0..4) == 0 { 2 } else { 1 };
        let most = if edges == 1 { 4 } else { 3 };
        let near_sharp = edges == 1 && rng.random();
        let rows: Vec<Vec<f64>> = (0..edges).map(|_| random_simplex(&mut rng, most, near_sharp)).collect();
        let mu = OpTable::from_rows(rows)?;
        let shape = mu.shape().clone();
        let scale = if near_sharp { 1.0 } else { 10f64.powf(rng.random_range(-2.0..2.0)) };
        let eta: f64 = 10f64.powf(rng.random_range(-4.0..0.0));
        let reward = Table::from_fn(&shape, |choices| {
            if choices.iter().any(Option::is_none) {
                // R(s_i, 0) may be anything; zero gives the estimator of Eq. (4).
                return if near_sharp { 0.0 } else { scale * rng.random_range(-2.0..2.0) };
            }
            if near_sharp {
                return if choices[0] == Some(0) { 1.0 } else { eta };
            }
            match rng.random_range(0..4) {
                0 => 0.0,
                1 => scale * 10f64.powf(rng.random_range(-3.0..0.0)),
                _ => scale * rng.random_range(0.0..1.0),
            }
        })?;
        let architectures: Vec<Architecture> = shape.enumerate().collect();
        let rewards: Vec<f64> = architectures.iter().map(|a| reward.at(a)).collect();
        let estimator = [Estimator::Reinforce, Estimator::Advantage, Estimator::Optimal][index as usize % 3].clone();
        estimates.clear();
        for a in &architectures {
            let mut out = mu.clone();
            enumerate::run(code, &estimator, &reward, &mu, a, &mut out)?;
            estimates.push(out);
        }
        let largest = estimates.iter().flat_map(|delta| delta.values()).fold(0.0, |most: f64, d| most.max(d.abs()));
        if largest == 0.0 {
            continue;
        }
        // Steps of the logits between a hundredth and twenty.
        let epsilon = 10f64.powf(rng.random_range(-2.0..1.3)) / largest;
        let step = bound::step(&mu, &architectures, &rewards, &estimates, epsilon);
        // Nothing moves on a vertex, and J = 0 is excluded by the theorem.
        if !(step.objective > 0.0) || step.quadratic < 1e-12 {
            continue;
        }
        found.add(step.ratio(), step.range_ratio(), || {
            let ratio = step.ratio();
            format!("mu {:?}, R {rewards:?}, eps {epsilon:e}, {estimator:?}: ratio {ratio}", mu.values())
        });
    }
    Ok(found)
}

fn random_simplex(rng: &mut ChaCha8Rng, most: usize, near_sharp: bool) -> Vec<f64> {
    if near_sharp {
        let p = 0.5 + 0.05 * rng.random_range(-1.0..1.0);
        return vec![p, 1.0 - p];
    }
    let n = rng.random_range(2..=most);
    let kind = rng.random_range(0..4);
    let chosen = rng.random_range(0..n);
    let mut row: Vec<f64> = (0..n)
        .map(|j| match kind {
            0 => 1.0,
            1 if j != chosen => 10f64.powf(rng.random_range(-4.0..0.0)),
            2 if j != chosen && rng.random() => 0.0,
            _ => rng.random_range(0.05..1.0),
        })
        .collect();
    let total: f64 = row.iter().sum();
    row.iter_mut().for_each(|value| *value /= total);
    row
}

/// One step from a policy of one edge, with the code's estimates.
fn step_of<E: Estimators>(
    code: &E,
    mu: &[f64],
    rewards: &[f64],
    epsilon: f64,
    estimator: &Estimator<f64>,
) -> Result<Step> {
    let mu = OpTable::from_rows([mu.to_vec()])?;
    let reward = Affine::linear(OpTable::from_rows([rewards.to_vec()])?);
    let architectures: Vec<Architecture> = mu.shape().enumerate().collect();
    let mut estimates = Vec::new();
    for a in &architectures {
        let mut out = mu.clone();
        enumerate::run(code, estimator, &reward, &mu, a, &mut out)?;
        estimates.push(out);
    }
    Ok(bound::step(&mu, &architectures, rewards, &estimates, epsilon))
}

/// C5.
pub fn bound<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let found = search_bound(code, effort.seed, effort.times(1_000_000))?;
    evidence.search(
        "no violation with eps^2/4 (nor with eps^2/2)",
        found.instances,
        found.holds(),
        Some(found.ratio),
        found.instance.clone(),
    );
    evidence.search(
        "no violation of the stronger form with ranges, eps^2/8",
        found.instances,
        found.range_violations == 0,
        Some(found.range_ratio),
        format!("largest ratio {}", found.range_ratio),
    );
    sharp_family(code, &mut evidence)?;
    maximising_step(&mut evidence);
    Ok(evidence)
}

/// The family on which the bound is reached in the limit.
fn sharp_family<E: Estimators>(code: &E, evidence: &mut Evidence) -> Result<()> {
    for estimator in [Estimator::Reinforce, Estimator::Advantage, Estimator::FirstOrder] {
        for eta in [0.0, 0.1, 0.5, 0.9] {
            // The ratio depends on eps * l only; l = 10^-3 at eps = 1.
            let step = step_of(code, &[0.5, 0.5], &[1e-3, eta * 1e-3], 1.0, &estimator)?;
            evidence.numerical(
                "sharp family: ratio -> ((1 - eta)/(1 + eta))^2/4",
                step.ratio(),
                bound::sharp_limit(eta),
                // The next order is eps l times a constant below one.
                1e-3,
            );
            let closed = bound::sharp_step(1e-3, eta);
            evidence.numerical("sharp family: closed form", step.ratio(), closed.ratio(), 1e-9);
        }
        let x: f64 = 0.1;
        let step = step_of(code, &[0.5, 0.5], &[1.0, 0.0], x, &estimator)?;
        let series = 0.25 - x * x / 96.0 + x.powi(4) / 1440.0;
        evidence.numerical("sharp family at eta = 0: 1/4 - x^2/96 + x^4/1440", step.ratio(), series, 1e-9);
        let step = step_of(code, &[0.5, 0.5], &[1e-3, 1e-8], 1.0, &estimator)?;
        evidence.condition(
            "best possible: 0.2499 in place of 1/4 is violated with R > 0",
            (step.guarantee(SHARP)..step.guarantee(0.2499)).contains(&step.gain),
            format!("mu = (1/2, 1/2), R = (10^-3, 10^-8), eps = 1: ratio {}", step.ratio()),
        );
    }
    Ok(())
}

/// The maximising step, from the formula alone, against a scan.
fn maximising_step(evidence: &mut Evidence) {
    let (gradient, objective, second) = (0.125, 0.5, 0.25);
    let (epsilon, gain) = bound::best_step(gradient, objective, second, SHARP);
    let guarantee = |epsilon: f64| epsilon * gradient / objective - SHARP * epsilon * epsilon * second;
    let scanned = (0..100_000).map(|i| guarantee(f64::from(i) * 1e-4)).fold(f64::MIN, f64::max);
    // The scan meets the step itself.
    evidence.numerical("the maximising step", gain, scanned, 1e-12);
    // 1/4 over 2 · 1/4 · 1/4; the printed constant is twice as large.
    let printed = bound::best_step(gradient, objective, second, PRINTED).0;
    evidence.numerical("the sharp step", epsilon, 2.0, 1e-12);
    evidence.numerical("is twice the printed one", printed, 1.0, 1e-12);
}

/// C5b.
pub fn monotone<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let rewards = [3.0, 2.0];
    // Gains of log J at eps = 1/2 with zero baseline and with the optimal one, and of J; derived by hand to these digits.
    let expected =
        [(0.5, 0.011_30, 0.0246, 0.0433), (0.9, -0.003_595, 0.002_69, -0.0086), (0.99, -9.96e-5, 3.3e-5, -0.000_29)];
    for (p, plain, optimal, objective) in expected {
        let step = step_of(code, &[p, 1.0 - p], &rewards, 0.5, &Estimator::Advantage)?;
        evidence.numerical("E log J' - log J, R = (3, 2), eps = 1/2", step.gain, plain, 5e-6);
        let better = step_of(code, &[p, 1.0 - p], &rewards, 0.5, &Estimator::Optimal)?;
        evidence.numerical("the same with the optimal baseline", better.gain, optimal, 5e-5);
        evidence.numerical("E J' - J", objective_gain(code, p, rewards, 0.5)?, objective, 5e-5);
        if p == 0.9 {
            evidence.pinned(
                "the expected log J falls, and rises with the optimal baseline",
                &[step.gain.signum(), better.gain.signum()],
                &[-1.0, 1.0],
                format!("R = (3, 2), eps = 1/2, mu_1 = 9/10: {:+.6} against {:+.6}", step.gain, better.gain),
            );
        }
    }
    // Its like: near a vertex the sign of the change is that of 2 eps r1 − (e^{2 eps r2} − 1).
    let instances = effort.times(2000);
    let mut rng = ChaCha8Rng::seed_from_u64(effort.seed);
    let (mut losing, mut clear) = (0, 0);
    evidence.exact("near a vertex it falls iff e^{2 eps r2} - 1 > 2 eps r1", instances, |_| {
        let high: f64 = rng.random_range(0.5..3.0);
        let low = high * rng.random_range(0.05..0.95);
        let epsilon = rng.random_range(0.05..1.0);
        let predicted = 2.0 * epsilon * high - (2.0 * epsilon * low).exp_m1();
        let gain = step_of(code, &[1.0 - 1e-4, 1e-4], &[high, low], epsilon, &Estimator::Advantage)?.gain;
        losing += u64::from(gain.is_sign_negative());
        // Too near to the border between the signs, the next order decides.
        let decided = predicted.abs() > 0.05;
        clear += u64::from(decided);
        let wrong = decided && gain.signum() != predicted.signum();
        Ok(wrong.then(|| format!("r = ({high}, {low}), eps = {epsilon}: {gain}")))
    })?;
    evidence.occurred("losing ones were among them", losing, effort.times(100), "instances");
    evidence.occurred("most were clear of the border between the signs", clear, effort.times(1000), "instances");
    Ok(evidence)
}

/// `E J(θ + εδ) − J(θ)` for two candidates, by the policy itself.
fn objective_gain<E: Estimators>(code: &E, p: f64, rewards: [f64; 2], epsilon: f64) -> Result<f64> {
    let policy = Policy::new(OpTable::from_rows([vec![(p / (1.0 - p)).ln(), 0.0]])?)?;
    let reward = Affine::linear(OpTable::from_rows([rewards.to_vec()])?);
    let before = enumerate::objective(&reward, policy.probabilities())?;
    let mut gain = 0.0;
    for a in policy.shape().enumerate() {
        let mut delta = policy.probabilities().clone();
        enumerate::run(code, &Estimator::Advantage, &reward, policy.probabilities(), &a, &mut delta)?;
        let mut moved = policy.clone();
        moved.update(|logits| {
            logits.values_mut().iter_mut().zip(delta.values()).for_each(|(logit, d)| *logit += epsilon * d);
        })?;
        let change = enumerate::objective(&reward, moved.probabilities())? - before;
        gain += enumerate::product_probability(policy.probabilities(), &a) * change;
    }
    Ok(gain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimators::Core;

    #[test]
    fn violations_are_counted_by_bound() {
        let mut found = BoundSearch::new(6);
        let mut add = |ratio: f64, range_ratio: f64, name: &'static str| {
            found.add(ratio, range_ratio, || name.to_owned());
            (found.sharp_violations, found.printed_violations, found.range_violations, found.instance.clone())
        };
        let after = |sharp, printed, range, instance: &str| (sharp, printed, range, instance.to_owned());
        // 1/4, 1/2 and 1/8, each up to rounding.
        assert_eq!(add(0.2, 0.1, "low"), after(0, 0, 0, "low"));
        assert_eq!(add(0.25 + 5e-10, 0.125 + 5e-10, "border"), after(0, 0, 0, "border"));
        assert_eq!(add(0.1, 0.01, "lower"), after(0, 0, 0, "border"));
        // Of equal ones the first.
        assert_eq!(add(0.25 + 5e-10, 0.0, "equal"), after(0, 0, 0, "border"));
        assert_eq!(add(0.2, 0.125 + 2e-9, "range"), after(0, 0, 1, "range"));
        // The first violation stays.
        assert_eq!(add(0.3, 0.0, "sharp"), after(1, 0, 1, "range"));
        assert_eq!(add(0.5 + 5e-10, 0.0, "printed border"), after(2, 0, 1, "range"));
        assert_eq!(add(0.5 + 2e-9, 0.2, "printed"), after(3, 1, 2, "range"));
        assert_eq!(add(f64::NAN, f64::NAN, "NaN"), after(4, 2, 3, "range"));
        assert_eq!((found.ratio, found.range_ratio), (0.5 + 2e-9, 0.2));
        assert!(!found.holds());

        let mut found = BoundSearch::new(1);
        found.add(0.25 + 2e-9, 0.0, || "sharp".to_owned());
        assert_eq!((found.sharp_violations, found.printed_violations, &found.instance[..]), (1, 0, "sharp"));
    }

    #[test]
    fn a_search_holds_without_violations_near_the_bound() {
        let search = |sharp_violations, printed_violations, ratio| BoundSearch {
            sharp_violations,
            printed_violations,
            ratio,
            ..BoundSearch::new(1)
        };
        assert!(search(0, 0, 0.249).holds());
        for bad in
            [search(1, 0, 0.249), search(0, 1, 0.249), search(0, 0, 0.24), search(0, 0, 0.2), search(0, 0, f64::NAN)]
        {
            assert!(!bad.holds(), "{bad:?}");
        }
    }

    #[test]
    fn the_sharp_family_and_the_best_step() {
        let mut evidence = Evidence::new();
        sharp_family(&Core, &mut evidence).unwrap();
        maximising_step(&mut evidence);
        assert!(evidence.reached(), "{}", evidence.summary());
    }
}
