//! `openclaw config file|get|set|unset|validate` (`schema` is `config_schema`'s): works on the file and needs no gateway;
//! one that runs sees the change.

use serde_json::{Value, json};

use super::Context;
use super::config_schema;
use super::help;
use super::output::{json_pretty, plain, write_err};
use super::tree::{Config, ConfigCommand, ConfigGet, ConfigSet, ConfigUnset};
use crate::config::load::Loaded;
use crate::config::{Issue, get_path, lookup, redact, text as json5};
use crate::error::{Error, Result};
use crate::store::config_file::{self, Edit, WriteError, WriteOptions};
use crate::store::source::FsSource;
use crate::{err, out};

pub fn run(cx: &Context, args: &Config) -> Result<u8> {
    match &args.command {
        Some(ConfigCommand::File(_)) => {
            out!("{}", cx.short(&cx.paths.config_path));
            Ok(0)
        }
        Some(ConfigCommand::Get(args)) => get(cx, args),
        Some(ConfigCommand::Set(args)) => set(cx, args),
        Some(ConfigCommand::Unset(args)) => unset(cx, args),
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

fn set(cx: &Context, args: &ConfigSet) -> Result<u8> {
    let path = parse(&args.path)?;
    let value = match json5::parse(&args.value) {
        Ok(value) => value,
        Err(message) if args.json || args.strict_json => {
            let message = json5::bare_syntax_error(&message);
            return Err(Error::new(format!("Error: Failed to parse JSON5 value: {message}")));
        }
        Err(_) => Value::String(args.value.clone()),
    };
    write(cx, Edit::Set { path, value }, args.replace)?;
    out!("Updated {}. Restart the gateway to apply.", plain(&args.path));
    Ok(0)
}

fn unset(cx: &Context, args: &ConfigUnset) -> Result<u8> {
    write(cx, Edit::Unset { path: parse(&args.path)? }, args.replace)?;
    out!("Removed {}. Restart the gateway to apply.", plain(&args.path));
    Ok(0)
}

fn parse(path: &str) -> Result<Vec<String>> {
    get_path::parse_path(path).map_err(|error| Error::new(error.to_string()))
}

fn write(cx: &Context, edit: Edit, replace: bool) -> Result<()> {
    let options = WriteOptions { replace, ..WriteOptions::default() };
    let written = config_file::write(&cx.paths, &FsSource, &[edit], &options).map_err(refusal)?;
    for line in &written.lines {
        err!("{line}");
    }
    Ok(())
}

fn refusal(error: WriteError) -> Error {
    let hint = error.hint();
    let mut told = match &error {
        WriteError::NotFound(_) => Error::new(plain(&error.to_string())),
        WriteError::Invalid { issues, .. } => invalid(issues),
        _ => Error::new(plain(&format!("Error: {error}"))),
    };
    told.hints.extend(hint);
    told
}

/// What the key is really called, or where to read what it takes.
fn what_to_do(issue: &Issue) -> Option<String> {
    let near = lookup::near_keys(issue);
    if !near.is_empty() {
        return Some(plain(&format!("Did you mean {}?", near.join(", "))));
    }
    let path = plain(&issue.path);
    (!path.is_empty()).then(|| format!("`openclaw config schema {path}` says what it takes."))
}

/// The first issue in the line that scripts know, the others below it.
fn invalid(issues: &[Issue]) -> Error {
    let mut lines = issues.iter().map(|issue| plain(&issue.line()));
    let first = lines.next().unwrap_or_default();
    let mut error = Error::new(format!("Error: Config validation failed: {first}"));
    error.hints.extend(lines.map(|line| format!("  {line}")));
    let to_do: Vec<String> = issues.iter().flat_map(open_dm_hint).collect();
    let general = issues.first().filter(|_| to_do.is_empty()).and_then(what_to_do);
    error.hints.extend(to_do.into_iter().chain(general));
    error
}

/// Everybody may write to the bot, and the list of those who may does not say so: what to do about it.
fn open_dm_hint(issue: &Issue) -> Vec<String> {
    let named = issue.message.split_once("=\"open\" requires ");
    let Some((policy, list)) = named.and_then(|(policy, rest)| Some((policy, rest.split_once(" to include \"*\"")?.0)))
    else {
        return Vec::new();
    };
    vec![
        String::new(),
        format!("To let everybody in:      openclaw config set {list} '[\"*\"]'"),
        format!("To ask for pairing first: openclaw config set {policy} pairing"),
    ]
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
        let doctor = cx.suggest("openclaw doctor");
        return Err(error.hint("").hint(format!("Run `{doctor}` to repair, or fix the keys above manually.")));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_door_without_a_list_says_how_to_go_on() {
        let rule = "channels.telegram.dmPolicy=\"open\" requires channels.telegram.allowFrom to include \"*\"";
        let issue = |message: &str| Issue::new("channels.telegram.allowFrom", message);
        assert_eq!(
            invalid(&[issue(rule)]).to_string(),
            format!(
                "Error: Config validation failed: channels.telegram.allowFrom: {rule}\n\n\
                 To let everybody in:      openclaw config set channels.telegram.allowFrom '[\"*\"]'\n\
                 To ask for pairing first: openclaw config set channels.telegram.dmPolicy pairing"
            )
        );
        assert_eq!(
            invalid(&[issue("one"), issue("two")]).to_string(),
            "Error: Config validation failed: channels.telegram.allowFrom: one\n  channels.telegram.allowFrom: two\n\
             `openclaw config schema channels.telegram.allowFrom` says what it takes."
        );
    }
}
