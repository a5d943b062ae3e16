//! What a piece of evidence is: checks that were made, what they found, and whether they bear the verdict out.

use std::fmt::Display;

use serde::Serialize;

use crate::error::Result;
use crate::statistics::Bonferroni;

/// How a check is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Equality of rationals over random instances, corners included.
    Exact,
    /// One instance in small integers.
    Counterexample,
    /// A sample against what is known about it, with a p-value.
    Statistical,
    /// A large random search for violations.
    Search,
    /// Floating-point numbers against an exact or closed value.
    Numerical,
}

/// One check and what it found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// How.
    pub kind: Kind,
    /// Whether it bears the verdict out.
    pub passed: bool,
    /// Number of instances, or of draws.
    pub instances: u64,
    /// The counterexample, the first failure, or figures.
    pub detail: String,
    /// Corrected p-value of a statistical check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Largest ratio that a search found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// All checks of a claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Evidence {
    checks: Vec<Check>,
}

/// Whether all of several statements hold.
pub(super) fn all<const N: usize>(statements: [bool; N]) -> bool {
    statements == [true; N]
}

/// Level of every statistical check, after Bonferroni's correction over its rows.
pub const ALPHA: f64 = 1e-4;

impl Evidence {
    /// No check yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Whether the verdict was reached: there is a check, and every check passed.
    #[must_use]
    pub fn reached(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.passed)
    }

    /// Adds a check.
    pub fn push(&mut self, check: Check) {
        self.checks.push(check);
    }

    /// Adds an exact property: `test(index)` says what is wrong with instance `index`, if anything is.
    ///
    /// # Errors
    /// What a test returns.
    pub fn exact(
        &mut self,
        name: &'static str,
        instances: u64,
        mut test: impl FnMut(u64) -> Result<Option<String>>,
    ) -> Result<()> {
        let mut failures = 0u64;
        let mut first = None;
        for index in 0..instances {
            if let Some(problem) = test(index)? {
                failures += 1;
                first.get_or_insert_with(|| format!("instance {index}: {problem}"));
            }
        }
        let detail = match first {
            None => "no exception".to_owned(),
            Some(first) => format!("{failures} exceptions, {first}"),
        };
        let passed = failures == 0 && instances > 0;
        self.push(Check { name, kind: Kind::Exact, passed, instances, detail, p_value: None, ratio: None });
        Ok(())
    }

    /// Adds a pinned instance: passes if `got` is `expected`.
    pub fn pinned<V: PartialEq + std::fmt::Debug>(
        &mut self,
        name: &'static str,
        got: &V,
        expected: &V,
        instance: impl Into<String>,
    ) {
        let passed = got == expected;
        let mut detail = instance.into();
        if !passed {
            detail = format!("{detail}: got {got:?}, expected {expected:?}");
        }
        self.push(Check { name, kind: Kind::Counterexample, passed, instances: 1, detail, p_value: None, ratio: None });
    }

    /// Adds a statistical check.
    pub fn statistical(&mut self, name: &'static str, draws: u64, rows: &Bonferroni, detail: impl Display) {
        let p_value = rows.p();
        let passed = p_value >= ALPHA;
        let kind = Kind::Statistical;
        self.push(Check {
            name,
            kind,
            passed,
            instances: draws,
            detail: format!("{detail}, {rows}"),
            p_value: Some(p_value),
            ratio: None,
        });
    }

    /// Adds a search.
    pub fn search(
        &mut self,
        name: &'static str,
        instances: u64,
        passed: bool,
        ratio: Option<f64>,
        detail: impl Into<String>,
    ) {
        let kind = Kind::Search;
        self.push(Check { name, kind, passed, instances, detail: detail.into(), p_value: None, ratio });
    }

    /// Adds a number that must be within `tolerance` of what is expected.
    pub fn numerical(&mut self, name: &'static str, got: f64, expected: f64, tolerance: f64) {
        let passed = advantage_nas::tolerance::within(got, expected, tolerance);
        let detail = format!("{got:.9}, expected {expected:.9} ± {tolerance:e}");
        self.push(Check { name, kind: Kind::Numerical, passed, instances: 1, detail, p_value: None, ratio: None });
    }

    /// Adds any condition on floating-point numbers.
    pub fn condition(&mut self, name: &'static str, passed: bool, detail: impl Into<String>) {
        let kind = Kind::Numerical;
        self.push(Check { name, kind, passed, instances: 1, detail: detail.into(), p_value: None, ratio: None });
    }

    /// Adds the condition that a case occurred at least `least` times among random instances, so that no check is about nothing.
    pub fn occurred(&mut self, name: &'static str, times: u64, least: u64, what: &str) {
        self.condition(name, times >= least, format!("{times} {what}"));
    }

    /// The evidence in a line.
    #[must_use]
    pub fn summary(&self) -> String {
        if let Some(failed) = self.checks.iter().find(|check| !check.passed) {
            return format!("FAILED: {}: {}", failed.name, failed.detail);
        }
        let mut parts = Vec::new();
        let count = |kind| self.checks.iter().filter(move |check| check.kind == kind);
        let exact: u64 = count(Kind::Exact).map(|check| check.instances).sum();
        if exact > 0 {
            parts.push(format!("{exact} exact instances of {} identities", count(Kind::Exact).count()));
        }
        if let Some(check) = count(Kind::Search).next() {
            let ratio = check.ratio.map_or_else(String::new, |ratio| format!(", tightest ratio {ratio:.6}"));
            let instances: u64 = count(Kind::Search).map(|check| check.instances).max().unwrap_or(0);
            parts.push(format!("{instances} searched{ratio}"));
        }
        if let Some(check) = count(Kind::Counterexample).next() {
            let pinned = count(Kind::Counterexample).count();
            parts.push(format!("{pinned} pinned, e.g. {}", check.detail));
        }
        let p = count(Kind::Statistical).filter_map(|check| check.p_value).fold(f64::INFINITY, f64::min);
        if p.is_finite() {
            let draws: u64 = count(Kind::Statistical).map(|check| check.instances).sum();
            parts.push(format!("{draws} draws, smallest p {p:.2} (α {ALPHA})"));
        }
        let numerical = count(Kind::Numerical).count();
        if numerical > 0 {
            parts.push(format!("{numerical} numerical"));
        }
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A single row.
    fn row(p: f64) -> Bonferroni {
        let mut rows = Bonferroni::default();
        rows.add(p);
        rows
    }

    #[test]
    fn evidence_fails_with_its_checks() {
        let mut evidence = Evidence::new();
        assert!(!evidence.reached());
        evidence.exact("squares", 3, |_| Ok(None)).unwrap();
        evidence.pinned("one", &1, &1, "1");
        evidence.statistical("fair", 100, &row(0.5), "");
        evidence.statistical("fairer", 100, &row(ALPHA), "");
        evidence.search("none", 1000, true, Some(0.25), "");
        evidence.numerical("half", 0.5, 0.5, 1e-9);
        evidence.condition("less", true, "");
        assert!(evidence.reached());
        assert_eq!(
            evidence.summary(),
            "3 exact instances of 1 identities; 1000 searched, tightest ratio 0.250000; 1 pinned, e.g. 1; \
             200 draws, smallest p 0.00 (α 0.0001); 2 numerical"
        );
        for spoil in 0..8 {
            let mut spoiled = evidence.clone();
            match spoil {
                0 => spoiled.exact("bad", 3, |index| Ok((index == 1).then(|| "wrong".to_owned()))).unwrap(),
                1 => spoiled.pinned("two", &1, &2, "1"),
                2 => spoiled.statistical("unfair", 100, &row(1e-5), ""),
                3 => spoiled.statistical("nan", 100, &row(f64::NAN), ""),
                4 => spoiled.search("some", 10, false, None, ""),
                5 => spoiled.numerical("nan", f64::NAN, 0.0, 1.0),
                6 => spoiled.condition("more", false, ""),
                _ => spoiled.exact("empty", 0, |_| Ok(None)).unwrap(),
            }
            assert!(!spoiled.reached(), "{spoil}");
            assert!(spoiled.summary().starts_with("FAILED: "), "{}", spoiled.summary());
            assert_eq!(spoiled.checks().len(), evidence.checks().len() + 1);
        }
    }

    #[test]
    fn the_first_exception_is_named() {
        let mut evidence = Evidence::new();
        evidence.exact("bad", 4, |index| Ok((index >= 2).then(|| "odd".to_owned()))).unwrap();
        assert_eq!(evidence.checks()[0].detail, "2 exceptions, instance 2: odd");
        assert_eq!(evidence.checks()[0].instances, 4);
    }

    #[test]
    fn all_means_every_one() {
        assert!(all([]) && all([true]) && all([true, true]));
        for statements in [[false, true], [true, false], [false, false]] {
            assert!(!all(statements));
        }
    }

    #[test]
    fn what_occurred_often_enough_is_counted() {
        for (times, passed) in [(4, false), (5, true), (6, true)] {
            let mut evidence = Evidence::new();
            evidence.occurred("it happens", times, 5, "times");
            assert_eq!(evidence.reached(), passed);
            assert_eq!(evidence.checks()[0].detail, format!("{times} times"));
        }
    }

    #[test]
    fn summaries_tell_only_what_there_is() {
        let mut evidence = Evidence::new();
        evidence.pinned("one", &1, &1, "r = 1");
        assert_eq!(evidence.summary(), "1 pinned, e.g. r = 1");
        let mut evidence = Evidence::new();
        evidence.condition("less", true, "");
        assert_eq!(evidence.summary(), "1 numerical");
    }
}
