//! The short security check of `openclaw status`: a pure look at a few facts that matter most.

use serde_json::{Value, json};

use crate::config::{AuthMode, Bind, Config};
use crate::sort;

/// Facts about this machine; modes as in `ls -l`, None where the system has none.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub config_path: String,
    pub config_mode: Option<u32>,
    pub state_dir: String,
    pub state_mode: Option<u32>,
    /// The token that the gateway uses, wherever it comes from; only its length counts.
    pub token_chars: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Critical,
    Warn,
    Info,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Critical => "critical",
            Severity::Warn => "warn",
            Severity::Info => "info",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub check: &'static str,
    pub severity: Severity,
    pub title: &'static str,
    pub detail: String,
    pub fix: Option<String>,
}

/// Shorter tokens can be guessed.
const TOKEN_CHARS: usize = 24;

/// Most severe first.
pub fn look(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut found = |check, severity, title, detail: String, fix: Option<String>| {
        out.push(Finding { check, severity, title, detail, fix });
    };
    let gateway = &config.gateway;
    let bind = gateway.bind.unwrap_or(Bind::Loopback);
    if gateway.auth.mode == Some(AuthMode::None) {
        let open = !matches!(bind, Bind::Loopback);
        found(
            "gateway.auth_none",
            if open { Severity::Critical } else { Severity::Warn },
            "Gateway asks nobody for a secret",
            format!("gateway.auth.mode is none with gateway.bind={}.", bind.name()),
            Some("Set gateway.auth.mode to token.".into()),
        );
    }
    if let Some(mode) = facts.config_mode.filter(|mode| mode & 0o077 != 0) {
        found(
            if mode & 0o004 != 0 { "fs.config.perms_world_readable" } else { "fs.config.perms_group_readable" },
            if mode & 0o006 != 0 { Severity::Critical } else { Severity::Warn },
            if mode & 0o004 != 0 { "Config file is world-readable" } else { "Config file is readable by others" },
            format!("{} mode={:o}; it can hold tokens and private settings.", facts.config_path, mode & 0o777),
            Some(format!("chmod 600 {}", facts.config_path)),
        );
    }
    if let Some(mode) = facts.state_mode.filter(|mode| mode & 0o077 != 0) {
        found(
            "fs.state_dir.perms_readable",
            if mode & 0o022 != 0 { Severity::Critical } else { Severity::Warn },
            "State dir is readable by others",
            format!("{} mode={:o}; it holds keys and conversations.", facts.state_dir, mode & 0o777),
            Some(format!("chmod 700 {}", facts.state_dir)),
        );
    }
    if let Some(chars) = facts.token_chars.filter(|chars| *chars < TOKEN_CHARS) {
        found(
            "gateway.token_too_short",
            Severity::Warn,
            "Gateway token looks short",
            format!("The gateway token has {chars} characters; take a long random one."),
            None,
        );
    }
    if gateway.control_ui.disable_device_auth {
        found(
            "gateway.control_ui.device_auth_disabled",
            Severity::Critical,
            "Control UI works without a device",
            "gateway.controlUi.dangerouslyDisableDeviceAuth is true.".into(),
            Some("Remove the key.".into()),
        );
    }
    sort::by_key(&mut out, |finding| finding.severity as u8);
    out
}

/// `securityAudit` of `status --json`.
pub fn json(findings: &[Finding], ts: u64) -> Value {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let list: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let mut out = json!({"checkId": finding.check, "severity": finding.severity.name(),
                                 "title": finding.title, "detail": finding.detail});
            if let Some(fix) = &finding.fix {
                out["remediation"] = fix.clone().into();
            }
            out
        })
        .collect();
    json!({
        "ts": ts,
        "summary": {"critical": count(Severity::Critical), "warn": count(Severity::Warn), "info": count(Severity::Info)},
        "findings": list,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found() {
        let facts = |config_mode, state_mode, token_chars| Facts {
            config_path: "~/c.json".into(),
            state_dir: "~/s".into(),
            config_mode,
            state_mode,
            token_chars,
        };
        let mut open = Config::default();
        open.gateway.auth.mode = Some(AuthMode::None);
        open.gateway.bind = Some(Bind::Lan);
        for (config, facts, checks) in [
            (Config::default(), facts(Some(0o100600), Some(0o40700), Some(48)), vec![]),
            (
                Config::default(),
                facts(Some(0o100644), Some(0o40755), Some(10)),
                vec!["fs.config.perms_world_readable", "fs.state_dir.perms_readable", "gateway.token_too_short"],
            ),
            (open, facts(None, None, None), vec!["gateway.auth_none"]),
        ] {
            let findings = look(&config, &facts);
            assert_eq!(findings.iter().map(|f| f.check).collect::<Vec<_>>(), checks);
            let json = json(&findings, 5);
            assert_eq!(json["findings"].as_array().map(Vec::len), Some(checks.len()));
        }
    }
}
