//! Batch norm between two waits of the chunks: what a channel is multiplied by and moved by, forward and back.

use advantage_nas::network::nas_bench_201::parent::{Affine, NORM_MOMENTUM};

use super::learned::Learned;
use crate::Element;
use crate::layer::batch_norm::{Backward, EPSILON, Moments, Slopes};
use crate::layer::global::Normalization;
use crate::layer::{LANES, Pixel};

/// The channels of a batch norm, `[blocks]` each.
#[derive(Clone, Debug)]
pub(super) struct Channels<T> {
    pub(super) mean: Vec<Pixel<T>>,
    /// `1/√(v + ε)`
    pub(super) inverse: Vec<Pixel<T>>,
    /// Of the normalisation, the edge's weight included.
    pub(super) scale: Vec<Pixel<T>>,
    pub(super) shift: Vec<Pixel<T>>,
    /// Of its gradient, see [`Backward`].
    own: Vec<Pixel<T>>,
    other: Vec<Pixel<T>>,
    all: Vec<Pixel<T>>,
}

impl<T: Element> Channels<T> {
    pub(super) fn new(blocks: usize) -> Self {
        let zeros = || vec![Pixel::default(); blocks];
        Self {
            mean: zeros(),
            inverse: zeros(),
            scale: zeros(),
            shift: zeros(),
            own: zeros(),
            other: zeros(),
            all: zeros(),
        }
    }

    pub(super) fn backward(&self) -> Backward<'_, T> {
        Backward { own: &self.own, other: &self.other, mean: &self.mean, all: &self.all }
    }

    pub(super) fn normalization(&self) -> Normalization<'_, T> {
        Normalization { mean: &self.mean, scale: &self.scale, shift: &self.shift }
    }

    /// Sets up the forward pass of a block from the statistics of a minibatch, which are added to the running ones if these are to move.
    pub(super) fn prepare_forward(
        &mut self,
        block: usize,
        moments: &Moments,
        norm: Option<&Affine>,
        learned: &mut Learned<T>,
        move_running: bool,
        edge_weight: f64,
    ) {
        for lane in 0..LANES {
            let channel = block * LANES + lane;
            let (mean, variance) = (moments.mean[lane], moments.variance(lane));
            let (mut scale, mut shift) = (1.0, 0.0);
            if let Some(norm) = norm {
                scale = learned.weights.value(norm.scale)[block].0[lane].widen();
                shift = learned.weights.value(norm.shift)[block].0[lane].widen();
                if move_running {
                    let running = &mut learned.running[norm.running];
                    // Unbiased; of a single number there is none, and the variance is zero anyway.
                    let unbiased = moments.squares[lane] / (moments.count - 1.0).max(1.0);
                    running.mean[channel] += NORM_MOMENTUM * (mean - running.mean[channel]);
                    running.variance[channel] += NORM_MOMENTUM * (unbiased - running.variance[channel]);
                }
            }
            let inverse = 1.0 / (variance + EPSILON).sqrt();
            self.mean[block].0[lane] = T::of(mean);
            self.inverse[block].0[lane] = T::of(inverse);
            self.scale[block].0[lane] = T::of(edge_weight * scale * inverse);
            self.shift[block].0[lane] = T::of(edge_weight * shift);
        }
    }

    /// Sets up the backward pass of a block over `count` numbers of every channel; returns `Σ ∂L/∂y · ẑ`. Writes the gradients of scale and shift.
    pub(super) fn prepare_backward(
        &mut self,
        block: usize,
        slopes: &Slopes,
        norm: Option<&Affine>,
        learned: &mut Learned<T>,
        edge_weight: f64,
        count: f64,
    ) -> f64 {
        for lane in 0..LANES {
            let mut scale = 1.0;
            if let Some(norm) = norm {
                scale = learned.weights.value(norm.scale)[block].0[lane].widen();
                learned.weights.gradient_mut(norm.scale)[block].0[lane] = T::of(slopes.product[lane]);
                learned.weights.gradient_mut(norm.shift)[block].0[lane] = T::of(slopes.sum[lane]);
            }
            let inverse = self.inverse[block].0[lane].widen();
            let own = edge_weight * scale * inverse;
            self.own[block].0[lane] = T::of(own);
            self.other[block].0[lane] = T::of(-own * inverse * slopes.product[lane] / count);
            self.all[block].0[lane] = T::of(-own * slopes.sum[lane] / count);
        }
        slopes.product.iter().sum()
    }
}

/// The statistics of all chunks, added up in their order.
pub(super) fn join_moments<'a>(parts: impl Iterator<Item = &'a Moments>) -> Moments {
    let mut moments = Moments::default();
    parts.for_each(|part| moments.join(part));
    moments
}

/// The sums of all chunks, added up in their order.
pub(super) fn join_slopes<'a>(parts: impl Iterator<Item = &'a Slopes>) -> Slopes {
    let mut slopes = Slopes::default();
    parts.for_each(|part| slopes.join(part));
    slopes
}
