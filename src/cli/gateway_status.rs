//! `openclaw gateway status`: service, configuration, port, probe (cli 4.2).
//!
//! Good lines go to standard output, bad ones to standard error. Works with a broken configuration; that is when it
//! is needed. Facts are gathered first, the page is a pure function of them.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Context;
use super::call::gateway_flags;
use super::client::Deadline;
use super::context::{TIMEOUT_MS, millis, port_flag};
use super::output::{Page, Paint, json_pretty, plain};
use super::service::{self, NO_SYSTEMD, Seen};
use super::target::{SOURCE_FLAG, Target};
use super::tree::{Gateway, GatewayStatus};
use crate::config::load::{self, Loaded};
use crate::config::{Bind, Config, Paths};
use crate::error::{Error, Result};
use crate::out;
use crate::server::{lock, port_report};
use crate::service::scan::{self, Other, Process};
use crate::store::source::FsSource;
use crate::sys::sockets::{self, Listener, PortUse};

const ISSUES_SHOWN: usize = 5;
const ERROR_LINES: usize = 12;
/// So much of the log is looked through for the last error.
const LOG_END: u64 = 64 * 1024;

/// Everything that the page shows.
struct Facts {
    service: Seen,
    log_file: String,
    service_file: String,
    /// The configuration of this command, and of the service where it says so.
    config: ConfigSeen,
    service_config: ConfigSeen,
    bind: Bind,
    bind_host: String,
    custom_host: Option<String>,
    port: u16,
    /// The port stands in the command line of the service.
    port_of_service: bool,
    /// The port of this command's configuration, where it is another one.
    port_cli: Option<(u16, PortUse)>,
    probe_url: String,
    dashboard: &'static str,
    port_use: PortUse,
    hints: Vec<String>,
    report: Vec<String>,
    /// Pid of the gateway that holds the lock of this configuration.
    lock_pid: Option<u32>,
    probe: Probe,
    /// Last error of the log, when the service should answer and does not.
    last_error: Option<String>,
    others: Vec<Other>,
    other_lines: Vec<String>,
    /// With --deep: gateways among the processes that nothing above has named.
    processes: Vec<Process>,
}

struct ConfigSeen {
    path: String,
    short: String,
    exists: bool,
    issues: Vec<(String, String)>,
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
    let service = service::look(cx);
    let of_service = service_paths(cx, &service);
    let service_loaded = of_service.as_ref().map(|paths| load::load(paths, &FsSource));
    let loaded = service_loaded.as_ref().unwrap_or(cx.loaded());
    let gateway = &loaded.config.gateway;
    let flag = port_flag(group.port.as_deref())?;
    let command = service.command.as_ref();
    let argument = command.and_then(|command| command.port_argument());
    let port_of_service = flag.is_none() && argument.is_some();
    let port = flag.or_else(|| command?.port()).unwrap_or_else(|| cx.port(None));
    let port_cli = Some(cx.port(None)).filter(|own| port_of_service && *own != port);
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
        _ => format!("{}://127.0.0.1:{port}", if gateway.tls.enabled { "wss" } else { "ws" }),
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
    let others = scan::others(&service::find(cx, port), args.deep);
    let lock_pid = lock_owner(&cx.paths.config_path);
    let silent = !matches!(probe, Probe::Ok { .. }) && service.loaded && listeners.is_empty();
    let known: Vec<u32> =
        listeners.iter().filter_map(|one| one.pid).chain(service.runtime.pid).chain(lock_pid).collect();
    let mut processes = if args.deep { scan::processes() } else { Vec::new() };
    processes.retain(|process| !known.contains(&process.pid));
    let short = |path: &Path| if args.json { path.display().to_string() } else { cx.short(path) };
    Ok(Facts {
        last_error: super::logs::local_file(cx).filter(|_| silent).and_then(|path| last_error(&path)),
        other_lines: others.iter().map(|other| other.line(&short)).collect(),
        others,
        processes,
        service_file: service.command.as_ref().map_or(String::new(), |command| cx.short(&command.source)),
        port_of_service,
        port_cli: port_cli.map(|own| (own, sockets::port_use(own))),
        service,
        log_file: super::logs::local_file(cx).map_or("none".to_string(), |path| cx.short(&path)),
        config: seen_config(cx, &cx.paths.config_path, cx.loaded()),
        service_config: seen_config(cx, of_service.as_ref().map_or(&cx.paths.config_path, |p| &p.config_path), loaded),
        bind,
        bind_host,
        custom_host,
        port,
        probe_url,
        dashboard: dashboard(&loaded.config),
        hints: if busy { port_report::hints(listeners, wording) } else { Vec::new() },
        report: if busy { port_report::port_report(port, listeners, wording) } else { Vec::new() },
        lock_pid,
        port_use,
        probe,
    })
}

fn seen_config(cx: &Context, path: &Path, loaded: &Loaded) -> ConfigSeen {
    ConfigSeen {
        path: path.display().to_string(),
        short: cx.short(path),
        exists: loaded.exists,
        issues: loaded.issues.iter().map(|issue| (issue.path.clone(), issue.message.clone())).collect(),
    }
}

/// Where the service looks for its configuration, if not where this command does.
fn service_paths(cx: &Context, service: &Seen) -> Option<Paths> {
    let command = service.command.as_ref()?;
    let home = command.var("HOME").map_or(cx.paths.home.clone(), Into::into);
    let state_dir = command.var("OPENCLAW_STATE_DIR").map_or(home.join(".openclaw"), Into::into);
    let own = command.var("OPENCLAW_CONFIG_PATH").map(Into::into);
    // Names of older versions are found by both in the same way.
    let config_path = own.unwrap_or_else(|| match state_dir == cx.paths.state_dir {
        true => cx.paths.config_path.clone(),
        false => state_dir.join("openclaw.json"),
    });
    // A unit without a word about it may belong to a system user: then there is nothing to compare.
    let says = ["HOME", "OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH"].iter().any(|name| command.var(name).is_some());
    (says && config_path != cx.paths.config_path).then(|| Paths { state_dir, config_path, ..cx.paths.clone() })
}

/// What the end of the log gives as the reason: one of the known refusals, else the last error.
fn last_error(path: &Path) -> Option<String> {
    const KNOWN: [&str; 4] =
        ["refusing to bind gateway", "gateway auth mode", "gateway start blocked", "failed to bind gateway socket"];
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_END))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_END).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let entries: Vec<(u64, String)> = text.lines().rev().filter_map(entry).collect();
    let known = |text: &str| {
        let lower = text.to_ascii_lowercase();
        KNOWN.iter().any(|known| lower.contains(known)) || lower.contains("tailscale") && lower.contains(" requires")
    };
    let wanted = entries.iter().find(|(_, text)| known(text));
    let wanted = wanted.or_else(|| entries.iter().find(|(level, _)| *level >= 5));
    wanted.and_then(|(_, text)| text.lines().next().map(str::to_owned))
}

/// Level and message of a line of the log.
fn entry(line: &str) -> Option<(u64, String)> {
    let tree: Value = serde_json::from_str(line).ok()?;
    let text = ["2", "1", "0"].iter().find_map(|key| tree[*key].as_str()).filter(|text| !text.trim().is_empty())?;
    Some((tree["_meta"]["logLevelId"].as_u64().unwrap_or(0), text.to_owned()))
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
        let mut gateway = Map::new();
        gateway.insert("bindMode".into(), self.bind.name().into());
        gateway.insert("bindHost".into(), self.bind_host.clone().into());
        if let Some(host) = &self.custom_host {
            gateway.insert("customBindHost".into(), host.clone().into());
        }
        gateway.insert("port".into(), self.port.into());
        gateway.insert("portSource".into(), self.port_source().into());
        gateway.insert("probeUrl".into(), self.probe_url.clone().into());
        if let Some(note) = self.probe_note() {
            gateway.insert("probeNote".into(), note.into());
        }
        let mut config = json!({"cli": self.config.json(), "daemon": self.service_config.json()});
        if self.mismatch() {
            config["mismatch"] = true.into();
        }
        let mut out = json!({
            "service": self.service.status_json(),
            "config": config,
            "gateway": gateway,
            "port": port_json(self.port, &self.port_use, &self.hints),
        });
        if let Some((port, port_use)) = &self.port_cli {
            out["portCli"] = port_json(*port, port_use, &[]);
        }
        if let Some(error) = &self.last_error {
            out["lastError"] = error.clone().into();
        }
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { url } => out["rpc"] = json!({"ok": true, "url": url}),
            Probe::Failed { url, error } => out["rpc"] = json!({"ok": false, "error": error, "url": url}),
        }
        out["extraServices"] = self.others.iter().map(Other::json).collect();
        if !self.processes.is_empty() {
            let process = |one: &Process| json!({"pid": one.pid, "user": one.user, "commandLine": one.command_line});
            out["extraProcesses"] = self.processes.iter().map(process).collect();
        }
        out
    }

    fn port_source(&self) -> &'static str {
        if self.port_of_service { "service args" } else { "env/config" }
    }

    fn mismatch(&self) -> bool {
        self.config.path != self.service_config.path
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
        self.service_lines(&mut page, paint, suggest);
        page.out("");
        self.config_lines(&mut page, suggest);
        page.out("");
        page.out(format!(
            "Gateway: bind={} ({}), port={} ({})",
            self.bind.name(),
            plain(&self.bind_host),
            self.port,
            self.port_source()
        ));
        page.out(format!("Probe target: {}", self.probe_url));
        page.out(format!("Dashboard: {}", self.dashboard));
        if let Some(note) = self.probe_note() {
            page.out(format!("Probe note: {note}"));
        }
        page.out("");
        self.runtime_lines(&mut page, paint, suggest);
        page.out("");
        if let PortUse::Busy(listeners) = &self.port_use {
            let addresses: Vec<String> = listeners.iter().map(|listener| listener.address.to_string()).collect();
            page.out(format!("Listening: {}", addresses.join(", ")));
        }
        self.other_gateways(&mut page);
        page.out(format!("Troubles: run {}", suggest("openclaw status")));
        page.out("Troubleshooting: man openclaw-gateway");
        page
    }

    fn service_lines(&self, page: &mut Page, paint: Paint, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        let state = service.state_text();
        let state = if service.loaded { paint.green(state) } else { paint.yellow(state) };
        page.out(format!("Service: {} ({state})", service.manager.label()));
        page.out(format!("File logs: {}", self.log_file));
        if let Some(command) = &service.command {
            page.out(format!("Command: {}", plain(&command.arguments.join(" "))));
            page.out(format!("Service file: {}", self.service_file));
            if let Some(dir) = &command.working_dir {
                page.out(format!("Working dir: {}", plain(dir)));
            }
            let env: Vec<String> =
                service.shown_env().iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            if !env.is_empty() {
                page.out(format!("Service env: {}", env.join(" ")));
            }
        }
        if !service.issues.is_empty() {
            page.err("Service config looks out of date or non-standard.");
            service.issues.iter().for_each(|issue| page.err(format!("Service config issue: {}", plain(&issue.line()))));
            let (doctor, repair) = (suggest("openclaw doctor"), suggest("openclaw doctor --repair"));
            page.err(format!("Recommendation: run \"{doctor}\" (or \"{repair}\")."));
        }
    }

    fn runtime_lines(&self, page: &mut Page, paint: Paint, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        page.out(format!("Runtime: {}", plain(&service.runtime.line())));
        let managed = service.runtime.pid.is_some() && service.runtime.pid == self.lock_pid;
        if let Some(pid) = self.lock_pid.filter(|_| !managed) {
            page.out(format!("Unmanaged gateway: pid {pid} holds the lock of this configuration"));
        }
        let (answers, running) = (matches!(self.probe, Probe::Ok { .. }), service.runtime.status == "running");
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { .. } => page.out(format!("RPC probe: {}", paint.green("ok"))),
            Probe::Failed { url, error } => {
                if running {
                    page.out("Warm-up: launch agents can take a few seconds. Try again shortly.");
                }
                page.err(format!("RPC probe: {}", paint.red("failed")));
                page.err(format!("RPC target: {url}"));
                error.lines().take(ERROR_LINES).for_each(|line| page.err(format!("  {}", plain(line))));
            }
        }
        // Whoever sees the gateway answer has no use for advice about service managers.
        if !answers {
            self.service_troubles(page, running, suggest);
            self.report.iter().for_each(|line| page.err(line.clone()));
        }
        if let Some((port, port_use)) = &self.port_cli {
            let state = match port_use {
                PortUse::Free => "free",
                PortUse::Busy(_) => "busy",
                PortUse::Unknown => "unknown",
            };
            page.out(format!("Note: CLI config resolves gateway port={port} ({state})."));
        }
    }

    fn service_troubles(&self, page: &mut Page, running: bool, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        if service.unavailable {
            page.err("systemd user services unavailable.");
            NO_SYSTEMD.iter().for_each(|line| page.err(*line));
        } else if service.runtime.missing {
            page.err("Service unit not found.");
            page.err(format!("Service not installed. Run: {}", suggest("openclaw gateway install")));
        } else if service.loaded && !running {
            page.err("Service is loaded but not running (likely exited immediately).");
            page.err(format!("File logs: {}", self.log_file));
        } else if running && !matches!(self.port_use, PortUse::Busy(_)) {
            page.err(format!("Gateway port {} is not listening (service appears running).", self.port));
        } else {
            return;
        }
        if let Some(error) = &self.last_error {
            page.err(format!("Last gateway error: {}", plain(error)));
        }
        if service.command.is_some() && !service.unavailable {
            page.err(format!("Logs: {}", service.log_hint));
        }
    }

    fn other_gateways(&self, page: &mut Page) {
        if !self.others.is_empty() {
            page.err("Other gateway-like services detected (best effort):");
            self.other_lines.iter().for_each(|line| page.err(format!("- {}", plain(line))));
            self.service.cleanup_hints.iter().for_each(|hint| page.err(format!("Cleanup hint: {hint}")));
        }
        if !self.processes.is_empty() {
            page.err("Other gateway processes detected (best effort):");
            for process in &self.processes {
                page.err(format!("- pid {} {}: {}", process.pid, process.user, plain(&process.command_line)));
            }
        }
        if !self.others.is_empty() || !self.processes.is_empty() {
            page.err(
                "Recommendation: run a single gateway per machine for most setups. One gateway supports multiple \
                 agents (see docs: /gateway#multiple-gateways-same-host).",
            );
            page.err(
                "If you need multiple gateways (e.g., a rescue bot on the same host), isolate ports + config/state \
                 (see docs: /gateway#multiple-gateways-same-host).",
            );
        }
    }

    fn config_lines(&self, page: &mut Page, suggest: &dyn Fn(&str) -> String) {
        let own = &self.config;
        page.out(format!("Config (cli): {}{}", own.short, own.state()));
        for (path, message) in own.issues.iter().take(ISSUES_SHOWN) {
            let path = if path.is_empty() { "<root>" } else { path };
            page.err(format!("Config issue: {path}: {}", plain(message)));
        }
        if own.issues.len() > ISSUES_SHOWN {
            page.err(format!("{} more: {}", own.issues.len() - ISSUES_SHOWN, suggest("openclaw config validate")));
        }
        page.out(format!("Config (service): {}{}", self.service_config.short, self.service_config.state()));
        if self.mismatch() {
            page.err(
                "Root cause: CLI and service are using different config paths (likely a profile/state-dir mismatch).",
            );
            let again = suggest("openclaw gateway install --force");
            page.err(format!("Fix: rerun `{again}` from the same --profile / OPENCLAW_STATE_DIR you expect."));
        }
    }
}

impl ConfigSeen {
    fn state(&self) -> String {
        let missing = if self.exists { "" } else { " (missing)" };
        format!("{missing}{}", if self.issues.is_empty() { "" } else { " (invalid)" })
    }

    fn json(&self) -> Value {
        let mut out = json!({"path": self.path, "exists": self.exists, "valid": self.issues.is_empty()});
        if !self.issues.is_empty() {
            let issue = |(path, message): &(String, String)| json!({"path": path, "message": message});
            out["issues"] = self.issues.iter().map(issue).collect();
        }
        out
    }
}

fn port_json(port: u16, port_use: &PortUse, hints: &[String]) -> Value {
    let (status, listeners) = match port_use {
        PortUse::Free => ("free", Vec::new()),
        PortUse::Busy(listeners) => ("busy", listeners.iter().map(listener_json).collect()),
        PortUse::Unknown => ("unknown", Vec::new()),
    };
    json!({"port": port, "status": status, "listeners": listeners, "hints": hints})
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

    fn config() -> ConfigSeen {
        ConfigSeen {
            path: "/home/u/.openclaw/openclaw.json".into(),
            short: "~/.openclaw/openclaw.json".into(),
            exists: true,
            issues: Vec::new(),
        }
    }

    fn facts(probe: Probe) -> Facts {
        Facts {
            service: service::not_there(),
            log_file: "/tmp/openclaw/openclaw-2026-11-20.log".into(),
            service_file: String::new(),
            config: config(),
            service_config: config(),
            bind: Bind::Loopback,
            bind_host: "127.0.0.1".into(),
            custom_host: None,
            port: 21120,
            port_of_service: false,
            port_cli: None,
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
            last_error: None,
            others: Vec::new(),
            other_lines: Vec::new(),
            processes: Vec::new(),
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
        facts.config.issues = (0..7).map(|i| (format!("gateway.k{i}"), "Unrecognized".to_string())).collect();
        facts.config.exists = false;
        let page = facts.page(Paint::NONE, &same);
        let bad = page.text(Stream::Err);
        assert!(bad.starts_with("Config issue: gateway.k0: Unrecognized\n"), "{bad}");
        assert!(bad.contains("2 more: openclaw config validate\n"), "{bad}");
        assert!(bad.contains("RPC probe: failed\nRPC target: ws://127.0.0.1:21120\n  gateway closed (1008)"), "{bad}");
        assert!(bad.ends_with("foreground instead of `openclaw gateway`.\nPort 21120 is already in use.\n"), "{bad}");
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
