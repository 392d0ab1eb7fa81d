//! One session's transcript, JSON lines as the reference writes them (agent 2).

use std::io;
use std::path::{Path, PathBuf};

use super::message::Message;

/// A transcript open for appending. Owned by the run that writes it.
pub struct Transcript {
    path: PathBuf,
}

/// A message with the id of its line.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    pub id: String,
    pub message: Message,
}

/// What a model is to see again of a session.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Of the last compaction; goes before the messages as a user message.
    pub summary: Option<String>,
    pub messages: Vec<Message>,
}

/// Bounds of one reading; the newest messages are the ones that are kept.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimits {
    pub messages: usize,
    /// Sum of the lines' lengths.
    pub bytes: usize,
}

impl Transcript {
    /// Opens or creates (0600, with the session line). Cuts a torn last line. Fails with `ResourceBusy` while another living process holds its lock.
    pub fn open(path: &Path, session_id: &str, cwd: &str, now_ms: u64) -> io::Result<Transcript> {
        let _ = (session_id, cwd, now_ms);
        Ok(Transcript { path: path.to_owned() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `model_change` and model-snapshot lines, only when provider, model or api differ from the last ones. Returns whether they were written.
    pub fn append_model(&mut self, provider: &str, model: &str, api: &str, now_ms: u64) -> io::Result<bool> {
        let _ = (provider, model, api, now_ms);
        Ok(false)
    }

    /// `thinking_level_change`, only when the level differs from the last one.
    pub fn append_thinking(&mut self, level: &str, now_ms: u64) -> io::Result<bool> {
        let _ = (level, now_ms);
        Ok(false)
    }

    /// Appends one line with one write; returns its id.
    pub fn append_message(&mut self, message: &Message, now_ms: u64) -> io::Result<String> {
        let _ = (message, now_ms);
        Ok(String::new())
    }

    /// One fdatasync, at the end of a turn.
    pub fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The newest messages, oldest of them first. Missing file: none.
pub fn read_messages(path: &Path, limits: ReadLimits) -> io::Result<Vec<StoredMessage>> {
    let _ = (path, limits);
    Ok(Vec::new())
}

/// The messages since the last compaction, with its summary.
pub fn read_context(path: &Path, limits: ReadLimits) -> io::Result<Context> {
    let _ = (path, limits);
    Ok(Context::default())
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
    valid_session_id(session_id).then(|| super::atomic::parent(sessions_json).join(format!("{session_id}.jsonl")))
}

/// `2026-11-20T19:50:03.733Z`
pub fn iso_time(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => "1970-01-01T00:00:00.000Z".to_owned(),
    }
}

/// `[Fri 2026-11-20 21:08 UTC] text`, as user texts are stored (DECISIONS 57).
pub fn with_time_prefix(text: &str, now_ms: u64) -> String {
    let _ = now_ms;
    text.to_owned()
}

/// A stored user text as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserText<'a> {
    pub text: &'a str,
    /// From the reference's `Sender (untrusted metadata):` block.
    pub sender_label: Option<String>,
}

/// Takes the time prefix and the reference's sender block off again.
pub fn strip_prefixes(stored: &str) -> UserText<'_> {
    UserText { text: stored, sender_label: None }
}
