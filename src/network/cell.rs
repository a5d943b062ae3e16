//! The cell that both searches on real data have: four nodes, an operation on each of its six edges, and its text.
//!
//! What the operations are, and what a node makes of them, is each network's own.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::space::{Architecture, Edge, SearchSpace};

/// Number of nodes of a cell; node 0 is its input.
pub const NODES: usize = 4;
/// Number of edges of a cell.
pub const EDGES: usize = NODES * (NODES - 1) / 2;

/// The nodes `(from, to)` of an edge: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
///
/// # Panics
/// If there is no such edge.
#[must_use]
pub const fn edge_ends(edge: usize) -> (usize, usize) {
    const ENDS: [(usize, usize); EDGES] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
    ENDS[edge]
}

/// A candidate operation of an edge.
///
/// It is read as it is printed; a name holds none of `~`, `|` and `+`, and [`Error::UnknownName`] lists those that there are.
pub trait CellOperation: Copy + PartialEq + fmt::Display + FromStr<Err = Error> {
    /// The zero operation, whose output is zero for every input.
    const ZERO: Self;

    /// Checks an operation that was not read from a name.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that can't be in a cell.
    fn check(self) -> Result<()> {
        Ok(())
    }
}

/// A cell: one operation for every edge, in the order of [`edge_ends`].
///
/// Its text is NAS-Bench-201's, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: a group per node 1, 2, 3, in it `operation~source`.
/// Reading and printing are inverse to each other.
///
/// ```
/// use advantage_nas::network::recurrent::{Cell, Operation};
///
/// let text = "|tanh~0|+|sigmoid~0|relu~1|+|zero~0|identity~1|tanh~2|";
/// let cell: Cell = text.parse()?;
/// assert_eq!(cell.operations()[2], Operation::Relu);
/// assert_eq!(cell.to_string(), text);
/// # Ok::<(), advantage_nas::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell<O>([O; EDGES]);

impl<O: CellOperation> Cell<O> {
    /// A cell from the operation of every edge.
    ///
    /// # Errors
    /// [`Error::Setting`] for an operation that can't be in a cell, as [`CellOperation::check`].
    pub fn new(operations: [O; EDGES]) -> Result<Self> {
        operations.into_iter().try_for_each(O::check)?;
        Ok(Self(operations))
    }

    /// The cell with the same operation on every edge.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn uniform(operation: O) -> Result<Self> {
        Self::new([operation; EDGES])
    }

    /// The operation of every edge.
    #[must_use]
    pub fn operations(&self) -> &[O; EDGES] {
        &self.0
    }
}

impl<O: fmt::Display> fmt::Display for Cell<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (edge, operation) in self.0.iter().enumerate() {
            let (from, _) = edge_ends(edge);
            if from == 0 {
                f.write_str(if edge == 0 { "|" } else { "+|" })?;
            }
            write!(f, "{operation}~{from}|")?;
        }
        Ok(())
    }
}

impl<O: CellOperation> FromStr for Cell<O> {
    type Err = Error;

    /// # Errors
    /// [`Error::Syntax`] with the place of the first thing that does not fit.
    fn from_str(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let mut operations = [O::ZERO; EDGES];
        for (edge, operation) in operations.iter_mut().enumerate() {
            let (from, to) = edge_ends(edge);
            if from == 0 {
                let (token, expected) = if to == 1 {
                    ("|", "\"|\" before the first operation".to_owned())
                } else {
                    ("+|", format!("\"+|\" before the operations of node {to}"))
                };
                reader.token(token, || expected)?;
            }
            *operation = reader.operation(from, to)?;
            reader.token("~", || format!("\"~{from}\" after the operation of edge {from}→{to}"))?;
            reader.token(&from.to_string(), || format!("source node {from} of edge {from}→{to}"))?;
            reader.token("|", || format!("\"|\" after edge {from}→{to}"))?;
        }
        if reader.rest().is_empty() { Ok(Self(operations)) } else { Err(reader.error("the end".to_owned())) }
    }
}

/// Reads a cell's text from left to right.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn token(&mut self, token: &str, expected: impl FnOnce() -> String) -> Result<()> {
        if !self.rest().starts_with(token) {
            return Err(self.error(expected()));
        }
        self.at += token.len();
        Ok(())
    }

    fn operation<O: CellOperation>(&mut self, from: usize, to: usize) -> Result<O> {
        let rest = self.rest();
        let name = &rest[..rest.find(['~', '|', '+']).unwrap_or(rest.len())];
        let operation = name.parse().map_err(|error| match error {
            Error::UnknownName { known, .. } => self.error(format!("the operation of edge {from}→{to} ({known})")),
            other => other,
        })?;
        self.at += name.len();
        Ok(operation)
    }

    fn error(&self, expected: String) -> Error {
        let rest = self.rest();
        let got = match rest.char_indices().nth(20) {
            _ if rest.is_empty() => "the end".to_owned(),
            Some((cut, _)) => format!("{:?}…", &rest[..cut]),
            None => format!("{rest:?}"),
        };
        Error::Syntax { what: "architecture", position: self.text[..self.at].chars().count() + 1, expected, got }
    }
}

/// The candidate operations of every edge: the search space of cells.
///
/// A candidate may be listed several times, with weights of its own each, for measurements of what candidates cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates<O>(Vec<O>);

impl<O: CellOperation> Candidates<O> {
    /// Candidates in the order of their indices.
    ///
    /// # Errors
    /// [`Error::NoCandidates`] for none, [`Error::Setting`] for a second zero operation and for an operation that can't be in a cell.
    pub fn new(operations: impl Into<Vec<O>>) -> Result<Self> {
        let operations = operations.into();
        if operations.is_empty() {
            return Err(Error::NoCandidates { edge: 0 });
        }
        operations.iter().copied().try_for_each(O::check)?;
        let zeros = operations.iter().filter(|operation| **operation == O::ZERO).count();
        if zeros > 1 {
            let (name, expected) = ("the number of zero operations of an edge", "0 or 1");
            return Err(Error::Setting { name, expected, got: zeros.to_string() });
        }
        Ok(Self(operations))
    }

    /// The operations in the order of their indices.
    #[must_use]
    pub fn operations(&self) -> &[O] {
        &self.0
    }

    /// The search space: six edges, named `0→1` and so on, with these candidates each. A candidate that was listed before gets a
    /// number: `nor_conv_3x3#2`.
    #[must_use]
    pub fn space(&self) -> SearchSpace {
        let names = self.0.iter().enumerate().map(|(index, operation)| {
            match self.0[..index].iter().filter(|earlier| *earlier == operation).count() {
                0 => operation.to_string(),
                earlier => format!("{operation}#{}", earlier + 1),
            }
        });
        let names: Vec<String> = names.collect();
        let zero = self.0.iter().position(|operation| *operation == O::ZERO);
        let edges = (0..EDGES).map(|edge| {
            let (from, to) = edge_ends(edge);
            let edge = Edge::new(format!("{from}→{to}"), names.iter().cloned());
            match zero {
                Some(zero) => edge.with_zero(zero),
                None => edge,
            }
        });
        SearchSpace::new(edges.collect()).expect("six edges, each with a candidate")
    }

    /// The cell of an architecture.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::NoSuchCandidate`] if the architecture is of another space.
    pub fn cell(&self, architecture: &Architecture) -> Result<Cell<O>> {
        architecture.expect_in(self.space().shape())?;
        Ok(Cell(std::array::from_fn(|edge| self.0[architecture.choice(edge)])))
    }

    /// The architecture of a cell: at every edge the first candidate that is its operation.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if an operation is not among the candidates.
    pub fn architecture(&self, cell: &Cell<O>) -> Result<Architecture> {
        let choice = |operation: &O| {
            self.0.iter().position(|candidate| candidate == operation).ok_or_else(|| Error::UnknownName {
                what: "candidate",
                got: operation.to_string(),
                known: self.0.iter().map(O::to_string).collect::<Vec<_>>().join(", "),
            })
        };
        let choices = cell.0.iter().map(choice).collect::<Result<Vec<_>>>()?;
        Architecture::new(self.space().shape(), choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text and every pass over a cell rely on it: a node's edges lie together, in the order of their sources.
    #[test]
    fn edges_are_sorted_by_their_ends() {
        let expected: Vec<(usize, usize)> = (1..NODES).flat_map(|to| (0..to).map(move |from| (from, to))).collect();
        assert_eq!((0..EDGES).map(edge_ends).collect::<Vec<_>>(), expected);
    }
}
