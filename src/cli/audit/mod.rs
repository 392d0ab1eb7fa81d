//! The security check of `security audit`, `status` and `doctor`: a table, one row per thing that makes a gateway unsafe.
//!
//! Rows are pure functions of [`Facts`], which are gathered once ([`facts`]). Names are those of the reference where it
//! has the same check (cli 6). Nothing is changed here; what can be repaired safely is said as a [`Repair`].

mod access;
mod facts;
mod files;
mod powers;

use std::path::PathBuf;

use serde_json::{Value, json};

pub use facts::{Depth, Facts};

use crate::sort;

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
    /// What to do about it.
    pub fix: Option<String>,
    /// What `--fix` does about it.
    pub repairs: Vec<Repair>,
}

/// A change that takes nothing away from anybody who should have it.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Mode as in chmod.
    Mode(PathBuf, u32),
    /// A key of the configuration gets a value.
    Set(String, Value),
}

/// One row of the table. openclaw-doctor(8) lists them.
pub struct Check {
    pub id: &'static str,
    /// As a rule; a finding can be more or less severe.
    severity: Severity,
    title: &'static str,
    /// What to do, unless the finding says it better; empty for a mere note.
    remedy: &'static str,
    look: fn(&Facts) -> Option<Hit>,
}

/// What a row has seen.
#[derive(Default)]
struct Hit {
    detail: String,
    severity: Option<Severity>,
    remedy: Option<String>,
    repairs: Vec<Repair>,
}

impl Hit {
    fn severity(mut self, severity: Severity) -> Hit {
        self.severity = Some(severity);
        self
    }

    /// Where others can reach the gateway it is worse.
    fn critical_if(self, worse: bool) -> Hit {
        if worse { self.severity(Severity::Critical) } else { self }
    }

    fn remedy(mut self, text: String) -> Hit {
        self.remedy = Some(text);
        self
    }

    fn repairs(mut self, repairs: impl IntoIterator<Item = Repair>) -> Hit {
        self.repairs.extend(repairs);
        self
    }
}

fn hit(detail: impl Into<String>) -> Hit {
    Hit { detail: detail.into(), ..Hit::default() }
}

fn when(seen: bool, detail: &str) -> Option<Hit> {
    seen.then(|| hit(detail))
}

/// A finding when the list is not empty: what it is about, then the list.
fn listed(about: &str, list: &[String]) -> Option<Hit> {
    const SHOWN: usize = 12;
    let more = list.len().saturating_sub(SHOWN);
    let mut text = list[..list.len() - more].join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    (!list.is_empty()).then(|| hit(format!("{about}: {text}")))
}

/// All rows.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [access::CHECKS, powers::CHECKS, files::CHECKS].into_iter().flatten()
}

/// Most severe first.
pub fn look(facts: &Facts) -> Vec<Finding> {
    let found = |check: &Check| {
        let hit = (check.look)(facts)?;
        let fix = hit.remedy.or_else(|| (!check.remedy.is_empty()).then(|| check.remedy.to_owned()));
        Some(Finding {
            check: check.id,
            severity: hit.severity.unwrap_or(check.severity),
            title: check.title,
            detail: hit.detail,
            fix: fix.map(|text| facts.paths.with_profile(&text)),
            repairs: hit.repairs,
        })
    };
    let mut out: Vec<Finding> = checks().filter_map(found).collect();
    sort_findings(&mut out);
    out
}

pub fn sort_findings(findings: &mut [Finding]) {
    sort::by_key(findings, |finding| finding.severity as u8);
}

/// How many of one severity.
pub fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|finding| finding.severity == severity).count()
}

/// `securityAudit` of `status --json`, and the report of `security audit --json`.
pub fn json(findings: &[Finding], ts: u64) -> Value {
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
        "summary": {
            "critical": count(findings, Severity::Critical),
            "warn": count(findings, Severity::Warn),
            "info": count(findings, Severity::Info),
        },
        "findings": list,
    })
}

#[cfg(test)]
mod tests;
