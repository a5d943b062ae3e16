//! Layers of images `[batch, channels, height, width]`, one formula each.

use advantage_nas::network::nas_bench_201::parent::NORM_EPSILON;
use ndarray::{Array1, Array4, ArrayView4, Axis, AxisDescription, Slice};

use crate::window;

/// Mean and variance of every channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// `[channels]`
    pub mean: Array1<f64>,
    /// `[channels]`
    pub variance: Array1<f64>,
}

/// `max(x, 0)`; NaN stays NaN.
#[must_use]
pub fn relu(x: &Array4<f64>) -> Array4<f64> {
    x.mapv(|value| if value < 0.0 { 0.0 } else { value })
}

/// Convolution with filters `[outputs, inputs, kernel, kernel]`, padded by `(kernel − 1)/2` zeros: every tap is a product of matrices.
///
/// # Panics
/// For filters of other channels.
#[must_use]
pub fn convolve(x: &Array4<f64>, filters: ArrayView4<'_, f64>, stride: usize) -> Array4<f64> {
    let (batch, channels, height, width) = x.dim();
    let (outputs, inputs, kernel, _) = filters.dim();
    assert_eq!(channels, inputs, "channels of a convolution");
    let padding = (kernel - 1) / 2;
    let mut padded = Array4::zeros((batch, channels, height + 2 * padding, width + 2 * padding));
    let inner = |axis: AxisDescription| match axis.axis.index() {
        0 | 1 => Slice::from(..),
        _ => Slice::from(padding..axis.len - padding),
    };
    padded.slice_each_axis_mut(inner).assign(x);
    let (rows, columns) = (height.div_ceil(stride), width.div_ceil(stride));
    let mut out = Array4::zeros((batch, outputs, rows, columns));
    for (image, mut out) in padded.outer_iter().zip(out.outer_iter_mut()) {
        for ky in 0..kernel {
            for kx in 0..kernel {
                let every = |first: usize, size: usize| Slice::from(first..first + size).step_by(stride as isize);
                let seen = window(image.view(), 1, every(ky, height), every(kx, width)).to_owned();
                let seen = seen.into_shape_with_order((inputs, rows * columns)).expect("a matrix of all pixels");
                let sum = filters.index_axis(Axis(3), kx).index_axis(Axis(2), ky).dot(&seen);
                out += &sum.into_shape_with_order((outputs, rows, columns)).expect("as many pixels");
            }
        }
    }
    out
}

/// Batch norm without scale and shift: every channel with mean 0 and variance 1 over the minibatch, `(x − mean)/√(variance + ε)`; and what
/// its moments were.
#[must_use]
pub fn normalize(x: &Array4<f64>) -> (Array4<f64>, Moments) {
    let channels = x.dim().1;
    let count = (x.len() / channels) as f64;
    let mut out = x.clone();
    let mut moments = Moments { mean: Array1::zeros(channels), variance: Array1::zeros(channels) };
    for (channel, mut plane) in out.axis_iter_mut(Axis(1)).enumerate() {
        let mean = plane.sum() / count;
        plane -= mean;
        let variance = plane.mapv(|value| value * value).sum() / count;
        plane /= (variance + NORM_EPSILON).sqrt();
        (moments.mean[channel], moments.variance[channel]) = (mean, variance);
    }
    (out, moments)
}

/// 3×3 average pooling with stride 1, over those pixels that there are.
#[must_use]
pub fn average_pooling(x: &Array4<f64>) -> Array4<f64> {
    let (_, _, height, width) = x.dim();
    let near = |place: usize, size: usize| place.saturating_sub(1)..(place + 2).min(size);
    let mut out = Array4::zeros(x.dim());
    for y in 0..height {
        for column in 0..width {
            let window = window(x.view(), 2, near(y, height), near(column, width));
            let count = window.dim().2 * window.dim().3;
            let mean = window.sum_axis(Axis(3)).sum_axis(Axis(2)) / count as f64;
            out.index_axis_mut(Axis(3), column).index_axis_mut(Axis(2), y).assign(&mean);
        }
    }
    out
}

/// 2×2 average pooling with stride 2, for even heights and widths.
#[must_use]
pub fn halving(x: &Array4<f64>) -> Array4<f64> {
    let every = |first: usize| Slice::from(first..).step_by(2);
    let part = |y, column| window(x.view(), 2, every(y), every(column));
    (&part(0, 0) + &part(0, 1) + part(1, 0) + part(1, 1)) / 4.0
}

#[cfg(test)]
mod tests {
    use advantage_nas::tolerance::assert_all_close;

    use super::*;

    fn image(side: usize, values: &[f64]) -> Array4<f64> {
        Array4::from_shape_vec((1, 1, side, side), values.to_vec()).unwrap()
    }

    fn flat(x: Array4<f64>) -> Vec<f64> {
        x.iter().copied().collect()
    }

    const NINE: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

    #[test]
    fn convolutions_by_hand() {
        let x = image(3, &NINE);
        let ones = Array4::ones((1, 1, 3, 3));
        assert_eq!(flat(convolve(&x, ones.view(), 1)), [12.0, 21.0, 16.0, 27.0, 45.0, 33.0, 24.0, 39.0, 28.0]);
        assert_eq!(flat(convolve(&x, ones.view(), 2)), [12.0, 16.0, 24.0, 28.0]);
        // Not mirrored: the tap above right meets the pixel above right.
        let mut corner = Array4::zeros((1, 1, 3, 3));
        corner[[0, 0, 0, 2]] = 1.0;
        assert_eq!(flat(convolve(&x, corner.view(), 1)), [0.0, 0.0, 0.0, 2.0, 3.0, 0.0, 5.0, 6.0, 0.0]);
        // Two channels in, three out, 1×1: a matrix.
        let x = Array4::from_shape_vec((1, 2, 1, 1), vec![10.0, 1.0]).unwrap();
        let matrix = Array4::from_shape_vec((3, 2, 1, 1), vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(flat(convolve(&x, matrix.view(), 1)), [12.0, 34.0, 56.0]);
    }

    #[test]
    fn pooling_by_hand() {
        let x = image(3, &NINE);
        assert_eq!(flat(average_pooling(&x)), [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
        let x = image(4, &(0..16).map(f64::from).collect::<Vec<_>>());
        assert_eq!(flat(halving(&x)), [2.5, 4.5, 10.5, 12.5]);
    }

    #[test]
    fn norms_by_hand() {
        // Two images, two channels of one pixel: 1 and 5, 2 and 2.
        let x = Array4::from_shape_vec((2, 2, 1, 1), vec![1.0, 2.0, 5.0, 2.0]).unwrap();
        let (out, moments) = normalize(&x);
        let one = 2.0 / (4.0f64 + 1e-5).sqrt();
        assert_all_close(&flat(out), &[-one, 0.0, one, 0.0], 1e-15, 0.0);
        assert_eq!((moments.mean.to_vec(), moments.variance.to_vec()), (vec![3.0, 2.0], vec![4.0, 0.0]));
    }
}
