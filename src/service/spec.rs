//! What a plan is made of: the program, its place, its names, and the environment of the service.

use std::path::{Path, PathBuf};

use super::Manager;
use crate::protocol::COMPAT_VERSION;

/// Everything that a plan is made of. No secret is among it (R26): the service reads its token from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spec {
    /// Absolute path of this program.
    pub program: String,
    pub port: u16,
    pub profile: Option<String>,
    pub home: PathBuf,
    pub state_dir: PathBuf,
    pub config_path: PathBuf,
    /// `%APPDATA%` of Windows.
    pub app_data: Option<PathBuf>,
    /// Who runs the service, where a system-wide manager has to be told.
    pub user: String,
    pub uid: u32,
    /// Variables of the caller that the service needs, too: TMPDIR, the paths, the proxies.
    pub env: Vec<(String, String)>,
    /// OPENCLAW_SYSTEMD_UNIT, OPENCLAW_LAUNCHD_LABEL, OPENCLAW_WINDOWS_TASK_NAME: other names than ours.
    pub unit: Option<String>,
    pub label: Option<String>,
    pub task: Option<String>,
    /// Before every absolute path of the system; empty but in tests.
    pub root: PathBuf,
}

impl Spec {
    /// `openclaw-gateway`, `openclaw-gateway-rescue`.
    pub(super) fn service_name(&self) -> String {
        match &self.profile {
            Some(profile) => format!("openclaw-gateway-{profile}"),
            None => "openclaw-gateway".into(),
        }
    }

    /// With `.service` (cli 5.1).
    pub fn unit_name(&self) -> String {
        let name = self.unit.clone().unwrap_or_else(|| self.service_name());
        if name.ends_with(".service") { name } else { format!("{name}.service") }
    }

    /// What the unit of this profile is called where a template of a package makes it.
    pub fn instance_name(&self) -> Option<String> {
        let profile = self.profile.as_ref().filter(|_| self.unit.is_none());
        profile.map(|profile| format!("openclaw-gateway@{profile}.service"))
    }

    pub fn launchd_label(&self) -> String {
        let own =
            || self.profile.as_ref().map_or("ai.openclaw.gateway".into(), |profile| format!("ai.openclaw.{profile}"));
        self.label.clone().unwrap_or_else(own)
    }

    pub fn task_name(&self) -> String {
        let own = || {
            self.profile.as_ref().map_or("OpenClaw Gateway".into(), |profile| format!("OpenClaw Gateway ({profile})"))
        };
        self.task.clone().unwrap_or_else(own)
    }

    pub(super) fn description(&self) -> String {
        match &self.profile {
            Some(profile) => format!("OpenClaw Gateway (profile: {profile}, v{COMPAT_VERSION})"),
            None => format!("OpenClaw Gateway (v{COMPAT_VERSION})"),
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        vec![self.program.clone(), "gateway".into(), "--port".into(), self.port.to_string()]
    }

    pub(super) fn var(&self, name: &str) -> Option<String> {
        self.env.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
    }

    /// The environment of the service in the order of cli 5.2. `private`: nobody else can read the file.
    pub(super) fn environment(&self, manager: Manager, private: bool) -> Vec<(String, String)> {
        let mut out = vec![("HOME".to_owned(), self.home.display().to_string())];
        let mut set = |name: &str, value: String| out.push((name.to_owned(), value));
        // Windows has its own names for such a place.
        let default = (manager != Manager::Schtasks).then(|| "/tmp".to_owned());
        if let Some(dir) = self.var("TMPDIR").or(default) {
            set("TMPDIR", dir);
        }
        for name in PROXIES {
            // A password for a proxy is none of the business of others on this machine.
            if let Some(value) = self.var(name).filter(|value| private || !value.contains('@')) {
                set(name, value);
            }
        }
        for name in ["OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH"] {
            if let Some(value) = self.var(name) {
                set(name, value);
            }
        }
        set("PATH", path(manager, &self.home).join(":"));
        if let Some(profile) = &self.profile {
            set("OPENCLAW_PROFILE", profile.clone());
        }
        set("OPENCLAW_GATEWAY_PORT", self.port.to_string());
        match manager {
            Manager::Launchd => set("OPENCLAW_LAUNCHD_LABEL", self.launchd_label()),
            Manager::SystemdUser | Manager::SystemdSystem => set("OPENCLAW_SYSTEMD_UNIT", self.unit_name()),
            _ => {}
        }
        if !matches!(manager, Manager::Procd | Manager::OpenRc) {
            set("OPENCLAW_WINDOWS_TASK_NAME", self.task_name());
        }
        set("OPENCLAW_SERVICE_MARKER", "openclaw".into());
        set("OPENCLAW_SERVICE_KIND", "gateway".into());
        set("OPENCLAW_SERVICE_VERSION", COMPAT_VERSION.into());
        out
    }

    /// A path of the system, below the root of a test.
    pub(super) fn system(&self, path: &str) -> PathBuf {
        if self.root.as_os_str().is_empty() { path.into() } else { self.root.join(path.trim_start_matches('/')) }
    }
}

/// Variables for web proxies, both spellings.
pub const PROXIES: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"];
const USER_DIRS: [&str; 9] = [
    ".local/bin",
    ".npm-global/bin",
    "bin",
    ".volta/bin",
    ".asdf/shims",
    ".bun/bin",
    ".nvm/current/bin",
    ".fnm/current/bin",
    ".local/share/pnpm",
];

/// Never the caller's PATH: what a terminal happens to have is no base for a service (cli 5.2).
pub(super) fn path(manager: Manager, home: &Path) -> Vec<String> {
    let own = USER_DIRS.iter().map(|dir| home.join(dir).display().to_string());
    own.chain(system_dirs(manager).iter().map(|dir| (*dir).to_owned())).collect()
}

/// Where the programs of this system are.
pub(super) fn system_dirs(manager: Manager) -> &'static [&'static str] {
    match manager {
        // Most of what people install on a Mac is Homebrew's.
        Manager::Launchd => &["/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin"],
        _ => &["/usr/local/bin", "/usr/bin", "/bin"],
    }
}
