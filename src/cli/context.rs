//! What every command starts from: paths, environment, configuration, colours, and one way to call the gateway.
//!
//! Runs on the main thread of a command. Nothing is read before a command asks for it.

use std::cell::OnceCell;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::client::{Client, Deadline, Device, Failure, now_ms};
use super::output::{self, Paint};
use super::target::{self, Flags, Local, Target};
use super::tree::Top;
use crate::config::load::{self, Loaded};
use crate::config::secret_ref::Wanted;
use crate::config::{Config, Overrides, Paths, Source as _};
use crate::err;
use crate::error::{Error, Result};
use crate::store::identity::Identity;
use crate::store::secrets;
use crate::store::source::FsSource;

/// Milliseconds that most commands wait for an answer.
pub const TIMEOUT_MS: u64 = 10_000;
/// The same for `logs` and `system`.
pub const LONG_TIMEOUT_MS: u64 = 30_000;

/// The options before the command.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Globals {
    pub profile: Option<String>,
    pub dev: bool,
    pub log_level: Option<String>,
    pub no_color: bool,
}

impl Globals {
    pub fn of(top: &Top) -> Globals {
        Globals { profile: top.profile.clone(), dev: top.dev, log_level: top.log_level.clone(), no_color: top.no_color }
    }
}

pub struct Context {
    pub paths: Paths,
    pub paint: Paint,
    pub columns: usize,
    loaded: OnceCell<Loaded>,
    /// The configuration with the gateway's secrets behind references, when a command needed them.
    with_secrets: OnceCell<Config>,
    identity: OnceCell<Option<Identity>>,
}

/// One call of one method, and how its failure is introduced.
pub struct Call<'a> {
    pub flags: Flags<'a>,
    /// As typed after `--timeout`.
    pub timeout: Option<&'a str>,
    pub default_ms: u64,
    /// Before the error text, e.g. `Gateway call failed: Error: `.
    pub prefix: &'a str,
    pub expect_final: bool,
}

impl Context {
    pub fn new(globals: &Globals) -> Result<Context> {
        let overrides = Overrides { profile: globals.profile.clone(), dev: globals.dev };
        let paths =
            Paths::resolve(&FsSource, &overrides).map_err(|error| Error::new(format!("[openclaw] {error}")).code(2))?;
        let terminal = output::stdout_is_terminal();
        Ok(Context {
            paths,
            paint: Paint::choose(globals.no_color, env, terminal),
            columns: output::columns(
                terminal.then(crate::sys::terminal::columns).flatten(),
                env("COLUMNS").filter(|_| terminal).as_deref(),
            ),
            loaded: OnceCell::new(),
            with_secrets: OnceCell::new(),
            identity: OnceCell::new(),
        })
    }

    /// The same places, to be read once more: something has been changed.
    pub fn anew(&self) -> Context {
        Context {
            paths: self.paths.clone(),
            paint: self.paint,
            columns: self.columns,
            loaded: OnceCell::new(),
            with_secrets: OnceCell::new(),
            identity: OnceCell::new(),
        }
    }

    /// The path for people: `~` for the home directory.
    pub fn short(&self, path: &Path) -> String {
        self.paths.tilde(path)
    }

    /// A command that we suggest, with the active profile in it.
    pub fn suggest(&self, command: &str) -> String {
        self.paths.with_profile(command)
    }

    /// The configuration, wrong or not.
    pub fn loaded(&self) -> &Loaded {
        self.loaded.get_or_init(|| load::load(&self.paths, &FsSource))
    }

    /// The configuration for commands that need a right one.
    pub fn config(&self) -> Result<&Config> {
        let loaded = self.loaded();
        if loaded.valid() {
            return Ok(&loaded.config);
        }
        Err(Error::new(loaded.invalid_block(&self.paths)))
    }

    /// Port of the local gateway without `--port`.
    pub fn port(&self, flag: Option<u16>) -> u16 {
        self.paths.port(&FsSource, flag, self.loaded().config.gateway.port).0
    }

    /// A variable: the process's, else what `.env` or the configuration sets.
    pub fn var(&self, name: &str) -> Option<String> {
        self.loaded().var(&FsSource, name)
    }

    pub fn target(&self, flags: Flags<'_>) -> Result<Target> {
        self.with_local(flags, None, |local| target::resolve(flags, local))
    }

    /// This machine's gateway, whatever `gateway.mode` says.
    pub fn local_target(&self, flags: Flags<'_>, port: Option<u16>) -> Result<Target> {
        self.with_local(flags, port, |local| target::resolve_local(flags, local))
    }

    /// For `--json`: the connection block names the file as programs need it.
    pub fn absolute(&self, mut target: Target) -> Target {
        target.config_path = self.paths.config_path.display().to_string();
        target
    }

    /// The configuration for reaching a gateway: its token and password may be references to files and programs.
    pub(super) fn config_for(&self, flags: Flags<'_>) -> &Config {
        if flags.has_secret() {
            return &self.loaded().config;
        }
        self.with_secrets.get_or_init(|| {
            let mut loaded = self.loaded().clone();
            let remote = |path: &str| path.starts_with("gateway.remote.");
            // On this machine a token for another one is only the last resort.
            let must = loaded.config.gateway.mode.as_deref() == Some("remote");
            let wants = |wanted: &Wanted| {
                wanted.path.starts_with("gateway.") && (wanted.inactive.is_none() || remote(&wanted.path))
            };
            let var = |name: &str| self.var(name);
            let outcome = secrets::resolve_where(&loaded.effective, &self.paths, &var, &wants);
            for failure in outcome.failed.iter().filter(|failure| must || !remote(&failure.path)) {
                err!("SecretRef cannot be resolved: {}", output::plain(&failure.to_string()));
            }
            let mut known = std::mem::take(&mut loaded.secrets);
            known.extend(outcome.resolved);
            loaded.use_secrets(known, Vec::new(), &self.paths);
            loaded.config
        })
    }

    fn with_local<T>(&self, flags: Flags<'_>, port: Option<u16>, run: impl FnOnce(Local<'_>) -> T) -> T {
        let config = self.config_for(flags);
        let config_path = self.short(&self.paths.config_path);
        let tailnet = (config.gateway.bind == Some(crate::config::Bind::Tailnet))
            .then(crate::sys::host::tailnet_ipv4)
            .flatten()
            .map(Into::into);
        run(Local {
            env: &|name| self.var(name),
            config,
            port: self.port(port),
            config_path: &config_path,
            state_dir: &self.paths.state_dir,
            tailnet,
        })
    }

    /// This state directory's device; None where it can be neither read nor made.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.get_or_init(|| Identity::load_or_create(&self.paths.state_dir, now_ms()).ok()).as_ref()
    }

    pub fn connect(&self, target: &Target, deadline: Deadline) -> std::result::Result<Client, Failure> {
        let device = Device { identity: &|| self.identity(), state_dir: &self.paths.state_dir };
        Client::connect(target, Some(device), deadline)
    }

    /// Connects, calls, closes.
    pub fn call(&self, call: &Call<'_>, method: &str, params: Option<Value>) -> Result<Value> {
        let mut session = self.session(call)?;
        session.call(method, params)
    }

    /// Connects for several calls that share the time-out.
    pub fn session(&self, call: &Call<'_>) -> Result<Session> {
        let deadline = Deadline::after(Duration::from_millis(millis(call.timeout, call.default_ms)?));
        let target = self.target(call.flags).map_err(|mut error| {
            error.message = format!("{}{}", call.prefix, error.message);
            error
        })?;
        let client = self.connect(&target, deadline).map_err(|failure| failure.error(call.prefix, &target))?;
        Ok(Session { client, target, deadline, prefix: call.prefix.to_string(), expect_final: call.expect_final })
    }
}

/// A connection with the error texts of its command.
pub struct Session {
    client: Client,
    target: Target,
    deadline: Deadline,
    prefix: String,
    expect_final: bool,
}

impl Session {
    pub fn call(&mut self, method: &str, params: Option<Value>) -> Result<Value> {
        self.client
            .call(method, params, self.expect_final, self.deadline, &mut |_, _| {})
            .map_err(|failure| failure.error(&self.prefix, &self.target))
    }

    /// `None` when the gateway does not have the method.
    pub fn call_if_known(&mut self, method: &str, params: Option<Value>) -> Result<Option<Value>> {
        match self.client.request(method, params, self.deadline) {
            Ok(payload) => Ok(Some(payload)),
            Err(Failure::Answer { message, .. }) if message.starts_with("unknown method") => Ok(None),
            Err(failure) => Err(failure.error(&self.prefix, &self.target)),
        }
    }
}

/// `--timeout` and other positive numbers of milliseconds.
pub fn millis(text: Option<&str>, default_ms: u64) -> Result<u64> {
    positive(text, "--timeout", "milliseconds").map(|ms| ms.unwrap_or(default_ms))
}

/// A positive whole number after an option.
pub fn positive(text: Option<&str>, option: &str, unit: &str) -> Result<Option<u64>> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else { return Ok(None) };
    match text.parse::<u64>() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Error::new(format!("{option} must be a positive integer ({unit})"))),
    }
}

/// `--port`, 1 to 65535.
pub fn port_flag(text: Option<&str>) -> Result<Option<u16>> {
    match text.map(|text| text.trim().parse::<u16>()) {
        None => Ok(None),
        Some(Ok(port)) if port > 0 => Ok(Some(port)),
        Some(_) => Err(Error::new("Invalid port").hint("Use a number from 1 to 65535.")),
    }
}

/// An environment variable of this process.
pub fn env(name: &str) -> Option<String> {
    FsSource.var(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_after_options() {
        for (text, ms) in [(None, Some(7)), (Some("250"), Some(250)), (Some(" "), Some(7)), (Some("0"), None)] {
            assert_eq!(millis(text, 7).ok(), ms, "{text:?}");
        }
        assert_eq!(millis(Some("soon"), 7).unwrap_err().message, "--timeout must be a positive integer (milliseconds)");
        for (text, port) in
            [(None, Some(None)), (Some("19001"), Some(Some(19001))), (Some("0"), None), (Some("99999"), None)]
        {
            assert_eq!(port_flag(text).ok(), port, "{text:?}");
        }
    }
}
