//! A connection that says any bytes at all and reads HTTP answers one by one.

use std::io::{Read, Write};
use std::net::TcpStream;

use openclaw::ids;

use super::patience;

pub struct Raw<S = TcpStream> {
    pub stream: S,
    /// Read and not used yet.
    bytes: Vec<u8>,
}

/// One HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let wanted = |line: &&str| line.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        self.head.lines().find(wanted)?.split_once(':').map(|(_, value)| value.trim())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

impl Raw {
    pub fn open(port: u16) -> Raw {
        Raw::on(TcpStream::connect(("127.0.0.1", port)).expect("the gateway accepts"))
    }

    /// On a socket that is connected already.
    pub fn on(stream: TcpStream) -> Raw {
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(patience())).expect("a socket");
        stream.set_write_timeout(Some(patience())).expect("a socket");
        Raw::over(stream)
    }

    /// A connection on which this has been said.
    pub fn saying(port: u16, text: &str) -> Raw {
        let mut raw = Raw::open(port);
        raw.send(text.as_bytes());
        raw
    }
}

impl<S: Read + Write> Raw<S> {
    /// On whatever is connected already.
    pub fn over(stream: S) -> Raw<S> {
        Raw { stream, bytes: Vec::new() }
    }

    /// Sends; a peer that has closed meanwhile is for the reading half to find out.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a text message of the WebSocket that this connection has become.
    pub fn send_text(&mut self, text: &str) {
        self.send(&frame(0x81, text.as_bytes()));
    }

    /// Reads until these bytes have come, and takes everything up to them.
    pub fn read_until(&mut self, wanted: &[u8]) {
        loop {
            if let Some(at) = self.bytes.windows(wanted.len()).position(|w| w == wanted) {
                drop(self.bytes.drain(..at + wanted.len()));
                return;
            }
            let text = String::from_utf8_lossy(wanted);
            assert!(self.more(), "the end came before {text:?}: {:?}", String::from_utf8_lossy(&self.bytes));
        }
    }

    /// Reads to the end of the connection and counts the bytes, keeping none.
    pub fn count_rest(&mut self) -> usize {
        let mut count = 0;
        loop {
            let ended = !self.more();
            count += self.bytes.len();
            self.bytes.clear();
            if ended {
                return count;
            }
        }
    }

    /// The next answer with its body; to a HEAD request with `body` false. None: the connection has ended.
    pub fn try_answer(&mut self, body: bool) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more().then_some(())?;
        };
        let head = String::from_utf8(self.bytes.drain(..end).collect()).expect("heads are ASCII");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        let mut answer = Answer { status, head, body: String::new() };
        let length = answer.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
        if body && length > 0 {
            while self.bytes.len() < length {
                assert!(self.more(), "the body of {answer:?} was cut");
            }
            answer.body = String::from_utf8(self.bytes.drain(..length).collect()).expect("bodies are text");
        }
        Some(answer)
    }

    pub fn answer(&mut self) -> Answer {
        self.try_answer(true).expect("an answer")
    }

    /// The body of a chunked answer whose head was taken, to its last chunk.
    pub fn chunks(&mut self) -> String {
        let mut body = Vec::new();
        loop {
            let line = self.take_line();
            let size = usize::from_str_radix(&line, 16).unwrap_or_else(|e| panic!("{e}: {line:?}"));
            while self.bytes.len() < size + 2 {
                assert!(self.more(), "the stream was cut behind {:?}", String::from_utf8_lossy(&body));
            }
            body.extend(self.bytes.drain(..size));
            assert_eq!(self.bytes.drain(..2).collect::<Vec<_>>(), b"\r\n");
            if size == 0 {
                return String::from_utf8(body).expect("bodies are text");
            }
        }
    }

    fn take_line(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.bytes.windows(2).position(|w| w == b"\r\n") {
                break at;
            }
            assert!(self.more(), "the connection ended");
        };
        let line = String::from_utf8(self.bytes.drain(..end + 2).collect()).expect("lines are text");
        line.trim_end().to_owned()
    }

    /// Reads to the end of the connection; what came before it, beside answers that were taken.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.more() {}
        std::mem::take(&mut self.bytes)
    }

    fn more(&mut self) -> bool {
        let mut piece = [0; 64 * 1024];
        match self.stream.read(&mut piece) {
            Ok(n) => {
                self.bytes.extend_from_slice(&piece[..n]);
                n > 0
            }
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("the gateway neither answered nor closed; so far {:?}", String::from_utf8_lossy(&self.bytes))
            }
            Err(_) => false,
        }
    }
}

/// The head of a WebSocket upgrade, with further or changed header lines behind it.
pub fn upgrade_head(start: &str, version: &str, key: &str) -> String {
    format!(
        "{start}\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: {version}\r\n\
         Sec-WebSocket-Key: {key}\r\n\r\n"
    )
}

/// A key as clients make it.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A masked frame: first byte (final bit and opcode), payload.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = frame_head(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// Its header, with the mask 0000 that leaves the payload as it is.
pub fn frame_head(first: u8, len: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match len {
        0..126 => bytes.push(0x80 | len as u8),
        126..0x1_0000 => {
            bytes.push(0xfe);
            bytes.extend((len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend(len.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

/// A random word that is nowhere else.
pub fn word() -> String {
    format!("secret{}", ids::sha256_hex(&ids::random_bytes::<16>()))
}
