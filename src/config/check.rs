//! Is this configuration legal? Every issue of one pass, with paths and messages as the reference words them (config A3).

use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use super::cross;
use super::include::type_name;
use super::issue::Issue;
use super::paths::Paths;
use super::schema::{Literal, Object, Schema, Type, push_index, push_step};

/// More issues than this help nobody.
const MAX_ISSUES: usize = 100;
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Everything that is wrong with a configuration before its defaults; empty = valid.
pub fn check(value: &Value) -> Vec<Issue> {
    check_in(value, None)
}

/// The same where it is known what `~` and the state directory are: directories are compared, too.
pub fn check_in(value: &Value, paths: Option<&Paths>) -> Vec<Issue> {
    let mut checker = Checker {
        schema: Schema::new(),
        path: String::new(),
        pattern: String::new(),
        issues: Vec::new(),
        objects: HashMap::new(),
    };
    let root = checker.schema.root();
    checker.value(&root, Some(value));
    let mut issues = checker.issues;
    if issues.is_empty() {
        cross::check(value, paths, &mut issues);
    }
    issues.truncate(MAX_ISSUES);
    issues
}

struct Checker {
    schema: Schema,
    /// Where we are in the value: `agents.list.0`.
    path: String,
    /// Where we are in the schema: `agents.list[]`.
    pattern: String,
    issues: Vec<Issue>,
    /// Lines of the schema that were met already.
    objects: HashMap<usize, Rc<Object>>,
}

impl Checker {
    fn value(&mut self, kind: &Type, value: Option<&Value>) {
        if self.issues.len() >= MAX_ISSUES {
            return;
        }
        match (kind, value) {
            (Type::Any, _) | (Type::Bool, Some(Value::Bool(_))) => {}
            (Type::Text(bounds, pattern), Some(Value::String(text))) => {
                self.bounds(bounds.broken(text.chars().count() as f64), "string to have ", " characters");
                if let Some(pattern) = pattern.filter(|pattern| !pattern.matches(text)) {
                    self.report(pattern.refusal(self.path.rsplit('.').next().unwrap_or_default()));
                }
            }
            (Type::Number(bounds), Some(Value::Number(number))) => {
                self.bounds(bounds.broken(number.as_f64().unwrap_or(f64::NAN)), "number to be ", "");
            }
            (Type::Integer(bounds), Some(Value::Number(number))) => {
                let number = number.as_f64().unwrap_or(f64::NAN);
                if number.fract() != 0.0 {
                    self.report("Invalid input: expected int, received number".into());
                } else if number.abs() > MAX_SAFE_INTEGER {
                    let (word, sign) = if number > 0.0 { ("big", "<=") } else { ("small", ">=-") };
                    self.report(format!("Too {word}: expected int to be {sign}{MAX_SAFE_INTEGER}"));
                } else {
                    self.bounds(bounds.broken(number), "number to be ", "");
                }
            }
            (Type::OneOf(literals), _) => self.one_of(literals, value),
            (Type::List(item, bounds), Some(Value::Array(items))) => {
                self.bounds(bounds.broken(items.len() as f64), "array to have ", " items");
                let (path, pattern) = (self.path.len(), self.pattern.len());
                push_step(&mut self.pattern, "[]");
                for (index, value) in items.iter().enumerate() {
                    push_index(&mut self.path, index);
                    self.value(item, Some(value));
                    self.path.truncate(path);
                }
                self.pattern.truncate(pattern);
            }
            (Type::Object(line), Some(Value::Object(_))) => {
                // A list of a thousand models takes its line apart once.
                let (schema, pattern) = (&self.schema, &self.pattern);
                let object =
                    self.objects.entry(*line).or_insert_with(|| Rc::new(schema.object(*line, pattern))).clone();
                self.object(&object, value);
            }
            (Type::Either(kinds), _) => self.either(kinds, value),
            (kind, value) => self.wrong_type(&[expected_name(kind)], value),
        }
    }

    fn object(&mut self, object: &Object, value: Option<&Value>) {
        let Some(map) = value.and_then(Value::as_object) else { return };
        // Few entries and many known keys: comparing names is cheaper than hashing each known one.
        let mut unknown = Vec::new();
        let mut known: Vec<(usize, &Value)> = Vec::with_capacity(map.len());
        for (name, value) in map {
            match object.keys.iter().position(|key| key.name == name) {
                Some(place) => known.push((place, value)),
                None => unknown.push((name, value)),
            }
        }
        known.sort_unstable_by_key(|(place, _)| *place);
        let mut next = known.into_iter().peekable();
        for (place, key) in object.keys.iter().enumerate() {
            let found = next.next_if(|(given, _)| *given == place).map(|(_, value)| value);
            if found.is_some() || key.required {
                self.enter(key.name, key.name, |this| this.value(&key.kind, found));
            }
        }
        let Some(kind) = &object.rest else {
            let names: Vec<String> = unknown.iter().map(|(key, _)| format!("\"{key}\"")).collect();
            if !names.is_empty() {
                let s = if names.len() == 1 { "" } else { "s" };
                self.report(format!("Unrecognized key{s}: {}", names.join(", ")));
            }
            return;
        };
        for (key, value) in unknown {
            self.enter(key, "*", |this| match object.names {
                Some(names) if !names.matches(key) => this.report("Invalid key in record".into()),
                _ => this.value(kind, Some(value)),
            });
        }
    }

    /// The alternative that fits best speaks; the reference only says `Invalid input`.
    fn either(&mut self, kinds: &[Type], value: Option<&Value>) {
        let literals = |kind: &Type| match kind {
            Type::OneOf(literals) => Some(literals.clone()),
            _ => None,
        };
        // A choice among texts or numbers is one choice.
        if let Some(all) = kinds.iter().map(literals).collect::<Option<Vec<_>>>() {
            return self.one_of(&all.concat(), value);
        }
        let before = self.issues.len();
        let mut best: Option<Vec<Issue>> = None;
        for kind in kinds.iter().filter(|kind| value.is_some_and(|v| same_kind(kind, v))) {
            self.value(kind, value);
            let found = self.issues.split_off(before);
            if found.is_empty() {
                return;
            }
            // Alternatives that differ in a fixed text (`source: "env"`) name the wrong ones first: fewest issues win.
            if best.as_ref().is_none_or(|b| found.len() < b.len()) {
                best = Some(found);
            }
        }
        match best {
            Some(issues) => self.issues.extend(issues),
            None => {
                let mut names: Vec<&str> = kinds.iter().map(expected_name).collect();
                names.dedup();
                self.wrong_type(&names, value);
            }
        }
    }

    fn one_of(&mut self, literals: &[Literal], value: Option<&Value>) {
        let fits = |literal: &Literal| match (literal, value) {
            (Literal::Text(text), Some(Value::String(given))) => text == given,
            (Literal::Number(number), Some(Value::Number(given))) => given.as_f64() == Some(*number),
            (Literal::Bool(flag), Some(Value::Bool(given))) => flag == given,
            _ => false,
        };
        if literals.iter().any(fits) {
            return;
        }
        let hidden = literals.len().saturating_sub(Issue::SHOWN_VALUES);
        let shown = &literals[..literals.len() - hidden];
        let mut list = shown.iter().map(Literal::json).collect::<Vec<_>>().join(", ");
        if hidden > 0 {
            list.push_str(&format!(", ... (+{hidden} more)"));
        }
        let message = format!("Invalid input (allowed: {list})");
        let allowed = shown.iter().map(Literal::text).collect();
        self.issues.push(Issue { allowed, allowed_hidden: hidden, ..Issue::new(self.path.as_str(), message) });
    }

    fn wrong_type(&mut self, expected: &[&str], value: Option<&Value>) {
        let received = value.map_or("undefined", type_name);
        self.report(format!("Invalid input: expected {}, received {received}", expected.join(" or ")));
    }

    fn bounds(&mut self, broken: Option<(bool, String)>, what: &str, unit: &str) {
        if let Some((small, limit)) = broken {
            let word = if small { "small" } else { "big" };
            self.report(format!("Too {word}: expected {what}{limit}{unit}"));
        }
    }

    fn report(&mut self, message: String) {
        self.issues.push(Issue::new(self.path.as_str(), message));
    }

    fn enter(&mut self, key: &str, step: &str, inside: impl FnOnce(&mut Self)) {
        let (path, pattern) = (self.path.len(), self.pattern.len());
        push_step(&mut self.path, key);
        push_step(&mut self.pattern, step);
        inside(self);
        self.path.truncate(path);
        self.pattern.truncate(pattern);
    }
}

fn same_kind(kind: &Type, value: &Value) -> bool {
    match kind {
        Type::Any => true,
        Type::Text(..) => value.is_string(),
        Type::Number(_) | Type::Integer(_) => value.is_number(),
        Type::Bool => value.is_boolean(),
        Type::List(..) => value.is_array(),
        Type::Object(_) => value.is_object(),
        Type::Either(kinds) => kinds.iter().any(|kind| same_kind(kind, value)),
        Type::OneOf(literals) => literals.iter().any(|literal| match literal {
            Literal::Text(_) => value.is_string(),
            Literal::Number(_) => value.is_number(),
            Literal::Bool(_) => value.is_boolean(),
        }),
    }
}

fn expected_name(kind: &Type) -> &'static str {
    match kind {
        Type::Text(..) => "string",
        Type::Number(_) | Type::Integer(_) => "number",
        Type::Bool => "boolean",
        Type::List(..) => "array",
        Type::Object(_) => "object",
        Type::OneOf(literals) => match literals.first() {
            Some(Literal::Number(_)) => "number",
            Some(Literal::Bool(_)) => "boolean",
            _ => "string",
        },
        Type::Either(_) | Type::Any => "value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(value: Value) -> Vec<String> {
        check(&value).iter().map(Issue::line).collect()
    }

    #[test]
    fn legal() {
        for value in [
            json!({}),
            json!({"gateway":{"mode":"local","port":18789,"bind":"lan","auth":{"mode":"token","token":"x"}}}),
            json!({"gateway":{"auth":{"token":{"source":"env","provider":"default","id":"T"}}}}),
            json!({"gateway":{"http":{"securityHeaders":{"strictTransportSecurity":false}},"maxBufferedBytes":1048576}}),
            json!({"gateway":{"http":{"cors":{"allowedOrigins":["https://chat.example"]}}}}),
            json!({"agents":{"defaults":{"model":"a/b","heartbeat":{"target":"telegram"}},"list":[{"id":"x","model":{"primary":"a/b","fallbacks":["c/d"]}}]}}),
            json!({"env":{"A":"1","vars":{"B":"2"},"shellEnv":{"enabled":true}}}),
            json!({"channels":{"whatsapp":{"anything":1},"matrix":{}}}),
            json!({"channels":{"mine":{}},"plugins":{"entries":{"mine":{"enabled":true}}}}),
            json!({"commands":{"native":true}}),
            json!({"bindings":[{"agentId":"a","match":{"channel":"telegram"}}]}),
            json!({"broadcast":{"strategy":"parallel","123":["a"]}}),
            json!({"gateway":{"port":1.0}}),
        ] {
            assert_eq!(lines(value.clone()), [""; 0], "{value}");
        }
    }

    #[test]
    fn every_message() {
        let table: Vec<(Value, &[&str])> = vec![
            (json!([]), &["<root>: Invalid input: expected object, received array"]),
            (json!({"foo":1}), &["<root>: Unrecognized key: \"foo\""]),
            (
                json!({"gateway":{"frob":1,"port":"x"},"foo":1,"agents":{"defaults":{"bar":1}}}),
                &[
                    "agents.defaults: Unrecognized key: \"bar\"",
                    "gateway.port: Invalid input: expected number, received string",
                    "gateway: Unrecognized key: \"frob\"",
                    "<root>: Unrecognized key: \"foo\"",
                ],
            ),
            (json!({"logging":{"a":1,"b":2}}), &["logging: Unrecognized keys: \"a\", \"b\""]),
            (
                json!({"gateway":{"bind":"wan"}}),
                &["gateway.bind: Invalid input (allowed: \"auto\", \"lan\", \"loopback\", \"custom\", \"tailnet\")"],
            ),
            (
                json!({"gateway":{"reload":{"debounceMs":-1}}}),
                &["gateway.reload.debounceMs: Too small: expected number to be >=0"],
            ),
            (json!({"gateway":{"port":0}}), &["gateway.port: Too small: expected number to be >0"]),
            (json!({"gateway":{"port":1.5}}), &["gateway.port: Invalid input: expected int, received number"]),
            (json!({"gateway":{"port":70000}}), &["gateway.port: Too big: expected number to be <=65535"]),
            (json!({"gateway":{"port":1e17}}), &["gateway.port: Too big: expected int to be <=9007199254740991"]),
            (
                json!({"session":{"reset":{"atHour":24}}}),
                &["session.reset.atHour: Too big: expected number to be <=23"],
            ),
            (
                json!({"gateway":{"trustedProxies":"x"}}),
                &["gateway.trustedProxies: Invalid input: expected array, received string"],
            ),
            (
                json!({"gateway":{"trustedProxies":["a",null]}}),
                &["gateway.trustedProxies.1: Invalid input: expected string, received null"],
            ),
            (
                json!({"gateway":{"auth":{"token":5}}}),
                &["gateway.auth.token: Invalid input: expected string or object, received number"],
            ),
            (
                json!({"gateway":{"auth":{"token":{"source":"env","provider":"default"}}}}),
                &["gateway.auth.token.id: Invalid input: expected string, received undefined"],
            ),
            (
                json!({"gateway":{"auth":{"trustedProxy":{}}}}),
                &["gateway.auth.trustedProxy.userHeader: Invalid input: expected string, received undefined"],
            ),
            (
                json!({"models":{"providers":{"x":{"baseUrl":"","models":[{"id":"m"}]}}}}),
                &[
                    "models.providers.x.baseUrl: Too small: expected string to have >=1 characters",
                    "models.providers.x.models.0.name: Invalid input: expected string, received undefined",
                ],
            ),
            (
                json!({"ui":{"assistant":{"name":"x".repeat(51)}}}),
                &["ui.assistant.name: Too big: expected string to have <=50 characters"],
            ),
            (
                json!({"gateway":{"controlUi":{"enabled":"yes"}}}),
                &["gateway.controlUi.enabled: Invalid input: expected boolean, received string"],
            ),
            (json!({"agents":{"list":{}}}), &["agents.list: Invalid input: expected array, received object"]),
            (
                json!({"agents":{"defaults":{"heartbeat":{"every":"soon"}}}}),
                &["agents.defaults.heartbeat.every: invalid duration (use ms, s, m, h)"],
            ),
            (
                json!({"agents":{"defaults":{"heartbeat":{"target":"fax"}},"list":[{"id":"a","heartbeat":{"target":"pigeon"}}]}}),
                &[
                    "agents.list.0.heartbeat.target: unknown heartbeat target: pigeon",
                    "agents.defaults.heartbeat.target: unknown heartbeat target: fax",
                ],
            ),
            (
                json!({"gateway":{"bind":"lan","tailscale":{"mode":"serve"}}}),
                &[
                    "gateway.bind: gateway.bind must resolve to loopback when gateway.tailscale.mode=serve (use gateway.bind=\"loopback\" or gateway.bind=\"custom\" with gateway.customBindHost=\"127.0.0.1\")",
                ],
            ),
        ];
        for (value, expected) in table {
            assert_eq!(lines(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn allowed_values_are_listed() {
        let issue = &check(&json!({"gateway":{"mode":"x"}}))[0];
        assert_eq!(issue.allowed, ["local", "remote"]);
        assert_eq!(issue.allowed_hidden, 0);
    }

    #[test]
    fn many_issues_are_cut() {
        let list: Vec<Value> = (0..1000).map(Value::from).collect();
        assert_eq!(check(&json!({"gateway":{"trustedProxies":list}})).len(), MAX_ISSUES);
    }
}
