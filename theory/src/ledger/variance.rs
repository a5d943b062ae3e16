//! C8 to C12: section 4.4, gradient norms and variances.

use std::cmp::Ordering;

use advantage_nas::{Architecture, OpTable};
use num_traits::Signed;

use super::evidence::all;
use super::policy::describe;
use super::{Effort, Evidence};
use crate::enumerate::{self, Estimator, LIMIT, Law};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::generate::{Corner, Source};
use crate::number::{Rational, norm2, rational, square, sum, whole};
use crate::reward::{Affine, Reward, Table};
use crate::testbed::{Edge, Testbed, average_gap};

/// Rows of small whole numbers.
pub(super) fn table(rows: &[&[i64]]) -> Result<OpTable<Rational>> {
    Ok(OpTable::from_rows(rows.iter().map(|row| row.iter().map(|value| whole(*value)).collect()))?)
}

/// Uniform probabilities.
pub(super) fn uniform(rewards: &OpTable<Rational>) -> OpTable<Rational> {
    let shape = rewards.shape();
    OpTable::from_fn(shape, |edge, _| rational(1, shape.candidates(edge) as i64))
}

/// All `2ⁿ` rows of `n` signs; the first has only −1.
fn signs(n: usize) -> Vec<Vec<i64>> {
    let mut rows = vec![vec![]];
    for _ in 0..n {
        rows = rows.into_iter().flat_map(|row| [-1, 1].map(|sign| [&row[..], &[sign]].concat())).collect();
    }
    rows
}

fn linear_instance(effort: &Effort, stream: &str, index: u64) -> (OpTable<Rational>, Affine<Rational>) {
    let mut source = Source::instance(effort.seed, stream, index);
    let shape = source.shape(3, 3);
    (source.probabilities(&shape, Corner::of(index)), Affine::linear(source.rewards(&shape)))
}

/// C8.
pub fn gradient_norm<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let mut differ = 0u64;
    evidence.exact(
        "||grad||^2 = sum mu_j^2 (r_j - mean r)^2, by differentiation and by the estimator",
        effort.times(200),
        |index| {
            let (mu, reward) = linear_instance(effort, "C8", index);
            let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
            let mean = enumerate::moments(code, &Estimator::Advantage, &reward, &mu)?.expectation;
            let bed = Testbed::new(&mu, &reward.rewards, whole(0))?;
            for (index, edge) in bed.edges().iter().enumerate() {
                let exact = norm2(gradient.edge(index));
                differ += u64::from(exact != edge.printed_gradient_norm2());
                let same = all([
                    exact == edge.gradient_norm2(),
                    gradient.edge(index) == mean.edge(index),
                    gradient.edge(index) == edge.gradient(),
                ]);
                if !same {
                    return Ok(Some(describe(&mu)));
                }
            }
            Ok(None)
        },
    )?;
    evidence.occurred("the printed formula is wrong almost everywhere", differ, effort.times(100), "edges differ");
    for (rewards, exact, printed, instance) in [
        ([1, 1], whole(0), rational(1, 8), "r = (1, 1), mu = 1/2: 0, printed 1/8"),
        ([1, 0], rational(1, 8), rational(1, 16), "r = (1, 0), mu = 1/2: 1/8, printed 1/16"),
        ([1, -1], rational(1, 2), rational(1, 8), "r = (1, -1), mu = 1/2: 1/2, printed 1/8"),
    ] {
        let reward = Affine::linear(table(&[&rewards])?);
        let mu = uniform(&reward.rewards);
        let mean = enumerate::moments(code, &Estimator::Advantage, &reward, &mu)?.expectation;
        let edge = Edge::new(mu.values().to_vec(), reward.rewards.values().to_vec())?;
        evidence.pinned(
            "counterexample",
            &(norm2(mean.values()), edge.printed_gradient_norm2()),
            &(exact, printed),
            instance,
        );
    }
    // Where the two agree by chance: a quadratic cone. Two candidates: r1² − 4 r1 r2 + r2² = 0, never for rational r ≠ 0.
    evidence.exact("two candidates: equal only on a vertex or for r = 0", effort.times(100), |index| {
        let mut source = Source::instance(effort.seed, "C8 cone", index);
        let edge = Edge::new(source.simplex(2, Corner::of(index)), vec![source.reward(), source.reward()])?;
        let trivial = edge.spread() == whole(0) || edge.rewards.iter().all(|r| *r == whole(0));
        Ok(((edge.gradient_norm2() == edge.printed_gradient_norm2()) != trivial).then(|| format!("{:?}", edge.rewards)))
    })?;
    let chance = Edge::new(vec![rational(1, 4), rational(3, 8), rational(3, 8)], vec![whole(1), whole(-2), whole(-2)])?;
    evidence.pinned(
        "a chance agreement with three candidates",
        &chance.gradient_norm2(),
        &chance.printed_gradient_norm2(),
        "mu = (1/4, 3/8, 3/8), r = (1, -2, -2)",
    );
    evidence.exact("printed and true on average over signs, uniform mu: ratio (n-1)/n", 5, |index| {
        let n = index as usize + 2;
        let mu = vec![rational(1, n as i64); n];
        let (mut exact, mut printed) = (whole(0), whole(0));
        for signs in signs(n) {
            let rewards = signs.into_iter().map(whole).collect();
            let edge = Edge::new(mu.clone(), rewards)?;
            exact += edge.gradient_norm2();
            printed += edge.printed_gradient_norm2();
        }
        Ok((printed != exact * rational(n as i64 - 1, n as i64)).then(|| format!("n = {n}")))
    })?;
    Ok(evidence)
}

/// C9.
pub fn advantage_variance<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact(
        "the printed variance is E||delta||^2; Var is that minus ||grad||^2",
        effort.times(200),
        |index| {
            let (mu, reward) = linear_instance(effort, "C9", index);
            let bed = Testbed::new(&mu, &reward.rewards, whole(0))?;
            for estimator in [Estimator::Advantage, Estimator::FirstOrder] {
                let moments = enumerate::moments(code, &estimator, &reward, &mu)?;
                let variance = moments.variance();
                for (index, edge) in bed.edges().iter().enumerate() {
                    let printed = edge.second_moment_advantage();
                    let form = bed.advantage(index);
                    let equal_rewards = {
                        let possible: Vec<&Rational> = edge
                            .rewards
                            .iter()
                            .zip(&edge.probabilities)
                            .filter(|(_, mu)| **mu > whole(0))
                            .map(|(r, _)| r)
                            .collect();
                        possible.iter().all(|r| *r == possible[0])
                    };
                    let same = all([
                        moments.second_moment[index] == printed,
                        variance[index] == printed.clone() - edge.gradient_norm2(),
                        form.variance == variance[index],
                        form.expectation == moments.expectation.edge(index),
                        form.bias.iter().all(|b| *b == whole(0)),
                        (variance[index] == printed) == equal_rewards,
                    ]);
                    if !same {
                        return Ok(Some(describe(&mu)));
                    }
                }
            }
            Ok(None)
        },
    )?;
    let reward = Affine::linear(table(&[&[1, 0]])?);
    let mu = uniform(&reward.rewards);
    let moments = enumerate::moments(code, &Estimator::Advantage, &reward, &mu)?;
    evidence.pinned(
        "not the variance",
        &(moments.second_moment[0].clone(), moments.variance()[0].clone()),
        &(rational(1, 4), rational(1, 8)),
        "r = (1, 0), mu = 1/2: printed 1/4, Var 1/8",
    );
    Ok(evidence)
}

/// C10.
pub fn reinforce_variance<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact(
        "E||delta_base||^2 = E||delta_adv||^2 + 2MT + (1-q)(Var S + M^2), any constant and baseline",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C10", index);
            let shape = source.shape(3, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.affine(&shape);
            let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone())?;
            let fixed = source.reward();
            for (estimator, baseline) in [
                (Estimator::Reinforce, whole(0)),
                (Estimator::Baseline(fixed.clone()), fixed),
                (Estimator::Baseline(bed.objective()), bed.objective()),
            ] {
                let moments = enumerate::moments(code, &estimator, &reward, &mu)?;
                for edge in 0..shape.edges() {
                    let form = bed.reinforce_with_baseline(edge, &baseline);
                    let same = all([
                        moments.second_moment[edge] == form.second_moment,
                        moments.expectation.edge(edge) == form.expectation,
                        moments.variance()[edge] == form.variance,
                    ]);
                    if !same {
                        return Ok(Some(describe(&mu)));
                    }
                }
            }
            Ok(None)
        },
    )?;
    let (mut agree, mut differ) = (0u64, 0u64);
    evidence.exact(
        "exact - printed = 2MT + (1-q) sum_{k != l} mean r_k mean r_l, and Var S is as derived",
        effort.times(150),
        |index| {
            let (mu, reward) = linear_instance(effort, "C10 printed", index);
            let bed = Testbed::new(&mu, &reward.rewards, whole(0))?;
            let moments = enumerate::moments(code, &Estimator::Reinforce, &reward, &mu)?;
            let law = Law::product(&mu, LIMIT)?;
            for (edge, at) in bed.edges().iter().enumerate() {
                let means: Vec<Rational> = bed
                    .edges()
                    .iter()
                    .enumerate()
                    .filter(|(k, _)| *k != edge)
                    .map(|(_, other)| other.mean.clone())
                    .collect();
                let total: Rational = means.iter().sum();
                let mut cross = whole(0);
                for (k, left) in means.iter().enumerate() {
                    for (l, right) in means.iter().enumerate() {
                        if k != l {
                            cross += left * right;
                        }
                    }
                }
                let correction = &total * &at.moment * whole(2) + at.spread() * cross;
                let difference = moments.second_moment[edge].clone() - bed.printed_second_moment_reinforce(edge);
                let variance = law.expect(|a| square(&reward.without(a, edge))) - square(&total);
                let same = all([
                    difference == correction,
                    correction == bed.correction(edge),
                    variance == bed.rest_variance(edge),
                    total == bed.rest_mean(edge),
                ]);
                if !same {
                    return Ok(Some(describe(&mu)));
                }
                if correction == whole(0) { agree += 1 } else { differ += 1 }
            }
            Ok(None)
        },
    )?;
    evidence.occurred("printed and exact differ", differ, effort.times(50), "edges");
    evidence.occurred("printed and exact agree", agree, 1, "edges");
    for (rows, exact, printed, instance) in [
        ([[1, 1], [1, 1]], whole(2), whole(1), "r1 = r2 = (1, 1), mu = 1/2: 2, printed 1"),
        ([[1, 0], [1, 0]], rational(3, 4), rational(1, 2), "r1 = r2 = (1, 0), mu = 1/2: 3/4, printed 1/2"),
        ([[1, 1], [-1, -1]], whole(0), whole(1), "r1 = (1, 1), r2 = (-1, -1), mu = 1/2: 0, printed 1"),
        ([[2, 1], [-1, -2]], rational(1, 4), rational(5, 2), "r1 = (2, 1), r2 = (-1, -2), mu = 1/2: 1/4, printed 5/2"),
    ] {
        let reward = Affine::linear(table(&[&rows[0], &rows[1]])?);
        let mu = uniform(&reward.rewards);
        let moments = enumerate::moments(code, &Estimator::Reinforce, &reward, &mu)?;
        let bed = Testbed::new(&mu, &reward.rewards, whole(0))?;
        let got = (moments.second_moment[0].clone(), bed.printed_second_moment_reinforce(0));
        evidence.pinned("counterexample", &got, &(exact, printed), instance);
    }
    evidence.exact(
        "on average over all signs of the rewards, the printed formula holds",
        effort.times(6),
        |index| {
            let mut source = Source::instance(effort.seed, "C10 average", index);
            let shape = source.full_shape(3, 2);
            let mu = source.probabilities(&shape, Corner::of(index));
            let sizes = source.rewards(&shape);
            let (mut exact, mut printed) = (whole(0), whole(0));
            for signs in signs(shape.len()) {
                let values = sizes.values().iter().zip(signs).map(|(size, sign)| size * whole(sign)).collect();
                let rewards = OpTable::from_values(&shape, values)?;
                let bed = Testbed::new(&mu, &rewards, whole(0))?;
                exact +=
                    sum(enumerate::moments(code, &Estimator::Reinforce, &Affine::linear(rewards), &mu)?.second_moment);
                printed += sum((0..3).map(|edge| bed.printed_second_moment_reinforce(edge)));
            }
            Ok((exact != printed).then(|| describe(&mu)))
        },
    )?;
    Ok(evidence)
}

/// `E_s[(R(s,0) − R̃(s))²]` and `E_s[R̃(s)²]` of one edge, from the definitions: `w_j = μ_j ‖e_j − μ‖² / Σ_l μ_l ‖e_l − μ‖²`.
fn prediction_errors(
    mu: &OpTable<Rational>,
    reward: &dyn Reward<Rational>,
    edge: usize,
) -> Result<Option<(Rational, Rational)>> {
    let row = mu.edge(edge);
    let weights: Vec<Rational> = (0..row.len())
        .map(|j| {
            let indicator = |k: usize| if k == j { whole(1) } else { whole(0) };
            let distance: Rational = row.iter().enumerate().map(|(k, p)| square(&(indicator(k) - p))).sum();
            distance * &row[j]
        })
        .collect();
    let total: Rational = weights.iter().sum();
    if total == whole(0) {
        return Ok(None);
    }
    let law = Law::product(mu, LIMIT)?;
    let mean = |a: &Architecture| -> Result<Rational> {
        let values = enumerate::alternatives(reward, a, edge)?;
        Ok(values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<Rational>() / &total)
    };
    let (mut removal, mut nothing) = (whole(0), whole(0));
    for (p, a) in law.atoms() {
        let mean = mean(a)?;
        removal += p * square(&(reward.without(a, edge) - &mean));
        nothing += p * square(&mean);
    }
    Ok(Some((removal, nothing)))
}

/// C11.
pub fn reduction<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let (mut better, mut worse) = (0u64, 0u64);
    evidence.exact(
        "E||base||^2 - E||adv||^2 = (1-q)(E R~^2 - E (R(s,0) - R~)^2), any table",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C11", index);
            let shape = source.shape(3, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.table(&shape);
            let base = enumerate::moments(code, &Estimator::Reinforce, &reward, &mu)?;
            let advantage = enumerate::moments(code, &Estimator::Advantage, &reward, &mu)?;
            for edge in 0..shape.edges() {
                let difference = base.second_moment[edge].clone() - &advantage.second_moment[edge];
                let spread = whole(1) - norm2(mu.edge(edge));
                let expected = match prediction_errors(&mu, &reward, edge)? {
                    Some((removal, nothing)) => spread * (nothing - removal),
                    None => whole(0),
                };
                let of_variances = base.variance()[edge].clone() - &advantage.variance()[edge];
                if [&difference, &of_variances] != [&expected; 2] {
                    return Ok(Some(describe(&mu)));
                }
                match difference.cmp(&whole(0)) {
                    Ordering::Greater => better += 1,
                    Ordering::Less => worse += 1,
                    Ordering::Equal => {}
                }
            }
            Ok(None)
        },
    )?;
    evidence.occurred("random tables on which it reduces the variance", better, effort.times(10), "edges");
    evidence.occurred("random tables on which it increases the variance", worse, effort.times(10), "edges");
    let second_moments = |reward: &Affine<Rational>, mu: &OpTable<Rational>| -> Result<[Vec<Rational>; 2]> {
        Ok([
            enumerate::moments(code, &Estimator::Advantage, reward, mu)?.second_moment,
            enumerate::moments(code, &Estimator::Reinforce, reward, mu)?.second_moment,
        ])
    };
    evidence.exact("affine: iff E S^2 + 2 M r~ >= 0", effort.times(150), |index| {
        let mut source = Source::instance(effort.seed, "C11 affine", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.affine(&shape);
        let [advantage, base] = second_moments(&reward, &mu)?;
        let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone())?;
        for (edge, at) in bed.edges().iter().enumerate() {
            let Some(optimal) = at.optimal_baseline() else { continue };
            let mean = bed.rest_mean(edge);
            let criterion = bed.rest_variance(edge) + square(&mean) + mean * optimal * whole(2);
            if (advantage[edge] <= base[edge]) != (criterion >= whole(0)) {
                return Ok(Some(describe(&mu)));
            }
        }
        Ok(None)
    })?;
    evidence.exact("always if all contributions have one sign", effort.times(50), |index| {
        let mut source = Source::instance(effort.seed, "C11 one sign", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let mut reward = source.affine(&shape);
        reward.constant = reward.constant.abs();
        reward.rewards.values_mut().iter_mut().for_each(|value| *value = value.abs());
        let [advantage, base] = second_moments(&reward, &mu)?;
        Ok(advantage.iter().zip(&base).any(|(advantage, base)| advantage > base).then(|| describe(&mu)))
    })?;
    for (rows, advantage, base, instance) in [
        ([[2, 0], [-1, 0]], rational(1, 2), rational(1, 4), "r1 = (2, 0), r2 = (-1, 0), mu = 1/2: 1/2 against 1/4"),
        ([[1, 1], [-1, -1]], rational(1, 2), whole(0), "r1 = (1, 1), r2 = (-1, -1): R = 0, 1/2 against 0"),
        ([[2, 1], [-1, -2]], rational(9, 8), rational(1, 8), "r1 = (2, 1), r2 = (-1, -2): 9/8 against 1/8"),
        ([[3, 2], [-1, -1]], rational(25, 8), rational(9, 8), "R > 0: r1 = (3, 2), r2 = (-1, -1): 25/8 against 9/8"),
    ] {
        let reward = Affine::linear(table(&[&rows[0], &rows[1]])?);
        let mu = uniform(&reward.rewards);
        let variance = |estimator| {
            Ok::<_, crate::Error>(enumerate::moments(code, &estimator, &reward, &mu)?.variance()[0].clone())
        };
        let got = (variance(Estimator::Advantage)?, variance(Estimator::Reinforce)?);
        evidence.pinned("counterexample: advantage against REINFORCE", &got, &(advantage, base), instance);
    }
    // Squared loss, one edge: outputs (1, 1/2), target 1; as a table R(e_1) = 0, R(e_2) = −1/4, R(0) = −1.
    let shape = advantage_nas::Shape::new([2])?;
    let reward = Table::from_fn(&shape, |choices| match choices[0] {
        Some(0) => whole(0),
        Some(_) => rational(-1, 4),
        None => whole(-1),
    })?;
    let mu = OpTable::filled(&shape, rational(1, 2));
    let variance =
        |estimator| Ok::<_, crate::Error>(enumerate::moments(code, &estimator, &reward, &mu)?.variance()[0].clone());
    evidence.pinned(
        "counterexample: squared loss",
        &(variance(Estimator::Advantage)?, variance(Estimator::Reinforce)?),
        &(rational(49, 128), rational(1, 128)),
        "outputs (1, 1/2), target 1, mu = 1/2: 49/128 against 1/128",
    );
    Ok(evidence)
}

/// C12.
pub fn growth<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    // Rewards m ± s, all independent, every combination enumerated.
    let average = |edges: usize, mu: &[Rational], mean: &Rational, deviation: &Rational| -> Result<Rational> {
        let probabilities = OpTable::from_rows(vec![mu.to_vec(); edges])?;
        let shape = probabilities.shape().clone();
        let mut gap = whole(0);
        for signs in signs(shape.len()) {
            let values = signs.into_iter().map(|sign| mean + whole(sign) * deviation).collect();
            let reward = Affine::linear(OpTable::from_values(&shape, values)?);
            let base = enumerate::moments(code, &Estimator::Reinforce, &reward, &probabilities)?.second_moment;
            let advantage = enumerate::moments(code, &Estimator::Advantage, &reward, &probabilities)?.second_moment;
            gap += base[0].clone() - &advantage[0];
        }
        Ok(gap / whole(1 << shape.len()))
    };
    for edges in 1..=4 {
        let name = "the average gap is (1-q)[(N-1)s^2 + (N^2-1)m^2] for N = 1 to 4";
        evidence.exact(name, effort.times(3), |index| {
            let mut source = Source::instance(effort.seed, "C12", index);
            let mu = source.simplex(2, Corner::of(index));
            let (mean, deviation) = (source.reward(), source.reward());
            let spread = whole(1) - norm2(&mu);
            let expected = average_gap(&spread, edges, &mean, &square(&deviation));
            let got = average(edges, &mu, &mean, &deviation)?;
            Ok((got != expected).then(|| format!("N = {edges}, mu = {mu:?}, m = {mean}, s = {deviation}")))
        })?;
    }
    let half = vec![rational(1, 2); 2];
    let gaps = |mean: i64| -> Result<Vec<Rational>> {
        (1..=4).map(|edges| average(edges, &half, &whole(mean), &whole(1))).collect()
    };
    let steps = |values: Vec<Rational>| values.windows(2).map(|pair| &pair[1] - &pair[0]).collect::<Vec<_>>();
    evidence.pinned(
        "linear for zero-mean rewards",
        &steps(gaps(0)?),
        &vec![rational(1, 2); 3],
        "mu = 1/2, r = +-1: the gap grows by 1/2 per edge",
    );
    evidence.pinned(
        "quadratic for mean 1",
        &steps(gaps(1)?),
        &vec![whole(2), whole(3), whole(4)],
        "mu = 1/2, r = 1 +- 1: the gap grows by 2, 3, 4",
    );
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_signs_are_listed() {
        assert_eq!(signs(0), [[0i64; 0]]);
        assert_eq!(signs(2), [[-1, -1], [-1, 1], [1, -1], [1, 1]]);
        assert_eq!(signs(7).len(), 128);
    }
}
