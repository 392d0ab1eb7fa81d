//! The answer of `config.schema`: JSON Schema (draft-07) of every key, and hints for those that this program reads.

use serde_json::{Map, Value, json};

use super::keys::KEYS;
use super::redact::is_secret;
use super::schema::{Bounds, Literal, Object, Schema, Type, push_step, steps};

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
    let schema = Schema::new();
    let mut out = Printer { schema: &schema, path: String::new() }.kind(&schema.root());
    let head = json!({"$schema": "http://json-schema.org/draft-07/schema#", "title": "OpenClawConfig"});
    for (key, value) in head.as_object().into_iter().flatten() {
        out[key] = value.clone();
    }
    out
}

/// `path → {label?, help?, order?, sensitive?}`; wildcards are `*` and `[]`.
pub fn ui_hints() -> Value {
    let mut hints = Map::new();
    for (group, order) in GROUPS {
        hints.insert((*group).into(), json!({"label": label(group), "order": order}));
    }
    for key in KEYS {
        let mut hint = Map::new();
        let last = steps(key.path).filter(|s| !matches!(*s, "*" | "[]")).last().unwrap_or(key.path);
        hint.insert("label".into(), json!(label(last)));
        hint.insert("help".into(), json!(key.doc));
        if key.secret() {
            hint.insert("sensitive".into(), json!(true));
        }
        hints.insert(key.path.into(), Value::Object(hint));
    }
    for path in Schema::new().paths() {
        if is_secret(&steps(&path).collect::<Vec<_>>()) && !hints.contains_key(&path) {
            hints.insert(path, json!({"sensitive": true}));
        }
    }
    Value::Object(hints)
}

struct Printer<'s> {
    schema: &'s Schema,
    path: String,
}

impl Printer<'_> {
    fn kind(&mut self, kind: &Type) -> Value {
        match kind {
            Type::Any => json!({}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Text(bounds) => with_bounds(json!({"type": "string"}), bounds, "Length"),
            Type::Number(bounds) => with_bounds(json!({"type": "number"}), bounds, ""),
            Type::Integer(bounds) => with_bounds(json!({"type": "integer"}), bounds, ""),
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
        out
    }

    fn below(&mut self, step: &str, kind: &Type) -> Value {
        let here = self.path.len();
        push_step(&mut self.path, step);
        let mut out = self.kind(kind);
        if let Some(key) = KEYS.iter().find(|key| key.path == self.path) {
            out["description"] = json!(key.doc);
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
            json!({"type":"integer","exclusiveMinimum":0,"description":super::super::keys::find("gateway.port").unwrap().doc})
        );
        assert_eq!(gateway["properties"]["reload"]["properties"]["debounceMs"]["minimum"], 0);
        assert_eq!(gateway["properties"]["mode"]["enum"], json!(["local", "remote"]));
        let model = &schema["properties"]["models"]["properties"]["providers"]["additionalProperties"]["properties"]["models"]
            ["items"];
        assert_eq!(model["required"], json!(["id", "name"]));
        assert_eq!(model["properties"]["id"]["minLength"], 1);
        assert_eq!(schema["properties"]["channels"]["additionalProperties"], true);
    }

    #[test]
    fn hints() {
        let hints = ui_hints();
        assert_eq!(hints["gateway.auth.token"]["sensitive"], true);
        assert_eq!(hints["gateway.port"]["label"], "Port");
        assert_eq!(hints["logging.maxFileBytes"]["label"], "Max File Bytes");
        assert_eq!(hints["channels.telegram.botToken"]["sensitive"], true);
        assert_eq!(hints["logging"]["order"], 900);
        assert!(hints.get("gateway.tailscale.mode").is_some_and(|h| h.get("sensitive").is_none()));
    }
}
