//! The two layouts of `openclaw status`: the page, and the report that is made to be pasted. Pure but for what
//! `--all` looks up on the spot (port, last log lines).

use serde_json::Value;

use super::Context;
use super::audit::Severity;
use super::health;
use super::output::{Paint, age, plain, short_count, table, wrap};
use super::status::{Facts, SESSIONS_SHOWN};
use super::tree::Status as Args;

/// Lines of the log in the report of a gateway that does not answer.
const LOG_LINES: usize = 20;

/// How the page is to look.
pub(super) struct Look<'a> {
    pub paint: Paint,
    pub columns: usize,
    /// Shown as `~`.
    pub home: String,
    pub suggest: Box<dyn Fn(&str) -> String + 'a>,
}

impl Look<'_> {
    pub(super) fn of(cx: &Context) -> Look<'_> {
        Look {
            paint: cx.paint,
            columns: cx.columns,
            home: cx.paths.home.display().to_string(),
            suggest: Box::new(|command| cx.suggest(command)),
        }
    }
}

impl Facts {
    fn gateway_cell(&self) -> String {
        let target = match &self.target {
            Ok(target) => format!("{} · {} ({})", self.mode, target.url, target.source),
            Err(text) if text.contains("gateway.remote.url missing") => {
                return format!("{} · misconfigured (remote.url missing)", self.mode);
            }
            Err(text) => return format!("{} · {}", self.mode, text.lines().next().unwrap_or("")),
        };
        match (self.latency_ms, &self.error) {
            (Some(ms), error) => {
                let mut text = format!("{target} · reachable {ms}ms · {}", self.auth);
                let own = |key: &str| self.own[key].as_str().unwrap_or("?");
                if self.own.is_object() {
                    text.push_str(&format!(
                        " · {} ({}) app {} {}",
                        own("host"),
                        own("ip"),
                        own("version"),
                        own("platform")
                    ));
                }
                if let Some(error) = error {
                    text.push_str(&format!(" · {error}"));
                }
                text
            }
            (None, error) => format!("{target} · unreachable ({})", error.as_deref().unwrap_or("no answer")),
        }
    }

    fn agents_cell(&self, now: u64) -> String {
        let waiting = self.agents.iter().filter(|agent| agent.bootstrap).count();
        let sessions: usize = self.agents.iter().map(|agent| agent.sessions).sum();
        let active = self
            .agents
            .iter()
            .find(|agent| agent.id == self.default_agent)
            .and_then(|agent| agent.updated_at)
            .map_or("unknown".to_string(), |at| age(now.saturating_sub(at)));
        let bootstrap =
            if waiting == 0 { "no bootstrap files".to_string() } else { format!("{waiting} bootstrapping") };
        format!(
            "{} · {bootstrap} · sessions {sessions} · default {} active {active}",
            self.agents.len(),
            self.default_agent
        )
    }

    /// Nobody should take an echo for a model.
    fn echo_row(&self) -> Option<Vec<String>> {
        self.echo.then(|| row("Model", "builtin/echo, an echo: no model provider is configured".into()))
    }

    fn sessions_cell(&self) -> String {
        let sessions = &self.summary["sessions"];
        let paths = sessions["paths"].as_array().map(Vec::as_slice).unwrap_or_default();
        let place = match paths {
            [one] => one.as_str().unwrap_or("").to_string(),
            many => format!("{} stores", many.len()),
        };
        format!(
            "{} active · default {} ({} ctx) · {place}",
            sessions["count"].as_u64().unwrap_or(0),
            sessions["defaults"]["model"].as_str().unwrap_or("?"),
            short_count(sessions["defaults"]["contextTokens"].as_u64().unwrap_or(0)),
        )
    }

    fn heartbeat_cell(&self) -> String {
        let agents = self.summary["heartbeat"]["agents"].as_array().map(Vec::as_slice).unwrap_or_default();
        let beats: Vec<String> = agents
            .iter()
            .map(|agent| {
                let every = if agent["enabled"] == true { agent["every"].as_str().unwrap_or("?") } else { "disabled" };
                format!("{every} ({})", agent["agentId"].as_str().unwrap_or("?"))
            })
            .collect();
        beats.join(", ")
    }

    fn events_cell(&self) -> String {
        match self.summary["queuedSystemEvents"].as_array().map_or(0, Vec::len) {
            0 => "none".to_string(),
            n => format!("{n} queued"),
        }
    }

    pub(super) fn page(&self, look: &Look<'_>, args: &Args, now: u64) -> String {
        let paint = look.paint;
        let mut rows = vec![
            row("Version", super::help::version_line().replace("OpenClaw ", "")),
            row("Dashboard", self.dashboard.into()),
            row("OS", self.os.label()),
            row("Tailscale", self.tailscale.clone()),
            row("Gateway", self.gateway_cell()),
            row("Gateway service", self.service.short()),
            row("Agents", self.agents_cell(now)),
            row("Memory", "not part of this build".to_string()),
            row("Probes", if args.deep { "enabled" } else { "skipped (use --deep)" }.to_string()),
            row("Events", self.events_cell()),
            row("Heartbeat", self.heartbeat_cell()),
        ];
        rows.extend(self.echo_row());
        if args.deep {
            rows.push(row("Last heartbeat", last_heartbeat(self.last_heartbeat.as_ref(), now)));
        }
        rows.push(row("Sessions", shorten(&self.sessions_cell(), look)));
        let mut parts = vec![paint.bold("OpenClaw status")];
        if args.verbose || args.debug {
            let block = self.target.as_ref().map_or_else(|text| text.clone(), |target| target.block().join("\n  "));
            parts.push(format!("Gateway connection:\n  {block}"));
        }
        parts.push(titled("Overview", paint, table(&["Item", "Value"], &rows, look.columns)));
        parts.push(self.audit_part(paint, look.columns));
        parts.push(titled("Channels", paint, self.channels_table(look.columns)));
        parts.push(titled("Sessions", paint, self.sessions_table(look.columns)));
        if args.deep {
            parts.push(titled("Health", paint, self.health_table(look.columns)));
        }
        if args.usage {
            parts.push(titled("Usage", paint, self.usage_part()));
        }
        parts.push(self.next_steps(look));
        parts.join("\n\n")
    }

    fn audit_part(&self, paint: Paint, columns: usize) -> String {
        let count = |severity| super::audit::count(&self.findings, severity);
        let mut lines = vec![
            paint.bold("Security audit"),
            format!(
                "Summary: {} critical · {} warn · {} info",
                count(Severity::Critical),
                count(Severity::Warn),
                count(Severity::Info)
            ),
        ];
        for finding in self.findings.iter().filter(|finding| finding.severity != Severity::Info) {
            let word = finding.severity.name().to_uppercase();
            let word = match finding.severity {
                Severity::Critical => paint.red(&word),
                Severity::Warn => paint.yellow(&word),
                Severity::Info => paint.gray(&word),
            };
            lines.push(format!("  {word} {}", finding.title));
            let fix = finding.fix.as_ref().map(|fix| format!("Fix: {fix}"));
            for text in [Some(finding.detail.clone()), fix].into_iter().flatten() {
                lines.extend(wrap(&text, columns - 4).iter().map(|line| format!("    {line}")));
            }
        }
        lines.join("\n")
    }

    fn channels_table(&self, columns: usize) -> String {
        let order = self.health["channelOrder"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rows: Vec<Vec<String>> = order
            .iter()
            .filter_map(Value::as_str)
            .map(|id| {
                let channel = &self.health["channels"][id];
                let label = self.health["channelLabels"][id].as_str().unwrap_or(id).to_string();
                let on = if channel["configured"] == false { "OFF" } else { "ON" };
                let failed = channel["probe"]["ok"] == false || channel["lastError"].is_string();
                let state = if failed { "WARN" } else { "OK" };
                let detail = channel["probe"]["error"].as_str().or(channel["lastError"].as_str()).unwrap_or("");
                vec![label, on.to_string(), state.to_string(), detail.to_string()]
            })
            .collect();
        if rows.is_empty() {
            rows.push(vec!["none configured".into(), String::new(), String::new(), String::new()]);
        }
        table(&["Channel", "Enabled", "State", "Detail"], &rows, columns)
    }

    fn sessions_table(&self, columns: usize) -> String {
        let recent = self.summary["sessions"]["recent"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut rows: Vec<Vec<String>> = recent
            .iter()
            .take(SESSIONS_SHOWN)
            .map(|session| {
                let text = |key: &str| session[key].as_str().unwrap_or("").to_string();
                let context = short_count(session["contextTokens"].as_u64().unwrap_or(0));
                let tokens = match (session["totalTokens"].as_u64(), session["percentUsed"].as_u64()) {
                    (Some(total), Some(percent)) => format!("{}/{context} ({percent}%)", short_count(total)),
                    _ => format!("unknown/{context} (?%)"),
                };
                let since = session["age"].as_u64().map_or("unknown".to_string(), age);
                vec![text("key"), text("kind"), since, text("model"), tokens]
            })
            .collect();
        if rows.is_empty() {
            rows.push(vec!["no sessions yet".into(), String::new(), String::new(), String::new(), String::new()]);
        }
        table(&["Key", "Kind", "Age", "Model", "Tokens"], &rows, columns)
    }

    fn health_table(&self, columns: usize) -> String {
        let state = if self.reachable() { "reachable" } else { "unreachable" };
        let detail = match (&self.error, self.health["durationMs"].as_u64()) {
            (Some(error), _) => error.clone(),
            (None, Some(ms)) => format!("{ms}ms"),
            (None, None) => String::new(),
        };
        let mut rows = vec![vec!["Gateway".to_string(), state.to_string(), detail]];
        for line in health::channels(&self.health) {
            let (name, state) = line.split_once(": ").unwrap_or((&line, ""));
            rows.push(vec![name.to_string(), state.to_string(), String::new()]);
        }
        table(&["Item", "Status", "Detail"], &rows, columns)
    }

    fn usage_part(&self) -> String {
        let providers = self.usage.as_ref().and_then(|usage| usage["providers"].as_array());
        match providers.filter(|providers| !providers.is_empty()) {
            None => "Usage: no provider usage available.".to_string(),
            Some(providers) => providers
                .iter()
                .map(|provider| {
                    plain(provider["displayName"].as_str().or(provider["provider"].as_str()).unwrap_or("?"))
                })
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn next_steps(&self, look: &Look<'_>) -> String {
        let mut lines = vec![
            "Next steps:".to_string(),
            format!("  Need to share?      {}", (look.suggest)("openclaw status --all")),
            format!("  Need to debug live? {}", (look.suggest)("openclaw logs --follow")),
        ];
        if !self.reachable() {
            lines.push(format!("  Fix reachability first: {}", (look.suggest)("openclaw gateway probe")));
        }
        lines.join("\n")
    }

    /// The long report, made to be pasted: no secrets in it.
    pub(super) fn report(&self, cx: &Context, now: u64) -> String {
        let paint = cx.paint;
        let config_path = cx.short(&cx.paths.config_path);
        let mut rows = vec![
            row("Version", super::help::version_line().replace("OpenClaw ", "")),
            row("OS", self.os.label()),
            row("Config", config_path.clone()),
            row("Dashboard", self.dashboard.into()),
            row("Tailscale", self.tailscale.clone()),
            row("Gateway", self.gateway_cell()),
            row("Gateway service", self.service.short()),
            row("Agents", self.agents_cell(now)),
            row("Sessions", shorten(&self.sessions_cell(), &Look::of(cx))),
        ];
        rows.extend(self.echo_row());
        let agents: Vec<Vec<String>> = self
            .agents
            .iter()
            .map(|agent| {
                let active = agent.updated_at.map_or("unknown".to_string(), |at| age(now.saturating_sub(at)));
                let bootstrap = if agent.bootstrap { "PENDING" } else { "ABSENT" };
                let store = cx.short(agent.store.as_ref());
                vec![agent.id.clone(), bootstrap.to_string(), agent.sessions.to_string(), active, store]
            })
            .collect();
        let agents = table(&["Agent", "Bootstrap file", "Sessions", "Active", "Store"], &agents, cx.columns);
        let parts = [
            paint.bold("OpenClaw status --all"),
            titled("Overview", paint, table(&["Item", "Value"], &rows, cx.columns)),
            titled("Channels", paint, self.channels_table(cx.columns)),
            titled("Agents", paint, agents),
            self.audit_part(paint, cx.columns),
            format!("{}\n\n{}", paint.bold("Diagnosis (read-only)"), self.diagnosis(cx, &config_path).join("\n")),
            "Pasteable debug report. Auth tokens redacted.".to_string(),
        ];
        parts.join("\n\n")
    }

    fn diagnosis(&self, cx: &Context, config_path: &str) -> Vec<String> {
        let (good, bad) = (cx.paint.green("✓"), cx.paint.yellow("!"));
        let loaded = cx.loaded();
        let mut lines = vec!["Gateway connection details:".to_string()];
        match &self.target {
            Ok(target) => lines.extend(target.block().iter().map(|line| format!("  {line}"))),
            Err(text) => lines.push(format!("  {text}")),
        }
        lines.push(String::new());
        if loaded.valid() && loaded.exists {
            lines.push(format!("{good} Config: {config_path}"));
        } else {
            let state = if loaded.exists { "invalid" } else { "missing" };
            lines.push(format!("{bad} Config: {config_path} ({state})"));
            lines.extend(loaded.issues.iter().map(|issue| format!("  {}", plain(&issue.line()))));
        }
        let port = cx.port(None);
        let listeners = crate::sys::sockets::listeners(port);
        let wording = crate::server::port_report::Wording::of(&cx.paths);
        let mut report = match listeners.as_slice() {
            [] => Vec::new(),
            some => crate::server::port_report::port_report(port, some, wording),
        };
        if self.reachable() {
            // Who listens is worth knowing, that the port is taken is as it should be.
            report.retain(|line| line.starts_with("- pid"));
        }
        let mark = if self.reachable() { &good } else { &bad };
        lines.push(format!("{mark} Port {port}{}", if listeners.is_empty() { ": nobody listens" } else { "" }));
        for line in report {
            lines.extend(wrap(&plain(&line), cx.columns - 2).iter().map(|line| format!("  {line}")));
        }
        match (&self.error, self.reachable()) {
            (None, _) => lines.push(format!("{good} Gateway answers")),
            (Some(error), _) => lines.push(format!("{bad} Gateway: {}", plain(error))),
        }
        if !self.reachable()
            && let Some(file) = super::logs::local_file(cx).filter(|file| file.is_file())
        {
            lines.push(format!("{bad} Gateway log ({}), last lines:", cx.short(&file)));
            let tail = crate::log::tail::read(&file, None, LOG_LINES, 64 * 1024).unwrap_or_default();
            let text = |raw: &String| crate::log::tail::parse_line(raw).map_or(raw.clone(), |line| line.message);
            lines.extend(tail.lines.iter().map(|raw| format!("  {}", plain(&crate::log::redact::redact(&text(raw))))));
        }
        lines
    }
}

fn row(name: &str, value: String) -> Vec<String> {
    vec![name.to_string(), value]
}

fn titled(title: &str, paint: Paint, body: String) -> String {
    format!("{}\n{body}", paint.bold(title))
}

fn last_heartbeat(event: Option<&Value>, now: u64) -> String {
    match event {
        None => "unavailable".to_string(),
        Some(Value::Null) => "none".to_string(),
        Some(event) => {
            let since = event["ts"].as_u64().map_or("unknown".to_string(), |ts| age(now.saturating_sub(ts)));
            format!("{} · {since}", event["status"].as_str().unwrap_or("unknown"))
        }
    }
}

/// Paths inside a cell as people write them.
fn shorten(text: &str, look: &Look<'_>) -> String {
    if look.home.len() < 2 { text.to_string() } else { text.replace(&format!("{}/", look.home), "~/") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::width;
    use crate::cli::status::tests::facts;

    fn page(facts: &Facts, args: &Args, columns: usize) -> String {
        let suggest = Box::new(|command: &str| command.to_string());
        let look = Look { paint: Paint::NONE, columns, home: "/home/u".into(), suggest };
        facts.page(&look, args, 1_000_000)
    }

    #[test]
    fn the_page_fits_and_says_what_matters() {
        for columns in [80, 120] {
            let text = page(&facts(), &Args { deep: true, verbose: true, ..Args::default() }, columns);
            assert!(text.lines().all(|line| width(line) <= columns), "{text}");
            for part in [
                "OpenClaw status\n\nGateway connection:\n  Gateway target: ws://127.0.0.1:21120\n",
                "│ OS              │ linux 6.12.0 (x64)",
                "12ms",
                "systemd not installed",
                "Summary: 0 critical · 1 warn · 0 info\n  WARN State dir is readable by others\n    ~/.openclaw mode=755",
                "    Fix: chmod 700 ~/.openclaw",
                "30m (main)",
                "12k/200k (6%)",
                "agent:main:main",
                "irc",
                "  Need to debug live? openclaw logs --follow",
            ] {
                assert!(text.contains(part), "{part}\n{text}");
            }
            assert!(!text.contains("openclaw gateway probe"), "{text}");
        }
    }

    #[test]
    fn a_gateway_that_is_down() {
        let mut facts = facts();
        facts.latency_ms = None;
        facts.error = Some("connect failed: connect ECONNREFUSED 127.0.0.1:21120".into());
        let text = page(&facts, &Args::default(), 120);
        assert!(text.contains("unreachable (connect failed: connect ECONNREFUSED"), "{text}");
        assert!(text.ends_with("  Fix reachability first: openclaw gateway probe"), "{text}");
        facts.target = Err("gateway remote mode misconfigured: gateway.remote.url missing".into());
        facts.mode = "remote".into();
        let text = page(&facts, &Args::default(), 80);
        assert!(text.contains("remote · misconfigured (remote.url missing)"), "{text}");
    }
}
