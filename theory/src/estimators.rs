//! The code under test: what the core library computes, behind a trait, so that a check can be checked.
//!
//! Every piece of evidence takes its estimators from an [`Estimators`]. [`Core`] is the project's own code, and what all verdicts
//! are about. A test implements the trait with a mistake in one method, and the verdicts must notice.

use advantage_nas::estimator::{self, Scalar, ZeroOperation, ZeroRule};
use advantage_nas::{Architecture, OpTable, Policy, Result, SearchSpace, policy};
use rand::RngCore;

/// The core's estimators and samplers; every method does what the core does unless it is overridden.
pub trait Estimators {
    /// The score `a − μ`, Eq. (2).
    ///
    /// # Errors
    /// As the core.
    fn score<T: Scalar>(&self, a: &Architecture, probabilities: &OpTable<T>, out: &mut OpTable<T>) -> Result<()> {
        policy::score(a, probabilities, out)
    }

    /// REINFORCE, Eq. (4).
    ///
    /// # Errors
    /// As the core.
    fn reinforce<T: Scalar>(
        &self,
        reward: &T,
        a: &Architecture,
        probabilities: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        estimator::reinforce(reward, a, probabilities, out)
    }

    /// REINFORCE with a baseline.
    ///
    /// # Errors
    /// As the core.
    fn reinforce_with_baseline<T: Scalar>(
        &self,
        reward: &T,
        baseline: &T,
        a: &Architecture,
        probabilities: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        estimator::reinforce_with_baseline(reward, baseline, a, probabilities, out)
    }

    /// The average over several architectures, Eq. (3).
    ///
    /// # Errors
    /// As the core.
    fn reinforce_mean<T: Scalar>(
        &self,
        samples: &[(T, Architecture)],
        probabilities: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        estimator::reinforce_mean(samples, probabilities, out)
    }

    /// The advantage, Eq. (6).
    ///
    /// # Errors
    /// As the core.
    fn advantages<T: Scalar>(&self, reward: &T, removals: &[T], out: &mut [T]) -> Result<()> {
        estimator::advantages(reward, removals, out)
    }

    /// The first-order advantage, Eq. (7).
    ///
    /// # Errors
    /// As the core.
    fn first_order<T: Scalar>(&self, gradient: &OpTable<T>, a: &Architecture, out: &mut [T]) -> Result<()> {
        estimator::first_order(gradient, a, out)
    }

    /// Line 9 of Algorithm 1: one advantage per edge times the score.
    ///
    /// # Errors
    /// As the core.
    fn policy_gradient<T: Scalar>(
        &self,
        advantages: &[T],
        a: &Architecture,
        probabilities: &OpTable<T>,
        out: &mut OpTable<T>,
    ) -> Result<()> {
        estimator::policy_gradient(advantages, a, probabilities, out)
    }

    /// Footnote 4, from given expected advantages of the candidates: what an estimator that has seen every candidate's expected
    /// advantage replaces the advantages of an architecture by.
    ///
    /// # Errors
    /// As the core.
    fn replace_zero<T: Scalar>(
        &self,
        space: &SearchSpace,
        rule: ZeroRule,
        expected: &OpTable<T>,
        a: &Architecture,
        advantages: &mut [T],
    ) -> Result<()> {
        let mut operation = ZeroOperation::new(space, rule, T::zero())?;
        let averages = operation.averages_mut().averages_mut();
        for (average, value) in averages.values_mut().iter_mut().zip(expected.values()) {
            *average = Some(value.clone());
        }
        operation.apply(a, advantages)
    }

    /// The weights of the optimal baseline.
    fn optimal_weights<T: Scalar>(&self, probabilities: &[T]) -> Option<Vec<T>> {
        estimator::optimal_weights(probabilities)
    }

    /// The optimal baseline.
    ///
    /// # Errors
    /// As the core.
    fn optimal_baseline<T: Scalar>(&self, probabilities: &[T], rewards: &[T]) -> Result<Option<T>> {
        estimator::optimal_baseline(probabilities, rewards)
    }

    /// The gradient through a softmax, for DARTS, SNAS, GDAS and the pairs of ProxylessNAS.
    fn softmax_pullback<T: Scalar>(&self, weights: &[T], gradient: &[T], out: &mut [T]) {
        policy::softmax_pullback(weights, gradient, out);
    }

    /// Draws an architecture.
    fn sample(&self, policy: &Policy, rng: &mut dyn RngCore, out: &mut Architecture) {
        policy.sample_into(rng, out);
    }

    /// Draws two distinct candidates per edge.
    ///
    /// # Errors
    /// As the core.
    fn sample_two(&self, policy: &Policy, rng: &mut dyn RngCore, out: &mut [[usize; 2]]) -> Result<()> {
        policy.sample_two_into(rng, out)
    }

    /// Draws from the Gumbel-softmax.
    ///
    /// # Errors
    /// As the core.
    fn gumbel_softmax(
        &self,
        policy: &Policy,
        temperature: f64,
        rng: &mut dyn RngCore,
        out: &mut OpTable<f64>,
    ) -> Result<()> {
        policy.gumbel_softmax_into(temperature, rng, out)
    }
}

/// The project's own code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Core;

impl Estimators for Core {}
