//! The recurrence of some streams: words in, states out, and the way back. Streams don't touch each other, so every thread takes some
//! of them through all steps.
//!
//! Every tensor of a step is kept: `[panels, steps · streams, LANES]`. What the way back makes of gates and values, the gradients
//! before their functions, takes their place; the products that don't wait for the recurrence, from words and for the gradients of
//! weights, are of all steps at once.

use advantage_nas::Result;
use advantage_nas::network::recurrent::{
    CANDIDATES, CellMatrix, Dropout, EDGES, MaskPart, NODES, ParameterKind, Parent, Segment, edge_ends,
};
use advantage_nas::random::Streams;
use ndarray::{ArrayView2, ArrayViewMut2};
use pulp::Arch;

use super::learned::Learned;
use super::pointwise::{Add, Edge, EdgeBackward, Mask, Product, Start, StartBackward, Sum, Terms};
use crate::Element;
use crate::layer::{LANES, Pixel, blocks};
use crate::matrix::{Rows, RowsMut, multiply};

/// Where the parameters are, and sizes.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) units: usize,
    /// Of the units.
    pub(super) panels: usize,
    pub(super) embedding: usize,
    pub(super) input_gate: usize,
    pub(super) state_gate: usize,
    pub(super) input: usize,
    pub(super) state: usize,
    pub(super) edge_gates: [usize; EDGES],
    pub(super) edges: [usize; EDGES],
    pub(super) output_weight: usize,
    pub(super) output_bias: usize,
}

impl Layout {
    pub(super) fn new(parent: &Parent) -> Self {
        let units = parent.sizes().units;
        let cell = |matrix| parent.index(ParameterKind::Cell(matrix));
        Self {
            units,
            panels: blocks(units),
            embedding: parent.index(ParameterKind::Embedding),
            input_gate: cell(CellMatrix::InputGate),
            state_gate: cell(CellMatrix::StateGate),
            input: cell(CellMatrix::Input),
            state: cell(CellMatrix::State),
            edge_gates: std::array::from_fn(|edge| cell(CellMatrix::EdgeGate { edge })),
            edges: std::array::from_fn(|edge| cell(CellMatrix::Edge { edge })),
            output_weight: parent.index(ParameterKind::OutputWeight),
            output_bias: parent.index(ParameterKind::OutputBias),
        }
    }
}

/// What the proposal makes of the cell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Choice<T> {
    pub(super) edges: [Terms<T>; EDGES],
}

/// Some streams.
#[derive(Clone, Debug)]
pub(super) struct Chunk<T> {
    /// The first stream, and how many.
    pub(super) first: usize,
    pub(super) streams: usize,
    pub(super) steps: usize,
    pub(super) words: Segment,
    /// Dropout masks of embeddings and outputs; empty without dropout.
    pub(super) masks: [Vec<Pixel<T>>; 2],
    mask_row: Vec<f32>,
    /// Embeddings after dropout.
    pub(super) embedded: Vec<Pixel<T>>,
    /// Of node 0.
    pub(super) gate: Vec<Pixel<T>>,
    pub(super) value: Vec<Pixel<T>>,
    /// State before every step and after the last, `[panels, (steps + 1) · streams, LANES]`.
    pub(super) states: Vec<Pixel<T>>,
    /// Nodes 0 to 2; of node 3 only the last step's.
    pub(super) nodes: [Vec<Pixel<T>>; NODES],
    /// Of every edge.
    pub(super) gates: [Vec<Pixel<T>>; EDGES],
    pub(super) values: [Vec<Pixel<T>>; EDGES],
    /// States after dropout, which the output layer reads; on the way back, the gradient of the states from there.
    pub(super) outputs: Vec<Pixel<T>>,
    /// Of nodes 0 to 2, and last of the state; one step's.
    gradients: [Vec<Pixel<T>>; NODES],
    /// Of every edge, per candidate `Σ ∂L/∂z · op(u)`, and last `Σ ∂L/∂z`.
    pub(super) slopes: [[f64; CANDIDATES + 1]; EDGES],
}

/// Tensors with a row for every step of every stream, beside the masks.
const TENSORS: usize = 3 + 1 + (NODES - 1) + 2 * EDGES + 1;

impl<T: Element> Chunk<T> {
    /// Pixels of so many streams.
    pub(super) fn pixels(layout: &Layout, streams: usize, steps: usize, dropout: bool) -> usize {
        let masks = if dropout { 2 } else { 0 };
        // One step's: the last state, the last node, gradients.
        layout.panels * streams * ((TENSORS + masks) * steps + 2 + NODES)
    }

    pub(super) fn new(layout: &Layout, first: usize, streams: usize, steps: usize, dropout: bool) -> Self {
        let zeros = |rows: usize| vec![Pixel::default(); layout.panels * rows];
        let all = streams * steps;
        let masked = if dropout { all } else { 0 };
        Self {
            first,
            streams,
            steps,
            words: Segment::new(steps, streams),
            masks: [zeros(masked), zeros(masked)],
            mask_row: vec![0.0; streams * layout.units],
            embedded: zeros(all),
            gate: zeros(all),
            value: zeros(all),
            states: zeros(all + streams),
            nodes: [zeros(all), zeros(all), zeros(all), zeros(streams)],
            gates: std::array::from_fn(|_| zeros(all)),
            values: std::array::from_fn(|_| zeros(all)),
            outputs: zeros(all),
            gradients: std::array::from_fn(|_| zeros(streams)),
            slopes: [[0.0; CANDIDATES + 1]; EDGES],
        }
    }

    /// Rows of all steps.
    pub(super) fn rows(&self) -> usize {
        self.streams * self.steps
    }

    fn dropout(&self) -> bool {
        !self.masks[0].is_empty()
    }

    /// Takes its streams of a segment, and draws their masks.
    pub(super) fn load(&mut self, parent: &Parent, streams: &Streams, trial: u32, segment: &Segment) -> Result<()> {
        self.words.copy_streams(segment, self.first);
        if !self.dropout() {
            return Ok(());
        }
        let (rows, units) = (self.rows(), parent.sizes().units);
        for (mask, layer) in self.masks.iter_mut().zip([Dropout::Embedding, Dropout::Output]) {
            for step in 0..self.steps {
                let part = MaskPart { segment: segment.number(), step, layer, first: self.first };
                parent.sizes().draw_mask(streams, trial, part, &mut self.mask_row)?;
                for (stream, factors) in self.mask_row.chunks_exact(units).enumerate() {
                    for (panel, factors) in factors.chunks(LANES).enumerate() {
                        let pixel = &mut mask[panel * rows + step * self.streams + stream];
                        for (place, &factor) in pixel.0.iter_mut().zip(factors) {
                            *place = T::of_f32(factor);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes one of the states, `state`: `[batch, units]` of all streams.
    pub(super) fn set_state(&mut self, step: usize, state: ArrayView2<'_, T>) {
        let rows = self.rows() + self.streams;
        for (stream, numbers) in state.outer_iter().skip(self.first).take(self.streams).enumerate() {
            for (unit, &number) in numbers.iter().enumerate() {
                self.states[unit / LANES * rows + step * self.streams + stream].0[unit % LANES] = number;
            }
        }
    }

    /// Reads one of the states.
    pub(super) fn state(&self, step: usize, mut state: ArrayViewMut2<'_, T>) {
        let rows = self.rows() + self.streams;
        for (stream, mut numbers) in state.outer_iter_mut().skip(self.first).take(self.streams).enumerate() {
            for (unit, number) in numbers.iter_mut().enumerate() {
                *number = self.states[unit / LANES * rows + step * self.streams + stream].0[unit % LANES];
            }
        }
    }

    /// Goes on where another chunk of the same streams ended.
    pub(super) fn follow(&mut self, other: &Self) {
        let (rows, streams) = (self.rows(), self.streams);
        for (own, other) in self.states.chunks_exact_mut(rows + streams).zip(other.states.chunks_exact(rows + streams))
        {
            own[..streams].copy_from_slice(&other[rows..]);
        }
    }

    /// From the words and the first state to the outputs; the operation of edge `without` gives zero.
    pub(super) fn forward(
        &mut self,
        arch: Arch,
        layout: &Layout,
        learned: &Learned<T>,
        choice: &Choice<T>,
        without: Option<usize>,
    ) {
        let (rows, panels) = (self.rows(), layout.panels);
        let embeddings = learned.value(layout.embedding);
        for (row, &word) in self.words.inputs().iter().enumerate() {
            let pixels = &embeddings[word as usize * panels..][..panels];
            for (panel, pixel) in pixels.iter().enumerate() {
                self.embedded[panel * rows + row] = *pixel;
            }
        }
        if self.dropout() {
            let [mask, _] = &self.masks;
            arch.dispatch(Mask { mask, out: &mut self.embedded });
        }
        let factor = |index: usize| learned.forward(index);
        for (index, out) in [(layout.input_gate, &mut self.gate), (layout.input, &mut self.value)] {
            let input = Rows::all(&self.embedded, rows);
            multiply(arch, input, factor(index), panels, RowsMut::all(out, rows), false);
        }
        for step in 0..self.steps {
            self.forward_step(arch, layout, learned, choice, without, step);
        }
        let after = self.streams;
        for panel in 0..panels {
            let states = &self.states[panel * (rows + after) + after..][..rows];
            let outputs = &mut self.outputs[panel * rows..][..rows];
            if self.masks[1].is_empty() {
                outputs.copy_from_slice(states);
            } else {
                let right = &self.masks[1][panel * rows..][..rows];
                arch.dispatch(Product { left: states, right, out: outputs });
            }
        }
    }

    fn forward_step(
        &mut self,
        arch: Arch,
        layout: &Layout,
        learned: &Learned<T>,
        choice: &Choice<T>,
        without: Option<usize>,
        step: usize,
    ) {
        let (rows, panels, streams) = (self.rows(), layout.panels, self.streams);
        let first = step * streams;
        let factor = |index: usize| learned.forward(index);
        let state = Rows::all(&self.states, rows + streams).part(first, streams);
        for (index, out) in [(layout.state_gate, &mut self.gate), (layout.state, &mut self.value)] {
            multiply(arch, state, factor(index), panels, RowsMut::all(out, rows).part(first, streams), true);
        }
        arch.dispatch(Start {
            panels,
            gate: RowsMut::all(&mut self.gate, rows).part(first, streams),
            value: RowsMut::all(&mut self.value, rows).part(first, streams),
            state,
            out: RowsMut::all(&mut self.nodes[0], rows).part(first, streams),
        });
        for node in 1..NODES {
            let (before, after) = self.nodes.split_at_mut(node);
            for (edge, terms) in choice.edges.iter().enumerate() {
                let (from, to) = edge_ends(edge);
                if to != node {
                    continue;
                }
                let mut terms = *terms;
                if without == Some(edge) {
                    terms.active = [false; CANDIDATES];
                }
                let source = Rows::all(&before[from], rows).part(first, streams);
                let gate = RowsMut::all(&mut self.gates[edge], rows).part(first, streams);
                multiply(arch, source, factor(layout.edge_gates[edge]), panels, gate, false);
                if terms.read() {
                    let value = RowsMut::all(&mut self.values[edge], rows).part(first, streams);
                    multiply(arch, source, factor(layout.edges[edge]), panels, value, false);
                }
                let out = if node == NODES - 1 {
                    RowsMut::all(&mut after[0], streams)
                } else {
                    RowsMut::all(&mut after[0], rows).part(first, streams)
                };
                arch.dispatch(Edge {
                    panels,
                    source,
                    gate: RowsMut::all(&mut self.gates[edge], rows).part(first, streams),
                    value: Rows::all(&self.values[edge], rows).part(first, streams),
                    terms,
                    scale: T::of(1.0 / node as f64),
                    first: from == 0,
                    out,
                });
            }
        }
        let [_, one, two, three] = &self.nodes;
        arch.dispatch(Sum {
            panels,
            parts: [
                Rows::all(one, rows).part(first, streams),
                Rows::all(two, rows).part(first, streams),
                Rows::all(three, streams),
            ],
            scale: T::of(1.0 / 3.0),
            out: RowsMut::all(&mut self.states, rows + streams).part(first + streams, streams),
        });
    }

    /// The way back from the gradients in `outputs`, which are still those after dropout.
    pub(super) fn backward(
        &mut self,
        arch: Arch,
        layout: &Layout,
        learned: &Learned<T>,
        choice: &Choice<T>,
        to_words: bool,
    ) {
        let (rows, panels) = (self.rows(), layout.panels);
        if self.dropout() {
            let [_, mask] = &self.masks;
            arch.dispatch(Mask { mask, out: &mut self.outputs });
        }
        self.slopes = [[0.0; CANDIDATES + 1]; EDGES];
        self.gradients[NODES - 1].fill(Pixel::default());
        for step in (0..self.steps).rev() {
            self.backward_step(arch, layout, learned, choice, step);
        }
        if to_words {
            // The embeddings are not needed any more once their own gradients of weights are done; these take another place.
            let out = &mut self.outputs;
            for (accumulate, index, slopes) in
                [(false, layout.input_gate, &self.gate), (true, layout.input, &self.value)]
            {
                let factor = learned.backward(index);
                multiply(arch, Rows::all(slopes, rows), factor, panels, RowsMut::all(out, rows), accumulate);
            }
            if !self.masks[0].is_empty() {
                arch.dispatch(Mask { mask: &self.masks[0], out: &mut self.outputs });
            }
        }
    }

    fn backward_step(&mut self, arch: Arch, layout: &Layout, learned: &Learned<T>, choice: &Choice<T>, step: usize) {
        let (rows, panels, streams) = (self.rows(), layout.panels, self.streams);
        let first = step * streams;
        fn part<T>(pixels: &[Pixel<T>], rows: usize, first: usize, streams: usize) -> Rows<'_, T> {
            Rows::all(pixels, rows).part(first, streams)
        }
        let factor = |index: usize| learned.backward(index);
        let outer = Rows::all(&self.outputs, rows).part(first, streams);
        let [zero, one, two, state] = &mut self.gradients;
        arch.dispatch(Add { panels, part: outer, out: RowsMut::all(state, streams) });
        // Every node but 0 is a third of the state.
        for out in [one, two] {
            let parts = [Rows::all(state, streams)];
            arch.dispatch(Sum { panels, parts, scale: T::of(1.0 / 3.0), out: RowsMut::all(out, streams) });
        }
        zero.fill(Pixel::default());
        for node in (1..NODES).rev() {
            let (before, after) = self.gradients.split_at_mut(node);
            let share = if node == NODES - 1 { 1.0 / 3.0 } else { 1.0 };
            for (edge, &terms) in choice.edges.iter().enumerate() {
                let (from, to) = edge_ends(edge);
                if to != node {
                    continue;
                }
                let read = terms.read();
                let sums = arch.dispatch(EdgeBackward {
                    panels,
                    source: part(&self.nodes[from], rows, first, streams),
                    gate: RowsMut::all(&mut self.gates[edge], rows).part(first, streams),
                    value: RowsMut::all(&mut self.values[edge], rows).part(first, streams),
                    terms,
                    read,
                    scale: T::of(share / node as f64),
                    gradient: Rows::all(&after[0], streams),
                    source_gradient: RowsMut::all(&mut before[from], streams),
                });
                for (total, sum) in self.slopes[edge].iter_mut().zip(sums) {
                    *total += sum;
                }
                let gates = part(&self.gates[edge], rows, first, streams);
                let out = RowsMut::all(&mut before[from], streams);
                multiply(arch, gates, factor(layout.edge_gates[edge]), panels, out, true);
                if read {
                    let values = part(&self.values[edge], rows, first, streams);
                    let out = RowsMut::all(&mut before[from], streams);
                    multiply(arch, values, factor(layout.edges[edge]), panels, out, true);
                }
            }
        }
        let [zero, _, _, state] = &mut self.gradients;
        arch.dispatch(StartBackward {
            panels,
            gate: RowsMut::all(&mut self.gate, rows).part(first, streams),
            value: RowsMut::all(&mut self.value, rows).part(first, streams),
            state: Rows::all(&self.states, rows + streams).part(first, streams),
            gradient: Rows::all(zero, streams),
            state_gradient: RowsMut::all(state, streams),
        });
        for (index, slopes) in [(layout.state_gate, &self.gate), (layout.state, &self.value)] {
            multiply(
                arch,
                part(slopes, rows, first, streams),
                factor(index),
                panels,
                RowsMut::all(state, streams),
                true,
            );
        }
    }

    /// Left and right factor of the gradient of a matrix of the cell: what it reads, and the gradient of what it gives.
    pub(super) fn factors(&self, matrix: CellMatrix) -> (Rows<'_, T>, Rows<'_, T>) {
        let rows = self.rows();
        let all = |pixels| Rows::all(pixels, rows);
        let states = Rows::all(&self.states, rows + self.streams).part(0, rows);
        match matrix {
            CellMatrix::InputGate => (all(&self.embedded), all(&self.gate)),
            CellMatrix::Input => (all(&self.embedded), all(&self.value)),
            CellMatrix::StateGate => (states, all(&self.gate)),
            CellMatrix::State => (states, all(&self.value)),
            CellMatrix::EdgeGate { edge } => (all(&self.nodes[edge_ends(edge).0]), all(&self.gates[edge])),
            CellMatrix::Edge { edge } => (all(&self.nodes[edge_ends(edge).0]), all(&self.values[edge])),
        }
    }
}
