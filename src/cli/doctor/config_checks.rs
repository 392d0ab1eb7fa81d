//! Checks of the configuration file. They read facts and find; nothing is changed here.

use serde_json::Value;

use super::{Facts, Finding, Fix};
use crate::cli::audit::{self, Severity};
use crate::cli::setup;
use crate::config::schema::{EXTRA_KEYS, steps};
use crate::config::{Issue, get_path, keys, redact};
use crate::store::secrets as secret_store;
use crate::store::source::FsSource;

/// Lines of a list that are shown.
const SHOWN: usize = 12;

pub fn missing(facts: &Facts, out: &mut Vec<Finding>) {
    if facts.loaded.exists {
        return;
    }
    let path = facts.cx.short(&facts.cx.paths.config_path);
    let finding = Finding::new("config.missing", Severity::Warn, format!("There is no configuration ({path})"));
    out.push(match facts.last_good {
        Some(_) => finding.remedy("openclaw doctor --fix puts the last good one back.").fix(Some(Fix::Restore)),
        None => finding.remedy(format!("Run: {}", facts.cx.suggest("openclaw setup"))),
    });
}

/// The file is no JSON5: its line and the place in it, with everything in quotes masked.
pub fn syntax(facts: &Facts, out: &mut Vec<Finding>) {
    let loaded = &facts.loaded;
    if loaded.valid() || !loaded.parsed.is_null() && !is_unreadable(facts) {
        return;
    }
    let Some(issue) = loaded.issues.first() else { return };
    // Without a directory there is no file either; that has a finding of its own.
    if is_unreadable(facts) && facts.cx.paths.state_dir.is_file() {
        return;
    }
    let empty = loaded.raw.as_deref().is_some_and(|text| text.trim().is_empty());
    let title = if empty { "The configuration file is empty".to_owned() } else { issue.message.clone() };
    let finding = Finding::new("config.syntax", Severity::Critical, title);
    out.push(broken(facts, if empty { finding } else { finding.detail(loaded.excerpt(issue)) }));
}

/// Nothing of the file is known: it could not be read, or is no text.
fn is_unreadable(facts: &Facts) -> bool {
    facts.loaded.exists && facts.loaded.raw.is_none()
}

fn broken(facts: &Facts, finding: Finding) -> Finding {
    let last_good = facts.cx.short(&crate::gateway::bootstrap::last_good(&facts.cx.paths));
    match facts.last_good {
        Some(_) => finding
            .remedy(format!(
                "Mend the file, or let openclaw doctor --fix put {last_good} in its place (the broken text is kept as .bak)."
            ))
            .fix(Some(Fix::Restore)),
        None if is_unreadable(facts) => {
            let path = &facts.cx.paths.config_path;
            finding.remedy(format!("Look what stands there, and whose it is: ls -ld {}", facts.cx.short(path)))
        }
        None => finding.remedy("Mend the file; there is no last good configuration to put in its place."),
    }
}

/// Wrong values, and old keys that need a person.
pub fn invalid(facts: &Facts, out: &mut Vec<Finding>) {
    let loaded = &facts.loaded;
    if loaded.valid() || loaded.parsed.is_null() || is_unreadable(facts) {
        return;
    }
    let cleanable = facts.cleaned.as_ref().is_some_and(|cleaned| cleaned.valid);
    if cleanable && !facts.args.force {
        return;
    }
    // Unknown keys have a finding of their own, but for those in files that are included.
    let listed = facts.cleaned.as_ref().is_some_and(|cleaned| !cleaned.removed.is_empty());
    let is_listed = |issue: &&Issue| listed && issue.message.starts_with("Unrecognized key");
    let issues: Vec<&Issue> = loaded.issues.iter().filter(|issue| !is_listed(issue)).collect();
    let title = "The configuration is not valid; the gateway does not start with it";
    let finding = Finding::new("config.invalid", Severity::Critical, title);
    out.push(broken(facts, finding.detail(list(issues.iter().map(|issue| issue.line())))));
}

pub fn unknown_keys(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(cleaned) = facts.cleaned.as_ref().filter(|cleaned| !cleaned.removed.is_empty()) else { return };
    let finding = Finding::new("config.unknown-keys", Severity::Critical, "Unknown config keys")
        .detail(list(cleaned.removed.iter().cloned()));
    out.push(match cleaned.valid {
        true => finding.remedy("Run \"openclaw doctor --fix\" to remove these keys.").fix(Some(Fix::Clean)),
        false => finding.remedy("Mend the values above first; then openclaw doctor --fix removes these keys."),
    });
}

pub fn old_keys(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(cleaned) = facts.cleaned.as_ref().filter(|cleaned| !cleaned.moved.is_empty()) else { return };
    // Some are understood in memory, the others stop the start.
    let severity = if facts.loaded.valid() { Severity::Warn } else { Severity::Critical };
    let finding = Finding::new("config.old-keys", severity, "Keys of earlier versions")
        .detail(list(cleaned.moved.iter().map(|issue| issue.message.clone())));
    out.push(match cleaned.valid {
        true => finding.remedy("Run \"openclaw doctor --fix\" to rewrite the file.").fix(Some(Fix::Clean)),
        false => finding.remedy("Mend the values above first; then openclaw doctor --fix rewrites the file."),
    });
}

pub fn mode(facts: &Facts, out: &mut Vec<Finding>) {
    let gateway = &facts.loaded.config.gateway;
    if !editable(facts) || gateway.mode.is_some() {
        return;
    }
    let title = "gateway.mode is unset; the gateway does not start";
    let finding = Finding::new("config.mode", Severity::Warn, title);
    out.push(match gateway.remote_url {
        None => finding
            .remedy("openclaw doctor --fix sets it to local: this machine runs the gateway.")
            .fix(Some(Fix::LocalMode)),
        Some(_) => finding.remedy("Set it to local or remote: openclaw config set gateway.mode local"),
    });
}

pub fn token(facts: &Facts, out: &mut Vec<Finding>) {
    let wanted = editable(facts) || facts.args.generate_gateway_token && facts.loaded.valid();
    let remote = facts.loaded.config.gateway.mode.as_deref() == Some("remote");
    if !wanted || remote || !setup::misses_token(&facts.loaded) {
        return;
    }
    out.push(
        Finding::new("config.token", Severity::Warn, "The gateway has no token yet; clients need one")
            .remedy("openclaw doctor --fix (or --generate-gateway-token) makes one; so does the first start.")
            .fix(Some(Fix::Token)),
    );
}

/// A valid file, or one that becomes valid in the same write.
fn editable(facts: &Facts) -> bool {
    let becomes_valid = facts.cleaned.as_ref().is_some_and(|cleaned| cleaned.valid);
    facts.loaded.exists && (facts.loaded.valid() || becomes_valid)
}

pub fn variables(facts: &Facts, out: &mut Vec<Finding>) {
    let missing = facts.loaded.warnings.iter().filter_map(|warning| {
        let name = warning.message.strip_prefix("Missing env var \"")?.split('"').next()?;
        Some(format!("{name} at {}", warning.path))
    });
    let missing: Vec<String> = missing.collect();
    if !missing.is_empty() {
        let env = facts.cx.short(&facts.cx.paths.state_dir.join(".env"));
        out.push(
            Finding::new("config.variables", Severity::Warn, "Variables that are not set")
                .detail(list(missing))
                .remedy(format!("Put them into {env} (mode 0600) or the environment of the service.")),
        );
    }
}

pub fn secrets(facts: &Facts, out: &mut Vec<Finding>) {
    if !facts.loaded.valid() {
        return;
    }
    let outcome =
        secret_store::resolve(&facts.loaded.effective, &facts.cx.paths, &|name| facts.loaded.var(&FsSource, name));
    if !outcome.failed.is_empty() {
        out.push(
            Finding::new(
                "config.secrets",
                Severity::Critical,
                "Secrets in use that cannot be had; the gateway does not start",
            )
            .detail(list(outcome.failed.iter().map(ToString::to_string)))
            .remedy("Mend the provider below secrets.providers, or the reference; openclaw.json(5) has the rules."),
        );
    }
}

pub fn unused_secrets(facts: &Facts, out: &mut Vec<Finding>) {
    let unused = crate::config::secret_ref::wanted(&facts.loaded.effective).into_iter();
    let unused: Vec<String> = unused.filter_map(|w| Some(format!("{}: {}", w.path, w.inactive?))).collect();
    if !unused.is_empty() {
        let title = "References to secrets that are not in use";
        out.push(
            Finding::new("config.unused-secrets", Severity::Info, title)
                .detail(list(unused))
                .remedy("They may stay; each line says what would have to change for them to count."),
        );
    }
}

pub fn newer(facts: &Facts, out: &mut Vec<Finding>) {
    let newer = facts.loaded.warnings.iter().find(|warning| warning.path == "meta.lastTouchedVersion");
    out.extend(newer.map(|warning| {
        Finding::new("config.newer", Severity::Info, warning.message.clone()).remedy(
            "Update this program, or look at what doctor says of unknown keys: the newer one may have written some.",
        )
    }));
}

/// A configuration that was written for laxer defaults (DECISIONS 64).
pub fn exec_defaults(facts: &Facts, out: &mut Vec<Finding>) {
    let at = |path: &str| get_path::lookup(&facts.loaded.resolved, path);
    let (security, ask, host) = (at("tools.exec.security"), at("tools.exec.ask"), at("tools.exec.host"));
    let sandboxed = host.and_then(|host| host.as_str()) == Some("sandbox");
    if at("tools").is_none() || security.is_some() && ask.is_some() && !sandboxed {
        return;
    }
    out.push(
        Finding::new("config.exec-defaults", Severity::Info, "Commands of agents are asked for")
            .detail(["Unless tools.exec says otherwise, a command runs on this machine, must be on the allow list, \
                and somebody is asked when it is not. OpenClaw on Node ran it in a sandbox."
                .to_owned()])
            .remedy("Set tools.exec.host, tools.exec.security and tools.exec.ask to what you want."),
    );
}

/// Keys that the schema knows and no feature of this version reads.
pub fn without_effect(facts: &Facts, out: &mut Vec<Finding>) {
    let idle = keys::without_effect(&facts.loaded.resolved);
    if !idle.is_empty() {
        out.push(
            Finding::new("config.without-effect", Severity::Info, "Keys that are accepted, without effect")
                .detail(list(idle))
                .remedy("They may stay: what they steer is not part of this version yet."),
        );
    }
}

/// The places that a path of the schema names and that are there; `[]` is each position of a list.
fn collect(value: &Value, path: &[&str], so_far: String, out: &mut Vec<String>) {
    let below = |step: &str| if so_far.is_empty() { step.to_owned() } else { format!("{so_far}.{step}") };
    match (path, value) {
        ([], _) => out.push(so_far),
        (["[]", rest @ ..], Value::Array(items)) => {
            items.iter().enumerate().for_each(|(at, item)| collect(item, rest, below(&at.to_string()), out));
        }
        ([step, rest @ ..], Value::Object(map)) => {
            map.get(*step).into_iter().for_each(|item| collect(item, rest, below(step), out));
        }
        _ => {}
    }
}

/// Keys that only this program knows (DECISIONS 74).
pub fn going_back(facts: &Facts, out: &mut Vec<Finding>) {
    let mut ours = Vec::new();
    for (parent, name, _) in EXTRA_KEYS {
        let path = format!("{parent}.{name}");
        collect(&facts.loaded.resolved, &steps(&path).collect::<Vec<_>>(), String::new(), &mut ours);
    }
    if !ours.is_empty() {
        out.push(
            Finding::new("config.going-back", Severity::Info, "Before going back to OpenClaw on Node")
                .detail(list(ours))
                .remedy("It refuses a file with these keys: remove them then."),
        );
    }
}

/// What the configuration says in the security check; files have their own checks here. That no proxy is trusted is as it
/// should be where there is none.
pub fn audit(facts: &Facts, out: &mut Vec<Finding>) {
    if !facts.loaded.exists {
        return;
    }
    let env = |name: &str| facts.loaded.var(&FsSource, name);
    let seen = audit::Facts::of_config(&facts.cx.paths, &facts.loaded, facts.now_ms, &env);
    let counts =
        |found: &audit::Finding| found.severity != Severity::Info && found.check != "gateway.trusted_proxies_missing";
    for found in audit::look(&seen).into_iter().filter(counts) {
        let finding = Finding::new("security.audit", found.severity, found.title).detail([found.detail]);
        out.push(Finding { remedy: found.fix, ..finding });
    }
}

pub(super) fn list(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.into_iter().collect();
    let more = lines.len().saturating_sub(SHOWN);
    if more > 0 {
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more"));
    }
    debug_assert!(lines.iter().all(|line| !line.contains(redact::SENTINEL)));
    lines
}
