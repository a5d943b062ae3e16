//! How the weights of the parent network are trained, and on what: texts, the segments of the parallel streams, dropout masks.

use std::sync::Arc;

use rand::RngCore;

use super::sizes::Recurrent;
use crate::error::{Error, Result};
use crate::network::Sgd;
use crate::random::{Purpose, Streams};

/// The optimiser of the weights: stochastic gradient descent on the clipped gradient, [`Sgd`] without momentum and decay.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightSettings {
    /// Learning rate at the start; a cosine over all epochs takes it to zero.
    pub learning_rate: f64,
    /// Largest norm of the gradient.
    pub clip_norm: f64,
}

impl WeightSettings {
    /// Those of the paper's experiment.
    #[must_use]
    pub fn paper() -> Self {
        Self { learning_rate: 20.0, clip_norm: 0.25 }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// As [`Sgd::check`].
    pub fn check(&self) -> Result<()> {
        Sgd::from(*self).check()
    }

    /// Learning rate at a place of the schedule, see [`Sgd::rate`].
    #[must_use]
    pub fn rate(&self, schedule: f64) -> f64 {
        Sgd::from(*self).rate(schedule)
    }
}

/// Without momentum and decay.
impl From<WeightSettings> for Sgd {
    fn from(settings: WeightSettings) -> Self {
        let WeightSettings { learning_rate, clip_norm } = settings;
        Self { learning_rate, momentum: 0.0, weight_decay: 0.0, clip_norm }
    }
}

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
}

impl Recurrent {
    /// Steps of an epoch over a training text, not a whole number in general: 103.75 in the paper's experiment.
    #[must_use]
    pub fn steps_per_epoch(&self, words: usize) -> f64 {
        words as f64 / (self.batch * self.steps) as f64
    }

    /// Writes inputs and targets of a segment, `[steps, batch]` each.
    ///
    /// Stream `b` of a text of `N` words starts at word `⌊b·N/batch⌋` and wraps around at the end; segment `p` has its words
    /// `p·steps..(p + 1)·steps`, and the target of a word is the next one. Updates of weights and of the architecture read consecutive
    /// segments in turn.
    ///
    /// # Errors
    /// [`Error::Length`] unless inputs and targets have `steps·batch` places, [`Error::Data`] for an empty text.
    pub fn segment(&self, text: &[u32], segment: u64, inputs: &mut [u32], targets: &mut [u32]) -> Result<()> {
        let expected = self.steps * self.batch;
        for (what, got) in [("inputs of a segment", inputs.len()), ("targets of a segment", targets.len())] {
            if got != expected {
                return Err(Error::Length { what, expected, got });
            }
        }
        if text.is_empty() {
            return Err(Error::Data { what: "text", problem: "expected at least one word, got none".to_owned() });
        }
        let length = text.len();
        for stream in 0..self.batch {
            let start = (stream as u128 * length as u128) / self.batch as u128;
            let first = start + u128::from(segment) * self.steps as u128;
            let mut place = (first % length as u128) as usize;
            for step in 0..self.steps {
                inputs[step * self.batch + stream] = text[place];
                place = if place + 1 == length { 0 } else { place + 1 };
                targets[step * self.batch + stream] = text[place];
            }
        }
        Ok(())
    }

    /// Draws part of a dropout mask: a factor for every unit, 0 with probability [`dropout`](Recurrent::dropout), otherwise
    /// `1/(1 − dropout)`. `out`: `[streams, units]`.
    ///
    /// Step `s` of segment `p` has place `p·steps + s` in the trial's stream of [`Purpose::Dropout`]. There the embedding's mask comes
    /// first, then the output's, `[batch, units]` each, one word a unit: it is dropped if the word is below `dropout · 2³²`.
    ///
    /// # Errors
    /// [`Error::Length`] unless `out` has whole rows that are in the minibatch.
    pub fn draw_mask(&self, streams: &Streams, trial: u32, part: MaskPart, out: &mut [f32]) -> Result<()> {
        let MaskPart { segment, step, layer, first } = part;
        if !out.len().is_multiple_of(self.units) || first + out.len() / self.units > self.batch {
            let expected = self.batch.saturating_sub(first) * self.units;
            return Err(Error::Length { what: "factors of a dropout mask", expected, got: out.len() });
        }
        let keep = (1.0 / (1.0 - self.dropout)) as f32;
        let limit = (self.dropout * 2.0f64.powi(32)).round() as u64;
        let place = segment.wrapping_mul(self.steps as u64).wrapping_add(step as u64);
        let mut rng = streams.at(Purpose::Dropout, trial, place);
        let row = if layer == Dropout::Embedding { first } else { self.batch + first };
        rng.set_word_pos(rng.get_word_pos() + (row * self.units) as u128);
        for factor in out {
            *factor = if u64::from(rng.next_u32()) < limit { 0.0 } else { keep };
        }
        Ok(())
    }
}

/// Which part of which dropout mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskPart {
    /// The segment.
    pub segment: u64,
    /// The step in the segment.
    pub step: usize,
    /// The layer.
    pub layer: Dropout,
    /// The first stream.
    pub first: usize,
}

/// Where units are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropout {
    /// The embeddings.
    Embedding,
    /// What the output layer reads. The state itself goes on undropped.
    Output,
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
        let (mut inputs, mut targets) = (vec![0; 12], vec![0; 12]);
        SIZES.segment(&text, 0, &mut inputs, &mut targets).unwrap();
        assert_eq!(inputs, [0, 3, 7, 1, 4, 8, 2, 5, 9, 3, 6, 10]);
        assert_eq!(targets, [1, 4, 8, 2, 5, 9, 3, 6, 10, 4, 7, 0]);
        // Word 4·4 = 16 of every stream: 16, 19, 23 modulo 11.
        SIZES.segment(&text, 4, &mut inputs, &mut targets).unwrap();
        assert_eq!(inputs[..6], [5, 8, 1, 6, 9, 2]);
        SIZES.segment(&text, u64::MAX, &mut inputs, &mut targets).unwrap();
        assert!((SIZES.steps_per_epoch(11) - 11.0 / 12.0).abs() < 1e-15);
        // The paper's: 929 589 words, 256 streams of 35 steps.
        assert!((Recurrent::paper().steps_per_epoch(929_589) - 103.749).abs() < 1e-3);
        assert!(matches!(SIZES.segment(&text, 0, &mut inputs[..3], &mut targets), Err(Error::Length { .. })));
        assert!(matches!(SIZES.segment(&[], 0, &mut inputs, &mut targets), Err(Error::Data { .. })));
    }

    #[test]
    fn masks_of_a_part_are_parts_of_the_mask() {
        let streams = Streams::new(1);
        let draw = |segment, step, layer, first, rows: usize| {
            let mut out = vec![f32::NAN; rows * 5];
            SIZES.draw_mask(&streams, 7, MaskPart { segment, step, layer, first }, &mut out).unwrap();
            out
        };
        let whole = draw(2, 3, Dropout::Output, 0, 3);
        assert_eq!(draw(2, 3, Dropout::Output, 1, 2), whole[5..]);
        // By hand: place 2·4 + 3, after the 15 words of the other mask.
        let mut rng = streams.at(Purpose::Dropout, 7, 11);
        let words: Vec<u32> = (0..30).map(|_| rng.next_u32()).collect();
        let factor = |word: &u32| if *word < 1 << 30 { 0.0 } else { 4.0 / 3.0 };
        assert_eq!(whole, words[15..].iter().map(factor).collect::<Vec<f32>>());
        assert_eq!(draw(2, 3, Dropout::Embedding, 0, 3), words[..15].iter().map(factor).collect::<Vec<f32>>());
        let mut out = [0.0; 10];
        let part = |first| MaskPart { segment: 0, step: 0, layer: Dropout::Output, first };
        assert!(SIZES.draw_mask(&streams, 7, part(2), &mut out).is_err());
        assert!(SIZES.draw_mask(&streams, 7, part(0), &mut out[..7]).is_err());
    }

    /// Of N = 96 000 independent units a share near 1/4 is dropped: within 5 standard errors.
    #[test]
    fn units_are_dropped_with_the_right_probability() {
        let sizes = Recurrent { batch: 32, units: 300, ..SIZES };
        let mut dropped = 0;
        for step in 0..10 {
            let mut out = vec![0.0; 9600];
            let part = MaskPart { segment: 0, step, layer: Dropout::Embedding, first: 0 };
            sizes.draw_mask(&Streams::new(5), 0, part, &mut out).unwrap();
            dropped += out.iter().filter(|factor| **factor == 0.0).count();
        }
        let share = dropped as f64 / 96_000.0;
        assert!((share - 0.25).abs() <= 5.0 * (0.25 * 0.75 / 96_000.0f64).sqrt(), "{share}");
    }

    #[test]
    fn texts_that_do_not_fit_are_refused() {
        let texts =
            Texts { vocabulary: 100, training: (0..20).collect(), validation: [1, 2].into(), test: Some([3].into()) };
        texts.check(&SIZES).unwrap();
        let refused = |texts: Texts| texts.check(&SIZES).unwrap_err().to_string();
        assert_eq!(refused(Texts { vocabulary: 99, ..texts.clone() }), "texts: expected a vocabulary of 100, got 99");
        let short = Texts { training: [1, 2].into(), ..texts.clone() };
        assert_eq!(refused(short), "training text: expected at least 3 words, got 2");
        let empty = Texts { validation: [].into(), ..texts.clone() };
        assert_eq!(refused(empty), "validation text: expected at least 1 words, got 0");
        let outside = Texts { test: Some([5, 100].into()), ..texts };
        assert_eq!(refused(outside), "test text: word 1 has index 100, expected one below the vocabulary's 100");
    }

    #[test]
    fn rates_follow_the_cosine() {
        let settings = WeightSettings::paper();
        settings.check().unwrap();
        assert_eq!(settings.rate(0.0), 20.0);
        assert!((settings.rate(0.5) - 10.0).abs() < 1e-12);
        assert!(WeightSettings { clip_norm: 0.0, ..settings }.check().is_err());
        assert!(WeightSettings { learning_rate: f64::NAN, ..settings }.check().is_err());
    }
}
