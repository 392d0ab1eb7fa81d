//! Repeated requests get the answer of the first one (protocol 7). Owned by the `runs` thread; bounded in number, in
//! bytes and in time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::hub::run_events::Answer;
use crate::limits::{DEDUPE_BYTES, DEDUPE_ENTRIES, DEDUPE_TTL};

/// Which method a key belongs to: the same key means different things to both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Agent,
    Chat,
    /// The HTTP APIs; their answers are not kept.
    Ask,
}

/// What is known about a request.
#[derive(Clone, Debug)]
pub enum Known {
    /// It runs; `agent` repeats this payload.
    Accepted(Value),
    Over(Answer),
}

#[derive(Default)]
pub struct Dedupe {
    entries: HashMap<(Method, String), Entry>,
    /// Keys by age; a key that was forgotten and came back stands here twice, told apart by its number.
    ages: VecDeque<(u64, Method, String)>,
    next: u64,
    bytes: usize,
}

struct Entry {
    number: u64,
    at: Instant,
    known: Known,
    bytes: usize,
}

impl Dedupe {
    pub fn get(&mut self, method: Method, key: &str, now: Instant) -> Option<&Known> {
        self.prune(now);
        self.entries.get(&(method, key.to_owned())).map(|e| &e.known)
    }

    pub fn accept(&mut self, method: Method, key: &str, payload: Value, now: Instant) {
        self.put(method, key, Known::Accepted(payload), now);
    }

    /// The end of a run, for whichever method waits for it: an answer that the other one gave before stays. The five
    /// minutes begin anew.
    pub fn finish(&mut self, key: &str, answer: &Answer, now: Instant) {
        for method in [Method::Agent, Method::Chat] {
            let known = self.entries.get(&(method, key.to_owned())).map(|e| &e.known);
            if matches!(known, Some(Known::Accepted(_))) {
                self.put(method, key, Known::Over(answer.clone()), now);
            }
        }
    }

    /// What has failed may be tried again.
    pub fn forget(&mut self, method: Method, key: &str) {
        if let Some(gone) = self.entries.remove(&(method, key.to_owned())) {
            self.bytes -= gone.bytes;
        }
    }

    pub fn refuse(&mut self, method: Method, key: &str, answer: Answer, now: Instant) {
        self.put(method, key, Known::Over(answer), now);
    }

    /// When the oldest entry expires.
    pub fn next_expiry(&self) -> Option<Instant> {
        let (number, method, key) = self.ages.front()?;
        let entry = self.entries.get(&(*method, key.clone())).filter(|e| e.number == *number);
        Some(entry.map_or_else(Instant::now, |e| e.at + DEDUPE_TTL) + Duration::from_secs(1))
    }

    pub fn prune(&mut self, now: Instant) {
        while let Some((number, method, key)) = self.ages.front() {
            let id = (*method, key.clone());
            let live = self.entries.get(&id).filter(|e| e.number == *number);
            let stays = live.is_some_and(|e| {
                now.duration_since(e.at) < DEDUPE_TTL
                    && self.entries.len() <= DEDUPE_ENTRIES
                    && self.bytes <= DEDUPE_BYTES
            });
            if stays {
                return;
            }
            if live.is_some()
                && let Some(gone) = self.entries.remove(&id)
            {
                self.bytes -= gone.bytes;
            }
            self.ages.pop_front();
        }
    }

    fn put(&mut self, method: Method, key: &str, known: Known, now: Instant) {
        let bytes = key.len() + size(&known);
        let number = self.next;
        self.next += 1;
        let entry = Entry { number, at: now, known, bytes };
        if let Some(old) = self.entries.insert((method, key.to_owned()), entry) {
            self.bytes -= old.bytes;
        }
        self.bytes += bytes;
        self.ages.push_back((number, method, key.to_owned()));
        self.prune(now);
    }
}

/// About as many bytes as an answer occupies.
fn size(known: &Known) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len() + 24,
            Value::Array(items) => items.iter().map(of).sum::<usize>() + 24,
            Value::Object(map) => map.iter().map(|(k, v)| k.len() + 48 + of(v)).sum(),
            _ => 24,
        }
    }
    match known {
        Known::Accepted(payload) | Known::Over(Answer::Ok(payload)) => of(payload),
        Known::Over(Answer::Err { error, payload }) => error.message.len() + of(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_entry_lives_five_minutes_from_its_end() {
        let mut dedupe = Dedupe::default();
        let start = Instant::now();
        dedupe.accept(Method::Agent, "k", json!(1), start);
        assert!(matches!(dedupe.get(Method::Agent, "k", start), Some(Known::Accepted(_))));
        assert!(dedupe.get(Method::Chat, "k", start).is_none());
        let later = start + DEDUPE_TTL - Duration::from_secs(1);
        dedupe.finish("k", &Answer::Ok(json!(2)), later);
        let much_later = later + DEDUPE_TTL - Duration::from_secs(1);
        assert!(matches!(dedupe.get(Method::Agent, "k", much_later), Some(Known::Over(_))));
        assert!(dedupe.get(Method::Agent, "k", later + DEDUPE_TTL).is_none());
        assert_eq!(dedupe.bytes, 0);
        assert!(dedupe.next_expiry().is_none());
    }

    #[test]
    fn number_and_bytes_are_bounded() {
        let mut dedupe = Dedupe::default();
        let now = Instant::now();
        for n in 0..DEDUPE_ENTRIES + 50 {
            dedupe.accept(Method::Chat, &format!("k{n}"), json!(1), now);
        }
        assert_eq!(dedupe.entries.len(), DEDUPE_ENTRIES);
        assert!(dedupe.get(Method::Chat, "k0", now).is_none());
        let big = "x".repeat(DEDUPE_BYTES / 4);
        for n in 0..10 {
            dedupe.refuse(Method::Agent, &format!("b{n}"), Answer::Ok(json!({ "text": big })), now);
        }
        assert!(dedupe.bytes <= DEDUPE_BYTES, "{}", dedupe.bytes);
        assert!(dedupe.get(Method::Agent, "b9", now).is_some());
    }
}
