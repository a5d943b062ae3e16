//! CIFAR-10 as the search uses it: images, the two halves, normalisation, and what a minibatch is.
//!
//! A minibatch is a pure function of seed, trial, set and step, so that a resumed search needs nothing but its step, and all methods
//! of a trial see the same images.

use std::sync::Arc;

use rand::RngCore;

use crate::error::{Error, Result};
use crate::random::{Purpose, Streams, WORDS_PER_STEP, shuffle};
use crate::supernet::Set;

/// Height and width of an image.
pub const IMAGE: usize = 32;
/// Number of colour channels: red, green, blue.
pub const CHANNELS: usize = 3;
/// Number of pixel values of an image.
pub const PIXELS: usize = CHANNELS * IMAGE * IMAGE;
/// Black pixels that are added at every side before an image is cropped.
pub const PADDING: usize = 4;
/// Images of a minibatch in the paper's experiment.
pub const BATCH: usize = 64;

/// Words of a step's place in the stream that one image uses.
const WORDS_PER_IMAGE: usize = 3;
/// Positions of a crop, vertically and horizontally.
const OFFSETS: u64 = 2 * PADDING as u64 + 1;

/// Labelled images. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Images {
    // Not a slice: making one would copy 150 MB.
    pixels: Arc<Vec<u8>>,
    labels: Arc<[u8]>,
    classes: Arc<[String]>,
}

impl Images {
    /// Images from their pixels, `[images, 3, 32, 32]`, the label of each, and the classes' names.
    ///
    /// # Errors
    /// [`Error::Length`] if pixels and labels don't fit each other, [`Error::Data`] if there is no image, no class or more than 256,
    /// and for labels without a class.
    pub fn new(
        pixels: impl Into<Vec<u8>>,
        labels: impl Into<Arc<[u8]>>,
        classes: impl Into<Arc<[String]>>,
    ) -> Result<Self> {
        let (pixels, labels, classes) = (Arc::new(pixels.into()), labels.into(), classes.into());
        let expected = labels.len().saturating_mul(PIXELS);
        if pixels.len() != expected {
            return Err(Error::Length { what: "pixels of the images", expected, got: pixels.len() });
        }
        let problem = if labels.is_empty() {
            Some("expected at least one, got none".to_owned())
        } else if classes.is_empty() || classes.len() > 256 {
            Some(format!("expected from 1 to 256 classes, got {}", classes.len()))
        } else {
            let wrong = labels.iter().position(|&label| usize::from(label) >= classes.len());
            wrong
                .map(|image| format!("image {image} has label {}, expected one below {}", labels[image], classes.len()))
        };
        match problem {
            Some(problem) => Err(Error::Data { what: "images", problem }),
            None => Ok(Self { pixels, labels, classes }),
        }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Never true: there is at least one image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixel values of all images, `[images, 3, 32, 32]`.
    #[must_use]
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// Pixel values of one image, `[3, 32, 32]`.
    ///
    /// # Panics
    /// If there is no such image.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * PIXELS..][..PIXELS]
    }

    /// The label of every image, an index of [`Images::classes`].
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// Names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The two halves of a seed, stratified: of every class, half of the images each. If a class has an odd number, the half that
    /// has fewer images so far gets one more.
    ///
    /// Class `c`'s images are permuted by the stream of [`Purpose::Split`], trial 0, step `c`: all trials share the halves, and the
    /// normalisation that follows from them.
    ///
    /// # Errors
    /// [`Error::Data`] if a half would be empty, or a class is too large for a step's share of the random stream.
    pub fn halves(&self, streams: &Streams) -> Result<Halves> {
        let (mut training, mut validation) = (Vec::new(), Vec::new());
        for class in 0..self.classes.len() {
            let of_class = (0u32..).zip(&*self.labels).filter(|(_, label)| usize::from(**label) == class);
            let mut members: Vec<u32> = of_class.map(|(index, _)| index).collect();
            check_share("images of a class", 2, members.len())?;
            shuffle(&mut streams.at(Purpose::Split, 0, class as u64), &mut members);
            let odd = members.len() % 2 == 1 && training.len() <= validation.len();
            let (first, second) = members.split_at(members.len() / 2 + usize::from(odd));
            training.extend(first);
            validation.extend(second);
        }
        for half in [&mut training, &mut validation] {
            if half.is_empty() {
                let problem = format!("expected at least two to split, got {}", self.len());
                return Err(Error::Data { what: "images", problem });
            }
            half.sort_unstable();
        }
        Ok(Halves { training: training.into(), validation: validation.into() })
    }

    /// Writes the pixels of a sample, `[3, 32, 32]`: flipped if it says so, padded with black pixels, and cropped.
    ///
    /// # Panics
    /// If there is no such image, or the sample is not one of [`Minibatches`].
    pub fn crop(&self, sample: &Sample, out: &mut [u8; PIXELS]) {
        let image = self.image(sample.image as usize);
        // Row r of the crop is row r + top − 4 of the image.
        let (top, left) = (usize::from(sample.top), usize::from(sample.left));
        let source = |offset: usize, place: usize| (place + offset).checked_sub(PADDING).filter(|place| *place < IMAGE);
        for (plane, out) in image.chunks_exact(IMAGE * IMAGE).zip(out.chunks_exact_mut(IMAGE * IMAGE)) {
            for (row, out) in out.chunks_exact_mut(IMAGE).enumerate() {
                let Some(row) = source(top, row) else {
                    out.fill(0);
                    continue;
                };
                let row = &plane[row * IMAGE..][..IMAGE];
                for (column, out) in out.iter_mut().enumerate() {
                    *out = source(left, column)
                        .map_or(0, |column| row[if sample.flip { IMAGE - 1 - column } else { column }]);
                }
            }
        }
    }

    /// Writes a minibatch, `[samples, 3, 32, 32]`: every sample cropped and normalised. The readable form; backends that want another
    /// layout have the same numbers from [`Images::crop`] and [`Normalization::values`].
    ///
    /// # Errors
    /// [`Error::Length`] if `out` does not have the minibatch's size.
    pub fn fill(&self, samples: &[Sample], normalization: &Normalization, out: &mut [f32]) -> Result<()> {
        let expected = samples.len() * PIXELS;
        if out.len() != expected {
            return Err(Error::Length { what: "a minibatch of images", expected, got: out.len() });
        }
        let mut pixels = [0; PIXELS];
        for (sample, out) in samples.iter().zip(out.chunks_exact_mut(PIXELS)) {
            self.crop(sample, &mut pixels);
            let planes = pixels.chunks_exact(IMAGE * IMAGE).zip(out.chunks_exact_mut(IMAGE * IMAGE));
            for ((pixels, out), values) in planes.zip(normalization.values()) {
                for (out, &pixel) in out.iter_mut().zip(pixels) {
                    *out = values[usize::from(pixel)] as f32;
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Images({} of {} classes)", self.len(), self.classes.len())
    }
}

/// Checks that so many things, each of so many words, don't take more than a step's share of a random stream.
pub(super) fn check_share(what: &'static str, words: usize, count: usize) -> Result<()> {
    let limit = WORDS_PER_STEP as usize / words;
    if count <= limit {
        return Ok(());
    }
    Err(Error::Data { what, problem: format!("expected at most {limit}, got {count}") })
}

/// The halves of the training images, as ascending indices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halves {
    /// `D`, for the weights.
    pub training: Arc<[u32]>,
    /// `V`, for the architecture.
    pub validation: Arc<[u32]>,
}

/// Mean and standard deviation of every channel, in units of a pixel's value from 0 to 255.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalization {
    mean: [f64; CHANNELS],
    deviation: [f64; CHANNELS],
    values: Box<[[f64; 256]; CHANNELS]>,
}

impl Normalization {
    /// Of some of the images, in the search those of the training half. The sums are integers, so that mean and variance are each
    /// rounded once; the variance is that of the population.
    ///
    /// # Errors
    /// [`Error::Data`] if there is no image, or all values of a channel are equal.
    ///
    /// # Panics
    /// If there is no image of an index.
    pub fn of(images: &Images, indices: &[u32]) -> Result<Self> {
        let mut sums = [(0u64, 0u64); CHANNELS];
        for &index in indices {
            let planes = images.image(index as usize).chunks_exact(IMAGE * IMAGE);
            for ((sum, squares), plane) in sums.iter_mut().zip(planes) {
                *sum += plane.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
                *squares += plane.iter().map(|&pixel| u64::from(pixel) * u64::from(pixel)).sum::<u64>();
            }
        }
        let count = (indices.len() * IMAGE * IMAGE) as u64;
        let mut mean = [0.0; CHANNELS];
        let mut deviation = [0.0; CHANNELS];
        for (channel, (sum, squares)) in sums.into_iter().enumerate() {
            // n² times the variance; Cauchy and Schwarz say that it is not negative.
            let spread = u128::from(count) * u128::from(squares) - u128::from(sum) * u128::from(sum);
            if spread == 0 {
                let problem = format!("channel {channel} has the same value everywhere, it can't be normalised");
                return Err(Error::Data { what: "images", problem });
            }
            mean[channel] = sum as f64 / count as f64;
            deviation[channel] = (spread as f64).sqrt() / count as f64;
        }
        let value = |channel: usize, pixel: usize| (pixel as f64 - mean[channel]) / deviation[channel];
        let values = std::array::from_fn(|channel| std::array::from_fn(|pixel| value(channel, pixel)));
        Ok(Self { mean, deviation, values: Box::new(values) })
    }

    /// Mean of every channel.
    #[must_use]
    pub fn mean(&self) -> &[f64; CHANNELS] {
        &self.mean
    }

    /// Standard deviation of every channel.
    #[must_use]
    pub fn deviation(&self) -> &[f64; CHANNELS] {
        &self.deviation
    }

    /// The normalised value of every pixel value, `(pixel − mean)/deviation`, `[channels, 256]`: the same numbers for every backend.
    #[must_use]
    pub fn values(&self) -> &[[f64; 256]; CHANNELS] {
        &self.values
    }
}

/// An image of a minibatch, and how it is augmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Index of the image.
    pub image: u32,
    /// Row of the padded image, from 0 to 8, that becomes the first.
    pub top: u8,
    /// Column of the padded image, from 0 to 8, that becomes the first.
    pub left: u8,
    /// Whether left and right change places (before the crop).
    pub flip: bool,
}

impl Sample {
    /// An image as it is.
    #[must_use]
    pub fn plain(image: u32) -> Self {
        Self { image, top: PADDING as u8, left: PADDING as u8, flip: false }
    }
}

/// The minibatches of one half in one trial.
///
/// # Order
/// Epoch `e` is a permutation of the half, drawn by Fisher and Yates from the stream of [`Purpose::TrainingOrder`] or
/// [`Purpose::ValidationOrder`] at step `e`; the epochs follow each other in one long stream, of which step `t` takes the places
/// `t·B..(t + 1)·B`. So minibatches run across epoch ends, and every step can be found without those before it: only the
/// permutations that it touches are drawn, and the last is kept for the next step.
///
/// # Augmentation
/// Image `k` of step `t` uses the words `3k`, `3k + 1`, `3k + 2` of the step's place in the stream of
/// [`Purpose::TrainingAugmentation`] or [`Purpose::ValidationAugmentation`]: top and left are `(word · 9) >> 32` (every offset from 0
/// to 8, up to `9 · 2⁻³²`), the image is flipped if the third word's highest bit is set.
#[derive(Clone, Debug)]
pub struct Minibatches {
    streams: Streams,
    trial: u32,
    order: Purpose,
    augmentation: Purpose,
    half: Arc<[u32]>,
    size: usize,
    epoch: Option<u64>,
    permutation: Vec<u32>,
}

impl Minibatches {
    /// The minibatches of `size` images of a half.
    ///
    /// # Errors
    /// [`Error::Setting`] for an empty minibatch or one larger than a step's share of the random stream, [`Error::Data`] for an empty
    /// half or one that is too large for it, [`Error::Unsupported`] for the test set, which is evaluated as a whole.
    pub fn new(streams: &Streams, trial: u32, set: Set, halves: &Halves, size: usize) -> Result<Self> {
        let (order, augmentation, half) = match set {
            Set::Training => (Purpose::TrainingOrder, Purpose::TrainingAugmentation, &halves.training),
            Set::Validation => (Purpose::ValidationOrder, Purpose::ValidationAugmentation, &halves.validation),
            Set::Test => {
                let reason = "it is evaluated as a whole";
                return Err(Error::Unsupported { operation: "draw minibatches of the test set", reason });
            }
        };
        if size == 0 || size > WORDS_PER_STEP as usize / WORDS_PER_IMAGE {
            let (name, expected) = ("the minibatch", "from 1 to 349525 images");
            return Err(Error::Setting { name, expected, got: size.to_string() });
        }
        if half.is_empty() {
            return Err(Error::Data {
                what: "images of a half",
                problem: "expected at least one, got none".to_owned(),
            });
        }
        check_share("images of a half", 2, half.len())?;
        let (streams, half) = (streams.clone(), Arc::clone(half));
        let permutation = Vec::with_capacity(half.len());
        Ok(Self { streams, trial, order, augmentation, half, size, epoch: None, permutation })
    }

    /// Images of a minibatch.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Steps of an epoch, not a whole number in general: 390.625 in the paper's experiment.
    #[must_use]
    pub fn steps_per_epoch(&self) -> f64 {
        self.half.len() as f64 / self.size as f64
    }

    /// Writes the samples of step `step`. Nothing is allocated.
    ///
    /// # Errors
    /// [`Error::Length`] if `out` does not have the minibatch's size.
    pub fn draw(&mut self, step: u64, out: &mut [Sample]) -> Result<()> {
        if out.len() != self.size {
            return Err(Error::Length { what: "samples of a minibatch", expected: self.size, got: out.len() });
        }
        let start = u128::from(step) * self.size as u128;
        let length = self.half.len() as u128;
        let mut rng = self.streams.at(self.augmentation, self.trial, step);
        for (k, out) in out.iter_mut().enumerate() {
            let place = start + k as u128;
            self.shuffle_for((place / length) as u64);
            let image = self.permutation[(place % length) as usize];
            let [top, left, flip]: [u32; WORDS_PER_IMAGE] = std::array::from_fn(|_| rng.next_u32());
            let offset = |word: u32| ((u64::from(word) * OFFSETS) >> 32) as u8;
            *out = Sample { image, top: offset(top), left: offset(left), flip: flip >> 31 == 1 };
        }
        Ok(())
    }

    fn shuffle_for(&mut self, epoch: u64) {
        if self.epoch == Some(epoch) {
            return;
        }
        self.permutation.clear();
        self.permutation.extend_from_slice(&self.half);
        shuffle(&mut self.streams.at(self.order, self.trial, epoch), &mut self.permutation);
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images whose pixels name them: value `(7·image + 3·channel + row + 2·column) mod 251`.
    fn images(count: usize, classes: usize) -> Images {
        let pixel = |at: usize| {
            let (image, rest) = (at / PIXELS, at % PIXELS);
            let (channel, row, column) = (rest / 1024, rest / 32 % 32, rest % 32);
            ((7 * image + 3 * channel + row + 2 * column) % 251) as u8
        };
        let pixels: Vec<u8> = (0..count * PIXELS).map(pixel).collect();
        let labels: Vec<u8> = (0..count).map(|image| (image % classes) as u8).collect();
        let classes: Vec<String> = (0..classes).map(|class| format!("class {class}")).collect();
        Images::new(pixels, labels, classes).unwrap()
    }

    /// Images without content.
    fn labelled(labels: Vec<u8>, classes: usize) -> Images {
        Images::new(vec![0; labels.len() * PIXELS], labels, vec![String::new(); classes]).unwrap()
    }

    fn halves(count: u32) -> Halves {
        Halves { training: (0..count).collect(), validation: (count..2 * count).collect() }
    }

    #[test]
    fn halves_are_stratified() {
        // 3 of class 0, 5 of class 1, 4 of class 2, scattered.
        let images = labelled(vec![1, 0, 2, 1, 1, 0, 2, 2, 1, 0, 1, 2], 3);
        let split = |seed| images.halves(&Streams::new(seed)).unwrap();
        let Halves { training, validation } = split(3);
        let mut all: Vec<u32> = training.iter().chain(&*validation).copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..12).collect::<Vec<_>>());
        let of_class = |half: &[u32], class| half.iter().filter(|i| images.labels()[**i as usize] == class).count();
        assert_eq!([0, 1, 2].map(|class| of_class(&training, class)), [2, 2, 2]);
        assert_eq!([0, 1, 2].map(|class| of_class(&validation, class)), [1, 3, 2]);
        assert!(training.is_sorted() && validation.is_sorted());
        assert_eq!(split(3), split(3));
        assert!((0..10).any(|seed| split(seed) != split(3)));
        // Image 2, of a class of four, lands in the training half half of the time: N = 400 seeds, five standard errors.
        let count = (0..400).filter(|seed| split(*seed).training.contains(&2)).count();
        assert!((count as f64 / 400.0 - 0.5).abs() < 0.125, "{count}");
        assert!(matches!(labelled(vec![0], 1).halves(&Streams::new(0)), Err(Error::Data { .. })));
    }

    #[test]
    fn normalization_is_that_of_the_plain_sums() {
        let images = images(4, 2);
        let normalization = Normalization::of(&images, &[1, 3]).unwrap();
        for channel in 0..3 {
            let values: Vec<f64> = [1, 3]
                .iter()
                .flat_map(|image| &images.image(*image)[channel * 1024..][..1024])
                .map(|pixel| f64::from(*pixel))
                .collect();
            let mean = values.iter().sum::<f64>() / 2048.0;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 2048.0;
            assert!((normalization.mean()[channel] - mean).abs() < 1e-11);
            assert!((normalization.deviation()[channel] - variance.sqrt()).abs() < 1e-11);
            let value = normalization.values()[channel][200];
            assert!((value - (200.0 - mean) / variance.sqrt()).abs() < 1e-12);
        }
        let constant = Normalization::of(&labelled(vec![0, 0], 1), &[0, 1]).unwrap_err().to_string();
        assert_eq!(constant, "images: channel 0 has the same value everywhere, it can't be normalised");
        assert!(Normalization::of(&images, &[]).is_err());
    }

    #[test]
    fn crops_are_those_of_the_padded_image() {
        // The oracle builds the flipped and padded 40×40 image.
        let images = images(2, 1);
        for flip in [false, true] {
            for (top, left) in [(0, 0), (4, 4), (8, 8), (0, 8), (3, 6)] {
                let mut crop = [1; PIXELS];
                images.crop(&Sample { image: 1, top, left, flip }, &mut crop);
                for channel in 0..3 {
                    let mut padded = [[0; 40]; 40];
                    for row in 0..32 {
                        for column in 0..32 {
                            let source = if flip { 31 - column } else { column };
                            padded[row + 4][column + 4] = images.image(1)[channel * 1024 + row * 32 + source];
                        }
                    }
                    for row in 0..32 {
                        for column in 0..32 {
                            let expected = padded[row + usize::from(top)][column + usize::from(left)];
                            assert_eq!(crop[channel * 1024 + row * 32 + column], expected);
                        }
                    }
                }
            }
        }
        let mut crop = [0; PIXELS];
        images.crop(&Sample::plain(0), &mut crop);
        assert_eq!(crop, images.image(0));

        let normalization = Normalization::of(&images, &[0, 1]).unwrap();
        let samples = [Sample { image: 1, top: 0, left: 8, flip: true }, Sample::plain(0)];
        let mut out = vec![0.0; 2 * PIXELS];
        images.fill(&samples, &normalization, &mut out).unwrap();
        images.crop(&samples[0], &mut crop);
        for (at, &pixel) in crop.iter().enumerate() {
            let channel = at / 1024;
            let expected = (f64::from(pixel) - normalization.mean()[channel]) / normalization.deviation()[channel];
            assert_eq!(out[at], expected as f32);
        }
        // A black corner of the padding is normalised like every black pixel.
        assert_eq!(out[0], normalization.values()[0][0] as f32);
        assert!(matches!(images.fill(&samples, &normalization, &mut out[1..]), Err(Error::Length { .. })));
    }

    #[test]
    fn minibatches_run_across_epoch_ends() {
        // 10 images, minibatches of 4: 2.5 steps an epoch. Five steps are two epochs.
        let streams = Streams::new(9);
        let mut batches = Minibatches::new(&streams, 2, Set::Validation, &halves(10), 4).unwrap();
        assert_eq!(batches.steps_per_epoch(), 2.5);
        let mut drawn = Vec::new();
        for step in 0..5 {
            let mut samples = [Sample::plain(0); 4];
            batches.draw(step, &mut samples).unwrap();
            drawn.extend(samples);
        }
        for epoch in drawn.chunks_exact(10) {
            let mut images: Vec<u32> = epoch.iter().map(|sample| sample.image).collect();
            images.sort_unstable();
            assert_eq!(images, (10..20).collect::<Vec<_>>());
        }
        let order = |epoch: &[Sample]| epoch.iter().map(|sample| sample.image).collect::<Vec<_>>();
        assert_ne!(order(&drawn[..10]), order(&drawn[10..]));
        // Any step alone, in any order, by anyone, is the same.
        for step in [4u64, 0, 2, 3, 1] {
            let mut samples = [Sample::plain(0); 4];
            batches.draw(step, &mut samples).unwrap();
            assert_eq!(samples, drawn[4 * step as usize..][..4]);
            let mut other = Minibatches::new(&streams, 2, Set::Validation, &halves(10), 4).unwrap();
            other.draw(step, &mut samples).unwrap();
            assert_eq!(samples, drawn[4 * step as usize..][..4]);
        }
        // A minibatch of several epochs.
        let mut large = Minibatches::new(&streams, 2, Set::Validation, &halves(10), 20).unwrap();
        let mut samples = [Sample::plain(0); 20];
        large.draw(0, &mut samples).unwrap();
        assert_eq!(order(&samples), order(&drawn));
        // Far out, where a search never gets.
        large.draw(u64::MAX >> 20, &mut samples).unwrap();
        let paper = Minibatches::new(&streams, 0, Set::Training, &halves(25_000), BATCH).unwrap();
        assert_eq!(paper.steps_per_epoch(), 390.625);
    }

    #[test]
    fn seeds_trials_and_sets_differ() {
        let draw = |seed, trial, set| {
            let mut samples = [Sample::plain(0); 10];
            let mut batches = Minibatches::new(&Streams::new(seed), trial, set, &halves(100), 10).unwrap();
            batches.draw(0, &mut samples).unwrap();
            samples
        };
        let reference = draw(0, 0, Set::Training);
        for other in [draw(1, 0, Set::Training), draw(0, 1, Set::Training), draw(0, 0, Set::Validation)] {
            let images = |samples: [Sample; 10]| samples.map(|sample| sample.image % 100);
            let augmentations = |samples: [Sample; 10]| samples.map(|sample| (sample.top, sample.left, sample.flip));
            assert_ne!(images(reference), images(other));
            assert_ne!(augmentations(reference), augmentations(other));
        }
    }

    #[test]
    fn orders_and_augmentations_are_uniform() {
        // All 24 orders of 4 images over N = 4800 epochs, χ² with 23 degrees of freedom: 60.1 is its quantile at α = 4e-5. All
        // 9·9·2 augmentations over N = 16 200 images, 161 degrees of freedom: 237 is its quantile at α = 1e-4. The seed is fixed.
        let mut batches = Minibatches::new(&Streams::new(5), 0, Set::Training, &halves(4), 4).unwrap();
        let mut orders = std::collections::HashMap::new();
        let mut samples = [Sample::plain(0); 4];
        for epoch in 0..4800 {
            batches.draw(epoch, &mut samples).unwrap();
            *orders.entry(samples.map(|sample| sample.image)).or_insert(0.0) += 1.0;
        }
        assert_eq!(orders.len(), 24);
        let statistic: f64 = orders.values().map(|count: &f64| (count - 200.0) * (count - 200.0) / 200.0).sum();
        assert!(statistic < 60.1, "χ² = {statistic}");

        let mut counts = vec![0.0f64; 162];
        let mut batches = Minibatches::new(&Streams::new(6), 0, Set::Validation, &halves(50), 50).unwrap();
        let mut samples = [Sample::plain(0); 50];
        for step in 0..324 {
            batches.draw(step, &mut samples).unwrap();
            for sample in samples {
                counts[usize::from(sample.top) * 18 + usize::from(sample.left) * 2 + usize::from(sample.flip)] += 1.0;
            }
        }
        let statistic: f64 = counts.iter().map(|count| (count - 100.0) * (count - 100.0) / 100.0).sum();
        assert!(statistic < 237.0, "χ² = {statistic}");
    }

    #[test]
    fn nonsense_is_rejected() {
        let names = |count: usize| vec![String::new(); count];
        let problem = |result: Result<Images>| result.unwrap_err().to_string();
        assert_eq!(
            problem(Images::new(vec![0; PIXELS], vec![0, 0], names(1))),
            "pixels of the images: expected 6144 values, got 3072"
        );
        assert_eq!(problem(Images::new([], [], names(1))), "images: expected at least one, got none");
        assert_eq!(
            problem(Images::new(vec![0; PIXELS], vec![3], names(3))),
            "images: image 0 has label 3, expected one below 3"
        );
        assert!(Images::new(vec![0; PIXELS], vec![0], names(257)).is_err());
        assert!(Images::new(vec![0; PIXELS], vec![0], names(0)).is_err());

        let streams = Streams::new(0);
        let new = |set, size| Minibatches::new(&streams, 0, set, &halves(4), size);
        assert!(matches!(new(Set::Test, 4), Err(Error::Unsupported { .. })));
        assert!(matches!(new(Set::Training, 0), Err(Error::Setting { .. })));
        assert!(matches!(new(Set::Training, 349_526), Err(Error::Setting { .. })));
        let empty = Minibatches::new(&streams, 0, Set::Training, &halves(0), 4);
        assert!(matches!(empty, Err(Error::Data { .. })));
        let large = Minibatches::new(&streams, 0, Set::Training, &halves((1 << 19) + 1), 4);
        assert!(matches!(large, Err(Error::Data { .. })));
        let mut samples = [Sample::plain(0); 3];
        assert!(matches!(new(Set::Training, 4).unwrap().draw(0, &mut samples), Err(Error::Length { .. })));
    }
}
