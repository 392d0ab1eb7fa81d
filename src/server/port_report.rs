//! The block `Port N is already in use.` and its hints (cli 3.5), for start-up failures and `gateway status`. Pure.

use crate::config::Paths;
use crate::config::source::PROGRAM;
use crate::error::Error;
use crate::sys::process;
use crate::sys::sockets::Listener;

const SSH: &str = "SSH tunnel already bound to this port. Close the tunnel or use a different local port in -L.";
const OTHER: &str = "Another process is listening on this port.";
const SEVERAL: &str = "Multiple listeners detected; ensure only one gateway/tunnel per port unless intentionally \
                       running isolated profiles.";

/// Nobody listens and yet the port cannot be bound: what may be the matter, and what to do.
pub const KEPT: &str = "A connection of whoever had the port is still closing there (TIME_WAIT, a minute at most) or open. \
                        Try again in a minute, or use another --port.";

/// How commands and paths are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wording<'a> {
    /// The name by which the program was started; None: its own.
    pub program: Option<&'a str>,
    /// The active profile, inserted into suggested commands.
    pub profile: Option<&'a str>,
    /// The operator's home, shown as `~`.
    pub home: Option<&'a str>,
}

impl Wording<'_> {
    /// `openclaw`, with the profile.
    fn command(&self) -> String {
        let profile = self.profile.map(|name| format!(" --profile {name}")).unwrap_or_default();
        format!("{}{profile}", self.program.unwrap_or(PROGRAM))
    }
}

impl<'a> Wording<'a> {
    pub fn of(paths: &'a Paths) -> Wording<'a> {
        Wording { program: Some(paths.program), profile: paths.profile.as_deref(), home: paths.home.to_str() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gateway,
    Ssh,
    Other,
}

/// What sort of program listens.
pub fn kind(listener: &Listener) -> Kind {
    let line = listener.command_line.as_deref().unwrap_or_default();
    let arguments: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let command = listener.command.as_deref().unwrap_or_default();
    let program = arguments[0].rsplit('/').next().unwrap_or_default();
    if process::is_gateway(&arguments) || (!command.is_empty() && process::TITLE[..15] == *command) {
        Kind::Gateway
    } else if [command, program].iter().any(|name| matches!(*name, "ssh" | "sshd" | "autossh" | "ssh.exe")) {
        Kind::Ssh
    } else {
        Kind::Other
    }
}

/// True when one of the listeners is a gateway: then a supervised start ends with 78, else with 1 (DECISIONS 91).
pub fn held_by_gateway(listeners: &[Listener]) -> bool {
    listeners.iter().any(|listener| kind(listener) == Kind::Gateway)
}

/// The whole block, first line included.
pub fn port_report(port: u16, listeners: &[Listener], wording: Wording<'_>) -> Vec<String> {
    let mut lines = vec![format!("Port {port} is already in use.")];
    lines.extend(listeners.iter().map(|listener| format!("- {}", describe(listener, wording))));
    lines.extend(hints(listeners, wording).into_iter().map(|hint| format!("- {hint}")));
    lines
}

/// The end of a start because somebody else has the lock or the port (cli 3.5, DECISIONS 91 to 95): first line, stop
/// hint, port block when the port is busy. `reason` is the text of `LockError` or `BindError::InUse`.
pub fn start_failure(
    reason: &dyn std::fmt::Display,
    port: u16,
    listeners: &[Listener],
    by_gateway: bool,
    supervised: bool,
    wording: Wording<'_>,
) -> Error {
    let stop = format!("If the gateway is supervised, stop it with: {} gateway stop", wording.command());
    let mut error = Error::new(format!("Gateway failed to start: {reason}")).hint(stop);
    if !listeners.is_empty() {
        error.hints.extend(port_report(port, listeners, wording));
    }
    // A restart would meet the same gateway; a foreign program may go away.
    error.code(if supervised && (by_gateway || held_by_gateway(listeners)) { 78 } else { 1 })
}

/// The end of a start on a port that the kernel still keeps for connections of a program that is gone.
pub fn not_given_out(port: u16) -> Error {
    Error::new(format!(
        "Gateway failed to start: nobody listens on port {port}, but the system does not give it out (EADDRINUSE)"
    ))
    .hint(KEPT)
}

/// The hints alone, as in `gateway status --json`.
pub fn hints(listeners: &[Listener], wording: Wording<'_>) -> Vec<String> {
    let kinds: Vec<Kind> = listeners.iter().map(kind).collect();
    let mut hints = Vec::new();
    if kinds.contains(&Kind::Gateway) {
        hints.push(format!(
            "Gateway already running locally. Stop it ({} gateway stop) or use a different port.",
            wording.command()
        ));
    }
    if kinds.contains(&Kind::Ssh) {
        hints.push(SSH.into());
    }
    if kinds.contains(&Kind::Other) || kinds.is_empty() {
        hints.push(OTHER.into());
    }
    if kinds.len() > 1 {
        hints.push(SEVERAL.into());
    }
    hints
}

/// A listener as in `gateway status --json`; what is unknown is left out.
pub fn listener_json(listener: &Listener) -> serde_json::Value {
    let mut object = serde_json::Map::new();
    let mut put = |name: &str, value: Option<serde_json::Value>| {
        if let Some(value) = value {
            object.insert(name.into(), value);
        }
    };
    put("pid", listener.pid.map(Into::into));
    put("command", listener.command.clone().map(Into::into));
    put("address", Some(listener.address.to_string().into()));
    put("commandLine", listener.command_line.as_deref().map(|line| crate::log::redact::redact(line).into()));
    put("user", Some(listener.user.clone().into()));
    put("ppid", listener.parent.map(Into::into));
    object.into()
}

/// `pid 12410 root: openclaw-gateway (127.0.0.1:21120)`
fn describe(listener: &Listener, wording: Wording<'_>) -> String {
    let pid = listener.pid.map_or_else(|| "pid unknown".into(), |pid| format!("pid {pid}"));
    let line = listener.command_line.as_deref().or(listener.command.as_deref()).unwrap_or("unknown");
    let line = match wording.home.map(|home| home.trim_end_matches('/')).filter(|home| home.len() > 1) {
        Some(home) => line.replace(&format!("{home}/"), "~/"),
        None => line.to_owned(),
    };
    // A program chooses its own arguments: they must not draw on the operator's terminal, nor show a token.
    let line: String = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("{pid} {}: {} ({})", listener.user, crate::log::redact::redact(&line), listener.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(pid: u32, command: &str, line: &str) -> Listener {
        Listener {
            pid: Some(pid),
            parent: Some(1),
            uid: 0,
            user: "root".into(),
            command: Some(command.into()),
            command_line: Some(line.into()),
            address: "127.0.0.1:21120".parse().unwrap(),
        }
    }

    #[test]
    fn blocks_as_recorded() {
        let gateway = listener(12410, "openclaw-gatewa", "openclaw-gateway");
        let python = listener(30561, "python3", "/usr/bin/python3 /home/u/x.py");
        let ssh = listener(7, "ssh", "ssh -N -L 21120:localhost:21120 pi");
        let ours = listener(8, "openclaw-gatewa", "/usr/bin/openclaw gateway --token geheim");
        let hidden = Listener { pid: None, command: None, command_line: None, ..python.clone() };
        let wording = Wording { program: None, profile: None, home: Some("/home/u") };
        let rescue = Wording { program: None, profile: Some("rescue"), home: None };
        let running = "- Gateway already running locally. Stop it (openclaw gateway stop) or use a different port.";
        let cases: [(&[Listener], Wording<'_>, &[&str]); 6] = [
            (&[gateway], wording, &["- pid 12410 root: openclaw-gateway (127.0.0.1:21120)", running]),
            (
                std::slice::from_ref(&python),
                wording,
                &[
                    "- pid 30561 root: /usr/bin/python3 ~/x.py (127.0.0.1:21120)",
                    "- Another process is listening on this port.",
                ],
            ),
            (
                std::slice::from_ref(&ssh),
                wording,
                &[
                    "- pid 7 root: ssh -N -L 21120:localhost:21120 pi (127.0.0.1:21120)",
                    "- SSH tunnel already bound to this port. Close the tunnel or use a different local port in -L.",
                ],
            ),
            (
                &[ours],
                rescue,
                &[
                    "- pid 8 root: /usr/bin/openclaw gateway --token *** (127.0.0.1:21120)",
                    "- Gateway already running locally. Stop it (openclaw --profile rescue gateway stop) or use a \
                     different port.",
                ],
            ),
            (
                &[hidden],
                wording,
                &["- pid unknown root: unknown (127.0.0.1:21120)", "- Another process is listening on this port."],
            ),
            (&[], wording, &["- Another process is listening on this port."]),
        ];
        for (listeners, wording, expected) in cases {
            let lines = port_report(21120, listeners, wording);
            assert_eq!(lines[0], "Port 21120 is already in use.");
            assert_eq!(lines[1..], *expected);
        }
        assert_eq!(hints(&[python, ssh], wording), [SSH, OTHER, SEVERAL]);
    }

    #[test]
    fn a_start_that_fails_says_why_and_what_to_do() {
        let gateway = listener(12410, "openclaw-gatewa", "openclaw-gateway");
        let python = listener(30561, "python3", "python3");
        let wording = Wording::default();
        let error = start_failure(&"gateway already running (pid 12410)", 21120, &[gateway], true, false, wording);
        assert_eq!(
            error.to_string(),
            "Gateway failed to start: gateway already running (pid 12410)\n\
             If the gateway is supervised, stop it with: openclaw gateway stop\n\
             Port 21120 is already in use.\n\
             - pid 12410 root: openclaw-gateway (127.0.0.1:21120)\n\
             - Gateway already running locally. Stop it (openclaw gateway stop) or use a different port."
        );
        assert_eq!(error.code, 1);
        assert_eq!(start_failure(&"x", 1, &[], true, true, wording).code, 78);
        assert_eq!(start_failure(&"x", 1, &[], true, true, wording).hints.len(), 1);
        assert_eq!(start_failure(&"x", 1, &[python], false, true, wording).code, 1);
    }

    #[test]
    fn listeners_in_json_as_recorded() {
        let gateway = listener(12410, "openclaw-gatewa", "openclaw-gateway");
        assert_eq!(
            listener_json(&gateway).to_string(),
            "{\"pid\":12410,\"command\":\"openclaw-gatewa\",\"address\":\"127.0.0.1:21120\",\
             \"commandLine\":\"openclaw-gateway\",\"user\":\"root\",\"ppid\":1}"
        );
    }

    #[test]
    fn only_gateways_count_as_gateways() {
        assert!(held_by_gateway(&[listener(1, "node", "node /usr/lib/node_modules/openclaw/dist/index.js gateway")]));
        assert!(!held_by_gateway(&[listener(1, "python3", "python3 gateway.py")]));
        assert!(!held_by_gateway(&[]));
    }
}
