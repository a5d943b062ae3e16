//! The question: which edge weights to evaluate, and what to answer.

use super::Activity;
use crate::error::{Error, Result};
use crate::space::{Architecture, OpTable, Shape};

/// What a strategy wants to know about a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The loss, from a forward pass.
    Loss,
    /// `∂loss/∂a` of the active candidates.
    Gradient,
    /// `∂loss/∂a` of the active candidates, and of the others as if their output were all ones.
    GradientWithUnitOutputs,
    /// The loss with the output of edge `i`'s operation set to zero, for every `i`.
    Removals,
}

impl Want {
    /// In words, for messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Want::Loss => "the loss",
            Want::Gradient => "the gradient",
            Want::GradientWithUnitOutputs => "the gradient with unit outputs",
            Want::Removals => "the losses without each edge",
        }
    }
}

/// Edge weights `a` to evaluate (Eq. (1)), the candidates that take part, and the wanted answer.
///
/// A candidate that is not active has weight zero and is not evaluated at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    weights: OpTable<f64>,
    active: OpTable<bool>,
    activity: Activity,
    one_hot: bool,
    architecture: Architecture,
    want: Want,
}

impl Proposal {
    /// The proposal of the first architecture, to be overwritten.
    #[must_use]
    pub fn new(shape: &Shape) -> Self {
        Self::one_hot(shape, &Architecture::first(shape), Want::Loss).expect("the first architecture is in the space")
    }

    /// The proposal of one architecture.
    ///
    /// # Errors
    /// If the architecture is not of this space.
    pub fn one_hot(shape: &Shape, architecture: &Architecture, want: Want) -> Result<Self> {
        architecture.expect_in(shape)?;
        let weights = OpTable::from_fn(shape, |edge, j| if j == architecture.choice(edge) { 1.0 } else { 0.0 });
        let active = OpTable::from_fn(shape, |edge, j| j == architecture.choice(edge));
        Ok(Self { weights, active, activity: Activity::One, one_hot: true, architecture: architecture.clone(), want })
    }

    /// Edge weights `a`, `[edges, candidates]`.
    #[must_use]
    pub fn weights(&self) -> &OpTable<f64> {
        &self.weights
    }

    /// The candidates that are evaluated, `[edges, candidates]`.
    #[must_use]
    pub fn active(&self) -> &OpTable<bool> {
        &self.active
    }

    /// The most candidates of an edge that are active.
    #[must_use]
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// The active candidates of an edge with their weights, in the order of the candidates.
    ///
    /// # Panics
    /// If there is no such edge.
    pub fn slots(&self, edge: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let active = self.active.edge(edge).iter().zip(self.weights.edge(edge)).enumerate();
        active.filter(|(_, (active, _))| **active).map(|(candidate, (_, weight))| (candidate, *weight))
    }

    /// The wanted answer.
    #[must_use]
    pub fn want(&self) -> Want {
        self.want
    }

    /// The architecture, if the weights are one-hot at every edge; whichever candidates are active.
    #[must_use]
    pub fn architecture(&self) -> Option<&Architecture> {
        self.one_hot.then_some(&self.architecture)
    }

    /// Number of candidates.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        self.weights.shape()
    }

    /// Becomes the proposal of one architecture, with one active candidate per edge: weight 1 each.
    ///
    /// # Errors
    /// If the architecture is not of this space.
    pub fn set_one_hot(&mut self, architecture: &Architecture, want: Want) -> Result<()> {
        self.set_architecture(architecture, want)?;
        self.activity = Activity::One;
        self.active.fill(false);
        for (edge, &choice) in architecture.choices().iter().enumerate() {
            self.active[(edge, choice)] = true;
        }
        Ok(())
    }

    /// Becomes the proposal of one architecture with every candidate active, those that are not chosen with weight 0.
    ///
    /// # Errors
    /// If the architecture is not of this space.
    pub fn set_one_hot_among_all(&mut self, architecture: &Architecture, want: Want) -> Result<()> {
        self.set_architecture(architecture, want)?;
        self.activity = Activity::All;
        self.active.fill(true);
        Ok(())
    }

    fn set_architecture(&mut self, architecture: &Architecture, want: Want) -> Result<()> {
        architecture.expect_in(self.weights.shape())?;
        self.weights.fill(0.0);
        for (edge, &choice) in architecture.choices().iter().enumerate() {
            self.weights[(edge, choice)] = 1.0;
        }
        self.architecture.choices_mut().copy_from_slice(architecture.choices());
        self.one_hot = true;
        self.want = want;
        Ok(())
    }

    /// Becomes a proposal of two distinct active candidates per edge with weight 1 each.
    ///
    /// # Errors
    /// [`Error::Length`] for another number of edges, [`Error::NoSuchCandidate`], [`Error::Setting`] for a candidate drawn twice.
    pub fn set_pairs(&mut self, pairs: &[[usize; 2]], want: Want) -> Result<()> {
        let shape = self.weights.shape().clone();
        shape.expect_edges("candidate pairs", pairs.len())?;
        for (edge, pair) in pairs.iter().enumerate() {
            for &candidate in pair {
                let candidates = shape.candidates(edge);
                if candidate >= candidates {
                    return Err(Error::NoSuchCandidate { edge, candidate, candidates });
                }
            }
            if pair[0] == pair[1] {
                return Err(Error::Setting {
                    name: "candidate pair",
                    expected: "two distinct candidates",
                    got: format!("{} twice at edge {edge}", pair[0]),
                });
            }
        }
        self.weights.fill(0.0);
        self.active.fill(false);
        for (edge, pair) in pairs.iter().enumerate() {
            for &candidate in pair {
                self.weights[(edge, candidate)] = 1.0;
                self.active[(edge, candidate)] = true;
            }
        }
        (self.activity, self.one_hot) = (Activity::Two, false);
        self.want = want;
        Ok(())
    }

    /// Becomes a proposal with every candidate active at the given weights.
    ///
    /// # Errors
    /// [`Error::Shape`] for a table of another space, [`Error::NotFinite`] for an infinite or NaN weight.
    pub fn set_dense(&mut self, weights: &OpTable<f64>, want: Want) -> Result<()> {
        let shape = self.weights.shape();
        shape.expect("edge weights", weights.shape())?;
        for edge in 0..shape.edges() {
            if let Some(candidate) = weights.edge(edge).iter().position(|weight| !weight.is_finite()) {
                let value = weights[(edge, candidate)];
                return Err(Error::NotFinite { what: "edge weights", edge, candidate, value });
            }
        }
        self.weights.values_mut().copy_from_slice(weights.values());
        self.active.fill(true);
        (self.activity, self.one_hot) = (Activity::All, false);
        self.want = want;
        Ok(())
    }
}
