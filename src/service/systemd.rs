//! systemd: units of a user and of the system (cli 5.2, 5.3, DECISIONS 108–109).

use std::path::PathBuf;

use super::unit::quoted;
use super::{Action, Failure, Manager, PlanFile, Runtime, Spec, Step, words};

/// What `show` is asked for.
const PROPERTIES: &str = "ActiveState,SubState,MainPID,ExecMainStatus,ExecMainCode";
const NOT_AVAILABLE: &str = "systemctl not available; systemd user services are required on Linux.";
const NOT_AVAILABLE_SYSTEM: &str = "systemctl not available; systemd is required for --system.";

pub fn unit_path(manager: Manager, spec: &Spec) -> PathBuf {
    match manager {
        Manager::SystemdSystem => spec.system("/etc/systemd/system").join(spec.unit_name()),
        _ => spec.home.join(".config/systemd/user").join(spec.unit_name()),
    }
}

/// The unit where it is: ours, or the one of a package, which may be a template for profiles. Every user sees the
/// packaged units for users: one counts when it is enabled.
pub fn found_unit(manager: Manager, spec: &Spec) -> PathBuf {
    let (own, unit) = (unit_path(manager, spec), spec.unit_name());
    let user = manager == Manager::SystemdUser;
    if own.is_file() || user && !is_wanted(spec, &unit) {
        return own;
    }
    let kind = if user { "user" } else { "system" };
    let mut places = ["/etc", "/usr/local/lib", "/usr/lib", "/lib"].into_iter();
    let found = places.find_map(|place| {
        let dir = spec.system(place).join("systemd").join(kind);
        let mut names = [Some(unit.clone()), template(&unit)].into_iter().flatten();
        names.find_map(|name| Some(dir.join(name)).filter(|path| path.is_file()))
    });
    found.unwrap_or(own)
}

/// Enabled for this user, or by the administrator for all.
fn is_wanted(spec: &Spec, unit: &str) -> bool {
    let dirs = [spec.home.join(".config/systemd/user"), spec.system("/etc/systemd/user")];
    dirs.iter().any(|dir| dir.join("default.target.wants").join(unit).symlink_metadata().is_ok())
}

/// Name and instance of `name@instance.service`.
fn instance(unit: &str) -> Option<(&str, &str)> {
    unit.strip_suffix(".service")?.split_once('@')
}

fn template(unit: &str) -> Option<String> {
    instance(unit).map(|(name, _)| format!("{name}@.service"))
}

/// What a packaged unit leaves open: %i the instance, %h the home.
pub fn specified(text: &str, spec: &Spec) -> String {
    let unit = spec.unit_name();
    let (instance, home) = (instance(&unit).map_or("", |(_, instance)| instance), spec.home.display().to_string());
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        let (value, length) = match tail.as_bytes().get(1) {
            Some(b'i') => (instance, 2),
            Some(b'h') => (home.as_str(), 2),
            Some(b'%') => ("%%", 2),
            _ => ("%", 1),
        };
        out.push_str(value);
        rest = &tail[length..];
    }
    out + rest
}

/// systemctl with these words.
pub fn ctl(manager: Manager, args: &[&str]) -> Vec<String> {
    let mut argv = words(&["systemctl"]);
    if manager == Manager::SystemdUser {
        argv.push("--user".into());
    }
    argv.extend(words(args));
    argv
}

/// The same call, as the manager of `user` seen from elsewhere.
pub fn through_machine(argv: &[String], user: &str) -> Vec<String> {
    let at = argv.iter().position(|word| word == "--user").unwrap_or(argv.len());
    let mut out = argv.to_vec();
    if at < argv.len() {
        out.splice(at..at, ["--machine".to_owned(), format!("{user}@")]);
    }
    out
}

pub fn show(manager: Manager, spec: &Spec) -> Vec<String> {
    ctl(manager, &["show", &spec.unit_name(), "--no-page", "--property", PROPERTIES])
}

/// No session bus for us: sudo, su, cron.
pub fn has_no_bus(failure: &Failure) -> bool {
    let text = failure.detail().to_lowercase();
    text.contains("connect to bus") || text.contains("scope bus") || text.contains("no medium found")
}

/// What `systemctl status` means.
pub fn reachable(manager: Manager, answer: Result<String, Failure>) -> Result<(), String> {
    let Err(failure) = answer else { return Ok(()) };
    if matches!(failure, Failure::NotFound(_)) {
        return Err(if manager == Manager::SystemdUser { NOT_AVAILABLE } else { NOT_AVAILABLE_SYSTEM }.into());
    }
    let (scope, detail) = (if manager == Manager::SystemdUser { " --user" } else { "" }, failure.detail());
    Err(format!("systemctl{scope} unavailable: {}", if detail.is_empty() { "unknown error" } else { &detail }))
}

pub fn plan(manager: Manager, spec: &Spec, action: Action, packaged: bool) -> Vec<Step> {
    let unit = spec.unit_name();
    let run = |args: &[&str]| Step::Run(ctl(manager, args));
    match action {
        Action::Install => {
            let write = (!packaged).then(|| {
                Step::Write(PlanFile {
                    path: unit_path(manager, spec),
                    // Only the user's own manager reads a unit of the user.
                    mode: if manager == Manager::SystemdUser { 0o600 } else { 0o644 },
                    text: unit_text(manager, spec),
                    backup: true,
                })
            });
            write
                .into_iter()
                .chain([run(&["daemon-reload"]), run(&["enable", &unit]), run(&["restart", &unit])])
                .collect()
        }
        Action::Restart => vec![run(&["restart", &unit])],
        Action::Stop => vec![run(&["stop", &unit])],
        Action::Uninstall => {
            let remove = (!packaged).then(|| Step::Remove(unit_path(manager, spec)));
            [Step::Try(ctl(manager, &["disable", "--now", &unit]))].into_iter().chain(remove).collect()
        }
    }
}

fn unit_text(manager: Manager, spec: &Spec) -> String {
    let system = manager == Manager::SystemdSystem;
    let words: Vec<String> = spec.arguments().iter().map(|word| quoted(word, true)).collect();
    let mut lines = vec![
        "[Unit]".to_owned(),
        format!("Description={}", spec.description().replace('%', "%%")),
        "After=network-online.target".into(),
        "Wants=network-online.target".into(),
        String::new(),
        "[Service]".into(),
    ];
    if system {
        // The manager of the system hears from the gateway when it is ready and that its loops move.
        lines.extend(["Type=notify".into(), "NotifyAccess=main".into(), "WatchdogSec=60".into()]);
        lines.push(format!("User={}", spec.user));
    }
    lines.push(format!("ExecStart={}", words.join(" ")));
    lines.extend(
        [
            "Restart=always",
            "RestartSec=5",
            "TimeoutStopSec=30",
            "TimeoutStartSec=30",
            "SuccessExitStatus=0 143",
            "RestartPreventExitStatus=78",
            "KillMode=control-group",
            "UMask=0077",
        ]
        .map(str::to_owned),
    );
    lines.extend(
        spec.environment(manager, !system)
            .iter()
            .map(|(name, value)| format!("Environment={}", quoted(&format!("{name}={value}"), false))),
    );
    let target = if system { "multi-user.target" } else { "default.target" };
    lines.extend([String::new(), "[Install]".into(), format!("WantedBy={target}"), String::new()]);
    lines.join("\n")
}

/// `active` and `reloading` are running, any other state stopped, none unknown.
pub fn parse_show(text: &str) -> Runtime {
    let at = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines.find(|(key, value)| *key == name && !value.is_empty()).map(|(_, value)| value.trim().to_owned())
    };
    let state = at("ActiveState");
    Runtime {
        status: match state.as_deref() {
            // A gateway that restarts within its process says so, and is there all the while.
            Some("active" | "reloading") => "running",
            Some(_) => "stopped",
            None => "unknown",
        },
        sub_state: at("SubState"),
        pid: at("MainPID").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0),
        last_exit_status: at("ExecMainStatus").and_then(|status| status.parse().ok()),
        last_exit_reason: at("ExecMainCode"),
        state,
        ..Runtime::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_show_says() {
        let text = "ActiveState=inactive\nSubState=dead\nMainPID=0\nExecMainStatus=143\nExecMainCode=exited\n";
        assert_eq!(parse_show(text).line(), "stopped (state inactive, sub dead, last exit 143, reason exited)");
        assert_eq!(parse_show("ActiveState=reloading\nMainPID=7\n").line(), "running (pid 7, state reloading)");
        assert_eq!(parse_show("").line(), "unknown");
    }

    #[test]
    fn what_a_template_leaves_open() {
        let spec = Spec { unit: Some("openclaw-gateway@rescue".into()), home: "/home/u".into(), ..Spec::default() };
        let text = "--profile %i, %h/bin, 100%%i, %n, %";
        assert_eq!(specified(text, &spec), "--profile rescue, /home/u/bin, 100%%i, %n, %");
        assert_eq!(template("openclaw-gateway@rescue.service").as_deref(), Some("openclaw-gateway@.service"));
        assert_eq!(template("openclaw-gateway.service"), None);
    }

    #[test]
    fn a_bus_that_is_missing() {
        let failed = |text: &str| Failure::Failed { code: Some(1), output: text.into() };
        assert!(has_no_bus(&failed("Failed to connect to bus: No medium found")));
        assert!(has_no_bus(&failed("Failed to connect to user scope bus via local transport: …")));
        assert!(!has_no_bus(&failed("Unit x.service not loaded.")));
        let user = Manager::SystemdUser;
        assert_eq!(
            through_machine(&ctl(user, &["status"]), "pi"),
            ["systemctl", "--machine", "pi@", "--user", "status"]
        );
        assert_eq!(reachable(user, Err(Failure::NotFound("systemctl".into()))).unwrap_err(), NOT_AVAILABLE);
        assert_eq!(
            reachable(user, Err(failed("Failed to connect to bus\n"))).unwrap_err(),
            "systemctl --user unavailable: Failed to connect to bus"
        );
    }
}
