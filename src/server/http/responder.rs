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
        self.outbox.raw(reply.print_whole(&self.shape), self.end_of_answer());
    }

    /// The head of an answer that comes in pieces, with the first of them.
    pub fn begin(&mut self, head: Reply, first: &[u8]) -> Sent {
        self.stage = Stage::Streaming;
        self.tally.count(&head);
        let mut bytes = head.print_stream_head(&self.shape);
        self.add_piece(&mut bytes, first);
        self.outbox.raw(bytes, Behind::More(self.comment()))
    }

    pub fn has_begun(&self) -> bool {
        self.stage == Stage::Streaming
    }

    /// One more piece. `Closed`: nobody reads it.
    pub fn send(&mut self, piece: &[u8]) -> Sent {
        let mut bytes = Vec::with_capacity(piece.len() + 12);
        self.add_piece(&mut bytes, piece);
        self.outbox.raw(bytes, Behind::More(self.comment()))
    }

    /// The last piece.
    pub fn end(mut self, last: &[u8]) {
        self.stage = Stage::Over;
        let mut bytes = Vec::with_capacity(last.len() + 20);
        self.add_piece(&mut bytes, last);
        if self.shape.chunked {
            bytes.extend_from_slice(b"0\r\n\r\n");
        }
        self.outbox.raw(bytes, self.end_of_answer());
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
                self.outbox.raw(reply.print_whole(&self.shape), self.end_of_answer());
            }
            // The reader sees that the stream has no end.
            Stage::Streaming => self.outbox.cut(),
        }
    }
}
