//! Average pooling: 3×3 with stride 1, padding not counted; 2×2 with stride 2; and their gradients.
//!
//! The average over a 3×3 neighbourhood is a sum of columns of up to three rows, then of up to three such sums; both divided by
//! how many there are. Its gradient is the same with the divisions before the sums.

use pulp::Simd;

use super::{Pixel, Size, vectors_per_pixel};
use crate::Element;

/// Half the height and width.
pub(crate) fn halved(size: Size) -> Size {
    Size { height: size.height / 2, width: size.width / 2 }
}

/// How many of the places before, at and after `place` exist, of `count`.
fn neighbours(place: usize, count: usize) -> usize {
    1 + usize::from(place > 0) + usize::from(place + 1 < count)
}

/// Adds `weight` times the 3×3 averages of a plane, or the gradient of that, to rows of the output from row `top` on.
#[inline(always)]
pub(super) fn average<S: Simd, T: Element, const BACK: bool>(
    simd: S,
    plane: &[Pixel<T>],
    size: Size,
    weight: T,
    top: usize,
    out: &mut [Pixel<T>],
    fresh: bool,
) {
    let Size { height, width } = size;
    let share = |count: usize| T::one() / T::of(count as f64);
    for (y, out) in (top..).zip(out.chunks_exact_mut(width)) {
        // Rows that don't exist are the middle one with factor zero.
        let rows = [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|row| &plane[row * width..][..width]);
        let factors: [T; 3] = std::array::from_fn(|offset| {
            if (offset == 0 && y == 0) || (offset == 2 && y + 1 == height) {
                return T::zero();
            }
            weight * if BACK { share(neighbours(y + offset - 1, height)) } else { share(neighbours(y, height)) }
        });
        let factors = factors.map(|factor| T::splat(simd, factor));
        let edge = T::splat(simd, share(neighbours(0, width)));
        let middle = T::splat(simd, share(neighbours(1, width)));
        let column = Column { rows, factors };
        let scale = |x: usize| if x == 0 || x + 1 == width { edge } else { middle };
        for vector in 0..vectors_per_pixel::<S, T>() {
            let zero = T::splat(simd, T::zero());
            let mut before = zero;
            let mut here = column.sum(simd, 0, vector);
            if BACK {
                here = T::times(simd, here, edge);
            }
            for x in 0..width {
                let mut after = zero;
                if x + 1 < width {
                    after = column.sum(simd, x + 1, vector);
                    if BACK {
                        after = T::times(simd, after, scale(x + 1));
                    }
                }
                let mut sum = T::plus(simd, T::plus(simd, before, here), after);
                if !BACK {
                    sum = T::times(simd, sum, scale(x));
                }
                let out = out[x].vector_mut::<S>(vector);
                *out = if fresh { sum } else { T::plus(simd, *out, sum) };
                (before, here) = (here, after);
            }
        }
    }
}

/// Three rows, each with its factor.
struct Column<'a, S: Simd, T: Element> {
    rows: [&'a [Pixel<T>]; 3],
    factors: [T::Vector<S>; 3],
}

impl<S: Simd, T: Element> Column<'_, S, T> {
    #[inline(always)]
    fn sum(&self, simd: S, x: usize, vector: usize) -> T::Vector<S> {
        let [above, here, below] = self.rows.map(|row| row[x].vector::<S>(vector));
        let sum = T::fma(simd, here, self.factors[1], T::times(simd, above, self.factors[0]));
        T::fma(simd, below, self.factors[2], sum)
    }
}

/// Adds the averages of 2×2 pixels of a plane to rows of the output; `size` is the output's.
#[inline(always)]
pub(super) fn halve<S: Simd, T: Element>(
    simd: S,
    plane: &[Pixel<T>],
    size: Size,
    top: usize,
    out: &mut [Pixel<T>],
    fresh: bool,
) {
    let width = size.width;
    let quarter = T::splat(simd, T::of(0.25));
    for (y, out) in (top..).zip(out.chunks_exact_mut(width)) {
        let (upper, lower) = plane[4 * y * width..][..4 * width].split_at(2 * width);
        for (x, out) in out.iter_mut().enumerate() {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let upper = T::plus(simd, upper[2 * x].vector::<S>(vector), upper[2 * x + 1].vector::<S>(vector));
                let lower = T::plus(simd, lower[2 * x].vector::<S>(vector), lower[2 * x + 1].vector::<S>(vector));
                let sum = T::times(simd, T::plus(simd, upper, lower), quarter);
                let out = out.vector_mut::<S>(vector);
                *out = if fresh { sum } else { T::plus(simd, *out, sum) };
            }
        }
    }
}

/// Adds the gradient of [`halve`] to rows of its input; `size` is the input's.
#[inline(always)]
pub(super) fn halve_back<S: Simd, T: Element>(
    simd: S,
    plane: &[Pixel<T>],
    size: Size,
    top: usize,
    out: &mut [Pixel<T>],
    fresh: bool,
) {
    let width = size.width;
    let quarter = T::splat(simd, T::of(0.25));
    for (y, out) in (top..).zip(out.chunks_exact_mut(width)) {
        let row = &plane[y / 2 * (width / 2)..][..width / 2];
        for (x, out) in out.iter_mut().enumerate() {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let share = T::times(simd, row[x / 2].vector::<S>(vector), quarter);
                let out = out.vector_mut::<S>(vector);
                *out = if fresh { share } else { T::plus(simd, *out, share) };
            }
        }
    }
}
