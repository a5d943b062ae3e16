//! Summaries of a few numbers: medians, quantiles, means, deviations, rank correlations. Losses and counts, no inference.

/// The quantile `q` in `[0, 1]` by linear interpolation between the order statistics (Hyndman and Fan's type 7, the default of
/// NumPy and R). NaN if there is no value, or if one is NaN.
#[must_use]
pub fn quantile(values: &[f64], q: f64) -> f64 {
    if values.is_empty() || values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let below = position.floor() as usize;
    let above = position.ceil() as usize;
    if sorted[below] == sorted[above] {
        // Also where both are infinite.
        return sorted[below];
    }
    sorted[below] + (position - below as f64) * (sorted[above] - sorted[below])
}

/// The median; NaN if there is no value, or if one is NaN.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The arithmetic mean; NaN if there is no value.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The standard deviation of the population, `√(Σ(x − mean)²/n)`: what the paper writes behind ±. NaN if there is no value.
#[must_use]
pub fn deviation(values: &[f64]) -> f64 {
    let mean = mean(values);
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

/// Spearman's rank correlation: Pearson's of the ranks, equal values sharing the mean of theirs. Nothing if all values of a side are
/// equal, or one is NaN.
///
/// # Panics
/// If there are not as many values on both sides.
#[must_use]
pub fn spearman(first: &[f64], second: &[f64]) -> Option<f64> {
    assert_eq!(first.len(), second.len(), "pairs");
    let (first, second) = (ranks(first)?, ranks(second)?);
    let (mean_1, mean_2) = (mean(&first), mean(&second));
    let covariance: f64 = first.iter().zip(&second).map(|(a, b)| (a - mean_1) * (b - mean_2)).sum::<f64>();
    let scale = deviation(&first) * deviation(&second) * first.len() as f64;
    (scale > 0.0).then(|| covariance / scale)
}

/// Kendall's rank correlation `τ_b`: pairs in the same order minus pairs in opposite order, over the geometric mean of the numbers of
/// pairs that are not equal on either side. Nothing if all values of a side are equal, or one is NaN.
///
/// # Panics
/// If there are not as many values on both sides.
#[must_use]
pub fn kendall(first: &[f64], second: &[f64]) -> Option<f64> {
    assert_eq!(first.len(), second.len(), "pairs");
    let (mut balance, mut unequal_1, mut unequal_2) = (0_i64, 0_u64, 0_u64);
    for i in 0..first.len() {
        for j in 0..i {
            let order_1 = first[i].partial_cmp(&first[j])? as i64;
            let order_2 = second[i].partial_cmp(&second[j])? as i64;
            balance += order_1 * order_2;
            unequal_1 += u64::from(order_1 != 0);
            unequal_2 += u64::from(order_2 != 0);
        }
    }
    (unequal_1 > 0 && unequal_2 > 0).then(|| balance as f64 / (unequal_1 as f64).sqrt() / (unequal_2 as f64).sqrt())
}

/// Ranks from 1, of equal values the mean.
fn ranks(values: &[f64]) -> Option<Vec<f64>> {
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let rank = |value: &f64| {
        let below = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        below as f64 + (equal + 1) as f64 / 2.0
    };
    Some(values.iter().map(rank).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_of_the_population() {
        // (−2)², 0, 0, 2² over four.
        assert_eq!(deviation(&[1.0, 3.0, 3.0, 5.0]), 2.0_f64.sqrt());
        assert_eq!(deviation(&[93.76; 3]), 0.0);
        assert!(deviation(&[]).is_nan());
    }

    /// In the order of the first, the second is 8, 9, 3, 7, 4, 1, 5, 2, 6, 10: 21 of 45 pairs go the same way, the squared differences
    /// of the ranks sum to 182. With ties: of the six pairs of (1, 2, 2, 3) and (1, 3, 2, 2), five are unequal on each side, three
    /// go the same way and one does not.
    #[test]
    fn rank_correlations_by_hand() {
        let first = [7.0, 4.0, 3.0, 10.0, 6.0, 2.0, 9.0, 8.0, 1.0, 5.0];
        let second = [5.0, 7.0, 3.0, 10.0, 1.0, 9.0, 6.0, 2.0, 8.0, 4.0];
        let close = |value: Option<f64>, expected: f64| {
            let difference = (value.unwrap() - expected).abs();
            assert!(difference <= 1e-12, "{value:?} {expected}");
        };
        close(kendall(&first, &second), -3.0 / 45.0);
        close(spearman(&first, &second), 1.0 - 6.0 * 182.0 / 990.0);
        let (first, second) = ([1.0, 2.0, 2.0, 3.0], [1.0, 3.0, 2.0, 2.0]);
        close(kendall(&first, &second), 2.0 / 5.0);
        // Ranks (1, 2.5, 2.5, 4) and (1, 4, 2.5, 2.5): deviations −1.5, 0, 0, 1.5 and −1.5, 1.5, 0, 0.
        close(spearman(&first, &second), 0.5);
        for one in [[1.0; 4], [1.0, 2.0, f64::NAN, 3.0]] {
            assert_eq!((spearman(&one, &first), kendall(&one, &first)), (None, None));
        }
    }

    #[test]
    fn quantiles_are_type_7() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.25), 1.75);
        assert_eq!(median(&values), 2.5);
        assert_eq!(quantile(&values, 0.75), 3.25);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert_eq!(median(&[5.0]), 5.0);
        assert_eq!(mean(&values), 2.5);
    }

    #[test]
    fn what_is_not_a_number_stays_so() {
        assert!(quantile(&[], 0.5).is_nan());
        assert!(median(&[1.0, f64::NAN]).is_nan());
        assert!(mean(&[]).is_nan());
        assert_eq!(median(&[f64::INFINITY, f64::INFINITY]), f64::INFINITY);
        assert_eq!(median(&[1.0, f64::INFINITY, f64::INFINITY]), f64::INFINITY);
        assert_eq!(median(&[1.0, 2.0, f64::INFINITY]), 2.0);
    }
}
