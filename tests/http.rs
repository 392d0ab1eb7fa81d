//! HTTP on the wire (http 1 to 1.2, 7; RFC 9112): what is refused and how, what stays open, what every answer carries.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::client::Client;
use crate::common::raw::{Answer, KEY, Raw, frame, upgrade_head, word};
use crate::common::{Gateway, Home, TOKEN};

fn gateway(home: &Home) -> Gateway {
    home.configure(json!({}));
    Gateway::start(home, &[])
}

#[test]
fn requests_that_cannot_be_believed_are_refused_and_nothing_behind_them_is_read() {
    let home = Home::new();
    let gateway = gateway(&home);
    let post = |lines: &str| format!("POST /health HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    let get = |lines: &str| format!("GET /health HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (request, status) in [
        // Two lengths, or a length that is none.
        (post("Content-Length: 5\r\nContent-Length: 0\r\n"), 400),
        (post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400),
        (post("Content-Length: 5, 5\r\n"), 400),
        (post("Content-Length: -1\r\n"), 400),
        (post("Content-Length: +5\r\n"), 400),
        (post("Content-Length: 0x5\r\n"), 400),
        (post("Content-Length:\r\n"), 400),
        (post("Content-Length: 18446744073709551616\r\n"), 400),
        (post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400),
        // Codings.
        (post("Transfer-Encoding: gzip, chunked\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
        (post("Transfer-Encoding: xchunked\r\n"), 501),
        (post("Transfer-Encoding: \x0bchunked\r\n"), 400),
        (post("Transfer-Encoding : chunked\r\n"), 400),
        ("POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(), 400),
        // Chunks that are none.
        (post("Transfer-Encoding: chunked\r\n") + "zz\r\n", 400),
        (post("Transfer-Encoding: chunked\r\n") + "-1\r\n", 400),
        (post("Transfer-Encoding: chunked\r\n") + "5\r\nhelloX\r\n0\r\n\r\n", 400),
        (post("Transfer-Encoding: chunked\r\n") + "5\nhello\n0\n\n", 400),
        (post("Transfer-Encoding: chunked\r\n") + &format!("0\r\n{}", "T: u\r\n".repeat(2000)), 431),
        // Lines.
        ("garbage\r\n\r\n".into(), 400),
        ("get /health HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET health HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /health HTTP/2.0\r\nHost: a\r\n\r\n".into(), 400),
        ("GET  /health HTTP/1.1\r\nHost: a\r\n\r\n".into(), 400),
        ("GET /health HTTP/1.1\nHost: a\n\n".into(), 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".into(), 400),
        ("GET /health HTTP/1.1\r\n\r\n".into(), 400),
        (get("Host: b\r\n"), 400),
        (get("X: a\r\n folded\r\n"), 400),
        (get("X: a\rY: b\r\n"), 400),
        (get("X: a\nY: b\r\n"), 400),
        (get("X: a\0b\r\n"), 400),
        (get("X Y: b\r\n"), 400),
        (get(": b\r\n"), 400),
        (get("Expect: the-spanish-inquisition\r\n"), 417),
        // Sizes.
        (get(&format!("X: {}\r\n", "x".repeat(16 * 1024))), 431),
        (get(&"A: b\r\n".repeat(101)), 431),
        (format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(17_000)), 431),
    ] {
        // Whoever believes the first request differently finds a second one behind it.
        let mut raw = Raw::saying(gateway.port, &format!("{request}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = raw.answer();
        let shown = &request[..request.len().min(120)];
        assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
        assert!(status != 400 || answer.body.is_empty(), "{shown:?}: {answer:?}");
        assert!(raw.rest().is_empty(), "nothing is read behind {shown:?}");
    }
    // The largest header value that passes, and the smallest that does not, in one head of 16 KiB.
    let frame = get("X: \r\n").len();
    for (room, status) in [(16 * 1024, 200), (16 * 1024 + 1, 431)] {
        let mut raw = Raw::saying(gateway.port, &get(&format!("X: {}\r\n", "x".repeat(room - frame))));
        assert_eq!(raw.answer().status, status, "a head of {room} bytes");
    }
    assert_eq!(gateway.get("/health").0, 200);
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let home = Home::new();
    let gateway = gateway(&home);
    // Bodies that nobody wants are read away, so that the next request is found behind them.
    let mut raw = Raw::saying(
        gateway.port,
        "GET /health HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}\
         POST /nope HTTP/1.1\r\nHost: a\r\nContent-Length: 28\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\nab\
         HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n\
         POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: u\r\n\r\n\
         GET http://other.example:1/healthz?x=y HTTP/1.1\r\nHost: other.example\r\n\r\n\
         OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n\
         GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
         GET /never HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let live = "{\"ok\":true,\"status\":\"live\"}";
    for (what, status, body) in [
        ("GET /health", 200, live),
        ("POST /nope", 404, "Not Found"),
        ("HEAD", 200, ""),
        ("POST /health", 405, "Method Not Allowed"),
        ("absolute form", 200, live),
        ("OPTIONS *", 404, "Not Found"),
    ] {
        let answer = raw.try_answer(what != "HEAD").unwrap_or_else(|| panic!("{what}"));
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{what}");
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{what}");
        assert_eq!(answer.header("keep-alive"), Some("timeout=5"), "{what}");
        assert!(what != "HEAD" || answer.header("content-length") == Some("27"), "{answer:?}");
    }
    let last = raw.answer();
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert!(raw.rest().is_empty());

    let mut old = Raw::saying(gateway.port, "GET /health HTTP/1.0\r\n\r\nGET /health HTTP/1.0\r\n\r\n");
    let answer = old.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert!(old.rest().is_empty(), "HTTP/1.0 gets one answer");

    let mut tunnel = Raw::saying(gateway.port, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert!(tunnel.rest().is_empty(), "CONNECT is dropped without a word");
}

#[test]
fn unwanted_bodies_end_the_connection_instead_of_holding_it() {
    let home = Home::new();
    let gateway = gateway(&home);
    let post = |lines: &str| format!("POST /health HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
    for (what, request) in [
        ("10^14 announced", post("Content-Length: 100000000000000\r\n")),
        ("more than is read away", post("Content-Length: 65537\r\n")),
        ("a body that never comes", post("Content-Length: 5\r\n") + "hel"),
        ("chunks that never end", post("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n"),
        ("a chunk of 2^63 bytes", post("Transfer-Encoding: chunked\r\n") + "8000000000000000\r\n"),
        ("a chunk line of a megabyte", post("Transfer-Encoding: chunked\r\n") + "1;" + &"x".repeat(1 << 20)),
        // A refused request is not encouraged to send its body.
        ("100-continue", post("Content-Length: 5\r\nExpect: 100-continue\r\n")),
    ] {
        let started = Instant::now();
        let mut raw = Raw::saying(gateway.port, &request);
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (405, Some("close")), "{what}");
        assert!(raw.rest().is_empty(), "{what}");
        assert!(started.elapsed() < Duration::from_secs(5), "{what}: {:?}", started.elapsed());
    }
    assert!(gateway.proc_status("VmRSS") < 100_000);
}

#[test]
fn every_answer_carries_the_headers_and_none_the_servers_name() {
    let home = Home::new();
    let more = json!({"gateway": {"http": {"securityHeaders": {"strictTransportSecurity": "max-age=31536000"}}}});
    home.configure(more);
    let gateway = Gateway::start(&home, &[]);
    for (request, status) in [
        ("GET /health HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("HEAD /readyz HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("DELETE /ready HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", 400),
    ] {
        let answer = Raw::saying(gateway.port, request).try_answer(false).expect(request);
        assert_eq!(answer.status, status, "{request}");
        for (name, value) in [
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Permissions-Policy", "camera=(), microphone=(), geolocation=()"),
            ("Strict-Transport-Security", "max-age=31536000"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{request}");
        }
        assert!(answer.header("date").is_some() && answer.header("content-length").is_some(), "{answer:?}");
        assert_eq!(answer.header("server"), None, "{answer:?}");
        assert!(!answer.head.to_lowercase().contains("access-control"), "{answer:?}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET, HEAD"), "{answer:?}");
    }
}

#[test]
fn probes_tell_details_only_to_callers_on_this_machine_or_with_the_secret() {
    let home = Home::new();
    let gateway = gateway(&home);
    let ask = |path: &str, lines: &str| -> Answer {
        Raw::saying(gateway.port, &format!("GET {path} HTTP/1.1\r\n{lines}\r\n")).answer()
    };
    for path in ["/ready", "/readyz", "/readyz?verbose=1"] {
        let answer = ask(path, "Host: 127.0.0.1\r\n");
        let ready = answer.json();
        assert_eq!((answer.status, &ready["ready"], &ready["failing"]), (200, &json!(true), &json!([])), "{ready}");
        assert!(ready["uptimeMs"].is_u64() && ready.as_object().is_some_and(|o| o.len() == 3), "{ready}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    }
    let bearer = format!("Host: gateway.example\r\nAuthorization: bearer  {TOKEN}\r\n");
    assert!(ask("/readyz", &bearer).json()["uptimeMs"].is_u64(), "the secret opens it");
    for lines in [
        "Host: gateway.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1\r\nX-Forwarded-For: 192.0.2.1\r\n",
        "Host: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\n",
        "Host: gateway.example\r\nAuthorization: Bearer wrong\r\n",
        "Host: gateway.example\r\nAuthorization: Basic dGVzdA==\r\n",
    ] {
        assert_eq!(ask("/readyz", lines).json(), json!({"ready": true}), "{lines:?}");
        assert_eq!(ask("/health", lines).json(), json!({"ok": true, "status": "live"}), "{lines:?}");
    }
    for path in ["/healthy", "/readyz/", "/health/x", "//health", "/HEALTH"] {
        assert_eq!(ask(path, "Host: a\r\n").status, 404, "{path}");
    }
}

#[test]
fn an_upgrade_needs_a_key_a_version_and_get_and_works_on_any_path() {
    let home = Home::new();
    let gateway = gateway(&home);
    let head = |start: &str, version: &str, key: &str| upgrade_head(start, version, key);
    let get = "GET /any/path?x=y HTTP/1.1";
    let without = |line: &str| head(get, "13", KEY).replace(line, "");
    for (what, request, status) in [
        ("POST", head("POST / HTTP/1.1", "13", KEY), 405),
        ("HTTP/1.0", head("GET / HTTP/1.0", "13", KEY), 400),
        ("version 7", head(get, "7", KEY), 400),
        ("version 14", head(get, "14", KEY), 400),
        ("no version", without("Sec-WebSocket-Version: 13\r\n"), 400),
        ("no key", without(&format!("Sec-WebSocket-Key: {KEY}\r\n")), 400),
        ("no connection", without("Connection: Upgrade\r\n"), 400),
        ("empty key", head(get, "13", ""), 400),
        ("short key", head(get, "13", "c2hvcnQ="), 400),
        ("no base64", head(get, "13", "????????????????????????"), 400),
        ("17 bytes", head(get, "13", "dGhlIHNhbXBsZSBub25jZSE="), 400),
    ] {
        let mut raw = Raw::saying(gateway.port, &request);
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{what}: {answer:?}");
        assert_eq!(answer.header("allow"), (status == 405).then_some("GET"), "{what}");
        assert_eq!(
            answer.header("sec-websocket-version"),
            what.contains("version").then_some("13, 8"),
            "{what}: {answer:?}"
        );
        assert!(raw.rest().is_empty(), "{what}");
    }
    for version in ["13", "8"] {
        // A ping in the same segment as the upgrade is not lost.
        let mut raw = Raw::open(gateway.port);
        raw.send(&[head(get, version, KEY).into_bytes(), frame(0x89, b"early")].concat());
        let answer = raw.try_answer(false).expect("an answer");
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("upgrade"), Some("websocket"));
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(answer.header("sec-websocket-extensions"), None);
        raw.send(&frame(0x88, &[3, 232]));
        let bytes = raw.rest();
        assert!(bytes.windows(7).any(|w| w == b"\x8a\x05early"), "{bytes:?}");
        assert!(bytes.ends_with(&[0x88, 2, 3, 232]), "{bytes:?}");
    }
}

#[test]
fn secrets_in_a_query_reach_no_log() {
    let home = Home::new();
    home.configure(json!({"logging": {"level": "trace"}}));
    let mut gateway = Gateway::start(&home, &["--verbose", "--ws-log", "full"]);
    let (query, header) = (word(), word());
    for path in ["/health", "/readyz", "/nope", "/hooks/wake"] {
        gateway.http(&format!(
            "GET {path}?token={query} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {header}\r\nConnection: close\r\n\r\n"
        ));
    }
    // Refused, and accepted with a handshake that fails behind it.
    Raw::saying(gateway.port, &upgrade_head(&format!("GET /?token={query} HTTP/1.1"), "7", KEY)).answer();
    let mut raw = Raw::saying(gateway.port, &upgrade_head(&format!("GET /?token={query} HTTP/1.1"), "13", KEY));
    assert_eq!(raw.try_answer(false).expect("an answer").status, 101);
    raw.send(&frame(0x81, b"rubbish"));
    raw.rest();
    Client::connect(gateway.port).call("health", json!({}));
    gateway.wait_line("health");
    assert_eq!(gateway.stop(), Some(0));
    let said = gateway.output() + &home.log_text();
    assert!(said.contains("listening on") && !said.contains(&query) && !said.contains(&header), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
}
