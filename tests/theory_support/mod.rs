//! Generators for the tests of the theory: spaces, probabilities with all their corners, rewards. They shrink.

use advantage_nas::{OpTable, Shape};
use advantage_nas_theory::number::{Rational, rational, whole};
use advantage_nas_theory::reward::{Affine, Monomial, Polynomial, SquaredLoss, Table};
use proptest::prelude::*;
use proptest::sample::select;

/// Weights of one edge, not normalised: generic, uniform, with impossible candidates, near a vertex, on a vertex.
pub fn weights(candidates: usize) -> BoxedStrategy<Vec<i64>> {
    let chosen = 0..candidates;
    let spike = move |high: i64, low: i64| {
        chosen.clone().prop_map(move |at| (0..candidates).map(|j| if j == at { high } else { low }).collect::<Vec<_>>())
    };
    let with_zeros = proptest::collection::vec(select(vec![0, 0, 1, 2, 7]), candidates)
        .prop_filter("something must be possible", |row| row.iter().any(|weight| *weight > 0));
    prop_oneof![
        4 => proptest::collection::vec(1i64..=96, candidates),
        1 => Just(vec![1; candidates]),
        1 => with_zeros,
        1 => spike(1_000_000, 1),
        1 => spike(1, 0),
    ]
    .boxed()
}

fn normalised(rows: Vec<Vec<i64>>) -> OpTable<Rational> {
    let rows = rows.into_iter().map(|row| {
        let total = row.iter().sum();
        row.into_iter().map(|weight| rational(weight, total)).collect::<Vec<_>>()
    });
    OpTable::from_rows(rows).expect("every edge has a candidate")
}

/// Rewards: whole numbers, small ones more often, so that ties and zeros occur, and fractions.
pub fn reward() -> BoxedStrategy<Rational> {
    prop_oneof![
        2 => (-96i64..=96).prop_map(whole),
        1 => (-2i64..=2).prop_map(whole),
        1 => (-30i64..=30, 1i64..=7).prop_map(|(n, d)| rational(n, d)),
    ]
    .boxed()
}

/// Probabilities of 1 to `edges` edges with 1 to `candidates` candidates.
pub fn probabilities(edges: usize, candidates: usize) -> BoxedStrategy<OpTable<Rational>> {
    proptest::collection::vec((1..=candidates).prop_flat_map(weights), 1..=edges).prop_map(normalised).boxed()
}

/// The same with a value at every candidate.
pub fn with_rewards(edges: usize, candidates: usize) -> BoxedStrategy<(OpTable<Rational>, OpTable<Rational>)> {
    probabilities(edges, candidates)
        .prop_flat_map(|mu| {
            let shape = mu.shape().clone();
            let rewards = proptest::collection::vec(reward(), shape.len());
            (Just(mu), rewards.prop_map(move |values| OpTable::from_values(&shape, values).expect("one per candidate")))
        })
        .boxed()
}

/// An affine reward on probabilities.
pub fn affine(edges: usize, candidates: usize) -> BoxedStrategy<(OpTable<Rational>, Affine<Rational>)> {
    (with_rewards(edges, candidates), reward())
        .prop_map(|((mu, rewards), constant)| (mu, Affine { constant, rewards }))
        .boxed()
}

fn table_from(shape: &Shape, values: &[Rational]) -> Table<Rational> {
    let mut values = values.iter().cloned();
    Table::from_fn(shape, |_| values.next().expect("one value per entry")).expect("a small shape")
}

fn entries(shape: &Shape) -> usize {
    (0..shape.edges()).map(|edge| shape.candidates(edge) + 1).product()
}

/// `count` arbitrary tables, the rows with a_i = 0 included, on probabilities.
pub fn tables(
    edges: usize,
    candidates: usize,
    count: usize,
) -> BoxedStrategy<(OpTable<Rational>, Vec<Table<Rational>>)> {
    probabilities(edges, candidates)
        .prop_flat_map(move |mu| {
            let shape = mu.shape().clone();
            let one = proptest::collection::vec(reward(), entries(&shape)).prop_map(move |v| table_from(&shape, &v));
            (Just(mu), proptest::collection::vec(one, count))
        })
        .boxed()
}

/// A polynomial on probabilities.
pub fn polynomial(edges: usize, candidates: usize) -> BoxedStrategy<(OpTable<Rational>, Polynomial<Rational>)> {
    probabilities(edges, candidates)
        .prop_flat_map(|mu| {
            let shape = mu.shape().clone();
            let factor = (0..shape.len(), 1u32..=3);
            let term = (reward(), proptest::collection::vec(factor, 0..=3));
            let polynomial = proptest::collection::vec(term, 1..=4).prop_map(move |terms| {
                let place = |at: usize| {
                    let of_edge = |edge| (0..shape.candidates(edge)).map(move |candidate| (edge, candidate));
                    (0..shape.edges()).flat_map(of_edge).nth(at).expect("a candidate of the shape")
                };
                let terms = terms.into_iter().map(|(coefficient, factors)| {
                    let factors = factors.into_iter().map(|(at, power)| {
                        let (edge, candidate) = place(at);
                        (edge, candidate, power)
                    });
                    Monomial { coefficient, factors: factors.collect() }
                });
                Polynomial::new(&shape, terms.collect()).expect("factors of the shape")
            });
            (Just(mu), polynomial)
        })
        .boxed()
}

/// A squared loss with outputs of length two on probabilities.
pub fn squared_loss(edges: usize, candidates: usize) -> BoxedStrategy<(OpTable<Rational>, SquaredLoss<Rational>)> {
    let number = || (-6i64..=6).prop_map(|value| rational(value, 2));
    let vector = move || proptest::collection::vec(number(), 2);
    probabilities(edges, candidates)
        .prop_flat_map(move |mu| {
            let shape = mu.shape().clone();
            let outputs = proptest::collection::vec(vector(), shape.len())
                .prop_map(move |values| OpTable::from_values(&shape, values).expect("one per candidate"));
            let loss = (vector(), outputs).prop_map(|(target, outputs)| {
                SquaredLoss::new(target, outputs).expect("outputs as long as the target")
            });
            (Just(mu), loss)
        })
        .boxed()
}

/// `cases` cases per property; a failing case is written beside its test file, to be committed and run first ever after.
pub fn config(cases: u32) -> ProptestConfig {
    let persistence = proptest::test_runner::FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}
