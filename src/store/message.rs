//! Messages of a transcript, typed (agent 2). Pure data: parsing and printing, no files.
//!
//! Unknown keys of a message and unknown content blocks are kept and written back.

use serde_json::{Map, Value, json};

/// One `message` line of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Block>,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    /// Keys that this program does not know.
    pub rest: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Role {
    User,
    Assistant(Assistant),
    ToolResult { tool_call_id: String, tool_name: String, is_error: bool, details: Option<Value> },
}

/// What only an assistant's message has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assistant {
    /// Wire format: `anthropic-messages`, `openai-completions`, …
    pub api: String,
    pub provider: String,
    pub model: String,
    pub usage: Usage,
    /// `stop`, `length`, `toolUse`, `error` or `aborted`.
    pub stop_reason: String,
    pub error_message: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Text {
        text: String,
        /// `textSignature` and the like.
        rest: Map<String, Value>,
    },
    Thinking {
        thinking: String,
        signature: Option<String>,
        redacted: bool,
    },
    ToolCall {
        id: String,
        name: String,
        arguments: Value,
    },
    /// base64
    Image {
        data: String,
        mime_type: String,
    },
    Other(Value),
}

/// Tokens and cost of one model call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub total_tokens: u64,
    pub cost: Cost,
}

/// In the currency of the model's price list.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    pub input: f64,
    pub output: f64,
    pub cache_read: f64,
    pub cache_write: f64,
    pub total: f64,
}

impl Message {
    pub fn user(text: impl Into<String>, timestamp: u64) -> Message {
        Message { role: Role::User, content: vec![Block::text(text)], timestamp, rest: Map::new() }
    }

    pub fn assistant(assistant: Assistant, content: Vec<Block>, timestamp: u64) -> Message {
        Message { role: Role::Assistant(assistant), content, timestamp, rest: Map::new() }
    }

    /// An assistant's line that no model wrote: command replies, `chat.inject` (agent 2).
    pub fn injected(text: impl Into<String>, timestamp: u64) -> Message {
        let assistant = Assistant {
            api: "openai-responses".into(),
            provider: "openclaw".into(),
            model: "gateway-injected".into(),
            stop_reason: "stop".into(),
            ..Assistant::default()
        };
        Message::assistant(assistant, vec![Block::text(text)], timestamp)
    }

    pub fn tool_result(id: &str, name: &str, text: impl Into<String>, is_error: bool, timestamp: u64) -> Message {
        let role = Role::ToolResult { tool_call_id: id.into(), tool_name: name.into(), is_error, details: None };
        Message { role, content: vec![Block::text(text)], timestamp, rest: Map::new() }
    }

    /// `user`, `assistant` or `toolResult`.
    pub fn role_name(&self) -> &'static str {
        match self.role {
            Role::User => "user",
            Role::Assistant(_) => "assistant",
            Role::ToolResult { .. } => "toolResult",
        }
    }

    /// The text blocks, one after the other without separator.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for block in &self.content {
            if let Block::Text { text, .. } = block {
                out.push_str(text);
            }
        }
        out
    }

    /// `None` for anything that is not a message with one of the three roles.
    pub fn from_value(value: Value) -> Option<Message> {
        let Value::Object(mut map) = value else { return None };
        let role = match map.shift_remove("role")?.as_str()? {
            "user" => Role::User,
            "assistant" => Role::Assistant(Assistant {
                api: take_text(&mut map, "api").unwrap_or_default(),
                provider: take_text(&mut map, "provider").unwrap_or_default(),
                model: take_text(&mut map, "model").unwrap_or_default(),
                usage: map.shift_remove("usage").map(|v| Usage::from_value(&v)).unwrap_or_default(),
                stop_reason: take_text(&mut map, "stopReason").unwrap_or_default(),
                error_message: take_text(&mut map, "errorMessage"),
            }),
            "toolResult" => Role::ToolResult {
                tool_call_id: take_text(&mut map, "toolCallId").unwrap_or_default(),
                tool_name: take_text(&mut map, "toolName").unwrap_or_default(),
                is_error: map.shift_remove("isError").and_then(|v| v.as_bool()).unwrap_or(false),
                details: map.shift_remove("details"),
            },
            _ => return None,
        };
        let content = match map.shift_remove("content") {
            Some(Value::Array(blocks)) => blocks.into_iter().map(Block::from_value).collect(),
            Some(Value::String(text)) => vec![Block::text(text)],
            _ => Vec::new(),
        };
        let timestamp = map.shift_remove("timestamp").and_then(|v| v.as_u64()).unwrap_or(0);
        Some(Message { role, content, timestamp, rest: map })
    }

    /// The stored object, keys in the reference's order.
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        map.insert("role".into(), self.role_name().into());
        if let Role::ToolResult { tool_call_id, tool_name, .. } = &self.role {
            map.insert("toolCallId".into(), tool_call_id.as_str().into());
            map.insert("toolName".into(), tool_name.as_str().into());
        }
        map.insert("content".into(), self.content.iter().map(Block::to_value).collect());
        match &self.role {
            Role::User => {}
            Role::Assistant(assistant) => {
                map.insert("api".into(), assistant.api.as_str().into());
                map.insert("provider".into(), assistant.provider.as_str().into());
                map.insert("model".into(), assistant.model.as_str().into());
                map.insert("usage".into(), assistant.usage.to_value());
                map.insert("stopReason".into(), assistant.stop_reason.as_str().into());
            }
            Role::ToolResult { is_error, details, .. } => {
                if let Some(details) = details {
                    map.insert("details".into(), details.clone());
                }
                map.insert("isError".into(), (*is_error).into());
            }
        }
        map.insert("timestamp".into(), self.timestamp.into());
        if let Role::Assistant(Assistant { error_message: Some(message), .. }) = &self.role {
            map.insert("errorMessage".into(), message.as_str().into());
        }
        for (name, value) in &self.rest {
            if !map.contains_key(name) {
                map.insert(name.clone(), value.clone());
            }
        }
        Value::Object(map)
    }
}

impl Block {
    pub fn text(text: impl Into<String>) -> Block {
        Block::Text { text: text.into(), rest: Map::new() }
    }

    pub fn from_value(value: Value) -> Block {
        let Value::Object(mut map) = value else { return Block::Other(value) };
        let has = |name: &str| map.get(name).is_some_and(Value::is_string);
        match map.get("type").and_then(Value::as_str) {
            Some("text") if has("text") => {
                map.shift_remove("type");
                let text = take_text(&mut map, "text").unwrap_or_default();
                Block::Text { text, rest: map }
            }
            Some("thinking") if has("thinking") => Block::Thinking {
                thinking: take_text(&mut map, "thinking").unwrap_or_default(),
                signature: take_text(&mut map, "thinkingSignature"),
                redacted: map.get("redacted").and_then(Value::as_bool).unwrap_or(false),
            },
            Some("toolCall") if has("id") && has("name") => Block::ToolCall {
                id: take_text(&mut map, "id").unwrap_or_default(),
                name: take_text(&mut map, "name").unwrap_or_default(),
                arguments: map.shift_remove("arguments").unwrap_or_else(|| json!({})),
            },
            Some("image") if has("data") && has("mimeType") => Block::Image {
                data: take_text(&mut map, "data").unwrap_or_default(),
                mime_type: take_text(&mut map, "mimeType").unwrap_or_default(),
            },
            _ => Block::Other(Value::Object(map)),
        }
    }

    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        match self {
            Block::Text { text, rest } => {
                map.insert("type".into(), "text".into());
                map.insert("text".into(), text.as_str().into());
                map.extend(rest.iter().map(|(k, v)| (k.clone(), v.clone())));
            }
            Block::Thinking { thinking, signature, redacted } => {
                map.insert("type".into(), "thinking".into());
                map.insert("thinking".into(), thinking.as_str().into());
                if let Some(signature) = signature {
                    map.insert("thinkingSignature".into(), signature.as_str().into());
                }
                if *redacted {
                    map.insert("redacted".into(), true.into());
                }
            }
            Block::ToolCall { id, name, arguments } => {
                map.insert("type".into(), "toolCall".into());
                map.insert("id".into(), id.as_str().into());
                map.insert("name".into(), name.as_str().into());
                map.insert("arguments".into(), arguments.clone());
            }
            Block::Image { data, mime_type } => {
                map.insert("type".into(), "image".into());
                map.insert("data".into(), data.as_str().into());
                map.insert("mimeType".into(), mime_type.as_str().into());
            }
            Block::Other(value) => return value.clone(),
        }
        Value::Object(map)
    }
}

impl Usage {
    pub fn from_value(value: &Value) -> Usage {
        let tokens = |name| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let cost = |name| value.get("cost").and_then(|c| c.get(name)).and_then(Value::as_f64).unwrap_or(0.0);
        Usage {
            input: tokens("input"),
            output: tokens("output"),
            cache_read: tokens("cacheRead"),
            cache_write: tokens("cacheWrite"),
            total_tokens: tokens("totalTokens"),
            cost: Cost {
                input: cost("input"),
                output: cost("output"),
                cache_read: cost("cacheRead"),
                cache_write: cost("cacheWrite"),
                total: cost("total"),
            },
        }
    }

    pub fn to_value(&self) -> Value {
        let cost = &self.cost;
        json!({
            "input": self.input,
            "output": self.output,
            "cacheRead": self.cache_read,
            "cacheWrite": self.cache_write,
            "totalTokens": self.total_tokens,
            "cost": {
                "input": price(cost.input),
                "output": price(cost.output),
                "cacheRead": price(cost.cache_read),
                "cacheWrite": price(cost.cache_write),
                "total": price(cost.total),
            },
        })
    }
}

/// A whole number is written without fraction, as the reference does (`0`, not `0.0`).
fn price(value: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT { Value::from(value as i64) } else { Value::from(value) }
}

fn take_text(map: &mut Map<String, Value>, name: &str) -> Option<String> {
    match map.shift_remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_messages_come_back_unchanged() {
        for text in [
            r#"{"role":"user","content":[{"type":"text","text":"[Fri 2026-11-20 19:50 UTC] hi"}],"timestamp":1795204203777}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"…"},{"type":"toolCall","id":"toolu_1","name":"exec","arguments":{"command":"echo hi there"}}],"api":"anthropic-messages","provider":"ant","model":"claude-x","usage":{"input":100,"output":20,"cacheRead":5,"cacheWrite":10,"totalTokens":135,"cost":{"input":0,"output":0,"cacheRead":0,"cacheWrite":0,"total":0}},"stopReason":"toolUse","timestamp":1795204205369}"#,
            r#"{"role":"toolResult","toolCallId":"toolu_1","toolName":"exec","content":[{"type":"text","text":"hi there"}],"details":{"status":"completed","exitCode":0,"durationMs":37,"aggregated":"hi there","cwd":"/w"},"isError":false,"timestamp":1}"#,
            r#"{"role":"assistant","content":[{"type":"thinking","thinking":"hm","thinkingSignature":"s"},{"type":"image","data":"AAAA","mimeType":"image/png"},{"type":"new","x":[1]},{"type":"text","text":"t","textSignature":"v"}],"api":"a","provider":"p","model":"m","usage":{"input":1,"output":2,"cacheRead":0,"cacheWrite":0,"totalTokens":3,"cost":{"input":0.25,"output":0,"cacheRead":0,"cacheWrite":0,"total":0.25}},"stopReason":"error","timestamp":5,"errorMessage":"401 bad key","later":true}"#,
        ] {
            let message = Message::from_value(serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!(message.to_value().to_string(), text);
        }
    }

    #[test]
    fn odd_messages() {
        for (text, expected) in [
            (r#"{"role":"user","content":"plain"}"#, Some("plain")),
            (r#"{"role":"user"}"#, Some("")),
            (
                r#"{"role":"user","content":[1,{"type":"text"},{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
                Some("ab"),
            ),
            (r#"{"role":"custom","content":[]}"#, None),
            (r#"{"content":[]}"#, None),
            (r#"[]"#, None),
        ] {
            let message = Message::from_value(serde_json::from_str(text).unwrap());
            assert_eq!(message.map(|m| m.text()).as_deref(), expected, "{text}");
        }
    }
}
