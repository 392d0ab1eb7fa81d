//! `POST /v1/chat/completions` (http 3): an agent run behind OpenAI's words.

use std::sync::Arc;

use serde_json::{Value, json};

use super::replays::{Kept, Replays};
use super::request::{self, ChatRequest};
use super::target::{self, Target};
use super::{Failed, NO_WORDS, parse_body};
use crate::agent::models::wire::ToolChoice;
use crate::agent::runs::Ask;
use crate::agent::world::Options;
use crate::http::Reply;
use crate::hub::run_events::{ClientCall, Details, Finish, Follow};
use crate::ids;
use crate::protocol::ErrorShape;
use crate::protocol::errors::ErrorCode;
use crate::rpc::context::wall_ms;
use crate::server::http::{Answer, Exchange, Responder, Route, api_error, bearer, refuse_api};

const ID: &str = "chatcmpl_";
const NOT_CALLED: &str = "tool_choice=required was not satisfied by the agent response";

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
    match accept(&exchange) {
        Ok((ask, completion)) => start(&exchange, ask, completion),
        Err(reply) => Answer::Now(reply),
    }
}

/// What is asked, and who answers.
fn accept(exchange: &Exchange<'_>) -> Result<(Ask, Completion), Reply> {
    let request = exchange.request;
    let body = parse_body(&exchange.body.bytes)?;
    let asked = request::chat_request(&body, &request.live.config.http.chat.images)
        .map_err(|text| api_error(400, &text, "invalid_request_error"))?;
    drop(body);
    let model = asked.model.clone().unwrap_or_else(|| target::MODEL.to_owned());
    let target = Target::of(request, &exchange.body.bytes, &model, asked.user.as_deref(), "openai", ID)?;
    let id = target.once.clone().unwrap_or_else(|| format!("{ID}{}", ids::new_uuid()).into());
    let must_call = !asked.tools.is_empty() && matches!(asked.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
    let completion = Completion {
        responder: exchange.responder(),
        words: Words::new(&id, wall_ms() / 1000, &model),
        id: id.clone(),
        stream: asked.stream,
        include_usage: asked.include_usage,
        must_call,
        said: false,
        replays: target.once.is_some().then(|| request.doors.replays.clone()),
    };
    Ok((ask(&id, asked, target, target::channel(&request.head)), completion))
}

fn ask(id: &str, asked: ChatRequest, target: Target, channel: Option<String>) -> Ask {
    Ask {
        run_id: id.to_owned(),
        agent: target.agent_of_key(),
        session_key: target.session_key,
        message: asked.message,
        images: asked.images,
        thinking: None,
        extra_system_prompt: asked.system,
        timeout: None,
        options: Options {
            ephemeral: target.ephemeral,
            history: asked.history,
            continues: asked.continues,
            tools: asked.tools,
            tool_choice: asked.tool_choice,
            sampling: asked.sampling,
            model: target.model,
            once: target.once.is_some(),
            channel,
        },
    }
}

fn start(exchange: &Exchange<'_>, ask: Ask, completion: Completion) -> Answer {
    let keyed = completion.replays.is_some();
    let run_id = completion.id.clone();
    match completion.kept() {
        Some(kept) => completion.replay(&kept),
        None => exchange.request.doors.ctx.runs.ask(ask, Box::new(completion)),
    }
    // Whoever sent a key may come back for the answer.
    if keyed { Answer::Owed } else { Answer::Run(run_id) }
}

/// One completion on its way to the client.
struct Completion {
    responder: Responder,
    words: Words,
    id: Arc<str>,
    stream: bool,
    include_usage: bool,
    /// An answer without a call is none.
    must_call: bool,
    /// Some text has left.
    said: bool,
    /// Where the answer is kept, if the client sent a key.
    replays: Option<Arc<Replays>>,
}

impl Completion {
    fn kept(&self) -> Option<Arc<Kept>> {
        self.replays.as_ref()?.get(&self.id)
    }

    /// The answer that an earlier request got.
    fn replay(mut self, kept: &Kept) {
        self.words.created = kept.created;
        self.accepted();
        if !kept.text.is_empty() {
            self.text(&kept.text);
        }
        self.done(&kept.text, &kept.details);
    }

    fn done(mut self, text: &str, details: &Details) {
        if self.must_call && details.calls.is_empty() {
            let failed = Failed { status: 502, message: NOT_CALLED.to_owned(), kind: "api_error", retry_after: None };
            return self.fail(&failed);
        }
        let usage = usage(details);
        if !self.stream {
            return self.responder.reply(Reply::json(200, &self.words.whole(text, details, &usage)));
        }
        if !self.said && details.calls.is_empty() {
            self.text(NO_WORDS);
        }
        let mut last = String::new();
        for (index, call) in details.calls.iter().enumerate() {
            last += &self.words.chunk(&call_begins(index, call), None);
            last += &self.words.chunk(&call_goes_on(index, call), None);
        }
        last += &self.words.chunk("{}", Some(finish_reason(details)));
        if self.include_usage {
            last += &self.words.usage(&usage);
        }
        last += "data: [DONE]\n\n";
        self.responder.end(last.as_bytes());
    }

    fn fail(self, failed: &Failed) {
        if self.responder.has_begun() {
            return self.responder.end(format!("data: {}\n\ndata: [DONE]\n\n", failed.object()).as_bytes());
        }
        self.responder.reply(failed.reply());
    }
}

impl Follow for Completion {
    fn accepted(&mut self) {
        if self.stream && !self.responder.has_begun() {
            let first = self.words.chunk(r#"{"role":"assistant"}"#, None);
            self.responder.begin(Reply::event_stream(), first.as_bytes());
        }
    }

    fn text(&mut self, piece: &str) {
        if self.stream {
            self.said = true;
            let delta = json!({"content": piece}).to_string();
            self.responder.send(self.words.chunk(&delta, None).as_bytes());
        }
    }

    fn end(self: Box<Self>, end: &Finish<'_>) {
        if let Some(failed) = Failed::of(end.how, end.details) {
            return self.fail(&failed);
        }
        if let Some(replays) = &self.replays {
            let kept = Kept { text: end.text.to_owned(), details: end.details.clone(), created: self.words.created };
            replays.put(&self.id, kept);
        }
        self.done(end.text, end.details);
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

/// The objects of one completion as they are written; everything that stays the same is written once.
struct Words {
    id: Arc<str>,
    created: u64,
    /// As JSON.
    model: String,
}

impl Words {
    fn new(id: &Arc<str>, created: u64, model: &str) -> Words {
        Words { id: id.clone(), created, model: Value::from(model).to_string() }
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

    fn whole(&self, text: &str, details: &Details, usage: &Value) -> Value {
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
            "usage": usage,
        })
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
