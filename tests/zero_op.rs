//! Footnote 4: replacing the advantage of the zero operation by a constant `c` biases the estimate by exactly `c μ_z (e_z − μ)`
//! (claim C14), for both rules; which constant each rule takes; the counterexamples; what is refused.
//!
//! How unlikely a false identity would survive: see `advantage.rs`; the same instances, the same degrees.

use crate::common::*;
use advantage_nas::estimator::{ZeroOperation, ZeroRule, policy_gradient};
use advantage_nas::{Architecture, Edge, Error, SearchSpace, Shape};
use proptest::prelude::*;

/// A space with the given candidates whose edges have the zero operations `zeros`.
fn space(counts: &[usize], zeros: &[Option<usize>]) -> SearchSpace {
    let edge = |(index, (&count, zero)): (usize, (&usize, &Option<usize>))| {
        let edge = Edge::new(format!("edge {index}"), (0..count).map(|candidate| format!("op {candidate}")));
        match zero {
            Some(zero) => edge.with_zero(*zero),
            None => edge,
        }
    };
    SearchSpace::new(counts.iter().zip(zeros).enumerate().map(edge).collect()).expect("a valid space")
}

/// A rule whose moving averages have the given values.
fn rule(space: &SearchSpace, rule: ZeroRule, averages: &[Vec<Option<Q>>]) -> ZeroOperation<Q> {
    let mut zero = ZeroOperation::new(space, rule, q(1, 2)).expect("a decay within its range");
    *zero.averages_mut().averages_mut() = table(averages);
    zero
}

fn apply(zero: &mut ZeroOperation<Q>, shape: &Shape, a: &[usize], advantages: &[Q]) -> Vec<Q> {
    let mut values = advantages.to_vec();
    zero.apply(&architecture(shape, a), &mut values).expect("of one space");
    values
}

/// `E[δ]` of one edge with candidates' rewards `r` (zero for the zero operation `z`), where the moving averages are at their
/// expectations, the rewards themselves.
fn expected_estimate(mu: &[Q], r: &[Q], z: usize, zero_rule: ZeroRule) -> Vec<Q> {
    let space = space(&[r.len()], &[Some(z)]);
    let averages = [r.iter().cloned().map(Some).collect::<Vec<_>>()];
    let probabilities = table(&[mu.to_vec()]);
    let mut all = expected_rows(&[mu.to_vec()], |a| {
        // The averages are at a fixed point: taking in r_j once more leaves average j at r_j.
        let mut zero = rule(&space, zero_rule, &averages);
        let advantages = apply(&mut zero, space.shape(), a, &[r[a[0]].clone()]);
        let mut out = probabilities.clone();
        policy_gradient(&advantages, &architecture(space.shape(), a), &probabilities, &mut out).expect("of one space");
        rows(&out)
    });
    all.remove(0)
}

fn true_gradient(mu: &[Q], r: &[Q]) -> Vec<Q> {
    gradient(&[mu.to_vec()], |a| r[a[0]].clone()).remove(0)
}

/// The constant that each rule puts in place of the zero operation's advantage, by the words of the footnote and of the
/// released code.
fn constant(r: &[Q], z: usize, rule: ZeroRule) -> Q {
    let others: Vec<&Q> = r.iter().enumerate().filter(|&(j, _)| j != z).map(|(_, value)| value).collect();
    let worst = others.into_iter().min().cloned().unwrap_or_else(|| whole(0));
    match rule {
        ZeroRule::Keep => whole(0),
        ZeroRule::WorstOfOthers => worst,
        ZeroRule::WorstOfAll => worst.min(whole(0)),
    }
}

proptest! {
    #![proptest_config(config())]

    /// C14: `E[δ] − ∇J = c μ_z (e_z − μ)`, for all three rules and every place of the zero operation.
    #[test]
    fn the_bias_is_the_derived_one(instance in instances()) {
        let Instance { mu, rewards, .. } = instance;
        let mu = &mu[0];
        for z in 0..mu.len() {
            let r: Vec<Q> = (0..mu.len())
                .map(|j| {
                    let mut at = vec![0; rewards.edges()];
                    at[0] = j;
                    if j == z { whole(0) } else { rewards.at(&at) }
                })
                .collect();
            let truth = true_gradient(mu, &r);
            for zero_rule in [ZeroRule::Keep, ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll] {
                let c = constant(&r, z, zero_rule);
                let bias = weighted_score(&(c * &mu[z]), z, mu);
                let expected: Vec<Q> = truth.iter().zip(&bias).map(|(value, bias)| value + bias).collect();
                prop_assert_eq!(expected_estimate(mu, &r, z, zero_rule), expected);
            }
        }
    }

    /// Edges that did not draw their zero operation, or have none, keep their advantages; and the averages take in the raw
    /// advantages whatever is drawn, with decay 1/2 here.
    #[test]
    fn other_edges_are_left_alone(instance in instances(), zero_at in 0..5usize) {
        let Instance { mu, constants, rewards } = instance;
        let counts = counts(&mu);
        let zeros: Vec<Option<usize>> = counts.iter().map(|&count| (zero_at < count).then_some(zero_at)).collect();
        let space = space(&counts, &zeros);
        let before: Vec<Vec<Option<Q>>> = counts
            .iter()
            .map(|&count| (0..count).map(|j| (j % 2 == 0).then(|| rewards.at(&vec![0; counts.len()]))).collect())
            .collect();
        for a in choices(&counts) {
            let mut zero = rule(&space, ZeroRule::WorstOfOthers, &before);
            let got = apply(&mut zero, space.shape(), &a, &constants);
            for (edge, &choice) in a.iter().enumerate() {
                if zeros[edge] != Some(choice) {
                    prop_assert_eq!(&got[edge], &constants[edge]);
                }
                for (j, old) in before[edge].iter().enumerate() {
                    let expected = match old {
                        Some(old) if j == choice => Some((old + &constants[edge]) / whole(2)),
                        None if j == choice => Some(constants[edge].clone()),
                        other => other.clone(),
                    };
                    prop_assert_eq!(&zero.averages().averages()[(edge, j)], &expected);
                }
            }
        }
    }
}

#[test]
fn a_positive_constant_promotes_the_zero_operation() {
    // r = (1, 0), μ = 1/2, z = 2: c = 1. The gradient is (1/4, −1/4), the expected estimate 0: z never dies out.
    let (mu, r) = (fractions(&[1, 1], 2), fractions(&[1, 0], 1));
    assert_eq!(true_gradient(&mu, &r), fractions(&[1, -1], 4));
    assert_eq!(expected_estimate(&mu, &r, 1, ZeroRule::WorstOfOthers), fractions(&[0, 0], 1));
    // The released code takes min(0, 1) = 0 here and is unbiased.
    assert_eq!(expected_estimate(&mu, &r, 1, ZeroRule::WorstOfAll), fractions(&[1, -1], 4));
    // So is r = (1, 1, 0).
    let (mu, r) = (fractions(&[1, 1, 1], 3), fractions(&[1, 1, 0], 1));
    assert_eq!(expected_estimate(&mu, &r, 2, ZeroRule::WorstOfOthers), fractions(&[0, 0, 0], 1));
    assert_eq!(expected_estimate(&mu, &r, 2, ZeroRule::Keep), fractions(&[1, 1, -2], 9));
}

#[test]
fn a_negative_constant_moves_the_optimum() {
    // r = (−1, −2, 0), μ = 1/3: the gradient (0, −1/3, 1/3) climbs to z, the expected estimate (2/9, −1/9, −1/9) to the first.
    let (mu, r) = (fractions(&[1, 1, 1], 3), fractions(&[-1, -2, 0], 1));
    assert_eq!(true_gradient(&mu, &r), fractions(&[0, -1, 1], 3));
    for zero_rule in [ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll] {
        assert_eq!(expected_estimate(&mu, &r, 2, zero_rule), fractions(&[2, -1, -1], 9));
    }
    // r = (−2, −3, 0): it even points away from the gradient, with inner product −1/27 (per unit of μ's 1/9).
    let r = fractions(&[-2, -3, 0], 1);
    let estimate = expected_estimate(&mu, &r, 2, ZeroRule::WorstOfOthers);
    let inner: Q = estimate.iter().zip(&true_gradient(&mu, &r)).map(|(x, y)| x * y).sum();
    assert_eq!(inner, q(-1, 27));
}

#[test]
fn candidates_that_were_never_drawn() {
    let space = space(&[3], &[Some(1)]);
    let shape = space.shape();
    let draw_zero = |zero_rule, averages: [Option<i64>; 3]| {
        let averages = [averages.map(|value| value.map(whole)).to_vec()];
        apply(&mut rule(&space, zero_rule, &averages), shape, &[1], &[whole(0)]).remove(0)
    };
    use ZeroRule::{Keep, WorstOfAll, WorstOfOthers};
    // Nothing seen yet: nothing to compare with.
    assert_eq!(draw_zero(WorstOfOthers, [None, None, None]), whole(0));
    assert_eq!(draw_zero(WorstOfAll, [None, None, None]), whole(0));
    // Footnote 4: the worst of the others that were seen, of either sign.
    assert_eq!(draw_zero(WorstOfOthers, [Some(4), None, None]), whole(4));
    assert_eq!(draw_zero(WorstOfOthers, [None, None, Some(-3)]), whole(-3));
    assert_eq!(draw_zero(WorstOfOthers, [Some(4), None, Some(2)]), whole(2));
    assert_eq!(draw_zero(WorstOfOthers, [Some(2), Some(-9), Some(4)]), whole(2));
    // The released code: what was never drawn counts as zero, so does the zero operation; never positive.
    assert_eq!(draw_zero(WorstOfAll, [Some(4), None, None]), whole(0));
    assert_eq!(draw_zero(WorstOfAll, [None, None, Some(-3)]), whole(-3));
    assert_eq!(draw_zero(WorstOfAll, [Some(4), None, Some(2)]), whole(0));
    assert_eq!(draw_zero(WorstOfAll, [Some(-2), Some(-9), Some(-1)]), whole(-2));
    for averages in [[None, None, None], [Some(4), None, Some(2)], [Some(-2), Some(1), Some(-1)]] {
        assert_eq!(draw_zero(Keep, averages), whole(0));
    }
}

#[test]
fn the_averages_follow_the_draws() {
    // Decay 1/2, zero operation 0 of the first edge; the second edge has none.
    let space = space(&[3, 2], &[Some(0), None]);
    let mut zero = ZeroOperation::new(&space, ZeroRule::WorstOfOthers, q(1, 2)).unwrap();
    assert!(zero.is_active());
    let mut draw = |a: [usize; 2], advantages: [i64; 2]| apply(&mut zero, space.shape(), &a, &advantages.map(whole));
    assert_eq!(draw([0, 0], [0, 5]), [whole(0), whole(5)]);
    assert_eq!(draw([1, 1], [6, -5]), [whole(6), whole(-5)]);
    assert_eq!(draw([0, 0], [0, 7]), [whole(6), whole(7)]);
    assert_eq!(draw([1, 0], [2, 0]), [whole(2), whole(0)]); // average 1 is 4 now
    assert_eq!(draw([2, 0], [9, 0]), [whole(9), whole(0)]);
    assert_eq!(draw([0, 1], [0, 1]), [whole(4), whole(1)]);
    assert_eq!(draw([2, 1], [-7, 1]), [whole(-7), whole(1)]); // average 2 is 1 now
    assert_eq!(draw([0, 1], [0, 1]), [whole(1), whole(1)]);
    let averages = rows(zero.averages().averages());
    assert_eq!(averages[0], [Some(whole(0)), Some(whole(4)), Some(whole(1))]);
}

#[test]
fn rules_that_change_nothing_say_so() {
    let with = space(&[2, 2], &[None, Some(0)]);
    let without = space(&[2, 2], &[None, None]);
    let active = |space, rule| ZeroOperation::<f64>::new(space, rule, 0.5).unwrap().is_active();
    assert!(active(&with, ZeroRule::WorstOfOthers) && active(&with, ZeroRule::WorstOfAll));
    assert!(!active(&with, ZeroRule::Keep) && !active(&without, ZeroRule::WorstOfOthers));
    assert_eq!(ZeroRule::default(), ZeroRule::WorstOfOthers);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let space = space(&[2, 3], &[None, Some(2)]);
    for decay in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        let error = ZeroOperation::new(&space, ZeroRule::Keep, decay).unwrap_err();
        assert!(matches!(error, Error::Setting { name: "decay of a moving average", .. }), "{error}");
    }
    let mut zero = ZeroOperation::new(&space, ZeroRule::WorstOfAll, 0.5).unwrap();
    let here = Architecture::first(space.shape());
    let error = zero.apply(&here, &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "values to average: expected 2 values, got 1");
    let error = zero.apply(&architecture(&Shape::new([3, 3]).unwrap(), &[2, 0]), &mut [0.0; 2]).unwrap_err();
    assert!(matches!(error, Error::NoSuchCandidate { edge: 0, candidate: 2, candidates: 2 }), "{error}");
    // Nothing was taken in.
    assert!(zero.averages().averages().values().iter().all(Option::is_none));
}
