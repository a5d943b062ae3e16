//! The parent network of section 5.2 on a CUDA device; it is described in [`advantage_nas::network::nas_bench_201`].
//!
//! - `arena`: where everything lies in device memory
//! - `plan`: what was proposed, as the kernels read it
//! - `images`: images as bytes, and minibatches
//! - `order`: the launches of a pass, as data
//! - `passes`: the kernels of a pass, recorded once per kind of request
//!
//! Here: the [`Network`], with the minibatches of its trials.

pub(crate) mod arena;
mod images;
pub(crate) mod order;
mod passes;
mod plan;

pub use arena::Memory;

use advantage_nas::network::nas_bench_201::pass::{PassLayout, Selection};
use advantage_nas::network::nas_bench_201::{
    Data, Images, Minibatches, Operation, Parent, Sample, evaluation_minibatches,
};
use advantage_nas::network::{Parameter, Part, Sgd, initial_values};
use advantage_nas::random::Streams;
use advantage_nas::sharing::{Network, Pass, Precision, WeightSharing};
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{Activity, Proposal};
use advantage_nas::supernet::{Evaluation, Fetch, Request, Set, find_trial};
use advantage_nas::{Error, OpTable, Result, SearchSpace};
use ndarray::{Array2, Array4, ArrayD};

use crate::device::{Device, Graph};
use crate::kernels::nas_bench_201::Ask;
use arena::Arena;
use images::Pictures;
use order::{Kind, Launch, UPDATE, convolutions, launches};
use passes::{OUTCOME, Passes};
use plan::Writer;

/// What a supernet is built for, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Images of a minibatch.
    pub batch: usize,
    /// How the weights are trained.
    pub weights: Sgd,
    /// Candidates of an edge that a proposal may have active at once.
    pub activity: Activity,
    /// Whether convolutions multiply by tensor cores, with factors that are rounded to TF32, where there are kernels for it: faster, and less exact.
    pub tf32: bool,
}

/// The supernet of the parent network, made by [`supernet`].
pub type NasBench201Supernet = WeightSharing<NasBench201Network>;

/// The supernet of the given trials, with their initial weights.
///
/// # Errors
/// As [`NasBench201Network::new`].
pub fn supernet(
    device: &Device,
    parent: Parent,
    settings: Settings,
    data: Data,
    streams: &Streams,
    trials: &[u32],
) -> Result<NasBench201Supernet> {
    Ok(WeightSharing::new(NasBench201Network::new(device, parent, settings, data, streams, trials)?))
}

/// The parent network with its data, for one trial or several; it works on the minibatches of all of them together.
#[derive(Debug)]
pub struct NasBench201Network {
    parent: Parent,
    layout: PassLayout,
    selection: Selection,
    writer: Writer,
    arena: Arena,
    passes: Passes,
    pictures: Pictures,
    sgd: Sgd,
    batch: usize,
    activity: Activity,
    numbers: Vec<u32>,
    /// In the order of their numbers.
    trials: Vec<Trial>,
    data: Data,
    memory: Memory,
    image_memory: usize,
    samples: Vec<Sample>,
    /// The minibatch of the first lane, as it was loaded last.
    shown: Shown,
    /// Outcomes of passes that nobody fetched yet are on the device, so many of them.
    pending: usize,
    /// Losses that had to make room there.
    fetched: Vec<f64>,
    /// For copies from the device.
    outcomes: Vec<f64>,
    /// `∂loss/∂a` of all lanes in the last pass, once it was asked for.
    answers: Option<Vec<f64>>,
}

#[derive(Debug)]
struct Trial {
    training: Minibatches,
    validation: Minibatches,
}

/// A minibatch to look at.
#[derive(Clone, Debug, Default)]
struct Shown {
    samples: Vec<Sample>,
    test: bool,
}

impl NasBench201Network {
    /// The device memory that such a network takes, beside its images.
    ///
    /// # Errors
    /// [`Error::Other`] for sizes that kernels can't count.
    pub fn memory_of(parent: &Parent, settings: &Settings, trials: usize) -> Result<Memory> {
        let layout = PassLayout::new(parent, settings.activity);
        let arena = Arena::new(parent, &layout, settings.activity, settings.batch, trials, trials)?;
        Ok(planned(parent, &arena))
    }

    /// The device memory that images take, with their minibatches.
    #[must_use]
    pub fn memory_of_images(images: usize, batch: usize, trials: usize) -> usize {
        Pictures::memory(images, trials, batch)
    }

    /// The networks of the given trials, with their initial weights.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings outside their range, [`Error::Data`] for data that does not fit, [`Error::Other`] with what the device
    /// reports, before anything is allocated if there is not enough memory.
    pub fn new(
        device: &Device,
        parent: Parent,
        settings: Settings,
        data: Data,
        streams: &Streams,
        trials: &[u32],
    ) -> Result<Self> {
        let Settings { batch, weights: sgd, activity, tf32 } = settings;
        sgd.check()?;
        let classes = parent.skeleton().classes;
        for images in std::iter::once(&data.images).chain(&data.test) {
            if images.classes().len() > classes {
                let problem =
                    format!("expected at most the network's {classes} classes, got {}", images.classes().len());
                return Err(Error::Data { what: "images", problem });
            }
        }
        let numbers = trials.to_vec();
        let trials = trials.iter().map(|&number| {
            let minibatches = |set| Minibatches::new(streams, number, set, &data.halves, batch);
            Ok(Trial { training: minibatches(Set::Training)?, validation: minibatches(Set::Validation)? })
        });
        let trials = trials.collect::<Result<Vec<_>>>()?;
        let lanes = trials.len();
        let layout = PassLayout::new(&parent, activity);
        let arena = Arena::new(&parent, &layout, activity, batch, lanes, trials.len())?;
        let memory = planned(&parent, &arena);
        let images = data.images.len() + data.test.as_ref().map_or(0, Images::len);
        let image_memory = Pictures::memory(images, lanes, batch);
        device.expect_room("the network with its images", (memory.total() + image_memory) as u64)?;
        let pictures = Pictures::new(device, &data, lanes, batch)?;
        let mut passes = Passes::new(device, &parent, &arena, sgd, tf32)?;
        for (trial, number) in numbers.iter().enumerate() {
            for (parameter, values) in initial_values(parent.parameters(), streams, *number).enumerate() {
                passes.write_parameter(trial, arena.parameters.range(parameter), Part::Value, &flat(&values))?;
            }
            for (index, running) in parent.running().iter().enumerate() {
                let start = [vec![0.0; running.channels], vec![1.0; running.channels]].concat();
                passes.write_running(trial, arena.running[index] as usize, &start)?;
            }
        }
        Ok(Self {
            selection: Selection::new(&parent, &layout),
            writer: Writer::new(&arena),
            layout,
            arena,
            passes,
            pictures,
            sgd,
            batch,
            activity,
            numbers,
            trials,
            data,
            memory,
            image_memory,
            samples: vec![Sample::plain(0); batch],
            shown: Shown::default(),
            pending: 0,
            fetched: Vec::new(),
            outcomes: Vec::new(),
            answers: None,
            parent,
        })
    }

    /// The description of the network.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        &self.parent
    }

    /// The device memory that was planned, beside the images.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The device memory of the images, with their minibatches.
    #[must_use]
    pub fn image_memory(&self) -> usize {
        self.image_memory
    }

    /// Images of the first lane's minibatch, `[count, 3, 32, 32]`, normalised: as the kernels compute them on their way.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there are no test images any more.
    ///
    /// # Panics
    /// Never: every image has its pixels.
    pub fn images(&self) -> Result<Array4<f32>> {
        let images = match (self.shown.test, &self.data.test) {
            (true, Some(test)) => test,
            _ => &self.data.images,
        };
        let mut out = Array4::zeros((self.shown.samples.len(), 3, 32, 32));
        let pixels = out.as_slice_mut().expect("an array in one piece");
        images.fill(&self.shown.samples, &self.data.normalization, pixels)?;
        Ok(out)
    }

    /// Labels of the first lane's minibatch, `[count]`.
    #[must_use]
    pub fn labels(&self) -> Vec<usize> {
        let labels = match (self.shown.test, &self.data.test) {
            (true, Some(test)) => test.labels(),
            _ => self.data.images.labels(),
        };
        self.shown.samples.iter().map(|sample| usize::from(labels[sample.image as usize])).collect()
    }

    /// Logits of the first lane in the last pass, `[count, classes]`.
    ///
    /// # Errors
    /// What the device reports.
    ///
    /// # Panics
    /// Never: every image has its logits.
    pub fn logits(&mut self) -> Result<Array2<f32>> {
        let (count, classes) = (self.shown.samples.len(), self.parent.skeleton().classes);
        let logits = self.passes.read_tensors(0, self.arena.head.logits as usize, count * classes)?;
        Ok(Array2::from_shape_vec((count, classes), logits).expect("logits of every image"))
    }

    /// Running mean and variance of a batch norm, `[channels]` each.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial; what the device reports.
    ///
    /// # Panics
    /// If there is no such batch norm.
    pub fn running(&mut self, trial: u32, index: usize) -> Result<[Vec<f64>; 2]> {
        let channels = self.parent.running()[index].channels;
        let trial = self.find(trial)?;
        let mut mean = self.passes.read_running(trial, self.arena.running[index] as usize, 2 * channels)?;
        let variance = mean.split_off(channels);
        Ok([mean, variance])
    }

    /// Launches of a pass, the first one of every name, with their names; after a pass that trains weights also those of an update.
    pub(crate) fn launches(&self, kind: Kind) -> Vec<(String, Launch)> {
        let lists = convolutions(&self.parent, &self.arena);
        let mut named: Vec<(String, Launch)> = Vec::new();
        let update = if kind.weights { &UPDATE[..] } else { &[] };
        for launch in launches(kind, &self.arena, lists.len()).into_iter().chain(update.iter().copied()) {
            let name = launch.name(&self.arena, &lists);
            if named.iter().all(|(other, _)| *other != name) {
                named.push((name, launch));
            }
        }
        named
    }

    /// Records a launch of the last pass by itself, so many times, see [`Passes::repeat`].
    pub(crate) fn repeat(&mut self, launch: Launch, times: u32) -> crate::Result<Graph> {
        self.passes.repeat(launch, times, &self.arena, &self.pictures)
    }

    fn find(&self, trial: u32) -> Result<usize> {
        find_trial(&self.numbers, trial)
    }

    /// Sets a lane's minibatch to the samples.
    fn set_samples(&mut self, lane: usize, test: bool) {
        let images = match (test, &self.data.test) {
            (true, Some(test)) => test,
            _ => &self.data.images,
        };
        self.pictures.set(lane, &self.samples, images.labels(), test);
        if lane == 0 {
            self.shown.samples.clone_from(&self.samples);
            self.shown.test = test;
        }
    }

    /// Takes the outcomes of so many passes' lanes from the device.
    fn take_outcomes(&mut self) -> Result<&[f64]> {
        let count = OUTCOME * std::mem::take(&mut self.pending);
        self.outcomes.resize(count, 0.0);
        self.passes.read_outcomes(&mut self.outcomes)?;
        Ok(&self.outcomes)
    }

    /// Makes room for so many outcomes.
    fn expect_outcomes(&mut self, count: usize) -> Result<()> {
        if self.pending + count > self.passes.outcomes() {
            self.take_outcomes()?;
            self.fetched.extend(self.outcomes.iter().step_by(OUTCOME));
        }
        Ok(())
    }
}

/// All device memory but that of the images.
fn planned(parent: &Parent, arena: &Arena) -> Memory {
    let memory = arena.memory();
    Memory { rest: memory.rest + Passes::memory(parent, arena), ..memory }
}

/// The values of an array, in its order.
fn flat(values: &ArrayD<f32>) -> Vec<f32> {
    values.iter().copied().collect()
}

impl Network for NasBench201Network {
    fn space(&self) -> &SearchSpace {
        self.parent.space()
    }

    fn activity(&self) -> Activity {
        self.activity
    }

    fn trials(&self) -> &[u32] {
        &self.numbers
    }

    fn lanes(&self) -> usize {
        self.trials.len()
    }

    fn parameters(&self) -> &[Parameter] {
        self.parent.parameters()
    }

    fn saved_parts(&self) -> &'static [Part] {
        &[Part::Value, Part::Velocity]
    }

    fn precision(&self) -> Precision {
        Precision::Single
    }

    fn load(&mut self, requests: &[Request]) -> Result<()> {
        for (lane, request) in requests.iter().enumerate() {
            let batch = request.batch;
            let place = self.find(batch.trial)?;
            let trial = &mut self.trials[place];
            let minibatches = match batch.set {
                Set::Training => &mut trial.training,
                Set::Validation => &mut trial.validation,
                Set::Test => {
                    let reason = "it is evaluated as a whole";
                    return Err(Error::Unsupported { operation: "draw minibatches of the test set", reason });
                }
            };
            self.samples.resize(self.batch, Sample::plain(0));
            minibatches.draw(batch.step, &mut self.samples)?;
            self.set_samples(lane, false);
        }
        Ok(self.pictures.upload()?)
    }

    fn pass(&mut self, requests: &[Request], pass: Pass) -> Result<()> {
        let kind = Kind { backward: pass.weights || pass.edges, weights: pass.weights, edges: pass.edges };
        self.passes.prepare(kind, &self.arena, &self.pictures)?;
        self.expect_outcomes(requests.len())?;
        for lane in 0..self.trials.len() {
            let Some(request) = requests.get(lane) else {
                self.passes.plan_mut().leave(lane);
                continue;
            };
            let trial = self.find(request.batch.trial)?;
            self.selection.select(&self.parent, &self.layout, &request.proposal, pass.without)?;
            let ask = Ask {
                present: 1,
                trial: trial as i32,
                images: self.batch as i32,
                outcome: (self.pending + lane) as i32,
                running: i32::from(pass.weights),
                edges: i32::from(pass.edges),
                units: i32::from(pass.unit_outputs),
                spare: 0,
            };
            self.writer.write(self.passes.plan_mut(), lane, &self.parent, &self.arena, &self.selection, ask);
        }
        self.answers = None;
        self.passes.launch(kind)?;
        self.pending += requests.len();
        Ok(())
    }

    fn losses(&mut self, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        losses.append(&mut self.fetched);
        if fetch == Fetch::All && self.pending > 0 {
            losses.extend(self.take_outcomes()?.iter().step_by(OUTCOME));
        }
        Ok(())
    }

    fn edge_gradient(&mut self, lane: usize, proposal: &Proposal, gradient: &mut OpTable<f64>) -> Result<()> {
        if self.answers.is_none() {
            self.answers = Some(self.passes.read_answers()?);
        }
        let answers = self.answers.as_deref().unwrap_or_default();
        let shape = proposal.shape();
        let candidates = self.parent.candidates().operations();
        let of_lane = answers[lane * (answers.len() / self.trials.len())..].chunks_exact(candidates.len());
        for (edge, values) in (0..shape.edges()).zip(of_lane) {
            for (candidate, slope) in gradient.edge_mut(edge).iter_mut().enumerate() {
                // The zero operation has no kernel: the device takes it for a candidate that is not active.
                let zero = candidates[candidate] == Operation::Zero && proposal.active()[(edge, candidate)];
                *slope = if zero { 0.0 } else { values[candidate] };
            }
        }
        Ok(())
    }

    fn rate(&self, schedule: f64) -> f64 {
        self.sgd.rate(schedule)
    }

    fn update(&mut self, rates: &[f64]) -> Result<()> {
        Ok(self.passes.update(rates)?)
    }

    fn gradient_norm(&mut self, lane: usize) -> Result<f64> {
        Ok(self.passes.read_norm(lane)?)
    }

    /// The images as they are, each once, in the order of [`Data::evaluated`], in the minibatches of [`evaluation_minibatches`], as many at a time
    /// as there are lanes. All batch norms use the minibatch's statistics, as in the steps of a search.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.find(request.batch.trial)?;
        let data = self.data.clone();
        let test = request.batch.set == Set::Test;
        let (_, order) = data.evaluated(request.batch.set)?;
        let count = order.len();
        let kind = Kind::default();
        self.passes.prepare(kind, &self.arena, &self.pictures)?;
        self.selection.select(&self.parent, &self.layout, &request.proposal, None)?;
        let lanes = self.trials.len();
        let minibatches: Vec<_> = evaluation_minibatches(count, self.batch).collect();
        let (mut loss, mut correct) = (0.0, 0.0);
        // Outcomes are taken when the places are full.
        for part in minibatches.chunks((self.passes.outcomes() / lanes).max(1) * lanes) {
            self.expect_outcomes(self.passes.outcomes())?;
            for now in part.chunks(lanes) {
                for lane in 0..lanes {
                    let Some(minibatch) = now.get(lane) else {
                        self.passes.plan_mut().leave(lane);
                        continue;
                    };
                    self.samples.clear();
                    self.samples.extend(order[minibatch.clone()].iter().map(|image| Sample::plain(*image)));
                    self.set_samples(lane, test);
                    let ask = Ask {
                        present: 1,
                        trial: trial as i32,
                        images: minibatch.len() as i32,
                        outcome: (self.pending + lane) as i32,
                        running: 0,
                        edges: 0,
                        units: 0,
                        spare: 0,
                    };
                    self.writer.write(self.passes.plan_mut(), lane, &self.parent, &self.arena, &self.selection, ask);
                }
                self.pictures.upload()?;
                self.passes.launch(kind)?;
                self.pending += now.len();
            }
            let outcomes = self.take_outcomes()?;
            for (minibatch, outcome) in part.iter().zip(outcomes.chunks_exact(OUTCOME)) {
                loss += outcome[0] * minibatch.len() as f64;
                correct += outcome[1];
            }
        }
        self.answers = None;
        let (loss, accuracy) = (loss / count as f64, Some(correct / count as f64));
        Ok(Evaluation { loss, accuracy, count: count as u64 })
    }

    fn read(&mut self, trial: u32, parameter: usize, part: Part) -> Result<Entry> {
        let trial = self.find(trial)?;
        let values = self.passes.read_parameter(trial, self.arena.parameters.range(parameter), part)?;
        let shape = &*self.parent.parameters()[parameter].shape;
        Ok(ArrayD::from_shape_vec(shape, values).expect("as many as the parameter has").into())
    }

    fn write(&mut self, trial: u32, parameter: usize, part: Part, values: &Entry) -> Result<()> {
        let trial = self.find(trial)?;
        let name = &self.parent.parameters()[parameter].name;
        let values = values.view::<f32>().ok_or_else(|| Error::State {
            name: name.clone(),
            problem: format!("holds {}, expected f32", values.dtype()),
        })?;
        let values: Vec<f32> = values.iter().copied().collect();
        Ok(self.passes.write_parameter(trial, self.arena.parameters.range(parameter), part, &values)?)
    }

    fn save_rest(&mut self, trial: u32, state: &mut State) -> Result<()> {
        for index in 0..self.parent.running().len() {
            let [mean, variance] = self.running(trial, index)?;
            state.insert_f64(format!("running.{index}.mean"), &mean);
            state.insert_f64(format!("running.{index}.variance"), &variance);
        }
        Ok(())
    }

    fn restore_rest(&mut self, trial: u32, state: &State) -> Result<()> {
        let trial = self.find(trial)?;
        let mut restored = Vec::new();
        for (index, running) in self.parent.running().iter().enumerate() {
            let mean = state.f64(&format!("running.{index}.mean"), running.channels)?;
            let variance = state.f64(&format!("running.{index}.variance"), running.channels)?;
            restored.push([mean, variance].concat());
        }
        for (values, place) in restored.iter().zip(&self.arena.running) {
            self.passes.write_running(trial, *place as usize, values)?;
        }
        Ok(())
    }
}
