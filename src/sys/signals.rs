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
    std::thread::Builder::new()
        .name("signals".into())
        .stack_size(super::memory::stack(crate::limits::WRITER_STACK))
        .spawn(move || {
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::rerun;
    use crossbeam_channel::bounded;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(20);
    const CHILD: &str = "OPENCLAW_TEST_SIGNALS";

    fn raise(signal: i32) {
        // SAFETY: the handlers are registered before the child raises anything.
        unsafe { libc::kill(libc::getpid(), signal) };
    }

    fn child(part: &str) -> Option<i32> {
        let mut command = rerun("sys::signals::tests::body_of_a_child", CHILD, part);
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
    }

    #[test]
    fn every_signal_arrives_also_across_a_change_of_receiver() {
        assert_eq!(child("all"), Some(0));
    }

    #[test]
    fn a_second_interrupt_ends_a_stop_that_hangs() {
        assert_eq!(child("hanging"), Some(130));
    }

    /// Not a test by itself: handlers are one per process and stay.
    #[test]
    fn body_of_a_child() {
        match std::env::var(CHILD).as_deref() {
            Ok("all") => all_signals(),
            Ok(_) => hanging_stop(),
            Err(_) => {}
        }
    }

    fn hanging_stop() {
        let (to, from) = bounded(8);
        install(to).unwrap();
        raise(libc::SIGINT);
        assert_eq!(from.recv_timeout(PATIENCE), Ok(Signal::Interrupt));
        next_interrupt_exits(true);
        raise(libc::SIGINT);
        std::thread::sleep(PATIENCE);
    }

    fn all_signals() {
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
        let start = Instant::now();
        while POST.lock().kept.is_empty() && start.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
        let (to, from) = bounded(1);
        install(to).unwrap();
        assert_eq!(from.recv_timeout(PATIENCE), Ok(Signal::User1));

        // A full channel keeps the rest.
        for signal in [Signal::Hangup, Signal::Terminate, Signal::User2] {
            deliver(signal);
        }
        let (to, more) = bounded(8);
        install(to).unwrap();
        assert_eq!(from.try_recv(), Ok(Signal::Hangup));
        assert_eq!((more.try_recv(), more.try_recv()), (Ok(Signal::Terminate), Ok(Signal::User2)));
    }
}
