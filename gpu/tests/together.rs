//! Searches on threads of their own that share a supernet which trains: each finds what it finds alone, bit for bit,
//! whatever the others do, and whenever it is interrupted. The network is made up; no device is needed.

use std::sync::{Arc, Mutex};
use std::thread;

use advantage_nas::conformance::{Differences, SupernetSuite};
use advantage_nas::random::Streams;
use advantage_nas::search::{Observer, Outcome, Plan, ProcessBest, Saves, Search, Snapshot, ThetaStep};
use advantage_nas::sharing::WeightSharing;
use advantage_nas::state::State;
use advantage_nas::strategy::{
    Activity, Answer, Feedback, Method, MethodSettings, Proposal, Step, StepKind, Strategy, Want,
};
use advantage_nas::supernet::{Batch, Evaluation, Fetch, Request, Set};
use advantage_nas::{Architecture, Error, OpTable, Result, SearchSpace, Shape, Supernet};
use advantage_nas_gpu::check;
use advantage_nas_gpu::together::{Seat, Table};
use rand::RngCore;

use crate::affine::{Affine, CANDIDATES, EDGES};

/// One search per trial, of all kinds of methods, none of which has the same steps as another.
const SEARCHES: [(u32, Method); 6] = [
    (0, Method::AdvantageNas),
    (3, Method::Darts),
    (4, Method::ProxylessNas),
    (5, Method::AdvantageExact),
    (7, Method::Gdas),
    (9, Method::Enas),
];

const TRIALS: [u32; 6] = [0, 3, 4, 5, 7, 9];

fn space() -> SearchSpace {
    SearchSpace::anonymous([CANDIDATES; EDGES]).unwrap()
}

fn plan(trial: u32) -> Plan {
    Plan {
        warmup: u64::from(trial % 4),
        iterations: 6 + u64::from(trial),
        interval: 2 + u64::from(trial % 3),
        weight_steps_per_epoch: 2.5,
        theta_steps_per_epoch: 1.5,
        process_best: if trial.is_multiple_of(2) { ProcessBest::AllSteps } else { ProcessBest::ThetaSteps },
    }
}

fn search<S: Supernet>(supernet: S, trial: u32, method: Method) -> Result<Search<S>> {
    let streams = Streams::new(21);
    let strategy = method.build(&space(), &MethodSettings::toy(), &streams, trial)?;
    Search::new(plan(trial), streams, supernet, trial, strategy)
}

/// Everything that a search shows, to the bit; pauses after every `pause`-th step.
#[derive(Default)]
struct Seen {
    lines: Vec<String>,
    pause: Option<u64>,
}

impl Observer for Seen {
    fn snapshot(&mut self, seen: &Snapshot<'_>) -> Result<()> {
        let probabilities: Vec<u64> = seen.probabilities.values().iter().map(|value| value.to_bits()).collect();
        let (steps, loss) = (seen.theta_steps, seen.evaluation.loss.to_bits());
        self.lines.push(format!("{steps}, {} evaluates to {loss:x}, probabilities {probabilities:x?}", seen.mode));
        Ok(())
    }

    fn theta_step(&mut self, seen: &ThetaStep<'_>) -> Result<()> {
        self.lines.push(format!("{} loss {:x}, {}", seen.theta_steps, seen.loss.to_bits(), seen.mode));
        Ok(())
    }

    fn between_steps(&mut self, search: &mut dyn Saves) -> Result<std::ops::ControlFlow<()>> {
        let pauses = self.pause.is_some_and(|pause| search.position().is_multiple_of(pause));
        Ok(if pauses { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) })
    }
}

/// What a search came to: all that was seen, the process best, and all that it and its network remember.
type Found = (Vec<String>, String, State);

/// Runs a search, or goes on with it, until it is finished or pauses.
fn run<S: Supernet>(mut search: Search<S>, from: Option<&State>, seen: &mut Seen) -> Result<(Outcome, String, State)> {
    if let Some(state) = from {
        search.restore(state)?;
    }
    let outcome = search.run(None, seen)?;
    let best = format!("{:?}", search.best());
    Ok((outcome, best, search.save()?))
}

fn found<S: Supernet>(supernet: S, trial: u32, method: Method) -> Result<Found> {
    let mut seen = Seen::default();
    let (outcome, best, state) = run(search(supernet, trial, method)?, None, &mut seen)?;
    assert_eq!(outcome, Outcome::Finished);
    Ok((seen.lines, best, state))
}

fn alone(trial: u32, method: Method) -> Found {
    found(WeightSharing::new(Affine::new(&[trial], 1)), trial, method).unwrap()
}

/// The networks of all trials, so many of which are worked on together.
fn network(lanes: usize) -> WeightSharing<Affine> {
    WeightSharing::new(Affine::new(&TRIALS, lanes))
}

/// Runs every search at a seat and on a thread of its own.
fn on_threads<T: Send>(table: &Table, search: impl Fn(Seat, u32, Method) -> T + Sync) -> Vec<T> {
    let seats: Vec<_> = SEARCHES.map(|(trial, method)| (table.seat(trial).unwrap(), trial, method)).into();
    thread::scope(|scope| {
        let search = &search;
        let spawn = |(seat, trial, method)| scope.spawn(move || search(seat, trial, method));
        let threads: Vec<_> = seats.into_iter().map(spawn).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn same(trial: u32, method: Method, got: &Found, expected: &Found) {
    assert!(expected.0.len() > 8);
    assert_eq!(got.0, expected.0, "{method}, trial {trial}");
    assert_eq!(got.1, expected.1, "process best of {method}, trial {trial}");
    assert_eq!(got.2, expected.2, "state of {method}, trial {trial}");
}

#[test]
fn trials_together_equal_trials_alone() {
    for (lanes, late) in [(1, 0), (2, 3), (6, 0), (6, 100)] {
        let table =
            Table::new(move || Ok(WeightSharing::new(Affine::new(&TRIALS, lanes).with_late_losses(late)))).unwrap();
        let all = on_threads(&table, |seat, trial, method| found(seat, trial, method).unwrap());
        assert_eq!(all.len(), SEARCHES.len());
        for ((trial, method), found) in SEARCHES.into_iter().zip(&all) {
            same(trial, method, found, &alone(trial, method));
        }
    }
}

/// Every search is saved after every second, third, … step; its seat is left, and another one goes on from what was
/// saved, at the same table or at another one.
#[test]
fn interrupted_together_equals_uninterrupted_alone() {
    for pause in 1..5 {
        let tables = [2, 6].map(|lanes| Table::new(move || Ok(network(lanes))).unwrap());
        let go_on = |first: Seat, trial: u32, method: Method| {
            let mut seen = Seen { lines: Vec::new(), pause: Some(pause + u64::from(trial % 2)) };
            let mut seat = Some(first);
            let mut saved: Option<State> = None;
            let mut pauses = 0;
            loop {
                let seat = seat.take().unwrap_or_else(|| tables[pauses / 2 % 2].seat(trial).unwrap());
                let (outcome, best, state) =
                    run(search(seat, trial, method).unwrap(), saved.as_ref(), &mut seen).unwrap();
                if outcome == Outcome::Finished {
                    assert!(pauses > 1);
                    return (seen.lines, best, state);
                }
                (saved, pauses) = (Some(state), pauses + 1);
            }
        };
        let all = on_threads(&tables[0], go_on);
        for ((trial, method), found) in SEARCHES.into_iter().zip(&all) {
            same(trial, method, found, &alone(trial, method));
        }
    }
}

/// A supernet that notes what it is asked, and may leave something out.
struct Noted<S> {
    supernet: S,
    log: Arc<Mutex<Vec<String>>>,
    lazy: Option<Lazy>,
}

/// What a supernet leaves out whose zip hides the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lazy {
    Feedback,
    Evaluation,
    WeightStep,
    Loss,
}

impl<S> Noted<S> {
    fn note(&self, what: &str, requests: &[Request]) {
        let trials: Vec<u32> = requests.iter().map(|request| request.batch.trial).collect();
        self.log.lock().unwrap().push(format!("{what} {trials:?}"));
    }

    /// How many of so many are seen to.
    fn seen(&self, lazy: Lazy, count: usize) -> usize {
        if self.lazy == Some(lazy) { count - 1 } else { count }
    }
}

impl<S: Supernet> Supernet for Noted<S> {
    fn space(&self) -> &SearchSpace {
        self.supernet.space()
    }

    fn activity(&self) -> Activity {
        self.supernet.activity()
    }

    fn probe(&mut self, requests: &[Request], feedback: &mut [Feedback]) -> Result<()> {
        self.note("probe", requests);
        let seen = self.seen(Lazy::Feedback, requests.len());
        self.supernet.probe(&requests[..seen], &mut feedback[..seen])
    }

    fn trains_weights(&self) -> bool {
        self.supernet.trains_weights()
    }

    fn weight_step(&mut self, steps: &[Step], requests: &[Request]) -> Result<()> {
        self.note("weights", requests);
        let seen = self.seen(Lazy::WeightStep, requests.len());
        self.supernet.weight_step(&steps[..seen], &requests[..seen])
    }

    fn weight_losses(&mut self, trial: u32, fetch: Fetch, losses: &mut Vec<f64>) -> Result<()> {
        self.supernet.weight_losses(trial, fetch, losses)?;
        losses.truncate(self.seen(Lazy::Loss, losses.len().max(1)));
        Ok(())
    }

    fn evaluate(&mut self, request: &Request) -> Result<Evaluation> {
        self.supernet.evaluate(request)
    }

    fn evaluate_all(&mut self, requests: &[Request]) -> Result<Vec<Evaluation>> {
        self.note("evaluate", requests);
        self.supernet.evaluate_all(&requests[..self.seen(Lazy::Evaluation, requests.len())])
    }

    fn save(&mut self, trial: u32) -> Result<State> {
        self.supernet.save(trial)
    }

    fn restore(&mut self, trial: u32, state: &State) -> Result<()> {
        self.supernet.restore(trial, state)
    }
}

/// A table whose supernet notes, and what it has noted.
fn noted(lazy: Option<Lazy>, activity: Activity) -> (Table, Arc<Mutex<Vec<String>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let noted = log.clone();
    let build = move || {
        let supernet = WeightSharing::new(Affine::new(&TRIALS, 6).with_activity(activity));
        Ok(Noted { supernet, log: noted, lazy })
    };
    (Table::new(build).unwrap(), log)
}

/// What is asked in which order and together with what is the same every time. Trials 0 and 4 begin without a warm-up, 5
/// and 9 with one step of it, 3 and 7 with three; still all train together at every weight step, and once all have
/// begun with `θ`, they do that together as well.
#[test]
fn nothing_depends_on_the_threads() {
    let logs: Vec<Vec<String>> = (0..5)
        .map(|_| {
            let (table, log) = noted(None, Activity::All);
            on_threads(&table, |seat, trial, method| found(seat, trial, method).unwrap());
            drop(table);
            let lines = log.lock().unwrap();
            lines.clone()
        })
        .collect();
    assert!(logs.iter().all(|log| log == &logs[0]));
    // What a device works on together stands together: the loss of one-hot proposals, the gradient, the gradient with
    // unit outputs, the losses without each edge; then pairs; then mixtures. Of the same, the order is that of the seats.
    let expected = [
        "weights [9, 0, 7, 5, 4, 3]",
        "evaluate [0, 4]",
        "probe [0, 4]",
        "weights [9, 0, 7, 5, 4, 3]",
        "evaluate [5, 9]",
        "probe [9, 0, 5, 4]",
        "weights [9, 0, 7, 5, 4, 3]",
        "evaluate [0]",
        "probe [9, 0, 5, 4]",
        "weights [9, 0, 7, 5, 4, 3]",
        "evaluate [3, 4, 7, 9]",
        "probe [9, 0, 7, 5, 4, 3]",
        "weights [9, 0, 7, 5, 4, 3]",
    ];
    assert_eq!(logs[0][..expected.len()], expected);
}

/// A search whose questions can't be answered hears so; the others, which asked at the same time, hear nothing of it.
#[test]
fn an_error_goes_to_whoever_caused_it() {
    // Two candidates at once: DARTS asks for all, GDAS trains with one but asks for the gradients of all.
    let (table, log) = noted(None, Activity::Two);
    let all = on_threads(&table, found::<Seat>);
    let mut refused = Vec::new();
    for ((trial, method), found) in SEARCHES.into_iter().zip(&all) {
        match found {
            Ok(found) => same(trial, method, found, &alone(trial, method)),
            Err(Error::Unsupported { reason: "its memory was planned for fewer", .. }) => refused.push(method),
            Err(error) => panic!("{method}: {error}"),
        }
    }
    assert_eq!(refused, [Method::Darts]);
    // They did ask together.
    assert!(
        log.lock().unwrap().iter().any(|line| line.starts_with("weights") && line.contains("3") && line.len() > 12)
    );

    // A trial that is not there, beside one that is.
    let table = Table::new(|| Ok(network(6))).unwrap();
    let seats = [(table.seat(0).unwrap(), 0), (table.seat(1).unwrap(), 1)];
    let all: Vec<_> = thread::scope(|scope| {
        let spawn = |(seat, trial)| scope.spawn(move || found(seat, trial, Method::AdvantageNas));
        seats.map(spawn).map(|thread| thread.join().unwrap()).into()
    });
    same(0, Method::AdvantageNas, all[0].as_ref().unwrap(), &alone(0, Method::AdvantageNas));
    assert!(all[1].as_ref().unwrap_err().to_string().contains("other trials"));
}

/// A search that ends by a panic leaves its seat as any other does.
#[test]
fn a_search_that_breaks_off_does_not_block_the_others() {
    let table = Table::new(|| Ok(network(6))).unwrap();
    let all = on_threads(&table, |seat, trial, method| {
        let broken = trial == 4;
        thread::scope(|scope| {
            let search = scope.spawn(move || {
                let mut search = search(seat, trial, method).unwrap();
                assert!(!broken || search.run(Some(5), &mut ()).unwrap() != Outcome::Paused, "made up");
                let mut seen = Seen::default();
                let (_, best, state) = run(search, None, &mut seen).unwrap();
                (seen.lines, best, state)
            });
            search.join().ok()
        })
    });
    for ((trial, method), found) in SEARCHES.into_iter().zip(&all) {
        match found {
            Some(found) => same(trial, method, found, &alone(trial, method)),
            None => assert_eq!(trial, 4),
        }
    }
    assert_eq!(all.iter().flatten().count(), SEARCHES.len() - 1);
}

/// A supernet that hides a request is found out, whatever it is that is missing, and all that asked hear of it.
#[test]
fn what_is_left_out_is_an_error_that_names_it() {
    for (lazy, what) in [
        (Lazy::Feedback, "feedback by the supernet that searches share: expected"),
        (Lazy::Evaluation, "evaluations by the supernet that searches share: expected"),
        (Lazy::WeightStep, "losses of weight steps by the supernet that searches share: expected"),
        (Lazy::Loss, "losses of weight steps by the supernet that searches share: expected"),
    ] {
        let (table, _) = noted(Some(lazy), Activity::All);
        let errors: Vec<_> = on_threads(&table, found::<Seat>).into_iter().filter_map(Result::err).collect();
        assert!(errors.len() == SEARCHES.len() || lazy == Lazy::WeightStep && !errors.is_empty(), "{lazy:?}");
        for error in errors {
            assert!(error.to_string().starts_with(what), "{lazy:?}: {error}");
        }
    }
}

/// A seat fulfils what every supernet must.
#[test]
fn a_seat_conforms() {
    let suite = SupernetSuite {
        differences: Some(Differences { step: 1e-4, tolerance: 1e-8 }),
        affine: Some(1e-12),
        ..SupernetSuite::new([3])
    };
    let report = suite.run(|| Table::new(|| Ok(network(2)))?.seat(3));
    report.assert();
    // A seat has one trial.
    let skipped: Vec<&str> = report.skipped().map(|check| check.name.as_str()).collect();
    assert!(skipped.len() == 1 && skipped[0].contains("trial"), "{report}");
}

#[test]
fn a_seat_is_that_of_one_trial() {
    let table = Table::new(|| Ok(network(2))).unwrap();
    let space = space();
    let request = |trial, set| {
        let batch = Batch { trial, set, step: 0 };
        Request { batch, proposal: Proposal::new(space.shape()) }
    };
    let step = Step { kind: StepKind::Weights, progress: 0.0, schedule: 0.0 };
    let mut seat = table.seat(3).unwrap();
    assert!(matches!(table.seat(3), Err(Error::Setting { got, .. }) if got == "3 twice"));
    assert!(seat.trains_weights() && seat.activity() == Activity::All && seat.space() == &space);

    let mut feedback = [Feedback::new(space.shape())];
    let others = |result: Result<()>| assert!(result.unwrap_err().to_string().contains("for another trial"));
    others(seat.probe(&[request(4, Set::Validation)], &mut feedback));
    others(seat.weight_step(&[step], &[request(4, Set::Training)]));
    others(seat.weight_losses(4, Fetch::All, &mut Vec::new()));
    others(seat.evaluate(&request(4, Set::Test)).map(drop));
    others(seat.save(4).map(drop));
    others(seat.restore(4, &State::new()));
    assert!(matches!(seat.probe(&[], &mut feedback), Err(Error::Length { .. })));

    // Whoever sits down after a search has left has its network to look at, and goes on only from a state of its own.
    let first = seat.save(3).unwrap();
    seat.weight_step(&[step], &[request(3, Set::Training)]).unwrap();
    let trained = seat.evaluate(&request(3, Set::Test)).unwrap();
    drop(seat);
    let mut seat = table.seat(3).unwrap();
    assert_eq!(seat.evaluate(&request(3, Set::Test)).unwrap(), trained);
    let stale = |result: Result<()>| assert!(result.unwrap_err().to_string().contains("restore a state first"));
    stale(seat.weight_step(&[step], &[request(3, Set::Training)]));
    stale(seat.probe(&[request(3, Set::Validation)], &mut feedback));
    seat.restore(3, &first).unwrap();
    assert_ne!(seat.evaluate(&request(3, Set::Test)).unwrap(), trained);
    seat.weight_step(&[step], &[request(3, Set::Training)]).unwrap();
    assert_eq!(seat.evaluate(&request(3, Set::Test)).unwrap(), trained);
    // The loss that nobody fetched is not owed to the one that came after.
    let mut losses = Vec::new();
    seat.weight_losses(3, Fetch::All, &mut losses).unwrap();
    assert_eq!(losses.len(), 1);
    assert_eq!(feedback[0].answered, Want::Loss);
}

/// A strategy that asks twice in every step and remembers what it heard; its proposals are uniform.
struct Twice {
    shape: Shape,
    heard: f64,
}

impl Strategy for Twice {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn proposals_per_step(&self) -> usize {
        2
    }

    fn propose(&mut self, _step: &Step, rng: &mut dyn RngCore, proposal: &mut Proposal) -> Result<()> {
        let choices: Vec<usize> = (0..EDGES).map(|_| rng.next_u32() as usize % CANDIDATES).collect();
        proposal.set_one_hot(&Architecture::new(&self.shape, choices)?, Want::Gradient)
    }

    fn learn(&mut self, _step: &Step, answers: &[Answer<'_>]) -> Result<()> {
        let losses = answers.iter().map(|answer| answer.feedback.loss);
        self.heard = losses.fold(self.heard, |heard, loss| 0.5 * heard + loss);
        Ok(())
    }

    fn probabilities_into(&self, out: &mut OpTable<f64>) {
        out.fill(1.0 / CANDIDATES as f64);
    }

    fn mode_into(&self, _out: &mut Architecture) {}

    fn entropy(&self) -> f64 {
        0.0
    }

    fn save(&self) -> State {
        let mut state = State::new();
        state.insert_f64("heard", &[self.heard]);
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.heard = state.f64("heard", 1)?[0];
        Ok(())
    }
}

/// Two questions about the same minibatch, of searches that ask once and of such that ask twice: all start from the same
/// carried state, however they are put together.
#[test]
fn several_proposals_of_a_step_are_about_one_minibatch() {
    let trials = [0, 3, 4, 5];
    let alone = trials.map(|trial| once_or_twice(WeightSharing::new(Affine::new(&[trial], 1)), trial));
    for lanes in [1, 2, 6] {
        let table = Table::new(move || Ok(network(lanes))).unwrap();
        let seats = trials.map(|trial| (table.seat(trial).unwrap(), trial));
        let together: Vec<Found> = thread::scope(|scope| {
            let threads = seats.map(|(seat, trial)| scope.spawn(move || once_or_twice(seat, trial)));
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(together, alone, "{lanes} lanes");
    }
}

/// A search that asks twice, or as AdvantageNAS does in the trials 0 and 5.
fn once_or_twice<S: Supernet>(supernet: S, trial: u32) -> Found {
    let streams = Streams::new(4);
    let strategy = match trial {
        0 | 5 => Method::AdvantageNas.build(&space(), &MethodSettings::toy(), &streams, trial).unwrap(),
        _ => Box::new(Twice { shape: space().shape().clone(), heard: 0.0 }),
    };
    let mut seen = Seen::default();
    let search = Search::new(plan(0), streams, supernet, trial, strategy).unwrap();
    let (_, best, state) = run(search, None, &mut seen).unwrap();
    (seen.lines, best, state)
}

/// What `gpu check` compares of a search over a network that trains is what that search hears: its weights are trained, too.
#[test]
fn a_witness_sees_what_a_network_that_trains_is_asked() {
    let (streams, steps) = (Streams::new(21), 5);
    let strategy = || Method::AdvantageNas.build(&space(), &MethodSettings::toy(), &streams, 3).unwrap();
    let network = || WeightSharing::new(Affine::new(&[3], 1));
    let witnessed = check::witness(network(), &streams, 3, strategy(), Plan::theta_only(steps, 10)).unwrap();
    let mut search = Search::new(Plan::theta_only(steps, 10), streams.clone(), network(), 3, strategy()).unwrap();
    assert_eq!(search.steps(), 2 * steps, "w and θ in turn");
    let mut seen = Seen::default();
    search.run(None, &mut seen).unwrap();
    // An evaluation before the first step and one after the last, on both sides.
    let heard: Vec<String> = witnessed.iter().map(|seen| format!("{:x}", seen.loss.to_bits())).collect();
    assert_eq!(heard.len(), seen.lines.len());
    for (line, loss) in seen.lines.iter().zip(&heard) {
        assert!(line.contains(&format!("to {loss},")) || line.contains(&format!("loss {loss},")), "{line}: {loss}");
    }
}
