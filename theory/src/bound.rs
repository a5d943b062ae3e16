//! Theorem 4.1: how much one step improves the objective at least. Eq. (5) as printed, with `ε²/2`; sharp, with `ε²/4`; and in a
//! third form that is stronger still.
//!
//! # Formula
//! For `R ≥ 0`, `J > 0`, any `ε > 0` and any estimate `δ` with `E δ = ∇J`:
//! `E log J(θ + εδ) − log J(θ) ≥ ε‖∇J‖²/J − (ε²/8) E Σ_i range(δ_i)² ≥ ε‖∇J‖²/J − c ε² E‖δ‖²`, `c = 1/4`,
//! where `range(v) = max_j v_j − min_j v_j`. Eq. (5) has `c = 1/2`; it is written with `E‖δ‖² = Var δ + ‖∇J‖²`.

use advantage_nas::{Architecture, OpTable};

/// The constant of Eq. (5) as printed.
pub const PRINTED: f64 = 0.5;

/// The best possible constant.
pub const SHARP: f64 = 0.25;

/// The constant of the form with ranges.
pub const RANGE: f64 = 0.125;

/// One step of size `ε` along an estimate, in expectation over the estimate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// `E log J(θ + εδ) − log J(θ)`.
    pub gain: f64,
    /// `J(θ)`.
    pub objective: f64,
    /// `ε ∇J·E[δ]/J`; `ε‖∇J‖²/J` for an unbiased estimate.
    pub linear: f64,
    /// `ε² E‖δ‖²`.
    pub quadratic: f64,
    /// `ε² E Σ_i range(δ_i)²`.
    pub range: f64,
}

impl Step {
    /// The right-hand side with constant `c`: `ε‖∇J‖²/J − c ε² E‖δ‖²`.
    #[must_use]
    pub fn guarantee(&self, constant: f64) -> f64 {
        self.linear - constant * self.quadratic
    }

    /// The right-hand side with ranges.
    #[must_use]
    pub fn range_guarantee(&self) -> f64 {
        self.linear - RANGE * self.range
    }

    /// The smallest `c` for which the bound holds here; the theorem says at most [`SHARP`]. NaN where nothing moves.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        (self.linear - self.gain) / self.quadratic
    }

    /// As [`Step::ratio`] for the form with ranges, at most [`RANGE`].
    #[must_use]
    pub fn range_ratio(&self) -> f64 {
        (self.linear - self.gain) / self.range
    }
}

/// The exact step in expectation over the architectures, from the reward and the estimate of each.
///
/// `architectures`, `rewards` and `estimates` are parallel and list the whole space. Everything is computed relative to `J(θ)`
/// with `ln_1p` and `exp_m1`, so that the gain keeps its digits for small steps.
#[must_use]
pub fn step(
    probabilities: &OpTable<f64>,
    architectures: &[Architecture],
    rewards: &[f64],
    estimates: &[OpTable<f64>],
    epsilon: f64,
) -> Step {
    let shape = probabilities.shape();
    let weights: Vec<f64> =
        architectures.iter().map(|a| crate::enumerate::product_probability(probabilities, a)).collect();
    let objective = crate::number::dot(&weights, rewards);
    let mut out = Step { gain: 0.0, objective, linear: 0.0, quadratic: 0.0, range: 0.0 };
    let mut changes = vec![0.0; shape.len()];
    let mut starts = Vec::with_capacity(shape.edges());
    for edge in 0..shape.edges() {
        starts.push(starts.last().map_or(0, |start| start + shape.candidates(edge - 1)));
    }
    for (weight, estimate) in weights.iter().zip(estimates) {
        if *weight == 0.0 {
            continue;
        }
        // ln(p_θ'(a)/p_θ(a)) is a sum over edges of D_j − D·μ − ln E exp(D_j − D·μ).
        let (mut square, mut range) = (0.0, 0.0);
        for edge in 0..shape.edges() {
            let (mu, delta) = (probabilities.edge(edge), estimate.edge(edge));
            let change = &mut changes[starts[edge]..starts[edge] + delta.len()];
            let mean = epsilon * crate::number::dot(mu, delta);
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            let mut growth = 0.0;
            for ((value, d), probability) in change.iter_mut().zip(delta).zip(mu) {
                *value = epsilon * d - mean;
                growth += probability * value.exp_m1();
                square += epsilon * d * epsilon * d;
                low = low.min(*value);
                high = high.max(*value);
            }
            let normalizer = growth.ln_1p();
            change.iter_mut().for_each(|value| *value -= normalizer);
            range += (high - low) * (high - low);
        }
        let (mut growth, mut ratio, mut linear) = (0.0, 0.0, 0.0);
        for ((architecture, reward), p) in architectures.iter().zip(rewards).zip(&weights) {
            let (mut log_ratio, mut first_order) = (0.0, 0.0);
            for (edge, &choice) in architecture.choices().iter().enumerate() {
                log_ratio += changes[starts[edge] + choice];
                first_order += epsilon * (estimate[(edge, choice)]);
            }
            growth += p * reward / objective * log_ratio.exp_m1();
            ratio += p * reward / objective * log_ratio.exp();
            linear += p * reward / objective * first_order;
        }
        // Σ_a (p R/J) Σ_i D_i·(a_i − μ_i) = D·∇J/J.
        let centre: f64 = probabilities.values().iter().zip(estimate.values()).map(|(mu, d)| mu * epsilon * d).sum();
        // J'/J − 1 has the digits near 0, J'/J where it is small.
        out.gain += weight * if growth > -0.5 { growth.ln_1p() } else { f64::ln(ratio) };
        out.linear += weight * (linear - centre);
        out.quadratic += weight * square;
        out.range += weight * range;
    }
    out
}

/// The step size with the largest guarantee for the constant `c`, and the guaranteed gain:
/// `ε* = ‖∇J‖²/(2c J E‖δ‖²)`, gain `‖∇J‖⁴/(4c J² E‖δ‖²)`. With the sharp constant twice the printed one's.
#[must_use]
pub fn best_step(gradient_norm2: f64, objective: f64, second_moment: f64, constant: f64) -> (f64, f64) {
    let slope = gradient_norm2 / objective;
    let epsilon = slope / (2.0 * constant * second_moment);
    (epsilon, slope * epsilon / 2.0)
}

/// The limit of the ratio for small `εℓ` on the sharp family: two candidates, `μ = 1/2`, `R = (ℓ, ηℓ)`: `((1−η)/(1+η))²/4`.
#[must_use]
pub fn sharp_limit(eta: f64) -> f64 {
    let q = (1.0 - eta) / (1.0 + eta);
    q * q / 4.0
}

/// A step on the sharp family with `x = εℓ`, REINFORCE (and Eq. (6): with one edge and `R(0) = 0` they are the same), in closed
/// form: with `s = (1+η)/2`, the gain is the mean of `ln(J'/J)` over the two candidates, `δ = r_j (e_j − μ)`.
#[must_use]
pub fn sharp_step(x: f64, eta: f64) -> Step {
    let objective = f64::midpoint(1.0, eta);
    // After drawing candidate 1 (2), θ₁ − θ₂ = x (−ηx), so μ₁ = (1 + tanh(x/2))/2.
    let gain_of = |difference: f64| ((1.0 - eta) * (difference / 2.0).tanh() / (2.0 * objective)).ln_1p();
    let gain = f64::midpoint(gain_of(x), gain_of(-eta * x));
    let gradient = (1.0 - eta) / 4.0;
    let second = (1.0 + eta * eta) / 4.0;
    Step {
        gain,
        objective,
        linear: x * 2.0 * gradient * gradient / objective,
        quadratic: x * x * second,
        range: x * x * 2.0 * second,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::tolerance::assert_close;
    use advantage_nas::{Policy, estimator};

    /// The step by the policy itself: new logits, new probabilities, logarithm of the new objective.
    #[test]
    fn the_step_is_what_the_policy_does() {
        let logits = OpTable::from_rows([vec![0.3, -0.2, 0.0], vec![1.0, 0.0]]).unwrap();
        let policy = Policy::new(logits.clone()).unwrap();
        let shape = logits.shape().clone();
        let architectures: Vec<Architecture> = shape.enumerate().collect();
        let rewards = [1.0, 3.0, 0.0, 2.0, 0.5, 4.0];
        let epsilon = 0.7;
        let mu = policy.probabilities();
        let weights: Vec<f64> = architectures.iter().map(|a| policy.log_probability(a).unwrap().exp()).collect();
        let objective = crate::number::dot(&weights, &rewards);
        let mut estimates = Vec::new();
        let (mut gain, mut second, mut range) = (0.0, 0.0, 0.0);
        let mut mean = OpTable::filled(&shape, 0.0);
        for ((a, reward), weight) in architectures.iter().zip(rewards).zip(&weights) {
            let mut estimate = OpTable::filled(&shape, 0.0);
            estimator::reinforce(&reward, a, mu, &mut estimate).unwrap();
            let mut moved = policy.clone();
            moved
                .update(|values| {
                    values.values_mut().iter_mut().zip(estimate.values()).for_each(|(t, d)| *t += epsilon * d);
                })
                .unwrap();
            let after: f64 = architectures
                .iter()
                .zip(rewards)
                .map(|(b, reward)| moved.log_probability(b).unwrap().exp() * reward)
                .sum();
            gain += weight * (after / objective).ln();
            second += weight * epsilon * epsilon * crate::number::norm2(estimate.values());
            for edge in 0..2 {
                let row = estimate.edge(edge);
                let width = row.iter().copied().fold(f64::MIN, f64::max) - row.iter().copied().fold(f64::MAX, f64::min);
                range += weight * epsilon * epsilon * width * width;
            }
            mean.values_mut().iter_mut().zip(estimate.values()).for_each(|(m, d)| *m += weight * d);
            estimates.push(estimate);
        }
        let step = step(mu, &architectures, &rewards, &estimates, epsilon);
        assert_close(step.gain, gain, 1e-12, 0.0);
        assert_close(step.objective, objective, 1e-14, 0.0);
        assert_close(step.linear, epsilon * crate::number::norm2(mean.values()) / objective, 1e-12, 0.0);
        assert_close(step.quadratic, second, 1e-13, 0.0);
        assert_close(step.range, range, 1e-13, 0.0);
        assert_close(step.guarantee(0.25), step.linear - 0.25 * second, 1e-13, 0.0);
        assert_close(step.guarantee(step.ratio()), step.gain, 1e-12, 0.0);
        assert_close(step.linear - step.range_ratio() * step.range, step.gain, 1e-12, 0.0);
        assert_close(step.range_guarantee(), step.linear - 0.125 * range, 1e-13, 0.0);
    }

    #[test]
    fn the_sharp_family_in_closed_form_is_the_step() {
        let probabilities = OpTable::from_rows([vec![0.5, 0.5]]).unwrap();
        let architectures: Vec<Architecture> = probabilities.shape().enumerate().collect();
        for (scale, eta, epsilon) in [(1.0, 0.3, 0.5), (0.01, 0.0, 2.0), (3.0, 0.9, 1.0)] {
            let rewards = [scale, eta * scale];
            let estimates: Vec<_> = architectures
                .iter()
                .zip(rewards)
                .map(|(a, reward)| {
                    let mut out = OpTable::filled(probabilities.shape(), 0.0);
                    estimator::reinforce(&reward, a, &probabilities, &mut out).unwrap();
                    out
                })
                .collect();
            let exact = step(&probabilities, &architectures, &rewards, &estimates, epsilon);
            let closed = sharp_step(epsilon * scale, eta);
            assert_close(exact.gain, closed.gain, 1e-12, 0.0);
            assert_close(exact.linear, closed.linear, 1e-12, 0.0);
            assert_close(exact.quadratic, closed.quadratic, 1e-13, 0.0);
            assert_close(exact.range, closed.range, 1e-13, 0.0);
            assert_close(exact.objective, closed.objective * scale, 1e-13, 0.0);
        }
    }

    /// A step that all but empties the one architecture with a reward: J'/J = μ'/μ = 2/(1 + e^60), far below the last digit of one.
    #[test]
    fn losses_of_everything_keep_their_digits() {
        let probabilities = OpTable::from_rows([vec![0.5, 0.5]]).unwrap();
        let architectures: Vec<Architecture> = probabilities.shape().enumerate().collect();
        let estimate = OpTable::from_rows([vec![-30.0, 30.0]]).unwrap();
        let step = step(&probabilities, &architectures, &[1.0, 0.0], &[estimate.clone(), estimate], 1.0);
        assert_close(step.gain, 2f64.ln() - 60.0, 1e-13, 0.0);
    }

    /// The softmax does not change if all logits of an edge do by the same amount, however large.
    #[test]
    fn a_shift_of_all_logits_gains_nothing() {
        let probabilities = OpTable::from_rows([vec![0.25, 0.75]]).unwrap();
        let architectures: Vec<Architecture> = probabilities.shape().enumerate().collect();
        let gain = |shift: f64| {
            let estimate = OpTable::from_rows([vec![shift + 0.5, shift - 0.5]]).unwrap();
            step(&probabilities, &architectures, &[2.0, 1.0], &[estimate.clone(), estimate], 1.0).gain
        };
        assert_close(gain(512.0), gain(0.0), 1e-12, 0.0);
        // J = 5/4 before; after, μ_1 = e/(e + 3) and J = 1 + μ_1.
        let e = 1f64.exp();
        assert_close(gain(0.0), ((1.0 + e / (e + 3.0)) / 1.25).ln(), 1e-13, 0.0);
    }

    #[test]
    fn the_sharp_limit_by_hand() {
        assert_eq!(sharp_limit(0.0), 0.25);
        // (1/2 / 3/2)² / 4.
        assert_close(sharp_limit(0.5), 1.0 / 36.0, 1e-15, 0.0);
        assert_eq!(sharp_limit(1.0), 0.0);
    }

    #[test]
    fn the_best_step_is_the_maximum() {
        let (gradient, objective, second) = (0.3, 2.0, 1.7);
        let guarantee = |epsilon: f64, c: f64| epsilon * gradient / objective - c * epsilon * epsilon * second;
        for constant in [PRINTED, SHARP] {
            let (epsilon, gain) = best_step(gradient, objective, second, constant);
            assert_close(guarantee(epsilon, constant), gain, 1e-14, 0.0);
            assert!(guarantee(0.99 * epsilon, constant) < gain && guarantee(1.01 * epsilon, constant) < gain);
        }
        let (printed, sharp) =
            (best_step(gradient, objective, second, PRINTED), best_step(gradient, objective, second, SHARP));
        assert_close(sharp.1, 2.0 * printed.1, 1e-14, 0.0);
        assert_close(sharp.0, 2.0 * gradient / (objective * second), 1e-14, 0.0);
    }
}
