//! AdvantageNAS with the optimal baseline (claim C15): its updates against an independent reimplementation in which every
//! baseline is made of past samples only; unbiased by enumeration whatever the averages; and with the true averages the second
//! moment is `V*`, the variance of an edge of two candidates zero.

use crate::common::*;
use advantage_nas::estimator::ZeroRule;
use advantage_nas::strategy::{
    AdvantageBaseline, AdvantageKind, AdvantageNas, AdvantageSettings, Answer, Feedback, ProductStrategy, Proposal,
    Step, StepKind, Strategy, ThetaSettings, Want,
};
use advantage_nas::tolerance::{F64_FEW_ROUNDINGS, F64_SUMS, assert_all_close, assert_close};
use advantage_nas::{Edge, SearchSpace};

const DECAY: f64 = 0.8;

fn step() -> Step {
    Step { kind: StepKind::Theta, progress: 0.0, schedule: 0.0 }
}

fn optimal(space: &SearchSpace, theta: ThetaSettings) -> AdvantageNas {
    let settings = AdvantageSettings {
        kind: AdvantageKind::FirstOrder,
        zero_rule: ZeroRule::WorstOfOthers,
        decay: DECAY,
        baseline: AdvantageBaseline::Optimal,
    };
    AdvantageNas::new(space, theta, settings).unwrap()
}

/// Tells `∂loss/∂a = −rewards` at the architecture.
fn tell(strategy: &mut AdvantageNas, a: &[usize], rewards: &[Vec<f64>]) {
    let shape = Strategy::shape(strategy).clone();
    let proposal = Proposal::one_hot(&shape, &architecture(&shape, a), Want::Gradient).unwrap();
    let mut feedback = Feedback::new(&shape);
    feedback.begin(Want::Gradient);
    feedback.gradient = table(rewards).map(|reward| -reward);
    Strategy::learn(strategy, &step(), &[Answer::new(&proposal, &feedback)]).unwrap();
}

/// `w_j ∝ μ_j (1 − 2 μ_j + Σ_k μ_k²)`.
fn weights(mu: &[f64]) -> Vec<f64> {
    let q: f64 = mu.iter().map(|p| p * p).sum();
    mu.iter().map(|p| p * (1.0 - 2.0 * p + q) / (1.0 - q)).collect()
}

/// `y = new` at first, then `0.2 new + 0.8 y`.
fn average(past: &[f64]) -> Option<f64> {
    past.iter().copied().reduce(|y, new| (1.0 - DECAY) * new + DECAY * y)
}

#[test]
fn baselines_are_made_of_past_samples_only() {
    // Candidate 2 of the first edge is the zero operation, whose advantage is footnote 4's before any baseline.
    let edges = vec![
        Edge::new("first", ["a", "b", "none"]).with_zero(2),
        Edge::new("second", ["a", "b"]),
        Edge::new("third", ["a", "b", "c", "d"]),
    ];
    let space = SearchSpace::new(edges).unwrap();
    let counts = [3, 2, 4];
    let settings = ThetaSettings { learning_rate: 0.1, ..ThetaSettings::toy() };
    let mut strategy = optimal(&space, settings);
    let mut theta: Rows<f64> = counts.iter().map(|&count| vec![1.0; count]).collect();
    for row in &mut theta {
        row[0] = 1.000001;
    }
    let mut adam: Rows<ScalarAdam> =
        counts.iter().map(|&count| vec![ScalarAdam::new(0.1, 0.9, 0.999, 1e-8); count]).collect();
    // All earlier advantages of every candidate, raw for footnote 4 and after it for the baseline.
    let mut raw: [Vec<f64>; 3] = Default::default();
    let mut past: Vec<Rows<f64>> = counts.iter().map(|&count| vec![vec![]; count]).collect();
    let draws = [
        [0, 1, 3],
        [2, 0, 3],
        [1, 1, 0],
        [2, 1, 2],
        [0, 0, 3],
        [1, 0, 1],
        [2, 1, 1],
        [0, 1, 2],
        [2, 0, 0],
        [1, 1, 3],
        [1, 0, 2],
        [2, 0, 1],
    ];
    let mut subtracted = 0;
    for (t, a) in draws.iter().enumerate() {
        let reward = |edge: usize, j: usize| ((7 * t + 3 * edge + 5 * j) % 11) as f64 / 4.0 - 1.2;
        let mut rewards: Rows<f64> =
            counts.iter().enumerate().map(|(edge, &count)| (0..count).map(|j| reward(edge, j)).collect()).collect();
        rewards[0][2] = 0.0;
        rewards[0][1] = -0.4 - 0.1 * (t % 4) as f64;
        tell(&mut strategy, a, &rewards);
        let mut advantages = Vec::new();
        for edge in 0..3 {
            let mut advantage = rewards[edge][a[edge]];
            if edge == 0 {
                raw[a[0]].push(advantage);
                if a[0] == 2 {
                    advantage = raw[..2].iter().filter_map(|past| average(past)).reduce(f64::min).unwrap_or(0.0);
                }
            }
            let mu = softmax(&theta[edge]);
            let seen = weights(&mu).into_iter().zip(&past[edge]).filter_map(|(w, past)| Some((w, average(past)?)));
            let (sum, total) = seen.fold((0.0, 0.0), |(sum, total), (w, y)| (sum + w * y, total + w));
            let baseline = if total > 0.0 { sum / total } else { 0.0 };
            subtracted += usize::from(baseline != 0.0);
            past[edge][a[edge]].push(advantage);
            advantages.push(advantage - baseline);
            for (j, p) in mu.iter().enumerate() {
                let slope = (advantage - baseline) * (if j == a[edge] { 1.0 } else { 0.0 } - p);
                theta[edge][j] = adam[edge][j].step(theta[edge][j], -slope);
            }
        }
        assert_all_close(strategy.advantages(), &advantages, F64_SUMS, F64_SUMS);
        assert_all_close(strategy.theta().policy().logits().values(), &theta.concat(), F64_SUMS, F64_SUMS);
    }
    // In all steps but the first, at all edges.
    assert_eq!(subtracted, 3 * 11);
}

/// The estimate for every architecture of a linear reward, with its probability, given the averages.
fn estimates(mu: &[Vec<f64>], rewards: &[Vec<f64>], averages: &[Vec<Option<f64>>]) -> Vec<(f64, Rows<f64>)> {
    let space = SearchSpace::anonymous(counts(mu)).unwrap();
    let logits = table(mu).map(|p| p.ln());
    let mut strategy = optimal(&space, ThetaSettings::toy());
    strategy.theta_mut().policy_mut().update(|values| *values = logits).unwrap();
    let mut state = strategy.save();
    state.insert_optional("candidate_averages", &averages.concat());
    let all = choices(&counts(mu)).into_iter().map(|a| {
        strategy.restore(&state).unwrap();
        tell(&mut strategy, &a, rewards);
        let probability: f64 = mu.iter().zip(&a).map(|(row, &choice)| row[choice]).product();
        (probability, rows(strategy.estimate()))
    });
    all.collect()
}

/// `Σ_a p(a) f(δ(a))` for every edge.
fn mean(estimates: &[(f64, Rows<f64>)], edge: usize, f: impl Fn(&[f64]) -> f64) -> f64 {
    estimates.iter().map(|(probability, estimate)| probability * f(&estimate[edge])).sum()
}

fn instance() -> (Rows<f64>, Rows<f64>) {
    let mu = vec![vec![0.5, 0.3, 0.2], vec![0.85, 0.15], vec![0.25; 4]];
    (mu, vec![vec![1.0, -0.7, 2.5], vec![-3.0, 0.4], vec![0.2, 1.9, -1.1, 0.6]])
}

fn gradient(mu: &[f64], rewards: &[f64]) -> Vec<f64> {
    let mean: f64 = mu.iter().zip(rewards).map(|(p, r)| p * r).sum();
    mu.iter().zip(rewards).map(|(p, r)| p * (r - mean)).collect()
}

#[test]
fn unbiased_whatever_the_averages() {
    let (mu, rewards) = instance();
    let averages = [
        vec![vec![None; 3], vec![None; 2], vec![None; 4]],
        vec![
            vec![Some(100.0), None, Some(-3.0)],
            vec![None, Some(-7.5)],
            vec![Some(1.0), Some(2.0), None, Some(f64::from(u16::MAX))],
        ],
        rewards.iter().map(|row| row.iter().copied().map(Some).collect()).collect(),
    ];
    let mut estimated = Vec::new();
    for averages in &averages {
        let estimates = estimates(&mu, &rewards, averages);
        for edge in 0..3 {
            for (j, expected) in gradient(&mu[edge], &rewards[edge]).into_iter().enumerate() {
                let mean = mean(&estimates, edge, |row| row[j]);
                // Baselines of up to 65 535 cancel.
                assert_close(mean, expected, F64_SUMS, 65_536.0 * F64_FEW_ROUNDINGS);
            }
        }
        estimated.push(estimates[0].1.clone());
    }
    assert!(estimated[0] != estimated[1] && estimated[1] != estimated[2], "the averages matter");
}

/// With the true averages: `E‖δ‖² = V* = Σ_j μ_j d_j (r_j − r̃)²`; for two candidates that is `‖∇‖²`, so that every estimate is
/// the gradient; for the uniform policy the variance is `(1 − 2/n) Var_μ(r)`. No other constant does better.
#[test]
fn true_averages_give_the_smallest_variance() {
    let (mu, rewards) = instance();
    let truth: Vec<Vec<Option<f64>>> = rewards.iter().map(|row| row.iter().copied().map(Some).collect()).collect();
    let best = estimates(&mu, &rewards, &truth);
    let square = |row: &[f64]| row.iter().map(|value| value * value).sum::<f64>();
    let mut variances = Vec::new();
    for edge in 0..3 {
        let (mu, r) = (&mu[edge], &rewards[edge]);
        let centre: f64 = weights(mu).iter().zip(r).map(|(w, r)| w * r).sum();
        let q = square(mu);
        let smallest: f64 = mu.iter().zip(r).map(|(p, r)| p * (1.0 - 2.0 * p + q) * (r - centre).powi(2)).sum();
        let moment = mean(&best, edge, square);
        assert_close(moment, smallest, F64_SUMS, 0.0);
        variances.push(moment - square(&gradient(mu, r)));
    }
    for (_, estimate) in &best {
        assert_all_close(&estimate[1], &gradient(&mu[1], &rewards[1]), F64_SUMS, 0.0);
    }
    assert_close(variances[1], 0.0, 0.0, F64_SUMS);
    let centre: f64 = rewards[2].iter().sum::<f64>() / 4.0;
    let spread: f64 = rewards[2].iter().map(|r| (r - centre).powi(2) / 4.0).sum();
    assert_close(variances[2], (1.0 - 2.0 / 4.0) * spread, F64_SUMS, 0.0);
    // Averages that are all the same are a constant baseline of any size: around r̃, the second moment grows.
    for constant in [-2.0, -0.5, 0.0, 0.7, 3.0] {
        let same: Vec<Vec<Option<f64>>> = mu.iter().map(|row| vec![Some(constant); row.len()]).collect();
        let other = estimates(&mu, &rewards, &same);
        for edge in 0..3 {
            let centre: f64 = weights(&mu[edge]).iter().zip(&rewards[edge]).map(|(w, r)| w * r).sum();
            let extra = (1.0 - square(&mu[edge])) * (constant - centre).powi(2);
            assert!(extra > 0.0);
            assert_close(mean(&other, edge, square), mean(&best, edge, square) + extra, F64_SUMS, 0.0);
        }
    }
}
