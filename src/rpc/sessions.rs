//! sessions.list and sessions.preview, and the rows that other methods show of a session.

use serde_json::{Map, Value, json};

use super::context::{Caller, Context, wall_ms};
use super::{Payload, models};
use crate::agent::history;
use crate::protocol::ErrorShape;
use crate::protocol::params::read;
use crate::protocol::params::sessions::{SessionsListParams, SessionsPreviewParams};
use crate::store::entry::Entry;
use crate::store::sessions::Query;

/// Newest first.
pub fn list(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: SessionsListParams = read("sessions.list", params)?;
    let (now, live) = (wall_ms(), ctx.live());
    let config = &live.config;
    let since = params.active_minutes.map_or(0, |m| now.saturating_sub(m.saturating_mul(60_000)));
    let query =
        Query { agent: params.agent_id.as_deref(), updated_since: since, limit: params.limit.map(|n| n as usize) };
    let search = params.search.as_deref().map(str::trim).filter(|s| !s.is_empty()).map(str::to_lowercase);
    let entries = ctx.sessions.list(query, &mut |e| {
        let kind = kind(e);
        (kind != "global" || params.include_global == Some(true))
            && (kind != "unknown" || params.include_unknown == Some(true))
            && params.label.as_ref().is_none_or(|label| e.label.as_ref() == Some(label))
            && params.spawned_by.as_ref().is_none_or(|by| e.spawned_by.as_ref() == Some(by))
            && search.as_ref().is_none_or(|text| matches_search(e, text))
    });
    let defaults = models::defaults(ctx, &live);
    let rows = entries.iter().map(|e| {
        let mut row = list_row(e, &defaults);
        if params.include_last_message == Some(true) {
            let told = history::previews(&ctx.sessions, config, &ctx.paths, &[e.key.to_string()], Some(1), None);
            if let Some(text) = told.pointer("/0/items/0/text") {
                row.insert("lastMessagePreview".into(), text.clone());
            }
        }
        Value::Object(row)
    });
    let rows: Vec<Value> = rows.collect();
    let summary = ctx.sessions.summary();
    let path = match summary.agents.as_slice() {
        [one] if params.agent_id.is_some() => one.path.to_string_lossy().into_owned(),
        many => many
            .iter()
            .find(|a| Some(&*a.agent) == params.agent_id.as_deref())
            .map_or("(multiple)".into(), |a| a.path.to_string_lossy().into_owned()),
    };
    Ok(json!({
        "ts": now,
        "path": path,
        "count": rows.len(),
        "defaults": {
            "modelProvider": defaults.provider,
            "model": defaults.model,
            "contextTokens": defaults.context_tokens,
        },
        "sessions": rows,
    })
    .into())
}

fn matches_search(e: &Entry, text: &str) -> bool {
    [Some(&*e.key), Some(&e.session_id), e.label.as_deref(), e.display_name.as_deref(), e.subject.as_deref()]
        .into_iter()
        .flatten()
        .any(|field| field.to_lowercase().contains(text))
}

pub fn preview(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: SessionsPreviewParams = read("sessions.preview", params)?;
    let number = |n: Option<u64>| n.map(|n| n as usize);
    let (limit, chars) = (number(params.limit), number(params.max_chars));
    let previews = history::previews(&ctx.sessions, &ctx.config(), &ctx.paths, &params.keys, limit, chars);
    Ok(json!({"ts": wall_ms(), "previews": previews}).into())
}

/// direct, group, global or unknown.
pub fn kind(e: &Entry) -> &'static str {
    match (&*e.key, e.chat_type.as_deref()) {
        ("global", _) => "global",
        ("unknown", _) => "unknown",
        (_, Some("group" | "channel")) => "group",
        (key, _) if key.contains(":group:") || key.contains(":channel:") => "group",
        _ => "direct",
    }
}

/// A row of `sessions.list`; what an entry does not have is left out.
fn list_row(e: &Entry, defaults: &models::Defaults) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("key".into(), (*e.key).into());
    row.insert("kind".into(), kind(e).into());
    let stored = e.to_map();
    for name in [
        "label",
        "displayName",
        "channel",
        "subject",
        "chatType",
        "origin",
        "systemSent",
        "abortedLastRun",
        "thinkingLevel",
        "fastMode",
        "verboseLevel",
        "reasoningLevel",
        "elevatedLevel",
        "sendPolicy",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "responseUsage",
        "contextTokens",
        "deliveryContext",
        "lastChannel",
        "lastTo",
        "lastAccountId",
    ] {
        if let Some(value) = stored.get(name) {
            row.insert(name.into(), value.clone());
        }
    }
    row.insert("updatedAt".into(), e.updated_at.into());
    row.insert("sessionId".into(), e.session_id.as_str().into());
    row.insert("totalTokensFresh".into(), e.total_tokens_fresh.unwrap_or(false).into());
    let provider = e.provider_override.as_deref().or(e.model_provider.as_deref()).unwrap_or(&defaults.provider);
    let model = e.model_override.as_deref().or(e.model.as_deref()).unwrap_or(&defaults.model);
    row.insert("modelProvider".into(), provider.into());
    row.insert("model".into(), model.into());
    row.entry("contextTokens").or_insert_with(|| defaults.context_tokens.into());
    row
}

/// A row of `status`.
pub fn status_row(e: &Entry, now_ms: u64) -> Value {
    let stored = e.to_map();
    let mut row = Map::new();
    row.insert("agentId".into(), (*e.agent).into());
    row.insert("key".into(), (*e.key).into());
    row.insert("kind".into(), kind(e).into());
    row.insert("sessionId".into(), e.session_id.as_str().into());
    row.insert("updatedAt".into(), e.updated_at.into());
    row.insert("age".into(), now_ms.saturating_sub(e.updated_at).into());
    for name in [
        "systemSent",
        "abortedLastRun",
        "thinkingLevel",
        "verboseLevel",
        "inputTokens",
        "outputTokens",
        "cacheRead",
        "cacheWrite",
    ] {
        if let Some(value) = stored.get(name) {
            row.insert(name.into(), value.clone());
        }
    }
    let window = e.context_tokens.unwrap_or(crate::limits::CONTEXT_TOKENS);
    let total = e.total_tokens;
    row.insert("totalTokens".into(), json!(total));
    row.insert("totalTokensFresh".into(), e.total_tokens_fresh.unwrap_or(false).into());
    row.insert("remainingTokens".into(), json!(total.map(|t| window.saturating_sub(t))));
    row.insert("percentUsed".into(), json!(total.map(|t| (t as f64 * 100.0 / window.max(1) as f64).round() as u64)));
    row.insert("model".into(), json!(e.model));
    row.insert("contextTokens".into(), window.into());
    let mut flags: Vec<String> = Vec::new();
    if e.system_sent == Some(true) {
        flags.push("system".into());
    }
    if e.aborted_last_run == Some(true) {
        flags.push("aborted".into());
    }
    flags.push(format!("id:{}", e.session_id));
    row.insert("flags".into(), flags.into());
    row.into()
}
