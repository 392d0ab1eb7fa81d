//! Answers: built here, printed by `tiny_http::Response`, with the headers every answer carries (http 1.1).

use std::io::{self, Write};

use serde::Serialize;
use tiny_http::{HTTPVersion, Header, Response, StatusCode};

use crate::limits;

/// One answer with a body in memory.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// `text/plain`; no line end behind the text.
    pub fn text(status: u16, text: &str) -> Reply {
        Reply { status, headers: Vec::new(), body: text.as_bytes().to_vec() }
            .header("Content-Type", "text/plain; charset=utf-8")
    }

    pub fn json(status: u16, value: &impl Serialize) -> Reply {
        let body = serde_json::to_vec(value).expect("answers have string keys only");
        Reply { status, headers: Vec::new(), body }.header("Content-Type", "application/json; charset=utf-8")
    }

    /// No body at all.
    pub fn empty(status: u16) -> Reply {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// A value that could end the header line is left out: a header can be lost, never injected.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        let value = value.into();
        if is_token(name) && is_field_value(&value) {
            self.headers.push((name, value));
        }
        self
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    /// Prints the answer. `keep_alive` decides the `Connection` header; HEAD requests get the head alone.
    pub fn print(self, out: &mut impl Write, keep_alive: bool, head_only: bool, hsts: Option<&str>) -> io::Result<()> {
        let mut headers: Vec<Header> = Vec::new();
        let mut add = |name: &str, value: &str| headers.extend(Header::from_bytes(name.as_bytes(), value.as_bytes()));
        add("X-Content-Type-Options", "nosniff");
        add("Referrer-Policy", "no-referrer");
        add("Permissions-Policy", "camera=(), microphone=(), geolocation=()");
        if let Some(hsts) = hsts.filter(|v| !v.is_empty() && is_field_value(v)) {
            add("Strict-Transport-Security", hsts);
        }
        for (name, value) in &self.headers {
            add(name, value);
        }
        // Takes the place of tiny_http's own, and is removed below: no answer names the program.
        add("Server", "-");
        let length = self.body.len();
        let response = Response::new(StatusCode(self.status), headers, self.body.as_slice(), Some(length), None)
            .with_chunked_threshold(usize::MAX);
        let mut head = HeadEditor { out, head: Vec::with_capacity(512), passed: false, keep_alive };
        response.raw_print(&mut head, HTTPVersion(1, 1), &[], head_only, None)?;
        head.flush()
    }
}

/// A token of RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_field_value(value: &str) -> bool {
    value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b))
}

/// Lets the head pass with our `Connection` in it (tiny_http offers no way to set it) and without `Server`.
struct HeadEditor<'a, W: Write> {
    out: &'a mut W,
    head: Vec<u8>,
    passed: bool,
    keep_alive: bool,
}

impl<W: Write> Write for HeadEditor<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.passed {
            self.out.write_all(bytes)?;
            return Ok(bytes.len());
        }
        self.head.extend_from_slice(bytes);
        if let Some(end) = self.head.windows(4).position(|w| w == b"\r\n\r\n") {
            let mut edited = Vec::with_capacity(self.head.len() + 64);
            for (n, line) in self.head[..end].split(|&b| b == b'\n').enumerate() {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                if line.get(..7).is_some_and(|name| name.eq_ignore_ascii_case(b"Server:")) {
                    continue;
                }
                edited.extend_from_slice(line);
                edited.extend_from_slice(b"\r\n");
                if n == 0 {
                    edited.extend_from_slice(if self.keep_alive {
                        const { assert!(limits::HTTP_KEEPALIVE.as_secs() == 5) };
                        b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
                    } else {
                        b"Connection: close\r\n"
                    });
                }
            }
            edited.extend_from_slice(b"\r\n");
            edited.extend_from_slice(&self.head[end + 4..]);
            self.out.write_all(&edited)?;
            self.passed = true;
            self.head = Vec::new();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(reply: Reply, keep_alive: bool, head_only: bool) -> String {
        let mut out = Vec::new();
        reply.print(&mut out, keep_alive, head_only, Some("max-age=31536000")).unwrap();
        String::from_utf8(out).unwrap()
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
