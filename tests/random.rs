//! Seeded numbers: every stream of [`Streams::at`] is ChaCha8 at the documented place, checked word by word against a second
//! implementation, which itself is checked against published vectors.

use crate::common::chacha;
use advantage_nas::random::{Purpose, Streams, WORDS_PER_STEP, symmetric_uniform};
use rand::{Rng, RngCore};

const PURPOSES: [(Purpose, u64); 14] = [
    (Purpose::Architecture, 0),
    (Purpose::Weights, 1),
    (Purpose::Teacher, 2),
    (Purpose::ToyBatch, 3),
    (Purpose::ToyTest, 4),
    (Purpose::Strategy, 5),
    (Purpose::Split, 6),
    (Purpose::TrainingOrder, 7),
    (Purpose::ValidationOrder, 8),
    (Purpose::TrainingAugmentation, 9),
    (Purpose::ValidationAugmentation, 10),
    (Purpose::Dropout, 11),
    (Purpose::RandomArchitectures, 12),
    (Purpose::EvaluationOrder, 13),
];

#[test]
fn the_second_implementation_reproduces_published_vectors() {
    // RFC 8439, section 2.2.1: a quarter round.
    let mut state = [
        0x879531e0, 0xc5ecf37d, 0x516461b1, 0xc9a62f8a, 0x44c20ef3, 0x3390af7f, 0xd9fc690b, 0x2a5f714c, 0x53372767,
        0xb00a5631, 0x974c541a, 0x359e9963, 0x5c971061, 0x3d631689, 0x2098d9d6, 0x91dbd320,
    ];
    chacha::quarter_round(&mut state, 2, 7, 8, 13);
    assert_eq!([state[2], state[7], state[8], state[13]], [0xbdb886dc, 0xcfacafd2, 0xe46bea80, 0xccc07c79]);

    // RFC 8439, section 2.3.2: a block of ChaCha20. The RFC splits words 12 to 15 into a 32-bit counter and a 96-bit nonce.
    let key: [u32; 8] = std::array::from_fn(|word| {
        u32::from_le_bytes(std::array::from_fn(|byte| u8::try_from(4 * word + byte).expect("below 32")))
    });
    let start = chacha::initial(&key, 0x0900_0000_0000_0001, 0x4a00_0000);
    let block = chacha::block(&start, 20);
    assert_eq!(block[..4], [0xe4e7f110, 0x15593bd1, 0x1fdd0f50, 0xc47120a3]);
    assert_eq!(block[12..], [0xd19c12b5, 0xb94e16de, 0xe883d0cb, 0x4e3c50a2]);

    // Strombergson, "Test Vectors for the Stream Cipher ChaCha", TC1: ChaCha8, 256-bit key, all zero.
    let block = chacha::block(&chacha::initial(&[0; 8], 0, 0), 8);
    let bytes: Vec<u8> = block[..4].iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(bytes, [0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09, 0xa5, 0xa1]);
}

#[test]
fn every_stream_is_chacha8_at_its_place() {
    for seed in [0, 1, 7, 0xdead_beef, u64::MAX] {
        let streams = Streams::new(seed);
        for (purpose, number) in PURPOSES {
            for trial in [0, 1, 99, u32::MAX] {
                let stream = (u64::from(trial) << 16) + number;
                assert_eq!(Streams::stream_number(purpose, trial), stream);
                for step in [0, 1, 1999, 1 << 20, (1 << 44) - 1] {
                    let mut rng = streams.at(purpose, trial, step);
                    let start = u128::from(step) << 20;
                    // More than a block, and more than the four blocks that the library computes at once.
                    for place in (0..20).chain(60..70) {
                        rng.set_word_pos(start + place);
                        assert_eq!(rng.next_u32(), chacha::word(seed, stream, start + place));
                    }
                    let mut rng = streams.at(purpose, trial, step);
                    for place in 0..35 {
                        assert_eq!(rng.next_u32(), chacha::word(seed, stream, start + place), "read in order");
                    }
                }
            }
        }
    }
}

#[test]
fn a_step_ends_where_the_next_begins() {
    assert_eq!(WORDS_PER_STEP, 1_048_576);
    let streams = Streams::new(5);
    let mut rng = streams.at(Purpose::ToyTest, 3, 8);
    rng.set_word_pos(9 * 1_048_576 - 3);
    let crossing: Vec<u32> = (0..6).map(|_| rng.next_u32()).collect();
    let mut next = streams.at(Purpose::ToyTest, 3, 9);
    assert_eq!(crossing[3..], [next.next_u32(), next.next_u32(), next.next_u32()]);
    for (offset, word) in crossing.into_iter().enumerate() {
        assert_eq!(word, chacha::word(5, 3 << 16 | 4, 9 * 1_048_576 - 3 + offset as u128));
    }
}

#[test]
fn the_key_is_the_expanded_seed() {
    for seed in [0, 3, u64::MAX] {
        let bytes: Vec<u8> = chacha::key_of_seed(seed).iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(Streams::new(seed).key()[..], bytes[..]);
        assert_eq!(Streams::new(seed).seed(), seed);
    }
}

#[test]
fn doubles_take_two_words_low_first() {
    let mut rng = Streams::new(11).at(Purpose::Architecture, 2, 4);
    for place in 0..40 {
        let uniform: f64 = rng.random();
        assert_eq!(uniform, chacha::uniform(11, 2 << 16, (4 << 20) + 2 * place));
    }
}

#[test]
fn symmetric_uniforms_lie_on_their_grid() {
    // (word >> 8) · 2⁻²³ − 1 has at most 24 significant bits, so f32 must equal f64 exactly. The words cover both ends and a
    // stride that is odd, hence hits every low byte.
    for word in (0..=u32::MAX).step_by(65_537).chain([255, 256, u32::MAX - 256, u32::MAX]) {
        let exact = f64::from(word >> 8) / 8_388_608.0 - 1.0;
        assert_eq!(f64::from(symmetric_uniform(word)), exact);
        assert!((-1.0..1.0).contains(&exact));
    }
}
