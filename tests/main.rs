//! The tests of the core as one program; README.md says what each file holds the code against.

mod common;
mod theory_support;

mod advantage;
mod advantage_optimal;
mod baseline;
mod conformance;
mod enas;
mod estimators_exact;
mod every_method;
mod first_order;
mod methods;
mod minibatches;
mod optim;
mod pinned;
mod policy;
mod random;
mod reinforce;
mod search;
mod sharing;
mod strategies;
mod table1;
mod theory_bound;
mod theory_first_order;
mod theory_generators;
mod theory_methods;
mod theory_sampling;
mod theory_unbiasedness;
mod theory_variance;
mod theory_zero_and_baseline;
mod training;
mod zero_op;
