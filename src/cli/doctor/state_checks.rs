//! Checks of the state directory, the machine and the running gateway.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config_checks::list;
use super::{Facts, Finding, Fix};
use crate::agent::{session, workspace as files};
use crate::cli::audit::Severity;
use crate::cli::client::Deadline;
pub use crate::cli::state_tree::Tree;
use crate::cli::target::Trust;
use crate::cli::wss::{Stream, Timed};
use crate::protocol::compat_version_ms;
use crate::server::certificate::{self, Files};
use crate::server::lock;
use crate::store::atomic;
use crate::store::source::FsSource;
use crate::sys::{disk, process, sockets};

/// Below this much free space writes begin to fail soon.
const LITTLE_SPACE: u64 = 64 * 1024 * 1024;
const NO_SPACE: u64 = 8 * 1024 * 1024;
/// Other machines' clocks, from which files come, are not better than this.
const CLOCK_SLACK_MS: u64 = 24 * 60 * 60 * 1000;
/// A gateway on this machine answers within this time or is in trouble.
const PATIENCE: Duration = Duration::from_millis(1500);

pub fn directory(facts: &Facts, out: &mut Vec<Finding>) {
    let dir = &facts.cx.paths.state_dir;
    let shown = facts.cx.short(dir);
    if let Some((what, remedy)) = no_directory(dir, &shown) {
        out.push(Finding::new("state.directory", Severity::Critical, what).remedy(remedy));
    } else if !dir.exists() {
        if facts.loaded.exists {
            out.push(
                Finding::new("state.directory", Severity::Warn, format!("The state directory is missing ({shown})"))
                    .remedy("openclaw doctor --fix creates it; so does the gateway.")
                    .fix(Some(Fix::MakeDirectory(dir.clone()))),
            );
        }
    } else if !disk::is_writable(dir) {
        out.push(
            Finding::new(
                "state.directory",
                Severity::Critical,
                format!("The state directory cannot be written ({shown})"),
            )
            .remedy("Check its owner, and whether its disk is mounted read-only."),
        );
    }
}

/// Something else stands where the state directory should be: what it is, and what to do.
fn no_directory(dir: &Path, shown: &str) -> Option<(String, String)> {
    let there = std::fs::symlink_metadata(dir).ok()?;
    if there.is_symlink() && !dir.exists() {
        let to = std::fs::read_link(dir).map(|to| to.display().to_string()).unwrap_or_default();
        let remedy = format!("Mount the disk that {to} is on, or make that directory; or remove the link.");
        return Some((format!("The state directory {shown} is a link to {to}, which is not there"), remedy));
    }
    (!dir.is_dir()).then(|| {
        (
            format!("{shown} should be the state directory and is a file"),
            format!("Look what it is, then move it: mv {shown} {shown}.old"),
        )
    })
}

pub fn permissions(facts: &Facts, out: &mut Vec<Finding>) {
    let loose = &facts.tree.loose;
    if loose.is_empty() {
        return;
    }
    let line = |(path, mode, wanted): &(PathBuf, u32, u32)| {
        format!("{} is {mode:03o}, should be {wanted:03o}", facts.cx.short(path))
    };
    out.push(
        Finding::new("state.permissions", Severity::Warn, "Files that are open to other users of this machine")
            .detail(list(loose.iter().map(line)))
            .remedy("openclaw doctor --fix closes them.")
            .fix(Some(Fix::Modes(loose.iter().map(|(path, _, wanted)| (path.clone(), *wanted)).collect()))),
    );
}

pub fn owner(facts: &Facts, out: &mut Vec<Finding>) {
    let foreign = &facts.tree.foreign;
    if foreign.is_empty() {
        return;
    }
    let state = facts.cx.short(&facts.cx.paths.state_dir);
    out.push(
        Finding::new("state.owner", Severity::Warn, "Files that belong to another user")
            .detail(list(foreign.iter().map(|path| facts.cx.short(path))))
            .remedy(format!(
                "A command run with sudo? Give them back: sudo chown -R {} {state}",
                process::user_label(facts.tree.owner)
            )),
    );
}

pub fn sessions(facts: &Facts, out: &mut Vec<Finding>) {
    if !facts.loaded.exists || facts.loaded.config.gateway.mode.as_deref() == Some("remote") {
        return;
    }
    let config = &facts.loaded.config;
    for agent in config.agents.ids() {
        let store = session::store_file(config, &facts.cx.paths, agent);
        let dir = atomic::parent(&store);
        if agent == config.agents.default_id() && facts.loaded.valid() && !dir.exists() {
            let title = format!("The directory of sessions is missing ({})", facts.cx.short(dir));
            out.push(
                Finding::new("state.sessions", Severity::Info, title)
                    .remedy("openclaw doctor --fix creates it; so does the first turn.")
                    .fix(Some(Fix::MakeDirectory(dir.to_owned()))),
            );
        }
        if facts.args.deep {
            out.extend(missing_transcripts(facts, agent, &store));
        }
    }
}

/// Sessions whose conversation is gone: they would begin anew without a word.
fn missing_transcripts(facts: &Facts, agent: &str, store: &Path) -> Option<Finding> {
    let bytes = atomic::read_limited(store, crate::limits::CONFIG_BYTES * 8).ok()?;
    let shown = facts.cx.short(store);
    let Ok(serde_json::Value::Object(entries)) = serde_json::from_slice(&bytes) else {
        let title = format!("The list of sessions is damaged ({shown})");
        return Some(
            Finding::new("state.sessions", Severity::Critical, title)
                .remedy("The gateway sets it aside at its next start and begins an empty one."),
        );
    };
    let dir = atomic::parent(store);
    let is_missing = |entry: &serde_json::Value| {
        let file = entry.get("sessionFile").and_then(|v| v.as_str()).map(PathBuf::from);
        let by_id = || Some(dir.join(format!("{}.jsonl", entry.get("sessionId")?.as_str()?)));
        file.or_else(by_id).is_some_and(|path| !path.exists())
    };
    let used = |entry: &serde_json::Value| entry.get("systemSent") == Some(&serde_json::Value::Bool(true));
    let missing: Vec<String> =
        entries.iter().filter(|(_, entry)| used(entry) && is_missing(entry)).map(|(key, _)| key.clone()).collect();
    (!missing.is_empty()).then(|| {
        let title = format!("Sessions of agent {agent} whose conversation is gone");
        Finding::new("state.sessions", Severity::Warn, title)
            .detail(list(missing))
            .remedy("They begin anew at their next turn.")
    })
}

pub fn leftovers(facts: &Facts, out: &mut Vec<Finding>) {
    let left = &facts.tree.leftovers;
    if !left.is_empty() {
        out.push(
            Finding::new("state.leftovers", Severity::Info, "Files that a process left when it was killed")
                .detail(list(left.iter().map(|path| facts.cx.short(path))))
                .remedy("openclaw doctor --fix removes them.")
                .fix(Some(Fix::Remove(left.clone()))),
        );
    }
}

pub fn damaged(facts: &Facts, out: &mut Vec<Finding>) {
    let damaged = &facts.tree.damaged;
    if !damaged.is_empty() {
        out.push(
            Finding::new("state.damaged", Severity::Info, "Files that were damaged and set aside")
                .detail(list(damaged.iter().map(|path| facts.cx.short(path))))
                .remedy("Take out of them what you need, then remove them. Damage again? Check the disk."),
        );
    }
}

/// What the gateway would set aside at its next start, to begin without it.
pub fn unreadable(facts: &Facts, out: &mut Vec<Finding>) {
    let files = ["devices/paired.json", "devices/pending.json", "identity/device.json"];
    let is_damaged = |path: &PathBuf| match atomic::read_limited(path, crate::limits::STATE_FILE_BYTES) {
        Ok(bytes) => !matches!(serde_json::from_slice(&bytes), Ok(serde_json::Value::Object(_))),
        Err(error) => !matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory),
    };
    let paths = files.iter().map(|name| facts.cx.paths.state_dir.join(name));
    let damaged: Vec<String> = paths.filter(is_damaged).map(|path| facts.cx.short(&path)).collect();
    if !damaged.is_empty() {
        out.push(
            Finding::new("state.unreadable", Severity::Warn, "Files that cannot be read").detail(list(damaged)).remedy(
                "The gateway sets a damaged file aside and begins without it: devices pair again. Better: put it \
                     back from a backup.",
            ),
        );
    }
}

pub fn workspace(facts: &Facts, out: &mut Vec<Finding>) {
    let config = &facts.loaded.config;
    let wanted = !facts.args.no_workspace_suggestions && facts.loaded.exists && facts.loaded.valid();
    let dir = files::directory(config, &facts.cx.paths, config.agents.default_id());
    if wanted && config.gateway.mode.as_deref() != Some("remote") && !dir.exists() {
        let title = format!("The agent has no workspace yet ({})", facts.cx.short(&dir));
        let remedy = format!("The first turn creates it; so does {}", facts.cx.suggest("openclaw setup"));
        out.push(Finding::new("state.workspace", Severity::Info, title).remedy(remedy));
    }
}

pub fn disk(facts: &Facts, out: &mut Vec<Finding>) {
    let state = existing(&facts.cx.paths.state_dir);
    let file = facts.loaded.config.logging.file.as_deref().map(|file| facts.cx.paths.expand(file));
    let log = crate::log::todays_file(file.as_deref()).map(|log| existing(atomic::parent(&log)));
    let log = log.filter(|dir| disk::device(dir) != disk::device(&state));
    let places = [(Some(state), "conversations and settings cannot be saved"), (log, "the log stays empty")];
    for (dir, why) in places.into_iter().filter_map(|(dir, why)| Some((dir?, why))) {
        let mut say = |severity, what: String| {
            let title = format!("{what} below {}", facts.cx.short(&dir));
            out.push(Finding::new("host.disk", severity, title).remedy(format!("Make room: {why}.")));
        };
        match (disk::free_bytes(&dir), disk::has_inodes(&dir)) {
            (Some(free), _) if free < LITTLE_SPACE => {
                let severity = if free < NO_SPACE { Severity::Critical } else { Severity::Warn };
                say(severity, format!("{} MiB are free", free / (1024 * 1024)));
            }
            (_, Some(false)) => say(Severity::Critical, "No further file can be made".into()),
            _ => {}
        }
    }
}

pub fn memory_card(facts: &Facts, out: &mut Vec<Finding>) {
    let Some(device) = disk::memory_card(&existing(&facts.cx.paths.state_dir)) else { return };
    let title = format!("The state directory lies on {device}, an SD card or eMMC");
    out.push(
        Finding::new("host.memory-card", Severity::Info, title)
            .remedy("They wear out. Keep backups, or move it to a USB disk with OPENCLAW_STATE_DIR."),
    );
}

/// The directory, or the nearest one above it that is there.
fn existing(dir: &Path) -> PathBuf {
    dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// A clock before the day of this version has not been set; one before the gateway's own last writes went back. Logins,
/// dates of sessions and TLS go wrong.
pub fn clock(facts: &Facts, out: &mut Vec<Finding>) {
    let date = |ms: u64| crate::store::transcript::iso_time(ms)[..10].to_owned();
    let remedy = "Set it, or let NTP set it: TLS and dates of conversations depend on it.";
    let title = if let Some(built) = Some(compat_version_ms()).filter(|built| facts.now_ms < *built) {
        format!("The clock says {}, before this version was made ({})", date(facts.now_ms), date(built))
    } else if let Some((path, at)) = from_the_future(facts) {
        format!("The clock says {}, and {} was written on {}", date(facts.now_ms), facts.cx.short(&path), date(at))
    } else {
        return;
    };
    out.push(Finding::new("host.clock", Severity::Warn, title).remedy(remedy));
}

/// A file that the gateway writes, with a time that has not come yet.
fn from_the_future(facts: &Facts) -> Option<(PathBuf, u64)> {
    let paths = &facts.cx.paths;
    let agent = facts.loaded.config.agents.default_id();
    let sessions = session::store_file(&facts.loaded.config, paths, agent);
    let written = [paths.config_path.clone(), crate::gateway::bootstrap::last_good(paths), sessions];
    written.into_iter().find_map(|path| {
        let modified = std::fs::metadata(&path).ok()?.modified().ok()?;
        let at = u64::try_from(modified.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()?;
        (at > facts.now_ms + CLOCK_SLACK_MS).then_some((path, at))
    })
}

/// What the next start would say about the certificate, and what clients say about its dates.
pub fn certificate(facts: &Facts, out: &mut Vec<Finding>) {
    let gateway = &facts.loaded.config.gateway;
    let files = Files::of(&gateway.tls, &facts.cx.paths.state_dir);
    if !gateway.tls.enabled || gateway.mode.as_deref() == Some("remote") || files.to_be_made() {
        return;
    }
    let finding = |severity, title: String| Finding::new("gateway.certificate", severity, title);
    let loaded = match files.read(facts.now_ms) {
        Ok(loaded) => loaded,
        Err(e) => {
            let why = certificate::reason(&e);
            let remedy = e.hints.first().map_or("", |hint| hint.trim_start_matches("Fix: "));
            let title = format!("The gateway's certificate cannot be used: {why}");
            return out.push(finding(Severity::Critical, title).remedy(remedy));
        }
    };
    let Some(trouble) = loaded.validity.and_then(|validity| validity.trouble(facts.now_ms)) else { return };
    let severity = if trouble.now { Severity::Critical } else { Severity::Warn };
    let remedy = match gateway.tls.cert_path {
        Some(_) => {
            "Renew it: a running gateway takes the new files by itself. Clients with its fingerprint need the new one."
        }
        None => {
            "Remove it and its key, and restart the gateway: it makes a new pair. Clients with its fingerprint need the \
             new one."
        }
    };
    let title = format!("The gateway's certificate {} ({})", trouble.what, facts.cx.short(&files.cert));
    out.push(finding(severity, title).remedy(remedy));
}

/// A note, whichever way: doctor is used while the gateway is down.
pub fn running(facts: &Facts, out: &mut Vec<Finding>) {
    let config = &facts.loaded.config;
    if config.gateway.mode.as_deref() == Some("remote") {
        return;
    }
    let port = facts.cx.paths.port(&FsSource, None, config.gateway.port).0;
    let finding = |severity, title: String| Finding::new("gateway.running", severity, title);
    let files = Files::of(&config.gateway.tls, &facts.cx.paths.state_dir);
    let tls = config.gateway.tls.enabled.then_some(Trust::Certificate(files.cert));
    let health = |port: u16| health(port, tls.as_ref());
    let found = health(port);
    let owner = lock::owner(&facts.cx.paths.config_path).filter(|owner| owner.alive);
    // Started with --port, or the configuration has changed (or lost its port) since.
    let elsewhere = owner.as_ref().filter(|_| found != Health::Good).and_then(|owner| {
        let ports = sockets::ports_of(owner.pid);
        let answering = ports.into_iter().find(|other| *other != port && health(*other) == Health::Good)?;
        Some((owner.pid, answering))
    });
    if let Some((pid, other)) = elsewhere {
        out.push(
            finding(
                Severity::Info,
                format!("The gateway (pid {pid}) answers on port {other}; commands look for it on {port}."),
            )
            .remedy(format!(
                "Tell them: {}, or give them OPENCLAW_GATEWAY_PORT={other}",
                facts.cx.suggest(&format!("openclaw config set gateway.port {other}"))
            )),
        );
    }
    match found {
        Health::None if elsewhere.is_some() => {}
        Health::None => {
            let start = facts.cx.suggest("openclaw gateway");
            out.push(
                finding(Severity::Info, "Gateway not running.".into())
                    .remedy(format!("Nothing listens on port {port}. Start it with: {start}")),
            );
        }
        Health::Good => out.push(finding(Severity::Info, format!("Gateway answers on port {port}."))),
        Health::Strange => out.push(
            finding(Severity::Warn, format!("Something on port {port} does not answer as a gateway does"))
                .remedy(format!("See who it is: {}", facts.cx.suggest("openclaw gateway status --deep"))),
        ),
    }
    if let Some(owner) = owner.filter(|owner| is_replaced(owner.pid)) {
        let title = format!("The gateway (pid {}) still runs the program from before an update", owner.pid);
        out.push(finding(Severity::Warn, title).remedy("openclaw gateway restart"));
    }
}

/// Its file has been removed or another one has taken its name.
fn is_replaced(pid: u32) -> bool {
    process::exe(pid).is_some_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Health {
    None,
    Good,
    Strange,
}

/// `tls`: what the gateway shows when it speaks TLS.
fn health(port: u16, tls: Option<&Trust>) -> Health {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return Health::None };
    let timed = Timed { stream, deadline: Deadline::after(PATIENCE) };
    let stream = match tls {
        Some(trust) => Stream::secure(timed, "127.0.0.1", trust),
        None => Ok(Stream::Plain(timed)),
    };
    let Ok(mut stream) = stream else { return Health::Strange };
    let request = format!("GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let asked = stream.write_all(request.as_bytes());
    let _ = asked.and_then(|()| stream.take(4096).read_to_end(&mut answer));
    let answer = String::from_utf8_lossy(&answer);
    let good = answer.starts_with("HTTP/1.1 200") && answer.contains("\"ok\":true");
    if good { Health::Good } else { Health::Strange }
}
