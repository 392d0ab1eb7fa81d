//! `openclaw gateway status`: service, configuration, port, probe (cli 4.2).
//!
//! Good lines go to standard output, bad ones to standard error. Works with a broken configuration; that is when it
//! is needed. Facts are gathered first, the page is a pure function of them.

mod json;
mod page;

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Context;
use super::call::gateway_flags;
use super::client::Deadline;
use super::context::{TIMEOUT_MS, millis, port_flag};
use super::output::json_pretty;
use super::progress::Waiting;
use super::service::{self, Seen};
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
    cleanup_hints: Vec<String>,
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
    let asking = Waiting::new(cx.columns, args.json, "Asking the service manager and the gateway");
    let facts = gather(cx, group, args, timeout)?;
    drop(asking);
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
        cleanup_hints: others.iter().flat_map(|other| other.cleanup(&short)).collect(),
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
}

impl ConfigSeen {
    fn state(&self) -> String {
        let missing = if self.exists { "" } else { " (missing)" };
        format!("{missing}{}", if self.issues.is_empty() { "" } else { " (invalid)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_words() {
        let mut config = Config::default();
        config.gateway.control_ui.enabled = false;
        assert_eq!(dashboard(&config), "disabled");
        assert_eq!(authority("ws://[::1]:5"), "[::1]:5");
    }
}
