//! What the tests of the supernets share: drawn proposals of every kind, single questions, and runs that must not depend on threads.

use std::ops::Range;

use advantage_nas::comparison::Comparison;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Step, Want};
use advantage_nas::supernet::{Fetch, Request};
use advantage_nas::tolerance::Tolerance;
use advantage_nas::{Architecture, OpTable, Shape, Supernet};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A drawn architecture.
pub fn architecture(shape: &Shape, rng: &mut ChaCha8Rng) -> Architecture {
    let choices: Vec<usize> = (0..shape.edges()).map(|edge| rng.random_range(0..shape.candidates(edge))).collect();
    Architecture::new(shape, choices).unwrap()
}

/// One-hot, dense with drawn weights, one-hot among all, and two-hot where every edge has two candidates.
pub fn proposals(shape: &Shape, rng: &mut ChaCha8Rng, weights: Range<f64>, want: Want) -> Vec<Proposal> {
    let one = architecture(shape, rng);
    let one_hot = Proposal::one_hot(shape, &one, want).unwrap();
    let mut dense = one_hot.clone();
    dense.set_dense(&OpTable::from_fn(shape, |_, _| rng.random_range(weights.clone())), want).unwrap();
    let mut among_all = one_hot.clone();
    among_all.set_one_hot_among_all(&one, want).unwrap();
    let mut proposals = vec![one_hot.clone(), dense, among_all];
    if (0..shape.edges()).all(|edge| shape.candidates(edge) > 1) {
        let mut pairs = one_hot;
        let next = |(edge, &choice): (usize, &usize)| [choice, (choice + 1) % shape.candidates(edge)];
        pairs.set_pairs(&one.choices().iter().enumerate().map(next).collect::<Vec<_>>(), want).unwrap();
        proposals.push(pairs);
    }
    proposals
}

/// The answer to one question.
pub fn probe(supernet: &mut impl Supernet, request: &Request) -> Feedback {
    let mut feedback = [Feedback::new(request.proposal.shape())];
    supernet.probe(std::slice::from_ref(request), &mut feedback).unwrap();
    let [feedback] = feedback;
    feedback
}

/// An update of the weights; the loss before it.
pub fn train(supernet: &mut impl Supernet, step: Step, request: &Request) -> advantage_nas::Result<f64> {
    supernet.weight_step(&[step], std::slice::from_ref(request))?;
    let mut losses = Vec::new();
    supernet.weight_losses(request.batch.trial, Fetch::All, &mut losses)?;
    assert_eq!(losses.len(), 1);
    Ok(losses[0])
}

/// The numbers of a run and the state that it leaves are the same bits with one, two and three threads.
#[track_caller]
pub fn assert_threads_change_nothing(run: impl Fn(usize) -> (Vec<f64>, State)) {
    let (one, left_by_one) = run(1);
    assert!(one.iter().all(|number| number.is_finite()));
    for threads in [2, 3] {
        let (numbers, left) = run(threads);
        Comparison::new(format!("numbers with {threads} threads"), &numbers, &one, Tolerance::Bits).assert();
        assert_eq!(left, left_by_one);
    }
}
