//! `openclaw gateway status`: service, configuration, port, probe (cli 4.2).
//!
//! Good lines go to standard output, bad ones to standard error. Works with a broken configuration; that is when it
//! is needed. Facts are gathered first, the page is a pure function of them.

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Context;
use super::call::gateway_flags;
use super::client::Deadline;
use super::context::{TIMEOUT_MS, millis, port_flag};
use super::output::{Page, Paint, json_pretty, plain};
use super::service::{self, Service};
use super::target::{SOURCE_FLAG, Target};
use super::tree::{Gateway, GatewayStatus};
use crate::config::load::Loaded;
use crate::config::{Bind, Config};
use crate::error::{Error, Result};
use crate::out;
use crate::server::{lock, port_report};
use crate::sys::sockets::{self, Listener, PortUse};

const ISSUES_SHOWN: usize = 5;
const ERROR_LINES: usize = 12;

/// Everything that the page shows.
struct Facts {
    service: Service,
    log_file: String,
    config_path: String,
    config_path_short: String,
    exists: bool,
    issues: Vec<(String, String)>,
    bind: Bind,
    bind_host: String,
    custom_host: Option<String>,
    port: u16,
    probe_url: String,
    dashboard: &'static str,
    port_use: PortUse,
    hints: Vec<String>,
    report: Vec<String>,
    /// Pid of the gateway that holds the lock of this configuration.
    lock_pid: Option<u32>,
    probe: Probe,
}

enum Probe {
    Skipped,
    Ok { url: String },
    Failed { url: String, error: String },
}

pub fn run(cx: &Context, group: &Gateway, args: &GatewayStatus) -> Result<u8> {
    if args.require_rpc && args.no_probe {
        return Err(Error::new("Gateway status failed: --require-rpc cannot be used with --no-probe."));
    }
    let timeout = millis(args.timeout.as_deref(), TIMEOUT_MS).map_err(failed)?;
    let facts = gather(cx, group, args, timeout)?;
    if args.json {
        out!("{}", json_pretty(&facts.json()));
    } else {
        facts.page(cx.paint, &|command| cx.suggest(command)).print();
    }
    Ok(u8::from(args.require_rpc && !matches!(facts.probe, Probe::Ok { .. })))
}

fn failed(mut error: Error) -> Error {
    error.message = format!("Gateway status failed: {}", error.message);
    error
}

fn gather(cx: &Context, group: &Gateway, args: &GatewayStatus, timeout: u64) -> Result<Facts> {
    let loaded = cx.loaded();
    let gateway = &loaded.config.gateway;
    let port = cx.port(port_flag(group.port.as_deref())?);
    let bind = gateway.bind.unwrap_or(Bind::Loopback);
    let custom_host = gateway.custom_bind_host.clone().filter(|_| bind == Bind::Custom);
    let bind_host = match bind {
        Bind::Lan => "0.0.0.0".to_string(),
        Bind::Custom => custom_host.clone().unwrap_or_else(|| "127.0.0.1".into()),
        Bind::Tailnet => crate::sys::host::tailnet_ipv4().map_or("127.0.0.1".into(), |ip| ip.to_string()),
        Bind::Loopback | Bind::Auto => "127.0.0.1".to_string(),
    };
    let flags = gateway_flags(&args.url, &args.token, &args.password, group);
    // A remote address in the configuration is not what this command is about.
    let target = if flags.url.is_some() { cx.target(flags) } else { cx.local_target(flags, Some(port)) };
    let target = target.map(|target| if args.json { cx.absolute(target) } else { target });
    let probe_url = match &target {
        Ok(target) if target.source != SOURCE_FLAG => target.url.clone(),
        _ => format!("ws://127.0.0.1:{port}"),
    };
    let probe = match target {
        _ if args.no_probe => Probe::Skipped,
        Ok(target) => ask(cx, &target, timeout),
        Err(error) => Probe::Failed { url: args.url.clone().unwrap_or(probe_url.clone()), error: error.to_string() },
    };
    let port_use = sockets::port_use(port);
    let listeners: &[Listener] = if let PortUse::Busy(listeners) = &port_use { listeners } else { &[] };
    let wording = port_report::Wording::of(&cx.paths);
    // A port that nobody has is nobody's fault.
    let busy = !listeners.is_empty();
    Ok(Facts {
        service: service::look(cx),
        log_file: super::logs::local_file(cx).map_or("none".to_string(), |path| cx.short(&path)),
        config_path: cx.paths.config_path.display().to_string(),
        config_path_short: cx.short(&cx.paths.config_path),
        exists: loaded.exists,
        issues: issues(loaded),
        bind,
        bind_host,
        custom_host,
        port,
        probe_url,
        dashboard: dashboard(&loaded.config),
        hints: if busy { port_report::hints(listeners, wording) } else { Vec::new() },
        report: if busy { port_report::port_report(port, listeners, wording) } else { Vec::new() },
        lock_pid: lock_owner(&cx.paths.config_path),
        port_use,
        probe,
    })
}

fn issues(loaded: &Loaded) -> Vec<(String, String)> {
    loaded.issues.iter().map(|issue| (issue.path.clone(), issue.message.clone())).collect()
}

fn lock_owner(config_path: &Path) -> Option<u32> {
    lock::owner(config_path).filter(|owner| owner.alive).map(|owner| owner.pid)
}

fn authority(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

/// Where the Control UI is: nowhere yet, and an address that answers 404 would send people looking for the fault.
pub(super) fn dashboard(config: &Config) -> &'static str {
    if config.gateway.control_ui.enabled { "not served by this build" } else { "disabled" }
}

/// Connects and asks for the status, as an operator's program would.
fn ask(cx: &Context, target: &Target, timeout: u64) -> Probe {
    let deadline = Deadline::after(Duration::from_millis(timeout));
    let answer = cx.connect(target, deadline).and_then(|mut client| client.request("status", None, deadline));
    match answer {
        Ok(_) => Probe::Ok { url: target.url.clone() },
        Err(failure) => {
            // One error with the connection block, without the line that precedes it on a terminal.
            let mut error = failure.error("", target);
            error.message = failure.text();
            Probe::Failed { url: target.url.clone(), error: error.to_string() }
        }
    }
}

impl Facts {
    fn json(&self) -> Value {
        let mut config = json!({"path": self.config_path, "exists": self.exists, "valid": self.issues.is_empty()});
        if !self.issues.is_empty() {
            let issue = |(path, message): &(String, String)| json!({"path": path, "message": message});
            config["issues"] = self.issues.iter().map(issue).collect();
        }
        let mut gateway = Map::new();
        gateway.insert("bindMode".into(), self.bind.name().into());
        gateway.insert("bindHost".into(), self.bind_host.clone().into());
        if let Some(host) = &self.custom_host {
            gateway.insert("customBindHost".into(), host.clone().into());
        }
        gateway.insert("port".into(), self.port.into());
        gateway.insert("portSource".into(), "env/config".into());
        gateway.insert("probeUrl".into(), self.probe_url.clone().into());
        if let Some(note) = self.probe_note() {
            gateway.insert("probeNote".into(), note.into());
        }
        let (status, listeners) = match &self.port_use {
            PortUse::Free => ("free", Vec::new()),
            PortUse::Busy(listeners) => ("busy", listeners.iter().map(listener_json).collect()),
            PortUse::Unknown => ("unknown", Vec::new()),
        };
        let mut out = json!({
            "service": self.service.status_json(),
            "config": {"cli": config, "daemon": config},
            "gateway": gateway,
            "port": {"port": self.port, "status": status, "listeners": listeners, "hints": self.hints},
        });
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { url } => out["rpc"] = json!({"ok": true, "url": url}),
            Probe::Failed { url, error } => out["rpc"] = json!({"ok": false, "error": error, "url": url}),
        }
        out["extraServices"] = json!([]);
        out
    }

    fn probe_note(&self) -> Option<String> {
        match self.bind {
            Bind::Loopback => Some("Loopback-only gateway; only local clients can connect.".to_string()),
            Bind::Lan => Some(format!(
                "bind=lan listens on 0.0.0.0 (all interfaces); probing via {}.",
                authority(&self.probe_url).rsplit_once(':').map_or("127.0.0.1", |(host, _)| host)
            )),
            _ => None,
        }
    }

    fn page(&self, paint: Paint, suggest: &dyn Fn(&str) -> String) -> Page {
        let mut page = Page::default();
        let service = &self.service;
        page.out(format!("Service: {} ({})", service.label, paint.yellow(service.not_loaded_text)));
        page.out(format!("File logs: {}", self.log_file));
        page.out("");
        self.config_lines(&mut page, suggest);
        page.out("");
        page.out(format!(
            "Gateway: bind={} ({}), port={} (env/config)",
            self.bind.name(),
            plain(&self.bind_host),
            self.port
        ));
        page.out(format!("Probe target: {}", self.probe_url));
        page.out(format!("Dashboard: {}", self.dashboard));
        if let Some(note) = self.probe_note() {
            page.out(format!("Probe note: {note}"));
        }
        page.out("");
        page.out(format!("Runtime: {}", service.runtime()));
        if let Some(pid) = self.lock_pid {
            page.out(format!("Unmanaged gateway: pid {pid} holds the lock of this configuration"));
        }
        let answers = matches!(self.probe, Probe::Ok { .. });
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { .. } => page.out(format!("RPC probe: {}", paint.green("ok"))),
            Probe::Failed { url, error } => {
                page.err(format!("RPC probe: {}", paint.red("failed")));
                page.err(format!("RPC target: {url}"));
                error.lines().take(ERROR_LINES).for_each(|line| page.err(format!("  {}", plain(line))));
            }
        }
        // Whoever sees the gateway answer has no use for advice about service managers.
        if !answers {
            service.hints.iter().for_each(|hint| page.err(hint.clone()));
            self.report.iter().for_each(|line| page.err(line.clone()));
        }
        page.out("");
        if let PortUse::Busy(listeners) = &self.port_use {
            let addresses: Vec<String> = listeners.iter().map(|listener| listener.address.to_string()).collect();
            page.out(format!("Listening: {}", addresses.join(", ")));
        }
        page.out(format!("Troubles: run {}", suggest("openclaw status")));
        page.out("Troubleshooting: man openclaw-gateway");
        page
    }

    fn config_lines(&self, page: &mut Page, suggest: &dyn Fn(&str) -> String) {
        let mut state = String::new();
        if !self.exists {
            state.push_str(" (missing)");
        }
        if !self.issues.is_empty() {
            state.push_str(" (invalid)");
        }
        page.out(format!("Config (cli): {}{state}", self.config_path_short));
        for (path, message) in self.issues.iter().take(ISSUES_SHOWN) {
            let path = if path.is_empty() { "<root>" } else { path };
            page.err(format!("Config issue: {path}: {}", plain(message)));
        }
        if self.issues.len() > ISSUES_SHOWN {
            page.err(format!("{} more: {}", self.issues.len() - ISSUES_SHOWN, suggest("openclaw config validate")));
        }
        page.out(format!("Config (service): {}{state}", self.config_path_short));
    }
}

fn listener_json(listener: &Listener) -> Value {
    let mut out = Map::new();
    if let Some(pid) = listener.pid {
        out.insert("pid".into(), pid.into());
    }
    if let Some(command) = &listener.command {
        out.insert("command".into(), command.clone().into());
    }
    out.insert("address".into(), listener.address.to_string().into());
    if let Some(line) = &listener.command_line {
        out.insert("commandLine".into(), line.clone().into());
    }
    out.insert("user".into(), listener.user.clone().into());
    if let Some(parent) = listener.parent {
        out.insert("ppid".into(), parent.into());
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Stream;

    fn facts(probe: Probe) -> Facts {
        Facts {
            service: Service {
                label: "systemd",
                loaded_text: "enabled",
                not_loaded_text: "disabled",
                detail: "systemctl not available; systemd user services are required on Linux.",
                hints: vec!["systemd user services unavailable.".into()],
            },
            log_file: "/tmp/openclaw/openclaw-2026-11-20.log".into(),
            config_path: "/home/u/.openclaw/openclaw.json".into(),
            config_path_short: "~/.openclaw/openclaw.json".into(),
            exists: true,
            issues: Vec::new(),
            bind: Bind::Loopback,
            bind_host: "127.0.0.1".into(),
            custom_host: None,
            port: 21120,
            probe_url: "ws://127.0.0.1:21120".into(),
            dashboard: "not served by this build",
            port_use: PortUse::Busy(vec![Listener {
                pid: Some(12410),
                parent: Some(1),
                uid: 0,
                user: "root".into(),
                command: Some("openclaw-gatewa".into()),
                command_line: Some("openclaw-gateway".into()),
                address: "127.0.0.1:21120".parse().unwrap(),
            }]),
            hints: vec!["hint".into()],
            report: vec!["Port 21120 is already in use.".into()],
            lock_pid: None,
            probe,
        }
    }

    fn same(command: &str) -> String {
        command.to_string()
    }

    #[test]
    fn a_gateway_that_answers() {
        let facts = facts(Probe::Ok { url: "ws://127.0.0.1:21120".into() });
        let page = facts.page(Paint::NONE, &same);
        assert_eq!(
            page.text(Stream::Out),
            "Service: systemd (disabled)\n\
             File logs: /tmp/openclaw/openclaw-2026-11-20.log\n\n\
             Config (cli): ~/.openclaw/openclaw.json\n\
             Config (service): ~/.openclaw/openclaw.json\n\n\
             Gateway: bind=loopback (127.0.0.1), port=21120 (env/config)\n\
             Probe target: ws://127.0.0.1:21120\n\
             Dashboard: not served by this build\n\
             Probe note: Loopback-only gateway; only local clients can connect.\n\n\
             Runtime: unknown (systemctl not available; systemd user services are required on Linux.)\n\
             RPC probe: ok\n\n\
             Listening: 127.0.0.1:21120\n\
             Troubles: run openclaw status\n\
             Troubleshooting: man openclaw-gateway\n"
        );
        assert_eq!(page.text(Stream::Err), "");
        let json = facts.json();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["service", "config", "gateway", "port", "rpc", "extraServices"]);
        assert_eq!(
            json["port"]["listeners"][0],
            json!({"pid": 12410, "command": "openclaw-gatewa", "address": "127.0.0.1:21120",
                   "commandLine": "openclaw-gateway", "user": "root", "ppid": 1})
        );
        assert_eq!(
            json["config"]["cli"],
            json!({"path": "/home/u/.openclaw/openclaw.json", "exists": true, "valid": true})
        );
        assert_eq!(json["gateway"]["probeNote"], "Loopback-only gateway; only local clients can connect.");
    }

    #[test]
    fn bad_lines_go_to_standard_error() {
        let error = "gateway closed (1008): unauthorized\nGateway target: ws://127.0.0.1:21120".to_string();
        let mut facts = facts(Probe::Failed { url: "ws://127.0.0.1:21120".into(), error });
        facts.issues = (0..7).map(|i| (format!("gateway.k{i}"), "Unrecognized".to_string())).collect();
        facts.exists = false;
        let page = facts.page(Paint::NONE, &same);
        let bad = page.text(Stream::Err);
        assert!(bad.starts_with("Config issue: gateway.k0: Unrecognized\n"), "{bad}");
        assert!(bad.contains("2 more: openclaw config validate\n"), "{bad}");
        assert!(bad.contains("RPC probe: failed\nRPC target: ws://127.0.0.1:21120\n  gateway closed (1008)"), "{bad}");
        assert!(bad.ends_with("systemd user services unavailable.\nPort 21120 is already in use.\n"), "{bad}");
        let good = page.text(Stream::Out);
        assert!(good.contains("Config (cli): ~/.openclaw/openclaw.json (missing) (invalid)\n"), "{good}");
        assert!(!good.contains("RPC probe"), "{good}");
        assert_eq!(facts.json()["rpc"]["ok"], false);
        facts.probe = Probe::Skipped;
        assert!(facts.json().get("rpc").is_none());
    }

    #[test]
    fn small_words() {
        let mut config = Config::default();
        config.gateway.control_ui.enabled = false;
        assert_eq!(dashboard(&config), "disabled");
        assert_eq!(authority("ws://[::1]:5"), "[::1]:5");
    }
}
