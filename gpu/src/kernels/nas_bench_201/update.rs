//! The table of the kernels in `kernels/nas_bench_201/update.cu`.

use std::ops::Range;

use super::{CONSTANTS, PLAN, Plan, STRUCTS, Sizes, and, every};
use crate::device::{Buffer, Device, Geometry, Source};
use crate::error::Result;
use crate::kernels::table::int;
use crate::kernels::{Kernels, Version};

/// The module.
pub const SOURCE: Source = Source {
    name: "nas_bench_201_update",
    constants: &and::<_, { CONSTANTS.len() + 2 }>(CONSTANTS, constants![UPDATE_THREADS, PIECE]),
    descriptions: STRUCTS,
    files: &[PLAN, ("nas_bench_201/update.cu", include_str!("../../../kernels/nas_bench_201/update.cu"))],
    kernels: &[FinishGradient::SIGNATURE, ClipUpdate::SIGNATURE],
};

/// Threads of a block.
const UPDATE_THREADS: usize = 256;
/// Values of a parameter that a block of a fast version works on.
pub(crate) const PIECE: usize = 1024;

/// Parameters cut in pieces, on the device; the same for all passes.
#[derive(Debug)]
pub struct Pieces {
    count: usize,
    /// Floats of a trial's weights up to the end of the last parameter.
    end: usize,
    parameters: usize,
    /// `[count, 4]`: parameter, where it begins in the weights, its length, the first value.
    buffer: Buffer<u32>,
}

impl Pieces {
    /// Parameters that lie there in a trial's weights; in the order of the plan's.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for sizes that kernels can't count; what the device reports.
    pub fn new(device: &Device, ranges: &[Range<usize>]) -> Result<Self> {
        let mut words = Vec::new();
        for (parameter, range) in ranges.iter().enumerate() {
            for first in (0..range.len()).step_by(PIECE) {
                for word in [parameter, range.start, range.len(), first] {
                    words.push(int("weights of a trial", word)?.unsigned_abs());
                }
            }
        }
        let end = ranges.iter().map(|range| range.end).max().unwrap_or(0);
        Ok(Self {
            count: words.len() / Self::WORDS,
            end,
            parameters: ranges.len(),
            buffer: device.upload("pieces of parameters", &words)?,
        })
    }

    /// Words of a piece.
    pub(crate) const WORDS: usize = 4;

    /// How many there are of parameters that lie there.
    #[must_use]
    pub(crate) fn count_of(ranges: &[Range<usize>]) -> usize {
        ranges.iter().map(|range| range.len().div_ceil(PIECE)).sum()
    }

    /// How many there are, at least one if there is a parameter.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Panics if they are not those of the plan.
    fn expect(&self, plan: &Plan) {
        let Sizes { take_words, plan: words, weights, .. } = plan.sizes();
        let parameters = (words - take_words) as usize / super::Take::WORDS;
        assert_eq!(parameters, self.parameters, "parameters of plan and pieces");
        assert!(weights as usize >= self.end, "weights of a trial: {weights}, the pieces end at {}", self.end);
    }
}

kernel! {
    /// The gradients of all parameters that take part: their slices added up, with decay; zero of the others. And the sums of their squares.
    // SAFETY: the pieces were cut from parameters within a trial's weights; the plan's partial gradients have `slices` times a parameter's length.
    unsafe pub struct FinishGradient<'a>: "finish_gradient", "finish_gradient_naive";
    // Slices are added up, and squares in double precision. Parameters and their slices begin within a sector.
    expects { threads: UPDATE_THREADS, dynamic_shared: 0, blocks: 8, arithmetic: 0, global_loads: 8, unfused: 8, shared_waves: 100, global_sectors: 130, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// The parameters.
        pieces: &'a Pieces,
        /// `[lanes, sizes.partials]`
        partials: &'a Buffer<f32>,
        /// `[trials, sizes.weights]`
        weights: &'a Buffer<f32>,
        /// `[trials, sizes.weights]`
        gradients: &'a mut Buffer<f32>,
        /// `[lanes, pieces]`
        squares: &'a mut Buffer<f64>,
        /// Weight decay; exactly 0 for none.
        decay: f32,
    }
    requires {
        let sizes = plan.sizes();
        pieces.expect(plan);
    }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads pieces: u32[pieces.count * 4] = &pieces.buffer,
        reads partials: f32[every(sizes.lanes, sizes.partials)] = partials,
        reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
        writes gradients: f32[every(sizes.trials, sizes.weights)] = gradients,
        writes squares: f64[sizes.lanes as usize * pieces.count] = squares,
        value sizes: Sizes = sizes,
        value count: i32 = int("pieces of parameters", pieces.count)?,
        value decay: f32 = decay,
    }
    geometry(version) {
        let blocks = match version {
            Version::Fast | Version::Tf32 => pieces.count,
            Version::Naive => pieces.count.div_ceil(UPDATE_THREADS),
        };
        Geometry::new([blocks, 1, sizes.lanes as usize], UPDATE_THREADS)?
    }
}

kernel! {
    /// Clips the gradients to a norm and descends along them, see [`Sgd`](advantage_nas::network::Sgd); what takes no part stays as it is. No two
    /// lanes may be of the same trial.
    // SAFETY: the pieces were cut from parameters within a trial's weights.
    unsafe pub struct ClipUpdate<'a>: "clip_update", "clip_update_naive";
    // The gradient is multiplied before it is added to the velocity, as on the CPU; the only loop adds squares in double precision.
    expects { threads: UPDATE_THREADS, dynamic_shared: 0, blocks: 8, arithmetic: 0, global_loads: 16, unfused: 0, shared_waves: 100, global_sectors: 130, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// The parameters.
        pieces: &'a Pieces,
        /// `[trials, sizes.weights]`, as [`FinishGradient`] leaves them.
        gradients: &'a Buffer<f32>,
        /// `[lanes, pieces]`, as [`FinishGradient`] leaves them.
        squares: &'a Buffer<f64>,
        /// `[lanes]`: the learning rates.
        rates: &'a Buffer<f32>,
        /// `[trials, sizes.weights]`
        velocities: &'a mut Buffer<f32>,
        /// `[trials, sizes.weights]`
        weights: &'a mut Buffer<f32>,
        /// `[lanes]`: norms of the gradients before clipping, decay included.
        norms: &'a mut Buffer<f64>,
        /// Nesterov momentum.
        momentum: f32,
        /// Largest norm of a gradient.
        clip: f64,
    }
    requires {
        let sizes = plan.sizes();
        pieces.expect(plan);
    }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads pieces: u32[pieces.count * 4] = &pieces.buffer,
        reads gradients: f32[every(sizes.trials, sizes.weights)] = gradients,
        reads squares: f64[sizes.lanes as usize * pieces.count] = squares,
        reads rates: f32[sizes.lanes as usize] = rates,
        writes velocities: f32[every(sizes.trials, sizes.weights)] = velocities,
        writes weights: f32[every(sizes.trials, sizes.weights)] = weights,
        writes norms: f64[sizes.lanes as usize] = norms,
        value sizes: Sizes = sizes,
        value count: i32 = int("pieces of parameters", pieces.count)?,
        value momentum: f32 = momentum,
        value clip: f64 = clip,
    }
    geometry(version) {
        let blocks = match version {
            Version::Fast | Version::Tf32 => pieces.count,
            Version::Naive => pieces.count.div_ceil(UPDATE_THREADS),
        };
        Geometry::new([blocks, 1, sizes.lanes as usize], UPDATE_THREADS)?
    }
}
