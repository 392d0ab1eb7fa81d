//! What people are shown of a transcript: `chat.history`, `sessions.preview`; and `chat.inject`, which adds to one
//! (protocol 9). The reading functions run on pool threads, `inject` on the `runs` thread.

use serde_json::{Map, Value, json};

use super::book::{Book, Refused};
use super::keys::{self, Route};
use super::session::transcript_of;
use super::visible::SILENT;
use super::workspace;
use super::world::World;
use crate::config::{Config, Paths};
use crate::limits::{HISTORY_MESSAGE_BYTES, HISTORY_TEXT_CHARS, HISTORY_TOTAL_BYTES};
use crate::protocol::ErrorShape;
use crate::protocol::params::chat::ChatInjectParams;
use crate::store::message::{Block, Message, Role};
use crate::store::transcript::{ReadLimits, read_messages, strip_prefixes};
use crate::store::{Sessions, Transcript};

const DEFAULT_LIMIT: usize = 200;
const MAX_LIMIT: usize = 1000;
const PREVIEW_KEYS: usize = 64;
const PREVIEW_LIMIT: usize = 12;
const PREVIEW_CHARS: usize = 240;
/// Lines of one preview; a long session's end is enough.
const PREVIEW_BYTES: usize = 1024 * 1024;
const LABEL_CHARS: usize = 100;

/// Payload of `chat.history`. `key` is echoed as it was given (DECISIONS 54).
pub fn chat_history(
    sessions: &Sessions,
    config: &Config,
    paths: &Paths,
    key: &str,
    limit: Option<usize>,
) -> Result<Value, ErrorShape> {
    let route = keys::route_chat("chat.history", key, config)?;
    let entry = sessions.get(&route.key);
    let mut out = Map::new();
    out.insert("sessionKey".into(), json!(key));
    let mut messages = Vec::new();
    if let Some(entry) = &entry {
        out.insert("sessionId".into(), json!(entry.session_id));
        if let Some(path) = transcript_of(config, paths, entry) {
            let messages_wanted = limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT);
            let limits = ReadLimits { messages: messages_wanted, bytes: HISTORY_TOTAL_BYTES * 2 };
            let stored = read_messages(&path, limits)
                .map_err(|e| ErrorShape::unavailable(format!("the transcript cannot be read: {e}")))?;
            messages = stored.into_iter().filter_map(|m| shown(m.message)).collect();
        }
    }
    out.insert("messages".into(), Value::Array(within_total(messages)));
    let level = entry.as_ref().and_then(|e| e.thinking_level.clone()).or(config.agents.defaults.thinking.clone());
    out.insert("thinkingLevel".into(), json!(level.as_deref().unwrap_or("off")));
    if let Some(entry) = entry {
        if let Some(fast) = entry.fast_mode {
            out.insert("fastMode".into(), json!(fast));
        }
        if let Some(level) = &entry.verbose_level {
            out.insert("verboseLevel".into(), json!(level));
        }
    }
    Ok(Value::Object(out))
}

/// One message as clients get it; None for silent answers.
fn shown(message: Message) -> Option<Value> {
    let silent = matches!(message.role, Role::Assistant(_))
        && message.text().trim() == SILENT
        && !message.content.iter().any(|b| matches!(b, Block::ToolCall { .. }));
    if silent {
        return None;
    }
    let Value::Object(mut map) = message.to_value() else { return None };
    map.shift_remove("details");
    if let Some(usage) = map.get_mut("usage") {
        *usage = slim_usage(usage);
    }
    let is_user = matches!(message.role, Role::User);
    let mut label = None;
    if let Some(Value::Array(content)) = map.get_mut("content") {
        for block in content.iter_mut() {
            if is_user && let Some(Value::String(text)) = block.get_mut("text") {
                let plain = strip_prefixes(text);
                label = label.or(plain.sender_label);
                *text = plain.text.into_owned();
            }
            trim_block(block);
        }
    }
    if let Some(label) = label {
        map.insert("senderLabel".into(), json!(label));
    }
    let value = Value::Object(map);
    if value.to_string().len() <= HISTORY_MESSAGE_BYTES {
        return Some(value);
    }
    Some(json!({
        "role": value["role"],
        "content": [{"type": "text", "text": "[chat.history omitted: message too large]"}],
        "timestamp": value["timestamp"],
        "__openclaw": {"truncated": true, "reason": "oversized"}}))
}

fn trim_block(block: &mut Value) {
    let Value::Object(map) = block else { return };
    map.shift_remove("thinkingSignature");
    map.shift_remove("textSignature");
    for key in ["text", "thinking"] {
        if let Some(Value::String(text)) = map.get_mut(key)
            && let Some((at, _)) = text.char_indices().nth(HISTORY_TEXT_CHARS)
        {
            text.truncate(at);
            text.push_str("\n...(truncated)...");
        }
    }
    if map.get("type").and_then(Value::as_str) == Some("image")
        && let Some(Value::String(data)) = map.shift_remove("data")
    {
        map.insert("omitted".into(), json!(true));
        map.insert("bytes".into(), json!(data.trim_end_matches('=').len() * 3 / 4));
    }
}

/// The numbers that clients use, in the reference's order.
fn slim_usage(usage: &Value) -> Value {
    let zero = json!(0);
    let number = |key: &str| usage.get(key).unwrap_or(&zero);
    json!({
        "input": number("input"), "output": number("output"), "totalTokens": number("totalTokens"),
        "cacheRead": number("cacheRead"), "cacheWrite": number("cacheWrite"),
        "cost": {"total": usage.get("cost").and_then(|c| c.get("total")).unwrap_or(&zero)}})
}

/// The newest messages that fit together.
fn within_total(mut messages: Vec<Value>) -> Vec<Value> {
    let mut total = 0;
    let keep = messages.iter().rev().take_while(|m| {
        total += m.to_string().len() + 1;
        total <= HISTORY_TOTAL_BYTES
    });
    let drop = messages.len() - keep.count();
    messages.drain(..drop);
    messages
}

/// `previews` of `sessions.preview`.
pub fn previews(
    sessions: &Sessions,
    config: &Config,
    paths: &Paths,
    keys: &[String],
    limit: Option<usize>,
    max_chars: Option<usize>,
) -> Value {
    let limit = limit.unwrap_or(PREVIEW_LIMIT).clamp(1, 200);
    let chars = max_chars.unwrap_or(PREVIEW_CHARS).clamp(20, 2000);
    let previews = keys.iter().take(PREVIEW_KEYS).map(|key| {
        let (status, items) = preview(sessions, config, paths, key, limit, chars);
        json!({"key": key, "status": status, "items": items})
    });
    previews.collect()
}

fn preview(
    sessions: &Sessions,
    config: &Config,
    paths: &Paths,
    key: &str,
    limit: usize,
    chars: usize,
) -> (&'static str, Vec<Value>) {
    let Ok(route) = keys::canonical(key, config) else { return ("missing", Vec::new()) };
    let Some(entry) = sessions.get(&route.key) else { return ("missing", Vec::new()) };
    let Some(path) = transcript_of(config, paths, &entry) else { return ("error", Vec::new()) };
    // Messages without text do not count: read some more.
    let limits = ReadLimits { messages: limit * 4, bytes: PREVIEW_BYTES };
    let Ok(stored) = read_messages(&path, limits) else { return ("error", Vec::new()) };
    let mut items: Vec<Value> = stored
        .iter()
        .rev()
        .filter_map(|stored| {
            let text = stored.message.text();
            let text = match stored.message.role {
                Role::User => strip_prefixes(&text).text.into_owned(),
                _ => text,
            };
            let role = match stored.message.role {
                Role::ToolResult { .. } => "tool",
                _ => stored.message.role_name(),
            };
            let text = text.trim();
            (!text.is_empty() && text != SILENT).then(|| json!({"role": role, "text": ellipsis(text, chars)}))
        })
        .take(limit)
        .collect();
    items.reverse();
    (if items.is_empty() { "empty" } else { "ok" }, items)
}

/// At most `chars` characters, the last three of them dots when something is missing.
fn ellipsis(text: &str, chars: usize) -> String {
    if text.chars().nth(chars).is_none() {
        return text.to_owned();
    }
    let cut: String = text.chars().take(chars.saturating_sub(3)).collect();
    format!("{cut}...")
}

/// A message that was added.
pub struct Injected {
    pub message_id: String,
    /// Payload of the `chat` event.
    pub event: Value,
    /// To be synced, when it was opened for this.
    pub transcript: Option<Transcript>,
}

/// `chat.inject`: an assistant's message that no model wrote. `book`: of the run that is writing to this transcript.
pub fn inject(
    world: &World,
    config: &Config,
    route: &Route,
    params: &ChatInjectParams,
    book: Option<&Book>,
) -> Result<Injected, ErrorShape> {
    let missing = || ErrorShape::invalid("session not found");
    let entry = world.sessions.get(&route.key).ok_or_else(missing)?;
    let path = transcript_of(config, &world.paths, &entry).ok_or_else(missing)?;
    let text = super::intake::clean_message(&params.message)?;
    let text = match params.label.as_deref().map(str::trim).filter(|label| !label.is_empty()) {
        Some(label) => format!("[{}]\n\n{text}", label.chars().take(LABEL_CHARS).collect::<String>()),
        None => text,
    };
    let now = (world.now_ms)();
    let message = Message::injected(text, now);
    let failed = |e: std::io::Error| ErrorShape::unavailable(format!("the transcript cannot be written: {e}"));
    let mut opened = None;
    let by_run = book.map(|book| book.write(|transcript| transcript.append_message(&message, now)));
    let message_id = match by_run {
        Some(Ok(Some(id))) => id,
        Some(Err(Refused::Failed(e))) => return Err(failed(e)),
        // Nobody is writing, or the run has not opened the transcript yet.
        Some(Ok(None) | Err(Refused::Closed)) | None => {
            let cwd = workspace::directory(config, &world.paths, &route.agent).display().to_string();
            let mut transcript = Transcript::open(&path, &entry.session_id, &cwd, now).map_err(failed)?;
            let id = transcript.append_message(&message, now).map_err(failed)?;
            opened = Some(transcript);
            id
        }
    };
    let event = json!({
        "runId": format!("inject-{message_id}"), "sessionKey": route.key, "seq": 0, "state": "final",
        "message": message.to_value()});
    Ok(Injected { message_id, event, transcript: opened })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::message::Assistant;

    fn assistant(blocks: Vec<Block>) -> Message {
        Message::assistant(Assistant { stop_reason: "stop".into(), ..Assistant::default() }, blocks, 7)
    }

    #[test]
    fn what_people_do_not_get() {
        let mut user = Message::user("[Fri 2026-11-20 19:50 UTC] hi", 1);
        user.content.push(Block::Image { data: "AAAAAAA=".into(), mime_type: "image/png".into() });
        assert_eq!(
            shown(user).unwrap()["content"],
            json!([{"type": "text", "text": "hi"}, {"type": "image", "mimeType": "image/png", "omitted": true, "bytes": 5}])
        );
        let thinking = Block::Thinking { thinking: "hm".into(), signature: Some("s".into()), redacted: false };
        assert_eq!(
            shown(assistant(vec![thinking])).unwrap()["content"],
            json!([{"type": "thinking", "thinking": "hm"}])
        );
        assert_eq!(shown(assistant(vec![Block::text(" NO_REPLY\n")])), None);
        let mut result = Message::tool_result("c", "read", "x", true, 1);
        if let Role::ToolResult { details, .. } = &mut result.role {
            *details = Some(json!({"secret": 1}));
        }
        let result = shown(result).unwrap();
        assert!(result.get("details").is_none());
        assert_eq!((&result["role"], &result["isError"]), (&json!("toolResult"), &json!(true)));
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "ä".repeat(HISTORY_TEXT_CHARS + 1);
        let got = shown(assistant(vec![Block::text(long)])).unwrap();
        let text = got["content"][0]["text"].as_str().unwrap();
        assert!(text.ends_with("ä\n...(truncated)..."));
        assert_eq!(text.chars().filter(|c| *c == 'ä').count(), HISTORY_TEXT_CHARS);
        let many = (0..20).map(|_| Block::text("x".repeat(HISTORY_TEXT_CHARS))).collect();
        let got = shown(assistant(many)).unwrap();
        assert_eq!(got["content"][0]["text"], "[chat.history omitted: message too large]");
        assert_eq!(got["__openclaw"], json!({"truncated": true, "reason": "oversized"}));
        assert_eq!((&got["role"], &got["timestamp"]), (&json!("assistant"), &json!(7)));
    }

    #[test]
    fn the_oldest_go_first() {
        let text = "x".repeat(100_000);
        let all: Vec<Value> = (0..100).map(|n| json!({"n": n, "text": text})).collect();
        let kept = within_total(all);
        assert!((60..=62).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept.last().unwrap()["n"], 99);
    }

    #[test]
    fn previews_are_cut_with_dots() {
        for (text, want) in [
            ("short", "short"),
            ("exactly ten", "exactly..."),
            ("0123456789", "0123456789"),
            ("üüüüüüüüüüü", "üüüüüüü..."),
        ] {
            assert_eq!(ellipsis(text, 10), want);
        }
    }
}
