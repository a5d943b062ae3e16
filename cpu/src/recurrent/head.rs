//! The output layer and the cross-entropy, some rows at a time, so that never more than their logits are in memory.
//!
//! Words are cut into groups, which the threads share: a group computes its logits and their exponentials against its own largest
//! one; what joins the groups is a few numbers per row. Then the exponentials become gradients in place, of which every group takes
//! the gradient of its own weights. For the gradient of the outputs, threads share the rows.

use pulp::Arch;

use super::learned::OutputLayer;
use super::pointwise::{Exponentials, Slopes, Statistics};
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
    /// Pixels of its buffers.
    pub(super) fn pixels(words: usize, units: usize) -> usize {
        let panels = blocks(words);
        panels * (ROWS + 1) + panels.div_ceil(GROUP) * 2 * ROWS + blocks(units) * ROWS
    }

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
        [weight, bias]: [&[Pixel<T>]; 2],
        outputs: Rows<'_, T>,
        targets: &[u32],
        batch: usize,
    ) -> f64 {
        let (rows, units) = (outputs.count, self.units);
        workers.each(&mut self.groups, |group| {
            let factor = Rows::all(&weight[group.first * units..][..group.panels * units], units);
            let logits = &mut group.logits[..group.panels * rows];
            multiply(arch, outputs, factor, group.panels, RowsMut::all(logits, rows), false);
            arch.dispatch(Exponentials {
                rows,
                bias: &bias[group.first..][..group.panels],
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
        layer: OutputLayer<'_, T>,
        outputs: RowsMut<'_, T>,
        targets: &[u32],
        wanted: HeadWanted,
    ) {
        let (rows, units) = (outputs.count, self.units);
        let HeadWanted { batch, weights, first } = wanted;
        let OutputLayer { factor, weight_gradient, bias_gradient } = layer;
        let mut outputs = outputs;
        {
            let read = Rows { pixels: outputs.pixels, stride: outputs.stride, first: outputs.first, count: rows };
            workers.each_with(&mut self.groups, weight_gradient, GROUP * units, |group, gradient| {
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
            bias_gradient[group.first..][..group.panels].copy_from_slice(&group.bias_gradient);
        }
        let (groups, panels) = (&self.groups, blocks(units));
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

#[cfg(test)]
mod tests {
    use advantage_nas::network::Part;
    use advantage_nas::network::recurrent::{ParameterKind, Parent, Recurrent};
    use advantage_nas::random::Streams;
    use advantage_nas::strategy::Proposal;
    use advantage_nas::tolerance::{assert_close, central_difference};
    use ndarray::ArrayView1;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::super::learned::Learned;
    use super::*;

    const WORDS: usize = 1030;
    const UNITS: usize = 18;
    const COUNT: usize = 37;

    /// Output layer and cross-entropy in two blocks of rows, weights and bias of all words.
    struct Layer {
        learned: Learned<f64>,
        head: Head<f64>,
        outputs: Vec<Pixel<f64>>,
        targets: Vec<u32>,
        places: [usize; 2],
    }

    impl Layer {
        /// Numbers of the weights or of the bias.
        fn read(&self, place: usize, part: Part) -> Vec<f64> {
            self.learned.read(place, part).into_raw_vec_and_offset().0
        }

        fn write(&mut self, place: usize, values: &[f64]) {
            self.learned.write(place, Part::Value, ArrayView1::from(values).into_dyn()).unwrap();
        }

        fn new() -> (Self, ChaCha8Rng) {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            let sizes = Recurrent { vocabulary: WORDS, units: UNITS, initial_range: 1.5, ..Recurrent::paper() };
            let parent = Parent::new(sizes).unwrap();
            let mut learned = Learned::new(&parent, &Streams::new(0), 0);
            learned.select(&parent, &Proposal::new(parent.space().shape()));
            learned.transpose(&Workers::new(1).unwrap());
            let outputs = (0..blocks(UNITS) * COUNT)
                .map(|_| Pixel(std::array::from_fn(|_| rng.random_range(-1.0..1.0))))
                .collect();
            // The first and the last word among them.
            let mut targets: Vec<u32> = (0..COUNT).map(|_| rng.random_range(0..WORDS as u32)).collect();
            targets[..2].copy_from_slice(&[0, WORDS as u32 - 1]);
            let places = [ParameterKind::OutputWeight, ParameterKind::OutputBias].map(|kind| parent.index(kind));
            (Self { learned, head: Head::new(WORDS, UNITS), outputs, targets, places }, rng)
        }

        /// Sum of the cross-entropies over 4, and with `back` all gradients.
        fn loss(&mut self, back: bool) -> f64 {
            let workers = Workers::new(2).unwrap();
            let (arch, mut loss, mut first) = (Arch::new(), 0.0, true);
            for (top, count) in [(0, 21), (21, 16)] {
                let targets = &self.targets[top..][..count];
                let rows = Rows::all(&self.outputs, COUNT).part(top, count);
                let values = self.places.map(|place| self.learned.value(place));
                loss += self.head.forward(arch, &workers, values, rows, targets, 4);
                if back {
                    let rows = RowsMut::all(&mut self.outputs, COUNT).part(top, count);
                    let [weight, bias] = self.places;
                    let layer = self.learned.output_layer(weight, bias);
                    let wanted = HeadWanted { batch: 4, weights: true, first };
                    self.head.backward(arch, &workers, layer, rows, targets, wanted);
                }
                first = false;
            }
            loss / 4.0
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        const STEP: f64 = 1e-5;
        let (mut layer, mut rng) = Layer::new();
        let outputs = layer.outputs.clone();
        layer.loss(true);
        let gradients = std::mem::replace(&mut layer.outputs, outputs);
        let [weight, bias] = layer.places;
        for (place, count) in [(weight, WORDS * UNITS), (bias, WORDS)] {
            let gradient = layer.read(place, Part::Gradient);
            let values = layer.read(place, Part::Value);
            let mut indices: Vec<usize> = (0..6).map(|_| rng.random_range(0..count)).collect();
            indices.extend(layer.targets.iter().map(|&target| target as usize * (count / WORDS)).take(3));
            indices.extend([0, count - 1]);
            for index in indices {
                let expected = central_difference(STEP, |by| {
                    let mut values = values.clone();
                    values[index] += by;
                    layer.write(place, &values);
                    layer.loss(false)
                });
                layer.write(place, &values);
                // A loss near 70 rounds to 1e-14, over the step 1e-9; squares of the step.
                assert_close(gradient[index], expected, 1e-7, 1e-8);
            }
        }
        for row in [0, 1, 20, 21, COUNT - 1] {
            for unit in [0, 15, 16, UNITS - 1] {
                let (pixel, lane) = (unit / LANES * COUNT + row, unit % LANES);
                let expected = central_difference(STEP, |by| {
                    let before = layer.outputs[pixel].0[lane];
                    layer.outputs[pixel].0[lane] += by;
                    let loss = layer.loss(false);
                    layer.outputs[pixel].0[lane] = before;
                    loss
                });
                assert_close(gradients[pixel].0[lane], expected, 1e-7, 1e-8);
            }
        }
    }

    /// Logits far beyond what an exponential can hold.
    #[test]
    fn large_logits_do_not_overflow() {
        let (mut layer, _) = Layer::new();
        let [_, bias] = layer.places;
        let mut values = vec![0.0; WORDS];
        values[5] = 5000.0;
        values[700] = 5000.0;
        layer.write(bias, &values);
        layer.write(layer.places[0], &[0.0; WORDS * UNITS]);
        layer.targets.fill(5);
        assert_close(layer.loss(false), COUNT as f64 * 2.0f64.ln() / 4.0, 1e-12, 0.0);
        layer.targets.fill(6);
        assert_close(layer.loss(false), COUNT as f64 * (5000.0 + 2.0f64.ln()) / 4.0, 1e-12, 0.0);
        // What is not a number is not hidden.
        values[3] = f64::NAN;
        layer.write(bias, &values);
        assert!(layer.loss(false).is_nan());
    }
}
