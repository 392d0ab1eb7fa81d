//! What `previous_response_id` leads to (http 4.1): the session of that response, or, where nothing was kept on disk, the
//! conversation up to it. In memory only, bounded in time, number and bytes; one leaf lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use crate::agent::models::wire::{AssistantPart, Message, UserPart};
use crate::limits::{RESPONSES_ENTRIES, RESPONSES_TTL, RESPONSES_TURN_BYTES, RESPONSES_TURNS};
use crate::server::http::openai::request::IMAGE_LEFT_OUT;
use crate::sys::memory;

/// Of an entry, and of every message of it.
const OVERHEAD: usize = 200;

/// Who may go on with a response: the same caller with the same agent and session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Name given by a proxy; None for whoever holds the gateway's secret.
    pub user: Option<String>,
    pub agent: String,
    /// Value of `x-openclaw-session-key`.
    pub session: Option<String>,
}

/// How a response is gone on with.
#[derive(Clone, Debug)]
pub enum Kept {
    /// Key of its session.
    Session(Arc<str>),
    /// Nothing was written: the conversation, oldest turn first.
    Turns(Vec<Arc<Turn>>),
}

/// What one request and its answer added to a conversation.
#[derive(Debug)]
pub struct Turn {
    pub messages: Vec<Message>,
    /// What files said, for the system prompt.
    pub files: Option<String>,
    size: usize,
    /// Of all turns that anything still points to.
    held: Arc<AtomicUsize>,
}

pub struct Past {
    table: Mutex<VecDeque<Entry>>,
    held: Arc<AtomicUsize>,
    most: usize,
}

struct Entry {
    id: Arc<str>,
    at: Instant,
    scope: Scope,
    kept: Kept,
}

impl Default for Past {
    fn default() -> Self {
        Past::holding(memory::responses_bytes())
    }
}

impl Past {
    fn holding(most: usize) -> Past {
        Past { table: Mutex::default(), held: Arc::default(), most }
    }

    /// None: unknown, forgotten, or somebody else's.
    pub fn get(&self, id: &str, scope: &Scope) -> Option<Kept> {
        let mut table = self.table.lock();
        self.prune(&mut table, Instant::now());
        table.iter().find(|entry| *entry.id == *id && entry.scope == *scope).map(|entry| entry.kept.clone())
    }

    pub fn put(&self, id: &Arc<str>, scope: Scope, kept: Kept) {
        let now = Instant::now();
        let mut table = self.table.lock();
        table.retain(|entry| entry.id != *id);
        self.held.fetch_add(list_size(&kept), Ordering::Relaxed);
        table.push_back(Entry { id: id.clone(), at: now, scope, kept });
        self.prune(&mut table, now);
    }

    /// The conversation with one more turn.
    pub fn with_turn(&self, mut turns: Vec<Arc<Turn>>, messages: Vec<Message>, files: Option<String>) -> Kept {
        let size = OVERHEAD + messages.iter().map(size).sum::<usize>() + files.as_ref().map_or(0, String::len);
        self.held.fetch_add(size, Ordering::Relaxed);
        turns.push(Arc::new(Turn { messages, files, size, held: self.held.clone() }));
        turns.drain(..turns.len().saturating_sub(RESPONSES_TURNS));
        Kept::Turns(turns)
    }

    /// A turn is freed with the last entry that needs it, so the oldest go until it fits.
    fn prune(&self, table: &mut VecDeque<Entry>, now: Instant) {
        while let Some(oldest) = table.front() {
            let full = self.held.load(Ordering::Relaxed) > self.most || table.len() > RESPONSES_ENTRIES;
            if !full && now.duration_since(oldest.at) < RESPONSES_TTL {
                return;
            }
            self.held.fetch_sub(list_size(&oldest.kept), Ordering::Relaxed);
            table.pop_front();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held.fetch_sub(self.size, Ordering::Relaxed);
    }
}

fn list_size(kept: &Kept) -> usize {
    OVERHEAD
        + match kept {
            Kept::Session(key) => key.len(),
            Kept::Turns(turns) => turns.len() * size_of::<Arc<Turn>>(),
        }
}

fn size(message: &Message) -> usize {
    OVERHEAD
        + match message {
            Message::User(parts) => parts
                .iter()
                .map(|part| match part {
                    UserPart::Text(text) => text.len(),
                    UserPart::Image { data, .. } => data.len(),
                })
                .sum::<usize>(),
            Message::Assistant(parts) => parts
                .iter()
                .map(|part| match part {
                    AssistantPart::Text(text) | AssistantPart::Thinking { text, .. } => text.len(),
                    // Parsed JSON takes a multiple of its text.
                    AssistantPart::ToolCall(call) => call.name.len() + 4 * call.arguments.to_string().len(),
                })
                .sum(),
            Message::ToolResult { text, .. } => text.len(),
        }
}

/// Leaves the pictures out where a turn would be too large with them.
pub fn without_too_much(mut messages: Vec<Message>) -> Vec<Message> {
    if messages.iter().map(size).sum::<usize>() > RESPONSES_TURN_BYTES {
        messages.iter_mut().for_each(drop_images);
    }
    messages
}

fn drop_images(message: &mut Message) {
    if let Message::User(parts) = message {
        for part in parts.iter_mut().filter(|part| matches!(part, UserPart::Image { .. })) {
            *part = UserPart::Text(IMAGE_LEFT_OUT.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope { user: None, agent: "main".into(), session: None }
    }

    fn said(bytes: usize) -> Vec<Message> {
        vec![Message::User(vec![UserPart::Text("x".repeat(bytes))])]
    }

    fn turns(kept: Option<Kept>) -> Vec<Arc<Turn>> {
        match kept {
            Some(Kept::Turns(turns)) => turns,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_the_same_caller_goes_on() {
        let past = Past::holding(1 << 20);
        past.put(&"r".into(), scope(), Kept::Session("agent:main:s".into()));
        assert!(matches!(past.get("r", &scope()), Some(Kept::Session(key)) if &*key == "agent:main:s"));
        for other in [
            Scope { user: Some("bob".into()), ..scope() },
            Scope { agent: "beta".into(), ..scope() },
            Scope { session: Some("agent:main:s".into()), ..scope() },
        ] {
            assert!(past.get("r", &other).is_none(), "{other:?}");
        }
        assert!(past.get("q", &scope()).is_none());
    }

    #[test]
    fn conversations_branch_and_share_what_they_have_in_common() {
        let past = Past::holding(1 << 20);
        past.put(&"a".into(), scope(), past.with_turn(Vec::new(), said(1000), None));
        for id in ["b", "c"] {
            let before = turns(past.get("a", &scope()));
            past.put(&id.into(), scope(), past.with_turn(before, said(10), Some("file".into())));
        }
        let (b, c) = (turns(past.get("b", &scope())), turns(past.get("c", &scope())));
        assert!(b.len() == 2 && Arc::ptr_eq(&b[0], &c[0]) && !Arc::ptr_eq(&b[1], &c[1]));
        assert_eq!(b[1].files.as_deref(), Some("file"));
        let held = past.held.load(Ordering::Relaxed);
        assert!((1000..4000).contains(&held), "{held}");
    }

    #[test]
    fn the_oldest_make_room_and_what_is_left_is_counted_right() {
        let past = Past::holding(100_000);
        let mut last = Vec::new();
        for n in 0..RESPONSES_ENTRIES + 100 {
            let kept = past.with_turn(last, said(1000), None);
            past.put(&n.to_string().into(), scope(), kept);
            // A long conversation of which each response holds all turns.
            last = past.get(&n.to_string(), &scope()).map_or(Vec::new(), |kept| turns(Some(kept)));
            assert!(past.held.load(Ordering::Relaxed) <= 100_000);
        }
        drop(last);
        for n in 0..RESPONSES_ENTRIES + 1 {
            past.put(&format!("s{n}").into(), scope(), Kept::Session("k".into()));
        }
        let mut table = past.table.lock();
        assert!(table.len() <= RESPONSES_ENTRIES);
        past.prune(&mut table, Instant::now() + RESPONSES_TTL);
        assert_eq!((table.len(), past.held.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn pictures_that_are_too_large_are_left_out() {
        let past = Past::holding(usize::MAX);
        let image = |bytes: usize| {
            vec![Message::User(vec![UserPart::Image { mime: "image/png".into(), data: "x".repeat(bytes) }])]
        };
        for (bytes, kept) in [(10, true), (RESPONSES_TURN_BYTES, false)] {
            let turn = turns(Some(past.with_turn(Vec::new(), without_too_much(image(bytes)), None)));
            let Message::User(parts) = &turn[0].messages[0] else { panic!("{turn:?}") };
            assert_eq!(matches!(parts[0], UserPart::Image { .. }), kept, "{bytes}");
        }
    }
}
