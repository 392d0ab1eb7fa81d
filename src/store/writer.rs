//! The `store` thread: slow writes happen here, one after the other, so that nobody else waits for a flash card longer than it must.
//!
//! What waits together is written, synced once per directory and then answered. A caller holds no lock while it waits for
//! an answer; a render callback runs on this thread and may take leaf locks. Nothing here is called from the hub.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use super::atomic::{self, Staged};
use super::budget::{Budget, Ticket};
use crate::limits;

/// Gives a file's content at the moment of writing, so that of two changes the newest content wins whichever comes first.
pub type Render = Arc<dyn Fn() -> Vec<u8> + Send + Sync>;

/// Background work of another file of this room; says when it wants to be called again (`None`: when poked).
/// It writes by itself and never calls the store. After an error it is called again `SOON_WRITE` later.
pub type Chore = Box<dyn FnMut(Occasion) -> io::Result<Option<Instant>> + Send>;

/// Why a chore is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// Its time has come, or it was poked.
    Due,
    /// `flush` or `stop`: everything goes to disk now.
    Flush,
}

/// Handle of the `store` thread. Clones are cheap; the thread ends with `stop`, or with the last handle when
/// no waiting callback holds one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Handle>,
}

struct Handle {
    jobs: Sender<Job>,
    budget: Arc<Budget>,
    thread: Mutex<Option<JoinHandle<()>>>,
    next_chore: AtomicUsize,
    soon: Duration,
}

/// Names a chore for [`Store::poke`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChoreId(usize);

impl Store {
    /// Starts the thread. `on_death` is called on it when it panics (never at an orderly stop).
    pub fn start(on_death: Box<dyn FnOnce() + Send>) -> io::Result<Store> {
        Store::start_with(limits::SOON_WRITE, on_death)
    }

    /// As `start`, with another pace for *soon* writes.
    pub fn start_with(soon: Duration, on_death: Box<dyn FnOnce() + Send>) -> io::Result<Store> {
        let (jobs, queue) = bounded(limits::STORE_QUEUE);
        let budget = Arc::new(Budget::default());
        let mourner = Mourner { budget: budget.clone(), on_death: Some(on_death) };
        let mut desk = Desk { queue, soon, pending: BTreeMap::new(), failing: HashMap::new(), chores: BTreeMap::new() };
        let thread = std::thread::Builder::new().name("store".into()).spawn(move || {
            let _mourner = mourner;
            desk.work();
        })?;
        let handle = Handle { jobs, budget, thread: Mutex::new(Some(thread)), next_chore: AtomicUsize::new(0), soon };
        Ok(Store { inner: Arc::new(handle) })
    }

    /// The time between two *soon* writes of a file.
    pub fn pace(&self) -> Duration {
        self.inner.soon
    }

    /// Replaces `path` durably; returns when that has happened.
    pub fn write_now(&self, path: &Path, bytes: Vec<u8>) -> io::Result<()> {
        self.now(path, Content::Bytes(bytes))
    }

    /// As `write_now`, with content taken at the moment of writing. Settles a waiting `write_soon` of the same file.
    pub fn write_rendered_now(&self, path: &Path, render: Render) -> io::Result<()> {
        self.now(path, Content::Rendered(render))
    }

    /// Replaces `path` once within `limits::SOON_WRITE`, and at `flush` and `stop`. Waits only when the queue is full.
    ///
    /// A write that fails is tried again; one log line tells when that begins and one when it is over.
    pub fn write_soon(&self, path: PathBuf, render: Render) {
        // A store that has stopped flushed before: there is nobody left to tell.
        let _ = self.inner.jobs.send(Job::Soon { path, render, failed: None });
    }

    /// As `write_rendered_now` for state whose truth is in memory (DECISIONS 40): when the disk refuses, one log line, and tried again later.
    /// Returns whether it is on disk.
    pub fn write_or_keep(&self, path: &Path, render: Render) -> bool {
        match self.write_rendered_now(path, render.clone()) {
            Ok(()) => true,
            Err(e) => {
                let _ = self.inner.jobs.send(Job::Soon { path: path.to_owned(), render, failed: Some(e) });
                false
            }
        }
    }

    /// Adds background work; called first when poked or flushed.
    pub fn add_chore(&self, chore: Chore) -> ChoreId {
        let id = ChoreId(self.inner.next_chore.fetch_add(1, Ordering::Relaxed));
        let _ = self.inner.jobs.send(Job::Chore { id, chore });
        id
    }

    /// Calls a chore as soon as possible.
    pub fn poke(&self, id: ChoreId) {
        let _ = self.inner.jobs.send(Job::Poke(id));
    }

    /// Calls a chore and returns its result.
    pub fn call(&self, id: ChoreId) -> io::Result<()> {
        let (done, answer) = bounded(1);
        self.inner.jobs.send(Job::Call(id, done)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Everything waiting is written when this returns; the first error is returned, what failed is tried again later.
    pub fn flush(&self) -> io::Result<()> {
        let (done, answer) = bounded(1);
        self.inner.jobs.send(Job::Flush(done)).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }

    /// Flushes, then ends the thread and joins it; `TimedOut` when that takes longer than `deadline`. Later writes fail with `BrokenPipe`.
    pub fn stop(&self, deadline: Duration) -> io::Result<()> {
        let until = Instant::now() + deadline;
        let (done, answer) = bounded(1);
        let flushed = match self.inner.jobs.send_timeout(Job::Stop(done), deadline) {
            Ok(()) => answer.recv_deadline(until).unwrap_or_else(|e| {
                Err(if e == RecvTimeoutError::Timeout { io::ErrorKind::TimedOut.into() } else { gone() })
            }),
            Err(e) if e.is_timeout() => Err(io::ErrorKind::TimedOut.into()),
            Err(_) => Err(gone()),
        };
        if !matches!(&flushed, Err(e) if e.kind() == io::ErrorKind::TimedOut)
            && let Some(thread) = self.inner.thread.lock().take()
        {
            let _ = thread.join();
        }
        flushed
    }

    fn now(&self, path: &Path, content: Content) -> io::Result<()> {
        let cost = match &content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Rendered(_) => 0,
        };
        let ticket = Budget::wait_for(&self.inner.budget, cost)?;
        let (done, answer) = bounded(1);
        let job = Job::Now { path: path.to_owned(), content, done, ticket };
        self.inner.jobs.send(job).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

enum Job {
    Now { path: PathBuf, content: Content, done: Sender<io::Result<()>>, ticket: Ticket },
    Soon { path: PathBuf, render: Render, failed: Option<io::Error> },
    Chore { id: ChoreId, chore: Chore },
    Poke(ChoreId),
    Call(ChoreId, Sender<io::Result<()>>),
    Flush(Sender<io::Result<()>>),
    Stop(Sender<io::Result<()>>),
}

enum Content {
    Bytes(Vec<u8>),
    Rendered(Render),
}

/// Tells those who wait, and `main`, that the thread is no more.
struct Mourner {
    budget: Arc<Budget>,
    on_death: Option<Box<dyn FnOnce() + Send>>,
}

impl Drop for Mourner {
    fn drop(&mut self) {
        self.budget.close();
        if std::thread::panicking()
            && let Some(tell) = self.on_death.take()
        {
            tell();
        }
    }
}

/// What the thread owns.
struct Desk {
    queue: Receiver<Job>,
    soon: Duration,
    pending: BTreeMap<PathBuf, Waiting>,
    /// Files whose last write failed, with the error's text: logged once.
    failing: HashMap<PathBuf, String>,
    chores: BTreeMap<ChoreId, Errand>,
}

/// A chore, its time, and those who wait for its next result.
struct Errand {
    chore: Chore,
    due: Option<Instant>,
    callers: Vec<Sender<io::Result<()>>>,
}

struct Waiting {
    render: Render,
    due: Instant,
}

struct Urgent {
    content: Content,
    done: Vec<Sender<io::Result<()>>>,
    _tickets: Vec<Ticket>,
}

impl Desk {
    fn work(&mut self) {
        loop {
            let first = match self.next_due() {
                Some(due) => match self.queue.recv_deadline(due) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => break,
                },
                None => match self.queue.recv() {
                    Ok(job) => Some(job),
                    Err(_) => break,
                },
            };
            let mut urgent: BTreeMap<PathBuf, Urgent> = BTreeMap::new();
            let mut flushes = Vec::new();
            let mut stop = None;
            let mut next = first;
            let mut taken = 0;
            while let Some(job) = next.take() {
                taken += 1;
                match job {
                    Job::Stop(done) => stop = Some(done),
                    Job::Flush(done) => flushes.push(done),
                    other => self.accept(other, &mut urgent),
                }
                if stop.is_none() && taken < limits::STORE_QUEUE {
                    next = self.queue.try_recv().ok();
                }
            }
            self.write_urgent(urgent);
            let everything = stop.is_some() || !flushes.is_empty();
            let result = self.write_due(everything);
            for done in flushes {
                let _ = done.send(copy(&result));
            }
            if let Some(done) = stop {
                let _ = done.send(result);
                return;
            }
        }
        // The last handle is gone without `stop`.
        let _ = self.write_due(true);
    }

    fn next_due(&self) -> Option<Instant> {
        let files = self.pending.values().map(|waiting| waiting.due);
        let chores = self.chores.values().filter_map(|errand| errand.due);
        files.chain(chores).min()
    }

    fn accept(&mut self, job: Job, urgent: &mut BTreeMap<PathBuf, Urgent>) {
        match job {
            Job::Now { path, content, done, ticket } => {
                // Of several contents for one file only the last is written; all who wait get its result.
                let entry = urgent.entry(path).or_insert_with(|| Urgent {
                    content: Content::Bytes(Vec::new()),
                    done: Vec::new(),
                    _tickets: Vec::new(),
                });
                entry.content = content;
                entry.done.push(done);
                entry._tickets.push(ticket);
            }
            Job::Soon { path, render, failed } => {
                if let Some(e) = failed {
                    self.note(&path, &Err(e));
                }
                let due = Instant::now() + self.soon;
                self.pending.entry(path).and_modify(|w| w.render = render.clone()).or_insert(Waiting { render, due });
            }
            Job::Chore { id, chore } => {
                self.chores.insert(id, Errand { chore, due: None, callers: Vec::new() });
            }
            Job::Poke(id) => {
                if let Some(errand) = self.chores.get_mut(&id) {
                    errand.due = Some(Instant::now());
                }
            }
            Job::Call(id, done) => {
                if let Some(errand) = self.chores.get_mut(&id) {
                    errand.due = Some(Instant::now());
                    errand.callers.push(done);
                }
            }
            Job::Flush(_) | Job::Stop(_) => {}
        }
    }

    fn write_urgent(&mut self, urgent: BTreeMap<PathBuf, Urgent>) {
        let mut written = Vec::new();
        let mut directories: BTreeMap<PathBuf, io::Result<()>> = BTreeMap::new();
        for (path, job) in urgent {
            let rendered = matches!(job.content, Content::Rendered(_));
            let result = match &job.content {
                Content::Bytes(bytes) => replace(&path, bytes),
                Content::Rendered(render) => replace(&path, &render()),
            };
            if result.is_ok() {
                directories.insert(atomic::parent(&path).to_owned(), Ok(()));
                if rendered {
                    self.pending.remove(&path);
                }
                self.note(&path, &result);
            }
            written.push((path, job.done, result));
        }
        for (directory, result) in &mut directories {
            *result = atomic::sync_directory(directory);
        }
        for (path, done, result) in written {
            let result = match (&result, directories.get(atomic::parent(&path))) {
                (Ok(()), Some(synced)) => copy(synced),
                _ => result,
            };
            for done in done {
                let _ = done.send(copy(&result));
            }
        }
    }

    fn write_due(&mut self, everything: bool) -> io::Result<()> {
        let now = Instant::now();
        let mut outcome = Ok(());
        let due: Vec<PathBuf> = self
            .pending
            .iter()
            .filter(|(_, waiting)| everything || waiting.due <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            let Some(waiting) = self.pending.get_mut(&path) else { continue };
            let result = atomic::write(&path, &(waiting.render)());
            match &result {
                Ok(()) => {
                    self.pending.remove(&path);
                }
                Err(_) => waiting.due = now + self.soon,
            }
            self.note(&path, &result);
            keep_first(&mut outcome, result);
        }
        for errand in self.chores.values_mut() {
            if !everything && errand.due.is_none_or(|due| due > now) {
                continue;
            }
            let occasion = if everything { Occasion::Flush } else { Occasion::Due };
            let result = match (errand.chore)(occasion) {
                Ok(next) => {
                    errand.due = next;
                    Ok(())
                }
                Err(e) => {
                    errand.due = Some(now + self.soon);
                    Err(e)
                }
            };
            for caller in errand.callers.drain(..) {
                let _ = caller.send(copy(&result));
            }
            keep_first(&mut outcome, result);
        }
        outcome
    }

    fn note(&mut self, path: &Path, result: &io::Result<()>) {
        match result {
            Ok(()) => {
                if self.failing.remove(path).is_some() {
                    log::info!(target: "store", "{} can be written again", path.display());
                }
            }
            Err(e) => {
                let text = e.to_string();
                if self.failing.get(path) != Some(&text) {
                    log::warn!(target: "store", "cannot write {}: {text}; kept in memory, tried again every {} s", path.display(), self.soon.as_secs());
                    self.failing.insert(path.to_owned(), text);
                }
            }
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = Staged::create(path)?;
    staged.file().write_all(bytes)?;
    staged.commit_without_directory()
}

fn keep_first(outcome: &mut io::Result<()>, next: io::Result<()>) {
    if outcome.is_ok() {
        *outcome = next;
    }
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), e.to_string())),
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the store has stopped")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::super::atomic::tests::TempDir;
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    pub(crate) fn quiet_store(soon: Duration) -> Store {
        Store::start_with(soon, Box::new(|| {})).unwrap()
    }

    /// Waits for a condition, at most half a minute.
    pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < end, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn now_is_on_disk_when_it_returns() {
        let dir = TempDir::new("writer-now");
        let store = quiet_store(LONG);
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (store, path) = (store.clone(), dir.join(&format!("f{}", n % 3)));
                std::thread::spawn(move || {
                    for i in 0..10 {
                        store.write_now(&path, format!("{n} {i}").into_bytes()).unwrap();
                        assert!(path.exists());
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        store.stop(LONG).unwrap();
        assert_eq!(store.write_now(&dir.join("late"), Vec::new()).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert!(store.flush().is_err());
    }

    #[test]
    fn soon_is_written_once_and_at_flush_and_stop() {
        let dir = TempDir::new("writer-soon");
        let store = quiet_store(LONG);
        let path = dir.join("counters");
        let calls = Arc::new(AtomicUsize::new(0));
        let render = |calls: &Arc<AtomicUsize>| -> Render {
            let calls = calls.clone();
            Arc::new(move || format!("{}", calls.fetch_add(1, Ordering::SeqCst) + 1).into_bytes())
        };
        for _ in 0..50 {
            store.write_soon(path.clone(), render(&calls));
        }
        assert!(!path.exists());
        store.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"1");
        store.flush().unwrap();
        assert_eq!(calls.load(Ordering::SeqCst), 1, "nothing changed, nothing written");
        store.write_soon(path.clone(), render(&calls));
        store.write_rendered_now(&path, render(&calls)).unwrap();
        store.stop(LONG).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"2", "the urgent write settled the waiting one");

        let store = quiet_store(Duration::from_millis(1));
        store.write_soon(path.clone(), render(&calls));
        until("the paced write", || fs::read(&path).unwrap() == b"3");
        drop(store);
    }

    #[test]
    fn the_last_handle_flushes() {
        let dir = TempDir::new("writer-drop");
        let store = quiet_store(LONG);
        store.write_soon(dir.join("f"), Arc::new(|| b"x".to_vec()));
        drop(store);
        until("the last write", || dir.join("f").exists());
    }

    #[test]
    fn a_failed_write_is_told_and_tried_again() {
        let dir = TempDir::new("writer-fail");
        fs::write(dir.join("file"), "").unwrap();
        let path = dir.join("file/state.json");
        let store = quiet_store(LONG);
        assert!(store.write_now(&path, b"x".to_vec()).is_err());
        store.write_soon(path.clone(), Arc::new(|| b"kept".to_vec()));
        assert!(store.flush().is_err());
        assert!(store.flush().is_err());
        fs::remove_file(dir.join("file")).unwrap();
        store.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn a_panic_reaches_every_caller() {
        let dir = TempDir::new("writer-panic");
        let (tell, told) = bounded(1);
        let store = Store::start_with(LONG, Box::new(move || tell.send(()).unwrap())).unwrap();
        let hurt: Render = Arc::new(|| panic!("on purpose"));
        assert_eq!(store.write_rendered_now(&dir.join("f"), hurt).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        told.recv_timeout(Duration::from_secs(30)).unwrap();
        let big = vec![0; limits::STORE_QUEUE_BYTES + 1];
        assert!(store.write_now(&dir.join("f"), big).is_err());
        assert!(store.stop(LONG).is_err());
    }

    #[test]
    fn chores_run_when_poked_when_due_and_at_flush() {
        let store = quiet_store(LONG);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let id = store.add_chore(Box::new(move |occasion| {
            let mut log = log.lock();
            log.push(occasion);
            match log.len() {
                1 => Ok(Some(Instant::now())),
                2 => Ok(None),
                _ => Err(io::ErrorKind::StorageFull.into()),
            }
        }));
        store.poke(id);
        until("poked and due", || seen.lock().len() == 2);
        assert_eq!(store.flush().unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(*seen.lock(), [Occasion::Due, Occasion::Due, Occasion::Flush]);
    }
}
