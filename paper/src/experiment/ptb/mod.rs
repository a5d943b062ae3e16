//! The recurrent cell of section 5.3: searched on a text, trained anew, and measured by perplexity.
//!
//! - [`cell`]: the cell as text and as a graph
//! - [`search`]: the search of a cell
//! - [`retraining`]: the training of a cell with new weights
//! - [`evaluation`]: the perplexity of a run that is on disk
//! - [`dump`](mod@dump): one step as a file
//!
//! Here is what the two share: the settings, the corpus, the network, and which cell of a search is retrained.

pub mod cell;
pub mod dump;
pub mod evaluation;
pub mod retraining;
pub mod search;

use std::path::Path;
use std::sync::Arc;

use advantage_nas::network::recurrent::{Cell, Parent, Recurrent, Texts, WeightSettings};
use advantage_nas::random::Streams;
use advantage_nas::search::{Plan, ProcessBest};
use advantage_nas::strategy::Method;
use advantage_nas::supernet::Evaluation;
use advantage_nas::{Architecture, training};
use advantage_nas_cpu::recurrent::{self, RecurrentNetwork, RecurrentSupernet};
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::data::corpus::{Corpus, Lines, Tokens};
use crate::error::{Error, Result};
use crate::settings::{Experiment, Settings};

/// What is searched and trained.
pub type LanguageModel = RecurrentSupernet<f32>;

/// The texts, the network, and how long it is searched: the table `[ptb]` of a preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PtbSettings {
    /// Name of the corpus.
    pub corpus: String,
    /// Lines of the training text that are used; 0 for all.
    pub training_lines: usize,
    /// Lines of the validation text that are used; 0 for all.
    pub validation_lines: usize,
    /// Lines of the test text that are used; 0 for all.
    pub test_lines: usize,
    /// Passes of the search over the training text.
    pub epochs: f64,
    /// Numbers of an embedding and of the state.
    pub units: usize,
    /// Parallel streams of a minibatch.
    pub batch: usize,
    /// Steps after which the gradient is cut.
    pub steps: usize,
    /// Probability that a unit is dropped.
    pub dropout: f64,
    /// Initial values are uniform between minus this and this.
    pub initial_range: f64,
}

/// The training of the chosen cell: the table `[retraining]` of a preset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrainingSettings {
    /// Passes over the training text.
    pub epochs: f64,
    /// Updates of the weights from one log row to the next.
    pub interval: u64,
    /// Which cell of a search is trained.
    pub choose: Choose,
}

/// Which cell of a search is trained anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choose {
    /// As in the paper, see [`Choose::of`].
    ByMethod,
    /// The argmax cell at the end.
    Argmax,
    /// The cell with the smallest minibatch loss of the search.
    ProcessBest,
}

impl Choose {
    /// The choice for a method: the process best for REINFORCE and GDAS, as in the paper, the argmax cell for all others. Of these, the
    /// paper has AdvantageNAS, ProxylessNAS and PARSEC; DARTS, SNAS and NASP take the argmax in their own papers, and here ENAS, too.
    #[must_use]
    pub fn of(self, method: Method) -> Self {
        match (self, method) {
            (Self::ByMethod, Method::Reinforce | Method::ReinforcePlain | Method::Gdas) => Self::ProcessBest,
            (Self::ByMethod, _) => Self::Argmax,
            (chosen, _) => chosen,
        }
    }

    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ByMethod => "by-method",
            Self::Argmax => "argmax",
            Self::ProcessBest => "process-best",
        }
    }
}

impl PtbSettings {
    /// Of a run.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub fn of(settings: &Settings) -> Result<Self> {
        settings.get("ptb")
    }

    /// How much of the corpus is used.
    #[must_use]
    pub fn lines(&self) -> Lines {
        Lines { training: self.training_lines, validation: self.validation_lines, test: self.test_lines }
    }

    /// The network over so many words.
    #[must_use]
    pub fn sizes(&self, vocabulary: usize) -> Recurrent {
        let Self { units, batch, steps, dropout, initial_range, .. } = *self;
        Recurrent { vocabulary, units, batch, steps, dropout, initial_range }
    }

    /// Minibatches in a pass over a training text of so many words: not whole, the streams run across its end.
    fn steps_per_epoch(&self, words: usize) -> Result<f64> {
        let minibatch = self.batch.saturating_mul(self.steps);
        if minibatch == 0 || words < minibatch.saturating_mul(2) {
            return Err(Error::Usage(format!(
                "the training text of {:?} has {words} words here, expected at least two minibatches of ptb.batch = {} times ptb.steps = {}",
                self.corpus, self.batch, self.steps
            )));
        }
        Ok(words as f64 / minibatch as f64)
    }

    /// The steps of a search on a training text of so many words. Updates of `w` and of `θ` read consecutive minibatches in turn, so that
    /// an epoch has half of each.
    ///
    /// # Errors
    /// [`Error::Usage`] for a text that is too short, a schedule without a step, or an interval of 0.
    pub fn plan(&self, words: usize, interval: u64) -> Result<Plan> {
        let per_epoch = self.steps_per_epoch(words)?;
        at_least_one("interval", interval)?;
        let iterations = steps("ptb.epochs", self.epochs, per_epoch)? / 2;
        if iterations == 0 {
            let epochs = self.epochs;
            return Err(Error::Usage(format!(
                "ptb.epochs = {epochs} has no update of theta: an epoch has {per_epoch} steps"
            )));
        }
        Ok(Plan {
            warmup: 0,
            iterations,
            interval,
            weight_steps_per_epoch: per_epoch / 2.0,
            theta_steps_per_epoch: per_epoch / 2.0,
            process_best: ProcessBest::AllSteps,
        })
    }

    /// The steps of a retraining on a training text of so many words.
    ///
    /// # Errors
    /// As [`PtbSettings::plan`].
    pub fn retraining_plan(&self, words: usize, retraining: &RetrainingSettings) -> Result<training::Plan> {
        let steps_per_epoch = self.steps_per_epoch(words)?;
        at_least_one("retraining.interval", retraining.interval)?;
        let steps = steps("retraining.epochs", retraining.epochs, steps_per_epoch)?;
        Ok(training::Plan { steps, interval: retraining.interval, steps_per_epoch })
    }
}

fn at_least_one(name: &str, value: u64) -> Result<()> {
    if value > 0 { Ok(()) } else { Err(Error::Usage(format!("{name} must be at least 1, got {value}"))) }
}

/// Steps of so many epochs, the last one whole.
fn steps(name: &str, epochs: f64, per_epoch: f64) -> Result<u64> {
    // Steps are counted in whole numbers.
    let limit = 1e9;
    if !(epochs > 0.0 && epochs <= limit) {
        return Err(Error::Usage(format!("{name} must be above 0 and at most {limit}, got {epochs}")));
    }
    Ok((epochs * per_epoch).ceil() as u64)
}

/// The corpus, loaded once for all runs.
#[derive(Clone, Debug)]
pub struct Language {
    /// The texts.
    pub corpus: Corpus,
    /// Threads of every run; they change no number.
    pub threads: usize,
}

impl Language {
    /// Loads the corpus that the settings name.
    ///
    /// # Errors
    /// As [`Corpus::load`].
    pub fn load(data: &Path, settings: &Settings, threads: usize) -> Result<Self> {
        Ok(Self { corpus: Corpus::load(data, &PtbSettings::of(settings)?.corpus)?, threads })
    }

    /// The words of a run.
    ///
    /// # Errors
    /// As [`Corpus::tokens`]; [`Error::Usage`] for the settings of another corpus.
    pub fn tokens(&self, settings: &Settings) -> Result<Tokens> {
        let own = PtbSettings::of(settings)?;
        if own.corpus != self.corpus.name {
            return Err(Error::Usage(format!("the corpus is {:?}, expected {:?}", self.corpus.name, own.corpus)));
        }
        self.corpus.tokens(own.lines())
    }

    /// Checks the settings of the network and of its retraining, before anything is written.
    fn check(&self, settings: &Settings, tokens: &Tokens) -> Result<()> {
        settings.get::<RetrainingSettings>("retraining")?;
        PtbSettings::of(settings)?.sizes(tokens.vocabulary.len()).check().map_err(Error::Settings)?;
        settings.get::<WeightSettings>("weights")?.check().map_err(Error::Settings)
    }

    /// The memory that a run takes in bytes, beside the texts.
    fn memory(&self, settings: &Settings) -> Result<usize> {
        let tokens = self.tokens(settings)?;
        let parent = Parent::new(PtbSettings::of(settings)?.sizes(tokens.vocabulary.len())).map_err(Error::Settings)?;
        // The weights, as numbers and as the bytes of the file.
        let weights: usize =
            parent.parameters().iter().map(|parameter| parameter.shape.iter().product::<usize>()).sum();
        Ok(RecurrentNetwork::<f32>::memory_of(&parent, 1) + 2 * weights * size_of::<f32>())
    }

    /// The network of a run before its first step. During a search, nothing looks at the test text: what its log shows is measured on the
    /// validation text.
    ///
    /// # Errors
    /// [`Error::Settings`] and [`Error::Usage`] for settings that make none.
    pub fn model(&self, settings: &Settings, tokens: &Tokens) -> Result<LanguageModel> {
        let searched = settings.experiment == Experiment::Ptb;
        self.model_over(settings, tokens, if searched { &tokens.validation } else { &tokens.test })
    }

    /// The network of a run with any test text.
    fn model_over(&self, settings: &Settings, tokens: &Tokens, test: &Arc<[u32]>) -> Result<LanguageModel> {
        let own = PtbSettings::of(settings)?;
        own.steps_per_epoch(tokens.training.len())?;
        let weights: WeightSettings = settings.get("weights")?;
        let parent = Parent::new(own.sizes(tokens.vocabulary.len())).map_err(Error::Settings)?;
        let texts = Texts {
            vocabulary: tokens.vocabulary.len(),
            training: tokens.training.clone(),
            validation: tokens.validation.clone(),
            test: Some(test.clone()),
        };
        let network = recurrent::Settings { weights, threads: self.threads };
        recurrent::supernet(parent, network, texts, &Streams::new(settings.seed), &[settings.trial])
            .map_err(Error::Settings)
    }

    /// Checksums of the texts, which must agree when a run is resumed.
    fn data(&self) -> Table {
        self.corpus.checksums()
    }
}

/// A cell, and how large its network is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizedCell {
    /// The cell as text.
    pub cell: String,
    /// Index of the candidate of every edge.
    pub architecture: Vec<usize>,
    /// All parameters of the stand-alone network.
    pub parameters: u64,
    /// Parameters as the authors' program counts them.
    pub reported_parameters: u64,
}

impl SizedCell {
    fn new(sizes: &Recurrent, architecture: &Architecture) -> Result<Self> {
        Ok(Self {
            cell: Cell::of(architecture)?.to_string(),
            architecture: architecture.choices().to_vec(),
            parameters: sizes.parameters(architecture)?,
            reported_parameters: sizes.reported_parameters(architecture)?,
        })
    }
}

/// How well a network predicts a text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Perplexity {
    /// `exp` of the mean negative log-likelihood of a word.
    pub perplexity: f64,
    /// The mean negative log-likelihood of a word, in nats.
    pub loss: f64,
    /// Words that were predicted.
    pub predictions: u64,
}

impl From<Evaluation> for Perplexity {
    fn from(evaluation: Evaluation) -> Self {
        Self { perplexity: evaluation.loss.exp(), loss: evaluation.loss, predictions: evaluation.count }
    }
}
