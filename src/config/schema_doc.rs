//! The answer of `config.schema`: JSON Schema (draft-07) of every key, and hints for those that have a line of their own.

use serde_json::{Map, Value, json};

use super::keys::{Key, Keys};
use super::pattern::Pattern;
use super::redact::is_secret;
use super::schema::{Bounds, Literal, Object, Schema, Type, flatten, push_step, steps};

/// Numbers of JavaScript are exact up to here; the schema says so of every integer.
const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// Order of the groups in a settings page.
const GROUPS: &[(&str, u32)] = &[
    ("wizard", 20),
    ("update", 25),
    ("cli", 26),
    ("diagnostics", 27),
    ("gateway", 30),
    ("nodeHost", 35),
    ("agents", 40),
    ("tools", 50),
    ("bindings", 55),
    ("audio", 60),
    ("models", 70),
    ("messages", 80),
    ("commands", 85),
    ("session", 90),
    ("cron", 100),
    ("hooks", 110),
    ("ui", 120),
    ("browser", 130),
    ("talk", 140),
    ("channels", 150),
    ("skills", 200),
    ("plugins", 205),
    ("discovery", 210),
    ("logging", 900),
];

/// The whole schema. Built anew for each caller: it is large and rarely asked for.
pub fn json_schema() -> Value {
    let (schema, keys) = (Schema::new(), Keys::new());
    let mut out = Printer { schema: &schema, keys: &keys, path: String::new() }.kind(&schema.root());
    let head = json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "OpenClawConfig"});
    for (key, value) in head.as_object().into_iter().flatten() {
        out[key] = value.clone();
    }
    out
}

/// `path → {label?, help?, group?, order?, advanced?, sensitive?, placeholder?, tags?}`; wildcards are `*` and `[]`.
pub fn ui_hints() -> Value {
    let (schema, keys) = (Schema::new(), Keys::new());
    let mut hints = Map::new();
    for (group, order) in GROUPS {
        hints.insert((*group).into(), json!({"label": label(group), "group": label(group), "order": order}));
    }
    for key in keys.rows().iter().filter(|key| !key.path.starts_with("~.")) {
        let hint = hint(key, &key.path, &schema);
        match hints.get_mut(&key.path).and_then(Value::as_object_mut) {
            Some(group) => group.extend(hint.into_iter().filter(|(name, _)| name != "label")),
            None => drop(hints.insert(key.path.clone(), Value::Object(hint))),
        }
    }
    for path in schema.paths() {
        if is_secret(&steps(&path).collect::<Vec<_>>()) && !hints.contains_key(&path) {
            hints.insert(path, json!({"sensitive": true, "tags": ["security", "auth"]}));
        }
    }
    Value::Object(hints)
}

/// What a settings page should say of the key at `path`, whose line is `key`.
pub fn hint(key: &Key, path: &str, schema: &Schema) -> Map<String, Value> {
    let mut hint = Map::new();
    let names: Vec<&str> = steps(path).filter(|step| !matches!(*step, "*" | "[]")).collect();
    hint.insert("label".into(), json!(label(names.last().unwrap_or(&path))));
    hint.insert("help".into(), json!(key.doc));
    let secret = is_secret(&steps(path).collect::<Vec<_>>());
    if secret {
        hint.insert("sensitive".into(), json!(true));
    }
    if !key.effect {
        hint.insert("advanced".into(), json!(true));
    }
    if !key.default.is_empty() && json_default(key.default, &schema.at(path)).is_none() {
        hint.insert("placeholder".into(), json!(key.default));
    }
    let tags = tags(&names, secret);
    if !tags.is_empty() {
        hint.insert("tags".into(), json!(tags));
    }
    hint
}

/// What a key is about, for filters of a settings page.
fn tags(names: &[&str], secret: bool) -> Vec<&'static str> {
    let mut tags = if secret { vec!["security", "auth"] } else { Vec::new() };
    tags.extend(match names.first().copied().unwrap_or_default() {
        "gateway" | "discovery" | "web" | "nodeHost" => Some("network"),
        "logging" | "diagnostics" => Some("observability"),
        "models" => Some("models"),
        "tools" => Some("tools"),
        "channels" => Some("channels"),
        "cron" | "hooks" => Some("automation"),
        "session" => Some("storage"),
        "browser" | "talk" | "audio" | "media" => Some("media"),
        _ => None,
    });
    let last = names.last().copied().unwrap_or_default();
    if last.ends_with("Ms") || last.ends_with("Concurrent") || last.starts_with("max") {
        tags.push("performance");
    }
    tags
}

/// The default as JSON where it is a value of the key and not a description.
pub fn json_default(text: &str, kinds: &[Type]) -> Option<Value> {
    kinds.iter().find_map(|kind| match kind {
        Type::Bool => text.parse::<bool>().ok().map(Value::Bool),
        Type::Integer(_) => text.parse::<i64>().ok().map(Value::from),
        Type::Number(_) => {
            text.parse::<i64>().ok().map(Value::from).or_else(|| text.parse::<f64>().ok().map(Value::from))
        }
        Type::OneOf(literals) => literals.iter().find(|literal| literal.text() == text).map(Literal::value),
        _ => None,
    })
}

/// A type without what lies below it.
pub fn shallow(schema: &Schema, kind: &Type, path: &str) -> Value {
    let mut printer = Printer { schema, keys: &Keys::empty(), path: path.to_owned() };
    let mut out = match kind {
        Type::Either(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(|kind| shallow(schema, kind, path)).collect();
            json!({"anyOf": kinds})
        }
        Type::Object(line) => {
            let strict = schema.object(*line, path).rest.is_none();
            json!({"type": "object", "additionalProperties": !strict})
        }
        kind => printer.kind(kind),
    };
    if let Some(map) = out.as_object_mut() {
        map.remove("items");
    }
    out
}

struct Printer<'s> {
    schema: &'s Schema,
    keys: &'s Keys,
    path: String,
}

impl Printer<'_> {
    fn kind(&mut self, kind: &Type) -> Value {
        match kind {
            Type::Any => json!({}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Text(bounds, pattern) => {
                let mut out = with_bounds(json!({"type": "string"}), bounds, "Length");
                if let Some((key, text)) = pattern.map(Pattern::keyword) {
                    out[key] = json!(text);
                }
                out
            }
            Type::Number(bounds) => with_bounds(json!({"type": "number"}), bounds, ""),
            Type::Integer(bounds) => {
                let mut out = with_bounds(json!({"type": "integer"}), bounds, "");
                if bounds.min.is_none() {
                    out["minimum"] = json!(-MAX_SAFE);
                }
                if bounds.max.is_none() {
                    out["maximum"] = json!(MAX_SAFE);
                }
                out
            }
            Type::OneOf(literals) => match literals.iter().map(Literal::value).collect::<Vec<_>>() {
                texts if texts.iter().all(Value::is_string) => json!({"type": "string", "enum": texts}),
                mixed => json!({"enum": mixed}),
            },
            Type::Either(kinds) => json!({"anyOf": kinds.iter().map(|k| self.kind(k)).collect::<Vec<_>>()}),
            Type::List(item, bounds) => {
                let items = self.below("[]", item);
                with_bounds(json!({"type": "array", "items": items}), bounds, "Items")
            }
            Type::Object(line) => {
                let object = self.schema.object(*line, &self.path);
                self.object(&object)
            }
        }
    }

    fn object(&mut self, object: &Object) -> Value {
        let mut properties = Map::new();
        for key in &object.keys {
            properties.insert(key.name.into(), self.below(key.name, &key.kind));
        }
        let rest = match &object.rest {
            None => Value::Bool(false),
            Some(Type::Any) => Value::Bool(true),
            Some(kind) => self.below("*", kind),
        };
        let required: Vec<&str> = object.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
        let mut out = json!({"type": "object", "properties": properties, "additionalProperties": rest});
        if !required.is_empty() {
            out["required"] = json!(required);
        }
        if let Some((key, text)) = object.names.map(Pattern::keyword) {
            out["propertyNames"] = json!({"type": "string", key: text});
        }
        out
    }

    fn below(&mut self, step: &str, kind: &Type) -> Value {
        let here = self.path.len();
        push_step(&mut self.path, step);
        let mut out = self.kind(kind);
        if let Some(found) = self.keys.find(&self.path) {
            out["description"] = json!(found.key.doc);
            if let Some(default) = json_default(found.key.default, flatten(kind)) {
                out["default"] = default;
            }
        }
        self.path.truncate(here);
        out
    }
}

fn with_bounds(mut out: Value, bounds: &Bounds, unit: &str) -> Value {
    let name = |side: &str, strict: bool| match (unit, strict) {
        ("", true) => format!("exclusive{}imum", side.replace('m', "M")),
        ("", false) => format!("{side}imum"),
        (unit, _) => format!("{side}{unit}"),
    };
    let sides = [("min", bounds.min, bounds.above), ("max", bounds.max, bounds.below)];
    for (side, value, strict) in sides {
        if let Some(value) = value {
            let number = if value.fract() == 0.0 { json!(value as i64) } else { json!(value) };
            out[name(side, strict)] = number;
        }
    }
    out
}

/// `maxFileBytes` → `Max File Bytes`.
fn label(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if out.is_empty() {
            out.extend(c.to_uppercase());
        } else {
            if c.is_uppercase() {
                out.push(' ');
            }
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes() {
        let schema = json_schema();
        let gateway = &schema["properties"]["gateway"];
        assert_eq!(gateway["additionalProperties"], false);
        assert_eq!(
            gateway["properties"]["port"],
            json!({"type":"integer","exclusiveMinimum":0,"maximum":MAX_SAFE,"description":Keys::new().find("gateway.port").unwrap().key.doc,"default":18789})
        );
        assert_eq!(gateway["properties"]["reload"]["properties"]["debounceMs"]["minimum"], 0);
        assert_eq!(gateway["properties"]["mode"]["enum"], json!(["local", "remote"]));
        let model = &schema["properties"]["models"]["properties"]["providers"]["additionalProperties"]["properties"]["models"]
            ["items"];
        assert_eq!(model["required"], json!(["id", "name"]));
        assert_eq!(model["properties"]["id"]["minLength"], 1);
        assert_eq!(schema["properties"]["channels"]["additionalProperties"], true);
        let browser = &schema["properties"]["browser"]["properties"];
        assert_eq!(browser["profiles"]["propertyNames"]["pattern"], "^[a-z0-9-]+$");
        assert_eq!(browser["color"]["default"], Value::Null);
        assert_eq!(browser["relayBindHost"]["anyOf"][1]["format"], "ipv6");
        assert_eq!(schema["properties"]["session"]["properties"]["scope"]["default"], "per-sender");
    }

    #[test]
    fn hints() {
        let hints = ui_hints();
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(hints["gateway.port"]["label"], "Port");
        assert_eq!(hints["logging.maxFileBytes"]["label"], "Max File Bytes");
        assert_eq!(hints["channels.telegram.botToken"]["sensitive"], true);
        assert_eq!(hints["logging"]["order"], 900);
        assert_eq!(hints["gateway"]["group"], "Gateway");
        assert!(hints["gateway"]["help"].is_string());
        assert_eq!(hints["gateway.push.apns.relay.baseUrl"]["advanced"], true);
        assert_eq!(hints["gateway.auth.token"]["placeholder"], "made at the first start");
        assert_eq!(hints["gateway.auth.token"]["tags"], json!(["security", "auth", "network"]));
        assert!(hints.get("gateway.tailscale.mode").is_some_and(|h| h.get("sensitive").is_none()));
    }
}
