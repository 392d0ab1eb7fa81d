//! Looks for other gateways: units, agents and start scripts that name one of our programs, and processes.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Manager, Service, runner};
use crate::sys::process;

/// More files of a directory are not looked at.
const MAX_FILES: usize = 2_000;
const NAMES: [&str; 3] = ["openclaw", "clawdbot", "moltbot"];

/// A service that is not ours and looks like a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    pub label: String,
    pub path: PathBuf,
    /// `user` or `system`.
    pub scope: &'static str,
    /// Which of our names is in it.
    pub marker: &'static str,
}

impl Other {
    pub fn is_legacy(&self) -> bool {
        self.marker != NAMES[0]
    }

    /// `clawdbot-gateway.service (user, unit: ~/…)`
    pub fn line(&self, short: &dyn Fn(&Path) -> String) -> String {
        format!("{} ({}, {}: {})", self.label, self.scope, self.kind(), short(&self.path))
    }

    /// How a person takes one away that an earlier version left; any other may be wanted.
    pub fn cleanup(&self, short: &dyn Fn(&Path) -> String) -> Vec<String> {
        let path = short(&self.path);
        let user = self.scope == "user";
        match self.kind() {
            _ if !self.is_legacy() => Vec::new(),
            "unit" if user => vec![format!("systemctl --user disable --now {}", self.label), format!("rm {path}")],
            "unit" => vec![format!("sudo systemctl disable --now {}", self.label), format!("sudo rm {path}")],
            "plist" if user => vec![format!("launchctl unload {path}"), format!("rm {path}")],
            "plist" => vec![format!("sudo launchctl unload {path}"), format!("sudo rm {path}")],
            _ => vec![format!("{path} stop"), format!("{path} disable"), format!("rm {path}")],
        }
    }

    fn kind(&self) -> &'static str {
        match self.path.extension().and_then(|end| end.to_str()) {
            Some("service") => "unit",
            Some("plist") => "plist",
            _ => "script",
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "platform": crate::sys::host::platform(),
            "label": self.label,
            "detail": format!("{}: {}", self.kind(), self.path.display()),
            "scope": self.scope,
            "marker": self.marker,
            "legacy": self.is_legacy(),
        })
    }
}

/// Services beside ours; `deep` looks through the whole system, too.
pub fn others(service: &Service, deep: bool) -> Vec<Other> {
    let spec = &service.spec;
    let mut places: Vec<(PathBuf, &'static str)> = Vec::new();
    let mut place = |path: &str, scope| {
        let dir = if scope == "user" { spec.home.join(path) } else { spec.system(path) };
        places.push((dir, scope));
    };
    match service.manager {
        Manager::SystemdUser | Manager::SystemdSystem => {
            place(".config/systemd/user", "user");
            if deep || service.manager == Manager::SystemdSystem {
                place("/etc/systemd/system", "system");
                place("/usr/lib/systemd/system", "system");
                place("/lib/systemd/system", "system");
            }
        }
        Manager::Launchd => {
            place("Library/LaunchAgents", "user");
            if deep {
                place("/Library/LaunchAgents", "system");
                place("/Library/LaunchDaemons", "system");
            }
        }
        Manager::Procd | Manager::OpenRc => place("/etc/init.d", "system"),
        // A list of all tasks takes the scheduler seconds.
        Manager::Schtasks => {}
    }
    let own = service.file();
    let mut out: Vec<Other> = Vec::new();
    let mut seen = Vec::new();
    for (dir, scope) in places {
        // /lib is often a link to /usr/lib.
        let Ok(real) = dir.canonicalize() else { continue };
        if seen.contains(&real) {
            continue;
        }
        seen.push(real);
        let entries = std::fs::read_dir(&dir).into_iter().flatten().flatten().take(MAX_FILES);
        let files =
            entries.map(|entry| entry.path()).filter(|path| *path != own && is_definition(service.manager, path));
        out.extend(files.filter_map(|path| look(service.manager, path, scope)));
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

fn is_definition(manager: Manager, path: &Path) -> bool {
    let end = path.extension().and_then(|end| end.to_str());
    match manager {
        Manager::SystemdUser | Manager::SystemdSystem => end == Some("service"),
        Manager::Launchd => end == Some("plist"),
        _ => end.is_none(),
    }
}

fn look(manager: Manager, path: PathBuf, scope: &'static str) -> Option<Other> {
    let text = runner::read(&path)?;
    // Another profile of ours is no stranger.
    if text.contains("OPENCLAW_SERVICE_MARKER") && text.contains("OPENCLAW_SERVICE_KIND") {
        return None;
    }
    // A node host talks to a gateway and is none.
    let command = if manager.is_systemd() { super::unit::parse(&text, &path) } else { None };
    if command.is_some_and(|command| {
        command.arguments.iter().any(|word| word == "node") && !command.arguments.iter().any(|word| word == "gateway")
    }) {
        return None;
    }
    let name = path.file_name()?.to_string_lossy().into_owned();
    let both = format!("{name}\n{text}").to_ascii_lowercase();
    let marker = NAMES.iter().rev().copied().find(|marker| both.contains(marker))?;
    let label = name.strip_suffix(".plist").map_or(name.clone(), str::to_owned);
    Some(Other { label, path, scope, marker })
}

/// A gateway process of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub user: String,
    pub command_line: String,
}

/// Gateways among the processes that we can see.
pub fn processes() -> Vec<Process> {
    let shown = |pid| Process {
        pid,
        user: process::owner(pid).map_or("?".into(), process::user_label),
        command_line: process::command_line(pid).unwrap_or_default().join(" "),
    };
    runner::gateways().into_iter().map(shown).collect()
}
