//! The recurrent network of section 5.3 against a plain one with nested loops in `f64`: losses, gradients of weights and edge weights
//! (central differences of the plain one), removals, unit outputs, updates, evaluation, the carried state; and that threads, saving
//! and evaluations change nothing.

use std::collections::HashMap;

use advantage_nas::network::recurrent::{Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F64_SUMS, assert_all_close, assert_close, norm_difference};
use advantage_nas::{Architecture, OpTable, SearchSpace, Supernet};
use advantage_nas_cpu::recurrent::{Part, RecurrentSupernet, Settings, Stored};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Step of central differences: ReLUs near their kink are few, and a small step leaves most on their side.
const STEP: f64 = 1e-6;
/// Rounding of a loss near 20 over the step.
const DIFFERENCE: f64 = 1e-7;
/// Of a whole network, norm-wise: dozens of layers in single precision.
const SINGLE: f64 = 2e-5;

const STREAM: u64 = 3;
const TRIAL: u32 = 2;

/// No size is a multiple of the sixteen numbers that the network works on at once, or of its tiles of eight streams; there are two
/// chunks of streams, and the words are two groups of 512 with some over.
const TINY: Recurrent = Recurrent { vocabulary: 531, units: 19, batch: 11, steps: 4, dropout: 0.4, initial_range: 0.4 };

/// The network as its formula says, one number at a time.
#[derive(Clone)]
struct Plain {
    sizes: Recurrent,
    parameters: HashMap<String, Vec<f64>>,
}

/// A segment with everything that is not a weight.
#[derive(Clone)]
struct Data {
    /// `[steps, batch]`
    inputs: Vec<u32>,
    targets: Vec<u32>,
    /// `[steps, batch, units]`
    masks: [Vec<f64>; 2],
    /// `[batch, units]`
    state: Vec<f64>,
}

/// What is asked of the plain network beside the weights of the edges.
#[derive(Clone, Default)]
struct Question {
    without: Option<usize>,
    /// Added to every number of `z` of an edge.
    units: [f64; 6],
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Plain {
    fn new<T: Stored>(supernet: &RecurrentSupernet<T>) -> Self {
        let parameters = supernet.parent().parameters().iter().enumerate().map(|(index, parameter)| {
            let values = supernet.parameter(TRIAL, index, Part::Value).unwrap();
            (parameter.name.clone(), values.into_iter().map(Widen::widen).collect())
        });
        Self { sizes: *supernet.parent().sizes(), parameters: parameters.collect() }
    }

    fn product(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let matrix = &self.parameters[name];
        assert_eq!(matrix.len() % x.len(), 0);
        matrix.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum()).collect()
    }

    /// The state after a word.
    fn cell(&self, embedding: &[f64], state: &[f64], weights: &OpTable<f64>, question: &Question) -> Vec<f64> {
        let units = self.sizes.units;
        let sum = |one: &str, other: &str| -> Vec<f64> {
            let words = self.product(&format!("cell.{one}.weight"), embedding);
            words.iter().zip(self.product(&format!("cell.{other}.weight"), state)).map(|(a, b)| a + b).collect()
        };
        let (gate, value) = (sum("input_gate", "state_gate"), sum("input", "state"));
        let start = (0..units).map(|n| state[n] + sigmoid(gate[n]) * (value[n].tanh() - state[n])).collect();
        let mut nodes: Vec<Vec<f64>> = vec![start];
        let ends = [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)];
        for node in 1..4 {
            let mut mean = vec![0.0; units];
            for (edge, (from, to)) in ends.into_iter().enumerate() {
                if to != node {
                    continue;
                }
                let source = &nodes[from];
                let gate = self.product(&format!("cell.edges.{edge}.gate.weight"), source);
                let inner = self.product(&format!("cell.edges.{edge}.candidates.weight"), source);
                for n in 0..units {
                    let u = inner[n];
                    let outputs = [u, u.tanh(), sigmoid(u), u.max(0.0), 0.0];
                    let mut z = question.units[edge];
                    if question.without != Some(edge) {
                        z += weights.edge(edge).iter().zip(outputs).map(|(a, output)| a * output).sum::<f64>();
                    }
                    mean[n] += (source[n] + sigmoid(gate[n]) * (z - source[n])) / node as f64;
                }
            }
            nodes.push(mean);
        }
        (0..units).map(|n| (nodes[1][n] + nodes[2][n] + nodes[3][n]) / 3.0).collect()
    }

    fn cross_entropy(&self, output: &[f64], target: usize) -> f64 {
        let logits: Vec<f64> = self
            .product("output.weight", output)
            .iter()
            .zip(&self.parameters["output.bias"])
            .map(|(logit, bias)| logit + bias)
            .collect();
        logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[target]
    }

    /// Loss, and the state after the segment.
    fn answer(&self, data: &Data, weights: &OpTable<f64>, question: &Question) -> (f64, Vec<f64>) {
        let Recurrent { units, batch, steps, .. } = self.sizes;
        let mut state = data.state.clone();
        let mut loss = 0.0;
        for step in 0..steps {
            for stream in 0..batch {
                let row = step * batch + stream;
                let mask = |layer: usize| &data.masks[layer][row * units..][..units];
                let word = data.inputs[row] as usize;
                let embedding = &self.parameters["embedding.weight"][word * units..][..units];
                let dropped: Vec<f64> = embedding.iter().zip(mask(0)).map(|(x, mask)| x * mask).collect();
                let own = &mut state[stream * units..][..units];
                own.copy_from_slice(&self.cell(&dropped, own, weights, question));
                let output: Vec<f64> = own.iter().zip(mask(1)).map(|(x, mask)| x * mask).collect();
                loss += self.cross_entropy(&output, data.targets[row] as usize) / batch as f64;
            }
        }
        (loss, state)
    }
}

/// Widening under a name of its own.
trait Widen {
    fn widen(self) -> f64;
}

impl<T: Stored> Widen for T {
    fn widen(self) -> f64 {
        self.to_f64().unwrap()
    }
}

fn texts(sizes: Recurrent) -> Texts {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let mut text = |length: usize| (0..length).map(|_| rng.random_range(0..sizes.vocabulary as u32)).collect();
    Texts { vocabulary: sizes.vocabulary, training: text(97), validation: text(300), test: Some(text(40)) }
}

fn supernet<T: Stored>(sizes: Recurrent, threads: usize) -> RecurrentSupernet<T> {
    let parent = Parent::new(sizes).unwrap();
    let settings = Settings { weights: WeightSettings::paper(), threads };
    RecurrentSupernet::new(parent, settings, texts(sizes), &Streams::new(STREAM), &[0, TRIAL]).unwrap()
}

/// A double-precision supernet whose state is not zero, and a random generator.
fn with_state(sizes: Recurrent, seed: u64) -> (RecurrentSupernet<f64>, ChaCha8Rng) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut supernet = supernet::<f64>(sizes, 1);
    let state: Vec<f64> = (0..sizes.batch * sizes.units).map(|_| rng.random_range(-1.0..1.0)).collect();
    supernet.set_state(TRIAL, &state).unwrap();
    (supernet, rng)
}

/// What the plain network needs to know of the last segment.
fn data<T: Stored>(supernet: &RecurrentSupernet<T>) -> Data {
    let (inputs, targets) = supernet.minibatch();
    let widen = |values: &[T]| values.iter().map(|value| value.widen()).collect::<Vec<f64>>();
    let [embedding, output] = supernet.masks();
    Data {
        inputs: inputs.to_vec(),
        targets: targets.to_vec(),
        masks: [widen(&embedding), widen(&output)],
        state: widen(supernet.state_before()),
    }
}

fn architecture(space: &SearchSpace, rng: &mut ChaCha8Rng) -> Architecture {
    let choices: Vec<usize> = (0..6).map(|_| rng.random_range(0..5)).collect();
    Architecture::new(space.shape(), choices).unwrap()
}

/// One-hot, all zero but one edge, two-hot, dense, and one-hot among all.
fn proposals(space: &SearchSpace, rng: &mut ChaCha8Rng, want: Want) -> Vec<Proposal> {
    let shape = space.shape();
    let one = architecture(space, rng);
    let one_hot = Proposal::one_hot(shape, &one, want).unwrap();
    let zeros = Proposal::one_hot(shape, &Architecture::new(shape, [4, 1, 4, 4, 4, 4]).unwrap(), want).unwrap();
    let mut pairs = one_hot.clone();
    let chosen: Vec<[usize; 2]> = one.choices().iter().map(|&k| [k, (k + 1) % 5]).collect();
    pairs.set_pairs(&chosen, want).unwrap();
    let mut dense = one_hot.clone();
    dense.set_dense(&OpTable::from_fn(shape, |_, _| rng.random_range(0.1..0.9)), want).unwrap();
    let mut among_all = one_hot.clone();
    among_all.set_one_hot_among_all(&one, want).unwrap();
    vec![one_hot, zeros, pairs, dense, among_all]
}

fn request(proposal: &Proposal, set: Set) -> Request {
    Request { batch: Batch { trial: TRIAL, set, step: 0 }, proposal: proposal.clone() }
}

fn probe<T: Stored>(supernet: &mut RecurrentSupernet<T>, request: Request) -> Feedback {
    let mut feedback = [Feedback::new(request.proposal.shape())];
    supernet.probe(&[request], &mut feedback).unwrap();
    let [feedback] = feedback;
    feedback
}

#[test]
fn losses_and_states_equal_the_plain_network() {
    for dropout in [0.0, 0.4] {
        let sizes = Recurrent { dropout, ..TINY };
        let (mut supernet, mut rng) = with_state(sizes, 1);
        let mut single = self::supernet::<f32>(sizes, 1);
        single.set_state(TRIAL, supernet.state(TRIAL).unwrap()).unwrap();
        let plain = Plain::new(&supernet);
        for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Removals) {
            let request = request(&proposal, Set::Validation);
            let double = probe(&mut supernet, request.clone());
            let data = data(&supernet);
            let answer =
                |without| plain.answer(&data, proposal.weights(), &Question { without, ..Question::default() });
            let (loss, state) = answer(None);
            assert_close(double.loss, loss, 100.0 * F64_SUMS, 0.0);
            assert_all_close(supernet.state(TRIAL).unwrap(), &state, 100.0 * F64_SUMS, 100.0 * F64_SUMS);
            let removals: Vec<f64> = (0..6).map(|edge| answer(Some(edge)).0).collect();
            assert_all_close(&double.removals, &removals, 100.0 * F64_SUMS, 0.0);
            let answer = probe(&mut single, request);
            assert_close(answer.loss, loss, SINGLE, 0.0);
            assert!(norm_difference(&answer.removals, &removals) <= SINGLE);
            let widened: Vec<f64> = single.state(TRIAL).unwrap().iter().map(|value| f64::from(*value)).collect();
            assert!(norm_difference(&widened, &state) <= SINGLE);
        }
    }
}

/// Of all edge weights, and of some numbers of every parameter: of the embeddings those of words that occur and of one that doesn't.
#[test]
fn gradients_equal_central_differences_of_the_plain_network() {
    let (mut supernet, mut rng) = with_state(TINY, 2);
    let plain = Plain::new(&supernet);
    let names: Vec<String> = supernet.parent().parameters().iter().map(|parameter| parameter.name.clone()).collect();
    for proposal in proposals(&supernet.space().clone(), &mut rng, Want::Gradient) {
        let request = request(&proposal, Set::Training);
        let start = supernet.save();
        let feedback = probe(&mut supernet, request.clone());
        supernet.restore(&start).unwrap();
        let pass = supernet.pass(&request).unwrap();
        assert_eq!(feedback.gradient, pass.edge_gradient);
        assert_eq!(feedback.loss.to_bits(), pass.loss.to_bits());
        let data = data(&supernet);
        let loss = |plain: &Plain, weights: &OpTable<f64>| plain.answer(&data, weights, &Question::default()).0;
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

        for (index, name) in names.iter().enumerate() {
            let gradient = supernet.parameter(TRIAL, index, Part::Gradient).unwrap();
            let read = |edge: usize| (0..4).any(|candidate| proposal.active()[(edge, candidate)]);
            if (0..6).any(|edge| *name == format!("cell.edges.{edge}.candidates.weight") && !read(edge)) {
                assert!(gradient.iter().all(|slope| *slope == 0.0), "{name}");
                continue;
            }
            let mut places: Vec<usize> = (0..4).map(|_| rng.random_range(0..gradient.len())).collect();
            places.extend([0, gradient.len() - 1]);
            if name == "embedding.weight" {
                places.extend(data.inputs.iter().take(3).map(|&word| word as usize * TINY.units + 18));
            }
            for place in places {
                let moved = |by: f64| {
                    let mut plain = plain.clone();
                    plain.parameters.get_mut(name).unwrap()[place] += by;
                    loss(&plain, proposal.weights())
                };
                let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                assert_close(gradient[place], expected, DIFFERENCE, DIFFERENCE);
            }
        }
    }
}
