//! `config.toml`: the settings of a run, which must agree when it is resumed, and what it was computed with.

use std::path::Path;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::error::{Error, Result};
use crate::settings::differences;

/// Content of `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Every setting, resolved.
    pub settings: Table,
    /// Checksums of the data, for experiments that read any.
    #[serde(default, skip_serializing_if = "Table::is_empty")]
    pub data: Table,
    /// Version, commit, compiler, device: if they differ, a resumed run may differ in the last bits.
    pub provenance: Table,
}

/// The file's name.
pub const NAME: &str = "config.toml";

const HEADER: &str = "\
# The settings of this run and what it was computed with; written once, when the run was started.
# To resume the run, [settings] and, where there is one, [data] must agree.

";

impl Config {
    /// From settings, checksums of the data and anything that describes the program and the device.
    ///
    /// # Errors
    /// If the description has no form in TOML.
    pub fn new(settings: &Table, data: &Table, provenance: &impl Serialize) -> Result<Self> {
        let provenance = Table::try_from(provenance).map_err(|error| Error::Usage(error.to_string()))?;
        Ok(Self { settings: settings.clone(), data: data.clone(), provenance })
    }

    /// As text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut whole = Table::new();
        whole.insert("settings".to_owned(), self.settings.clone().into());
        if !self.data.is_empty() {
            whole.insert("data".to_owned(), self.data.clone().into());
        }
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
        match listed(there, &self.settings) {
            None => Ok(()),
            Some(differences) => Err(Error::OtherSettings { path: path.to_owned(), differences }),
        }
    }

    /// Checks that a config on disk is of the same data as this one.
    ///
    /// # Errors
    /// [`Error::OtherData`], which names the differences.
    pub fn expect_data(&self, there: &Table, path: &Path) -> Result<()> {
        match listed(there, &self.data) {
            None => Ok(()),
            Some(differences) => Err(Error::OtherData { path: path.to_owned(), differences }),
        }
    }

    /// What was computed with differently, in a line; nothing if all agrees.
    #[must_use]
    pub fn other_build(&self, there: &Self) -> Option<String> {
        listed(&there.provenance, &self.provenance)
    }
}

/// What differs, in a line.
fn listed(there: &Table, here: &Table) -> Option<String> {
    let found = differences(there, here);
    (!found.is_empty()).then(|| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_data_is_named() {
        let table = |text: &str| text.parse::<Table>().unwrap();
        let config = |data: &str| Config::new(&table("seed = 1"), &table(data), &table("commit = 'c'")).unwrap();
        let path = Path::new("config.toml");
        let here = config("cifar10 = 'crc32 1'");
        let there = Config::decode(&config("cifar10 = 'crc32 2'").encode(), path).unwrap();
        let message = here.expect_data(&there.data, path).unwrap_err().to_string();
        assert_eq!(message, "config.toml was written for other data: cifar10 is \"crc32 2\" there, \"crc32 1\" here");
        assert_eq!(Config::decode(&here.encode(), path).unwrap(), here);
        assert!(!config("").encode().contains("[data]\n"));
    }
}
