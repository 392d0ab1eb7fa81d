//! What a large configuration costs: `config validate` as a process, against the same with an empty one.

use std::fmt::Write as _;
use std::fs;

use serde_json::json;

use super::millis;
use crate::process::measure_command;
use crate::table::{Table, Target, Unit};
use crate::{Bench, Result, fail};

const BYTES: usize = 200_000;
const RUNS: usize = 40;

pub fn config(bench: &Bench, table: &mut Table) -> Result<()> {
    let (large, empty) = (bench.home("config", 0)?, bench.home("config-empty", 0)?);
    let text = large_config();
    fs::write(large.state().join("openclaw.json"), &text)?;
    fs::write(empty.state().join("openclaw.json"), "{}\n")?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..bench.many(RUNS) {
        for (home, times) in [(&large, &mut with), (&empty, &mut without)] {
            let mut command = home.command(&bench.binary);
            command.args(["config", "validate"]);
            let cost = measure_command(command)?;
            if cost.status != 0 {
                return fail(format!("`openclaw config validate` ended with exit code {}", cost.status));
            }
            times.push(millis(cost.time));
        }
    }
    // Whatever else runs on the machine only ever adds: the quickest runs tell what the work itself takes.
    let quickest = |times: &[f64]| times.iter().copied().fold(f64::INFINITY, f64::min);
    let cost = quickest(&with) - quickest(&without);
    let name = format!("load and check a configuration of {} kB", text.len() / 1000);
    table.row(&name, Unit::Millis, cost, None, Target::AtMost(10.0));
    Ok(())
}

/// Agents, providers with models, groups of a channel and bindings, with comments between them.
fn large_config() -> String {
    let mut out = String::from(
        "// A large installation.\n{\n  gateway: { mode: 'local', auth: { mode: 'token', token: '${BENCH_TOKEN}' } },\n",
    );
    let mut providers = String::new();
    let mut agents = String::new();
    let (mut groups, mut bindings) = (String::new(), String::new());
    let mut number = 0;
    while out.len() + providers.len() + agents.len() + groups.len() + bindings.len() < BYTES {
        let models: Vec<_> = (0..4)
            .map(|model| {
                json!({
                    "id": format!("model-{number}-{model}"), "name": format!("Model {model}"), "reasoning": model > 1,
                    "input": ["text", "image"], "contextWindow": 128_000, "maxTokens": 8192,
                    "cost": {"input": 1.5, "output": 7.5, "cacheRead": 0.1, "cacheWrite": 2},
                })
            })
            .collect();
        let provider = json!({
            "baseUrl": format!("https://models.example/{number}/v1"), "api": "openai-completions",
            "apiKey": format!("${{BENCH_KEY_{number}}}"), "models": models,
        });
        let agent = json!({
            "id": format!("agent-{number}"), "name": format!("Agent {number}"),
            "workspace": format!("~/agents/{number}"),
            "model": {"primary": format!("p{number}/model-{number}-0"), "fallbacks": [format!("p{number}/model-{number}-1")]},
            "identity": {"name": format!("Agent {number}"), "theme": "helpful", "emoji": "🦀"},
            "heartbeat": {"every": "30m", "target": "telegram"},
            "tools": {"profile": "coding", "deny": ["browser", "canvas"]},
        });
        let group = json!({
            "requireMention": number % 2 == 0, "allowFrom": [number + 1000, "tg:77"], "systemPrompt": "Be brief.",
            "tools": {"allow": ["read", "web_search"]},
        });
        let binding = json!({
            "agentId": format!("agent-{number}"),
            "match": {"channel": "telegram", "peer": {"kind": "group", "id": format!("-100{number}")}},
        });
        let _ = write!(providers, "    // provider {number}\n    \"p{number}\": {provider:#},\n");
        let _ = write!(agents, "    /* agent {number} */\n    {agent:#},\n");
        let _ = writeln!(groups, "    '-100{number}': {group:#}, // group {number}");
        let _ = writeln!(bindings, "    {binding:#},");
        number += 1;
    }
    let _ = write!(out, "  models: {{ providers: {{\n{providers}  }} }},\n  agents: {{ list: [\n{agents}  ] }},\n");
    let _ =
        write!(out, "  channels: {{ telegram: {{ groups: {{\n{groups}  }} }} }},\n  bindings: [\n{bindings}  ],\n}}\n");
    out
}
