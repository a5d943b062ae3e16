//! The suite for supernets: what is drawn and asked, and the list of the checks. The checks themselves are beside it.
//!
//! - `questions`: what is asked and answered
//! - `agreement`: answers to different questions about the same
//! - `training`: steps of the weights
//! - `states`: what is saved and restored, and that trials are apart

mod agreement;
mod questions;
mod states;
mod training;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::report::{Report, Requirement, Verdict, fail, require, skip};
use crate::comparison::Comparison;
use crate::error::{Error, Result};
use crate::random::below;
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;
use crate::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use crate::supernet::{Batch, Evaluation, Fetch, Request, Set, Supernet};
use crate::tolerance::{self, Tolerance};

/// How exactly `∂loss/∂a` is held against central differences of the losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Differences {
    /// By how much an edge weight is moved to either side.
    pub step: f64,
    /// Largest distance, over the largest derivative.
    pub tolerance: f64,
}

/// What a supernet is held against.
///
/// ```
/// use advantage_nas::conformance::SupernetSuite;
/// use advantage_nas::state::State;
/// use advantage_nas::strategy::{Feedback, Want};
/// use advantage_nas::supernet::{Evaluation, Request, expect_feedback, find_trial};
/// use advantage_nas::{Result, SearchSpace, Supernet};
///
/// /// Candidate `j` of edge `i` adds `i − j + 1`, whatever the minibatch.
/// struct Sum(SearchSpace);
///
/// impl Sum {
///     fn share(&self, request: &Request, edge: usize) -> f64 {
///         request.proposal.slots(edge).map(|(candidate, a)| a * slope(edge, candidate)).sum()
///     }
///
///     fn loss(&self, request: &Request) -> Result<f64> {
///         find_trial(&[0], request.batch.trial)?;
///         self.0.shape().expect("proposal", request.proposal.shape())?;
///         Ok((0..self.0.shape().edges()).map(|edge| self.share(request, edge)).sum())
///     }
/// }
///
/// fn slope(edge: usize, candidate: usize) -> f64 {
///     edge as f64 - candidate as f64 + 1.0
/// }
///
/// impl Supernet for Sum {
///     fn space(&self) -> &SearchSpace {
///         &self.0
///     }
///
///     fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
///         expect_feedback(&self.0, requests, feedback)?;
///         for (request, feedback) in requests.iter().zip(feedback) {
///             let (want, active) = (request.proposal.want(), request.proposal.active());
///             feedback.begin(want);
///             feedback.loss = self.loss(request)?;
///             for edge in 0..self.0.shape().edges() {
///                 feedback.removals[edge] = feedback.loss - self.share(request, edge);
///                 for (candidate, gradient) in feedback.gradient.edge_mut(edge).iter_mut().enumerate() {
///                     *gradient = match active[(edge, candidate)] {
///                         true => slope(edge, candidate),
///                         false => f64::from(u8::from(want == Want::GradientWithUnitOutputs)),
///                     };
///                 }
///             }
///         }
///         Ok(())
///     }
///
///     fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
///         Ok(Evaluation { loss: self.loss(request)?, accuracy: None, count: 1 })
///     }
///
///     fn save(&mut self, _trial: u32) -> Result<State> {
///         Ok(State::new())
///     }
///
///     fn restore(&mut self, _trial: u32, _state: &State) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// let suite = SupernetSuite { affine: Some(1e-12), ..SupernetSuite::new([0]) };
/// let report = suite.run(|| Ok(Sum(SearchSpace::anonymous([2, 3])?)));
/// report.assert();
/// println!("{report}");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct SupernetSuite {
    /// Trials that the supernets have which are built for the suite: at least one, two so that they can be told apart.
    pub trials: Vec<u32>,
    /// For proposals.
    pub seed: u64,
    /// The set that is evaluated.
    pub evaluated: Set,
    /// Central differences of losses, at proposals of every kind, where dense proposals are supported.
    pub differences: Option<Differences>,
    /// Where the reward is affine in the weight of every edge, Eq. (6) and Eq. (7) are the same number: the largest distance over the
    /// largest advantage. `None` if it is not affine.
    pub affine: Option<f64>,
}

/// Kinds of proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    OneHot,
    Pairs,
    OneHotAmongAll,
    Dense,
}

impl Kind {
    const ALL: [Self; 4] = [Self::OneHot, Self::Pairs, Self::OneHotAmongAll, Self::Dense];

    fn name(self) -> &'static str {
        match self {
            Self::OneHot => "one-hot",
            Self::Pairs => "two-hot",
            Self::OneHotAmongAll => "one-hot among all",
            Self::Dense => "dense",
        }
    }

    fn activity(self) -> Activity {
        match self {
            Self::OneHot => Activity::One,
            Self::Pairs => Activity::Two,
            Self::OneHotAmongAll | Self::Dense => Activity::All,
        }
    }

    /// A drawn proposal, or why there is none.
    fn draw(self, shape: &Shape, want: Want, rng: &mut ChaCha8Rng) -> Verdict<Proposal> {
        let mut proposal = Proposal::new(shape);
        let mut choices = || (0..shape.edges()).map(|edge| below(rng, shape.candidates(edge))).collect::<Vec<_>>();
        match self {
            Self::OneHot => proposal.set_one_hot(&Architecture::new(shape, choices())?, want)?,
            Self::OneHotAmongAll => proposal.set_one_hot_among_all(&Architecture::new(shape, choices())?, want)?,
            Self::Pairs => {
                if (0..shape.edges()).any(|edge| shape.candidates(edge) < 2) {
                    return skip("an edge has a single candidate");
                }
                let (first, by) = (choices(), choices());
                let pair = |edge: usize| {
                    let candidates = shape.candidates(edge);
                    let other = (first[edge] + 1 + by[edge] % (candidates - 1)) % candidates;
                    [first[edge], other]
                };
                proposal.set_pairs(&(0..shape.edges()).map(pair).collect::<Vec<_>>(), want)?;
            }
            Self::Dense => {
                let mut weights = OpTable::from_fn(shape, |_, _| rng.random_range(0.1..1.0));
                for edge in 0..shape.edges() {
                    let sum: f64 = weights.edge(edge).iter().sum();
                    weights.edge_mut(edge).iter_mut().for_each(|weight| *weight /= sum);
                }
                proposal.set_dense(&weights, want)?;
            }
        }
        Ok(proposal)
    }
}

const WANTS: [Want; 4] = [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals];

/// A question that the supernet supports.
type Supported = (Kind, Want);

/// An answer, bit for bit: the loss and what is valid beside it.
type Answer = Vec<u64>;

impl SupernetSuite {
    /// A suite for supernets with these trials.
    #[must_use]
    pub fn new(trials: impl Into<Vec<u32>>) -> Self {
        Self { trials: trials.into(), seed: 1, evaluated: Set::Validation, differences: None, affine: None }
    }

    /// Runs the suite over supernets that `build` makes, all of them equal.
    ///
    /// # Panics
    /// If the suite has no trials.
    #[must_use]
    pub fn run<S: Supernet>(&self, mut build: impl FnMut() -> Result<S>) -> Report {
        assert!(!self.trials.is_empty(), "the suite needs a trial");
        let mut report = Report::default();
        let mut shape = None;
        report.check("it is built", || {
            shape = Some(build()?.space().shape().clone());
            Ok(())
        });
        let Some(shape) = shape else { return report };
        let mut suite = Running { suite: self, build: &mut build, shape, supported: Vec::new() };
        for kind in Kind::ALL {
            for want in WANTS {
                let name = format!("a {} proposal that wants {} is answered", kind.name(), want.name());
                if report.check(name, || suite.answers(kind, want)) {
                    suite.supported.push((kind, want));
                }
            }
        }
        for (name, check) in Running::<S>::checks() {
            report.check(name, || check(&mut suite));
        }
        report
    }
}

/// A suite at work.
struct Running<'a, S> {
    suite: &'a SupernetSuite,
    build: &'a mut dyn FnMut() -> Result<S>,
    shape: Shape,
    supported: Vec<Supported>,
}

/// A step of a script.
enum Act {
    Probe(Request),
    Train(Request),
    Evaluate(Request),
}

impl<S: Supernet> Running<'_, S> {
    fn checks() -> [Requirement<Self>; 17] {
        [
            ("requests of one call are answered as if they came one by one", Self::calls_are_sequences),
            ("numbers of requests, answers and steps that don't fit are refused", Self::counts),
            ("trials that the supernet does not have, and proposals over other spaces, are refused", Self::strangers),
            ("requests of one call with the same batch are about the same minibatch", Self::same_batch),
            ("an answer does not depend on earlier questions", Self::earlier_questions),
            ("what is wanted changes no answer, and gradients of unit outputs are complete", Self::wants),
            ("losses without an edge are those with its weights at zero", Self::removals),
            ("evaluations are repeatable and leave no trace", Self::evaluations),
            ("a trial does not depend on others", Self::trials_are_apart),
            ("weight steps change the weights, or are refused", Self::weight_steps),
            (
                "a weight step heeds nothing that is wanted, and its loss is that before it",
                Self::weight_steps_want_nothing,
            ),
            ("losses of weight steps are fetched once, in order, each by its trial", Self::losses),
            ("saved and restored at every cut, it goes on bit for bit", Self::cuts),
            ("saving changes nothing", Self::saving),
            ("states that lack something are refused and change nothing", Self::broken_states),
            ("gradients are central differences of the losses", Self::gradients),
            ("Eq. (6) is Eq. (7) where the reward is affine", Self::affine),
        ]
    }

    fn rng(&self, salt: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.suite.seed.wrapping_mul(1000) + salt)
    }

    fn trial(&self) -> u32 {
        self.suite.trials[0]
    }

    fn build(&mut self) -> Result<S> {
        (self.build)()
    }

    fn request(&self, trial: u32, set: Set, step: u64, proposal: Proposal) -> Request {
        Request { batch: Batch { trial, set, step }, proposal }
    }

    fn draw(&self, (kind, want): Supported, rng: &mut ChaCha8Rng) -> Verdict<Proposal> {
        kind.draw(&self.shape, want, rng)
    }

    /// One question of every kind that is supported, on consecutive minibatches of a trial from `step` on.
    fn questions(&self, trial: u32, step: u64, rng: &mut ChaCha8Rng) -> Verdict<Vec<Request>> {
        if self.supported.is_empty() {
            return fail("no question is answered");
        }
        let question = |(index, supported): (usize, &Supported)| {
            Ok(self.request(trial, Set::Validation, step + index as u64, self.draw(*supported, rng)?))
        };
        self.supported.iter().enumerate().map(question).collect()
    }

    fn answers(&mut self, kind: Kind, want: Want) -> Verdict {
        let mut rng = self.rng(0);
        let proposal = self.draw((kind, want), &mut rng)?;
        let mut supernet = self.build()?;
        let request = self.request(self.trial(), Set::Validation, 0, proposal);
        let most = supernet.activity();
        let mut feedback = [unanswered(&self.shape)];
        let answered = supernet.probe(std::slice::from_ref(&request), &mut feedback);
        if kind.activity() > most {
            return match answered {
                Err(Error::Unsupported { .. }) => {
                    skip(format!("its proposals are {} at most, as it declares", most.name()))
                }
                Err(other) => fail(format!("it must be refused as unsupported, got: {other}")),
                Ok(()) => fail(format!("it declares {} proposals at most, and answers", most.name())),
            };
        }
        match answered {
            Err(error @ Error::Unsupported { .. }) => return skip(error.to_string()),
            other => other?,
        }
        let [feedback] = &feedback;
        expect_complete(&request.proposal, feedback)?;
        if want == Want::Gradient {
            let inactive = |place: &(usize, &f64)| !request.proposal.active().values()[place.0];
            let stray =
                feedback.gradient.values().iter().enumerate().filter(inactive).find(|(_, slope)| **slope != 0.0);
            require(stray.is_none(), || format!("the gradient of inactive candidates is not zero: {stray:?}"))?;
        }
        Ok(())
    }

    /// Questions, evaluations and weight steps of all kinds.
    fn script(&self, trial: u32, trains: bool, rng: &mut ChaCha8Rng) -> Verdict<Vec<Act>> {
        let mut acts = Vec::new();
        for (step, question) in self.questions(trial, 0, rng)?.into_iter().enumerate() {
            if trains {
                acts.push(Act::Train(self.request(trial, Set::Training, step as u64, question.proposal.clone())));
            }
            acts.push(Act::Probe(question));
        }
        acts.push(Act::Evaluate(self.evaluation(trial)?));
        let last = acts.len().min(2);
        let again = self.questions(trial, 50, rng)?.remove(0);
        acts.insert(last, Act::Probe(again));
        Ok(acts)
    }

    fn evaluation(&self, trial: u32) -> Verdict<Request> {
        let proposal = Proposal::one_hot(&self.shape, &Architecture::first(&self.shape), Want::Loss)?;
        Ok(self.request(trial, self.suite.evaluated, 3, proposal))
    }

    /// The answer to a proposal from a state.
    fn ask_from(&self, supernet: &mut S, start: &State, proposal: &Proposal) -> Verdict<Feedback> {
        let trial = self.trial();
        supernet.restore(trial, start)?;
        let mut feedback = [unanswered(&self.shape)];
        supernet.probe(&[self.request(trial, Set::Validation, 0, proposal.clone())], &mut feedback)?;
        let [feedback] = feedback;
        expect_complete(proposal, &feedback)?;
        Ok(feedback)
    }
}

/// How far answers to different questions about the same may be apart: kernels that answer one question add up in another order than those
/// that answer another. Faults are larger.
const AGREE: Tolerance = Tolerance::OfLargest(4.0 * tolerance::F32_NETWORK);

fn agree(name: impl Into<String>, got: &[f64], expected: &[f64]) -> Verdict {
    let comparison = Comparison::new(name, got, expected, AGREE);
    require(comparison.passed, || comparison.to_string())
}

const STEP: Step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };

/// Feedback that says when it was not filled.
fn unanswered(shape: &Shape) -> Feedback {
    let mut feedback = Feedback::new(shape);
    feedback.loss = f64::NAN;
    feedback.gradient.fill(f64::NAN);
    feedback.removals.fill(f64::NAN);
    feedback
}

fn expect_complete(proposal: &Proposal, feedback: &Feedback) -> Verdict {
    let want = proposal.want();
    require(feedback.answered == want, || format!("it answers {}", feedback.answered.name()))?;
    let missing = |values: &[f64]| values.iter().any(|value| !value.is_finite());
    require(feedback.loss.is_finite(), || format!("the loss is {}", feedback.loss))?;
    let whole = match want {
        Want::Loss => true,
        Want::Gradient | Want::GradientWithUnitOutputs => !missing(feedback.gradient.values()),
        Want::Removals => !missing(&feedback.removals),
    };
    require(whole, || format!("{} is missing or not finite: {feedback:?}", want.name()))
}

/// What is valid of an answer.
fn valid(feedback: &Feedback) -> Answer {
    let rest: &[f64] = match feedback.answered {
        Want::Loss => &[],
        Want::Gradient | Want::GradientWithUnitOutputs => feedback.gradient.values(),
        Want::Removals => &feedback.removals,
    };
    std::iter::once(&feedback.loss).chain(rest).map(|value| value.to_bits()).collect()
}

fn ask<S: Supernet>(supernet: &mut S, requests: &[Request]) -> Verdict<Vec<Answer>> {
    let mut feedback = vec![unanswered(supernet.space().shape()); requests.len()];
    supernet.probe(requests, &mut feedback)?;
    for (request, feedback) in requests.iter().zip(&feedback) {
        expect_complete(&request.proposal, feedback)?;
    }
    Ok(feedback.iter().map(valid).collect())
}

fn ask_one<S: Supernet>(supernet: &mut S, request: &Request) -> Verdict<Answer> {
    Ok(ask(supernet, std::slice::from_ref(request))?.remove(0))
}

fn train<S: Supernet>(supernet: &mut S, request: &Request) -> Verdict<f64> {
    supernet.weight_step(&[STEP], std::slice::from_ref(request))?;
    let mut losses = Vec::new();
    supernet.weight_losses(request.batch.trial, Fetch::All, &mut losses)?;
    match losses[..] {
        [loss] => Ok(loss),
        _ => fail(format!("one weight step has the losses {losses:?}")),
    }
}

fn play<S: Supernet>(supernet: &mut S, act: &Act) -> Verdict<Answer> {
    match act {
        Act::Probe(request) => ask_one(supernet, request),
        Act::Train(request) => Ok(vec![train(supernet, request)?.to_bits()]),
        Act::Evaluate(request) => {
            let Evaluation { loss, accuracy, count } = supernet.evaluate(request)?;
            Ok(vec![loss.to_bits(), accuracy.unwrap_or(-1.0).to_bits(), count])
        }
    }
}

fn describe(request: &Request) -> String {
    format!("a {} proposal that wants {}", request.proposal.activity().name(), request.proposal.want().name())
}
