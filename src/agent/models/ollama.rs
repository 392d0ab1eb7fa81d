//! Ollama's own format (agent 11): the request body and a pure parser of the lines of JSON.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::lines::Lines;
use super::wire::{
    AssistantPart, Message, ModelError, ModelRequest, Reason, StopReason, StreamEvent, ToolCall, ToolChoice, Usage,
    UserPart, tokens,
};
use crate::limits::MODEL_LINE_BYTES;

/// Tool calls of one answer; more are dropped.
const MAX_CALLS: usize = 128;

/// Body of `POST <baseUrl without /v1>/api/chat`.
pub fn request_body(model: &str, request: &ModelRequest, context_window: Option<u64>) -> Value {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    if !request.system.is_empty() {
        messages.push(json!({"role": "system", "content": request.system}));
    }
    messages.extend(request.messages.iter().filter_map(message));
    let mut body = Map::new();
    body.insert("model".into(), json!(model));
    body.insert("messages".into(), Value::Array(messages));
    body.insert("stream".into(), json!(true));
    // The format cannot force a call; what must not be called is not offered.
    if !request.tools.is_empty() && request.tool_choice != ToolChoice::None {
        let tools = request.tools.iter().map(|t| {
            json!({"type": "function", "function": {
                "name": t.name, "description": t.description, "parameters": t.parameters}})
        });
        body.insert("tools".into(), tools.collect());
    }
    let window = context_window.unwrap_or(65536);
    let mut options = json!({"num_ctx": window, "num_predict": request.max_tokens});
    let sampling = &request.sampling;
    for (name, value) in [
        ("temperature", sampling.temperature.map(|v| json!(v))),
        ("top_p", sampling.top_p.map(|v| json!(v))),
        ("frequency_penalty", sampling.frequency_penalty.map(|v| json!(v))),
        ("presence_penalty", sampling.presence_penalty.map(|v| json!(v))),
        ("seed", sampling.seed.map(|v| json!(v))),
        ("stop", (!sampling.stop.is_empty()).then(|| json!(sampling.stop))),
    ] {
        if let Some(value) = value {
            options[name] = value;
        }
    }
    body.insert("options".into(), options);
    match sampling.response_format.as_ref().and_then(|format| Some((format["type"].as_str()?, format))) {
        Some(("json_object", _)) => drop(body.insert("format".into(), json!("json"))),
        Some(("json_schema", format)) => drop(body.insert("format".into(), format["json_schema"]["schema"].clone())),
        _ => {}
    }
    Value::Object(body)
}

fn message(message: &Message) -> Option<Value> {
    match message {
        Message::User(parts) => {
            let mut text = String::new();
            let mut images = Vec::new();
            for part in parts {
                match part {
                    UserPart::Text(piece) => {
                        if !text.is_empty() {
                            text.push('\n');
                        }
                        text.push_str(piece);
                    }
                    UserPart::Image { data, .. } => images.push(json!(data)),
                }
            }
            let mut out = Map::new();
            out.insert("role".into(), json!("user"));
            out.insert("content".into(), json!(text));
            if !images.is_empty() {
                out.insert("images".into(), Value::Array(images));
            }
            Some(Value::Object(out))
        }
        Message::Assistant(parts) => {
            let mut text = String::new();
            let mut calls = Vec::new();
            for part in parts {
                match part {
                    AssistantPart::Text(piece) => text.push_str(piece),
                    AssistantPart::Thinking { .. } => {}
                    AssistantPart::ToolCall(call) => {
                        calls.push(json!({"function": {"name": call.name, "arguments": call.arguments}}));
                    }
                }
            }
            if text.is_empty() && calls.is_empty() {
                return None;
            }
            let mut out = Map::new();
            out.insert("role".into(), json!("assistant"));
            out.insert("content".into(), json!(text));
            if !calls.is_empty() {
                out.insert("tool_calls".into(), Value::Array(calls));
            }
            Some(Value::Object(out))
        }
        Message::ToolResult { name, text, .. } => Some(json!({"role": "tool", "content": text, "tool_name": name})),
    }
}

/// Reads the answer piece by piece. `new_id` makes the ids that the format lacks.
pub struct Parser {
    lines: Lines,
    answer: Answer,
}

struct Answer {
    new_id: Box<dyn FnMut() -> String + Send>,
    calls: usize,
    over: bool,
}

impl Parser {
    pub fn new(new_id: impl FnMut() -> String + Send + 'static) -> Self {
        Parser {
            lines: Lines::new(MODEL_LINE_BYTES),
            answer: Answer { new_id: Box::new(new_id), calls: 0, over: false },
        }
    }

    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        let answer = &mut self.answer;
        if answer.over {
            return;
        }
        if self.lines.feed(bytes, |line| answer.line(line, out)).is_err() {
            answer.fail(ModelError::new(Reason::Format, "the model endpoint sent a line beyond the size limit"), out);
        }
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        if self.answer.over {
            return;
        }
        let rest = self.lines.take_rest();
        self.answer.line(&rest, out);
        if !self.answer.over {
            let text = "Ollama API stream ended without a final response";
            self.answer.fail(ModelError::new(Reason::Timeout, text), out);
        }
    }
}

impl Answer {
    /// One line; false ends the reading. Bad lines are skipped.
    fn line(&mut self, line: &[u8], out: &mut Vec<StreamEvent>) -> bool {
        let Ok(text) = std::str::from_utf8(line) else { return true };
        let Ok(value) = serde_json::from_str::<Value>(&quote_big_integers(text)) else { return true };
        if let Some(error) = value.get("error").filter(|e| !e.is_null()) {
            self.fail(ModelError::from_object(error, false), out);
            return false;
        }
        if let Some(message) = value.get("message") {
            let text = |key: &str| message.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
            if let Some(thought) = text("thinking") {
                out.push(StreamEvent::Thinking(thought.to_owned()));
            }
            if let Some(text) = text("content") {
                out.push(StreamEvent::Text(text.to_owned()));
            }
            for call in message.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                self.call(call, out);
            }
        }
        if value.get("done").and_then(Value::as_bool) != Some(true) {
            return true;
        }
        self.over = true;
        out.push(StreamEvent::Usage(Usage {
            input: tokens(value.get("prompt_eval_count")).unwrap_or(0),
            output: tokens(value.get("eval_count")).unwrap_or(0),
            ..Usage::default()
        }));
        out.push(StreamEvent::Stop(match value.get("done_reason").and_then(Value::as_str) {
            _ if self.calls > 0 => StopReason::ToolUse,
            Some("length") => StopReason::Length,
            _ => StopReason::Stop,
        }));
        false
    }

    fn call(&mut self, call: &Value, out: &mut Vec<StreamEvent>) {
        let Some(function) = call.get("function").filter(|_| self.calls < MAX_CALLS) else { return };
        let Some(name) = function.get("name").and_then(Value::as_str) else { return };
        let arguments = match function.get("arguments") {
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_else(|_| json!({})),
            Some(value @ Value::Object(_)) => value.clone(),
            _ => json!({}),
        };
        self.calls += 1;
        let id = format!("ollama_call_{}", (self.new_id)());
        out.push(StreamEvent::ToolCall(ToolCall { id, name: name.to_owned(), arguments }));
    }

    fn fail(&mut self, error: ModelError, out: &mut Vec<StreamEvent>) {
        if !self.over {
            self.over = true;
            out.push(StreamEvent::Error(error));
        }
    }
}

/// Puts quotes around whole numbers beyond 2^53, which floats of other programs would bend: ids that must come back
/// as they were.
pub fn quote_big_integers(text: &str) -> Cow<'_, str> {
    const SAFE: &str = "9007199254740991";
    let bytes = text.as_bytes();
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let start = at;
                let digits_from = start + usize::from(bytes[at] == b'-');
                at = digits_from;
                while at < bytes.len() && bytes[at].is_ascii_digit() {
                    at += 1;
                }
                let digits = &text[digits_from..at];
                let whole = !matches!(bytes.get(at), Some(b'.' | b'e' | b'E'));
                if whole && (digits.len() > SAFE.len() || (digits.len() == SAFE.len() && digits > SAFE)) {
                    out.push_str(&text[copied..start]);
                    out.push('"');
                    out.push_str(&text[start..at]);
                    out.push('"');
                    copied = at;
                }
                // The rest of a float must not look like a number of its own.
                while at < bytes.len() && matches!(bytes[at], b'.' | b'e' | b'E' | b'+' | b'-' | b'0'..=b'9') {
                    at += 1;
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{ends_once, join};
    use super::*;

    const ANSWER: &str = concat!(
        "{\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"hm\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"Hé\"},\"done\":false}\r\n",
        "not json\n",
        "{\"message\":{\"content\":\"llo\"},\"done\":false}\n",
        "{\"message\":{\"content\":\"\",\"tool_calls\":[{\"function\":{\"name\":\"read\",\"arguments\":{\"n\":9007199254740993,\"m\":5}}}]},\"done\":false}\n",
        "{\"message\":{\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"prompt_eval_count\":7,\"eval_count\":3}"
    );

    fn run(pieces: &[&[u8]]) -> Vec<StreamEvent> {
        let mut n = 0;
        let mut parser = Parser::new(move || {
            n += 1;
            n.to_string()
        });
        let mut out = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut out);
        }
        parser.finish(&mut out);
        join(out)
    }

    #[test]
    fn an_answer_cut_at_every_byte() {
        let whole = [
            StreamEvent::Thinking("hm".into()),
            StreamEvent::Text("Héllo".into()),
            StreamEvent::ToolCall(ToolCall {
                id: "ollama_call_1".into(),
                name: "read".into(),
                arguments: json!({"n": "9007199254740993", "m": 5}),
            }),
            StreamEvent::Usage(Usage { input: 7, output: 3, ..Usage::default() }),
            StreamEvent::Stop(StopReason::ToolUse),
        ];
        let bytes = ANSWER.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn endings() {
        let last = |text: &str| run(&[text.as_bytes()]).pop().unwrap();
        assert_eq!(last("{\"done\":true,\"done_reason\":\"length\"}\n"), StreamEvent::Stop(StopReason::Length));
        let StreamEvent::Error(e) = last("{\"message\":{\"content\":\"a\"}}\n") else { panic!() };
        assert_eq!(e.message, "Ollama API stream ended without a final response");
        let StreamEvent::Error(e) = last("{\"error\":\"model 'x' not found\"}\n") else { panic!() };
        assert_eq!(e.message, "model 'x' not found");
    }

    #[test]
    fn big_integers() {
        for (text, want) in [
            ("{\"a\":9007199254740991}", "{\"a\":9007199254740991}"),
            ("{\"a\":9007199254740992}", "{\"a\":\"9007199254740992\"}"),
            ("{\"a\":-123456789012345678901234}", "{\"a\":\"-123456789012345678901234\"}"),
            (
                "{\"a\":\"9007199254740992 \\\" 9007199254740993\"}",
                "{\"a\":\"9007199254740992 \\\" 9007199254740993\"}",
            ),
            ("[1234567890123456789.5,12345678901234567e3]", "[1234567890123456789.5,12345678901234567e3]"),
        ] {
            assert_eq!(quote_big_integers(text), want);
        }
    }

    #[test]
    fn mutated_streams_end_once_and_never_panic() {
        ends_once(13, &[ANSWER], run);
    }

    #[test]
    fn bodies() {
        let request = ModelRequest {
            system: "S".into(),
            messages: vec![
                Message::User(vec![
                    UserPart::Text("hi".into()),
                    UserPart::Image { mime: "image/png".into(), data: "QQ==".into() },
                ]),
                Message::Assistant(vec![
                    AssistantPart::Text("a".into()),
                    AssistantPart::ToolCall(ToolCall {
                        id: "x".into(),
                        name: "read".into(),
                        arguments: json!({"p": 1}),
                    }),
                ]),
                Message::ToolResult { id: "x".into(), name: "read".into(), text: "no".into(), is_error: true },
            ],
            max_tokens: 9,
            ..ModelRequest::default()
        };
        assert_eq!(
            request_body("m", &request, None),
            json!({"model":"m","messages":[{"role":"system","content":"S"},
                {"role":"user","content":"hi","images":["QQ=="]},
                {"role":"assistant","content":"a","tool_calls":[{"function":{"name":"read","arguments":{"p":1}}}]},
                {"role":"tool","content":"no","tool_name":"read"}],
                "stream":true,"options":{"num_ctx":65536,"num_predict":9}})
        );
    }
}
