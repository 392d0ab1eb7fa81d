//! The eight rules of the outbox, on a wire in memory that takes one byte, none, or half a frame.

use super::*;

/// A wire in memory. `credit` bytes may pass; `piece` bounds one write.
#[derive(Default)]
pub struct Memory {
    state: Mutex<MemoryState>,
    changed: Condvar,
}

#[derive(Default)]
struct MemoryState {
    out: Vec<u8>,
    credit: usize,
    piece: usize,
    writers: usize,
    shut: Vec<Shutdown>,
    threads: std::collections::HashSet<thread::ThreadId>,
}

impl Memory {
    pub fn with_credit(credit: usize) -> Arc<Memory> {
        let memory = Memory::default();
        memory.state.lock().credit = credit;
        memory.state.lock().piece = usize::MAX;
        Arc::new(memory)
    }

    fn piece(self: Arc<Self>, piece: usize) -> Arc<Self> {
        self.state.lock().piece = piece;
        self
    }

    pub fn allow(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.credit = state.credit.saturating_add(bytes);
        self.changed.notify_all();
    }

    fn pass(state: &mut MemoryState, bufs: &[IoSlice<'_>]) -> usize {
        let mut n = state.credit.min(state.piece);
        let before = state.out.len();
        for buf in bufs {
            let part = n.min(buf.len());
            state.out.extend_from_slice(&buf[..part]);
            n -= part;
        }
        let passed = state.out.len() - before;
        state.credit -= passed;
        passed
    }

    /// Everything written so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.state.lock().out.clone()).unwrap()
    }

    pub fn shut(&self) -> Vec<Shutdown> {
        self.state.lock().shut.clone()
    }

    /// Payloads of the complete frames written so far, as (opcode, payload).
    pub fn frames(&self) -> Vec<(u8, Vec<u8>)> {
        let out = self.state.lock().out.clone();
        let mut frames = Vec::new();
        let mut at = 0;
        while at + 2 <= out.len() {
            let (len, head) = match out[at + 1] {
                126 => (usize::from(u16::from_be_bytes([out[at + 2], out[at + 3]])), 4),
                127 => (u64::from_be_bytes(out[at + 2..at + 10].try_into().unwrap()) as usize, 10),
                n => (usize::from(n), 2),
            };
            if at + head + len > out.len() {
                break;
            }
            frames.push((out[at] & 15, out[at + head..at + head + len].to_vec()));
            at += head + len;
        }
        frames
    }

    pub fn texts(&self) -> Vec<String> {
        self.frames().into_iter().filter(|f| f.0 == 1).map(|f| String::from_utf8(f.1).unwrap()).collect()
    }
}

pub struct MemoryWire(pub Arc<Memory>);

impl Wire for MemoryWire {
    fn write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        state.writers += 1;
        assert_eq!(state.writers, 1, "two threads hold the pen");
        state.threads.insert(thread::current().id());
        while state.credit == 0 {
            if state.shut.contains(&Shutdown::Both) {
                state.writers -= 1;
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.0.changed.wait(&mut state);
        }
        state.writers -= 1;
        Ok(Memory::pass(&mut state, bufs))
    }

    fn try_write(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        assert_eq!(state.writers, 0, "a write past the pen holder");
        if state.credit == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Memory::pass(&mut state, bufs))
    }

    fn shutdown(&self, how: Shutdown) {
        self.0.state.lock().shut.push(how);
        self.0.changed.notify_all();
    }
}

pub fn event(text: &str) -> EventFrame {
    EventFrame {
        body: format!("\"event\":\"x\",\"payload\":\"{text}\"}}").into_bytes().into(),
        numbered: true,
        droppable: false,
        replaces: None,
    }
}

fn outbox(memory: &Arc<Memory>, max: usize) -> Arc<Outbox> {
    Outbox::new("ws-test".into(), Box::new(MemoryWire(memory.clone())), Budget::new(usize::MAX), max)
}

fn seqs(memory: &Memory) -> Vec<u64> {
    let number = |t: &String| serde_json::from_str::<serde_json::Value>(t).unwrap()["seq"].as_u64();
    memory.texts().iter().filter_map(number).collect()
}

/// What is queued has been taken up by the writer; what comes now waits in the queue.
fn in_the_writers_hands(out: &Outbox) {
    while !out.state.lock().queue.is_empty() {
        thread::yield_now();
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn order_holds_under_direct_answers_events_and_partial_writes() {
    // One byte at a time, with credit given by another thread: every kind of hand-over happens.
    let memory = Memory::with_credit(0).piece(1);
    let out = outbox(&memory, usize::MAX);
    let feeder = {
        let memory = memory.clone();
        thread::spawn(move || {
            for _ in 0..40_000 {
                memory.allow(1);
                if memory.state.lock().credit > 64 {
                    thread::yield_now();
                }
            }
            memory.allow(usize::MAX / 2);
        })
    };
    let events = {
        let out = out.clone();
        thread::spawn(move || {
            for n in 0..200 {
                assert_eq!(out.event(&event(&n.to_string())), Sent::Yes);
            }
        })
    };
    for n in 0..200 {
        out.answer_direct(format!("{{\"answer\":{n}}}").into_bytes());
    }
    events.join().unwrap();
    feeder.join().unwrap();
    assert!(out.wait_sent(soon()));
    assert_eq!(seqs(&memory), (1..=200).collect::<Vec<_>>());
    let answers: Vec<String> = memory.texts().into_iter().filter(|t| t.contains("answer")).collect();
    assert_eq!(answers, (0..200).map(|n| format!("{{\"answer\":{n}}}")).collect::<Vec<_>>());
}

#[test]
fn what_finds_the_outbox_empty_is_written_at_once_without_a_writer() {
    let memory = Memory::with_credit(usize::MAX);
    let out = outbox(&memory, usize::MAX);
    out.answer_direct(b"{}".to_vec());
    assert_eq!(out.event(&event("a")), Sent::Yes);
    out.answer(b"{}".to_vec());
    assert_eq!(memory.texts().len(), 3);
    assert!(out.state.lock().writer.is_none());
    assert_eq!(out.unsent(), 0);
}

#[test]
fn an_event_behind_a_direct_answer_is_not_forgotten_when_the_pen_is_laid_down() {
    let memory = Memory::with_credit(0);
    let out = outbox(&memory, usize::MAX);
    let reader = {
        let out = out.clone();
        thread::spawn(move || out.answer_direct(b"{\"answer\":1}".to_vec()))
    };
    while out.state.lock().pen != Pen::Reader {
        thread::yield_now();
    }
    assert_eq!(out.event(&event("behind")), Sent::Yes);
    memory.allow(usize::MAX);
    reader.join().unwrap();
    assert!(out.wait_sent(soon()));
    assert_eq!(memory.texts().len(), 2);
    assert!(memory.texts()[1].contains("behind"));
}

#[test]
fn the_writer_ends_and_starts_again() {
    let memory = Memory::with_credit(3);
    let out = outbox(&memory, usize::MAX);
    out.event(&event("half a frame"));
    assert!(out.state.lock().writer.is_some());
    memory.allow(1000);
    assert!(out.wait_sent(soon()));
    while out.state.lock().writer.is_some() {
        thread::yield_now();
    }
    memory.state.lock().credit = 0;
    out.event(&event("again"));
    assert!(out.state.lock().writer.is_some());
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()));
    assert_eq!(memory.texts().len(), 2);
    assert_eq!(memory.state.lock().threads.len(), 2, "two writer threads, one after the other");
}

#[test]
fn gaps_in_seq_are_true_ones() {
    let memory = Memory::with_credit(0);
    let out = outbox(&memory, 100);
    let droppable = |t: &str| EventFrame { droppable: true, ..event(t) };
    assert_eq!(out.event(&droppable("kept")), Sent::Yes);
    assert_eq!(out.event(&droppable(&"x".repeat(200))), Sent::Skipped);
    let targeted = EventFrame { numbered: false, ..event("targeted") };
    assert_eq!(out.event(&targeted), Sent::Yes);
    memory.allow(usize::MAX);
    assert!(out.wait_sent(soon()));
    assert_eq!(out.event(&droppable("after")), Sent::Yes);
    assert!(out.wait_sent(soon()));
    assert_eq!(seqs(&memory), [1, 3], "the skipped event took number 2, the targeted one none");
}

#[test]
fn a_newer_list_replaces_an_unsent_one_in_its_place() {
    let memory = Memory::with_credit(1);
    let out = outbox(&memory, usize::MAX);
    let list = |t: &str| EventFrame { replaces: Some("presence"), ..event(t) };
    out.event(&event("first, half sent"));
    in_the_writers_hands(&out);
    for n in 0..50 {
        out.event(&list(&format!("presence {n}")));
        out.event(&event(&format!("between {n}")));
    }
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()));
    let texts = memory.texts();
    assert_eq!(texts.len(), 52);
    assert!(texts[1].contains("presence 49"), "{}", texts[1]);
    assert_eq!(seqs(&memory), (1..=52).collect::<Vec<_>>());
    assert_eq!(out.unsent(), 0);
}

#[test]
fn unsent_answers_stop_the_reader_until_there_is_room() {
    let memory = Memory::with_credit(0);
    let out = outbox(&memory, usize::MAX);
    out.answer(vec![b'x'; limits::UNSENT_ANSWERS_BYTES / 2]);
    assert!(out.wait_for_room(Duration::from_millis(1)));
    out.answer(vec![b'y'; limits::UNSENT_ANSWERS_BYTES]);
    assert!(!out.wait_for_room(Duration::from_millis(20)), "no progress ends the wait");
    let waiter = {
        let out = out.clone();
        thread::spawn(move || out.wait_for_room(Duration::from_secs(20)))
    };
    memory.allow(limits::UNSENT_ANSWERS_BYTES);
    assert!(waiter.join().unwrap());
}

#[test]
fn a_client_that_never_reads_is_closed_and_its_bytes_are_given_back() {
    let memory = Memory::with_credit(5);
    let budget = Budget::new(10_000);
    let out = Outbox::new("ws-test".into(), Box::new(MemoryWire(memory.clone())), budget.clone(), 4000);
    let mut sent = Sent::Yes;
    for _ in 0..1000 {
        sent = out.event(&event(&"e".repeat(100)));
        if sent != Sent::Yes {
            break;
        }
    }
    assert_eq!(sent, Sent::Closed);
    assert!(!out.is_open());
    assert!(out.unsent() < 4000, "what had not begun to leave is forgotten");
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()));
    let (opcode, payload) = memory.frames().pop().unwrap();
    assert_eq!((opcode, &payload[..2], &payload[2..]), (8, &1008u16.to_be_bytes()[..], &b"slow consumer"[..]));
    out.cut();
    while budget.unsent.load(Ordering::Relaxed) != 0 {
        thread::yield_now();
    }
}

#[test]
fn all_clients_share_one_budget() {
    let budget = Budget::new(150);
    let make = || {
        let wire = MemoryWire(Memory::with_credit(0));
        Outbox::new("ws-test".into(), Box::new(wire), budget.clone(), usize::MAX)
    };
    let (a, b) = (make(), make());
    a.answer(vec![b'a'; 100]);
    assert!(!budget.exceeded());
    b.answer(vec![b'b'; 100]);
    assert!(budget.exceeded());
    assert!(!a.wait_for_room(Duration::from_millis(1)), "no request is read while all hold too much");
    b.cut();
    while budget.exceeded() {
        thread::yield_now();
    }
    a.cut();
    while budget.unsent.load(Ordering::Relaxed) != 0 {
        thread::yield_now();
    }
}

#[test]
fn the_close_frame_leaves_behind_what_waits_and_ends_the_sending_half() {
    let memory = Memory::with_credit(2);
    let out = outbox(&memory, usize::MAX);
    out.answer(b"{\"last\":1}".to_vec());
    out.close(&Close::new(Close::RESTART, "service restart"));
    assert_eq!(out.event(&event("too late")), Sent::Closed);
    out.answer(b"{\"too\":\"late\"}".to_vec());
    assert!(memory.shut().is_empty(), "not before it has left");
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()));
    while memory.shut().is_empty() {
        thread::yield_now();
    }
    assert_eq!(memory.shut(), [Shutdown::Write]);
    let frames = memory.frames();
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].0, 8);
}

#[test]
fn of_pongs_only_the_newest_waits() {
    let memory = Memory::with_credit(1);
    let out = outbox(&memory, usize::MAX);
    out.event(&event("half"));
    in_the_writers_hands(&out);
    for n in 0..100u8 {
        out.pong(encode::control_frame(encode::OPCODE_PONG, &[n]));
    }
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()));
    assert_eq!(memory.frames().into_iter().filter(|f| f.0 == 10).collect::<Vec<_>>(), [(10, vec![99])]);
}

#[test]
fn a_wire_with_something_to_say_gets_a_turn_behind_what_waits() {
    let memory = Memory::with_credit(1);
    let out = outbox(&memory, usize::MAX);
    // Nothing waits: a writer comes for it, writes nothing, and nobody takes that for a wire that is stuck.
    out.take_turn();
    while memory.state.lock().threads.is_empty() {
        thread::yield_now();
    }
    assert!(out.is_open() && out.wait_sent(soon()));
    out.event(&event("half"));
    in_the_writers_hands(&out);
    for _ in 0..100 {
        out.take_turn();
    }
    assert_eq!(out.state.lock().queue.len(), 1, "one turn is enough");
    out.answer(b"{\"last\":1}".to_vec());
    memory.allow(usize::MAX / 2);
    assert!(out.wait_sent(soon()) && out.is_open());
    assert_eq!(memory.texts().last().unwrap(), "{\"last\":1}");
    out.finish();
    while memory.shut().is_empty() {
        thread::yield_now();
    }
    out.take_turn();
    assert!(out.state.lock().queue.is_empty(), "nobody speaks behind the end");
}

#[test]
fn pieces_leave_in_order_and_behind_the_last_comes_what_was_said_of_it() {
    for (behind, open, shut) in [(Behind::Next, true, 0), (Behind::Nothing, false, 1)] {
        let memory = Memory::with_credit(0);
        let out = outbox(&memory, 1000);
        out.begin_answer(None);
        assert!(!out.wait_answered(Duration::ZERO));
        for n in 0..20 {
            assert_eq!(out.raw(format!("{n},").into_bytes(), Behind::More(b"~")), Sent::Yes);
        }
        assert_eq!((out.pieces(), out.unsent()), (20, 50));
        assert_eq!(out.raw(b"end".to_vec(), behind), Sent::Yes);
        assert!(out.wait_answered(Duration::ZERO), "complete, though nothing has left");
        assert_eq!((out.is_open(), memory.shut().len()), (open, 0), "{behind:?}");
        memory.allow(usize::MAX / 2);
        assert!(out.wait_sent(soon()));
        let want: String = (0..20).map(|n| format!("{n},")).chain(["end".to_owned()]).collect();
        assert_eq!(memory.text(), want);
        let deadline = soon();
        while memory.shut().len() < shut && Instant::now() < deadline {
            thread::yield_now();
        }
        assert_eq!(memory.shut(), vec![Shutdown::Write; shut], "{behind:?}");
        let next = out.raw(b"next".to_vec(), Behind::Next);
        assert_eq!(next, if open { Sent::Yes } else { Sent::Closed }, "{behind:?}");
    }
}

#[test]
fn a_reader_of_pieces_that_does_not_read_is_cut() {
    let memory = Memory::with_credit(0);
    let budget = Budget::new(usize::MAX);
    let out = Outbox::new("http-test".into(), Box::new(MemoryWire(memory.clone())), budget.clone(), 100);
    out.begin_answer(None);
    assert_eq!(out.raw(vec![b'x'; 100], Behind::More(b"~")), Sent::Yes);
    assert_eq!(out.raw(b"y".to_vec(), Behind::More(b"~")), Sent::Yes);
    assert_eq!(out.raw(b"y".to_vec(), Behind::More(b"~")), Sent::Cut);
    assert_eq!(out.raw(b"z".to_vec(), Behind::Next), Sent::Closed);
    assert!(!out.is_open() && memory.shut().contains(&Shutdown::Both));
    let deadline = soon();
    while budget.unsent() > 0 && Instant::now() < deadline {
        thread::yield_now();
    }
    assert_eq!((budget.unsent(), out.unsent(), memory.text().len()), (0, 0, 0), "its bytes are given back");
}

#[test]
fn a_piece_larger_than_the_limit_leaves_the_usual_room_behind_it() {
    let memory = Memory::with_credit(0);
    let out = Outbox::new("http-test".into(), Box::new(MemoryWire(memory.clone())), Budget::new(usize::MAX), 100);
    let send = |bytes: usize| out.raw(vec![b'x'; bytes], Behind::More(b"~"));
    out.begin_answer(None);
    assert_eq!([5000, 60, 40, 1].map(send), [Sent::Yes; 4]);
    memory.allow(5101);
    let deadline = soon();
    while out.unsent() > 0 {
        assert!(Instant::now() < deadline, "it does not leave");
        thread::yield_now();
    }
    // Once it has left, the limit is what it was.
    assert_eq!([101, 99, 2, 1].map(send), [Sent::Yes, Sent::Yes, Sent::Yes, Sent::Cut]);
}

#[test]
fn signs_of_life_stand_between_pieces_and_nowhere_else() {
    let memory = Memory::with_credit(usize::MAX);
    let out = outbox(&memory, 1000);
    assert!(!out.pulse() && !out.probe(), "nothing is owed");
    out.begin_answer(Some(b"interim,"));
    assert!(!out.pulse(), "before an answer only a peer that may be gone is asked");
    assert!(out.probe());
    out.raw(b"a,".to_vec(), Behind::More(b"~,"));
    assert!(out.pulse() && out.probe());
    out.raw(b"b".to_vec(), Behind::Next);
    assert!(!out.pulse() && !out.probe(), "the answer is complete");
    // The next one begins anew; without an interim answer there is nothing to ask with.
    out.begin_answer(None);
    assert!(!out.pulse() && !out.probe());
    assert_eq!(memory.text(), "interim,a,~,~,b");
    assert_eq!(out.pieces(), 2, "signs of life are none");

    let stuck = Memory::with_credit(1);
    let out = outbox(&stuck, 1000);
    out.begin_answer(Some(b"interim"));
    out.raw(b"abc".to_vec(), Behind::More(b"~"));
    assert!(!out.pulse() && !out.probe(), "what waits is sign enough");
    out.cut();
    assert!(!out.pulse() && !out.probe());
}

#[test]
fn whoever_waits_for_an_answer_is_woken_by_its_end_or_by_the_end_of_the_connection() {
    for end in ["answered", "cut"] {
        let memory = Memory::with_credit(usize::MAX);
        let out = outbox(&memory, 1000);
        assert!(out.wait_answered(Duration::ZERO), "nothing is owed");
        out.begin_answer(None);
        assert!(!out.wait_answered(Duration::from_millis(5)));
        let waiting = {
            let out = out.clone();
            thread::spawn(move || (out.wait_answered(Duration::from_secs(20)), Instant::now()))
        };
        let began = Instant::now();
        match end {
            "answered" => drop(out.raw(b"all".to_vec(), Behind::Next)),
            _ => out.cut(),
        }
        let (answered, at) = waiting.join().unwrap();
        assert_eq!(answered, end == "answered", "{end}");
        assert!(at.duration_since(began) < Duration::from_secs(10), "{end}");
    }
}
