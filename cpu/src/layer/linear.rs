//! Linear layer on one image's features, and softmax cross-entropy. Small beside everything else, so plain loops.

use super::{LANES, Pixel};
use crate::Element;

/// `logits = W x + b`. `weights`: `[classes, blocks]`, `bias`: `[class blocks]`, `input`: `[blocks]`, `logits`: `[classes]`.
pub(crate) fn forward<T: Element>(weights: &[Pixel<T>], bias: &[Pixel<T>], input: &[Pixel<T>], logits: &mut [T]) {
    for (class, (row, logit)) in weights.chunks_exact(input.len()).zip(logits).enumerate() {
        let mut sums = [T::zero(); LANES];
        for (weight, value) in row.iter().zip(input) {
            for (sum, (&weight, &value)) in sums.iter_mut().zip(weight.0.iter().zip(&value.0)) {
                *sum += weight * value;
            }
        }
        *logit = sums.into_iter().fold(bias[class / LANES].0[class % LANES], |sum, part| sum + part);
    }
}

/// Writes the gradient with respect to the input; adds those of weights and bias. `slopes`: of the logits, `[classes]`.
pub(crate) fn backward<T: Element>(
    weights: &[Pixel<T>],
    input: &[Pixel<T>],
    slopes: &[T],
    input_gradient: &mut [Pixel<T>],
    weight_gradient: &mut [Pixel<T>],
    bias_gradient: &mut [Pixel<T>],
) {
    input_gradient.fill(Pixel::default());
    let rows = weights.chunks_exact(input.len()).zip(weight_gradient.chunks_exact_mut(input.len()));
    for (class, (&slope, (row, row_gradient))) in slopes.iter().zip(rows).enumerate() {
        bias_gradient[class / LANES].0[class % LANES] += slope;
        for block in 0..input.len() {
            for lane in 0..LANES {
                input_gradient[block].0[lane] += slope * row[block].0[lane];
                row_gradient[block].0[lane] += slope * input[block].0[lane];
            }
        }
    }
}

/// Cross-entropy of one image, and whether its largest logit (of equal ones the first) is the label's. Writes the gradient of
/// the mean over `count` images.
pub(crate) fn cross_entropy<T: Element>(logits: &[T], label: usize, count: usize, slopes: &mut [T]) -> (f64, bool) {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, logit| largest.max(logit.widen()));
    let total: f64 = logits.iter().map(|logit| (logit.widen() - largest).exp()).sum();
    for (class, (slope, logit)) in slopes.iter_mut().zip(logits).enumerate() {
        let probability = (logit.widen() - largest).exp() / total;
        *slope = T::of((probability - f64::from(u8::from(class == label))) / count as f64);
    }
    let first = logits.iter().position(|logit| logit.widen() == largest);
    (total.ln() + (largest - logits[label].widen()), first == Some(label))
}
