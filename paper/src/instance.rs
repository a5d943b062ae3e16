//! The file of an instance of section 4.4: probabilities and rewards, read exactly as they are written.

use std::path::Path;

use advantage_nas::OpTable;
use advantage_nas_theory::instance::Instance;
use advantage_nas_theory::number::{Rational, parse, whole};
use serde::Deserialize;
use toml::{Spanned, Value};

use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    constant: Option<Spanned<Value>>,
    #[serde(default)]
    edges: Vec<Edge>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edge {
    probabilities: Vec<Spanned<Value>>,
    rewards: Vec<Spanned<Value>>,
    zero: Option<usize>,
}

/// Reads an instance.
///
/// # Errors
/// If the file can't be read ([`Error::Io`]), or is not an instance ([`Error::Usage`], with the file and what is wrong).
pub fn read(path: &Path) -> Result<Instance> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    from_text(&text).map_err(|problem| Error::Usage(format!("{}: {problem}", path.display())))
}

fn from_text(text: &str) -> Result<Instance, String> {
    let file: File = toml::from_str(text).map_err(|error| {
        // The parser draws the line of the file over several lines; ours is one.
        let at = error.span().map(|span| format!("line {}: ", text[..span.start].matches('\n').count() + 1));
        format!("{}{}", at.unwrap_or_default(), error.message().replace('\n', ", "))
    })?;
    if file.edges.is_empty() {
        return Err("an instance needs at least one [[edges]] with probabilities and rewards".to_owned());
    }
    let number = |name: &str, value: &Spanned<Value>| -> Result<Rational, String> {
        let written = match value.get_ref() {
            Value::Integer(value) => return Ok(whole(*value)),
            // A decimal counts as it stands in the file: 0.1 is 1/10, not the nearest binary fraction.
            Value::Float(_) => text[value.span()].replace('_', ""),
            Value::String(text) => text.clone(),
            other => return Err(format!("{name}: expected a number, got a {}", other.type_str())),
        };
        parse(&written).map_err(|error| format!("{name}: {error}"))
    };
    let constant = file.constant.as_ref().map_or_else(|| Ok(whole(0)), |value| number("constant", value))?;
    let (mut probabilities, mut rewards, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for (index, edge) in file.edges.iter().enumerate() {
        let row = |name: &str, values: &[Spanned<Value>]| {
            values.iter().map(|value| number(&format!("edge {index}, {name}"), value)).collect::<Result<Vec<_>, _>>()
        };
        if edge.probabilities.len() != edge.rewards.len() {
            return Err(format!(
                "edge {index}: {} probabilities but {} rewards",
                edge.probabilities.len(),
                edge.rewards.len()
            ));
        }
        probabilities.push(row("probabilities", &edge.probabilities)?);
        rewards.push(row("rewards", &edge.rewards)?);
        zeros.push(edge.zero);
    }
    let table = |rows| OpTable::from_rows(rows).map_err(|error| error.to_string());
    Instance::new(constant, table(probabilities)?, table(rewards)?, zeros).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use advantage_nas_theory::number::rational;

    #[test]
    fn numbers_are_taken_as_written() {
        let text = r#"
            constant = "-1/3"
            [[edges]]
            probabilities = [0.1, 0.2, 0.7]
            rewards = [1, "2.5e-1", -0.000_1]
            zero = 1
            [[edges]]
            probabilities = ["3/8", "0.625"]
            rewards = [0, 1e2]
        "#;
        let error = from_text(text).unwrap_err();
        assert!(error.contains("its zero operation 1"), "{error}");
        let instance = from_text(&text.replace("zero = 1", "")).unwrap();
        assert_eq!(*instance.constant(), rational(-1, 3));
        let tenths = [rational(1, 10), rational(1, 5), rational(7, 10), rational(3, 8), rational(5, 8)];
        assert_eq!(instance.probabilities().values(), tenths);
        let rewards = [whole(1), rational(1, 4), rational(-1, 10_000), whole(0), whole(100)];
        assert_eq!(instance.rewards().values(), rewards);
    }

    #[test]
    fn mistakes_are_named() {
        let edge = |inner: &str| from_text(&format!("[[edges]]\n{inner}\n")).unwrap_err();
        for (text, message) in [
            ("", "an instance needs at least one [[edges]]"),
            ("edges = []", "an instance needs at least one [[edges]]"),
            (
                "constant = true\n[[edges]]\nprobabilities = [1]\nrewards = [1]",
                "constant: expected a number, got a boolean",
            ),
            ("surplus = 1\n[[edges]]\nprobabilities = [1]\nrewards = [1]", "line 1: unknown field `surplus`"),
            ("constant = 1\nconstant = 2", "line 2: duplicate key"),
        ] {
            let error = from_text(text).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        for (inner, message) in [
            ("probabilities = [1]\nrewards = [1, 2]", "edge 0: 1 probabilities but 2 rewards"),
            ("probabilities = [1]\nrewards = [\"one\"]", "edge 0, rewards: \"one\" is not a number"),
            ("probabilities = [1]\nrewards = [nan]", "edge 0, rewards: \"nan\" is not a number"),
            ("probabilities = [0.5, 0.4]\nrewards = [0, 0]", "edge 0: the probabilities sum to 9/10, not to 1"),
            ("probabilities = [1.5, -0.5]\nrewards = [0, 0]", "edge 0: probability 1 is negative: -1/2"),
            ("probabilities = []\nrewards = []", "edge 0 has no candidate operation"),
            ("rewards = [1]", "line 1: missing field `probabilities`"),
            ("probabilities = [1]\nrewards = [1]\nweights = [1]", "line 4: unknown field `weights`"),
            ("probabilities = [1]\nrewards = [1]\nzero = -1", "line 4: invalid value"),
        ] {
            let error = edge(inner);
            assert!(error.starts_with(message) && !error.contains('\n'), "{error}");
        }
    }
}
