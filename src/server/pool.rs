//! Threads for connections: as many as there are connections, made when needed, gone after a while without work.
//!
//! Hand-over is explicit: a job goes to a thread that waits, so no connection ever waits behind another one. The thread
//! that became idle last gets it: its stack and caches are warm, and the others come to their end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Condvar, Mutex};

use crate::limits;

pub type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    waiting: Mutex<Waiting>,
    /// A thread has become idle.
    freed: Condvar,
    threads: AtomicUsize,
    named: AtomicUsize,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    /// The idle threads by number, the last one idle for the shortest time. Each channel is for the one job that its
    /// thread gets when it is taken out of here; dropped, it ends the thread.
    idle: Vec<(usize, Sender<Job>)>,
    closed: bool,
}

impl Waiting {
    fn hand_over(&mut self, job: Job) -> Result<(), Job> {
        match self.idle.pop() {
            Some((_, thread)) => thread.try_send(job).map_err(|e| e.into_inner()),
            None => Err(job),
        }
    }
}

/// Why a job was not taken; it comes back.
pub enum Refused {
    /// All threads are busy and there may not be more.
    Full(Job),
    /// The system gave no thread.
    NoThread(Job, io::Error),
}

impl Pool {
    pub fn new(most: usize) -> Pool {
        let (threads, named) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let inner = Inner { waiting: Mutex::default(), freed: Condvar::new(), threads, named, most };
        Pool { inner: Arc::new(inner) }
    }

    /// Threads that live now, idle ones included.
    pub fn threads(&self) -> usize {
        self.inner.threads.load(Ordering::Relaxed)
    }

    /// Idle threads end now instead of waiting for work; busy ones with their job.
    pub fn close(&self) {
        let mut waiting = self.inner.waiting.lock();
        waiting.closed = true;
        waiting.idle.clear();
    }

    pub fn run(&self, job: Job) -> Result<(), Refused> {
        let handed = {
            let mut waiting = self.inner.waiting.lock();
            if waiting.closed {
                return Err(Refused::Full(job));
            }
            waiting.hand_over(job)
        };
        let Err(job) = handed else { return Ok(()) };
        let inner = &self.inner;
        if inner.threads.fetch_add(1, Ordering::Relaxed) >= inner.most {
            inner.threads.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full(job));
        }
        let pool = self.clone();
        let number = inner.named.fetch_add(1, Ordering::Relaxed);
        // A spawn that fails eats its closure; the job has to survive that.
        let shared = Arc::new(Mutex::new(Some(job)));
        let first = shared.clone();
        let spawned = thread::Builder::new()
            .name(format!("conn-{number}"))
            .stack_size(crate::sys::memory::stack(limits::CONNECTION_STACK))
            .spawn(move || pool.work(number, &first));
        spawned.map(drop).map_err(|e| {
            inner.threads.fetch_sub(1, Ordering::Relaxed);
            let job = shared.lock().take().expect("no thread has taken it");
            Refused::NoThread(job, e)
        })
    }

    /// Hands the job to a thread that becomes free within `wait`. False: none did, and the job has been dropped.
    pub fn run_when_free(&self, job: Job, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut job = job;
        let mut waiting = self.inner.waiting.lock();
        while !waiting.closed {
            job = match waiting.hand_over(job) {
                Ok(()) => return true,
                Err(job) => job,
            };
            if self.inner.freed.wait_until(&mut waiting, until).timed_out() {
                return waiting.hand_over(job).is_ok();
            }
        }
        false
    }

    fn work(self, number: usize, first: &Mutex<Option<Job>>) {
        // Also on a panic: a lost count would shrink the pool for good.
        struct Leave(Arc<Inner>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.threads.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let leave = Leave(self.inner);
        let mut job = first.lock().take();
        while let Some(work) = job {
            work();
            job = leave.0.next(number);
        }
    }
}

impl Inner {
    /// Waits for the next job. None: there was none for a while, or the pool is closed.
    fn next(&self, number: usize) -> Option<Job> {
        let (sender, jobs) = bounded(1);
        {
            let mut waiting = self.waiting.lock();
            if waiting.closed {
                return None;
            }
            waiting.idle.push((number, sender));
        }
        self.freed.notify_one();
        if let Ok(job) = jobs.recv_timeout(limits::POOL_IDLE) {
            return Some(job);
        }
        let mut waiting = self.waiting.lock();
        let before = waiting.idle.len();
        waiting.idle.retain(|(thread, _)| *thread != number);
        // No longer among the idle ones: a job was on its way when the time was over.
        if waiting.idle.len() < before { None } else { jobs.try_recv().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_runs_at_once_or_comes_back() {
        let pool = Pool::new(3);
        let (started, starts) = bounded(10);
        let (release, gate) = bounded::<()>(0);
        for _ in 0..3 {
            let (started, gate) = (started.clone(), gate.clone());
            let job = Box::new(move || {
                started.send(()).unwrap();
                let _ = gate.recv();
            });
            assert!(pool.run(job).is_ok());
        }
        for _ in 0..3 {
            starts.recv().unwrap();
        }
        let job: Job = Box::new(move || started.send(()).unwrap());
        let Err(Refused::Full(job)) = pool.run(job) else { panic!("three threads are busy") };
        drop(release);
        assert!(pool.run_when_free(job, Duration::from_secs(10)), "a thread became free");
        starts.recv().unwrap();
        assert!(pool.threads() <= 3);
    }

    #[test]
    fn a_closed_pool_keeps_no_thread_and_takes_no_job() {
        let pool = Pool::new(3);
        assert!(pool.run(Box::new(|| {})).is_ok());
        pool.close();
        let start = std::time::Instant::now();
        while pool.threads() > 0 {
            assert!(start.elapsed() < limits::POOL_IDLE / 2, "the idle thread waits for work");
            thread::yield_now();
        }
        assert!(matches!(pool.run(Box::new(|| {})), Err(Refused::Full(_))));
    }

    #[test]
    fn the_thread_that_became_idle_last_gets_the_next_job() {
        let pool = Pool::new(3);
        let (said, names) = bounded(10);
        let idle = |count: usize| {
            while pool.inner.waiting.lock().idle.len() != count {
                thread::yield_now();
            }
        };
        let gates: Vec<Sender<()>> = (0..3)
            .map(|_| {
                let (open, gate) = bounded::<()>(0);
                assert!(pool.run(Box::new(move || assert!(gate.recv().is_err()))).is_ok());
                open
            })
            .collect();
        for (at, gate) in gates.into_iter().enumerate() {
            drop(gate);
            idle(at + 1);
        }
        for _ in 0..5 {
            let said = said.clone();
            let name = move || said.send(thread::current().name().map(str::to_owned)).unwrap();
            assert!(pool.run(Box::new(name)).is_ok());
            assert_eq!(names.recv().unwrap().as_deref(), Some("conn-2"));
            idle(3);
        }
    }

    #[test]
    fn a_panic_does_not_shrink_the_pool() {
        let pool = Pool::new(1);
        assert!(pool.run(Box::new(|| panic!("on purpose"))).is_ok());
        let mut job: Job = Box::new(|| {});
        while let Err(Refused::Full(back) | Refused::NoThread(back, _)) = pool.run(job) {
            job = back;
            thread::yield_now();
        }
    }
}
