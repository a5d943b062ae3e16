//! The first-order advantage, Eq. (7): equal to Eq. (6) and unbiased where the reward is multi-affine in the edges (claim C7),
//! biased elsewhere (claim C7b), checked in exact rationals; values by hand; what is refused.
//!
//! How unlikely a false identity would survive (Schwartz–Zippel): the multi-affine reward has one free coefficient for every
//! choice of a candidate or nothing at every edge, drawn uniformly from at least 10⁶ values in the generic half of the
//! instances. The sides differ by a polynomial of total degree at most 6, which passes at least 20 generic instances with
//! probability below 10⁻¹⁰⁴ unless it is zero.

use crate::common::*;
use advantage_nas::estimator::{advantages, first_order, policy_gradient};
use advantage_nas::{Architecture, Error, OpTable, Shape};
use proptest::prelude::*;

fn first_order_of(reward_gradient: &[Vec<Q>], a: &[usize]) -> Vec<Q> {
    let reward_gradient = table(reward_gradient);
    let mut out = vec![whole(77); a.len()];
    first_order(&reward_gradient, &architecture(reward_gradient.shape(), a), &mut out).expect("of one space");
    out
}

fn estimate(advantages: &[Q], a: &[usize], mu: &[Vec<Q>]) -> Rows<Q> {
    let probabilities = table(mu);
    let mut out = probabilities.clone();
    policy_gradient(advantages, &architecture(probabilities.shape(), a), &probabilities, &mut out)
        .expect("of one space");
    rows(&out)
}

proptest! {
    #![proptest_config(config())]

    /// C7: for multi-affine rewards, Eq. (7) is Eq. (6), architecture by architecture.
    #[test]
    fn it_is_the_advantage_of_multi_affine_rewards(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let counts = counts(&mu);
        for a in choices(&counts) {
            let weights = one_hot(&counts, &a);
            let removals: Vec<Q> =
                (0..counts.len()).map(|edge| rewards.multi_affine(&one_hot_without(&counts, &a, edge))).collect();
            let mut exact = vec![whole(77); counts.len()];
            advantages(&rewards.multi_affine(&weights), &removals, &mut exact).unwrap();
            prop_assert_eq!(first_order_of(&rewards.multi_affine_gradient(&weights), &a), exact);
        }
    }

    /// C7: hence its estimate is unbiased for them.
    #[test]
    fn it_is_unbiased_for_multi_affine_rewards(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let counts = counts(&mu);
        let got = expected_rows(&mu, |a| {
            let slopes = rewards.multi_affine_gradient(&one_hot(&counts, a));
            estimate(&first_order_of(&slopes, a), a, &mu)
        });
        prop_assert_eq!(got, gradient(&mu, |a| rewards.multi_affine(&one_hot(&counts, a))));
    }

    /// C7b: with a squared loss of the sum of scalar outputs `u`, `R = −(y − Σ_i u_i)²`, Eq. (7) is unbiased for another
    /// objective, `J − Σ_i E‖u_i‖²`.
    #[test]
    fn of_squared_losses_it_climbs_another_objective(instance in instances()) {
        let Instance { mu, rewards, constants } = instance;
        let counts = counts(&mu);
        let target = &constants[0];
        // Outputs: the entries of the table that choose at one edge only.
        let output = |edge: usize, j: usize| {
            let mut at = vec![0; counts.len()];
            at[edge] = j;
            rewards.at(&at)
        };
        let miss = |a: &[usize]| target - a.iter().enumerate().map(|(edge, &j)| output(edge, j)).sum::<Q>();
        let got = expected_rows(&mu, |a| {
            // ∂R/∂a_i^j = 2 (y − Σ u) u_i^j.
            let slopes: Rows<Q> = counts
                .iter()
                .enumerate()
                .map(|(edge, &count)| (0..count).map(|j| whole(2) * miss(a) * output(edge, j)).collect())
                .collect();
            estimate(&first_order_of(&slopes, a), a, &mu)
        });
        let penalised = |a: &[usize]| {
            let penalty: Q = a.iter().enumerate().map(|(edge, &j)| output(edge, j) * output(edge, j)).sum();
            -(miss(a) * miss(a)) - penalty
        };
        prop_assert_eq!(got, gradient(&mu, penalised));
    }

    /// Only the entries of the chosen candidates are read.
    #[test]
    fn it_reads_the_chosen_candidates(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let counts = counts(&mu);
        let slopes = rewards.multi_affine_gradient(&mu);
        for a in choices(&counts) {
            let expected: Vec<Q> = a.iter().enumerate().map(|(edge, &j)| slopes[edge][j].clone()).collect();
            prop_assert_eq!(first_order_of(&slopes, &a), expected);
        }
    }
}

#[test]
fn the_pinned_bias() {
    // C7b: outputs (1, 1/2), target 1, R = −(1 − u)², μ = 1/2. Eq. (6): A = (0 + 1, −1/4 + 1) = (1, 3/4), the gradient is
    // (1/16, −1/16). Eq. (7): A = 2 (1 − u) u = (0, 1/2), its estimate has expectation (−1/8, 1/8): minus twice the gradient.
    let mu = vec![fractions(&[1, 1], 2)];
    let outputs = fractions(&[2, 1], 2);
    let reward = |u: &Q| -((whole(1) - u) * (whole(1) - u));
    let slopes = |a: &[usize]| {
        let u = &outputs[a[0]];
        vec![outputs.iter().map(|output| whole(2) * (whole(1) - u) * output).collect::<Vec<Q>>()]
    };
    assert_eq!(first_order_of(&slopes(&[0]), &[0]), [whole(0)]);
    assert_eq!(first_order_of(&slopes(&[1]), &[1]), [q(1, 2)]);

    let exact = expected_rows(&mu, |a| {
        let mut advantage = [whole(0)];
        advantages(&reward(&outputs[a[0]]), &[whole(-1)], &mut advantage).unwrap();
        assert_eq!(advantage, if a[0] == 0 { [whole(1)] } else { [q(3, 4)] });
        estimate(&advantage, a, &mu)
    });
    assert_eq!(exact, [fractions(&[1, -1], 16)]);
    assert_eq!(exact, gradient(&mu, |a| reward(&outputs[a[0]])));

    let approximate = expected_rows(&mu, |a| estimate(&first_order_of(&slopes(a), a), a, &mu));
    assert_eq!(approximate, [fractions(&[-1, 1], 8)]);
}

#[test]
fn values_by_hand() {
    let slopes = [fractions(&[3, -1, 4], 1), fractions(&[-5, 9], 2)];
    assert_eq!(first_order_of(&slopes, &[1, 1]), [whole(-1), q(9, 2)]);
    assert_eq!(first_order_of(&slopes, &[2, 0]), [whole(4), q(-5, 2)]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let slopes = OpTable::from_rows([vec![1.0, 2.0], vec![3.0]]).unwrap();
    let here = Architecture::first(slopes.shape());
    let error = first_order(&slopes, &here, &mut [0.0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "advantages: expected 2 values, got 3");
    let error = first_order(&slopes, &architecture(&Shape::new([1, 4]).unwrap(), &[0, 3]), &mut [0.0; 2]).unwrap_err();
    assert!(matches!(error, Error::NoSuchCandidate { edge: 1, candidate: 3, candidates: 1 }), "{error}");
    let error = first_order(&slopes, &Architecture::first(&Shape::new([2]).unwrap()), &mut [0.0; 2]).unwrap_err();
    assert_eq!(error.to_string(), "architecture: expected 2 values, got 1");
}
