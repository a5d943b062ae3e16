//! One supernet that answers the searches of many trials, each on a thread of its own: it waits until every search has
//! asked, and answers together what can be. So one launch serves all trials, while pausing, files and strategies stay
//! with the searches.
//!
//! Of what the searches have asked, one kind is answered at a time: evaluations first, then probes, then weight steps.
//! Searches that are out of step, because one has paused to evaluate or was resumed elsewhere, so come into step again.
//! Losses of weight steps, saving and restoring are answered at once; nobody waits for them.
//!
//! What a search is answered does not depend on which others asked at the same time, and requests are put together in
//! the order of the seats, so that nothing depends on the threads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use advantage_nas::state::State;
use advantage_nas::strategy::{Activity, Feedback, Step};
use advantage_nas::supernet::{Evaluation, Fetch, Request, expect_feedback};
use advantage_nas::{Error, Result, SearchSpace, Supernet};

/// The thread that a supernet lives on; it ends with the last seat, and whoever drops that waits until the supernet is gone: the memory of
/// its device is free for another one then.
#[derive(Debug)]
pub struct Table {
    server: Arc<Serving>,
    facts: Facts,
}

/// The way to a supernet's thread.
#[derive(Debug)]
struct Serving {
    /// Gone before the thread is waited for, which ends without it.
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn send(&self, message: Message) -> Result<()> {
        self.sender.as_ref().and_then(|sender| sender.send(message).ok()).ok_or_else(gone)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            // A supernet that panicked was reported to whoever asked it.
            let _ = thread.join();
        }
    }
}

/// The place of one search at a [`Table`]: a supernet like any other, which has one trial.
///
/// While it is held, the others wait for it to ask: drop it when the search is over.
#[derive(Debug)]
pub struct Seat {
    server: Arc<Serving>,
    replies: Receiver<Result<Reply>>,
    facts: Facts,
    number: usize,
    trial: u32,
}

/// What is known of a supernet without asking it.
#[derive(Clone, Debug)]
struct Facts {
    space: SearchSpace,
    activity: Activity,
    trains_weights: bool,
}

enum Message {
    /// A search of a trial sits down.
    Sits(u32, Sender<Result<Reply>>, Sender<Result<usize>>),
    Leaves(usize),
    Asks(usize, Question),
}

enum Question {
    Evaluate(Vec<Request>),
    Probe(Vec<Request>, Vec<Feedback>),
    WeightStep(Vec<Step>, Vec<Request>),
    WeightLosses(Fetch),
    Save,
    Restore(Box<State>),
}

enum Reply {
    Evaluations(Vec<Evaluation>),
    Feedback(Vec<Feedback>),
    /// So many updates are done.
    Stepped(usize),
    Losses(Vec<f64>),
    State(Box<State>),
    Restored,
}

/// The questions that wait for the other searches, in the order in which they are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Evaluate,
    Probe,
    WeightStep,
}

impl Question {
    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Evaluate(_) => Some(Kind::Evaluate),
            Self::Probe(..) => Some(Kind::Probe),
            Self::WeightStep(..) => Some(Kind::WeightStep),
            Self::WeightLosses(_) | Self::Save | Self::Restore(_) => None,
        }
    }

    fn requests(&self) -> &[Request] {
        match self {
            Self::Evaluate(requests) | Self::Probe(requests, _) | Self::WeightStep(_, requests) => requests,
            Self::WeightLosses(_) | Self::Save | Self::Restore(_) => &[],
        }
    }
}

impl Table {
    /// Builds a supernet on a thread of its own.
    ///
    /// # Errors
    /// Those of `build`.
    pub fn new<S: Supernet>(build: impl FnOnce() -> Result<S> + Send + 'static) -> Result<Self> {
        let (sender, receiver) = channel();
        let (built, facts) = channel();
        let serve = move || match build() {
            Err(error) => drop(built.send(Err(error))),
            Ok(supernet) => {
                let (space, activity) = (supernet.space().clone(), supernet.activity());
                let facts = Facts { space, activity, trains_weights: supernet.trains_weights() };
                if built.send(Ok(facts)).is_ok() {
                    Server { supernet, seats: BTreeMap::new(), number: 0, moved: BTreeSet::new() }.serve(&receiver);
                }
            }
        };
        let thread = thread::Builder::new().name("supernet".to_owned()).spawn(serve).map_err(Error::other)?;
        let server = Arc::new(Serving { sender: Some(sender), thread: Some(thread) });
        let facts = facts.recv().map_err(|_| gone())??;
        Ok(Self { server, facts })
    }

    /// A place for the search of a trial. Seats are taken one after the other, before the searches begin, where requests
    /// of several searches are to be put together in an order that is known.
    ///
    /// # Errors
    /// [`Error::Setting`] for a trial of a network that trains if a search of that trial sits there already; if the
    /// supernet's thread has ended.
    pub fn seat(&self, trial: u32) -> Result<Seat> {
        let (reply, replies) = channel();
        let (sits, number) = channel();
        self.server.send(Message::Sits(trial, reply, sits))?;
        let number = number.recv().map_err(|_| gone())??;
        Ok(Seat { server: self.server.clone(), replies, facts: self.facts.clone(), number, trial })
    }
}

fn gone() -> Error {
    Error::Unsupported { operation: "answer", reason: "its thread has ended" }
}

/// What a search is told whose supernet left something out.
fn incomplete(what: &'static str, expected: usize, got: usize) -> Error {
    Error::Length { what, expected, got }
}

/// What the searches at a table are, for their supernet.
struct Server<S> {
    supernet: S,
    /// By number, in the order in which they sat down.
    seats: BTreeMap<usize, Place>,
    /// Of the next seat.
    number: usize,
    /// Trials whose network is no longer as it was built: a search that sits down must restore its own state first.
    moved: BTreeSet<u32>,
}

struct Place {
    trial: u32,
    replies: Sender<Result<Reply>>,
    /// What waits for the others.
    question: Option<Question>,
    /// Weight steps whose losses were not fetched yet.
    owed: usize,
    /// The network is that of another search, which has left.
    stale: bool,
}

/// A loss that no supernet computes: a NaN that says something.
const UNANSWERED: f64 = f64::from_bits(0x7ff8_0000_0a5c_ed00);

impl<S: Supernet> Server<S> {
    /// Answers until the table and all seats are gone.
    fn serve(&mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            match message {
                Message::Sits(trial, replies, sits) => {
                    let _ = sits.send(self.sit(trial, replies));
                }
                Message::Leaves(seat) => drop(self.seats.remove(&seat)),
                Message::Asks(seat, question) => self.ask(seat, question),
            }
            while !self.seats.is_empty() && self.seats.values().all(|place| place.question.is_some()) {
                self.answer_one_kind();
            }
        }
    }

    fn sit(&mut self, trial: u32, replies: Sender<Result<Reply>>) -> Result<usize> {
        if self.supernet.trains_weights() && self.seats.values().any(|place| place.trial == trial) {
            let (name, got) = ("the trials of the searches that share a network", format!("{trial} twice"));
            return Err(Error::Setting { name, expected: "distinct where it trains", got });
        }
        let stale = self.moved.contains(&trial);
        self.seats.insert(self.number, Place { trial, replies, question: None, owed: 0, stale });
        self.number += 1;
        Ok(self.number - 1)
    }

    fn ask(&mut self, seat: usize, question: Question) {
        let place = self.seats.get_mut(&seat).expect("who asks sits");
        let trial = place.trial;
        let result = match question {
            Question::Probe(..) | Question::WeightStep(..) if place.stale => {
                let reason = "its network is that of a search that has left: restore a state first";
                Err(Error::Unsupported { operation: "go on with the trial", reason })
            }
            Question::Evaluate(_) | Question::Probe(..) | Question::WeightStep(..) => {
                place.question = Some(question);
                return;
            }
            Question::WeightLosses(fetch) => {
                let mut losses = Vec::new();
                let fetched = self.supernet.weight_losses(trial, fetch, &mut losses);
                fetched.and_then(|()| place.expect_losses(fetch, losses.len())).map(|()| Reply::Losses(losses))
            }
            Question::Save => self.supernet.save(trial).map(|state| Reply::State(Box::new(state))),
            Question::Restore(state) => self.supernet.restore(trial, &state).map(|()| {
                (place.stale, place.owed) = (false, 0);
                if self.supernet.trains_weights() {
                    self.moved.insert(trial);
                }
                Reply::Restored
            }),
        };
        place.reply(result);
    }

    /// Answers the first kind of question of those that are asked.
    fn answer_one_kind(&mut self) {
        let kind = |place: &Place| place.question.as_ref().and_then(Question::kind);
        let Some(first) = self.seats.values().filter_map(kind).min() else { return };
        let mut asked: Vec<(usize, Question)> = Vec::new();
        for (&seat, place) in &mut self.seats {
            if kind(place) == Some(first) {
                asked.extend(place.question.take().map(|question| (seat, question)));
            }
        }
        // Supernets work together on requests of a kind that stand together; the order of the seats is kept.
        asked.sort_by_key(|(_, question)| {
            question.requests().first().map(|Request { proposal, .. }| (proposal.activity(), proposal.want() as usize))
        });
        if first != Kind::Evaluate && self.supernet.trains_weights() {
            self.moved.extend(asked.iter().filter_map(|(seat, _)| self.seats.get(seat)).map(|place| place.trial));
        }
        let (seats, questions): (Vec<usize>, Vec<Question>) = asked.into_iter().unzip();
        let replies = match first {
            Kind::Evaluate => self.evaluate(&questions),
            Kind::Probe => self.probe(questions),
            Kind::WeightStep => self.weight_step(&questions),
        };
        assert_eq!(replies.len(), seats.len(), "one reply per question");
        for (seat, reply) in seats.into_iter().zip(replies) {
            let place = self.seats.get_mut(&seat).expect("who asked still sits");
            if let Ok(Reply::Stepped(steps)) = reply {
                place.owed += steps;
            }
            place.reply(reply);
        }
    }

    /// One reply per question, of all questions together; one by one if there is an error, so that it goes to whoever
    /// caused it: a supernet refuses requests before it changes anything.
    fn evaluate(&mut self, questions: &[Question]) -> Vec<Result<Reply>> {
        const WHAT: &str = "evaluations by the supernet that searches share";
        let requests: Vec<Request> = questions.iter().flat_map(Question::requests).cloned().collect();
        match self.supernet.evaluate_all(&requests) {
            Ok(evaluations) if evaluations.len() != requests.len() => {
                let error = |_: &Question| Err(incomplete(WHAT, requests.len(), evaluations.len()));
                questions.iter().map(error).collect()
            }
            Ok(evaluations) => {
                let mut rest = evaluations.into_iter();
                let mine = |question: &Question| rest.by_ref().take(question.requests().len()).collect();
                questions.iter().map(mine).map(|mine| Ok(Reply::Evaluations(mine))).collect()
            }
            Err(error) if questions.len() == 1 => vec![Err(error)],
            Err(_) => questions.chunks(1).flat_map(|question| self.evaluate(question)).collect(),
        }
    }

    fn probe(&mut self, questions: Vec<Question>) -> Vec<Result<Reply>> {
        const WHAT: &str = "feedback by the supernet that searches share";
        let (mut requests, mut feedback, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for question in questions {
            let Question::Probe(mut mine, mut mine_feedback) = question else { unreachable!("all of one kind") };
            counts.push(mine.len());
            requests.append(&mut mine);
            feedback.append(&mut mine_feedback);
        }
        feedback.iter_mut().for_each(|feedback| feedback.loss = UNANSWERED);
        match self.supernet.probe(&requests, &mut feedback) {
            Ok(()) => {
                let answered = |feedback: &&Feedback| feedback.loss.to_bits() != UNANSWERED.to_bits();
                let got = feedback.iter().filter(answered).count();
                if got != requests.len() {
                    return counts.iter().map(|_| Err(incomplete(WHAT, requests.len(), got))).collect();
                }
                counts.into_iter().map(|count| Ok(Reply::Feedback(feedback.drain(..count).collect()))).collect()
            }
            Err(error) if counts.len() == 1 => vec![Err(error)],
            Err(_) => {
                let mut alone = |count: usize| {
                    let question =
                        Question::Probe(requests.drain(..count).collect(), feedback.drain(..count).collect());
                    self.probe(vec![question])
                };
                counts.into_iter().flat_map(&mut alone).collect()
            }
        }
    }

    fn weight_step(&mut self, questions: &[Question]) -> Vec<Result<Reply>> {
        let (mut steps, mut requests) = (Vec::new(), Vec::new());
        for question in questions {
            let Question::WeightStep(mine, mine_requests) = question else { unreachable!("all of one kind") };
            steps.extend_from_slice(mine);
            requests.extend_from_slice(mine_requests);
        }
        match self.supernet.weight_step(&steps, &requests) {
            Ok(()) => questions.iter().map(|question| Ok(Reply::Stepped(question.requests().len()))).collect(),
            Err(error) if questions.len() == 1 => vec![Err(error)],
            Err(_) => questions.chunks(1).flat_map(|question| self.weight_step(question)).collect(),
        }
    }
}

impl Place {
    /// A search that is no longer there to hear its answer is no failure.
    fn reply(&self, reply: Result<Reply>) {
        let _ = self.replies.send(reply);
    }

    /// Settles losses that were fetched.
    fn expect_losses(&mut self, fetch: Fetch, got: usize) -> Result<()> {
        if got > self.owed || fetch == Fetch::All && got < self.owed {
            return Err(incomplete("losses of weight steps by the supernet that searches share", self.owed, got));
        }
        self.owed -= got;
        Ok(())
    }
}

impl Seat {
    fn ask(&self, question: Question) -> Result<Reply> {
        self.server.send(Message::Asks(self.number, question))?;
        self.replies.recv().map_err(|_| gone())?
    }

    fn expect(&self, trials: impl IntoIterator<Item = u32>) -> Result<()> {
        if trials.into_iter().all(|trial| trial == self.trial) {
            return Ok(());
        }
        let reason = "a seat is that of one search, which has one trial";
        Err(Error::Unsupported { operation: "answer for another trial", reason })
    }

    fn expect_trial(&self, requests: &[Request]) -> Result<()> {
        self.expect(requests.iter().map(|request| request.batch.trial))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.server.send(Message::Leaves(self.number));
    }
}

/// What a seat is replied is what it asked for.
macro_rules! expect_reply {
    ($reply:expr, $pattern:pat => $value:expr) => {
        match $reply {
            $pattern => $value,
            _ => unreachable!("another question was answered"),
        }
    };
}

impl Supernet for Seat {
    fn space(&self) -> &SearchSpace {
        &self.facts.space
    }

    fn activity(&self) -> Activity {
        self.facts.activity
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        expect_feedback(&self.facts.space, requests, feedback)?;
        self.expect_trial(requests)?;
        let reply = self.ask(Question::Probe(requests.to_vec(), feedback.to_vec()))?;
        let answers = expect_reply!(reply, Reply::Feedback(answers) => answers);
        for (feedback, answer) in feedback.iter_mut().zip(answers) {
            *feedback = answer;
        }
        Ok(())
    }

    fn trains_weights(&self) -> bool {
        self.facts.trains_weights
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        self.expect_trial(requests)?;
        self.ask(Question::WeightStep(steps.to_vec(), requests.to_vec())).map(drop)
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        self.expect([trial])?;
        let reply = self.ask(Question::WeightLosses(fetch))?;
        losses.append(&mut expect_reply!(reply, Reply::Losses(fetched) => fetched));
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let evaluations = self.evaluate_all(std::slice::from_ref(request))?;
        evaluations.first().copied().ok_or_else(gone)
    }

    fn evaluate_all(&mut self, requests: &[Request]) -> Result<Vec<Evaluation>> {
        self.expect_trial(requests)?;
        let reply = self.ask(Question::Evaluate(requests.to_vec()))?;
        Ok(expect_reply!(reply, Reply::Evaluations(evaluations) => evaluations))
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        self.expect([trial])?;
        let reply = self.ask(Question::Save)?;
        Ok(expect_reply!(reply, Reply::State(state) => *state))
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        self.expect([trial])?;
        self.ask(Question::Restore(Box::new(state.clone()))).map(drop)
    }
}
