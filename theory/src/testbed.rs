//! Section 4.4: linear and affine rewards, where every moment has a closed form. Each formula stands as the paper prints it and
//! as it is.
//!
//! Nothing here enumerates and nothing here calls an estimator: the forms come from the derivations in this crate's README, and
//! are compared with [`crate::enumerate`] and the core's estimators.

use advantage_nas::OpTable;
use advantage_nas::estimator::Scalar;

use crate::error::{Error, Result};
use crate::number::{norm2, square, sum};

/// Expectation, bias, second moment and variance of the estimate at one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Form<T> {
    /// `E δ_i`, `[candidates]`.
    pub expectation: Vec<T>,
    /// `E δ_i − ∇_{θ_i} J`, `[candidates]`.
    pub bias: Vec<T>,
    /// `E‖δ_i‖²`.
    pub second_moment: T,
    /// `E‖δ_i − E δ_i‖²`.
    pub variance: T,
}

impl<T: Scalar> Form<T> {
    /// The form of an estimate from its expectation and second moment.
    pub fn new(expectation: Vec<T>, gradient: &[T], second_moment: T) -> Self {
        let bias = expectation.iter().zip(gradient).map(|(mean, true_value)| mean.clone() - true_value).collect();
        let variance = second_moment.clone() - norm2(&expectation);
        Self { expectation, bias, second_moment, variance }
    }
}

/// Everything that the formulas need about one edge.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge<T> {
    /// `μ`, `[candidates]`.
    pub probabilities: Vec<T>,
    /// `r`, `[candidates]`.
    pub rewards: Vec<T>,
    /// `r̄ = Σ μ_j r_j`.
    pub mean: T,
    /// `q = ‖μ‖²`.
    pub square: T,
    /// `T = Σ μ_j d_j r_j = (1 − q) r̃`, with `d_j = 1 − 2 μ_j + q`.
    pub moment: T,
}

impl<T: Scalar> Edge<T> {
    /// An edge from its probabilities and rewards.
    ///
    /// # Errors
    /// [`Error::Core`] unless there are equally many.
    pub fn new(probabilities: Vec<T>, rewards: Vec<T>) -> Result<Self> {
        if probabilities.len() != rewards.len() {
            return Err(Error::Core(advantage_nas::Error::Length {
                what: "rewards of an edge",
                expected: probabilities.len(),
                got: rewards.len(),
            }));
        }
        let mean = crate::number::dot(&probabilities, &rewards);
        let square = norm2(&probabilities);
        let mut edge = Self { probabilities, rewards, mean, square, moment: T::zero() };
        edge.moment = sum((0..edge.len()).map(|j| edge.probabilities[j].clone() * edge.distance(j) * &edge.rewards[j]));
        Ok(edge)
    }

    /// Number of candidates `n`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Never true for a valid edge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// `d_j = ‖e_j − μ‖² = 1 − 2 μ_j + q`.
    #[must_use]
    pub fn distance(&self, candidate: usize) -> T {
        let probability = &self.probabilities[candidate];
        T::one() - probability - probability + &self.square
    }

    /// `1 − q = E‖a − μ‖²`.
    #[must_use]
    pub fn spread(&self) -> T {
        T::one() - &self.square
    }

    /// `∇_{θ} J`: `μ_j (r_j − r̄)`.
    #[must_use]
    pub fn gradient(&self) -> Vec<T> {
        self.probabilities.iter().zip(&self.rewards).map(|(mu, r)| (r.clone() - &self.mean) * mu).collect()
    }

    /// `‖∇_θ J‖² = Σ μ_j² (r_j − r̄)²`.
    #[must_use]
    pub fn gradient_norm2(&self) -> T {
        sum(self.probabilities.iter().zip(&self.rewards).map(|(mu, r)| square(&(r.clone() - &self.mean)) * square(mu)))
    }

    /// `‖∇_θ J‖²` as printed: `Σ r_j² μ_j² (1 − μ_j)²`. False in general (claim C8).
    #[must_use]
    pub fn printed_gradient_norm2(&self) -> T {
        sum(self
            .probabilities
            .iter()
            .zip(&self.rewards)
            .map(|(mu, r)| square(r) * square(mu) * square(&(T::one() - mu))))
    }

    /// `E‖δ_adv‖² = Σ μ_j r_j² d_j`; printed as `Var[δ_adv]`, of which it is the second moment (claim C9).
    #[must_use]
    pub fn second_moment_advantage(&self) -> T {
        sum((0..self.len()).map(|j| self.probabilities[j].clone() * square(&self.rewards[j]) * self.distance(j)))
    }

    /// `E r² − r̄²`: the variance of the edge's contribution.
    #[must_use]
    pub fn reward_variance(&self) -> T {
        self.reward_square_mean() - square(&self.mean)
    }

    /// `Σ μ_j r_j²`.
    #[must_use]
    pub fn reward_square_mean(&self) -> T {
        sum(self.probabilities.iter().zip(&self.rewards).map(|(mu, r)| square(r) * mu))
    }

    /// `r̃ = T / (1 − q)`, the optimal baseline of the advantage (claim C15); `None` on a vertex.
    #[must_use]
    pub fn optimal_baseline(&self) -> Option<T> {
        let spread = self.spread();
        if spread > T::zero() { Some(self.moment.clone() / spread) } else { None }
    }

    /// Second moment of `(r_j − b)(e_j − μ)`: `E‖δ_adv‖² − 2 b T + (1 − q) b²`.
    #[must_use]
    pub fn second_moment_minus(&self, baseline: &T) -> T {
        let linear = self.moment.clone() * baseline;
        self.second_moment_advantage() - &linear - &linear + self.spread() * square(baseline)
    }

    /// Second moment with the optimal baseline, `V* = E‖δ_adv‖² − T²/(1 − q)`; zero on a vertex.
    #[must_use]
    pub fn second_moment_optimal(&self) -> T {
        match self.optimal_baseline() {
            Some(baseline) => self.second_moment_advantage() - baseline * &self.moment,
            None => T::zero(),
        }
    }
}

/// An affine reward on a product policy: the testbed of section 4.4.
#[derive(Clone, Debug, PartialEq)]
pub struct Testbed<T> {
    constant: T,
    edges: Vec<Edge<T>>,
}

impl<T: Scalar> Testbed<T> {
    /// The testbed of probabilities and rewards `[edges, candidates]` and a constant (zero in the paper).
    ///
    /// # Errors
    /// If the tables are of different spaces.
    pub fn new(probabilities: &OpTable<T>, rewards: &OpTable<T>, constant: T) -> Result<Self> {
        probabilities.shape().expect("rewards", rewards.shape())?;
        let edges = (0..rewards.shape().edges())
            .map(|edge| Edge::new(probabilities.edge(edge).to_vec(), rewards.edge(edge).to_vec()))
            .collect::<Result<_>>()?;
        Ok(Self { constant, edges })
    }

    /// The edges.
    #[must_use]
    pub fn edges(&self) -> &[Edge<T>] {
        &self.edges
    }

    /// The constant.
    #[must_use]
    pub fn constant(&self) -> &T {
        &self.constant
    }

    /// `J = c + Σ_i r̄_i`.
    #[must_use]
    pub fn objective(&self) -> T {
        self.constant.clone() + sum(self.edges.iter().map(|edge| edge.mean.clone()))
    }

    fn others(&self, edge: usize) -> impl Iterator<Item = &Edge<T>> {
        self.edges.iter().enumerate().filter(move |(index, _)| *index != edge).map(|(_, other)| other)
    }

    /// `M = E S`, where `S` is the reward without edge `edge`.
    #[must_use]
    pub fn rest_mean(&self, edge: usize) -> T {
        self.constant.clone() + sum(self.others(edge).map(|other| other.mean.clone()))
    }

    /// `Var S`.
    #[must_use]
    pub fn rest_variance(&self, edge: usize) -> T {
        sum(self.others(edge).map(Edge::reward_variance))
    }

    /// `E‖(R − b)(a_i − μ_i)‖² = E‖δ_adv‖² + 2 (M − b) T + (1 − q)(Var S + (M − b)²)`; with `b = 0` that of Eq. (4).
    #[must_use]
    pub fn second_moment_reinforce(&self, edge: usize, baseline: &T) -> T {
        let at = &self.edges[edge];
        let mean = self.rest_mean(edge) - baseline;
        let linear = mean.clone() * &at.moment;
        at.second_moment_advantage() + &linear + &linear + at.spread() * (self.rest_variance(edge) + square(&mean))
    }

    /// `Var[δ_base]` as printed: `E‖δ_adv‖² + (1 − q) Σ_{k≠i} Σ_j (r_k^j)² μ_k^j`. False in general (claim C10).
    #[must_use]
    pub fn printed_second_moment_reinforce(&self, edge: usize) -> T {
        let at = &self.edges[edge];
        at.second_moment_advantage() + at.spread() * sum(self.others(edge).map(Edge::reward_square_mean))
    }

    /// Exact minus printed, for a linear reward: `2 M T + (1 − q)(M² − Σ_{k≠i} r̄_k²)`.
    #[must_use]
    pub fn correction(&self, edge: usize) -> T {
        let at = &self.edges[edge];
        let mean = self.rest_mean(edge);
        let linear = mean.clone() * &at.moment;
        let squares = sum(self.others(edge).map(|other| square(&other.mean)));
        linear.clone() + linear + at.spread() * (square(&mean) - squares)
    }

    /// Eq. (4).
    #[must_use]
    pub fn reinforce(&self, edge: usize) -> Form<T> {
        self.unbiased(edge, self.second_moment_reinforce(edge, &T::zero()))
    }

    /// Eq. (4) with a fixed baseline.
    #[must_use]
    pub fn reinforce_with_baseline(&self, edge: usize, baseline: &T) -> Form<T> {
        self.unbiased(edge, self.second_moment_reinforce(edge, baseline))
    }

    /// Eq. (4) with the mean reward as baseline.
    #[must_use]
    pub fn reinforce_mean_baseline(&self, edge: usize) -> Form<T> {
        self.reinforce_with_baseline(edge, &self.objective())
    }

    /// Eq. (6); Eq. (7) is the same on an affine reward.
    #[must_use]
    pub fn advantage(&self, edge: usize) -> Form<T> {
        self.unbiased(edge, self.edges[edge].second_moment_advantage())
    }

    /// Eq. (6) minus a fixed baseline.
    #[must_use]
    pub fn advantage_minus(&self, edge: usize, baseline: &T) -> Form<T> {
        self.unbiased(edge, self.edges[edge].second_moment_minus(baseline))
    }

    /// Eq. (6) minus its optimal baseline.
    #[must_use]
    pub fn optimal(&self, edge: usize) -> Form<T> {
        self.unbiased(edge, self.edges[edge].second_moment_optimal())
    }

    /// DARTS: the gradient of `R(μ(θ))`, which is the gradient of `J` and does not vary (claim C19).
    #[must_use]
    pub fn darts(&self, edge: usize) -> Form<T> {
        self.unbiased(edge, self.edges[edge].gradient_norm2())
    }

    /// NASP: `∂R/∂a` at all candidates, taken for the gradient with respect to `θ`; it does not depend on `θ` here.
    #[must_use]
    pub fn nasp(&self, edge: usize) -> Form<T> {
        let at = &self.edges[edge];
        Form::new(at.rewards.clone(), &at.gradient(), norm2(&at.rewards))
    }

    /// Footnote 4: the advantage of candidate `zero` replaced by `value`. `E δ = L (r + c e_z)`.
    #[must_use]
    pub fn zero_replaced(&self, edge: usize, zero: usize, value: &T) -> Form<T> {
        let at = &self.edges[edge];
        let mu = &at.probabilities[zero];
        // L e_z = μ_z (e_z − μ).
        let bias = |j: usize| {
            let indicator = if j == zero { T::one() } else { T::zero() };
            (indicator - &at.probabilities[j]) * value * mu
        };
        let expectation =
            at.gradient().into_iter().enumerate().map(|(j, gradient)| gradient + bias(j)).collect::<Vec<_>>();
        let second_moment =
            at.second_moment_advantage() + mu.clone() * at.distance(zero) * (square(value) - square(&at.rewards[zero]));
        Form::new(expectation, &at.gradient(), second_moment)
    }

    fn unbiased(&self, edge: usize, second_moment: T) -> Form<T> {
        let gradient = self.edges[edge].gradient();
        Form::new(gradient.clone(), &gradient, second_moment)
    }
}

/// The average over independent rewards with mean `m` and variance `s²` of `E‖δ_base‖² − E‖δ_adv‖²`:
/// `(1 − q)[(N − 1) s² + (N² − 1) m²]` with `N` edges (claim C12).
pub fn average_gap<T: Scalar>(spread: &T, edges: usize, mean: &T, variance: &T) -> T {
    let n: T = crate::number::count(edges);
    let linear = (n.clone() - T::one()) * variance;
    let quadratic = (square(&n) - T::one()) * square(mean);
    spread.clone() * (linear + quadratic)
}

/// The affine reward `bias ↦` of footnote 4 that the replaced estimator ascends in truth: `r + c e_z`.
pub fn effective_rewards<T: Scalar>(rewards: &[T], zero: usize, value: &T) -> Vec<T> {
    let mut effective = rewards.to_vec();
    effective[zero] = effective[zero].clone() + value;
    effective
}

/// The smallest of the others' rewards: what footnote 4 replaces the advantage of candidate `zero` by. `None` if there is no
/// other.
pub fn worst_of_others<T: Scalar>(rewards: &[T], zero: usize) -> Option<T> {
    let others = rewards.iter().enumerate().filter(|(j, _)| *j != zero).map(|(_, reward)| reward);
    others
        .fold(None, |worst: Option<&T>, reward| match worst {
            Some(worst) if worst <= reward => Some(worst),
            _ => Some(reward),
        })
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{Rational, rational, whole};

    #[test]
    fn a_case_by_hand() {
        // μ = (1/4, 3/4), r = (2, −2): r̄ = −1, q = 5/8, d = (9/8, 1/8), T = 1/4·9/8·2 − 3/4·1/8·2 = 3/8, r̃ = 1.
        let edge = Edge::new(vec![rational(1, 4), rational(3, 4)], vec![whole(2), whole(-2)]).unwrap();
        assert_eq!(edge.mean, whole(-1));
        assert_eq!(edge.square, rational(5, 8));
        assert_eq!((edge.distance(0), edge.distance(1)), (rational(9, 8), rational(1, 8)));
        assert_eq!(edge.moment, rational(3, 8));
        assert_eq!(edge.optimal_baseline(), Some(whole(1)));
        assert_eq!(edge.gradient(), [rational(3, 4), rational(-3, 4)]);
        assert_eq!(edge.gradient_norm2(), rational(9, 8));
        // Printed: 4·(1/16)(9/16) + 4·(9/16)(1/16) = 9/32.
        assert_eq!(edge.printed_gradient_norm2(), rational(9, 32));
        assert_eq!(edge.second_moment_advantage(), rational(3, 2));
        assert_eq!(edge.second_moment_optimal(), rational(9, 8));
        assert_eq!(edge.reward_variance(), whole(3));
        assert_eq!(edge.len(), 2);
        assert!(!edge.is_empty());
        assert!(Edge::new(vec![whole(1)], vec![]).is_err());
        assert!(Edge::<Rational>::new(vec![], vec![]).unwrap().is_empty());
    }

    #[test]
    fn nothing_varies_on_a_vertex() {
        let edge = Edge::new(vec![whole(1), whole(0)], vec![whole(2), whole(5)]).unwrap();
        assert_eq!(edge.optimal_baseline(), None);
        assert_eq!((edge.second_moment_optimal(), edge.second_moment_advantage()), (whole(0), whole(0)));
    }

    #[test]
    fn worst_values() {
        assert_eq!(worst_of_others(&[0.0, -1.0, -2.0], 0), Some(-2.0));
        assert_eq!(worst_of_others(&[-3.0, 1.0, 2.0], 0), Some(1.0));
        assert_eq!(worst_of_others(&[1.0, 1.0, 5.0], 2), Some(1.0));
        assert_eq!(worst_of_others(&[0.0], 0), None);
        assert_eq!(effective_rewards(&[1.0, 0.0], 1, &1.0), [1.0, 1.0]);
    }
}
