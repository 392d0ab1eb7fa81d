//! Which sessions exist: an index in memory over every agent's `sessions.json` and its journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, NewEntry};
use super::writer::Store;

/// All agents' sessions. Clones share the same state.
#[derive(Clone)]
pub struct Sessions {
    inner: Arc<()>,
}

/// Counts and the most recent sessions, kept up to date by changes: costs the same with none and with 10,000 sessions.
#[derive(Debug, Default)]
pub struct Summary {
    /// Changes whenever anything in here changes.
    pub version: u64,
    /// In the order given to `open`.
    pub agents: Vec<AgentSummary>,
}

#[derive(Debug)]
pub struct AgentSummary {
    pub agent: Arc<str>,
    pub path: PathBuf,
    pub count: usize,
    /// At most ten, newest first.
    pub recent: Vec<Arc<Entry>>,
}

/// Which entries `list` looks at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Query<'a> {
    pub agent: Option<&'a str>,
    /// Only entries at least this new, milliseconds since 1970.
    pub updated_since: u64,
    /// At most so many; `None`: all.
    pub limit: Option<usize>,
}

/// Called after each change with the new version, on the thread that made the change, without a lock held. Must not block.
pub type OnChange = Box<dyn Fn(u64) + Send + Sync>;

impl Sessions {
    /// Loads every agent's file and journal. Damaged files are set aside; an agent whose file cannot be read at all starts empty with one log line.
    pub fn open(agents: &[(String, PathBuf)], store: &Store, now_ms: u64) -> Sessions {
        let _ = (agents, store, now_ms);
        Sessions { inner: Arc::new(()) }
    }

    /// For commands beside a running gateway: reads, repairs nothing, writes nothing.
    pub fn open_read_only(agents: &[(String, PathBuf)]) -> Sessions {
        let _ = agents;
        Sessions { inner: Arc::new(()) }
    }

    pub fn set_on_change(&self, hook: OnChange) {
        let _ = (hook, &self.inner);
    }

    pub fn version(&self) -> u64 {
        0
    }

    pub fn summary(&self) -> Arc<Summary> {
        Arc::default()
    }

    /// One entry by its canonical key, whichever agent has it.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let _ = key;
        None
    }

    pub fn find_session_id(&self, session_id: &str) -> Option<Arc<Entry>> {
        let _ = session_id;
        None
    }

    /// Newest first; `wanted` is asked for each entry until `query.limit` of them are found.
    pub fn list(&self, query: Query<'_>, wanted: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let _ = (query, wanted);
        Vec::new()
    }

    /// A new key, or a new session id for an old one. On disk (kill -9; a power cut within `SOON_WRITE` may lose it) when this returns:
    /// only then may the transcript be created.
    pub fn begin(&self, agent: &str, key: &str, now_ms: u64, new: NewEntry) -> io::Result<Arc<Entry>> {
        let _ = (agent, key, now_ms, new);
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    /// Changes an entry; `None` when there is none. One small unsynced write to the journal; what cannot be written stays in memory and is retried.
    pub fn update(&self, key: &str, change: &mut dyn FnMut(&mut Entry)) -> Option<Arc<Entry>> {
        let _ = (key, change);
        None
    }

    /// Rewrites every changed `sessions.json`, unless the reference holds its lock (the journal has everything then).
    pub fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// `<state>/agents/<id>/sessions/sessions.json`, or `session.store` with `{agentId}` and a leading `~` replaced.
pub fn store_path(state: &Path, home: Option<&Path>, configured: Option<&str>, agent: &str) -> PathBuf {
    let Some(configured) = configured.map(str::trim).filter(|text| !text.is_empty()) else {
        return state.join("agents").join(agent).join("sessions").join("sessions.json");
    };
    let text = configured.replace("{agentId}", agent);
    match (text.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}
