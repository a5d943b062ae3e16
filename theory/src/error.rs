//! The error type of the crate.

/// What the crate refuses, and why.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A refusal of the core library.
    #[error(transparent)]
    Core(#[from] advantage_nas::Error),

    /// A space with too many cases to enumerate.
    #[error("{what}: {count} cases are too many to enumerate, the limit is {limit}")]
    TooLarge {
        /// What was to be enumerated.
        what: &'static str,
        /// How many there are, as text (it may exceed every integer type).
        count: String,
        /// The largest number that is enumerated.
        limit: u128,
    },

    /// Probabilities of an edge that are not a distribution.
    #[error("edge {edge}: {problem}")]
    Probabilities {
        /// Index of the edge.
        edge: usize,
        /// What is wrong.
        problem: String,
    },

    /// Text that is not a number.
    #[error("{text:?} is not a number: expected an integer, a decimal such as 0.125 or a fraction such as 3/8")]
    Number {
        /// The text.
        text: String,
    },

    /// An argument outside its range.
    #[error("{name} must be {expected}, got {got}")]
    Argument {
        /// Name of the argument.
        name: &'static str,
        /// The allowed range.
        expected: &'static str,
        /// What was given, as text.
        got: String,
    },
}

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
