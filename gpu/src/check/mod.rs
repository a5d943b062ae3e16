//! Is what the device computes right? The same checks run in the tests, on the software device, and by `advnas gpu
//! check` on a real one: every kernel and its naive version against the host ([`toy`]), every supernet against another
//! implementation, and whole searches step by step.

pub mod toy;

use advantage_nas::search::{Plan, Search};
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Strategy};
use advantage_nas::supernet::{Evaluation, Request};
use advantage_nas::{SearchSpace, Supernet, random::Streams};
use serde::Serialize;

/// Relative tolerance of the losses of two backends that run the same search.
pub const SEARCH_RELATIVE: f64 = 1e-5;
/// Absolute tolerance of the losses of two backends that run the same search.
pub const SEARCH_ABSOLUTE: f64 = 1e-7;

/// The outcome of one comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was compared with what.
    pub name: String,
    /// How many numbers.
    pub compared: usize,
    /// The largest difference, as a multiple of the allowed one; absent if a number was NaN or something else than a
    /// number differed.
    pub worst: Option<f64>,
    /// Whether it is within what is allowed.
    pub passed: bool,
}

impl Check {
    /// Numbers that may differ by `relative` of the larger one plus `absolute`.
    #[must_use]
    pub fn close(name: impl Into<String>, got: &[f64], expected: &[f64], relative: f64, absolute: f64) -> Self {
        let mut worst = Some(0.0f64);
        for (got, expected) in got.iter().zip(expected) {
            let allowed = relative * got.abs().max(expected.abs()) + absolute;
            let difference = if got == expected { 0.0 } else { (got - expected).abs() / allowed };
            worst = worst.filter(|_| !difference.is_nan()).map(|worst| worst.max(difference));
        }
        if got.len() != expected.len() || got.is_empty() {
            worst = None;
        }
        Self { name: name.into(), compared: got.len(), worst, passed: worst.is_some_and(|worst| worst <= 1.0) }
    }

    /// Numbers of one array that may differ by `tolerance` of the largest one.
    #[must_use]
    pub fn uniform(name: impl Into<String>, got: &[f64], expected: &[f64], tolerance: f64) -> Self {
        let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        Self::close(name, got, expected, 0.0, tolerance * largest)
    }

    /// Things that must be equal.
    #[must_use]
    pub fn equal<T: PartialEq>(name: impl Into<String>, got: &[T], expected: &[T]) -> Self {
        let passed = got == expected && !got.is_empty();
        Self { name: name.into(), compared: got.len(), worst: passed.then_some(0.0), passed }
    }
}

/// One step of a search, as its supernet saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The question.
    pub proposal: Proposal,
    /// The loss that was answered.
    pub loss: f64,
}

/// A supernet that remembers what it was asked and what it answered.
#[derive(Debug)]
struct Witness<S> {
    supernet: S,
    seen: Vec<Seen>,
}

impl<S: Supernet> Supernet for Witness<S> {
    fn space(&self) -> &SearchSpace {
        self.supernet.space()
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> advantage_nas::Result<()> {
        self.supernet.probe(requests, feedback)?;
        let seen = |(request, feedback): (&Request, &Feedback)| Seen {
            proposal: request.proposal.clone(),
            loss: feedback.loss,
        };
        self.seen.extend(requests.iter().zip(&*feedback).map(seen));
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> advantage_nas::Result<Evaluation> {
        let evaluation = self.supernet.evaluate(request)?;
        self.seen.push(Seen { proposal: request.proposal.clone(), loss: evaluation.loss });
        Ok(evaluation)
    }

    fn save(&mut self, trial: u32) -> advantage_nas::Result<State> {
        self.supernet.save(trial)
    }

    fn restore(&mut self, trial: u32, state: &State) -> advantage_nas::Result<()> {
        self.supernet.restore(trial, state)
    }
}

/// Everything that a search asks its supernet, and the losses that it hears.
///
/// # Errors
/// What the search reports.
pub fn witness<S: Supernet>(
    supernet: S,
    streams: &Streams,
    trial: u32,
    strategy: Box<dyn Strategy>,
    steps: u64,
) -> advantage_nas::Result<Vec<Seen>> {
    let witness = Witness { supernet, seen: Vec::new() };
    let mut search = Search::new(Plan::theta_only(steps, 10), streams.clone(), witness, trial, strategy)?;
    search.run(None, &mut ())?;
    Ok(std::mem::take(&mut search.supernet_mut().seen))
}

/// Two searches step by step: the same architectures and active candidates, losses and weights within the tolerance.
#[must_use]
pub fn same_search(name: &str, got: &[Seen], expected: &[Seen]) -> Vec<Check> {
    let asked = |seen: &[Seen]| -> Vec<_> {
        let of =
            |seen: &Seen| (seen.proposal.architecture().cloned(), seen.proposal.active().clone(), seen.proposal.want());
        seen.iter().map(of).collect()
    };
    let weights = |seen: &[Seen]| -> Vec<f64> {
        seen.iter().flat_map(|seen| seen.proposal.weights().values()).copied().collect()
    };
    let losses = |seen: &[Seen]| -> Vec<f64> { seen.iter().map(|seen| seen.loss).collect() };
    let close = |what: &str, got: &[f64], expected: &[f64]| {
        Check::close(format!("{name}: {what}"), got, expected, SEARCH_RELATIVE, SEARCH_ABSOLUTE)
    };
    vec![
        Check::equal(format!("{name}: architectures"), &asked(got), &asked(expected)),
        close("edge weights", &weights(got), &weights(expected)),
        close("losses", &losses(got), &losses(expected)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_fail_on_nan_and_on_differences() {
        let close = |got: &[f64], expected: &[f64]| Check::close("", got, expected, 1e-6, 1e-9);
        assert!(close(&[1.0, 0.0], &[1.0 + 5e-7, 5e-10]).passed);
        assert!(!close(&[1.0], &[1.0 + 1e-5]).passed);
        assert!(!close(&[f64::NAN], &[f64::NAN]).passed);
        assert!(!close(&[1.0, f64::NAN, 1.0], &[1.0; 3]).passed);
        assert!(!close(&[1.0], &[f64::INFINITY]).passed);
        assert!(!close(&[1.0], &[1.0, 1.0]).passed);
        assert!(!close(&[], &[]).passed);
        assert!(!Check::uniform("", &[1.0, 1e-3], &[1.0, 0.0], 1e-4).passed);
        assert!(Check::uniform("", &[1.0, 1e-5], &[1.0, 0.0], 1e-4).passed);
        assert!(!Check::equal("", &[1], &[2]).passed && Check::equal("", &[1], &[1]).passed);
    }
}
