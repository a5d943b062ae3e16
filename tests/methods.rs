//! The updates of PARSEC, ProxylessNAS, GDAS, DARTS, SNAS and NASP against independent derivations: the path of `θ` from
//! made-up answers with a softmax, an Adam and an estimate of the test's own, and what each estimate is in expectation (by
//! exact enumeration, by finite differences, by Monte Carlo) against the closed forms of the derivations (claims C16 to C19).

use crate::common::*;
use advantage_nas::strategy::{
    Answer, Darts, Feedback, Gdas, GdasSettings, Nasp, Parsec, ParsecSettings, ProductStrategy, Proposal, ProxylessNas,
    RateSchedule, Snas, SnasSettings, Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F64_FEW_ROUNDINGS, F64_SUMS, assert_all_close, assert_close, central_difference,
};
use advantage_nas::{Error, OpTable, Shape};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::Open01;

// ---------------------------------------------------------------- the tiny space

/// A ragged space: three candidates, two, four.
const COUNTS: [usize; 3] = [3, 2, 4];

fn shape(counts: &[usize]) -> Shape {
    Shape::new(counts.iter().copied()).unwrap()
}

fn at(progress: f64, schedule: f64) -> Step {
    Step { kind: StepKind::Theta, progress, schedule }
}

/// Plain, with decay, with a clip that bites, with the cosine, with everything and other betas.
fn theta_settings() -> Vec<ThetaSettings> {
    let plain = ThetaSettings { learning_rate: 0.05, ..ThetaSettings::toy() };
    let decay = ThetaSettings { weight_decay: 0.3, ..plain };
    let clip = ThetaSettings { clip_norm: Some(0.02), epsilon: 1e-3, ..plain };
    let cosine = ThetaSettings { rate_schedule: RateSchedule::Cosine, ..plain };
    let all = ThetaSettings { clip_norm: Some(0.2), beta1: 0.5, beta2: 0.9, epsilon: 0.1, ..decay };
    vec![plain, decay, clip, cosine, ThetaSettings { rate_schedule: RateSchedule::Cosine, ..all }]
}

/// Made-up numbers between −1 and 1, different for every step and place.
fn number(t: usize, place: usize) -> f64 {
    ((29 * t + 17 * place + 5 * t * place) % 41) as f64 / 20.0 - 1.0
}

fn slopes(t: usize) -> Rows<f64> {
    COUNTS.iter().enumerate().map(|(edge, &count)| (0..count).map(|j| number(t, 10 * edge + j)).collect()).collect()
}

/// An answer: the loss, and `∂loss/∂a` where it was asked for.
fn answer(want: Want, loss: f64, slopes: &[Vec<f64>]) -> Feedback {
    let slopes = table(slopes);
    let mut feedback = Feedback::new(slopes.shape());
    feedback.begin(want);
    feedback.loss = loss;
    if want != Want::Loss {
        feedback.gradient = slopes;
    }
    feedback
}

fn flat(rows: &[Vec<f64>]) -> Vec<f64> {
    rows.iter().flatten().copied().collect()
}

/// Puts a strategy at the given logits.
fn place<S: ProductStrategy>(mut strategy: S, logits: &[Vec<f64>]) -> S {
    let logits = table(logits);
    strategy.theta_mut().policy_mut().update(|values| *values = logits).unwrap();
    strategy
}

fn logits<S: ProductStrategy>(strategy: &S) -> Vec<f64> {
    strategy.theta().policy().logits().values().to_vec()
}

fn logs(mu: &[Vec<f64>]) -> Rows<f64> {
    mu.iter().map(|row| row.iter().map(|p| p.ln()).collect()).collect()
}

/// Tolerance of a path of a dozen Adam steps: Adam divides by √v, so roundings of a slope stay roundings of a step, and the
/// rate is below one.
const PATH: f64 = F64_SUMS;

// ---------------------------------------------------------------- PARSEC

const DRAWS: [[usize; 3]; 8] = [[0, 1, 3], [2, 0, 0], [1, 1, 1], [2, 1, 2], [0, 0, 3], [1, 0, 0], [0, 1, 2], [2, 0, 1]];

fn parsec(counts: &[usize], theta: ThetaSettings, samples: usize) -> Parsec {
    Parsec::new(&shape(counts), theta, ParsecSettings { samples }).unwrap()
}

fn tell_loss<S: Strategy>(strategy: &mut S, a: &[usize], loss: f64, step: Step) {
    let shape = strategy.shape().clone();
    let proposal = Proposal::one_hot(&shape, &architecture(&shape, a), Want::Loss).unwrap();
    let mut feedback = Feedback::new(&shape);
    feedback.begin(Want::Loss);
    feedback.loss = loss;
    strategy.learn(&step, &[Answer::new(&proposal, &feedback)]).unwrap();
}

/// `Σ_k ω_k (a_k − μ)` with `ω_k = e^{−loss_k} / Σ e^{−loss}`: for moderate losses, as printed.
fn parsec_estimate(mu: &[Vec<f64>], draws: &[&[usize]], losses: &[f64]) -> Rows<f64> {
    let total: f64 = losses.iter().map(|loss| (-loss).exp()).sum();
    let mut sum: Rows<f64> = mu.iter().map(|row| vec![0.0; row.len()]).collect();
    for (a, loss) in draws.iter().zip(losses) {
        let omega = (-loss).exp() / total;
        for (edge, row) in sum.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value += omega * (if a[edge] == j { 1.0 } else { 0.0 } - mu[edge][j]);
            }
        }
    }
    sum
}

#[test]
fn parsec_takes_one_step_per_eight_evaluations() {
    for settings in theta_settings() {
        let mut strategy = parsec(&COUNTS, settings, 8);
        let mut plain = PlainTheta::new(&COUNTS, settings);
        let start = flat(&plain.theta);
        for round in 0..4 {
            let losses: Vec<f64> = (0..8).map(|k| 1.5 * number(8 * round + k, 3)).collect();
            for (k, (a, &loss)) in DRAWS.iter().zip(&losses).enumerate() {
                let before = strategy.theta().clone();
                // The learning rate is that of the evaluation that completes the eight.
                let schedule = (8 * round + k) as f64 / 32.0;
                tell_loss(&mut strategy, a, loss, at(schedule, schedule));
                if k < 7 {
                    assert_eq!(strategy.theta(), &before, "neither θ nor Adam moves between");
                }
            }
            let draws: Vec<&[usize]> = DRAWS.iter().map(|a| &a[..]).collect();
            let estimate = parsec_estimate(&plain.mu(), &draws, &losses);
            assert_all_close(strategy.estimate().values(), &flat(&estimate), F64_SUMS, F64_SUMS);
            plain.ascend(&estimate, (8 * round + 7) as f64 / 32.0);
            assert_all_close(&logits(&strategy), &flat(&plain.theta), PATH, PATH);
        }
        assert!(logits(&strategy).iter().zip(&start).any(|(x, x0)| (x - x0).abs() > 1e-3), "nothing was learned");
    }
}

#[test]
fn parsec_weights_survive_losses_of_any_size() {
    // e^{1000} overflows, e^{−1000} underflows; the weights depend on differences of the losses only.
    for offset in [-1000.0, 0.0, 1000.0] {
        let mut strategy = parsec(&COUNTS, ThetaSettings::toy(), 2);
        let mu: Rows<f64> = PlainTheta::new(&COUNTS, ThetaSettings::toy()).mu();
        tell_loss(&mut strategy, &DRAWS[0], offset + 0.25, at(0.0, 0.0));
        tell_loss(&mut strategy, &DRAWS[1], offset - 0.5, at(0.0, 0.0));
        let expected = parsec_estimate(&mu, &[&DRAWS[0], &DRAWS[1]], &[0.25, -0.5]);
        assert_all_close(strategy.estimate().values(), &flat(&expected), F64_SUMS, F64_SUMS);
    }
}

#[test]
fn parsec_saved_between_updates_goes_on() {
    let theta = ThetaSettings { learning_rate: 0.05, ..ThetaSettings::toy() };
    for cut in 0..24 {
        let run = |strategy: &mut Parsec, evaluations: std::ops::Range<usize>| {
            for k in evaluations {
                tell_loss(strategy, &DRAWS[k % 8], number(k, 3), at(0.0, 0.0));
            }
        };
        let mut reference = parsec(&COUNTS, theta, 8);
        run(&mut reference, 0..24);
        let mut first = parsec(&COUNTS, theta, 8);
        run(&mut first, 0..cut);
        let saved = first.save();
        let mut second = parsec(&COUNTS, theta, 8);
        // Something else before: five collected, of which nothing may remain.
        run(&mut second, 3..8);
        second.restore(&saved).unwrap();
        assert_eq!(second.save(), saved);
        run(&mut second, cut..24);
        assert_eq!(second.save(), reference.save(), "cut at {cut}");
        assert_eq!(logits(&second), logits(&reference));
    }
}

/// The mean of PARSEC's estimate over all tuples of `K` architectures of one edge, with their probabilities.
fn parsec_expectation(mu: &[f64], rewards: &[f64], samples: usize) -> Vec<f64> {
    let mut mean = vec![0.0; mu.len()];
    for tuple in choices(&vec![mu.len(); samples]) {
        let mut strategy = place(parsec(&[mu.len()], ThetaSettings::toy(), samples), &logs(&[mu.to_vec()]));
        for &choice in &tuple {
            tell_loss(&mut strategy, &[choice], -rewards[choice], at(0.0, 0.0));
        }
        let probability: f64 = tuple.iter().map(|&choice| mu[choice]).product();
        for (mean, value) in mean.iter_mut().zip(strategy.estimate().values()) {
            *mean += probability * value;
        }
    }
    mean
}

/// Claim C18: nothing is learned from one sample; from two, `E δ_l = Σ_k μ_l μ_k tanh((r_l − r_k)/2)`; small rewards give
/// `(1 − 1/K)` of the gradient, so the estimate is biased.
#[test]
fn parsec_expectations_are_the_closed_forms() {
    let (mu, rewards) = ([0.5, 0.3, 0.2], [1.0, -0.7, 2.5]);
    assert_all_close(&parsec_expectation(&mu, &rewards, 1), &[0.0; 3], 0.0, F64_FEW_ROUNDINGS);
    let closed = |l: usize| -> f64 { (0..3).map(|k| mu[l] * mu[k] * ((rewards[l] - rewards[k]) / 2.0).tanh()).sum() };
    assert_all_close(&parsec_expectation(&mu, &rewards, 2), &[0, 1, 2].map(closed), F64_SUMS, 0.0);
    let small = rewards.map(|reward| 1e-4 * reward);
    let mean: f64 = mu.iter().zip(&small).map(|(p, r)| p * r).sum();
    for samples in [2, 3, 4] {
        let factor = 1.0 - 1.0 / samples as f64;
        let expected: Vec<f64> = (0..3).map(|j| factor * mu[j] * (small[j] - mean)).collect();
        // The next order is the square of the rewards, 10⁻⁸.
        assert_all_close(&parsec_expectation(&mu, &small, samples), &expected, 0.0, 1e-8);
    }
}

#[test]
fn parsec_refuses_a_broken_collection() {
    let mut strategy = parsec(&COUNTS, ThetaSettings::toy(), 8);
    for a in &DRAWS[..3] {
        tell_loss(&mut strategy, a, 0.5, at(0.0, 0.0));
    }
    let saved = strategy.save();
    let message = |strategy: &mut Parsec, name: &str, values: &[u64]| {
        let mut broken = saved.clone();
        broken.insert_u64(name, values);
        let before = strategy.save();
        let error = strategy.restore(&broken).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
        assert_eq!(strategy.save(), before, "nothing changes");
        error.to_string()
    };
    assert_eq!(
        message(&mut strategy, "collected", &[8]),
        "saved state, \"collected\": is 8, expected fewer than 8 samples"
    );
    assert!(message(&mut strategy, "collected", &[2]).contains("collected.rewards"));
    assert!(
        message(&mut strategy, "collected.architectures", &[0, 1, 3, 2, 9, 0, 1, 1, 1]).contains("has no candidate 9")
    );
}

// ---------------------------------------------------------------- ProxylessNAS

fn proxyless(counts: &[usize], theta: ThetaSettings) -> ProxylessNas {
    ProxylessNas::new(&shape(counts), theta).unwrap()
}

fn tell_pairs(strategy: &mut ProxylessNas, pairs: &[[usize; 2]], slopes: &[Vec<f64>], schedule: f64) {
    let mut proposal = Proposal::new(Strategy::shape(strategy));
    proposal.set_pairs(pairs, Want::Gradient).unwrap();
    // Candidates that were not evaluated have no slope.
    let mut slopes = slopes.to_vec();
    for (row, pair) in slopes.iter_mut().zip(pairs) {
        for (j, slope) in row.iter_mut().enumerate() {
            if !pair.contains(&j) {
                *slope = 0.0;
            }
        }
    }
    Strategy::learn(strategy, &at(0.0, schedule), &[Answer::new(&proposal, &answer(Want::Gradient, 0.3, &slopes))])
        .unwrap();
}

/// `δ_k = p_k p_l (r_k − r_l)` with `p_k = μ_k/(μ_k + μ_l)`, from the probabilities instead of the logits.
fn pair_estimate(mu: &[f64], [k, l]: [usize; 2], rewards: &[f64]) -> Vec<f64> {
    let both = mu[k] + mu[l];
    let value = mu[k] / both * (mu[l] / both) * (rewards[k] - rewards[l]);
    let mut row = vec![0.0; mu.len()];
    row[k] = value;
    row[l] = -value;
    row
}

const PAIRS: [[[usize; 2]; 3]; 6] = [
    [[0, 1], [0, 1], [2, 3]],
    [[2, 0], [1, 0], [0, 3]],
    [[1, 2], [0, 1], [1, 0]],
    [[0, 2], [0, 1], [3, 1]],
    [[1, 0], [1, 0], [2, 0]],
    [[2, 1], [0, 1], [2, 1]],
];

#[test]
fn proxyless_follows_the_pairwise_gradient_and_restores_the_joint_probability() {
    for settings in theta_settings() {
        let mut strategy = proxyless(&COUNTS, settings);
        let mut plain = PlainTheta::new(&COUNTS, settings);
        let mut others_moved = false;
        for t in 0..12 {
            let (pairs, schedule) = (PAIRS[t % 6], t as f64 / 12.0);
            let losses = slopes(t);
            let before = plain.mu();
            let estimate: Rows<f64> = (0..3)
                .map(|i| {
                    let rewards: Vec<f64> = losses[i].iter().map(|slope| -slope).collect();
                    pair_estimate(&before[i], pairs[i], &rewards)
                })
                .collect();
            let theta_before = plain.theta.clone();
            plain.ascend(&estimate, schedule);
            for (edge, row) in plain.theta.iter_mut().enumerate() {
                let pair = pairs[edge];
                let inside: f64 = pair.iter().map(|&j| row[j].exp()).sum();
                let outside: f64 = (0..row.len()).filter(|j| !pair.contains(j)).map(|j| row[j].exp()).sum();
                if row.len() > 2 {
                    let joint: f64 = pair.iter().map(|&j| before[edge][j]).sum();
                    let shift = (joint * outside / ((1.0 - joint) * inside)).ln();
                    for j in pair {
                        row[j] += shift;
                    }
                    others_moved |= (0..row.len()).any(|j| !pair.contains(&j) && row[j] != theta_before[edge][j]);
                }
            }
            tell_pairs(&mut strategy, &pairs, &losses, schedule);
            assert_all_close(strategy.estimate().values(), &flat(&estimate), F64_SUMS, F64_SUMS);
            // The shift is a logarithm of a ratio of sums; its roundings add up over the path.
            assert_all_close(&logits(&strategy), &flat(&plain.theta), 4.0 * PATH, 4.0 * PATH);
            let mu = strategy.theta().policy().probabilities();
            for (edge, pair) in pairs.iter().enumerate() {
                let joint = |row: &[f64]| pair.iter().map(|&j| row[j]).sum::<f64>();
                assert_close(joint(mu.edge(edge)), joint(&before[edge]), F64_SUMS, 0.0);
            }
        }
        // By Adam's momentum, in all settings: the restored probability is not a matter of the pair alone.
        assert!(others_moved);
    }
}

/// Edges do not see each other: a row of a large space moves as it would alone (no clipping, which is over all edges).
#[test]
fn proxyless_edges_do_not_talk() {
    let settings = ThetaSettings { weight_decay: 0.3, ..theta_settings()[0] };
    let mut together = proxyless(&COUNTS, settings);
    let mut alone: Vec<ProxylessNas> = COUNTS.iter().map(|&count| proxyless(&[count], settings)).collect();
    for t in 0..12 {
        let (pairs, losses) = (PAIRS[t % 6], slopes(t));
        tell_pairs(&mut together, &pairs, &losses, 0.0);
        for (edge, one) in alone.iter_mut().enumerate() {
            tell_pairs(one, &pairs[edge..=edge], &losses[edge..=edge], 0.0);
            assert_eq!(together.theta().policy().logits().edge(edge), logits(one));
        }
    }
}

/// Of an edge of two, both are always drawn: the logits move apart by Adam's first step, the rate, and nothing is shifted.
#[test]
fn proxyless_leaves_the_logits_of_two_candidates_where_adam_puts_them() {
    let mut strategy = proxyless(&[2], ThetaSettings { learning_rate: 0.25, ..ThetaSettings::toy() });
    tell_pairs(&mut strategy, &[[0, 1]], &[vec![-2.0, 1.0]], 0.0);
    // ε = 10⁻⁸ beside slopes of 0.75 shortens the step by 10⁻⁸ of it.
    assert_all_close(&logits(&strategy), &[1.250001, 0.75], 0.0, 1e-8);
}

/// The mean of the estimate over all pairs of one edge, `π_kl = μ_k μ_l (1/(1 − μ_k) + 1/(1 − μ_l))`.
fn proxyless_expectation(mu: &[f64], rewards: &[f64]) -> (Vec<f64>, f64) {
    let mut mean = vec![0.0; mu.len()];
    let mut ascent = 0.0;
    let slopes: Vec<f64> = rewards.iter().map(|reward| -reward).collect();
    let value = |mu: &[f64]| mu.iter().zip(rewards).map(|(p, r)| p * r).sum::<f64>();
    for k in 0..mu.len() {
        for l in 0..k {
            let pi = mu[k] * mu[l] * (1.0 / (1.0 - mu[k]) + 1.0 / (1.0 - mu[l]));
            let mut strategy = place(proxyless(&[mu.len()], ThetaSettings::toy()), &logs(&[mu.to_vec()]));
            tell_pairs(&mut strategy, &[[k, l]], std::slice::from_ref(&slopes), 0.0);
            for (mean, value) in mean.iter_mut().zip(strategy.estimate().values()) {
                *mean += pi * value;
            }
            ascent += pi * (value(strategy.theta().policy().probabilities().values()) - value(mu));
        }
    }
    (mean, ascent)
}

/// Claim C16: `E δ_k = Σ_l W_kl (r_k − r_l)`; the exact gradient for two candidates; `n/(2(n−1))` of it at the uniform policy; and
/// at μ = (5/8, 1/4, 1/8), r = (1, 0, 4), the numbers of the derivations, whose first sign is wrong.
#[test]
fn proxyless_expectations_are_the_closed_forms() {
    let gradient = |mu: &[f64], r: &[f64]| -> Vec<f64> {
        let mean: f64 = mu.iter().zip(r).map(|(p, r)| p * r).sum();
        mu.iter().zip(r).map(|(p, r)| p * (r - mean)).collect()
    };
    let (mu, r) = ([0.4, 0.3, 0.2, 0.1], [1.0, -2.0, 0.5, 3.0]);
    let closed = |k: usize| -> f64 {
        let others = (0..4).filter(|&l| l != k);
        let weight = |l: usize| {
            let sum: f64 = mu[k] + mu[l];
            (mu[k] * mu[l]).powi(2) * (2.0 - sum) / ((1.0 - mu[k]) * (1.0 - mu[l]) * sum * sum)
        };
        others.map(|l| weight(l) * (r[k] - r[l])).sum()
    };
    assert_all_close(&proxyless_expectation(&mu, &r).0, &[0, 1, 2, 3].map(closed), F64_SUMS, 0.0);
    let two = [0.9, 0.1];
    assert_all_close(&proxyless_expectation(&two, &r[..2]).0, &gradient(&two, &r[..2]), F64_SUMS, 0.0);
    let uniform = [0.25; 4];
    let expected: Vec<f64> = gradient(&uniform, &r).iter().map(|slope| slope * 4.0 / 6.0).collect();
    assert_all_close(&proxyless_expectation(&uniform, &r).0, &expected, F64_SUMS, 0.0);
    let (mu, r) = ([0.625, 0.25, 0.125], [1.0, 0.0, 4.0]);
    assert_all_close(&gradient(&mu, &r), &[-5.0 / 64.0, -9.0 / 32.0, 23.0 / 64.0], F64_SUMS, 0.0);
    let expected = [25.0 / 7056.0, -1039.0 / 5292.0, 583.0 / 3024.0];
    assert_all_close(&proxyless_expectation(&mu, &r).0, &expected, F64_SUMS, F64_SUMS);
    // With the joint probability restored, every pair ascends nevertheless: also where the estimate points down.
    let (mu, r) = ([0.9, 0.099, 0.001], [999.0, 1000.0, 0.0]);
    let (mean, ascent) = proxyless_expectation(&mu, &r);
    let against: f64 = mean.iter().zip(gradient(&mu, &r)).map(|(e, g)| e * g).sum();
    assert!(against < 0.0 && ascent > 0.0, "{against}, {ascent}");
}

#[test]
fn proxyless_refuses_what_it_can_not_work_on() {
    let error = ProxylessNas::new(&shape(&[3, 1]), ThetaSettings::toy()).unwrap_err();
    assert_eq!(error.to_string(), "the number of candidates per edge must be at least 2 for ProxylessNAS, got 1");
    let mut strategy = proxyless(&COUNTS, ThetaSettings::toy());
    let before = strategy.save();
    let mut proposal = Proposal::new(&shape(&COUNTS));
    for dense in [true, false] {
        if dense {
            proposal.set_dense(&OpTable::filled(&shape(&COUNTS), 0.5), Want::Gradient).unwrap();
        } else {
            let first = architecture(&shape(&COUNTS), &[0, 0, 0]);
            proposal.set_one_hot(&first, Want::Gradient).unwrap();
        }
        let feedback = answer(Want::Gradient, 0.0, &slopes(0));
        let error = Strategy::learn(&mut strategy, &at(0.0, 0.0), &[Answer::new(&proposal, &feedback)]).unwrap_err();
        assert!(matches!(error, Error::Feedback { needed: "two active candidates per edge", .. }), "{error}");
    }
    assert_eq!(strategy.save(), before);
}

// ---------------------------------------------------------------- rewards that are multi-affine

/// `R(a) = Σ_e c_e Π_{i: e_i > 0} a_i^{e_i − 1}` over all ways to choose a candidate or nothing at every edge: linear in every
/// `a_i`, and otherwise arbitrary.
fn multi_affine(a: &[Vec<f64>]) -> f64 {
    let larger: Vec<usize> = a.iter().map(|row| row.len() + 1).collect();
    let mut sum = 0.0;
    for (index, entry) in choices(&larger).iter().enumerate() {
        let mut term = number(index, 3);
        for (row, &choice) in a.iter().zip(entry) {
            if choice > 0 {
                term *= row[choice - 1];
            }
        }
        sum += term;
    }
    sum
}

/// `∂R/∂a`: as `R` is affine in every entry, a difference quotient with step one.
fn multi_affine_slopes(a: &[Vec<f64>]) -> Rows<f64> {
    let slope = |edge: usize, j: usize| {
        let mut moved = a.to_vec();
        moved[edge][j] += 1.0;
        multi_affine(&moved) - multi_affine(a)
    };
    a.iter().enumerate().map(|(edge, row)| (0..row.len()).map(|j| slope(edge, j)).collect()).collect()
}

/// The answer of a network whose reward is [`multi_affine`].
fn multi_affine_answer(proposal: &Proposal) -> Feedback {
    let a = rows(proposal.weights());
    let losses: Rows<f64> =
        multi_affine_slopes(&a).iter().map(|row| row.iter().map(|slope| -slope).collect()).collect();
    answer(proposal.want(), -multi_affine(&a), &losses)
}

/// Central differences of a function of `θ`.
fn differences(theta: &[Vec<f64>], f: impl Fn(&[Vec<f64>]) -> f64) -> Rows<f64> {
    let slope = |edge: usize, j: usize| {
        central_difference(CENTRAL_STEP, |by| {
            let mut moved = theta.to_vec();
            moved[edge][j] += by;
            f(&moved)
        })
    };
    theta.iter().enumerate().map(|(edge, row)| (0..row.len()).map(|j| slope(edge, j)).collect()).collect()
}

fn some_logits() -> Rows<f64> {
    vec![vec![0.3, -0.8, 1.1], vec![-0.2, 0.6], vec![0.9, -1.3, 0.0, 0.4]]
}

/// Proposes with the given stream and answers with the multi-affine reward.
fn one_step<S: Strategy>(strategy: &mut S, step: Step, rng: &mut ChaCha8Rng) -> Proposal {
    let mut proposal = Proposal::new(strategy.shape());
    strategy.propose(&step, rng, &mut proposal).unwrap();
    let feedback = multi_affine_answer(&proposal);
    strategy.learn(&step, &[Answer::new(&proposal, &feedback)]).unwrap();
    proposal
}

// ---------------------------------------------------------------- DARTS

/// Claim C19: on multi-affine rewards, DARTS' estimate is the derivative of `R(μ(θ))` and that of `J = E R(a)`, whatever the seed.
#[test]
fn darts_is_the_exact_gradient_on_multi_affine_rewards() {
    let theta = some_logits();
    let mut strategy = place(Darts::new(&shape(&COUNTS), ThetaSettings::toy()).unwrap(), &theta);
    let proposal = one_step(&mut strategy, at(0.3, 0.0), &mut ChaCha8Rng::seed_from_u64(0));
    let mu: Rows<f64> = theta.iter().map(|row| softmax(row)).collect();
    assert_all_close(proposal.weights().values(), &flat(&mu), F64_FEW_ROUNDINGS, 0.0);
    let mixture = |theta: &[Vec<f64>]| multi_affine(&theta.iter().map(|row| softmax(row)).collect::<Vec<_>>());
    let expected = flat(&differences(&theta, mixture));
    assert_all_close(strategy.estimate().values(), &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
    let expectation = |theta: &[Vec<f64>]| {
        let mu: Rows<f64> = theta.iter().map(|row| softmax(row)).collect();
        let mut sum = 0.0;
        for a in choices(&COUNTS) {
            let weight: f64 = a.iter().zip(&mu).map(|(&choice, row)| row[choice]).product();
            let hot =
                |(&count, &choice): (&usize, &usize)| (0..count).map(|j| f64::from(u8::from(j == choice))).collect();
            let weights: Rows<f64> = COUNTS.iter().zip(&a).map(hot).collect();
            sum += weight * multi_affine(&weights);
        }
        sum
    };
    let expected = flat(&differences(&theta, expectation));
    assert_all_close(strategy.estimate().values(), &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
    assert!(expected.iter().all(|slope| slope.abs() > 1e-3), "every component matters");
}

#[test]
fn darts_follows_the_gradient_of_the_mixture() {
    for settings in theta_settings() {
        let mut strategy = Darts::new(&shape(&COUNTS), settings).unwrap();
        let mut plain = PlainTheta::new(&COUNTS, settings);
        for t in 0..12 {
            // Not from 0: those slopes average to one of them, and what is left of it has no digits to compare.
            let (schedule, mu, losses) = (t as f64 / 12.0, plain.mu(), slopes(t + 1));
            let mut proposal = Proposal::new(&shape(&COUNTS));
            let step = at(schedule, schedule);
            Strategy::propose(&mut strategy, &step, &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
            Strategy::learn(&mut strategy, &step, &[Answer::new(&proposal, &answer(Want::Gradient, 0.5, &losses))])
                .unwrap();
            plain.ascend(&jacobian_times(&mu, &losses, -1.0), schedule);
            assert_all_close(&logits(&strategy), &flat(&plain.theta), PATH, PATH);
        }
    }
}

/// `factor · (diag(h) − h hᵀ) g` per edge, as the matrix is written.
fn jacobian_times(h: &[Vec<f64>], g: &[Vec<f64>], factor: f64) -> Rows<f64> {
    let entry = |h: &[f64], j: usize, k: usize| if j == k { h[j] * (1.0 - h[j]) } else { -h[j] * h[k] };
    let row = |(h, g): (&Vec<f64>, &Vec<f64>)| {
        (0..h.len()).map(|j| factor * (0..h.len()).map(|k| entry(h, j, k) * g[k]).sum::<f64>()).collect()
    };
    h.iter().zip(g).map(row).collect()
}

// ---------------------------------------------------------------- Gumbel noise

/// Gumbel noise from a stream, edge after edge: `−ln(−ln u)` of a uniform number on the open interval.
fn gumbels(rng: &mut ChaCha8Rng) -> Rows<f64> {
    COUNTS
        .iter()
        .map(|&count| {
            (0..count)
                .map(|_| {
                    let uniform: f64 = rng.sample(Open01);
                    -(-uniform.ln()).ln()
                })
                .collect()
        })
        .collect()
}

fn relax(theta: &[Vec<f64>], noise: &[Vec<f64>], temperature: f64) -> Rows<f64> {
    let row = |(theta, noise): (&Vec<f64>, &Vec<f64>)| {
        let z: Vec<f64> = theta.iter().zip(noise).map(|(x, g)| (x + g) / temperature).collect();
        let largest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        softmax(&z.iter().map(|z| z - largest).collect::<Vec<_>>())
    };
    theta.iter().zip(noise).map(row).collect()
}

// ---------------------------------------------------------------- SNAS

fn snas(theta: ThetaSettings) -> Snas {
    Snas::new(&shape(&COUNTS), theta, SnasSettings { lowest_temperature: 1e-3 }).unwrap()
}

#[test]
fn snas_cools_from_one_to_the_floor() {
    let strategy = snas(ThetaSettings::toy());
    let temperature = |progress: f64| strategy.temperature(&at(progress, 0.77));
    assert_close(temperature(0.0), 1.0, F64_FEW_ROUNDINGS, 0.0);
    assert_close(temperature(0.5), 0.5, F64_FEW_ROUNDINGS, 0.0);
    // (cos(π/3) + 1)/2
    assert_close(temperature(1.0 / 3.0), 0.75, F64_FEW_ROUNDINGS, 0.0);
    assert_eq!(temperature(0.999), 1e-3);
    assert_eq!(temperature(1.0), 1e-3);
}

/// The mixture is `softmax((θ + G)/τ)`, and the estimate is the derivative of the reward at fixed noise `G`.
#[test]
fn snas_differentiates_through_the_sample() {
    let theta = some_logits();
    for (seed, progress) in [(0, 0.0), (1, 0.5), (2, 0.6), (3, 0.7)] {
        let mut strategy = place(snas(ThetaSettings::toy()), &theta);
        let temperature = strategy.temperature(&at(progress, 0.0));
        let proposal = one_step(&mut strategy, at(progress, 0.0), &mut ChaCha8Rng::seed_from_u64(seed));
        let noise = gumbels(&mut ChaCha8Rng::seed_from_u64(seed));
        let mixture = relax(&theta, &noise, temperature);
        // Logits over τ ≥ 0.2: roundings of the exponent are relative errors of the weights, a few times larger.
        assert_all_close(proposal.weights().values(), &flat(&mixture), F64_SUMS, 0.0);
        let expected = flat(&differences(&theta, |theta| multi_affine(&relax(theta, &noise, temperature))));
        // Third derivatives grow as τ⁻³ ≤ 125, and with them the truncation error.
        let tolerance = 100.0 * CENTRAL_DIFFERENCE;
        assert_all_close(strategy.estimate().values(), &expected, tolerance, tolerance);
        assert!(expected.iter().any(|slope| slope.abs() > 1e-2));
    }
}

#[test]
fn snas_at_the_floor_is_finite_and_almost_one_hot() {
    let mut strategy = snas(ThetaSettings::toy());
    for seed in 0..50 {
        let proposal = one_step(&mut strategy, at(1.0, 0.0), &mut ChaCha8Rng::seed_from_u64(seed));
        for row in proposal.weights().rows() {
            assert_close(row.iter().sum(), 1.0, F64_SUMS, 0.0);
        }
        assert!(strategy.estimate().values().iter().all(|value| value.is_finite()));
    }
}

#[test]
fn snas_follows_the_gradient_of_its_mixtures() {
    for settings in theta_settings() {
        let mut strategy = snas(settings);
        let mut plain = PlainTheta::new(&COUNTS, settings);
        for t in 0..8 {
            let progress = t as f64 / 12.0;
            let (step, losses) = (at(progress, progress), slopes(t));
            let mut proposal = Proposal::new(&shape(&COUNTS));
            let mut rng = ChaCha8Rng::seed_from_u64(t as u64);
            Strategy::propose(&mut strategy, &step, &mut rng, &mut proposal).unwrap();
            Strategy::learn(&mut strategy, &step, &[Answer::new(&proposal, &answer(Want::Gradient, 0.5, &losses))])
                .unwrap();
            let temperature = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
            let h = relax(&plain.theta, &gumbels(&mut ChaCha8Rng::seed_from_u64(t as u64)), temperature);
            plain.ascend(&jacobian_times(&h, &losses, -1.0 / temperature), progress);
            // Temperatures down to 0.4 multiply the roundings of θ on their way through the mixture.
            assert_all_close(&logits(&strategy), &flat(&plain.theta), 4.0 * PATH, 4.0 * PATH);
        }
    }
}

// ---------------------------------------------------------------- GDAS

fn gdas(counts: &[usize], theta: ThetaSettings, first_temperature: f64, last_temperature: f64) -> Gdas {
    Gdas::new(&shape(counts), theta, GdasSettings { first_temperature, last_temperature }).unwrap()
}

#[test]
fn gdas_cools_linearly_from_ten_to_a_tenth() {
    let strategy = gdas(&COUNTS, ThetaSettings::toy(), 10.0, 0.1);
    for (progress, temperature) in [(0.0, 10.0), (0.5, 5.05), (1.0, 0.1)] {
        // 10 − 9.9 cancels two digits.
        assert_close(strategy.temperature(&at(progress, 0.3)), temperature, 100.0 * F64_FEW_ROUNDINGS, 0.0);
    }
}

/// Forward the argmax of `h = softmax((θ + G)/τ)`; backward `(1/τ)(diag(h) − h hᵀ) g`, with `g` the slope at the one-hot
/// proposal, and of the others as if their outputs were ones: `h` and `g` from the test's own noise and numbers.
#[test]
fn gdas_follows_the_straight_through_gradient() {
    for settings in theta_settings() {
        let mut strategy = gdas(&COUNTS, settings, 10.0, 0.1);
        let mut plain = PlainTheta::new(&COUNTS, settings);
        for t in 0..12 {
            let progress = t as f64 / 12.0;
            let (step, losses) = (at(progress, progress), slopes(t));
            let mut proposal = Proposal::new(&shape(&COUNTS));
            let mut rng = ChaCha8Rng::seed_from_u64(t as u64);
            Strategy::propose(&mut strategy, &step, &mut rng, &mut proposal).unwrap();
            assert_eq!(proposal.want(), Want::GradientWithUnitOutputs);
            let temperature = 10.0 - 9.9 * progress;
            let h = relax(&plain.theta, &gumbels(&mut ChaCha8Rng::seed_from_u64(t as u64)), temperature);
            assert_all_close(strategy.relaxed().values(), &flat(&h), F64_SUMS, F64_SUMS);
            for (edge, row) in h.iter().enumerate() {
                let drawn = proposal.architecture().unwrap().choice(edge);
                assert!(row.iter().all(|value| *value <= row[drawn]), "the largest is drawn");
            }
            let feedback = answer(Want::GradientWithUnitOutputs, 0.5, &losses);
            Strategy::learn(&mut strategy, &step, &[Answer::new(&proposal, &feedback)]).unwrap();
            let estimate = jacobian_times(&h, &losses, -1.0 / temperature);
            // Temperatures from 0.9 multiply roundings by at most about one.
            assert_all_close(strategy.estimate().values(), &flat(&estimate), 4.0 * F64_SUMS, 4.0 * F64_SUMS);
            plain.ascend(&estimate, progress);
            assert_all_close(&logits(&strategy), &flat(&plain.theta), 4.0 * PATH, 4.0 * PATH);
        }
    }
}

#[test]
fn gdas_learns_from_its_own_proposal_only() {
    let mut strategy = gdas(&COUNTS, ThetaSettings::toy(), 10.0, 0.1);
    let mut proposal = Proposal::new(&shape(&COUNTS));
    Strategy::propose(&mut strategy, &at(0.0, 0.0), &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
    let before = strategy.save();
    let mut other = proposal.architecture().unwrap().clone();
    other.choose(&shape(&COUNTS), 0, (other.choice(0) + 1) % 3).unwrap();
    let feedback = answer(Want::GradientWithUnitOutputs, 0.5, &slopes(0));
    let wrong = Proposal::one_hot(&shape(&COUNTS), &other, Want::GradientWithUnitOutputs).unwrap();
    let error = Strategy::learn(&mut strategy, &at(0.0, 0.0), &[Answer::new(&wrong, &feedback)]).unwrap_err();
    assert_eq!(error.to_string(), "GDAS needs feedback with its own last proposal, got another architecture");
    assert_eq!(strategy.save(), before);
    Strategy::learn(&mut strategy, &at(0.0, 0.0), &[Answer::new(&proposal, &feedback)]).unwrap();
}

/// Two candidates, μ = (2/3, 1/3), τ = 1, a linear reward `r` and unselected outputs that give the slope `κ`: the mean of `δ_1`
/// over N samples, and its standard error.
fn gdas_mean(r: [f64; 2], kappa: [f64; 2], n: u32, seed: u64) -> (f64, f64) {
    let settings = ThetaSettings { learning_rate: 0.0, ..ThetaSettings::toy() };
    let mut strategy = place(gdas(&[2], settings, 1.0, 1.0), &[vec![2.0f64.ln(), 0.0]]);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut proposal = Proposal::new(&shape(&[2]));
    let (mut sum, mut squares) = (0.0, 0.0);
    for _ in 0..n {
        Strategy::propose(&mut strategy, &at(0.0, 0.0), &mut rng, &mut proposal).unwrap();
        let drawn = proposal.architecture().unwrap().choice(0);
        let slope = |j: usize| -(if j == drawn { r[j] } else { kappa[j] });
        let feedback = answer(Want::GradientWithUnitOutputs, 0.0, &[vec![slope(0), slope(1)]]);
        Strategy::learn(&mut strategy, &at(0.0, 0.0), &[Answer::new(&proposal, &feedback)]).unwrap();
        let value = strategy.estimate()[(0, 0)];
        sum += value;
        squares += value * value;
    }
    let (n, mean) = (f64::from(n), sum / f64::from(n));
    (mean, ((squares / n - mean * mean) / n).sqrt())
}

/// Claim C17 at n = 2, τ = 1, u = ln 2. With all slopes known, `E δ_1 = W (r_1 − r_2)`, `W` the density of the sum of two logistic
/// variables at `u`; with unselected outputs of ones, `E δ_1 = c_1 (r_1 − κ) − c_2 (r_2 − κ)` where `c_1 = ∫₀^∞ σ'(x) σ'(x − u) dx` and
/// `c_2` is the rest: a constant reward 1 drifts by `c_1 − c_2 = 0.0400`, where the true gradient is zero.
///
/// z-tests with N = 100 000, one seed per row, α = 10⁻⁶ over three rows: |z| < 5.2 at 3·10⁻⁷ each.
#[test]
fn gdas_expectations_are_the_closed_forms() {
    let u = 2.0f64.ln();
    let e = u.exp();
    let dense = e * ((u - 2.0) * e + u + 2.0) / (e - 1.0f64).powi(3);
    // The integral by the trapezoidal rule in small steps, independent of the printed digits.
    let logistic = |x: f64| 1.0 / ((1.0 + (-x).exp()) * (1.0 + x.exp()));
    let steps = 400_000;
    let width = 40.0 / f64::from(steps);
    let c1: f64 = (0..=steps)
        .map(|k| {
            let x = width * f64::from(k);
            let weight = if k == 0 { 0.5 } else { 1.0 };
            weight * width * logistic(x) * logistic(x - u)
        })
        .sum();
    let c2 = dense - c1;
    assert_close(c1, 0.09946, 0.0, 5e-6);
    assert_close(c2, 0.05943, 0.0, 5e-6);
    let rows = [
        ([1.0, -0.5], [1.0, -0.5], dense * 1.5),
        ([1.0, 1.0], [0.0, 0.0], c1 - c2),
        ([0.5, 2.0], [0.25, 0.25], c1 * 0.25 - c2 * 1.75),
    ];
    for (seed, (r, kappa, expected)) in rows.into_iter().enumerate() {
        let (mean, error) = gdas_mean(r, kappa, 100_000, seed as u64);
        let z = (mean - expected) / error;
        assert!(z.abs() < 5.2, "row {seed}: mean {mean}, expected {expected}, z = {z}");
        // The true gradient of the linear reward, μ_1 μ_2 (r_1 − r_2), is far away: the estimator is biased.
        let truth = 2.0 / 9.0 * (r[0] - r[1]);
        assert!(((mean - truth) / error).abs() > 20.0, "row {seed}");
    }
}

// ---------------------------------------------------------------- NASP

fn nasp(counts: &[usize], theta: ThetaSettings) -> Nasp {
    Nasp::new(&shape(counts), theta).unwrap()
}

/// `θ − min(0, min θ)`, then over `max(1, max θ)`.
fn into_box(row: &[f64]) -> Vec<f64> {
    let lowest = row.iter().copied().fold(f64::INFINITY, f64::min);
    let lifted: Vec<f64> = row.iter().map(|x| x - if lowest < 0.0 { lowest } else { 0.0 }).collect();
    let highest = lifted.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    lifted.iter().map(|x| x / if highest > 1.0 { highest } else { 1.0 }).collect()
}

#[test]
fn nasp_moves_theta_along_the_slopes_of_the_one_hot_and_projects() {
    // Steps of one half: without the projection, θ leaves the box at once.
    for settings in theta_settings().into_iter().map(|settings| ThetaSettings { learning_rate: 0.5, ..settings }) {
        let mut strategy = nasp(&COUNTS, settings);
        let mut plain = PlainTheta::new(&COUNTS, settings);
        let (mut lifted, mut scaled, mut modes) = (false, false, std::collections::BTreeSet::new());
        for t in 0..16 {
            let (schedule, losses) = (t as f64 / 24.0, slopes(t));
            let step = at(schedule, schedule);
            let mut proposal = Proposal::new(&shape(&COUNTS));
            Strategy::propose(&mut strategy, &step, &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
            plain.theta = plain.theta.iter().map(|row| into_box(row)).collect();
            assert_all_close(&logits(&strategy), &flat(&plain.theta), PATH, PATH);
            let drawn = proposal.architecture().unwrap().choices().to_vec();
            for (row, &choice) in plain.theta.iter().zip(&drawn) {
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                // Up to the path's roundings, which may turn a tie.
                assert_close(row[choice], largest, PATH, 0.0);
            }
            assert!(proposal.active().values().iter().all(|active| *active), "dense");
            modes.insert(drawn);
            Strategy::learn(&mut strategy, &step, &[Answer::new(&proposal, &answer(Want::Gradient, 0.5, &losses))])
                .unwrap();
            let rewards: Rows<f64> = losses.iter().map(|row| row.iter().map(|slope| -slope).collect()).collect();
            plain.ascend(&rewards, schedule);
            lifted |= plain.theta.iter().flatten().any(|x| *x < 0.0);
            scaled |= plain.theta.iter().flatten().any(|x| *x > 1.0);
            plain.theta = plain.theta.iter().map(|row| into_box(row)).collect();
            assert_all_close(&logits(&strategy), &flat(&plain.theta), 4.0 * PATH, 4.0 * PATH);
            assert!(logits(&strategy).iter().all(|x| (0.0..=1.0).contains(x)), "inside the box");
        }
        if settings.epsilon < 0.1 && settings.clip_norm.is_none() {
            assert!(lifted && scaled && modes.len() > 1, "both halves of the projection and several modes were needed");
        }
    }
}

#[test]
fn nasp_projects_before_it_proposes_and_takes_the_first_of_equals() {
    let mut strategy = place(
        nasp(&COUNTS, ThetaSettings::toy()),
        &[vec![-1.0, 3.0, 1.0], vec![0.25, 0.25], vec![0.0, 0.5, 0.5, -0.0]],
    );
    let mut proposal = Proposal::new(&shape(&COUNTS));
    Strategy::propose(&mut strategy, &at(0.0, 0.0), &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
    // (−1, 3, 1) is lifted to (0, 4, 2), then scaled; rows inside the box stay.
    assert_eq!(logits(&strategy), [0.0, 1.0, 0.5, 0.25, 0.25, 0.0, 0.5, 0.5, 0.0]);
    assert_eq!(proposal.architecture().unwrap().choices(), [1, 0, 1]);
}

/// `θ` is not a softmax's logit here: a slope at one candidate moves that candidate alone, by Adam's first step, the rate.
#[test]
fn nasp_applies_the_gradient_straight_to_theta() {
    let settings = ThetaSettings { learning_rate: 0.25, ..ThetaSettings::toy() };
    let mut strategy = place(nasp(&[3], settings), &[vec![0.5, 0.25, 0.5]]);
    let mut proposal = Proposal::new(&shape(&[3]));
    Strategy::propose(&mut strategy, &at(0.0, 0.0), &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
    let feedback = answer(Want::Gradient, 0.0, &[vec![0.0, -3.0, 0.0]]);
    Strategy::learn(&mut strategy, &at(0.0, 0.0), &[Answer::new(&proposal, &feedback)]).unwrap();
    // ε beside a slope of 3 shortens the step by less than 10⁻⁸.
    assert_all_close(&logits(&strategy), &[0.5, 0.5, 0.5], 0.0, 1e-8);
}
