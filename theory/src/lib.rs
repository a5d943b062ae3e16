//! The theory of AdvantageNAS, verified: every claim of the paper with the evidence for its verdict.
//!
//! The derivations are in this crate's `README.md`. Two things are kept apart here, so that each checks the other: the
//! *enumeration* of all architectures with the core's own estimator code ([`enumerate`], [`estimators`]), which knows no formula
//! of the paper, and the *closed forms* ([`testbed`], [`bound`], [`taylor`], [`methods`]), which know no estimator. The
//! [`ledger`] lists the claims and confronts the two.
//!
//! | paper | item |
//! | --- | --- |
//! | expectations over `p_θ` and minibatches | [`enumerate::moments`], [`enumerate::moments_over_minibatches`] |
//! | `∇_θ J` without the score function | [`enumerate::gradient`] |
//! | Theorem 4.1, Eq. (5) | [`bound`] |
//! | Eq. (7), its error and bias | [`taylor`] |
//! | section 4.4, as printed and as it is | [`testbed`] |
//! | Table 1 on the linear testbed | [`methods`], [`testbed::Testbed`] |
//! | one instance analysed, for `advnas variance` | [`instance`] |
//! | figures of section 4.4 | [`section_4_4`] |
//! | all claims, verdicts and evidence | [`ledger`] |

#![forbid(unsafe_code)]

pub mod bound;
pub mod dual;
pub mod enumerate;
mod error;
pub mod estimators;
pub mod generate;
pub mod instance;
pub mod ledger;
pub mod methods;
pub mod number;
pub mod reward;
pub mod section_4_4;
pub mod statistics;
pub mod taylor;
pub mod testbed;

pub use error::{Error, Result};
