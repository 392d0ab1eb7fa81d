//! The keys of the configuration on the real binary: what is refused and how, what a key means, and the schema's own
//! claims put to the test with wrong values.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use openclaw::config::check::check;
use openclaw::config::schema_doc::json_schema;
use serde_json::{Map, Value, json};

use crate::common::client::{Client, Hello};
use crate::common::{Gateway, Home, stderr, stdout};

/// The seed of the sample; any other must do as well.
const SEED: u64 = 0x5eed_0301;
const MAX_SAFE: i64 = 9_007_199_254_740_991;

/// Runs a command that must end with `code`; what it wrote.
fn ends(home: &Home, args: &[&str], code: i32) -> (String, String) {
    let output = home.run(args);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {}{}", stdout(&output), stderr(&output));
    (stdout(&output), stderr(&output))
}

#[test]
fn lookup_answers_as_recorded() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let reader = Hello { scopes: vec!["operator.read".into()], ..Hello::default() };
    let mut client = Client::connect_as(gateway.port, &reader, None).0;
    let _ = client;
    client = Client::connect(gateway.port);
    let mut lookup = |path: &str| client.request("config.schema.lookup", json!({"path": path}));

    let port = lookup("gateway.port");
    let payload = &port["payload"];
    assert_eq!(payload["schema"], json!({"type": "integer", "exclusiveMinimum": 0, "maximum": MAX_SAFE}));
    assert_eq!((&payload["path"], &payload["hintPath"]), (&json!("gateway.port"), &json!("gateway.port")));
    assert_eq!((&payload["children"], &payload["hint"]["tags"]), (&json!([]), &json!(["network"])));

    let auth = lookup("gateway.auth");
    assert_eq!(auth["payload"]["schema"], json!({"type": "object", "additionalProperties": false}));
    let keys: Vec<&str> =
        auth["payload"]["children"].as_array().unwrap().iter().map(|child| child["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["mode", "token", "password", "allowTailscale", "rateLimit", "trustedProxy"]);

    let account = lookup("channels.slack.accounts.x.botToken");
    assert_eq!(account["payload"]["hint"]["sensitive"], true);
    assert_eq!(account["payload"]["hintPath"], "channels.slack.botToken");
    for path in ["agents.list[].id", "agents.list[0].id", "agents.list.7.id", "agents.list.*.id"] {
        assert_eq!(lookup(path)["payload"]["schema"]["type"], "string", "{path}");
    }
    for path in ["no.such", "gateway.port.x", "gateway..port"] {
        let error = &lookup(path)["error"];
        assert_eq!(
            (&error["code"], &error["message"]),
            (&json!("INVALID_REQUEST"), &json!("config schema path not found"))
        );
    }
    let error = lookup("")["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(
        error,
        "invalid config.schema.lookup params: at /path: must NOT have fewer than 1 characters; at /path: must match pattern \"^[A-Za-z0-9_./\\[\\]\\-*]+$\""
    );
}

#[test]
fn schema_of_a_gateway_is_whole() {
    let home = Home::new();
    home.configure(json!({}));
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let answer = client.call("config.schema", json!({}));
    let gateway_keys = &answer["schema"]["properties"]["gateway"]["properties"];
    assert_eq!(gateway_keys["port"]["default"], 18789);
    assert_eq!(answer["schema"]["properties"]["ui"]["properties"]["seamColor"]["pattern"], "^#?[0-9a-fA-F]{6}$");
    let hints = &answer["uiHints"];
    assert_eq!(hints["gateway"]["order"], 30);
    assert_eq!(hints["channels.telegram.botToken"]["sensitive"], true);
    for (path, hint) in hints.as_object().unwrap() {
        let known = ["label", "help", "group", "order", "advanced", "sensitive", "placeholder", "tags"];
        assert!(hint.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{path}: {hint}");
    }
}

#[test]
fn config_schema_explains_a_key() {
    let home = Home::new();
    let (out, _) = ends(&home, &["config", "schema", "gateway.reload.mode"], 0);
    assert_eq!(
        out,
        "gateway.reload.mode\n  Nothing, hot changes, a restart, or whichever is needed (hybrid).\n  string: off, restart, hot, hybrid; reload dynamic; default hybrid\n"
    );
    let (out, _) = ends(&home, &["config", "schema", "gateway.reload"], 0);
    assert!(out.contains("\n  debounceMs  Quiet time after a change before it is looked at.\n"), "{out}");
    let (out, _) = ends(&home, &["config", "schema", "agents.list[].id", "--json"], 0);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&answer["path"], &answer["hintPath"]), (&json!("agents.list.*.id"), &json!("agents.list[].id")));
    let (out, _) = ends(&home, &["config", "schema"], 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["title"], "OpenClawConfig");
    let (out, _) = ends(&home, &["config", "schema", "--complete", "gateway.re"], 0);
    assert_eq!(out, "gateway.reload.\ngateway.remote.\n");
    let (_, err) = ends(&home, &["config", "schema", "gatway.port"], 1);
    assert!(err.contains("config schema path not found: gatway.port\nDid you mean \"gateway.port\"?"), "{err}");
}

#[test]
fn config_get_says_what_was_meant() {
    let home = Home::new();
    home.configure(json!({}));
    let table = [
        ("gateway.prot", "Config path not found: gateway.prot\nDid you mean \"gateway.port\"?\n"),
        ("gateway.port", "Config path not found: gateway.port\nThe key is known and not set; its default: 18789\n"),
        ("gateway.remote.url", "Config path not found: gateway.remote.url\nThe key is known and not set.\n"),
    ];
    for (path, expected) in table {
        let (_, err) = ends(&home, &["config", "get", path], 1);
        assert_eq!(err, expected);
    }
}

#[test]
fn syntax_errors_show_the_line() {
    let home = Home::new();
    home.write_config("{\n  gateway: {\n    mode: 'local'\n    token: 'very-secret',\n  },\n}\n");
    let shown = "    4 |     token: '****-******',\n            ^\n";
    let (_, err) = ends(&home, &["config", "validate"], 1);
    assert!(err.contains("JSON5 parse failed: SyntaxError: JSON5: invalid character 't'"), "{err}");
    assert!(err.contains(&format!(" at 4:5\n  {}", shown.replace("\n   ", "\n     "))), "{err}");
    let (_, err) = ends(&home, &["gateway"], 1);
    assert!(err.contains(shown), "{err}");
    assert!(!err.contains("very-secret"), "{err}");
}

#[test]
fn unknown_keys_name_their_neighbours() {
    let home = Home::new();
    home.write_config("{gateway:{mode:'local',prot:1},agnets:{}}");
    let (_, err) = ends(&home, &["config", "validate"], 1);
    assert!(err.contains("  × gateway: Unrecognized key: \"prot\" (did you mean \"port\"?)\n"), "{err}");
    let (_, err) = ends(&home, &["gateway"], 1);
    assert!(err.contains("  - <root>: Unrecognized key: \"agnets\" (did you mean \"agents\"?)\n"), "{err}");
    let (out, _) = ends(&home, &["config", "validate", "--json"], 1);
    let verdict: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(verdict["issues"][0], json!({"path": "gateway", "message": "Unrecognized key: \"prot\""}));
}

/// Configurations that the reference wrote or answered with.
#[test]
fn recorded_configurations_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/configs");
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(check(&serde_json::from_str(&text).unwrap()), [], "{}", file.display());
        let home = Home::new();
        home.write_config(&text);
        let (out, err) = ends(&home, &["config", "validate"], 0);
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("Config valid: ~/.openclaw/openclaw.json\n", ""),
            "{}",
            file.display()
        );
    }
}

#[test]
fn wrong_values_are_refused_as_the_schema_says() {
    corpus(&json_schema(), SEED);
    // The reference's schema is no part of the project; where it lies beside it, it is asked, too.
    let places = ["../shared/spec/config.schema.json", "../../shared/spec/config.schema.json"];
    if let Some(text) = places.iter().find_map(|place| fs::read_to_string(place).ok()) {
        let reference: Value = serde_json::from_str(&text).unwrap();
        for seed in 0..5 {
            corpus(&reference, SEED + seed);
        }
    }
}

#[test]
fn ranges_and_patterns_are_those_of_the_reference() {
    let places = ["../shared/spec/config.schema.json", "../../shared/spec/config.schema.json"];
    let Some(text) = places.iter().find_map(|place| fs::read_to_string(place).ok()) else { return };
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    places_of(&serde_json::from_str(&text).unwrap(), &mut Vec::new(), &mut theirs);
    places_of(&json_schema(), &mut Vec::new(), &mut ours);
    let facts = |places: &[Place]| -> BTreeMap<String, String> {
        let keep = [
            "type",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "pattern",
        ];
        let of = |place: &Place| {
            let choices = sorted_choices(&place.schema);
            let facts = keep
                .iter()
                .filter(|_| choices.is_empty())
                .filter_map(|key| Some((*key, place.schema.get(*key)?)))
                .filter(|(_, value)| value.as_i64().is_none_or(|number| number.abs() != MAX_SAFE));
            (place.path(), format!("{:?} {choices:?}", facts.collect::<Vec<_>>()))
        };
        places.iter().map(of).collect()
    };
    // Several types in one word, and anything at all, are unions for us.
    theirs.retain(|place| place.schema["type"].is_string() || !choices(&place.schema).is_empty());
    let (theirs, ours) = (facts(&theirs), facts(&ours));
    assert!(theirs.len() > 2000, "{}", theirs.len());
    let different: Vec<String> = theirs
        .iter()
        .filter(|(path, facts)| ours.get(*path) != Some(*facts))
        .map(|(path, facts)| format!("{path}: {facts} but {:?}", ours.get(path)))
        .collect();
    assert!(
        different.is_empty(),
        "{} of {}: {:#?}",
        different.len(),
        theirs.len(),
        &different[..different.len().min(10)]
    );
}

/// A place in a schema that can be reached without choosing among alternatives.
#[derive(Clone)]
struct Place {
    /// The schemas on the way with the step that leaves each.
    way: Vec<(Value, String)>,
    schema: Value,
}

impl Place {
    /// As issues write it: any name is `any`, every list has one item.
    fn path(&self) -> String {
        self.way.iter().map(|(_, step)| step.as_str()).collect::<Vec<_>>().join(".")
    }

    /// The smallest configuration that has `value` here and is right everywhere else.
    fn config(&self, value: Value) -> Value {
        self.way.iter().rev().fold(value, |below, (schema, step)| match schema["type"].as_str() {
            Some("array") => json!([below]),
            _ => {
                let mut map = required_of(schema);
                map.insert(step.clone(), below);
                Value::Object(map)
            }
        })
    }
}

fn places_of(schema: &Value, way: &mut Vec<(Value, String)>, out: &mut Vec<Place>) {
    if !way.is_empty() {
        out.push(Place { way: way.clone(), schema: schema.clone() });
    }
    let mut enter = |step: &str, below: &Value| {
        // Only what an object needs beside the step.
        let needed = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let needed: Map<String, Value> =
            needed.map(|name| (name.to_owned(), schema["properties"][name].clone())).collect();
        let shallow = json!({"type": schema["type"], "required": schema["required"], "properties": needed});
        way.push((shallow, step.to_owned()));
        places_of(below, way, out);
        way.pop();
    };
    for (name, below) in schema["properties"].as_object().into_iter().flatten() {
        enter(name, below);
    }
    if schema["additionalProperties"].is_object() && schema["type"] == "object" {
        enter("any", &schema["additionalProperties"]);
    }
    if schema["items"].is_object() {
        enter("0", &schema["items"]);
    }
}

fn required_names(schema: &Value) -> Vec<String> {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    names.filter(|name| schema["properties"][name].get("default").is_none()).map(str::to_owned).collect()
}

fn required_of(schema: &Value) -> Map<String, Value> {
    required_names(schema).into_iter().map(|name| (name.clone(), right(&schema["properties"][&name]))).collect()
}

/// A value that a schema accepts.
fn right(schema: &Value) -> Value {
    if let Some(first) = choices(schema).first() {
        return first.clone();
    }
    if let Some(first) = alternatives(schema).first() {
        return right(first);
    }
    match schema["type"].as_str() {
        Some("string") => match schema["pattern"].as_str() {
            Some(pattern) if pattern.contains("A-Fa-f") || pattern.contains("0-9a-fA-F]{6}") => json!("#00ff00"),
            Some(pattern) if pattern.starts_with("^[A-Z]") => json!("NAME"),
            _ => json!("word"),
        },
        Some("integer" | "number") => json!(schema["minimum"].as_f64().map_or(1.0, |min| min.max(1.0))),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => Value::Object(required_of(schema)),
        _ => json!({}),
    }
}

fn alternatives(schema: &Value) -> Vec<Value> {
    ["anyOf", "oneOf"].iter().filter_map(|key| schema[*key].as_array()).flatten().cloned().collect()
}

/// The literals, when a schema is nothing but some of them.
fn choices(schema: &Value) -> Vec<Value> {
    if let Some(list) = schema["enum"].as_array() {
        return list.clone();
    }
    if let Some(one) = schema.get("const") {
        return vec![one.clone()];
    }
    let literals: Vec<Vec<Value>> = alternatives(schema).iter().map(choices).collect();
    if literals.iter().any(Vec::is_empty) { Vec::new() } else { literals.concat() }
}

fn sorted_choices(schema: &Value) -> Vec<String> {
    let mut out: Vec<String> = choices(schema).iter().map(Value::to_string).collect();
    out.sort();
    out
}

/// A wrong value of every kind that a place allows, with the issue that it must bring: kind, configuration, line.
fn wrong_values(place: &Place) -> Vec<(&'static str, Value, String)> {
    let (path, schema) = (place.path(), &place.schema);
    let mut out = Vec::new();
    let mut add =
        |kind, value: Value, message: String| out.push((kind, place.config(value), format!("{path}: {message}")));
    let literals = choices(schema);
    if !literals.is_empty() {
        let shown: Vec<String> = literals.iter().take(12).map(Value::to_string).collect();
        let more = if literals.len() > 12 { format!(", ... (+{} more)", literals.len() - 12) } else { String::new() };
        add("choice", json!("no-such-choice"), format!("Invalid input (allowed: {}{more})", shown.join(", ")));
        return out;
    }
    let limit = |key: &str| schema[key].as_f64().filter(|limit| limit.abs() < MAX_SAFE as f64);
    match schema["type"].as_str() {
        Some("string") => {
            add("type", json!(7), "Invalid input: expected string, received number".into());
            if let Some(pattern) = schema["pattern"].as_str()
                && schema.get("format").is_none()
            {
                let own = ["provider", "id", "color", "seamColor", "accentColor"];
                if !own.contains(&path.rsplit('.').next().unwrap_or_default()) {
                    add("pattern", json!("!"), format!("Invalid string: must match pattern /{pattern}/"));
                }
            }
            if let Some(max) = limit("maxLength") {
                let long = "x".repeat(max as usize + 1);
                add("high", json!(long), format!("Too big: expected string to have <={max} characters"));
            }
            if let Some(min) = limit("minLength") {
                let short = "x".repeat(min as usize - 1);
                add("low", json!(short), format!("Too small: expected string to have >={min} characters"));
            }
        }
        Some(kind @ ("integer" | "number")) => {
            add("type", json!("x"), "Invalid input: expected number, received string".into());
            if kind == "integer" {
                add("fraction", json!(1.5), "Invalid input: expected int, received number".into());
            }
            if let Some(min) = limit("minimum") {
                add("low", json!(min as i64 - 1), format!("Too small: expected number to be >={min}"));
            }
            if let Some(min) = limit("exclusiveMinimum") {
                add("low", json!(min as i64), format!("Too small: expected number to be >{min}"));
            }
            if let Some(max) = limit("maximum") {
                add("high", json!(max as i64 + 1), format!("Too big: expected number to be <={max}"));
            }
        }
        Some("boolean") => add("type", json!("yes"), "Invalid input: expected boolean, received string".into()),
        Some("array") => {
            add("type", json!("x"), "Invalid input: expected array, received string".into());
            if let Some(min) = limit("minItems") {
                add("low", json!([]), format!("Too small: expected array to have >={min} items"));
            }
            if let Some(max) = limit("maxItems") {
                let item = right(&schema["items"]);
                let many: Vec<Value> = vec![item; max as usize + 1];
                add("high", json!(many), format!("Too big: expected array to have <={max} items"));
            }
        }
        Some("object") => {
            add("type", json!("x"), "Invalid input: expected object, received string".into());
            if schema["additionalProperties"] == false {
                let mut map = required_of(schema);
                map.insert("zz9".into(), json!(1));
                add("unknown", Value::Object(map), "Unrecognized key: \"zz9\"".into());
            }
        }
        _ => {}
    }
    out
}

/// 200 places of a schema with every wrong value that each allows: one issue, its path, its message.
fn corpus(schema: &Value, seed: u64) {
    let mut places = Vec::new();
    places_of(schema, &mut Vec::new(), &mut places);
    places.retain(|place| !wrong_values(place).is_empty());
    assert!(places.len() > 2000, "{}", places.len());
    let mut state = seed;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..200 {
        // Knuth's generator: the sample is the same everywhere.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let place = &places[(state >> 33) as usize % places.len()];
        for (kind, config, expected) in wrong_values(place) {
            let found: Vec<String> = check(&config).iter().map(openclaw::config::Issue::line).collect();
            assert_eq!(found, [expected], "seed {seed}, {kind}: {config}");
            *kinds.entry(kind).or_default() += 1;
        }
    }
    for kind in ["type", "choice", "unknown", "low", "high", "fraction"] {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
}
