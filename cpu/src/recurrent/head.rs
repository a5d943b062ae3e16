//! The output layer and the cross-entropy, some rows at a time, so that never more than their logits are in memory.
//!
//! Words are cut into groups, which the threads share: a group computes its logits and their exponentials against its own largest
//! one; what joins the groups is a few numbers per row. Then the exponentials become gradients in place, of which every group takes
//! the gradient of its own weights. For the gradient of the outputs, threads share the rows.

use pulp::Arch;

use super::pointwise::{Exponentials, Slopes, Statistics};
use super::weights::Tensor;
use crate::Element;
use crate::layer::{LANES, Pixel, blocks};
use crate::matrix::{Rows, RowsMut, multiply, multiply_transposed};
use crate::workers::Workers;

/// Rows whose logits are in memory.
pub(super) const ROWS: usize = 256;
/// Panels of words of a group.
const GROUP: usize = 32;
/// Rows of the gradient of the outputs that a thread takes.
const SHARE: usize = 32;

/// Some words.
#[derive(Clone, Debug)]
struct Group<T> {
    /// The first panel, and how many.
    first: usize,
    panels: usize,
    /// Logits, exponentials, gradients of logits: `[panels, rows]`.
    logits: Vec<Pixel<T>>,
    /// `[rows]`
    statistics: Vec<Statistics>,
    largest: Vec<Pixel<T>>,
    sums: Vec<Pixel<T>>,
    /// `[panels]`
    bias_gradient: Vec<Pixel<T>>,
}

/// Buffers of the output layer.
#[derive(Debug)]
pub(super) struct Head<T> {
    units: usize,
    groups: Vec<Group<T>>,
    /// Gradients of outputs, `[panels, share]` each.
    shares: Vec<(usize, Vec<Pixel<T>>)>,
}

impl<T: Element> Head<T> {
    pub(super) fn new(words: usize, units: usize) -> Self {
        let zeros = |length: usize| vec![Pixel::default(); length];
        let groups = (0..blocks(words)).step_by(GROUP).map(|first| {
            let panels = GROUP.min(blocks(words) - first);
            Group {
                first,
                panels,
                logits: zeros(panels * ROWS),
                statistics: vec![Statistics::default(); ROWS],
                largest: zeros(ROWS),
                sums: zeros(ROWS),
                bias_gradient: zeros(panels),
            }
        });
        let shares = (0..ROWS / SHARE).map(|share| (share * SHARE, zeros(blocks(units) * SHARE)));
        Self { units, groups: groups.collect(), shares: shares.collect() }
    }

    /// Forward pass of at most [`ROWS`] rows of outputs; the sum of their cross-entropies.
    pub(super) fn forward(
        &mut self,
        arch: Arch,
        workers: &Workers,
        [weight, bias]: [&Tensor<T>; 2],
        outputs: Rows<'_, T>,
        targets: &[u32],
        batch: usize,
    ) -> f64 {
        let (rows, units) = (outputs.count, self.units);
        workers.each(&mut self.groups, |group| {
            let factor = Rows::all(&weight.value[group.first * units..][..group.panels * units], units);
            let logits = &mut group.logits[..group.panels * rows];
            multiply(arch, outputs, factor, group.panels, RowsMut::all(logits, rows), false);
            arch.dispatch(Exponentials {
                rows,
                bias: &bias.value[group.first..][..group.panels],
                logits,
                first: group.first * LANES,
                targets,
                largest: &mut group.largest,
                sums: &mut group.sums,
                statistics: &mut group.statistics[..rows],
            });
        });
        let mut loss = 0.0;
        for (row, &target) in targets.iter().enumerate() {
            let largest = self.groups.iter().map(|group| group.statistics[row].largest);
            // Not f64::max, which would hide a NaN; that of a sum shows in the loss.
            let largest = largest.fold(f64::MIN, |one, other| if other > one { other } else { one });
            let mut total = 0.0;
            for group in &mut self.groups {
                let statistics = &mut group.statistics[row];
                statistics.factor = (statistics.largest - largest).exp();
                total += statistics.sum * statistics.factor;
            }
            for group in &mut self.groups {
                group.statistics[row].factor /= total * batch as f64;
            }
            let group = &self.groups[target as usize / (GROUP * LANES)];
            loss += total.ln() + (largest - group.statistics[row].target);
        }
        loss
    }

    /// The way back after [`Head::forward`] of the same rows: gradients of weights (added, unless these are the first rows) and
    /// bias, and that of the outputs.
    pub(super) fn backward(
        &mut self,
        arch: Arch,
        workers: &Workers,
        [weight, bias]: [&mut Tensor<T>; 2],
        outputs: RowsMut<'_, T>,
        targets: &[u32],
        wanted: HeadWanted,
    ) {
        let (rows, units) = (outputs.count, self.units);
        let HeadWanted { batch, weights, first } = wanted;
        let mut outputs = outputs;
        {
            let read = Rows { pixels: outputs.pixels, stride: outputs.stride, first: outputs.first, count: rows };
            workers.each_with(&mut self.groups, &mut weight.gradient, GROUP * units, |group, gradient| {
                if first {
                    group.bias_gradient.fill(Pixel::default());
                }
                let logits = &mut group.logits[..group.panels * rows];
                arch.dispatch(Slopes {
                    rows,
                    logits,
                    first: group.first * LANES,
                    targets,
                    statistics: &group.statistics[..rows],
                    share: 1.0 / batch as f64,
                    bias_gradient: &mut group.bias_gradient,
                });
                if weights {
                    multiply_transposed(arch, read, units, Rows::all(logits, rows), gradient, !first);
                }
            });
        }
        for group in &self.groups {
            bias.gradient[group.first..][..group.panels].copy_from_slice(&group.bias_gradient);
        }
        let (groups, panels) = (&self.groups, blocks(units));
        let factor = weight.backward();
        let count = rows.div_ceil(SHARE);
        workers.each(&mut self.shares[..count], |(top, gradient)| {
            let height = SHARE.min(rows - *top);
            for group in groups {
                let slopes = Rows::all(&group.logits[..group.panels * rows], rows).part(*top, height);
                let words = group.first * LANES;
                let factor = factor.part(words, (group.panels * LANES).min(factor.count - words));
                let out = RowsMut::all(&mut gradient[..panels * height], height);
                multiply(arch, slopes, factor, panels, out, group.first > 0);
            }
        });
        for (top, gradient) in &self.shares[..count] {
            let height = SHARE.min(rows - top);
            for panel in 0..panels {
                outputs.panel(panel)[*top..][..height].copy_from_slice(&gradient[panel * height..][..height]);
            }
        }
    }
}

/// What the way back computes.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadWanted {
    /// Streams of the minibatch, over which the loss is averaged.
    pub(super) batch: usize,
    /// Whether the gradients of the weights are.
    pub(super) weights: bool,
    /// Whether these are the first rows.
    pub(super) first: bool,
}
