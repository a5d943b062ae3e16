//! How the weights of the parent network are trained: the optimiser, dropout masks.

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

impl Recurrent {
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
    fn rates_follow_the_cosine() {
        let settings = WeightSettings::paper();
        settings.check().unwrap();
        assert_eq!(settings.rate(0.0), 20.0);
        assert!((settings.rate(0.5) - 10.0).abs() < 1e-12);
        assert!(WeightSettings { clip_norm: 0.0, ..settings }.check().is_err());
        assert!(WeightSettings { learning_rate: f64::NAN, ..settings }.check().is_err());
    }
}
