//! Which settings differ between two runs.

use std::fmt;

use toml::{Table, Value};

/// A setting that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path of the setting, with dots.
    pub key: String,
    /// Its value on disk, if it is there at all.
    pub there: Option<Value>,
    /// Its value in this process, if it is there at all.
    pub here: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Value>| value.as_ref().map_or_else(|| "absent".to_owned(), Value::to_string);
        write!(f, "{} is {} there, {} here", self.key, show(&self.there), show(&self.here))
    }
}

/// All settings that differ, tables compared key by key. A whole number is the same with and without decimals: the type that reads the
/// setting decides what it is.
#[must_use]
pub fn differences(there: &Table, here: &Table) -> Vec<Difference> {
    let mut out = Vec::new();
    compare("", there, here, &mut out);
    out
}

fn compare(prefix: &str, there: &Table, here: &Table, out: &mut Vec<Difference>) {
    let only_here = here.keys().filter(|key| !there.contains_key(*key));
    for key in there.keys().chain(only_here) {
        let path = format!("{prefix}{key}");
        match (there.get(key), here.get(key)) {
            (Some(Value::Table(there)), Some(Value::Table(here))) => compare(&format!("{path}."), there, here, out),
            (Some(Value::Integer(whole)), Some(Value::Float(other)))
            | (Some(Value::Float(other)), Some(Value::Integer(whole)))
                if *whole as f64 == *other => {}
            (there, here) if there != here => {
                out.push(Difference { key: path, there: there.cloned(), here: here.cloned() });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let there: Table = "same = 1\nseed = 0\nold = true\n[theta]\nrate = 0.5\nbeta = inf".parse().unwrap();
        let here: Table = "seed = 1\nsame = 1\nnew = 'x'\n[theta]\nbeta = inf\nrate = 0.25".parse().unwrap();
        let named: Vec<String> = differences(&there, &here).iter().map(Difference::to_string).collect();
        assert_eq!(
            named,
            [
                "seed is 0 there, 1 here",
                "old is true there, absent here",
                "theta.rate is 0.5 there, 0.25 here",
                "new is absent there, \"x\" here",
            ]
        );
        assert!(differences(&here, &here).is_empty());
        let (whole, decimal): (Table, Table) = ("epochs = 10".parse().unwrap(), "epochs = 10.0".parse().unwrap());
        assert!(differences(&whole, &decimal).is_empty() && differences(&decimal, &whole).is_empty());
        let half: Table = "epochs = 10.5".parse().unwrap();
        assert_eq!(differences(&whole, &half)[0].to_string(), "epochs is 10 there, 10.5 here");
        assert_eq!(differences(&half, &whole)[0].to_string(), "epochs is 10.5 there, 10 here");
    }
}
