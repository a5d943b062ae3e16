//! The parent network of section 5.2 on the CPU; it is described in [`advantage_nas::network::nas_bench_201`].
//!
//! - `plan`: what is kept in memory
//! - `learned`: weights and running statistics
//! - `network`: one pass of a minibatch, forward and backward
//!
//! Here: minibatches, and the answers of a [`Supernet`].

mod learned;
mod network;
mod plan;

pub use advantage_nas::network::Part;
pub use plan::{Memory, Simultaneous};

use advantage_nas::network::Sgd;
use advantage_nas::network::nas_bench_201::{
    Data, Images, Minibatches, PIXELS, Parent, Sample, evaluation_minibatches,
};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Step, Want};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set, expect_feedback};
use advantage_nas::{Error, OpTable, Result, SearchSpace, Supernet};

use ndarray::ArrayD;

use crate::Stored;
use crate::workers::Workers;
use learned::Learned;
use network::{Minibatch, Network, Outcome, Statistics, Wanted};
use plan::Plan;

/// What a supernet is built for, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Images of a minibatch.
    pub batch: usize,
    /// How the weights are trained.
    pub weights: Sgd,
    /// Candidates of an edge that a proposal may have active at once.
    pub simultaneous: Simultaneous,
    /// Threads; they change no number.
    pub threads: usize,
}

/// The parent network with its data, for one trial or several.
#[derive(Debug)]
pub struct NasBench201Supernet<T> {
    settings: Settings,
    network: Network<T>,
    trials: Vec<Trial<T>>,
    data: Data,
    memory: Memory,
    samples: Vec<Sample>,
    /// The minibatch, `[batch, 3, 32, 32]`.
    images: Vec<f32>,
    labels: Vec<usize>,
}

#[derive(Debug)]
struct Trial<T> {
    number: u32,
    learned: Learned<T>,
    /// Losses of weight steps that were not fetched yet.
    losses: Vec<f64>,
    training: Minibatches,
    validation: Minibatches,
}

/// What one pass says.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass<T> {
    /// The mean cross-entropy.
    pub loss: f64,
    /// `[batch, classes]`
    pub logits: Vec<T>,
    /// `∂loss/∂a`, `[edges, candidates]`, zero for inactive candidates.
    pub edge_gradient: OpTable<f64>,
}

impl<T: Stored> NasBench201Supernet<T> {
    /// The memory that such a supernet takes, beside its data.
    #[must_use]
    pub fn memory_of(parent: &Parent, settings: &Settings, trials: usize) -> Memory {
        Plan::new(parent, settings.batch, settings.simultaneous).memory::<T>(parent, trials, settings.threads)
    }

    /// The networks of the given trials, with their initial weights.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings outside their range, [`Error::Data`] for data that does not fit, [`Error::Other`] if there
    /// are no threads to be had.
    pub fn new(parent: Parent, settings: Settings, data: Data, streams: &Streams, trials: &[u32]) -> Result<Self> {
        settings.weights.check()?;
        let classes = parent.skeleton().classes;
        for images in std::iter::once(&data.images).chain(&data.test) {
            if images.classes().len() > classes {
                let problem =
                    format!("expected at most the network's {classes} classes, got {}", images.classes().len());
                return Err(Error::Data { what: "images", problem });
            }
        }
        let workers = Workers::new(settings.threads)?;
        let trials = trials.iter().map(|&number| {
            let minibatches = |set| Minibatches::new(streams, number, set, &data.halves, settings.batch);
            Ok(Trial {
                number,
                losses: Vec::new(),
                training: minibatches(Set::Training)?,
                validation: minibatches(Set::Validation)?,
                learned: Learned::new(&parent, streams, number),
            })
        });
        let trials = trials.collect::<Result<Vec<_>>>()?;
        let plan = Plan::new(&parent, settings.batch, settings.simultaneous);
        let memory = plan.memory::<T>(&parent, trials.len(), settings.threads);
        Ok(Self {
            settings,
            network: Network::new(parent, plan, workers),
            trials,
            data,
            memory,
            samples: vec![Sample::plain(0); settings.batch],
            images: vec![0.0; settings.batch * PIXELS],
            labels: vec![0; settings.batch],
        })
    }

    /// The network.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        self.network.parent()
    }

    /// The memory that was planned, beside the data.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The last minibatch: images `[count, 3, 32, 32]`, normalised, and the label of each.
    #[must_use]
    pub fn minibatch(&self) -> (&[f32], &[usize]) {
        (&self.images, &self.labels)
    }

    /// Numbers of a parameter, in the order of its shape.
    ///
    /// # Panics
    /// If there is no such parameter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn parameter(&self, trial: u32, index: usize, part: Part) -> Result<Vec<T>> {
        Ok(self.trials[self.find(trial)?].learned.weights.read(index, part).into_raw_vec_and_offset().0)
    }

    /// Overwrites numbers of a parameter.
    ///
    /// # Panics
    /// If there is no such parameter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial, [`Error::Length`] unless there is one value for each number.
    pub fn set_parameter(&mut self, trial: u32, index: usize, part: Part, values: &[f64]) -> Result<()> {
        let trial = self.find(trial)?;
        let values = ArrayD::from_shape_vec(vec![values.len()], values.iter().map(|value| T::of(*value)).collect());
        self.trials[trial].learned.weights.write(index, part, values.map_err(Error::other)?.view())
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

    /// Forward and backward pass of a request, whatever it wants; the running statistics take part as in a weight step. The
    /// gradients of the weights are then [`Part::Gradient`].
    ///
    /// # Errors
    /// As [`Supernet::weight_step`].
    pub fn pass(&mut self, request: &Request) -> Result<Pass<T>> {
        let trial = self.draw(&request.batch)?;
        let wanted = Wanted { weights: true, edges: true, unit_outputs: false };
        let outcome = self.forward(trial, &request.proposal, None, Statistics::MinibatchAndUpdate)?;
        self.network.backward(&mut self.trials[trial].learned, wanted);
        let mut edge_gradient = OpTable::filled(request.proposal.shape(), 0.0);
        self.network.edge_gradient(wanted, &request.proposal, &mut edge_gradient);
        Ok(Pass { loss: outcome.loss, logits: self.network.logits(), edge_gradient })
    }

    /// Updates the weights that took part in the last pass; returns the norm of the gradient before it was clipped, decay
    /// included.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn update(&mut self, trial: u32, rate: f64) -> Result<f64> {
        let trial = self.find(trial)?;
        Ok(self.network.update(&mut self.trials[trial].learned, &self.settings.weights, rate))
    }

    fn find(&self, trial: u32) -> Result<usize> {
        let place = self.trials.iter().position(|candidate| candidate.number == trial);
        place.ok_or(Error::Unsupported {
            operation: "run the trial",
            reason: "this supernet was built for other trials",
        })
    }

    /// Draws a minibatch; returns the place of its trial.
    fn draw(&mut self, batch: &Batch) -> Result<usize> {
        let index = self.find(batch.trial)?;
        let trial = &mut self.trials[index];
        let minibatches = match batch.set {
            Set::Training => &mut trial.training,
            Set::Validation => &mut trial.validation,
            Set::Test => {
                let reason = "it is evaluated as a whole";
                return Err(Error::Unsupported { operation: "draw minibatches of the test set", reason });
            }
        };
        self.samples.resize(self.settings.batch, Sample::plain(0));
        minibatches.draw(batch.step, &mut self.samples)?;
        self.load(None)?;
        Ok(index)
    }

    /// Loads the samples, of the training images or of others.
    fn load(&mut self, others: Option<&Images>) -> Result<()> {
        let images = others.unwrap_or(&self.data.images);
        self.images.resize(self.samples.len() * PIXELS, 0.0);
        images.fill(&self.samples, &self.data.normalization, &mut self.images)?;
        self.labels.clear();
        self.labels.extend(self.samples.iter().map(|sample| usize::from(images.labels()[sample.image as usize])));
        Ok(())
    }

    fn forward(
        &mut self,
        trial: usize,
        proposal: &Proposal,
        without: Option<usize>,
        statistics: Statistics,
    ) -> Result<Outcome> {
        let minibatch = Minibatch { images: &self.images, labels: &self.labels };
        self.network.forward(&mut self.trials[trial].learned, minibatch, proposal, without, statistics)
    }

    fn answer(&mut self, request: &Request, feedback: &mut Feedback) -> Result<()> {
        let (proposal, want) = (&request.proposal, request.proposal.want());
        let trial = self.draw(&request.batch)?;
        feedback.begin(want);
        feedback.loss = self.forward(trial, proposal, None, Statistics::Minibatch)?.loss;
        match want {
            Want::Loss => {}
            Want::Gradient | Want::GradientWithUnitOutputs => {
                let unit_outputs = want == Want::GradientWithUnitOutputs;
                let wanted = Wanted { weights: false, edges: true, unit_outputs };
                self.network.backward(&mut self.trials[trial].learned, wanted);
                self.network.edge_gradient(wanted, proposal, &mut feedback.gradient);
            }
            Want::Removals => {
                for edge in 0..proposal.shape().edges() {
                    feedback.removals[edge] = self.forward(trial, proposal, Some(edge), Statistics::Minibatch)?.loss;
                }
            }
        }
        Ok(())
    }
}

impl<T: Stored> Supernet for NasBench201Supernet<T> {
    fn space(&self) -> &SearchSpace {
        self.network.parent().space()
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        expect_feedback(self.space(), requests, feedback)?;
        for (request, feedback) in requests.iter().zip(feedback) {
            self.answer(request, feedback)?;
        }
        Ok(())
    }

    fn trains_weights(&self) -> bool {
        true
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        if steps.len() != requests.len() {
            return Err(Error::Length { what: "steps of weight updates", expected: requests.len(), got: steps.len() });
        }
        for (step, request) in steps.iter().zip(requests) {
            let trial = self.draw(&request.batch)?;
            let loss = self.forward(trial, &request.proposal, None, Statistics::MinibatchAndUpdate)?.loss;
            let wanted = Wanted { weights: true, ..Wanted::default() };
            self.network.backward(&mut self.trials[trial].learned, wanted);
            self.update(request.batch.trial, self.settings.weights.rate(step.schedule))?;
            self.trials[trial].losses.push(loss);
        }
        Ok(())
    }

    fn weight_losses(&mut self, trial: u32, _fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        let trial = self.find(trial)?;
        losses.append(&mut self.trials[trial].losses);
        Ok(())
    }

    /// The images as they are, each once, in the order of [`Data::evaluated`], in the minibatches of [`evaluation_minibatches`]. All batch norms use the minibatch's statistics, as in the steps of a search: the running ones are those of the mixture of cells that was
    /// trained, and with them a single cell classifies little better than chance.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.find(request.batch.trial)?;
        let data = self.data.clone();
        let (images, order) = data.evaluated(request.batch.set)?;
        let count = order.len();
        let mut evaluation = Outcome::default();
        for minibatch in evaluation_minibatches(count, self.settings.batch) {
            self.samples.clear();
            self.samples.extend(order[minibatch.clone()].iter().map(|image| Sample::plain(*image)));
            self.load(Some(images))?;
            let outcome = self.forward(trial, &request.proposal, None, Statistics::Minibatch)?;
            evaluation.loss += outcome.loss * minibatch.len() as f64;
            evaluation.correct += outcome.correct;
        }
        let loss = evaluation.loss / count as f64;
        let accuracy = Some(evaluation.correct as f64 / count as f64);
        Ok(Evaluation { loss, accuracy, count: count as u64 })
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        Ok(self.trials[self.find(trial)?].learned.save(self.parent().parameters()))
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        let trial = self.find(trial)?;
        let mut learned = self.trials[trial].learned.clone();
        learned.restore(self.parent().parameters(), state)?;
        self.trials[trial].learned = learned;
        self.trials[trial].losses.clear();
        Ok(())
    }
}
