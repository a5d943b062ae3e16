//! The table of the kernels in `kernels/toy.cu`.

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, PIXELS, POSITIONS, STRIDE, TAPS, Toy};

use super::table::int;
use super::{CHACHA_WORDS, Kernels, MATH, RANDOM, Version};
use crate::device::{Buffer, Device, Geometry, Source};
use crate::error::{Error, Result};

/// The module.
pub const SOURCE: Source = Source {
    name: "toy",
    constants: constants![
        IMAGE,
        PIXELS,
        KERNEL,
        TAPS,
        STRIDE,
        OUTPUT,
        POSITIONS,
        CHACHA_WORDS,
        THREADS,
        ANSWER_THREADS,
        TILE,
        ASK_HEADER,
        NONE = Slopes::None as usize,
        OF_ONE = Slopes::OfOne as usize,
        OF_SEVERAL = Slopes::OfSeveral as usize,
    ],
    descriptions: &[Dimensions::STRUCT, Terms::STRUCT],
    files: &[RANDOM, MATH, ("toy.cu", include_str!("../../kernels/toy.cu"))],
    kernels: &[Images::SIGNATURE, Edges::SIGNATURE, Answers::SIGNATURE],
};

/// Threads of a block, in every kernel but the fast `toy_answers`.
pub(crate) const THREADS: usize = 128;
/// Threads of a block of the fast `toy_answers`.
const ANSWER_THREADS: usize = 256;
/// Images that a block of the fast `toy_edges` works on.
pub(crate) const TILE: usize = 32;
/// Words of a request before its slots.
const ASK_HEADER: usize = 5;

description! {
    /// Sizes, as the kernels are told.
    pub struct Dimensions {
        /// Edges.
        edges: i32,
        /// Candidates of an edge.
        candidates: i32,
        /// Images of a minibatch.
        batch: i32,
        /// Pairs (candidate, weight) per edge and request.
        slots: i32,
    }
}

description! {
    /// What `toy_answers` sums for every edge: [`Sums`], as the kernel is told.
    pub struct Terms {
        /// Sums per edge.
        rows: i32,
        /// Not 0: the only row has removals; 0: the rows have slopes.
        removals: i32,
    }
}

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
    /// As the kernels are told.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for sizes that they can't count.
    pub fn dimensions(&self) -> Result<Dimensions> {
        let Toy { edges, candidates, batch } = self.toy;
        Ok(Dimensions {
            edges: int("edges", edges)?,
            candidates: int("candidates of an edge", candidates)?,
            batch: int("images of a minibatch", batch)?,
            slots: int("slots of an edge", self.slots)?,
        })
    }

    /// Places `[trials, edges]`.
    fn places(&self) -> usize {
        self.trials * self.toy.edges
    }

    /// Values of the filters `[trials, edges, candidates, taps]`.
    fn filters(&self) -> usize {
        self.places() * self.toy.candidates * TAPS
    }

    /// Images of one request: whole ChaCha blocks.
    fn images_pitch(&self) -> usize {
        (PIXELS * self.toy.batch).next_multiple_of(CHACHA_WORDS)
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

    fn terms(self) -> Result<Terms> {
        let removals = i32::from(self == Sums::Removals);
        Ok(Terms { rows: int("sums of an edge", self.rows())?, removals })
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

kernel! {
    /// Draws the minibatches: image `b`'s pixel `p` is word `p · batch + b` from the request's place in the stream.
    // SAFETY: of the requests, those that are there are read, at most `sizes.requests`; for each, `images_pitch` floats
    // are written.
    unsafe pub struct Images<'a>: "toy_images", "toy_images_naive";
    // Integers only: nothing to fuse. A lane stores the 64 bytes of its block by four stores, each of which fills half a sector.
    expects { threads: THREADS, dynamic_shared: 0, blocks: 16, arithmetic: 0, global_loads: 0, unfused: 0, shared_waves: 100, global_sectors: 200, }
    given {
        /// The key of the random streams.
        key: &'a Buffer<u32>,
        /// The requests.
        asks: &'a Asks,
        /// `[requests, pixels, batch]`, each request padded to whole ChaCha blocks.
        images: &'a mut Buffer<f32>,
    }
    parameters {
        reads key: u32[8] = key,
        reads asks: u32[asks.sizes.asks()] = &asks.buffer,
        writes images: f32[asks.sizes.images()] = images,
        value dimensions: Dimensions = asks.sizes.dimensions()?,
    }
    geometry(version) {
        let pitch = asks.sizes.images_pitch();
        let items = match version {
            Version::Fast | Version::Tf32 => pitch / CHACHA_WORDS,
            Version::Naive => pitch,
        };
        Geometry::new([items.div_ceil(THREADS), asks.sizes.requests, 1], THREADS)?
    }
}

kernel! {
    /// Every edge's share of the predictions, and the slopes unless they are not wanted.
    // SAFETY: `Asks` holds only trials and candidates that are there, `Weights` only teachers of that many candidates;
    // everything else is indexed by block, thread and loops up to the dimensions.
    unsafe pub struct Edges<'a>: "toy_edges", "toy_edges_naive";
    // The loop over several slots reads its filters from global memory, as it does not know how many there are. Not fused: sums over
    // lanes, two by two steps. Four rows of a head are 64 bytes, of which a lane loads a quarter at a time; rows of a minibatch begin
    // within a sector.
    expects { threads: THREADS, dynamic_shared: 0, blocks: 6, arithmetic: 60, global_loads: 100, unfused: 4, shared_waves: 100, global_sectors: 200, }
    given {
        /// The requests.
        asks: &'a Asks,
        /// The weights of all trials.
        weights: &'a Weights,
        /// Which slopes.
        wanted: Slopes,
        /// `[requests, pixels, batch]`, as [`Images`] draws them.
        images: &'a Buffer<f32>,
        /// The shares.
        shares: &'a mut Shares,
        /// `[requests, edges, slots + 1, batch]`: `d prediction / d weight` of every slot; the last row as if the output
        /// were all ones.
        slopes: &'a mut Buffer<f32>,
    }
    requires {
        assert_eq!(weights.toy, asks.sizes.toy, "the weights are of other sizes");
    }
    parameters {
        reads asks: u32[asks.sizes.asks()] = &asks.buffer,
        reads filters: f32[asks.sizes.filters()] = &weights.filters,
        reads heads: f32[asks.sizes.places() * POSITIONS] = &weights.heads,
        reads teachers: u32[asks.sizes.places()] = &weights.teachers,
        reads images: f32[asks.sizes.images()] = images,
        writes differences: f32[asks.sizes.shares()] = &mut shares.differences,
        writes shares: f32[asks.sizes.shares()] = &mut shares.shares,
        writes slopes: f32[if wanted == Slopes::None { 0 } else { asks.sizes.slopes() }] = slopes,
        value dimensions: Dimensions = asks.sizes.dimensions()?,
        value slopes_of: i32 = wanted as i32,
    }
    geometry(version) {
        let tile = match version {
            Version::Fast | Version::Tf32 => TILE,
            Version::Naive => THREADS,
        };
        let Toy { edges, batch, .. } = asks.sizes.toy;
        Geometry::new([edges, batch.div_ceil(tile), asks.sizes.requests], THREADS)?
    }
}

kernel! {
    /// The sums over the batch, `[requests, 1 + edges · rows]`.
    // SAFETY: indexed by block, thread and loops up to the dimensions and rows; of the slopes no more rows are read than
    // there are, and none for removals.
    unsafe pub struct Answers<'a>: "toy_answers", "toy_answers_naive";
    // Sums in double precision. Rows of a minibatch begin within a sector.
    expects { threads: ANSWER_THREADS, dynamic_shared: 400, blocks: 8, arithmetic: 0, global_loads: 2, unfused: 0, shared_waves: 100, global_sectors: 120, }
    given {
        /// The requests.
        asks: &'a Asks,
        /// What is summed.
        sums: Sums,
        /// The shares, as [`Edges`] leaves them.
        shares: &'a Shares,
        /// The slopes, as [`Edges`] leaves them.
        slopes: &'a Buffer<f32>,
        /// `[requests, 1 + edges · rows]`
        answers: &'a mut Buffer<f64>,
    }
    requires {
        let summed = if let Sums::Slopes(rows) = sums { rows } else { 0 };
        assert!(summed <= asks.sizes.slots + 1, "{summed} slopes of {}", asks.sizes.slots + 1);
    }
    parameters {
        reads asks: u32[asks.sizes.asks()] = &asks.buffer,
        reads differences: f32[asks.sizes.shares()] = &shares.differences,
        reads shares: f32[asks.sizes.shares()] = &shares.shares,
        reads slopes: f32[if summed == 0 { 0 } else { asks.sizes.slopes() }] = slopes,
        writes answers: f64[asks.sizes.requests * asks.sizes.sums(sums.rows())] = answers,
        value dimensions: Dimensions = asks.sizes.dimensions()?,
        value terms: Terms = sums.terms()?,
    }
    geometry(version) {
        let Sizes { toy, requests, .. } = asks.sizes;
        match version {
            Version::Fast | Version::Tf32 => Geometry::new([requests, 1, 1], ANSWER_THREADS)?.with_shared(size_of::<f32>() * toy.batch)?,
            Version::Naive => {
                Geometry::new([asks.sizes.sums(sums.rows()).div_ceil(THREADS), requests, 1], THREADS)?
            }
        }
    }
}
