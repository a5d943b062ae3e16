//! REINFORCE, Eq. (3) and (4): one reward for all edges.

use super::{Scalar, scaled_score};
use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable};

/// The REINFORCE estimate from one architecture, Eq. (4), `[edges, candidates]`.
///
/// # Formula
/// `δ_i = r(a) (a_i − μ_i)`, the same reward at every edge.
///
/// # Errors
/// If `architecture` or `out` is of another space than `probabilities`.
pub fn reinforce<T: Scalar>(
    reward: &T,
    architecture: &Architecture,
    probabilities: &OpTable<T>,
    out: &mut OpTable<T>,
) -> Result<()> {
    let shape = probabilities.shape();
    architecture.expect_in(shape)?;
    shape.expect("gradient estimate", out.shape())?;
    for (&choice, (row, out)) in architecture.choices().iter().zip(probabilities.rows().zip(out.rows_mut())) {
        scaled_score(reward, choice, row, out);
    }
    Ok(())
}

/// REINFORCE with a baseline that does not depend on the sample, Eq. (4), `[edges, candidates]`.
///
/// # Formula
/// `δ_i = (r(a) − b) (a_i − μ_i)`. Unbiased for every `b` that is independent of `a`.
///
/// # Errors
/// As [`reinforce`].
pub fn reinforce_with_baseline<T: Scalar>(
    reward: &T,
    baseline: &T,
    architecture: &Architecture,
    probabilities: &OpTable<T>,
    out: &mut OpTable<T>,
) -> Result<()> {
    reinforce(&(reward.clone() - baseline), architecture, probabilities, out)
}

/// The Monte-Carlo estimate of Eq. (3) from several architectures, the average of Eq. (4), `[edges, candidates]`.
///
/// # Formula
/// `δ = (1/N) Σ_n r(a_n) ∇_θ ln p_θ(a_n)`
///
/// # Errors
/// [`Error::Length`] without a sample; otherwise as [`reinforce`].
pub fn reinforce_mean<T: Scalar>(
    samples: &[(T, Architecture)],
    probabilities: &OpTable<T>,
    out: &mut OpTable<T>,
) -> Result<()> {
    if samples.is_empty() {
        return Err(Error::Length { what: "sampled architectures", expected: 1, got: 0 });
    }
    probabilities.shape().expect("gradient estimate", out.shape())?;
    out.fill(T::zero());
    let mut one = out.clone();
    let mut count = T::zero();
    for (reward, architecture) in samples {
        reinforce(reward, architecture, probabilities, &mut one)?;
        for (sum, value) in out.values_mut().iter_mut().zip(one.values()) {
            *sum = sum.clone() + value;
        }
        count = count + T::one();
    }
    for value in out.values_mut() {
        *value = value.clone() / &count;
    }
    Ok(())
}
