//! Images as bytes on the device, and which of them a minibatch has.

use advantage_nas::network::nas_bench_201::{Data, Images, PIXELS, Sample};

use crate::device::{Buffer, Device, Staged};
use crate::error::{Error, Result};
use crate::kernels::nas_bench_201::Sample as Words;

/// Words of an image: four bytes each.
pub(super) const IMAGE_WORDS: usize = PIXELS / 4;
/// Images that are copied at once.
const PIECE: usize = 4096;

/// All images, and the minibatches of all lanes.
#[derive(Debug)]
pub(super) struct Pictures {
    /// `[images, IMAGE_WORDS]`: those of the search, then those of the test set.
    pub(super) bytes: Buffer<u32>,
    /// Normalised values `[3, 256]`.
    pub(super) values: Buffer<f32>,
    /// `[lanes, batch]` [`Words`].
    pub(super) samples: Staged<u32>,
    /// The same on the host.
    words: Vec<u32>,
    batch: usize,
    /// Where the test images begin.
    first_test: u32,
}

impl Pictures {
    /// Bytes on the device for so many images.
    pub(super) fn memory(images: usize, lanes: usize, batch: usize) -> usize {
        images * PIXELS + size_of::<u32>() * (3 * 256 + lanes * batch * Words::WORDS)
    }

    pub(super) fn new(device: &Device, data: &Data, lanes: usize, batch: usize) -> Result<Self> {
        let (own, test) = (data.images.len(), data.test.as_ref().map_or(0, Images::len));
        let most = i32::MAX as usize / IMAGE_WORDS;
        if own + test > most {
            return Err(Error::TooLarge { what: "images", got: (own + test) as u64, most: most as u64 });
        }
        let mut bytes = device.zeros("images", (own + test) * IMAGE_WORDS)?;
        let mut begin = 0;
        for images in std::iter::once(&data.images).chain(&data.test) {
            for piece in images.pixels().chunks(PIECE * PIXELS) {
                let words: Vec<u32> = piece.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
                bytes.write_at(begin, &words)?;
                begin += words.len();
            }
        }
        let values = data.normalization.values().iter().flatten().map(|value| *value as f32);
        let words = vec![0; lanes * batch * Words::WORDS];
        Ok(Self {
            bytes,
            values: device.upload("normalised values", &values.collect::<Vec<_>>())?,
            samples: device.staged("samples", words.len())?,
            words,
            batch,
            first_test: own as u32,
        })
    }

    /// Sets a lane's minibatch, of images of the search or of the test set; it is not on the device yet.
    pub(super) fn set(&mut self, lane: usize, samples: &[Sample], labels: &[u8], test: bool) {
        let first = if test { self.first_test } else { 0 };
        let words = self.words[lane * self.batch * Words::WORDS..].chunks_exact_mut(Words::WORDS);
        for (words, sample) in words.zip(samples) {
            let &Sample { image, top, left, flip } = sample;
            let words_of = Words {
                image: first + image,
                top: i32::from(top),
                left: i32::from(left),
                flip: i32::from(flip),
                label: i32::from(labels[image as usize]),
            };
            words_of.write(words);
        }
    }

    /// Copies the minibatches to the device.
    pub(super) fn upload(&mut self) -> Result<()> {
        self.samples.write(&self.words)
    }
}
