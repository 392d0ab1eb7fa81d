//! The small pool for handlers that touch files. A job never waits for another job, a peer or a person.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;

use crate::limits;

type Job = Box<dyn FnOnce() + Send>;
/// The threads that have been started, for whoever joins them.
pub type JobThreads = Arc<Mutex<Vec<JoinHandle<()>>>>;

pub struct Jobs {
    queue: Sender<Job>,
    inbox: Receiver<Job>,
    /// One share for each job that waits or runs.
    unfinished: Arc<()>,
    threads: JobThreads,
}

impl Jobs {
    /// Threads `pool-0` … are started when there is work for one more; they end when the pool is dropped and its queue
    /// is empty.
    pub fn new() -> (Jobs, JobThreads) {
        let (queue, inbox) = bounded(limits::POOL_JOBS);
        let threads = JobThreads::default();
        let jobs = Jobs { queue, inbox, unfinished: Arc::default(), threads: threads.clone() };
        (jobs, threads)
    }

    /// False: the queue is full, or there is no thread; the job, and the reply in it, has been dropped.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let one = self.unfinished.clone();
        if !self.staffed(Arc::strong_count(&self.unfinished) - 1) {
            return false;
        }
        let job = move || {
            job();
            drop(one);
        };
        self.queue.try_send(Box::new(job)).is_ok()
    }

    /// Starts one more thread when there are fewer than jobs. False: there is none at all.
    fn staffed(&self, jobs: usize) -> bool {
        let mut threads = self.threads.lock();
        let number = threads.len();
        if number >= jobs.min(limits::POOL_THREADS) {
            return true;
        }
        let inbox = self.inbox.clone();
        let thread = thread::Builder::new()
            .name(format!("pool-{number}"))
            .stack_size(crate::sys::memory::stack(limits::POOL_STACK))
            .spawn(move || inbox.into_iter().for_each(|job| job()));
        threads.extend(thread);
        !threads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn no_job_waits_while_there_may_be_one_more_thread() {
        let (jobs, threads) = Jobs::new();
        assert!(threads.lock().is_empty());
        let (arrived, arrivals) = bounded(limits::POOL_THREADS);
        let (open, gate) = bounded::<()>(0);
        for number in 0..2 * limits::POOL_THREADS {
            let (arrived, gate) = (arrived.clone(), gate.clone());
            assert!(jobs.submit(move || {
                let _ = arrived.try_send(());
                let _ = gate.recv();
            }));
            if number < limits::POOL_THREADS {
                arrivals.recv_timeout(PATIENCE).expect("a thread of its own");
            }
        }
        assert_eq!(threads.lock().len(), limits::POOL_THREADS);
        drop(open);
        drop(jobs);
        threads.lock().drain(..).for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_thread_that_is_free_gets_the_next_job() {
        let (jobs, threads) = Jobs::new();
        for _ in 0..20 {
            let (done, finished) = bounded(1);
            assert!(jobs.submit(move || done.send(()).unwrap()));
            finished.recv_timeout(PATIENCE).unwrap();
            while Arc::strong_count(&jobs.unfinished) > 1 {
                thread::yield_now();
            }
        }
        assert_eq!(threads.lock().len(), 1);
    }
}
