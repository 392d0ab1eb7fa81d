//! `health`, `logs.tail`, `channels.status`, `system-event`, `set-heartbeats`, `usage.cost`.

use serde::Deserialize;
use serde_json::Value;

use super::whole;
use crate::protocol::ErrorShape;
use crate::protocol::schema::*;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct HealthParams {
    pub probe: Option<bool>,
}

pub static LOGS_TAIL: Object = strict(&[
    optional("cursor", at_least(0)),
    optional("limit", between(1, 5000)),
    optional("maxBytes", between(1, 1_000_000)),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogsTailParams {
    /// Byte offset in the file.
    #[serde(deserialize_with = "whole")]
    pub cursor: Option<u64>,
    /// Lines; default 500.
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
    /// Default 250000.
    #[serde(deserialize_with = "whole")]
    pub max_bytes: Option<u64>,
}

pub static CHANNELS_STATUS: Object = strict(&[optional("probe", Kind::Bool), optional("timeoutMs", at_least(0))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelsStatusParams {
    pub probe: Option<bool>,
    /// Default 10000, at least 1000.
    #[serde(deserialize_with = "whole")]
    pub timeout_ms: Option<u64>,
}

/// `usage.cost`, lenient: `days` or a range of dates.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageCostParams {
    #[serde(deserialize_with = "whole")]
    pub days: Option<u64>,
    pub start_date: Option<String>,
    pub end_date: Option<String>,
    pub mode: Option<String>,
    pub utc_offset: Option<String>,
}

/// `set-heartbeats {enabled}`; the message is the reference's own, not the checker's.
pub fn read_set_heartbeats(params: &Value) -> Result<bool, ErrorShape> {
    params
        .get("enabled")
        .and_then(Value::as_bool)
        .ok_or_else(|| ErrorShape::invalid("invalid set-heartbeats params: enabled (boolean) required"))
}

/// `system-event`, lenient: a field of the wrong type counts as absent, only `text` is required.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SystemEventParams {
    /// Trimmed, not empty.
    pub text: String,
    pub device_id: Option<String>,
    pub instance_id: Option<String>,
    pub host: Option<String>,
    pub ip: Option<String>,
    pub mode: Option<String>,
    pub version: Option<String>,
    pub platform: Option<String>,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub last_input_seconds: Option<u64>,
    pub reason: Option<String>,
    pub roles: Option<Vec<String>>,
    pub scopes: Option<Vec<String>>,
    pub tags: Option<Vec<String>>,
}

impl SystemEventParams {
    pub fn read(params: &Value) -> Result<SystemEventParams, ErrorShape> {
        let text = |key: &str| params.get(key).and_then(Value::as_str).map(str::to_owned);
        let texts = |key: &str| {
            let items = params.get(key)?.as_array()?;
            items.iter().map(|item| item.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let event = SystemEventParams {
            text: text("text").unwrap_or_default().trim().to_owned(),
            device_id: text("deviceId"),
            instance_id: text("instanceId"),
            host: text("host"),
            ip: text("ip"),
            mode: text("mode"),
            version: text("version"),
            platform: text("platform"),
            device_family: text("deviceFamily"),
            model_identifier: text("modelIdentifier"),
            last_input_seconds: params.get("lastInputSeconds").and_then(Value::as_f64).map(|s| s as u64),
            reason: text("reason"),
            roles: texts("roles"),
            scopes: texts("scopes"),
            tags: texts("tags"),
        };
        if event.text.is_empty() { Err(ErrorShape::invalid("text required")) } else { Ok(event) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn system_events_need_a_text_and_nothing_else() {
        for bad in [json!({}), json!({"text": "  "}), json!({"text": 5}), json!([]), json!("x")] {
            assert_eq!(SystemEventParams::read(&bad).unwrap_err().message, "text required", "{bad}");
        }
        let event =
            SystemEventParams::read(&json!({"text": " hi ", "host": 5, "roles": ["a", 1], "tags": ["t"], "bogus": 1}))
                .unwrap();
        assert_eq!(
            event,
            SystemEventParams { text: "hi".into(), tags: Some(vec!["t".into()]), ..SystemEventParams::default() }
        );
    }

    #[test]
    fn set_heartbeats_wants_a_bool() {
        assert_eq!(read_set_heartbeats(&json!({"enabled": false})), Ok(false));
        let error = read_set_heartbeats(&json!({"enabled": "x"})).unwrap_err();
        assert_eq!(error.message, "invalid set-heartbeats params: enabled (boolean) required");
    }
}
