//! The weights of one trial: every parameter with its gradient, and the update.

use advantage_nas::network::recurrent::{ParameterKind, Parent};
use advantage_nas::network::{Parameter, Part, initial_values};
use advantage_nas::random::Streams;
use advantage_nas::state::{Entry, State};
use advantage_nas::{Error, Result};
use pulp::{Arch, Simd, WithSimd};

use crate::Element;
use crate::Stored;
use crate::layer::{LANES, Pixel, blocks, vectors_per_pixel};
use crate::matrix::{Rows, transpose};
use crate::workers::Workers;

/// Pixels whose squares are added up before they are widened, and that are updated at once.
const PIECE: usize = 4096;

/// The bias of words that there are not: their exponentials are zero.
const NO_WORD: f64 = -1e30;

/// A parameter. A matrix `[outputs, inputs]` is stored as the right factor of `x Wᵀ`: `[inputs, outputs]` in panels. The embeddings are
/// `[vocabulary, panels]`, so that those of a word lie together; the bias is `[panels]`.
#[derive(Clone, Debug)]
pub(super) struct Tensor<T> {
    pub(super) kind: ParameterKind,
    shape: Vec<usize>,
    pub(super) value: Vec<Pixel<T>>,
    pub(super) gradient: Vec<Pixel<T>>,
    /// Of matrices that a gradient goes back through, `[outputs, inputs]` in panels.
    transposed: Vec<Pixel<T>>,
    /// Whether `transposed` is of other values.
    stale: bool,
    /// Whether it takes part in the step.
    pub(super) active: bool,
    /// Sum of the squares of the gradient.
    squares: f64,
}

/// Pixels of the values of a parameter, and of its transposed matrix.
fn lengths(kind: ParameterKind, shape: &[usize]) -> (usize, usize) {
    let length = match (kind, shape) {
        (ParameterKind::Embedding, &[words, units]) => words * blocks(units),
        (_, &[outputs, inputs]) => blocks(outputs) * inputs,
        _ => blocks(shape.iter().product()),
    };
    let transposed = match (kind, shape) {
        (ParameterKind::Cell(_) | ParameterKind::OutputWeight, &[outputs, inputs]) => blocks(inputs) * outputs,
        _ => 0,
    };
    (length, transposed)
}

impl<T: Element> Tensor<T> {
    fn new(kind: ParameterKind, shape: &[usize]) -> Self {
        let (length, transposed) = lengths(kind, shape);
        let mut value = vec![Pixel::default(); length];
        if kind == ParameterKind::OutputBias {
            value.fill(Pixel([T::of(NO_WORD); LANES]));
        }
        Self {
            kind,
            shape: shape.to_vec(),
            value,
            gradient: vec![Pixel::default(); length],
            transposed: vec![Pixel::default(); transposed],
            stale: true,
            active: false,
            squares: 0.0,
        }
    }

    /// The right factor of `x Wᵀ`.
    pub(super) fn forward(&self) -> Rows<'_, T> {
        Rows::all(&self.value, self.shape[1])
    }

    /// The right factor of `y W`.
    pub(super) fn backward(&self) -> Rows<'_, T> {
        debug_assert!(!self.stale, "the transposed matrix is of other values");
        Rows::all(&self.transposed, self.shape[0])
    }

    /// Place of every value, in the order of the shape, last dimension fastest: pixel and lane.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + use<T> {
        let (kind, shape) = (self.kind, self.shape.clone());
        (0..shape.iter().product::<usize>()).map(move |index| match (kind, &*shape) {
            (ParameterKind::Embedding, &[_, units]) => {
                let (word, unit) = (index / units, index % units);
                (word * blocks(units) + unit / LANES, unit % LANES)
            }
            (_, &[_, inputs]) => {
                let (output, input) = (index / inputs, index % inputs);
                (output / LANES * inputs + input, output % LANES)
            }
            _ => (index / LANES, index % LANES),
        })
    }
}

/// Everything that a trial learns.
#[derive(Clone, Debug)]
pub(super) struct Weights<T> {
    pub(super) tensors: Vec<Tensor<T>>,
}

impl<T: Element> Weights<T> {
    /// Pixels of the weights of a network: values, gradients, transposed matrices.
    pub(super) fn pixels(parent: &Parent) -> usize {
        let parameters = parent.parameters().iter().zip(parent.kinds());
        let lengths = parameters.map(|(parameter, kind)| lengths(*kind, &parameter.shape));
        lengths.map(|(length, transposed)| 2 * length + transposed).sum()
    }

    pub(super) fn new(parent: &Parent, streams: &Streams, trial: u32) -> Self {
        let values = initial_values(parent.parameters(), streams, trial);
        let tensors = parent.kinds().iter().zip(values).map(|(kind, values)| {
            let mut tensor = Tensor::new(*kind, values.shape());
            for ((pixel, lane), value) in tensor.places().zip(values) {
                tensor.value[pixel].0[lane] = T::of_f32(value);
            }
            tensor
        });
        Self { tensors: tensors.collect() }
    }

    /// Numbers of a parameter in the order of its shape.
    pub(super) fn read(&self, index: usize, part: Part) -> Vec<T> {
        let tensor = &self.tensors[index];
        let pixels = match part {
            Part::Value => &tensor.value,
            Part::Gradient if tensor.active => &tensor.gradient,
            // There is no velocity without momentum.
            Part::Gradient | Part::Velocity => return vec![T::zero(); tensor.shape.iter().product()],
        };
        tensor.places().map(|(pixel, lane)| pixels[pixel].0[lane]).collect()
    }

    /// Overwrites numbers of a parameter.
    pub(super) fn write(&mut self, index: usize, part: Part, values: &[f64]) -> Result<()> {
        let tensor = &mut self.tensors[index];
        let expected = tensor.shape.iter().product();
        if values.len() != expected {
            return Err(Error::Length { what: "values of a parameter", expected, got: values.len() });
        }
        let places = tensor.places();
        let pixels = match part {
            Part::Value => &mut tensor.value,
            Part::Gradient => &mut tensor.gradient,
            Part::Velocity => {
                let reason = "there is none without momentum";
                return Err(Error::Unsupported { operation: "overwrite the velocity", reason });
            }
        };
        for ((pixel, lane), &value) in places.zip(values) {
            pixels[pixel].0[lane] = T::of(value);
        }
        tensor.stale = true;
        Ok(())
    }

    /// Brings the transposed matrices of active parameters up to date.
    pub(super) fn transpose(&mut self, workers: &Workers) {
        for tensor in &mut self.tensors {
            if !tensor.active || !tensor.stale || tensor.transposed.is_empty() {
                continue;
            }
            let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
            let value = &tensor.value;
            workers.pieces(&mut tensor.transposed, outputs, |panel, out| {
                transpose(value, inputs, outputs, panel, out);
            });
            tensor.stale = false;
        }
    }

    /// Descends along the gradient of the active parameters, whose global norm is clipped; the others stay as they are. Returns
    /// the norm before clipping.
    pub(super) fn update(&mut self, arch: Arch, workers: &Workers, rate: f64, clip_norm: f64) -> f64 {
        workers.each(&mut self.tensors, |tensor| {
            if tensor.active {
                tensor.squares = arch.dispatch(Squares { gradient: &tensor.gradient });
            }
        });
        let squares = self.tensors.iter().filter(|tensor| tensor.active).map(|tensor| tensor.squares).sum::<f64>();
        let norm = squares.sqrt();
        let rate = if norm > clip_norm { rate * (clip_norm / norm) } else { rate };
        for tensor in self.tensors.iter_mut().filter(|tensor| tensor.active) {
            let gradient = &tensor.gradient;
            workers.pieces(&mut tensor.value, PIECE, |piece, value| {
                let gradient = &gradient[piece * PIECE..][..value.len()];
                arch.dispatch(Descend { rate: T::of(rate), value, gradient });
            });
            tensor.stale = true;
        }
        norm
    }

    pub(super) fn save(&self, parameters: &[Parameter]) -> State
    where
        T: Stored,
    {
        let mut state = State::new();
        for (index, parameter) in parameters.iter().enumerate() {
            let entry = Entry { shape: parameter.shape.clone(), values: T::values(self.read(index, Part::Value)) };
            state.insert(parameter.name.clone(), entry);
        }
        state
    }

    pub(super) fn restore(&mut self, parameters: &[Parameter], state: &State) -> Result<()>
    where
        T: Stored,
    {
        for (index, parameter) in parameters.iter().enumerate() {
            let values = T::stored(state, &parameter.name, parameter.len())?;
            self.write(index, Part::Value, &values)?;
        }
        Ok(())
    }
}

/// The sum of the squares of a gradient.
struct Squares<'a, T> {
    gradient: &'a [Pixel<T>],
}

impl<T: Element> WithSimd for Squares<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut total = 0.0;
        for gradient in self.gradient.chunks(64) {
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
