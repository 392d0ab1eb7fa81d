//! Answers of `/v1/responses` as objects and as events, in the order that the official clients need (http 4.2, 4.3).
//! Pure.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::http::Reply;
use crate::hub::run_events::{ClientCall, Details};
use crate::server::http::openai::answering::Dialect;
use crate::server::http::openai::{Failed, NO_WORDS};

const DONE: &str = "data: [DONE]\n\n";

/// What clients read again from the response that they asked for.
const ECHOED: [&str; 7] =
    ["max_output_tokens", "metadata", "parallel_tool_calls", "temperature", "text", "tool_choice", "top_p"];
/// Bytes of JSON; more is not written again with every event that holds a response.
const MAX_ECHO: usize = 64 << 10;

/// One response as it is written.
pub struct Words {
    id: Arc<str>,
    /// Seconds since 1970.
    created: u64,
    /// As the client named it.
    model: String,
    /// The response that this one continues.
    previous: Option<String>,
    /// What the request said, as far as it is repeated.
    echo: Map<String, Value>,
    /// Of the next event.
    sequence: u64,
}

impl Words {
    /// `echo`: see [`echo`].
    pub fn new(id: &Arc<str>, created: u64, model: &str, previous: Option<String>, echo: Map<String, Value>) -> Words {
        Words { id: id.clone(), created, model: model.to_owned(), previous, echo, sequence: 0 }
    }

    /// A response that failed; on its own it is an error in the shape of the other interfaces, too.
    fn failed(&self, failed: &Failed) -> Value {
        let mut response = self.response("failed", Vec::new(), &Details::default());
        response["error"] = json!({"code": failed.kind, "message": failed.message, "type": failed.kind});
        response
    }

    // ── Events ─────────────────────────────────────────────────────────────────────────────────────────

    /// `data` is an object with something in it.
    fn event(&mut self, kind: &str, data: Value) -> String {
        let number = self.sequence;
        self.sequence += 1;
        let data = data.to_string();
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"sequence_number\":{number},{}\n\n", &data[1..])
    }

    /// One call, all at once.
    fn call(&mut self, index: usize, item: &Value) -> String {
        let mut begun = item.clone();
        begun["arguments"] = "".into();
        begun["status"] = "in_progress".into();
        let whole = &item["arguments"];
        let delta = json!({"item_id": item["id"], "output_index": index, "delta": whole});
        let done = json!({"item_id": item["id"], "output_index": index, "name": item["name"], "arguments": whole});
        [
            self.event("response.output_item.added", json!({"output_index": index, "item": begun})),
            self.event("response.function_call_arguments.delta", delta),
            self.event("response.function_call_arguments.done", done),
            self.event("response.output_item.done", json!({"output_index": index, "item": item})),
        ]
        .concat()
    }

    /// With what says where the words belong.
    fn of_part(&self, what: &str, value: Value) -> Value {
        json!({"item_id": self.message_id(), "output_index": 0, "content_index": 0, what: value})
    }

    fn of_text(&self, what: &str, text: &str) -> Value {
        let mut data = self.of_part(what, text.into());
        data["logprobs"] = json!([]);
        data
    }

    // ── Objects ────────────────────────────────────────────────────────────────────────────────────────

    fn ended(&self, output: Vec<Value>, details: &Details) -> Value {
        if !is_incomplete(details) {
            return self.response("completed", output, details);
        }
        let mut response = self.response("incomplete", output, details);
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        response
    }

    fn response(&self, status: &str, output: Vec<Value>, details: &Details) -> Value {
        let mut response = json!({
            "id": &*self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "model": self.model,
            "output": output,
            "usage": usage(details),
            "error": null,
            "incomplete_details": null,
            "parallel_tool_calls": true,
            "text": {"format": {"type": "text"}},
            "tools": [],
            "tool_choice": "auto",
            "previous_response_id": self.previous,
        });
        for (key, value) in &self.echo {
            response[key] = value.clone();
        }
        response
    }

    fn message(&self, text: &str, details: &Details) -> Value {
        let phase = if details.calls.is_empty() { "final_answer" } else { "commentary" };
        let status = if is_incomplete(details) { "incomplete" } else { "completed" };
        json!({"type": "message", "id": self.message_id(), "role": "assistant",
            "content": [output_text(shown(text, details))], "phase": phase, "status": status})
    }

    fn calls(&self, details: &Details) -> Vec<Value> {
        let item = |(n, call): (usize, &ClientCall)| {
            let id = if n == 0 { format!("call_{}", self.uuid()) } else { format!("call_{}_{n}", self.uuid()) };
            json!({"type": "function_call", "id": id, "call_id": call.id, "name": call.name,
                "arguments": call.arguments, "status": "completed"})
        };
        details.calls.iter().enumerate().map(item).collect()
    }

    /// Ids of items follow from that of the response, so that an answer that is asked for again is the same again.
    fn message_id(&self) -> String {
        format!("msg_{}", self.uuid())
    }

    fn uuid(&self) -> &str {
        self.id.strip_prefix(super::ID).unwrap_or(&self.id)
    }
}

impl Dialect for Words {
    fn created(&mut self) -> &mut u64 {
        &mut self.created
    }

    fn whole(&self, text: &str, details: &Details) -> Value {
        let mut output = Vec::new();
        if !text.is_empty() || details.calls.is_empty() {
            output.push(self.message(text, details));
        }
        output.extend(self.calls(details));
        self.ended(output, details)
    }

    fn refusal(&self, failed: &Failed) -> Reply {
        failed.with_body(&self.failed(failed))
    }

    /// Up to the place where the words go.
    fn begin(&mut self) -> String {
        let response = self.response("in_progress", Vec::new(), &Details::default());
        // Clients build the item from the events: its content comes with the next one.
        let item = json!({"type": "message", "id": self.message_id(), "role": "assistant", "content": [],
            "status": "in_progress"});
        let part = self.of_part("part", output_text(""));
        [
            self.event("response.created", json!({"response": response})),
            self.event("response.in_progress", json!({"response": response})),
            self.event("response.output_item.added", json!({"output_index": 0, "item": item})),
            self.event("response.content_part.added", part),
        ]
        .concat()
    }

    fn words(&mut self, piece: &str) -> String {
        let data = self.of_text("delta", piece);
        self.event("response.output_text.delta", data)
    }

    fn end(&mut self, text: &str, details: &Details) -> String {
        let shown = shown(text, details);
        let done = self.of_text("text", shown);
        let part = self.of_part("part", output_text(shown));
        let message = self.message(text, details);
        let mut out = [
            self.event("response.output_text.done", done),
            self.event("response.content_part.done", part),
            self.event("response.output_item.done", json!({"output_index": 0, "item": message})),
        ]
        .concat();
        let mut output = vec![message];
        for item in self.calls(details) {
            out += &self.call(output.len(), &item);
            output.push(item);
        }
        let response = self.ended(output, details);
        let kind = if is_incomplete(details) { "response.incomplete" } else { "response.completed" };
        out += &self.event(kind, json!({"response": response}));
        out + DONE
    }

    fn fail(&mut self, failed: &Failed) -> String {
        let response = self.failed(failed);
        self.event("response.failed", json!({"response": response})) + DONE
    }
}

/// What of a request its response repeats: clients look there for the format of the text that they read.
pub fn echo(body: &Value) -> Map<String, Value> {
    let mut echo = Map::new();
    let mut room = MAX_ECHO;
    for key in ECHOED {
        let value = &body[key];
        let size = value.to_string().len();
        // A text without a format has the default one.
        let says = if key == "text" { value["format"]["type"].is_string() } else { !value.is_null() };
        if says && size <= room {
            room -= size;
            echo.insert(key.to_owned(), value.clone());
        }
    }
    echo
}

/// The response that an item came with, and what the item is: None is its words, a number the call. Ids of items follow
/// from that of the response.
pub fn origin(item: &str) -> Option<(String, Option<usize>)> {
    let of = |uuid: &str| format!("{}{uuid}", super::ID);
    if let Some(uuid) = item.strip_prefix("msg_") {
        return Some((of(uuid), None));
    }
    let rest = item.strip_prefix("call_")?;
    match rest.split_once('_') {
        Some((uuid, n)) => Some((of(uuid), Some(n.parse().ok()?))),
        None => Some((of(rest), Some(0))),
    }
}

/// Calls are whole, whatever stopped the model behind them.
fn is_incomplete(details: &Details) -> bool {
    details.truncated && details.calls.is_empty()
}

/// There is a text where nothing else is.
fn shown<'a>(text: &'a str, details: &Details) -> &'a str {
    if text.is_empty() && details.calls.is_empty() { NO_WORDS } else { text }
}

fn output_text(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

fn usage(details: &Details) -> Value {
    let input = details.input + details.cache_read + details.cache_write;
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": details.cache_read, "cache_write_tokens": details.cache_write},
        "output_tokens": details.output,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": input + details.output,
    })
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
