//! The ledger on the project's own code: every verdict is reached.

use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::ledger::{Effort, ledger};

#[test]
fn every_verdict_is_reached() {
    let mut missed = Vec::new();
    for claim in ledger::<Core>() {
        let Some(evidence) = claim.evidence else { continue };
        let start = std::time::Instant::now();
        let found = evidence(&Core, &Effort::usual(0)).unwrap_or_else(|error| panic!("{}: {error}", claim.id));
        println!("{} {:?} {}", claim.id, start.elapsed(), found.summary());
        if !found.reached() {
            missed.push(claim.id);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
}
