//! The parent network of a search: the skeleton with all candidates on all edges, as a graph of tensors.

use super::cell::{Candidates, Operation};
use super::data::{CHANNELS, IMAGE};
use super::skeleton::Skeleton;
use crate::error::Result;
use crate::network::cell::{EDGES, NODES, edge_ends};
use crate::network::{Initial, Owner, Parameter};
use crate::space::SearchSpace;

/// Added to the variances of batch norms.
pub const NORM_EPSILON: f64 = 1e-5;
/// What a minibatch adds to the running statistics of the batch norms with scale and shift.
pub const NORM_MOMENTUM: f64 = 0.1;

/// A graph of tensors in the order in which they can be computed: node 0 is the minibatch of images, the last node is what the head
/// reads. All cells share the edge weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Parent {
    skeleton: Skeleton,
    candidates: Candidates,
    space: SearchSpace,
    nodes: Vec<Node>,
    head: Head,
    parameters: Vec<Parameter>,
    running: Vec<Running>,
}

/// A tensor `[batch, channels, side, side]`: the sum of its inputs, each the output of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name, for messages.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// Height and width.
    pub side: usize,
    /// What is added up; empty for the images.
    pub inputs: Vec<Input>,
}

/// A summand of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The node that the layer reads.
    pub source: usize,
    /// The edge whose weights `a` multiply the outputs of the layers; `None` where there is nothing to choose.
    pub edge: Option<usize>,
    /// One layer for every candidate of the edge, or the only one.
    pub layers: Vec<Layer>,
}

/// A layer between two nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Zero.
    Zero,
    /// The identity.
    Skip,
    /// 3×3 average pooling, stride 1, padding not counted.
    AveragePooling,
    /// 2×2 average pooling, stride 2.
    Halving,
    /// Convolution with what stands around it.
    Convolution(Convolution),
}

/// ReLU or not, convolution without bias padded by `(kernel − 1)/2` zeros, batch norm or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convolution {
    /// Whether the input goes through ReLU.
    pub relu: bool,
    /// Height and width of the filters, odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// The filters, a parameter `[output channels, input channels, kernel, kernel]`.
    pub weight: usize,
    /// Batch norm of the output.
    pub norm: Norm,
}

/// Batch norm after a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Norm {
    /// None.
    Without,
    /// Without scale and shift, always with the statistics of the minibatch.
    Plain,
    /// With scale and shift, and running statistics, which are kept for stand-alone networks.
    Affine(Affine),
}

/// Scale, shift and running statistics of a batch norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Affine {
    /// The scale, a parameter `[channels]`.
    pub scale: usize,
    /// The shift, a parameter `[channels]`.
    pub shift: usize,
    /// Index among [`Parent::running`].
    pub running: usize,
}

/// Batch norm, ReLU, average over all pixels, linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The batch norm.
    pub norm: Affine,
    /// Weights of the linear layer, a parameter `[classes, channels]`.
    pub weight: usize,
    /// Bias of the linear layer, a parameter `[classes]`.
    pub bias: usize,
}

/// Running mean and variance of a batch norm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Name of the batch norm; `NAME.running_mean` starts with zeros, `NAME.running_var` with ones.
    pub name: String,
    /// Channels.
    pub channels: usize,
}

impl Parent {
    /// The parent network of a skeleton and candidates.
    ///
    /// # Errors
    /// As [`Skeleton::check`].
    pub fn new(skeleton: Skeleton, candidates: &Candidates) -> Result<Self> {
        skeleton.check()?;
        let mut builder = Builder::default();
        let mut node = builder.node("image", CHANNELS, IMAGE, vec![]);
        let layer = builder.convolution("stem", CHANNELS, skeleton.channels, false, (3, 1), true);
        node = builder.node("stem", skeleton.channels, IMAGE, vec![fixed(node, layer)]);
        for stage in 0..Skeleton::STAGES {
            let (channels, side) = (skeleton.stage_channels(stage), Skeleton::stage_size(stage));
            if stage > 0 {
                node = builder.residual_block(stage - 1, node, channels, side);
            }
            for cell in 0..skeleton.cells {
                let name = format!("stages.{stage}.cells.{cell}");
                node = builder.cell(&name, node, channels, side, candidates.operations());
            }
        }
        let channels = skeleton.stage_channels(Skeleton::STAGES - 1);
        let norm = builder.affine("head.norm", channels);
        let normal = Initial::Normal { fan_in: channels };
        let weight = builder.parameter("head.linear.weight", vec![skeleton.classes, channels], normal, Owner::Always);
        let bias = builder.parameter("head.linear.bias", vec![skeleton.classes], Initial::Zeros, Owner::Always);
        let Builder { nodes, parameters, running } = builder;
        let head = Head { norm, weight, bias };
        let (candidates, space) = (candidates.clone(), candidates.space());
        Ok(Self { skeleton, candidates, space, nodes, head, parameters, running })
    }

    /// The sizes.
    #[must_use]
    pub fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The candidate operations of every edge.
    #[must_use]
    pub fn candidates(&self) -> &Candidates {
        &self.candidates
    }

    /// The search space.
    #[must_use]
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// The nodes; every input's source stands before its node.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// What follows the last node.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// All parameters.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Batch norms with running statistics.
    #[must_use]
    pub fn running(&self) -> &[Running] {
        &self.running
    }
}

/// An input without a choice.
fn fixed(source: usize, layer: Layer) -> Input {
    Input { source, edge: None, layers: vec![layer] }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    parameters: Vec<Parameter>,
    running: Vec<Running>,
}

impl Builder {
    fn node(&mut self, name: impl Into<String>, channels: usize, side: usize, inputs: Vec<Input>) -> usize {
        self.nodes.push(Node { name: name.into(), channels, side, inputs });
        self.nodes.len() - 1
    }

    fn parameter(&mut self, name: impl Into<String>, shape: Vec<usize>, initial: Initial, owner: Owner) -> usize {
        self.parameters.push(Parameter { name: name.into(), shape, initial, owner });
        self.parameters.len() - 1
    }

    fn affine(&mut self, name: &str, channels: usize) -> Affine {
        let scale = self.parameter(format!("{name}.weight"), vec![channels], Initial::Ones, Owner::Always);
        let shift = self.parameter(format!("{name}.bias"), vec![channels], Initial::Zeros, Owner::Always);
        self.running.push(Running { name: name.to_owned(), channels });
        Affine { scale, shift, running: self.running.len() - 1 }
    }

    fn filters(&mut self, name: &str, inputs: usize, outputs: usize, kernel: usize, owner: Owner) -> usize {
        let shape = vec![outputs, inputs, kernel, kernel];
        let initial = Initial::Normal { fan_in: inputs * kernel * kernel };
        self.parameter(format!("{name}.conv.weight"), shape, initial, owner)
    }

    /// A convolution of the skeleton.
    fn convolution(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        relu: bool,
        (kernel, stride): (usize, usize),
        norm: bool,
    ) -> Layer {
        let weight = self.filters(name, inputs, outputs, kernel, Owner::Always);
        let norm = if norm { Norm::Affine(self.affine(&format!("{name}.norm"), outputs)) } else { Norm::Without };
        Layer::Convolution(Convolution { relu, kernel, stride, weight, norm })
    }

    fn residual_block(&mut self, index: usize, source: usize, channels: usize, side: usize) -> usize {
        let (name, inputs) = (format!("reductions.{index}"), self.nodes[source].channels);
        let first = self.convolution(&format!("{name}.first"), inputs, channels, true, (3, 2), true);
        let middle = self.node(format!("{name}.middle"), channels, side, vec![fixed(source, first)]);
        let halved = self.node(format!("{name}.halved"), inputs, side, vec![fixed(source, Layer::Halving)]);
        let second = self.convolution(&format!("{name}.second"), channels, channels, true, (3, 1), true);
        let shortcut = self.convolution(&format!("{name}.shortcut"), inputs, channels, false, (1, 1), false);
        self.node(name, channels, side, vec![fixed(middle, second), fixed(halved, shortcut)])
    }

    fn cell(&mut self, name: &str, input: usize, channels: usize, side: usize, candidates: &[Operation]) -> usize {
        let mut nodes = [input; NODES];
        for node in 1..NODES {
            let mut inputs = Vec::new();
            for edge in (0..EDGES).filter(|edge| edge_ends(*edge).1 == node) {
                let layers = candidates.iter().enumerate().map(|(candidate, operation)| match *operation {
                    Operation::Zero => Layer::Zero,
                    Operation::Skip => Layer::Skip,
                    Operation::AveragePooling => Layer::AveragePooling,
                    Operation::Convolution { kernel } => {
                        let name = format!("{name}.edges.{edge}.candidates.{candidate}");
                        let weight =
                            self.filters(&name, channels, channels, kernel, Owner::Candidate { edge, candidate });
                        Layer::Convolution(Convolution { relu: true, kernel, stride: 1, weight, norm: Norm::Plain })
                    }
                });
                let layers = layers.collect();
                inputs.push(Input { source: nodes[edge_ends(edge).0], edge: Some(edge), layers });
            }
            nodes[node] = self.node(format!("{name}.nodes.{node}"), channels, side, inputs);
        }
        nodes[NODES - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::initial_values;
    use crate::network::nas_bench_201::Cell;
    use crate::random::Streams;

    #[test]
    fn parameters_are_those_of_the_stand_alone_network() {
        // With a single candidate on all edges, the parent is the stand-alone network but for scale and shift of the candidates.
        let skeleton = Skeleton::paper();
        let candidates = Candidates::new([Operation::CONVOLUTION_3X3]).unwrap();
        let parent = Parent::new(skeleton, &candidates).unwrap();
        let count: usize = parent.parameters().iter().map(Parameter::len).sum();
        let cell = Cell::uniform(Operation::CONVOLUTION_3X3).unwrap();
        let affine = 6 * 5 * 2 * (16 + 32 + 64);
        assert_eq!(count + affine, skeleton.cost(&cell).unwrap().parameters as usize);
        // Image and stem, 15 cells of three nodes, two blocks of three.
        assert_eq!(parent.nodes().len(), 2 + 45 + 6);
        let last = parent.nodes().last().unwrap();
        assert_eq!((last.channels, last.side, last.name.as_str()), (64, 8, "stages.2.cells.4.nodes.3"));
        for (index, node) in parent.nodes().iter().enumerate() {
            assert!(node.inputs.iter().all(|input| input.source < index));
        }
    }

    #[test]
    fn every_edge_has_a_layer_for_every_candidate() {
        let parent = Parent::new(Skeleton { cells: 1, channels: 4, classes: 3 }, &Candidates::with_zero()).unwrap();
        for node in parent.nodes() {
            for input in &node.inputs {
                assert_eq!(input.layers.len(), if input.edge.is_some() { 5 } else { 1 });
                for (candidate, layer) in input.layers.iter().enumerate() {
                    if let (Layer::Convolution(layer), Some(edge)) = (layer, input.edge) {
                        let parameter = &parent.parameters()[layer.weight];
                        assert_eq!(parameter.owner, Owner::Candidate { edge, candidate });
                        assert_eq!(parameter.shape[2], layer.kernel);
                    }
                }
            }
        }
        let names: std::collections::HashSet<&str> =
            parent.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
        assert_eq!(names.len(), parent.parameters().len());
        assert!(names.contains("stages.1.cells.0.edges.3.candidates.2.conv.weight"));
        assert!(names.contains("reductions.1.second.norm.bias"));
    }

    #[test]
    fn initial_values_have_the_variance_of_their_fan_in() {
        let parent =
            Parent::new(Skeleton { cells: 1, channels: 16, classes: 10 }, &Candidates::without_zero()).unwrap();
        let of_trial = |trial| initial_values(parent.parameters(), &Streams::new(1), trial).collect::<Vec<_>>();
        let values = of_trial(0);
        assert_eq!(values, of_trial(0));
        assert_ne!(values, of_trial(1));
        let mut filters = 0;
        for (parameter, values) in parent.parameters().iter().zip(&values) {
            assert_eq!(values.len(), parameter.len());
            let squares = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
            match parameter.initial {
                Initial::Zeros => assert_eq!(squares, 0.0),
                Initial::Ones => assert!(values.iter().all(|value| *value == 1.0)),
                Initial::Normal { fan_in } => {
                    filters += 1;
                    assert_eq!(fan_in, parameter.shape[1..].iter().product::<usize>());
                    // The mean of n squares has a relative standard error of sqrt(2/n): six of them.
                    let allowed = 6.0 * (2.0 / values.len() as f64).sqrt();
                    assert!((squares * fan_in as f64 - 1.0).abs() < allowed, "{}", parameter.name);
                }
                Initial::Uniform { .. } => panic!("{} is uniform", parameter.name),
            }
        }
        // Stem, 3 cells of 12, 2 blocks of 3, the linear layer.
        assert_eq!(filters, 1 + 36 + 6 + 1);
    }
}
