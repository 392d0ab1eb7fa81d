//! Answers: built here, printed by `tiny_http::Response`, with the headers every answer carries (http 1.1).

use std::io;
use std::sync::Arc;

use serde::Serialize;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

use crate::limits;

pub const JSON: &str = "application/json; charset=utf-8";

/// Bytes of an answer: its own, or shared by many.
#[derive(Clone, Debug)]
pub enum Bytes {
    Own(Vec<u8>),
    Shared(Arc<[u8]>),
}

impl Bytes {
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Shared(bytes) => bytes,
        }
    }
}

/// One answer with a body in memory.
#[derive(Clone, Debug)]
pub struct Reply {
    head: ReplyHead,
    body: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ReplyHead {
    status: u16,
    headers: Vec<(&'static str, String)>,
}

/// What the connection and the configuration add to every answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// The connection goes on behind the answer.
    pub keep_alive: bool,
    /// A HEAD request gets the head alone.
    pub head_only: bool,
    /// HTTP/1.0 knows no chunks: the end of a stream is the end of the connection.
    pub chunked: bool,
    /// Value of Strict-Transport-Security.
    pub hsts: Option<String>,
    /// Headers of CORS.
    pub cors: Vec<(&'static str, String)>,
}

impl Reply {
    /// `text/plain`; no line end behind the text.
    pub fn text(status: u16, text: &str) -> Reply {
        Reply::bytes(status, "text/plain; charset=utf-8", Bytes::Own(text.as_bytes().to_vec()))
    }

    pub fn json(status: u16, value: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(value).expect("answers have string keys only");
        Reply::bytes(status, JSON, Bytes::Own(body))
    }

    pub fn bytes(status: u16, content_type: &str, body: Bytes) -> Reply {
        Reply::empty(status).with_body(body).header("Content-Type", content_type)
    }

    pub fn with_body(self, body: Bytes) -> Reply {
        Reply { body, ..self }
    }

    /// No body at all.
    pub fn empty(status: u16) -> Reply {
        Reply { head: ReplyHead { status, headers: Vec::new() }, body: Bytes::Own(Vec::new()) }
    }

    /// The head of a stream of events; its body comes in pieces.
    pub fn event_stream() -> Reply {
        Reply::empty(200).header("Content-Type", "text/event-stream; charset=utf-8").header("Cache-Control", "no-cache")
    }

    /// A value that could end the header line is left out: a header can be lost, never injected.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        let value = value.into();
        if is_token(name) && is_field_value(&value) {
            self.head.headers.push((name, value));
        }
        self
    }

    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// The answer on the wire: its head, and its body if it has one to send.
    pub fn print(self, shape: &Shape) -> (Vec<u8>, Option<Bytes>) {
        self.print_with(shape, |head, length| head.print(shape, Some(length)))
    }

    fn print_with(self, shape: &Shape, print: impl FnOnce(ReplyHead, usize) -> Vec<u8>) -> (Vec<u8>, Option<Bytes>) {
        let length = self.body.as_slice().len();
        (print(self.head, length), (length > 0 && !shape.head_only).then_some(self.body))
    }

    /// The same in one piece.
    pub fn print_whole(self, shape: &Shape) -> Vec<u8> {
        let (mut bytes, body) = self.print(shape);
        bytes.extend_from_slice(body.as_ref().map_or(&[], Bytes::as_slice));
        bytes
    }

    /// The head of an answer whose body is this long and comes behind it.
    pub fn print_long_head(self, shape: &Shape, length: u64) -> Vec<u8> {
        self.head.print(shape, Some(usize::try_from(length).unwrap_or(usize::MAX)))
    }

    /// The head of an answer whose body comes in pieces, nobody knows how many.
    pub fn print_stream_head(self, shape: &Shape) -> Vec<u8> {
        self.head.print(shape, None)
    }
}

/// Prints the answers of one connection. Whoever asks the same again within a second gets the same head again: it is
/// not printed anew.
#[derive(Default)]
pub struct Printer {
    last: Option<Printed>,
}

struct Printed {
    second: u64,
    head: ReplyHead,
    shape: Shape,
    length: usize,
    bytes: Vec<u8>,
}

impl Printer {
    /// `second` is the present one: answers carry their date.
    pub fn print(&mut self, reply: Reply, shape: &Shape, second: u64) -> (Vec<u8>, Option<Bytes>) {
        reply.print_with(shape, |head, length| {
            let again = |p: &&Printed| p.second == second && p.length == length && p.head == head && p.shape == *shape;
            if let Some(printed) = self.last.as_ref().filter(again) {
                return printed.bytes.clone();
            }
            let bytes = head.print(shape, Some(length));
            self.last = Some(Printed { second, head, shape: shape.clone(), length, bytes: bytes.clone() });
            bytes
        })
    }
}

impl ReplyHead {
    fn print(&self, shape: &Shape, length: Option<usize>) -> Vec<u8> {
        let mut headers: Vec<Header> = Vec::new();
        let mut add = |name: &str, value: &str| headers.extend(Header::from_bytes(name.as_bytes(), value.as_bytes()));
        add("X-Content-Type-Options", "nosniff");
        add("Referrer-Policy", "no-referrer");
        add("Permissions-Policy", "camera=(), microphone=(), geolocation=()");
        if let Some(hsts) = shape.hsts.as_deref().filter(|v| !v.is_empty() && is_field_value(v)) {
            add("Strict-Transport-Security", hsts);
        }
        for (name, value) in shape.cors.iter().chain(&self.headers).filter(|(_, value)| is_field_value(value)) {
            add(name, value);
        }
        // Takes the place of tiny_http's own, and is removed below: no answer names the program.
        add("Server", "-");
        let response = Response::new(StatusCode(self.status), headers, io::empty(), length, None)
            .with_chunked_threshold(usize::MAX);
        let mut printed = Vec::with_capacity(512);
        response.raw_print(&mut printed, HTTPVersion(1, 1), &[], true, None).expect("memory takes everything");
        // A stream without chunks ends with the connection.
        let endless = length.is_none() && !shape.chunked;
        let unframed = endless || matches!(self.status, 100..200 | 204 | 304);
        edit_head(&printed, shape.keep_alive && !endless, unframed)
    }
}

/// Puts our `Connection` into a head that tiny_http printed (it offers no way to set it), takes `Server` out, and the
/// length where nothing has one.
fn edit_head(printed: &[u8], keep_alive: bool, unframed: bool) -> Vec<u8> {
    let mut edited = Vec::with_capacity(printed.len() + 64);
    let names = |line: &[u8], name: &str| {
        line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    for (n, line) in printed.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let length = names(line, "Content-Length:") || names(line, "Transfer-Encoding:");
        if line.is_empty() || names(line, "Server:") || (unframed && length) {
            continue;
        }
        edited.extend_from_slice(line);
        edited.extend_from_slice(b"\r\n");
        if n == 0 {
            edited.extend_from_slice(if keep_alive {
                const { assert!(limits::HTTP_KEEPALIVE.as_secs() == 5) };
                b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
            } else {
                b"Connection: close\r\n"
            });
        }
    }
    edited.extend_from_slice(b"\r\n");
    edited
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_field_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(reply: Reply, keep_alive: bool, head_only: bool) -> String {
        let hsts = Some("max-age=31536000".into());
        let shape = Shape { keep_alive, head_only, hsts, chunked: true, cors: Vec::new() };
        String::from_utf8(reply.print_whole(&shape)).unwrap()
    }

    #[test]
    fn an_answer_on_the_wire() {
        let text = print(Reply::json(200, &serde_json::json!({"ok": true})), true, false);
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines.retain(|l| !l.starts_with("Date: "));
        assert_eq!(lines[..3], ["HTTP/1.1 200 OK", "Connection: keep-alive", "Keep-Alive: timeout=5"]);
        for line in [
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Permissions-Policy: camera=(), microphone=(), geolocation=()",
            "Strict-Transport-Security: max-age=31536000",
            "Content-Type: application/json; charset=utf-8",
            "Content-Length: 11",
        ] {
            assert!(lines.contains(&line), "{line} in {lines:?}");
        }
        assert!(!head.contains("Server"));
        assert_eq!(body, "{\"ok\":true}");
    }

    #[test]
    fn head_and_close() {
        let text = print(Reply::text(404, "Not Found"), false, true);
        assert!(text.starts_with("HTTP/1.1 404 Not Found\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("Content-Length: 9\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn answers_without_a_body_have_no_length() {
        for status in [204, 304] {
            let text = print(Reply::empty(status), true, false);
            assert!(!text.contains("Content-Length") && !text.contains("Transfer-Encoding"), "{text}");
        }
    }

    #[test]
    fn streams_are_chunked_or_end_with_the_connection() {
        let head = |chunked| {
            let shape = Shape { keep_alive: true, chunked, ..Shape::default() };
            String::from_utf8(Reply::event_stream().print_stream_head(&shape)).unwrap()
        };
        let text = head(true);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n"), "{text}");
        assert!(text.contains("Transfer-Encoding: chunked\r\n") && !text.contains("Content-Length"), "{text}");
        let text = head(false);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nConnection: close\r\n"), "{text}");
        assert!(!text.contains("chunked") && !text.contains("Content-Length"), "{text}");
    }

    #[test]
    fn the_same_answer_is_printed_once_a_second() {
        let mut printer = Printer::default();
        let shape = Shape { keep_alive: true, chunked: true, ..Shape::default() };
        let mut print = |reply: Reply, shape: &Shape, second| String::from_utf8(printer.print(reply, shape, second).0);
        let first = print(Reply::text(200, "a"), &shape, 1).unwrap();
        assert_eq!(print(Reply::text(200, "b"), &shape, 1).unwrap(), first);
        for (reply, shape) in [
            (Reply::text(200, "aa"), shape.clone()),
            (Reply::text(404, "a"), shape.clone()),
            (Reply::text(200, "a").header("Allow", "GET"), shape.clone()),
            (Reply::text(200, "a"), Shape { keep_alive: false, ..shape.clone() }),
        ] {
            assert_ne!(print(reply, &shape, 1).unwrap(), first);
        }
    }

    #[test]
    fn headers_cannot_be_injected() {
        for value in ["a\r\nX: y", "a\ny", "a\0", "\u{e9}"] {
            let text = print(Reply::text(200, "").header("X-Test", value), true, false);
            assert!(!text.contains("X-Test"), "{value:?}");
        }
        assert!(print(Reply::text(200, "").header("X-Test", "a b"), true, false).contains("X-Test: a b\r\n"));
    }

    #[test]
    fn large_bodies_keep_their_length() {
        let text = print(Reply::text(200, &"x".repeat(100_000)), true, false);
        assert!(text.contains("Content-Length: 100000\r\n") && text.ends_with('x'));
    }
}
