//! `openclaw doctor`: a table of checks over the configuration and the state directory, and the repairs that go with
//! them (cli 6.1). Works on a broken configuration, without a gateway, and changes nothing unless told to.
//!
//! Look → findings → (with consent) repairs → look again: what is printed is what is still true.

mod config_checks;
mod old_names;
mod page;
mod repair;
mod service_checks;
mod state_checks;

use std::io::{BufRead as _, IsTerminal as _};
use std::path::PathBuf;

use super::Context;
use super::audit::Severity;
use super::client::now_ms;
use super::context::Globals;
use super::progress::Waiting;
use super::tree::Doctor as Args;
use crate::config::load::{self, Loaded};
use crate::error::Result;
use crate::store::source::FsSource;
use crate::{err, out};

/// Repairs can uncover more to repair (a restored configuration without a token); more rounds than this are a circle.
const ROUNDS: usize = 3;

/// One row of the table.
pub struct Check {
    pub id: &'static str,
    pub section: &'static str,
    run: fn(&Facts, &mut Vec<Finding>),
}

const fn check(id: &'static str, section: &'static str, run: fn(&Facts, &mut Vec<Finding>)) -> Check {
    Check { id, section, run }
}

/// In the order in which they are printed. openclaw-doctor(8) lists them.
pub const CHECKS: &[Check] = &[
    check("config.missing", "Config", config_checks::missing),
    check("config.old-name", "Config", old_names::config_file),
    check("config.syntax", "Config", config_checks::syntax),
    check("config.invalid", "Config", config_checks::invalid),
    check("config.unknown-keys", "Config", config_checks::unknown_keys),
    check("config.old-keys", "Config", config_checks::old_keys),
    check("config.mode", "Config", config_checks::mode),
    check("config.token", "Config", config_checks::token),
    check("config.variables", "Config", config_checks::variables),
    check("config.secrets", "Config", config_checks::secrets),
    check("config.unused-secrets", "Config", config_checks::unused_secrets),
    check("config.newer", "Config", config_checks::newer),
    check("config.exec-defaults", "Config", config_checks::exec_defaults),
    check("config.without-effect", "Config", config_checks::without_effect),
    check("config.going-back", "Config", config_checks::going_back),
    check("state.directory", "State", state_checks::directory),
    check("state.old-name", "State", old_names::state_dir),
    check("state.old-copy", "State", old_names::left_behind),
    check("state.permissions", "State", state_checks::permissions),
    check("state.owner", "State", state_checks::owner),
    check("state.sessions", "State", state_checks::sessions),
    check("state.leftovers", "State", state_checks::leftovers),
    check("state.unreadable", "State", state_checks::unreadable),
    check("state.damaged", "State", state_checks::damaged),
    check("state.workspace", "State", state_checks::workspace),
    check("security.audit", "Security", config_checks::audit),
    check("host.disk", "Host", state_checks::disk),
    check("host.memory-card", "Host", state_checks::memory_card),
    check("host.clock", "Host", state_checks::clock),
    check("service.old-name", "Service", old_names::services),
    check("service.drift", "Service", service_checks::drift),
    check("service.lingering", "Service", service_checks::lingering),
    check("service.others", "Service", service_checks::others),
    check("gateway.lock", "Gateway", service_checks::stale),
    check("gateway.port", "Gateway", service_checks::port),
    check("gateway.certificate", "Gateway", state_checks::certificate),
    check("gateway.running", "Gateway", state_checks::running),
    check("model.reachable", "Gateway", service_checks::model),
];

/// Something that a person should know. `Info` is a note: it is no reason for `--check` to fail.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub id: &'static str,
    pub severity: Severity,
    pub title: String,
    pub detail: Vec<String>,
    pub remedy: Option<String>,
    pub fix: Option<Fix>,
}

/// What `--fix` does about it.
#[derive(Clone, Debug, PartialEq)]
pub enum Fix {
    /// The last good configuration takes the place of the broken one.
    Restore,
    /// Old keys move, unknown ones go.
    Clean,
    LocalMode,
    Token,
    /// Modes, as in chmod.
    Modes(Vec<(PathBuf, u32)>),
    MakeDirectory(PathBuf),
    Remove(Vec<PathBuf>),
    /// A file or directory gets its present name; the old name stays as a link.
    Rename(PathBuf, PathBuf),
    /// Services under an old name are stopped and taken away, by the file that describes each.
    RemoveServices(Vec<PathBuf>),
    /// The service is written anew and restarted.
    Service,
    /// The user's services go on without a session.
    Linger(String),
}

impl Finding {
    fn new(id: &'static str, severity: Severity, title: impl Into<String>) -> Finding {
        Finding { id, severity, title: title.into(), detail: Vec::new(), remedy: None, fix: None }
    }

    fn detail(mut self, lines: impl IntoIterator<Item = String>) -> Finding {
        self.detail.extend(lines);
        self
    }

    fn remedy(mut self, text: impl Into<String>) -> Finding {
        self.remedy = Some(text.into());
        self
    }

    fn fix(mut self, fix: Option<Fix>) -> Finding {
        self.fix = fix;
        self
    }
}

/// What the checks look at, read once per round.
pub struct Facts<'a> {
    cx: Context,
    args: &'a Args,
    loaded: Loaded,
    /// What the file would be after `Fix::Clean`, and what that would remove.
    cleaned: Option<repair::Cleaned>,
    /// Text of the last good configuration, if it still is one.
    last_good: Option<String>,
    tree: state_checks::Tree,
    now_ms: u64,
}

impl<'a> Facts<'a> {
    /// Also the paths are looked up again: a repair may have moved them.
    fn gather(globals: &Globals, args: &'a Args) -> Result<Facts<'a>> {
        let cx = Context::new(globals)?;
        let loaded = load::load(&cx.paths, &FsSource);
        let cleaned = repair::clean(&cx, &loaded);
        let last_good = repair::last_good(&cx, &loaded);
        let tree = state_checks::Tree::look(&cx.paths, &loaded);
        Ok(Facts { cx, args, loaded, cleaned, last_good, tree, now_ms: now_ms() })
    }

    fn findings(&self) -> Vec<Finding> {
        let mut out = Vec::new();
        let waiting = Waiting::new(self.cx.columns, self.args.json, "Looking");
        for check in CHECKS {
            waiting.now(|| format!("Looking at {}", check.id));
            (check.run)(self, &mut out);
        }
        for remedy in out.iter_mut().filter_map(|finding| finding.remedy.as_mut()) {
            *remedy = self.cx.suggest(remedy);
        }
        out
    }
}

/// Everything that is printed.
struct Report {
    findings: Vec<Finding>,
    /// What was repaired, one line each.
    changes: Vec<String>,
    /// What could not be.
    failures: Vec<String>,
}

pub fn run(globals: &Globals, args: &Args) -> Result<u8> {
    let mut facts = Facts::gather(globals, args)?;
    let mut report = Report { findings: facts.findings(), changes: Vec::new(), failures: Vec::new() };
    let all = consents(args, &report);
    for _ in 0..ROUNDS {
        let wanted = |finding: &&Finding| all || args.generate_gateway_token && finding.fix == Some(Fix::Token);
        let fixes: Vec<&Fix> = report.findings.iter().filter(wanted).filter_map(|f| f.fix.as_ref()).collect();
        if fixes.is_empty() {
            break;
        }
        let repairing = Waiting::new(facts.cx.columns, args.json, "Repairing");
        let done = repair::apply(&facts, &fixes);
        drop(repairing);
        let stuck = done.changes.is_empty();
        report.changes.extend(done.changes);
        report.failures.extend(done.failures);
        facts = Facts::gather(globals, args)?;
        report.findings = facts.findings();
        if stuck {
            break;
        }
    }
    if args.json {
        out!("{}", super::output::json_pretty(&page::json(&facts.cx, &report)));
    } else {
        out!("{}", page::text(&facts.cx, &report, all));
    }
    let wrong = report.findings.iter().any(|finding| finding.severity != Severity::Info);
    Ok(u8::from(args.check && (wrong || !report.failures.is_empty())))
}

/// `--fix`, `--repair` and `--yes` count everywhere (cli 6.1, the recommendation); else a person is asked, if there is one.
fn consents(args: &Args, report: &Report) -> bool {
    if args.fix || args.repair || args.yes {
        return true;
    }
    let person = std::io::stdin().is_terminal() && super::output::stdout_is_terminal();
    let fixable = report.findings.iter().filter(|finding| finding.fix.is_some()).count();
    if fixable == 0 || !person || args.non_interactive || args.json || args.check {
        return false;
    }
    for finding in report.findings.iter().filter(|finding| finding.fix.is_some()) {
        err!("- {}", super::output::plain(&finding.title));
    }
    err!("Repair {}? [y/N]", if fixable == 1 { "this".into() } else { format!("these {fixable}") });
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
