//! The table of the kernels in `kernels/nas_bench_201/head.cu`.

use super::{CONSTANTS, Head, PLAN, Plan, STRUCTS, Sample, Sizes, and, every};
use crate::device::{Buffer, Geometry, Source};
use crate::error::Result;
use crate::kernels::{Kernels, Version};

/// The module.
pub const SOURCE: Source = Source {
    name: "nas_bench_201_head",
    constants: &and::<_, { CONSTANTS.len() + 1 }>(CONSTANTS, constants![HEAD_THREADS]),
    descriptions: STRUCTS,
    files: &[PLAN, ("nas_bench_201/head.cu", include_str!("../../../kernels/nas_bench_201/head.cu"))],
    kernels: &[HeadForward::SIGNATURE, HeadFinish::SIGNATURE, HeadWeights::SIGNATURE],
};

/// Threads of a block, in every kernel but `head_finish`.
const HEAD_THREADS: usize = 256;
/// Threads of a warp.
const WARP: usize = 32;

impl Head {
    /// Values that are averaged, and of the linear layer.
    fn sizes(&self) -> [usize; 2] {
        [self.channels as usize, self.classes as usize]
    }

    /// Parameters: linear layer, bias, scale, shift.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let [channels, classes] = self.sizes();
        classes * channels + classes + 2 * channels
    }
}

kernel! {
    /// Of every image the loss and whether it was right; features, logits, their gradients, and what the gradient of the batch norm needs. Moves the
    /// running statistics where that is asked.
    // SAFETY: images up to the plan's, at most `sizes.batch`; within a lane or trial at the offsets of plan and head, which lie within the sizes;
    // labels are those of classes.
    unsafe pub struct HeadForward<'a>: "head_forward", "head_forward_naive";
    // The loop with the most arithmetic goes back through the linear layer, a column of its weights a thread. What is kept per image lies a minibatch
    // apart.
    expects { threads: HEAD_THREADS, dynamic_shared: 848, blocks: 4, arithmetic: 0, global_loads: 16, unfused: 0, shared_waves: 100, global_sectors: 800, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// The head.
        head: Head,
        /// `[lanes, batch]` [`Sample`]s, of which the labels are read.
        samples: &'a Buffer<u32>,
        /// `[trials, sizes.weights]`
        weights: &'a Buffer<f32>,
        /// `[lanes, sizes.tensors]`
        tensors: &'a mut Buffer<f32>,
        /// `[lanes, sizes.sums]`
        sums: &'a mut Buffer<f32>,
        /// `[lanes, sizes.norms]`
        norms: &'a mut Buffer<f32>,
        /// `[trials, sizes.running]`
        running: &'a mut Buffer<f64>,
        /// `[lanes, batch, 2]`: loss, 1 if the largest logit is the label's.
        losses: &'a mut Buffer<f64>,
    }
    requires { let sizes = plan.sizes(); }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads samples: u32[every(sizes.lanes, sizes.batch as u32) * Sample::WORDS] = samples,
        reads weights: f32[every(sizes.trials, sizes.weights)] = weights,
        writes tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
        writes sums: f32[every(sizes.lanes, sizes.sums)] = sums,
        writes norms: f32[every(sizes.lanes, sizes.norms)] = norms,
        writes running: f64[every(sizes.trials, sizes.running)] = running,
        writes losses: f64[every(sizes.lanes, sizes.batch as u32) * 2] = losses,
        value sizes: Sizes = sizes,
        value head: Head = head,
    }
    geometry(version) {
        let (batch, lanes) = (sizes.batch as usize, sizes.lanes as usize);
        let [channels, classes] = head.sizes();
        match version {
            Version::Fast | Version::Tf32 => Geometry::new([batch, 1, lanes], HEAD_THREADS)?
                .with_shared(size_of::<f32>() * (3 * channels + 2 * classes))?,
            Version::Naive => Geometry::new([batch.div_ceil(HEAD_THREADS), 1, lanes], HEAD_THREADS)?,
        }
    }
}

kernel! {
    /// The mean loss of every lane and how many images were right, at the place that its request names.
    // SAFETY: images up to the plan's, at most `sizes.batch`; the plan names only places that there are.
    unsafe pub struct HeadFinish<'a>: "head_finish";
    // A loss and whether it was right lie side by side.
    expects { threads: WARP, dynamic_shared: 0, blocks: 16, arithmetic: 0, global_loads: 32, unfused: 0, shared_waves: 100, global_sectors: 200, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// `[lanes, batch, 2]`, as [`HeadForward`] leaves them.
        losses: &'a Buffer<f64>,
        /// How many outcomes there is room for.
        places: usize,
        /// `[places, 2]`: mean loss, number of images that were right.
        outcomes: &'a mut Buffer<f64>,
    }
    requires { let sizes = plan.sizes(); }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads losses: f64[every(sizes.lanes, sizes.batch as u32) * 2] = losses,
        writes outcomes: f64[places * 2] = outcomes,
        value sizes: Sizes = sizes,
    }
    geometry(_version) {
        Geometry::new([1, 1, sizes.lanes as usize], WARP)?
    }
}

kernel! {
    /// Gradients of linear layer, bias, scale and shift, where [`Head::partial`] says.
    // SAFETY: images up to the plan's, at most `sizes.batch`; of the partial gradients as many are written as the head has parameters.
    unsafe pub struct HeadWeights<'a>: "head_weights", "head_weights_naive";
    // Sums in double precision. What is kept per image lies a minibatch apart.
    expects { threads: HEAD_THREADS, dynamic_shared: 0, blocks: 4, arithmetic: 0, global_loads: 16, unfused: 0, shared_waves: 100, global_sectors: 800, }
    given {
        /// The plan of the pass.
        plan: &'a Plan,
        /// The head.
        head: Head,
        /// `[lanes, sizes.tensors]`
        tensors: &'a Buffer<f32>,
        /// `[lanes, sizes.sums]`
        sums: &'a Buffer<f32>,
        /// `[lanes, sizes.norms]`
        norms: &'a Buffer<f32>,
        /// `[lanes, sizes.partials]`
        partials: &'a mut Buffer<f32>,
    }
    requires { let sizes = plan.sizes(); }
    parameters {
        reads plan: u32[every(sizes.lanes, sizes.plan)] = plan.buffer(),
        reads tensors: f32[every(sizes.lanes, sizes.tensors)] = tensors,
        reads sums: f32[every(sizes.lanes, sizes.sums)] = sums,
        reads norms: f32[every(sizes.lanes, sizes.norms)] = norms,
        writes partials: f32[every(sizes.lanes, sizes.partials)] = partials,
        value sizes: Sizes = sizes,
        value head: Head = head,
    }
    geometry(version) {
        let items = match version {
            Version::Fast | Version::Tf32 => WARP,
            Version::Naive => HEAD_THREADS,
        };
        Geometry::new([head.parameters().div_ceil(items), 1, sizes.lanes as usize], HEAD_THREADS)?
    }
}
