//! One supernet that answers the searches of many trials, each on a thread of its own: it waits until every search has
//! asked, and answers all of them at once. So one launch serves all trials, while pausing, files and strategies stay
//! with the searches.
//!
//! What a search is answered does not depend on which others asked at the same time, so that nothing depends on the
//! threads.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use advantage_nas::state::State;
use advantage_nas::strategy::Feedback;
use advantage_nas::supernet::{Evaluation, Request};
use advantage_nas::{Error, Result, SearchSpace, Supernet};

/// The thread that a supernet lives on; it ends with the last seat.
#[derive(Debug)]
pub struct Table {
    sender: Sender<Message>,
    space: SearchSpace,
}

/// The place of one search at a [`Table`]: a supernet like any other.
///
/// While it is held, the others wait for it to ask: drop it when the search is over.
#[derive(Debug)]
pub struct Seat {
    sender: Sender<Message>,
    space: SearchSpace,
}

enum Message {
    Sits,
    Leaves,
    Probe(Vec<Request>, Vec<Feedback>, Sender<Result<Vec<Feedback>>>),
    Evaluate(Box<Request>, Sender<Result<Evaluation>>),
}

impl Table {
    /// Builds a supernet on a thread of its own.
    ///
    /// # Errors
    /// Those of `build`; [`Error::Unsupported`] for a supernet that trains its weights, which would have to be saved
    /// per trial.
    pub fn new<S: Supernet>(build: impl FnOnce() -> Result<S> + Send + 'static) -> Result<Self> {
        let (sender, receiver) = channel();
        let (built, space) = channel();
        let serve = move || match build() {
            Err(error) => drop(built.send(Err(error))),
            Ok(supernet) if supernet.trains_weights() => {
                let reason = "each would have weights of its own to save";
                let operation = "share a network that trains among searches";
                drop(built.send(Err(Error::Unsupported { operation, reason })));
            }
            Ok(supernet) => {
                if built.send(Ok(supernet.space().clone())).is_ok() {
                    serve(supernet, &receiver);
                }
            }
        };
        thread::Builder::new().name("supernet".to_owned()).spawn(serve).map_err(Error::other)?;
        let space = space.recv().map_err(|_| gone())??;
        Ok(Self { sender, space })
    }

    /// A place for a search.
    ///
    /// # Errors
    /// If the supernet's thread has ended.
    pub fn seat(&self) -> Result<Seat> {
        self.sender.send(Message::Sits).map_err(|_| gone())?;
        Ok(Seat { sender: self.sender.clone(), space: self.space.clone() })
    }
}

fn gone() -> Error {
    Error::Unsupported { operation: "answer", reason: "its thread has ended" }
}

/// Answers as soon as everybody at the table has asked.
fn serve<S: Supernet>(mut supernet: S, receiver: &Receiver<Message>) {
    let mut seats = 0usize;
    let mut probes = Vec::new();
    let mut evaluations = Vec::new();
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Sits => seats += 1,
            Message::Leaves => seats -= 1,
            Message::Probe(requests, feedback, reply) => probes.push((requests, feedback, reply)),
            Message::Evaluate(request, reply) => evaluations.push((request, reply)),
        }
        let asked = probes.len() + evaluations.len();
        if asked > 0 && asked >= seats {
            probe(&mut supernet, std::mem::take(&mut probes));
            evaluate(&mut supernet, std::mem::take(&mut evaluations));
        }
    }
}

type Probe = (Vec<Request>, Vec<Feedback>, Sender<Result<Vec<Feedback>>>);

// A search that is no longer there to hear its answer is no failure.
fn probe<S: Supernet>(supernet: &mut S, probes: Vec<Probe>) {
    if probes.len() > 1 {
        let requests: Vec<Request> = probes.iter().flat_map(|(requests, ..)| requests).cloned().collect();
        let mut feedback: Vec<Feedback> = probes.iter().flat_map(|(_, feedback, _)| feedback).cloned().collect();
        if supernet.probe(&requests, &mut feedback).is_ok() {
            for (_, mine, reply) in probes {
                let _ = reply.send(Ok(feedback.drain(..mine.len()).collect()));
            }
            return;
        }
    }
    // One by one, so that an error goes to whoever caused it.
    for (requests, mut feedback, reply) in probes {
        let answer = supernet.probe(&requests, &mut feedback);
        let _ = reply.send(answer.map(|()| feedback));
    }
}

fn evaluate<S: Supernet>(supernet: &mut S, asked: Vec<(Box<Request>, Sender<Result<Evaluation>>)>) {
    if asked.len() > 1 {
        let requests: Vec<Request> = asked.iter().map(|(request, _)| (**request).clone()).collect();
        if let Ok(evaluations) = supernet.evaluate_all(&requests) {
            for ((_, reply), evaluation) in asked.into_iter().zip(evaluations) {
                let _ = reply.send(Ok(evaluation));
            }
            return;
        }
    }
    for (request, reply) in asked {
        let _ = reply.send(supernet.evaluate(&request));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let _ = self.sender.send(Message::Leaves);
    }
}

impl Supernet for Seat {
    fn space(&self) -> &SearchSpace {
        &self.space
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        if requests.len() != feedback.len() {
            return Err(Error::Length { what: "feedback", expected: requests.len(), got: feedback.len() });
        }
        let (reply, answer) = channel();
        self.sender.send(Message::Probe(requests.to_vec(), feedback.to_vec(), reply)).map_err(|_| gone())?;
        let answers = answer.recv().map_err(|_| gone())??;
        for (feedback, answer) in feedback.iter_mut().zip(answers) {
            *feedback = answer;
        }
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        let (reply, answer) = channel();
        self.sender.send(Message::Evaluate(Box::new(request.clone()), reply)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    fn save(&mut self, _trial: u32) -> Result<State> {
        // The weights are fixed.
        Ok(State::new())
    }

    fn restore(&mut self, _trial: u32, _state: &State) -> Result<()> {
        Ok(())
    }
}
