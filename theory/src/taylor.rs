//! Eq. (7) for general rewards: its error against Eq. (6), and the bias that follows (claim C7b).

use advantage_nas::estimator::Scalar;
use advantage_nas::{Architecture, OpTable};

use crate::number::{Rational, count, whole};
use crate::reward::{Reward, one_hot};

/// The coefficients of `φ(t) = r(s_i, t a_i)` as a polynomial of degree at most `degree`, by interpolation at `0, 1, …`: from values
/// alone, without any derivative.
#[must_use]
pub fn ray(reward: &dyn Reward<Rational>, architecture: &Architecture, edge: usize, degree: u32) -> Vec<Rational> {
    let shape = reward.shape();
    let points = i64::from(degree) + 1;
    let values: Vec<Rational> = (0..points)
        .map(|t| {
            let mut weights = one_hot(shape, architecture, None);
            weights[(edge, architecture.choice(edge))] = whole(t);
            reward.value(&weights)
        })
        .collect();
    // Lagrange: Σ_k φ(k) Π_{m≠k} (t − m)/(k − m), multiplied out.
    let mut coefficients = vec![whole(0); points as usize];
    for (k, value) in values.into_iter().enumerate() {
        let mut product = vec![value];
        for m in (0..points).filter(|m| *m != k as i64) {
            let scale = whole(k as i64 - m);
            let mut next = vec![whole(0); product.len() + 1];
            for (power, coefficient) in product.iter().enumerate() {
                next[power + 1] += coefficient / &scale;
                next[power] -= coefficient * whole(m) / &scale;
            }
            product = next;
        }
        for (sum, coefficient) in coefficients.iter_mut().zip(product) {
            *sum += coefficient;
        }
    }
    coefficients
}

/// `∫₀¹ t φ″(t) dt` of a polynomial: what Eq. (7) exceeds Eq. (6) by. Term by term, `∫ t · k(k−1) t^{k−2} dt = k − 1`.
#[must_use]
pub fn error_of_ray(coefficients: &[Rational]) -> Rational {
    coefficients.iter().enumerate().skip(2).map(|(k, coefficient)| coefficient * whole(k as i64 - 1)).sum()
}

/// The bias of an estimate whose advantages are wrong by `ē_j` on average: `L ē`, component `μ_j (ē_j − Σ_l μ_l ē_l)`.
pub fn bias<T: Scalar>(probabilities: &[T], errors: &[T]) -> Vec<T> {
    let mean = crate::number::dot(probabilities, errors);
    probabilities.iter().zip(errors).map(|(mu, error)| (error.clone() - &mean) * mu).collect()
}

/// The bounds of the bias by the range `ρ` of the errors: `‖bias‖_∞ ≤ ρ/4`, `‖bias‖₁ ≤ ρ/2`, `‖bias‖₂² ≤ ρ²/8`.
#[derive(Clone, Debug, PartialEq)]
pub struct BiasBounds<T> {
    /// `ρ/4`.
    pub maximum: T,
    /// `ρ/2`.
    pub sum: T,
    /// `ρ²/8`.
    pub square: T,
}

/// The bounds for errors of one edge.
pub fn bias_bounds<T: Scalar>(errors: &[T]) -> BiasBounds<T> {
    let pick = |better: fn(&T, &T) -> bool| {
        errors.iter().fold(None, |best: Option<&T>, value| match best {
            Some(best) if !better(value, best) => Some(best),
            _ => Some(value),
        })
    };
    let range = match (pick(|a, b| a > b), pick(|a, b| a < b)) {
        (Some(high), Some(low)) => high.clone() - low,
        _ => T::zero(),
    };
    BiasBounds {
        maximum: range.clone() / count::<T>(4),
        sum: range.clone() / count::<T>(2),
        square: range.clone() * range / count::<T>(8),
    }
}

/// The error of Eq. (7) of every candidate of an edge in one state, averaged with the other edges' probabilities: `ē`.
///
/// # Errors
/// [`crate::Error::TooLarge`].
pub fn mean_errors<T: Scalar>(
    probabilities: &OpTable<T>,
    edge: usize,
    mut error: impl FnMut(&Architecture) -> T,
) -> crate::Result<Vec<T>> {
    let shape = probabilities.shape();
    crate::enumerate::expect_small(shape, crate::enumerate::LIMIT)?;
    let mut means = vec![T::zero(); shape.candidates(edge)];
    for architecture in shape.enumerate() {
        let mut weight = T::one();
        for (other, &choice) in architecture.choices().iter().enumerate() {
            if other != edge {
                weight = weight * &probabilities[(other, choice)];
            }
        }
        let mean = &mut means[architecture.choice(edge)];
        *mean = mean.clone() + weight * error(&architecture);
    }
    Ok(means)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::rational;
    use crate::reward::{Monomial, Polynomial};
    use advantage_nas::Shape;

    #[test]
    fn rays_and_their_errors_by_hand() {
        // r = 5 a³ b − a² + 2b with a the weight of candidate 0 at edge 0 and b of candidate 0 at edge 1: φ(t) = 2 − t² + 5t³ at
        // edge 0, error = −1·1 + 5·2 = 9 = φ'(1) − (φ(1) − φ(0)) = 13 − 4.
        let shape = Shape::new([1, 1]).unwrap();
        let term = |c, factors: &[(usize, usize, u32)]| Monomial { coefficient: whole(c), factors: factors.to_vec() };
        let terms = vec![term(5, &[(0, 0, 3), (1, 0, 1)]), term(-1, &[(0, 0, 2)]), term(2, &[(1, 0, 1)])];
        let reward = Polynomial::new(&shape, terms).unwrap();
        let a = Architecture::first(&shape);
        let coefficients = ray(&reward, &a, 0, 3);
        assert_eq!(coefficients, [whole(2), whole(0), whole(-1), whole(5)]);
        assert_eq!(error_of_ray(&coefficients), whole(9));
        assert_eq!(error_of_ray(&ray(&reward, &a, 1, 2)), whole(0));
    }

    #[test]
    fn bounds_are_reached_by_two_equal_candidates() {
        let (mu, errors) = ([rational(1, 2), rational(1, 2)], [whole(3), whole(-1)]);
        let bounds = bias_bounds(&errors);
        let bias = bias(&mu, &errors);
        assert_eq!(bias, [whole(1), whole(-1)]);
        assert_eq!(bounds, BiasBounds { maximum: whole(1), sum: whole(2), square: whole(2) });
        assert_eq!(bias_bounds::<f64>(&[]).sum, 0.0);
        assert_eq!(bias_bounds(&[1.0, 5.0, 2.0]).sum, 2.0);
    }
}
