//! `sessions_list` and `sessions_history`: other conversations, as far as `tools.sessions.visibility` lets them be seen.

use serde_json::{Map, Value, json};

use super::{Call, Output, Tool, ToolError};
use crate::agent::session::transcript_of;
use crate::agent::{history, keys};
use crate::limits::{TOOL_HISTORY_BYTES, TOOL_HISTORY_TEXT_CHARS, TOOL_SESSIONS};
use crate::log::redact::redact;
use crate::policy::tools::{Look, Place, may_look};
use crate::store::entry::Entry;
use crate::store::sessions::Query;

/// Generations of spawned sessions that are followed.
const GENERATIONS: usize = 8;
/// Messages of one row of the list.
const ROW_MESSAGES: usize = 20;

pub const LIST: Tool = Tool {
    name: "sessions_list",
    description: "Lists conversations that this session may see, newest first.",
    parameters: || {
        json!({"type": "object", "properties": {
            "kinds": {"type": "array", "items": {"type": "string"},
                "description": "Only these kinds: main, group, cron, hook, node, other."},
            "limit": {"type": "number", "minimum": 1, "description": "At most so many rows."},
            "activeMinutes": {"type": "number", "minimum": 1, "description": "Only sessions used within these minutes."},
            "messageLimit": {"type": "number", "minimum": 0, "description": "The last messages of each, at most 20."}}})
    },
    enabled: |_| true,
    run: list,
};

pub const HISTORY: Tool = Tool {
    name: "sessions_history",
    description: "Shows the messages of a conversation that this session may see.",
    parameters: || {
        json!({"type": "object", "required": ["sessionKey"], "properties": {
            "sessionKey": {"type": "string", "description": "Key of the session, as sessions_list gives it."},
            "limit": {"type": "number", "minimum": 1, "description": "At most so many messages, the newest."},
            "includeTools": {"type": "boolean", "description": "Results of tools, too."}}})
    },
    enabled: |_| true,
    run: history,
};

fn list(call: &Call<'_>) -> Result<Output, ToolError> {
    let world = &call.toolbox.world;
    let kinds: Vec<String> = call
        .args
        .get("kinds")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|kind| Some(kind.as_str()?.trim().to_lowercase()))
        .filter(|kind| KINDS.contains(&kind.as_str()))
        .collect();
    let minutes = call.count("activeMinutes").map(|n| (n as u64).saturating_mul(60_000));
    let query = Query {
        agent: None,
        updated_since: minutes.map_or(0, |ms| (world.now_ms)().saturating_sub(ms)),
        limit: Some(call.count("limit").unwrap_or(TOOL_SESSIONS).min(TOOL_SESSIONS)),
    };
    let entries = world.sessions.list(query, &mut |entry| {
        &*entry.key != "unknown"
            && (kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind(entry)))
            && look(call, Look::List, &entry.key, &entry.agent).is_ok()
    });
    let messages = match call.args.get("messageLimit").and_then(Value::as_f64) {
        Some(wanted) if wanted >= 1.0 => (wanted as usize).min(ROW_MESSAGES),
        _ => 0,
    };
    let rows = entries.iter().map(|entry| {
        let mut row = row(call, entry);
        if messages > 0 {
            row.insert("messages".into(), read(call, &entry.key, Some(messages), false)?.0.into());
        }
        Ok(Value::Object(row))
    });
    let rows = rows.collect::<Result<Vec<Value>, ToolError>>()?;
    Ok(Output::json(json!({"count": rows.len(), "sessions": rows})))
}

const KINDS: [&str; 6] = ["main", "group", "cron", "hook", "node", "other"];

fn kind(entry: &Entry) -> &'static str {
    let key = &*entry.key;
    let rest = key.strip_prefix("agent:").and_then(|rest| rest.split_once(':')).map_or(key, |(_, rest)| rest);
    match rest {
        keys::MAIN => "main",
        _ if rest.starts_with("cron:") => "cron",
        _ if rest.starts_with("hook:") => "hook",
        _ if rest.starts_with("node-") || rest.starts_with("node:") => "node",
        _ if matches!(entry.chat_type.as_deref(), Some("group" | "channel")) => "group",
        _ if rest.contains(":group:") || rest.contains(":channel:") => "group",
        _ => "other",
    }
}

/// What an entry does not have is left out.
fn row(call: &Call<'_>, entry: &Entry) -> Map<String, Value> {
    let stored = entry.to_map();
    let mut row = Map::new();
    let kind = kind(entry);
    row.insert("key".into(), (*entry.key).into());
    row.insert("kind".into(), kind.into());
    let channel = match kind {
        "cron" | "hook" | "node" => "internal",
        _ => entry.channel.as_deref().or(entry.last_channel.as_deref()).unwrap_or("unknown"),
    };
    row.insert("channel".into(), channel.into());
    let mut copy = |names: &[&str]| {
        for name in names {
            if let Some(value) = stored.get(*name) {
                row.insert((*name).into(), value.clone());
            }
        }
    };
    copy(&["label", "displayName", "deliveryContext"]);
    copy(&["updatedAt", "sessionId", "model", "contextTokens", "totalTokens", "thinkingLevel", "verboseLevel"]);
    copy(&["systemSent", "abortedLastRun", "sendPolicy", "lastChannel", "lastTo", "lastAccountId"]);
    if let Some(path) = transcript_of(call.config, &call.toolbox.world.paths, entry) {
        row.insert("transcriptPath".into(), path.display().to_string().into());
    }
    row
}

fn history(call: &Call<'_>) -> Result<Output, ToolError> {
    let given = call.required("sessionKey")?;
    let route = call.route(given)?;
    if let Err(error) = look(call, Look::History, &route.key, &route.agent) {
        return Ok(forbidden(&error));
    }
    if call.toolbox.world.sessions.get(&route.key).is_none() && route.key != call.asker.key {
        return Ok(Output::json(json!({"status": "error", "error": format!("No session found: {given}")})));
    }
    let (mut messages, shortened) = read(call, &route.key, call.count("limit"), call.flag("includeTools"))?;
    let count = messages.len();
    let mut bytes = 0;
    let kept = messages.iter().rev().take_while(|message| {
        bytes += message.to_string().len() + 1;
        bytes <= TOOL_HISTORY_BYTES
    });
    let dropped = count - kept.count();
    messages.drain(..dropped);
    let bytes = Value::Array(messages.clone()).to_string().len();
    Ok(Output::json(json!({
        "sessionKey": route.key,
        "messages": messages,
        "truncated": dropped > 0 || shortened.text,
        "droppedMessages": dropped > 0,
        "contentTruncated": shortened.text,
        "contentRedacted": shortened.secrets,
        "bytes": bytes,
    })))
}

/// The answer to whoever may not look.
pub(super) fn forbidden(error: &str) -> Output {
    Output::json(json!({"status": "forbidden", "error": error}))
}

/// Whether the asking session may look at another one.
pub(super) fn look(call: &Call<'_>, look: Look, key: &str, agent: &str) -> Result<(), String> {
    let asker = Place { key: &call.asker.key, agent: &call.asker.agent };
    let mut above = key.to_owned();
    // Only where it may matter: each generation reads an entry.
    let spawned = key != asker.key
        && agent == asker.agent
        && (0..GENERATIONS).any(|_| {
            above = call.toolbox.world.sessions.get(&above).and_then(|e| e.spawned_by.clone()).unwrap_or_default();
            above == asker.key
        });
    may_look(&call.config.tools, look, asker, Place { key, agent }, spawned)
}

#[derive(Default)]
struct Shortened {
    text: bool,
    secrets: bool,
}

fn read(
    call: &Call<'_>,
    key: &str,
    limit: Option<usize>,
    with_tools: bool,
) -> Result<(Vec<Value>, Shortened), ToolError> {
    let world = &call.toolbox.world;
    let told = history::chat_history(&world.sessions, call.config, &world.paths, key, limit);
    let mut told = told.map_err(|e| ToolError::Failed(e.message))?;
    let Value::Array(mut messages) = told["messages"].take() else { return Ok(Default::default()) };
    messages.retain(|message| with_tools || message["role"] != "toolResult");
    let mut shortened = Shortened::default();
    messages.iter_mut().for_each(|message| shorten(message, &mut shortened));
    Ok((messages, shortened))
}

/// Long texts are cut, secrets masked, images left out already.
fn shorten(value: &mut Value, shortened: &mut Shortened) {
    match value {
        Value::String(text) => {
            let plain = redact(text);
            shortened.secrets |= *plain != **text;
            let mut plain = plain.into_owned();
            if let Some((at, _)) = plain.char_indices().nth(TOOL_HISTORY_TEXT_CHARS) {
                plain.truncate(at);
                plain.push_str("\n…(truncated)…");
                shortened.text = true;
            }
            *text = plain;
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, shortened)),
        Value::Object(map) => map.values_mut().for_each(|item| shorten(item, shortened)),
        _ => {}
    }
}
