//! How many candidates of an edge are evaluated at once: the only place that says so.

/// The most candidates of an edge that are evaluated at once: of a [`Proposal`](super::Proposal), of all proposals of a [`Method`](super::Method) (Table 1), or that a
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
