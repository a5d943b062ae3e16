//! GDAS and SNAS on the linear testbed (claim C17): gradients through the Gumbel-softmax, by quadrature.
//!
//! With `h = softmax((θ + G)/τ)` and standard Gumbel `G`:
//! - *dense*: `δ = (1/τ)(diag(h) − h hᵀ) r`, the gradient of `E[hᵀ r]` — SNAS, and GDAS if every candidate were evaluated;
//! - *one output*: only the selected candidate `s = argmax h` is evaluated, and the gradient at the others is `κ`, as if their
//!   output were all ones: `δ = (r_s − κ)(1/τ) h_s (e_s − h)`.
//!
//! The moments of `h` are two-dimensional integrals for every number of candidates: with `x_k = e^{(θ_k + G_k)/τ}` and
//! `M = Σ m_k`, `E Π h_k^{m_k} = 1/Γ(M) ∫ t^{M−1} Π_k E[x_k^{m_k} e^{−t x_k}] dt`, and with `t = e^{−w/τ}` every factor is an
//! integral over one Gumbel variable of `y^m e^{−y}`, `y = e^{(u−w)/τ}`. For the selected candidate the others are truncated at
//! its own `u`, which cumulative integrals give on the same nodes. Gauss–Legendre panels in `u`, the trapezoidal rule in `w`
//! (analytic and decaying on the whole line, so that it converges exponentially).

use crate::error::{Error, Result};
use crate::number::dot;
use crate::testbed::Form;

/// Absolute accuracy of the moments that is promised, per unit of squared reward; tests hold it against closed forms.
pub const PRECISION: f64 = 1e-9;

/// The temperatures for which the quadrature is made.
pub const TEMPERATURES: std::ops::RangeInclusive<f64> = 0.05..=20.0;

/// Most points of the quadrature, over all candidates: about a minute.
pub const MOST_POINTS: f64 = 1e9;

/// Nodes of a panel.
const NODES: usize = 10;

/// Gauss–Legendre on `[−1, 1]`: nodes, weights, and the integrals of the Lagrange polynomials from −1 to every node.
struct Panel {
    nodes: [f64; NODES],
    weights: [f64; NODES],
    /// `cumulative[i][j] = ∫_{−1}^{x_i} ℓ_j`.
    cumulative: [[f64; NODES]; NODES],
}

impl Panel {
    fn new() -> Self {
        let mut nodes = [0.0; NODES];
        let mut weights = [0.0; NODES];
        for i in 0..NODES {
            let mut x = -(std::f64::consts::PI * (i as f64 + 0.75) / (NODES as f64 + 0.5)).cos();
            let mut slope = 1.0;
            // Newton's method; quadratic from this start.
            for _ in 0..8 {
                let (mut previous, mut value) = (1.0, x);
                for k in 2..=NODES {
                    let k = k as f64;
                    (previous, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * previous) / k);
                }
                slope = NODES as f64 * (x * value - previous) / (x * x - 1.0);
                x -= value / slope;
            }
            nodes[i] = x;
            weights[i] = 2.0 / ((1.0 - x * x) * slope * slope);
        }
        let lagrange = |j: usize, x: f64| {
            (0..NODES).filter(|k| *k != j).map(|k| (x - nodes[k]) / (nodes[j] - nodes[k])).product::<f64>()
        };
        let mut cumulative = [[0.0; NODES]; NODES];
        for (i, row) in cumulative.iter_mut().enumerate() {
            let half = (nodes[i] + 1.0) / 2.0;
            for (j, value) in row.iter_mut().enumerate() {
                *value = (0..NODES).map(|k| half * weights[k] * lagrange(j, half * (nodes[k] + 1.0) - 1.0)).sum();
            }
        }
        Self { nodes, weights, cumulative }
    }
}

/// Moments of one edge: of both forms, on the given rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct GdasForms {
    /// All candidates evaluated (also SNAS).
    pub dense: Form<f64>,
    /// Only the selected candidate evaluated.
    pub one_output: Form<f64>,
}

/// `W_kl = E[h_k h_l]/τ` and `V_sk = E[1{s selected} h_s h_k]/τ`, and the second moments, for one edge.
struct Moments {
    coupling: Vec<Vec<f64>>,
    selected: Vec<Vec<f64>>,
    dense_second: f64,
    /// `E[1{s selected} ‖h_s (e_s − h)‖²]/τ²`.
    selected_second: Vec<f64>,
}

/// Both forms of GDAS at one edge. `unit` is `κ`, the gradient at the candidates that are not evaluated.
///
/// # Errors
/// [`Error::Argument`] for a temperature outside [`TEMPERATURES`].
pub fn forms(probabilities: &[f64], rewards: &[f64], temperature: f64, unit: f64) -> Result<GdasForms> {
    let moments = moments(probabilities, rewards, temperature)?;
    let n = probabilities.len();
    let mean = dot(probabilities, rewards);
    let gradient: Vec<f64> = probabilities.iter().zip(rewards).map(|(mu, r)| mu * (r - mean)).collect();
    let dense =
        (0..n).map(|k| (0..n).map(|l| moments.coupling[k][l] * (rewards[k] - rewards[l])).sum()).collect::<Vec<f64>>();
    let one_output = (0..n)
        .map(|k| {
            let own: f64 = (0..n).filter(|l| *l != k).map(|l| moments.selected[k][l]).sum();
            let other: f64 = (0..n).filter(|s| *s != k).map(|s| moments.selected[s][k] * (rewards[s] - unit)).sum();
            (rewards[k] - unit) * own - other
        })
        .collect::<Vec<f64>>();
    let one_output_second =
        moments.selected_second.iter().zip(rewards).map(|(second, r)| second * (r - unit) * (r - unit)).sum();
    Ok(GdasForms {
        dense: Form::new(dense, &gradient, moments.dense_second),
        one_output: Form::new(one_output, &gradient, one_output_second),
    })
}

/// `W_kl = E[h_k h_l]/τ`, `[candidates][candidates]`: `E δ_k = Σ_l W_kl (r_k − r_l)` for the dense form.
///
/// # Errors
/// [`Error::Argument`] for a temperature outside [`TEMPERATURES`].
pub fn coupling(probabilities: &[f64], temperature: f64) -> Result<Vec<Vec<f64>>> {
    Ok(moments(probabilities, &vec![0.0; probabilities.len()], temperature)?.coupling)
}

/// `V_sk = E[1{s selected} h_s h_k]/τ`, `[candidates][candidates]`, zero on the diagonal: for one output,
/// `E δ_k = (r_k − κ) Σ_l V_kl − Σ_s (r_s − κ) V_sk`.
///
/// # Errors
/// [`Error::Argument`] for a temperature outside [`TEMPERATURES`].
pub fn selected(probabilities: &[f64], temperature: f64) -> Result<Vec<Vec<f64>>> {
    Ok(moments(probabilities, &vec![0.0; probabilities.len()], temperature)?.selected)
}

/// The grid of the quadrature: where `u` and `w` start and end, the number of panels in `u` and of steps in `w`.
struct Grid {
    u: [f64; 2],
    w: [f64; 2],
    panels: f64,
    steps: f64,
}

impl Grid {
    fn new(logits: &[f64], tau: f64) -> Self {
        let lowest = logits.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // Below −4 the Gumbel density is under 1e-22, above 40 under 1e-17.
        let u = [lowest - 4.0, highest + 40.0];
        // y = e^{(u − w)/τ} beyond 40 is as good as infinite; far above, every factor decays like e^{−w} or e^{−w/τ}.
        let w = [u[0] - 4.0 * tau, highest + 40.0 * tau.max(1.0)];
        Self { u, w, panels: ((u[1] - u[0]) / tau.min(1.0)).ceil(), steps: ((w[1] - w[0]) / (0.2 * tau)).ceil() }
    }

    /// Length of a panel.
    fn width(&self) -> f64 {
        (self.u[1] - self.u[0]) / self.panels
    }

    /// Places of `u`, panel by panel.
    fn nodes(&self, panel: &Panel) -> Vec<f64> {
        let width = self.width();
        let place = |p: usize, x: f64| self.u[0] + width * (p as f64 + (x + 1.0) / 2.0);
        (0..self.panels as usize).flat_map(|p| panel.nodes.map(|x| place(p, x))).collect()
    }

    /// Distance of the places of `w`.
    fn step(&self) -> f64 {
        (self.w[1] - self.w[0]) / self.steps
    }
}

fn expect_temperature(temperature: f64) -> Result<()> {
    if TEMPERATURES.contains(&temperature) {
        return Ok(());
    }
    let got = format!("{temperature:?}");
    Err(Error::Argument { name: "temperature", expected: "between 0.05 and 20", got })
}

/// The points of the quadrature for one edge, over all candidates: what its time is proportional to.
///
/// # Errors
/// [`Error::Argument`] for a temperature outside [`TEMPERATURES`].
pub fn points(probabilities: &[f64], temperature: f64) -> Result<f64> {
    expect_temperature(temperature)?;
    let logits: Vec<f64> = probabilities.iter().filter(|p| **p > 0.0).map(|p| p.ln()).collect();
    if logits.len() < 2 {
        return Ok(0.0);
    }
    let grid = Grid::new(&logits, temperature);
    Ok(grid.panels * NODES as f64 * (grid.steps + 1.0) * logits.len() as f64)
}

/// That the quadrature has at most [`MOST_POINTS`].
///
/// # Errors
/// [`Error::TooLarge`].
pub fn expect_few(points: f64) -> Result<()> {
    if points <= MOST_POINTS {
        return Ok(());
    }
    let what = "points of GDAS's quadrature at this temperature";
    Err(Error::TooLarge { what, count: format!("{points:.0}"), limit: MOST_POINTS as u128 })
}

fn moments(probabilities: &[f64], rewards: &[f64], temperature: f64) -> Result<Moments> {
    expect_few(points(probabilities, temperature)?)?;
    let n = probabilities.len();
    let mut out = Moments {
        coupling: vec![vec![0.0; n]; n],
        selected: vec![vec![0.0; n]; n],
        dense_second: 0.0,
        selected_second: vec![0.0; n],
    };
    // An impossible candidate has h = 0; with one possible candidate nothing varies.
    let alive: Vec<usize> = (0..n).filter(|k| probabilities[*k] > 0.0).collect();
    if alive.len() < 2 {
        return Ok(out);
    }
    let tau = temperature;
    let logits: Vec<f64> = alive.iter().map(|&k| probabilities[k].ln()).collect();
    let grid = Grid::new(&logits, tau);
    let first = grid.w[0];
    let panels = grid.panels as usize;
    let width = grid.width();
    let panel = Panel::new();
    let nodes = grid.nodes(&panel);
    let densities: Vec<Vec<f64>> =
        logits.iter().map(|logit| nodes.iter().map(|u| gumbel_density(u - logit)).collect()).collect();

    let steps = grid.steps as usize;
    let step = grid.step();

    let m = alive.len();
    let mut kernels = vec![[0.0; 3]; nodes.len()];
    let mut cumulative = vec![vec![[0.0; 3]; nodes.len()]; m];
    for index in 0..=steps {
        let w = first + step * index as f64;
        for (kernel, u) in kernels.iter_mut().zip(&nodes) {
            let y = ((u - w) / tau).exp();
            let decay = (-y).exp();
            *kernel = if decay == 0.0 { [0.0; 3] } else { [decay, y * decay, y * y * decay] };
        }
        let mut totals = vec![[0.0; 3]; m];
        for k in 0..m {
            let mut below = [0.0; 3];
            for p in 0..panels {
                let range = p * NODES..(p + 1) * NODES;
                let mut values = [[0.0; NODES]; 3];
                for (i, at) in range.clone().enumerate() {
                    for power in 0..3 {
                        values[power][i] = densities[k][at] * kernels[at][power];
                    }
                }
                for power in 0..3 {
                    for (i, at) in range.clone().enumerate() {
                        let part: f64 = panel.cumulative[i].iter().zip(&values[power]).map(|(a, b)| a * b).sum();
                        cumulative[k][at][power] = below[power] + width / 2.0 * part;
                    }
                    let part: f64 = panel.weights.iter().zip(&values[power]).map(|(a, b)| a * b).sum();
                    below[power] += width / 2.0 * part;
                }
            }
            totals[k] = below;
        }
        add_dense(&mut out, &alive, rewards, &totals, step / tau, tau);
        for (at, kernel) in kernels.iter().enumerate() {
            let weight = width / 2.0 * panel.weights[at % NODES] * step / tau;
            add_selected(&mut out, &alive, kernel, weight, tau, |k| (densities[k][at], cumulative[k][at]));
        }
    }
    Ok(out)
}

/// The integrand of the dense moments at one `w`.
fn add_dense(out: &mut Moments, alive: &[usize], rewards: &[f64], totals: &[[f64; 3]], weight: f64, tau: f64) {
    let product: f64 = totals.iter().map(|total| total[0]).product();
    if !(product > f64::MIN_POSITIVE) {
        return;
    }
    let ratio = |k: usize, power: usize| totals[k][power] / totals[k][0];
    for (k, &at) in alive.iter().enumerate() {
        for (l, &other) in alive.iter().enumerate() {
            if l != k {
                // Γ(2) = 1.
                out.coupling[at][other] += weight * product * ratio(k, 1) * ratio(l, 1) / tau;
            }
        }
        // Σ_{l,m} h_k² h_l h_m (r_k − r_l)(r_k − r_m), Γ(4) = 6.
        let differences: Vec<f64> = alive.iter().map(|&other| rewards[at] - rewards[other]).collect();
        let linear: f64 = differences.iter().enumerate().map(|(l, difference)| difference * ratio(l, 1)).sum();
        let diagonal: f64 = differences
            .iter()
            .enumerate()
            .map(|(l, difference)| difference * difference * (ratio(l, 2) - ratio(l, 1) * ratio(l, 1)))
            .sum();
        out.dense_second += weight * product * ratio(k, 2) * (linear * linear + diagonal) / (6.0 * tau * tau);
    }
}

/// The integrand of the moments of the selected candidate at one `w` and one `u`; `at(k)` is the density of candidate `k` there,
/// and its integrals below.
fn add_selected(
    out: &mut Moments,
    alive: &[usize],
    kernel: &[f64; 3],
    weight: f64,
    tau: f64,
    at: impl Fn(usize) -> (f64, [f64; 3]),
) {
    if kernel[1] == 0.0 {
        return;
    }
    let m = alive.len();
    for s in 0..m {
        let density = at(s).0;
        let others = || (0..m).filter(|k| *k != s).map(|k| at(k).1);
        let product: f64 = others().map(|below| below[0]).product();
        let linear: f64 = others().map(|below| below[1] / below[0]).sum();
        let linear_squares: f64 = others().map(|below| (below[1] / below[0]).powi(2)).sum();
        let squares: f64 = others().map(|below| below[2] / below[0]).sum();
        let scale = weight * density * product;
        // Below the others' densities nothing can be selected, and the ratios mean nothing.
        let usable = [scale > f64::MIN_POSITIVE, linear.is_finite(), squares.is_finite()];
        if usable != [true; 3] {
            continue;
        }
        for k in (0..m).filter(|k| *k != s) {
            let below = at(k).1;
            out.selected[alive[s]][alive[k]] += scale * kernel[1] * below[1] / below[0] / tau;
        }
        // h_s² [(Σ_{k≠s} h_k)² + Σ_{k≠s} h_k²], Γ(4) = 6.
        let inner = linear * linear - linear_squares + 2.0 * squares;
        out.selected_second[alive[s]] += scale * kernel[2] * inner / (6.0 * tau * tau);
    }
}

fn gumbel_density(g: f64) -> f64 {
    (-g - (-g).exp()).exp()
}

/// `W_12` of two candidates at `τ = 1` in closed form, the density at `u = θ_1 − θ_2` of the sum of two independent logistic
/// variables: `e^u ((u − 2) e^u + u + 2)/(e^u − 1)³ = (x cosh x − sinh x)/(2 sinh³ x)` with `x = u/2`; `1/6` at 0.
#[must_use]
pub fn two_candidates(u: f64) -> f64 {
    if u.abs() < 0.05 {
        // The closed form cancels here.
        return 1.0 / 6.0 - u * u / 60.0 + u.powi(4) / 1008.0;
    }
    let x = u / 2.0;
    (x * x.cosh() - x.sinh()) / (2.0 * x.sinh().powi(3))
}

/// `W_kl` at `τ = 1` for any number of candidates, by modified Bessel functions (DLMF 10.32.9 for their integrals):
/// `∫₀^∞ t · 4 μ_k μ_l K₀(2√(t μ_k)) K₀(2√(t μ_l)) Π_{m≠k,l} 2√(t μ_m) K₁(2√(t μ_m)) dt`. Nothing is shared with the quadrature
/// above, so that one checks the other.
#[must_use]
pub fn coupling_by_bessel(probabilities: &[f64], k: usize, l: usize) -> f64 {
    // K_ν(x) = ∫₀^∞ e^{−x cosh s} cosh(ν s) ds; even and doubly exponentially decaying, so the trapezoidal rule converges fast.
    let bessel = |order: f64, x: f64| {
        let h = 0.05;
        let term = |s: f64| (-x * s.cosh()).exp() * (order * s).cosh();
        h * (term(0.0) / 2.0 + (1..600).map(|i| term(h * f64::from(i))).take_while(|t| *t > 0.0).sum::<f64>())
    };
    // t = e^v: the integrand decays on both sides.
    let h = 0.05;
    (0..2000)
        .map(|i| {
            let t = (-40.0 + h * f64::from(i)).exp();
            let mut value = t * t;
            for (m, &mu) in probabilities.iter().enumerate() {
                let x = 2.0 * (t * mu).sqrt();
                value *= if m == k || m == l { 2.0 * mu * bessel(0.0, x) } else { x * bessel(1.0, x) };
                if value == 0.0 {
                    break;
                }
            }
            h * value
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::tolerance::{assert_all_close, assert_close};

    fn softmax(logits: &[f64]) -> Vec<f64> {
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        logits.iter().map(|x| x.exp() / total).collect()
    }

    #[test]
    fn two_candidates_have_a_closed_form() {
        for u in [0.0, 0.01, 0.3, 1.0, -2.0, 4.0] {
            let mu = softmax(&[u, 0.0]);
            let expected = two_candidates(u);
            assert_close(coupling(&mu, 1.0).unwrap()[0][1], expected, 1e-10, 0.0);
            assert_close(coupling_by_bessel(&mu, 0, 1), expected, 1e-9, 0.0);
        }
        // The two branches of the closed form meet.
        assert_close(two_candidates(0.049_999), two_candidates(0.050_001), 1e-6, 0.0);
        assert_close(two_candidates(1.0), 1f64.exp() * (-1f64.exp() + 3.0) / 1f64.exp_m1().powi(3), 1e-13, 0.0);
    }

    #[test]
    fn bessel_functions_agree_with_the_quadrature() {
        for mu in [vec![0.5, 0.3, 0.2], vec![0.25; 4], vec![0.7, 0.2, 0.06, 0.04]] {
            let matrix = coupling(&mu, 1.0).unwrap();
            for (k, row) in matrix.iter().enumerate() {
                for (l, value) in row.iter().enumerate().take(k) {
                    assert_close(*value, coupling_by_bessel(&mu, k, l), 1e-8, 1e-12);
                    assert_close(*value, matrix[l][k], 1e-13, 0.0);
                }
            }
        }
    }

    /// `E h_k = μ_k` holds for no temperature but the selected candidate always has probability `μ_s`, which fixes
    /// `Σ_k E[1{s} h_s h_k] = E[1{s} h_s]`; and the dense sums are the selected ones, added up differently:
    /// `E[h_k h_l] ≥ E[1{k} h_k h_l] + E[1{l} h_k h_l]` with equality for two candidates.
    #[test]
    fn two_candidates_are_selected_or_not() {
        for tau in [0.1, 0.5, 1.0, 3.0] {
            let mu = [0.7, 0.3];
            let (dense, selected) = (coupling(&mu, tau).unwrap(), selected(&mu, tau).unwrap());
            assert_close(dense[0][1], selected[0][1] + selected[1][0], 1e-9, 0.0);
        }
        let mu = [0.5, 0.3, 0.2];
        let (dense, selected) = (coupling(&mu, 1.0).unwrap(), selected(&mu, 1.0).unwrap());
        assert!(dense[0][1] > selected[0][1] + selected[1][0] + 1e-4);
    }

    /// For two candidates `h` is the logistic function of `(u + Λ)/τ`, and every moment is a one-dimensional integral over `Λ`.
    #[test]
    fn two_candidates_by_one_integral() {
        for (mu, tau) in [([0.5, 0.5], 1.0), ([0.9, 0.1], 0.3), ([0.6, 0.4], 4.0)] {
            let u: f64 = f64::ln(mu[0] / mu[1]);
            let (r, kappa) = ([2.0, -1.0], 0.5);
            let (mut dense, mut one) = ([0.0; 2], [0.0; 2]);
            let step = 2e-4;
            for i in -250_000..250_000i32 {
                // The integrand has a kink at x = 0, where the other candidate is selected: nodes on both sides of it.
                let x = (f64::from(i) + 0.5) * step;
                let lambda = x - u;
                let density = step * (-lambda.abs()).exp() / (1.0 + (-lambda.abs()).exp()).powi(2);
                let h = 1.0 / (1.0 + (-x / tau).exp());
                let delta = h * (1.0 - h) * (r[0] - r[1]) / tau;
                dense[0] += density * delta;
                dense[1] += density * 2.0 * delta * delta;
                let sign = if x > 0.0 { r[0] - kappa } else { kappa - r[1] };
                let delta = sign * h * (1.0 - h) / tau;
                one[0] += density * delta;
                one[1] += density * 2.0 * delta * delta;
            }
            let forms = forms(&mu, &r, tau, kappa).unwrap();
            assert_all_close(&[forms.dense.expectation[0], forms.dense.second_moment], &dense, 1e-7, 1e-9);
            assert_all_close(&[forms.one_output.expectation[0], forms.one_output.second_moment], &one, 1e-7, 1e-9);
            assert_close(forms.dense.expectation[1], -dense[0], 1e-7, 1e-9);
            assert_close(forms.one_output.expectation[1], -one[0], 1e-7, 1e-9);
        }
    }

    /// Finer or coarser panels would show in a case that is computed in two ways: merging two candidates of equal reward. The sum
    /// of their Gumbel-softmax weights is not the weight of a merged candidate, but as τ → 0 it is.
    #[test]
    fn small_temperatures_approach_the_gradient() {
        let (mu, r) = ([0.5, 0.3, 0.2], [1.0, -1.0, 2.0]);
        let mut previous = f64::INFINITY;
        for tau in [0.4, 0.2, 0.1, 0.05] {
            let dense = forms(&mu, &r, tau, 1.0).unwrap().dense;
            let distance = dense.bias.iter().map(|b| b * b).sum::<f64>().sqrt();
            assert!(distance < previous / 3.0, "{distance} after {previous}");
            previous = distance;
        }
        assert!(previous < 2e-3);
    }

    #[test]
    fn long_quadratures_are_refused() {
        // Two candidates of 1/2 at τ = 1: u is 44 long, in panels of length 1 with 10 nodes; w is 48 long, in 240 steps of 0.2.
        let half = points(&[0.5, 0.5, 0.0], 1.0).unwrap();
        assert_eq!(half, 44.0 * 10.0 * 241.0 * 2.0);
        assert_eq!(points(&[1.0, 0.0], 1.0).unwrap(), 0.0);
        let message = forms(&[1e-300, 1.0], &[0.0, 1.0], 0.05, 1.0).unwrap_err().to_string();
        assert!(message.starts_with("points of GDAS's quadrature at this temperature: "), "{message}");
        assert!(expect_few(MOST_POINTS).is_ok() && expect_few(MOST_POINTS + 1.0).is_err());
    }

    #[test]
    fn corners_and_bad_temperatures() {
        let vertex = forms(&[1.0, 0.0], &[3.0, 1.0], 1.0, 1.0).unwrap();
        assert_eq!(vertex.dense.expectation, [0.0, 0.0]);
        assert_eq!(vertex.one_output.second_moment, 0.0);
        // An impossible candidate changes nothing for the others.
        let with = forms(&[0.7, 0.0, 0.3], &[3.0, 9.0, 1.0], 0.5, 1.0).unwrap();
        let without = forms(&[0.7, 0.3], &[3.0, 1.0], 0.5, 1.0).unwrap();
        assert_close(with.dense.second_moment, without.dense.second_moment, 1e-12, 0.0);
        assert_close(with.one_output.expectation[2], without.one_output.expectation[1], 1e-12, 0.0);
        for tau in [0.0, -1.0, f64::NAN, 0.01, 21.0] {
            let message = forms(&[0.5, 0.5], &[0.0, 1.0], tau, 1.0).unwrap_err().to_string();
            assert!(message.starts_with("temperature must be between 0.05 and 20, got "), "{message}");
        }
    }

    /// The nodes fill their panels from the first to the last and no others; the last step of `w` ends where `w` does.
    #[test]
    fn the_grid_is_where_it_is_said_to_be() {
        // Candidates of 1/2: u from ln(1/2) − 4, 44 long, w from 4 before that, 48 long.
        let grid = Grid::new(&[0.5f64.ln(); 2], 1.0);
        let start = 0.5f64.ln() - 4.0;
        assert_close(grid.width(), 1.0, 1e-14, 0.0);
        assert_close(grid.step(), 0.2, 1e-14, 0.0);
        let nodes = grid.nodes(&Panel::new());
        assert_eq!(nodes.len(), 44 * NODES);
        for (p, panel) in nodes.chunks(NODES).enumerate() {
            // Gauss's nodes are symmetric about the middle.
            let middle = start + p as f64 + 0.5;
            assert_close(panel.iter().sum::<f64>() / NODES as f64, middle, 1e-12, 1e-12);
            assert!(panel.iter().all(|u| (u - middle).abs() < 0.5), "panel {p}: {panel:?}");
        }
    }

    #[test]
    fn panels_integrate_polynomials() {
        let panel = Panel::new();
        for power in 0..10 {
            let f = |x: f64| x.powi(power);
            let primitive = |x: f64| (x.powi(power + 1) - (-1f64).powi(power + 1)) / f64::from(power + 1);
            let total: f64 = panel.nodes.iter().zip(&panel.weights).map(|(x, w)| w * f(*x)).sum();
            assert_close(total, primitive(1.0), 1e-13, 1e-14);
            for i in 0..NODES {
                let part: f64 = (0..NODES).map(|j| panel.cumulative[i][j] * f(panel.nodes[j])).sum();
                assert_close(part, primitive(panel.nodes[i]), 1e-12, 1e-13);
            }
        }
    }
}
