//! Answers that were asked for under a key of the client's (`Idempotency-Key`), kept for a while so that the same
//! request gets the same again. Bounded in time, number and bytes; one leaf lock.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use crate::hub::run_events::Details;
use crate::limits::{DEDUPE_TTL, REPLAY_BYTES, REPLAY_ENTRIES};

/// The end of a run that ended well.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub text: String,
    pub details: Details,
    /// Seconds since 1970.
    pub created: u64,
}

#[derive(Default)]
pub struct Replays {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// Oldest first.
    entries: VecDeque<(Arc<str>, Instant, Arc<Kept>)>,
    bytes: usize,
}

impl Replays {
    /// The answer of the run with this id.
    pub fn get(&self, run_id: &str) -> Option<Arc<Kept>> {
        let mut table = self.table.lock();
        table.prune(Instant::now());
        table.entries.iter().find(|(id, ..)| **id == *run_id).map(|(.., kept)| kept.clone())
    }

    pub fn put(&self, run_id: &Arc<str>, kept: Kept) {
        let mut table = self.table.lock();
        table.bytes += size(&kept);
        table.entries.push_back((run_id.clone(), Instant::now(), Arc::new(kept)));
        table.prune(Instant::now());
    }
}

impl Table {
    fn prune(&mut self, now: Instant) {
        while let Some((_, at, kept)) = self.entries.front() {
            let full = self.bytes > REPLAY_BYTES || self.entries.len() > REPLAY_ENTRIES;
            if !full && now.duration_since(*at) < DEDUPE_TTL {
                return;
            }
            self.bytes -= size(kept);
            self.entries.pop_front();
        }
    }
}

fn size(kept: &Kept) -> usize {
    let calls = kept.details.calls.iter().map(|call| call.id.len() + call.name.len() + call.arguments.len() + 96);
    kept.text.len() + calls.sum::<usize>() + 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_answers_make_room() {
        let replays = Replays::default();
        let kept = |bytes: usize| Kept { text: "x".repeat(bytes), ..Kept::default() };
        let id = |n: usize| -> Arc<str> { n.to_string().into() };
        for n in 0..REPLAY_ENTRIES + 1 {
            replays.put(&id(n), kept(1));
        }
        assert!(replays.get("0").is_none() && replays.get("1").is_some());
        replays.put(&id(5000), kept(REPLAY_BYTES / 2));
        replays.put(&id(5001), kept(REPLAY_BYTES / 2));
        assert!(replays.get("1").is_none() && replays.get("5000").is_none() && replays.get("5001").is_some());
        replays.put(&id(5002), kept(REPLAY_BYTES));
        assert!(replays.get("5002").is_none(), "larger than all that may be kept");
        assert_eq!(replays.table.lock().bytes, 0);
        let mut table = Table::default();
        table.entries.push_back((id(1), Instant::now(), Arc::new(kept(1))));
        table.bytes = 257;
        table.prune(Instant::now() + DEDUPE_TTL);
        assert_eq!((table.entries.len(), table.bytes), (0, 0));
    }
}
