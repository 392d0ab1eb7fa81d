//! What one start goes by: command line, environment and configuration put together and checked in the order in which
//! the messages win (cli 3.1). Reads files, starts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunOptions, bootstrap};
use crate::config::{self, AuthMode, Bind, Config, Loaded, Paths, Source as _};
use crate::discovery::{self, Announcement};
use crate::error::{Error, Result};
use crate::limits;
use crate::log::ws_lines::{Detail, WsLog};
use crate::policy::auth::{self, AuthOverrides, ResolvedAuth};
use crate::policy::net::{OriginRules, odd_origin};
use crate::policy::start::{self, StartFacts, StartRefusal};
use crate::rpc::context::wall_ms;
use crate::secret::Secret;
use crate::server::bind_plan::{self, BindPlan};
use crate::server::{certificate, listen};
use crate::store::source::FsSource;
use crate::store::{atomic, secrets};
use crate::sys::{exec, host, notice, process};
use crate::tailscale::publish::{Mode, Plan};

/// Largest password file.
const PASSWORD_FILE_BYTES: u64 = 64 * 1024;

/// A start that may begin.
pub struct Settings {
    pub loaded: Loaded,
    pub config: Arc<Config>,
    pub port: u16,
    pub bind: Bind,
    pub bind_from_flag: bool,
    pub auth: ResolvedAuth,
    pub overrides: AuthOverrides,
    pub tailscale_mode: String,
    pub tailscale_reset_on_exit: bool,
    pub plan: BindPlan,
    pub origins: OriginRules,
    /// Certificate and key, where TLS is spoken.
    pub tls: Option<certificate::Loaded>,
    /// Variables from `.env` files and the configuration.
    pub env: BTreeMap<String, String>,
    /// For the log, once there is one.
    pub warnings: Vec<String>,
}

/// Whether a supervisor started us (DECISIONS 86).
pub fn supervised() -> bool {
    process::is_supervised(&|name| FsSource.var(name))
}

/// Restarting will not help: 78 tells a supervisor so, a person gets 1.
pub fn hopeless(error: Error) -> Error {
    error.code(if supervised() { 78 } else { 1 })
}

/// Steps 1 and 3: what is wrong with the words themselves.
pub fn check_words(options: &RunOptions) -> Result<Detail> {
    let dev = options.dev || options.dev_profile || options.profile.as_deref() == Some("dev");
    if options.reset && !dev {
        return Err(Error::new("Use --reset with --dev."));
    }
    let style = if options.compact { Some("compact") } else { options.ws_log.as_deref() };
    WsLog::parse(style.unwrap_or("auto"))
        .map(|style| Detail::of(options.verbose, style))
        .ok_or_else(|| Error::new("Invalid --ws-log (use \"auto\", \"full\", \"compact\")"))
}

/// Step 4. Err carries the block of an invalid configuration.
pub fn load(paths: &Paths) -> Result<Loaded> {
    valid(paths, config::load(paths, &FsSource))
}

/// The same for a configuration that was read already.
pub fn valid(paths: &Paths, loaded: Loaded) -> Result<Loaded> {
    if loaded.valid() {
        return Ok(loaded);
    }
    let mut lines = loaded.invalid_block(paths);
    let last_good = bootstrap::last_good(paths);
    if last_good.exists() {
        lines.push_str(&format!("\nThe last good configuration is kept in {}", paths.tilde(&last_good)));
    }
    Err(hopeless(Error::new(lines)))
}

/// Steps 5 and 8 to 10 and 13; what has to happen between them (`--force`, lock, token) is the caller's.
impl Settings {
    pub fn read(options: &RunOptions, paths: &Paths, mut loaded: Loaded) -> Result<Settings> {
        let flag = options.port.as_deref().map(port_number).transpose()?;
        let (port, _) = paths.port(&FsSource, flag, loaded.config.gateway.port);
        let bind_flag = options.bind.as_deref().map(bind_mode).transpose()?;
        let bind = bind_flag.or(loaded.config.gateway.bind).unwrap_or(Bind::Loopback);
        let overrides = auth_overrides(options, &loaded)?;
        let tailscale_mode = overrides.tailscale_mode.clone().or(loaded.config.gateway.tailscale_mode.clone());
        let tailscale_mode = tailscale_mode.unwrap_or_else(|| "off".into());
        let tailscale_reset_on_exit = options.tailscale_reset_on_exit || loaded.config.gateway.tailscale_reset_on_exit;
        check_mode(options, paths, &loaded)?;
        // Secrets last: asking for them takes time and may start programs.
        secrets::activate(&mut loaded, paths, &FsSource)?;
        let config = Arc::new(loaded.config.clone());
        let auth = auth::resolve_auth(&config.gateway, &overrides);
        let mut settings = Settings {
            env: loaded.env.clone(),
            warnings: loaded.warning_lines(),
            plan: BindPlan::default(),
            origins: OriginRules::default(),
            tls: None,
            loaded,
            config,
            port,
            bind,
            bind_from_flag: bind_flag.is_some(),
            auth,
            overrides,
            tailscale_mode,
            tailscale_reset_on_exit,
        };
        let warnings = start::check_auth(&settings.facts()).map_err(refused)?;
        settings.warnings.extend(warnings.into_iter().map(str::to_owned));
        settings.warnings.extend(settings.auth.bad_proxies.iter().map(|entry| {
            format!("gateway.trustedProxies: \"{entry}\" is no address (10.0.0.1) and no network (10.0.0.0/8); ignored")
        }));
        settings.warnings.extend(
            settings.config.http.cors_origins.iter().filter_map(|entry| {
                Some(format!("gateway.http.cors.allowedOrigins: \"{entry}\" {}", odd_origin(entry)?))
            }),
        );
        settings.warnings.extend(without_effect(options));
        Ok(settings)
    }

    /// Step 13, after the token is known: bind plan and everything that forbids it.
    pub fn plan_sockets(&mut self, paths: &Paths) -> Result<()> {
        let custom = self.config.gateway.custom_bind_host.as_deref();
        self.plan =
            bind_plan::plan(self.bind, custom, self.port, &host::tailnet_ipv4, &listen::can_bind).map_err(failed)?;
        let canvas = &self.config.canvas;
        if let Some(port) = canvas.port.filter(|_| canvas.enabled && !self.skips("OPENCLAW_SKIP_CANVAS_HOST")) {
            self.plan.add_canvas(port);
        }
        self.check_plan()?;
        self.tls = certificate(&self.config, paths)?;
        Ok(())
    }

    /// The environment says that a part is not to be started.
    pub fn skips(&self, variable: &str) -> bool {
        self.loaded.var(&FsSource, variable).is_some_and(|value| value.trim() == "1")
    }

    /// The second half, for a plan that is there.
    pub fn check_plan(&mut self) -> Result<()> {
        start::check_runtime(&self.facts()).map_err(|refusal| failed(refusal.lines.join("\n")))?;
        let assumed = start::assumed_origins(&self.facts());
        if !assumed.is_empty() {
            self.warnings.push(format!(
                "gateway: seeded gateway.controlUi.allowedOrigins {assumed:?} for bind={} (not saved)",
                self.bind.name()
            ));
        }
        let ui = &self.config.gateway.control_ui;
        let allowed = ui.allowed_origins.iter().cloned().chain(assumed).collect();
        self.origins = OriginRules { allowed, host_header_fallback: ui.host_header_origin_fallback };
        self.warnings.extend(self.plan.warnings.iter().cloned());
        Ok(())
    }

    /// What is to be published through Tailscale, if anything.
    pub fn publication(&self) -> Option<Plan> {
        Mode::parse(&self.tailscale_mode).map(|mode| Plan {
            mode,
            port: self.port,
            tls: self.config.gateway.tls.enabled,
            reset_on_exit: self.tailscale_reset_on_exit,
            base_path: self.config.gateway.control_ui.base_path.clone(),
        })
    }

    pub fn announce(&self) -> Option<Announcement> {
        announce(&self.config, self.port, self.tls.as_ref().map(|tls| tls.fingerprint.clone()))
    }

    /// The file was changed by ourselves.
    pub fn reread(&mut self, paths: &Paths) {
        let mut loaded = config::load(paths, &FsSource);
        if loaded.valid() {
            let unused = self.loaded.unused_secrets.take().unwrap_or_default();
            loaded.use_secrets(std::mem::take(&mut self.loaded.secrets), unused, paths);
            self.config = Arc::new(loaded.config.clone());
            self.loaded = loaded;
        }
    }

    /// The token that was made at this start.
    pub fn set_token(&mut self, token: Secret) {
        self.overrides.token = Some(token);
        self.auth = auth::resolve_auth(&self.config.gateway, &self.overrides);
    }

    fn facts(&self) -> StartFacts<'_> {
        let host = self.plan.addresses.first().map_or(std::net::Ipv4Addr::LOCALHOST.into(), |a| a.ip());
        StartFacts {
            config: &self.config,
            overrides: &self.overrides,
            auth: &self.auth,
            bind: self.bind,
            bind_from_flag: self.bind_from_flag,
            host,
            port: self.port,
            tailscale_mode: &self.tailscale_mode,
            stray_gateway_token: self.loaded.parsed.pointer("/gateway/token").is_some(),
        }
    }
}

/// Says in the local network that the gateway is there, where the configuration wants that. `tls`: its fingerprint.
/// None with a warning when it cannot be said.
pub fn announce(config: &Config, port: u16, tls: Option<String>) -> Option<Announcement> {
    let mode = config.gateway.mdns_mode.as_deref().filter(|mode| *mode != "off")?;
    let set = |name: &str| FsSource.var(name).filter(|value| !value.trim().is_empty());
    if set("OPENCLAW_DISABLE_BONJOUR").is_some_and(|value| value.trim() == "1") {
        return None;
    }
    let program = || exec::own_binary().ok().map(|path| path.display().to_string());
    let facts = discovery::Facts {
        host: host::hostname(),
        port,
        tls,
        tailnet: host::tailnet_ipv4(),
        program: (mode == "full").then(program).flatten(),
    };
    let groups = discovery::groups(set("OPENCLAW_MDNS_ADDRESS").as_deref());
    match Announcement::start(facts, &groups) {
        Ok(announcement) => Some(announcement),
        Err(e) => {
            let first = groups[0];
            log::warn!(target: "discovery", "not announced: {first}: {e}; to silence this set discovery.mdns.mode to off");
            None
        }
    }
}

/// What clients are greeted with. None: TLS is off.
pub fn certificate(config: &Config, paths: &Paths) -> Result<Option<certificate::Loaded>> {
    let tls = &config.gateway.tls;
    let files = || certificate::Files::of(tls, &paths.state_dir);
    tls.enabled.then(|| files().load(wall_ms())).transpose()
}

fn failed(text: String) -> Error {
    Error::new(format!("Gateway failed to start: Error: {text}"))
}

fn refused(refusal: StartRefusal) -> Error {
    Error::new(refusal.lines.join("\n"))
}

fn port_number(text: &str) -> Result<u16> {
    text.parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(|| Error::new("Invalid port"))
}

fn bind_mode(text: &str) -> Result<Bind> {
    Bind::parse(text)
        .ok_or_else(|| Error::new("Invalid --bind (use \"loopback\", \"lan\", \"tailnet\", \"auto\", or \"custom\")"))
}

/// Step 8 and the secrets of step 10.
fn auth_overrides(options: &RunOptions, loaded: &Loaded) -> Result<AuthOverrides> {
    let mode = options.auth.as_deref().map(|text| {
        AuthMode::parse(text)
            .ok_or_else(|| Error::new("Invalid --auth (use \"none\", \"token\", \"password\", or \"trusted-proxy\")"))
    });
    let mode = mode.transpose()?;
    if let Some(text) = options.tailscale.as_deref()
        && !matches!(text, "off" | "serve" | "funnel")
    {
        return Err(Error::new("Invalid --tailscale (use \"off\", \"serve\", or \"funnel\")"));
    }
    let password = match (&options.password, &options.password_file) {
        (Some(_), Some(_)) => return Err(Error::new("Use either --password or --password-file.")),
        (None, Some(path)) => Some(read_password(path)?),
        (password, None) => password.clone(),
    };
    let env = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| loaded.var(&FsSource, name));
        found.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).map(Secret::new)
    };
    Ok(AuthOverrides {
        mode,
        token: options.token.clone().filter(|t| !t.is_empty()),
        password,
        env_token: env(["OPENCLAW_GATEWAY_TOKEN", "CLAWDBOT_GATEWAY_TOKEN"]),
        env_password: env(["OPENCLAW_GATEWAY_PASSWORD", "CLAWDBOT_GATEWAY_PASSWORD"]),
        tailscale_mode: options.tailscale.clone(),
    })
}

fn read_password(path: &str) -> Result<Secret> {
    let file = std::path::Path::new(path);
    let inspected = std::fs::symlink_metadata(file);
    let meta = inspected.map_err(|e| Error::new(format!("Failed to inspect Gateway password file at {path}: {e}")))?;
    if meta.is_symlink() {
        return Err(Error::new(format!("Gateway password file at {path} must not be a symlink.")));
    }
    let unreadable =
        |e: &dyn std::fmt::Display| Error::new(format!("Failed to read Gateway password file at {path}: {e}"));
    if !meta.is_file() {
        return Err(unreadable(&"not a regular file"));
    }
    let bytes = atomic::read_limited(file, PASSWORD_FILE_BYTES).map_err(|e| unreadable(&e))?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(&"not UTF-8 text"))?;
    match text.trim() {
        "" => Err(Error::new(format!("Gateway password file at {path} is empty."))),
        password => Ok(Secret::new(password)),
    }
}

/// Step 9.
fn check_mode(options: &RunOptions, paths: &Paths, loaded: &Loaded) -> Result<()> {
    if options.allow_unconfigured || loaded.config.gateway.mode.as_deref() == Some("local") {
        return Ok(());
    }
    if !loaded.exists {
        return Err(Error::new(format!(
            "Missing config. Run `{}` or set gateway.mode=local (or pass --allow-unconfigured).",
            paths.with_profile("openclaw setup")
        )));
    }
    let current = loaded.config.gateway.mode.as_deref().unwrap_or("unset");
    let audit = paths.state_dir.join("logs").join("config-audit.jsonl");
    Err(Error::new(format!(
        "Gateway start blocked: set gateway.mode=local (current: {current}) or pass --allow-unconfigured."
    ))
    .hint(format!("Config write audit: {}", paths.tilde(&audit))))
}

/// Levels of file and console: `OPENCLAW_LOG_LEVEL` or `--log-level`, then the configuration; `--verbose` is the
/// console's debug.
pub fn log_levels(options: &RunOptions, config: &Config) -> (crate::log::Level, crate::log::Level) {
    use crate::log::Level;
    let level = |text: &Option<String>| text.as_deref().and_then(Level::parse);
    let from_env = || {
        let text = FsSource.var("OPENCLAW_LOG_LEVEL").filter(|v| !v.trim().is_empty())?;
        Level::from_env(text.trim()).inspect_err(|line| notice::warn(line)).ok()
    };
    let both = level(&options.log_level).or_else(from_env);
    let file = both.or(level(&config.logging.level)).unwrap_or(Level::Info);
    let console = both.or(level(&config.logging.console_level)).unwrap_or(Level::Info);
    (file, if options.verbose { console.max(Level::Debug) } else { console })
}

/// Options that are accepted so that command lines written for the reference start, and do nothing here yet.
fn without_effect(options: &RunOptions) -> Option<String> {
    let mut names = Vec::new();
    if options.raw_stream || options.raw_stream_path.is_some() {
        names.push("--raw-stream".to_owned());
    }
    (!names.is_empty()).then(|| format!("accepted, but without effect in this version: {}", names.join(", ")))
}

/// Bound of the answers and events that wait for one client.
pub fn max_buffered(config: &Config) -> usize {
    config.gateway.max_buffered_bytes.unwrap_or(limits::MAX_BUFFERED_BYTES)
}
