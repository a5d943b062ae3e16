//! The other methods of Table 1 on the linear testbed: what their updates of `θ` are in expectation, and how much they vary.
//!
//! One file per method that samples in its own way. DARTS, NASP, ENAS with a product policy (REINFORCE) and AdvantageNAS have
//! their closed forms in [`crate::testbed`]; SNAS samples the same gradient as the dense form in [`gdas`].

pub mod gdas;
pub mod parsec;
pub mod proxylessnas;
