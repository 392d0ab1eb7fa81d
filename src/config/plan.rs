//! What a changed setting asks for: nothing, a hot change, or a restart in the same process (config A5, DECISIONS 79, 81).

use super::model::ReloadMode;

/// How a change of a setting takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// Read anew at each use.
    Dynamic,
    /// An owner must be told.
    Hot,
    Restart,
}

/// First match wins; a prefix covers itself and everything below it.
const RULES: &[(&str, Reload)] = &[
    ("gateway.remote", Reload::Dynamic),
    ("gateway.reload", Reload::Dynamic),
    ("gateway.channelHealthCheckMinutes", Reload::Hot),
    ("diagnostics.stuckSessionWarnMs", Reload::Dynamic),
    ("hooks.gmail", Reload::Hot),
    ("hooks", Reload::Hot),
    ("agents.defaults.heartbeat", Reload::Hot),
    ("agents.defaults.models", Reload::Hot),
    ("agents.defaults.model", Reload::Hot),
    ("models", Reload::Hot),
    ("agent.heartbeat", Reload::Hot),
    ("cron", Reload::Hot),
    ("browser", Reload::Hot),
    ("channels.telegram", Reload::Hot),
    ("channels.discord", Reload::Hot),
    ("channels.slack", Reload::Hot),
    ("channels.irc", Reload::Hot),
    ("channels.signal", Reload::Hot),
    ("meta", Reload::Dynamic),
    ("identity", Reload::Dynamic),
    ("wizard", Reload::Dynamic),
    ("logging", Reload::Dynamic),
    ("agents", Reload::Dynamic),
    ("tools", Reload::Dynamic),
    ("bindings", Reload::Dynamic),
    ("audio", Reload::Dynamic),
    ("agent", Reload::Dynamic),
    ("routing", Reload::Dynamic),
    ("messages", Reload::Dynamic),
    ("session", Reload::Dynamic),
    ("talk", Reload::Dynamic),
    ("skills", Reload::Dynamic),
    ("secrets", Reload::Dynamic),
    ("ui", Reload::Dynamic),
];

/// The class of a changed path; what no rule names needs a restart.
pub fn reload_class(path: &str) -> Reload {
    let covers = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    RULES.iter().find(|(prefix, _)| covers(prefix)).map_or(Reload::Restart, |(_, class)| *class)
}

/// A set of changes, sorted by what they need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub restart: Vec<String>,
    pub hot: Vec<String>,
    pub none: Vec<String>,
}

/// What to do with a plan in a reload mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing differs; nothing is logged.
    Nothing,
    /// Mode off: the new configuration becomes the base of the next comparison, and that is all.
    Disabled,
    Restart,
    /// Apply `hot` and `none`; the `restart` paths, if any, wait (mode hot).
    Apply,
}

impl Plan {
    pub fn of(paths: impl IntoIterator<Item = String>) -> Plan {
        let mut plan = Plan::default();
        for path in paths {
            match reload_class(&path) {
                Reload::Restart => plan.restart.push(path),
                Reload::Hot => plan.hot.push(path),
                Reload::Dynamic => plan.none.push(path),
            }
        }
        plan
    }

    pub fn is_empty(&self) -> bool {
        self.restart.is_empty() && self.hot.is_empty() && self.none.is_empty()
    }

    pub fn action(&self, mode: ReloadMode) -> Action {
        match mode {
            _ if self.is_empty() => Action::Nothing,
            ReloadMode::Off => Action::Disabled,
            ReloadMode::Restart => Action::Restart,
            ReloadMode::Hybrid if !self.restart.is_empty() => Action::Restart,
            ReloadMode::Hot | ReloadMode::Hybrid => Action::Apply,
        }
    }

    /// The log lines of a reload, with whether each is a warning. `paths` are all changed paths in order.
    pub fn log_lines(&self, mode: ReloadMode, paths: &[String]) -> Vec<(bool, String)> {
        let action = self.action(mode);
        if action == Action::Nothing {
            return Vec::new();
        }
        let mut lines = vec![(false, format!("config change detected; evaluating reload ({})", paths.join(", ")))];
        match action {
            Action::Disabled => lines.push((false, "config reload disabled (gateway.reload.mode=off)".into())),
            Action::Restart => {
                let reasons = if mode == ReloadMode::Restart { paths } else { &self.restart };
                lines.push((true, format!("config change requires gateway restart ({})", reasons.join(", "))));
            }
            _ => {
                if !self.restart.is_empty() {
                    let waiting = self.restart.join(", ");
                    let line = format!("config reload requires gateway restart; hot mode ignoring ({waiting})");
                    lines.push((true, line));
                }
                if !self.hot.is_empty() {
                    lines.push((false, format!("config hot reload applied ({})", self.hot.join(", "))));
                } else if !self.none.is_empty() {
                    lines.push((false, format!("config change applied (dynamic reads: {})", self.none.join(", "))));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let table: [(Reload, &[&str]); 3] = [
            (
                Reload::Dynamic,
                &[
                    "gateway.remote",
                    "gateway.remote.url",
                    "gateway.reload.mode",
                    "diagnostics.stuckSessionWarnMs",
                    "meta",
                    "identity",
                    "wizard",
                    "logging.level",
                    "agents",
                    "agents.list",
                    "agents.defaults.modelsX",
                    "tools",
                    "bindings",
                    "audio",
                    "agent",
                    "routing",
                    "messages",
                    "session",
                    "talk",
                    "skills",
                    "secrets",
                    "ui",
                ],
            ),
            (
                Reload::Hot,
                &[
                    "gateway.channelHealthCheckMinutes",
                    "hooks",
                    "hooks.gmail.x",
                    "hooks.token",
                    "agents.defaults.heartbeat.every",
                    "agents.defaults.models",
                    "agents.defaults.model.primary",
                    "models.providers",
                    "agent.heartbeat",
                    "cron",
                    "browser",
                    "channels.telegram",
                    "channels.discord.token",
                    "channels.slack",
                    "channels.irc",
                    "channels.signal",
                ],
            ),
            (
                Reload::Restart,
                &[
                    "gateway",
                    "gateway.port",
                    "gateway.auth.token",
                    "gateway.remoteX",
                    "plugins",
                    "discovery",
                    "canvasHost",
                    "diagnostics",
                    "commands",
                    "env",
                    "channels",
                    "channels.defaults",
                    "approvals",
                    "update",
                    "media",
                    "auth",
                    "memory",
                    "broadcast",
                    "cli",
                    "acp",
                    "nodeHost",
                    "",
                    "web",
                    "channels.whatsapp",
                ],
            ),
        ];
        for (class, paths) in table {
            for path in paths {
                assert_eq!(reload_class(path), class, "{path}");
            }
        }
    }

    #[test]
    fn actions_and_lines() {
        use ReloadMode::*;
        let paths: Vec<String> = ["gateway.port", "cron", "ui"].map(str::to_owned).to_vec();
        let detected = "config change detected; evaluating reload (gateway.port, cron, ui)";
        let table: [(ReloadMode, Action, &[&str]); 4] = [
            (Off, Action::Disabled, &["config reload disabled (gateway.reload.mode=off)"]),
            (Restart, Action::Restart, &["config change requires gateway restart (gateway.port, cron, ui)"]),
            (Hybrid, Action::Restart, &["config change requires gateway restart (gateway.port)"]),
            (
                Hot,
                Action::Apply,
                &[
                    "config reload requires gateway restart; hot mode ignoring (gateway.port)",
                    "config hot reload applied (cron)",
                ],
            ),
        ];
        let plan = Plan::of(paths.clone());
        for (mode, action, expected) in table {
            assert_eq!(plan.action(mode), action);
            let lines: Vec<String> = plan.log_lines(mode, &paths).into_iter().map(|(_, line)| line).collect();
            assert_eq!(lines[0], detected);
            assert_eq!(&lines[1..], expected);
        }
        let quiet = Plan::of(["ui".to_owned()]);
        assert_eq!(quiet.log_lines(Hybrid, &["ui".into()])[1].1, "config change applied (dynamic reads: ui)");
        assert_eq!(Plan::default().log_lines(Restart, &[]), []);
    }
}
