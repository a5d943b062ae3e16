//! The network of NAS-Bench-201's cells against another implementation: whole steps, everything that a step leaves behind, evaluations, and
//! searches.

use advantage_nas::comparison::Comparison;
use advantage_nas::network::nas_bench_201::{Candidates, Data, Images, PIXELS, Parent, Skeleton, paper_sgd};
use advantage_nas::network::{Part, Sgd};
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, ProcessBest};
use advantage_nas::sharing::{Network, WeightSharing};
use advantage_nas::state::Entry;
use advantage_nas::strategy::{Activity, Feedback, Method, MethodSettings, Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::tolerance::{F32_NETWORK, Tolerance};
use advantage_nas::{Architecture, OpTable, SearchSpace, Supernet};

use crate::check::{Seen, mix, proposals, same_search, witness};
use crate::device::Device;
use crate::error::Result;
use crate::nas_bench_201::{NasBench201Supernet, Settings, supernet};

/// Sizes of a network that is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Cells of every stage.
    pub cells: usize,
    /// Channels of the first stage.
    pub channels: usize,
    /// Images of a minibatch.
    pub batch: usize,
    /// Whether the zero operation is a candidate.
    pub zero: bool,
    /// Candidates of an edge that are active at once, at most.
    pub activity: Activity,
    /// Whether convolutions multiply in TF32.
    pub tf32: bool,
}

impl Case {
    /// The parent network.
    ///
    /// # Errors
    /// For sizes outside their range.
    pub fn parent(&self) -> advantage_nas::Result<Parent> {
        let candidates = if self.zero { Candidates::with_zero() } else { Candidates::without_zero() };
        Parent::new(Skeleton { cells: self.cells, channels: self.channels, classes: CLASSES }, &candidates)
    }

    /// Images that were made up, the same for every case of a seed.
    ///
    /// # Errors
    /// Never for what is in here.
    pub fn data(&self, streams: &Streams) -> advantage_nas::Result<Data> {
        let make = |count: usize, salt: usize| {
            let pixels: Vec<u8> = (0..count * PIXELS).map(|place| (mix(place + salt) >> 16) as u8).collect();
            let labels: Vec<u8> = (0..count).map(|image| (image % CLASSES) as u8).collect();
            Images::new(pixels, labels, (0..CLASSES).map(|class| format!("class {class}")).collect::<Vec<_>>())
        };
        Data::new(make(6 * CLASSES, 0)?, Some(make(2 * CLASSES, 1 << 40)?), streams)
    }

    /// Settings on a device.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings { batch: self.batch, weights: sgd(), activity: self.activity, tf32: self.tf32 }
    }

    fn close(&self) -> Close {
        if self.tf32 { TF32 } else { SINGLE }
    }

    fn build(&self, device: &Device, streams: &Streams, trials: &[u32]) -> advantage_nas::Result<NasBench201Supernet> {
        supernet(device, self.parent()?, self.settings(), self.data(streams)?, streams, trials)
    }
}

const CLASSES: usize = 3;

/// As the paper trains the weights, but for a rate at which small networks don't blow up what rounding makes different.
#[must_use]
pub fn sgd() -> Sgd {
    Sgd { learning_rate: 0.01, ..paper_sgd() }
}

/// How far a device may be from double precision.
#[derive(Clone, Copy, Debug)]
struct Close {
    /// After a forward and a backward pass, norm-wise.
    network: f64,
    /// Gradients that vanish, of the norm of all.
    vanishing: f64,
    /// Of losses and `∂loss/∂a`, of which all images have a share.
    answers: Tolerance,
    /// Whether all parameters are measured together, instead of each by itself.
    together: bool,
}

/// In single precision: some layers of sums of some hundred terms, and batch norms, which enlarge the errors of what is nearly constant.
const SINGLE: Close = Close {
    network: 4.0 * F32_NETWORK,
    vanishing: 4.0 * F32_NETWORK,
    answers: Tolerance::Sum { relative: 1e-4, absolute: 2e-5 },
    together: false,
};
/// With convolutions in TF32: each adds 2.8e-4 of its output, norm-wise, see `numbers`; batch norms of few numbers enlarge that, some inputs of ReLUs change
/// their sides, and single parameters of small networks are sums of what nearly cancels. So all parameters are measured together; how close each kernel
/// is, its own checks say.
const TF32: Close = Close {
    network: 0.15,
    vanishing: 0.15,
    answers: Tolerance::Sum { relative: 5e-2, absolute: 2e-2 },
    together: true,
};

/// Of what searches see whose weights are trained: every step starts from the differences of the one before, and enlarges them.
const TRAINED: Tolerance = Tolerance::Sum { relative: 1e-3, absolute: 1e-4 };

/// The other implementation, with everything but its thread count as on the device.
pub type Reference<'a, N> = dyn Fn(&Case, &Streams, &[u32]) -> advantage_nas::Result<WeightSharing<N>> + 'a;

fn wide(entry: &Entry) -> Vec<f64> {
    match entry {
        Entry::F32(array) => array.iter().map(|value| f64::from(*value)).collect(),
        Entry::F64(array) => array.iter().copied().collect(),
        Entry::U64(array) => array.iter().map(|value| *value as f64).collect(),
    }
}

fn values(table: &OpTable<f64>) -> Vec<f64> {
    table.values().to_vec()
}

/// Everything about some steps, from the same weights on both sides: loss, `∂loss/∂a`, gradients of all weights, their norm, updated weights and
/// velocities, running statistics; then what every kind of request answers, and evaluations.
///
/// # Errors
/// What the networks report.
pub fn steps<N: Network>(device: &Device, cases: &[Case], reference: &Reference<'_, N>) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for case in cases {
        let streams = Streams::new(21);
        let mut ours = case.build(device, &streams, &[1])?;
        let mut theirs = reference(case, &streams, &[1])?;
        let space = case.parent()?.space().clone();
        for (step, proposal) in all(&space, case, Want::Loss)?.iter().enumerate() {
            let label = format!("{case:?}, step {step}");
            let batch = Batch { trial: 1, set: Set::Training, step: step as u64 };
            let request = Request { batch, proposal: proposal.clone() };
            same_weights(&mut ours, &mut theirs)?;
            whole_step(&mut ours, &mut theirs, &request, (&label, case.close()), &mut checks)?;
        }
        same_weights(&mut ours, &mut theirs)?;
        for want in [Want::Loss, Want::Gradient, Want::GradientWithUnitOutputs, Want::Removals] {
            for (number, proposal) in all(&space, case, want)?.into_iter().enumerate() {
                let batch = Batch { trial: 1, set: Set::Validation, step: number as u64 };
                let request = Request { batch, proposal };
                let [mut got, mut expected] = [Feedback::new(space.shape()), Feedback::new(space.shape())];
                ours.probe(std::slice::from_ref(&request), std::slice::from_mut(&mut got))?;
                theirs.probe(std::slice::from_ref(&request), std::slice::from_mut(&mut expected))?;
                let label = format!("{case:?}, {want:?} of proposal {number}");
                let all_of = |feedback: &Feedback| {
                    [&[feedback.loss][..], &values(&feedback.gradient), &feedback.removals].concat()
                };
                checks.push(Comparison::new(label, &all_of(&got), &all_of(&expected), case.close().answers));
            }
        }
        for set in [Set::Test, Set::Validation] {
            let proposal = all(&space, case, Want::Loss)?.swap_remove(0);
            let request = Request { batch: Batch { trial: 1, set, step: 0 }, proposal };
            let [got, expected] = [ours.evaluate(&request)?, theirs.evaluate(&request)?];
            let label = format!("{case:?}, evaluation of {set:?}");
            checks.push(Comparison::new(format!("{label}: loss"), &[got.loss], &[expected.loss], case.close().answers));
            let rest = |one: advantage_nas::supernet::Evaluation| (one.accuracy, one.count);
            let [got, expected] = [rest(got), rest(expected)];
            // Of two outputs that are nearly the same, another one may be the largest.
            if !case.tf32 {
                checks.push(Comparison::equal(format!("{label}: accuracy"), &[got], &[expected]));
            }
        }
    }
    Ok(checks)
}

/// The proposals of all kinds that a case has room for, and every candidate on every edge.
fn all(space: &SearchSpace, case: &Case, want: Want) -> Result<Vec<Proposal>> {
    let mut all = proposals(space, case.channels, want)?;
    all.retain(|proposal| proposal.activity() <= case.activity);
    for candidate in 0..space.shape().candidates(0) {
        let choices = (0..space.shape().edges()).map(|edge| (candidate + edge) % space.shape().candidates(edge));
        let architecture = Architecture::new(space.shape(), choices.collect::<Vec<_>>())?;
        all.push(Proposal::one_hot(space.shape(), &architecture, want)?);
    }
    Ok(all)
}

/// Weights, velocities and running statistics of the device, on both sides.
fn same_weights<N: Network>(ours: &mut NasBench201Supernet, theirs: &mut WeightSharing<N>) -> Result<()> {
    let state = ours.save(1)?;
    for index in 0..ours.network().parameters().len() {
        for part in [Part::Value, Part::Velocity] {
            let entry = ours.parameter(1, index, part)?;
            let Entry::F32(array) = &entry else { continue };
            let entry = match theirs.network().precision() {
                advantage_nas::sharing::Precision::Single => entry,
                advantage_nas::sharing::Precision::Double => array.mapv(f64::from).into(),
            };
            theirs.set_parameter(1, index, part, &entry)?;
        }
    }
    theirs.network_mut().restore_rest(1, &state)?;
    Ok(())
}

fn whole_step<N: Network>(
    ours: &mut NasBench201Supernet,
    theirs: &mut WeightSharing<N>,
    request: &Request,
    (label, close): (&str, Close),
    checks: &mut Vec<Comparison>,
) -> Result<()> {
    let Close { network, vanishing, answers, together } = close;
    let [got, expected] = [ours.pass(request)?, theirs.pass(request)?];
    checks.push(Comparison::new(format!("loss, {label}"), &[got.loss], &[expected.loss], answers));
    let [got, expected] = [values(&got.edge_gradient), values(&expected.edge_gradient)];
    checks.push(Comparison::new(format!("edge gradient, {label}"), &got, &expected, answers));
    let names: Vec<String> = ours.network().parameters().iter().map(|parameter| parameter.name.clone()).collect();
    let mut parts = |what: &str, part: Part, ours: &mut NasBench201Supernet, theirs: &mut WeightSharing<N>| {
        let [mut got, mut expected] = [Vec::new(), Vec::new()];
        for index in 0..names.len() {
            got.push(wide(&ours.parameter(1, index, part)?));
            expected.push(wide(&theirs.parameter(1, index, part)?));
        }
        if together {
            let name = format!("{what} of all parameters, {label}");
            checks.push(Comparison::new(name, &got.concat(), &expected.concat(), Tolerance::OfNorm(network)));
            return Ok(());
        }
        // Gradients that vanish, as those of filters that no gradient reaches, have no digits to compare but against all others.
        let whole = expected.iter().flatten().map(|value| value * value).sum::<f64>().sqrt();
        for ((name, got), expected) in names.iter().zip(&got).zip(&expected) {
            let norm = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
            let name = format!("{what} of {name}, {label}");
            if norm > 1e-3 * whole {
                checks.push(Comparison::new(name, got, expected, Tolerance::OfNorm(network)));
            } else {
                let floor = vanishing * whole;
                checks.push(Comparison::new(name, got, expected, Tolerance::Close { relative: 0.0, floor }));
            }
        }
        Ok::<(), crate::Error>(())
    };
    parts("gradient", Part::Gradient, ours, theirs)?;
    let [got, expected] = [ours.update(0.05)?, theirs.update(0.05)?];
    parts("updated weights", Part::Value, ours, theirs)?;
    parts("updated velocity", Part::Velocity, ours, theirs)?;
    checks.push(Comparison::new(format!("gradient norm, {label}"), &[got], &[expected], answers));
    let [got, expected] = [ours.save(1)?, theirs.save(1)?];
    let shapes = |state: &advantage_nas::state::State| -> Vec<(String, Vec<usize>)> {
        state.iter().map(|(name, entry)| (name.to_owned(), entry.shape().to_vec())).collect()
    };
    checks.push(Comparison::equal(format!("saved state, {label}"), &shapes(&got), &shapes(&expected)));
    for (name, entry) in got.iter().filter(|(name, _)| name.starts_with("running.")) {
        let expected = wide(expected.get(name)?);
        // Means of sums of normalised outputs are zero but for roundings.
        let close = Tolerance::Close { relative: network, floor: network };
        checks.push(Comparison::new(format!("{name}, {label}"), &wide(entry), &expected, close));
    }
    Ok(())
}

/// Searches by all methods, alone and several trials together, against the same on the other implementation: the same architectures, losses
/// within the tolerance.
///
/// # Errors
/// What the searches report.
pub fn searches<N: Network>(
    device: &Device,
    case: Case,
    methods: &[Method],
    steps: u64,
    reference: &Reference<'_, N>,
) -> Result<Vec<Comparison>> {
    let mut checks = Vec::new();
    for &method in methods {
        let streams = Streams::new(4);
        let case = Case { activity: method.activity(), ..case };
        let plan = Plan {
            warmup: 2,
            iterations: steps,
            interval: 7,
            weight_steps_per_epoch: 5.0,
            theta_steps_per_epoch: 5.0,
            process_best: ProcessBest::ThetaSteps,
        };
        let strategy = || {
            // Many times the rate, so that the architectures change within the steps.
            let mut settings = MethodSettings::toy();
            settings.theta.learning_rate *= 3.0;
            method.build(case.parent()?.space(), &settings, &streams, 0)
        };
        let expected: Vec<Seen> = witness(reference(&case, &streams, &[0])?, &streams, 0, strategy()?, plan)?;
        let got = witness(case.build(device, &streams, &[0])?, &streams, 0, strategy()?, plan)?;
        checks.extend(same_search(&format!("{method}, {case:?}"), &got, &expected, TRAINED));
    }
    Ok(checks)
}
