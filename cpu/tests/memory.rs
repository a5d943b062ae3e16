//! What a supernet takes is planned from its sizes, before it is built. Claim C20: what it takes beside its weights and their optimiser does not grow with the number of candidates if proposals
//! are sparse, and grows with it if they are dense. Counted at the allocator, over the construction and steps of both kinds.

use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, Operation, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::network::recurrent::{self, Recurrent, Texts};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, OpTable, Supernet};
use advantage_nas_cpu::nas_bench_201::{self, Memory, Settings};
use advantage_nas_cpu::recurrent::{RecurrentNetwork, Settings as RecurrentSettings, supernet};

/// The largest kernel and the one that is computed by minimal filtering, with filters of its own, are the first two, so that more
/// candidates are more candidates and not larger ones.
const KERNELS: [usize; 4] = [7, 3, 5, 1];
const COUNTS: [usize; 5] = [2, 4, 8, 16, 32];
const BATCH: usize = 4;

fn candidates(count: usize) -> Candidates {
    let operation = |index: usize| Operation::Convolution { kernel: KERNELS[index % KERNELS.len()] };
    Candidates::new((0..count).map(operation).collect::<Vec<_>>()).unwrap()
}

fn data(streams: &Streams) -> Data {
    let pixels: Vec<u8> = (0..8 * PIXELS).map(|place| (place * 7 % 256) as u8).collect();
    let labels = vec![0, 1, 0, 1, 0, 1, 0, 1];
    let images = Images::new(pixels, labels, vec!["a".to_owned(), "b".to_owned()]).unwrap();
    Data::new(images, None, streams).unwrap()
}

/// Proposals of so many candidates at once: the first ones of every edge, and the last ones.
fn proposals(parent: &Parent, activity: Activity) -> [Proposal; 2] {
    let shape = parent.space().shape();
    let last = shape.candidates(0) - 1;
    [[0, 1], [last, last - 1]].map(|[one, other]| {
        let mut proposal = Proposal::new(shape);
        let architecture = Architecture::new(shape, vec![one; shape.edges()]).unwrap();
        match activity {
            Activity::One => proposal = Proposal::one_hot(shape, &architecture, Want::Gradient).unwrap(),
            Activity::Two => proposal.set_pairs(&vec![[one, other]; shape.edges()], Want::Gradient).unwrap(),
            Activity::All => {
                proposal.set_dense(&OpTable::filled(shape, 1.0 / (last + 1) as f64), Want::Gradient).unwrap();
            }
        }
        proposal
    })
}

/// Most bytes allocated at the same time while a supernet is built, trained and asked; and what was planned.
fn peak(count: usize, activity: Activity) -> (usize, Memory) {
    let streams = Streams::new(0);
    let data = data(&streams);
    let parent = Parent::new(Skeleton { cells: 1, channels: 4, classes: 2 }, &candidates(count)).unwrap();
    let [first, second] = proposals(&parent, activity);
    let settings = Settings { batch: BATCH, weights: paper_sgd(), activity, threads: 1 };
    let mut memory = None;
    let allocated = allocation_counter::measure(|| {
        let mut supernet = nas_bench_201::supernet::<f32>(parent, settings, data, &streams, &[0]).unwrap();
        let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
        let mut feedback = [Feedback::new(first.shape())];
        for (number, proposal) in (0..).zip([first, second]) {
            let request = |set| Request { batch: Batch { trial: 0, set, step: number }, proposal: proposal.clone() };
            supernet.weight_step(&[step], &[request(Set::Training)]).unwrap();
            supernet.probe(&[request(Set::Validation)], &mut feedback).unwrap();
            supernet.evaluate(&request(Set::Validation)).unwrap();
        }
        memory = Some(*supernet.network().memory());
    });
    (allocated.bytes_max as usize, memory.unwrap())
}

/// Bytes that describe a layer: its name, its shape, its place in the graph.
const DESCRIPTION: usize = 300;
/// Edges of the three cells.
const EDGES: usize = 18;

#[test]
fn memory_beside_the_weights_grows_with_the_candidates_of_dense_proposals_only() {
    for activity in [Activity::One, Activity::Two, Activity::All] {
        let measured = COUNTS.map(|count| peak(count, activity));
        let working = measured.map(|(peak, planned)| peak - planned.parameters - planned.optimizer);
        for (count, (peak, planned)) in COUNTS.iter().zip(&measured) {
            // What is planned is what is allocated, but for graph, samples and statistics.
            let beyond = *peak as f64 / planned.total() as f64 - 1.0;
            assert!((0.0..0.02).contains(&beyond), "{activity:?}, {count}: {peak} bytes, planned {planned:?}");
        }
        let [first, .., last] = working;
        if activity == Activity::All {
            // Proportional: the four kernels in turn need the same again.
            let per_candidate =
                |from: usize, to: usize| (working[to] - working[from]) as f64 / (COUNTS[to] - COUNTS[from]) as f64;
            assert!((per_candidate(3, 4) / per_candidate(1, 2) - 1.0).abs() < 0.01, "{working:?}");
            assert!(last > 10 * first, "{working:?}");
        } else {
            let planned = measured.map(|(_, planned)| planned.working());
            assert!(planned.iter().all(|bytes| *bytes == planned[0]), "{activity:?}: {planned:?}");
            let more = last - first;
            assert!(more <= DESCRIPTION * EDGES * (COUNTS[4] - COUNTS[0]), "{activity:?}: {working:?}");
            assert!(more * 50 < first, "{activity:?}: {working:?}");
        }
    }
}

/// Networks in which one part after another is the largest: the vocabulary, the cell, the minibatch with its masks.
#[test]
fn a_recurrent_network_takes_what_is_planned() {
    let streams = Streams::new(0);
    let paper = Recurrent::paper();
    for sizes in [
        Recurrent { vocabulary: 3001, units: 20, batch: 10, steps: 3, ..paper },
        Recurrent { vocabulary: 40, units: 200, batch: 2, steps: 3, ..paper },
        Recurrent { vocabulary: 40, units: 20, batch: 70, steps: 40, ..paper },
        Recurrent { vocabulary: 40, units: 20, batch: 300, steps: 9, dropout: 0.0, ..paper },
    ] {
        let text = || (0..6000).map(|place| place * place % 40).collect();
        let texts = Texts { vocabulary: sizes.vocabulary, training: text(), validation: text(), test: None };
        let parent = recurrent::Parent::new(sizes).unwrap();
        let planned = RecurrentNetwork::<f32>::memory_of(&parent, 2);
        let settings = RecurrentSettings { weights: recurrent::WeightSettings::paper(), threads: 1 };
        let shape = parent.space().shape().clone();
        let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), Want::Gradient).unwrap();
        let allocated = allocation_counter::measure(|| {
            let mut supernet = supernet::<f32>(parent, settings, texts, &streams, &[0, 1]).unwrap();
            let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
            let request = |set| Request { batch: Batch { trial: 0, set, step: 0 }, proposal: proposal.clone() };
            supernet.weight_step(&[step], &[request(Set::Training)]).unwrap();
            supernet.probe(&[request(Set::Validation)], &mut [Feedback::new(&shape)]).unwrap();
            supernet.evaluate(&request(Set::Validation)).unwrap();
        });
        let beyond = allocated.bytes_max as f64 / planned as f64 - 1.0;
        assert!((0.0..0.03).contains(&beyond), "{sizes:?}: {} bytes, planned {planned}", allocated.bytes_max);
    }
}
