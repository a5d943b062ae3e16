//! One change of a setting, `KEY=VALUE`. The preset says which keys there are and of which type.

use std::fmt;
use std::str::FromStr;

use toml::{Table, Value};

use crate::error::{Error, Result};

/// A setting and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Path of the setting, with dots.
    pub key: String,
    /// The value as it was given.
    text: String,
}

impl Override {
    /// The setting `key` and its value, written as in TOML; quotes around words may be left out.
    pub fn new(key: impl Into<String>, value: impl ToString) -> Self {
        Self { key: key.into(), text: value.to_string() }
    }

    /// The value as it was given.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.text
    }

    /// Changes the setting in a table that has all settings.
    pub(super) fn apply(&self, table: &mut Table) -> Result<()> {
        let unknown = |table: &Table| Error::UnknownSetting { key: self.key.clone(), known: keys(table).join(", ") };
        if !keys(table).contains(&self.key) {
            return Err(unknown(table));
        }
        let mut parts = self.key.split('.');
        let first = parts.next().unwrap_or_default();
        let place = parts.try_fold(table.get_mut(first), |value, part| Some(value?.as_table_mut()?.get_mut(part)));
        if let Some(Some(place)) = place {
            *place = self.value_like(place)?;
        }
        Ok(())
    }

    /// The value, of the type that the setting has now.
    fn value_like(&self, present: &Value) -> Result<Value> {
        let parsed = self.text.parse::<Value>().ok();
        // Numbers as people write them, such as .5, which TOML does not know.
        let number = number(&self.text).map(Value::Float);
        let expected = match (present, parsed.or(number.filter(|_| present.is_float()))) {
            (Value::Integer(_), Some(Value::Integer(value))) if value >= 0 => return Ok(Value::Integer(value)),
            (Value::Integer(_), Some(Value::Integer(_))) => "expected at least 0",
            (Value::Float(_), Some(Value::Float(value))) => return Ok(Value::Float(value)),
            (Value::Float(_), Some(Value::Integer(value))) => return Ok(Value::Float(value as f64)),
            (Value::Boolean(_), Some(Value::Boolean(value))) => return Ok(Value::Boolean(value)),
            (Value::String(_), Some(Value::String(value))) => return Ok(Value::String(value)),
            (Value::String(_), None) => return Ok(Value::String(self.text.clone())),
            (Value::Integer(_), _) => "expected a whole number",
            (Value::Float(_), _) => "expected a number",
            (Value::Boolean(_), _) => "expected true or false",
            _ => "expected a word",
        };
        Err(self.wrong(expected))
    }

    /// The error that says what is wrong with the value.
    pub(super) fn wrong(&self, problem: &str) -> Error {
        let value = self.text.lines().next().unwrap_or_default().to_owned();
        Error::WrongSetting { key: self.key.clone(), value, problem: problem.to_owned() }
    }
}

impl fmt::Display for Override {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.text)
    }
}

impl FromStr for Override {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Self::new(key.trim(), value.trim())),
            _ => Err(Error::Usage(format!("expected KEY=VALUE, got {text:?}"))),
        }
    }
}

/// A decimal number, not a word such as `infinity`.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|_| !text.contains(|c: char| c.is_alphabetic() && !matches!(c, 'e' | 'E')))
}

/// Paths of all settings that can be changed. Experiment and preset can't: their names chose the table.
fn keys(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => keys.extend(inner.keys().map(|key| format!("{name}.{key}"))),
            _ if name == "experiment" || name == "preset" => {}
            _ => keys.push(name.clone()),
        }
    }
    keys
}
