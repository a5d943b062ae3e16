//! The table of the kernels in `kernels/nas_bench_201/forward.cu` and `forward_tf32.cu`.

use advantage_nas::network::nas_bench_201::{CHANNELS as COLOURS, IMAGE, PADDING, PIXELS};

use super::{CONSTANTS, Head, PLAN, Plan, STRUCTS, Sample, Shape, Sizes, TILE_ROWS, and, tiles};
use crate::device::source::Constant;
use crate::device::{Buffer, Geometry, Source};
use crate::error::Result;
use crate::kernels::table::int;
use crate::kernels::{Kernels, MMA, Version};

/// The module.
pub const SOURCE: Source = Source {
    name: "nas_bench_201_forward",
    constants: &and::<_, { CONSTANTS.len() + OWN.len() }>(CONSTANTS, OWN),
    descriptions: STRUCTS,
    files: &[
        MMA,
        PLAN,
        ("nas_bench_201/forward.cu", include_str!("../../../kernels/nas_bench_201/forward.cu")),
        ("nas_bench_201/forward_tf32.cu", include_str!("../../../kernels/nas_bench_201/forward_tf32.cu")),
    ],
    kernels: &[
        Node32::SIGNATURE,
        Node16::SIGNATURE,
        Node8::SIGNATURE,
        NodeDown16::SIGNATURE,
        NodeDown8::SIGNATURE,
        Stem::SIGNATURE,
        LastNode::SIGNATURE,
    ],
};

/// Pixels of a row that a thread has.
const STRIP: usize = 8;
/// Output channels that a block has.
const OUTPUTS: usize = 16;
/// Floats from tap to tap in shared memory.
const TAP_PITCH: usize = OUTPUTS + 4;
/// Taps of the filters of the fast versions.
const TAPS: usize = 9;
/// Threads of a warp.
const WARP: usize = 32;
/// Threads of a block of the naive versions.
const NAIVE_THREADS: usize = 256;
/// Channels of a block of the fast `last_node`.
const LAST_CHANNELS: usize = 8;
/// Height and width of the last node, which is behind two reductions.
const LAST_SIDE: usize = IMAGE / 4;
/// Bytes of what a block keeps of a (term, channel), and of two terms.
const AFFINE: usize = 16;
/// See [`AFFINE`].
const LAYERS: usize = 16;
/// Floats of what the kernels call a Block.
const BLOCK: usize = 8;
/// Input channels of a product by tensor cores.
const TENSOR_STEP: usize = 8;
/// Words from tap to tap, of filters for such products.
const FRAGMENT: usize = 4 * WARP + 4;

/// What this module's kernels know beside [`CONSTANTS`].
const OWN: &[Constant] = constants![
    STRIP,
    OUTPUTS,
    IMAGE,
    PIXELS,
    PADDING,
    COLOURS,
    LAST_SIDE,
    SLOTS_32 = NODE_32.slots,
    SLICES_32 = NODE_32.slices,
    CHUNK_32 = NODE_32.chunk,
    FLOATS_32 = NODE_32.floats(NODE_32.slots),
    SLOTS_16 = NODE_16.slots,
    SLICES_16 = NODE_16.slices,
    CHUNK_16 = NODE_16.chunk,
    FLOATS_16 = NODE_16.floats(NODE_16.slots),
    SLOTS_8 = NODE_8.slots,
    SLICES_8 = NODE_8.slices,
    CHUNK_8 = NODE_8.chunk,
    FLOATS_8 = NODE_8.floats(NODE_8.slots),
    SLOTS_DOWN_16 = DOWN_16.slots,
    SLICES_DOWN_16 = DOWN_16.slices,
    CHUNK_DOWN_16 = DOWN_16.chunk,
    FLOATS_DOWN_16 = DOWN_16.floats(DOWN_16.slots),
    SLOTS_DOWN_8 = DOWN_8.slots,
    SLICES_DOWN_8 = DOWN_8.slices,
    CHUNK_DOWN_8 = DOWN_8.chunk,
    FLOATS_DOWN_8 = DOWN_8.floats(DOWN_8.slots),
    SLOTS_STEM = STEM.slots,
    SLICES_STEM = STEM.slices,
    CHUNK_STEM = STEM.chunk,
    FLOATS_STEM = STEM.floats(STEM.slots),
    FLOATS_TF32_32 = NODE_32.tensor_floats(NODE_32.slots),
    FLOATS_TF32_16 = NODE_16.tensor_floats(NODE_16.slots),
    FLOATS_TF32_8 = NODE_8.tensor_floats(NODE_8.slots),
];

/// How blocks share the convolutions of a node: the struct of the same name in the kernels' text, which asserts that both agree.
struct Work {
    /// Height and width of the outputs.
    side: usize,
    stride: usize,
    /// Slots of a block at most.
    slots: usize,
    /// Groups of warps that share the channels of a chunk.
    slices: usize,
    /// Input channels of a group in a chunk.
    chunk: usize,
}

const NODE_32: Work = Work { side: 32, stride: 1, slots: 3, slices: 1, chunk: 4 };
const NODE_16: Work = Work { side: 16, stride: 1, slots: 3, slices: 2, chunk: 4 };
const NODE_8: Work = Work { side: 8, stride: 1, slots: 3, slices: 4, chunk: 2 };
// A node has one convolution of stride 2.
const DOWN_16: Work = Work { side: 16, stride: 2, slots: 1, slices: 4, chunk: 2 };
const DOWN_8: Work = Work { side: 8, stride: 2, slots: 1, slices: 4, chunk: 2 };
const STEM: Work = Work { side: IMAGE, stride: 1, slots: 1, slices: 1, chunk: 4 };

impl Work {
    /// Images of a tile.
    const fn images(&self) -> usize {
        if self.side < 16 { 2 } else { 1 }
    }

    /// Height and width of the node.
    const fn input(&self) -> usize {
        self.side * self.stride
    }

    /// Warps that have a tile's strips.
    const fn strip_warps(&self) -> usize {
        self.images() * TILE_ROWS * self.side / STRIP / 16
    }

    /// Threads of a block with so many slots.
    const fn threads(&self, slots: usize) -> usize {
        WARP * slots * self.slices * self.strip_warps() * OUTPUTS / 8
    }

    /// Floats of shared memory for so many slots, without the terms.
    const fn floats(&self, slots: usize) -> usize {
        let rows = self.stride * TILE_ROWS + if self.stride == 1 { 2 } else { 1 };
        let plane = self.images() * rows * (self.input() + 4) + 4;
        let moments = if self.strip_warps() > 1 { 2 * self.strip_warps() * OUTPUTS } else { 0 };
        2 * self.slices * self.chunk * (plane + slots * TAPS * TAP_PITCH) + slots * moments + BLOCK
    }

    /// The same with products by tensor cores, whose blocks have as many warps.
    const fn tensor_floats(&self, slots: usize) -> usize {
        let (lines, behind) =
            if self.images() == 1 { (TILE_ROWS + 2, 0) } else { (self.images() * (TILE_ROWS + 1), 1) };
        let line = 2 * (self.side + 2);
        let tile = self.slices * TENSOR_STEP / 2 * lines * line + behind * line + 4;
        let moments = 2 * self.images() * self.side / 8 * OUTPUTS;
        2 * (tile + slots * self.slices * TAPS * FRAGMENT) + slots * moments + BLOCK
    }

    /// Bytes of shared memory for so many slots and terms.
    const fn shared(&self, slots: usize, terms: usize, channels: usize) -> usize {
        size_of::<f32>() * self.floats(slots) + terms_shared(terms, channels)
    }

    /// The same with products by tensor cores.
    const fn tensor_shared(&self, slots: usize, terms: usize, channels: usize) -> usize {
        size_of::<f32>() * self.tensor_floats(slots) + terms_shared(terms, channels)
    }

    /// Blocks of a launch for a node.
    fn geometry(&self, sizes: &Sizes, shape: &Shape, version: Version) -> Result<Geometry> {
        let [slots, channels, outputs] = [shape.slots.max(1), shape.channels, shape.outputs].map(|size| size as usize);
        let [batch, terms, lanes] = [sizes.batch, sizes.terms, sizes.lanes].map(|size| size as usize);
        let tiles = tiles(self.side, batch);
        match version {
            Version::Fast | Version::Tf32 => {
                let groups = slots.div_ceil(self.slots);
                let room = slots.div_ceil(groups);
                let blocks = outputs.div_ceil(OUTPUTS).max(1) * groups;
                let geometry = Geometry::new([tiles, blocks, lanes], self.threads(room))?;
                geometry.with_shared(match version {
                    Version::Tf32 => self.tensor_shared(room, terms, channels),
                    _ => self.shared(room, terms, channels),
                })
            }
            Version::Naive => {
                let plane = size_of::<f32>() * self.images() * self.input() * self.input();
                Geometry::new([tiles, slots, lanes], NAIVE_THREADS)?.with_shared(plane + terms_shared(terms, channels))
            }
        }
    }
}

/// Bytes of shared memory for what is kept of so many terms.
const fn terms_shared(terms: usize, channels: usize) -> usize {
    terms * AFFINE * channels + terms.div_ceil(2) * LAYERS
}

/// Terms of a node of the paper's network, if every edge has one candidate.
const PAPER_TERMS: usize = 3;

/// A kernel for nodes of one side.
macro_rules! node {
    (
        $(#[$meta:meta])*
        $launch:ident: $fast:literal, $naive:literal $(, tf32 $tf32:literal)?, work $work:ident;
        expects { channels: $channels:expr, $($expectation:ident: $expected:expr,)* }
        $(tf32 expects { channels: $tensor_channels:expr, $($tensor_expectation:ident: $tensor_expected:expr,)* })?
    ) => {
        kernel! {
            $(#[$meta])*
            ///
            /// Blocks of the fast version know filters of 1×1 and 3×3, those of the naive one any odd size.
            // SAFETY: a lane's plan says where tensors, sums, norms and weights are; its author keeps them within the sizes. What is written are
            // the node's value, z and statistics of its slots, norms and running statistics of its terms.
            unsafe pub struct $launch<'a>: $fast, $naive $(, tf32 $tf32)?;
            expects {
                threads: $work.threads($work.slots),
                dynamic_shared: $work.shared($work.slots, PAPER_TERMS, $channels),
                $($expectation: $expected,)*
            }
            $(tf32 expects {
                threads: $work.threads($work.slots),
                dynamic_shared: $work.tensor_shared($work.slots, PAPER_TERMS, $tensor_channels),
                $($tensor_expectation: $tensor_expected,)*
            })?
            given {
                /// The plan of the pass.
                plan: &'a Plan,
                /// Weights of the trials.
                weights: &'a Buffer<f32>,
                /// Tensors of the lanes: terms are read, value and z are written.
                tensors: &'a mut Buffer<f32>,
                /// Sums of the lanes: statistics of terms are read, of z written.
                sums: &'a mut Buffer<f32>,
                /// Norms of the lanes.
                norms: &'a mut Buffer<f32>,
                /// Running statistics of the trials.
                running: &'a mut Buffer<f64>,
                /// The node.
                shape: Shape,
            }
            requires {
                let sizes = plan.sizes();
                assert_eq!(shape.side as usize, $work.input(), "the node's side");
            }
            parameters {
                reads plan: u32[sizes.lanes as usize * sizes.plan as usize] = plan.buffer(),
                reads weights: f32[sizes.trials as usize * sizes.weights as usize] = weights,
                writes tensors: f32[sizes.lanes as usize * sizes.tensors as usize] = tensors,
                writes sums: f32[sizes.lanes as usize * sizes.sums as usize] = sums,
                writes norms: f32[sizes.lanes as usize * sizes.norms as usize] = norms,
                writes running: f64[sizes.trials as usize * sizes.running as usize] = running,
                value sizes: Sizes = sizes,
                value shape: Shape = shape,
            }
            geometry(version) {
                $work.geometry(&sizes, &shape, version)?
            }
        }
    };
}

// Shared memory: the two words beside a strip fall into 8 banks, two by two, and so do two rows of a small image. Global memory: 3×3 pooling loads single
// words left and right of four pixels, and a filter's row begins within a sector.
//
// With tensor cores: a product is 12 words of shared memory for 32 lanes at most, three products with each row of pixels, so that nothing but them bounds the
// loop. Filters with one tap are stored by the few lanes that have it, a wave for each eight lanes that there are; all else is free of conflicts.
node! {
    /// A node of 32×32 pixels and its convolutions.
    Node32: "node_32", "node_32_naive", tf32 "node_32_tf32", work NODE_32;
    expects { channels: 16, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 620, }
    tf32 expects { channels: 16, blocks: 2, arithmetic: 50, global_loads: 0, unfused: 0, shared_waves: 130, global_sectors: 620, }
}

node! {
    /// A node of 16×16 pixels and its convolutions.
    Node16: "node_16", "node_16_naive", tf32 "node_16_tf32", work NODE_16;
    expects { channels: 32, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 620, }
    tf32 expects { channels: 32, blocks: 2, arithmetic: 50, global_loads: 0, unfused: 0, shared_waves: 130, global_sectors: 620, }
}

node! {
    /// A node of 8×8 pixels and its convolutions.
    Node8: "node_8", "node_8_naive", tf32 "node_8_tf32", work NODE_8;
    expects { channels: 64, blocks: 1, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 620, }
    tf32 expects { channels: 64, blocks: 1, arithmetic: 50, global_loads: 0, unfused: 0, shared_waves: 130, global_sectors: 700, }
}

node! {
    /// A node of 32×32 pixels and its convolutions of stride 2.
    NodeDown16: "node_down_16", "node_down_16_naive", work DOWN_16;
    expects { channels: 16, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 620, }
}

node! {
    /// A node of 16×16 pixels and its convolutions of stride 2.
    NodeDown8: "node_down_8", "node_down_8_naive", work DOWN_8;
    expects { channels: 32, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 620, }
}

kernel! {
    /// The convolution of the images, which are node 0: bytes, cropped, flipped and normalised.
    // SAFETY: as of the nodes; of the samples, `images` of every lane are read, and an image that is not there is none.
    unsafe pub struct Stem<'a>: "stem", "stem_naive";
    // The value of a byte is looked up in a table, wherever it may be there.
    expects {
        threads: STEM.threads(STEM.slots),
        dynamic_shared: size_of::<f32>() * STEM.floats(STEM.slots),
        blocks: 4,
        arithmetic: 90,
        global_loads: 0,
        unfused: 0,
        shared_waves: 200,
        global_sectors: 600,
    }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// Images `[images, 3, 32, 32]` of bytes, four in a word, the first one lowest.
        images: &'a Buffer<u32>,
        /// Samples of the minibatches, `[lanes, batch]` of [`Sample`].
        samples: &'a Buffer<u32>,
        /// The normalised value of every byte, `[3, 256]`.
        values: &'a Buffer<f32>,
        /// Weights of the trials.
        weights: &'a Buffer<f32>,
        /// Tensors of the lanes: z is written.
        tensors: &'a mut Buffer<f32>,
        /// Sums of the lanes: statistics of z are written.
        sums: &'a mut Buffer<f32>,
        /// Node 0; its first slot is that of the stem.
        shape: Shape,
    }
    requires {
        let sizes = plan.sizes();
        let there = images.len() / (PIXELS / 4);
    }
    parameters {
        reads plan: u32[sizes.lanes as usize * sizes.plan as usize] = plan.buffer(),
        reads images: u32[there * (PIXELS / 4)] = images,
        reads samples: u32[sizes.lanes as usize * sizes.batch as usize * Sample::WORDS] = samples,
        reads values: f32[COLOURS * 256] = values,
        reads weights: f32[sizes.trials as usize * sizes.weights as usize] = weights,
        writes tensors: f32[sizes.lanes as usize * sizes.tensors as usize] = tensors,
        writes sums: f32[sizes.lanes as usize * sizes.sums as usize] = sums,
        value sizes: Sizes = sizes,
        value shape: Shape = shape,
        value there: i32 = int("images", there)?,
    }
    geometry(version) {
        let (lanes, outputs) = (sizes.lanes as usize, shape.outputs as usize);
        let tiles = tiles(IMAGE, sizes.batch as usize);
        match version {
            Version::Fast | Version::Tf32 => Geometry::new([tiles, outputs.div_ceil(OUTPUTS), lanes], STEM.threads(1))?
                .with_shared(size_of::<f32>() * STEM.floats(1))?,
            Version::Naive => Geometry::new([tiles, 1, lanes], NAIVE_THREADS)?.with_shared(size_of::<f32>() * IMAGE * IMAGE)?,
        }
    }
}

kernel! {
    /// Value and statistics of the last node.
    // SAFETY: as of the nodes; what is written are value and statistics of the head, norms and running statistics of the terms.
    unsafe pub struct LastNode<'a>: "last_node", "last_node_naive";
    // Sums in double precision, and a loop over terms of all kinds. 3×3 pooling loads single words.
    expects {
        threads: WARP * LAST_CHANNELS,
        dynamic_shared: 0,
        blocks: 4,
        arithmetic: 0,
        global_loads: 4,
        unfused: 0,
        shared_waves: 100,
        global_sectors: 670,
    }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// Weights of the trials.
        weights: &'a Buffer<f32>,
        /// Tensors of the lanes: terms are read, the value is written.
        tensors: &'a mut Buffer<f32>,
        /// Sums of the lanes: statistics of terms are read, of the value written.
        sums: &'a mut Buffer<f32>,
        /// Norms of the lanes.
        norms: &'a mut Buffer<f32>,
        /// Running statistics of the trials.
        running: &'a mut Buffer<f64>,
        /// What is behind the node.
        head: Head,
    }
    requires {
        let sizes = plan.sizes();
        assert_eq!(head.side as usize, LAST_SIDE, "the last node's side");
    }
    parameters {
        reads plan: u32[sizes.lanes as usize * sizes.plan as usize] = plan.buffer(),
        reads weights: f32[sizes.trials as usize * sizes.weights as usize] = weights,
        writes tensors: f32[sizes.lanes as usize * sizes.tensors as usize] = tensors,
        writes sums: f32[sizes.lanes as usize * sizes.sums as usize] = sums,
        writes norms: f32[sizes.lanes as usize * sizes.norms as usize] = norms,
        writes running: f64[sizes.trials as usize * sizes.running as usize] = running,
        value sizes: Sizes = sizes,
        value head: Head = head,
    }
    geometry(version) {
        let (lanes, channels, terms) = (sizes.lanes as usize, head.channels as usize, sizes.terms as usize);
        let tiles = tiles(LAST_SIDE, sizes.batch as usize);
        match version {
            Version::Fast | Version::Tf32 => Geometry::new([tiles, channels.div_ceil(LAST_CHANNELS), lanes], WARP * LAST_CHANNELS)?,
            Version::Naive => Geometry::new([tiles, 1, lanes], NAIVE_THREADS)?.with_shared(terms_shared(terms, channels))?,
        }
    }
}
