//! The policy `p_θ`: independent categorical distributions, one per edge, Eq. (2).

use rand::Rng;
use rand_distr::{Open01, StandardUniform};

use crate::error::{Error, Result};
use crate::estimator::Scalar;
use crate::space::{Architecture, OpTable, Shape};

/// By how much the first candidate's logit exceeds the others at the start of a search; it makes the first argmax unique.
pub const INITIAL_LEAD: f64 = 1e-6;

/// Independent softmax categoricals over the candidates of every edge, Eq. (2).
///
/// # Formula
/// `p_θ(a) = Π_i μ_i^{j_i}` with `μ_i^j = exp(θ_i^j) / Σ_k exp(θ_i^k)`, where `j_i` is the candidate of edge `i` in `a`.
///
/// Logits `θ` and probabilities `μ` are tables `[edges, candidates]`. Everything is computed relative to the largest logit of
/// an edge, so that logits of any finite size neither overflow nor lose the logarithms.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    logits: OpTable<f64>,
    probabilities: OpTable<f64>,
    /// Per edge: the largest logit, and `ln Σ_k exp(θ_k − max)`.
    normalizers: Vec<(f64, f64)>,
}

impl Policy {
    /// The policy with the given logits `θ`, `[edges, candidates]`.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is infinite or NaN.
    pub fn new(logits: OpTable<f64>) -> Result<Self> {
        let normalizers = vec![(0.0, 0.0); logits.shape().edges()];
        let mut policy = Self { probabilities: logits.clone(), logits, normalizers };
        policy.refresh()?;
        Ok(policy)
    }

    /// The policy at the start of the paper's searches: all logits one, the first candidate's [`INITIAL_LEAD`] higher.
    #[must_use]
    pub fn initial(shape: &Shape) -> Self {
        let logits = OpTable::from_fn(shape, |_, candidate| if candidate == 0 { 1.0 + INITIAL_LEAD } else { 1.0 });
        Self::new(logits).expect("the initial logits are finite")
    }

    /// Number of candidates of every edge.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        self.logits.shape()
    }

    /// The logits `θ`, `[edges, candidates]`.
    #[must_use]
    pub fn logits(&self) -> &OpTable<f64> {
        &self.logits
    }

    /// The probabilities `μ(θ)`, `[edges, candidates]`.
    #[must_use]
    pub fn probabilities(&self) -> &OpTable<f64> {
        &self.probabilities
    }

    /// Changes the logits in place and recomputes the probabilities.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is infinite or NaN afterwards. The logits keep the new values then, so that a state that
    /// went wrong can be looked at.
    pub fn update(&mut self, change: impl FnOnce(&mut OpTable<f64>)) -> Result<()> {
        change(&mut self.logits);
        self.refresh()
    }

    fn refresh(&mut self) -> Result<()> {
        for edge in 0..self.logits.shape().edges() {
            let logits = self.logits.edge(edge);
            if let Some(candidate) = logits.iter().position(|logit| !logit.is_finite()) {
                return Err(Error::NotFinite { what: "logits", edge, candidate, value: logits[candidate] });
            }
            let mode = first_maximum(logits);
            let largest = logits[mode];
            let mut others = 0.0;
            let probabilities = self.probabilities.edge_mut(edge);
            for (candidate, (probability, logit)) in probabilities.iter_mut().zip(logits).enumerate() {
                *probability = (logit - largest).exp();
                if candidate != mode {
                    others += *probability;
                }
            }
            // The largest term is exactly 1, so the sum of the others carries all the digits near a vertex.
            let sum = 1.0 + others;
            for probability in probabilities {
                *probability /= sum;
            }
            self.normalizers[edge] = (largest, others.ln_1p());
        }
        Ok(())
    }

    /// `ln μ_i^j`; finite for finite logits, even where `μ_i^j` itself underflows to zero.
    ///
    /// # Panics
    /// If the edge or the candidate does not exist.
    #[must_use]
    pub fn log_probability_of(&self, edge: usize, candidate: usize) -> f64 {
        let (largest, log_sum) = self.normalizers[edge];
        (self.logits[(edge, candidate)] - largest) - log_sum
    }

    /// `ln p_θ(a) = Σ_i ln μ_i^{j_i}`.
    ///
    /// # Errors
    /// If the architecture is not one of the policy's space.
    pub fn log_probability(&self, architecture: &Architecture) -> Result<f64> {
        architecture.expect_in(self.shape())?;
        Ok(architecture.choices().iter().enumerate().map(|(edge, &choice)| self.log_probability_of(edge, choice)).sum())
    }

    /// The score `∇_θ ln p_θ(a) = a − μ(θ)`, `[edges, candidates]`.
    ///
    /// # Errors
    /// If the architecture is not one of the policy's space.
    pub fn score(&self, architecture: &Architecture) -> Result<OpTable<f64>> {
        let mut out = self.probabilities.clone();
        score(architecture, &self.probabilities, &mut out)?;
        Ok(out)
    }

    /// Entropy `−Σ_j μ_i^j ln μ_i^j` of one edge, in nats.
    ///
    /// # Panics
    /// If there is no such edge.
    #[must_use]
    pub fn edge_entropy(&self, edge: usize) -> f64 {
        let mut entropy = 0.0;
        for (candidate, &probability) in self.probabilities.edge(edge).iter().enumerate() {
            // 0 · ln 0 = 0; the logarithm is finite here.
            entropy -= probability * self.log_probability_of(edge, candidate);
        }
        entropy
    }

    /// Entropy of the architecture, the sum over the edges, in nats.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        (0..self.shape().edges()).map(|edge| self.edge_entropy(edge)).sum()
    }

    /// The most probable architecture; the first of equally probable candidates.
    #[must_use]
    pub fn mode(&self) -> Architecture {
        let mut out = Architecture::first(self.shape());
        self.mode_into(&mut out);
        out
    }

    /// Writes the most probable architecture; see [`Policy::mode`].
    ///
    /// # Panics
    /// If `out` has another number of edges.
    pub fn mode_into(&self, out: &mut Architecture) {
        assert_eq!(out.choices().len(), self.shape().edges(), "architecture of another search space");
        for (edge, choice) in out.choices_mut().iter_mut().enumerate() {
            *choice = first_maximum(self.logits.edge(edge));
        }
    }

    /// Draws an architecture `a ∼ p_θ`.
    ///
    /// Each edge takes one uniform `u ∈ [0, 1)` with 53 bits and inverts the distribution function, so that candidate `j` has
    /// probability `μ_j` up to the grid of `2⁻⁵³`; a candidate whose probability is zero is never drawn.
    pub fn sample<R: Rng + ?Sized>(&self, rng: &mut R) -> Architecture {
        let mut out = Architecture::first(self.shape());
        self.sample_into(rng, &mut out);
        out
    }

    /// Draws an architecture into an existing one; see [`Policy::sample`].
    ///
    /// # Panics
    /// If `out` has another number of edges.
    pub fn sample_into<R: Rng + ?Sized>(&self, rng: &mut R, out: &mut Architecture) {
        assert_eq!(out.choices().len(), self.shape().edges(), "architecture of another search space");
        for (edge, choice) in out.choices_mut().iter_mut().enumerate() {
            *choice = draw(rng, self.probabilities.edge(edge));
        }
    }

    /// Draws two distinct candidates per edge without replacement, in the order drawn, `[edges][2]`.
    ///
    /// # Formula
    /// `P(k, l) = μ_k · μ_l / (1 − μ_k)`. The second draw is from the softmax of the remaining logits, so that it is right even
    /// where `μ_k` rounds to one.
    ///
    /// # Errors
    /// [`Error::Setting`] if an edge has only one candidate.
    ///
    /// # Panics
    /// If `out` has another number of edges.
    pub fn sample_two_into<R: Rng + ?Sized>(&self, rng: &mut R, out: &mut [[usize; 2]]) -> Result<()> {
        assert_eq!(out.len(), self.shape().edges(), "pairs of another search space");
        for (edge, pair) in out.iter_mut().enumerate() {
            let logits = self.logits.edge(edge);
            if logits.len() < 2 {
                return Err(Error::Setting {
                    name: "number of candidates per edge",
                    expected: "at least 2 to draw two of them",
                    got: logits.len().to_string(),
                });
            }
            let first = draw(rng, self.probabilities.edge(edge));
            let others = || logits.iter().copied().enumerate().filter(|&(candidate, _)| candidate != first);
            let largest = others().map(|(_, logit)| logit).fold(f64::NEG_INFINITY, f64::max);
            let weights = || others().map(|(candidate, logit)| (candidate, (logit - largest).exp()));
            let total: f64 = weights().map(|(_, weight)| weight).sum();
            let uniform: f64 = rng.sample(StandardUniform);
            *pair = [first, invert(weights(), uniform * total)];
        }
        Ok(())
    }

    /// Draws two distinct candidates per edge; see [`Policy::sample_two_into`].
    ///
    /// # Errors
    /// [`Error::Setting`] if an edge has only one candidate.
    pub fn sample_two<R: Rng + ?Sized>(&self, rng: &mut R) -> Result<Vec<[usize; 2]>> {
        let mut out = vec![[0, 0]; self.shape().edges()];
        self.sample_two_into(rng, &mut out)?;
        Ok(out)
    }

    /// Draws from the Gumbel-softmax (concrete) distribution into a table `[edges, candidates]`.
    ///
    /// # Formula
    /// `h_i = softmax((θ_i + G_i) / τ)` with independent standard Gumbel `G_i^j = −ln(−ln u)`, `u` uniform on the open interval
    /// `(0, 1)`. The argmax of `h_i` is distributed as `μ_i`. Source: Maddison, Mnih, Teh (2017); Jang, Gu, Poole (2017).
    ///
    /// # Errors
    /// [`Error::Setting`] unless `temperature` is positive and finite; [`Error::Shape`] if `out` is of another space.
    pub fn gumbel_softmax_into<R: Rng + ?Sized>(
        &self,
        temperature: f64,
        rng: &mut R,
        out: &mut OpTable<f64>,
    ) -> Result<()> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Setting {
                name: "temperature",
                expected: "a positive finite number",
                got: temperature.to_string(),
            });
        }
        self.shape().expect("Gumbel-softmax", out.shape())?;
        for edge in 0..self.shape().edges() {
            let row = out.edge_mut(edge);
            for (value, logit) in row.iter_mut().zip(self.logits.edge(edge)) {
                let uniform: f64 = rng.sample(Open01);
                *value = logit - (-uniform.ln()).ln();
            }
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            for value in row.iter_mut() {
                *value = ((*value - largest) / temperature).exp();
                sum += *value;
            }
            for value in row {
                *value /= sum;
            }
        }
        Ok(())
    }

    /// Draws from the Gumbel-softmax distribution; see [`Policy::gumbel_softmax_into`].
    ///
    /// # Errors
    /// [`Error::Setting`] unless `temperature` is positive and finite.
    pub fn gumbel_softmax<R: Rng + ?Sized>(&self, temperature: f64, rng: &mut R) -> Result<OpTable<f64>> {
        let mut out = self.probabilities.clone();
        self.gumbel_softmax_into(temperature, rng, &mut out)?;
        Ok(out)
    }
}

/// The score `a − μ` of the product policy over any number type, `[edges, candidates]`.
///
/// # Errors
/// If `architecture` or `out` is of another space than `probabilities`.
pub fn score<T: Scalar>(architecture: &Architecture, probabilities: &OpTable<T>, out: &mut OpTable<T>) -> Result<()> {
    let shape = probabilities.shape();
    architecture.expect_in(shape)?;
    shape.expect("score", out.shape())?;
    for (edge, &choice) in architecture.choices().iter().enumerate() {
        let row = out.edge_mut(edge);
        for (value, probability) in row.iter_mut().zip(probabilities.edge(edge)) {
            *value = T::zero() - probability;
        }
        row[choice] = T::one() - &probabilities.edge(edge)[choice];
    }
    Ok(())
}

/// Pulls a gradient with respect to `h = softmax(z)` back to `z`, for one edge, over any number type.
///
/// # Formula
/// `δ = (diag(h) − h hᵀ) g`, that is `δ_j = h_j (g_j − g · h)`; `h` are the weights, `g` the gradient, all `[candidates]`.
///
/// # Panics
/// If the lengths differ.
pub fn softmax_pullback<T: Scalar>(weights: &[T], gradient: &[T], out: &mut [T]) {
    assert!(weights.len() == gradient.len() && weights.len() == out.len(), "rows of different lengths");
    let mut mean = T::zero();
    for (weight, slope) in weights.iter().zip(gradient) {
        mean = mean + weight.clone() * slope;
    }
    for ((value, weight), slope) in out.iter_mut().zip(weights).zip(gradient) {
        *value = (slope.clone() - &mean) * weight;
    }
}

/// Index of the first of the largest values.
pub(crate) fn first_maximum(values: &[f64]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate().skip(1) {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// Draws a candidate with the given probabilities, see [`Policy::sample`].
pub(crate) fn draw<R: Rng + ?Sized>(rng: &mut R, probabilities: &[f64]) -> usize {
    let uniform: f64 = rng.sample(StandardUniform);
    inverse_distribution(probabilities, uniform)
}

fn inverse_distribution(probabilities: &[f64], uniform: f64) -> usize {
    let total: f64 = probabilities.iter().sum();
    invert(probabilities.iter().copied().enumerate(), uniform * total)
}

/// The first candidate at which the running sum of the weights exceeds `target`; the last one of positive weight if rounding
/// leaves `target` at the total.
fn invert(weights: impl Iterator<Item = (usize, f64)>, target: f64) -> usize {
    let mut sum = 0.0;
    let mut last = 0;
    for (candidate, weight) in weights {
        if weight > 0.0 {
            sum += weight;
            last = candidate;
            if target < sum {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inversion_covers_the_ends() {
        assert_eq!(invert([(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.0)].into_iter(), 0.0), 1);
        assert_eq!(invert([(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.0)].into_iter(), 0.5), 2);
        // A target at or above the total falls to the last candidate that can be drawn.
        assert_eq!(invert([(0, 0.0), (1, 0.5), (2, 0.5), (3, 0.0)].into_iter(), 1.0), 2);
    }

    #[test]
    fn weights_need_not_sum_to_one() {
        // Half of the total of 4 is 2, in the second.
        assert_eq!(inverse_distribution(&[1.0, 3.0], 0.5), 1);
        assert_eq!(inverse_distribution(&[1.0, 3.0], 0.2), 0);
    }

    #[test]
    fn ties_go_to_the_first() {
        assert_eq!(first_maximum(&[1.0, 2.0, 2.0]), 1);
        assert_eq!(first_maximum(&[2.0]), 0);
    }
}
