//! What `doctor` prints: a page of at most 80 columns, or JSON. Pure functions of the report.

use serde_json::{Value, json};

use super::{CHECKS, Finding, Report};
use crate::cli::Context;
use crate::cli::audit::Severity;
use crate::cli::help;
use crate::cli::output::{plain, wrap};

const COLUMNS: usize = 80;
const INDENT: &str = "    ";

pub fn text(cx: &Context, report: &Report, consented: bool) -> String {
    let paint = cx.paint;
    let columns = cx.columns.clamp(40, COLUMNS);
    let mut lines = vec![paint.bold(&format!("{} doctor", help::version_line()))];
    lines.push(paint.gray(&format!("Config {}", cx.short(&cx.paths.config_path))));
    let mut section = "";
    for finding in &report.findings {
        let own = CHECKS.iter().find(|check| check.id == finding.id).map_or("", |check| check.section);
        if own != section {
            lines.extend([String::new(), paint.bold(own)]);
            section = own;
        }
        let (sign, title) = match finding.severity {
            Severity::Critical => ("×", paint.red(&folded(&finding.title, columns, INDENT))),
            Severity::Warn => ("!", paint.yellow(&folded(&finding.title, columns, INDENT))),
            Severity::Info => ("·", folded(&finding.title, columns, INDENT)),
        };
        lines.push(format!("  {sign} {title}"));
        // A line of the file keeps its columns.
        let detail = finding.detail.iter().map(|line| match finding.id {
            "config.syntax" => format!("{INDENT}{}", plain(line)),
            _ => format!("{INDENT}{}", folded(line, columns, &format!("{INDENT}  "))),
        });
        lines.extend(detail);
        let arrow = format!("{INDENT}→ ");
        lines.extend(
            finding.remedy.iter().map(|text| format!("{arrow}{}", folded(text, columns, &format!("{INDENT}  ")))),
        );
    }
    let block = |title: &str, texts: &[String]| {
        let own = texts.iter().map(|text| format!("  {}", folded(text, columns, INDENT)));
        let head = (!texts.is_empty()).then(|| [String::new(), paint.bold(title)]);
        head.into_iter().flatten().chain(own).collect::<Vec<_>>()
    };
    lines.extend(block("Changes", &report.changes));
    lines.extend(block("Not repaired", &report.failures));
    lines.push(String::new());
    if !consented && report.findings.iter().any(|finding| finding.fix.is_some()) {
        lines.push(format!("Run \"{}\" to apply changes.", cx.suggest("openclaw doctor --fix")));
    }
    lines.push("Doctor complete.".into());
    lines.join("\n")
}

/// Wrapped at the width, further lines indented.
fn folded(text: &str, columns: usize, indent: &str) -> String {
    wrap(&plain(text), columns.saturating_sub(indent.len())).join(&format!("\n{indent}"))
}

pub fn json(cx: &Context, report: &Report) -> Value {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (critical, warn) = (count(Severity::Critical), count(Severity::Warn));
    json!({
        "ok": critical + warn == 0 && report.failures.is_empty(),
        "version": help::version_line(),
        "configPath": cx.paths.config_path.display().to_string(),
        "stateDir": cx.paths.state_dir.display().to_string(),
        "summary": {"critical": critical, "warn": warn, "info": count(Severity::Info)},
        "findings": report.findings.iter().map(finding_json).collect::<Vec<_>>(),
        "changes": report.changes,
        "failures": report.failures,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let section = CHECKS.iter().find(|check| check.id == finding.id).map(|check| check.section);
    json!({
        "id": finding.id,
        "section": section,
        "severity": finding.severity.name(),
        "title": finding.title,
        "detail": finding.detail,
        "remedy": finding.remedy,
        "fixable": finding.fix.is_some(),
    })
}
