//! Theorem 4.1: a large random search for violations of the improvement bound (claim C5).
//!
//! `ADVNAS_BOUND_INSTANCES=100000000 cargo test --release -p advantage-nas --test main theory_bound` searches longer.

use advantage_nas_theory::bound::{RANGE, SHARP};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::ledger::search_bound;

const INSTANCES: u64 = 1_200_000;

#[test]
fn no_violation_in_a_million_instances() {
    let instances = match std::env::var("ADVNAS_BOUND_INSTANCES") {
        Ok(text) => text.parse().expect("ADVNAS_BOUND_INSTANCES is a number"),
        Err(_) => INSTANCES,
    };
    // Two halves with seeds of their own, as there are at least two processors almost everywhere.
    let found: Vec<_> = std::thread::scope(|scope| {
        let halves: Vec<_> =
            (1..=2).map(|seed| scope.spawn(move || search_bound(&Core, seed, instances / 2))).collect();
        halves.into_iter().map(|half| half.join().expect("no panic").expect("valid instances")).collect()
    });
    for half in &found {
        assert_eq!(half.sharp_violations + half.printed_violations + half.range_violations, 0, "{}", half.instance);
        // The search goes where the bound is nearly an equality: otherwise it would prove little.
        assert!(half.ratio > 0.2499 && half.ratio <= SHARP + 1e-9, "{}", half.ratio);
        assert!(half.range_ratio > 0.1249 && half.range_ratio <= RANGE + 1e-9, "{}", half.range_ratio);
    }
    assert!(found.iter().map(|half| half.instances).sum::<u64>() >= 1_000_000.min(instances / 2 * 2));
    assert_ne!(found[0].ratio, found[1].ratio, "the halves must be different instances");
}
