//! The cell search of section 5.2: the search space of NAS-Bench-201 and CIFAR-10's minibatches.
//!
//! > X. Dong, Y. Yang. *NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search.* ICLR 2020.
//!
//! - `cell`: operations, candidates; the cell and its text are in [`network::cell`](super::cell)
//! - `skeleton`: the network around the cells; parameters and FLOPs of a stand-alone network
//! - `parent`: the parent network of a search as a graph: tensors, layers, parameters
//! - `pass`: a pass over a minibatch as data: what takes part, in which order, what waits for what
//! - `training`: how the weights are trained, and on what
//! - `data`: images, halves, normalisation, minibatches, augmentation
//!
//! Files, layers and devices are elsewhere.

mod cell;
mod data;
pub mod parent;
pub mod pass;
mod skeleton;
mod training;

pub use cell::{Candidates, Cell, Operation};
pub use data::{BATCH, CHANNELS, Halves, IMAGE, Images, Minibatches, Normalization, PADDING, PIXELS, Sample};
pub use parent::Parent;
pub use skeleton::{Cost, Skeleton};
pub use training::{Data, evaluation_minibatches, paper_sgd};

pub use super::cell::{EDGES, NODES, edge_ends};
