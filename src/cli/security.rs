//! `openclaw security audit`: the known forms of the short check of `status`, with what is beside it (cli 6).

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::Context;
use super::audit::{self, Facts, Finding, Severity};
use super::client::{Deadline, now_ms};
use super::context::TIMEOUT_MS;
use super::output::{Page, json_pretty, plain};
use super::target::Flags;
use super::tree::{Security, SecurityAudit, SecurityCommand};
use crate::config::Config;
use crate::error::Result;
use crate::out;

/// Modes that `--fix` gives.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

pub fn run(cx: &Context, args: &Security) -> Result<u8> {
    let SecurityCommand::Audit(args) = &args.command;
    run_audit(cx, args)
}

fn run_audit(cx: &Context, args: &SecurityAudit) -> Result<u8> {
    let changes = if args.fix { fix(cx) } else { Vec::new() };
    let mut findings = look(cx);
    let deep = args.deep.then(|| probe(cx));
    if let Some(failure) = deep.as_ref().and_then(|probe| probe["gateway"]["error"].as_str()) {
        findings.push(Finding {
            check: "gateway.probe_failed",
            severity: Severity::Warn,
            title: "Gateway probe failed (deep)",
            detail: failure.to_owned(),
            fix: Some(format!("Run \"{}\" to see why.", cx.suggest("openclaw gateway status --deep"))),
        });
        crate::sort::by_key(&mut findings, |finding| finding.severity as u8);
    }
    if args.json {
        let mut out = audit::json(&findings, now_ms());
        if let Some(deep) = deep {
            out["deep"] = deep;
        }
        if args.fix {
            out["fix"] = json!({"ok": true, "changes": changes});
        }
        out!("{}", json_pretty(&out));
    } else {
        page(cx, &findings, args, &changes).print();
    }
    Ok(0)
}

fn look(cx: &Context) -> Vec<Finding> {
    let config = &cx.loaded().config;
    let token = config.gateway.auth.token.as_ref().map(|token| token.expose().chars().count());
    let facts = Facts {
        config_path: cx.short(&cx.paths.config_path),
        config_mode: mode_of(&cx.paths.config_path),
        state_dir: cx.short(&cx.paths.state_dir),
        state_mode: mode_of(&cx.paths.state_dir),
        token_chars: token.or_else(|| cx.var("OPENCLAW_GATEWAY_TOKEN").map(|token| token.chars().count())),
    };
    let mut findings = audit::look(config, &facts);
    if config.gateway.bind.is_none_or(|bind| bind == crate::config::Bind::Loopback)
        && config.gateway.trusted_proxies.is_empty()
    {
        findings.push(Finding {
            check: "gateway.trusted_proxies_missing",
            severity: Severity::Warn,
            title: "Reverse proxy headers are not trusted",
            detail:
                "gateway.bind is loopback and gateway.trustedProxies is empty. Behind a reverse proxy every client \
                     would look like this machine's own."
                    .into(),
            fix: Some("Set gateway.trustedProxies to the proxy's addresses, or keep the port local.".into()),
        });
    }
    findings.push(surface(config));
    crate::sort::by_key(&mut findings, |finding| finding.severity as u8);
    findings
}

/// What can be reached at all.
fn surface(config: &Config) -> Finding {
    let bind = config.gateway.bind.map_or("loopback", crate::config::Bind::name);
    Finding {
        check: "summary.attack_surface",
        severity: Severity::Info,
        title: "Attack surface summary",
        detail: format!(
            "gateway.bind: {bind}\ntrust model: personal assistant (one trusted operator boundary), not hostile \
             multi-tenant on one shared gateway"
        ),
        fix: None,
    }
}

/// The gateway is asked as a client would ask.
fn probe(cx: &Context) -> Value {
    let deadline = Deadline::after(std::time::Duration::from_millis(TIMEOUT_MS));
    let asked = match cx.local_target(Flags::default(), None) {
        Ok(target) => {
            let answer = cx.connect(&target, deadline).and_then(|mut client| client.request("status", None, deadline));
            (Some(target.url.clone()), answer.map(drop).map_err(|failure| failure.text()))
        }
        Err(error) => (None, Err(error.message)),
    };
    let (url, answer) = asked;
    json!({"gateway": {"attempted": true, "url": url, "ok": answer.is_ok(), "error": answer.err()}})
}

/// Closes what others can read; links are left alone.
fn fix(cx: &Context) -> Vec<String> {
    let paths = [(&cx.paths.state_dir, PRIVATE_DIR), (&cx.paths.config_path, PRIVATE_FILE)];
    paths.iter().filter_map(|(path, mode)| close(cx, path, *mode)).collect()
}

#[cfg(unix)]
fn close(cx: &Context, path: &Path, mode: u32) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = fs::symlink_metadata(path).ok().filter(|meta| !meta.is_symlink())?;
    if meta.permissions().mode() & 0o077 == 0 {
        return None;
    }
    let shown = cx.short(path);
    Some(match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        Ok(()) => format!("chmod {mode:o} {shown}"),
        Err(e) => format!("chmod {mode:o} {shown} failed: {e}"),
    })
}

#[cfg(not(unix))]
fn close(_: &Context, _: &Path, _: u32) -> Option<String> {
    None
}

#[cfg(unix)]
fn mode_of(path: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata(path).ok().map(|meta| meta.mode() & 0o777)
}

#[cfg(not(unix))]
fn mode_of(_: &Path) -> Option<u32> {
    None
}

fn page(cx: &Context, findings: &[Finding], args: &SecurityAudit, changes: &[String]) -> Page {
    let paint = cx.paint;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let mut page = Page::default();
    page.out(paint.bold("OpenClaw security audit"));
    page.out(format!(
        "Summary: {} critical · {} warn · {} info",
        count(Severity::Critical),
        count(Severity::Warn),
        count(Severity::Info)
    ));
    if !args.deep {
        page.out(format!("Run deeper: {}", cx.suggest("openclaw security audit --deep")));
    }
    if args.fix {
        page.out("");
        page.out(paint.bold("FIX"));
        let nothing = ["nothing to close".to_owned()];
        let lines = if changes.is_empty() { &nothing[..] } else { changes };
        lines.iter().for_each(|line| page.out(format!("  {line}")));
    }
    for (severity, title) in [(Severity::Critical, "CRITICAL"), (Severity::Warn, "WARN"), (Severity::Info, "INFO")] {
        if count(severity) == 0 {
            continue;
        }
        page.out("");
        page.out(match severity {
            Severity::Critical => paint.red(title),
            Severity::Warn => paint.yellow(title),
            Severity::Info => paint.gray(title),
        });
        for finding in findings.iter().filter(|finding| finding.severity == severity) {
            page.out(format!("{} {}", finding.check, finding.title));
            let lines: Vec<String> = finding.detail.lines().map(plain).collect();
            page.out(format!("  {}", lines.join("\n")));
            if let Some(fix) = &finding.fix {
                page.out(format!("  Fix: {}", plain(fix)));
            }
        }
    }
    page
}
