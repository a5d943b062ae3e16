//! Every closed form against plain sums, over seeded rational instances with all corners: fast, and without the ledger.

use advantage_nas::{Architecture, OpTable};
use advantage_nas_theory::enumerate::{self, Estimator, LIMIT, Law, gradient, moments};
use advantage_nas_theory::estimators::Core;
use advantage_nas_theory::generate::{Corner, Source};
use advantage_nas_theory::methods::proxylessnas;
use advantage_nas_theory::number::{Rational, dot, norm2, rational, square, whole};
use advantage_nas_theory::reward::{Affine, Reward};
use advantage_nas_theory::taylor;
use advantage_nas_theory::testbed::{Edge, Form, Testbed, average_gap};

const INSTANCES: u64 = 60;

#[track_caller]
fn same(form: &Form<Rational>, found: &enumerate::Moments<Rational>, exact: &OpTable<Rational>, edge: usize) {
    assert_eq!(form.expectation, found.expectation.edge(edge));
    assert_eq!(form.second_moment, found.second_moment[edge]);
    assert_eq!(form.variance, found.variance()[edge]);
    let bias: Vec<Rational> = form.expectation.iter().zip(exact.edge(edge)).map(|(mean, exact)| mean - exact).collect();
    assert_eq!(form.bias, bias);
}

#[test]
fn testbed_of_affine_rewards() {
    for index in 0..INSTANCES {
        let mut source = Source::instance(11, "testbed", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.affine(&shape);
        let bed = Testbed::new(&mu, &reward.rewards, reward.constant.clone()).unwrap();
        let exact = gradient(|a| reward.at(a), &mu).unwrap();
        let law = Law::product(&mu, LIMIT).unwrap();
        let objective = law.expect(|a| reward.at(a));
        assert_eq!(bed.objective(), objective);
        assert_eq!(bed.constant(), &reward.constant);
        let baseline = source.reward();
        let found = |estimator| moments(&Core, &estimator, &reward, &mu).unwrap();
        let plain = found(Estimator::Reinforce);
        let fixed = found(Estimator::Baseline(baseline.clone()));
        let mean = found(Estimator::Baseline(objective));
        let advantage = found(Estimator::Advantage);
        let minus = found(Estimator::AdvantageMinus(vec![baseline.clone(); shape.edges()]));
        let optimal = found(Estimator::Optimal);
        for (i, edge) in bed.edges().iter().enumerate() {
            same(&bed.reinforce(i), &plain, &exact, i);
            same(&bed.reinforce_with_baseline(i, &baseline), &fixed, &exact, i);
            same(&bed.reinforce_mean_baseline(i), &mean, &exact, i);
            same(&bed.advantage(i), &advantage, &exact, i);
            same(&bed.advantage_minus(i, &baseline), &minus, &exact, i);
            same(&bed.optimal(i), &optimal, &exact, i);
            // DARTS: the gradient itself. NASP: the rewards themselves.
            let darts = bed.darts(i);
            assert_eq!((&darts.expectation[..], darts.second_moment), (exact.edge(i), norm2(exact.edge(i))));
            assert_eq!(darts.variance, whole(0));
            let nasp = bed.nasp(i);
            assert_eq!((&nasp.expectation[..], nasp.variance), (reward.rewards.edge(i), whole(0)));
            assert_eq!(nasp.second_moment, norm2(reward.rewards.edge(i)));
            // Quantities of one edge, from the distribution of its candidate.
            let of = |f: &dyn Fn(usize) -> Rational| (0..edge.len()).map(|j| &mu[(i, j)] * f(j)).sum::<Rational>();
            let r = |j: usize| reward.rewards[(i, j)].clone();
            let score = |j: usize| (0..edge.len()).map(|k| square(&(whole(i64::from(j == k)) - &mu[(i, k)]))).sum();
            assert_eq!(edge.mean, of(&r));
            assert_eq!(edge.reward_square_mean(), of(&|j| square(&r(j))));
            assert_eq!(edge.reward_variance(), of(&|j| square(&(r(j) - &edge.mean))));
            assert_eq!(edge.spread(), of(&score));
            assert_eq!(edge.moment, of(&|j| r(j) * score(j)));
            assert!((0..edge.len()).all(|j| edge.distance(j) == score(j)));
            assert_eq!(bed.rest_mean(i), law.expect(|a| reward.without(a, i)));
            assert_eq!(bed.rest_variance(i), law.expect(|a| square(&(reward.without(a, i) - bed.rest_mean(i)))));
            // As printed, written out with loops.
            let (mut norm, mut rest) = (whole(0), whole(0));
            for j in 0..edge.len() {
                norm += r(j) * r(j) * square(&(&mu[(i, j)] * (whole(1) - &mu[(i, j)])));
            }
            for k in (0..shape.edges()).filter(|k| *k != i) {
                for j in 0..shape.candidates(k) {
                    rest += &mu[(k, j)] * square(&reward.rewards[(k, j)]);
                }
            }
            assert_eq!(edge.printed_gradient_norm2(), norm);
            let printed = edge.second_moment_advantage() + edge.spread() * rest;
            assert_eq!(bed.printed_second_moment_reinforce(i), printed);
            if reward.constant == whole(0) {
                assert_eq!(bed.correction(i), &plain.second_moment[i] - printed);
            }
        }
        // Without the constant, the correction is exact minus printed.
        let linear = Affine::linear(reward.rewards.clone());
        let bed = Testbed::new(&mu, &linear.rewards, whole(0)).unwrap();
        let plain = moments(&Core, &Estimator::Reinforce, &linear, &mu).unwrap();
        for i in 0..shape.edges() {
            assert_eq!(bed.correction(i), &plain.second_moment[i] - bed.printed_second_moment_reinforce(i));
        }
    }
}

#[test]
fn zero_operation_replaced() {
    for index in 0..INSTANCES {
        let mut source = Source::instance(12, "zero", index);
        let shape = source.full_shape(1, 4);
        let mu = source.probabilities(&shape, Corner::of(index));
        // The rewards of the replaced candidate need not be zero for the formula.
        let rewards = source.rewards(&shape);
        let zero = source.whole(0, shape.len() as i64 - 1) as usize;
        let value = source.reward();
        let bed = Testbed::new(&mu, &rewards, whole(0)).unwrap();
        let form = bed.zero_replaced(0, zero, &value);
        let law = Law::product(&mu, LIMIT).unwrap();
        let mut effective = rewards.clone();
        effective[(0, zero)] = value.clone();
        let found = law.moments(|a, out| {
            Ok(advantage_nas::estimator::policy_gradient(&[effective[(0, a.choice(0))].clone()], a, &mu, out)?)
        });
        let found = found.unwrap();
        assert_eq!(form.second_moment, found.second_moment[0]);
        if rewards[(0, zero)] == whole(0) {
            assert_eq!(form.expectation, found.expectation.values());
        }
        // With reward 0, as a zero operation has.
        let mut proper = rewards.clone();
        proper[(0, zero)] = whole(0);
        let bed = Testbed::new(&mu, &proper, whole(0)).unwrap();
        let exact = gradient(|a| proper[(0, a.choice(0))].clone(), &mu).unwrap();
        same(&bed.zero_replaced(0, zero, &value), &found, &exact, 0);
    }
}

#[test]
fn proxylessnas_in_closed_form() {
    for index in 0..INSTANCES {
        let mut source = Source::instance(13, "pairs", index);
        let n = source.whole(2, 4) as usize;
        let mu = source.simplex(n, Corner::of(index));
        let rewards: Vec<Rational> = (0..n).map(|_| source.reward()).collect();
        // The estimate by hand: p_k p_l (r_k − r_l), and its opposite.
        let by_hand = |[k, l]: [usize; 2]| {
            let total = &mu[k] + &mu[l];
            let size = &mu[k] * &mu[l] / (&total * &total) * (&rewards[k] - &rewards[l]);
            (0..n)
                .map(|j| {
                    if j == k {
                        size.clone()
                    } else if j == l {
                        -size.clone()
                    } else {
                        whole(0)
                    }
                })
                .collect::<Vec<_>>()
        };
        let form = proxylessnas::form(&mu, &rewards);
        let (mut mean, mut second, mut ascent) = (vec![whole(0); n], whole(0), whole(0));
        let gradient = Edge::new(mu.clone(), rewards.clone()).unwrap().gradient();
        for k in 0..n {
            for l in (0..n).filter(|l| *l != k && &mu[k] * &mu[*l] != whole(0)) {
                let p = &mu[k] * &mu[l] / (whole(1) - &mu[k]);
                let delta = by_hand([k, l]);
                assert_eq!(proxylessnas::estimate(&mu, &rewards, [k, l]), delta);
                mean.iter_mut().zip(&delta).for_each(|(mean, d)| *mean += &p * d);
                second += &p * norm2(&delta);
                // Rescaled: 2 p_l g and −2 p_k g.
                let step = proxylessnas::rescaled(&mu, &rewards, [k, l]);
                let share = whole(2) / (&mu[k] + &mu[l]);
                assert_eq!(step[k], &share * &mu[l] * &delta[k]);
                assert_eq!(step[l], &share * &mu[k] * &delta[l]);
                ascent += &p * dot(&step, &gradient);
            }
        }
        assert_eq!(form.expectation, mean);
        assert_eq!(form.second_moment, second);
        assert_eq!(form.variance, &second - norm2(&mean));
        let bias: Vec<Rational> = mean.iter().zip(&gradient).map(|(mean, g)| mean - g).collect();
        assert_eq!(form.bias, bias);
        assert_eq!(proxylessnas::enumerate(&mu, by_hand), (mean, second));
        assert_eq!(proxylessnas::rescaled_ascent(&mu, &rewards), ascent);
        for k in 0..n {
            for l in 0..n {
                if k != l {
                    assert_eq!(proxylessnas::coupling(&mu, k, l), proxylessnas::coupling(&mu, l, k));
                }
            }
        }
    }
}

#[test]
fn errors_of_the_first_order() {
    for index in 0..INSTANCES {
        let mut source = Source::instance(14, "taylor", index);
        let shape = source.shape(2, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.polynomial(&shape, 4, 3);
        let found = moments(&Core, &Estimator::FirstOrder, &reward, &mu).unwrap();
        let exact = gradient(|a| reward.at(a), &mu).unwrap();
        for edge in 0..shape.edges() {
            let error = |a: &Architecture| {
                let mut slope = OpTable::filled(&shape, whole(0));
                reward.gradient_at(a, &mut slope);
                slope[(edge, a.choice(edge))].clone() - (reward.at(a) - reward.without(a, edge))
            };
            for a in shape.enumerate() {
                let ray = taylor::ray(&reward, &a, edge, reward.degree(edge));
                assert_eq!(ray.iter().sum::<Rational>(), reward.at(&a));
                assert_eq!(ray[0], reward.without(&a, edge));
                assert_eq!(taylor::error_of_ray(&ray), error(&a));
            }
            let errors = taylor::mean_errors(&mu, edge, error).unwrap();
            let bias: Vec<Rational> =
                found.expectation.edge(edge).iter().zip(exact.edge(edge)).map(|(f, e)| f - e).collect();
            assert_eq!(taylor::bias(mu.edge(edge), &errors), bias);
        }
    }
}

/// One to three edges with rewards m ± s, by the exact forms of every table.
#[test]
fn growth() {
    let mu = [rational(2, 3), rational(1, 3)];
    for edges in 1..=3usize {
        for (m, s) in [(0, 1), (2, 3)] {
            let shape = advantage_nas::Shape::new(vec![2; edges]).unwrap();
            let probabilities = OpTable::from_fn(&shape, |_, j| mu[j].clone());
            let mut gap = whole(0);
            let count = 1i64 << shape.len();
            for code in 0..count {
                let rewards = OpTable::from_fn(&shape, |edge, j| {
                    whole(if code >> (2 * edge + j) & 1 == 1 { m + s } else { m - s })
                });
                let bed = Testbed::new(&probabilities, &rewards, whole(0)).unwrap();
                gap += bed.reinforce(0).second_moment - bed.advantage(0).second_moment;
            }
            let spread = whole(1) - norm2(&mu);
            assert_eq!(average_gap(&spread, edges, &whole(m), &whole(s * s)), gap / whole(count));
        }
    }
}
