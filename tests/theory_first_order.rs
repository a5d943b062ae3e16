//! Eq. (7): where it equals Eq. (6), its error elsewhere, and the bias that follows (claims C7, C7b).

use crate::theory_support;
use advantage_nas::{Architecture, OpTable, estimator};
use advantage_nas_theory::enumerate::{Estimator, gradient, moments};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::number::{Rational, norm2, rational, whole};
use advantage_nas_theory::reward::{Reward, SquaredLoss};
use advantage_nas_theory::taylor;
use proptest::prelude::*;

/// Eqs. (6) and (7) at an architecture, by the core.
fn both(reward: &dyn Reward<Rational>, a: &Architecture) -> (Vec<Rational>, Vec<Rational>) {
    let shape = reward.shape();
    let removals: Vec<Rational> = (0..shape.edges()).map(|edge| reward.without(a, edge)).collect();
    let (mut exact, mut first_order) = (removals.clone(), removals.clone());
    estimator::advantages(&reward.at(a), &removals, &mut exact).unwrap();
    let mut slope = OpTable::filled(shape, whole(0));
    reward.gradient_at(a, &mut slope);
    estimator::first_order(&slope, a, &mut first_order).unwrap();
    (exact, first_order)
}

proptest! {
    #![proptest_config(theory_support::config(200))]

    /// Multi-affine rewards: no error. A table is the general multi-affine function.
    #[test]
    fn exact_on_multi_affine_rewards((mu, rewards) in theory_support::tables(3, 3, 1)) {
        for a in mu.shape().enumerate() {
            let (exact, first_order) = both(&rewards[0], &a);
            prop_assert_eq!(exact, first_order);
        }
    }

    /// Polynomials: the error is ∫₀¹ t φ″(t) dt, where φ comes from values alone; multi-affine ones have none.
    #[test]
    fn error_on_polynomials((mu, reward) in theory_support::polynomial(3, 3)) {
        for a in mu.shape().enumerate() {
            let (exact, first_order) = both(&reward, &a);
            for edge in 0..mu.shape().edges() {
                let error = taylor::error_of_ray(&taylor::ray(&reward, &a, edge, reward.degree(edge)));
                prop_assert_eq!(&first_order[edge] - &exact[edge], error.clone());
                prop_assert!(!reward.is_multi_affine() || error == whole(0));
            }
        }
    }

    /// The bias is L ē, within its bounds.
    #[test]
    fn bias_on_polynomials((mu, reward) in theory_support::polynomial(2, 3)) {
        let found = moments(&Core, &Estimator::FirstOrder, &reward, &mu).unwrap().expectation;
        let exact = gradient(|a| reward.at(a), &mu).unwrap();
        for edge in 0..mu.shape().edges() {
            let errors = taylor::mean_errors(&mu, edge, |a| {
                let (exact, first_order) = both(&reward, a);
                &first_order[edge] - &exact[edge]
            })
            .unwrap();
            let bias: Vec<Rational> = found.edge(edge).iter().zip(exact.edge(edge)).map(|(f, e)| f - e).collect();
            prop_assert_eq!(&bias, &taylor::bias(mu.edge(edge), &errors));
            let bounds = taylor::bias_bounds(&errors);
            prop_assert!(norm2(&bias) <= bounds.square);
            let absolute = |value: &Rational| if *value < whole(0) { -value } else { value.clone() };
            prop_assert!(bias.iter().all(|value| absolute(value) <= bounds.maximum));
            prop_assert!(bias.iter().map(absolute).sum::<Rational>() <= bounds.sum);
        }
    }

    /// Squared loss: A⁽⁷⁾ = A⁽⁶⁾ − ‖O‖², so the estimate is unbiased for J − Σ E‖O_i‖².
    #[test]
    fn squared_loss((mu, reward) in theory_support::squared_loss(3, 3)) {
        let penalty = |a: &Architecture, edge: usize| norm2(&reward.outputs()[(edge, a.choice(edge))]);
        for a in mu.shape().enumerate() {
            let (exact, first_order) = both(&reward, &a);
            for edge in 0..mu.shape().edges() {
                prop_assert_eq!(&first_order[edge], &(&exact[edge] - penalty(&a, edge)));
            }
        }
        let penalised =
            |a: &Architecture| reward.at(a) - (0..mu.shape().edges()).map(|edge| penalty(a, edge)).sum::<Rational>();
        let found = moments(&Core, &Estimator::FirstOrder, &reward, &mu).unwrap().expectation;
        prop_assert_eq!(found, gradient(penalised, &mu).unwrap());
    }
}

/// Outputs (1, 1/2), target 1, μ = 1/2: A⁽⁶⁾ = (1, 3/4), A⁽⁷⁾ = (0, 1/2), ∇J = (1/16, −1/16), E δ⁽⁷⁾ = −2 ∇J.
#[test]
fn it_can_point_away() {
    let outputs = OpTable::from_rows([vec![vec![whole(1)], vec![rational(1, 2)]]]).unwrap();
    let reward = SquaredLoss::new(vec![whole(1)], outputs).unwrap();
    let shape = reward.shape().clone();
    let advantages: Vec<_> = shape.enumerate().map(|a| both(&reward, &a)).collect();
    assert_eq!(advantages[0], (vec![whole(1)], vec![whole(0)]));
    assert_eq!(advantages[1], (vec![rational(3, 4)], vec![rational(1, 2)]));
    let mu = OpTable::filled(&shape, rational(1, 2));
    assert_eq!(gradient(|a| reward.at(a), &mu).unwrap().values(), [rational(1, 16), rational(-1, 16)]);
    let found = moments(&Core, &Estimator::FirstOrder, &reward, &mu).unwrap().expectation;
    assert_eq!(found.values(), [rational(-1, 8), rational(1, 8)]);
}
