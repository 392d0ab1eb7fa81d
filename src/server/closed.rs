//! The door while no life of the gateway runs: after a restart that failed, whoever connects is told so at once instead
//! of waiting in the backlog. One thread per listener.

use std::io::IoSlice;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::certificate::InForce;
use super::link::Link;
use super::listen::{self, AcceptError, classify_accept_error};
use crate::http::{Reply, Shape};
use crate::limits;
use crate::sys::memory;
use crate::sys::poll::{self, WakePipe};

/// Longest wait without a look around.
const LOOK: Duration = Duration::from_secs(10);
const TEXT: &str = "The gateway could not restart. Its log says why.";

/// Answers 503 until it is dropped; the listeners stay the caller's.
pub struct ClosedDoor {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    /// None: clients come without TLS.
    tls: Option<InForce>,
    stop: AtomicBool,
    wakes: Vec<WakePipe>,
}

impl ClosedDoor {
    /// A listener that no thread can be had for is left alone: its clients wait in the backlog.
    pub fn start(listeners: &[TcpListener], tls: Option<InForce>) -> ClosedDoor {
        let doors: Vec<_> =
            listeners.iter().filter_map(|l| Some((l.try_clone().ok()?, WakePipe::new().ok()?))).collect();
        let (listeners, wakes): (Vec<_>, Vec<_>) = doors.into_iter().unzip();
        let shared = Arc::new(Shared { tls, stop: AtomicBool::new(false), wakes });
        let start = |(at, listener): (usize, TcpListener)| {
            let shared = shared.clone();
            thread::Builder::new()
                .name("closed".into())
                .stack_size(memory::stack(limits::CONNECTION_STACK))
                .spawn(move || refuse_until_stopped(&listener, &shared, at))
                .ok()
        };
        let threads = listeners.into_iter().enumerate().filter_map(start).collect();
        ClosedDoor { shared, threads }
    }
}

impl Drop for ClosedDoor {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wakes.iter().for_each(WakePipe::wake);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn refuse_until_stopped(listener: &TcpListener, shared: &Shared, at: usize) {
    while !shared.stop.load(Ordering::Acquire) {
        match listen::accept(listener) {
            Ok((stream, _)) => refuse(stream, shared.tls.as_ref()),
            Err(error) => match classify_accept_error(&error) {
                AcceptError::Next => {}
                AcceptError::Pause => thread::sleep(limits::ACCEPT_PAUSE),
                AcceptError::WouldBlock => {
                    if poll::wait(slice::from_ref(listener), &shared.wakes[at], Some(LOOK)).is_err() {
                        thread::sleep(limits::ACCEPT_PAUSE);
                    }
                }
            },
        }
    }
}

/// Whatever was asked for. What the peer sent is read first: closing over it would reset the answer away.
fn refuse(stream: TcpStream, tls: Option<&InForce>) {
    let half = limits::CLOSED_DOOR / 2;
    if stream.set_write_timeout(Some(half)).is_err() {
        return;
    }
    let Some(link) = Link::open(Arc::new(stream), tls, limits::CLOSED_DOOR_TLS) else { return };
    if link.set_patience(half).is_err() {
        return;
    }
    let _ = link.read(&mut [0; 4096]);
    let reply = Reply::text(503, TEXT).header("Retry-After", "5").print_whole(&Shape::default());
    let wire = link.wire();
    // Short enough for one write.
    let _ = wire.write(&[IoSlice::new(&reply)]);
    wire.shutdown(Shutdown::Write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn everybody_gets_503_and_the_listener_stays() {
        let listener = listen::open("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let door = ClosedDoor::start(std::slice::from_ref(&listener), None);
        for _ in 0..3 {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\r\nRetry-After: 5\r\n"), "{answer}");
        }
        drop(door);
        let waiting = TcpStream::connect(address).unwrap();
        assert_eq!(listen::accept(&listener).unwrap().1, waiting.local_addr().unwrap());
    }
}
