//! Start order, control loop and stop order of the gateway; the only file that starts owners.

pub mod bootstrap;
pub mod life;
pub mod settings;

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use serde_json::Value;

use self::life::{End, Life};
use self::settings::{Settings, hopeless};

use crate::config::plan::Action;
use crate::config::{Overrides, Paths, Plan, Source as _, diff};
use crate::error::{Error, Result};
use crate::limits;
use crate::log::LogHandle;
use crate::log::ws_lines::Detail;
use crate::secret::Secret;
use crate::server::listen::{self, BindError, Bound};
use crate::server::lock::{self, Lock, LockError};
use crate::server::port_report::Wording;
use crate::server::{force, port_report};
use crate::store::source::FsSource;
use crate::sys::signals::{self, Signal};
use crate::sys::{exec, fds, memory, notice, process, sockets};

/// What the command line said for `gateway [run]` (cli 3), unchecked: the checks are part of the start order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunOptions {
    // ── global options ──
    /// `--profile <name>`, already checked.
    pub profile: Option<String>,
    /// `openclaw --dev …`: the profile of that name.
    pub dev_profile: bool,
    pub log_level: Option<String>,
    pub no_color: bool,
    // ── options of `gateway [run]` ──
    pub port: Option<String>,
    pub bind: Option<String>,
    pub token: Option<Secret>,
    pub auth: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<String>,
    pub tailscale: Option<String>,
    pub tailscale_reset_on_exit: bool,
    pub allow_unconfigured: bool,
    /// `openclaw gateway --dev`: development configuration and workspace in the current profile.
    pub dev: bool,
    pub reset: bool,
    pub force: bool,
    pub verbose: bool,
    pub claude_cli_logs: bool,
    pub ws_log: Option<String>,
    pub compact: bool,
    pub raw_stream: bool,
    pub raw_stream_path: Option<String>,
}

/// What reaches `main` beside signals.
#[derive(Debug)]
pub enum Control {
    /// An owner's thread panicked: its state is gone.
    Died(&'static str),
}

/// Once per process; every life of the gateway borrows it.
pub struct Boot {
    pub options: RunOptions,
    pub paths: Paths,
    pub log: LogHandle,
    pub control: Sender<Control>,
    pub ws_log: Detail,
    /// The dev profile or `gateway --dev`: without a provider the echo model answers.
    pub dev: bool,
    pub handshake_timeout: Duration,
    control_rx: Receiver<Control>,
    signals: Receiver<Signal>,
}

/// Runs the gateway until it is asked to stop; the exit code of the process.
pub fn run(options: RunOptions) -> Result<u8> {
    exec::private_umask();
    fds::raise_descriptor_limit();
    process::set_name(process::TITLE);
    let ws_log = settings::check_words(&options)?;
    let overrides = Overrides { profile: options.profile.clone(), dev: options.dev_profile };
    let paths = Paths::resolve(&FsSource, &overrides).map_err(|e| Error::new(e.to_string()).code(2))?;
    let dev = options.dev || paths.profile.as_deref() == Some("dev");
    let mut said = Vec::new();
    if options.reset {
        said.extend(bootstrap::reset(&paths)?);
    }
    if dev {
        said.extend(bootstrap::prepare_dev(&paths)?);
    }
    for line in said {
        notice::say(&line);
    }
    if options.password.is_some() {
        notice::warn(
            "Warning: --password can be exposed via process listings. Prefer --password-file or \
             OPENCLAW_GATEWAY_PASSWORD.",
        );
    }
    let loaded = settings::load(&paths)?;
    let log = start_log(&options, &loaded.config)?;
    let finished = boot(options, paths, loaded, log.clone(), ws_log, dev);
    log.flush(limits::LOG_FLUSH);
    finished
}

fn start_log(options: &RunOptions, config: &crate::config::Config) -> Result<LogHandle> {
    let (file_level, console_level) = settings::log_levels(options, config);
    let logging = &config.logging;
    let style = logging.console_style.as_deref().and_then(crate::log::console::Style::parse);
    let started = crate::log::init(crate::log::Options {
        file_level,
        console_level,
        style,
        file: logging.file.as_deref().map(|f| crate::config::paths::expand_tilde(&home(), f)),
        max_file_bytes: logging.max_file_bytes,
        redact: !logging.redact_off,
        redact_patterns: logging.redact_patterns.clone(),
        no_color: options.no_color,
        supervised: settings::supervised(),
        console_only: options.claude_cli_logs.then(|| vec!["agent/claude-cli".to_owned()]),
        ..crate::log::Options::default()
    });
    let log = started.map_err(|e| Error::new(format!("Gateway failed to start: Error: log: {e}")))?;
    crate::log::install_panic_hook();
    Ok(log)
}

fn home() -> std::path::PathBuf {
    Paths::resolve(&FsSource, &Overrides::default()).map(|p| p.home).unwrap_or_default()
}

fn boot(
    options: RunOptions,
    paths: Paths,
    loaded: crate::config::Loaded,
    log: LogHandle,
    ws_log: Detail,
    dev: bool,
) -> Result<u8> {
    let (signal_tx, signals) = bounded(16);
    signals::install(signal_tx).map_err(|e| Error::new(format!("Gateway failed to start: Error: signals: {e}")))?;
    let mut settings = Settings::read(&options, &paths, loaded)?;
    let port = settings.port;
    if options.force {
        let mut say = |line: &str| log::info!(target: "gateway", "{line}");
        force::free_port(port, &mut say)?;
    }
    let lock = take_lock(&paths, port)?;
    let mode_from_flag = options.auth.is_some();
    let token_line = bootstrap::first_token(&paths, &mut settings, mode_from_flag);
    settings.plan_sockets()?;
    if options.force {
        let mut say = |line: &str| log::info!(target: "gateway", "{line}");
        for address in settings.plan.addresses.iter().take(1) {
            force::wait_bindable(*address, &mut say)?;
        }
    }
    let (control, control_rx) = unbounded();
    let millis = FsSource.var("OPENCLAW_HANDSHAKE_TIMEOUT_MS").and_then(|v| v.trim().parse::<u64>().ok());
    let handshake_timeout = millis.map_or(limits::HANDSHAKE_TIMEOUT, |ms| Duration::from_millis(ms.max(1)));
    let boot = Boot { options, paths, log, control, ws_log, dev, handshake_timeout, control_rx, signals };
    if let Some(line) = token_line {
        log::warn!(target: "gateway", "{line}");
    }
    let bound = bind(&boot.paths, &settings)?;
    let effective = settings.loaded.effective.clone();
    let first = begin(&boot, settings, &bound)?;
    Machine { boot: &boot, lock: Some(lock), bound, life: Some(first), effective }.run()
}

/// The instance lock: one gateway per configuration file.
fn take_lock(paths: &Paths, port: u16) -> Result<Lock> {
    let allow_multi = FsSource.var("OPENCLAW_ALLOW_MULTI_GATEWAY").as_deref() == Some("1");
    lock::acquire(&paths.config_path, port, allow_multi).map_err(|e| {
        let held = matches!(e, LockError::Held { .. });
        let mut error = Error::new(format!("Gateway failed to start: {e}"));
        if held {
            error = error.hint(format!(
                "If the gateway is supervised, stop it with: {}",
                paths.with_profile("openclaw gateway stop")
            ));
            let listeners = sockets::listeners(port);
            if !listeners.is_empty() {
                error.hints.extend(port_report::port_report(port, &listeners, Wording::of(paths)));
            }
            return hopeless(error);
        }
        error.hint("Check owner and mode of the lock's directory, or set TMPDIR.")
    })
}

/// Binds every address of the plan; a gateway on the port is hopeless, another program may go away.
fn bind(paths: &Paths, settings: &Settings) -> Result<Bound> {
    let port = settings.port;
    listen::bind(&settings.plan, settings.config.gateway.tls_enabled, &AtomicBool::new(false)).map_err(|e| {
        let mut error = Error::new(format!("Gateway failed to start: {e}"));
        if matches!(e, BindError::InUse { .. }) {
            let listeners = sockets::listeners(port);
            let gateway = port_report::held_by_gateway(&listeners);
            let stop = paths.with_profile("openclaw gateway stop");
            error.hints.push(format!("If the gateway is supervised, stop it with: {stop}"));
            error.hints.extend(port_report::port_report(port, &listeners, Wording::of(paths)));
            return if gateway { hopeless(error) } else { error };
        }
        error
    })
}

/// Starts a life and says so.
fn begin(boot: &Boot, settings: Settings, bound: &Bound) -> Result<Life> {
    for warning in settings.warnings.iter().chain(&bound.warnings) {
        log::warn!(target: "gateway", "{warning}");
    }
    let tls = settings.config.gateway.tls_enabled;
    let life = Life::start(boot, settings, bound)?;
    let model = crate::rpc::models::primary(&life.ctx, life.ctx.config().agents.default_id());
    log::info!(target: "gateway", "agent model: {}/{}", model.provider, model.model);
    log::info!(target: "gateway", "listening on {} (PID {})", bound.describe(tls), std::process::id());
    match boot.log.file_path() {
        Some(path) => log::info!(target: "gateway", "log file: {}", path.display()),
        None => log::info!(target: "gateway", "log file: none (the last lines are kept in memory)"),
    }
    memory::trim();
    memory::release_code();
    Ok(life)
}

/// The control loop: one life after the other, until a stop.
struct Machine<'a> {
    boot: &'a Boot,
    lock: Option<Lock>,
    bound: Bound,
    /// None: the last restart failed, the process waits for a better configuration.
    life: Option<Life>,
    /// The configuration in force as a tree, what a changed file is compared with.
    effective: Value,
}

impl Machine<'_> {
    fn run(mut self) -> Result<u8> {
        loop {
            crossbeam_channel::select! {
                recv(self.boot.signals) -> signal => match signal {
                    Ok(Signal::Interrupt | Signal::Terminate) => {
                        let name = signal.map_or("", Signal::name);
                        log::info!(target: "gateway", "signal {name} received");
                        log::info!(target: "gateway", "received {name}; shutting down");
                        return self.stop(0);
                    }
                    Ok(Signal::Hangup) => {
                        log::info!(target: "gateway", "signal SIGHUP received");
                        if let Some(code) = self.reload() {
                            return self.stop(code);
                        }
                    }
                    Ok(Signal::User1) => {
                        log::info!(target: "gateway", "signal SIGUSR1 received");
                        if self.may_restart() {
                            log::info!(target: "gateway", "received SIGUSR1; restarting");
                            if let Some(code) = self.restart() {
                                return self.stop(code);
                            }
                        }
                    }
                    Ok(Signal::User2) => {
                        self.boot.log.reopen();
                        log::info!(target: "gateway", "log reopened");
                    }
                    Err(_) => return self.stop(0),
                },
                recv(self.boot.control_rx) -> message => if let Ok(Control::Died(who)) = message {
                    crate::fatal!(target: "gateway", "thread {who} died; stopping so that a supervisor can start anew");
                    return self.stop(70);
                },
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

    /// Stops within the budget, whatever happens: the process must not outlive it.
    fn stop(mut self, code: u8) -> Result<u8> {
        let deadline = Instant::now() + limits::STOP_BUDGET;
        signals::next_interrupt_exits(true);
        let deadline = self.hurried(deadline);
        if let Some(life) = self.life.take()
            && let Err(late) = life.stop(End::Stop, deadline)
        {
            log::warn!(target: "gateway", "shutdown timed out; exiting without full cleanup ({})", late.join(", "));
        }
        drop(self.lock.take());
        self.boot.log.flush(limits::LOG_FLUSH);
        // Threads that did not end die here.
        Ok(code)
    }

    /// A second TERM that came already ends the grace.
    fn hurried(&self, deadline: Instant) -> Instant {
        match self.boot.signals.try_recv() {
            Ok(Signal::Terminate) => Instant::now() + Duration::from_millis(200),
            _ => deadline,
        }
    }

    /// SIGHUP: reads the configuration and takes over what it can. Some: the process has to stop with this code.
    fn reload(&mut self) -> Option<u8> {
        let loaded = crate::config::load(&self.boot.paths, &FsSource);
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
        let (file, console) = settings::log_levels(&self.boot.options, &settings.config);
        self.boot.log.set_levels(file, console);
        let logging = &settings.config.logging;
        self.boot.log.set_redaction(!logging.redact_off, &logging.redact_patterns);
        if let Some(life) = &self.life {
            life.adopt(&settings);
        }
        self.effective = settings.loaded.effective;
    }

    /// Checks everything that can be checked before anything stops.
    fn prepare(&self, loaded: crate::config::Loaded) -> Result<Settings> {
        let mut settings = Settings::read(&self.boot.options, &self.boot.paths, loaded)?;
        if let Some(line) = bootstrap::first_token(&self.boot.paths, &mut settings, true) {
            log::warn!(target: "gateway", "{line}");
        }
        settings.plan_sockets()?;
        Ok(settings)
    }

    /// A restart in this process: same pid, listeners kept where their plan has not changed. Some: the process has to
    /// stop with this code.
    fn restart(&mut self) -> Option<u8> {
        let prepared = settings::load(&self.boot.paths).and_then(|loaded| self.prepare(loaded));
        let settings = match prepared {
            Ok(settings) => settings,
            Err(e) => {
                log::error!(
                    target: "gateway",
                    "gateway startup failed: {e}. Process will stay alive; fix the issue and restart."
                );
                return None;
            }
        };
        // Another port is bound before the old one closes.
        let mut next = None;
        let same_port =
            settings.plan.addresses.iter().any(|a| self.bound.addresses().iter().any(|b| a.port() == b.port()));
        if !self.bound.serves(&settings.plan) && !same_port {
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
        log::info!(
            target: "gateway",
            "restart mode: in-process restart{}", if no_respawn { " (OPENCLAW_NO_RESPAWN)" } else { "" }
        );
        if let Some(life) = self.life.take()
            && let Err(late) = life.stop(End::Restart, Instant::now() + limits::STOP_BUDGET)
        {
            log::warn!(target: "gateway", "threads that did not end: {}; starting the program anew", late.join(", "));
            self.boot.log.flush(limits::LOG_FLUSH);
            drop(self.lock.take());
            let failed = exec::restart_self();
            crate::fatal!(target: "gateway", "restart failed: {failed}");
            return Some(1);
        }
        if let Some(bound) = next {
            self.bound = bound;
        } else if !self.bound.serves(&settings.plan)
            && let Err(e) = self.rebind(&settings)
        {
            log::error!(
                target: "gateway",
                "gateway startup failed: {e}. Process will stay alive; fix the issue and restart."
            );
            return None;
        }
        let effective = settings.loaded.effective.clone();
        match begin(self.boot, settings, &self.bound) {
            Ok(life) => {
                self.life = Some(life);
                self.effective = effective;
            }
            Err(e) => log::error!(
                target: "gateway",
                "gateway startup failed: {e}. Process will stay alive; fix the issue and restart."
            ),
        }
        None
    }

    /// The same port on another address cannot overlap: close, bind, and the old address again if that fails.
    fn rebind(&mut self, settings: &Settings) -> Result<()> {
        let old = self.bound.plan.clone();
        self.bound.listeners.clear();
        match bind(&self.boot.paths, settings) {
            Ok(bound) => {
                self.bound = bound;
                Ok(())
            }
            Err(e) => {
                if let Ok(bound) = listen::bind(&old, false, &AtomicBool::new(false)) {
                    self.bound = bound;
                }
                Err(e)
            }
        }
    }

    /// Waits for runs before a planned restart. Some: a stop was asked for meanwhile.
    fn drain(&mut self) -> Option<u8> {
        let life = self.life.as_ref()?;
        let active = || life.ctx.runs.active();
        if active() == 0 {
            return None;
        }
        life.ctx.draining.store(true, std::sync::atomic::Ordering::Release);
        log::info!(
            target: "gateway",
            "draining {n} active task(s) and {n} active embedded run(s) before restart (timeout {}ms)",
            limits::RESTART_DRAIN.as_millis(),
            n = active(),
        );
        let deadline = Instant::now() + limits::RESTART_DRAIN;
        while active() > 0 {
            let wait = deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(50));
            if wait.is_zero() {
                log::warn!(target: "gateway", "drain timeout reached; proceeding with restart");
                return None;
            }
            match self.boot.signals.recv_timeout(wait) {
                Ok(signal @ (Signal::Interrupt | Signal::Terminate)) => {
                    log::info!(target: "gateway", "received {}; shutting down", signal.name());
                    return Some(0);
                }
                Ok(signal) => log::info!(target: "gateway", "received {} during restart; ignoring", signal.name()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Some(0),
            }
        }
        log::info!(target: "gateway", "all active work drained");
        None
    }
}
