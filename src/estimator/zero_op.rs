//! Footnote 4: what the advantage of the zero operation is replaced by.
//!
//! The advantage of an operation that returns zero is zero, by Eq. (6) and by Eq. (7). The paper replaces it by "the worst
//! expected advantage of the other operations estimated by a moving average"; the released code lets the zero operation's own
//! average, always zero, take part. Both are biased unless that worst value is zero (claim C14).

use super::{CandidateAverages, Scalar};
use crate::error::Result;
use crate::space::{Architecture, SearchSpace};

/// How the advantage of a drawn zero operation is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ZeroRule {
    /// Left at zero, the unbiased choice.
    Keep,
    /// Footnote 4: the smallest moving average among the *other* candidates of the edge that were drawn so far; zero if none
    /// was.
    #[default]
    WorstOfOthers,
    /// The released code: the smallest moving average among *all* candidates of the edge, where the zero operation itself and
    /// candidates that were never drawn count as zero; never positive.
    WorstOfAll,
}

/// The rule with the moving averages that it needs.
#[derive(Clone, Debug, PartialEq)]
pub struct ZeroOperation<T> {
    rule: ZeroRule,
    zeros: Vec<Option<usize>>,
    averages: CandidateAverages<T>,
}

impl<T: Scalar> ZeroOperation<T> {
    /// The rule for a search space, with moving averages of the given decay that have seen nothing.
    ///
    /// # Errors
    /// If the decay is outside `[0, 1)`.
    pub fn new(space: &SearchSpace, rule: ZeroRule, decay: T) -> Result<Self> {
        let zeros = (0..space.shape().edges()).map(|edge| space.zero(edge)).collect();
        Ok(Self { rule, zeros, averages: CandidateAverages::new(space.shape(), decay)? })
    }

    /// Whether the rule changes anything in this space.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.rule != ZeroRule::Keep && self.zeros.iter().any(Option::is_some)
    }

    /// The moving averages of the advantages of the candidates, as they are: the zero operation's own are those of its raw
    /// advantages.
    #[must_use]
    pub fn averages(&self) -> &CandidateAverages<T> {
        &self.averages
    }

    /// The moving averages, to restore saved ones.
    pub fn averages_mut(&mut self) -> &mut CandidateAverages<T> {
        &mut self.averages
    }

    /// Takes in the raw advantages, `[edges]`, and replaces those of edges that drew their zero operation.
    ///
    /// # Errors
    /// If `architecture` or `advantages` are of another space.
    pub fn apply(&mut self, architecture: &Architecture, advantages: &mut [T]) -> Result<()> {
        self.averages.update(architecture, advantages)?;
        if self.rule == ZeroRule::Keep {
            return Ok(());
        }
        for (edge, (advantage, zero)) in advantages.iter_mut().zip(&self.zeros).enumerate() {
            let Some(zero) = *zero else { continue };
            if architecture.choice(edge) == zero {
                *advantage = self.worst(edge, zero);
            }
        }
        Ok(())
    }

    fn worst(&self, edge: usize, zero: usize) -> T {
        let others = self
            .averages
            .averages()
            .edge(edge)
            .iter()
            .enumerate()
            .filter(|&(candidate, _)| candidate != zero)
            .map(|(_, average)| average);
        let worst = |worst: Option<T>, value: &T| match worst {
            Some(worst) if worst <= *value => Some(worst),
            _ => Some(value.clone()),
        };
        match self.rule {
            ZeroRule::WorstOfAll => others.flatten().fold(Some(T::zero()), worst),
            _ => others.flatten().fold(None, worst),
        }
        .unwrap_or_else(T::zero)
    }
}
