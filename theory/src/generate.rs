//! Random instances from a seed, corners included.
//!
//! Probabilities come from five kinds in turn; half of all instances are generic, with numerators drawn from
//! `1..=`[`RANGE`], so that an identity that is false survives one of them with probability at most `degree / RANGE`
//! (Schwartz, Zippel).

use advantage_nas::{OpTable, Shape};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::number::{Rational, rational, whole};
use crate::reward::{Affine, Monomial, Polynomial, SquaredLoss, Table};

/// Generic numerators are drawn from `1..=RANGE`, rewards from `−RANGE..=RANGE`.
pub const RANGE: i64 = 96;

/// The kinds of probability vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Corner {
    /// Random weights, normalised.
    Generic,
    /// All equal.
    Uniform,
    /// Some candidates are impossible.
    SomeZero,
    /// One candidate has all but a millionth.
    NearVertex,
    /// One candidate has everything.
    Vertex,
}

impl Corner {
    /// The kind of instance number `index`: even ones are generic, the odd ones go through the corners.
    #[must_use]
    pub fn of(index: u64) -> Self {
        if index.is_multiple_of(2) {
            return Corner::Generic;
        }
        [Corner::Uniform, Corner::SomeZero, Corner::NearVertex, Corner::Vertex][(index / 2 % 4) as usize]
    }
}

/// A seeded source of instances.
#[derive(Clone, Debug)]
pub struct Source {
    rng: ChaCha8Rng,
}

impl Source {
    /// The source of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Instance number `index` of the stream `name`: streams of different names are independent.
    #[must_use]
    pub fn instance(seed: u64, name: &str, index: u64) -> Self {
        // FNV-1a; any fixed hash would do.
        let stream = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(stream);
        rng.set_word_pos(u128::from(index) << 20);
        Self { rng }
    }

    /// The generator itself.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }

    /// A whole number in `low..=high`.
    pub fn whole(&mut self, low: i64, high: i64) -> i64 {
        self.rng.random_range(low..=high)
    }

    /// A shape with 1 to `edges` edges of 1 to `candidates` candidates each.
    pub fn shape(&mut self, edges: i64, candidates: i64) -> Shape {
        let edges = self.whole(1, edges);
        Shape::new((0..edges).map(|_| self.whole(1, candidates) as usize)).expect("at least one edge and candidate")
    }

    /// A shape with exactly `edges` edges of 2 to `candidates` candidates each.
    pub fn full_shape(&mut self, edges: usize, candidates: i64) -> Shape {
        Shape::new((0..edges).map(|_| self.whole(2, candidates) as usize)).expect("at least one edge and candidate")
    }

    /// One probability vector of a kind.
    pub fn simplex(&mut self, candidates: usize, corner: Corner) -> Vec<Rational> {
        let chosen = self.rng.random_range(0..candidates);
        let weights: Vec<i64> = (0..candidates)
            .map(|candidate| match corner {
                Corner::Generic => self.whole(1, RANGE),
                Corner::Uniform => 1,
                Corner::SomeZero if candidate == chosen => self.whole(1, RANGE),
                Corner::SomeZero => self.whole(0, 1) * self.whole(1, RANGE),
                Corner::NearVertex if candidate == chosen => 1_000_000,
                Corner::NearVertex => 1,
                Corner::Vertex => i64::from(candidate == chosen),
            })
            .collect();
        let total: i64 = weights.iter().sum();
        weights.into_iter().map(|weight| rational(weight, total)).collect()
    }

    /// Probabilities of every edge, all of one kind, `[edges, candidates]`.
    pub fn probabilities(&mut self, shape: &Shape, corner: Corner) -> OpTable<Rational> {
        let rows = (0..shape.edges()).map(|edge| self.simplex(shape.candidates(edge), corner));
        OpTable::from_rows(rows.collect::<Vec<_>>()).expect("the shape is valid")
    }

    /// One reward: a whole number in `−RANGE..=RANGE`.
    pub fn reward(&mut self) -> Rational {
        whole(self.whole(-RANGE, RANGE))
    }

    /// Rewards of every candidate, `[edges, candidates]`.
    pub fn rewards(&mut self, shape: &Shape) -> OpTable<Rational> {
        OpTable::from_fn(shape, |_, _| self.reward())
    }

    /// An affine reward.
    pub fn affine(&mut self, shape: &Shape) -> Affine<Rational> {
        Affine { constant: self.reward(), rewards: self.rewards(shape) }
    }

    /// An arbitrary table of rewards, the rows with `a_i = 0` included.
    ///
    /// # Panics
    /// If the shape is larger than a table may be.
    pub fn table(&mut self, shape: &Shape) -> Table<Rational> {
        Table::from_fn(shape, |_| self.reward()).expect("a small shape")
    }

    /// A polynomial with up to `terms` terms of up to three factors with powers up to `power`.
    pub fn polynomial(&mut self, shape: &Shape, terms: i64, power: u32) -> Polynomial<Rational> {
        let terms = (0..self.whole(1, terms))
            .map(|_| {
                let factors = (0..self.whole(0, 3)).map(|_| {
                    let edge = self.rng.random_range(0..shape.edges());
                    (edge, self.rng.random_range(0..shape.candidates(edge)), self.rng.random_range(1..=power))
                });
                let factors = factors.collect();
                Monomial { coefficient: self.reward(), factors }
            })
            .collect();
        Polynomial::new(shape, terms).expect("factors of the shape")
    }

    /// A squared loss with outputs of the given length.
    pub fn squared_loss(&mut self, shape: &Shape, length: usize) -> SquaredLoss<Rational> {
        let mut vector = || (0..length).map(|_| whole(self.rng.random_range(-9..=9))).collect::<Vec<_>>();
        let target = vector();
        SquaredLoss::new(target, OpTable::from_fn(shape, |_, _| vector())).expect("outputs of one length")
    }
}

/// An upper bound of the probability that a false identity of total degree `degree` survives `instances` generic instances, as a
/// power of ten: `log₁₀ (degree / RANGE)^instances`.
#[must_use]
pub fn survival_log10(degree: u32, instances: u64) -> f64 {
    (f64::from(degree) / RANGE as f64).log10().min(0.0) * instances as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn all_corners_are_reached() {
        let kinds: Vec<Corner> = (0..8).map(Corner::of).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == Corner::Generic).count(), 4);
        assert_eq!(kinds.into_iter().collect::<HashSet<_>>().len(), 5);
        let mut source = Source::new(3);
        let one = whole(1);
        let zero = whole(0);
        let mut shapes = HashSet::new();
        for index in 0..400 {
            shapes.insert(source.shape(3, 3));
            let kind = Corner::of(index);
            let row = source.simplex(3, kind);
            assert_eq!(row.iter().sum::<Rational>(), one);
            assert!(row.iter().all(|value| *value >= zero));
            let zeros = row.iter().filter(|value| **value == zero).count();
            let largest = row.iter().max().unwrap();
            match kind {
                Corner::Generic => assert_eq!(zeros, 0),
                Corner::Uniform => assert!(row.iter().all(|value| *value == rational(1, 3))),
                Corner::SomeZero => assert!(zeros < 3),
                Corner::NearVertex => assert!(*largest > rational(999_990, 1_000_000) && zeros == 0),
                Corner::Vertex => assert!(*largest == one && zeros == 2),
            }
        }
        // 3 + 9 + 27 shapes.
        assert_eq!(shapes.len(), 39);
        let zeros: HashSet<usize> = (0..60)
            .map(|_| source.simplex(3, Corner::SomeZero).iter().filter(|value| **value == zero).count())
            .collect();
        assert_eq!(zeros, HashSet::from([0, 1, 2]));
    }

    #[test]
    fn rewards_reach_zero_and_both_signs() {
        let mut source = Source::new(4);
        let rewards: HashSet<Rational> = (0..5000).map(|_| source.reward()).collect();
        assert!(rewards.contains(&whole(0)) && rewards.contains(&whole(RANGE)) && rewards.contains(&whole(-RANGE)));
        assert_eq!(rewards.len(), 193);
        let shape = Shape::new([2, 2]).unwrap();
        let affine = (0..200).filter(|_| source.polynomial(&shape, 3, 2).is_multi_affine()).count();
        assert!(affine > 10 && affine < 190, "{affine}");
        assert!((0..50).all(|_| source.full_shape(2, 4).len() >= 4));
        let outputs: HashSet<Rational> =
            (0..200).flat_map(|_| source.squared_loss(&shape, 2).outputs().values().concat()).collect();
        assert_eq!(outputs, (-9..=9).map(whole).collect());
    }

    #[test]
    fn instances_are_addressable() {
        let draw = |name, index| Source::instance(1, name, index).reward();
        assert_eq!(draw("a", 5), draw("a", 5));
        let first: Vec<Rational> = (0..20).map(|index| draw("a", index)).collect();
        let second: Vec<Rational> = (0..20).map(|index| draw("b", index)).collect();
        assert_ne!(first, second);
    }

    #[test]
    fn survival_is_a_power_of_ten() {
        assert!((survival_log10(24, 10) - 10.0 * 0.25f64.log10()).abs() < 1e-12);
        assert_eq!(survival_log10(200, 10), 0.0);
    }
}
