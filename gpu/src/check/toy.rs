//! The toy regression: its kernels against plain loops on the host in double precision, its supernet against another
//! one.

use advantage_nas::network::toy::{IMAGE, KERNEL, OUTPUT, PIXELS, POSITIONS, Parameters, STRIDE, TAPS, Toy};
use advantage_nas::random::Streams;
use advantage_nas::strategy::{Feedback, Method, MethodSettings, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F32_NETWORK, F64_SUMS};
use advantage_nas::{Architecture, OpTable, Supernet};

use super::{Check, same_search, witness};
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

/// Whatever has no other meaning: a small deterministic generator of indices.
fn mix(seed: usize) -> usize {
    let mixed = (seed as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 33) as usize
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

    /// The minibatch of a request, `[pixels, batch]`.
    fn images(&self, ask: &Ask) -> Result<Vec<f32>> {
        let mut images = vec![0.0; PIXELS * self.sizes.toy.batch];
        self.sizes.toy.draw_batch(&self.streams, &ask.batch, &mut images)?;
        Ok(images)
    }
}

/// A filter's output at a position of image `b`.
fn output(images: &[f32], batch: usize, b: usize, filter: &[f64], position: usize) -> f64 {
    let (y, x) = (position / OUTPUT * STRIDE, position % OUTPUT * STRIDE);
    let mut sum = 0.0;
    for ky in 0..KERNEL {
        for kx in 0..KERNEL {
            // As on the device, the weights have single precision.
            let tap = f64::from(filter[ky * KERNEL + kx] as f32);
            sum += tap * f64::from(images[((y + ky) * IMAGE + x + kx) * batch + b]);
        }
    }
    sum
}

/// What `toy_edges` must compute for one request: `[edges, batch]`, `[edges, batch]`, `[edges, slots + 1, batch]`.
fn expected_edges(case: &Case, ask: &Ask, images: &[f32]) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let Toy { edges, candidates, batch } = case.sizes.toy;
    let slots = case.sizes.slots;
    let parameters = &case.parameters[ask.trial];
    let mut differences = vec![0.0; edges * batch];
    let mut shares = differences.clone();
    let mut slopes = vec![0.0; edges * (slots + 1) * batch];
    let filter = |edge: usize, candidate: usize| &parameters.filters[(edge * candidates + candidate) * TAPS..][..TAPS];
    for edge in 0..edges {
        let mine = &ask.slots[edge * slots..][..slots];
        for b in 0..batch {
            for position in 0..POSITIONS {
                let head = f64::from((parameters.heads[edge * POSITIONS + position] / edges as f64) as f32);
                let teacher = output(images, batch, b, filter(edge, parameters.teacher.choice(edge)), position);
                let outputs: Vec<f64> =
                    mine.iter().map(|slot| output(images, batch, b, filter(edge, slot.0), position)).collect();
                let mixture: f64 = mine.iter().zip(&outputs).map(|(slot, output)| f64::from(slot.1) * output).sum();
                let hidden = mixture.tanh();
                differences[edge * batch + b] += head * (hidden - teacher.tanh());
                shares[edge * batch + b] += head * hidden;
                let inner = head * (1.0 - hidden * hidden);
                for (slot, output) in outputs.iter().chain([&1.0]).enumerate() {
                    slopes[(edge * (slots + 1) + slot) * batch + b] += inner * output;
                }
            }
        }
    }
    (differences, shares, slopes)
}

/// A buffer of NaN, so that what is not written is seen.
fn poisoned(device: &Device, name: &'static str, length: usize) -> Result<Buffer<f32>> {
    device.upload(name, &vec![f32::NAN; length])
}

/// The kernels of the toy regression against the host.
///
/// # Errors
/// What the device reports.
pub fn kernels(device: &Device, toys: &[Toy]) -> Result<Vec<Check>> {
    compare(device, &Kernels::load(device, &SOURCE)?, toys)
}

/// The same for kernels that were loaded from another text.
///
/// # Errors
/// What the device reports.
pub fn compare(device: &Device, kernels: &Kernels, toys: &[Toy]) -> Result<Vec<Check>> {
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
    checks: &mut Vec<Check>,
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
        let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        checks.push(Check::equal(format!("toy_images, {label}"), &bits(&drawn[..expected.len()]), &bits(&expected)));
        expected_images.push(expected);
    }

    // Shares and slopes, against plain loops.
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
        let expected = expected_edges(case, ask, images);
        let scale = expected.1.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        let mut check = |what: &str, got: &[f64], expected: &[f64]| {
            let name = format!("toy_edges, {what}, {label}");
            let largest = expected.iter().fold(scale, |largest, value| largest.max(value.abs()));
            checks.push(Check::close(name, got, expected, 0.0, F32_NETWORK * largest));
        };
        check("differences", &differences[request * cells..][..cells], &expected.0);
        check("shares", &student[request * cells..][..cells], &expected.1);
        check("slopes", &all_slopes[request * slope_cells..][..slope_cells], &expected.2);
    }
    let untouched = |values: &[f64]| values.iter().map(|value| value.is_nan()).collect::<Vec<_>>();
    for (what, rest) in [
        ("images", untouched(&wide(drawn[there * pitch..].to_vec()))),
        ("shares", untouched(&student[there * cells..])),
        ("slopes", untouched(&all_slopes[there * slope_cells..])),
    ] {
        if there < sizes.requests {
            checks.push(Check::equal(format!("no request, no {what}, {label}"), &rest, &vec![true; rest.len()]));
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
            checks.push(Check::uniform(name, got, &expected, F64_SUMS));
        }
        let rest: Vec<bool> = answers[there * count..].iter().map(|value| value.is_nan()).collect();
        if there < sizes.requests {
            checks.push(Check::equal(format!("no request, no answers, {label}"), &rest, &vec![true; rest.len()]));
        }
    }
    Ok(())
}

/// The proposals of all kinds: one candidate, one among all, two, a mixture of all.
fn proposals(space: &advantage_nas::SearchSpace, seed: usize, want: Want) -> advantage_nas::Result<Vec<Proposal>> {
    let shape = space.shape();
    let choices: Vec<usize> = (0..shape.edges()).map(|edge| mix(seed + edge) % shape.candidates(edge)).collect();
    let architecture = Architecture::new(shape, choices)?;
    let one_hot = Proposal::one_hot(shape, &architecture, want)?;
    let mut among_all = one_hot.clone();
    among_all.set_one_hot_among_all(&architecture, want)?;
    let mut dense = one_hot.clone();
    let weights = OpTable::from_fn(shape, |edge, j| (mix(edge * 100 + j + seed) % 1000) as f64 / 700.0 - 0.4);
    dense.set_dense(&weights, want)?;
    let mut proposals = vec![one_hot.clone(), among_all, dense];
    if shape.candidates(0) > 1 {
        let mut pairs = one_hot;
        let chosen: Vec<[usize; 2]> =
            architecture.choices().iter().map(|&k| [k, (k + 1) % shape.candidates(0)]).collect();
        pairs.set_pairs(&chosen, want)?;
        proposals.push(pairs);
    }
    Ok(proposals)
}

/// Another supernet of the same description, in double precision.
pub type Reference<'a> = dyn Fn(Toy, &Streams, &[u32]) -> advantage_nas::Result<Box<dyn Supernet>> + 'a;

/// The supernet against another one: all kinds of proposals, everything that may be wanted, several trials at once in
/// another order than they were built in, kinds mixed.
///
/// # Errors
/// What the supernets report.
pub fn supernet(device: &Device, toys: &[Toy], reference: &Reference<'_>) -> Result<Vec<Check>> {
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
            checks.push(Check::uniform(format!("losses, {label}"), &got_losses, &expected_losses, 2.0 * F32_NETWORK));
            let rest = |feedback: &Feedback| -> Vec<f64> {
                feedback.gradient.values().iter().chain(&feedback.removals).copied().collect()
            };
            for (got, expected) in got.iter().zip(&expected) {
                let zero = |feedback: &Feedback| rest(feedback).iter().map(|v| *v == 0.0).collect::<Vec<_>>();
                checks.push(Check::equal(format!("what is not wanted is zero, {label}"), &zero(got), &zero(expected)));
                checks.push(Check::uniform(label.clone(), &rest(got), &rest(expected), 2.0 * F32_NETWORK));
            }
        }
        let teacher = ours.teacher(4).cloned().ok_or(crate::Error::TooLarge { what: "trials", got: 4, most: 3 })?;
        let proposal = Proposal::one_hot(ours.space().shape(), &teacher, Want::Loss)?;
        let batch = Batch { trial: 4, set: Set::Test, step: 1 };
        let loss = ours.evaluate(&Request { batch, proposal })?.loss;
        checks.push(Check::equal("the teacher has no loss", &[loss], &[0.0]));
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
) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for method in Method::ALL {
        let streams = Streams::new(3);
        let mut ours = ToySupernet::new(device, toy, &streams, trials)?;
        let mut theirs = reference(toy, &streams, trials)?;
        for &trial in trials {
            let strategy = || {
                // Ten times the rate, so that the architectures change within the steps.
                let mut settings = MethodSettings::toy();
                settings.theta.learning_rate *= 10.0;
                method.build(&toy.space()?, &settings, &streams, trial)
            };
            let expected = witness(&mut *theirs, &streams, trial, strategy()?, steps)?;
            let got = witness(&mut ours, &streams, trial, strategy()?, steps)?;
            checks.extend(same_search(&format!("{method}, trial {trial}"), &got, &expected));
        }
    }
    Ok(checks)
}
