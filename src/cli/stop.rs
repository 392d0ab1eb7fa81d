//! `openclaw gateway stop` and `restart` for a gateway that no service manager looks after: by the pid in the lock of
//! this configuration (cli 5.6).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Context;
use super::client::{Client, Deadline};
use super::context::port_flag;
use super::output::{Page, json_pretty};
use super::service::{self, Service};
use super::target::Flags;
use super::tree::Gateway;
use crate::error::{Error, Result};
use crate::limits::{RESTART_DRAIN, STOP_BUDGET};
use crate::out;
use crate::server::lock::{self, Owner};
use crate::server::port_report;
use crate::sys::process::{self, Sig};

/// Between two looks whether it is gone, or back.
const POLL: Duration = Duration::from_millis(25);
/// Beyond the time that the gateway itself allows for its work.
const GRACE: Duration = Duration::from_secs(5);
/// From the end of the old server to the first answer of the new one.
const HEALTHY: Duration = Duration::from_secs(60);
/// For one such answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What came of it.
struct Outcome {
    action: &'static str,
    result: &'static str,
    message: String,
    hints: Vec<String>,
}

pub fn stop(cx: &Context, group: &Gateway, json: bool) -> Result<u8> {
    let service = service::look(cx);
    finish("stop", json, &service, try_stop(cx, group))
}

pub fn restart(cx: &Context, group: &Gateway, json: bool) -> Result<u8> {
    let service = service::look(cx);
    finish("restart", json, &service, try_restart(cx, group))
}

fn try_stop(cx: &Context, group: &Gateway) -> Result<Outcome> {
    let port = cx.port(port_flag(group.port.as_deref())?);
    let Some(owner) = running(cx) else {
        return Ok(Outcome { action: "stop", result: "not-loaded", message: not_loaded(), hints: foreign(cx, port) });
    };
    send(owner.pid, Sig::Term)?;
    let deadline = Instant::now() + STOP_BUDGET + GRACE;
    while still_there(&owner) {
        if Instant::now() >= deadline {
            return Err(Error::new(format!(
                "gateway process {} has not stopped within {}s",
                owner.pid,
                (STOP_BUDGET + GRACE).as_secs()
            ))
            .hint(format!("Look: {} · last resort: kill -9 {}", cx.suggest("openclaw logs"), owner.pid)));
        }
        std::thread::sleep(POLL);
    }
    let message = format!("Gateway stop signal sent to unmanaged process on port {port}: {}.", owner.pid);
    Ok(Outcome { action: "stop", result: "stopped", message, hints: Vec::new() })
}

fn try_restart(cx: &Context, group: &Gateway) -> Result<Outcome> {
    let loaded = cx.loaded();
    if !loaded.valid() {
        let mut error = Error::new("Gateway aborted: config is invalid.");
        error.hints.extend(loaded.issues.iter().map(crate::config::Issue::line));
        let doctor = cx.suggest("openclaw doctor");
        return Err(error.hint(format!("Fix the config and retry, or run \"{doctor}\" to repair.")));
    }
    let port = port_flag(group.port.as_deref())?;
    let Some(owner) = running(cx) else {
        let hints = vec![cx.suggest("openclaw gateway")];
        return Ok(Outcome { action: "restart", result: "not-loaded", message: not_loaded(), hints });
    };
    if !loaded.config.commands.restart {
        return Err(Error::new(
            "Gateway restart is disabled in the running gateway config (commands.restart=false); unmanaged SIGUSR1 \
             restart would be ignored",
        )
        .hint(format!("Stop and start it instead: {}", cx.suggest("openclaw gateway stop"))));
    }
    let witness = witness(cx, group);
    send(owner.pid, Sig::Usr1)?;
    wait_until_new(cx, group, &owner, witness)?;
    let message = format!("Gateway restart signal sent to unmanaged process on port {}: {}.", cx.port(port), owner.pid);
    Ok(Outcome { action: "restart", result: "restarted", message, hints: Vec::new() })
}

fn not_loaded() -> String {
    "Gateway service disabled.".to_string()
}

/// Who else has the port, so that nobody believes that it is free.
fn foreign(cx: &Context, port: u16) -> Vec<String> {
    let listeners = crate::sys::sockets::listeners(port);
    if listeners.is_empty() {
        return Vec::new();
    }
    let config = cx.short(&cx.paths.config_path);
    let mut lines = vec![format!("No gateway holds the lock of {config}, but somebody has its port.")];
    let wording = port_report::Wording::of(&cx.paths);
    lines.extend(port_report::port_report(port, &listeners, wording));
    lines
}

fn running(cx: &Context) -> Option<Owner> {
    lock::owner(&cx.paths.config_path).filter(|owner| owner.alive)
}

fn still_there(owner: &Owner) -> bool {
    // Another process may have got the pid meanwhile.
    process::alive(owner.pid) && (owner.start_time.is_none() || process::start_time(owner.pid) == owner.start_time)
}

fn send(pid: u32, sig: Sig) -> Result<()> {
    process::signal(pid, sig).map_err(|error| {
        Error::new(format!("gateway process {pid}: {error}"))
            .hint("Run this as the user who runs the gateway, or as root.")
    })
}

/// A connection that the restart will end; none when the gateway does not let us in.
fn witness(cx: &Context, group: &Gateway) -> Option<Client> {
    let port = port_flag(group.port.as_deref()).ok()?;
    let flags = Flags { url: None, token: group.token.as_deref(), password: group.password.as_deref() };
    let target = cx.local_target(flags, port).ok()?;
    cx.connect(&target, Deadline::after(ANSWER)).ok()
}

/// Until the old server has said goodbye and a new one answers.
fn wait_until_new(cx: &Context, group: &Gateway, owner: &Owner, witness: Option<Client>) -> Result<()> {
    let Some(mut witness) = witness else { return Ok(()) };
    if !witness.wait_closed(Deadline::after(RESTART_DRAIN + GRACE)) {
        return Err(Error::new(format!("the gateway has not restarted within {}s", (RESTART_DRAIN + GRACE).as_secs()))
            .hint(format!("Look: {}", cx.suggest("openclaw logs"))));
    }
    let deadline = Instant::now() + HEALTHY;
    while Instant::now() < deadline {
        if self::witness(cx, group).is_some() {
            return Ok(());
        }
        if !still_there(owner) {
            return Err(Error::new(format!("gateway process {} ended instead of restarting", owner.pid))
                .hint(format!("Look: {}", cx.suggest("openclaw logs"))));
        }
        std::thread::sleep(POLL);
    }
    let port = cx.port(port_flag(group.port.as_deref())?);
    let text = format!("Timed out after {}s waiting for gateway port {port} to become healthy.", HEALTHY.as_secs());
    Err(Error::new(text).hint(format!("Look: {}", cx.suggest("openclaw gateway status --deep"))))
}

fn finish(action: &'static str, json: bool, service: &Service, outcome: Result<Outcome>) -> Result<u8> {
    match outcome {
        Ok(outcome) if json => out!("{}", json_pretty(&document(&outcome, service))),
        Ok(outcome) => page(&outcome).print(),
        Err(error) if json => {
            let title = format!("Gateway {action} failed: Error: {error}");
            out!("{}", json_pretty(&json!({"action": action, "ok": false, "error": title})));
            return Ok(1);
        }
        Err(mut error) => {
            if !error.message.starts_with("Gateway aborted") {
                error.message = format!("Gateway {action} failed: Error: {}", error.message);
            }
            return Err(error);
        }
    }
    Ok(0)
}

fn document(outcome: &Outcome, service: &Service) -> Value {
    let mut out = json!({"action": outcome.action, "ok": true, "result": outcome.result, "message": outcome.message});
    if !outcome.hints.is_empty() {
        out["hints"] = json!(outcome.hints);
    }
    out["service"] = service.result_json();
    out
}

fn page(outcome: &Outcome) -> Page {
    let mut page = Page::default();
    page.out(outcome.message.clone());
    let lead = if outcome.action == "restart" { "Start with: " } else { "" };
    outcome.hints.iter().for_each(|hint| page.out(format!("{lead}{hint}")));
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Stream;

    #[test]
    fn results_have_the_known_shape() {
        let service = Service {
            label: "systemd",
            loaded_text: "enabled",
            not_loaded_text: "disabled",
            detail: "",
            hints: Vec::new(),
        };
        let outcome = Outcome {
            action: "restart",
            result: "not-loaded",
            message: not_loaded(),
            hints: vec!["openclaw gateway".into()],
        };
        assert_eq!(
            document(&outcome, &service),
            json!({"action": "restart", "ok": true, "result": "not-loaded", "message": "Gateway service disabled.",
                   "hints": ["openclaw gateway"],
                   "service": {"label": "systemd", "loaded": false, "loadedText": "enabled", "notLoadedText": "disabled"}})
        );
        assert_eq!(page(&outcome).text(Stream::Out), "Gateway service disabled.\nStart with: openclaw gateway\n");
        let stopped = Outcome { action: "stop", result: "stopped", message: "m".into(), hints: Vec::new() };
        assert!(document(&stopped, &service).get("hints").is_none());
    }
}
