//! C1 to C4: weights, score, REINFORCE, the supremum of the objective.

use advantage_nas::random::{Purpose, Streams};
use advantage_nas::strategy::{Method, MethodSettings, Proposal, Step, StepKind, Want};
use advantage_nas::tolerance::{F64_SUMS, within};
use advantage_nas::{Architecture, OpTable, Policy, SearchSpace, Shape};

use super::evidence::all;
use super::{Effort, Evidence};
use crate::dual::Dual;
use crate::enumerate::{self, Estimator, LIMIT, Law};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::generate::{Corner, Source, survival_log10};
use crate::number::{Rational, rational, sum, to_f64, whole};
use crate::reward::{Affine, Reward};
use crate::statistics::{Bonferroni, chi_square_p, mean_p};

pub(super) fn describe(probabilities: &OpTable<Rational>) -> String {
    let rows = (0..probabilities.shape().edges()).map(|edge| {
        let row: Vec<String> = probabilities.edge(edge).iter().map(ToString::to_string).collect();
        format!("({})", row.join(", "))
    });
    format!("mu = {}", rows.collect::<Vec<_>>().join(", "))
}

/// Whether a probability, as a power of ten, is one in ten to the fifty at most.
pub(super) fn improbable(log10: f64) -> bool {
    log10 <= -50.0
}

/// C1.
pub fn weights_sum_to_one<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact("one-hot weights sum to 1", effort.times(200), |index| {
        let mut source = Source::instance(effort.seed, "C1 one-hot", index);
        let shape = source.shape(3, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mut architecture = Architecture::first(&shape);
        code.sample(&policy, source.rng(), &mut architecture);
        let proposal = Proposal::one_hot(&shape, &architecture, Want::Loss)?;
        Ok(wrong_sums(proposal.weights(), |total| total == 1.0))
    })?;
    evidence.exact("softmax weights sum to 1 (rational exponentials)", effort.times(200), |index| {
        let mut source = Source::instance(effort.seed, "C1 softmax", index);
        let shape = source.shape(3, 4);
        let mu = source.probabilities(&shape, Corner::of(index));
        let softmax = (0..shape.edges()).map(|edge| enumerate::softmax_derivative(mu.edge(edge), 0));
        // A sum of one that stays one: the derivative of the sum is zero.
        let one = Dual::constant(whole(1));
        Ok(softmax.into_iter().any(|row| sum(row) != one).then(|| describe(&mu)))
    })?;
    evidence.exact("the policy's and the Gumbel-softmax's sum to 1 up to rounding", effort.times(300), |index| {
        let mut source = Source::instance(effort.seed, "C1 Gumbel", index);
        let shape = source.shape(3, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mut weights = policy.probabilities().clone();
        let near = |total| within(total, 1.0, F64_SUMS);
        if let Some(problem) = wrong_sums(&weights, near) {
            return Ok(Some(problem));
        }
        code.gumbel_softmax(&policy, [0.1, 1.0, 10.0][index as usize % 3], source.rng(), &mut weights)?;
        Ok(wrong_sums(&weights, near))
    })?;
    evidence.exact("two gates of weight 1 sum to 2", effort.times(100), |index| {
        let mut source = Source::instance(effort.seed, "C1 pairs", index);
        let shape = source.full_shape(2, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mut pairs = vec![[0, 0]; shape.edges()];
        code.sample_two(&policy, source.rng(), &mut pairs)?;
        let mut proposal = Proposal::new(&shape);
        proposal.set_pairs(&pairs, Want::Gradient)?;
        Ok(wrong_sums(proposal.weights(), |total| total == 2.0))
    })?;
    let methods = Method::ALL;
    evidence.exact("what each method proposes", effort.times(10) * methods.len() as u64, |index| {
        let method = *methods.iter().cycle().nth(index as usize).expect("there are methods");
        let space = SearchSpace::anonymous([3, 2, 4])?;
        let mut strategy = method.build(&space, &MethodSettings::toy(), &Streams::new(effort.seed), 0)?;
        let mut proposal = Proposal::new(space.shape());
        let mut rng = Streams::new(effort.seed).at(Purpose::Architecture, 0, index);
        let step = Step { kind: StepKind::Theta, progress: 0.5, schedule: 0.5 };
        strategy.propose(&step, &mut rng, &mut proposal)?;
        let expected = if method == Method::ProxylessNas { 2.0 } else { 1.0 };
        Ok(wrong_sums(proposal.weights(), |total| within(total, expected, F64_SUMS))
            .map(|problem| format!("{method}: {problem}")))
    })?;
    Ok(evidence)
}

fn wrong_sums(weights: &OpTable<f64>, right: impl Fn(f64) -> bool) -> Option<String> {
    (0..weights.shape().edges())
        .map(|edge| weights.edge(edge).iter().sum::<f64>())
        .find(|total| !right(*total))
        .map(|total| format!("weights sum to {total}"))
}

/// A policy with logits in `−3..=3`, in 32nds.
pub(super) fn random_policy(source: &mut Source, shape: &Shape) -> Result<Policy> {
    Ok(Policy::new(OpTable::from_fn(shape, |_, _| source.whole(-96, 96) as f64 / 32.0))?)
}

/// C2.
pub fn score<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact("a - mu is the derivative of log p(a) by dual numbers", effort.times(150), |index| {
        let mut source = Source::instance(effort.seed, "C2", index);
        let shape = source.shape(3, 4);
        let mu = source.probabilities(&shape, Corner::of(index));
        let mut out = OpTable::filled(&shape, whole(0));
        for (_, architecture) in Law::product(&mu, LIMIT)?.atoms() {
            code.score(architecture, &mu, &mut out)?;
            for edge in 0..shape.edges() {
                for moved in 0..shape.candidates(edge) {
                    // d log p = dp / p, and the other edges' factors cancel.
                    let p = &enumerate::softmax_derivative(mu.edge(edge), moved)[architecture.choice(edge)];
                    if out[(edge, moved)] != p.derivative.clone() / &p.value {
                        return Ok(Some(format!("{}, a = {architecture}", describe(&mu))));
                    }
                }
            }
        }
        Ok(None)
    })?;
    let mut differences = Vec::new();
    let instances = effort.times(50);
    for index in 0..instances {
        let mut source = Source::instance(effort.seed, "C2 differences", index);
        let shape = source.shape(3, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mut architecture = Architecture::first(&shape);
        code.sample(&policy, source.rng(), &mut architecture);
        let mut out = policy.probabilities().clone();
        code.score(&architecture, policy.probabilities(), &mut out)?;
        let h = advantage_nas::tolerance::CENTRAL_STEP;
        for at in 0..shape.len() {
            let mut value = [0.0; 2];
            for (value, h) in value.iter_mut().zip([h, -h]) {
                let mut moved = policy.clone();
                moved.update(|logits| logits.values_mut()[at] += h)?;
                *value = moved.log_probability(&architecture)?;
            }
            differences.push(((value[0] - value[1]) / (2.0 * h) - out.values()[at]).abs());
        }
    }
    evidence.condition(
        "central differences of the policy's log-probability",
        differences.iter().all(|difference| *difference <= advantage_nas::tolerance::CENTRAL_DIFFERENCE),
        format!(
            "{} logits of {instances} policies, largest deviation {:.1e}",
            differences.len(),
            differences.iter().copied().fold(0.0, f64::max)
        ),
    );
    let (draws, rows) = (effort.times(20_000), 12);
    let (mut counts_p, mut score_p) = (Bonferroni::default(), Bonferroni::default());
    for row in 0..rows {
        let mut source = Source::instance(effort.seed, "C2 sampler", row);
        let shape = source.full_shape(2, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mu = policy.probabilities().clone();
        let all: Vec<Architecture> = shape.enumerate().collect();
        let probabilities: Vec<f64> = all.iter().map(|a| enumerate::product_probability(&mu, a)).collect();
        let mut counts = vec![0u64; all.len()];
        let mut total = OpTable::filled(&shape, 0.0);
        let mut out = total.clone();
        let mut architecture = Architecture::first(&shape);
        for _ in 0..draws {
            code.sample(&policy, source.rng(), &mut architecture);
            let index = architecture.choice(0) * shape.candidates(1) + architecture.choice(1);
            counts[index] += 1;
            code.score(&architecture, &mu, &mut out)?;
            total.values_mut().iter_mut().zip(out.values()).for_each(|(sum, value)| *sum += value);
        }
        counts_p.add(chi_square_p(&counts, &probabilities));
        for (sum, p) in total.values().iter().zip(mu.values()) {
            score_p.add(mean_p(*sum, draws, 0.0, p * (1.0 - p)));
        }
    }
    let detail = format!("{rows} policies, {draws} draws each");
    evidence.statistical("sampled architectures against p (chi-square)", rows * draws, &counts_p, detail.clone());
    evidence.statistical("the mean score is zero", rows * draws, &score_p, detail);
    Ok(evidence)
}

/// C3.
pub fn reinforce_is_unbiased<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let instances = effort.times(150);
    evidence.exact("E[R (a - mu)] = grad J, any table of rewards, any constant baseline", instances, |index| {
        let mut source = Source::instance(effort.seed, "C3", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
        let plain = enumerate::moments(code, &Estimator::Reinforce, &reward, &mu)?;
        let centred = enumerate::moments(code, &Estimator::Baseline(source.reward()), &reward, &mu)?;
        Ok(([plain.expectation, centred.expectation] != [gradient.clone(), gradient]).then(|| describe(&mu)))
    })?;
    let survival = survival_log10(7, instances / 2);
    evidence.condition(
        "a false identity would survive with probability at most (Schwartz, Zippel)",
        // Cleared of denominators, both sides have degree at most 6 in the weights and 1 in the rewards.
        improbable(survival),
        format!("10^{survival:.0}"),
    );
    evidence.exact("the average of two samples, Eq. (3), over all pairs", effort.times(40), |index| {
        let mut source = Source::instance(effort.seed, "C3 mean", index);
        let shape = source.shape(2, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let law = Law::product(&mu, LIMIT)?;
        let mut total = enumerate::Moments::zero(&shape);
        let mut out = OpTable::filled(&shape, whole(0));
        for (p, first) in law.atoms() {
            for (q, second) in law.atoms() {
                let samples = [(reward.at(first), first.clone()), (reward.at(second), second.clone())];
                code.reinforce_mean(&samples, &mu, &mut out)?;
                total.add(&(p.clone() * q), &out);
            }
        }
        // The mean of two independent estimates has their expectation and half their variance.
        let one = enumerate::moments(code, &Estimator::Reinforce, &reward, &mu)?;
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
        let halved: Vec<Rational> = one.variance().into_iter().map(|variance| variance / whole(2)).collect();
        let found = (total.expectation.clone(), total.variance());
        Ok((found != (gradient, halved)).then(|| describe(&mu)))
    })?;
    sample_moments(code, effort, "C3 sampled", &Estimator::Reinforce, &mut evidence)?;
    Ok(evidence)
}

/// The estimator on real samples of the policy: its mean and second moment against the exact ones.
pub(super) fn sample_moments<E: Estimators>(
    code: &E,
    effort: &Effort,
    stream: &str,
    estimator: &Estimator<f64>,
    evidence: &mut Evidence,
) -> Result<()> {
    let (rows, draws) = (8, effort.times(20_000));
    let (mut means, mut seconds) = (Bonferroni::default(), Bonferroni::default());
    for row in 0..rows {
        let mut source = Source::instance(effort.seed, stream, row);
        let shape = source.full_shape(3, 3);
        let policy = random_policy(&mut source, &shape)?;
        let mu = policy.probabilities();
        let rewards = OpTable::from_fn(&shape, |_, _| to_f64(&source.reward()));
        let reward = Affine::linear(rewards);
        // Exact moments of every coordinate and of the squared norm of every edge, up to the fourth power.
        let gradient = enumerate::gradient(|a| reward.at(a), mu)?;
        let law = Law::product(mu, LIMIT)?;
        let mut squares = vec![0.0; shape.len()];
        let mut norms = vec![[0.0; 2]; shape.edges()];
        let mut out = OpTable::filled(&shape, 0.0);
        for (p, a) in law.atoms() {
            enumerate::run(code, estimator, &reward, mu, a, &mut out)?;
            squares.iter_mut().zip(out.values()).for_each(|(sum, value)| *sum += p * value * value);
            for (edge, norm) in norms.iter_mut().enumerate() {
                let square = crate::number::norm2(out.edge(edge));
                norm[0] += p * square;
                norm[1] += p * square * square;
            }
        }
        let mut sums = vec![0.0; shape.len()];
        let mut norm_sums = vec![0.0; shape.edges()];
        let mut architecture = Architecture::first(&shape);
        for _ in 0..draws {
            code.sample(&policy, source.rng(), &mut architecture);
            enumerate::run(code, estimator, &reward, mu, &architecture, &mut out)?;
            sums.iter_mut().zip(out.values()).for_each(|(sum, value)| *sum += value);
            for (edge, sum) in norm_sums.iter_mut().enumerate() {
                *sum += crate::number::norm2(out.edge(edge));
            }
        }
        for ((sum, mean), square) in sums.iter().zip(gradient.values()).zip(&squares) {
            means.add(mean_p(*sum, draws, *mean, square - mean * mean));
        }
        for (sum, norm) in norm_sums.iter().zip(&norms) {
            seconds.add(mean_p(*sum, draws, norm[0], norm[1] - norm[0] * norm[0]));
        }
    }
    let detail = format!("{rows} instances, {draws} draws each");
    evidence.statistical("the sampled mean is the gradient", rows * draws, &means, detail.clone());
    evidence.statistical("the sampled second moment is the exact one", rows * draws, &seconds, detail);
    Ok(())
}

/// C4.
pub fn supremum<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact("J <= max R, with equality at the best vertex", effort.times(200), |index| {
        let mut source = Source::instance(effort.seed, "C4", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let best = shape.enumerate().max_by_key(|a| reward.at(a)).expect("a space has an architecture");
        let maximum = reward.at(&best);
        let vertex = crate::reward::one_hot(&shape, &best, None);
        let holds =
            all([enumerate::objective(&reward, &mu)? <= maximum, enumerate::objective(&reward, &vertex)? == maximum]);
        Ok((!holds).then(|| describe(&mu)))
    })?;
    evidence.exact(
        "J rises to max R as the best logits grow, within range * (1 - p(a*))",
        effort.times(60),
        |index| {
            let mut source = Source::instance(effort.seed, "C4 limit", index);
            let shape = source.shape(3, 3);
            let reward = source.table(&shape);
            let values: Vec<Rational> = shape.enumerate().map(|a| reward.at(&a)).collect();
            let best = shape.enumerate().max_by_key(|a| reward.at(a)).expect("a space has an architecture");
            let maximum = reward.at(&best);
            let range = maximum.clone() - values.iter().min().expect("a value");
            let mut outside = whole(1);
            for exponent in 1..=12 {
                // e^theta = 2^(5 exponent) at the best candidates, 1 elsewhere.
                let large = whole(32i64.pow(exponent));
                let mu = OpTable::from_fn(&shape, |edge, candidate| {
                    let total = large.clone() + whole(shape.candidates(edge) as i64 - 1);
                    if candidate == best.choice(edge) { large.clone() / total } else { whole(1) / total }
                });
                let objective = enumerate::objective(&reward, &mu)?;
                let missing = maximum.clone() - objective;
                outside = whole(1) - enumerate::product_probability(&mu, &best);
                let most = range.clone() * &outside;
                // All that is outside the best of two architectures is in the other.
                let least = if values.len() == 2 { most.clone() } else { whole(0) };
                if !(least..=most).contains(&missing) {
                    return Ok(Some(describe(&mu)));
                }
            }
            // 32^12 is above 10^18: six candidates too many leave less than a millionth outside.
            let closed = rational(1, 1_000_000).cmp(&outside).is_gt();
            Ok((!closed).then(|| "the gap does not close".to_owned()))
        },
    )?;
    // The policy itself, with its logits far out: the supremum is reached in f64.
    let shape = Shape::new([3, 2])?;
    let mut source = Source::instance(effort.seed, "C4 policy", 0);
    let rewards = OpTable::from_fn(&shape, |_, _| to_f64(&source.reward()));
    let reward = Affine::linear(rewards.clone());
    let best = Policy::new(rewards)?.mode();
    let mut objectives = Vec::new();
    let mut policy = Policy::initial(&shape);
    for size in [10.0, 100.0, 1000.0] {
        policy.update(|logits| {
            for edge in 0..shape.edges() {
                logits[(edge, best.choice(edge))] = size;
            }
        })?;
        objectives.push(enumerate::objective(&reward, policy.probabilities())?);
    }
    let mut drawn = Architecture::first(&shape);
    code.sample(&policy, source.rng(), &mut drawn);
    let difference = enumerate::objective(&reward, policy.probabilities())? - reward.at(&best);
    evidence.condition(
        "the policy with logits of 1000",
        all([objectives.iter().all(|value| *value <= reward.at(&best)), within(difference, 0.0, 1e-12), drawn == best]),
        format!("J - max R = {difference:.1e}"),
    );
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_weights_are_told() {
        let weights = OpTable::from_rows([vec![0.5, 0.5], vec![0.25, 0.5]]).unwrap();
        assert_eq!(wrong_sums(&weights, |total| total == 1.0), Some("weights sum to 0.75".to_owned()));
        assert_eq!(wrong_sums(&weights, |total| total > 0.5), None);
    }

    #[test]
    fn policies_are_described() {
        let mu = OpTable::from_rows([vec![rational(1, 2), rational(1, 2)], vec![whole(1)]]).unwrap();
        assert_eq!(describe(&mu), "mu = (1/2, 1/2), (1)");
    }

    #[test]
    fn one_in_ten_to_the_fifty_is_improbable() {
        assert!(improbable(-86.0) && improbable(-50.0) && !improbable(-49.9) && !improbable(86.0));
    }
}
