//! The hyperparameters of an experiment: its preset, changed by the command line.
//!
//! The preset of an experiment is a commented TOML file that lists *every* setting; so it also says which settings there are
//! and of which type. Here is how the two are put together and read; what the settings mean is said in the presets and in the
//! types that read them. Everything in here must agree when a run is resumed; what may change (folder, threads, when to
//! pause) is not a setting.

mod difference;
mod overrides;

pub use difference::{Difference, differences};
pub use overrides::Override;

use std::str::FromStr;

use advantage_nas::strategy::{Method, MethodSettings};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::error::{Error, Result};

/// An experiment of the paper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    /// Toy regression, section 5.1.
    Toy,
    /// Architecture search on CIFAR-10, section 5.2.
    Cifar10,
    /// Search of a recurrent cell on the Penn Treebank, section 5.3.
    Ptb,
    /// Training of a recurrent cell with new weights, section 5.3.
    PtbRetraining,
}

impl Experiment {
    const ALL: [Self; 4] = [Self::Toy, Self::Cifar10, Self::Ptb, Self::PtbRetraining];

    /// The name on the command line, of the preset, and of the table with the experiment's own settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Toy => "toy",
            Self::Cifar10 => "cifar10",
            Self::Ptb => "ptb",
            Self::PtbRetraining => "ptb-retraining",
        }
    }

    /// The settings that are neither common nor of the methods.
    fn own(self) -> &'static [&'static str] {
        match self {
            Self::Toy => &["iterations", "toy"],
            Self::Cifar10 => &["cifar10", "weights"],
            Self::Ptb => &["ptb", "weights", "retraining"],
            Self::PtbRetraining => &["ptb", "weights", "retraining", ARCHITECTURE, CHOSEN],
        }
    }

    /// Names and texts of the presets, as they are in `presets/`; the first is the paper's and the default. A retraining has none: its
    /// settings are those of a search, see [`Settings::for_retraining`].
    #[must_use]
    pub fn presets(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Toy => &[("full", include_str!("../../presets/toy.toml"))],
            Self::Cifar10 => &[
                ("full", include_str!("../../presets/cifar10-full.toml")),
                ("small", include_str!("../../presets/cifar10-small.toml")),
                ("tiny", include_str!("../../presets/cifar10-tiny.toml")),
            ],
            Self::Ptb => &[
                ("full", include_str!("../../presets/ptb-full.toml")),
                ("small", include_str!("../../presets/ptb-small.toml")),
                ("tiny", include_str!("../../presets/ptb-tiny.toml")),
            ],
            Self::PtbRetraining => &[],
        }
    }
}

/// The resolved settings of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The experiment.
    pub experiment: Experiment,
    /// Name of the preset that was changed to these settings.
    pub preset: String,
    /// The method.
    pub method: Method,
    /// The seed of all random streams.
    pub seed: u64,
    /// Which trial of that seed.
    pub trial: u32,
    /// Updates of `θ` from one log row to the next.
    pub interval: u64,
    /// Hyperparameters of the methods.
    pub method_settings: MethodSettings,
    table: Table,
}

/// The setting of a retraining that says which architecture is trained.
pub const ARCHITECTURE: &str = "architecture";
/// The setting of a retraining that says where the architecture is from.
pub const CHOSEN: &str = "chosen";

/// The settings that every experiment has, beside those of the methods and its own.
const COMMON: [&str; 6] = ["experiment", "preset", "method", "seed", "trial", "interval"];

impl Settings {
    /// A preset of an experiment (by default the first) with changes.
    ///
    /// # Errors
    /// [`Error::UnknownPreset`], [`Error::UnknownSetting`], [`Error::WrongSetting`], or [`Error::Usage`] for a setting that is given twice.
    pub fn resolve(experiment: Experiment, preset: Option<&str>, overrides: &[Override]) -> Result<Self> {
        let presets = experiment.presets();
        let known = || presets.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let (_, text) = preset
            .map_or(presets.first(), |preset| presets.iter().find(|(name, _)| *name == preset))
            .ok_or_else(|| Error::UnknownPreset { name: preset.unwrap_or_default().to_owned(), known: known() })?;
        let table: Table = text.parse().expect("presets are well-formed");
        Self::changed(experiment, table, overrides)
    }

    /// These settings with changes.
    ///
    /// # Errors
    /// As [`Settings::resolve`].
    pub fn with(&self, overrides: &[Override]) -> Result<Self> {
        Self::changed(self.experiment, self.table.clone(), overrides)
    }

    /// The settings of a run that was started earlier, from its `config.toml`.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub fn from_table(table: &Table) -> Result<Self, String> {
        let name: String = read(table, "experiment")?;
        let known = || Experiment::ALL.map(Experiment::name).join(", ");
        let experiment = Experiment::ALL.into_iter().find(|experiment| experiment.name() == name);
        Self::read(experiment.ok_or_else(|| format!("unknown experiment {name:?}, known are: {}", known()))?, table)
    }

    /// The settings of the training of an architecture with new weights, from those of the search that found it.
    ///
    /// # Panics
    /// If this is not a search whose architectures are retrained.
    #[must_use]
    pub fn for_retraining(&self, architecture: &str, chosen: &str) -> Self {
        assert_eq!(self.experiment, Experiment::Ptb, "nothing else is retrained");
        let mut table = self.table.clone();
        for (key, value) in
            [("experiment", Experiment::PtbRetraining.name()), (ARCHITECTURE, architecture), (CHOSEN, chosen)]
        {
            table.insert(key.to_owned(), value.into());
        }
        Self::read(Experiment::PtbRetraining, &table).expect("the settings of a search are complete")
    }

    fn changed(experiment: Experiment, mut table: Table, overrides: &[Override]) -> Result<Self> {
        for (index, change) in overrides.iter().enumerate() {
            if overrides[..index].iter().any(|earlier| earlier.key == change.key) {
                return Err(Error::Usage(format!("the setting {} is given twice", change.key)));
            }
            change.apply(&mut table)?;
            // The preset is right, so that what is wrong now is wrong with this change.
            Self::read(experiment, &table).map_err(|problem| change.wrong(&problem))?;
        }
        Ok(Self::read(experiment, &table).expect("settings are complete before they are changed"))
    }

    /// The same settings for another trial.
    #[must_use]
    pub fn for_trial(&self, trial: u32) -> Self {
        let mut settings = self.clone();
        settings.trial = trial;
        settings.table.insert("trial".to_owned(), Value::Integer(trial.into()));
        settings
    }

    /// The settings as they are written to `config.toml`.
    #[must_use]
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// One setting, such as the number of iterations.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        read(&self.table, key).map_err(Error::Usage)
    }

    /// The experiment's own settings, the table of its name.
    ///
    /// # Errors
    /// A description of what does not fit.
    pub fn own<T: DeserializeOwned>(&self) -> Result<T> {
        self.get(self.experiment.name())
    }

    fn read(experiment: Experiment, table: &Table) -> Result<Self, String> {
        let method: String = read(table, "method")?;
        let mut rest = table.clone();
        for key in COMMON.iter().chain(experiment.own()) {
            rest.remove(*key);
        }
        Ok(Self {
            experiment,
            preset: read(table, "preset")?,
            method: Method::from_str(&method).map_err(|error| error.to_string())?,
            seed: read(table, "seed")?,
            trial: read(table, "trial")?,
            interval: read(table, "interval")?,
            method_settings: Value::Table(rest).try_into().map_err(first_line)?,
            table: table.clone(),
        })
    }
}

fn read<T: DeserializeOwned>(table: &Table, key: &str) -> Result<T, String> {
    let value = table.get(key).ok_or_else(|| format!("{key} is missing"))?;
    value.clone().try_into().map_err(first_line)
}

fn first_line(error: toml::de::Error) -> String {
    error.message().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas::network::toy::Toy;
    use advantage_nas::strategy::ThetaSettings;

    fn resolve(overrides: &[&str]) -> Result<Settings> {
        let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
        Settings::resolve(Experiment::Toy, None, &overrides)
    }

    #[test]
    fn the_preset_is_the_papers() {
        let settings = resolve(&[]).unwrap();
        assert_eq!(settings.own::<Toy>().unwrap(), Toy::paper());
        assert_eq!((settings.get("iterations").unwrap(), settings.interval), (2000u64, 10));
        let mut expected = MethodSettings::toy();
        // No limit and an infinite limit are the same.
        expected.theta = ThetaSettings { clip_norm: Some(f64::INFINITY), ..expected.theta };
        assert_eq!(settings.method_settings, expected);
    }

    #[test]
    fn overrides_reach_their_place() {
        let settings = resolve(&["theta.learning_rate=1", "zero_rule=keep", "toy.edges=3", "baseline=true"]).unwrap();
        assert_eq!(settings.method_settings.theta.learning_rate, 1.0);
        assert_eq!(settings.own::<Toy>().unwrap().edges, 3);
        assert!(settings.method_settings.baseline);
        let table = settings.table();
        assert_eq!(table["theta"]["learning_rate"].as_float(), Some(1.0));
        assert_eq!(table["zero_rule"].as_str(), Some("keep"));
        assert_eq!(settings.for_trial(7).table()["trial"].as_integer(), Some(7));
        for (text, value) in [(".5", 0.5), ("5.", 5.0), ("1e-3", 1e-3), ("+2", 2.0), ("inf", f64::INFINITY)] {
            let settings = resolve(&[&format!("theta.clip_norm={text}")]).unwrap();
            assert_eq!(settings.method_settings.theta.clip_norm, Some(value), "{text}");
        }
    }

    #[test]
    fn wrong_overrides_are_named() {
        let message = |text: &str| resolve(&[text]).unwrap_err().to_string();
        let unknown = message("theta.learning_rat=1");
        assert!(unknown.starts_with("unknown setting \"theta.learning_rat\", known are: method, seed, trial"));
        assert!(unknown.contains("theta.learning_rate, ") && unknown.ends_with("toy.batch"));
        assert!(message("theta=1").starts_with("unknown setting \"theta\""));
        assert!(message("preset=small").starts_with("unknown setting \"preset\""));
        let preset = Settings::resolve(Experiment::Toy, Some("huge"), &[]).unwrap_err().to_string();
        assert_eq!(preset, "unknown preset \"huge\", known are: full");
        assert!(message("experiment=ptb").starts_with("unknown setting \"experiment\""));
        assert_eq!(message("theta.beta1=fast"), "theta.beta1 = fast: expected a number");
        assert_eq!(message("theta.beta1=infinity"), "theta.beta1 = infinity: expected a number");
        assert_eq!(message("seed=1.5"), "seed = 1.5: expected a whole number");
        assert_eq!(message("seed=-1"), "seed = -1: expected at least 0");
        assert_eq!(message("baseline=1"), "baseline = 1: expected true or false");
        assert!(message("trial=4294967296").starts_with("trial = 4294967296: "));
        assert!(message("zero_rule=best").contains("`worst-of-others`"));
        assert!(message("method=random").contains("known are: reinforce, "));
        assert!(resolve(&["seed=1", "seed=2"]).unwrap_err().to_string().contains("seed is given twice"));
    }

    #[test]
    fn overrides_are_values_not_documents() {
        assert!(resolve(&["seed=1\niterations = 3"]).is_err());
        assert!("seed".parse::<Override>().is_err());
        assert!("=1".parse::<Override>().is_err());
    }
}
