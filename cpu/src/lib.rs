//! The supernets of AdvantageNAS on the CPU: layers and networks with forward and backward pass, generic over `f32` and `f64`.
//!
//! Built from the descriptions in [`advantage_nas::network`]; no estimators, no strategies and no files here. A supernet runs
//! on the thread that calls it; its results don't depend on how many others run beside it.

#![forbid(unsafe_code)]

mod element;
pub mod toy;

pub use element::Element;
