//! Named random streams: what is drawn depends on the seed, the purpose, the trial and the step, and on nothing else.
//!
//! Every purpose and trial has its own ChaCha8 stream, and every step a fixed place in it. So an interrupted search draws the
//! same numbers after it is resumed, any number of threads draws the same numbers, and methods that are compared with the same
//! seed see the same networks and the same data.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How many 32-bit words a step may draw; step `t` starts at word `t · 2²⁰` of its stream.
pub const WORDS_PER_STEP: u128 = 1 << 20;

/// What random numbers are drawn for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Purpose {
    /// Architectures drawn by a strategy.
    Architecture = 0,
    /// Initial weights of a network.
    Weights = 1,
    /// The teacher's architecture in the toy regression.
    Teacher = 2,
    /// Minibatches of the toy regression for the update of `θ`.
    ToyBatch = 3,
    /// Minibatches of the toy regression for the test loss.
    ToyTest = 4,
    /// Initial parameters of a strategy (the controller of ENAS).
    Strategy = 5,
    /// The halves of a training set, for `w` and for `θ`.
    Split = 6,
    /// Order of the training half; a step of this stream is an epoch.
    TrainingOrder = 7,
    /// Order of the validation half; a step of this stream is an epoch.
    ValidationOrder = 8,
    /// Crops and flips of the training half's minibatches.
    TrainingAugmentation = 9,
    /// Crops and flips of the validation half's minibatches.
    ValidationAugmentation = 10,
    /// Dropout masks of the recurrent network.
    Dropout = 11,
    /// Architectures drawn uniformly, to compare with.
    RandomArchitectures = 12,
    /// Order of the images of an evaluation: step 0 of the test images, 1 of the training half, 2 of the validation half.
    EvaluationOrder = 13,
}

/// All random streams of one seed.
#[derive(Clone, Debug)]
pub struct Streams {
    seed: u64,
    base: ChaCha8Rng,
}

impl Streams {
    /// The streams of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, base: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The key of all streams, for generators that draw the same numbers elsewhere (on a device).
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.base.get_seed()
    }

    /// The stream of a purpose and trial, `trial · 2¹⁶ + purpose`.
    #[must_use]
    pub fn stream_number(purpose: Purpose, trial: u32) -> u64 {
        (u64::from(trial) << 16) | u64::from(purpose as u16)
    }

    /// The generator for one step, at the step's place in the stream.
    #[must_use]
    pub fn at(&self, purpose: Purpose, trial: u32, step: u64) -> ChaCha8Rng {
        let mut rng = self.base.clone();
        rng.set_stream(Self::stream_number(purpose, trial));
        rng.set_word_pos(u128::from(step) * WORDS_PER_STEP);
        rng
    }
}

/// The uniform number on `[−1, 1)` of one 32-bit word, `(word >> 8) · 2⁻²³ − 1`: exact in `f32`, so that every device gets the
/// same one.
#[inline]
#[must_use]
pub fn symmetric_uniform(word: u32) -> f32 {
    const GRID: f32 = 1.0 / (1 << 23) as f32;
    (word >> 8) as f32 * GRID - 1.0
}

/// A uniform index below `bound` by multiplication, from two words; its bias is at most `bound · 2⁻⁶⁴`.
pub(crate) fn below(rng: &mut impl RngCore, bound: usize) -> usize {
    ((u128::from(rng.next_u64()) * bound as u128) >> 64) as usize
}

/// A uniform permutation of `values` (Fisher and Yates, from the end), two words for every value but the first.
pub(crate) fn shuffle<T>(rng: &mut impl RngCore, values: &mut [T]) {
    for last in (1..values.len()).rev() {
        values.swap(last, below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_addressable_and_distinct() {
        let streams = Streams::new(7);
        let draw = |purpose, trial, step| streams.at(purpose, trial, step).next_u64();
        let reference = draw(Purpose::ToyBatch, 0, 0);
        assert_eq!(reference, draw(Purpose::ToyBatch, 0, 0));
        let others = [
            draw(Purpose::ToyTest, 0, 0),
            draw(Purpose::ToyBatch, 1, 0),
            draw(Purpose::ToyBatch, 0, 1),
            Streams::new(8).at(Purpose::ToyBatch, 0, 0).next_u64(),
        ];
        assert!(others.iter().all(|other| *other != reference));
        // Step 1 is where step 0 gets to after its share of words.
        let mut rng = streams.at(Purpose::ToyBatch, 0, 0);
        rng.set_word_pos(WORDS_PER_STEP);
        assert_eq!(rng.next_u64(), draw(Purpose::ToyBatch, 0, 1));
    }

    #[test]
    fn uniforms_are_exact_and_in_range() {
        assert_eq!(symmetric_uniform(0), -1.0);
        assert_eq!(symmetric_uniform(1 << 31), 0.0);
        assert_eq!(symmetric_uniform(u32::MAX), 1.0 - 2.0f32.powi(-23));
        assert_eq!(f64::from(symmetric_uniform(3 << 8)), 3.0 * 2.0f64.powi(-23) - 1.0);
    }
}
