//! The toy supernet against a plain implementation of section 5.1 with nested loops in `f64`, its gradients against central
//! differences, and its single precision against its double precision.

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, PIXELS, POSITIONS, Parameters, STRIDE, TAPS, Toy};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_NETWORK, F64_SUMS, assert_all_close, assert_close, norm_difference,
};
use advantage_nas::{Architecture, Error, OpTable, Supernet};
use advantage_nas_cpu::toy::ToySupernet;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The network as section 5.1 describes it, one image and one position at a time.
struct Plain {
    toy: Toy,
    parameters: Parameters,
}

impl Plain {
    /// Output of a candidate filter at a position, for image `b` of `images`, `[pixels, batch]`.
    fn candidate(&self, images: &[f32], b: usize, edge: usize, k: usize, position: usize) -> f64 {
        let (y, x) = (position / OUTPUT * STRIDE, position % OUTPUT * STRIDE);
        let mut sum = 0.0;
        for ky in 0..KERNEL {
            for kx in 0..KERNEL {
                let pixel = images[((y + ky) * IMAGE + x + kx) * self.toy.batch + b];
                let tap = self.parameters.filters[(edge * self.toy.candidates + k) * TAPS + ky * KERNEL + kx];
                sum += f64::from(pixel) * tap;
            }
        }
        sum
    }

    /// Prediction with edge `without` left out; `units` adds the given numbers to the mixtures, one per edge.
    fn predict(&self, images: &[f32], b: usize, weights: &OpTable<f64>, without: Option<usize>, units: &[f64]) -> f64 {
        let mut prediction = 0.0;
        for edge in (0..self.toy.edges).filter(|edge| Some(*edge) != without) {
            for position in 0..POSITIONS {
                let mut mixture = units[edge];
                for k in 0..self.toy.candidates {
                    mixture += weights[(edge, k)] * self.candidate(images, b, edge, k, position);
                }
                prediction += self.parameters.heads[edge * POSITIONS + position] * mixture.tanh();
            }
        }
        prediction / self.toy.edges as f64
    }

    fn loss(&self, images: &[f32], weights: &OpTable<f64>, without: Option<usize>, units: &[f64]) -> f64 {
        let teacher = &self.parameters.teacher;
        let truth = OpTable::from_fn(weights.shape(), |edge, k| if k == teacher.choice(edge) { 1.0 } else { 0.0 });
        let nothing = vec![0.0; self.toy.edges];
        let error =
            |b| self.predict(images, b, weights, without, units) - self.predict(images, b, &truth, None, &nothing);
        (0..self.toy.batch).map(|b| error(b) * error(b)).sum::<f64>() / self.toy.batch as f64
    }
}

/// Sizes that are no multiples of vectors and filter groups, next to the paper's.
const SIZES: [Toy; 5] = [
    Toy { edges: 1, candidates: 1, batch: 1 },
    Toy { edges: 2, candidates: 3, batch: 5 },
    Toy { edges: 7, candidates: 2, batch: 16 },
    Toy { edges: 3, candidates: 4, batch: 33 },
    Toy { edges: 10, candidates: 10, batch: 20 },
];

struct Case {
    plain: Plain,
    images: Vec<f32>,
    supernet: ToySupernet<f64>,
    single: ToySupernet<f32>,
    batch: Batch,
    rng: ChaCha8Rng,
}

fn case(toy: Toy, seed: u64) -> Case {
    let streams = Streams::new(seed);
    let trial = 3;
    let batch = Batch { trial, set: Set::Validation, step: seed + 1 };
    let mut images = vec![0.0; PIXELS * toy.batch];
    toy.draw_batch(&streams, &batch, &mut images).unwrap();
    Case {
        plain: Plain { toy, parameters: toy.parameters(&streams, trial).unwrap() },
        images,
        supernet: ToySupernet::new(toy, &streams, &[0, trial]).unwrap(),
        single: ToySupernet::new(toy, &streams, &[0, trial]).unwrap(),
        batch,
        rng: ChaCha8Rng::seed_from_u64(seed),
    }
}

impl Case {
    fn random_architecture(&mut self) -> Architecture {
        let toy = self.plain.toy;
        let choices: Vec<usize> = (0..toy.edges).map(|_| self.rng.random_range(0..toy.candidates)).collect();
        Architecture::new(self.supernet.space().shape(), choices).unwrap()
    }

    /// A one-hot, a two-hot (where there are two candidates), a dense and a one-hot proposal among all candidates.
    fn proposals(&mut self, want: Want) -> Vec<Proposal> {
        let toy = self.plain.toy;
        let shape = self.supernet.space().shape().clone();
        let architecture = self.random_architecture();
        let one_hot = Proposal::one_hot(&shape, &architecture, want).unwrap();
        let mut among_all = one_hot.clone();
        among_all.set_one_hot_among_all(&architecture, want).unwrap();
        let mut dense = one_hot.clone();
        let weights = OpTable::from_fn(&shape, |_, _| self.rng.random_range(-0.5..1.0));
        dense.set_dense(&weights, want).unwrap();
        let mut proposals = vec![one_hot.clone(), among_all, dense];
        if toy.candidates > 1 {
            let mut pairs = one_hot;
            let chosen: Vec<[usize; 2]> =
                architecture.choices().iter().map(|&k| [k, (k + 1) % toy.candidates]).collect();
            pairs.set_pairs(&chosen, want).unwrap();
            proposals.push(pairs);
        }
        proposals
    }

    fn answer(&mut self, proposal: &Proposal) -> (Feedback, Feedback) {
        let request = [Request { batch: self.batch, proposal: proposal.clone() }];
        let mut double = [Feedback::new(proposal.shape())];
        let mut single = double.clone();
        self.supernet.probe(&request, &mut double).unwrap();
        self.single.probe(&request, &mut single).unwrap();
        let [double] = double;
        let [single] = single;
        (double, single)
    }
}

#[test]
fn losses_equal_the_plain_network() {
    for (seed, toy) in SIZES.into_iter().enumerate() {
        let mut case = case(toy, seed as u64);
        let nothing = vec![0.0; toy.edges];
        for proposal in case.proposals(Want::Removals) {
            let (double, single) = case.answer(&proposal);
            let weights = proposal.weights();
            let loss = case.plain.loss(&case.images, weights, None, &nothing);
            // Sums of thousands of terms, each with a few roundings.
            assert_close(double.loss, loss, 100.0 * F64_SUMS, 1e-20);
            assert_close(single.loss, loss, 10.0 * F32_NETWORK, 1e-12);
            let removals: Vec<f64> =
                (0..toy.edges).map(|edge| case.plain.loss(&case.images, weights, Some(edge), &nothing)).collect();
            assert_all_close(&double.removals, &removals, 100.0 * F64_SUMS, 1e-20);
            assert!(norm_difference(&single.removals, &removals) <= F32_NETWORK);
        }
    }
}

/// `∂loss/∂a` of every active candidate against central differences of the plain network's loss, and zero for the others.
#[test]
fn gradients_equal_central_differences() {
    for (seed, toy) in SIZES.into_iter().enumerate() {
        let mut case = case(toy, 10 + seed as u64);
        let nothing = vec![0.0; toy.edges];
        for proposal in case.proposals(Want::Gradient) {
            let (double, single) = case.answer(&proposal);
            let mut expected = OpTable::filled(proposal.shape(), 0.0);
            for edge in 0..toy.edges {
                for k in 0..toy.candidates {
                    if !proposal.active()[(edge, k)] {
                        continue;
                    }
                    let moved = |by: f64| {
                        let mut weights = proposal.weights().clone();
                        weights[(edge, k)] += by;
                        case.plain.loss(&case.images, &weights, None, &nothing)
                    };
                    expected[(edge, k)] = (moved(CENTRAL_STEP) - moved(-CENTRAL_STEP)) / (2.0 * CENTRAL_STEP);
                }
            }
            assert_all_close(double.gradient.values(), expected.values(), CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
            assert!(norm_difference(single.gradient.values(), double.gradient.values()) <= F32_NETWORK);
            for (gradient, active) in double.gradient.values().iter().zip(proposal.active().values()) {
                assert!(*active || *gradient == 0.0);
            }
        }
    }
}

/// Inactive candidates as if their output were all ones: the derivative when a constant is added to the mixture.
#[test]
fn unit_outputs_equal_central_differences() {
    let toy = Toy { edges: 3, candidates: 4, batch: 33 };
    let mut case = case(toy, 5);
    let architecture = case.random_architecture();
    let shape = case.supernet.space().shape().clone();
    let proposal = Proposal::one_hot(&shape, &architecture, Want::GradientWithUnitOutputs).unwrap();
    let (double, single) = case.answer(&proposal);
    let plain = Proposal::one_hot(&shape, &architecture, Want::Gradient).unwrap();
    let (with_gradient, _) = case.answer(&plain);
    for edge in 0..toy.edges {
        let moved = |by: f64| {
            let mut units = vec![0.0; toy.edges];
            units[edge] = by;
            case.plain.loss(&case.images, proposal.weights(), None, &units)
        };
        let unit = (moved(CENTRAL_STEP) - moved(-CENTRAL_STEP)) / (2.0 * CENTRAL_STEP);
        for k in 0..toy.candidates {
            let expected = if k == architecture.choice(edge) { with_gradient.gradient[(edge, k)] } else { unit };
            assert_close(double.gradient[(edge, k)], expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
        }
    }
    assert!(norm_difference(single.gradient.values(), double.gradient.values()) <= F32_NETWORK);
}

#[test]
fn the_teacher_has_no_loss() {
    let toy = Toy::paper();
    let streams = Streams::new(8);
    let mut supernet = ToySupernet::<f32>::new(toy, &streams, &[0]).unwrap();
    let shape = supernet.space().shape().clone();
    let mut architecture = supernet.teacher(0).unwrap().clone();
    let batch = Batch { trial: 0, set: Set::Test, step: 0 };
    let evaluate = |supernet: &mut ToySupernet<f32>, architecture: &Architecture| {
        let proposal = Proposal::one_hot(&shape, architecture, Want::Loss).unwrap();
        supernet.evaluate(&Request { batch, proposal }).unwrap()
    };
    let evaluation = evaluate(&mut supernet, &architecture);
    assert_eq!((evaluation.loss, evaluation.count, evaluation.accuracy), (0.0, 100, None));
    let wrong = (architecture.choice(4) + 1) % 10;
    architecture.choose(&shape, 4, wrong).unwrap();
    // One wrong edge costs 1e-3 to 5e-3.
    let loss = evaluate(&mut supernet, &architecture).loss;
    assert!((1e-4..1e-2).contains(&loss), "{loss}");
}

/// What was asked before leaves no trace: answers depend on the request alone.
#[test]
fn answers_do_not_depend_on_what_was_asked_before() {
    let mut case = case(Toy { edges: 3, candidates: 4, batch: 33 }, 6);
    let proposals = case.proposals(Want::Gradient);
    let first: Vec<Feedback> = proposals.iter().map(|proposal| case.answer(proposal).1).collect();
    for (proposal, before) in proposals.iter().zip(&first).rev() {
        assert_eq!(case.answer(proposal).1, *before);
    }
    // A request of several trials is answered as if each were alone.
    let shape = case.single.space().shape().clone();
    let requests: Vec<Request> =
        [3, 0].map(|trial| Request { batch: Batch { trial, ..case.batch }, proposal: proposals[0].clone() }).into();
    let mut together = vec![Feedback::new(&shape); 2];
    case.single.probe(&requests, &mut together).unwrap();
    assert_eq!(together[0], first[0]);
    assert_ne!(together[1].loss, first[0].loss);
}

#[test]
fn what_does_not_fit_is_an_error() {
    let mut case = case(Toy { edges: 3, candidates: 4, batch: 33 }, 7);
    let shape = case.single.space().shape().clone();
    let request = Request { batch: Batch { trial: 1, ..case.batch }, proposal: Proposal::new(&shape) };
    let mut feedback = [Feedback::new(&shape)];
    assert!(matches!(case.single.probe(std::slice::from_ref(&request), &mut feedback), Err(Error::Unsupported { .. })));
    assert!(matches!(case.single.probe(&[request], &mut []), Err(Error::Length { .. })));
    let other = advantage_nas::Shape::new([4, 4]).unwrap();
    let request = Request { batch: case.batch, proposal: Proposal::new(&other) };
    assert!(matches!(case.single.probe(&[request], &mut feedback), Err(Error::Shape { .. })));
    let training = Request { batch: Batch { set: Set::Training, ..case.batch }, proposal: Proposal::new(&shape) };
    assert!(matches!(case.single.evaluate(&training), Err(Error::Unsupported { .. })));
    assert!(!case.single.trains_weights());
}
