//! The recurrent network of section 5.3 on the CPU; it is described in [`advantage_nas::network::recurrent`].
//!
//! - `learned`: weights, the update
//! - `pointwise`: what the cell and the softmax do number by number
//! - `chunk`: the recurrence of some streams, forward and backward
//! - `head`: the output layer and the cross-entropy
//! - `network`: one pass of a segment
//!
//! Here: segments, the carried state, and the answers of a [`Supernet`].

mod chunk;
mod head;
mod learned;
mod network;
mod pointwise;

pub use advantage_nas::network::Part;

use advantage_nas::network::recurrent::{Parent, Segment, TextPosition, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::state::State;
use advantage_nas::strategy::{Feedback, Proposal, Step, Want};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set, expect_feedback};
use advantage_nas::{Error, OpTable, Result, SearchSpace, Supernet};
use ndarray::{Array1, Array2, ArrayD};

use crate::Stored;
use crate::workers::Workers;
use learned::Learned;
use network::{Network, Wanted};

/// What a supernet is built for, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How the weights are trained.
    pub weights: WeightSettings,
    /// Threads; they change no number.
    pub threads: usize,
}

/// The parent network with its texts, for one trial or several.
///
/// [`probe`](Supernet::probe), [`weight_step`](Supernet::weight_step) and [`pass`](RecurrentSupernet::pass) advance text and state by
/// one segment, as [`TextPosition`] says; [`evaluate`](Supernet::evaluate) has a state of its own.
#[derive(Debug)]
pub struct RecurrentSupernet<T> {
    settings: Settings,
    streams: Streams,
    network: Network<T>,
    trials: Vec<Trial<T>>,
    texts: Texts,
    /// The last minibatch.
    segment: Segment,
    /// The state before it, `[batch, units]`.
    before: Vec<T>,
}

#[derive(Debug)]
struct Trial<T> {
    number: u32,
    learned: Learned<T>,
    /// Losses of weight steps that were not fetched yet.
    losses: Vec<f64>,
    position: TextPosition,
    /// The state before the segment that is next, `[batch, units]`.
    state: Vec<T>,
}

/// What one pass says.
#[derive(Clone, Debug, PartialEq)]
pub struct Pass {
    /// The sum over the steps of the mean cross-entropy.
    pub loss: f64,
    /// `∂loss/∂a`, `[edges, candidates]`, zero for inactive candidates.
    pub edge_gradient: OpTable<f64>,
}

impl<T: Stored> RecurrentSupernet<T> {
    /// The memory in bytes that such a supernet takes, beside its texts: parameters, gradients, tensors of a minibatch.
    #[must_use]
    pub fn memory_of(parent: &Parent, trials: usize) -> usize {
        trials * Learned::<T>::bytes(parent) + Network::<T>::memory(parent)
    }

    /// The networks of the given trials, with their initial weights, before the first segment, with states of zero.
    ///
    /// # Errors
    /// [`Error::Setting`] for settings outside their range, [`Error::Data`] for texts that don't fit, [`Error::Other`] if there are no
    /// threads to be had.
    pub fn new(parent: Parent, settings: Settings, texts: Texts, streams: &Streams, trials: &[u32]) -> Result<Self> {
        settings.weights.check()?;
        let sizes = *parent.sizes();
        texts.check(&sizes)?;
        let workers = Workers::new(settings.threads)?;
        let zeros = vec![T::zero(); sizes.batch * sizes.units];
        let trial = |&number: &u32| Trial {
            number,
            learned: Learned::new(&parent, streams, number),
            losses: Vec::new(),
            position: TextPosition::start(),
            state: zeros.clone(),
        };
        Ok(Self {
            settings,
            streams: streams.clone(),
            trials: trials.iter().map(trial).collect(),
            network: Network::new(parent, workers),
            texts,
            segment: Segment::new(sizes.steps, sizes.batch),
            before: zeros,
        })
    }

    /// The network.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        self.network.parent()
    }

    /// The texts.
    #[must_use]
    pub fn texts(&self) -> &Texts {
        &self.texts
    }

    /// The last minibatch.
    #[must_use]
    pub fn minibatch(&self) -> &Segment {
        &self.segment
    }

    /// The dropout masks of the last segment, of the embeddings and of the outputs, `[steps, batch, units]` each: 0 or
    /// `1/(1 − dropout)`.
    #[must_use]
    pub fn masks(&self) -> [Vec<T>; 2] {
        self.network.masks()
    }

    /// The state before the last segment, `[batch, units]`.
    #[must_use]
    pub fn state_before(&self) -> &[T] {
        &self.before
    }

    /// The carried state of a trial, `[batch, units]`: that after its last segment.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn state(&self, trial: u32) -> Result<&[T]> {
        Ok(&self.trials[self.find(trial)?].state)
    }

    /// Overwrites the carried state of a trial.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial, [`Error::Length`] unless there are `batch · units` values.
    pub fn set_state(&mut self, trial: u32, values: &[f64]) -> Result<()> {
        let trial = self.find(trial)?;
        let state = &mut self.trials[trial].state;
        if values.len() != state.len() {
            return Err(Error::Length { what: "values of a state", expected: state.len(), got: values.len() });
        }
        state.iter_mut().zip(values).for_each(|(place, &value)| *place = T::of(value));
        Ok(())
    }

    /// Number of the segment that a trial reads next.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn segment(&self, trial: u32) -> Result<u64> {
        Ok(self.trials[self.find(trial)?].position.segment())
    }

    /// Numbers of a parameter, in the order of its shape.
    ///
    /// # Panics
    /// If there is no such parameter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn parameter(&self, trial: u32, index: usize, part: Part) -> Result<Vec<T>> {
        Ok(self.trials[self.find(trial)?].learned.read(index, part).into_raw_vec_and_offset().0)
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
        let values: ArrayD<T> = values.iter().map(|&value| T::of(value)).collect::<Array1<T>>().into_dyn();
        self.trials[trial].learned.write(index, part, values.view())
    }

    /// Forward and backward pass of a request, whatever it wants, as in a weight step. The gradients of the weights are then
    /// [`Part::Gradient`].
    ///
    /// # Errors
    /// As [`Supernet::weight_step`].
    pub fn pass(&mut self, request: &Request) -> Result<Pass> {
        let trial = self.draw(request)?;
        let wanted = Wanted { weights: true, unit_outputs: false };
        let loss = self.run(trial, &request.proposal, None, Some(wanted))?;
        let mut edge_gradient = OpTable::filled(request.proposal.shape(), 0.0);
        self.network.edge_gradient(wanted, &request.proposal, &mut edge_gradient);
        self.advance(trial);
        Ok(Pass { loss, edge_gradient })
    }

    /// Updates the weights that took part in the last pass; returns the norm of the gradient before it was clipped.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn update(&mut self, trial: u32, rate: f64) -> Result<f64> {
        let trial = self.find(trial)?;
        Ok(self.network.update(&mut self.trials[trial].learned, &self.settings.weights.into(), rate))
    }

    fn find(&self, trial: u32) -> Result<usize> {
        let place = self.trials.iter().position(|candidate| candidate.number == trial);
        place.ok_or(Error::Unsupported {
            operation: "run the trial",
            reason: "this supernet was built for other trials",
        })
    }

    /// Loads the next segment of a request's trial; returns the place of the trial.
    fn draw(&mut self, request: &Request) -> Result<usize> {
        let Batch { trial: number, set, .. } = request.batch;
        let index = self.find(number)?;
        if set == Set::Test {
            let reason = "it is evaluated as a whole";
            return Err(Error::Unsupported { operation: "draw minibatches of the test set", reason });
        }
        self.parent().space().shape().expect("proposal", request.proposal.shape())?;
        let Trial { position, state, .. } = &self.trials[index];
        self.segment.read(&self.texts.training, position.segment())?;
        self.before.copy_from_slice(state);
        self.network.set_state(&self.before);
        self.network.load(&self.streams, number, &self.segment);
        Ok(index)
    }

    fn run(
        &mut self,
        trial: usize,
        proposal: &Proposal,
        without: Option<usize>,
        wanted: Option<Wanted>,
    ) -> Result<f64> {
        self.network.pass(&mut self.trials[trial].learned, proposal, without, wanted)
    }

    /// Keeps the state after the pass, and goes on to the next segment.
    fn advance(&mut self, trial: usize) {
        let trial = &mut self.trials[trial];
        self.network.state(&mut trial.state);
        trial.position.advance();
    }

    fn answer(&mut self, request: &Request, feedback: &mut Feedback) -> Result<()> {
        let (proposal, want) = (&request.proposal, request.proposal.want());
        let trial = self.draw(request)?;
        feedback.begin(want);
        let wanted = match want {
            Want::Loss | Want::Removals => None,
            Want::Gradient => Some(Wanted { weights: false, unit_outputs: false }),
            Want::GradientWithUnitOutputs => Some(Wanted { weights: false, unit_outputs: true }),
        };
        feedback.loss = self.run(trial, proposal, None, wanted)?;
        if let Some(wanted) = wanted {
            self.network.edge_gradient(wanted, proposal, &mut feedback.gradient);
        }
        self.advance(trial);
        if want == Want::Removals {
            for edge in 0..proposal.shape().edges() {
                feedback.removals[edge] = self.run(trial, proposal, Some(edge), None)?;
            }
        }
        Ok(())
    }
}

impl<T: Stored> Supernet for RecurrentSupernet<T> {
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
            let trial = self.draw(request)?;
            let wanted = Wanted { weights: true, unit_outputs: false };
            let loss = self.run(trial, &request.proposal, None, Some(wanted))?;
            self.advance(trial);
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

    /// Reads the text as [`Texts::evaluated`] says; the perplexity is `e^loss`, the count that of the predictions, one for every word.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.find(request.batch.trial)?;
        let text = self.texts.evaluated(request.batch.set)?;
        let loss = self.network.evaluate(&self.trials[trial].learned, &request.proposal, text)?;
        Ok(Evaluation { loss, accuracy: None, count: text.len() as u64 })
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        let (sizes, trial) = (self.parent().sizes(), &self.trials[self.find(trial)?]);
        let mut state = trial.learned.save(self.parent().parameters());
        let carried = Array2::from_shape_vec((sizes.batch, sizes.units), trial.state.clone());
        state.insert("state", carried.expect("one value for every stream and unit"));
        trial.position.save(&mut state);
        Ok(state)
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        let trial = self.find(trial)?;
        let mut learned = self.trials[trial].learned.clone();
        learned.restore(self.parent().parameters(), state)?;
        let sizes = self.parent().sizes();
        let carried = state.array::<T, _>("state", (sizes.batch, sizes.units))?.iter().copied().collect();
        let position = TextPosition::restore(state)?;
        let trial = &mut self.trials[trial];
        (trial.learned, trial.state, trial.position) = (learned, carried, position);
        trial.losses.clear();
        Ok(())
    }
}
