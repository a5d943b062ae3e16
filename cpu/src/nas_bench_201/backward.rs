//! The backward pass of a chunk, node by node, and the sums of batch norms and weight gradients, for which chunks wait.

use std::ops::Range;

use advantage_nas::network::nas_bench_201::parent::Norm;
use advantage_nas::network::nas_bench_201::pass::{Operation, Term};

use super::chunk::{Chunk, HeadChunk, Scratch};
use super::graph::Graph;
use super::learned::Learned;
use super::norm::{Channels, join_slopes};
use super::passes::Wanted;
use super::sizes::NodeSize;
use crate::Element;
use crate::layer::batch_norm::{self, Slopes};
use crate::layer::map::{self, Summand};
use crate::layer::{Pixel, Size, global};
use crate::workers::Workers;

/// Pixels of a gradient of weights that are added up at once.
const PIECE: usize = 256;

/// Which convolution of which image of a chunk.
#[derive(Clone, Copy, Debug)]
struct At {
    slot: usize,
    image: usize,
    first_to_write: bool,
}

impl<T: Element> Graph<T> {
    /// Adds up the gradients of the head's parameters, and sets up its batch norm's gradient.
    pub(super) fn prepare_head_backward(&mut self, chunks: &[Chunk<T>], learned: &mut Learned<T>) {
        let head = *self.parent.head();
        let last = self.sizes.nodes[self.last()];
        for (parameter, of) in [
            (head.weight, (|own| &own.weight_gradient) as fn(&HeadChunk<T>) -> &Vec<Pixel<T>>),
            (head.bias, |own| &own.bias_gradient),
        ] {
            let gradient = learned.weights.gradient_mut(parameter);
            let parts = chunks.iter().map(|chunk| Summand::Scaled { x: of(&chunk.head), weight: T::one() });
            map::combine(self.arch, parts, Size { height: 1, width: gradient.len() }, gradient, true);
        }
        let count = (self.images * last.size.pixels()) as f64;
        for block in 0..last.blocks {
            let slopes = join_slopes(chunks.iter().map(|chunk| &chunk.head.slopes[block]));
            self.head.prepare_backward(block, &slopes, Some(&head.norm), learned, 1.0, count);
        }
    }

    /// The gradient of the last node of a chunk.
    pub(super) fn backward_head(&self, chunk: &mut Chunk<T>) {
        let last = self.last();
        let NodeSize { blocks, size } = self.sizes.nodes[last];
        let length = self.sizes.nodes[last].length();
        for image in 0..chunk.images {
            let x = &chunk.values[last][image * length..][..length];
            let gradient = &chunk.head.feature_gradients[image * blocks..][..blocks];
            let out = &mut chunk.gradients[self.layout.gradient_of(last)][image * length..][..length];
            let (normalization, backward) = (self.head.normalization(), self.head.backward());
            global::input_gradient(self.arch, x, size, normalization, gradient, backward, out);
        }
    }

    /// Sums over the finished gradient of a node.
    pub(super) fn complete(&self, node: usize, chunk: &mut Chunk<T>, wanted: Wanted) {
        let own = &self.sizes.nodes[node];
        let length = own.length();
        let mut gradient = std::mem::take(&mut chunk.gradients[self.layout.gradient_of(node)]);
        if !self.selection.reached(node) {
            gradient[..chunk.images * length].fill(Pixel::default());
        }
        let images = || gradient.chunks_exact(length).take(chunk.images).enumerate();
        for (index, term) in self.selection.terms(node).iter().enumerate() {
            if let Operation::Convolution { slot } = term.operation {
                let of = &self.convolutions[slot];
                if of.chosen().norm == Norm::Without {
                    continue;
                }
                let slopes = &mut chunk.slopes[slot];
                slopes.fill(Slopes::default());
                for (image, gradient) in images() {
                    let z = &chunk.outputs[slot][image * length..][..length];
                    let Channels { mean, inverse, .. } = &of.channels;
                    batch_norm::join_slopes(self.arch, gradient, z, own.size, mean, inverse, slopes);
                }
            } else if wanted.edges && term.place.is_some() {
                let one = Term { weight: 1.0, ..*term };
                let mut sum = 0.0;
                for (image, gradient) in images() {
                    sum += map::product(self.arch, self.summand(chunk, &one, image), own.size, gradient);
                }
                chunk.edge_slopes[node][index] = sum;
            }
        }
        if wanted.unit_outputs {
            chunk.sums[node] = images().map(|(_, gradient)| map::sum(self.arch, gradient)).sum();
        }
        chunk.gradients[self.layout.gradient_of(node)] = gradient;
    }

    /// Adds up the sums of the convolutions that lead to a node.
    pub(super) fn join_slopes(&mut self, node: usize, chunks: &[Chunk<T>], learned: &mut Learned<T>) {
        let own = self.sizes.nodes[node];
        let count = (self.images * own.size.pixels()) as f64;
        for term in self.selection.terms(node) {
            let Operation::Convolution { slot: index } = term.operation else { continue };
            let slot = &mut self.convolutions[index];
            let chosen = *slot.chosen();
            if chosen.norm == Norm::Without {
                continue;
            }
            let affine = chosen.affine();
            slot.slope = 0.0;
            for block in 0..own.blocks {
                let slopes = join_slopes(chunks.iter().map(|chunk| &chunk.slopes[index][block]));
                let (norm, weight) = (affine.as_ref(), chosen.edge_weight);
                slot.slope += slot.channels.prepare_backward(block, &slopes, norm, learned, weight, count);
            }
        }
    }

    /// Passes the gradient of a node on to its sources, and to the weights in between.
    pub(super) fn backward_node(&self, node: usize, chunk: &mut Chunk<T>, wanted: Wanted, scratch: &mut Scratch<T>) {
        let own = &self.sizes.nodes[node];
        let length = own.length();
        let gradient = std::mem::take(&mut chunk.gradients[self.layout.gradient_of(node)]);
        for term in self.selection.terms(node) {
            let source = &self.sizes.nodes[term.source];
            let source_length = source.length();
            // The images have no gradient.
            let passed_on = term.source > 0;
            let mut out = match passed_on {
                true => std::mem::take(&mut chunk.gradients[self.layout.gradient_of(term.source)]),
                false => Vec::new(),
            };
            if let Operation::Convolution { slot } = term.operation
                && wanted.weights
            {
                let slot = &self.convolutions[slot];
                // Minimal filtering writes its sum after the chunk's last image, if there is one.
                let chosen = slot.chosen();
                if chosen.winograd.is_none() || chunk.images == 0 {
                    let weights = &mut chunk.weight_gradients[slot.slot.position];
                    weights[..chosen.convolution.weights()].fill(Pixel::default());
                }
            }
            for (image, gradient) in gradient.chunks_exact(length).take(chunk.images).enumerate() {
                let out = passed_on.then(|| &mut out[image * source_length..][..source_length]);
                let summand = match term.operation {
                    Operation::Skip => Summand::Scaled { x: gradient, weight: T::of(term.weight) },
                    Operation::AveragePooling => Summand::PooledBack { x: gradient, weight: T::of(term.weight) },
                    Operation::Halving => Summand::HalvedBack { x: gradient },
                    Operation::Convolution { slot } => {
                        let at = At { slot, image, first_to_write: term.first_to_write };
                        self.backward_convolution(at, gradient, chunk, wanted, scratch, out);
                        continue;
                    }
                };
                if let Some(out) = out {
                    map::combine(self.arch, std::iter::once(summand), source.size, out, term.first_to_write);
                }
            }
            if passed_on {
                chunk.gradients[self.layout.gradient_of(term.source)] = out;
            }
        }
        chunk.gradients[self.layout.gradient_of(node)] = gradient;
    }

    fn backward_convolution(
        &self,
        At { slot: index, image, first_to_write }: At,
        gradient: &[Pixel<T>],
        chunk: &mut Chunk<T>,
        wanted: Wanted,
        scratch: &mut Scratch<T>,
        out: Option<&mut [Pixel<T>]>,
    ) {
        let slot = &self.convolutions[index];
        let chosen = slot.chosen();
        let convolution = &chosen.convolution;
        let (border, size) = (convolution.padding(), convolution.output());
        if chosen.norm == Norm::Without {
            map::border(self.arch, gradient, size, border, false, &mut scratch.gradient);
        } else {
            let z = &chunk.outputs[index][image * gradient.len()..][..gradient.len()];
            let backward = slot.channels.backward();
            batch_norm::input_gradient(self.arch, gradient, z, size, backward, border, &mut scratch.gradient);
        }
        let length = self.sizes.nodes[slot.slot.source].length();
        let x = &chunk.values[slot.slot.source][image * length..][..length];
        if wanted.weights {
            map::border(self.arch, x, convolution.size, border, chosen.relu, &mut scratch.input);
            let weights = &mut chunk.weight_gradients[slot.slot.position];
            if let Some(winograd) = &chosen.winograd {
                let Scratch { input, gradient, room } = &mut *scratch;
                let last = image + 1 == chunk.images;
                winograd.weight_gradient(self.arch, image, last, input, border, gradient, room);
                if last {
                    winograd.finish(self.arch, room, &mut weights[..convolution.weights()]);
                }
            } else {
                convolution.weight_gradient(self.arch, &scratch.input, border, &scratch.gradient, weights);
            }
        }
        if let Some(out) = out {
            let relu = chosen.relu.then_some((x, 0));
            if let Some(winograd) = &chosen.winograd {
                let Scratch { gradient, room, .. } = &mut *scratch;
                winograd.input_gradient(self.arch, gradient, &slot.filters, relu, room, out, first_to_write);
            } else {
                convolution.input_gradient(self.arch, &scratch.gradient, &slot.transposed, relu, out, first_to_write);
            }
        }
    }

    /// Adds up the gradients of the weights in front of these nodes.
    pub(super) fn join_weight_gradients(
        &self,
        nodes: Range<usize>,
        chunks: &[Chunk<T>],
        learned: &mut Learned<T>,
        workers: &Workers,
    ) {
        for term in nodes.flat_map(|node| self.selection.terms(node)) {
            let Operation::Convolution { slot } = term.operation else { continue };
            let slot = &self.convolutions[slot];
            workers.pieces(learned.weights.gradient_mut(slot.chosen().weight), PIECE, |piece, out| {
                let range = piece * PIECE..piece * PIECE + out.len();
                let parts = chunks.iter().map(|chunk| Summand::Scaled {
                    x: &chunk.weight_gradients[slot.slot.position][range.clone()],
                    weight: T::one(),
                });
                map::combine(self.arch, parts, Size { height: 1, width: range.len() }, out, true);
            });
        }
    }
}
