//! The estimators of the policy gradient, Eqs. (3) to (7), over any number type.
//!
//! Here is the arithmetic from rewards to a gradient estimate, and nothing else: no sampling (`policy`), no state of a search
//! (`strategy`), no expectations (those are what the estimators are checked against). All rewards are rewards, not losses;
//! the sign is flipped before, in [`crate::strategy::Feedback`]. The same code runs in `f32`, `f64` and exact rationals.
//!
//! - [`reinforce`](mod@reinforce): Eq. (3) and (4), with and without a baseline
//! - [`advantage`]: Eq. (6), from `r(a)` and `r(s_i, 0)`
//! - [`first_order`](mod@first_order): Eq. (7), from `∂r/∂a`
//! - [`zero_op`]: footnote 4, the advantage of the zero operation
//! - [`baseline`]: moving averages and the optimal baseline

pub mod advantage;
pub mod baseline;
pub mod first_order;
pub mod reinforce;
pub mod zero_op;

pub use advantage::advantages;
pub use baseline::{
    CandidateAverages, EdgeBaselines, MovingAverage, optimal_baseline, optimal_baseline_of_drawn, optimal_weights,
};
pub use first_order::first_order;
pub use reinforce::{reinforce, reinforce_mean, reinforce_with_baseline};
pub use zero_op::{ZeroOperation, ZeroRule};

use std::fmt::Debug;
use std::ops::Neg;

use num_traits::NumRef;

use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable};

/// The number types that the estimators run in: `f32`, `f64`, exact rationals.
pub trait Scalar: NumRef + Neg<Output = Self> + Clone + PartialOrd + Debug {}

impl<T: NumRef + Neg<Output = T> + Clone + PartialOrd + Debug> Scalar for T {}

/// The reward of a minibatch, `r(a, w; D) = −(1/|D|) Σ_{d ∈ D} L(a, w; d)` (section 4.1): minus the average of the losses.
///
/// # Errors
/// [`Error::Length`] for an empty minibatch.
pub fn minibatch_reward<T: Scalar>(losses: &[T]) -> Result<T> {
    if losses.is_empty() {
        return Err(Error::Length { what: "losses of a minibatch", expected: 1, got: 0 });
    }
    let mut sum = T::zero();
    let mut count = T::zero();
    for loss in losses {
        sum = sum + loss;
        count = count + T::one();
    }
    Ok(-(sum / count))
}

/// The gradient estimate from one advantage per edge (line 9 of Algorithm 1), `[edges, candidates]`.
///
/// # Formula
/// `δ_i = A_i ∇_{θ_i} ln p_θ(a) = A_i (a_i − μ_i)`
///
/// # Errors
/// If `advantages`, `architecture` or `out` are of another space than `probabilities`.
pub fn policy_gradient<T: Scalar>(
    advantages: &[T],
    architecture: &Architecture,
    probabilities: &OpTable<T>,
    out: &mut OpTable<T>,
) -> Result<()> {
    let shape = probabilities.shape();
    shape.expect_edges("advantages", advantages.len())?;
    architecture.expect_in(shape)?;
    shape.expect("gradient estimate", out.shape())?;
    let rows = probabilities.rows().zip(out.rows_mut());
    for ((advantage, &choice), (row, out)) in advantages.iter().zip(architecture.choices()).zip(rows) {
        scaled_score(advantage, choice, row, out);
    }
    Ok(())
}

/// `A (e_choice − μ)` for one edge.
#[inline]
fn scaled_score<T: Scalar>(advantage: &T, choice: usize, probabilities: &[T], out: &mut [T]) {
    let opposite = -advantage.clone();
    for (value, probability) in out.iter_mut().zip(probabilities) {
        *value = opposite.clone() * probability;
    }
    out[choice] = (T::one() - &probabilities[choice]) * advantage;
}
