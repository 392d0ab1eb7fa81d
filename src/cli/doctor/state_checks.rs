//! Checks of the state directory, the machine and the running gateway. One walk over the directory, a bounded one.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::config_checks::list;
use super::{Facts, Finding, Fix};
use crate::agent::{session, workspace as files};
use crate::cli::audit::Severity;
use crate::cli::client::Deadline;
use crate::cli::target::Trust;
use crate::cli::wss::{Stream, Timed};
use crate::config::{Loaded, Paths};
use crate::gateway::bootstrap;
use crate::protocol::compat_version_ms;
use crate::server::certificate::Files;
use crate::store::source::FsSource;
use crate::store::{atomic, lock};
use crate::sys::{disk, process};

/// More entries than this are not looked at: what is wrong shows before.
const MAX_ENTRIES: usize = 20_000;
/// Below this much free space writes begin to fail soon.
const LITTLE_SPACE: u64 = 64 * 1024 * 1024;
const NO_SPACE: u64 = 8 * 1024 * 1024;
/// A gateway on this machine answers within this time or is in trouble.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Directories of the state directory that hold secrets or conversations.
const PRIVATE: [&str; 7] = ["credentials", "identity", "devices", "nodes", "cron", "agents", "gateway"];

/// What one walk over the state directory found.
#[derive(Default)]
pub struct Tree {
    /// Open to others: path, mode, mode that it should have.
    loose: Vec<(PathBuf, u32, u32)>,
    /// Somebody else's.
    foreign: Vec<PathBuf>,
    /// Temporary files and locks of processes that are gone.
    leftovers: Vec<PathBuf>,
    /// Files that were set aside as damaged.
    damaged: Vec<PathBuf>,
    seen: usize,
}

impl Tree {
    pub fn look(paths: &Paths, loaded: &Loaded) -> Tree {
        let mut tree = Tree::default();
        let state = &paths.state_dir;
        tree.entry(state);
        let config_dir = atomic::parent(&paths.config_path);
        tree.entry(&paths.config_path);
        for n in ["", ".1", ".2", ".3", ".4"] {
            let mut backup = paths.config_path.clone().into_os_string();
            backup.push(format!(".bak{n}"));
            tree.entry(Path::new(&backup));
        }
        tree.entry(&bootstrap::last_good(paths));
        tree.entry(&state.join(".env"));
        for name in PRIVATE {
            tree.walk(&state.join(name), 0);
        }
        if !paths.credentials_dir.starts_with(state) {
            tree.walk(&paths.credentials_dir, 0);
        }
        for agent in loaded.config.agents.ids() {
            let store = session::store_file(&loaded.config, paths, agent);
            let dir = atomic::parent(&store);
            if !dir.starts_with(state) {
                tree.walk(dir, 0);
            }
        }
        for dir in [state.as_path(), config_dir] {
            tree.leftovers.extend(atomic::abandoned(dir));
        }
        tree.leftovers.sort();
        tree.leftovers.dedup();
        tree.damaged.extend(children(state).filter(|path| is_damaged(path)));
        tree
    }

    fn walk(&mut self, dir: &Path, depth: usize) {
        if !fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir()) {
            return;
        }
        self.entry(dir);
        self.leftovers.extend(atomic::abandoned(dir));
        for path in children(dir) {
            self.seen += 1;
            let Ok(meta) = fs::symlink_metadata(&path) else { continue };
            if self.seen > MAX_ENTRIES || meta.is_symlink() {
                continue;
            }
            if meta.is_dir() && depth < 4 {
                self.walk(&path, depth + 1);
            } else if meta.is_file() {
                self.entry(&path);
                self.look_at_name(&path);
            }
        }
    }

    fn look_at_name(&mut self, path: &Path) {
        if is_damaged(path) {
            self.damaged.push(path.to_owned());
        }
        let Some(file) = path.to_str().and_then(|text| text.strip_suffix(".lock")) else { return };
        let stale = match Path::new(file).extension().and_then(|end| end.to_str()) {
            Some("json") => lock::STORE_LOCK_STALE,
            Some("jsonl") => lock::TRANSCRIPT_LOCK_STALE,
            _ => return,
        };
        if !lock::is_held(Path::new(file), stale) {
            self.leftovers.push(path.to_owned());
        }
    }

    #[cfg(unix)]
    fn entry(&mut self, path: &Path) {
        use std::os::unix::fs::MetadataExt as _;
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        if meta.is_symlink() || !meta.is_file() && !meta.is_dir() {
            return;
        }
        let us = process::effective_uid();
        if meta.uid() != us && us != 0 {
            return self.foreign.push(path.to_owned());
        }
        let mode = meta.mode() & 0o777;
        let wanted = if meta.is_dir() { 0o700 } else { 0o600 };
        if mode & 0o077 != 0 {
            self.loose.push((path.to_owned(), mode, wanted));
        }
    }

    #[cfg(not(unix))]
    fn entry(&mut self, _: &Path) {}
}

fn children(dir: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn is_damaged(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(".corrupt-"))
}

pub fn directory(facts: &Facts, out: &mut Vec<Finding>) {
    let dir = &facts.cx.paths.state_dir;
    let shown = facts.cx.short(dir);
    if !dir.exists() {
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
            .remedy(format!("A command run with sudo? Give them back: sudo chown -R \"$(id -un)\" {state}")),
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
    let dir = existing(&facts.cx.paths.state_dir);
    let Some(free) = disk::free_bytes(&dir).filter(|free| *free < LITTLE_SPACE) else { return };
    let severity = if free < NO_SPACE { Severity::Critical } else { Severity::Warn };
    let title = format!("{} MiB are free below {}", free / (1024 * 1024), facts.cx.short(&dir));
    out.push(
        Finding::new("host.disk", severity, title).remedy("Make room: conversations and settings cannot be saved."),
    );
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

/// A clock before the day of this version has not been set: logins, dates of sessions and TLS go wrong.
pub fn clock(facts: &Facts, out: &mut Vec<Finding>) {
    let built = compat_version_ms();
    if facts.now_ms < built {
        let date = |ms: u64| crate::store::transcript::iso_time(ms)[..10].to_owned();
        let title = format!("The clock says {}, before this version was made ({})", date(facts.now_ms), date(built));
        let remedy = "Set it, or let NTP set it: TLS and dates of conversations depend on it.";
        out.push(Finding::new("host.clock", Severity::Warn, title).remedy(remedy));
    }
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
    out.push(match health(port, config.gateway.tls.enabled.then_some(Trust::Certificate(files.cert))) {
        Health::None => {
            let start = facts.cx.suggest("openclaw gateway");
            finding(Severity::Info, "Gateway not running.".into())
                .remedy(format!("Nothing listens on port {port}. Start it with: {start}"))
        }
        Health::Good => finding(Severity::Info, format!("Gateway answers on port {port}.")),
        Health::Strange => {
            finding(Severity::Warn, format!("Something on port {port} does not answer as a gateway does"))
                .remedy(format!("See who it is: {}", facts.cx.suggest("openclaw gateway status --deep")))
        }
    });
}

enum Health {
    None,
    Good,
    Strange,
}

/// `tls`: what the gateway shows when it speaks TLS.
fn health(port: u16, tls: Option<Trust>) -> Health {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let Ok(stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return Health::None };
    let timed = Timed { stream, deadline: Deadline::after(PATIENCE) };
    let stream = match tls {
        Some(trust) => Stream::secure(timed, "127.0.0.1", &trust),
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
