//! From a request frame to its handler: METHODS says who may call it, what it takes and where it runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::Value;

use super::context::{Caller, Context};
use super::{HANDLERS, Handler};
use crate::hub::outbox::Outbox;
use crate::hub::reply::Reply;
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
    let refuse = |error: &ErrorShape| {
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
            let queued = ctx.jobs.submit(move || {
                let frame = match guarded(name, || run(&ctx2, &caller, params)) {
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
        (Handler::Answer(run), _) => match guarded(method.name, || run(ctx, caller, params)) {
            Ok(payload) => {
                outbox.answer_direct(payload.frame(&id));
                Answered::Ok
            }
            Err(error) => {
                outbox.answer_direct(frame::response_err(&id, &error, None));
                Answered::Error
            }
        },
        (Handler::Owner(run), _) => {
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

/// One of the four places where a panic is caught: a bad handler fails its request, not the gateway.
fn guarded(name: &str, run: impl FnOnce() -> Result<Payload, ErrorShape>) -> Result<Payload, ErrorShape> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        log::error!(target: "gateway", "method {name} panicked; its caller got an error");
        Err(ErrorShape::unavailable("Error: internal error"))
    })
}
