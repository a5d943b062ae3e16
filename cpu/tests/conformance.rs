//! All supernets of this crate pass the conformance suite.

use advantage_nas::conformance::{Differences, Report, SupernetSuite};
use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, PIXELS, Skeleton, paper_sgd};
use advantage_nas::network::recurrent::{Recurrent, Texts, WeightSettings};
use advantage_nas::network::toy::Toy;
use advantage_nas::network::{nas_bench_201, recurrent};
use advantage_nas::random::Streams;
use advantage_nas::strategy::Activity;
use advantage_nas::supernet::Set;
use advantage_nas_cpu::toy::ToySupernet;

const TRIALS: [u32; 2] = [3, 0];

fn suite(step: f64, tolerance: f64) -> SupernetSuite {
    SupernetSuite { differences: Some(Differences { step, tolerance }), ..SupernetSuite::new(TRIALS) }
}

/// Nothing fails, and what is skipped is known.
fn expect(report: &Report, skipped: &[&str]) {
    report.assert();
    let names: Vec<&str> = report.skipped().map(|check| check.name.as_str()).collect();
    assert_eq!(names.len(), skipped.len(), "{report}");
    assert!(names.iter().zip(skipped).all(|(name, begin)| name.starts_with(begin)), "{report}");
}

const FIXED: [&str; 5] =
    ["weight steps", "a weight step heeds", "losses of weight steps", "states that lack", "Eq. (6) is Eq. (7)"];

#[test]
fn the_toy_conforms() {
    let toy = Toy { edges: 3, candidates: 4, batch: 20 };
    let streams = Streams::new(1);
    expect(&suite(1e-4, 1e-6).run(|| ToySupernet::<f64>::new(toy, &streams, &TRIALS)), &FIXED);
    expect(&suite(1e-2, 1e-3).run(|| ToySupernet::<f32>::new(toy, &streams, &TRIALS)), &FIXED);
}

#[test]
fn nas_bench_201_conforms() {
    let streams = Streams::new(2);
    let pixels: Vec<u8> = (0..20 * PIXELS).map(|pixel| (pixel * 31 % 251) as u8).collect();
    let labels: Vec<u8> = (0..20).map(|image| image % 2).collect();
    let images = Images::new(pixels, labels, ["a", "b"].map(str::to_owned).to_vec()).unwrap();
    let data = Data::new(images, None, &streams).unwrap();
    let candidates = Candidates::with_zero();
    let skeleton = Skeleton { cells: 1, channels: 3, classes: 2 };
    let settings = |activity, threads| advantage_nas_cpu::nas_bench_201::Settings {
        batch: 5,
        weights: paper_sgd(),
        activity,
        threads,
    };
    let parent = || nas_bench_201::Parent::new(skeleton, &candidates);
    let build = |activity, threads| {
        advantage_nas_cpu::nas_bench_201::supernet::<f64>(
            parent()?,
            settings(activity, threads),
            data.clone(),
            &streams,
            &TRIALS,
        )
    };
    // Its gradients are held against differences of the oracle's losses elsewhere, at places where no ReLU changes its side.
    let suite = SupernetSuite::new(TRIALS);
    expect(&suite.run(|| build(Activity::All, 2)), &["gradients are central differences", "Eq. (6) is Eq. (7)"]);
    let report = suite.run(|| build(Activity::One, 1));
    report.assert();
    // Three kinds of proposals with four answers each, and what dense ones are held against.
    assert_eq!(report.skipped().count(), 3 * 4 + 3, "{report}");
}

#[test]
fn the_recurrent_network_conforms() {
    let streams = Streams::new(3);
    let sizes = Recurrent { vocabulary: 23, units: 5, batch: 4, steps: 3, ..Recurrent::paper() };
    let text = |by: usize| (0..90).map(|place| (place * by % 23) as u32).collect();
    let texts = Texts { vocabulary: 23, training: text(7), validation: text(5), test: Some(text(3)) };
    let settings = advantage_nas_cpu::recurrent::Settings { weights: WeightSettings::paper(), threads: 2 };
    let build = || {
        let parent = recurrent::Parent::new(sizes)?;
        advantage_nas_cpu::recurrent::supernet::<f64>(parent, settings, texts.clone(), &streams, &TRIALS)
    };
    let suite = SupernetSuite { evaluated: Set::Test, ..suite(1e-5, 1e-6) };
    expect(&suite.run(build), &["Eq. (6) is Eq. (7)"]);
}
