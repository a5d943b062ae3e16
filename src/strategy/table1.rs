//! Table 1 of the paper as data.

use super::{Activity, Method};

/// How much of the parent network is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// All candidates of every edge.
    Dense,
    /// A number of candidates per edge that does not depend on how many there are.
    Sparse,
}

/// The form of the edge weights `a_i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hotness {
    /// One candidate has weight 1.
    One,
    /// Two candidates take part.
    Two,
    /// All candidates take part.
    All,
}

/// One row of Table 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The method's name as printed.
    pub name: &'static str,
    /// Our method, or methods, of this row; the first is the row's own.
    pub methods: &'static [Method],
    /// Propagation in the update of `θ`. (NASP propagates sparsely in the update of `w`, footnote 3.)
    pub propagation: Propagation,
    /// Form of `a_i`.
    pub hotness: Hotness,
    /// Whether the update draws random numbers.
    pub stochastic: bool,
    /// Whether the paper credits the method with a theoretical guarantee.
    pub guarantee: bool,
    /// Where the method comes from.
    pub source: &'static str,
}

/// Table 1 in the order of the paper.
pub const TABLE_1: [Row; 8] = [
    row("DARTS", &[Method::Darts], Propagation::Dense, Hotness::All, false, false, "Liu, Simonyan, Yang (2019)"),
    row("SNAS", &[Method::Snas], Propagation::Dense, Hotness::All, true, false, "Xie et al. (2019)"),
    row("NASP", &[Method::Nasp], Propagation::Dense, Hotness::One, false, true, "Yao et al. (2020)"),
    row(
        "ProxylessNAS",
        &[Method::ProxylessNas],
        Propagation::Sparse,
        Hotness::Two,
        true,
        false,
        "Cai, Zhu, Han (2019)",
    ),
    row("PARSEC", &[Method::Parsec], Propagation::Sparse, Hotness::One, true, false, "Casale, Gordon, Fusi (2019)"),
    row("GDAS", &[Method::Gdas], Propagation::Sparse, Hotness::One, true, false, "Dong, Yang (2019)"),
    row(
        "ENAS",
        &[Method::Enas, Method::Reinforce, Method::ReinforcePlain],
        Propagation::Sparse,
        Hotness::One,
        true,
        false,
        "Pham et al. (2018); Williams (1992)",
    ),
    row(
        "AdvantageNAS",
        &[Method::AdvantageNas, Method::AdvantageExact, Method::AdvantageOptimal],
        Propagation::Sparse,
        Hotness::One,
        true,
        true,
        "Sato, Sakuma, Akimoto (2021)",
    ),
];

const fn row(
    name: &'static str,
    methods: &'static [Method],
    propagation: Propagation,
    hotness: Hotness,
    stochastic: bool,
    guarantee: bool,
    source: &'static str,
) -> Row {
    Row { name, methods, propagation, hotness, stochastic, guarantee, source }
}

impl Method {
    /// The most candidates of an edge that the method evaluates at once, in any of its steps.
    ///
    /// # Panics
    /// Never: every method is in Table 1.
    #[must_use]
    pub fn activity(self) -> Activity {
        let row = TABLE_1.iter().find(|row| row.methods.contains(&self)).expect("every method is in Table 1");
        match (row.propagation, row.hotness) {
            (Propagation::Dense, _) => Activity::All,
            (Propagation::Sparse, Hotness::Two) => Activity::Two,
            (Propagation::Sparse, _) => Activity::One,
        }
    }
}
