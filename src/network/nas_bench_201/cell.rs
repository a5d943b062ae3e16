//! The operations of NAS-Bench-201, and the candidates of section 5.2.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::network::cell::{self, CellOperation};

/// The largest kernel that has a name.
const LARGEST_KERNEL: usize = 99;

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
                let operation = Self::Convolution { kernel };
                // Only the text that is printed: no sign, no leading zero.
                let printed = height == width && height == kernel.to_string();
                (printed && operation.check().is_ok()).then_some(operation)
            }
        }
    }
}

impl CellOperation for Operation {
    const ZERO: Self = Self::Zero;

    /// # Errors
    /// [`Error::Setting`] for a kernel that is even or larger than 99.
    fn check(self) -> Result<()> {
        match self {
            Self::Convolution { kernel } if kernel.is_multiple_of(2) || kernel > LARGEST_KERNEL => {
                let (name, expected) = ("the kernel of a convolution", "odd and at most 99");
                Err(Error::Setting { name, expected, got: kernel.to_string() })
            }
            _ => Ok(()),
        }
    }
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

/// A cell of NAS-Bench-201; a node is the sum of its incoming edges, node 3 the output.
pub type Cell = cell::Cell<Operation>;

/// The candidate operations of every edge of such a cell.
pub type Candidates = cell::Candidates<Operation>;

impl Candidates {
    /// The four of section 5.2: skip, 1×1 convolution, 3×3 convolution, average pooling.
    #[must_use]
    pub fn without_zero() -> Self {
        let [_, operations @ ..] = Operation::ALL;
        Self::of_the_paper(operations)
    }

    /// The four and, last, the zero operation.
    #[must_use]
    pub fn with_zero() -> Self {
        let [zero, one, two, three, four] = Operation::ALL;
        Self::of_the_paper([one, two, three, four, zero])
    }

    fn of_the_paper(operations: impl Into<Vec<Operation>>) -> Self {
        Self::new(operations).expect("operations of the benchmark, one of them zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::cell::EDGES;
    use crate::space::Architecture;

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
