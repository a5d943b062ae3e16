//! What is kept in memory for one minibatch, in blocks of channels. Decided before the first step; nothing is allocated later.

use std::fmt;

use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::{self, Layer};
use advantage_nas::network::nas_bench_201::pass::PassLayout;

use advantage_nas::strategy::Activity;

use super::learned::packing;
use crate::Element;
use crate::layer::convolution::Convolution;
use crate::layer::winograd::{self, Winograd};
use crate::layer::{Pixel, Size, blocks};
use crate::weights::Weights;

/// Images of a chunk. Their partial sums (statistics, gradients of weights) are added up in a fixed order, so that results don't depend on
/// the number of threads.
pub(super) const CHUNK: usize = 4;

/// A tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeSize {
    pub(super) blocks: usize,
    pub(super) size: Size,
}

impl NodeSize {
    /// Length of an image in pixels.
    pub(super) fn length(&self) -> usize {
        self.blocks * self.size.pixels()
    }
}

/// Room beside the output of a slot, enough for every candidate.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotSize {
    /// Pixels of the transposed weights.
    pub(super) transposed: usize,
    /// Pixels of the transformed filters.
    pub(super) filters: usize,
}

/// All sizes of a network.
#[derive(Clone, Debug)]
pub(super) struct Sizes {
    pub(super) batch: usize,
    pub(super) nodes: Vec<NodeSize>,
    pub(super) slots: Vec<SlotSize>,
    /// Pixels of an image in every gradient buffer.
    pub(super) gradients: Vec<usize>,
    /// Pixels of the gradient of the weights of the slot at every position.
    pub(super) weight_gradients: Vec<usize>,
    /// Pixels of the largest image with its border, as input of a convolution and as gradient of an output.
    pub(super) bordered_input: usize,
    pub(super) bordered_gradient: usize,
    /// Room for minimal filtering.
    pub(super) winograd: winograd::Lengths,
}

impl Sizes {
    pub(super) fn new(parent: &Parent, layout: &PassLayout, batch: usize) -> Self {
        let nodes = parent.nodes().iter();
        let nodes: Vec<NodeSize> =
            nodes.map(|node| NodeSize { blocks: blocks(node.channels), size: Size::square(node.side) }).collect();
        let gradients = layout.gradients().iter();
        let gradients = gradients.map(|buffer| blocks(buffer.channels) * Size::square(buffer.side).pixels()).collect();
        let (mut slots, mut weight_gradients) = (Vec::new(), Vec::new());
        let (mut bordered_input, mut bordered_gradient) = (0, 0);
        let mut room = winograd::Lengths::default();
        for slot in layout.slots() {
            let input = &parent.nodes()[slot.node].inputs[slot.input];
            let convolutions = input.layers.iter().filter_map(|layer| match layer {
                Layer::Convolution(layer) => Some(geometry(parent, slot.source, slot.node, layer)),
                _ => None,
            });
            let most = |of: &dyn Fn(&Convolution) -> usize| convolutions.clone().map(|it| of(&it)).max().unwrap_or(0);
            let bordered = |node: usize| {
                let NodeSize { blocks, size } = nodes[node];
                blocks * size.bordered(most(&Convolution::padding)).pixels()
            };
            bordered_input = bordered_input.max(bordered(slot.source));
            bordered_gradient = bordered_gradient.max(bordered(slot.node));
            let winograd = convolutions.clone().filter_map(|convolution| Winograd::of(&convolution, CHUNK));
            let filters = winograd.clone().map(|winograd| winograd.filters()).max().unwrap_or(0);
            room = winograd.map(|winograd| winograd.lengths()).fold(room, winograd::Lengths::max);
            slots.push(SlotSize { transposed: most(&Convolution::transposed_weights), filters });
            if slot.position == weight_gradients.len() {
                weight_gradients.push(0);
            }
            let weights = &mut weight_gradients[slot.position];
            *weights = most(&Convolution::weights).max(*weights);
        }
        Self { batch, nodes, slots, gradients, weight_gradients, bordered_input, bordered_gradient, winograd: room }
    }

    /// What would be allocated.
    pub(super) fn memory_of<T: Element>(
        parent: &Parent,
        activity: Activity,
        batch: usize,
        trials: usize,
        threads: usize,
    ) -> Memory {
        let layout = PassLayout::new(parent, activity);
        Self::new(parent, &layout, batch).memory::<T>(parent, &layout, trials, threads)
    }

    /// Chunks of a minibatch.
    pub(super) fn chunks(&self) -> usize {
        self.batch.div_ceil(CHUNK)
    }

    /// What is allocated, for numbers of type `T`.
    pub(super) fn memory<T: Element>(
        &self,
        parent: &Parent,
        layout: &PassLayout,
        trials: usize,
        threads: usize,
    ) -> Memory {
        let pixel = size_of::<Pixel<T>>();
        let images = self.chunks() * CHUNK;
        let [parameters, optimizer] = Weights::<T>::bytes(parent.parameters().iter().map(packing), true);
        let outputs = layout.slots().iter().map(|slot| self.nodes[slot.node].length());
        Memory {
            parameters: trials * parameters,
            optimizer: trials * optimizer,
            tensors: images * self.nodes.iter().map(NodeSize::length).sum::<usize>() * pixel,
            outputs: images * outputs.sum::<usize>() * pixel,
            gradients: images * self.gradients.iter().sum::<usize>() * pixel,
            weights: (self.slots.iter().map(|slot| slot.transposed + slot.filters).sum::<usize>()
                + self.chunks() * self.weight_gradients.iter().sum::<usize>())
                * pixel,
            scratch: threads * (self.bordered_input + self.bordered_gradient + self.winograd.sum()) * pixel,
        }
    }
}

/// The convolution of a layer between two nodes.
pub(super) fn geometry(parent: &Parent, source: usize, node: usize, layer: &parent::Convolution) -> Convolution {
    let (input, output) = (&parent.nodes()[source], &parent.nodes()[node]);
    Convolution {
        inputs: input.channels,
        outputs: output.channels,
        kernel: layer.kernel,
        stride: layer.stride,
        size: Size::square(input.side),
    }
}

/// Memory of a supernet in bytes, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The weights, of all trials.
    pub parameters: usize,
    /// Their gradients and velocities, of all trials.
    pub optimizer: usize,
    /// The tensors of the graph for one minibatch.
    pub tensors: usize,
    /// Outputs of the convolutions, before batch norm.
    pub outputs: usize,
    /// Gradients of the tensors that are alive at the same time.
    pub gradients: usize,
    /// Transposed and transformed weights of the convolutions that take part, and partial gradients of weights.
    pub weights: usize,
    /// Images with a border and in tiles, of every thread.
    pub scratch: usize,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.parameters + self.optimizer + self.working()
    }

    /// What is neither parameters nor the optimiser's.
    #[must_use]
    pub fn working(&self) -> usize {
        self.tensors + self.outputs + self.gradients + self.weights + self.scratch
    }
}

/// One line, in MiB.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:.1} MiB: parameters {:.1}, gradients and velocities {:.1}, tensors {:.1}, convolution outputs {:.1}, gradients of \
             tensors {:.1}, transposed weights and partial gradients {:.1}, scratch {:.1}",
            mib(self.total()),
            mib(self.parameters),
            mib(self.optimizer),
            mib(self.tensors),
            mib(self.outputs),
            mib(self.gradients),
            mib(self.weights),
            mib(self.scratch)
        )
    }
}
