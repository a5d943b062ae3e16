//! The suite for supernets.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bits;
use super::report::{Report, Requirement, Verdict, fail, require, skip};
use crate::comparison::Comparison;
use crate::error::{Error, Result};
use crate::estimator;
use crate::random::below;
use crate::space::{Architecture, OpTable, SearchSpace, Shape};
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

    fn calls_are_sequences(&mut self) -> Verdict {
        let mut rng = self.rng(1);
        let mut requests = Vec::new();
        let trials = self.suite.trials.clone();
        for round in 0..2 {
            for &trial in &trials {
                requests.extend(self.questions(trial, 100 * round, &mut rng)?);
            }
            // Neighbours of different trials, too.
            requests.sort_by_key(|request| request.batch.step);
        }
        let mut one_by_one = self.build()?;
        let expected =
            requests.iter().map(|request| ask_one(&mut one_by_one, request)).collect::<Verdict<Vec<Answer>>>()?;
        let got = ask(&mut self.build()?, &requests)?;
        for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
            require(got == expected, || {
                format!("answer {index} of {} is another than that of a call of its own", requests.len())
            })?;
        }
        Ok(())
    }

    fn counts(&mut self) -> Verdict {
        let mut rng = self.rng(2);
        let mut requests = self.questions(self.trial(), 0, &mut rng)?;
        requests.push(requests[0].clone());
        let mut supernet = self.build()?;
        let trains = supernet.trains_weights();
        let mut feedback = vec![unanswered(&self.shape); requests.len() + 1];
        for answers in [0, requests.len() - 1, requests.len() + 1] {
            let refused = supernet.probe(&requests, &mut feedback[..answers]);
            require(matches!(refused, Err(Error::Length { .. })), || {
                format!("{} requests with {answers} answers: expected a refusal, got {refused:?}", requests.len())
            })?;
        }
        let other = SearchSpace::anonymous(vec![1; self.shape.edges() + 1])?;
        let refused = supernet.probe(&requests[..1], &mut [Feedback::new(other.shape())]);
        require(refused.is_err(), || "an answer for another search space is filled".to_owned())?;
        if trains {
            let one = self.request(self.trial(), Set::Training, 0, requests[0].proposal.clone());
            for steps in [0, 2] {
                let refused = supernet.weight_step(&vec![STEP; steps], std::slice::from_ref(&one));
                require(matches!(refused, Err(Error::Length { .. })), || {
                    format!("a weight step of 1 request with {steps} steps: expected a refusal, got {refused:?}")
                })?;
            }
            let refused = supernet.weight_step(&[STEP; 2], &[one.clone(), one]);
            require(refused.is_err(), || "two weight steps of a trial in one call are not refused".to_owned())?;
        }
        Ok(())
    }

    fn strangers(&mut self) -> Verdict {
        let mut rng = self.rng(3);
        let mut request = self.questions(self.trial(), 0, &mut rng)?.remove(0);
        let mut supernet = self.build()?;
        let stranger = (0..).find(|trial| !self.suite.trials.contains(trial)).unwrap_or_default();
        request.batch.trial = stranger;
        let mut feedback = [unanswered(&self.shape)];
        require(supernet.probe(std::slice::from_ref(&request), &mut feedback).is_err(), || {
            format!("trial {stranger} is answered")
        })?;
        let other = SearchSpace::anonymous(vec![2; self.shape.edges() + 1])?;
        let foreign = self.request(self.trial(), Set::Validation, 0, Proposal::new(other.shape()));
        require(supernet.probe(std::slice::from_ref(&foreign), &mut feedback).is_err(), || {
            "a proposal over another search space is answered".to_owned()
        })?;
        require(supernet.evaluate(&foreign).is_err(), || "… is evaluated".to_owned())
    }

    fn same_batch(&mut self) -> Verdict {
        let mut rng = self.rng(4);
        let mut questions = self.questions(self.trial(), 0, &mut rng)?;
        for index in 0..questions.len() {
            let again = questions[index].clone();
            questions.push(again);
        }
        questions.iter_mut().for_each(|request| request.batch.step = 5);
        let mut supernet = self.build()?;
        let answers = ask(&mut supernet, &questions)?;
        let half = questions.len() / 2;
        for (index, (one, again)) in answers[..half].iter().zip(&answers[half..]).enumerate() {
            require(one == again, || format!("{:?}: asked again, it is answered otherwise", self.supported[index]))?;
        }
        // Where a state is carried, it goes on from the first.
        let mut alone = self.build()?;
        ask(&mut alone, &questions[..1])?;
        let trial = self.trial();
        require(bits(&supernet.save(trial)?) == bits(&alone.save(trial)?), || {
            "the state does not go on from the first of them".to_owned()
        })
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

    fn earlier_questions(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(5);
        let mut supernet = self.build()?;
        let start = supernet.save(trial)?;
        let questions = self.questions(trial, 0, &mut rng)?;
        let script = self.script(trial, supernet.trains_weights(), &mut rng)?;
        let mut fresh = Vec::new();
        for question in &questions {
            supernet.restore(trial, &start)?;
            fresh.push(ask_one(&mut self.build()?, question)?);
            let again = ask_one(&mut supernet, question)?;
            require(Some(&again) == fresh.last(), || {
                format!("{:?}: a restored supernet answers otherwise", describe(question))
            })?;
        }
        for (act, (question, expected)) in script.iter().zip(questions.iter().zip(&fresh).cycle()) {
            play(&mut supernet, act)?;
            let state = supernet.save(trial)?;
            supernet.restore(trial, &start)?;
            let got = ask_one(&mut supernet, question)?;
            require(got == *expected, || {
                format!("{}: after other questions, it is answered otherwise", describe(question))
            })?;
            supernet.restore(trial, &state)?;
        }
        Ok(())
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

    /// Of every kind of proposal, the same one with everything that may be wanted.
    fn wants(&mut self) -> Verdict {
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        for kind in Kind::ALL {
            let mut answers: Vec<(Want, Proposal, Feedback)> = Vec::new();
            for want in WANTS.into_iter().filter(|want| self.supported.contains(&(kind, *want))) {
                let proposal = self.draw((kind, want), &mut self.rng(15))?;
                let feedback = self.ask_from(&mut supernet, &start, &proposal)?;
                answers.push((want, proposal, feedback));
            }
            let Some((first, _, expected)) = answers.first() else { continue };
            for (want, _, got) in &answers[1..] {
                let name =
                    format!("the loss of {} proposals that want {} and {}", kind.name(), want.name(), first.name());
                agree(name, &[got.loss], &[expected.loss])?;
            }
            let of = |wanted: Want| answers.iter().find(|(want, ..)| *want == wanted);
            let Some((_, proposal, with)) = of(Want::GradientWithUnitOutputs) else { continue };
            let inactive = |edge: usize| {
                let candidates = proposal.active().edge(edge).iter().zip(with.gradient.edge(edge));
                candidates.filter(|(active, _)| !**active).map(|(_, slope)| *slope).collect::<Vec<f64>>()
            };
            // All outputs are the same ones.
            let mut sizes = Vec::new();
            for slopes in (0..self.shape.edges()).map(inactive).filter(|slopes| !slopes.is_empty()) {
                sizes.push(slopes[0].abs());
                let name = format!("gradients of {} proposals' unit outputs at one edge", kind.name());
                agree(name, &slopes, &vec![slopes[0]; slopes.len()])?;
            }
            require(sizes.is_empty() || sizes.iter().any(|size| *size > 0.0), || {
                format!("the gradients of {} proposals' unit outputs are zero", kind.name())
            })?;
            if let Some((.., without)) = of(Want::Gradient) {
                let active = |feedback: &Feedback| {
                    let slopes = feedback.gradient.values().iter().zip(proposal.active().values());
                    slopes.map(|(slope, active)| if *active { *slope } else { 0.0 }).collect::<Vec<f64>>()
                };
                let name = format!("gradients of {} proposals with and without unit outputs", kind.name());
                agree(name, &active(with), &active(without))?;
            }
        }
        Ok(())
    }

    /// Asked for at once, and one by one with the dense proposals that say the same.
    fn removals(&mut self) -> Verdict {
        if !self.supported.contains(&(Kind::Dense, Want::Loss)) {
            return skip("dense proposals are not supported");
        }
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        let mut asked = false;
        for kind in Kind::ALL.into_iter().filter(|kind| self.supported.contains(&(*kind, Want::Removals))) {
            let proposal = self.draw((kind, Want::Removals), &mut self.rng(16))?;
            let got = self.ask_from(&mut supernet, &start, &proposal)?.removals;
            let mut expected = Vec::new();
            for edge in 0..self.shape.edges() {
                let (mut weights, mut without) = (proposal.weights().clone(), proposal.clone());
                weights.edge_mut(edge).fill(0.0);
                without.set_dense(&weights, Want::Loss)?;
                expected.push(self.ask_from(&mut supernet, &start, &without)?.loss);
            }
            agree(format!("losses of {} proposals without each edge", kind.name()), &got, &expected)?;
            asked = true;
        }
        if asked { Ok(()) } else { skip("losses without an edge are not supported") }
    }

    fn evaluations(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(6);
        let questions = self.questions(trial, 0, &mut rng)?;
        let evaluation = self.evaluation(trial)?;
        let (mut with, mut without) = (self.build()?, self.build()?);
        let mut seen: Option<Evaluation> = None;
        for question in &questions {
            for _ in 0..2 {
                let evaluation = with.evaluate(&evaluation)?;
                require(evaluation.loss.is_finite() && evaluation.count > 0, || format!("got {evaluation:?}"))?;
                let first = *seen.get_or_insert(evaluation);
                require(first == evaluation, || format!("first {first:?}, then {evaluation:?}"))?;
            }
            let pair = [evaluation.clone(), evaluation.clone()];
            let all = with.evaluate_all(&pair)?;
            require(all.iter().all(|one| Some(*one) == seen) && all.len() == 2, || format!("all at once: {all:?}"))?;
            let (with_answer, without_answer) = (ask_one(&mut with, question)?, ask_one(&mut without, question)?);
            require(with_answer == without_answer, || {
                format!("{}: an evaluation changed the answer", describe(question))
            })?;
            require(bits(&with.save(trial)?) == bits(&without.save(trial)?), || {
                "an evaluation changed what is saved".to_owned()
            })?;
        }
        Ok(())
    }

    fn trials_are_apart(&mut self) -> Verdict {
        let [first, second, ..] = *self.suite.trials else { return skip("the suite was given a single trial") };
        for (one, other) in [(first, second), (second, first)] {
            let mut rng = self.rng(7);
            let (mut alone, mut beside) = (self.build()?, self.build()?);
            let trains = alone.trains_weights();
            let (mine, theirs) = (self.script(one, trains, &mut rng)?, self.script(other, trains, &mut rng)?);
            for (index, act) in mine.iter().enumerate() {
                if let Some(act) = theirs.get(index) {
                    play(&mut beside, act)?;
                }
                require(play(&mut alone, act)? == play(&mut beside, act)?, || {
                    format!("trial {one} is answered otherwise where trial {other} asks, too")
                })?;
            }
            let (mine, theirs) = (alone.save(one)?, bits(&beside.save(other)?));
            require(bits(&mine) == bits(&beside.save(one)?), || {
                format!("trial {one} has another state where trial {other} asked")
            })?;
            let start = self.build()?.save(one)?;
            beside.restore(one, &start)?;
            require(bits(&beside.save(other)?) == theirs, || {
                format!("trial {other} has another state after trial {one} was restored")
            })?;
        }
        Ok(())
    }

    fn weight_steps(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(8);
        let proposal = self.draw(self.supported.first().copied().unwrap_or((Kind::OneHot, Want::Loss)), &mut rng)?;
        let request = self.request(trial, Set::Training, 0, proposal);
        let mut supernet = self.build()?;
        if !supernet.trains_weights() {
            let refused = supernet.weight_step(&[STEP], &[request]);
            return match refused {
                Err(Error::Unsupported { .. }) => skip("its weights are fixed"),
                other => fail(format!("its weights are fixed, but a weight step says {other:?}")),
            };
        }
        let evaluation = Request { proposal: request.proposal.clone(), ..self.evaluation(trial)? };
        let before = (bits(&supernet.save(trial)?), supernet.evaluate(&evaluation)?);
        train(&mut supernet, &request)?;
        let after = (bits(&supernet.save(trial)?), supernet.evaluate(&evaluation)?);
        require(before.0 != after.0, || "nothing that is saved has changed".to_owned())?;
        require(before.1.loss.to_bits() != after.1.loss.to_bits(), || "the evaluation has not changed".to_owned())
    }

    fn weight_steps_want_nothing(&mut self) -> Verdict {
        let trial = self.trial();
        let mut supernet = self.build()?;
        if !supernet.trains_weights() {
            return skip("its weights are fixed");
        }
        let start = supernet.save(trial)?;
        let Some(&(kind, _)) = self.supported.iter().find(|(_, want)| *want == Want::Loss) else {
            return skip("no loss is answered");
        };
        let mut request = self.request(trial, Set::Training, 0, self.draw((kind, Want::Loss), &mut self.rng(17))?);
        let mut feedback = [unanswered(&self.shape)];
        supernet.probe(std::slice::from_ref(&request), &mut feedback)?;
        let mut expected: Option<(u64, _)> = None;
        for want in WANTS {
            request.proposal = self.draw((kind, want), &mut self.rng(17))?;
            supernet.restore(trial, &start)?;
            let loss = train(&mut supernet, &request)?;
            agree("the loss of a weight step and of a question before it", &[loss], &[feedback[0].loss])?;
            let got = (loss.to_bits(), bits(&supernet.save(trial)?));
            let expected = expected.get_or_insert_with(|| got.clone());
            require(got == *expected, || format!("a weight step whose proposal wants {} is another", want.name()))?;
        }
        Ok(())
    }

    fn losses(&mut self) -> Verdict {
        let mut rng = self.rng(9);
        let (mut at_once, mut later) = (self.build()?, self.build()?);
        if !at_once.trains_weights() {
            return skip("its weights are fixed");
        }
        const COUNT: u64 = 3;
        let trials = self.suite.trials.clone();
        let mut expected = vec![Vec::new(); trials.len()];
        for step in 0..COUNT {
            let mut requests = Vec::new();
            for (&trial, expected) in trials.iter().zip(&mut expected) {
                let supported = self.supported[below(&mut rng, self.supported.len())];
                let request = self.request(trial, Set::Training, step, self.draw(supported, &mut rng)?);
                expected.push(train(&mut at_once, &request)?.to_bits());
                requests.push(request);
            }
            later.weight_step(&vec![STEP; requests.len()], &requests)?;
        }
        for (&trial, expected) in trials.iter().zip(&expected) {
            let mut losses = vec![-1.0];
            later.weight_losses(trial, Fetch::Ready, &mut losses)?;
            later.weight_losses(trial, Fetch::All, &mut losses)?;
            let Some((kept, new)) = losses.split_first() else { return fail("losses that were there are gone") };
            let got: Vec<u64> = new.iter().map(|loss| loss.to_bits()).collect();
            require(*kept == -1.0 && got == *expected, || {
                let expected: Vec<f64> = expected.iter().map(|bits| f64::from_bits(*bits)).collect();
                format!("trial {trial}: expected {expected:?}, got {new:?}")
            })?;
            later.weight_losses(trial, Fetch::All, &mut losses)?;
            require(losses.len() == got.len() + 1, || format!("trial {trial}: losses were handed over twice"))?;
        }
        for &trial in &trials {
            require(bits(&at_once.save(trial)?) == bits(&later.save(trial)?), || {
                format!("trial {trial}: steps in one call, or losses that are fetched later, change the weights")
            })?;
        }
        // Those that nobody fetched before a state was restored are forgotten.
        let trial = self.trial();
        let start = later.save(trial)?;
        let request = self.request(trial, Set::Training, 0, self.draw(self.supported[0], &mut rng)?);
        later.weight_step(&[STEP], std::slice::from_ref(&request))?;
        later.restore(trial, &start)?;
        let mut losses = Vec::new();
        later.weight_losses(trial, Fetch::All, &mut losses)?;
        require(losses.is_empty(), || format!("after a state was restored, {losses:?} are there from before"))
    }

    fn cuts(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(10);
        let mut reference = self.build()?;
        let script = self.script(trial, reference.trains_weights(), &mut rng)?;
        let mut other = self.script(trial, reference.trains_weights(), &mut rng)?;
        other.truncate(4);
        let mut states = vec![reference.save(trial)?];
        let mut answers = Vec::new();
        for act in &script {
            answers.push(play(&mut reference, act)?);
            states.push(reference.save(trial)?);
        }
        let end = bits(&reference.save(trial)?);
        for (cut, state) in states.iter().enumerate() {
            // Something else before, so that it can't be right by being fresh.
            let mut resumed = self.build()?;
            other.iter().try_for_each(|act| play(&mut resumed, act).map(drop))?;
            resumed.restore(trial, state)?;
            require(bits(&resumed.save(trial)?) == bits(state), || format!("at cut {cut}, another state is saved"))?;
            for (act, expected) in script.iter().zip(&answers).skip(cut) {
                require(play(&mut resumed, act)? == *expected, || {
                    format!("restored at cut {cut} of {}, it answers otherwise", script.len())
                })?;
            }
            require(bits(&resumed.save(trial)?) == end, || format!("restored at cut {cut}, it ends elsewhere"))?;
        }
        Ok(())
    }

    fn saving(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(11);
        let (mut with, mut without) = (self.build()?, self.build()?);
        for act in self.script(trial, with.trains_weights(), &mut rng)? {
            let state = bits(&with.save(trial)?);
            require(state == bits(&with.save(trial)?), || "saved twice, it saves something else".to_owned())?;
            require(play(&mut with, &act)? == play(&mut without, &act)?, || "an answer has changed".to_owned())?;
        }
        require(bits(&with.save(trial)?) == bits(&without.save(trial)?), || "the end has changed".to_owned())
    }

    fn broken_states(&mut self) -> Verdict {
        let trial = self.trial();
        let mut rng = self.rng(12);
        let (mut source, mut supernet) = (self.build()?, self.build()?);
        let trains = source.trains_weights();
        self.script(trial, trains, &mut rng)?.iter().try_for_each(|act| play(&mut source, act).map(drop))?;
        let saved = source.save(trial)?;
        if saved.iter().next().is_none() {
            return skip("nothing is saved");
        }
        // Elsewhere, so that whatever is taken from the state shows.
        let other = self.script(trial, trains, &mut rng)?;
        other[..other.len() / 2].iter().try_for_each(|act| play(&mut supernet, act).map(drop))?;
        let mut expected = Vec::new();
        if trains {
            let request = self.request(trial, Set::Training, 0, self.draw(self.supported[0], &mut rng)?);
            let mut same = self.build()?;
            same.restore(trial, &supernet.save(trial)?)?;
            expected.push(train(&mut same, &request)?);
            supernet.weight_step(&[STEP], std::slice::from_ref(&request))?;
        }
        let before = bits(&supernet.save(trial)?);
        for (left_out, _) in saved.iter() {
            let mut broken = State::new();
            for (name, entry) in saved.iter().filter(|(name, _)| *name != left_out) {
                broken.insert(name, entry.clone());
            }
            match supernet.restore(trial, &broken) {
                Err(Error::State { .. }) => {}
                other => return fail(format!("without {left_out:?}: expected a refusal, got {other:?}")),
            }
            require(bits(&supernet.save(trial)?) == before, || {
                format!("the refused state without {left_out:?} has changed something")
            })?;
        }
        let mut losses = Vec::new();
        supernet.weight_losses(trial, Fetch::All, &mut losses)?;
        require(losses == expected, || {
            format!("after refused states, the losses {losses:?} are there, not {expected:?}")
        })
    }

    fn gradients(&mut self) -> Verdict {
        let Some(Differences { step, tolerance }) = self.suite.differences else {
            return skip("the suite was given no step and tolerance");
        };
        if !self.supported.contains(&(Kind::Dense, Want::Loss)) {
            return skip("dense proposals are not supported");
        }
        let mut rng = self.rng(13);
        let mut supernet = self.build()?;
        let start = supernet.save(self.trial())?;
        // The dense one first.
        for kind in Kind::ALL.into_iter().rev().filter(|kind| self.supported.contains(&(*kind, Want::Gradient))) {
            let proposal = self.draw((kind, Want::Gradient), &mut rng)?;
            let gradient = self.ask_from(&mut supernet, &start, &proposal)?.gradient;
            let largest = gradient.values().iter().fold(0.0, |largest: f64, slope| largest.max(slope.abs()));
            require(largest > 0.0, || format!("the gradient of a {} proposal is zero", kind.name()))?;
            for edge in 0..self.shape.edges() {
                for (candidate, _) in proposal.slots(edge) {
                    let mut losses = [0.0; 2];
                    for (loss, by) in losses.iter_mut().zip([step, -step]) {
                        let (mut weights, mut moved) = (proposal.weights().clone(), proposal.clone());
                        weights[(edge, candidate)] += by;
                        moved.set_dense(&weights, Want::Loss)?;
                        *loss = self.ask_from(&mut supernet, &start, &moved)?.loss;
                    }
                    let (got, expected) = (gradient[(edge, candidate)], (losses[0] - losses[1]) / (2.0 * step));
                    require((got - expected).abs() <= tolerance * largest, || {
                        let kind = kind.name();
                        format!("{kind}, edge {edge}, candidate {candidate}: got {got}, the differences say {expected}")
                    })?;
                }
            }
        }
        Ok(())
    }

    fn affine(&mut self) -> Verdict {
        let Some(tolerance) = self.suite.affine else { return skip("the reward is not said to be affine") };
        let (trial, edges) = (self.trial(), self.shape.edges());
        let mut rng = self.rng(14);
        let mut supernet = self.build()?;
        let start = supernet.save(trial)?;
        for _ in 0..3 {
            let mut proposal = self.draw((Kind::OneHot, Want::Removals), &mut rng)?;
            let Some(architecture) = proposal.architecture().cloned() else { continue };
            let mut answers = Vec::new();
            for want in [Want::Removals, Want::Gradient] {
                proposal.set_one_hot(&architecture, want)?;
                supernet.restore(trial, &start)?;
                let mut feedback = [unanswered(&self.shape)];
                supernet.probe(&[self.request(trial, Set::Validation, 0, proposal.clone())], &mut feedback)?;
                let [feedback] = feedback;
                answers.push(feedback);
            }
            let (mut exact, mut first_order) = (vec![0.0; edges], vec![0.0; edges]);
            let removals: Vec<f64> = answers[0].removals.iter().map(|loss| -loss).collect();
            estimator::advantages(&-answers[0].loss, &removals, &mut exact)?;
            estimator::first_order(&answers[1].gradient.map(|slope| -slope), &architecture, &mut first_order)?;
            let largest = exact.iter().fold(0.0, |largest: f64, advantage| largest.max(advantage.abs()));
            require(largest > 0.0, || "all advantages are zero".to_owned())?;
            for (edge, (exact, first_order)) in exact.iter().zip(&first_order).enumerate() {
                require((exact - first_order).abs() <= tolerance * largest, || {
                    format!("{architecture}, edge {edge}: Eq. (6) says {exact}, Eq. (7) says {first_order}")
                })?;
            }
        }
        Ok(())
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
