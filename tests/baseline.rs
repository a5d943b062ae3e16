//! Baselines: the optimal one (claim C15) against every other in exact rationals; moving averages that start at their first
//! value and never see their own sample; accuracy near a vertex; what is refused.
//!
//! How unlikely a false identity would survive (Schwartz–Zippel): with denominators cleared, the identities are polynomials of
//! total degree at most 16 (four weights of `μ` in `d_j`, `w_j` and the variance, degree 2 in the rewards) in numbers drawn
//! uniformly from at least 10⁶ values; a false one passes at least 20 generic instances with probability below 10⁻⁹⁵.

use crate::common::*;
use advantage_nas::estimator::{
    CandidateAverages, EdgeBaselines, MovingAverage, optimal_baseline, optimal_baseline_of_drawn, optimal_weights,
    policy_gradient,
};
use advantage_nas::tolerance::{F64_FEW_ROUNDINGS, assert_close};
use advantage_nas::{Architecture, Error, Shape};
use proptest::prelude::*;

/// `E‖(r_j − b)(e_j − μ)‖² − ‖E[(r_j − b)(e_j − μ)]‖²` of one edge by enumeration.
fn variance(mu: &[Q], r: &[Q], baseline: &Q) -> Q {
    let one = [mu.to_vec()];
    let sample = |a: &[usize]| weighted_score(&(&r[a[0]] - baseline), a[0], mu);
    let second_moment = expectation(&one, |a| square_norm(&sample(a)));
    let mean = expected_rows(&one, |a| vec![sample(a)]);
    second_moment - square_norm(&mean[0])
}

/// `‖e_j − μ‖²`, coordinate by coordinate.
fn distance(mu: &[Q], j: usize) -> Q {
    square_norm(&weighted_score(&whole(1), j, mu))
}

fn is_vertex(mu: &[Q]) -> bool {
    mu.iter().any(|value| *value == whole(1))
}

/// One edge of an instance with one reward per candidate.
fn one_edge(instance: &Instance) -> (Vec<Q>, Vec<Q>) {
    let mu = instance.mu[0].clone();
    let r = (0..mu.len())
        .map(|j| {
            let mut at = vec![0; instance.mu.len()];
            at[0] = j;
            instance.rewards.at(&at)
        })
        .collect();
    (mu, r)
}

proptest! {
    #![proptest_config(config())]

    /// The weights are `μ_j ‖e_j − μ‖²` over their sum, and exist off the vertices.
    #[test]
    fn the_weights_are_the_derived_ones(instance in instances()) {
        let (mu, _) = one_edge(&instance);
        let weights = optimal_weights(&mu);
        prop_assert_eq!(weights.is_none(), is_vertex(&mu));
        if let Some(weights) = weights {
            let total = whole(1) - square_norm(&mu);
            for (j, weight) in weights.iter().enumerate() {
                prop_assert_eq!(weight * &total, &mu[j] * distance(&mu, j));
            }
            prop_assert_eq!(weights.iter().sum::<Q>(), whole(1));
        }
    }

    /// C15: the variance at any constant `b` exceeds that at the optimal baseline `b*` by `(1 − ‖μ‖²)(b − b*)²`, so no other
    /// constant is as good.
    #[test]
    fn no_other_constant_has_lower_variance(instance in instances()) {
        let (mu, r) = one_edge(&instance);
        let best = optimal_baseline(&mu, &r).unwrap();
        prop_assert_eq!(best.is_none(), is_vertex(&mu));
        let Some(best) = best else {
            // On a vertex the score vanishes whatever is drawn: every baseline is optimal.
            prop_assert_eq!(variance(&mu, &r, &instance.constants[0]), whole(0));
            return Ok(());
        };
        let lowest = variance(&mu, &r, &best);
        let tries = instance.constants.iter().chain(&r).cloned().chain([whole(0), &best + q(1, 1000), &best - q(1, 1000)]);
        for other in tries {
            let excess = variance(&mu, &r, &other) - &lowest;
            prop_assert!(excess >= whole(0));
            prop_assert_eq!(excess == whole(0), other == best);
            prop_assert_eq!(excess, (whole(1) - square_norm(&mu)) * (&other - &best) * (&other - &best));
        }
        // V* = Σ μ_j d_j (r_j − r̃)², less the square of the gradient by another way: Σ μ_j² (r_j − r̄)² (claim C8).
        let mean: Q = mu.iter().zip(&r).map(|(x, y)| x * y).sum();
        let second: Q = (0..r.len()).map(|j| &mu[j] * distance(&mu, j) * (&r[j] - &best) * (&r[j] - &best)).sum();
        let first: Q = (0..r.len()).map(|j| &mu[j] * &mu[j] * (&r[j] - &mean) * (&r[j] - &mean)).sum();
        prop_assert_eq!(lowest, second - first);
    }

    /// C15: with two candidates the variance at the optimum is exactly zero: every sample gives the gradient.
    #[test]
    fn two_candidates_leave_no_variance(p in 1..RANGE, first in -RANGE..=RANGE, second in -RANGE..=RANGE) {
        let mu = fractions(&[p, RANGE - p], RANGE);
        let r = fractions(&[first, second], 7);
        let best = optimal_baseline(&mu, &r).unwrap().unwrap();
        prop_assert_eq!(&best, &(&mu[1] * &r[0] + &mu[0] * &r[1]));
        prop_assert_eq!(variance(&mu, &r, &best), whole(0));
        let truth = gradient(std::slice::from_ref(&mu), |a| r[a[0]].clone());
        let probabilities = table(&[mu]);
        for (j, reward) in r.iter().enumerate() {
            let mut out = probabilities.clone();
            let a = architecture(probabilities.shape(), &[j]);
            policy_gradient(&[reward - &best], &a, &probabilities, &mut out).unwrap();
            prop_assert_eq!(&rows(&out), &truth);
        }
    }

    /// The average is the weighted sum of what was seen: `(1 − d) Σ_s d^(t−s) x_s`, the first value with weight `d^(t−1)`.
    #[test]
    fn the_moving_average_is_the_weighted_sum(decay in 0..100i64, values in prop::collection::vec(-RANGE..=RANGE, 1..8)) {
        let decay = q(decay, 100);
        let mut average = MovingAverage::new(decay.clone()).unwrap();
        prop_assert_eq!(average.value(), None);
        for seen in 1..=values.len() {
            average.update(&whole(values[seen - 1]));
            let mut expected = whole(0);
            for (age, value) in values[..seen].iter().rev().enumerate() {
                let power: Q = std::iter::repeat_n(&decay, age).product();
                let share = if age + 1 == seen { power } else { (whole(1) - &decay) * power };
                expected += share * whole(*value);
            }
            prop_assert_eq!(average.value(), Some(&expected));
        }
    }

    /// What is subtracted depends on the past only: the same past and another present give the same baseline, and the first
    /// advantages become zero, whatever they are.
    #[test]
    fn baselines_never_see_their_own_sample(past in prop::collection::vec(-RANGE..=RANGE, 1..5), now in -RANGE..=RANGE) {
        let subtracted = |now: &Q| {
            let mut baselines = EdgeBaselines::new(1, q(9, 10)).unwrap();
            for (index, value) in past.iter().enumerate() {
                let mut advantages = [whole(*value)];
                baselines.subtract_then_update(&mut advantages).unwrap();
                if index == 0 {
                    assert_eq!(advantages, [whole(0)]);
                }
            }
            let before = baselines.averages().to_vec();
            let mut advantages = [now.clone()];
            baselines.subtract_then_update(&mut advantages).unwrap();
            assert_eq!(advantages[0], now - before[0].as_ref().unwrap());
            now - &advantages[0]
        };
        prop_assert_eq!(subtracted(&whole(now)), subtracted(&whole(now + 1)));
    }
}

#[test]
fn values_by_hand() {
    // μ = (1/2, 1/4, 1/4): q = 3/8, d = (3/8, 7/8, 7/8), μ d = (6, 7, 7)/32 with sum 5/8.
    let mu = fractions(&[2, 1, 1], 4);
    assert_eq!(optimal_weights(&mu).unwrap(), fractions(&[6, 7, 7], 20));
    assert_eq!(optimal_baseline(&mu, &fractions(&[1, -2, 4], 1)).unwrap().unwrap(), whole(1));
    // μ = (9/10, 1/10), r = (9, −1): the optimum is 0, the mean 8; variances 0 and 288/25.
    let (mu, r) = (fractions(&[9, 1], 10), fractions(&[9, -1], 1));
    assert_eq!(optimal_baseline(&mu, &r).unwrap().unwrap(), whole(0));
    assert_eq!(variance(&mu, &r, &whole(0)), whole(0));
    assert_eq!(variance(&mu, &r, &whole(8)), q(288, 25));
    // A single candidate, and a vertex of three.
    assert_eq!(optimal_weights(&[whole(1)]), None);
    assert_eq!(optimal_weights(&fractions(&[0, 1, 0], 1)), None);
    assert_eq!(optimal_baseline(&[1.0], &[5.0]).unwrap(), None);
}

#[test]
fn the_baseline_of_drawn_candidates_by_hand() {
    // The weights are (6, 7, 7)/20; of candidates 0 and 2 alone, with averages 1 and 4: (6 · 1 + 7 · 4)/13.
    let mu = fractions(&[2, 1, 1], 4);
    let of =
        |averages: [Option<i64>; 3]| optimal_baseline_of_drawn(&mu, &averages.map(|value| value.map(whole))).unwrap();
    assert_eq!(of([Some(1), None, Some(4)]), q(34, 13));
    assert_eq!(of([None, Some(-3), None]), whole(-3));
    assert_eq!(of([Some(1), Some(-2), Some(4)]), whole(1)); // all of them: the optimal baseline
    assert_eq!(of([None, None, None]), whole(0));
    // A candidate that weighs nothing, and a vertex.
    let half = fractions(&[1, 1, 0], 2);
    assert_eq!(optimal_baseline_of_drawn(&half, &[None, None, Some(whole(5))]).unwrap(), whole(0));
    assert_eq!(optimal_baseline_of_drawn(&[whole(1)], &[Some(whole(5))]).unwrap(), whole(0));
    let error = optimal_baseline_of_drawn(&mu, &[None]).unwrap_err();
    assert_eq!(error.to_string(), "averages of the candidates: expected 3 values, got 1");
}

#[test]
fn near_a_vertex_the_weights_keep_their_digits() {
    // μ = (1 − η, η/4, 3η/4) down to η = 2⁻⁵⁰: the oracle gets the very numbers that f64 holds. Written as 1 − 2μ_j + ‖μ‖²,
    // the distance of the likely candidate, about 2η², would drown in the roundings of numbers near 1.
    for exponent in [1, 5, 10, 20, 26, 30, 40, 50] {
        let eta = 2.0f64.powi(-exponent);
        let mu = [1.0 - eta, eta / 4.0, 3.0 * eta / 4.0];
        let exact: Vec<Q> = mu.iter().map(|value| from_f64(*value)).collect();
        assert_eq!(exact.iter().sum::<Q>(), whole(1));
        let products: Vec<Q> = (0..3).map(|j| &exact[j] * distance(&exact, j)).collect();
        let total: Q = products.iter().sum();
        let weights = optimal_weights(&mu).unwrap();
        for (weight, product) in weights.iter().zip(&products) {
            assert_close(*weight, to_f64(&(product / &total)), F64_FEW_ROUNDINGS, 0.0);
        }
    }
}

#[test]
fn moving_averages_by_hand() {
    let mut average = MovingAverage::new(q(3, 4)).unwrap();
    let mut seen = |value| {
        average.update(&whole(value));
        average.value().cloned().unwrap()
    };
    assert_eq!(seen(8), whole(8)); // not (1 − d) · 8 = 2
    assert_eq!(seen(0), whole(6));
    assert_eq!(seen(10), whole(7));
    average.set(None);
    assert_eq!(average.value(), None);
    average.set(Some(whole(4)));
    average.update(&whole(0));
    assert_eq!(average.value(), Some(&whole(3)));

    let mut baselines = EdgeBaselines::new(2, q(1, 2)).unwrap();
    let mut subtract = |values: [i64; 2]| {
        let mut advantages = values.map(whole);
        baselines.subtract_then_update(&mut advantages).unwrap();
        advantages
    };
    assert_eq!(subtract([4, -2]), [whole(0), whole(0)]);
    assert_eq!(subtract([6, 2]), [whole(2), whole(4)]);
    assert_eq!(subtract([1, 1]), [whole(-4), whole(1)]); // averages were 5 and 0
    assert_eq!(baselines.averages(), [Some(whole(3)), Some(q(1, 2))]);
}

#[test]
fn candidates_have_averages_of_their_own() {
    let shape = Shape::new([2, 3]).unwrap();
    let mut averages = CandidateAverages::new(&shape, q(1, 2)).unwrap();
    assert!(averages.averages().values().iter().all(Option::is_none));
    let mut update = |a: [usize; 2], values: [i64; 2]| {
        averages.update(&architecture(&shape, &a), &values.map(whole)).unwrap();
    };
    update([0, 2], [4, 6]);
    update([1, 2], [-1, 2]);
    update([0, 0], [0, 9]);
    let expected = [vec![Some(whole(2)), Some(whole(-1))], vec![Some(whole(9)), None, Some(whole(4))]];
    assert_eq!(rows(averages.averages()), expected);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let message = "decay of a moving average must be at least 0 and below 1, got 1.5";
    assert_eq!(MovingAverage::new(1.5).unwrap_err().to_string(), message);
    assert_eq!(EdgeBaselines::new(2, 1.5).unwrap_err().to_string(), message);
    let shape = Shape::new([2, 3]).unwrap();
    assert_eq!(CandidateAverages::new(&shape, 1.5).unwrap_err().to_string(), message);
    for decay in [1.0, -1e-9, f64::NAN] {
        assert!(matches!(MovingAverage::new(decay), Err(Error::Setting { .. })));
        assert!(matches!(EdgeBaselines::new(1, decay), Err(Error::Setting { .. })));
        assert!(matches!(CandidateAverages::new(&shape, decay), Err(Error::Setting { .. })));
    }
    assert!(MovingAverage::new(0.0).is_ok());

    let error = EdgeBaselines::new(2, 0.5).unwrap().subtract_then_update(&mut [1.0]).unwrap_err();
    assert_eq!(error.to_string(), "advantages: expected 2 values, got 1");
    let mut averages = CandidateAverages::new(&shape, 0.5).unwrap();
    let error = averages.update(&Architecture::first(&shape), &[1.0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "values to average: expected 2 values, got 3");
    let error = averages.update(&architecture(&Shape::new([2, 4]).unwrap(), &[0, 3]), &[1.0; 2]).unwrap_err();
    assert!(matches!(error, Error::NoSuchCandidate { edge: 1, candidate: 3, candidates: 3 }), "{error}");
    let error = optimal_baseline(&[0.5, 0.5], &[1.0]).unwrap_err();
    assert_eq!(error.to_string(), "rewards of the candidates: expected 2 values, got 1");
}
