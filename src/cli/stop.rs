//! `openclaw gateway stop` and `restart` for a gateway that no service manager looks after: by the pid in the lock of
//! this configuration (cli 5.6).

use std::time::{Duration, Instant};

use super::Context;
use super::client::{Client, Deadline};
use super::context::port_flag;
use super::progress::Waiting;
use super::service;
use super::service_commands::{self, Outcome};
use super::target::Flags;
use super::tree::Gateway;
use crate::error::{Error, Result};
use crate::limits::{RESTART_DRAIN, STOP_BUDGET};
use crate::server::lock::{self, Owner};
use crate::server::port_report;
use crate::service::Service;
use crate::sys::process::{self, Sig};

/// Between two looks whether it is gone, or back.
const POLL: Duration = Duration::from_millis(25);
/// Beyond the time that the gateway itself allows for its work.
const GRACE: Duration = Duration::from_secs(5);
/// From the end of the old server to the first answer of the new one.
const HEALTHY: Duration = Duration::from_secs(60);
/// For one such answer.
const ANSWER: Duration = Duration::from_secs(2);

pub fn stop(cx: &Context, group: &Gateway, json: bool) -> Result<u8> {
    let service = service::find(cx, cx.port(None));
    let outcome = match is_managed(cx, &service) {
        true => service_commands::stop_service(cx, &service, json),
        false => try_stop(cx, group, &service, json),
    };
    service_commands::finish("stop", json, service.manager, outcome)
}

pub fn restart(cx: &Context, group: &Gateway, json: bool) -> Result<u8> {
    let service = service::find(cx, cx.port(None));
    let outcome = service_commands::check_config(cx).and_then(|()| match is_managed(cx, &service) {
        true => service_commands::restart_service(cx, group, &service, json),
        false => try_restart(cx, group, &service, json),
    });
    service_commands::finish("restart", json, service.manager, outcome)
}

/// Also a service that was started without being enabled is its manager's, who would start anew what we end.
fn is_managed(cx: &Context, service: &Service) -> bool {
    let started = || running(cx).is_some_and(|owner| service.runtime().pid == Some(owner.pid));
    service.is_loaded() || service.is_installed() && started()
}

fn try_stop(cx: &Context, group: &Gateway, service: &Service, json: bool) -> Result<Outcome> {
    let port = cx.port(port_flag(group.port.as_deref())?);
    let stopping = Waiting::new(cx.columns, json, "Waiting for the gateway to stop");
    let ended = end_owner(cx)?;
    drop(stopping);
    let Some(pid) = ended else {
        let message = Some(format!("Gateway service {}.", service.manager.not_loaded_text()));
        return Ok(Outcome {
            action: "stop",
            result: "not-loaded",
            message,
            hints: foreign(cx, port),
            ..Outcome::default()
        });
    };
    let message = Some(format!("Gateway stop signal sent to unmanaged process on port {port}: {pid}."));
    Ok(Outcome { action: "stop", result: "stopped", message, ..Outcome::default() })
}

/// Ends the gateway that holds the lock of this configuration; its pid, if there was one.
pub(super) fn end_owner(cx: &Context) -> Result<Option<u32>> {
    let Some(owner) = running(cx) else { return Ok(None) };
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
    Ok(Some(owner.pid))
}

fn try_restart(cx: &Context, group: &Gateway, service: &Service, json: bool) -> Result<Outcome> {
    let port = port_flag(group.port.as_deref())?;
    let Some(owner) = running(cx) else { return Ok(service_commands::not_loaded("restart", cx, service)) };
    if !cx.loaded().config.commands.restart {
        return Err(Error::new(
            "Gateway restart is disabled in the running gateway config (commands.restart=false); unmanaged SIGUSR1 \
             restart would be ignored",
        )
        .hint(format!("Stop and start it instead: {}", cx.suggest("openclaw gateway stop"))));
    }
    let _waiting = Waiting::new(cx.columns, json, "Waiting for the gateway to restart");
    let witness = witness(cx, group);
    send(owner.pid, Sig::Usr1)?;
    wait_until_new(cx, group, &owner, witness)?;
    let message =
        Some(format!("Gateway restart signal sent to unmanaged process on port {}: {}.", cx.port(port), owner.pid));
    Ok(Outcome { action: "restart", result: "restarted", message, ..Outcome::default() })
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

pub(super) fn running(cx: &Context) -> Option<Owner> {
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
