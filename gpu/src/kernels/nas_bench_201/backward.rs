//! The table of the kernels in `kernels/nas_bench_201/backward.cu`: gradients of nodes, and derivatives by the weights of edges.

use super::{CONSTANTS, Head, PLAN, Plan, STRUCTS, Shape, Sizes, Target, and, every, tiles};
use crate::device::{Buffer, Device, Geometry, Source};
use crate::error::Result;
use crate::kernels::table::int;
use crate::kernels::{ASYNC, Kernels, MMA, Version};

/// The module.
pub const SOURCE: Source = Source {
    name: "nas_bench_201_backward",
    constants: &and::<_, { CONSTANTS.len() + 6 }>(
        CONSTANTS,
        constants![BACK_CHANNELS, BACK_THREADS, BACK_UP_THREADS, BACK_FACTORS, NAIVE_THREADS, ANSWER_THREADS],
    ),
    descriptions: &and::<_, { STRUCTS.len() + 2 }>(STRUCTS, &[Target::STRUCT, Answering::STRUCT]),
    files: &[
        ASYNC,
        MMA,
        PLAN,
        ("nas_bench_201/backward.cu", include_str!("../../../kernels/nas_bench_201/backward.cu")),
        ("nas_bench_201/backward_tf32.cu", include_str!("../../../kernels/nas_bench_201/backward_tf32.cu")),
    ],
    kernels: &[
        Back32::SIGNATURE,
        Back16::SIGNATURE,
        Back8::SIGNATURE,
        BackUp32::SIGNATURE,
        BackUp16::SIGNATURE,
        BackLast::SIGNATURE,
        Answers::SIGNATURE,
    ],
};

/// Channels of the node that a block of the fast versions works on.
const BACK_CHANNELS: usize = 16;
/// Threads of a block of the fast versions where convolutions have stride 1, and of `back_last`.
const BACK_THREADS: usize = 256;
/// Threads of a block of the fast versions where convolutions have stride 2.
const BACK_UP_THREADS: usize = 128;
/// Output channels whose batch norms' factors a block has room for; slots have at most as many, and are taken together as far as they fit.
const BACK_FACTORS: usize = 256;
/// Threads of a block of the naive versions.
const NAIVE_THREADS: usize = 128;
/// Threads of a block of `answers`.
const ANSWER_THREADS: usize = 512;

description! {
    /// How many answers there are, and what they are summed over.
    pub struct Answering {
        /// Cells of the network.
        cells: i32,
        /// Edges of a cell.
        edges: i32,
        /// Candidates of an edge.
        candidates: i32,
        /// Nothing.
        spare: i32,
    }
}

/// The nodes that the edges of all cells lead to, on the device.
#[derive(Debug)]
pub struct Targets {
    answering: Answering,
    buffer: Buffer<u32>,
}

impl Targets {
    /// Those of all cells, `[cells, edges]`.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) for sizes that kernels can't count; what the device reports.
    ///
    /// # Panics
    /// If the cells are not whole.
    pub fn new(device: &Device, edges: usize, candidates: usize, targets: &[Target]) -> Result<Self> {
        assert!(targets.len().is_multiple_of(edges), "{} targets of {edges} edges", targets.len());
        let mut words = vec![0; targets.len() * Target::WORDS];
        for (target, words) in targets.iter().zip(words.chunks_exact_mut(Target::WORDS)) {
            target.write(words);
        }
        let answering = Answering {
            cells: int("cells", targets.len() / edges)?,
            edges: int("edges of a cell", edges)?,
            candidates: int("candidates of an edge", candidates)?,
            spare: 0,
        };
        Ok(Self { answering, buffer: device.upload("targets of the edges", &words)? })
    }

    /// Answers of a lane, `edges · candidates`.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.answering.edges as usize * self.answering.candidates as usize
    }

    /// Words of all of them.
    fn words(&self) -> usize {
        self.answering.cells as usize * self.answering.edges as usize * Target::WORDS
    }
}

/// Blocks of a launch for the tiles of a node.
fn geometry(sizes: &Sizes, side: usize, channels: i32, threads: usize, version: Version) -> Result<Geometry> {
    let channels = channels as usize;
    let (channels, threads) = match version {
        Version::Fast | Version::Tf32 => (channels.div_ceil(BACK_CHANNELS), threads),
        Version::Naive => (channels, NAIVE_THREADS),
    };
    Geometry::new([tiles(side, sizes.batch as usize), channels, sizes.lanes as usize], threads)
}

/// The entry of `back` for a side and a stride.
///
/// All loads of shared memory are free of conflicts but one of `back_up_32`: the fifth pixels of 16 strips begin in 8 banks, so two by two. Filters
/// are stored at distances of 20 words, two at a time into one bank; the column of zeros behind the last one where the rows begin, up to three.
/// Of global memory, quads in the sums and poolings are loaded by four loads in the software device's code, each of a quarter of its sectors;
/// and the neighbours of quads that poolings need are each in a sector of their own.
macro_rules! back {
    (
        $(#[$meta:meta])*
        $launch:ident: $fast:literal, $naive:literal $(, tf32 $tf32:literal)?, side $side:literal, threads $threads:ident;
        expects { $($expectation:tt)* }
        $(tf32 expects { $($tensor_expectation:tt)* })?
    ) => {
        kernel! {
            $(#[$meta])*
            // SAFETY: images up to the plan's, at most `sizes.batch`; within a lane or trial at the offsets of plan and shape, which lie within the
            // sizes; tiles of the node's side, which is checked, channels up to the shape's.
            unsafe pub struct $launch<'a>: $fast, $naive $(, tf32 $tf32)?;
            expects { $($expectation)* }
            $(tf32 expects { $($tensor_expectation)* })?
            given {
                /// The plan of the pass. In the tensors, its offsets are multiples of 4.
                plan: &'a Plan,
                /// `[trials, sizes.weights]`
                weights: &'a Buffer<f32>,
                /// `[lanes, sizes.tensors]`
                tensors: &'a mut Buffer<f32>,
                /// `[lanes, sizes.sums]`
                sums: &'a mut Buffer<f32>,
                /// `[lanes, sizes.norms]`
                norms: &'a Buffer<f32>,
                /// The node.
                shape: Shape,
            }
            requires {
                let sizes = plan.sizes();
                assert_eq!(shape.side, $side, "the side of node {}", shape.node);
                assert!(shape.outputs as usize <= BACK_FACTORS, "{} channels behind node {}", shape.outputs, shape.node);
            }
            parameters {
                reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
                reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
                writes tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
                writes sums: f32[every(sizes.lanes, sizes.sums)] = sums,
                reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
                value sizes: Sizes = sizes,
                value shape: Shape = shape,
            }
            geometry(version) {
                geometry(&sizes, $side, shape.channels, $threads, version)?
            }
        }
    };
}

back! {
    /// The gradient of a node of 32×32 pixels, gathered from all that reads it, and sums over it.
    Back32: "back_32", "back_32_naive", tf32 "back_32_tf32", side 32, threads BACK_THREADS;
    expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 180, global_sectors: 700, }
    tf32 expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 38, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 700, }
}

back! {
    /// The same of 16×16 pixels.
    Back16: "back_16", "back_16_naive", tf32 "back_16_tf32", side 16, threads BACK_THREADS;
    expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 180, global_sectors: 700, }
    tf32 expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 38, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 700, }
}

back! {
    /// The same of 8×8 pixels.
    Back8: "back_8", "back_8_naive", tf32 "back_8_tf32", side 8, threads BACK_THREADS;
    expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 180, global_sectors: 700, }
    tf32 expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 38, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 700, }
}

back! {
    /// The gradient of a node of 32×32 pixels that is read by convolutions of stride 2.
    BackUp32: "back_up_32", "back_up_32_naive", side 32, threads BACK_UP_THREADS;
    expects { threads: BACK_UP_THREADS, dynamic_shared: 0, blocks: 3, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 300, global_sectors: 700, }
}

back! {
    /// The same of 16×16 pixels.
    BackUp16: "back_up_16", "back_up_16_naive", side 16, threads BACK_UP_THREADS;
    expects { threads: BACK_UP_THREADS, dynamic_shared: 0, blocks: 3, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 200, global_sectors: 700, }
}

kernel! {
    /// The gradient of the last node, of 8×8 pixels, out of the head, and sums over it.
    // SAFETY: as of `Back8`.
    unsafe pub struct BackLast<'a>: "back_last", "back_last_naive";
    // A load and a store of 16 bytes for each quad; no loop with arithmetic.
    expects { threads: BACK_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 0, global_loads: 40, unfused: 40, shared_waves: 100, global_sectors: 700, }
    given {
        /// The plan of the pass. In the tensors, its offsets are multiples of 4.
        plan: &'a Plan,
        /// `[trials, sizes.weights]`
        weights: &'a Buffer<f32>,
        /// `[lanes, sizes.tensors]`
        tensors: &'a mut Buffer<f32>,
        /// `[lanes, sizes.sums]`
        sums: &'a mut Buffer<f32>,
        /// `[lanes, sizes.norms]`
        norms: &'a Buffer<f32>,
        /// The head.
        head: Head,
    }
    requires {
        let sizes = plan.sizes();
        assert_eq!(head.side, 8, "the side of the last node");
    }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
        writes tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
        writes sums: f32[every(sizes.lanes, sizes.sums)] = sums,
        reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
        value sizes: Sizes = sizes,
        value head: Head = head,
    }
    geometry(version) {
        geometry(&sizes, 8, head.channels, BACK_THREADS, version)?
    }
}

kernel! {
    /// The derivatives of the loss with respect to the weights of the edges; zero where they are not asked.
    // SAFETY: targets of every edge and cell; within a lane at the offsets of plan and targets, which lie within the sizes.
    unsafe pub struct Answers<'a>: "answers";
    // Sums in double precision.
    expects { threads: ANSWER_THREADS, dynamic_shared: 0, blocks: 2, arithmetic: 0, global_loads: 16, unfused: 0, shared_waves: 100, global_sectors: 400, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// Where the edges lead to.
        targets: &'a Targets,
        /// `[lanes, sizes.sums]`
        sums: &'a Buffer<f32>,
        /// `[lanes, sizes.norms]`
        norms: &'a Buffer<f32>,
        /// `[lanes, edges, candidates]`
        out: &'a mut Buffer<f64>,
    }
    requires { let sizes = plan.sizes(); }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads targets: u32[targets.words()] = &targets.buffer,
        reads sums: f32[every(sizes.lanes, sizes.sums)] = sums,
        reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
        writes out: f64[every(sizes.lanes, targets.answers() as u32)] = out,
        value sizes: Sizes = sizes,
        value answering: Answering = targets.answering,
    }
    geometry(_version) {
        Geometry::new([targets.answers(), 1, sizes.lanes as usize], ANSWER_THREADS)?
    }
}
