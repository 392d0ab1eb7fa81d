//! How many bytes may wait in the queue of the `store` thread: senders wait for room.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::writer::gone;
use crate::limits;

/// Bytes that wait in the queue; senders wait for room.
#[derive(Default)]
pub struct Budget {
    state: Mutex<BudgetState>,
    freed: Condvar,
}

#[derive(Default)]
struct BudgetState {
    used: usize,
    closed: bool,
}

/// A share of the budget, given back when dropped.
pub struct Ticket {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// Fails when the budget was closed.
    pub fn wait_for(this: &Arc<Budget>, bytes: usize) -> io::Result<Ticket> {
        let mut state = this.state.lock();
        // A single write larger than the whole budget passes alone.
        while !state.closed && state.used > 0 && state.used + bytes > limits::STORE_QUEUE_BYTES {
            this.freed.wait(&mut state);
        }
        if state.closed {
            return Err(gone());
        }
        state.used += bytes;
        Ok(Ticket { budget: this.clone(), bytes })
    }

    /// The store has ended: wakes everybody who waits.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.freed.notify_all();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.budget.state.lock().used -= self.bytes;
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::writer::tests::until;
    use super::*;

    #[test]
    fn the_queue_is_bounded_by_bytes() {
        let budget = Arc::new(Budget::default());
        let first = Budget::wait_for(&budget, limits::STORE_QUEUE_BYTES - 1).unwrap();
        let other = budget.clone();
        let waiter = std::thread::spawn(move || Budget::wait_for(&other, 2).map(|_| ()));
        until("the waiter or its failure", || budget.state.lock().used == limits::STORE_QUEUE_BYTES - 1);
        assert!(!waiter.is_finished());
        drop(first);
        waiter.join().unwrap().unwrap();
        assert_eq!(budget.state.lock().used, 0);
        drop(Budget::wait_for(&budget, limits::STORE_QUEUE_BYTES * 2).unwrap());
    }
}
