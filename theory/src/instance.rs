//! One instance of section 4.4, analysed: every estimator at every edge, beside what the paper prints.
//!
//! The numbers are the closed forms; where the space is small, the core's estimators are enumerated as well and must agree.

use advantage_nas::OpTable;

use crate::enumerate::{self, Estimator, LIMIT, Law, expect_distribution};
use crate::error::{Error, Result};
use crate::estimators::Core;
use crate::methods::{gdas, parsec, proxylessnas};
use crate::number::{Rational, norm2, to_f64, whole};
use crate::reward::{Affine, Reward};
use crate::testbed::{Form, Testbed, worst_of_others};

/// Most candidates that an instance may have, over all edges.
pub const MOST_CANDIDATES: usize = 2000;

/// Up to this many architectures, the closed forms are confirmed by enumeration.
pub const ENUMERATED: u128 = 256;

/// Probabilities and rewards `[edges, candidates]`; the reward is the constant plus the sum over the edges.
#[derive(Clone, Debug, PartialEq)]
pub struct Instance {
    constant: Rational,
    probabilities: OpTable<Rational>,
    rewards: OpTable<Rational>,
    zeros: Vec<Option<usize>>,
}

/// What is computed on request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Options {
    /// PARSEC with this many samples.
    pub parsec_samples: Option<usize>,
    /// GDAS at this temperature.
    pub gdas_temperature: Option<f64>,
}

/// An estimator at one edge.
#[derive(Clone, Debug, PartialEq)]
pub enum Estimate {
    /// In rationals.
    Exact(Form<Rational>),
    /// In decimals, to about the given absolute precision.
    Decimal(Form<f64>, f64),
}

/// One edge.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeReport {
    /// `∇_{θ_i} J`, `[candidates]`.
    pub gradient: Vec<Rational>,
    /// `‖∇_{θ_i} J‖²`.
    pub gradient_norm2: Rational,
    /// The same as printed in the paper.
    pub printed_gradient_norm2: Rational,
    /// What the paper prints as `Var[δ_adv]`.
    pub printed_second_moment_adv: Rational,
    /// What the paper prints as `Var[δ_base]`.
    pub printed_second_moment_base: Rational,
    /// `r̃`, the baseline of the optimal estimator (of the edge's contribution); none on a vertex.
    pub optimal_baseline: Option<Rational>,
    /// The zero operation and what its reward is replaced by, if the edge has one.
    pub zero: Option<(usize, Rational)>,
    /// The estimators by name, in the order in which they are listed.
    pub estimators: Vec<(&'static str, Estimate)>,
}

/// The sum over the edges of one estimator.
#[derive(Clone, Debug, PartialEq)]
pub enum Total {
    /// In rationals: squared bias, second moment, variance.
    Exact([Rational; 3]),
    /// In decimals.
    Decimal([f64; 3], f64),
}

/// The whole instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// `J`.
    pub objective: Rational,
    /// Every edge.
    pub edges: Vec<EdgeReport>,
    /// Every estimator that all edges have, summed over the edges.
    pub totals: Vec<(&'static str, Total)>,
    /// Number of architectures that were enumerated to confirm the closed forms; 0 for a larger space.
    pub enumerated: u128,
}

impl Instance {
    /// An instance from its parts; `zeros` names the zero operation of every edge that has one.
    ///
    /// # Errors
    /// If something has the wrong length, a row of probabilities is no distribution, a zero operation does not exist, has another
    /// reward than 0 or no other candidate beside it, or there are too many candidates.
    pub fn new(
        constant: Rational,
        probabilities: OpTable<Rational>,
        rewards: OpTable<Rational>,
        zeros: Vec<Option<usize>>,
    ) -> Result<Self> {
        let shape = probabilities.shape();
        shape.expect("rewards", rewards.shape())?;
        shape.expect_edges("zero operations", zeros.len())?;
        if shape.len() > MOST_CANDIDATES {
            let (count, limit) = (shape.len().to_string(), MOST_CANDIDATES as u128);
            return Err(Error::TooLarge { what: "candidates of the instance", count, limit });
        }
        for edge in 0..shape.edges() {
            let row = probabilities.edge(edge);
            if let Some(candidate) = row.iter().position(|value| *value < whole(0)) {
                let problem = format!("probability {candidate} is negative: {}", row[candidate]);
                return Err(Error::Probabilities { edge, problem });
            }
            let total: Rational = row.iter().sum();
            if total != whole(1) {
                let problem = format!("the probabilities sum to {total}, not to 1");
                return Err(Error::Probabilities { edge, problem });
            }
            if let Some(zero) = zeros[edge] {
                let candidates = row.len();
                if zero >= candidates {
                    return Err(advantage_nas::Error::NoSuchZero { edge, candidate: zero, candidates }.into());
                }
                let refuse = |expected, got| Error::Argument { name: "an edge with a zero operation", expected, got };
                if candidates < 2 {
                    return Err(refuse("one with another candidate", format!("edge {edge} with 1 candidate")));
                }
                let reward = &rewards[(edge, zero)];
                if *reward != whole(0) {
                    let got = format!("edge {edge} with {reward} for its zero operation {zero}");
                    return Err(refuse("one that rewards it with 0", got));
                }
            }
        }
        expect_distribution(&probabilities, &whole(0))?;
        Ok(Self { constant, probabilities, rewards, zeros })
    }

    /// The constant.
    #[must_use]
    pub fn constant(&self) -> &Rational {
        &self.constant
    }

    /// The probabilities, `[edges, candidates]`.
    #[must_use]
    pub fn probabilities(&self) -> &OpTable<Rational> {
        &self.probabilities
    }

    /// The rewards, `[edges, candidates]`.
    #[must_use]
    pub fn rewards(&self) -> &OpTable<Rational> {
        &self.rewards
    }

    /// Every estimator at every edge.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for PARSEC on a large space and for GDAS at a low temperature of many candidates, [`Error::Argument`] for a temperature or a number of samples outside its
    /// range.
    pub fn analyse(&self, options: &Options) -> Result<Report> {
        let bed = Testbed::new(&self.probabilities, &self.rewards, self.constant.clone())?;
        let parsec = options.parsec_samples.map(|samples| self.parsec(samples, &bed)).transpose()?;
        if let Some(temperature) = options.gdas_temperature {
            let rows = bed.edges().iter().map(|edge| edge.probabilities.iter().map(to_f64).collect::<Vec<f64>>());
            let points = rows.map(|row| gdas::points(&row, temperature)).sum::<Result<f64>>()?;
            gdas::expect_few(points)?;
        }
        let edges = (0..bed.edges().len())
            .map(|edge| self.edge(edge, &bed, parsec.as_deref(), options.gdas_temperature))
            .collect::<Result<Vec<EdgeReport>>>()?;
        let enumerated = self.confirm(&edges)?;
        let mut totals = Vec::new();
        for name in NAMES {
            let of_edge = |edge: &EdgeReport| {
                edge.estimators.iter().find(|(other, _)| *other == name).map(|(_, estimate)| estimate.clone())
            };
            if let Some(estimates) = edges.iter().map(of_edge).collect::<Option<Vec<Estimate>>>() {
                totals.push((name, Total::of(&estimates)));
            }
        }
        Ok(Report { objective: bed.objective(), edges, totals, enumerated })
    }

    fn edge(
        &self,
        index: usize,
        bed: &Testbed<Rational>,
        parsec: Option<&[Form<f64>]>,
        temperature: Option<f64>,
    ) -> Result<EdgeReport> {
        let at = &bed.edges()[index];
        let mut estimators = vec![
            ("reinforce", Estimate::Exact(bed.reinforce(index))),
            ("reinforce_mean_baseline", Estimate::Exact(bed.reinforce_mean_baseline(index))),
            ("advantage", Estimate::Exact(bed.advantage(index))),
            // On an affine reward, Eq. (7) is Eq. (6) (claim C7).
            ("first_order", Estimate::Exact(bed.advantage(index))),
            ("optimal_baseline", Estimate::Exact(bed.optimal(index))),
            ("proxylessnas", Estimate::Exact(proxylessnas::form(&at.probabilities, &at.rewards))),
        ];
        let zero = self.zeros[index].and_then(|zero| Some((zero, worst_of_others(&at.rewards, zero)?)));
        if let Some((zero, worst)) = &zero {
            estimators.push(("zero_operation", Estimate::Exact(bed.zero_replaced(index, *zero, worst))));
        }
        if let Some(forms) = parsec {
            estimators.push(("parsec", Estimate::Decimal(forms[index].clone(), parsec_precision(&forms[index]))));
        }
        if let Some(temperature) = temperature {
            let decimals = |values: &[Rational]| values.iter().map(to_f64).collect::<Vec<f64>>();
            let rewards = decimals(&at.rewards);
            let forms = gdas::forms(&decimals(&at.probabilities), &rewards, temperature, 1.0)?;
            let scale = 1.0 + rewards.iter().map(|r| r * r).fold(0.0, f64::max);
            let precision = gdas::PRECISION * scale / (temperature * temperature).min(1.0);
            estimators.push(("gdas", Estimate::Decimal(forms.dense, precision)));
            estimators.push(("gdas_one_output", Estimate::Decimal(forms.one_output, precision)));
        }
        Ok(EdgeReport {
            gradient: at.gradient(),
            gradient_norm2: at.gradient_norm2(),
            printed_gradient_norm2: at.printed_gradient_norm2(),
            printed_second_moment_adv: at.second_moment_advantage(),
            printed_second_moment_base: bed.printed_second_moment_reinforce(index),
            optimal_baseline: at.optimal_baseline(),
            zero,
            estimators,
        })
    }

    fn parsec(&self, samples: usize, bed: &Testbed<Rational>) -> Result<Vec<Form<f64>>> {
        let lower = |table: &OpTable<Rational>| {
            OpTable::from_values(table.shape(), table.values().iter().map(to_f64).collect())
        };
        let probabilities = lower(&self.probabilities)?;
        // The weights don't change if all rewards do by the same amount; the largest possible one of each edge keeps e^R within
        // range. Subtracted exactly: rewards that are large and close keep the digits of their difference.
        let mut rewards = self.rewards.clone();
        for edge in 0..rewards.shape().edges() {
            let possible = self.probabilities.edge(edge).iter().zip(rewards.edge(edge)).filter(|(p, _)| **p > whole(0));
            let largest = possible.map(|(_, reward)| reward).max().cloned().expect("probabilities sum to 1");
            rewards.edge_mut(edge).iter_mut().for_each(|value| *value -= &largest);
        }
        let reward = Affine::linear(lower(&rewards)?);
        let law = Law::product(&probabilities, LIMIT)?;
        // Far below the largest, e^R underflows: the weight of such a sample beside a better one is zero to all digits, but samples
        // of such architectures alone would be 0/0.
        let lowest = law.atoms().iter().map(|(_, a)| reward.at(a)).fold(0.0, f64::min);
        if lowest < -700.0 {
            return Err(Error::Argument {
                name: "the range of the rewards, for PARSEC,",
                expected: "at most 700",
                got: format!("{:.1}", -lowest),
            });
        }
        let moments = parsec::moments(&law, &probabilities, samples, |a| reward.at(a).exp())?;
        Ok((0..probabilities.shape().edges())
            .map(|edge| {
                let gradient: Vec<f64> = bed.edges()[edge].gradient().iter().map(to_f64).collect();
                Form::new(moments.expectation.edge(edge).to_vec(), &gradient, moments.second_moment[edge])
            })
            .collect())
    }

    /// Compares the closed forms with the enumeration of the core's estimators, where the space is small.
    fn confirm(&self, edges: &[EdgeReport]) -> Result<u128> {
        let count = match self.probabilities.shape().architectures() {
            Some(count) if count <= ENUMERATED => count,
            _ => return Ok(0),
        };
        let reward = Affine { constant: self.constant.clone(), rewards: self.rewards.clone() };
        let objective = enumerate::objective(&reward, &self.probabilities)?;
        for (name, estimator) in [
            ("reinforce", Estimator::Reinforce),
            ("reinforce_mean_baseline", Estimator::Baseline(objective)),
            ("advantage", Estimator::Advantage),
            ("first_order", Estimator::FirstOrder),
            ("optimal_baseline", Estimator::Optimal),
        ] {
            let moments = enumerate::moments(&Core, &estimator, &reward, &self.probabilities)?;
            let variance = moments.variance();
            for (index, edge) in edges.iter().enumerate() {
                let form = edge.estimators.iter().find(|(other, _)| *other == name).map(|(_, estimate)| estimate);
                let agrees = matches!(form, Some(Estimate::Exact(form))
                    if form.expectation == moments.expectation.edge(index)
                        && form.second_moment == moments.second_moment[index]
                        && form.variance == variance[index]);
                assert!(agrees, "{name}: the closed form and the enumeration of edge {index} disagree");
            }
        }
        Ok(count)
    }
}

/// All estimators that can be listed.
const NAMES: [&str; 10] = [
    "reinforce",
    "reinforce_mean_baseline",
    "advantage",
    "first_order",
    "optimal_baseline",
    "proxylessnas",
    "zero_operation",
    "parsec",
    "gdas",
    "gdas_one_output",
];

/// Up to four million products of a handful of roundings each, relative to the second moment (at most 2).
fn parsec_precision(form: &Form<f64>) -> f64 {
    let size = form.bias.iter().fold(1.0, |size: f64, b| size.max(b.abs()));
    1e-12 * size
}

impl Total {
    fn of(estimates: &[Estimate]) -> Self {
        let mut exact = [whole(0), whole(0), whole(0)];
        let mut decimal = [0.0; 3];
        let mut precision = 0.0;
        let mut rational = true;
        for estimate in estimates {
            match estimate {
                Estimate::Exact(form) => {
                    let parts = [norm2(&form.bias), form.second_moment.clone(), form.variance.clone()];
                    exact.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
                }
                Estimate::Decimal(form, digits) => {
                    rational = false;
                    precision += digits;
                    let parts = [norm2(&form.bias), form.second_moment, form.variance];
                    decimal.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
                }
            }
        }
        if rational { Total::Exact(exact) } else { Total::Decimal(decimal, precision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Corner, Source};
    use crate::number::rational;

    /// Probabilities as fractions, rewards, zero operation.
    type Row<'a> = (&'a [(i64, i64)], &'a [i64], Option<usize>);

    fn instance(rows: &[Row], constant: i64) -> Result<Instance> {
        let mu = rows.iter().map(|(mu, ..)| mu.iter().map(|(n, d)| rational(*n, *d)).collect::<Vec<_>>());
        let r = rows.iter().map(|(_, r, _)| r.iter().map(|r| whole(*r)).collect::<Vec<_>>());
        let zeros = rows.iter().map(|(.., zero)| *zero).collect();
        Instance::new(whole(constant), OpTable::from_rows(mu)?, OpTable::from_rows(r)?, zeros)
    }

    const HALF: &[(i64, i64)] = &[(1, 2), (1, 2)];

    fn exact<'a>(edge: &'a EdgeReport, name: &str) -> &'a Form<Rational> {
        match edge.estimators.iter().find(|(other, _)| *other == name) {
            Some((_, Estimate::Exact(form))) => form,
            _ => panic!("{name}"),
        }
    }

    #[test]
    fn the_papers_counterexample() {
        let report =
            instance(&[(HALF, &[1, 0], None), (HALF, &[1, 0], None)], 0).unwrap().analyse(&Options::default()).unwrap();
        assert_eq!(report.objective, whole(1));
        assert_eq!(report.enumerated, 4);
        let edge = &report.edges[0];
        assert_eq!(edge.gradient, [rational(1, 4), rational(-1, 4)]);
        assert_eq!(
            (edge.gradient_norm2.clone(), edge.printed_gradient_norm2.clone()),
            (rational(1, 8), rational(1, 16))
        );
        assert_eq!(edge.printed_second_moment_adv, rational(1, 4));
        assert_eq!(edge.printed_second_moment_base, rational(1, 2));
        assert_eq!(exact(edge, "reinforce").second_moment, rational(3, 4));
        assert_eq!(exact(edge, "optimal_baseline").variance, whole(0));
        assert_eq!(edge.optimal_baseline, Some(rational(1, 2)));
        assert_eq!(edge.zero, None);
        let names: Vec<&str> = report.totals.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, &NAMES[..6]);
        let total = &report.totals[2].1;
        assert_eq!(*total, Total::Exact([whole(0), rational(1, 2), rational(1, 4)]));
    }

    #[test]
    fn zero_operations_parsec_and_gdas() {
        let options = Options { parsec_samples: Some(2), gdas_temperature: Some(1.0) };
        let rows: [Row; 2] = [(HALF, &[1, 0], Some(1)), (HALF, &[0, 3], None)];
        let report = instance(&rows, 5).unwrap().analyse(&options).unwrap();
        let edge = &report.edges[0];
        assert_eq!(edge.zero, Some((1, whole(1))));
        assert_eq!(exact(edge, "zero_operation").expectation, [whole(0), whole(0)]);
        let decimal = |index: usize, name: &str| match report.edges[index].estimators.iter().find(|(n, _)| *n == name) {
            Some((_, Estimate::Decimal(form, precision))) => (form.clone(), *precision),
            _ => panic!("{name}"),
        };
        // Two samples of two edges, with e^R = e^{a + 3b}: by all four pairs of architectures.
        let (mut mean, mut second) = ([0.0; 2], [0.0; 2]);
        for x in 0..4u32 {
            for y in 0..4u32 {
                let chosen = |z: u32| [z & 1, z >> 1];
                let rho = |z: u32| f64::exp(f64::from(1 - (z & 1)) + 3.0 * f64::from(z >> 1));
                for edge in 0..2 {
                    let up = |z: u32| if chosen(z)[edge] == 0 { 0.5 } else { -0.5 };
                    let delta = (rho(x) * up(x) + rho(y) * up(y)) / (rho(x) + rho(y));
                    mean[edge] += delta / 16.0;
                    second[edge] += 2.0 * delta * delta / 16.0;
                }
            }
        }
        for edge in 0..2 {
            let (form, precision) = decimal(edge, "parsec");
            assert!((form.expectation[0] - mean[edge]).abs() < precision);
            assert!((form.second_moment - second[edge]).abs() < precision);
            assert!((form.bias[0] - (mean[edge] - to_f64(&report.edges[edge].gradient[0]))).abs() < precision);
        }
        let (form, precision) = decimal(0, "gdas");
        assert!((form.expectation[0] - 1.0 / 6.0).abs() < precision && precision < 1e-8);
        let (form, _) = decimal(1, "gdas_one_output");
        let v = gdas::selected(&[0.5, 0.5], 1.0).unwrap();
        assert!((form.expectation[1] - (2.0 * v[1][0] + v[0][1])).abs() < 1e-8);
        assert!(!report.totals.iter().any(|(name, _)| *name == "zero_operation"));
        assert!(report.totals.iter().any(|(name, total)| *name == "parsec" && matches!(total, Total::Decimal(..))));
    }

    #[test]
    fn what_is_refused() {
        let message = |rows: &[Row]| instance(rows, 0).unwrap_err().to_string();
        assert_eq!(message(&[(&[(1, 2), (1, 3)], &[0, 0], None)]), "edge 0: the probabilities sum to 5/6, not to 1");
        assert_eq!(message(&[(&[(3, 2), (-1, 2)], &[0, 0], None)]), "edge 0: probability 1 is negative: -1/2");
        assert_eq!(message(&[(HALF, &[0, 0, 1], None)]), "rewards: candidates per edge differ, expected 1x2, got 1x3");
        assert!(message(&[(HALF, &[0, 0], Some(2))]).starts_with("edge 0: candidate 2 can't be the zero operation"));
        assert!(message(&[(HALF, &[1, 1], Some(1))]).ends_with("got edge 0 with 1 for its zero operation 1"));
        assert!(message(&[(&[(1, 1)], &[0], Some(0))]).ends_with("got edge 0 with 1 candidate"));
        let row: Row = (&[(1, 1)], &[0], None);
        assert!(instance(&vec![row; 2000], 0).is_ok());
        assert!(message(&vec![row; 2001]).starts_with("candidates of the instance: 2001 cases are too many"));
        let good = instance(&[(HALF, &[1, 0], None)], 0).unwrap();
        for options in [
            Options { parsec_samples: Some(0), ..Options::default() },
            Options { gdas_temperature: Some(0.0), ..Options::default() },
        ] {
            assert!(good.analyse(&options).is_err());
        }
        let options = Options { parsec_samples: Some(2), ..Options::default() };
        let message = instance(&[(HALF, &[0, 701], None)], 0).unwrap().analyse(&options).unwrap_err().to_string();
        assert!(message.contains("for PARSEC, must be at most 700, got 701.0"), "{message}");
        assert!(instance(&[(HALF, &[0, 699], None)], 0).unwrap().analyse(&options).is_ok());
        // Minutes of quadrature.
        let slow = instance(&vec![(HALF, &[1, 0][..], None); 40], 0).unwrap();
        let options = Options { gdas_temperature: Some(0.05), ..Options::default() };
        let message = slow.analyse(&options).unwrap_err().to_string();
        assert!(message.starts_with("points of GDAS's quadrature at this temperature: "), "{message}");
    }

    /// Two candidates, one sample pair: `E δ_1 = tanh((r_1 − r_2)/2)/4` whatever the size of the rewards, and an impossible
    /// candidate's reward does not matter.
    #[test]
    fn parsec_keeps_the_digits_of_large_rewards() {
        let options = Options { parsec_samples: Some(2), ..Options::default() };
        let big = 100_000_000_000_000_000;
        for rows in [(HALF, &[big + 1, big][..], None), (&[(1, 2), (1, 2), (0, 1)], &[1, 0, 5000], None)] {
            let report = instance(&[rows], 0).unwrap().analyse(&options).unwrap();
            let found = report.edges[0].estimators.iter().find(|(name, _)| *name == "parsec");
            let Some((_, Estimate::Decimal(form, _))) = found else { panic!("{found:?}") };
            assert!((form.expectation[0] - 0.5f64.tanh() / 4.0).abs() < 1e-14, "{form:?}");
        }
    }

    #[test]
    fn larger_spaces_are_not_enumerated() {
        let mut source = Source::new(8);
        for (edges, enumerated) in [(8, 256), (9, 0)] {
            let shape = advantage_nas::Shape::new(vec![2; edges]).unwrap();
            let (mu, r) = (source.probabilities(&shape, Corner::Uniform), source.rewards(&shape));
            let instance = Instance::new(whole(1), mu, r, vec![None; edges]).unwrap();
            assert_eq!(instance.analyse(&Options::default()).unwrap().enumerated, enumerated);
        }
    }

    #[test]
    fn precisions_and_totals_of_decimals_by_hand() {
        let decimals = |report: &Report, name: &str| -> Vec<(Form<f64>, f64)> {
            let of = |edge: &EdgeReport| match edge.estimators.iter().find(|(other, _)| *other == name) {
                Some((_, Estimate::Decimal(form, precision))) => (form.clone(), *precision),
                other => panic!("{other:?}"),
            };
            report.edges.iter().map(of).collect()
        };
        // 1 + 3² is the size of the squared rewards; below τ = 1 the quadrature loses 1/τ².
        let rows: [Row; 2] = [(HALF, &[3, 0], None), (HALF, &[-3, 1], None)];
        let good = instance(&rows, 5).unwrap();
        assert_eq!(*good.constant(), whole(5));
        for (temperature, factor) in [(0.5, 40.0), (2.0, 10.0)] {
            let options = Options { gdas_temperature: Some(temperature), parsec_samples: Some(2) };
            let report = good.analyse(&options).unwrap();
            for name in ["gdas", "gdas_one_output", "parsec"] {
                let edges = decimals(&report, name);
                if name != "parsec" {
                    assert!(edges.iter().all(|(_, p)| (p / (gdas::PRECISION * factor) - 1.0).abs() < 1e-12));
                }
                let (_, total) = report.totals.iter().find(|(other, _)| *other == name).unwrap();
                let Total::Decimal(found, precision) = total else { panic!("{total:?}") };
                let of = |part: &dyn Fn(&Form<f64>) -> f64| edges.iter().map(|(form, _)| part(form)).sum::<f64>();
                assert_eq!(
                    *found,
                    [of(&|form| norm2(&form.bias)), of(&|form| form.second_moment), of(&|form| form.variance)]
                );
                assert_eq!(*precision, edges[0].1 + edges[1].1);
            }
        }
        // E δ_1 is 1/4 to all digits, the gradient 100: a bias of 99.75.
        let options = Options { parsec_samples: Some(2), ..Options::default() };
        let report = instance(&[(HALF, &[400, 0], None)], 0).unwrap().analyse(&options).unwrap();
        let precision = decimals(&report, "parsec")[0].1;
        assert!((precision / 99.75e-12 - 1.0).abs() < 1e-9, "{precision}");
        // The largest range of rewards that PARSEC is computed for.
        assert!(instance(&[(HALF, &[0, 700], None)], 0).unwrap().analyse(&options).is_ok());
    }
}
