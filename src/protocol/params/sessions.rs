//! `sessions.list`, `sessions.preview`, `sessions.usage`.

use serde::Deserialize;

use super::whole;
use crate::protocol::schema::*;

pub static SESSIONS_LIST: Object = strict(&[
    optional("limit", at_least(1)),
    optional("activeMinutes", at_least(1)),
    optional("includeGlobal", Kind::Bool),
    optional("includeUnknown", Kind::Bool),
    optional("includeDerivedTitles", Kind::Bool),
    optional("includeLastMessage", Kind::Bool),
    optional("label", text(1, 64)),
    optional("spawnedBy", NON_EMPTY),
    optional("agentId", NON_EMPTY),
    optional("search", TEXT),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionsListParams {
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    #[serde(deserialize_with = "whole")]
    pub active_minutes: Option<u64>,
    pub include_global: Option<bool>,
    pub include_unknown: Option<bool>,
    pub include_derived_titles: Option<bool>,
    pub include_last_message: Option<bool>,
    pub label: Option<String>,
    pub spawned_by: Option<String>,
    pub agent_id: Option<String>,
    pub search: Option<String>,
}

pub static SESSIONS_PREVIEW: Object = strict(&[
    required("keys", Kind::List { item: &NON_EMPTY, min: 1, max: NO_MAX }),
    optional("limit", at_least(1)),
    optional("maxChars", at_least(20)),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionsPreviewParams {
    /// The first 64 count.
    pub keys: Vec<String>,
    /// Default 12.
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    /// Default 240.
    #[serde(deserialize_with = "whole")]
    pub max_chars: Option<u64>,
}

const DATE: Kind =
    Kind::Text { min: 0, max: NO_MAX, pattern: Some(Pattern { text: r"^\d{4}-\d{2}-\d{2}$", matches: is_date }) };
const UTC_OFFSET: Kind = Kind::Text {
    min: 0,
    max: NO_MAX,
    pattern: Some(Pattern { text: r"^UTC[+-]\d{1,2}(?::[0-5]\d)?$", matches: is_utc_offset }),
};

pub static SESSIONS_USAGE: Object = strict(&[
    optional("key", NON_EMPTY),
    optional("startDate", DATE),
    optional("endDate", DATE),
    optional("mode", Kind::OneOf(&["utc", "gateway", "specific"])),
    optional("utcOffset", UTC_OFFSET),
    optional("limit", at_least(1)),
    optional("includeContextWeight", Kind::Bool),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionsUsageParams {
    pub key: Option<String>,
    pub start_date: Option<String>,
    pub end_date: Option<String>,
    pub mode: Option<String>,
    pub utc_offset: Option<String>,
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    pub include_context_weight: Option<bool>,
}

fn is_date(text: &str) -> bool {
    let b = text.as_bytes();
    b.len() == 10 && b.iter().enumerate().all(|(i, c)| if i == 4 || i == 7 { *c == b'-' } else { c.is_ascii_digit() })
}

fn is_utc_offset(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("UTC").and_then(|rest| rest.strip_prefix(['+', '-'])) else { return false };
    let (hours, minutes) = match rest.split_once(':') {
        Some((hours, minutes)) => (hours, Some(minutes.as_bytes())),
        None => (rest, None),
    };
    matches!(hours.len(), 1 | 2)
        && hours.bytes().all(|c| c.is_ascii_digit())
        && minutes.is_none_or(|m| matches!(m, [b'0'..=b'5', b'0'..=b'9']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_offsets() {
        for (text, good) in [("2026-11-20", true), ("2026-1-20", false), ("2026/11/20", false), ("", false)] {
            assert_eq!(is_date(text), good, "{text}");
        }
        for (text, good) in [
            ("UTC+0", true),
            ("UTC-10:30", true),
            ("UTC+5:45", true),
            ("UTC+5:60", false),
            ("UTC5", false),
            ("UTC+123", false),
            ("UTC+1:", false),
            ("UTC+", false),
            ("utc+1", false),
        ] {
            assert_eq!(is_utc_offset(text), good, "{text}");
        }
    }
}
