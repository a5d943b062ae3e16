//! What is searched: edges, their candidate operations, architectures, and tables with one number per candidate.

use std::fmt;
use std::ops::{Index, IndexMut};
use std::sync::Arc;

use ndarray::ArrayView2;

use crate::error::{Error, Result};

/// Number of candidate operations of every edge: the ragged shape `[edges, candidates]` of everything indexed by edge and
/// candidate. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Edge `i` owns the values `offsets[i]..offsets[i + 1]`.
    offsets: Arc<[usize]>,
}

impl Shape {
    /// A shape from the number of candidates `|J_i|` of every edge.
    ///
    /// # Errors
    /// [`Error::NoEdges`] for an empty list, [`Error::NoCandidates`] for an edge with none.
    pub fn new(candidates: impl IntoIterator<Item = usize>) -> Result<Self> {
        let mut offsets = vec![0];
        let mut end = 0;
        for (edge, count) in candidates.into_iter().enumerate() {
            if count == 0 {
                return Err(Error::NoCandidates { edge });
            }
            end += count;
            offsets.push(end);
        }
        if offsets.len() == 1 {
            return Err(Error::NoEdges);
        }
        Ok(Self { offsets: offsets.into() })
    }

    /// Number of edges `|I|`.
    #[must_use]
    pub fn edges(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of candidates `|J_i|` of edge `edge`.
    ///
    /// # Panics
    /// If there is no such edge.
    #[must_use]
    pub fn candidates(&self, edge: usize) -> usize {
        self.offsets[edge + 1] - self.offsets[edge]
    }

    /// Number of values of a table of this shape, `Σ_i |J_i|`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets[self.edges()]
    }

    /// Never true: a shape has at least one edge with one candidate.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of architectures `Π_i |J_i|`, or `None` if it exceeds `u128`.
    #[must_use]
    pub fn architectures(&self) -> Option<u128> {
        (0..self.edges()).try_fold(1u128, |product, edge| product.checked_mul(self.candidates(edge) as u128))
    }

    /// All architectures, the last edge changing fastest. Look at [`Shape::architectures`] before you wait for the end.
    pub fn enumerate(&self) -> impl Iterator<Item = Architecture> + '_ {
        let mut next = Some(Architecture::first(self));
        std::iter::from_fn(move || {
            let current = next.take()?;
            let mut successor = current.clone();
            for edge in (0..self.edges()).rev() {
                if successor.choices[edge] + 1 < self.candidates(edge) {
                    successor.choices[edge] += 1;
                    next = Some(successor);
                    break;
                }
                successor.choices[edge] = 0;
            }
            Some(current)
        })
    }

    /// Number of candidates of every edge, if all edges have the same.
    fn uniform(&self) -> Option<usize> {
        let first = self.candidates(0);
        (1..self.edges()).all(|edge| self.candidates(edge) == first).then_some(first)
    }

    fn range(&self, edge: usize) -> std::ops::Range<usize> {
        self.offsets[edge]..self.offsets[edge + 1]
    }

    /// Checks that something else has this shape.
    ///
    /// # Errors
    /// [`Error::Shape`] that names `what`.
    pub fn expect(&self, what: &'static str, got: &Shape) -> Result<()> {
        if Arc::ptr_eq(&self.offsets, &got.offsets) || self == got {
            return Ok(());
        }
        Err(Error::Shape { what, expected: self.to_string(), got: got.to_string() })
    }

    /// Checks the number of values in a list with one value per edge.
    ///
    /// # Errors
    /// [`Error::Length`] that names `what`.
    pub fn expect_edges(&self, what: &'static str, got: usize) -> Result<()> {
        if self.edges() == got { Ok(()) } else { Err(Error::Length { what, expected: self.edges(), got }) }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(candidates) = self.uniform() {
            return write!(f, "{}x{candidates}", self.edges());
        }
        f.write_str("[")?;
        for edge in 0..self.edges() {
            if edge > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{}", self.candidates(edge))?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shape({self})")
    }
}

/// One edge of the network's graph and the names of its candidate operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    name: String,
    candidates: Vec<String>,
    zero: Option<usize>,
}

impl Edge {
    /// An edge with named candidate operations, none of them the zero operation.
    pub fn new(name: impl Into<String>, candidates: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { name: name.into(), candidates: candidates.into_iter().map(Into::into).collect(), zero: None }
    }

    /// Says that candidate `candidate` is the zero operation, whose output is zero for every input (footnote 4).
    #[must_use]
    pub fn with_zero(mut self, candidate: usize) -> Self {
        self.zero = Some(candidate);
        self
    }

    /// Name of the edge.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Names of the candidate operations.
    #[must_use]
    pub fn candidates(&self) -> &[String] {
        &self.candidates
    }

    /// Index of the zero operation, if it is among the candidates.
    #[must_use]
    pub fn zero(&self) -> Option<usize> {
        self.zero
    }
}

/// The search space: the edges `I` and the candidate operations `J_i` of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchSpace {
    edges: Vec<Edge>,
    shape: Shape,
}

impl SearchSpace {
    /// A search space from its edges.
    ///
    /// # Errors
    /// [`Error::NoEdges`], [`Error::NoCandidates`], and [`Error::NoSuchZero`] if a zero operation is not among the candidates.
    pub fn new(edges: Vec<Edge>) -> Result<Self> {
        let shape = Shape::new(edges.iter().map(|edge| edge.candidates.len()))?;
        for (index, edge) in edges.iter().enumerate() {
            if let Some(candidate) = edge.zero
                && candidate >= edge.candidates.len()
            {
                return Err(Error::NoSuchZero { edge: index, candidate, candidates: edge.candidates.len() });
            }
        }
        Ok(Self { edges, shape })
    }

    /// A space with anonymous candidates (`0`, `1`, …) and no zero operation.
    ///
    /// # Errors
    /// As [`SearchSpace::new`].
    pub fn anonymous(candidates: impl IntoIterator<Item = usize>) -> Result<Self> {
        let edges = candidates
            .into_iter()
            .enumerate()
            .map(|(edge, count)| Edge::new(format!("edge {edge}"), (0..count).map(|candidate| candidate.to_string())))
            .collect();
        Self::new(edges)
    }

    /// The edges.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Number of candidates of every edge.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Index of the zero operation of edge `edge`, if it has one.
    ///
    /// # Panics
    /// If there is no such edge.
    #[must_use]
    pub fn zero(&self, edge: usize) -> Option<usize> {
        self.edges[edge].zero
    }
}

/// A one-hot architecture `a`: one candidate for every edge, `a_i = e_j` with `j = choice(i)`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Architecture {
    choices: Vec<usize>,
}

impl Architecture {
    /// An architecture from the chosen candidate of every edge.
    ///
    /// # Errors
    /// [`Error::Length`] if the number of choices is not the number of edges, [`Error::NoSuchCandidate`] if an edge lacks the
    /// candidate.
    pub fn new(shape: &Shape, choices: impl Into<Vec<usize>>) -> Result<Self> {
        let choices = choices.into();
        shape.expect_edges("architecture", choices.len())?;
        for (edge, &candidate) in choices.iter().enumerate() {
            let candidates = shape.candidates(edge);
            if candidate >= candidates {
                return Err(Error::NoSuchCandidate { edge, candidate, candidates });
            }
        }
        Ok(Self { choices })
    }

    /// The architecture with candidate 0 at every edge.
    #[must_use]
    pub fn first(shape: &Shape) -> Self {
        Self { choices: vec![0; shape.edges()] }
    }

    /// Index of the chosen candidate of every edge.
    #[must_use]
    pub fn choices(&self) -> &[usize] {
        &self.choices
    }

    /// Index of the candidate chosen at edge `edge`.
    ///
    /// # Panics
    /// If there is no such edge.
    #[must_use]
    pub fn choice(&self, edge: usize) -> usize {
        self.choices[edge]
    }

    /// Chooses candidate `candidate` at edge `edge`.
    ///
    /// # Errors
    /// [`Error::NoSuchCandidate`], [`Error::Length`] if there is no such edge or the architecture is of another space.
    pub fn choose(&mut self, shape: &Shape, edge: usize, candidate: usize) -> Result<()> {
        shape.expect_edges("architecture", self.choices.len())?;
        if edge >= shape.edges() {
            return Err(Error::Length { what: "edge index", expected: shape.edges(), got: edge });
        }
        let candidates = shape.candidates(edge);
        if candidate >= candidates {
            return Err(Error::NoSuchCandidate { edge, candidate, candidates });
        }
        self.choices[edge] = candidate;
        Ok(())
    }

    /// Number of edges at which two architectures agree.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> usize {
        self.choices.iter().zip(&other.choices).filter(|(mine, theirs)| mine == theirs).count()
    }

    /// Checks that the architecture is one of the space.
    ///
    /// # Errors
    /// As [`Architecture::new`].
    pub fn expect_in(&self, shape: &Shape) -> Result<()> {
        shape.expect_edges("architecture", self.choices.len())?;
        for (edge, &candidate) in self.choices.iter().enumerate() {
            let candidates = shape.candidates(edge);
            if candidate >= candidates {
                return Err(Error::NoSuchCandidate { edge, candidate, candidates });
            }
        }
        Ok(())
    }

    pub(crate) fn choices_mut(&mut self) -> &mut [usize] {
        &mut self.choices
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (edge, candidate) in self.choices.iter().enumerate() {
            if edge > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{candidate}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Architecture({self})")
    }
}

/// One value per edge and candidate operation, `[edges, candidates]` with ragged rows.
#[derive(Clone, Debug, PartialEq)]
pub struct OpTable<T> {
    shape: Shape,
    values: Vec<T>,
}

impl<T> OpTable<T> {
    /// A table from the value at every edge and candidate.
    pub fn from_fn(shape: &Shape, mut value: impl FnMut(usize, usize) -> T) -> Self {
        let values = (0..shape.edges())
            .flat_map(|edge| (0..shape.candidates(edge)).map(move |candidate| (edge, candidate)))
            .map(|(edge, candidate)| value(edge, candidate))
            .collect();
        Self { shape: shape.clone(), values }
    }

    /// A table from one row per edge; the rows give the shape.
    ///
    /// # Errors
    /// [`Error::NoEdges`], [`Error::NoCandidates`].
    pub fn from_rows(rows: impl IntoIterator<Item = Vec<T>>) -> Result<Self> {
        let rows: Vec<Vec<T>> = rows.into_iter().collect();
        let shape = Shape::new(rows.iter().map(Vec::len))?;
        Ok(Self { shape, values: rows.into_iter().flatten().collect() })
    }

    /// A table from a matrix `[edges, candidates]`, in which all edges have the same number of candidates.
    ///
    /// ```
    /// use advantage_nas::OpTable;
    /// use ndarray::{Array2, array};
    ///
    /// let table = OpTable::from_array(array![[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]].view())?;
    /// assert_eq!(table.edge(1), [0.5, 0.5, 0.0]);
    ///
    /// let nothing = OpTable::from_array(Array2::<f64>::zeros((2, 0)).view());
    /// assert_eq!(nothing.unwrap_err().to_string(), "edge 0 has no candidate operation, it needs at least one");
    /// # Ok::<(), advantage_nas::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::NoEdges`], [`Error::NoCandidates`].
    pub fn from_array(array: ArrayView2<'_, T>) -> Result<Self>
    where
        T: Clone,
    {
        let shape = Shape::new(std::iter::repeat_n(array.ncols(), array.nrows()))?;
        Ok(Self { shape, values: array.iter().cloned().collect() })
    }

    /// A table of a known shape from its values, edge after edge.
    ///
    /// # Errors
    /// [`Error::Length`] if the number of values does not fit.
    pub fn from_values(shape: &Shape, values: Vec<T>) -> Result<Self> {
        if values.len() != shape.len() {
            return Err(Error::Length { what: "table", expected: shape.len(), got: values.len() });
        }
        Ok(Self { shape: shape.clone(), values })
    }

    /// Number of candidates of every edge.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// All values, edge after edge.
    #[must_use]
    pub fn values(&self) -> &[T] {
        &self.values
    }

    /// All values, edge after edge.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// The values as a matrix `[edges, candidates]`, if all edges have the same number of candidates.
    ///
    /// ```
    /// use advantage_nas::OpTable;
    /// use ndarray::{Axis, array};
    ///
    /// let table = OpTable::from_rows([vec![1.0, 2.0], vec![3.0, 4.0]])?;
    /// assert_eq!(table.as_array().unwrap().sum_axis(Axis(0)), array![4.0, 6.0]);
    ///
    /// let ragged = OpTable::from_rows([vec![1.0, 2.0], vec![3.0]])?;
    /// assert!(ragged.as_array().is_none());
    /// # Ok::<(), advantage_nas::Error>(())
    /// ```
    #[must_use]
    pub fn as_array(&self) -> Option<ArrayView2<'_, T>> {
        let (edges, candidates) = (self.shape.edges(), self.shape.uniform()?);
        Some(ArrayView2::from_shape((edges, candidates), &self.values).expect("a value for every candidate"))
    }

    /// The values of one edge, `[candidates]`.
    ///
    /// # Panics
    /// If there is no such edge.
    #[must_use]
    pub fn edge(&self, edge: usize) -> &[T] {
        &self.values[self.shape.range(edge)]
    }

    /// The values of one edge, `[candidates]`.
    ///
    /// # Panics
    /// If there is no such edge.
    pub fn edge_mut(&mut self, edge: usize) -> &mut [T] {
        let range = self.shape.range(edge);
        &mut self.values[range]
    }

    /// The rows, one per edge.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> + DoubleEndedIterator + '_ {
        (0..self.shape.edges()).map(|edge| self.edge(edge))
    }

    /// The rows, one per edge, to be written.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [T]> + '_ {
        let mut rest = self.values.as_mut_slice();
        self.shape.offsets.windows(2).map(move |ends| {
            let (row, tail) = std::mem::take(&mut rest).split_at_mut(ends[1] - ends[0]);
            rest = tail;
            row
        })
    }

    /// A table of the same shape, value by value.
    pub fn map<U>(&self, value: impl FnMut(&T) -> U) -> OpTable<U> {
        OpTable { shape: self.shape.clone(), values: self.values.iter().map(value).collect() }
    }
}

impl<T: Clone> OpTable<T> {
    /// A table with the same value everywhere.
    pub fn filled(shape: &Shape, value: T) -> Self {
        Self { shape: shape.clone(), values: vec![value; shape.len()] }
    }

    /// Writes the same value everywhere.
    pub fn fill(&mut self, value: T) {
        self.values.fill(value);
    }
}

impl<T> Index<(usize, usize)> for OpTable<T> {
    type Output = T;

    fn index(&self, (edge, candidate): (usize, usize)) -> &T {
        &self.edge(edge)[candidate]
    }
}

impl<T> IndexMut<(usize, usize)> for OpTable<T> {
    fn index_mut(&mut self, (edge, candidate): (usize, usize)) -> &mut T {
        &mut self.edge_mut(edge)[candidate]
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn nonsense_is_rejected() {
        assert!(matches!(Shape::new([]), Err(Error::NoEdges)));
        assert!(matches!(Shape::new([2, 0, 1]), Err(Error::NoCandidates { edge: 1 })));
        assert!(matches!(SearchSpace::new(vec![]), Err(Error::NoEdges)));
        let edge = Edge::new("only", ["a", "b"]).with_zero(2);
        assert!(matches!(
            SearchSpace::new(vec![edge]),
            Err(Error::NoSuchZero { edge: 0, candidate: 2, candidates: 2 })
        ));
        let shape = Shape::new([2, 3]).unwrap();
        assert!(matches!(Architecture::new(&shape, vec![0]), Err(Error::Length { expected: 2, got: 1, .. })));
        assert!(matches!(
            Architecture::new(&shape, vec![1, 3]),
            Err(Error::NoSuchCandidate { edge: 1, candidate: 3, candidates: 3 })
        ));
        assert!(matches!(OpTable::from_values(&shape, vec![0; 4]), Err(Error::Length { expected: 5, got: 4, .. })));
        assert!(matches!(OpTable::<f64>::from_rows([]), Err(Error::NoEdges)));
        assert!(matches!(OpTable::from_rows([vec![1], vec![]]), Err(Error::NoCandidates { edge: 1 })));
        let mut architecture = Architecture::first(&shape);
        assert!(architecture.choose(&shape, 2, 0).is_err());
        assert!(architecture.choose(&shape, 0, 2).is_err());
        assert!(architecture.choose(&Shape::new([2]).unwrap(), 0, 0).is_err());
        architecture.choose(&shape, 1, 2).unwrap();
        assert_eq!(architecture.choices(), [0, 2]);
    }

    #[test]
    fn ragged_tables_keep_their_rows_apart() {
        let table = OpTable::from_rows([vec![1, 2], vec![3], vec![4, 5, 6]]).unwrap();
        assert_eq!(table.shape().edges(), 3);
        assert_eq!(table.shape().len(), 6);
        assert_eq!(table.edge(1), [3]);
        assert_eq!(table[(2, 1)], 5);
        assert_eq!(table.rows().map(<[i32]>::len).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(table.map(|value| value * 2).values(), [2, 4, 6, 8, 10, 12]);
        assert_eq!(
            OpTable::from_fn(table.shape(), |edge, candidate| 10 * edge + candidate).values(),
            [0, 1, 10, 20, 21, 22]
        );
        assert_eq!(table.shape().to_string(), "[2, 1, 3]");
        assert_eq!(Shape::new([4, 4]).unwrap().to_string(), "2x4");
        let other = Shape::new([2, 1]).unwrap();
        let message = table.shape().expect("rewards", &other).unwrap_err().to_string();
        assert_eq!(message, "rewards: candidates per edge differ, expected [2, 1, 3], got [2, 1]");
    }

    #[test]
    fn matrices_come_back() {
        let matrix = array![[1, 2, 3], [4, 5, 6]];
        let table = OpTable::from_array(matrix.view()).unwrap();
        assert_eq!(table.shape(), &Shape::new([3, 3]).unwrap());
        assert_eq!(table.as_array().unwrap(), matrix);
        // Whatever the layout in memory.
        let table = OpTable::from_array(matrix.t()).unwrap();
        assert_eq!(table.values(), [1, 4, 2, 5, 3, 6]);
        assert_eq!(table.as_array().unwrap(), matrix.t());
        assert!(OpTable::from_rows([vec![1], vec![2, 3]]).unwrap().as_array().is_none());
        assert!(matches!(OpTable::from_array(Array2::<f64>::zeros((0, 3)).view()), Err(Error::NoEdges)));
        assert!(matches!(
            OpTable::from_array(Array2::<f64>::zeros((3, 0)).view()),
            Err(Error::NoCandidates { edge: 0 })
        ));
    }

    #[test]
    fn rows_are_the_edges() {
        let mut table = OpTable::from_rows([vec![0, 1], vec![2], vec![3, 4, 5]]).unwrap();
        assert_eq!(table.rows().collect::<Vec<_>>(), [&[0, 1][..], &[2], &[3, 4, 5]]);
        for (edge, row) in table.rows_mut().enumerate() {
            row.iter_mut().for_each(|value| *value += 10 * edge);
        }
        assert_eq!(table.values(), [0, 1, 12, 23, 24, 25]);
        assert_eq!(table.rows_mut().count(), 3);
    }

    #[test]
    fn enumeration_meets_every_architecture_once() {
        let shape = Shape::new([2, 1, 3]).unwrap();
        let all: Vec<Vec<usize>> = shape.enumerate().map(|architecture| architecture.choices().to_vec()).collect();
        assert_eq!(all, [[0, 0, 0], [0, 0, 1], [0, 0, 2], [1, 0, 0], [1, 0, 1], [1, 0, 2]]);
        assert_eq!(shape.architectures(), Some(6));
        assert_eq!(Shape::new([1 << 40; 4]).unwrap().architectures(), None);
    }
}
