//! What a hook asks for: a line for the main session, or a turn of an agent. Read from a request's payload, or made by a
//! mapping; the error is the answer's text.

use serde_json::{Value, json};

use crate::limits;
use crate::text::untrusted;

#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Wake(Wake),
    Agent(Box<Turn>),
}

/// A text for the main session.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wake {
    pub text: String,
    pub next_heartbeat: bool,
}

/// A turn of an agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    pub message: String,
    pub name: Option<String>,
    pub agent_id: Option<String>,
    pub session_key: Option<String>,
    pub next_heartbeat: bool,
    pub deliver: bool,
    /// None: `last`.
    pub channel: Option<String>,
    pub to: Option<String>,
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub timeout_seconds: Option<u64>,
    /// The operator says that this text needs no fence.
    pub allow_unsafe_external_content: bool,
}

impl Wake {
    /// The payload of `/hooks/wake`.
    pub fn of(payload: &Value) -> Result<Wake, String> {
        let text = text(payload, "text").ok_or("text required")?;
        Ok(Wake { text, next_heartbeat: payload["mode"] == NEXT })
    }

    pub fn mode(&self) -> &'static str {
        mode(self.next_heartbeat)
    }
}

impl Turn {
    /// The payload of `/hooks/agent`. `channels` are those that a message can go to.
    pub fn of(payload: &Value, channels: &[&str]) -> Result<Turn, String> {
        let message = text(payload, "message").ok_or("message required")?;
        let channel = match payload.get("channel") {
            None => None,
            Some(Value::String(channel)) => Some(channel.trim().to_lowercase()),
            Some(_) => return Err(bad_channel(channels)),
        };
        let turn = Turn {
            message,
            name: text(payload, "name"),
            agent_id: text(payload, "agentId"),
            session_key: text(payload, "sessionKey"),
            next_heartbeat: payload["wakeMode"] == NEXT,
            deliver: payload["deliver"] != false,
            channel,
            to: text(payload, "to"),
            model: text(payload, "model"),
            thinking: text(payload, "thinking"),
            timeout_seconds: seconds(&payload["timeoutSeconds"]),
            allow_unsafe_external_content: false,
        };
        turn.check_channel(channels)?;
        if payload.get("model").is_some() && turn.model.is_none() {
            return Err("model required".into());
        }
        Ok(turn)
    }

    pub fn check_channel(&self, channels: &[&str]) -> Result<(), String> {
        match self.channel.as_deref() {
            None | Some("last") => Ok(()),
            Some(channel) if channels.contains(&channel) => Ok(()),
            Some(_) => Err(bad_channel(channels)),
        }
    }

    /// The name for people, on one line.
    pub fn shown_name(&self) -> String {
        let name = untrusted::one_line(self.name.as_deref().unwrap_or_default(), limits::HOOK_NAME_CHARS);
        if name.is_empty() { "Hook".to_owned() } else { name }
    }

    /// What two requests must have in common to be the same one.
    pub fn fingerprint(&self) -> Value {
        json!([
            self.message,
            self.name,
            self.agent_id,
            self.session_key,
            self.next_heartbeat,
            self.deliver,
            self.channel,
            self.to,
            self.model,
            self.thinking,
            self.timeout_seconds
        ])
    }
}

const NEXT: &str = "next-heartbeat";

pub fn mode(next_heartbeat: bool) -> &'static str {
    if next_heartbeat { NEXT } else { "now" }
}

/// Whole seconds; what is no number above one second is ignored.
pub fn seconds(value: &Value) -> Option<u64> {
    value.as_f64().filter(|n| n.is_finite() && *n >= 1.0).map(|n| n as u64)
}

fn text(payload: &Value, key: &str) -> Option<String> {
    payload.get(key)?.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn bad_channel(channels: &[&str]) -> String {
    let names: Vec<&str> = [&["last"], channels].concat();
    format!("channel must be {}", names.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes() {
        for (payload, want) in [
            (json!({"text": " hello ", "mode": "next-heartbeat"}), Ok(("hello", "next-heartbeat"))),
            (json!({"text": "hello"}), Ok(("hello", "now"))),
            (json!({"text": "hello", "mode": "zzz"}), Ok(("hello", "now"))),
            (json!({}), Err("text required")),
            (json!([1]), Err("text required")),
            (json!({"text": "  "}), Err("text required")),
            (json!({"text": 1}), Err("text required")),
        ] {
            let got = Wake::of(&payload);
            assert_eq!(got.as_ref().map(|w| (w.text.as_str(), w.mode())).map_err(String::as_str), want, "{payload}");
        }
    }

    #[test]
    fn turns() {
        let turn = Turn::of(
            &json!({"message": " m ", "name": " N ", "wakeMode": "next-heartbeat", "deliver": false, "channel": "last",
                "model": " a/b ", "timeoutSeconds": 12.9, "to": 5, "allowUnsafeExternalContent": true}),
            &[],
        );
        let want = Turn {
            message: "m".into(),
            name: Some("N".into()),
            next_heartbeat: true,
            channel: Some("last".into()),
            model: Some("a/b".into()),
            timeout_seconds: Some(12),
            ..Turn::default()
        };
        assert_eq!(turn, Ok(want), "a payload cannot take the fence away");
        for (payload, want) in [
            (json!({"name": "Email"}), "message required"),
            (json!({"message": "x", "channel": "fax"}), "channel must be last|telegram"),
            (json!({"message": "x", "channel": 5}), "channel must be last|telegram"),
            (json!({"message": "x", "channel": " Telegram "}), ""),
            (json!({"message": "x", "model": ""}), "model required"),
            (json!({"message": "x", "model": null}), "model required"),
            (json!({"message": "x", "model": 5}), "model required"),
        ] {
            assert_eq!(Turn::of(&payload, &["telegram"]).err().unwrap_or_default(), want, "{payload}");
        }
        for (value, want) in [
            (json!(0.5), None),
            (json!(-1), None),
            (json!("5"), None),
            (json!(1), Some(1)),
            (json!(1e300), Some(u64::MAX)),
        ] {
            assert_eq!(seconds(&value), want, "{value}");
        }
        assert_eq!(Turn { name: Some("\n\u{202e}".into()), ..Turn::default() }.shown_name(), "Hook");
    }
}
