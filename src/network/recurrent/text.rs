//! The texts, and how they are read: where streams begin, which steps go on in the text, and how an evaluation reads it.

use std::sync::Arc;

use ndarray::{Array2, ArrayView2, Axis, Slice};

use super::sizes::Recurrent;
use crate::error::{Error, Result};
use crate::state::State;
use crate::supernet::Set;

/// The texts of a search, as indices of words. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// Number of words; every index is below it.
    pub vocabulary: usize,
    /// The text that weights and architecture are trained on.
    pub training: Arc<[u32]>,
    /// The text that architectures are evaluated on.
    pub validation: Arc<[u32]>,
    /// The test text, if the search evaluates on it.
    pub test: Option<Arc<[u32]>>,
}

impl Texts {
    /// Checks the texts for a network.
    ///
    /// # Errors
    /// [`Error::Data`] for another vocabulary than the network's, an empty text, a training text with less than one word for every
    /// stream, or a word outside the vocabulary.
    pub fn check(&self, sizes: &Recurrent) -> Result<()> {
        if self.vocabulary != sizes.vocabulary {
            let problem = format!("expected a vocabulary of {}, got {}", sizes.vocabulary, self.vocabulary);
            return Err(Error::Data { what: "texts", problem });
        }
        let texts = [
            ("training text", Some(&self.training), sizes.batch),
            ("validation text", Some(&self.validation), 1),
            ("test text", self.test.as_ref(), 1),
        ];
        for (what, text, least) in texts {
            let Some(text) = text else { continue };
            if text.len() < least {
                let problem = format!("expected at least {least} words, got {}", text.len());
                return Err(Error::Data { what, problem });
            }
            if let Some(place) = text.iter().position(|word| *word as usize >= self.vocabulary) {
                let problem = format!(
                    "word {place} has index {}, expected one below the vocabulary's {}",
                    text[place], self.vocabulary
                );
                return Err(Error::Data { what, problem });
            }
        }
        Ok(())
    }

    /// The text that an evaluation on a set reads: the whole of it as one stream, from the state zero and without dropout. The loss is
    /// the mean over all words of the negative log-likelihood of the next one; after the last word comes the first.
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a test text.
    pub fn evaluated(&self, set: Set) -> Result<&[u32]> {
        match set {
            Set::Training => Ok(&self.training),
            Set::Validation => Ok(&self.validation),
            Set::Test => {
                let reason = "it was built without a test text";
                self.test.as_deref().ok_or(Error::Unsupported { operation: "evaluate the test set", reason })
            }
        }
    }
}

impl Recurrent {
    /// Steps of an epoch over a training text, not a whole number in general: 103.75 in the paper's experiment.
    #[must_use]
    pub fn steps_per_epoch(&self, words: usize) -> f64 {
        words as f64 / (self.batch * self.steps) as f64
    }
}

/// A minibatch: the words of some steps of streams that read a text side by side, and what follows each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    number: u64,
    inputs: Array2<u32>,
    targets: Array2<u32>,
}

impl Segment {
    /// Room for a segment; an evaluation has one stream.
    #[must_use]
    pub fn new(steps: usize, streams: usize) -> Self {
        let zeros = Array2::zeros((steps, streams));
        Self { number: 0, inputs: zeros.clone(), targets: zeros }
    }

    /// Reads segment `number` of a text.
    ///
    /// Stream `b` of `B` in a text of `N` words starts at word `⌊b·N/B⌋` and wraps around at the end; segment `p` has its words
    /// `p·steps..(p + 1)·steps`, and the target of a word is the next one.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty text.
    pub fn read(&mut self, text: &[u32], number: u64) -> Result<()> {
        if text.is_empty() {
            return Err(Error::Data { what: "text", problem: "expected at least one word, got none".to_owned() });
        }
        let length = text.len();
        let (steps, streams) = self.inputs.dim();
        self.number = number;
        for stream in 0..streams {
            let start = (stream as u128 * length as u128) / streams as u128;
            let first = start + u128::from(number) * steps as u128;
            let mut place = (first % length as u128) as usize;
            for step in 0..steps {
                self.inputs[(step, stream)] = text[place];
                place = if place + 1 == length { 0 } else { place + 1 };
                self.targets[(step, stream)] = text[place];
            }
        }
        Ok(())
    }

    /// Takes over the streams from `first` on of a segment that has more.
    ///
    /// # Panics
    /// If that one has fewer streams or another number of steps.
    pub fn copy_streams(&mut self, whole: &Self, first: usize) {
        let own = Slice::from(first..first + self.inputs.ncols());
        self.number = whole.number;
        self.inputs.assign(&whole.inputs.slice_axis(Axis(1), own));
        self.targets.assign(&whole.targets.slice_axis(Axis(1), own));
    }

    /// Its number, counted from the beginning of the streams.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The words that are read, `[steps, streams]`.
    #[must_use]
    pub fn inputs(&self) -> ArrayView2<'_, u32> {
        self.inputs.view()
    }

    /// The words that are to be predicted, `[steps, streams]`.
    #[must_use]
    pub fn targets(&self) -> ArrayView2<'_, u32> {
        self.targets.view()
    }
}

/// Where a trial is in the training text.
///
/// Updates of `θ` and of `w` read consecutive segments of the same streams in turn, whatever set and step a request names; the recurrent
/// state goes on from segment to segment, whatever the proposals are. What is asked about one minibatch (removals, further proposals of
/// the same update) starts from the same state with the same dropout masks; the state goes on from the first pass. An evaluation reads
/// from the beginning and moves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextPosition {
    segment: u64,
}

impl TextPosition {
    /// The beginning of all streams.
    #[must_use]
    pub fn start() -> Self {
        Self::default()
    }

    /// Number of the segment that is read next.
    #[must_use]
    pub fn segment(self) -> u64 {
        self.segment
    }

    /// Goes on to the next segment.
    pub fn advance(&mut self) {
        self.segment += 1;
    }

    /// Adds the position to the saved state of a trial, as `segment`.
    pub fn save(self, state: &mut State) {
        state.insert_u64("segment", &[self.segment]);
    }

    /// The position in the saved state of a trial.
    ///
    /// # Errors
    /// [`Error::State`] if it is missing or does not fit.
    pub fn restore(state: &State) -> Result<Self> {
        Ok(Self { segment: state.u64("segment", 1)?[0] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Recurrent =
        Recurrent { vocabulary: 100, units: 5, batch: 3, steps: 4, dropout: 0.25, initial_range: 0.1 };

    #[test]
    fn streams_start_apart_and_wrap() {
        // 11 words: streams start at ⌊0⌋, ⌊11/3⌋ = 3, ⌊22/3⌋ = 7.
        let text: Vec<u32> = (0..11).collect();
        let mut segment = Segment::new(4, 3);
        segment.read(&text, 0).unwrap();
        assert_eq!(segment.inputs(), ndarray::arr2(&[[0, 3, 7], [1, 4, 8], [2, 5, 9], [3, 6, 10]]));
        assert_eq!(segment.targets(), ndarray::arr2(&[[1, 4, 8], [2, 5, 9], [3, 6, 10], [4, 7, 0]]));
        // Word 4·4 = 16 of every stream: 16, 19, 23 modulo 11.
        segment.read(&text, 4).unwrap();
        assert_eq!(segment.inputs().slice_axis(Axis(0), Slice::from(..2)), ndarray::arr2(&[[5, 8, 1], [6, 9, 2]]));
        assert_eq!(segment.number(), 4);
        let mut last = Segment::new(4, 2);
        last.copy_streams(&segment, 1);
        assert_eq!(last.number(), 4);
        for (part, whole) in [(last.inputs(), segment.inputs()), (last.targets(), segment.targets())] {
            assert_eq!(part, whole.slice_axis(Axis(1), Slice::from(1..)));
        }
        segment.read(&text, u64::MAX).unwrap();
        assert!((SIZES.steps_per_epoch(11) - 11.0 / 12.0).abs() < 1e-15);
        // The paper's: 929 589 words, 256 streams of 35 steps.
        assert!((Recurrent::paper().steps_per_epoch(929_589) - 103.749).abs() < 1e-3);
        assert!(matches!(segment.read(&[], 0), Err(Error::Data { .. })));
    }

    /// Piece after piece is the whole text, whatever the length of the pieces, and then comes the beginning again.
    #[test]
    fn a_single_stream_reads_the_whole_text() {
        let text: Vec<u32> = (0..11).collect();
        for steps in [1, 4, 11, 30] {
            let mut segment = Segment::new(steps, 1);
            let mut pairs = Vec::new();
            for number in 0..11u64.div_ceil(steps as u64) {
                segment.read(&text, number).unwrap();
                pairs.extend(segment.inputs().iter().copied().zip(segment.targets().iter().copied()));
            }
            assert!(pairs.len() >= text.len());
            let expected = (0..pairs.len() as u32).map(|place| (place % 11, (place + 1) % 11));
            assert_eq!(pairs, expected.collect::<Vec<_>>(), "{steps} steps");
        }
    }

    #[test]
    fn positions_go_on_where_they_were_saved() {
        let mut position = TextPosition::start();
        assert_eq!(position.segment(), 0);
        position.advance();
        position.advance();
        let mut state = State::new();
        assert!(matches!(TextPosition::restore(&state), Err(Error::State { .. })));
        position.save(&mut state);
        assert_eq!(state.u64("segment", 1).unwrap(), [2]);
        assert_eq!(TextPosition::restore(&state).unwrap(), position);
    }

    #[test]
    fn texts_that_do_not_fit_are_refused() {
        let texts =
            Texts { vocabulary: 100, training: (0..20).collect(), validation: [1, 2].into(), test: Some([3].into()) };
        texts.check(&SIZES).unwrap();
        let evaluated = [Set::Training, Set::Validation, Set::Test].map(|set| texts.evaluated(set).unwrap().len());
        assert_eq!(evaluated, [20, 2, 1]);
        let missing = Texts { test: None, ..texts.clone() };
        missing.check(&SIZES).unwrap();
        let message = missing.evaluated(Set::Test).unwrap_err().to_string();
        assert_eq!(message, "the supernet can't evaluate the test set: it was built without a test text");
        let refused = |texts: Texts| texts.check(&SIZES).unwrap_err().to_string();
        assert_eq!(refused(Texts { vocabulary: 99, ..texts.clone() }), "texts: expected a vocabulary of 100, got 99");
        let short = Texts { training: [1, 2].into(), ..texts.clone() };
        assert_eq!(refused(short), "training text: expected at least 3 words, got 2");
        let empty = Texts { validation: [].into(), ..texts.clone() };
        assert_eq!(refused(empty), "validation text: expected at least 1 words, got 0");
        let outside = Texts { test: Some([5, 100].into()), ..texts };
        assert_eq!(refused(outside), "test text: word 1 has index 100, expected one below the vocabulary's 100");
    }
}
