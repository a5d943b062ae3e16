//! The parent network of section 5.2 on the CPU; it is described in [`advantage_nas::network::nas_bench_201`].
//!
//! - `sizes`: what is kept in memory
//! - `learned`: weights and running statistics
//! - `graph`: what takes part in a pass
//! - `norm`: batch norms between two waits
//! - `chunk`: images that a thread works on together
//! - `forward`, `backward`: what a chunk does at a node
//! - `passes`: passes over minibatches
//!
//! Here: the [`Network`], with the minibatches of its trials.

mod backward;
mod chunk;
mod forward;
mod graph;
mod learned;
mod norm;
pub(crate) mod passes;
mod sizes;
#[cfg(test)]
mod tests;

pub use sizes::Memory;

use advantage_nas::network::nas_bench_201::{
    Data, Images, Minibatches, PIXELS, Parent, Sample, evaluation_minibatches,
};
use advantage_nas::network::{Parameter, Part, Sgd};
use advantage_nas::random::Streams;
use advantage_nas::sharing::{Network, Pass, Precision, WeightSharing};
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{Activity, Proposal};
use advantage_nas::supernet::{Evaluation, Fetch, Request, Set, find_trial};
use advantage_nas::{Error, OpTable, Result, SearchSpace};
use ndarray::{Array2, ArrayView1, ArrayView4};

use crate::Stored;
use crate::stored::{only, unpack};
use crate::workers::Workers;
use learned::Learned;
use passes::{Compiled, Minibatch, Outcome, Passes, Wanted};
use sizes::Sizes;

/// What a supernet is built for, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Images of a minibatch.
    pub batch: usize,
    /// How the weights are trained.
    pub weights: Sgd,
    /// Candidates of an edge that a proposal may have active at once.
    pub activity: Activity,
    /// Threads; they change no number.
    pub threads: usize,
}

/// The supernet of the parent network, made by [`supernet`].
pub type NasBench201Supernet<T> = WeightSharing<NasBench201Network<T>>;

/// The supernet of the given trials, with their initial weights.
///
/// # Errors
/// As [`NasBench201Network::new`].
pub fn supernet<T: Stored + Compiled>(
    parent: Parent,
    settings: Settings,
    data: Data,
    streams: &Streams,
    trials: &[u32],
) -> Result<NasBench201Supernet<T>> {
    Ok(WeightSharing::new(NasBench201Network::new(parent, settings, data, streams, trials)?))
}

/// The parent network with its data, for one trial or several.
#[derive(Debug)]
pub struct NasBench201Network<T> {
    sgd: Sgd,
    batch: usize,
    passes: Passes<T>,
    numbers: Vec<u32>,
    /// In the order of their numbers.
    trials: Vec<Trial<T>>,
    data: Data,
    memory: Memory,
    samples: Vec<Sample>,
    /// The minibatch, `[batch, 3, 32, 32]`.
    images: Vec<f32>,
    labels: Vec<usize>,
    /// The place of the trial whose minibatch is loaded.
    loaded: usize,
    /// What the last pass computed.
    wanted: Wanted,
    /// Of passes, that nobody fetched yet.
    losses: Vec<f64>,
    /// Of the last update.
    gradient_norm: f64,
}

#[derive(Debug)]
struct Trial<T> {
    learned: Learned<T>,
    training: Minibatches,
    validation: Minibatches,
}

impl<T: Stored + Compiled> NasBench201Network<T> {
    /// The memory that such a network takes, beside its data.
    #[must_use]
    pub fn memory_of(parent: &Parent, settings: &Settings, trials: usize) -> Memory {
        Sizes::memory_of::<T>(parent, settings.activity, settings.batch, trials, settings.threads)
    }

    /// The networks of the given trials, with their initial weights.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings outside their range, [`Error::Data`] for data that does not fit, [`Error::Other`] if there
    /// are no threads to be had.
    pub fn new(parent: Parent, settings: Settings, data: Data, streams: &Streams, trials: &[u32]) -> Result<Self> {
        let Settings { batch, weights: sgd, activity, threads } = settings;
        sgd.check()?;
        let classes = parent.skeleton().classes;
        for images in std::iter::once(&data.images).chain(&data.test) {
            if images.classes().len() > classes {
                let problem =
                    format!("expected at most the network's {classes} classes, got {}", images.classes().len());
                return Err(Error::Data { what: "images", problem });
            }
        }
        let workers = Workers::new(threads)?;
        let numbers = trials.to_vec();
        let trials = trials.iter().map(|&number| {
            let minibatches = |set| Minibatches::new(streams, number, set, &data.halves, batch);
            Ok(Trial {
                training: minibatches(Set::Training)?,
                validation: minibatches(Set::Validation)?,
                learned: Learned::new(&parent, streams, number),
            })
        });
        let trials = trials.collect::<Result<Vec<_>>>()?;
        let passes = Passes::new(parent, activity, batch, workers);
        Ok(Self {
            sgd,
            batch,
            memory: passes.memory(trials.len()),
            passes,
            numbers,
            trials,
            data,
            samples: vec![Sample::plain(0); batch],
            images: vec![0.0; batch * PIXELS],
            labels: vec![0; batch],
            loaded: 0,
            wanted: Wanted::default(),
            losses: Vec::new(),
            gradient_norm: 0.0,
        })
    }

    /// The description of the network.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        self.passes.parent()
    }

    /// The memory that was planned, beside the data.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Images of the last minibatch, `[count, 3, 32, 32]`, normalised.
    ///
    /// # Panics
    /// Never: every image has its pixels.
    #[must_use]
    pub fn images(&self) -> ArrayView4<'_, f32> {
        ArrayView4::from_shape((self.labels.len(), 3, 32, 32), &self.images).expect("pixels of every image")
    }

    /// Labels of the last minibatch, `[count]`.
    #[must_use]
    pub fn labels(&self) -> ArrayView1<'_, usize> {
        ArrayView1::from(&*self.labels)
    }

    /// Logits of the last pass, `[count, classes]`.
    #[must_use]
    pub fn logits(&self) -> Array2<T> {
        self.passes.logits()
    }

    /// Running mean and variance of a batch norm, `[channels]` each.
    ///
    /// # Panics
    /// If there is no such batch norm.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn running(&self, trial: u32, index: usize) -> Result<[Vec<f64>; 2]> {
        let channels = self.parent().running()[index].channels;
        let running = &self.trials[self.find(trial)?].learned.running[index];
        Ok([running.mean[..channels].to_vec(), running.variance[..channels].to_vec()])
    }

    fn find(&self, trial: u32) -> Result<usize> {
        find_trial(&self.numbers, trial)
    }

    /// Loads the samples, of the training images or of others.
    fn load_samples(&mut self, others: Option<&Images>) -> Result<()> {
        let images = others.unwrap_or(&self.data.images);
        self.images.resize(self.samples.len() * PIXELS, 0.0);
        images.fill(&self.samples, &self.data.normalization, &mut self.images)?;
        self.labels.clear();
        self.labels.extend(self.samples.iter().map(|sample| usize::from(images.labels()[sample.image as usize])));
        Ok(())
    }

    fn forward(&mut self, trial: usize, proposal: &Proposal, pass: Pass) -> Result<Outcome> {
        let minibatch = Minibatch { images: &self.images, labels: &self.labels };
        let learned = &mut self.trials[trial].learned;
        Compiled::forward(&mut self.passes, learned, minibatch, proposal, pass.without, pass.weights)
    }
}

impl<T: Stored + Compiled> Network for NasBench201Network<T> {
    fn space(&self) -> &SearchSpace {
        self.parent().space()
    }

    fn activity(&self) -> Activity {
        self.passes.activity()
    }

    fn trials(&self) -> &[u32] {
        &self.numbers
    }

    fn parameters(&self) -> &[Parameter] {
        self.parent().parameters()
    }

    fn saved_parts(&self) -> &'static [Part] {
        &[Part::Value, Part::Velocity]
    }

    fn precision(&self) -> Precision {
        T::PRECISION
    }

    fn load(&mut self, requests: &[Request]) -> Result<()> {
        let batch = only("requests that are loaded", requests)?.batch;
        self.loaded = self.find(batch.trial)?;
        let trial = &mut self.trials[self.loaded];
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
        self.load_samples(None)
    }

    fn pass(&mut self, requests: &[Request], pass: Pass) -> Result<()> {
        let request = only("requests of a pass", requests)?;
        let outcome = self.forward(self.loaded, &request.proposal, pass)?;
        let Pass { weights, edges, unit_outputs, .. } = pass;
        self.wanted = Wanted { weights, edges, unit_outputs };
        if weights || edges {
            Compiled::backward(&mut self.passes, &mut self.trials[self.loaded].learned, self.wanted);
        }
        self.losses.push(outcome.loss);
        Ok(())
    }

    fn losses(&mut self, _fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        losses.append(&mut self.losses);
        Ok(())
    }

    fn edge_gradient(&mut self, _lane: usize, proposal: &Proposal, gradient: &mut OpTable<f64>) -> Result<()> {
        self.passes.edge_gradient(self.wanted, proposal, gradient);
        Ok(())
    }

    fn rate(&self, schedule: f64) -> f64 {
        self.sgd.rate(schedule)
    }

    fn update(&mut self, rates: &[f64]) -> Result<()> {
        let rate = *only("learning rates", rates)?;
        self.gradient_norm = Compiled::update(&self.passes, &mut self.trials[self.loaded].learned, &self.sgd, rate);
        Ok(())
    }

    fn gradient_norm(&mut self, _lane: usize) -> Result<f64> {
        Ok(self.gradient_norm)
    }

    /// The images as they are, each once, in the order of [`Data::evaluated`], in the minibatches of [`evaluation_minibatches`]. All batch norms
    /// use the minibatch's statistics, as in the steps of a search: the running ones are those of the mixture of cells that was
    /// trained, and with them a single cell classifies little better than chance.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.find(request.batch.trial)?;
        let data = self.data.clone();
        let (images, order) = data.evaluated(request.batch.set)?;
        let count = order.len();
        let mut evaluation = Outcome::default();
        for minibatch in evaluation_minibatches(count, self.batch) {
            self.samples.clear();
            self.samples.extend(order[minibatch.clone()].iter().map(|image| Sample::plain(*image)));
            self.load_samples(Some(images))?;
            let outcome = self.forward(trial, &request.proposal, Pass::default())?;
            evaluation.loss += outcome.loss * minibatch.len() as f64;
            evaluation.correct += outcome.correct;
        }
        let loss = evaluation.loss / count as f64;
        let accuracy = Some(evaluation.correct as f64 / count as f64);
        Ok(Evaluation { loss, accuracy, count: count as u64 })
    }

    fn read(&mut self, trial: u32, parameter: usize, part: Part) -> Result<Entry> {
        Ok(self.trials[self.find(trial)?].learned.weights.read(parameter, part).into())
    }

    fn write(&mut self, trial: u32, parameter: usize, part: Part, values: &Entry) -> Result<()> {
        let trial = self.find(trial)?;
        let values = unpack(&self.parameters()[parameter].name, values)?;
        self.trials[trial].learned.weights.write(parameter, part, values)
    }

    fn save_rest(&mut self, trial: u32, state: &mut State) -> Result<()> {
        self.trials[self.find(trial)?].learned.save_running(state);
        Ok(())
    }

    fn restore_rest(&mut self, trial: u32, state: &State) -> Result<()> {
        let trial = self.find(trial)?;
        self.trials[trial].learned.restore_running(state)
    }
}
