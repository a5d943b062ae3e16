//! The operations of section 5.3.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::network::cell::{self, Candidates, CellOperation};
use crate::space::{Architecture, SearchSpace};

/// Number of candidates of an edge.
pub const CANDIDATES: usize = Operation::ALL.len();

/// A candidate operation of an edge, applied to every number of `W_h s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// The identity.
    Identity,
    /// The hyperbolic tangent.
    Tanh,
    /// The logistic function, `1/(1 + e^{−u})`.
    Sigmoid,
    /// `max(u, 0)`; its derivative at 0 is 0.
    Relu,
    /// Zero for every input: the zero operation. The edge's output is then `(1 − c) ⊙ s`.
    Zero,
}

impl Operation {
    /// The candidates of every edge, in the order of their indices.
    pub const ALL: [Self; 5] = [Self::Identity, Self::Tanh, Self::Sigmoid, Self::Relu, Self::Zero];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Relu => "relu",
            Self::Zero => "zero",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Operation {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownName`].
    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name).ok_or_else(|| Error::UnknownName {
            what: "operation",
            got: name.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl CellOperation for Operation {
    const ZERO: Self = Self::Zero;
}

/// A recurrent cell; its text is that of NAS-Bench-201, whose cells have the same edges.
pub type Cell = cell::Cell<Operation>;

impl Cell {
    /// The cell of an architecture.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::NoSuchCandidate`] if the architecture is of another space.
    pub fn of(architecture: &Architecture) -> Result<Self> {
        candidates().cell(architecture)
    }

    /// The architecture, in the search space of section 5.3.
    ///
    /// # Panics
    /// Never: every operation is a candidate of every edge.
    #[must_use]
    pub fn architecture(&self) -> Architecture {
        candidates().architecture(self).expect("every operation is a candidate")
    }
}

fn candidates() -> Candidates<Operation> {
    Candidates::new(Operation::ALL).expect("five operations, one of them zero")
}

/// The search space: six edges, named `0→1` and so on, with all [operations](Operation::ALL) each.
#[must_use]
pub fn space() -> SearchSpace {
    candidates().space()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_is_section_5_3s() {
        let space = space();
        assert_eq!(space.shape().architectures(), Some(15_625));
        assert_eq!(space.edges()[4].name(), "1→3");
        assert_eq!(space.edges()[0].candidates(), ["identity", "tanh", "sigmoid", "relu", "zero"]);
        assert_eq!(space.zero(5), Some(4));
    }

    #[test]
    fn names_read_back() {
        for operation in Operation::ALL {
            assert_eq!(operation.to_string().parse::<Operation>().unwrap(), operation);
        }
        let message = "swish".parse::<Operation>().unwrap_err().to_string();
        assert_eq!(message, "unknown operation \"swish\", known are: identity, tanh, sigmoid, relu, zero");
    }

    #[test]
    fn all_cells_print_and_read_back() {
        let text = "|tanh~0|+|sigmoid~0|relu~1|+|zero~0|identity~1|tanh~2|";
        // Edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3; candidates identity, tanh, sigmoid, relu, zero.
        assert_eq!(text.parse::<Cell>().unwrap().architecture().choices(), [1, 2, 3, 4, 0, 1]);
        for architecture in space().shape().enumerate() {
            let cell = Cell::of(&architecture).unwrap();
            assert_eq!(cell.to_string().parse::<Cell>().unwrap().architecture(), architecture);
        }
        let message = "|none~0|".parse::<Cell>().unwrap_err().to_string();
        let expected = "the operation of edge 0→1 (identity, tanh, sigmoid, relu, zero), got \"none~0|\"";
        assert_eq!(message, format!("architecture, character 2: expected {expected}"));
    }
}
