//! Convolution 3×3 of stride 1 by minimal filtering: 16 multiplications for 2×2 results instead of 36.
//!
//! # Formula
//! For a tile `d` of 4×4 numbers of the image, filters `g` and 2×2 results `y` (Winograd, 1980; Lavin, Gray, 2016, F(2×2, 3×3), the
//! last row of `B` and of `A` with the other sign):
//!
//! ```text
//! y = Aᵀ ((G g Gᵀ) ⊙ (Bᵀ d B)) A      ∂L/∂g = Gᵀ ((Bᵀ d B) ⊙ (A ∂L/∂y Aᵀ)) G
//!
//!      1  0 −1  0          1  0  0
//! Bᵀ = 0  1  1  0      G = ½  ½  ½      Aᵀ = 1  1  1  0
//!      0 −1  1  0          ½ −½  ½           0  1 −1  1
//!      0 −1  0  1          0  0  1
//! ```
//!
//! The gradient of the input is the same convolution of the gradient with exchanged and mirrored filters. At each of the 16 points
//! of a tile what remains is a product of matrices: tiles × input channels and input channels × output channels; for the gradient
//! of the weights, input channels × tiles and tiles × output channels.
//!
//! The transforms are sums of few numbers with factors of one and a half, so that rounding grows little; larger tiles save more
//! and round worse. The direct convolution in [`super::convolution`] is the one to compare with.
//!
//! # What was measured
//! A weight step with the cell of 3×3 convolutions, the paper's network, 64 images, one thread of a processor with 285 GFLOP/s.
//!
//! | | ms | |
//! | --- | --- | --- |
//! | direct | 388 | 322 of them in convolutions, at 262 GFLOP/s |
//! | transforms as closures | 607 | not inlined, they lose the instruction set; the products alone would take 195 |
//! | transforms as functions, points apart, whole images in gradients of weights | – | 16 addresses and bound checks a tile; gathering tiles a fifth of the convolutions |
//! | points of a tile together, gradients of weights in strips of the cache's size | 291 | |

use pulp::{Arch, Simd, WithSimd};

use super::convolution::{Convolution, Grid, Mask, Masked, Place, Sink, Store};
use super::{LANES, Pixel, Size, blocks, vectors_per_pixel};
use crate::Element;

/// Numbers of a tile.
const POINTS: usize = 16;
/// Tiles that are worked on at once in a correlation: a tile of registers, and with their filters about the first-level cache.
const STRIP: usize = 16;
/// Tiles whose products are summed up at once in a gradient of weights, of several images if they are so small: enough that
/// reading and writing the sums does not show.
const GROUP: usize = 32;

/// A convolution that is computed this way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Winograd {
    inputs: usize,
    outputs: usize,
    size: Size,
    /// Most images that are worked on together.
    images: usize,
}

/// What a tile has at its points, of one block of channels: together, so that a transform reads or writes one piece of memory.
type Tile<T> = [Pixel<T>; POINTS];

/// Room for one convolution at work.
#[derive(Debug)]
pub(crate) struct Room<T> {
    /// Of a strip of the input, `[input blocks, tiles]`.
    numbers: Vec<Tile<T>>,
    /// Of a strip of the output, `[output blocks, tiles]`.
    results: Vec<Tile<T>>,
    /// Of a group of inputs, `[input blocks, tiles]`.
    inputs: Vec<Tile<T>>,
    /// Of a group of gradients, `[output blocks, tiles]`.
    gradients: Vec<Tile<T>>,
    /// Gradients of filters, `[points, input blocks, LANES, output blocks]`.
    filters: Vec<Pixel<T>>,
}

/// Lengths of a [`Room`]: strip and group in tiles, filters in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lengths {
    strip: usize,
    group: usize,
    filters: usize,
}

impl Lengths {
    /// Enough for both.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            strip: self.strip.max(other.strip),
            group: self.group.max(other.group),
            filters: self.filters.max(other.filters),
        }
    }

    /// In pixels.
    pub(crate) fn sum(self) -> usize {
        2 * POINTS * (self.strip + self.group) + self.filters
    }
}

impl<T: Element> Room<T> {
    pub(crate) fn new(lengths: Lengths) -> Self {
        Self::filled(lengths, T::zero())
    }

    /// With the same number everywhere; nothing depends on it.
    pub(crate) fn filled(lengths: Lengths, number: T) -> Self {
        let pixel = Pixel([number; LANES]);
        let tiles = |length: usize| vec![[pixel; POINTS]; length];
        Self {
            numbers: tiles(lengths.strip),
            results: tiles(lengths.strip),
            inputs: tiles(lengths.group),
            gradients: tiles(lengths.group),
            filters: vec![pixel; lengths.filters],
        }
    }
}

impl Winograd {
    /// For kernel 3 and stride 1 on images of even height and width. With few channels the transforms cost more than they save.
    /// `images`: how many are worked on together at most.
    pub(crate) fn of(convolution: &Convolution, images: usize) -> Option<Self> {
        let Convolution { inputs, outputs, kernel, stride, size } = *convolution;
        let fits = kernel == 3 && stride == 1 && size.height.is_multiple_of(2) && size.width.is_multiple_of(2);
        (fits && inputs.min(outputs) >= LANES / 2).then_some(Self { inputs, outputs, size, images })
    }

    /// Height and width in tiles.
    fn tiles(&self) -> Size {
        Size { height: self.size.height / 2, width: self.size.width / 2 }
    }

    /// Images whose gradients of weights are summed up together, and the rows of tiles of an image that are.
    fn group(&self) -> (usize, usize) {
        let tiles = self.tiles();
        ((GROUP / tiles.pixels()).clamp(1, self.images), (GROUP / tiles.width).clamp(1, tiles.height))
    }

    /// Rows of tiles that are worked on at once.
    fn strip(&self) -> usize {
        (STRIP / self.tiles().width).max(1)
    }

    /// Tiles of a group.
    fn pitch(&self) -> usize {
        let (images, rows) = self.group();
        images * rows * self.tiles().width
    }

    pub(crate) fn lengths(&self) -> Lengths {
        let tiles = self.tiles();
        // The gradient of the input has the roles exchanged.
        let most = blocks(self.inputs.max(self.outputs));
        Lengths {
            strip: most * self.strip().min(tiles.height) * tiles.width,
            group: most * self.pitch(),
            filters: self.filters(),
        }
    }

    /// Length of the transformed filters in pixels.
    pub(crate) fn filters(&self) -> usize {
        POINTS * blocks(self.inputs) * LANES * blocks(self.outputs)
    }

    /// Writes the filters of the forward pass, `[points, input blocks, LANES, output blocks]`, from the weights.
    pub(crate) fn transform<T: Element>(&self, arch: Arch, weights: &[Pixel<T>], out: &mut [Pixel<T>]) {
        let row = LANES * blocks(self.outputs);
        arch.dispatch(Transform { weights, row, mirrored: false, out: &mut out[..self.filters()] });
    }

    /// Writes the filters of the gradient of the input from the weights with inputs and outputs exchanged.
    pub(crate) fn transform_back<T: Element>(&self, arch: Arch, transposed: &[Pixel<T>], out: &mut [Pixel<T>]) {
        let row = LANES * blocks(self.inputs);
        arch.dispatch(Transform { weights: transposed, row, mirrored: true, out: &mut out[..self.filters()] });
    }

    /// As [`Convolution::forward`], with transformed filters.
    pub(crate) fn forward<T: Element>(
        &self,
        arch: Arch,
        input: &[Pixel<T>],
        border: usize,
        filters: &[Pixel<T>],
        room: &mut Room<T>,
        output: &mut [Pixel<T>],
    ) {
        arch.dispatch(Correlate { winograd: *self, input, border, filters, room, sink: Store(output) });
    }

    /// As [`Convolution::input_gradient`], with the filters that are transformed for it.
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn input_gradient<T: Element>(
        &self,
        arch: Arch,
        gradient: &[Pixel<T>],
        filters: &[Pixel<T>],
        relu: Option<(&[Pixel<T>], usize)>,
        room: &mut Room<T>,
        out: &mut [Pixel<T>],
        fresh: bool,
    ) {
        let winograd = Self { inputs: self.outputs, outputs: self.inputs, ..*self };
        let mask = relu.map(|(input, border)| Mask::new(input, self.size, border).grid(0, 0, 1));
        let sink = Masked { out, mask, fresh };
        arch.dispatch(Correlate { winograd, input: gradient, border: 1, filters, room, sink });
    }

    /// Adds up the gradient of the weights in the room, image by image from 0 to the last one, at most as many as are worked on
    /// together; input and gradient as in [`Convolution::weight_gradient`].
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn weight_gradient<T: Element>(
        &self,
        arch: Arch,
        image: usize,
        last: bool,
        input: &[Pixel<T>],
        border: usize,
        gradient: &[Pixel<T>],
        room: &mut Room<T>,
    ) {
        arch.dispatch(WeightGradient { winograd: *self, image, last, input, border, gradient, room });
    }

    /// Writes the gradient of the weights that was added up.
    pub(crate) fn finish<T: Element>(&self, arch: Arch, room: &Room<T>, out: &mut [Pixel<T>]) {
        let row = LANES * blocks(self.outputs);
        arch.dispatch(Finish { filters: &room.filters[..self.filters()], row, out });
    }
}

// The transforms of rows and columns are functions: a closure that is not inlined loses the instruction set, and each of its
// operations becomes a call.

/// `G g`
#[inline(always)]
fn spread_filter<S: Simd, T: Element>(simd: S, half: T::Vector<S>, [a, b, c]: [T::Vector<S>; 3]) -> [T::Vector<S>; 4] {
    let outer = T::plus(simd, a, c);
    [a, T::times(simd, T::plus(simd, outer, b), half), T::times(simd, T::minus(simd, outer, b), half), c]
}

/// `Gᵀ u`
#[inline(always)]
fn gather_filter<S: Simd, T: Element>(
    simd: S,
    half: T::Vector<S>,
    [a, b, c, d]: [T::Vector<S>; 4],
) -> [T::Vector<S>; 3] {
    let (sum, difference) = (T::plus(simd, b, c), T::minus(simd, b, c));
    [T::fma(simd, sum, half, a), T::times(simd, difference, half), T::fma(simd, sum, half, d)]
}

/// `Bᵀ d`
#[inline(always)]
fn spread_numbers<S: Simd, T: Element>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 4] {
    [T::minus(simd, a, c), T::plus(simd, b, c), T::minus(simd, c, b), T::minus(simd, d, b)]
}

/// `Aᵀ m`
#[inline(always)]
fn gather_results<S: Simd, T: Element>(simd: S, [a, b, c, d]: [T::Vector<S>; 4]) -> [T::Vector<S>; 2] {
    [T::plus(simd, a, T::plus(simd, b, c)), T::plus(simd, d, T::minus(simd, b, c))]
}

/// `A y`
#[inline(always)]
fn spread_results<S: Simd, T: Element>(simd: S, [a, b]: [T::Vector<S>; 2]) -> [T::Vector<S>; 4] {
    [a, T::plus(simd, a, b), T::minus(simd, a, b), b]
}

/// `Bᵀ d` of the `index`-th two columns.
#[inline(always)]
fn columns<S: Simd, T: Element>(
    simd: S,
    rows: &[&[[Pixel<T>; 2]]; 4],
    index: usize,
    vector: usize,
) -> [[T::Vector<S>; 4]; 2] {
    let [a, b, c, d] = rows;
    let pairs = [&a[index], &b[index], &c[index], &d[index]];
    let mut columns = [[T::splat(simd, T::zero()); 4]; 2];
    for (x, column) in columns.iter_mut().enumerate() {
        for (value, pair) in column.iter_mut().zip(pairs) {
            *value = pair[x].vector::<S>(vector);
        }
        *column = spread_numbers::<S, T>(simd, *column);
    }
    columns
}

/// `G g Gᵀ` of every filter: weights `[blocks, 9, row]` to `[points, blocks, row]`.
struct Transform<'a, T> {
    weights: &'a [Pixel<T>],
    row: usize,
    mirrored: bool,
    out: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Transform<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weights, row, mirrored, out } = self;
        let half = T::splat(simd, T::of(0.5));
        let point = out.len() / POINTS;
        for (block, filters) in weights.chunks_exact(9 * row).enumerate() {
            for place in 0..row {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let mut columns = [[half; 4]; 3];
                    for (x, column) in columns.iter_mut().enumerate() {
                        let mut taps = [half; 3];
                        for (y, tap) in taps.iter_mut().enumerate() {
                            let index = if mirrored { 8 - (3 * y + x) } else { 3 * y + x };
                            *tap = filters[index * row + place].vector::<S>(vector);
                        }
                        *column = spread_filter::<S, T>(simd, half, taps);
                    }
                    let [a, b, c] = columns;
                    for y in 0..4 {
                        let values = spread_filter::<S, T>(simd, half, [a[y], b[y], c[y]]);
                        for (x, value) in values.into_iter().enumerate() {
                            *out[(4 * y + x) * point + block * row + place].vector_mut::<S>(vector) = value;
                        }
                    }
                }
            }
        }
    }
}

/// `Gᵀ u G` of the gradient at every point: `[points, blocks, row]` to `[blocks, 9, row]`.
struct Finish<'a, T> {
    filters: &'a [Pixel<T>],
    row: usize,
    out: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { filters, row, out } = self;
        let half = T::splat(simd, T::of(0.5));
        let point = filters.len() / POINTS;
        for (block, out) in out.chunks_exact_mut(9 * row).enumerate() {
            for place in 0..row {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let mut columns = [[half; 3]; 4];
                    for (x, column) in columns.iter_mut().enumerate() {
                        let mut points = [half; 4];
                        for (y, value) in points.iter_mut().enumerate() {
                            *value = filters[(4 * y + x) * point + block * row + place].vector::<S>(vector);
                        }
                        *column = gather_filter::<S, T>(simd, half, points);
                    }
                    let [a, b, c, d] = columns;
                    for y in 0..3 {
                        let values = gather_filter::<S, T>(simd, half, [a[y], b[y], c[y], d[y]]);
                        for (x, value) in values.into_iter().enumerate() {
                            *out[(3 * y + x) * row + place].vector_mut::<S>(vector) = value;
                        }
                    }
                }
            }
        }
    }
}

/// Writes `Bᵀ d B` of some rows of tiles of a plane. Rows of the plane are `pitch` long, the first tile begins with its first
/// pixel.
#[inline(always)]
fn spread_input<S: Simd, T: Element>(simd: S, plane: &[Pixel<T>], pitch: usize, tiles: Size, out: &mut [Tile<T>]) {
    for (row, out) in out[..tiles.pixels()].chunks_exact_mut(tiles.width).enumerate() {
        let rows: [&[[Pixel<T>; 2]]; 4] =
            std::array::from_fn(|y| plane[(2 * row + y) * pitch..][..2 * tiles.width + 2].as_chunks().0);
        for vector in 0..vectors_per_pixel::<S, T>() {
            // Neighbouring tiles share two columns.
            let mut left = columns(simd, &rows, 0, vector);
            for (tile, out) in out.iter_mut().enumerate() {
                let right = columns(simd, &rows, tile + 1, vector);
                for y in 0..4 {
                    let values = spread_numbers::<S, T>(simd, [left[0][y], left[1][y], right[0][y], right[1][y]]);
                    for (x, value) in values.into_iter().enumerate() {
                        *out[4 * y + x].vector_mut::<S>(vector) = value;
                    }
                }
                left = right;
            }
        }
    }
}

/// Sums over channels at every point of every tile, and what becomes of them in the output.
struct Correlate<'a, T, K> {
    winograd: Winograd,
    input: &'a [Pixel<T>],
    border: usize,
    filters: &'a [Pixel<T>],
    room: &'a mut Room<T>,
    sink: K,
}

impl<T: Element, K: Sink<T>> WithSimd for Correlate<'_, T, K> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Winograd { inputs, outputs, size, .. } = self.winograd;
        let (all, inputs, outputs) = (self.winograd.tiles(), blocks(inputs), blocks(outputs));
        let bordered = size.bordered(self.border);
        let corner = (self.border - 1) * (bordered.width + 1);
        let rows = self.winograd.strip();
        for top in (0..all.height).step_by(rows) {
            let tiles = Size { height: rows.min(all.height - top), width: all.width };
            let count = tiles.pixels();
            for (block, plane) in self.input.chunks_exact(bordered.pixels()).take(inputs).enumerate() {
                let plane = &plane[corner + 2 * top * bordered.width..];
                spread_input(simd, plane, bordered.width, tiles, &mut self.room.numbers[block * count..]);
            }
            self.multiply(simd, count);
            for block in 0..outputs {
                for row in 0..tiles.height {
                    for tile in 0..tiles.width {
                        for vector in 0..vectors_per_pixel::<S, T>() {
                            let index = block * count + row * tiles.width + tile;
                            let place = Place { block, y: 2 * (top + row), x: 2 * tile, vector };
                            self.put(simd, index, place);
                        }
                    }
                }
            }
        }
    }
}

impl<T: Element, K: Sink<T>> Correlate<'_, T, K> {
    /// At every point, tiles × input channels times input channels × output channels.
    #[inline(always)]
    fn multiply<S: Simd>(&mut self, simd: S, count: usize) {
        let vectors = blocks(self.winograd.outputs) * vectors_per_pixel::<S, T>();
        if S::REGISTER_COUNT >= 32 {
            if vectors.is_multiple_of(2) {
                self.tiles::<S, 8, 2>(simd, count, vectors);
            } else {
                self.tiles::<S, 16, 1>(simd, count, vectors);
            }
        } else if vectors.is_multiple_of(2) {
            self.tiles::<S, 4, 2>(simd, count, vectors);
        } else {
            self.tiles::<S, 8, 1>(simd, count, vectors);
        }
    }

    /// Register tiles of `P` tiles and `V` vectors of output channels.
    #[inline(always)]
    fn tiles<S: Simd, const P: usize, const V: usize>(&mut self, simd: S, count: usize, vectors: usize) {
        for point in 0..POINTS {
            for first in (0..vectors).step_by(V) {
                let mut tile = 0;
                while tile + P <= count {
                    self.product::<S, P, V>(simd, point, count, first, tile);
                    tile += P;
                }
                while tile + 4 <= count {
                    self.product::<S, 4, V>(simd, point, count, first, tile);
                    tile += 4;
                }
                while tile < count {
                    self.product::<S, 1, V>(simd, point, count, first, tile);
                    tile += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn product<S: Simd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        point: usize,
        count: usize,
        first: usize,
        tile: usize,
    ) {
        let per_pixel = vectors_per_pixel::<S, T>();
        let inputs = self.winograd.inputs;
        let outputs = blocks(self.winograd.outputs);
        let mut sums = [[T::splat(simd, T::zero()); V]; P];
        for block in 0..blocks(inputs) {
            let channels = (inputs - block * LANES).min(LANES);
            let tiles = &self.room.numbers[block * count + tile..][..P];
            let rows = self.filters[(point * blocks(inputs) + block) * LANES * outputs..][..LANES * outputs]
                .chunks_exact(outputs);
            for (channel, row) in rows.enumerate().take(channels) {
                let weights: [T::Vector<S>; V] =
                    std::array::from_fn(|v| row[(first + v) / per_pixel].vector::<S>((first + v) % per_pixel));
                for (sums, tile) in sums.iter_mut().zip(tiles) {
                    let number = T::splat(simd, tile[point].0[channel & (LANES - 1)]);
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = T::fma(simd, weight, number, *sum);
                    }
                }
            }
        }
        for v in 0..V {
            let out = &mut self.room.results[(first + v) / per_pixel * count + tile..][..P];
            for (out, sums) in out.iter_mut().zip(&sums) {
                *out[point].vector_mut::<S>((first + v) % per_pixel) = sums[v];
            }
        }
    }

    /// `Aᵀ m A` of a tile.
    #[inline(always)]
    fn put<S: Simd>(&mut self, simd: S, index: usize, place: Place) {
        let zero = T::splat(simd, T::zero());
        let tile = &self.room.results[index];
        let mut columns = [[zero; 2]; 4];
        for (x, column) in columns.iter_mut().enumerate() {
            let mut results = [zero; 4];
            for (y, result) in results.iter_mut().enumerate() {
                *result = tile[4 * y + x].vector::<S>(place.vector);
            }
            *column = gather_results::<S, T>(simd, results);
        }
        let [a, b, c, d] = columns;
        let size = self.winograd.size;
        let grid = Grid { plane: size.pixels(), pitch: size.width, step: 1, first: 0 };
        for y in 0..2 {
            let sums = gather_results::<S, T>(simd, [a[y], b[y], c[y], d[y]]);
            for (x, sum) in sums.into_iter().enumerate() {
                self.sink.put(simd, &grid, Place { y: place.y + y, x: place.x + x, ..place }, sum);
            }
        }
    }
}

struct WeightGradient<'a, T> {
    winograd: Winograd,
    image: usize,
    last: bool,
    input: &'a [Pixel<T>],
    border: usize,
    gradient: &'a [Pixel<T>],
    room: &'a mut Room<T>,
}

impl<T: Element> WithSimd for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let all = self.winograd.tiles();
        let (images, rows) = self.winograd.group();
        let place = self.image % images;
        for top in (0..all.height).step_by(rows) {
            let tiles = Size { height: rows.min(all.height - top), width: all.width };
            let first = place * tiles.pixels();
            self.gather(simd, top, tiles, first);
            if self.last || place + 1 == images {
                self.accumulate(simd, first + tiles.pixels(), self.image == place && top == 0);
            }
        }
    }
}

/// Writes `A ∂L/∂y Aᵀ` of some rows of tiles of a plane, otherwise as [`spread_input`].
#[inline(always)]
fn spread_gradient<S: Simd, T: Element>(simd: S, plane: &[Pixel<T>], pitch: usize, tiles: Size, out: &mut [Tile<T>]) {
    for (row, out) in out[..tiles.pixels()].chunks_exact_mut(tiles.width).enumerate() {
        let [upper, lower]: [&[[Pixel<T>; 2]]; 2] =
            std::array::from_fn(|y| plane[(2 * row + y) * pitch..][..2 * tiles.width].as_chunks().0);
        for ((upper, lower), out) in upper.iter().zip(lower).zip(out) {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let left = [upper[0].vector::<S>(vector), lower[0].vector::<S>(vector)];
                let right = [upper[1].vector::<S>(vector), lower[1].vector::<S>(vector)];
                let [left, right] = [spread_results::<S, T>(simd, left), spread_results::<S, T>(simd, right)];
                for y in 0..4 {
                    let values = spread_results::<S, T>(simd, [left[y], right[y]]);
                    for (x, value) in values.into_iter().enumerate() {
                        *out[4 * y + x].vector_mut::<S>(vector) = value;
                    }
                }
            }
        }
    }
}

impl<T: Element> WeightGradient<'_, T> {
    /// Transforms some rows of tiles into their place in the group.
    #[inline(always)]
    fn gather<S: Simd>(&mut self, simd: S, top: usize, tiles: Size, first: usize) {
        let Winograd { inputs, outputs, size, .. } = self.winograd;
        let (inputs, outputs, pitch) = (blocks(inputs), blocks(outputs), self.winograd.pitch());
        let Room { inputs: numbers, gradients, .. } = &mut *self.room;
        let bordered = size.bordered(self.border);
        let corner = (self.border - 1) * (bordered.width + 1) + 2 * top * bordered.width;
        for (block, plane) in self.input.chunks_exact(bordered.pixels()).take(inputs).enumerate() {
            let out = &mut numbers[block * pitch + first..];
            spread_input(simd, &plane[corner..], bordered.width, tiles, out);
        }
        let bordered = size.bordered(1);
        let corner = (2 * top + 1) * bordered.width + 1;
        for (block, plane) in self.gradient.chunks_exact(bordered.pixels()).take(outputs).enumerate() {
            let out = &mut gradients[block * pitch + first..];
            spread_gradient(simd, &plane[corner..], bordered.width, tiles, out);
        }
    }

    /// Adds up the products of the first tiles of a group; the first time, `fresh`, in place of what is there.
    #[inline(always)]
    fn accumulate<S: Simd>(&mut self, simd: S, tiles: usize, fresh: bool) {
        let vectors = blocks(self.winograd.outputs) * vectors_per_pixel::<S, T>();
        if S::REGISTER_COUNT >= 32 {
            if vectors.is_multiple_of(2) {
                self.products::<S, 8, 2>(simd, vectors, tiles, fresh);
            } else {
                self.products::<S, 16, 1>(simd, vectors, tiles, fresh);
            }
        } else if vectors.is_multiple_of(2) {
            self.products::<S, 4, 2>(simd, vectors, tiles, fresh);
        } else {
            self.products::<S, 8, 1>(simd, vectors, tiles, fresh);
        }
    }

    /// At every point, input channels × tiles times tiles × output channels: register tiles of `P` input channels and `V` vectors
    /// of output channels.
    #[inline(always)]
    fn products<S: Simd, const P: usize, const V: usize>(
        &mut self,
        simd: S,
        vectors: usize,
        tiles: usize,
        fresh: bool,
    ) {
        let per_pixel = vectors_per_pixel::<S, T>();
        let Winograd { inputs, outputs, .. } = self.winograd;
        let outputs = blocks(outputs);
        let Room { inputs: numbers, gradients: results, filters, .. } = &mut *self.room;
        let pitch = self.winograd.pitch();
        for point in 0..POINTS {
            for block in 0..blocks(inputs) {
                let channels = (inputs - block * LANES).min(LANES);
                let row = point * blocks(inputs) + block;
                let numbers = &numbers[block * pitch..][..tiles];
                let out = &mut filters[row * LANES * outputs..][..LANES * outputs];
                if fresh {
                    out[channels.next_multiple_of(P) * outputs..].fill(Pixel::default());
                }
                for first in (0..vectors).step_by(V) {
                    let place: [(usize, usize); V] =
                        std::array::from_fn(|v| ((first + v) / per_pixel, (first + v) % per_pixel));
                    let results: [&[Tile<T>]; V] = std::array::from_fn(|v| &results[place[v].0 * pitch..][..tiles]);
                    for part in 0..channels.div_ceil(P) {
                        let mut sums = [[T::splat(simd, T::zero()); V]; P];
                        for tile in 0..tiles {
                            let numbers = &numbers[tile][point].0.as_chunks::<P>().0[part];
                            let slopes: [T::Vector<S>; V] =
                                std::array::from_fn(|v| results[v][tile][point].vector::<S>(place[v].1));
                            for (sums, &number) in sums.iter_mut().zip(numbers) {
                                let number = T::splat(simd, number);
                                for (sum, slope) in sums.iter_mut().zip(slopes) {
                                    *sum = T::fma(simd, slope, number, *sum);
                                }
                            }
                        }
                        for (p, sums) in sums.into_iter().enumerate() {
                            for (v, sum) in sums.into_iter().enumerate() {
                                let out = out[(part * P + p) * outputs + place[v].0].vector_mut::<S>(place[v].1);
                                *out = if fresh { sum } else { T::plus(simd, *out, sum) };
                            }
                        }
                    }
                }
            }
        }
    }
}
