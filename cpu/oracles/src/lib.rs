//! The parent networks written naively: in `f64` with ndarray, formula by formula. They are slow and made to be read, and share nothing
//! with what is checked against them but the description of the network in the core.
//!
//! A network gives a loss for a [`Mixture`] of its edges; [`feedback`] is all that a supernet may be asked about a proposal, from that loss
//! alone: gradients are central differences, removals are losses. What a network computes on the way (logits, states, statistics) it
//! gives as arrays.
//!
//! What belongs here: formulas. What does not: speed, threads, minibatches, optimisers.

#![forbid(unsafe_code)]

pub mod layers;
pub mod nas_bench_201;
pub mod recurrent;
pub mod toy;

use advantage_nas::network::Parameter;
use advantage_nas::strategy::{Feedback, Proposal, Want};
use advantage_nas::tolerance::central_difference;
use advantage_nas::{Error, OpTable, Result};
use ndarray::{ArrayD, ArrayView, ArrayView1, Axis, Dimension, Slice};

/// The output of every edge, `z_i = Σ_k a_i^k O_i^k + u_i`, and the edge that is left out.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Edge weights `a`, `[edges, candidates]`; a candidate with weight zero is not evaluated.
    pub weights: OpTable<f64>,
    /// Constants `u`, `[edges]`: weights of a further candidate whose output is all ones.
    pub ones: Vec<f64>,
    /// The edge whose output is zero.
    pub without: Option<usize>,
}

impl Mixture {
    /// The candidates of all edges with these weights.
    #[must_use]
    pub fn new(weights: &OpTable<f64>) -> Self {
        Self { weights: weights.clone(), ones: vec![0.0; weights.shape().edges()], without: None }
    }
}

/// The answer to a proposal, from the loss of a mixture alone.
///
/// Derivatives are central differences with this step: in the weights of the active candidates; in the constants of an edge for the
/// others, if they are wanted as if their output were all ones.
pub fn feedback(proposal: &Proposal, step: f64, loss: impl Fn(&Mixture) -> f64) -> Feedback {
    let mixture = Mixture::new(proposal.weights());
    let mut feedback = Feedback::new(proposal.shape());
    feedback.answered = proposal.want();
    feedback.loss = loss(&mixture);
    let slope = |change: &dyn Fn(&mut Mixture, f64)| {
        central_difference(step, |by| {
            let mut moved = mixture.clone();
            change(&mut moved, by);
            loss(&moved)
        })
    };
    let edges = 0..proposal.shape().edges();
    match proposal.want() {
        Want::Loss => {}
        Want::Gradient | Want::GradientWithUnitOutputs => {
            for edge in edges {
                for candidate in 0..proposal.shape().candidates(edge) {
                    feedback.gradient[(edge, candidate)] = if proposal.active()[(edge, candidate)] {
                        slope(&|moved, by| moved.weights[(edge, candidate)] += by)
                    } else if proposal.want() == Want::GradientWithUnitOutputs {
                        slope(&|moved, by| moved.ones[edge] += by)
                    } else {
                        0.0
                    };
                }
            }
        }
        Want::Removals => {
            let without = |edge| loss(&Mixture { without: Some(edge), ..mixture.clone() });
            feedback.removals = edges.map(without).collect();
        }
    }
    feedback
}

/// Cross-entropy of a row of logits, `ln Σ_c exp(l_c) − l_label`.
fn cross_entropy(logits: ArrayView1<'_, f64>, label: usize) -> f64 {
    let largest = logits.fold(f64::NEG_INFINITY, |largest, logit| largest.max(*logit));
    largest + logits.mapv(|logit| (logit - largest).exp()).sum().ln() - logits[label]
}

/// Some rows and columns of images; the height is dimension `height`, the width the next.
fn window<A, D: Dimension>(
    mut images: ArrayView<'_, A, D>,
    height: usize,
    rows: impl Into<Slice>,
    columns: impl Into<Slice>,
) -> ArrayView<'_, A, D> {
    images.slice_axis_inplace(Axis(height), rows.into());
    images.slice_axis_inplace(Axis(height + 1), columns.into());
    images
}

/// Checks that there is a value of the right shape for every parameter.
fn expect_shapes(parameters: &[Parameter], values: &[ArrayD<f64>]) -> Result<()> {
    let (expected, got) = (parameters.len(), values.len());
    if expected != got {
        return Err(Error::Length { what: "parameters", expected, got });
    }
    for (Parameter { name, shape, .. }, values) in parameters.iter().zip(values) {
        if values.shape() != shape {
            let problem = format!("{name}: expected the shape {shape:?}, got {:?}", values.shape());
            return Err(Error::Data { what: "parameters", problem });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use advantage_nas::Architecture;
    use advantage_nas::network::{Initial, Owner};
    use advantage_nas::tolerance::assert_all_close;
    use ndarray::arr1;

    use super::*;

    /// `(2 a₀ + 3 a₁ + u)²` of the one edge, by hand.
    #[test]
    fn answers_come_from_the_loss_alone() {
        let loss = |mixture: &Mixture| {
            let output = if mixture.without == Some(0) {
                0.0
            } else {
                2.0 * mixture.weights[(0, 0)] + 3.0 * mixture.weights[(0, 1)] + mixture.ones[0]
            };
            output * output + 1.0
        };
        let shape = advantage_nas::Shape::new([2]).unwrap();
        let ask = |want| {
            let proposal = Proposal::one_hot(&shape, &Architecture::first(&shape), want).unwrap();
            feedback(&proposal, 1e-4, loss)
        };
        for want in [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals] {
            let answer = ask(want);
            assert_eq!((answer.answered, answer.loss), (want, 5.0));
            let (gradient, removals) = match want {
                Want::Loss => ([0.0, 0.0], [0.0]),
                Want::Gradient => ([8.0, 0.0], [0.0]),
                Want::GradientWithUnitOutputs => ([8.0, 4.0], [0.0]),
                Want::Removals => ([0.0, 0.0], [1.0]),
            };
            assert_all_close(answer.gradient.values(), &gradient, 1e-9, 0.0);
            assert_eq!(answer.removals, removals);
        }
        let mut pairs = Proposal::new(&shape);
        pairs.set_pairs(&[[0, 1]], Want::Gradient).unwrap();
        assert_all_close(feedback(&pairs, 1e-4, loss).gradient.values(), &[20.0, 30.0], 1e-9, 0.0);
    }

    #[test]
    fn cross_entropy_by_hand() {
        let of = |logits: &[f64], label| cross_entropy(arr1(logits).view(), label);
        assert_all_close(
            &[of(&[0.0, 3f64.ln()], 1), of(&[0.0, 3f64.ln()], 0)],
            &[(4.0f64 / 3.0).ln(), 4f64.ln()],
            1e-14,
            0.0,
        );
        assert_all_close(&[of(&[1e4, 1e4], 0)], &[2f64.ln()], 1e-11, 0.0);
    }

    #[test]
    fn parameters_that_do_not_fit_are_refused() {
        let parameter = |name: &str, shape: &[usize]| Parameter {
            name: name.to_owned(),
            shape: shape.to_vec(),
            initial: Initial::Zeros,
            owner: Owner::Always,
        };
        let parameters = [parameter("one", &[2, 3]), parameter("two", &[4])];
        let check = |shapes: &[&[usize]]| {
            let values: Vec<_> = shapes.iter().map(|shape| ArrayD::zeros(*shape)).collect();
            expect_shapes(&parameters, &values).map_err(|error| error.to_string())
        };
        assert_eq!(check(&[&[2, 3], &[4]]), Ok(()));
        assert_eq!(check(&[&[2, 3], &[5]]), Err("parameters: two: expected the shape [4], got [5]".to_owned()));
        assert_eq!(check(&[&[2, 3]]), Err("parameters: expected 2 values, got 1".to_owned()));
    }
}
