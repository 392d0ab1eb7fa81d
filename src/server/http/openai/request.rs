//! What a client of `/v1/chat/completions` asks, read from its JSON (http 3.1, 3.4). Pure.
//!
//! Lenient: what is unknown, null or of another type than expected is passed over, unless the answer would then be
//! another one than was asked for. Refusals are texts for the client, all of them 400.

use serde_json::{Value, json};

use crate::agent::intake::{Image, sniff};
use crate::agent::models::wire::{
    AssistantPart, Message, Sampling, Thinking, ToolCall, ToolChoice, ToolSpec, UserPart, parse_arguments,
};
use crate::config::ImageRules;
use crate::ids::decode_base64;
use crate::server::http::openai::addresses::{Fetch, Kind};
use crate::server::http::openai::asked::Asked;

const NO_MESSAGE: &str = "Missing user message in `messages`.";
pub const IMAGE_ALONE: &str = "User sent image(s) with no text.";
/// Functions of one request.
const MAX_TOOLS: usize = 128;
const FUNCTION_NAME_CHARS: usize = 64;
const MAX_STOPS: usize = 4;
/// In place of an earlier image that is too much or cannot be read.
pub const IMAGE_LEFT_OUT: &str = "[image left out]";
/// The same for whatever else is attached.
pub const FILE_LEFT_OUT: &str = "[file left out]";

/// A chat request.
#[derive(Debug, Default, PartialEq)]
pub struct ChatRequest {
    pub model: Option<String>,
    pub user: Option<String>,
    pub stream: bool,
    pub include_usage: bool,
    pub asked: Asked,
}

/// Reads the body of a chat request.
pub fn chat_request(body: &Value, rules: &ImageRules, fetch: &mut Fetch<'_>) -> Result<ChatRequest, String> {
    let mut asked =
        Asked { thinking: effort(&body["reasoning_effort"]), sampling: sampling(body)?, ..Asked::default() };
    (asked.tools, asked.tool_choice) = tools(body).map_err(|why| format!("Invalid tools/tool_choice: {why}"))?;
    conversation(body, rules, fetch, &mut asked)?;
    Ok(ChatRequest {
        model: text_of(body, "model"),
        user: text_of(body, "user"),
        stream: body["stream"].as_bool().unwrap_or(false),
        include_usage: body["stream_options"]["include_usage"].as_bool().unwrap_or(false),
        asked,
    })
}

/// A text that is not empty, trimmed.
pub fn text_of(body: &Value, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

// ── Messages ───────────────────────────────────────────────────────────────────────────────────────────

fn conversation(body: &Value, rules: &ImageRules, fetch: &mut Fetch<'_>, asked: &mut Asked) -> Result<(), String> {
    let messages = body.get("messages").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut system: Vec<String> = Vec::new();
    let mut entries: Vec<(&'static str, &Value)> = Vec::new();
    for message in messages {
        let content = content_text(&message["content"]);
        match message["role"].as_str().unwrap_or_default() {
            "system" | "developer" if content.trim().is_empty() => {}
            "system" | "developer" => system.push(content.trim().to_owned()),
            "user" if content.trim().is_empty() && !has_attachment(&message["content"]) => {}
            "user" => entries.push(("user", message)),
            "assistant" => entries.push(("assistant", message)),
            "tool" | "function" => entries.push(("tool", message)),
            _ => {}
        }
    }
    asked.system = (!system.is_empty()).then(|| system.join("\n\n"));
    let current = entries.iter().rposition(|(role, _)| *role != "assistant").ok_or(NO_MESSAGE)?;
    asked.continues = entries[current].0 == "tool";
    let mut room = ImageRoom::new(rules);
    if !asked.continues {
        let content = &entries[current].1["content"];
        if let Some(kind) = not_read(content) {
            return Err(format!(
                "Parts of type `{kind}` are not read here: send text or `image_url`. `/v1/responses` reads text files."
            ));
        }
        for url in image_urls(content) {
            let image =
                room.take(url, fetch).map_err(|why| format!("Invalid image_url content in `messages`. {why}"))?;
            asked.images.push(image);
        }
        asked.message = content_text(content);
        if asked.message.trim().is_empty() {
            asked.message = IMAGE_ALONE.to_owned();
        }
    }
    let before = if asked.continues { current + 1 } else { current };
    asked.history = history(&entries[..before], &mut room, fetch);
    Ok(())
}

fn history(entries: &[(&'static str, &Value)], room: &mut ImageRoom<'_>, fetch: &mut Fetch<'_>) -> Vec<Message> {
    // What is newest gets its images first.
    let mut images: Vec<Vec<UserPart>> = entries
        .iter()
        .rev()
        .map(|(role, message)| match *role {
            "user" => image_urls(&message["content"])
                .map(|url| match room.take(url, fetch) {
                    Ok(Image { mime, data }) => UserPart::Image { mime, data },
                    Err(_) => UserPart::Text(IMAGE_LEFT_OUT.into()),
                })
                .collect(),
            _ => Vec::new(),
        })
        .collect();
    let mut calls: Vec<(String, String)> = Vec::new();
    let mut out = Vec::with_capacity(entries.len());
    for (role, message) in entries {
        let images = images.pop().unwrap_or_default();
        let text = content_text(&message["content"]);
        match *role {
            "user" => {
                let words = (!text.trim().is_empty()).then_some(UserPart::Text(text));
                let left_out = not_read(&message["content"]).map(|_| UserPart::Text(FILE_LEFT_OUT.into()));
                out.push(Message::User(words.into_iter().chain(images).chain(left_out).collect()));
            }
            "assistant" => {
                let words = (!text.is_empty()).then_some(AssistantPart::Text(text));
                let made = assistant_calls(message);
                calls.extend(made.iter().map(|call| (call.id.clone(), call.name.clone())));
                let parts: Vec<AssistantPart> =
                    words.into_iter().chain(made.into_iter().map(AssistantPart::ToolCall)).collect();
                if !parts.is_empty() {
                    out.push(Message::Assistant(parts));
                }
            }
            _ => {
                // The older `function` role knows only the name.
                let name = text_of(message, "name");
                let id = text_of(message, "tool_call_id")
                    .or_else(|| calls.iter().rev().find(|(_, n)| Some(n) == name.as_ref()).map(|(id, _)| id.clone()))
                    .or_else(|| name.clone())
                    .unwrap_or_default();
                let known = calls.iter().rev().find(|(known, _)| *known == id).map(|(_, name)| name.clone());
                let name = known.or(name).unwrap_or_default();
                out.push(Message::ToolResult { id, name, text, is_error: false });
            }
        }
    }
    out
}

/// A text, or the texts of parts, one per line.
pub fn content_text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| match part["type"].as_str() {
                    Some("text" | "input_text" | "output_text") => part["text"].as_str(),
                    Some("refusal") => part["refusal"].as_str(),
                    Some(_) => None,
                    None => part.as_str(),
                })
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn image_urls(content: &Value) -> impl Iterator<Item = &str> {
    content
        .as_array()
        .into_iter()
        .flatten()
        .filter(|part| part["type"] == "image_url")
        .map(|part| part["image_url"].as_str().or_else(|| part["image_url"]["url"].as_str()).unwrap_or_default())
}

/// Parts that are neither text nor image: what they say would be missing from the answer without a word.
const NOT_READ: [&str; 4] = ["file", "input_file", "input_audio", "video_url"];

fn has_attachment(content: &Value) -> bool {
    image_urls(content).next().is_some() || not_read(content).is_some()
}

/// Kind of the first such part.
fn not_read(content: &Value) -> Option<&str> {
    let mut kinds = content.as_array().into_iter().flatten().filter_map(|part| part["type"].as_str());
    kinds.find(|kind| NOT_READ.contains(kind))
}

fn assistant_calls(message: &Value) -> Vec<ToolCall> {
    let function = |id: &str, function: &Value| {
        let name = function["name"].as_str().filter(|name| !name.is_empty())?;
        let arguments = match &function["arguments"] {
            Value::String(text) => parse_arguments(text).ok().filter(Value::is_object),
            value => Some(value.clone()).filter(Value::is_object),
        };
        let arguments = arguments.unwrap_or_else(|| json!({}));
        Some(ToolCall { id: id.to_owned(), name: name.to_owned(), arguments })
    };
    let listed = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut calls: Vec<ToolCall> =
        listed.iter().filter_map(|call| function(call["id"].as_str().unwrap_or_default(), &call["function"])).collect();
    if calls.is_empty() {
        let old = &message["function_call"];
        calls.extend(function(old["name"].as_str().unwrap_or_default(), old));
    }
    calls
}

// ── Images ─────────────────────────────────────────────────────────────────────────────────────────────

/// What images may still take.
pub struct ImageRoom<'a> {
    rules: &'a ImageRules,
    parts: usize,
    bytes: usize,
}

impl<'a> ImageRoom<'a> {
    pub fn new(rules: &'a ImageRules) -> ImageRoom<'a> {
        ImageRoom { rules, parts: rules.max_parts, bytes: rules.max_total_bytes }
    }

    /// An image from its data URI, or from where its address leads.
    pub fn take(&mut self, url: &str, fetch: &mut Fetch<'_>) -> Result<Image, String> {
        if let Some((mime, data)) = data_uri(url) {
            return self.take_base64(mime, data);
        }
        self.check_number()?;
        let (content_type, bytes) = fetch(Kind::Image, url)?;
        self.take_bytes(content_type.split(';').next().unwrap_or_default(), bytes)
    }

    /// The same from base64.
    pub fn take_base64(&mut self, mime: &str, data: &str) -> Result<Image, String> {
        self.check_number()?;
        // Four characters hold three bytes: no need to decode what is too large anyway.
        let size = data.len() / 4 * 3;
        if size > self.rules.max_bytes.saturating_add(3) {
            return Err(format!("The image is larger than {} bytes.", self.rules.max_bytes));
        }
        let bytes = decode_base64(data).filter(|bytes| !bytes.is_empty()).ok_or("The image is not base64.")?;
        self.take_bytes(mime, bytes)
    }

    fn check_number(&self) -> Result<(), String> {
        if self.parts == 0 { Err(format!("More than {} images.", self.rules.max_parts)) } else { Ok(()) }
    }

    fn take_bytes(&mut self, mime: &str, bytes: Vec<u8>) -> Result<Image, String> {
        if bytes.len() > self.rules.max_bytes {
            return Err(format!("The image is larger than {} bytes.", self.rules.max_bytes));
        }
        let mime = sniff(&bytes).map_or_else(|| mime.trim().to_ascii_lowercase(), str::to_owned);
        let mime = if mime == "image/jpg" { "image/jpeg".to_owned() } else { mime };
        if !self.rules.mimes.contains(&mime) {
            return Err(format!("Images may be {}.", self.rules.mimes.join(", ")));
        }
        self.bytes = self
            .bytes
            .checked_sub(bytes.len())
            .ok_or_else(|| format!("The images are larger than {} bytes together.", self.rules.max_total_bytes))?;
        self.parts -= 1;
        use base64::Engine as _;
        Ok(Image { mime, data: base64::engine::general_purpose::STANDARD.encode(bytes) })
    }
}

/// Media type and base64 of a data URI.
pub fn data_uri(url: &str) -> Option<(&str, &str)> {
    let url = url.trim();
    let rest = url.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &url[5..])?;
    let (head, data) = rest.split_once(',')?;
    let mut words = head.split(';');
    let mime = words.next().unwrap_or_default();
    words.any(|word| word.trim().eq_ignore_ascii_case("base64")).then_some((mime, data))
}

// ── Functions ──────────────────────────────────────────────────────────────────────────────────────────

/// `tools` and `tool_choice`, nested as in chat or flat as in responses; `functions` and `function_call` are their older
/// names.
pub fn tools(body: &Value) -> Result<(Vec<ToolSpec>, ToolChoice), String> {
    let mut tools: Vec<ToolSpec> = Vec::new();
    let functions: Vec<&Value> = match (&body["tools"], &body["functions"]) {
        (Value::Array(list), _) => list
            .iter()
            // Other kinds are services of somebody else's.
            .filter(|tool| tool["type"].as_str().is_none_or(|kind| kind == "function"))
            .map(|tool| tool.get("function").unwrap_or(tool))
            .collect(),
        (Value::Null, Value::Array(list)) => list.iter().collect(),
        (Value::Null, _) => Vec::new(),
        _ => return Err("tools must be an array".to_owned()),
    };
    if functions.len() > MAX_TOOLS {
        return Err(format!("more than {MAX_TOOLS} tools were provided"));
    }
    for function in functions {
        let name = function["name"].as_str().unwrap_or_default().trim();
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if name.is_empty() || name.len() > FUNCTION_NAME_CHARS || !name.chars().all(legal) {
            let rule = "has 1 to 64 letters, digits, \"_\", \"-\" and \".\"";
            return Err(format!("the name of a function {rule}"));
        }
        let parameters = match &function["parameters"] {
            parameters @ Value::Object(_) => parameters.clone(),
            Value::Null => json!({"type": "object", "properties": {}}),
            _ => return Err(format!("the parameters of {name} must be a JSON schema")),
        };
        let description = function["description"].as_str().unwrap_or_default().to_owned();
        let strict = function["strict"].as_bool().unwrap_or(false);
        tools.push(ToolSpec { name: name.to_owned(), description, parameters, strict });
    }
    let given = body.get("tool_choice").filter(|choice| !choice.is_null()).unwrap_or(&body["function_call"]);
    let choice = match given {
        Value::Null => ToolChoice::Auto,
        Value::String(word) => match word.as_str() {
            "auto" => ToolChoice::Auto,
            "none" => ToolChoice::None,
            "required" | "any" => ToolChoice::Required,
            _ => return Err("tool_choice is auto, none, required, or names a function".to_owned()),
        },
        object => {
            let name = object["function"]["name"].as_str().or_else(|| object["name"].as_str());
            let name = name.ok_or_else(|| "tool_choice is auto, none, required, or names a function".to_owned())?;
            if !tools.is_empty() && !tools.iter().any(|tool| tool.name == name) {
                return Err(format!("tool_choice names {name}, which is not among the tools"));
            }
            ToolChoice::Named(name.to_owned())
        }
    };
    if tools.is_empty() && matches!(choice, ToolChoice::Required | ToolChoice::Named(_)) {
        return Err("tool_choice=required but no tools were provided".to_owned());
    }
    Ok((tools, choice))
}

// ── Sampling ───────────────────────────────────────────────────────────────────────────────────────────

/// How the model is to pick its words.
pub fn sampling(body: &Value) -> Result<Sampling, String> {
    let number = |key: &str, least: f64, most: f64| match &body[key] {
        Value::Null => Ok(None),
        value => match value.as_f64().filter(|n| (least..=most).contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(format!("`{key}` must be a number between {least} and {most}.")),
        },
    };
    let whole = |key: &str| match &body[key] {
        Value::Null => Ok(None),
        // Some languages have one kind of number: 5.0 is 5.
        value => value
            .as_i64()
            .or_else(|| value.as_f64().and_then(integer))
            .map(Some)
            .ok_or_else(|| format!("`{key}` must be an integer.")),
    };
    let limit = |key: &str| match whole(key)? {
        Some(n) => u64::try_from(n).ok().filter(|n| *n > 0).map(Some).ok_or(format!("`{key}` must be at least 1.")),
        None => Ok(None),
    };
    let stop = match &body["stop"] {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(list) if list.len() <= MAX_STOPS && list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => return Err(format!("`stop` must be a string or an array of at most {MAX_STOPS} strings.")),
    };
    let newer = limit("max_completion_tokens")?;
    Ok(Sampling {
        temperature: number("temperature", 0.0, 2.0)?,
        top_p: number("top_p", 0.0, 1.0)?,
        frequency_penalty: number("frequency_penalty", -2.0, 2.0)?,
        presence_penalty: number("presence_penalty", -2.0, 2.0)?,
        seed: whole("seed")?,
        stop: stop.into_iter().filter(|text| !text.is_empty()).collect(),
        max_tokens: if newer.is_some() { newer } else { limit("max_tokens")? },
        parallel_calls: body["parallel_tool_calls"].as_bool(),
        format_in_words: false,
        response_format: body
            .get("response_format")
            .filter(|f| f["type"].as_str().is_some_and(|t| t != "text"))
            .cloned(),
    })
}

fn integer(number: f64) -> Option<i64> {
    // Up to where every integer is a number of this kind.
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// How hard the model is to think, by OpenAI's words; what is unknown leaves it to the agent.
pub fn effort(word: &Value) -> Option<Thinking> {
    match word.as_str()? {
        "none" => Some(Thinking::Off),
        word => Thinking::parse(word),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
