//! What the cell does number by number, forward and backward, on rows of matrices in panels.

use advantage_nas::network::recurrent::{CANDIDATES, Operation};
use pulp::{Simd, WithSimd};

use crate::Element;
use crate::layer::{LANES, Pixel, vectors_per_pixel};
use crate::matrix::{Rows, RowsMut};

/// The active candidates of an edge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Terms<T> {
    /// Edge weights `a`, zero for inactive candidates.
    pub(super) weights: [T; CANDIDATES],
    pub(super) active: [bool; CANDIDATES],
}

impl<T: Element> Terms<T> {
    /// Whether a candidate reads `W_h s`.
    pub(super) fn read(&self) -> bool {
        self.active.iter().zip(Operation::ALL).any(|(active, operation)| *active && operation != Operation::Zero)
    }
}

/// `op(u)`.
#[inline(always)]
fn apply<S: Simd, T: Element>(simd: S, operation: Operation, u: T::Vector<S>) -> T::Vector<S> {
    match operation {
        Operation::Identity => u,
        Operation::Tanh => T::vector_tanh(simd, u),
        Operation::Sigmoid => T::vector_sigmoid(simd, u),
        Operation::Relu => T::relu(simd, u),
        Operation::Zero => T::splat(simd, T::zero()),
    }
}

/// `op'(u)`, with `value = op(u)`.
#[inline(always)]
fn derivative<S: Simd, T: Element>(
    simd: S,
    operation: Operation,
    u: T::Vector<S>,
    value: T::Vector<S>,
) -> T::Vector<S> {
    let one = T::splat(simd, T::one());
    match operation {
        Operation::Identity => one,
        Operation::Tanh => T::minus(simd, one, T::times(simd, value, value)),
        Operation::Sigmoid => T::times(simd, value, T::minus(simd, one, value)),
        Operation::Relu => T::where_positive(simd, u, one),
        Operation::Zero => T::splat(simd, T::zero()),
    }
}

/// Node 0: `c ← σ(c)`, `z ← tanh(z)`, `out ← h + c ⊙ (z − h)`.
pub(super) struct Start<'a, T> {
    pub(super) panels: usize,
    pub(super) gate: RowsMut<'a, T>,
    pub(super) value: RowsMut<'a, T>,
    pub(super) state: Rows<'a, T>,
    pub(super) out: RowsMut<'a, T>,
}

impl<T: Element> WithSimd for Start<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for panel in 0..self.panels {
            let (gate, value) = (self.gate.panel(panel), self.value.panel(panel));
            let (state, out) = (self.state.panel(panel), self.out.panel(panel));
            for (((gate, value), state), out) in gate.iter_mut().zip(value).zip(state).zip(out) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let (gate, value) = (gate.vector_mut::<S>(vector), value.vector_mut::<S>(vector));
                    let state = state.vector::<S>(vector);
                    *gate = T::vector_sigmoid(simd, *gate);
                    *value = T::vector_tanh(simd, *value);
                    *out.vector_mut::<S>(vector) = T::fma(simd, *gate, T::minus(simd, *value, state), state);
                }
            }
        }
    }
}

/// An edge: `c ← σ(c)`, `out += scale · (s + c ⊙ (z − s))` with `z = Σ_k a_k op_k(u)`; the first edge writes.
pub(super) struct Edge<'a, T> {
    pub(super) panels: usize,
    pub(super) source: Rows<'a, T>,
    pub(super) gate: RowsMut<'a, T>,
    pub(super) value: Rows<'a, T>,
    pub(super) terms: Terms<T>,
    pub(super) scale: T,
    pub(super) first: bool,
    pub(super) out: RowsMut<'a, T>,
}

impl<T: Element> WithSimd for Edge<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let scale = T::splat(simd, self.scale);
        let zero = T::splat(simd, T::zero());
        let Terms { weights, active } = self.terms;
        for panel in 0..self.panels {
            let (source, value) = (self.source.panel(panel), self.value.panel(panel));
            let (gate, out) = (self.gate.panel(panel), self.out.panel(panel));
            for (((source, value), gate), out) in source.iter().zip(value).zip(gate).zip(out) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let (source, value) = (source.vector::<S>(vector), value.vector::<S>(vector));
                    let mut z = zero;
                    for (k, operation) in Operation::ALL.into_iter().enumerate() {
                        if active[k] {
                            z = T::fma(simd, T::splat(simd, weights[k]), apply::<S, T>(simd, operation, value), z);
                        }
                    }
                    let gate = gate.vector_mut::<S>(vector);
                    *gate = T::vector_sigmoid(simd, *gate);
                    let result = T::fma(simd, *gate, T::minus(simd, z, source), source);
                    let out = out.vector_mut::<S>(vector);
                    *out = T::fma(simd, scale, result, if self.first { zero } else { *out });
                }
            }
        }
    }
}

/// The way back through an edge. `c` (after the logistic function) and `u` become the gradients before it; the gradient of the
/// source grows by the part that does not go through the matrices.
pub(super) struct EdgeBackward<'a, T> {
    pub(super) panels: usize,
    pub(super) source: Rows<'a, T>,
    pub(super) gate: RowsMut<'a, T>,
    pub(super) value: RowsMut<'a, T>,
    pub(super) terms: Terms<T>,
    /// Whether `u` was computed.
    pub(super) read: bool,
    pub(super) scale: T,
    pub(super) gradient: Rows<'a, T>,
    pub(super) source_gradient: RowsMut<'a, T>,
}

impl<T: Element> WithSimd for EdgeBackward<'_, T> {
    /// Of every active candidate `Σ ∂L/∂z · op(u)`, and last `Σ ∂L/∂z`.
    type Output = [f64; CANDIDATES + 1];

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) -> [f64; CANDIDATES + 1] {
        let scale = T::splat(simd, self.scale);
        let (zero, one) = (T::splat(simd, T::zero()), T::splat(simd, T::one()));
        let Terms { weights, active } = self.terms;
        let mut sums = [Pixel::<T>::default(); CANDIDATES + 1];
        for panel in 0..self.panels {
            let (source, gradient) = (self.source.panel(panel), self.gradient.panel(panel));
            let (gate, value) = (self.gate.panel(panel), self.value.panel(panel));
            let own = self.source_gradient.panel(panel);
            let items = source.iter().zip(gradient).zip(gate).zip(value).zip(own);
            for ((((source, gradient), gate), value), own) in items {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let source = source.vector::<S>(vector);
                    let slope = T::times(simd, scale, gradient.vector::<S>(vector));
                    let gate = gate.vector_mut::<S>(vector);
                    let value = value.vector_mut::<S>(vector);
                    let through = T::times(simd, slope, *gate);
                    let (mut z, mut inner) = (zero, zero);
                    for (k, operation) in Operation::ALL.into_iter().enumerate() {
                        if active[k] && operation != Operation::Zero {
                            let weight = T::splat(simd, weights[k]);
                            let result = apply::<S, T>(simd, operation, *value);
                            z = T::fma(simd, weight, result, z);
                            inner = T::fma(simd, weight, derivative::<S, T>(simd, operation, *value, result), inner);
                            let sum = sums[k].vector_mut::<S>(vector);
                            *sum = T::fma(simd, through, result, *sum);
                        }
                    }
                    let sum = sums[CANDIDATES].vector_mut::<S>(vector);
                    *sum = T::plus(simd, *sum, through);
                    let own = own.vector_mut::<S>(vector);
                    *own = T::plus(simd, *own, T::minus(simd, slope, through));
                    if self.read {
                        *value = T::times(simd, through, inner);
                    }
                    // c (1 − c) slope (z − s)
                    let slope = T::times(simd, through, T::minus(simd, one, *gate));
                    *gate = T::times(simd, slope, T::minus(simd, z, source));
                }
            }
        }
        sums.map(|sum| sum.0.iter().map(|number| number.widen()).sum())
    }
}

/// The way back through node 0: `c` and `z` become the gradients before their functions, the gradient of the state its part that does
/// not go through the matrices.
pub(super) struct StartBackward<'a, T> {
    pub(super) panels: usize,
    pub(super) gate: RowsMut<'a, T>,
    pub(super) value: RowsMut<'a, T>,
    pub(super) state: Rows<'a, T>,
    pub(super) gradient: Rows<'a, T>,
    pub(super) state_gradient: RowsMut<'a, T>,
}

impl<T: Element> WithSimd for StartBackward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let one = T::splat(simd, T::one());
        for panel in 0..self.panels {
            let (gate, value) = (self.gate.panel(panel), self.value.panel(panel));
            let (state, gradient) = (self.state.panel(panel), self.gradient.panel(panel));
            let out = self.state_gradient.panel(panel);
            for ((((gate, value), state), gradient), out) in
                gate.iter_mut().zip(value).zip(state).zip(gradient).zip(out)
            {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let (gate, value) = (gate.vector_mut::<S>(vector), value.vector_mut::<S>(vector));
                    let (state, slope) = (state.vector::<S>(vector), gradient.vector::<S>(vector));
                    let through = T::times(simd, slope, *gate);
                    *out.vector_mut::<S>(vector) = T::minus(simd, slope, through);
                    let before = T::times(simd, through, T::minus(simd, one, *gate));
                    *gate = T::times(simd, before, T::minus(simd, *value, state));
                    *value = T::times(simd, through, T::minus(simd, one, T::times(simd, *value, *value)));
                }
            }
        }
    }
}

/// `out ← scale · Σ parts`.
pub(super) struct Sum<'a, T, const N: usize> {
    pub(super) panels: usize,
    pub(super) parts: [Rows<'a, T>; N],
    pub(super) scale: T,
    pub(super) out: RowsMut<'a, T>,
}

impl<T: Element, const N: usize> WithSimd for Sum<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let scale = T::splat(simd, self.scale);
        for panel in 0..self.panels {
            let parts = self.parts.each_ref().map(|part| part.panel(panel));
            for (row, out) in self.out.panel(panel).iter_mut().enumerate() {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let mut sum = T::splat(simd, T::zero());
                    for part in &parts {
                        sum = T::plus(simd, sum, part[row].vector::<S>(vector));
                    }
                    *out.vector_mut::<S>(vector) = T::times(simd, scale, sum);
                }
            }
        }
    }
}

/// `out += part`.
pub(super) struct Add<'a, T> {
    pub(super) panels: usize,
    pub(super) part: Rows<'a, T>,
    pub(super) out: RowsMut<'a, T>,
}

impl<T: Element> WithSimd for Add<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for panel in 0..self.panels {
            for (out, part) in self.out.panel(panel).iter_mut().zip(self.part.panel(panel)) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let out = out.vector_mut::<S>(vector);
                    *out = T::plus(simd, *out, part.vector::<S>(vector));
                }
            }
        }
    }
}

/// `out ← left ⊙ right`, on pixels in the same order.
pub(super) struct Product<'a, T> {
    pub(super) left: &'a [Pixel<T>],
    pub(super) right: &'a [Pixel<T>],
    pub(super) out: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Product<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for ((left, right), out) in self.left.iter().zip(self.right).zip(self.out) {
            for vector in 0..vectors_per_pixel::<S, T>() {
                *out.vector_mut::<S>(vector) = T::times(simd, left.vector::<S>(vector), right.vector::<S>(vector));
            }
        }
    }
}

/// Logits without bias become `e^{logit − largest}` of their row in these panels.
pub(super) struct Exponentials<'a, T> {
    pub(super) rows: usize,
    /// `[panels]`; of words that there are not, a bias so low that the exponential is zero.
    pub(super) bias: &'a [Pixel<T>],
    /// `[panels, rows]`
    pub(super) logits: &'a mut [Pixel<T>],
    /// Index of the first word, and the target of every row.
    pub(super) first: usize,
    pub(super) targets: &'a [u32],
    /// Buffers, `[rows]`.
    pub(super) largest: &'a mut [Pixel<T>],
    pub(super) sums: &'a mut [Pixel<T>],
    pub(super) statistics: &'a mut [Statistics],
}

/// Of a row of logits in some panels.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    pub(super) largest: f64,
    /// `Σ e^{logit − largest}`
    pub(super) sum: f64,
    /// The target's logit, if it is among them.
    pub(super) target: f64,
    /// What makes a probability of an exponential, over the number of streams.
    pub(super) factor: f64,
}

impl<T: Element> WithSimd for Exponentials<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, bias, logits, first, targets, largest, sums, statistics } = self;
        let (largest, sums) = (&mut largest[..rows], &mut sums[..rows]);
        largest.fill(Pixel([T::min_value(); LANES]));
        sums.fill(Pixel::default());
        for (bias, panel) in bias.iter().zip(logits.chunks_exact_mut(rows)) {
            for (logits, largest) in panel.iter_mut().zip(&mut *largest) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let logit = logits.vector_mut::<S>(vector);
                    *logit = T::plus(simd, *logit, bias.vector::<S>(vector));
                    let largest = largest.vector_mut::<S>(vector);
                    *largest = T::larger(simd, *logit, *largest);
                }
            }
        }
        for (largest, statistics) in largest.iter_mut().zip(&mut *statistics) {
            let one = largest.0.iter().fold(T::min_value(), |one, &other| if other > one { other } else { one });
            *largest = Pixel([one; LANES]);
            statistics.largest = one.widen();
        }
        for (row, (statistics, &target)) in statistics.iter_mut().zip(targets).enumerate() {
            let place = (target as usize).wrapping_sub(first);
            if place < bias.len() * LANES {
                statistics.target = logits[place / LANES * rows + row].0[place % LANES].widen();
            }
        }
        for panel in logits.chunks_exact_mut(rows) {
            for ((logits, largest), sums) in panel.iter_mut().zip(&*largest).zip(&mut *sums) {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let logit = logits.vector_mut::<S>(vector);
                    *logit = T::vector_exp(simd, T::minus(simd, *logit, largest.vector::<S>(vector)));
                    let sum = sums.vector_mut::<S>(vector);
                    *sum = T::plus(simd, *sum, *logit);
                }
            }
        }
        for (sums, statistics) in sums.iter().zip(statistics) {
            statistics.sum = sums.0.iter().map(|sum| sum.widen()).sum();
        }
    }
}

/// Exponentials become the gradients of the logits; those of the bias are added up.
pub(super) struct Slopes<'a, T> {
    pub(super) rows: usize,
    /// `[panels, rows]`
    pub(super) logits: &'a mut [Pixel<T>],
    pub(super) first: usize,
    pub(super) targets: &'a [u32],
    pub(super) statistics: &'a [Statistics],
    /// `1/batch`
    pub(super) share: f64,
    /// `[panels]`
    pub(super) bias_gradient: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Slopes<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rows, logits, first, targets, statistics, share, bias_gradient } = self;
        for panel in logits.chunks_exact_mut(rows) {
            for (logits, statistics) in panel.iter_mut().zip(statistics) {
                let factor = T::splat(simd, T::of(statistics.factor));
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let logit = logits.vector_mut::<S>(vector);
                    *logit = T::times(simd, *logit, factor);
                }
            }
        }
        for (row, &target) in targets.iter().enumerate() {
            let place = (target as usize).wrapping_sub(first);
            if place < bias_gradient.len() * LANES {
                logits[place / LANES * rows + row].0[place % LANES] -= T::of(share);
            }
        }
        for (panel, sums) in logits.chunks_exact(rows).zip(bias_gradient) {
            for logits in panel {
                for vector in 0..vectors_per_pixel::<S, T>() {
                    let sum = sums.vector_mut::<S>(vector);
                    *sum = T::plus(simd, *sum, logits.vector::<S>(vector));
                }
            }
        }
    }
}

/// `out ← out ⊙ mask`.
pub(super) struct Mask<'a, T> {
    pub(super) mask: &'a [Pixel<T>],
    pub(super) out: &'a mut [Pixel<T>],
}

impl<T: Element> WithSimd for Mask<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        for (out, mask) in self.out.iter_mut().zip(self.mask) {
            for vector in 0..vectors_per_pixel::<S, T>() {
                let out = out.vector_mut::<S>(vector);
                *out = T::times(simd, *out, mask.vector::<S>(vector));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use advantage_nas::tolerance::{CENTRAL_DIFFERENCE, CENTRAL_STEP, assert_close, central_difference};
    use pulp::Arch;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Two panels of three rows.
    const PANELS: usize = 2;
    const ROWS: usize = 3;

    type Pixels = Vec<Pixel<f64>>;

    fn random(rng: &mut ChaCha8Rng) -> Pixels {
        (0..PANELS * ROWS).map(|_| Pixel(std::array::from_fn(|_| rng.random_range(-2.0..2.0)))).collect()
    }

    fn dot(left: &[Pixel<f64>], right: &[Pixel<f64>]) -> f64 {
        left.iter().zip(right).flat_map(|(left, right)| left.0.iter().zip(right.0)).map(|(a, b)| a * b).sum()
    }

    fn edge(source: &Pixels, gate: &Pixels, value: &Pixels, terms: Terms<f64>) -> (Pixels, Pixels) {
        let (mut gate, mut out) = (gate.clone(), vec![Pixel::default(); PANELS * ROWS]);
        Arch::new().dispatch(Edge {
            panels: PANELS,
            source: Rows::all(source, ROWS),
            gate: RowsMut::all(&mut gate, ROWS),
            value: Rows::all(value, ROWS),
            terms,
            scale: 0.5,
            first: true,
            out: RowsMut::all(&mut out, ROWS),
        });
        (gate, out)
    }

    /// Of source, gate, `u` and the weights, for every candidate alone, two and all: against a linear functional of the output.
    #[test]
    fn edges_equal_central_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let all = [true; CANDIDATES];
        let mut cases: Vec<[bool; CANDIDATES]> = (0..CANDIDATES).map(|k| std::array::from_fn(|j| j == k)).collect();
        cases.extend([[true, false, true, false, false], [false, false, false, true, true], all]);
        for active in cases {
            let weights = std::array::from_fn(|k| if active[k] { rng.random_range(0.2..1.0) } else { 0.0 });
            let terms = Terms { weights, active };
            let inputs = [random(&mut rng), random(&mut rng), random(&mut rng)];
            let functional = random(&mut rng);
            let reward =
                |[source, gate, value]: &[Pixels; 3], terms| dot(&edge(source, gate, value, terms).1, &functional);

            let [source, gate, value] = inputs.clone();
            let (mut gate, mut value) = (edge(&source, &gate, &value, terms).0, value);
            let mut own = vec![Pixel::default(); PANELS * ROWS];
            let sums = Arch::new().dispatch(EdgeBackward {
                panels: PANELS,
                source: Rows::all(&source, ROWS),
                gate: RowsMut::all(&mut gate, ROWS),
                value: RowsMut::all(&mut value, ROWS),
                terms,
                read: terms.read(),
                scale: 0.5,
                gradient: Rows::all(&functional, ROWS),
                source_gradient: RowsMut::all(&mut own, ROWS),
            });
            let gradients = [own, gate, value];
            for (input, gradient) in gradients.iter().enumerate() {
                if input == 2 && !terms.read() {
                    continue;
                }
                for (pixel, lane) in [(0, 0), (2, 7), (4, 15), (5, 3)] {
                    let expected = central_difference(CENTRAL_STEP, |by| {
                        let mut inputs = inputs.clone();
                        inputs[input][pixel].0[lane] += by;
                        reward(&inputs, terms)
                    });
                    assert_close(gradient[pixel].0[lane], expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
                }
            }
            for (k, sum) in sums.iter().take(CANDIDATES).enumerate() {
                let expected = central_difference(CENTRAL_STEP, |by| {
                    let mut terms = terms;
                    terms.weights[k] += by;
                    reward(&inputs, terms)
                });
                assert_close(*sum, expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
            }
        }
    }

    #[test]
    fn the_start_equals_central_differences() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let inputs = [random(&mut rng), random(&mut rng), random(&mut rng)];
        let functional = random(&mut rng);
        let start = |[gate, value, state]: &[Pixels; 3]| {
            let (mut gate, mut value) = (gate.clone(), value.clone());
            let mut out = vec![Pixel::default(); PANELS * ROWS];
            Arch::new().dispatch(Start {
                panels: PANELS,
                gate: RowsMut::all(&mut gate, ROWS),
                value: RowsMut::all(&mut value, ROWS),
                state: Rows::all(state, ROWS),
                out: RowsMut::all(&mut out, ROWS),
            });
            (gate, value, out)
        };
        let (mut gate, mut value, _) = start(&inputs);
        let mut own = vec![Pixel::default(); PANELS * ROWS];
        Arch::new().dispatch(StartBackward {
            panels: PANELS,
            gate: RowsMut::all(&mut gate, ROWS),
            value: RowsMut::all(&mut value, ROWS),
            state: Rows::all(&inputs[2], ROWS),
            gradient: Rows::all(&functional, ROWS),
            state_gradient: RowsMut::all(&mut own, ROWS),
        });
        for (input, gradient) in [gate, value, own].iter().enumerate() {
            for (pixel, lane) in [(0, 0), (1, 9), (5, 15)] {
                let expected = central_difference(CENTRAL_STEP, |by| {
                    let mut inputs = inputs.clone();
                    inputs[input][pixel].0[lane] += by;
                    dot(&start(&inputs).2, &functional)
                });
                assert_close(gradient[pixel].0[lane], expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
            }
        }
    }
}
