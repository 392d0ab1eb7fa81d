//! One TCP connection: requests in order, each with its deadlines, until it is upgraded, asked to close, or breaks a
//! rule. Runs on a connection thread.

use std::io::{self, BufWriter, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;

use super::sockets::Ticket;
use super::websocket::{self, Upgrade};
use super::{Doors, Refused};
use crate::http::body::Decoder;
use crate::http::{Head, Refusal, Reply, head};
use crate::limits;
use crate::policy::auth;
use crate::policy::net;

pub fn serve(doors: &Arc<Doors>, stream: Arc<TcpStream>, mut ticket: Ticket) {
    // Nagle's algorithm would hold small frames back for 40 ms.
    let _ = stream.set_nodelay(true);
    if stream.set_write_timeout(Some(limits::WRITE_STALL)).is_err() {
        return;
    }
    let mut input = Input { stream: stream.clone(), bytes: Vec::new() };
    let mut patience = limits::HTTP_FIRST_BYTE;
    loop {
        let head = match input.read_head(patience) {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(refusal) => {
                let _ = answer(doors, &stream, status_reply(refusal.0), false, false);
                return linger(&stream);
            }
        };
        if head.method == "CONNECT" {
            return;
        }
        if head.wants_websocket() {
            let upgrade = Upgrade { stream: stream.clone(), early: std::mem::take(&mut input.bytes), head };
            match websocket::serve(doors, upgrade, &mut ticket) {
                Ok(()) => return,
                Err(Refused(reply)) => {
                    let _ = answer(doors, &stream, reply, false, false);
                    return linger(&stream);
                }
            }
        }
        let mut reply = route(doors, &head, &ticket);
        let mut keep = head.keep_alive && doors.ctx.ready.load(Ordering::Relaxed) && !head.expects_continue;
        // What the handler left unread is read away, a little of it; otherwise it would be taken for the next request.
        match input.discard_body(&head) {
            Ok(whole) => keep &= whole,
            Err(refusal) => (reply, keep) = (status_reply(refusal.0), false),
        }
        if answer(doors, &stream, reply, keep, head.method == "HEAD").is_err() {
            return;
        }
        if !keep {
            return linger(&stream);
        }
        patience = limits::HTTP_KEEPALIVE;
    }
}

/// Which handler a request belongs to.
fn route(doors: &Doors, head: &Head, ticket: &Ticket) -> Reply {
    match head.path() {
        "/health" | "/healthz" | "/ready" | "/readyz" => probe(doors, head, ticket),
        _ => Reply::text(404, "Not Found"),
    }
}

/// The probes (http 7): no auth, no lock-out; details only for callers on this machine or with the secret.
fn probe(doors: &Doors, head: &Head, ticket: &Ticket) -> Reply {
    if head.method != "GET" && head.method != "HEAD" {
        return Reply::text(405, "Method Not Allowed").header("Allow", "GET, HEAD");
    }
    let ctx = &doors.ctx;
    let reply = if head.path().starts_with("/health") {
        Reply::json(200, &json!({"ok": true, "status": "live"}))
    } else {
        let ready = ctx.ready.load(Ordering::Relaxed) && !ctx.is_draining();
        let status = if ready { 200 } else { 503 };
        if may_see_details(doors, head, ticket) {
            Reply::json(status, &json!({"ready": ready, "failing": [], "uptimeMs": ctx.uptime_ms()}))
        } else {
            Reply::json(status, &json!({"ready": ready}))
        }
    };
    reply.header("Cache-Control", "no-store")
}

fn may_see_details(doors: &Doors, head: &Head, ticket: &Ticket) -> bool {
    let live = doors.ctx.live();
    let headers = head.headers().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let from = net::Head { peer: ticket.address(), headers };
    let caller = net::Caller::resolve(&from, &live.auth.proxies, live.config.gateway.allow_real_ip_fallback);
    if caller.local_direct {
        return true;
    }
    // A probe without a secret is no attempt to log in, and one with a wrong secret is charged.
    head.header("authorization").is_some()
        && auth::authorize_bearer(&live.auth, &from, &caller, &doors.ctx.limiter, doors.ctx.uptime_ms()).is_ok()
}

fn status_reply(status: u16) -> Reply {
    match status {
        400 => Reply::empty(400),
        408 => Reply::text(408, "Request Timeout"),
        413 => Reply::text(413, "Payload Too Large"),
        417 => Reply::text(417, "Expectation Failed"),
        431 => Reply::text(431, "Request Header Fields Too Large"),
        501 => Reply::text(501, "Not Implemented"),
        other => Reply::empty(other),
    }
}

/// A plain answer for a connection that cannot be served at all.
pub fn refuse_connection(stream: &TcpStream) {
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let reply = Reply::text(503, "Too many connections").header("Retry-After", "1");
    let _ = reply.print(&mut &*stream, false, false, None);
    // What has come already is read away without waiting: unread, it would turn the close into a reset.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut bytes = [0; 4096];
    if stream.set_nonblocking(true).is_ok() {
        for _ in 0..limits::LINGER_BYTES / bytes.len() {
            if !matches!((&*stream).read(&mut bytes), Ok(1..)) {
                return;
            }
        }
    }
}

fn answer(doors: &Doors, stream: &TcpStream, reply: Reply, keep: bool, head_only: bool) -> io::Result<()> {
    let config = doors.ctx.config();
    let mut out = BufWriter::with_capacity(4096, stream);
    reply.print(&mut out, keep, head_only, config.gateway.strict_transport_security.as_deref())?;
    out.flush()
}

/// Closes so that the answer arrives: the sending half first, then a little of what still comes is read away.
fn linger(stream: &TcpStream) {
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let deadline = Instant::now() + limits::LINGER_TIME;
    let mut left = limits::LINGER_BYTES;
    let mut bytes = [0; 4096];
    while left > 0 {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() || stream.set_read_timeout(Some(wait)).is_err() {
            return;
        }
        match (&*stream).read(&mut bytes) {
            Ok(0) | Err(_) => return,
            Ok(n) => left = left.saturating_sub(n),
        }
    }
}

/// What was read from the socket and not used yet.
struct Input {
    stream: Arc<TcpStream>,
    bytes: Vec<u8>,
}

impl Input {
    /// The next head. None: the peer closed, or sent nothing for `patience`.
    fn read_head(&mut self, patience: Duration) -> Result<Option<Head>, Refusal> {
        let mut deadline = Instant::now() + patience;
        let mut begun = false;
        loop {
            // Blank lines before a request are allowed, a stream of them is not a request.
            let blank = self.bytes.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
            if !begun && blank > 0 && blank <= 4 {
                self.bytes.drain(..blank);
            }
            if !self.bytes.is_empty() {
                if !begun {
                    begun = true;
                    deadline = Instant::now() + limits::HTTP_HEAD_DEADLINE;
                }
                if let Some((head, end)) = head::parse(&self.bytes)? {
                    self.bytes.drain(..end);
                    return Ok(Some(head));
                }
            }
            match self.read_some(deadline) {
                Ok(0) if begun => return Err(Refusal(400)),
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(e) if is_timeout(&e) && begun => return Err(Refusal(408)),
                Err(_) => return Ok(None),
            }
        }
    }

    /// Reads the rest of a body away. False: it is too long, too slow, or not sent before we say that we want it; the
    /// connection has to end. Err: it is no body.
    fn discard_body(&mut self, head: &Head) -> Result<bool, Refusal> {
        let Ok(mut decoder) = Decoder::new(head.framing, limits::LINGER_BYTES as u64) else { return Ok(false) };
        if head.expects_continue {
            return Ok(false);
        }
        let deadline = Instant::now() + limits::LINGER_TIME;
        let mut sink = Vec::new();
        while !decoder.done() {
            if self.bytes.is_empty() && !matches!(self.read_some(deadline), Ok(1..)) {
                return Ok(false);
            }
            match decoder.feed(&self.bytes, &mut sink) {
                Ok(n) => drop(self.bytes.drain(..n)),
                // Too long to be read away is no fault of a body that nobody wants.
                Err(Refusal(413)) => return Ok(false),
                Err(refusal) => return Err(refusal),
            }
            sink.clear();
        }
        Ok(true)
    }

    fn read_some(&mut self, deadline: Instant) -> io::Result<usize> {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(wait))?;
        let mut piece = [0; 2048];
        match (&*self.stream).read(&mut piece) {
            // A signal that happened to be delivered to this thread.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => self.read_some(deadline),
            read => {
                let n = read?;
                self.bytes.extend_from_slice(&piece[..n]);
                Ok(n)
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}
