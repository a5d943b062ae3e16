//! What stands between the last tensor and the linear layer: batch norm with scale and shift, ReLU, average over all pixels.

use pulp::{Arch, Simd, WithSimd};

use super::batch_norm::{Backward, Slopes};
use super::{LANES, Pixel, Size, vectors_per_pixel};
use crate::Element;

/// `y = (x − mean) · scale + shift`, per channel: `[blocks]` each.
#[derive(Clone, Copy)]
pub(crate) struct Normalization<'a, T> {
    pub(crate) mean: &'a [Pixel<T>],
    pub(crate) scale: &'a [Pixel<T>],
    pub(crate) shift: &'a [Pixel<T>],
}

/// Writes the averages of `ReLU(y)` over an image `[blocks, height, width]`: `[blocks]`.
pub(crate) fn average<T: Element>(
    arch: Arch,
    x: &[Pixel<T>],
    size: Size,
    normalization: Normalization<'_, T>,
    out: &mut [Pixel<T>],
) {
    struct Average<'a, T> {
        x: &'a [Pixel<T>],
        size: Size,
        normalization: Normalization<'a, T>,
        out: &'a mut [Pixel<T>],
    }
    impl<T: Element> WithSimd for Average<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let share = T::splat(simd, T::one() / T::of(self.size.pixels() as f64));
            for (block, (plane, out)) in self.x.chunks_exact(self.size.pixels()).zip(self.out).enumerate() {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let mut sum = T::splat(simd, T::zero());
                    for pixel in plane {
                        let (_, y) = self.normalization.of(simd, block, vector, pixel);
                        sum = T::plus(simd, sum, T::relu(simd, y));
                    }
                    *out.vector_mut::<S>(vector) = T::times(simd, sum, share);
                }
            }
        }
    }
    arch.dispatch(Average { x, size, normalization, out });
}

impl<T: Element> Normalization<'_, T> {
    /// `x − mean`, and `y`.
    #[inline(always)]
    fn of<S: Simd>(&self, simd: S, block: usize, vector: usize, x: &Pixel<T>) -> (T::Vector<S>, T::Vector<S>) {
        let apart = T::minus(simd, x.vector::<S>(vector), self.mean[block].vector::<S>(vector));
        let scale = self.scale[block].vector::<S>(vector);
        (apart, T::fma(simd, apart, scale, self.shift[block].vector::<S>(vector)))
    }
}

/// Adds the sums over an image that the gradient of the batch norm needs. `gradient`: of the averages, `[blocks]`; `inverse`:
/// `1/√(v + ε)`.
pub(crate) fn join_slopes<T: Element>(
    arch: Arch,
    x: &[Pixel<T>],
    size: Size,
    normalization: Normalization<'_, T>,
    gradient: &[Pixel<T>],
    inverse: &[Pixel<T>],
    slopes: &mut [Slopes],
) {
    struct Positive<'a, T> {
        plane: &'a [Pixel<T>],
        block: usize,
        normalization: Normalization<'a, T>,
    }
    impl<T: Element> WithSimd for Positive<'_, T> {
        /// Number of pixels that the ReLU lets through, and the sum of `x − mean` over them.
        type Output = [Pixel<T>; 2];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
            let mut result = [Pixel::default(); 2];
            for vector in 0..vectors_per_pixel::<S, T>() {
                let one = T::splat(simd, T::one());
                let (mut count, mut sum) = (T::splat(simd, T::zero()), T::splat(simd, T::zero()));
                for pixel in self.plane {
                    let (apart, y) = self.normalization.of(simd, self.block, vector, pixel);
                    count = T::plus(simd, count, T::where_positive(simd, y, one));
                    sum = T::plus(simd, sum, T::where_positive(simd, y, apart));
                }
                *result[0].vector_mut::<S>(vector) = count;
                *result[1].vector_mut::<S>(vector) = sum;
            }
            result
        }
    }
    let share = 1.0 / size.pixels() as f64;
    for (block, (plane, slopes)) in x.chunks_exact(size.pixels()).zip(slopes).enumerate() {
        let [count, sum] = arch.dispatch(Positive { plane, block, normalization });
        for lane in 0..LANES {
            let slope = gradient[block].0[lane].widen() * share;
            slopes.sum[lane] += slope * count.0[lane].widen();
            slopes.product[lane] += slope * sum.0[lane].widen() * inverse[block].0[lane].widen();
        }
    }
}

/// Writes the gradient of an image.
pub(crate) fn input_gradient<T: Element>(
    arch: Arch,
    x: &[Pixel<T>],
    size: Size,
    normalization: Normalization<'_, T>,
    gradient: &[Pixel<T>],
    backward: Backward<'_, T>,
    out: &mut [Pixel<T>],
) {
    struct Gradient<'a, T> {
        x: &'a [Pixel<T>],
        size: Size,
        normalization: Normalization<'a, T>,
        gradient: &'a [Pixel<T>],
        backward: Backward<'a, T>,
        out: &'a mut [Pixel<T>],
    }
    impl<T: Element> WithSimd for Gradient<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let pixels = self.size.pixels();
            let share = T::splat(simd, T::one() / T::of(pixels as f64));
            for (block, (plane, out)) in self.x.chunks_exact(pixels).zip(self.out.chunks_exact_mut(pixels)).enumerate()
            {
                let Backward { own, other, all, .. } = self.backward;
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let slope = T::times(simd, self.gradient[block].vector::<S>(vector), share);
                    let slope = T::times(simd, slope, own[block].vector::<S>(vector));
                    let (other, all) = (other[block].vector::<S>(vector), all[block].vector::<S>(vector));
                    for (out, pixel) in out.iter_mut().zip(plane) {
                        let (apart, y) = self.normalization.of(simd, block, vector, pixel);
                        let rest = T::fma(simd, apart, other, all);
                        *out.vector_mut::<S>(vector) = T::plus(simd, T::where_positive(simd, y, slope), rest);
                    }
                }
            }
        }
    }
    arch.dispatch(Gradient { x, size, normalization, gradient, backward, out });
}
