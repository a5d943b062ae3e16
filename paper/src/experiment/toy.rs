//! Toy regression, section 5.1: a student is searched whose architecture is the teacher's.

use advantage_nas::network::toy::Toy;
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, Snapshot, ThetaStep};
use advantage_nas::strategy::{Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Search, SearchSpace, Supernet};
use advantage_nas_cpu::toy::ToySupernet;
use advantage_nas_gpu::toy::ToySupernet as CudaSupernet;
use serde::{Deserialize, Serialize};

use super::{Conclusion, Experiment};
use crate::build::Provenance;
use crate::device::{Backend, Build, Supernets};
use crate::error::{Error, Result};
use crate::run::log::float;
use crate::run::{Record, SearchRecord};
use crate::settings::Settings;

/// What `result.json` says of a trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToyResult {
    /// `toy`.
    pub experiment: String,
    /// The method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The trial.
    pub trial: u32,
    /// Updates of `θ`.
    pub iterations: u64,
    /// The argmax architecture at the end.
    pub argmax: Found,
    /// The architecture with the smallest minibatch loss of the search; absent for methods that never evaluate one.
    pub process_best: Option<ProcessBest>,
    /// The teacher's architecture.
    pub teacher: Named,
    /// After how many updates the argmax architecture was the teacher's for the first time.
    pub first_hit: Option<u64>,
    /// Steps of the search.
    pub steps: u64,
    /// Time spent, in seconds.
    pub wall_seconds: f64,
    /// Steps per second of that time.
    pub steps_per_second: f64,
    /// What the run was finished with.
    pub provenance: Provenance,
}

/// An architecture by index and by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Named {
    /// Index of the candidate of every edge.
    pub architecture: Vec<usize>,
    /// Its name.
    pub candidates: Vec<String>,
}

/// An architecture and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The architecture.
    #[serde(flatten)]
    pub named: Named,
    /// Its loss on the last test minibatch.
    pub test_loss: f64,
    /// Number of edges at which it is the teacher's.
    pub edges_right: usize,
}

/// The process best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessBest {
    /// The architecture.
    #[serde(flatten)]
    pub found: Found,
    /// Its minibatch loss when it was seen.
    pub loss: f64,
    /// Updates of `θ` before it was seen.
    pub iteration: u64,
}

/// The experiment; its data are drawn, not read.
#[derive(Clone, Debug)]
pub struct ToyRegression {
    /// Where the network runs.
    pub backend: Backend,
}

/// The sizes of the network.
fn toy(settings: &Settings) -> Result<Toy> {
    let toy: Toy = settings.own()?;
    toy.check().map_err(Error::Settings)?;
    Ok(toy)
}

fn search(settings: &Settings, supernet: Box<dyn Supernet>) -> Result<Search<Box<dyn Supernet>>> {
    super::search(settings, Plan::theta_only(settings.get("iterations")?, settings.interval), supernet)
}

fn on_cpu(settings: &Settings) -> Result<Search<Box<dyn Supernet>>> {
    let (toy, streams) = (toy(settings)?, Streams::new(settings.seed));
    let supernet = ToySupernet::<f32>::new(toy, &streams, &[settings.trial]).map_err(Error::Settings)?;
    search(settings, Box::new(supernet))
}

/// What searches have in common that may share a network: its weights are fixed, whatever the method.
fn key(settings: &Settings) -> Result<String> {
    Ok(format!("{:?}, seed {}", toy(settings)?, settings.seed))
}

fn on_cuda(settings: &Settings, trials: Vec<u32>) -> Result<Build> {
    let (toy, streams) = (toy(settings)?, Streams::new(settings.seed));
    Ok(Box::new(move |device| Ok(Box::new(CudaSupernet::new(device, toy, &streams, &trials)?))))
}

impl Experiment for ToyRegression {
    type Process = Search<Box<dyn Supernet>>;
    type Shared = Supernets;
    type Record = Watched;
    type Outcome = ToyResult;

    fn share(&self, runs: &[&Settings], _at_once: usize) -> Result<Supernets> {
        Supernets::new(&self.backend, runs, key, on_cuda)
    }

    fn build(&self, settings: &Settings, supernets: &Supernets) -> Result<Self::Process> {
        match supernets.seat(&key(settings)?, settings, on_cuda)? {
            None => on_cpu(settings),
            Some(seat) => search(settings, Box::new(seat)),
        }
    }

    fn steps(&self, settings: &Settings) -> Result<u64> {
        Ok(on_cpu(settings)?.steps())
    }

    fn record(&self, settings: &Settings, _search: &Self::Process) -> Result<Watched> {
        let parameters = toy(settings)?.parameters(&Streams::new(settings.seed), settings.trial);
        Ok(Watched::new(parameters.map_err(Error::Settings)?.teacher))
    }

    fn provenance(&self) -> Provenance {
        self.backend.provenance()
    }

    fn outcome(
        &self,
        settings: &Settings,
        search: &mut Self::Process,
        watched: &Watched,
        wall_seconds: f64,
    ) -> Result<ToyResult> {
        let space = search.supernet().space().clone();
        let iterations = search.plan().iterations;
        let conclusion = Conclusion::of(search);
        let batch = Batch { trial: settings.trial, set: Set::Test, step: iterations };
        let found = |architecture: &Architecture| -> Result<Found> {
            let proposal = Proposal::one_hot(space.shape(), architecture, Want::Loss)?;
            Ok(Found {
                named: named(&space, architecture),
                test_loss: search.supernet_mut().evaluate(&Request { batch, proposal })?.loss,
                edges_right: architecture.agreement(&watched.teacher),
            })
        };
        let (argmax, best) = conclusion.each(found)?;
        let process_best =
            best.map(|(found, best)| ProcessBest { found, loss: best.loss, iteration: best.theta_steps });
        Ok(ToyResult {
            experiment: settings.experiment.name().to_owned(),
            method: settings.method.to_string(),
            seed: settings.seed,
            trial: settings.trial,
            iterations,
            argmax,
            process_best,
            teacher: named(&space, &watched.teacher),
            first_hit: watched.memory.first_hit,
            steps: search.steps(),
            wall_seconds,
            steps_per_second: search.steps() as f64 / wall_seconds.max(f64::MIN_POSITIVE),
            provenance: self.provenance(),
        })
    }
}

fn named(space: &SearchSpace, architecture: &Architecture) -> Named {
    let choices = architecture.choices();
    let candidates =
        space.edges().iter().zip(choices).map(|(edge, &choice)| edge.candidates()[choice].clone()).collect();
    Named { architecture: choices.to_vec(), candidates }
}

/// What is recorded: how close the argmax architecture is to the teacher's.
#[derive(Clone, Debug)]
pub struct Watched {
    teacher: Architecture,
    memory: Memory,
    loss: Option<f64>,
    edges_right: usize,
}

/// What outlives a pause.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    first_hit: Option<u64>,
}

impl Watched {
    fn new(teacher: Architecture) -> Self {
        Self { teacher, memory: Memory::default(), loss: None, edges_right: 0 }
    }

    fn look(&mut self, mode: &Architecture, theta_steps: u64) {
        if self.memory.first_hit.is_none() && *mode == self.teacher {
            self.memory.first_hit = Some(theta_steps);
        }
    }
}

impl Record for Watched {
    fn columns(&self) -> Vec<&'static str> {
        vec!["iteration", "loss", "test_loss", "edges_right", "entropy"]
    }

    fn message(&self) -> String {
        let loss = self.loss.map_or_else(|| "-".to_owned(), |loss| format!("{loss:.3e}"));
        format!("loss {loss}, {}/{} edges right", self.edges_right, self.teacher.choices().len())
    }

    fn save(&self) -> serde_json::Value {
        serde_json::json!(self.memory)
    }

    fn restore(&mut self, saved: &serde_json::Value) -> Result<(), String> {
        self.memory = Memory::deserialize(saved).map_err(|error| error.to_string())?;
        Ok(())
    }
}

impl SearchRecord for Watched {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Vec<String> {
        // Before the first update, only a snapshot shows the architecture.
        self.look(snapshot.mode, snapshot.theta_steps);
        self.loss = snapshot.loss;
        self.edges_right = snapshot.mode.agreement(&self.teacher);
        vec![
            snapshot.theta_steps.to_string(),
            snapshot.loss.map(float).unwrap_or_default(),
            float(snapshot.evaluation.loss),
            self.edges_right.to_string(),
            float(snapshot.entropy),
        ]
    }

    fn theta_step(&mut self, step: &ThetaStep<'_>) {
        self.look(step.mode, step.theta_steps);
    }
}
