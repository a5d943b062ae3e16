//! Batch norm: statistics of a minibatch, and the gradient through them. The normalisation itself is a summand of
//! [`map::combine`](super::map::combine).
//!
//! # Formula
//! `y = (z − m)/√(v + ε) · scale + shift` with mean `m` and variance `v` of a channel over the minibatch. With `ẑ = (z − m)/√(v + ε)`,
//! `∂L/∂z = scale/√(v + ε) · (∂L/∂y − mean(∂L/∂y) − ẑ · mean(∂L/∂y · ẑ))`.

use pulp::{Arch, Simd, WithSimd};

use super::{LANES, Pixel, Size, map, vectors_per_pixel};
use crate::Element;

pub(crate) use advantage_nas::network::nas_bench_201::parent::NORM_EPSILON as EPSILON;

/// Number, mean and sum of squared deviations of a block's channels.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) count: f64,
    pub(crate) mean: [f64; LANES],
    pub(crate) squares: [f64; LANES],
}

impl Moments {
    /// Joins the moments of other numbers (Chan, Golub, LeVeque, 1983).
    pub(crate) fn join(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let (theirs, both) = (other.count / count, self.count * other.count / count);
        for lane in 0..LANES {
            let apart = other.mean[lane] - self.mean[lane];
            self.mean[lane] += apart * theirs;
            self.squares[lane] += other.squares[lane] + apart * apart * both;
        }
        self.count = count;
    }

    /// Variance, the mean squared deviation.
    pub(crate) fn variance(&self, lane: usize) -> f64 {
        self.squares[lane] / self.count
    }
}

/// Joins the moments of an image `[blocks, height, width]` to `moments`, `[blocks]`.
pub(crate) fn join_moments<T: Element>(arch: Arch, image: &[Pixel<T>], size: Size, moments: &mut [Moments]) {
    for (plane, moments) in image.chunks_exact(size.pixels()).zip(moments) {
        // Deviations from a first guess, a pixel of the image, so that no digits cancel.
        let guess = plane[plane.len() / 2];
        let [sums, squares] = arch.dispatch(Sums { plane, guess });
        let count = plane.len() as f64;
        let mut own = Moments { count, ..Moments::default() };
        for lane in 0..LANES {
            let apart = sums.0[lane].widen() / count;
            own.mean[lane] = guess.0[lane].widen() + apart;
            own.squares[lane] = (squares.0[lane].widen() - sums.0[lane].widen() * apart).max(0.0);
        }
        moments.join(&own);
    }
}

/// Sums of the deviations from a guess and of their squares.
struct Sums<'a, T> {
    plane: &'a [Pixel<T>],
    guess: Pixel<T>,
}

/// Chains of additions, so that one does not wait for the other.
const CHAINS: usize = 4;

#[inline(always)]
fn add<S: Simd, T: Element>(simd: S, [a, b, c, d]: [T::Vector<S>; CHAINS]) -> T::Vector<S> {
    T::plus(simd, T::plus(simd, a, b), T::plus(simd, c, d))
}

impl<T: Element> WithSimd for Sums<'_, T> {
    type Output = [Pixel<T>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut result = [Pixel::default(); 2];
        let (groups, rest) = self.plane.as_chunks::<CHAINS>();
        for vector in 0..vectors_per_pixel::<S, T>() {
            let zero = T::splat(simd, T::zero());
            let guess = self.guess.vector::<S>(vector);
            let (mut sums, mut squares) = ([zero; CHAINS], [zero; CHAINS]);
            for group in groups {
                for chain in 0..CHAINS {
                    let apart = T::minus(simd, group[chain].vector::<S>(vector), guess);
                    sums[chain] = T::plus(simd, sums[chain], apart);
                    squares[chain] = T::fma(simd, apart, apart, squares[chain]);
                }
            }
            for pixel in rest {
                let apart = T::minus(simd, pixel.vector::<S>(vector), guess);
                sums[0] = T::plus(simd, sums[0], apart);
                squares[0] = T::fma(simd, apart, apart, squares[0]);
            }
            *result[0].vector_mut::<S>(vector) = add::<S, T>(simd, sums);
            *result[1].vector_mut::<S>(vector) = add::<S, T>(simd, squares);
        }
        result
    }
}

/// Sums over a minibatch that the gradient needs, of a block's channels.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slopes {
    /// `Σ ∂L/∂y`
    pub(crate) sum: [f64; LANES],
    /// `Σ ∂L/∂y · ẑ`
    pub(crate) product: [f64; LANES],
}

impl Slopes {
    pub(crate) fn join(&mut self, other: &Self) {
        for lane in 0..LANES {
            self.sum[lane] += other.sum[lane];
            self.product[lane] += other.product[lane];
        }
    }
}

/// Adds the sums over an image to `slopes`, `[blocks]`. `gradient`: `∂L/∂y`; `inverse`: `1/√(v + ε)`.
pub(crate) fn join_slopes<T: Element>(
    arch: Arch,
    gradient: &[Pixel<T>],
    z: &[Pixel<T>],
    size: Size,
    mean: &[Pixel<T>],
    inverse: &[Pixel<T>],
    slopes: &mut [Slopes],
) {
    let planes = gradient.chunks_exact(size.pixels()).zip(z.chunks_exact(size.pixels()));
    for ((block, (gradient, z)), slopes) in planes.enumerate().zip(slopes) {
        let [sum, product] = arch.dispatch(Products { gradient, z, mean: mean[block] });
        for lane in 0..LANES {
            slopes.sum[lane] += sum.0[lane].widen();
            slopes.product[lane] += product.0[lane].widen() * inverse[block].0[lane].widen();
        }
    }
}

/// Sums of a gradient, and of its products with deviations from a mean.
struct Products<'a, T> {
    gradient: &'a [Pixel<T>],
    z: &'a [Pixel<T>],
    mean: Pixel<T>,
}

impl<T: Element> WithSimd for Products<'_, T> {
    type Output = [Pixel<T>; 2];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Self::Output {
        let mut result = [Pixel::default(); 2];
        let (gradients, gradient_rest) = self.gradient.as_chunks::<CHAINS>();
        let (zs, z_rest) = self.z.as_chunks::<CHAINS>();
        for vector in 0..vectors_per_pixel::<S, T>() {
            let zero = T::splat(simd, T::zero());
            let mean = self.mean.vector::<S>(vector);
            let (mut sums, mut products) = ([zero; CHAINS], [zero; CHAINS]);
            for (gradient, z) in gradients.iter().zip(zs) {
                for chain in 0..CHAINS {
                    let slope = gradient[chain].vector::<S>(vector);
                    let apart = T::minus(simd, z[chain].vector::<S>(vector), mean);
                    sums[chain] = T::plus(simd, sums[chain], slope);
                    products[chain] = T::fma(simd, slope, apart, products[chain]);
                }
            }
            for (gradient, z) in gradient_rest.iter().zip(z_rest) {
                let slope = gradient.vector::<S>(vector);
                let apart = T::minus(simd, z.vector::<S>(vector), mean);
                sums[0] = T::plus(simd, sums[0], slope);
                products[0] = T::fma(simd, slope, apart, products[0]);
            }
            *result[0].vector_mut::<S>(vector) = add::<S, T>(simd, sums);
            *result[1].vector_mut::<S>(vector) = add::<S, T>(simd, products);
        }
        result
    }
}

/// The map from `∂L/∂y` to `∂L/∂z`, per channel: `∂L/∂z = own · ∂L/∂y + other · (z − mean) + all`. `[blocks]` each.
#[derive(Clone, Copy)]
pub(crate) struct Backward<'a, T> {
    pub(crate) own: &'a [Pixel<T>],
    pub(crate) other: &'a [Pixel<T>],
    pub(crate) mean: &'a [Pixel<T>],
    pub(crate) all: &'a [Pixel<T>],
}

/// Writes `∂L/∂z` of an image with a border of zeros.
pub(crate) fn input_gradient<T: Element>(
    arch: Arch,
    gradient: &[Pixel<T>],
    z: &[Pixel<T>],
    size: Size,
    backward: Backward<'_, T>,
    border: usize,
    out: &mut [Pixel<T>],
) {
    struct Gradient<'a, T> {
        gradient: &'a [Pixel<T>],
        z: &'a [Pixel<T>],
        size: Size,
        backward: Backward<'a, T>,
        border: usize,
        out: &'a mut [Pixel<T>],
    }
    impl<T: Element> WithSimd for Gradient<'_, T> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let size = self.size;
            let planes = self.gradient.chunks_exact(size.pixels());
            let mut rows = self.z.chunks_exact(size.width);
            map::bordered(planes, size, self.border, self.out, |block, gradients, out| {
                let Backward { own, other, mean, all } = self.backward;
                let (own, other, mean, all) = (&own[block], &other[block], &mean[block], &all[block]);
                let zs = rows.next().unwrap_or_default();
                for ((out, slope), z) in out.iter_mut().zip(gradients).zip(zs) {
                    for vector in 0..vectors_per_pixel::<S, T>() {
                        let apart = T::minus(simd, z.vector::<S>(vector), mean.vector::<S>(vector));
                        let rest = T::fma(simd, apart, other.vector::<S>(vector), all.vector::<S>(vector));
                        let own = own.vector::<S>(vector);
                        *out.vector_mut::<S>(vector) = T::fma(simd, slope.vector::<S>(vector), own, rest);
                    }
                }
            });
        }
    }
    arch.dispatch(Gradient { gradient, z, size, backward, border, out });
}
