//! The accept loop: one thread for all listeners. No error ends it.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::listen::{AcceptError, classify_accept_error};
use super::pool::Refused;
use super::{Doors, connection};
use crate::limits;
use crate::sys::memory;
use crate::sys::poll::{self, WakePipe};

/// Longest wait without a look around.
const LOOK: Duration = Duration::from_secs(10);
/// So many connections at once are a crowd.
const CROWD: usize = 64;
/// A burst of connects is taken in rounds, so that the stop flag is seen in between.
const ROUND: usize = 64;

/// A running accept loop; it ends when this is dropped, and connections in the backlog stay there.
pub struct Acceptor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    wake: WakePipe,
    /// Rounds of the loop, for a watchdog.
    beats: AtomicU64,
}

impl Acceptor {
    /// Accepts on clones of the listeners, which are non-blocking; the caller keeps them, so that the ports stay ours
    /// while nobody accepts.
    pub fn start(listeners: &[TcpListener], doors: Arc<Doors>) -> io::Result<Acceptor> {
        let own = listeners.iter().map(TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
        let shared =
            Arc::new(Shared { stop: AtomicBool::new(false), wake: WakePipe::new()?, beats: AtomicU64::new(0) });
        let inner = shared.clone();
        let thread = thread::Builder::new()
            .name("accept".into())
            .stack_size(memory::stack(limits::WRITER_STACK))
            .spawn(move || accept_until_stopped(&own, &doors, &inner))?;
        Ok(Acceptor { shared, thread: Some(thread) })
    }

    /// Wakes the loop, so that it goes round once.
    pub fn push(&self) {
        self.shared.wake.wake();
    }

    pub fn beats(&self) -> u64 {
        self.shared.beats.load(Ordering::Relaxed)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept_until_stopped(listeners: &[TcpListener], doors: &Arc<Doors>, shared: &Shared) {
    let mut troubles = Troubles::default();
    let mut crowd = false;
    while !shared.stop.load(Ordering::Acquire) {
        shared.beats.fetch_add(1, Ordering::Relaxed);
        let wait = if crowd { limits::CROWD_GONE } else { LOOK };
        let Ok(ready) = poll::wait(listeners, &shared.wake, Some(wait)) else {
            thread::sleep(limits::ACCEPT_PAUSE);
            continue;
        };
        if ready.woken {
            // Somebody looks whether this loop moves; a stop has its flag.
            shared.wake.drain();
        }
        if crowd && !ready.listener {
            // The threads that are idle have ended, and what they used lies scattered over the heap.
            memory::trim();
            if std::mem::take(&mut troubles.accepted) >= CROWD {
                // Those who stay only wait: what let them in is read again when the next ones come.
                memory::release_code();
            }
        }
        crowd = ready.listener;
        for listener in listeners {
            accept_round(listener, doors, shared, &mut troubles);
        }
    }
}

/// What the loop remembers of its errors.
#[derive(Default)]
struct Troubles {
    last_said: Option<Instant>,
    /// There was nothing to accept with the last time, either.
    starved: bool,
    /// Connections since it was quiet.
    accepted: usize,
}

fn accept_round(listener: &TcpListener, doors: &Arc<Doors>, shared: &Shared, troubles: &mut Troubles) {
    for _ in 0..ROUND {
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        match listener.accept() {
            Ok((stream, peer)) => {
                troubles.starved = false;
                troubles.accepted += 1;
                // Accepted sockets inherit nothing on Linux, everything on BSD.
                if stream.set_nonblocking(false).is_ok() {
                    take_in(Arc::new(stream), peer.ip(), doors, &mut troubles.last_said);
                }
            }
            Err(e) => match classify_accept_error(&e) {
                AcceptError::WouldBlock => return,
                AcceptError::Next => {}
                AcceptError::Pause => {
                    say(
                        &mut troubles.last_said,
                        &format!("accept: {e}; raise the limit of open files or stop some clients"),
                    );
                    // A moment for those who are about to leave; if that did not help, the oldest has to.
                    if std::mem::replace(&mut troubles.starved, true) {
                        doors.sockets.cut_oldest_but(0);
                    }
                    return thread::sleep(limits::ACCEPT_PAUSE);
                }
            },
        }
    }
}

fn take_in(
    stream: Arc<std::net::TcpStream>,
    address: std::net::IpAddr,
    doors: &Arc<Doors>,
    said: &mut Option<Instant>,
) {
    doors.ctx.metrics.connections.add(1);
    let Some(ticket) = doors.sockets.admit(&stream, address) else {
        doors.ctx.metrics.connections_refused.add(1);
        say(said, "too many connections; newcomers get 503");
        return refuse(&stream, doors);
    };
    let (own, newcomer) = ((doors.clone(), stream.clone()), ticket.id());
    let (job, why) = match doors.pool.run(Box::new(move || connection::serve(&own.0, own.1, ticket))) {
        Ok(()) => return,
        Err(Refused::Full(job)) => (job, "too many connections".to_owned()),
        Err(Refused::NoThread(job, e)) => (job, format!("no thread for a connection: {e}")),
    };
    say(said, &format!("{why}; newcomers get 503"));
    // Whoever is cut sets its thread free, and the newcomer waits no longer than that.
    if !doors.sockets.cut_oldest_but(newcomer) || !doors.pool.run_when_free(job, limits::ACCEPT_PAUSE) {
        doors.ctx.metrics.connections_refused.add(1);
        refuse(&stream, doors);
        thread::sleep(limits::ACCEPT_PAUSE);
    }
}

/// With TLS the newcomer is closed without a word: a handshake costs what there is not enough of.
fn refuse(stream: &std::net::TcpStream, doors: &Doors) {
    if doors.tls.is_none() {
        connection::refuse_connection(stream);
    }
}

/// At most one line per [`limits::ACCEPT_LOG_EVERY`].
fn say(last: &mut Option<Instant>, line: &str) {
    if last.is_none_or(|at| at.elapsed() >= limits::ACCEPT_LOG_EVERY) {
        *last = Some(Instant::now());
        log::warn!(target: "gateway", "{line}");
    }
}
