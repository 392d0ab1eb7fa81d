//! Streams: readers that do not read, clients that hang up or only end their half, requests behind a stream.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use openclaw::limits;
use openclaw::sys::memory;
use serde_json::{Value, json};

use super::{ask, chat, hi, metric, place, request};
use crate::common::client::Client;
use crate::common::model::Play;
use crate::common::raw::Raw;
use crate::common::{Gateway, merge, wait_until};

fn streaming() -> Value {
    let mut body = hi();
    merge(&mut body, json!({"stream": true}));
    body
}

/// A connection whose kernel takes little in advance.
fn narrow(gateway: &Gateway, text: &str) -> Raw {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(16 * 1024).expect("a small buffer");
    let address: SocketAddr = ([127, 0, 0, 1], gateway.port).into();
    socket.connect(&address.into()).expect("the gateway accepts");
    let mut raw = Raw::on(TcpStream::from(socket));
    raw.send(text.as_bytes());
    raw
}

#[test]
fn readers_that_do_not_read_end_their_run_and_cost_little() {
    const READERS: usize = 3;
    // As much for each of them as a run may say, in characters that take six bytes each, as fast as the model can, and in
    // pieces that a busy machine gets through in time.
    const PIECE: usize = 2_000;
    let flood = Play::Text(vec!["\u{1}".repeat(PIECE); memory::run_text_bytes() / PIECE], Duration::ZERO);
    let (model, _home, gateway) = place(vec![flood], json!({"agents": {"defaults": {"maxConcurrent": READERS}}}));
    assert_eq!(ask(&gateway, &request("GET", "/v1/models", "", "")).status, 200);
    let before = gateway.proc_status("VmRSS");
    let mut sleepers: Vec<Raw> = (0..READERS).map(|_| narrow(&gateway, &chat(&streaming()))).collect();
    wait_until("the runs of the readers to be ended", || {
        // What has not left may be 1 MiB each, and a piece: what the model said while the hub was busy with one batch.
        let piece = (1 + limits::HUB_BATCH) * (6 * PIECE + 100);
        let unsent = metric(&gateway, "openclaw_gateway_outbox_bytes") as usize;
        assert!(unsent < READERS * (limits::HTTP_UNSENT_BYTES + piece), "{unsent} bytes wait");
        metric(&gateway, "openclaw_run_completed_total{outcome=\"aborted\"}") as usize == READERS
    });
    wait_until("what they held to be given back", || {
        metric(&gateway, "openclaw_gateway_outbox_bytes") as usize == 0
            && gateway.proc_status("VmRSS").saturating_sub(before) < 60_000
    });
    wait_until("all of them to be counted", || {
        metric(&gateway, "openclaw_gateway_slow_consumers_total") as usize == READERS
    });
    gateway.wait_line("a client of /v1/chat/completions does not read its answer and was cut");
    for raw in &mut sleepers {
        assert!(raw.count_rest() < 5 * memory::run_text_bytes(), "the connection was cut before the end");
    }
    model.set(vec![Play::words("and now")]);
    assert_eq!(ask(&gateway, &chat(&hi())).json()["choices"][0]["message"]["content"], "and now");
}

#[test]
fn a_run_says_no_more_than_memory_allows_whoever_reads_it() {
    // A model that asks for a tool with every answer never ends; an eighth of what a run may say stands before each call.
    let part: &'static str = "x".repeat(memory::run_text_bytes() / 8).leak();
    let endless = || vec![Play::Tool(part, "none", json!({}))];
    let (model, home, gateway) = place(endless(), json!({}));
    let before = gateway.proc_status("VmRSS");
    let too_much = "said more than";
    let whole = ask(&gateway, &chat(&hi()));
    assert_eq!((whole.status, whole.header("x-should-retry")), (502, Some("false")));
    assert!(whole.json()["error"]["message"].as_str().is_some_and(|text| text.contains(too_much)), "{}", whole.body);
    assert_eq!(model.served(), 8, "the eighth answer is one too many");
    let mut raw = Raw::saying(gateway.port, &chat(&streaming()));
    assert_eq!(raw.try_answer(false).expect("a head").status, 200);
    let text = raw.chunks();
    assert!(text.matches('x').count() >= 7 * part.len() && text.contains(too_much));
    let mut client = Client::connect(gateway.port);
    client.call("chat.send", json!({"sessionKey": "main", "message": "hi", "idempotencyKey": "k"}));
    let end = client.take("the end", |f| f["event"] == "chat" && f["payload"]["state"] == "error");
    assert!(end["payload"]["errorMessage"].as_str().is_some_and(|text| text.contains(too_much)), "{end}");
    assert!(home.log_text().contains(too_much), "the log says so, too");
    // Copies of it on its way to clients and to the disk, but not one for each answer.
    let peak = gateway.proc_status("VmHWM").saturating_sub(before);
    assert!(peak < 150_000, "{peak} kB more");
}

#[test]
fn a_reader_that_only_is_slow_gets_everything() {
    let flood = Play::Text(vec!["x".repeat(1000); 600], Duration::ZERO);
    let (_model, _home, gateway) = place(vec![flood], json!({}));
    let mut raw = narrow(&gateway, &chat(&streaming()));
    wait_until("the run to end", || metric(&gateway, "openclaw_run_completed_total") as usize == 1);
    assert_eq!(raw.try_answer(false).expect("a head").status, 200);
    let text = raw.chunks();
    assert!(text.matches('x').count() >= 600_000 && text.ends_with("data: [DONE]\n\n"), "{}", text.len());
}

#[test]
fn what_is_asked_behind_a_stream_is_answered_behind_it() {
    let (model, _home, gateway) = place(vec![Play::slow("one two three", Duration::from_millis(30))], json!({}));
    // Four requests at once: the second is a stream, too, the last ends the connection.
    let last = request("GET", "/v1/models/openclaw", "Connection: close\r\n", "");
    let all = [chat(&streaming()), chat(&streaming()), chat(&hi()), last, request("GET", "/never", "", "")];
    let mut raw = Raw::saying(gateway.port, &all.concat());
    for n in 0..2 {
        let head = raw.try_answer(false).expect("a head");
        assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"), "{n}");
        assert!(raw.chunks().ends_with("data: [DONE]\n\n"), "{n}");
    }
    assert_eq!(raw.answer().json()["choices"][0]["message"]["content"], "one two three");
    let last = raw.answer();
    assert_eq!((&last.json()["id"], last.header("connection")), (&json!("openclaw"), Some("close")));
    assert!(raw.rest().is_empty());
    assert_eq!(model.served(), 3);
    // A flood behind a stream waits in the socket, not in memory.
    let mut raw = Raw::saying(gateway.port, &chat(&streaming()));
    raw.stream.set_nonblocking(true).expect("a socket");
    let next = request("GET", "/health", "", "");
    let sent = (0..2000).filter(|_| std::io::Write::write(&mut raw.stream, next.as_bytes()).is_ok()).count();
    raw.stream.set_nonblocking(false).expect("a socket");
    assert!(raw.try_answer(false).is_some_and(|head| head.status == 200));
    raw.chunks();
    for n in 0..sent.min(100) {
        assert_eq!(raw.answer().status, 200, "{n} of {sent}");
    }
}

#[test]
fn who_hangs_up_on_a_silent_model_ends_the_run_and_who_half_closes_does_not() {
    let (model, _home, gateway) = place(vec![Play::Stall(vec!["some ".into()])], json!({}));
    let mut gone = 0;
    for path in ["/v1/chat/completions", "/v1/responses"] {
        for stream in [false, true] {
            for reset in [false, true] {
                let what = format!("{path}, stream {stream}, reset {reset}");
                let body = match path {
                    "/v1/responses" => json!({"model": "openclaw", "input": "hi", "stream": stream}),
                    _ => json!({"messages": [{"role": "user", "content": "hi"}], "stream": stream}),
                };
                let raw = Raw::saying(gateway.port, &request("POST", path, "", &body.to_string()));
                wait_until(&format!("the model is asked: {what}"), || model.served() == gone + 1);
                if reset {
                    socket2::SockRef::from(&raw.stream).set_linger(Some(Duration::ZERO)).expect("a socket");
                }
                let began = Instant::now();
                drop(raw);
                gone += 1;
                wait_until(&format!("the run to end: {what}"), || model.hung_up() == gone);
                assert!(began.elapsed() < Duration::from_secs(3), "{what}: {:?}", began.elapsed());
            }
        }
    }
    wait_until("all to be counted", || {
        metric(&gateway, "openclaw_run_completed_total{outcome=\"aborted\"}") as usize == gone
    });
    model.set(vec![Play::slow("late but whole", Duration::from_millis(150))]);
    for body in [hi(), streaming()] {
        let mut raw = Raw::saying(gateway.port, &chat(&body));
        raw.stream.shutdown(Shutdown::Write).expect("a socket");
        let text = String::from_utf8_lossy(&raw.rest()).into_owned();
        assert!(text.contains("whole") && text.contains("stop"), "{text}");
    }
}

#[test]
fn a_whole_answer_comes_without_interim_ones_however_long_the_model_is_silent() {
    // Longer than signs of life wait. Node's fetch gives up on an interim answer that it has not asked for.
    let (_model, _home, gateway) = place(vec![Play::slow("late", Duration::from_secs(18))], json!({}));
    let mut raw = Raw::saying(gateway.port, &chat(&hi()));
    let mut streamed = Raw::saying(gateway.port, &chat(&streaming()));
    let answer = raw.answer();
    assert!(answer.head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    assert_eq!(streamed.try_answer(false).expect("a head").status, 200);
    assert!(streamed.chunks().contains(": keep-alive\n\n"), "a stream shows that it lives");
}
