//! The limit: the least that a server with one thread for each connection can do for the same client.
//!
//! Runs as a process of its own (`--limit-server`). It reads with tungstenite, answers by a direct write of a
//! constant as long as the gateway's own answer, and fans out with one encoding and one write per client. It checks
//! no secret, parses no JSON, keeps no state. With `--echo` it sends back what it gets, for the Autobahn suite.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::Result;
use crate::ws::find;

const STACK: usize = 256 * 1024;

#[derive(Clone)]
pub struct Sizes {
    /// Lengths of the gateway's hello-ok and `health` frames.
    pub hello: usize,
    pub health: usize,
}

struct Limit {
    hello: String,
    health: String,
    echo: bool,
    clients: RwLock<Vec<Arc<Peer>>>,
}

struct Peer {
    stream: Mutex<TcpStream>,
    open: AtomicBool,
}

/// Serves until standard input ends: a limit server never outlives the program that started it.
pub fn serve(port: u16, sizes: &Sizes, echo: bool) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let limit = Arc::new(Limit {
        hello: padding(sizes.hello, "{\"type\":\"hello-ok\",\"protocol\":4,\"pad\":\"\"}"),
        health: padding(sizes.health, "{\"ok\":true,\"pad\":\"\"}"),
        echo,
        clients: RwLock::new(Vec::new()),
    });
    std::thread::Builder::new().stack_size(STACK).spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    })?;
    for stream in listener.incoming() {
        let (stream, limit) = (stream?, limit.clone());
        std::thread::Builder::new().stack_size(STACK).spawn(move || {
            // A client that breaks its connection is that client's affair.
            let _ = limit.connection(stream);
        })?;
    }
    Ok(())
}

/// A payload that makes a response frame `frame` bytes long, by filling the last string of `empty`.
fn padding(frame: usize, empty: &str) -> String {
    const RESPONSE: usize = "{\"type\":\"res\",\"id\":\"b-0000000\",\"ok\":true,\"payload\":}".len();
    let pad = frame.saturating_sub(RESPONSE + empty.len());
    format!("{}{}\"}}", &empty[..empty.len() - 2], "x".repeat(pad))
}

impl Limit {
    fn connection(&self, mut stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        let mut buf = Vec::with_capacity(1024);
        loop {
            while find(&buf, b"\r\n\r\n").is_none() {
                let used = buf.len();
                buf.resize(used + 1024, 0);
                let read = stream.read(&mut buf[used..])?;
                buf.truncate(used + read);
                if read == 0 {
                    return Ok(());
                }
            }
            let end = find(&buf, b"\r\n\r\n").expect("found a moment ago") + 4;
            let head = String::from_utf8_lossy(&buf[..end]).into_owned();
            if let Some(key) = header(&head, "sec-websocket-key") {
                let answer = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {}\r\n\r\n",
                    derive_accept_key(key.as_bytes())
                );
                stream.write_all(answer.as_bytes())?;
                return if self.echo { echo(stream, buf.split_off(end)) } else { self.websocket(stream) };
            }
            let body = "{\"ok\":true,\"status\":\"live\"}";
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes())?;
            buf.drain(..end);
        }
    }

    fn websocket(&self, stream: TcpStream) -> Result<()> {
        let peer = Arc::new(Peer { stream: Mutex::new(stream.try_clone()?), open: AtomicBool::new(true) });
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_message_size(Some(25 << 20))
            .max_frame_size(Some(25 << 20));
        let mut socket = WebSocket::from_raw_socket(stream, Role::Server, Some(config));
        peer.text(
            b"{\"type\":\"event\",\"event\":\"connect.challenge\",\"payload\":{\"nonce\":\"00000000-0000-4000-8000-000000000000\",\"ts\":1}}",
        )?;
        let served = self.requests(&mut socket, &peer);
        peer.open.store(false, Ordering::Relaxed);
        self.clients.write().expect("no holder panics").retain(|other| !Arc::ptr_eq(other, &peer));
        served
    }

    fn requests(&self, socket: &mut WebSocket<TcpStream>, peer: &Arc<Peer>) -> Result<()> {
        let mut frame = String::new();
        loop {
            let text = match socket.read() {
                Ok(Message::Text(text)) => text,
                Ok(_) => continue,
                Err(Error::ConnectionClosed) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let id = string_after(&text, "\"id\":\"");
            let payload = match string_after(&text, "\"method\":\"") {
                "health" => self.health.as_str(),
                "connect" => {
                    self.clients.write().expect("no holder panics").push(peer.clone());
                    self.hello.as_str()
                }
                "system-event" => {
                    self.fan_out(string_after(&text, "\"text\":\""));
                    "{\"ok\":true}"
                }
                "agent" => {
                    stream_chunks(peer, id, string_after(&text, "\"message\":\""))?;
                    continue;
                }
                _ => "{}",
            };
            frame.clear();
            for part in ["{\"type\":\"res\",\"id\":\"", id, "\",\"ok\":true,\"payload\":", payload, "}"] {
                frame.push_str(part);
            }
            peer.text(frame.as_bytes())?;
        }
    }

    fn fan_out(&self, text: &str) {
        let event = format!(
            "{{\"type\":\"event\",\"event\":\"presence\",\"payload\":{{\"presence\":[{{\"text\":\"{text}\",\"ts\":1}}]}},\
             \"seq\":1,\"stateVersion\":{{\"presence\":1,\"health\":1}}}}"
        );
        let frame = server_frame(event.as_bytes());
        for peer in self.clients.read().expect("no holder panics").iter() {
            if peer.open.load(Ordering::Relaxed) {
                // Its own thread notices what is wrong with it.
                let _ = peer.stream.lock().expect("no holder panics").write_all(&frame);
            }
        }
    }
}

impl Peer {
    fn text(&self, payload: &[u8]) -> std::io::Result<()> {
        self.stream.lock().expect("no holder panics").write_all(&server_frame(payload))
    }
}

/// A turn's answers and events for a message `chunks:<count>x<bytes>`, as fast as they can be written.
fn stream_chunks(peer: &Peer, id: &str, message: &str) -> Result<()> {
    let (count, bytes) = crate::model::shape(message).unwrap_or((1, 1));
    let word = "w".repeat(bytes);
    peer.text(
        format!("{{\"type\":\"res\",\"id\":\"{id}\",\"ok\":true,\"payload\":{{\"status\":\"accepted\"}}}}").as_bytes(),
    )?;
    for seq in 0..count {
        peer.text(
            format!(
                "{{\"type\":\"event\",\"event\":\"agent\",\"payload\":{{\"runId\":\"r\",\"stream\":\"assistant\",\
                 \"data\":{{\"delta\":\"{word}\"}},\"seq\":{seq}}}}}"
            )
            .as_bytes(),
        )?;
    }
    let all = word.repeat(count);
    Ok(peer.text(
        format!(
            "{{\"type\":\"res\",\"id\":\"{id}\",\"ok\":true,\"payload\":{{\"status\":\"ok\",\"result\":\
             {{\"payloads\":[{{\"text\":\"{all}\"}}]}}}}}}"
        )
        .as_bytes(),
    )?)
}

fn echo(stream: TcpStream, already_read: Vec<u8>) -> Result<()> {
    let config = WebSocketConfig::default().max_message_size(Some(64 << 20)).max_frame_size(Some(64 << 20));
    let mut socket = WebSocket::from_partially_read(stream, already_read, Role::Server, Some(config));
    loop {
        let refusal = match socket.read() {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                socket.send(message)?;
                continue;
            }
            Ok(_) => continue,
            Err(Error::ConnectionClosed | Error::Io(_)) => return Ok(()),
            Err(Error::Utf8(_)) => CloseCode::Invalid,
            Err(Error::Capacity(_)) => CloseCode::Size,
            Err(_) => CloseCode::Protocol,
        };
        let _ = socket.close(Some(CloseFrame { code: refusal, reason: "".into() }));
        let _ = socket.flush();
        return Ok(());
    }
}

fn server_frame(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(0x81);
    match payload.len() {
        short @ 0..=125 => out.push(short as u8),
        middle @ 126..=0xffff => {
            out.push(126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    out
}

/// What stands between `key` and the next quote; no escapes are sent here.
fn string_after<'a>(text: &'a str, key: &str) -> &'a str {
    let rest = text.find(key).map_or("", |at| &text[at + key.len()..]);
    &rest[..rest.find('"').unwrap_or(0)]
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, v)| v.trim())
}
