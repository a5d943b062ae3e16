//! The ledger on the project's own code: every verdict is reached, one test per claim.

use std::collections::BTreeSet;

use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::ledger::{Check, Effort, Evidence, Verdict, ledger, search_bound};

fn reached(id: &str) {
    let claim = ledger::<Core>().into_iter().find(|claim| claim.id == id).expect("a claim of the ledger");
    let evidence = claim.evidence.expect("evidence")(&Core, &Effort::usual(0)).unwrap();
    println!("{}", evidence.summary());
    assert!(evidence.reached(), "{}", evidence.summary());
    as_recorded(id, &evidence);
}

/// What the checks found is recorded beside this file, one line per check: counts, details, p-values and ratios of seed 0. The
/// numbers are no oracle, they are this code's own; they hold still what a passing check does not show, so that a generator that
/// stops reaching its cases, or draws that are no longer made, are seen. After a deliberate change, run once with
/// `ADVNAS_RECORD=1` and read the difference before committing it.
fn as_recorded(id: &str, evidence: &Evidence) {
    compare(id, &evidence.checks().iter().map(|check| line(check) + "\n").collect::<String>());
}

fn compare(id: &str, found: &str) {
    let path = format!("{}/tests/ledger/{id}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("ADVNAS_RECORD").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let recorded = std::fs::read_to_string(&path).unwrap();
    assert_eq!(found.lines().count(), recorded.lines().count(), "{id}");
    for (found, recorded) in found.lines().zip(recorded.lines()) {
        assert!(alike(found, recorded), "{id}, recorded:\n{recorded}\nfound:\n{found}");
    }
}

fn line(check: &Check) -> String {
    // Which of a million instances is the tightest hangs on the last digit.
    let detail = if check.ratio.is_some() { "" } else { &check.detail };
    let mut line = format!("{} | {:?} | {} | {detail}", check.name, check.kind, check.instances);
    for (name, value) in [("p", check.p_value), ("ratio", check.ratio)] {
        if let Some(value) = value {
            line += &format!(" | {name} {value}");
        }
    }
    line
}

/// The same text, with numbers equal to a millionth: libraries of other systems round exponentials otherwise.
fn alike(found: &str, recorded: &str) -> bool {
    let parts = |text: &str| -> Vec<String> {
        text.split([' ', ',', '(', ')', '[', ']', ':', '=', '{', '}']).map(str::to_owned).collect()
    };
    let (found, recorded) = (parts(found), parts(recorded));
    found.len() == recorded.len()
        && found.iter().zip(&recorded).all(|(found, recorded)| match (found.parse::<f64>(), recorded.parse::<f64>()) {
            (Ok(found), Ok(recorded)) => (found - recorded).abs() <= 1e-6 * (1.0 + recorded.abs()),
            _ => found == recorded,
        })
}

/// The tightest of every forty instances of the search for violations, so that all that it draws from is in the record.
#[test]
fn short_searches_are_as_recorded() {
    let mut found = String::new();
    for seed in 0..60 {
        let search = search_bound(&Core, seed, 40).unwrap();
        assert_eq!((search.sharp_violations, search.printed_violations, search.range_violations), (0, 0, 0));
        found += &format!("{} | range ratio {}\n", search.instance, search.range_ratio);
    }
    compare("search", &found);
}

#[test]
fn records_are_compared_by_value() {
    assert!(alike("a, p 0.5, (1, 2)", "a, p 0.5000001, (1, 2)"));
    assert!(!alike("a, p 0.5", "a, p 0.50001") && !alike("a 1", "b 1") && !alike("a 1", "a 1 2") && !alike("NaN", "1"));
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
