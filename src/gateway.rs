//! The start of the gateway, in the order in which its guards win (cli 3.1). What runs afterwards is `machine`.

pub mod bootstrap;
pub mod life;
mod machine;
mod reload;
pub mod settings;
mod watchdog;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use self::bootstrap::Keep;
use self::life::Life;
use self::machine::Machine;
use self::settings::{Settings, supervised};

use crate::agent::tools::TOOLS;
use crate::config::{Config, Overrides, Paths, Source as _};
use crate::error::{Error, Result};
use crate::hub::system_events::SystemEvents;
use crate::limits;
use crate::log::ws_lines::Detail;
use crate::log::{Level, LogHandle};
use crate::metrics::Metrics;
use crate::protocol::methods::METHODS;
use crate::rpc::restart::Restarts;
use crate::secret::Secret;
use crate::server::force;
use crate::server::http::ROUTES;
use crate::server::listen::{self, BindError, Bound};
use crate::server::lock::{self, Lock, LockError};
use crate::server::port_report::{self, Wording};
use crate::store::in_use;
use crate::store::source::FsSource;
use crate::sys::signals::{self, Signal};
use crate::sys::sockets::{self, PortUse};
use crate::sys::{exec, fds, notice, process, sd_notify};

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
    /// A request asked for a restart: when it is due, and what asked.
    RestartAt(Instant, &'static str),
    /// The configuration was read.
    Reading,
    /// The files of the certificate have changed.
    Certificate,
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
    pub restarts: Arc<Restarts>,
    pub metrics: Arc<Metrics>,
    /// What waits to be told survives a restart inside the process.
    pub system_events: Arc<SystemEvents>,
    control_rx: Receiver<Control>,
    signals: Receiver<Signal>,
    /// A token that was made here and could not be saved: it stays the same until the process ends.
    made_token: OnceLock<Secret>,
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
    let loaded = settings::load(&paths)?;
    let log = start_log(&options, &loaded.config)?;
    let quiet = options.claude_cli_logs;
    let finished = boot(options, paths, loaded, log.clone(), ws_log, dev);
    let finished = finished.or_else(|error| refuse(&log, quiet, error));
    log.flush(limits::LOG_FLUSH);
    finished
}

/// The reason of a start that failed belongs into the log, too: a day later nobody has the terminal. Err: the console
/// does not show lines of the log, the caller prints it.
fn refuse(log: &LogHandle, quiet: bool, error: Error) -> Result<u8> {
    log::error!(target: "", "{error}");
    if quiet || log.levels().1 < Level::Error { Err(error) } else { Ok(error.code) }
}

fn start_log(options: &RunOptions, config: &Config) -> Result<LogHandle> {
    let (file_level, console_level) = settings::log_levels(options, config);
    let logging = &config.logging;
    let started = crate::log::init(crate::log::Options {
        file_level,
        console_level,
        style: log_style(config),
        file: log_file(config),
        max_file_bytes: logging.max_file_bytes,
        redact: !logging.redact_off,
        redact_patterns: logging.redact_patterns.clone(),
        no_color: options.no_color,
        supervised: supervised(),
        console_only: options.claude_cli_logs.then(|| vec!["agent/claude-cli".to_owned()]),
        ..crate::log::Options::default()
    });
    let log = started.map_err(|e| Error::new(format!("Gateway failed to start: Error: log: {e}")))?;
    crate::log::install_panic_hook();
    Ok(log)
}

/// `logging.consoleStyle`
fn log_style(config: &Config) -> Option<crate::log::console::Style> {
    config.logging.console_style.as_deref().and_then(crate::log::console::Style::parse)
}

/// `logging.file`, with the operator's home for `~`.
fn log_file(config: &Config) -> Option<std::path::PathBuf> {
    let home = Paths::resolve(&FsSource, &Overrides::default()).map(|p| p.home).unwrap_or_default();
    config.logging.file.as_deref().map(|file| crate::config::paths::expand_tilde(&home, file))
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
    // Nothing has begun that would have to be ended in order.
    signals::next_interrupt_exits(true);
    let mut settings = Settings::read(&options, &paths, loaded)?;
    if options.password.is_some() {
        log::warn!(
            target: "",
            "Warning: --password can be exposed via process listings. Prefer --password-file or \
             OPENCLAW_GATEWAY_PASSWORD."
        );
    }
    let port = settings.port;
    let mut say = |line: &str| log::info!(target: "gateway", "{line}");
    if options.force {
        force::free_port(port, &mut say)?;
    }
    let lock = take_lock(&paths, port)?;
    if let Some(warning) = &lock.warning {
        log::warn!(target: "gateway", "{warning}");
    }
    let _mark = in_use::mark(&paths.state_dir);
    let keep = if options.auth.is_some() { Keep::InMemory("--auth was given") } else { Keep::Saved };
    let made_token = OnceLock::new();
    let token_line = bootstrap::first_token(&paths, &mut settings, keep, &made_token);
    if let Some(line) = token_line {
        log::info!(target: "gateway", "{line}");
    }
    settings.plan_sockets(&paths)?;
    if options.force {
        for address in settings.plan.addresses.iter().take(1) {
            force::wait_bindable(*address, &mut say)?;
        }
    }
    let (control, control_rx) = unbounded();
    let millis = FsSource.var("OPENCLAW_HANDSHAKE_TIMEOUT_MS").and_then(|v| v.trim().parse::<u64>().ok());
    let handshake_timeout = millis.map_or(limits::HANDSHAKE_TIMEOUT, |ms| Duration::from_millis(ms.max(1)));
    let to_main = control.clone();
    let due = move |at: Instant, reason| drop(to_main.send(Control::RestartAt(at, reason)));
    let restarts = Arc::new(Restarts::new(Box::new(due)));
    let boot = Boot {
        options,
        paths,
        log,
        control,
        ws_log,
        dev,
        handshake_timeout,
        restarts,
        metrics: Arc::new(metrics()),
        system_events: Arc::default(),
        control_rx,
        signals,
        made_token,
    };
    let bound = bind(&boot.paths, &settings)?;
    // From here on there is something to end in order.
    signals::next_interrupt_exits(false);
    let first = begin(&boot, &settings, &bound)?;
    Machine::new(&boot, lock, bound, first, settings)?.run()
}

/// With every name that a request may count under.
fn metrics() -> Metrics {
    let methods = METHODS.iter().map(|method| method.name).collect();
    let routes = ROUTES.iter().map(|route| route.name).collect();
    Metrics::new(methods, routes, TOOLS.iter().map(|tool| tool.name).collect())
}

/// The instance lock: one gateway per configuration file.
fn take_lock(paths: &Paths, port: u16) -> Result<Lock> {
    let allow_multi = FsSource.var("OPENCLAW_ALLOW_MULTI_GATEWAY").as_deref() == Some("1");
    lock::acquire(&paths.config_path, port, allow_multi).map_err(|e| match e {
        LockError::Held { .. } => {
            let listeners = sockets::listeners(port);
            port_report::start_failure(&e, port, &listeners, true, supervised(), Wording::of(paths))
        }
        LockError::Unusable { .. } => Error::new(format!("Gateway failed to start: {e}"))
            .hint("Check owner and mode of the lock's directory, or set TMPDIR."),
    })
}

/// Binds every address of the plan; a gateway on the port is hopeless, another program or what the kernel keeps of one
/// may go away.
fn bind(paths: &Paths, settings: &Settings) -> Result<Bound> {
    let port = settings.port;
    listen::bind(&settings.plan, settings.config.gateway.tls.enabled, &AtomicBool::new(false)).map_err(|e| match e {
        BindError::InUse { .. } => match sockets::port_use(port) {
            PortUse::Free => port_report::not_given_out(port),
            PortUse::Unknown => port_report::start_failure(&e, port, &[], false, supervised(), Wording::of(paths)),
            PortUse::Busy(who) => port_report::start_failure(&e, port, &who, false, supervised(), Wording::of(paths)),
        },
        BindError::Other { .. } | BindError::Stopped => Error::new(format!("Gateway failed to start: {e}")),
    })
}

/// Starts a life and says so.
fn begin(boot: &Boot, settings: &Settings, bound: &Bound) -> Result<Life> {
    if let Some(tls) = &settings.tls {
        tls.log_notes();
        log::info!(target: "gateway", "tls certificate fingerprint sha256:{}", tls.fingerprint);
    }
    for warning in settings.warnings.iter().chain(&bound.warnings) {
        log::warn!(target: "gateway", "{warning}");
    }
    let tls = settings.config.gateway.tls.enabled;
    let life = Life::start(boot, settings, bound)?;
    // Clients are served already; whoever waits for the next lines may rely on it that everything is written.
    bootstrap::keep_last_good(&boot.paths, &settings.loaded);
    let model = crate::rpc::models::primary(&life.ctx);
    log::info!(target: "gateway", "agent model: {}/{}", model.provider, model.model);
    log::info!(target: "gateway", "listening on {} (PID {})", bound.describe(tls), std::process::id());
    match boot.log.file_path() {
        Some(path) => log::info!(target: "gateway", "log file: {}", path.display()),
        None => log::info!(target: "gateway", "log file: none (the last lines are kept in memory)"),
    }
    sd_notify::ready();
    Ok(life)
}
