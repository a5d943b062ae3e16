//! What a suite found.

use std::fmt;

use crate::error::Error;

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it must.
    Passed,
    /// It does not apply, for this reason.
    Skipped(String),
    /// What is wrong.
    Failed(String),
}

/// A check of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is required.
    pub name: String,
    /// How it went.
    pub outcome: Outcome,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "passed   {}", self.name),
            Outcome::Skipped(why) => write!(f, "skipped  {}: {why}", self.name),
            Outcome::Failed(why) => write!(f, "FAILED   {}: {why}", self.name),
        }
    }
}

/// Every check of a suite, in its order. Its text has a line for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    checks: Vec<Check>,
}

impl Report {
    /// All checks.
    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Those that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_)))
    }

    /// Those that were skipped.
    pub fn skipped(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Skipped(_)))
    }

    /// For tests.
    ///
    /// # Panics
    /// If a check failed; the message is the whole report.
    #[track_caller]
    pub fn assert(&self) {
        assert!(self.failures().next().is_none() && !self.checks.is_empty(), "not conforming:\n{self}");
    }

    /// Runs a check; returns whether it passed.
    pub(super) fn check(&mut self, name: impl Into<String>, check: impl FnOnce() -> Verdict) -> bool {
        let outcome = match check() {
            Ok(()) => Outcome::Passed,
            Err(Problem::Skip(why)) => Outcome::Skipped(why),
            Err(Problem::Fail(why)) => Outcome::Failed(why),
        };
        let passed = outcome == Outcome::Passed;
        self.checks.push(Check { name: name.into(), outcome });
        passed
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// Why a check did not pass.
pub(super) enum Problem {
    Skip(String),
    Fail(String),
}

pub(super) type Verdict<T = ()> = Result<T, Problem>;

/// What is required, in words, and how a suite `S` checks it.
pub(super) type Requirement<S> = (&'static str, fn(&mut S) -> Verdict);

/// An error where there should be none.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Fail(error.to_string())
    }
}

pub(super) fn skip<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Problem::Skip(why.into()))
}

pub(super) fn fail<T>(why: impl Into<String>) -> Verdict<T> {
    Err(Problem::Fail(why.into()))
}

pub(super) fn require(holds: bool, otherwise: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { fail(otherwise()) }
}
