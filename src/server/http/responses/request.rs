//! What a client of `/v1/responses` asks, read from its JSON (http 4.1, 4.4). Pure; what stands at an address is fetched
//! by whoever calls.
//!
//! Lenient as chat is: both forms of tools, of images and of messages are read, what is unknown is passed over.

use serde_json::{Value, json};

use crate::agent::intake::Image;
use crate::agent::models::wire::{
    AssistantPart, Message, Sampling, ToolCall, ToolChoice, UserPart, cut_chars, parse_arguments,
};
use crate::config::{FileRules, ResponsesEndpoint};
use crate::ids::decode_base64;
use crate::server::http::openai::addresses::{Fetch, Kind};
use crate::server::http::openai::asked::Asked;
use crate::server::http::openai::request::{
    self, FILE_LEFT_OUT, IMAGE_ALONE, IMAGE_LEFT_OUT, ImageRoom, content_text, data_uri, text_of,
};
use crate::text::{charset, untrusted};

const NO_MESSAGE: &str = "Missing user message in `input`.";
const FILE_ALONE: &str = "User sent file(s) with no text.";
const FILE_NAME_CHARS: usize = 200;

/// The model that is asked for.
pub fn model(body: &Value) -> Result<String, String> {
    let received = match body.get("model") {
        Some(Value::String(model)) if !model.trim().is_empty() => return Ok(model.trim().to_owned()),
        Some(Value::String(_)) => return Err("model: Too small: expected string to have >=1 characters".into()),
        None => "undefined",
        Some(Value::Null) => "null",
        Some(Value::Bool(_)) => "boolean",
        Some(Value::Number(_)) => "number",
        Some(Value::Array(_)) => "array",
        Some(Value::Object(_)) => "object",
    };
    Err(format!("model: Invalid input: expected string, received {received}"))
}

/// What stands behind an `item_reference`, None when nothing is known of it.
pub type Refer<'a> = dyn FnMut(&str) -> Option<AssistantPart> + 'a;

/// Reads the body of a request that goes on with `past`. `fence` marks the words of files, drawn anew for each request.
pub fn responses_request(
    body: &Value,
    past: Vec<Message>,
    rules: &ResponsesEndpoint,
    fence: &str,
    refer: &mut Refer<'_>,
    fetch: &mut Fetch<'_>,
) -> Result<Asked, String> {
    let mut request = Asked {
        thinking: request::effort(&body["reasoning"]["effort"]),
        sampling: sampling(body)?,
        history: past,
        ..Asked::default()
    };
    (request.tools, request.tool_choice) =
        request::tools(body).map_err(|why| format!("invalid tool configuration: {why}"))?;
    let (items, system) = items(&body["input"], refer);
    let demand = match &request.tool_choice {
        ToolChoice::Required => Some("You must call one of the available tools before responding.".to_owned()),
        ToolChoice::Named(name) => Some(format!("You must call the {name} tool before responding.")),
        ToolChoice::Auto | ToolChoice::None => None,
    };
    let system: Vec<String> = text_of(body, "instructions").into_iter().chain(system).chain(demand).collect();
    request.system = (!system.is_empty()).then(|| system.join("\n\n"));

    let current = items.iter().rposition(Item::asks).ok_or(NO_MESSAGE)?;
    request.continues = matches!(items[current], Item::Output { .. });
    let mut bags = attachments(&items[..=current], rules, fence, fetch)?;
    let files: Vec<String> = bags.iter_mut().flat_map(|bag| std::mem::take(&mut bag.files)).collect();
    request.files = (!files.is_empty()).then(|| files.join("\n\n"));
    if !request.continues
        && let (Item::User(content), Some(bag)) = (&items[current], bags.pop())
    {
        request.message = content_text(content);
        let alone = if bag.images.is_empty() { FILE_ALONE } else { IMAGE_ALONE };
        if request.message.trim().is_empty() {
            request.message = alone.to_owned();
        }
        request.images = bag.images;
    }
    let before = if request.continues { current + 1 } else { current };
    add_history(&mut request.history, &items[..before], bags);
    Ok(request)
}

// ── Items ──────────────────────────────────────────────────────────────────────────────────────────────

/// What the conversation consists of.
enum Item<'a> {
    /// Content of a message.
    User(&'a Value),
    /// Without words: an answer that is referred to, and not known here.
    Assistant(String),
    Call(ToolCall),
    Output {
        id: String,
        text: String,
    },
}

impl Item<'_> {
    /// It wants an answer.
    fn asks(&self) -> bool {
        matches!(self, Item::User(_) | Item::Output { .. })
    }
}

/// The items, and what system and developer messages say.
fn items<'a>(input: &'a Value, refer: &mut Refer<'_>) -> (Vec<Item<'a>>, Vec<String>) {
    let mut system = Vec::new();
    let mut items = Vec::new();
    let list = match input {
        Value::Array(list) => list.as_slice(),
        Value::String(text) if !text.trim().is_empty() => return (vec![Item::User(input)], system),
        _ => &[],
    };
    for item in list {
        if let Some(id) = reference(item) {
            match refer(id) {
                Some(AssistantPart::Text(text)) => items.push(Item::Assistant(text)),
                Some(AssistantPart::ToolCall(call)) => items.push(Item::Call(call)),
                // A session may hold it; what stands behind it was said since.
                _ if id.starts_with("msg_") => items.push(Item::Assistant(String::new())),
                _ => {}
            }
            continue;
        }
        match item["type"].as_str() {
            None | Some("message") => {}
            Some("function_call") => {
                items.extend(call(item).map(Item::Call));
                continue;
            }
            Some("function_call_output") => {
                let id = text_of(item, "call_id").or_else(|| text_of(item, "id")).unwrap_or_default();
                items.push(Item::Output { id, text: output(&item["output"]) });
                continue;
            }
            // Reasoning is of no use to another model; the rest is somebody else's service.
            Some(_) => continue,
        }
        let content = &item["content"];
        let text = content_text(content);
        match item["role"].as_str().unwrap_or("user") {
            "system" | "developer" if text.trim().is_empty() => {}
            "system" | "developer" => system.push(text.trim().to_owned()),
            "assistant" if !text.is_empty() => items.push(Item::Assistant(text)),
            "user" if !text.trim().is_empty() || parts(content).next().is_some() => items.push(Item::User(content)),
            _ => {}
        }
    }
    (items, system)
}

/// The id of an item that a client had from here, in place of the item; `type` may be left out.
fn reference(item: &Value) -> Option<&str> {
    let bare = item["type"].is_null() && item["role"].is_null() && item["content"].is_null();
    item["id"].as_str().filter(|_| bare || item["type"] == "item_reference")
}

fn call(item: &Value) -> Option<ToolCall> {
    let name = text_of(item, "name")?;
    let id = text_of(item, "call_id").or_else(|| text_of(item, "id")).unwrap_or_default();
    let arguments = match &item["arguments"] {
        Value::String(text) => parse_arguments(text).ok(),
        value => Some(value.clone()),
    };
    let arguments = arguments.filter(Value::is_object).unwrap_or_else(|| json!({}));
    Some(ToolCall { id, name, arguments })
}

/// A text, texts in parts, or whatever JSON a client sends in its place.
fn output(output: &Value) -> String {
    match output {
        Value::Null => String::new(),
        Value::String(_) => content_text(output),
        Value::Array(parts) if parts.iter().all(|part| part["text"].is_string()) => content_text(output),
        other => other.to_string(),
    }
}

fn add_history(history: &mut Vec<Message>, items: &[Item<'_>], bags: Vec<Bag>) {
    // What an assistant says and calls in one go is one message.
    let mut speaks = false;
    for (item, bag) in items.iter().zip(bags) {
        match item {
            Item::User(content) => {
                let text = content_text(content);
                let words = (!text.trim().is_empty()).then_some(UserPart::Text(text));
                let left_out = bag.left_out.into_iter().map(|note| UserPart::Text(note.to_owned()));
                let images = bag.images.into_iter().map(|Image { mime, data }| UserPart::Image { mime, data });
                let mut parts: Vec<UserPart> = words.into_iter().chain(images).chain(left_out).collect();
                if parts.is_empty() {
                    parts.push(UserPart::Text(FILE_ALONE.to_owned()));
                }
                history.push(Message::User(parts));
            }
            Item::Assistant(text) => {
                let words = (!text.is_empty()).then(|| AssistantPart::Text(text.clone()));
                add_spoken(history, &mut speaks, words);
            }
            Item::Call(call) => add_spoken(history, &mut speaks, Some(AssistantPart::ToolCall(call.clone()))),
            Item::Output { id, text } => {
                let name = name_of_call(history, id).unwrap_or_default();
                history.push(Message::ToolResult { id: id.clone(), name, text: text.clone(), is_error: false });
            }
        }
        speaks &= !item.asks();
    }
}

fn add_spoken(history: &mut Vec<Message>, speaks: &mut bool, part: Option<AssistantPart>) {
    match history.last_mut() {
        Some(Message::Assistant(parts)) if *speaks => parts.extend(part),
        _ => history.push(Message::Assistant(part.into_iter().collect())),
    }
    *speaks = true;
}

fn name_of_call(history: &[Message], id: &str) -> Option<String> {
    history.iter().rev().find_map(|message| match message {
        Message::Assistant(parts) => parts.iter().find_map(|part| match part {
            AssistantPart::ToolCall(call) if call.id == id => Some(call.name.clone()),
            _ => None,
        }),
        _ => None,
    })
}

// ── Images and files ───────────────────────────────────────────────────────────────────────────────────

/// What one item brings beside its words.
#[derive(Default)]
struct Bag {
    images: Vec<Image>,
    files: Vec<String>,
    left_out: Vec<&'static str>,
}

/// Where a part has its bytes.
enum Source<'a> {
    Url(&'a str),
    /// Media type or nothing, base64.
    Data(&'a str, &'a str),
}

/// One bag per item. The newest comes first where there is not room for all, and must be complete.
fn attachments(
    items: &[Item<'_>],
    rules: &ResponsesEndpoint,
    fence: &str,
    fetch: &mut Fetch<'_>,
) -> Result<Vec<Bag>, String> {
    let mut room = ImageRoom::new(&rules.images);
    let mut bags = Vec::with_capacity(items.len());
    for (item, last) in items.iter().rev().zip(std::iter::once(true).chain(std::iter::repeat(false))) {
        let mut bag = Bag::default();
        if let Item::User(content) = item {
            for (kind, part) in parts(content) {
                let left_out = match kind {
                    Kind::Image => image(part, &mut room, fetch).map(|image| bag.images.push(image)),
                    Kind::File => file(part, &rules.files, fence, fetch).map(|file| bag.files.push(file)),
                };
                match (left_out, kind) {
                    (Err(why), _) if last => return Err(format!("invalid request: {why}")),
                    (Err(_), Kind::Image) => bag.left_out.push(IMAGE_LEFT_OUT),
                    (Err(_), Kind::File) => bag.left_out.push(FILE_LEFT_OUT),
                    (Ok(()), _) => {}
                }
            }
        }
        bags.push(bag);
    }
    bags.reverse();
    Ok(bags)
}

fn parts(content: &Value) -> impl Iterator<Item = (Kind, &Value)> {
    content.as_array().into_iter().flatten().filter_map(|part| match part["type"].as_str()? {
        "input_image" | "image_url" => Some((Kind::Image, part)),
        "input_file" => Some((Kind::File, part)),
        _ => None,
    })
}

/// `urls` and `data` are the keys of this kind of part beside `source`.
fn source<'a>(part: &'a Value, urls: &str, data: &str) -> Result<Source<'a>, String> {
    let text = |value: &'a Value| value.as_str().map(str::trim).filter(|text| !text.is_empty());
    let given = &part["source"];
    let url = text(&part[urls]).or_else(|| text(&part[urls]["url"])).or_else(|| text(&given["url"]));
    if let Some(url) = url {
        return Ok(data_uri(url).map_or(Source::Url(url), |(mime, data)| Source::Data(mime, data)));
    }
    if let Some(base64) = text(&given["data"]).or_else(|| text(&part[data])) {
        let mime = text(&given["media_type"]).unwrap_or_default();
        return Ok(data_uri(base64).map_or(Source::Data(mime, base64), |(mime, data)| Source::Data(mime, data)));
    }
    if part["file_id"].is_string() {
        return Err("file_id: no files are kept here; send the content itself.".into());
    }
    Err(format!("the part has no content; give it in `source`, `{urls}` or `{data}`."))
}

fn image(part: &Value, room: &mut ImageRoom<'_>, fetch: &mut Fetch<'_>) -> Result<Image, String> {
    match source(part, "image_url", "data")? {
        Source::Data(mime, data) => room.take_base64(mime, data),
        Source::Url(url) => room.take(url, fetch),
    }
}

/// The words of a file for the system prompt.
fn file(part: &Value, rules: &FileRules, fence: &str, fetch: &mut Fetch<'_>) -> Result<String, String> {
    let source = source(part, "file_url", "file_data")?;
    let name = text_of(part, "filename").or_else(|| text_of(&part["source"], "filename"));
    let name = name.or_else(|| match source {
        Source::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            path.split_once("://").and_then(|(_, rest)| rest.rsplit_once('/')).map(|(_, last)| last.to_owned())
        }
        Source::Data(..) => None,
    });
    let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| "file".to_owned());
    let too_large = || format!("the file is larger than {} bytes.", rules.max_bytes);
    let (content_type, bytes) = match source {
        Source::Url(url) => fetch(Kind::File, url)?,
        Source::Data(_, data) if data.len() / 4 * 3 > rules.max_bytes.saturating_add(3) => return Err(too_large()),
        Source::Data(mime, data) => {
            let bytes = decode_base64(data).ok_or("the file is not base64.")?;
            (mime.to_owned(), bytes)
        }
    };
    if bytes.len() > rules.max_bytes {
        return Err(too_large());
    }
    let mime = match media_type(&content_type).to_ascii_lowercase() {
        // Says nothing.
        mime if mime.is_empty() || mime == "application/octet-stream" => by_name(&name).unwrap_or(mime),
        mime => mime,
    };
    if mime == "application/pdf" || bytes.starts_with(b"%PDF-") {
        return Err("PDF files cannot be read here; send the text, or the pages as images.".into());
    }
    if !rules.mimes.contains(&mime) {
        let readable: Vec<&str> = rules.mimes.iter().map(String::as_str).filter(|m| *m != "application/pdf").collect();
        let given = if mime.is_empty() { "unknown" } else { &mime };
        return Err(format!("files of type {given} cannot be read; they may be {}.", readable.join(", ")));
    }
    let text = charset::decode(&bytes, &content_type);
    let text = untrusted::wrap(cut_chars(&text, rules.max_chars), "File", fence, true);
    Ok(format!("<file name=\"{}\">\n{text}\n</file>", attribute(&name)))
}

/// Without its parameters.
fn media_type(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn by_name(name: &str) -> Option<String> {
    let (_, ending) = name.rsplit_once('.')?;
    let mime = match ending.to_ascii_lowercase().as_str() {
        "txt" | "text" | "log" => "text/plain",
        "md" | "markdown" => "text/markdown",
        "html" | "htm" => "text/html",
        "csv" => "text/csv",
        "json" => "application/json",
        "pdf" => "application/pdf",
        _ => return None,
    };
    Some(mime.to_owned())
}

/// A name that stays between its quotes.
fn attribute(name: &str) -> String {
    let name = name.chars().filter(|c| !c.is_control() && !untrusted::is_invisible(*c));
    let escaped = name.take(FILE_NAME_CHARS).map(|c| match c {
        '&' => "&amp;".to_owned(),
        '"' => "&quot;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        c => c.to_string(),
    });
    escaped.collect()
}

// ── Sampling ───────────────────────────────────────────────────────────────────────────────────────────

fn sampling(body: &Value) -> Result<Sampling, String> {
    let max_tokens = match &body["max_output_tokens"] {
        Value::Null => None,
        value => {
            let most = value.as_u64().filter(|n| *n > 0);
            Some(most.ok_or("`max_output_tokens` must be an integer of at least 1.")?)
        }
    };
    let format = &body["text"]["format"];
    let response_format = match format["type"].as_str() {
        // Flat here, nested in chat.
        Some("json_schema") => Some(json!({"type": "json_schema", "json_schema": without_type(format)})),
        Some("json_object") => Some(json!({"type": "json_object"})),
        _ => None,
    };
    Ok(Sampling { max_tokens, response_format, ..request::sampling(body)? })
}

fn without_type(format: &Value) -> Value {
    let mut format = format.clone();
    if let Some(object) = format.as_object_mut() {
        object.remove("type");
    }
    format
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
