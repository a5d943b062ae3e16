//! The parent network of section 5.2 against a plain one with nested loops in `f64`: losses, gradients of weights and edge weights
//! (central differences of the plain one), removals, unit outputs, updates, evaluation; and that threads, saving and earlier
//! questions change nothing.

use advantage_nas::network::Sgd;
use advantage_nas::network::nas_bench_201::parent::{Affine, Convolution, Layer, NORM_EPSILON, NORM_MOMENTUM, Norm};
use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, Operation, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::optim::{Nesterov, add_weight_decay, clip_norm};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F64_SUMS, assert_all_close, assert_close, norm_difference};
use advantage_nas::{Architecture, Error, OpTable, Supernet};
use advantage_nas_cpu::Stored;
use advantage_nas_cpu::nas_bench_201::{NasBench201Supernet, Part, Settings, Simultaneous};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Step of central differences. Among thousands of ReLUs some are near their kink; a small step leaves most on their side.
const STEP: f64 = 1e-6;
/// Rounding of a loss near 2 over the step, and the share of the kinks.
const DIFFERENCE: f64 = 2e-6;
/// Of a whole network, norm-wise: dozens of layers in single precision.
const SINGLE: f64 = 2e-5;

const STREAM: u64 = 3;
const TRIAL: u32 = 2;

/// A tensor `[batch, channels, side, side]`.
#[derive(Clone)]
struct Tensor {
    channels: usize,
    side: usize,
    values: Vec<f64>,
}

impl Tensor {
    fn zeros(batch: usize, channels: usize, side: usize) -> Self {
        Self { channels, side, values: vec![0.0; batch * channels * side * side] }
    }

    fn batch(&self) -> usize {
        self.values.len() / (self.channels * self.side * self.side)
    }

    fn index(&self, image: usize, channel: usize, y: usize, x: usize) -> usize {
        ((image * self.channels + channel) * self.side + y) * self.side + x
    }

    /// Zero outside.
    fn at(&self, image: usize, channel: usize, y: isize, x: isize) -> f64 {
        let inside = |place: isize| (0..self.side as isize).contains(&place);
        if inside(y) && inside(x) { self.values[self.index(image, channel, y as usize, x as usize)] } else { 0.0 }
    }

    fn add(&mut self, weight: f64, other: &Self) {
        assert_eq!(self.values.len(), other.values.len());
        self.values.iter_mut().zip(&other.values).for_each(|(sum, value)| *sum += weight * value);
    }

    /// A tensor of the same batch from the place of every value: image, channel, row, column.
    fn built(batch: usize, channels: usize, side: usize, of: impl Fn(usize, usize, usize, usize) -> f64) -> Self {
        let mut out = Self::zeros(batch, channels, side);
        for image in 0..batch {
            for channel in 0..channels {
                for y in 0..side {
                    for x in 0..side {
                        let index = out.index(image, channel, y, x);
                        out.values[index] = of(image, channel, y, x);
                    }
                }
            }
        }
        out
    }
}

/// The network as its description says, one number at a time.
#[derive(Clone)]
struct Plain {
    parent: Parent,
    parameters: Vec<Vec<f64>>,
    /// Mean and variance of the batch norms with running statistics.
    running: Vec<[Vec<f64>; 2]>,
}

/// What is asked of the plain network beside the weights of the edges.
#[derive(Clone, Default)]
struct Question {
    without: Option<usize>,
    /// Added to every number of every summand of an edge.
    units: Vec<f64>,
}

struct Answer {
    loss: f64,
    correct: usize,
    logits: Vec<f64>,
    /// The running statistics after the minibatch.
    running: Vec<[Vec<f64>; 2]>,
}

impl Plain {
    fn convolve(&self, convolution: &Convolution, x: &Tensor, side: usize) -> Tensor {
        let weights = &self.parameters[convolution.weight];
        let shape = &self.parent.parameters()[convolution.weight].shape;
        let (outputs, inputs, kernel) = (shape[0], shape[1], shape[2]);
        Tensor::built(x.batch(), outputs, side, |image, output, y, column| {
            let mut sum = 0.0;
            for input in 0..inputs {
                for ky in 0..kernel {
                    for kx in 0..kernel {
                        let place =
                            |at: usize, tap: usize| (at * convolution.stride + tap) as isize - (kernel / 2) as isize;
                        let mut value = x.at(image, input, place(y, ky), place(column, kx));
                        if convolution.relu {
                            value = value.max(0.0);
                        }
                        sum += weights[((output * inputs + input) * kernel + ky) * kernel + kx] * value;
                    }
                }
            }
            sum
        })
    }

    fn normalize(&self, x: &Tensor, affine: Option<&Affine>, answer: &mut Answer) -> Tensor {
        let count = (x.batch() * x.side * x.side) as f64;
        let of_channel = |channel: usize| {
            let plane = x.side * x.side;
            (0..x.batch()).flat_map(move |image| &x.values[(image * x.channels + channel) * plane..][..plane]).copied()
        };
        let mut out = x.clone();
        for channel in 0..x.channels {
            let mean = of_channel(channel).sum::<f64>() / count;
            let variance = of_channel(channel).map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            let (mut scale, mut shift) = (1.0, 0.0);
            if let Some(affine) = affine {
                (scale, shift) = (self.parameters[affine.scale][channel], self.parameters[affine.shift][channel]);
                let [means, variances] = &mut answer.running[affine.running];
                means[channel] = (1.0 - NORM_MOMENTUM) * means[channel] + NORM_MOMENTUM * mean;
                let unbiased = variance * count / (count - 1.0);
                variances[channel] = (1.0 - NORM_MOMENTUM) * variances[channel] + NORM_MOMENTUM * unbiased;
            }
            for image in 0..x.batch() {
                for place in 0..x.side * x.side {
                    let value = &mut out.values[(image * x.channels + channel) * x.side * x.side + place];
                    *value = (*value - mean) / (variance + NORM_EPSILON).sqrt() * scale + shift;
                }
            }
        }
        out
    }

    fn layer(&self, layer: &Layer, x: &Tensor, side: usize, answer: &mut Answer) -> Tensor {
        match layer {
            Layer::Zero => Tensor::zeros(x.batch(), x.channels, x.side),
            Layer::Skip => x.clone(),
            Layer::AveragePooling => Tensor::built(x.batch(), x.channels, side, |image, channel, y, column| {
                let near = |place: usize| place.saturating_sub(1)..(place + 2).min(side);
                let mut sum = 0.0;
                for y in near(y) {
                    for column in near(column) {
                        sum += x.at(image, channel, y as isize, column as isize);
                    }
                }
                sum / (near(y).len() * near(column).len()) as f64
            }),
            Layer::Halving => Tensor::built(x.batch(), x.channels, side, |image, channel, y, column| {
                let at = |dy, dx| x.at(image, channel, 2 * y as isize + dy, 2 * column as isize + dx);
                (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0
            }),
            Layer::Convolution(convolution) => {
                let z = self.convolve(convolution, x, side);
                match &convolution.norm {
                    Norm::Without => z,
                    Norm::Plain => self.normalize(&z, None, answer),
                    Norm::Affine(affine) => self.normalize(&z, Some(affine), answer),
                }
            }
        }
    }

    fn answer(&self, images: &[f32], labels: &[usize], weights: &OpTable<f64>, question: &Question) -> Answer {
        let mut answer = Answer { loss: 0.0, correct: 0, logits: Vec::new(), running: self.running.clone() };
        let batch = labels.len();
        let mut values: Vec<Tensor> = Vec::new();
        for node in self.parent.nodes() {
            let mut value = Tensor::zeros(batch, node.channels, node.side);
            if values.is_empty() {
                value.values = images.iter().map(|pixel| f64::from(*pixel)).collect();
            }
            for input in &node.inputs {
                if input.edge.is_some() && input.edge == question.without {
                    continue;
                }
                for (candidate, layer) in input.layers.iter().enumerate() {
                    let weight = input.edge.map_or(1.0, |edge| weights[(edge, candidate)]);
                    if weight != 0.0 {
                        let out = self.layer(layer, &values[input.source], node.side, &mut answer);
                        value.add(weight, &out);
                    }
                }
                if let Some(unit) = input.edge.and_then(|edge| question.units.get(edge)) {
                    value.values.iter_mut().for_each(|value| *value += unit);
                }
            }
            values.push(value);
        }
        let head = self.parent.head();
        let last = self.normalize(values.last().unwrap(), Some(&head.norm), &mut answer);
        let classes = self.parent.skeleton().classes;
        for (image, label) in labels.iter().enumerate() {
            let plane = last.side * last.side;
            let feature = |channel: usize| {
                let values = &last.values[(image * last.channels + channel) * plane..][..plane];
                values.iter().map(|value| value.max(0.0)).sum::<f64>() / plane as f64
            };
            let features: Vec<f64> = (0..last.channels).map(feature).collect();
            let logit = |class: usize| {
                let row = &self.parameters[head.weight][class * last.channels..][..last.channels];
                self.parameters[head.bias][class] + row.iter().zip(&features).map(|(w, x)| w * x).sum::<f64>()
            };
            let logits: Vec<f64> = (0..classes).map(logit).collect();
            answer.loss += logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[*label];
            answer.correct += usize::from(logits.iter().all(|logit| *logit <= logits[*label]));
            answer.logits.extend(logits);
        }
        answer.loss /= batch as f64;
        answer
    }
}

fn data(count: usize, classes: usize) -> Data {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut images = || {
        let pixels: Vec<u8> = (0..count * PIXELS).map(|_| rng.random()).collect();
        let labels: Vec<u8> = (0..count).map(|image| (image % classes) as u8).collect();
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        Images::new(pixels, labels, names).unwrap()
    };
    let (training, test) = (images(), images());
    Data::new(training, Some(test), &Streams::new(STREAM)).unwrap()
}

const TINY: Skeleton = Skeleton { cells: 1, channels: 2, classes: 4 };

fn settings(batch: usize, simultaneous: Simultaneous, threads: usize) -> Settings {
    Settings { batch, weights: paper_sgd(), simultaneous, threads }
}

fn supernet<T: Stored>(skeleton: Skeleton, candidates: &Candidates, settings: Settings) -> NasBench201Supernet<T> {
    let parent = Parent::new(skeleton, candidates).unwrap();
    let data = data(10, skeleton.classes);
    NasBench201Supernet::new(parent, settings, data, &Streams::new(STREAM), &[0, TRIAL]).unwrap()
}

/// A double-precision supernet with random scales and shifts, the plain network with the same numbers, and a random generator.
fn both(candidates: &Candidates, batch: usize, seed: u64) -> (NasBench201Supernet<f64>, Plain, ChaCha8Rng) {
    let mut supernet = supernet::<f64>(TINY, candidates, settings(batch, Simultaneous::All, 1));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parent = supernet.parent().clone();
    for (index, parameter) in parent.parameters().iter().enumerate() {
        if parameter.shape.len() == 1 {
            let values: Vec<f64> = (0..parameter.len()).map(|_| rng.random_range(0.5..1.5)).collect();
            supernet.set_parameter(TRIAL, index, Part::Value, &values).unwrap();
        }
    }
    let parameters =
        (0..parent.parameters().len()).map(|index| supernet.parameter(TRIAL, index, Part::Value).unwrap()).collect();
    let running = (0..parent.running().len()).map(|index| supernet.running(TRIAL, index).unwrap()).collect();
    (supernet, Plain { parent, parameters, running }, rng)
}

fn architecture(space: &advantage_nas::SearchSpace, rng: &mut ChaCha8Rng) -> Architecture {
    let shape = space.shape();
    let choices: Vec<usize> = (0..shape.edges()).map(|edge| rng.random_range(0..shape.candidates(edge))).collect();
    Architecture::new(shape, choices).unwrap()
}

/// One-hot, two-hot, dense, and one-hot among all.
fn proposals(space: &advantage_nas::SearchSpace, rng: &mut ChaCha8Rng, want: Want) -> Vec<Proposal> {
    let shape = space.shape();
    let one = architecture(space, rng);
    let one_hot = Proposal::one_hot(shape, &one, want).unwrap();
    let mut pairs = one_hot.clone();
    let chosen: Vec<[usize; 2]> =
        one.choices().iter().enumerate().map(|(edge, &k)| [k, (k + 1) % shape.candidates(edge)]).collect();
    pairs.set_pairs(&chosen, want).unwrap();
    let mut dense = one_hot.clone();
    dense.set_dense(&OpTable::from_fn(shape, |_, _| rng.random_range(0.1..0.9)), want).unwrap();
    let mut among_all = one_hot.clone();
    among_all.set_one_hot_among_all(&one, want).unwrap();
    vec![one_hot, pairs, dense, among_all]
}

fn request(proposal: &Proposal, set: Set, step: u64) -> Request {
    Request { batch: Batch { trial: TRIAL, set, step }, proposal: proposal.clone() }
}

fn probe<T: Stored>(supernet: &mut NasBench201Supernet<T>, request: Request) -> Feedback {
    let mut feedback = [Feedback::new(request.proposal.shape())];
    supernet.probe(&[request], &mut feedback).unwrap();
    let [feedback] = feedback;
    feedback
}

#[test]
fn losses_equal_the_plain_network() {
    let candidates = Candidates::with_zero();
    let (mut supernet, plain, mut rng) = both(&candidates, 5, 1);
    let mut single = self::supernet::<f32>(TINY, &candidates, settings(5, Simultaneous::All, 1));
    for (index, values) in plain.parameters.iter().enumerate() {
        single.set_parameter(TRIAL, index, Part::Value, values).unwrap();
    }
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Removals) {
        let request = request(&proposal, Set::Validation, 3);
        let double = probe(&mut supernet, request.clone());
        let (images, labels) = supernet.minibatch();
        let (images, labels) = (images.to_vec(), labels.to_vec());
        let answer = |without| {
            let question = Question { without, ..Question::default() };
            plain.answer(&images, &labels, proposal.weights(), &question)
        };
        let expected = answer(None);
        // Of dozens of layers, each with sums of up to thousands of numbers.
        assert_close(double.loss, expected.loss, 1e4 * F64_SUMS, 0.0);
        let removals: Vec<f64> = (0..6).map(|edge| answer(Some(edge)).loss).collect();
        assert_all_close(&double.removals, &removals, 1e4 * F64_SUMS, 0.0);
        let single_answer = probe(&mut single, request.clone());
        assert_close(single_answer.loss, expected.loss, SINGLE, 0.0);
        assert!(norm_difference(&single_answer.removals, &removals) <= SINGLE);

        let pass = supernet.pass(&request).unwrap();
        assert_eq!(pass.loss, double.loss);
        assert_all_close(&pass.logits, &expected.logits, 0.0, 1e4 * F64_SUMS);
        let pass = single.pass(&request).unwrap();
        let logits: Vec<f64> = pass.logits.iter().map(|logit| f64::from(*logit)).collect();
        assert!(norm_difference(&logits, &expected.logits) <= SINGLE);
    }
}

/// Of all edge weights, and of a number of every parameter that takes part; zero for the others. Without the zero operation: a node
/// that is zero everywhere puts every ReLU behind it on its kink.
#[test]
fn gradients_equal_central_differences_of_the_plain_network() {
    let candidates = Candidates::new([
        Operation::Skip,
        Operation::CONVOLUTION_1X1,
        Operation::Convolution { kernel: 5 },
        Operation::CONVOLUTION_3X3,
        Operation::AveragePooling,
    ])
    .unwrap();
    let (mut supernet, plain, mut rng) = both(&candidates, 2, 2);
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Gradient) {
        let request = request(&proposal, Set::Training, 1);
        let feedback = probe(&mut supernet, request.clone());
        let pass = supernet.pass(&request).unwrap();
        assert_eq!(feedback.gradient, pass.edge_gradient);
        let (images, labels) = supernet.minibatch();
        let loss =
            |plain: &Plain, weights: &OpTable<f64>| plain.answer(images, labels, weights, &Question::default()).loss;
        let mut expected = OpTable::filled(proposal.shape(), 0.0);
        for edge in 0..6 {
            for candidate in 0..5 {
                if proposal.active()[(edge, candidate)] {
                    let moved = |by: f64| {
                        let mut weights = proposal.weights().clone();
                        weights[(edge, candidate)] += by;
                        loss(&plain, &weights)
                    };
                    expected[(edge, candidate)] = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                }
            }
        }
        assert_all_close(feedback.gradient.values(), expected.values(), DIFFERENCE, DIFFERENCE);

        for (index, parameter) in plain.parent.parameters().iter().enumerate() {
            let gradient = supernet.parameter(TRIAL, index, Part::Gradient).unwrap();
            if !parameter.owner.takes_part(&proposal, None) {
                assert!(gradient.iter().all(|slope| *slope == 0.0));
                continue;
            }
            let place = rng.random_range(0..parameter.len());
            let moved = |by: f64| {
                let mut plain = plain.clone();
                plain.parameters[index][place] += by;
                loss(&plain, proposal.weights())
            };
            let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
            assert_close(gradient[place], expected, DIFFERENCE, DIFFERENCE);
        }
    }
}

/// Inactive candidates as if their output were all ones: the derivative when a constant is added to the edge's output.
#[test]
fn unit_outputs_equal_central_differences() {
    let candidates = Candidates::with_zero();
    let (mut supernet, plain, mut rng) = both(&candidates, 3, 3);
    let space = supernet.space().clone();
    let one = architecture(&space, &mut rng);
    let proposal = Proposal::one_hot(space.shape(), &one, Want::GradientWithUnitOutputs).unwrap();
    let feedback = probe(&mut supernet, request(&proposal, Set::Validation, 7));
    let plain_gradient = Proposal::one_hot(space.shape(), &one, Want::Gradient).unwrap();
    let gradient = probe(&mut supernet, request(&plain_gradient, Set::Validation, 7)).gradient;
    let (images, labels) = supernet.minibatch();
    for edge in 0..6 {
        let moved = |by: f64| {
            let mut units = vec![0.0; 6];
            units[edge] = by;
            let question = Question { units, ..Question::default() };
            plain.answer(images, labels, proposal.weights(), &question).loss
        };
        let unit = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        for candidate in 0..5 {
            let chosen = candidate == one.choice(edge);
            let expected = if chosen { gradient[(edge, candidate)] } else { unit };
            assert_close(feedback.gradient[(edge, candidate)], expected, DIFFERENCE, DIFFERENCE);
        }
    }
}

/// Against the optimiser of the core, over all parameters that take part; the others don't move. The running statistics follow.
#[test]
fn weight_steps_are_those_of_the_optimiser() {
    let candidates = Candidates::without_zero();
    let (mut supernet, mut plain, mut rng) = both(&candidates, 4, 4);
    let Sgd { momentum, weight_decay, clip_norm: limit, .. } = paper_sgd();
    let count = plain.parent.parameters().len();
    let mut velocities: Vec<Vec<f64>> = plain.parameters.iter().map(|values| vec![0.0; values.len()]).collect();
    for number in 0..3 {
        let proposal = &proposals(&supernet.space().clone(), &mut rng, Want::Loss)[number];
        let request = request(proposal, Set::Training, number as u64);
        supernet.pass(&request).unwrap();
        let (images, labels) = supernet.minibatch();
        let answer = plain.answer(images, labels, proposal.weights(), &Question::default());
        let active: Vec<usize> =
            (0..count).filter(|index| plain.parent.parameters()[*index].owner.takes_part(&proposal, None)).collect();
        let all = |values: &[Vec<f64>]| active.iter().flat_map(|index| values[*index].clone()).collect::<Vec<f64>>();
        let gradients: Vec<Vec<f64>> =
            (0..count).map(|index| supernet.parameter(TRIAL, index, Part::Gradient).unwrap()).collect();
        let (mut gradient, mut values) = (all(&gradients), all(&plain.parameters));
        add_weight_decay(&mut gradient, &values, weight_decay).unwrap();
        let norm = clip_norm(&mut gradient, limit).unwrap();
        let mut optimiser = Nesterov::new(values.len(), momentum).unwrap();
        optimiser.velocity_mut().copy_from_slice(&all(&velocities));
        optimiser.step(&mut values, &gradient, 0.05).unwrap();

        assert_close(supernet.update(TRIAL, 0.05).unwrap(), norm, 1e3 * F64_SUMS, 0.0);
        let (mut values, mut speeds) = (values.into_iter(), optimiser.velocity().to_vec().into_iter());
        for &index in &active {
            let length = plain.parameters[index].len();
            plain.parameters[index] = values.by_ref().take(length).collect();
            velocities[index] = speeds.by_ref().take(length).collect();
        }
        for (index, (values, speeds)) in plain.parameters.iter().zip(&velocities).enumerate() {
            let of = |part| supernet.parameter(TRIAL, index, part).unwrap();
            assert_all_close(&of(Part::Value), values, 1e3 * F64_SUMS, 1e3 * F64_SUMS);
            assert_all_close(&of(Part::Velocity), speeds, 1e3 * F64_SUMS, 1e3 * F64_SUMS);
        }
        plain.running = answer.running;
        for (index, [mean, variance]) in plain.running.iter().enumerate() {
            let found = supernet.running(TRIAL, index).unwrap();
            assert_all_close(&found[0], mean, 1e3 * F64_SUMS, 1e3 * F64_SUMS);
            assert_all_close(&found[1], variance, 1e3 * F64_SUMS, 0.0);
        }
        // Exactly what both have, so that differences don't add up.
        for index in 0..count {
            supernet.set_parameter(TRIAL, index, Part::Value, &plain.parameters[index]).unwrap();
        }
    }
}

/// A weight step is a pass and an update at the schedule's learning rate.
#[test]
fn weight_steps_follow_the_schedule() {
    let candidates = Candidates::without_zero();
    let build = || supernet::<f32>(TINY, &candidates, settings(4, Simultaneous::One, 1));
    let (mut one, mut other) = (build(), build());
    let proposal = Proposal::new(one.space().shape());
    let request = request(&proposal, Set::Training, 5);
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.25 };
    let loss = one.weight_step(&step, &request).unwrap();
    assert_eq!(other.pass(&request).unwrap().loss, loss);
    other.update(TRIAL, 0.1 * (0.5f64.sqrt() + 1.0) / 2.0).unwrap();
    for index in 0..one.parent().parameters().len() {
        let of = |supernet: &NasBench201Supernet<f32>| supernet.parameter(TRIAL, index, Part::Value).unwrap();
        let widened = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
        assert_all_close(&widened(of(&one)), &widened(of(&other)), 1e-6, 1e-9);
    }
    // A probe leaves no trace.
    let before = one.save();
    probe(&mut one, request.clone());
    assert_eq!(one.save(), before);
    assert!(one.trains_weights());
}

/// All images, in the order that was drawn: ten as four, three and three.
#[test]
fn evaluations_equal_the_plain_network() {
    let candidates = Candidates::without_zero();
    let (mut supernet, mut plain, mut rng) = both(&candidates, 4, 5);
    let space = supernet.space().clone();
    let step = Step { kind: StepKind::Warmup, progress: 0.0, schedule: 0.0 };
    let some = Proposal::one_hot(space.shape(), &architecture(&space, &mut rng), Want::Loss).unwrap();
    supernet.weight_step(&step, &request(&some, Set::Training, 0)).unwrap();
    for (index, values) in plain.parameters.iter_mut().enumerate() {
        *values = supernet.parameter(TRIAL, index, Part::Value).unwrap();
    }
    let data = data(10, TINY.classes);
    let before = supernet.save();
    for set in [Set::Test, Set::Training, Set::Validation] {
        let (images, indices) = data.evaluated(set).unwrap();
        let sizes: &[usize] = match indices.len() {
            10 => &[3, 3, 4],
            5 => &[2, 3],
            count => panic!("{count} images"),
        };
        let mut left: &[u32] = indices;
        let minibatches = sizes.iter().map(|size| left.split_off(..*size).unwrap());
        let evaluation = supernet.evaluate(&request(&some, set, 0)).unwrap();
        let (mut loss, mut correct) = (0.0, 0);
        for places in minibatches {
            let value = |index: &u32, place: usize| {
                let pixel = usize::from(images.image(*index as usize)[place]);
                data.normalization.values()[place / 1024][pixel] as f32
            };
            let pixels: Vec<f32> =
                places.iter().flat_map(|index| (0..PIXELS).map(move |place| value(index, place))).collect();
            let labels: Vec<usize> = places.iter().map(|index| usize::from(images.labels()[*index as usize])).collect();
            let answer = plain.answer(&pixels, &labels, some.weights(), &Question::default());
            loss += answer.loss * places.len() as f64;
            correct += answer.correct;
        }
        assert_close(evaluation.loss, loss / indices.len() as f64, 1e4 * F64_SUMS, 0.0);
        assert_eq!(evaluation.accuracy, Some(correct as f64 / indices.len() as f64));
        assert_eq!(evaluation.count, indices.len() as u64);
    }
    assert_eq!(supernet.save(), before);
}

/// Everything that a few steps of all kinds leave behind.
fn trace(threads: usize) -> (Vec<f64>, advantage_nas::state::State) {
    let skeleton = Skeleton { cells: 1, channels: 16, classes: 10 };
    let candidates = Candidates::with_zero();
    // Chunks of 4, 4, 4 and 1 images.
    let mut supernet = supernet::<f32>(skeleton, &candidates, settings(13, Simultaneous::All, threads));
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut numbers = Vec::new();
    for (index, want) in [Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals].into_iter().enumerate() {
        for proposal in proposals(&supernet.space().clone(), &mut rng, want) {
            let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
            let at = index as u64;
            numbers.push(supernet.weight_step(&step, &request(&proposal, Set::Training, at)).unwrap());
            let feedback = probe(&mut supernet, request(&proposal, Set::Validation, at));
            numbers.push(feedback.loss);
            numbers.extend(feedback.gradient.values());
            numbers.extend(feedback.removals);
            let pass = supernet.pass(&request(&proposal, Set::Validation, at)).unwrap();
            numbers.push(pass.loss);
            numbers.extend(pass.logits.iter().map(|logit| f64::from(*logit)));
            numbers.extend(pass.edge_gradient.values());
            for index in 0..supernet.parent().parameters().len() {
                let gradient = supernet.parameter(TRIAL, index, Part::Gradient).unwrap();
                numbers.extend(gradient.into_iter().map(f64::from));
            }
            numbers.push(supernet.update(TRIAL, 0.05).unwrap());
            numbers.push(supernet.evaluate(&request(&proposal, Set::Test, at)).unwrap().loss);
        }
    }
    (numbers, supernet.save())
}

#[test]
fn threads_change_nothing() {
    let one = trace(1);
    assert!(one.0.iter().all(|number| number.is_finite()));
    for threads in [2, 3] {
        let other = trace(threads);
        assert!(one.0.iter().zip(&other.0).all(|(left, right)| left.to_bits() == right.to_bits()));
        assert_eq!(one, other);
    }
}

#[test]
fn what_is_saved_comes_back() {
    let candidates = Candidates::without_zero();
    let build = || supernet::<f32>(TINY, &candidates, settings(4, Simultaneous::All, 1));
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut whole = build();
    let space = whole.space().clone();
    let proposals: Vec<Proposal> = (0..6).flat_map(|_| proposals(&space, &mut rng, Want::Gradient)).collect();
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.1 };
    let run = |supernet: &mut NasBench201Supernet<f32>, range: std::ops::Range<usize>| {
        for index in range {
            supernet.weight_step(&step, &request(&proposals[index], Set::Training, index as u64)).unwrap();
        }
    };
    run(&mut whole, 0..12);
    let state = whole.save();
    let mut resumed = build();
    resumed.restore(&state).unwrap();
    run(&mut whole, 12..24);
    run(&mut resumed, 12..24);
    assert_eq!(whole.save(), resumed.save());
    // A state of another network is refused as a whole.
    let mut other = supernet::<f32>(TINY, &Candidates::with_zero(), settings(4, Simultaneous::All, 1));
    let mut broken = advantage_nas::state::State::new();
    for (name, entry) in state.iter().skip(1) {
        broken.insert(name, entry.clone());
    }
    let before = other.save();
    assert!(matches!(other.restore(&broken), Err(Error::State { .. })));
    assert_eq!(other.save(), before);
}

/// What was asked before leaves no trace.
#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let mut supernet = supernet::<f32>(TINY, &Candidates::with_zero(), settings(5, Simultaneous::All, 1));
    let space = supernet.space().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut requests = Vec::new();
    for want in [Want::Gradient, Want::Loss, Want::GradientWithUnitOutputs, Want::Removals] {
        let proposals = proposals(&space, &mut rng, want);
        requests
            .extend(proposals.iter().enumerate().map(|(at, proposal)| request(proposal, Set::Validation, at as u64)));
    }
    let first: Vec<Feedback> = requests.iter().map(|request| probe(&mut supernet, request.clone())).collect();
    for (request, before) in requests.iter().zip(&first).rev() {
        assert_eq!(probe(&mut supernet, request.clone()), *before);
    }
    let other = Request { batch: Batch { trial: 0, ..requests[0].batch }, ..requests[0].clone() };
    let mut together = vec![Feedback::new(space.shape()); 2];
    supernet.probe(&[requests[0].clone(), other], &mut together).unwrap();
    assert_eq!(together[0], first[0]);
    assert_ne!(together[1].loss, first[0].loss);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let candidates = Candidates::without_zero();
    let mut supernet = supernet::<f32>(TINY, &candidates, settings(4, Simultaneous::One, 1));
    let space = supernet.space().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let proposals = proposals(&space, &mut rng, Want::Loss);
    let mut feedback = [Feedback::new(space.shape())];
    let ask = |supernet: &mut NasBench201Supernet<f32>, request: Request, feedback: &mut [Feedback]| {
        supernet.probe(&[request], feedback).unwrap_err()
    };
    let dense = ask(&mut supernet, request(&proposals[2], Set::Validation, 0), &mut feedback).to_string();
    assert_eq!(
        dense,
        "the supernet can't evaluate so many candidates of an edge at once: its memory was planned for fewer"
    );
    let test = ask(&mut supernet, request(&proposals[0], Set::Test, 0), &mut feedback);
    assert!(matches!(test, Error::Unsupported { .. }));
    let mut other = request(&proposals[0], Set::Validation, 0);
    other.batch.trial = 1;
    assert!(matches!(ask(&mut supernet, other, &mut feedback), Error::Unsupported { .. }));
    assert!(matches!(
        ask(&mut supernet, request(&proposals[0], Set::Validation, 0), &mut []),
        Error::Length { expected: 1, got: 0, .. }
    ));
    let small = advantage_nas::Shape::new([4, 4]).unwrap();
    let other = request(&Proposal::new(&small), Set::Validation, 0);
    assert!(matches!(ask(&mut supernet, other, &mut feedback), Error::Shape { .. }));

    let build = |skeleton, settings, data| {
        let parent = Parent::new(skeleton, &candidates)?;
        NasBench201Supernet::<f32>::new(parent, settings, data, &Streams::new(0), &[0])
    };
    let right = settings(4, Simultaneous::One, 1);
    let too_many = build(TINY, right, data(10, 5)).unwrap_err();
    assert_eq!(too_many.to_string(), "images: expected at most the network's 4 classes, got 5");
    let no_threads = build(TINY, settings(4, Simultaneous::One, 0), data(10, 4)).unwrap_err();
    assert_eq!(no_threads.to_string(), "the number of threads must be at least 1, got 0");
    assert!(build(TINY, settings(0, Simultaneous::One, 1), data(10, 4)).is_err());
    let weights = Sgd { momentum: 1.0, ..paper_sgd() };
    assert!(build(TINY, Settings { weights, ..right }, data(10, 4)).is_err());
    let mut without_test = data(10, 4);
    without_test.test = None;
    let mut supernet = build(TINY, right, without_test).unwrap();
    let mut request = request(&proposals[0], Set::Test, 0);
    request.batch.trial = 0;
    assert!(matches!(supernet.evaluate(&request), Err(Error::Unsupported { .. })));
}
