//! Two arrays side by side: how many numbers differ by more than is allowed, the worst of them with their places, and one line that
//! says so. Whatever can't be compared fails: NaN, other shapes, a side that ends early, nothing at all.
//!
//! What is allowed is a [`Tolerance`]; how large it may be is said in [`tolerance`](crate::tolerance).

use std::fmt::{self, Debug, Display};

use ndarray::{ArrayBase, Data, Dimension};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::space::OpTable;

/// The most differences that are kept.
const KEPT: usize = 8;

/// How far two arrays may be apart; every entry is measured on its own unless another thing is said. Nothing but equal infinities is as
/// close as an infinity, and nothing is as close as NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// A share of the larger of both numbers, or `floor` if that is more; as [`close`](crate::tolerance::close).
    Close {
        /// Share of the larger number.
        relative: f64,
        /// What is always allowed.
        floor: f64,
    },
    /// A share of the larger of both numbers, and `absolute` beside.
    Sum {
        /// Share of the larger number.
        relative: f64,
        /// What is allowed beside.
        absolute: f64,
    },
    /// A share of the largest number that is expected, the same for all entries.
    OfLargest(f64),
    /// A share of the expected array's norm for the norm of the difference; as
    /// [`norm_difference`](crate::tolerance::norm_difference).
    OfNorm(f64),
    /// The same bits.
    Bits,
}

impl Tolerance {
    /// Whether the array is measured as a whole.
    fn is_norm_wise(self) -> bool {
        matches!(self, Self::OfNorm(_))
    }

    /// What the entries of an array are measured by, beside their own size.
    fn scale(self, expected: impl Iterator<Item = f64>) -> f64 {
        match self {
            Self::OfLargest(_) => expected.fold(0.0, |largest, value| value.abs().max(largest)),
            Self::OfNorm(_) => expected.map(|value| value * value).sum::<f64>().sqrt(),
            Self::Close { .. } | Self::Sum { .. } | Self::Bits => 0.0,
        }
    }

    /// The distance of two entries as a multiple of what is allowed; NaN if there is no telling.
    fn distance(self, got: f64, expected: f64, scale: f64) -> f64 {
        let larger = got.abs().max(expected.abs());
        let allowed = match self {
            Self::Close { relative, floor } => (relative * larger).max(floor),
            Self::Sum { relative, absolute } => relative * larger + absolute,
            Self::OfLargest(share) | Self::OfNorm(share) => share * scale,
            Self::Bits if got.to_bits() == expected.to_bits() && !got.is_nan() => return 0.0,
            Self::Bits if got.is_nan() || expected.is_nan() => return f64::NAN,
            Self::Bits => return f64::INFINITY,
        };
        if got == expected { 0.0 } else { (got - expected).abs() / allowed }
    }
}

/// Numbers in an order, at places in dimensions: what can be compared.
pub trait Entries {
    /// The dimensions; of a ragged table, the length of every row.
    fn shape(&self) -> Vec<usize>;

    /// How many numbers there are.
    fn count(&self) -> usize {
        self.shape().iter().product()
    }

    /// All numbers, the last dimension fastest.
    fn entries(&self) -> impl Iterator<Item = f64>;

    /// Where an entry is, one index per dimension.
    fn place(&self, entry: usize) -> Vec<usize> {
        let mut rest = entry;
        let mut place = self.shape();
        for index in place.iter_mut().rev() {
            let length = (*index).max(1);
            *index = rest % length;
            rest /= length;
        }
        place
    }
}

impl<T: Copy + Into<f64>> Entries for [T] {
    fn shape(&self) -> Vec<usize> {
        vec![self.len()]
    }

    fn entries(&self) -> impl Iterator<Item = f64> {
        self.iter().map(|value| (*value).into())
    }
}

impl<T: Copy + Into<f64>> Entries for Vec<T> {
    fn shape(&self) -> Vec<usize> {
        self.as_slice().shape()
    }

    fn entries(&self) -> impl Iterator<Item = f64> {
        self.as_slice().entries()
    }
}

impl<T: Copy + Into<f64>, const N: usize> Entries for [T; N] {
    fn shape(&self) -> Vec<usize> {
        self.as_slice().shape()
    }

    fn entries(&self) -> impl Iterator<Item = f64> {
        self.as_slice().entries()
    }
}

impl<T: Copy + Into<f64>, S: Data<Elem = T>, D: Dimension> Entries for ArrayBase<S, D> {
    fn shape(&self) -> Vec<usize> {
        ArrayBase::shape(self).to_vec()
    }

    fn entries(&self) -> impl Iterator<Item = f64> {
        self.iter().map(|value| (*value).into())
    }
}

/// An entry's place is its edge and candidate.
impl<T: Copy + Into<f64>> Entries for OpTable<T> {
    fn shape(&self) -> Vec<usize> {
        self.rows().map(<[T]>::len).collect()
    }

    fn count(&self) -> usize {
        self.values().len()
    }

    fn entries(&self) -> impl Iterator<Item = f64> {
        self.values().entries()
    }

    fn place(&self, entry: usize) -> Vec<usize> {
        let mut candidate = entry;
        for (edge, row) in self.rows().enumerate() {
            if candidate < row.len() {
                return vec![edge, candidate];
            }
            candidate -= row.len();
        }
        vec![self.shape().len(), candidate]
    }
}

/// One entry that differs by more than is allowed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its place, one index per dimension; of an [`OpTable`] edge and candidate.
    pub place: Vec<usize>,
    /// What was got.
    pub got: String,
    /// What was expected.
    pub expected: String,
    /// The distance of the two as a multiple of what is allowed; NaN if one of them is, infinite if nothing is allowed.
    pub distance: f64,
}

/// What came out of comparing two arrays.
///
/// # Example
/// ```
/// use advantage_nas::comparison::Comparison;
/// use advantage_nas::tolerance::{F32_FEW_ROUNDINGS, Tolerance};
///
/// let tolerance = Tolerance::Close { relative: F32_FEW_ROUNDINGS, floor: 0.0 };
/// let double = [0.5, 0.1, 0.3];
/// Comparison::new("logits", &[0.5f32, 0.1, 0.3], &double, tolerance).assert();
///
/// let wrong = Comparison::new("logits", &[0.5, 0.1, 0.4], &double, tolerance);
/// assert!(!wrong.passed);
/// assert_eq!((wrong.compared, wrong.differing, &wrong.differences[0].place), (3, 1, &vec![2]));
/// println!("{wrong}");
/// ```
#[must_use = "a comparison that nobody looks at finds nothing"]
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// What was compared.
    pub name: String,
    /// Number of entries that were compared.
    pub compared: usize,
    /// Number of entries that differ by more than is allowed; of a norm-wise comparison that fails, of all that differ.
    pub differing: usize,
    /// The largest distance as a multiple of what is allowed, norm-wise that of the whole; absent if it is not a number.
    pub worst: Option<f64>,
    /// Whether everything was compared and is within what is allowed.
    pub passed: bool,
    /// Those that differ most, worst first, eight at most.
    pub differences: Vec<Difference>,
    /// Why the two can't be compared, if they can't.
    pub problem: Option<String>,
}

impl Comparison {
    /// Compares two arrays entry by entry: slices, arrays of ndarray, tables of a search space; of `f32` or `f64`, the two sides need
    /// not be the same.
    pub fn new(
        name: impl Into<String>,
        got: &(impl Entries + ?Sized),
        expected: &(impl Entries + ?Sized),
        tolerance: Tolerance,
    ) -> Self {
        let mut comparison = Self::empty(name);
        let (got_shape, shape) = (got.shape(), expected.shape());
        if got_shape != shape {
            return comparison.impossible(format!("got the shape {got_shape:?}, expected {shape:?}"));
        }
        let scale = tolerance.scale(expected.entries());
        let (mut worst, mut squares) = (0.0f64, 0.0);
        let (mut left, mut right) = (got.entries(), expected.entries());
        loop {
            let (one, other) = match (left.next(), right.next()) {
                (Some(one), Some(other)) => (one, other),
                (None, None) => break,
                (one, _) => {
                    let side = if one.is_none() { "what was got" } else { "what was expected" };
                    let problem = format!("{side} ends after {} entries", comparison.compared);
                    return comparison.impossible(problem);
                }
            };
            let distance = tolerance.distance(one, other, scale);
            // `f64::max` would lose a NaN.
            worst = if distance > worst || distance.is_nan() { distance } else { worst };
            squares += distance * distance;
            let entry = comparison.compared;
            comparison.add(distance, tolerance.is_norm_wise(), || Difference {
                place: expected.place(entry),
                got: format!("{one:e}"),
                expected: format!("{other:e}"),
                distance,
            });
        }
        let (count, promised) = (comparison.compared, expected.count());
        if count != promised {
            return comparison.impossible(format!("both end after {count} of {promised} entries"));
        }
        comparison.finish(if tolerance.is_norm_wise() { squares.sqrt() } else { worst })
    }

    /// Compares things that must be equal.
    pub fn equal<T: PartialEq + Debug>(name: impl Into<String>, got: &[T], expected: &[T]) -> Self {
        let mut comparison = Self::empty(name);
        if got.len() != expected.len() {
            return comparison.impossible(format!("got {}, expected {}", got.len(), expected.len()));
        }
        for (entry, (one, other)) in got.iter().zip(expected).enumerate() {
            let distance = if one == other { 0.0 } else { f64::INFINITY };
            comparison.add(distance, false, || Difference {
                place: vec![entry],
                got: format!("{one:?}"),
                expected: format!("{other:?}"),
                distance,
            });
        }
        let worst = if comparison.differing == 0 { 0.0 } else { f64::INFINITY };
        comparison.finish(worst)
    }

    /// `self` if it passed, as an error otherwise.
    ///
    /// # Errors
    /// [`Error::Differs`] with the differences.
    pub fn check(self) -> Result<Self> {
        if self.passed { Ok(self) } else { Err(Error::Differs { comparison: self.to_string() }) }
    }

    /// For tests: panics with the differences unless the comparison passed.
    ///
    /// # Panics
    /// Unless it passed.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.passed, "{self}");
    }

    fn empty(name: impl Into<String>) -> Self {
        let (compared, differing) = (0, 0);
        Self { name: name.into(), compared, differing, worst: None, passed: false, differences: vec![], problem: None }
    }

    fn impossible(mut self, problem: String) -> Self {
        self.problem = Some(problem);
        self
    }

    /// Counts an entry, and keeps it if it is one of the worst.
    fn add(&mut self, distance: f64, any: bool, difference: impl FnOnce() -> Difference) {
        self.compared += 1;
        if distance <= if any { 0.0 } else { 1.0 } {
            return;
        }
        self.differing += 1;
        let worse = |kept: &Difference| distance.is_nan() || distance > kept.distance;
        let rank = self.differences.iter().position(|kept| !kept.distance.is_nan() && worse(kept));
        let rank = rank.unwrap_or(self.differences.len());
        if rank < KEPT {
            self.differences.insert(rank, difference());
            self.differences.truncate(KEPT);
        }
    }

    fn finish(mut self, worst: f64) -> Self {
        if self.compared == 0 {
            return self.impossible("there was nothing to compare".to_owned());
        }
        self.worst = Some(worst).filter(|worst| !worst.is_nan());
        self.passed = worst <= 1.0;
        if self.passed {
            // What differs within what is allowed norm-wise.
            self.differing = 0;
            self.differences.clear();
        }
        self
    }
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, compared, differing, .. } = self;
        write!(f, "{name}: ")?;
        if let Some(problem) = &self.problem {
            return write!(f, "{problem}");
        }
        let worst =
            self.worst.map_or_else(|| "not a number".to_owned(), |worst| format!("{worst:.3} of what is allowed"));
        if self.passed {
            return write!(f, "{compared} compared, the largest difference is {worst}");
        }
        write!(f, "{differing} of {compared} differ, the largest difference is {worst}")?;
        for Difference { place, got, expected, distance } in &self.differences {
            write!(f, "\n  {place:?}: got {got}, expected {expected}, {distance:.3} of what is allowed")?;
        }
        let more = differing - self.differences.len();
        if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, arr2};

    use super::*;

    const CLOSE: Tolerance = Tolerance::Close { relative: 1e-6, floor: 1e-9 };
    const ALL: [Tolerance; 5] = [
        CLOSE,
        Tolerance::Sum { relative: 1e-6, absolute: 1e-9 },
        Tolerance::OfLargest(1e-6),
        Tolerance::OfNorm(1e-6),
        Tolerance::Bits,
    ];

    fn passes(got: &[f64], expected: &[f64], tolerance: Tolerance) -> bool {
        Comparison::new("numbers", got, expected, tolerance).passed
    }

    #[test]
    fn nan_is_never_equal() {
        for tolerance in ALL {
            assert!(passes(&[1.0, 2.0], &[1.0, 2.0], tolerance));
            for (got, expected) in
                [([1.0, f64::NAN], [1.0, f64::NAN]), ([1.0, f64::NAN], [1.0; 2]), ([1.0; 2], [1.0, f64::NAN])]
            {
                let comparison = Comparison::new("numbers", &got, &expected, tolerance);
                assert!(!comparison.passed && comparison.worst.is_none(), "{tolerance:?}: {comparison:?}");
                assert_eq!(comparison.differences[0].place, [1], "{tolerance:?}");
                assert!(comparison.check().is_err());
            }
        }
        // However much is allowed, and whatever comes after it.
        let anything = Tolerance::Close { relative: f64::INFINITY, floor: f64::INFINITY };
        assert!(passes(&[1.0], &[2.0], anything) && !passes(&[f64::NAN, 1.0], &[1.0, 5.0], anything));
    }

    #[test]
    fn infinities_are_equal_to_themselves_alone() {
        for tolerance in &ALL[..2] {
            assert!(passes(&[f64::INFINITY], &[f64::INFINITY], *tolerance));
            assert!(!passes(&[f64::INFINITY], &[1.0], *tolerance));
            assert!(!passes(&[f64::INFINITY], &[f64::NEG_INFINITY], *tolerance));
        }
        for tolerance in ALL {
            assert!(!passes(&[1.0], &[f64::INFINITY], tolerance));
        }
    }

    #[test]
    fn every_tolerance_has_its_own_measure() {
        let of =
            |got: &[f64], expected: &[f64], tolerance| Comparison::new("", got, expected, tolerance).worst.unwrap();
        let near = |left: f64, right: f64| (left - right).abs() <= 1e-12 * right;
        // Of the larger side, not of the expected one.
        let close = Tolerance::Close { relative: 0.1, floor: 2.0 };
        assert!(near(of(&[100.0], &[90.0], close), 1.0) && near(of(&[1.0], &[2.0], close), 0.5));
        let sum = Tolerance::Sum { relative: 0.1, absolute: 2.0 };
        assert!(near(of(&[100.0], &[90.0], sum), 10.0 / 12.0));
        // 5 is the norm of the expected numbers, 4 the largest.
        let (got, expected) = ([3.0, 4.0, 1.0], [3.0, -4.0, 0.0]);
        assert!(near(of(&got, &expected, Tolerance::OfLargest(0.5)), 4.0));
        assert!(near(of(&got, &expected, Tolerance::OfNorm(0.5)), 65f64.sqrt() / 2.5));
        assert_eq!(of(&[0.0], &[-0.0], Tolerance::OfNorm(0.0)), 0.0);
        assert_eq!(of(&[0.0], &[-0.0], Tolerance::Bits), f64::INFINITY);
        assert_eq!(of(&[1e-300], &[0.0], Tolerance::OfNorm(1.0)), f64::INFINITY);
        // A whole may differ by more than each of its entries.
        assert!(
            !passes(&[1.1; 4], &[1.0; 4], Tolerance::OfNorm(0.099))
                && passes(&[1.1; 4], &[1.0; 4], Tolerance::OfNorm(0.101))
        );
    }

    #[test]
    fn the_worst_are_named_first() {
        let expected = Array2::from_shape_fn((3, 4), |(row, column)| (row * 4 + column) as f64);
        let mut got = expected.map(|value| *value as f32);
        got[[1, 2]] += 0.5;
        got[[2, 0]] -= 3.0;
        got[[0, 3]] += 1e-7;
        let comparison = Comparison::new("logits", &got, &expected, Tolerance::Close { relative: 0.0, floor: 0.25 });
        assert_eq!((comparison.compared, comparison.differing, comparison.worst), (12, 2, Some(12.0)));
        assert_eq!(
            comparison.to_string(),
            "logits: 2 of 12 differ, the largest difference is 12.000 of what is allowed\n  \
             [2, 0]: got 5e0, expected 8e0, 12.000 of what is allowed\n  \
             [1, 2]: got 6.5e0, expected 6e0, 2.000 of what is allowed"
        );
        assert_eq!(comparison.clone().check().unwrap_err().to_string(), comparison.to_string());
        assert!(std::panic::catch_unwind(|| comparison.assert()).is_err());
        // NaN before anything else, and no more than eight.
        let mut many: Vec<f64> = (0..20).map(f64::from).collect();
        many[17] = f64::NAN;
        let comparison = Comparison::new("many", &many, &[0.0; 20], Tolerance::Close { relative: 0.0, floor: 1.0 });
        let places: Vec<usize> = comparison.differences.iter().map(|difference| difference.place[0]).collect();
        assert_eq!((comparison.differing, places), (18, vec![17, 19, 18, 16, 15, 14, 13, 12]));
        assert!(comparison.to_string().ends_with("\n  and 10 more"), "{comparison}");
        let equal = Comparison::new("all", &[2.0], &[2.0], CLOSE);
        assert_eq!(equal.to_string(), "all: 1 compared, the largest difference is 0.000 of what is allowed");
    }

    #[test]
    fn other_shapes_are_a_difference() {
        let problem = |comparison: Comparison| {
            assert!(!comparison.passed && comparison.worst.is_none());
            comparison.to_string()
        };
        let matrix = arr2(&[[1.0, 2.0], [3.0, 4.0]]);
        let flat = Comparison::new("a", &[1.0, 2.0, 3.0, 4.0], &matrix, CLOSE);
        assert_eq!(problem(flat), "a: got the shape [4], expected [2, 2]");
        assert_eq!(problem(Comparison::new("a", &[1.0], &[1.0, 1.0], CLOSE)), "a: got the shape [1], expected [2]");
        let nothing: [f64; 0] = [];
        assert_eq!(problem(Comparison::new("a", &nothing, &nothing, CLOSE)), "a: there was nothing to compare");
        assert_eq!(problem(Comparison::equal("a", &[1], &[1, 1])), "a: got 1, expected 2");
        assert_eq!(problem(Comparison::equal::<u8>("a", &[], &[])), "a: there was nothing to compare");
        // The same array in another order of storage is the same.
        assert!(Comparison::new("a", &matrix.t().to_owned(), &arr2(&[[1.0, 3.0], [2.0, 4.0]]), Tolerance::Bits).passed);
    }

    /// A side that promises more entries than it has, as `zip` does whose other half is shorter.
    #[test]
    fn entries_that_are_missing_are_noticed() {
        struct Zipped(Vec<f64>, Vec<f64>);
        impl Entries for Zipped {
            fn shape(&self) -> Vec<usize> {
                vec![self.0.len()]
            }

            fn entries(&self) -> impl Iterator<Item = f64> {
                self.0.iter().zip(&self.1).map(|(left, right)| left + right)
            }
        }
        let zipped = Zipped(vec![1.0; 3], vec![1.0; 2]);
        let comparison = Comparison::new("sums", &zipped, &[2.0; 3], CLOSE);
        assert_eq!(comparison.to_string(), "sums: what was got ends after 2 entries");
        let comparison = Comparison::new("sums", &[2.0; 3], &zipped, CLOSE);
        assert_eq!(comparison.to_string(), "sums: what was expected ends after 2 entries");
        assert!(!comparison.passed);
        let both = Comparison::new("sums", &zipped, &zipped, CLOSE);
        assert_eq!(both.to_string(), "sums: both end after 2 of 3 entries");
        assert!(!both.passed);
    }

    #[test]
    fn places_of_ragged_tables_are_edges_and_candidates() {
        let expected = OpTable::from_rows([vec![0.0, 1.0], vec![2.0], vec![3.0, 4.0, 5.0]]).unwrap();
        let mut got = expected.clone();
        got[(2, 1)] = 7.0;
        let comparison = Comparison::new("weights", &got, &expected, CLOSE);
        assert_eq!(comparison.differences[0].place, [2, 1]);
        let other = OpTable::from_rows([vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]]).unwrap();
        assert!(Comparison::new("weights", &got, &other, CLOSE).problem.is_some());
    }

    #[test]
    fn things_are_equal_or_not() {
        let comparison = Comparison::equal("words", &["a", "b", "c"], &["a", "x", "c"]);
        assert_eq!((comparison.compared, comparison.differing, comparison.passed), (3, 1, false));
        assert!(comparison.to_string().contains("[1]: got \"b\", expected \"x\""), "{comparison}");
        Comparison::equal("words", &["a"], &["a"]).assert();
    }
}
