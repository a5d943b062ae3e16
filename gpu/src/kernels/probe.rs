//! The table of the kernels in `kernels/probe.cu`.

use super::table::int;
use super::{Kernels, MMA, Version};
use crate::device::{Buffer, Geometry, Source};
use crate::error::Result;

/// The module.
pub const SOURCE: Source = Source {
    name: "probe",
    constants: constants![THREADS, ACCUMULATORS, PRODUCTS, LOADS],
    descriptions: &[],
    files: &[MMA, ("probe.cu", include_str!("../../kernels/probe.cu"))],
    kernels: &[Nothing::SIGNATURE, Ffma::SIGNATURE, Tf32::SIGNATURE, UniformLoads::SIGNATURE, Reads::SIGNATURE],
};

/// Threads of a block, in every kernel but the one that does nothing.
pub const THREADS: usize = 256;
/// Sums that a thread of `probe_ffma` keeps: enough that none is waited for.
pub const ACCUMULATORS: usize = 16;
/// Products that a warp of `probe_tf32` has under way.
pub const PRODUCTS: usize = 8;
/// Loads of a step of `probe_uniform_loads`.
pub const LOADS: usize = 16;

kernel! {
    /// Does nothing.
    // SAFETY: one number is read, and perhaps written.
    unsafe pub struct Nothing<'a>: "probe_nothing";
    given {
        /// `[1]`
        done: &'a mut Buffer<u32>,
    }
    parameters {
        writes done: u32[1] = done,
    }
    geometry(_version) {
        Geometry::new([1, 1, 1], 1)?
    }
}

/// What the kernels that do arithmetic are given: they differ in what they do with it.
macro_rules! arithmetic {
    ($(#[$meta:meta])* $launch:ident, $name:literal, $($expects:tt)*) => {
        kernel! {
            $(#[$meta])*
            // SAFETY: two factors are read; every thread writes one sum, the first of a block one number of cycles.
            unsafe pub struct $launch<'a>: $name;
            $($expects)*
            given {
                /// `[2]`
                factors: &'a Buffer<f32>,
                /// `[blocks, THREADS]`
                sums: &'a mut Buffer<f32>,
                /// `[blocks]`
                cycles: &'a mut Buffer<u32>,
                /// Blocks.
                blocks: usize,
                /// Steps of every thread.
                steps: usize,
            }
            parameters {
                reads factors: f32[2] = factors,
                writes sums: f32[blocks * THREADS] = sums,
                writes cycles: u32[blocks] = cycles,
                value steps: i32 = int("steps", steps)?,
            }
            geometry(_version) {
                Geometry::new([blocks, 1, 1], THREADS)?
            }
        }
    };
}

arithmetic! {
    /// [`ACCUMULATORS`] fused multiply-adds per step and thread.
    Ffma, "probe_ffma",
    expects {
        threads: THREADS, dynamic_shared: 0, blocks: 8, arithmetic: 90, global_loads: 0, unfused: 0, shared_waves: 100, global_sectors: 100,
    }
}

arithmetic! {
    /// [`PRODUCTS`] products of 16 × 8 by 8 × 8 numbers per step and warp.
    Tf32, "probe_tf32",
    expects {
        threads: THREADS, dynamic_shared: 0, blocks: 4, arithmetic: 60, global_loads: 0, unfused: 0, shared_waves: 100, global_sectors: 100,
    }
}

arithmetic! {
    /// [`LOADS`] loads of 16 bytes from shared memory per step and thread.
    UniformLoads, "probe_uniform_loads",
}

kernel! {
    /// Reads all values so many times.
    // SAFETY: indices are below the number of fours; every thread writes one sum.
    unsafe pub struct Reads<'a>: "probe_reads";
    given {
        /// A multiple of four.
        values: &'a Buffer<f32>,
        /// How many of them, in fours.
        fours: usize,
        /// `[blocks, THREADS]`
        sums: &'a mut Buffer<f32>,
        /// Blocks.
        blocks: usize,
        /// How often.
        steps: usize,
    }
    parameters {
        reads values: f32[4 * fours] = values,
        writes sums: f32[blocks * THREADS] = sums,
        value fours: i32 = int("values to read, in fours", fours)?,
        value steps: i32 = int("steps", steps)?,
    }
    geometry(_version) {
        Geometry::new([blocks, 1, 1], THREADS)?
    }
}
