//! Summaries of a few numbers: medians, quantiles, means. Losses and counts, no inference.

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

#[cfg(test)]
mod tests {
    use super::*;

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
