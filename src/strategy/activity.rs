//! How many candidates of an edge are evaluated at once: the only place that says so.

use super::table1::{Hotness, Propagation, TABLE_1};
use super::{Method, Proposal};

/// The most candidates of an edge that are evaluated at once: of a [`Proposal`], of all proposals of a [`Method`] (Table 1), or that a
/// network has memory for.
///
/// ```
/// use advantage_nas::strategy::{Activity, Method};
///
/// assert_eq!(Method::AdvantageNas.activity(), Activity::One);
/// assert_eq!(Method::ProxylessNas.activity().slots(5), 2);
/// assert_eq!(Method::Darts.activity().slots(5), 5);
/// assert!(Activity::One < Activity::All);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Activity {
    /// One: sampled architectures.
    One,
    /// Two: ProxylessNAS.
    Two,
    /// All: DARTS, SNAS, the `θ` steps of NASP.
    All,
}

impl Activity {
    /// All of them, from the fewest candidates to the most.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::All];

    /// Candidates that are evaluated at once of an edge that has so many.
    #[must_use]
    pub fn slots(self, candidates: usize) -> usize {
        match self {
            Self::One => candidates.min(1),
            Self::Two => candidates.min(2),
            Self::All => candidates,
        }
    }

    /// In the words of Table 1.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::One => "one-hot",
            Self::Two => "two-hot",
            Self::All => "dense",
        }
    }
}

impl Method {
    /// The most candidates of an edge that the method evaluates at once, in any of its steps.
    ///
    /// # Panics
    /// Never: every method is in Table 1.
    #[must_use]
    pub fn activity(self) -> Activity {
        let row = TABLE_1.iter().find(|row| row.methods.contains(&self)).expect("every method is in Table 1");
        match (row.propagation, row.hotness) {
            (Propagation::Dense, _) => Activity::All,
            (Propagation::Sparse, Hotness::Two) => Activity::Two,
            (Propagation::Sparse, _) => Activity::One,
        }
    }
}

impl Proposal {
    /// The active candidates of an edge with their weights, in the order of the candidates.
    ///
    /// # Panics
    /// If there is no such edge.
    pub fn slots(&self, edge: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let weights = self.weights().edge(edge);
        let active = self.active().edge(edge).iter().zip(weights).enumerate();
        active.filter(|(_, (active, _))| **active).map(|(candidate, (_, weight))| (candidate, *weight))
    }
}
