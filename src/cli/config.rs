//! `openclaw config file|get|validate` (`schema` is `config_schema`'s): reads the file, writes nothing, needs no gateway.

use serde_json::{Value, json};

use super::Context;
use super::config_schema;
use super::help;
use super::output::{json_pretty, plain, write_err};
use super::tree::{Config, ConfigCommand, ConfigGet};
use crate::config::load::Loaded;
use crate::config::{get_path, lookup, redact};
use crate::error::{Error, Result};
use crate::out;

pub fn run(cx: &Context, args: &Config) -> Result<u8> {
    match &args.command {
        Some(ConfigCommand::File(_)) => {
            out!("{}", cx.short(&cx.paths.config_path));
            Ok(0)
        }
        Some(ConfigCommand::Get(args)) => get(cx, args),
        Some(ConfigCommand::Validate(args)) => validate(cx, args.json),
        Some(ConfigCommand::Schema(args)) => config_schema::run(args),
        None => {
            write_err(&help::help(&["config".to_string()]));
            Ok(1)
        }
    }
}

fn get(cx: &Context, args: &ConfigGet) -> Result<u8> {
    cx.config()?;
    let value = value_at(&cx.loaded().resolved, &args.path)?;
    out!("{}", if args.json { json_pretty(&value) } else { text(&value) });
    Ok(0)
}

/// Redacted before the path is taken, so that no way of writing it leads around.
fn value_at(config: &Value, path: &str) -> Result<Value> {
    let parts = get_path::parse_path(path).map_err(|error| Error::new(error.to_string()))?;
    get_path::get(&redact::redact(config), &parts).cloned().ok_or_else(|| not_found(path))
}

/// Says what was meant, or what holds when the key is not written.
fn not_found(path: &str) -> Error {
    let error = Error::new(format!("Config path not found: {path}"));
    if let Some(meant) = lookup::nearest_path(path) {
        return error.hint(format!("Did you mean \"{meant}\"?"));
    }
    match lookup::default_of(path) {
        Some("") => error.hint("The key is known and not set."),
        Some(default) => error.hint(format!("The key is known and not set; its default: {default}")),
        None => error,
    }
}

/// A text bare, everything else as JSON.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        other => json_pretty(other),
    }
}

fn validate(cx: &Context, json: bool) -> Result<u8> {
    let loaded = cx.loaded();
    let (path, short) = (cx.paths.config_path.display().to_string(), cx.short(&cx.paths.config_path));
    if json {
        let (text, code) = verdict_json(loaded, &path);
        out!("{text}");
        return Ok(code);
    }
    if !loaded.exists {
        return Err(Error::new(format!("Config file not found: {short}")));
    }
    if !loaded.valid() {
        let mut error = Error::new(format!("Config invalid at {short}:"));
        for issue in &loaded.issues {
            error.hints.push(format!("  × {}{}", plain(&issue.line()), plain(&lookup::suggestion(issue))));
            error.hints.extend(loaded.excerpt(issue).map(|line| format!("      {}", plain(&line))));
        }
        return Err(error.hint("").hint("Mend the keys above, then check again; openclaw.json(5) has every key."));
    }
    out!("Config valid: {short}");
    Ok(0)
}

/// A good verdict fits on one line, a bad one is to be read.
fn verdict_json(loaded: &Loaded, path: &str) -> (String, u8) {
    if !loaded.exists {
        return (json_pretty(&json!({"valid": false, "path": path, "error": "file not found"})), 1);
    }
    if loaded.valid() {
        return (json!({"valid": true, "path": path}).to_string(), 0);
    }
    let issues: Vec<Value> = loaded.issues.iter().map(crate::config::Issue::to_json).collect();
    (json_pretty(&json!({"valid": false, "path": path, "issues": issues})), 1)
}
