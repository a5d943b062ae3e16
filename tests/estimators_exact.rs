//! What the exact tests of the estimators stand on: the oracle itself against finite differences, the generators' coverage of
//! the corners, and the estimators in `f32` and `f64` against themselves in exact rationals. The theorems are in the files of
//! the estimators: `reinforce`, `advantage`, `first_order`, `zero_op`, `baseline`.

use crate::common::*;
use advantage_nas::OpTable;
use advantage_nas::estimator::{
    EdgeBaselines, MovingAverage, Scalar, ZeroOperation, ZeroRule, advantages, first_order, minibatch_reward,
    optimal_baseline, optimal_weights, policy_gradient, reinforce, reinforce_mean, reinforce_with_baseline,
};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_FEW_ROUNDINGS, F64_FEW_ROUNDINGS, assert_all_close, assert_close,
    central_difference,
};
use num_traits::{FromPrimitive, ToPrimitive};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::ops::Range;

// ---------------------------------------------------------------- the oracle

#[test]
fn the_oracle_gradient_is_the_derivative_of_the_expected_reward() {
    // J(θ) = E[R] by plain sums in f64, differentiated numerically in θ.
    let logits: Rows<f64> = vec![vec![0.3, -0.7, 0.1], vec![1.0, 0.5], vec![0.0, 0.2, -0.4, 0.9]];
    let counts = counts(&logits);
    let rewards = Rewards::from_fn(&counts, |at| {
        q(at.iter().fold(3, |hash, choice| (hash * 31 + choice.map_or(7, |j| j as i64 + 1)) % 101) - 50, 25)
    });
    let expected_reward = |logits: &Rows<f64>| -> f64 {
        let mu: Rows<f64> = logits.iter().map(|row| softmax(row)).collect();
        let weight = |a: &[usize]| -> f64 { mu.iter().zip(a).map(|(row, &j)| row[j]).product() };
        choices(&counts).iter().map(|a| weight(a) * to_f64(&rewards.at(a))).sum()
    };
    let mu: Rows<Q> = logits.iter().map(|row| softmax(row).into_iter().map(from_f64).collect()).collect();
    let exact = gradient(&mu, |a| rewards.at(a));
    for edge in 0..counts.len() {
        for j in 0..counts[edge] {
            let slope = central_difference(CENTRAL_STEP, |step| {
                let mut moved = logits.clone();
                moved[edge][j] += step;
                expected_reward(&moved)
            });
            assert_close(slope, to_f64(&exact[edge][j]), CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
        }
    }
}

#[test]
fn the_oracle_enumerates_every_architecture_once() {
    let all = choices(&[2, 1, 3]);
    assert_eq!(all.len(), 6);
    assert_eq!(all.iter().collect::<std::collections::BTreeSet<_>>().len(), 6);
    let mu = vec![fractions(&[1, 2], 3), fractions(&[1], 1), fractions(&[1, 0, 4], 5)];
    assert_eq!(expectation(&mu, |_| whole(1)), whole(1));
    assert_eq!(probability(&mu, &[1, 0, 2]), q(8, 15));
    assert_eq!(conditional(&mu, 2, 1, |a| whole(a[2] as i64)), whole(1));
}

#[test]
fn multi_affine_rewards_are_affine_in_every_edge() {
    // R = 2 + 3 a_1^2 − a_1^1 a_2^1 by hand, at one-hot, zero and mixed weights.
    let rewards = Rewards::from_fn(&[2, 1], |at| match at {
        [None, None] => whole(2),
        [Some(1), None] => whole(3),
        [Some(0), Some(0)] => whole(-1),
        _ => whole(0),
    });
    assert_eq!(rewards.multi_affine(&one_hot(&[2, 1], &[0, 0])), whole(1));
    assert_eq!(rewards.multi_affine(&one_hot(&[2, 1], &[1, 0])), whole(5));
    assert_eq!(rewards.multi_affine(&one_hot_without(&[2, 1], &[1, 0], 0)), whole(2));
    let mixed = [fractions(&[1, 1], 2), fractions(&[1], 3)];
    assert_eq!(rewards.multi_affine(&mixed), q(10, 3));
    let slopes = rewards.multi_affine_gradient(&mixed);
    assert_eq!(slopes, [vec![q(-1, 3), whole(3)], vec![q(-1, 2)]]);
    // Read as a reward, the same numbers are entries.
    assert_eq!(rewards.at(&[0, 0]), whole(-1));
    assert_eq!(rewards.without(&[1, 0], 1), whole(3));
    assert_eq!(rewards.without(&[0, 0], 0), whole(0));
}

// ---------------------------------------------------------------- the generators

#[test]
fn the_generator_reaches_the_corners() {
    const N: usize = 512;
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), seed);
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    let mut note = |what: &'static str, is: bool| *seen.entry(what).or_default() += usize::from(is);
    for _ in 0..N {
        let instance = instances().new_tree(&mut runner).expect("a strategy without filters").current();
        let (mu, counts) = (&instance.mu, instance.counts());
        for row in mu {
            assert_eq!(row.iter().sum::<Q>(), whole(1));
            assert!(row.iter().all(|value| *value >= whole(0)));
        }
        assert_eq!(instance.constants.len(), mu.len());
        let any_row = |is: &dyn Fn(&[Q]) -> bool| mu.iter().any(|row| row.len() > 1 && is(row));
        note("a vertex", any_row(&|row| row.iter().any(|value| *value == whole(1))));
        note(
            "a face",
            any_row(&|row| row.iter().any(|value| *value == whole(0)) && row.iter().all(|value| *value != whole(1))),
        );
        note("uniform", any_row(&|row| row.iter().all(|value| *value == row[0])));
        note(
            "nearly a vertex",
            any_row(&|row| row.iter().any(|value| *value > q(999_999_999, 1_000_000_000) && *value != whole(1))),
        );
        // Denominators of generic rows are sums of large weights.
        let generic = mu.iter().all(|row| row.iter().all(|value| *value > q(1, 10 * RANGE)) && !row.is_empty());
        let large = choices(&counts).iter().any(|a| instance.rewards.at(a) > whole(1000));
        note("all weights in general position, with large rewards", generic && large);
        let all: Vec<Q> = choices(&counts).iter().map(|a| instance.rewards.at(a)).collect();
        note("a reward of zero", all.contains(&whole(0)));
        note("tied rewards", (1..all.len()).any(|i| all[i..].contains(&all[i - 1])));
        note(
            "a negative and a positive reward",
            all.iter().any(|r| *r < whole(0)) && all.iter().any(|r| *r > whole(0)),
        );
        let removed = |a: &Vec<usize>| (0..counts.len()).any(|i| instance.rewards.without(a, i) != whole(0));
        note("a reward without an edge", choices(&counts).iter().any(removed));
        note("one edge", counts.len() == 1);
        note("three edges", counts.len() == 3);
        note("a single candidate", counts.contains(&1));
        note("four candidates", counts.contains(&4));
        note("ragged", counts.iter().any(|count| *count != counts[0]));
    }
    assert_eq!(seen.len(), 14);
    for (what, times) in seen {
        assert!(times >= N / 20, "{what}: {times} of {N} instances");
    }
}

// ---------------------------------------------------------------- f32 and f64

/// What the estimators need beyond [`Scalar`] to be compared.
trait Real: Scalar + FromPrimitive + ToPrimitive {
    /// Relative tolerance of a handful of roundings.
    const FEW: f64;
}

impl Real for f32 {
    const FEW: f64 = F32_FEW_ROUNDINGS;
}

impl Real for f64 {
    const FEW: f64 = F64_FEW_ROUNDINGS;
}

/// The nearest number of the type, and the rational that it is: both sides compute with the very same numbers.
fn rounded<T: Real>(value: &Q) -> (T, Q) {
    let near = T::from_f64(to_f64(value)).expect("any f64 rounds");
    let exact = from_f64(near.to_f64().expect("f32 and f64 are f64"));
    (near, exact)
}

fn rounded_rows<T: Real>(values: &[Vec<Q>]) -> (OpTable<T>, OpTable<Q>) {
    let pairs: Rows<(T, Q)> = values.iter().map(|row| row.iter().map(rounded).collect()).collect();
    let pairs = table(&pairs);
    (pairs.map(|pair| pair.0.clone()), pairs.map(|pair| pair.1.clone()))
}

fn as_f64<T: Real>(values: &[T]) -> Vec<f64> {
    values.iter().map(|value| value.to_f64().expect("f32 and f64 are f64")).collect()
}

fn exact_f64(values: &[Q]) -> Vec<f64> {
    values.iter().map(to_f64).collect()
}

/// Every estimator once in `T` and once in rationals on the same numbers. Products and differences of exact inputs have
/// relative errors of a few roundings; sums have errors relative to the sum of the sizes, which is the floor.
fn agree<T: Real>(instance: &Instance) {
    let counts = instance.counts();
    let (mu, exact_mu) = rounded_rows::<T>(&instance.mu);
    let shape = mu.shape();
    let (mut out, mut exact) = (mu.clone(), exact_mu.clone());
    let all = choices(&counts);
    let one = |a: &[usize]| rounded::<T>(&instance.rewards.at(a));
    let (constants, exact_constants): (Vec<T>, Vec<Q>) = instance.constants.iter().map(rounded::<T>).unzip();
    let mut samples: Vec<(T, Q)> = Vec::new();
    for a in &all {
        let drawn = architecture(shape, a);
        let (reward, exact_reward) = one(a);
        samples.push((reward.clone(), exact_reward.clone()));
        let same = |out: &OpTable<T>, exact: &OpTable<Q>| {
            assert_all_close(&as_f64(out.values()), &exact_f64(exact.values()), T::FEW, 0.0);
        };

        reinforce(&reward, &drawn, &mu, &mut out).unwrap();
        reinforce(&exact_reward, &drawn, &exact_mu, &mut exact).unwrap();
        same(&out, &exact);

        reinforce_with_baseline(&reward, &constants[0], &drawn, &mu, &mut out).unwrap();
        reinforce_with_baseline(&exact_reward, &exact_constants[0], &drawn, &exact_mu, &mut exact).unwrap();
        same(&out, &exact);

        let (mut of_edges, mut exact_edges) = (constants.clone(), exact_constants.clone());
        let (removals, exact_removals): (Vec<T>, Vec<Q>) =
            (0..counts.len()).map(|edge| rounded::<T>(&instance.rewards.without(a, edge))).unzip();
        advantages(&reward, &removals, &mut of_edges).unwrap();
        advantages(&exact_reward, &exact_removals, &mut exact_edges).unwrap();
        assert_all_close(&as_f64(&of_edges), &exact_f64(&exact_edges), T::FEW, 0.0);
        policy_gradient(&of_edges, &drawn, &mu, &mut out).unwrap();
        policy_gradient(&exact_edges, &drawn, &exact_mu, &mut exact).unwrap();
        same(&out, &exact);

        first_order(&mu, &drawn, &mut of_edges).unwrap();
        first_order(&exact_mu, &drawn, &mut exact_edges).unwrap();
        assert_all_close(&as_f64(&of_edges), &exact_f64(&exact_edges), 0.0, 0.0);
    }

    let several = |range: Range<usize>| {
        let some: Vec<(T, _)> = range.clone().map(|i| (samples[i].0.clone(), architecture(shape, &all[i]))).collect();
        let exact: Vec<(Q, _)> = range.map(|i| (samples[i].1.clone(), architecture(shape, &all[i]))).collect();
        (some, exact)
    };
    let size = samples.iter().map(|(_, reward)| to_f64(reward).abs()).fold(0.0, f64::max);
    let n = samples.len() as f64;
    let (some, exactly) = several(0..samples.len());
    reinforce_mean(&some, &mu, &mut out).unwrap();
    reinforce_mean(&exactly, &exact_mu, &mut exact).unwrap();
    assert_all_close(&as_f64(out.values()), &exact_f64(exact.values()), T::FEW, T::FEW * n * size);

    let (losses, exact_losses): (Vec<T>, Vec<Q>) = samples.iter().cloned().unzip();
    let (mean, exact_mean) = (minibatch_reward(&losses).unwrap(), minibatch_reward(&exact_losses).unwrap());
    assert_close(mean.to_f64().unwrap(), to_f64(&exact_mean), T::FEW, T::FEW * n * size);

    let (decay, exact_decay) = rounded::<T>(&q(19, 20));
    let mut average = MovingAverage::new(decay.clone()).unwrap();
    let mut exact_average = MovingAverage::new(exact_decay.clone()).unwrap();
    let mut baselines = EdgeBaselines::new(1, decay.clone()).unwrap();
    let mut exact_baselines = EdgeBaselines::new(1, exact_decay.clone()).unwrap();
    // Exact denominators grow with every step; a dozen values are enough.
    for (value, exact_value) in samples.iter().take(12) {
        average.update(value);
        exact_average.update(exact_value);
        let got = average.value().unwrap().to_f64().unwrap();
        assert_close(got, to_f64(exact_average.value().unwrap()), T::FEW, T::FEW * n * size);
        let (mut advantage, mut exact_advantage) = ([value.clone()], [exact_value.clone()]);
        baselines.subtract_then_update(&mut advantage).unwrap();
        exact_baselines.subtract_then_update(&mut exact_advantage).unwrap();
        assert_close(advantage[0].to_f64().unwrap(), to_f64(&exact_advantage[0]), T::FEW, T::FEW * n * size);
    }

    // The weights are ratios of sums of positive products; a row of f32 or f64 sums to one only up to rounding, and the
    // rational side computes with the row as it is.
    let (row, exact_row) = (mu.edge(0), exact_mu.edge(0));
    let on_vertex = exact_row.contains(&whole(1));
    let weights = optimal_weights(row);
    assert_eq!(weights.is_none(), on_vertex && row.len() == exact_row.iter().filter(|v| **v == whole(0)).count() + 1);
    if let Some(weights) = weights {
        let products: Vec<Q> =
            (0..row.len()).map(|j| &exact_row[j] * square_norm(&weighted_score(&whole(1), j, exact_row))).collect();
        let total: Q = products.iter().sum();
        let expected: Vec<f64> = products.iter().map(|product| to_f64(&(product / &total))).collect();
        assert_all_close(&as_f64(&weights), &expected, T::FEW, 0.0);
        let (values, exact_values): (Vec<T>, Vec<Q>) =
            (0..row.len()).map(|j| samples[j * all.len() / row.len()].clone()).unzip();
        let baseline = optimal_baseline(row, &values).unwrap().unwrap();
        let expected: Q = products.iter().zip(&exact_values).map(|(product, value)| product / &total * value).sum();
        assert_close(baseline.to_f64().unwrap(), to_f64(&expected), T::FEW, T::FEW * size);
    }

    let space = advantage_nas::SearchSpace::new(
        counts
            .iter()
            .map(|&count| advantage_nas::Edge::new("edge", (0..count).map(|j| j.to_string())).with_zero(0))
            .collect(),
    )
    .unwrap();
    for rule in [ZeroRule::Keep, ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll] {
        let mut zero = ZeroOperation::new(&space, rule, decay.clone()).unwrap();
        let mut exact_zero = ZeroOperation::new(&space, rule, exact_decay.clone()).unwrap();
        for a in all.iter().rev().take(12) {
            let (mut values, mut exact_values) = (constants.clone(), exact_constants.clone());
            values[0] = one(a).0;
            exact_values[0] = one(a).1;
            zero.apply(&architecture(shape, a), &mut values).unwrap();
            exact_zero.apply(&architecture(shape, a), &mut exact_values).unwrap();
            let floor = T::FEW * n * size.max(exact_constants.iter().map(|c| to_f64(c).abs()).fold(0.0, f64::max));
            assert_all_close(&as_f64(&values), &exact_f64(&exact_values), T::FEW, floor);
        }
    }
}

proptest! {
    #![proptest_config(config())]

    /// The same code in double precision.
    #[test]
    fn f64_agrees_with_the_rationals(instance in instances()) {
        agree::<f64>(&instance);
    }

    /// The same code in single precision.
    #[test]
    fn f32_agrees_with_the_rationals(instance in instances()) {
        agree::<f32>(&instance);
    }
}
