//! Exact expectations by going through every architecture.
//!
//! The sums here are as plain as they can be: probability times value, over all cases. They know no formula of the paper; the
//! closed forms are in the other modules, and each is checked against these sums.

use advantage_nas::estimator::Scalar;
use advantage_nas::{Architecture, OpTable, Shape};

use crate::dual::Dual;
use crate::error::{Error, Result};
use crate::estimators::Estimators;
use crate::number::{norm2, square};
use crate::reward::Reward;

/// Most architectures (or samples of architectures) that are enumerated unless another limit is given.
pub const LIMIT: u128 = 1 << 20;

/// Checks that a space is small enough to enumerate.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn expect_small(shape: &Shape, limit: u128) -> Result<()> {
    match shape.architectures() {
        Some(count) if count <= limit => Ok(()),
        count => {
            let count = count.map_or_else(|| "more than 2^128".to_owned(), |count| count.to_string());
            Err(Error::TooLarge { what: "architectures", count, limit })
        }
    }
}

/// Checks that every edge has a probability distribution: no negative value, and a sum within `tolerance` of one (zero for exact
/// numbers).
///
/// # Errors
/// [`Error::Probabilities`].
pub fn expect_distribution<T: Scalar>(probabilities: &OpTable<T>, tolerance: &T) -> Result<()> {
    for edge in 0..probabilities.shape().edges() {
        let row = probabilities.edge(edge);
        // Negated comparisons, so that NaN is refused too.
        if let Some(candidate) = row.iter().position(|value| !(*value >= T::zero())) {
            let problem = format!("the probability of candidate {candidate} is negative: {:?}", row[candidate]);
            return Err(Error::Probabilities { edge, problem });
        }
        let excess = crate::number::sum(row.iter().cloned()) - T::one();
        if !(excess <= *tolerance && -excess.clone() <= *tolerance) {
            let problem = format!("the probabilities sum to {:?} instead of 1", excess + T::one());
            return Err(Error::Probabilities { edge, problem });
        }
    }
    Ok(())
}

/// A distribution over architectures, as a list of probabilities and architectures. The paper's is a product over the edges; the
/// list can also be one that is not.
#[derive(Clone, Debug, PartialEq)]
pub struct Law<T> {
    shape: Shape,
    atoms: Vec<(T, Architecture)>,
}

impl<T: Scalar> Law<T> {
    /// The product policy, Eq. (2): `p(a) = Π_i μ_i^{j_i}`. Architectures of probability zero are left out.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than `limit` architectures.
    pub fn product(probabilities: &OpTable<T>, limit: u128) -> Result<Self> {
        let shape = probabilities.shape().clone();
        expect_small(&shape, limit)?;
        let mut atoms = Vec::new();
        for architecture in shape.enumerate() {
            let probability = product_probability(probabilities, &architecture);
            if !probability.is_zero() {
                atoms.push((probability, architecture));
            }
        }
        Ok(Self { shape, atoms })
    }

    /// Any distribution, product or not.
    ///
    /// # Errors
    /// If an architecture is not of the shape.
    pub fn coupled(shape: &Shape, atoms: Vec<(T, Architecture)>) -> Result<Self> {
        for (_, architecture) in &atoms {
            architecture.expect_in(shape)?;
        }
        Ok(Self { shape: shape.clone(), atoms })
    }

    /// Probabilities and architectures.
    #[must_use]
    pub fn atoms(&self) -> &[(T, Architecture)] {
        &self.atoms
    }

    /// `E f(a)`.
    pub fn expect(&self, mut f: impl FnMut(&Architecture) -> T) -> T {
        crate::number::sum(self.atoms.iter().map(|(probability, a)| f(a) * probability))
    }

    /// Expectation and second moments of a gradient estimate.
    ///
    /// # Errors
    /// What the estimate returns.
    pub fn moments(
        &self,
        mut estimate: impl FnMut(&Architecture, &mut OpTable<T>) -> Result<()>,
    ) -> Result<Moments<T>> {
        let mut moments = Moments::zero(&self.shape);
        let mut buffer = OpTable::filled(&self.shape, T::zero());
        for (probability, architecture) in &self.atoms {
            estimate(architecture, &mut buffer)?;
            moments.add(probability, &buffer);
        }
        Ok(moments)
    }
}

/// `Π_i μ_i^{j_i}`.
pub fn product_probability<T: Scalar>(probabilities: &OpTable<T>, architecture: &Architecture) -> T {
    architecture
        .choices()
        .iter()
        .enumerate()
        .fold(T::one(), |product, (edge, &choice)| product * &probabilities[(edge, choice)])
}

/// Expectation `E δ` and, per edge, second moment `E‖δ_i‖²` of a gradient estimate.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments<T> {
    /// `E δ`, `[edges, candidates]`.
    pub expectation: OpTable<T>,
    /// `E‖δ_i‖²`, `[edges]`.
    pub second_moment: Vec<T>,
}

impl<T: Scalar> Moments<T> {
    /// Nothing added yet.
    #[must_use]
    pub fn zero(shape: &Shape) -> Self {
        Self { expectation: OpTable::filled(shape, T::zero()), second_moment: vec![T::zero(); shape.edges()] }
    }

    /// Adds a case.
    pub fn add(&mut self, probability: &T, estimate: &OpTable<T>) {
        for (sum, value) in self.expectation.values_mut().iter_mut().zip(estimate.values()) {
            *sum = sum.clone() + probability.clone() * value;
        }
        for (edge, sum) in self.second_moment.iter_mut().enumerate() {
            *sum = sum.clone() + norm2(estimate.edge(edge)) * probability;
        }
    }

    /// `E‖δ_i − E δ_i‖²`, `[edges]`.
    #[must_use]
    pub fn variance(&self) -> Vec<T> {
        self.second_moment
            .iter()
            .enumerate()
            .map(|(edge, second)| second.clone() - norm2(self.expectation.edge(edge)))
            .collect()
    }
}

/// `J = E R(a)` under the product policy.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn objective<T: Scalar, R: Reward<T> + ?Sized>(reward: &R, probabilities: &OpTable<T>) -> Result<T> {
    Ok(Law::product(probabilities, LIMIT)?.expect(|a| reward.at(a)))
}

/// `∇_θ J`, `[edges, candidates]`, without the score function: the derivative, by dual numbers, of
/// `Σ_a Π_i (ρ_i^{j_i} / Σ_k ρ_i^k) R(a)` along `∂ρ_i^j/∂θ_i^j = ρ_i^j`, where `ρ = e^θ` may be scaled to `μ`.
///
/// # Errors
/// [`Error::TooLarge`].
pub fn gradient<T: Scalar>(
    mut reward: impl FnMut(&Architecture) -> T,
    probabilities: &OpTable<T>,
) -> Result<OpTable<T>> {
    let shape = probabilities.shape();
    expect_small(shape, LIMIT)?;
    let rewards: Vec<(Architecture, T)> = shape.enumerate().map(|a| (a.clone(), reward(&a))).collect();
    let mut gradient = OpTable::filled(shape, T::zero());
    for edge in 0..shape.edges() {
        for moved in 0..shape.candidates(edge) {
            let softmax = softmax_derivative(probabilities.edge(edge), moved);
            let mut total = Dual::constant(T::zero());
            for (architecture, reward) in &rewards {
                let mut term = Dual::constant(reward.clone());
                for (at, &choice) in architecture.choices().iter().enumerate() {
                    term = if at == edge {
                        term * &softmax[choice]
                    } else {
                        term * Dual::constant(probabilities[(at, choice)].clone())
                    };
                }
                total = total + term;
            }
            gradient[(edge, moved)] = total.derivative;
        }
    }
    Ok(gradient)
}

/// The softmax `ρ_k / Σ_l ρ_l` with its derivative with respect to the logit of candidate `moved`, by the quotient rule of dual
/// numbers.
pub fn softmax_derivative<T: Scalar>(exponentials: &[T], moved: usize) -> Vec<Dual<T>> {
    let lifted: Vec<Dual<T>> = exponentials
        .iter()
        .enumerate()
        .map(|(k, value)| Dual::new(value.clone(), if k == moved { value.clone() } else { T::zero() }))
        .collect();
    let total = crate::number::sum(lifted.iter().cloned());
    lifted.into_iter().map(|value| value / &total).collect()
}

/// One of the estimators of the paper, as it is used on a reward.
#[derive(Clone, Debug, PartialEq)]
pub enum Estimator<T> {
    /// Eq. (4).
    Reinforce,
    /// Eq. (4) with a fixed baseline.
    Baseline(T),
    /// Eq. (6).
    Advantage,
    /// Eq. (6) minus a fixed baseline per edge, `[edges]`.
    AdvantageMinus(Vec<T>),
    /// Eq. (7).
    FirstOrder,
    /// The reward minus the optimal baseline `b*(s_i) = Σ_j w_j R(s_i, e_j)` (claim C15).
    Optimal,
}

/// Runs an estimator of the code under test on one architecture.
///
/// # Errors
/// What the code returns.
pub fn run<T: Scalar, R: Reward<T> + ?Sized, E: Estimators>(
    code: &E,
    estimator: &Estimator<T>,
    reward: &R,
    probabilities: &OpTable<T>,
    a: &Architecture,
    out: &mut OpTable<T>,
) -> Result<()> {
    let shape = probabilities.shape();
    let edges = shape.edges();
    let exact = || -> Result<Vec<T>> {
        let removals: Vec<T> = (0..edges).map(|edge| reward.without(a, edge)).collect();
        let mut advantages = vec![T::zero(); edges];
        code.advantages(&reward.at(a), &removals, &mut advantages)?;
        Ok(advantages)
    };
    match estimator {
        Estimator::Reinforce => code.reinforce(&reward.at(a), a, probabilities, out)?,
        Estimator::Baseline(baseline) => {
            code.reinforce_with_baseline(&reward.at(a), baseline, a, probabilities, out)?;
        }
        Estimator::Advantage => code.policy_gradient(&exact()?, a, probabilities, out)?,
        Estimator::AdvantageMinus(baselines) => {
            let centred: Vec<T> =
                exact()?.into_iter().zip(baselines).map(|(value, baseline)| value - baseline).collect();
            code.policy_gradient(&centred, a, probabilities, out)?;
        }
        Estimator::FirstOrder => {
            let mut gradient = OpTable::filled(shape, T::zero());
            reward.gradient_at(a, &mut gradient);
            let mut advantages = vec![T::zero(); edges];
            code.first_order(&gradient, a, &mut advantages)?;
            code.policy_gradient(&advantages, a, probabilities, out)?;
        }
        Estimator::Optimal => {
            let value = reward.at(a);
            let mut centred = Vec::with_capacity(edges);
            for edge in 0..edges {
                let baseline = code.optimal_baseline(probabilities.edge(edge), &alternatives(reward, a, edge)?)?;
                // On a vertex the score is zero, whatever the baseline.
                centred.push(baseline.map_or_else(T::zero, |baseline| value.clone() - baseline));
            }
            code.policy_gradient(&centred, a, probabilities, out)?;
        }
    }
    Ok(())
}

/// `R(s_i, e_j)` for every candidate `j` of an edge.
///
/// # Errors
/// If the architecture is not of the reward's space.
pub fn alternatives<T: Scalar, R: Reward<T> + ?Sized>(reward: &R, a: &Architecture, edge: usize) -> Result<Vec<T>> {
    let shape = reward.shape();
    let mut other = a.clone();
    (0..shape.candidates(edge))
        .map(|candidate| {
            other.choose(shape, edge, candidate)?;
            Ok(reward.at(&other))
        })
        .collect()
}

/// Moments of an estimator under the product policy.
///
/// # Errors
/// [`Error::TooLarge`], and what the code returns.
pub fn moments<T: Scalar, R: Reward<T> + ?Sized, E: Estimators>(
    code: &E,
    estimator: &Estimator<T>,
    reward: &R,
    probabilities: &OpTable<T>,
) -> Result<Moments<T>> {
    Law::product(probabilities, LIMIT)?.moments(|a, out| run(code, estimator, reward, probabilities, a, out))
}

/// Moments under the product policy *and* an independent minibatch: `batches` lists every minibatch's probability and reward.
///
/// # Errors
/// [`Error::TooLarge`] counting pairs of an architecture and a minibatch, and what the code returns.
pub fn moments_over_minibatches<T: Scalar, R: Reward<T>, E: Estimators>(
    code: &E,
    estimator: &Estimator<T>,
    batches: &[(T, R)],
    probabilities: &OpTable<T>,
) -> Result<Moments<T>> {
    let law = Law::product(probabilities, LIMIT / (batches.len().max(1) as u128))?;
    let mut total = Moments::<T>::zero(probabilities.shape());
    for (weight, reward) in batches {
        let part = law.moments(|a, out| run(code, estimator, reward, probabilities, a, out))?;
        for (sum, value) in total.expectation.values_mut().iter_mut().zip(part.expectation.values()) {
            *sum = sum.clone() + weight.clone() * value;
        }
        for (sum, value) in total.second_moment.iter_mut().zip(&part.second_moment) {
            *sum = sum.clone() + weight.clone() * value;
        }
    }
    Ok(total)
}

/// `Σ_i ‖∇_{θ_i} J‖²` of a table.
pub fn total_norm2<T: Scalar>(table: &OpTable<T>) -> T {
    crate::number::sum(table.values().iter().map(square))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimators::Core;
    use crate::number::{Rational, rational, whole};
    use crate::reward::Affine;

    /// By hand: one edge, μ = (1/4, 3/4), r = (2, −2): J = −1, ∇J = μ_j (r_j − r̄) = (3/4, −3/4);
    /// REINFORCE: 2·(3/4, −3/4) with 1/4, −2·(−1/4, 1/4) with 3/4; second moment 1/4·4·9/8 + 3/4·4·1/8 = 3/2.
    #[test]
    fn a_case_by_hand() {
        let probabilities = OpTable::from_rows([vec![rational(1, 4), rational(3, 4)]]).unwrap();
        let reward = Affine::linear(OpTable::from_rows([vec![whole(2), whole(-2)]]).unwrap());
        assert_eq!(objective(&reward, &probabilities).unwrap(), whole(-1));
        let expected = [rational(3, 4), rational(-3, 4)];
        assert_eq!(gradient(|a| reward.at(a), &probabilities).unwrap().values(), expected);
        let moments = moments(&Core, &Estimator::Reinforce, &reward, &probabilities).unwrap();
        assert_eq!(moments.expectation.values(), expected);
        assert_eq!(moments.second_moment, [rational(3, 2)]);
        assert_eq!(moments.variance(), [rational(3, 2) - rational(9, 8)]);
        assert_eq!(total_norm2(&moments.expectation), rational(9, 8));
    }

    #[test]
    fn large_spaces_are_refused() {
        let shape = Shape::new([2; 21]).unwrap();
        let message = expect_small(&shape, LIMIT).unwrap_err().to_string();
        assert_eq!(message, "architectures: 2097152 cases are too many to enumerate, the limit is 1048576");
        assert!(expect_small(&Shape::new([2; 20]).unwrap(), LIMIT).is_ok());
        let message = expect_small(&Shape::new([2; 128]).unwrap(), LIMIT).unwrap_err().to_string();
        assert!(message.contains("more than 2^128"), "{message}");
        let probabilities = OpTable::filled(&shape, 0.5);
        assert!(Law::product(&probabilities, LIMIT).is_err());
        assert!(gradient(|_| 0.0, &probabilities).is_err());
        // A minibatch counts as often as there are minibatches.
        let small = OpTable::filled(&Shape::new([2; 4]).unwrap(), 0.5);
        let reward = Affine::linear(OpTable::filled(small.shape(), 1.0));
        let many = vec![(0.5, reward); 1 << 17];
        assert!(moments_over_minibatches(&Core, &Estimator::Reinforce, &many, &small).is_err());
        assert!(moments_over_minibatches(&Core, &Estimator::Reinforce, &many[..2], &small).is_ok());
    }

    #[test]
    fn distributions_are_checked() {
        let row = |values: &[Rational]| OpTable::from_rows([vec![whole(1)], values.to_vec()]).unwrap();
        let exact = whole(0);
        assert!(expect_distribution(&row(&[rational(1, 3), rational(2, 3)]), &exact).is_ok());
        let message = expect_distribution(&row(&[rational(4, 3), rational(-1, 3)]), &exact).unwrap_err().to_string();
        assert!(message.starts_with("edge 1: the probability of candidate 1 is negative"), "{message}");
        for second in [rational(2, 5), rational(3, 5)] {
            let message = expect_distribution(&row(&[rational(1, 2), second]), &exact).unwrap_err().to_string();
            assert!(message.starts_with("edge 1: the probabilities sum to"), "{message}");
        }
        let float = |value| OpTable::from_rows([vec![0.5, value]]).unwrap();
        assert!(expect_distribution(&float(0.5 + 1e-13), &1e-12).is_ok());
        assert!(expect_distribution(&float(0.5 + 1e-11), &1e-12).is_err());
        assert!(expect_distribution(&float(0.5 - 1e-11), &1e-12).is_err());
        assert!(expect_distribution(&float(f64::NAN), &1e-12).is_err());
    }

    #[test]
    fn laws_need_architectures_of_the_space() {
        let shape = Shape::new([2]).unwrap();
        let outside = Architecture::new(&Shape::new([3]).unwrap(), [2]).unwrap();
        assert!(Law::coupled(&shape, vec![(1.0, outside)]).is_err());
        let vertex = OpTable::from_rows([vec![1.0, 0.0]]).unwrap();
        assert_eq!(Law::product(&vertex, LIMIT).unwrap().atoms().len(), 1);
    }

    /// Two minibatches of one edge, μ = 1/2: r = (2, 0) with 1/4 and (0, 4) with 3/4. REINFORCE is r_j (±1/2, ∓1/2): expectation
    /// 1/4·(1/2, −1/2) + 3/4·(−1, 1), second moment 1/4·(4·1/2)/2 + 3/4·(16·1/2)/2.
    #[test]
    fn minibatches_by_hand() {
        let probabilities = OpTable::from_rows([vec![rational(1, 2), rational(1, 2)]]).unwrap();
        let reward = |values: [i64; 2]| Affine::linear(OpTable::from_rows([values.map(whole).to_vec()]).unwrap());
        let batches = [(rational(1, 4), reward([2, 0])), (rational(3, 4), reward([0, 4]))];
        let found = moments_over_minibatches(&Core, &Estimator::Reinforce, &batches, &probabilities).unwrap();
        assert_eq!(found.expectation.values(), [rational(-5, 8), rational(5, 8)]);
        assert_eq!(found.second_moment, [rational(13, 4)]);
    }
}
