//! Rewards as functions of the edge weights `a`, with their exact gradients.
//!
//! Every family is defined for all edge weights, not for one-hot architectures only: Eq. (6) needs `a_i = 0`, Eq. (7) the
//! gradient, DARTS and SNAS mixtures.

use advantage_nas::estimator::Scalar;
use advantage_nas::{Architecture, OpTable, Shape};

use crate::error::{Error, Result};
use crate::number::dot;

/// A reward `r(a)` of edge weights `a`, `[edges, candidates]`.
pub trait Reward<T: Scalar> {
    /// Number of candidates of every edge.
    fn shape(&self) -> &Shape;

    /// `r(a)`.
    fn value(&self, weights: &OpTable<T>) -> T;

    /// Writes `∂r/∂a`, `[edges, candidates]`.
    fn gradient_into(&self, weights: &OpTable<T>, out: &mut OpTable<T>);

    /// The reward of an architecture.
    fn at(&self, architecture: &Architecture) -> T {
        self.value(&one_hot(self.shape(), architecture, None))
    }

    /// `r(s_i, 0)`: the reward of an architecture with `a_i = 0` at `edge`.
    fn without(&self, architecture: &Architecture, edge: usize) -> T {
        self.value(&one_hot(self.shape(), architecture, Some(edge)))
    }

    /// Writes the gradient at an architecture.
    fn gradient_at(&self, architecture: &Architecture, out: &mut OpTable<T>) {
        self.gradient_into(&one_hot(self.shape(), architecture, None), out);
    }
}

/// The edge weights of an architecture, with none at edge `removed`, `[edges, candidates]`.
pub fn one_hot<T: Scalar>(shape: &Shape, architecture: &Architecture, removed: Option<usize>) -> OpTable<T> {
    OpTable::from_fn(shape, |edge, candidate| {
        let chosen = architecture.choice(edge) == candidate && removed != Some(edge);
        if chosen { T::one() } else { T::zero() }
    })
}

/// `c + Σ_i r_iᵀ a_i`; with `c = 0` the linear reward of section 4.4.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine<T> {
    /// The constant `c`.
    pub constant: T,
    /// The contributions `r_i^j`, `[edges, candidates]`.
    pub rewards: OpTable<T>,
}

impl<T: Scalar> Affine<T> {
    /// The linear reward `Σ_i r_iᵀ a_i`.
    pub fn linear(rewards: OpTable<T>) -> Self {
        Self { constant: T::zero(), rewards }
    }

    fn total(&self, architecture: &Architecture, removed: Option<usize>) -> T {
        let mut total = self.constant.clone();
        for (edge, &choice) in architecture.choices().iter().enumerate() {
            if removed != Some(edge) {
                total = total + &self.rewards[(edge, choice)];
            }
        }
        total
    }
}

impl<T: Scalar> Reward<T> for Affine<T> {
    fn shape(&self) -> &Shape {
        self.rewards.shape()
    }

    fn value(&self, weights: &OpTable<T>) -> T {
        self.constant.clone() + dot(self.rewards.values(), weights.values())
    }

    fn gradient_into(&self, _weights: &OpTable<T>, out: &mut OpTable<T>) {
        out.values_mut().clone_from_slice(self.rewards.values());
    }

    fn at(&self, architecture: &Architecture) -> T {
        self.total(architecture, None)
    }

    fn without(&self, architecture: &Architecture, edge: usize) -> T {
        self.total(architecture, Some(edge))
    }
}

/// An arbitrary table of rewards, the rows with `a_i = 0` included: one entry for every choice of a candidate *or nothing* at
/// every edge. Between the entries it is the one multi-affine function through them, so that this is also the general
/// multi-affine reward.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<T> {
    shape: Shape,
    /// Row-major over the edges, the last one changing fastest; index 0 of an edge is nothing, `j + 1` is candidate `j`.
    entries: Vec<T>,
}

/// Most entries that a table may have.
pub const TABLE_LIMIT: u128 = 1 << 20;

impl<T: Scalar> Table<T> {
    /// A table from the reward of every partial architecture; `None` stands for `a_i = 0`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if it has more than [`TABLE_LIMIT`] entries.
    pub fn from_fn(shape: &Shape, mut reward: impl FnMut(&[Option<usize>]) -> T) -> Result<Self> {
        let size = (0..shape.edges())
            .try_fold(1u128, |size, edge| size.checked_mul(shape.candidates(edge) as u128 + 1))
            .unwrap_or(u128::MAX);
        if size > TABLE_LIMIT {
            return Err(Error::TooLarge { what: "entries of a table", count: size.to_string(), limit: TABLE_LIMIT });
        }
        let mut choices = vec![None; shape.edges()];
        let entries = (0..size as usize)
            .map(|index| {
                let mut rest = index;
                for edge in (0..shape.edges()).rev() {
                    let base = shape.candidates(edge) + 1;
                    choices[edge] = (rest % base).checked_sub(1);
                    rest /= base;
                }
                reward(&choices)
            })
            .collect();
        Ok(Self { shape: shape.clone(), entries })
    }

    fn entry(&self, architecture: &Architecture, removed: Option<usize>) -> &T {
        let mut index = 0;
        for (edge, &choice) in architecture.choices().iter().enumerate() {
            let digit = if removed == Some(edge) { 0 } else { choice + 1 };
            index = index * (self.shape.candidates(edge) + 1) + digit;
        }
        &self.entries[index]
    }

    /// The multi-affine interpolation, contracted edge by edge from the last one. At the edge `derivative.0`, the weights are
    /// replaced by their derivative with respect to candidate `derivative.1`.
    fn contract(&self, weights: &OpTable<T>, derivative: Option<(usize, usize)>) -> T {
        let mut values = self.entries.clone();
        for edge in (0..self.shape.edges()).rev() {
            let row = weights.edge(edge);
            let nothing = row.iter().fold(T::one(), |rest, weight| rest - weight);
            values = values
                .chunks(row.len() + 1)
                .map(|chunk| match derivative {
                    Some((at, candidate)) if at == edge => chunk[candidate + 1].clone() - &chunk[0],
                    _ => nothing.clone() * &chunk[0] + dot(row, &chunk[1..]),
                })
                .collect();
        }
        values.swap_remove(0)
    }
}

impl<T: Scalar> Reward<T> for Table<T> {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn value(&self, weights: &OpTable<T>) -> T {
        self.contract(weights, None)
    }

    fn gradient_into(&self, weights: &OpTable<T>, out: &mut OpTable<T>) {
        for edge in 0..self.shape.edges() {
            for candidate in 0..self.shape.candidates(edge) {
                out[(edge, candidate)] = self.contract(weights, Some((edge, candidate)));
            }
        }
    }

    fn at(&self, architecture: &Architecture) -> T {
        self.entry(architecture, None).clone()
    }

    fn without(&self, architecture: &Architecture, edge: usize) -> T {
        self.entry(architecture, Some(edge)).clone()
    }
}

/// One term `coefficient · Π (a_i^j)^power` of a polynomial.
#[derive(Clone, Debug, PartialEq)]
pub struct Monomial<T> {
    /// The coefficient.
    pub coefficient: T,
    /// Edge, candidate and power of every factor.
    pub factors: Vec<(usize, usize, u32)>,
}

/// A polynomial in the edge weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Polynomial<T> {
    shape: Shape,
    terms: Vec<Monomial<T>>,
}

impl<T: Scalar> Polynomial<T> {
    /// A polynomial from its terms.
    ///
    /// # Errors
    /// If a factor names an edge or a candidate that does not exist.
    pub fn new(shape: &Shape, terms: Vec<Monomial<T>>) -> Result<Self> {
        for &(edge, candidate, _) in terms.iter().flat_map(|term| &term.factors) {
            Architecture::first(shape).choose(shape, edge, candidate)?;
        }
        Ok(Self { shape: shape.clone(), terms })
    }

    /// Whether the reward is affine in every edge's weights while the others are fixed: then Eq. (7) equals Eq. (6).
    #[must_use]
    pub fn is_multi_affine(&self) -> bool {
        self.terms.iter().all(|term| (0..self.shape.edges()).all(|edge| term.degree(edge) <= 1))
    }

    /// The degree in the weights of one edge.
    #[must_use]
    pub fn degree(&self, edge: usize) -> u32 {
        self.terms.iter().map(|term| term.degree(edge)).max().unwrap_or(0)
    }
}

impl<T: Scalar> Monomial<T> {
    fn degree(&self, edge: usize) -> u32 {
        self.factors.iter().filter(|factor| factor.0 == edge).map(|factor| factor.2).sum()
    }

    fn product(&self, weights: &OpTable<T>, skip: Option<usize>) -> T {
        let mut product = self.coefficient.clone();
        for (index, &(edge, candidate, power)) in self.factors.iter().enumerate() {
            if skip != Some(index) {
                product = product * power_of(&weights[(edge, candidate)], power);
            }
        }
        product
    }
}

fn power_of<T: Scalar>(base: &T, power: u32) -> T {
    (0..power).fold(T::one(), |product, _| product * base)
}

impl<T: Scalar> Reward<T> for Polynomial<T> {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn value(&self, weights: &OpTable<T>) -> T {
        crate::number::sum(self.terms.iter().map(|term| term.product(weights, None)))
    }

    fn gradient_into(&self, weights: &OpTable<T>, out: &mut OpTable<T>) {
        out.fill(T::zero());
        for term in &self.terms {
            for (index, &(edge, candidate, power)) in term.factors.iter().enumerate() {
                if power == 0 {
                    continue;
                }
                // The product rule: one factor at a time; repeated factors of one candidate add up.
                let inner =
                    power_of(&weights[(edge, candidate)], power - 1) * crate::number::count::<T>(power as usize);
                let change = inner * term.product(weights, Some(index));
                out[(edge, candidate)] = out[(edge, candidate)].clone() + change;
            }
        }
    }
}

/// The squared loss of a sum of operation outputs, `r(a) = −‖y − Σ_i Σ_j a_i^j O_i^j‖²`.
#[derive(Clone, Debug, PartialEq)]
pub struct SquaredLoss<T> {
    target: Vec<T>,
    outputs: OpTable<Vec<T>>,
}

impl<T: Scalar> SquaredLoss<T> {
    /// From the target `y` and the output of every candidate.
    ///
    /// # Errors
    /// If an output is not as long as the target.
    pub fn new(target: Vec<T>, outputs: OpTable<Vec<T>>) -> Result<Self> {
        for output in outputs.values() {
            if output.len() != target.len() {
                return Err(Error::Core(advantage_nas::Error::Length {
                    what: "output of a candidate",
                    expected: target.len(),
                    got: output.len(),
                }));
            }
        }
        Ok(Self { target, outputs })
    }

    /// The outputs, `[edges, candidates]` of vectors.
    #[must_use]
    pub fn outputs(&self) -> &OpTable<Vec<T>> {
        &self.outputs
    }

    /// `y − Σ_i Σ_j a_i^j O_i^j`.
    fn residual(&self, weights: &OpTable<T>) -> Vec<T> {
        let mut residual = self.target.clone();
        for (weight, output) in weights.values().iter().zip(self.outputs.values()) {
            for (rest, value) in residual.iter_mut().zip(output) {
                *rest = rest.clone() - weight.clone() * value;
            }
        }
        residual
    }
}

impl<T: Scalar> Reward<T> for SquaredLoss<T> {
    fn shape(&self) -> &Shape {
        self.outputs.shape()
    }

    fn value(&self, weights: &OpTable<T>) -> T {
        -crate::number::norm2(&self.residual(weights))
    }

    fn gradient_into(&self, weights: &OpTable<T>, out: &mut OpTable<T>) {
        let residual = self.residual(weights);
        for (slope, output) in out.values_mut().iter_mut().zip(self.outputs.values()) {
            let projection = dot(&residual, output);
            *slope = projection.clone() + projection;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dual::Dual;
    use crate::generate::Source;
    use crate::number::{Rational, rational, whole};

    /// The derivative of the value by dual numbers, which know nothing of the hand-written gradient.
    fn gradient_by_duals<R, D>(reward: &R, lifted: &D, weights: &OpTable<Rational>)
    where
        R: Reward<Rational>,
        D: Reward<Dual<Rational>>,
    {
        let shape = reward.shape().clone();
        let mut gradient = OpTable::filled(&shape, whole(7));
        reward.gradient_into(weights, &mut gradient);
        for at in 0..shape.len() {
            let mut moved =
                OpTable::from_values(&shape, weights.values().iter().cloned().map(Dual::constant).collect()).unwrap();
            moved.values_mut()[at].derivative = whole(1);
            let value = lifted.value(&moved);
            assert_eq!(value.value, reward.value(weights));
            assert_eq!(value.derivative, gradient.values()[at]);
        }
    }

    fn weights(source: &mut Source, shape: &Shape) -> OpTable<Rational> {
        OpTable::from_fn(shape, |_, _| source.reward() / whole(7))
    }

    #[test]
    fn gradients_are_derivatives() {
        let mut source = Source::new(1);
        for _ in 0..30 {
            let shape = source.shape(3, 3);
            let lift = |table: &OpTable<Rational>| {
                OpTable::from_values(&shape, table.values().iter().cloned().map(Dual::constant).collect()).unwrap()
            };
            let at = weights(&mut source, &shape);

            let affine = source.affine(&shape);
            let lifted = Affine { constant: Dual::constant(affine.constant.clone()), rewards: lift(&affine.rewards) };
            gradient_by_duals(&affine, &lifted, &at);

            let table = source.table(&shape);
            let lifted =
                Table { shape: shape.clone(), entries: table.entries.iter().cloned().map(Dual::constant).collect() };
            gradient_by_duals(&table, &lifted, &at);

            let polynomial = source.polynomial(&shape, 5, 3);
            let terms = polynomial.terms.iter().map(|term| Monomial {
                coefficient: Dual::constant(term.coefficient.clone()),
                factors: term.factors.clone(),
            });
            let lifted = Polynomial::new(&shape, terms.collect()).unwrap();
            gradient_by_duals(&polynomial, &lifted, &at);

            let squared = source.squared_loss(&shape, 2);
            let constant = |values: &Vec<Rational>| values.iter().cloned().map(Dual::constant).collect::<Vec<_>>();
            let outputs = squared.outputs.values().iter().map(constant).collect();
            let lifted =
                SquaredLoss::new(constant(&squared.target), OpTable::from_values(&shape, outputs).unwrap()).unwrap();
            gradient_by_duals(&squared, &lifted, &at);
        }
    }

    /// The shortcuts at architectures agree with the value at one-hot weights.
    #[test]
    fn shortcuts_are_the_values() {
        let mut source = Source::new(2);
        for _ in 0..20 {
            let shape = source.shape(3, 3);
            let (affine, table) = (source.affine(&shape), source.table(&shape));
            for architecture in shape.enumerate() {
                let whole = one_hot(&shape, &architecture, None);
                assert_eq!(affine.at(&architecture), affine.value(&whole));
                assert_eq!(table.at(&architecture), table.value(&whole));
                for edge in 0..shape.edges() {
                    let removed = one_hot(&shape, &architecture, Some(edge));
                    assert_eq!(affine.without(&architecture, edge), affine.value(&removed));
                    assert_eq!(table.without(&architecture, edge), table.value(&removed));
                }
            }
        }
    }

    #[test]
    fn tables_hold_what_they_are_given() {
        let shape = Shape::new([2, 1]).unwrap();
        let code = |choices: &[Option<usize>]| {
            choices.iter().fold(whole(0), |code, choice| code * whole(10) + whole(choice.map_or(9, |j| j as i64)))
        };
        let table = Table::from_fn(&shape, code).unwrap();
        let architecture = Architecture::new(&shape, [1, 0]).unwrap();
        assert_eq!(table.at(&architecture), whole(10));
        assert_eq!(table.without(&architecture, 0), whole(90));
        assert_eq!(table.without(&architecture, 1), whole(19));
        // Half of candidate 1 and half of nothing at edge 0, candidate 0 at edge 1.
        let mixture = OpTable::from_values(&shape, vec![whole(0), rational(1, 2), whole(1)]).unwrap();
        assert_eq!(table.value(&mixture), whole(50));
        let large = Shape::new([15; 6]).unwrap();
        let message = Table::from_fn(&large, |_| 0.0).unwrap_err().to_string();
        assert_eq!(message, "entries of a table: 16777216 cases are too many to enumerate, the limit is 1048576");
        assert!(Table::from_fn(&Shape::new([1 << 40; 4]).unwrap(), |_| 0.0).is_err());
        // Exactly at the limit is allowed: 2^20 entries.
        assert!(Table::from_fn(&Shape::new([1023, 1023]).unwrap(), |_| 0.0).is_ok());
    }

    #[test]
    fn polynomials_know_their_degree() {
        let shape = Shape::new([2, 2]).unwrap();
        let term = |factors: &[(usize, usize, u32)]| Monomial { coefficient: 1.0, factors: factors.to_vec() };
        let affine = Polynomial::new(&shape, vec![term(&[(0, 0, 1), (1, 1, 1)]), term(&[])]).unwrap();
        assert!(affine.is_multi_affine());
        assert_eq!(affine.degree(0), 1);
        let bilinear_within = Polynomial::new(&shape, vec![term(&[(0, 0, 1), (0, 1, 1)])]).unwrap();
        assert!(!bilinear_within.is_multi_affine());
        assert_eq!((bilinear_within.degree(0), bilinear_within.degree(1)), (2, 0));
        assert!(Polynomial::new(&shape, vec![term(&[(2, 0, 1)])]).is_err());
        assert!(Polynomial::new(&shape, vec![term(&[(0, 2, 1)])]).is_err());
        assert!(SquaredLoss::new(vec![1.0], OpTable::filled(&shape, vec![1.0, 2.0])).is_err());
    }
}
