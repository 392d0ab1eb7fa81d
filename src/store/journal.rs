//! `sessions.json.journal`: changed entries, one per line, until the next rewrite of the (possibly large) `sessions.json`.
//!
//! Written by the `store` thread only; read once, before it starts. A line is `{"key":…,"entry":{…}}`, or
//! `{"base":{…}}` with size and time of the `sessions.json` that the following lines change.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::atomic;
use super::entry::Entry;
use crate::limits;

/// A line holds one entry and its key.
const LINE_BYTES: usize = limits::SESSION_ENTRY_BYTES + 16 * 1024;

/// What tells one version of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stamp {
    pub size: u64,
    pub mtime_ns: u64,
}

impl Stamp {
    pub fn of(metadata: &fs::Metadata) -> Stamp {
        let time = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Stamp { size: metadata.len(), mtime_ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// `None`: there is no such file.
    pub fn at(path: &Path) -> io::Result<Option<Stamp>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }
}

/// Reads what a journal says: the newest object for each key.
#[derive(Default)]
pub struct Replay {
    pub entries: HashMap<String, Map<String, Value>>,
    pub base: Option<Stamp>,
    pub lines: u64,
}

#[derive(Deserialize)]
struct LineIn {
    key: Option<String>,
    entry: Option<Map<String, Value>>,
    base: Option<Stamp>,
}

impl Replay {
    /// Adds the lines of one file; a missing one has none. Bad lines are skipped with one log line.
    /// With `mend` a torn last line is cut off the file.
    pub fn read(&mut self, path: &Path, mend: bool) -> io::Result<()> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let mut reader = BufReader::with_capacity(64 * 1024, file);
        let mut line = Vec::new();
        let (mut offset, mut bad, mut torn) = (0, 0, None);
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES as u64).read_until(b'\n', &mut line)?;
            if read == 0 {
                break;
            }
            if line.last() != Some(&b'\n') && read < LINE_BYTES {
                torn = Some(offset);
                break;
            }
            offset += read as u64;
            match serde_json::from_slice(&line) {
                Ok(parsed) => self.take(parsed),
                Err(_) => bad += 1,
            }
        }
        if bad > 0 {
            log::warn!(target: "store", "{}: skipped {bad} unreadable lines", path.display());
        }
        if let Some(whole) = torn
            && mend
        {
            log::warn!(target: "store", "{}: cut an unfinished last line", path.display());
            File::options().write(true).open(path)?.set_len(whole)?;
        }
        Ok(())
    }

    fn take(&mut self, line: LineIn) {
        if line.base.is_some() {
            self.base = line.base;
        }
        if let (Some(key), Some(entry)) = (line.key, line.entry) {
            self.entries.insert(key, entry);
            self.lines += 1;
        }
    }
}

/// The journal open for appending.
pub struct Journal {
    file: File,
    length: u64,
    /// A failed write could not be undone.
    torn: bool,
}

impl Journal {
    /// Opens or creates it 0600; a new one begins with its base.
    pub fn open(sessions_json: &Path, base: Option<Stamp>) -> io::Result<Journal> {
        let path = journal_path(sessions_json);
        atomic::create_dirs(atomic::parent(&path))?;
        let file = atomic::open_append(&path)?;
        let length = file.metadata()?.len();
        let mut journal = Journal { file, length, torn: false };
        if length == 0 && base.is_some() {
            journal.append_base(base)?;
        }
        Ok(journal)
    }

    fn append_base(&mut self, base: Option<Stamp>) -> io::Result<()> {
        #[derive(Serialize)]
        struct LineOut {
            base: Option<Stamp>,
        }
        let mut line = serde_json::to_vec(&LineOut { base })?;
        line.push(b'\n');
        self.append(line)
    }

    /// One write, not synced.
    pub fn append(&mut self, mut lines: Vec<u8>) -> io::Result<()> {
        if self.torn {
            lines.insert(0, b'\n');
        }
        match self.file.write_all(&lines) {
            Ok(()) => {
                self.length += lines.len() as u64;
                self.torn = false;
                Ok(())
            }
            Err(e) => {
                self.torn |= self.file.set_len(self.length).is_err();
                Err(e)
            }
        }
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// One line for an entry, with its newline.
pub fn line_of(entry: &Entry) -> Vec<u8> {
    #[derive(Serialize)]
    struct LineOut<'a> {
        key: &'a str,
        entry: Map<String, Value>,
    }
    let line = LineOut { key: &entry.key, entry: entry.to_map() };
    let mut bytes = serde_json::to_vec(&line).expect("an entry is plain JSON");
    bytes.push(b'\n');
    bytes
}

pub fn journal_path(sessions_json: &Path) -> PathBuf {
    let mut name = sessions_json.as_os_str().to_owned();
    name.push(".journal");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::atomic::tests::TempDir;
    use super::*;
    use crate::sys::testing::Random;

    fn entry(key: &str, updated_at: u64) -> Entry {
        Entry { key: Arc::from(key), session_id: "s".into(), updated_at, ..Entry::default() }
    }

    #[test]
    fn the_newest_line_of_each_key_counts() {
        let dir = TempDir::new("journal");
        let path = dir.join("sessions.json");
        let base = Stamp { size: 5, mtime_ns: u64::MAX };
        let mut journal = Journal::open(&path, Some(base)).unwrap();
        for (key, at) in [("a", 1), ("b", 2), ("a", 3)] {
            journal.append(line_of(&entry(key, at))).unwrap();
        }
        let whole = fs::read(journal_path(&path)).unwrap();
        for torn in [&b""[..], b"{\"key\":\"a\",\"entry\":{\"upd", b"\0\0\0\0"] {
            fs::write(journal_path(&path), [&whole[..], torn].concat()).unwrap();
            let mut replay = Replay::default();
            replay.read(&journal_path(&path), true).unwrap();
            assert_eq!((replay.lines, replay.base, replay.entries.len()), (3, Some(base), 2));
            assert_eq!(replay.entries["a"]["updatedAt"], 3);
            assert_eq!(fs::read(journal_path(&path)).unwrap(), whole, "the torn line is cut");
        }
        Replay::default().read(&dir.join("missing"), true).unwrap();
    }

    #[test]
    fn mutated_journals_never_panic() {
        let dir = TempDir::new("journal-mutated");
        let path = dir.join("j");
        let original = [line_of(&entry("a", 1)), line_of(&entry("b", 2))].concat();
        let mut random = Random(13);
        for _ in 0..500 {
            fs::write(&path, random.mutated(&original)).unwrap();
            Replay::default().read(&path, false).unwrap();
        }
    }
}
