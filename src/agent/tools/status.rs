//! `session_status`: model, tokens, context and age of a session on a few lines; it can also choose the session's model.

use jiff::{Timestamp, Zoned};
use serde_json::json;

use super::sessions::{forbidden, look};
use super::{Call, Output, Tool, ToolError};
use crate::agent::models::catalog::{Catalog, Endpoint, ModelRef};
use crate::agent::{session, turn};
use crate::policy::tools::Look;
use crate::protocol::COMPAT_VERSION;
use crate::store::Entry;
use crate::sys::zone;

pub const SESSION_STATUS: Tool = Tool {
    name: "session_status",
    description: "Shows time, model, tokens and age of a session; with `model` it also chooses the session's model.",
    parameters: || {
        json!({"type": "object", "properties": {
            "sessionKey": {"type": "string", "description": "Another session than this one."},
            "model": {"type": "string", "description": "Model for the session from now on; default takes the choice back."}}})
    },
    enabled: |_| true,
    run,
};

fn run(call: &Call<'_>) -> Result<Output, ToolError> {
    let world = &call.toolbox.world;
    let given = call.text("sessionKey");
    let route = match given {
        Some(given) => call.route(given)?,
        None => call.asker.clone(),
    };
    if let Err(error) = look(call, Look::Status, &route.key, &route.agent) {
        return Ok(forbidden(&error));
    }
    if let Some(given) = given
        && route.key != call.asker.key
        && world.sessions.get(&route.key).is_none()
    {
        return Err(ToolError::Input(format!("Unknown sessionKey: {given}")));
    }
    let catalog = Catalog { config: call.config, env: &*world.env, dev: world.dev };
    let changed = match call.text("model") {
        Some(model) => choose(call, &catalog, &route.key, model)?,
        None => false,
    };
    let entry = world.sessions.get(&route.key);
    let text = status_text(call, &catalog, &route.key, &route.agent, entry.as_deref());
    let details = json!({"ok": true, "sessionKey": route.key, "changedModel": changed, "statusText": text});
    Ok(Output { text, details })
}

/// True: the session has another model than before.
fn choose(call: &Call<'_>, catalog: &Catalog<'_>, key: &str, model: &str) -> Result<bool, ToolError> {
    let chosen = match model.eq_ignore_ascii_case("default") {
        true => None,
        false => {
            let known = catalog.find(model).filter(|id| catalog.names_a_model(model, id));
            let id = known.ok_or_else(|| ToolError::Input(format!("Unrecognized model \"{model}\".")))?;
            catalog.allowed(&id).map_err(ToolError::Input)?;
            Some(id)
        }
    };
    let sessions = &call.toolbox.world.sessions;
    if sessions.get(key).is_none() {
        return Err(ToolError::Input(format!("Unknown sessionKey: {key}")));
    }
    let (provider, model) = chosen.map(|id| (id.provider, id.model)).unzip();
    let mut changed = false;
    sessions.update(key, &mut |entry| {
        changed = entry.provider_override != provider || entry.model_override != model;
        (entry.provider_override, entry.model_override) = (provider.clone(), model.clone());
    });
    Ok(changed)
}

fn status_text(call: &Call<'_>, catalog: &Catalog<'_>, key: &str, agent: &str, entry: Option<&Entry>) -> String {
    let world = &call.toolbox.world;
    let now = (world.now_ms)();
    let dir = session::agent_dir(call.config, &world.paths, agent);
    let chosen = entry.and_then(turn::overridden).filter(|id| catalog.allowed(id).is_ok());
    let id = catalog.chain_with(chosen, agent, &dir).into_iter().next();
    let endpoint = id.as_ref().and_then(|id| catalog.endpoint(id, &dir).ok());
    let mut lines = vec![format!("🦞 OpenClaw {COMPAT_VERSION} ({})", crate::VERSION)];
    let zone = call.config.agents.defaults.user_timezone.as_deref().and_then(zone::named).unwrap_or_else(zone::local);
    if let Ok(time) = Timestamp::from_millisecond(i64::try_from(now).unwrap_or(i64::MAX)) {
        lines.push(format!("🕒 Time: {}", time_text(&time.to_zoned(zone))));
    }
    lines.push(model_line(id.as_ref(), endpoint.as_ref()));
    if let Some((input, output)) = entry.and_then(|e| e.input_tokens.zip(e.output_tokens)) {
        let cost = endpoint.as_ref().map(|endpoint| endpoint.cost).unwrap_or_default();
        let count = |n: Option<u64>| n.unwrap_or(0) as f64;
        let cached =
            entry.map_or(0.0, |e| count(e.cache_read) * cost.cache_read + count(e.cache_write) * cost.cache_write);
        let cost = (input as f64 * cost.input + output as f64 * cost.output + cached) / 1e6;
        lines.push(format!("🧮 Tokens: {} in / {} out · 💵 Cost: ${cost:.4}", short(input), short(output)));
    }
    let window = entry.and_then(|e| e.context_tokens).or(endpoint.as_ref().map(|e| e.context_window));
    let window = window.unwrap_or(crate::limits::CONTEXT_TOKENS).max(1);
    let used = entry.and_then(|e| e.total_tokens).unwrap_or(0);
    let percent = (used as f64 * 100.0 / window as f64).round();
    let compactions = entry.and_then(|e| e.compaction_count).unwrap_or(0);
    lines.push(format!("📚 Context: {}/{} ({percent}%) · 🧹 Compactions: {compactions}", short(used), short(window)));
    let age = match entry {
        Some(entry) => format!("updated {}", ago(now.saturating_sub(entry.updated_at))),
        None => "no activity".to_owned(),
    };
    lines.push(format!("🧵 Session: {key} • {age}"));
    let level = entry.and_then(|e| e.thinking_level.as_deref()).or(call.config.agents.defaults.thinking.as_deref());
    lines.push(format!("⚙️ Runtime: direct · Think: {}", level.unwrap_or("off")));
    lines.push(format!("🪢 Queue: collect (depth {})", (call.toolbox.queued)()));
    lines.join("\n")
}

fn model_line(id: Option<&ModelRef>, endpoint: Option<&Endpoint>) -> String {
    let model = id.map_or_else(|| "none".to_owned(), ToString::to_string);
    match endpoint {
        Some(Endpoint { key: Some(_), bearer, .. }) => {
            format!("🧠 Model: {model} · 🔑 {}", if *bearer { "token" } else { "api-key" })
        }
        Some(_) => format!("🧠 Model: {model}"),
        None => format!("🧠 Model: {model} · 🔑 none"),
    }
}

/// `Friday, November 20th, 2026 — 7:44 PM (UTC)`
fn time_text(time: &Zoned) -> String {
    let ordinal = match (time.day() % 10, time.day() / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        _ => "th",
    };
    let zone = match time.time_zone().iana_name() {
        Some("Etc/UTC") => "UTC".to_owned(),
        Some(name) => name.to_owned(),
        None => time.strftime("%Z").to_string(),
    };
    format!("{}{ordinal}{} ({zone})", time.strftime("%A, %B %-d"), time.strftime(", %Y — %-I:%M %p"))
}

/// `950`, `1.5k`, `128k`, `1.2m`
fn short(count: u64) -> String {
    let with = |unit: f64, letter: char| {
        let text = format!("{:.1}", count as f64 / unit);
        format!("{}{letter}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match count {
        0..1000 => count.to_string(),
        1000..10_000 => with(1e3, 'k'),
        10_000..1_000_000 => format!("{}k", (count as f64 / 1e3).round()),
        _ => with(1e6, 'm'),
    }
}

fn ago(ms: u64) -> String {
    match ms / 60_000 {
        0 => "just now".to_owned(),
        minutes @ 1..60 => format!("{minutes}m ago"),
        minutes @ 60..2880 => format!("{}h ago", minutes / 60),
        minutes => format!("{}d ago", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times() {
        for (n, want) in [
            (0, "0"),
            (999, "999"),
            (1000, "1k"),
            (1500, "1.5k"),
            (128_000, "128k"),
            (200_000, "200k"),
            (1_250_000, "1.2m"),
        ] {
            assert_eq!(short(n), want);
        }
        for (ms, want) in [(59_999, "just now"), (120_000, "2m ago"), (3_600_000, "1h ago"), (3 * 86_400_000, "3d ago")]
        {
            assert_eq!(ago(ms), want);
        }
        for (text, want) in [
            ("2026-11-20T19:44:00[UTC]", "Friday, November 20th, 2026 — 7:44 PM (UTC)"),
            ("2026-01-01T00:05:00[UTC]", "Thursday, January 1st, 2026 — 12:05 AM (UTC)"),
            ("2026-03-12T12:00:00[UTC]", "Thursday, March 12th, 2026 — 12:00 PM (UTC)"),
            ("2026-03-23T01:00:00[UTC]", "Monday, March 23rd, 2026 — 1:00 AM (UTC)"),
        ] {
            assert_eq!(time_text(&text.parse().unwrap()), want);
        }
    }
}
