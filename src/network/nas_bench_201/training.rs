//! How the weights of the parent network are trained, and on what.

use std::ops::Range;
use std::sync::Arc;

use super::data::{Halves, Images, Normalization, check_share};
use crate::error::{Error, Result};
use crate::network::Sgd;
use crate::random::{Purpose, Streams, shuffle};
use crate::supernet::Set;

/// How the paper's experiment trains the weights.
#[must_use]
pub fn paper_sgd() -> Sgd {
    Sgd { learning_rate: 0.1, momentum: 0.9, weight_decay: 5e-4, clip_norm: 1.0 }
}

/// How an evaluation cuts a set of `count` images into minibatches: as few as there can be with at most `batch` images each, of nearly
/// equal size. Batch norms that use the minibatch's statistics see the cut, so that every backend has to make the same one.
///
/// ```
/// use advantage_nas::network::nas_bench_201::evaluation_minibatches;
///
/// assert!(evaluation_minibatches(10, 4).eq([0..3, 3..6, 6..10]));
/// ```
///
/// # Panics
/// For minibatches of no image.
pub fn evaluation_minibatches(count: usize, batch: usize) -> impl ExactSizeIterator<Item = Range<usize>> {
    let minibatches = count.div_ceil(batch);
    (0..minibatches).map(move |minibatch| {
        let [start, end] = [minibatch, minibatch + 1].map(|place| place * count / minibatches);
        start..end
    })
}

/// The images of a search. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Data {
    /// Training images, which are split.
    pub images: Images,
    /// The halves of `images` for weights and architecture.
    pub halves: Halves,
    /// Mean and deviation of the training half.
    pub normalization: Normalization,
    /// Test images, if the search evaluates on them.
    pub test: Option<Images>,
    /// Permutations of the test images, of the training half and of the validation half, see [`Data::evaluated`].
    orders: [Arc<[u32]>; 3],
}

impl Data {
    /// Splits and normalises by the seed of the streams, and draws the orders of evaluations, which all trials share.
    ///
    /// # Errors
    /// As [`Images::halves`] and [`Normalization::of`]; [`Error::Data`] for more test images than 2¹⁹, a step's share of the random stream.
    pub fn new(images: Images, test: Option<Images>, streams: &Streams) -> Result<Self> {
        let halves = images.halves(streams)?;
        let normalization = Normalization::of(&images, &halves.training)?;
        let tested: Vec<u32> = (0..test.as_ref().map_or(0, Images::len) as u32).collect();
        check_share("test images", 2, tested.len())?;
        for half in [&halves.training, &halves.validation] {
            check_share("images of a half", 2, half.len())?;
        }
        let mut orders = [tested, halves.training.to_vec(), halves.validation.to_vec()];
        for (step, order) in (0..).zip(&mut orders) {
            shuffle(&mut streams.at(Purpose::EvaluationOrder, 0, step), order);
        }
        Ok(Self { images, halves, normalization, test, orders: orders.map(Arc::from) })
    }

    /// The images of a set, and the order in which they are evaluated. It mixes the classes, whatever order the images are in: batch norms
    /// that use the minibatch's statistics take away what all images of a minibatch have in common, which must not be their class.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for the test set, if there is none; [`Error::Data`] for another number of test images than at the beginning.
    pub fn evaluated(&self, set: Set) -> Result<(&Images, &Arc<[u32]>)> {
        let [tested, training, validation] = &self.orders;
        match (set, &self.test) {
            (Set::Training, _) => Ok((&self.images, training)),
            (Set::Validation, _) => Ok((&self.images, validation)),
            (Set::Test, Some(images)) if images.len() != tested.len() => {
                let problem =
                    format!("expected those that the data was made with, {}, got {}", tested.len(), images.len());
                Err(Error::Data { what: "test images", problem })
            }
            (Set::Test, Some(images)) => Ok((images, tested)),
            (Set::Test, None) => {
                let reason = "it was built without test images";
                Err(Error::Unsupported { operation: "evaluate the test set", reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nas_bench_201::PIXELS;

    /// Of ten classes, in the order of their names as in image folders.
    fn images(count: usize) -> Images {
        let labels: Vec<u8> = (0..count).map(|image| (image * 10 / count) as u8).collect();
        let pixels: Vec<u8> = (0..count * PIXELS).map(|place| (place * 7 % 251) as u8).collect();
        Images::new(pixels, labels, (0..10).map(|class| class.to_string()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn evaluations_cut_a_set_into_equal_minibatches() {
        for (count, batch) in [(10, 4), (10, 5), (10, 1), (3, 64), (10_000, 64), (25_000, 96), (1, 1), (0, 7)] {
            let minibatches: Vec<_> = evaluation_minibatches(count, batch).collect();
            let mut end = 0;
            for minibatch in &minibatches {
                assert_eq!(minibatch.start, end);
                end = minibatch.end;
                assert!((1..=batch).contains(&minibatch.len()));
            }
            assert_eq!(end, count);
            let sizes = minibatches.iter().map(Range::len);
            assert!(sizes.clone().max() <= sizes.min().map(|size| size + 1), "{count} in minibatches of {batch}");
            // One fewer would be too few.
            assert!(minibatches.is_empty() || (minibatches.len() - 1) * batch < count);
        }
    }

    #[test]
    fn evaluations_mix_the_classes() {
        let data = |seed| Data::new(images(400), Some(images(200)), &Streams::new(seed)).unwrap();
        let (one, again, other) = (data(0), data(0), data(1));
        for (set, mut members) in [
            (Set::Test, (0..200).collect::<Vec<u32>>()),
            (Set::Training, one.halves.training.to_vec()),
            (Set::Validation, one.halves.validation.to_vec()),
        ] {
            let (images, order) = one.evaluated(set).unwrap();
            assert_eq!(order, again.evaluated(set).unwrap().1);
            assert_ne!(order, other.evaluated(set).unwrap().1);
            for minibatch in order.chunks(50) {
                let mut classes: Vec<u8> = minibatch.iter().map(|image| images.labels()[*image as usize]).collect();
                classes.sort_unstable();
                classes.dedup();
                assert!(classes.len() >= 9, "{set:?}: {classes:?}");
            }
            let mut sorted = order.to_vec();
            sorted.sort_unstable();
            members.sort_unstable();
            assert_eq!(sorted, members, "{set:?}: every image once");
        }
        let without = Data::new(images(20), None, &Streams::new(0)).unwrap();
        assert!(matches!(without.evaluated(Set::Test), Err(Error::Unsupported { .. })));
        let other = Data { test: Some(images(20)), ..without };
        assert!(matches!(other.evaluated(Set::Test), Err(Error::Data { .. })));
    }
}
