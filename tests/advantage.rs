//! The advantage, Eq. (6), and line 9 of Algorithm 1: unbiased for *any* reward (claim C6, Theorem 4.2) and for any baseline
//! of the other edges in place of `R(s_i, 0)`, checked in exact rationals; why the independence of the edges is needed; values
//! by hand; what is refused.
//!
//! How unlikely a false identity would survive (Schwartz–Zippel): as in `reinforce.rs`, the difference of the two sides is a
//! polynomial of total degree at most 6 in numbers drawn uniformly from at least 10⁶ values, so a false identity passes all of
//! at least 20 generic instances with probability below 10⁻¹⁰⁴. The rewards without an edge are entries of their own, not
//! tied to the rewards with it.

use crate::common::*;
use advantage_nas::estimator::{advantages, policy_gradient};
use advantage_nas::{Architecture, Error, OpTable, Shape};
use proptest::prelude::*;

fn advantages_of(reward: &Q, removals: &[Q]) -> Vec<Q> {
    let mut out = vec![whole(77); removals.len()];
    advantages(reward, removals, &mut out).expect("as many removals as edges");
    out
}

fn estimate(advantages: &[Q], a: &[usize], mu: &[Vec<Q>]) -> Rows<Q> {
    let probabilities = table(mu);
    let mut out = probabilities.map(|_| whole(77));
    policy_gradient(advantages, &architecture(probabilities.shape(), a), &probabilities, &mut out)
        .expect("of one space");
    rows(&out)
}

fn exact_estimate(rewards: &Rewards, a: &[usize], mu: &[Vec<Q>]) -> Rows<Q> {
    let removals: Vec<Q> = (0..mu.len()).map(|edge| rewards.without(a, edge)).collect();
    estimate(&advantages_of(&rewards.at(a), &removals), a, mu)
}

proptest! {
    #![proptest_config(config())]

    /// C6, Theorem 4.2: the expectation of `A_i (a_i − μ_i)` is the gradient, for any reward table and any rewards without an
    /// edge.
    #[test]
    fn the_advantage_is_unbiased(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let expected = gradient(&mu, |a| rewards.at(a));
        prop_assert_eq!(expected_rows(&mu, |a| exact_estimate(&rewards, a, &mu)), expected);
    }

    /// Every single estimate is `(R(a) − R(s_i, 0))(a_i − μ_i)`, with an advantage of its own at every edge.
    #[test]
    fn every_estimate_is_the_weighted_score(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        for a in choices(&counts(&mu)) {
            let expected: Rows<Q> = mu
                .iter()
                .enumerate()
                .map(|(edge, row)| weighted_score(&(rewards.at(&a) - rewards.without(&a, edge)), a[edge], row))
                .collect();
            prop_assert_eq!(exact_estimate(&rewards, &a, &mu), expected);
        }
    }

    /// Line 9 of Algorithm 1 with arbitrary numbers as advantages.
    #[test]
    fn line_9_weighs_every_edge_by_its_own_advantage(instance in instances()) {
        let Instance { mu, constants, .. } = instance;
        for a in choices(&counts(&mu)) {
            let expected: Rows<Q> =
                mu.iter().enumerate().map(|(i, row)| weighted_score(&constants[i], a[i], row)).collect();
            prop_assert_eq!(estimate(&constants, &a, &mu), expected);
        }
    }

    /// A minibatch: rewards that are averages over data stay unbiased, as data and architecture are independent. Two
    /// equally likely minibatches stand for the data.
    #[test]
    fn minibatches_leave_it_unbiased(first in instances(), seed in 1..1000i64) {
        let Instance { mu, rewards, .. } = first;
        let second = Rewards::from_fn(&counts(&mu), |at| {
            at.iter().flatten().fold(whole(seed), |hash, &j| hash * whole(7) + whole(j as i64)) - whole(500)
        });
        let mean = |a: &[usize]| (rewards.at(a) + second.at(a)) / whole(2);
        let half = |value: Rows<Q>, other: Rows<Q>| -> Rows<Q> {
            value.iter().zip(&other).map(|(x, y)| x.iter().zip(y).map(|(x, y)| (x + y) / whole(2)).collect()).collect()
        };
        let got = expected_rows(&mu, |a| half(exact_estimate(&rewards, a, &mu), exact_estimate(&second, a, &mu)));
        prop_assert_eq!(got, gradient(&mu, mean));
    }
}

#[test]
fn values_by_hand() {
    assert_eq!(advantages_of(&whole(5), &fractions(&[2, 7, 5], 1)), fractions(&[3, -2, 0], 1));
    let mu = vec![fractions(&[1, 3], 4), fractions(&[1, 1, 0], 2)];
    let expected = vec![fractions(&[-3, 3], 4), fractions(&[4, -4, 0], 2)];
    assert_eq!(estimate(&fractions(&[3, -4], 1), &[1, 1], &mu), expected);
}

#[test]
fn dependent_edges_break_it() {
    // Claim C6, the other direction. Two edges whose second choice always equals the first, μ = 1/2, R = 0 everywhere, except
    // that R(0, e_1) = 1: the gradient is 0, but the expected estimate of edge 1 is (−1/4, 1/4). The code is right and the
    // assumption of independent edges is needed.
    let mu = vec![fractions(&[1, 1], 2), fractions(&[1, 1], 2)];
    let rewards = Rewards::from_fn(&[2, 2], |at| whole(i64::from(at == [None, Some(0)])));
    let mut edge_1 = fractions(&[0, 0], 1);
    for both in [0, 1] {
        for (sum, value) in edge_1.iter_mut().zip(&exact_estimate(&rewards, &[both, both], &mu)[0]) {
            *sum += value / whole(2);
        }
    }
    assert_eq!(edge_1, fractions(&[-1, 1], 4));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let error = advantages(&1.0, &[1.0; 3], &mut [0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "rewards without an edge: expected 2 values, got 3");

    let probabilities = OpTable::from_rows([vec![0.5, 0.5], vec![0.25, 0.25, 0.5]]).unwrap();
    let here = Architecture::first(probabilities.shape());
    let mut out = probabilities.clone();
    let error = policy_gradient(&[1.0; 3], &here, &probabilities, &mut out).unwrap_err();
    assert_eq!(error.to_string(), "advantages: expected 2 values, got 3");
    let far = architecture(&Shape::new([5, 1]).unwrap(), &[4, 0]);
    let error = policy_gradient(&[1.0; 2], &far, &probabilities, &mut out).unwrap_err();
    assert!(matches!(error, Error::NoSuchCandidate { edge: 0, candidate: 4, candidates: 2 }), "{error}");
    let mut other = OpTable::filled(&Shape::new([3, 2]).unwrap(), 0.0);
    let error = policy_gradient(&[1.0; 2], &here, &probabilities, &mut other).unwrap_err();
    assert_eq!(error.to_string(), "gradient estimate: candidates per edge differ, expected [2, 3], got [3, 2]");
}
