//! `openclaw status`: the whole installation at a glance (cli 4.9).
//!
//! Facts are gathered first: local files always, the gateway when it answers. JSON and page are functions of them.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Context;
use super::agents::agent_dir;
use super::audit::{self, Finding};
use super::client::{Client, Deadline, now_ms};
use super::context::{TIMEOUT_MS, millis};
use super::output::json_pretty;
use super::probe::own_entry;
use super::service::{self, Seen};
use super::sessions::{kind, store_of};
use super::status_page::Look;
use super::target::{Flags, Target};
use super::tree::Status as Args;
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::models::echo;
use crate::agent::workspace;
use crate::config::Config;
use crate::config::secret_ref::{Origin, Wanted};
use crate::error::Result;
use crate::limits::CONTEXT_TOKENS;
use crate::out;
use crate::protocol::COMPAT_VERSION;
use crate::sort;
use crate::store::entry::Entry;
use crate::store::secrets;
use crate::store::sessions::Sessions;
use crate::sys::host;

pub(super) const SESSIONS_SHOWN: usize = 10;

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
pub(super) struct Facts {
    pub(super) os: Os,
    pub(super) service: Seen,
    /// The address, or why there is none.
    pub(super) target: std::result::Result<Target, String>,
    pub(super) mode: String,
    pub(super) latency_ms: Option<u64>,
    /// Why the gateway does not answer, or what it refuses.
    pub(super) error: Option<String>,
    pub(super) own: Value,
    pub(super) health: Value,
    /// The gateway's `status`; the same from local files when it does not answer.
    pub(super) summary: Value,
    pub(super) last_heartbeat: Option<Value>,
    pub(super) usage: Option<Value>,
    pub(super) agents: Vec<AgentFacts>,
    pub(super) default_agent: String,
    pub(super) findings: Vec<Finding>,
    pub(super) auth: &'static str,
    pub(super) dashboard: &'static str,
    /// Turns are answered by the built-in echo.
    pub(super) echo: bool,
    pub(super) tailscale: String,
    /// Secrets in use that cannot be had; programs are not asked.
    pub(super) secrets: Vec<String>,
}

pub(super) struct Os {
    pub(super) platform: &'static str,
    pub(super) arch: &'static str,
    pub(super) release: String,
}

pub(super) struct AgentFacts {
    pub(super) id: String,
    pub(super) workspace: String,
    pub(super) bootstrap: bool,
    pub(super) store: String,
    pub(super) sessions: usize,
    pub(super) updated_at: Option<u64>,
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
    let page = if args.all { facts.report(cx, now) } else { facts.page(&Look::of(cx), args, now) };
    out!("{page}");
    Ok(0)
}

/// `status` is asked often: a vault need not be.
fn secret_diagnostics(cx: &Context) -> Vec<String> {
    let wants = |wanted: &Wanted| {
        let program = wanted.reference.as_ref().is_ok_and(|reference| reference.origin == Origin::Exec);
        wanted.inactive.is_none() && !program
    };
    let outcome = secrets::resolve_where(&cx.loaded().effective, &cx.paths, &|name| cx.var(name), &wants);
    outcome.failed.iter().map(ToString::to_string).collect()
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
    let target = cx.target(Flags::default());
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
        findings: audit::look(&audit::Facts::gather(cx, audit::Depth::Quick)),
        dashboard: super::gateway_status::dashboard(config),
        echo: model.provider == echo::PROVIDER,
        tailscale: gateway.tailscale_mode.clone().unwrap_or_else(|| "off".into()),
        secrets: secret_diagnostics(cx),
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
    sort::by_key(&mut newest, |entry| std::cmp::Reverse(entry.updated_at));
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

impl Facts {
    pub(super) fn reachable(&self) -> bool {
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
        out["nodeService"] = self.service.node_json();
        out["agents"] = json!({
            "defaultId": self.default_agent,
            "agents": self.agents.iter().map(|agent| agent.json(now)).collect::<Vec<_>>(),
            "totalSessions": self.agents.iter().map(|agent| agent.sessions).sum::<usize>(),
            "bootstrapPendingCount": self.agents.iter().filter(|agent| agent.bootstrap).count(),
        });
        out["securityAudit"] = audit::json(&self.findings, now);
        out["secretDiagnostics"] = json!(self.secrets);
        if args.deep {
            out["health"] = self.health.clone();
            out["lastHeartbeat"] = json!(self.last_heartbeat);
        }
        if args.usage {
            out["usage"] = json!(self.usage);
        }
        out
    }
}

impl Os {
    pub(super) fn label(&self) -> String {
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::audit::Severity;

    /// A machine as in the recordings: one agent, no sessions, a gateway that answers.
    pub fn facts() -> Facts {
        let model =
            DefaultModel { provider: "anthropic".into(), model: "claude-opus-4-6".into(), context_tokens: 200_000 };
        let entry = Entry {
            key: "agent:main:main".into(),
            agent: "main".into(),
            updated_at: 700_000,
            total_tokens: Some(12_000),
            ..Entry::default()
        };
        let store = "/home/u/.openclaw/agents/main/sessions/sessions.json";
        let agents = [("main".to_string(), store.to_string(), 1)];
        let target = Target {
            url: "ws://127.0.0.1:21120".into(),
            source: "local loopback",
            host: "127.0.0.1".into(),
            port: 21120,
            trust: crate::cli::target::Trust::Authorities,
            token: None,
            password: None,
            stored_token: true,
            explicit: false,
            config_path: "~/.openclaw/openclaw.json".into(),
            bind: Some("loopback"),
            tunnel: None,
        };
        Facts {
            os: Os { platform: "linux", arch: "x64", release: "6.12.0".into() },
            service: service::not_there(),
            target: Ok(target),
            mode: "local".into(),
            latency_ms: Some(12),
            error: None,
            own: json!({"host": "vm", "ip": "192.0.2.2", "version": "2026.3.13", "platform": "linux 6.12.0"}),
            health: json!({"durationMs": 0, "channelOrder": ["irc"], "channels": {"irc": {"configured": true}}}),
            summary: local_summary(&Config::default(), &agents, &[&entry], &model, 1_000_000),
            last_heartbeat: Some(Value::Null),
            usage: None,
            agents: vec![AgentFacts {
                id: "main".into(),
                workspace: "/home/u/.openclaw/workspace".into(),
                bootstrap: false,
                store: store.into(),
                sessions: 1,
                updated_at: Some(700_000),
            }],
            default_agent: "main".into(),
            findings: vec![Finding {
                check: "fs.state_dir.perms_readable",
                severity: Severity::Warn,
                title: "State dir is readable by others",
                detail: "~/.openclaw mode=755; it holds keys and conversations.".into(),
                fix: Some("chmod 700 ~/.openclaw".into()),
                repairs: Vec::new(),
            }],
            auth: "auth token",
            dashboard: "not served by this build",
            echo: false,
            tailscale: "off".into(),
            secrets: Vec::new(),
        }
    }

    #[test]
    fn json_has_every_key_of_the_reference() {
        let json = facts().json(&Args::default(), 1_000_000);
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "runtimeVersion",
                "heartbeat",
                "channelSummary",
                "queuedSystemEvents",
                "sessions",
                "os",
                "update",
                "updateChannel",
                "updateChannelSource",
                "memory",
                "memoryPlugin",
                "gateway",
                "gatewayService",
                "nodeService",
                "agents",
                "securityAudit",
                "secretDiagnostics"
            ]
        );
        assert_eq!(json["gateway"]["reachable"], true);
        assert_eq!(json["sessions"]["recent"][0]["percentUsed"], 6);
        assert_eq!(json["heartbeat"]["agents"][0]["everyMs"], 1_800_000);
        assert_eq!(
            json["agents"]["agents"][0],
            json!({"id": "main", "workspaceDir": "/home/u/.openclaw/workspace", "bootstrapPending": false,
                   "sessionsPath": "/home/u/.openclaw/agents/main/sessions/sessions.json", "sessionsCount": 1,
                   "lastUpdatedAt": 700_000, "lastActiveAgeMs": 300_000})
        );
        let deep = facts().json(&Args { deep: true, usage: true, ..Args::default() }, 1_000_000);
        assert!(deep.get("health").is_some() && deep.get("lastHeartbeat").is_some() && deep.get("usage").is_some());
    }
}
