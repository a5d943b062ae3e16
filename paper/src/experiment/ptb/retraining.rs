//! The training of a recurrent cell with new weights, and its perplexity.

use advantage_nas::supernet::Set;
use advantage_nas::training::{self, Report, Training};
use serde::{Deserialize, Serialize};
use toml::Table;

use super::cell::{parse_cell, svg};
use super::{Choose, Language, LanguageModel, Perplexity, PtbSettings, RetrainingSettings, SizedCell};
use crate::build::Provenance;
use crate::data::corpus::Tokens;
use crate::error::{Error, Result};
use crate::experiment::{Estimate, Experiment, Pace, short};
use crate::run::log::float;
use crate::run::{Record, TrainingRecord};
use crate::settings::{ARCHITECTURE, CHOSEN, Settings};

/// The experiment.
#[derive(Clone, Debug)]
pub struct Retraining(pub Language);

/// What `result.json` says of a retraining.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetrainingResult {
    /// `ptb-retraining`.
    pub experiment: String,
    /// The preset.
    pub preset: String,
    /// The method of the search that the cell is from; of no meaning for a cell that was given.
    pub method: String,
    /// The seed.
    pub seed: u64,
    /// The trial.
    pub trial: u32,
    /// Where the cell is from: `argmax` or `process-best` of a search, or something else in words.
    pub chosen: String,
    /// The cell.
    #[serde(flatten)]
    pub cell: SizedCell,
    /// The corpus.
    pub corpus: String,
    /// Number of different words.
    pub vocabulary: usize,
    /// Words of the training text.
    pub training_words: usize,
    /// On the validation text, with the last weights.
    pub validation: Perplexity,
    /// On the test text, with the last weights.
    pub test: Perplexity,
    /// Updates of the weights.
    pub steps: u64,
    /// Time spent, in seconds.
    pub wall_seconds: f64,
    /// Steps per second of that time.
    pub steps_per_second: f64,
    /// What the run was finished with.
    pub provenance: Provenance,
}

impl RetrainingResult {
    /// Where the cell is from, in words.
    #[must_use]
    pub fn origin(&self) -> String {
        let from_a_search = [Choose::Argmax, Choose::ProcessBest].iter().any(|choose| choose.name() == self.chosen);
        if from_a_search { format!("{} of {}", self.chosen, self.method) } else { self.chosen.clone() }
    }
}

impl Experiment for Retraining {
    type Process = Training<LanguageModel>;
    type Shared = ();
    type Record = Watched;
    type Outcome = RetrainingResult;

    fn share(&self, _runs: &[&Settings], _at_once: usize) -> Result<()> {
        Ok(())
    }

    fn build(&self, settings: &Settings, (): &()) -> Result<Self::Process> {
        let tokens = self.0.tokens(settings)?;
        self.training(settings, &tokens, plan(settings, &tokens)?)
    }

    fn steps(&self, settings: &Settings) -> Result<u64> {
        let tokens = self.0.tokens(settings)?;
        self.0.check(settings, &tokens)?;
        parse_cell(&settings.get::<String>(ARCHITECTURE)?)?;
        Ok(plan(settings, &tokens)?.steps)
    }

    fn threads(&self) -> usize {
        self.0.threads
    }

    fn memory(&self, settings: &Settings) -> Result<usize> {
        self.0.memory(settings)
    }

    /// Whatever cell is trained, and whoever found it.
    fn kind(&self, _settings: &Settings) -> String {
        "retraining".to_owned()
    }

    fn estimate(&self, settings: &Settings) -> Result<Option<Estimate>> {
        let tokens = self.0.tokens(settings)?;
        let plan = plan(settings, &tokens)?;
        let pace = Pace::of_training(plan, settings.trial, |plan| self.training(settings, &tokens, plan))?;
        let rows = plan.steps.div_ceil(plan.interval) + 1;
        // And once more both texts.
        let seconds = plan.steps as f64 * pace.weights + (rows + 2) as f64 * pace.evaluation;
        let detail = format!(
            "{} updates of w of {}, {rows} evaluations of {}",
            plan.steps,
            short(pace.weights),
            short(pace.evaluation)
        );
        Ok(Some(Estimate { seconds, detail }))
    }

    fn record(&self, settings: &Settings, _process: &Self::Process) -> Result<Watched> {
        Ok(Watched { steps: PtbSettings::of(settings)?.steps, shown: None })
    }

    fn files(&self, outcome: &RetrainingResult) -> Vec<(&'static str, String)> {
        let cell = parse_cell(&outcome.cell.cell).expect("a cell reads its own text");
        vec![("cell.svg", svg(&[(&outcome.chosen, cell)]))]
    }

    fn data(&self) -> Table {
        self.0.data()
    }

    fn outcome(
        &self,
        settings: &Settings,
        training: &mut Self::Process,
        _record: &Watched,
        wall_seconds: f64,
    ) -> Result<RetrainingResult> {
        let tokens = self.0.tokens(settings)?;
        let own = PtbSettings::of(settings)?;
        let cell = SizedCell::new(&own.sizes(tokens.vocabulary.len()), training.architecture())?;
        let steps = training.steps();
        Ok(RetrainingResult {
            experiment: settings.experiment.name().to_owned(),
            preset: settings.preset.clone(),
            method: settings.method.to_string(),
            seed: settings.seed,
            trial: settings.trial,
            chosen: settings.get(CHOSEN)?,
            cell,
            corpus: own.corpus,
            vocabulary: tokens.vocabulary.len(),
            training_words: tokens.training.len(),
            validation: training.evaluate(Set::Validation)?.into(),
            test: training.evaluate(Set::Test)?.into(),
            steps,
            wall_seconds,
            steps_per_second: steps as f64 / wall_seconds.max(f64::MIN_POSITIVE),
            provenance: self.provenance(),
        })
    }
}

impl Retraining {
    fn training(&self, settings: &Settings, tokens: &Tokens, plan: training::Plan) -> Result<Training<LanguageModel>> {
        let architecture = parse_cell(&settings.get::<String>(ARCHITECTURE)?)?.architecture();
        let model = self.0.model(settings, tokens)?;
        Training::new(plan, model, settings.trial, &architecture).map_err(Error::Settings)
    }
}

fn plan(settings: &Settings, tokens: &Tokens) -> Result<training::Plan> {
    let retraining: RetrainingSettings = settings.get("retraining")?;
    PtbSettings::of(settings)?.retraining_plan(tokens.training.len(), &retraining)
}

/// What is recorded: the perplexity on the validation text.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Steps of a minibatch, over which its loss is summed.
    steps: usize,
    shown: Option<String>,
}

impl Record for Watched {
    fn columns(&self) -> Vec<&'static str> {
        vec!["step", "training_loss", "validation_loss", "validation_perplexity"]
    }

    fn message(&self) -> String {
        self.shown.clone().unwrap_or_default()
    }
}

impl TrainingRecord for Watched {
    fn report(&mut self, report: &Report) -> Vec<String> {
        let Perplexity { perplexity, loss, .. } = report.evaluation.into();
        self.shown = Some(format!("validation perplexity {perplexity:.1}"));
        let training = report.loss.map(|loss| float(loss / self.steps as f64));
        vec![report.steps.to_string(), training.unwrap_or_default(), float(loss), float(perplexity)]
    }
}
