//! The page of `gateway status`: what is good to standard output, what is bad to standard error.

use super::{Facts, Probe};
use crate::cli::output::{Page, Paint, plain};
use crate::cli::service::NO_SYSTEMD;
use crate::sys::sockets::PortUse;

const ISSUES_SHOWN: usize = 5;
const ERROR_LINES: usize = 12;

impl Facts {
    pub(super) fn page(&self, paint: Paint, suggest: &dyn Fn(&str) -> String) -> Page {
        let mut page = Page::default();
        self.service_lines(&mut page, paint, suggest);
        page.out("");
        self.config_lines(&mut page, suggest);
        page.out("");
        page.out(format!(
            "Gateway: bind={} ({}), port={} ({})",
            self.bind.name(),
            plain(&self.bind_host),
            self.port,
            self.port_source()
        ));
        page.out(format!("Probe target: {}", self.probe_url));
        page.out(format!("Dashboard: {}", self.dashboard));
        if let Some(note) = self.probe_note() {
            page.out(format!("Probe note: {note}"));
        }
        page.out("");
        self.runtime_lines(&mut page, paint, suggest);
        page.out("");
        if let PortUse::Busy(listeners) = &self.port_use {
            let addresses: Vec<String> = listeners.iter().map(|listener| listener.address.to_string()).collect();
            page.out(format!("Listening: {}", addresses.join(", ")));
        }
        self.other_gateways(&mut page);
        page.out(format!("Troubles: run {}", suggest("openclaw status")));
        // Not everybody has manual pages.
        let help = suggest("openclaw help troubleshooting");
        page.out(format!("Troubleshooting: {help} (or man openclaw-troubleshooting)"));
        page
    }

    fn service_lines(&self, page: &mut Page, paint: Paint, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        let state = service.state_text();
        let state = if service.loaded { paint.green(state) } else { paint.yellow(state) };
        page.out(format!("Service: {} ({state})", service.manager.label()));
        page.out(format!("File logs: {}", self.log_file));
        if let Some(command) = &service.command {
            page.out(format!("Command: {}", plain(&command.arguments.join(" "))));
            page.out(format!("Service file: {}", self.service_file));
            if let Some(dir) = &command.working_dir {
                page.out(format!("Working dir: {}", plain(dir)));
            }
            let env: Vec<String> =
                service.shown_env().iter().map(|(name, value)| format!("{name}={}", plain(value))).collect();
            if !env.is_empty() {
                page.out(format!("Service env: {}", env.join(" ")));
            }
        }
        if !service.issues.is_empty() {
            page.err("Service config looks out of date or non-standard.");
            service.issues.iter().for_each(|issue| page.err(format!("Service config issue: {}", plain(&issue.line()))));
            let (doctor, repair) = (suggest("openclaw doctor"), suggest("openclaw doctor --repair"));
            page.err(format!("Recommendation: run \"{doctor}\" (or \"{repair}\")."));
        }
    }

    fn runtime_lines(&self, page: &mut Page, paint: Paint, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        page.out(format!("Runtime: {}", plain(&service.runtime.line())));
        let managed = service.runtime.pid.is_some() && service.runtime.pid == self.lock_pid;
        if let Some(pid) = self.lock_pid.filter(|_| !managed) {
            page.out(format!("Unmanaged gateway: pid {pid} holds the lock of this configuration"));
        }
        let (answers, running) = (matches!(self.probe, Probe::Ok { .. }), service.runtime.status == "running");
        match &self.probe {
            Probe::Skipped => {}
            Probe::Ok { .. } => page.out(format!("RPC probe: {}", paint.green("ok"))),
            Probe::Failed { url, error } => {
                if running {
                    page.out("Warm-up: launch agents can take a few seconds. Try again shortly.");
                }
                page.err(format!("RPC probe: {}", paint.red("failed")));
                page.err(format!("RPC target: {url}"));
                error.lines().take(ERROR_LINES).for_each(|line| page.err(format!("  {}", plain(line))));
            }
        }
        // Whoever sees the gateway answer has no use for advice about service managers.
        if !answers {
            self.service_troubles(page, running, suggest);
            self.report.iter().for_each(|line| page.err(line.clone()));
        }
        if let Some((port, port_use)) = &self.port_cli {
            let state = match port_use {
                PortUse::Free => "free",
                PortUse::Busy(_) => "busy",
                PortUse::Unknown => "unknown",
            };
            page.out(format!("Note: CLI config resolves gateway port={port} ({state})."));
        }
    }

    fn service_troubles(&self, page: &mut Page, running: bool, suggest: &dyn Fn(&str) -> String) {
        let service = &self.service;
        if service.unavailable {
            page.err("systemd user services unavailable.");
            NO_SYSTEMD.iter().for_each(|line| page.err(*line));
        } else if service.runtime.missing {
            page.err("Service unit not found.");
            page.err(format!("Service not installed. Run: {}", suggest("openclaw gateway install")));
        } else if service.loaded && !running {
            page.err("Service is loaded but not running (likely exited immediately).");
            page.err(format!("File logs: {}", self.log_file));
        } else if running && !matches!(self.port_use, PortUse::Busy(_)) {
            page.err(format!("Gateway port {} is not listening (service appears running).", self.port));
        } else {
            return;
        }
        if let Some(error) = &self.last_error {
            page.err(format!("Last gateway error: {}", plain(error)));
        }
        if service.command.is_some() && !service.unavailable {
            page.err(format!("Logs: {}", service.log_hint));
        }
    }

    fn other_gateways(&self, page: &mut Page) {
        if !self.others.is_empty() {
            page.err("Other gateway-like services detected (best effort):");
            self.other_lines.iter().for_each(|line| page.err(format!("- {}", plain(line))));
            self.cleanup_hints.iter().for_each(|hint| page.err(format!("Cleanup hint: {}", plain(hint))));
        }
        if !self.processes.is_empty() {
            page.err("Other gateway processes detected (best effort):");
            for process in &self.processes {
                page.err(format!("- pid {} {}: {}", process.pid, process.user, plain(&process.command_line)));
            }
        }
        if !self.others.is_empty() || !self.processes.is_empty() {
            page.err(
                "Recommendation: run a single gateway per machine for most setups. One gateway supports multiple \
                 agents (see docs: /gateway#multiple-gateways-same-host).",
            );
            page.err(
                "If you need multiple gateways (e.g., a rescue bot on the same host), isolate ports + config/state \
                 (see docs: /gateway#multiple-gateways-same-host).",
            );
        }
    }

    fn config_lines(&self, page: &mut Page, suggest: &dyn Fn(&str) -> String) {
        let own = &self.config;
        page.out(format!("Config (cli): {}{}", own.short, own.state()));
        for (path, message) in own.issues.iter().take(ISSUES_SHOWN) {
            let path = if path.is_empty() { "<root>" } else { path };
            page.err(format!("Config issue: {path}: {}", plain(message)));
        }
        if own.issues.len() > ISSUES_SHOWN {
            page.err(format!("{} more: {}", own.issues.len() - ISSUES_SHOWN, suggest("openclaw config validate")));
        }
        page.out(format!("Config (service): {}{}", self.service_config.short, self.service_config.state()));
        if self.mismatch() {
            page.err(
                "Root cause: CLI and service are using different config paths (likely a profile/state-dir mismatch).",
            );
            let again = suggest("openclaw gateway install --force");
            page.err(format!("Fix: rerun `{again}` from the same --profile / OPENCLAW_STATE_DIR you expect."));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ConfigSeen;
    use super::*;
    use crate::cli::output::Stream;
    use crate::cli::service;
    use crate::config::Bind;
    use crate::sys::sockets::Listener;

    fn config() -> ConfigSeen {
        ConfigSeen {
            path: "/home/u/.openclaw/openclaw.json".into(),
            short: "~/.openclaw/openclaw.json".into(),
            exists: true,
            issues: Vec::new(),
        }
    }

    fn facts(probe: Probe) -> Facts {
        Facts {
            service: service::not_there(),
            log_file: "/tmp/openclaw/openclaw-2026-11-20.log".into(),
            service_file: String::new(),
            config: config(),
            service_config: config(),
            bind: Bind::Loopback,
            bind_host: "127.0.0.1".into(),
            custom_host: None,
            port: 21120,
            port_of_service: false,
            port_cli: None,
            probe_url: "ws://127.0.0.1:21120".into(),
            dashboard: "not served by this build",
            port_use: PortUse::Busy(vec![Listener {
                pid: Some(12410),
                parent: Some(1),
                uid: 0,
                user: "root".into(),
                command: Some("openclaw-gatewa".into()),
                command_line: Some("openclaw-gateway".into()),
                address: "127.0.0.1:21120".parse().unwrap(),
            }]),
            hints: vec!["hint".into()],
            report: vec!["Port 21120 is already in use.".into()],
            lock_pid: None,
            probe,
            last_error: None,
            others: Vec::new(),
            other_lines: Vec::new(),
            cleanup_hints: Vec::new(),
            processes: Vec::new(),
        }
    }

    fn same(command: &str) -> String {
        command.to_string()
    }

    #[test]
    fn a_gateway_that_answers() {
        let facts = facts(Probe::Ok { url: "ws://127.0.0.1:21120".into() });
        let page = facts.page(Paint::NONE, &same);
        assert_eq!(
            page.text(Stream::Out),
            "Service: systemd (disabled)\n\
             File logs: /tmp/openclaw/openclaw-2026-11-20.log\n\n\
             Config (cli): ~/.openclaw/openclaw.json\n\
             Config (service): ~/.openclaw/openclaw.json\n\n\
             Gateway: bind=loopback (127.0.0.1), port=21120 (env/config)\n\
             Probe target: ws://127.0.0.1:21120\n\
             Dashboard: not served by this build\n\
             Probe note: Loopback-only gateway; only local clients can connect.\n\n\
             Runtime: unknown (systemctl not available; systemd user services are required on Linux.)\n\
             RPC probe: ok\n\n\
             Listening: 127.0.0.1:21120\n\
             Troubles: run openclaw status\n\
             Troubleshooting: openclaw help troubleshooting (or man openclaw-troubleshooting)\n"
        );
        assert_eq!(page.text(Stream::Err), "");
        let json = facts.json();
        let keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["service", "config", "gateway", "port", "rpc", "extraServices"]);
        assert_eq!(
            json["port"]["listeners"][0],
            json!({"pid": 12410, "command": "openclaw-gatewa", "address": "127.0.0.1:21120",
                   "commandLine": "openclaw-gateway", "user": "root", "ppid": 1})
        );
        assert_eq!(
            json["config"]["cli"],
            json!({"path": "/home/u/.openclaw/openclaw.json", "exists": true, "valid": true})
        );
        assert_eq!(json["gateway"]["probeNote"], "Loopback-only gateway; only local clients can connect.");
    }

    #[test]
    fn bad_lines_go_to_standard_error() {
        let error = "gateway closed (1008): unauthorized\nGateway target: ws://127.0.0.1:21120".to_string();
        let mut facts = facts(Probe::Failed { url: "ws://127.0.0.1:21120".into(), error });
        facts.config.issues = (0..7).map(|i| (format!("gateway.k{i}"), "Unrecognized".to_string())).collect();
        facts.config.exists = false;
        let page = facts.page(Paint::NONE, &same);
        let bad = page.text(Stream::Err);
        assert!(bad.starts_with("Config issue: gateway.k0: Unrecognized\n"), "{bad}");
        assert!(bad.contains("2 more: openclaw config validate\n"), "{bad}");
        assert!(bad.contains("RPC probe: failed\nRPC target: ws://127.0.0.1:21120\n  gateway closed (1008)"), "{bad}");
        assert!(bad.ends_with("foreground instead of `openclaw gateway`.\nPort 21120 is already in use.\n"), "{bad}");
        let good = page.text(Stream::Out);
        assert!(good.contains("Config (cli): ~/.openclaw/openclaw.json (missing) (invalid)\n"), "{good}");
        assert!(!good.contains("RPC probe"), "{good}");
        assert_eq!(facts.json()["rpc"]["ok"], false);
        facts.probe = Probe::Skipped;
        assert!(facts.json().get("rpc").is_none());
    }
}
