//! C6 to C7b: the advantage, its first-order form, and what unbiasedness needs.

use advantage_nas::{Architecture, OpTable, Shape};
use num_traits::Signed;

use super::evidence::all;
use super::policy::{describe, improbable, random_policy, sample_moments};
use super::{Effort, Evidence};
use crate::enumerate::{self, Estimator, LIMIT, Law};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::generate::{Corner, Source, survival_log10};
use crate::number::{Rational, norm2, rational, to_f64, whole};
use crate::reward::{Affine, Reward, SquaredLoss, Table};
use crate::statistics::{Bonferroni, mean_p};
use crate::taylor;

fn half() -> Rational {
    rational(1, 2)
}

/// C6.
pub fn advantage<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let instances = effort.times(150);
    evidence.exact("E[A (a - mu)] = grad J, any table of rewards and of R(s, 0)", instances, |index| {
        let mut source = Source::instance(effort.seed, "C6", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
        let moments = enumerate::moments(code, &Estimator::Advantage, &reward, &mu)?;
        Ok((moments.expectation != gradient).then(|| describe(&mu)))
    })?;
    let survival = survival_log10(7, instances / 2);
    evidence.condition(
        "a false identity would survive with probability at most (Schwartz, Zippel)",
        improbable(survival),
        format!("10^{survival:.0}"),
    );
    evidence.exact("with minibatches drawn independently of a", effort.times(60), |index| {
        let mut source = Source::instance(effort.seed, "C6 minibatch", index);
        let shape = source.shape(2, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let corner = Corner::of(source.whole(0, 7) as u64);
        let weights = source.simplex(3, corner);
        let batches: Vec<(Rational, Table<Rational>)> =
            weights.into_iter().map(|weight| (weight, source.table(&shape))).collect();
        let moments = enumerate::moments_over_minibatches(code, &Estimator::Advantage, &batches, &mu)?;
        let mean = |a: &Architecture| batches.iter().map(|(weight, reward)| weight * reward.at(a)).sum::<Rational>();
        Ok((moments.expectation != enumerate::gradient(mean, &mu)?).then(|| describe(&mu)))
    })?;

    // (i) Edges that are not independent: a_2 = a_1.
    let shape = Shape::new([2, 2])?;
    let mu = OpTable::filled(&shape, half());
    let diagonal = |choice: usize| Architecture::new(&shape, [choice, choice]);
    let law = Law::coupled(&shape, vec![(half(), diagonal(0)?), (half(), diagonal(1)?)])?;
    let reward = Table::from_fn(&shape, |choices| if *choices == [None, Some(0)] { whole(1) } else { whole(0) })?;
    let moments = law.moments(|a, out| enumerate::run(code, &Estimator::Advantage, &reward, &mu, a, out))?;
    evidence.pinned(
        "needs independent edges",
        &moments.expectation.edge(0).to_vec(),
        &vec![rational(-1, 4), rational(1, 4)],
        "a_2 = a_1, mu = 1/2, R = 0, R(0, e_1) = 1: grad 0, E delta_1 = (-1/4, 1/4)",
    );
    // (ii) An architecture chosen by the minibatch: a = e_V.
    let one = Shape::new([2])?;
    let mu = OpTable::filled(&one, half());
    let batch =
        |value: i64| Table::from_fn(&one, |choices| if choices[0] == Some(0) { whole(value) } else { whole(0) });
    let batches = [batch(1)?, batch(-1)?];
    let mut total = enumerate::Moments::zero(&one);
    let mut out = OpTable::filled(&one, whole(0));
    for (choice, reward) in batches.iter().enumerate() {
        let a = Architecture::new(&one, [choice])?;
        enumerate::run(code, &Estimator::Advantage, reward, &mu, &a, &mut out)?;
        total.add(&half(), &out);
    }
    // Twice the gradient of the mean over the two minibatches.
    let gradient = enumerate::gradient(|a| batches.iter().map(|reward| reward.at(a)).sum(), &mu)?;
    evidence.pinned(
        "needs a independent of the minibatch",
        &(total.expectation.values().to_vec(), gradient.values().to_vec()),
        &(vec![rational(1, 4), rational(-1, 4)], vec![whole(0), whole(0)]),
        "r(e_1; V) = 1, -1, r(e_2; V) = 0, a = e_V, mu = 1/2: grad 0, E delta = (1/4, -1/4)",
    );
    // (iii) Drawn from something else than mu.
    let law = Law::coupled(
        &one,
        vec![(rational(3, 5), Architecture::new(&one, [0])?), (rational(2, 5), Architecture::new(&one, [1])?)],
    )?;
    let reward = Affine::linear(OpTable::filled(&one, whole(1)));
    let moments = law.moments(|a, out| enumerate::run(code, &Estimator::Advantage, &reward, &mu, a, out))?;
    evidence.pinned(
        "needs a drawn from exactly mu",
        &moments.expectation.values().to_vec(),
        &vec![rational(1, 10), rational(-1, 10)],
        "mu = 1/2, drawn with 3/5, r = (1, 1): grad 0, E delta = (1/10, -1/10)",
    );
    sample_moments(code, effort, "C6 sampled", &Estimator::Advantage, &mut evidence)?;
    sampled_minibatches(code, effort, &mut evidence)?;
    Ok(evidence)
}

/// Real samples of architectures and of minibatches of two out of five data.
fn sampled_minibatches<E: Estimators>(code: &E, effort: &Effort, evidence: &mut Evidence) -> Result<()> {
    let (rows, draws) = (6, effort.times(20_000));
    let mut means = Bonferroni::default();
    for row in 0..rows {
        let mut source = Source::instance(effort.seed, "C6 sampled minibatch", row);
        let shape = source.full_shape(2, 3);
        let policy = random_policy(&mut source, &shape)?;
        let mu = policy.probabilities();
        let data: Vec<Table<f64>> =
            (0..5).map(|_| Table::from_fn(&shape, |_| to_f64(&source.reward()))).collect::<Result<_>>()?;
        let mean = |a: &Architecture| data.iter().map(|reward| reward.at(a)).sum::<f64>() / 5.0;
        let gradient = enumerate::gradient(mean, mu)?;
        let (mut sums, mut squares) = (vec![0.0; shape.len()], vec![0.0; shape.len()]);
        let mut architecture = Architecture::first(&shape);
        let mut out = mu.clone();
        let mut advantages = vec![0.0; shape.edges()];
        for _ in 0..draws {
            code.sample(&policy, source.rng(), &mut architecture);
            // The first of two different data, then the second.
            let first = source.whole(0, 4) as usize;
            let second = (first + source.whole(1, 4) as usize) % 5;
            let batch = [&data[first], &data[second]];
            let loss = |f: &dyn Fn(&Table<f64>) -> f64| -> Result<f64> {
                Ok(advantage_nas::estimator::minibatch_reward(&batch.map(|reward| -f(reward)))?)
            };
            let reward = loss(&|reward| reward.at(&architecture))?;
            let removals = (0..shape.edges())
                .map(|edge| loss(&|reward| reward.without(&architecture, edge)))
                .collect::<Result<Vec<f64>>>()?;
            code.advantages(&reward, &removals, &mut advantages)?;
            code.policy_gradient(&advantages, &architecture, mu, &mut out)?;
            for ((sum, square), value) in sums.iter_mut().zip(&mut squares).zip(out.values()) {
                *sum += value;
                *square += value * value;
            }
        }
        for ((sum, square), mean) in sums.iter().zip(&squares).zip(gradient.values()) {
            means.add(mean_p(*sum, draws, *mean, square / draws as f64 - (sum / draws as f64).powi(2)));
        }
    }
    let detail = format!("{rows} instances, {draws} architectures and minibatches each");
    evidence.statistical("the mean over sampled minibatches is the gradient", rows * draws, &means, detail);
    Ok(())
}

/// C6b.
pub fn state_dependent_baseline<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact("E[b(s_i, V) (a_i - mu_i)] = 0 for every b", effort.times(150), |index| {
        let mut source = Source::instance(effort.seed, "C6b", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        // R(s_i, 0) of a random table is an arbitrary function of s_i. An average over V of zeros is zero: one V is enough.
        let baseline = source.table(&shape);
        let moments = Law::product(&mu, LIMIT)?.moments(|a, out| {
            let values: Vec<Rational> = (0..shape.edges()).map(|edge| baseline.without(a, edge)).collect();
            Ok(code.policy_gradient(&values, a, &mu, out)?)
        })?;
        Ok(moments.expectation.values().iter().any(|value| *value != whole(0)).then(|| describe(&mu)))
    })?;
    evidence.exact("any state-dependent baseline leaves Eq. (4) unbiased", effort.times(60), |index| {
        let mut source = Source::instance(effort.seed, "C6b baseline", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let (reward, baseline) = (source.table(&shape), source.table(&shape));
        let moments = Law::product(&mu, LIMIT)?.moments(|a, out| {
            let baselines: Vec<Rational> = (0..shape.edges()).map(|edge| baseline.without(a, edge)).collect();
            let mut centred = baselines.clone();
            code.advantages(&reward.at(a), &baselines, &mut centred)?;
            Ok(code.policy_gradient(&centred, a, &mu, out)?)
        })?;
        Ok((moments.expectation != enumerate::gradient(|a| reward.at(a), &mu)?).then(|| describe(&mu)))
    })?;
    // One that looks at the action is not: b = R(a) leaves nothing of the gradient.
    let mu = OpTable::from_rows([vec![half(), half()]])?;
    let reward = Affine::linear(OpTable::from_rows([vec![whole(1), whole(0)]])?);
    let moments = Law::product(&mu, LIMIT)?.moments(|a, out| {
        let value = reward.at(a);
        Ok(code.reinforce_with_baseline(&value, &value, a, &mu, out)?)
    })?;
    evidence.pinned(
        "a baseline that sees the action is biased",
        &moments.expectation.values().to_vec(),
        &vec![whole(0), whole(0)],
        "b = R(a), r = (1, 0), mu = 1/2: E delta = 0, grad = (1/4, -1/4)",
    );
    Ok(evidence)
}

/// Advantages of both forms at an architecture.
fn both<E: Estimators>(
    code: &E,
    reward: &dyn Reward<Rational>,
    a: &Architecture,
) -> Result<(Vec<Rational>, Vec<Rational>)> {
    let shape = reward.shape();
    let removals: Vec<Rational> = (0..shape.edges()).map(|edge| reward.without(a, edge)).collect();
    let mut exact = vec![whole(0); shape.edges()];
    code.advantages(&reward.at(a), &removals, &mut exact)?;
    let mut gradient = OpTable::filled(shape, whole(0));
    reward.gradient_at(a, &mut gradient);
    let mut first_order = exact.clone();
    code.first_order(&gradient, a, &mut first_order)?;
    Ok((exact, first_order))
}

/// C7.
pub fn first_order_is_exact<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let mut polynomials = 0;
    evidence.exact("Eq. (7) = Eq. (6) on linear, affine and multi-affine rewards", effort.times(200), |index| {
        let mut source = Source::instance(effort.seed, "C7", index);
        let shape = source.shape(3, 3);
        let polynomial = source.polynomial(&shape, 4, 1);
        let multi_affine = polynomial.is_multi_affine();
        polynomials += u64::from(multi_affine);
        let mut rewards: Vec<Box<dyn Reward<Rational>>> = vec![
            Box::new(Affine::linear(source.rewards(&shape))),
            Box::new(source.affine(&shape)),
            Box::new(source.table(&shape)),
        ];
        if multi_affine {
            rewards.push(Box::new(polynomial));
        }
        for reward in &rewards {
            for a in shape.enumerate() {
                let (exact, first_order) = both(code, &**reward, &a)?;
                if exact != first_order {
                    return Ok(Some(format!("a = {a}: {exact:?} and {first_order:?}")));
                }
            }
        }
        Ok(None)
    })?;
    evidence.occurred("multi-affine polynomials were among them", polynomials, effort.times(20), "polynomials");
    evidence.exact("so its estimate is unbiased there", effort.times(60), |index| {
        let mut source = Source::instance(effort.seed, "C7 unbiased", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let moments = enumerate::moments(code, &Estimator::FirstOrder, &reward, &mu)?;
        Ok((moments.expectation != enumerate::gradient(|a| reward.at(a), &mu)?).then(|| describe(&mu)))
    })?;
    Ok(evidence)
}

/// C7b.
pub fn first_order_error<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let mut nonzero = 0u64;
    evidence.exact("A(7) - A(6) = int_0^1 t phi''(t) dt on polynomials", effort.times(150), |index| {
        let mut source = Source::instance(effort.seed, "C7b", index);
        let shape = source.shape(3, 3);
        let reward = source.polynomial(&shape, 5, 3);
        for a in shape.enumerate() {
            let (exact, first_order) = both(code, &reward, &a)?;
            for edge in 0..shape.edges() {
                let error = taylor::error_of_ray(&taylor::ray(&reward, &a, edge, reward.degree(edge)));
                nonzero += u64::from(error != whole(0));
                if first_order[edge].clone() - &exact[edge] != error {
                    return Ok(Some(format!("a = {a}, edge {edge}")));
                }
            }
        }
        Ok(None)
    })?;
    evidence.occurred("the error was not always zero", nonzero, effort.times(50), "times not");
    evidence.exact("bias = L e, within rho/4, rho/2, rho^2/8; zero iff e is constant", effort.times(100), |index| {
        let mut source = Source::instance(effort.seed, "C7b bias", index);
        let shape = source.shape(2, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.polynomial(&shape, 5, 3);
        let moments = enumerate::moments(code, &Estimator::FirstOrder, &reward, &mu)?;
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
        for edge in 0..shape.edges() {
            let degree = reward.degree(edge);
            let errors =
                taylor::mean_errors(&mu, edge, |a| taylor::error_of_ray(&taylor::ray(&reward, a, edge, degree)))?;
            let bias: Vec<Rational> =
                moments.expectation.edge(edge).iter().zip(gradient.edge(edge)).map(|(mean, g)| mean - g).collect();
            if bias != taylor::bias(mu.edge(edge), &errors) {
                return Ok(Some(describe(&mu)));
            }
            let bounds = taylor::bias_bounds(&errors);
            let inside = all([
                bias.iter().all(|value| value.abs() <= bounds.maximum),
                bias.iter().map(Signed::abs).sum::<Rational>() <= bounds.sum,
                norm2(&bias) <= bounds.square,
            ]);
            let support: Vec<&Rational> =
                errors.iter().zip(mu.edge(edge)).filter(|(_, mu)| **mu > whole(0)).map(|(error, _)| error).collect();
            let constant = support.iter().all(|error| *error == support[0]);
            let unbiased = bias.iter().all(|value| *value == whole(0));
            if (inside, unbiased) != (true, constant) {
                return Ok(Some(format!("{}, edge {edge}", describe(&mu))));
            }
        }
        Ok(None)
    })?;
    evidence.exact(
        "squared loss: A(7) = A(6) - ||O||^2, unbiased for J - sum E||O||^2",
        effort.times(80),
        |index| {
            let mut source = Source::instance(effort.seed, "C7b squared", index);
            let shape = source.shape(3, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.squared_loss(&shape, 2);
            let penalty = |a: &Architecture, edge: usize| norm2(&reward.outputs()[(edge, a.choice(edge))]);
            for a in shape.enumerate() {
                let (exact, first_order) = both(code, &reward, &a)?;
                for edge in 0..shape.edges() {
                    if first_order[edge] != exact[edge].clone() - penalty(&a, edge) {
                        return Ok(Some(format!("a = {a}, edge {edge}")));
                    }
                }
            }
            let moments = enumerate::moments(code, &Estimator::FirstOrder, &reward, &mu)?;
            let penalised =
                |a: &Architecture| reward.at(a) - (0..shape.edges()).map(|edge| penalty(a, edge)).sum::<Rational>();
            Ok((moments.expectation != enumerate::gradient(penalised, &mu)?).then(|| describe(&mu)))
        },
    )?;
    let outputs = OpTable::from_rows([vec![vec![whole(1)], vec![half()]]])?;
    let reward = SquaredLoss::new(vec![whole(1)], outputs)?;
    let mu = OpTable::filled(reward.shape(), half());
    let moments = enumerate::moments(code, &Estimator::FirstOrder, &reward, &mu)?;
    let opposite: Vec<Rational> =
        enumerate::gradient(|a| reward.at(a), &mu)?.values().iter().map(|g| g * whole(-2)).collect();
    let expectation = moments.expectation.values().to_vec();
    evidence.pinned(
        "points away from the gradient",
        &expectation,
        &opposite,
        "outputs (1, 1/2), target 1, mu = 1/2: E delta = -2 grad",
    );
    evidence.pinned("its value", &expectation, &vec![rational(-1, 8), rational(1, 8)], "E delta = (-1/8, 1/8)");
    Ok(evidence)
}
