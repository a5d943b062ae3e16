//! The launches of a pass as data, in their order: what is recorded, what is predicted, and what is timed one by one.

use advantage_nas::network::nas_bench_201::Parent;

use super::arena::{Arena, Reading};
use crate::device::source::Signature;
use crate::kernels::nas_bench_201::backward::{Answers, Back8, Back16, Back32, BackLast, BackUp16, BackUp32};
use crate::kernels::nas_bench_201::forward::{LastNode, Node8, Node16, Node32, NodeDown8, NodeDown16, Stem};
use crate::kernels::nas_bench_201::head::{HeadFinish, HeadForward, HeadWeights};
use crate::kernels::nas_bench_201::update::{ClipUpdate, FinishGradient};
use crate::kernels::nas_bench_201::weights::{
    Channels, Weights8, Weights16, Weights32, WeightsDown8, WeightsDown16, WeightsStem,
};

/// What is recorded together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Whether the way back is gone.
    pub(crate) backward: bool,
    /// Whether the gradients of the weights are computed.
    pub(crate) weights: bool,
    /// Whether `∂loss/∂a` is added up.
    pub(crate) edges: bool,
}

/// A launch. Nodes are those of the parent network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Launch {
    /// The convolution of the images.
    Stem,
    /// The value of a node, and all convolutions that read it.
    Node(usize),
    /// The value of the last node, and its statistics.
    LastNode,
    /// What is behind it, of every image.
    HeadForward,
    /// The loss of all images.
    HeadFinish,
    /// The gradient of the last node.
    BackLast,
    /// The gradient of a node, from all that reads it.
    Back(usize),
    /// `∂loss/∂a`.
    Answers,
    /// The gradients of the filters of one of the [`Convolutions`].
    Weights(usize),
    /// The gradients of the filters that are applied to the images.
    WeightsStem,
    /// The gradients of what is behind the last node.
    HeadWeights,
    /// Parts of gradients added up, and squares.
    FinishGradient,
    /// The update of the weights.
    ClipUpdate,
}

/// The launches of a pass.
pub(crate) fn launches(kind: Kind, arena: &Arena, lists: usize) -> Vec<Launch> {
    // The last node has no convolutions that read it, the images have no value.
    let nodes = 1..arena.shapes.len() - 1;
    let mut order = vec![Launch::Stem];
    order.extend(nodes.clone().map(Launch::Node));
    order.extend([Launch::LastNode, Launch::HeadForward, Launch::HeadFinish]);
    if kind.backward {
        order.push(Launch::BackLast);
        order.extend(nodes.rev().map(Launch::Back));
    }
    if kind.edges {
        order.push(Launch::Answers);
    }
    if kind.weights {
        order.extend((0..lists).map(Launch::Weights));
        order.extend([Launch::WeightsStem, Launch::HeadWeights]);
    }
    order
}

/// The launches of an update, which are recorded on their own.
pub(crate) const UPDATE: [Launch; 2] = [Launch::FinishGradient, Launch::ClipUpdate];

impl Launch {
    /// The kernels.
    pub(crate) fn signature(self, arena: &Arena, lists: &[Convolutions]) -> Signature {
        match self {
            Self::Stem => Stem::SIGNATURE,
            Self::Node(node) => match (arena.readings[node], arena.shapes[node].side) {
                (Reading::Same, 32) => Node32::SIGNATURE,
                (Reading::Same, 16) => Node16::SIGNATURE,
                (Reading::Same, _) => Node8::SIGNATURE,
                (Reading::Half, 32) => NodeDown16::SIGNATURE,
                (Reading::Half, _) => NodeDown8::SIGNATURE,
            },
            Self::LastNode => LastNode::SIGNATURE,
            Self::HeadForward => HeadForward::SIGNATURE,
            Self::HeadFinish => HeadFinish::SIGNATURE,
            Self::BackLast => BackLast::SIGNATURE,
            Self::Back(node) => match (arena.readings[node], arena.shapes[node].side) {
                (Reading::Same, 32) => Back32::SIGNATURE,
                (Reading::Same, 16) => Back16::SIGNATURE,
                (Reading::Same, _) => Back8::SIGNATURE,
                (Reading::Half, 32) => BackUp32::SIGNATURE,
                (Reading::Half, _) => BackUp16::SIGNATURE,
            },
            Self::Answers => Answers::SIGNATURE,
            Self::Weights(list) => match (lists[list].reading, lists[list].side) {
                (Reading::Same, 32) => Weights32::SIGNATURE,
                (Reading::Same, 16) => Weights16::SIGNATURE,
                (Reading::Same, _) => Weights8::SIGNATURE,
                (Reading::Half, 16) => WeightsDown16::SIGNATURE,
                (Reading::Half, _) => WeightsDown8::SIGNATURE,
            },
            Self::WeightsStem => WeightsStem::SIGNATURE,
            Self::HeadWeights => HeadWeights::SIGNATURE,
            Self::FinishGradient => FinishGradient::SIGNATURE,
            Self::ClipUpdate => ClipUpdate::SIGNATURE,
        }
    }

    /// The kernel, and where it has convolutions, how many there is room for: launches of the same name have the same to do for the same cells.
    pub(crate) fn name(self, arena: &Arena, lists: &[Convolutions]) -> String {
        let kernel = self.signature(arena, lists).names[0];
        match self {
            Self::Node(node) | Self::Back(node) => format!("{kernel}, {} edges out", arena.shapes[node].slots),
            _ => kernel.to_owned(),
        }
    }
}

/// Convolutions whose gradients one launch computes: of a stride, with outputs of a side.
#[derive(Clone, Debug)]
pub(crate) struct Convolutions {
    pub(crate) reading: Reading,
    pub(crate) side: usize,
    /// Their places.
    pub(crate) slots: Vec<u32>,
    pub(crate) channels: Channels,
}

/// All convolutions but the one that reads the images.
pub(crate) fn convolutions(parent: &Parent, arena: &Arena) -> Vec<Convolutions> {
    let mut lists: Vec<Convolutions> = Vec::new();
    for (number, shape) in arena.shapes.iter().enumerate().skip(1) {
        for slot in shape.first_slot..shape.first_slot + shape.slots {
            let side = parent.nodes()[arena.places[slot as usize].node].side;
            let reading = arena.readings[number];
            let (inputs, outputs) = (shape.channels as usize, shape.outputs as usize);
            match lists.iter_mut().find(|list| (list.reading, list.side) == (reading, side)) {
                Some(Convolutions { slots, channels, .. }) => {
                    slots.push(slot.unsigned_abs());
                    channels.inputs = channels.inputs.max(inputs);
                    channels.outputs = channels.outputs.max(outputs);
                }
                None => lists.push(Convolutions {
                    reading,
                    side,
                    slots: vec![slot.unsigned_abs()],
                    channels: Channels { inputs, outputs },
                }),
            }
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use advantage_nas::network::nas_bench_201::pass::PassLayout;
    use advantage_nas::network::nas_bench_201::{Candidates, Skeleton};
    use advantage_nas::strategy::Activity;

    use super::*;

    /// 51 nodes between images and last node, each once there and once back; gradients of five kinds of convolutions, stem and head.
    #[test]
    fn launches_of_the_papers_network() {
        let parent = Parent::new(Skeleton::paper(), &Candidates::without_zero()).unwrap();
        for activity in Activity::ALL {
            let layout = PassLayout::new(&parent, activity);
            let arena = Arena::new(&parent, &layout, activity, 64, 1, 1).unwrap();
            let lists = convolutions(&parent, &arena);
            assert_eq!(lists.iter().map(|list| list.slots.len()).sum::<usize>(), layout.slots().len() - 1);
            let count = |kind| launches(kind, &arena, lists.len()).len();
            let forward = Kind::default();
            assert_eq!(count(forward), 1 + 51 + 3);
            assert_eq!(count(Kind { backward: true, edges: true, ..forward }), 55 + 1 + 51 + 1);
            assert_eq!(count(Kind { backward: true, weights: true, ..forward }), 55 + 1 + 51 + 5 + 2);
        }
    }
}
