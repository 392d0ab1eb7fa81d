//! From a request frame to its handler: METHODS says who may call it, what it takes and where it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::context::{Caller, Context};
use super::{HANDLERS, Handler};
use crate::hub::outbox::Outbox;
use crate::hub::reply::Reply;
use crate::log::ws_lines::{self, Detail};
use crate::protocol::frame::{self, Request};
use crate::protocol::methods::{self, Runs};
use crate::protocol::{ErrorShape, params};

/// What a handler gives back.
pub enum Payload {
    Json(Value),
    /// JSON text that exists already.
    Text(Arc<[u8]>),
}

impl Payload {
    fn frame(&self, id: &str) -> Vec<u8> {
        match self {
            Payload::Json(value) => frame::response_ok(id, value),
            Payload::Text(text) => frame::response_ok_raw(id, text),
        }
    }
}

impl From<Value> for Payload {
    fn from(value: Value) -> Self {
        Payload::Json(value)
    }
}

/// How the answer to a request left, for the connection's count of refused roles and for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    Ok,
    Error,
    /// `unauthorized role`: a few in a row end the connection.
    WrongRole,
    /// Somebody else answers, now or later.
    Later,
}

/// Answers a request, or hands it on. Runs on the connection's reader.
pub fn dispatch(ctx: &Arc<Context>, caller: &Arc<Caller>, request: Request, outbox: &Arc<Outbox>) -> Answered {
    let told = Told { conn: caller.conn_id.clone(), detail: ctx.ws_detail, started: Instant::now() };
    told.request(&request.method, &request.id);
    let refuse = |error: &ErrorShape| {
        told.answer(&request.method, &request.id, Some(error));
        outbox.answer_direct(frame::response_err(&request.id, error, None));
        if methods::is_unauthorized_role(error) { Answered::WrongRole } else { Answered::Error }
    };
    if let Err(error) = methods::authorize(caller.role, &caller.scopes, &request.method, caller.protocol) {
        return refuse(&error);
    }
    if request.method == "connect" {
        return refuse(&methods::connect_again());
    }
    let handler = HANDLERS.iter().find(|(name, _)| *name == request.method).map(|(_, handler)| *handler);
    let (Some(method), Some(handler)) = (methods::find(&request.method), handler) else {
        return refuse(&methods::unknown_method(&request.method));
    };
    if let Err(error) = params::check(method, &request.params, caller.protocol) {
        return refuse(&error);
    }
    if ctx.is_draining() && method.name != "health" {
        return refuse(&ErrorShape::unavailable("the gateway is stopping").retry_after(1500));
    }
    let Request { id, params, .. } = request;
    match (handler, method.runs) {
        (Handler::Answer(run), Runs::Pool) => {
            let (ctx2, caller, outbox2, name, id2) =
                (ctx.clone(), caller.clone(), outbox.clone(), method.name, id.clone());
            let told = told.clone();
            let queued = ctx.jobs.submit(move || {
                let outcome = guarded(name, || run(&ctx2, &caller, params));
                told.answer(name, &id2, outcome.as_ref().err());
                let frame = match outcome {
                    Ok(payload) => payload.frame(&id2),
                    Err(error) => frame::response_err(&id2, &error, None),
                };
                outbox2.answer(frame);
            });
            if !queued {
                let error =
                    ErrorShape::unavailable("too many requests are waiting for files; try again").retry_after(500);
                outbox.answer_direct(frame::response_err(&id, &error, None));
                return Answered::Error;
            }
            Answered::Later
        }
        (Handler::Answer(run), _) => {
            let outcome = guarded(method.name, || run(ctx, caller, params));
            let (answered, frame) = match &outcome {
                Ok(payload) => (Answered::Ok, payload.frame(&id)),
                Err(error) => (Answered::Error, frame::response_err(&id, error, None)),
            };
            outbox.answer_direct(frame);
            told.answer(method.name, &id, outcome.as_ref().err());
            answered
        }
        (Handler::Owner(run), _) => {
            told.handed_on(method.name, &id);
            let reply = Reply::new(outbox.clone(), id);
            let outcome = guarded(method.name, || {
                run(ctx, caller, params, reply);
                Ok(Value::Null.into())
            });
            // A reply that was dropped by the panic has answered already.
            if outcome.is_err() { Answered::Error } else { Answered::Later }
        }
    }
}

/// What the log says of one request (cli 7).
#[derive(Clone)]
struct Told {
    conn: Arc<str>,
    detail: Detail,
    started: Instant,
}

impl Told {
    fn request(&self, method: &str, id: &str) {
        self.say(ws_lines::request(self.detail, method, &self.conn, id));
    }

    /// Who answers elsewhere is not seen to answer: at this detail the request speaks for both.
    fn handed_on(&self, method: &str, id: &str) {
        if self.detail == Detail::Compact {
            self.say(ws_lines::request(Detail::Full, method, &self.conn, id));
        }
    }

    fn answer(&self, method: &str, id: &str, error: Option<&ErrorShape>) {
        let error = error.map(|e| (e.code.name(), e.message.as_str()));
        let cached = method == "health" && error.is_none();
        let (took, conn) = (self.started.elapsed(), &*self.conn);
        self.say(ws_lines::response(self.detail, ws_lines::Response { method, took, error, cached, conn, id }));
    }

    fn say(&self, line: Option<String>) {
        if let Some(line) = line {
            log::info!(target: "gateway/ws", "{line}");
        }
    }
}

/// One of the four places where a panic is caught: a bad handler fails its request, not the gateway.
fn guarded(name: &str, run: impl FnOnce() -> Result<Payload, ErrorShape>) -> Result<Payload, ErrorShape> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        log::error!(target: "gateway", "method {name} panicked; its caller got an error");
        Err(ErrorShape::unavailable("Error: internal error"))
    })
}
