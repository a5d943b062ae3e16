//! The table of the kernels in `kernels/nas_bench_201/weights.cu`.

use super::{CONSTANTS, PLAN, Plan, SPLITS_8, SPLITS_16, SPLITS_32, STRUCTS, Sample, Sizes, and, every};
use crate::device::{Buffer, Geometry, Source};
use crate::error::Result;
use crate::kernels::table::int;
use crate::kernels::{Kernels, MMA, Version};

/// The module.
pub const SOURCE: Source = Source {
    name: "nas_bench_201_weights",
    constants: &and::<_, { CONSTANTS.len() + 3 }>(CONSTANTS, constants![WEIGHT_THREADS, WEIGHT_TILE, IMAGE_WORDS]),
    descriptions: STRUCTS,
    files: &[
        MMA,
        PLAN,
        ("nas_bench_201/weights.cu", include_str!("../../../kernels/nas_bench_201/weights.cu")),
        ("nas_bench_201/weights_tf32.cu", include_str!("../../../kernels/nas_bench_201/weights_tf32.cu")),
    ],
    kernels: &[
        Weights32::SIGNATURE,
        Weights16::SIGNATURE,
        Weights8::SIGNATURE,
        WeightsDown16::SIGNATURE,
        WeightsDown8::SIGNATURE,
        WeightsStem::SIGNATURE,
    ],
};

/// Threads of a block.
const WEIGHT_THREADS: usize = 256;
/// Input and output channels of a block of a fast version.
const WEIGHT_TILE: usize = 16;
/// Words of an image on the device: `[3, 32, 32]` bytes.
pub const IMAGE_WORDS: usize = 768;
/// Values `[3, 256]` that bytes stand for.
pub const TABLE: usize = 768;

/// The most channels that a convolution of a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Of its inputs.
    pub inputs: usize,
    /// Of its outputs.
    pub outputs: usize,
}

impl Channels {
    /// Blocks along a grid's second dimension.
    fn blocks(self, version: Version) -> usize {
        let Self { inputs, outputs } = self;
        match version {
            Version::Fast | Version::Tf32 => inputs.div_ceil(WEIGHT_TILE) * outputs.div_ceil(WEIGHT_TILE),
            // Of 3×3 filters; of larger ones a thread has more than one weight.
            Version::Naive => (inputs * outputs * 9).div_ceil(WEIGHT_THREADS),
        }
    }
}

/// The entries of convolutions that read nodes.
macro_rules! entries {
    ($($(#[$meta:meta])* $launch:ident: $fast:literal, $naive:literal, $splits:expr, $blocks:literal, $arithmetic:literal $(, tf32 $tf32:literal, $share:literal)?;)*) => { $(
        kernel! {
            $(#[$meta])*
            // SAFETY: the list names slots of the plan; images up to the plan's, at most `sizes.batch`; within a lane or trial at the offsets of the
            // plan, which lie within the sizes; channels up to the slot's.
            unsafe pub struct $launch<'a>: $fast, $naive $(, tf32 $tf32)?;
            // Filters and gradients of a channel begin within a sector. Rows of 16 and of 8 numbers are stored two and four at a time, partly to the same banks,
            // as are their borders; two lanes at a time load the columns that a line begins with, and what is added up in the end.
            expects { threads: WEIGHT_THREADS, dynamic_shared: 0, blocks: $blocks, arithmetic: $arithmetic, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 150, }
            $(tf32 expects { threads: WEIGHT_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: $share, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 150, })?
            given {
                /// The plan of the pass.
                plan: &'a Plan,
                /// Numbers of the convolutions, at least one: all values of the buffer.
                slots: &'a Buffer<u32>,
                /// The most channels that they have.
                channels: Channels,
                /// `[lanes, sizes.tensors]`
                tensors: &'a Buffer<f32>,
                /// `[lanes, sizes.sums]`
                sums: &'a Buffer<f32>,
                /// `[lanes, sizes.norms]`
                norms: &'a Buffer<f32>,
                /// `[trials, sizes.weights]`
                weights: &'a Buffer<f32>,
                /// `[lanes, sizes.partials]`
                partials: &'a mut Buffer<f32>,
            }
            requires { let sizes = plan.sizes(); }
            parameters {
                reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
                reads slots: u32[slots.len()] = slots,
                reads tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
                reads sums: f32[every(sizes.lanes, sizes.sums)] = sums,
                reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
                reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
                writes partials: f32[every(sizes.lanes, sizes.partials)] = partials,
                value sizes: Sizes = sizes,
                value input_blocks: i32 = int("blocks of input channels", channels.inputs.div_ceil(WEIGHT_TILE))?,
            }
            geometry(version) {
                Geometry::new([slots.len() * $splits, channels.blocks(version), sizes.lanes as usize], WEIGHT_THREADS)?
            }
        }
    )* };
}

entries! {
    /// Gradients of the filters of convolutions with outputs of 32×32 pixels and stride 1, in [`SPLITS_32`] parts; and of scale and shift behind them.
    Weights32: "weights_32", "weights_32_naive", SPLITS_32, 2, 91, tf32 "weights_32_tf32", 22;
    /// The same with outputs of 16×16 pixels, in [`SPLITS_16`] parts.
    Weights16: "weights_16", "weights_16_naive", SPLITS_16, 2, 91, tf32 "weights_16_tf32", 22;
    /// The same with outputs of 8×8 pixels, in [`SPLITS_8`] parts.
    Weights8: "weights_8", "weights_8_naive", SPLITS_8, 2, 88, tf32 "weights_8_tf32", 22;
    /// The same with outputs of 16×16 pixels and stride 2, in [`SPLITS_16`] parts.
    WeightsDown16: "weights_down_16", "weights_down_16_naive", SPLITS_16, 2, 91;
    /// The same with outputs of 8×8 pixels and stride 2, in [`SPLITS_8`] parts.
    WeightsDown8: "weights_down_8", "weights_down_8_naive", SPLITS_8, 2, 88;
}

kernel! {
    /// Gradients of the filters of the convolution that reads the images, in [`SPLITS_32`] parts; and of scale and shift behind it.
    // SAFETY: as of those that read nodes; samples name images that there are.
    unsafe pub struct WeightsStem<'a>: "weights_stem", "weights_stem_naive";
    // Values of bytes are looked up wherever they lie; bytes begin within a sector. Once a block, half a warp at a time adds its sums.
    expects { threads: WEIGHT_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 91, global_loads: 0, unfused: 0, shared_waves: 300, global_sectors: 200, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// The convolution's slot.
        slot: u32,
        /// Its output channels.
        outputs: usize,
        /// `[images, IMAGE_WORDS]`: the bytes of all images on the device.
        images: &'a Buffer<u32>,
        /// `[lanes, batch]` [`Sample`]s.
        samples: &'a Buffer<u32>,
        /// `[3, 256]`: what bytes stand for.
        table: &'a Buffer<f32>,
        /// `[lanes, sizes.tensors]`
        tensors: &'a Buffer<f32>,
        /// `[lanes, sizes.sums]`
        sums: &'a Buffer<f32>,
        /// `[lanes, sizes.norms]`
        norms: &'a Buffer<f32>,
        /// `[trials, sizes.weights]`
        weights: &'a Buffer<f32>,
        /// `[lanes, sizes.partials]`
        partials: &'a mut Buffer<f32>,
    }
    requires {
        let sizes = plan.sizes();
        assert!((slot as usize) < sizes.slots as usize, "slot {slot} of {}", sizes.slots);
    }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads images: u32[IMAGE_WORDS] = images,
        reads samples: u32[every(sizes.lanes, sizes.batch as u32) * Sample::WORDS] = samples,
        reads table: f32[TABLE] = table,
        reads tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
        reads sums: f32[every(sizes.lanes, sizes.sums)] = sums,
        reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
        reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
        writes partials: f32[every(sizes.lanes, sizes.partials)] = partials,
        value sizes: Sizes = sizes,
        value slot_number: u32 = slot,
    }
    geometry(version) {
        Geometry::new([SPLITS_32, Channels { inputs: 3, outputs }.blocks(version), sizes.lanes as usize], WEIGHT_THREADS)?
    }
}
