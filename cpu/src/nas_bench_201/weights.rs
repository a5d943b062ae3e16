//! The weights of one trial: every parameter with its gradient and velocity, the running statistics, and the update.

use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::{Parameter, Part, initial_values};
use advantage_nas::random::Streams;
use advantage_nas::state::{Entry, State};
use advantage_nas::{Error, Result};
use pulp::{Arch, Simd, WithSimd};

use crate::Element;
use crate::Stored;
use crate::layer::{LANES, Pixel, blocks, map, vectors_per_pixel};
use crate::workers::Workers;

/// A parameter as the layers read it: channels in blocks of [`LANES`], zero beyond the last. Of filters
/// `[input blocks, taps, LANES input channels, output blocks, LANES]`, of the linear layer `[classes, blocks, LANES]`, of
/// vectors `[blocks, LANES]`.
#[derive(Clone, Debug)]
pub(super) struct Tensor<T> {
    shape: Vec<usize>,
    pub(super) value: Vec<Pixel<T>>,
    pub(super) gradient: Vec<Pixel<T>>,
    velocity: Vec<Pixel<T>>,
    /// Whether it takes part in the step.
    pub(super) active: bool,
    /// Sum of the squares of the gradient.
    squares: f64,
}

impl<T: Element> Tensor<T> {
    fn new(shape: &[usize]) -> Self {
        let length = padded_length(shape);
        let zeros = vec![Pixel::default(); length];
        let (gradient, velocity) = (zeros.clone(), zeros.clone());
        Self { shape: shape.to_vec(), value: zeros, gradient, velocity, active: false, squares: 0.0 }
    }

    fn part(&self, part: Part) -> &[Pixel<T>] {
        match part {
            Part::Value => &self.value,
            Part::Gradient => &self.gradient,
            Part::Velocity => &self.velocity,
        }
    }

    fn part_mut(&mut self, part: Part) -> &mut [Pixel<T>] {
        match part {
            Part::Value => &mut self.value,
            Part::Gradient => &mut self.gradient,
            Part::Velocity => &mut self.velocity,
        }
    }
}

/// Length in pixels of a parameter.
pub(super) fn padded_length(shape: &[usize]) -> usize {
    match *shape {
        [outputs, inputs, height, width] => blocks(inputs) * LANES * height * width * blocks(outputs),
        [outputs, inputs] => outputs * blocks(inputs),
        _ => blocks(shape.iter().product()),
    }
}

/// Place of every value, in the order of the shape, last dimension fastest: pixel and lane.
fn places(shape: &[usize]) -> impl Iterator<Item = (usize, usize)> + use<> {
    let shape = shape.to_vec();
    (0..shape.iter().product::<usize>()).map(move |index| match *shape {
        [outputs, inputs, height, width] => {
            let taps = height * width;
            let (output, input, tap) = (index / (inputs * taps), index / taps % inputs, index % taps);
            let row = (input / LANES * taps + tap) * LANES + input % LANES;
            (row * blocks(outputs) + output / LANES, output % LANES)
        }
        [_, inputs] => {
            let (output, input) = (index / inputs, index % inputs);
            (output * blocks(inputs) + input / LANES, input % LANES)
        }
        _ => (index / LANES, index % LANES),
    })
}

/// Running mean and variance of a batch norm.
#[derive(Clone, Debug)]
pub(super) struct RunningStatistics {
    channels: usize,
    pub(super) mean: Vec<f64>,
    pub(super) variance: Vec<f64>,
}

/// Everything that a trial learns.
#[derive(Clone, Debug)]
pub(super) struct Weights<T> {
    pub(super) tensors: Vec<Tensor<T>>,
    pub(super) running: Vec<RunningStatistics>,
}

/// How the weights are updated: `v ← m v + g`, `w ← w − rate · (g + m v)` with the gradient `g` after decay and clipping.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Update {
    /// Learning rate.
    pub rate: f64,
    /// Momentum `m`.
    pub momentum: f64,
    /// `decay · w` is added to the gradient.
    pub decay: f64,
    /// Largest norm of the whole gradient, decay included.
    pub clip_norm: f64,
}

impl<T: Element> Weights<T> {
    pub(super) fn new(parent: &Parent, streams: &Streams, trial: u32) -> Self {
        let values = initial_values(parent.parameters(), streams, trial);
        let tensors = parent.parameters().iter().zip(values).map(|(parameter, values)| {
            let mut tensor = Tensor::new(&parameter.shape);
            for ((pixel, lane), value) in places(&parameter.shape).zip(values) {
                tensor.value[pixel].0[lane] = T::of_f32(value);
            }
            tensor
        });
        let running = parent.running().iter().map(|running| {
            let length = blocks(running.channels) * LANES;
            // Lanes beyond the channels keep variance 1 and mean 0.
            RunningStatistics { channels: running.channels, mean: vec![0.0; length], variance: vec![1.0; length] }
        });
        Self { tensors: tensors.collect(), running: running.collect() }
    }

    /// Numbers of a parameter in the order of its shape.
    pub(super) fn read(&self, index: usize, part: Part) -> Vec<T> {
        let tensor = &self.tensors[index];
        let pixels = tensor.part(part);
        if part == Part::Gradient && !tensor.active {
            return vec![T::zero(); tensor.shape.iter().product()];
        }
        places(&tensor.shape).map(|(pixel, lane)| pixels[pixel].0[lane]).collect()
    }

    /// Overwrites numbers of a parameter.
    pub(super) fn write(&mut self, index: usize, part: Part, values: &[f64]) -> Result<()> {
        let tensor = &mut self.tensors[index];
        let expected = tensor.shape.iter().product();
        if values.len() != expected {
            return Err(Error::Length { what: "values of a parameter", expected, got: values.len() });
        }
        let places = places(&tensor.shape);
        let pixels = tensor.part_mut(part);
        for ((pixel, lane), &value) in places.zip(values) {
            pixels[pixel].0[lane] = T::of(value);
        }
        Ok(())
    }

    /// Descends along the gradient of the active parameters; the others stay as they are. Returns the norm of the gradient
    /// before clipping, decay included.
    pub(super) fn update(&mut self, arch: Arch, workers: &Workers, update: &Update) -> f64 {
        let decay = T::of(update.decay);
        workers.each(&mut self.tensors, |tensor| {
            if tensor.active {
                tensor.squares = arch.dispatch(Decay { decay, value: &tensor.value, gradient: &mut tensor.gradient });
            }
        });
        let squares = self.tensors.iter().filter(|tensor| tensor.active).map(|tensor| tensor.squares).sum::<f64>();
        let norm = squares.sqrt();
        let factor = if norm > update.clip_norm { update.clip_norm / norm } else { 1.0 };
        let (factor, rate, momentum) = (T::of(factor), T::of(update.rate), T::of(update.momentum));
        workers.each(&mut self.tensors, |tensor| {
            if tensor.active {
                let Tensor { value, gradient, velocity, .. } = tensor;
                arch.dispatch(Descend { factor, rate, momentum, value, gradient, velocity });
            }
        });
        norm
    }

    pub(super) fn save(&self, parameters: &[Parameter]) -> State
    where
        T: Stored,
    {
        let mut state = State::new();
        for (index, parameter) in parameters.iter().enumerate() {
            for part in [Part::Value, Part::Velocity] {
                let entry = Entry { shape: parameter.shape.clone(), values: T::values(self.read(index, part)) };
                state.insert(format!("{}{}", parameter.name, part.suffix()), entry);
            }
        }
        for (index, running) in self.running.iter().enumerate() {
            state.insert_f64(format!("running.{index}.mean"), &running.mean[..running.channels]);
            state.insert_f64(format!("running.{index}.variance"), &running.variance[..running.channels]);
        }
        state
    }

    pub(super) fn restore(&mut self, parameters: &[Parameter], state: &State) -> Result<()>
    where
        T: Stored,
    {
        let mut restored = self.clone();
        for (index, parameter) in parameters.iter().enumerate() {
            for part in [Part::Value, Part::Velocity] {
                let values = T::stored(state, &format!("{}{}", parameter.name, part.suffix()), parameter.len())?;
                restored.write(index, part, &values)?;
            }
        }
        for (index, running) in restored.running.iter_mut().enumerate() {
            let channels = running.channels;
            let mean = state.f64(&format!("running.{index}.mean"), channels)?;
            running.mean[..channels].copy_from_slice(mean);
            let variance = state.f64(&format!("running.{index}.variance"), channels)?;
            running.variance[..channels].copy_from_slice(variance);
        }
        *self = restored;
        Ok(())
    }
}

/// Adds the decay to the gradient; the sum of its squares.
struct Decay<'a, T> {
    decay: T,
    value: &'a [Pixel<T>],
    gradient: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Decay<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let decay = T::splat(simd, self.decay);
        let mut total = 0.0;
        for (values, gradients) in self.value.chunks(map::STRIP).zip(self.gradient.chunks_mut(map::STRIP)) {
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

struct Descend<'a, T> {
    factor: T,
    rate: T,
    momentum: T,
    value: &'a mut [Pixel<T>],
    gradient: &'a [Pixel<T>],
    velocity: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Descend<'_, T> {
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
