//! WebSocket frames that should not be (RFC 6455; reliability 2).

use std::time::Duration;

use serde_json::json;

use super::{assert_serves, gateway, quick, rss};
use crate::common::client::{Client, Device, End, Hello};
use crate::common::raw::{frame, frame_head};
use crate::common::{Home, wait_until};

fn close_frame(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(0x88, &[&code.to_be_bytes()[..], reason].concat())
}

#[test]
fn every_violation_has_its_close_code() {
    let home = Home::new();
    let gateway = gateway(&home);
    let text = |bytes: &[u8]| frame(0x81, bytes);
    let mut cases: Vec<(String, Vec<u8>, u16)> = Vec::new();
    let mut case = |what: &str, bytes: Vec<u8>, code: u16| cases.push((what.to_owned(), bytes, code));
    case("unmasked", vec![0x81, 2, b'h', b'i'], 1002);
    for bit in [0x40, 0x20, 0x10] {
        case("reserved bit", frame(0x81 | bit, b"x"), 1002);
    }
    for opcode in [3, 7, 11, 15] {
        case("reserved opcode", frame(0x80 | opcode, b""), 1002);
    }
    case("continuation of nothing", frame(0x80, b"x"), 1002);
    case("a message in a message", [frame(0x01, b"a"), text(b"b")].concat(), 1002);
    case("fragmented ping", frame(0x09, b"x"), 1002);
    case("long ping", frame(0x89, &[b'x'; 126]), 1002);
    case("a ping of gigabytes", frame_head(0x89, 1 << 40), 1002);
    case("close of one byte", frame(0x88, &[3]), 1002);
    for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 65535] {
        case(&format!("close code {code}"), close_frame(code, b""), 1002);
    }
    case("bad UTF-8", text(b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80"), 1007);
    case("bad UTF-8 across fragments", [frame(0x01, b"\xce"), frame(0x80, b"\x28")].concat(), 1007);
    case("half a character at the end", text(b"abc\xf0\x9f"), 1007);
    case("bad UTF-8 in a reason", close_frame(1000, b"\xff"), 1007);
    case("one byte more than maxPayload", frame_head(0x81, 26_214_401), 1009);
    case("2^63 bytes", frame_head(0x82, 1 << 63), 1009);
    case("too much in fragments", [frame(0x01, &[b'x'; 100_000]), frame_head(0x80, 26_214_400)].concat(), 1009);
    let before = rss(&gateway);
    for (what, bytes, code) in &cases {
        let mut client = Client::connect(gateway.port);
        client.send_raw(bytes);
        match client.end() {
            End::Close(got, _) => assert_eq!(got, *code, "{what}"),
            end => panic!("{what}: {end:?}"),
        }
    }
    // Ends that are in order are echoed; what comes behind them is not looked at.
    for (what, bytes, end) in [
        ("1000", close_frame(1000, b"bye"), End::Close(1000, "bye".into())),
        ("3000", close_frame(3000, b""), End::Close(3000, String::new())),
        ("4999", close_frame(4999, "größe".as_bytes()), End::Close(4999, "größe".into())),
        ("empty", frame(0x88, b""), End::EmptyClose),
        ("data behind it", [frame(0x88, b""), frame(0x83, b"junk")].concat(), End::EmptyClose),
    ] {
        let mut client = Client::connect(gateway.port);
        client.send_raw(&bytes);
        assert_eq!(client.end(), end, "{what}");
        assert!(client.read_raw().is_empty(), "{what}: the close frame is the last");
    }
    assert!(rss(&gateway).saturating_sub(before) < 20_000, "announced bytes cost nothing");
    assert_serves(&gateway);
}

#[test]
fn before_connect_a_frame_has_64_kib_and_few_values() {
    let home = Home::new();
    let gateway = gateway(&home);
    for (bytes, end) in [
        (frame(0x81, &vec![b'x'; 65_536]), End::Close(1000, String::new())),
        (frame_head(0x81, 65_537), End::Close(1009, String::new())),
        ([frame(0x01, &[b'x'; 65_000]), frame(0x80, &[b'x'; 1000])].concat(), End::Close(1009, String::new())),
        (frame(0x81, "[".repeat(30_000).as_bytes()), End::Close(1008, "invalid request frame".into())),
    ] {
        let mut client = Client::open(gateway.port);
        client.send_raw(&bytes);
        assert_eq!(client.end(), end, "{} bytes", bytes.len());
    }
}

#[test]
fn fragments_of_one_message_are_counted() {
    let home = Home::new();
    let gateway = gateway(&home);
    let request = json!({"type": "req", "id": "frag", "method": "health", "params": {}}).to_string();
    let mut client = Client::connect(gateway.port);
    // 16,384 frames: the text, empty ones, an empty last one; a ping among them belongs to no message.
    let mut bytes = frame(0x01, request.as_bytes());
    for n in 1..16_383 {
        bytes.extend(frame(0x00, b""));
        if n == 5000 {
            bytes.extend(frame(0x89, b"hello"));
        }
    }
    client.send_raw(&[&bytes[..], &frame(0x80, b"")].concat());
    assert_eq!(client.answer("frag")["ok"], true);
    bytes.extend(frame(0x00, b""));
    client.send_raw(&[&bytes[..], &frame(0x80, b"")].concat());
    assert_eq!(client.end(), End::Close(1008, "too many fragments".into()));
    // Without an end, from the first byte on empty.
    let mut endless = Client::connect(gateway.port);
    endless.send_raw(&[frame(0x02, b""), frame(0x00, b"").repeat(16_384)].concat());
    assert_eq!(endless.end(), End::Close(1008, "too many fragments".into()));
}

#[test]
fn rubbish_in_good_frames_leaves_the_connection_open() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut client = Client::connect(gateway.port);
    let request = |id: &str| json!({"type": "req", "id": id, "method": "health"}).to_string();
    client.send_raw(&frame(0x81, b"this is not JSON"));
    client.send_raw(&frame(0x82, b"\xff\xfe\x00"));
    client.send_raw(&frame(0x81, b""));
    client.send_raw(&frame(0x82, request("binary").as_bytes()));
    assert_eq!(client.answer("binary")["ok"], true, "JSON in a binary message is as good");
    for rubbish in [
        "[]",
        "null",
        "7",
        r#"{"type":"event"}"#,
        &format!("{}{}", "[".repeat(20_000), "]".repeat(20_000)),
        r#"{"type":"req","id":1,"method":"x"}"#,
    ] {
        client.send_text(rubbish);
        let answer = client.answer("invalid");
        assert_eq!((&answer["ok"], &answer["error"]["code"]), (&json!(false), &json!("INVALID_REQUEST")), "{answer}");
    }
    client.send_raw(&[frame(0x01, &request("parts").as_bytes()[..20]), frame(0x8a, b"a pong")].concat());
    client.send_raw(&frame(0x80, &request("parts").as_bytes()[20..]));
    assert_eq!(client.answer("parts")["ok"], true);
}

#[test]
fn a_message_of_millions_of_values_is_answered_before_it_becomes_a_tree() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut client = Client::connect(gateway.port);
    client.call("health", json!({}));
    let before = rss(&gateway);
    let wrap = |inside: &str| format!(r#"{{"type":"req","id":"big","method":"health","params":{{"x":[{inside}1]}}}}"#);
    let deep = format!("{}{},", "[".repeat(100), "]".repeat(100));
    for (what, inside) in [
        ("numbers", "1,".repeat(12_000_000)),
        ("nested lists", deep.repeat(100_000)),
        ("objects", r#"{"a":{}},"#.repeat(1_000_000)),
        ("just too many", "1,".repeat(50_001)),
    ] {
        client.send_text(&wrap(&inside));
        let answer = client.answer("invalid");
        assert_eq!(answer["error"]["message"], "invalid request frame: too many values", "{what}");
    }
    let grown = gateway.proc_status("VmHWM").saturating_sub(before);
    assert!(grown < 100_000, "{grown} kB for messages of 25 MB at most");
    // A long text is another matter, whatever stands in it.
    let text = "a,[b]{c}".repeat(1_000_000);
    client.send(&json!({"type": "req", "id": "text", "method": "health", "params": {"x": text}}));
    assert_eq!(client.answer("text")["ok"], true);
}

#[test]
fn a_flood_of_pings_costs_the_others_nothing() {
    let home = Home::new();
    let gateway = gateway(&home);
    let mut witness = Client::connect(gateway.port);
    let mut flooder = Client::connect(gateway.port);
    let before = rss(&gateway);
    let mut out = flooder.socket.get_ref().try_clone().expect("a socket");
    out.set_write_timeout(Some(quick())).expect("a socket");
    let flood = std::thread::spawn(move || {
        use std::io::Write;
        let pings = frame(0x89, &[b'p'; 125]).repeat(100);
        // Nobody reads the pongs: at some point the gateway's reader may wait, never its memory grow.
        (0..2000).take_while(|_| out.write_all(&pings).is_ok()).count()
    });
    let mut slowest = Duration::ZERO;
    while !flood.is_finished() {
        let started = std::time::Instant::now();
        witness.call("health", json!({}));
        slowest = slowest.max(started.elapsed());
    }
    assert!(slowest < quick(), "a call took {slowest:?}");
    assert!(rss(&gateway).saturating_sub(before) < 8_000, "{before} kB became {}", rss(&gateway));
    assert_eq!(flood.join().expect("the flood"), 2000, "pongs that wait are replaced, so reading goes on");
    flooder.call("health", json!({}));
    wait_until("the witness to be served", || witness.request("health", json!({}))["ok"] == true);
}

#[test]
fn who_keeps_calling_what_its_role_may_not_is_closed() {
    let home = Home::new();
    let gateway = gateway(&home);
    let node = Hello {
        role: "node".into(),
        client_id: "node-host".into(),
        mode: "node".into(),
        scopes: Vec::new(),
        ..Hello::default()
    };
    let (mut client, _) = Client::connect_as(gateway.port, &node, Some(&Device::new()));
    // Ten in a row are answered and forgiven; what it may call in between starts the count anew.
    for round in 0..2 {
        for call in 0..10 {
            let answer = client.request("sessions.list", json!({}));
            assert_eq!(answer["error"]["message"], "unauthorized role: node", "{round} {call}: {answer}");
        }
        if round == 0 {
            client.request("health", json!({}));
        }
    }
    client.send_request("sessions.list", json!({}));
    assert_eq!(client.end(), End::Close(1008, "repeated unauthorized calls".into()));
}
