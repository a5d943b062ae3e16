//! The toy supernet against the naive network of section 5.1, its gradients against central differences, and its single precision
//! against its double precision.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_NETWORK, F64_SUMS, Tolerance, assert_close};
use advantage_nas::{Architecture, Error, OpTable, Supernet};
use advantage_nas_cpu::toy::ToySupernet;
use advantage_nas_oracles::toy::Network;
use ndarray::{Array3, Array4};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Sizes that are no multiples of vectors and filter groups, next to the paper's.
const SIZES: [Toy; 5] = [
    Toy { edges: 1, candidates: 1, batch: 1 },
    Toy { edges: 2, candidates: 3, batch: 5 },
    Toy { edges: 7, candidates: 2, batch: 16 },
    Toy { edges: 3, candidates: 4, batch: 33 },
    Toy { edges: 10, candidates: 10, batch: 20 },
];

struct Case {
    toy: Toy,
    plain: Network,
    /// Outputs of all candidates of the plain network for the minibatch.
    outputs: Array4<f64>,
    supernet: ToySupernet<f64>,
    single: ToySupernet<f32>,
    batch: Batch,
    rng: ChaCha8Rng,
}

fn case(toy: Toy, seed: u64) -> Case {
    let streams = Streams::new(seed);
    let trial = 3;
    let batch = Batch { trial, set: Set::Validation, step: seed + 1 };
    let mut images = Array3::zeros(toy.batch_shape());
    toy.draw_batch(&streams, &batch, images.view_mut()).unwrap();
    let plain = Network::new(toy, &toy.parameters(&streams, trial).unwrap()).unwrap();
    let outputs = plain.outputs(images.view());
    Case {
        toy,
        plain,
        outputs,
        supernet: ToySupernet::new(toy, &streams, &[0, trial]).unwrap(),
        single: ToySupernet::new(toy, &streams, &[0, trial]).unwrap(),
        batch,
        rng: ChaCha8Rng::seed_from_u64(seed),
    }
}

impl Case {
    fn random_architecture(&mut self) -> Architecture {
        let toy = self.toy;
        let choices: Vec<usize> = (0..toy.edges).map(|_| self.rng.random_range(0..toy.candidates)).collect();
        Architecture::new(self.supernet.space().shape(), choices).unwrap()
    }

    /// A one-hot, a two-hot (where there are two candidates), a dense and a one-hot proposal among all candidates.
    fn proposals(&mut self, want: Want) -> Vec<Proposal> {
        let toy = self.toy;
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

    /// The plain network's answer.
    fn expected(&self, proposal: &Proposal) -> Feedback {
        advantage_nas_oracles::feedback(proposal, CENTRAL_STEP, |mixture| self.plain.loss(&self.outputs, mixture))
    }
}

/// What a central difference may be off, whatever the size of the derivative.
const DIFFERENCE: Tolerance = Tolerance::Close { relative: CENTRAL_DIFFERENCE, floor: CENTRAL_DIFFERENCE };

#[test]
fn losses_equal_the_plain_network() {
    for (seed, toy) in SIZES.into_iter().enumerate() {
        let mut case = case(toy, seed as u64);
        for proposal in case.proposals(Want::Removals) {
            let (double, single) = case.answer(&proposal);
            let expected = case.expected(&proposal);
            // Sums of thousands of terms, each with a few roundings.
            let sums = Tolerance::Close { relative: 100.0 * F64_SUMS, floor: 1e-20 };
            Comparison::new("loss", &[double.loss], &[expected.loss], sums).assert();
            assert_close(single.loss, expected.loss, 10.0 * F32_NETWORK, 1e-12);
            Comparison::new("removals", &double.removals, &expected.removals, sums).assert();
            let single_tolerance = Tolerance::OfNorm(F32_NETWORK);
            Comparison::new("single removals", &single.removals, &expected.removals, single_tolerance).assert();
        }
    }
}

/// `∂loss/∂a` of every active candidate against central differences of the plain network's loss, and zero for the others.
#[test]
fn gradients_equal_central_differences() {
    for (seed, toy) in SIZES.into_iter().enumerate() {
        let mut case = case(toy, 10 + seed as u64);
        for proposal in case.proposals(Want::Gradient) {
            let (double, single) = case.answer(&proposal);
            let expected = case.expected(&proposal);
            Comparison::new("gradient", &double.gradient, &expected.gradient, DIFFERENCE).assert();
            Comparison::new("single gradient", &single.gradient, &double.gradient, Tolerance::OfNorm(F32_NETWORK))
                .assert();
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
    Comparison::new("gradient", &double.gradient, &case.expected(&proposal).gradient, DIFFERENCE).assert();
    Comparison::new("single gradient", &single.gradient, &double.gradient, Tolerance::OfNorm(F32_NETWORK)).assert();
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
