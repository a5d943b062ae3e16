//! What the tests share: an oracle that enumerates all architectures in exact rationals, generators of instances, a
//! chi-square test, and plain softmax and Adam.
//!
//! Nothing here calls the code under test for a value that is then expected; [`table`], [`rows`] and [`architecture`] only
//! carry numbers across. The oracle is slow on purpose: nested loops over lists of lists, one formula each.

pub mod affine;
pub mod chacha;

use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{RateSchedule, ThetaSettings};
use advantage_nas::{Architecture, OpTable, Shape};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::ToPrimitive;
use proptest::prelude::*;
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// An exact rational number.
pub type Q = BigRational;

/// One row per edge, one value per candidate.
pub type Rows<T> = Vec<Vec<T>>;

/// `numerator / denominator`.
pub fn q(numerator: i64, denominator: i64) -> Q {
    Q::new(BigInt::from(numerator), BigInt::from(denominator))
}

/// A whole number.
pub fn whole(number: i64) -> Q {
    q(number, 1)
}

/// A row of fractions of the same denominator.
pub fn fractions(numerators: &[i64], denominator: i64) -> Vec<Q> {
    numerators.iter().map(|&numerator| q(numerator, denominator)).collect()
}

/// The `f64` nearest to a rational.
pub fn to_f64(value: &Q) -> f64 {
    value.to_f64().expect("a rational has a nearest f64")
}

/// The rational that a finite `f64` is.
pub fn from_f64(value: f64) -> Q {
    Q::from_float(value).expect("a finite number")
}

// ---------------------------------------------------------------- carrying numbers across

/// A table of the library from rows.
pub fn table<T: Clone>(rows: &[Vec<T>]) -> OpTable<T> {
    OpTable::from_rows(rows.to_vec()).expect("every edge has a candidate")
}

/// The rows of a table of the library.
pub fn rows<T: Clone>(table: &OpTable<T>) -> Rows<T> {
    table.rows().map(<[T]>::to_vec).collect()
}

/// An architecture of the library from the choices.
pub fn architecture(shape: &Shape, choices: &[usize]) -> Architecture {
    Architecture::new(shape, choices.to_vec()).expect("choices within the space")
}

// ---------------------------------------------------------------- enumeration

/// All ways to choose one of `counts[i]` things for every `i`.
pub fn choices(counts: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &count in counts {
        let mut longer = Vec::new();
        for prefix in &all {
            for choice in 0..count {
                let mut choices = prefix.clone();
                choices.push(choice);
                longer.push(choices);
            }
        }
        all = longer;
    }
    all
}

/// Number of candidates of every edge.
pub fn counts<T>(rows: &[Vec<T>]) -> Vec<usize> {
    rows.iter().map(Vec::len).collect()
}

/// `p(a) = Π_i μ_i^{a_i}`, Eq. (2).
pub fn probability(mu: &[Vec<Q>], a: &[usize]) -> Q {
    let mut product = whole(1);
    for (row, &choice) in mu.iter().zip(a) {
        product *= &row[choice];
    }
    product
}

/// `E[f(a)] = Σ_a p(a) f(a)`.
pub fn expectation(mu: &[Vec<Q>], mut f: impl FnMut(&[usize]) -> Q) -> Q {
    let mut sum = whole(0);
    for a in choices(&counts(mu)) {
        sum += probability(mu, &a) * f(&a);
    }
    sum
}

/// `E[f(a) | a_edge = candidate]`, with the other edges drawn from `μ`; defined even where the candidate is never drawn.
pub fn conditional(mu: &[Vec<Q>], edge: usize, candidate: usize, f: impl FnMut(&[usize]) -> Q) -> Q {
    let mut fixed = mu.to_vec();
    for (j, value) in fixed[edge].iter_mut().enumerate() {
        *value = whole(i64::from(j == candidate));
    }
    expectation(&fixed, f)
}

/// `∇_θ J` of `J = E[R(a)]`, from the derivative of the softmax: `∂μ_k/∂θ_j = μ_k (δ_kj − μ_j)` and
/// `J = Σ_k μ_k E[R | a_i = k]`. No score, no sampling, no advantage.
pub fn gradient(mu: &[Vec<Q>], reward: impl Fn(&[usize]) -> Q) -> Rows<Q> {
    let mut out = Vec::new();
    for (edge, row) in mu.iter().enumerate() {
        let values: Vec<Q> = (0..row.len()).map(|k| conditional(mu, edge, k, &reward)).collect();
        let mut slopes = Vec::new();
        for j in 0..row.len() {
            let mut slope = whole(0);
            for k in 0..row.len() {
                slope += &row[k] * (whole(i64::from(j == k)) - &row[j]) * &values[k];
            }
            slopes.push(slope);
        }
        out.push(slopes);
    }
    out
}

/// The expectation of an estimate, value by value.
pub fn expected_rows(mu: &[Vec<Q>], mut estimate: impl FnMut(&[usize]) -> Rows<Q>) -> Rows<Q> {
    let mut sum: Rows<Q> = mu.iter().map(|row| vec![whole(0); row.len()]).collect();
    for a in choices(&counts(mu)) {
        let weight = probability(mu, &a);
        for (sums, values) in sum.iter_mut().zip(estimate(&a)) {
            for (total, value) in sums.iter_mut().zip(values) {
                *total += &weight * value;
            }
        }
    }
    sum
}

/// `Σ_edge ‖row‖²` of one edge.
pub fn square_norm(row: &[Q]) -> Q {
    row.iter().map(|value| value * value).sum()
}

/// `weight · (e_choice − μ)`, element by element: what an estimate of one edge must be.
pub fn weighted_score(weight: &Q, choice: usize, mu: &[Q]) -> Vec<Q> {
    mu.iter().enumerate().map(|(j, probability)| weight * (whole(i64::from(j == choice)) - probability)).collect()
}

// ---------------------------------------------------------------- rewards

/// Numbers for every way to choose a candidate or nothing (`None`, the output set to zero) at every edge.
///
/// It is read in two ways: as an *arbitrary reward* `R(a)` including the rows `a_i = 0`, and as the coefficients of an
/// arbitrary *multi-affine* reward `Σ_e c_e Π_{i: e_i = j} a_i^j`.
#[derive(Clone, Debug)]
pub struct Rewards {
    counts: Vec<usize>,
    values: Vec<Q>,
}

impl Rewards {
    /// A table of `Π (counts[i] + 1)` values; the last edge changes fastest, "nothing" comes first.
    pub fn new(counts: &[usize], values: Vec<Q>) -> Self {
        assert_eq!(values.len(), Self::size(counts));
        Self { counts: counts.to_vec(), values }
    }

    /// The table of a function.
    pub fn from_fn(counts: &[usize], mut f: impl FnMut(&[Option<usize>]) -> Q) -> Self {
        let values = Self::entries(counts).iter().map(|entry| f(entry)).collect();
        Self::new(counts, values)
    }

    /// Number of entries.
    pub fn size(counts: &[usize]) -> usize {
        counts.iter().map(|count| count + 1).product()
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.counts.len()
    }

    fn entries(counts: &[usize]) -> Vec<Vec<Option<usize>>> {
        let larger: Vec<usize> = counts.iter().map(|count| count + 1).collect();
        choices(&larger).iter().map(|entry| entry.iter().map(|&choice| choice.checked_sub(1)).collect()).collect()
    }

    fn entry(&self, at: &[Option<usize>]) -> &Q {
        let mut index = 0;
        for (choice, count) in at.iter().zip(&self.counts) {
            index = index * (count + 1) + choice.map_or(0, |choice| choice + 1);
        }
        &self.values[index]
    }

    /// `R(a)` of the arbitrary reward.
    pub fn at(&self, a: &[usize]) -> Q {
        self.entry(&some(a)).clone()
    }

    /// `R(s_i, 0)` of the arbitrary reward.
    pub fn without(&self, a: &[usize], edge: usize) -> Q {
        let mut at = some(a);
        at[edge] = None;
        self.entry(&at).clone()
    }

    /// The multi-affine reward at real weights `a_i^j`.
    pub fn multi_affine(&self, weights: &[Vec<Q>]) -> Q {
        let mut sum = whole(0);
        for entry in Self::entries(&self.counts) {
            let mut term = self.entry(&entry).clone();
            for (row, choice) in weights.iter().zip(&entry) {
                if let Some(choice) = choice {
                    term *= &row[*choice];
                }
            }
            sum += term;
        }
        sum
    }

    /// `∂R/∂a_i^j` of the multi-affine reward. `R` is affine in `a_i`, so this is a difference quotient, exactly.
    pub fn multi_affine_gradient(&self, weights: &[Vec<Q>]) -> Rows<Q> {
        let here = self.multi_affine(weights);
        let slope = |edge: usize, j: usize| {
            let mut moved = weights.to_vec();
            moved[edge][j] += whole(1);
            self.multi_affine(&moved) - &here
        };
        weights.iter().enumerate().map(|(edge, row)| (0..row.len()).map(|j| slope(edge, j)).collect()).collect()
    }
}

fn some(a: &[usize]) -> Vec<Option<usize>> {
    a.iter().map(|&choice| Some(choice)).collect()
}

/// The one-hot weights of an architecture.
pub fn one_hot(counts: &[usize], a: &[usize]) -> Rows<Q> {
    let row = |(&count, &choice): (&usize, &usize)| (0..count).map(|j| whole(i64::from(j == choice))).collect();
    counts.iter().zip(a).map(row).collect()
}

/// One-hot weights with edge `edge` set to zero.
pub fn one_hot_without(counts: &[usize], a: &[usize], edge: usize) -> Rows<Q> {
    let mut weights = one_hot(counts, a);
    weights[edge].fill(whole(0));
    weights
}

// ---------------------------------------------------------------- generators

/// A policy, a reward table and one constant per edge.
#[derive(Clone, Debug)]
pub struct Instance {
    /// `μ`, every row a probability vector.
    pub mu: Rows<Q>,
    /// See [`Rewards`].
    pub rewards: Rewards,
    /// Arbitrary numbers, one per edge: baselines.
    pub constants: Vec<Q>,
}

impl Instance {
    /// Number of candidates of every edge.
    pub fn counts(&self) -> Vec<usize> {
        counts(&self.mu)
    }
}

/// Numerators are drawn from this many values on either side of 0.
pub const RANGE: i64 = 1_000_000;

/// The number of instances per property.
pub const CASES: u32 = 96;

/// The configuration of the property tests: seeds of failures are kept beside the test.
pub fn config() -> ProptestConfig {
    use proptest::test_runner::FileFailurePersistence;
    let persistence = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases: CASES, failure_persistence: Some(Box::new(persistence)), ..ProptestConfig::default() }
}

fn normalised(weights: Vec<i64>) -> Vec<Q> {
    let total: i64 = weights.iter().sum();
    fractions(&weights, total)
}

/// Weights in general position: `1..=RANGE` each, uniform and independent.
fn generic_row(count: usize) -> BoxedStrategy<Vec<Q>> {
    prop::collection::vec(1..=RANGE, count).prop_map(normalised).boxed()
}

/// The corners: vertices, faces, uniform, and one candidate that holds all but about 1e-12.
fn corner_row(count: usize) -> BoxedStrategy<Vec<Q>> {
    let vertex = (0..count).prop_map(move |at| (0..count).map(|j| whole(i64::from(j == at))).collect());
    let face = prop::collection::vec(0..=2i64, count)
        .prop_map(|weights| if weights.iter().all(|weight| *weight == 0) { vec![1; weights.len()] } else { weights })
        .prop_map(normalised);
    let near = (0..count, prop::collection::vec(0..=3i64, count)).prop_map(|(at, mut weights)| {
        weights[at] = 1_000_000_000_000;
        normalised(weights)
    });
    prop_oneof![vertex, face, Just(normalised(vec![1; count])), near].boxed()
}

/// Rewards: small whole numbers with many ties and zeros, or rationals in general position.
fn reward() -> BoxedStrategy<Q> {
    prop_oneof![(-2..=2i64).prop_map(whole), generic_reward()].boxed()
}

fn generic_reward() -> BoxedStrategy<Q> {
    (-RANGE..=RANGE, 1..=9i64).prop_map(|(numerator, denominator)| q(numerator, denominator)).boxed()
}

/// Instances with one to three edges of one to four candidates. Half of them are generic throughout (every weight and reward
/// uniform on its range and independent), which is what the Schwartz–Zippel bounds in the tests count on; the other half mixes
/// corners in, in which identities tend to break by division or by sign.
pub fn instances() -> impl Strategy<Value = Instance> {
    let counts = prop::collection::vec(1..=4usize, 1..=3);
    (counts, any::<bool>()).prop_flat_map(|(counts, generic)| {
        let size = Rewards::size(&counts);
        let edges = counts.len();
        let row = move |&count: &usize| {
            if generic { generic_row(count) } else { prop_oneof![generic_row(count), corner_row(count)].boxed() }
        };
        let value = if generic { generic_reward() } else { reward() };
        let mu: Vec<BoxedStrategy<Vec<Q>>> = counts.iter().map(row).collect();
        (mu, prop::collection::vec(value.clone(), size), prop::collection::vec(value, edges))
            .prop_map(move |(mu, values, constants)| Instance { mu, rewards: Rewards::new(&counts, values), constants })
    })
}

// ---------------------------------------------------------------- statistics

/// p-value of Pearson's chi-square test of counts against probabilities that sum to one.
///
/// Cells of probability zero must be empty; the others must expect at least 5 observations, or the approximation is poor.
///
/// # Panics
/// If a cell of probability zero was hit, or a cell expects fewer than 5.
pub fn chi_square_p(observed: &[u64], probabilities: &[f64]) -> f64 {
    assert_eq!(observed.len(), probabilities.len());
    let total: f64 = probabilities.iter().sum();
    assert!((total - 1.0).abs() < 1e-9, "probabilities sum to {total}");
    let n = observed.iter().sum::<u64>() as f64;
    let mut statistic = 0.0;
    let mut cells = 0;
    for (&count, &probability) in observed.iter().zip(probabilities) {
        if probability == 0.0 {
            assert_eq!(count, 0, "something of probability zero was drawn");
            continue;
        }
        let expected = n * probability;
        assert!(expected >= 5.0, "a cell expects {expected}");
        statistic += (count as f64 - expected).powi(2) / expected;
        cells += 1;
    }
    assert!(cells >= 2, "nothing to test");
    ChiSquared::new(f64::from(cells - 1)).expect("positive degrees of freedom").sf(statistic)
}

// ---------------------------------------------------------------- plain floating point

/// Softmax as printed in Eq. (2), for moderate logits.
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / total).collect()
}

/// Adam for one parameter, line by line from Kingma & Ba (2015), Algorithm 1.
#[derive(Clone, Debug)]
pub struct ScalarAdam {
    /// Step size.
    pub alpha: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// The small number.
    pub epsilon: f64,
    t: f64,
    m: f64,
    v: f64,
}

impl ScalarAdam {
    /// Moments at zero.
    pub fn new(alpha: f64, beta1: f64, beta2: f64, epsilon: f64) -> Self {
        Self { alpha, beta1, beta2, epsilon, t: 0.0, m: 0.0, v: 0.0 }
    }

    /// The parameter after one step of descent along `g`.
    pub fn step(&mut self, x: f64, g: f64) -> f64 {
        self.t += 1.0;
        self.m = self.beta1 * self.m + (1.0 - self.beta1) * g;
        self.v = self.beta2 * self.v + (1.0 - self.beta2) * g.powf(2.0);
        let m_hat = self.m / (1.0 - self.beta1.powf(self.t));
        let v_hat = self.v / (1.0 - self.beta2.powf(self.t));
        x - self.alpha * m_hat / (v_hat.sqrt() + self.epsilon)
    }
}

/// `θ` and its ascent, written out: initial logits 1 with a lead of 10⁻⁶, the L2 penalty, the clip of the whole gradient, the cosine,
/// Adam.
pub struct PlainTheta {
    /// The logits.
    pub theta: Rows<f64>,
    adam: Rows<ScalarAdam>,
    settings: ThetaSettings,
}

impl PlainTheta {
    /// Initial logits, Adam's moments at zero.
    pub fn new(counts: &[usize], settings: ThetaSettings) -> Self {
        let adam = ScalarAdam::new(0.0, settings.beta1, settings.beta2, settings.epsilon);
        let mut theta: Rows<f64> = counts.iter().map(|&count| vec![1.0; count]).collect();
        for row in &mut theta {
            row[0] = 1.000001;
        }
        Self { adam: counts.iter().map(|&count| vec![adam.clone(); count]).collect(), theta, settings }
    }

    /// The probabilities.
    pub fn mu(&self) -> Rows<f64> {
        self.theta.iter().map(|row| softmax(row)).collect()
    }

    /// One step along an estimate of the gradient.
    pub fn ascend(&mut self, estimate: &[Vec<f64>], schedule: f64) {
        let mut descent: Rows<f64> = Vec::new();
        for (slopes, theta) in estimate.iter().zip(&self.theta) {
            descent.push(slopes.iter().zip(theta).map(|(g, x)| -g + self.settings.weight_decay * x).collect());
        }
        let norm = descent.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        let scale = self.settings.clip_norm.map_or(1.0, |limit| if norm > limit { limit / norm } else { 1.0 });
        let factor = match self.settings.rate_schedule {
            RateSchedule::Constant => 1.0,
            RateSchedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * schedule).cos()),
        };
        for (edge, slopes) in descent.iter().enumerate() {
            for (j, slope) in slopes.iter().enumerate() {
                let adam = &mut self.adam[edge][j];
                adam.alpha = self.settings.learning_rate * factor;
                self.theta[edge][j] = adam.step(self.theta[edge][j], scale * slope);
            }
        }
    }
}

/// The state with every number as its bits, so that equality is equality of bits.
pub fn bits(state: &State) -> Vec<(String, Vec<u64>)> {
    let of = |entry: &Entry| match entry {
        Entry::F64(array) => array.iter().map(|value| value.to_bits()).collect(),
        Entry::F32(array) => array.iter().map(|value| u64::from(value.to_bits())).collect(),
        Entry::U64(array) => array.iter().copied().collect(),
    };
    state.iter().map(|(name, entry)| (name.to_owned(), of(entry))).collect()
}
