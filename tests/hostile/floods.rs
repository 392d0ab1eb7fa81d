//! Peers that send without end, or never read what they asked for.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{assert_serves, gateway, narrow, quick, rss, settled};
use crate::common::client::Client;
use crate::common::model::{Model, Play};
use crate::common::raw::{Raw, frame};
use crate::common::{Gateway, Home, wait_until};

#[test]
fn a_header_without_end_is_cut_early() {
    let home = Home::new();
    let gateway = gateway(&home);
    assert_serves(&gateway);
    let before = rss(&gateway);
    let mut raw = Raw::saying(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    let line = vec![b'x'; 64 * 1024];
    let sent = (0..200 * 16).take_while(|_| raw.stream.write_all(&line).is_ok()).count() * line.len();
    // What the kernels of both sides take in advance is no reading of ours.
    assert!(sent < 32 << 20, "{sent} bytes of 200 MiB were taken");
    assert!(rss(&gateway).saturating_sub(before) < 4_000, "{before} kB became {}", rss(&gateway));
    // A peer that waits for its answer gets it.
    let mut polite = Raw::saying(gateway.port, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
    polite.send(&line[..20_000]);
    assert_eq!(polite.answer().status, 431);
    assert_serves(&gateway);
}

#[test]
fn a_pipeline_of_100000_requests_is_answered_as_it_is_read() {
    const REQUESTS: usize = 100_000;
    let home = Home::new();
    let gateway = gateway(&home);
    assert_serves(&gateway);
    let before = rss(&gateway);
    let mut raw = Raw::open(gateway.port);
    let written = Arc::new(AtomicUsize::new(0));
    let (mut out, count) = (raw.stream.try_clone().expect("a socket"), written.clone());
    let flood = thread::spawn(move || {
        let one = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(300));
        let hundred = one.repeat(100);
        for _ in 0..REQUESTS / 100 - 1 {
            out.write_all(hundred.as_bytes()).expect("the gateway reads on when its answers are read");
            count.fetch_add(100, Ordering::Relaxed);
        }
        let last = one.repeat(99) + "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        out.write_all(last.as_bytes()).expect("room for the last");
    });
    let stopped_at = settled("the flood to stop by itself", || written.load(Ordering::Relaxed));
    assert!(stopped_at < REQUESTS - 100, "answers that nobody reads stop the reading");
    assert!(rss(&gateway).saturating_sub(before) < 4_000, "{before} kB became {}", rss(&gateway));
    assert_serves(&gateway);
    // All answers but the last are alike.
    let first = raw.answer();
    let last = gateway.get("/health");
    let (one, end) = (first.head.len() + first.body.len(), last.1.len() + 4 + last.2.len());
    assert_eq!(raw.count_rest(), one * (REQUESTS - 2) + end, "{first:?}");
    flood.join().expect("the flood");
    assert!(rss(&gateway).saturating_sub(before) < 4_000, "{before} kB became {}", rss(&gateway));
}

#[test]
fn a_requester_that_never_reads_stops_itself() {
    const REQUESTS: usize = 1000;
    let home = Home::new();
    let gateway = gateway(&home);
    let mut witness = Client::connect(gateway.port);
    let mut raw = narrow(gateway.port);
    let before = rss(&gateway);
    let written = Arc::new(AtomicUsize::new(0));
    let (mut out, count) = (raw.stream.try_clone().expect("a socket"), written.clone());
    // The id comes back in the answer: 20 kB there, 20 kB back.
    let flood = thread::spawn(move || {
        let pad = "x".repeat(20_000);
        for n in 0..REQUESTS {
            let request = json!({"type": "req", "id": format!("n{n}-{pad}"), "method": "health"}).to_string();
            out.write_all(&frame(0x81, request.as_bytes())).expect("the gateway reads on when its answers are read");
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let stopped_at = settled("the requester to stop itself", || written.load(Ordering::Relaxed));
    assert!(stopped_at < REQUESTS, "answers that nobody reads stop the reading");
    assert!(rss(&gateway).saturating_sub(before) < 4_000, "{before} kB became {}", rss(&gateway));
    let started = Instant::now();
    witness.call("health", json!({}));
    assert!(started.elapsed() < quick());
    // It reads at last: every request has its answer, in order.
    for n in 0..REQUESTS {
        raw.read_until(format!("\"id\":\"n{n}-").as_bytes());
    }
    flood.join().expect("the requester");
    assert!(rss(&gateway).saturating_sub(before) < 4_000, "{before} kB became {}", rss(&gateway));
}

#[test]
fn a_client_that_never_reads_is_closed_and_the_others_get_everything() {
    const SMALL: usize = 4_000;
    const LARGE: usize = 300;
    let home = Home::new();
    let model = Model::start(vec![Play::words("hello")]);
    let mut config = model.config();
    config["gateway"] = json!({"maxBufferedBytes": 1_000_000});
    home.configure(config);
    let mut gateway = Gateway::start(&home, &[]);
    let mut sender = Client::connect(gateway.port);
    // The session that notes are injected into.
    let id = sender.send_request("agent", json!({"message": "hi", "sessionKey": "main", "idempotencyKey": "k"}));
    sender.answer(&id);
    sender.answer(&id);
    let mut sleeper = narrow(gateway.port);
    let before = rss(&gateway);
    let noted = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let witnesses: Vec<_> =
        noted.iter().map(|noted| thread::spawn(witness(Client::connect(gateway.port), noted.clone(), LARGE))).collect();
    // 16 MB of changes of the presence list, which a slow client may miss.
    let padding = "x".repeat(3_000);
    let mut slowest = Duration::ZERO;
    for n in 0..SMALL {
        let started = Instant::now();
        sender.call("system-event", json!({"text": format!("Node: pi event {n} {padding}"), "instanceId": "pi"}));
        slowest = slowest.max(started.elapsed());
        sender.kept();
    }
    assert!(rss(&gateway).saturating_sub(before) < 8_000, "{before} kB became {}", rss(&gateway));
    // 15 MB of notes that nobody may miss.
    let text = "x".repeat(50_000);
    for n in 0..LARGE {
        // On a busy machine the witnesses might be the slow ones.
        wait_until("the witnesses to follow", || noted.iter().all(|seen| seen.load(Ordering::Relaxed) + 5 > n));
        let started = Instant::now();
        sender.call("chat.inject", json!({"sessionKey": "main", "message": format!("{n} {text}")}));
        slowest = slowest.max(started.elapsed());
        sender.kept();
    }
    assert!(slowest < quick(), "a call took {slowest:?}");
    gateway.wait_line("does not read its events and was closed (1008 slow consumer)");
    for witness in witnesses {
        let (events, last) = witness.join().expect("a witness");
        assert!(
            events > LARGE && last.contains(&format!("Node: pi event {} {padding}", SMALL - 1)),
            "{events}: {last}"
        );
    }
    assert_eq!(gateway.count_lines("slow consumer"), 1, "the witnesses and the sender were not slow");
    let bytes = sleeper.rest().len();
    assert!(bytes < 12_000_000, "{bytes} bytes of 15 MB had left when it was closed");
    let grown = rss(&gateway).saturating_sub(before);
    assert!(grown < 12_000, "{grown} kB for a client that may hold 1 MB");
    sender.call("health", json!({}));
    assert_eq!(gateway.stop(), Some(0));
}

/// Reads and counts notes until there were so many, checking that nothing is missing: how many events there were, and
/// the last presence list.
fn witness(mut client: Client, noted: Arc<AtomicUsize>, notes: usize) -> impl FnOnce() -> (usize, String) {
    move || {
        let (mut events, mut last, mut presence) = (0, 0, String::new());
        while noted.load(Ordering::Relaxed) < notes {
            let frame = client.frame();
            let Some(seq) = frame["seq"].as_u64() else { continue };
            assert_eq!(seq, last + 1, "a gap before {}", frame["event"]);
            last = seq;
            events += 1;
            match frame["event"].as_str() {
                Some("chat") => drop(noted.fetch_add(1, Ordering::Relaxed)),
                Some("presence") => presence = frame["payload"].to_string(),
                _ => {}
            }
        }
        (events, presence)
    }
}
