//! Dual numbers `v + d·ε` with `ε² = 0`: exact derivatives by arithmetic alone.
//!
//! The gradient of the objective is needed without the score function, or the REINFORCE identity would be checked against
//! itself. A rational function evaluated at `v + ε` gives its derivative at `v`, exactly, in any number type; and the core's own
//! estimators run on dual numbers, as on every other number.

use std::cmp::Ordering;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use advantage_nas::estimator::Scalar;
use num_traits::{Num, One, Zero};

/// A value and its derivative along one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Dual<T> {
    /// The value.
    pub value: T,
    /// Its derivative.
    pub derivative: T,
}

impl<T: Scalar> Dual<T> {
    /// A number that does not change.
    pub fn constant(value: T) -> Self {
        Self { value, derivative: T::zero() }
    }

    /// `value + derivative · ε`.
    pub fn new(value: T, derivative: T) -> Self {
        Self { value, derivative }
    }
}

fn add<T: Scalar>(l: &Dual<T>, r: &Dual<T>) -> Dual<T> {
    Dual { value: l.value.clone() + &r.value, derivative: l.derivative.clone() + &r.derivative }
}

fn sub<T: Scalar>(l: &Dual<T>, r: &Dual<T>) -> Dual<T> {
    Dual { value: l.value.clone() - &r.value, derivative: l.derivative.clone() - &r.derivative }
}

fn mul<T: Scalar>(l: &Dual<T>, r: &Dual<T>) -> Dual<T> {
    let derivative = l.derivative.clone() * &r.value + l.value.clone() * &r.derivative;
    Dual { value: l.value.clone() * &r.value, derivative }
}

fn div<T: Scalar>(l: &Dual<T>, r: &Dual<T>) -> Dual<T> {
    let value = l.value.clone() / &r.value;
    let derivative = (l.derivative.clone() - value.clone() * &r.derivative) / &r.value;
    Dual { value, derivative }
}

/// The remainder of numbers without `ε`; of others it has no derivative that would be of use.
fn rem<T: Scalar>(l: &Dual<T>, r: &Dual<T>) -> Dual<T> {
    Dual::constant(l.value.clone() % &r.value)
}

macro_rules! operators {
    ($($operator:ident $method:ident $function:ident),*) => {$(
        impl<T: Scalar> $operator for Dual<T> {
            type Output = Self;
            fn $method(self, other: Self) -> Self { $function(&self, &other) }
        }
        impl<T: Scalar> $operator<&Self> for Dual<T> {
            type Output = Self;
            fn $method(self, other: &Self) -> Self { $function(&self, other) }
        }
    )*};
}
operators!(Add add add, Sub sub sub, Mul mul mul, Div div div, Rem rem rem);

impl<T: Scalar> Neg for Dual<T> {
    type Output = Self;
    fn neg(self) -> Self {
        Self { value: -self.value, derivative: -self.derivative }
    }
}

impl<T: Scalar> Zero for Dual<T> {
    fn zero() -> Self {
        Self::constant(T::zero())
    }
    fn is_zero(&self) -> bool {
        self.value.is_zero() && self.derivative.is_zero()
    }
}

impl<T: Scalar> One for Dual<T> {
    fn one() -> Self {
        Self::constant(T::one())
    }
}

impl<T: Scalar> Num for Dual<T> {
    type FromStrRadixErr = T::FromStrRadixErr;
    fn from_str_radix(text: &str, radix: u32) -> Result<Self, Self::FromStrRadixErr> {
        T::from_str_radix(text, radix).map(Self::constant)
    }
}

impl<T: Scalar> PartialOrd for Dual<T> {
    /// By value: comparisons in a formula take the branch that the value takes.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match self.value.partial_cmp(&other.value) {
            Some(Ordering::Equal) if self.derivative != other.derivative => None,
            order => order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{Rational, rational, whole};

    fn x(value: Rational) -> Dual<Rational> {
        Dual::new(value, whole(1))
    }

    #[test]
    fn derivatives_of_rational_functions() {
        // f(x) = (x² + 1) / (3 − x) − x at 2: f = 5 − 2, f' = (2x(3 − x) + x² + 1)/(3 − x)² − 1 = 8.
        let c = |value| Dual::constant(whole(value));
        let at = x(whole(2));
        let value = (at.clone() * &at + c(1)) / (c(3) - &at) - &at;
        assert_eq!(value, Dual::new(whole(3), whole(8)));
        assert_eq!(-value, Dual::new(whole(-3), whole(-8)));
        // (1/x)' = −1/x².
        assert_eq!((c(1) / x(rational(1, 2))).derivative, whole(-4));
    }

    #[test]
    fn duals_are_numbers() {
        let zero = Dual::<Rational>::zero();
        assert!(zero.is_zero() && !Dual::new(whole(0), whole(1)).is_zero() && !Dual::<Rational>::one().is_zero());
        assert_eq!(Dual::<f64>::from_str_radix("2", 10).unwrap(), Dual::constant(2.0));
        assert_eq!(Dual::constant(7.0) % Dual::constant(4.0), Dual::constant(3.0));
        assert!(x(whole(1)) < x(whole(2)) && x(whole(1)) <= x(whole(1)));
        assert_eq!(x(whole(1)).partial_cmp(&Dual::constant(whole(1))), None);
    }
}
