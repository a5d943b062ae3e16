//! The ledger on the project's own code: every verdict is reached, one test per claim.

use std::collections::BTreeSet;

use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::ledger::{Effort, Verdict, ledger};

fn reached(id: &str) {
    let claim = ledger::<Core>().into_iter().find(|claim| claim.id == id).expect("a claim of the ledger");
    let evidence = claim.evidence.expect("evidence")(&Core, &Effort::usual(0)).unwrap();
    println!("{}", evidence.summary());
    assert!(evidence.reached(), "{}", evidence.summary());
}

macro_rules! claims {
    ($($name:ident $id:literal),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                reached($id);
            }
        )*

        #[test]
        fn no_claim_is_forgotten() {
            let claims = ledger::<Core>();
            let evident: Vec<_> = claims.iter().filter(|claim| claim.evidence.is_some()).map(|claim| claim.id).collect();
            assert_eq!(evident, [$($id),*]);
            for claim in &claims {
                assert_eq!(claim.evidence.is_none(), claim.verdict == Verdict::Measured, "{}", claim.id);
            }
            assert_eq!(claims.iter().map(|claim| claim.id).collect::<BTreeSet<_>>().len(), claims.len());
        }
    };
}

claims! {
    weights_sum_to_one "C1",
    score "C2",
    reinforce_is_unbiased "C3",
    supremum "C4",
    bound "C5",
    monotone "C5b",
    advantage "C6",
    state_dependent_baseline "C6b",
    first_order_is_exact "C7",
    first_order_error "C7b",
    gradient_norm "C8",
    advantage_variance "C9",
    reinforce_variance "C10",
    reduction "C11",
    growth "C12",
    zero_operation "C14",
    optimal_baseline "C15",
    proxylessnas "C16",
    gdas "C17",
    parsec "C18",
    darts "C19",
}
