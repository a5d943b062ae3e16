//! C14 and C15: the zero operation, and baselines.

use advantage_nas::estimator::{CandidateAverages, ZeroRule, optimal_baseline_of_drawn};
use advantage_nas::{Architecture, Edge, OpTable, SearchSpace};

use super::evidence::all;
use super::policy::describe;
use super::variance::{table, uniform};
use super::{Effort, Evidence};
use crate::enumerate::{self, Estimator, LIMIT, Law, Moments};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::generate::{Corner, Source};
use crate::number::{Rational, norm2, rational, square, whole};
use crate::reward::{Affine, Reward};
use crate::testbed::{Testbed, effective_rewards, worst_of_others};

/// Moments of Eq. (6) with footnote 4's replacement, when the moving averages have reached the expected advantages.
fn with_rule<E: Estimators>(
    code: &E,
    rule: ZeroRule,
    zero: usize,
    mu: &OpTable<Rational>,
    rewards: &OpTable<Rational>,
) -> Result<Moments<Rational>> {
    let shape = mu.shape();
    let edges = (0..shape.edges()).map(|edge| {
        let names = (0..shape.candidates(edge)).map(|candidate| candidate.to_string());
        let edge_without = Edge::new(edge.to_string(), names);
        if edge == 0 { edge_without.with_zero(zero) } else { edge_without }
    });
    let space = SearchSpace::new(edges.collect())?;
    let reward = Affine::linear(rewards.clone());
    Law::product(mu, LIMIT)?.moments(|a, out| {
        let removals: Vec<Rational> = (0..shape.edges()).map(|edge| reward.without(a, edge)).collect();
        let mut advantages = removals.clone();
        code.advantages(&reward.at(a), &removals, &mut advantages)?;
        code.replace_zero(&space, rule, rewards, a, &mut advantages)?;
        Ok(code.policy_gradient(&advantages, a, mu, out)?)
    })
}

/// C14.
pub fn zero_operation<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let rules = [ZeroRule::Keep, ZeroRule::WorstOfOthers, ZeroRule::WorstOfAll];
    evidence.exact(
        "bias = c mu_z (e_z - mu), E delta = L(r + c e_z); unbiased iff c = 0",
        effort.times(200),
        |index| {
            let mut source = Source::instance(effort.seed, "C14", index);
            let shape = source.full_shape(2, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let zero = source.whole(0, shape.candidates(0) as i64 - 1) as usize;
            let mut rewards = source.rewards(&shape);
            rewards[(0, zero)] = whole(0);
            let worst = worst_of_others(rewards.edge(0), zero).expect("at least two candidates");
            let bed = Testbed::new(&mu, &rewards, whole(0))?;
            for rule in rules {
                let value = match rule {
                    ZeroRule::Keep => whole(0),
                    ZeroRule::WorstOfOthers => worst.clone(),
                    ZeroRule::WorstOfAll => worst.clone().min(whole(0)),
                };
                let moments = with_rule(code, rule, zero, &mu, &rewards)?;
                let form = bed.zero_replaced(0, zero, &value);
                let mut moved = rewards.clone();
                moved.edge_mut(0).clone_from_slice(&effective_rewards(rewards.edge(0), zero, &value));
                let moved = Affine::linear(moved);
                let ascended = enumerate::gradient(|a| moved.at(a), &mu)?;
                let p = &mu[(0, zero)];
                let trivial = value == whole(0) || *p == whole(0) || *p == whole(1);
                let unbiased = form.bias.iter().all(|b| *b == whole(0));
                let same = all([
                    moments.expectation.edge(0) == form.expectation,
                    moments.expectation == ascended,
                    moments.second_moment[0] == form.second_moment,
                    moments.variance()[0] == form.variance,
                    norm2(&form.bias) == square(&value) * square(p) * bed.edges()[0].distance(zero),
                    unbiased == trivial,
                ]);
                if !same {
                    return Ok(Some(format!("{rule:?}, {}", describe(&mu))));
                }
            }
            Ok(None)
        },
    )?;
    let (mut kept, mut moved) = (0u64, 0u64);
    evidence.exact(
        "the best candidate stays a best one iff max of the others >= 0 or they are equal",
        effort.times(600),
        |index| {
            let mut source = Source::instance(effort.seed, "C14 optimum", index);
            let n = source.whole(2, 4) as usize;
            let mut rewards: Vec<Rational> = (0..n).map(|_| whole(source.whole(-3, 3))).collect();
            rewards[0] = whole(0);
            let worst = worst_of_others(&rewards, 0).expect("another candidate");
            let effective = effective_rewards(&rewards, 0, &worst);
            let best = |values: &[Rational]| values.iter().max().cloned().expect("a candidate");
            // A maximum that is not shared by two candidates before or after.
            let argmax = |values: &[Rational]| -> Vec<usize> {
                let best = best(values);
                (0..values.len()).filter(|j| values[*j] == best).collect()
            };
            let (before, after) = (argmax(&rewards), argmax(&effective));
            let others = best(&rewards[1..]);
            let keeps = after.iter().any(|j| before.contains(j));
            // If the others are all equal, the zero operation is tied with them, and is lost as the only optimum.
            let expected = others >= whole(0) || others == worst;
            if keeps {
                kept += 1
            } else {
                moved += 1
            }
            Ok((keeps != expected).then(|| format!("{rewards:?}")))
        },
    )?;
    evidence.occurred("the optimum stays", kept, effort.times(10), "times");
    evidence.occurred("the optimum moves", moved, effort.times(10), "times");

    let case = |rows: &[i64], zero: usize, rule| -> Result<(Vec<Rational>, Vec<Rational>)> {
        let rewards = table(&[rows])?;
        let mu = uniform(&rewards);
        let reward = Affine::linear(rewards.clone());
        let gradient = enumerate::gradient(|a| reward.at(a), &mu)?.values().to_vec();
        Ok((with_rule(code, rule, zero, &mu, &rewards)?.expectation.values().to_vec(), gradient))
    };
    let zero = |n: usize| vec![whole(0); n];
    evidence.pinned(
        "c > 0 promotes the zero operation",
        &case(&[1, 0], 1, ZeroRule::WorstOfOthers)?,
        &(zero(2), vec![rational(1, 4), rational(-1, 4)]),
        "r = (1, 0), mu = 1/2: E delta = 0, grad = (1/4, -1/4)",
    );
    evidence.pinned(
        "it never dies out",
        &case(&[1, 1, 0], 2, ZeroRule::WorstOfOthers)?.0,
        &zero(3),
        "r = (1, 1, 0), uniform: E delta = 0",
    );
    let moves =
        (vec![rational(2, 9), rational(-1, 9), rational(-1, 9)], vec![whole(0), rational(-1, 3), rational(1, 3)]);
    evidence.pinned(
        "c < 0 moves the optimum from the zero operation to candidate 1",
        &case(&[-1, -2, 0], 2, ZeroRule::WorstOfOthers)?,
        &moves,
        "r = (-1, -2, 0), uniform: E delta = (2/9, -1/9, -1/9), grad = (0, -1/3, 1/3)",
    );
    let (mean, gradient) = case(&[-2, -3, 0], 2, ZeroRule::WorstOfOthers)?;
    evidence.pinned(
        "descent",
        &crate::number::dot(&mean, &gradient),
        &rational(-1, 27),
        "r = (-2, -3, 0), uniform: <E delta, grad> = -1/27",
    );
    let (released, gradient) = case(&[1, 0], 1, ZeroRule::WorstOfAll)?;
    evidence.pinned(
        "the released code's min(0, worst) is unbiased if the others are better",
        &released,
        &gradient,
        "r = (1, 0)",
    );
    evidence.pinned(
        "and else as the footnote",
        &case(&[-1, -2, 0], 2, ZeroRule::WorstOfAll)?,
        &moves,
        "r = (-1, -2, 0)",
    );
    evidence.pinned(
        "left alone it is unbiased",
        &case(&[-2, -3, 0], 2, ZeroRule::Keep)?,
        &(
            vec![rational(-1, 9), rational(-4, 9), rational(5, 9)],
            vec![rational(-1, 9), rational(-4, 9), rational(5, 9)],
        ),
        "r = (-2, -3, 0), uniform: E delta = grad = (-1/9, -4/9, 5/9)",
    );
    Ok(evidence)
}

/// C15.
pub fn optimal_baseline<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    evidence.exact(
        "b* minimises: V(b* + h) = V(b*) + (1-q) E h^2, for every h(s), any table",
        effort.times(100),
        |index| {
            let mut source = Source::instance(effort.seed, "C15", index);
            let shape = source.shape(2, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let (reward, other) = (source.table(&shape), source.table(&shape));
            let law = Law::product(&mu, LIMIT)?;
            let best = enumerate::moments(code, &Estimator::Optimal, &reward, &mu)?;
            let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
            let moved = law.moments(|a, out| {
                let mut centred = vec![whole(0); shape.edges()];
                for (edge, centred) in centred.iter_mut().enumerate() {
                    let values = enumerate::alternatives(&reward, a, edge)?;
                    let best = code.optimal_baseline(mu.edge(edge), &values)?.unwrap_or_else(|| whole(0));
                    // The baseline moved by h: what is left of A − b* is reduced by h.
                    let h = [other.without(a, edge)];
                    code.advantages(&(reward.at(a) - best), &h, std::slice::from_mut(centred))?;
                }
                Ok(code.policy_gradient(&centred, a, &mu, out)?)
            })?;
            for edge in 0..shape.edges() {
                let spread = whole(1) - norm2(mu.edge(edge));
                let excess = law.expect(|a| square(&other.without(a, edge))) * &spread;
                let removal = &moved.second_moment[edge] - &best.second_moment[edge];
                if (&best.expectation, removal) != (&gradient, excess) {
                    return Ok(Some(describe(&mu)));
                }
            }
            Ok(None)
        },
    )?;
    evidence.exact(
        "affine: V* as derived, b* = r~ + S; each candidate's weight is mu_j d_j/(1-q)",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C15 affine", index);
            let shape = source.shape(3, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.affine(&shape);
            let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone())?;
            let moments = enumerate::moments(code, &Estimator::Optimal, &reward, &mu)?;
            let subtracted: Vec<Rational> =
                bed.edges().iter().map(|edge| edge.optimal_baseline().unwrap_or_else(|| whole(0))).collect();
            let fixed = enumerate::moments(code, &Estimator::AdvantageMinus(subtracted.clone()), &reward, &mu)?;
            for (edge, at) in bed.edges().iter().enumerate() {
                let form = bed.optimal(edge);
                let direct: Rational = (0..at.len())
                    .map(|j| {
                        at.probabilities[j].clone()
                            * at.distance(j)
                            * square(&(at.rewards[j].clone() - &subtracted[edge]))
                    })
                    .sum();
                // Every mu of one candidate alone is a vertex, where no baseline matters.
                let vertex = at.spread() == whole(0);
                let weights = code.optimal_weights(&at.probabilities);
                let weights_right = weights.as_ref().map_or(vertex, |weights| {
                    let right =
                        |(j, w): (usize, &Rational)| *w == at.probabilities[j].clone() * at.distance(j) / at.spread();
                    (vertex, weights.iter().enumerate().all(right)) == (false, true)
                });
                let same = all([
                    moments.second_moment[edge] == form.second_moment,
                    vertex || direct == form.second_moment,
                    fixed.second_moment[edge] == form.second_moment,
                    fixed.second_moment[edge] == bed.advantage_minus(edge, &subtracted[edge]).second_moment,
                    moments.expectation.edge(edge) == form.expectation,
                    moments.variance()[edge] == form.variance,
                    at.len() != 2 || form.variance == whole(0),
                    weights_right,
                ]);
                if !same {
                    return Ok(Some(describe(&mu)));
                }
            }
            Ok(None)
        },
    )?;
    let rewards = table(&[&[9, -1]])?;
    let mu = OpTable::from_rows([vec![rational(9, 10), rational(1, 10)]])?;
    let reward = Affine::linear(rewards);
    let variance =
        |estimator| Ok::<_, crate::Error>(enumerate::moments(code, &estimator, &reward, &mu)?.variance()[0].clone());
    evidence.pinned(
        "the mean is not the optimal baseline",
        &(
            variance(Estimator::Optimal)?,
            variance(Estimator::Advantage)?,
            variance(Estimator::AdvantageMinus(vec![whole(8)]))?,
        ),
        &(whole(0), whole(0), rational(288, 25)),
        "mu = (9/10, 1/10), r = (9, -1): r~ = 0, mean 8: variance 0 against 288/25",
    );
    evidence.exact("uniform mu: r~ is the mean, V* = (1 - 2/n) Var r", effort.times(60), |index| {
        let mut source = Source::instance(effort.seed, "C15 uniform", index);
        let n = source.whole(2, 5) as usize;
        let rewards = OpTable::from_rows([(0..n).map(|_| source.reward()).collect::<Vec<_>>()])?;
        let mu = uniform(&rewards);
        let bed = Testbed::new(&mu, &rewards, whole(0))?;
        let edge = &bed.edges()[0];
        let variance =
            enumerate::moments(code, &Estimator::Optimal, &Affine::linear(rewards), &mu)?.variance()[0].clone();
        let same = all([
            edge.optimal_baseline() == Some(edge.mean.clone()),
            variance == edge.reward_variance() * (whole(1) - rational(2, n as i64)),
        ]);
        Ok((!same).then(|| format!("n = {n}")))
    })?;
    running_averages(code, effort, &mut evidence)?;
    Ok(evidence)
}

/// The practical estimator: running averages per candidate of the advantages drawn before. Unbiased given every history, because
/// it uses past samples only; the same averages with the present sample taken in are not.
fn running_averages<E: Estimators>(code: &E, effort: &Effort, evidence: &mut Evidence) -> Result<()> {
    let expectation = |history: &[Architecture], mu: &OpTable<Rational>, reward: &dyn Reward<Rational>, early: bool| {
        let shape = mu.shape().clone();
        let mut averages = CandidateAverages::new(&shape, rational(1, 2))?;
        let advantages_of = |a: &Architecture| -> Result<Vec<Rational>> {
            let removals: Vec<Rational> = (0..shape.edges()).map(|edge| reward.without(a, edge)).collect();
            let mut advantages = removals.clone();
            code.advantages(&reward.at(a), &removals, &mut advantages)?;
            Ok(advantages)
        };
        for a in history {
            averages.update(a, &advantages_of(a)?)?;
        }
        Law::product(mu, LIMIT)?.moments(|a, out| {
            let advantages = advantages_of(a)?;
            let mut seen = averages.clone();
            if early {
                seen.update(a, &advantages)?;
            }
            let mut centred = advantages.clone();
            for (edge, (centred, advantage)) in centred.iter_mut().zip(&advantages).enumerate() {
                let baseline = [optimal_baseline_of_drawn(mu.edge(edge), seen.averages().edge(edge))?];
                code.advantages(advantage, &baseline, std::slice::from_mut(centred))?;
            }
            Ok(code.policy_gradient(&centred, a, mu, out)?)
        })
    };
    let mut biased = 0u64;
    let instances = effort.times(40);
    evidence.exact(
        "running averages of past samples: unbiased after every history of 0, 1, 2 draws",
        instances,
        |index| {
            let mut source = Source::instance(effort.seed, "C15 running", index);
            let shape = source.shape(2, 2);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.table(&shape);
            let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
            let all: Vec<Architecture> = shape.enumerate().collect();
            let mut histories: Vec<Vec<Architecture>> = vec![vec![]];
            histories.extend(all.iter().map(|a| vec![a.clone()]));
            histories.extend(all.iter().flat_map(|a| all.iter().map(|b| vec![a.clone(), b.clone()])));
            for history in histories {
                if expectation(&history, &mu, &reward, false)?.expectation != gradient {
                    return Ok(Some(describe(&mu)));
                }
                biased += u64::from(expectation(&history, &mu, &reward, true)?.expectation != gradient);
            }
            Ok(None)
        },
    )?;
    evidence.occurred("with the present sample taken in, it is biased", biased, instances, "histories");
    Ok(())
}
