//! What a changed setting asks for: nothing, a hot change, or a restart in the same process (config A5, DECISIONS 79, 81).

use std::sync::Arc;

use serde_json::Value;

use super::diff;
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
}

/// What to do about a configuration that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The file says what it said, or again what is in force.
    Nothing,
    /// Mode off: nothing is taken over.
    Disabled,
    Restart,
    /// Take over what is hot or dynamic; what needs a restart, if anything, waits (mode hot, DECISIONS 79).
    Apply,
}

/// What the running gateway goes by and what the file said last. They differ by what waits for a restart.
#[derive(Clone, Debug)]
pub struct Standing {
    in_force: Arc<Value>,
    seen: Arc<Value>,
}

/// A configuration that was read, compared with both.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub mode: ReloadMode,
    /// What is new in the file, in its order.
    pub changed: Vec<String>,
    /// How the file differs from what is in force.
    pub plan: Plan,
}

impl Standing {
    pub fn new(effective: Value) -> Standing {
        let effective = Arc::new(effective);
        Standing { in_force: effective.clone(), seen: effective }
    }

    /// Compares with an effective configuration and remembers it as what the file says.
    pub fn weigh(&mut self, effective: &Value, mode: ReloadMode) -> Verdict {
        let changed = diff::changed_paths(&self.seen, effective);
        let plan = Plan::of(diff::changed_paths(&self.in_force, effective));
        if plan.is_empty() {
            self.seen = self.in_force.clone();
        } else if !changed.is_empty() {
            self.seen = Arc::new(effective.clone());
        }
        Verdict { mode, changed, plan }
    }

    /// What is in force, with everything of the file that needs no restart.
    pub fn without_restart(&self, effective: &Value) -> Value {
        diff::blend(&self.in_force, effective, &|path| reload_class(path) != Reload::Restart)
    }

    /// From now on this is in force.
    pub fn take(&mut self, effective: Value) {
        self.in_force = Arc::new(effective);
        if self.in_force == self.seen {
            self.seen = self.in_force.clone();
        }
    }
}

impl Verdict {
    pub fn action(&self) -> Action {
        match self.mode {
            _ if self.plan.is_empty() => Action::Nothing,
            ReloadMode::Off => Action::Disabled,
            ReloadMode::Restart => Action::Restart,
            ReloadMode::Hybrid if !self.plan.restart.is_empty() => Action::Restart,
            ReloadMode::Hot | ReloadMode::Hybrid => Action::Apply,
        }
    }

    /// Why a restart: what needs it, or in mode restart everything that differs.
    pub fn reasons(&self) -> String {
        let Plan { restart, hot, none } = &self.plan;
        match self.mode {
            ReloadMode::Restart => [&restart[..], hot, none].concat().join(", "),
            _ => restart.join(", "),
        }
    }

    /// The log lines before anything is done, with whether each is a warning.
    pub fn before(&self) -> Vec<(bool, String)> {
        let mut lines = Vec::new();
        if !self.changed.is_empty() {
            lines.push((false, format!("config change detected; evaluating reload ({})", self.changed.join(", "))));
        }
        match self.action() {
            Action::Nothing if !self.changed.is_empty() => {
                lines.push((false, "the configuration is again what the running gateway goes by".into()));
            }
            Action::Disabled if !self.changed.is_empty() => {
                lines.push((false, "config reload disabled (gateway.reload.mode=off)".into()));
            }
            Action::Apply if !self.plan.restart.is_empty() => {
                let waiting = self.plan.restart.join(", ");
                lines.push((true, format!("config reload requires gateway restart; hot mode ignoring ({waiting})")));
            }
            _ => {}
        }
        lines
    }

    /// The log line after the safe part was taken over; None when there was none.
    pub fn applied(&self) -> Option<String> {
        let Plan { hot, none, .. } = &self.plan;
        match (hot.is_empty(), none.is_empty()) {
            (false, _) => Some(format!("config hot reload applied ({})", hot.join(", "))),
            (true, false) => Some(format!("config change applied (dynamic reads: {})", none.join(", "))),
            (true, true) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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

    /// Lines and action of one more configuration; what the action asks for is done.
    fn step(standing: &mut Standing, config: &Value) -> (Action, Vec<String>) {
        use ReloadMode::*;
        let mode = match config["gateway"]["reload"]["mode"].as_str() {
            Some("off") => Off,
            Some("hot") => Hot,
            Some("restart") => Restart,
            _ => Hybrid,
        };
        let verdict = standing.weigh(config, mode);
        let mut lines: Vec<String> = verdict.before().into_iter().map(|(_, line)| line).collect();
        match verdict.action() {
            Action::Apply => {
                standing.take(standing.without_restart(config));
                lines.extend(verdict.applied());
            }
            Action::Restart => {
                lines.push(format!("restart ({})", verdict.reasons()));
                standing.take(config.clone());
            }
            Action::Nothing | Action::Disabled => {}
        }
        (verdict.action(), lines)
    }

    fn config(mode: &str, port: u64, cron: u64, ui: u64) -> Value {
        json!({"gateway": {"port": port, "reload": {"mode": mode}}, "cron": {"maxConcurrentRuns": cron}, "ui": {"x": ui}})
    }

    const DETECTED: &str = "config change detected; evaluating reload ";

    #[test]
    fn modes() {
        let table: [(&str, Action, &[&str]); 4] = [
            ("off", Action::Disabled, &["config reload disabled (gateway.reload.mode=off)"]),
            ("restart", Action::Restart, &["restart (gateway.port, cron.maxConcurrentRuns, ui.x)"]),
            ("hybrid", Action::Restart, &["restart (gateway.port)"]),
            (
                "hot",
                Action::Apply,
                &[
                    "config reload requires gateway restart; hot mode ignoring (gateway.port)",
                    "config hot reload applied (cron.maxConcurrentRuns)",
                ],
            ),
        ];
        for (mode, action, expected) in table {
            let mut standing = Standing::new(config(mode, 1, 1, 1));
            let (done, lines) = step(&mut standing, &config(mode, 2, 2, 2));
            assert_eq!(done, action);
            assert_eq!(lines[0], format!("{DETECTED}(gateway.port, cron.maxConcurrentRuns, ui.x)"));
            assert_eq!(&lines[1..], expected);
            // Written once more without a change: nothing happens twice.
            let again = standing.weigh(&config(mode, 2, 2, 2), ReloadMode::Hybrid);
            assert_eq!(again.changed, [""; 0]);
        }
        let mut standing = Standing::new(config("hybrid", 1, 1, 1));
        let lines = step(&mut standing, &config("hybrid", 1, 1, 2)).1;
        assert_eq!(lines[1], "config change applied (dynamic reads: ui.x)");
        assert_eq!(step(&mut standing, &config("hybrid", 1, 1, 2)), (Action::Nothing, vec![]));
    }

    #[test]
    fn what_waits_in_mode_hot_is_neither_lost_nor_applied_twice() {
        let mut standing = Standing::new(config("hot", 1, 1, 1));
        let ignoring = "config reload requires gateway restart; hot mode ignoring (gateway.port)";
        let applied = "config change applied (dynamic reads: ui.x)";
        let detected = |paths: &str| format!("{DETECTED}({paths})");
        let table: [(Value, Vec<String>); 6] = [
            (config("hot", 2, 1, 2), vec![detected("gateway.port, ui.x"), ignoring.into(), applied.into()]),
            (config("hot", 2, 1, 3), vec![detected("ui.x"), ignoring.into(), applied.into()]),
            (
                config("hot", 1, 1, 3),
                vec![detected("gateway.port"), "the configuration is again what the running gateway goes by".into()],
            ),
            (config("hot", 1, 1, 4), vec![detected("ui.x"), applied.into()]),
            (config("hot", 3, 1, 4), vec![detected("gateway.port"), ignoring.into()]),
            (config("hybrid", 3, 1, 4), vec![detected("gateway.reload.mode"), "restart (gateway.port)".into()]),
        ];
        for (config, expected) in table {
            assert_eq!(step(&mut standing, &config).1, expected, "{config}");
        }
        assert_eq!(*standing.in_force, config("hybrid", 3, 1, 4));
        assert!(Arc::ptr_eq(&standing.in_force, &standing.seen));
    }

    #[test]
    fn what_was_not_taken_in_mode_off_comes_with_the_next_change() {
        let mut standing = Standing::new(config("off", 1, 1, 1));
        assert_eq!(step(&mut standing, &config("off", 1, 2, 2)).0, Action::Disabled);
        let (action, lines) = step(&mut standing, &config("hot", 1, 2, 2));
        assert_eq!(action, Action::Apply);
        assert_eq!(lines[0], format!("{DETECTED}(gateway.reload.mode)"));
        assert_eq!(lines[1], "config hot reload applied (cron.maxConcurrentRuns)");
        assert_eq!(*standing.in_force, config("hot", 1, 2, 2));
        // The change that sets off is not taken over either: the mode counts for the very change that sets it.
        assert_eq!(step(&mut standing, &config("off", 1, 2, 2)).0, Action::Disabled);
    }
}
