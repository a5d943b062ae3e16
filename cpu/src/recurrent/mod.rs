//! The recurrent network of section 5.3 on the CPU; it is described in [`advantage_nas::network::recurrent`].
//!
//! - `learned`: weights, the update
//! - `pointwise`: what the cell and the softmax do number by number
//! - `chunk`: the recurrence of some streams, forward and backward
//! - `head`: the output layer and the cross-entropy
//! - `pass`: passes over a segment, evaluations of a text
//!
//! Here: the [`Network`], with the segments and the carried state of its trials.

mod chunk;
mod head;
mod learned;
pub(crate) mod pass;
mod pointwise;

use advantage_nas::network::recurrent::{Parent, Segment, TextPosition, Texts, WeightSettings};
use advantage_nas::network::{Parameter, Part, Sgd};
use advantage_nas::random::Streams;
use advantage_nas::sharing::{Network, Pass, Precision, WeightSharing};
use advantage_nas::state::{Entry, State};
use advantage_nas::strategy::{Activity, Proposal};
use advantage_nas::supernet::{Evaluation, Fetch, Request, find_trial};
use advantage_nas::{Error, OpTable, Result, SearchSpace};
use ndarray::{Array2, Array3, ArrayView2};

use crate::Stored;
use crate::stored::{only, unpack};
use crate::workers::Workers;
use learned::Learned;
use pass::{Compiled, Workspace};

/// What a supernet is built for, beside the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How the weights are trained.
    pub weights: WeightSettings,
    /// Threads; they change no number.
    pub threads: usize,
}

/// The supernet of the recurrent network, made by [`supernet`].
pub type RecurrentSupernet<T> = WeightSharing<RecurrentNetwork<T>>;

/// The supernet of the given trials, with their initial weights, before the first segment, with states of zero.
///
/// # Errors
/// As [`RecurrentNetwork::new`].
pub fn supernet<T: Stored + Compiled>(
    parent: Parent,
    settings: Settings,
    texts: Texts,
    streams: &Streams,
    trials: &[u32],
) -> Result<RecurrentSupernet<T>> {
    Ok(WeightSharing::new(RecurrentNetwork::new(parent, settings, texts, streams, trials)?))
}

/// The parent network with its texts, for one trial or several.
///
/// Text and state go on by a segment with every question about a new minibatch, as [`TextPosition`] says; an evaluation has a state of
/// its own.
#[derive(Debug)]
pub struct RecurrentNetwork<T> {
    sgd: Sgd,
    streams: Streams,
    texts: Texts,
    numbers: Vec<u32>,
    /// In the order of their numbers.
    trials: Vec<Trial<T>>,
    workspace: Workspace<T>,
    /// The place of the trial whose minibatch is loaded.
    loaded: usize,
    /// Its minibatch.
    segment: Segment,
    /// The state before it, `[batch, units]`.
    before: Array2<T>,
    /// Of passes, that nobody fetched yet.
    losses: Vec<f64>,
    /// Of the last update.
    gradient_norm: f64,
}

#[derive(Debug)]
struct Trial<T> {
    learned: Learned<T>,
    position: TextPosition,
    /// The state before the segment that is read next, `[batch, units]`.
    state: Array2<T>,
}

impl<T: Stored + Compiled> RecurrentNetwork<T> {
    /// The memory in bytes that such a network takes, beside its texts: parameters, gradients, tensors of a minibatch.
    #[must_use]
    pub fn memory_of(parent: &Parent, trials: usize) -> usize {
        trials * Learned::<T>::bytes(parent) + Workspace::<T>::bytes(parent)
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
        let zeros = Array2::from_elem((sizes.batch, sizes.units), T::zero());
        let trial = |&number: &u32| Trial {
            learned: Learned::new(&parent, streams, number),
            position: TextPosition::start(),
            state: zeros.clone(),
        };
        Ok(Self {
            sgd: settings.weights.into(),
            streams: streams.clone(),
            numbers: trials.to_vec(),
            trials: trials.iter().map(trial).collect(),
            workspace: Workspace::new(parent, workers),
            texts,
            loaded: 0,
            segment: Segment::new(sizes.steps, sizes.batch),
            before: zeros,
            losses: Vec::new(),
            gradient_norm: 0.0,
        })
    }

    /// The description of the network.
    #[must_use]
    pub fn parent(&self) -> &Parent {
        self.workspace.parent()
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

    /// The dropout masks of the last minibatch, of the embeddings and of the outputs, `[steps, batch, units]` each: 0 or
    /// `1/(1 − dropout)`.
    #[must_use]
    pub fn masks(&self) -> [Array3<T>; 2] {
        self.workspace.masks()
    }

    /// The state before the last minibatch, `[batch, units]`.
    #[must_use]
    pub fn state_before(&self) -> ArrayView2<'_, T> {
        self.before.view()
    }

    /// The carried state of a trial, `[batch, units]`: that after its last minibatch.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn state(&self, trial: u32) -> Result<ArrayView2<'_, T>> {
        Ok(self.trials[self.find(trial)?].state.view())
    }

    /// Overwrites the carried state of a trial.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial, [`Error::ArrayShape`] for a state that is not `[batch, units]`.
    pub fn set_state(&mut self, trial: u32, values: ArrayView2<'_, T>) -> Result<()> {
        let trial = self.find(trial)?;
        let state = &mut self.trials[trial].state;
        Error::expect_shape("a recurrent state", state.shape(), values.shape())?;
        state.assign(&values);
        Ok(())
    }

    /// Number of the segment that a trial reads next.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial.
    pub fn segment(&self, trial: u32) -> Result<u64> {
        Ok(self.trials[self.find(trial)?].position.segment())
    }

    fn find(&self, trial: u32) -> Result<usize> {
        find_trial(&self.numbers, trial)
    }
}

impl<T: Stored + Compiled> Network for RecurrentNetwork<T> {
    fn space(&self) -> &SearchSpace {
        self.parent().space()
    }

    fn activity(&self) -> Activity {
        Activity::All
    }

    fn trials(&self) -> &[u32] {
        &self.numbers
    }

    fn parameters(&self) -> &[Parameter] {
        self.parent().parameters()
    }

    fn saved_parts(&self) -> &'static [Part] {
        &[Part::Value]
    }

    fn precision(&self) -> Precision {
        T::PRECISION
    }

    /// The next segment of the training text, whatever set and step the request names.
    fn load(&mut self, requests: &[Request]) -> Result<()> {
        let number = only("requests that are loaded", requests)?.batch.trial;
        self.loaded = self.find(number)?;
        let Trial { position, state, .. } = &self.trials[self.loaded];
        self.segment.read(&self.texts.training, position.segment())?;
        self.before.assign(state);
        self.workspace.load(&self.streams, number, &self.segment, self.before.view());
        Ok(())
    }

    fn pass(&mut self, requests: &[Request], pass: Pass) -> Result<()> {
        let request = only("requests of a pass", requests)?;
        let loss = Compiled::pass(&mut self.workspace, &mut self.trials[self.loaded].learned, &request.proposal, pass)?;
        self.losses.push(loss);
        Ok(())
    }

    fn losses(&mut self, _fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        losses.append(&mut self.losses);
        Ok(())
    }

    fn edge_gradient(&mut self, _lane: usize, proposal: &Proposal, gradient: &mut OpTable<f64>) -> Result<()> {
        self.workspace.edge_gradient(proposal, gradient);
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        let Trial { position, state, .. } = &mut self.trials[self.loaded];
        self.workspace.state(state.view_mut());
        position.advance();
        Ok(())
    }

    fn rate(&self, schedule: f64) -> f64 {
        self.sgd.rate(schedule)
    }

    fn update(&mut self, rates: &[f64]) -> Result<()> {
        let rate = *only("learning rates", rates)?;
        self.gradient_norm = Compiled::update(&self.workspace, &mut self.trials[self.loaded].learned, &self.sgd, rate);
        Ok(())
    }

    fn gradient_norm(&mut self, _lane: usize) -> Result<f64> {
        Ok(self.gradient_norm)
    }

    /// Reads the text as [`Texts::evaluated`] says; the perplexity is `e^loss`, the count that of the predictions, one for every word.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let trial = self.find(request.batch.trial)?;
        let text = self.texts.evaluated(request.batch.set)?;
        let loss = Compiled::evaluate(&mut self.workspace, &self.trials[trial].learned, &request.proposal, text)?;
        Ok(Evaluation { loss, accuracy: None, count: text.len() as u64 })
    }

    fn read(&mut self, trial: u32, parameter: usize, part: Part) -> Result<Entry> {
        Ok(self.trials[self.find(trial)?].learned.read(parameter, part).into())
    }

    fn write(&mut self, trial: u32, parameter: usize, part: Part, values: &Entry) -> Result<()> {
        let trial = self.find(trial)?;
        let values = unpack(&self.parameters()[parameter].name, values)?;
        self.trials[trial].learned.write(parameter, part, values)
    }

    fn save_rest(&mut self, trial: u32, state: &mut State) -> Result<()> {
        let trial = &self.trials[self.find(trial)?];
        state.insert("state", trial.state.clone());
        trial.position.save(state);
        Ok(())
    }

    fn restore_rest(&mut self, trial: u32, state: &State) -> Result<()> {
        let trial = self.find(trial)?;
        let carried = state.array::<T, _>("state", self.trials[trial].state.raw_dim())?;
        let position = TextPosition::restore(state)?;
        let trial = &mut self.trials[trial];
        trial.state.assign(&carried);
        trial.position = position;
        Ok(())
    }
}
