//! OpenAI chat completions (agent 11): the request body and a pure parser of the event stream.

use serde_json::{Map, Value, json};

use super::sse::{Progress, SseAnswer, SseParser, not_a_stream};
use super::wire::{
    AssistantPart, CALL_BYTES, Message, ModelError, ModelRequest, Reason, StopReason, StreamEvent, Thinking, ToolCall,
    ToolChoice, Usage, UserPart, parse_arguments, tokens, with_demand,
};

/// Tool calls of one answer; more are dropped.
const MAX_CALLS: usize = 128;

/// What differs between endpoints that speak this format (`models.providers.<id>.models[].compat`).
#[derive(Clone, Debug, PartialEq)]
pub struct Dialect {
    pub max_tokens_field: String,
    pub usage_in_streaming: bool,
    pub store: bool,
    pub reasoning: bool,
}

impl Default for Dialect {
    fn default() -> Self {
        Dialect {
            max_tokens_field: "max_completion_tokens".into(),
            usage_in_streaming: true,
            store: true,
            reasoning: false,
        }
    }
}

/// Body of `POST <baseUrl>/chat/completions`.
pub fn request_body(model: &str, request: &ModelRequest, dialect: &Dialect) -> Value {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    let demand = request.sampling.demand().filter(|_| request.sampling.format_in_words);
    let system = with_demand(&request.system, demand);
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system}));
    }
    messages.extend(request.messages.iter().filter_map(message));
    let mut body = Map::new();
    body.insert("model".into(), json!(model));
    body.insert("messages".into(), Value::Array(messages));
    body.insert("stream".into(), json!(true));
    if dialect.usage_in_streaming {
        body.insert("stream_options".into(), json!({"include_usage": true}));
    }
    if dialect.store {
        body.insert("store".into(), json!(false));
    }
    body.insert(dialect.max_tokens_field.clone(), json!(request.max_tokens));
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|t| {
            json!({"type": "function", "function": {
                "name": t.name, "description": t.description, "parameters": t.parameters, "strict": t.strict}})
        });
        body.insert("tools".into(), tools.collect());
        if let Some(several) = request.sampling.parallel_calls {
            body.insert("parallel_tool_calls".into(), json!(several));
        }
        match &request.tool_choice {
            ToolChoice::Auto => {}
            ToolChoice::None => drop(body.insert("tool_choice".into(), json!("none"))),
            ToolChoice::Required => drop(body.insert("tool_choice".into(), json!("required"))),
            ToolChoice::Named(name) => {
                body.insert("tool_choice".into(), json!({"type": "function", "function": {"name": name}}));
            }
        }
    }
    let sampling = &request.sampling;
    for (name, value) in [
        ("temperature", sampling.temperature),
        ("top_p", sampling.top_p),
        ("frequency_penalty", sampling.frequency_penalty),
        ("presence_penalty", sampling.presence_penalty),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    if let Some(seed) = sampling.seed {
        body.insert("seed".into(), json!(seed));
    }
    if !sampling.stop.is_empty() {
        body.insert("stop".into(), json!(sampling.stop));
    }
    if let Some(format) = sampling.response_format.as_ref().filter(|_| !sampling.format_in_words) {
        body.insert("response_format".into(), format.clone());
    }
    if let (true, Some(effort)) = (dialect.reasoning, effort(request.thinking)) {
        body.insert("reasoning_effort".into(), json!(effort));
    }
    Value::Object(body)
}

fn effort(level: Thinking) -> Option<&'static str> {
    match level {
        Thinking::Off => None,
        Thinking::Minimal => Some("minimal"),
        Thinking::Low => Some("low"),
        Thinking::Medium | Thinking::Adaptive => Some("medium"),
        Thinking::High => Some("high"),
        Thinking::XHigh => Some("xhigh"),
    }
}

fn message(message: &Message) -> Option<Value> {
    match message {
        Message::User(parts) => {
            if let [UserPart::Text(text)] = parts.as_slice() {
                return Some(json!({"role": "user", "content": text}));
            }
            let content: Vec<Value> = parts
                .iter()
                .map(|part| match part {
                    UserPart::Text(text) => json!({"type": "text", "text": text}),
                    UserPart::Image { mime, data } => {
                        json!({"type": "image_url", "image_url": {"url": format!("data:{mime};base64,{data}")}})
                    }
                })
                .collect();
            Some(json!({"role": "user", "content": content}))
        }
        Message::Assistant(parts) => {
            let mut text = String::new();
            let mut calls = Vec::new();
            for part in parts {
                match part {
                    AssistantPart::Text(piece) => text.push_str(piece),
                    AssistantPart::Thinking { .. } => {}
                    AssistantPart::ToolCall(call) => calls.push(json!({
                        "id": call.id, "type": "function",
                        "function": {"name": call.name, "arguments": call.arguments.to_string()}})),
                }
            }
            if text.is_empty() && calls.is_empty() {
                return None;
            }
            let mut out = Map::new();
            out.insert("role".into(), json!("assistant"));
            out.insert("content".into(), if text.is_empty() { Value::Null } else { json!(text) });
            if !calls.is_empty() {
                out.insert("tool_calls".into(), Value::Array(calls));
            }
            Some(Value::Object(out))
        }
        Message::ToolResult { id, text, .. } => Some(json!({"role": "tool", "tool_call_id": id, "content": text})),
    }
}

/// Reads the answer piece by piece.
pub type Parser = SseParser<Answer>;

/// What has been understood so far.
#[derive(Default)]
pub struct Answer {
    calls: Vec<OpenCall>,
    usage: Option<Usage>,
    progress: Progress,
}

struct OpenCall {
    index: Option<u64>,
    id: String,
    name: String,
    arguments: String,
}

impl SseAnswer for Answer {
    fn event(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> bool {
        let data = data.trim_ascii();
        if data.is_empty() {
            return true;
        }
        if data == b"[DONE]" {
            match (self.progress.stop, self.progress.seen) {
                (None, false) => self.progress.fail(not_a_stream(b""), out),
                _ => self.end(out),
            }
            return false;
        }
        let chunk: Value = match serde_json::from_slice(data) {
            Ok(chunk) => chunk,
            Err(e) => {
                self.progress
                    .fail(ModelError::new(Reason::Format, format!("the model endpoint sent bad JSON: {e}")), out);
                return false;
            }
        };
        if let Some(error) = chunk.get("error").filter(|e| !e.is_null()) {
            self.progress.fail(ModelError::from_object(error, false), out);
            return false;
        }
        self.progress.seen = true;
        if let Some(usage) = chunk.get("usage").filter(|u| u.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        let Some(choice) = chunk.get("choices").and_then(|c| c.get(0)) else { return true };
        if let Some(usage) = choice.get("usage").filter(|u| u.is_object()) {
            self.usage = Some(read_usage(usage));
        }
        if let Some(delta) = choice.get("delta").or_else(|| choice.get("message")) {
            self.delta(delta, out);
        }
        match choice.get("finish_reason").and_then(Value::as_str) {
            None | Some("") => true,
            Some("content_filter") => {
                self.progress
                    .fail(ModelError::new(Reason::Unknown, "the provider's content filter stopped the answer"), out);
                false
            }
            Some("length") => {
                self.progress.stop = Some(StopReason::Length);
                true
            }
            Some("tool_calls" | "function_call") => {
                self.progress.stop = Some(StopReason::ToolUse);
                true
            }
            Some(_) => {
                self.progress.stop = Some(StopReason::Stop);
                true
            }
        }
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) {
        self.progress.over = true;
        let calls = std::mem::take(&mut self.calls);
        let any = !calls.is_empty();
        for (n, call) in calls.into_iter().enumerate() {
            let id = if call.id.is_empty() { format!("call_{n}") } else { call.id };
            match parse_arguments(&call.arguments) {
                Ok(arguments) => out.push(StreamEvent::ToolCall(ToolCall { id, name: call.name, arguments })),
                Err(e) => {
                    let text = format!("the model wrote arguments for {} that are not JSON: {e}", call.name);
                    out.push(StreamEvent::Error(ModelError::new(Reason::Format, text)));
                    return;
                }
            }
        }
        out.push(StreamEvent::Usage(self.usage.unwrap_or_default()));
        let stop = match self.progress.stop {
            Some(StopReason::Stop) | None if any => StopReason::ToolUse,
            Some(stop) => stop,
            None => StopReason::Stop,
        };
        out.push(StreamEvent::Stop(stop));
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn held(&self) -> usize {
        let words = |call: &OpenCall| call.id.len() + call.name.len() + call.arguments.len();
        self.calls.iter().map(|call| CALL_BYTES + words(call)).sum()
    }
}

impl Answer {
    fn delta(&mut self, delta: &Value, out: &mut Vec<StreamEvent>) {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).filter(|s| !s.is_empty());
        if let Some(thought) =
            text("reasoning_content").or_else(|| text("reasoning")).or_else(|| text("reasoning_text"))
        {
            out.push(StreamEvent::Thinking(thought.to_owned()));
        }
        if let Some(text) = text("content") {
            out.push(StreamEvent::Text(text.to_owned()));
        }
        for piece in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
            self.call_piece(piece);
        }
    }

    /// A fragment belongs to the call of its index, or to the last one; an id that differs begins a new call.
    fn call_piece(&mut self, piece: &Value) {
        let index = piece.get("index").and_then(Value::as_u64);
        let id = piece.get("id").and_then(Value::as_str).unwrap_or("");
        let function = piece.get("function");
        let text = |key: &str| function.and_then(|f| f.get(key)).and_then(Value::as_str).unwrap_or("");
        let known = match index {
            Some(_) => self.calls.iter().rposition(|c| c.index == index),
            None if !id.is_empty() => self.calls.iter().rposition(|c| c.id == id),
            None => self.calls.len().checked_sub(1),
        };
        let known = known.filter(|at| id.is_empty() || self.calls[*at].id.is_empty() || self.calls[*at].id == id);
        let at = match known {
            Some(at) => at,
            None if self.calls.len() >= MAX_CALLS => return,
            None => {
                self.calls.push(OpenCall { index, id: String::new(), name: String::new(), arguments: String::new() });
                self.calls.len() - 1
            }
        };
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id.push_str(id);
        }
        if call.name.is_empty() {
            call.name.push_str(text("name"));
        }
        call.arguments.push_str(text("arguments"));
        if let Some(whole) = function.and_then(|f| f.get("arguments")).filter(|a| a.is_object()) {
            call.arguments = whole.to_string();
        }
    }
}

/// Cached tokens are no input; reasoning tokens are output.
fn read_usage(usage: &Value) -> Usage {
    let nested = |outer: &str, inner: &str| tokens(usage.get(outer).and_then(|d| d.get(inner))).unwrap_or(0);
    let cached = nested("prompt_tokens_details", "cached_tokens");
    let reasoning = nested("completion_tokens_details", "reasoning_tokens");
    Usage {
        input: tokens(usage.get("prompt_tokens")).unwrap_or(0).saturating_sub(cached),
        output: tokens(usage.get("completion_tokens")).unwrap_or(0).saturating_add(reasoning),
        cache_read: cached,
        cache_write: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{Ending, check_ending, ends_once, join};
    use super::*;

    const TALK: &str = concat!(
        ": keep-alive\n\n",
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Hé\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"llo 🦞\"}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":105,\"completion_tokens\":20,",
        "\"prompt_tokens_details\":{\"cached_tokens\":5},\"completion_tokens_details\":{\"reasoning_tokens\":3}}}\n\n",
        "data: [DONE]\n\n"
    );

    const CALLS: &str = concat!(
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"read\",\"arguments\":\"\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"pa\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"th\\\":1}\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"b\",\"function\":{\"name\":\"exec\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\"}]}\n\n",
        "data: [DONE]\n\n"
    );

    fn run(pieces: &[&[u8]]) -> Vec<StreamEvent> {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        for piece in pieces {
            parser.feed(piece, &mut out);
        }
        parser.finish(&mut out);
        join(out)
    }

    #[test]
    fn an_answer_cut_at_every_byte() {
        let whole = run(&[TALK.as_bytes()]);
        assert_eq!(
            whole,
            [
                StreamEvent::Thinking("hm".into()),
                StreamEvent::Text("Héllo 🦞".into()),
                StreamEvent::Usage(Usage { input: 100, output: 23, cache_read: 5, cache_write: 0 }),
                StreamEvent::Stop(StopReason::Stop),
            ]
        );
        let bytes = TALK.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single), whole);
    }

    #[test]
    fn tool_calls_are_assembled() {
        let call = |id: &str, name: &str, a: Value| {
            StreamEvent::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: a })
        };
        let whole = [
            call("a", "read", json!({"path": 1})),
            call("b", "exec", json!({})),
            StreamEvent::Usage(Usage::default()),
            StreamEvent::Stop(StopReason::ToolUse),
        ];
        let bytes = CALLS.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn a_new_id_on_the_same_index_is_a_new_call() {
        let text = concat!(
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"x\",\"arguments\":\"{}\"}}]}}]}\n\n",
            "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"b\",\"function\":{\"name\":\"y\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"stop\"}]}\n\n",
        );
        let events = run(&[text.as_bytes()]);
        assert_eq!(events.len(), 4, "{events:?}");
        assert_eq!(events[3], StreamEvent::Stop(StopReason::ToolUse));
    }

    #[test]
    fn endings() {
        let first = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n";
        let table: [(String, Ending); 11] = [
            (
                format!("{first}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"length\"}}]}}\n\n"),
                Ok(StopReason::Length),
            ),
            (format!("{first}data: [DONE]\n\n"), Ok(StopReason::Stop)),
            (first.into(), Err((Reason::Timeout, "ended its answer"))),
            (String::new(), Err((Reason::Timeout, "empty answer"))),
            ("data: [DONE]\n\n".into(), Err((Reason::Timeout, "empty answer"))),
            ("<html>\nno\n</html>".into(), Err((Reason::Timeout, "<html>"))),
            ("{\"error\":{\"message\":\"boom\",\"type\":\"server_error\"}}\n".into(), Err((Reason::Timeout, "boom"))),
            (format!("{first}data: {{not json}}\n\n"), Err((Reason::Format, "bad JSON"))),
            (
                format!("{first}data: {{\"error\":{{\"message\":\"full\",\"code\":\"rate_limit_exceeded\"}}}}\n\n"),
                Err((Reason::RateLimit, "full")),
            ),
            (
                format!("{first}data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"content_filter\"}}]}}\n\n"),
                Err((Reason::Unknown, "content filter")),
            ),
            (CALLS.replace("th\\\":1}", "th\\\":"), Err((Reason::Format, "not JSON"))),
        ];
        for (text, want) in table {
            let events = run(&[text.as_bytes()]);
            check_ending(&text, &events, want);
        }
    }

    #[test]
    fn mutated_streams_end_once_and_never_panic() {
        ends_once(11, &[TALK, CALLS], run);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..6 {
            parser.feed(&block, &mut out);
        }
        assert!(matches!(out.as_slice(), [StreamEvent::Error(e)] if e.kind == Reason::Format), "{out:?}");
    }

    #[test]
    fn bodies() {
        let request = ModelRequest {
            system: "S".into(),
            messages: vec![
                Message::User(vec![UserPart::Text("hi".into())]),
                Message::Assistant(vec![
                    AssistantPart::Thinking { text: "t".into(), signature: None, redacted: false },
                    AssistantPart::ToolCall(ToolCall {
                        id: "a".into(),
                        name: "read".into(),
                        arguments: json!({"p": 1}),
                    }),
                ]),
                Message::ToolResult { id: "a".into(), name: "read".into(), text: "no".into(), is_error: true },
                Message::Assistant(vec![]),
                Message::User(vec![
                    UserPart::Text("see".into()),
                    UserPart::Image { mime: "image/png".into(), data: "QQ==".into() },
                ]),
            ],
            tools: vec![],
            max_tokens: 99,
            thinking: Thinking::High,
            ..ModelRequest::default()
        };
        let body = request_body("m", &request, &Dialect::default());
        assert_eq!(
            body,
            json!({"model":"m","messages":[
                {"role":"system","content":"S"},
                {"role":"user","content":"hi"},
                {"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"read","arguments":"{\"p\":1}"}}]},
                {"role":"tool","tool_call_id":"a","content":"no"},
                {"role":"user","content":[{"type":"text","text":"see"},{"type":"image_url","image_url":{"url":"data:image/png;base64,QQ=="}}]}],
                "stream":true,"stream_options":{"include_usage":true},"store":false,"max_completion_tokens":99})
        );
        let compat =
            Dialect { max_tokens_field: "max_tokens".into(), usage_in_streaming: false, store: false, reasoning: true };
        let body = request_body("m", &request, &compat);
        assert_eq!(body["max_tokens"], 99);
        assert_eq!(body["reasoning_effort"], "high");
        assert!(body.get("store").is_none() && body.get("stream_options").is_none());
    }
}
