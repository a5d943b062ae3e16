//! The recurrent network of section 5.3 against the naive one: losses, gradients of weights and edge weights (central differences),
//! removals, unit outputs, updates, evaluation, the carried state; and that threads, saving and evaluations change nothing.

use crate::support::{self, architecture, assert_threads_change_nothing, probe, train};
use advantage_nas::comparison::Comparison;
use advantage_nas::network::Part;
use advantage_nas::network::recurrent::{Dropout, MaskPart, Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F64_SUMS, Tolerance, assert_close, central_difference};
use advantage_nas::{Architecture, Error, SearchSpace, Supernet, estimator};
use advantage_nas_cpu::Compiled;
use advantage_nas_cpu::recurrent::{self, RecurrentSupernet, Settings};
use advantage_nas_oracles::Mixture;
use advantage_nas_oracles::recurrent::{Network, Segment};
use ndarray::{Array2, ArrayD};
use ndarray_rand::RandomExt;
use rand::distr::Uniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Step of central differences: ReLUs near their kink are few, and a small step leaves most on their side.
const STEP: f64 = 1e-6;
/// Rounding of a loss near 20 over the step.
const DIFFERENCE: Tolerance = Tolerance::Close { relative: 1e-7, floor: 1e-7 };
/// Of a whole network, norm-wise: dozens of layers in single precision.
const SINGLE: f64 = 2e-5;

const STREAM: u64 = 3;
const TRIAL: u32 = 2;

/// No size is a multiple of the sixteen numbers that the network works on at once, or of its tiles of eight streams; there are two
/// chunks of streams, and the words are two groups of 512 with some over.
const TINY: Recurrent = Recurrent { vocabulary: 531, units: 19, batch: 11, steps: 4, dropout: 0.4, initial_range: 0.4 };

/// Widening under a name of its own.
trait Widen {
    fn widen(self) -> f64;
}

impl<T: Compiled> Widen for T {
    fn widen(self) -> f64 {
        self.to_f64().unwrap()
    }
}

fn texts(sizes: Recurrent) -> Texts {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut text = |length: usize| (0..length).map(|_| rng.random_range(0..sizes.vocabulary as u32)).collect();
    Texts { vocabulary: sizes.vocabulary, training: text(97), validation: text(300), test: Some(text(40)) }
}

fn supernet<T: Compiled>(sizes: Recurrent, threads: usize) -> RecurrentSupernet<T> {
    let parent = Parent::new(sizes).unwrap();
    let settings = Settings { weights: WeightSettings::paper(), threads };
    recurrent::supernet(parent, settings, texts(sizes), &Streams::new(STREAM), &[0, TRIAL]).unwrap()
}

/// A double-precision supernet whose state is not zero, and a random generator.
fn with_state(sizes: Recurrent, seed: u64) -> (RecurrentSupernet<f64>, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut supernet = supernet::<f64>(sizes, 1);
    let state = Array2::random_using((sizes.batch, sizes.units), Uniform::new(-1.0, 1.0).unwrap(), &mut rng);
    supernet.network_mut().set_state(TRIAL, state.view()).unwrap();
    (supernet, rng)
}

/// Numbers of a parameter.
fn parameter<T: Compiled>(supernet: &mut RecurrentSupernet<T>, index: usize, part: Part) -> ArrayD<T> {
    supernet.parameter(TRIAL, index, part).unwrap().view::<T>().unwrap().to_owned()
}

/// The naive network with the supernet's weights.
fn naive<T: Compiled>(supernet: &mut RecurrentSupernet<T>) -> Network {
    let parent = supernet.network().parent().clone();
    let count = parent.parameters().len();
    let parameters = (0..count).map(|index| parameter(supernet, index, Part::Value).mapv(Widen::widen)).collect();
    Network::new(parent, parameters).unwrap()
}

/// The last segment, with everything that is not a weight.
fn segment<T: Compiled>(supernet: &RecurrentSupernet<T>) -> Segment {
    let network = supernet.network();
    Segment {
        inputs: network.minibatch().inputs().to_owned(),
        targets: network.minibatch().targets().to_owned(),
        masks: network.masks().map(|mask| mask.mapv(Widen::widen)),
        state: network.state_before().mapv(Widen::widen),
    }
}

/// One-hot, all zero but one edge, two-hot, dense, and one-hot among all.
fn proposals(space: &SearchSpace, rng: &mut ChaCha8Rng, want: Want) -> [Proposal; 5] {
    let shape = space.shape();
    let [one_hot, dense, among_all, pairs] = support::proposals(shape, rng, 0.1..0.9, want).try_into().unwrap();
    let zeros = Proposal::one_hot(shape, &Architecture::new(shape, [4, 1, 4, 4, 4, 4]).unwrap(), want).unwrap();
    [one_hot, zeros, pairs, dense, among_all]
}

fn request(proposal: &Proposal, set: Set) -> Request {
    Request { batch: Batch { trial: TRIAL, set, step: 0 }, proposal: proposal.clone() }
}

fn step(schedule: f64) -> Step {
    Step { kind: StepKind::Weights, progress: 0.0, schedule }
}

#[test]
fn losses_and_states_equal_the_plain_network() {
    let sums = Tolerance::Close { relative: 100.0 * F64_SUMS, floor: 0.0 };
    for dropout in [0.0, 0.4] {
        let sizes = Recurrent { dropout, ..TINY };
        let (mut supernet, mut rng) = with_state(sizes, 1);
        let mut single = self::supernet::<f32>(sizes, 1);
        let state = supernet.network().state(TRIAL).unwrap().mapv(|value| value as f32);
        single.network_mut().set_state(TRIAL, state.view()).unwrap();
        let plain = naive(&mut supernet);
        for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Removals) {
            let request = request(&proposal, Set::Validation);
            let double = probe(&mut supernet, &request);
            let segment = segment(&supernet);
            let expected = advantage_nas_oracles::feedback(&proposal, STEP, |mixture| plain.pass(&segment, mixture).0);
            let (_, state) = plain.pass(&segment, &Mixture::new(proposal.weights()));
            Comparison::new("loss", &[double.loss], &[expected.loss], sums).assert();
            let after = supernet.network().state(TRIAL).unwrap();
            let floor = 100.0 * F64_SUMS;
            Comparison::new("state", &after, &state, Tolerance::Close { relative: floor, floor }).assert();
            Comparison::new("removals", &double.removals, &expected.removals, sums).assert();
            let answer = probe(&mut single, &request);
            assert_close(answer.loss, expected.loss, SINGLE, 0.0);
            Comparison::new("single removals", &answer.removals, &expected.removals, Tolerance::OfNorm(SINGLE))
                .assert();
            let after = single.network().state(TRIAL).unwrap();
            Comparison::new("single state", &after, &state, Tolerance::OfNorm(SINGLE)).assert();
        }
    }
}

/// Of all edge weights, and of some numbers of every parameter: of the embeddings those of words that occur and of one that doesn't.
#[test]
fn gradients_equal_central_differences_of_the_plain_network() {
    let (mut supernet, mut rng) = with_state(TINY, 2);
    let plain = naive(&mut supernet);
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Gradient) {
        let request = request(&proposal, Set::Training);
        let start = supernet.save(TRIAL).unwrap();
        let feedback = probe(&mut supernet, &request);
        supernet.restore(TRIAL, &start).unwrap();
        let pass = supernet.pass(&request).unwrap();
        assert_eq!(feedback.gradient, pass.edge_gradient);
        assert_eq!(feedback.loss.to_bits(), pass.loss.to_bits());
        let segment = segment(&supernet);
        let loss = |plain: &Network, mixture: &Mixture| plain.pass(&segment, mixture).0;
        let expected = advantage_nas_oracles::feedback(&proposal, STEP, |mixture| loss(&plain, mixture));
        Comparison::new("gradient", &feedback.gradient, &expected.gradient, DIFFERENCE).assert();

        let mixture = Mixture::new(proposal.weights());
        for (index, parameter) in plain.parent().parameters().iter().enumerate() {
            let name = &parameter.name;
            let gradient = self::parameter(&mut supernet, index, Part::Gradient);
            let read = |edge: usize| (0..4).any(|candidate| proposal.active()[(edge, candidate)]);
            if (0..6).any(|edge| *name == format!("cell.edges.{edge}.candidates.weight") && !read(edge)) {
                assert!(gradient.iter().all(|slope| *slope == 0.0), "{name}");
                continue;
            }
            let mut places: Vec<usize> = (0..4).map(|_| rng.random_range(0..gradient.len())).collect();
            places.extend([0, gradient.len() - 1]);
            if name == "embedding.weight" {
                places.extend(segment.inputs.iter().take(3).map(|&word| word as usize * TINY.units + 18));
            }
            let expected = places.iter().map(|&place| {
                central_difference(STEP, |by| {
                    let mut plain = plain.clone();
                    plain.parameters[index].as_slice_mut().unwrap()[place] += by;
                    loss(&plain, &mixture)
                })
            });
            let expected: Vec<f64> = expected.collect();
            let gradient = gradient.as_slice().unwrap();
            let found: Vec<f64> = places.iter().map(|&place| gradient[place]).collect();
            Comparison::new(format!("{name}, numbers {places:?}"), &found, &expected, DIFFERENCE).assert();
        }
    }
}

/// Inactive candidates as if their output were all ones: the derivative when a constant is added to `z`.
#[test]
fn unit_outputs_equal_central_differences() {
    let (mut supernet, mut rng) = with_state(TINY, 3);
    let plain = naive(&mut supernet);
    let space = supernet.space().clone();
    let one = architecture(space.shape(), &mut rng);
    let proposal = Proposal::one_hot(space.shape(), &one, Want::GradientWithUnitOutputs).unwrap();
    let feedback = probe(&mut supernet, &request(&proposal, Set::Validation));
    let segment = segment(&supernet);
    let expected = advantage_nas_oracles::feedback(&proposal, STEP, |mixture| plain.pass(&segment, mixture).0);
    Comparison::new("gradient", &feedback.gradient, &expected.gradient, DIFFERENCE).assert();
}

/// The zero operation leaves `(1 − c) ⊙ s` of its source: like any other operation with weight zero, and like a removal.
#[test]
fn the_zero_operation_is_a_removal() {
    let (mut supernet, _) = with_state(TINY, 4);
    let space = supernet.space().clone();
    let start = supernet.save(TRIAL).unwrap();
    let mut ask = |choices: [usize; 6], want| {
        supernet.restore(TRIAL, &start).unwrap();
        let one = Architecture::new(space.shape(), choices).unwrap();
        let proposal = Proposal::one_hot(space.shape(), &one, want).unwrap();
        probe(&mut supernet, &request(&proposal, Set::Validation))
    };
    let whole = ask([1, 2, 3, 0, 1, 2], Want::Removals);
    for edge in 0..6 {
        let mut choices = [1, 2, 3, 0, 1, 2];
        choices[edge] = 4;
        let zero = ask(choices, Want::Removals);
        assert_close(zero.loss, whole.removals[edge], F64_SUMS, 0.0);
        // The operation of an edge that is zero already is no loss.
        assert_eq!(zero.removals[edge], zero.loss);
        assert_ne!(zero.loss, whole.loss);
        let gradient = ask(choices, Want::Gradient).gradient;
        assert_eq!(gradient[(edge, 4)], 0.0);
    }
}

/// Eq. (6) by its definition, `r(s) − r(s_i, 0)`, and Eq. (7) along the line between the two: the derivative of the loss in `a_i`,
/// integrated from 0 to 1 (Simpson's rule on 16 pieces), is the difference of Eq. (6) exactly; the end point alone is not.
#[test]
fn removals_are_integrals_of_the_gradient() {
    let sizes = Recurrent { batch: 3, steps: 2, ..TINY };
    let (mut supernet, _) = with_state(sizes, 5);
    let space = supernet.space().clone();
    let one = Architecture::new(space.shape(), [1, 2, 0, 1, 2, 1]).unwrap();
    let start = supernet.save(TRIAL).unwrap();
    let proposal = Proposal::one_hot(space.shape(), &one, Want::Removals).unwrap();
    let removals = probe(&mut supernet, &request(&proposal, Set::Validation));
    let mut exact = [0.0; 6];
    let rewards: Vec<f64> = removals.removals.iter().map(|loss| -loss).collect();
    estimator::advantages(&-removals.loss, &rewards, &mut exact).unwrap();
    for edge in 0..6 {
        let mut slope = |weight: f64| {
            supernet.restore(TRIAL, &start).unwrap();
            let mut weights = proposal.weights().clone();
            weights[(edge, one.choice(edge))] = weight;
            let mut dense = proposal.clone();
            dense.set_dense(&weights, Want::Gradient).unwrap();
            -probe(&mut supernet, &request(&dense, Set::Validation)).gradient[(edge, one.choice(edge))]
        };
        let mut integral = 0.0;
        for piece in 0..16 {
            let at = |part: f64| (f64::from(piece) + part) / 16.0;
            integral += (slope(at(0.0)) + 4.0 * slope(at(0.5)) + slope(at(1.0))) / (6.0 * 16.0);
        }
        // Simpson's remainder: a fourth derivative near one over 2880·16⁴.
        assert_close(integral, exact[edge], 1e-6, 1e-8);
        let first_order = slope(1.0);
        assert!((first_order - exact[edge]).abs() <= 0.3 * exact[edge].abs(), "edge {edge}: {first_order}, {exact:?}");
        assert!((first_order - exact[edge]).abs() >= 1e-6 * exact[edge].abs());
    }
}

/// The gradient is clipped as a whole, over all parameters that take part; the others don't move.
#[test]
fn weight_steps_descend_the_clipped_gradient() {
    let updated = Tolerance::Close { relative: 10.0 * F64_SUMS, floor: 10.0 * F64_SUMS };
    let (mut supernet, mut rng) = with_state(TINY, 6);
    let parent = supernet.network().parent().clone();
    let all = |supernet: &mut RecurrentSupernet<f64>, part| -> Vec<ArrayD<f64>> {
        (0..parent.parameters().len()).map(|index| parameter(supernet, index, part)).collect()
    };
    for (number, proposal) in proposals(&supernet.space().clone(), &mut rng, Want::Loss).iter().enumerate() {
        let schedule = number as f64 / 5.0;
        let before = all(&mut supernet, Part::Value);
        let start = supernet.save(TRIAL).unwrap();
        let request = request(proposal, Set::Training);
        let loss = supernet.pass(&request).unwrap().loss;
        let gradients = all(&mut supernet, Part::Gradient);
        supernet.restore(TRIAL, &start).unwrap();
        assert_eq!(train(&mut supernet, step(schedule), &request).unwrap(), loss);
        let norm = gradients.iter().flatten().map(|slope| slope * slope).sum::<f64>().sqrt();
        assert!(norm > 0.25, "nothing to clip at {norm}");
        let rate = 20.0 * ((std::f64::consts::PI * schedule).cos() + 1.0) / 2.0 * 0.25 / norm;
        for ((before, gradient), after) in before.iter().zip(&gradients).zip(all(&mut supernet, Part::Value)) {
            Comparison::new("updated", &after, &(before - rate * gradient), updated).assert();
        }
    }
    // A pass and an update are a weight step; a limit that is not reached changes nothing.
    let free = parameter(&mut supernet, 1, Part::Value);
    let settings = Settings { weights: WeightSettings { clip_norm: 1e9, ..WeightSettings::paper() }, threads: 1 };
    let mut other = recurrent::supernet(parent, settings, texts(TINY), &Streams::new(STREAM), &[TRIAL]).unwrap();
    other.restore(TRIAL, &supernet.save(TRIAL).unwrap()).unwrap();
    other.pass(&request(&Proposal::new(supernet.space().shape()), Set::Training)).unwrap();
    let gradient = parameter(&mut other, 1, Part::Gradient);
    let norm = other.update(0.01).unwrap();
    assert!(norm > 0.0);
    Comparison::new("free", &parameter(&mut other, 1, Part::Value), &(free - 0.01 * gradient), updated).assert();
}

/// Batch 1, no dropout, one reset at the start, the last target is the first word; in pieces of 256 words, which must not show.
#[test]
fn evaluations_equal_the_plain_network() {
    let (mut supernet, mut rng) = with_state(TINY, 7);
    let plain = naive(&mut supernet);
    let mut single = self::supernet::<f32>(TINY, 2);
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Loss) {
        let before = supernet.save(TRIAL).unwrap();
        let texts = supernet.network().texts().clone();
        for (set, text) in [
            (Set::Training, &texts.training),
            (Set::Validation, &texts.validation),
            (Set::Test, texts.test.as_ref().unwrap()),
        ] {
            let loss = plain.evaluate(text, &Mixture::new(proposal.weights()));
            let evaluation = supernet.evaluate(&request(&proposal, set)).unwrap();
            assert_close(evaluation.loss, loss, 100.0 * F64_SUMS, 0.0);
            assert_eq!((evaluation.accuracy, evaluation.count), (None, text.len() as u64));
            let evaluation = single.evaluate(&request(&proposal, set)).unwrap();
            assert_close(evaluation.loss, loss, SINGLE, 0.0);
        }
        assert_eq!(supernet.save(TRIAL).unwrap(), before);
        // Nor does it change what comes next.
        let next = probe(&mut supernet, &request(&proposal, Set::Training)).loss;
        supernet.restore(TRIAL, &before).unwrap();
        assert_eq!(probe(&mut supernet, &request(&proposal, Set::Training)).loss, next);
    }
}

/// All weights zero: every word has probability `1/V`.
#[test]
fn a_uniform_model_has_the_vocabulary_as_its_perplexity() {
    fn check<T: Compiled>(vocabulary: usize) {
        let sizes = Recurrent { vocabulary, ..TINY };
        let mut supernet = supernet::<T>(sizes, 1);
        let shapes = supernet.network().parent().parameters().iter().map(|parameter| parameter.shape.clone());
        for (index, shape) in shapes.collect::<Vec<_>>().into_iter().enumerate() {
            supernet.set_parameter(TRIAL, index, Part::Value, &ArrayD::from_elem(shape, T::zero()).into()).unwrap();
        }
        let proposal = Proposal::new(supernet.space().shape());
        for set in [Set::Validation, Set::Test] {
            let evaluation = supernet.evaluate(&request(&proposal, set)).unwrap();
            assert_close(evaluation.loss.exp(), vocabulary as f64, 1e-9, 0.0);
        }
        let loss = probe(&mut supernet, &request(&proposal, Set::Training)).loss;
        assert_close(loss, sizes.steps as f64 * (vocabulary as f64).ln(), 1e-9, 0.0);
    }
    for vocabulary in [1, 2, 17, 512, 10_000] {
        check::<f64>(vocabulary);
        check::<f32>(vocabulary);
    }
}

/// A chain of six words whose next word depends on the last one alone, so that its entropy is known: no model can be better than the
/// chain itself on text that it has not seen, and one that is trained long enough comes near.
#[test]
fn a_markov_chain_is_approached_and_not_beaten() {
    const WORDS: usize = 6;
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let rows: Vec<Vec<f64>> = (0..WORDS)
        .map(|_| {
            let numbers: Vec<f64> = (0..WORDS).map(|_| rng.random_range(0.02f64..1.0).powi(3)).collect();
            let sum: f64 = numbers.iter().sum();
            numbers.iter().map(|number| number / sum).collect()
        })
        .collect();
    let mut text = |length: usize| -> Vec<u32> {
        let mut word = 0;
        let mut next = || {
            let mut left = rng.random_range(0.0..1.0);
            let row = &rows[word];
            word = 0;
            while word + 1 < WORDS && left >= row[word] {
                left -= row[word];
                word += 1;
            }
            word as u32
        };
        (0..length).map(|_| next()).collect()
    };
    let (training, test) = (text(20_000), text(20_000));
    let sizes = Recurrent { vocabulary: WORDS, units: 16, batch: 20, steps: 10, dropout: 0.0, ..Recurrent::paper() };
    let weights = WeightSettings { learning_rate: 2.0, clip_norm: 0.25 };
    let texts = Texts {
        vocabulary: WORDS,
        training: training.into(),
        validation: test.clone().into(),
        test: Some(test.clone().into()),
    };
    let parent = Parent::new(sizes).unwrap();
    let settings = Settings { weights, threads: 1 };
    let mut supernet = recurrent::supernet::<f32>(parent, settings, texts, &Streams::new(0), &[TRIAL]).unwrap();
    let space = supernet.space().clone();
    let tanh =
        Proposal::one_hot(space.shape(), &Architecture::new(space.shape(), [1; 6]).unwrap(), Want::Loss).unwrap();
    for number in 0..1500 {
        let at = step(f64::from(number) / 1500.0);
        train(&mut supernet, at, &request(&tanh, Set::Training)).unwrap();
    }
    let loss = supernet.evaluate(&request(&tanh, Set::Test)).unwrap().loss;
    // Of the chain itself, on the same predictions.
    let own: Vec<f64> = (0..test.len())
        .map(|place| -rows[test[place] as usize][test[(place + 1) % test.len()] as usize].ln())
        .collect();
    let chain = own.iter().sum::<f64>() / own.len() as f64;
    // A model that is as good as the chain differs from it by less than a hundredth of the scatter of single words; a better one
    // would have seen the future.
    let scatter = (own.iter().map(|loss| (loss - chain) * (loss - chain)).sum::<f64>() / own.len() as f64).sqrt();
    assert!(loss >= chain - 0.1 * scatter / (own.len() as f64).sqrt(), "{loss} beats the chain's {chain}");
    assert!(loss <= chain + 0.02, "{loss} is far from the chain's {chain}");
}

/// The segments of a trial follow each other whatever is asked, with the words and the masks of the description, and the state goes on.
#[test]
fn segments_follow_each_other() {
    let mut supernet = supernet::<f64>(TINY, 1);
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let space = supernet.space().clone();
    let mut state = Array2::zeros((TINY.batch, TINY.units));
    let mut segment = 0;
    for want in [Want::Gradient, Want::Removals, Want::Loss, Want::GradientWithUnitOutputs] {
        for proposal in proposals(&space, &mut rng, want) {
            let set = if segment % 3 == 0 { Set::Training } else { Set::Validation };
            if segment % 2 == 0 {
                probe(&mut supernet, &request(&proposal, set));
            } else {
                train(&mut supernet, step(0.5), &request(&proposal, set)).unwrap();
            }
            let network = supernet.network();
            assert_eq!(network.state_before(), state);
            assert_ne!(network.state(TRIAL).unwrap(), state);
            state.assign(&network.state(TRIAL).unwrap());
            let text = network.texts().training.clone();
            let (inputs, targets) = (network.minibatch().inputs(), network.minibatch().targets());
            for stream in 0..TINY.batch {
                for step in 0..TINY.steps {
                    let place = stream * text.len() / TINY.batch + segment as usize * TINY.steps + step;
                    assert_eq!(inputs[(step, stream)], text[place % text.len()]);
                    assert_eq!(targets[(step, stream)], text[(place + 1) % text.len()]);
                }
            }
            for (mask, layer) in network.masks().iter().zip([Dropout::Embedding, Dropout::Output]) {
                for (step, mask) in mask.outer_iter().enumerate() {
                    let part = MaskPart { segment, step, layer, first: 0 };
                    let mut expected = vec![0.0; mask.len()];
                    TINY.draw_mask(&Streams::new(STREAM), TRIAL, part, &mut expected).unwrap();
                    assert!(mask.iter().zip(&expected).all(|(left, right)| *left == f64::from(*right)));
                }
            }
            segment += 1;
            assert_eq!(network.segment(TRIAL).unwrap(), segment);
            assert_eq!(network.segment(0).unwrap(), 0);
        }
    }
}

/// Questions of one call about the same minibatch are answered as if each were alone; text and state go on from the first one, once.
#[test]
fn questions_about_one_minibatch_start_from_the_same_state() {
    let (mut supernet, mut rng) = with_state(TINY, 14);
    let space = supernet.space().clone();
    let start = supernet.save(TRIAL).unwrap();
    let wants = [Want::Removals, Want::Gradient, Want::Loss, Want::GradientWithUnitOutputs, Want::Removals];
    let mut requests = Vec::new();
    for want in wants {
        requests.push(request(
            &Proposal::one_hot(space.shape(), &architecture(space.shape(), &mut rng), want).unwrap(),
            Set::Validation,
        ));
    }
    for _ in 0..wants.len() {
        requests.rotate_left(1);
        supernet.restore(TRIAL, &start).unwrap();
        let mut together = vec![Feedback::new(space.shape()); requests.len()];
        supernet.probe(&requests, &mut together).unwrap();
        let after = supernet.save(TRIAL).unwrap();
        for (index, (request, answer)) in requests.iter().zip(&together).enumerate() {
            supernet.restore(TRIAL, &start).unwrap();
            assert_eq!(&probe(&mut supernet, request), answer, "question {index}");
            assert_eq!(supernet.save(TRIAL).unwrap() == after, index == 0, "question {index}");
        }
        // The next minibatch in the same call is the next segment.
        supernet.restore(TRIAL, &start).unwrap();
        requests[3].batch.step += 1;
        requests[4].batch.step += 1;
        supernet.probe(&requests, &mut together).unwrap();
        assert_eq!(supernet.network().segment(TRIAL).unwrap(), 2);
        for index in [3, 4] {
            supernet.restore(TRIAL, &after).unwrap();
            assert_eq!(probe(&mut supernet, &requests[index]), together[index], "question {index}");
            requests[index].batch.step -= 1;
        }
    }
}

/// Everything that a few steps of all kinds leave behind.
fn trace(threads: usize) -> (Vec<f64>, State) {
    let sizes = Recurrent { batch: 70, units: 40, vocabulary: 1100, ..TINY };
    let mut supernet = supernet::<f32>(sizes, threads);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut numbers = Vec::new();
    for want in [Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals] {
        for proposal in proposals(&supernet.space().clone(), &mut rng, want) {
            numbers.push(train(&mut supernet, step(0.0), &request(&proposal, Set::Training)).unwrap());
            let feedback = probe(&mut supernet, &request(&proposal, Set::Validation));
            numbers.push(feedback.loss);
            numbers.extend(feedback.gradient.values());
            numbers.extend(feedback.removals);
            numbers.push(supernet.evaluate(&request(&proposal, Set::Test)).unwrap().loss);
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
    let mut rng = ChaCha8Rng::seed_from_u64(10);
    let mut whole = supernet::<f32>(TINY, 1);
    let space = whole.space().clone();
    let proposals: Vec<Proposal> = (0..4).flat_map(|_| proposals(&space, &mut rng, Want::Gradient)).collect();
    let run = |supernet: &mut RecurrentSupernet<f32>, range: std::ops::Range<usize>| -> Vec<u64> {
        let mut step = |index: usize| {
            let request = request(&proposals[index], Set::Training);
            let loss = train(supernet, self::step(0.1), &request).unwrap();
            let feedback = probe(supernet, &request);
            [loss, feedback.loss, feedback.gradient[(3, 1)]].map(f64::to_bits)
        };
        range.flat_map(&mut step).collect()
    };
    run(&mut whole, 0..10);
    let state = whole.save(TRIAL).unwrap();
    let mut resumed = supernet::<f32>(TINY, 2);
    // What it did before must not show.
    run(&mut resumed, 0..3);
    resumed.restore(TRIAL, &state).unwrap();
    assert_eq!(resumed.save(TRIAL).unwrap(), state);
    assert_eq!(run(&mut whole, 10..20), run(&mut resumed, 10..20));
    assert_eq!(whole.save(TRIAL).unwrap(), resumed.save(TRIAL).unwrap());
    // A state of another network is refused as a whole.
    let mut other = supernet::<f32>(Recurrent { units: 20, ..TINY }, 1);
    let before = other.save(TRIAL).unwrap();
    assert!(matches!(other.restore(TRIAL, &state), Err(Error::State { .. })));
    let mut broken = before.clone();
    broken.insert_u64("segment", &[1, 2]);
    assert!(matches!(other.restore(TRIAL, &broken), Err(Error::State { .. })));
    assert_eq!(other.save(TRIAL).unwrap(), before);
}

/// Both trials run together and don't know of each other.
#[test]
fn trials_are_apart() {
    let mut together = supernet::<f32>(TINY, 1);
    let mut alone = supernet::<f32>(TINY, 1);
    let space = together.space().clone();
    let mut rng = ChaCha8Rng::seed_from_u64(12);
    for proposal in proposals(&space, &mut rng, Want::Gradient) {
        let mine = request(&proposal, Set::Validation);
        let other = Request { batch: Batch { trial: 0, ..mine.batch }, ..mine.clone() };
        let mut feedback = vec![Feedback::new(space.shape()); 2];
        together.probe(&[other, mine.clone()], &mut feedback).unwrap();
        assert_eq!(feedback[1], probe(&mut alone, &mine));
        assert_ne!(feedback[0].loss, feedback[1].loss);
        assert_eq!(train(&mut together, step(0.0), &mine).unwrap(), train(&mut alone, step(0.0), &mine).unwrap());
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut supernet = supernet::<f32>(TINY, 1);
    let space = supernet.space().clone();
    let proposal = Proposal::new(space.shape());
    let before = supernet.save(TRIAL).unwrap();
    let mut feedback = [Feedback::new(space.shape())];
    let mut ask = |request: Request, feedback: &mut [Feedback]| supernet.probe(&[request], feedback).unwrap_err();
    let right = request(&proposal, Set::Validation);
    let test = ask(request(&proposal, Set::Test), &mut feedback).to_string();
    assert_eq!(test, "the supernet can't draw minibatches of the test set: it is evaluated as a whole");
    let other = Request { batch: Batch { trial: 1, ..right.batch }, ..right.clone() };
    assert!(matches!(ask(other, &mut feedback), Error::Unsupported { .. }));
    assert!(matches!(ask(right, &mut []), Error::Length { expected: 1, got: 0, .. }));
    let small = advantage_nas::Shape::new([5, 5]).unwrap();
    let other = request(&Proposal::new(&small), Set::Validation);
    assert!(matches!(ask(other.clone(), &mut feedback), Error::Shape { .. }));
    assert!(matches!(train(&mut supernet, step(0.0), &other), Err(Error::Shape { .. })));
    assert!(matches!(supernet.evaluate(&other), Err(Error::Shape { .. })));
    let short = Array2::zeros((1, TINY.units));
    assert!(matches!(supernet.network_mut().set_state(TRIAL, short.view()), Err(Error::ArrayShape { .. })));
    assert!(matches!(supernet.network_mut().set_state(1, short.view()), Err(Error::Unsupported { .. })));
    assert!(matches!(supernet.set_parameter(TRIAL, 0, Part::Value, &short.clone().into()), Err(Error::State { .. })));
    let double = Array2::<f64>::zeros((TINY.vocabulary, TINY.units)).into();
    assert!(matches!(supernet.set_parameter(TRIAL, 0, Part::Value, &double), Err(Error::State { .. })));
    assert!(matches!(supernet.parameter(TRIAL, 99, Part::Value), Err(Error::Length { .. })));
    assert_eq!(supernet.save(TRIAL).unwrap(), before);

    let build = |settings, texts| {
        let parent = Parent::new(TINY)?;
        recurrent::supernet::<f32>(parent, settings, texts, &Streams::new(0), &[TRIAL])
    };
    let right = Settings { weights: WeightSettings::paper(), threads: 1 };
    let no_threads = build(Settings { threads: 0, ..right }, texts(TINY)).unwrap_err();
    assert_eq!(no_threads.to_string(), "the number of threads must be at least 1, got 0");
    let weights = WeightSettings { clip_norm: -1.0, ..right.weights };
    assert!(matches!(build(Settings { weights, ..right }, texts(TINY)), Err(Error::Setting { .. })));
    let short = Texts { training: [1, 2, 3].into(), ..texts(TINY) };
    assert!(matches!(build(right, short), Err(Error::Data { .. })));
    let mut supernet = build(right, Texts { test: None, ..texts(TINY) }).unwrap();
    assert!(matches!(supernet.evaluate(&request(&proposal, Set::Test)), Err(Error::Unsupported { .. })));
}
