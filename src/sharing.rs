//! One harness for all supernets that train their weights: a network says what it does with minibatches, [`WeightSharing`] makes a
//! supernet of it. Questions, removals, losses that are fetched later, and saved state are here and nowhere else.

use crate::error::{Error, Result};
use crate::network::{Parameter, Part};
use crate::space::{OpTable, SearchSpace};
use crate::state::{Entry, Number, State};
use crate::strategy::{Activity, Feedback, Proposal, Step, Want};
use crate::supernet::{Evaluation, Fetch, Request, Set, Supernet, expect_feedback, find_trial};

/// What one pass computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pass {
    /// The edge whose operation's output is left out, Eq. (6).
    pub without: Option<usize>,
    /// Whether the gradients of the weights are computed. Running statistics take part in such a pass and in no other.
    pub weights: bool,
    /// Whether `∂loss/∂a` of the active candidates is computed.
    pub edges: bool,
    /// Whether `∂loss/∂a` of inactive candidates is computed too, as if their outputs were all ones.
    pub unit_outputs: bool,
}

impl Pass {
    /// What answers a question, before any edge is left out.
    #[must_use]
    pub fn of(want: Want) -> Self {
        let unit_outputs = want == Want::GradientWithUnitOutputs;
        Self { edges: want == Want::Gradient || unit_outputs, unit_outputs, ..Self::default() }
    }
}

/// Whether a network computes in single or in double precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// `f32`
    Single,
    /// `f64`
    Double,
}

/// What a network does whose weights are trained: the part of a supernet that differs from network to network, and from backend to
/// backend. [`WeightSharing`] is the rest.
///
/// The network has the weights of one trial or several, and works on the minibatches of as many of them together as it has *lanes*.
/// After [`load`](Network::load) of some requests, lane `i` has the minibatch of request `i`, and the state before it where one is
/// carried from minibatch to minibatch. Any number of passes over what is loaded may follow, each of which starts from that state.
pub trait Network {
    /// The search space.
    fn space(&self) -> &SearchSpace;

    /// The most candidates of an edge that a pass can evaluate.
    fn activity(&self) -> Activity;

    /// The trials that it was built for.
    fn trials(&self) -> &[u32];

    /// How many requests of distinct trials are worked on together.
    fn lanes(&self) -> usize {
        1
    }

    /// What is trained, the same in every trial.
    fn parameters(&self) -> &[Parameter];

    /// Which numbers of the parameters are saved.
    fn saved_parts(&self) -> &'static [Part];

    /// Of which type saved numbers are.
    fn precision(&self) -> Precision;

    /// Loads the minibatches of requests of distinct trials, at most as many as there are lanes.
    ///
    /// # Errors
    /// What the data or the backend report.
    fn load(&mut self, requests: &[Request]) -> Result<()>;

    /// A pass of the requests' proposals over what is loaded, forward and as far back as it is wanted. Their losses are appended to those that
    /// [`Network::losses`] fetches.
    ///
    /// # Errors
    /// What the backend reports.
    fn pass(&mut self, requests: &[Request], pass: Pass) -> Result<()>;

    /// Appends the losses of passes that were not fetched yet, pass after pass and lane after lane; once they are handed over, they are
    /// forgotten. A device need not wait for those that are not [ready](Fetch::Ready).
    ///
    /// # Errors
    /// What the backend reports.
    fn losses(&mut self, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()>;

    /// `∂loss/∂a` of a lane in the last pass, `[edges, candidates]`; zero for inactive candidates, unless unit outputs were wanted.
    ///
    /// # Errors
    /// What the backend reports.
    fn edge_gradient(&mut self, lane: usize, proposal: &Proposal, gradient: &mut OpTable<f64>) -> Result<()>;

    /// The carried state goes on: that after the last pass comes before the next minibatch. Nothing where none is carried.
    ///
    /// # Errors
    /// What the backend reports.
    fn advance(&mut self) -> Result<()> {
        Ok(())
    }

    /// Learning rate at a place of the schedule, see [`Step::schedule`].
    fn rate(&self, schedule: f64) -> f64;

    /// Updates the weights that took part in the last pass by its gradients, with a learning rate for every lane.
    ///
    /// # Errors
    /// What the backend reports.
    fn update(&mut self, rates: &[f64]) -> Result<()>;

    /// Norm of a lane's gradient in the last update, before it was clipped.
    ///
    /// # Errors
    /// What the backend reports.
    fn gradient_norm(&mut self, lane: usize) -> Result<f64>;

    /// As [`Supernet::evaluate`]; what is loaded may be lost.
    ///
    /// # Errors
    /// As there.
    fn evaluate(&mut self, request: &Request) -> Result<Evaluation>;

    /// Numbers of a parameter, as an array of its shape.
    ///
    /// # Errors
    /// What the backend reports.
    fn read(&mut self, trial: u32, parameter: usize, part: Part) -> Result<Entry>;

    /// Overwrites numbers of a parameter; `values` has its shape and the network's [precision](Network::precision).
    ///
    /// # Errors
    /// What the backend reports.
    fn write(&mut self, trial: u32, parameter: usize, part: Part, values: &Entry) -> Result<()>;

    /// Saves what a trial has beside its parameters, such as running statistics and a carried state.
    ///
    /// # Errors
    /// What the backend reports.
    fn save_rest(&mut self, trial: u32, state: &mut State) -> Result<()>;

    /// Restores what [`Network::save_rest`] saved.
    ///
    /// # Errors
    /// [`Error::State`] if something is missing or does not fit; nothing is changed then.
    fn restore_rest(&mut self, trial: u32, state: &State) -> Result<()>;
}

/// What a forward and backward pass say.
#[derive(Clone, Debug, PartialEq)]
pub struct Passed {
    /// The loss.
    pub loss: f64,
    /// `∂loss/∂a`, `[edges, candidates]`, zero for inactive candidates.
    pub edge_gradient: OpTable<f64>,
}

/// The supernet of a [`Network`].
#[derive(Debug)]
pub struct WeightSharing<N> {
    network: N,
    /// Trials of the weight steps whose losses the network still has, in the order of the steps.
    owed: Vec<u32>,
    /// Losses of weight steps that nobody fetched yet, of every trial of the network.
    unseen: Vec<Vec<f64>>,
    /// Losses that the network just handed over; kept for its room.
    fetched: Vec<f64>,
    rates: Vec<f64>,
}

impl<N: Network> WeightSharing<N> {
    /// The supernet of a network.
    #[must_use]
    pub fn new(network: N) -> Self {
        let unseen = vec![Vec::new(); network.trials().len()];
        Self { network, owed: Vec::new(), unseen, fetched: Vec::new(), rates: Vec::new() }
    }

    /// The network.
    #[must_use]
    pub fn network(&self) -> &N {
        &self.network
    }

    /// The network, to look into it or to change what the harness knows nothing of.
    pub fn network_mut(&mut self) -> &mut N {
        &mut self.network
    }

    /// The network alone.
    #[must_use]
    pub fn into_network(self) -> N {
        self.network
    }

    /// Numbers of a parameter, as an array of its shape.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial; [`Error::Length`] if there is no such parameter.
    pub fn parameter(&mut self, trial: u32, index: usize, part: Part) -> Result<Entry> {
        self.find(trial)?;
        self.expect_parameter(index)?;
        self.network.read(trial, index, part)
    }

    /// Overwrites numbers of a parameter.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for another trial, [`Error::Length`] if there is no such parameter, [`Error::State`] for values of another shape or
    /// type.
    pub fn set_parameter(&mut self, trial: u32, index: usize, part: Part, values: &Entry) -> Result<()> {
        self.find(trial)?;
        self.expect_parameter(index)?;
        let Parameter { name, shape, .. } = &self.network.parameters()[index];
        expect_entry(name, values, shape, self.network.precision())?;
        self.network.write(trial, index, part, values)
    }

    /// Forward and backward pass of a request, whatever it wants, as in a weight step. The gradients of the weights are then
    /// [`Part::Gradient`].
    ///
    /// # Errors
    /// As [`Supernet::weight_step`].
    pub fn pass(&mut self, request: &Request) -> Result<Passed> {
        self.expect_drawn(std::slice::from_ref(request))?;
        self.network.load(std::slice::from_ref(request))?;
        self.network.pass(std::slice::from_ref(request), Pass { weights: true, edges: true, ..Pass::default() })?;
        self.fetch(Fetch::All, 1)?;
        let mut edge_gradient = OpTable::filled(request.proposal.shape(), 0.0);
        self.network.edge_gradient(0, &request.proposal, &mut edge_gradient)?;
        self.network.advance()?;
        Ok(Passed { loss: self.fetched[0], edge_gradient })
    }

    /// Updates the weights that took part in the last [`pass`](WeightSharing::pass); returns the norm of the gradient before it was clipped.
    ///
    /// # Errors
    /// What the backend reports.
    pub fn update(&mut self, rate: f64) -> Result<f64> {
        self.network.update(&[rate])?;
        self.network.gradient_norm(0)
    }

    /// The place of a trial among the network's.
    fn find(&self, trial: u32) -> Result<usize> {
        find_trial(self.network.trials(), trial)
    }

    fn expect_parameter(&self, index: usize) -> Result<()> {
        let parameters = self.network.parameters().len();
        if index < parameters {
            return Ok(());
        }
        Err(Error::Length { what: "parameters, for the one asked for", expected: index + 1, got: parameters })
    }

    /// Checks trials, search spaces and numbers of active candidates.
    fn expect(&self, requests: &[Request]) -> Result<()> {
        for request in requests {
            self.find(request.batch.trial)?;
            self.space().shape().expect("proposal", request.proposal.shape())?;
            if request.proposal.activity() > self.network.activity() {
                let reason = "its memory was planned for fewer";
                return Err(Error::Unsupported { operation: "evaluate so many candidates of an edge at once", reason });
            }
        }
        Ok(())
    }

    /// Checks requests for minibatches.
    fn expect_drawn(&self, requests: &[Request]) -> Result<()> {
        self.expect(requests)?;
        if requests.iter().any(|request| request.batch.set == Set::Test) {
            let reason = "it is evaluated as a whole";
            return Err(Error::Unsupported { operation: "draw minibatches of the test set", reason });
        }
        Ok(())
    }

    /// Takes what the network hands over. What weight steps owe is put aside, so that the losses of `passes` that were just done are left in
    /// `fetched`.
    fn fetch(&mut self, fetch: Fetch, passes: usize) -> Result<()> {
        self.fetched.clear();
        self.network.losses(fetch, &mut self.fetched)?;
        let (expected, got) = (self.owed.len() + passes, self.fetched.len());
        if got > expected || fetch == Fetch::All && got < expected {
            return Err(Error::Length { what: "losses of a network's passes", expected, got });
        }
        let settled = got.min(self.owed.len());
        for (trial, loss) in self.owed.drain(..settled).zip(self.fetched.drain(..settled)) {
            self.unseen[find_trial(self.network.trials(), trial)?].push(loss);
        }
        Ok(())
    }

    /// How many requests from the `begin`-th on are worked on together: those of distinct trials that are of the same kind, each the only one
    /// about its minibatch.
    fn together<K: PartialEq>(&self, requests: &[Request], begin: usize, kind: impl Fn(&Request) -> K) -> usize {
        let only = |index: usize| {
            !requests[..index].iter().chain(&requests[index + 1..]).any(|other| other.batch == requests[index].batch)
        };
        let fits = |end: &usize| {
            let (request, others) = (&requests[*end], &requests[begin..*end]);
            kind(request) == kind(&requests[begin])
                && others.iter().all(|other| other.batch.trial != request.batch.trial)
                && only(*end)
        };
        let most = requests.len().min(begin + self.network.lanes());
        if only(begin) { (begin + 1..most).take_while(fits).count() + 1 } else { 1 }
    }

    /// Answers requests about what is loaded; the first ones since it was loaded take the carried state with them.
    fn answer(&mut self, requests: &[Request], feedback: &mut [Feedback], first: bool) -> Result<()> {
        let want = requests[0].proposal.want();
        self.network.pass(requests, Pass::of(want))?;
        self.fetch(Fetch::All, requests.len())?;
        for (feedback, loss) in feedback.iter_mut().zip(&self.fetched) {
            feedback.begin(want);
            feedback.loss = *loss;
        }
        if Pass::of(want).edges {
            for (lane, (request, feedback)) in requests.iter().zip(&mut *feedback).enumerate() {
                self.network.edge_gradient(lane, &request.proposal, &mut feedback.gradient)?;
            }
        }
        if first {
            self.network.advance()?;
        }
        if want == Want::Removals {
            for edge in 0..self.space().shape().edges() {
                self.network.pass(requests, Pass { without: Some(edge), ..Pass::default() })?;
                self.fetch(Fetch::All, requests.len())?;
                for (feedback, loss) in feedback.iter_mut().zip(&self.fetched) {
                    feedback.removals[edge] = *loss;
                }
            }
        }
        Ok(())
    }
}

impl<N: Network> Supernet for WeightSharing<N> {
    fn space(&self) -> &SearchSpace {
        self.network.space()
    }

    fn activity(&self) -> Activity {
        self.network.activity()
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        expect_feedback(self.space(), requests, feedback)?;
        self.expect_drawn(requests)?;
        let kind = |request: &Request| (request.proposal.want(), request.proposal.activity());
        let mut begin = 0;
        while begin < requests.len() {
            let (batch, end) = (&requests[begin].batch, begin + self.together(requests, begin, kind));
            if requests[..begin].iter().all(|earlier| earlier.batch != *batch) {
                self.network.load(&requests[begin..end])?;
                self.answer(&requests[begin..end], &mut feedback[begin..end], true)?;
                // More about the same minibatch, from the same state.
                for again in (end..requests.len()).filter(|&again| requests[again].batch == *batch) {
                    self.answer(&requests[again..=again], &mut feedback[again..=again], false)?;
                }
            }
            begin = end;
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
        self.expect_drawn(requests)?;
        for (index, request) in requests.iter().enumerate() {
            if requests[..index].iter().any(|other| other.batch.trial == request.batch.trial) {
                let got = format!("{} twice", request.batch.trial);
                return Err(Error::Setting { name: "the trials of a weight step", expected: "distinct", got });
            }
        }
        let mut begin = 0;
        while begin < requests.len() {
            // Whatever they want.
            let end = begin + self.together(requests, begin, |request| request.proposal.activity());
            let now = &requests[begin..end];
            self.network.load(now)?;
            self.network.pass(now, Pass { weights: true, ..Pass::default() })?;
            self.owed.extend(now.iter().map(|request| request.batch.trial));
            self.network.advance()?;
            self.rates.clear();
            self.rates.extend(steps[begin..end].iter().map(|step| self.network.rate(step.schedule)));
            self.network.update(&self.rates)?;
            begin = end;
        }
        Ok(())
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        let place = self.find(trial)?;
        self.fetch(fetch, 0)?;
        losses.append(&mut self.unseen[place]);
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        self.expect(std::slice::from_ref(request))?;
        // An evaluation's own passes must not come between losses that are still owed.
        self.fetch(Fetch::All, 0)?;
        self.network.evaluate(request)
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        self.find(trial)?;
        let mut state = State::new();
        for index in 0..self.network.parameters().len() {
            for &part in self.network.saved_parts() {
                let name = entry_name(&self.network.parameters()[index].name, part);
                state.insert(name, self.network.read(trial, index, part)?);
            }
        }
        self.network.save_rest(trial, &mut state)?;
        Ok(state)
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        let place = self.find(trial)?;
        // Everything is looked at before anything is changed.
        for Parameter { name, shape, .. } in self.network.parameters() {
            for &part in self.network.saved_parts() {
                let name = entry_name(name, part);
                expect_entry(&name, state.get(&name)?, shape, self.network.precision())?;
            }
        }
        self.fetch(Fetch::All, 0)?;
        self.network.restore_rest(trial, state)?;
        self.unseen[place].clear();
        for index in 0..self.network.parameters().len() {
            for &part in self.network.saved_parts() {
                let name = entry_name(&self.network.parameters()[index].name, part);
                self.network.write(trial, index, part, state.get(&name)?)?;
            }
        }
        Ok(())
    }
}

/// Name of saved numbers of a parameter.
fn entry_name(parameter: &str, part: Part) -> String {
    format!("{parameter}{}", part.suffix())
}

/// Checks type and shape of an entry.
fn expect_entry(name: &str, entry: &Entry, shape: &[usize], precision: Precision) -> Result<()> {
    let expected = match precision {
        Precision::Single => f32::NAME,
        Precision::Double => f64::NAME,
    };
    let problem = if entry.dtype() != expected {
        format!("holds {}, expected {expected}", entry.dtype())
    } else if entry.shape() != shape {
        format!("has shape {:?}, expected {shape:?}", entry.shape())
    } else {
        return Ok(());
    };
    Err(Error::State { name: name.to_owned(), problem })
}
