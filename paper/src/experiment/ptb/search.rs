//! The search of a recurrent cell: Algorithm 1 over the words of a training text.

use advantage_nas::network::recurrent::{Cell, space};
use advantage_nas::random::{Purpose, Streams};
use advantage_nas::search::Snapshot;
use advantage_nas::strategy::{Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Search, Supernet};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::cell::{parse_cell, svg};
use super::{Choose, Language, LanguageModel, Perplexity, PtbSettings, RetrainingSettings, SizedCell};
use crate::build::Provenance;
use crate::error::{Error, Result};
use crate::experiment::{self, Conclusion, Estimate, Experiment, Pace, short};
use crate::run::log::float;
use crate::run::{Record, SearchRecord};
use crate::settings::Settings;

/// The experiment.
#[derive(Clone, Debug)]
pub struct RecurrentSearch(pub Language);

/// What `result.json` says of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PtbResult {
    /// `ptb`.
    pub experiment: String,
    /// The preset.
    pub preset: String,
    /// The method.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The trial.
    pub trial: u32,
    /// The corpus.
    pub corpus: String,
    /// Number of different words.
    pub vocabulary: usize,
    /// Words of the training text.
    pub training_words: usize,
    /// Updates of `w`.
    pub weight_steps: u64,
    /// Updates of `θ`.
    pub theta_steps: u64,
    /// The argmax cell at the end.
    pub argmax: FoundCell,
    /// The cell with the smallest minibatch loss of all steps; absent for methods that never evaluate one.
    pub process_best: Option<BestCell>,
    /// Which of them is to be trained anew.
    pub chosen: Choose,
    /// Entropy of the policy at the end, in nats.
    pub entropy: f64,
    /// Entropy of the uniform policy, in nats.
    pub largest_entropy: f64,
    /// Steps of the search.
    pub steps: u64,
    /// Time spent, in seconds.
    pub wall_seconds: f64,
    /// Steps per second of that time.
    pub steps_per_second: f64,
    /// What the run was finished with.
    pub provenance: Provenance,
}

/// A cell, and how well it predicts with the shared weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundCell {
    /// The cell.
    #[serde(flatten)]
    pub cell: SizedCell,
    /// On the validation text, with the weights that all cells share.
    pub supernet_validation: Perplexity,
}

/// The process best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BestCell {
    /// The cell.
    #[serde(flatten)]
    pub found: FoundCell,
    /// Its minibatch loss when it was seen, summed over the steps of the minibatch.
    pub loss: f64,
    /// Updates of `θ` before it was seen.
    pub iteration: u64,
}

impl PtbResult {
    /// The cell that is trained anew, unless another choice is made.
    ///
    /// # Errors
    /// [`Error::Usage`] for the process best of a method that has none.
    pub fn chosen(&self, choose: Choose) -> Result<&FoundCell> {
        let choose = if choose == Choose::ByMethod { self.chosen } else { choose };
        match (choose, &self.process_best) {
            (Choose::ProcessBest, Some(best)) => Ok(&best.found),
            (Choose::ProcessBest, None) => Err(no_process_best(&self.method)),
            _ => Ok(&self.argmax),
        }
    }
}

impl Experiment for RecurrentSearch {
    type Process = Search<LanguageModel>;
    type Shared = ();
    type Record = Watched;
    type Outcome = PtbResult;

    /// Nothing is shared, but here every run is looked at before anything is written, and the retraining that comes hours later, too.
    fn share(&self, runs: &[&Settings], _at_once: usize) -> Result<()> {
        runs.iter().try_for_each(|settings| {
            self.steps(settings)?;
            self.check_retraining(settings)
        })
    }

    fn build(&self, settings: &Settings, (): &()) -> Result<Self::Process> {
        let tokens = self.0.tokens(settings)?;
        let plan = PtbSettings::of(settings)?.plan(tokens.training.len(), settings.interval)?;
        let supernet = self.0.model(settings, &tokens)?;
        experiment::search(settings, plan, supernet)
    }

    fn steps(&self, settings: &Settings) -> Result<u64> {
        let tokens = self.0.tokens(settings)?;
        self.0.check(settings, &tokens)?;
        let (streams, trial) = (Streams::new(settings.seed), settings.trial);
        settings.method.build(&space(), &settings.method_settings, &streams, trial).map_err(Error::Settings)?;
        Ok(PtbSettings::of(settings)?.plan(tokens.training.len(), settings.interval)?.steps(true))
    }

    fn threads(&self) -> usize {
        self.0.threads
    }

    fn memory(&self, settings: &Settings) -> Result<usize> {
        self.0.memory(settings)
    }

    fn estimate(&self, settings: &Settings) -> Result<Option<Estimate>> {
        let tokens = self.0.tokens(settings)?;
        let plan = PtbSettings::of(settings)?.plan(tokens.training.len(), settings.interval)?;
        let pace = Pace::of_search(plan, settings.trial, |plan| {
            experiment::search(settings, plan, self.0.model(settings, &tokens)?)
        })?;
        let iterations = plan.iterations;
        let rows = iterations.div_ceil(plan.interval) + 1;
        // And the two final cells.
        let seconds = iterations as f64 * (pace.weights + pace.theta) + (rows + 2) as f64 * pace.evaluation;
        let detail = format!(
            "{iterations} updates of w of {}, as many of theta of {}, {rows} evaluations of {}",
            short(pace.weights),
            short(pace.theta),
            short(pace.evaluation)
        );
        Ok(Some(Estimate { seconds, detail }))
    }

    fn record(&self, _settings: &Settings, _process: &Self::Process) -> Result<Watched> {
        Ok(Watched { shown: None })
    }

    fn files(&self, outcome: &PtbResult) -> Vec<(&'static str, String)> {
        let mut cells = vec![(format!("{}, argmax", outcome.method), &outcome.argmax)];
        if let Some(best) = &outcome.process_best {
            cells.push((format!("{}, process best", outcome.method), &best.found));
        }
        vec![("cell.svg", picture(&cells))]
    }

    fn data(&self) -> Table {
        self.0.data()
    }

    fn outcome(
        &self,
        settings: &Settings,
        search: &mut Self::Process,
        _record: &Watched,
        wall_seconds: f64,
    ) -> Result<PtbResult> {
        let tokens = self.0.tokens(settings)?;
        let own = PtbSettings::of(settings)?;
        let sizes = own.sizes(tokens.vocabulary.len());
        let shape = search.supernet().space().shape().clone();
        let plan = *search.plan();
        let conclusion = Conclusion::of(search);
        let batch = Batch { trial: settings.trial, set: Set::Validation, step: plan.iterations };
        let found = |architecture: &Architecture| -> Result<FoundCell> {
            let proposal = Proposal::one_hot(&shape, architecture, Want::Loss)?;
            let evaluation = search.supernet_mut().evaluate(&Request { batch, proposal })?;
            Ok(FoundCell { cell: SizedCell::new(&sizes, architecture)?, supernet_validation: evaluation.into() })
        };
        let (argmax, best) = conclusion.each(found)?;
        let process_best = best.map(|(found, best)| BestCell { found, loss: best.loss, iteration: best.theta_steps });
        let steps = search.steps();
        Ok(PtbResult {
            experiment: settings.experiment.name().to_owned(),
            preset: settings.preset.clone(),
            method: settings.method.to_string(),
            seed: settings.seed,
            trial: settings.trial,
            corpus: own.corpus,
            vocabulary: tokens.vocabulary.len(),
            training_words: tokens.training.len(),
            weight_steps: plan.iterations,
            theta_steps: plan.iterations,
            argmax,
            process_best,
            chosen: settings.get::<RetrainingSettings>("retraining")?.choose.of(settings.method),
            entropy: conclusion.entropy,
            largest_entropy: conclusion.largest_entropy,
            steps,
            wall_seconds,
            steps_per_second: steps as f64 / wall_seconds.max(f64::MIN_POSITIVE),
            provenance: self.provenance(),
        })
    }
}

impl RecurrentSearch {
    /// Whether what the search finds can be retrained.
    fn check_retraining(&self, settings: &Settings) -> Result<()> {
        let words = self.0.tokens(settings)?.training.len();
        let own = PtbSettings::of(settings)?;
        let retraining: RetrainingSettings = settings.get("retraining")?;
        own.retraining_plan(words, &retraining)?;
        if retraining.choose.of(settings.method) != Choose::ProcessBest {
            return Ok(());
        }
        let (streams, trial, space) = (Streams::new(settings.seed), settings.trial, space());
        let plan = own.plan(words, settings.interval)?;
        let evaluates_cells = || -> advantage_nas::Result<bool> {
            let mut strategy = settings.method.build(&space, &settings.method_settings, &streams, trial)?;
            let mut proposal = Proposal::new(space.shape());
            // An update of w and one of θ.
            for position in 0..2 {
                let mut rng = streams.at(Purpose::Architecture, trial, position);
                strategy.propose(&plan.step(true, position), &mut rng, &mut proposal)?;
                if proposal.architecture().is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        if evaluates_cells().map_err(Error::Settings)? { Ok(()) } else { Err(no_process_best(&settings.method)) }
    }
}

fn no_process_best(method: &impl std::fmt::Display) -> Error {
    Error::Usage(format!("{method} evaluates no single cell, it has no process best"))
}

/// Cells as graphs, with their titles.
fn picture(cells: &[(String, &FoundCell)]) -> String {
    let parse = |found: &FoundCell| parse_cell(&found.cell.cell).expect("a cell reads its own text");
    let cells: Vec<(&str, Cell)> = cells.iter().map(|(title, found)| (title.as_str(), parse(found))).collect();
    svg(&cells)
}

/// What is recorded: how well the argmax cell predicts with the shared weights.
#[derive(Clone, Debug)]
pub struct Watched {
    shown: Option<String>,
}

impl Record for Watched {
    fn columns(&self) -> Vec<&'static str> {
        vec!["iteration", "weight_steps", "loss", "validation_loss", "validation_perplexity", "entropy"]
    }

    fn message(&self) -> String {
        self.shown.clone().unwrap_or_default()
    }
}

impl SearchRecord for Watched {
    fn snapshot(&mut self, snapshot: &Snapshot<'_>) -> Vec<String> {
        let Perplexity { perplexity, loss, .. } = snapshot.evaluation.into();
        self.shown = Some(format!("validation perplexity {perplexity:.1}, entropy {:.2}", snapshot.entropy));
        vec![
            snapshot.theta_steps.to_string(),
            snapshot.weight_steps.to_string(),
            snapshot.loss.map(float).unwrap_or_default(),
            float(loss),
            float(perplexity),
            float(snapshot.entropy),
        ]
    }
}
