//! The controller of ENAS: an LSTM that emits a distribution over the candidates of one edge after the other, and its backward
//! pass through all edges.
//!
//! # Formula
//! Input of edge 0 is a learned vector, of edge `i > 0` the embedding of the candidate chosen at edge `i − 1`.
//! `(i, f, g, o) = (σ, σ, tanh, σ)(W [x; h] + b)`, `c ← f ⊙ c + i ⊙ g`, `h ← o ⊙ tanh(c)`, `z = V_edge h + v_edge`,
//! `p = softmax(C tanh(z / T))`. Source of the cell: Hochreiter & Schmidhuber (1997) with forget gates.

use ndarray::{Array1, ArrayView1, ArrayView2, ArrayViewMut1, Axis};

use crate::space::{OpTable, Shape};

/// Number of gates of an LSTM cell.
const GATES: usize = 4;

/// The parameters, all in one vector, and where each of them lies.
#[derive(Clone, Debug)]
pub(super) struct Controller {
    shape: Shape,
    units: usize,
    tanh_constant: f64,
    temperature: f64,
    parameters: Vec<f64>,
    /// Per edge, a row for everything that it may follow: the learned vector `[1, units]` at edge 0, the embeddings
    /// `[candidates of the edge before, units]` at the others.
    inputs: Vec<Block>,
    /// `[2 units, 4 units]`: one row per input, of `x` and then of `h`, so that inner loops run over the gates.
    weights: Block,
    /// `[1, 4 units]`
    bias: Block,
    /// Per edge, `[candidates, units]`.
    outputs: Vec<Block>,
    /// Per edge, `[1, candidates]`.
    output_biases: Vec<Block>,
}

/// Where a matrix lies in a vector of all parameters, row after row; a vector is a matrix of one row.
#[derive(Clone, Copy, Debug)]
struct Block {
    start: usize,
    rows: usize,
    columns: usize,
}

/// The activations of one pass over all edges.
#[derive(Clone, Debug)]
pub(super) struct Trace {
    choices: Vec<usize>,
    cells: Vec<Cell>,
    probabilities: OpTable<f64>,
    log_probabilities: OpTable<f64>,
    /// `tanh(z / T)`
    squashed: OpTable<f64>,
}

/// The activations at one edge.
#[derive(Clone, Debug)]
struct Cell {
    /// `[x; h]` going in, `[2 units]`
    input: Array1<f64>,
    /// `c` going in, `[units]`
    memory_before: Array1<f64>,
    /// `(i, f, g, o)`, `[4 units]`
    gates: Array1<f64>,
    /// `c` going out, `[units]`
    memory: Array1<f64>,
    /// `h` going out, `[units]`
    hidden: Array1<f64>,
}

/// Buffers of the backward pass.
#[derive(Clone, Debug)]
pub(super) struct Slopes {
    /// Of `h` going out of an edge, `[units]`
    hidden: Array1<f64>,
    /// Of `c` going out, `[units]`
    memory: Array1<f64>,
    /// Of the sums inside the gates, `[4 units]`
    gates: Array1<f64>,
}

impl Controller {
    /// The controller with all parameters zero.
    pub(super) fn new(shape: &Shape, units: usize, tanh_constant: f64, temperature: f64) -> Self {
        let mut end = 0;
        let mut take = |rows: usize, columns: usize| {
            let block = Block { start: end, rows, columns };
            end += rows * columns;
            block
        };
        let edges = shape.edges();
        let start = take(1, units);
        let weights = take(2 * units, GATES * units);
        let bias = take(1, GATES * units);
        let embeddings = (0..edges - 1).map(|edge| take(shape.candidates(edge), units));
        let inputs = std::iter::once(start).chain(embeddings).collect();
        let outputs = (0..edges).map(|edge| take(shape.candidates(edge), units)).collect();
        let output_biases = (0..edges).map(|edge| take(1, shape.candidates(edge))).collect();
        Self {
            shape: shape.clone(),
            units,
            tanh_constant,
            temperature,
            parameters: vec![0.0; end],
            inputs,
            weights,
            bias,
            outputs,
            output_biases,
        }
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    pub(super) fn parameters_mut(&mut self) -> &mut [f64] {
        &mut self.parameters
    }

    /// Runs over all edges; `choose` gets every edge with its probabilities and returns the candidate.
    pub(super) fn forward(&self, trace: &mut Trace, mut choose: impl FnMut(usize, &[f64]) -> usize) {
        let (units, parameters) = (self.units, &self.parameters);
        for edge in 0..self.shape.edges() {
            let (earlier, rest) = trace.cells.split_at_mut(edge);
            let cell = &mut rest[0];
            let before = if edge == 0 { 0 } else { trace.choices[edge - 1] };
            let (mut x, mut h) = cell.input.view_mut().split_at(Axis(0), units);
            x.assign(&self.inputs[edge].row(parameters, before));
            match earlier.last() {
                Some(last) => {
                    h.assign(&last.hidden);
                    cell.memory_before.assign(&last.memory);
                }
                None => {
                    h.fill(0.0);
                    cell.memory_before.fill(0.0);
                }
            }
            // b + W [x; h], column after column: the sum of every gate begins with the bias.
            cell.gates.assign(&self.bias.row(parameters, 0));
            for (&value, row) in cell.input.iter().zip(self.weights.of(parameters).rows()) {
                cell.gates.scaled_add(value, &row);
            }
            for (index, gate) in cell.gates.iter_mut().enumerate() {
                *gate = if index / units == 2 { gate.tanh() } else { 1.0 / (1.0 + (-*gate).exp()) };
            }
            for unit in 0..units {
                let [i, f, g, o] = std::array::from_fn(|gate| cell.gates[gate * units + unit]);
                cell.memory[unit] = f * cell.memory_before[unit] + i * g;
                cell.hidden[unit] = o * cell.memory[unit].tanh();
            }
            let rows = self.outputs[edge].of(parameters);
            let biases = self.output_biases[edge].row(parameters, 0);
            for (candidate, (row, bias)) in rows.rows().into_iter().zip(biases).enumerate() {
                let z = bias + dot(row, cell.hidden.view());
                trace.squashed[(edge, candidate)] = (z / self.temperature).tanh();
            }
            let squashed = trace.squashed.edge(edge);
            let largest = self.tanh_constant * squashed.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let logit = |squashed: f64| self.tanh_constant * squashed - largest;
            let log_sum = squashed.iter().map(|&value| logit(value).exp()).sum::<f64>().ln();
            for candidate in 0..self.shape.candidates(edge) {
                let log_probability = logit(trace.squashed[(edge, candidate)]) - log_sum;
                trace.log_probabilities[(edge, candidate)] = log_probability;
                trace.probabilities[(edge, candidate)] = log_probability.exp();
            }
            trace.choices[edge] = choose(edge, trace.probabilities.edge(edge));
        }
    }

    /// Adds the gradient of `−(weight · ln p(a) + entropy_weight · Σ_i H_i)` with respect to all parameters.
    pub(super) fn backward(
        &self,
        trace: &Trace,
        weight: f64,
        entropy_weight: f64,
        slopes: &mut Slopes,
        gradient: &mut [f64],
    ) {
        let (units, parameters) = (self.units, &self.parameters);
        let Slopes { hidden: hidden_slope, memory: memory_slope, gates: gate_slopes } = slopes;
        hidden_slope.fill(0.0);
        memory_slope.fill(0.0);
        for edge in (0..self.shape.edges()).rev() {
            let cell = &trace.cells[edge];
            let probabilities = trace.probabilities.edge(edge);
            let entropy = trace.edge_entropy(edge);
            for (candidate, &probability) in probabilities.iter().enumerate() {
                let chosen = if candidate == trace.choices[edge] { 1.0 } else { 0.0 };
                let log_probability = trace.log_probabilities[(edge, candidate)];
                // ∂ ln p(a)/∂logit = 1[chosen] − p and ∂H/∂logit = −p (ln p + H)
                let logit_slope =
                    -weight * (chosen - probability) + entropy_weight * probability * (log_probability + entropy);
                let squashed = trace.squashed[(edge, candidate)];
                let z_slope = logit_slope * self.tanh_constant * (1.0 - squashed * squashed) / self.temperature;
                self.output_biases[edge].row_mut(gradient, 0)[candidate] += z_slope;
                self.outputs[edge].row_mut(gradient, candidate).scaled_add(z_slope, &cell.hidden);
                hidden_slope.scaled_add(z_slope, &self.outputs[edge].row(parameters, candidate));
            }
            for unit in 0..units {
                let [i, f, g, o] = std::array::from_fn(|gate| cell.gates[gate * units + unit]);
                let tanh = cell.memory[unit].tanh();
                let slope = memory_slope[unit] + hidden_slope[unit] * o * (1.0 - tanh * tanh);
                gate_slopes[unit] = slope * g * i * (1.0 - i);
                gate_slopes[units + unit] = slope * cell.memory_before[unit] * f * (1.0 - f);
                gate_slopes[2 * units + unit] = slope * i * (1.0 - g * g);
                gate_slopes[3 * units + unit] = hidden_slope[unit] * tanh * o * (1.0 - o);
                memory_slope[unit] = slope * f;
            }
            self.bias.row_mut(gradient, 0).scaled_add(1.0, gate_slopes);
            let before = if edge == 0 { 0 } else { trace.choices[edge - 1] };
            for (index, (&value, row)) in cell.input.iter().zip(self.weights.of(parameters).rows()).enumerate() {
                self.weights.row_mut(gradient, index).scaled_add(value, gate_slopes);
                let slope = dot(row, gate_slopes.view());
                if index < units {
                    self.inputs[edge].row_mut(gradient, before)[index] += slope;
                } else {
                    hidden_slope[index - units] = slope;
                }
            }
        }
    }
}

impl Block {
    /// The matrix, `[rows, columns]`.
    fn of(self, parameters: &[f64]) -> ArrayView2<'_, f64> {
        let values = &parameters[self.start..self.start + self.rows * self.columns];
        ArrayView2::from_shape((self.rows, self.columns), values).expect("as many values as the block has")
    }

    /// One row, `[columns]`.
    fn row(self, parameters: &[f64], row: usize) -> ArrayView1<'_, f64> {
        let start = self.start + row * self.columns;
        ArrayView1::from(&parameters[start..start + self.columns])
    }

    /// One row, to be written.
    fn row_mut(self, parameters: &mut [f64], row: usize) -> ArrayViewMut1<'_, f64> {
        let start = self.start + row * self.columns;
        ArrayViewMut1::from(&mut parameters[start..start + self.columns])
    }
}

impl Slopes {
    pub(super) fn new(controller: &Controller) -> Self {
        let units = controller.units;
        Self { hidden: Array1::zeros(units), memory: Array1::zeros(units), gates: Array1::zeros(GATES * units) }
    }
}

impl Trace {
    pub(super) fn new(controller: &Controller) -> Self {
        let units = controller.units;
        let zeros = OpTable::filled(&controller.shape, 0.0);
        let cell = Cell {
            input: Array1::zeros(2 * units),
            memory_before: Array1::zeros(units),
            gates: Array1::zeros(GATES * units),
            memory: Array1::zeros(units),
            hidden: Array1::zeros(units),
        };
        let edges = controller.shape.edges();
        Self {
            choices: vec![0; edges],
            cells: vec![cell; edges],
            probabilities: zeros.clone(),
            log_probabilities: zeros.clone(),
            squashed: zeros,
        }
    }

    pub(super) fn choices(&self) -> &[usize] {
        &self.choices
    }

    pub(super) fn probabilities(&self) -> &OpTable<f64> {
        &self.probabilities
    }

    fn edge_entropy(&self, edge: usize) -> f64 {
        let terms = self.probabilities.edge(edge).iter().zip(self.log_probabilities.edge(edge));
        -terms.map(|(probability, log_probability)| probability * log_probability).sum::<f64>()
    }

    pub(super) fn entropy(&self) -> f64 {
        (0..self.choices.len()).map(|edge| self.edge_entropy(edge)).sum()
    }
}

/// The inner product in four interleaved partial sums, which the compiler can keep in vectors. That of `ndarray` has eight: it rounds
/// otherwise, and a seed would no longer give the search that it gave.
fn dot(left: ArrayView1<'_, f64>, right: ArrayView1<'_, f64>) -> f64 {
    let (left_blocks, left_rest) = contiguous(&left).as_chunks::<4>();
    let (right_blocks, right_rest) = contiguous(&right).as_chunks::<4>();
    let mut sums = [0.0; 4];
    for (l, r) in left_blocks.iter().zip(right_blocks) {
        for way in 0..4 {
            sums[way] += l[way] * r[way];
        }
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(l, r)| l * r).sum();
    sums.iter().sum::<f64>() + rest
}

fn contiguous<'a>(view: &'a ArrayView1<'_, f64>) -> &'a [f64] {
    view.as_slice().expect("rows and activations lie in one piece")
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::tolerance::{CENTRAL_DIFFERENCE, CENTRAL_STEP, assert_all_close, assert_close};

    fn random_controller(scale: f64, seed: u64) -> Controller {
        let shape = Shape::new([3, 2, 4]).unwrap();
        let mut controller = Controller::new(&shape, 5, 2.5, 5.0);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for parameter in controller.parameters_mut() {
            *parameter = scale * rng.random_range(-1.0..1.0);
        }
        controller
    }

    /// `ln p(a)` and the sum of the entropies along `a`.
    fn objective(controller: &Controller, choices: &[usize]) -> (f64, f64) {
        let mut trace = Trace::new(controller);
        controller.forward(&mut trace, |edge, _| choices[edge]);
        let log_probability: f64 =
            choices.iter().enumerate().map(|(edge, &choice)| trace.probabilities[(edge, choice)].ln()).sum();
        (log_probability, trace.entropy())
    }

    /// The backward pass against central differences, for every parameter; large parameters reach every part of the cell.
    #[test]
    fn gradient_equals_central_differences() {
        for (seed, scale) in [(0, 0.1), (1, 1.0), (2, 2.0)] {
            for choices in [[2, 1, 3], [0, 0, 0], [1, 0, 2]] {
                let mut controller = random_controller(scale, seed);
                let (weight, entropy_weight) = (0.7, 0.3);
                let mut trace = Trace::new(&controller);
                controller.forward(&mut trace, |edge, _| choices[edge]);
                let mut gradient = vec![0.0; controller.parameters().len()];
                let mut slopes = Slopes::new(&controller);
                controller.backward(&trace, weight, entropy_weight, &mut slopes, &mut gradient);
                // Whatever the buffers hold, the next pass adds the same.
                let once = gradient.clone();
                gradient.fill(0.0);
                controller.backward(&trace, weight, entropy_weight, &mut slopes, &mut gradient);
                assert_eq!(gradient, once);
                let mut expected = gradient.clone();
                for (index, expected) in expected.iter_mut().enumerate() {
                    let mut moved = |by: f64| {
                        let before = controller.parameters[index];
                        controller.parameters[index] += by;
                        let (log_probability, entropy) = objective(&controller, &choices);
                        controller.parameters[index] = before;
                        -(weight * log_probability + entropy_weight * entropy)
                    };
                    *expected = (moved(CENTRAL_STEP) - moved(-CENTRAL_STEP)) / (2.0 * CENTRAL_STEP);
                }
                assert_all_close(&gradient, &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
                assert!(gradient.iter().filter(|slope| **slope != 0.0).count() > gradient.len() / 2);
            }
        }
    }

    /// The conditionals multiply to a distribution over all architectures.
    #[test]
    fn probabilities_sum_to_one() {
        let controller = random_controller(2.0, 3);
        let total: f64 = controller
            .shape()
            .enumerate()
            .map(|architecture| objective(&controller, architecture.choices()).0.exp())
            .sum();
        assert_close(total, 1.0, 1e-14, 0.0);
    }

    /// A later edge's distribution depends on the earlier choices: the policy is autoregressive.
    #[test]
    fn later_edges_see_earlier_choices() {
        let controller = random_controller(2.0, 4);
        let last = |choices: [usize; 3]| {
            let mut trace = Trace::new(&controller);
            controller.forward(&mut trace, |edge, _| choices[edge]);
            trace.probabilities.edge(2).to_vec()
        };
        assert_ne!(last([0, 0, 0]), last([1, 0, 0]));
        assert_ne!(last([0, 0, 0]), last([0, 1, 0]));
        assert_eq!(last([0, 0, 0]), last([0, 0, 1]));
    }
}
