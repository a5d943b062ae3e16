//! Convolution without bias: forward pass, gradient of the input, gradient of the weights.
//!
//! All three are direct: a tile of sums stays in registers while the sum runs over input channels and taps (over pixels for the
//! weights), one vector of weights times one number of the image at a time. Forward pass and gradient of the input are the same
//! loop over different taps ([`correlate`]): the gradient of a convolution with stride 2 is four convolutions, one per parity of
//! row and column, with the taps that reach it.
//!
//! Images come with a border of zeros, so that no tap needs a test.
//!
//! Weights are `[input blocks, taps, LANES input channels, output blocks, LANES]`.

use pulp::{Arch, Simd, WithSimd};

use super::{LANES, Pixel, Size, blocks, vectors_per_pixel};
use crate::Element;

/// One convolution: sizes, and where its weights lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Convolution {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    /// Height and width of the filters, odd; the padding is half of it.
    pub(crate) kernel: usize,
    /// 1 or 2.
    pub(crate) stride: usize,
    /// Height and width of the input.
    pub(crate) size: Size,
}

/// The taps that take part in a sum, a grid: tap `(i, j)` has number `index + i · index_steps[0] + j · index_steps[1]` among the
/// weights' taps, and reads the pixel `offset + i · offset_steps[0] + j · offset_steps[1]` from the one of the output.
#[derive(Clone, Copy)]
struct Taps {
    rows: usize,
    columns: usize,
    index: usize,
    index_steps: [usize; 2],
    offset: usize,
    offset_steps: [isize; 2],
}

impl Convolution {
    pub(crate) fn padding(&self) -> usize {
        self.kernel / 2
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Height and width of the output.
    pub(crate) fn output(&self) -> Size {
        Size { height: self.size.height.div_ceil(self.stride), width: self.size.width.div_ceil(self.stride) }
    }

    pub(crate) fn input_blocks(&self) -> usize {
        blocks(self.inputs)
    }

    pub(crate) fn output_blocks(&self) -> usize {
        blocks(self.outputs)
    }

    /// Length of the weights in pixels.
    pub(crate) fn weights(&self) -> usize {
        self.input_blocks() * self.taps() * LANES * self.output_blocks()
    }

    /// Length of the weights as [`Convolution::transpose`] writes them, in pixels.
    pub(crate) fn transposed_weights(&self) -> usize {
        self.output_blocks() * self.taps() * LANES * self.input_blocks()
    }

    /// Exchanges input and output channels: `[output blocks, taps, LANES output channels, input blocks, LANES]`.
    pub(crate) fn transpose<T: Element>(&self, weights: &[Pixel<T>], transposed: &mut [Pixel<T>]) {
        let (inputs, outputs, taps) = (self.input_blocks(), self.output_blocks(), self.taps());
        for input in 0..inputs {
            for tap in 0..taps {
                for output in 0..outputs {
                    for lane in 0..LANES {
                        let row = weights[((input * taps + tap) * LANES + lane) * outputs + output].0;
                        for (column, value) in row.into_iter().enumerate() {
                            transposed[((output * taps + tap) * LANES + column) * inputs + input].0[lane] = value;
                        }
                    }
                }
            }
        }
    }

    /// Forward pass of one image.
    ///
    /// `input`: `[input blocks, height, width]` with a border of at least the padding; `output`: `[output blocks, height, width]`.
    pub(crate) fn forward<T: Element>(
        &self,
        arch: Arch,
        input: &[Pixel<T>],
        border: usize,
        weights: &[Pixel<T>],
        output: &mut [Pixel<T>],
    ) {
        let bordered = self.size.bordered(border);
        let shift = border - self.padding();
        let taps = Taps {
            rows: self.kernel,
            columns: self.kernel,
            index: 0,
            index_steps: [self.kernel, 1],
            offset: shift * (bordered.width + 1),
            offset_steps: [bordered.width as isize, 1],
        };
        let size = self.output();
        let correlation = Correlation {
            plane: bordered.pixels(),
            pitch: bordered.width,
            inputs: self.inputs,
            taps,
            all_taps: self.taps(),
            output_blocks: self.output_blocks(),
            size,
            output: Grid { plane: size.pixels(), pitch: size.width, step: 1, first: 0 },
        };
        let sink = Store(output);
        if self.stride == 1 {
            arch.dispatch(Correlate::<_, _, 1> { correlation, input, weights, sink });
        } else {
            arch.dispatch(Correlate::<_, _, 2> { correlation, input, weights, sink });
        }
    }

    /// For the pixels of the input with a remainder: the bordered output pixel that the first tap reads for the first of them, and
    /// the number of that tap.
    fn reach(&self, remainder: usize) -> (usize, usize) {
        let place = remainder + self.padding();
        (place / self.stride + self.padding(), place % self.stride)
    }

    /// Gradient with respect to the input of one image, through the ReLU in front of the convolution if `relu` is given: the
    /// input with its border, whose positive numbers let the gradient through.
    ///
    /// `gradient`: of the output, `[output blocks, height, width]` with a border of the padding. `out`: `[input blocks, height,
    /// width]`, overwritten if `fresh`, else added to.
    pub(crate) fn input_gradient<T: Element>(
        &self,
        arch: Arch,
        gradient: &[Pixel<T>],
        transposed: &[Pixel<T>],
        relu: Option<(&[Pixel<T>], usize)>,
        out: &mut [Pixel<T>],
        fresh: bool,
    ) {
        let border = self.padding();
        let bordered = self.output().bordered(border);
        let mask = relu.map(|(input, border)| Mask::new(input, self.size, border));
        // Rows and columns of the input by their remainder. Tap k sends the gradient of output pixel (pixel + padding − k) / stride,
        // where that is whole.
        for row in 0..self.stride.min(self.size.height) {
            for column in 0..self.stride.min(self.size.width) {
                let ((y, ky), (x, kx)) = (self.reach(row), self.reach(column));
                let count = |first: usize| self.kernel.saturating_sub(first).div_ceil(self.stride);
                let taps = Taps {
                    rows: count(ky),
                    columns: count(kx),
                    index: ky * self.kernel + kx,
                    index_steps: [self.stride * self.kernel, self.stride],
                    offset: y * bordered.width + x,
                    offset_steps: [-(bordered.width as isize), -1],
                };
                let size = Size {
                    height: (self.size.height - row).div_ceil(self.stride),
                    width: (self.size.width - column).div_ceil(self.stride),
                };
                let correlation = Correlation {
                    plane: bordered.pixels(),
                    pitch: bordered.width,
                    inputs: self.outputs,
                    taps,
                    all_taps: self.taps(),
                    output_blocks: self.input_blocks(),
                    size,
                    output: Grid {
                        plane: self.size.pixels(),
                        pitch: self.size.width * self.stride,
                        step: self.stride,
                        first: row * self.size.width + column,
                    },
                };
                let mask = mask.map(|mask| mask.grid(row, column, self.stride));
                let sink = Masked { out: &mut *out, mask, fresh };
                arch.dispatch(Correlate::<_, _, 1> { correlation, input: gradient, weights: transposed, sink });
            }
        }
    }

    /// Adds the gradient of the weights of one image to `out`.
    ///
    /// `input`: `[input blocks, height, width]` with a border of at least the padding; `gradient`: of the output, with a border
    /// of the padding.
    pub(crate) fn weight_gradient<T: Element>(
        &self,
        arch: Arch,
        input: &[Pixel<T>],
        border: usize,
        gradient: &[Pixel<T>],
        out: &mut [Pixel<T>],
    ) {
        let task = WeightGradient { convolution: *self, input, border, gradient, out };
        arch.dispatch(task);
    }
}

/// Where the results of a correlation go: pixel `(y, x)` of block `b` is at `b · plane + first + y · pitch + x · step`.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) plane: usize,
    pub(super) pitch: usize,
    pub(super) step: usize,
    pub(super) first: usize,
}

/// The input of a ReLU with its border.
#[derive(Clone, Copy)]
pub(super) struct Mask<'a, T> {
    input: &'a [Pixel<T>],
    bordered: Size,
    border: usize,
}

impl<'a, T> Mask<'a, T> {
    pub(super) fn new(input: &'a [Pixel<T>], size: Size, border: usize) -> Self {
        Self { input, bordered: size.bordered(border), border }
    }

    /// Every `step`-th pixel in both directions, from one on.
    pub(super) fn grid(self, row: usize, column: usize, step: usize) -> MaskGrid<'a, T> {
        let first = (row + self.border) * self.bordered.width + column + self.border;
        let grid = Grid { plane: self.bordered.pixels(), pitch: self.bordered.width * step, step, first };
        MaskGrid { input: self.input, grid }
    }
}

/// The input of a ReLU at the places of a correlation's results.
#[derive(Clone, Copy)]
pub(super) struct MaskGrid<'a, T> {
    input: &'a [Pixel<T>],
    grid: Grid,
}

/// A sum over taps and input channels at every pixel of `size`.
#[derive(Clone, Copy)]
struct Correlation {
    /// Pixels of an input plane, and of one of its rows.
    plane: usize,
    pitch: usize,
    inputs: usize,
    taps: Taps,
    /// Taps of the weights, of which `taps` may be a part.
    all_taps: usize,
    output_blocks: usize,
    size: Size,
    output: Grid,
}

/// One vector of the results.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) block: usize,
    pub(super) y: usize,
    pub(super) x: usize,
    pub(super) vector: usize,
}

impl Grid {
    #[inline(always)]
    fn pixel(&self, place: Place) -> usize {
        place.block * self.plane + self.first + place.y * self.pitch + place.x * self.step
    }
}

/// What is done with a finished sum.
pub(super) trait Sink<T: Element> {
    fn put<S: Simd>(&mut self, simd: S, grid: &Grid, place: Place, sum: T::Vector<S>);
}

pub(super) struct Store<'a, T>(pub(super) &'a mut [Pixel<T>]);

impl<T: Element> Sink<T> for Store<'_, T> {
    #[inline(always)]
    fn put<S: Simd>(&mut self, _: S, grid: &Grid, place: Place, sum: T::Vector<S>) {
        *self.0[grid.pixel(place)].vector_mut::<S>(place.vector) = sum;
    }
}

pub(super) struct Masked<'a, T> {
    pub(super) out: &'a mut [Pixel<T>],
    pub(super) mask: Option<MaskGrid<'a, T>>,
    pub(super) fresh: bool,
}

impl<T: Element> Sink<T> for Masked<'_, T> {
    #[inline(always)]
    fn put<S: Simd>(&mut self, simd: S, grid: &Grid, place: Place, sum: T::Vector<S>) {
        let mut sum = sum;
        if let Some(MaskGrid { input, grid }) = &self.mask {
            sum = T::where_positive(simd, input[grid.pixel(place)].vector::<S>(place.vector), sum);
        }
        let out = self.out[grid.pixel(place)].vector_mut::<S>(place.vector);
        *out = if self.fresh { sum } else { T::plus(simd, *out, sum) };
    }
}

struct Correlate<'a, T, K, const STEP: usize> {
    correlation: Correlation,
    input: &'a [Pixel<T>],
    weights: &'a [Pixel<T>],
    sink: K,
}

impl<T: Element, K: Sink<T>, const STEP: usize> WithSimd for Correlate<'_, T, K, STEP> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.correlation.output_blocks * vectors_per_pixel::<S, T>();
        // Sums of a tile: half of the registers; weights and numbers of the image share the rest.
        if S::REGISTER_COUNT >= 32 {
            if vectors.is_multiple_of(2) {
                self.run::<S, 8, 2>(simd, vectors);
            } else {
                self.run::<S, 16, 1>(simd, vectors);
            }
        } else if vectors.is_multiple_of(2) {
            self.run::<S, 4, 2>(simd, vectors);
        } else {
            self.run::<S, 8, 1>(simd, vectors);
        }
    }
}

impl<T: Element, K: Sink<T>, const STEP: usize> Correlate<'_, T, K, STEP> {
    /// Tiles of `P` pixels and `V` vectors of output channels; what is left of a row in smaller ones.
    #[inline(always)]
    fn run<S: Simd, const P: usize, const V: usize>(mut self, simd: S, vectors: usize) {
        let Size { height, width } = self.correlation.size;
        for first in (0..vectors).step_by(V) {
            for y in 0..height {
                let mut x = 0;
                while x + P <= width {
                    self.tile::<S, P, V>(simd, first, y, x);
                    x += P;
                }
                while x + 4 <= width {
                    self.tile::<S, 4, V>(simd, first, y, x);
                    x += 4;
                }
                while x < width {
                    self.tile::<S, 1, V>(simd, first, y, x);
                    x += 1;
                }
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const P: usize, const V: usize>(&mut self, simd: S, first: usize, y: usize, x: usize) {
        let per_pixel = vectors_per_pixel::<S, T>();
        let Correlation { plane, pitch, inputs, taps, all_taps, output_blocks, .. } = self.correlation;
        let mut sums = [[T::splat(simd, T::zero()); V]; P];
        let start = (y * pitch + x) * STEP;
        for block in 0..blocks(inputs) {
            let channels = (inputs - block * LANES).min(LANES);
            for i in 0..taps.rows {
                for j in 0..taps.columns {
                    let index = taps.index + i * taps.index_steps[0] + j * taps.index_steps[1];
                    let offset = i as isize * taps.offset_steps[0] + j as isize * taps.offset_steps[1];
                    let place = (block * plane + start + taps.offset).wrapping_add_signed(offset);
                    let pixels = &self.input[place..][..(P - 1) * STEP + 1];
                    let row = (block * all_taps + index) * LANES * output_blocks;
                    let rows = self.weights[row..][..LANES * output_blocks].chunks_exact(output_blocks);
                    for (channel, row) in rows.enumerate().take(channels) {
                        let weights: [T::Vector<S>; V] =
                            std::array::from_fn(|v| row[(first + v) / per_pixel].vector::<S>((first + v) % per_pixel));
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let number = T::splat(simd, pixels[p * STEP].0[channel & (LANES - 1)]);
                            for (sum, weight) in sums.iter_mut().zip(weights) {
                                *sum = T::fma(simd, weight, number, *sum);
                            }
                        }
                    }
                }
            }
        }
        for (p, sums) in sums.into_iter().enumerate() {
            for (v, sum) in sums.into_iter().enumerate() {
                let (block, vector) = ((first + v) / per_pixel, (first + v) % per_pixel);
                self.sink.put(simd, &self.correlation.output, Place { block, y, x: x + p, vector }, sum);
            }
        }
    }
}

struct WeightGradient<'a, T> {
    convolution: Convolution,
    input: &'a [Pixel<T>],
    border: usize,
    gradient: &'a [Pixel<T>],
    out: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for WeightGradient<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.convolution.output_blocks() * vectors_per_pixel::<S, T>();
        let one = self.convolution.stride == 1;
        if S::REGISTER_COUNT >= 32 {
            match (vectors.is_multiple_of(2), one) {
                (true, true) => self.run::<S, 8, 2, 1>(simd, vectors),
                (false, true) => self.run::<S, 16, 1, 1>(simd, vectors),
                (true, false) => self.run::<S, 8, 2, 2>(simd, vectors),
                (false, false) => self.run::<S, 16, 1, 2>(simd, vectors),
            }
        } else {
            match (vectors.is_multiple_of(2), one) {
                (true, true) => self.run::<S, 4, 2, 1>(simd, vectors),
                (false, true) => self.run::<S, 8, 1, 1>(simd, vectors),
                (true, false) => self.run::<S, 4, 2, 2>(simd, vectors),
                (false, false) => self.run::<S, 8, 1, 2>(simd, vectors),
            }
        }
    }
}

impl<T: Element> WeightGradient<'_, T> {
    /// Tiles of `P` input channels and `V` vectors of output channels.
    #[inline(always)]
    fn run<S: Simd, const P: usize, const V: usize, const STEP: usize>(self, simd: S, vectors: usize) {
        let per_pixel = vectors_per_pixel::<S, T>();
        let convolution = self.convolution;
        let bordered = convolution.size.bordered(self.border);
        let shift = self.border - convolution.padding();
        let Size { height, width } = convolution.output();
        let padded = convolution.output().bordered(convolution.padding());
        let inner = convolution.padding() * (padded.width + 1);
        let output_blocks = convolution.output_blocks();
        for block in 0..convolution.input_blocks() {
            let channels = (convolution.inputs - block * LANES).min(LANES);
            for tap in 0..convolution.taps() {
                let (row, column) = (tap / convolution.kernel + shift, tap % convolution.kernel + shift);
                let input = &self.input[block * bordered.pixels() + row * bordered.width + column..];
                let out = &mut self.out[(block * convolution.taps() + tap) * LANES * output_blocks..];
                for first in (0..vectors).step_by(V) {
                    let place: [(usize, usize); V] =
                        std::array::from_fn(|v| ((first + v) / per_pixel, (first + v) % per_pixel));
                    for part in 0..channels.div_ceil(P) {
                        let mut sums = [[T::splat(simd, T::zero()); V]; P];
                        for y in 0..height {
                            let input = &input[y * STEP * bordered.width..][..(width - 1) * STEP + 1];
                            let gradients: [&[Pixel<T>]; V] = std::array::from_fn(|v| {
                                &self.gradient[place[v].0 * padded.pixels() + inner + y * padded.width..][..width]
                            });
                            for x in 0..width {
                                let numbers = &input[x * STEP].0.as_chunks::<P>().0[part];
                                let slopes: [T::Vector<S>; V] =
                                    std::array::from_fn(|v| gradients[v][x].vector::<S>(place[v].1));
                                for (sums, &number) in sums.iter_mut().zip(numbers) {
                                    let number = T::splat(simd, number);
                                    for (sum, slope) in sums.iter_mut().zip(slopes) {
                                        *sum = T::fma(simd, slope, number, *sum);
                                    }
                                }
                            }
                        }
                        for (p, sums) in sums.into_iter().enumerate() {
                            for (v, sum) in sums.into_iter().enumerate() {
                                let out = out[(part * P + p) * output_blocks + place[v].0].vector_mut::<S>(place[v].1);
                                *out = T::plus(simd, *out, sum);
                            }
                        }
                    }
                }
            }
        }
    }
}
