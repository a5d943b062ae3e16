//! Section 4.4: every moment in closed form against enumeration of the core's estimators, as printed and as it is (claims C8 to
//! C12). Neither side knows the other: the closed forms call no estimator, the enumeration knows no formula.
//!
//! Degrees: at most 8 in the weights of an edge and 2 in the rewards; a false identity would survive one generic case with
//! probability at most 10/96, and some 120 of them with probability below 10⁻¹¹⁰ (Schwartz, Zippel).

use crate::theory_support;
use advantage_nas::OpTable;
use advantage_nas_theory::enumerate::{Estimator, gradient, moments};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::number::{Rational, norm2, rational, square, whole};
use advantage_nas_theory::reward::{Affine, Reward};
use advantage_nas_theory::testbed::{Testbed, average_gap};
use proptest::prelude::*;

proptest! {
    #![proptest_config(theory_support::config(256))]

    /// Expectation, bias, second moment and variance of every estimator on affine rewards.
    #[test]
    fn closed_forms((mu, reward) in theory_support::affine(3, 3), baseline in theory_support::reward()) {
        let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone()).unwrap();
        let edges = mu.shape().edges();
        let table = vec![baseline.clone(); edges];
        let forms = |of: &dyn Fn(usize) -> advantage_nas_theory::testbed::Form<Rational>| (0..edges).map(of).collect::<Vec<_>>();
        for (estimator, forms) in [
            (Estimator::Reinforce, forms(&|edge| bed.reinforce(edge))),
            (Estimator::Baseline(baseline.clone()), forms(&|edge| bed.reinforce_with_baseline(edge, &baseline))),
            (Estimator::Baseline(bed.objective()), forms(&|edge| bed.reinforce_mean_baseline(edge))),
            (Estimator::Advantage, forms(&|edge| bed.advantage(edge))),
            (Estimator::FirstOrder, forms(&|edge| bed.advantage(edge))),
            (Estimator::AdvantageMinus(table), forms(&|edge| bed.advantage_minus(edge, &baseline))),
            (Estimator::Optimal, forms(&|edge| bed.optimal(edge))),
        ] {
            let found = moments(&Core, &estimator, &reward, &mu).unwrap();
            let variance = found.variance();
            for (edge, form) in forms.iter().enumerate() {
                prop_assert_eq!(&found.second_moment[edge], &form.second_moment, "{:?}", &estimator);
                prop_assert_eq!(&variance[edge], &form.variance, "{:?}", &estimator);
                prop_assert_eq!(found.expectation.edge(edge), &form.expectation[..], "{:?}", &estimator);
                prop_assert!(form.bias.iter().all(|b| *b == whole(0)));
            }
        }
    }

    /// The gradient and its norm, by differentiation (C8); what the paper prints for the advantage is the second moment (C9); what
    /// it prints for REINFORCE is off by the correction (C10).
    #[test]
    fn as_printed_and_as_it_is((mu, rewards) in theory_support::with_rewards(3, 3)) {
        let reward = Affine::linear(rewards);
        let bed = Testbed::new(&mu, &reward.rewards, whole(0)).unwrap();
        let exact = gradient(|a| reward.at(a), &mu).unwrap();
        let advantage = moments(&Core, &Estimator::Advantage, &reward, &mu).unwrap();
        let reinforce = moments(&Core, &Estimator::Reinforce, &reward, &mu).unwrap();
        for (index, edge) in bed.edges().iter().enumerate() {
            prop_assert_eq!(exact.edge(index), &edge.gradient()[..]);
            prop_assert_eq!(norm2(exact.edge(index)), edge.gradient_norm2());
            prop_assert_eq!(&advantage.second_moment[index], &edge.second_moment_advantage());
            let printed = bed.printed_second_moment_reinforce(index);
            prop_assert_eq!(&reinforce.second_moment[index] - printed, bed.correction(index));
            // Var[δ_base] − Var[δ_adv] is the same difference: the gradient is the same for both.
            let gap = &reinforce.second_moment[index] - &advantage.second_moment[index];
            prop_assert_eq!(&reinforce.variance()[index] - &advantage.variance()[index], gap);
        }
    }

    /// Two candidates and rational rewards: the printed norm is right only where both are zero.
    #[test]
    fn printed_norm_of_two_candidates(p in 1i64..96, r in (-96i64..=96, -96i64..=96)) {
        let mu = OpTable::from_rows([vec![rational(p, 96), rational(96 - p, 96)]]).unwrap();
        let rewards = OpTable::from_rows([vec![whole(r.0), whole(r.1)]]).unwrap();
        let bed = Testbed::new(&mu, &rewards, whole(0)).unwrap();
        let edge = &bed.edges()[0];
        prop_assert_eq!(edge.gradient_norm2() == edge.printed_gradient_norm2(), r == (0, 0));
    }

    /// The advantage's second moment is smaller iff R(s, 0) predicts R̃(s) better than 0 does (C11), for affine rewards
    /// `E S² + 2 M r̃ ≥ 0`.
    #[test]
    fn when_the_advantage_helps((mu, reward) in theory_support::affine(3, 3)) {
        let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone()).unwrap();
        let advantage = moments(&Core, &Estimator::Advantage, &reward, &mu).unwrap().second_moment;
        let reinforce = moments(&Core, &Estimator::Reinforce, &reward, &mu).unwrap().second_moment;
        for (index, edge) in bed.edges().iter().enumerate() {
            match edge.optimal_baseline() {
                Some(optimal) => {
                    let mean = bed.rest_mean(index);
                    let criterion = bed.rest_variance(index) + square(&mean) + whole(2) * mean * optimal;
                    prop_assert_eq!(advantage[index] <= reinforce[index], criterion >= whole(0));
                }
                None => prop_assert_eq!(&advantage[index], &reinforce[index]),
            }
        }
    }
}

fn rows(rows: &[[i64; 2]]) -> (OpTable<Rational>, Affine<Rational>) {
    let rewards = OpTable::from_rows(rows.iter().map(|row| row.map(whole).to_vec())).unwrap();
    (OpTable::filled(rewards.shape(), rational(1, 2)), Affine::linear(rewards))
}

/// The counterexamples of section 4.4 at μ = 1/2, in small integers.
#[test]
fn counterexamples() {
    // C8: squared norm of the gradient, and as printed.
    for (r, exact, printed) in [
        ([1, 1], whole(0), rational(1, 8)),
        ([1, 0], rational(1, 8), rational(1, 16)),
        ([1, -1], rational(1, 2), rational(1, 8)),
    ] {
        let (mu, reward) = rows(&[r]);
        let gradient = gradient(|a| reward.at(a), &mu).unwrap();
        assert_eq!(norm2(gradient.values()), exact);
        assert_eq!(Testbed::new(&mu, &reward.rewards, whole(0)).unwrap().edges()[0].printed_gradient_norm2(), printed);
    }
    // C10: second moment of REINFORCE at edge 0, and as printed.
    for (r, exact, printed) in [
        ([[1, 1], [1, 1]], whole(2), whole(1)),
        ([[1, 0], [1, 0]], rational(3, 4), rational(1, 2)),
        ([[1, 1], [-1, -1]], whole(0), whole(1)),
        ([[2, 1], [-1, -2]], rational(1, 4), rational(5, 2)),
    ] {
        let (mu, reward) = rows(&r);
        let found = moments(&Core, &Estimator::Reinforce, &reward, &mu).unwrap();
        assert_eq!(found.second_moment[0], exact);
        let bed = Testbed::new(&mu, &reward.rewards, whole(0)).unwrap();
        assert_eq!(bed.printed_second_moment_reinforce(0), printed);
    }
    // C11: variance with the advantage, and without.
    for (r, advantage, reinforce) in [
        ([[2, 0], [-1, 0]], rational(1, 2), rational(1, 4)),
        ([[1, 1], [-1, -1]], rational(1, 2), whole(0)),
        ([[2, 1], [-1, -2]], rational(9, 8), rational(1, 8)),
        ([[3, 2], [-1, -1]], rational(25, 8), rational(9, 8)),
    ] {
        let (mu, reward) = rows(&r);
        let variance = |estimator| moments(&Core, &estimator, &reward, &mu).unwrap().variance()[0].clone();
        assert_eq!((variance(Estimator::Advantage), variance(Estimator::Reinforce)), (advantage, reinforce));
    }
}

/// C12 by hand for rewards m ± s with two candidates: the averages over all signs for one, two and three edges.
#[test]
fn growth_with_the_number_of_edges() {
    for (m, s) in [(0, 1), (2, 1), (-1, 3)] {
        for edges in 1..=3usize {
            let signs = 1u32 << (2 * edges);
            let mut gap = whole(0);
            for code in 0..signs {
                let r: Vec<[i64; 2]> = (0..edges)
                    .map(|edge| [0, 1].map(|j| if code >> (2 * edge + j) & 1 == 1 { m + s } else { m - s }))
                    .collect();
                let (mu, reward) = rows(&r);
                let second = |estimator| moments(&Core, &estimator, &reward, &mu).unwrap().second_moment[0].clone();
                gap += second(Estimator::Reinforce) - second(Estimator::Advantage);
            }
            let n = edges as i64;
            // 1 − q = 1/2.
            let by_hand = rational((n - 1) * s * s + (n * n - 1) * m * m, 2);
            assert_eq!(gap / whole(i64::from(signs)), by_hand);
            assert_eq!(average_gap(&rational(1, 2), edges, &whole(m), &whole(s * s)), by_hand);
        }
    }
}
