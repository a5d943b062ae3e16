//! What one trial learns: its weights, and the transposed matrices that gradients go back through.

use advantage_nas::Result;
use advantage_nas::network::recurrent::{ParameterKind, Parent};
use advantage_nas::network::{Parameter, Part, Sgd, initial_values};
use advantage_nas::random::Streams;
use advantage_nas::strategy::Proposal;
use ndarray::{ArrayD, ArrayViewD};
use pulp::Arch;

use crate::Element;
use crate::layer::{LANES, Pixel, blocks};
use crate::matrix::{Rows, transpose};
use crate::weights::{Packing, Update, Weights};
use crate::workers::Workers;

/// Pixels whose squares are added up at once, see [`Update`].
const NORM_STRIP: usize = 64;

/// The bias of words that there are not: their exponentials are zero.
const NO_WORD: f64 = -1e30;

/// A matrix is the right factor of `x Wᵀ`; the embedding of a word lies together.
fn packing(kind: ParameterKind, parameter: &Parameter) -> Packing {
    match (kind, &*parameter.shape) {
        (ParameterKind::Embedding, &[rows, columns]) => Packing::Rows { rows, columns },
        (_, &[rows, columns]) => Packing::Panels { rows, columns },
        _ => Packing::Vector { length: parameter.len() },
    }
}

fn packings(parent: &Parent) -> impl Iterator<Item = Packing> {
    parent.kinds().iter().zip(parent.parameters()).map(|(kind, parameter)| packing(*kind, parameter))
}

/// Once more a matrix `[outputs, inputs]`, but as the right factor of `y W`: `[outputs, inputs]` in panels.
#[derive(Clone, Debug)]
struct Transposed<T> {
    outputs: usize,
    inputs: usize,
    pixels: Vec<Pixel<T>>,
    /// Whether it is of other values than the matrix.
    stale: bool,
}

/// Everything that a trial learns.
#[derive(Clone, Debug)]
pub struct Learned<T> {
    weights: Weights<T>,
    /// Of every matrix; `None` for the other parameters.
    transposed: Vec<Option<Transposed<T>>>,
}

/// The output layer on the way back.
pub(super) struct OutputLayer<'a, T> {
    /// The right factor of `y W`.
    pub(super) factor: Rows<'a, T>,
    pub(super) weight_gradient: &'a mut [Pixel<T>],
    pub(super) bias_gradient: &'a mut [Pixel<T>],
}

impl<T: Element> Learned<T> {
    /// Bytes of weights, gradients and transposed matrices.
    pub(super) fn bytes(parent: &Parent) -> usize {
        let transposed = packings(parent).map(|packing| match packing {
            Packing::Panels { rows, columns } => rows * blocks(columns) * size_of::<Pixel<T>>(),
            _ => 0,
        });
        Weights::<T>::bytes(packings(parent), false).iter().sum::<usize>() + transposed.sum::<usize>()
    }

    pub(super) fn new(parent: &Parent, streams: &Streams, trial: u32) -> Self {
        let mut weights = Weights::new(packings(parent).collect(), Update { momentum: false, strip: NORM_STRIP });
        weights.value_mut(parent.index(ParameterKind::OutputBias)).fill(Pixel([T::of(NO_WORD); LANES]));
        weights.initialize(initial_values(parent.parameters(), streams, trial));
        let transposed = packings(parent).map(|packing| {
            let Packing::Panels { rows: outputs, columns: inputs } = packing else { return None };
            Some(Transposed { outputs, inputs, pixels: vec![Pixel::default(); outputs * blocks(inputs)], stale: true })
        });
        Self { weights, transposed: transposed.collect() }
    }

    /// Values of a parameter, as they are stored.
    pub(super) fn value(&self, parameter: usize) -> &[Pixel<T>] {
        self.weights.value(parameter)
    }

    /// A matrix as the right factor of `x Wᵀ`.
    pub(super) fn forward(&self, parameter: usize) -> Rows<'_, T> {
        let inputs = matrix(&self.transposed, parameter).inputs;
        Rows::all(self.weights.value(parameter), inputs)
    }

    /// A matrix as the right factor of `y W`.
    pub(super) fn backward(&self, parameter: usize) -> Rows<'_, T> {
        matrix(&self.transposed, parameter).factor()
    }

    /// What the way back of the output layer reads and writes.
    pub(super) fn output_layer(&mut self, weight: usize, bias: usize) -> OutputLayer<'_, T> {
        let factor = matrix(&self.transposed, weight).factor();
        let [weight_gradient, bias_gradient] = self.weights.gradients_mut([weight, bias]);
        OutputLayer { factor, weight_gradient, bias_gradient }
    }

    /// Gradient of a parameter, to be written.
    pub(super) fn gradient_mut(&mut self, parameter: usize) -> &mut [Pixel<T>] {
        self.weights.gradient_mut(parameter)
    }

    /// Writes the gradients of the parameters that take part.
    pub(super) fn each_gradient(&mut self, workers: &Workers, write: impl Fn(usize, &mut [Pixel<T>]) + Sync) {
        self.weights.each_gradient(workers, write);
    }

    /// Chooses the parameters that take part in a step.
    pub(super) fn select(&mut self, parent: &Parent, proposal: &Proposal) {
        for (active, parameter) in self.weights.active_mut().iter_mut().zip(parent.parameters()) {
            // All edges have the same candidates.
            *active = parameter.owner.takes_part(proposal, parent.space().zero(0));
        }
    }

    /// Brings the transposed matrices of parameters that take part up to date.
    pub(super) fn transpose(&mut self, workers: &Workers) {
        for (parameter, transposed) in self.transposed.iter_mut().enumerate() {
            let Some(Transposed { outputs, inputs, pixels, stale }) = transposed else { continue };
            if !*stale || !self.weights.active(parameter) {
                continue;
            }
            let value = self.weights.value(parameter);
            workers.pieces(pixels, *outputs, |panel, out| transpose(value, *inputs, *outputs, panel, out));
            *stale = false;
        }
    }

    /// As [`Weights::update`].
    pub(super) fn update(&mut self, arch: Arch, workers: &Workers, sgd: &Sgd, rate: f64) -> f64 {
        for (parameter, transposed) in self.transposed.iter_mut().enumerate() {
            if let Some(Transposed { stale, .. }) = transposed {
                *stale |= self.weights.active(parameter);
            }
        }
        self.weights.update(arch, workers, sgd, rate)
    }

    /// Numbers of a parameter.
    pub(super) fn read(&self, parameter: usize, part: Part) -> ArrayD<T> {
        self.weights.read(parameter, part)
    }

    /// Overwrites numbers of a parameter.
    ///
    /// # Errors
    /// As [`Weights::write`].
    pub(super) fn write(&mut self, parameter: usize, part: Part, values: ArrayViewD<'_, T>) -> Result<()> {
        self.weights.write(parameter, part, values)?;
        if let Some(Transposed { stale, .. }) = &mut self.transposed[parameter] {
            *stale = true;
        }
        Ok(())
    }
}

fn matrix<T>(transposed: &[Option<Transposed<T>>], parameter: usize) -> &Transposed<T> {
    transposed[parameter].as_ref().expect("a matrix of the cell or of the output layer")
}

impl<T: Element> Transposed<T> {
    fn factor(&self) -> Rows<'_, T> {
        debug_assert!(!self.stale, "the transposed matrix is of other values");
        Rows::all(&self.pixels, self.outputs)
    }
}
