//! The cell: four nodes, an operation on each of its six edges.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::space::{Edge, SearchSpace};

/// Number of nodes of a cell; node 0 reads word and state.
pub const NODES: usize = 4;
/// Number of edges of a cell.
pub const EDGES: usize = NODES * (NODES - 1) / 2;
/// Number of candidates of an edge.
pub const CANDIDATES: usize = Operation::ALL.len();

/// The nodes `(from, to)` of an edge: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
///
/// # Panics
/// If there is no such edge.
#[must_use]
pub const fn edge_ends(edge: usize) -> (usize, usize) {
    const ENDS: [(usize, usize); EDGES] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
    ENDS[edge]
}

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

/// The search space: six edges, named `0→1` and so on, with all [operations](Operation::ALL) each.
#[must_use]
pub fn space() -> SearchSpace {
    let zero = Operation::ALL.iter().position(|operation| *operation == Operation::Zero).expect("it is the last");
    let edges = (0..EDGES).map(|edge| {
        let (from, to) = edge_ends(edge);
        Edge::new(format!("{from}→{to}"), Operation::ALL.map(Operation::name)).with_zero(zero)
    });
    SearchSpace::new(edges.collect()).expect("six edges, each with candidates")
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
}
