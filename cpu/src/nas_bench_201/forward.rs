//! The forward pass of a chunk, node by node, and the move_running of batch norms, for which chunks wait.

use std::ops::Range;

use advantage_nas::network::nas_bench_201::PIXELS;
use advantage_nas::network::nas_bench_201::parent::Norm;

use super::chunk::{Chunk, Scratch, interleave};
use super::graph::Graph;
use super::learned::Learned;
use super::norm::join_moments;
use super::passes::Minibatch;
use super::sizes::NodeSize;
use crate::Element;
use crate::layer::batch_norm::{self, Moments, Slopes};
use crate::layer::{Pixel, global, linear, map};

impl<T: Element> Graph<T> {
    /// Computes a node of a chunk, and all convolutions that read it.
    pub(super) fn forward_node(
        &self,
        node: usize,
        chunk: &mut Chunk<T>,
        minibatch: Minibatch<'_>,
        learned: &Learned<T>,
        scratch: &mut Scratch<T>,
    ) {
        let own = &self.sizes.nodes[node];
        let length = own.length();
        let mut value = std::mem::take(&mut chunk.values[node]);
        for (image, value) in value.chunks_exact_mut(length).take(chunk.images).enumerate() {
            if node == 0 {
                let start = (chunk.first + image) * PIXELS;
                interleave(&minibatch.images[start..start + PIXELS], own.size, value);
            } else {
                let summands = self.selection.terms(node).iter().map(|term| self.summand(chunk, term, image));
                map::combine(self.arch, summands, own.size, value, true);
            }
        }
        let readers = self.selection.readers(node);
        for &slot in readers {
            chunk.moments[slot].fill(Moments::default());
        }
        let border =
            readers.iter().map(|&slot| self.convolutions[slot].chosen().convolution.padding()).max().unwrap_or(0);
        for (image, value) in value.chunks_exact(length).take(chunk.images).enumerate() {
            let Some(&first) = readers.first() else { break };
            // What reads a node through convolutions does so either with ReLU or without.
            map::border(self.arch, value, own.size, border, self.convolutions[first].chosen().relu, &mut scratch.input);
            for &index in readers {
                let slot = &self.convolutions[index];
                let chosen = slot.chosen();
                let length = self.sizes.nodes[slot.slot.node].length();
                let output = &mut chunk.outputs[index][image * length..][..length];
                if let Some(winograd) = &chosen.winograd {
                    let Scratch { input, room, .. } = &mut *scratch;
                    winograd.forward(self.arch, input, border, &slot.filters, room, output);
                } else {
                    let filters = learned.weights.value(chosen.weight);
                    chosen.convolution.forward(self.arch, &scratch.input, border, filters, output);
                }
                if chosen.norm != Norm::Without {
                    let size = chosen.convolution.output();
                    batch_norm::join_moments(self.arch, output, size, &mut chunk.moments[index]);
                }
            }
        }
        if node + 1 == self.sizes.nodes.len() {
            chunk.head.moments.fill(Moments::default());
            for value in value.chunks_exact(length).take(chunk.images) {
                batch_norm::join_moments(self.arch, value, own.size, &mut chunk.head.moments);
            }
        }
        chunk.values[node] = value;
    }

    /// Adds up the statistics of the convolutions that read these nodes.
    pub(super) fn join_moments(
        &mut self,
        nodes: Range<usize>,
        chunks: &[Chunk<T>],
        learned: &mut Learned<T>,
        move_running: bool,
    ) {
        let last = nodes.end == self.sizes.nodes.len();
        for node in nodes {
            for &index in self.selection.readers(node) {
                let slot = &mut self.convolutions[index];
                let chosen = *slot.chosen();
                if chosen.norm == Norm::Without {
                    continue;
                }
                let affine = chosen.affine();
                for block in 0..self.sizes.nodes[slot.slot.node].blocks {
                    let moments = join_moments(chunks.iter().map(|chunk| &chunk.moments[index][block]));
                    slot.channels.prepare_forward(
                        block,
                        &moments,
                        affine.as_ref(),
                        learned,
                        move_running,
                        chosen.edge_weight,
                    );
                }
            }
        }
        if last {
            let norm = self.parent.head().norm;
            for block in 0..self.sizes.nodes[self.last()].blocks {
                let moments = join_moments(chunks.iter().map(|chunk| &chunk.head.moments[block]));
                self.head.prepare_forward(block, &moments, Some(&norm), learned, move_running, 1.0);
            }
        }
    }

    /// Everything behind the last node, and the gradient up to the batch norm.
    pub(super) fn forward_head(&self, chunk: &mut Chunk<T>, minibatch: Minibatch<'_>, learned: &Learned<T>) {
        let head = self.parent.head();
        let last = self.last();
        let NodeSize { blocks, size, .. } = self.sizes.nodes[last];
        let length = self.sizes.nodes[last].length();
        let classes = self.parent.skeleton().classes;
        let own = &mut chunk.head;
        own.slopes.fill(Slopes::default());
        own.weight_gradient.fill(Pixel::default());
        own.bias_gradient.fill(Pixel::default());
        (own.loss, own.correct) = (0.0, 0);
        let (weight, bias) = (learned.weights.value(head.weight), learned.weights.value(head.bias));
        for image in 0..chunk.images {
            let x = &chunk.values[last][image * length..][..length];
            let features = &mut own.features[image * blocks..][..blocks];
            global::average(self.arch, x, size, self.head.normalization(), features);
            let logits = &mut own.logits[image * classes..][..classes];
            linear::forward(weight, bias, features, logits);
            let slopes = &mut own.logit_slopes[image * classes..][..classes];
            let label = minibatch.labels[chunk.first + image];
            let (loss, correct) = linear::cross_entropy(logits, label, self.images, slopes);
            own.loss += loss;
            own.correct += usize::from(correct);
            let gradient = &mut own.feature_gradients[image * blocks..][..blocks];
            let (weight_gradient, bias_gradient) = (&mut own.weight_gradient, &mut own.bias_gradient);
            linear::backward(weight, features, slopes, gradient, weight_gradient, bias_gradient);
            let (normalization, inverse) = (self.head.normalization(), &self.head.inverse);
            global::join_slopes(self.arch, x, size, normalization, gradient, inverse, &mut own.slopes);
        }
    }
}
