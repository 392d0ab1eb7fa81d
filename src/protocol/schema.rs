//! The strict checker of parameters. Clients match on its messages, so they, their order and their paths are those
//! of the reference's validator (protocol 1, "Validation error text"): all errors, duplicates removed.
//!
//! The order inside one object: a wrong type, missing fields in table order, unexpected keys in the order sent, then
//! the fields in table order.

use serde_json::{Map, Value};

use super::ErrorShape;
use super::methods::cut_name;
use crate::limits::VALIDATION_ERRORS;

/// The shape of an object.
#[derive(Debug)]
pub struct Object {
    pub fields: &'static [Field],
    /// Keys that the table does not know are fine.
    pub extra: bool,
}

#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub required: bool,
    pub kind: Kind,
}

/// What a value may be. Lengths are counted in characters.
#[derive(Debug)]
pub enum Kind {
    Any,
    Bool,
    Text {
        min: usize,
        max: usize,
        pattern: Option<Pattern>,
    },
    Integer {
        min: i64,
        max: i64,
    },
    List {
        item: &'static Kind,
        min: usize,
        max: usize,
    },
    /// An object with any keys whose values are all of this kind.
    Map(&'static Kind),
    Object(&'static Object),
    /// A union of literals: `must be equal to constant` and `must match a schema in anyOf`.
    OneOf(&'static [&'static str]),
    /// One literal: `must be equal to constant`.
    Constant(&'static str),
    /// A string enumeration: `must be equal to one of the allowed values`.
    Choice(&'static [&'static str]),
}

/// A regular expression as the messages quote it, and the function that decides it.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    pub text: &'static str,
    pub matches: fn(&str) -> bool,
}

pub const NO_MAX: usize = usize::MAX;

pub const TEXT: Kind = Kind::Text { min: 0, max: NO_MAX, pattern: None };
pub const NON_EMPTY: Kind = Kind::Text { min: 1, max: NO_MAX, pattern: None };

pub const fn text(min: usize, max: usize) -> Kind {
    Kind::Text { min, max, pattern: None }
}

pub const fn at_least(min: i64) -> Kind {
    Kind::Integer { min, max: i64::MAX }
}

pub const fn between(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

pub const fn list(item: &'static Kind) -> Kind {
    Kind::List { item, min: 0, max: NO_MAX }
}

pub const fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, required: true, kind }
}

pub const fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, required: false, kind }
}

pub const fn strict(fields: &'static [Field]) -> Object {
    Object { fields, extra: false }
}

/// No parameters at all.
pub static EMPTY: Object = strict(&[]);

/// Checks a method's parameters. `lenient_extra` (protocol 4) lets unknown keys pass at every level; wrong types
/// never pass. The error is `invalid <method> params: <e1>; <e2>`.
pub fn check(method: &str, params: &Value, shape: &Object, lenient_extra: bool) -> Result<(), ErrorShape> {
    match errors(params, shape, lenient_extra) {
        found if found.is_empty() => Ok(()),
        found => Err(ErrorShape::invalid(format!("invalid {method} params: {}", found.join("; ")))),
    }
}

/// The messages by themselves.
pub fn errors(value: &Value, shape: &Object, lenient_extra: bool) -> Vec<String> {
    let mut check = Check { lenient_extra, path: String::new(), found: Vec::new() };
    check.object(value, shape);
    check.found
}

struct Check {
    lenient_extra: bool,
    /// JSON pointer of the value at hand, empty at the root.
    path: String,
    found: Vec<String>,
}

impl Check {
    fn add(&mut self, message: &str) {
        let text = if self.path.is_empty() { message.to_owned() } else { format!("at {}: {message}", self.path) };
        self.push(text);
    }

    fn push(&mut self, text: String) {
        if !self.is_full() && !self.found.contains(&text) {
            self.found.push(text);
        }
    }

    /// A frame has room for millions of errors; nobody reads them.
    fn is_full(&self) -> bool {
        self.found.len() >= VALIDATION_ERRORS
    }

    fn below(&mut self, key: &str, inside: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('/');
        for c in cut_name(key).chars() {
            match c {
                '~' => self.path.push_str("~0"),
                '/' => self.path.push_str("~1"),
                c => self.path.push(c),
            }
        }
        inside(self);
        self.path.truncate(length);
    }

    fn object(&mut self, value: &Value, shape: &Object) {
        let Value::Object(map) = value else {
            self.add("must be object");
            return;
        };
        for field in shape.fields.iter().filter(|f| f.required && !map.contains_key(f.name)) {
            self.add(&format!("must have required property '{}'", field.name));
        }
        if !shape.extra && !self.lenient_extra {
            self.unexpected(map, shape);
        }
        for field in shape.fields {
            if let Some(value) = map.get(field.name) {
                self.below(field.name, |check| check.value(value, &field.kind));
            }
        }
    }

    fn unexpected(&mut self, map: &Map<String, Value>, shape: &Object) {
        let place = if self.path.is_empty() { "root".to_owned() } else { self.path.clone() };
        for key in map.keys().filter(|key| !shape.fields.iter().any(|f| f.name == key.as_str())) {
            if self.is_full() {
                break;
            }
            self.push(format!("at {place}: unexpected property '{}'", cut_name(key)));
        }
    }

    fn value(&mut self, value: &Value, kind: &Kind) {
        match kind {
            Kind::Any => {}
            Kind::Bool => {
                if !value.is_boolean() {
                    self.add("must be boolean");
                }
            }
            Kind::Text { min, max, pattern } => self.text(value, *min, *max, pattern.as_ref()),
            Kind::Integer { min, max } => self.integer(value, *min, *max),
            Kind::List { item, min, max } => self.list(value, item, *min, *max),
            Kind::Map(item) => match value {
                Value::Object(map) => {
                    for (key, value) in map {
                        if self.is_full() {
                            break;
                        }
                        self.below(key, |check| check.value(value, item));
                    }
                }
                _ => self.add("must be object"),
            },
            Kind::Object(shape) => self.object(value, shape),
            Kind::OneOf(names) => {
                if !value.as_str().is_some_and(|text| names.contains(&text)) {
                    self.constant(value);
                    self.add("must match a schema in anyOf");
                }
            }
            Kind::Constant(name) => {
                if value.as_str() != Some(name) {
                    self.constant(value);
                }
            }
            Kind::Choice(names) => {
                if !value.as_str().is_some_and(|text| names.contains(&text)) {
                    if !value.is_string() {
                        self.add("must be string");
                    }
                    self.add("must be equal to one of the allowed values");
                }
            }
        }
    }

    fn constant(&mut self, value: &Value) {
        if !value.is_string() {
            self.add("must be string");
        }
        self.add("must be equal to constant");
    }

    fn text(&mut self, value: &Value, min: usize, max: usize, pattern: Option<&Pattern>) {
        let Value::String(text) = value else {
            self.add("must be string");
            return;
        };
        // No text has more characters than bytes, so most need no counting.
        if text.len() > max && text.chars().count() > max {
            self.add(&format!("must NOT have more than {max} characters"));
        }
        if text.len() < min || (min > 1 && text.chars().count() < min) {
            self.add(&format!("must NOT have fewer than {min} characters"));
        }
        if let Some(pattern) = pattern.filter(|pattern| !(pattern.matches)(text)) {
            self.add(&format!("must match pattern \"{}\"", pattern.text));
        }
    }

    fn integer(&mut self, value: &Value, min: i64, max: i64) {
        let Some(number) = value.as_f64() else {
            self.add("must be integer");
            return;
        };
        if number.fract() != 0.0 {
            self.add("must be integer");
        }
        if max != i64::MAX && number > max as f64 {
            self.add(&format!("must be <= {max}"));
        }
        if min != i64::MIN && number < min as f64 {
            self.add(&format!("must be >= {min}"));
        }
    }

    fn list(&mut self, value: &Value, item: &Kind, min: usize, max: usize) {
        let Value::Array(items) = value else {
            self.add("must be array");
            return;
        };
        if items.len() > max {
            self.add(&format!("must NOT have more than {max} items"));
        }
        if items.len() < min {
            self.add(&format!("must NOT have fewer than {min} items"));
        }
        for (index, value) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            self.below(&index.to_string(), |check| check.value(value, item));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::methods::{Params, find};
    use serde_json::json;

    fn message(method: &str, params: &Value, lenient_extra: bool) -> String {
        let Params::Strict(shape) = find(method).unwrap().params else { panic!("{method} is lenient") };
        check(method, params, shape, lenient_extra).map_or_else(|error| error.message, |()| String::new())
    }

    #[test]
    fn messages_of_the_recordings() {
        let long = "k".repeat(513);
        for (method, params, text) in [
            ("agent.wait", json!({}), "must have required property 'runId'"),
            ("chat.history", json!({"sessionKey": "main", "limit": 5000}), "at /limit: must be <= 1000"),
            ("config.get", json!({"bogus": 1}), "at root: unexpected property 'bogus'"),
            ("agent", json!({"message": "x"}), "must have required property 'idempotencyKey'"),
            (
                "agent",
                json!({"message": "", "idempotencyKey": "k"}),
                "at /message: must NOT have fewer than 1 characters",
            ),
            (
                "agent",
                json!({"message": "x", "idempotencyKey": "k", "bogus": 1}),
                "at root: unexpected property 'bogus'",
            ),
            ("logs.tail", json!({"limit": 0}), "at /limit: must be >= 1"),
            ("sessions.list", json!({"limit": 0}), "at /limit: must be >= 1"),
            ("chat.send", json!({"sessionKey": "s", "message": "m"}), "must have required property 'idempotencyKey'"),
            (
                "chat.send",
                json!({"sessionKey": long, "message": "m", "idempotencyKey": "k"}),
                "at /sessionKey: must NOT have more than 512 characters",
            ),
        ] {
            assert_eq!(message(method, &params, false), format!("invalid {method} params: {text}"));
        }
    }

    #[test]
    fn every_kind_says_what_the_reference_says() {
        for (method, params, text) in [
            ("config.get", json!([]), "must be object"),
            ("config.get", json!("x"), "must be object"),
            ("sessions.list", json!({"includeGlobal": 1}), "at /includeGlobal: must be boolean"),
            ("sessions.list", json!({"limit": 1.5}), "at /limit: must be integer"),
            ("sessions.list", json!({"limit": 0.5}), "at /limit: must be integer; at /limit: must be >= 1"),
            ("sessions.list", json!({"limit": null}), "at /limit: must be integer"),
            ("sessions.list", json!({"label": 5}), "at /label: must be string"),
            ("sessions.preview", json!({"keys": []}), "at /keys: must NOT have fewer than 1 items"),
            ("sessions.preview", json!({"keys": {}}), "at /keys: must be array"),
            ("sessions.preview", json!({"keys": ["a", ""]}), "at /keys/1: must NOT have fewer than 1 characters"),
            (
                "cron.list",
                json!({"sortDir": "up"}),
                "at /sortDir: must be equal to constant; at /sortDir: must match a schema in anyOf",
            ),
            (
                "cron.list",
                json!({"sortDir": 1}),
                "at /sortDir: must be string; at /sortDir: must be equal to constant; \
                 at /sortDir: must match a schema in anyOf",
            ),
            ("cron.runs", json!({"id": "a/b"}), "at /id: must match pattern \"^[^/\\\\]+$\""),
            (
                "cron.runs",
                json!({"id": ""}),
                "at /id: must NOT have fewer than 1 characters; at /id: must match pattern \"^[^/\\\\]+$\"",
            ),
            (
                "cron.runs",
                json!({"statuses": ["ok", "ok", "ok", "ok"]}),
                "at /statuses: must NOT have more than 3 items",
            ),
            (
                "sessions.usage",
                json!({"startDate": "today"}),
                "at /startDate: must match pattern \"^\\d{4}-\\d{2}-\\d{2}$\"",
            ),
            (
                "agent",
                json!({"message": "m", "idempotencyKey": "k", "inputProvenance": {"kind": "x", "y": 1}}),
                "at /inputProvenance: unexpected property 'y'; \
                 at /inputProvenance/kind: must be equal to one of the allowed values",
            ),
            (
                "agent",
                json!({"x": 1, "message": 1, "timeout": -1}),
                "must have required property 'idempotencyKey'; at root: unexpected property 'x'; \
                 at /message: must be string; at /timeout: must be >= 0",
            ),
        ] {
            assert_eq!(message(method, &params, false), format!("invalid {method} params: {text}"), "{params}");
        }
    }

    #[test]
    fn thousands_of_errors_cost_no_more_than_a_few() {
        let many: Map<String, Value> = (0..5_000).map(|n| (format!("{n}{}", "x".repeat(300)), Value::Null)).collect();
        let text = message("config.get", &Value::Object(many), false);
        assert!(text.len() < VALIDATION_ERRORS * 300, "{}", text.len());
        let text = message("sessions.preview", &json!({"keys": vec![0; 50_000]}), false);
        assert_eq!(text.matches("must be string").count(), VALIDATION_ERRORS);
    }

    #[test]
    fn what_is_fine() {
        let emoji = "😀".repeat(64);
        for (method, params) in [
            ("config.get", json!({})),
            ("sessions.list", json!({"limit": 5.0, "label": emoji})),
            ("sessions.list", json!({"limit": 1e30})),
            ("cron.runs", json!({"scope": "all", "limit": 50, "offset": 0, "status": "all", "sortDir": "desc"})),
            (
                "sessions.usage",
                json!({"startDate": "2026-11-01", "endDate": "2026-11-20", "mode": "specific",
                "utcOffset": "UTC+0", "limit": 1000, "includeContextWeight": true}),
            ),
            ("chat.send", json!({"sessionKey": "s", "message": "", "idempotencyKey": "k", "attachments": [1, {}]})),
        ] {
            assert_eq!(message(method, &params, false), "", "{method} {params}");
        }
    }

    #[test]
    fn protocol_4_ignores_unknown_keys_and_nothing_else() {
        let nested = json!({"message": "m", "idempotencyKey": "k", "new": 1, "inputProvenance": {"kind": "external_user", "n": 1}});
        assert_eq!(message("agent", &nested, true), "");
        assert_ne!(message("agent", &nested, false), "");
        assert_eq!(message("config.get", &json!([]), true), "invalid config.get params: must be object");
        assert_ne!(message("logs.tail", &json!({"limit": "x", "new": 1}), true), "");
    }
}
