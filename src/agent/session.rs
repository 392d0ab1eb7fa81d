//! The session of a turn: found or begun, reset on request, and what its entry says afterwards (agent 1 and 2,
//! DECISIONS 67–69). Runs on the thread of a run.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::keys::Route;
use super::models::wire::Usage;
use crate::config::{Config, Paths};
use crate::store::transcript::{archive, transcript_path};
use crate::store::{Entry, NewEntry, Sessions, sessions};

/// Who talks: decides what a new entry says about its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `agent`
    Agent,
    /// `chat.send`
    Chat,
}

/// A session that is ready for a turn.
#[derive(Clone, Debug)]
pub struct Opened {
    pub entry: Arc<Entry>,
    /// None: nothing of it is kept.
    pub transcript: Option<PathBuf>,
}

impl Opened {
    /// The session of one turn, of which nothing stays.
    pub fn ephemeral(route: &Route) -> Opened {
        let entry = Entry {
            key: route.key.as_str().into(),
            agent: route.agent.as_str().into(),
            session_id: crate::ids::new_uuid(),
            ..Entry::default()
        };
        Opened { entry: Arc::new(entry), transcript: None }
    }
}

/// Where the files of an agent's sessions lie.
pub fn store_file(config: &Config, paths: &Paths, agent: &str) -> PathBuf {
    sessions::store_path(&paths.state_dir, Some(&paths.home), config.session.store.as_deref(), agent)
}

/// The transcript of an entry; None when its id must not be part of a path.
pub fn transcript_of(config: &Config, paths: &Paths, entry: &Entry) -> Option<PathBuf> {
    transcript_path(&store_file(config, paths, &entry.agent), &entry.session_id)
}

/// Where `auth-profiles.json` of an agent lies.
pub fn agent_dir(config: &Config, paths: &Paths, agent: &str) -> PathBuf {
    match config.agents.get(agent).and_then(|a| a.agent_dir.as_deref()).filter(|dir| !dir.trim().is_empty()) {
        Some(dir) => paths.expand(dir),
        None => paths.state_dir.join("agents").join(agent).join("agent"),
    }
}

/// The session of `route`, begun when there is none, or begun anew after `/new` and `/reset`: then its old transcript
/// is put aside as `<id>.jsonl.reset.<time>`.
pub fn open(
    sessions: &Sessions,
    config: &Config,
    paths: &Paths,
    route: &Route,
    source: Source,
    reset: bool,
    now_ms: u64,
) -> io::Result<Opened> {
    let old = sessions.get(&route.key);
    if let Some(entry) = old.as_ref().filter(|entry| !reset && !entry.session_id.is_empty())
        && let Some(transcript) = transcript_of(config, paths, entry)
    {
        return Ok(Opened { entry: entry.clone(), transcript: Some(transcript) });
    }
    let session_id = route.session_id.clone().filter(|_| !reset).unwrap_or_else(crate::ids::new_uuid);
    let file = store_file(config, paths, &route.agent);
    let transcript = transcript_path(&file, &session_id)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the session id cannot name a file"))?;
    let new = new_entry(session_id, &transcript, source, reset && old.is_some());
    let entry = sessions.begin(&route.agent, &route.key, now_ms, new)?;
    if let Some(old) = old.filter(|_| reset).and_then(|old| transcript_of(config, paths, &old))
        && let Err(e) = archive(&old, "reset", now_ms)
    {
        log::warn!("session reset: {} stays where it is: {e}", old.display());
    }
    Ok(Opened { entry, transcript: Some(transcript) })
}

fn new_entry(session_id: String, transcript: &Path, source: Source, keep_levels: bool) -> NewEntry {
    let webchat = source == Source::Chat;
    let object = |value: Value| match value {
        Value::Object(map) if webchat => Some(map),
        _ => None::<Map<String, Value>>,
    };
    NewEntry {
        session_id,
        session_file: transcript.display().to_string(),
        chat_type: Some("direct".into()),
        delivery_context: object(json!({"channel": "webchat"})),
        last_channel: webchat.then(|| "webchat".into()),
        origin: object(json!({"provider": "webchat", "surface": "webchat", "chatType": "direct"})),
        keep_levels,
        ..NewEntry::default()
    }
}

/// What a turn changes in its entry.
#[derive(Clone, Debug, Default)]
pub struct Outcome<'a> {
    pub provider: &'a str,
    pub model: &'a str,
    pub context_tokens: u64,
    /// Whole run and last call; None after a failure, which leaves the numbers as they were.
    pub usage: Option<(Usage, Usage)>,
}

/// Writes the entry's counters; *soon* on disk.
pub fn record(sessions: &Sessions, key: &str, now_ms: u64, outcome: &Outcome<'_>) {
    sessions.update(key, &mut |entry| {
        entry.updated_at = now_ms;
        entry.system_sent = Some(true);
        entry.aborted_last_run = Some(false);
        entry.model_provider = Some(outcome.provider.to_owned());
        entry.model = Some(outcome.model.to_owned());
        entry.context_tokens = Some(outcome.context_tokens);
        let Some((all, last)) = outcome.usage else { return };
        entry.input_tokens = Some(all.input);
        entry.output_tokens = Some(all.output);
        entry.cache_read = Some(all.cache_read);
        entry.cache_write = Some(all.cache_write);
        // A provider that counts nothing says nothing about the size of the prompt.
        let counted = last.prompt() > 0;
        if counted {
            entry.total_tokens = Some(last.prompt());
        }
        entry.total_tokens_fresh = Some(counted);
    });
}

/// The entry of a run that was aborted.
pub fn record_abort(sessions: &Sessions, key: &str, now_ms: u64) {
    sessions.update(key, &mut |entry| {
        entry.updated_at = now_ms;
        entry.aborted_last_run = Some(true);
    });
}
