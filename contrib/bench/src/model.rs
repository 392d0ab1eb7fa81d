//! A model endpoint without latency: answers every chat completion with a stream whose shape the message asks for.
//!
//! `chunks:<count>x<bytes>` in the last message means: that many deltas of that many letters; `hold:` one word, and then
//! silence until the other side hangs up. A whole stream leaves in
//! one write, so that nothing the gateway does hides behind the time that is put down to the model.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::{Result, fail};

pub struct Model {
    pub port: u16,
    shared: Arc<Shared>,
}

type Stream = Arc<Vec<u8>>;

#[derive(Default)]
struct Shared {
    spent_nanos: AtomicU64,
    requests: AtomicU64,
    /// By count and bytes.
    streams: Mutex<HashMap<(usize, usize), Stream>>,
}

impl Model {
    /// Listens on a free port of the loopback, for as long as the program runs.
    pub fn start() -> Result<Model> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let model = Model { port, shared: shared.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.connection(stream));
            }
        });
        Ok(model)
    }

    /// Time between the end of a request and the end of its answer, and how many requests, since the last call.
    pub fn take_spent(&self) -> (Duration, u64) {
        let nanos = self.shared.spent_nanos.swap(0, Ordering::SeqCst);
        (Duration::from_nanos(nanos), self.shared.requests.swap(0, Ordering::SeqCst))
    }

    /// Builds a stream before it is timed.
    pub fn prepare(&self, count: usize, bytes: usize) {
        self.shared.stream(count, bytes);
    }
}

impl Shared {
    fn connection(&self, stream: TcpStream) -> Result<()> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        let mut write = stream.try_clone()?;
        let mut read = BufReader::new(stream);
        while let Some(body) = request_body(&mut read)? {
            let begin = Instant::now();
            let text = String::from_utf8_lossy(&body);
            if text.contains("hold:") {
                // A first word, then nothing until the gateway hangs up.
                let answer = self.stream(1, 4);
                let first = find_end(&answer, b"\n\n\r\n", 2);
                write.write_all(&answer[..first])?;
                let _ = read.fill_buf();
                return Ok(());
            }
            let (count, bytes) = shape(&text).unwrap_or((1, 2));
            let answer = self.stream(count, bytes);
            // Counted before the last byte leaves: whoever has seen the answer finds it in the figures.
            let head = answer.len() - 5;
            write.write_all(&answer[..head])?;
            self.requests.fetch_add(1, Ordering::SeqCst);
            self.spent_nanos.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::SeqCst);
            write.write_all(&answer[head..])?;
        }
        Ok(())
    }

    fn stream(&self, count: usize, bytes: usize) -> Stream {
        let mut streams = self.streams.lock().expect("no holder panics");
        streams.entry((count, bytes)).or_insert_with(|| Arc::new(build(count, bytes))).clone()
    }
}

fn build(count: usize, bytes: usize) -> Vec<u8> {
    let mut out = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let mut event = |data: &str| {
        let line = format!("data: {data}\n\n");
        out.extend_from_slice(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
    };
    let chunk = |delta: &str, end: &str| {
        format!(
            "{{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"fake\",\
             \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{end}}}]}}"
        )
    };
    event(&chunk("\"role\":\"assistant\",\"content\":\"\"", "null"));
    let word = "w".repeat(bytes);
    for _ in 0..count {
        event(&chunk(&format!("\"content\":\"{word}\""), "null"));
    }
    event(&chunk("", "\"stop\""));
    event(
        "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"fake\",\"choices\":[],\
         \"usage\":{\"prompt_tokens\":10,\"completion_tokens\":10,\"total_tokens\":20}}",
    );
    event("[DONE]");
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// Where the `times`th `pattern` ends.
fn find_end(bytes: &[u8], pattern: &[u8], times: usize) -> usize {
    let ends = bytes.windows(pattern.len()).enumerate().filter(|(_, window)| *window == pattern);
    ends.map(|(at, _)| at + pattern.len()).nth(times - 1).unwrap_or(bytes.len())
}

/// Count and bytes of the last `chunks:<count>x<bytes>` in `text`.
pub fn shape(text: &str) -> Option<(usize, usize)> {
    let rest = &text[text.rfind("chunks:")? + 7..];
    let (count, rest) = rest.split_once('x')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    Some((count.parse().ok()?, rest[..digits].parse().ok()?))
}

/// Body of the next request; None at the end of the connection.
fn request_body(read: &mut impl BufRead) -> Result<Option<Vec<u8>>> {
    let (mut length, mut chunked, mut line) = (0, false, String::new());
    loop {
        line.clear();
        if read.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let lower = line.trim().to_ascii_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().or_else(|_| fail("the gateway sent a bad Content-Length"))?;
        }
        chunked |= lower.starts_with("transfer-encoding:") && lower.ends_with("chunked");
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body)?;
    while chunked {
        line.clear();
        read.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).or_else(|_| fail("the gateway sent a bad chunk"))?;
        let used = body.len();
        body.resize(used + size + 2, 0);
        read.read_exact(&mut body[used..])?;
        body.truncate(used + size);
        chunked = size > 0;
    }
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_shape_counts() {
        assert_eq!(shape("chunks:200x5"), Some((200, 5)));
        assert_eq!(shape(r#"{"a":"chunks:1x2","b":"[Fri] chunks:30x40"}"#), Some((30, 40)));
        assert_eq!(shape("chunks:x"), None);
        assert_eq!(shape("nothing"), None);
    }

    #[test]
    fn a_kept_connection_answers_both_kinds_of_bodies() {
        let model = Model::start().unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", model.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let plain = "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 12\r\n\r\nchunks:3x400";
        let chunked = "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nchunks:\r\n5\r\n3x400\r\n0\r\n\r\n";
        for request in [plain, chunked] {
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = Vec::new();
            let mut piece = [0; 4096];
            while !answer.ends_with(b"0\r\n\r\n") {
                let read = std::io::Read::read(&mut stream, &mut piece).unwrap();
                assert!(read > 0, "closed early");
                answer.extend_from_slice(&piece[..read]);
            }
            let text = String::from_utf8(answer).unwrap();
            assert_eq!(text.matches(&"w".repeat(400)).count(), 3);
            assert!(text.contains("data: [DONE]"));
        }
        assert_eq!(model.take_spent().1, 2);
        assert_eq!(model.take_spent(), (Duration::ZERO, 0));
    }
}
