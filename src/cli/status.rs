//! `openclaw status`: the whole installation at a glance (cli 4.9).
//!
//! Facts are gathered first: local files always, the gateway when it answers. JSON and page are functions of them.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Context;
use super::agents::agent_dir;
use super::audit::{self, Finding, Severity};
use super::client::{Client, Deadline, now_ms};
use super::context::{TIMEOUT_MS, millis};
use super::health;
use super::output::{Paint, age, json_pretty, plain, short_count, table, wrap};
use super::probe::own_entry;
use super::service::{self, Service};
use super::sessions::{kind, store_of};
use super::target::{Flags, Target};
use super::tree::Status as Args;
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::workspace;
use crate::config::Config;
use crate::error::Result;
use crate::limits::CONTEXT_TOKENS;
use crate::out;
use crate::protocol::COMPAT_VERSION;
use crate::store::entry::Entry;
use crate::store::sessions::Sessions;
use crate::sys::host;

const SESSIONS_SHOWN: usize = 10;
const LOG_LINES: usize = 20;

/// The model of the default agent, as sessions without one of their own show it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DefaultModel {
    pub provider: String,
    pub model: String,
    pub context_tokens: u64,
}

pub fn default_model(cx: &Context, config: &Config) -> DefaultModel {
    let env = |name: &str| cx.var(name);
    let catalog = Catalog { config, env: &env, dev: cx.paths.profile.as_deref() == Some("dev") };
    let agent = config.agents.default_id();
    let dir = agent_dir(cx, agent);
    let id = catalog
        .chain(agent, &dir)
        .into_iter()
        .next()
        .unwrap_or(ModelRef { provider: String::new(), model: String::new() });
    let window = catalog.endpoint(&id, &dir).map_or(CONTEXT_TOKENS, |endpoint| endpoint.context_window);
    DefaultModel { provider: id.provider, model: id.model, context_tokens: window }
}

/// Everything that the command found out.
struct Facts {
    os: Os,
    service: Service,
    /// The address, or why there is none.
    target: std::result::Result<Target, String>,
    mode: String,
    latency_ms: Option<u64>,
    /// Why the gateway does not answer, or what it refuses.
    error: Option<String>,
    own: Value,
    health: Value,
    /// The gateway's `status`; the same from local files when it does not answer.
    summary: Value,
    last_heartbeat: Option<Value>,
    usage: Option<Value>,
    agents: Vec<AgentFacts>,
    default_agent: String,
    findings: Vec<Finding>,
    auth: &'static str,
    dashboard: Option<String>,
    tailscale: String,
}

struct Os {
    platform: &'static str,
    arch: &'static str,
    release: String,
}

struct AgentFacts {
    id: String,
    workspace: String,
    bootstrap: bool,
    store: String,
    sessions: usize,
    updated_at: Option<u64>,
}

pub fn run(cx: &Context, args: &Args) -> Result<u8> {
    let timeout = millis(args.timeout.as_deref(), TIMEOUT_MS)?;
    let loaded = cx.loaded();
    if !loaded.valid() && !args.json {
        // The rest is still worth seeing.
        crate::err!("{}", cx.config().expect_err("it is not valid"));
        crate::err!("");
    }
    let facts = gather(cx, &loaded.config, args, timeout);
    let now = now_ms();
    if args.json {
        out!("{}", json_pretty(&facts.json(args, now)));
        return Ok(0);
    }
    let page = if args.all { facts.report(cx, now) } else { facts.page(cx, args, now) };
    out!("{page}");
    Ok(0)
}

fn gather(cx: &Context, config: &Config, args: &Args, timeout: u64) -> Facts {
    let deadline = Deadline::after(Duration::from_millis(timeout));
    let mut facts = local_facts(cx, config);
    let Ok(target) = facts.target.clone() else { return facts };
    let started = Instant::now();
    let mut client = match cx.connect(&target, deadline) {
        Ok(client) => client,
        Err(failure) => {
            facts.error = Some(failure.short());
            return facts;
        }
    };
    facts.latency_ms = Some(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut ask =
        |client: &mut Client, method: &str, params: Option<Value>| match client.request(method, params, deadline) {
            Ok(payload) => Some(payload),
            Err(failure) => {
                facts.error.get_or_insert(failure.text());
                None
            }
        };
    let probe = args.deep.then(|| json!({"probe": true}));
    let health = ask(&mut client, "health", probe);
    let summary = ask(&mut client, "status", None);
    let presence = ask(&mut client, "system-presence", None);
    if args.deep {
        facts.last_heartbeat = client.request("last-heartbeat", None, deadline).ok();
    }
    if args.usage {
        facts.usage = client.request("usage.status", None, deadline).ok();
    }
    facts.health = health.unwrap_or_default();
    facts.own = presence.as_ref().and_then(own_entry).unwrap_or_default();
    if let Some(summary) = summary {
        facts.summary = summary;
    }
    facts
}

fn local_facts(cx: &Context, config: &Config) -> Facts {
    let gateway = &config.gateway;
    let ids: Vec<String> = config.agents.ids().iter().map(|id| id.to_string()).collect();
    let stores: Vec<_> = ids.iter().map(|id| (id.clone(), store_of(cx, id))).collect();
    let sessions = Sessions::open_read_only(&stores).summary();
    let agents = sessions
        .agents
        .iter()
        .map(|agent| {
            let workspace = workspace::directory(config, &cx.paths, &agent.agent);
            AgentFacts {
                id: agent.agent.to_string(),
                bootstrap: workspace.join("BOOTSTRAP.md").is_file(),
                workspace: workspace.display().to_string(),
                store: agent.path.display().to_string(),
                sessions: agent.count,
                updated_at: agent.recent.first().map(|entry| entry.updated_at),
            }
        })
        .collect();
    let model = default_model(cx, config);
    let recent: Vec<&Entry> = sessions.agents.iter().flat_map(|agent| agent.recent.iter().map(|e| &**e)).collect();
    let token = gateway.auth.token.as_ref().map(|token| token.expose().chars().count());
    let token = token.or_else(|| cx.var("OPENCLAW_GATEWAY_TOKEN").map(|token| token.chars().count()));
    let audit_facts = audit::Facts {
        config_path: cx.short(&cx.paths.config_path),
        config_mode: mode_of(&cx.paths.config_path),
        state_dir: cx.short(&cx.paths.state_dir),
        state_mode: mode_of(&cx.paths.state_dir),
        token_chars: token,
    };
    let target = cx.target(Flags::default());
    let port = cx.port(None);
    let base = gateway.control_ui.base_path.trim_matches('/');
    Facts {
        os: Os { platform: host::platform(), arch: host::arch(), release: host::kernel_release() },
        service: service::look(cx),
        error: target.as_ref().err().map(|error| error.message.clone()),
        auth: match &target {
            Ok(Target { token: Some(_), .. }) => "auth token",
            Ok(Target { password: Some(_), .. }) => "auth password",
            _ => "auth none",
        },
        target: target.map_err(|error| error.message),
        mode: gateway.mode.clone().unwrap_or_else(|| "local".into()),
        latency_ms: None,
        own: Value::Null,
        health: Value::Null,
        summary: local_summary(config, &agents_of(&sessions), &recent, &model, now_ms()),
        last_heartbeat: None,
        usage: None,
        agents,
        default_agent: config.agents.default_id().to_string(),
        findings: audit::look(config, &audit_facts),
        dashboard: gateway
            .control_ui
            .enabled
            .then(|| format!("http://127.0.0.1:{port}/{base}{}", if base.is_empty() { "" } else { "/" })),
        tailscale: gateway.tailscale_mode.clone().unwrap_or_else(|| "off".into()),
    }
}

fn agents_of(summary: &crate::store::sessions::Summary) -> Vec<(String, String, usize)> {
    let agent = |agent: &crate::store::sessions::AgentSummary| {
        (agent.agent.to_string(), agent.path.display().to_string(), agent.count)
    };
    summary.agents.iter().map(agent).collect()
}

/// The shape of the gateway's `status`, from what lies on disk.
fn local_summary(
    config: &Config,
    agents: &[(String, String, usize)],
    recent: &[&Entry],
    model: &DefaultModel,
    now: u64,
) -> Value {
    let beat = |id: &str| {
        let own = config.agents.get(id).and_then(|agent| agent.heartbeat.as_ref());
        let beat = own.unwrap_or(&config.agents.defaults.heartbeat);
        json!({"agentId": id, "enabled": beat.every_ms > 0, "every": beat.every, "everyMs": beat.every_ms})
    };
    let mut newest = recent.to_vec();
    newest.sort_by_key(|entry| std::cmp::Reverse(entry.updated_at));
    let items = |agent: Option<&str>| -> Vec<Value> {
        newest
            .iter()
            .filter(|entry| agent.is_none_or(|id| &*entry.agent == id))
            .take(SESSIONS_SHOWN)
            .map(|entry| recent_item(entry, model, now))
            .collect()
    };
    json!({
        "runtimeVersion": COMPAT_VERSION,
        "heartbeat": {
            "defaultAgentId": config.agents.default_id(),
            "agents": agents.iter().map(|(id, _, _)| beat(id)).collect::<Vec<_>>(),
        },
        "channelSummary": [],
        "queuedSystemEvents": [],
        "sessions": {
            "paths": agents.iter().map(|(_, path, _)| path).collect::<Vec<_>>(),
            "count": agents.iter().map(|(_, _, count)| count).sum::<usize>(),
            "defaults": {"model": model.model, "contextTokens": model.context_tokens},
            "recent": items(None),
            "byAgent": agents
                .iter()
                .map(|(id, path, count)| {
                    json!({"agentId": id, "path": path, "count": count, "recent": items(Some(id))})
                })
                .collect::<Vec<_>>(),
        },
    })
}

fn recent_item(entry: &Entry, model: &DefaultModel, now: u64) -> Value {
    let context = entry.context_tokens.unwrap_or(model.context_tokens);
    let total = entry.total_tokens.filter(|_| entry.total_tokens_fresh != Some(false));
    json!({
        "agentId": &*entry.agent,
        "key": &*entry.key,
        "kind": kind(entry),
        "sessionId": entry.session_id,
        "updatedAt": entry.updated_at,
        "age": now.saturating_sub(entry.updated_at),
        "totalTokens": total,
        "remainingTokens": total.map(|total| context.saturating_sub(total)),
        "percentUsed": total.map(|total| (total.saturating_mul(100) / context.max(1)).min(999)),
        "model": entry.model.as_deref().unwrap_or(&model.model),
        "contextTokens": context,
        "flags": [],
    })
}

#[cfg(unix)]
fn mode_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).ok().map(|meta| meta.permissions().mode())
}

#[cfg(not(unix))]
fn mode_of(_path: &Path) -> Option<u32> {
    None
}

impl Facts {
    fn reachable(&self) -> bool {
        self.latency_ms.is_some()
    }

    fn json(&self, args: &Args, now: u64) -> Value {
        let mut out = if self.summary.is_object() { self.summary.clone() } else { json!({}) };
        let (url, source) = match &self.target {
            Ok(target) => (json!(target.url), json!(target.source)),
            Err(_) => (Value::Null, Value::Null),
        };
        out["os"] = json!({"platform": self.os.platform, "arch": self.os.arch, "release": self.os.release,
                           "label": self.os.label()});
        let root = crate::sys::exec::own_binary().ok().and_then(|path| path.parent().map(|p| p.display().to_string()));
        out["update"] = json!({"root": root, "installKind": "binary", "packageManager": "none"});
        out["updateChannel"] = "stable".into();
        out["updateChannelSource"] = "default".into();
        out["memory"] = Value::Null;
        out["memoryPlugin"] = json!({"enabled": false, "slot": null});
        out["gateway"] = json!({
            "mode": self.mode,
            "url": url,
            "urlSource": source,
            "misconfigured": self.target.as_ref().is_err_and(|text| text.contains("gateway.remote.url missing")),
            "reachable": self.reachable(),
            "connectLatencyMs": self.latency_ms,
            "self": self.own,
            "error": self.error,
            "authWarning": null,
        });
        out["gatewayService"] = self.service.overview_json();
        out["nodeService"] = self.service.overview_json();
        out["agents"] = json!({
            "defaultId": self.default_agent,
            "agents": self.agents.iter().map(|agent| agent.json(now)).collect::<Vec<_>>(),
            "totalSessions": self.agents.iter().map(|agent| agent.sessions).sum::<usize>(),
            "bootstrapPendingCount": self.agents.iter().filter(|agent| agent.bootstrap).count(),
        });
        out["securityAudit"] = audit::json(&self.findings, now);
        out["secretDiagnostics"] = json!([]);
        if args.deep {
            out["health"] = self.health.clone();
            out["lastHeartbeat"] = json!(self.last_heartbeat);
        }
        if args.usage {
            out["usage"] = json!(self.usage);
        }
        out
    }

    fn gateway_cell(&self) -> String {
        let target = match &self.target {
            Ok(target) => format!("{} · {} ({})", self.mode, target.url, target.source),
            Err(text) if text.contains("gateway.remote.url missing") => {
                return format!("{} · misconfigured (remote.url missing)", self.mode);
            }
            Err(text) => return format!("{} · {}", self.mode, text.lines().next().unwrap_or("")),
        };
        match (self.latency_ms, &self.error) {
            (Some(ms), error) => {
                let mut text = format!("{target} · reachable {ms}ms · {}", self.auth);
                let own = |key: &str| self.own[key].as_str().unwrap_or("?");
                if self.own.is_object() {
                    text.push_str(&format!(
                        " · {} ({}) app {} {}",
                        own("host"),
                        own("ip"),
                        own("version"),
                        own("platform")
                    ));
                }
                if let Some(error) = error {
                    text.push_str(&format!(" · {error}"));
                }
                text
            }
            (None, error) => format!("{target} · unreachable ({})", error.as_deref().unwrap_or("no answer")),
        }
    }

    fn agents_cell(&self, now: u64) -> String {
        let waiting = self.agents.iter().filter(|agent| agent.bootstrap).count();
        let sessions: usize = self.agents.iter().map(|agent| agent.sessions).sum();
        let active = self
            .agents
            .iter()
            .find(|agent| agent.id == self.default_agent)
            .and_then(|agent| agent.updated_at)
            .map_or("unknown".to_string(), |at| age(now.saturating_sub(at)));
        let bootstrap =
            if waiting == 0 { "no bootstrap files".to_string() } else { format!("{waiting} bootstrapping") };
        format!(
            "{} · {bootstrap} · sessions {sessions} · default {} active {active}",
            self.agents.len(),
            self.default_agent
        )
    }

    fn sessions_cell(&self) -> String {
        let sessions = &self.summary["sessions"];
        let paths = sessions["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
        let place = match paths {
            [one] => one.as_str().unwrap_or("").to_string(),
            many => format!("{} stores", many.len()),
        };
        format!(
            "{} active · default {} ({} ctx) · {place}",
            sessions["count"].as_u64().unwrap_or(0),
            sessions["defaults"]["model"].as_str().unwrap_or("?"),
            short_count(sessions["defaults"]["contextTokens"].as_u64().unwrap_or(0)),
        )
    }

    fn heartbeat_cell(&self) -> String {
        let agents = self.summary["heartbeat"]["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let beats: Vec<String> = agents
            .iter()
            .map(|agent| {
                let every = if agent["enabled"] == true { agent["every"].as_str().unwrap_or("?") } else { "disabled" };
                format!("{every} ({})", agent["agentId"].as_str().unwrap_or("?"))
            })
            .collect();
        beats.join(", ")
    }

    fn events_cell(&self) -> String {
        match self.summary["queuedSystemEvents"].as_array().map_or(0, Vec::len) {
            0 => "none".to_string(),
            n => format!("{n} queued"),
        }
    }

    fn page(&self, cx: &Context, args: &Args, now: u64) -> String {
        let paint = cx.paint;
        let mut rows = vec![
            row("Version", super::help::version_line().replace("OpenClaw ", "")),
            row("Dashboard", self.dashboard.clone().unwrap_or_else(|| "disabled".into())),
            row("OS", self.os.label()),
            row("Tailscale", self.tailscale.clone()),
            row("Gateway", self.gateway_cell()),
            row("Gateway service", format!("{} not installed", self.service.label)),
            row("Agents", self.agents_cell(now)),
            row("Memory", "not part of this build".to_string()),
            row("Probes", if args.deep { "enabled" } else { "skipped (use --deep)" }.to_string()),
            row("Events", self.events_cell()),
            row("Heartbeat", self.heartbeat_cell()),
        ];
        if args.deep {
            rows.push(row("Last heartbeat", last_heartbeat(self.last_heartbeat.as_ref(), now)));
        }
        rows.push(row("Sessions", shorten(&self.sessions_cell(), cx)));
        let mut parts = vec![paint.bold("OpenClaw status")];
        if args.verbose || args.debug {
            let block = self.target.as_ref().map_or_else(|text| text.clone(), |target| target.block().join("\n  "));
            parts.push(format!("Gateway connection:\n  {block}"));
        }
        parts.push(titled("Overview", paint, table(&["Item", "Value"], &rows, cx.columns)));
        parts.push(self.audit_part(paint, cx.columns));
        parts.push(titled("Channels", paint, self.channels_table(cx.columns)));
        parts.push(titled("Sessions", paint, self.sessions_table(cx.columns)));
        if args.deep {
            parts.push(titled("Health", paint, self.health_table(cx.columns)));
        }
        if args.usage {
            parts.push(titled("Usage", paint, self.usage_part()));
        }
        parts.push(self.next_steps(cx));
        parts.join("\n\n")
    }

    fn audit_part(&self, paint: Paint, columns: usize) -> String {
        let count = |severity| self.findings.iter().filter(|finding| finding.severity == severity).count();
        let mut lines = vec![
            paint.bold("Security audit"),
            format!(
                "Summary: {} critical · {} warn · {} info",
                count(Severity::Critical),
                count(Severity::Warn),
                count(Severity::Info)
            ),
        ];
        for finding in &self.findings {
            let word = finding.severity.name().to_uppercase();
            let word = match finding.severity {
                Severity::Critical => paint.red(&word),
                Severity::Warn => paint.yellow(&word),
                Severity::Info => paint.gray(&word),
            };
            lines.push(format!("  {word} {}", finding.title));
            let fix = finding.fix.as_ref().map(|fix| format!("Fix: {fix}"));
            for text in [Some(finding.detail.clone()), fix].into_iter().flatten() {
                lines.extend(wrap(&text, columns - 4).iter().map(|line| format!("    {line}")));
            }
        }
        lines.join("\n")
    }

    fn channels_table(&self, columns: usize) -> String {
        let order = self.health["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rows: Vec<Vec<String>> = order
            .iter()
            .filter_map(Value::as_str)
            .map(|id| {
                let channel = &self.health["channels"][id];
                let label = self.health["channelLabels"][id].as_str().unwrap_or(id).to_string();
                let on = if channel["configured"] == false { "OFF" } else { "ON" };
                let failed = channel["probe"]["ok"] == false || channel["lastError"].is_string();
                let state = if failed { "WARN" } else { "OK" };
                let detail = channel["probe"]["error"].as_str().or(channel["lastError"].as_str()).unwrap_or("");
                vec![label, on.to_string(), state.to_string(), detail.to_string()]
            })
            .collect();
        if rows.is_empty() {
            rows.push(vec!["none configured".into(), String::new(), String::new(), String::new()]);
        }
        table(&["Channel", "Enabled", "State", "Detail"], &rows, columns)
    }

    fn sessions_table(&self, columns: usize) -> String {
        let recent = self.summary["sessions"]["recent"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rows: Vec<Vec<String>> = recent
            .iter()
            .take(SESSIONS_SHOWN)
            .map(|session| {
                let text = |key: &str| session[key].as_str().unwrap_or("").to_string();
                let context = short_count(session["contextTokens"].as_u64().unwrap_or(0));
                let tokens = match (session["totalTokens"].as_u64(), session["percentUsed"].as_u64()) {
                    (Some(total), Some(percent)) => format!("{}/{context} ({percent}%)", short_count(total)),
                    _ => format!("unknown/{context} (?%)"),
                };
                let since = session["age"].as_u64().map_or("unknown".to_string(), age);
                vec![text("key"), text("kind"), since, text("model"), tokens]
            })
            .collect();
        if rows.is_empty() {
            rows.push(vec!["no sessions yet".into(), String::new(), String::new(), String::new(), String::new()]);
        }
        table(&["Key", "Kind", "Age", "Model", "Tokens"], &rows, columns)
    }

    fn health_table(&self, columns: usize) -> String {
        let state = if self.reachable() { "reachable" } else { "unreachable" };
        let detail = match (&self.error, self.health["durationMs"].as_u64()) {
            (Some(error), _) => error.clone(),
            (None, Some(ms)) => format!("{ms}ms"),
            (None, None) => String::new(),
        };
        let mut rows = vec![vec!["Gateway".to_string(), state.to_string(), detail]];
        for line in health::channels(&self.health) {
            let (name, state) = line.split_once(": ").unwrap_or((&line, ""));
            rows.push(vec![name.to_string(), state.to_string(), String::new()]);
        }
        table(&["Item", "Status", "Detail"], &rows, columns)
    }

    fn usage_part(&self) -> String {
        let providers = self.usage.as_ref().and_then(|usage| usage["providers"].as_array());
        match providers.filter(|providers| !providers.is_empty()) {
            None => "Usage: no provider usage available.".to_string(),
            Some(providers) => providers
                .iter()
                .map(|provider| {
                    plain(provider["displayName"].as_str().or(provider["provider"].as_str()).unwrap_or("?"))
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn next_steps(&self, cx: &Context) -> String {
        let mut lines = vec![
            "Next steps:".to_string(),
            format!("  Need to share?      {}", cx.suggest("openclaw status --all")),
            format!("  Need to debug live? {}", cx.suggest("openclaw logs --follow")),
        ];
        if !self.reachable() {
            lines.push(format!("  Fix reachability first: {}", cx.suggest("openclaw gateway probe")));
        }
        lines.join("\n")
    }

    /// The long report, made to be pasted: no secrets in it.
    fn report(&self, cx: &Context, now: u64) -> String {
        let paint = cx.paint;
        let config_path = cx.short(&cx.paths.config_path);
        let rows = vec![
            row("Version", super::help::version_line().replace("OpenClaw ", "")),
            row("OS", self.os.label()),
            row("Config", config_path.clone()),
            row("Dashboard", self.dashboard.clone().unwrap_or_else(|| "disabled".into())),
            row("Tailscale", self.tailscale.clone()),
            row("Gateway", self.gateway_cell()),
            row("Gateway service", format!("{} not installed", self.service.label)),
            row("Agents", self.agents_cell(now)),
            row("Sessions", shorten(&self.sessions_cell(), cx)),
        ];
        let agents: Vec<Vec<String>> = self
            .agents
            .iter()
            .map(|agent| {
                let active = agent.updated_at.map_or("unknown".to_string(), |at| age(now.saturating_sub(at)));
                let bootstrap = if agent.bootstrap { "PENDING" } else { "ABSENT" };
                let store = cx.short(agent.store.as_ref());
                vec![agent.id.clone(), bootstrap.to_string(), agent.sessions.to_string(), active, store]
            })
            .collect();
        let agents = table(&["Agent", "Bootstrap file", "Sessions", "Active", "Store"], &agents, cx.columns);
        let parts = [
            paint.bold("OpenClaw status --all"),
            titled("Overview", paint, table(&["Item", "Value"], &rows, cx.columns)),
            titled("Channels", paint, self.channels_table(cx.columns)),
            titled("Agents", paint, agents),
            self.audit_part(paint, cx.columns),
            format!("{}\n\n{}", paint.bold("Diagnosis (read-only)"), self.diagnosis(cx, &config_path).join("\n")),
            "Pasteable debug report. Auth tokens redacted.".to_string(),
        ];
        parts.join("\n\n")
    }

    fn diagnosis(&self, cx: &Context, config_path: &str) -> Vec<String> {
        let (good, bad) = (cx.paint.green("✓"), cx.paint.yellow("!"));
        let loaded = cx.loaded();
        let mut lines = vec!["Gateway connection details:".to_string()];
        match &self.target {
            Ok(target) => lines.extend(target.block().iter().map(|line| format!("  {line}"))),
            Err(text) => lines.push(format!("  {text}")),
        }
        lines.push(String::new());
        if loaded.valid() && loaded.exists {
            lines.push(format!("{good} Config: {config_path}"));
        } else {
            let state = if loaded.exists { "invalid" } else { "missing" };
            lines.push(format!("{bad} Config: {config_path} ({state})"));
            lines.extend(loaded.issues.iter().map(|issue| format!("  {}", plain(&issue.line()))));
        }
        let port = cx.port(None);
        let listeners = crate::sys::sockets::listeners(port);
        if listeners.is_empty() {
            lines.push(format!("{bad} Port {port}: nobody listens"));
        } else {
            let mark = if self.reachable() { &good } else { &bad };
            lines.push(format!("{mark} Port {port}"));
            let wording = crate::server::port_report::Wording::of(&cx.paths);
            let report = crate::server::port_report::port_report(port, &listeners, wording);
            lines.extend(report.iter().map(|line| format!("  {}", plain(line))));
        }
        match (&self.error, self.reachable()) {
            (None, _) => lines.push(format!("{good} Gateway answers")),
            (Some(error), _) => lines.push(format!("{bad} Gateway: {}", plain(error))),
        }
        if !self.reachable()
            && let Some(file) = super::logs::local_file(cx).filter(|file| file.is_file())
        {
            lines.push(format!("{bad} Gateway log ({}), last lines:", cx.short(&file)));
            let tail = crate::log::tail::read(&file, None, LOG_LINES, 64 * 1024).unwrap_or_default();
            let text = |raw: &String| crate::log::tail::parse_line(raw).map_or(raw.clone(), |line| line.message);
            lines.extend(tail.lines.iter().map(|raw| format!("  {}", plain(&crate::log::redact::redact(&text(raw))))));
        }
        lines
    }
}

impl Os {
    fn label(&self) -> String {
        format!("{} {} ({})", self.platform, self.release, self.arch)
    }
}

impl AgentFacts {
    fn json(&self, now: u64) -> Value {
        json!({
            "id": self.id,
            "workspaceDir": self.workspace,
            "bootstrapPending": self.bootstrap,
            "sessionsPath": self.store,
            "sessionsCount": self.sessions,
            "lastUpdatedAt": self.updated_at,
            "lastActiveAgeMs": self.updated_at.map(|at| now.saturating_sub(at)),
        })
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_string(), value]
}

fn titled(title: &str, paint: Paint, body: String) -> String {
    format!("{}\n{body}", paint.bold(title))
}

fn last_heartbeat(event: Option<&Value>, now: u64) -> String {
    match event {
        None => "unavailable".to_string(),
        Some(Value::Null) => "none".to_string(),
        Some(event) => {
            let since = event["ts"].as_u64().map_or("unknown".to_string(), |ts| age(now.saturating_sub(ts)));
            format!("{} · {since}", event["status"].as_str().unwrap_or("unknown"))
        }
    }
}

/// Paths inside a cell as people write them.
fn shorten(text: &str, cx: &Context) -> String {
    let home = cx.paths.home.display().to_string();
    if home.len() < 2 { text.to_string() } else { text.replace(&format!("{home}/"), "~/") }
}
