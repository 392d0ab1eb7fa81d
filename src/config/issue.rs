//! One thing that is wrong with a configuration, and where (config A3).

use serde_json::{Map, Value, json};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Issue {
    /// Dotted, array positions as numbers: `agents.list.0.id`; empty for the root.
    pub path: String,
    pub message: String,
    /// Values that would have been accepted, at most [`Issue::SHOWN_VALUES`].
    pub allowed: Vec<String>,
    /// How many more there are.
    pub allowed_hidden: usize,
}

impl Issue {
    pub const SHOWN_VALUES: usize = 12;

    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Issue { path: path.into(), message: message.into(), ..Issue::default() }
    }

    /// `path: message`, the root as `<root>`.
    pub fn line(&self) -> String {
        format!("{}: {}", if self.path.is_empty() { "<root>" } else { &self.path }, self.message)
    }

    /// The shape of `config.get` and `config validate --json`.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("path".into(), json!(self.path));
        out.insert("message".into(), json!(self.message));
        if !self.allowed.is_empty() {
            out.insert("allowedValues".into(), json!(self.allowed));
        }
        if self.allowed_hidden > 0 {
            out.insert("allowedValuesHiddenCount".into(), json!(self.allowed_hidden));
        }
        Value::Object(out)
    }
}

/// Issues as the array that `config.get` carries.
pub fn issues_json(issues: &[Issue]) -> Value {
    Value::Array(issues.iter().map(Issue::to_json).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        assert_eq!(Issue::new("", "x").line(), "<root>: x");
        assert_eq!(Issue::new("a.b", "x").to_json(), json!({"path":"a.b","message":"x"}));
        let full = Issue { allowed: vec!["a".into()], allowed_hidden: 3, ..Issue::new("p", "m") };
        assert_eq!(
            full.to_json(),
            json!({"path":"p","message":"m","allowedValues":["a"],"allowedValuesHiddenCount":3})
        );
    }
}
