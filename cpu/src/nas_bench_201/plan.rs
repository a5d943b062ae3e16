//! What is kept in memory for one minibatch: sizes, lifetimes, sums. Decided before the first step; nothing is allocated later.

use std::fmt;

use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::Layer;

use crate::Element;
use crate::layer::convolution::Convolution;
use crate::layer::winograd::{self, Winograd};
use crate::layer::{Pixel, Size, blocks};
use crate::nas_bench_201::learned::packing;
use crate::weights::Weights;

/// Images that are worked on together, by one thread. Their partial sums (statistics, gradients of weights) are added up in a
/// fixed order, so that results don't depend on the number of threads.
pub(super) const CHUNK: usize = 4;

/// How many candidates of an edge a proposal may have active at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simultaneous {
    /// One: sampled architectures.
    One,
    /// Two: ProxylessNAS.
    Two,
    /// All: DARTS, SNAS, the `θ` steps of NASP.
    All,
}

impl Simultaneous {
    fn of(self, candidates: usize) -> usize {
        match self {
            Self::One => candidates.min(1),
            Self::Two => candidates.min(2),
            Self::All => candidates,
        }
    }
}

/// A tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodePlan {
    pub(super) blocks: usize,
    pub(super) size: Size,
    /// Buffer of its gradient.
    pub(super) buffer: usize,
}

impl NodePlan {
    /// Length of an image in pixels.
    pub(super) fn length(&self) -> usize {
        self.blocks * self.size.pixels()
    }
}

/// Room for the output of one convolution of an input. Which candidate it is changes from step to step.
#[derive(Clone, Copy, Debug)]
pub(super) struct SlotPlan {
    pub(super) node: usize,
    pub(super) input: usize,
    pub(super) source: usize,
    /// Number among the slots of its node.
    pub(super) position: usize,
    /// Most pixels of the transposed weights.
    pub(super) transposed: usize,
    /// Most pixels of the transformed filters.
    pub(super) filters: usize,
}

/// The plan of a network.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    pub(super) slots: Vec<SlotPlan>,
    /// Pixels of an image in every gradient buffer.
    pub(super) gradients: Vec<usize>,
    /// Pixels of the gradient of the weights of the slot at every position.
    pub(super) weight_gradients: Vec<usize>,
    /// Pixels of the largest image with its border, as input of a convolution and as gradient of an output.
    pub(super) bordered_input: usize,
    pub(super) bordered_gradient: usize,
    /// Room for minimal filtering.
    pub(super) winograd: winograd::Lengths,
    /// Nodes whose gradient is complete once that of a node has been passed on.
    pub(super) completed_by: Vec<Vec<usize>>,
    pub(super) batch: usize,
}

impl Plan {
    pub(super) fn new(parent: &Parent, batch: usize, simultaneous: Simultaneous) -> Self {
        let mut nodes: Vec<NodePlan> = parent
            .nodes()
            .iter()
            .map(|node| NodePlan { blocks: blocks(node.channels), size: Size::square(node.side), buffer: usize::MAX })
            .collect();
        let mut slots = Vec::new();
        let mut weight_gradients: Vec<usize> = Vec::new();
        let (mut bordered_input, mut bordered_gradient) = (0, 0);
        let mut room = winograd::Lengths::default();
        for (index, node) in parent.nodes().iter().enumerate() {
            let mut position = 0;
            for (number, input) in node.inputs.iter().enumerate() {
                let mut convolutions = Vec::new();
                for layer in &input.layers {
                    if let Layer::Convolution(layer) = layer {
                        convolutions.push(geometry(parent, input.source, index, layer));
                    }
                }
                let most = |of: &dyn Fn(&Convolution) -> usize| convolutions.iter().map(of).max().unwrap_or(0);
                let padding = most(&Convolution::padding);
                if !convolutions.is_empty() {
                    let source = &nodes[input.source];
                    bordered_input = bordered_input.max(source.blocks * source.size.bordered(padding).pixels());
                    let node = &nodes[index];
                    bordered_gradient = bordered_gradient.max(node.blocks * node.size.bordered(padding).pixels());
                }
                let (weights, transposed) = (most(&Convolution::weights), most(&Convolution::transposed_weights));
                let winograd = convolutions.iter().filter_map(|convolution| Winograd::of(convolution, CHUNK));
                let filters = winograd.clone().map(|winograd| winograd.filters()).max().unwrap_or(0);
                room = winograd.map(|winograd| winograd.lengths()).fold(room, winograd::Lengths::max);
                for _ in 0..simultaneous.of(convolutions.len()) {
                    let source = input.source;
                    slots.push(SlotPlan { node: index, input: number, source, position, transposed, filters });
                    if position == weight_gradients.len() {
                        weight_gradients.push(0);
                    }
                    weight_gradients[position] = weight_gradients[position].max(weights);
                    position += 1;
                }
            }
        }

        // A node's gradient lives from the last node that reads it to its own turn.
        let mut gradients = Vec::new();
        let mut free: Vec<usize> = Vec::new();
        let mut completed_by = vec![Vec::new(); nodes.len()];
        let mut first_reader = vec![None; nodes.len()];
        for index in (1..nodes.len()).rev() {
            let sources = parent.nodes()[index].inputs.iter().map(|input| input.source).filter(|source| *source > 0);
            for needed in std::iter::once(index).chain(sources) {
                if nodes[needed].buffer == usize::MAX {
                    let length = nodes[needed].length();
                    let fits = free.iter().position(|buffer| gradients[*buffer] == length);
                    nodes[needed].buffer = fits.map_or_else(
                        || {
                            gradients.push(length);
                            gradients.len() - 1
                        },
                        |place| free.swap_remove(place),
                    );
                }
                if needed != index {
                    first_reader[needed] = Some(index);
                }
            }
            free.push(nodes[index].buffer);
        }
        for (node, reader) in first_reader.into_iter().enumerate() {
            if let Some(reader) = reader {
                completed_by[reader].push(node);
            }
        }
        Self {
            nodes,
            slots,
            gradients,
            weight_gradients,
            bordered_input,
            bordered_gradient,
            winograd: room,
            completed_by,
            batch,
        }
    }

    /// Chunks of a minibatch.
    pub(super) fn chunks(&self) -> usize {
        self.batch.div_ceil(CHUNK)
    }

    /// Pixels of an image of the output of a slot.
    pub(super) fn output(&self, slot: &SlotPlan) -> usize {
        self.nodes[slot.node].length()
    }

    /// What is allocated, for numbers of type `T`.
    pub(super) fn memory<T: Element>(&self, parent: &Parent, trials: usize, threads: usize) -> Memory {
        let pixel = size_of::<Pixel<T>>();
        let images = self.chunks() * CHUNK;
        let [parameters, optimizer] = Weights::<T>::bytes(parent.parameters().iter().map(packing), true);
        Memory {
            parameters: trials * parameters,
            optimizer: trials * optimizer,
            tensors: images * self.nodes.iter().map(NodePlan::length).sum::<usize>() * pixel,
            outputs: images * self.slots.iter().map(|slot| self.output(slot)).sum::<usize>() * pixel,
            gradients: images * self.gradients.iter().sum::<usize>() * pixel,
            weights: (self.slots.iter().map(|slot| slot.transposed + slot.filters).sum::<usize>()
                + self.chunks() * self.weight_gradients.iter().sum::<usize>())
                * pixel,
            scratch: threads * (self.bordered_input + self.bordered_gradient + self.winograd.sum()) * pixel,
        }
    }
}

/// The convolution of a layer between two nodes.
pub(super) fn geometry(
    parent: &Parent,
    source: usize,
    node: usize,
    layer: &advantage_nas::network::nas_bench_201::parent::Convolution,
) -> Convolution {
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
