//! PARSEC on any reward (claim C18): `K` architectures from the policy, weighted by the softmax of their rewards.

use advantage_nas::estimator::Scalar;
use advantage_nas::{Architecture, OpTable};

use crate::enumerate::{Law, Moments};
use crate::error::{Error, Result};

/// Most multisets of architectures that are enumerated.
pub const LIMIT: u128 = 4_000_000;

/// Most samples: the probabilities of all samples that matter stay within the range of `f64`.
pub const MOST_SAMPLES: usize = 1000;

/// Most samples in all multisets together.
const MOST_DRAWS: u128 = 100_000_000;

/// The gradient estimate from several architectures with `ρ = e^R`, `[edges, candidates]`.
///
/// # Formula
/// `δ_i = Σ_m ω_m (a_{m,i} − μ_i)` with `ω_m = ρ_m / Σ_n ρ_n`
pub fn estimate<T: Scalar>(samples: &[(&T, &Architecture)], probabilities: &OpTable<T>, out: &mut OpTable<T>) {
    let total = crate::number::sum(samples.iter().map(|(rho, _)| (*rho).clone()));
    for (value, probability) in out.values_mut().iter_mut().zip(probabilities.values()) {
        *value = -probability.clone();
    }
    for (rho, architecture) in samples {
        let weight = (*rho).clone() / &total;
        for (edge, &choice) in architecture.choices().iter().enumerate() {
            out[(edge, choice)] = out[(edge, choice)].clone() + &weight;
        }
    }
}

/// Moments of the estimate from `samples` draws, by going through all multisets of that size with their multinomial
/// probabilities. `rho(a)` is `e^{R(a)}`.
///
/// # Errors
/// [`Error::Argument`] without a sample or with more than [`MOST_SAMPLES`], [`Error::TooLarge`] for more than [`LIMIT`] multisets or
/// more than 100 million samples in them.
pub fn moments<T: Scalar>(
    law: &Law<T>,
    probabilities: &OpTable<T>,
    samples: usize,
    rho: impl FnMut(&Architecture) -> T,
) -> Result<Moments<T>> {
    moments_by(law, probabilities, samples, rho, |drawn, out| estimate(drawn, probabilities, out))
}

/// As [`moments`], of any estimate from the samples and their `ρ`.
///
/// # Errors
/// As [`moments`].
pub fn moments_by<T: Scalar>(
    law: &Law<T>,
    probabilities: &OpTable<T>,
    samples: usize,
    mut rho: impl FnMut(&Architecture) -> T,
    mut estimate: impl FnMut(&[(&T, &Architecture)], &mut OpTable<T>),
) -> Result<Moments<T>> {
    if !(1..=MOST_SAMPLES).contains(&samples) {
        let got = samples.to_string();
        return Err(Error::Argument { name: "number of samples", expected: "between 1 and 1000", got });
    }
    let atoms = law.atoms();
    expect_few(multisets(atoms.len() as u128, samples as u128), samples as u128)?;
    let rhos: Vec<T> = atoms.iter().map(|(_, architecture)| rho(architecture)).collect();
    let mut total = Moments::zero(probabilities.shape());
    let mut buffer = probabilities.clone();
    let numbers: Vec<T> = (0..=samples).map(crate::number::count).collect();
    // A multiset is a non-decreasing sequence of indices; the next one in lexicographic order follows.
    let mut chosen = vec![0; samples];
    loop {
        let drawn: Vec<(&T, &Architecture)> = chosen.iter().map(|&index| (&rhos[index], &atoms[index].1)).collect();
        estimate(&drawn, &mut buffer);
        let mut probability = T::one();
        let mut run = 0;
        for (position, &index) in chosen.iter().enumerate() {
            run = if position > 0 && chosen[position - 1] == index { run + 1 } else { 1 };
            // The multinomial coefficient K! / Π c!, one factor at a time: position / length of the run.
            let arrangements = numbers[position + 1].clone() / &numbers[run];
            probability = probability * &atoms[index].0 * arrangements;
        }
        total.add(&probability, &buffer);
        let Some(position) = chosen.iter().rposition(|&index| index + 1 < atoms.len()) else { break };
        let next = chosen[position] + 1;
        chosen[position..].fill(next);
    }
    Ok(total)
}

/// Refuses more than [`LIMIT`] multisets (`None`: beyond `u128`) and more than [`MOST_DRAWS`] samples in all of them.
fn expect_few(count: Option<u128>, samples: u128) -> Result<()> {
    let count = count.filter(|count| *count <= LIMIT).ok_or_else(|| {
        let count = count.map_or_else(|| "more than 2^128".to_owned(), |count| count.to_string());
        Error::TooLarge { what: "multisets of sampled architectures", count, limit: LIMIT }
    })?;
    let draws = count * samples;
    if draws > MOST_DRAWS {
        let (what, count) = ("samples in all multisets of architectures", draws.to_string());
        return Err(Error::TooLarge { what, count, limit: MOST_DRAWS });
    }
    Ok(())
}

/// `C(n + k − 1, k)`, or `None` beyond `u128`.
fn multisets(n: u128, k: u128) -> Option<u128> {
    (1..=k).try_fold(1u128, |count, i| count.checked_mul(n + i - 1).map(|product| product / i))
}

/// The limit of many samples at one edge, `∇ log E e^R`: `μ_l (ρ_l / ρ̄ − 1)`, `[candidates]`.
pub fn limit<T: Scalar>(probabilities: &[T], rho: &[T]) -> Vec<T> {
    let mean = crate::number::dot(probabilities, rho);
    probabilities.iter().zip(rho).map(|(mu, rho)| (rho.clone() / &mean - T::one()) * mu).collect()
}

/// The expectation from two samples at one edge: `Σ_k μ_l μ_k (ρ_l − ρ_k)/(ρ_l + ρ_k)`, which is
/// `Σ_k μ_l μ_k tanh((r_l − r_k)/2)`, `[candidates]`.
pub fn two_samples<T: Scalar>(probabilities: &[T], rho: &[T]) -> Vec<T> {
    let n = probabilities.len();
    let term = |l: usize, k: usize| {
        let tanh = (rho[l].clone() - &rho[k]) / (rho[l].clone() + &rho[k]);
        tanh * &probabilities[l] * &probabilities[k]
    };
    (0..n).map(|l| crate::number::sum((0..n).map(|k| term(l, k)))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Corner, Source};
    use crate::number::{Rational, whole};

    #[test]
    fn multisets_are_counted() {
        assert_eq!(multisets(4, 8), Some(165));
        assert_eq!(multisets(1, 5), Some(1));
        assert_eq!(multisets(3, 1), Some(3));
        assert_eq!(multisets(u128::MAX / 2, 3), None);
    }

    /// All ordered tuples instead of multisets, with nothing clever.
    #[test]
    fn multisets_replace_tuples() {
        let mut source = Source::new(5);
        for samples in 1..=3usize {
            let shape = source.full_shape(2, 2);
            let probabilities = source.probabilities(&shape, Corner::Generic);
            let law = Law::product(&probabilities, 100).unwrap();
            let rho = |a: &Architecture| whole((a.choice(0) * 3 + a.choice(1) + 1) as i64);
            let n = law.atoms().len();
            let mut expected = Moments::zero(&shape);
            for code in 0..n.pow(samples as u32) {
                let tuple: Vec<usize> = (0..samples).map(|digit| code / n.pow(digit as u32) % n).collect();
                let rhos: Vec<Rational> = tuple.iter().map(|&index| rho(&law.atoms()[index].1)).collect();
                let drawn: Vec<_> = tuple.iter().zip(&rhos).map(|(&index, rho)| (rho, &law.atoms()[index].1)).collect();
                let probability = tuple.iter().fold(whole(1), |product, &index| product * &law.atoms()[index].0);
                let mut out = OpTable::filled(&shape, whole(0));
                estimate(&drawn, &probabilities, &mut out);
                expected.add(&probability, &out);
            }
            assert_eq!(moments(&law, &probabilities, samples, rho).unwrap(), expected);
        }
    }

    /// μ = 1/2, ρ = (3, 1). One sample: its own score. Two different ones: 3/4 e_1 + 1/4 e_2 − μ. On average over two draws 1/8; of
    /// many, 1/2 (3/2 − 1) = 1/4.
    #[test]
    fn a_case_by_hand() {
        let half = crate::number::rational(1, 2);
        let probabilities = OpTable::filled(&advantage_nas::Shape::new([2]).unwrap(), half.clone());
        let all: Vec<Architecture> = probabilities.shape().enumerate().collect();
        let (three, one) = (whole(3), whole(1));
        let mut out = probabilities.clone();
        estimate(&[(&three, &all[0])], &probabilities, &mut out);
        assert_eq!(out.values(), [half.clone(), -half.clone()]);
        estimate(&[(&three, &all[0]), (&one, &all[1])], &probabilities, &mut out);
        let quarter = crate::number::rational(1, 4);
        assert_eq!(out.values(), [quarter.clone(), -quarter.clone()]);
        let law = Law::product(&probabilities, 2).unwrap();
        let rho = |a: &Architecture| whole(3 - 2 * a.choice(0) as i64);
        let found = moments(&law, &probabilities, 2, rho).unwrap();
        let eighth = crate::number::rational(1, 8);
        assert_eq!(found.expectation.values(), [eighth.clone(), -eighth]);
        // Twice the same, probability 1/2: 1/2; else 1/8.
        assert_eq!(found.second_moment, [crate::number::rational(5, 16)]);
        assert_eq!(two_samples(probabilities.values(), &[three.clone(), one.clone()]), found.expectation.values());
        assert_eq!(limit(probabilities.values(), &[three, one]), [quarter.clone(), -quarter]);
    }

    #[test]
    fn too_many_samples_are_refused() {
        let probabilities = OpTable::from_rows([vec![0.1; 10], vec![0.1; 10]]).unwrap();
        let law = Law::product(&probabilities, 100).unwrap();
        let message = moments(&law, &probabilities, 8, |_| 1.0).unwrap_err().to_string();
        assert!(message.starts_with("multisets of sampled architectures: "), "{message}");
        for samples in [0, MOST_SAMPLES + 1, usize::MAX] {
            let message = moments(&law, &probabilities, samples, |_| 1.0).unwrap_err().to_string();
            assert_eq!(message, format!("number of samples must be between 1 and 1000, got {samples}"));
        }
        let three = OpTable::from_rows([vec![0.5, 0.25, 0.25]]).unwrap();
        let law_of_three = Law::product(&three, 3).unwrap();
        let message = moments(&law_of_three, &three, 1000, |_| 1.0).unwrap_err().to_string();
        assert!(message.starts_with("samples in all multisets of architectures: 501501000 cases"), "{message}");
        assert!(moments(&law, &probabilities, 2, |_| 1.0).is_ok());
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        assert!(expect_few(Some(4_000_000), 25).is_ok() && expect_few(Some(4_000_001), 1).is_err());
        assert!(expect_few(Some(1_000_000), 100).is_ok() && expect_few(Some(1_000_001), 100).is_err());
        assert!(expect_few(None, 1).unwrap_err().to_string().contains("more than 2^128"));
    }
}
