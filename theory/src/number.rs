//! Exact rationals: construction, parsing, printing, and the few sums that every formula needs.

use advantage_nas::estimator::Scalar;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Pow, Signed, ToPrimitive, Zero};

use crate::error::{Error, Result};

/// The exact number type.
pub type Rational = BigRational;

/// Largest exponent of ten that is read, so that a short text can't ask for a number of gigabytes.
const MAX_EXPONENT: i64 = 400;

/// `numerator / denominator`.
///
/// # Panics
/// If the denominator is zero.
#[must_use]
pub fn rational(numerator: i64, denominator: i64) -> Rational {
    Rational::new(numerator.into(), denominator.into())
}

/// A whole number.
#[must_use]
pub fn whole(value: i64) -> Rational {
    Rational::from_integer(value.into())
}

/// Reads an integer, a decimal or a fraction of two of them, exactly as written: `0.1` is 1/10.
///
/// # Errors
/// [`Error::Number`].
pub fn parse(text: &str) -> Result<Rational> {
    let refuse = || Error::Number { text: text.to_owned() };
    match text.split_once('/') {
        None => decimal_text(text.trim()).ok_or_else(refuse),
        Some((numerator, denominator)) => {
            let numerator = decimal_text(numerator.trim()).ok_or_else(refuse)?;
            let denominator = decimal_text(denominator.trim()).ok_or_else(refuse)?;
            if denominator.is_zero() { Err(refuse()) } else { Ok(numerator / denominator) }
        }
    }
}

fn decimal_text(text: &str) -> Option<Rational> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        None => (text, 0),
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
    let all = [before, after].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let shift = exponent.checked_sub(i64::try_from(after.len()).ok()?)?;
    if shift.abs() > MAX_EXPONENT {
        return None;
    }
    let magnitude: BigInt = all.parse().ok()?;
    let value = Rational::from_integer(magnitude) * Pow::pow(whole(10), i32::try_from(shift).ok()?);
    Some(if negative { -value } else { value })
}

/// The nearest `f64`; infinite or zero outside its range.
#[must_use]
pub fn to_f64(value: &Rational) -> f64 {
    value.to_f64().unwrap_or(f64::NAN)
}

/// A rational in decimals, rounded half away from zero to `digits` places, without trailing zeros.
#[must_use]
pub fn decimal(value: &Rational, digits: u32) -> String {
    let scale = Rational::from_integer(Pow::pow(BigInt::from(10), digits));
    let rounded = (value.abs() * scale).round().to_integer();
    let text = format!("{:0>width$}", rounded.to_string(), width = digits as usize + 1);
    let (before, after) = text.split_at(text.len() - digits as usize);
    let after = after.trim_end_matches('0');
    let sign = if value.is_negative() && !rounded.is_zero() { "-" } else { "" };
    if after.is_empty() { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") }
}

/// `Σ_j a_j`.
pub fn sum<T: Scalar>(values: impl IntoIterator<Item = T>) -> T {
    values.into_iter().fold(T::zero(), |total, value| total + value)
}

/// `Σ_j a_j b_j`.
pub fn dot<T: Scalar>(left: &[T], right: &[T]) -> T {
    sum(left.iter().zip(right).map(|(l, r)| l.clone() * r))
}

/// `‖v‖²`.
pub fn norm2<T: Scalar>(values: &[T]) -> T {
    dot(values, values)
}

/// `v²`.
pub fn square<T: Scalar>(value: &T) -> T {
    value.clone() * value
}

/// The whole number `count` in any number type.
pub fn count<T: Scalar>(count: usize) -> T {
    (0..count).fold(T::zero(), |total, _| total + T::one())
}

/// `1 / v`, for readability.
pub fn inverse(value: &Rational) -> Rational {
    Rational::one() / value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_exactly_as_written() {
        for (text, numerator, denominator) in [
            ("3/8", 3, 8),
            (" -3 / 8 ", -3, 8),
            ("0.1", 1, 10),
            (".5", 1, 2),
            ("5.", 5, 1),
            ("+7", 7, 1),
            ("-0.125", -1, 8),
            ("1e2", 100, 1),
            ("2.5E-1", 1, 4),
            ("0.5/0.25", 2, 1),
        ] {
            assert_eq!(parse(text).unwrap(), rational(numerator, denominator), "{text}");
        }
        assert_eq!(parse("0.1").unwrap() + parse("0.2").unwrap() + parse("0.7").unwrap(), whole(1));
        assert_eq!(parse("1e400").unwrap(), Rational::from_integer(Pow::pow(BigInt::from(10), 400u32)));
        for text in ["", ".", "-", "1/0", "1/2/3", "nan", "inf", "0x10", "1e", "1e401", "1.2.3", "--1", "1 2", "e5"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn decimals_are_rounded_half_away_from_zero() {
        assert_eq!(decimal(&rational(1, 8), 2), "0.13");
        assert_eq!(decimal(&rational(-1, 8), 2), "-0.13");
        assert_eq!(decimal(&rational(-1, 1000), 2), "0");
        assert_eq!(decimal(&rational(5, 2), 6), "2.5");
        assert_eq!(decimal(&whole(100), 3), "100");
        assert_eq!(decimal(&rational(1, 3), 4), "0.3333");
        assert_eq!(decimal(&rational(7, 2), 0), "4");
    }

    #[test]
    fn sums() {
        assert_eq!(dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
        assert_eq!(norm2(&[3.0, 4.0]), 25.0);
        assert_eq!(square(&3.0), 9.0);
        assert_eq!(count::<f64>(3), 3.0);
        assert_eq!(inverse(&rational(2, 3)), rational(3, 2));
        assert_eq!(to_f64(&rational(1, 4)), 0.25);
    }
}
