//! The checks are checked: with one mistake in the code under test, the verdicts that rest on it are not reached.
//!
//! Every mistake is one that a person could make. For each, the claims that must notice are named, and some that must not: a check
//! that fails whatever the code does would be as worthless as one that always passes.

use advantage_nas::estimator::{Scalar, ZeroRule};
use advantage_nas::{Architecture, OpTable, Policy, Result, SearchSpace};
use advantage_nas_theory::estimators::{Core, Estimators};
use advantage_nas_theory::ledger::{Effort, ledger};
use rand::{Rng, RngCore};

/// The core's code with one mistake. One type, so that the ledger is compiled once.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    ScoreSign,
    ReinforceSign,
    ReinforceTwice,
    /// `R + b`: still unbiased, so that only the variance can tell.
    BaselineAdded,
    /// The sum of the samples in place of their mean.
    SumForMean,
    AdvantageSign,
    /// `A = R`: still unbiased.
    NothingRemoved,
    /// NaN must never pass, least of all in a search for violations.
    NotANumber,
    /// Reads the first candidate's slope whatever was drawn.
    FirstCandidate,
    /// Forgets `− μ` at the drawn candidate.
    ForgottenProbability,
    /// Footnote 4 left out.
    ZeroKept,
    /// The released code's rule in place of the footnote's.
    ZeroIncluded,
    /// The mean in place of the optimal baseline.
    MeanBaseline,
    /// The gradient through a softmax without its mean.
    NoMean,
    /// One draw in fifty is the first architecture.
    BiasedSampler,
    /// Pairs in which the second draw ignores the logits.
    UniformSecond,
    /// A temperature that is off by a tenth.
    Warmer,
    /// Gumbel-softmax weights that do not sum to one.
    NotNormalised,
}

fn negate<T: Scalar>(values: &mut [T]) {
    values.iter_mut().for_each(|value| *value = -value.clone());
}

impl Estimators for Mistake {
    fn score<T: Scalar>(&self, a: &Architecture, p: &OpTable<T>, out: &mut OpTable<T>) -> Result<()> {
        Core.score(a, p, out)?;
        if *self == Mistake::ScoreSign {
            negate(out.values_mut());
        }
        Ok(())
    }

    fn reinforce<T: Scalar>(&self, r: &T, a: &Architecture, p: &OpTable<T>, out: &mut OpTable<T>) -> Result<()> {
        match self {
            Mistake::ReinforceSign => Core.reinforce(&-r.clone(), a, p, out),
            Mistake::ReinforceTwice => Core.reinforce(&(r.clone() + r), a, p, out),
            _ => Core.reinforce(r, a, p, out),
        }
    }

    fn reinforce_with_baseline<T: Scalar>(
        &self,
        r: &T,
        b: &T,
        a: &Architecture,
        p: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        match self {
            Mistake::BaselineAdded => Core.reinforce_with_baseline(r, &-b.clone(), a, p, out),
            _ => Core.reinforce_with_baseline(r, b, a, p, out),
        }
    }

    fn reinforce_mean<T: Scalar>(
        &self,
        samples: &[(T, Architecture)],
        p: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        Core.reinforce_mean(samples, p, out)?;
        if *self == Mistake::SumForMean {
            let count = samples.iter().fold(T::zero(), |count, _| count + T::one());
            out.values_mut().iter_mut().for_each(|value| *value = value.clone() * &count);
        }
        Ok(())
    }

    fn advantages<T: Scalar>(&self, r: &T, removals: &[T], out: &mut [T]) -> Result<()> {
        Core.advantages(r, removals, out)?;
        match self {
            Mistake::AdvantageSign => negate(out),
            Mistake::NothingRemoved => out.fill(r.clone()),
            Mistake::NotANumber => out.fill(T::from_str_radix("NaN", 10).unwrap_or_else(|_| T::zero())),
            _ => {}
        }
        Ok(())
    }

    fn first_order<T: Scalar>(&self, gradient: &OpTable<T>, a: &Architecture, out: &mut [T]) -> Result<()> {
        match self {
            Mistake::FirstCandidate => Core.first_order(gradient, &Architecture::first(gradient.shape()), out),
            _ => Core.first_order(gradient, a, out),
        }
    }

    fn policy_gradient<T: Scalar>(
        &self,
        advantages: &[T],
        a: &Architecture,
        p: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        Core.policy_gradient(advantages, a, p, out)?;
        if *self == Mistake::ForgottenProbability {
            for (edge, (advantage, &choice)) in advantages.iter().zip(a.choices()).enumerate() {
                out[(edge, choice)] = advantage.clone();
            }
        }
        Ok(())
    }

    fn replace_zero<T: Scalar>(
        &self,
        space: &SearchSpace,
        rule: ZeroRule,
        expected: &OpTable<T>,
        a: &Architecture,
        out: &mut [T],
    ) -> Result<()> {
        let rule = match self {
            Mistake::ZeroKept => ZeroRule::Keep,
            Mistake::ZeroIncluded if rule == ZeroRule::WorstOfOthers => ZeroRule::WorstOfAll,
            _ => rule,
        };
        Core.replace_zero(space, rule, expected, a, out)
    }

    fn optimal_weights<T: Scalar>(&self, p: &[T]) -> Option<Vec<T>> {
        let weights = Core.optimal_weights(p);
        if *self == Mistake::MeanBaseline { weights.map(|_| p.to_vec()) } else { weights }
    }

    fn optimal_baseline<T: Scalar>(&self, p: &[T], rewards: &[T]) -> Result<Option<T>> {
        let baseline = Core.optimal_baseline(p, rewards)?;
        if *self == Mistake::MeanBaseline {
            let mean = p.iter().zip(rewards).fold(T::zero(), |sum, (p, r)| sum + p.clone() * r);
            return Ok(baseline.map(|_| mean));
        }
        Ok(baseline)
    }

    fn softmax_pullback<T: Scalar>(&self, weights: &[T], gradient: &[T], out: &mut [T]) {
        Core.softmax_pullback(weights, gradient, out);
        if *self == Mistake::NoMean {
            for ((value, weight), slope) in out.iter_mut().zip(weights).zip(gradient) {
                *value = weight.clone() * slope;
            }
        }
    }

    fn sample(&self, policy: &Policy, rng: &mut dyn RngCore, out: &mut Architecture) {
        Core.sample(policy, rng, out);
        if *self == Mistake::BiasedSampler && rng.random_range(0..50) == 0 {
            *out = Architecture::first(policy.shape());
        }
    }

    fn sample_two(&self, policy: &Policy, rng: &mut dyn RngCore, out: &mut [[usize; 2]]) -> Result<()> {
        Core.sample_two(policy, rng, out)?;
        if *self == Mistake::UniformSecond {
            for (edge, pair) in out.iter_mut().enumerate() {
                let others: Vec<usize> = (0..policy.shape().candidates(edge)).filter(|k| *k != pair[0]).collect();
                pair[1] = others[rng.random_range(0..others.len())];
            }
        }
        Ok(())
    }

    fn gumbel_softmax(
        &self,
        policy: &Policy,
        temperature: f64,
        rng: &mut dyn RngCore,
        out: &mut OpTable<f64>,
    ) -> Result<()> {
        let temperature = if *self == Mistake::Warmer { 1.1 * temperature } else { temperature };
        Core.gumbel_softmax(policy, temperature, rng, out)?;
        if *self == Mistake::NotNormalised {
            out.values_mut().iter_mut().for_each(|value| *value *= 1.001);
        }
        Ok(())
    }
}

fn check(mistake: Mistake, must_fail: &[&str], must_hold: &[&str]) {
    let claims = ledger::<Mistake>();
    let reached = |id: &str| {
        let claim = claims.iter().find(|claim| claim.id == id).expect("a claim of the ledger");
        // An error is as good as a failure: the verdict is not reached.
        claim.evidence.expect("evidence")(&mistake, &Effort::usual(1)).is_ok_and(|evidence| evidence.reached())
    };
    for id in must_fail {
        assert!(!reached(id), "{id} did not notice");
    }
    for id in must_hold {
        assert!(reached(id), "{id} has nothing to do with it");
    }
}

#[test]
fn mistakes_of_score_and_reinforce() {
    check(Mistake::ScoreSign, &["C2", "C18"], &["C3", "C6"]);
    check(Mistake::ReinforceSign, &["C3", "C5", "C10"], &["C6", "C9"]);
    check(Mistake::ReinforceTwice, &["C3", "C10", "C11", "C12"], &["C9", "C15"]);
    check(Mistake::BaselineAdded, &["C10", "C6b"], &["C9"]);
    check(Mistake::SumForMean, &["C3"], &["C10"]);
}

#[test]
fn mistakes_of_the_advantage() {
    check(Mistake::AdvantageSign, &["C5b", "C6", "C7", "C7b", "C8", "C9", "C14", "C15", "C19"], &["C3", "C10"]);
    check(Mistake::NothingRemoved, &["C6", "C7", "C9", "C11", "C12"], &["C3", "C8", "C19"]);
    check(Mistake::NotANumber, &["C5", "C5b", "C6"], &["C3"]);
    check(Mistake::FirstCandidate, &["C7", "C7b", "C9"], &["C6", "C8"]);
    check(Mistake::ForgottenProbability, &["C6", "C6b", "C7", "C8", "C9", "C14", "C15"], &["C2", "C3"]);
}

#[test]
fn mistakes_of_zero_rule_and_baseline() {
    check(Mistake::ZeroKept, &["C14"], &["C15"]);
    check(Mistake::ZeroIncluded, &["C14"], &["C15"]);
    check(Mistake::MeanBaseline, &["C15", "C5b"], &["C10"]);
}

#[test]
fn mistakes_of_the_samplers() {
    check(Mistake::BiasedSampler, &["C2", "C3", "C6"], &["C7", "C10"]);
    check(Mistake::NoMean, &["C16", "C17", "C19"], &["C1", "C2", "C18"]);
    check(Mistake::UniformSecond, &["C16"], &["C1", "C2"]);
    check(Mistake::Warmer, &["C17"], &["C1"]);
    check(Mistake::NotNormalised, &["C1"], &["C2"]);
}
