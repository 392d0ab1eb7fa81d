//! config.get and the methods that write: set, apply, patch (config A6, protocol 12).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Payload;
use super::context::{Caller, Context};
use super::restart;
use crate::config::{self, Issue, redact, text};
use crate::limits;
use crate::protocol::ErrorShape;
use crate::protocol::params::config::{ConfigApplyParams, ConfigSetParams};
use crate::protocol::params::read;
use crate::store::config_file::{self, Edit, WriteError, WriteOptions, Written};
use crate::store::source::FsSource;

/// Issues in the text of an error; all of them are in its details.
const SHOWN_ISSUES: usize = 3;

/// The file as it is now, secrets masked; an invalid one with its issues.
pub fn get(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    Ok(config::load(&ctx.paths, &FsSource).view().into())
}

/// The whole file anew; whoever watches it takes the change over.
pub fn set(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: ConfigSetParams = read("config.set", params)?;
    let written = write(ctx, Edit::Replace(params.raw), &options(&params.base_hash))?;
    Ok(answer(&written).into())
}

/// The whole file anew, and a restart.
pub fn apply(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: ConfigApplyParams = read("config.apply", params)?;
    let written = write(ctx, Edit::Replace(params.raw.clone()), &options(&params.base_hash))?;
    Ok(with_restart(ctx, answer(&written), "config.apply", &params))
}

/// A merge patch, and a restart.
pub fn patch(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: ConfigApplyParams = read("config.patch", params)?;
    let options = WriteOptions { require_valid: true, ..options(&params.base_hash) };
    let patch = match text::parse(&params.raw) {
        Ok(patch @ Value::Object(_)) => patch,
        other => {
            // What is wrong with the file or its hash is said first.
            config_file::check(&ctx.paths, &FsSource, &options).map_err(refusal)?;
            return Err(match other {
                Ok(_) => ErrorShape::invalid("config.patch raw must be an object"),
                Err(message) => refusal(WriteError::Syntax(message)),
            });
        }
    };
    let written = write(ctx, Edit::Merge(patch), &options)?;
    Ok(with_restart(ctx, answer(&written), "config.patch", &params))
}

/// Says where the file is. A server has no screen to open it on, and a request starts no programs here.
pub fn open_file(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    let path = ctx.paths.config_path.display().to_string();
    Ok(json!({"ok": false, "path": path, "error": "failed to open config file: this gateway opens no programs; edit the file on its machine"}).into())
}

fn options(base_hash: &Option<String>) -> WriteOptions<'_> {
    WriteOptions { base_hash: base_hash.as_deref(), require_base_hash: true, ..WriteOptions::default() }
}

fn write(ctx: &Context, edit: Edit, options: &WriteOptions<'_>) -> Result<Written, ErrorShape> {
    let written = config_file::write(&ctx.paths, &FsSource, &[edit], options).map_err(refusal)?;
    for line in &written.lines {
        log::warn!(target: "", "{line}");
    }
    Ok(written)
}

fn answer(written: &Written) -> Value {
    json!({
        "ok": true,
        "path": written.path.display().to_string(),
        "config": redact::redact(&written.loaded.effective),
    })
}

fn with_restart(ctx: &Context, mut answer: Value, method: &'static str, params: &ConfigApplyParams) -> Payload {
    let delay = params.restart_delay_ms.map_or(limits::RESTART_DELAY, Duration::from_millis);
    let sentinel = restart::leave_note(ctx, method, params.session_key.as_deref(), params.note.as_deref());
    let planned = ctx.restarts.schedule(delay.min(limits::RESTART_DELAY_MAX), method, Instant::now());
    answer["restart"] = json!({
        "ok": true,
        "pid": std::process::id(),
        "signal": "SIGUSR1",
        "delayMs": planned.delay.as_millis() as u64,
        "reason": method,
        "mode": "emit",
        "coalesced": planned.coalesced,
        "cooldownMsApplied": planned.cooldown.as_millis() as u64,
    });
    answer["sentinel"] = sentinel;
    answer.into()
}

/// A write that was not done, as its caller is told.
fn refusal(error: WriteError) -> ErrorShape {
    match error {
        WriteError::BaseHashUnavailable(e) => {
            log::warn!(target: "config", "the config file cannot be read: {e}");
            ErrorShape::invalid("config base hash unavailable; re-run config.get and retry")
        }
        WriteError::LostRace => ErrorShape::invalid(WriteError::BaseHashStale.to_string()),
        WriteError::Syntax(message) => ErrorShape::invalid(text::bare_syntax_error(&message)),
        WriteError::Invalid { issues, before: true } => {
            ErrorShape::invalid("invalid config; fix before patching").details(details(&issues))
        }
        WriteError::Invalid { issues, before: false } => {
            let shown: Vec<String> = issues.iter().take(SHOWN_ISSUES).map(Issue::line).collect();
            let more = match issues.len().saturating_sub(SHOWN_ISSUES) {
                0 => String::new(),
                1 => " (+1 more issue)".into(),
                n => format!(" (+{n} more issues)"),
            };
            ErrorShape::invalid(format!("invalid config: {}{more}", shown.join("; "))).details(details(&issues))
        }
        WriteError::Locked => ErrorShape::unavailable(error.to_string()).retry_after(1000),
        WriteError::Io { .. } => {
            log::error!(target: "config", "{error}");
            let hint = error.hint().map(|hint| format!(". {hint}")).unwrap_or_default();
            ErrorShape::unavailable(format!("{error}{hint}"))
        }
        other => ErrorShape::invalid(other.to_string()),
    }
}

fn details(issues: &[Issue]) -> Value {
    json!({"issues": issues.iter().map(Issue::to_json).collect::<Vec<_>>()})
}
