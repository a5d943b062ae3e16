//! C16 to C19: what the other methods of Table 1 estimate.

use std::cmp::Ordering;

use advantage_nas::estimator::Scalar;
use advantage_nas::{OpTable, Policy};
use num_traits::{Signed, Zero};

use super::evidence::all;
use super::policy::{describe, random_policy};
use super::{Effort, Evidence};
use crate::dual::Dual;
use crate::enumerate::{self, LIMIT, Law};
use crate::error::Result;
use crate::estimators::Estimators;
use crate::generate::{Corner, Source};
use crate::methods::{gdas, parsec, proxylessnas};
use crate::number::{Rational, dot, norm2, rational, sum, to_f64, whole};
use crate::reward::{Reward, SquaredLoss, one_hot};
use crate::statistics::{Bonferroni, chi_square_p, mean_p};
use crate::testbed::Edge;

fn rationals(values: &[(i64, i64)]) -> Vec<Rational> {
    values.iter().map(|(numerator, denominator)| rational(*numerator, *denominator)).collect()
}

/// The estimate from a pair with the code's gradient through a softmax, `[candidates]`.
fn pair_estimate<T: Scalar, E: Estimators>(code: &E, mu: &[T], rewards: &[T], pair: [usize; 2]) -> Vec<T> {
    let total = mu[pair[0]].clone() + &mu[pair[1]];
    let weights = pair.map(|k| mu[k].clone() / &total);
    let mut inner = [T::zero(), T::zero()];
    code.softmax_pullback(&weights, &pair.map(|k| rewards[k].clone()), &mut inner);
    let mut out = vec![T::zero(); mu.len()];
    for (k, value) in pair.into_iter().zip(inner) {
        out[k] = value;
    }
    out
}

/// C16.
pub fn proxylessnas<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    let (mut biased, mut pairs, mut fair) = (0u64, 0u64, 0u64);
    evidence.exact("E delta_k = sum_l W_kl (r_k - r_l), second moment as derived", effort.times(200), |index| {
        let mut source = Source::instance(effort.seed, "C16", index);
        let n = source.whole(2, 4) as usize;
        let mu = source.simplex(n, Corner::of(index));
        let rewards: Vec<Rational> = (0..n).map(|_| source.reward()).collect();
        let (mean, second) = proxylessnas::enumerate(&mu, |pair| pair_estimate(code, &mu, &rewards, pair));
        let plain = proxylessnas::enumerate(&mu, |pair| proxylessnas::estimate(&mu, &rewards, pair));
        let form = proxylessnas::form(&mu, &rewards);
        let gradient = Edge::new(mu.clone(), rewards)?.gradient();
        let zero = form.bias.iter().all(Zero::is_zero);
        biased += u64::from(!zero);
        let possible = mu.iter().filter(|p| !p.is_zero()).count();
        let factor = rational(n as i64, 2 * (n as i64 - 1));
        let scaled: Vec<Rational> = gradient.iter().map(|g| g * &factor).collect();
        let unbiased = all([zero, form.variance == whole(0), mean == gradient]);
        if possible <= 2 {
            pairs += 1;
            fair += u64::from(unbiased);
        }
        let same = all([
            mean == form.expectation,
            second == form.second_moment,
            plain == (mean.clone(), second),
            Corner::of(index) != Corner::Uniform || mean == scaled,
        ]);
        Ok((!same).then(|| format!("mu = {mu:?}")))
    })?;
    evidence.occurred("biased instances were among them", biased, effort.times(30), "instances");
    evidence.condition(
        "with at most two possible candidates it is unbiased and certain",
        fair == pairs,
        format!("{fair} of {pairs} instances"),
    );
    let mu = rationals(&[(5, 8), (1, 4), (1, 8)]);
    let rewards = vec![whole(1), whole(0), whole(4)];
    let (mean, _) = proxylessnas::enumerate(&mu, |pair| pair_estimate(code, &mu, &rewards, pair));
    evidence.pinned(
        "a sign flips",
        &(mean, Edge::new(mu, rewards)?.gradient()),
        &(rationals(&[(25, 7056), (-1039, 5292), (583, 3024)]), rationals(&[(-5, 64), (-9, 32), (23, 64)])),
        "mu = (5/8, 1/4, 1/8), r = (1, 0, 4): E delta_1 = 25/7056, grad_1 = -5/64",
    );
    let mu = rationals(&[(900, 1000), (99, 1000), (1, 1000)]);
    let rewards = vec![whole(999), whole(1000), whole(0)];
    let (mean, _) = proxylessnas::enumerate(&mu, |pair| pair_estimate(code, &mu, &rewards, pair));
    let gradient = Edge::new(mu, rewards)?.gradient();
    let cosine = to_f64(&dot(&mean, &gradient)) / (to_f64(&norm2(&mean)) * to_f64(&norm2(&gradient))).sqrt();
    evidence.numerical("descent near a vertex: the cosine with the gradient", cosine, -0.21, 5e-3);
    evidence.exact(
        "rescaled: pair's probability kept, first-order change of J as derived and >= 0",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C16 rescaled", index);
            let n = source.whole(2, 4) as usize;
            let mu = source.simplex(n, Corner::of(index));
            let rewards: Vec<Rational> = (0..n).map(|_| source.reward()).collect();
            let mut changes = Vec::new();
            let (mean, _) = proxylessnas::enumerate(&mu, |pair| {
                let step = proxylessnas::rescaled(&mu, &rewards, pair);
                changes.push(sum(pair.map(|k| mu[k].clone() * &step[k])));
                step
            });
            let ascent = dot(&mean, &Edge::new(mu.clone(), rewards.clone())?.gradient());
            let same = all([
                changes.iter().all(Zero::is_zero),
                ascent == proxylessnas::rescaled_ascent(&mu, &rewards),
                !ascent.is_negative(),
            ]);
            Ok((!same).then(|| format!("mu = {mu:?}, r = {rewards:?}")))
        },
    )?;
    // The sampler draws pairs with these probabilities.
    let (rows, draws) = (8, effort.times(20_000));
    let (mut pairs_p, mut means) = (Bonferroni::default(), Bonferroni::default());
    for row in 0..rows {
        let mut source = Source::instance(effort.seed, "C16 sampler", row);
        let shape = source.full_shape(1, 4);
        let policy = random_policy(&mut source, &shape)?;
        let mu = policy.probabilities().values().to_vec();
        let n = mu.len();
        let rewards: Vec<f64> = (0..n).map(|_| to_f64(&source.reward())).collect();
        let probabilities: Vec<f64> = (0..n * n)
            .map(|at| if at / n == at % n { 0.0 } else { mu[at / n] * mu[at % n] / (1.0 - mu[at / n]) })
            .collect();
        let form = proxylessnas::form(&mu, &rewards);
        let mut counts = vec![0u64; n * n];
        let (mut sums, mut squares) = (vec![0.0; n], vec![0.0; n]);
        let mut pair = [[0, 0]];
        for _ in 0..draws {
            code.sample_two(&policy, source.rng(), &mut pair)?;
            counts[pair[0][0] * n + pair[0][1]] += 1;
            for (k, value) in pair_estimate(code, &mu, &rewards, pair[0]).into_iter().enumerate() {
                sums[k] += value;
                squares[k] += value * value;
            }
        }
        pairs_p.add(chi_square_p(&counts, &probabilities));
        for k in 0..n {
            let mean = sums[k] / draws as f64;
            means.add(mean_p(sums[k], draws, form.expectation[k], squares[k] / draws as f64 - mean * mean));
        }
    }
    let detail = format!("{rows} policies, {draws} draws each");
    evidence.statistical("sampled pairs against mu_k mu_l/(1 - mu_k)", rows * draws, &pairs_p, detail.clone());
    evidence.statistical("the sampled mean is the derived one", rows * draws, &means, detail);
    Ok(evidence)
}

/// C17.
pub fn gdas<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    gdas_by_quadrature(&mut evidence)?;
    sampled_gdas(code, effort.seed, effort.times(30_000), &mut evidence)?;
    Ok(evidence)
}

/// The expectations of GDAS against known integrals, and what follows from them.
fn gdas_by_quadrature(evidence: &mut Evidence) -> Result<()> {
    for u in [0.0, 1.0, -3.0] {
        let p = 1.0 / (1.0 + f64::exp(-u));
        let coupling = gdas::coupling(&[p, 1.0 - p], 1.0)?[0][1];
        evidence.numerical("two candidates, tau = 1: the logistic density", coupling, gdas::two_candidates(u), 1e-9);
    }
    evidence.numerical("1/6 at mu = 1/2, in place of 1/4", gdas::coupling(&[0.5, 0.5], 1.0)?[0][1], 1.0 / 6.0, 1e-9);
    let three = [0.5, 0.3, 0.2];
    evidence.numerical(
        "three candidates: the integral of Bessel functions",
        gdas::coupling(&three, 1.0)?[0][1],
        gdas::coupling_by_bessel(&three, 0, 1),
        1e-9,
    );
    for (n, ratio) in [(3usize, 0.688), (4, 0.703), (10, 0.748)] {
        let mu = vec![1.0 / n as f64; n];
        let coupling = gdas::coupling(&mu, 1.0)?[0][1];
        evidence.numerical("uniform mu, tau = 1: scale of the gradient", coupling * (n * n) as f64, ratio, 5e-4);
    }
    let rewards = [1.0, -1.0, 2.0];
    let mut distances = Vec::new();
    for tau in [2.0, 1.0, 0.5, 0.25, 0.125] {
        let dense = gdas::forms(&three, &rewards, tau, 1.0)?.dense;
        distances.push(norm2(&dense.bias).sqrt());
    }
    // The lowest must still be far above the quadrature's error.
    let falling: Vec<f64> = distances.iter().copied().chain([1e-6]).collect();
    evidence.condition(
        "biased at every temperature, less so at lower ones",
        falling.is_sorted_by(|larger, smaller| larger.partial_cmp(smaller) == Some(Ordering::Greater)),
        format!("mu = (1/2, 3/10, 1/5), r = (1, -1, 2), tau = 2 to 1/8: ||bias|| = {distances:.4?}"),
    );
    // Only the selected candidate evaluated, the gradient at the others taken as kappa.
    let mu = [2.0 / 3.0, 1.0 / 3.0];
    let selected = gdas::selected(&mu, 1.0)?;
    evidence.numerical("one output: E delta_1 = .09946 (r1 - k) - ...", selected[0][1], 0.099_46, 5e-6);
    evidence.numerical("... .05943 (r2 - k), true .2222 (r1 - r2)", selected[1][0], 0.059_43, 5e-6);
    let drift = gdas::forms(&mu, &[1.0, 1.0], 1.0, 0.0)?.one_output;
    evidence.numerical("a constant reward of 1 drifts", drift.expectation[0], 0.0400, 5e-5);
    let flipped = gdas::forms(&mu, &[2.0, 2.1], 1.0, 1.0)?.one_output;
    // .09946 (2 − 1) − .05943 (2.1 − 1), while the gradient is (2/9)(2 − 2.1).
    let gradient = flipped.expectation[0] - flipped.bias[0];
    evidence.numerical("a sign flips: r = (2, 2.1), kappa = 1: E delta_1", flipped.expectation[0], 0.034_09, 1e-5);
    evidence.numerical("a sign flips: ... grad_1", gradient, -0.022_222_222, 1e-8);
    Ok(())
}

/// The sampler against the quadrature.
fn sampled_gdas<E: Estimators>(code: &E, seed: u64, draws: u64, evidence: &mut Evidence) -> Result<()> {
    let rows = 4;
    let (mut dense_p, mut one_p, mut second_p) = (Bonferroni::default(), Bonferroni::default(), Bonferroni::default());
    for row in 0..rows {
        let mut source = Source::instance(seed, "C17", row);
        let shape = source.full_shape(1, 4);
        let policy = random_policy(&mut source, &shape)?;
        let tau = [1.0, 0.5, 2.0, 0.3][row as usize];
        let n = shape.len();
        let rewards: Vec<f64> = (0..n).map(|_| to_f64(&source.reward()) / 32.0).collect();
        let unit = 1.0;
        let forms = gdas::forms(policy.probabilities().values(), &rewards, tau, unit)?;
        let mut h = policy.probabilities().clone();
        // Sums and sums of squares: dense and one-output components, then their squared norms.
        let mut sums = vec![[0.0; 2]; 2 * n + 2];
        for _ in 0..draws {
            code.gumbel_softmax(&policy, tau, source.rng(), &mut h)?;
            let h = h.values();
            let chosen = (0..n).fold(0, |best, k| if h[k] > h[best] { k } else { best });
            let through = |gradient: &[f64]| {
                let mut out = vec![0.0; n];
                code.softmax_pullback(h, gradient, &mut out);
                out.iter_mut().for_each(|value| *value /= tau);
                out
            };
            let dense = through(&rewards);
            let one = through(&(0..n).map(|k| if k == chosen { rewards[k] } else { unit }).collect::<Vec<f64>>());
            let norms = [norm2(&dense), norm2(&one)];
            for (sum, value) in sums.iter_mut().zip(dense.iter().chain(&one).chain(&norms)) {
                sum[0] += value;
                sum[1] += value * value;
            }
        }
        let p = |at: usize, mean: f64| {
            let average = sums[at][0] / draws as f64;
            mean_p(sums[at][0], draws, mean, sums[at][1] / draws as f64 - average * average)
        };
        for k in 0..n {
            dense_p.add(p(k, forms.dense.expectation[k]));
            one_p.add(p(n + k, forms.one_output.expectation[k]));
        }
        second_p.add(p(2 * n, forms.dense.second_moment));
        second_p.add(p(2 * n + 1, forms.one_output.second_moment));
    }
    let detail = format!("{rows} policies, {draws} draws each");
    evidence.statistical("sampled dense estimates", rows * draws, &dense_p, detail.clone());
    evidence.statistical("sampled one-output estimates", rows * draws, &one_p, detail.clone());
    evidence.statistical("sampled second moments", rows * draws, &second_p, detail);
    Ok(())
}

/// C18.
pub fn parsec<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    // Importance weights times the code's own scores.
    let moments = |law: &Law<Rational>,
                   mu: &OpTable<Rational>,
                   samples: usize,
                   rho: &dyn Fn(&advantage_nas::Architecture) -> Rational| {
        let mut failure = None;
        let mut score = mu.clone();
        let result = parsec::moments_by(law, mu, samples, rho, |drawn, out| {
            let total: Rational = drawn.iter().map(|(rho, _)| (*rho).clone()).sum();
            out.fill(whole(0));
            for (rho, a) in drawn {
                if let Err(error) = code.score(a, mu, &mut score) {
                    failure = Some(error);
                }
                for (sum, value) in out.values_mut().iter_mut().zip(score.values()) {
                    *sum += *rho * value / &total;
                }
            }
        });
        match failure {
            Some(error) => Err(error.into()),
            None => result,
        }
    };
    evidence.exact(
        "K = 1 estimates nothing; K = 2 is sum mu_l mu_k tanh((r_l - r_k)/2)",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C18", index);
            let shape = source.full_shape(1, 4);
            let mu = source.probabilities(&shape, Corner::of(index));
            let rho: Vec<Rational> = (0..shape.len()).map(|_| whole(source.whole(1, 96))).collect();
            let law = Law::product(&mu, LIMIT)?;
            let by = |a: &advantage_nas::Architecture| rho[a.choice(0)].clone();
            let one = moments(&law, &mu, 1, &by)?;
            let two = moments(&law, &mu, 2, &by)?;
            let closed = parsec::moments(&law, &mu, 2, by)?;
            let same = all([
                one.expectation.values().iter().all(Zero::is_zero),
                two.expectation.values() == parsec::two_samples(mu.values(), &rho),
                two == closed,
            ]);
            Ok((!same).then(|| describe(&mu)))
        },
    )?;
    for samples in 1..=4 {
        let name = "small rewards: (1 - 1/K) grad J to first order, K = 1 to 4, several edges";
        evidence.exact(name, effort.times(6), |index| {
            let mut source = Source::instance(effort.seed, "C18 small", index);
            let shape = source.full_shape(2, 2);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.table(&shape);
            let lift = |value: &Rational| Dual::constant(value.clone());
            let lifted = OpTable::from_values(&shape, mu.values().iter().map(lift).collect())?;
            let law = Law::product(&lifted, LIMIT)?;
            // e^{εR} = 1 + εR.
            let moments = parsec::moments(&law, &lifted, samples, |a| Dual::new(whole(1), reward.at(a)))?;
            let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
            let factor = whole(1) - rational(1, samples as i64);
            let expected: Vec<Dual<Rational>> =
                gradient.values().iter().map(|g| Dual::new(whole(0), g * &factor)).collect();
            Ok((moments.expectation.values() != expected).then(|| format!("K = {samples}, {}", describe(&mu))))
        })?;
    }
    evidence.exact("the limit is the gradient of log E e^R", effort.times(100), |index| {
        let mut source = Source::instance(effort.seed, "C18 limit", index);
        let shape = source.full_shape(1, 4);
        let mu = source.probabilities(&shape, Corner::of(index));
        let rho: Vec<Rational> = (0..shape.len()).map(|_| whole(source.whole(1, 96))).collect();
        let gradient = enumerate::gradient(|a| rho[a.choice(0)].clone(), &mu)?;
        let mean = dot(mu.values(), &rho);
        let logarithmic: Vec<Rational> = gradient.values().iter().map(|g| g / &mean).collect();
        Ok((logarithmic != parsec::limit(mu.values(), &rho)).then(|| describe(&mu)))
    })?;
    // rho = (3, 1) means r1 − r2 = ln 3, so the gradient is irrational and no rational expectation equals it.
    let mu = OpTable::from_rows([vec![rational(1, 2), rational(1, 2)]])?;
    let law = Law::product(&mu, LIMIT)?;
    let rho = |a: &advantage_nas::Architecture| whole(if a.choice(0) == 0 { 3 } else { 1 });
    let limit = to_f64(&parsec::limit(mu.values(), &[whole(3), whole(1)])[0]);
    let gradient = 3f64.ln() / 4.0;
    let (mut means, mut gaps) = (Vec::new(), Vec::new());
    for samples in [2usize, 4, 8, 16, 32, 64] {
        let mean = to_f64(&moments(&law, &mu, samples, &rho)?.expectation.values()[0].clone());
        gaps.push((limit - mean) * samples as f64);
        means.push(mean);
    }
    means.extend([limit, gradient]);
    evidence.pinned(
        "two samples",
        &moments(&law, &mu, 2, &rho)?.expectation.values()[0],
        &rational(1, 8),
        "mu = 1/2, e^R = (3, 1), K = 2: E delta_1 = 1/8, grad_1 = ln(3)/4",
    );
    evidence.condition(
        "biased for K = 2 to 64: they rise to the limit, which is below the gradient",
        means.is_sorted_by(|lower, higher| lower.partial_cmp(higher) == Some(Ordering::Less)),
        format!("limit {limit:.4}, gradient {gradient:.4}"),
    );
    // Converges like 1/K: K times the gap has a limit.
    evidence.numerical("an error of order 1/K: 64 (limit - mean) is near 32 (limit - mean)", gaps[5], gaps[4], 0.01);
    Ok(evidence)
}

/// C19.
pub fn darts<E: Estimators>(code: &E, effort: &Effort) -> Result<Evidence> {
    let mut evidence = Evidence::new();
    // ∇_θ R(μ(θ)) by dual numbers through the chain rule: Σ_j ∂R/∂a_j ∂μ_j/∂θ_k.
    let mixture = |reward: &dyn Reward<Rational>, mu: &OpTable<Rational>| -> Vec<Rational> {
        let shape = mu.shape();
        let mut slope = mu.clone();
        reward.gradient_into(mu, &mut slope);
        let mut out = Vec::new();
        for edge in 0..shape.edges() {
            for moved in 0..shape.candidates(edge) {
                let softmax = enumerate::softmax_derivative(mu.edge(edge), moved);
                out.push(sum(softmax.iter().zip(slope.edge(edge)).map(|(p, slope)| p.derivative.clone() * slope)));
            }
        }
        out
    };
    evidence.exact(
        "the gradient of R(mu(theta)) is that of J on multi-affine rewards",
        effort.times(150),
        |index| {
            let mut source = Source::instance(effort.seed, "C19", index);
            let shape = source.shape(3, 3);
            let mu = source.probabilities(&shape, Corner::of(index));
            let reward = source.table(&shape);
            let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
            // The expectation of the code's own unbiased estimator is the same.
            let mean = enumerate::moments(code, &enumerate::Estimator::Advantage, &reward, &mu)?.expectation;
            let mut slope = mu.clone();
            reward.gradient_into(&mu, &mut slope);
            let mut through = mu.clone();
            for edge in 0..shape.edges() {
                code.softmax_pullback(mu.edge(edge), slope.edge(edge), through.edge_mut(edge));
            }
            let same = all([mixture(&reward, &mu) == gradient.values(), through == gradient, mean == gradient]);
            Ok((!same).then(|| describe(&mu)))
        },
    )?;
    evidence.exact("R(mu) is J itself there", effort.times(100), |index| {
        let mut source = Source::instance(effort.seed, "C19 value", index);
        let shape = source.shape(3, 3);
        let mu = source.probabilities(&shape, Corner::of(index));
        let reward = source.table(&shape);
        let first = advantage_nas::Architecture::first(&shape);
        let same = all([
            reward.value(&mu) == enumerate::objective(&reward, &mu)?,
            reward.value(&one_hot(&shape, &first, None)) == reward.at(&first),
        ]);
        Ok((!same).then(|| describe(&mu)))
    })?;
    let outputs = OpTable::from_rows([vec![vec![whole(1)], vec![rational(1, 2)]]])?;
    let reward = SquaredLoss::new(vec![whole(1)], outputs)?;
    let mu = OpTable::from_rows([vec![rational(1, 4), rational(3, 4)]])?;
    let gradient = enumerate::gradient(|a| reward.at(a), &mu)?;
    evidence.pinned(
        "not for squared loss",
        &(mixture(&reward, &mu)[0].clone(), gradient.values()[0].clone()),
        &(rational(9, 128), rational(3, 64)),
        "outputs (1, 1/2), target 1, mu = (1/4, 3/4): 9/128, grad_1 = 3/64",
    );
    // The policy's softmax is the one that was differentiated.
    let policy = Policy::new(OpTable::from_rows([vec![0.0, 3f64.ln()]])?)?;
    evidence.numerical("the policy's mu at theta = (0, ln 3)", policy.probabilities().values()[0], 0.25, 1e-15);
    Ok(evidence)
}
