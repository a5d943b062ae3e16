//! The parent network of NAS-Bench-201's cells, section 5.2: the graph of [`Parent`], one node after another.

use advantage_nas::Result;
use advantage_nas::network::nas_bench_201::Parent;
use advantage_nas::network::nas_bench_201::parent::{Affine, Convolution, Layer, NORM_MOMENTUM, Norm};
use ndarray::{Array1, Array2, Array4, ArrayD, ArrayView4, Axis, Ix1, Ix2, Ix4};

use crate::layers::{Moments, average_pooling, convolve, halving, normalize, relu};
use crate::{Mixture, cross_entropy, expect_shapes};

/// The parent network with its weights.
#[derive(Clone, Debug)]
pub struct Network {
    parent: Parent,
    /// All parameters, in the order of [`Parent::parameters`] and with their shapes.
    pub parameters: Vec<ArrayD<f64>>,
    /// Running statistics, in the order of [`Parent::running`].
    pub running: Vec<Moments>,
}

/// What a forward pass computes.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images whose label has the largest logit.
    pub correct: usize,
    /// `[batch, classes]`
    pub logits: Array2<f64>,
    /// The running statistics after the minibatch.
    pub running: Vec<Moments>,
}

impl Network {
    /// The network with these parameters, in the order of [`Parent::parameters`]; running statistics start with mean 0 and variance 1.
    ///
    /// # Errors
    /// [`Error::Data`](advantage_nas::Error::Data) or [`Error::Length`](advantage_nas::Error::Length) for parameters of another network.
    pub fn new(parent: Parent, parameters: Vec<ArrayD<f64>>) -> Result<Self> {
        expect_shapes(parent.parameters(), &parameters)?;
        let start = |channels| Moments { mean: Array1::zeros(channels), variance: Array1::ones(channels) };
        let running = parent.running().iter().map(|norm| start(norm.channels)).collect();
        Ok(Self { parent, parameters, running })
    }

    /// What the network is built from.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// Loss and logits of a minibatch of images `[batch, channels, height, width]`, and what it leaves in the running statistics.
    ///
    /// # Panics
    /// Unless there is a label below the number of classes for every image.
    #[must_use]
    pub fn pass(&self, images: ArrayView4<'_, f32>, labels: &[usize], mixture: &Mixture) -> Pass {
        let mut running = self.running.clone();
        let mut nodes: Vec<Array4<f64>> = vec![images.mapv(f64::from)];
        for node in &self.parent.nodes()[1..] {
            let mut sum = Array4::zeros((images.dim().0, node.channels, node.side, node.side));
            for input in &node.inputs {
                let source = &nodes[input.source];
                let Some(edge) = input.edge else {
                    sum += &self.layer(&input.layers[0], source, &mut running);
                    continue;
                };
                if mixture.without == Some(edge) {
                    continue;
                }
                for (layer, weight) in input.layers.iter().zip(mixture.weights.edge(edge)) {
                    if *weight != 0.0 {
                        sum.scaled_add(*weight, &self.layer(layer, source, &mut running));
                    }
                }
                sum += mixture.ones[edge];
            }
            nodes.push(sum);
        }
        let head = self.parent.head();
        let last = nodes.last().expect("the images are a node");
        let last = relu(&self.affine_norm(last, &head.norm, &mut running));
        let features = last.sum_axis(Axis(3)).sum_axis(Axis(2)) / (last.dim().2 * last.dim().3) as f64;
        let weight = self.parameters[head.weight].view().into_dimensionality::<Ix2>().expect("its shape was checked");
        let logits = features.dot(&weight.t()) + self.vector(head.bias);
        assert_eq!(logits.nrows(), labels.len(), "one label per image");
        let rows = || logits.outer_iter().zip(labels);
        let loss = rows().map(|(row, label)| cross_entropy(row, *label)).sum::<f64>() / labels.len() as f64;
        let correct = rows().filter(|(row, label)| row.iter().all(|logit| *logit <= row[**label])).count();
        Pass { loss, correct, logits, running }
    }

    fn vector(&self, parameter: usize) -> ndarray::ArrayView1<'_, f64> {
        self.parameters[parameter].view().into_dimensionality::<Ix1>().expect("its shape was checked")
    }

    fn layer(&self, layer: &Layer, x: &Array4<f64>, running: &mut [Moments]) -> Array4<f64> {
        match layer {
            Layer::Zero => Array4::zeros(x.dim()),
            Layer::Skip => x.clone(),
            Layer::AveragePooling => average_pooling(x),
            Layer::Halving => halving(x),
            Layer::Convolution(convolution) => {
                let Convolution { relu: through_relu, weight, stride, norm, .. } = convolution;
                let filters =
                    self.parameters[*weight].view().into_dimensionality::<Ix4>().expect("its shape was checked");
                let z =
                    if *through_relu { convolve(&relu(x), filters, *stride) } else { convolve(x, filters, *stride) };
                match norm {
                    Norm::Without => z,
                    Norm::Plain => normalize(&z).0,
                    Norm::Affine(affine) => self.affine_norm(&z, affine, running),
                }
            }
        }
    }

    /// Batch norm with scale and shift; the running statistics go a step towards those of the minibatch, the variance's without bias.
    fn affine_norm(&self, x: &Array4<f64>, affine: &Affine, running: &mut [Moments]) -> Array4<f64> {
        let (mut out, Moments { mean, variance }) = normalize(x);
        for (channel, mut plane) in out.axis_iter_mut(Axis(1)).enumerate() {
            plane *= self.vector(affine.scale)[channel];
            plane += self.vector(affine.shift)[channel];
        }
        let count = (x.len() / x.dim().1) as f64;
        let running = &mut running[affine.running];
        running.mean = &running.mean * (1.0 - NORM_MOMENTUM) + mean * NORM_MOMENTUM;
        running.variance =
            &running.variance * (1.0 - NORM_MOMENTUM) + variance * (NORM_MOMENTUM * count / (count - 1.0));
        out
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::network::nas_bench_201::{Candidates, Operation, Skeleton};
    use advantage_nas::tolerance::{assert_all_close, assert_close};
    use advantage_nas::{OpTable, Shape};

    use super::*;

    fn network(candidates: &[Operation], change: impl Fn(&str, &mut ArrayD<f64>)) -> Network {
        let skeleton = Skeleton { cells: 1, channels: 1, classes: 2 };
        let parent = Parent::new(skeleton, &Candidates::new(candidates.to_vec()).unwrap()).unwrap();
        let values = parent.parameters().iter().map(|parameter| {
            let mut values = ArrayD::zeros(parameter.shape.clone());
            change(&parameter.name, &mut values);
            values
        });
        let values = values.collect();
        Network::new(parent, values).unwrap()
    }

    /// Without weights the bias decides alone.
    #[test]
    fn a_network_of_zeros_knows_its_bias() {
        let network = network(&[Operation::Zero], |name, values| {
            if name == "head.linear.bias" {
                values[[1]] = 3f64.ln();
            }
        });
        let mixture = Mixture::new(&OpTable::filled(network.parent().space().shape(), 1.0));
        let images = Array4::from_shape_fn((3, 3, 32, 32), |(image, ..)| image as f32);
        let pass = network.pass(images.view(), &[0, 1, 1], &mixture);
        assert_close(pass.loss, (4f64.ln() + 2.0 * (4.0f64 / 3.0).ln()) / 3.0, 1e-14, 0.0);
        assert_eq!((pass.correct, pass.logits.row(2).to_vec()), (2, vec![0.0, 3f64.ln()]));
        // Nothing has moved the means; of the variances a tenth is gone.
        assert!(pass.running.iter().all(|moments| moments.mean[0] == 0.0 && (moments.variance[0] - 0.9).abs() < 1e-15));
    }

    /// One image half of which is 1: stem, cells and reductions let it through, in three cells of skips, each node the sum of those before
    /// it, so that a cell multiplies by `0→3`, `0→1→3`, `0→2→3`, `0→1→2→3`.
    #[test]
    fn skips_add_up() {
        let middle = |name: &str, values: &mut ArrayD<f64>| match name {
            "stem.conv.weight" => values[[0, 0, 1, 1]] = 1.0,
            "reductions.0.shortcut.conv.weight" => values.fill(1.0),
            // Of two channels.
            "reductions.1.shortcut.conv.weight" => values.fill(0.5),
            "stem.norm.weight" | "head.norm.weight" => values.fill(2.0),
            "head.norm.bias" => values.fill(1.0),
            "head.linear.weight" => values[[1, 0]] = 1.0,
            _ => {}
        };
        let network = network(&[Operation::Skip], middle);
        let images =
            Array4::from_shape_fn((1, 3, 32, 32), |(_, channel, y, _)| if channel == 0 && y < 16 { 1.0 } else { 0.0 });
        let weights = OpTable::filled(&Shape::new([1; 6]).unwrap(), 1.0);
        let ask = |mixture: &Mixture| network.pass(images.view(), &[1], mixture);
        let pass = ask(&Mixture::new(&weights));
        // After the stem ±2·(1/2)/√(1/4 + ε); after the cells 4³ times that. The head makes ±2 of it, adds 1, and the ReLU leaves 3 on
        // half of the pixels.
        let stem = 1.0 / (0.25f64 + 1e-5).sqrt();
        let last: f64 = 64.0 * stem;
        let logit = (1.0 + 2.0 * last / (last * last + 1e-5).sqrt()) / 2.0;
        assert_all_close(&pass.logits.row(0).to_vec(), &[0.0, logit], 1e-13, 0.0);
        assert_eq!(pass.correct, 1);
        // Mean 1/2 and variance 1/4 of 1024 pixels.
        assert_close(pass.running[0].mean[0], 0.05, 1e-14, 0.0);
        assert_close(pass.running[0].variance[0], 0.9 + 0.1 * 0.25 * 1024.0 / 1023.0, 1e-14, 0.0);
        // Without 0→1 or 2→3 two ways of a cell are left, without another edge three; the head normalises it away, but its running
        // statistics tell.
        let variance = |pass: &Pass| (pass.running.last().unwrap().variance[0] - 0.9) * 10.0 * 63.0 / 64.0;
        assert_close(variance(&pass), last * last, 1e-12, 0.0);
        for (edge, ways) in [(0, 2.0f64), (1, 3.0), (2, 3.0), (3, 3.0), (4, 3.0), (5, 2.0)] {
            let without = ask(&Mixture { without: Some(edge), ..Mixture::new(&weights) });
            assert_close(variance(&without), (ways.powi(3) * stem).powi(2), 1e-12, 0.0);
        }
        // A constant on the last edge of every cell: one reaches the mean of the head, one four times, one sixteen times.
        let mut ones = Mixture::new(&weights);
        ones.ones[5] = 0.5;
        assert_close(ask(&ones).running.last().unwrap().mean[0], 0.1 * 0.5 * (1.0 + 4.0 + 16.0), 1e-12, 0.0);
        assert_close(variance(&ask(&ones)), last * last, 1e-12, 0.0);
    }

    #[test]
    fn other_parameters_are_refused() {
        let network = network(&[Operation::Skip], |_, _| {});
        let mut values = network.parameters.clone();
        values.pop();
        assert!(Network::new(network.parent().clone(), values).is_err());
    }
}
