//! What a search, a strategy or a supernet saves so that it can go on bit for bit: named arrays.

use std::collections::BTreeMap;

use ndarray::{Array, ArrayD, ArrayView, ArrayViewD, Dimension, IntoDimension};

use crate::error::{Error, Result};

/// One array of a state.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    /// Double precision.
    F64(ArrayD<f64>),
    /// Single precision.
    F32(ArrayD<f32>),
    /// Counters, indices and flags.
    U64(ArrayD<u64>),
}

impl Entry {
    /// Dimensions, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F64(array) => array.shape(),
            Self::F32(array) => array.shape(),
            Self::U64(array) => array.shape(),
        }
    }

    /// Name of the number type.
    #[must_use]
    pub fn dtype(&self) -> &'static str {
        match self {
            Self::F64(_) => f64::NAME,
            Self::F32(_) => f32::NAME,
            Self::U64(_) => u64::NAME,
        }
    }

    /// The array, if its numbers are of type `T`.
    #[must_use]
    pub fn view<T: Number>(&self) -> Option<ArrayViewD<'_, T>> {
        T::array(self).map(|array| array.view())
    }

    /// With the last dimension fastest in memory, as files want it.
    fn in_standard_order(self) -> Self {
        fn reorder<T: Clone>(array: ArrayD<T>) -> ArrayD<T> {
            if array.is_standard_layout() { array } else { array.as_standard_layout().into_owned() }
        }
        match self {
            Self::F64(array) => Self::F64(reorder(array)),
            Self::F32(array) => Self::F32(reorder(array)),
            Self::U64(array) => Self::U64(reorder(array)),
        }
    }
}

impl<T: Number, D: Dimension> From<Array<T, D>> for Entry {
    fn from(array: Array<T, D>) -> Self {
        T::entry(array.into_dyn())
    }
}

/// A number type of entries.
pub trait Number: Copy + 'static {
    /// Its name.
    const NAME: &'static str;

    /// An array as an entry.
    fn entry(array: ArrayD<Self>) -> Entry;

    /// The array of an entry, if it is of this type.
    fn array(entry: &Entry) -> Option<&ArrayD<Self>>;
}

macro_rules! number {
    ($number:ident, $entry:ident) => {
        impl Number for $number {
            const NAME: &'static str = stringify!($number);

            fn entry(array: ArrayD<Self>) -> Entry {
                Entry::$entry(array)
            }

            fn array(entry: &Entry) -> Option<&ArrayD<Self>> {
                if let Entry::$entry(array) = entry { Some(array) } else { None }
            }
        }
    };
}

number!(f64, F64);
number!(f32, F32);
number!(u64, U64);

/// Named arrays, each with the last dimension fastest in memory. Names are paths, `part/array`.
///
/// ```
/// use advantage_nas::state::State;
/// use ndarray::{Array1, array};
///
/// let mut own = State::new();
/// own.insert("filter", array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
/// own.insert("steps", Array1::from_elem(1, 7u64));
/// let mut state = State::new();
/// state.nest("network", own);
///
/// let filter = state.array::<f32, _>("network/filter", [2, 3])?;
/// assert_eq!(filter[[1, 0]], 4.0);
/// let error = state.array::<f32, _>("network/filter", [3, 2]).unwrap_err();
/// assert_eq!(error.to_string(), r#"saved state, "network/filter": has shape [2, 3], expected [3, 2]"#);
/// # Ok::<(), advantage_nas::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    entries: BTreeMap<String, Entry>,
}

impl State {
    /// An empty state.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// All entries in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// Adds an array, or replaces the one of that name.
    pub fn insert(&mut self, name: impl Into<String>, entry: impl Into<Entry>) {
        self.entries.insert(name.into(), entry.into().in_standard_order());
    }

    /// Adds a vector of `f64`.
    pub fn insert_f64(&mut self, name: impl Into<String>, values: &[f64]) {
        self.insert(name, Array::from(values.to_vec()));
    }

    /// Adds a vector of `u64`.
    pub fn insert_u64(&mut self, name: impl Into<String>, values: &[u64]) {
        self.insert(name, Array::from(values.to_vec()));
    }

    /// Adds values that may be absent: a presence flag and a value each.
    pub fn insert_optional(&mut self, name: &str, values: &[Option<f64>]) {
        let present: Vec<u64> = values.iter().map(|value| u64::from(value.is_some())).collect();
        let values: Vec<f64> = values.iter().map(|value| value.unwrap_or(0.0)).collect();
        self.insert_u64(format!("{name}.present"), &present);
        self.insert_f64(name, &values);
    }

    /// Adds another state below a prefix.
    pub fn nest(&mut self, prefix: &str, inner: State) {
        for (name, entry) in inner.entries {
            self.entries.insert(format!("{prefix}/{name}"), entry);
        }
    }

    /// The part of the state below a prefix, with the prefix cut off.
    #[must_use]
    pub fn below(&self, prefix: &str) -> State {
        let prefix = format!("{prefix}/");
        let entries = self
            .entries
            .iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(&prefix)?.to_owned(), entry.clone())))
            .collect();
        State { entries }
    }

    /// An entry.
    ///
    /// # Errors
    /// [`Error::State`] if there is none of that name.
    pub fn get(&self, name: &str) -> Result<&Entry> {
        self.entries.get(name).ok_or_else(|| Error::State { name: name.to_owned(), problem: "is missing".to_owned() })
    }

    /// An array of a known shape.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, of another type or another shape.
    pub fn array<T: Number, D: Dimension>(
        &self,
        name: &str,
        shape: impl IntoDimension<Dim = D>,
    ) -> Result<ArrayView<'_, T, D>> {
        let (array, shape) = (self.typed::<T>(name)?, shape.into_dimension());
        let view = array.view().into_dimensionality().ok().filter(|view: &ArrayView<'_, T, D>| view.raw_dim() == shape);
        view.ok_or_else(|| Error::State {
            name: name.to_owned(),
            problem: format!("has shape {:?}, expected {:?}", array.shape(), shape.slice()),
        })
    }

    /// The numbers of an array of `f64`, of which there are `length`, the last dimension fastest.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing, of another type or has another number of values.
    pub fn f64(&self, name: &str, length: usize) -> Result<&[f64]> {
        self.flat(name, length)
    }

    /// The numbers of an array of `f32`, of which there are `length`, the last dimension fastest.
    ///
    /// # Errors
    /// As [`State::f64`].
    pub fn f32(&self, name: &str, length: usize) -> Result<&[f32]> {
        self.flat(name, length)
    }

    /// The numbers of an array of `u64`, of which there are `length`, the last dimension fastest.
    ///
    /// # Errors
    /// As [`State::f64`].
    pub fn u64(&self, name: &str, length: usize) -> Result<&[u64]> {
        self.flat(name, length)
    }

    /// Values that may be absent, as [`State::insert_optional`] wrote them.
    ///
    /// # Errors
    /// [`Error::State`] if they are missing, of another type or another length.
    pub fn optional(&self, name: &str, length: usize) -> Result<Vec<Option<f64>>> {
        let present = self.u64(&format!("{name}.present"), length)?;
        let values = self.f64(name, length)?;
        Ok(present.iter().zip(values).map(|(present, value)| (*present != 0).then_some(*value)).collect())
    }

    fn typed<T: Number>(&self, name: &str) -> Result<&ArrayD<T>> {
        let entry = self.get(name)?;
        T::array(entry).ok_or_else(|| Error::State {
            name: name.to_owned(),
            problem: format!("holds {}, expected {}", entry.dtype(), T::NAME),
        })
    }

    fn flat<T: Number>(&self, name: &str, length: usize) -> Result<&[T]> {
        let values = self.typed::<T>(name)?.as_slice().expect("insert puts arrays in standard order");
        if values.len() == length {
            return Ok(values);
        }
        Err(Error::State { name: name.to_owned(), problem: format!("has {} values, expected {length}", values.len()) })
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3, array};

    use super::*;

    #[test]
    fn what_is_saved_comes_back() {
        let mut inner = State::new();
        inner.insert_f64("theta", &[1.0, -0.0]);
        inner.insert_optional("average", &[None, Some(0.0), Some(2.5)]);
        let mut state = State::new();
        state.insert_u64("position", &[3]);
        state.nest("strategy", inner.clone());
        assert_eq!(state.below("strategy"), inner);
        assert_eq!(inner.optional("average", 3).unwrap(), [None, Some(0.0), Some(2.5)]);
        assert_eq!(state.u64("position", 1).unwrap(), [3]);
        assert_eq!(state.f64("strategy/theta", 2).unwrap()[1].to_bits(), (-0.0f64).to_bits());
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let mut state = State::new();
        state.insert_u64("position", &[3]);
        let message = |result: Result<&[f64]>| result.unwrap_err().to_string();
        assert_eq!(message(state.f64("theta", 1)), "saved state, \"theta\": is missing");
        assert_eq!(message(state.f64("position", 1)), "saved state, \"position\": holds u64, expected f64");
        assert_eq!(
            state.u64("position", 2).unwrap_err().to_string(),
            "saved state, \"position\": has 1 values, expected 2"
        );
        assert!(state.f32("position", 1).is_err());
    }

    #[test]
    fn arrays_keep_their_shapes() {
        let array = array![[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]];
        let mut state = State::new();
        state.insert("w", array.clone());
        state.insert("scalar", Array::from_elem((), 3u64));
        state.insert("empty", Array3::<f64>::zeros((2, 0, 4)));
        let entry = state.get("w").unwrap();
        assert_eq!((entry.shape(), entry.dtype()), (&[2, 3][..], "f32"));
        assert_eq!(entry.view::<f32>().unwrap(), array.view().into_dyn());
        assert!(entry.view::<f64>().is_none());
        assert_eq!(state.array::<f32, _>("w", (2, 3)).unwrap(), array);
        assert_eq!(state.array::<u64, _>("scalar", ()).unwrap()[()], 3);
        assert_eq!(state.array::<f64, _>("empty", [2, 0, 4]).unwrap().len(), 0);
        assert_eq!(state.f64("empty", 0).unwrap(), [0.0; 0]);
        let message = |shape: &[usize]| state.array::<f32, _>("w", shape).unwrap_err().to_string();
        assert_eq!(message(&[3, 2]), "saved state, \"w\": has shape [2, 3], expected [3, 2]");
        assert_eq!(message(&[6]), "saved state, \"w\": has shape [2, 3], expected [6]");
        assert_eq!(message(&[]), "saved state, \"w\": has shape [2, 3], expected []");
        let message = |name| state.array::<f64, _>(name, [2, 3]).unwrap_err().to_string();
        assert_eq!(message("w"), "saved state, \"w\": holds f32, expected f64");
        assert_eq!(message("v"), "saved state, \"v\": is missing");
    }

    /// Whatever the strides of what comes in, files get the last dimension fastest.
    #[test]
    fn any_layout_is_saved_in_standard_order() {
        let transposed: Array2<f64> = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]].reversed_axes();
        assert!(!transposed.is_standard_layout());
        let mut reversed = array![1u64, 2, 3];
        reversed.invert_axis(ndarray::Axis(0));
        let mut state = State::new();
        state.insert("t", transposed.clone());
        state.insert("r", Entry::U64(reversed.into_dyn()));
        assert_eq!(state.f64("t", 6).unwrap(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(state.array::<f64, _>("t", [3, 2]).unwrap(), transposed);
        assert_eq!(state.u64("r", 3).unwrap(), [3, 2, 1]);
    }
}
