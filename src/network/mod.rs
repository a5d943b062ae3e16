//! The parent networks as data: shapes, candidates, initial weights, and what a minibatch is.
//!
//! Nothing is computed here. The backends build their supernets from these descriptions, so that both have the same numbers.
//!
//! - `toy`, `nas_bench_201`, `recurrent`: the networks of sections 5.1, 5.2, 5.3
//! - `cell`: the cell of the latter two, as operations on edges and as text
//! - `parameter`: what the weights of all of them have in common

pub mod cell;
pub mod nas_bench_201;
mod parameter;
pub mod recurrent;
pub mod toy;

pub use parameter::{Initial, Layout, Owner, Parameter, Part, Sgd, initial_values};
