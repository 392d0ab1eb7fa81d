//! `openclaw security audit`: the table of `audit`, its repairs, and one look at the running gateway (cli 6).

use std::path::Path;

use serde_json::{Value, json};

use super::audit::{self, Depth, Facts, Finding, Repair, Severity};
use super::client::{Deadline, now_ms};
use super::context::TIMEOUT_MS;
use super::output::{Page, json_pretty, plain};
use super::target::Flags;
use super::tree::{Security, SecurityAudit, SecurityCommand};
use super::{Context, setup};
use crate::config::load;
use crate::error::Result;
use crate::out;
use crate::store::config_file::{self, Edit, WriteOptions};
use crate::store::source::FsSource;

/// What `--fix` did.
#[derive(Default)]
struct Fixed {
    changes: Vec<String>,
    errors: Vec<String>,
}

pub fn run(cx: &Context, args: &Security) -> Result<u8> {
    let SecurityCommand::Audit(args) = &args.command;
    run_audit(cx, args)
}

fn run_audit(cx: &Context, args: &SecurityAudit) -> Result<u8> {
    let mut findings = audit::look(&Facts::gather(cx, Depth::Full));
    let mut fixed = Fixed::default();
    let again;
    if args.fix {
        fixed = fix(cx, &findings);
        // What is printed is what is still true.
        again = cx.anew();
        findings = audit::look(&Facts::gather(&again, Depth::Full));
    }
    let deep = args.deep.then(|| probe(cx));
    if let Some(failure) = deep.as_ref().and_then(|probe| probe["gateway"]["error"].as_str()) {
        findings.push(Finding {
            check: "gateway.probe_failed",
            severity: Severity::Warn,
            title: "Gateway probe failed (deep)",
            detail: failure.to_owned(),
            fix: Some(format!("Run \"{}\" to see why.", cx.suggest("openclaw gateway status --deep"))),
            repairs: Vec::new(),
        });
        audit::sort_findings(&mut findings);
    }
    if args.json {
        let mut out = audit::json(&findings, now_ms());
        if let Some(deep) = deep {
            out["deep"] = deep;
        }
        if args.fix {
            out["fix"] = json!({"ok": fixed.errors.is_empty(), "changes": fixed.changes, "errors": fixed.errors});
        }
        out!("{}", json_pretty(&out));
    } else {
        page(cx, &findings, args, &fixed).print();
    }
    Ok(0)
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

/// Files are closed one by one; all keys are changed in one write, which keeps the text before as `.bak`.
fn fix(cx: &Context, findings: &[Finding]) -> Fixed {
    let mut fixed = Fixed::default();
    let (mut edits, mut said) = (Vec::new(), Vec::new());
    for repair in findings.iter().flat_map(|finding| &finding.repairs) {
        match repair {
            Repair::Mode(path, mode) => close(cx, path, *mode, &mut fixed),
            Repair::Set(path, value) => {
                edits.push(Edit::set(path, value.clone()));
                said.push(format!("Set {path} to {value}"));
            }
        }
    }
    if edits.is_empty() {
        return fixed;
    }
    let loaded = load::load(&cx.paths, &FsSource);
    let options = WriteOptions { base_hash: Some(&loaded.hash), require_valid: true, ..WriteOptions::default() };
    match config_file::write(&cx.paths, &FsSource, &edits, &options) {
        Ok(written) => {
            fixed.changes.extend(said);
            fixed.changes.extend(written.backup.map(|backup| format!("Backup: {}", cx.short(&backup))));
        }
        Err(error) => fixed.errors.push(setup::not_written(cx, &error).message),
    }
    fixed
}

/// Links are left alone: what they lead to is somebody else's.
#[cfg(unix)]
fn close(cx: &Context, path: &Path, mode: u32, fixed: &mut Fixed) {
    use std::os::unix::fs::PermissionsExt as _;
    let shown = cx.short(path);
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) {
        return fixed.errors.push(format!("chmod {mode:o} {shown}: it is a link, and what it leads to is left alone"));
    }
    match std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)) {
        Ok(()) => fixed.changes.push(format!("chmod {mode:o} {shown}")),
        Err(e) => fixed.errors.push(format!("chmod {mode:o} {shown}: {e}")),
    }
}

#[cfg(not(unix))]
fn close(_: &Context, _: &Path, _: u32, _: &mut Fixed) {}

fn page(cx: &Context, findings: &[Finding], args: &SecurityAudit, fixed: &Fixed) -> Page {
    let paint = cx.paint;
    let count = |severity| audit::count(findings, severity);
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
        if fixed.changes.is_empty() && fixed.errors.is_empty() {
            page.out("  nothing to close");
        }
        fixed.changes.iter().for_each(|line| page.out(format!("  {}", plain(line))));
        fixed.errors.iter().for_each(|line| page.out(paint.red(&format!("  not done: {}", plain(line)))));
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
