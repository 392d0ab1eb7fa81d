//! A run on its way to an HTTP client: whole or as a stream, in the words of one interface, kept for a repetition where
//! the client sent a key. Driven by the hub, which must not wait for it.

use std::sync::Arc;

use serde_json::Value;

use super::Failed;
use super::replays::{Kept, Replays};
use crate::agent::runs::Ask;
use crate::http::Reply;
use crate::hub::run_events::{Details, Finish, Follow};
use crate::protocol::ErrorShape;
use crate::protocol::errors::ErrorCode;
use crate::server::http::{Answer, Exchange, Responder, api_error};

const NOT_CALLED: &str = "tool_choice=required was not satisfied by the agent response";

/// Is told the text of an answer that was made, and what belongs to it.
type Done = Box<dyn FnOnce(&str, &Details) + Send>;

/// How one interface words an answer.
pub trait Dialect: Send + 'static {
    /// Seconds since 1970; an answer that is given again was created when it was made.
    fn created(&mut self) -> &mut u64;
    /// The whole answer.
    fn whole(&self, text: &str, details: &Details) -> Value;
    /// An answer that there is not.
    fn refusal(&self, failed: &Failed) -> Reply;
    /// Events before the words.
    fn begin(&mut self) -> String;
    fn words(&mut self, piece: &str) -> String;
    /// Events behind the words, of which `text` is the whole.
    fn end(&mut self, text: &str, details: &Details) -> String;
    /// The end of a stream that fails.
    fn fail(&mut self, failed: &Failed) -> String;
}

/// Follows one run and answers one request.
pub struct Answering<D> {
    responder: Responder,
    dialect: D,
    id: Arc<str>,
    stream: bool,
    /// An answer without a call is none.
    must_call: bool,
    /// Where the answer is kept, if the client sent a key.
    replays: Option<Arc<Replays>>,
    /// Hears of an answer that was made for this request.
    done: Done,
}

/// What is asked and who answers, as `accept` reads it, or its refusal.
pub fn handle<D: Dialect>(
    exchange: &Exchange<'_>,
    accept: impl FnOnce(&Exchange<'_>) -> Result<(Ask, Answering<D>), Reply>,
) -> Answer {
    match accept(exchange) {
        Ok((ask, answering)) => answering.ask(exchange, ask),
        Err(reply) => Answer::Now(reply),
    }
}

impl<D: Dialect> Answering<D> {
    /// `id`: of the run and of the answer.
    pub fn new(exchange: &Exchange<'_>, id: &Arc<str>, dialect: D, stream: bool, must_call: bool) -> Self {
        let responder = exchange.responder();
        Answering { responder, dialect, id: id.clone(), stream, must_call, replays: None, done: Box::new(|_, _| ()) }
    }

    pub fn on_done(mut self, done: impl FnOnce(&str, &Details) + Send + 'static) -> Self {
        self.done = Box::new(done);
        self
    }

    /// Asks for the run, unless this request was answered before.
    pub fn ask(mut self, exchange: &Exchange<'_>, ask: Ask) -> Answer {
        let doors = &exchange.request.doors;
        let run_id = self.id.clone();
        let keyed = ask.options.once;
        self.replays = keyed.then(|| doors.replays.clone());
        match self.kept() {
            Some(kept) => self.replay(&kept),
            None => doors.ctx.runs.ask(ask, Box::new(self)),
        }
        // Whoever sent a key may come back for the answer.
        if keyed { Answer::Owed } else { Answer::Run(run_id) }
    }

    fn kept(&self) -> Option<Arc<Kept>> {
        self.replays.as_ref()?.get(&self.id)
    }

    /// The answer that an earlier request got.
    fn replay(mut self, kept: &Kept) {
        *self.dialect.created() = kept.created;
        self.accepted();
        if !kept.text.is_empty() {
            self.text(&kept.text);
        }
        self.answer(&kept.text, &kept.details);
    }

    fn answer(mut self, text: &str, details: &Details) {
        if self.must_call && details.calls.is_empty() {
            let failed = Failed { status: 502, message: NOT_CALLED.to_owned(), kind: "api_error", retry_after: None };
            return self.fail(&failed);
        }
        if !self.stream {
            return self.responder.reply(Reply::json(200, &self.dialect.whole(text, details)));
        }
        let last = self.dialect.end(text, details);
        self.responder.end(last.as_bytes());
    }

    fn fail(mut self, failed: &Failed) {
        if self.responder.has_begun() {
            let last = self.dialect.fail(failed);
            return self.responder.end(last.as_bytes());
        }
        self.responder.reply(self.dialect.refusal(failed));
    }
}

impl<D: Dialect> Follow for Answering<D> {
    fn accepted(&mut self) {
        if self.stream && !self.responder.has_begun() {
            self.responder.begin(Reply::event_stream(), self.dialect.begin().as_bytes());
        }
    }

    fn text(&mut self, piece: &str) {
        if self.stream {
            self.responder.send(self.dialect.words(piece).as_bytes());
        }
    }

    fn end(mut self: Box<Self>, end: &Finish<'_>) {
        if let Some(failed) = Failed::of(end.how, end.details) {
            return self.fail(&failed);
        }
        if let Some(replays) = &self.replays {
            let created = *self.dialect.created();
            replays.put(&self.id, Kept { text: end.text.to_owned(), details: end.details.clone(), created });
        }
        std::mem::replace(&mut self.done, Box::new(|_, _| ()))(end.text, end.details);
        self.answer(end.text, end.details);
    }

    fn refuse(self: Box<Self>, error: &ErrorShape) {
        // The run may have ended between the look at what is kept and the question.
        if let Some(kept) = self.kept() {
            return self.replay(&kept);
        }
        self.responder.reply(refusal(error));
    }
}

/// A request that never became a run.
fn refusal(error: &ErrorShape) -> Reply {
    if error.code != ErrorCode::Unavailable {
        return api_error(400, &error.message, "invalid_request_error");
    }
    match error.retry_after_ms {
        Some(ms) => api_error(503, &error.message, "api_error").header("Retry-After", ms.div_ceil(1000).to_string()),
        // Done under the same key, and too large to be kept.
        None => {
            let text = format!("{}, and its answer is not kept any more; use another Idempotency-Key", error.message);
            api_error(409, &text, "invalid_request_error").header("x-should-retry", "false")
        }
    }
}
