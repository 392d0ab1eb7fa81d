//! One `sessions.json` in memory: where each entry lies in the file, what has changed since, which ten are newest.
//!
//! Memory only, apart from `load` and `read_entry`; lives under the lock of `sessions`, which is never held while those two run.
//! An unchanged entry costs about 120 bytes, its key included.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::entry::Entry;
use super::journal::Stamp;
use super::scan::{self, ScanError};

/// Sessions in a summary.
pub const RECENT: usize = 10;
/// An entry that takes more than this in the file, fat fields included, is kept there but not shown.
const SPAN_BYTES: u64 = 16 * 1024 * 1024;

/// Where an entry is and what is asked for most.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub updated_at: u64,
    /// The session id when it is a UUID, else zeroes.
    pub session: [u8; 16],
    pub offset: u64,
    /// 0: not in the file yet.
    pub len: u32,
    /// False for values that are no entries; they are copied as they are.
    pub shown: bool,
}

/// An entry that the file does not have yet.
#[derive(Clone)]
pub struct Changed {
    pub entry: Arc<Entry>,
    /// Counts all changes of all books; tells whether an entry changed again meanwhile.
    pub generation: u64,
    pub journaled: bool,
    /// Its key or session id is new: the journal is synced for it.
    pub new_id: bool,
}

pub struct Book {
    pub path: PathBuf,
    /// The version of the file that `index` describes, even when the name has got a newer one.
    pub file: Option<Arc<File>>,
    pub index: BTreeMap<Arc<str>, Slot>,
    pub changed: HashMap<Arc<str>, Changed>,
    pub count: usize,
    /// Newest first.
    pub recent: Vec<Arc<Entry>>,
    /// As loaded, for the one who writes: version of the file, entries in the journal.
    pub stamp: Option<Stamp>,
    pub journal_lines: u64,
}

/// What a file holds.
#[derive(Default)]
pub struct Loaded {
    pub file: Option<File>,
    pub stamp: Option<Stamp>,
    pub index: BTreeMap<Arc<str>, Slot>,
}

impl Book {
    pub fn new(path: PathBuf, loaded: Loaded) -> Book {
        let mut book = Book {
            path,
            file: None,
            index: BTreeMap::new(),
            changed: HashMap::new(),
            count: 0,
            recent: Vec::new(),
            stamp: loaded.stamp,
            journal_lines: 0,
        };
        book.install(loaded.file.map(Arc::new), loaded.index);
        book
    }

    /// Another version of the file; changed entries stay on top of it.
    pub fn install(&mut self, file: Option<Arc<File>>, index: BTreeMap<Arc<str>, Slot>) {
        self.file = file;
        self.index = index;
        for (key, changed) in &self.changed {
            let place = self.index.get(key).map_or((0, 0), |slot| (slot.offset, slot.len));
            self.index.insert(key.clone(), slot_of(&changed.entry, place));
        }
        self.count = self.index.values().filter(|slot| slot.shown).count();
    }

    /// Puts an entry on top of the file. Returns false when `recent` has to be found anew.
    pub fn put(&mut self, key: Arc<str>, changed: Changed) -> bool {
        let entry = changed.entry.clone();
        let old = self.index.get(&key).copied();
        let place = old.map_or((0, 0), |slot| (slot.offset, slot.len));
        self.index.insert(key.clone(), slot_of(&entry, place));
        if !old.is_some_and(|slot| slot.shown) {
            self.count += 1;
        }
        self.changed.insert(key.clone(), changed);
        let was_full = self.recent.len() >= RECENT;
        let was_recent = self.recent.iter().position(|recent| recent.key == key);
        if let Some(at) = was_recent {
            self.recent.remove(at);
        }
        let at = self.recent.partition_point(|recent| recent.updated_at > entry.updated_at);
        // Last among those that were listed: one that is not listed may be newer.
        let certain = !(was_recent.is_some() && was_full && at == self.recent.len());
        self.recent.insert(at, entry);
        self.recent.truncate(RECENT);
        certain
    }

    /// Undoes `put`: back to what was there before.
    pub fn take_back(&mut self, key: &Arc<str>, slot: Option<Slot>, changed: Option<Changed>) {
        match slot {
            Some(slot) => {
                self.index.insert(key.clone(), slot);
            }
            None => {
                self.index.remove(key);
            }
        }
        match changed {
            Some(changed) => {
                self.changed.insert(key.clone(), changed);
            }
            None => {
                self.changed.remove(key);
            }
        }
        self.count = self.index.values().filter(|slot| slot.shown).count();
    }

    /// Keys of the newest entries, newest first.
    pub fn newest_keys(&self) -> Vec<Arc<str>> {
        let mut newest: Vec<(&Arc<str>, u64)> = Vec::with_capacity(RECENT + 1);
        for (key, slot) in self.index.iter().filter(|(_, slot)| slot.shown) {
            if newest.len() == RECENT && newest[RECENT - 1].1 >= slot.updated_at {
                continue;
            }
            let at = newest.partition_point(|(_, updated_at)| *updated_at >= slot.updated_at);
            newest.insert(at, (key, slot.updated_at));
            newest.truncate(RECENT);
        }
        newest.into_iter().map(|(key, _)| key.clone()).collect()
    }
}

/// Reads the index of a file; a missing one is empty.
pub fn load(path: &Path) -> Result<Loaded, ScanError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Loaded::default()),
        Err(e) => return Err(e.into()),
    };
    let stamp = Stamp::of(&file.metadata()?);
    let mut index = BTreeMap::new();
    scan::scan(BufReader::with_capacity(64 * 1024, &file), |found| {
        let Ok(len) = u32::try_from(found.len) else { return Err(ScanError::Damaged) };
        let mut slot = Slot { updated_at: 0, session: [0; 16], offset: found.offset, len, shown: false };
        if let Some(light) = found.light {
            let brief: Brief<'_> = serde_json::from_slice(light).map_err(|_| ScanError::Damaged)?;
            slot.shown = found.len <= SPAN_BYTES;
            slot.updated_at = brief.updated_at.and_then(|raw| raw.get().parse().ok()).unwrap_or(0);
            if let Some(id) = brief.session_id {
                slot.session = uuid_bytes(id.get().trim_matches('"'));
            }
        }
        index.insert(Arc::from(found.key), slot);
        Ok(())
    })?;
    Ok(Loaded { file: Some(file), stamp: Some(stamp), index })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Brief<'a> {
    #[serde(borrow)]
    session_id: Option<&'a RawValue>,
    #[serde(borrow)]
    updated_at: Option<&'a RawValue>,
}

/// An entry's text as it stands in the file.
pub fn read_span(file: &File, slot: &Slot) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; slot.len as usize];
    read_exact_at(file, &mut bytes, slot.offset)?;
    Ok(bytes)
}

/// One entry out of the file, without its fat fields.
pub fn read_entry(file: &File, slot: &Slot, key: &Arc<str>, default_agent: &Arc<str>) -> io::Result<Entry> {
    parse_entry(&read_span(file, slot)?, key, default_agent)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a session entry"))
}

pub fn parse_entry(text: &[u8], key: &Arc<str>, default_agent: &Arc<str>) -> Option<Entry> {
    let light = scan::without_fat(text).ok()?;
    let map: Map<String, Value> = serde_json::from_slice(&light).ok()?;
    Some(Entry::from_map(agent_of(key, default_agent), key.clone(), map))
}

/// The agent that a key names, else the one whose file it is in.
pub fn agent_of(key: &str, default_agent: &Arc<str>) -> Arc<str> {
    match key.strip_prefix("agent:").and_then(|rest| rest.split_once(':')) {
        Some((agent, _)) if !agent.is_empty() && agent != &**default_agent => Arc::from(agent),
        _ => default_agent.clone(),
    }
}

/// The bytes of a UUID, zeroes for any other id.
pub fn uuid_bytes(id: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut digits = id.bytes().filter(|b| *b != b'-').map(|b| (b as char).to_digit(16));
    if id.len() != 36 {
        return bytes;
    }
    for byte in &mut bytes {
        let (Some(Some(high)), Some(Some(low))) = (digits.next(), digits.next()) else { return [0; 16] };
        *byte = (high * 16 + low) as u8;
    }
    if digits.next().is_some() { [0; 16] } else { bytes }
}

fn slot_of(entry: &Entry, (offset, len): (u64, u32)) -> Slot {
    Slot { updated_at: entry.updated_at, session: uuid_bytes(&entry.session_id), offset, len, shown: true }
}

#[cfg(unix)]
pub fn read_exact_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(windows)]
pub fn read_exact_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, offset)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                bytes = &mut bytes[read..];
                offset += read as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(key: &str, updated_at: u64) -> (Arc<str>, Changed) {
        let key: Arc<str> = Arc::from(key);
        let entry = Arc::new(Entry { key: key.clone(), updated_at, ..Entry::default() });
        (key, Changed { entry, generation: 1, journaled: false, new_id: false })
    }

    #[test]
    fn the_ten_newest_are_kept_in_order() {
        let mut book = Book::new(PathBuf::new(), Loaded::default());
        for n in 0..30_u64 {
            let (key, change) = changed(&format!("k{}", n % 15), (n * 7) % 31);
            if !book.put(key, change) {
                book.recent = book.newest_keys().iter().map(|key| book.changed[key].entry.clone()).collect();
            }
            let expected: Vec<u64> = book.newest_keys().iter().map(|key| book.index[key].updated_at).collect();
            let recent: Vec<u64> = book.recent.iter().map(|entry| entry.updated_at).collect();
            assert_eq!(recent, expected, "after {n}");
        }
        assert_eq!(book.count, 15);
    }

    #[test]
    fn ids_and_agents() {
        assert_eq!(uuid_bytes("00000000-0000-4000-8000-0000000000ff")[15], 255);
        for text in ["", "x", "00000000-0000-4000-8000-0000000000fg", "000000000000-4000-8000-0000000000ff0"] {
            assert_eq!(uuid_bytes(text), [0; 16], "{text}");
        }
        let main: Arc<str> = Arc::from("main");
        for (key, agent) in
            [("agent:main:x", "main"), ("agent:ops:main", "ops"), ("global", "main"), ("agent::x", "main")]
        {
            assert_eq!(&*agent_of(key, &main), agent, "{key}");
        }
    }
}
