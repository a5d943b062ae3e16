//! Tests of sampling: p-values that say how surprising a sample is if the code is right.

use std::fmt;

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal};

/// Two-sided p-value of a standard normal statistic.
#[must_use]
pub fn normal_p(z: f64) -> f64 {
    if z.is_nan() {
        // No statistic is no evidence: it must fail every test.
        return 0.0;
    }
    let normal = Normal::new(0.0, 1.0).expect("the standard normal exists");
    (2.0 * normal.sf(z.abs())).min(1.0)
}

/// Pearson's χ² of counts against probabilities; cells that expect fewer than five are merged into one, and if that expects fewer
/// than one, into the smallest of the others.
///
/// A count in a cell of probability zero has p-value 0.
#[must_use]
pub fn chi_square_p(counts: &[u64], probabilities: &[f64]) -> f64 {
    let total: u64 = counts.iter().sum();
    let mut cells: Vec<(f64, f64)> = Vec::new();
    let mut small = (0.0, 0.0);
    for (&count, &probability) in counts.iter().zip(probabilities) {
        let expected = probability * total as f64;
        if expected == 0.0 && count > 0 {
            return 0.0;
        }
        if expected < 5.0 {
            small.0 += count as f64;
            small.1 += expected;
        } else {
            cells.push((count as f64, expected));
        }
    }
    if small.1 >= 1.0 {
        cells.push(small);
    } else if let Some(smallest) = cells.iter_mut().min_by(|left, right| left.1.total_cmp(&right.1)) {
        // Left out, draws of what is next to impossible would not count.
        smallest.0 += small.0;
        smallest.1 += small.1;
    }
    if cells.len() < 2 {
        return 1.0;
    }
    let statistic: f64 = cells.iter().map(|(count, expected)| (count - expected).powi(2) / expected).sum();
    let law = ChiSquared::new((cells.len() - 1) as f64).expect("at least one degree of freedom");
    if statistic.is_nan() { 0.0 } else { law.sf(statistic) }
}

/// Mean of a sample against a known mean and variance of one draw, as a p-value. A sample of a constant must hit it up to
/// rounding.
#[must_use]
pub fn mean_p(sum: f64, draws: u64, mean: f64, variance: f64) -> f64 {
    let draws = draws as f64;
    let difference = sum / draws - mean;
    let rounding = 1e-9 * (1.0 + mean.abs());
    if variance <= 1e-18 * (1.0 + mean * mean) {
        return if difference.abs() <= rounding { 1.0 } else { 0.0 };
    }
    normal_p(difference / (variance / draws).sqrt())
}

/// The smallest p-value of several rows after Bonferroni's correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bonferroni {
    smallest: f64,
    rows: u64,
}

impl Default for Bonferroni {
    fn default() -> Self {
        Self { smallest: 1.0, rows: 0 }
    }
}

impl Bonferroni {
    /// Takes in a row.
    pub fn add(&mut self, p: f64) {
        self.rows += 1;
        // Not `min`: it would skip NaN.
        if !(p >= self.smallest) {
            self.smallest = if p.is_nan() { 0.0 } else { p };
        }
    }

    /// The corrected p-value; 0 without a row, since nothing was tested.
    #[must_use]
    pub fn p(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { (self.smallest * self.rows as f64).min(1.0) }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

/// The smallest p-value before the correction, which shows how far the rows are from the level even where the correction gives 1.
impl fmt::Display for Bonferroni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "smallest of {} p-values {:.9}", self.rows, self.smallest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::tolerance::assert_close;

    #[test]
    fn known_p_values() {
        // Tables: P(|Z| > 1.959964) = 0.05; χ²₁ > 3.841459 and χ²₂ > 5.991465 have probability 0.05.
        assert_close(normal_p(1.959_963_985), 0.05, 1e-7, 0.0);
        assert_close(normal_p(-1.959_963_985), 0.05, 1e-7, 0.0);
        assert_eq!(normal_p(0.0), 1.0);
        assert_eq!(normal_p(f64::NAN), 0.0);
        // (60 − 50)²/50 · 2 = 4: P(χ²₁ > 4) = 0.0455003.
        assert_close(chi_square_p(&[60, 40], &[0.5, 0.5]), 0.045_500_264, 1e-7, 0.0);
        // (50−40)²/40 + (30−30)² + (20−30)²/30 = 5.8333: e^{−2.91667}.
        assert_close(chi_square_p(&[50, 30, 20], &[0.4, 0.3, 0.3]), (-35.0f64 / 12.0).exp(), 1e-9, 0.0);
    }

    #[test]
    fn small_and_impossible_cells() {
        assert_eq!(chi_square_p(&[100, 1], &[1.0, 0.0]), 0.0);
        assert_eq!(chi_square_p(&[100, 0], &[1.0, 0.0]), 1.0);
        // Two cells that expect 3 each are merged: (6 − 6)² and (94 − 94)².
        assert_close(chi_square_p(&[94, 6, 0], &[0.94, 0.03, 0.03]), 1.0, 1e-12, 0.0);
        assert!(chi_square_p(&[80, 20, 0], &[0.94, 0.03, 0.03]) < 1e-6);
        // What expects 1/2 joins the cell that expects 5: 20 draws of it are seen, (25 − 5.5)²/5.5 = 69 in that cell alone.
        assert!(chi_square_p(&[9_975, 5, 20], &[0.999_45, 0.0005, 0.000_05]) < 1e-15);
        assert!(chi_square_p(&[9_994, 5, 1], &[0.999_45, 0.0005, 0.000_05]) > 0.5);
        // (1/2)²/9994.5 + (6 − 5.5)²/5.5 = 0.0454796 on one degree of freedom, P(|Z| > 0.2132594).
        assert_close(chi_square_p(&[9_994, 5, 1], &[0.999_45, 0.0005, 0.000_05]), 0.831_124_662, 1e-8, 0.0);
        // Cells that expect exactly five stand alone: (10 − 5)²/5 + (0 − 5)²/5 = 10 on two degrees of freedom.
        assert_close(chi_square_p(&[90, 10, 0], &[0.9, 0.05, 0.05]), (-5.0f64).exp(), 1e-9, 0.0);
    }

    #[test]
    fn means_and_corrections() {
        assert_close(mean_p(100.0 * 0.5 + 1.959_963_985 * 10.0, 100, 0.5, 1.0), 0.05, 1e-6, 0.0);
        assert_eq!(mean_p(50.0, 100, 0.5, 0.0), 1.0);
        assert_eq!(mean_p(51.0, 100, 0.5, 0.0), 0.0);
        // A constant of a million whose rounding looks like a variance, and one that is off by more.
        assert_eq!(mean_p(100.0 * (1e6 + 1e-4), 100, 1e6, 1e-8), 1.0);
        assert_eq!(mean_p(100.0 * (1e6 + 1e-2), 100, 1e6, 1e-8), 0.0);
        // A constant of zero: what is within a billionth of it is rounding.
        assert_eq!(mean_p(100.0 * 5e-10, 100, 0.0, 1e-19), 1.0);
        assert_eq!(mean_p(100.0 * 2e-9, 100, 0.0, 1e-19), 0.0);
        let mut rows = Bonferroni::default();
        assert_eq!(rows.p(), 0.0);
        rows.add(0.3);
        rows.add(0.01);
        rows.add(0.7);
        assert_close(rows.p(), 0.03, 1e-12, 0.0);
        assert_eq!(rows.rows(), 3);
        rows.add(f64::NAN);
        assert_eq!(rows.p(), 0.0);
    }
}
