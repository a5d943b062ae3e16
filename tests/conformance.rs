//! The conformance suites themselves: what is sound passes, what is unsupported is skipped by name, and every planted fault is found by the check that
//! is meant for it.

use advantage_nas::conformance::{Differences, Outcome, Report, StrategySuite, SupernetSuite};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{
    Activity, Answer, Feedback, Method, MethodSettings, ParsecSettings, ProductStrategy, Proposal, Reinforce,
    ReinforceSettings, Step, Theta, ThetaSettings, Want,
};
use advantage_nas::supernet::{Evaluation, Fetch, Request, Supernet};
use advantage_nas::{Error, Result, SearchSpace, Shape, WeightSharing};
use rand::RngCore;

use crate::common::affine::{Affine, Fault};

const TRIALS: [u32; 3] = [4, 0, 9];

fn suite() -> SupernetSuite {
    SupernetSuite {
        differences: Some(Differences { step: 0.25, tolerance: 1e-12 }),
        affine: Some(1e-12),
        ..SupernetSuite::new(TRIALS)
    }
}

fn run(build: impl Fn() -> Affine) -> Report {
    suite().run(|| Ok(WeightSharing::new(build())))
}

fn failed(report: &Report) -> Vec<&str> {
    report.failures().map(|check| check.name.as_str()).collect()
}

#[test]
fn a_sound_network_passes() {
    for lanes in [1, 2, 3, 4] {
        for late in [0, 1, 100] {
            let report = run(|| Affine::new(&TRIALS, lanes).with_late_losses(late));
            report.assert();
            assert_eq!(report.skipped().count(), 0, "{report}");
            assert!(report.checks().len() > 25);
        }
    }
}

#[test]
fn what_is_unsupported_is_skipped_by_name() {
    for (activity, kinds) in [
        (Activity::One, &["two-hot", "one-hot among all", "dense"][..]),
        (Activity::Two, &["one-hot among all", "dense"]),
    ] {
        let report = run(|| Affine::new(&TRIALS, 2).with_activity(activity));
        report.assert();
        for check in report.checks().iter().filter(|check| check.name.starts_with("a ")) {
            let unsupported = kinds.iter().any(|kind| check.name.starts_with(&format!("a {kind} proposal")));
            let declared = format!("its proposals are {} at most, as it declares", activity.name());
            let expected = if unsupported { Outcome::Skipped(declared) } else { Outcome::Passed };
            assert_eq!(check.outcome, expected, "{}", check.name);
        }
        assert_eq!(
            report.skipped().count(),
            4 * kinds.len() + 2,
            "and what dense proposals are held against: {report}"
        );
    }
    // A single trial, without tolerances: what can't be asked is said.
    let report = SupernetSuite::new([7]).run(|| Ok(WeightSharing::new(Affine::new(&[7], 1))));
    report.assert();
    let skipped: Vec<String> = report.skipped().map(ToString::to_string).collect();
    assert_eq!(skipped.len(), 3, "{skipped:?}");
}

/// Every fault of a network, and a check that must find it.
#[test]
fn planted_faults_of_networks_are_found() {
    for (fault, check) in [
        (Fault::StateNotSaved, "saved and restored at every cut"),
        (Fault::VelocityNotRestored, "saved and restored at every cut"),
        (Fault::LastQuestion, "an answer does not depend on earlier questions"),
        (Fault::WrongSign, "Eq. (6) is Eq. (7)"),
        (Fault::WrongSign, "gradients are central differences"),
        (Fault::RemovalsCarryOn, "Eq. (6) is Eq. (7)"),
        (Fault::EvaluationCarriesOn, "evaluations are repeatable"),
        (Fault::LaneForgotten, "requests of one call are answered"),
        (Fault::FirstTrialsWeights, "a trial does not depend on others"),
        (Fault::LossesReversed, "losses of weight steps are fetched once"),
        (Fault::RestoredInPart, "states that lack something"),
        (Fault::WrongSignOfOne, "gradients are central differences"),
        (Fault::NoUnitOutputs, "what is wanted changes no answer"),
        (Fault::NextEdgeRemoved, "losses without an edge"),
        (Fault::RemovalsCarryOn, "losses without an edge"),
        (Fault::RestoredInAllTrials, "a trial does not depend on others"),
    ] {
        // The harness restores nothing before everything is there but what the network itself does.
        let report = run(|| Affine::new(&TRIALS, 3).with_fault(fault));
        let failed = failed(&report);
        assert!(failed.iter().any(|name| name.starts_with(check)), "{fault:?}: {report}");
    }
}

/// Something between a supernet and those who ask.
struct Between<S> {
    supernet: S,
    fault: &'static str,
    /// Losses of before a restore.
    kept: Vec<f64>,
}

fn between(fault: &'static str) -> Result<Between<WeightSharing<Affine>>> {
    Ok(Between { supernet: WeightSharing::new(Affine::new(&TRIALS, 2)), fault, kept: Vec::new() })
}

impl<S: Supernet> Supernet for Between<S> {
    fn space(&self) -> &SearchSpace {
        self.supernet.space()
    }

    fn activity(&self) -> Activity {
        if self.fault == "too modest" { Activity::One } else { self.supernet.activity() }
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        match self.fault {
            "a zip" => {
                for (request, feedback) in requests.iter().zip(feedback) {
                    self.supernet.probe(std::slice::from_ref(request), std::slice::from_mut(feedback))?;
                }
                Ok(())
            }
            "the last is left out" if requests.len() > 1 => {
                let (count, answers) = (requests.len() - 1, feedback.len().saturating_sub(1));
                self.supernet.probe(&requests[..count], &mut feedback[..answers])
            }
            "answers from a cache" => {
                self.supernet.probe(requests, feedback)?;
                let first = feedback[0].clone();
                for (request, feedback) in requests.iter().zip(feedback) {
                    if request.proposal.want() == requests[0].proposal.want() {
                        feedback.clone_from(&first);
                    }
                }
                Ok(())
            }
            _ => self.supernet.probe(requests, feedback),
        }
    }

    fn trains_weights(&self) -> bool {
        self.supernet.trains_weights()
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        if self.fault == "a zip of steps" {
            for (step, request) in steps.iter().zip(requests) {
                self.supernet.weight_step(std::slice::from_ref(step), std::slice::from_ref(request))?;
            }
            return Ok(());
        }
        if self.fault == "weight steps heed what is wanted" {
            let heeded = |(step, request): (&Step, &Request)| match request.proposal.want() {
                Want::Removals => Step { schedule: 0.5, ..*step },
                _ => *step,
            };
            let steps: Vec<Step> = steps.iter().zip(requests).map(heeded).collect();
            return self.supernet.weight_step(&steps, requests);
        }
        self.supernet.weight_step(steps, requests)
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        if self.fault == "losses overwrite" {
            losses.clear();
        }
        losses.append(&mut self.kept);
        self.supernet.weight_losses(trial, fetch, losses)
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        self.supernet.evaluate(request)
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        let mut state = self.supernet.save(trial)?;
        if self.fault == "saving counts" {
            let own = self.supernet.save(trial)?;
            let carried = own.f64("state", 1)?[0];
            let mut other = own.clone();
            other.insert_f64("state", &[carried + 1.0]);
            self.supernet.restore(trial, &other)?;
            state = own;
        }
        Ok(state)
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        match self.fault {
            "losses survive a restore" => self.supernet.weight_losses(trial, Fetch::All, &mut self.kept)?,
            "losses are lost with a refused state" => {
                self.supernet.weight_losses(trial, Fetch::All, &mut Vec::new())?;
            }
            _ => {}
        }
        self.supernet.restore(trial, state)
    }
}

#[test]
fn planted_faults_of_supernets_are_found() {
    for (fault, check) in [
        ("a zip", "numbers of requests, answers and steps"),
        ("a zip of steps", "numbers of requests, answers and steps"),
        ("the last is left out", "requests of one call are answered"),
        ("answers from a cache", "requests of one call are answered"),
        ("too modest", "a dense proposal that wants the loss"),
        ("losses overwrite", "losses of weight steps are fetched once"),
        ("saving counts", "saving changes nothing"),
        ("weight steps heed what is wanted", "a weight step heeds nothing"),
        ("losses survive a restore", "losses of weight steps are fetched once"),
        ("losses are lost with a refused state", "states that lack something"),
    ] {
        let report = suite().run(|| between(fault));
        assert!(failed(&report).iter().any(|name| name.starts_with(check)), "{fault}: {report}");
    }
    suite().run(|| between("")).assert();
}

#[test]
fn every_method_passes() {
    let spaces = [SearchSpace::anonymous([3, 3, 3]).unwrap(), SearchSpace::anonymous([2, 4]).unwrap()];
    for space in &spaces {
        for method in Method::ALL {
            let settings = MethodSettings { parsec: ParsecSettings { samples: 3 }, ..MethodSettings::toy() };
            let report = StrategySuite::new(3).run(|| method.build(space, &settings, &Streams::new(2), 1));
            assert!(report.failures().next().is_none(), "{method}:\n{report}");
            assert_eq!(report.skipped().count(), 0, "{method}:\n{report}");
        }
    }
}

/// REINFORCE with a baseline, but for what is wrong with it.
struct Faulty {
    inner: Reinforce,
    fault: &'static str,
    steps: u64,
}

impl ProductStrategy for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn theta(&self) -> &Theta {
        self.inner.theta()
    }

    fn theta_mut(&mut self) -> &mut Theta {
        self.inner.theta_mut()
    }

    fn propose(&mut self, step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        self.steps += 1;
        ProductStrategy::propose(&mut self.inner, step, rng, proposal)?;
        if self.fault == "remembers how often it was asked" && self.steps.is_multiple_of(9) {
            proposal.set_one_hot(&advantage_nas::Architecture::first(proposal.shape()), proposal.want())?;
        }
        Ok(())
    }

    fn proposals_per_step(&self) -> usize {
        if self.fault == "uses the first answer alone" { 2 } else { 1 }
    }

    fn learn(&mut self, step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        match self.fault {
            "learns nothing" => Ok(()),
            "uses the first answer alone" => {
                let [first, _] = answers else {
                    return Err(Error::Length { what: "answers", expected: 2, got: answers.len() });
                };
                ProductStrategy::learn(&mut self.inner, step, &[*first])
            }
            "makes the loss larger" => {
                let mut feedback: Vec<Feedback> = answers.iter().map(|answer| answer.feedback.clone()).collect();
                feedback.iter_mut().for_each(|feedback| feedback.loss = -feedback.loss);
                let answers = answers.iter().zip(&feedback);
                let answers: Vec<Answer<'_>> =
                    answers.map(|(answer, feedback)| Answer::new(answer.proposal, feedback)).collect();
                ProductStrategy::learn(&mut self.inner, step, &answers)
            }
            "takes any number of answers" => {
                ProductStrategy::learn(&mut self.inner, step, &answers[..answers.len().min(1)])
            }
            _ => ProductStrategy::learn(&mut self.inner, step, answers),
        }
    }

    fn save_rest(&self, state: &mut State) {
        if self.fault != "forgets its baseline" {
            self.inner.save_rest(state);
        }
    }

    fn restore_rest(&mut self, state: &State) -> Result<()> {
        if self.fault != "forgets its baseline" {
            self.inner.restore_rest(state)?;
        }
        Ok(())
    }
}

#[test]
fn planted_faults_of_strategies_are_found() {
    let shape = Shape::new([3, 2]).unwrap();
    let report = |fault| {
        StrategySuite::new(5).run(|| {
            let settings = ReinforceSettings { baseline_decay: Some(0.9) };
            let theta = ThetaSettings { learning_rate: 0.2, ..ThetaSettings::toy() };
            let inner = Reinforce::new(&shape, theta, settings)?;
            Ok(Box::new(Faulty { inner, fault, steps: 0 }))
        })
    };
    report("").assert();
    for (fault, check) in [
        ("forgets its baseline", "saved and restored at every cut"),
        ("remembers how often it was asked", "saved and restored at every cut"),
        ("remembers how often it was asked", "proposals of weight steps change nothing"),
        ("learns nothing", "it learns"),
        ("learns nothing", "every answer is used"),
        ("uses the first answer alone", "every answer is used"),
        ("makes the loss larger", "what it learns makes the expected loss smaller"),
        ("takes any number of answers", "another number of answers"),
    ] {
        let report = report(fault);
        assert!(failed(&report).iter().any(|name| name.starts_with(check)), "{fault}: {report}");
    }
}
