//! The answer that a request is owed. It travels with the request to whoever decides, fires once, and says
//! `UNAVAILABLE` when it is dropped unanswered.

use std::sync::Arc;

use serde::Serialize;

use super::outbox::Outbox;
use crate::protocol::{ErrorShape, frame};

pub struct Reply {
    outbox: Arc<Outbox>,
    id: String,
    owed: bool,
}

impl Reply {
    pub fn new(outbox: Arc<Outbox>, id: String) -> Self {
        Reply { outbox, id, owed: true }
    }

    /// A response with `payload` and nothing more to come.
    pub fn ok(mut self, payload: &impl Serialize) {
        self.owed = false;
        self.outbox.answer(frame::response_ok(&self.id, payload));
    }

    /// The same with a payload that is JSON text already.
    pub fn ok_raw(mut self, payload: &[u8]) {
        self.owed = false;
        self.outbox.answer(frame::response_ok_raw(&self.id, payload));
    }

    pub fn err(mut self, error: &ErrorShape) {
        self.owed = false;
        self.outbox.answer(frame::response_err(&self.id, error, None));
    }

    /// `ok:false` that carries both `error` and `payload` (the end of a failed `agent` run).
    pub fn err_with_payload(mut self, error: &ErrorShape, payload: &serde_json::Value) {
        self.owed = false;
        self.outbox.answer(frame::response_err(&self.id, error, Some(payload)));
    }

    /// The first of two responses to the same id; the reply stays owed.
    pub fn first(&self, payload: &impl Serialize) {
        self.outbox.answer(frame::response_ok(&self.id, payload));
    }

    /// For the first of two responses when this one has to travel on before it leaves. Owes nothing.
    pub fn twin(&self) -> Reply {
        Reply { outbox: self.outbox.clone(), id: self.id.clone(), owed: false }
    }

    /// No answer will come and none is owed (the connection is gone).
    pub fn forget(mut self) {
        self.owed = false;
    }

    pub fn result(self, result: Result<serde_json::Value, ErrorShape>) {
        match result {
            Ok(payload) => self.ok(&payload),
            Err(error) => self.err(&error),
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.owed {
            let error = ErrorShape::unavailable("the gateway is stopping");
            self.outbox.answer(frame::response_err(&self.id, &error, None));
        }
    }
}
