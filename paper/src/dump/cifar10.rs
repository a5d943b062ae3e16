//! One step of the search on CIFAR-10: everything that goes into it and everything that comes out. Names and layouts are in
//! `paper/README.md`.

use advantage_nas::Supernet;
use advantage_nas::network::nas_bench_201::parent::{NORM_EPSILON, NORM_MOMENTUM};
use advantage_nas::network::nas_bench_201::{EDGES, Parent, edge_ends};
use advantage_nas::network::{Part, Sgd};
use advantage_nas::search::Saves;
use advantage_nas::sharing::Passed;
use advantage_nas::state::Entry;
use advantage_nas::strategy::{Feedback, Step, StepKind, Want};
use advantage_nas::supernet::{Request, Set};
use advantage_nas_cpu::nas_bench_201::NasBench201Supernet;
use ndarray::{Array1, Array2, Array4, ArrayD};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::Dump;
use crate::device::Backend;
use crate::error::{Error, Result};
use crate::experiment::cifar10::{CellSearch, Cifar10Network, Cifar10OnDevice};
use crate::experiment::{Experiment as _, cifar10};
use crate::settings::Settings;

/// Differences of gradients, relative to their norms, that single precision explains without a ReLU that changed its side.
const ROUNDING: f64 = 3e-5;
/// The same of gradients that vanish beside the others, relative to the norm of all of them.
const VANISHING: f64 = 1e-7;
/// Relative size of the disturbances that must not change a side.
const DISTURBANCE: f64 = 3e-7;
/// How often a step is disturbed.
const DISTURBANCES: u64 = 4;
/// How many steps are looked at.
const STEPS: u64 = 50;

/// The search after so many steps, and then one pass and one update of the weights on the minibatch and with the proposal of its next
/// update of `θ`, or of `w`.
///
/// Among a million inputs of ReLUs, one or the other is so close to zero that rounding decides its side, and with it some gradient's
/// fourth digit: not what a dump is to show. So later steps are taken until the gradients are steady: those in single precision agree
/// with those in double precision, and the latter do not jump if all weights are disturbed in their seventh digit. Where a network is so large
/// that there is no such step among the first fifty, the first is taken, and that is said.
///
/// Whether a step is steady, the networks on the CPU decide, from the same saved state: so dumps of a device are of the same steps.
///
/// Returns the file and how many steps were before.
///
/// # Errors
/// [`Error::Usage`] for more steps than the search has; what the supernet and the strategy report.
pub fn dump(experiment: &CellSearch, settings: &Settings, after: u64, kind: StepKind) -> Result<(Dump, u64)> {
    match &experiment.backend {
        Backend::Cpu => of_network(experiment, settings, after, kind, || experiment.supernet(settings)),
        Backend::Cuda { device, .. } => of_network(experiment, settings, after, kind, || {
            let build = experiment.device_supernet(settings, vec![settings.trial])?;
            Ok(build(device)?)
        }),
    }
}

fn of_network<S: Inspected>(
    experiment: &CellSearch,
    settings: &Settings,
    after: u64,
    kind: StepKind,
    build: impl Fn() -> Result<S>,
) -> Result<(Dump, u64)> {
    let new = || CellSearch::search(settings, build()?);
    let mut search = new()?;
    let steps = search.steps();
    if after >= steps {
        return Err(Error::Usage(format!("--after must be below {steps}, the steps of this search, got {after}")));
    }
    let mut double = experiment.supernet::<f64>(settings)?;
    for position in after..steps.min(after + STEPS) {
        search.run(Some(position), &mut ())?;
        let saved = search.save()?;
        let mut on_cpu = CellSearch::search(settings, experiment.supernet::<f32>(settings)?)?;
        on_cpu.restore(&saved)?;
        let (_, requests, mut single) = on_cpu.ask(kind)?;
        if is_steady(&mut single, &mut double, &requests[0])? {
            let (step, requests, supernet) = search.ask(kind)?;
            let dump = of_step(experiment, settings, (position, &step, &requests[0], true), supernet)?;
            return Ok((dump, position));
        }
    }
    let looked_at = steps.min(after + STEPS) - after;
    tracing::warn!("no step among {looked_at} has steady gradients; the first is taken");
    // One network at a time: a device may have no room for two.
    drop(search);
    let mut search = new()?;
    search.run(Some(after), &mut ())?;
    let (step, requests, supernet) = search.ask(kind)?;
    Ok((of_step(experiment, settings, (after, &step, &requests[0], false), supernet)?, after))
}

/// A supernet that shows what it is made of.
trait Inspected: Supernet {
    fn parent(&self) -> &Parent;
    fn parameter(&mut self, trial: u32, index: usize, part: Part) -> advantage_nas::Result<Entry>;
    fn running(&mut self, trial: u32, index: usize) -> advantage_nas::Result<[Vec<f64>; 2]>;
    /// Forward and backward pass, whatever is wanted.
    fn pass(&mut self, request: &Request) -> advantage_nas::Result<Passed>;
    /// Returns the norm of the gradient.
    fn update(&mut self, rate: f64) -> advantage_nas::Result<f64>;
    /// Of the last pass, `[batch, 3, 32, 32]`.
    fn images(&self) -> advantage_nas::Result<Array4<f32>>;
    fn labels(&self) -> Vec<usize>;
    /// `[batch, classes]`
    fn logits(&mut self) -> advantage_nas::Result<Array2<f32>>;
}

impl Inspected for Cifar10Network {
    fn parent(&self) -> &Parent {
        self.network().parent()
    }

    fn parameter(&mut self, trial: u32, index: usize, part: Part) -> advantage_nas::Result<Entry> {
        self.parameter(trial, index, part)
    }

    fn running(&mut self, trial: u32, index: usize) -> advantage_nas::Result<[Vec<f64>; 2]> {
        self.network().running(trial, index)
    }

    fn pass(&mut self, request: &Request) -> advantage_nas::Result<Passed> {
        self.pass(request)
    }

    fn update(&mut self, rate: f64) -> advantage_nas::Result<f64> {
        self.update(rate)
    }

    fn images(&self) -> advantage_nas::Result<Array4<f32>> {
        Ok(self.network().images().to_owned())
    }

    fn labels(&self) -> Vec<usize> {
        self.network().labels().to_vec()
    }

    fn logits(&mut self) -> advantage_nas::Result<Array2<f32>> {
        Ok(self.network().logits())
    }
}

impl Inspected for Cifar10OnDevice {
    fn parent(&self) -> &Parent {
        self.network().parent()
    }

    fn parameter(&mut self, trial: u32, index: usize, part: Part) -> advantage_nas::Result<Entry> {
        self.parameter(trial, index, part)
    }

    fn running(&mut self, trial: u32, index: usize) -> advantage_nas::Result<[Vec<f64>; 2]> {
        self.network_mut().running(trial, index)
    }

    fn pass(&mut self, request: &Request) -> advantage_nas::Result<Passed> {
        self.pass(request)
    }

    fn update(&mut self, rate: f64) -> advantage_nas::Result<f64> {
        self.update(rate)
    }

    fn images(&self) -> advantage_nas::Result<Array4<f32>> {
        self.network().images()
    }

    fn labels(&self) -> Vec<usize> {
        self.network().labels()
    }

    fn logits(&mut self) -> advantage_nas::Result<Array2<f32>> {
        self.network_mut().logits()
    }
}

/// Whether no ReLU is so close to its kink that rounding decides.
fn is_steady(single: &mut Cifar10Network, double: &mut NasBench201Supernet<f64>, request: &Request) -> Result<bool> {
    let trial = request.batch.trial;
    let count = single.network().parent().parameters().len();
    let mut values = Vec::with_capacity(count);
    for index in 0..count {
        values.push(widened(&single.parameter(trial, index, Part::Value)?));
        double.set_parameter(trial, index, Part::Value, &values[index].clone().into())?;
    }
    single.pass(request)?;
    let of_single = (0..count).map(|index| Ok(widened(&single.parameter(trial, index, Part::Gradient)?)));
    let of_single = of_single.collect::<Result<Vec<_>>>()?;
    let gradients = |double: &mut NasBench201Supernet<f64>| -> Result<Vec<ArrayD<f64>>> {
        double.pass(request)?;
        (0..count).map(|index| Ok(widened(&double.parameter(trial, index, Part::Gradient)?))).collect()
    };
    let exact = gradients(double)?;
    if !all_close(&of_single, &exact) {
        return Ok(false);
    }
    for seed in 0..DISTURBANCES {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        for (index, values) in values.iter().enumerate() {
            let disturbed = values.mapv(|value| value * (1.0 + rng.random_range(-DISTURBANCE..DISTURBANCE)));
            double.set_parameter(trial, index, Part::Value, &disturbed.into())?;
        }
        if !all_close(&gradients(double)?, &exact) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Numbers of a parameter in double precision.
fn widened(entry: &Entry) -> ArrayD<f64> {
    match entry {
        Entry::F32(array) => array.mapv(f64::from),
        Entry::F64(array) => array.clone(),
        Entry::U64(array) => array.mapv(|value| value as f64),
    }
}

/// Norm-wise, parameter by parameter; gradients that vanish by symmetry have no digits to compare.
fn all_close(gradients: &[ArrayD<f64>], exact: &[ArrayD<f64>]) -> bool {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let whole = norm(&mut exact.iter().flatten().copied());
    gradients.iter().zip(exact).all(|(gradient, exact)| {
        let apart = norm(&mut gradient.iter().zip(exact).map(|(one, other)| one - other));
        apart <= (ROUNDING * norm(&mut exact.iter().copied())).max(VANISHING * whole)
    })
}

/// The step after `position` steps, its request, and whether it is steady.
type Chosen<'a> = (u64, &'a Step, &'a Request, bool);

fn of_step<S: Inspected>(
    experiment: &CellSearch,
    settings: &Settings,
    (position, step, request, steady): Chosen<'_>,
    mut supernet: S,
) -> Result<Dump> {
    let own: cifar10::Cifar10Settings = settings.own()?;
    let weights: Sgd = settings.get("weights")?;
    let (proposal, trial) = (&request.proposal, request.batch.trial);
    let parent = supernet.parent().clone();
    let mut dump = Dump::new();

    let parameters = |dump: &mut Dump, supernet: &mut S, groups: &[(&str, Part)]| -> Result<()> {
        for (index, parameter) in parent.parameters().iter().enumerate() {
            for (group, part) in groups {
                let entry = supernet.parameter(trial, index, *part)?;
                let values = entry.view::<f32>().expect("searches are in single precision");
                dump.array(format!("{group}/{}", parameter.name), values);
            }
        }
        Ok(())
    };
    let running = |dump: &mut Dump, supernet: &mut S, group: &str| -> Result<()> {
        for (index, norm) in parent.running().iter().enumerate() {
            let statistics = supernet.running(trial, index)?;
            for (what, values) in ["running_mean", "running_var"].into_iter().zip(statistics) {
                dump.array(format!("{group}/{}.{what}", norm.name), &values);
            }
        }
        Ok(())
    };

    parameters(&mut dump, &mut supernet, &[("weights", Part::Value), ("velocity", Part::Velocity)])?;
    running(&mut dump, &mut supernet, "running")?;
    dump.table("proposal/weights", proposal.weights());
    dump.table("proposal/active", &proposal.active().map(|active| i64::from(*active)));
    let candidates = parent.candidates().operations();

    // What the strategy learns from.
    let mut feedback = [Feedback::new(proposal.shape())];
    supernet.probe(std::slice::from_ref(request), &mut feedback)?;
    let [feedback] = feedback;
    dump.number("feedback/loss", feedback.loss);
    match proposal.want() {
        Want::Loss => {}
        Want::Gradient | Want::GradientWithUnitOutputs => dump.table("feedback/edge_gradient", &feedback.gradient),
        Want::Removals => dump.array("feedback/removals", &feedback.removals),
    }

    let pass = supernet.pass(request)?;
    dump.array("images", &supernet.images()?);
    dump.array("labels", &Array1::from_iter(supernet.labels().into_iter().map(|label| label as i64)));
    dump.number("loss", pass.loss);
    dump.array("logits", &supernet.logits()?);
    dump.table("edge_gradient", &pass.edge_gradient);
    parameters(&mut dump, &mut supernet, &[("gradient", Part::Gradient)])?;
    let rate = weights.rate(step.schedule);
    let norm = supernet.update(rate)?;
    dump.number("gradient_norm", norm);
    parameters(&mut dump, &mut supernet, &[("updated", Part::Value), ("updated_velocity", Part::Velocity)])?;
    running(&mut dump, &mut supernet, "updated_running")?;

    dump.note("experiment", settings.experiment.name());
    dump.note("settings", settings.table());
    dump.note(
        "skeleton",
        json!({ "cells": own.cells, "channels": own.channels, "classes": parent.skeleton().classes }),
    );
    dump.note("edges", (0..EDGES).map(edge_ends).collect::<Vec<_>>());
    dump.note("candidates", candidates.iter().map(ToString::to_string).collect::<Vec<_>>());
    dump.note("want", proposal.want().name());
    let set = match request.batch.set {
        Set::Training => "training",
        Set::Validation => "validation",
        Set::Test => "test",
    };
    let kind = if step.kind == StepKind::Theta { "theta" } else { "weights" };
    dump.note(
        "step",
        json!({
            "after": position,
            "kind": kind,
            "set": set,
            "minibatch": request.batch.step,
            "progress": step.progress,
            "schedule": step.schedule,
            "steady": steady,
        }),
    );
    dump.note(
        "update",
        json!({
            "learning_rate": rate,
            "momentum": weights.momentum,
            "weight_decay": weights.weight_decay,
            "clip_norm": weights.clip_norm,
        }),
    );
    dump.note("batch_norm", json!({ "epsilon": NORM_EPSILON, "momentum": NORM_MOMENTUM }));
    dump.note("data", experiment.data());
    dump.note("provenance", experiment.provenance());
    Ok(dump)
}
