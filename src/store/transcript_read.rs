//! Reading transcripts, newest line first: what a model is to see again, and what people are shown.
//!
//! Any thread. Memory is bounded by the caller's limits, whatever the file holds. Bad lines are skipped with one log line per
//! reading; entry types that we do not know are ignored (DECISIONS 68).

use std::collections::HashSet;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::atomic;
use super::lines::{Line, LinesBackward};
use super::message::Message;
use crate::limits;

/// A message with the id of its line.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredMessage {
    pub id: String,
    pub message: Message,
}

/// What a model is to see again of a session.
#[derive(Clone, Debug, Default, PartialEq)]
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parent_id: Option<String>,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(default)]
    summary: Option<String>,
    #[serde(default)]
    first_kept_entry_id: Option<String>,
}

/// One entry on the way back: its place in the tree, and its message if it is one.
struct Step {
    id: String,
    parent: Option<String>,
    message: Option<Message>,
}

/// The newest messages, oldest of them first. Missing file: none.
pub fn read_messages(path: &Path, limits: ReadLimits) -> io::Result<Vec<StoredMessage>> {
    let mut found = Vec::new();
    walk_back(path, limits, |entry, message| {
        if let Some(message) = message {
            found.push(StoredMessage { id: entry.id.unwrap_or_default(), message });
        }
        Walk::On
    })?;
    found.reverse();
    Ok(found)
}

/// The messages since the last compaction, with its summary; branches that were left are left out.
pub fn read_context(path: &Path, limits: ReadLimits) -> io::Result<Context> {
    let mut steps: Vec<Step> = Vec::new();
    let mut summary = None;
    // After a compaction: the entry where the kept part begins, and how many steps there were before looking for it.
    let mut kept_from: Option<(String, usize)> = None;
    let mut reached = false;
    let at_start = walk_back(path, limits, |entry, message| {
        let id = entry.id.unwrap_or_default();
        reached = kept_from.as_ref().is_some_and(|(first, _)| *first == id);
        if entry.kind == "compaction" && summary.is_none() && kept_from.is_none() {
            summary = entry.summary;
            kept_from = Some((entry.first_kept_entry_id.unwrap_or_default(), steps.len()));
        }
        steps.push(Step { id, parent: entry.parent_id, message });
        if reached { Walk::Stop } else { Walk::On }
    })?;
    if let Some((_, before)) = kept_from
        && !reached
        && at_start
    {
        steps.truncate(before);
    }
    Ok(Context { summary, messages: follow_parents(steps) })
}

/// Whether this line, without newline, is a whole entry.
pub(super) fn is_entry(line: &[u8]) -> bool {
    serde_json::from_slice::<Entry<'_>>(line).is_ok()
}

/// Message and parsed line of one line of a transcript; `Err` for a bad line, `Ok(None)` for one that is none of ours.
fn parse_line(line: &[u8]) -> Result<(Entry<'_>, Option<Message>), ()> {
    let entry: Entry<'_> = serde_json::from_slice(line).map_err(|_| ())?;
    let message = match (entry.kind.as_str(), entry.message) {
        ("message", Some(raw)) => serde_json::from_str::<Value>(raw.get()).ok().and_then(Message::from_value),
        _ => None,
    };
    Ok((entry, message))
}

/// What an entry that is not a message counts against the limit in bytes.
const STEP_BYTES: usize = 64;

enum Walk {
    On,
    Stop,
}

/// Returns whether the start of the file was reached.
fn walk_back(
    path: &Path,
    limits: ReadLimits,
    mut visit: impl FnMut(Entry<'_>, Option<Message>) -> Walk,
) -> io::Result<bool> {
    let file = match atomic::open_plain(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    let mut lines = LinesBackward::new(&file, file.metadata()?.len(), limits::TRANSCRIPT_LINE_BYTES)?;
    let (mut messages, mut bytes, mut bad, mut at_start) = (0, 0, 0, false);
    while messages < limits.messages && bytes < limits.bytes {
        let Some(line) = lines.next_line()? else {
            at_start = true;
            break;
        };
        let Line::Text(line) = line else {
            bad += 1;
            continue;
        };
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let Ok((entry, message)) = parse_line(&line) else {
            bad += 1;
            continue;
        };
        if message.is_some() {
            // The newest message is shown however long it is.
            if messages > 0 && bytes + line.len() > limits.bytes {
                break;
            }
            messages += 1;
            bytes += line.len();
        } else {
            bytes += STEP_BYTES;
        }
        if matches!(visit(entry, message), Walk::Stop) {
            break;
        }
    }
    if bad > 0 {
        log::warn!(target: "store", "{}: skipped {bad} unreadable lines", path.display());
    }
    Ok(at_start)
}

/// From the newest step along the parents. Where a parent is missing (a bad line), the next older step is taken for it.
fn follow_parents(steps: Vec<Step>) -> Vec<Message> {
    let known: HashSet<String> = steps.iter().map(|step| step.id.clone()).collect();
    let mut wanted: Option<String> = None;
    let mut messages = Vec::new();
    for step in steps {
        if wanted.as_ref().is_some_and(|wanted| *wanted != step.id && known.contains(wanted)) {
            continue;
        }
        messages.extend(step.message);
        match step.parent {
            Some(parent) => wanted = Some(parent),
            // Files of early versions have no ids: every line follows the one before.
            None if step.id.is_empty() => wanted = None,
            None => break,
        }
    }
    messages.reverse();
    messages
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::atomic::tests::TempDir;
    use super::*;
    use crate::sys::testing::Random;

    const ALL: ReadLimits = ReadLimits { messages: usize::MAX, bytes: usize::MAX };

    fn message(id: &str, parent: &str, role: &str, text: &str) -> String {
        let parent = if parent.is_empty() { "null".to_owned() } else { format!("\"{parent}\"") };
        format!(
            r#"{{"type":"message","id":"{id}","parentId":{parent},"timestamp":"t","message":{{"role":"{role}","content":[{{"type":"text","text":"{text}"}}],"timestamp":1}}}}"#
        )
    }

    fn texts(messages: &[Message]) -> String {
        messages.iter().map(Message::text).collect::<Vec<_>>().join(" ")
    }

    fn file(dir: &TempDir, lines: &[&str]) -> std::path::PathBuf {
        let path = dir.join("s.jsonl");
        fs::write(&path, lines.join("\n") + "\n").unwrap();
        path
    }

    const SESSION: &str = r#"{"type":"session","version":3,"id":"s","timestamp":"t","cwd":"/w"}"#;

    #[test]
    fn context_follows_compactions_and_branches() {
        let dir = TempDir::new("read-context");
        let (a, b) = (message("a", "", "user", "a"), message("b", "a", "assistant", "b"));
        let (c, d) = (message("c", "b", "user", "c"), message("d", "x", "assistant", "d"));
        let compaction = r#"{"type":"compaction","id":"x","parentId":"c","timestamp":"t","summary":"sum","firstKeptEntryId":"b","tokensBefore":5}"#;
        let lost = compaction.replace("\"b\"", "\"gone\"");
        let left = message("l", "b", "user", "left");
        let no_ids = r#"{"type":"message","message":{"role":"user","content":"old"}}"#;
        let unknown = r#"{"type":"label","id":"n","parentId":"c","label":"x"}"#;
        let after_unknown = message("e", "n", "assistant", "e");
        for (lines, summary, expected) in [
            (vec![SESSION], None, ""),
            (vec![SESSION, &a, &b, &c], None, "a b c"),
            (vec![SESSION, &a, &b, &c, compaction, &d], Some("sum"), "b c d"),
            (vec![SESSION, &a, &b, &c, &lost, &d], Some("sum"), "d"),
            (vec![SESSION, &a, &b, &left, &c], None, "a b c"),
            (vec![SESSION, &a, "{torn", &c], None, "a c"),
            (vec![no_ids, no_ids], None, "old old"),
            (vec![SESSION, &a, &b, &c, unknown, &after_unknown], None, "a b c e"),
        ] {
            let context = read_context(&file(&dir, &lines), ALL).unwrap();
            assert_eq!((context.summary.as_deref(), &*texts(&context.messages)), (summary, expected), "{lines:?}");
        }
        assert_eq!(read_context(&dir.join("missing"), ALL).unwrap(), Context::default());
    }

    #[test]
    fn limits_keep_the_newest() {
        let dir = TempDir::new("read-limits");
        let lines: Vec<String> = (0..50).map(|n| message(&format!("m{n}"), "", "user", &n.to_string())).collect();
        let path = file(&dir, &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let read = |messages, bytes| {
            let found = read_messages(&path, ReadLimits { messages, bytes }).unwrap();
            found.iter().map(|m| m.message.text()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read(3, usize::MAX), "47 48 49");
        assert_eq!(read(usize::MAX, 2 * lines[49].len()), "48 49");
        assert_eq!(read(usize::MAX, 1), "49", "the newest is read however long it is");
        assert_eq!(read(0, 0), "");
        assert_eq!(read_messages(&path, ALL).unwrap()[7].id, "m7");
    }

    #[test]
    fn mutated_transcripts_never_panic() {
        let dir = TempDir::new("read-mutated");
        let a = message("a", "", "user", "a");
        let b = r#"{"type":"message","id":"b","parentId":"a","timestamp":"t","message":{"role":"assistant","content":[{"type":"toolCall","id":"t","name":"exec","arguments":{"x":[1]}}],"api":"p","usage":{"input":1,"cost":{"total":0.5}},"stopReason":"toolUse","timestamp":2}}"#;
        let original = [SESSION, &a, b, &a].join("\n");
        let mut random = Random(5);
        let path = dir.join("m.jsonl");
        for _ in 0..1000 {
            fs::write(&path, random.mutated(original.as_bytes())).unwrap();
            read_context(&path, ALL).unwrap();
            assert!(read_messages(&path, ReadLimits { messages: 2, bytes: 4096 }).unwrap().len() <= 2);
        }
    }
}
