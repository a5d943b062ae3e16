//! Every layer against the naive one in `f64`, and every gradient against central differences of that.
//! Sizes are no multiples of tiles and blocks beside those of the network.

use advantage_nas::comparison::Comparison;
use advantage_nas::tolerance::{
    CENTRAL_DIFFERENCE, CENTRAL_STEP, F32_NETWORK, F64_SUMS, Tolerance, assert_all_close, assert_close,
    central_difference,
};
use advantage_nas_oracles::layers;
use ndarray::{Array1, Array4, ArrayView4, Axis, concatenate};
use ndarray_rand::RandomExt;
use pulp::Arch;
use rand::distr::Uniform;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::batch_norm::{self, Backward, EPSILON, Moments, Slopes};
use super::convolution::Convolution;
use super::global::{self, Normalization};
use super::map::{self, Summand};
use super::winograd::{Lengths, Room, Winograd};
use super::{LANES, Pixel, Size, blocks, linear};
use crate::Element;

/// A plain image `[channels, height, width]`.
#[derive(Clone)]
struct Image {
    channels: usize,
    size: Size,
    values: Vec<f64>,
}

impl Image {
    fn random(channels: usize, size: Size, rng: &mut ChaCha8Rng) -> Self {
        let values = (0..channels * size.pixels()).map(|_| f64::from(rng.random_range(-1.0f32..1.0))).collect();
        Self { channels, size, values }
    }

    fn zeros(channels: usize, size: Size) -> Self {
        Self { channels, size, values: vec![0.0; channels * size.pixels()] }
    }

    /// Zero outside.
    fn at(&self, channel: usize, y: isize, x: isize) -> f64 {
        let inside = (0..self.size.height as isize).contains(&y) && (0..self.size.width as isize).contains(&x);
        if inside { self.values[(channel * self.size.height + y as usize) * self.size.width + x as usize] } else { 0.0 }
    }

    fn map(&self, of: impl Fn(f64) -> f64) -> Self {
        Self { values: self.values.iter().map(|value| of(*value)).collect(), ..*self }
    }

    fn pixels<T: Element>(&self) -> Vec<Pixel<T>> {
        let mut pixels = vec![Pixel::default(); blocks(self.channels) * self.size.pixels()];
        for channel in 0..self.channels {
            for place in 0..self.size.pixels() {
                pixels[channel / LANES * self.size.pixels() + place].0[channel % LANES] =
                    T::of(self.values[channel * self.size.pixels() + place]);
            }
        }
        pixels
    }

    /// With a border of zeros.
    fn bordered<T: Element>(&self, border: usize, relu: bool) -> Vec<Pixel<T>> {
        let mut out =
            vec![Pixel([T::of(f64::NAN); LANES]); blocks(self.channels) * self.size.bordered(border).pixels()];
        map::border(Arch::new(), &self.pixels::<T>(), self.size, border, relu, &mut out);
        out
    }

    fn of<T: Element>(channels: usize, size: Size, pixels: &[Pixel<T>]) -> Self {
        let mut image = Self::zeros(channels, size);
        for (block, plane) in pixels.chunks_exact(size.pixels()).enumerate() {
            for (place, pixel) in plane.iter().enumerate() {
                for (lane, value) in pixel.0.iter().enumerate() {
                    let channel = block * LANES + lane;
                    if channel < channels {
                        image.values[channel * size.pixels() + place] = value.widen();
                    } else {
                        assert_eq!(value.widen(), 0.0, "lanes beyond the channels stay zero");
                    }
                }
            }
        }
        image
    }

    /// `[1, channels, height, width]`
    fn array(&self) -> Array4<f64> {
        let shape = (1, self.channels, self.size.height, self.size.width);
        Array4::from_shape_vec(shape, self.values.clone()).unwrap()
    }

    fn of_array(array: &Array4<f64>) -> Self {
        let (_, channels, height, width) = array.dim();
        Self { channels, size: Size { height, width }, values: array.iter().copied().collect() }
    }

    fn dot(&self, other: &Self) -> f64 {
        self.values.iter().zip(&other.values).map(|(left, right)| left * right).sum()
    }
}

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// Central differences of a function of an image.
fn differences(image: &Image, of: impl Fn(&Image) -> f64) -> Vec<f64> {
    let slope = |index: usize| {
        central_difference(CENTRAL_STEP, |by| {
            let mut image = image.clone();
            image.values[index] += by;
            of(&image)
        })
    };
    (0..image.values.len()).map(slope).collect()
}

#[test]
fn a_pixel_is_a_cache_line() {
    assert_eq!((size_of::<Pixel<f32>>(), align_of::<Pixel<f32>>()), (64, 64));
    assert_eq!((size_of::<Pixel<f64>>(), align_of::<Pixel<f64>>()), (128, 64));
}

const CONVOLUTIONS: [(usize, usize, usize, usize, usize, usize); 15] = [
    // inputs, outputs, kernel, stride, height, width
    (1, 1, 1, 1, 1, 1),
    (3, 16, 3, 1, 5, 9),
    (16, 16, 3, 1, 4, 32),
    (5, 7, 3, 1, 3, 3),
    (32, 32, 3, 1, 2, 16),
    (20, 33, 3, 1, 3, 7),
    (64, 64, 1, 1, 2, 8),
    (16, 32, 3, 2, 6, 18),
    (4, 3, 3, 2, 5, 7),
    (2, 40, 5, 1, 6, 5),
    (3, 2, 1, 2, 4, 5),
    (3, 3, 5, 2, 7, 6),
    (8, 20, 3, 1, 6, 10),
    (48, 16, 3, 1, 8, 8),
    (20, 32, 3, 1, 2, 42),
];

/// `[outputs, inputs, kernel, kernel]`
fn plain_convolution(convolution: &Convolution, weights: &[f64], input: &Image) -> Image {
    let Convolution { inputs, outputs, kernel, stride, .. } = *convolution;
    let filters = ArrayView4::from_shape((outputs, inputs, kernel, kernel), weights).unwrap();
    Image::of_array(&layers::convolve(&input.array(), filters, stride))
}

/// Weights `[outputs, inputs, kernel, kernel]` as the convolution reads them.
fn packed<T: Element>(convolution: &Convolution, weights: &[f64]) -> Vec<Pixel<T>> {
    let mut packed = vec![Pixel::default(); convolution.weights()];
    each_weight(convolution, |index, pixel, lane| packed[pixel].0[lane] = T::of(weights[index]));
    packed
}

fn unpacked<T: Element>(convolution: &Convolution, packed: &[Pixel<T>]) -> Vec<f64> {
    let Convolution { inputs, outputs, .. } = *convolution;
    let mut weights = vec![0.0; outputs * inputs * convolution.taps()];
    each_weight(convolution, |index, pixel, lane| weights[index] = packed[pixel].0[lane].widen());
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(f64::abs).sum::<f64>();
    let all = sum(&mut packed.iter().flat_map(|pixel| pixel.0).map(Element::widen));
    assert_close(all, sum(&mut weights.iter().copied()), F64_SUMS, 0.0);
    weights
}

fn each_weight(convolution: &Convolution, mut of: impl FnMut(usize, usize, usize)) {
    let taps = convolution.taps();
    for o in 0..convolution.outputs {
        for i in 0..convolution.inputs {
            for tap in 0..taps {
                let row = (i / LANES * taps + tap) * LANES + i % LANES;
                of((o * convolution.inputs + i) * taps + tap, row * blocks(convolution.outputs) + o / LANES, o % LANES);
            }
        }
    }
}

/// Filters whose numbers `f32` holds exactly, `[outputs, inputs, kernel, kernel]`, in the order of that shape.
fn random_filters(shape: [usize; 4], rng: &mut ChaCha8Rng) -> Vec<f64> {
    let filters = Array4::random_using(shape, Uniform::new(-1.0f32, 1.0).unwrap(), rng);
    filters.mapv(f64::from).into_raw_vec_and_offset().0
}

fn convolutions() -> impl Iterator<Item = (Convolution, Image, Vec<f64>, ChaCha8Rng)> {
    CONVOLUTIONS.into_iter().enumerate().map(|(seed, (inputs, outputs, kernel, stride, height, width))| {
        let convolution = Convolution { inputs, outputs, kernel, stride, size: Size { height, width } };
        let mut rng = rng(seed as u64);
        let input = Image::random(inputs, convolution.size, &mut rng);
        let weights = random_filters([outputs, inputs, kernel, kernel], &mut rng);
        (convolution, input, weights, rng)
    })
}

/// How it can be computed: directly, and by minimal filtering if it is of that kind.
fn algorithms(convolution: &Convolution, images: usize) -> impl Iterator<Item = Option<Winograd>> {
    [None, Winograd::of(convolution, images)]
        .into_iter()
        .take(1 + usize::from(Winograd::of(convolution, images).is_some()))
}

/// Directly, or by minimal filtering if it is given.
fn convolve<T: Element>(
    convolution: &Convolution,
    winograd: Option<Winograd>,
    weights: &[f64],
    input: &Image,
    border: usize,
    relu: bool,
) -> Image {
    let mut out = vec![Pixel([T::of(f64::NAN); LANES]); convolution.output_blocks() * convolution.output().pixels()];
    let (packed, input) = (packed::<T>(convolution, weights), input.bordered::<T>(border, relu));
    if let Some(winograd) = winograd {
        let mut filters = vec![Pixel([T::of(f64::NAN); LANES]); winograd.filters()];
        winograd.transform(Arch::new(), &packed, &mut filters);
        winograd.forward(Arch::new(), &input, border, &filters, &mut Room::new(winograd.lengths()), &mut out);
    } else {
        convolution.forward(Arch::new(), &input, border, &packed, &mut out);
    }
    Image::of(convolution.outputs, convolution.output(), &out)
}

#[test]
fn convolutions_are_the_plain_ones() {
    for (convolution, input, weights, _) in convolutions() {
        for (border, relu) in [(convolution.padding(), false), (convolution.padding() + 1, true)] {
            let expected = plain_convolution(
                &convolution,
                &weights,
                &if relu { input.map(|x| x.max(0.0)) } else { input.clone() },
            );
            for winograd in algorithms(&convolution, 1) {
                let double = convolve::<f64>(&convolution, winograd, &weights, &input, border, relu);
                assert_all_close(&double.values, &expected.values, F64_SUMS, F64_SUMS);
                let single = convolve::<f32>(&convolution, winograd, &weights, &input, border, relu);
                let name = format!("{convolution:?} {winograd:?}");
                Comparison::new(name, &single.values, &expected.values, Tolerance::OfNorm(F32_NETWORK)).assert();
            }
        }
    }
}

/// With a linear functional of the output; through a ReLU, whose kink no input is near.
#[test]
fn gradients_of_convolutions_are_central_differences() {
    fn gradients<T: Element>(
        convolution: &Convolution,
        winograd: Option<Winograd>,
        input: &Image,
        weights: &[f64],
        slopes: &Image,
        relu: bool,
    ) -> (Vec<f64>, Vec<f64>) {
        let arch = Arch::new();
        let packed = packed::<T>(convolution, weights);
        let mut transposed = vec![Pixel::default(); convolution.transposed_weights()];
        convolution.transpose(&packed, &mut transposed);
        let slopes = slopes.bordered::<T>(convolution.padding(), false);
        let x = input.pixels::<T>();
        let mut out = vec![Pixel([T::of(f64::NAN); LANES]); x.len()];
        // Whatever room is left from other convolutions must not matter.
        let mut room = winograd.map(|winograd| Room::<T>::filled(winograd.lengths(), T::of(f64::NAN)));
        let mut filters = vec![Pixel([T::of(f64::NAN); LANES]); winograd.map_or(0, |winograd| winograd.filters())];
        if let Some(winograd) = winograd {
            winograd.transform_back(arch, &transposed, &mut filters);
        }
        let mut input_gradient = |mask, out: &mut [Pixel<T>], fresh| match (winograd, &mut room) {
            (Some(winograd), Some(room)) => winograd.input_gradient(arch, &slopes, &filters, mask, room, out, fresh),
            _ => convolution.input_gradient(arch, &slopes, &transposed, mask, out, fresh),
        };
        let mask = relu.then_some((&x[..], 0));
        input_gradient(mask, &mut out, true);
        let once = Image::of(convolution.inputs, convolution.size, &out);
        // The mask may be the input with its border; what is there is added to.
        let bordered = input.bordered::<T>(2, true);
        let mask = relu.then_some((&bordered[..], 2));
        input_gradient(mask, &mut out, false);
        let twice = Image::of(convolution.inputs, convolution.size, &out);
        assert_eq!(once.map(|value| value + value).values, twice.values);

        let border = convolution.padding() + 1;
        let mut gradient = vec![Pixel::default(); convolution.weights()];
        let bordered = input.bordered::<T>(border, relu);
        if let (Some(winograd), Some(room)) = (winograd, &mut room) {
            winograd.weight_gradient(arch, 0, true, &bordered, border, &slopes, room);
            winograd.finish(arch, room, &mut gradient);
        } else {
            convolution.weight_gradient(arch, &bordered, border, &slopes, &mut gradient);
        }
        (once.values, unpacked(convolution, &gradient))
    }
    for (convolution, mut input, weights, mut rng) in convolutions() {
        for relu in [false, true] {
            if relu {
                input.values.iter_mut().for_each(|x| *x += 0.01 * x.signum());
            }
            let slopes = Image::random(convolution.outputs, convolution.output(), &mut rng);
            let loss = |input: &Image, weights: &[f64]| {
                let input = if relu { input.map(|x| x.max(0.0)) } else { input.clone() };
                plain_convolution(&convolution, weights, &input).dot(&slopes)
            };
            // Linear in both, so that the step may be large; a hundred of each are enough.
            let every = |length: usize| (0..length).step_by(length.div_ceil(100));
            let of_inputs = |index: usize| {
                central_difference(CENTRAL_STEP, |by| {
                    let mut input = input.clone();
                    input.values[index] += by;
                    loss(&input, &weights)
                })
            };
            let of_weights = |index: usize| {
                central_difference(CENTRAL_STEP, |by| {
                    let mut weights = weights.clone();
                    weights[index] += by;
                    loss(&input, &weights)
                })
            };
            let expected_inputs: Vec<f64> = every(input.values.len()).map(of_inputs).collect();
            let expected_weights: Vec<f64> = every(weights.len()).map(of_weights).collect();
            for winograd in algorithms(&convolution, 1) {
                let (inputs, of_weights) = gradients::<f64>(&convolution, winograd, &input, &weights, &slopes, relu);
                let checked: Vec<f64> = every(inputs.len()).map(|index| inputs[index]).collect();
                assert_all_close(&checked, &expected_inputs, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
                let checked: Vec<f64> = every(of_weights.len()).map(|index| of_weights[index]).collect();
                assert_all_close(&checked, &expected_weights, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
                let (single, of_single_weights) =
                    gradients::<f32>(&convolution, winograd, &input, &weights, &slopes, relu);
                let tolerance = Tolerance::OfNorm(F32_NETWORK);
                Comparison::new("input gradient", &single, &inputs, tolerance).assert();
                Comparison::new("weight gradient", &of_single_weights, &of_weights, tolerance).assert();
            }
        }
    }
}

/// The rounding of minimal filtering beside that of the direct convolution, at the layers of the paper's network: inputs as a ReLU
/// leaves them, whose mean makes the transforms cancel, and gradients of both signs. One step of `Bᵀ d B` adds up to four numbers of
/// the image and `Aᵀ m A` nine products, so that the error may be a few times the direct one, and stays below rounding of the
/// network as a whole.
#[test]
fn minimal_filtering_rounds_little_worse_than_the_direct_convolution() {
    let arch = Arch::new();
    for (seed, (channels, side)) in [(16, 32), (32, 16), (64, 8)].into_iter().enumerate() {
        let size = Size { height: side, width: side };
        let convolution = Convolution { inputs: channels, outputs: channels, kernel: 3, stride: 1, size };
        let winograd = Winograd::of(&convolution, 1).unwrap();
        let mut rng = rng(80 + seed as u64);
        let input = Image::random(channels, size, &mut rng);
        let slopes = Image::random(channels, size, &mut rng);
        let weights = random_filters([channels, channels, 3, 3], &mut rng);
        let exact = convolve::<f64>(&convolution, None, &weights, &input, 1, true);
        let check = |what: &str, filtered: &[f64], direct: &[f64], exact: &[f64]| {
            let of = |found: &[f64]| {
                let distance = |tolerance| Comparison::new(what, found, exact, tolerance).worst.unwrap();
                (distance(Tolerance::OfNorm(1.0)), distance(Tolerance::OfLargest(1.0)))
            };
            let ((norm, most), (direct_norm, direct_most)) = (of(filtered), of(direct));
            assert!(norm > 0.0 && direct_norm > 0.0, "{what}: single precision rounds");
            assert!(norm <= 4.0 * direct_norm && norm <= F32_NETWORK, "{what}: {norm:e}, direct {direct_norm:e}");
            assert!(most <= 4.0 * direct_most && most <= F32_NETWORK, "{what}: {most:e}, direct {direct_most:e}");
        };
        let forward = |winograd| convolve::<f32>(&convolution, winograd, &weights, &input, 1, true).values;
        check("forward", &forward(Some(winograd)), &forward(None), &exact.values);

        fn gradients<T: Element>(
            arch: Arch,
            convolution: &Convolution,
            winograd: Option<Winograd>,
            weights: &[f64],
            input: &Image,
            slopes: &Image,
        ) -> [Vec<f64>; 2] {
            let mut transposed = vec![Pixel::default(); convolution.transposed_weights()];
            convolution.transpose(&packed::<T>(convolution, weights), &mut transposed);
            let (input, slopes) = (input.bordered::<T>(1, true), slopes.bordered::<T>(1, false));
            let mut of_input = vec![Pixel::default(); blocks(convolution.inputs) * convolution.size.pixels()];
            let mut of_weights = vec![Pixel::default(); convolution.weights()];
            if let Some(winograd) = winograd {
                let mut filters = vec![Pixel::default(); winograd.filters()];
                let mut room = Room::new(winograd.lengths());
                winograd.transform_back(arch, &transposed, &mut filters);
                winograd.input_gradient(arch, &slopes, &filters, None, &mut room, &mut of_input, true);
                winograd.weight_gradient(arch, 0, true, &input, 1, &slopes, &mut room);
                winograd.finish(arch, &room, &mut of_weights);
            } else {
                convolution.input_gradient(arch, &slopes, &transposed, None, &mut of_input, true);
                convolution.weight_gradient(arch, &input, 1, &slopes, &mut of_weights);
            }
            let of_input = Image::of(convolution.inputs, convolution.size, &of_input).values;
            [of_input, unpacked(convolution, &of_weights)]
        }
        let exact = gradients::<f64>(arch, &convolution, None, &weights, &input, &slopes);
        let single = |winograd| gradients::<f32>(arch, &convolution, winograd, &weights, &input, &slopes);
        let (filtered, direct) = (single(Some(winograd)), single(None));
        for (index, what) in ["gradient of the input", "gradient of the weights"].into_iter().enumerate() {
            check(what, &filtered[index], &direct[index], &exact[index]);
        }
    }
}

/// Images of a chunk together: groups of several small images, the last one not full, and several strips of a large one. The room
/// is left over from another convolution.
#[test]
fn weight_gradients_of_several_images_are_the_sums() {
    let arch = Arch::new();
    let convolutions: Vec<(Convolution, Winograd)> = convolutions()
        .filter_map(|(convolution, ..)| Winograd::of(&convolution, 3).map(|winograd| (convolution, winograd)))
        .collect();
    assert!(convolutions.len() >= 5, "{} convolutions by minimal filtering", convolutions.len());
    let lengths = convolutions.iter().map(|(_, winograd)| winograd.lengths());
    let mut room = Room::<f64>::filled(lengths.fold(Lengths::default(), Lengths::max), f64::NAN);
    for (convolution, winograd) in convolutions {
        let mut rng = rng(7);
        let mut expected = vec![Pixel::<f64>::default(); convolution.weights()];
        for image in 0..3 {
            let input = Image::random(convolution.inputs, convolution.size, &mut rng).bordered::<f64>(1, true);
            let slopes = Image::random(convolution.outputs, convolution.output(), &mut rng).bordered::<f64>(1, false);
            convolution.weight_gradient(arch, &input, 1, &slopes, &mut expected);
            winograd.weight_gradient(arch, image, image == 2, &input, 1, &slopes, &mut room);
        }
        let mut gradient = vec![Pixel([f64::NAN; LANES]); convolution.weights()];
        winograd.finish(arch, &room, &mut gradient);
        let (gradient, expected) = (unpacked(&convolution, &gradient), unpacked(&convolution, &expected));
        Comparison::new(format!("{convolution:?}"), &gradient, &expected, Tolerance::OfNorm(F64_SUMS)).assert();
    }
}

const SIZES: [(usize, Size); 5] = [
    (1, Size { height: 1, width: 1 }),
    (3, Size { height: 1, width: 5 }),
    (20, Size { height: 2, width: 2 }),
    (16, Size { height: 32, width: 32 }),
    (5, Size { height: 6, width: 4 }),
];

fn plain_pooling(x: &Image) -> Image {
    Image::of_array(&layers::average_pooling(&x.array()))
}

fn plain_halving(x: &Image) -> Image {
    Image::of_array(&layers::halving(&x.array()))
}

/// The summands of a node together, each against its plain form; and the products with a gradient.
#[test]
fn sums_of_summands_are_the_plain_ones() {
    fn check<T: Element>(tolerance: f64) {
        let arch = Arch::new();
        for (seed, (channels, size)) in SIZES.into_iter().enumerate() {
            let mut rng = rng(seed as u64);
            let double = Size { height: 2 * size.height, width: 2 * size.width };
            let [a, b, c] = [size, size, double].map(|size| Image::random(channels, size, &mut rng));
            let per_channel = Size { height: 1, width: 1 };
            let [mean, scale, shift] = [(); 3].map(|()| Image::random(channels, per_channel, &mut rng));
            let (pa, pb, pc) = (a.pixels::<T>(), b.pixels::<T>(), c.pixels::<T>());
            let (pmean, pscale, pshift) = (mean.pixels::<T>(), scale.pixels::<T>(), shift.pixels::<T>());
            let normalized = Image {
                values: (0..b.values.len())
                    .map(|index| {
                        let channel = index / size.pixels();
                        (b.values[index] - mean.values[channel]) * scale.values[channel] + shift.values[channel]
                    })
                    .collect(),
                ..b
            };
            let summands = [
                (Summand::Scaled { x: &pa, weight: T::of(0.5) }, a.map(|value| 0.5 * value)),
                (Summand::Normalized { x: &pb, mean: &pmean, scale: &pscale, shift: &pshift }, normalized),
                (Summand::Pooled { x: &pb, weight: T::of(-0.25) }, plain_pooling(&b).map(|value| -0.25 * value)),
                (Summand::Halved { x: &pc }, plain_halving(&c)),
            ];
            let mut expected = Image::zeros(channels, size);
            for (_, plain) in &summands {
                expected.values.iter_mut().zip(&plain.values).for_each(|(sum, value)| *sum += value);
            }
            let mut out = vec![Pixel([T::of(f64::NAN); LANES]); pa.len()];
            map::combine(arch, summands.iter().map(|(summand, _)| *summand), size, &mut out, true);
            let once = Image::of(channels, size, &out);
            assert_all_close(&once.values, &expected.values, tolerance, tolerance);
            map::combine(arch, summands.iter().map(|(summand, _)| *summand), size, &mut out, false);
            let twice = Image::of(channels, size, &out);
            let expected: Vec<f64> = expected.values.iter().map(|value| 2.0 * value).collect();
            assert_all_close(&twice.values, &expected, tolerance, tolerance);
            map::combine(arch, std::iter::empty(), size, &mut out, true);
            assert!(out.iter().all(|pixel| *pixel == Pixel::default()));

            let gradient = Image::random(channels, size, &mut rng);
            let pixels = gradient.pixels::<T>();
            let terms = gradient.values.len() as f64;
            for (summand, plain) in summands {
                let product = map::product(arch, summand, size, &pixels);
                assert_close(product, plain.dot(&gradient), 0.0, tolerance * terms.sqrt());
            }
            assert_close(map::sum(arch, &pixels), gradient.values.iter().sum(), 0.0, tolerance * terms.sqrt());
        }
    }
    check::<f64>(F64_SUMS);
    check::<f32>(F32_NETWORK);
}

#[test]
fn gradients_of_poolings_are_central_differences() {
    let arch = Arch::new();
    for (seed, (channels, size)) in SIZES.into_iter().enumerate() {
        if size.pixels() > 100 {
            continue;
        }
        let mut rng = rng(20 + seed as u64);
        let x = Image::random(channels, size, &mut rng);
        let slopes = Image::random(channels, size, &mut rng);
        let mut out = vec![Pixel::default(); x.pixels::<f64>().len()];
        let pixels = slopes.pixels();
        map::combine(arch, std::iter::once(Summand::PooledBack { x: &pixels, weight: -0.5 }), size, &mut out, true);
        let expected = differences(&x, |x| -0.5 * plain_pooling(x).dot(&slopes));
        let found = Image::of(channels, size, &out);
        assert_all_close(&found.values, &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);

        let double = Size { height: 2 * size.height, width: 2 * size.width };
        let x = Image::random(channels, double, &mut rng);
        let mut out = vec![Pixel::default(); x.pixels::<f64>().len()];
        map::combine(arch, std::iter::once(Summand::HalvedBack { x: &pixels }), double, &mut out, true);
        let expected = differences(&x, |x| plain_halving(x).dot(&slopes));
        let found = Image::of(channels, double, &out);
        assert_all_close(&found.values, &expected, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
    }
}

/// All images as one array, `[batch, channels, height, width]`.
fn stacked(images: &[Image]) -> Array4<f64> {
    let arrays: Vec<_> = images.iter().map(Image::array).collect();
    let views: Vec<_> = arrays.iter().map(|array| array.view()).collect();
    concatenate(Axis(0), &views).unwrap()
}

/// Mean and variance of every channel of a minibatch.
fn plain_statistics(images: &[Image]) -> Vec<(f64, f64)> {
    let (_, layers::Moments { mean, variance }) = layers::normalize(&stacked(images));
    mean.into_iter().zip(variance).collect()
}

/// `Σ ∂L/∂y · y` of the batch norm of a minibatch; through ReLU and averaged over the pixels if `head`.
fn plain_norm(images: &[Image], scale: &[f64], shift: &[f64], slopes: &[Image], head: bool) -> f64 {
    let (mut y, _) = layers::normalize(&stacked(images));
    for (channel, mut plane) in y.axis_iter_mut(Axis(1)).enumerate() {
        plane.mapv_inplace(|value| value * scale[channel] + shift[channel]);
    }
    if head {
        y = layers::relu(&y)
            .mean_axis(Axis(3))
            .unwrap()
            .mean_axis(Axis(2))
            .unwrap()
            .insert_axis(Axis(2))
            .insert_axis(Axis(3));
    }
    (y * stacked(slopes)).sum()
}

fn per_channel(values: impl IntoIterator<Item = f64>) -> Vec<Pixel<f64>> {
    let values: Vec<f64> = values.into_iter().collect();
    let mut pixels = vec![Pixel::default(); blocks(values.len())];
    values.iter().enumerate().for_each(|(channel, value)| pixels[channel / LANES].0[channel % LANES] = *value);
    pixels
}

#[test]
fn statistics_are_those_of_the_plain_sums() {
    let arch = Arch::new();
    for (seed, (channels, size)) in SIZES.into_iter().enumerate() {
        let mut rng = rng(30 + seed as u64);
        // Far from zero, where squares minus squares would lose half of the digits.
        let images: Vec<Image> = (0..3).map(|_| Image::random(channels, size, &mut rng).map(|x| x + 1000.0)).collect();
        let single: Vec<Image> = images.iter().map(|image| image.map(|x| f64::from(x as f32))).collect();
        let mut moments = [vec![Moments::default(); blocks(channels)], vec![Moments::default(); blocks(channels)]];
        for (image, single) in images.iter().zip(&single) {
            batch_norm::join_moments(arch, &image.pixels::<f64>(), size, &mut moments[0]);
            batch_norm::join_moments(arch, &single.pixels::<f32>(), size, &mut moments[1]);
        }
        // Deviations are exact in f32 near 1000; sums of up to 1024 of them have roundings of 6e-8 each.
        for (images, moments, tolerance) in [(&images, &moments[0], 1e-9), (&single, &moments[1], 1e-4)] {
            for (channel, (mean, variance)) in plain_statistics(images).into_iter().enumerate() {
                let (block, lane) = (channel / LANES, channel % LANES);
                assert_close(moments[block].mean[lane], mean, tolerance * 1e-3, 0.0);
                assert_close(moments[block].variance(lane), variance, tolerance, tolerance);
            }
        }
    }
}

#[test]
fn gradients_of_batch_norms_are_central_differences() {
    let arch = Arch::new();
    for (seed, (channels, size)) in SIZES.into_iter().enumerate() {
        if size.pixels() > 100 {
            continue;
        }
        for head in [false, true] {
            let mut rng = rng(40 + seed as u64);
            let images: Vec<Image> = (0..3).map(|_| Image::random(channels, size, &mut rng)).collect();
            let of_slopes = if head { Size { height: 1, width: 1 } } else { size };
            let slopes: Vec<Image> = (0..3).map(|_| Image::random(channels, of_slopes, &mut rng)).collect();
            let mut numbers = || Array1::random_using(channels, Uniform::new(0.5, 1.5).unwrap(), &mut rng).to_vec();
            let (scale, shift) = (numbers(), numbers());

            let statistics = plain_statistics(&images);
            let inverse: Vec<f64> = statistics.iter().map(|(_, variance)| 1.0 / (variance + EPSILON).sqrt()).collect();
            let (mean, inverse_pixels) =
                (per_channel(statistics.iter().map(|(mean, _)| *mean)), per_channel(inverse.clone()));
            let scale_pixels = per_channel((0..channels).map(|channel| scale[channel] * inverse[channel]));
            let shift_pixels = per_channel(shift.clone());
            let normalization = Normalization { mean: &mean, scale: &scale_pixels, shift: &shift_pixels };
            let mut sums = vec![Slopes::default(); blocks(channels)];
            for (image, slopes) in images.iter().zip(&slopes) {
                let (image, slopes) = (image.pixels(), slopes.pixels());
                if head {
                    global::join_slopes(arch, &image, size, normalization, &slopes, &inverse_pixels, &mut sums);
                } else {
                    batch_norm::join_slopes(arch, &slopes, &image, size, &mean, &inverse_pixels, &mut sums);
                }
            }
            let count = (images.len() * size.pixels()) as f64;
            let sum = |channel: usize| sums[channel / LANES].sum[channel % LANES];
            let product = |channel: usize| sums[channel / LANES].product[channel % LANES];
            let own = |channel: usize| scale[channel] * inverse[channel];
            let backward = Backward {
                own: &per_channel((0..channels).map(own)),
                other: &per_channel((0..channels).map(|c| -own(c) * inverse[c] * product(c) / count)),
                mean: &mean,
                all: &per_channel((0..channels).map(|c| -own(c) * sum(c) / count)),
            };
            for number in 0..images.len() {
                let (image, of_output) = (images[number].pixels(), slopes[number].pixels());
                let found = if head {
                    let mut out = vec![Pixel::default(); image.len()];
                    global::input_gradient(arch, &image, size, normalization, &of_output, backward, &mut out);
                    Image::of(channels, size, &out)
                } else {
                    let bordered = size.bordered(1);
                    let mut out = vec![Pixel([f64::NAN; LANES]); blocks(channels) * bordered.pixels()];
                    batch_norm::input_gradient(arch, &of_output, &image, size, backward, 1, &mut out);
                    let wide = Image::of(channels, bordered, &out);
                    let mut inner = Image::zeros(channels, size);
                    for (index, value) in inner.values.iter_mut().enumerate() {
                        let (y, x) = (index / size.width % size.height + 1, index % size.width + 1);
                        *value = wide.at(index / size.pixels(), y as isize, x as isize);
                    }
                    let total = |image: &Image| image.values.iter().map(|value| value.abs()).sum::<f64>();
                    assert_close(total(&wide), total(&inner), F64_SUMS, 0.0);
                    inner
                };
                let expected = differences(&images[number], |moved| {
                    let mut images = images.clone();
                    images[number] = moved.clone();
                    plain_norm(&images, &scale, &shift, &slopes, head)
                });
                // The curvature of 1/√v, with few numbers in a minibatch: third derivatives up to 1e3 times the squared step.
                assert_all_close(&found.values, &expected, 10.0 * CENTRAL_DIFFERENCE, 10.0 * CENTRAL_DIFFERENCE);
            }
            for channel in 0..channels {
                let moved = |by_scale: f64, by_shift: f64| {
                    let (mut scale, mut shift) = (scale.clone(), shift.clone());
                    scale[channel] += by_scale;
                    shift[channel] += by_shift;
                    plain_norm(&images, &scale, &shift, &slopes, head)
                };
                let of_scale = central_difference(CENTRAL_STEP, |by| moved(by, 0.0));
                let of_shift = central_difference(CENTRAL_STEP, |by| moved(0.0, by));
                assert_close(product(channel), of_scale, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
                assert_close(sum(channel), of_shift, CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
            }
            if head {
                let mut out = vec![Pixel::default(); blocks(channels)];
                let image = images[0].pixels();
                global::average(arch, &image, size, normalization, &mut out);
                for channel in 0..channels {
                    let values = &images[0].values[channel * size.pixels()..][..size.pixels()];
                    let y = |value: &f64| {
                        ((value - statistics[channel].0) * scale[channel] * inverse[channel] + shift[channel]).max(0.0)
                    };
                    let expected = values.iter().map(y).sum::<f64>() / size.pixels() as f64;
                    assert_close(out[channel / LANES].0[channel % LANES], expected, F64_SUMS, F64_SUMS);
                }
            }
        }
    }
}

#[test]
fn joined_moments_are_those_of_all_numbers() {
    let mut rng = rng(50);
    let values = Array1::random_using(11, Uniform::new(-1.0, 1.0).unwrap(), &mut rng).to_vec();
    let of = |values: &[f64]| {
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        Moments { count, mean: [mean; LANES], squares: [squares; LANES] }
    };
    let mut joined = Moments::default();
    for part in [&values[..0], &values[..4], &values[4..4], &values[4..5], &values[5..]] {
        joined.join(&if part.is_empty() { Moments::default() } else { of(part) });
    }
    let all = of(&values);
    assert_eq!(joined.count, 11.0);
    assert_close(joined.mean[3], all.mean[3], F64_SUMS, 0.0);
    assert_close(joined.variance(3), all.variance(3), F64_SUMS, 0.0);
}

#[test]
fn gradients_of_the_linear_layer_and_its_loss_are_central_differences() {
    for (seed, (classes, inputs)) in [(2, 1), (10, 64), (17, 20)].into_iter().enumerate() {
        let mut rng = rng(60 + seed as u64);
        let between = Uniform::new(-1.0, 1.0).unwrap();
        let mut numbers = |count: usize| Array1::random_using(count, between, &mut rng).to_vec();
        let (weights, bias, input) = (numbers(classes * inputs), numbers(classes), numbers(inputs));
        let label = classes / 2;
        let pack = |weights: &[f64]| -> Vec<Pixel<f64>> {
            weights.chunks_exact(inputs).flat_map(|row| per_channel(row.iter().copied())).collect()
        };
        let loss = |weights: &[f64], bias: &[f64], input: &[f64]| {
            let logit = |class: usize| -> f64 {
                bias[class] + (0..inputs).map(|i| weights[class * inputs + i] * input[i]).sum::<f64>()
            };
            let logits: Vec<f64> = (0..classes).map(logit).collect();
            (logits.iter().map(|logit| logit.exp()).sum::<f64>().ln() - logits[label]) / 4.0
        };
        let (w, x) = (pack(&weights), per_channel(input.clone()));
        let mut logits = vec![0.0; classes];
        linear::forward(&w, &per_channel(bias.clone()), &x, &mut logits);
        let mut slopes = vec![0.0; classes];
        let (found, correct) = linear::cross_entropy(&logits, label, 4, &mut slopes);
        assert_close(found / 4.0, loss(&weights, &bias, &input), F64_SUMS, 0.0);
        let best = logits.iter().fold(f64::NEG_INFINITY, |best, logit| best.max(*logit));
        assert_eq!(correct, logits[label] == best);
        let zeros = |count: usize| vec![Pixel::default(); count];
        let (mut of_input, mut of_weights, mut of_bias) = (zeros(x.len()), zeros(w.len()), zeros(blocks(classes)));
        linear::backward(&w, &x, &slopes, &mut of_input, &mut of_weights, &mut of_bias);
        let check = |found: f64, of: &dyn Fn(f64) -> f64| {
            assert_close(found, central_difference(CENTRAL_STEP, of), CENTRAL_DIFFERENCE, CENTRAL_DIFFERENCE);
        };
        let moved = |values: &[f64], index: usize, by: f64| {
            let mut values = values.to_vec();
            values[index] += by;
            values
        };
        for i in 0..inputs {
            check(of_input[i / LANES].0[i % LANES], &|by| loss(&weights, &bias, &moved(&input, i, by)));
        }
        for class in 0..classes {
            check(of_bias[class / LANES].0[class % LANES], &|by| loss(&weights, &moved(&bias, class, by), &input));
            for i in 0..inputs {
                let found = of_weights[class * x.len() + i / LANES].0[i % LANES];
                check(found, &|by| loss(&moved(&weights, class * inputs + i, by), &bias, &input));
            }
        }
        // Of equal logits the first counts; large ones don't overflow.
        let (loss, correct) = linear::cross_entropy(&[1e4, 1e4], 1, 1, &mut [0.0, 0.0]);
        assert_close(loss, 2.0f64.ln(), F64_SUMS, 0.0);
        assert!(!correct);
    }
}
