//! From a request frame to its handler: METHODS says who may call it, what it takes and where it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::context::{Caller, Context};
use super::{HANDLERS, Handler};
use crate::hub::outbox::Outbox;
use crate::hub::reply::Reply;
use crate::log::ws_lines;
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
#[derive(Debug)]
pub enum Answered {
    Ok,
    Refused(ErrorShape),
    /// Somebody else answers, now or later.
    Later,
}

/// Answers a request, or hands it on. Runs on the connection's reader.
pub fn dispatch(ctx: &Arc<Context>, caller: &Arc<Caller>, request: Request, outbox: &Arc<Outbox>) -> Answered {
    let Request { id, method, params, .. } = request;
    let refused = match hand_on(ctx, caller, &id, &method, params, outbox) {
        Ok(answered) => return answered,
        Err(error) => error,
    };
    ctx.metrics.rpc.count(&method, "error");
    outbox.answer_direct(frame::response_err(&id, &refused, None));
    Answered::Refused(refused)
}

/// Err: what the caller is to be told by the reader itself.
fn hand_on(
    ctx: &Arc<Context>,
    caller: &Arc<Caller>,
    id: &str,
    method: &str,
    params: Value,
    outbox: &Arc<Outbox>,
) -> Result<Answered, ErrorShape> {
    methods::authorize(caller.role, &caller.scopes, method, caller.protocol)?;
    if method == "connect" {
        return Err(methods::connect_again());
    }
    if methods::CONTROL_PLANE.contains(&method) {
        ctx.restarts.admit(method, caller)?;
    }
    let handler = HANDLERS.iter().find(|(name, _)| *name == method).map(|(_, handler)| *handler);
    let known = methods::find(method).zip(handler);
    let (method, handler) = known.ok_or_else(|| methods::unknown_method(method))?;
    params::check(method, &params, caller.protocol)?;
    if ctx.is_draining() && method.name != "health" {
        return Err(ErrorShape::unavailable("the gateway is stopping").retry_after(1500));
    }
    match (handler, method.runs) {
        (Handler::Answer(run), Runs::Pool) => {
            let started = Instant::now();
            let job = (ctx.clone(), caller.clone(), outbox.clone(), id.to_owned());
            let queued = ctx.jobs.submit(move || {
                let (ctx, caller, outbox, id) = job;
                let outcome = guarded(method.name, || run(&ctx, &caller, params));
                ctx.metrics.rpc.count(method.name, if outcome.is_ok() { "ok" } else { "error" });
                say_answered(&ctx, &caller, method.name, &id, outcome.as_ref().err(), started.elapsed());
                outbox.answer(match outcome {
                    Ok(payload) => payload.frame(&id),
                    Err(error) => frame::response_err(&id, &error, None),
                });
            });
            let full =
                || ErrorShape::unavailable("too many requests are waiting for files; try again").retry_after(500);
            queued.then_some(Answered::Later).ok_or_else(full)
        }
        (Handler::Answer(run), _) => {
            let payload = guarded(method.name, || run(ctx, caller, params))?;
            ctx.metrics.rpc.count(method.name, "ok");
            outbox.answer_direct(payload.frame(id));
            Ok(Answered::Ok)
        }
        (Handler::Owner(run), _) => {
            ctx.metrics.rpc.count(method.name, "deferred");
            let reply = Reply::new(outbox.clone(), id.to_owned());
            // After a panic there is nothing to say: the reply answered when it was dropped.
            let _ = guarded(method.name, || {
                run(ctx, caller, params, reply);
                Ok(Value::Null.into())
            });
            Ok(Answered::Later)
        }
    }
}

/// The line about an answer (cli 7), from whichever thread gives it.
pub fn say_answered(
    ctx: &Context,
    caller: &Caller,
    method: &str,
    id: &str,
    error: Option<&ErrorShape>,
    took: Duration,
) {
    let cached = method == "health" && error.is_none();
    let error = error.map(|e| (e.code.name(), e.message.as_str()));
    let answer = ws_lines::Response { method, took, error, cached, conn: &caller.conn_id, id };
    if let Some(line) = ws_lines::response(ctx.ws_log, answer) {
        log::info!(target: "gateway/ws", "{line}");
    }
}

/// One of the four places where a panic is caught: a bad handler fails its request, not the gateway.
fn guarded(name: &str, run: impl FnOnce() -> Result<Payload, ErrorShape>) -> Result<Payload, ErrorShape> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        log::error!(target: "gateway", "method {name} panicked; its caller got an error");
        Err(ErrorShape::unavailable("Error: internal error"))
    })
}
