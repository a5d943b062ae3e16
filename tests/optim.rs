//! Optimisers: Adam against Algorithm 1 of Kingma & Ba written out for one parameter, Nesterov momentum by hand, weight decay
//! before clipping, the norm clip, the cosine schedule, and what is refused.

use crate::common::*;
use advantage_nas::Error;
use advantage_nas::optim::{Adam, Nesterov, add_weight_decay, clip_norm, cosine};
use advantage_nas::state::State;
use advantage_nas::tolerance::{
    F32_FEW_ROUNDINGS, F64_FEW_ROUNDINGS, F64_SUMS, assert_all_close, assert_close, within,
};
use proptest::prelude::*;

proptest! {
    #![proptest_config(config())]

    /// Adam is the scalar algorithm in every coordinate, over dozens of steps with a changing rate.
    #[test]
    fn adam_is_algorithm_1(
        start in prop::collection::vec(-3.0..3.0f64, 3),
        gradients in prop::collection::vec(prop::collection::vec(-100.0..100.0f64, 3), 1..60),
        beta1 in 0.0..0.99f64,
        beta2 in 0.0..0.9999f64,
        epsilon in prop_oneof![Just(0.0), Just(1e-8), Just(0.1)],
    ) {
        let mut adam = Adam::new(3, beta1, beta2, epsilon).unwrap();
        let mut scalars = vec![ScalarAdam::new(0.0, beta1, beta2, epsilon); 3];
        let mut x = start.clone();
        let mut expected = start;
        for (t, gradient) in gradients.iter().enumerate() {
            let rate = 0.01 / (t as f64 + 1.0);
            adam.step(&mut x, gradient, rate).unwrap();
            for (index, scalar) in scalars.iter_mut().enumerate() {
                scalar.alpha = rate;
                expected[index] = scalar.step(expected[index], gradient[index]);
            }
            // Sixty steps with a rounding of the moments each. The first moment may cancel, so the floor: steps are of the
            // size of the rate, and the direction loses what the moment loses relative to the gradients before.
            assert_all_close(&x, &expected, F64_SUMS, F64_SUMS);
        }
        prop_assert_eq!(adam.steps(), gradients.len() as u64);
    }

    /// A restored optimiser goes on bit for bit.
    #[test]
    fn adam_goes_on_bit_for_bit(gradients in prop::collection::vec(-10.0..10.0f64, 2..30), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(gradients.len());
        let new = || Adam::new(1, 0.9, 0.999, 1e-8).unwrap();
        let run = |adam: &mut Adam<f64>, x: &mut [f64], range: &[f64]| {
            for gradient in range {
                adam.step(x, &[*gradient], 0.1).unwrap();
            }
        };
        let (mut whole, mut x) = (new(), [1.0]);
        run(&mut whole, &mut x, &gradients);
        let (mut first, mut y) = (new(), [1.0]);
        run(&mut first, &mut y, &gradients[..cut]);
        let mut second = new();
        second.restore(&first.save()).unwrap();
        run(&mut second, &mut y, &gradients[cut..]);
        prop_assert_eq!(x[0].to_bits(), y[0].to_bits());
        prop_assert_eq!(whole, second);
    }

    /// Clipping keeps the direction and limits the norm.
    #[test]
    fn clipping_keeps_the_direction(gradient in prop::collection::vec(-10.0..10.0f64, 1..6), limit in 0.01..20.0f64) {
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let mut clipped = gradient.clone();
        let before = clip_norm(&mut clipped, limit).unwrap();
        assert_close(before, norm, F64_FEW_ROUNDINGS, 0.0);
        let scale = if norm > limit { limit / norm } else { 1.0 };
        let expected: Vec<f64> = gradient.iter().map(|g| g * scale).collect();
        assert_all_close(&clipped, &expected, F64_FEW_ROUNDINGS, 0.0);
    }
}

#[test]
fn adams_first_steps_by_hand() {
    // After the first step, m̂ = g and v̂ = g²: the step is rate · g/(|g| + ε), whatever the betas.
    let mut adam = Adam::new(3, 0.9, 0.999, 1e-8).unwrap();
    let mut x = [1.0, 1.0, 1.0];
    adam.step(&mut x, &[4.0, -1e-8, 0.0], 0.5).unwrap();
    assert_all_close(&x, &[1.0 - 0.5 * 4.0 / (4.0 + 1e-8), 1.25, 1.0], F64_SUMS, 0.0);

    // β = 1/2 both, ε = 0, g = 2 then −1: m = 1, 0; v = 2, 3/2; m̂ = 2, 0; v̂ = 4, 2. Steps of 1 and 0.
    let mut adam = Adam::new(1, 0.5, 0.5, 0.0).unwrap();
    let mut x = [3.0];
    adam.step(&mut x, &[2.0], 1.0).unwrap();
    assert_eq!(x, [2.0]);
    adam.step(&mut x, &[-1.0], 1.0).unwrap();
    assert_eq!(x, [2.0]);
    // Then g = 3: m = 3/2, v = 21/4, m̂ = 12/7, v̂ = 6.
    adam.step(&mut x, &[3.0], 1.0).unwrap();
    assert_close(x[0], 2.0 - 12.0 / 7.0 / 6.0f64.sqrt(), F64_FEW_ROUNDINGS, 0.0);
    assert_eq!(adam.steps(), 3);

    // ε stands outside the root: with g = 1 and ε = 1, half a rate.
    let mut adam = Adam::new(1, 0.9, 0.999, 1.0).unwrap();
    let mut x = [0.0];
    adam.step(&mut x, &[1.0], 1.0).unwrap();
    assert_close(x[0], -0.5, F64_SUMS, 0.0);

    // In single precision too; 1 − 0.999f32 has lost seven of its 24 bits, hence 128 times a few roundings.
    let mut adam = Adam::new(1, 0.9f32, 0.999, 1e-8).unwrap();
    let mut x = [1.0f32];
    adam.step(&mut x, &[4.0], 0.5).unwrap();
    assert!(within(f64::from(x[0]), 0.5, 128.0 * F32_FEW_ROUNDINGS));
}

#[test]
fn nesterov_by_hand() {
    // m = 1/2, rate 1/4, x = 1. g = 4: v = 4, x −= (4 + 2)/4. g = −2: v = 0, x −= (−2 + 0)/4. g = 1: v = 1, x −= (1 + 1/2)/4.
    let mut nesterov = Nesterov::new(1, 0.5).unwrap();
    let mut x = [1.0];
    for (gradient, velocity, position) in [(4.0, 4.0, -0.5), (-2.0, 0.0, 0.0), (1.0, 1.0, -0.375)] {
        nesterov.step(&mut x, &[gradient], 0.25).unwrap();
        assert_eq!((nesterov.velocity(), x), (&[velocity][..], [position]));
    }
    // The velocity can be put back.
    let mut other = Nesterov::new(1, 0.5).unwrap();
    other.velocity_mut().copy_from_slice(nesterov.velocity());
    assert_eq!(other, nesterov);

    // Without momentum it is gradient descent, coordinate by coordinate.
    let mut plain = Nesterov::new(2, 0.0f32).unwrap();
    let mut x = [1.0, 2.0];
    plain.step(&mut x, &[2.0, -4.0], 0.5).unwrap();
    plain.step(&mut x, &[2.0, -4.0], 0.5).unwrap();
    assert_eq!(x, [-1.0, 6.0]);
}

#[test]
fn weight_decay_adds_the_slope_of_the_penalty() {
    let mut gradient = [1.0, -2.0];
    add_weight_decay(&mut gradient, &[10.0, 4.0], 0.5).unwrap();
    assert_eq!(gradient, [6.0, 0.0]);
    // Decay first, then the clip: (6, 8) has norm 10; the other order would give (3, 4) + (3, 4).
    let mut gradient = [3.0, 4.0];
    add_weight_decay(&mut gradient, &[3.0, 4.0], 1.0).unwrap();
    assert_eq!(clip_norm(&mut gradient, 5.0).unwrap(), 10.0);
    assert_eq!(gradient, [3.0, 4.0]);
}

#[test]
fn norms_by_hand() {
    let mut gradient = [3.0, -4.0];
    assert_eq!(clip_norm(&mut gradient, 5.0).unwrap(), 5.0);
    assert_eq!(gradient, [3.0, -4.0], "at the limit, untouched");
    assert_eq!(clip_norm(&mut gradient, 2.5).unwrap(), 5.0);
    assert_eq!(gradient, [1.5, -2.0]);
    let mut zero = [0.0f32; 2];
    assert_eq!(clip_norm(&mut zero, 1.0).unwrap(), 0.0);
    assert_eq!(zero, [0.0; 2]);
}

#[test]
fn gradients_whose_squares_overflow_are_clipped_too() {
    let mut gradient = [3e200, -4e200];
    assert_close(clip_norm(&mut gradient, 1.0).unwrap(), 5e200, F64_FEW_ROUNDINGS, 0.0);
    assert_all_close(&gradient, &[0.6, -0.8], F64_FEW_ROUNDINGS, 0.0);
    // The norm itself is no finite number.
    let mut gradient = [f64::MAX; 4];
    assert_eq!(clip_norm(&mut gradient, 4.0).unwrap(), f64::INFINITY);
    assert_all_close(&gradient, &[2.0; 4], F64_FEW_ROUNDINGS, 0.0);
    let mut gradient = [3e200, -4e200];
    assert_close(clip_norm(&mut gradient, f64::INFINITY).unwrap(), 5e200, F64_FEW_ROUNDINGS, 0.0);
    assert_all_close(&gradient, &[3e200, -4e200], F64_FEW_ROUNDINGS, 0.0);
    // What is not finite is not hidden.
    let mut gradient = [f64::INFINITY, 1.0];
    assert_eq!(clip_norm(&mut gradient, 1.0).unwrap(), f64::INFINITY);
    assert!(gradient[0].is_nan());
}

#[test]
fn the_cosine_falls_from_one_to_zero() {
    assert_eq!(cosine(0.0), 1.0);
    assert_close(cosine(0.5), 0.5, F64_FEW_ROUNDINGS, 0.0);
    assert!(within(cosine(1.0), 0.0, F64_FEW_ROUNDINGS));
    assert_close(cosine(1.0 / 3.0), 0.75, F64_FEW_ROUNDINGS, 0.0);
    assert_close(cosine(2.0 / 3.0), 0.25, F64_FEW_ROUNDINGS, 0.0);
    let values: Vec<f64> = (0..=100).map(|percent| cosine(f64::from(percent) / 100.0)).collect();
    assert!(values.windows(2).all(|pair| pair[0] > pair[1]));
}

#[test]
fn settings_out_of_range_are_refused() {
    let message = |error: Error| error.to_string();
    for beta in [-0.1, 1.0, 1.5, f64::NAN] {
        let expected = |which| format!("Adam's {which} beta must be at least 0 and below 1, got {beta}");
        assert_eq!(message(Adam::new(1, beta, 0.999, 1e-8).unwrap_err()), expected("first"));
        assert_eq!(message(Adam::new(1, 0.9, beta, 1e-8).unwrap_err()), expected("second"));
        let expected = format!("momentum must be at least 0 and below 1, got {beta}");
        assert_eq!(message(Nesterov::new(1, beta).unwrap_err()), expected);
    }
    for epsilon in [-1e-8, f64::NAN, f64::INFINITY] {
        let expected = format!("Adam's epsilon must be finite and at least 0, got {epsilon}");
        assert_eq!(message(Adam::new(1, 0.9, 0.999, epsilon).unwrap_err()), expected);
    }
    for limit in [0.0, -1.0, f64::NAN] {
        let expected = format!("limit of the gradient norm must be positive, got {limit}");
        assert_eq!(message(clip_norm(&mut [1.0], limit).unwrap_err()), expected);
    }
}

#[test]
fn lengths_that_differ_are_refused_and_change_nothing() {
    let mut adam = Adam::new(2, 0.9, 0.999, 1e-8).unwrap();
    let untouched = adam.clone();
    let mut x = [1.0; 3];
    assert_eq!(adam.step(&mut x, &[1.0; 2], 1.0).unwrap_err().to_string(), "parameters: expected 2 values, got 3");
    assert_eq!(adam.step(&mut x[..2], &[1.0], 1.0).unwrap_err().to_string(), "gradient: expected 2 values, got 1");
    assert_eq!((adam, x), (untouched, [1.0; 3]));
    let mut nesterov = Nesterov::new(2, 0.9).unwrap();
    let error = nesterov.step(&mut x, &[1.0; 2], 1.0).unwrap_err();
    assert_eq!(error.to_string(), "parameters: expected 2 values, got 3");
    let error = add_weight_decay(&mut [0.0; 2], &x, 1.0).unwrap_err();
    assert_eq!(error.to_string(), "gradient: expected 3 values, got 2");
}

#[test]
fn saved_moments_that_do_not_fit_are_refused() {
    let saved = Adam::new(3, 0.9, 0.999, 1e-8).unwrap().save();
    let mut adam = Adam::new(2, 0.9, 0.999, 1e-8).unwrap();
    let untouched = adam.clone();
    let error = adam.restore(&saved).unwrap_err();
    assert_eq!(error.to_string(), "saved state, \"first_moment\": has 3 values, expected 2");
    let error = adam.restore(&State::new()).unwrap_err();
    assert_eq!(error.to_string(), "saved state, \"steps\": is missing");
    for (name, wrong, expected) in [
        ("first_moment", f64::NAN, "holds NaN, expected finite numbers"),
        ("first_moment", f64::INFINITY, "holds inf, expected finite numbers"),
        ("second_moment", f64::NAN, "holds NaN, expected finite numbers of at least 0"),
        ("second_moment", -1.0, "holds -1, expected finite numbers of at least 0"),
    ] {
        let mut state = untouched.save();
        state.insert_f64(name, &[0.0, wrong]);
        let error = adam.restore(&state).unwrap_err();
        assert_eq!(error.to_string(), format!("saved state, \"{name}\": {expected}"));
    }
    assert_eq!(adam, untouched);
}
