//! The generators of the theory's tests reach the corners that they are for.

use crate::theory_support;
use std::collections::BTreeSet;

use advantage_nas_theory::number::{Rational, rational, whole};
use advantage_nas_theory::reward::Reward;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

const DRAWS: usize = 2000;

/// Every kind is drawn with probability 1/8 or more, most of them in every edge independently; a kind that is missing from 2000
/// draws has probability below 1e-100.
#[test]
fn probabilities_reach_every_corner() {
    let mut runner = TestRunner::deterministic();
    let strategy = theory_support::probabilities(3, 3);
    let mut seen = BTreeSet::new();
    let mut shapes = BTreeSet::new();
    for _ in 0..DRAWS {
        let mu = strategy.new_tree(&mut runner).unwrap().current();
        shapes.insert(mu.shape().to_string());
        for edge in 0..mu.shape().edges() {
            let row = mu.edge(edge);
            assert_eq!(row.iter().sum::<Rational>(), whole(1));
            assert!(row.iter().all(|value| *value >= whole(0)));
            let zeros = row.iter().filter(|value| **value == whole(0)).count();
            let largest = row.iter().max().unwrap();
            if row.len() == 1 {
                seen.insert("alone");
            } else if *largest == whole(1) {
                seen.insert("vertex");
            } else if zeros > 0 {
                seen.insert("face");
            } else if row.iter().all(|value| value == largest) {
                seen.insert("uniform");
            } else if *largest > rational(999, 1000) {
                seen.insert("near a vertex");
            } else {
                seen.insert("generic");
            }
        }
    }
    assert_eq!(seen, BTreeSet::from(["alone", "face", "generic", "near a vertex", "uniform", "vertex"]));
    assert_eq!(shapes.len(), 3 + 9 + 27);
}

#[test]
fn rewards_reach_signs_zeros_ties_and_fractions() {
    let mut runner = TestRunner::deterministic();
    let strategy = theory_support::with_rewards(2, 3);
    let (mut zero, mut negative, mut fraction, mut tie) = (0, 0, 0, 0);
    for _ in 0..DRAWS {
        let (_, rewards) = strategy.new_tree(&mut runner).unwrap().current();
        zero += usize::from(rewards.values().iter().any(|r| *r == whole(0)));
        negative += usize::from(rewards.values().iter().any(|r| *r < whole(0)));
        fraction += usize::from(rewards.values().iter().any(|r| !r.is_integer()));
        let row: BTreeSet<&Rational> = rewards.edge(0).iter().collect();
        tie += usize::from(row.len() < rewards.edge(0).len());
    }
    assert!([zero, negative, fraction, tie].iter().all(|count| *count > 20), "{:?}", [zero, negative, fraction, tie]);
}

#[test]
fn rewards_of_every_family_occur() {
    let mut runner = TestRunner::deterministic();
    let (mut multi_affine, mut curved) = (0, 0);
    let polynomials = theory_support::polynomial(2, 3);
    let losses = theory_support::squared_loss(2, 3);
    let tables = theory_support::tables(2, 3, 2);
    for _ in 0..500 {
        let (mu, reward) = polynomials.new_tree(&mut runner).unwrap().current();
        assert_eq!(mu.shape(), reward.shape());
        if reward.is_multi_affine() {
            multi_affine += 1
        } else {
            curved += 1
        }
        let (mu, reward) = losses.new_tree(&mut runner).unwrap().current();
        assert_eq!(mu.shape(), reward.shape());
        let (mu, rewards) = tables.new_tree(&mut runner).unwrap().current();
        assert!(rewards.len() == 2 && rewards.iter().all(|reward| reward.shape() == mu.shape()));
    }
    assert!(multi_affine > 50 && curved > 50, "{multi_affine} and {curved}");
}
