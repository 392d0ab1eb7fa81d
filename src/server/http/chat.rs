//! `POST /v1/chat/completions` (http 3): an agent run behind OpenAI's words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Answer, Exchange, Responder, Route, api_error, bearer, refuse_api};
use crate::agent::runs::Ask;
use crate::agent::world::Options;
use crate::http::Reply;
use crate::hub::outbox::Sent;
use crate::hub::run_events::{EndKind, Finish, Follow};
use crate::ids;
use crate::protocol::ErrorShape;
use crate::protocol::errors::ErrorCode;
use crate::rpc::context::wall_ms;

pub const COMPLETIONS: Route = Route {
    name: "/v1/chat/completions",
    claims: |path, live| path == "/v1/chat/completions" && live.config.http.chat.enabled,
    methods: &["POST"],
    guard: bearer,
    max_body: |live| live.config.http.chat.max_body_bytes,
    refuse: refuse_api,
    handle,
};

fn handle(exchange: Exchange<'_>) -> Answer {
    let body: Value = match serde_json::from_slice(&exchange.body.bytes) {
        Ok(body) => body,
        Err(e) => return Answer::Now(api_error(400, &e.to_string(), "invalid_request_error")),
    };
    let text = body["messages"].as_array().and_then(|m| m.last()).and_then(|m| m["content"].as_str());
    let Some(text) = text else {
        return Answer::Now(api_error(400, "Missing user message in `messages`.", "invalid_request_error"));
    };
    let id: Arc<str> = format!("chatcmpl_{}", ids::new_uuid()).into();
    let ask = Ask {
        run_id: id.to_string(),
        session_key: format!("agent:main:openai:{}", ids::new_uuid()),
        agent: None,
        message: text.to_owned(),
        images: Vec::new(),
        thinking: None,
        extra_system_prompt: None,
        timeout: None,
        options: Options { ephemeral: true, ..Options::default() },
    };
    let completion = Completion {
        responder: exchange.responder(),
        id: id.clone(),
        created: wall_ms() / 1000,
        model: body["model"].as_str().unwrap_or("openclaw").to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
    };
    exchange.request.doors.ctx.runs.ask(ask, Box::new(completion));
    Answer::Run(id)
}

/// One completion on its way to the client.
struct Completion {
    responder: Responder,
    id: Arc<str>,
    created: u64,
    model: String,
    stream: bool,
}

impl Completion {
    fn chunk(&self, delta: Value, finish: Option<&str>) -> String {
        let chunk = json!({
            "id": &*self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        });
        format!("data: {chunk}\n\n")
    }

    fn send(&mut self, event: &str) -> Sent {
        if self.responder.has_begun() {
            return self.responder.send(event.as_bytes());
        }
        let first = self.chunk(json!({"role": "assistant"}), None) + event;
        self.responder.begin(Reply::event_stream(), first.as_bytes())
    }
}

impl Follow for Completion {
    fn text(&mut self, piece: &str) {
        if self.stream {
            let event = self.chunk(json!({"content": piece}), None);
            self.send(&event);
        }
    }

    fn end(mut self: Box<Self>, end: &Finish<'_>) {
        let details = end.details;
        let prompt = details.input + details.cache_read + details.cache_write;
        let usage = json!({"prompt_tokens": prompt, "completion_tokens": details.output,
            "total_tokens": prompt + details.output});
        if let EndKind::Error(text) = end.how {
            return self.responder.reply(api_error(details.status.unwrap_or(502), text, "api_error"));
        }
        if self.stream {
            let last = self.chunk(json!({}), Some("stop"));
            self.send(&last);
            return self.responder.end(b"data: [DONE]\n\n");
        }
        self.responder.reply(Reply::json(
            200,
            &json!({
                "id": &*self.id,
                "object": "chat.completion",
                "created": self.created,
                "model": self.model,
                "choices": [{"index": 0, "message": {"role": "assistant", "content": end.text},
                    "finish_reason": "stop"}],
                "usage": usage,
            }),
        ));
    }

    fn refuse(self: Box<Self>, error: &ErrorShape) {
        let status = if error.code == ErrorCode::Unavailable { 503 } else { 400 };
        self.responder.reply(api_error(status, &error.message, "invalid_request_error"));
    }
}
