//! The client's side of the wire: upgrade, masked frames out, frames in, the gateway's handshake.
//!
//! One blocking socket per client, no thread. Small on purpose: what the client spends is taken from the server
//! under test, since both share the machine. Every read ends after `PATIENCE`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::device::Device;
use crate::{Error, Result, fail};

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const TEXT: u8 = 1;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

pub const CLIENT_ID: &str = "cli";
pub const CLIENT_MODE: &str = "cli";
pub const ROLE: &str = "operator";
pub const SCOPES: [&str; 5] =
    ["operator.admin", "operator.read", "operator.write", "operator.approvals", "operator.pairing"];

/// Where a server listens and what opens it.
#[derive(Clone)]
pub struct Door {
    pub addr: SocketAddr,
    pub token: String,
}

pub struct Client {
    stream: TcpStream,
    /// Received and not yet consumed: `buf[start..]`.
    buf: Vec<u8>,
    start: usize,
    out: Vec<u8>,
    next_id: u64,
    /// Length of the hello-ok frame.
    pub hello_bytes: usize,
}

impl Client {
    /// TCP, upgrade, challenge, `connect`, hello-ok.
    pub fn connect(door: &Door, device: Option<&Device>) -> Result<Client> {
        let stream = TcpStream::connect_timeout(&door.addr, PATIENCE)?;
        Client::over(stream, door, device)
    }

    pub fn over(stream: TcpStream, door: &Door, device: Option<&Device>) -> Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut client =
            Client { stream, buf: Vec::with_capacity(8192), start: 0, out: Vec::new(), next_id: 1, hello_bytes: 0 };
        client.upgrade(door)?;
        client.handshake(door, device)?;
        Ok(client)
    }

    fn upgrade(&mut self, door: &Door) -> Result<()> {
        let head = format!(
            "GET / HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
            door.addr
        );
        self.stream.write_all(head.as_bytes())?;
        loop {
            if let Some(end) = find(&self.buf, b"\r\n\r\n") {
                if !self.buf.starts_with(b"HTTP/1.1 101") {
                    let line = String::from_utf8_lossy(&self.buf[..end]).lines().next().unwrap_or("").to_owned();
                    return fail(format!("upgrade refused: {line}"));
                }
                self.start = end + 4;
                return Ok(());
            }
            self.fill()?;
        }
    }

    fn handshake(&mut self, door: &Door, device: Option<&Device>) -> Result<()> {
        let signed = match (self.text()?, device) {
            (_, None) => String::new(),
            (challenge, Some(device)) => {
                let event: serde_json::Value = serde_json::from_slice(challenge)?;
                let nonce = event["payload"]["nonce"].as_str().unwrap_or_default();
                let ts = event["payload"]["ts"].as_u64().unwrap_or_default();
                format!(",\"device\":{}", device.sign(&door.token, nonce, ts))
            }
        };
        let params = format!(
            "{{\"minProtocol\":3,\"maxProtocol\":4,\"client\":{{\"id\":\"{CLIENT_ID}\",\"version\":\"2026.3.13\",\
             \"platform\":\"linux\",\"mode\":\"{CLIENT_MODE}\"}},\"role\":\"{ROLE}\",\"scopes\":[\"{}\"],\"caps\":[],\
             \"auth\":{{\"token\":\"{}\"}}{signed}}}",
            SCOPES.join("\",\""),
            door.token
        );
        self.hello_bytes = self.call("connect", &params)?.len();
        Ok(())
    }

    /// Sends a request and waits for its answer; whatever else arrives in between is read and forgotten.
    pub fn call(&mut self, method: &str, params: &str) -> Result<&[u8]> {
        let id = self.send(method, params)?;
        self.answer(&id, |_| ())
    }

    /// Sends a request; its id.
    pub fn send(&mut self, method: &str, params: &str) -> Result<String> {
        let id = format!("b-{:07}", self.next_id);
        self.next_id += 1;
        let request = format!("{{\"type\":\"req\",\"id\":\"{id}\",\"method\":\"{method}\",\"params\":{params}}}");
        self.send_frame(TEXT, request.as_bytes())?;
        Ok(id)
    }

    /// The next answer to `id`, an error when it says `ok:false`. `other` sees every other text frame.
    pub fn answer(&mut self, id: &str, mut other: impl FnMut(&[u8])) -> Result<&[u8]> {
        let bounds = loop {
            let bounds = self.frame()?;
            match bounds.opcode {
                TEXT => {}
                PING => {
                    let payload = self.payload(&bounds).to_vec();
                    self.send_frame(PONG, &payload)?;
                    continue;
                }
                CLOSE => return fail(closed(self.payload(&bounds))),
                _ => continue,
            }
            let text = self.payload(&bounds);
            let head = &text[..text.len().min(128)];
            if find(head, b"\"type\":\"res\"").is_some() && find(head, id.as_bytes()).is_some() {
                break bounds;
            }
            other(text);
        };
        let text = self.payload(&bounds);
        if find(&text[..text.len().min(160)], b"\"ok\":true").is_none() {
            return fail(format!("refused: {}", String::from_utf8_lossy(&text[..text.len().min(400)])));
        }
        Ok(text)
    }

    fn text(&mut self) -> Result<&[u8]> {
        let bounds = self.frame()?;
        if bounds.opcode != TEXT {
            return fail(closed(self.payload(&bounds)));
        }
        Ok(self.payload(&bounds))
    }

    pub fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<()> {
        self.out.clear();
        encode(&mut self.out, opcode, payload);
        Ok(self.stream.write_all(&self.out)?)
    }

    /// Close frame, then everything up to the server's end of the stream.
    pub fn close(mut self) -> Result<()> {
        self.send_frame(CLOSE, &1000u16.to_be_bytes())?;
        loop {
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A server that closes first may reset what the kernel still had to deliver.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The socket and what was received on it but not yet consumed.
    pub fn into_parts(mut self) -> (TcpStream, Vec<u8>) {
        self.buf.drain(..self.start);
        (self.stream, self.buf)
    }

    /// The next whole frame, which `payload` then shows; consumes the one before.
    fn frame(&mut self) -> Result<Bounds> {
        loop {
            if let Some(bounds) = bounds(&self.buf[self.start..])? {
                let at = self.start;
                self.start += bounds.end;
                return Ok(Bounds { head: at + bounds.head, end: at + bounds.end, ..bounds });
            }
            self.fill()?;
        }
    }

    fn payload(&self, bounds: &Bounds) -> &[u8] {
        &self.buf[bounds.head..bounds.end]
    }

    fn fill(&mut self) -> Result<()> {
        if self.start == self.buf.len() {
            self.buf.clear();
            self.start = 0;
        } else if self.start > 1 << 20 {
            self.buf.drain(..self.start);
            self.start = 0;
        }
        let used = self.buf.len();
        self.buf.resize(used + 8192, 0);
        let read = self.stream.read(&mut self.buf[used..]);
        self.buf.truncate(used + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => fail("the server closed the connection"),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                fail(format!("no answer within {} s", PATIENCE.as_secs()))
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// One frame inside a buffer: payload is `head..end`.
pub struct Bounds {
    pub opcode: u8,
    pub head: usize,
    pub end: usize,
}

/// The first frame of `buf` if it is complete. A server sends neither masked nor fragmented frames here.
pub fn bounds(buf: &[u8]) -> Result<Option<Bounds>> {
    let [first, second, ..] = *buf else { return Ok(None) };
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        return fail(format!("unexpected frame head {first:02x} {second:02x}"));
    }
    let (head, length) = match second {
        126 if buf.len() >= 4 => (4, u64::from(u16::from_be_bytes([buf[2], buf[3]]))),
        127 if buf.len() >= 10 => (10, u64::from_be_bytes(buf[2..10].try_into().expect("eight bytes"))),
        126 | 127 => return Ok(None),
        short => (2, u64::from(short)),
    };
    let end = head + usize::try_from(length).map_err(|_| Error::from("frame longer than memory"))?;
    Ok((buf.len() >= end).then_some(Bounds { opcode: first & 0x0f, head, end }))
}

/// Appends one masked client frame.
pub fn encode(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(0x80 | short as u8),
        middle @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    // Loopback has no proxy to protect, so one constant mask is as good as a random one.
    let mask = [0x5a, 0xc3, 0x17, 0x9e];
    out.extend_from_slice(&mask);
    let at = out.len();
    out.extend_from_slice(payload);
    for chunk in out[at..].chunks_mut(4) {
        for (byte, key) in chunk.iter_mut().zip(mask) {
            *byte ^= key;
        }
    }
}

pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

fn closed(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            format!("closed {}: {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason))
        }
        _ => "closed without a code".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_three_sizes() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            let mut frame = Vec::new();
            encode(&mut frame, TEXT, &vec![b'a'; length]);
            let head = frame.len() - length;
            assert_eq!(
                frame[head..].iter().enumerate().find(|(at, byte)| **byte ^ frame[head - 4 + at % 4] != b'a'),
                None
            );
            // A server's frame is the same without mask.
            frame[1] &= 0x7f;
            frame.drain(head - 4..head);
            let bounds = bounds(&frame).unwrap().unwrap();
            assert_eq!((bounds.opcode, bounds.end - bounds.head, bounds.end), (TEXT, length, frame.len()));
            for cut in 0..head.min(frame.len()) {
                assert!(super::bounds(&frame[..cut]).unwrap().is_none());
            }
        }
        assert!(bounds(&[0x01, 0x00]).is_err(), "a fragment");
        assert!(bounds(&[0x81, 0x80]).is_err(), "a masked frame");
    }
}
