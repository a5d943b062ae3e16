//! The policy, Eq. (2): probabilities, scores, entropy and mode against direct formulas; the samplers against their laws by
//! chi-square; logits of ±10⁴; seeded pairs, recomputed with a second implementation of the random stream.
//!
//! Statistical tests have fixed seeds, so they pass or fail for good. Each states its number of draws N, its statistic
//! (Pearson's chi-square, p-value from `statrs`) and its level α, divided by the number of rows that it tests; a control shows
//! that the same test rejects a law that is slightly wrong.

use crate::common::*;
use advantage_nas::policy::{INITIAL_LEAD, score};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F64_FEW_ROUNDINGS, F64_SUMS, assert_all_close, assert_close, central_difference,
    within,
};
use advantage_nas::{Architecture, Error, OpTable, Policy, Shape};
use proptest::prelude::*;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Level of a whole statistical test; rows share it (Bonferroni).
const ALPHA: f64 = 1e-3;

fn policy(logits: &[Vec<f64>]) -> Policy {
    Policy::new(table(logits)).expect("finite logits")
}

/// Logits of moderate size, where the formula as printed is accurate.
fn logits() -> impl Strategy<Value = Rows<f64>> {
    prop::collection::vec(prop::collection::vec(-5.0..5.0f64, 1..=5), 1..=4)
}

/// A ragged space, one edge without a choice, probabilities between 0.02 and 1.
fn ragged() -> Rows<f64> {
    vec![vec![0.4, -1.0, 0.9], vec![1.5, 0.0], vec![0.0, 0.3, -0.8, 0.1], vec![-3.0]]
}

// ---------------------------------------------------------------- formulas

proptest! {
    #![proptest_config(config())]

    /// `μ_j = exp θ_j / Σ exp θ_k`, its logarithm, and the logarithm of a whole architecture.
    #[test]
    fn probabilities_are_the_printed_formula(logits in logits()) {
        let policy = policy(&logits);
        for (edge, row) in logits.iter().enumerate() {
            let expected = softmax(row);
            // exp(θ − max) and exp(θ) differ by the rounding of θ − max, at most ten times ε: F64_SUMS, not a few roundings.
            assert_all_close(policy.probabilities().edge(edge), &expected, F64_SUMS, 0.0);
            for (j, probability) in expected.iter().enumerate() {
                assert_close(policy.log_probability_of(edge, j), probability.ln(), F64_SUMS, F64_SUMS);
            }
        }
        for a in choices(&counts(&logits)).iter().step_by(7) {
            let expected: f64 = logits.iter().zip(a).map(|(row, &j)| softmax(row)[j].ln()).sum();
            let got = policy.log_probability(&architecture(policy.shape(), a)).unwrap();
            assert_close(got, expected, F64_SUMS, F64_SUMS);
        }
        assert_eq!(policy.logits(), &table(&logits));
    }

    /// C2: the score `a − μ` is the gradient of `ln p_θ(a)`: central differences in every logit.
    #[test]
    fn the_score_is_the_derivative_of_the_log_probability(logits in logits(), pick in any::<prop::sample::Index>()) {
        let policy_here = policy(&logits);
        let all = choices(&counts(&logits));
        let a = architecture(policy_here.shape(), &all[pick.index(all.len())]);
        let score = policy_here.score(&a).unwrap();
        for edge in 0..logits.len() {
            for j in 0..logits[edge].len() {
                let slope = central_difference(CENTRAL_STEP, |step| {
                    let mut moved = logits.clone();
                    moved[edge][j] += step;
                    policy(&moved).log_probability(&a).unwrap()
                });
                assert_close(score[(edge, j)], slope, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
            }
        }
    }

    /// The score in exact rationals: `a − μ`, and of expectation zero.
    #[test]
    fn the_score_is_exact_and_centred(instance in instances()) {
        let mu = instance.mu;
        let probabilities = table(&mu);
        let scores = |a: &[usize]| {
            let mut out = probabilities.map(|_| whole(77));
            score(&architecture(probabilities.shape(), a), &probabilities, &mut out).unwrap();
            rows(&out)
        };
        for a in choices(&counts(&mu)) {
            let expected: Rows<Q> =
                mu.iter().zip(&a).map(|(row, &j)| weighted_score(&whole(1), j, row)).collect();
            prop_assert_eq!(scores(&a), expected);
        }
        let zero: Rows<Q> = mu.iter().map(|row| vec![whole(0); row.len()]).collect();
        prop_assert_eq!(expected_rows(&mu, scores), zero);
    }

    /// Entropy by its definition, edge by edge and summed.
    #[test]
    fn entropy_is_its_definition(logits in logits()) {
        let policy = policy(&logits);
        let expected: Vec<f64> =
            logits.iter().map(|row| softmax(row).iter().map(|p| -p * p.ln()).sum()).collect();
        for (edge, entropy) in expected.iter().enumerate() {
            assert_close(policy.edge_entropy(edge), *entropy, F64_SUMS, F64_SUMS);
        }
        assert_close(policy.entropy(), expected.iter().sum(), F64_SUMS, F64_SUMS);
    }

    /// An update is as good as a new policy.
    #[test]
    fn updating_is_as_good_as_starting_there(before in logits(), shift in -3.0..3.0f64) {
        let after: Rows<f64> = before
            .iter()
            .map(|row| row.iter().enumerate().map(|(j, logit)| logit * 0.5 + shift * j as f64).collect())
            .collect();
        let mut moved = policy(&before);
        moved.update(|logits| *logits = table(&after)).unwrap();
        prop_assert_eq!(moved, policy(&after));
    }
}

#[test]
fn entropy_closed_forms() {
    for n in 1..=8u32 {
        let uniform = policy(&[vec![0.7; n as usize]]);
        assert_close(uniform.entropy(), f64::from(n).ln(), F64_FEW_ROUNDINGS, 0.0);
    }
    // Two candidates with p = 1/4: 2 ln 2 − (3/4) ln 3.
    let quarter = policy(&[vec![0.0, 3.0f64.ln()], vec![0.0, 0.0]]);
    let expected = 2.0 * 2.0f64.ln() - 0.75 * 3.0f64.ln();
    assert_close(quarter.edge_entropy(0), expected, F64_FEW_ROUNDINGS, 0.0);
    assert_close(quarter.entropy(), expected + 2.0f64.ln(), F64_FEW_ROUNDINGS, 0.0);
    // Near a vertex with η = e^−40: η (1 + 40) to first order.
    let vertex = policy(&[vec![0.0, -40.0]]);
    assert_close(vertex.entropy(), 41.0 * (-40.0f64).exp(), F64_FEW_ROUNDINGS, 0.0);
}

#[test]
fn the_mode_is_the_first_of_the_largest() {
    let ties =
        policy(&[vec![1.0, 2.0, 2.0], vec![3.0, 3.0], vec![-1.0], vec![0.0, -0.0, -5.0], vec![-7.0, -2.0, -6.0]]);
    assert_eq!(ties.mode().choices(), [1, 0, 0, 0, 1]);
    // A difference that the probabilities can't show any more.
    let close = policy(&[vec![1e4, 1e4 + 2e-12]]);
    assert!(within(close.probabilities()[(0, 0)], 0.5, 1e-11));
    assert_eq!(close.mode().choices(), [1]);
    let mut out = Architecture::first(close.shape());
    close.mode_into(&mut out);
    assert_eq!(out, close.mode());
}

#[test]
fn searches_start_nearly_uniform_with_the_first_ahead() {
    let initial = Policy::initial(&Shape::new([5, 2]).unwrap());
    assert_eq!(INITIAL_LEAD, 1e-6);
    assert_eq!(rows(initial.logits()), [vec![1.0 + 1e-6, 1.0, 1.0, 1.0, 1.0], vec![1.0 + 1e-6, 1.0]]);
    assert_eq!(initial.mode().choices(), [0, 0]);
    // To first order, the lead moves μ_1 by μ(1 − μ) · 10⁻⁶; the next order is 10⁻¹³.
    assert!(within(initial.probabilities()[(0, 0)], 0.2 + 0.16e-6, 1e-12));
    assert!(within(initial.probabilities()[(1, 1)], 0.5 - 0.25e-6, 1e-12));
}

// ---------------------------------------------------------------- large logits

#[test]
fn logits_of_ten_thousand_keep_their_logarithms() {
    const BIG: f64 = 1e4;
    let policy = policy(&[
        vec![BIG, -BIG],
        vec![BIG, -BIG, BIG],
        vec![-BIG, -BIG - 1.0],
        vec![-BIG, BIG, -BIG + 1.0],
        vec![BIG, BIG - 40.0],
    ]);
    let ln2 = 2.0f64.ln();
    let log = |edge, j| policy.log_probability_of(edge, j);
    // Logarithms by hand: differences of 2·10⁴ are exact, and ln(1 + e^−20000) is 0.
    assert_eq!([log(0, 0), log(0, 1)], [0.0, -2.0 * BIG]);
    assert_close(log(1, 0), -ln2, F64_FEW_ROUNDINGS, 0.0);
    assert_close(log(1, 1), -2.0 * BIG - ln2, F64_FEW_ROUNDINGS, 0.0);
    let softplus = (-1.0f64).exp().ln_1p();
    assert_close(log(2, 0), -softplus, F64_FEW_ROUNDINGS, 0.0);
    assert_close(log(2, 1), -1.0 - softplus, F64_FEW_ROUNDINGS, 0.0);
    assert_eq!([log(3, 0), log(3, 1), log(3, 2)], [-2.0 * BIG, 0.0, -2.0 * BIG + 1.0]);
    // −ln(1 + e^−40) = −e^−40 + e^−80/2 …, all digits although μ rounds to one.
    assert_close(log(4, 0), -(-40.0f64).exp(), F64_FEW_ROUNDINGS, 0.0);
    assert_eq!(policy.probabilities()[(4, 0)], 1.0);

    assert_eq!(policy.probabilities().edge(0), [1.0, 0.0]);
    assert_eq!(policy.probabilities().edge(1), [0.5, 0.0, 0.5]);
    assert_eq!(policy.probabilities().edge(3), [0.0, 1.0, 0.0]);
    let unlikely = architecture(policy.shape(), &[1, 1, 0, 0, 0]);
    assert_close(policy.log_probability(&unlikely).unwrap(), -6.0 * BIG - ln2 - softplus, F64_FEW_ROUNDINGS, 0.0);
    assert!(policy.score(&unlikely).unwrap().values().iter().all(|value| value.is_finite()));

    let sigma = 1.0 / (1.0 + (-1.0f64).exp());
    let expected = [0.0, ln2, softplus + (1.0 - sigma), 0.0, 41.0 * (-40.0f64).exp()];
    for (edge, entropy) in expected.into_iter().enumerate() {
        assert_close(policy.edge_entropy(edge), entropy, F64_FEW_ROUNDINGS, 0.0);
    }
}

#[test]
fn logits_of_ten_thousand_are_sampled_right() {
    // N = 20000 draws of edges whose law is known. Chi-square on the free edges, four rows: α/4 each; the rest is certain.
    const BIG: f64 = 1e4;
    const N: usize = 20_000;
    let policy = policy(&[vec![BIG, -BIG], vec![BIG, -BIG, BIG], vec![-BIG, -BIG - 1.0], vec![-BIG, BIG, -BIG + 1.0]]);
    let sigma = 1.0 / (1.0 + (-1.0f64).exp());
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut drawn = [[0u64; 3]; 4];
    let mut seconds = [0u64; 2];
    let mut largest = [0u64; 2];
    for _ in 0..N {
        for (counts, &choice) in drawn.iter_mut().zip(policy.sample(&mut rng).choices()) {
            counts[choice] += 1;
        }
        let pairs = policy.sample_two(&mut rng).unwrap();
        assert_eq!(pairs[0], [0, 1]);
        assert!(pairs[1] == [0, 2] || pairs[1] == [2, 0]);
        assert_eq!(pairs[3][0], 1);
        // Of the two that are left, e^1 to 1 for candidate 2.
        seconds[usize::from(pairs[3][1] == 2)] += 1;
        let soft = policy.gumbel_softmax(0.5, &mut rng).unwrap();
        assert!(soft.values().iter().all(|value| (0.0..=1.0).contains(value)));
        assert_eq!(soft.edge(0), [1.0, 0.0]);
        assert_eq!(soft[(1, 1)], 0.0);
        largest[usize::from(soft[(2, 1)] > soft[(2, 0)])] += 1;
    }
    assert_eq!(drawn[0], [N as u64, 0, 0]);
    assert_eq!(drawn[3], [0, N as u64, 0]);
    let p_values = [
        chi_square_p(&drawn[1], &[0.5, 0.0, 0.5]),
        chi_square_p(&drawn[2][..2], &[sigma, 1.0 - sigma]),
        chi_square_p(&seconds, &[1.0 - sigma, sigma]),
        chi_square_p(&largest, &[sigma, 1.0 - sigma]),
    ];
    assert!(p_values.iter().all(|p| *p > ALPHA / 4.0), "{p_values:?}");
}

#[test]
fn logits_must_be_finite() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = Policy::new(table(&[vec![0.0], vec![1.0, value, 2.0]])).unwrap_err();
        match &error {
            Error::NotFinite { what: "logits", edge: 1, candidate: 1, value: got } => {
                assert_eq!(got.to_bits(), value.to_bits());
            }
            other => panic!("{other}"),
        }
        assert!(error.to_string().starts_with("logits: edge 1, candidate 1 is "), "{error}");

        let mut policy = policy(&[vec![0.0], vec![1.0, 3.0, 2.0]]);
        let error = policy.update(|logits| logits[(1, 2)] = value).unwrap_err();
        assert!(matches!(error, Error::NotFinite { edge: 1, candidate: 2, .. }), "{error}");
        assert_eq!(policy.logits()[(1, 2)].to_bits(), value.to_bits(), "kept, to be looked at");
    }
    // Finite, but at the end of the numbers.
    let extreme = policy(&[vec![f64::MAX, 0.0, 1.0]]);
    assert_eq!(extreme.probabilities().edge(0), [1.0, 0.0, 0.0]);
    assert_eq!(extreme.log_probability_of(0, 1), -f64::MAX);
}

#[test]
fn architectures_of_other_spaces_are_refused() {
    let policy = policy(&ragged());
    let long = Architecture::first(&Shape::new([1; 5]).unwrap());
    let far = architecture(&Shape::new([3, 3, 4, 1]).unwrap(), &[0, 2, 0, 0]);
    assert_eq!(policy.log_probability(&long).unwrap_err().to_string(), "architecture: expected 4 values, got 5");
    assert!(matches!(
        policy.log_probability(&far),
        Err(Error::NoSuchCandidate { edge: 1, candidate: 2, candidates: 2 })
    ));
    assert!(matches!(policy.score(&far), Err(Error::NoSuchCandidate { .. })));
    let mut small = OpTable::filled(&Shape::new([2]).unwrap(), 0.0);
    let error = score(&policy.mode(), policy.probabilities(), &mut small).unwrap_err();
    assert_eq!(error.to_string(), "score: candidates per edge differ, expected [3, 2, 4, 1], got 1x2");
}

// ---------------------------------------------------------------- samples

/// How often each architecture is drawn in `n` draws.
fn draw_architectures(policy: &Policy, n: usize, seed: u64) -> Vec<u64> {
    let all = choices(&(0..policy.shape().edges()).map(|edge| policy.shape().candidates(edge)).collect::<Vec<_>>());
    let mut observed = vec![0; all.len()];
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for _ in 0..n {
        let drawn = policy.sample(&mut rng);
        observed[all.iter().position(|a| a == drawn.choices()).expect("within the space")] += 1;
    }
    observed
}

fn product_law(rows: &[Vec<f64>]) -> Vec<f64> {
    choices(&counts(rows)).iter().map(|a| rows.iter().zip(a).map(|(row, &j)| row[j]).product()).collect()
}

#[test]
fn whole_architectures_are_drawn_from_mu() {
    // N = 200000 draws over all 24 architectures of a ragged space, so dependence between edges would show too; chi-square
    // with 23 degrees of freedom, three seeds, α/3 each.
    const N: usize = 200_000;
    let mu: Rows<f64> = ragged().iter().map(|row| softmax(row)).collect();
    let law = product_law(&mu);
    assert_eq!(law.len(), 24);
    for seed in 0..3 {
        let observed = draw_architectures(&policy(&ragged()), N, seed);
        let p = chi_square_p(&observed, &law);
        assert!(p > ALPHA / 3.0, "seed {seed}: p = {p:e}");

        // The control: the law of a sampler that adds 0.01 to every probability, as one release of another program does with
        // 0.001, is rejected.
        let wrong: Rows<f64> =
            mu.iter().map(|row| row.iter().map(|p| (p + 0.01) / (1.0 + 0.01 * row.len() as f64)).collect()).collect();
        assert!(chi_square_p(&observed, &product_law(&wrong)) < ALPHA / 3.0, "seed {seed}: the test is blind");
    }
}

#[test]
fn rare_candidates_are_drawn_as_rarely_as_they_should() {
    // μ = (0.998, 0.001, 0.001), N = 400000, chi-square with 2 degrees of freedom at α. The control is the law of a sampler
    // that adds 0.001 to every probability.
    const N: usize = 400_000;
    let mu = [0.998, 0.001, 0.001];
    let observed = draw_architectures(&policy(&[mu.iter().map(|p: &f64| p.ln()).collect()]), N, 5);
    let p = chi_square_p(&observed, &mu);
    assert!(p > ALPHA, "p = {p:e}");
    assert!(chi_square_p(&observed, &mu.map(|p| (p + 0.001) / 1.003)) < 1e-12);
}

/// A generator that always returns the same bits.
struct Constant(u64);

impl RngCore for Constant {
    fn next_u32(&mut self) -> u32 {
        self.0 as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.0.to_le_bytes().into_iter().cycle()) {
            *byte = value;
        }
    }
}

#[test]
fn candidates_of_probability_zero_are_never_drawn() {
    // e^−800 underflows: μ = (0, 1/2, 0, 1/2, 0) and (1, 0), (0, 1). The extreme uniforms 0 and 1 − 2⁻⁵³ are forced.
    let policy = policy(&[vec![-800.0, 0.0, -800.0, 0.0, -800.0], vec![0.0, -800.0], vec![-800.0, 0.0]]);
    assert_eq!(policy.probabilities().edge(0), [0.0, 0.5, 0.0, 0.5, 0.0]);
    assert_eq!(policy.sample(&mut Constant(0)).choices(), [1, 0, 1]);
    assert_eq!(policy.sample(&mut Constant(u64::MAX)).choices(), [3, 0, 1]);
    assert_eq!(policy.sample(&mut Constant(1 << 63)).choices(), [3, 0, 1]);
    assert_eq!(policy.sample(&mut Constant((1 << 63) - 1)).choices(), [1, 0, 1]);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    for _ in 0..100_000 {
        let drawn = policy.sample(&mut rng);
        assert!(matches!(drawn.choices(), [1 | 3, 0, 1]), "{drawn}");
    }
    // Where only candidates of vanishing probability are left, the second of a pair is still one of them.
    let mut pairs = [[9, 9]; 3];
    for bits in [0, 1, u64::MAX] {
        policy.sample_two_into(&mut Constant(bits), &mut pairs).unwrap();
        assert_eq!(pairs[1..], [[0, 1], [1, 0]]);
        assert!(pairs[0] == [1, 3] || pairs[0] == [3, 1]);
    }
}

/// `P(k, l) = μ_k μ_l / (1 − μ_k)` with `1 − μ_k` as the sum of the others.
fn pair_law(mu: &[f64]) -> Vec<f64> {
    let mut law = Vec::new();
    for k in 0..mu.len() {
        let others: f64 = (0..mu.len()).filter(|&j| j != k).map(|j| mu[j]).sum();
        law.extend((0..mu.len()).map(|l| if l == k { 0.0 } else { mu[k] * mu[l] / others }));
    }
    law
}

#[test]
fn pairs_are_drawn_without_replacement() {
    // N = 200000 pairs; chi-square over the ordered pairs of an edge. Rows: a general edge, uniform, an edge with a rare
    // candidate, one near a vertex, two candidates; α/5 each. A pair of one candidate twice has probability zero, and the test
    // fails if it occurs.
    const N: usize = 200_000;
    let mu: Rows<f64> = vec![
        softmax(&[0.5, -0.5, 0.1, 0.9]),
        vec![1.0 / 3.0; 3],
        vec![0.001, 0.6, 0.399],
        vec![0.98, 0.008, 0.012],
        vec![0.8, 0.2],
    ];
    let policy = policy(&mu.iter().map(|row| row.iter().map(|p| p.ln()).collect()).collect::<Vec<_>>());
    let mut observed: Vec<Vec<u64>> = mu.iter().map(|row| vec![0; row.len() * row.len()]).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    for _ in 0..N {
        let pairs = policy.sample_two(&mut rng).unwrap();
        for ((counts, row), [k, l]) in observed.iter_mut().zip(&mu).zip(pairs) {
            counts[k * row.len() + l] += 1;
        }
    }
    for (edge, (counts, row)) in observed.iter().zip(&mu).enumerate() {
        let p = chi_square_p(counts, &pair_law(row));
        assert!(p > ALPHA / 5.0, "edge {edge}: p = {p:e}");
    }
    // The control: two independent draws, repeated until they differ, have the law μ_k μ_l / (1 − Σ μ²), which is rejected.
    let again: f64 = mu[0].iter().map(|p| p * p).sum();
    let wrong: Vec<f64> = choices(&[4, 4])
        .iter()
        .map(|pair| if pair[0] == pair[1] { 0.0 } else { mu[0][pair[0]] * mu[0][pair[1]] / (1.0 - again) })
        .collect();
    assert!(chi_square_p(&observed[0], &wrong) < 1e-9);
}

#[test]
fn pairs_are_right_where_mu_rounds_to_one() {
    // μ_1 = 1 − O(e^−40) rounds to one, so 1 − μ_1 is lost in f64; the second of the pair must still be e^1 : 1. N = 50000,
    // chi-square with one degree of freedom at α.
    let policy = policy(&[vec![40.0, 0.0, 1.0]]);
    assert_eq!(policy.probabilities()[(0, 0)], 1.0);
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    let mut seconds = [0u64; 2];
    for _ in 0..50_000 {
        let [first, second] = policy.sample_two(&mut rng).unwrap()[0];
        assert_eq!(first, 0);
        seconds[second - 1] += 1;
    }
    let p = chi_square_p(&seconds, &softmax(&[0.0, 1.0]));
    assert!(p > ALPHA, "p = {p:e}");
}

#[test]
fn pairs_need_two_candidates() {
    let error = policy(&ragged()).sample_two(&mut Constant(0)).unwrap_err();
    let message = "number of candidates per edge must be at least 2 to draw two of them, got 1";
    assert_eq!(error.to_string(), message);
}

// ---------------------------------------------------------------- Gumbel-softmax

#[test]
fn the_largest_gumbel_softmax_is_distributed_as_mu() {
    // N = 100000 draws, temperatures 0.1, 1 and 10, chi-square of the argmax over all 24 architectures: α/3 each.
    const N: usize = 100_000;
    let policy = policy(&ragged());
    let mu: Rows<f64> = ragged().iter().map(|row| softmax(row)).collect();
    let (law, all) = (product_law(&mu), choices(&counts(&mu)));
    for (row, temperature) in [0.1, 1.0, 10.0].into_iter().enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(row as u64);
        let mut observed = vec![0u64; all.len()];
        let mut soft = policy.probabilities().clone();
        for _ in 0..N {
            policy.gumbel_softmax_into(temperature, &mut rng, &mut soft).unwrap();
            let largest: Vec<usize> =
                soft.rows().map(|row| (0..row.len()).max_by(|&i, &j| row[i].total_cmp(&row[j])).unwrap()).collect();
            observed[all.iter().position(|a| *a == largest).unwrap()] += 1;
            for row in soft.rows() {
                assert!(row.iter().all(|value| *value >= 0.0));
                assert_close(row.iter().sum(), 1.0, F64_FEW_ROUNDINGS, 0.0);
            }
        }
        let p = chi_square_p(&observed, &law);
        assert!(p > ALPHA / 3.0, "temperature {temperature}: p = {p:e}");
    }
}

#[test]
fn gumbel_softmax_is_its_formula() {
    // softmax((θ + G)/τ) with G = −ln(−ln u) and u = (k + 1/2) 2⁻⁵² from the upper 52 bits of each pair of words.
    let policy = policy(&ragged());
    for temperature in [0.3, 1.0, 5.0] {
        let mut rng = Streams::new(17).at(Purpose::Architecture, 0, 6);
        let soft = policy.gumbel_softmax(temperature, &mut rng).unwrap();
        let mut place = 6u128 << 20;
        for (edge, row) in ragged().iter().enumerate() {
            let noisy: Vec<f64> = row
                .iter()
                .map(|logit| {
                    let low = u64::from(chacha::word(17, 0, place));
                    let high = u64::from(chacha::word(17, 0, place + 1));
                    place += 2;
                    let u = ((high << 32 | low) >> 12) as f64 * 2.0f64.powi(-52) + 2.0f64.powi(-53);
                    (logit - (-u.ln()).ln()) / temperature
                })
                .collect();
            assert_all_close(soft.edge(edge), &softmax(&noisy), F64_SUMS, 0.0);
        }
    }
}

#[test]
fn temperature_limits() {
    let policy = policy(&ragged());
    for seed in 0..100 {
        let at = |temperature| policy.gumbel_softmax(temperature, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        let (cold, warm, hot) = (at(1e-12), at(1.0), at(1e9));
        for ((cold, warm), hot) in cold.rows().zip(warm.rows()).zip(hot.rows()) {
            let largest = (0..warm.len()).max_by(|&i, &j| warm[i].total_cmp(&warm[j])).unwrap();
            // Cold: one-hot at the argmax, which does not depend on the temperature. Noise ties within 10⁻¹¹ are not seen here.
            let one_hot: Vec<f64> = (0..warm.len()).map(|j| if j == largest { 1.0 } else { 0.0 }).collect();
            assert_eq!(cold, one_hot);
            // Hot: uniform, up to the spread of θ + G (below 100) over the temperature.
            assert_all_close(hot, &vec![1.0 / hot.len() as f64; hot.len()], 1e-7, 0.0);
        }
    }
}

#[test]
fn temperatures_must_be_positive_and_finite() {
    let policy = policy(&ragged());
    for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = policy.gumbel_softmax(temperature, &mut Constant(0)).unwrap_err();
        assert_eq!(error.to_string(), format!("temperature must be a positive finite number, got {temperature}"));
    }
    let mut small = OpTable::filled(&Shape::new([2]).unwrap(), 0.0);
    let error = policy.gumbel_softmax_into(1.0, &mut Constant(0), &mut small).unwrap_err();
    assert!(matches!(error, Error::Shape { what: "Gumbel-softmax", .. }), "{error}");
    // The ends of the random bits give finite noise.
    for bits in [0, u64::MAX] {
        let soft = policy.gumbel_softmax(1.0, &mut Constant(bits)).unwrap();
        assert!(soft.values().iter().all(|value| value.is_finite()));
    }
}

// ---------------------------------------------------------------- value stability

#[test]
fn seeded_pairs_are_the_inverted_distribution() {
    // One uniform for the first of a pair, one for the second, edge after edge, each inverted over the candidates in order.
    let invert = |weights: &[(usize, f64)], uniform: f64| {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let below = |index: usize| weights[..=index].iter().map(|(_, weight)| weight).sum::<f64>() / total;
        weights[(0..weights.len()).find(|&index| uniform < below(index)).expect("below one")].0
    };
    let rows = vec![vec![0.4, -1.0, 0.9], vec![1.5, 0.0], vec![0.0, 0.3, -0.8, 0.1]];
    let policy = policy(&rows);
    for step in 0..200 {
        let pairs = policy.sample_two(&mut Streams::new(4).at(Purpose::Architecture, 0, step)).unwrap();
        for (edge, row) in rows.iter().enumerate() {
            let uniform = |draw: u128| chacha::uniform(4, 0, (u128::from(step) << 20) + 4 * edge as u128 + 2 * draw);
            let all: Vec<(usize, f64)> = softmax(row).into_iter().enumerate().collect();
            let first = invert(&all, uniform(0));
            let left: Vec<(usize, f64)> = all.into_iter().filter(|(j, _)| *j != first).collect();
            assert_eq!(pairs[edge], [first, invert(&left, uniform(1))]);
        }
    }
}
