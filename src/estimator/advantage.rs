//! The advantage, Eq. (6): what the chosen operation of an edge adds to the reward.

use super::Scalar;
use crate::error::{Error, Result};

/// The advantage of every edge, Eq. (6), `[edges]`.
///
/// # Formula
/// `A_i(a) = r(a) − r(s_i, 0)`, where `r(s_i, 0)` is the reward with the output of edge `i`'s operation set to zero and all
/// other edges as in `a`.
///
/// `reward` is `r(a)`, `removals` has `r(s_i, 0)` for every edge.
///
/// # Errors
/// [`Error::Length`] if `removals` and `out` differ in length.
pub fn advantages<T: Scalar>(reward: &T, removals: &[T], out: &mut [T]) -> Result<()> {
    if removals.len() != out.len() {
        return Err(Error::Length { what: "rewards without an edge", expected: out.len(), got: removals.len() });
    }
    for (advantage, removal) in out.iter_mut().zip(removals) {
        *advantage = reward.clone() - removal;
    }
    Ok(())
}
