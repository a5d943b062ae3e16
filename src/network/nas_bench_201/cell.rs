//! The cell: four nodes, an operation on each of its six edges, and the text that NAS-Bench-201 writes for it.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::space::{Architecture, Edge, SearchSpace};

/// Number of nodes of a cell; node 0 is its input, node 3 its output.
pub const NODES: usize = 4;
/// Number of edges of a cell.
pub const EDGES: usize = NODES * (NODES - 1) / 2;

/// The largest kernel that has a name.
const LARGEST_KERNEL: usize = 99;

/// The nodes `(from, to)` of an edge: 0→1, 0→2, 1→2, 0→3, 1→3, 2→3.
///
/// # Panics
/// If there is no such edge.
#[must_use]
pub const fn edge_ends(edge: usize) -> (usize, usize) {
    const ENDS: [(usize, usize); EDGES] = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
    ENDS[edge]
}

/// A candidate operation of an edge. All keep the shape `[batch, channels, height, width]` of their input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Zero for every input: `none`.
    Zero,
    /// The identity: `skip_connect`.
    Skip,
    /// ReLU, convolution of stride 1 without bias, batch norm: `nor_conv_1x1`, `nor_conv_3x3`; other kernels are not part of
    /// NAS-Bench-201.
    Convolution {
        /// Height and width of the kernel, odd; the input is padded by `(kernel − 1)/2` zeros.
        kernel: usize,
    },
    /// Average over the 3×3 neighbourhood, stride 1, padding not counted: `avg_pool_3x3`.
    AveragePooling,
}

impl Operation {
    /// The 1×1 convolution.
    pub const CONVOLUTION_1X1: Self = Self::Convolution { kernel: 1 };
    /// The 3×3 convolution.
    pub const CONVOLUTION_3X3: Self = Self::Convolution { kernel: 3 };

    /// The five operations of NAS-Bench-201, in its order.
    pub const ALL: [Self; 5] =
        [Self::Zero, Self::Skip, Self::CONVOLUTION_1X1, Self::CONVOLUTION_3X3, Self::AveragePooling];

    /// The operation of a name, if it is one.
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::Zero),
            "skip_connect" => Some(Self::Skip),
            "avg_pool_3x3" => Some(Self::AveragePooling),
            _ => {
                let (height, width) = name.strip_prefix("nor_conv_")?.split_once('x')?;
                let kernel: usize = height.parse().ok()?;
                // Only the text that is printed: no sign, no leading zero.
                let printed = height == width && height == kernel.to_string();
                (printed && check_kernel(kernel).is_ok()).then_some(Self::Convolution { kernel })
            }
        }
    }
}

fn check_kernel(kernel: usize) -> Result<()> {
    if kernel % 2 == 1 && kernel <= LARGEST_KERNEL {
        return Ok(());
    }
    Err(Error::Setting { name: "the kernel of a convolution", expected: "odd and at most 99", got: kernel.to_string() })
}

/// The name in NAS-Bench-201.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.pad("none"),
            Self::Skip => f.pad("skip_connect"),
            Self::Convolution { kernel } => f.pad(&format!("nor_conv_{kernel}x{kernel}")),
            Self::AveragePooling => f.pad("avg_pool_3x3"),
        }
    }
}

impl FromStr for Operation {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownName`].
    fn from_str(name: &str) -> Result<Self> {
        Self::of_name(name).ok_or_else(|| Error::UnknownName {
            what: "operation",
            got: name.to_owned(),
            known: Self::ALL.map(|operation| operation.to_string()).join(", "),
        })
    }
}

/// A cell: one operation for every edge, in the order of [`edge_ends`]. A node is the sum of its incoming edges.
///
/// Its text is NAS-Bench-201's, `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`: a group per node 1, 2, 3, in it `operation~source`.
/// Reading and printing are inverse to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cell([Operation; EDGES]);

impl Cell {
    /// A cell from the operation of every edge.
    ///
    /// # Errors
    /// [`Error::Setting`] for a kernel that is even or larger than 99.
    pub fn new(operations: [Operation; EDGES]) -> Result<Self> {
        for operation in operations {
            if let Operation::Convolution { kernel } = operation {
                check_kernel(kernel)?;
            }
        }
        Ok(Self(operations))
    }

    /// The cell with the same operation on every edge.
    ///
    /// # Errors
    /// As [`Cell::new`].
    pub fn uniform(operation: Operation) -> Result<Self> {
        Self::new([operation; EDGES])
    }

    /// The operation of every edge.
    #[must_use]
    pub fn operations(&self) -> &[Operation; EDGES] {
        &self.0
    }
}

impl fmt::Display for Cell {
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

impl FromStr for Cell {
    type Err = Error;

    /// # Errors
    /// [`Error::Syntax`] with the place of the first thing that does not fit.
    fn from_str(text: &str) -> Result<Self> {
        let mut reader = Reader { text, at: 0 };
        let mut operations = [Operation::Zero; EDGES];
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

    fn operation(&mut self, from: usize, to: usize) -> Result<Operation> {
        let rest = self.rest();
        let name = &rest[..rest.find(['~', '|', '+']).unwrap_or(rest.len())];
        let operation = Operation::of_name(name).ok_or_else(|| {
            let known = Operation::ALL.map(|operation| operation.to_string()).join(", ");
            self.error(format!("the operation of edge {from}→{to} ({known})"))
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
pub struct Candidates(Vec<Operation>);

impl Candidates {
    /// Candidates in the order of their indices.
    ///
    /// # Errors
    /// [`Error::NoCandidates`] for none, [`Error::Setting`] for a second zero operation and a kernel that is even or larger than
    /// 99.
    pub fn new(operations: impl Into<Vec<Operation>>) -> Result<Self> {
        let operations = operations.into();
        if operations.is_empty() {
            return Err(Error::NoCandidates { edge: 0 });
        }
        for &operation in &operations {
            Cell::uniform(operation)?;
        }
        let zeros = operations.iter().filter(|operation| **operation == Operation::Zero).count();
        if zeros > 1 {
            let (name, expected) = ("the number of zero operations of an edge", "0 or 1");
            return Err(Error::Setting { name, expected, got: zeros.to_string() });
        }
        Ok(Self(operations))
    }

    /// The four of section 5.2: skip, 1×1 convolution, 3×3 convolution, average pooling.
    #[must_use]
    pub fn without_zero() -> Self {
        let [_, operations @ ..] = Operation::ALL;
        Self(operations.to_vec())
    }

    /// The four and, last, the zero operation.
    #[must_use]
    pub fn with_zero() -> Self {
        let mut candidates = Self::without_zero();
        candidates.0.push(Operation::Zero);
        candidates
    }

    /// The operations in the order of their indices.
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
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
        let zero = self.0.iter().position(|operation| *operation == Operation::Zero);
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
    pub fn cell(&self, architecture: &Architecture) -> Result<Cell> {
        architecture.expect_in(self.space().shape())?;
        Ok(Cell(std::array::from_fn(|edge| self.0[architecture.choice(edge)])))
    }

    /// The architecture of a cell: at every edge the first candidate that is its operation.
    ///
    /// # Errors
    /// [`Error::UnknownName`] if an operation is not among the candidates.
    pub fn architecture(&self, cell: &Cell) -> Result<Architecture> {
        let choice = |operation: &Operation| {
            self.0.iter().position(|candidate| candidate == operation).ok_or_else(|| Error::UnknownName {
                what: "candidate",
                got: operation.to_string(),
                known: self.0.iter().map(Operation::to_string).collect::<Vec<_>>().join(", "),
            })
        };
        let choices = cell.0.iter().map(choice).collect::<Result<Vec<_>>>()?;
        Architecture::new(self.space().shape(), choices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|nor_conv_7x7~2|";

    #[test]
    fn texts_are_those_of_the_benchmark() {
        let cell: Cell = TEXT.parse().unwrap();
        let expected = [
            Operation::AveragePooling,
            Operation::CONVOLUTION_1X1,
            Operation::Skip,
            Operation::Zero,
            Operation::CONVOLUTION_3X3,
            Operation::Convolution { kernel: 7 },
        ];
        assert_eq!(cell.operations(), &expected);
        assert_eq!(cell.to_string(), TEXT);
        assert_eq!(format!("[{:<14}]", Operation::Zero), "[none          ]");
    }

    #[test]
    fn all_cells_print_and_read_back() {
        let candidates = Candidates::with_zero();
        let space = candidates.space();
        assert_eq!(space.shape().architectures(), Some(15_625));
        assert_eq!(space.zero(3), Some(4));
        let mut texts = std::collections::HashSet::new();
        for architecture in space.shape().enumerate() {
            let cell = candidates.cell(&architecture).unwrap();
            let text = cell.to_string();
            assert_eq!(text.parse::<Cell>().unwrap(), cell);
            assert_eq!(candidates.architecture(&cell).unwrap(), architecture);
            texts.insert(text);
        }
        assert_eq!(texts.len(), 15_625);
        let paper = Candidates::without_zero().space();
        assert_eq!(paper.shape().architectures(), Some(4_096));
        assert_eq!(paper.edges()[4].name(), "1→3");
        assert_eq!(paper.edges()[0].candidates(), ["skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]);
        assert_eq!(paper.zero(0), None);
    }

    #[test]
    fn wrong_texts_are_refused_at_their_place() {
        let wrong = |text: &str, position: usize, parts: &[&str]| {
            let message = text.parse::<Cell>().unwrap_err().to_string();
            assert!(message.starts_with(&format!("architecture, character {position}: expected ")), "{message}");
            for part in parts {
                assert!(message.contains(part), "{part:?} is missing in {message:?}");
            }
        };
        wrong("", 1, &["\"|\" before the first operation", "got the end"]);
        wrong("none~0|", 1, &["got \"none~0|\""]);
        wrong("|conv~0|", 2, &["the operation of edge 0→1 (none, skip_connect, nor_conv_1x1, ", "got \"conv~0|\""]);
        wrong("|nor_conv_2x2~0|", 2, &["operation of edge 0→1"]);
        wrong("|nor_conv_3x5~0|", 2, &["operation of edge 0→1"]);
        wrong("|nor_conv_03x03~0|", 2, &["operation of edge 0→1"]);
        wrong("|nor_conv_+3x+3~0|", 2, &["operation of edge 0→1"]);
        wrong("|none|", 6, &["\"~0\" after the operation of edge 0→1", "got \"|\""]);
        wrong("|none~1|", 7, &["source node 0 of edge 0→1", "got \"1|\""]);
        wrong("|none~0|none~0|", 9, &["\"+|\" before the operations of node 2", "got \"none~0|\""]);
        wrong("|none~0|+|none~0|+|none~0|", 18, &["the operation of edge 1→2", "got \"+|none~0|\""]);
        wrong("|none~0|+|none~0|none~0|", 23, &["source node 1 of edge 1→2"]);
        wrong(&TEXT[..TEXT.len() - 1], TEXT.len(), &["\"|\" after edge 2→3", "got the end"]);
        wrong(&format!("{TEXT}\n"), TEXT.len() + 1, &["expected the end, got \"\\n\""]);
        wrong(&format!(" {TEXT}"), 1, &["…"]);
        wrong("|µµ~0|", 2, &["\"µµ~0|\""]);
        // Every proper prefix is refused, and nothing panics inside a character.
        for end in 0..TEXT.len() {
            assert!(TEXT[..end].parse::<Cell>().is_err());
        }
        assert!("none ".parse::<Operation>().is_err() && "nor_conv_101x101".parse::<Operation>().is_err());
    }

    #[test]
    fn more_candidates_and_wrong_ones() {
        let many = vec![Operation::CONVOLUTION_3X3, Operation::Zero, Operation::CONVOLUTION_3X3];
        let many = Candidates::new(many).unwrap();
        assert_eq!(many.space().edges()[5].candidates(), ["nor_conv_3x3", "none", "nor_conv_3x3#2"]);
        assert_eq!(many.space().zero(5), Some(1));
        let cell = Cell::uniform(Operation::CONVOLUTION_3X3).unwrap();
        assert_eq!(many.architecture(&cell).unwrap().choices(), [0; EDGES]);
        let second = Architecture::new(many.space().shape(), vec![2; EDGES]).unwrap();
        assert_eq!(many.cell(&second).unwrap(), cell);

        let message = many.architecture(&TEXT.parse().unwrap()).unwrap_err().to_string();
        assert_eq!(message, "unknown candidate \"avg_pool_3x3\", known are: nor_conv_3x3, none, nor_conv_3x3");
        assert!(matches!(Candidates::new([]), Err(Error::NoCandidates { .. })));
        assert!(matches!(Candidates::new([Operation::Zero; 2]), Err(Error::Setting { .. })));
        for kernel in [0, 2, 101] {
            assert!(matches!(Candidates::new([Operation::Convolution { kernel }]), Err(Error::Setting { .. })));
            assert!(Cell::uniform(Operation::Convolution { kernel }).is_err());
        }
        let other = Candidates::with_zero().architecture(&Cell::uniform(Operation::Zero).unwrap()).unwrap();
        assert!(matches!(Candidates::without_zero().cell(&other), Err(Error::NoSuchCandidate { .. })));
    }
}
