//! The gateway as a service of this machine: what is written and run for each service manager, and what it says back.
//!
//! A plan is pure: files with their modes and commands with their arguments, text under golden tests. One runner
//! carries plans out. Used by commands on their main thread; the gateway itself never looks here.

pub mod audit;
mod installed;
mod launchd;
pub mod legacy;
pub mod linger;
mod openrc;
mod plan;
mod procd;
mod runner;
pub mod scan;
mod schtasks;
mod spec;
mod systemd;
pub mod unit;

use std::path::Path;

pub use installed::{Done, Service};
pub use plan::{Action, Origin, PlanFile, Step, plan};
use plan::{MADE_BY, words};
pub use runner::Failure;
pub use spec::{PROXIES, Spec};

/// Who looks after services on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The service manager of the user; also where there is none at all, with its texts (cli 5.6).
    SystemdUser,
    SystemdSystem,
    Procd,
    OpenRc,
    Launchd,
    Schtasks,
}

/// What decides which manager it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// As in `std::env::consts::OS`.
    pub os: String,
    /// systemd is the running init, or its tool is at hand.
    pub systemctl: bool,
    /// `/sbin/procd` and `/etc/rc.common`.
    pub procd: bool,
    pub openrc: bool,
}

/// Whom to ask; `system` is `--system`.
pub fn choose(host: &Host, system: bool) -> Manager {
    match host.os.as_str() {
        "macos" => Manager::Launchd,
        "windows" => Manager::Schtasks,
        _ if host.procd => Manager::Procd,
        // A systemd machine may have the tools of OpenRC installed, not the other way round.
        _ if host.openrc && !host.systemctl => Manager::OpenRc,
        _ if system => Manager::SystemdSystem,
        _ => Manager::SystemdUser,
    }
}

impl Manager {
    pub fn label(self) -> &'static str {
        match self {
            Manager::SystemdUser | Manager::SystemdSystem => "systemd",
            Manager::Procd => "procd",
            Manager::OpenRc => "OpenRC",
            Manager::Launchd => "LaunchAgent",
            Manager::Schtasks => "Scheduled Task",
        }
    }

    /// In `Installed … : <path>`.
    pub fn noun(self) -> &'static str {
        match self {
            Manager::SystemdUser | Manager::SystemdSystem => "systemd service",
            Manager::Procd => "procd service",
            Manager::OpenRc => "OpenRC service",
            Manager::Launchd => "LaunchAgent",
            Manager::Schtasks => "Scheduled Task",
        }
    }

    pub fn loaded_text(self) -> &'static str {
        match self {
            Manager::Launchd => "loaded",
            Manager::Schtasks => "registered",
            _ => "enabled",
        }
    }

    pub fn not_loaded_text(self) -> &'static str {
        match self {
            Manager::Launchd => "not loaded",
            Manager::Schtasks => "missing",
            _ => "disabled",
        }
    }

    pub fn is_systemd(self) -> bool {
        matches!(self, Manager::SystemdUser | Manager::SystemdSystem)
    }
}

/// What a manager says about the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtime {
    /// `running`, `stopped` or `unknown`.
    pub status: &'static str,
    pub state: Option<String>,
    pub sub_state: Option<String>,
    pub pid: Option<u32>,
    pub last_exit_status: Option<i64>,
    pub last_exit_reason: Option<String>,
    pub detail: Option<String>,
    /// There is no such service.
    pub missing: bool,
}

impl Runtime {
    fn unknown(detail: impl Into<String>) -> Runtime {
        Runtime { status: "unknown", detail: Some(detail.into()), ..Runtime::default() }
    }

    fn missing() -> Runtime {
        Runtime { status: "stopped", detail: Some("not installed".into()), missing: true, ..Runtime::default() }
    }

    /// `running (pid 4242, state active, sub running, last exit 0, reason 0)`
    pub fn line(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |name: &str, value: Option<String>| parts.extend(value.map(|value| format!("{name} {value}")));
        part("pid", self.pid.map(|pid| pid.to_string()));
        part("state", self.state.clone());
        part("sub", self.sub_state.clone());
        part("last exit", self.last_exit_status.map(|status| status.to_string()));
        part("reason", self.last_exit_reason.clone());
        parts.extend(self.detail.clone());
        if parts.is_empty() { self.status.into() } else { format!("{} ({})", self.status, parts.join(", ")) }
    }
}

/// What this machine has; `root` stands before system paths in tests.
pub fn look_at_host(root: &Path) -> Host {
    let has = |path: &str| root.join(path).exists();
    let root_is_real = root.as_os_str().is_empty() || root == Path::new("/");
    let has = |path: &str| if root_is_real { Path::new("/").join(path).exists() } else { has(path) };
    Host {
        os: std::env::consts::OS.into(),
        systemctl: has("run/systemd/system") || runner::find("systemctl").is_some(),
        procd: has("sbin/procd") && has("etc/rc.common"),
        openrc: has("sbin/openrc-run") || has("sbin/rc-service"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_looks_after_services() {
        let host = |os: &str, systemctl, procd, openrc| Host { os: os.into(), systemctl, procd, openrc };
        for (host, system, manager) in [
            (host("linux", true, false, false), false, Manager::SystemdUser),
            (host("linux", true, false, false), true, Manager::SystemdSystem),
            (host("linux", true, false, true), false, Manager::SystemdUser),
            (host("linux", false, false, false), false, Manager::SystemdUser),
            (host("linux", false, true, false), false, Manager::Procd),
            (host("linux", false, false, true), true, Manager::OpenRc),
            (host("macos", false, false, false), true, Manager::Launchd),
            (host("windows", false, false, false), false, Manager::Schtasks),
        ] {
            assert_eq!(choose(&host, system), manager, "{host:?}");
        }
    }

    #[test]
    fn the_line_about_the_process() {
        let running = Runtime {
            status: "running",
            state: Some("active".into()),
            sub_state: Some("running".into()),
            pid: Some(4242),
            last_exit_status: Some(0),
            last_exit_reason: Some("0".into()),
            ..Runtime::default()
        };
        assert_eq!(running.line(), "running (pid 4242, state active, sub running, last exit 0, reason 0)");
        assert_eq!(Runtime::unknown("why").line(), "unknown (why)");
    }
}
