//! Baselines: moving averages that see past samples only, and the optimal baseline (claim C15).

use super::Scalar;
use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable, Shape};

/// An exponential moving average that starts at its first value.
///
/// # Formula
/// `y ← (1 − d) · new + d · y` with decay `d`; `y = new` at first.
#[derive(Clone, Debug, PartialEq)]
pub struct MovingAverage<T> {
    decay: T,
    value: Option<T>,
}

impl<T: Scalar> MovingAverage<T> {
    /// An average that has seen nothing, with decay `d` in `[0, 1)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a decay outside `[0, 1)`.
    pub fn new(decay: T) -> Result<Self> {
        check_decay(&decay)?;
        Ok(Self { decay, value: None })
    }

    /// The average of what was seen so far, `None` before the first value.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    /// Replaces the average, for example by a saved one.
    pub fn set(&mut self, value: Option<T>) {
        self.value = value;
    }

    /// Takes in a new value.
    pub fn update(&mut self, new: &T) {
        average_in(&mut self.value, new, &self.decay);
    }
}

fn check_decay<T: Scalar>(decay: &T) -> Result<()> {
    if *decay >= T::zero() && *decay < T::one() {
        return Ok(());
    }
    Err(Error::Setting {
        name: "decay of a moving average",
        expected: "at least 0 and below 1",
        got: format!("{decay:?}"),
    })
}

fn average_in<T: Scalar>(average: &mut Option<T>, new: &T, decay: &T) {
    *average = Some(match average.take() {
        None => new.clone(),
        Some(old) => (T::one() - decay) * new + old * decay,
    });
}

/// One moving average per edge, subtracted from the advantages before it sees them.
///
/// # Formula
/// `A_i ← A_i − b_i`, then `b_i` takes in the old `A_i`. The first evaluation only starts the averages: its advantages become
/// zero. A baseline that does not see its own sample leaves the estimator unbiased.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeBaselines<T> {
    decay: T,
    averages: Vec<Option<T>>,
}

impl<T: Scalar> EdgeBaselines<T> {
    /// Baselines of all edges that have seen nothing, with decay in `[0, 1)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a decay outside `[0, 1)`.
    pub fn new(edges: usize, decay: T) -> Result<Self> {
        check_decay(&decay)?;
        Ok(Self { decay, averages: vec![None; edges] })
    }

    /// The averages, `None` where nothing was seen yet, `[edges]`.
    #[must_use]
    pub fn averages(&self) -> &[Option<T>] {
        &self.averages
    }

    /// The averages, to restore saved ones, `[edges]`.
    pub fn averages_mut(&mut self) -> &mut [Option<T>] {
        &mut self.averages
    }

    /// Subtracts the averages from the advantages, then takes the advantages in.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of edges.
    pub fn subtract_then_update(&mut self, advantages: &mut [T]) -> Result<()> {
        if advantages.len() != self.averages.len() {
            return Err(Error::Length { what: "advantages", expected: self.averages.len(), got: advantages.len() });
        }
        for (advantage, average) in advantages.iter_mut().zip(&mut self.averages) {
            let centred = match average {
                None => T::zero(),
                Some(baseline) => advantage.clone() - &*baseline,
            };
            average_in(average, advantage, &self.decay);
            *advantage = centred;
        }
        Ok(())
    }
}

/// One moving average per edge and candidate, of the advantages (or rewards) seen when the candidate was drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct CandidateAverages<T> {
    decay: T,
    averages: OpTable<Option<T>>,
}

impl<T: Scalar> CandidateAverages<T> {
    /// Averages that have seen nothing, with decay in `[0, 1)`.
    ///
    /// # Errors
    /// [`Error::Setting`] for a decay outside `[0, 1)`.
    pub fn new(shape: &Shape, decay: T) -> Result<Self> {
        check_decay(&decay)?;
        Ok(Self { decay, averages: OpTable::filled(shape, None) })
    }

    /// The averages, `None` for candidates that were not drawn yet, `[edges, candidates]`.
    #[must_use]
    pub fn averages(&self) -> &OpTable<Option<T>> {
        &self.averages
    }

    /// The averages, to restore saved ones, `[edges, candidates]`.
    pub fn averages_mut(&mut self) -> &mut OpTable<Option<T>> {
        &mut self.averages
    }

    /// Takes in the value of every edge's drawn candidate, `[edges]`.
    ///
    /// # Errors
    /// If `architecture` or `values` are of another space.
    pub fn update(&mut self, architecture: &Architecture, values: &[T]) -> Result<()> {
        architecture.expect_in(self.averages.shape())?;
        self.averages.shape().expect_edges("values to average", values.len())?;
        for (edge, (value, &choice)) in values.iter().zip(architecture.choices()).enumerate() {
            average_in(&mut self.averages.edge_mut(edge)[choice], value, &self.decay);
        }
        Ok(())
    }
}

/// The weights `w_j` of the optimal baseline of one edge (claim C15), or `None` where `μ` sits on a vertex: the score is zero
/// there whatever is drawn, and every baseline is optimal.
///
/// # Formula
/// `w_j = μ_j d_j / (1 − q)` with `d_j = ‖e_j − μ‖² = 1 − 2 μ_j + q` and `q = ‖μ‖²`; the weights sum to one.
#[must_use]
pub fn optimal_weights<T: Scalar>(probabilities: &[T]) -> Option<Vec<T>> {
    weights(probabilities).map(Iterator::collect)
}

/// [`optimal_weights`] without a vector, for use in every step.
fn weights<T: Scalar>(probabilities: &[T]) -> Option<impl Iterator<Item = T>> {
    let products = move || {
        (0..probabilities.len()).map(move |candidate| {
            // As a sum of squares: 1 − 2 μ_j + q would lose all digits of the likely candidate near a vertex.
            let mut distance = T::zero();
            for (other, probability) in probabilities.iter().enumerate() {
                let difference = if other == candidate { T::one() - probability } else { probability.clone() };
                distance = distance + difference.clone() * difference;
            }
            distance * &probabilities[candidate]
        })
    };
    // Σ_j μ_j d_j = 1 − q; summed, so that the weights add up to one in floating point too.
    let mut total = T::zero();
    for product in products() {
        total = total + product;
    }
    (total > T::zero()).then(|| products().map(move |product| product / &total))
}

/// The baseline of one edge that minimises the variance (claim C15): `b* = Σ_j w_j r_j` with the weights of
/// [`optimal_weights`], where `r_j` is the expected reward (or advantage) of candidate `j` given the other edges. `None` where
/// `μ` sits on a vertex.
///
/// # Errors
/// [`Error::Length`] if there is not one reward per candidate.
pub fn optimal_baseline<T: Scalar>(probabilities: &[T], rewards: &[T]) -> Result<Option<T>> {
    if probabilities.len() != rewards.len() {
        return Err(Error::Length {
            what: "rewards of the candidates",
            expected: probabilities.len(),
            got: rewards.len(),
        });
    }
    let Some(weights) = weights(probabilities) else { return Ok(None) };
    let mut baseline = T::zero();
    for (weight, reward) in weights.zip(rewards) {
        baseline = baseline + weight * reward;
    }
    Ok(Some(baseline))
}

/// The optimal baseline of one edge as far as it is known: `Σ_j w_j y_j / Σ_j w_j` over the candidates that have an average `y_j`
/// of past rewards (or advantages), with the weights of [`optimal_weights`]. Zero if none has, or if those that have weigh
/// nothing. Because the averages see past samples only, it leaves the estimator unbiased.
///
/// # Errors
/// [`Error::Length`] if there is not one entry per candidate.
pub fn optimal_baseline_of_drawn<T: Scalar>(probabilities: &[T], averages: &[Option<T>]) -> Result<T> {
    if probabilities.len() != averages.len() {
        return Err(Error::Length {
            what: "averages of the candidates",
            expected: probabilities.len(),
            got: averages.len(),
        });
    }
    let mut sum = T::zero();
    let mut total = T::zero();
    for (weight, average) in weights(probabilities).into_iter().flatten().zip(averages) {
        if let Some(average) = average {
            sum = sum + weight.clone() * average;
            total = total + weight;
        }
    }
    Ok(if total > T::zero() { sum / total } else { T::zero() })
}
