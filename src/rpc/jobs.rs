//! The small pool for handlers that touch files. A job never waits for another job, a peer or a person.

use std::io;
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::limits;

type Job = Box<dyn FnOnce() + Send>;

pub struct Jobs {
    queue: Sender<Job>,
}

impl Jobs {
    /// Starts the threads `pool-0` …; they end when the pool is dropped and its queue is empty.
    pub fn start() -> io::Result<(Jobs, Vec<JoinHandle<()>>)> {
        let (queue, jobs) = bounded(limits::POOL_JOBS);
        let threads = (0..limits::POOL_THREADS).map(|n| {
            let jobs: Receiver<Job> = jobs.clone();
            thread::Builder::new()
                .name(format!("pool-{n}"))
                .stack_size(crate::sys::memory::stack(limits::POOL_STACK))
                .spawn(move || {
                    for job in jobs {
                        job();
                    }
                })
        });
        let threads = threads.collect::<io::Result<Vec<_>>>()?;
        Ok((Jobs { queue }, threads))
    }

    /// False: the queue is full; the job, and the reply in it, has been dropped.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> bool {
        self.queue.try_send(Box::new(job)).is_ok()
    }
}
