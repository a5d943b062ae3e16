//! The recurrent network of section 5.3: a language model whose recurrent cell is searched.
//!
//! # Formula
//! Of a word `x`, with `e` its embedding (`[units]`) after dropout and `h` the state before it:
//!
//! - `c₀ = σ(W_xc e + W_hc h)`, `s₀ = h + c₀ ⊙ (tanh(W_xh e + W_hh h) − h)`
//! - of every edge `j → i` of the nodes 0 to 3: `c = σ(W_c s_j)`, `z = Σ_k a_k op_k(W_h s_j)`, output `s_j + c ⊙ (z − s_j)`; both
//!   matrices belong to the edge and are shared by its candidates
//! - `s_i` is the mean of the outputs of its incoming edges; the new state is `h' = (s₁ + s₂ + s₃)/3`
//! - the logits of the next word are `W dropout(h') + b`
//!
//! The loss is the sum over the steps of a minibatch of the mean cross-entropy over its streams.
//!
//! - `cell`: operations, the search space; the cell and its text are in [`network::cell`](super::cell)
//! - `sizes`: the sizes that can be chosen; parameters of a stand-alone network
//! - `parent`: the parameters
//! - `text`: what is read: texts, segments of parallel streams, which steps go on in the text
//! - `training`: how the weights are trained: the optimiser, dropout masks
//!
//! Files, layers and devices are elsewhere.

mod cell;
mod parent;
mod sizes;
mod text;
mod training;

pub use cell::{CANDIDATES, Cell, Operation, space};
pub use parent::{CellMatrix, ParameterKind, Parent};
pub use sizes::Recurrent;
pub use text::{Segment, TextPosition, Texts};
pub use training::{Dropout, MaskPart, WeightSettings};

pub use super::cell::{EDGES, NODES, edge_ends};
