//! The one place where floating-point numbers are compared: named tolerances, and comparators that fail on NaN.
//!
//! A tolerance is `c · ε(type) · n` plus a floor, where `n` is the number of roundings that the two sides may differ by.
//! A local override stands beside its use with a reason.

use approx::{AbsDiffEq, RelativeEq};

use crate::comparison::Comparison;
pub use crate::comparison::Tolerance;

/// Relative tolerance of a result that takes a handful of `f64` roundings.
pub const F64_FEW_ROUNDINGS: f64 = 16.0 * f64::EPSILON;

/// Relative tolerance of a result that takes a handful of `f32` roundings.
pub const F32_FEW_ROUNDINGS: f64 = 16.0 * f32::EPSILON as f64;

/// Relative tolerance of sums of up to about a hundred `f64` terms.
pub const F64_SUMS: f64 = 256.0 * f64::EPSILON;

/// Relative tolerance of a forward or backward pass in `f32` against the same in `f64`, norm-wise.
pub const F32_NETWORK: f64 = 64.0 * f32::EPSILON as f64;

/// Relative tolerance of a central difference in `f64` with step [`CENTRAL_STEP`]: truncation `h²` and rounding `ε/h`,
/// both near 1e-10, times the size of the derivatives.
pub const CENTRAL_DIFFERENCE: f64 = 1e-7;

/// Step of a central difference in `f64`, near `ε^(1/3)`.
pub const CENTRAL_STEP: f64 = 1e-5;

/// Whether `left` and `right` agree to `relative` of the larger one, or to `floor` absolutely. `false` if either is NaN.
#[must_use]
pub fn close(left: f64, right: f64, relative: f64, floor: f64) -> bool {
    // The equality inside approx lets equal infinities pass, and every comparison with NaN is false.
    f64::relative_eq(&left, &right, floor, relative)
}

/// Whether `left` and `right` differ by at most `tolerance`. `false` if either is NaN.
#[must_use]
pub fn within(left: f64, right: f64, tolerance: f64) -> bool {
    f64::abs_diff_eq(&left, &right, tolerance)
}

/// Norm-wise difference of two vectors, `‖left − right‖ / ‖right‖`; 0 if both are zero, NaN if a NaN is among them,
/// infinite if the lengths differ.
#[must_use]
pub fn norm_difference(left: &[f64], right: &[f64]) -> f64 {
    if left.len() != right.len() {
        return f64::INFINITY;
    }
    let mut difference = 0.0;
    let mut norm = 0.0;
    for (l, r) in left.iter().zip(right) {
        difference += (l - r) * (l - r);
        norm += r * r;
    }
    if difference == 0.0 {
        return 0.0;
    }
    (difference / norm).sqrt()
}

/// Panics with both values unless they agree; see [`close`].
///
/// # Panics
/// If the values differ by more, or if one is NaN.
#[track_caller]
pub fn assert_close(left: f64, right: f64, relative: f64, floor: f64) {
    assert!(
        close(left, right, relative, floor),
        "{left:e} and {right:e} differ by {:e}, allowed are {relative:e} relative or {floor:e} absolute",
        (left - right).abs()
    );
}

/// Panics with the worst elements unless two slices agree element by element; see [`close`] and
/// [`Comparison`].
///
/// # Panics
/// If the lengths differ, an element differs by more, one is NaN, or there is none.
#[track_caller]
pub fn assert_all_close(left: &[f64], right: &[f64], relative: f64, floor: f64) {
    Comparison::new("elements", left, right, Tolerance::Close { relative, floor }).assert();
}

/// The slope of a function at 0 by central differences, `(f(step) − f(−step)) / (2 step)`.
pub fn central_difference(step: f64, mut function: impl FnMut(f64) -> f64) -> f64 {
    (function(step) - function(-step)) / (2.0 * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparators_fail_on_nan() {
        assert!(!close(f64::NAN, f64::NAN, 1.0, f64::INFINITY));
        assert!(!close(1.0, f64::NAN, 1.0, 1.0));
        assert!(!within(f64::NAN, 0.0, f64::INFINITY));
        assert!(norm_difference(&[f64::NAN], &[1.0]).is_nan());
        assert!(!(norm_difference(&[f64::NAN], &[f64::NAN]) <= 1.0));
        assert!(std::panic::catch_unwind(|| assert_close(f64::NAN, 0.0, 1.0, 1.0)).is_err());
        assert!(std::panic::catch_unwind(|| assert_all_close(&[f64::NAN], &[0.0], 1.0, 1.0)).is_err());
    }

    #[test]
    fn comparators_see_differences() {
        assert!(close(1.0, 1.0 + 1e-12, 1e-11, 0.0));
        assert!(!close(1.0, 1.0 + 1e-10, 1e-11, 0.0));
        assert!(close(0.0, 1e-12, 0.0, 1e-11));
        assert!(!within(0.0, 1e-10, 1e-11));
        assert_eq!(norm_difference(&[3.0, 4.0], &[3.0, 4.0]), 0.0);
        assert_eq!(norm_difference(&[3.0], &[3.0, 4.0]), f64::INFINITY);
        assert!(within(norm_difference(&[1.0, 0.0], &[1.0, 1.0]), 0.5f64.sqrt(), 1e-15));
    }
}
