//! The weights of one trial of any network: values, gradients and velocities in an arena each, and the update.

use advantage_nas::network::{Layout, Part, Sgd};
use advantage_nas::{Error, Result};
use ndarray::{ArrayD, ArrayViewD};
use pulp::{Arch, Simd, WithSimd};

use crate::Element;
use crate::layer::{LANES, Pixel, blocks, vectors_per_pixel};
use crate::workers::Workers;

/// Pixels that are updated at once.
const PIECE: usize = 4096;

/// How an array of a parameter's shape lies in pixels: one dimension in blocks of [`LANES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Filters `[outputs, inputs, height, width]` as `[input blocks, height, width, LANES inputs, output blocks, LANES outputs]`.
    Filters { outputs: usize, inputs: usize, height: usize, width: usize },
    /// A matrix `[rows, columns]` as `[rows, column blocks, LANES columns]`: what belongs to a row lies together.
    Rows { rows: usize, columns: usize },
    /// A matrix `[rows, columns]` as `[row blocks, columns, LANES rows]`: the right factor of `x Wᵀ`.
    Panels { rows: usize, columns: usize },
    /// A vector, as `[blocks, LANES]`.
    Vector { length: usize },
}

impl Packing {
    /// Length in pixels.
    pub(crate) fn pixels(self) -> usize {
        match self {
            Self::Filters { outputs, inputs, height, width } => {
                blocks(inputs) * LANES * height * width * blocks(outputs)
            }
            Self::Rows { rows, columns } => rows * blocks(columns),
            Self::Panels { rows, columns } => blocks(rows) * columns,
            Self::Vector { length } => blocks(length),
        }
    }

    /// The shape of the array.
    pub(crate) fn shape(self) -> Vec<usize> {
        match self {
            Self::Filters { outputs, inputs, height, width } => vec![outputs, inputs, height, width],
            Self::Rows { rows, columns } | Self::Panels { rows, columns } => vec![rows, columns],
            Self::Vector { length } => vec![length],
        }
    }

    /// Number of values of the array.
    fn len(self) -> usize {
        match self {
            Self::Filters { outputs, inputs, height, width } => outputs * inputs * height * width,
            Self::Rows { rows, columns } | Self::Panels { rows, columns } => rows * columns,
            Self::Vector { length } => length,
        }
    }

    /// Pixel and lane of every value, in the order of the shape, last dimension fastest.
    fn places(self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.len()).map(move |index| match self {
            Self::Filters { outputs, inputs, height, width } => {
                let taps = height * width;
                let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
                let row = (input / LANES * taps + tap) * LANES + input % LANES;
                (row * blocks(outputs) + output / LANES, output % LANES)
            }
            Self::Rows { columns, .. } => {
                let (row, column) = (index / columns, index % columns);
                (row * blocks(columns) + column / LANES, column % LANES)
            }
            Self::Panels { columns, .. } => {
                let (row, column) = (index / columns, index % columns);
                (row / LANES * columns + column, row % LANES)
            }
            Self::Vector { .. } => (index / LANES, index % LANES),
        })
    }
}

/// How the weights of a network are updated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// Whether it has momentum, and so velocities.
    pub(crate) momentum: bool,
    /// Pixels whose squares are added up before they are widened to `f64`. They decide the last bits of the gradient's norm.
    pub(crate) strip: usize,
}

/// Everything that a trial learns. A parameter is a range of each arena; lanes beyond its values are zero unless they were overwritten, and
/// so are their gradients.
#[derive(Clone, Debug)]
pub(crate) struct Weights<T> {
    packings: Vec<Packing>,
    layout: Layout,
    update: Update,
    values: Vec<Pixel<T>>,
    gradients: Vec<Pixel<T>>,
    /// Empty without momentum.
    velocities: Vec<Pixel<T>>,
    /// Whether every parameter takes part in the step.
    active: Vec<bool>,
    /// Sum of the squares of the gradient of every parameter.
    squares: Vec<f64>,
}

/// Some parameters, or part of one, to be worked on: the same range of every arena.
struct Span<'a, T> {
    value: &'a mut [Pixel<T>],
    gradient: &'a mut [Pixel<T>],
    velocity: &'a mut [Pixel<T>],
}

impl<'a, T> Span<'a, T> {
    fn split_at(self, place: usize) -> (Self, Self) {
        let (value, values) = self.value.split_at_mut(place);
        let (gradient, gradients) = self.gradient.split_at_mut(place);
        let (velocity, velocities) = self.velocity.split_at_mut(place.min(self.velocity.len()));
        (Self { value, gradient, velocity }, Self { value: values, gradient: gradients, velocity: velocities })
    }
}

impl<T: Element> Weights<T> {
    /// Bytes of the weights of such parameters, and of their gradients and velocities.
    pub(crate) fn bytes(packings: impl IntoIterator<Item = Packing>, momentum: bool) -> [usize; 2] {
        let values = packings.into_iter().map(Packing::pixels).sum::<usize>() * size_of::<Pixel<T>>();
        [values, if momentum { 2 * values } else { values }]
    }

    /// All zero.
    pub(crate) fn new(packings: Vec<Packing>, update: Update) -> Self {
        let layout = Layout::new(packings.iter().map(|packing| packing.pixels()), 1);
        let zeros = |length| vec![Pixel::default(); length];
        Self {
            values: zeros(layout.len()),
            gradients: zeros(layout.len()),
            velocities: zeros(if update.momentum { layout.len() } else { 0 }),
            active: vec![false; packings.len()],
            squares: vec![0.0; packings.len()],
            layout,
            packings,
            update,
        }
    }

    /// Overwrites the values of all parameters with initial ones.
    pub(crate) fn initialize(&mut self, values: impl IntoIterator<Item = ArrayD<f32>>) {
        for ((range, packing), values) in self.layout.ranges().iter().zip(&self.packings).zip(values) {
            let pixels = &mut self.values[range.clone()];
            for ((pixel, lane), value) in packing.places().zip(values) {
                pixels[pixel].0[lane] = T::of_f32(value);
            }
        }
    }

    /// Values of a parameter.
    pub(crate) fn value(&self, parameter: usize) -> &[Pixel<T>] {
        &self.values[self.layout.range(parameter)]
    }

    /// Values of a parameter, to be written.
    pub(crate) fn value_mut(&mut self, parameter: usize) -> &mut [Pixel<T>] {
        &mut self.values[self.layout.range(parameter)]
    }

    /// Gradient of a parameter, to be written.
    pub(crate) fn gradient_mut(&mut self, parameter: usize) -> &mut [Pixel<T>] {
        &mut self.gradients[self.layout.range(parameter)]
    }

    /// Gradients of several parameters, to be written.
    ///
    /// # Panics
    /// For a parameter named twice.
    pub(crate) fn gradients_mut<const N: usize>(&mut self, parameters: [usize; N]) -> [&mut [Pixel<T>]; N] {
        let ranges = parameters.map(|parameter| self.layout.range(parameter));
        self.gradients.get_disjoint_mut(ranges).expect("different parameters")
    }

    /// Whether a parameter takes part in the step.
    pub(crate) fn active(&self, parameter: usize) -> bool {
        self.active[parameter]
    }

    /// Whether every parameter takes part in the step, to be written.
    pub(crate) fn active_mut(&mut self) -> &mut [bool] {
        &mut self.active
    }

    /// Numbers of a parameter.
    pub(crate) fn read(&self, parameter: usize, part: Part) -> ArrayD<T> {
        let packing = self.packings[parameter];
        let arena = match part {
            Part::Value => &self.values,
            Part::Gradient => &self.gradients,
            Part::Velocity => &self.velocities,
        };
        if arena.is_empty() || part == Part::Gradient && !self.active[parameter] {
            return ArrayD::zeros(packing.shape());
        }
        let pixels = &arena[self.layout.range(parameter)];
        let values = packing.places().map(|(pixel, lane)| pixels[pixel].0[lane]).collect();
        ArrayD::from_shape_vec(packing.shape(), values).expect("a place for every value")
    }

    /// Overwrites numbers of a parameter.
    ///
    /// # Errors
    /// [`Error::Length`] for an array of another size, [`Error::Unsupported`] for velocities that are not kept.
    pub(crate) fn write(&mut self, parameter: usize, part: Part, values: ArrayViewD<'_, T>) -> Result<()> {
        let packing = self.packings[parameter];
        if values.len() != packing.len() {
            return Err(Error::Length { what: "values of a parameter", expected: packing.len(), got: values.len() });
        }
        let arena = match part {
            Part::Value => &mut self.values,
            Part::Gradient => &mut self.gradients,
            Part::Velocity if self.velocities.is_empty() => {
                let reason = "there is none without momentum";
                return Err(Error::Unsupported { operation: "overwrite the velocity", reason });
            }
            Part::Velocity => &mut self.velocities,
        };
        let pixels = &mut arena[self.layout.range(parameter)];
        for ((pixel, lane), &value) in packing.places().zip(&values) {
            pixels[pixel].0[lane] = value;
        }
        Ok(())
    }

    /// Writes the gradients of the parameters that take part.
    pub(crate) fn each_gradient(&mut self, workers: &Workers, write: impl Fn(usize, &mut [Pixel<T>]) + Sync) {
        self.each(workers, &|parameter, span: Span<'_, T>, _: &mut f64| write(parameter, span.gradient));
    }

    /// Descends along the gradient of the parameters that take part, see [`Sgd`]; the others stay as they are. Returns the norm of the gradient
    /// before clipping, decay included.
    pub(crate) fn update(&mut self, arch: Arch, workers: &Workers, sgd: &Sgd, rate: f64) -> f64 {
        let Update { momentum, strip } = self.update;
        debug_assert!(momentum || sgd.momentum == 0.0, "momentum without velocities");
        let decay = (sgd.weight_decay != 0.0).then(|| T::of(sgd.weight_decay));
        self.each(workers, &|_, Span { value, gradient, .. }: Span<'_, T>, squares: &mut f64| {
            *squares = match decay {
                Some(decay) => arch.dispatch(Decay { decay, strip, value, gradient }),
                None => arch.dispatch(Squares { strip, gradient }),
            };
        });
        let taking_part = self.squares.iter().zip(&self.active).filter(|(_, active)| **active);
        let norm = taking_part.map(|(squares, _)| *squares).sum::<f64>().sqrt();
        let factor = if norm > sgd.clip_norm { sgd.clip_norm / norm } else { 1.0 };
        if momentum {
            let [factor, rate, momentum] = [factor, rate, sgd.momentum].map(T::of);
            self.each(workers, &|_, span: Span<'_, T>, _: &mut f64| {
                pieces(workers, span, &|Span { value, gradient, velocity }: Span<'_, T>| {
                    arch.dispatch(Nesterov { factor, rate, momentum, value, gradient, velocity });
                });
            });
        } else {
            let rate = T::of(rate * factor);
            self.each(workers, &|_, span: Span<'_, T>, _: &mut f64| {
                pieces(workers, span, &|Span { value, gradient, .. }: Span<'_, T>| {
                    arch.dispatch(Descend { rate, value, gradient });
                });
            });
        }
        norm
    }

    /// Works on every parameter that takes part.
    fn each<W: Fn(usize, Span<'_, T>, &mut f64) + Sync>(&mut self, workers: &Workers, work: &W) {
        let Self { layout, active, values, gradients, velocities, squares, .. } = self;
        let span = Span { value: values, gradient: gradients, velocity: velocities };
        Parameters { layout, active, first: 0, squares, span }.each(workers, work);
    }
}

/// A run of parameters.
struct Parameters<'a, T> {
    layout: &'a Layout,
    active: &'a [bool],
    /// The first of them.
    first: usize,
    /// Of every one of them.
    squares: &'a mut [f64],
    span: Span<'a, T>,
}

impl<T: Element> Parameters<'_, T> {
    /// Halves the run until single parameters are left.
    fn each<W: Fn(usize, Span<'_, T>, &mut f64) + Sync>(self, workers: &Workers, work: &W) {
        let Self { layout, active, first, squares, span } = self;
        match squares {
            [] => {}
            [squares] => {
                if active[first] {
                    work(first, span, squares);
                }
            }
            _ => {
                let (left, right) = squares.split_at_mut(squares.len() / 2);
                let middle = first + left.len();
                let (begin, other) = span.split_at(layout.range(middle).start - layout.range(first).start);
                let left = Parameters { layout, active, first, squares: left, span: begin };
                let right = Parameters { layout, active, first: middle, squares: right, span: other };
                workers.both(|| left.each(workers, work), || right.each(workers, work));
            }
        }
    }
}

/// Works on every piece of a parameter, number by number.
fn pieces<T: Element, W: Fn(Span<'_, T>) + Sync>(workers: &Workers, span: Span<'_, T>, work: &W) {
    let length = span.value.len();
    if length <= PIECE {
        return work(span);
    }
    let (one, other) = span.split_at((length / 2).next_multiple_of(PIECE));
    workers.both(|| pieces(workers, one, work), || pieces(workers, other, work));
}

/// Adds the decay to the gradient; the sum of its squares.
struct Decay<'a, T> {
    decay: T,
    strip: usize,
    value: &'a [Pixel<T>],
    gradient: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Decay<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let decay = T::splat(simd, self.decay);
        let mut total = 0.0;
        for (values, gradients) in self.value.chunks(self.strip).zip(self.gradient.chunks_mut(self.strip)) {
            let mut sums = Pixel::<T>::default();
            for (value, gradient) in values.iter().zip(gradients) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let slope = gradient.vector_mut::<S>(vector);
                    *slope = T::fma(simd, decay, value.vector::<S>(vector), *slope);
                    let sum = sums.vector_mut::<S>(vector);
                    *sum = T::fma(simd, *slope, *slope, *sum);
                }
            }
            total += sums.0.iter().map(|sum| sum.widen()).sum::<f64>();
        }
        total
    }
}

/// The sum of the squares of a gradient.
struct Squares<'a, T> {
    strip: usize,
    gradient: &'a [Pixel<T>],
}

impl<T: Element> WithSimd for Squares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut total = 0.0;
        for gradient in self.gradient.chunks(self.strip) {
            let mut sums = Pixel::<T>::default();
            for gradient in gradient {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let slope = gradient.vector::<S>(vector);
                    let sum = sums.vector_mut::<S>(vector);
                    *sum = T::fma(simd, slope, slope, *sum);
                }
            }
            total += sums.0.iter().map(|sum| sum.widen()).sum::<f64>();
        }
        total
    }
}

/// With momentum, along the gradient times a factor.
struct Nesterov<'a, T> {
    factor: T,
    rate: T,
    momentum: T,
    value: &'a mut [Pixel<T>],
    gradient: &'a [Pixel<T>],
    velocity: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Nesterov<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let [factor, momentum] = [self.factor, self.momentum].map(|number| T::splat(simd, number));
        let rate = T::splat(simd, -self.rate);
        for ((value, gradient), velocity) in self.value.iter_mut().zip(self.gradient).zip(self.velocity) {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let slope = T::times(simd, gradient.vector::<S>(vector), factor);
                let velocity = velocity.vector_mut::<S>(vector);
                *velocity = T::fma(simd, momentum, *velocity, slope);
                let value = value.vector_mut::<S>(vector);
                *value = T::fma(simd, rate, T::fma(simd, momentum, *velocity, slope), *value);
            }
        }
    }
}

/// Without momentum.
struct Descend<'a, T> {
    rate: T,
    value: &'a mut [Pixel<T>],
    gradient: &'a [Pixel<T>],
}

impl<T: Element> WithSimd for Descend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let rate = T::splat(simd, -self.rate);
        for (value, gradient) in self.value.iter_mut().zip(self.gradient) {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let value = value.vector_mut::<S>(vector);
                *value = T::fma(simd, rate, gradient.vector::<S>(vector), *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::optim;

    use super::*;

    const PACKINGS: [Packing; 5] = [
        Packing::Filters { outputs: 3, inputs: 17, height: 3, width: 1 },
        Packing::Rows { rows: 5, columns: 18 },
        Packing::Panels { rows: 18, columns: 5 },
        Packing::Vector { length: 33 },
        // More than one piece, and several strips.
        Packing::Panels { rows: 32, columns: 3000 },
    ];

    /// Different numbers of either sign.
    fn numbers(packing: Packing, salt: usize) -> ArrayD<f64> {
        let number = |place: usize| ((place * 37 + salt * 101) % 1009) as f64 / 64.0 - 7.0;
        ArrayD::from_shape_vec(packing.shape(), (0..packing.len()).map(number).collect()).unwrap()
    }

    #[test]
    fn every_value_has_a_place_of_its_own() {
        for packing in PACKINGS {
            let mut taken = vec![[false; LANES]; packing.pixels()];
            for (pixel, lane) in packing.places() {
                assert!(!std::mem::replace(&mut taken[pixel][lane], true), "{packing:?}: pixel {pixel}, lane {lane}");
            }
            assert_eq!(taken.iter().flatten().filter(|taken| **taken).count(), packing.len());
            assert_eq!(packing.shape().iter().product::<usize>(), packing.len());
        }
    }

    #[test]
    fn values_lie_in_blocks_of_lanes() {
        let place = |packing: Packing, index: usize| packing.places().nth(index).unwrap();
        // Output 2, input 16, tap 1: the second block of inputs, its first of 16 inputs, after one tap.
        assert_eq!(place(PACKINGS[0], (2 * 17 + 16) * 3 + 1), ((3 + 1) * LANES, 2));
        // Row 3, column 17.
        assert_eq!(place(PACKINGS[1], 3 * 18 + 17), (3 * 2 + 1, 1));
        // Row 17, column 3.
        assert_eq!(place(PACKINGS[2], 17 * 5 + 3), (5 + 3, 1));
        assert_eq!(place(PACKINGS[3], 32), (2, 0));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut weights = Weights::<f64>::new(PACKINGS.to_vec(), Update { momentum: true, strip: 64 });
        for (parameter, packing) in PACKINGS.into_iter().enumerate() {
            weights.active_mut()[parameter] = true;
            for (salt, part) in [Part::Value, Part::Gradient, Part::Velocity].into_iter().enumerate() {
                weights.write(parameter, part, numbers(packing, salt).view()).unwrap();
            }
        }
        for (parameter, packing) in PACKINGS.into_iter().enumerate() {
            for (salt, part) in [Part::Value, Part::Gradient, Part::Velocity].into_iter().enumerate() {
                assert_eq!(weights.read(parameter, part), numbers(packing, salt));
            }
        }
        weights.active_mut()[1] = false;
        assert!(weights.read(1, Part::Gradient).iter().all(|slope| *slope == 0.0), "it takes no part");
        let short = ArrayD::zeros(vec![5, 17]);
        assert!(matches!(weights.write(1, Part::Value, short.view()), Err(Error::Length { .. })));
        let mut plain = Weights::<f64>::new(PACKINGS.to_vec(), Update { momentum: false, strip: 64 });
        assert!(plain.write(1, Part::Velocity, numbers(PACKINGS[1], 0).view()).is_err());
        assert!(plain.read(1, Part::Velocity).iter().all(|velocity| *velocity == 0.0));
    }

    /// Against the core's optimiser, written number by number: three steps with and without momentum and decay, the last one without
    /// the second parameter; on one thread and on three, with the same bits.
    #[test]
    fn updates_are_those_of_the_optimiser() {
        for (momentum, weight_decay) in [(0.9, 5e-4), (0.9, 0.0), (0.0, 0.0), (0.0, 0.01)] {
            let sgd = Sgd { learning_rate: 0.1, momentum, weight_decay, clip_norm: 50.0 };
            let update = Update { momentum: momentum > 0.0, strip: 128 };
            let mut weights = Weights::<f64>::new(PACKINGS.to_vec(), update);
            for (parameter, packing) in PACKINGS.into_iter().enumerate() {
                weights.write(parameter, Part::Value, numbers(packing, 7).view()).unwrap();
            }
            let mut other = weights.clone();
            let mut expected: Vec<Vec<f64>> =
                PACKINGS.map(|packing| numbers(packing, 7).into_raw_vec_and_offset().0).into();
            let mut velocities: Vec<Vec<f64>> = expected.iter().map(|values| vec![0.0; values.len()]).collect();
            for step in 0..3 {
                let taking_part: Vec<usize> = (0..PACKINGS.len()).filter(|place| step < 2 || *place != 1).collect();
                let mut gradients = Vec::new();
                for &parameter in &taking_part {
                    let mut gradient = numbers(PACKINGS[parameter], step).into_raw_vec_and_offset().0;
                    optim::add_weight_decay(&mut gradient, &expected[parameter], weight_decay).unwrap();
                    gradients.extend(gradient);
                }
                let norm = optim::clip_norm(&mut gradients, 50.0).unwrap();
                let mut rest = &*gradients;
                for &parameter in &taking_part {
                    let (gradient, others) = rest.split_at(expected[parameter].len());
                    rest = others;
                    let mut optimiser = optim::Nesterov::new(gradient.len(), momentum).unwrap();
                    optimiser.velocity_mut().copy_from_slice(&velocities[parameter]);
                    optimiser.step(&mut expected[parameter], gradient, 0.05).unwrap();
                    velocities[parameter].copy_from_slice(optimiser.velocity());
                }
                for (weights, threads) in [(&mut weights, 1), (&mut other, 3)] {
                    for (parameter, packing) in PACKINGS.into_iter().enumerate() {
                        weights.active_mut()[parameter] = taking_part.contains(&parameter);
                        weights.write(parameter, Part::Gradient, numbers(packing, step).view()).unwrap();
                    }
                    let workers = Workers::new(threads).unwrap();
                    let got = workers.run(|| weights.update(Arch::new(), &workers, &sgd, 0.05));
                    assert!((got / norm - 1.0).abs() < 1e-12, "{got} for {norm}");
                }
                for (parameter, expected) in expected.iter().enumerate() {
                    let values = weights.read(parameter, Part::Value);
                    assert_eq!(values, other.read(parameter, Part::Value));
                    for (value, expected) in values.iter().zip(expected) {
                        assert!((value - expected).abs() < 1e-12, "{value} for {expected}");
                    }
                }
            }
        }
    }
}
