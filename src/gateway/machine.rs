//! The control loop on `main`: one life of the gateway after the other, until a stop. Signals, reloads, restarts.
//!
//! It waits for nothing but its own channels: a life is ended on a thread of its own, so that whatever hangs there, the
//! deadline and a second signal are seen here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, after, bounded};
use parking_lot::Mutex;
use serde_json::Value;

use super::bootstrap::{self, Keep};
use super::life::{End, Life};
use super::settings::{self, Settings};
use super::{Boot, Control, begin, bind, log_file};
use crate::config::plan::Action;
use crate::config::{self, Loaded, Plan, Source as _, diff};
use crate::error::{Error, Result};
use crate::limits;
use crate::server::closed::ClosedDoor;
use crate::server::listen::{self, Bound};
use crate::server::lock::Lock;
use crate::store::source::FsSource;
use crate::sys::signals::{self, Signal};
use crate::sys::{exec, memory};

/// What an `exec` of ourselves must not do a second time.
const ONLY_ONCE: [&str; 2] = ["--reset", "--force"];
/// How often a drain looks at the runs.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

pub struct Machine<'a> {
    boot: &'a Boot,
    lock: Option<Lock>,
    bound: Bound,
    /// None: the last restart failed, the process waits for a better configuration.
    life: Option<Life>,
    /// Answers while there is no life.
    closed: Option<ClosedDoor>,
    /// The configuration in force as a tree, what a changed file is compared with.
    effective: Value,
    /// SIGHUP came during a restart that had read the configuration already.
    reread: bool,
    /// Fires once when a new life has served its first clients.
    settled: Receiver<Instant>,
}

/// How the end of a life went.
struct Ended {
    /// Threads that did not end, by name.
    late: Vec<&'static str>,
    /// A stop was asked for meanwhile.
    stop: bool,
}

impl<'a> Machine<'a> {
    pub fn new(boot: &'a Boot, lock: Lock, bound: Bound, life: Life, effective: Value) -> Machine<'a> {
        let settled = after(limits::LIFE_SETTLES);
        Machine { boot, lock: Some(lock), bound, life: Some(life), closed: None, effective, reread: false, settled }
    }

    /// Runs until a stop; the exit code.
    pub fn run(mut self) -> Result<u8> {
        loop {
            let stop = crossbeam_channel::select! {
                recv(self.boot.signals) -> signal => match signal {
                    Ok(signal) => self.obey(signal),
                    Err(_) => Some(0),
                },
                recv(self.boot.control_rx) -> message => message.ok().map(|Control::Died(who)| {
                    crate::fatal!(target: "gateway", "thread {who} died; stopping so that a supervisor can start anew");
                    70
                }),
                recv(self.settled) -> _ => {
                    memory::trim();
                    memory::release_code();
                    None
                }
            };
            let stop = match stop {
                None if std::mem::take(&mut self.reread) => self.reload(),
                stop => stop,
            };
            if let Some(code) = stop {
                return self.stop(code);
            }
        }
    }

    /// Some: the process has to stop with this code.
    fn obey(&mut self, signal: Signal) -> Option<u8> {
        let name = signal.name();
        log::info!(target: "gateway", "signal {name} received");
        match signal {
            Signal::Interrupt | Signal::Terminate => {
                log::info!(target: "gateway", "received {name}; shutting down");
                Some(0)
            }
            Signal::Hangup => self.reload(),
            Signal::User1 if self.may_restart() => {
                log::info!(target: "gateway", "received {name}; restarting");
                self.restart()
            }
            Signal::User1 => None,
            Signal::User2 => {
                self.boot.log.reopen();
                None
            }
        }
    }

    fn may_restart(&self) -> bool {
        let allowed = self.life.as_ref().is_none_or(|life| life.ctx.config().commands.restart);
        if !allowed {
            log::warn!(
                target: "gateway",
                "SIGUSR1 restart ignored (not authorized; commands.restart=false or use gateway tool)."
            );
        }
        allowed
    }

    // ── Stop ───────────────────────────────────────────────────────────────────────────────────────────

    /// Stops within the budget, whatever happens: the process must not outlive it.
    fn stop(mut self, code: u8) -> Result<u8> {
        signals::next_interrupt_exits(true);
        self.closed = None;
        if let Some(life) = self.life.take() {
            let late = self.end(life, End::Stop).late;
            if !late.is_empty() {
                let names = late.join(", ");
                log::warn!(target: "gateway", "shutdown timed out; exiting without full cleanup ({names})");
            }
        }
        drop(self.lock.take());
        self.boot.log.flush(limits::LOG_FLUSH);
        // Threads that did not end die here.
        Ok(code)
    }

    /// Ends a life and listens to signals meanwhile.
    fn end(&mut self, life: Life, end: End) -> Ended {
        let inner = Instant::now() + limits::STOP_BUDGET.saturating_sub(limits::STOP_RESERVE);
        let mut deadline = inner + limits::STOP_RESERVE / 2;
        let mut stop = end == End::Stop;
        let (done, ended) = bounded(1);
        // A thread that cannot be had must not take the life with it.
        let life = Arc::new(Mutex::new(Some(life)));
        let theirs = life.clone();
        let work = move || {
            let life = theirs.lock().take();
            let _ = done.send(life.map_or_else(Vec::new, |life| life.stop(end, inner)));
        };
        if thread::Builder::new().name("stop".into()).spawn(work).is_err() {
            let life = life.lock().take();
            return Ended { late: life.map_or_else(Vec::new, |life| life.stop(end, inner)), stop };
        }
        loop {
            crossbeam_channel::select! {
                recv(ended) -> late => return Ended { late: late.unwrap_or_else(|_| vec!["stop"]), stop },
                recv(self.boot.signals) -> signal => match signal {
                    Ok(signal @ (Signal::Interrupt | Signal::Terminate)) if stop => {
                        let name = signal.name();
                        log::warn!(target: "gateway", "received {name} during shutdown; not waiting any longer");
                        deadline = deadline.min(Instant::now() + limits::STOP_HURRIED);
                    }
                    Ok(Signal::Interrupt | Signal::Terminate) => {
                        signals::next_interrupt_exits(true);
                        stop = true;
                    }
                    Ok(signal) => self.during_restart(signal, end),
                    Err(_) => thread::sleep(limits::STOP_HURRIED),
                },
                recv(crossbeam_channel::at(deadline)) -> _ => return Ended { late: vec!["stop"], stop },
            }
        }
    }

    /// Signals that change nothing about what is going on.
    fn during_restart(&mut self, signal: Signal, end: End) {
        let name = signal.name();
        match (signal, end) {
            (Signal::User2, _) => self.boot.log.reopen(),
            (Signal::Hangup, End::Restart) => {
                log::info!(target: "gateway", "received {name} during restart; the configuration is read again after it");
                self.reread = true;
            }
            (_, End::Restart) => log::info!(target: "gateway", "received {name} during restart; ignoring"),
            (_, End::Stop) => log::info!(target: "gateway", "received {name} during shutdown; ignoring"),
        }
    }

    // ── Reload ─────────────────────────────────────────────────────────────────────────────────────────

    /// SIGHUP: reads the configuration and takes over what it can. Some: the process has to stop with this code.
    fn reload(&mut self) -> Option<u8> {
        let loaded = config::load(&self.boot.paths, &FsSource);
        if !loaded.valid() {
            log::warn!(target: "reload", "{}", loaded.reload_skipped());
            return None;
        }
        if self.life.is_none() {
            return self.restart();
        }
        let mode = loaded.config.gateway.reload_mode;
        let changed = diff::changed_paths(&self.effective, &loaded.effective);
        let plan = Plan::of(changed.clone());
        for (warn, line) in plan.log_lines(mode, &changed) {
            match warn {
                true => log::warn!(target: "reload", "{line}"),
                false => log::info!(target: "reload", "{line}"),
            }
        }
        match plan.action(mode) {
            Action::Nothing => log::info!(target: "reload", "configuration read; nothing changed"),
            Action::Disabled => self.effective = loaded.effective,
            Action::Restart => return self.restart(),
            Action::Apply => match self.prepare(loaded) {
                Ok(settings) => self.adopt(settings),
                Err(e) => log::warn!(target: "reload", "config reload failed: {e}"),
            },
        }
        None
    }

    fn adopt(&mut self, settings: Settings) {
        self.set_logging(&settings);
        if let Some(life) = &self.life {
            life.adopt(&settings);
        }
        bootstrap::keep_last_good(&self.boot.paths, &settings.loaded);
        self.effective = settings.loaded.effective;
    }

    fn set_logging(&self, settings: &Settings) {
        let logging = &settings.config.logging;
        let (file, console) = settings::log_levels(&self.boot.options, &settings.config);
        self.boot.log.set_levels(file, console);
        self.boot.log.set_redaction(!logging.redact_off, &logging.redact_patterns);
        self.boot.log.set_file(log_file(&settings.config).as_deref(), logging.max_file_bytes);
    }

    /// Checks everything that can be checked before anything stops.
    fn prepare(&self, loaded: Loaded) -> Result<Settings> {
        let mut settings = Settings::read(&self.boot.options, &self.boot.paths, loaded)?;
        let keep = Keep::InMemory("only a start saves one");
        if let Some(line) = bootstrap::first_token(&self.boot.paths, &mut settings, keep, &self.boot.made_token) {
            log::warn!(target: "gateway", "{line}");
        }
        settings.plan_sockets()?;
        Ok(settings)
    }

    // ── Restart ────────────────────────────────────────────────────────────────────────────────────────

    /// A restart in this process: same pid, listeners kept where their plan has not changed. Some: the process has to
    /// stop with this code.
    fn restart(&mut self) -> Option<u8> {
        // Whatever can be refused is refused while the old life still works.
        let settings = match settings::load(&self.boot.paths).and_then(|loaded| self.prepare(loaded)) {
            Ok(settings) => settings,
            Err(e) => return say_failed(&e),
        };
        let mut next = None;
        if !self.bound.serves(&settings.plan) && !overlap(&self.bound.addresses(), &settings.plan.addresses) {
            match bind(&self.boot.paths, &settings) {
                Ok(bound) => next = Some(bound),
                Err(e) => {
                    log::error!(target: "gateway", "restart refused, the old address stays: {e}");
                    return None;
                }
            }
        }
        if let Some(code) = self.drain() {
            return Some(code);
        }
        let no_respawn = FsSource.var("OPENCLAW_NO_RESPAWN").as_deref() == Some("1");
        let asked = if no_respawn { " (OPENCLAW_NO_RESPAWN)" } else { "" };
        log::info!(target: "gateway", "restart mode: in-process restart{asked}");
        if let Some(life) = self.life.take() {
            let Ended { late, stop } = self.end(life, End::Restart);
            if stop {
                log::info!(target: "gateway", "stop requested during restart; shutting down");
                return Some(0);
            }
            if !late.is_empty() {
                return Some(self.replace_process(&late));
            }
            memory::trim();
        }
        self.closed = None;
        if let Some(bound) = next {
            self.bound = bound;
        } else if !self.bound.serves(&settings.plan)
            && let Err(e) = self.rebind(&settings)
        {
            return self.close_door(&e);
        }
        self.set_logging(&settings);
        match begin(self.boot, &settings, &self.bound) {
            Ok(life) => {
                self.life = Some(life);
                self.effective = settings.loaded.effective;
                self.settled = after(limits::LIFE_SETTLES);
                None
            }
            Err(e) => self.close_door(&e),
        }
    }

    /// Threads that are left would live on as ghosts: the program starts anew under the same pid. The lock stays ours.
    /// Comes back only when that failed, with the exit code.
    fn replace_process(&self, late: &[&str]) -> u8 {
        log::warn!(target: "gateway", "threads that did not end: {}; starting the program anew", late.join(", "));
        self.boot.log.flush(limits::LOG_FLUSH);
        let failed = exec::restart_self(&ONLY_ONCE);
        crate::fatal!(target: "gateway", "restart failed: {failed}");
        1
    }

    /// No life, but the process stays: whoever connects gets 503 until SIGHUP or SIGUSR1 finds something better.
    fn close_door(&mut self, error: &Error) -> Option<u8> {
        self.closed = Some(ClosedDoor::start(&self.bound.listeners));
        say_failed(error)
    }

    /// The same port on an overlapping address: close, bind, and the old address again if that fails.
    fn rebind(&mut self, settings: &Settings) -> Result<()> {
        let old = std::mem::take(&mut self.bound.plan);
        self.bound.listeners.clear();
        bind(&self.boot.paths, settings).map(|bound| self.bound = bound).inspect_err(|_| {
            if let Ok(bound) = listen::bind(&old, false, &AtomicBool::new(false)) {
                self.bound = bound;
            }
        })
    }

    /// Waits for runs before a planned restart. Some: a stop was asked for meanwhile.
    fn drain(&mut self) -> Option<u8> {
        let ctx = self.life.as_ref()?.ctx.clone();
        // From here on there is no way back to the old life: nothing more is refused.
        ctx.runs.drain();
        ctx.ready.store(false, Ordering::Release);
        let left = || ctx.runs.active() + ctx.runs.queued();
        if left() == 0 {
            return None;
        }
        log::info!(
            target: "gateway",
            "draining {} active task(s) and {} active embedded run(s) before restart (timeout {}ms)",
            left(),
            ctx.runs.active(),
            limits::RESTART_DRAIN.as_millis(),
        );
        let deadline = Instant::now() + limits::RESTART_DRAIN;
        while left() > 0 {
            let wait = deadline.saturating_duration_since(Instant::now()).min(DRAIN_LOOK);
            if wait.is_zero() {
                log::warn!(target: "gateway", "drain timeout reached; proceeding with restart");
                return None;
            }
            match self.boot.signals.recv_timeout(wait) {
                Ok(signal @ (Signal::Interrupt | Signal::Terminate)) => {
                    log::info!(target: "gateway", "received {}; shutting down", signal.name());
                    return Some(0);
                }
                Ok(signal) => self.during_restart(signal, End::Restart),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(0),
            }
        }
        log::info!(target: "gateway", "all active work drained");
        None
    }
}

fn say_failed(error: &Error) -> Option<u8> {
    let text = error.to_string();
    let text = text.trim_start_matches("Gateway failed to start: ").trim_end_matches('.');
    log::error!(
        target: "gateway",
        "gateway startup failed: {text}. Process will stay alive; fix the issue and restart."
    );
    None
}

/// Whether an address of the new plan cannot be bound while the old ones are.
fn overlap(old: &[SocketAddr], new: &[SocketAddr]) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    let clash = |a: &SocketAddr, b: &SocketAddr| {
        a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (a.ip() == b.ip() || any(a.ip()) || any(b.ip()))
    };
    old.iter().any(|a| new.iter().any(|b| clash(a, b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_bound_together() {
        for (old, new, clash) in [
            ("127.0.0.1:1 [::1]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1 [::1]:1", true),
            ("127.0.0.1:1 [::1]:1", "127.0.0.2:1", false),
            ("127.0.0.1:1 [::1]:1", "127.0.0.1:2 [::1]:2", false),
            ("127.0.0.1:1", "127.0.0.1:1 [::1]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            ("", "0.0.0.0:1", false),
        ] {
            let list = |text: &str| text.split(' ').filter_map(|a| a.parse().ok()).collect::<Vec<SocketAddr>>();
            assert_eq!(overlap(&list(old), &list(new)), clash, "{old} -> {new}");
        }
    }
}
