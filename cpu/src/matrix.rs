//! Matrix products on matrices that are stored in panels.
//!
//! A matrix `[rows, columns]` is cut into panels of [`LANES`] columns, and a panel has its rows one after the other: the numbers of a
//! row in a panel are one [`Pixel`]. So the product of two such matrices is one of their layout, and the factors need not be packed:
//! a tile of sums stays in registers while it takes whole pixels of the right factor times single numbers of the left one.
//!
//! - [`multiply`]: `C = A B`
//! - [`multiply_transposed`]: `C = Aᵀ B`, for the gradients of weights
//!
//! A number of the product is the sum over the inner index in its order, in one fused multiplication and addition each, whatever the
//! tiles; of [`multiply_transposed`] in pieces of [`DEPTH`] rows, counted from the first. Both run on the thread that calls them.

// Tiles are arrays whose loops have constant bounds, so that they stay in registers.
#![allow(clippy::needless_range_loop)]

use pulp::{Arch, Simd, WithSimd};

use crate::Element;
use crate::layer::{LANES, Pixel, blocks, vectors_per_pixel};

/// Rows that are multiplied at once, so that the left factor stays in the second cache.
const HEIGHT: usize = 256;
/// Inner indices that are multiplied at once, so that two panels of the right factor stay near.
const DEPTH: usize = 512;

/// Some rows of a matrix: pixel `(panel, row)` is at `panel · stride + first + row`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows<'a, T> {
    pub(crate) pixels: &'a [Pixel<T>],
    /// Rows of the whole matrix.
    pub(crate) stride: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl<'a, T> Rows<'a, T> {
    pub(crate) fn all(pixels: &'a [Pixel<T>], rows: usize) -> Self {
        Self { pixels, stride: rows, first: 0, count: rows }
    }

    /// Part of the rows.
    pub(crate) fn part(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.count, "rows {first} and {count} more of {}", self.count);
        Self { first: self.first + first, count, ..self }
    }

    /// These rows of a panel.
    #[inline(always)]
    pub(crate) fn panel(&self, panel: usize) -> &'a [Pixel<T>] {
        &self.pixels[panel * self.stride + self.first..][..self.count]
    }
}

/// Some rows of a matrix, to be written.
#[derive(Debug)]
pub(crate) struct RowsMut<'a, T> {
    pub(crate) pixels: &'a mut [Pixel<T>],
    pub(crate) stride: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
}

impl<'a, T> RowsMut<'a, T> {
    pub(crate) fn all(pixels: &'a mut [Pixel<T>], rows: usize) -> Self {
        Self { pixels, stride: rows, first: 0, count: rows }
    }

    pub(crate) fn part(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.count, "rows {first} and {count} more of {}", self.count);
        Self { first: self.first + first, count, ..self }
    }

    /// These rows of a panel.
    #[inline(always)]
    pub(crate) fn panel(&mut self, panel: usize) -> &mut [Pixel<T>] {
        &mut self.pixels[panel * self.stride + self.first..][..self.count]
    }
}

/// `C = A B`, or `C += A B`: `A` is `[rows, inner]`, `B` `[inner, panels · LANES]`.
pub(crate) fn multiply<T: Element>(
    arch: Arch,
    a: Rows<'_, T>,
    b: Rows<'_, T>,
    panels: usize,
    c: RowsMut<'_, T>,
    accumulate: bool,
) {
    assert_eq!(a.count, c.count, "rows of a product");
    arch.dispatch(Multiply { a, b, panels, c, accumulate });
}

struct Multiply<'a, T> {
    a: Rows<'a, T>,
    b: Rows<'a, T>,
    panels: usize,
    c: RowsMut<'a, T>,
    accumulate: bool,
}

impl<T: Element> WithSimd for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // A single row needs many panels for sums that don't wait for each other.
        match (S::REGISTER_COUNT >= 32, self.a.count) {
            (_, 1) => self.run::<S, 1, 8>(simd),
            (true, _) => self.run::<S, 8, 2>(simd),
            (false, _) => self.run::<S, 8, 1>(simd),
        }
    }
}

impl<T: Element> Multiply<'_, T> {
    /// Tiles of `M` rows and `P` panels; what is left in smaller ones.
    #[inline(always)]
    fn run<S: Simd, const M: usize, const P: usize>(mut self, simd: S) {
        let inner = self.b.count;
        for top in (0..self.a.count).step_by(HEIGHT) {
            let bottom = self.a.count.min(top + HEIGHT);
            for from in (0..inner).step_by(DEPTH) {
                let to = inner.min(from + DEPTH);
                let mut panel = 0;
                while panel + P <= self.panels {
                    self.strip::<S, M, P>(simd, top, bottom, panel, from, to);
                    panel += P;
                }
                while panel < self.panels {
                    self.strip::<S, M, 1>(simd, top, bottom, panel, from, to);
                    panel += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn strip<S: Simd, const M: usize, const P: usize>(
        &mut self,
        simd: S,
        top: usize,
        bottom: usize,
        panel: usize,
        from: usize,
        to: usize,
    ) {
        for vector in 0..vectors_per_pixel::<S, T>() {
            let mut row = top;
            while row + M <= bottom {
                self.tile::<S, M, P>(simd, row, panel, vector, from, to);
                row += M;
            }
            while row < bottom {
                self.tile::<S, 1, P>(simd, row, panel, vector, from, to);
                row += 1;
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const P: usize>(
        &mut self,
        simd: S,
        row: usize,
        panel: usize,
        vector: usize,
        from: usize,
        to: usize,
    ) {
        let mut sums = [[T::splat(simd, T::zero()); P]; M];
        if self.accumulate || from > 0 {
            for p in 0..P {
                let c = &self.c.panel(panel + p)[row..][..M];
                for m in 0..M {
                    sums[m][p] = c[m].vector::<S>(vector);
                }
            }
        }
        let mut b: [&[Pixel<T>]; P] = [&[]; P];
        for p in 0..P {
            b[p] = &self.b.panel(panel + p)[from..to];
        }
        let whole = (to - from) / LANES;
        for group in 0..whole {
            let a = rows::<T, M>(&self.a, from / LANES + group, row);
            let mut right: [&[Pixel<T>]; P] = [&[]; P];
            for p in 0..P {
                right[p] = &b[p][group * LANES..][..LANES];
            }
            for lane in 0..LANES {
                let mut values = [T::splat(simd, T::zero()); P];
                for p in 0..P {
                    values[p] = right[p][lane].vector::<S>(vector);
                }
                for m in 0..M {
                    let left = T::splat(simd, a[m].0[lane]);
                    for p in 0..P {
                        sums[m][p] = T::fma(simd, left, values[p], sums[m][p]);
                    }
                }
            }
        }
        if whole * LANES < to - from {
            let a = rows::<T, M>(&self.a, from / LANES + whole, row);
            for lane in 0..to - from - whole * LANES {
                for p in 0..P {
                    let value = b[p][whole * LANES + lane].vector::<S>(vector);
                    for m in 0..M {
                        sums[m][p] = T::fma(simd, T::splat(simd, a[m].0[lane]), value, sums[m][p]);
                    }
                }
            }
        }
        for p in 0..P {
            let c = &mut self.c.panel(panel + p)[row..][..M];
            for m in 0..M {
                *c[m].vector_mut::<S>(vector) = sums[m][p];
            }
        }
    }
}

#[inline(always)]
fn rows<'a, T, const M: usize>(a: &Rows<'a, T>, panel: usize, row: usize) -> &'a [Pixel<T>; M] {
    a.pixels[panel * a.stride + a.first + row..].first_chunk().expect("rows of the matrix")
}

/// `C = Aᵀ B`, or `C += Aᵀ B`: `A` is `[rows, columns]`, `B` as many rows; `C` is `[columns, B's columns]` and has all its panels.
pub(crate) fn multiply_transposed<T: Element>(
    arch: Arch,
    a: Rows<'_, T>,
    columns: usize,
    b: Rows<'_, T>,
    c: &mut [Pixel<T>],
    accumulate: bool,
) {
    assert_eq!(a.count, b.count, "rows of the factors");
    assert_eq!(c.len() % columns, 0, "whole panels");
    arch.dispatch(MultiplyTransposed { a, columns, b, c, accumulate });
}

struct MultiplyTransposed<'a, T> {
    a: Rows<'a, T>,
    columns: usize,
    b: Rows<'a, T>,
    c: &'a mut [Pixel<T>],
    accumulate: bool,
}

/// Columns of a tile; they divide those of a panel.
const TILE: usize = 8;

impl<T: Element> WithSimd for MultiplyTransposed<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 { self.run::<S, 2>(simd) } else { self.run::<S, 1>(simd) }
    }
}

impl<T: Element> MultiplyTransposed<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const P: usize>(mut self, simd: S) {
        let panels = self.c.len() / self.columns;
        for from in (0..self.a.count).step_by(HEIGHT) {
            let to = self.a.count.min(from + HEIGHT);
            let mut panel = 0;
            while panel + P <= panels {
                self.strip::<S, P>(simd, panel, from, to);
                panel += P;
            }
            while panel < panels {
                self.strip::<S, 1>(simd, panel, from, to);
                panel += 1;
            }
        }
    }

    #[inline(always)]
    fn strip<S: Simd, const P: usize>(&mut self, simd: S, panel: usize, from: usize, to: usize) {
        for vector in 0..vectors_per_pixel::<S, T>() {
            for column in (0..self.columns).step_by(TILE) {
                self.tile::<S, P>(simd, panel, vector, column, from, to);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize>(
        &mut self,
        simd: S,
        panel: usize,
        vector: usize,
        column: usize,
        from: usize,
        to: usize,
    ) {
        let mut sums = [[T::splat(simd, T::zero()); P]; TILE];
        let filled = TILE.min(self.columns - column);
        if self.accumulate || from > 0 {
            for p in 0..P {
                let c = &self.c[(panel + p) * self.columns + column..][..filled];
                for m in 0..TILE {
                    if m < filled {
                        sums[m][p] = c[m].vector::<S>(vector);
                    }
                }
            }
        }
        let left = &self.a.panel(column / LANES)[from..to];
        let half = column % LANES;
        let mut b: [&[Pixel<T>]; P] = [&[]; P];
        for p in 0..P {
            b[p] = &self.b.panel(panel + p)[from..to][..left.len()];
        }
        for row in 0..left.len() {
            let numbers: &[T; TILE] = left[row].0[half..].first_chunk().expect("half a pixel");
            for p in 0..P {
                let value = b[p][row].vector::<S>(vector);
                for m in 0..TILE {
                    sums[m][p] = T::fma(simd, T::splat(simd, numbers[m]), value, sums[m][p]);
                }
            }
        }
        for p in 0..P {
            let c = &mut self.c[(panel + p) * self.columns + column..][..filled];
            for m in 0..TILE {
                if m < filled {
                    *c[m].vector_mut::<S>(vector) = sums[m][p];
                }
            }
        }
    }
}

/// Writes some panels of the transposed matrix: `matrix` is `[rows, columns]`, `out` holds the panels from `first` on of
/// `[columns, rows]`.
pub(crate) fn transpose<T: Element>(
    matrix: &[Pixel<T>],
    rows: usize,
    columns: usize,
    first: usize,
    out: &mut [Pixel<T>],
) {
    for (index, panel) in out.chunks_exact_mut(columns).enumerate() {
        let top = (first + index) * LANES;
        let lanes = LANES.min(rows - top);
        for group in 0..blocks(columns) {
            let source = &matrix[group * rows + top..][..lanes];
            let width = LANES.min(columns - group * LANES);
            for (lane, pixel) in panel[group * LANES..][..width].iter_mut().enumerate() {
                for (number, row) in pixel.0.iter_mut().zip(source) {
                    *number = row.0[lane];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::tolerance::{F64_SUMS, assert_all_close};
    use ndarray::Array2;
    use ndarray_rand::RandomExt;
    use rand::distr::Uniform;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// A matrix with its numbers, and what is beyond its columns set to something that must not matter.
    struct Matrix {
        numbers: Array2<f64>,
        pixels: Vec<Pixel<f64>>,
    }

    impl Matrix {
        fn random(rows: usize, columns: usize, rng: &mut ChaCha8Rng) -> Self {
            let numbers = Array2::random_using((rows, columns), Uniform::new(-1.0, 1.0).unwrap(), rng);
            let mut pixels = vec![Pixel([1e9; LANES]); blocks(columns) * rows];
            for ((row, column), number) in numbers.indexed_iter() {
                pixels[column / LANES * rows + row].0[column % LANES] = *number;
            }
            Self { numbers, pixels }
        }

        fn at(&self, row: usize, column: usize) -> f64 {
            self.numbers[[row, column]]
        }
    }

    fn read(pixels: &[Pixel<f64>], stride: usize, rows: std::ops::Range<usize>, columns: usize) -> Vec<f64> {
        rows.flat_map(|row| (0..columns).map(move |column| (row, column)))
            .map(|(row, column)| pixels[column / LANES * stride + row].0[column % LANES])
            .collect()
    }

    /// Rows from a single one to more than are multiplied at once, inner indices likewise, and panels in every remainder.
    #[test]
    fn products_equal_the_plain_ones() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (rows, inner, columns) in
            [(1, 5, 3), (1, 40, 150), (7, 16, 16), (8, 33, 32), (13, 600, 49), (300, 20, 17), (9, 1100, 5)]
        {
            let (a, b) = (Matrix::random(rows + 5, inner, &mut rng), Matrix::random(inner, columns, &mut rng));
            let before = Matrix::random(rows + 3, columns, &mut rng);
            for accumulate in [false, true] {
                let mut c = before.pixels.clone();
                multiply(
                    Arch::new(),
                    Rows::all(&a.pixels, rows + 5).part(4, rows),
                    Rows::all(&b.pixels, inner),
                    blocks(columns),
                    RowsMut::all(&mut c, rows + 3).part(2, rows),
                    accumulate,
                );
                let expected: Vec<f64> = (0..rows)
                    .flat_map(|row| (0..columns).map(move |column| (row, column)))
                    .map(|(row, column)| {
                        let sum: f64 = (0..inner).map(|k| a.at(row + 4, k) * b.at(k, column)).sum();
                        sum + if accumulate { before.at(row + 2, column) } else { 0.0 }
                    })
                    .collect();
                let found = read(&c, rows + 3, 2..rows + 2, columns);
                assert_all_close(&found, &expected, 0.0, 40.0 * F64_SUMS);
                // Rows around them stay.
                let around = |pixels: &[Pixel<f64>]| {
                    [read(pixels, rows + 3, 0..2, columns), read(pixels, rows + 3, rows + 2..rows + 3, columns)]
                };
                assert_eq!(around(&c), around(&before.pixels));
            }
        }
    }

    #[test]
    fn transposed_products_equal_the_plain_ones() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for (rows, left, right) in [(1, 1, 1), (3, 8, 16), (40, 13, 33), (300, 19, 49), (700, 40, 32)] {
            let (a, b) = (Matrix::random(rows + 5, left, &mut rng), Matrix::random(rows + 2, right, &mut rng));
            let before = Matrix::random(left, right, &mut rng);
            for accumulate in [false, true] {
                let mut c = before.pixels.clone();
                let (a_rows, b_rows) = (Rows::all(&a.pixels, rows + 5), Rows::all(&b.pixels, rows + 2));
                multiply_transposed(Arch::new(), a_rows.part(4, rows), left, b_rows.part(1, rows), &mut c, accumulate);
                let expected: Vec<f64> = (0..left)
                    .flat_map(|i| (0..right).map(move |j| (i, j)))
                    .map(|(i, j)| {
                        let sum: f64 = (0..rows).map(|row| a.at(row + 4, i) * b.at(row + 1, j)).sum();
                        sum + if accumulate { before.at(i, j) } else { 0.0 }
                    })
                    .collect();
                assert_all_close(&read(&c, left, 0..left, right), &expected, 0.0, 40.0 * F64_SUMS);
            }
        }
    }

    #[test]
    fn transposed_matrices_are_transposed() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        for (rows, columns) in [(1, 1), (16, 16), (19, 40), (33, 7)] {
            let matrix = Matrix::random(rows, columns, &mut rng);
            let mut out = vec![Pixel::default(); blocks(rows) * columns];
            // In two parts, as threads do.
            let (one, other) = out.split_at_mut(columns);
            transpose(&matrix.pixels, rows, columns, 0, one);
            transpose(&matrix.pixels, rows, columns, 1, other);
            let expected: Vec<f64> = (0..columns)
                .flat_map(|column| (0..rows).map(move |row| (row, column)))
                .map(|(r, c)| matrix.at(r, c))
                .collect();
            assert_eq!(read(&out, columns, 0..columns, rows), expected);
            // Beyond the rows there is nothing.
            let last = &out[(blocks(rows) - 1) * columns..];
            assert!(last.iter().all(|pixel| pixel.0[(rows - 1) % LANES + 1..].iter().all(|number| *number == 0.0)));
        }
    }

    /// A number of a product does not depend on how many rows and panels are multiplied with it.
    #[test]
    fn products_do_not_depend_on_their_size() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let number = |rng: &mut ChaCha8Rng| Pixel(std::array::from_fn(|_| rng.random_range(-1.0f32..1.0)));
        let (rows, inner, panels) = (21, 900, 5);
        let a: Vec<Pixel<f32>> = (0..blocks(inner) * rows).map(|_| number(&mut rng)).collect();
        let b: Vec<Pixel<f32>> = (0..panels * inner).map(|_| number(&mut rng)).collect();
        let product = |first: usize, count: usize, panel: usize, panels: usize| {
            let mut c = vec![Pixel::default(); panels * count];
            let (left, right) = (Rows::all(&a, rows).part(first, count), Rows::all(&b[panel * inner..], inner));
            multiply(Arch::new(), left, right, panels, RowsMut::all(&mut c, count), false);
            c
        };
        let whole = product(0, rows, 0, panels);
        for (first, count, panel) in [(0, 8, 0), (3, 5, 4), (20, 1, 1), (7, 14, 3)] {
            let part = product(first, count, panel, 1);
            assert_eq!(part, whole[panel * rows + first..][..count]);
        }
    }
}
