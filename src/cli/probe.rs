//! `openclaw gateway probe`: every gateway that this machine knows, through ssh where that is asked for (cli 4.5).

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Context;
use super::call::gateway_flags;
use super::client::{Deadline, Failure, now_ms};
use super::context::{env, millis, port_flag};
use super::discover::{DOMAIN, beacon_json, list};
use super::output::{Page, Paint, json_pretty, plain};
use super::progress::Waiting;
use super::ssh_tunnel::{Login, Tunnel};
use super::target::{self, Flags, Target};
use super::tree::{Gateway, GatewayProbe};
use crate::config::paths::expand_tilde;
use crate::discovery::{self, Beacon};
use crate::error::{Error, Result};
use crate::out;

const BUDGET_MS: u64 = 3000;
/// Of the budget, for who is in the local network.
const DISCOVERY_MS: u64 = 1200;

/// What one gateway said.
struct Probed {
    id: &'static str,
    title: &'static str,
    url: String,
    active: bool,
    /// Of what leads there, for JSON.
    tunnel: Value,
    answer: Answer,
}

/// All that a probe found out.
#[derive(Default)]
struct Findings {
    probed: Vec<Probed>,
    beacons: Vec<Beacon>,
    discovery_ms: u64,
    /// Why there is no tunnel.
    tunnel_failed: Option<String>,
}

enum Answer {
    Reached { latency_ms: u64, calls: Box<Calls> },
    Failed { error: String, close: Option<(u16, String)> },
}

/// The four calls of a probe; `Err` is the text of a refusal.
struct Calls {
    health: std::result::Result<Value, String>,
    status: std::result::Result<Value, String>,
    presence: std::result::Result<Value, String>,
    config: std::result::Result<Value, String>,
}

pub fn run(cx: &Context, group: &Gateway, args: &GatewayProbe) -> Result<u8> {
    let started = (Instant::now(), now_ms());
    let failed = |error: Error| Error { message: format!("Gateway probe failed: {}", error.message), ..error };
    let budget = millis(args.timeout.as_deref(), BUDGET_MS)?;
    let end = started.0 + Duration::from_millis(budget);
    let deadline = Deadline::after(Duration::from_millis(budget));
    let flags = gateway_flags(&args.url, &args.token, &args.password, group);
    let port = port_flag(group.port.as_deref())?;
    let login = args.ssh.as_deref().map(Login::parse).transpose().map_err(failed)?;
    if args.ssh_identity.is_some() && login.is_none() && !args.ssh_auto {
        return Err(failed(
            Error::new("--ssh-identity is a key for --ssh").hint("Add --ssh user@host, or --ssh-auto."),
        ));
    }

    let groups = discovery::groups(env("OPENCLAW_MDNS_ADDRESS").as_deref());
    let discovery_ms = DISCOVERY_MS.min(budget);
    let browse = thread::spawn(move || discovery::browse(&groups, Duration::from_millis(discovery_ms)));
    let open = |login: Login| {
        let config = &cx.loaded().config.gateway;
        let identity = args.ssh_identity.as_deref().or(config.remote_ssh_identity.as_deref());
        let identity = identity.map(|text| expand_tilde(&cx.paths.home, text));
        Tunnel::start(login, identity.as_deref(), cx.port(port), end.saturating_duration_since(Instant::now()))
    };
    // ssh works while the others are asked.
    let mut tunnel = login.or_else(|| known_login(cx, args)).map(&open);
    let waiting = Waiting::new(cx.columns, args.json, "Asking gateways");
    let mut probed = direct(cx, flags, port, deadline, &waiting);
    let beacons = browse.join().ok().and_then(std::result::Result::ok).unwrap_or_default();
    if tunnel.is_none() && args.ssh_auto {
        let nobody = || {
            Error::new("no target for --ssh-auto: gateway.remote names none and nobody answered in the network")
                .hint("Use --ssh user@host.")
        };
        tunnel = Some(found_login(&beacons).ok_or_else(nobody).and_then(open));
    }
    let mut tunnel_failed = None;
    match tunnel.map(|tunnel| through(cx, flags, tunnel?, end, deadline)) {
        Some(Ok(reached)) => probed.insert(probed.len() - 1, reached),
        Some(Err(error)) => tunnel_failed = Some(error.to_string().replace('\n', " ")),
        None => {}
    }

    drop(waiting);

    let findings = Findings { probed, beacons, discovery_ms, tunnel_failed };
    let reached = findings.probed.iter().any(Probed::is_reached);
    if args.json {
        let took = u64::try_from(started.0.elapsed().as_millis()).unwrap_or(u64::MAX);
        let tailnet = crate::sys::host::tailnet_ipv4().map(|ip| ip.to_string());
        let scheme = if cx.loaded().config.gateway.tls.enabled { "wss" } else { "ws" };
        let network = |host: &str| format!("{scheme}://{host}:{}", cx.port(port));
        out!("{}", json_pretty(&document(&findings, started.1, took, budget, &network, tailnet)));
    } else {
        page(&findings, budget, cx.paint).print();
    }
    Ok(u8::from(!reached))
}

/// What is reached without ssh; this machine's own gateway comes last.
fn direct(cx: &Context, flags: Flags<'_>, port: Option<u16>, deadline: Deadline, waiting: &Waiting) -> Vec<Probed> {
    let local_flags = Flags { url: None, ..flags };
    let remote = cx.loaded().config.gateway.mode.as_deref() == Some("remote");
    let mut targets = Vec::new();
    if flags.url.is_some() {
        targets.push(("explicit", "URL (explicit)", true, cx.target(flags)));
    }
    if remote {
        targets.push(("configRemote", "Remote (configured)", flags.url.is_none(), cx.target(local_flags)));
    }
    targets.push((
        "localLoopback",
        "Local loopback",
        flags.url.is_none() && !remote,
        cx.local_target(local_flags, port),
    ));
    let probe = |(id, title, active, target): (_, _, _, Result<Target>)| match target {
        Ok(target) => {
            waiting.now(|| format!("Asking {}", target.url));
            let answer = ask(cx, &target, deadline);
            Probed { id, title, url: target.url, active, tunnel: Value::Null, answer }
        }
        Err(error) => {
            let answer = Answer::Failed { error: error.message, close: None };
            let url = flags.url.unwrap_or("").to_string();
            Probed { id, title, url, active, tunnel: Value::Null, answer }
        }
    };
    targets.into_iter().map(probe).collect()
}

/// Asks the gateway behind a tunnel, with the credentials that are given or known for a remote one.
fn through(cx: &Context, flags: Flags<'_>, mut tunnel: Tunnel, end: Instant, deadline: Deadline) -> Result<Probed> {
    tunnel.wait_open(end)?;
    let url = format!("ws://127.0.0.1:{}", tunnel.local_port);
    let config = &cx.loaded().config.gateway;
    let (token, password) = (config.remote_token.as_ref(), config.remote_password.as_ref());
    let flags = match flags.has_secret() {
        true => Flags { url: Some(&url), ..flags },
        false => Flags {
            url: Some(&url),
            token: token.map(|token| token.expose()),
            password: password.map(|password| password.expose()),
        },
    };
    let answer = match cx.target(flags) {
        Ok(target) => ask(cx, &target, deadline),
        Err(_) => {
            let error = "no credentials for the gateway behind the tunnel: pass --token or set gateway.remote.token";
            Answer::Failed { error: error.to_owned(), close: None }
        }
    };
    let told = json!({
        "kind": "ssh",
        "target": tunnel.login.to_string(),
        "localPort": tunnel.local_port,
        "remotePort": tunnel.remote_port,
        "pid": tunnel.pid(),
    });
    Ok(Probed { id: "sshTunnel", title: "Remote over SSH", url, active: false, tunnel: told, answer })
}

/// For --ssh-auto: where the configuration says that the remote gateway is.
fn known_login(cx: &Context, args: &GatewayProbe) -> Option<Login> {
    let config = &cx.loaded().config.gateway;
    if !args.ssh_auto {
        return None;
    }
    let host = || target::other_host(config.remote_url.as_deref()?);
    let known = config.remote_ssh_target.as_deref().and_then(|text| Login::parse(text).ok());
    known.or_else(|| Login::parse(&host()?).ok())
}

/// For --ssh-auto: the first one that was heard of. ssh knows whether it is who it says.
fn found_login(beacons: &[Beacon]) -> Option<Login> {
    beacons.iter().find_map(|beacon| {
        let host = beacon.txt.get("tailnetDns").or(beacon.txt.get("lanHost")).or(beacon.host.as_ref())?;
        let port = beacon.txt.get("sshPort").and_then(|port| port.parse().ok()).unwrap_or(22);
        Login::parse(&format!("{host}:{port}")).ok()
    })
}

fn ask(cx: &Context, target: &Target, deadline: Deadline) -> Answer {
    let started = Instant::now();
    let mut client = match cx.connect(target, deadline) {
        Ok(client) => client,
        Err(failure) => {
            let close = match &failure {
                Failure::Closed { code, reason, .. } => Some((*code, reason.clone())),
                _ => None,
            };
            return Answer::Failed { error: failure.short(), close };
        }
    };
    let latency_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut call = |method: &str, params| client.request(method, params, deadline).map_err(|failure| failure.text());
    let calls = Box::new(Calls {
        health: call("health", None),
        status: call("status", None),
        presence: call("system-presence", None),
        config: call("config.get", Some(json!({}))),
    });
    Answer::Reached { latency_ms, calls }
}

impl Calls {
    fn error(&self) -> Option<&str> {
        [&self.health, &self.status, &self.presence, &self.config]
            .into_iter()
            .find_map(|answer| answer.as_ref().err().map(String::as_str))
    }

    fn own_entry(&self) -> Option<Value> {
        self.presence.as_ref().ok().and_then(own_entry)
    }
}

/// The gateway's own line in a presence list: host, ip, version, platform.
pub fn own_entry(presence: &Value) -> Option<Value> {
    let entries = presence.as_array()?;
    let entry = entries.iter().find(|entry| entry["reason"] == "self" || entry["mode"] == "gateway")?;
    let pick = |key: &str| entry.get(key).cloned().unwrap_or(Value::Null);
    Some(json!({"host": pick("host"), "ip": pick("ip"), "version": pick("version"), "platform": pick("platform")}))
}

impl Probed {
    fn is_reached(&self) -> bool {
        matches!(self.answer, Answer::Reached { .. })
    }

    fn json(&self) -> Value {
        let kind = self.id;
        let head = |connect: Value| {
            json!({"id": self.id, "kind": kind, "url": self.url, "active": self.active,
                   "tunnel": self.tunnel, "connect": connect})
        };
        match &self.answer {
            Answer::Failed { error, close } => {
                let close = close.as_ref().map(|(code, reason)| json!({"code": code, "reason": reason}));
                let mut out = head(json!({"ok": false, "rpcOk": false, "scopeLimited": false, "latencyMs": null,
                                          "error": error, "close": close}));
                for key in ["self", "config", "health", "summary", "presence"] {
                    out[key] = Value::Null;
                }
                out
            }
            Answer::Reached { latency_ms, calls } => {
                let error = calls.error();
                let limited = error.is_some_and(|error| error.starts_with("missing scope"));
                let mut out = head(json!({"ok": true, "rpcOk": error.is_none(), "scopeLimited": limited,
                                          "latencyMs": latency_ms, "error": error, "close": null}));
                let given = |answer: &std::result::Result<Value, String>| answer.as_ref().ok().cloned();
                out["self"] = json!(calls.own_entry());
                out["config"] = json!(given(&calls.config).map(|config| config_summary(&config)));
                out["health"] = json!(given(&calls.health));
                out["summary"] = json!(given(&calls.status));
                out["presence"] = json!(given(&calls.presence));
                out
            }
        }
    }
}

/// Path and state of the gateway's configuration, without its content.
fn config_summary(config: &Value) -> Value {
    let pick = |key: &str| config.get(key).cloned().unwrap_or(Value::Null);
    let gateway = &config["config"]["gateway"];
    json!({
        "path": pick("path"),
        "exists": pick("exists"),
        "valid": pick("valid"),
        "issues": config.get("issues").cloned().unwrap_or_else(|| json!([])),
        "gateway": {"mode": gateway["mode"], "bind": gateway["bind"], "port": gateway["port"]},
    })
}

fn warnings(findings: &Findings) -> Vec<Value> {
    let probed = &findings.probed;
    let mut out = Vec::new();
    if let Some(why) = &findings.tunnel_failed {
        out.push(json!({
            "code": "ssh_tunnel_failed",
            "message": format!("SSH tunnel failed to start; falling back to direct probes. {why}"),
            "targetIds": ["sshTunnel"],
        }));
    }
    let limited: Vec<&str> =
        probed.iter().filter(|p| p.json()["connect"]["scopeLimited"] == true).map(|p| p.id).collect();
    if !limited.is_empty() {
        out.push(json!({
            "code": "probe_scope_limited",
            "message": "Connected, but the gateway grants this device too little (operator.read) for details. \
                        Approve it: openclaw devices approve",
            "targetIds": limited,
        }));
    }
    let reached: Vec<&str> = probed.iter().filter(|p| p.is_reached()).map(|p| p.id).collect();
    if reached.len() > 1 {
        out.push(json!({
            "code": "multiple_gateways",
            "message": "More than one gateway answers; make sure that you talk to the one you mean.",
            "targetIds": reached,
        }));
    }
    out
}

fn document(
    findings: &Findings,
    ts: u64,
    took: u64,
    budget: u64,
    url: &dyn Fn(&str) -> String,
    tailnet: Option<String>,
) -> Value {
    let probed = &findings.probed;
    let warnings = warnings(findings);
    let reached = probed.iter().find(|p| p.is_reached());
    let degraded = warnings.iter().any(|warning| warning["code"] == "probe_scope_limited");
    json!({
        "ok": reached.is_some(),
        "degraded": degraded,
        "ts": ts,
        "durationMs": took,
        "timeoutMs": budget,
        "primaryTargetId": reached.map(|p| p.id),
        "warnings": warnings,
        "network": {
            "localLoopbackUrl": url("127.0.0.1"),
            "localTailnetUrl": tailnet.as_ref().map(|ip| url(ip)),
            "tailnetIPv4": tailnet,
        },
        "discovery": {
            "timeoutMs": findings.discovery_ms,
            "count": findings.beacons.len(),
            "beacons": findings.beacons.iter().map(beacon_json).collect::<Vec<_>>(),
        },
        "targets": probed.iter().map(Probed::json).collect::<Vec<_>>(),
    })
}

fn page(findings: &Findings, budget: u64, paint: Paint) -> Page {
    let probed = &findings.probed;
    let mut page = Page::default();
    page.out(paint.bold("Gateway Status"));
    let reached = probed.iter().any(Probed::is_reached);
    page.out(format!("Reachable: {}", if reached { paint.green("yes") } else { paint.red("no") }));
    page.out(format!("Probe budget: {budget}ms"));
    page.out("");
    let warnings = warnings(findings);
    if !warnings.is_empty() {
        page.out(paint.yellow("Warning:"));
        for warning in &warnings {
            page.out(format!("- {}", warning["message"].as_str().unwrap_or("")));
        }
        page.out("");
    }
    page.out(paint.bold("Discovery (this machine)"));
    let count = findings.beacons.len();
    page.out(format!("Found {count} gateway{} via Bonjour ({DOMAIN})", if count == 1 { "" } else { "s" }));
    if count == 0 {
        page.out(
            "Tip: if the gateway is remote, mDNS won’t cross networks; use Wide-Area Bonjour (split DNS) or SSH tunnels.",
        );
    }
    list(&findings.beacons, &mut page);
    page.out("");
    page.out(paint.bold("Targets"));
    for target in probed {
        page.out(format!("{} {}", target.title, target.url));
        if let Some(login) = target.tunnel["target"].as_str() {
            page.out(format!("  SSH: {} (port {} there)", plain(login), target.tunnel["remotePort"]));
        }
        match &target.answer {
            Answer::Failed { error, .. } => {
                let first = error.lines().next().unwrap_or("");
                page.out(format!("  Connect: {} - {}", paint.red("failed"), plain(first)));
            }
            Answer::Reached { latency_ms, calls } => {
                let rpc = match calls.error() {
                    None => paint.green("ok"),
                    Some(error) => format!("{} - {}", paint.yellow("limited"), plain(error)),
                };
                page.out(format!("  Connect: {} ({latency_ms}ms) · RPC: {rpc}", paint.green("ok")));
                if let Some(own) = calls.own_entry() {
                    let text = |key: &str| plain(own[key].as_str().unwrap_or("?"));
                    page.out(format!(
                        "  Gateway: {} ({}) · app {} · {}",
                        text("host"),
                        text("ip"),
                        text("version"),
                        text("platform")
                    ));
                }
            }
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Stream;

    fn down() -> Probed {
        let error = "connect failed: connect ECONNREFUSED 127.0.0.1:21133".to_string();
        let answer = Answer::Failed { error, close: Some((1006, String::new())) };
        Probed {
            id: "localLoopback",
            title: "Local loopback",
            url: "ws://127.0.0.1:21133".into(),
            active: true,
            tunnel: Value::Null,
            answer,
        }
    }

    fn found(probed: Vec<Probed>) -> Findings {
        Findings { probed, discovery_ms: 1200, ..Findings::default() }
    }

    fn up() -> Probed {
        let presence = json!([{"mode": "gateway", "reason": "self", "host": "vm", "ip": "192.0.2.2",
                               "version": "2026.3.13", "platform": "linux 6.12.0"}]);
        let config = json!({"path": "/c.json", "exists": true, "valid": true, "issues": [],
                            "config": {"gateway": {"mode": "local", "auth": {"token": "x"}}}});
        let calls = Calls {
            health: Ok(json!({"ok": true})),
            status: Ok(json!({})),
            presence: Ok(presence),
            config: Ok(config),
        };
        let answer = Answer::Reached { latency_ms: 40, calls: Box::new(calls) };
        Probed {
            id: "explicit",
            title: "URL (explicit)",
            url: "ws://127.0.0.1:1".into(),
            active: true,
            tunnel: Value::Null,
            answer,
        }
    }

    #[test]
    fn a_machine_without_a_gateway() {
        let text = page(&found(vec![down()]), 3000, Paint::NONE).text(Stream::Out);
        assert_eq!(
            text,
            "Gateway Status\nReachable: no\nProbe budget: 3000ms\n\nDiscovery (this machine)\n\
             Found 0 gateways via Bonjour (local.)\nTip: if the gateway is remote, mDNS won’t cross networks; use \
             Wide-Area Bonjour (split DNS) or SSH tunnels.\n\nTargets\nLocal loopback ws://127.0.0.1:21133\n  \
             Connect: failed - connect failed: connect ECONNREFUSED 127.0.0.1:21133\n"
        );
        let json = document(&found(vec![down()]), 5, 7, 3000, &|host| format!("ws://{host}:21133"), None);
        assert_eq!((&json["ok"], &json["primaryTargetId"]), (&json!(false), &Value::Null));
        assert_eq!(
            json["targets"][0]["connect"],
            json!({"ok": false, "rpcOk": false, "scopeLimited": false, "latencyMs": null,
                   "error": "connect failed: connect ECONNREFUSED 127.0.0.1:21133",
                   "close": {"code": 1006, "reason": ""}})
        );
        assert_eq!(json["network"]["localTailnetUrl"], Value::Null);
    }

    #[test]
    fn a_gateway_that_answers() {
        let text = page(&found(vec![up()]), 3000, Paint::NONE).text(Stream::Out);
        assert!(
            text.contains("  Connect: ok (40ms) · RPC: ok\n  Gateway: vm (192.0.2.2) · app 2026.3.13 · linux 6.12.0\n"),
            "{text}"
        );
        let tailnet = Some("100.64.0.1".into());
        let json = document(&found(vec![up(), down()]), 5, 7, 3000, &|host| format!("ws://{host}:1"), tailnet);
        assert_eq!((&json["ok"], &json["primaryTargetId"]), (&json!(true), &json!("explicit")));
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "ok",
                "degraded",
                "ts",
                "durationMs",
                "timeoutMs",
                "primaryTargetId",
                "warnings",
                "network",
                "discovery",
                "targets"
            ]
        );
        assert!(!json.to_string().contains("\"token\""), "{json}");
    }

    #[test]
    fn limited_scopes_are_named() {
        let mut target = up();
        let Answer::Reached { calls, .. } = &mut target.answer else { panic!() };
        calls.status = Err("missing scope: operator.read".into());
        let text = page(&found(vec![target]), 3000, Paint::NONE).text(Stream::Out);
        assert!(text.contains("Warning:") && text.contains("RPC: limited - missing scope: operator.read"), "{text}");
    }
}
