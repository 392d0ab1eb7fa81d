//! The time that user texts are stored with, and how it is taken off again for people (DECISIONS 57). Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Deserialize;

/// What the reference puts before the texts of `chat.send`; we only read it.
const SENDER_BLOCK: &str = "Sender (untrusted metadata):\n```json\n";
const SENDER_BLOCK_END: &str = "\n```";
/// Queued system events stand before everything else, one per line.
const SYSTEM_LINE: &str = "System: [";

/// A stored user text as it was typed (system lines stay).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserText<'a> {
    pub text: Cow<'a, str>,
    /// From the reference's sender block.
    pub sender_label: Option<String>,
}

/// `[Fri 2026-11-20 21:08 UTC] text`, the way user texts are stored.
pub fn with_time_prefix(text: &str, now_ms: u64, zone: &TimeZone) -> String {
    let now = i64::try_from(now_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    let now = now.to_zoned(zone.clone());
    format!("[{}] {text}", now.strftime("%a %Y-%m-%d %H:%M %Z"))
}

/// Takes the time and the reference's sender block off again.
pub fn strip_prefixes(stored: &str) -> UserText<'_> {
    let body = skip_system_lines(stored);
    let head = &stored[..stored.len() - body.len()];
    let (rest, sender_label) = strip_sender(body);
    let rest = strip_time(rest);
    let text = if head.is_empty() || rest.len() == body.len() {
        Cow::Borrowed(if head.is_empty() { rest } else { stored })
    } else {
        Cow::Owned(format!("{head}{rest}"))
    };
    UserText { text, sender_label }
}

/// What follows the leading `System:` lines and their blank line.
fn skip_system_lines(stored: &str) -> &str {
    let mut body = stored;
    while body.starts_with(SYSTEM_LINE) {
        body = body.split_once('\n').map_or("", |(_, rest)| rest);
    }
    if body.len() == stored.len() { body } else { body.trim_start_matches('\n') }
}

fn strip_sender(text: &str) -> (&str, Option<String>) {
    #[derive(Deserialize)]
    struct Sender {
        label: Option<String>,
    }
    let Some((json, rest)) = text.strip_prefix(SENDER_BLOCK).and_then(|t| t.split_once(SENDER_BLOCK_END)) else {
        return (text, None);
    };
    match serde_json::from_str::<Sender>(json) {
        Ok(sender) => (rest.trim_start_matches('\n'), sender.label.filter(|label| !label.is_empty())),
        Err(_) => (text, None),
    }
}

fn strip_time(text: &str) -> &str {
    const SHAPE: &[u8] = b"[Www dddd-dd-dd dd:dd ";
    let fits = text.len() > SHAPE.len()
        && text.bytes().zip(SHAPE).all(|(byte, shape)| match shape {
            b'W' => byte.is_ascii_uppercase(),
            b'w' => byte.is_ascii_lowercase(),
            b'd' => byte.is_ascii_digit(),
            exact => byte == *exact,
        });
    if !fits {
        return text;
    }
    match text[SHAPE.len()..].split_once("] ") {
        Some((zone, rest)) if zone.len() <= 40 && !zone.is_empty() && !zone.contains(['[', ']', '\n']) => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_off() {
        assert_eq!(with_time_prefix("hi", 1_795_204_203_777, &TimeZone::UTC), "[Fri 2026-11-20 19:50 UTC] hi");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let stored = with_time_prefix("hi\nthere", 1_795_204_203_777, &zone);
        assert!(stored.starts_with("[Fri 2026-11-20 21:50 "), "{stored}");
        assert_eq!(strip_prefixes(&stored).text, "hi\nthere");
        assert!(with_time_prefix("", u64::MAX, &TimeZone::UTC).starts_with("[Thu 1970-01-01"));
    }

    #[test]
    fn what_is_taken_off() {
        let sender = "Sender (untrusted metadata):\n```json\n{\n  \"label\": \"test\",\n  \"id\": \"test\"\n}\n```\n\n";
        for (stored, text, label) in [
            ("hi".to_owned(), "hi", None),
            (String::new(), "", None),
            ("[Fri 2026-11-20 19:45 UTC] hello".into(), "hello", None),
            ("[Fri 2026-11-20 19:45 GMT+1] [x] y".into(), "[x] y", None),
            ("[Fri 2026-11-20 19:45 UTC]".into(), "[Fri 2026-11-20 19:45 UTC]", None),
            ("[Fri 2026-11-20 19:45 no end".into(), "[Fri 2026-11-20 19:45 no end", None),
            (
                "[Telegram Alice id:1 +2m 2026-11-20 19:50 UTC] x".into(),
                "[Telegram Alice id:1 +2m 2026-11-20 19:50 UTC] x",
                None,
            ),
            (format!("{sender}[Fri 2026-11-20 19:45 UTC] hello"), "hello", Some("test")),
            (
                format!("System: [2026-11-20 19:47:09 UTC] a\nSystem: [x] b\n\n{sender}[Fri 2026-11-20 19:45 UTC] c"),
                "System: [2026-11-20 19:47:09 UTC] a\nSystem: [x] b\n\nc",
                Some("test"),
            ),
            ("System: [x] only".into(), "System: [x] only", None),
            (
                "Sender (untrusted metadata):\n```json\nbroken\n```\n\nx".into(),
                "Sender (untrusted metadata):\n```json\nbroken\n```\n\nx",
                None,
            ),
            ("[Fri 2026-11-20 19:45 Ü".into(), "[Fri 2026-11-20 19:45 Ü", None),
        ] {
            let found = strip_prefixes(&stored);
            assert_eq!((&*found.text, found.sender_label.as_deref()), (text, label), "{stored}");
        }
    }
}
