//! Anthropic Messages (agent 11): the request body and a pure parser of the event stream.

use serde_json::{Map, Value, json};

use super::sse::{Progress, SseAnswer, SseParser};
use super::wire::{
    AssistantPart, CALL_BYTES, Message, ModelError, ModelRequest, Reason, StopReason, StreamEvent, Thinking, ToolCall,
    ToolChoice, Usage, UserPart, parse_arguments, tokens, with_demand,
};

/// Content blocks of one answer that may be open at the same time.
const MAX_BLOCKS: usize = 256;

pub const VERSION: &str = "2023-06-01";
pub const BETA: &str = "fine-grained-tool-streaming-2025-05-14,interleaved-thinking-2025-05-14";
pub const BETA_OAUTH: &str = "oauth-2025-04-20,fine-grained-tool-streaming-2025-05-14,interleaved-thinking-2025-05-14";

/// Body of `POST <baseUrl>/v1/messages`. `adaptive`: the model takes effort words instead of a token budget.
pub fn request_body(model: &str, request: &ModelRequest, reasoning: bool, adaptive: bool) -> Value {
    // A model that must call a tool may not think before it.
    let forced =
        !request.tools.is_empty() && matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
    let may_think = reasoning && !forced && !forgot_its_thoughts(&request.messages);
    let thinking = if may_think { request.thinking } else { Thinking::Off };
    let budget = budget(thinking);
    let mut body = Map::new();
    body.insert("model".into(), json!(model));
    let extra = if adaptive { 0 } else { budget };
    body.insert("max_tokens".into(), json!(request.max_tokens + extra));
    body.insert("stream".into(), json!(true));
    let cache = json!({"type": "ephemeral"});
    let system = with_demand(&request.system, request.sampling.demand());
    if !system.is_empty() {
        body.insert("system".into(), json!([{"type": "text", "text": system, "cache_control": cache}]));
    }
    let mut messages = messages(&request.messages);
    if let Some(last) = messages.iter_mut().rev().find(|m| m["role"] == "user")
        && let Some(block) = last["content"].as_array_mut().and_then(|c| c.last_mut()).and_then(Value::as_object_mut)
    {
        block.insert("cache_control".into(), cache);
    }
    body.insert("messages".into(), Value::Array(messages));
    if !request.tools.is_empty() {
        let tools = request
            .tools
            .iter()
            .map(|t| json!({"name": t.name, "description": t.description, "input_schema": t.parameters}));
        body.insert("tools".into(), tools.collect());
        let one_call = request.sampling.parallel_calls == Some(false);
        let mut choice = match &request.tool_choice {
            ToolChoice::Auto if one_call => json!({"type": "auto"}),
            ToolChoice::Auto => Value::Null,
            ToolChoice::None => json!({"type": "none"}),
            ToolChoice::Required => json!({"type": "any"}),
            ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
        };
        if one_call && request.tool_choice != ToolChoice::None {
            choice["disable_parallel_tool_use"] = json!(true);
        }
        if !choice.is_null() {
            body.insert("tool_choice".into(), choice);
        }
    }
    let sampling = &request.sampling;
    if thinking == Thinking::Off {
        // Its scale ends at 1, and it takes one of the two.
        match (sampling.temperature, sampling.top_p) {
            (Some(temperature), _) => drop(body.insert("temperature".into(), json!(temperature.min(1.0)))),
            (None, Some(top_p)) => drop(body.insert("top_p".into(), json!(top_p))),
            (None, None) => {}
        }
    }
    let stop: Vec<&String> = sampling.stop.iter().filter(|text| !text.trim().is_empty()).collect();
    if !stop.is_empty() {
        body.insert("stop_sequences".into(), json!(stop));
    }
    if adaptive && thinking != Thinking::Off {
        body.insert("thinking".into(), json!({"type": "adaptive"}));
        body.insert("output_config".into(), json!({"effort": effort(thinking)}));
    } else if budget > 0 {
        body.insert("thinking".into(), json!({"type": "enabled", "budget_tokens": budget}));
    }
    Value::Object(body)
}

/// The results that the conversation ends with answer calls whose thoughts are lost: the API then refuses to think on.
fn forgot_its_thoughts(messages: &[Message]) -> bool {
    let last = messages.iter().rev().find(|message| !matches!(message, Message::ToolResult { .. }));
    let signed = |part: &AssistantPart| matches!(part, AssistantPart::Thinking { signature: Some(_), .. });
    let called = |part: &AssistantPart| matches!(part, AssistantPart::ToolCall(_));
    matches!(last, Some(Message::Assistant(parts)) if parts.iter().any(called) && !parts.iter().any(signed))
}

fn budget(level: Thinking) -> u64 {
    match level {
        Thinking::Off => 0,
        Thinking::Minimal => 1024,
        Thinking::Low => 2048,
        Thinking::Medium | Thinking::Adaptive => 8192,
        Thinking::High | Thinking::XHigh => 16384,
    }
}

fn effort(level: Thinking) -> &'static str {
    match level {
        Thinking::Off | Thinking::Minimal | Thinking::Low => "low",
        Thinking::Medium | Thinking::Adaptive => "medium",
        Thinking::High => "high",
        Thinking::XHigh => "max",
    }
}

/// Neighbours of the same role become one message: the API wants them to alternate, and all results of one round of
/// tool calls in one message.
fn messages(messages: &[Message]) -> Vec<Value> {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let (role, blocks) = match message {
            Message::User(parts) => ("user", parts.iter().filter_map(user_block).collect()),
            Message::Assistant(parts) => ("assistant", parts.iter().filter_map(assistant_block).collect()),
            Message::ToolResult { id, text, is_error, .. } => (
                "user",
                vec![
                    json!({"type": "tool_result", "tool_use_id": clean_id(id), "content": text, "is_error": is_error}),
                ],
            ),
        };
        match out.last_mut() {
            Some((last, content)) if *last == role => content.extend::<Vec<Value>>(blocks),
            _ if blocks.is_empty() => {}
            _ => out.push((role, blocks)),
        }
    }
    out.into_iter().map(|(role, content)| json!({"role": role, "content": content})).collect()
}

fn user_block(part: &UserPart) -> Option<Value> {
    match part {
        // The API refuses empty text blocks.
        UserPart::Text(text) if text.trim().is_empty() => None,
        UserPart::Text(text) => Some(json!({"type": "text", "text": text})),
        UserPart::Image { mime, data } => {
            Some(json!({"type": "image", "source": {"type": "base64", "media_type": mime, "data": data}}))
        }
    }
}

fn assistant_block(part: &AssistantPart) -> Option<Value> {
    match part {
        AssistantPart::Text(text) if text.trim().is_empty() => None,
        AssistantPart::Text(text) => Some(json!({"type": "text", "text": text})),
        AssistantPart::Thinking { signature: Some(data), redacted: true, .. } => {
            Some(json!({"type": "redacted_thinking", "data": data}))
        }
        AssistantPart::Thinking { text, signature: Some(signature), .. } => {
            Some(json!({"type": "thinking", "thinking": text, "signature": signature}))
        }
        AssistantPart::Thinking { .. } => None,
        AssistantPart::ToolCall(call) => {
            Some(json!({"type": "tool_use", "id": clean_id(&call.id), "name": call.name, "input": call.arguments}))
        }
    }
}

/// Ids of other providers may hold characters that this API refuses.
fn clean_id(id: &str) -> String {
    id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')).collect()
}

/// Reads the answer piece by piece.
pub type Parser = SseParser<Answer>;

/// What has been understood so far.
#[derive(Default)]
pub struct Answer {
    /// Open tool calls by block index.
    calls: Vec<(u64, OpenCall)>,
    usage: Usage,
    progress: Progress,
    any_call: bool,
}

struct OpenCall {
    id: String,
    name: String,
    /// Given whole at the start of the block.
    input: Value,
    input_bytes: usize,
    json: String,
}

impl SseAnswer for Answer {
    /// The type inside the data counts, not the `event:` line.
    fn event(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> bool {
        if data.trim_ascii().is_empty() {
            return true;
        }
        let event: Value = match serde_json::from_slice(data) {
            Ok(event) => event,
            Err(e) => {
                self.progress
                    .fail(ModelError::new(Reason::Format, format!("the model endpoint sent bad JSON: {e}")), out);
                return false;
            }
        };
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match event.get("type").and_then(Value::as_str).unwrap_or("") {
            "message_start" => {
                self.progress.seen = true;
                self.take_usage(event.get("message").and_then(|m| m.get("usage")));
            }
            "content_block_start" => self.block_start(index, event.get("content_block").unwrap_or(&Value::Null), out),
            "content_block_delta" => self.block_delta(index, event.get("delta").unwrap_or(&Value::Null), out),
            "content_block_stop" => return self.block_stop(index, out),
            "message_delta" => {
                self.take_usage(event.get("usage"));
                let reason = event.get("delta").and_then(|d| d.get("stop_reason")).and_then(Value::as_str);
                match reason {
                    None => {}
                    Some("max_tokens") => self.progress.stop = Some(StopReason::Length),
                    Some("tool_use") => self.progress.stop = Some(StopReason::ToolUse),
                    Some(word @ ("refusal" | "sensitive")) => {
                        let text = format!("the model refused to answer ({word})");
                        self.progress.fail(ModelError::new(Reason::Unknown, text), out);
                        return false;
                    }
                    Some(_) => self.progress.stop = Some(StopReason::Stop),
                }
            }
            "message_stop" => {
                self.end(out);
                return false;
            }
            "error" => {
                self.progress.fail(ModelError::from_object(event.get("error").unwrap_or(&event), true), out);
                return false;
            }
            _ => {}
        }
        true
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>) {
        // Blocks that were never closed.
        for (_, call) in std::mem::take(&mut self.calls) {
            if !self.finish_call(call, out) {
                return;
            }
        }
        self.progress.over = true;
        out.push(StreamEvent::Usage(self.usage));
        let stop = match self.progress.stop {
            Some(StopReason::Stop) | None if self.any_call => StopReason::ToolUse,
            Some(stop) => stop,
            None => StopReason::Stop,
        };
        out.push(StreamEvent::Stop(stop));
    }

    fn progress(&mut self) -> &mut Progress {
        &mut self.progress
    }

    fn held(&self) -> usize {
        let words = |call: &OpenCall| call.id.len() + call.name.len() + call.input_bytes + call.json.len();
        self.calls.iter().map(|(_, call)| CALL_BYTES + words(call)).sum()
    }
}

impl Answer {
    fn block_start(&mut self, index: u64, block: &Value, out: &mut Vec<StreamEvent>) {
        let text = |key: &str| block.get(key).and_then(Value::as_str).unwrap_or("");
        match text("type") {
            "tool_use" if self.calls.len() < MAX_BLOCKS => {
                let input = block.get("input").cloned().unwrap_or(Value::Null);
                let call = OpenCall {
                    id: text("id").to_owned(),
                    name: text("name").to_owned(),
                    input_bytes: input.to_string().len(),
                    input,
                    json: String::new(),
                };
                self.calls.push((index, call));
            }
            "text" if !text("text").is_empty() => out.push(StreamEvent::Text(text("text").to_owned())),
            "thinking" if !text("thinking").is_empty() => out.push(StreamEvent::Thinking(text("thinking").to_owned())),
            "redacted_thinking" => out.push(StreamEvent::Redacted(text("data").to_owned())),
            _ => {}
        }
    }

    fn block_delta(&mut self, index: u64, delta: &Value, out: &mut Vec<StreamEvent>) {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or("");
        match text("type") {
            "text_delta" if !text("text").is_empty() => out.push(StreamEvent::Text(text("text").to_owned())),
            "thinking_delta" if !text("thinking").is_empty() => {
                out.push(StreamEvent::Thinking(text("thinking").to_owned()));
            }
            "signature_delta" => out.push(StreamEvent::Signature(text("signature").to_owned())),
            "input_json_delta" => {
                if let Some((_, call)) = self.calls.iter_mut().rev().find(|(at, _)| *at == index) {
                    call.json.push_str(text("partial_json"));
                }
            }
            _ => {}
        }
    }

    fn block_stop(&mut self, index: u64, out: &mut Vec<StreamEvent>) -> bool {
        let Some(at) = self.calls.iter().rposition(|(open, _)| *open == index) else { return true };
        let (_, call) = self.calls.remove(at);
        self.finish_call(call, out)
    }

    fn finish_call(&mut self, call: OpenCall, out: &mut Vec<StreamEvent>) -> bool {
        let arguments = match parse_arguments(&call.json) {
            Ok(_) if call.json.trim().is_empty() && call.input.is_object() => call.input,
            Ok(arguments) => arguments,
            Err(e) => {
                let text = format!("the model wrote arguments for {} that are not JSON: {e}", call.name);
                self.progress.fail(ModelError::new(Reason::Format, text), out);
                return false;
            }
        };
        self.any_call = true;
        out.push(StreamEvent::ToolCall(ToolCall { id: call.id, name: call.name, arguments }));
        true
    }

    /// Later numbers are cumulative: they replace earlier ones, absent ones leave them.
    fn take_usage(&mut self, usage: Option<&Value>) {
        let Some(usage) = usage else { return };
        for (key, slot) in [
            ("input_tokens", &mut self.usage.input),
            ("output_tokens", &mut self.usage.output),
            ("cache_read_input_tokens", &mut self.usage.cache_read),
            ("cache_creation_input_tokens", &mut self.usage.cache_write),
        ] {
            if let Some(n) = tokens(usage.get(key)) {
                *slot = n;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::{Ending, check_ending, ends_once, join};
    use super::*;

    const ANSWER: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":100,\"output_tokens\":1,",
        "\"cache_read_input_tokens\":5,\"cache_creation_input_tokens\":10}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\r\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\"}}\r\n\r\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"hm\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"sig\"}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüß \"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"Gott\"}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"exec\",\"input\":{}}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\"\"}}\n\n",
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\":1}\"}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":2}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":3,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_2\",\"name\":\"now\",\"input\":{}}}\n\n",
        "data: {\"type\":\"content_block_stop\",\"index\":3}\n\n",
        "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":20}}\n\n",
        "data: {\"type\":\"message_stop\"}\n\n",
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
        let call = |id: &str, name: &str, a: Value| {
            StreamEvent::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: a })
        };
        let whole = [
            StreamEvent::Thinking("hm".into()),
            StreamEvent::Signature("sig".into()),
            StreamEvent::Text("Grüß Gott".into()),
            call("toolu_1", "exec", json!({"a": 1})),
            call("toolu_2", "now", json!({})),
            StreamEvent::Usage(Usage { input: 100, output: 20, cache_read: 5, cache_write: 10 }),
            StreamEvent::Stop(StopReason::ToolUse),
        ];
        let bytes = ANSWER.as_bytes();
        for cut in 0..=bytes.len() {
            assert_eq!(run(&[&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
        }
    }

    #[test]
    fn endings() {
        let start = "data: {\"type\":\"message_start\",\"message\":{}}\n\n";
        let stop = |reason: &str| {
            format!("{start}data: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"{reason}\"}}}}\n\n")
        };
        let table: [(String, Ending); 9] = [
            (stop("end_turn"), Ok(StopReason::Stop)),
            (stop("pause_turn"), Ok(StopReason::Stop)),
            (stop("stop_sequence"), Ok(StopReason::Stop)),
            (stop("max_tokens"), Ok(StopReason::Length)),
            (stop("refusal"), Err((Reason::Unknown, "refused"))),
            (start.into(), Err((Reason::Timeout, "in the middle"))),
            (
                format!(
                    "{start}event: error\ndata: {{\"type\":\"error\",\"error\":{{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}}}\n\n"
                ),
                Err((Reason::Overloaded, "Overloaded")),
            ),
            (format!("{start}data: }}\n\n"), Err((Reason::Format, "bad JSON"))),
            (String::new(), Err((Reason::Timeout, "empty answer"))),
        ];
        for (text, want) in table {
            let events = run(&[text.as_bytes()]);
            check_ending(&text, &events, want);
        }
    }

    #[test]
    fn mutated_streams_end_once_and_never_panic() {
        ends_once(12, &[ANSWER], run);
    }

    #[test]
    fn bodies() {
        let request = ModelRequest {
            system: "S".into(),
            messages: vec![
                Message::User(vec![UserPart::Text("hi".into())]),
                Message::Assistant(vec![
                    AssistantPart::Thinking { text: "t".into(), signature: Some("s".into()), redacted: false },
                    AssistantPart::Thinking { text: "foreign".into(), signature: None, redacted: false },
                    AssistantPart::ToolCall(ToolCall { id: "a|b".into(), name: "read".into(), arguments: json!({}) }),
                    AssistantPart::ToolCall(ToolCall { id: "c".into(), name: "read".into(), arguments: json!({}) }),
                ]),
                Message::ToolResult { id: "a|b".into(), name: "read".into(), text: "x".into(), is_error: true },
                Message::ToolResult { id: "c".into(), name: "read".into(), text: "y".into(), is_error: false },
                Message::Assistant(vec![]),
                Message::User(vec![UserPart::Text("go".into())]),
            ],
            tools: vec![],
            max_tokens: 100,
            thinking: Thinking::Low,
            ..ModelRequest::default()
        };
        let body = request_body("m", &request, true, false);
        let cache = json!({"type":"ephemeral"});
        assert_eq!(
            body,
            json!({"model":"m","max_tokens":2148,"stream":true,
                "system":[{"type":"text","text":"S","cache_control":cache}],
                "messages":[
                  {"role":"user","content":[{"type":"text","text":"hi"}]},
                  {"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},
                    {"type":"tool_use","id":"ab","name":"read","input":{}},{"type":"tool_use","id":"c","name":"read","input":{}}]},
                  {"role":"user","content":[{"type":"tool_result","tool_use_id":"ab","content":"x","is_error":true},
                    {"type":"tool_result","tool_use_id":"c","content":"y","is_error":false},
                    {"type":"text","text":"go","cache_control":cache}]}],
                "thinking":{"type":"enabled","budget_tokens":2048}})
        );
        let body = request_body("m", &request, true, true);
        assert_eq!(
            (&body["thinking"], &body["output_config"]),
            (&json!({"type":"adaptive"}), &json!({"effort":"low"}))
        );
        assert_eq!(body["max_tokens"], 100);
        assert!(request_body("m", &request, false, true).get("thinking").is_none());
    }
}
