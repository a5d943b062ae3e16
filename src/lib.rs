//! AdvantageNAS in Rust: the estimators, strategies and the search of
//!
//! > R. Sato, J. Sakuma, Y. Akimoto. *AdvantageNAS: Efficient Neural Architecture Search with Credit Assignment.* AAAI 2021.
//!
//! The equations are written once, generic over the number type: the same code is checked in exact rational arithmetic and
//! drives the searches. This crate has no files, no devices, no threads and no unsafe code.
//!
//! # Map: from the paper to the code
//!
//! | paper | item |
//! | --- | --- |
//! | edges `I`, candidate operations `J_i`, architecture `a` (section 2) | [`SearchSpace`], [`Architecture`], [`OpTable`] |
//! | Eq. (1), edge weights `a_i` | [`strategy::Proposal`] |
//! | Eq. (2), policy `μ(θ)`, score `a − μ` | [`Policy`], [`policy::score`] |
//! | Eq. (3), average over sampled architectures | [`estimator::reinforce_mean`] |
//! | Eq. (4), REINFORCE | [`estimator::reinforce()`], [`estimator::reinforce_with_baseline`], [`strategy::Reinforce`] |
//! | minibatch reward (section 4.1) | [`estimator::minibatch_reward`] |
//! | Eq. (6), advantage | [`estimator::advantages`], [`strategy::AdvantageKind::Exact`] |
//! | Eq. (7), first-order advantage | [`estimator::first_order()`], [`strategy::AdvantageNas`] |
//! | footnote 4, zero operation | [`estimator::ZeroOperation`] |
//! | weight sharing, `w` (section 2) | [`Supernet`]; of a [`sharing::Network`], [`WeightSharing`] |
//! | Algorithm 1 | [`Search`]; line 9 is [`estimator::policy_gradient`] |
//! | what every supernet and every strategy must fulfil | [`conformance`] |
//! | Table 1 | [`strategy::table1::TABLE_1`], [`strategy::Method`] |
//! | section 5.1, toy regression | [`network::toy`] |
//! | section 5.2, NAS-Bench-201 and CIFAR-10 | [`network::nas_bench_201`] |
//! | section 5.3, recurrent network and Penn Treebank | [`network::recurrent`] |
//! | section 5.3, training of a found architecture anew | [`Training`] |
//! | beyond the paper: optimal baseline (claim C15) | [`estimator::optimal_baseline`] |
//!
//! # One update by hand
//!
//! ```
//! use advantage_nas::{Architecture, OpTable, Policy, estimator};
//!
//! // Two edges with three and two candidates, and a reward that is linear in the architecture.
//! let rewards = OpTable::from_rows([vec![3.0, 1.0, 0.0], vec![0.0, -1.0]])?;
//! let policy = Policy::initial(rewards.shape());
//! let a = Architecture::new(rewards.shape(), vec![0, 1])?;
//!
//! // Eq. (7): of a linear reward, the gradient is the table itself; then line 9 of Algorithm 1.
//! let mut advantages = [0.0; 2];
//! estimator::first_order(&rewards, &a, &mut advantages)?;
//! assert_eq!(advantages, [3.0, -1.0]);
//! let mut estimate = OpTable::filled(rewards.shape(), 0.0);
//! estimator::policy_gradient(&advantages, &a, policy.probabilities(), &mut estimate)?;
//! assert!(estimate[(0, 0)] > 0.0 && estimate[(1, 1)] < 0.0);
//! # Ok::<(), advantage_nas::Error>(())
//! ```

#![forbid(unsafe_code)]

pub mod comparison;
pub mod conformance;
mod error;
pub mod estimator;
pub mod network;
pub mod optim;
pub mod policy;
pub mod random;
pub mod search;
pub mod sharing;
mod space;
pub mod state;
pub mod strategy;
pub mod supernet;
pub mod tolerance;
pub mod training;

pub use error::{Error, Result};
pub use policy::Policy;
pub use search::Search;
pub use sharing::WeightSharing;
pub use space::{Architecture, Edge, OpTable, SearchSpace, Shape};
pub use strategy::Strategy;
pub use supernet::Supernet;
pub use training::Training;
