//! `config.toml`: the settings of a run, which must agree when it is resumed, and what it was computed with.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::{Error, Result};
use crate::settings::differences;

/// Content of `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Every setting, resolved.
    pub settings: Table,
    /// Version, commit, compiler, device: if they differ, a resumed run may differ in the last bits.
    pub provenance: Table,
}

/// The file's name.
pub const NAME: &str = "config.toml";

const HEADER: &str = "\
# The settings of this run and what it was computed with; written once, when the run was started.
# To resume the run, [settings] must agree.

";

impl Config {
    /// From settings and anything that describes the program and the device.
    ///
    /// # Errors
    /// If the description has no form in TOML.
    pub fn new(settings: &Table, provenance: &impl Serialize) -> Result<Self> {
        let provenance = Table::try_from(provenance).map_err(|error| Error::Usage(error.to_string()))?;
        Ok(Self { settings: settings.clone(), provenance })
    }

    /// What the run is computed with, as it was given.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn provenance<T: DeserializeOwned>(&self) -> Result<T> {
        self.provenance.clone().try_into().map_err(|error: toml::de::Error| Error::Usage(error.message().to_owned()))
    }

    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut whole = Table::new();
        whole.insert("settings".to_owned(), self.settings.clone().into());
        whole.insert("provenance".to_owned(), self.provenance.clone().into());
        format!("{HEADER}{whole}")
    }

    /// From text that was read from `path`.
    ///
    /// # Errors
    /// [`Error::Damaged`] if it is not a config.
    pub fn decode(text: &str, path: &Path) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::damaged(path, format!("not a config: {}", error.message())))
    }

    /// Checks that a config on disk has the settings of this one.
    ///
    /// # Errors
    /// [`Error::OtherSettings`], which names them.
    pub fn expect_settings(&self, there: &Table, path: &Path) -> Result<()> {
        let found = differences(there, &self.settings);
        if found.is_empty() {
            return Ok(());
        }
        let differences = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Err(Error::OtherSettings { path: path.to_owned(), differences })
    }

    /// What was computed with differently, in a line; nothing if all agrees.
    #[must_use]
    pub fn other_build(&self, there: &Self) -> Option<String> {
        let found = differences(&there.provenance, &self.provenance);
        (!found.is_empty()).then(|| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }
}
