//! A model endpoint for tests: a socket that does exactly what the script says, also the rude things.

use crate::hub::outbox::tests::{Memory, MemoryWire};
use crate::hub::outbox::{Budget, Outbox};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// What the endpoint does with one request.
pub(crate) enum Act {
    /// An ordinary answer.
    Plain(u16, &'static str, String),
    /// A stream with its orderly end.
    Stream(Vec<String>),
    /// The first pieces, then silence until the fake is dropped.
    Stall(Vec<String>),
    /// The first pieces, then the connection is cut.
    Break(Vec<String>),
    /// The first pieces; the rest when the gate opens (its sender is dropped).
    Gate(Vec<String>, Receiver<()>, Vec<String>),
}

/// One request as it came.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Lower-case names.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

pub(crate) struct Fake {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    _open: Sender<()>,
}

impl Fake {
    /// `script` is asked for each request, with its number from 0.
    pub(crate) fn start(script: impl Fn(usize, &Seen) -> Act + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (open, closed) = bounded::<()>(0);
        let (script, list) = (Arc::new(script), seen.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, list, closed) = (script.clone(), list.clone(), closed.clone());
                thread::spawn(move || {
                    let mut stream = stream;
                    while let Some(request) = read_request(&mut stream) {
                        let n = {
                            let mut list = list.lock();
                            list.push(request.clone());
                            list.len() - 1
                        };
                        if !act(&mut stream, script(n, &request), &closed) {
                            break;
                        }
                    }
                });
            }
        });
        Fake { address, seen, _open: open }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().len()
    }
}

fn read_request(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0u8; 4096];
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let mut lines = head.lines();
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let headers: Vec<(String, String)> =
        lines.filter_map(|l| l.split_once(':')).map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned())).collect();
    let length: usize =
        headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    while bytes.len() < head_end + length {
        match stream.read(&mut buffer) {
            Ok(n) if n > 0 => bytes.extend_from_slice(&buffer[..n]),
            _ => return None,
        }
    }
    let body = serde_json::from_slice(&bytes[head_end..head_end + length]).unwrap_or(Value::Null);
    Some(Seen { path, headers, body })
}

/// False: the connection is over.
fn act(stream: &mut TcpStream, act: Act, closed: &Receiver<()>) -> bool {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let send = |stream: &mut TcpStream, text: &str| stream.write_all(text.as_bytes()).is_ok();
    let pieces = |stream: &mut TcpStream, pieces: &[String]| {
        pieces.iter().all(|p| stream.write_all(format!("{:x}\r\n{p}\r\n", p.len()).as_bytes()).is_ok())
    };
    match act {
        Act::Plain(status, extra, body) => {
            let head = format!("HTTP/1.1 {status} X\r\n{extra}Content-Length: {}\r\n\r\n", body.len());
            send(stream, &head) && send(stream, &body)
        }
        Act::Stream(all) => send(stream, HEAD) && pieces(stream, &all) && send(stream, "0\r\n\r\n"),
        Act::Stall(first) => {
            let _ = send(stream, HEAD) && pieces(stream, &first);
            let _ = closed.recv();
            false
        }
        Act::Break(first) => {
            let _ = send(stream, HEAD) && pieces(stream, &first);
            false
        }
        Act::Gate(first, gate, rest) => {
            let _ = send(stream, HEAD) && pieces(stream, &first);
            let _ = gate.recv();
            pieces(stream, &rest) && send(stream, "0\r\n\r\n")
        }
    }
}

/// One piece of text as an OpenAI event.
pub(crate) fn text(text: &str) -> String {
    format!("data: {}\n\n", json!({"choices": [{"delta": {"content": text}}]}))
}

/// The end of an OpenAI stream: 100 tokens in, 20 out.
pub(crate) fn done() -> String {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 20}});
    format!(
        "data: {}\n\ndata: {usage}\n\ndata: [DONE]\n\n",
        json!({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    )
}

pub(crate) fn stream_of(words: &[&str]) -> Act {
    Act::Stream(words.iter().map(|w| text(w)).chain([done()]).collect())
}

/// Waits for a condition, not for a time.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// A reply and the answers that left through it.
pub(crate) struct Asked {
    wire: Arc<Memory>,
}

impl Asked {
    pub(crate) fn new() -> (Asked, crate::hub::reply::Reply) {
        let wire = Memory::with_credit(usize::MAX);
        let outbox =
            Outbox::new("asked".into(), Box::new(MemoryWire(wire.clone())), Budget::new(usize::MAX), usize::MAX);
        (Asked { wire }, crate::hub::reply::Reply::new(outbox, "r1".into()))
    }

    pub(crate) fn answers(&self) -> Vec<Value> {
        self.wire.texts().iter().map(|frame| serde_json::from_str(frame).unwrap()).collect()
    }

    /// Waits for the answer with this number.
    pub(crate) fn answer(&self, n: usize) -> Value {
        wait_until("an answer", || self.wire.texts().len() > n);
        self.answers().remove(n)
    }
}
