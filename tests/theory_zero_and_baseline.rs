//! Footnote 4 and the optimal baseline (claims C14, C15), exactly, on the core's code.

use crate::theory_support;
use advantage_nas::estimator::{ZeroOperation, ZeroRule, optimal_baseline, optimal_weights};
use advantage_nas::{Edge, OpTable, SearchSpace, estimator};
use advantage_nas_theory::enumerate::{Estimator, LIMIT, Law, Moments, alternatives, gradient, moments};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::number::{Rational, norm2, rational, square, whole};
use advantage_nas_theory::reward::{Affine, Reward};
use advantage_nas_theory::testbed::Testbed;
use proptest::prelude::*;

/// Moments of Eq. (6) at one edge with the advantage of its zero operation replaced. The moving averages have seen every other
/// candidate: of a linear reward each advantage is its expectation.
fn replaced(mu: &OpTable<Rational>, rewards: &OpTable<Rational>, zero: usize, rule: ZeroRule) -> Moments<Rational> {
    let names = (0..mu.shape().candidates(0)).map(|j| j.to_string());
    let space = SearchSpace::new(vec![Edge::new("edge", names).with_zero(zero)]).unwrap();
    let mut operation = ZeroOperation::new(&space, rule, rational(1, 2)).unwrap();
    for a in mu.shape().enumerate() {
        operation.apply(&a, &mut [rewards[(0, a.choice(0))].clone()]).unwrap();
    }
    let law = Law::product(mu, LIMIT).unwrap();
    let found = law.moments(|a, out| {
        let mut advantages = [rewards[(0, a.choice(0))].clone()];
        operation.clone().apply(a, &mut advantages)?;
        Ok(estimator::policy_gradient(&advantages, a, mu, out)?)
    });
    found.unwrap()
}

/// One edge with at least two candidates, one of them the zero operation with reward 0.
fn with_zero() -> impl Strategy<Value = (OpTable<Rational>, OpTable<Rational>, usize)> {
    (2usize..=4).prop_flat_map(|n| {
        let rewards = proptest::collection::vec(theory_support::reward(), n);
        (theory_support::weights(n), rewards, 0..n).prop_map(|(weights, mut rewards, zero)| {
            let total: i64 = weights.iter().sum();
            let mu = weights.into_iter().map(|weight| rational(weight, total)).collect::<Vec<_>>();
            rewards[zero] = whole(0);
            (OpTable::from_rows([mu]).unwrap(), OpTable::from_rows([rewards]).unwrap(), zero)
        })
    })
}

proptest! {
    #![proptest_config(theory_support::config(200))]

    /// The bias is c μ_z (e_z − μ), and nothing but c = 0 or a vertex removes it.
    #[test]
    fn bias_of_the_replacement((mu, rewards, zero) in with_zero()) {
        let others = rewards.edge(0).iter().enumerate().filter(|(j, _)| *j != zero).map(|(_, r)| r);
        let worst = others.min().unwrap().clone();
        let bed = Testbed::new(&mu, &rewards, whole(0)).unwrap();
        let reward = Affine::linear(rewards.clone());
        let exact = gradient(|a| reward.at(a), &mu).unwrap();
        for (rule, value) in [
            (ZeroRule::Keep, whole(0)),
            (ZeroRule::WorstOfOthers, worst.clone()),
            (ZeroRule::WorstOfAll, worst.clone().min(whole(0))),
        ] {
            let found = replaced(&mu, &rewards, zero, rule);
            let form = bed.zero_replaced(0, zero, &value);
            prop_assert_eq!(found.expectation.values(), &form.expectation[..]);
            prop_assert_eq!(&found.second_moment[0], &form.second_moment);
            prop_assert_eq!(&found.variance()[0], &form.variance);
            for (j, bias) in form.bias.iter().enumerate() {
                let row = mu.edge(0);
                let by_hand = &value * &row[zero] * (whole(i64::from(j == zero)) - &row[j]);
                prop_assert_eq!(bias, &by_hand);
                prop_assert_eq!(&found.expectation.values()[j] - &exact.values()[j], by_hand);
            }
        }
    }

    /// b* minimises the second moment among all baselines of the state: moving it by h(s) costs (1 − q) E h².
    #[test]
    fn optimal_among_all((mu, tables) in theory_support::tables(2, 3, 2)) {
        let (reward, change) = (&tables[0], &tables[1]);
        let law = Law::product(&mu, LIMIT).unwrap();
        let best = moments(&Core, &Estimator::Optimal, reward, &mu).unwrap();
        let moved = law.moments(|a, out| {
            let centred = (0..mu.shape().edges()).map(|edge| {
                let baseline = optimal_baseline(mu.edge(edge), &alternatives(reward, a, edge)?)?;
                Ok(reward.at(a) - baseline.unwrap_or_else(|| whole(0)) - change.without(a, edge))
            });
            let centred: Vec<Rational> = centred.collect::<advantage_nas_theory::Result<_>>()?;
            Ok(estimator::policy_gradient(&centred, a, &mu, out)?)
        });
        let moved = moved.unwrap();
        for edge in 0..mu.shape().edges() {
            let cost = (whole(1) - norm2(mu.edge(edge))) * law.expect(|a| square(&change.without(a, edge)));
            prop_assert_eq!(&moved.second_moment[edge] - &best.second_moment[edge], cost);
        }
        prop_assert_eq!(&moved.expectation, &best.expectation);
    }

    /// Two candidates: a linear reward has no variance left.
    #[test]
    fn two_candidates_have_no_variance((mu, reward) in theory_support::affine(3, 2)) {
        let found = moments(&Core, &Estimator::Optimal, &reward, &mu).unwrap();
        prop_assert!(found.variance().iter().all(|variance| *variance == whole(0)));
    }

    /// The weights are a distribution, proportional to μ_j ‖e_j − μ‖²; there are none on a vertex.
    #[test]
    fn weights_of_the_baseline(mu in theory_support::probabilities(1, 4)) {
        let row = mu.edge(0);
        match optimal_weights(row) {
            None => prop_assert!(row.iter().any(|p| *p == whole(1))),
            Some(weights) => {
                prop_assert_eq!(weights.iter().sum::<Rational>(), whole(1));
                for j in 0..row.len() {
                    let distance: Rational =
                        row.iter().enumerate().map(|(k, p)| square(&(whole(i64::from(j == k)) - p))).sum();
                    prop_assert_eq!(&weights[j] * (whole(1) - norm2(row)), distance * &row[j]);
                }
            }
        }
    }
}

fn uniform(rewards: &[i64]) -> (OpTable<Rational>, OpTable<Rational>) {
    let rewards = OpTable::from_rows([rewards.iter().map(|r| whole(*r)).collect::<Vec<_>>()]).unwrap();
    (OpTable::filled(rewards.shape(), rational(1, rewards.shape().len() as i64)), rewards)
}

/// The ledger's instances of C14, uniform μ.
#[test]
fn counterexamples_of_footnote_4() {
    let expectation = |rewards: &[i64], zero, rule| {
        let (mu, rewards) = uniform(rewards);
        replaced(&mu, &rewards, zero, rule).expectation.values().to_vec()
    };
    let ninths = |values: [i64; 3]| values.map(|value| rational(value, 9)).to_vec();
    // Better than nothing, and yet nothing is done.
    assert_eq!(expectation(&[1, 0], 1, ZeroRule::WorstOfOthers), [whole(0), whole(0)]);
    assert_eq!(expectation(&[1, 0], 1, ZeroRule::WorstOfAll), [rational(1, 4), rational(-1, 4)]);
    assert_eq!(expectation(&[1, 1, 0], 2, ZeroRule::WorstOfOthers), ninths([0, 0, 0]));
    // Worse than nothing, and yet the first candidate wins. The gradient is (0, −1/3, 1/3).
    assert_eq!(expectation(&[-1, -2, 0], 2, ZeroRule::WorstOfOthers), ninths([2, -1, -1]));
    assert_eq!(expectation(&[-1, -2, 0], 2, ZeroRule::WorstOfAll), ninths([2, -1, -1]));
    assert_eq!(expectation(&[-1, -2, 0], 2, ZeroRule::Keep), ninths([0, -3, 3]));
    // Descent.
    let biased = expectation(&[-2, -3, 0], 2, ZeroRule::WorstOfOthers);
    let exact = expectation(&[-2, -3, 0], 2, ZeroRule::Keep);
    assert_eq!(biased.iter().zip(&exact).map(|(b, e)| b * e).sum::<Rational>(), rational(-1, 27));
}

/// μ = (9/10, 1/10), r = (9, −1): r̃ = 0 although r̄ = 8; the mean baseline costs 288/25.
#[test]
fn the_mean_is_not_the_optimal_baseline() {
    let mu = OpTable::from_rows([vec![rational(9, 10), rational(1, 10)]]).unwrap();
    let reward = Affine::linear(OpTable::from_rows([vec![whole(9), whole(-1)]]).unwrap());
    assert_eq!(optimal_baseline(mu.edge(0), reward.rewards.edge(0)).unwrap(), Some(whole(0)));
    let variance = |estimator| moments(&Core, &estimator, &reward, &mu).unwrap().variance()[0].clone();
    assert_eq!(variance(Estimator::Advantage), whole(0));
    assert_eq!(variance(Estimator::AdvantageMinus(vec![whole(8)])), rational(288, 25));
}
