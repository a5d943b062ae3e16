//! The sizes that can be chosen, and what a stand-alone network has.

use super::cell::{Operation, space};
use crate::error::{Error, Result};
use crate::random::WORDS_PER_STEP;
use crate::space::Architecture;

/// Sizes and settings of the network.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recurrent {
    /// Number of words `V`.
    pub vocabulary: usize,
    /// Numbers `n` of an embedding and of the state.
    pub units: usize,
    /// Parallel streams of a minibatch.
    pub batch: usize,
    /// Steps after which the gradient is cut; the state goes on.
    pub steps: usize,
    /// Probability that a unit of the embedding or of the cell's output is dropped. It is rounded to multiples of `2⁻³²`.
    pub dropout: f64,
    /// Initial values are uniform between minus this and this.
    pub initial_range: f64,
}

/// Largest vocabulary, far beyond any that is meant.
const MOST_WORDS: usize = 10_000_000;

impl Recurrent {
    /// The paper's: 10 000 words, 300 units, 256 streams, 35 steps, dropout 0.5, ±0.1.
    #[must_use]
    pub fn paper() -> Self {
        Self { vocabulary: 10_000, units: 300, batch: 256, steps: 35, dropout: 0.5, initial_range: 0.1 }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size of 0, more than ten million words, 4096 units or 4096 steps, a minibatch whose dropout masks are
    /// larger than a step's share of the random stream, dropout outside `[0, 1)` or a range that is negative or infinite.
    pub fn check(&self) -> Result<()> {
        let sizes = [
            ("the vocabulary", self.vocabulary, MOST_WORDS, "from 1 to 10000000 words"),
            ("the number of units", self.units, 4096, "from 1 to 4096"),
            ("the number of steps", self.steps, 4096, "from 1 to 4096"),
            ("the number of streams", self.batch, usize::MAX, "at least 1"),
        ];
        for (name, size, limit, expected) in sizes {
            if size == 0 || size > limit {
                return Err(Error::Setting { name, expected, got: size.to_string() });
            }
        }
        // Two masks of a step, one word a unit.
        if self.batch > WORDS_PER_STEP as usize / (2 * self.units) {
            let got = format!("{} streams of {} units", self.batch, self.units);
            return Err(Error::Setting { name: "the minibatch", expected: "of at most 524288 numbers", got });
        }
        let (dropout, range) = (self.dropout, self.initial_range);
        for (name, value, expected, fits) in [
            ("dropout", dropout, "at least 0 and below 1", (0.0..1.0).contains(&dropout)),
            ("the range of initial values", range, "finite and at least 0", range >= 0.0 && range.is_finite()),
        ] {
            if !fits {
                return Err(Error::Setting { name, expected, got: value.to_string() });
            }
        }
        Ok(())
    }

    /// Numbers that a stand-alone network of an architecture trains: embedding, output layer with bias, the cell's matrices. An edge
    /// with the zero operation has only one of its two.
    ///
    /// # Errors
    /// [`Error::Length`] and [`Error::NoSuchCandidate`] if the architecture is of another space.
    pub fn parameters(&self, architecture: &Architecture) -> Result<u64> {
        let edges = self.operations(architecture)?;
        let matrices: u64 = edges.map(|operation| if operation == Operation::Zero { 1 } else { 2 }).sum();
        let (words, units) = (self.vocabulary as u64, self.units as u64);
        Ok(2 * words * units + words + units * units * (4 + matrices))
    }

    /// Parameters as the authors' program reports them, `2·V·n + 2·n²·(k + 2)` with `k` the number of edges that are not the identity,
    /// zero included.
    ///
    /// # Errors
    /// As [`Recurrent::parameters`].
    pub fn reported_parameters(&self, architecture: &Architecture) -> Result<u64> {
        let edges = self.operations(architecture)?.filter(|operation| *operation != Operation::Identity).count() as u64;
        let (words, units) = (self.vocabulary as u64, self.units as u64);
        Ok(2 * words * units + 2 * units * units * (edges + 2))
    }

    fn operations<'a>(&self, architecture: &'a Architecture) -> Result<impl Iterator<Item = Operation> + use<'a>> {
        architecture.expect_in(space().shape())?;
        Ok(architecture.choices().iter().map(|&choice| Operation::ALL[choice]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_by_hand() {
        let of = |choices: [usize; 6]| Architecture::new(space().shape(), choices).unwrap();
        let paper = Recurrent::paper();
        // 7.44 million are the authors' for six edges that are not the identity.
        assert_eq!(paper.reported_parameters(&of([1; 6])).unwrap(), 7_440_000);
        assert_eq!(paper.reported_parameters(&of([4, 1, 2, 3, 0, 0])).unwrap(), 6_000_000 + 180_000 * 6);
        // 16 matrices of 90 000, and 10 000 biases.
        assert_eq!(paper.parameters(&of([0; 6])).unwrap(), 6_000_000 + 10_000 + 16 * 90_000);
        let small = Recurrent { vocabulary: 7, units: 2, ..paper };
        assert_eq!(small.parameters(&of([4, 4, 0, 1, 2, 3])).unwrap(), 28 + 7 + 4 * (4 + 2 + 8));
    }

    #[test]
    fn nonsense_is_rejected() {
        let paper = Recurrent::paper();
        paper.check().unwrap();
        for wrong in [
            Recurrent { vocabulary: 0, ..paper },
            Recurrent { units: 0, ..paper },
            Recurrent { units: 5000, ..paper },
            Recurrent { batch: 0, ..paper },
            Recurrent { batch: 1748, ..paper },
            Recurrent { batch: usize::MAX, ..paper },
            Recurrent { steps: 0, ..paper },
            Recurrent { dropout: 1.0, ..paper },
            Recurrent { dropout: f64::NAN, ..paper },
            Recurrent { initial_range: f64::INFINITY, ..paper },
        ] {
            assert!(matches!(wrong.check(), Err(Error::Setting { .. })), "{wrong:?}");
        }
        Recurrent { batch: 1747, ..paper }.check().unwrap();
    }
}
