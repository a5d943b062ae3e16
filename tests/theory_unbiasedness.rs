//! Theorem 4.2 and the identity of Eqs. (3) and (4), exactly, on the core's estimators (claims C3, C6, C6b, C7, C19).
//!
//! Each property is an equality of rational functions. Cleared of the denominators `Σ_k ρ_k` (one per edge), both sides have degree
//! at most 6 in the weights and 1 in the rewards; weights are drawn from 96 values in half of the cases, rewards from 193. If one of
//! the identities were false, a generic case would show it with probability at least 1 − 7/96 (Schwartz, Zippel), and all of some 120
//! generic cases would miss it with probability below 10⁻¹³⁰.

use crate::theory_support;
use advantage_nas::{Architecture, OpTable};
use advantage_nas_theory::enumerate::{Estimator, LIMIT, Law, gradient, moments, moments_over_minibatches};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::number::{Rational, rational, whole};
use advantage_nas_theory::reward::{Affine, Reward, Table};
use proptest::prelude::*;

proptest! {
    #![proptest_config(theory_support::config(256))]

    /// Eq. (4), with any constant baseline, on any table of rewards.
    #[test]
    fn reinforce((mu, rewards) in theory_support::tables(3, 3, 1), baseline in theory_support::reward()) {
        let reward = &rewards[0];
        let expected = gradient(|a| reward.at(a), &mu).unwrap();
        for estimator in [Estimator::Reinforce, Estimator::Baseline(baseline)] {
            prop_assert_eq!(&moments(&Core, &estimator, reward, &mu).unwrap().expectation, &expected);
        }
    }

    /// Eq. (6), on any table of rewards and of R(s_i, 0); Eq. (7) on the multi-affine function through it; the optimal baseline.
    #[test]
    fn advantages((mu, rewards) in theory_support::tables(3, 3, 1)) {
        let reward = &rewards[0];
        let expected = gradient(|a| reward.at(a), &mu).unwrap();
        for estimator in [Estimator::Advantage, Estimator::FirstOrder, Estimator::Optimal] {
            prop_assert_eq!(&moments(&Core, &estimator, reward, &mu).unwrap().expectation, &expected);
        }
    }

    /// With minibatches: the weights of three minibatches are those of one more edge.
    #[test]
    fn minibatches((mu, rewards) in theory_support::tables(2, 3, 3), weights in theory_support::weights(3)) {
        let total: i64 = weights.iter().sum();
        let batches: Vec<(Rational, Table<Rational>)> =
            weights.iter().map(|weight| rational(*weight, total)).zip(rewards).collect();
        let mean = |a: &Architecture| batches.iter().map(|(weight, reward)| weight * reward.at(a)).sum::<Rational>();
        let expected = gradient(mean, &mu).unwrap();
        for estimator in [Estimator::Reinforce, Estimator::Advantage] {
            let found = moments_over_minibatches(&Core, &estimator, &batches, &mu).unwrap();
            prop_assert_eq!(&found.expectation, &expected);
        }
    }

    /// Any baseline b(s_i) leaves the expectation alone (claim C6b): R(s_i, 0) of another table is an arbitrary function of s_i.
    #[test]
    fn state_dependent_baselines((mu, tables) in theory_support::tables(3, 3, 2)) {
        let (reward, baseline) = (&tables[0], &tables[1]);
        let found = Law::product(&mu, LIMIT).unwrap().moments(|a, out| {
            let centred: Vec<Rational> =
                (0..mu.shape().edges()).map(|edge| reward.at(a) - baseline.without(a, edge)).collect();
            Ok(advantage_nas::estimator::policy_gradient(&centred, a, &mu, out)?)
        });
        prop_assert_eq!(found.unwrap().expectation, gradient(|a| reward.at(a), &mu).unwrap());
    }
}

/// Without independent edges Theorem 4.2 is false: a_2 = a_1, R = 0 on all architectures, R(0, e_1) = 1, R(0, e_2) = 0.
#[test]
fn dependent_edges_are_biased() {
    let shape = advantage_nas::Shape::new([2, 2]).unwrap();
    let half = rational(1, 2);
    let atoms = (0..2).map(|j| (half.clone(), Architecture::new(&shape, [j, j]).unwrap())).collect();
    let law = Law::coupled(&shape, atoms).unwrap();
    let reward = Table::from_fn(&shape, |choices| whole(i64::from(*choices == [None, Some(0)]))).unwrap();
    let mu = OpTable::filled(&shape, half);
    let found = law.moments(|a, out| {
        let removals: Vec<Rational> = (0..2).map(|edge| reward.without(a, edge)).collect();
        let mut advantages = removals.clone();
        advantage_nas::estimator::advantages(&reward.at(a), &removals, &mut advantages)?;
        Ok(advantage_nas::estimator::policy_gradient(&advantages, a, &mu, out)?)
    });
    assert_eq!(found.unwrap().expectation.edge(0), [rational(-1, 4), rational(1, 4)]);
}

/// Drawn with 3/5 where μ = 1/2 (as a sampler that is not exact would), a constant reward drifts.
#[test]
fn another_distribution_is_biased() {
    let shape = advantage_nas::Shape::new([2]).unwrap();
    let atoms = [(0, 3), (1, 2)].map(|(j, weight)| (rational(weight, 5), Architecture::new(&shape, [j]).unwrap()));
    let law = Law::coupled(&shape, atoms.to_vec()).unwrap();
    let reward = Affine::linear(OpTable::filled(&shape, whole(1)));
    let mu = OpTable::filled(&shape, rational(1, 2));
    let found = law.moments(|a, out| Ok(advantage_nas::estimator::reinforce(&reward.at(a), a, &mu, out)?));
    assert_eq!(found.unwrap().expectation.values(), [rational(1, 10), rational(-1, 10)]);
}
