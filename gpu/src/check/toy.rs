//! The toy regression: its kernels against the naive network on the host in double precision, its supernet against another
//! one.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::toy::{Parameters, Toy};
use advantage_nas::random::Streams;
use advantage_nas::search::Plan;
use advantage_nas::strategy::{Feedback, Method, MethodSettings, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F32_NETWORK, F64_SUMS, Tolerance};
use advantage_nas::{OpTable, Supernet};
use advantage_nas_oracles::Mixture;
use advantage_nas_oracles::toy::Network;
use ndarray::{Array2, Array3, ArrayD, ArrayView, ArrayView3};

use super::{SEARCH, mix, proposals, same_search, witness};
use crate::device::{Buffer, Device};
use crate::error::Result;
use crate::kernels::toy::{Answers, Asks, Edges, Images, SOURCE, Shares, Sizes, Slopes, Sums, Weights};
use crate::kernels::{Kernels, Version};
use crate::toy::ToySupernet;

/// Sizes that are no multiples of tiles, warps and ChaCha blocks, one that is, and more images than a block has
/// threads.
pub const SIZES: [Toy; 5] = [
    Toy { edges: 1, candidates: 1, batch: 1 },
    Toy { edges: 2, candidates: 3, batch: 5 },
    Toy { edges: 3, candidates: 2, batch: 64 },
    Toy { edges: 2, candidates: 5, batch: 33 },
    Toy { edges: 1, candidates: 4, batch: 150 },
];

/// One request for the kernels.
struct Ask {
    trial: usize,
    batch: Batch,
    /// `[edges, slots]`
    slots: Vec<(usize, f32)>,
}

/// A launch: three requests of two trials; if one-hot, one less than there is room for, so that a block without a
/// request is seen as well as the end of every buffer.
struct Case {
    streams: Streams,
    sizes: Sizes,
    parameters: Vec<Parameters>,
    asks: Vec<Ask>,
}

impl Case {
    fn new(toy: Toy, slots: usize, one_hot: bool) -> Result<Self> {
        let streams = Streams::new(7);
        // The last place wraps around the end of the stream.
        let places = [(Set::Validation, 3), (Set::Test, 0), (Set::Validation, u64::MAX)];
        let ask = |(index, (set, step)): (usize, (Set, u64))| {
            let trial = index % 2;
            let slot = |at: usize| {
                let (edge, slot) = (at / slots, at % slots);
                let candidate = (mix(index * 100 + edge) + slot) % toy.candidates;
                let weight = if one_hot { 1.0 } else { (mix(at + 31 * index) % 1000) as f32 / 500.0 - 0.7 };
                (candidate, weight)
            };
            let batch = Batch { trial: trial as u32, set, step };
            Ask { trial, batch, slots: (0..toy.edges * slots).map(slot).collect() }
        };
        Ok(Self {
            sizes: Sizes { toy, trials: 2, requests: places.len() + usize::from(one_hot), slots },
            parameters: (0..2).map(|trial| toy.parameters(&streams, trial)).collect::<Result<_, _>>()?,
            asks: places.into_iter().enumerate().map(ask).collect(),
            streams,
        })
    }

    fn asks(&self, device: &Device) -> Result<Asks> {
        let mut asks = Asks::new(device, self.sizes)?;
        for ask in &self.asks {
            let stream = Streams::stream_number(Toy::purpose(ask.batch.set)?, ask.batch.trial);
            asks.push(ask.trial, stream, ask.batch.step.wrapping_mul(1 << 16), ask.slots.iter().copied())?;
        }
        asks.upload()?;
        Ok(asks)
    }

    fn weights(&self, device: &Device) -> Result<Weights> {
        let toy = self.sizes.toy;
        let filters: Vec<f32> = self.parameters.iter().flat_map(|p| &p.filters).map(|&v| v as f32).collect();
        let heads: Vec<f32> =
            self.parameters.iter().flat_map(|p| &p.heads).map(|&v| (v / toy.edges as f64) as f32).collect();
        let teachers: Vec<u32> =
            self.parameters.iter().flat_map(|p| p.teacher.choices()).map(|&choice| choice as u32).collect();
        Weights::new(device, toy, &filters, &heads, &teachers)
    }

    /// The minibatch of a request, `[height, width, batch]`.
    fn images(&self, ask: &Ask) -> Result<Array3<f32>> {
        let mut images = Array3::zeros(self.sizes.toy.batch_shape());
        self.sizes.toy.draw_batch(&self.streams, &ask.batch, images.view_mut())?;
        Ok(images)
    }
}

/// What `toy_edges` must compute for one request.
struct Expected {
    /// Student's share minus teacher's, `[edges, batch]`.
    differences: Array2<f64>,
    /// The student's, `[edges, batch]`.
    shares: Array2<f64>,
    /// `[edges, slots + 1, batch]`; the last row is that of a candidate whose output is all ones.
    slopes: Array3<f64>,
}

impl Expected {
    fn new(case: &Case, ask: &Ask, images: ArrayView3<'_, f32>) -> Result<Self> {
        let Toy { edges, batch, .. } = case.sizes.toy;
        let slots = case.sizes.slots;
        // As on the device, the weights have single precision.
        let mut network = Network::new(case.sizes.toy, &case.parameters[ask.trial])?;
        network.filters.mapv_inplace(|tap| f64::from(tap as f32));
        network.heads.mapv_inplace(|weight| f64::from((weight / edges as f64) as f32) * edges as f64);
        let outputs = network.outputs(images);
        let mut weights = OpTable::filled(case.sizes.toy.space()?.shape(), 0.0);
        for (at, &(candidate, weight)) in ask.slots.iter().enumerate() {
            weights[(at / slots, candidate)] = f64::from(weight);
        }
        let mixture = Mixture::new(&weights);
        let shares = network.shares(&outputs, &mixture);
        let differences = &shares - network.shares(&outputs, &network.teacher());
        let of = network.slopes(&outputs, &mixture);
        let slopes = Array3::from_shape_fn((edges, slots + 1, batch), |(edge, slot, b)| {
            if slot < slots { of.weights[[edge, ask.slots[edge * slots + slot].0, b]] } else { of.ones[[edge, b]] }
        });
        Ok(Self { differences, shares, slopes })
    }
}

/// A buffer of NaN, so that what is not written is seen.
fn poisoned(device: &Device, name: &'static str, length: usize) -> Result<Buffer<f32>> {
    device.upload(name, &vec![f32::NAN; length])
}

/// The kernels of the toy regression against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device, toys: &[Toy]) -> Result<Vec<Comparison>> {
    compare(device, &Kernels::load(device, &SOURCE)?, toys)
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels, toys: &[Toy]) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for &toy in toys {
        let mut layouts = vec![("one", 1, true), ("all", toy.candidates, false)];
        if toy.candidates > 2 {
            layouts.push(("two", 2, false));
        }
        for (name, slots, one_hot) in layouts {
            let case = Case::new(toy, slots, one_hot)?;
            for version in [Version::Fast, Version::Naive] {
                let Toy { edges, candidates, batch } = toy;
                let label =
                    format!("{version:?}, {edges} edges, {candidates} candidates, {batch} images, slots {name}");
                check_launches(device, kernels, &case, version, one_hot, &label, &mut checks)?;
            }
        }
    }
    Ok(checks)
}

fn check_launches(
    device: &Device,
    kernels: &Kernels,
    case: &Case,
    version: Version,
    one_hot: bool,
    label: &str,
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let sizes = &case.sizes;
    let Toy { edges, batch, .. } = sizes.toy;
    let there = case.asks.len();
    let asks = case.asks(device)?;
    let weights = case.weights(device)?;
    let key: Vec<u32> = case.streams.key().as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let key = device.upload("the key", &key)?;
    // Waited for one by one, so that what goes wrong in a kernel is not found at the next copy.
    let finish = |kernel: &str| {
        let what = format!("{kernel}, {label}, flags {}", device.flags());
        device.synchronize().map_err(|error| error.after(&what))
    };

    // Images: the same bits as the host draws.
    let mut images = poisoned(device, "images", sizes.images())?;
    Images { key: &key, asks: &asks, images: &mut images }.launch(kernels, version)?;
    finish("toy_images")?;
    let drawn = images.to_vec()?;
    let pitch = sizes.images() / sizes.requests;
    let mut expected_images = Vec::new();
    for (ask, drawn) in case.asks.iter().zip(drawn.chunks_exact(pitch)) {
        let expected = case.images(ask)?;
        let drawn = ArrayView::from_shape(expected.dim(), &drawn[..expected.len()]).expect("the pixels of a minibatch");
        checks.push(Comparison::new(format!("toy_images, {label}"), &drawn, &expected, Tolerance::Bits));
        expected_images.push(expected);
    }

    // Shares and slopes, against the naive network.
    let mut shares = Shares {
        differences: poisoned(device, "differences", sizes.shares())?,
        shares: poisoned(device, "shares", sizes.shares())?,
    };
    let mut slopes = poisoned(device, "slopes", sizes.slopes())?;
    let wanted = if one_hot { Slopes::OfOne } else { Slopes::OfSeveral };
    let launch =
        Edges { asks: &asks, weights: &weights, wanted, images: &images, shares: &mut shares, slopes: &mut slopes };
    launch.launch(kernels, version)?;
    finish("toy_edges")?;
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<f64>>();
    let differences = wide(shares.differences.to_vec()?);
    let student = wide(shares.shares.to_vec()?);
    let all_slopes = wide(slopes.to_vec()?);
    let (cells, slope_cells) = (edges * batch, edges * (sizes.slots + 1) * batch);
    for (request, (ask, images)) in case.asks.iter().zip(&expected_images).enumerate() {
        let expected = Expected::new(case, ask, images.view())?;
        let largest = |values: &ArrayD<f64>, least: f64| values.fold(least, |largest, value| largest.max(value.abs()));
        let [expected_differences, expected_shares] = [expected.differences, expected.shares].map(Array2::into_dyn);
        let scale = largest(&expected_shares, 0.0);
        for (what, got, expected) in [
            ("differences", &differences[request * cells..][..cells], expected_differences),
            ("shares", &student[request * cells..][..cells], expected_shares),
            ("slopes", &all_slopes[request * slope_cells..][..slope_cells], expected.slopes.into_dyn()),
        ] {
            let got = ArrayView::from_shape(expected.shape(), got).expect("the request's part of the buffer");
            let floor = F32_NETWORK * largest(&expected, scale);
            let name = format!("toy_edges, {what}, {label}");
            checks.push(Comparison::new(name, &got, &expected, Tolerance::Close { relative: 0.0, floor }));
        }
    }
    let untouched = |values: &[f64]| values.iter().map(|value| value.is_nan()).collect::<Vec<_>>();
    for (what, rest) in [
        ("images", untouched(&wide(drawn[there * pitch..].to_vec()))),
        ("shares", untouched(&student[there * cells..])),
        ("slopes", untouched(&all_slopes[there * slope_cells..])),
    ] {
        if there < sizes.requests {
            checks.push(Comparison::equal(format!("no request, no {what}, {label}"), &rest, &vec![true; rest.len()]));
        }
    }

    // Sums, from what is on the device.
    for sums in [Sums::Slopes(0), Sums::Slopes(sizes.slots), Sums::Slopes(sizes.slots + 1), Sums::Removals] {
        let rows = sums.rows();
        let count = sizes.sums(rows);
        let mut answers = device.upload("answers", &vec![f64::NAN; sizes.requests * count])?;
        Answers { asks: &asks, sums, shares: &shares, slopes: &slopes, answers: &mut answers }
            .launch(kernels, version)?;
        finish("toy_answers")?;
        let answers = answers.to_vec()?;
        for request in 0..there {
            let cell = |edge: usize, b: usize| (request * edges + edge) * batch + b;
            let errors: Vec<f64> = (0..batch)
                .map(|b| f64::from((0..edges).fold(0.0f32, |sum, edge| sum + differences[cell(edge, b)] as f32)))
                .collect();
            let mut expected = vec![errors.iter().map(|error| error * error).sum::<f64>()];
            for edge in 0..edges {
                for row in 0..rows {
                    let term = |b: usize| match sums {
                        Sums::Removals => (errors[b] - student[cell(edge, b)]).powi(2),
                        Sums::Slopes(_) => {
                            let place = ((request * edges + edge) * (sizes.slots + 1) + row) * batch + b;
                            errors[b] * all_slopes[place]
                        }
                    };
                    expected.push((0..batch).map(term).sum());
                }
            }
            let name = format!("toy_answers, {sums:?}, {label}");
            let got = &answers[request * count..][..count];
            checks.push(Comparison::new(name, got, &expected, Tolerance::OfLargest(F64_SUMS)));
        }
        let rest: Vec<bool> = answers[there * count..].iter().map(|value| value.is_nan()).collect();
        if there < sizes.requests {
            checks.push(Comparison::equal(format!("no request, no answers, {label}"), &rest, &vec![true; rest.len()]));
        }
    }
    Ok(())
}

/// Another supernet of the same description, in double precision.
pub type Reference<'a> = dyn Fn(Toy, &Streams, &[u32]) -> advantage_nas::Result<Box<dyn Supernet>> + 'a;

/// The supernet against another one: all kinds of proposals, everything that may be wanted, several trials at once in
/// another order than they were built in, kinds mixed.
///
/// # Errors
/// What the supernets report.
pub fn supernet(device: &Device, toys: &[Toy], reference: &Reference<'_>) -> Result<Vec<Comparison>> {
    let trials = [4, 0, 2];
    let mut checks = Vec::new();
    for &toy in toys {
        let streams = Streams::new(11);
        let mut ours = ToySupernet::new(device, toy, &streams, &trials)?;
        let mut other = reference(toy, &streams, &trials)?;
        for want in [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals] {
            let mut requests = Vec::new();
            for (index, trial) in [2, 4, 0].into_iter().enumerate() {
                for proposal in proposals(ours.space(), index, want)? {
                    let batch = Batch { trial, set: Set::Validation, step: index as u64 };
                    requests.push(Request { batch, proposal });
                }
            }
            let mut got = vec![Feedback::new(ours.space().shape()); requests.len()];
            let mut expected = got.clone();
            ours.probe(&requests, &mut got)?;
            other.probe(&requests, &mut expected)?;
            let label = format!("{} edges, {} candidates, {} images, {want:?}", toy.edges, toy.candidates, toy.batch);
            // Of a loss, every edge's error counts, which is small against the shares that it is the difference of.
            let losses = |feedback: &[Feedback]| feedback.iter().map(|feedback| feedback.loss).collect::<Vec<_>>();
            let (got_losses, expected_losses) = (losses(&got), losses(&expected));
            let twice = Tolerance::OfLargest(2.0 * F32_NETWORK);
            checks.push(Comparison::new(format!("losses, {label}"), &got_losses, &expected_losses, twice));
            let rest = |feedback: &Feedback| -> Vec<f64> {
                feedback.gradient.values().iter().chain(&feedback.removals).copied().collect()
            };
            for (got, expected) in got.iter().zip(&expected) {
                let zero = |feedback: &Feedback| rest(feedback).iter().map(|v| *v == 0.0).collect::<Vec<_>>();
                checks.push(Comparison::equal(
                    format!("what is not wanted is zero, {label}"),
                    &zero(got),
                    &zero(expected),
                ));
                checks.push(Comparison::new(label.clone(), &rest(got), &rest(expected), twice));
            }
        }
        let teacher = ours.teacher(4).cloned().ok_or(crate::Error::TooLarge { what: "trials", got: 4, most: 3 })?;
        let proposal = Proposal::one_hot(ours.space().shape(), &teacher, Want::Loss)?;
        let batch = Batch { trial: 4, set: Set::Test, step: 1 };
        let loss = ours.evaluate(&Request { batch, proposal })?.loss;
        checks.push(Comparison::equal("the teacher has no loss", &[loss], &[0.0]));
    }
    Ok(checks)
}

/// A search with every method, against the same on another supernet, step by step.
///
/// # Errors
/// What the searches report.
pub fn searches(
    device: &Device,
    toy: Toy,
    trials: &[u32],
    steps: u64,
    reference: &Reference<'_>,
) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for method in Method::ALL {
        let streams = Streams::new(3);
        let mut ours = ToySupernet::new(device, toy, &streams, trials)?;
        let mut theirs = reference(toy, &streams, trials)?;
        for &trial in trials {
            let plan = Plan::theta_only(steps, 10);
            let strategy = || {
                // Ten times the rate, so that the architectures change within the steps.
                let mut settings = MethodSettings::toy();
                settings.theta.learning_rate *= 10.0;
                method.build(&toy.space()?, &settings, &streams, trial)
            };
            let expected = witness(&mut *theirs, &streams, trial, strategy()?, plan)?;
            let got = witness(&mut ours, &streams, trial, strategy()?, plan)?;
            checks.extend(same_search(&format!("{method}, trial {trial}"), &got, &expected, SEARCH));
        }
    }
    Ok(checks)
}
