//! Bodies: framed so that two readers could disagree, too long, too slow, or waiting to be asked for.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{ask, chat, configured, hi, place, request};
use crate::common::model::{Model, Play};
use crate::common::raw::Raw;
use crate::common::{Gateway, TOKEN};

#[test]
fn no_second_request_hides_in_the_body_of_the_first() {
    let (model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = json!({"messages": [{"role": "user", "content": format!("\r\n\r\n{hidden}")}]}).to_string();
    let chunked = |framed: &str| request("POST", "/v1/chat/completions", "Transfer-Encoding: chunked\r\n", "") + framed;
    let (front, back) = body.split_at(20);
    let pieces = format!(
        "{:X} ;name=\"GET / HTTP/1.1\";x\r\n{front}\r\n{:04x}\r\n{back}\r\n000\r\nContent-Length: 9\r\nHost: evil\r\n\r\n",
        front.len(),
        back.len()
    );
    // What is good is answered once each, in order, and nothing of it is taken for a request.
    let mut raw = Raw::open(gateway.port);
    for text in
        [request("POST", "/v1/chat/completions", "", &body), chunked(&pieces), request("GET", "/v1/models", "", "")]
    {
        raw.send(text.as_bytes());
    }
    for what in ["a length", "chunks with extensions and trailers"] {
        let answer = raw.answer();
        assert_eq!(
            (answer.status, &answer.json()["choices"][0]["message"]["content"]),
            (200, &json!("hello")),
            "{what}"
        );
    }
    assert_eq!(raw.answer().json()["object"], "list");
    assert_eq!(model.served(), 2);
    assert!(model.requests()[1].to_string().contains("GET /smuggled"), "it is text and nothing else");

    let post = |lines: &str, rest: &str| request("POST", "/v1/chat/completions", lines, "") + rest;
    for (what, text, status) in [
        ("CL.TE", post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"), 400),
        ("TE.CL", post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"), 400),
        ("TE.TE", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"), 400),
        ("TE with a tab", post("Transfer-Encoding:\tchunked, identity\r\n", "0\r\n\r\n"), 400),
        ("identity", post("Transfer-Encoding: identity\r\n", ""), 501),
        ("a folded TE", post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"), 400),
        ("a size with a sign", chunked("+5\r\nhello\r\n0\r\n\r\n"), 400),
        ("a size in 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 400),
        ("an underscore", chunked("1_0\r\nhello\r\n0\r\n\r\n"), 400),
        ("a size of 17 digits", chunked("00000000000000005\r\nhello\r\n0\r\n\r\n"), 400),
        ("no size", chunked(";x\r\nhello\r\n0\r\n\r\n"), 400),
        ("bare LF behind a size", chunked("5\nhello\r\n0\r\n\r\n"), 400),
        ("bare LF behind a chunk", chunked("5\r\nhello\n0\r\n\r\n"), 400),
        ("bare LF in an extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), 400),
        ("bare CR in an extension", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 400),
        ("bare LF in a trailer", chunked("0\r\nX: a\n\r\n"), 400),
        ("a chunk longer than it says", chunked("3\r\nhello\r\n0\r\n\r\n"), 400),
        ("2^64 - 1", chunked("ffffffffffffffff\r\n"), 413),
        ("an extension without end", chunked(&format!("5;{}", "x".repeat(4000))), 413),
        ("trailers without end", chunked(&format!("0\r\n{}", "T: u\r\n".repeat(2000))), 400),
    ] {
        let mut raw = Raw::saying(gateway.port, &format!("{text}{hidden}"));
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{what}: {answer:?}");
        assert!(raw.rest().is_empty(), "nothing is read behind {what}");
    }
    // What is white space for Unicode is none in a head: to a proxy this is no chunked body, and no number.
    for (what, line, status) in [
        ("TE with a no-break space", &b"Transfer-Encoding: chunked\xa0"[..], 501),
        ("TE behind a next line", b"Transfer-Encoding: \x85chunked", 501),
        ("CL with a no-break space", b"Content-Length: 5\xa0", 400),
    ] {
        let head = request("POST", "/v1/chat/completions", "", "").into_bytes();
        let rest = format!("\r\n\r\n0\r\n\r\n{hidden}");
        let mut raw = Raw::open(gateway.port);
        raw.send(&[&head[..head.len() - 2], line, rest.as_bytes()].concat());
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{what}: {answer:?}");
        assert!(raw.rest().is_empty(), "nothing is read behind {what}");
    }
    assert_eq!(model.served(), 2, "none of it reached an agent");
    // An absolute target of somebody else's: the path is used, and the name opens nothing.
    let other = request("GET", "http://127.0.0.1:1/readyz", "", "").replace("Host: 127.0.0.1", "Host: evil.example");
    assert_eq!(ask(&gateway, &other.replace(TOKEN, "wrong")).json(), json!({"ready": true}));
}

#[test]
fn a_refused_body_is_answered_to_a_client_that_writes_all_of_it_first() {
    let (model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    let big = vec![b'x'; 24 << 20];
    let length = format!("Content-Length: {}\r\n", big.len());
    let post = |path: &str, lines: &str| request("POST", path, lines, "");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let frame = format!("{:x}\r\n", 1 << 20);
    for (what, head, status, text) in [
        ("413 by its length", post("/v1/chat/completions", &length), 413, "Payload too large"),
        ("413 by its chunks", post("/v1/chat/completions", chunked), 413, "Payload too large"),
        ("413 of tools", post("/tools/invoke", &length), 413, "Payload too large"),
        ("401", post("/v1/chat/completions", &length).replace(TOKEN, "wrong"), 401, "Unauthorized"),
        ("404", post("/v1/nothing", &length), 404, "Not found"),
        ("405", post("/v1/models", &length), 405, "Method Not Allowed"),
    ] {
        let mut raw = Raw::saying(gateway.port, &head);
        for piece in big.chunks(1 << 20) {
            if head.contains("chunked") {
                raw.send(&[frame.as_bytes(), piece, b"\r\n"].concat());
            } else {
                // The client is not cut while it writes: it need not look for an answer before it has written all.
                std::io::Write::write_all(&mut raw.stream, piece).unwrap_or_else(|e| panic!("{what}: {e}"));
            }
        }
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{what}: {answer:?}");
        assert!(answer.body.contains(text), "{what}: {answer:?}");
        if status == 413 {
            let want = json!({"error": {"message": text, "type": "invalid_request_error"}});
            assert_eq!(answer.json(), want, "{what}");
        }
    }
    assert_eq!(model.served(), 0);
    assert!(gateway.proc_status("VmRSS") < 150_000, "{} kB", gateway.proc_status("VmRSS"));
    assert_eq!(ask(&gateway, &chat(&hi())).status, 200);
}

#[test]
fn a_body_of_millions_of_values_is_refused_before_it_becomes_a_tree() {
    let (model, _home, gateway) = place(
        vec![Play::words("hello")],
        json!({"hooks": {"enabled": true, "token": "hooks-only", "maxBodyBytes": 1 << 24}}),
    );
    assert_eq!(ask(&gateway, &chat(&hi())).status, 200);
    let before = gateway.proc_status("VmHWM");
    // A megabyte and more of zeroes, or of empty objects; in strings they are text.
    let zeroes = format!("{{\"x\":[{}0]}}", "0,".repeat(700_000));
    let objects = format!("{{\"messages\":[{}{{}}]}}", "{},".repeat(600_000));
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/tools/invoke", "/hooks/wake"] {
        for body in [&zeroes, &objects] {
            let text = request("POST", path, "", body);
            let text = if path == "/hooks/wake" { text.replace(TOKEN, "hooks-only") } else { text };
            let answer = ask(&gateway, &text);
            assert_eq!(answer.status, 400, "{path}: {answer:?}");
            assert!(answer.body.contains("more than 50000 values"), "{path}: {answer:?}");
        }
    }
    let peak = gateway.proc_status("VmHWM").saturating_sub(before);
    assert!(peak < 20_000, "{peak} kB more");
    let text = json!({"messages": [{"role": "user", "content": "0,[{".repeat(100_000)}]});
    assert_eq!(ask(&gateway, &chat(&text)).status, 200);
    assert_eq!(model.served(), 2);
}

#[test]
fn who_waits_for_100_gets_it_when_the_body_is_wanted_and_not_otherwise() {
    let (_model, _home, gateway) = place(vec![Play::words("hello")], json!({}));
    let body = hi().to_string();
    let length = format!("Content-Length: {}\r\nExpect: 100-Continue\r\n", body.len());
    let head = request("POST", "/v1/chat/completions", &length, "");
    let mut raw = Raw::saying(gateway.port, &head);
    let interim = raw.try_answer(false).expect("an interim answer");
    assert_eq!(interim.head, "HTTP/1.1 100 Continue\r\n\r\n");
    raw.send(body.as_bytes());
    assert_eq!(raw.answer().status, 200);
    // Who sends without waiting does not need it.
    raw.send(format!("{head}{body}").as_bytes());
    let first = raw.try_answer(true).expect("an answer");
    let last = if first.status == 100 { raw.answer() } else { first };
    assert_eq!(last.status, 200, "on the same connection");

    let large = "Content-Length: 99999999\r\nExpect: 100-continue\r\n";
    for (what, head, status) in [
        ("a wrong secret", head.replace(TOKEN, "wrong"), 401),
        ("no secret", head.replace("Authorization", "X-Nothing"), 401),
        ("too long", request("POST", "/v1/chat/completions", large, ""), 413),
        ("another method", head.replace("POST", "PUT"), 405),
        ("nobody's path", head.replace("/chat/", "/chit/"), 404),
    ] {
        let mut raw = Raw::saying(gateway.port, &head);
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (status, Some("close")), "{what}: {answer:?}");
        raw.stream.shutdown(Shutdown::Write).expect("a socket");
        assert!(raw.rest().is_empty(), "{what}");
    }
}

#[test]
fn bodies_that_stop_end_in_408_and_cut_ones_in_400() {
    let model = Model::start(vec![Play::words("hello")]);
    let home = configured(&model, json!({}));
    let gateway = Gateway::start_with(&home, &[], |command| {
        command.env("OPENCLAW_TEST_BODY_STALL_MS", "300");
    });
    let head = |lines: &str| request("POST", "/v1/chat/completions", lines, "");
    for (what, text) in [
        ("nothing of it", head("Content-Length: 50\r\n")),
        ("a part of it", head("Content-Length: 50\r\n") + "{\"messages\":"),
        ("no chunk", head("Transfer-Encoding: chunked\r\n")),
        ("half a chunk", head("Transfer-Encoding: chunked\r\n") + "ff\r\n{\"mess"),
        ("half a size", head("Transfer-Encoding: chunked\r\n") + "f"),
        ("no end", head("Transfer-Encoding: chunked\r\n") + "2\r\n{}\r\n"),
        ("half a trailer", head("Transfer-Encoding: chunked\r\n") + "0\r\nX: "),
    ] {
        let began = Instant::now();
        let mut raw = Raw::saying(gateway.port, &text);
        let answer = raw.answer();
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{what}: {answer:?}");
        let want = json!({"error": {"message": "Request body timeout", "type": "invalid_request_error"}});
        assert_eq!(answer.json(), want, "{what}");
        assert!(raw.rest().is_empty() && began.elapsed() >= Duration::from_millis(290), "{what}");

        let mut cut = Raw::saying(gateway.port, &text);
        cut.stream.shutdown(Shutdown::Write).expect("a socket");
        assert_eq!(cut.answer().status, 400, "{what}, cut");
        assert!(cut.rest().is_empty(), "{what}, cut");
    }
    assert_eq!(model.served(), 0);
    // Slow is not stopped: each byte is news.
    let body = hi().to_string();
    let mut raw = Raw::saying(gateway.port, &head(&format!("Content-Length: {}\r\n", body.len())));
    for byte in body.bytes() {
        raw.send(&[byte]);
        // The pause of a slow client is what this is about.
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(raw.answer().status, 200);
}
