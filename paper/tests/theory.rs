//! The commands of the theory: `advnas verify` and `advnas variance`.

use std::fs;

use crate::support::{self, fail, run, succeed};
use serde_json::Value;

/// An instance by hand: two edges, μ = 1/2, r₁ = (2, 0), r₂ = (−1, 0), as in the ledger (claim C11).
const INSTANCE: &str = r#"
[[edges]]
probabilities = [0.5, "1/2"]
rewards = [2, 0]
zero = 1

[[edges]]
probabilities = ["1/2", 0.5]
rewards = [-1, 0.0]
"#;

fn file(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("instance.toml");
    fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(arguments).out).unwrap()
}

#[test]
fn variance_by_hand() {
    let (_folder, path) = file(INSTANCE);
    let document = json(&["variance", "--instance", &path, "--json"]);
    assert_eq!(document["constant"], "0");
    assert_eq!(document["objective"], "1/2");
    assert_eq!(document["confirmed_by_enumeration"], true);
    let edge = &document["edges"][0];
    assert_eq!(edge["probabilities"], serde_json::json!(["1/2", "1/2"]));
    assert_eq!(edge["rewards"], serde_json::json!(["2", "0"]));
    assert_eq!(edge["gradient"], serde_json::json!(["1/2", "-1/2"]));
    assert_eq!(edge["gradient_norm2"], "1/2");
    // 4 · 1/4 · 1/4.
    assert_eq!(edge["printed_gradient_norm2"], "1/4");
    assert_eq!(edge["printed_second_moment_adv"], "1");
    // 1 + 1/2 · 1/2.
    assert_eq!(edge["printed_second_moment_base"], "5/4");
    let of = |name: &str, key: &str| edge["estimators"][name][key].clone();
    for name in ["reinforce", "reinforce_mean_baseline", "advantage", "first_order", "optimal_baseline", "proxylessnas"]
    {
        assert_eq!(of(name, "expectation"), edge["gradient"], "{name}");
        assert_eq!(of(name, "bias"), serde_json::json!(["0", "0"]), "{name}");
    }
    assert_eq!((of("reinforce", "second_moment"), of("reinforce", "variance")), ("3/4".into(), "1/4".into()));
    assert_eq!((of("advantage", "second_moment"), of("advantage", "variance")), ("1".into(), "1/2".into()));
    assert_eq!(of("first_order", "variance"), "1/2");
    assert_eq!((of("optimal_baseline", "variance"), of("optimal_baseline", "baseline")), ("0".into(), "1".into()));
    assert_eq!(of("proxylessnas", "variance"), "0");
    // The zero operation is promoted by c = 2: E δ = 1/2 (e_1 − μ) 2 + 1/2 (e_2 − μ) 2 = 0.
    assert_eq!(of("zero_operation", "replacement"), "2");
    assert_eq!(of("zero_operation", "zero"), 1);
    assert_eq!(of("zero_operation", "bias"), serde_json::json!(["-1/2", "1/2"]));
    assert!(document["edges"][1]["estimators"].get("zero_operation").is_none());
    assert!(edge["estimators"].get("parsec").is_none() && edge["estimators"].get("gdas").is_none());
    // Edge 1: 1/4 + 2 M T + (1 − q)(Var S + M²) with M = 1, T = −1/4, Var S = 1: 1/4 − 1/2 + 1, minus ‖∇‖² = 1/8.
    assert_eq!(document["edges"][1]["estimators"]["reinforce"]["variance"], "5/8");
    assert_eq!(document["total"]["estimators"]["reinforce"]["variance"], "7/8");
    assert_eq!(document["total"]["estimators"]["reinforce"]["bias_norm2"], "0");
    assert_eq!(document["total"]["gradient_norm2"], "5/8");

    let text = succeed(&["variance", "--instance", &path]).out;
    for part in [
        "J = 1/2 = 0.5",
        "edge 0: mu = (1/2, 1/2), r = (2, 0)",
        "||gradient||^2 1/2 = 0.5; the paper prints 1/4 = 0.25",
        "the paper prints Var[adv] = 1, Var[base] = 5/4 = 1.25",
        "the advantage of the zero operation, candidate 1, is replaced by 2",
        "REINFORCE, Eq. (4)",
        "all edges",
        "confirmed by enumerating 4 architectures",
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!text.contains("PARSEC"));
}

#[test]
fn variance_on_request() {
    let (_folder, path) = file("constant = 7\n[[edges]]\nprobabilities = [0.5, 0.5]\nrewards = [1, 0]\n");
    let arguments = ["variance", "--instance", &path, "--parsec-samples", "2", "--gdas-temperature", "1", "--json"];
    let document = json(&arguments);
    let estimators = &document["edges"][0]["estimators"];
    let number = |name: &str, key: &str| estimators[name][key].as_f64().or(estimators[name][key][0].as_f64()).unwrap();
    // μ₁ μ₂ tanh(1/2), a constant changes nothing; 1/6 in place of 1/4; and one output, with both worth 1 or nothing.
    assert!((number("parsec", "expectation") - 0.25 * 0.5f64.tanh()).abs() < 1e-12);
    assert!((number("gdas", "expectation") - 1.0 / 6.0).abs() < 1e-9);
    assert!((number("gdas", "bias") - (1.0 / 6.0 - 0.25)).abs() < 1e-9);
    // κ = 1: only draws of candidate 1 move, by (0 − 1)·E[1{2} h₁h₂]·(−1) = half of 1/6.
    assert!((number("gdas_one_output", "expectation") - 1.0 / 12.0).abs() < 1e-9);
    for name in ["parsec", "gdas", "gdas_one_output"] {
        assert!(number(name, "precision") < 1e-7);
        assert!(number(name, "variance") > 0.0 && number(name, "variance") < number(name, "second_moment"));
    }
    let text = succeed(&arguments[..7]).out;
    assert!(text.contains("PARSEC and GDAS are not rational; their values are right to "), "{text}");
}

#[test]
fn instances_that_are_refused() {
    let refuse = |text: &str, parts: &[&str]| {
        let (_folder, path) = file(text);
        fail(2, &["variance", "--instance", &path], parts);
    };
    refuse("", &["instance.toml: an instance needs at least one [[edges]]"]);
    refuse(
        "[[edges]]\nprobabilities = [0.3, 0.3, 0.3]\nrewards = [1, 2, 3]\n",
        &["edge 0: the probabilities sum to 9/10, not to 1"],
    );
    refuse("[[edges]]\nprobabilities = [2, -1]\nrewards = [1, 2]\n", &["edge 0: probability 1 is negative: -1"]);
    refuse(
        "[[edges]]\nprobabilities = [1]\nrewards = [1]\nprobabilites = [1]\n",
        &["line 4: unknown field `probabilites`"],
    );
    refuse("[[edges]]\nprobabilities = [1]\nrewards = [\"a\"]\n", &["edge 0, rewards: \"a\" is not a number"]);
    refuse(
        "[[edges]]\nprobabilities = [0.5, 0.5]\nrewards = [1, 2]\nzero = 1\n",
        &["edge 0 with 2 for its zero operation 1"],
    );
    refuse("[[edges]\n", &["instance.toml: line 1: "]);
    let large = format!("[[edges]]\nprobabilities = [1{}]\nrewards = [1{}]\n", ", 0".repeat(2000), ", 0".repeat(2000));
    refuse(&large, &["candidates of the instance: 2001 cases are too many to enumerate, the limit is 2000"]);
    fail(1, &["variance", "--instance", "/nonexistent/instance.toml"], &["can't read /nonexistent/instance.toml"]);

    let edge = "[[edges]]\nprobabilities = [0.1, 0.2, 0.3, 0.4]\nrewards = [1, 2, 3, 4]\n";
    let (_folder, path) = file(&edge.repeat(6));
    let parsec = ["variance", "--instance", &path, "--parsec-samples", "8"];
    fail(2, &parsec, &["multisets of sampled architectures", "are too many"]);
    fail(
        2,
        &["variance", "--instance", &path, "--gdas-temperature", "0"],
        &["temperature must be between 0.05 and 20, got 0"],
    );
    fail(
        2,
        &["variance", "--instance", &path, "--gdas-temperature", "-1"],
        &["temperature must be between 0.05 and 20, got -1"],
    );
    fail(
        2,
        &["variance", "--instance", &path, "--parsec-samples", "-1"],
        &["invalid value '-1' for '--parsec-samples <K>'"],
    );
    fail(
        2,
        &["variance", "--instance", &path, "--parsec-samples", "18446744073709551615"],
        &["number of samples must be between 1 and 1000, got 18446744073709551615"],
    );
    // The space is large, its closed forms are not.
    let document = json(&["variance", "--instance", &path, "--json"]);
    assert_eq!(document["confirmed_by_enumeration"], false);
    assert_eq!(run(&["variance", "--instance", &path, "--parsec-samples", "0"]).code, Some(2));
    assert_eq!(run(&["variance"]).code, Some(2));
}

/// A decimal is what it says: in binary floating point these three do not sum to one.
#[test]
fn decimals_are_exact() {
    let (_folder, path) =
        file("constant = 0.1\n[[edges]]\nprobabilities = [0.1, 0.2, 0.7]\nrewards = [1e-1, 0.25, -3]\n");
    let document = json(&["variance", "--instance", &path, "--json"]);
    assert_eq!(document["edges"][0]["probabilities"], serde_json::json!(["1/10", "1/5", "7/10"]));
    // 1/10 + 1/100 + 1/20 − 21/10.
    assert_eq!(document["objective"], "-97/50");
}

#[test]
fn every_verdict_is_reached() {
    let out = succeed(&["verify"]).out;
    let lines: Vec<&str> = out.lines().collect();
    let ids = [
        "C1", "C2", "C3", "C4", "C5", "C5b", "C6", "C6b", "C7", "C7b", "C8", "C9", "C10", "C11", "C12", "C13", "C14",
        "C15", "C16", "C17", "C18", "C19", "C20", "C21", "C22", "C23",
    ];
    assert_eq!(lines.len(), ids.len() + 1, "{out}");
    for (line, id) in lines.iter().zip(ids) {
        assert_eq!(line.split_whitespace().next(), Some(id), "{out}");
        let elsewhere = ["C13", "C20", "C21", "C22", "C23"].contains(&id);
        assert_eq!(line.contains("measured elsewhere"), elsewhere, "{line}");
        assert_eq!(line.ends_with(" s]"), !elsewhere, "{line}");
    }
    assert!(lines[ids.len()].starts_with("every verdict was reached"), "{out}");
}

#[test]
fn verify_in_json() {
    let document = json(&["verify", "--json", "--seed", "3"]);
    assert_eq!(document["reached"], true);
    assert_eq!(document["seed"], 3);
    let claims = document["claims"].as_array().unwrap();
    assert_eq!(claims.len(), 26);
    for claim in claims {
        assert!(claim["place"].is_string() && claim["statement"].is_string() && claim["finding"].is_string());
        if claim["verdict"] == "measured" {
            assert!(claim.get("checks").is_none());
        } else {
            assert_eq!(claim["reached"], true);
            let checks = claim["checks"].as_array().unwrap();
            assert!(!checks.is_empty() && checks.iter().all(|check| check["passed"] == true), "{claim}");
        }
    }
}

#[test]
fn section_4_4_leaves_figures_numbers_and_table() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let reproduce =
        |out: &str, seed| succeed(&["reproduce", "section-4-4", "--draws", "2000", "--seed", seed, "--out", out]).out;
    let out = place("first");
    let said = reproduce(&out, "1");
    let read = |out: &str, name: &str| fs::read_to_string(format!("{out}/{name}")).unwrap();
    assert!(said.starts_with(&read(&out, "section-4-4.md")), "{said}");
    for name in ["section-4-4.svg", "section-4-4-bound.svg"] {
        assert!(read(&out, name).starts_with("<svg "), "{name}");
    }
    // Sampled values lie by the exact ones.
    let rows = read(&out, "section-4-4.csv");
    let cells: Vec<Vec<&str>> = rows.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(cells.len(), 2 * 8 * 4);
    for row in &cells {
        let [exact, sampled, error] = [3, 4, 5].map(|at| row[at].parse::<f64>().unwrap());
        assert!((sampled - exact).abs() < 5.0 * error, "{row:?}");
    }
    let rows = read(&out, "section-4-4-bound.csv");
    for row in rows.lines().skip(1) {
        let cells: Vec<f64> = row.split(',').map(|cell| cell.parse().unwrap()).collect();
        assert!((cells[2] - cells[3]).abs() < 1e-10 && cells[2] < 0.25, "{row}");
    }
    // The same seed, the same numbers; another, others.
    let (again, other) = (place("again"), place("other"));
    reproduce(&again, "1");
    reproduce(&other, "2");
    assert_eq!(support::files(again.as_ref()), support::files(out.as_ref()));
    assert_ne!(read(&other, "section-4-4.csv"), read(&out, "section-4-4.csv"));
    fail(2, &["reproduce", "section-4-4", "--draws", "1"], &["--draws"]);
}
