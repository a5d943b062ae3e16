//! The first-order advantage, Eq. (7): the advantage of every edge from one backward pass.

use super::Scalar;
use crate::error::Result;
use crate::space::{Architecture, OpTable};

/// The first-order advantage of every edge, Eq. (7), `[edges]`.
///
/// # Formula
/// `A_i(a) ≈ ∇_{a_i} r(a) · a_i = (∂r/∂O_i)ᵀ O_i^j(x)` with `j` the candidate of edge `i`. Equal to Eq. (6) where the reward is
/// multi-affine in the edges.
///
/// `reward_gradient` is `∂r/∂a`, `[edges, candidates]`; only the entries of the chosen candidates are read.
///
/// # Errors
/// If `architecture` or `out` is of another space than `reward_gradient`.
pub fn first_order<T: Scalar>(reward_gradient: &OpTable<T>, architecture: &Architecture, out: &mut [T]) -> Result<()> {
    let shape = reward_gradient.shape();
    architecture.expect_in(shape)?;
    shape.expect_edges("advantages", out.len())?;
    for (edge, (advantage, &choice)) in out.iter_mut().zip(architecture.choices()).enumerate() {
        // a_i is one-hot, so the inner product has one term.
        *advantage = reward_gradient.edge(edge)[choice].clone();
    }
    Ok(())
}
