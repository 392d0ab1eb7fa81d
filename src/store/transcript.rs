//! One session's transcript, JSON lines as the reference writes them (agent 2): opening and appending.
//!
//! Owned by the run that writes it. Each line is one write, so that kill -9 leaves whole lines; `sync` once at the end of
//! a turn makes it survive a power cut. Reading is in `transcript_read`.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::lines::{Line, LinesBackward};
use super::lock;
use super::message::Message;
use super::{atomic, transcript_read};
use crate::{ids, limits};

pub use super::transcript_read::{Context, ReadLimits, StoredMessage, read_context, read_messages};
pub use super::user_text::{UserText, strip_prefixes, with_time_prefix};

/// How far back an existing transcript is searched for the model last used.
const TAIL_BYTES: u64 = 256 * 1024;
/// The first lines (session, model, level) fit in here.
const HEAD_BYTES: u64 = 16 * 1024;

/// A transcript open for appending.
pub struct Transcript {
    path: PathBuf,
    file: File,
    length: u64,
    /// Id of the last entry: parent of the next one.
    leaf: Option<String>,
    model: Option<Model>,
    thinking: Option<String>,
    unsynced: bool,
    /// A failed write could not be undone: the next line begins with a newline of its own.
    torn: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Model {
    provider: String,
    model: String,
    api: String,
}

/// Any line of a transcript, as far as its order and the settings are concerned.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heading {
    #[serde(rename = "type")]
    kind: String,
    id: Option<String>,
    thinking_level: Option<String>,
    custom_type: Option<String>,
    data: Option<Snapshot>,
    message: Option<Speaker>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Snapshot {
    provider: Option<String>,
    model_api: Option<String>,
    model_id: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Speaker {
    role: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    api: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a, B> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: &'a str,
    parent_id: Option<&'a str>,
    timestamp: String,
    #[serde(flatten)]
    body: B,
}

impl Transcript {
    /// Opens or creates (0600, with the session line). Cuts a torn last line with one log line.
    ///
    /// `InvalidInput` for an id that must not name a file (R23), `ResourceBusy` while another living process holds `<path>.lock`.
    pub fn open(path: &Path, session_id: &str, cwd: &str, now_ms: u64) -> io::Result<Transcript> {
        if !valid_session_id(session_id) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the session id cannot be part of a file name"));
        }
        if lock::is_held(path, lock::TRANSCRIPT_LOCK_STALE) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                format!("another program is writing to {}; try again when it is done", path.display()),
            ));
        }
        atomic::create_dirs(atomic::parent(path))?;
        let mut file = atomic::open_append(path)?;
        let length = mend_tail(&mut file, path)?;
        let mut transcript = Transcript {
            path: path.to_owned(),
            file,
            length,
            leaf: None,
            model: None,
            thinking: None,
            unsynced: false,
            torn: false,
        };
        if length == 0 {
            #[derive(Serialize)]
            struct Session<'a> {
                r#type: &'a str,
                version: u32,
                id: &'a str,
                timestamp: String,
                cwd: &'a str,
            }
            let line = Session { r#type: "session", version: 3, id: session_id, timestamp: iso_time(now_ms), cwd };
            transcript.write_line(&line)?;
        } else {
            transcript.find_state()?;
        }
        Ok(transcript)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `model_change`, `thinking_level_change` and model-snapshot lines, each only when its value differs from the last one.
    /// Returns whether anything was written.
    pub fn append_settings(
        &mut self,
        provider: &str,
        model: &str,
        api: &str,
        thinking: &str,
        now_ms: u64,
    ) -> io::Result<bool> {
        self.append_changes(provider, model, api, Some(thinking), now_ms)
    }

    /// As `append_settings`, without the level.
    pub fn append_model(&mut self, provider: &str, model: &str, api: &str, now_ms: u64) -> io::Result<bool> {
        self.append_changes(provider, model, api, None, now_ms)
    }

    fn append_changes(
        &mut self,
        provider: &str,
        model: &str,
        api: &str,
        thinking: Option<&str>,
        now_ms: u64,
    ) -> io::Result<bool> {
        let new = Model { provider: provider.to_owned(), model: model.to_owned(), api: api.to_owned() };
        let before = self.length;
        let other_model = self.model.as_ref().is_none_or(|old| old.provider != provider || old.model != model);
        if other_model {
            #[derive(Serialize)]
            #[serde(rename_all = "camelCase")]
            struct Change<'a> {
                provider: &'a str,
                model_id: &'a str,
            }
            self.append("model_change", Change { provider, model_id: model }, now_ms)?;
        }
        if let Some(level) = thinking {
            self.append_thinking(level, now_ms)?;
        }
        if self.model.as_ref() != Some(&new) {
            self.append_snapshot(&new, now_ms)?;
            self.model = Some(new);
        }
        Ok(self.length != before)
    }

    /// `thinking_level_change`, only when the level differs from the last one.
    pub fn append_thinking(&mut self, level: &str, now_ms: u64) -> io::Result<bool> {
        if self.thinking.as_deref() == Some(level) {
            return Ok(false);
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Change<'a> {
            thinking_level: &'a str,
        }
        self.append("thinking_level_change", Change { thinking_level: level }, now_ms)?;
        self.thinking = Some(level.to_owned());
        Ok(true)
    }

    /// Appends one line with one write; returns its id.
    pub fn append_message(&mut self, message: &Message, now_ms: u64) -> io::Result<String> {
        #[derive(Serialize)]
        struct Body {
            message: serde_json::Value,
        }
        self.append("message", Body { message: message.to_value() }, now_ms)
    }

    /// One fdatasync, at the end of a turn; none when nothing was written.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.unsynced {
            self.file.sync_data()?;
            self.unsynced = false;
        }
        Ok(())
    }

    fn append_snapshot(&mut self, model: &Model, now_ms: u64) -> io::Result<()> {
        // Key order of the reference: `customType` and `data` stand before `id`.
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Line<'a> {
            r#type: &'a str,
            custom_type: &'a str,
            data: Data<'a>,
            id: &'a str,
            parent_id: Option<&'a str>,
            timestamp: String,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Data<'a> {
            timestamp: u64,
            provider: &'a str,
            model_api: &'a str,
            model_id: &'a str,
        }
        let id = ids::new_entry_id();
        let line = serde_json::to_vec(&Line {
            r#type: "custom",
            custom_type: "model-snapshot",
            data: Data { timestamp: now_ms, provider: &model.provider, model_api: &model.api, model_id: &model.model },
            id: &id,
            parent_id: self.leaf.as_deref(),
            timestamp: iso_time(now_ms),
        })?;
        self.write_bytes(line)?;
        self.leaf = Some(id);
        Ok(())
    }

    fn append<B: Serialize>(&mut self, kind: &str, body: B, now_ms: u64) -> io::Result<String> {
        let id = ids::new_entry_id();
        let entry = Entry { kind, id: &id, parent_id: self.leaf.as_deref(), timestamp: iso_time(now_ms), body };
        let line = serde_json::to_vec(&entry)?;
        self.write_bytes(line)?;
        self.leaf = Some(id.clone());
        Ok(id)
    }

    fn write_line(&mut self, line: &impl Serialize) -> io::Result<()> {
        let line = serde_json::to_vec(line)?;
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        if self.torn {
            line.insert(0, b'\n');
        }
        match self.file.write_all(&line) {
            Ok(()) => {
                self.length += line.len() as u64;
                self.unsynced = true;
                self.torn = false;
                Ok(())
            }
            Err(e) => {
                // A full disk may have taken half of the line.
                self.torn |= self.file.set_len(self.length).is_err();
                Err(e)
            }
        }
    }

    /// Leaf id, model and level of an existing transcript, from its end, then from its first lines.
    fn find_state(&mut self) -> io::Result<()> {
        let mut lines = LinesBackward::new(&self.file, self.length, limits::TRANSCRIPT_LINE_BYTES)?;
        let mut seen = 0;
        while let Some(line) = lines.next_line()? {
            let Line::Text(bytes) = line else { continue };
            seen += bytes.len() as u64 + 1;
            if let Some(heading) = heading(&bytes) {
                note(&mut self.leaf, &mut self.model, &mut self.thinking, heading);
            }
            let complete = self.model.is_some() && self.thinking.is_some();
            if self.leaf.is_some() && (complete || seen >= TAIL_BYTES) {
                break;
            }
        }
        if self.model.is_none() || self.thinking.is_none() {
            let mut head = Vec::new();
            let mut file = &self.file;
            file.seek(SeekFrom::Start(0))?;
            file.take(HEAD_BYTES).read_to_end(&mut head)?;
            for heading in head.split(|byte| *byte == b'\n').filter_map(heading) {
                note(&mut Some(String::new()), &mut self.model, &mut self.thinking, heading);
            }
        }
        Ok(())
    }
}

/// Fills what is still unknown.
fn note(leaf: &mut Option<String>, model: &mut Option<Model>, thinking: &mut Option<String>, heading: Heading) {
    if leaf.is_none() && heading.kind != "session" {
        *leaf = heading.id;
    }
    if thinking.is_none() && heading.kind == "thinking_level_change" {
        *thinking = heading.thinking_level;
    }
    if model.is_some() {
        return;
    }
    let (provider, id, api) = match (heading.kind.as_str(), heading.custom_type.as_deref()) {
        ("custom", Some("model-snapshot")) => {
            let data = heading.data.unwrap_or_default();
            (data.provider, data.model_id, data.model_api)
        }
        ("message", _) => match heading.message {
            // Lines that no model wrote say nothing about the model.
            Some(speaker)
                if speaker.role.as_deref() == Some("assistant") && speaker.provider.as_deref() != Some("openclaw") =>
            {
                (speaker.provider, speaker.model, speaker.api)
            }
            _ => return,
        },
        _ => return,
    };
    if let (Some(provider), Some(id), Some(api)) = (provider, id, api) {
        *model = Some(Model { provider, model: id, api });
    }
}

fn heading(line: &[u8]) -> Option<Heading> {
    serde_json::from_slice(line).ok()
}

/// Ends the file with a whole line; returns its length. A last line without newline is kept if it is whole JSON, else cut.
fn mend_tail(file: &mut File, path: &Path) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::Start(length - 1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    let mut lines = LinesBackward::new(file, length, limits::TRANSCRIPT_LINE_BYTES)?;
    let kept = match lines.next_line()? {
        Some(Line::Text(bytes)) if transcript_read::is_entry(&bytes) => {
            file.write_all(b"\n")?;
            return Ok(length + 1);
        }
        Some(Line::Text(bytes)) => length - bytes.len() as u64,
        // Longer than any line of ours: leave it, and go on after it.
        _ => {
            file.write_all(b"\n")?;
            return Ok(length + 1);
        }
    };
    file.set_len(kept)?;
    log::warn!(target: "store", "{}: cut {} bytes of an unfinished last line", path.display(), length - kept);
    Ok(kept)
}

/// Whether `id` may become part of a file name (R23): letters, digits, `-`, `_`, `.`, not first a dot, at most 128.
pub fn valid_session_id(id: &str) -> bool {
    !id.is_empty()
        && id.len() <= 128
        && !id.starts_with('.')
        && !id.contains("..")
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// `<directory of sessions.json>/<session id>.jsonl`; `None` for an id that must not be part of a path.
pub fn transcript_path(sessions_json: &Path, session_id: &str) -> Option<PathBuf> {
    valid_session_id(session_id).then(|| atomic::parent(sessions_json).join(format!("{session_id}.jsonl")))
}

/// Puts a transcript away as `<name>.<why>.2026-11-20T19-56-27.943Z` (`why` = `reset` or `deleted`, agent 1); `None` when there is none.
pub fn archive(path: &Path, why: &str, now_ms: u64) -> io::Result<Option<PathBuf>> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{why}.{}", iso_time(now_ms).replace(':', "-")));
    let archived = PathBuf::from(name);
    match std::fs::rename(path, &archived) {
        Ok(()) => Ok(Some(archived)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// `2026-11-20T19:50:03.733Z`
pub fn iso_time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{time:.3}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::atomic::tests::TempDir;
    use super::super::message::{Assistant, Block};
    use super::*;
    use crate::sys::testing::Random;

    const NOW: u64 = 1_795_204_203_733;
    const ALL: ReadLimits = ReadLimits { messages: usize::MAX, bytes: usize::MAX };

    /// The file's lines with ids replaced by their order of appearance.
    fn shape(path: &Path) -> Vec<String> {
        let mut text = fs::read_to_string(path).unwrap();
        let ids: Vec<String> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["id"].as_str().map(str::to_owned))
            .collect();
        for (n, id) in ids.iter().enumerate() {
            // In its quotes: a short id may stand inside a long one.
            text = text.replace(&format!("{id:?}"), &format!("\"#{n}\""));
        }
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn lines_are_as_recorded() {
        let dir = TempDir::new("transcript");
        let path = dir.join("sessions/abc.jsonl");
        let mut transcript = Transcript::open(&path, "abc", "/w", NOW).unwrap();
        assert!(transcript.append_settings("ant", "claude-x", "anthropic-messages", "off", NOW + 21).unwrap());
        transcript.append_message(&Message::user("[Fri 2026-11-20 19:50 UTC] hi", NOW + 44), NOW + 44).unwrap();
        transcript.sync().unwrap();
        let expected = [
            r##"{"type":"session","version":3,"id":"#0","timestamp":"2026-11-20T19:50:03.733Z","cwd":"/w"}"##,
            r##"{"type":"model_change","id":"#1","parentId":null,"timestamp":"2026-11-20T19:50:03.754Z","provider":"ant","modelId":"claude-x"}"##,
            r##"{"type":"thinking_level_change","id":"#2","parentId":"#1","timestamp":"2026-11-20T19:50:03.754Z","thinkingLevel":"off"}"##,
            r##"{"type":"custom","customType":"model-snapshot","data":{"timestamp":1795204203754,"provider":"ant","modelApi":"anthropic-messages","modelId":"claude-x"},"id":"#3","parentId":"#2","timestamp":"2026-11-20T19:50:03.754Z"}"##,
            r##"{"type":"message","id":"#4","parentId":"#3","timestamp":"2026-11-20T19:50:03.777Z","message":{"role":"user","content":[{"type":"text","text":"[Fri 2026-11-20 19:50 UTC] hi"}],"timestamp":1795204203777}}"##,
        ];
        assert_eq!(shape(&path), expected);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        // The next turn: nothing about the model, the chain goes on.
        let mut transcript = Transcript::open(&path, "abc", "/w", NOW).unwrap();
        assert!(!transcript.append_settings("ant", "claude-x", "anthropic-messages", "off", NOW).unwrap());
        transcript.append_message(&Message::user("again", NOW), NOW).unwrap();
        assert!(shape(&path)[5].contains(r##""id":"#5","parentId":"#4""##));
        assert!(transcript.append_settings("ant", "claude-y", "anthropic-messages", "high", NOW).unwrap());
        assert_eq!(shape(&path).len(), 9);
        assert!(!transcript.append_model("ant", "claude-y", "anthropic-messages", NOW).unwrap());
    }

    #[test]
    fn the_model_is_found_in_long_transcripts() {
        let dir = TempDir::new("transcript-long");
        let path = dir.join("a.jsonl");
        let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
        transcript.append_settings("p", "m1", "api", "low", NOW).unwrap();
        let speaker = Assistant { provider: "p".into(), model: "m2".into(), api: "api".into(), ..Assistant::default() };
        transcript
            .append_message(&Message::assistant(speaker, vec![Block::text("x".repeat(400_000))], NOW), NOW)
            .unwrap();
        let last = transcript.append_message(&Message::injected("note", NOW), NOW).unwrap();
        let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
        assert_eq!(transcript.leaf.as_deref(), Some(&*last));
        assert!(!transcript.append_settings("p", "m2", "api", "low", NOW).unwrap());
    }

    #[test]
    fn whatever_kill_and_power_cut_leave_is_mended() {
        let dir = TempDir::new("transcript-torn");
        let path = dir.join("a.jsonl");
        let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
        transcript.append_message(&Message::user("one", NOW), NOW).unwrap();
        transcript.append_message(&Message::user("two", NOW), NOW).unwrap();
        drop(transcript);
        let whole = fs::read(&path).unwrap();
        let whole_lines: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(n, _)| n).collect();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
            transcript.append_message(&Message::user("next", NOW), NOW).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{cut}: {text}");
            // A line counts once all but its newline is there.
            let expected = whole_lines.iter().filter(|end| **end <= cut).count().max(1) + 1;
            assert_eq!(text.lines().count(), expected, "{cut}");
        }
        // Zeroes behind the last whole line, as a power cut leaves them.
        fs::write(&path, [&whole[..], &[0; 4096]].concat()).unwrap();
        drop(Transcript::open(&path, "a", "/w", NOW).unwrap());
        assert_eq!(fs::read(&path).unwrap(), whole);
        // A file of zeroes only, or an empty one, starts anew.
        for content in [vec![0; 100], Vec::new()] {
            fs::write(&path, content).unwrap();
            drop(Transcript::open(&path, "a", "/w", NOW).unwrap());
            assert_eq!(shape(&path).len(), 1);
        }
    }

    #[test]
    fn ids_that_are_paths_are_refused() {
        let dir = TempDir::new("transcript-ids");
        let sessions = dir.join("sessions.json");
        for (id, valid) in [
            ("76908dd1-e0f1-4422-bd7f-927dae191611", true),
            ("a-topic-12", true),
            ("v1.2_x", true),
            ("", false),
            (".", false),
            ("..", false),
            ("a..b", false),
            (".hidden", false),
            ("a/b", false),
            ("a\\b", false),
            ("a\0", false),
            ("ü", false),
            ("C:x", false),
        ] {
            assert_eq!(valid_session_id(id), valid, "{id}");
            assert_eq!(transcript_path(&sessions, id).is_some(), valid, "{id}");
            assert_eq!(Transcript::open(&dir.join("t.jsonl"), id, "/", 0).is_ok(), valid, "{id}");
        }
        assert!(!valid_session_id(&"a".repeat(129)));
        assert_eq!(transcript_path(&sessions, "x").unwrap(), dir.join("x.jsonl"));
    }

    #[test]
    fn old_transcripts_are_put_away() {
        let dir = TempDir::new("transcript-archive");
        let path = dir.join("a.jsonl");
        assert_eq!(archive(&path, "reset", NOW).unwrap(), None);
        fs::write(&path, "x").unwrap();
        let away = archive(&path, "reset", NOW).unwrap().unwrap();
        assert_eq!(away, dir.join("a.jsonl.reset.2026-11-20T19-50-03.733Z"));
        assert!(away.exists() && !path.exists());
    }

    #[cfg(unix)]
    #[test]
    fn the_references_lock_is_honoured() {
        let dir = TempDir::new("transcript-lock");
        let path = dir.join("a.jsonl");
        let parent = std::os::unix::process::parent_id();
        fs::write(dir.join("a.jsonl.lock"), format!("{{\"pid\":{parent},\"createdAt\":\"x\"}}")).unwrap();
        let refused = Transcript::open(&path, "a", "/", 0).map(|_| ()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        fs::write(dir.join("a.jsonl.lock"), "{\"pid\":4194999}").unwrap();
        Transcript::open(&path, "a", "/", 0).unwrap();
    }

    #[test]
    fn mutated_transcripts_open_and_go_on() {
        let dir = TempDir::new("transcript-mutated");
        let path = dir.join("a.jsonl");
        let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
        transcript.append_settings("p", "m", "api", "low", NOW).unwrap();
        transcript.append_message(&Message::user("one", NOW), NOW).unwrap();
        drop(transcript);
        let original = fs::read(&path).unwrap();
        let mut random = Random(9);
        for _ in 0..500 {
            fs::write(&path, random.mutated(&original)).unwrap();
            let mut transcript = Transcript::open(&path, "a", "/w", NOW).unwrap();
            transcript.append_message(&Message::user("last words", NOW), NOW).unwrap();
            let read = read_messages(&path, ALL).unwrap();
            assert_eq!(read.last().unwrap().message.text(), "last words");
        }
    }
}
