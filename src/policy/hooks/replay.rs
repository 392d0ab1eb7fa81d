//! The same request again within five minutes is the same turn (http 6). A leaf lock for a few lines; no clock of its
//! own.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::limits;

#[derive(Default)]
pub struct Replays {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    runs: HashMap<String, String>,
    /// When each began, oldest first.
    order: VecDeque<(u64, String)>,
}

impl Replays {
    /// The turn that this request began already, or None: then it is `run_id` from now on. `now_ms` is a monotonic clock.
    pub fn seen(&self, key: &str, run_id: &str, now_ms: u64) -> Option<String> {
        let mut known = self.known.lock();
        let Known { runs, order } = &mut *known;
        let ttl = limits::HOOK_REPLAY_TTL.as_millis() as u64;
        while order.front().is_some_and(|(at, _)| at + ttl <= now_ms) {
            order.pop_front().map(|(_, old)| runs.remove(&old));
        }
        if let Some(run) = runs.get(key) {
            return Some(run.clone());
        }
        if order.len() >= limits::HOOK_REPLAYS {
            order.pop_front().map(|(_, old)| runs.remove(&old));
        }
        runs.insert(key.to_owned(), run_id.to_owned());
        order.push_back((now_ms, key.to_owned()));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_and_a_thousand() {
        let replays = Replays::default();
        assert_eq!(replays.seen("k", "one", 0), None);
        assert_eq!(replays.seen("k", "two", 299_999).as_deref(), Some("one"));
        assert_eq!(replays.seen("k", "three", 300_000), None);
        for n in 0..limits::HOOK_REPLAYS {
            assert_eq!(replays.seen(&n.to_string(), "r", 300_001), None);
        }
        assert_eq!(replays.seen("1", "x", 300_002).as_deref(), Some("r"));
        assert_eq!(replays.seen("k", "four", 300_002), None, "the oldest made room");
        assert!(replays.known.lock().runs.len() <= limits::HOOK_REPLAYS);
    }
}
