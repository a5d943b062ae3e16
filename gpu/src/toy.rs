//! The toy regression of section 5.1 on a CUDA device; the network is described in [`advantage_nas::network::toy`].
//!
//! All trials of a supernet are answered in one launch. Requests come in kinds: how many candidates are active per edge
//! and what is wanted; each kind has one graph, recorded at its first use. The minibatches are drawn on the device and
//! are those of the host, bit for bit; what goes to the device per request is where they begin and which candidates
//! have which weights, and what comes back are sums over the batch.

use advantage_nas::network::toy::{PIXELS, POSITIONS, TAPS, Toy};
use advantage_nas::random::{Streams, WORDS_PER_STEP};
use advantage_nas::state::State;
use advantage_nas::strategy::{Activity, Feedback, Proposal, Want};
use advantage_nas::supernet::{Batch, Evaluation, Request, expect_feedback};
use advantage_nas::{Architecture, Error as CoreError, SearchSpace, Supernet};
use ndarray::{Array3, ArrayView3};

use crate::device::{Buffer, Device, Graph};
use crate::error::Result;
use crate::kernels::toy::{Answers, Asks, Edges, Images, SOURCE, Shares, Sizes, Slopes, Sums, Weights};
use crate::kernels::{CHACHA_WORDS, Kernels, Version};

/// The teachers, the students and their minibatches, for one trial or many.
#[derive(Debug)]
pub struct ToySupernet {
    toy: Toy,
    space: SearchSpace,
    trials: Vec<u32>,
    teachers: Vec<Architecture>,
    /// The kinds that were asked so far. Before what they were recorded with, so that they are dropped first.
    kinds: Vec<Asked>,
    kernels: Kernels,
    key: Buffer<u32>,
    weights: Weights,
    images: Buffer<f32>,
    shares: Shares,
    device: Device,
}

/// Which graph answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    /// Active candidates of an edge. If it is one, its weight is 1.
    activity: Activity,
    want: Want,
}

/// A graph and what it alone works on.
#[derive(Debug)]
struct Asked {
    kind: Kind,
    graph: Graph,
    asks: Asks,
    answers: Buffer<f64>,
    host_answers: Vec<f64>,
    _slopes: Buffer<f32>,
}

impl ToySupernet {
    /// The networks of the given trials.
    ///
    /// # Errors
    /// As [`Toy::check`]; [`Error::OutOfMemory`](crate::Error::OutOfMemory); what the device reports.
    pub fn new(device: &Device, toy: Toy, streams: &Streams, trials: &[u32]) -> Result<Self> {
        let space = toy.space()?;
        let sizes = sizes(toy, trials.len(), 1);
        let parameters = trials.len() as u64 * toy.edges as u64 * (toy.candidates * TAPS + POSITIONS + 1) as u64;
        let values = parameters + sizes.images() as u64 + 2 * sizes.shares() as u64;
        device.expect_room(&format!("the toy regression of {} trials", trials.len()), 4 * values)?;
        let (mut filters, mut heads, mut teachers) = (Vec::new(), Vec::new(), Vec::new());
        for &trial in trials {
            let parameters = toy.parameters(streams, trial)?;
            filters.extend(parameters.filters.iter().map(|&value| value as f32));
            heads.extend(parameters.heads.iter().map(|&value| (value / toy.edges as f64) as f32));
            teachers.push(parameters.teacher);
        }
        let choices: Vec<u32> =
            teachers.iter().flat_map(|teacher| teacher.choices().iter().map(|&choice| choice as u32)).collect();
        let bytes = streams.key();
        let key: Vec<u32> = bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        Ok(Self {
            toy,
            space,
            trials: trials.to_vec(),
            kinds: Vec::new(),
            kernels: Kernels::load(device, &SOURCE)?,
            key: device.upload("the key of the random streams", &key)?,
            weights: Weights::new(device, toy, &filters, &heads, &choices)?,
            images: device.zeros("images", sizes.images())?,
            shares: Shares::new(device, &sizes)?,
            device: device.clone(),
            teachers,
        })
    }

    /// The teacher's architecture in a trial, if this supernet has that trial.
    #[must_use]
    pub fn teacher(&self, trial: u32) -> Option<&Architecture> {
        self.index(trial).map(|index| &self.teachers[index])
    }

    /// The device.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The minibatch that was drawn for the `request`-th request of the last launch, `[height, width, batch]`.
    ///
    /// # Errors
    /// What the device reports.
    pub fn last_images(&self, request: usize) -> Result<Array3<f32>> {
        let pitch = self.images.len() / self.trials.len().max(1);
        let images = self.images.to_vec()?;
        let images = &images[request * pitch..][..PIXELS * self.toy.batch];
        Ok(ArrayView3::from_shape(self.toy.batch_shape(), images).expect("the pixels of a minibatch").to_owned())
    }

    fn index(&self, trial: u32) -> Option<usize> {
        // Trials are usually numbered as they stand.
        let usual = trial as usize;
        if self.trials.get(usual) == Some(&trial) {
            return Some(usual);
        }
        self.trials.iter().position(|candidate| *candidate == trial)
    }

    /// Answers questions: kind by kind, as many at once as there are trials.
    fn answer(&mut self, questions: &[Question<'_>], mut take: impl FnMut(usize, &Answer<'_>)) -> Result<()> {
        let mut left: Vec<usize> = (0..questions.len()).collect();
        while let Some(&first) = left.first() {
            let kind = questions[first].kind();
            let mut now = Vec::new();
            left.retain(|&index| {
                let taken = now.len() < self.trials.len() && questions[index].kind() == kind;
                if taken {
                    now.push(index);
                }
                !taken
            });
            self.launch(kind, &now, questions, &mut take)?;
        }
        Ok(())
    }

    fn launch(
        &mut self,
        kind: Kind,
        now: &[usize],
        questions: &[Question<'_>],
        take: &mut impl FnMut(usize, &Answer<'_>),
    ) -> Result<()> {
        let place = self.asked(kind)?;
        self.kinds[place].asks.clear();
        for &index in now {
            let Question { batch, proposal, .. } = questions[index];
            let trial = self.index(batch.trial).ok_or(CoreError::Unsupported {
                operation: "run the trial",
                reason: "this supernet was built for other trials",
            })?;
            let stream = Streams::stream_number(Toy::purpose(batch.set)?, batch.trial);
            // The stream repeats after 2⁶⁴ blocks, here and on the host.
            let block = batch.step.wrapping_mul(WORDS_PER_STEP as u64 / CHACHA_WORDS as u64);
            let slots = (0..self.toy.edges).flat_map(|edge| proposal.slots(edge));
            let slots = slots.map(|(candidate, weight)| (candidate, weight as f32));
            self.kinds[place].asks.push(trial, stream, block, slots)?;
        }
        let sums = sizes(self.toy, self.trials.len(), kind.slots(&self.toy)).sums(kind.sums(&self.toy).rows());
        let asked = &mut self.kinds[place];
        asked.asks.upload()?;
        asked.graph.launch()?;
        let answers = &mut asked.host_answers[..now.len() * sums];
        asked.answers.read(answers).map_err(|error| asked.graph.blame(error))?;
        for (&index, sums) in now.iter().zip(answers.chunks_exact(sums)) {
            take(index, &Answer { want: kind.want, batch: self.toy.batch as f64, edges: self.toy.edges, sums });
        }
        Ok(())
    }

    /// The graph of a kind, recorded if there is none yet.
    fn asked(&mut self, kind: Kind) -> Result<usize> {
        if let Some(place) = self.kinds.iter().position(|asked| asked.kind == kind) {
            return Ok(place);
        }
        let device = &self.device;
        let sizes = sizes(self.toy, self.trials.len(), kind.slots(&self.toy));
        let sums = kind.sums(&self.toy);
        let count = sizes.requests * sizes.sums(sums.rows());
        let asks = Asks::new(device, sizes)?;
        let slopes_count = if kind.slopes() == Slopes::None { 0 } else { sizes.slopes() };
        let mut slopes = device.zeros("slopes", slopes_count)?;
        let mut answers = device.zeros("answers", count)?;
        let (kernels, images, shares) = (&self.kernels, &mut self.images, &mut self.shares);
        let fast = Version::Fast;
        let graph = device.record(kernels.describe(&format!("toy, {}", kind.activity.name())), || {
            let (key, asks, weights, wanted) = (&self.key, &asks, &self.weights, kind.slopes());
            Images { key, asks, images }.launch(kernels, fast)?;
            Edges { asks, weights, wanted, images, shares, slopes: &mut slopes }.launch(kernels, fast)?;
            Answers { asks, sums, shares, slopes: &slopes, answers: &mut answers }.launch(kernels, fast)
        })?;
        let host_answers = vec![0.0; count];
        self.kinds.push(Asked { kind, graph, asks, answers, host_answers, _slopes: slopes });
        Ok(self.kinds.len() - 1)
    }
}

fn sizes(toy: Toy, trials: usize, slots: usize) -> Sizes {
    Sizes { toy, trials, requests: trials, slots }
}

impl Kind {
    /// Pairs (candidate, weight) of an edge of the network.
    fn slots(self, toy: &Toy) -> usize {
        self.activity.slots(toy.candidates)
    }

    fn slopes(self) -> Slopes {
        match (self.want, self.activity) {
            (Want::Loss | Want::Removals, _) => Slopes::None,
            (Want::Gradient | Want::GradientWithUnitOutputs, Activity::One) => Slopes::OfOne,
            (Want::Gradient | Want::GradientWithUnitOutputs, Activity::Two | Activity::All) => Slopes::OfSeveral,
        }
    }

    fn sums(self, toy: &Toy) -> Sums {
        match self.want {
            Want::Loss => Sums::Slopes(0),
            Want::Gradient => Sums::Slopes(self.slots(toy)),
            Want::GradientWithUnitOutputs => Sums::Slopes(self.slots(toy) + 1),
            Want::Removals => Sums::Removals,
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
struct Question<'a> {
    batch: &'a Batch,
    proposal: &'a Proposal,
    want: Want,
}

impl Question<'_> {
    fn kind(&self) -> Kind {
        Kind { activity: self.proposal.activity(), want: self.want }
    }
}

/// Its sums over the batch.
#[derive(Clone, Copy, Debug)]
struct Answer<'a> {
    want: Want,
    batch: f64,
    edges: usize,
    sums: &'a [f64],
}

impl Answer<'_> {
    fn loss(&self) -> f64 {
        self.sums[0] / self.batch
    }

    fn write(&self, proposal: &Proposal, feedback: &mut Feedback) {
        feedback.begin(proposal.want());
        feedback.loss = self.loss();
        if self.want == Want::Loss {
            return;
        }
        let slope = |sum: f64| 2.0 / self.batch * sum;
        let of_edges = &self.sums[1..];
        for (edge, sums) in of_edges.chunks_exact(of_edges.len() / self.edges).enumerate() {
            if self.want == Want::Removals {
                feedback.removals[edge] = sums[0] / self.batch;
                continue;
            }
            if let (Want::GradientWithUnitOutputs, Some(unit)) = (self.want, sums.last()) {
                feedback.gradient.edge_mut(edge).fill(slope(*unit));
            }
            for ((candidate, _), sum) in proposal.slots(edge).zip(sums) {
                feedback.gradient[(edge, candidate)] = slope(*sum);
            }
        }
    }
}

impl Supernet for ToySupernet {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> advantage_nas::Result<()> {
        expect_feedback(&self.space, requests, feedback)?;
        let mut questions = Vec::with_capacity(requests.len());
        for Request { batch, proposal } in requests {
            self.space.shape().expect("proposal", proposal.shape())?;
            questions.push(Question { batch, proposal, want: proposal.want() });
        }
        self.answer(&questions, |index, answer| answer.write(&requests[index].proposal, &mut feedback[index]))?;
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> advantage_nas::Result<Evaluation> {
        let [evaluation] = self.evaluate_all(std::slice::from_ref(request))?[..] else {
            unreachable!("one answer per request");
        };
        Ok(evaluation)
    }

    fn save(&mut self, _trial: u32) -> advantage_nas::Result<State> {
        // The weights are fixed and drawn from the seed.
        Ok(State::new())
    }

    fn restore(&mut self, _trial: u32, _state: &State) -> advantage_nas::Result<()> {
        Ok(())
    }

    fn evaluate_all(&mut self, requests: &[Request]) -> advantage_nas::Result<Vec<Evaluation>> {
        let mut questions = Vec::with_capacity(requests.len());
        for Request { batch, proposal } in requests {
            self.space.shape().expect("proposal", proposal.shape())?;
            questions.push(Question { batch, proposal, want: Want::Loss });
        }
        let count = self.toy.batch as u64;
        let mut evaluations = vec![Evaluation { loss: 0.0, accuracy: None, count }; requests.len()];
        self.answer(&questions, |index, answer| evaluations[index].loss = answer.loss())?;
        Ok(evaluations)
    }
}
