//! System events that wait for the next turn of their session (DECISIONS 46). A leaf lock for a few lines.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::limits;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemEvent {
    pub text: String,
    pub at_ms: u64,
}

#[derive(Default)]
pub struct SystemEvents {
    queues: Mutex<HashMap<String, VecDeque<SystemEvent>>>,
}

impl SystemEvents {
    /// Queues a text; an immediate repeat is dropped, and the oldest when there are too many.
    pub fn push(&self, session_key: &str, text: &str, at_ms: u64) {
        let text = text.trim();
        let mut queues = self.queues.lock();
        let queue = queues.entry(session_key.to_owned()).or_default();
        if text.is_empty() || queue.back().is_some_and(|last| last.text == text) {
            return;
        }
        if queue.len() == limits::SYSTEM_EVENTS_PER_SESSION {
            queue.pop_front();
        }
        queue.push_back(SystemEvent { text: text.to_owned(), at_ms });
    }

    /// Takes what waits for a session.
    pub fn take(&self, session_key: &str) -> Vec<SystemEvent> {
        self.queues.lock().remove(session_key).map(Vec::from).unwrap_or_default()
    }

    /// Texts that wait for a session, for `status.queuedSystemEvents`.
    pub fn texts(&self, session_key: &str) -> Vec<String> {
        let queues = self.queues.lock();
        queues.get(session_key).map(|q| q.iter().map(|e| e.text.clone()).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_at_most_and_no_immediate_repeat() {
        let events = SystemEvents::default();
        for n in 0..30 {
            events.push("s", &format!("event {n}"), n);
            events.push("s", &format!(" event {n} "), n);
        }
        events.push("s", "  ", 99);
        assert_eq!(events.texts("s").len(), 20);
        let taken = events.take("s");
        assert_eq!((taken[0].text.as_str(), taken[19].at_ms), ("event 10", 29));
        assert!(events.take("s").is_empty() && events.texts("other").is_empty());
    }
}
