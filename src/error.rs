//! The one error type of the core library.

/// What the core library refuses, and why.
///
/// Every message names the operation, what was expected and what was got.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A search space without edges.
    #[error("a search space needs at least one edge, got none")]
    NoEdges,

    /// An edge without candidate operations.
    #[error("edge {edge} has no candidate operation, it needs at least one")]
    NoCandidates {
        /// Index of the edge.
        edge: usize,
    },

    /// A zero operation that is not among the candidates.
    #[error("edge {edge}: candidate {candidate} can't be the zero operation, the edge has {candidates} candidates")]
    NoSuchZero {
        /// Index of the edge.
        edge: usize,
        /// The index that was given.
        candidate: usize,
        /// Number of candidates of the edge.
        candidates: usize,
    },

    /// Something of the wrong length.
    #[error("{what}: expected {expected} values, got {got}")]
    Length {
        /// What was measured.
        what: &'static str,
        /// The length that fits.
        expected: usize,
        /// The length that was given.
        got: usize,
    },

    /// An array of the wrong shape.
    #[error("{what}: expected the shape {expected:?}, got {got:?}")]
    ArrayShape {
        /// What was measured.
        what: &'static str,
        /// The shape that fits, outermost dimension first.
        expected: Vec<usize>,
        /// The shape that was given.
        got: Vec<usize>,
    },

    /// Tables, architectures or policies of different search spaces.
    #[error("{what}: candidates per edge differ, expected {expected}, got {got}")]
    Shape {
        /// What did not fit.
        what: &'static str,
        /// The shape that fits, as text.
        expected: String,
        /// The shape that was given, as text.
        got: String,
    },

    /// A candidate that the edge does not have.
    #[error("edge {edge} has no candidate {candidate}: it has {candidates}, counted from 0")]
    NoSuchCandidate {
        /// Index of the edge.
        edge: usize,
        /// The index that was given.
        candidate: usize,
        /// Number of candidates of the edge.
        candidates: usize,
    },

    /// A number that is infinite or not a number.
    #[error("{what}: edge {edge}, candidate {candidate} is {value}, expected a finite number")]
    NotFinite {
        /// What was looked at.
        what: &'static str,
        /// Index of the edge.
        edge: usize,
        /// Index of the candidate.
        candidate: usize,
        /// The value found.
        value: f64,
    },

    /// A setting outside its range.
    #[error("{name} must be {expected}, got {got}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// The allowed range.
        expected: &'static str,
        /// What was given, as text.
        got: String,
    },

    /// A name that is not one of the known names.
    #[error("unknown {what} {got:?}, known are: {known}")]
    UnknownName {
        /// What kind of thing was named.
        what: &'static str,
        /// What was given.
        got: String,
        /// All known names, separated by commas.
        known: String,
    },

    /// A text that is not in the form that is understood.
    #[error("{what}, character {position}: expected {expected}, got {got}")]
    Syntax {
        /// What was read.
        what: &'static str,
        /// Number of the first character that does not fit, counted from 1.
        position: usize,
        /// What would fit there.
        expected: String,
        /// What is there.
        got: String,
    },

    /// Data that an experiment can't use.
    #[error("{what}: {problem}")]
    Data {
        /// What was looked at.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// A strategy asked for one answer and got another.
    #[error("{strategy} needs feedback with {needed}, got {got}")]
    Feedback {
        /// The strategy that was to learn.
        strategy: &'static str,
        /// The answer that it needs.
        needed: &'static str,
        /// The answer that it got.
        got: &'static str,
    },

    /// A request that the supernet can't answer.
    #[error("the supernet can't {operation}: {reason}")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
        /// Why it can't be done.
        reason: &'static str,
    },

    /// A saved state that does not fit.
    #[error("saved state, {name:?}: {problem}")]
    State {
        /// Name of the entry.
        name: String,
        /// What is wrong with it.
        problem: String,
    },

    /// A search whose loss left the finite numbers.
    #[error("trial {trial}: the loss at step {position} is {loss}, the search has diverged")]
    Diverged {
        /// The trial.
        trial: u32,
        /// Steps done before.
        position: u64,
        /// The loss.
        loss: f64,
    },

    /// Arrays that differ by more than is allowed.
    #[error("{comparison}")]
    Differs {
        /// The comparison, as text.
        comparison: String,
    },

    /// A failure below the core: a device, a data set, a file of an observer.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Checks the shape of an array.
    ///
    /// # Errors
    /// [`Error::ArrayShape`] that names `what`.
    pub fn expect_shape(what: &'static str, expected: &[usize], got: &[usize]) -> Result<()> {
        if expected == got {
            return Ok(());
        }
        Err(Self::ArrayShape { what, expected: expected.to_vec(), got: got.to_vec() })
    }

    /// Wraps an error of a backend or an observer.
    pub fn other(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(source.into())
    }
}

/// Result of the core library.
pub type Result<T, E = Error> = std::result::Result<T, E>;
