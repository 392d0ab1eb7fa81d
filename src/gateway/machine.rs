//! The control loop on `main`: one life of the gateway after the other, until a stop. Signals, reloads, restarts.
//!
//! It waits for nothing but its own channels: a life is ended on a thread of its own, so that whatever hangs there, the
//! deadline and a second signal are seen here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, after, at, bounded, never};
use parking_lot::Mutex;

use super::bootstrap::{self, Keep};
use super::life::{End, Life};
use super::reload::{Deferred, restart_mode};
use super::settings::{self, Settings};
use super::watchdog::Watchdog;
use super::{Boot, Control, begin, bind, log_file, log_style};
use crate::config::Loaded;
use crate::config::plan::Standing;
use crate::discovery::Announcement;
use crate::error::{Error, Result};
use crate::limits;
use crate::reload::{Asked, News, Reading, Reload};
use crate::server::certificate::InForce;
use crate::server::closed::ClosedDoor;
use crate::server::listen::{self, Bound};
use crate::server::lock::Lock;
use crate::sys::signals::{self, Signal};
use crate::sys::{exec, memory, sd_notify};
use crate::tailscale::publish::Publisher;

/// What an `exec` of ourselves must not do a second time.
const ONLY_ONCE: [&str; 2] = ["--reset", "--force"];
/// How often a drain looks at the runs.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

pub struct Machine<'a> {
    pub(super) boot: &'a Boot,
    lock: Option<Lock>,
    pub(super) bound: Bound,
    /// None: the last restart failed, the process waits for a better configuration.
    pub(super) life: Option<Life>,
    /// Answers while there is no life.
    closed: Option<ClosedDoor>,
    reload: Reload,
    /// What was read last and not considered yet: a newer reading takes the place of an older one.
    pub(super) readings: Arc<Mutex<Option<Reading>>>,
    /// What a changed file is compared with.
    pub(super) standing: Standing,
    /// Warnings about the configuration in force.
    pub(super) warned: Vec<String>,
    pub(super) deferred: Option<Deferred>,
    /// A restart that a request asked for, and what asked.
    planned: Option<(Instant, &'static str)>,
    /// What Tailscale publishes; it outlives a life.
    publisher: Publisher,
    /// What says in the local network that this life is there.
    pub(super) announcement: Option<Announcement>,
    /// Fires once when a new life has served its first clients.
    settled: Receiver<Instant>,
    /// None: no service manager asked for it.
    watchdog: Option<Watchdog>,
}

/// Who wants a restart: what is said when it cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Asked,
    Config,
}

/// How the end of a life went.
struct Ended {
    /// Threads that did not end, by name.
    late: Vec<&'static str>,
    /// A stop was asked for meanwhile.
    stop: bool,
    /// A second stop was asked for: nothing is waited for any more.
    hurried: bool,
}

impl<'a> Machine<'a> {
    /// `settings` is what the life goes by.
    pub fn new(boot: &'a Boot, lock: Lock, bound: Bound, life: Life, settings: Settings) -> Result<Machine<'a>> {
        let readings: Arc<Mutex<Option<Reading>>> = Arc::default();
        let (slot, control, died) = (readings.clone(), boot.control.clone(), boot.control.clone());
        let tell = move |news: News| {
            let News::Read(mut reading) = news else {
                let _ = control.send(Control::Certificate);
                return;
            };
            let mut slot = slot.lock();
            if let Some(before) = slot.take() {
                reading.asked = reading.asked.and(before.asked);
            }
            *slot = Some(reading);
            drop(slot);
            let _ = control.send(Control::Reading);
        };
        let on_death = move || drop(died.send(Control::Died("reload")));
        let mut publisher = Publisher::default();
        publisher.follow(settings.publication());
        let announcement = settings.announce();
        let first = settings.loaded;
        let reload = Reload::start(boot.paths.clone(), &first, Box::new(tell), Box::new(on_death))
            .map_err(|e| Error::new(format!("Gateway failed to start: Error: reload thread: {e}")))?;
        Ok(Machine {
            boot,
            lock: Some(lock),
            bound,
            life: Some(life),
            closed: None,
            reload,
            readings,
            warned: first.warning_lines(),
            standing: Standing::new(first.effective),
            deferred: None,
            planned: None,
            publisher,
            announcement,
            settled: after(limits::LIFE_SETTLES),
            watchdog: Watchdog::new(),
        })
    }

    /// Runs until a stop; the exit code.
    pub fn run(mut self) -> Result<u8> {
        loop {
            let look = self.deferred.as_ref().map_or_else(never, Deferred::looks);
            let stop = crossbeam_channel::select! {
                recv(self.boot.signals) -> signal => match signal {
                    Ok(signal) => self.obey(signal),
                    Err(_) => Some(0),
                },
                recv(self.boot.control_rx) -> message => message.ok().and_then(|message| self.hear(message)),
                recv(look) -> _ => self.look_at_deferred(),
                recv(self.watchdog.as_ref().map_or_else(never, |dog| at(dog.due()))) -> _ => {
                    self.look_after_loops();
                    None
                }
                recv(self.planned.map_or_else(never, |(due, _)| at(due))) -> _ => self.planned_restart(),
                recv(self.settled) -> _ => {
                    memory::trim();
                    memory::release_code();
                    None
                }
            };
            // Also what came during a restart.
            if let Some(code) = stop.or_else(|| self.take_reading()) {
                return self.stop(code);
            }
        }
    }

    fn look_after_loops(&mut self) {
        if let Some(dog) = &mut self.watchdog {
            dog.look(self.life.as_ref(), &self.reload);
        }
    }

    /// Some: the process has to stop with this code.
    fn hear(&mut self, message: Control) -> Option<u8> {
        match message {
            Control::Died(who) => {
                crate::fatal!(target: "gateway", "thread {who} died; stopping so that a supervisor can start anew");
                Some(70)
            }
            // Taken by the loop, after a restart that is under way.
            Control::Reading => None,
            Control::Certificate => {
                self.renew_certificate();
                None
            }
            Control::RestartAt(due, reason) => {
                // A restart that began meanwhile has served it.
                self.planned = self.boot.restarts.is_planned(due).then_some((due, reason)).or(self.planned);
                None
            }
        }
    }

    /// The time has come. It was allowed when it was asked for: `commands.restart` is about signals.
    fn planned_restart(&mut self) -> Option<u8> {
        let (_, reason) = self.planned.take()?;
        log::info!(target: "gateway", "restarting as requested by {reason}");
        self.restart()
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
            Signal::Hangup => {
                sd_notify::reloading();
                self.reload.ask(Asked::RELOAD);
                None
            }
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
        sd_notify::stopping();
        self.closed = None;
        self.announcement = None;
        let mut deadline = Instant::now() + limits::STOP_BUDGET.saturating_sub(limits::STOP_RESERVE / 2);
        let unpublished = self.publisher.end();
        if let Some(life) = self.life.take() {
            let Ended { late, hurried, .. } = self.end(life, End::Stop);
            if hurried {
                deadline = deadline.min(Instant::now() + limits::STOP_HURRIED);
            }
            if !late.is_empty() {
                let names = late.join(", ");
                log::warn!(target: "gateway", "shutdown timed out; exiting without full cleanup ({names})");
            }
        }
        self.wait_unpublished(&unpublished, deadline);
        drop(self.lock.take());
        self.boot.log.flush(limits::LOG_FLUSH);
        // Threads that did not end die here.
        Ok(code)
    }

    /// Another signal to stop ends the waiting.
    fn wait_unpublished(&self, unpublished: &Receiver<()>, deadline: Instant) {
        loop {
            crossbeam_channel::select! {
                recv(unpublished) -> _ => return,
                recv(self.boot.signals) -> signal => match signal {
                    Ok(Signal::Hangup | Signal::User1 | Signal::User2) => {}
                    _ => return,
                },
                recv(at(deadline)) -> _ => {
                    return log::warn!(target: "tailscale", "cleanup did not end in time; look with: tailscale serve status");
                }
            }
        }
    }

    /// Ends a life and listens to signals meanwhile.
    fn end(&mut self, life: Life, end: End) -> Ended {
        let inner = Instant::now() + limits::STOP_BUDGET.saturating_sub(limits::STOP_RESERVE);
        let mut deadline = inner + limits::STOP_RESERVE / 2;
        let mut stop = end == End::Stop;
        let mut hurried = false;
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
            return Ended { late: life.map_or_else(Vec::new, |life| life.stop(end, inner)), stop, hurried };
        }
        loop {
            crossbeam_channel::select! {
                recv(ended) -> late => return Ended { late: late.unwrap_or_else(|_| vec!["stop"]), stop, hurried },
                recv(self.boot.signals) -> signal => match signal {
                    Ok(signal @ (Signal::Interrupt | Signal::Terminate)) if stop => {
                        let name = signal.name();
                        log::warn!(target: "gateway", "received {name} during shutdown; not waiting any longer");
                        deadline = deadline.min(Instant::now() + limits::STOP_HURRIED);
                        hurried = true;
                    }
                    Ok(Signal::Interrupt | Signal::Terminate) => {
                        signals::next_interrupt_exits(true);
                        stop = true;
                    }
                    Ok(signal) => self.during_restart(signal, end),
                    Err(_) => thread::sleep(limits::STOP_HURRIED),
                },
                recv(at(deadline)) -> _ => return Ended { late: vec!["stop"], stop, hurried },
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
                self.reload.ask(Asked::RELOAD);
            }
            (_, End::Restart) => log::info!(target: "gateway", "received {name} during restart; ignoring"),
            (_, End::Stop) => log::info!(target: "gateway", "received {name} during shutdown; ignoring"),
        }
    }

    // ── Restart ────────────────────────────────────────────────────────────────────────────────────────

    pub(super) fn set_logging(&self, settings: &Settings) {
        let logging = &settings.config.logging;
        let (file, console) = settings::log_levels(&self.boot.options, &settings.config);
        self.boot.log.set_levels(file, console);
        self.boot.log.set_style(log_style(&settings.config));
        self.boot.log.set_redaction(!logging.redact_off, &logging.redact_patterns);
        self.boot.log.set_file(log_file(&settings.config).as_deref(), logging.max_file_bytes);
    }

    /// Command line, environment and configuration put together, with the token that was made at the start.
    pub(super) fn read_settings(&self, loaded: Loaded) -> Result<Settings> {
        let mut settings = Settings::read(&self.boot.options, &self.boot.paths, loaded)?;
        let keep = Keep::InMemory("only a start saves one");
        if let Some(line) = bootstrap::first_token(&self.boot.paths, &mut settings, keep, &self.boot.made_token) {
            log::warn!(target: "gateway", "{line}");
        }
        Ok(settings)
    }

    /// Checks everything that can be checked before anything stops.
    pub(super) fn prepare(&self, loaded: Loaded) -> Result<Settings> {
        let mut settings = self.read_settings(loaded)?;
        settings.plan_sockets(&self.boot.paths)?;
        Ok(settings)
    }

    /// Restarts as soon as the configuration has been read.
    fn restart(&mut self) -> Option<u8> {
        self.reload.ask(Asked::RESTART);
        None
    }

    /// A restart in this process: same pid, listeners kept where their plan has not changed. Runs that have begun may
    /// take as long as `patience`. Some: the process has to stop with this code.
    pub(super) fn restart_with(&mut self, loaded: Loaded, why: Why, patience: Duration) -> Option<u8> {
        self.deferred = None;
        // What was planned is served by this one, too: it reads the same file.
        self.planned = None;
        self.boot.restarts.begins();
        // Whatever can be refused is refused while the old life still works.
        let settings = match self.prepare(loaded) {
            Ok(settings) => settings,
            Err(e) => return self.restart_refused(why, &e),
        };
        sd_notify::reloading();
        let mut next = None;
        if !self.bound.serves(&settings.plan) && !overlap(&self.bound.addresses(), &settings.plan.addresses) {
            match bind(&self.boot.paths, &settings) {
                Ok(bound) => next = Some(bound),
                Err(e) => return self.restart_refused(why, &e),
            }
        }
        if let Some(code) = self.drain(patience) {
            return Some(code);
        }
        self.boot.restarts.happened(Instant::now());
        log::info!(target: "gateway", "{}", restart_mode());
        self.announcement = None;
        if let Some(life) = self.life.take() {
            let Ended { late, stop, .. } = self.end(life, End::Restart);
            if stop {
                log::info!(target: "gateway", "stop requested during restart; shutting down");
                return Some(0);
            }
            if !late.is_empty() {
                // The next program knows nothing of what this one has published; what it publishes again may stay.
                if self.publisher.plan() != settings.publication().as_ref() {
                    let unpublished = self.publisher.end();
                    self.wait_unpublished(&unpublished, Instant::now() + limits::TAILSCALE_RESET);
                }
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
            return self.close_door(&e, &settings);
        }
        self.set_logging(&settings);
        match begin(self.boot, &settings, &self.bound) {
            Ok(life) => {
                self.life = Some(life);
                self.publisher.follow(settings.publication());
                self.announcement = settings.announce();
                self.warned = settings.loaded.warning_lines();
                self.standing = Standing::new(settings.loaded.effective);
                self.settled = after(limits::LIFE_SETTLES);
                None
            }
            Err(e) => self.close_door(&e, &settings),
        }
    }

    /// A restart that cannot be had changes nothing: what serves goes on serving, what waits goes on waiting.
    pub(super) fn restart_refused(&self, why: Why, error: &Error) -> Option<u8> {
        if self.life.is_none() || why == Why::Asked {
            say_failed(error);
        } else {
            log::error!(target: "reload", "config restart failed: {error}");
            log::info!(
                target: "reload",
                "the gateway goes on as before; change the configuration, or send SIGHUP to try again"
            );
        }
        if self.life.is_some() {
            sd_notify::ready();
        }
        None
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
    fn close_door(&mut self, error: &Error, settings: &Settings) -> Option<u8> {
        self.closed = Some(ClosedDoor::start(&self.bound.listeners, settings.tls.as_ref().map(InForce::new)));
        say_failed(error);
        None
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

    /// Waits for runs before a planned restart. Some: the process has to stop with this code.
    fn drain(&mut self, patience: Duration) -> Option<u8> {
        let ctx = self.life.as_ref()?.ctx.clone();
        // From here on there is no way back to the old life: nothing more is refused.
        ctx.runs.drain();
        ctx.ready.store(false, Ordering::Release);
        let left = || ctx.runs.active() + ctx.runs.queued();
        if left() == 0 || patience.is_zero() {
            return None;
        }
        log::info!(
            target: "gateway",
            "draining {} active task(s) and {} active embedded run(s) before restart (timeout {}ms)",
            left(),
            ctx.runs.active(),
            patience.as_millis(),
        );
        let until = Instant::now() + patience;
        while left() > 0 {
            self.look_after_loops();
            let wait = until.saturating_duration_since(Instant::now()).min(DRAIN_LOOK);
            if wait.is_zero() {
                log::warn!(target: "gateway", "drain timeout reached; proceeding with restart");
                return None;
            }
            crossbeam_channel::select! {
                recv(self.boot.signals) -> signal => match signal {
                    Ok(signal @ (Signal::Interrupt | Signal::Terminate)) => {
                        log::info!(target: "gateway", "received {}; shutting down", signal.name());
                        return Some(0);
                    }
                    Ok(signal) => self.during_restart(signal, End::Restart),
                    Err(_) => return Some(0),
                },
                recv(self.boot.control_rx) -> message => {
                    if let Some(code) = message.ok().and_then(|message| self.hear(message)) {
                        return Some(code);
                    }
                }
                default(wait) => {}
            }
        }
        log::info!(target: "gateway", "all active work drained");
        None
    }
}

fn say_failed(error: &Error) {
    let text = error.to_string();
    let text = text.trim_start_matches("Gateway failed to start: ").trim_end_matches('.');
    log::error!(
        target: "gateway",
        "gateway startup failed: {text}. Process will stay alive; fix the issue and restart."
    );
    sd_notify::status(&format!("startup failed: {text}"));
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
