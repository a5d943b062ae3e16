//! ENAS against an LSTM written for the test: the conditionals, the distribution of what is drawn, the path of all parameters
//! from given losses (gradients by finite differences of `ln p(a)` and the entropies, a scalar Adam), the baseline, and that
//! a fixed reward table is learned.

use crate::common::*;
use advantage_nas::strategy::{Answer, Enas, EnasSettings, Feedback, Proposal, Step, StepKind, Strategy, Want};
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F64_SUMS, assert_all_close, assert_close, central_difference,
};
use advantage_nas::{Architecture, OpTable, Shape};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const COUNTS: [usize; 3] = [3, 2, 4];

fn shape() -> Shape {
    Shape::new(COUNTS).unwrap()
}

fn at(schedule: f64) -> Step {
    Step { kind: StepKind::Theta, progress: schedule, schedule }
}

/// Few units, and parameters so large that no gate is in its linear range.
fn settings() -> EnasSettings {
    EnasSettings { units: 3, initial_range: 1.5, baseline_decay: 0.8, ..EnasSettings::default() }
}

fn enas(settings: EnasSettings, seed: u64) -> Enas {
    Enas::new(&shape(), settings, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
}

fn parameters(strategy: &Enas) -> Vec<f64> {
    let state = strategy.save();
    let entry = state.get("controller").unwrap();
    state.f64("controller", entry.shape()[0]).unwrap().to_vec()
}

fn tell(strategy: &mut Enas, a: &[usize], loss: f64, step: Step) {
    let proposal = Proposal::one_hot(&shape(), &architecture(&shape(), a), Want::Loss).unwrap();
    let mut feedback = Feedback::new(&shape());
    feedback.begin(Want::Loss);
    feedback.loss = loss;
    strategy.learn(&step, &[Answer::new(&proposal, &feedback)]).unwrap();
}

// ---------------------------------------------------------------- the controller again

/// Takes rows of a matrix from the front of a list.
fn take(from: &mut &[f64], count: usize, length: usize) -> Rows<f64> {
    let (front, rest) = from.split_at(count * length);
    *from = rest;
    front.chunks(length).map(<[f64]>::to_vec).collect()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The conditional distributions of all edges along `a`. Parameters in the order of the saved state: start vector, weights (a row
/// per input), bias, embeddings of all edges but the last, output layers, output biases; gates in the order i, f, g, o.
fn conditionals(parameters: &[f64], units: usize, constant: f64, temperature: f64, a: &[usize]) -> Rows<f64> {
    let mut rest = parameters;
    let start = take(&mut rest, 1, units).remove(0);
    let weights = take(&mut rest, 2 * units, 4 * units);
    let bias = take(&mut rest, 1, 4 * units).remove(0);
    let embeddings: Vec<Rows<f64>> = COUNTS[..2].iter().map(|&count| take(&mut rest, count, units)).collect();
    let outputs: Vec<Rows<f64>> = COUNTS.iter().map(|&count| take(&mut rest, count, units)).collect();
    let output_biases: Rows<f64> = COUNTS.iter().map(|&count| take(&mut rest, 1, count).remove(0)).collect();
    assert!(rest.is_empty());
    let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
    let mut result = Vec::new();
    for edge in 0..COUNTS.len() {
        let x = if edge == 0 { &start } else { &embeddings[edge - 1][a[edge - 1]] };
        let input: Vec<f64> = x.iter().chain(&h).copied().collect();
        let gate = |index: usize| bias[index] + (0..2 * units).map(|k| weights[k][index] * input[k]).sum::<f64>();
        for unit in 0..units {
            let (i, f) = (sigmoid(gate(unit)), sigmoid(gate(units + unit)));
            let (g, o) = (gate(2 * units + unit).tanh(), sigmoid(gate(3 * units + unit)));
            c[unit] = f * c[unit] + i * g;
            h[unit] = o * c[unit].tanh();
        }
        let logit = |j: usize| {
            let z = output_biases[edge][j] + outputs[edge][j].iter().zip(&h).map(|(v, h)| v * h).sum::<f64>();
            constant * (z / temperature).tanh()
        };
        result.push(softmax(&(0..COUNTS[edge]).map(logit).collect::<Vec<_>>()));
    }
    result
}

fn along(parameters: &[f64], settings: EnasSettings, a: &[usize]) -> Rows<f64> {
    conditionals(parameters, settings.units, settings.tanh_constant, settings.temperature, a)
}

fn log_probability(rows: &[Vec<f64>], a: &[usize]) -> f64 {
    rows.iter().zip(a).map(|(row, &choice)| row[choice].ln()).sum()
}

fn entropy(rows: &[Vec<f64>]) -> f64 {
    rows.iter().flatten().map(|p| -p * p.ln()).sum()
}

/// Edge after edge the most probable candidate.
fn greedy(parameters: &[f64], settings: EnasSettings) -> Vec<usize> {
    let mut a = vec![0; COUNTS.len()];
    for edge in 0..COUNTS.len() {
        let row = &along(parameters, settings, &a)[edge];
        a[edge] = (0..row.len()).max_by(|&j, &k| row[j].total_cmp(&row[k])).unwrap();
    }
    a
}

// ---------------------------------------------------------------- distribution

#[test]
fn observers_see_the_conditionals_along_the_greedy_architecture() {
    for seed in 0..10 {
        let strategy = enas(settings(), seed);
        let mode = greedy(&parameters(&strategy), settings());
        let mut seen = Architecture::first(&shape());
        strategy.mode_into(&mut seen);
        assert_eq!(seen.choices(), mode);
        let rows = along(&parameters(&strategy), settings(), &mode);
        let mut probabilities = OpTable::filled(&shape(), 9.0);
        strategy.probabilities_into(&mut probabilities);
        assert_all_close(probabilities.values(), &rows.concat(), F64_SUMS, 0.0);
        assert_close(strategy.entropy(), entropy(&rows), F64_SUMS, 0.0);
    }
}

/// Chi-square of drawn architectures against the product of the conditionals, over all 24: N = 20 000 each, seeds 0 to 2,
/// α = 3·10⁻⁴ over three rows.
#[test]
fn architectures_are_drawn_from_the_product_of_the_conditionals() {
    for seed in 0..3 {
        let mut strategy = enas(settings(), seed);
        let all: Vec<Architecture> = shape().enumerate().collect();
        let of = parameters(&strategy);
        let probability = |a: &Architecture| log_probability(&along(&of, settings(), a.choices()), a.choices()).exp();
        let probabilities: Vec<f64> = all.iter().map(probability).collect();
        // The edges depend on each other: not the product of the marginals.
        let marginal = |edge: usize, choice: usize| -> f64 {
            all.iter().zip(&probabilities).filter(|(a, _)| a.choice(edge) == choice).map(|(_, p)| p).sum()
        };
        let dependence: f64 = all
            .iter()
            .zip(&probabilities)
            .map(|(a, p)| (p - (0..3).map(|edge| marginal(edge, a.choice(edge))).product::<f64>()).abs())
            .sum();
        assert!(dependence > 1e-3, "{dependence}");
        let mut observed = vec![0; all.len()];
        let mut rng = ChaCha8Rng::seed_from_u64(100 + seed);
        let mut proposal = Proposal::new(&shape());
        for _ in 0..20_000 {
            strategy.propose(&at(0.0), &mut rng, &mut proposal).unwrap();
            observed[all.iter().position(|a| Some(a) == proposal.architecture()).unwrap()] += 1;
        }
        let p = chi_square_p(&observed, &probabilities);
        assert!(p > 1e-4, "seed {seed}: p = {p}");
    }
}

// ---------------------------------------------------------------- updates

/// Every parameter follows Adam on `−((r − b) ln p(a) + β Σ_i H_i)`, with the gradient by central differences and `b` the average of
/// earlier rewards. The proposals come from elsewhere, the first before anything was proposed, and some twice in a row:
/// activations of older parameters must not be used. The rate is constant whatever the schedule.
#[test]
fn parameters_follow_finite_differences() {
    // A large ε keeps the update smooth where a slope is small: an error of a slope becomes 5 times as large in the parameter.
    let settings =
        EnasSettings { learning_rate: 0.05, epsilon: 0.01, entropy_weight: 0.3, beta1: 0.8, beta2: 0.9, ..settings() };
    let draws = [[0, 0, 0], [0, 0, 0], [2, 1, 3], [2, 1, 3], [1, 0, 2], [0, 1, 1], [2, 0, 0], [1, 1, 3]];
    for (constant, temperature) in [(2.5, 5.0), (1.1, 0.7)] {
        let settings = EnasSettings { tanh_constant: constant, temperature, ..settings };
        let mut strategy = enas(settings, 7);
        let mut expected = parameters(&strategy);
        let mut adam = vec![ScalarAdam::new(0.05, 0.8, 0.9, 0.01); expected.len()];
        let mut average: Option<f64> = None;
        for (t, a) in draws.iter().enumerate() {
            let reward = 0.4 + 0.9 * (t as f64 * 1.7).sin();
            let weight = reward - average.unwrap_or(reward);
            average = Some(average.map_or(reward, |y| 0.2 * reward + 0.8 * y));
            let objective = |parameters: &[f64]| {
                let rows = along(parameters, settings, a);
                weight * log_probability(&rows, a) + 0.3 * entropy(&rows)
            };
            let mut next = expected.clone();
            for index in 0..expected.len() {
                let slope = central_difference(CENTRAL_STEP, |by| {
                    let mut moved = expected.clone();
                    moved[index] += by;
                    objective(&moved)
                });
                next[index] = adam[index].step(expected[index], -slope);
            }
            let before = expected;
            expected = next;
            tell(&mut strategy, a, -reward, at(t as f64 / 8.0));
            // Eight steps, each with five times the error of its slopes.
            let tolerance = 40.0 * CENTRAL_DIFFERENCE;
            assert_all_close(&parameters(&strategy), &expected, tolerance, tolerance);
            let moved = before.iter().zip(&expected).filter(|(x, y)| (*x - *y).abs() > 1e3 * tolerance).count();
            assert!(moved > expected.len() / 3, "only {moved} of {} parameters moved", expected.len());
        }
    }
}

/// A step after `propose` is the same as one with the same architecture from elsewhere.
#[test]
fn learning_from_the_last_proposal_is_no_different() {
    let mut proposed = enas(settings(), 3);
    let mut told = enas(settings(), 3);
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    for t in 0..20 {
        let mut proposal = Proposal::new(&shape());
        proposed.propose(&at(0.0), &mut rng, &mut proposal).unwrap();
        let a = proposal.architecture().unwrap().choices().to_vec();
        let loss = (t as f64).cos();
        tell(&mut proposed, &a, loss, at(0.0));
        tell(&mut told, &a, loss, at(0.0));
        assert_eq!(parameters(&proposed), parameters(&told));
    }
}

/// After a restore, what was proposed before with other parameters is not used.
#[test]
fn a_restore_forgets_the_last_proposal() {
    let saved = enas(settings(), 4).save();
    let mut strategy = enas(settings(), 5);
    let mut proposal = Proposal::new(&shape());
    strategy.propose(&at(0.0), &mut ChaCha8Rng::seed_from_u64(0), &mut proposal).unwrap();
    let a = proposal.architecture().unwrap().choices().to_vec();
    let mut fresh = enas(settings(), 4);
    strategy.restore(&saved).unwrap();
    for loss in [0.5, -1.0] {
        tell(&mut strategy, &a, loss, at(0.0));
        tell(&mut fresh, &a, loss, at(0.0));
        assert_eq!(parameters(&strategy), parameters(&fresh));
    }
}

#[test]
fn the_first_evaluation_only_starts_the_baseline() {
    let settings = EnasSettings { entropy_weight: 0.0, learning_rate: 0.1, ..settings() };
    let mut strategy = enas(settings, 1);
    let before = parameters(&strategy);
    tell(&mut strategy, &[2, 1, 0], 5.0, at(0.0));
    assert_eq!(parameters(&strategy), before);
    assert_eq!(strategy.save().optional("baseline", 1).unwrap(), [Some(-5.0)]);
    // The same reward again: nothing. A better one: its architecture becomes more probable; a worse one: less.
    tell(&mut strategy, &[2, 1, 0], 5.0, at(0.0));
    assert_eq!(parameters(&strategy), before);
    let likely = |strategy: &Enas| log_probability(&along(&parameters(strategy), settings, &[2, 1, 0]), &[2, 1, 0]);
    let saved = strategy.save();
    for (loss, rises) in [(4.0, true), (6.0, false)] {
        strategy.restore(&saved).unwrap();
        let start = likely(&strategy);
        tell(&mut strategy, &[2, 1, 0], loss, at(0.0));
        assert_eq!(likely(&strategy) > start, rises, "loss {loss}");
        // y ← 0.2 new + 0.8 y
        let average = strategy.save().optional("baseline", 1).unwrap()[0].unwrap();
        assert_close(average, 0.2 * -loss + 0.8 * -5.0, F64_SUMS, 0.0);
    }
}

/// A table of 24 losses with interactions between the edges, where the best at one edge depends on the others.
fn loss_of(a: &[usize]) -> f64 {
    if a == [1, 0, 2] { 0.0 } else { 0.5 + 0.5 * (((5 * a[0] + 3 * a[1] + 7 * a[2]) % 8) as f64 / 8.0) }
}

/// Ascends: from a fixed table, the greedy architecture becomes the best of 24, for three seeds, and likely.
#[test]
fn the_best_architecture_of_a_fixed_table_is_found() {
    let settings = EnasSettings { units: 12, learning_rate: 0.01, entropy_weight: 0.0, ..EnasSettings::default() };
    for seed in 0..3 {
        let mut strategy = enas(settings, seed);
        let mut rng = ChaCha8Rng::seed_from_u64(50 + seed);
        let mut proposal = Proposal::new(&shape());
        for _ in 0..2500 {
            strategy.propose(&at(0.0), &mut rng, &mut proposal).unwrap();
            let a = proposal.architecture().unwrap().choices().to_vec();
            tell(&mut strategy, &a, loss_of(&a), at(0.0));
        }
        let mut mode = Architecture::first(&shape());
        strategy.mode_into(&mut mode);
        assert_eq!(mode.choices(), [1, 0, 2], "seed {seed}");
        let probability = log_probability(&along(&parameters(&strategy), settings, &[1, 0, 2]), &[1, 0, 2]).exp();
        // Before, it was 1/24.
        assert!(probability > 0.5, "seed {seed}: {probability}");
    }
}
