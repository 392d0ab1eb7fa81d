//! `openclaw health` and `openclaw gateway health` (cli 4.3).

use serde_json::{Value, json};

use super::Context;
use super::call::gateway_flags;
use super::context::{Call, TIMEOUT_MS};
use super::output::{age, json_pretty, plain};
use super::target::Flags;
use super::tree::{Gateway, GatewayHealth, Health};
use crate::error::Result;
use crate::out;

const RECENT: usize = 5;

pub fn run(cx: &Context, args: &Health) -> Result<u8> {
    let verbose = args.verbose || args.debug;
    let call = Call {
        flags: Flags::default(),
        timeout: args.timeout.as_deref(),
        default_ms: TIMEOUT_MS,
        prefix: "Health check failed: ",
        expect_final: false,
    };
    let payload = cx.call(&call, "health", verbose.then(|| json!({"probe": true})))?;
    if args.json {
        out!("{}", json_pretty(&payload));
        return Ok(0);
    }
    if verbose {
        out!("Gateway connection:");
        cx.target(Flags::default())?.block().iter().for_each(|line| out!("  {line}"));
    }
    lines(&payload, &|path| cx.short(path.as_ref())).iter().for_each(|line| out!("{line}"));
    Ok(0)
}

pub fn run_gateway(cx: &Context, group: &Gateway, args: &GatewayHealth) -> Result<u8> {
    let call = Call {
        flags: gateway_flags(&args.url, &args.token, &args.password, group),
        timeout: args.timeout.as_deref(),
        default_ms: TIMEOUT_MS,
        prefix: "Error: ",
        expect_final: args.expect_final,
    };
    let payload = cx.call(&call, "health", None)?;
    if args.json {
        out!("{}", json_pretty(&payload));
        return Ok(0);
    }
    let word = if payload["ok"] == true { cx.paint.green("OK") } else { cx.paint.red("Not OK") };
    out!("{}", cx.paint.bold("Gateway Health"));
    out!("{word} ({}ms)", payload["durationMs"].as_u64().unwrap_or(0));
    channels(&payload).iter().for_each(|line| out!("{line}"));
    Ok(0)
}

/// One line per channel: `Telegram: configured` with what the gateway found out.
pub fn channels(payload: &Value) -> Vec<String> {
    let order = payload["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
    order
        .iter()
        .filter_map(Value::as_str)
        .map(|id| {
            let label = payload["channelLabels"][id].as_str().unwrap_or(id);
            format!("{}: {}", plain(label), channel_state(&payload["channels"][id]))
        })
        .collect()
}

fn channel_state(channel: &Value) -> String {
    let is = |key: &str| channel[key].as_bool();
    let mut words = Vec::new();
    match (is("configured"), is("linked")) {
        (Some(false), _) => words.push("not configured"),
        (_, Some(true)) => words.push("linked"),
        (_, Some(false)) => words.push("not linked"),
        (Some(true), None) => words.push("configured"),
        (None, None) => {}
    }
    match (is("running"), channel["probe"]["ok"].as_bool()) {
        (_, Some(true)) => words.push("ok"),
        (_, Some(false)) => words.push("failed"),
        (Some(true), None) => words.push("running"),
        (Some(false), None) => words.push("stopped"),
        (None, None) => {}
    }
    let mut text = if words.is_empty() { "unknown".to_string() } else { words.join(", ") };
    if let Some(error) = channel["probe"]["error"].as_str().or(channel["lastError"].as_str()) {
        text.push_str(&format!(" ({})", plain(error)));
    }
    text
}

/// Channels, agents, heartbeat and session stores with their newest sessions.
fn lines(payload: &Value, short: &dyn Fn(&str) -> String) -> Vec<String> {
    let mut lines = channels(payload);
    let agents = payload["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
    let id = |agent: &Value| plain(agent["agentId"].as_str().unwrap_or("?"));
    let names: Vec<String> =
        agents.iter().map(|agent| id(agent) + if agent["isDefault"] == true { " (default)" } else { "" }).collect();
    if !names.is_empty() {
        lines.push(format!("Agents: {}", names.join(", ")));
    }
    let beats: Vec<String> = agents
        .iter()
        .map(|agent| {
            let beat = &agent["heartbeat"];
            let every = if beat["enabled"] == true { beat["every"].as_str().unwrap_or("?") } else { "disabled" };
            format!("{} ({})", plain(every), id(agent))
        })
        .collect();
    if !beats.is_empty() {
        lines.push(format!("Heartbeat interval: {}", beats.join(", ")));
    }
    for agent in agents {
        let store = &agent["sessions"];
        let path = short(store["path"].as_str().unwrap_or("?"));
        lines.push(format!("Session store ({}): {path} ({} entries)", id(agent), store["count"].as_u64().unwrap_or(0)));
        for recent in store["recent"].as_array().into_iter().flatten().take(RECENT) {
            let key = plain(recent["key"].as_str().unwrap_or("?"));
            lines.push(format!("- {key} ({})", recent["age"].as_u64().map_or("no activity".to_string(), age)));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_health() {
        let payload = json!({
            "ok": true, "ts": 1, "durationMs": 0,
            "channels": {"telegram": {"configured": true, "probe": {"ok": false, "error": "401\u{1b}[2J"}},
                         "whatsapp": {"linked": true, "running": true}},
            "channelOrder": ["telegram", "whatsapp"],
            "channelLabels": {"telegram": "Telegram"},
            "heartbeatSeconds": 1800, "defaultAgentId": "main",
            "agents": [
                {"agentId": "main", "isDefault": true, "heartbeat": {"enabled": true, "every": "30m"},
                 "sessions": {"path": "/h/s.json", "count": 1, "recent": [{"key": "agent:main:main", "age": 300_000}]}},
                {"agentId": "ops", "isDefault": false, "heartbeat": {"enabled": false, "every": "0m"},
                 "sessions": {"path": "/h/o.json", "count": 0, "recent": []}},
            ],
        });
        assert_eq!(
            lines(&payload, &|path| path.replace("/h", "~")),
            [
                "Telegram: configured, failed (401\\u{1b}[2J)",
                "whatsapp: linked, running",
                "Agents: main (default), ops",
                "Heartbeat interval: 30m (main), disabled (ops)",
                "Session store (main): ~/s.json (1 entries)",
                "- agent:main:main (5m ago)",
                "Session store (ops): ~/o.json (0 entries)",
            ]
        );
        assert!(lines(&json!({}), &|path| path.to_string()).is_empty());
    }
}
