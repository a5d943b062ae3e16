//! No step of a search allocates: the toy step is so short that it would show, and those of the other networks have large buffers,
//! which must be there before the first.

use advantage_nas::Supernet;
use advantage_nas::network::recurrent::{Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::{Outcome, Plan, ProcessBest, Search};
use advantage_nas::strategy::{Method, MethodSettings};
use advantage_nas_cpu::recurrent::{self, Settings};
use advantage_nas_cpu::toy::ToySupernet;

/// Allocations of so many steps more.
fn allocations<S: Supernet>(search: &mut Search<S>, steps: u64) -> u64 {
    let until = Some(search.position() + steps);
    let mut outcome = Ok(Outcome::Finished);
    let allocations = allocation_counter::measure(|| outcome = search.run(until, &mut ())).count_total;
    assert_eq!(outcome.unwrap(), Outcome::Paused);
    allocations
}

#[test]
fn steps_do_not_allocate() {
    let streams = Streams::new(0);
    let toy = Toy { edges: 4, candidates: 3, batch: 20 };
    for method in Method::ALL {
        let supernet = ToySupernet::<f32>::new(toy, &streams, &[0]).unwrap();
        let strategy = method.build(supernet.space(), &MethodSettings::toy(), &streams, 0).unwrap();
        // Snapshots, of which there is one every ten steps in a run, may allocate: here only the first step has one.
        let plan = Plan::theta_only(1000, 1000);
        let mut search = Search::new(plan, streams.clone(), supernet, 0, strategy).unwrap();
        let mut steps = |count| allocations(&mut search, count);
        // Buffers grow in the first steps, PARSEC's until its first update.
        assert!(steps(20) > 0, "{method}: the counter counts");
        assert_eq!(steps(500), 0, "{method}");
    }
}

/// On the calling thread; waking others allocates now and then.
#[test]
fn recurrent_steps_do_not_allocate() {
    let streams = Streams::new(0);
    let sizes = Recurrent { vocabulary: 40, units: 20, batch: 10, steps: 3, ..Recurrent::paper() };
    let text = || (0..400).map(|place| place * place % 40).collect();
    for method in Method::ALL {
        let texts = Texts { vocabulary: 40, training: text(), validation: text(), test: Some(text()) };
        let settings = Settings { weights: WeightSettings::paper(), threads: 1 };
        let parent = Parent::new(sizes).unwrap();
        let supernet = recurrent::supernet::<f32>(parent, settings, texts, &streams, &[0]).unwrap();
        let strategy = method.build(supernet.space(), &MethodSettings::toy(), &streams, 0).unwrap();
        let plan = Plan {
            interval: 1000,
            process_best: ProcessBest::AllSteps,
            weight_steps_per_epoch: 10.0,
            theta_steps_per_epoch: 10.0,
            ..Plan::theta_only(1000, 1000)
        };
        let mut search = Search::new(plan, streams.clone(), supernet, 0, strategy).unwrap();
        let mut steps = |count| allocations(&mut search, count);
        assert!(steps(40) > 0, "{method}: the counter counts");
        assert_eq!(steps(200), 0, "{method}");
    }
}

/// One step of each kind with as many candidates at once as there is room for, so that a later one finds nothing to grow.
#[test]
fn steps_of_nas_bench_201_do_not_allocate() {
    use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, PIXELS, Parent, Skeleton, paper_sgd};
    use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
    use advantage_nas::supernet::{Batch, Fetch, Request, Set};
    use advantage_nas::{Architecture, OpTable};
    use advantage_nas_cpu::nas_bench_201::{self, Settings};

    let (streams, candidates) = (Streams::new(0), Candidates::with_zero());
    let skeleton = Skeleton { cells: 1, channels: 8, classes: 10 };
    let images = Images::new(
        (0..20 * PIXELS).map(|pixel| (pixel * 31 % 251) as u8).collect::<Vec<_>>(),
        (0..20).map(|image| image % 10).collect::<Vec<u8>>(),
        (0..10).map(|class| class.to_string()).collect::<Vec<_>>(),
    );
    let data = Data::new(images.unwrap(), None, &streams).unwrap();
    let settings = Settings { batch: 5, weights: paper_sgd(), activity: Activity::All, threads: 1 };
    let parent = Parent::new(skeleton, &candidates).unwrap();
    let mut supernet = nas_bench_201::supernet::<f32>(parent, settings, data, &streams, &[0]).unwrap();
    let shape = supernet.space().shape().clone();
    let mut feedback = [Feedback::new(&shape)];
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
    let request = |proposal, set, step| Request { batch: Batch { trial: 0, set, step }, proposal };

    let mut dense = Proposal::new(&shape);
    dense.set_dense(&OpTable::filled(&shape, 0.2), Want::GradientWithUnitOutputs).unwrap();
    let mut first = [request(dense.clone(), Set::Validation, 0)];
    supernet.weight_step(&[step], &[request(dense, Set::Training, 0)]).unwrap();
    let mut losses = Vec::with_capacity(2);
    supernet.probe(&first, &mut feedback).unwrap();
    for (number, want) in
        [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals].into_iter().enumerate()
    {
        for choice in 0..candidates.operations().len() {
            let architecture = Architecture::new(&shape, vec![choice; shape.edges()]).unwrap();
            first[0] =
                request(Proposal::one_hot(&shape, &architecture, want).unwrap(), Set::Validation, number as u64 + 1);
            let training = [Request { batch: Batch { set: Set::Training, ..first[0].batch }, ..first[0].clone() }];
            let counted = allocation_counter::measure(|| {
                supernet.weight_step(&[step], &training).unwrap();
                losses.clear();
                supernet.weight_losses(0, Fetch::All, &mut losses).unwrap();
                supernet.probe(&first, &mut feedback).unwrap();
            });
            assert_eq!(counted.count_total, 0, "{want:?}, candidate {choice}");
        }
    }
}
