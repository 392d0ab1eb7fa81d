//! The answer to one HTTP request when somebody else than the connection's thread makes it: whole, or as a stream of
//! pieces. It travels to whoever decides, never blocks, and says so when it is dropped.

use std::sync::Arc;

use crate::http::{Reply, Shape};
use crate::hub::outbox::{Behind, Outbox, Sent};
use crate::metrics::Metrics;

/// Signs of life: an interim answer, for a peer that ended its half and may be gone, and a comment between events.
const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
const COMMENT: &[u8] = b": keep-alive\n\n";
const COMMENT_CHUNK: &[u8] = b"e\r\n: keep-alive\n\n\r\n";

pub struct Responder {
    outbox: Arc<Outbox>,
    shape: Shape,
    stage: Stage,
    tally: Tally,
}

/// Where the answer is counted.
pub struct Tally {
    pub metrics: Arc<Metrics>,
    pub route: &'static str,
}

impl Tally {
    fn count(&self, reply: &Reply) {
        self.metrics.answered(self.route, reply.status());
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Owed,
    Streaming,
    Over,
}

impl Responder {
    pub fn new(outbox: Arc<Outbox>, shape: Shape, tally: Tally) -> Responder {
        outbox.begin_answer(shape.chunked.then_some(INTERIM));
        Responder { outbox, shape, stage: Stage::Owed, tally }
    }

    /// The whole answer.
    pub fn reply(mut self, reply: Reply) {
        self.stage = Stage::Over;
        self.tally.count(&reply);
        self.put(reply.print_whole(&self.shape), self.end_of_answer());
    }

    /// The head of an answer that comes in pieces, with the first of them.
    pub fn begin(&mut self, head: Reply, first: &[u8]) -> Sent {
        self.stage = Stage::Streaming;
        self.tally.count(&head);
        let mut bytes = head.print_stream_head(&self.shape);
        self.add_piece(&mut bytes, first);
        self.put(bytes, Behind::More(self.comment()))
    }

    pub fn has_begun(&self) -> bool {
        self.stage == Stage::Streaming
    }

    /// One more piece. `Closed` and `Cut`: nobody reads it.
    pub fn send(&mut self, piece: &[u8]) -> Sent {
        let mut bytes = Vec::with_capacity(piece.len() + 12);
        self.add_piece(&mut bytes, piece);
        self.put(bytes, Behind::More(self.comment()))
    }

    /// The last piece.
    pub fn end(mut self, last: &[u8]) {
        self.stage = Stage::Over;
        let mut bytes = Vec::with_capacity(last.len() + 20);
        self.add_piece(&mut bytes, last);
        if self.shape.chunked {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        self.put(bytes, self.end_of_answer());
    }

    fn put(&self, bytes: Vec<u8>, behind: Behind) -> Sent {
        let sent = self.outbox.raw(bytes, behind);
        if sent == Sent::Cut {
            self.tally.metrics.slow_consumers.add(1);
            log::warn!(target: "gateway/http", "a client of {} does not read its answer and was cut", self.tally.route);
        }
        sent
    }

    fn end_of_answer(&self) -> Behind {
        // Without chunks the end of a stream is the end of the connection, and 1.0 is not kept alive anyway.
        if self.shape.keep_alive && self.shape.chunked { Behind::Next } else { Behind::Nothing }
    }

    fn comment(&self) -> &'static [u8] {
        if self.shape.chunked { COMMENT_CHUNK } else { COMMENT }
    }

    /// An empty chunk would be the end.
    fn add_piece(&self, bytes: &mut Vec<u8>, piece: &[u8]) {
        use std::io::Write as _;
        if piece.is_empty() {
            return;
        }
        if self.shape.chunked {
            write!(bytes, "{:x}\r\n", piece.len()).expect("memory takes everything");
        }
        bytes.extend_from_slice(piece);
        if self.shape.chunked {
            bytes.extend_from_slice(b"\r\n");
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        match self.stage {
            Stage::Over => {}
            Stage::Owed => {
                let reply = super::api_error(503, "the gateway is stopping", "api_error");
                self.tally.count(&reply);
                self.put(reply.print_whole(&self.shape), self.end_of_answer());
            }
            // The reader sees that the stream has no end.
            Stage::Streaming => self.outbox.cut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::outbox::Budget;
    use crate::hub::outbox::tests::{Memory, MemoryWire};

    struct Line {
        memory: Arc<Memory>,
        outbox: Arc<Outbox>,
        metrics: Arc<Metrics>,
    }

    impl Line {
        fn new() -> Line {
            let memory = Memory::with_credit(usize::MAX);
            let wire = Box::new(MemoryWire(memory.clone()));
            let outbox = Outbox::new("http-test".into(), wire, Budget::new(usize::MAX), 1 << 20);
            Line { memory, outbox, metrics: Arc::new(Metrics::new(Vec::new(), vec!["r"], Vec::new())) }
        }

        fn responder(&self, minor: u8, keep_alive: bool) -> Responder {
            let shape = Shape { keep_alive, chunked: minor > 0, ..Shape::default() };
            Responder::new(self.outbox.clone(), shape, Tally { metrics: self.metrics.clone(), route: "r" })
        }

        /// Head and body of what was sent.
        fn sent(&self) -> (String, String) {
            let text = self.memory.text();
            let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
            (head.to_owned(), body.to_owned())
        }

        fn counted(&self) -> Vec<(&'static str, &'static str, u64)> {
            self.metrics.http.cells().filter(|cell| cell.2 > 0).collect()
        }
    }

    #[test]
    fn streams_are_chunked_for_1_1_and_end_with_the_connection_for_1_0() {
        for (minor, keep_alive, body, open) in [
            (1, true, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n", true),
            (1, false, "3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n", false),
            (0, false, "onetwothree", false),
        ] {
            let line = Line::new();
            let mut responder = line.responder(minor, keep_alive);
            assert!(!responder.has_begun() && !line.outbox.wait_answered(std::time::Duration::ZERO));
            assert_eq!(responder.begin(Reply::event_stream(), b"one"), Sent::Yes);
            assert!(responder.has_begun());
            // An empty chunk would be the end.
            for piece in [&b"two"[..], b""] {
                assert_eq!(responder.send(piece), Sent::Yes);
            }
            responder.end(b"three");
            let (head, sent) = line.sent();
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            assert_eq!(head.contains("Transfer-Encoding: chunked"), minor == 1, "{head}");
            assert_eq!(head.contains("Connection: keep-alive"), keep_alive, "{head}");
            assert_eq!((sent.as_str(), line.outbox.is_open()), (body, open));
            assert!(line.outbox.wait_answered(std::time::Duration::ZERO));
            assert_eq!(line.counted(), [("r", "2xx", 1)]);
        }
    }

    #[test]
    fn signs_of_life_fit_where_they_stand() {
        for (minor, sign) in [(1, "e\r\n: keep-alive\n\n\r\n"), (0, ": keep-alive\n\n")] {
            let line = Line::new();
            let mut responder = line.responder(minor, minor > 0);
            // A client of 1.0 reads no interim answers.
            assert_eq!(line.outbox.probe(), minor > 0);
            assert_eq!(line.memory.text(), if minor > 0 { "HTTP/1.1 100 Continue\r\n\r\n" } else { "" });
            responder.begin(Reply::event_stream(), b"");
            assert!(line.outbox.pulse());
            assert!(line.memory.text().ends_with(&format!("\r\n\r\n{sign}")), "{}", line.memory.text());
            responder.end(b"");
        }
    }

    #[test]
    fn an_answer_that_nobody_gives_is_503_and_a_stream_that_nobody_ends_is_cut() {
        let line = Line::new();
        drop(line.responder(1, true));
        let (head, body) = line.sent();
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert!(body.contains("the gateway is stopping"), "{body}");
        assert!(line.outbox.is_open() && line.outbox.wait_answered(std::time::Duration::ZERO));
        assert_eq!(line.counted(), [("r", "5xx", 1)]);

        let line = Line::new();
        let mut responder = line.responder(1, true);
        responder.begin(Reply::event_stream(), b"half");
        drop(responder);
        assert!(!line.outbox.is_open(), "its reader must not take it for whole");
        assert!(!line.memory.text().ends_with("0\r\n\r\n"));
        assert_eq!(line.counted(), [("r", "2xx", 1)], "it is counted once");

        let line = Line::new();
        line.responder(1, true).reply(Reply::text(404, "no"));
        assert!(line.sent().0.starts_with("HTTP/1.1 404 ") && line.outbox.is_open());
        assert_eq!((line.sent().1.as_str(), line.counted()), ("no", vec![("r", "4xx", 1)]));
    }
}
