//! Where everything lies in device memory, decided before the first step; nothing is allocated later, whatever is proposed.

use std::fmt;

use advantage_nas::network::Layout;
use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::{self, Layer, Norm};
use advantage_nas::network::nas_bench_201::pass::PassLayout;
use advantage_nas::strategy::Activity;

use crate::error::{Error, Result};
use crate::kernels::nas_bench_201::{Head, NOWHERE, SPLITS_8, SPLITS_16, SPLITS_32, Shape, Sizes, tiles};

/// Parameters begin at multiples of this: kernels read four numbers at a time.
const ALIGNMENT: usize = 4;

/// Slices of a gradient of weights in front of tensors of a side.
pub(crate) const fn splits(side: usize) -> usize {
    match side {
        32 => SPLITS_32,
        16 => SPLITS_16,
        _ => SPLITS_8,
    }
}

/// Room for a convolution that reads a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// The node that its output is added to.
    pub(crate) node: usize,
    pub(crate) output: u32,
    pub(crate) statistics: u32,
    pub(crate) norm: u32,
    pub(crate) partial: u32,
}

/// A launch over a node that convolutions read: how their outputs lie to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// They have the node's side, or there are none.
    Same,
    /// They have half of it.
    Half,
}

/// All places.
#[derive(Clone, Debug)]
pub(crate) struct Arena {
    pub(crate) sizes: Sizes,
    /// Node 0, the images, has no value and no gradient.
    pub(crate) shapes: Vec<Shape>,
    pub(crate) readings: Vec<Reading>,
    pub(crate) head: Head,
    /// In the order of the device: slots that read the same node stand together.
    pub(crate) places: Vec<Place>,
    /// The place of every slot of the layout.
    pub(crate) place_of: Vec<usize>,
    /// Of every node, where sums for its terms begin, and the length of one of them.
    pub(crate) sums: Vec<(u32, u32)>,
    /// Of every batch norm with running statistics, where they begin in a trial's part.
    pub(crate) running: Vec<u32>,
    /// Of every parameter, in a trial's weights.
    pub(crate) parameters: Layout,
}

/// Bytes on the device that a network takes, beside its images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Values of the trained parameters.
    pub parameters: usize,
    /// Their gradients and velocities, and the parts that gradients are added up from.
    pub optimizer: usize,
    /// Values and gradients of tensors, outputs of convolutions.
    pub tensors: usize,
    /// Plans, statistics and sums.
    pub rest: usize,
}

impl Memory {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> usize {
        self.parameters + self.optimizer + self.tensors + self.rest
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parameters, optimizer, tensors, rest } = self;
        write!(f, "{parameters} bytes of parameters, {optimizer} of their gradients and velocities, ")?;
        write!(f, "{tensors} of tensors, {rest} of plans and sums")
    }
}

/// Gives out places one after the other.
#[derive(Debug, Default)]
struct Cursor {
    next: usize,
}

impl Cursor {
    /// So many floats.
    fn take(&mut self, what: &'static str, floats: usize) -> Result<u32> {
        let begin = self.next;
        self.next += floats.next_multiple_of(ALIGNMENT);
        offset(what, begin)
    }

    fn end(&self, what: &'static str) -> Result<u32> {
        offset(what, self.next.max(ALIGNMENT))
    }
}

fn offset(what: &'static str, floats: usize) -> Result<u32> {
    // The last value is that for nowhere.
    let most = u64::from(NOWHERE) - 1;
    u32::try_from(floats).ok().filter(|offset| *offset != NOWHERE).ok_or(Error::TooLarge {
        what,
        got: floats as u64,
        most,
    })
}

const TENSORS: &str = "floats of the tensors of a trial";
const SUMS: &str = "floats of the sums of a trial";
const NORMS: &str = "floats of the batch norms of a trial";
const PARTIALS: &str = "floats of the partial gradients of a trial";
const WEIGHTS: &str = "floats of the weights of a trial";

impl Arena {
    pub(crate) fn new(
        parent: &Parent,
        layout: &PassLayout,
        activity: Activity,
        batch: usize,
        lanes: usize,
        trials: usize,
    ) -> Result<Self> {
        let nodes = parent.nodes();
        let int = |what, size: usize| {
            i32::try_from(size).map_err(|_| Error::TooLarge { what, got: size as u64, most: i32::MAX as u64 })
        };
        let most_layers = |input: &parent::Input| activity.slots(input.layers.len());
        let terms = nodes.iter().map(|node| node.inputs.iter().map(most_layers).sum::<usize>()).max().unwrap_or(0);
        let outs = (0..nodes.len()).map(|source| {
            let inputs = nodes.iter().flat_map(|node| &node.inputs).filter(|input| input.source == source);
            let plain = |input: &parent::Input| {
                let layers = input.layers.iter().filter(|layer| !matches!(layer, Layer::Convolution(_) | Layer::Zero));
                activity.slots(layers.count())
            };
            inputs.map(plain).sum::<usize>()
        });
        let outs = outs.max().unwrap_or(0);
        let parameters = Layout::new(parent.parameters().iter().map(advantage_nas::network::Parameter::len), ALIGNMENT);
        let weight = |parameter: usize| offset(WEIGHTS, parameters.range(parameter).start);

        let (mut tensors, mut sums, mut norms) = (Cursor::default(), Cursor::default(), Cursor::default());
        let mut partials = Cursor::default();
        // Numbers of a whole minibatch, and of its tiles.
        let length = |channels: usize, side: usize| batch * channels * side * side;
        let of_tiles = |channels: usize, side: usize| channels * tiles(side, batch);

        let mut places = Vec::new();
        let mut place_of = vec![usize::MAX; layout.slots().len()];
        let mut shapes = Vec::new();
        let mut readings = Vec::new();
        let mut node_sums = Vec::new();
        for (number, node) in nodes.iter().enumerate() {
            let first_slot = places.len();
            let mut outputs = 0;
            let mut relu = false;
            let mut reading = Reading::Same;
            for (index, slot) in layout.slots().iter().enumerate().filter(|(_, slot)| slot.source == number) {
                let target = &nodes[slot.node];
                let convolutions = target.inputs[slot.input].layers.iter().filter_map(|layer| match layer {
                    Layer::Convolution(layer) => Some(layer),
                    _ => None,
                });
                let mut filters = 0;
                let mut affine = false;
                for layer in convolutions {
                    filters = filters.max(parent.parameters()[layer.weight].len());
                    affine |= matches!(layer.norm, Norm::Affine(_));
                    relu = layer.relu;
                    if layer.stride == 2 {
                        reading = Reading::Half;
                    }
                }
                outputs = target.channels;
                let scale_and_shift = if affine { 2 * target.channels } else { 0 };
                place_of[index] = places.len();
                places.push(Place {
                    node: slot.node,
                    output: tensors.take(TENSORS, length(target.channels, target.side))?,
                    statistics: sums.take(SUMS, 2 * of_tiles(target.channels, target.side))?,
                    norm: norms.take(NORMS, 2 * target.channels)?,
                    partial: partials.take(PARTIALS, splits(target.side) * filters + scale_and_shift)?,
                });
            }
            let (mut value, mut gradient, mut gradient_sum) = (0, 0, 0);
            if number > 0 {
                value = tensors.take(TENSORS, length(node.channels, node.side))?;
                gradient = tensors.take(TENSORS, length(node.channels, node.side))?;
                gradient_sum = sums.take(SUMS, of_tiles(node.channels, node.side))?;
            }
            let one = of_tiles(node.channels, node.side).next_multiple_of(ALIGNMENT);
            let own_terms: usize = node.inputs.iter().map(most_layers).sum();
            node_sums.push((sums.take(SUMS, one * own_terms)?, offset(SUMS, one)?));
            shapes.push(Shape {
                node: int("nodes", number)?,
                channels: int("channels", node.channels)?,
                side: int("pixels of a side", node.side)?,
                first_slot: int("slots", first_slot)?,
                slots: int("slots", places.len() - first_slot)?,
                outputs: int("channels", outputs)?,
                relu: i32::from(relu),
                value,
                gradient,
                gradient_sum,
            });
            readings.push(reading);
        }

        let mut running_length = 0;
        let mut running = Vec::new();
        for norm in parent.running() {
            running.push(offset("running statistics of a trial", running_length)?);
            running_length += 2 * norm.channels;
        }

        let last = nodes.len() - 1;
        let (described, classes) = (parent.head(), parent.skeleton().classes);
        let channels = nodes[last].channels;
        let head = Head {
            node: shapes[last].node,
            channels: shapes[last].channels,
            side: shapes[last].side,
            classes: int("classes", classes)?,
            value: shapes[last].value,
            gradient: shapes[last].gradient,
            gradient_sum: shapes[last].gradient_sum,
            statistics: sums.take(SUMS, 2 * of_tiles(channels, nodes[last].side))?,
            norm: norms.take(NORMS, 2 * channels)?,
            scale: weight(described.norm.scale)?,
            shift: weight(described.norm.shift)?,
            running: running[described.norm.running],
            weight: weight(described.weight)?,
            bias: weight(described.bias)?,
            features: tensors.take(TENSORS, batch * channels)?,
            logits: tensors.take(TENSORS, batch * classes)?,
            logit_slopes: tensors.take(TENSORS, batch * classes)?,
            feature_slopes: tensors.take(TENSORS, batch * channels)?,
            sum: sums.take(SUMS, 2 * channels * batch)?,
            partial: partials.take(PARTIALS, classes * channels + classes + 2 * channels)?,
        };
        let sizes = Sizes::new(nodes.len(), terms, outs, places.len(), parent.parameters().len(), batch)?;
        let sizes = Sizes {
            tensors: tensors.end(TENSORS)?,
            sums: sums.end(SUMS)?,
            norms: norms.end(NORMS)?,
            partials: partials.end(PARTIALS)?,
            weights: offset(WEIGHTS, parameters.len())?,
            running: offset("running statistics of a trial", running_length)?,
            lanes: int("lanes", lanes)?,
            trials: int("trials", trials)?,
            ..sizes
        };
        Ok(Self { sizes, shapes, readings, head, places, place_of, sums: node_sums, running, parameters })
    }

    /// What it takes.
    pub(crate) fn memory(&self) -> Memory {
        let Sizes { plan, tensors, sums, norms, partials, weights, running, lanes, trials, .. } = self.sizes;
        let [lanes, trials] = [lanes, trials].map(|count| count as usize);
        let bytes = |floats: u32, count: usize| size_of::<f32>() * floats as usize * count;
        Memory {
            parameters: bytes(weights, trials),
            optimizer: 2 * bytes(weights, trials) + bytes(partials, lanes),
            tensors: bytes(tensors, lanes),
            rest: bytes(plan, lanes) + bytes(sums, lanes) + bytes(norms, lanes) + 2 * bytes(running, trials),
        }
    }
}
