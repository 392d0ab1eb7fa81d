use super::*;
use crate::hub::outbox::Budget;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

const MASK: [u8; 4] = [1, 2, 3, 4];

/// A masked frame as a client sends it.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        n @ 0..126 => bytes.push(0x80 | n as u8),
        n @ 126..0x1_0000 => {
            bytes.push(0xfe);
            bytes.extend((n as u16).to_be_bytes());
        }
        n => {
            bytes.push(0xff);
            bytes.extend((n as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    bytes
}

/// A reader with its outbox, and the other end of its socket.
pub fn pair(message_bytes: u64, budget: usize) -> (Reader, Arc<Outbox>, Arc<InboundBudget>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let stream = Arc::new(listener.accept().unwrap().0);
    let link = Link::plain(stream);
    let outbox = Outbox::new("ws-test".into(), link.wire(), Budget::new(1 << 20), 1 << 20);
    let budget = InboundBudget::new(budget);
    let limits = Limits { message_bytes, fragments: 8 };
    let reader = Reader::new(link, Vec::new(), outbox.clone(), budget.clone(), limits);
    (reader, outbox, budget, theirs)
}

fn text(next: Next) -> String {
    match next {
        Next::Message(Message::Text(text)) => text.to_string(),
        other => panic!("a text was sent, this came: {other:?}"),
    }
}

fn code(next: Next) -> u16 {
    match next {
        Next::Broken(close) => close.code,
        other => panic!("a rule was broken, this came: {other:?}"),
    }
}

#[test]
fn a_message_that_trickles_is_cut_at_its_absolute_deadline() {
    let (mut reader, _outbox, _budget, theirs) = pair(1000, 0);
    reader.inflow.pace = Pace { grace: Duration::from_millis(300), bytes_per_sec: 1000 };
    reader.set_patience(Patience::Each(Duration::from_secs(60)));
    // A byte every few milliseconds: every single read is quick, the message is not.
    let slow = frame(0x81, &[b'x'; 500]);
    let sender = thread::spawn(move || {
        for byte in slow {
            if (&theirs).write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    });
    let started = Instant::now();
    match reader.receive() {
        Next::Broken(close) => assert_eq!(close, Close::policy("message took too long")),
        other => panic!("{other:?}"),
    }
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    drop((reader, _outbox));
    sender.join().unwrap();
}

#[test]
fn a_long_message_gets_time_for_its_length() {
    let (mut reader, _outbox, _budget, theirs) = pair(100_000, 0);
    reader.inflow.pace = Pace { grace: Duration::from_millis(50), bytes_per_sec: 1000 };
    let message = frame(0x81, &[b'x'; 60_000]);
    let sender = thread::spawn(move || {
        for piece in message.chunks(6_000) {
            (&theirs).write_all(piece).unwrap();
            thread::sleep(Duration::from_millis(20));
        }
        theirs
    });
    assert_eq!(text(reader.receive()).len(), 60_000);
    drop(sender.join().unwrap());
}

#[test]
fn a_message_that_has_begun_does_not_prolong_the_handshake() {
    let (mut reader, _outbox, _budget, theirs) = pair(1000, 0);
    reader.set_patience(Patience::Until(Instant::now() + Duration::from_millis(50)));
    (&theirs).write_all(&frame(0x81, b"hello")[..7]).unwrap();
    assert!(matches!(reader.receive(), Next::Silence), "the end of the handshake came first");
}

#[test]
fn pings_and_fragments_do_not_hide_a_slow_message() {
    let (mut reader, _outbox, _budget, theirs) = pair(1000, 0);
    reader.inflow.pace = Pace { grace: Duration::from_millis(200), bytes_per_sec: 1000 };
    (&theirs).write_all(&frame(0x01, b"one")).unwrap();
    let sender = thread::spawn(move || while (&theirs).write_all(&frame(0x89, b"")).is_ok() {});
    let broken = loop {
        match reader.receive() {
            Next::Alive => {}
            other => break other,
        }
    };
    match broken {
        Next::Broken(close) => assert_eq!(close, Close::policy("message took too long")),
        other => panic!("{other:?}"),
    }
    drop((reader, _outbox));
    sender.join().unwrap();
}

#[test]
fn big_messages_share_a_budget_and_give_it_back() {
    let big = limits::BIG_MESSAGE_BYTES + 1;
    let (mut first, _o1, budget, theirs1) = pair(1 << 20, big + 10);
    let (mut second, _o2, _, theirs2) = pair(1 << 20, 0);
    second.inflow.budget = budget.clone();
    let send =
        |stream: TcpStream| thread::spawn(move || (&stream).write_all(&frame(0x82, &vec![7; big])).map(|()| stream));
    let one = send(theirs1);
    assert!(matches!(first.receive(), Next::Message(_)));
    assert_eq!(budget.used.load(Ordering::Relaxed), big);
    let two = send(theirs2);
    assert_eq!(code(second.receive()), 1009, "both together are too much");
    drop(second);
    drop(two);
    assert_eq!(budget.used.load(Ordering::Relaxed), big, "who was refused holds nothing");
    first.handled();
    assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    let theirs = one.join().unwrap().unwrap();
    // Half a message, then the peer is gone.
    (&theirs).write_all(&frame(0x82, &vec![7; big])[..5000]).unwrap();
    theirs.shutdown(Shutdown::Both).unwrap();
    assert!(matches!(first.receive(), Next::Gone));
    assert_eq!(budget.used.load(Ordering::Relaxed), big);
    drop(first);
    assert_eq!(budget.used.load(Ordering::Relaxed), 0);
}

#[test]
fn a_huge_ping_is_refused_before_it_is_read() {
    let (mut reader, _outbox, _budget, theirs) = pair(1 << 20, 0);
    (&theirs).write_all(&[0x89, 0xff, 0, 0, 0, 0, 0, 0x0f, 0xff, 0xff, 0, 0, 0, 0]).unwrap();
    assert_eq!(code(reader.receive()), 1002);
}

#[test]
fn what_was_read_behind_the_upgrade_is_not_lost() {
    let (reader, outbox, budget, theirs) = pair(1000, 0);
    let link = reader.inflow.link.clone();
    drop(reader);
    let early = [frame(0x81, b"early"), frame(0x81, b"and more")[..4].to_vec()].concat();
    let mut reader = Reader::new(link, early, outbox, budget, Limits { message_bytes: 1000, fragments: 8 });
    assert_eq!(text(reader.receive()), "early");
    (&theirs).write_all(&frame(0x81, b"and more")[4..]).unwrap();
    assert_eq!(text(reader.receive()), "and more");
}

#[test]
fn a_mutated_stream_ends_in_order_whatever_is_in_it() {
    let mut random = crate::sys::testing::Random(0x5eed_0021);
    let good = [
        frame(0x81, b"{\"type\":\"req\"}"),
        frame(0x01, b"ab"),
        frame(0x89, b"ping"),
        frame(0x80, b"cd"),
        frame(0x82, &[9; 200]),
        frame(0x8a, b""),
        frame(0x88, &[3, 232, b'b']),
    ]
    .concat();
    for _ in 0..300 {
        let mut bytes = good.clone();
        bytes = random.mutated(&bytes);
        let (mut reader, _outbox, budget, theirs) = pair(1000, 0);
        (&theirs).write_all(&bytes).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut messages = 0;
        loop {
            match reader.receive() {
                Next::Message(message) => {
                    assert!(message.len() <= 1000);
                    messages += 1;
                }
                Next::Alive => {}
                Next::Silence => panic!("the peer has closed"),
                Next::Closed | Next::Broken(_) | Next::Gone => break,
            }
            assert!(messages <= bytes.len());
        }
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }
}
