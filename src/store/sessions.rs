//! Which sessions exist: an index in memory over every agent's `sessions.json` and its journal (agent 2, DECISIONS 67–71).
//!
//! Any thread may ask and change; the `store` thread writes (`sessions_write`). A change is in the journal within milliseconds, which
//! kill -9 cannot undo; `sessions.json` itself follows when that is worth its wear. The lock guards memory only: reading an
//! entry from its file happens without it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::atomic;
use super::book::{self, Book, Changed, Loaded, Slot};
use super::entry::{Entry, NewEntry};
use super::journal::{self, Replay};
use super::scan::ScanError;
use super::sessions_write::Scribe;
use super::writer::{ChoreId, Store};
use crate::sort;

/// All agents' sessions. Clones share the same state.
#[derive(Clone)]
pub struct Sessions {
    shared: Arc<Shared>,
    /// `None`: read-only.
    writer: Option<(Store, ChoreId)>,
}

pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    hook: Mutex<Option<Arc<OnChange>>>,
}

pub(super) struct State {
    pub(super) books: Vec<Book>,
    /// Agents in the order given, each with its book: several may share one.
    agents: Vec<(Arc<str>, usize)>,
    version: u64,
    generation: u64,
    summary: Option<Arc<Summary>>,
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

/// An entry's place, as found under the lock.
struct Located {
    book: usize,
    key: Arc<str>,
    agent: Arc<str>,
    slot: Slot,
    file: Option<Arc<std::fs::File>>,
    changed: Option<Changed>,
}

impl Located {
    fn read(&self) -> Option<Arc<Entry>> {
        if let Some(changed) = &self.changed {
            return Some(changed.entry.clone());
        }
        if !self.slot.shown {
            return None;
        }
        match book::read_entry(self.file.as_ref()?, &self.slot, &self.key, &self.agent) {
            Ok(entry) => Some(Arc::new(entry)),
            Err(e) => {
                log::warn!(target: "store", "cannot read the entry of session {}: {e}", self.key);
                None
            }
        }
    }
}

impl Sessions {
    /// Loads every agent's file and journal. Damaged files are set aside; an agent whose file cannot be read starts empty with one log line.
    pub fn open(agents: &[(String, PathBuf)], store: &Store, now_ms: u64) -> Sessions {
        let shared = Arc::new(Shared::new());
        for (agent, path) in agents {
            shared.add_agent(agent, path, Some(now_ms));
        }
        let mut scribe = Scribe::new(shared.clone(), store.pace());
        let chore = store.add_chore(Box::new(move |occasion| scribe.run(occasion)));
        store.poke(chore);
        Sessions { shared, writer: Some((store.clone(), chore)) }
    }

    /// For commands beside a running gateway: reads, repairs nothing, writes nothing.
    pub fn open_read_only(agents: &[(String, PathBuf)]) -> Sessions {
        let shared = Arc::new(Shared::new());
        for (agent, path) in agents {
            shared.add_agent(agent, path, None);
        }
        Sessions { shared, writer: None }
    }

    /// An agent that the configuration has got since `open`; nothing happens for a known one.
    pub fn add_agent(&self, agent: &str, path: &Path, now_ms: u64) {
        if let Some((store, chore)) = &self.writer
            && self.shared.state.lock().book_of(agent).is_none()
        {
            self.shared.add_agent(agent, path, Some(now_ms));
            self.shared.tell();
            store.poke(*chore);
        }
    }

    pub fn set_on_change(&self, hook: OnChange) {
        *self.shared.hook.lock() = Some(Arc::new(hook));
    }

    pub fn version(&self) -> u64 {
        self.shared.state.lock().version
    }

    pub fn summary(&self) -> Arc<Summary> {
        let mut state = self.shared.state.lock();
        if let Some(summary) = &state.summary {
            return summary.clone();
        }
        let agents = state.agents.iter().map(|(agent, book)| {
            let book = &state.books[*book];
            AgentSummary {
                agent: agent.clone(),
                path: book.path.clone(),
                count: book.count,
                recent: book.recent.clone(),
            }
        });
        let summary = Arc::new(Summary { version: state.version, agents: agents.collect() });
        state.summary = Some(summary.clone());
        summary
    }

    /// One entry by its canonical key, whichever agent has it.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        let located = self.shared.state.lock().locate(key)?;
        located.read()
    }

    pub fn find_session_id(&self, session_id: &str) -> Option<Arc<Entry>> {
        let wanted = book::uuid_bytes(session_id);
        let candidates: Vec<Arc<str>> = {
            let state = self.shared.state.lock();
            let slots = state.books.iter().flat_map(|book| &book.index);
            slots.filter(|(_, slot)| slot.shown && slot.session == wanted).map(|(key, _)| key.clone()).collect()
        };
        candidates.iter().filter_map(|key| self.get(key)).find(|entry| entry.session_id == session_id)
    }

    /// Newest first; `wanted` is asked for each entry until `query.limit` of them are found.
    pub fn list(&self, query: Query<'_>, wanted: &mut dyn FnMut(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut keys: Vec<(u64, Arc<str>)> = {
            let state = self.shared.state.lock();
            let only = query.agent.map(|agent| state.book_of(agent));
            let books = state.books.iter().enumerate().filter(|(n, _)| only.is_none_or(|only| only == Some(*n)));
            let slots = books.flat_map(|(_, book)| &book.index);
            slots
                .filter(|(_, slot)| slot.shown && slot.updated_at >= query.updated_since)
                .map(|(key, slot)| (slot.updated_at, key.clone()))
                .collect()
        };
        sort::by(&mut keys, |a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        let limit = query.limit.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for (_, key) in keys {
            if found.len() >= limit {
                break;
            }
            if let Some(entry) = self.get(&key)
                && query.agent.is_none_or(|agent| *entry.agent == *agent)
                && wanted(&entry)
            {
                found.push(entry);
            }
        }
        found
    }

    /// A new key, or a new session id for an old one. When this returns it is written (safe from kill -9; synced within `SOON_WRITE`):
    /// only then may the transcript be created. On an error nothing has changed.
    pub fn begin(&self, agent: &str, key: &str, now_ms: u64, new: NewEntry) -> io::Result<Arc<Entry>> {
        let (store, chore) = self.writer.as_ref().ok_or(io::ErrorKind::ReadOnlyFilesystem)?;
        loop {
            let (book, located) = {
                let state = self.shared.state.lock();
                (state.book_of(agent), state.locate(key))
            };
            let Some(book) = book else {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("unknown agent \"{agent}\"")));
            };
            let book = located.as_ref().map_or(book, |located| located.book);
            let mut entry = match located.as_ref().and_then(Located::read) {
                Some(old) => (*old).clone(),
                None => {
                    Entry { key: Arc::from(key), agent: book::agent_of(key, &Arc::from(agent)), ..Entry::default() }
                }
            };
            entry.restart(now_ms, new.clone());
            let Some((entry, generation)) = self.shared.commit(book, located.as_ref(), entry, true) else { continue };
            // Another agent's file may have failed: what counts is this entry.
            let called = store.call(*chore);
            if self.shared.is_written(book, &entry.key, generation) {
                return Ok(entry);
            }
            self.shared.take_back(book, &entry.key, generation, located);
            return Err(called.err().unwrap_or_else(|| io::Error::other("the session could not be written")));
        }
    }

    /// Changes an entry; `None` when there is none. It reaches the journal at once, with one small unsynced write; what cannot be
    /// written stays in memory and is tried again.
    pub fn update(&self, key: &str, change: &mut dyn FnMut(&mut Entry)) -> Option<Arc<Entry>> {
        let (store, chore) = self.writer.as_ref()?;
        loop {
            let located = self.shared.state.lock().locate(key)?;
            let old = located.read()?;
            let mut entry = (*old).clone();
            change(&mut entry);
            if entry == *old {
                return Some(old);
            }
            entry.key = located.key.clone();
            entry.agent = old.agent.clone();
            let new_id = entry.session_id != old.session_id;
            if let Some((entry, _)) = self.shared.commit(located.book, Some(&located), entry, new_id) {
                store.poke(*chore);
                return Some(entry);
            }
        }
    }

    /// Rewrites every changed `sessions.json`, unless the reference holds its lock (the journal has everything then).
    pub fn flush(&self) -> io::Result<()> {
        match &self.writer {
            Some((store, _)) => store.flush(),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn new() -> Shared {
        let state = State { books: Vec::new(), agents: Vec::new(), version: 1, generation: 0, summary: None };
        Shared { state: Mutex::new(state), hook: Mutex::new(None) }
    }

    /// `repair`: the time for names of damaged files; `None` leaves everything as it is.
    fn add_agent(&self, agent: &str, path: &Path, repair: Option<u64>) {
        let agent: Arc<str> = Arc::from(agent);
        {
            let mut state = self.state.lock();
            if let Some(shared) = state.books.iter().position(|book| book.path == path) {
                state.agents.push((agent, shared));
                state.changed();
                return;
            }
        }
        // The journal first: when a gateway rewrites the file meanwhile, its lines are then read twice instead of not at all.
        let replay = read_journal(path, repair.is_some());
        let loaded = match book::load(path) {
            Ok(loaded) => loaded,
            Err(problem) => {
                report(path, &problem, repair);
                Loaded::default()
            }
        };
        let trusted = replay.base.is_some() && replay.base == loaded.stamp;
        let mut book = Book::new(path.to_owned(), loaded);
        book.journal_lines = replay.lines;
        for (key, map) in replay.entries {
            let key: Arc<str> = Arc::from(key);
            let entry = Entry::from_map(book::agent_of(&key, &agent), key.clone(), map);
            // Lines for another version of the file count only where they are not older than it.
            let older = book.index.get(&key).is_some_and(|slot| entry.updated_at < slot.updated_at);
            if trusted || !older {
                let entry = Arc::new(entry);
                book.put(key, Changed { entry, generation: 0, journaled: true, new_id: false });
            }
        }
        let number = {
            let mut state = self.state.lock();
            state.books.push(book);
            let number = state.books.len() - 1;
            state.agents.push((agent, number));
            number
        };
        self.find_recent(number);
    }

    /// Reads the newest entries of a book anew.
    pub(super) fn find_recent(&self, book: usize) {
        let located: Vec<Located> = {
            let state = self.state.lock();
            state.books[book].newest_keys().iter().filter_map(|key| state.locate_in(book, key)).collect()
        };
        let recent: Vec<Arc<Entry>> = located.iter().filter_map(Located::read).collect();
        let mut state = self.state.lock();
        state.books[book].recent = recent;
        state.changed();
    }

    /// Puts a changed entry into memory unless it changed since it was `seen`; tells the hook.
    fn commit(&self, book: usize, seen: Option<&Located>, entry: Entry, new_id: bool) -> Option<(Arc<Entry>, u64)> {
        let entry = Arc::new(entry);
        let (generation, certain) = {
            let mut state = self.state.lock();
            if !state.unchanged_since(book, &entry.key, seen) {
                return None;
            }
            state.generation += 1;
            let generation = state.generation;
            let unsynced = state.books[book].changed.get(&entry.key).is_some_and(|old| old.new_id && !old.journaled);
            let changed = Changed { entry: entry.clone(), generation, journaled: false, new_id: new_id || unsynced };
            let certain = state.books[book].put(entry.key.clone(), changed);
            state.changed();
            (generation, certain)
        };
        if !certain {
            self.find_recent(book);
        }
        self.tell();
        Some((entry, generation))
    }

    /// Whether this change is in the journal or already in the file.
    fn is_written(&self, book: usize, key: &Arc<str>, generation: u64) -> bool {
        let state = self.state.lock();
        let changed = state.books[book].changed.get(key);
        changed.is_none_or(|changed| changed.generation != generation || changed.journaled)
    }

    fn take_back(&self, book: usize, key: &Arc<str>, generation: u64, before: Option<Located>) {
        {
            let mut state = self.state.lock();
            if state.books[book].changed.get(key).is_none_or(|changed| changed.generation != generation) {
                return;
            }
            let slot = before.as_ref().map(|located| located.slot);
            state.books[book].take_back(key, slot, before.and_then(|located| located.changed));
        }
        self.find_recent(book);
        self.tell();
    }

    pub(super) fn tell(&self) {
        let version = self.state.lock().version;
        let hook = self.hook.lock().clone();
        if let Some(hook) = hook {
            hook(version);
        }
    }
}

impl State {
    fn book_of(&self, agent: &str) -> Option<usize> {
        self.agents.iter().find(|(id, _)| **id == *agent).map(|(_, book)| *book)
    }

    pub(super) fn changed(&mut self) {
        self.version += 1;
        self.summary = None;
    }

    fn unchanged_since(&self, book: usize, key: &str, seen: Option<&Located>) -> bool {
        let book = &self.books[book];
        let Some(seen) = seen else { return !book.index.contains_key(key) };
        // A change that was written into a newer version of the file leaves no generation behind.
        let same_file = match (&book.file, &seen.file) {
            (Some(now), Some(then)) => Arc::ptr_eq(now, then),
            (None, None) => true,
            _ => false,
        };
        let generation = |changed: Option<&Changed>| changed.map(|changed| changed.generation);
        same_file && generation(book.changed.get(key)) == generation(seen.changed.as_ref())
    }

    /// The agent of a book's entries whose key names none.
    pub(super) fn owner(&self, book: usize) -> Arc<str> {
        self.agents.iter().find(|(_, n)| *n == book).map_or_else(|| Arc::from("main"), |(id, _)| id.clone())
    }

    fn locate(&self, key: &str) -> Option<Located> {
        (0..self.books.len()).find_map(|book| self.locate_in(book, key))
    }

    fn locate_in(&self, number: usize, key: &str) -> Option<Located> {
        let book = &self.books[number];
        let (key, slot) = book.index.get_key_value(key)?;
        Some(Located {
            book: number,
            key: key.clone(),
            agent: self.owner(number),
            slot: *slot,
            file: book.file.clone(),
            changed: book.changed.get(key).cloned(),
        })
    }
}

/// Says what is wrong with a file, and with `repair` moves it aside.
pub(super) fn report(path: &Path, problem: &ScanError, repair: Option<u64>) {
    if let ScanError::Io(e) = problem {
        log::warn!(target: "store", "cannot read {}: {e}", path.display());
    }
    if let Some(now_ms) = repair {
        atomic::set_aside_corrupt(path, now_ms);
    }
}

fn read_journal(path: &Path, mend: bool) -> Replay {
    if mend {
        atomic::sweep_temporary(atomic::parent(path));
    }
    let mut replay = Replay::default();
    let journal = journal::journal_path(path);
    if let Err(e) = replay.read(&journal, mend) {
        log::warn!(target: "store", "cannot read {}: {e}", journal.display());
    }
    replay
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
