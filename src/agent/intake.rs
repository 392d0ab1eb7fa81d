//! What a client may hand in: parameters, message texts, attachments, stop phrases, reset commands (protocol 8, 9).
//! Pure checks with the literal error texts.

use serde_json::Value;

use super::models::wire::Thinking;
use crate::ids::decode_base64;
use crate::limits::{ATTACHMENT_BYTES, IDEMPOTENCY_KEY_CHARS};
use crate::protocol::ErrorShape;
use crate::protocol::params::agent::AgentParams;

/// An image of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub mime: String,
    /// Standard base64.
    pub data: String,
}

/// Channels that exist in the field; none of them works in this build (protocol 8, "unknown channel").
const CHANNELS: [&str; 25] = [
    "last",
    "webchat",
    "whatsapp",
    "telegram",
    "discord",
    "irc",
    "googlechat",
    "slack",
    "signal",
    "imessage",
    "bluebubbles",
    "msteams",
    "matrix",
    "mattermost",
    "nostr",
    "line",
    "zalo",
    "zalouser",
    "feishu",
    "tlon",
    "twitch",
    "synology-chat",
    "nextcloud-talk",
    "lark",
    "internal",
];

/// Whole messages that stop what runs in the session (agent 13), compared without case, end punctuation and
/// superfluous blanks.
const STOP_PHRASES: [&str; 42] = [
    "/stop",
    "stop",
    "esc",
    "abort",
    "wait",
    "exit",
    "interrupt",
    "halt",
    "please stop",
    "stop please",
    "stop run",
    "stop current run",
    "stop action",
    "stop current action",
    "stop agent",
    "stop the agent",
    "stop openclaw",
    "openclaw stop",
    "stop doing anything",
    "stop do not do anything",
    "stop don't do anything",
    "do not do that",
    "detente",
    "deten",
    "detén",
    "arrete",
    "arrête",
    "stopp",
    "pare",
    "anhalten",
    "aufhören",
    "hör auf",
    "停止",
    "やめて",
    "止めて",
    "रुको",
    "توقف",
    "стоп",
    "остановись",
    "останови",
    "остановить",
    "прекрати",
];

/// `/new` or `/reset`, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reset {
    pub rest: String,
    /// `/new` may name a model.
    pub new: bool,
}

/// Refuses null bytes, drops control characters other than tab, LF and CR.
pub fn clean_message(text: &str) -> Result<String, ErrorShape> {
    if text.contains('\0') {
        return Err(ErrorShape::invalid("message must not contain null bytes"));
    }
    Ok(text.chars().filter(|c| matches!(c, '\t' | '\n' | '\r') || !c.is_control()).collect())
}

/// The idempotency key becomes the run's id and part of every event.
pub fn check_key(method: &str, key: &str) -> Result<(), ErrorShape> {
    if key.trim().is_empty() || key.chars().count() > IDEMPOTENCY_KEY_CHARS {
        let text =
            format!("invalid {method} params: at /idempotencyKey: must have 1 to {IDEMPOTENCY_KEY_CHARS} characters");
        return Err(ErrorShape::invalid(text));
    }
    Ok(())
}

pub fn check_thinking(method: &str, level: Option<&str>) -> Result<Option<Thinking>, ErrorShape> {
    let Some(text) = level.map(str::trim).filter(|t| !t.is_empty()) else { return Ok(None) };
    let unknown = || {
        let names: Vec<&str> = Thinking::ALL.iter().map(|(name, _)| *name).collect();
        ErrorShape::invalid(format!(
            "invalid {method} params: unknown thinking level \"{text}\" (use {})",
            names.join("|")
        ))
    };
    Thinking::parse(text).map(Some).ok_or_else(unknown)
}

/// Channel names and delivery of an `agent` request; this build has no channels to deliver to.
pub fn check_delivery(params: &AgentParams) -> Result<(), ErrorShape> {
    for name in [&params.channel, &params.reply_channel].into_iter().flatten() {
        let name = name.trim().to_lowercase();
        if !name.is_empty() && !CHANNELS.contains(&name.as_str()) {
            return Err(ErrorShape::invalid(format!("invalid agent params: unknown channel: {name}")));
        }
    }
    if params.deliver != Some(true) || params.best_effort_deliver == Some(true) {
        return Ok(());
    }
    let named = params.channel.as_ref().or(params.reply_channel.as_ref()).map(|c| c.trim().to_lowercase());
    Err(ErrorShape::invalid(match named.as_deref() {
        Some("webchat" | "internal") => {
            "delivery channel is required: pass --channel/--reply-channel or use a main session with a previous channel"
        }
        _ => "Error: Channel is required (no configured channels detected).",
    }))
}

pub fn is_stop(message: &str) -> bool {
    let text = message.trim().to_lowercase().replace('’', "'");
    let text = text.trim_end_matches(|c: char| ".!?…,;:'\")]}。！？".contains(c));
    let text: Vec<&str> = text.split_whitespace().collect();
    STOP_PHRASES.contains(&text.join(" ").as_str())
}

pub fn reset_command(message: &str) -> Option<Reset> {
    let text = message.trim();
    let end = text.find(|c: char| c.is_whitespace() || c == ':').unwrap_or(text.len());
    let (command, rest) = text.split_at(end);
    let new = command.eq_ignore_ascii_case("/new");
    if !new && !command.eq_ignore_ascii_case("/reset") {
        return None;
    }
    Some(Reset { rest: rest.trim_start_matches(':').trim().to_owned(), new })
}

/// Images among the attachments; other files are dropped with one log line each.
pub fn images(attachments: &[Value]) -> Result<Vec<Image>, ErrorShape> {
    let mut out = Vec::new();
    for (n, attachment) in attachments.iter().enumerate() {
        let text = |key: &str| attachment.get(key).and_then(Value::as_str).filter(|t| !t.is_empty());
        let label = text("fileName").or(text("type")).map_or_else(|| format!("attachment-{}", n + 1), str::to_owned);
        let label: String = label.chars().take(120).collect();
        let refuse = |what: String| ErrorShape::invalid(format!("Error: attachment {label}: {what}"));
        let Some(content) = attachment.get("content").and_then(Value::as_str) else {
            return Err(refuse("content must be base64 string".into()));
        };
        let (declared, data) = match content.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
            Some((mime, data)) => (Some(mime), data),
            None => (None, content),
        };
        let data = data.trim();
        // Four characters hold three bytes: no need to decode what is too large anyway.
        let size = data.len() / 4 * 3;
        if size > ATTACHMENT_BYTES + 3 {
            return Err(refuse(format!("exceeds size limit ({size} > {ATTACHMENT_BYTES} bytes)")));
        }
        let bytes = decode_base64(data).filter(|b| !b.is_empty());
        let Some(bytes) = bytes else { return Err(refuse("invalid base64 content".into())) };
        if bytes.len() > ATTACHMENT_BYTES {
            return Err(refuse(format!("exceeds size limit ({} > {ATTACHMENT_BYTES} bytes)", bytes.len())));
        }
        let mime = sniff(&bytes).map(str::to_owned).or_else(|| {
            let given = text("mimeType").or(declared).unwrap_or_default().trim().to_lowercase();
            given.starts_with("image/").then_some(given)
        });
        match mime {
            Some(mime) => {
                use base64::Engine as _;
                out.push(Image { mime, data: base64::engine::general_purpose::STANDARD.encode(&bytes) });
            }
            None => log::warn!("attachment {label}: not an image, left out"),
        }
    }
    Ok(out)
}

/// Image type by its first bytes.
pub fn sniff(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn messages() {
        assert_eq!(clean_message("a\u{7}b\tc\r\nd\u{85}").unwrap(), "ab\tc\r\nd");
        assert_eq!(clean_message("a\0").unwrap_err().message, "message must not contain null bytes");
    }

    #[test]
    fn stop_phrases() {
        for text in ["/stop", " STOP! ", "Stop.", "please  stop", "detén", "Hör auf!!", "stop don’t do anything"] {
            assert!(is_stop(text), "{text}");
        }
        for text in ["", "stop the music", "don't stop", "/stopp", "nonstop"] {
            assert!(!is_stop(text), "{text}");
        }
    }

    #[test]
    fn reset_commands() {
        let reset = |rest: &str, new| Some(Reset { rest: rest.into(), new });
        for (text, want) in [
            ("/new", reset("", true)),
            ("/RESET hello there", reset("hello there", false)),
            ("/new: openai/gpt-5", reset("openai/gpt-5", true)),
            ("/newer", None),
            ("new", None),
            ("say /new", None),
        ] {
            assert_eq!(reset_command(text), want, "{text}");
        }
    }

    #[test]
    fn attachments() {
        let png = "iVBORw0KGgo=";
        let of = |value: Value| images(&[value]).map_err(|e| e.message);
        let image = |mime: &str| Ok(vec![Image { mime: mime.into(), data: png.into() }]);
        assert_eq!(of(json!({"type": "image", "mimeType": "image/jpeg", "content": png})), image("image/png"));
        assert_eq!(of(json!({"content": format!("data:image/png;base64,{png}")})), image("image/png"));
        assert_eq!(of(json!({"type": "file", "mimeType": "text/plain", "content": "aGVsbG8="})), Ok(vec![]));
        assert_eq!(
            of(json!({"type": "image", "content": "not base64!"})),
            Err("Error: attachment image: invalid base64 content".into())
        );
        assert_eq!(
            of(json!({"fileName": "a.png"})),
            Err("Error: attachment a.png: content must be base64 string".into())
        );
        assert_eq!(of(json!(7)), Err("Error: attachment attachment-1: content must be base64 string".into()));
        let big = "A".repeat(ATTACHMENT_BYTES / 3 * 4 + 16);
        assert!(of(json!({"content": big})).unwrap_err().contains("exceeds size limit"));
    }

    #[test]
    fn deliveries() {
        let check = |params: AgentParams| check_delivery(&params).map_err(|e| e.message);
        let named = |name: &str| Some(name.to_owned());
        assert_eq!(check(AgentParams { channel: named("telegram"), ..AgentParams::default() }), Ok(()));
        assert_eq!(
            check(AgentParams { channel: named("Pigeon"), ..AgentParams::default() }),
            Err("invalid agent params: unknown channel: pigeon".into())
        );
        assert_eq!(
            check(AgentParams { deliver: Some(true), ..AgentParams::default() }),
            Err("Error: Channel is required (no configured channels detected).".into())
        );
        let soft = AgentParams { deliver: Some(true), best_effort_deliver: Some(true), ..AgentParams::default() };
        assert_eq!(check(soft), Ok(()));
    }

    #[test]
    fn keys_and_levels() {
        assert!(check_key("agent", "k").is_ok());
        assert!(check_key("agent", " ").is_err() && check_key("agent", &"k".repeat(600)).is_err());
        assert_eq!(check_thinking("agent", Some("High")).unwrap(), Some(Thinking::High));
        assert!(check_thinking("agent", Some("big")).unwrap_err().message.contains("\"big\""));
    }
}
