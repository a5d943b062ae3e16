//! Passes over minibatches: the kernels in their order, recorded once per kind of request.
//!
//! # Order
//! Every node of the network has one launch on the way forward, which computes its value and all convolutions that read it, and one on the way
//! back, which gathers its gradient from everything that reads it. Gradients of the weights follow at the end, a launch for all
//! convolutions of a size. What a launch does for a proposal stands in the plan, so that nothing is recorded or compiled anew.
//!
//! No step of the weights waits for the device: what it needs is copied there in order, and losses are kept there until they are
//! asked for.

use std::ops::Range;

use advantage_nas::network::nas_bench_201::parent::Layer;
use advantage_nas::network::nas_bench_201::{EDGES, Parent};
use advantage_nas::network::{Part, Sgd};

use super::arena::{Arena, Reading};
use super::images::Pictures;
use super::order::{Convolutions, Kind, Launch, UPDATE, convolutions, launches};
use crate::device::{Buffer, Device, Graph, Staged};
use crate::error::Result;
use crate::kernels::nas_bench_201::backward::{
    self, Answers, Back8, Back16, Back32, BackLast, BackUp16, BackUp32, Targets,
};
use crate::kernels::nas_bench_201::forward::{self, LastNode, Node8, Node16, Node32, NodeDown8, NodeDown16, Stem};
use crate::kernels::nas_bench_201::head::{self, HeadFinish, HeadForward, HeadWeights};
use crate::kernels::nas_bench_201::update::{self, ClipUpdate, FinishGradient, Pieces};
use crate::kernels::nas_bench_201::weights::{
    self, Weights8, Weights16, Weights32, WeightsDown8, WeightsDown16, WeightsStem,
};
use crate::kernels::nas_bench_201::{Plan, Shape, Target};
use crate::kernels::{Kernels, Version};

/// Numbers of an outcome: mean loss, images that were right.
pub(super) const OUTCOME: usize = 2;
/// Passes of all lanes whose outcomes the device keeps.
const KEPT: usize = 256;

/// Everything on the device but the images, and the kernels.
#[derive(Debug)]
pub(super) struct Passes {
    device: Device,
    modules: Modules,
    version: Version,
    sgd: Sgd,
    graphs: Vec<(Kind, Graph)>,
    update: Option<Graph>,
    plan: Plan,
    /// `[trials, sizes.weights]`, as the next two.
    weights: Buffer<f32>,
    gradients: Buffer<f32>,
    velocities: Buffer<f32>,
    tensors: Buffer<f32>,
    sums: Buffer<f32>,
    norms: Buffer<f32>,
    partials: Buffer<f32>,
    running: Buffer<f64>,
    /// `[lanes, batch, 2]`
    losses: Buffer<f64>,
    /// `[places, OUTCOME]`
    outcomes: Buffer<f64>,
    places: usize,
    /// `[lanes, edges, candidates]`
    answers: Buffer<f64>,
    pieces: Pieces,
    squares: Buffer<f64>,
    rates: Staged<f32>,
    gradient_norms: Buffer<f64>,
    targets: Targets,
    lists: Vec<List>,
    /// The slot of the convolution that reads the images, and its outputs.
    stem: (u32, usize),
    /// Whether the parts of the gradients of the last pass were not added up yet.
    unfinished: bool,
}

/// The nodes that the edges of all cells lead to.
fn targets(device: &Device, parent: &Parent, arena: &Arena) -> Result<Targets> {
    let mut targets = Vec::new();
    for (number, node) in parent.nodes().iter().enumerate() {
        for edge in node.inputs.iter().filter_map(|input| input.edge) {
            let Shape { node, channels, side, gradient_sum, .. } = arena.shapes[number];
            targets.push((edge, Target { node, channels, side, gradient_sum }));
        }
    }
    // Edges stand in their order, cell by cell.
    debug_assert!(targets.iter().zip((0..EDGES).cycle()).all(|((edge, _), expected)| *edge == expected));
    let targets: Vec<Target> = targets.into_iter().map(|(_, target)| target).collect();
    Targets::new(device, EDGES, parent.candidates().operations().len(), &targets)
}

/// Convolutions whose gradients one launch computes, on the device.
#[derive(Debug)]
struct List {
    of: Convolutions,
    slots: Buffer<u32>,
}

#[derive(Debug)]
struct Modules {
    forward: Kernels,
    head: Kernels,
    backward: Kernels,
    weights: Kernels,
    update: Kernels,
}

impl Passes {
    pub(super) fn new(device: &Device, parent: &Parent, arena: &Arena, sgd: Sgd, tf32: bool) -> Result<Self> {
        let sizes = arena.sizes;
        let [lanes, trials] = [sizes.lanes, sizes.trials].map(|count| count as usize);
        let of_lanes = |floats: u32| lanes * floats as usize;
        let of_trials = |floats: u32| trials * floats as usize;
        let pieces = Pieces::new(device, arena.parameters.ranges())?;
        let places = KEPT * lanes;
        let candidates = parent.candidates().operations().len();
        // Fast kernels have filters of 1×1 and 3×3.
        let kernels = parent.nodes().iter().flat_map(|node| &node.inputs).flat_map(|input| &input.layers);
        let kernels = kernels.filter_map(|layer| match layer {
            Layer::Convolution(layer) => Some(layer.kernel),
            _ => None,
        });
        let version = match kernels.max() {
            Some(4..) => Version::Naive,
            _ if tf32 => Version::Tf32,
            _ => Version::Fast,
        };
        Ok(Self {
            modules: Modules {
                forward: Kernels::load(device, &forward::SOURCE)?,
                head: Kernels::load(device, &head::SOURCE)?,
                backward: Kernels::load(device, &backward::SOURCE)?,
                weights: Kernels::load(device, &weights::SOURCE)?,
                update: Kernels::load(device, &update::SOURCE)?,
            },
            version,
            sgd,
            graphs: Vec::new(),
            update: None,
            plan: Plan::new(device, sizes)?,
            weights: device.zeros("weights", of_trials(sizes.weights))?,
            gradients: device.zeros("gradients of the weights", of_trials(sizes.weights))?,
            velocities: device.zeros("velocities of the weights", of_trials(sizes.weights))?,
            tensors: device.zeros("tensors", of_lanes(sizes.tensors))?,
            sums: device.zeros("sums", of_lanes(sizes.sums))?,
            norms: device.zeros("batch norms", of_lanes(sizes.norms))?,
            partials: device.zeros("partial gradients", of_lanes(sizes.partials))?,
            running: device.zeros("running statistics", of_trials(sizes.running))?,
            losses: device.zeros("losses of images", lanes * sizes.batch as usize * 2)?,
            outcomes: device.zeros("outcomes", places * OUTCOME)?,
            places,
            answers: device.zeros("slopes of edge weights", lanes * EDGES * candidates)?,
            squares: device.zeros("squares of gradients", lanes * pieces.count())?,
            rates: device.staged("learning rates", lanes)?,
            gradient_norms: device.zeros("norms of gradients", lanes)?,
            targets: targets(device, parent, arena)?,
            lists: convolutions(parent, arena)
                .into_iter()
                .map(|of| Ok(List { slots: device.upload("slots of convolutions", &of.slots)?, of }))
                .collect::<Result<_>>()?,
            stem: (arena.shapes[0].first_slot.unsigned_abs(), arena.shapes[0].outputs as usize),
            pieces,
            unfinished: false,
            device: device.clone(),
        })
    }
}

impl Passes {
    /// Bytes on the device that are no part of the arena: what passes answer, and lists of what they go through.
    pub(super) fn memory(parent: &Parent, arena: &Arena) -> usize {
        let [lanes, batch] = [arena.sizes.lanes, arena.sizes.batch].map(|count| count as usize);
        let candidates = parent.candidates().operations().len();
        let pieces = Pieces::count_of(arena.parameters.ranges());
        // Losses of images, outcomes, slopes of edge weights, squares of gradients, norms of gradients; learning rates.
        let doubles = 2 * batch + OUTCOME * KEPT + EDGES * candidates + pieces + 1;
        let of_lanes = lanes * (size_of::<f64>() * doubles + size_of::<f32>());
        let edges = parent.nodes().iter().flat_map(|node| &node.inputs).filter(|input| input.edge.is_some()).count();
        let slots = arena.places.len() - arena.shapes[0].slots as usize;
        of_lanes + size_of::<u32>() * (Pieces::WORDS * pieces + Target::WORDS * edges + slots)
    }

    /// Outcomes that the device keeps.
    pub(super) fn outcomes(&self) -> usize {
        self.places
    }

    pub(super) fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    /// Records a kind of pass, if it was not yet. What is recorded is run once, which the driver needs to load it: with plans that ask nothing.
    pub(super) fn prepare(&mut self, kind: Kind, arena: &Arena, pictures: &Pictures) -> Result<()> {
        let known = self.graphs.iter().any(|(recorded, _)| *recorded == kind);
        if known && (self.update.is_some() || !kind.weights) {
            return Ok(());
        }
        for lane in 0..arena.sizes.lanes as usize {
            self.plan.leave(lane);
        }
        self.plan.upload()?;
        let device = self.device.clone();
        if !known {
            let words = match kind {
                Kind { weights: true, .. } => "forward, back, gradients of the weights",
                Kind { backward: true, .. } => "forward, back",
                _ => "forward",
            };
            let flags = device.flags();
            let name = format!("NAS-Bench-201, {words} (flags {flags})");
            let graph = device.record(name, || self.submit(kind, arena, pictures))?;
            self.graphs.push((kind, graph));
        }
        if kind.weights && self.update.is_none() {
            let name = self.modules.update.describe("NAS-Bench-201, update");
            self.update =
                Some(device.record(name, || {
                    UPDATE.into_iter().try_for_each(|launch| self.submit_one(launch, arena, pictures))
                })?);
        }
        Ok(())
    }

    /// Submits a pass of the plans that were written.
    pub(super) fn launch(&mut self, kind: Kind) -> Result<()> {
        self.plan.upload()?;
        let (_, graph) =
            self.graphs.iter().find(|(recorded, _)| *recorded == kind).expect("passes are prepared before");
        self.unfinished = kind.weights;
        graph.launch()
    }

    /// Submits the kernels of a pass.
    fn submit(&mut self, kind: Kind, arena: &Arena, pictures: &Pictures) -> Result<()> {
        let order = launches(kind, arena, self.lists.len());
        order.into_iter().try_for_each(|launch| self.submit_one(launch, arena, pictures))
    }

    /// Records a kernel by itself, so many times: for the plans of the last pass, whose results it writes anew. Updates go on with the gradients of the
    /// last pass.
    pub(super) fn repeat(&mut self, launch: Launch, times: u32, arena: &Arena, pictures: &Pictures) -> Result<Graph> {
        let device = self.device.clone();
        let name = format!("NAS-Bench-201, {launch:?}, {times} times (flags {})", device.flags());
        device.record(name, || (0..times).try_for_each(|_| self.submit_one(launch, arena, pictures)))
    }

    /// Submits one of the kernels.
    pub(super) fn submit_one(&mut self, launch: Launch, arena: &Arena, pictures: &Pictures) -> Result<()> {
        match launch {
            Launch::Stem | Launch::Node(_) | Launch::LastNode => self.submit_forward(launch, arena, pictures),
            Launch::HeadForward | Launch::HeadFinish | Launch::HeadWeights => self.submit_head(launch, arena, pictures),
            Launch::BackLast | Launch::Back(_) | Launch::Answers => self.submit_back(launch, arena),
            Launch::Weights(_) | Launch::WeightsStem => self.submit_weights(launch, pictures),
            Launch::FinishGradient => self.finish(self.sgd.weight_decay as f32),
            Launch::ClipUpdate => self.clip_update(),
        }
    }

    fn submit_forward(&mut self, launch: Launch, arena: &Arena, pictures: &Pictures) -> Result<()> {
        let (version, plan, weights, kernels) = (self.version, &self.plan, &self.weights, &self.modules.forward);
        let (tensors, sums, norms, running) = (&mut self.tensors, &mut self.sums, &mut self.norms, &mut self.running);
        macro_rules! launch {
            ($launch:ident, $shape:expr) => {
                $launch { plan, weights, tensors, sums, norms, running, shape: $shape }.launch(kernels, version)
            };
        }
        match launch {
            Launch::Node(node) => {
                let shape = arena.shapes[node];
                match (arena.readings[node], shape.side) {
                    (Reading::Same, 32) => launch!(Node32, shape),
                    (Reading::Same, 16) => launch!(Node16, shape),
                    (Reading::Same, _) => launch!(Node8, shape),
                    (Reading::Half, 32) => launch!(NodeDown16, shape),
                    (Reading::Half, _) => launch!(NodeDown8, shape),
                }
            }
            Launch::LastNode => {
                LastNode { plan, weights, tensors, sums, norms, running, head: arena.head }.launch(kernels, version)
            }
            _ => {
                let Pictures { bytes: images, values, samples, .. } = pictures;
                let (samples, shape) = (samples.buffer(), arena.shapes[0]);
                Stem { plan, images, samples, values, weights, tensors, sums, shape }.launch(kernels, version)
            }
        }
    }

    fn submit_head(&mut self, launch: Launch, arena: &Arena, pictures: &Pictures) -> Result<()> {
        let (plan, head, weights, kernels) = (&self.plan, arena.head, &self.weights, &self.modules.head);
        let (tensors, sums, norms, running) = (&mut self.tensors, &mut self.sums, &mut self.norms, &mut self.running);
        match launch {
            Launch::HeadFinish => {
                let (losses, places, outcomes) = (&self.losses, self.places, &mut self.outcomes);
                HeadFinish { plan, losses, places, outcomes }.launch(kernels, Version::Fast)
            }
            Launch::HeadWeights => {
                let partials = &mut self.partials;
                HeadWeights { plan, head, tensors, sums, norms, partials }.launch(kernels, Version::Fast)
            }
            _ => {
                let (samples, losses) = (pictures.samples.buffer(), &mut self.losses);
                HeadForward { plan, head, samples, weights, tensors, sums, norms, running, losses }
                    .launch(kernels, Version::Fast)
            }
        }
    }

    fn submit_back(&mut self, launch: Launch, arena: &Arena) -> Result<()> {
        let (kernels, version, plan, weights) = (&self.modules.backward, self.version, &self.plan, &self.weights);
        let (tensors, sums, norms) = (&mut self.tensors, &mut self.sums, &self.norms);
        macro_rules! launch {
            ($launch:ident, $shape:expr) => {
                $launch { plan, weights, tensors, sums, norms, shape: $shape }.launch(kernels, version)
            };
        }
        match launch {
            Launch::Back(node) => {
                let shape = arena.shapes[node];
                match (arena.readings[node], shape.side) {
                    (Reading::Same, 32) => launch!(Back32, shape),
                    (Reading::Same, 16) => launch!(Back16, shape),
                    (Reading::Same, _) => launch!(Back8, shape),
                    (Reading::Half, 32) => launch!(BackUp32, shape),
                    (Reading::Half, _) => launch!(BackUp16, shape),
                }
            }
            Launch::Answers => {
                let (targets, out) = (&self.targets, &mut self.answers);
                Answers { plan, targets, sums, norms, out }.launch(kernels, Version::Fast)
            }
            _ => BackLast { plan, weights, tensors, sums, norms, head: arena.head }.launch(kernels, version),
        }
    }

    fn submit_weights(&mut self, launch: Launch, pictures: &Pictures) -> Result<()> {
        let (kernels, version, plan) = (&self.modules.weights, self.version, &self.plan);
        let (tensors, sums, norms, weights) = (&self.tensors, &self.sums, &self.norms, &self.weights);
        let partials = &mut self.partials;
        macro_rules! launch {
            ($launch:ident, $list:ident) => {{
                let (slots, channels) = (&$list.slots, $list.of.channels);
                $launch { plan, slots, channels, tensors, sums, norms, weights, partials }.launch(kernels, version)
            }};
        }
        if let Launch::Weights(list) = launch {
            let list = &self.lists[list];
            return match (list.of.reading, list.of.side) {
                (Reading::Same, 32) => launch!(Weights32, list),
                (Reading::Same, 16) => launch!(Weights16, list),
                (Reading::Same, _) => launch!(Weights8, list),
                (Reading::Half, 16) => launch!(WeightsDown16, list),
                (Reading::Half, _) => launch!(WeightsDown8, list),
            };
        }
        let (slot, outputs) = self.stem;
        let Pictures { bytes: images, values: table, samples, .. } = pictures;
        let samples = samples.buffer();
        WeightsStem { plan, slot, outputs, images, samples, table, tensors, sums, norms, weights, partials }
            .launch(kernels, version)
    }

    /// Adds up the parts of the gradients, with so much decay.
    fn finish(&mut self, decay: f32) -> Result<()> {
        let (plan, pieces, partials, weights) = (&self.plan, &self.pieces, &self.partials, &self.weights);
        let (gradients, squares) = (&mut self.gradients, &mut self.squares);
        FinishGradient { plan, pieces, partials, weights, gradients, squares, decay }
            .launch(&self.modules.update, Version::Fast)
    }

    fn clip_update(&mut self) -> Result<()> {
        let (plan, pieces, gradients, squares) = (&self.plan, &self.pieces, &self.gradients, &self.squares);
        let (rates, velocities, weights) = (self.rates.buffer(), &mut self.velocities, &mut self.weights);
        let (norms, momentum, clip) = (&mut self.gradient_norms, self.sgd.momentum as f32, self.sgd.clip_norm);
        ClipUpdate { plan, pieces, gradients, squares, rates, velocities, weights, norms, momentum, clip }
            .launch(&self.modules.update, Version::Fast)
    }

    /// Updates the weights that took part in the last pass, with a rate for every lane.
    pub(super) fn update(&mut self, rates: &[f64]) -> Result<()> {
        let mut all = vec![0.0; self.plan.sizes().lanes as usize];
        for (all, rate) in all.iter_mut().zip(rates) {
            *all = *rate as f32;
        }
        self.rates.write(&all)?;
        self.unfinished = false;
        self.update.as_ref().expect("prepared with the first pass that has gradients of weights").launch()
    }

    pub(super) fn read_outcomes(&self, outcomes: &mut [f64]) -> Result<()> {
        self.outcomes.read(outcomes)
    }

    /// `[lanes, edges, candidates]`
    pub(super) fn read_answers(&self) -> Result<Vec<f64>> {
        self.answers.to_vec()
    }

    pub(super) fn read_norm(&self, lane: usize) -> Result<f64> {
        let mut norm = [0.0];
        self.gradient_norms.read_at(lane, &mut norm)?;
        Ok(norm[0])
    }

    pub(super) fn read_tensors(&self, lane: usize, begin: usize, count: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; count];
        self.tensors.read_at(lane * self.plan.sizes().tensors as usize + begin, &mut values)?;
        Ok(values)
    }

    pub(super) fn read_running(&self, trial: usize, begin: usize, count: usize) -> Result<Vec<f64>> {
        let mut values = vec![0.0; count];
        self.running.read_at(trial * self.plan.sizes().running as usize + begin, &mut values)?;
        Ok(values)
    }

    pub(super) fn write_running(&mut self, trial: usize, begin: usize, values: &[f64]) -> Result<()> {
        self.running.write_at(trial * self.plan.sizes().running as usize + begin, values)
    }

    /// Numbers of a parameter that lies there in a trial's weights.
    pub(super) fn read_parameter(&mut self, trial: usize, range: Range<usize>, part: Part) -> Result<Vec<f32>> {
        if part == Part::Gradient && std::mem::take(&mut self.unfinished) {
            // As it is before the update adds the decay.
            self.finish(0.0)?;
        }
        let mut values = vec![0.0; range.len()];
        let begin = trial * self.plan.sizes().weights as usize + range.start;
        self.part(part).read_at(begin, &mut values)?;
        Ok(values)
    }

    pub(super) fn write_parameter(
        &mut self,
        trial: usize,
        range: Range<usize>,
        part: Part,
        values: &[f32],
    ) -> Result<()> {
        let begin = trial * self.plan.sizes().weights as usize + range.start;
        self.part(part).write_at(begin, values)
    }

    fn part(&mut self, part: Part) -> &mut Buffer<f32> {
        match part {
            Part::Value => &mut self.weights,
            Part::Gradient => &mut self.gradients,
            Part::Velocity => &mut self.velocities,
        }
    }
}
