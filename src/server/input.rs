//! What a connection reads of HTTP: heads and bodies, each with its absolute deadline and its limit. Runs on the
//! connection's thread.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::link::{Link, is_timeout};
use super::reader::{Claim, InboundBudget};
use crate::http::body::Decoder;
use crate::http::{Head, Refusal, head};
use crate::hub::outbox::Outbox;
use crate::limits;

/// What was read from the socket and not used yet.
pub struct Input {
    link: Link,
    bytes: Vec<u8>,
    /// What the socket was told last.
    patience: Duration,
}

/// A body, and its share of what all connections together may hold.
#[derive(Default)]
pub struct Body {
    pub bytes: Vec<u8>,
    _claim: Option<Claim>,
}

/// What came while an answer is under way.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// More bytes: the next request, which waits.
    Bytes,
    Silence,
    /// The peer ended its half.
    End,
    Gone,
}

impl Input {
    pub fn new(link: Link) -> Input {
        Input { link, bytes: Vec::new(), patience: Duration::ZERO }
    }

    /// What was read behind the last request.
    pub fn take_rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// The next head. None: the peer closed, or sent nothing for `patience`.
    pub fn read_head(&mut self, patience: Duration) -> Result<Option<Head>, Refusal> {
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

    /// The whole body of a request that somebody wants, at most `max` bytes. A client that waits for `100 Continue` gets
    /// it. Err: 400 no body, 408 too slow, 413 too long, 503 too many large ones at once.
    pub fn read_body(
        &mut self,
        head: &Head,
        max: usize,
        outbox: &Arc<Outbox>,
        budget: &Arc<InboundBudget>,
    ) -> Result<Body, Refusal> {
        let mut decoder = Decoder::new(head.framing, max as u64)?;
        if head.expects_continue && !decoder.done() && self.bytes.is_empty() {
            outbox.raw_direct(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec(), None);
        }
        let (end, stall) = (Instant::now() + limits::HTTP_BODY_DEADLINE, body_stall());
        let mut body = Vec::new();
        let mut claim = None;
        while !decoder.done() {
            if self.bytes.is_empty() {
                match self.read_some(end.min(Instant::now() + stall)) {
                    Ok(1..) => {}
                    Ok(0) => return Err(Refusal(400)),
                    Err(e) if is_timeout(&e) => return Err(Refusal(408)),
                    // Whoever reset the connection reads no answer; any will do.
                    Err(_) => return Err(Refusal(400)),
                }
            }
            let used = decoder.feed(&self.bytes, &mut body)?;
            self.bytes.drain(..used);
            if body.len() > limits::BIG_MESSAGE_BYTES {
                let claim = claim.get_or_insert_with(|| Claim::new(budget.clone()));
                // What a growing vector holds in reserve counts, too.
                if !claim.grow_to(body.capacity()) {
                    return Err(Refusal(503));
                }
            }
        }
        Ok(Body { bytes: body, _claim: claim })
    }

    /// Reads a body that nobody wants away. False: it is too long, too slow, or not sent before we say that we want it;
    /// the connection has to end. Err: it is no body.
    pub fn discard_body(&mut self, head: &Head) -> Result<bool, Refusal> {
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

    /// Listens for at most `wait` while somebody else answers. A next request is kept, up to the size of a head.
    pub fn listen(&mut self, wait: Duration) -> Heard {
        if self.bytes.len() >= limits::HTTP_HEAD_BYTES {
            std::thread::sleep(wait.min(limits::LINGER_TIME));
            return Heard::Silence;
        }
        match self.read_some(Instant::now() + wait) {
            Ok(0) => Heard::End,
            Ok(_) => Heard::Bytes,
            Err(e) if is_timeout(&e) => Heard::Silence,
            Err(_) => Heard::Gone,
        }
    }

    /// Reads a little of what still comes away, so that the last answer arrives: a reset would eat it.
    pub fn linger(&mut self) {
        self.read_away(limits::LINGER_BYTES, limits::LINGER_TIME);
    }

    /// The same behind a body that was refused and may be under way: more of it, as long as it comes fast.
    pub fn linger_over_body(&mut self) {
        self.read_away(limits::LINGER_UPLOAD_BYTES, limits::LINGER_UPLOAD_TIME);
    }

    /// Each [`limits::LINGER_BYTES`] buy another [`limits::LINGER_TIME`].
    fn read_away(&mut self, most: usize, longest: Duration) {
        let begun = Instant::now();
        let mut read = 0;
        while read < most {
            self.bytes.clear();
            let bought = 1 + (read / limits::LINGER_BYTES) as u32;
            match self.read_some(begun + (limits::LINGER_TIME * bought).min(longest)) {
                Ok(0) | Err(_) => return,
                Ok(n) => read += n,
            }
        }
    }

    fn read_some(&mut self, deadline: Instant) -> io::Result<usize> {
        let wait = deadline.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // In whole milliseconds it is mostly the same as before, and a call less.
        let wait = Duration::from_millis(wait.as_millis() as u64 + 1);
        if wait != self.patience {
            self.link.set_patience(wait)?;
            self.patience = wait;
        }
        let mut piece = [0; 4096];
        let n = self.link.read(&mut piece)?;
        self.bytes.extend_from_slice(&piece[..n]);
        Ok(n)
    }
}

/// Tests do not wait for half a minute; a release build knows no such way.
#[cfg(debug_assertions)]
fn body_stall() -> Duration {
    let told = std::env::var("OPENCLAW_TEST_BODY_STALL_MS").ok().and_then(|ms| ms.parse().ok());
    told.map_or(limits::HTTP_BODY_STALL, Duration::from_millis)
}

#[cfg(not(debug_assertions))]
fn body_stall() -> Duration {
    limits::HTTP_BODY_STALL
}
