//! The receiving half of a WebSocket: tungstenite reads from an `Inflow` that follows frame headers, so that every
//! message has an absolute deadline, a bound on fragments and a share of the budget for big ones, and so that no byte
//! past a frame is handed on: a context swollen by a big message is replaced by a fresh one.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

use super::link::{Link, is_timeout};
use crate::hub::outbox::Outbox;
use crate::limits;
use crate::ws::close::Violation;
use crate::ws::follow::{Follower, Limits, Step};
use crate::ws::{Close, encode};

/// Bytes of big inbound messages that all connections may hold together.
#[derive(Debug)]
pub struct InboundBudget {
    used: AtomicUsize,
    limit: usize,
}

impl InboundBudget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(InboundBudget { used: AtomicUsize::new(0), limit })
    }

    fn acquire(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= self.limit);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// A share of the budget that grows with what is read; given back when it is dropped.
pub struct Claim {
    budget: Arc<InboundBudget>,
    held: usize,
}

impl Claim {
    pub fn new(budget: Arc<InboundBudget>) -> Claim {
        Claim { budget, held: 0 }
    }

    /// False: all connections together hold too much.
    pub fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.held);
        let granted = more == 0 || self.budget.acquire(more);
        self.held += if granted { more } else { 0 };
        granted
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.release(self.held);
    }
}

/// What the peer did.
#[derive(Debug)]
pub enum Next {
    Message(Message),
    /// A ping (its pong has been queued) or a pong.
    Alive,
    /// Nothing came for the time that was set.
    Silence,
    /// The peer closed in order; the echo of its close frame has been queued.
    Closed,
    /// The peer broke a rule: this is to be said.
    Broken(Close),
    /// The socket is gone.
    Gone,
}

/// How long a read may wait when no message has begun.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    Until(Instant),
    Each(Duration),
}

pub struct Reader {
    context: WebSocketContext,
    inflow: Inflow,
    max_message: usize,
}

/// A message longer than this leaves a context behind whose buffer is worth giving back.
const SWOLLEN: usize = 16 * 1024;

impl Reader {
    /// `early` are bytes that were read behind the upgrade request.
    pub fn new(link: Link, early: Vec<u8>, outbox: Arc<Outbox>, budget: Arc<InboundBudget>, limits: Limits) -> Reader {
        let max_message = limits.message_bytes as usize;
        let inflow = Inflow {
            link,
            outbox,
            buffer: early,
            at: 0,
            follower: Follower::new(limits),
            patience: Patience::Each(limits::PING_AFTER),
            timeout: None,
            message_deadline: None,
            pace: Pace { grace: limits::FRAME_DEADLINE, bytes_per_sec: limits::FRAME_BYTES_PER_SEC },
            budget,
            held: 0,
            control: Vec::new(),
        };
        Reader { context: context(max_message), inflow, max_message }
    }

    /// Raises the limits behind the handshake.
    pub fn set_limits(&mut self, limits: Limits) {
        self.max_message = limits.message_bytes as usize;
        self.inflow.follower.set_limits(limits);
        self.context = context(self.max_message);
    }

    pub fn set_patience(&mut self, patience: Patience) {
        self.inflow.patience = patience;
    }

    /// Waits for the next message; pongs and the echo of a close frame go to the outbox on the way.
    pub fn receive(&mut self) -> Next {
        loop {
            match self.context.read(&mut self.inflow) {
                Ok(Message::Ping(_)) => {
                    // tungstenite writes the pong at its next call.
                    let _ = self.context.flush(&mut self.inflow);
                    return Next::Alive;
                }
                Ok(Message::Pong(_) | Message::Frame(_)) => return Next::Alive,
                // So it does with the echo.
                Ok(Message::Close(_)) => {}
                Ok(message) => {
                    self.after_message(message.len());
                    return Next::Message(message);
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => return Next::Closed,
                Err(Error::Io(e)) if is_timeout(&e) => return Next::Silence,
                Err(error) => {
                    return match Close::for_read_error(&error) {
                        Some(close) => Next::Broken(close),
                        None => Next::Gone,
                    };
                }
            }
        }
    }

    fn after_message(&mut self, len: usize) {
        if len > SWOLLEN && self.inflow.follower.at_boundary() {
            self.context = context(self.max_message);
        }
    }

    /// Gives back the share of the budget that the last message took; called when it has been handled.
    pub fn handled(&mut self) {
        self.inflow.release();
    }

    /// Reads and throws away what the peer still sends, a little and for a short time: a reset would eat the answer.
    pub fn linger(&mut self) {
        let deadline = Instant::now() + limits::LINGER_TIME;
        let mut left = limits::LINGER_BYTES;
        let mut bytes = [0; 4096];
        while left > 0 {
            let Some(wait) = deadline.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) else { return };
            let _ = self.inflow.link.set_patience(wait);
            match self.inflow.link.read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(n) => left = left.saturating_sub(n),
            }
        }
    }
}

fn context(max_message: usize) -> WebSocketContext {
    let config = WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    WebSocketContext::new(Role::Server, Some(config))
}

/// How long a message may take from its first byte: a time for all, and the announced bytes at a slow sender's speed.
#[derive(Clone, Copy)]
struct Pace {
    grace: Duration,
    bytes_per_sec: u64,
}

/// Read side of the socket, one frame at a time; write side for tungstenite's own control frames.
struct Inflow {
    link: Link,
    /// Where tungstenite's own control frames go.
    outbox: Arc<Outbox>,
    buffer: Vec<u8>,
    at: usize,
    follower: Follower,
    patience: Patience,
    /// The receive time-out that the socket has now.
    timeout: Option<Duration>,
    message_deadline: Option<Instant>,
    pace: Pace,
    budget: Arc<InboundBudget>,
    /// Our share of the budget.
    held: usize,
    control: Vec<u8>,
}

const BUFFER: usize = 4096;

impl Inflow {
    fn waiting(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// One `recv` that waits as long as the state of affairs allows.
    fn receive(&mut self, into: Option<&mut [u8]>) -> io::Result<usize> {
        let left = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let wait = match (self.message_deadline, self.patience) {
            // A handshake is not prolonged by a message that has begun.
            (Some(message), Patience::Until(end)) => left(message.min(end)),
            (Some(deadline), Patience::Each(_)) | (None, Patience::Until(deadline)) => left(deadline),
            (None, Patience::Each(wait)) => wait,
        };
        if wait.is_zero() {
            return Err(self.too_late());
        }
        if self.timeout != Some(wait) {
            self.link.set_patience(wait)?;
            self.timeout = Some(wait);
        }
        let read = match into {
            Some(into) => self.link.read(into),
            None => {
                // On the stack: an idle connection keeps no buffer.
                let mut piece = [0; BUFFER];
                let read = self.link.read(&mut piece);
                self.buffer.clear();
                self.buffer.extend_from_slice(&piece[..read.as_ref().copied().unwrap_or(0)]);
                self.at = 0;
                read
            }
        };
        match read {
            Err(e) if is_timeout(&e) => Err(self.too_late()),
            read => read,
        }
    }

    /// Silence between messages, or until the end that the caller has set, is the caller's business; within one it
    /// breaks the rules.
    fn too_late(&self) -> io::Error {
        let ended = matches!(self.patience, Patience::Until(end) if end <= Instant::now());
        match self.message_deadline {
            Some(_) if !ended => io::Error::other(Violation(Close::policy("message took too long"))),
            _ => io::ErrorKind::WouldBlock.into(),
        }
    }

    fn took(&mut self, step: Step) -> io::Result<()> {
        if let Step::Announced(len) = step {
            let more = Duration::from_secs(len / self.pace.bytes_per_sec);
            let deadline = self.message_deadline.unwrap_or_else(|| Instant::now() + self.pace.grace);
            self.message_deadline = Some(deadline + more);
            let wanted = self.follower.message_bytes() as usize;
            if wanted > limits::BIG_MESSAGE_BYTES && wanted > self.held {
                if !self.budget.acquire(wanted - self.held) {
                    let close = Close::new(Close::TOO_BIG, "too many large messages at once; try again later");
                    return Err(io::Error::other(Violation(close)));
                }
                self.held = wanted;
            }
        }
        if self.follower.idle() {
            self.message_deadline = None;
        } else if self.message_deadline.is_none() {
            self.message_deadline = Some(Instant::now() + self.pace.grace);
        }
        Ok(())
    }

    fn release(&mut self) {
        if self.held > 0 && self.follower.idle() {
            self.budget.release(self.held);
            self.held = 0;
        }
    }

    /// What tungstenite wrote: pongs and the echo of the peer's close frame, whole frames each.
    fn pass_control_frames(&mut self) {
        while let [first, length, ..] = self.control[..] {
            let end = 2 + usize::from(length & 0x7f);
            if self.control.len() < end {
                return;
            }
            let rest = self.control.split_off(end);
            let frame = std::mem::replace(&mut self.control, rest);
            match first & 0x0f {
                encode::OPCODE_PONG => self.outbox.pong(frame),
                encode::OPCODE_CLOSE => self.outbox.close_raw(frame),
                _ => {}
            }
        }
    }
}

impl Read for Inflow {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.waiting().is_empty() {
            // A long payload goes straight where it belongs.
            let left = self.follower.payload_left();
            if left >= BUFFER as u64 && out.len() >= BUFFER {
                let room = left.min(out.len() as u64) as usize;
                let n = self.receive(Some(&mut out[..room]))?;
                if n > 0 {
                    let (_, step) = self.follower.take(&out[..n]).map_err(violation)?;
                    self.took(step)?;
                }
                return Ok(n);
            }
            if self.receive(None)? == 0 {
                return Ok(0);
            }
        }
        let end = self.waiting().len().min(out.len());
        let (n, step) = self.follower.take(&self.buffer[self.at..self.at + end]).map_err(violation)?;
        out[..n].copy_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
        self.took(step)?;
        Ok(n)
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.budget.release(self.held);
    }
}

/// One read; a signal that happened to be delivered to this thread is not the peer's silence.
fn violation(close: Close) -> io::Error {
    io::Error::other(Violation(close))
}

impl Write for Inflow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.control.extend_from_slice(bytes);
        self.pass_control_frames();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
pub mod tests;
