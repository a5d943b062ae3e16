//! Value stability: what is drawn for a seed, pinned. A change here changes seeded results and is "Value-breaking" in the changelog.
//!
//! `random.rs`, `minibatches.rs` and others recompute what is drawn with a second implementation of the streams; here stand the numbers
//! themselves, so that both cannot change together.

use crate::common::{chacha, table};
use advantage_nas::Policy;
use advantage_nas::network::nas_bench_201::{self, Candidates, Images, Minibatches, PIXELS, Sample, Skeleton};
use advantage_nas::network::recurrent::{self, Dropout, MaskPart, Recurrent};
use advantage_nas::network::toy::Toy;
use advantage_nas::network::{Parameter, initial_values};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::supernet::{Batch, Set};
use ndarray::Array3;
use rand::RngCore;
use sha2::{Digest, Sha256};

/// The first eight bytes of the SHA-256 of numbers, each by its bytes in little-endian order.
fn digest<const BYTES: usize>(values: impl IntoIterator<Item = [u8; BYTES]>) -> String {
    let mut hash = Sha256::new();
    for value in values {
        hash.update(value);
    }
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn words_of_a_stream() {
    // Computed outside this crate, by a ChaCha8 written from RFC 8439 (8 rounds, 64-bit counter in words 12 and 13, 64-bit stream in words
    // 14 and 15) with the key that the PCG32 expansion of seed 0 gives: stream 2 · 2¹⁶ + 3, block 5 · 2²⁰ / 16.
    const PINNED: [u32; 4] = [0x6ea3_e26a, 0x9d00_0a3d, 0x5e0f_99c1, 0x93b8_7258];
    let mut rng = Streams::new(0).at(Purpose::ToyBatch, 2, 5);
    assert_eq!([0; 4].map(|_: u32| rng.next_u32()), PINNED);
}

#[test]
fn architectures() {
    // Four edges: three uniform over four candidates, whose choice is the top two bits of the uniform, and (1/2, 1/4, 1/4). The pins come from
    // a ChaCha8 written outside this project's code, the loop below recomputes them with the one in `common/chacha.rs`.
    const PINNED: [[usize; 4]; 6] =
        [[3, 0, 2, 0], [2, 1, 2, 0], [0, 0, 0, 1], [3, 0, 3, 2], [1, 1, 2, 0], [0, 1, 2, 0]];
    let policy = Policy::new(table(&[vec![2.0; 4], vec![2.0; 4], vec![2.0; 4], vec![2.0f64.ln(), 0.0, 0.0]])).unwrap();
    let streams = Streams::new(3);
    for (step, pinned) in PINNED.into_iter().enumerate() {
        let drawn = policy.sample(&mut streams.at(Purpose::Architecture, 1, step as u64));
        assert_eq!(drawn.choices(), pinned);
        let uniform = |edge: u128| chacha::uniform(3, 1 << 16, ((step as u128) << 20) + 2 * edge);
        for (edge, choice) in pinned.iter().enumerate() {
            let quarter = (4.0 * uniform(edge as u128)) as usize;
            let expected = if edge < 3 { quarter } else { [0, 0, 1, 2][quarter] };
            assert_eq!(*choice, expected);
        }
    }
}

#[test]
fn the_toy() {
    let (toy, streams) = (Toy::paper(), Streams::new(3));
    let parameters = toy.parameters(&streams, 1).unwrap();
    let weights = [&parameters.filters.into_dyn(), &parameters.heads.into_dyn()];
    assert_eq!(
        weights.map(|values| digest(values.iter().map(|value| value.to_le_bytes()))),
        ["ad14c3d980a4c96c", "f27f646aaaafae63"]
    );
    assert_eq!(parameters.teacher.choices(), [8, 2, 2, 7, 9, 8, 1, 7, 1, 1]);
    let images = [Set::Validation, Set::Test].map(|set| {
        let mut images = Array3::zeros(toy.batch_shape());
        toy.draw_batch(&streams, &Batch { trial: 1, set, step: 7 }, images.view_mut()).unwrap();
        digest(images.into_iter().map(f32::to_le_bytes))
    });
    assert_eq!(images, ["3497b47baf5f916e", "2f7f92dfcc8afedf"]);
}

/// Initial values by seed 3 and trial 1.
fn initial(parameters: &[Parameter]) -> String {
    digest(initial_values(parameters, &Streams::new(3), 1).flatten().map(f32::to_le_bytes))
}

#[test]
fn initial_values_of_networks_that_train() {
    let parent = nas_bench_201::Parent::new(Skeleton::paper(), &Candidates::without_zero()).unwrap();
    let images = initial(parent.parameters());
    let parent = recurrent::Parent::new(Recurrent { units: 20, vocabulary: 50, ..Recurrent::paper() }).unwrap();
    assert_eq!([images, initial(parent.parameters())], ["9dc04f4d2778cbaa", "939ed5c8747e4c3d"]);
}

#[test]
fn minibatches_of_images() {
    let labels: Vec<u8> = (0..40).map(|image| image % 4).collect();
    let images = Images::new(vec![0; 40 * PIXELS], labels, vec![String::new(); 4]).unwrap();
    let streams = Streams::new(3);
    let halves = images.halves(&streams).unwrap();
    assert_eq!(halves.training[..8], [3, 4, 5, 7, 9, 10, 14, 16]);
    let drawn = [Set::Training, Set::Validation].map(|set| {
        let mut samples = [Sample::plain(0); 4];
        Minibatches::new(&streams, 1, set, &halves, 4).unwrap().draw(7, &mut samples).unwrap();
        samples.map(|Sample { image, top, left, flip }| (image, top, left, flip))
    });
    let pinned = [
        [(28, 7, 8, false), (14, 2, 6, true), (3, 1, 1, false), (17, 7, 2, false)],
        [(13, 5, 8, true), (34, 3, 5, true), (11, 1, 5, true), (6, 6, 0, true)],
    ];
    assert_eq!(drawn, pinned);
}

#[test]
fn dropout_masks() {
    let sizes = Recurrent::paper();
    let mask = |layer| {
        let mut mask = vec![0.0; 4 * sizes.units];
        let part = MaskPart { segment: 7, step: 2, layer, first: 3 };
        sizes.draw_mask(&Streams::new(3), 1, part, &mut mask).unwrap();
        digest(mask.into_iter().map(f32::to_le_bytes))
    };
    assert_eq!([Dropout::Embedding, Dropout::Output].map(mask), ["35e0560d2613b756", "5afd4ed6d90bb3bf"]);
}
