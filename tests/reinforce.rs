//! REINFORCE, Eq. (3) and (4): unbiased for every baseline that does not see the sample (claim C3), checked in exact
//! rationals; values by hand; what is refused.
//!
//! How unlikely a false identity would survive (Schwartz–Zippel): `E[δ] − ∇J`, multiplied by the sum of the weights of every
//! edge (at most three edges, plus two more factors for the score), is a polynomial of degree at most 5 in the weights behind
//! `μ` and 1 in the rewards, each drawn uniformly from at least 10⁶ values in the generic half of the instances. A polynomial
//! that is not zero vanishes at such a point with probability below 6·10⁻⁶, at 20 of them (of about 48) below 10⁻¹⁰⁴.

use crate::common::*;
use advantage_nas::estimator::{minibatch_reward, reinforce, reinforce_mean, reinforce_with_baseline};
use advantage_nas::{Architecture, Error, OpTable, Shape};
use proptest::prelude::*;

fn estimate(reward: &Q, baseline: Option<&Q>, a: &[usize], mu: &[Vec<Q>]) -> Rows<Q> {
    let probabilities = table(mu);
    let mut out = probabilities.map(|_| whole(77));
    let a = architecture(probabilities.shape(), a);
    match baseline {
        None => reinforce(reward, &a, &probabilities, &mut out),
        Some(baseline) => reinforce_with_baseline(reward, baseline, &a, &probabilities, &mut out),
    }
    .expect("all of one space");
    rows(&out)
}

proptest! {
    #![proptest_config(config())]

    /// C3: the expectation of Eq. (4) is the gradient, for any reward table.
    #[test]
    fn reinforce_is_unbiased(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let expected = gradient(&mu, |a| rewards.at(a));
        prop_assert_eq!(expected_rows(&mu, |a| estimate(&rewards.at(a), None, a, &mu)), expected);
    }

    /// C3: so it is with any constant baseline.
    #[test]
    fn a_constant_baseline_leaves_it_unbiased(instance in instances()) {
        let Instance { mu, rewards, constants } = instance;
        let expected = gradient(&mu, |a| rewards.at(a));
        for constant in &constants {
            let got = expected_rows(&mu, |a| estimate(&rewards.at(a), Some(constant), a, &mu));
            prop_assert_eq!(got, expected.clone());
        }
    }

    /// Every single estimate is `(R − b)(a_i − μ_i)`, whatever was in the output before.
    #[test]
    fn every_estimate_is_the_weighted_score(instance in instances()) {
        let Instance { mu, rewards, constants } = instance;
        for a in choices(&counts(&mu)) {
            let (reward, baseline) = (rewards.at(&a), &constants[0]);
            let scores = |weight: &Q| -> Rows<Q> {
                mu.iter().zip(&a).map(|(row, &choice)| weighted_score(weight, choice, row)).collect()
            };
            prop_assert_eq!(estimate(&reward, None, &a, &mu), scores(&reward));
            prop_assert_eq!(estimate(&reward, Some(baseline), &a, &mu), scores(&(&reward - baseline)));
        }
    }

    /// Eq. (3): the mean of several estimates, and over all pairs of independent draws still the gradient.
    #[test]
    fn the_mean_of_samples_is_unbiased(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let probabilities = table(&mu);
        let all = choices(&counts(&mu));
        // Pairs are quadratic in the number of architectures; sixteen of them are 256 pairs.
        prop_assume!(all.len() <= 16);
        let mut sum: Rows<Q> = mu.iter().map(|row| vec![whole(0); row.len()]).collect();
        for first in &all {
            for second in &all {
                let weight = probability(&mu, first) * probability(&mu, second);
                let samples = [first, second].map(|a| (rewards.at(a), architecture(probabilities.shape(), a)));
                let mut out = probabilities.clone();
                reinforce_mean(&samples, &probabilities, &mut out).unwrap();
                for (sums, values) in sum.iter_mut().zip(rows(&out)) {
                    for (total, value) in sums.iter_mut().zip(values) {
                        *total += &weight * value;
                    }
                }
            }
        }
        prop_assert_eq!(sum, gradient(&mu, |a| rewards.at(a)));
    }
}

#[test]
fn values_by_hand() {
    // μ = (1/2, 1/4, 1/4) and (1/3, 2/3), a = (1, 0): the scores are (−1/2, 3/4, −1/4) and (2/3, −2/3).
    let mu = vec![fractions(&[2, 1, 1], 4), fractions(&[1, 2], 3)];
    let expected = vec![fractions(&[-6, 9, -3], 4), fractions(&[6, -6], 3)];
    assert_eq!(estimate(&whole(3), None, &[1, 0], &mu), expected);
    // r = 3, b = 5: the weight is −2.
    let expected = vec![fractions(&[4, -6, 2], 4), fractions(&[-4, 4], 3)];
    assert_eq!(estimate(&whole(3), Some(&whole(5)), &[1, 0], &mu), expected);
    // A drawn vertex has no score: nothing is left to learn there.
    assert_eq!(estimate(&whole(3), None, &[0], &[fractions(&[1, 0], 1)]), [fractions(&[0, 0], 1)]);
}

#[test]
fn the_mean_by_hand() {
    // μ = (1/2, 1/2): r = 2 at e_1 gives (1, −1), r = −4 at e_2 gives (2, −2), r = 0 gives 0: the mean is (1, −1).
    let probabilities = table(&[fractions(&[1, 1], 2)]);
    let shape = probabilities.shape();
    let samples = [(2, 0), (-4, 1), (0, 0)].map(|(reward, j)| (whole(reward), architecture(shape, &[j])));
    let mut out = probabilities.clone();
    reinforce_mean(&samples, &probabilities, &mut out).unwrap();
    assert_eq!(rows(&out), [fractions(&[1, -1], 1)]);
    reinforce_mean(&samples[..1], &probabilities, &mut out).unwrap();
    assert_eq!(rows(&out), [fractions(&[1, -1], 1)]);
    reinforce_mean(&samples[1..], &probabilities, &mut out).unwrap();
    assert_eq!(rows(&out), [fractions(&[1, -1], 1)]);
    reinforce_mean(&samples[..2], &probabilities, &mut out).unwrap();
    assert_eq!(rows(&out), [fractions(&[3, -3], 2)]);
}

#[test]
fn the_reward_of_a_minibatch_is_minus_the_average_loss() {
    assert_eq!(minibatch_reward(&fractions(&[1, 2, 6], 1)).unwrap(), whole(-3));
    assert_eq!(minibatch_reward(&fractions(&[1, -3], 2)).unwrap(), q(1, 2));
    assert_eq!(minibatch_reward(&[2.5f32]).unwrap(), -2.5);
    assert_eq!(minibatch_reward(&[0.5f64, 0.25]).unwrap(), -0.375);
    let error = minibatch_reward::<f64>(&[]).unwrap_err();
    assert!(matches!(error, Error::Length { what: "losses of a minibatch", expected: 1, got: 0 }), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let probabilities = OpTable::from_rows([vec![0.5, 0.5], vec![0.25, 0.25, 0.5]]).unwrap();
    let here = Architecture::first(probabilities.shape());
    let other = Shape::new([2, 2]).unwrap();
    let mut out = probabilities.clone();

    let mut small = OpTable::filled(&other, 0.0);
    let message = "gradient estimate: candidates per edge differ, expected [2, 3], got 2x2";
    assert_eq!(reinforce(&1.0, &here, &probabilities, &mut small).unwrap_err().to_string(), message);
    assert_eq!(
        reinforce_with_baseline(&1.0, &0.0, &here, &probabilities, &mut small).unwrap_err().to_string(),
        message
    );
    let samples = [(1.0, here.clone())];
    assert_eq!(reinforce_mean(&samples, &probabilities, &mut small).unwrap_err().to_string(), message);

    let long = Architecture::first(&Shape::new([1, 1, 1]).unwrap());
    let message = "architecture: expected 2 values, got 3";
    assert_eq!(reinforce(&1.0, &long, &probabilities, &mut out).unwrap_err().to_string(), message);
    let samples = [(1.0, here), (1.0, long)];
    assert_eq!(reinforce_mean(&samples, &probabilities, &mut out).unwrap_err().to_string(), message);

    let far = architecture(&Shape::new([2, 9]).unwrap(), &[0, 8]);
    let error = reinforce(&1.0, &far, &probabilities, &mut out).unwrap_err();
    assert!(matches!(error, Error::NoSuchCandidate { edge: 1, candidate: 8, candidates: 3 }), "{error}");

    let error = reinforce_mean(&[], &probabilities, &mut out).unwrap_err();
    assert!(matches!(error, Error::Length { what: "sampled architectures", expected: 1, got: 0 }), "{error}");
}
