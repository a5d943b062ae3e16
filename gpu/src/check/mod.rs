//! Is what the device computes right? The same checks run in the tests, on the software device, and by `advnas gpu
//! check` on a real one: every kernel and its naive version against the host ([`toy`]), every supernet against another
//! implementation, and whole searches step by step.

pub mod nas_bench_201;
pub mod toy;

use advantage_nas::comparison::Comparison;
use advantage_nas::search::{Plan, Search};
use advantage_nas::state::State;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, Strategy};
use advantage_nas::supernet::{Evaluation, Fetch, Request};
use advantage_nas::tolerance::Tolerance;
use advantage_nas::{SearchSpace, Supernet, random::Streams};

/// How far edge weights and losses of two backends may be apart that run the same search.
pub const SEARCH: Tolerance = Tolerance::Sum { relative: 1e-5, absolute: 1e-7 };

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

    fn activity(&self) -> Activity {
        self.supernet.activity()
    }

    fn trains_weights(&self) -> bool {
        self.supernet.trains_weights()
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> advantage_nas::Result<()> {
        self.supernet.weight_step(steps, requests)
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> advantage_nas::Result<()> {
        self.supernet.weight_losses(trial, fetch, losses)
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
pub fn same_search(name: &str, got: &[Seen], expected: &[Seen]) -> Vec<Comparison> {
    let asked = |seen: &[Seen]| -> Vec<_> {
        let of =
            |seen: &Seen| (seen.proposal.architecture().cloned(), seen.proposal.active().clone(), seen.proposal.want());
        seen.iter().map(of).collect()
    };
    let weights = |seen: &[Seen]| -> Vec<f64> {
        seen.iter().flat_map(|seen| seen.proposal.weights().values()).copied().collect()
    };
    let losses = |seen: &[Seen]| -> Vec<f64> { seen.iter().map(|seen| seen.loss).collect() };
    let close = |what: &str, got: Vec<f64>, expected: Vec<f64>| {
        Comparison::new(format!("{name}: {what}"), &got, &expected, SEARCH)
    };
    vec![
        Comparison::equal(format!("{name}: architectures"), &asked(got), &asked(expected)),
        close("edge weights", weights(got), weights(expected)),
        close("losses", losses(got), losses(expected)),
    ]
}
