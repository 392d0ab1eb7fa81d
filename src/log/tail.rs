//! Reading the log: `logs.tail` (protocol 12), the ring that stands in for a file, and single lines for `openclaw logs`.
//!
//! Any thread; `read` does file I/O of at most `limits::TAIL_BYTES_MAX`. Also used by commands when no gateway answers.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::file::is_dated;
use crate::{limits, sort};

/// What `logs.tail` calls the ring.
pub const IN_MEMORY: &str = "(memory)";

/// The answer of `logs.tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tail {
    pub file: String,
    /// Where the next call goes on: the end of the last complete line.
    pub cursor: u64,
    pub size: u64,
    pub lines: Vec<String>,
    /// Older lines than these were left out for `maxBytes`.
    pub truncated: bool,
    /// The cursor was of no use (rotated, or too far behind).
    pub reset: bool,
}

/// Reads what came after `cursor`, or the end of the file without one; `limit` and `max_bytes` are clamped.
///
/// A dated file that is missing is replaced by the newest dated one of its directory; none at all is an empty answer.
pub fn read(file: &Path, cursor: Option<u64>, limit: usize, max_bytes: u64) -> io::Result<Tail> {
    let Some(path) = existing(file) else {
        return Ok(Tail { file: file.display().to_string(), ..Tail::default() });
    };
    let mut source = File::open(&path)?;
    let there = source.metadata()?;
    if !there.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the log is not a regular file"));
    }
    let size = there.len();
    let mut slice = Slice::plan(size, cursor, max_bytes);
    let mut bytes = read_slice(&mut source, &slice)?;
    if slice.from_cursor && slice.start > 0 && bytes.first() != Some(&b'\n') {
        // Cursors stand at line ends: this one belongs to a file that was rotated away.
        slice = Slice { reset: true, ..Slice::plan(size, None, max_bytes) };
        bytes = read_slice(&mut source, &slice)?;
    }
    Ok(slice.cut(&bytes, path.display().to_string(), limit))
}

/// A part of the file, planned before it is read.
#[derive(Clone, Debug)]
struct Slice {
    start: u64,
    size: u64,
    truncated: bool,
    reset: bool,
    from_cursor: bool,
}

impl Slice {
    fn plan(size: u64, cursor: Option<u64>, max_bytes: u64) -> Slice {
        let max_bytes = max_bytes.clamp(1, limits::TAIL_BYTES_MAX);
        let last = size.saturating_sub(max_bytes);
        match cursor {
            Some(at) if at <= size && at >= last => {
                Slice { start: at, size, truncated: false, reset: false, from_cursor: true }
            }
            // Behind the end of a smaller file, or too far behind.
            Some(_) => Slice { start: last, size, truncated: last > 0, reset: true, from_cursor: false },
            None => Slice { start: last, size, truncated: last > 0, reset: false, from_cursor: false },
        }
    }

    /// `bytes` = the byte before `start` (when there is one) and everything up to `size`.
    fn cut(&self, bytes: &[u8], file: String, limit: usize) -> Tail {
        let limit = limit.clamp(1, limits::TAIL_LINES_MAX);
        let mut rest = bytes;
        if self.start > 0 {
            // The line that began before the slice is not ours to show.
            rest = match bytes.iter().position(|b| *b == b'\n') {
                Some(end) => &bytes[end + 1..],
                None => &[],
            };
        }
        // A line without its end is being written: it comes with the next call.
        let complete = rest.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1);
        let unfinished = (rest.len() - complete) as u64;
        let mut lines: Vec<String> = rest[..complete]
            .split(|b| *b == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect();
        if lines.len() > limit {
            lines.drain(..lines.len() - limit);
        }
        let end = self.start + bytes.len() as u64 - u64::from(self.start > 0 && !bytes.is_empty());
        let cursor = if rest.is_empty() && self.from_cursor { self.start } else { end - unfinished };
        Tail { file, cursor, size: self.size, lines, truncated: self.truncated, reset: self.reset }
    }
}

fn read_slice(source: &mut File, slice: &Slice) -> io::Result<Vec<u8>> {
    let from = slice.start.saturating_sub(1);
    source.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    source.take(slice.size - from).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The file itself, or the newest dated one beside it.
fn existing(file: &Path) -> Option<PathBuf> {
    if file.exists() {
        return Some(file.to_owned());
    }
    if !is_dated(file.file_name()?.to_str()?) {
        return None;
    }
    let names = fs::read_dir(file.parent()?).ok()?.flatten();
    names.filter(|entry| entry.file_name().to_str().is_some_and(is_dated)).map(|entry| entry.path()).max()
}

/// The last lines in memory, for gateways without a file. Offsets go on counting as if it were one.
#[derive(Debug, Default)]
pub struct Ring {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    end: u64,
}

impl Ring {
    /// Adds a line with its newline; the oldest go when `limits::LOG_RING_BYTES` is passed.
    pub fn push(&mut self, line: &str) {
        self.bytes += line.len();
        self.end += line.len() as u64;
        self.lines.push_back(line.into());
        while self.bytes > limits::LOG_RING_BYTES {
            let Some(oldest) = self.lines.pop_front() else { return };
            self.bytes -= oldest.len();
        }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn tail(&self, cursor: Option<u64>, limit: usize, max_bytes: u64) -> Tail {
        let (limit, max_bytes) = (limit.clamp(1, limits::TAIL_LINES_MAX), max_bytes.clamp(1, limits::TAIL_BYTES_MAX));
        let oldest = (self.end - self.bytes as u64).max(self.end.saturating_sub(max_bytes));
        let reset = cursor.is_some_and(|at| at > self.end || at < oldest);
        let start = cursor.filter(|_| !reset).unwrap_or(oldest);
        let mut at = self.end;
        let mut lines: Vec<String> = Vec::new();
        for line in self.lines.iter().rev() {
            at -= line.len() as u64;
            if at < start || lines.len() == limit {
                break;
            }
            lines.push(line.trim_end_matches('\n').to_owned());
        }
        lines.reverse();
        let truncated = start > 0 && (reset || cursor.is_none());
        Tail { file: IN_MEMORY.into(), cursor: self.end, size: self.end, lines, truncated, reset }
    }
}

/// One log line as `openclaw logs` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogLine {
    /// As written: local ISO with offset, else the UTC date of `_meta`.
    pub time: Option<String>,
    /// Lower case.
    pub level: Option<String>,
    pub subsystem: Option<String>,
    pub module: Option<String>,
    pub message: String,
}

/// Reads a line of ours, of the reference, or of the simple form `{"time","level","subsystem","message"}`.
/// None: not a log line; print it as it is.
pub fn parse_line(line: &str) -> Option<LogLine> {
    let value: Value = serde_json::from_str(line.trim()).ok()?;
    let object = value.as_object()?;
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned);
    let meta = object.get("_meta").and_then(Value::as_object);
    let mut found = LogLine {
        time: text(object.get("time")).or_else(|| text(meta?.get("date"))),
        level: text(meta.and_then(|meta| meta.get("logLevelName")))
            .or_else(|| text(object.get("level")))
            .map(|level| level.to_ascii_lowercase()),
        subsystem: text(object.get("subsystem")),
        module: text(object.get("module")),
        message: String::new(),
    };
    let name = text(meta.and_then(|meta| meta.get("name")));
    if let Some(name) = name.as_deref().and_then(|name| serde_json::from_str::<Value>(name).ok()) {
        found.subsystem = text(name.get("subsystem")).or(found.subsystem);
        found.module = text(name.get("module")).or(found.module);
    }
    let mut numbered: Vec<(u32, &Value)> =
        object.iter().filter_map(|(key, value)| Some((key.parse().ok()?, value))).collect();
    sort::by_key(&mut numbered, |(number, _)| *number);
    // Key 0 is the logger's name when it repeats `_meta.name`; readers of the reference print it, we do not.
    let arguments = numbered.into_iter().map(|(_, value)| value).enumerate();
    let shown = arguments.filter(|(at, value)| *at > 0 || value.as_str() != name.as_deref()).map(|(_, value)| value);
    let parts: Vec<String> = shown.map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
    found.message = if parts.is_empty() { text(object.get("message"))? } else { parts.join(" ") };
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;
    use crate::sys::testing::TempDir;
    use std::fs;

    fn tail(path: &Path, cursor: Option<u64>, limit: usize, max: u64) -> (u64, Vec<String>, bool, bool) {
        let tail = read(path, cursor, limit, max).unwrap();
        (tail.cursor, tail.lines, tail.truncated, tail.reset)
    }

    fn lines(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    #[test]
    fn cursors_limits_and_partial_lines() {
        let dir = TempDir::new("tail");
        let path = dir.0.join("gw.log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        for (cursor, limit, max, expected) in [
            (None, 100, 1000, (14, lines(&["one", "two", "three"]), false, false)),
            (None, 2, 1000, (14, lines(&["two", "three"]), false, false)),
            // 7 bytes back is inside "two": dropped.
            (None, 100, 7, (14, lines(&["three"]), true, false)),
            (None, 100, 6, (14, lines(&["three"]), true, false)),
            (None, 100, 3, (14, lines(&[]), true, false)),
            (Some(8), 100, 1000, (14, lines(&["three"]), false, false)),
            (Some(0), 100, 1000, (14, lines(&["one", "two", "three"]), false, false)),
            (Some(14), 100, 1000, (14, lines(&[]), false, false)),
            (Some(15), 100, 1000, (14, lines(&["one", "two", "three"]), false, true)),
            (Some(4), 100, 8, (14, lines(&["three"]), true, true)),
            // Not at a line end: of another file.
            (Some(5), 100, 1000, (14, lines(&["one", "two", "three"]), false, true)),
        ] {
            assert_eq!(tail(&path, cursor, limit, max), expected, "{cursor:?} {limit} {max}");
        }
        fs::write(&path, "one\ntwo\nthr").unwrap();
        assert_eq!(tail(&path, None, 9, 1000), (8, lines(&["one", "two"]), false, false));
        assert_eq!(tail(&path, Some(8), 9, 1000), (8, lines(&[]), false, false));
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&path, Some(8), 9, 1000), (14, lines(&["three"]), false, false));
    }

    #[test]
    fn a_missing_dated_file_is_replaced_by_the_newest() {
        let dir = TempDir::new("dated");
        let today = dir.0.join("openclaw-2026-11-20.log");
        assert_eq!(read(&today, None, 9, 99).unwrap(), Tail { file: today.display().to_string(), ..Tail::default() });
        fs::write(dir.0.join("openclaw-2026-11-18.log"), "old\n").unwrap();
        fs::write(dir.0.join("openclaw-2026-11-19.log"), "new\n").unwrap();
        fs::write(dir.0.join("zzz.log"), "no\n").unwrap();
        let found = read(&today, None, 9, 99).unwrap();
        assert_eq!((found.lines, found.file.ends_with("openclaw-2026-11-19.log")), (lines(&["new"]), true));
        assert_eq!(read(&dir.0.join("gw.log"), None, 9, 99).unwrap().size, 0);
    }

    #[test]
    fn the_ring_counts_like_a_file_and_stays_small() {
        let mut ring = Ring::default();
        for n in 0..4 {
            ring.push(&format!("l{n}\n"));
        }
        let (limit, max) = (limits::TAIL_LINES, limits::TAIL_BYTES);
        let first = ring.tail(None, 2, max);
        assert_eq!((first.cursor, first.lines, first.reset), (12, lines(&["l2", "l3"]), false));
        assert_eq!(ring.tail(Some(9), limit, max).lines, lines(&["l3"]));
        assert_eq!(ring.tail(Some(12), limit, max).lines, lines(&[]));
        assert!(ring.tail(Some(13), limit, max).reset);
        let long = "x".repeat(1023) + "\n";
        for _ in 0..1000 {
            ring.push(&long);
        }
        assert!(ring.bytes <= limits::LOG_RING_BYTES);
        let behind = ring.tail(Some(12), limits::TAIL_LINES_MAX, limits::TAIL_BYTES_MAX);
        assert!(behind.reset && behind.truncated);
        assert_eq!(behind.lines.len(), limits::LOG_RING_BYTES / 1024);
    }

    const OURS: &str = r#"{"0":"{\"subsystem\":\"gateway/ws\"}","1":{"n":1},"2":"it works","_meta":{"name":"{\"subsystem\":\"gateway/ws\"}","date":"2026-11-20T19:51:41.175Z","logLevelName":"WARN"},"time":"2026-11-20T19:51:41.175+00:00"}"#;

    #[test]
    fn lines_of_every_writer() {
        let found = parse_line(OURS).unwrap();
        assert_eq!(found.time.as_deref(), Some("2026-11-20T19:51:41.175+00:00"));
        assert_eq!((found.level.as_deref(), found.subsystem.as_deref()), (Some("warn"), Some("gateway/ws")));
        assert_eq!(found.message, r#"{"n":1} it works"#);

        let plain = parse_line(r#"{"0":"bonjour: up","_meta":{"name":"openclaw","date":"D","logLevelName":"INFO"}}"#);
        let plain = plain.unwrap();
        assert_eq!((plain.message.as_str(), plain.subsystem, plain.time.as_deref()), ("bonjour: up", None, Some("D")));

        let simple = r#"{"time":"T","level":"warn","subsystem":"logging","message":"log file size cap reached"}"#;
        let simple = parse_line(simple).unwrap();
        assert_eq!(
            (simple.message.as_str(), simple.subsystem.as_deref()),
            ("log file size cap reached", Some("logging"))
        );
        for raw in ["", "plain text", "[1]", "{}", "7", r#"{"time":"T"}"#] {
            assert_eq!(parse_line(raw), None, "{raw}");
        }
    }

    #[test]
    fn mutated_lines_and_files_never_panic() {
        let mut random = Random(0x5eed_0004);
        let whole = format!("{OURS}\n{OURS}\nhalf");
        for _ in 0..5_000 {
            let mut bytes = OURS.as_bytes().to_vec();
            bytes = random.mutated(&bytes);
            let _ = parse_line(&String::from_utf8_lossy(&bytes));
            let mut bytes = whole.as_bytes().to_vec();
            bytes = random.mutated(&bytes);
            let size = bytes.len() as u64;
            let cursor = Some(random.below(bytes.len() + 9) as u64);
            let slice = Slice::plan(size, cursor, 1 + random.below(900) as u64);
            let from = slice.start.saturating_sub(1) as usize;
            let tail = slice.cut(&bytes[from.min(bytes.len())..], String::new(), 1 + random.below(5));
            assert!(tail.cursor <= size, "{tail:?}");
        }
    }
}
