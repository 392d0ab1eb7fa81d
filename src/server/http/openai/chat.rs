//! `POST /v1/chat/completions` (http 3): an agent run behind OpenAI's words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::addresses::Addresses;
use super::answering::{self, Answering, Dialect};
use super::request;
use super::target::{self, Target};
use super::{Failed, NO_WORDS, parse_body};
use crate::agent::runs::Ask;
use crate::http::Reply;
use crate::hub::run_events::{ClientCall, Details};
use crate::ids;
use crate::rpc::context::wall_ms;
use crate::server::http::{Exchange, Route, api_error, bearer, refuse_api};

const ID: &str = "chatcmpl_";

pub const COMPLETIONS: Route = Route {
    name: "/v1/chat/completions",
    claims: |path, live| path == "/v1/chat/completions" && live.config.http.chat.enabled,
    methods: &["POST"],
    guard: bearer,
    max_body: |live| live.config.http.chat.max_body_bytes,
    refuse: refuse_api,
    handle: |exchange| answering::handle(&exchange, accept),
};

/// What is asked, and who answers.
fn accept(exchange: &Exchange<'_>) -> Result<(Ask, Answering<Words>), Reply> {
    let request = exchange.request;
    let body = parse_body(&exchange.body.bytes)?;
    let rules = &request.live.config.http.chat.images;
    let mut addresses = Addresses::of_images(rules).until_stop(&request.doors.ctx);
    let chat = request::chat_request(&body, rules, &mut |kind, url| addresses.read(kind, url))
        .map_err(|text| api_error(400, &text, "invalid_request_error"))?;
    drop(body);
    let model = chat.model.clone().unwrap_or_else(|| target::MODEL.to_owned());
    let target = Target::of(request, &exchange.body.bytes, &model, chat.user.as_deref(), "openai", ID)?;
    let id = target.once.clone().unwrap_or_else(|| format!("{ID}{}", ids::new_uuid()).into());
    let words = Words::new(&id, wall_ms() / 1000, &model, chat.include_usage);
    let answering = Answering::new(exchange, &id, words, chat.stream, chat.asked.must_call());
    Ok((chat.asked.ask(&id, Vec::new(), target, target::channel(&request.head)), answering))
}

/// The objects of one completion as they are written; everything that stays the same is written once.
struct Words {
    id: Arc<str>,
    created: u64,
    /// As JSON.
    model: String,
    include_usage: bool,
}

impl Words {
    fn new(id: &Arc<str>, created: u64, model: &str, include_usage: bool) -> Words {
        Words { id: id.clone(), created, model: Value::from(model).to_string(), include_usage }
    }

    fn head(&self, object: &str) -> String {
        format!(r#"{{"id":"{}","object":"{object}","created":{},"model":{}"#, self.id, self.created, self.model)
    }

    /// One event; `delta` is JSON.
    fn chunk(&self, delta: &str, finish: Option<&str>) -> String {
        let head = self.head("chat.completion.chunk");
        let finish = finish.map_or("null".to_owned(), |reason| format!("\"{reason}\""));
        format!("data: {head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n")
    }

    fn usage(&self, usage: &Value) -> String {
        format!("data: {},\"choices\":[],\"usage\":{usage}}}\n\n", self.head("chat.completion.chunk"))
    }
}

impl Dialect for Words {
    fn created(&mut self) -> &mut u64 {
        &mut self.created
    }

    fn whole(&self, text: &str, details: &Details) -> Value {
        let mut message = json!({"role": "assistant", "content": text});
        if !details.calls.is_empty() {
            message["tool_calls"] = details
                .calls
                .iter()
                .map(|call| {
                    json!({"id": call.id, "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments}})
                })
                .collect();
        } else if text.is_empty() {
            message["content"] = NO_WORDS.into();
        }
        let model: Value = serde_json::from_str(&self.model).expect("written by us");
        json!({
            "id": &*self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason(details)}],
            "usage": usage(details),
        })
    }

    fn refusal(&self, failed: &Failed) -> Reply {
        failed.reply()
    }

    fn begin(&mut self) -> String {
        self.chunk(r#"{"role":"assistant"}"#, None)
    }

    fn words(&mut self, piece: &str) -> String {
        self.chunk(&json!({"content": piece}).to_string(), None)
    }

    fn end(&mut self, text: &str, details: &Details) -> String {
        let mut last = String::new();
        if text.is_empty() && details.calls.is_empty() {
            last += &self.words(NO_WORDS);
        }
        for (index, call) in details.calls.iter().enumerate() {
            last += &self.chunk(&call_begins(index, call), None);
            last += &self.chunk(&call_goes_on(index, call), None);
        }
        last += &self.chunk("{}", Some(finish_reason(details)));
        if self.include_usage {
            last += &self.usage(&usage(details));
        }
        last + "data: [DONE]\n\n"
    }

    fn fail(&mut self, failed: &Failed) -> String {
        format!("data: {}\n\ndata: [DONE]\n\n", failed.object())
    }
}

fn finish_reason(details: &Details) -> &'static str {
    match details {
        details if !details.calls.is_empty() => "tool_calls",
        details if details.truncated => "length",
        _ => "stop",
    }
}

fn call_begins(index: usize, call: &ClientCall) -> String {
    json!({"tool_calls": [{"index": index, "id": call.id, "type": "function",
        "function": {"name": call.name, "arguments": ""}}]})
    .to_string()
}

fn call_goes_on(index: usize, call: &ClientCall) -> String {
    json!({"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]}).to_string()
}

fn usage(details: &Details) -> Value {
    let prompt = details.input + details.cache_read + details.cache_write;
    let mut usage = json!({"prompt_tokens": prompt, "completion_tokens": details.output,
        "total_tokens": prompt + details.output});
    if details.cache_read > 0 {
        usage["prompt_tokens_details"] = json!({"cached_tokens": details.cache_read});
    }
    usage
}
