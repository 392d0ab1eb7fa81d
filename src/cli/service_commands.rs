//! `openclaw gateway install|uninstall|start`, and what `stop` and `restart` do with an installed service (cli 5.6).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Context;
use super::client::{Deadline, Failure as NoAnswer};
use super::context::{env, port_flag};
use super::output::{Page, json_pretty};
use super::progress::Waiting;
use super::service::{self, NO_SYSTEMD};
use super::target::Flags;
use super::tree::{Gateway, GatewayInstall};
use super::{setup, stop};
use crate::config::{Loaded, get_path};
use crate::error::{Error, Result};
use crate::out;
use crate::server::port_report;
use crate::service::{Action, Failure, Manager, Service};
use crate::store::config_file::Edit;
use crate::sys::{process, sockets};

/// From the restart of a service to the gateway that answers: 120 looks.
const HEALTHY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(500);
/// One attempt to reach it.
const ANSWER: Duration = Duration::from_secs(2);

/// What came of an action; texts and JSON forms are those of cli 5.6.
#[derive(Debug, Default)]
pub struct Outcome {
    pub action: &'static str,
    pub result: &'static str,
    /// In both forms.
    pub message: Option<String>,
    /// Only for people.
    pub lines: Vec<String>,
    pub hints: Vec<String>,
    pub warnings: Vec<String>,
    pub loaded: bool,
}

pub fn install(cx: &Context, group: &Gateway, args: &GatewayInstall) -> Result<u8> {
    let mut warnings = Vec::new();
    let outcome = try_install(cx, group, args, &mut warnings);
    let manager = manager(cx);
    match outcome {
        Ok(mut outcome) => {
            outcome.warnings = warnings;
            finish("install", args.json, manager, Ok(outcome))
        }
        Err(mut error) => {
            if args.json {
                let title = title("install", &error);
                let mut out = json!({"action": "install", "ok": false, "error": title});
                if !warnings.is_empty() {
                    out["warnings"] = json!(warnings);
                }
                out!("{}", json_pretty(&out));
                return Ok(1);
            }
            warnings.iter().for_each(|line| out!("{line}"));
            error.message = title("install", &error);
            Err(error)
        }
    }
}

fn try_install(cx: &Context, group: &Gateway, args: &GatewayInstall, warnings: &mut Vec<String>) -> Result<Outcome> {
    refuse_nix("install")?;
    let port = port_flag(args.port.as_deref().or(group.port.as_deref()))?;
    if args.runtime.as_deref().is_some_and(|runtime| !["node", "bun", "native"].contains(&runtime)) {
        return Err(Error::new("Invalid --runtime (use \"node\" or \"bun\")"));
    }
    check_config(cx)?;
    let service = service::exactly(cx, cx.port(port), args.system);
    if args.system && !service.manager.is_systemd() {
        return Err(Error::new(format!("--system is for systemd; this machine has {}", service.manager.label()))
            .hint("Run it again without --system."));
    }
    if needs_root(service.manager) && !is_root() {
        return Err(Error::new("this service belongs to the system and needs root").hint(format!(
            "Run: sudo env HOME={} {} gateway install{}",
            cx.paths.home.display(),
            service.spec.program,
            if args.system { " --system" } else { "" }
        )));
    }
    if !(args.force || group.force) && service.is_loaded() {
        let message = format!("Gateway service already {}.", service.manager.loaded_text());
        let again = cx.suggest("openclaw gateway install --force");
        return Ok(Outcome {
            action: "install",
            result: "already-installed",
            message: Some(message),
            lines: vec![format!("Reinstall with: {again}")],
            loaded: true,
            ..Outcome::default()
        });
    }
    save_token(cx, args.token.as_deref().or(group.token.as_deref()), warnings)?;
    service.reach().map_err(Error::new)?;
    let installing = Waiting::new(cx.columns, args.json, at_work("Installing", &service));
    let lines = write_service(cx, &service)?;
    drop(installing);
    Ok(Outcome { action: "install", result: "installed", lines, loaded: service.is_loaded(), ..Outcome::default() })
}

/// Writes and starts it; what people are told. Also the repair of `doctor`.
pub fn write_service(cx: &Context, service: &Service) -> Result<Vec<String>> {
    let done = service.act(Action::Install).map_err(|failure| failed(&failure))?;
    let mut lines = vec![String::new()];
    lines.push(format!("Installed {}: {}", service.noun(), cx.short(&service.file())));
    if service.is_login_item() {
        lines.push("The Task Scheduler refused the task: the gateway starts from the Startup folder at log-on.".into());
    }
    lines.extend(done.backups.iter().map(|path| format!("Previous unit backed up to: {}", cx.short(path))));
    Ok(lines)
}

/// The service sees nothing of this terminal: what it needs must stand in the configuration.
fn save_token(cx: &Context, given: Option<&str>, warnings: &mut Vec<String>) -> Result<()> {
    let loaded = cx.loaded();
    let from_env = || cx.var("OPENCLAW_GATEWAY_TOKEN").or_else(|| cx.var("CLAWDBOT_GATEWAY_TOKEN"));
    let token = given.map(str::to_owned).or_else(from_env).map(|token| token.trim().to_owned());
    let mut edits = Vec::new();
    match token.filter(|token| !token.is_empty()) {
        Some(token) if has_no_token(loaded) => {
            edits.push(Edit::set("gateway.auth.token", token));
            warnings
                .push("Saved the gateway token to config: a service does not see this terminal's environment.".into());
        }
        Some(token)
            if given.is_some() && loaded.config.gateway.auth.token.as_ref().is_some_and(|own| !own.matches(&token)) =>
        {
            warnings.push("The token in the configuration counts; --token was ignored.".into());
        }
        None if setup::misses_token(loaded) => {
            edits.extend(setup::token_edits(loaded));
            warnings.push("No gateway token found. Auto-generated one and saving to config.".into());
        }
        _ => {}
    }
    if loaded.config.gateway.mode.is_none() {
        if loaded.exists {
            let set = cx.suggest("openclaw config set gateway.mode local");
            warnings.push(format!("gateway.mode is not set, and the service will not start without it. Run: {set}"));
        } else {
            edits.push(Edit::set("gateway.mode", "local"));
        }
    }
    if edits.is_empty() { Ok(()) } else { setup::write(cx, &edits) }
}

/// Neither a text nor a reference stands there.
fn has_no_token(loaded: &Loaded) -> bool {
    let written = get_path::lookup(&loaded.resolved, "gateway.auth.token");
    written.is_none_or(|value| value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()))
}

pub fn start(cx: &Context, json: bool) -> Result<u8> {
    let service = service::find(cx, cx.port(None));
    let outcome = try_start(cx, &service, json);
    finish("start", json, service.manager, outcome)
}

fn try_start(cx: &Context, service: &Service, json: bool) -> Result<Outcome> {
    check_config(cx)?;
    if !service.is_loaded() {
        return Ok(not_loaded("start", cx, service));
    }
    let _starting = Waiting::new(cx.columns, json, at_work("Starting", service));
    service.reach().map_err(Error::new)?;
    service.act(Action::Restart).map_err(|failure| failed(&failure))?;
    let lines = vec![format!("Restarted {}: {}", service.noun(), service.name())];
    Ok(Outcome { action: "start", result: "started", lines, loaded: service.is_loaded(), ..Outcome::default() })
}

/// `stop` of an installed service.
pub fn stop_service(cx: &Context, service: &Service, json: bool) -> Result<Outcome> {
    let _stopping = Waiting::new(cx.columns, json, at_work("Stopping", service));
    service.reach().map_err(Error::new)?;
    service.act(Action::Stop).map_err(|failure| failed(&failure))?;
    let lines = vec![format!("Stopped {}: {}", service.noun(), service.name())];
    Ok(Outcome { action: "stop", result: "stopped", lines, loaded: service.is_loaded(), ..Outcome::default() })
}

/// `restart` of an installed service: done when the new gateway answers.
pub fn restart_service(cx: &Context, group: &Gateway, service: &Service, json: bool) -> Result<Outcome> {
    let mut warnings = Vec::new();
    if token_drifts(cx, service) {
        warnings.push(
            "Config token differs from service token. The daemon will use the old token after restart.".to_owned(),
        );
        let sync = cx.suggest("openclaw gateway install --force");
        if !json {
            out!("⚠️  {}", warnings[0]);
            out!("Run `{sync}` to sync the token.");
        }
    }
    let waiting = Waiting::new(cx.columns, json, at_work("Restarting", service));
    service.reach().map_err(Error::new)?;
    service.act(Action::Restart).map_err(|failure| failed(&failure))?;
    let restarted = format!("Restarted {}: {}", service.noun(), service.name());
    if !json {
        waiting.aside(|| out!("{restarted}"));
    }
    wait_until_healthy(cx, group, service, json, &waiting, &mut warnings)?;
    drop(waiting);
    // People have read the warnings where they happened.
    let warnings = if json { warnings } else { Vec::new() };
    Ok(Outcome { action: "restart", result: "restarted", warnings, loaded: service.is_loaded(), ..Outcome::default() })
}

/// An old unit may carry a token that is not the configuration's any more.
fn token_drifts(cx: &Context, service: &Service) -> bool {
    let command = service.command();
    let embedded = command.as_ref().and_then(|command| command.var("OPENCLAW_GATEWAY_TOKEN"));
    let wanted = cx.loaded().config.gateway.auth.token.as_ref();
    embedded
        .zip(wanted)
        .is_some_and(|(embedded, wanted)| !embedded.trim().is_empty() && !wanted.matches(embedded.trim()))
}

fn wait_until_healthy(
    cx: &Context,
    group: &Gateway,
    service: &Service,
    json: bool,
    waiting: &Waiting,
    warnings: &mut Vec<String>,
) -> Result<()> {
    let flag = port_flag(group.port.as_deref())?;
    let port = flag.or_else(|| service.command()?.port()).unwrap_or_else(|| cx.port(None));
    waiting.now(|| format!("Waiting for the gateway on port {port}"));
    let deadline = Instant::now() + HEALTHY;
    let mut stranger = None;
    let mut said = false;
    loop {
        let owner = stop::running(cx).map(|owner| owner.pid);
        let runtime = service.runtime();
        let listeners = sockets::listeners(port);
        let owns = runtime.pid.is_some_and(|pid| listeners.iter().any(|listener| listener.pid == Some(pid)));
        if runtime.status == "running" && (owns || answers(cx, group, port)) {
            return Ok(());
        }
        // A gateway of this configuration that the service does not know keeps the lock from it.
        let stale = owner.filter(|pid| service.manager.is_systemd() && runtime.pid != Some(*pid));
        if let Some(pid) = stale.filter(|pid| stranger == Some(*pid) && !said) {
            said = true;
            let lines = [
                format!("Found stale gateway process(es): {pid}."),
                "Stopping stale process(es) and retrying restart...".to_owned(),
            ];
            if !json {
                waiting.aside(|| lines.iter().for_each(|line| out!("{line}")));
            }
            warnings.extend(lines);
            stop::end_owner(cx)?;
            service.act(Action::Restart).map_err(|failure| failed(&failure))?;
        }
        stranger = stale;
        if Instant::now() >= deadline {
            return Err(not_healthy(cx, service, port, json, waiting));
        }
        std::thread::sleep(LOOK);
    }
}

/// It lets us in, or says that it does not.
fn answers(cx: &Context, group: &Gateway, port: u16) -> bool {
    let flags = Flags { url: None, token: group.token.as_deref(), password: group.password.as_deref() };
    let Ok(target) = cx.local_target(flags, Some(port)) else { return false };
    match cx.connect(&target, Deadline::after(ANSWER)) {
        Ok(_) => true,
        Err(NoAnswer::Closed { code, .. }) => code == 1008,
        Err(_) => false,
    }
}

fn not_healthy(cx: &Context, service: &Service, port: u16, json: bool, waiting: &Waiting) -> Error {
    let mut lines = vec![
        format!("Timed out after {}s waiting for gateway port {port} to become healthy.", HEALTHY.as_secs()),
        format!("Service runtime: {}", service.runtime().line()),
    ];
    let listeners = sockets::listeners(port);
    if listeners.is_empty() {
        lines.push(format!("Gateway port {port} status: free."));
    } else {
        lines.extend(port_report::port_report(port, &listeners, port_report::Wording::of(&cx.paths)));
    }
    if !json {
        waiting.aside(|| lines.iter().for_each(|line| out!("{line}")));
    }
    Error::new(format!("Gateway restart timed out after {}s waiting for health checks.", HEALTHY.as_secs()))
        .hint(cx.suggest("openclaw gateway status --deep"))
        .hint(cx.suggest("openclaw doctor"))
}

pub fn uninstall(cx: &Context, json: bool) -> Result<u8> {
    let service = service::find(cx, cx.port(None));
    let outcome = try_uninstall(cx, &service, json);
    finish("uninstall", json, service.manager, outcome)
}

fn try_uninstall(cx: &Context, service: &Service, json: bool) -> Result<Outcome> {
    refuse_nix("uninstall")?;
    let mut lines = Vec::new();
    if service.is_loaded() {
        // One that does not stop is disabled and removed all the same.
        lines.extend(stop_service(cx, service, json).map(|stopped| stopped.lines).unwrap_or_default());
    }
    let _removing = Waiting::new(cx.columns, json, at_work("Removing", service));
    service.reach().map_err(Error::new)?;
    let (file, packaged, noun) = (service.file(), service.is_packaged(), service.noun());
    let shown = cx.short(&file);
    let done = service.act(Action::Uninstall).map_err(|failure| failed(&failure))?;
    lines.push(match () {
        () if packaged => format!("Disabled {noun}: {shown} (it belongs to a package and stays)"),
        () if done.removed.is_empty() => format!("{}{} not found at {shown}", noun[..1].to_uppercase(), &noun[1..]),
        () => format!("Removed {noun}: {shown}"),
    });
    Ok(Outcome { action: "uninstall", result: "uninstalled", lines, loaded: false, ..Outcome::default() })
}

/// `Gateway service disabled.` and how to change that; no failure.
pub fn not_loaded(action: &'static str, cx: &Context, service: &Service) -> Outcome {
    let mut hints = vec![cx.suggest("openclaw gateway install"), cx.suggest("openclaw gateway")];
    hints.push(service.start_hint());
    if service.manager.is_systemd() && service.reach().is_err() {
        hints.extend(NO_SYSTEMD.map(str::to_owned));
    }
    Outcome {
        action,
        result: "not-loaded",
        message: Some(format!("Gateway service {}.", service.manager.not_loaded_text())),
        hints,
        ..Outcome::default()
    }
}

/// A start with a broken configuration fails, and a supervisor does not try again.
pub fn check_config(cx: &Context) -> Result<()> {
    let loaded = cx.loaded();
    if loaded.valid() {
        return Ok(());
    }
    let mut error = Error::new("Gateway aborted: config is invalid.");
    error.hints.extend(loaded.issues.iter().map(crate::config::Issue::line));
    let doctor = cx.suggest("openclaw doctor");
    Err(error.hint(format!("Fix the config and retry, or run \"{doctor}\" to repair.")))
}

fn refuse_nix(action: &str) -> Result<()> {
    match env("OPENCLAW_NIX_MODE").as_deref() {
        Some("1") => Err(Error::new(format!("Nix mode detected; service {action} is disabled."))),
        _ => Ok(()),
    }
}

fn needs_root(manager: Manager) -> bool {
    matches!(manager, Manager::SystemdSystem | Manager::Procd | Manager::OpenRc)
}

fn is_root() -> bool {
    // Where a test plays another system its files are the test's own.
    process::uid().is_none_or(|uid| uid == 0) || cfg!(debug_assertions) && env("OPENCLAW_TEST_SERVICE").is_some()
}

fn failed(failure: &Failure) -> Error {
    let error = Error::new(failure.detail());
    match failure {
        Failure::File(_) => error.hint("Check owner, mode and free space of its directory."),
        _ => error,
    }
}

fn manager(cx: &Context) -> Manager {
    service::find(cx, 1).manager
}

/// What is waited for: `Stopping systemd service: openclaw-gateway.service`
fn at_work(doing: &str, service: &Service) -> String {
    format!("{doing} {}: {}", service.noun(), service.name())
}

/// With the words before it that scripts look for.
fn title(action: &str, error: &Error) -> String {
    let plain = ["Gateway ", "Invalid ", "Nix mode "].iter().any(|lead| error.message.starts_with(lead));
    if plain { error.message.clone() } else { format!("Gateway {action} failed: Error: {}", error.message) }
}

/// Prints what came of an action; the exit code.
pub fn finish(action: &'static str, json: bool, manager: Manager, outcome: Result<Outcome>) -> Result<u8> {
    match outcome {
        Ok(outcome) if json => out!("{}", json_pretty(&document(&outcome, manager))),
        Ok(outcome) => page(&outcome).print(),
        Err(error) if json => {
            let mut out = json!({"action": action, "ok": false, "error": title(action, &error)});
            if !error.hints.is_empty() {
                out["hints"] = json!(error.hints);
            }
            out!("{}", json_pretty(&out));
            return Ok(1);
        }
        Err(mut error) => {
            error.message = title(action, &error);
            return Err(error);
        }
    }
    Ok(0)
}

fn document(outcome: &Outcome, manager: Manager) -> Value {
    let mut out = json!({"action": outcome.action, "ok": true, "result": outcome.result});
    if let Some(message) = &outcome.message {
        out["message"] = message.clone().into();
    }
    if !outcome.hints.is_empty() {
        out["hints"] = json!(outcome.hints);
    }
    out["service"] = json!({
        "label": manager.label(),
        "loaded": outcome.loaded,
        "loadedText": manager.loaded_text(),
        "notLoadedText": manager.not_loaded_text(),
    });
    if !outcome.warnings.is_empty() {
        out["warnings"] = json!(outcome.warnings);
    }
    out
}

fn page(outcome: &Outcome) -> Page {
    let mut page = Page::default();
    outcome.warnings.iter().chain(&outcome.message).chain(&outcome.lines).for_each(|line| page.out(line.clone()));
    let lead = if matches!(outcome.action, "restart" | "start") { "Start with: " } else { "" };
    outcome.hints.iter().for_each(|hint| page.out(format!("{lead}{hint}")));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Stream;

    #[test]
    fn results_have_the_known_shape() {
        let outcome = Outcome {
            action: "restart",
            result: "not-loaded",
            message: Some("Gateway service disabled.".into()),
            hints: vec!["openclaw gateway".into()],
            ..Outcome::default()
        };
        assert_eq!(
            document(&outcome, Manager::SystemdUser),
            json!({"action": "restart", "ok": true, "result": "not-loaded", "message": "Gateway service disabled.",
                   "hints": ["openclaw gateway"],
                   "service": {"label": "systemd", "loaded": false, "loadedText": "enabled", "notLoadedText": "disabled"}})
        );
        assert_eq!(page(&outcome).text(Stream::Out), "Gateway service disabled.\nStart with: openclaw gateway\n");
        let stopped = Outcome { action: "stop", result: "stopped", ..Outcome::default() };
        let document = document(&stopped, Manager::Launchd);
        assert!(document.get("hints").is_none() && document.get("message").is_none(), "{document}");
    }
}
