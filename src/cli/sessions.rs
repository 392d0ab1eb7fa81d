//! `openclaw sessions`: stored conversations, straight from the files.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Context;
use super::client::now_ms;
use super::context::positive;
use super::output::{Paint, age, ellipsis, json_pretty, pad, plain, short_count, width};
use super::status::{DefaultModel, default_model};
use super::tree::Sessions as Args;
use crate::error::{Error, Result};
use crate::out;
use crate::store::entry::Entry;
use crate::store::sessions::{Query, Sessions, store_path};

/// Kind, key, age, model, tokens.
const WIDTHS: [usize; 5] = [6, 26, 9, 15, 20];

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    let config = cx.config()?;
    let active = positive(args.active.as_deref(), "--active", "minutes")?;
    if args.all_agents && (args.agent.is_some() || args.store.is_some()) {
        return Err(Error::new("--all-agents cannot be combined with --agent or --store"));
    }
    let agents: Vec<String> = if args.all_agents {
        config.agents.ids().iter().map(|id| id.to_string()).collect()
    } else {
        let id = args.agent.as_deref().unwrap_or(config.agents.default_id()).trim().to_lowercase();
        if !config.agents.knows(&id) {
            return Err(Error::new(format!("Unknown agent id \"{id}\"."))
                .hint(format!("See: {}", cx.suggest("openclaw agents list"))));
        }
        vec![id]
    };
    let stores: Vec<(String, PathBuf)> = agents
        .into_iter()
        .map(|id| {
            let path = args.store.as_deref().map_or_else(|| store_of(cx, &id), |path| cx.paths.expand(path));
            (id, path)
        })
        .collect();
    let now = now_ms();
    let since = active.map_or(0, |minutes| now.saturating_sub(minutes.saturating_mul(60_000)));
    let query = Query { agent: None, updated_since: since, limit: None };
    let entries = Sessions::open_read_only(&stores).list(query, &mut |_| true);
    let model = default_model(cx, config);
    if args.json {
        out!("{}", json_pretty(&document(&stores, &entries, active, now, &model)));
        return Ok(0);
    }
    for (_, path) in &stores {
        out!("Session store: {}", cx.short(path));
    }
    out!("Sessions listed: {}", entries.len());
    if let Some(minutes) = active {
        out!("Filtered to last {minutes} minute(s)");
    }
    if entries.is_empty() {
        out!("No sessions found.");
        return Ok(0);
    }
    out!("{}", table(&entries, now, &model, cx.columns, cx.paint));
    Ok(0)
}

/// Where an agent's sessions are.
pub fn store_of(cx: &Context, agent: &str) -> PathBuf {
    let configured = cx.loaded().config.session.store.as_deref();
    store_path(&cx.paths.state_dir, Some(&cx.paths.home), configured, agent)
}

/// `direct`, `group`, `global` or `unknown`.
pub fn kind(entry: &Entry) -> &'static str {
    match &*entry.key {
        "global" => "global",
        "unknown" => "unknown",
        _ if matches!(entry.chat_type.as_deref(), Some("group" | "channel")) => "group",
        key if key.contains(":group:") || key.contains(":channel:") => "group",
        _ => "direct",
    }
}

fn document(
    stores: &[(String, PathBuf)],
    entries: &[Arc<Entry>],
    active: Option<u64>,
    now: u64,
    model: &DefaultModel,
) -> Value {
    let path = if let [(_, path)] = stores { Some(path.display().to_string()) } else { None };
    let mut out = json!({"path": path});
    if stores.len() > 1 {
        out["stores"] =
            stores.iter().map(|(id, path)| json!({"agentId": id, "path": path.display().to_string()})).collect();
        out["allAgents"] = true.into();
    }
    out["count"] = entries.len().into();
    out["activeMinutes"] = json!(active);
    out["sessions"] = entries.iter().map(|entry| item(entry, now, model)).collect();
    out
}

/// One session as scripts know it (DECISIONS 105); what an entry does not say is left out.
fn item(entry: &Entry, now: u64, model: &DefaultModel) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() {
            out.insert(key.to_string(), value);
        }
    };
    put("key", json!(&*entry.key));
    put("updatedAt", json!(entry.updated_at));
    put("ageMs", json!(now.saturating_sub(entry.updated_at)));
    put("sessionId", json!(entry.session_id));
    put("systemSent", json!(entry.system_sent));
    put("abortedLastRun", json!(entry.aborted_last_run));
    put("inputTokens", json!(entry.input_tokens));
    put("outputTokens", json!(entry.output_tokens));
    put("totalTokens", json!(entry.total_tokens));
    put("totalTokensFresh", json!(entry.total_tokens_fresh));
    put("model", json!(entry.model.as_deref().unwrap_or(&model.model)));
    put("modelProvider", json!(entry.model_provider.as_deref().unwrap_or(&model.provider)));
    put("contextTokens", json!(entry.context_tokens.unwrap_or(model.context_tokens)));
    put("agentId", json!(&*entry.agent));
    put("kind", json!(kind(entry)));
    Value::Object(out)
}

/// `12k/200k (6%)`; `unknown/200k (?%)` before the first turn.
pub fn tokens(entry: &Entry, model: &DefaultModel) -> String {
    let context = entry.context_tokens.unwrap_or(model.context_tokens);
    match entry.total_tokens.filter(|_| entry.total_tokens_fresh != Some(false)) {
        Some(total) => {
            let percent = (total.saturating_mul(100) / context.max(1)).min(999);
            format!("{}/{} ({percent}%)", short_count(total), short_count(context))
        }
        None => format!("unknown/{} (?%)", short_count(context)),
    }
}

fn flags(entry: &Entry) -> String {
    let mut flags = Vec::new();
    for (name, level) in [
        ("think", &entry.thinking_level),
        ("verbose", &entry.verbose_level),
        ("reasoning", &entry.reasoning_level),
        ("elevated", &entry.elevated_level),
    ] {
        flags.extend(level.as_deref().map(|level| format!("{name}:{}", plain(level))));
    }
    if entry.system_sent == Some(true) {
        flags.push("system".into());
    }
    if entry.aborted_last_run == Some(true) {
        flags.push("aborted".into());
    }
    if !entry.session_id.is_empty() {
        flags.push(format!("id:{}", plain(&entry.session_id)));
    }
    flags.join(" ")
}

fn table(entries: &[Arc<Entry>], now: u64, model: &DefaultModel, columns: usize, paint: Paint) -> String {
    let cells = |cells: [&str; 5]| -> String {
        let padded: Vec<String> = cells.iter().zip(WIDTHS).map(|(cell, w)| pad(&ellipsis(cell, w), w, false)).collect();
        padded.join(" ")
    };
    let head = cells(["Kind", "Key", "Age", "Model", "Tokens (ctx %)"]);
    let full = format!("{head} Flags");
    let mut lines = vec![paint.bold(if width(&full) <= columns { &full } else { head.trim_end() })];
    for entry in entries {
        let line = cells([
            kind(entry),
            &plain(&entry.key),
            &age(now.saturating_sub(entry.updated_at)),
            &plain(entry.model.as_deref().unwrap_or(&model.model)),
            &tokens(entry, model),
        ]);
        let flags = flags(entry);
        if width(&line) + 1 + width(&flags) <= columns {
            lines.push(format!("{line} {flags}").trim_end().to_string());
        } else {
            // Narrow terminals get the flags on a line of their own.
            lines.push(line.trim_end().to_string());
            lines.push(format!("{}{flags}", " ".repeat(WIDTHS[0] + 1)));
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> DefaultModel {
        DefaultModel { provider: "anthropic".into(), model: "claude-opus-4-6".into(), context_tokens: 200_000 }
    }

    fn entry() -> Arc<Entry> {
        Arc::new(Entry {
            key: "agent:main:main".into(),
            agent: "main".into(),
            session_id: "111ed428-d474-46a8-8c33-7a7e00f0aa6f".into(),
            updated_at: 1000,
            total_tokens: Some(12_345),
            ..Entry::default()
        })
    }

    #[test]
    fn json_items() {
        let stores = [("main".to_string(), PathBuf::from("/s.json"))];
        let json = document(&stores, &[entry()], Some(60), 61_000, &model());
        assert_eq!(json["path"], "/s.json");
        assert_eq!(json["activeMinutes"], 60);
        assert_eq!(
            json["sessions"][0],
            json!({"key": "agent:main:main", "updatedAt": 1000, "ageMs": 60_000,
                   "sessionId": "111ed428-d474-46a8-8c33-7a7e00f0aa6f", "totalTokens": 12345,
                   "model": "claude-opus-4-6", "modelProvider": "anthropic", "contextTokens": 200_000,
                   "agentId": "main", "kind": "direct"})
        );
        let none = document(&stores, &[], None, 0, &model());
        assert_eq!(none, json!({"path": "/s.json", "count": 0, "activeMinutes": null, "sessions": []}));
    }

    #[test]
    fn lines_fit() {
        let mut group = Entry { key: "agent:main:telegram:group:-100漢字漢字漢字".into(), ..(*entry()).clone() };
        group.total_tokens = None;
        group.aborted_last_run = Some(true);
        let entries = [entry(), Arc::new(group)];
        for columns in [80, 120] {
            let text = table(&entries, 61_000, &model(), columns, Paint::NONE);
            assert!(text.lines().all(|line| width(line) <= columns), "{text}");
            assert!(text.contains("12k/200k (6%)") && text.contains("unknown/200k (?%)"), "{text}");
            assert!(text.contains("direct agent:main:main") && text.contains("aborted id:111ed428"), "{text}");
        }
    }

    #[test]
    fn kinds() {
        for (key, chat, expected) in [
            ("agent:main:main", None, "direct"),
            ("global", None, "global"),
            ("unknown", None, "unknown"),
            ("agent:main:irc:channel:x", None, "group"),
            ("agent:main:x", Some("group"), "group"),
        ] {
            let entry = Entry { key: key.into(), chat_type: chat.map(str::to_string), ..Entry::default() };
            assert_eq!(kind(&entry), expected, "{key}");
        }
    }
}
