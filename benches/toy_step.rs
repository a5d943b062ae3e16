//! Time of one search step on the toy regression, per method: proposal, teacher and student on a new minibatch, the estimator
//! and the optimiser, everything that a search does between two steps.

use advantage_nas::Supernet;
use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, Search};
use advantage_nas::strategy::{Method, MethodSettings};
use advantage_nas_cpu::toy::ToySupernet;
use criterion::{Criterion, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("toy_step");
    for method in Method::ALL {
        let streams = Streams::new(0);
        let supernet = ToySupernet::<f32>::new(Toy::paper(), &streams, &[0]).expect("the paper's sizes");
        let strategy =
            method.build(supernet.space(), &MethodSettings::toy(), &streams, 0).expect("the paper's settings");
        // More steps than any benchmark takes; the test loss every 10 steps, as in a run, is outside the measured step.
        let plan = Plan::theta_only(u64::MAX / 2, u64::MAX / 2);
        let mut search = Search::new(plan, streams, supernet, 0, strategy).expect("a valid plan");
        group.bench_function(method.name(), |bencher| {
            bencher.iter(|| search.advance(&mut ()).expect("a step of the toy regression"));
        });
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
