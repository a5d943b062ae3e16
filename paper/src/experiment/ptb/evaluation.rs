//! The perplexity of a run that is on disk, from its checkpoint; finished or not.

use std::path::Path;

use advantage_nas::network::recurrent::Cell;
use advantage_nas::strategy::{Proposal, Want};
use advantage_nas::supernet::{Batch, Request, Set};
use advantage_nas::{Architecture, Search, Supernet, Training};
use serde::Serialize;

use super::retraining::Retraining;
use super::search::RecurrentSearch;
use super::{Language, LanguageModel, Perplexity};
use crate::error::Result;
use crate::experiment::at_checkpoint;
use crate::settings::{Experiment, Settings};

/// What a run predicts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The cell.
    pub cell: String,
    /// Whose weights it has.
    pub weights: String,
    /// Steps that the run has done.
    pub steps_done: u64,
    /// Steps of the run.
    pub steps: u64,
    /// On the validation text.
    pub validation: Perplexity,
    /// On the test text.
    pub test: Perplexity,
}

impl Measured {
    /// Measures the run in a folder, whose settings these are. The run is locked meanwhile, and not changed.
    ///
    /// # Errors
    /// If there is no checkpoint, or it does not fit; [`Error::OtherData`](crate::Error::OtherData) for other texts than the run's.
    pub fn of(folder: &Path, language: Language, settings: &Settings) -> Result<Self> {
        if settings.experiment == Experiment::PtbRetraining {
            let experiment = Retraining(language);
            let (process, note) = at_checkpoint(folder, &experiment, settings, Training::restore)?;
            let (architecture, counts) = (process.architecture().clone(), (process.position(), process.steps()));
            let mut model = experiment.0.model(settings, &experiment.0.tokens(settings)?)?;
            model.restore(settings.trial, &note)?;
            return Self::with(model, settings, &architecture, "its own".to_owned(), counts);
        }
        let experiment = RecurrentSearch(language);
        let (process, note) = at_checkpoint(folder, &experiment, settings, Search::restore)?;
        let mut architecture = Architecture::first(process.supernet().space().shape());
        process.strategy().mode_into(&mut architecture);
        let tokens = experiment.0.tokens(settings)?;
        // A search does not look at the test text; here it is asked for.
        let mut model = experiment.0.model_over(settings, &tokens, &tokens.test)?;
        model.restore(settings.trial, &note)?;
        let counts = (process.position(), process.steps());
        Self::with(model, settings, &architecture, format!("shared, of a search by {}", settings.method), counts)
    }

    fn with(
        mut model: LanguageModel,
        settings: &Settings,
        architecture: &Architecture,
        weights: String,
        (steps_done, steps): (u64, u64),
    ) -> Result<Self> {
        let proposal = Proposal::one_hot(model.space().shape(), architecture, Want::Loss)?;
        let mut perplexity = |set| -> Result<Perplexity> {
            let batch = Batch { trial: settings.trial, set, step: 0 };
            Ok(model.evaluate(&Request { batch, proposal: proposal.clone() })?.into())
        };
        let (validation, test) = (perplexity(Set::Validation)?, perplexity(Set::Test)?);
        Ok(Self { cell: Cell::of(architecture)?.to_string(), weights, steps_done, steps, validation, test })
    }
}
