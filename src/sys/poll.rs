//! Waiting for listeners, for another descriptor or for nothing but the clock, and for a wake-up at the same time.
//!
//! Used by the accept thread and the reload thread, one `WakePipe` each; any thread may call `wake`. Nothing here is for
//! signal handlers.

use std::io;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

/// What ended the wait; both false = the time is over. Both may be true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// `accept` is worth a try on one of them (it may still answer WouldBlock: listeners must be non-blocking).
    pub listener: bool,
    /// `wake` was called since the last `drain`.
    pub woken: bool,
}

#[cfg(unix)]
pub use unix::{WakePipe, pause, wait, wait_sockets};

#[cfg(target_os = "linux")]
pub(super) use unix::wait_fd;

#[cfg(not(unix))]
pub use portable::{WakePipe, pause, wait, wait_sockets};

#[cfg(unix)]
mod unix {
    use super::*;
    use std::io::{PipeReader, PipeWriter, Read, Write};
    use std::iter;
    use std::os::fd::{AsRawFd, RawFd};
    use std::time::Instant;

    /// A pipe whose only message is "look up": non-blocking, closed on exec.
    #[derive(Debug)]
    pub struct WakePipe {
        read: PipeReader,
        write: PipeWriter,
    }

    impl WakePipe {
        pub fn new() -> io::Result<WakePipe> {
            let (read, write) = io::pipe()?;
            set_nonblocking(read.as_raw_fd())?;
            set_nonblocking(write.as_raw_fd())?;
            Ok(WakePipe { read, write })
        }

        /// Ends a `wait` that runs or the next one. Never blocks: a full pipe is a wake-up already.
        pub fn wake(&self) {
            let _ = (&self.write).write(&[1]);
        }

        /// Forgets the wake-ups so far.
        pub fn drain(&self) {
            let mut bytes = [0u8; 64];
            while matches!((&self.read).read(&mut bytes), Ok(n) if n == bytes.len()) {}
        }
    }

    /// Blocks until a listener has a connection, `wake` was called or the time is over (None: for ever).
    pub fn wait(listeners: &[TcpListener], wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        wait_fds(listeners.iter().map(AsRawFd::as_raw_fd), wake, timeout)
    }

    /// Blocks until `wake` was called or the time is over.
    pub fn pause(wake: &WakePipe, timeout: Duration) -> io::Result<()> {
        wait_fds(iter::empty(), wake, Some(timeout)).map(drop)
    }

    /// The same as `wait` for sockets of datagrams.
    pub fn wait_sockets(sockets: &[&UdpSocket], wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        wait_fds(sockets.iter().map(|socket| socket.as_raw_fd()), wake, timeout)
    }

    /// The same as `wait` for any descriptor.
    pub fn wait_fd(fd: RawFd, wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        wait_fds(iter::once(fd), wake, timeout)
    }

    fn wait_fds(others: impl Iterator<Item = RawFd>, wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        let deadline = timeout.map(|t| Instant::now() + t);
        let entry = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds: Vec<_> = iter::once(wake.read.as_raw_fd()).chain(others).map(entry).collect();
        loop {
            let left = match deadline {
                None => -1,
                // Rounded up: a wait of 0.4 ms must not become a busy loop.
                Some(at) => {
                    at.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000).min(i32::MAX as u128) as i32
                }
            };
            // SAFETY: the entries live through the call and their descriptors are borrowed for it.
            let n = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, left) };
            if n >= 0 {
                let (wake, listeners) = fds.split_first().expect("the pipe is there");
                return Ok(Ready { listener: listeners.iter().any(|fd| fd.revents != 0), woken: wake.revents != 0 });
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }

    fn set_nonblocking(fd: RawFd) -> io::Result<()> {
        // SAFETY: fcntl on a descriptor that the caller holds open.
        let status = unsafe {
            let flags = libc::fcntl(fd, libc::F_GETFL);
            if flags < 0 { flags } else { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) }
        };
        if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Without `poll`: looks every 50 ms and says that the listener may be ready; a wake-up is noticed at once.
#[cfg_attr(unix, allow(dead_code))]
mod portable {
    use super::*;
    use parking_lot::{Condvar, Mutex};

    const LOOK: Duration = Duration::from_millis(50);

    #[derive(Debug, Default)]
    pub struct WakePipe {
        woken: Mutex<bool>,
        changed: Condvar,
    }

    impl WakePipe {
        pub fn new() -> io::Result<WakePipe> {
            Ok(WakePipe::default())
        }

        pub fn wake(&self) {
            *self.woken.lock() = true;
            self.changed.notify_all();
        }

        pub fn drain(&self) {
            *self.woken.lock() = false;
        }
    }

    pub fn pause(wake: &WakePipe, timeout: Duration) -> io::Result<()> {
        let mut woken = wake.woken.lock();
        if !*woken {
            wake.changed.wait_for(&mut woken, timeout);
        }
        Ok(())
    }

    /// The same for sockets of datagrams.
    pub fn wait_sockets(_sockets: &[&UdpSocket], wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        wait(&[], wake, timeout)
    }

    pub fn wait(_listeners: &[TcpListener], wake: &WakePipe, timeout: Option<Duration>) -> io::Result<Ready> {
        let mut woken = wake.woken.lock();
        if !*woken {
            wake.changed.wait_for(&mut woken, timeout.map_or(LOOK, |t| t.min(LOOK)));
        }
        Ok(Ready { listener: true, woken: *woken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::time::Instant;

    fn listeners() -> [TcpListener; 2] {
        [(); 2].map(|()| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        })
    }

    #[test]
    fn ends_for_a_connection_a_wake_up_and_the_time() {
        let (listeners, pipe) = (listeners(), WakePipe::new().unwrap());
        if cfg!(unix) {
            assert_eq!(wait(&listeners, &pipe, Some(Duration::from_millis(1))).unwrap(), Ready::default());
        }
        for listener in &listeners {
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            assert!(wait(&listeners, &pipe, Some(Duration::from_secs(10))).unwrap().listener);
            listener.accept().unwrap();
        }
        pipe.wake();
        pipe.wake();
        assert!(wait(&listeners, &pipe, None).unwrap().woken);
        pipe.drain();
        assert!(!wait(&listeners, &pipe, Some(Duration::ZERO)).unwrap().woken);
    }

    #[test]
    fn a_wake_up_from_another_thread_ends_a_long_wait() {
        let (listeners, pipe) = (listeners(), WakePipe::new().unwrap());
        let start = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| pipe.wake());
            while !wait(&listeners, &pipe, Some(Duration::from_secs(60))).unwrap().woken {}
        });
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_pause_ends_by_the_clock_or_a_wake_up() {
        let (pipe, other) = (WakePipe::new().unwrap(), portable::WakePipe::new().unwrap());
        let start = Instant::now();
        pause(&pipe, Duration::from_millis(10)).unwrap();
        portable::pause(&other, Duration::from_millis(10)).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(20));
        pipe.wake();
        other.wake();
        pause(&pipe, Duration::from_secs(60)).unwrap();
        portable::pause(&other, Duration::from_secs(60)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_full_pipe_does_not_block_the_caller() {
        let pipe = WakePipe::new().unwrap();
        for _ in 0..100_000 {
            pipe.wake();
        }
        pipe.drain();
        assert!(!wait(&listeners(), &pipe, Some(Duration::ZERO)).unwrap().woken);
    }

    #[test]
    fn the_portable_form_does_the_same() {
        let (listeners, pipe) = (listeners(), portable::WakePipe::new().unwrap());
        assert_eq!(
            portable::wait(&listeners, &pipe, Some(Duration::ZERO)).unwrap(),
            Ready { listener: true, woken: false }
        );
        pipe.wake();
        assert!(portable::wait(&listeners, &pipe, None).unwrap().woken);
        pipe.drain();
        assert!(!portable::wait(&listeners, &pipe, Some(Duration::ZERO)).unwrap().woken);
    }
}
