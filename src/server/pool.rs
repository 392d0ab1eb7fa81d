//! Threads for connections: as many as there are connections, made when needed, gone after a while without work.
//!
//! Hand-over is explicit: a channel of capacity zero takes a job only when an idle thread waits for it, so no
//! connection ever waits behind another one.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::Mutex;

use crate::limits;

pub type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    /// None: closed.
    jobs: Mutex<Option<Sender<Job>>>,
    waiting: Receiver<Job>,
    threads: AtomicUsize,
    named: AtomicUsize,
    most: usize,
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
        let (jobs, waiting) = bounded(0);
        let jobs = Mutex::new(Some(jobs));
        let inner = Inner { jobs, waiting, threads: AtomicUsize::new(0), named: AtomicUsize::new(0), most };
        Pool { inner: Arc::new(inner) }
    }

    /// Threads that live now, idle ones included.
    pub fn threads(&self) -> usize {
        self.inner.threads.load(Ordering::Relaxed)
    }

    /// Idle threads end now instead of waiting for work; busy ones with their job.
    pub fn close(&self) {
        *self.inner.jobs.lock() = None;
    }

    pub fn run(&self, job: Job) -> Result<(), Refused> {
        let handed = match &*self.inner.jobs.lock() {
            Some(jobs) => jobs.try_send(job),
            None => return Err(Refused::Full(job)),
        };
        let job = match handed {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => job,
        };
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
            .spawn(move || pool.work(&first));
        spawned.map(drop).map_err(|e| {
            inner.threads.fetch_sub(1, Ordering::Relaxed);
            let job = shared.lock().take().expect("no thread has taken it");
            Refused::NoThread(job, e)
        })
    }

    /// Hands the job to a thread that becomes free within `wait`. False: none did, and the job has been dropped.
    pub fn run_when_free(&self, job: Job, wait: Duration) -> bool {
        // A clone: the lock is not held while waiting.
        let jobs = self.inner.jobs.lock().clone();
        jobs.is_some_and(|jobs| jobs.send_timeout(job, wait).is_ok())
    }

    fn work(self, first: &Mutex<Option<Job>>) {
        // Also on a panic: a lost count would shrink the pool for good.
        struct Leave(Arc<Inner>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.threads.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let leave = Leave(self.inner);
        let job = first.lock().take();
        if let Some(job) = job {
            job();
        }
        while let Ok(job) = leave.0.waiting.recv_timeout(limits::POOL_IDLE) {
            job();
        }
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
