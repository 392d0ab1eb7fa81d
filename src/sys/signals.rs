//! Signals as messages. One pair of threads per process (`ctrl-c`, `signals`), registered once; after an in-process
//! restart they are pointed at a new receiver. What arrives while nobody listens is kept.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;

pub use super::exec::exit_now;

/// Signals kept for a receiver that is not there yet; more of them would say nothing new.
const KEPT: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT; on Windows Ctrl-C and the end of the console.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGHUP: re-read the configuration.
    Hangup,
    /// SIGUSR1: restart in this process.
    User1,
    /// SIGUSR2: reopen the log.
    User2,
}

impl Signal {
    /// The name as it stands in log lines: `signal SIGTERM received`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Interrupt => "SIGINT",
            Signal::Terminate => "SIGTERM",
            Signal::Hangup => "SIGHUP",
            Signal::User1 => "SIGUSR1",
            Signal::User2 => "SIGUSR2",
        }
    }
}

struct Post {
    registered: bool,
    to: Option<Sender<Signal>>,
    kept: VecDeque<Signal>,
}

static POST: Mutex<Post> = Mutex::new(Post { registered: false, to: None, kept: VecDeque::new() });
static NEXT_INTERRUPT_EXITS: AtomicBool = AtomicBool::new(false);

/// Registers the handlers (first call) and sends every signal to `to` from now on, those kept so far first.
///
/// Give a channel with room: a signal that finds it full is kept and delivered before the next one.
pub fn install(to: Sender<Signal>) -> io::Result<()> {
    let mut post = POST.lock();
    if !post.registered {
        // ctrlc overwrites what it finds, signal-hook chains: ctrlc first (CRATES 6).
        ctrlc::set_handler(interrupted).map_err(io::Error::other)?;
        register_others()?;
        post.registered = true;
    }
    post.to = Some(to);
    flush(&mut post);
    Ok(())
}

/// True: the next SIGINT ends the process with 130, whatever the receiver is doing. For the time of a stop.
pub fn next_interrupt_exits(on: bool) {
    NEXT_INTERRUPT_EXITS.store(on, Ordering::SeqCst);
}

fn interrupted() {
    if NEXT_INTERRUPT_EXITS.load(Ordering::SeqCst) {
        exit_now(130);
    }
    deliver(Signal::Interrupt);
}

fn deliver(signal: Signal) {
    let mut post = POST.lock();
    if post.kept.len() >= KEPT {
        post.kept.pop_front();
    }
    post.kept.push_back(signal);
    flush(&mut post);
}

fn flush(post: &mut Post) {
    while let Some(to) = &post.to {
        let Some(signal) = post.kept.front() else { return };
        match to.try_send(*signal) {
            Ok(()) => drop(post.kept.pop_front()),
            Err(TrySendError::Full(_)) => return,
            Err(TrySendError::Disconnected(_)) => post.to = None,
        }
    }
}

#[cfg(unix)]
fn register_others() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGHUP, SIGUSR1, SIGUSR2])?;
    std::thread::Builder::new().name("signals".into()).stack_size(crate::limits::WRITER_STACK).spawn(move || {
        for number in signals.forever() {
            let signal = match number {
                SIGTERM => Signal::Terminate,
                SIGHUP => Signal::Hangup,
                SIGUSR1 => Signal::User1,
                _ => Signal::User2,
            };
            deliver(signal);
        }
    })?;
    Ok(())
}

#[cfg(not(unix))]
fn register_others() -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn raise(signal: i32) {
        // SAFETY: the handlers are registered before the test raises anything.
        unsafe { libc::kill(libc::getpid(), signal) };
    }

    /// One test: the post is one per process.
    #[test]
    fn every_signal_arrives_also_across_a_change_of_receiver() {
        let (to, from) = bounded(8);
        install(to).unwrap();
        for (number, signal) in [
            (libc::SIGINT, Signal::Interrupt),
            (libc::SIGTERM, Signal::Terminate),
            (libc::SIGHUP, Signal::Hangup),
            (libc::SIGUSR1, Signal::User1),
            (libc::SIGUSR2, Signal::User2),
        ] {
            raise(number);
            assert_eq!(from.recv_timeout(PATIENCE), Ok(signal));
        }

        // Nobody listens: kept for the next receiver.
        drop(from);
        raise(libc::SIGUSR1);
        let start = std::time::Instant::now();
        while POST.lock().kept.is_empty() && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let (to, from) = bounded(1);
        install(to).unwrap();
        assert_eq!(from.recv_timeout(PATIENCE), Ok(Signal::User1));

        // A full channel keeps the rest.
        deliver(Signal::Hangup);
        deliver(Signal::Terminate);
        assert_eq!(from.try_recv(), Ok(Signal::Hangup));
        deliver(Signal::User2);
        assert_eq!(from.try_recv(), Ok(Signal::Terminate));
        POST.lock().kept.clear();
        next_interrupt_exits(true);
        next_interrupt_exits(false);
    }
}
