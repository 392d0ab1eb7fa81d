//! What waits to be sent to one client, and who may write to its socket.
//!
//! One leaf lock guards queue, bytes, `seq` and the pen. The order on the wire is the order of taking that lock.
//! Blocking writes happen without it, by the holder of the pen: the connection's reader (a direct answer) or the
//! client's writer thread, which starts when it is first needed and ends after a while without work. Everybody else
//! sends without blocking under the lock, and only if the pen is free and nothing waits.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use parking_lot::{Condvar, Mutex};

use crate::http::Bytes;
use crate::limits;
use crate::protocol::frame;
use crate::ws::{Close, encode};

/// The sending half of a connection. `server` supplies it for TCP and for TLS, tests in memory.
pub trait Wire: Send + Sync {
    /// Writes some bytes, blocking at most for [`limits::WRITE_STALL`]; the pen holder alone calls it. With none to
    /// write: only what the wire itself has to say.
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what fits now. `WouldBlock`: nothing fits, or this wire cannot tell (it then only queues).
    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize>;

    fn shutdown(&self, how: Shutdown);
}

/// Unsent bytes of all clients together.
#[derive(Debug, Default)]
pub struct Budget {
    unsent: AtomicUsize,
    limit: usize,
}

impl Budget {
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Budget { unsent: AtomicUsize::new(0), limit })
    }

    /// Bytes that all clients together hold beyond what memory should answer for: the fattest have to go.
    pub fn excess(&self) -> usize {
        self.unsent.load(Ordering::Relaxed).saturating_sub(self.limit)
    }

    pub fn unsent(&self) -> usize {
        self.unsent.load(Ordering::Relaxed)
    }

    pub fn exceeded(&self) -> bool {
        self.excess() > 0
    }
}

/// An event as every client gets it: serialised once, only the head with `seq` differs per client.
#[derive(Clone, Debug)]
pub struct EventFrame {
    /// `"event":"tick","payload":{…}}`: the frame behind its head (`protocol::frame::event_body`).
    pub body: Arc<[u8]>,
    /// Takes a number of the connection's `seq`.
    pub numbered: bool,
    /// May be skipped for a client that is too slow.
    pub droppable: bool,
    /// Replaces an unsent event with the same name in its place.
    pub replaces: Option<&'static str>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// On the wire or in the queue.
    Yes,
    /// The client is slow and the event was droppable: a gap in its `seq` tells it to refresh.
    Skipped,
    /// The client was too slow and is being closed, or was closed before.
    Closed,
    /// It did not read its answer, and was cut just now.
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pen {
    Free,
    Reader,
    Writer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame is queued; nothing is accepted behind it.
    Closing,
    Dead,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Answer,
    Event(Option<&'static str>),
    /// A ping or a pong.
    Control,
    Close,
}

/// What follows a piece of an HTTP answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// More of it; meanwhile this may be sent as a sign of life.
    More(&'static [u8]),
    /// The answer to the next request.
    Next,
    /// The end of the connection.
    Nothing,
}

/// The reason that a client is given which does not read what it is sent.
pub const SLOW_CONSUMER: &str = "slow consumer";

/// Tests should not wait for half a minute to see a writer end.
const WRITER_IDLE: Duration = if cfg!(test) { Duration::from_millis(50) } else { limits::WRITER_IDLE };

/// WebSocket header plus `{"type":"event","seq":<20 digits>,`.
const HEAD_MAX: usize = encode::HEADER_MAX + 46;

#[derive(Debug)]
struct Item {
    kind: Kind,
    head: [u8; HEAD_MAX],
    head_len: u8,
    body: Bytes,
    seq: u64,
    sent: usize,
}

impl Item {
    fn message(opcode: u8, payload: Vec<u8>) -> Item {
        let mut head = [0; HEAD_MAX];
        let mut ws = [0; encode::HEADER_MAX];
        let n = encode::header(opcode, payload.len(), &mut ws);
        head[..n].copy_from_slice(&ws[..n]);
        Item { kind: Kind::Answer, head, head_len: n as u8, body: Bytes::Own(payload), seq: 0, sent: 0 }
    }

    fn event(event: &EventFrame, seq: u64) -> Item {
        use std::io::Write as _;
        let mut json = [0u8; HEAD_MAX - encode::HEADER_MAX];
        let room = json.len();
        let mut rest = &mut json[..];
        let written = match event.numbered {
            true => write!(rest, "{{\"type\":\"event\",\"seq\":{seq},"),
            false => rest.write_all(frame::EVENT_HEAD),
        };
        written.expect("the head has room for any seq");
        let json_len = room - rest.len();
        let mut ws = [0; encode::HEADER_MAX];
        let n = encode::header(encode::OPCODE_TEXT, json_len + event.body.len(), &mut ws);
        let mut head = [0; HEAD_MAX];
        head[..n].copy_from_slice(&ws[..n]);
        head[n..n + json_len].copy_from_slice(&json[..json_len]);
        Item {
            kind: Kind::Event(event.replaces),
            head,
            head_len: (n + json_len) as u8,
            body: Bytes::Shared(event.body.clone()),
            seq,
            sent: 0,
        }
    }

    /// A frame that is complete already.
    fn raw(kind: Kind, body: Bytes) -> Item {
        Item { kind, head: [0; HEAD_MAX], head_len: 0, body, seq: 0, sent: 0 }
    }

    fn len(&self) -> usize {
        usize::from(self.head_len) + self.body.as_slice().len()
    }

    fn left(&self) -> usize {
        self.len() - self.sent
    }

    /// What has not been sent, as up to two slices.
    fn slices(&self) -> [IoSlice<'_>; 2] {
        let mut skip = self.sent;
        [&self.head[..usize::from(self.head_len)], self.body.as_slice()].map(|part: &[u8]| {
            let n = skip.min(part.len());
            skip -= n;
            IoSlice::new(&part[n..])
        })
    }
}

struct State {
    queue: VecDeque<Item>,
    /// Unsent bytes in the queue and in the hands of the pen holder, and how many of them are answers.
    unsent: usize,
    answers: usize,
    seq: u64,
    pen: Pen,
    phase: Phase,
    /// What our close frame says, when there is one.
    close: Option<Close>,
    /// A sign of life that may stand where the stream is now: between two pieces of an answer that is under way.
    pulse: Option<&'static [u8]>,
    /// The same before the first piece of an answer that is owed.
    interim: Option<&'static [u8]>,
    pieces: u64,
    /// Bytes of a piece larger than the limit, while more than the limit waits.
    oversize: usize,
    /// An HTTP answer is being made by another thread.
    answering: bool,
    /// Wakes the writer thread; None when there is none.
    writer: Option<Sender<()>>,
}

pub struct Outbox {
    name: String,
    state: Mutex<State>,
    /// Something was written or the outbox died.
    progress: Condvar,
    wire: Box<dyn Wire>,
    budget: Arc<Budget>,
    max_buffered: usize,
}

impl Outbox {
    /// `name` names the writer thread; `max_buffered` is the advertised `policy.maxBufferedBytes`.
    pub fn new(name: String, wire: Box<dyn Wire>, budget: Arc<Budget>, max_buffered: usize) -> Arc<Outbox> {
        Arc::new(Outbox {
            name,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                unsent: 0,
                answers: 0,
                seq: 0,
                pen: Pen::Free,
                phase: Phase::Open,
                close: None,
                pulse: None,
                interim: None,
                pieces: 0,
                oversize: 0,
                answering: false,
                writer: None,
            }),
            progress: Condvar::new(),
            wire,
            budget,
            max_buffered,
        })
    }

    /// Lets the wire say what it has to say by itself (TLS: an alert): an empty item takes a turn with the pen.
    pub fn take_turn(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let waits = state.queue.back().is_some_and(|item| item.len() == 0);
        if state.phase == Phase::Open && !waits {
            state.queue.push_back(Item::raw(Kind::Control, Bytes::Own(Vec::new())));
            if state.pen == Pen::Free {
                self.give_pen_to_writer(&mut state);
            }
        }
    }

    /// Queues a response. Responses are never dropped; the reader stops reading while too many wait.
    pub fn answer(self: &Arc<Self>, frame: Vec<u8>) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            self.push(&mut state, Item::message(encode::OPCODE_TEXT, frame));
        }
    }

    /// A response by the connection's own reader: written at once when nothing waits, blocking if it must.
    pub fn answer_direct(self: &Arc<Self>, frame: Vec<u8>) {
        self.send_direct(encode::OPCODE_TEXT, frame);
    }

    /// The same with a message of either kind.
    pub fn send_direct(self: &Arc<Self>, opcode: u8, payload: Vec<u8>) {
        self.items_direct(vec![Item::message(opcode, payload)]);
    }

    /// Bytes as they are, without a frame: an HTTP answer by the connection's own reader.
    pub fn raw_direct(self: &Arc<Self>, head: Vec<u8>, body: Option<Bytes>) {
        let body = body.map(|body| Item::raw(Kind::Answer, body));
        self.items_direct([Item::raw(Kind::Answer, Bytes::Own(head))].into_iter().chain(body).collect());
    }

    fn items_direct(self: &Arc<Self>, mut items: Vec<Item>) {
        {
            let mut state = self.state.lock();
            if state.phase != Phase::Open {
                return;
            }
            if state.pen != Pen::Free || !state.queue.is_empty() {
                return items.into_iter().for_each(|item| self.push(&mut state, item));
            }
            state.pen = Pen::Reader;
            items.iter().for_each(|item| self.add(&mut state, item));
        }
        let written = self.write_whole(&mut items);
        let mut state = self.state.lock();
        items.iter().for_each(|item| self.subtract(&mut state, item, item.left()));
        match written {
            Ok(()) => self.release(&mut state),
            Err(_) => self.die(&mut state),
        }
    }

    /// From here on somebody else answers, in pieces ([`Outbox::raw`]); `interim` is what [`Outbox::probe`] may send
    /// before the first.
    pub fn begin_answer(&self, interim: Option<&'static [u8]>) {
        let mut state = self.state.lock();
        state.answering = true;
        (state.pulse, state.interim) = (None, interim);
    }

    /// A piece of an HTTP answer from another thread: sent without blocking, or queued. `Cut`: the peer reads so slowly
    /// that more than `max_buffered` waits for it; a piece is never skipped, so that is the end of the connection. A
    /// piece larger than that (whoever joins a run late hears all of it at once) does not count for those behind it.
    /// `Closed`: it is gone.
    pub fn raw(self: &Arc<Self>, bytes: Vec<u8>, behind: Behind) -> Sent {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Sent::Closed;
        }
        if state.unsent <= self.max_buffered {
            state.oversize = 0;
        } else if state.unsent - self.max_buffered > state.oversize {
            self.die(&mut state);
            return Sent::Cut;
        }
        if bytes.len() > self.max_buffered {
            state.oversize = state.oversize.max(bytes.len());
        }
        state.pieces += 1;
        state.interim = None;
        self.push(&mut state, Item::raw(Kind::Answer, Bytes::Own(bytes)));
        match behind {
            Behind::More(pulse) => state.pulse = Some(pulse),
            Behind::Next | Behind::Nothing => {
                state.answering = false;
                state.pulse = None;
                if behind == Behind::Nothing {
                    self.enter_closing(&mut state);
                }
                self.progress.notify_all();
            }
        }
        if state.phase == Phase::Dead { Sent::Closed } else { Sent::Yes }
    }

    /// A sign of life in a stream that is under way and has nothing waiting. True: it was sent.
    pub fn pulse(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let pulse = state.pulse;
        self.sign(&mut state, pulse)
    }

    /// The same, also before an answer has begun: for a peer that may be gone. Not every client that is there survives
    /// an interim answer it has not asked for (Node's `fetch` does not).
    pub fn probe(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let sign = state.pulse.or(state.interim);
        self.sign(&mut state, sign)
    }

    fn sign(self: &Arc<Self>, state: &mut State, bytes: Option<&'static [u8]>) -> bool {
        let Some(bytes) = bytes.filter(|_| state.phase == Phase::Open && state.unsent == 0) else { return false };
        self.push(state, Item::raw(Kind::Control, Bytes::Own(bytes.to_vec())));
        true
    }

    /// Pieces queued so far: whoever gives signs of life sees whether one is needed.
    pub fn pieces(&self) -> u64 {
        self.state.lock().pieces
    }

    /// Waits until the answer that was begun is complete. False: it is not, after `wait`, or it never will be.
    pub fn wait_answered(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        let mut state = self.state.lock();
        while state.answering && state.phase != Phase::Dead {
            if self.progress.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        !state.answering
    }

    /// Sends what waits, then ends the sending half: the end of an HTTP connection.
    pub fn finish(&self) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            self.enter_closing(&mut state);
        }
    }

    /// Queues an event, or sends it at once without blocking.
    pub fn event(self: &Arc<Self>, frame: &EventFrame) -> Sent {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return Sent::Closed;
        }
        if let Some(name) = frame.replaces
            && let Some(at) = state.queue.iter().position(|i| i.kind == Kind::Event(Some(name)) && i.sent == 0)
        {
            let newer = Item::event(frame, state.queue[at].seq);
            let older = state.queue[at].len();
            self.add(&mut state, &newer);
            self.forget(&mut state, older, false);
            state.queue[at] = newer;
            return Sent::Yes;
        }
        if state.unsent + frame.body.len() > self.max_buffered {
            if frame.droppable {
                state.seq += u64::from(frame.numbered);
                return Sent::Skipped;
            }
            self.close_locked(&mut state, &Close::policy(SLOW_CONSUMER), true);
            return Sent::Closed;
        }
        state.seq += u64::from(frame.numbered);
        let item = Item::event(frame, state.seq);
        self.push(&mut state, item);
        if state.phase == Phase::Open { Sent::Yes } else { Sent::Closed }
    }

    /// A pong; of several unsent ones only the newest waits.
    pub fn pong(self: &Arc<Self>, frame: Vec<u8>) {
        let mut state = self.state.lock();
        if state.phase != Phase::Open {
            return;
        }
        if let Some(at) = state.queue.iter().position(|i| i.kind == Kind::Control && i.sent == 0) {
            let newer = Item::raw(Kind::Control, Bytes::Own(frame));
            let older = state.queue[at].len();
            self.add(&mut state, &newer);
            self.forget(&mut state, older, false);
            state.queue[at] = newer;
        } else {
            self.push(&mut state, Item::raw(Kind::Control, Bytes::Own(frame)));
        }
    }

    /// Pings the client, unless something waits for it: then the time limit of writing watches over it. True: it was
    /// pinged.
    pub fn ping(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        let idle = state.phase == Phase::Open && state.unsent == 0;
        if idle {
            self.push(
                &mut state,
                Item::raw(Kind::Control, Bytes::Own(encode::control_frame(encode::OPCODE_PING, b""))),
            );
        }
        idle
    }

    /// Sends what waits, then the close frame, then ends the sending half. Nothing is accepted behind it.
    pub fn close(self: &Arc<Self>, close: &Close) {
        let mut state = self.state.lock();
        self.close_locked(&mut state, close, false);
    }

    /// The same for a client that does not read: what has not begun to leave is forgotten.
    pub fn close_now(self: &Arc<Self>, close: &Close) {
        let mut state = self.state.lock();
        self.close_locked(&mut state, close, true);
    }

    /// A close frame that is encoded already (the echo of the peer's).
    pub fn close_raw(self: &Arc<Self>, frame: Vec<u8>) {
        let mut state = self.state.lock();
        if state.phase == Phase::Open {
            self.push(&mut state, Item::raw(Kind::Close, Bytes::Own(frame)));
            self.enter_closing(&mut state);
        }
    }

    /// Ends the socket at once, in both directions.
    pub fn cut(&self) {
        self.die(&mut self.state.lock());
    }

    pub fn is_open(&self) -> bool {
        self.state.lock().phase == Phase::Open
    }

    /// What we closed it with; None when we did not.
    pub fn closed_with(&self) -> Option<Close> {
        self.state.lock().close.clone()
    }

    pub fn unsent(&self) -> usize {
        self.state.lock().unsent
    }

    /// Waits while more than [`limits::UNSENT_ANSWERS_BYTES`] of answers (or, when all clients together hold too
    /// much, any) wait for this client. False: it made no progress for `stall`, or it is gone.
    pub fn wait_for_room(&self, stall: Duration) -> bool {
        let mut state = self.state.lock();
        loop {
            let allowed = if self.budget.exceeded() { 0 } else { limits::UNSENT_ANSWERS_BYTES };
            if state.phase == Phase::Dead {
                return false;
            }
            if state.answers <= allowed {
                return true;
            }
            let before = state.unsent;
            let timed_out = self.progress.wait_for(&mut state, stall).timed_out();
            if timed_out && state.unsent >= before {
                return false;
            }
        }
    }

    /// Waits until nothing is queued or in anybody's hands, or until `deadline`. True: all has left.
    pub fn wait_sent(&self, deadline: Instant) -> bool {
        let mut state = self.state.lock();
        while state.unsent > 0 && state.phase != Phase::Dead {
            if self.progress.wait_until(&mut state, deadline).timed_out() {
                return state.unsent == 0;
            }
        }
        state.phase != Phase::Dead
    }

    fn close_locked(self: &Arc<Self>, state: &mut State, close: &Close, discard: bool) {
        if state.phase != Phase::Open {
            return;
        }
        if discard {
            // A frame that has begun must end, or the peer cannot read the close frame behind it.
            let keep = usize::from(state.queue.front().is_some_and(|i| i.sent > 0));
            while state.queue.len() > keep {
                let item = state.queue.pop_back().expect("longer than keep");
                self.forget(state, item.left(), item.kind == Kind::Answer);
            }
        }
        state.close = Some(close.clone());
        self.push(state, Item::raw(Kind::Close, Bytes::Own(close.frame())));
        self.enter_closing(state);
    }

    fn enter_closing(&self, state: &mut State) {
        if state.phase != Phase::Dead {
            state.phase = Phase::Closing;
            // Whoever holds the pen may be about to write; laying it down does the same.
            if state.unsent == 0 && state.pen == Pen::Free {
                self.end_sending(state);
            }
        }
    }

    /// Sends without blocking when the pen is free and nothing waits; what is left goes to the writer thread.
    fn push(self: &Arc<Self>, state: &mut State, mut item: Item) {
        self.add(state, &item);
        if state.pen == Pen::Free && state.queue.is_empty() {
            match self.wire.try_write(&item.slices()) {
                Ok(n) => {
                    item.sent += n;
                    self.subtract(state, &item, n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.die(state),
            }
            if item.left() == 0 {
                return;
            }
        }
        state.queue.push_back(item);
        if state.pen == Pen::Free {
            self.give_pen_to_writer(state);
        }
    }

    /// Lays the pen down, after a look at the queue: an event may have been queued behind a direct answer.
    fn release(self: &Arc<Self>, state: &mut State) {
        if state.phase == Phase::Dead {
            return;
        }
        if state.queue.is_empty() {
            state.pen = Pen::Free;
            if state.phase == Phase::Closing {
                self.end_sending(state);
            }
        } else {
            self.give_pen_to_writer(state);
        }
    }

    fn end_sending(&self, state: &mut State) {
        self.wire.shutdown(Shutdown::Write);
        // A writer that waits for more would hold the socket.
        state.writer = None;
    }

    fn give_pen_to_writer(self: &Arc<Self>, state: &mut State) {
        state.pen = Pen::Writer;
        if let Some(wake) = &state.writer {
            // Full: it has been woken already and will see the queue.
            let _ = wake.try_send(());
            return;
        }
        let (wake, woken) = bounded(1);
        let outbox = self.clone();
        let spawned = thread::Builder::new()
            .name(self.name.clone())
            .stack_size(crate::sys::memory::stack(limits::WRITER_STACK))
            .spawn(move || outbox.write_until_idle(&woken));
        match spawned {
            Ok(_) => state.writer = Some(wake),
            Err(e) => {
                log::warn!(target: "gateway/ws", "no writer thread for {}: {e}; connection closed", self.name);
                self.die(state);
            }
        }
    }

    /// The writer thread: holds the pen until the queue is empty, then waits for it to come back.
    fn write_until_idle(self: Arc<Self>, woken: &crossbeam_channel::Receiver<()>) {
        loop {
            if !self.drain() {
                self.state.lock().writer = None;
                return;
            }
            if woken.recv_timeout(WRITER_IDLE).is_err() {
                let mut state = self.state.lock();
                if state.pen != Pen::Writer {
                    state.writer = None;
                    return;
                }
            }
        }
    }

    /// Writes the queue in batches; false when the wire failed.
    fn drain(self: &Arc<Self>) -> bool {
        const BATCH_BYTES: usize = 16 * 1024;
        loop {
            let mut batch = Vec::new();
            {
                let mut state = self.state.lock();
                if state.phase == Phase::Dead {
                    return false;
                }
                if state.pen != Pen::Writer {
                    return true;
                }
                if state.queue.is_empty() {
                    self.release(&mut state);
                    return true;
                }
                let mut bytes = 0;
                while let Some(item) = state.queue.pop_front() {
                    bytes += item.left();
                    batch.push(item);
                    if bytes >= BATCH_BYTES {
                        break;
                    }
                }
            }
            let written = self.write_whole(&mut batch);
            let mut state = self.state.lock();
            for item in &batch {
                self.subtract(&mut state, item, item.left());
            }
            if written.is_err() {
                self.die(&mut state);
                return false;
            }
        }
    }

    /// Writes whole items, without the lock, accounting each piece as it leaves.
    fn write_whole(&self, items: &mut [Item]) -> io::Result<()> {
        let mut first = 0;
        while first < items.len() {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(2 * (items.len() - first).min(16));
            for item in items[first..].iter().take(16) {
                slices.extend(item.slices().into_iter().filter(|s| !s.is_empty()));
            }
            let mut n = match self.wire.write(&slices) {
                Ok(0) if !slices.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            drop(slices);
            let mut state = self.state.lock();
            while let Some(item) = items.get_mut(first).filter(|item| n > 0 || item.left() == 0) {
                let part = n.min(item.left());
                item.sent += part;
                n -= part;
                self.subtract(&mut state, item, part);
                if item.left() == 0 {
                    first += 1;
                }
            }
        }
        Ok(())
    }

    fn add(&self, state: &mut State, item: &Item) {
        state.unsent += item.left();
        self.budget.unsent.fetch_add(item.left(), Ordering::Relaxed);
        if item.kind == Kind::Answer {
            state.answers += item.left();
        }
    }

    fn subtract(&self, state: &mut State, item: &Item, bytes: usize) {
        self.forget(state, bytes, item.kind == Kind::Answer);
    }

    fn forget(&self, state: &mut State, bytes: usize, answer: bool) {
        state.unsent -= bytes;
        self.budget.unsent.fetch_sub(bytes, Ordering::Relaxed);
        if answer {
            state.answers -= bytes;
        }
        if bytes > 0 {
            self.progress.notify_all();
        }
    }

    fn die(&self, state: &mut State) {
        if state.phase == Phase::Dead {
            return;
        }
        state.phase = Phase::Dead;
        while let Some(item) = state.queue.pop_front() {
            self.subtract(state, &item, item.left());
        }
        // Dropping the sender ends a writer that waits.
        state.writer = None;
        self.wire.shutdown(Shutdown::Both);
        self.progress.notify_all();
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.budget.unsent.fetch_sub(state.unsent, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
pub mod tests;
