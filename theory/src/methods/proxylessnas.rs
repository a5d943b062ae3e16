//! ProxylessNAS on the linear testbed (claim C16): two distinct candidates drawn without replacement, both with weight 1, and the
//! gradient through the softmax of the two.

use advantage_nas::estimator::Scalar;

use crate::number::{dot, norm2, square, sum};
use crate::testbed::Form;

/// The gradient estimate of one edge from the pair `(k, l)`, `[candidates]`.
///
/// # Formula
/// `δ_i = Σ_j r_j p_j (1[i = j] − p_i)` over the two drawn, where `p` is the softmax renormalised over them.
pub fn estimate<T: Scalar>(probabilities: &[T], rewards: &[T], pair: [usize; 2]) -> Vec<T> {
    let total = probabilities[pair[0]].clone() + &probabilities[pair[1]];
    let p = pair.map(|candidate| probabilities[candidate].clone() / &total);
    let mut out = vec![T::zero(); probabilities.len()];
    for (i, &candidate) in pair.iter().enumerate() {
        for (j, &other) in pair.iter().enumerate() {
            let indicator = if i == j { T::one() } else { T::zero() };
            let term = rewards[other].clone() * &p[j] * (indicator - &p[i]);
            out[candidate] = out[candidate].clone() + term;
        }
    }
    out
}

/// Expectation and second moment of any estimate from the ordered pairs of one edge, by enumeration:
/// `P(k, l) = μ_k μ_l / (1 − μ_k)`.
pub fn enumerate<T: Scalar>(probabilities: &[T], mut estimate: impl FnMut([usize; 2]) -> Vec<T>) -> (Vec<T>, T) {
    let n = probabilities.len();
    let mut expectation = vec![T::zero(); n];
    let mut second_moment = T::zero();
    for first in 0..n {
        for second in (0..n).filter(|second| *second != first) {
            let joint = probabilities[first].clone() * &probabilities[second];
            // On a vertex the second draw is free, but the softmax of any pair with it is a vertex too: no update.
            if joint.is_zero() {
                continue;
            }
            let probability = joint / (T::one() - &probabilities[first]);
            let delta = estimate([first, second]);
            for (mean, value) in expectation.iter_mut().zip(&delta) {
                *mean = mean.clone() + probability.clone() * value;
            }
            second_moment = second_moment + norm2(&delta) * &probability;
        }
    }
    (expectation, second_moment)
}

/// `π_kl = μ_k μ_l (1/(1 − μ_k) + 1/(1 − μ_l))`: the probability that the pair is drawn, in either order.
fn pair_probability<T: Scalar>(k: &T, l: &T) -> T {
    let joint = k.clone() * l;
    if joint.is_zero() {
        return joint;
    }
    joint * (T::one() / (T::one() - k) + T::one() / (T::one() - l))
}

/// The symmetric matrix `W` with `E δ_k = Σ_l W_kl (r_k − r_l)`; the gradient has `μ_k μ_l` in its place.
///
/// # Formula
/// `W_kl = π_kl μ_k μ_l / (μ_k + μ_l)²`
pub fn coupling<T: Scalar>(probabilities: &[T], k: usize, l: usize) -> T {
    let (mu_k, mu_l) = (&probabilities[k], &probabilities[l]);
    let joint = mu_k.clone() * mu_l;
    if joint.is_zero() {
        return joint;
    }
    pair_probability(mu_k, mu_l) * joint / square(&(mu_k.clone() + mu_l))
}

/// Expectation, bias, second moment and variance at one edge.
pub fn form<T: Scalar>(probabilities: &[T], rewards: &[T]) -> Form<T> {
    let n = probabilities.len();
    let expectation: Vec<T> = (0..n)
        .map(|k| {
            sum((0..n).filter(|l| *l != k).map(|l| coupling(probabilities, k, l) * (rewards[k].clone() - &rewards[l])))
        })
        .collect();
    // Both components of a pair's estimate are ± p_k p_l (r_k − r_l).
    let mut second_moment = T::zero();
    for k in 0..n {
        for l in 0..k {
            let (mu_k, mu_l) = (&probabilities[k], &probabilities[l]);
            let drawn = pair_probability(mu_k, mu_l);
            if drawn.is_zero() {
                continue;
            }
            let p = mu_k.clone() / (mu_k.clone() + mu_l);
            let size = square(&(p.clone() * (T::one() - &p) * (rewards[k].clone() - &rewards[l])));
            second_moment = second_moment + drawn * (size.clone() + size);
        }
    }
    let mean = dot(probabilities, rewards);
    let gradient: Vec<T> =
        probabilities.iter().zip(rewards).map(|(mu, reward)| (reward.clone() - &mean) * mu).collect();
    Form::new(expectation, &gradient, second_moment)
}

/// The step of the two logits after which their joint probability is as before (to first order), from the pair's estimate
/// `(g, −g)`: `(2 p_l g, −2 p_k g)`, `[candidates]`.
pub fn rescaled<T: Scalar>(probabilities: &[T], rewards: &[T], pair: [usize; 2]) -> Vec<T> {
    let delta = estimate(probabilities, rewards, pair);
    let total = probabilities[pair[0]].clone() + &probabilities[pair[1]];
    // The shift s of both logits solves p_k (g + s) + p_l (−g + s) = 0.
    let shift = -sum(pair.map(|candidate| probabilities[candidate].clone() * &delta[candidate])) / total;
    let mut out = delta;
    for candidate in pair {
        out[candidate] = out[candidate].clone() + &shift;
    }
    out
}

/// The expected first-order change of `J` by rescaled steps: `Σ_{k<l} π_kl (μ_k + μ_l) 2 p²(1 − p)² (r_k − r_l)² ≥ 0`.
pub fn rescaled_ascent<T: Scalar>(probabilities: &[T], rewards: &[T]) -> T {
    let mut total = T::zero();
    for k in 0..probabilities.len() {
        for l in 0..k {
            let (mu_k, mu_l) = (&probabilities[k], &probabilities[l]);
            let drawn = pair_probability(mu_k, mu_l);
            if drawn.is_zero() {
                continue;
            }
            let both = mu_k.clone() + mu_l;
            let p = mu_k.clone() / &both;
            let size = square(&(p.clone() * (T::one() - &p) * (rewards[k].clone() - &rewards[l])));
            total = total + drawn * both * (size.clone() + size);
        }
    }
    total
}
