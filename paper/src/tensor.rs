//! Arrays as tensors of a safetensors file, and back.

use ndarray::{ArrayD, ArrayView, Dimension, ShapeError};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError};

/// Number types that a file holds, with their lowest byte first.
pub trait Number: Copy {
    /// The type in the file.
    const DTYPE: Dtype;

    /// Adds the bytes of a number.
    fn write(self, bytes: &mut Vec<u8>);

    /// The number of some bytes.
    ///
    /// # Panics
    /// If there are more or less than its own.
    fn read(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($number:ident, $dtype:ident) => {
        impl Number for $number {
            const DTYPE: Dtype = Dtype::$dtype;

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("the bytes of one number"))
            }
        }
    };
}

number!(f32, F32);
number!(f64, F64);
number!(i64, I64);
number!(u64, U64);

/// An array in the byte order of the file, the last dimension fastest.
#[derive(Clone, Debug)]
pub struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Tensor {
    /// Of an array, whatever its layout in memory.
    pub fn new<T: Number, D: Dimension>(array: ArrayView<'_, T, D>) -> Self {
        let mut bytes = Vec::with_capacity(size_of::<T>() * array.len());
        for number in &array {
            number.write(&mut bytes);
        }
        Self { dtype: T::DTYPE, shape: array.shape().to_vec(), bytes }
    }

    /// As the file's writer wants it.
    ///
    /// # Errors
    /// None for a tensor that was made of an array.
    pub fn view(&self) -> Result<TensorView<'_>, SafeTensorError> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes)
    }
}

/// The array of a tensor that holds numbers of type `T`.
///
/// # Errors
/// If no array can have its shape.
///
/// # Panics
/// If it holds numbers of another width.
pub fn array<T: Number>(view: &TensorView<'_>) -> Result<ArrayD<T>, ShapeError> {
    ArrayD::from_shape_vec(view.shape(), view.data().chunks_exact(size_of::<T>()).map(T::read).collect())
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, ArrayView0, array, aview0};

    use super::*;

    #[test]
    fn arrays_come_back() {
        let tensor = Tensor::new(array![[1.5f64, -0.0, 3.0], [f64::INFINITY, 0.1, f64::MIN_POSITIVE]].view());
        let back = super::array::<f64>(&tensor.view().unwrap()).unwrap();
        assert_eq!(back.shape(), [2, 3]);
        assert_eq!(back[[1, 1]], 0.1);
        assert_eq!(back[[0, 1]].to_bits(), (-0.0f64).to_bits());
        let scalar: ArrayView0<'_, u64> = aview0(&7);
        assert_eq!(super::array::<u64>(&Tensor::new(scalar).view().unwrap()).unwrap()[[]], 7);
        let empty = Tensor::new(Array3::<i64>::zeros((2, 0, 3)).view());
        assert_eq!(super::array::<i64>(&empty.view().unwrap()).unwrap().shape(), [2, 0, 3]);
    }

    #[test]
    fn the_last_dimension_is_the_fastest() {
        let columns = array![[1i64, 3], [2, 4]].reversed_axes();
        let tensor = Tensor::new(columns.view());
        let view = tensor.view().unwrap();
        assert_eq!((view.dtype(), view.shape()), (Dtype::I64, &[2, 2][..]));
        assert_eq!(view.data().iter().copied().step_by(8).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(super::array::<i64>(&view).unwrap(), columns.into_dyn());
    }
}
