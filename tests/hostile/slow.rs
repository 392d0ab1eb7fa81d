//! Peers that take their time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{assert_serves, gateway, rss};
use crate::common::{Home, patience};

/// A connection that says a little, then a byte now and then or nothing.
struct Slow {
    kind: &'static str,
    stream: TcpStream,
    drip: &'static [u8],
    heard: Vec<u8>,
    opened: Instant,
    closed: Option<Duration>,
}

impl Slow {
    fn open(port: u16, kind: &'static str, first: &str, drip: &'static [u8]) -> Slow {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts");
        let opened = Instant::now();
        stream.write_all(first.as_bytes()).expect("room for a little");
        stream.set_nonblocking(true).expect("a socket");
        Slow { kind, stream, drip, heard: Vec::new(), opened, closed: None }
    }

    /// Says the next byte and hears what there is.
    fn step(&mut self) {
        let _ = self.stream.write(self.drip);
        let mut bytes = [0; 1024];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(n) if n > 0 => self.heard.extend_from_slice(&bytes[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                _ => break,
            }
        }
        self.closed = Some(self.opened.elapsed());
    }
}

#[test]
fn slow_heads_slow_bodies_and_silent_sockets_are_cut_at_their_deadlines_and_nobody_else_waits() {
    let home = Home::new();
    let gateway = gateway(&home);
    assert_serves(&gateway);
    let before = rss(&gateway);
    let mut all = Vec::new();
    let mut open = |count, kind, first: &str, drip| {
        all.extend((0..count).map(|_| Slow::open(gateway.port, kind, first, drip)));
    };
    open(200, "head", "GET /health HTTP/1.1\r\nHost: a\r\nX-Slow: ", b"x");
    open(10, "silent", "", b"");
    open(10, "body", "POST /health HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n", b"x");
    open(10, "idle", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n", b"");
    let deadline = Instant::now() + patience();
    while all.iter().any(|s| s.closed.is_none()) {
        assert!(Instant::now() < deadline, "{} are still open", all.iter().filter(|s| s.closed.is_none()).count());
        for slow in all.iter_mut().filter(|s| s.closed.is_none()) {
            slow.step();
        }
        assert_serves(&gateway);
        // The pause of the slow ones is what this is about.
        std::thread::sleep(Duration::from_millis(100));
    }
    for slow in &all {
        let heard = String::from_utf8_lossy(&slow.heard);
        // Deadlines of DECISIONS 3; whoever is cut also gets the second in which an answer may arrive.
        let (says, from, to) = match slow.kind {
            "head" => ("HTTP/1.1 408 ", 10.0, 13.0),
            "silent" => ("", 10.0, 13.0),
            "body" => ("HTTP/1.1 405 ", 0.9, 4.0),
            _ => ("HTTP/1.1 200 ", 5.0, 8.0),
        };
        assert!(heard.starts_with(says) && heard.is_empty() == says.is_empty(), "{}: {heard}", slow.kind);
        let took = slow.closed.expect("all are closed").as_secs_f64();
        let slack = patience().as_secs_f64() / 20.0 * 3.0;
        assert!(took >= from - 0.1 && took < to + slack, "{} was cut after {took} s", slow.kind);
    }
    let grown = rss(&gateway).saturating_sub(before);
    assert!(grown < 40_000, "230 slow peers took {grown} kB");
    assert_serves(&gateway);
}
