//! Writes sessions to disk: journal lines at once, `sessions.json` when that is worth its wear. Runs on the `store` thread.
//!
//! A rewrite copies unchanged entries as they stand, fat and unknown fields included; then the journal goes. After a crash
//! between the two its lines say what the file says.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::atomic::{self, Staged};
use super::book::{self, Changed, Slot};
use super::entry::Entry;
use super::journal::{self, Journal, Stamp};
use super::lock::{self, FileLock};
use super::scan;
use super::sessions::{Shared, report};
use super::writer::Occasion;
use crate::{limits, sort};

/// A rewrite may cost so many bytes per changed entry; below that it waits for more changes, at most `PATIENCE`.
const BYTES_PER_CHANGE: u64 = 16 * 1024;
const PATIENCE: Duration = Duration::from_secs(3600);
/// The reference holds the lock: come back after this.
const LOCKED_PAUSE: Duration = Duration::from_secs(1);
const WINDOW: usize = 64 * 1024;

/// Owns the journals and the times; memory is in `Shared`.
pub struct Scribe {
    shared: Arc<Shared>,
    /// `limits::SOON_WRITE`, shorter in tests.
    pace: Duration,
    pens: Vec<Pen>,
}

struct Pen {
    path: PathBuf,
    journal: Option<Journal>,
    /// The version of `sessions.json` that memory was loaded from or that we wrote.
    stamp: Option<Stamp>,
    /// Entries in the journal.
    lines: u64,
    first_change: Option<Instant>,
    last_rewrite: Instant,
    /// Since when the journal holds a new key or id that is not synced.
    unsynced: Option<Instant>,
    not_before: Option<Instant>,
    /// Errors that were logged, of the journal and of the file.
    failing: [Option<String>; 2],
}

const JOURNAL: usize = 0;
const FILE: usize = 1;

impl Scribe {
    pub fn new(shared: Arc<Shared>, pace: Duration) -> Scribe {
        Scribe { shared, pace, pens: Vec::new() }
    }

    /// Brings the disk up to date as far as `occasion` asks for; returns when to call again.
    pub fn run(&mut self, occasion: Occasion) -> io::Result<Option<Instant>> {
        let mut outcome = Ok(());
        let mut next: Option<Instant> = None;
        self.meet_new_books();
        for book in 0..self.pens.len() {
            let result = self.write_book(book, occasion);
            let pen = &self.pens[book];
            if let (Err(e), Ok(())) = (result, &outcome) {
                outcome = Err(e);
            }
            next = [next, pen.next_due(self.pace)].into_iter().flatten().min();
        }
        outcome.map(|()| next)
    }

    fn meet_new_books(&mut self) {
        let state = self.shared.state.lock();
        let now = Instant::now();
        for book in state.books.iter().skip(self.pens.len()) {
            self.pens.push(Pen {
                path: book.path.clone(),
                journal: None,
                stamp: book.stamp,
                lines: book.journal_lines,
                first_change: (book.journal_lines > 0).then_some(now),
                last_rewrite: now,
                unsynced: None,
                not_before: None,
                failing: [None, None],
            });
        }
    }

    fn write_book(&mut self, book: usize, occasion: Occasion) -> io::Result<()> {
        let appended = self.append_lines(book);
        self.pens[book].note(JOURNAL, &appended, self.pace);
        appended?;
        let now = Instant::now();
        let pen = &self.pens[book];
        let rewrite = match occasion {
            Occasion::Flush => pen.first_change.is_some(),
            Occasion::Due => pen.rewrite_due(self.pace).is_some_and(|due| due <= now),
        };
        if rewrite {
            // Not every poke tries again what has just failed.
            self.pens[book].not_before = Some(now + self.pace);
            let rewritten = self.rewrite(book);
            self.pens[book].note(FILE, &rewritten, self.pace);
            rewritten?;
        }
        let pen = &mut self.pens[book];
        let sync_due = pen.unsynced.is_some_and(|since| since + self.pace <= now);
        if sync_due || occasion == Occasion::Flush {
            if let Some(journal) = &pen.journal {
                journal.sync()?;
            }
            pen.unsynced = None;
        }
        Ok(())
    }

    /// One write with a line for each entry that changed.
    fn append_lines(&mut self, book: usize) -> io::Result<()> {
        let waiting: Vec<Changed> = {
            let state = self.shared.state.lock();
            state.books[book].changed.values().filter(|changed| !changed.journaled).cloned().collect()
        };
        if waiting.is_empty() {
            return Ok(());
        }
        let pen = &mut self.pens[book];
        let journal = match &mut pen.journal {
            Some(journal) => journal,
            none => none.insert(Journal::open(&pen.path, pen.stamp)?),
        };
        let mut lines = Vec::new();
        for changed in &waiting {
            lines.extend(journal::line_of(&changed.entry));
        }
        journal.append(lines)?;
        pen.lines += waiting.len() as u64;
        pen.first_change.get_or_insert_with(Instant::now);
        if waiting.iter().any(|changed| changed.new_id) {
            pen.unsynced.get_or_insert_with(Instant::now);
        }
        let mut state = self.shared.state.lock();
        for written in waiting {
            if let Some(changed) = state.books[book].changed.get_mut(&written.entry.key)
                && changed.generation == written.generation
            {
                changed.journaled = true;
            }
        }
        Ok(())
    }

    fn rewrite(&mut self, book: usize) -> io::Result<()> {
        let pen = &mut self.pens[book];
        atomic::create_dirs(atomic::parent(&pen.path))?;
        let Some(_lock) = FileLock::try_take(&pen.path, lock::STORE_LOCK_STALE, wall_ms())? else {
            pen.not_before = Some(Instant::now() + LOCKED_PAUSE);
            return Ok(());
        };
        if Stamp::at(&pen.path)? != pen.stamp {
            self.take_over(book);
        }
        let pen = &mut self.pens[book];
        let plan = Plan::take(&self.shared, book);
        let (file, places) = plan.write(&pen.path)?;
        // All its lines were in memory before the plan was taken: only this thread writes it.
        pen.journal = None;
        let _ = fs::remove_file(journal::journal_path(&pen.path));
        pen.not_before = None;
        pen.stamp = Some(Stamp::of(&file.metadata()?));
        pen.last_rewrite = Instant::now();
        pen.lines = 0;
        pen.unsynced = None;
        pen.first_change = None;
        plan.settle(&self.shared, book, file, places);
        if !self.shared.state.lock().books[book].changed.is_empty() {
            pen.first_change = Some(Instant::now());
        }
        Ok(())
    }

    /// Another program has written the file: its entries count where they are newer, its fields where we have none.
    fn take_over(&mut self, book: usize) {
        let pen = &mut self.pens[book];
        let loaded = match book::load(&pen.path) {
            Ok(loaded) => loaded,
            Err(problem) => {
                // What we have is better: it is written again from the version that is still open.
                report(&pen.path, &problem, Some(wall_ms()));
                pen.stamp = None;
                return;
            }
        };
        pen.stamp = loaded.stamp;
        let file = loaded.file.map(Arc::new);
        let (ours, owner) = {
            let state = self.shared.state.lock();
            let ours: Vec<Changed> = state.books[book].changed.values().cloned().collect();
            (ours, state.owner(book))
        };
        // What becomes of each entry of ours: merged, or dropped.
        let mut merged: Vec<(Changed, Option<Arc<Entry>>)> = Vec::new();
        for changed in ours {
            let theirs = loaded
                .index
                .get(&changed.entry.key)
                .zip(file.as_ref())
                .and_then(|(slot, file)| book::read_entry(file, slot, &changed.entry.key, &owner).ok());
            let result = match theirs {
                Some(theirs) if theirs.updated_at > changed.entry.updated_at => None,
                Some(theirs) => {
                    let mut map: Map<String, Value> = theirs.to_map();
                    map.extend(changed.entry.to_map());
                    Some(Arc::new(Entry::from_map(theirs.agent, theirs.key, map)))
                }
                None => Some(changed.entry.clone()),
            };
            merged.push((changed, result));
        }
        {
            let mut state = self.shared.state.lock();
            let book = &mut state.books[book];
            for (before, result) in merged {
                let key = &before.entry.key;
                let same = book.changed.get(key).is_some_and(|changed| changed.generation == before.generation);
                match result {
                    _ if !same => {}
                    Some(entry) => {
                        book.changed.insert(key.clone(), Changed { entry, ..before.clone() });
                    }
                    None => {
                        book.changed.remove(key);
                    }
                }
            }
            book.install(file, loaded.index);
            state.changed();
        }
        self.shared.find_recent(book);
        self.shared.tell();
    }
}

impl Pen {
    /// When the next rewrite is worth it; `None` without changes.
    fn rewrite_due(&self, pace: Duration) -> Option<Instant> {
        let first_change = self.first_change?;
        let size = self.stamp.map_or(0, |stamp| stamp.size);
        let interval = pace.max(Duration::from_secs(size / limits::STORE_REWRITE_BYTES_PER_SEC));
        let mut due = (self.last_rewrite + interval).max(first_change + pace);
        if self.lines < size / BYTES_PER_CHANGE {
            due = due.max(self.last_rewrite + PATIENCE);
        }
        Some(self.not_before.map_or(due, |not_before| due.max(not_before)))
    }

    fn next_due(&self, pace: Duration) -> Option<Instant> {
        let sync = self.unsynced.map(|since| since + pace);
        [sync, self.rewrite_due(pace)].into_iter().flatten().min()
    }

    /// One log line when writing begins to fail, one when it works again.
    fn note(&mut self, what: usize, result: &io::Result<()>, pace: Duration) {
        let path = if what == JOURNAL { journal::journal_path(&self.path) } else { self.path.clone() };
        let known = &mut self.failing[what];
        match result {
            Ok(()) => {
                if known.take().is_some() {
                    log::info!(target: "store", "{} can be written again", path.display());
                }
            }
            Err(e) => {
                let text = e.to_string();
                if known.as_ref() != Some(&text) {
                    log::warn!(target: "store", "cannot write {}: {text}; kept in memory, tried again every {} s", path.display(), pace.as_secs());
                    *known = Some(text);
                }
            }
        }
    }
}

/// What a rewrite writes, as memory stood at one moment.
struct Plan {
    file: Option<Arc<File>>,
    /// In the order of the old file; new entries last.
    items: Vec<(Arc<str>, Slot, Option<Changed>)>,
}

impl Plan {
    fn take(shared: &Shared, book: usize) -> Plan {
        let state = shared.state.lock();
        let book = &state.books[book];
        let mut items: Vec<_> =
            book.index.iter().map(|(key, slot)| (key.clone(), *slot, book.changed.get(key).cloned())).collect();
        let file = book.file.clone();
        drop(state);
        sort::by_key(&mut items, |(_, slot, _)| if slot.len == 0 { u64::MAX } else { slot.offset });
        Plan { file, items }
    }

    /// Writes the file; returns it with the new places, in the order of `items`.
    fn write(&self, path: &Path) -> io::Result<(File, Vec<(u64, u32)>)> {
        let staged = Staged::create(path)?;
        let mut out = Counted { inner: BufWriter::with_capacity(WINDOW, staged.file()), written: 0 };
        let mut window = Window::default();
        let mut places = Vec::with_capacity(self.items.len());
        out.write_all(b"{")?;
        for (n, (key, slot, changed)) in self.items.iter().enumerate() {
            out.write_all(if n == 0 { b"\n  " } else { b",\n  " })?;
            serde_json::to_writer(&mut out, &**key)?;
            out.write_all(b": ")?;
            let start = out.written;
            let old = match &self.file {
                Some(file) if slot.len > 0 => window.span(file, slot)?,
                _ => b"{}",
            };
            match changed {
                None => out.write_all(old)?,
                Some(changed) => write_entry(&mut out, &changed.entry, old)?,
            }
            let length = u32::try_from(out.written - start)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a session entry is too long"))?;
            places.push((start, length));
        }
        out.write_all(if self.items.is_empty() { b"}" } else { b"\n}" })?;
        out.flush()?;
        drop(out);
        let file = staged.file().try_clone()?;
        staged.commit()?;
        Ok((file, places))
    }

    /// The new file is what memory refers to from now on.
    fn settle(&self, shared: &Shared, book: usize, file: File, places: Vec<(u64, u32)>) {
        let mut state = shared.state.lock();
        let book = &mut state.books[book];
        book.file = Some(Arc::new(file));
        let mut index: BTreeMap<Arc<str>, Slot> = std::mem::take(&mut book.index);
        for ((key, _, written), (offset, len)) in self.items.iter().zip(places) {
            if let Some(slot) = index.get_mut(key) {
                (slot.offset, slot.len) = (offset, len);
            }
            if let Some(written) = written
                && book.changed.get(key).is_some_and(|changed| changed.generation == written.generation)
            {
                book.changed.remove(key);
            }
        }
        book.index = index;
        book.changed.shrink_to_fit();
    }
}

/// An entry of ours, indented as the second level of the file, with the fat fields of its old text.
fn write_entry(out: &mut impl io::Write, entry: &Entry, old: &[u8]) -> io::Result<()> {
    let text = serde_json::to_string_pretty(&entry.to_map())?;
    let fat = scan::fat_fields(old).unwrap_or_default();
    let body = text.strip_suffix('}').unwrap_or(&text).trim_end();
    for (n, line) in body.split('\n').enumerate() {
        if n > 0 {
            out.write_all(b"\n  ")?;
        }
        out.write_all(line.as_bytes())?;
    }
    let mut comma = body.len() > 1;
    for (name, value) in fat {
        out.write_all(if comma { b",\n    " } else { b"\n    " })?;
        out.write_all(name)?;
        out.write_all(b": ")?;
        out.write_all(value)?;
        comma = true;
    }
    out.write_all(if comma { b"\n  }" } else { b"}" })
}

/// Reads spans of a file that come in rising order with few system calls.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn span(&mut self, file: &File, slot: &Slot) -> io::Result<&[u8]> {
        let len = slot.len as usize;
        let inside = slot.offset >= self.start && slot.offset + len as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            let rest = file.metadata()?.len().saturating_sub(slot.offset);
            let wanted = len.max(WINDOW.min(usize::try_from(rest).unwrap_or(WINDOW)));
            self.bytes.resize(wanted, 0);
            book::read_exact_at(file, &mut self.bytes, slot.offset)?;
            self.start = slot.offset;
        }
        let from = (slot.offset - self.start) as usize;
        Ok(&self.bytes[from..from + len])
    }
}

struct Counted<W> {
    inner: W,
    written: u64,
}

impl<W: io::Write> io::Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// For names and lock files only.
fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
