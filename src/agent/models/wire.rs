//! What every model speaks, whatever its wire format: a request, a stream of events, usage (agent 11). Pure data.

use serde_json::Value;

pub use super::fault::{ModelError, Reason};

/// One call of a model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelRequest {
    pub system: String,
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub max_tokens: u64,
    pub thinking: Thinking,
    pub tool_choice: ToolChoice,
    pub sampling: Sampling,
}

/// Which tools a model may or must call.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum ToolChoice {
    #[default]
    Auto,
    None,
    Required,
    Named(String),
}

/// What a client asks of the way a model picks its words; None leaves it to the provider.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub frequency_penalty: Option<f64>,
    pub presence_penalty: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    /// At most this many tokens, if the model's own limit is not lower.
    pub max_tokens: Option<u64>,
    /// More than one call in an answer; nothing without tools.
    pub parallel_calls: Option<bool>,
    /// `response_format` of OpenAI, passed on to those who know it.
    pub response_format: Option<Value>,
    /// The provider knows no formats: it is told in words.
    pub format_in_words: bool,
}

impl Sampling {
    /// The format as a demand of the prompt, for whoever does not know the field. Programs parse what comes: there is
    /// no other way to ask those models for JSON.
    pub fn demand(&self) -> Option<String> {
        const ALONE: &str = "Answer with JSON and nothing else: no words before or behind it, no Markdown.";
        let format = self.response_format.as_ref()?;
        match format["type"].as_str()? {
            "json_object" => Some(format!("{ALONE} The answer is one JSON object.")),
            "json_schema" => {
                Some(format!("{ALONE} It must fit this JSON schema:\n{}", format["json_schema"]["schema"]))
            }
            _ => None,
        }
    }
}

/// A system prompt with one more paragraph.
pub fn with_demand(system: &str, demand: Option<String>) -> String {
    match demand {
        Some(demand) if system.is_empty() => demand,
        Some(demand) => format!("{system}\n\n{demand}"),
        None => system.to_owned(),
    }
}

/// The conversation, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    User(Vec<UserPart>),
    Assistant(Vec<AssistantPart>),
    ToolResult { id: String, name: String, text: String, is_error: bool },
}

#[derive(Clone, Debug, PartialEq)]
pub enum UserPart {
    Text(String),
    Image {
        mime: String,
        /// Standard base64.
        data: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub enum AssistantPart {
    Text(String),
    /// Sent back only to the model that signed it.
    Thinking {
        text: String,
        signature: Option<String>,
        redacted: bool,
    },
    ToolCall(ToolCall),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    pub name: String,
    pub description: String,
    pub parameters: Value,
    /// Arguments have to fit the parameters, where the provider can see to it.
    pub strict: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Thinking {
    #[default]
    Off,
    Minimal,
    Low,
    Medium,
    High,
    XHigh,
    Adaptive,
}

impl Thinking {
    pub const ALL: [(&'static str, Thinking); 7] = [
        ("off", Thinking::Off),
        ("minimal", Thinking::Minimal),
        ("low", Thinking::Low),
        ("medium", Thinking::Medium),
        ("high", Thinking::High),
        ("xhigh", Thinking::XHigh),
        ("adaptive", Thinking::Adaptive),
    ];

    pub fn parse(text: &str) -> Option<Thinking> {
        let text = text.trim();
        Self::ALL.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level)
    }

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, level)| *level == self).map_or("off", |(name, _)| name)
    }
}

/// What a parser makes of an answer, in the order of its bytes. After `Stop` or `Error` nothing follows.
#[derive(Clone, Debug, PartialEq)]
pub enum StreamEvent {
    Text(String),
    Thinking(String),
    /// Ends the current thinking block.
    Signature(String),
    /// A whole thinking block that only its model can read.
    Redacted(String),
    ToolCall(ToolCall),
    Usage(Usage),
    Stop(StopReason),
    Error(ModelError),
}

impl StreamEvent {
    /// Bytes of what stays of it.
    pub fn weight(&self) -> usize {
        match self {
            StreamEvent::Text(text)
            | StreamEvent::Thinking(text)
            | StreamEvent::Signature(text)
            | StreamEvent::Redacted(text) => text.len(),
            StreamEvent::ToolCall(call) => {
                CALL_BYTES + call.id.len() + call.name.len() + call.arguments.to_string().len()
            }
            StreamEvent::Usage(_) | StreamEvent::Stop(_) | StreamEvent::Error(_) => 0,
        }
    }
}

/// What a call weighs beside its words.
pub const CALL_BYTES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    Stop,
    Length,
    ToolUse,
    Error,
    Aborted,
}

impl StopReason {
    /// As in transcripts (agent 2).
    pub fn name(self) -> &'static str {
        match self {
            StopReason::Stop => "stop",
            StopReason::Length => "length",
            StopReason::ToolUse => "toolUse",
            StopReason::Error => "error",
            StopReason::Aborted => "aborted",
        }
    }
}

/// Tokens; `input` without what came from a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
}

impl Usage {
    pub fn total(&self) -> u64 {
        self.prompt().saturating_add(self.output)
    }

    /// Size of the prompt: what `totalTokens` of a session entry means.
    pub fn prompt(&self) -> u64 {
        self.input.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    pub fn add(&mut self, other: &Usage) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_write = self.cache_write.saturating_add(other.cache_write);
    }
}

/// The first `chars` characters.
pub fn cut_chars(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// A whole number where providers disagree between integers, floats and null.
pub fn tokens(value: Option<&Value>) -> Option<u64> {
    let value = value?;
    value.as_u64().or_else(|| value.as_f64().filter(|f| *f >= 0.0 && *f < 1e15).map(|f| f as u64))
}

/// Arguments of a tool call from the text that a model wrote: "" is `{}`.
pub fn parse_arguments(text: &str) -> Result<Value, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(text)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sys::testing::Random;

    /// What came out of a parser, adjacent texts joined.
    pub(crate) fn join(events: Vec<StreamEvent>) -> Vec<StreamEvent> {
        let mut out: Vec<StreamEvent> = Vec::new();
        for event in events {
            match (out.last_mut(), event) {
                (Some(StreamEvent::Text(sum)), StreamEvent::Text(more)) => sum.push_str(&more),
                (Some(StreamEvent::Thinking(sum)), StreamEvent::Thinking(more)) => sum.push_str(&more),
                (_, event) => out.push(event),
            }
        }
        out
    }

    /// Whatever was damaged, and wherever the network cut it: one end, and nothing after it.
    pub(crate) fn ends_once(seed: u64, answers: &[&str], run: impl Fn(&[&[u8]]) -> Vec<StreamEvent>) {
        let mut random = Random(seed);
        for round in 0..4000 {
            let bytes = random.mutated(answers[round % answers.len()].as_bytes());
            let (first, rest) = bytes.split_at(random.below(bytes.len() + 1));
            let events = run(&[first, rest]);
            let is_end = |event: &&StreamEvent| matches!(event, StreamEvent::Stop(_) | StreamEvent::Error(_));
            assert_eq!(events.iter().filter(is_end).count(), 1, "{events:?}");
            assert!(events.last().as_ref().is_some_and(is_end), "{events:?}");
        }
    }

    /// How a stream has to end: with this stop, or with an error of this kind that says this.
    pub(crate) type Ending = Result<StopReason, (Reason, &'static str)>;

    pub(crate) fn check_ending(stream: &str, events: &[StreamEvent], want: Ending) {
        match (events.last().unwrap(), want) {
            (StreamEvent::Stop(got), Ok(want)) => assert_eq!(*got, want, "{stream}"),
            (StreamEvent::Error(got), Err((kind, part))) => {
                assert_eq!(got.kind, kind, "{stream}");
                assert!(got.message.contains(part), "{stream}: {}", got.message);
            }
            (got, want) => panic!("{stream}: {got:?} instead of {want:?}"),
        }
    }

    #[test]
    fn what_clients_ask_reaches_every_format_that_knows_it() {
        use super::super::{anthropic, ollama, openai};
        use serde_json::json;
        let parameters = json!({"type": "object"});
        let tool = ToolSpec { name: "f".into(), description: "d".into(), parameters, strict: true };
        let mut request = ModelRequest {
            tools: vec![tool],
            max_tokens: 7,
            thinking: Thinking::High,
            sampling: Sampling {
                temperature: Some(1.5),
                top_p: Some(0.5),
                frequency_penalty: Some(-1.0),
                presence_penalty: Some(1.0),
                seed: Some(-3),
                stop: vec!["END".into(), " ".into()],
                max_tokens: Some(7),
                parallel_calls: Some(false),
                format_in_words: false,
                response_format: Some(json!({"type": "json_schema", "json_schema": {"schema": {"type": "object"}}})),
            },
            ..ModelRequest::default()
        };
        let function = json!({"type": "function", "function": {"name": "f"}});
        for (choice, of_openai, of_anthropic) in [
            (ToolChoice::Auto, json!(null), json!({"type": "auto", "disable_parallel_tool_use": true})),
            (ToolChoice::None, json!("none"), json!({"type": "none"})),
            (ToolChoice::Required, json!("required"), json!({"type": "any", "disable_parallel_tool_use": true})),
            (
                ToolChoice::Named("f".into()),
                function,
                json!({"type": "tool", "name": "f", "disable_parallel_tool_use": true}),
            ),
        ] {
            let forced = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
            let offered = choice != ToolChoice::None;
            request.tool_choice = choice;
            let body = openai::request_body("m", &request, &openai::Dialect::default());
            assert_eq!(body["tool_choice"], of_openai);
            assert_eq!(body["tools"][0]["function"]["name"], "f");
            assert_eq!(
                (&body["tools"][0]["function"]["strict"], &body["parallel_tool_calls"]),
                (&json!(true), &json!(false))
            );
            let body = anthropic::request_body("m", &request, true, false);
            assert_eq!(body["tool_choice"], of_anthropic);
            assert_eq!(body.get("thinking").is_none(), forced, "a forced call allows no thought");
            assert_eq!(ollama::request_body("m", &request, None).get("tools").is_some(), offered);
        }
        let body = openai::request_body("m", &request, &openai::Dialect::default());
        let keys = ["temperature", "top_p", "frequency_penalty", "presence_penalty", "seed"];
        assert_eq!(keys.map(|key| body[key].clone()), [json!(1.5), json!(0.5), json!(-1.0), json!(1.0), json!(-3)]);
        assert_eq!((&body["stop"], &body["max_completion_tokens"]), (&json!(["END", " "]), &json!(7)));
        assert_eq!(body["response_format"]["type"], "json_schema");
        let body = anthropic::request_body("m", &request, false, false);
        assert_eq!((&body["temperature"], &body["stop_sequences"]), (&json!(1.0), &json!(["END"])));
        assert!(body.get("top_p").is_none() && body.get("seed").is_none());
        // Told in words where there is no field for it, and to a provider that has refused the field.
        let words = "It must fit this JSON schema:\n{\"type\":\"object\"}";
        assert!(body["system"][0]["text"].as_str().is_some_and(|text| text.ends_with(words)), "{body}");
        request.system = "S".into();
        request.sampling.format_in_words = true;
        let body = openai::request_body("m", &request, &openai::Dialect::default());
        let system = body["messages"][0]["content"].as_str().unwrap_or_default();
        assert!(system.starts_with("S\n\nAnswer with JSON") && system.ends_with(words), "{body}");
        assert!(body.get("response_format").is_none());
        // Without tools there is nothing that could be called.
        request.tools.clear();
        let body = openai::request_body("m", &request, &openai::Dialect::default());
        assert!(body.get("parallel_tool_calls").is_none());
        let body = ollama::request_body("m", &request, Some(9));
        let options = json!({"num_ctx": 9, "num_predict": 7, "temperature": 1.5, "top_p": 0.5,
            "frequency_penalty": -1.0, "presence_penalty": 1.0, "seed": -3, "stop": ["END", " "]});
        assert_eq!((&body["options"], &body["format"]), (&options, &json!({"type": "object"})));
    }

    #[test]
    fn calls_whose_thoughts_are_lost_are_answered_without_thinking() {
        use serde_json::json;
        let call = ToolCall { id: "1".into(), name: "f".into(), arguments: json!({}) };
        let result = Message::ToolResult { id: "1".into(), name: "f".into(), text: "r".into(), is_error: false };
        let thought = AssistantPart::Thinking { text: "t".into(), signature: Some("s".into()), redacted: false };
        for (parts, thinks) in
            [(vec![AssistantPart::ToolCall(call.clone())], false), (vec![thought, AssistantPart::ToolCall(call)], true)]
        {
            let messages = vec![Message::Assistant(parts), result.clone()];
            let request = ModelRequest { messages, max_tokens: 9, thinking: Thinking::Low, ..ModelRequest::default() };
            let body = super::super::anthropic::request_body("m", &request, true, false);
            assert_eq!(body.get("thinking").is_some(), thinks);
        }
    }

    #[test]
    fn thinking_names() {
        for (name, level) in Thinking::ALL {
            assert_eq!(Thinking::parse(name), Some(level));
            assert_eq!(level.name(), name);
        }
        assert_eq!(Thinking::parse(" HIGH "), Some(Thinking::High));
        assert_eq!(Thinking::parse("big"), None);
    }
}
