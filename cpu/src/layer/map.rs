//! Maps of whole images: a border of zeros with or without ReLU, weighted sums, sums of products.

use pulp::{Arch, Simd, WithSimd};

use super::pooling::{self, halved};
use super::{LANES, Pixel, Size, vectors_per_pixel};
use crate::Element;

/// Copies an image `[blocks, height, width]` into one with a border of zeros, through ReLU if `relu`.
pub(crate) fn border<T: Element>(
    arch: Arch,
    input: &[Pixel<T>],
    size: Size,
    border: usize,
    relu: bool,
    out: &mut [Pixel<T>],
) {
    struct Border<'a, T> {
        input: &'a [Pixel<T>],
        size: Size,
        border: usize,
        relu: bool,
        out: &'a mut [Pixel<T>],
    }
    impl<T: Element> WithSimd for Border<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            bordered(self.input.chunks_exact(self.size.pixels()), self.size, self.border, self.out, |_, row, out| {
                if self.relu {
                    for (out, pixel) in out.iter_mut().zip(row) {
                        for vector in 0..vectors_per_pixel::<S, T>() {
                            *out.vector_mut::<S>(vector) = T::relu(simd, pixel.vector::<S>(vector));
                        }
                    }
                } else {
                    out.copy_from_slice(row);
                }
            });
        }
    }
    arch.dispatch(Border { input, size, border, relu, out });
}

/// Writes planes with a border of zeros; `fill` writes a row from its block, and its row of the input.
#[inline(always)]
pub(super) fn bordered<'a, T: Element>(
    planes: impl Iterator<Item = &'a [Pixel<T>]>,
    size: Size,
    border: usize,
    out: &mut [Pixel<T>],
    mut fill: impl FnMut(usize, &'a [Pixel<T>], &mut [Pixel<T>]),
) {
    let whole = size.bordered(border);
    for (block, (plane, out)) in planes.zip(out.chunks_exact_mut(whole.pixels())).enumerate() {
        let (top, rest) = out.split_at_mut(border * whole.width);
        let (middle, bottom) = rest.split_at_mut(size.height * whole.width);
        top.fill(Pixel::default());
        bottom.fill(Pixel::default());
        for (row, out) in plane.chunks_exact(size.width).zip(middle.chunks_exact_mut(whole.width)) {
            let (left, rest) = out.split_at_mut(border);
            let (inner, right) = rest.split_at_mut(size.width);
            left.fill(Pixel::default());
            right.fill(Pixel::default());
            fill(block, row, inner);
        }
    }
}

/// A summand of [`combine`] and of its transpose.
#[derive(Clone, Copy)]
pub(crate) enum Summand<'a, T> {
    /// `weight · x`
    Scaled { x: &'a [Pixel<T>], weight: T },
    /// `(x − mean) · scale + shift`, per channel: `[blocks]` each.
    Normalized { x: &'a [Pixel<T>], mean: &'a [Pixel<T>], scale: &'a [Pixel<T>], shift: &'a [Pixel<T>] },
    /// `weight ·` average of the 3×3 neighbourhood, without what lies outside.
    Pooled { x: &'a [Pixel<T>], weight: T },
    /// Gradient of `Pooled`.
    PooledBack { x: &'a [Pixel<T>], weight: T },
    /// Averages of 2×2 pixels; `x` has twice the height and width.
    Halved { x: &'a [Pixel<T>] },
    /// Gradient of `Halved`; `x` has half the height and width.
    HalvedBack { x: &'a [Pixel<T>] },
}

/// Pixels that are worked on at once, so that they stay in the first-level cache while summands are added.
pub(crate) const STRIP: usize = 128;

/// Writes a sum of images, `[blocks, height, width]`; adds to what is there unless `fresh`. No summand: zero.
pub(crate) fn combine<'a, T: Element>(
    arch: Arch,
    summands: impl Iterator<Item = Summand<'a, T>> + Clone,
    size: Size,
    out: &mut [Pixel<T>],
    fresh: bool,
) {
    struct Combine<'b, I, T> {
        summands: I,
        size: Size,
        out: &'b mut [Pixel<T>],
        fresh: bool,
    }
    impl<'a, T: Element, I: Iterator<Item = Summand<'a, T>> + Clone> WithSimd for Combine<'_, I, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Size { height, width } = self.size;
            let rows = (STRIP / width).clamp(1, height);
            for (block, plane) in self.out.chunks_exact_mut(self.size.pixels()).enumerate() {
                for (strip, out) in plane.chunks_mut(rows * width).enumerate() {
                    let mut fresh = self.fresh;
                    for summand in self.summands.clone() {
                        add(simd, summand, self.size, block, strip * rows, out, fresh);
                        fresh = false;
                    }
                    if fresh {
                        out.fill(Pixel::default());
                    }
                }
            }
        }
    }
    arch.dispatch(Combine { summands, size, out, fresh });
}

/// Adds a summand to some rows of one block of the output, from row `top` on.
#[inline(always)]
fn add<S: Simd, T: Element>(
    simd: S,
    summand: Summand<'_, T>,
    size: Size,
    block: usize,
    top: usize,
    out: &mut [Pixel<T>],
    fresh: bool,
) {
    let vectors = vectors_per_pixel::<S, T>();
    let first = block * size.pixels() + top * size.width;
    let count = out.len();
    match summand {
        Summand::Scaled { x, weight } => {
            let weight = T::splat(simd, weight);
            for (out, x) in out.iter_mut().zip(&x[first..first + count]) {
                for vector in 0..vectors {
                    let (x, out) = (x.vector::<S>(vector), out.vector_mut::<S>(vector));
                    *out = if fresh { T::times(simd, x, weight) } else { T::fma(simd, x, weight, *out) };
                }
            }
        }
        Summand::Normalized { x, mean, scale, shift } => {
            let (mean, scale, shift) = (&mean[block], &scale[block], &shift[block]);
            for (out, x) in out.iter_mut().zip(&x[first..first + count]) {
                for vector in 0..vectors {
                    let centred = T::minus(simd, x.vector::<S>(vector), mean.vector::<S>(vector));
                    let out = out.vector_mut::<S>(vector);
                    let shift = shift.vector::<S>(vector);
                    let base = if fresh { shift } else { T::plus(simd, *out, shift) };
                    *out = T::fma(simd, centred, scale.vector::<S>(vector), base);
                }
            }
        }
        Summand::Pooled { x, weight } => {
            let plane = &x[block * size.pixels()..][..size.pixels()];
            pooling::average::<S, T, false>(simd, plane, size, weight, top, out, fresh);
        }
        Summand::PooledBack { x, weight } => {
            let plane = &x[block * size.pixels()..][..size.pixels()];
            pooling::average::<S, T, true>(simd, plane, size, weight, top, out, fresh);
        }
        Summand::Halved { x } => {
            let double = Size { height: 2 * size.height, width: 2 * size.width };
            let plane = &x[block * double.pixels()..][..double.pixels()];
            pooling::halve(simd, plane, size, top, out, fresh);
        }
        Summand::HalvedBack { x } => {
            let half = halved(size);
            let plane = &x[block * half.pixels()..][..half.pixels()];
            pooling::halve_back(simd, plane, size, top, out, fresh);
        }
    }
}

/// Sum of the products of a summand and an image `[blocks, height, width]`: of a strip in `T`, of strips and lanes in double
/// precision.
pub(crate) fn product<T: Element>(arch: Arch, summand: Summand<'_, T>, size: Size, image: &[Pixel<T>]) -> f64 {
    struct Product<'a, T> {
        summand: Summand<'a, T>,
        size: Size,
        image: &'a [Pixel<T>],
    }
    impl<T: Element> WithSimd for Product<'_, T> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let Size { height, width } = self.size;
            let rows = (STRIP / width).clamp(1, height);
            let mut strip = [Pixel::<T>::default(); STRIP];
            let mut total = 0.0;
            for (block, plane) in self.image.chunks_exact(self.size.pixels()).enumerate() {
                for (number, image) in plane.chunks(rows * width).enumerate() {
                    let strip = &mut strip[..image.len()];
                    add(simd, self.summand, self.size, block, number * rows, strip, true);
                    total += dot(simd, strip, image);
                }
            }
            total
        }
    }
    arch.dispatch(Product { summand, size, image })
}

/// Sum of the products of up to a strip of pixels.
#[inline(always)]
fn dot<S: Simd, T: Element>(simd: S, left: &[Pixel<T>], right: &[Pixel<T>]) -> f64 {
    let mut sums = Pixel::<T>::default();
    for (left, right) in left.iter().zip(right) {
        for vector in 0..vectors_per_pixel::<S, T>() {
            let sum = sums.vector_mut::<S>(vector);
            *sum = T::fma(simd, left.vector::<S>(vector), right.vector::<S>(vector), *sum);
        }
    }
    sums.0.iter().map(|sum| sum.widen()).sum()
}

/// Sum of an image.
pub(crate) fn sum<T: Element>(arch: Arch, image: &[Pixel<T>]) -> f64 {
    struct Sum<'a, T>(&'a [Pixel<T>]);
    impl<T: Element> WithSimd for Sum<'_, T> {
        type Output = f64;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            let ones = [Pixel([T::one(); LANES]); STRIP];
            self.0.chunks(STRIP).map(|strip| dot(simd, strip, &ones)).sum()
        }
    }
    arch.dispatch(Sum(image))
}
