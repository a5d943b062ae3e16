//! The images that one thread works on together, with everything that is known of them.

use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::pass::PassLayout;

use super::sizes::{CHUNK, Sizes};
use crate::Element;
use crate::layer::batch_norm::{Moments, Slopes};
use crate::layer::{Pixel, Size, blocks, winograd};

/// Some images of a minibatch.
#[derive(Clone, Debug)]
pub(super) struct Chunk<T> {
    /// The first image, and how many.
    pub(super) first: usize,
    pub(super) images: usize,
    /// Every node, `[images, blocks, height, width]`.
    pub(super) values: Vec<Vec<Pixel<T>>>,
    /// Output of every slot, `[images, blocks, height, width]`.
    pub(super) outputs: Vec<Vec<Pixel<T>>>,
    /// Gradient buffers.
    pub(super) gradients: Vec<Vec<Pixel<T>>>,
    /// Gradients of the weights of the slots of one node.
    pub(super) weight_gradients: Vec<Vec<Pixel<T>>>,
    /// Of every slot, `[blocks]`.
    pub(super) moments: Vec<Vec<Moments>>,
    pub(super) slopes: Vec<Vec<Slopes>>,
    /// Of every node: sum of its gradient; of its terms, `∂loss/∂a` unless a batch norm knows it.
    pub(super) sums: Vec<f64>,
    pub(super) edge_slopes: Vec<Vec<f64>>,
    pub(super) head: HeadChunk<T>,
}

/// What is known of a chunk's images behind the last node.
#[derive(Clone, Debug)]
pub(super) struct HeadChunk<T> {
    pub(super) moments: Vec<Moments>,
    pub(super) slopes: Vec<Slopes>,
    /// `[images, blocks]` each.
    pub(super) features: Vec<Pixel<T>>,
    pub(super) feature_gradients: Vec<Pixel<T>>,
    /// `[images, classes]`
    pub(super) logits: Vec<T>,
    pub(super) logit_slopes: Vec<T>,
    pub(super) weight_gradient: Vec<Pixel<T>>,
    pub(super) bias_gradient: Vec<Pixel<T>>,
    pub(super) loss: f64,
    pub(super) correct: usize,
}

/// Images with a border and in tiles, of one thread.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    pub(super) input: Vec<Pixel<T>>,
    pub(super) gradient: Vec<Pixel<T>>,
    pub(super) room: winograd::Room<T>,
}

fn zeros<T: Element>(length: usize) -> Vec<Pixel<T>> {
    vec![Pixel::default(); length]
}

impl<T: Element> Chunk<T> {
    pub(super) fn new(parent: &Parent, layout: &PassLayout, sizes: &Sizes) -> Self {
        let nodes = parent.nodes();
        let most_terms = |node: usize| nodes[node].inputs.iter().map(|input| input.layers.len()).sum();
        let slot_blocks = || layout.slots().iter().map(|slot| sizes.nodes[slot.node].blocks);
        Self {
            first: 0,
            images: 0,
            values: sizes.nodes.iter().map(|node| zeros(CHUNK * node.length())).collect(),
            outputs: layout.slots().iter().map(|slot| zeros(CHUNK * sizes.nodes[slot.node].length())).collect(),
            gradients: sizes.gradients.iter().map(|length| zeros(CHUNK * length)).collect(),
            weight_gradients: sizes.weight_gradients.iter().map(|length| zeros(*length)).collect(),
            moments: slot_blocks().map(|blocks| vec![Moments::default(); blocks]).collect(),
            slopes: slot_blocks().map(|blocks| vec![Slopes::default(); blocks]).collect(),
            sums: vec![0.0; nodes.len()],
            edge_slopes: (0..nodes.len()).map(|node| vec![0.0; most_terms(node)]).collect(),
            head: HeadChunk::new(sizes.nodes[nodes.len() - 1].blocks, parent.skeleton().classes),
        }
    }
}

impl<T: Element> HeadChunk<T> {
    fn new(last: usize, classes: usize) -> Self {
        Self {
            moments: vec![Moments::default(); last],
            slopes: vec![Slopes::default(); last],
            features: zeros(CHUNK * last),
            feature_gradients: zeros(CHUNK * last),
            logits: vec![T::zero(); CHUNK * classes],
            logit_slopes: vec![T::zero(); CHUNK * classes],
            weight_gradient: zeros(classes * last),
            bias_gradient: zeros(blocks(classes)),
            loss: 0.0,
            correct: 0,
        }
    }
}

impl<T: Element> Scratch<T> {
    pub(super) fn new(sizes: &Sizes) -> Self {
        Self {
            input: zeros(sizes.bordered_input),
            gradient: zeros(sizes.bordered_gradient),
            room: winograd::Room::new(sizes.winograd),
        }
    }
}

/// Writes an image `[channels, height, width]` as pixels.
pub(super) fn interleave<T: Element>(image: &[f32], size: Size, out: &mut [Pixel<T>]) {
    for (channel, plane) in image.chunks_exact(size.pixels()).enumerate() {
        for (pixel, &value) in out.iter_mut().zip(plane) {
            pixel.0[channel] = T::of_f32(value);
        }
    }
}
