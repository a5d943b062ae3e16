//! The harness of supernets that train, over a network of three edges that is computed by hand: what it asks the network for, and what it refuses.
//! That its answers are those of the network one by one is the conformance suite's (`conformance`).

use advantage_nas::network::Part;
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{Activity, Feedback, Proposal, Step, StepKind, Want};
use advantage_nas::supernet::{Fetch, Request, Set};
use advantage_nas::{Architecture, Error, Supernet, WeightSharing};
use ndarray::ArrayD;

use crate::common::affine::{Affine, CANDIDATES, EDGES, request};

const TRIALS: [u32; 3] = [4, 0, 9];

fn one_hot(choices: [usize; EDGES], want: Want) -> Proposal {
    let shape = WeightSharing::new(Affine::new(&TRIALS, 1)).space().shape().clone();
    Proposal::one_hot(&shape, &Architecture::new(&shape, choices.to_vec()).unwrap(), want).unwrap()
}

fn step(schedule: f64) -> Step {
    Step { kind: StepKind::Weights, progress: 0.0, schedule }
}

/// Weight steps of several trials in turn, with losses that come late: every trial gets its own, in order, whoever asks first, and what θ answers
/// in between does not mix them up.
#[test]
fn owed_losses_find_their_trials() {
    let proposal = one_hot([0, 1, 2], Want::Gradient);
    let run = |lanes: usize, late: usize| {
        let mut supernet = WeightSharing::new(Affine::new(&TRIALS, lanes).with_late_losses(late));
        let mut seen = vec![Vec::new(); 3];
        for round in 0..4 {
            let requests = TRIALS.map(|trial| request(trial, Set::Training, &proposal));
            supernet.weight_step(&[step(0.1 * f64::from(round)); 3], &requests).unwrap();
            if round == 2 {
                let mut feedback = [Feedback::new(proposal.shape())];
                supernet.probe(&[request(TRIALS[1], Set::Validation, &proposal)], &mut feedback).unwrap();
                seen[1].push(feedback[0].loss);
            }
            if round == 1 {
                supernet.weight_losses(TRIALS[2], Fetch::Ready, &mut seen[2]).unwrap();
            }
        }
        for (trial, seen) in TRIALS.into_iter().zip(&mut seen) {
            supernet.weight_losses(trial, Fetch::All, seen).unwrap();
        }
        seen
    };
    let expected = run(1, 0);
    assert_eq!(expected.iter().map(Vec::len).collect::<Vec<_>>(), [4, 5, 4]);
    assert!(expected[0].iter().zip(&expected[2]).all(|(one, other)| one != other));
    for (lanes, late) in [(1, 1), (1, 100), (2, 0), (2, 5), (3, 3), (4, 100)] {
        assert_eq!(run(lanes, late), expected, "{lanes} lanes, {late} late");
    }
}

/// As many at once as there are lanes; weight steps whatever they want, questions only with those that want the same.
#[test]
fn requests_of_distinct_trials_share_the_lanes() {
    let mixed = [Want::Loss, Want::Removals, Want::Loss];
    for lanes in 1..=4 {
        for (wants, at_once) in [([Want::Gradient; 3], lanes), (mixed, 1)] {
            let requests = |set| -> Vec<Request> {
                TRIALS.iter().zip(wants).map(|(trial, want)| request(*trial, set, &one_hot([0, 1, 2], want))).collect()
            };
            let mut supernet = WeightSharing::new(Affine::new(&TRIALS, lanes));
            let mut feedback = vec![Feedback::new(supernet.space().shape()); TRIALS.len()];
            supernet.probe(&requests(Set::Validation), &mut feedback).unwrap();
            assert_eq!(supernet.network().loads, TRIALS.len().div_ceil(at_once), "questions, {lanes} lanes, {wants:?}");
            supernet.network_mut().loads = 0;
            supernet.weight_step(&[step(0.0); 3], &requests(Set::Training)).unwrap();
            assert_eq!(
                supernet.network().loads,
                TRIALS.len().div_ceil(lanes),
                "weight steps, {lanes} lanes, {wants:?}"
            );
        }
    }
}

/// A pass by hand, and its update, are a weight step.
#[test]
fn a_pass_and_an_update_are_a_weight_step() {
    let proposal = one_hot([2, 0, 1], Want::Loss);
    let asked = request(9, Set::Training, &proposal);
    let (mut by_hand, mut by_step) =
        (WeightSharing::new(Affine::new(&TRIALS, 2)), WeightSharing::new(Affine::new(&TRIALS, 2)));
    for _ in 0..3 {
        let passed = by_hand.pass(&asked).unwrap();
        // The gradient is one at three weights.
        assert_eq!(by_hand.update(0.1 * (1.0 - 0.25)).unwrap(), 3.0f64.sqrt());
        by_step.weight_step(&[step(0.25)], std::slice::from_ref(&asked)).unwrap();
        let mut losses = Vec::new();
        by_step.weight_losses(9, Fetch::All, &mut losses).unwrap();
        assert_eq!(losses, [passed.loss]);
        let inactive = (0..EDGES * CANDIDATES).filter(|place| !proposal.active().values()[*place]);
        assert!(inactive.into_iter().all(|place| passed.edge_gradient.values()[place] == 0.0));
    }
    assert_eq!(by_hand.save(9).unwrap(), by_step.save(9).unwrap());
}

#[test]
fn parameters_are_read_and_written_by_place() {
    let mut supernet = WeightSharing::new(Affine::new(&TRIALS, 1));
    let values = Entry::F64(ArrayD::from_shape_fn(vec![EDGES, CANDIDATES], |at| (10 * at[0] + at[1]) as f64));
    supernet.set_parameter(0, 0, Part::Value, &values).unwrap();
    assert_eq!(supernet.parameter(0, 0, Part::Value).unwrap(), values);
    assert_ne!(supernet.parameter(4, 0, Part::Value).unwrap(), values);
    let mut refuse = |trial, index, values: &Entry| {
        supernet.set_parameter(trial, index, Part::Value, values).unwrap_err().to_string()
    };
    assert!(refuse(7, 0, &values).contains("other trials"));
    assert_eq!(refuse(0, 1, &values), "parameters, for the one asked for: expected 2 values, got 1");
    let flat = Entry::F64(ArrayD::zeros(vec![EDGES * CANDIDATES]));
    assert_eq!(refuse(0, 0, &flat), "saved state, \"weights\": has shape [9], expected [3, 3]");
    let single = Entry::F32(ArrayD::zeros(vec![EDGES, CANDIDATES]));
    assert_eq!(refuse(0, 0, &single), "saved state, \"weights\": holds f32, expected f64");
    assert!(supernet.parameter(0, 1, Part::Value).is_err() && supernet.parameter(7, 0, Part::Value).is_err());
}

#[test]
fn what_does_not_fit_is_refused_before_anything_happens() {
    let mut supernet = WeightSharing::new(Affine::new(&TRIALS, 2).with_activity(Activity::Two));
    let start = supernet.save(4).unwrap();
    let good = request(4, Set::Training, &one_hot([0; EDGES], Want::Loss));
    let mut dense = good.clone();
    dense.proposal.set_one_hot_among_all(&Architecture::first(dense.proposal.shape()), Want::Loss).unwrap();
    let mut test = good.clone();
    test.batch.set = Set::Test;
    let mut stranger = good.clone();
    stranger.batch.trial = 5;
    for (bad, part) in [(&dense, "so many candidates"), (&test, "test set"), (&stranger, "other trials")] {
        let pair = [good.clone(), bad.clone()];
        let mut feedback = [Feedback::new(good.proposal.shape()), Feedback::new(good.proposal.shape())];
        for error in [supernet.probe(&pair, &mut feedback), supernet.weight_step(&[step(0.0); 2], &pair)] {
            let message = error.unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(supernet.pass(bad).unwrap_err().to_string().contains(part));
        // The request before it was not worked on either.
        assert_eq!(supernet.save(4).unwrap(), start);
    }
    // An evaluation may be of the test set.
    supernet.evaluate(&test).unwrap();
    assert!(supernet.evaluate(&dense).is_err() && supernet.evaluate(&stranger).is_err());
}

/// Names of the saved state are those of the parameters, with what the network has beside them; another shape or type is refused.
#[test]
fn states_have_names_and_shapes() {
    let mut supernet = WeightSharing::new(Affine::new(&TRIALS, 1));
    let state = supernet.save(0).unwrap();
    let names: Vec<&str> = state.iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["position", "state", "weights", "weights.velocity"]);
    for (name, entry, problem) in [
        ("weights", Entry::F64(ArrayD::zeros(vec![9])), "has shape [9], expected [3, 3]"),
        ("weights.velocity", Entry::F32(ArrayD::zeros(vec![3, 3])), "holds f32, expected f64"),
    ] {
        let mut broken = state.clone();
        broken.insert(name, entry);
        let error = supernet.restore(0, &broken).unwrap_err();
        assert_eq!(error.to_string(), format!("saved state, {name:?}: {problem}"));
        assert_eq!(supernet.save(0).unwrap(), state);
    }
    assert!(matches!(supernet.restore(0, &State::new()), Err(Error::State { .. })));
    assert!(supernet.save(1).is_err() && supernet.restore(1, &state).is_err());
}
