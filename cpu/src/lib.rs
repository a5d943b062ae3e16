//! The supernets of AdvantageNAS on the CPU: layers and networks with forward and backward pass, generic over `f32` and `f64`.
//!
//! Built from the descriptions in [`advantage_nas::network`]; no estimators, no strategies and no files here. The toy supernet runs
//! on the thread that calls it, the others on as many as they are told; no result depends on the number of threads.

#![forbid(unsafe_code)]

mod compiled;
mod element;
mod layer;
mod matrix;
pub mod nas_bench_201;
pub mod recurrent;
mod stored;
pub mod toy;
mod weights;
mod workers;

pub use compiled::Compiled;
pub use element::Element;
pub use stored::Stored;

/// The instruction set that the supernets use on this processor, for the record of a run.
#[must_use]
pub fn cpu_features() -> String {
    struct Widths;
    impl pulp::WithSimd for Widths {
        type Output = (usize, usize);

        fn with_simd<S: pulp::Simd>(self, _simd: S) -> Self::Output {
            (S::F32_LANES, S::REGISTER_COUNT)
        }
    }
    let (lanes, registers) = pulp::Arch::new().dispatch(Widths);
    format!("{}, {lanes} lanes of f32, {registers} vector registers", std::env::consts::ARCH)
}
