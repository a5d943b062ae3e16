//! No step of a search allocates: the toy step is so short that it would show, and the recurrent network's has large buffers, which
//! must be there before the first.

use advantage_nas::Supernet;
use advantage_nas::network::recurrent::{Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::{Outcome, Plan, ProcessBest, Search};
use advantage_nas::strategy::{Method, MethodSettings};
use advantage_nas_cpu::recurrent::{RecurrentSupernet, Settings};
use advantage_nas_cpu::toy::ToySupernet;

#[test]
fn steps_do_not_allocate() {
    let streams = Streams::new(0);
    let toy = Toy { edges: 4, candidates: 3, batch: 20 };
    for method in Method::ALL {
        let supernet = ToySupernet::<f32>::new(toy, &streams, &[0]).unwrap();
        let strategy = method.build(supernet.space(), &MethodSettings::toy(), &streams, 0).unwrap();
        // Snapshots, of which there is one every ten steps in a run, may allocate: here only the first step has one.
        let plan = Plan::theta_only(1000, 1000);
        let mut search = Search::new(plan, streams.clone(), supernet, vec![(0, strategy)]).unwrap();
        let mut steps = |count: u64| {
            let until = Some(search.position() + count);
            let mut outcome = Ok(Outcome::Finished);
            let allocations = allocation_counter::measure(|| outcome = search.run(until, &mut ())).count_total;
            assert_eq!(outcome.unwrap(), Outcome::Paused);
            allocations
        };
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
        let supernet = RecurrentSupernet::<f32>::new(parent, settings, texts, &streams, &[0]).unwrap();
        let strategy = method.build(supernet.space(), &MethodSettings::toy(), &streams, 0).unwrap();
        let plan = Plan {
            interval: 1000,
            process_best: ProcessBest::AllSteps,
            weight_steps_per_epoch: 10.0,
            theta_steps_per_epoch: 10.0,
            ..Plan::theta_only(1000, 1000)
        };
        let mut search = Search::new(plan, streams.clone(), supernet, vec![(0, strategy)]).unwrap();
        let mut steps = |count: u64| {
            let until = Some(search.position() + count);
            let mut outcome = Ok(Outcome::Finished);
            let allocations = allocation_counter::measure(|| outcome = search.run(until, &mut ())).count_total;
            assert_eq!(outcome.unwrap(), Outcome::Paused);
            allocations
        };
        assert!(steps(40) > 0, "{method}: the counter counts");
        assert_eq!(steps(200), 0, "{method}");
    }
}
