//! The gateway's service of this machine as commands see it (cli 4.2, 5): who looks after it, what it runs, how it is.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::Context;
use super::context::env;
use crate::service::audit::{self, Issue};
use crate::service::unit::Command;
use crate::service::{self, Manager, PROXIES, Runtime, Spec};
use crate::sys::process;

/// The only variables of a service that are ever shown.
const SHOWN: [&str; 5] =
    ["OPENCLAW_PROFILE", "OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH", "OPENCLAW_GATEWAY_PORT", "OPENCLAW_NIX_MODE"];

/// What people without systemd are told.
pub const NO_SYSTEMD: [&str; 2] = [
    "systemd user services are unavailable; install/enable systemd or run the gateway under your supervisor.",
    "If you're in a container, run the gateway in the foreground instead of `openclaw gateway`.",
];

/// What is known about the service at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub manager: Manager,
    /// Starts with the machine or the session.
    pub loaded: bool,
    pub runtime: Runtime,
    pub command: Option<Command>,
    pub issues: Vec<Issue>,
    /// The manager does not answer at all.
    pub unavailable: bool,
    /// Where its own lines are.
    pub log_hint: String,
}

/// The service of this profile. Where the user has none, an enabled one of the system is meant: installed by hand or
/// with a package. A package brings templates for profiles.
pub fn find(cx: &Context, port: u16) -> service::Service {
    let own = exactly(cx, port, false);
    if own.manager != Manager::SystemdUser || own.is_installed() {
        return own;
    }
    let mut others = vec![exactly(cx, port, true)];
    if let Some(unit) = own.spec.instance_name() {
        others.extend([false, true].map(|system| {
            let mut instance = exactly(cx, port, system);
            instance.spec.unit = Some(unit.clone());
            instance
        }));
    }
    others.into_iter().find(service::Service::is_loaded).unwrap_or(own)
}

/// The service of the user or, with `system`, of the system, where there are two kinds.
pub fn exactly(cx: &Context, port: u16, system: bool) -> service::Service {
    let (forced, root) = forced();
    let host = service::look_at_host(&root);
    let manager = forced.unwrap_or_else(|| service::choose(&host, system));
    let sudo_user = env("SUDO_USER").filter(|user| user != "root");
    let login = env("USER").or_else(|| env("LOGNAME"));
    service::Service::new(manager, spec(cx, port, root), sudo_user, login)
}

/// Tests play other systems: `procd:/some/root`.
#[cfg(debug_assertions)]
fn forced() -> (Option<Manager>, PathBuf) {
    let Some(text) = env("OPENCLAW_TEST_SERVICE") else { return (None, PathBuf::new()) };
    let (name, root) = text.split_once(':').unwrap_or((&text, ""));
    let manager = match name {
        "systemd" => None,
        "procd" => Some(Manager::Procd),
        "openrc" => Some(Manager::OpenRc),
        "launchd" => Some(Manager::Launchd),
        "schtasks" => Some(Manager::Schtasks),
        other => panic!("OPENCLAW_TEST_SERVICE: {other}"),
    };
    (manager, root.into())
}

#[cfg(not(debug_assertions))]
fn forced() -> (Option<Manager>, PathBuf) {
    (None, PathBuf::new())
}

fn spec(cx: &Context, port: u16, root: PathBuf) -> Spec {
    let paths = &cx.paths;
    let given = |name: &str| env(name).is_some_and(|value| !value.trim().is_empty());
    let exported = |name: &str| paths.exports.iter().any(|(own, _)| *own == name);
    let mut variables = Vec::new();
    for name in ["TMPDIR"].into_iter().chain(PROXIES) {
        variables.extend(env(name).filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value)));
    }
    for (name, old, path) in [
        ("OPENCLAW_STATE_DIR", "CLAWDBOT_STATE_DIR", &paths.state_dir),
        ("OPENCLAW_CONFIG_PATH", "CLAWDBOT_CONFIG_PATH", &paths.config_path),
    ] {
        if given(name) || given(old) || exported(name) {
            variables.push((name.into(), path.display().to_string()));
        }
    }
    let named = |name: &str| env(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
    Spec {
        program: std::env::current_exe().map_or_else(|_| "openclaw".into(), |path| path.display().to_string()),
        port,
        profile: paths.profile.clone(),
        home: paths.home.clone(),
        state_dir: paths.state_dir.clone(),
        config_path: paths.config_path.clone(),
        app_data: env("APPDATA").filter(|dir| !dir.is_empty()).map(PathBuf::from),
        user: owner_of(&paths.home),
        uid: process::uid().unwrap_or_default(),
        env: variables,
        unit: named("OPENCLAW_SYSTEMD_UNIT"),
        label: named("OPENCLAW_LAUNCHD_LABEL"),
        task: named("OPENCLAW_WINDOWS_TASK_NAME"),
        root,
    }
}

/// Whose gateway it is: with sudo the home still is the operator's.
pub fn owner_of(home: &Path) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let uid = std::fs::metadata(home).map_or_else(|_| process::effective_uid(), |meta| meta.uid());
        process::user_label(uid)
    }
    #[cfg(not(unix))]
    {
        let _ = home;
        env("USERNAME").unwrap_or_default()
    }
}

/// Asks everything that the status shows.
pub fn look(cx: &Context) -> Seen {
    let service = find(cx, cx.port(None));
    let reachable = service.reachable();
    let loaded = service.is_loaded();
    let command = service.command();
    // A unit that somebody else wrote follows its own rules.
    let own = command.as_ref().filter(|_| !service.is_packaged());
    Seen {
        manager: service.manager,
        loaded,
        runtime: service.runtime(),
        issues: own.map(|command| audit::look(service.manager, command, None)).unwrap_or_default(),
        command,
        unavailable: reachable.is_err(),
        log_hint: service.log_hint(),
    }
}

impl Seen {
    pub fn state_text(&self) -> &'static str {
        if self.loaded { self.manager.loaded_text() } else { self.manager.not_loaded_text() }
    }

    /// `runtime` of the JSON form.
    fn runtime_json(&self) -> Value {
        let runtime = &self.runtime;
        let mut out = Map::new();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                out.insert(name.into(), value);
            }
        };
        set("status", Some(runtime.status.into()));
        set("state", runtime.state.clone().map(Value::from));
        set("subState", runtime.sub_state.clone().map(Value::from));
        set("pid", runtime.pid.map(Value::from));
        set("lastExitStatus", runtime.last_exit_status.map(Value::from));
        set("lastExitReason", runtime.last_exit_reason.clone().map(Value::from));
        set("detail", runtime.detail.clone().map(Value::from));
        set("missingUnit", runtime.missing.then(|| true.into()));
        Value::Object(out)
    }

    /// Name and value of the variables that may be shown.
    pub fn shown_env(&self) -> Vec<(&'static str, String)> {
        let command = self.command.iter();
        command
            .flat_map(|command| SHOWN.iter().filter_map(|name| Some((*name, command.var(name)?.to_owned()))))
            .collect()
    }

    fn command_json(&self) -> Value {
        let Some(command) = &self.command else { return Value::Null };
        let mut out = Map::new();
        out.insert("programArguments".into(), json!(command.arguments));
        if let Some(dir) = &command.working_dir {
            out.insert("workingDirectory".into(), dir.clone().into());
        }
        let shown: Map<String, Value> =
            self.shown_env().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        if !shown.is_empty() {
            out.insert("environment".into(), shown.into());
        }
        let sources: Map<String, Value> = command.env.iter().map(|(name, _)| (name.clone(), "inline".into())).collect();
        out.insert("environmentValueSources".into(), sources.into());
        out.insert("sourcePath".into(), command.source.display().to_string().into());
        out.into()
    }

    /// `service` of `gateway status --json`.
    pub fn status_json(&self) -> Value {
        let issue = |issue: &Issue| {
            let mut out = json!({"code": issue.code, "message": issue.message});
            if let Some(detail) = &issue.detail {
                out["detail"] = detail.clone().into();
            }
            out["level"] = if issue.aggressive { "aggressive" } else { "recommended" }.into();
            out
        };
        json!({
            "label": self.manager.label(),
            "loaded": self.loaded,
            "loadedText": self.manager.loaded_text(),
            "notLoadedText": self.manager.not_loaded_text(),
            "command": self.command_json(),
            "runtime": self.runtime_json(),
            "configAudit": {"ok": self.issues.is_empty(), "issues": self.issues.iter().map(issue).collect::<Vec<_>>()},
        })
    }

    /// `gatewayService` of `status --json`.
    pub fn overview_json(&self) -> Value {
        let installed = self.command.is_some();
        json!({
            "label": self.manager.label(),
            "installed": installed,
            "managedByOpenClaw": installed,
            "externallyManaged": false,
            "loadedText": self.state_text(),
            "runtimeShort": self.runtime.line(),
        })
    }

    /// `nodeService` of `status --json`: this program has no node host.
    pub fn node_json(&self) -> Value {
        json!({
            "label": self.manager.label(),
            "installed": false,
            "managedByOpenClaw": false,
            "externallyManaged": false,
            "loadedText": self.manager.not_loaded_text(),
            "runtimeShort": "unknown (not part of this program)",
        })
    }

    /// In the overview of `status`.
    pub fn short(&self) -> String {
        match self.command {
            None => format!("{} not installed", self.manager.label()),
            Some(_) => format!("{} installed · {} · {}", self.manager.label(), self.state_text(), self.runtime.line()),
        }
    }
}

#[cfg(test)]
pub(super) fn not_there() -> Seen {
    Seen {
        manager: Manager::SystemdUser,
        loaded: false,
        runtime: Runtime {
            status: "unknown",
            detail: Some("systemctl not available; systemd user services are required on Linux.".into()),
            ..Runtime::default()
        },
        command: None,
        issues: Vec::new(),
        unavailable: true,
        log_hint: "journalctl".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_a_service_are_not_shown() {
        let env = [("OPENCLAW_GATEWAY_TOKEN", "s3cret"), ("OPENCLAW_GATEWAY_PORT", "1"), ("API_KEY", "s3cret")];
        let command = Command {
            arguments: vec!["/usr/bin/openclaw".into(), "gateway".into()],
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            source: "/u.service".into(),
            ..Command::default()
        };
        let seen = Seen { command: Some(command), ..not_there() };
        let json = seen.status_json();
        assert!(!json.to_string().contains("s3cret"), "{json}");
        assert_eq!(json["command"]["environment"], json!({"OPENCLAW_GATEWAY_PORT": "1"}));
        assert_eq!(json["command"]["environmentValueSources"]["API_KEY"], "inline");
        assert_eq!(not_there().status_json()["command"], Value::Null);
        assert_eq!(not_there().short(), "systemd not installed");
    }
}
