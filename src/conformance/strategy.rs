//! The suite for strategies.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bits;
use super::report::{Report, Requirement, Verdict, fail, require, skip};
use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable, Shape};
use crate::state::State;
use crate::strategy::{Answer, Feedback, Proposal, Step, StepKind, Strategy, Want};

/// What a strategy is held against. The supernet that it asks is made up: every candidate has its own slope, and every minibatch its own loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrategySuite {
    /// For the answers and for what is drawn.
    pub seed: u64,
    /// Steps of `θ` that are run; at least as many as a strategy takes to an update.
    pub steps: u64,
    /// Steps of `θ` after which a loss is expected that is smaller than at the start. Every method of this project gets there in 400, however
    /// small its steps; `None` if it is not to be checked.
    pub descent: Option<u64>,
}

impl StrategySuite {
    /// A suite of 20 steps, and of 400 to learn something.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: 20, descent: Some(400) }
    }

    /// Runs the suite over strategies that `build` makes, all of them equal.
    #[must_use]
    pub fn run(&self, mut build: impl FnMut() -> Result<Box<dyn Strategy>>) -> Report {
        let mut report = Report::default();
        let built = report.check("it is built", || {
            build()?;
            Ok(())
        });
        if built {
            let mut suite = Running { suite: *self, build: &mut build };
            for (name, check) in Running::checks() {
                report.check(name, || check(&mut suite));
            }
        }
        report
    }
}

/// A suite at work.
struct Running<'a> {
    suite: StrategySuite,
    build: &'a mut dyn FnMut() -> Result<Box<dyn Strategy>>,
}

/// What a strategy did in a step, bit for bit.
type Did = Vec<u64>;

impl Running<'_> {
    fn checks() -> [Requirement<Self>; 10] {
        [
            ("it has at least one proposal per step, over its own search space", Self::proposals),
            ("probabilities, argmax and entropy fit together", Self::policy),
            ("it learns: probabilities change with the answers", Self::learns),
            ("every answer is used", Self::every_answer),
            ("what it learns makes the expected loss smaller", Self::descends),
            ("the same seed and answers give the same bits", Self::repeats),
            ("proposals of weight steps change nothing that is learned", Self::weight_steps),
            ("saved and restored at every cut, it goes on bit for bit", Self::cuts),
            ("states that lack something are refused and change nothing", Self::broken_states),
            ("another number of answers, or another answer than was wanted, is refused", Self::wrong_answers),
        ]
    }

    fn build(&mut self) -> Result<Box<dyn Strategy>> {
        (self.build)()
    }

    fn step(&self, kind: StepKind, index: u64) -> Step {
        let place = (index % self.suite.steps) as f64 / self.suite.steps as f64;
        Step { kind, progress: place, schedule: place }
    }

    /// The proposals of a step.
    fn propose(&self, strategy: &mut dyn Strategy, kind: StepKind, index: u64) -> Verdict<Vec<Proposal>> {
        let count = if kind == StepKind::Theta { strategy.proposals_per_step() } else { 1 };
        let mut rng = ChaCha8Rng::seed_from_u64(
            self.suite.seed.wrapping_mul(7919) ^ (2 * index + u64::from(kind == StepKind::Theta)),
        );
        let mut proposals = vec![Proposal::new(strategy.shape()); count];
        for proposal in &mut proposals {
            strategy.propose(&self.step(kind, index), &mut rng, proposal)?;
        }
        Ok(proposals)
    }

    /// What a candidate adds to the loss.
    fn slopes(&self, shape: &Shape) -> OpTable<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.suite.seed);
        OpTable::from_fn(shape, |_, _| rng.random_range(-1.0..1.0))
    }

    /// What the made-up supernet says: an affine loss whose slopes are fixed, and whose constant is the minibatch's.
    fn answer(&self, proposal: &Proposal, index: u64) -> Feedback {
        let shape = proposal.shape();
        let slopes = self.slopes(shape);
        let mut rng = ChaCha8Rng::seed_from_u64(self.suite.seed.wrapping_add(1000 + index));
        let constant: f64 = rng.random_range(2.0..3.0);
        let mut feedback = Feedback::new(shape);
        feedback.begin(proposal.want());
        let share = |edge: usize| -> f64 {
            proposal.weights().edge(edge).iter().zip(slopes.edge(edge)).map(|(weight, slope)| weight * slope).sum()
        };
        feedback.loss = constant + (0..shape.edges()).map(share).sum::<f64>();
        match proposal.want() {
            Want::Loss => {}
            Want::Removals => {
                for edge in 0..shape.edges() {
                    feedback.removals[edge] = feedback.loss - share(edge);
                }
            }
            Want::Gradient | Want::GradientWithUnitOutputs => {
                let all = proposal.want() == Want::GradientWithUnitOutputs;
                for (place, slope) in feedback.gradient.values_mut().iter_mut().enumerate() {
                    if all || proposal.active().values()[place] {
                        *slope = slopes.values()[place] + 0.1 * constant;
                    }
                }
            }
        }
        feedback
    }

    /// A step of the weights and one of `θ`.
    fn advance(&self, strategy: &mut dyn Strategy, index: u64) -> Verdict<Did> {
        let mut did = noted(&self.propose(strategy, StepKind::Weights, index)?);
        did.extend(self.theta_step(strategy, index, |_, _| {})?);
        Ok(did)
    }

    /// A step of `θ`, in which an answer may be another than the supernet's.
    fn theta_step(
        &self,
        strategy: &mut dyn Strategy,
        index: u64,
        mut change: impl FnMut(usize, &mut Feedback),
    ) -> Verdict<Did> {
        let proposals = self.propose(strategy, StepKind::Theta, index)?;
        let mut did = noted(&proposals);
        let mut feedback: Vec<Feedback> = proposals.iter().map(|proposal| self.answer(proposal, index)).collect();
        feedback.iter_mut().enumerate().for_each(|(place, feedback)| change(place, feedback));
        let answers: Vec<Answer<'_>> =
            proposals.iter().zip(&feedback).map(|(proposal, feedback)| Answer::new(proposal, feedback)).collect();
        strategy.learn(&self.step(StepKind::Theta, index), &answers)?;
        did.extend(probabilities(strategy).values().iter().map(|probability| probability.to_bits()));
        did.push(strategy.entropy().to_bits());
        Ok(did)
    }

    fn proposals(&mut self) -> Verdict {
        let mut strategy = self.build()?;
        let count = strategy.proposals_per_step();
        require(count > 0, || "it has none".to_owned())?;
        for index in 0..self.suite.steps {
            for kind in [StepKind::Warmup, StepKind::Weights, StepKind::Theta] {
                for proposal in self.propose(&mut *strategy, kind, index)? {
                    require(proposal.shape() == strategy.shape(), || "a proposal is over another space".to_owned())?;
                    for edge in 0..proposal.shape().edges() {
                        let slots = proposal.slots(edge).count();
                        let most = proposal.activity().slots(proposal.shape().candidates(edge));
                        require((1..=most).contains(&slots), || {
                            format!("edge {edge} has {slots} active candidates, expected 1 to {most}")
                        })?;
                    }
                }
            }
            self.advance(&mut *strategy, index)?;
            require(strategy.proposals_per_step() == count, || "their number changes".to_owned())?;
        }
        Ok(())
    }

    fn policy(&mut self) -> Verdict {
        let mut strategy = self.build()?;
        let shape = strategy.shape().clone();
        let largest: f64 = (0..shape.edges()).map(|edge| (shape.candidates(edge) as f64).ln()).sum();
        for index in 0..self.suite.steps {
            let mut probabilities = OpTable::filled(&shape, f64::NAN);
            strategy.probabilities_into(&mut probabilities);
            let mut mode = Architecture::first(&shape);
            strategy.mode_into(&mut mode);
            mode.expect_in(&shape)?;
            for edge in 0..shape.edges() {
                let row = probabilities.edge(edge);
                let sum: f64 = row.iter().sum();
                require(row.iter().all(|p| (0.0..=1.0).contains(p)) && (sum - 1.0).abs() < 1e-9, || {
                    format!("the probabilities of edge {edge} are {row:?}")
                })?;
                let most = row.iter().fold(0.0, |most: f64, p| most.max(*p));
                let chosen = row[mode.choice(edge)];
                require(chosen >= most, || format!("the argmax of edge {edge} has {chosen} of {row:?}"))?;
            }
            let entropy = strategy.entropy();
            require((-1e-9..=largest + 1e-9).contains(&entropy), || format!("the entropy is {entropy} of {largest}"))?;
            self.advance(&mut *strategy, index)?;
        }
        Ok(())
    }

    fn learns(&mut self) -> Verdict {
        let mut strategy = self.build()?;
        if nothing_to_choose(&*strategy) {
            return skip("there is nothing to choose");
        }
        let before = probabilities(&*strategy);
        for index in 0..self.suite.steps {
            self.advance(&mut *strategy, index)?;
        }
        require(probabilities(&*strategy) != before, || format!("not in {} steps", self.suite.steps))
    }

    /// Against a strategy that gets another answer in one place: what it learns must be something else.
    fn every_answer(&mut self) -> Verdict {
        let mut reference = self.build()?;
        if nothing_to_choose(&*reference) {
            return skip("there is nothing to choose");
        }
        for index in 0..self.suite.steps {
            self.theta_step(&mut *reference, index, |_, _| {})?;
        }
        let count = reference.proposals_per_step();
        for changed in 0..count {
            let mut strategy = self.build()?;
            for index in 0..self.suite.steps {
                let mut rng = ChaCha8Rng::seed_from_u64(self.suite.seed.wrapping_add(2000 + index));
                self.theta_step(&mut *strategy, index, |place, feedback| {
                    if place == changed {
                        let others = feedback.gradient.values_mut().iter_mut().filter(|slope| **slope != 0.0);
                        let numbers = std::iter::once(&mut feedback.loss).chain(&mut feedback.removals).chain(others);
                        numbers.for_each(|number| *number += rng.random_range(-1.0..1.0));
                    }
                })?;
            }
            require(probabilities(&*strategy) != probabilities(&*reference), || {
                format!("answer {changed} of {count} makes no difference in {} steps", self.suite.steps)
            })?;
        }
        Ok(())
    }

    /// The loss is affine, so that its expectation over the policy is that at the probabilities.
    fn descends(&mut self) -> Verdict {
        let Some(steps) = self.suite.descent else { return skip("the suite was given no number of steps") };
        let mut strategy = self.build()?;
        if nothing_to_choose(&*strategy) {
            return skip("there is nothing to choose");
        }
        let slopes = self.slopes(strategy.shape());
        let expected = |strategy: &dyn Strategy| -> f64 {
            probabilities(strategy).values().iter().zip(slopes.values()).map(|(p, slope)| p * slope).sum()
        };
        let before = expected(&*strategy);
        let long = Running { suite: StrategySuite { steps, ..self.suite }, build: &mut *self.build };
        for index in 0..steps {
            long.advance(&mut *strategy, index)?;
        }
        let after = expected(&*strategy);
        require(after < before, || format!("after {steps} steps it is {:+e} larger than at the start", after - before))
    }

    fn repeats(&mut self) -> Verdict {
        let (mut one, mut other) = (self.build()?, self.build()?);
        for index in 0..self.suite.steps {
            require(self.advance(&mut *one, index)? == self.advance(&mut *other, index)?, || {
                format!("step {index} is another")
            })?;
        }
        require(bits(&one.save()) == bits(&other.save()), || "another state is saved".to_owned())
    }

    /// Neither at once nor in the steps that follow.
    fn weight_steps(&mut self) -> Verdict {
        let (mut strategy, mut without) = (self.build()?, self.build()?);
        for index in 0..self.suite.steps {
            let see = |strategy: &dyn Strategy| (probabilities(strategy), strategy.entropy().to_bits());
            let before = see(&*strategy);
            for kind in [StepKind::Warmup, StepKind::Weights] {
                self.propose(&mut *strategy, kind, index)?;
            }
            require(see(&*strategy) == before, || format!("the policy has changed in step {index}"))?;
            let [did, expected] =
                [&mut strategy, &mut without].map(|strategy| self.theta_step(&mut **strategy, index, |_, _| {}));
            require(did? == expected?, || format!("the step of θ after them is another, step {index}"))?;
        }
        Ok(())
    }

    fn cuts(&mut self) -> Verdict {
        let mut reference = self.build()?;
        let mut states = vec![reference.save()];
        let mut did = Vec::new();
        for index in 0..self.suite.steps {
            did.push(self.advance(&mut *reference, index)?);
            states.push(reference.save());
        }
        for (cut, state) in states.iter().enumerate() {
            let mut resumed = self.build()?;
            // Something else before, so that it can't be right by being fresh.
            for index in 0..3 {
                self.advance(&mut *resumed, 500 + index)?;
            }
            resumed.restore(state)?;
            require(bits(&resumed.save()) == bits(state), || format!("at cut {cut}, another state is saved"))?;
            for (index, expected) in did.iter().enumerate().skip(cut) {
                require(self.advance(&mut *resumed, index as u64)? == *expected, || {
                    format!("restored at cut {cut}, step {index} is another: something that it remembers is not saved")
                })?;
            }
            require(bits(&resumed.save()) == bits(&reference.save()), || {
                format!("restored at cut {cut}, it ends elsewhere")
            })?;
        }
        Ok(())
    }

    fn broken_states(&mut self) -> Verdict {
        let (mut source, mut strategy) = (self.build()?, self.build()?);
        for index in 0..self.suite.steps - 1 {
            self.advance(&mut *source, index)?;
        }
        self.advance(&mut *strategy, 500)?;
        let (saved, before) = (source.save(), bits(&strategy.save()));
        for (left_out, _) in saved.iter() {
            let mut broken = State::new();
            for (name, entry) in saved.iter().filter(|(name, _)| *name != left_out) {
                broken.insert(name, entry.clone());
            }
            match strategy.restore(&broken) {
                Err(Error::State { .. }) => {}
                other => return fail(format!("without {left_out:?}: expected a refusal, got {other:?}")),
            }
            require(bits(&strategy.save()) == before, || {
                format!("the refused state without {left_out:?} has changed something")
            })?;
        }
        Ok(())
    }

    fn wrong_answers(&mut self) -> Verdict {
        let mut strategy = self.build()?;
        let proposals = self.propose(&mut *strategy, StepKind::Theta, 0)?;
        let feedback: Vec<Feedback> = proposals.iter().map(|proposal| self.answer(proposal, 0)).collect();
        let mut answers: Vec<Answer<'_>> =
            proposals.iter().zip(&feedback).map(|(proposal, feedback)| Answer::new(proposal, feedback)).collect();
        let step = self.step(StepKind::Theta, 0);
        require(strategy.learn(&step, &answers[..answers.len() - 1]).is_err(), || {
            format!("{} answers to {} proposals are taken", answers.len() - 1, answers.len())
        })?;
        answers.push(answers[0]);
        require(strategy.learn(&step, &answers).is_err(), || "one answer too many is taken".to_owned())?;
        let mut other = feedback.clone();
        for (other, proposal) in other.iter_mut().zip(&proposals) {
            other.begin(if proposal.want() == Want::Loss { Want::Removals } else { Want::Loss });
        }
        let answers: Vec<Answer<'_>> =
            proposals.iter().zip(&other).map(|(proposal, feedback)| Answer::new(proposal, feedback)).collect();
        require(strategy.learn(&step, &answers).is_err(), || {
            format!("{} is taken for {}", other[0].answered.name(), proposals[0].want().name())
        })
    }
}

/// Proposals, bit for bit.
fn noted(proposals: &[Proposal]) -> Did {
    let mut did = Vec::new();
    for proposal in proposals {
        did.extend(proposal.weights().values().iter().map(|weight| weight.to_bits()));
        did.extend(proposal.active().values().iter().map(|active| u64::from(*active)));
    }
    did
}

fn probabilities(strategy: &dyn Strategy) -> OpTable<f64> {
    let mut table = OpTable::filled(strategy.shape(), f64::NAN);
    strategy.probabilities_into(&mut table);
    table
}

fn nothing_to_choose(strategy: &dyn Strategy) -> bool {
    (0..strategy.shape().edges()).all(|edge| strategy.shape().candidates(edge) < 2)
}
