//! Launches of the kernels in `kernels/toy.cu`.

use advantage_nas::network::toy::{PIXELS, POSITIONS, TAPS, Toy};

use super::{MATH, RANDOM, Version};
use crate::device::{Buffer, Device, Geometry, Kernel, Source};
use crate::error::{Error, Result};

/// The module.
pub const SOURCE: Source = Source {
    name: "toy",
    files: &[RANDOM, MATH, ("toy.cu", include_str!("../../kernels/toy.cu"))],
    kernels: &["toy_images", "toy_images_naive", "toy_edges", "toy_edges_naive", "toy_answers", "toy_answers_naive"],
};

/// `THREADS` in `toy.cu`.
const THREADS: u32 = 128;
/// `ANSWER_THREADS` in `toy.cu`.
const ANSWER_THREADS: u32 = 256;
/// `TILE` in `toy.cu`.
const TILE: usize = 32;
/// `WORDS` in `toy.cu`.
const WORDS: usize = 16;
/// `ASK_HEADER` in `toy.cu`.
const ASK_HEADER: usize = 5;

/// Sizes of a launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Sizes of the network.
    pub toy: Toy,
    /// Trials whose weights are on the device.
    pub trials: usize,
    /// Requests that a launch is made for.
    pub requests: usize,
    /// Pairs (candidate, weight) per edge and request.
    pub slots: usize,
}

impl Sizes {
    /// Images of one request: whole ChaCha blocks.
    fn images_pitch(&self) -> usize {
        (PIXELS * self.toy.batch).next_multiple_of(WORDS)
    }

    fn ask_pitch(&self) -> usize {
        ASK_HEADER + 2 * self.toy.edges * self.slots
    }

    fn asks(&self) -> usize {
        1 + self.requests * self.ask_pitch()
    }

    /// Pixels of all requests.
    #[must_use]
    pub fn images(&self) -> usize {
        self.requests * self.images_pitch()
    }

    /// Values `[requests, edges, batch]`.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.requests * self.toy.edges * self.toy.batch
    }

    /// Values `[requests, edges, slots + 1, batch]`.
    #[must_use]
    pub fn slopes(&self) -> usize {
        self.shares() * (self.slots + 1)
    }

    /// Sums of one request with so many per edge.
    #[must_use]
    pub fn sums(&self, rows: usize) -> usize {
        1 + self.toy.edges * rows
    }
}

/// Requests on the device: how many there are, and for each the trial, the place in the random stream, and the slots.
#[derive(Debug)]
pub struct Asks {
    sizes: Sizes,
    host: Vec<u32>,
    buffer: Buffer<u32>,
}

impl Asks {
    /// No request yet, room for as many as a launch is made for.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(device: &Device, sizes: Sizes) -> Result<Self> {
        Ok(Self { sizes, host: vec![0], buffer: device.zeros("requests", sizes.asks())? })
    }

    /// Forgets the requests.
    pub fn clear(&mut self) {
        self.host.clear();
        self.host.push(0);
    }

    /// Adds a request: its trial by index, its stream and its first ChaCha block, and `slots` pairs for every edge.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a trial or a candidate that is not there, or a request too many.
    ///
    /// # Panics
    /// If there are not as many slots as the sizes say.
    pub fn push(
        &mut self,
        trial: usize,
        stream: u64,
        block: u64,
        slots: impl Iterator<Item = (usize, f32)>,
    ) -> Result<()> {
        let below = |what, got: usize, count: usize| {
            if got < count {
                Ok(got as u32)
            } else {
                Err(Error::TooLarge { what, got: got as u64, most: count as u64 - 1 })
            }
        };
        let requests = below("requests of a launch", self.host[0] as usize, self.sizes.requests)? + 1;
        let trial = below("the trial of a request", trial, self.sizes.trials)?;
        let begin = self.host.len();
        self.host.extend([trial, stream as u32, (stream >> 32) as u32, block as u32, (block >> 32) as u32]);
        for (candidate, weight) in slots {
            match below("the candidate of a slot", candidate, self.sizes.toy.candidates) {
                Ok(candidate) => self.host.extend([candidate, weight.to_bits()]),
                Err(error) => {
                    self.host.truncate(begin);
                    return Err(error);
                }
            }
        }
        assert_eq!(self.host.len() - begin, self.sizes.ask_pitch(), "slots of a request");
        self.host[0] = requests;
        Ok(())
    }

    /// Copies the requests to the device.
    ///
    /// # Errors
    /// What the device reports.
    pub fn upload(&mut self) -> Result<()> {
        self.buffer.write(&self.host)
    }
}

/// Weights of all trials on the device.
#[derive(Debug)]
pub struct Weights {
    toy: Toy,
    filters: Buffer<f32>,
    heads: Buffer<f32>,
    teachers: Buffer<u32>,
}

impl Weights {
    /// Filters `[trials, edges, candidates, taps]`, second-stage filters divided by the number of edges `[trials,
    /// edges, positions]`, the teachers' candidates `[trials, edges]`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a teacher's candidate that is not there; what the device reports.
    pub fn new(device: &Device, toy: Toy, filters: &[f32], heads: &[f32], teachers: &[u32]) -> Result<Self> {
        let most = toy.candidates as u64 - 1;
        if let Some(&got) = teachers.iter().find(|teacher| u64::from(**teacher) > most) {
            return Err(Error::TooLarge { what: "the teacher's candidate", got: got.into(), most });
        }
        Ok(Self {
            toy,
            filters: device.upload("filters", filters)?,
            heads: device.upload("second-stage filters", heads)?,
            teachers: device.upload("teachers", teachers)?,
        })
    }
}

/// What `toy_edges` computes beside the predictions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Slopes {
    /// Nothing.
    None = 0,
    /// The derivative with respect to the weight of the only slot, which is 1.
    OfOne = 1,
    /// The derivatives with respect to the weights of all slots.
    OfSeveral = 2,
}

/// What `toy_answers` sums for every edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sums {
    /// Errors times so many slopes.
    Slopes(usize),
    /// Squared errors without the edge's share.
    Removals,
}

impl Sums {
    /// Number of sums per edge.
    #[must_use]
    pub fn rows(self) -> usize {
        match self {
            Sums::Slopes(rows) => rows,
            Sums::Removals => 1,
        }
    }
}

/// What lies between the kernels, for one kind of request.
#[derive(Debug)]
pub struct Shares {
    /// `[requests, edges, batch]`, the student's share of the prediction minus the teacher's.
    pub differences: Buffer<f32>,
    /// `[requests, edges, batch]`, the student's.
    pub shares: Buffer<f32>,
}

impl Shares {
    /// Zeros.
    ///
    /// # Errors
    /// What the device reports.
    pub fn new(device: &Device, sizes: &Sizes) -> Result<Self> {
        Ok(Self {
            differences: device.zeros("differences of the shares", sizes.shares())?,
            shares: device.zeros("shares of the prediction", sizes.shares())?,
        })
    }
}

/// The kernels of the toy regression.
#[derive(Debug)]
pub struct Kernels {
    device: Device,
    images: [Kernel; 2],
    edges: [Kernel; 2],
    answers: [Kernel; 2],
}

impl Kernels {
    /// Loads them.
    ///
    /// # Errors
    /// As [`Device::module`].
    pub fn load(device: &Device) -> Result<Self> {
        Self::load_from(device, &SOURCE)
    }

    /// Loads them from another text: tests damage it, to see whether the damage is found.
    ///
    /// # Errors
    /// As [`Device::module`].
    pub fn load_from(device: &Device, source: &Source) -> Result<Self> {
        let module = device.module(source)?;
        Ok(Self {
            device: device.clone(),
            images: [module.kernel("toy_images")?, module.kernel("toy_images_naive")?],
            edges: [module.kernel("toy_edges")?, module.kernel("toy_edges_naive")?],
            answers: [module.kernel("toy_answers")?, module.kernel("toy_answers_naive")?],
        })
    }

    /// Name of a graph of these kernels, for messages.
    #[must_use]
    pub fn describe(&self, name: &str) -> String {
        let names: Vec<&str> = [&self.images, &self.edges, &self.answers].map(|kernel| kernel[0].name()).to_vec();
        format!("{name} ({}; flags {})", names.join(", "), self.device.flags())
    }

    /// Draws the minibatches: image `b`'s pixel `p` is word `p · batch + b` from the request's place in the stream.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// If a buffer is too short.
    pub fn images(
        &self,
        version: Version,
        sizes: &Sizes,
        key: &Buffer<u32>,
        asks: &Asks,
        images: &mut Buffer<f32>,
    ) -> Result<()> {
        expect(key.len(), 8, "the key");
        asks.expect(sizes);
        expect(images.len(), sizes.images(), "images");
        let items = match version {
            Version::Fast => sizes.images_pitch() / WORDS,
            Version::Naive => sizes.images_pitch(),
        };
        let geometry = Geometry::new([items.div_ceil(THREADS as usize), sizes.requests, 1], THREADS)?;
        let (edges, slots, batch) = (sizes.toy.edges as i32, sizes.slots as i32, sizes.toy.batch as i32);
        let kernel = &self.images[version as usize];
        // SAFETY: types and order are those of `toy_images` and its naive version; only `images` is written; both read
        // the 8 words of the key and the requests that are there, of which there are at most `sizes.requests`, and
        // write `images_pitch` floats for each: as many as were just checked.
        unsafe {
            kernel
                .on(&self.device)
                .reads(key) // const unsigned* key
                .reads(&asks.buffer) // const unsigned* asks
                .writes(images) // float* images
                .value(&edges) // int edges
                .value(&slots) // int slots
                .value(&batch) // int batch
                .submit(geometry)
        }
    }

    /// Every edge's share of the predictions, and the slopes, `[requests, edges, slots + 1, batch]`, unless they are
    /// not wanted.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// If a buffer is too short.
    #[allow(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn edges(
        &self,
        version: Version,
        sizes: &Sizes,
        wanted: Slopes,
        asks: &Asks,
        weights: &Weights,
        images: &Buffer<f32>,
        shares: &mut Shares,
        slopes: &mut Buffer<f32>,
    ) -> Result<()> {
        let Toy { edges, candidates, batch } = sizes.toy;
        assert_eq!(weights.toy, sizes.toy, "the weights are of other sizes");
        let places = sizes.trials * edges;
        asks.expect(sizes);
        expect(weights.filters.len(), places * candidates * TAPS, "filters");
        expect(weights.heads.len(), places * POSITIONS, "second-stage filters");
        expect(weights.teachers.len(), places, "teachers");
        expect(images.len(), sizes.images(), "images");
        expect(shares.differences.len(), sizes.shares(), "differences");
        expect(shares.shares.len(), sizes.shares(), "shares");
        expect(slopes.len(), if wanted == Slopes::None { 0 } else { sizes.slopes() }, "slopes");
        let tile = match version {
            Version::Fast => TILE,
            Version::Naive => THREADS as usize,
        };
        let geometry = Geometry::new([edges, batch.div_ceil(tile), sizes.requests], THREADS)?;
        let (edges, candidates, batch) = (edges as i32, candidates as i32, batch as i32);
        let (slots, wanted) = (sizes.slots as i32, wanted as i32);
        let kernel = &self.edges[version as usize];
        // SAFETY: types and order are those of `toy_edges` and its naive version; `differences`, `shares` and `slopes`
        // are written, the others read; `Asks` and `Weights` hold only trials and candidates that are there, and all
        // lengths were just checked.
        unsafe {
            kernel
                .on(&self.device)
                .reads(&asks.buffer) // const unsigned* asks
                .reads(&weights.filters) // const float* filters
                .reads(&weights.heads) // const float* heads
                .reads(&weights.teachers) // const unsigned* teachers
                .reads(images) // const float* images
                .writes(&mut shares.differences) // float* differences
                .writes(&mut shares.shares) // float* shares
                .writes(slopes) // float* slopes
                .value(&edges) // int edges
                .value(&candidates) // int candidates
                .value(&batch) // int batch
                .value(&slots) // int slots
                .value(&wanted) // int slopes_of
                .submit(geometry)
        }
    }

    /// The sums over the batch, `[requests, 1 + edges · rows]`.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// If a buffer is too short, or for more slopes than there are.
    #[allow(clippy::too_many_arguments, reason = "the kernel's")]
    pub fn answers(
        &self,
        version: Version,
        sizes: &Sizes,
        sums: Sums,
        asks: &Asks,
        shares: &Shares,
        slopes: &Buffer<f32>,
        answers: &mut Buffer<f64>,
    ) -> Result<()> {
        let Toy { edges, batch, .. } = sizes.toy;
        let rows = sums.rows();
        asks.expect(sizes);
        expect(shares.differences.len(), sizes.shares(), "differences");
        expect(shares.shares.len(), sizes.shares(), "shares");
        if let Sums::Slopes(1..) = sums {
            assert!(rows <= sizes.slots + 1, "{rows} slopes of {}", sizes.slots + 1);
            expect(slopes.len(), sizes.slopes(), "slopes");
        }
        expect(answers.len(), sizes.requests * sizes.sums(rows), "answers");
        let geometry = match version {
            Version::Fast => {
                let errors = size_of::<f32>() * batch;
                Geometry::new([sizes.requests, 1, 1], ANSWER_THREADS)?.with_shared(errors as u32)
            }
            Version::Naive => Geometry::new([sizes.sums(rows).div_ceil(THREADS as usize), sizes.requests, 1], THREADS)?,
        };
        let (edges, batch, slots) = (edges as i32, batch as i32, sizes.slots as i32);
        let (rows, removals) = (rows as i32, i32::from(sums == Sums::Removals));
        let kernel = &self.answers[version as usize];
        // SAFETY: types and order are those of `toy_answers` and its naive version; only `answers` is written; all
        // lengths were just checked, and `slopes` is not read unless slopes are summed.
        unsafe {
            kernel
                .on(&self.device)
                .reads(&asks.buffer) // const unsigned* asks
                .reads(&shares.differences) // const float* differences
                .reads(&shares.shares) // const float* shares
                .reads(slopes) // const float* slopes
                .writes(answers) // double* answers
                .value(&edges) // int edges
                .value(&batch) // int batch
                .value(&slots) // int slots
                .value(&rows) // int rows
                .value(&removals) // int removals
                .submit(geometry)
        }
    }
}

impl Asks {
    fn expect(&self, sizes: &Sizes) {
        assert_eq!(self.sizes, *sizes, "the requests are of other sizes");
    }
}

fn expect(length: usize, needed: usize, what: &str) {
    assert!(length >= needed, "{what}: {length} values, needed are {needed}");
}
