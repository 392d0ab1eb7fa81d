//! What `main` does with a configuration that thread `reload` has read: nothing, a change while running, or a restart,
//! which waits for the work that is under way (config A5).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, tick};

use super::bootstrap;
use super::machine::{Machine, Why};
use super::settings::{self, Settings};
use crate::config::plan::{Action, Verdict};
use crate::config::{Loaded, Source as _};
use crate::limits;
use crate::reload::{Asked, Found, Reading};
use crate::rpc::context::SecretsInForce;
use crate::store::source::FsSource;
use crate::sys::sd_notify;

/// A restart that waits for work under way. New work is still accepted.
pub(super) struct Deferred {
    loaded: Loaded,
    since: Instant,
    looks: Receiver<Instant>,
}

/// What becomes of a restart that waits.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Wait,
    Idle,
    /// It has waited for this long; it waits no more.
    Late(Duration),
}

impl Machine<'_> {
    /// Takes what was read last, if anything is new. Some: the process has to stop with this code.
    pub(super) fn take_reading(&mut self) -> Option<u8> {
        let Reading { found, asked } = self.readings.lock().take()?;
        let stop = match asked.restart {
            true => self.restart_as_asked(found),
            false => self.consider(found, asked),
        };
        if asked.reload
            && let Some(life) = &self.life
        {
            let renewed = life.renew_certificate(true);
            self.announce_renewed(renewed);
            sd_notify::ready();
        }
        stop
    }

    /// The files of the certificate have changed.
    pub(super) fn renew_certificate(&mut self) {
        let renewed = self.life.as_ref().and_then(|life| life.renew_certificate(false));
        self.announce_renewed(renewed);
    }

    /// Whoever finds us in the local network goes by the fingerprint that we say there.
    fn announce_renewed(&mut self, fingerprint: Option<String>) {
        if self.announcement.take_if(|_| fingerprint.is_some()).is_some()
            && let Some(life) = &self.life
        {
            self.announcement = settings::announce(&life.ctx.config(), life.ctx.port, fingerprint);
        }
    }

    /// SIGUSR1: the configuration as it is now, or none at all.
    fn restart_as_asked(&mut self, found: Found) -> Option<u8> {
        let lost = |what: &str| {
            let path = self.boot.paths.tilde(&self.boot.paths.config_path);
            Err(crate::error::Error::new(format!("{path} {what}")))
        };
        let checked = match found {
            Found::Config(loaded) => Ok(*loaded),
            Found::Invalid(loaded) => settings::valid(&self.boot.paths, *loaded),
            Found::Missing => lost("is missing"),
            Found::Empty => lost("is empty"),
            Found::Unresolved(e) => Err(e),
        };
        match checked {
            Ok(loaded) => {
                // Also when it fails: the same again is not worth another attempt by itself.
                self.standing.weigh(&loaded.effective, loaded.config.gateway.reload_mode);
                self.restart_with(loaded, Why::Asked, limits::RESTART_DRAIN)
            }
            Err(e) => self.restart_refused(Why::Asked, &e),
        }
    }

    fn consider(&mut self, found: Found, asked: Asked) -> Option<u8> {
        let boot = self.boot;
        let reloads = &boot.metrics.reloads;
        if let Some(line) = found.skipped() {
            reloads.count("", "refused");
            log::warn!(target: "reload", "{line}");
            log::info!(target: "reload", "the gateway goes on with the configuration that it has");
        }
        let Found::Config(loaded) = found else { return None };
        let verdict = self.standing.weigh(&loaded.effective, loaded.config.gateway.reload_mode);
        if verdict.changed.is_empty() && !asked.anybody() {
            return None;
        }
        if self.life.is_none() {
            return self.restart_with(*loaded, Why::Config, Duration::ZERO);
        }
        for (warn, line) in verdict.before() {
            match warn {
                true => log::warn!(target: "reload", "{line}"),
                false => log::info!(target: "reload", "{line}"),
            }
        }
        let action = verdict.action();
        if action != Action::Restart && self.deferred.take().is_some() {
            log::info!(target: "reload", "the restart that waited for operations to complete is not needed any more");
        }
        match action {
            Action::Restart => {
                reloads.count("", "restart");
                return self.restart_when_idle(*loaded, &verdict);
            }
            Action::Apply if verdict.applied().is_some() => self.apply(*loaded, &verdict),
            _ if verdict.changed.is_empty() => {
                reloads.count("", "unchanged");
                log::info!(target: "reload", "configuration read; nothing changed");
            }
            Action::Apply | Action::Nothing | Action::Disabled => {}
        }
        None
    }

    // ── While running ──────────────────────────────────────────────────────────────────────────────────

    /// Takes over everything that needs no restart, or nothing.
    fn apply(&mut self, loaded: Loaded, verdict: &Verdict) {
        let waiting = &verdict.plan.restart;
        let env = (!waiting.iter().any(|path| path.split('.').next() == Some("env"))).then(|| loaded.env.clone());
        let loaded = match waiting.is_empty() {
            true => loaded,
            false => {
                let effective = self.standing.without_restart(&loaded.effective);
                let before =
                    self.life.as_ref().map(|life| life.ctx.live().secrets.resolved.clone()).unwrap_or_default();
                loaded.with_effective(effective, &before, &self.boot.paths)
            }
        };
        match self.check(loaded) {
            Ok(settings) => self.adopt(settings, env, verdict),
            Err(e) => {
                self.boot.metrics.reloads.count("", "refused");
                log::warn!(target: "reload", "config reload failed: {e}");
            }
        }
    }

    /// The checks of a start, with the sockets that there are.
    fn check(&self, loaded: Loaded) -> crate::error::Result<Settings> {
        let mut settings = self.read_settings(loaded)?;
        settings.plan = self.bound.plan.clone();
        settings.check_plan()?;
        Ok(settings)
    }

    fn adopt(&mut self, settings: Settings, env: Option<BTreeMap<String, String>>, verdict: &Verdict) {
        self.warn_anew(&settings.loaded);
        self.set_logging(&settings);
        if let Some(life) = &self.life {
            let secrets = SecretsInForce::of(&settings.loaded.effective, &settings.loaded.secrets);
            life.adopt(settings.config.clone(), secrets, env);
        }
        self.boot.metrics.reloads.count("", "applied");
        bootstrap::keep_last_good(&self.boot.paths, &settings.loaded);
        if let Some(line) = verdict.applied() {
            log::info!(target: "reload", "{line}");
        }
        self.standing.take(settings.loaded.effective);
    }

    /// Warnings that were not said about the configuration before this one.
    fn warn_anew(&mut self, loaded: &Loaded) {
        let lines = loaded.warning_lines();
        for line in lines.iter().filter(|line| !self.warned.contains(line)) {
            log::warn!(target: "gateway", "{line}");
        }
        self.warned = lines;
    }

    // ── A restart that waits ───────────────────────────────────────────────────────────────────────────

    fn restart_when_idle(&mut self, loaded: Loaded, verdict: &Verdict) -> Option<u8> {
        let line = format!("config change requires gateway restart ({})", verdict.reasons());
        if let Some(deferred) = &mut self.deferred {
            log::info!(target: "reload", "{line} — already waiting for operations to complete");
            deferred.loaded = loaded;
            return None;
        }
        let (operations, runs) = self.under_way();
        if operations == 0 {
            log::warn!(target: "reload", "{line}");
            return self.restart_with(loaded, Why::Config, limits::RESTART_DRAIN);
        }
        // What cannot start anyway is said now and not when the last run has ended.
        if let Err(e) = self.prepare(loaded.clone()) {
            log::warn!(target: "reload", "{line}");
            return self.restart_refused(Why::Config, &e);
        }
        log::warn!(
            target: "reload",
            "{line} — deferring until {operations} operation(s), {runs} embedded run(s) complete"
        );
        self.deferred = Some(Deferred::new(loaded));
        None
    }

    /// Looks whether the work has ended. Some: the process has to stop with this code.
    pub(super) fn look_at_deferred(&mut self) -> Option<u8> {
        let (operations, runs) = self.under_way();
        let now = Instant::now();
        match self.deferred.as_ref()?.due(now, operations) {
            Due::Wait => return None,
            Due::Idle => {
                log::info!(target: "reload", "all operations and replies completed; restarting gateway now");
            }
            Due::Late(waited) => log::warn!(
                target: "reload",
                "restart timeout after {}ms with {operations} operation(s), {runs} embedded run(s) still active; \
                 restarting anyway",
                waited.as_millis()
            ),
        }
        let Deferred { loaded, since, .. } = self.deferred.take()?;
        self.restart_with(loaded, Why::Config, limits::RESTART_DRAIN.saturating_sub(now - since))
    }

    /// Turns that run or wait, and those that run.
    fn under_way(&self) -> (usize, usize) {
        let runs = self.life.as_ref().map(|life| &life.ctx.runs);
        runs.map_or((0, 0), |runs| (runs.active() + runs.queued(), runs.active()))
    }
}

impl Deferred {
    fn new(loaded: Loaded) -> Deferred {
        Deferred { loaded, since: Instant::now(), looks: tick(limits::RESTART_LOOK) }
    }

    /// Fires whenever somebody should look whether the work has ended.
    pub(super) fn looks(&self) -> Receiver<Instant> {
        self.looks.clone()
    }

    fn due(&self, now: Instant, operations: usize) -> Due {
        let waited = now.saturating_duration_since(self.since);
        match operations {
            0 => Due::Idle,
            _ if waited >= limits::RESTART_DRAIN => Due::Late(waited),
            _ => Due::Wait,
        }
    }
}

/// Words for the log when a restart goes on in this process.
pub(super) fn restart_mode() -> &'static str {
    match FsSource.var("OPENCLAW_NO_RESPAWN").as_deref() {
        Some("1") => "restart mode: in-process restart (OPENCLAW_NO_RESPAWN)",
        _ => "restart mode: in-process restart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::source::MemorySource;
    use crate::config::{self, Overrides, Paths};

    #[test]
    fn a_restart_waits_for_work_but_not_for_ever() {
        let source = MemorySource::new().with_var("HOME", "/h");
        let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
        let deferred = Deferred::new(config::load(&paths, &source));
        let after = |seconds| deferred.since + Duration::from_secs(seconds);
        for (seconds, operations, due) in [
            (0, 1, Due::Wait),
            (89, 2, Due::Wait),
            (90, 1, Due::Late(Duration::from_secs(90))),
            (0, 0, Due::Idle),
            (200, 0, Due::Idle),
        ] {
            assert_eq!(deferred.due(after(seconds), operations), due, "{seconds} s, {operations}");
        }
    }
}
