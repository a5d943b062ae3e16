//! The toy step is short, so that what surrounds the arithmetic shows: no step of a search allocates.

use advantage_nas::Supernet;
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::{Outcome, Plan, Search};
use advantage_nas::strategy::{Method, MethodSettings};
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
