//! The parent network of section 5.2 against the naive one: losses, gradients of weights and edge weights (central differences),
//! removals, unit outputs, updates, evaluation; and that threads, saving and earlier questions change nothing.

use crate::support::{self, architecture, assert_threads_change_nothing, probe, train};
use advantage_nas::comparison::Comparison;
use advantage_nas::network::nas_bench_201::{
    CHANNELS, Candidates, Data, IMAGE, Images, Operation, PIXELS, Parent, Skeleton, paper_sgd,
};
use advantage_nas::network::{Part, Sgd};
use advantage_nas::optim::{Nesterov, add_weight_decay, clip_norm};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F64_SUMS, Tolerance, assert_all_close, assert_close, central_difference};
use advantage_nas::{Error, SearchSpace, Supernet};
use advantage_nas_cpu::Compiled;
use advantage_nas_cpu::nas_bench_201::{self, NasBench201Supernet, Settings};
use advantage_nas_oracles::Mixture;
use advantage_nas_oracles::layers::Moments;
use advantage_nas_oracles::nas_bench_201::Network;
use ndarray::{Array4, ArrayD};
use ndarray_rand::RandomExt;
use rand::distr::Uniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Step of central differences. Among thousands of ReLUs some are near their kink; a small step leaves most on their side.
const STEP: f64 = 1e-6;
/// Rounding of a loss near 2 over the step, and the share of the kinks.
const DIFFERENCE: Tolerance = Tolerance::Close { relative: 2e-6, floor: 2e-6 };
/// Of a whole network, norm-wise: dozens of layers in single precision.
const SINGLE: f64 = 2e-5;
/// Of dozens of layers, each with sums of up to thousands of numbers.
const LAYERS: Tolerance = Tolerance::Close { relative: 1e4 * F64_SUMS, floor: 0.0 };
/// Of a few operations on what both sides have the same.
const UPDATE: Tolerance = Tolerance::Close { relative: 1e3 * F64_SUMS, floor: 1e3 * F64_SUMS };

const STREAM: u64 = 3;
const TRIAL: u32 = 2;

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

fn settings(batch: usize, activity: Activity, threads: usize) -> Settings {
    Settings { batch, weights: paper_sgd(), activity, threads }
}

fn supernet<T: Compiled>(skeleton: Skeleton, candidates: &Candidates, settings: Settings) -> NasBench201Supernet<T> {
    let parent = Parent::new(skeleton, candidates).unwrap();
    let data = data(10, skeleton.classes);
    nas_bench_201::supernet(parent, settings, data, &Streams::new(STREAM), &[0, TRIAL]).unwrap()
}

/// All parameters of the trial, or their gradients or velocities.
fn parameters(supernet: &mut NasBench201Supernet<f64>, part: Part) -> Vec<ArrayD<f64>> {
    (0..supernet.network().parent().parameters().len()).map(|index| parameter(supernet, index, part)).collect()
}

/// A parameter of the trial.
fn parameter<T: Compiled>(supernet: &mut NasBench201Supernet<T>, index: usize, part: Part) -> ArrayD<T> {
    supernet.parameter(TRIAL, index, part).unwrap().view().unwrap().to_owned()
}

/// The last minibatch, `[batch, channels, height, width]`, and its labels.
fn minibatch(supernet: &NasBench201Supernet<f64>) -> (Array4<f32>, Vec<usize>) {
    (supernet.network().images().to_owned(), supernet.network().labels().to_vec())
}

fn images(pixels: Vec<f32>) -> Array4<f32> {
    Array4::from_shape_vec((pixels.len() / PIXELS, CHANNELS, IMAGE, IMAGE), pixels).unwrap()
}

/// A double-precision supernet with random scales and shifts, the naive network with the same numbers, and a random generator.
fn both(candidates: &Candidates, batch: usize, seed: u64) -> (NasBench201Supernet<f64>, Network, ChaCha8Rng) {
    let mut supernet = supernet::<f64>(TINY, candidates, settings(batch, Activity::All, 1));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let parent = supernet.network().parent().clone();
    for (index, parameter) in parent.parameters().iter().enumerate() {
        if parameter.shape.len() == 1 {
            let values = ArrayD::random_using(&*parameter.shape, Uniform::new(0.5, 1.5).unwrap(), &mut rng);
            supernet.set_parameter(TRIAL, index, Part::Value, &values.into()).unwrap();
        }
    }
    let mut plain = Network::new(parent, parameters(&mut supernet, Part::Value)).unwrap();
    plain.running = running(&supernet);
    (supernet, plain, rng)
}

fn running(supernet: &NasBench201Supernet<f64>) -> Vec<Moments> {
    let of = |index| {
        let [mean, variance] = supernet.network().running(TRIAL, index).unwrap();
        Moments { mean: mean.into(), variance: variance.into() }
    };
    (0..supernet.network().parent().running().len()).map(of).collect()
}

/// One-hot, two-hot, dense, and one-hot among all.
fn proposals(space: &SearchSpace, rng: &mut ChaCha8Rng, want: Want) -> [Proposal; 4] {
    let [one_hot, dense, among_all, pairs] = support::proposals(space.shape(), rng, 0.1..0.9, want).try_into().unwrap();
    [one_hot, pairs, dense, among_all]
}

fn request(proposal: &Proposal, set: Set, step: u64) -> Request {
    Request { batch: Batch { trial: TRIAL, set, step }, proposal: proposal.clone() }
}

#[test]
fn losses_equal_the_plain_network() {
    let candidates = Candidates::with_zero();
    let (mut supernet, plain, mut rng) = both(&candidates, 5, 1);
    let mut single = self::supernet::<f32>(TINY, &candidates, settings(5, Activity::All, 1));
    for (index, values) in plain.parameters.iter().enumerate() {
        single.set_parameter(TRIAL, index, Part::Value, &values.mapv(|value| value as f32).into()).unwrap();
    }
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Removals) {
        let request = request(&proposal, Set::Validation, 3);
        let double = probe(&mut supernet, &request);
        let (images, labels) = minibatch(&supernet);
        let expected = advantage_nas_oracles::feedback(&proposal, STEP, |mixture| {
            plain.pass(images.view(), &labels, mixture).loss
        });
        Comparison::new("loss", &[double.loss], &[expected.loss], LAYERS).assert();
        Comparison::new("removals", &double.removals, &expected.removals, LAYERS).assert();
        let single_answer = probe(&mut single, &request);
        assert_close(single_answer.loss, expected.loss, SINGLE, 0.0);
        Comparison::new("single removals", &single_answer.removals, &expected.removals, Tolerance::OfNorm(SINGLE))
            .assert();

        let expected = plain.pass(images.view(), &labels, &Mixture::new(proposal.weights())).logits;
        let pass = supernet.pass(&request).unwrap();
        assert_eq!(pass.loss, double.loss);
        let logits = supernet.network().logits();
        Comparison::new("logits", &logits, &expected, Tolerance::Close { relative: 0.0, floor: 1e4 * F64_SUMS })
            .assert();
        single.pass(&request).unwrap();
        let logits = single.network().logits();
        Comparison::new("single logits", &logits, &expected, Tolerance::OfNorm(SINGLE)).assert();
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
        let feedback = probe(&mut supernet, &request);
        let pass = supernet.pass(&request).unwrap();
        assert_eq!(feedback.gradient, pass.edge_gradient);
        let (images, labels) = minibatch(&supernet);
        let loss = |plain: &Network, mixture: &Mixture| plain.pass(images.view(), &labels, mixture).loss;
        let expected = advantage_nas_oracles::feedback(&proposal, STEP, |mixture| loss(&plain, mixture));
        Comparison::new("gradient", &feedback.gradient, &expected.gradient, DIFFERENCE).assert();

        let gradients = parameters(&mut supernet, Part::Gradient);
        let mixture = Mixture::new(proposal.weights());
        for (index, parameter) in plain.parent().parameters().iter().enumerate() {
            let gradient = gradients[index].as_slice().unwrap();
            if !parameter.owner.takes_part(&proposal, None) {
                assert!(gradient.iter().all(|slope| *slope == 0.0));
                continue;
            }
            let place = rng.random_range(0..parameter.len());
            let expected = central_difference(STEP, |by| {
                let mut plain = plain.clone();
                plain.parameters[index].as_slice_mut().unwrap()[place] += by;
                loss(&plain, &mixture)
            });
            let name = format!("{}, number {place}", parameter.name);
            Comparison::new(name, &[gradient[place]], &[expected], DIFFERENCE).assert();
        }
    }
}

/// Inactive candidates as if their output were all ones: the derivative when a constant is added to the edge's output.
#[test]
fn unit_outputs_equal_central_differences() {
    let candidates = Candidates::with_zero();
    let (mut supernet, plain, mut rng) = both(&candidates, 3, 3);
    let space = supernet.space().clone();
    let one = architecture(space.shape(), &mut rng);
    let proposal = Proposal::one_hot(space.shape(), &one, Want::GradientWithUnitOutputs).unwrap();
    let feedback = probe(&mut supernet, &request(&proposal, Set::Validation, 7));
    let plain_gradient = Proposal::one_hot(space.shape(), &one, Want::Gradient).unwrap();
    let gradient = probe(&mut supernet, &request(&plain_gradient, Set::Validation, 7)).gradient;
    let (images, labels) = minibatch(&supernet);
    let mut expected =
        advantage_nas_oracles::feedback(&proposal, STEP, |mixture| plain.pass(images.view(), &labels, mixture).loss);
    // A chosen zero leaves ReLUs on their kinks; what it should be is the other test's matter.
    for (edge, &choice) in one.choices().iter().enumerate() {
        expected.gradient[(edge, choice)] = gradient[(edge, choice)];
    }
    Comparison::new("gradient", &feedback.gradient, &expected.gradient, DIFFERENCE).assert();
}

/// Against the optimiser of the core, over all parameters that take part; the others don't move. The running statistics follow.
#[test]
fn weight_steps_are_those_of_the_optimiser() {
    let candidates = Candidates::without_zero();
    let (mut supernet, mut plain, mut rng) = both(&candidates, 4, 4);
    let Sgd { momentum, weight_decay, clip_norm: limit, .. } = paper_sgd();
    let count = plain.parent().parameters().len();
    let mut velocities: Vec<ArrayD<f64>> = plain.parameters.iter().map(|values| values * 0.0).collect();
    for number in 0..3 {
        let proposal = &proposals(&supernet.space().clone(), &mut rng, Want::Loss)[number];
        let request = request(proposal, Set::Training, number as u64);
        supernet.pass(&request).unwrap();
        let (images, labels) = minibatch(&supernet);
        plain.running = plain.pass(images.view(), &labels, &Mixture::new(proposal.weights())).running;
        let takes_part = |index: &usize| plain.parent().parameters()[*index].owner.takes_part(proposal, None);
        let active: Vec<usize> = (0..count).filter(takes_part).collect();
        let all = |values: &[ArrayD<f64>]| active.iter().flat_map(|index| values[*index].clone()).collect::<Vec<f64>>();
        let (mut gradient, mut values) = (all(&parameters(&mut supernet, Part::Gradient)), all(&plain.parameters));
        add_weight_decay(&mut gradient, &values, weight_decay).unwrap();
        let norm = clip_norm(&mut gradient, limit).unwrap();
        let mut optimiser = Nesterov::new(values.len(), momentum).unwrap();
        optimiser.velocity_mut().copy_from_slice(&all(&velocities));
        optimiser.step(&mut values, &gradient, 0.05).unwrap();

        assert_close(supernet.update(0.05).unwrap(), norm, 1e3 * F64_SUMS, 0.0);
        let (mut values, mut speeds) = (values.iter(), optimiser.velocity().iter());
        for &index in &active {
            plain.parameters[index].iter_mut().for_each(|value| *value = *values.next().unwrap());
            velocities[index].iter_mut().for_each(|speed| *speed = *speeds.next().unwrap());
        }
        assert!(values.next().is_none() && speeds.next().is_none());
        let found = [Part::Value, Part::Velocity].map(|part| parameters(&mut supernet, part));
        for (index, parameter) in plain.parent().parameters().iter().enumerate() {
            for (part, found, expected) in
                [("values", &found[0], &plain.parameters), ("velocities", &found[1], &velocities)]
            {
                let name = format!("{part} of {}", parameter.name);
                Comparison::new(name, &found[index], &expected[index], UPDATE).assert();
            }
        }
        let found = running(&supernet);
        assert_eq!(found.len(), plain.running.len());
        for (found, expected) in found.iter().zip(&plain.running) {
            Comparison::new("means", &found.mean, &expected.mean, UPDATE).assert();
            let variances = Tolerance::Close { relative: 1e3 * F64_SUMS, floor: 0.0 };
            Comparison::new("variances", &found.variance, &expected.variance, variances).assert();
        }
        // Exactly what both have, so that differences don't add up.
        for (index, values) in plain.parameters.iter().enumerate() {
            supernet.set_parameter(TRIAL, index, Part::Value, &values.clone().into()).unwrap();
        }
    }
}

/// A weight step is a pass and an update at the schedule's learning rate.
#[test]
fn weight_steps_follow_the_schedule() {
    let candidates = Candidates::without_zero();
    let build = || supernet::<f32>(TINY, &candidates, settings(4, Activity::One, 1));
    let (mut one, mut other) = (build(), build());
    let proposal = Proposal::new(one.space().shape());
    let request = request(&proposal, Set::Training, 5);
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.25 };
    let loss = train(&mut one, step, &request).unwrap();
    assert_eq!(other.pass(&request).unwrap().loss, loss);
    other.update(0.1 * (0.5f64.sqrt() + 1.0) / 2.0).unwrap();
    for index in 0..one.network().parent().parameters().len() {
        let of = |supernet: &mut NasBench201Supernet<f32>| -> Vec<f64> {
            parameter(supernet, index, Part::Value).into_iter().map(f64::from).collect()
        };
        assert_all_close(&of(&mut one), &of(&mut other), 1e-6, 1e-9);
    }
    // A probe leaves no trace.
    let before = one.save(TRIAL).unwrap();
    probe(&mut one, &request);
    assert_eq!(one.save(TRIAL).unwrap(), before);
    assert!(one.trains_weights());
}

/// All images, in the order that was drawn: ten as four, three and three.
#[test]
fn evaluations_equal_the_plain_network() {
    let candidates = Candidates::without_zero();
    let (mut supernet, mut plain, mut rng) = both(&candidates, 4, 5);
    let space = supernet.space().clone();
    let step = Step { kind: StepKind::Warmup, progress: 0.0, schedule: 0.0 };
    let some = Proposal::one_hot(space.shape(), &architecture(space.shape(), &mut rng), Want::Loss).unwrap();
    train(&mut supernet, step, &request(&some, Set::Training, 0)).unwrap();
    plain.parameters.clone_from_slice(&parameters(&mut supernet, Part::Value));
    let data = data(10, TINY.classes);
    let before = supernet.save(TRIAL).unwrap();
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
            let answer = plain.pass(self::images(pixels).view(), &labels, &Mixture::new(some.weights()));
            loss += answer.loss * places.len() as f64;
            correct += answer.correct;
        }
        Comparison::new("loss", &[evaluation.loss], &[loss / indices.len() as f64], LAYERS).assert();
        assert_eq!(evaluation.accuracy, Some(correct as f64 / indices.len() as f64));
        assert_eq!(evaluation.count, indices.len() as u64);
    }
    assert_eq!(supernet.save(TRIAL).unwrap(), before);
}

/// Everything that a few steps of all kinds leave behind.
fn trace(threads: usize) -> (Vec<f64>, advantage_nas::state::State) {
    let skeleton = Skeleton { cells: 1, channels: 16, classes: 10 };
    let candidates = Candidates::with_zero();
    // Chunks of 4, 4, 4 and 1 images.
    let mut supernet = supernet::<f32>(skeleton, &candidates, settings(13, Activity::All, threads));
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut numbers = Vec::new();
    for (index, want) in [Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals].into_iter().enumerate() {
        for proposal in proposals(&supernet.space().clone(), &mut rng, want) {
            let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
            let at = index as u64;
            numbers.push(train(&mut supernet, step, &request(&proposal, Set::Training, at)).unwrap());
            let feedback = probe(&mut supernet, &request(&proposal, Set::Validation, at));
            numbers.push(feedback.loss);
            numbers.extend(feedback.gradient.values());
            numbers.extend(feedback.removals);
            let pass = supernet.pass(&request(&proposal, Set::Validation, at)).unwrap();
            numbers.push(pass.loss);
            numbers.extend(supernet.network().logits().iter().map(|logit| f64::from(*logit)));
            numbers.extend(pass.edge_gradient.values());
            for index in 0..supernet.network().parent().parameters().len() {
                let gradient = parameter(&mut supernet, index, Part::Gradient);
                numbers.extend(gradient.into_iter().map(f64::from));
            }
            numbers.push(supernet.update(0.05).unwrap());
            numbers.push(supernet.evaluate(&request(&proposal, Set::Test, at)).unwrap().loss);
        }
    }
    (numbers, supernet.save(TRIAL).unwrap())
}

#[test]
fn threads_change_nothing() {
    assert_threads_change_nothing(trace);
}

#[test]
fn what_is_saved_comes_back() {
    let candidates = Candidates::without_zero();
    let build = || supernet::<f32>(TINY, &candidates, settings(4, Activity::All, 1));
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut whole = build();
    let space = whole.space().clone();
    let proposals: Vec<Proposal> = (0..6).flat_map(|_| proposals(&space, &mut rng, Want::Gradient)).collect();
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.1 };
    let run = |supernet: &mut NasBench201Supernet<f32>, range: std::ops::Range<usize>| {
        for index in range {
            train(supernet, step, &request(&proposals[index], Set::Training, index as u64)).unwrap();
        }
    };
    run(&mut whole, 0..12);
    let state = whole.save(TRIAL).unwrap();
    let mut resumed = build();
    resumed.restore(TRIAL, &state).unwrap();
    run(&mut whole, 12..24);
    run(&mut resumed, 12..24);
    assert_eq!(whole.save(TRIAL).unwrap(), resumed.save(TRIAL).unwrap());
    // A state of another network is refused as a whole.
    let mut other = supernet::<f32>(TINY, &Candidates::with_zero(), settings(4, Activity::All, 1));
    let mut broken = advantage_nas::state::State::new();
    for (name, entry) in state.iter().skip(1) {
        broken.insert(name, entry.clone());
    }
    let before = other.save(TRIAL).unwrap();
    assert!(matches!(other.restore(TRIAL, &broken), Err(Error::State { .. })));
    assert_eq!(other.save(TRIAL).unwrap(), before);
}

/// What was asked before leaves no trace.
#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let mut supernet = supernet::<f32>(TINY, &Candidates::with_zero(), settings(5, Activity::All, 1));
    let space = supernet.space().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let mut requests = Vec::new();
    for want in [Want::Gradient, Want::Loss, Want::GradientWithUnitOutputs, Want::Removals] {
        let proposals = proposals(&space, &mut rng, want);
        requests
            .extend(proposals.iter().enumerate().map(|(at, proposal)| request(proposal, Set::Validation, at as u64)));
    }
    let first: Vec<Feedback> = requests.iter().map(|request| probe(&mut supernet, request)).collect();
    for (request, before) in requests.iter().zip(&first).rev() {
        assert_eq!(probe(&mut supernet, request), *before);
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
    let mut supernet = supernet::<f32>(TINY, &candidates, settings(4, Activity::One, 1));
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
        nas_bench_201::supernet::<f32>(parent, settings, data, &Streams::new(0), &[0])
    };
    let right = settings(4, Activity::One, 1);
    let too_many = build(TINY, right, data(10, 5)).unwrap_err();
    assert_eq!(too_many.to_string(), "images: expected at most the network's 4 classes, got 5");
    let no_threads = build(TINY, settings(4, Activity::One, 0), data(10, 4)).unwrap_err();
    assert_eq!(no_threads.to_string(), "the number of threads must be at least 1, got 0");
    assert!(build(TINY, settings(0, Activity::One, 1), data(10, 4)).is_err());
    let weights = Sgd { momentum: 1.0, ..paper_sgd() };
    assert!(build(TINY, Settings { weights, ..right }, data(10, 4)).is_err());
    let mut without_test = data(10, 4);
    without_test.test = None;
    let mut supernet = build(TINY, right, without_test).unwrap();
    let mut request = request(&proposals[0], Set::Test, 0);
    request.batch.trial = 0;
    assert!(matches!(supernet.evaluate(&request), Err(Error::Unsupported { .. })));
}
