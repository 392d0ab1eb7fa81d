//! What is wrong with an installed service (cli 5.7). Pure: a command as read, and what it should be.

use std::path::Path;

use super::unit::Command;
use super::{Manager, spec};

/// Directories that change with the version of something, and that a service therefore loses one day.
const VERSION_MANAGERS: [&str; 9] =
    ["/.nvm/", "/.fnm/", "/.volta/", "/.asdf/", "/.n/", "/.nodenv/", "/.nodebrew/", "/nvs/", "/pnpm/"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub code: &'static str,
    pub message: &'static str,
    pub detail: Option<String>,
    /// Somebody has changed the service on purpose: only `--force` overwrites it.
    pub aggressive: bool,
}

/// What only `doctor` compares: it has a remedy at hand.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Absolute path of this program.
    pub program: String,
    /// `gateway.auth.token` of the configuration.
    pub token: Option<String>,
}

impl Issue {
    /// `message (detail)`
    pub fn line(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{} ({detail})", self.message),
            None => self.message.to_owned(),
        }
    }
}

/// In the order in which the reference lists them; what only we look for comes behind.
pub fn look(manager: Manager, command: &Command, expected: Option<&Expected>) -> Vec<Issue> {
    let mut out = Vec::new();
    let mut found = |code, message, detail: Option<String>| {
        out.push(Issue { code, message, detail, aggressive: code == "gateway-command-missing" });
    };
    let source = Some(command.source.display().to_string());
    if !command.arguments.iter().any(|word| word == "gateway") {
        found("gateway-command-missing", "Service command does not include the gateway subcommand", None);
    }
    let embedded = command.var(TOKEN).map(str::trim).filter(|token| !token.is_empty());
    if let Some(token) = embedded {
        let remedy = "Run `openclaw gateway install --force` to remove embedded service token.";
        found(
            "gateway-token-embedded",
            "Gateway service embeds OPENCLAW_GATEWAY_TOKEN and should be reinstalled.",
            Some(remedy.into()),
        );
        let wanted = expected.and_then(|expected| expected.token.as_deref());
        if wanted.is_some_and(|wanted| wanted != token) {
            found(
                "gateway-token-mismatch",
                "Gateway service OPENCLAW_GATEWAY_TOKEN does not match gateway.auth.token in openclaw.json",
                Some("service token is stale".into()),
            );
        }
    }
    // A script of Windows inherits its PATH.
    let path = command.var("PATH").map(str::trim).filter(|path| !path.is_empty());
    if let Some(path) = path.filter(|_| manager != Manager::Schtasks) {
        let dirs: Vec<&str> = path.split(':').collect();
        let missing: Vec<&str> = spec::system_dirs(manager).iter().copied().filter(|dir| !dirs.contains(dir)).collect();
        if !missing.is_empty() {
            let message = "Gateway service PATH lacks directories of the system; tools will not be found.";
            found("gateway-path-missing-dirs", message, Some(missing.join(", ")));
        }
        let ours = spec::path(manager, Path::new(command.var("HOME").unwrap_or_default()));
        let foreign = |dir: &&str| VERSION_MANAGERS.iter().any(|part| format!("{dir}/").contains(part));
        let strange: Vec<&str> =
            dirs.iter().copied().filter(|dir| foreign(dir) && !ours.iter().any(|own| own == dir)).collect();
        if !strange.is_empty() {
            let message =
                "Gateway service PATH includes version managers or package managers; recommend a minimal PATH.";
            found("gateway-path-nonminimal", message, Some(strange.join(", ")));
        }
    } else if manager != Manager::Schtasks {
        found("gateway-path-missing", "Gateway service PATH is not set; the daemon should use a minimal PATH.", None);
    }
    match manager {
        Manager::SystemdUser | Manager::SystemdSystem => {
            let lists = |key: &str, wanted: &str| {
                let mut values = command.lines.iter().filter(|(own, _)| own == key);
                values.any(|(_, value)| value.split_whitespace().any(|word| word == wanted))
            };
            let last =
                |key: &str| command.lines.iter().rev().find(|(own, _)| own == key).map(|(_, value)| value.as_str());
            if !lists("After", ONLINE) {
                found("systemd-after-network-online", "Missing systemd After=network-online.target", source.clone());
            }
            if !lists("Wants", ONLINE) {
                found("systemd-wants-network-online", "Missing systemd Wants=network-online.target", source.clone());
            }
            if !last("RestartSec").is_some_and(is_five_seconds) {
                found("systemd-restart-sec", "RestartSec does not match the recommended 5s", source.clone());
            }
            if !lists("RestartPreventExitStatus", "78") {
                found(
                    "systemd-restart-prevent",
                    "Missing systemd RestartPreventExitStatus=78: a start that cannot succeed is repeated for ever",
                    source.clone(),
                );
            }
            if last("UMask").is_none() {
                found("systemd-umask", "Missing systemd UMask=0077", source);
            }
        }
        Manager::Launchd => {
            let off = |key: &str| command.lines.iter().any(|(own, value)| own == key && value == "false");
            if off("RunAtLoad") {
                found("launchd-run-at-load", "LaunchAgent is missing RunAtLoad=true", source.clone());
            }
            if off("KeepAlive") {
                found("launchd-keep-alive", "LaunchAgent is missing KeepAlive=true", source);
            }
        }
        Manager::Procd | Manager::OpenRc | Manager::Schtasks => {}
    }
    if let (Some(expected), Some(program)) = (expected, command.arguments.first())
        && *program != expected.program
    {
        // The reference runs a script under node: the script is what counts.
        let script = command.arguments.get(1).filter(|word| word.ends_with(".js") || word.ends_with(".mjs"));
        found(
            "gateway-entrypoint-mismatch",
            "Gateway service entrypoint does not match the current install.",
            Some(format!("{} -> {}", script.unwrap_or(program), expected.program)),
        );
    }
    out
}

const TOKEN: &str = "OPENCLAW_GATEWAY_TOKEN";
const ONLINE: &str = "network-online.target";

fn is_five_seconds(text: &str) -> bool {
    matches!(text.trim().to_ascii_lowercase().as_str(), "5" | "5s" | "5sec" | "5 s" | "5000ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::unit;

    #[test]
    fn what_drifts_is_said() {
        let old = "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/local/bin/openclaw gateway --port 21152\n\
                   Restart=always\nRestartSec=1\nEnvironment=OPENCLAW_GATEWAY_TOKEN=old\n[Install]\nWantedBy=default.target\n";
        let command = unit::parse(old, Path::new("/u.service")).unwrap();
        let codes = |expected: Option<&Expected>| {
            look(Manager::SystemdUser, &command, expected).iter().map(|issue| issue.code).collect::<Vec<_>>()
        };
        let plain = [
            "gateway-token-embedded",
            "gateway-path-missing",
            "systemd-after-network-online",
            "systemd-wants-network-online",
            "systemd-restart-sec",
            "systemd-restart-prevent",
            "systemd-umask",
        ];
        assert_eq!(codes(None), plain);
        let expected = Expected { program: "/usr/bin/openclaw".into(), token: Some("tok-drift".into()) };
        let all = codes(Some(&expected));
        assert_eq!((all[1], all.last()), ("gateway-token-mismatch", Some(&"gateway-entrypoint-mismatch")));
        let issues = look(Manager::SystemdUser, &command, Some(&expected));
        assert_eq!(
            issues[1].line(),
            "Gateway service OPENCLAW_GATEWAY_TOKEN does not match gateway.auth.token in openclaw.json (service token is stale)"
        );
        assert!(issues.last().unwrap().line().ends_with("(/usr/local/bin/openclaw -> /usr/bin/openclaw)"));
        let text = "ExecStart=/usr/bin/openclaw gateway\nEnvironment=HOME=/home/u\n\
                    Environment=PATH=/home/u/.volta/bin:/home/u/.nvm/versions/node/v22/bin:/usr/local/bin:/usr/bin\n";
        let own = unit::parse(text, Path::new("/u.service")).unwrap();
        let issues = look(Manager::SystemdUser, &own, None);
        let of_path: Vec<String> =
            issues.iter().filter(|issue| issue.code.contains("-path-")).map(Issue::line).collect();
        assert_eq!(
            of_path,
            [
                "Gateway service PATH lacks directories of the system; tools will not be found. (/bin)",
                "Gateway service PATH includes version managers or package managers; recommend a minimal PATH. \
                 (/home/u/.nvm/versions/node/v22/bin)",
            ]
        );
        let other = unit::parse("ExecStart=/usr/bin/openclaw node\n", Path::new("/u.service")).unwrap();
        let first = &look(Manager::SystemdUser, &other, None)[0];
        assert!(first.aggressive && first.code == "gateway-command-missing");
    }
}
