//! Parameters of the methods: one file per family with the shape that is checked and the struct that handlers get.
//!
//! The check comes first and speaks the reference's language; reading into the struct cannot fail after it, except
//! for numbers that no machine needs.

pub mod agent;
pub mod agents;
pub mod chat;
pub mod config;
pub mod cron;
pub mod devices;
pub mod secrets;
pub mod sessions;
pub mod system;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::ErrorShape;
use super::methods::{Method, Params};
use super::schema;

/// Checks `params` of a method at a protocol: nothing for lenient methods; unknown keys are refused at protocol 3
/// and ignored from 4 (DECISIONS 14).
pub fn check(method: &Method, params: &Value, protocol: u32) -> Result<(), ErrorShape> {
    match method.params {
        Params::Lenient => Ok(()),
        Params::Strict(shape) => schema::check(method.name, params, shape, protocol >= 4),
    }
}

/// Reads checked parameters into a handler's struct.
pub fn read<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, ErrorShape> {
    serde_json::from_value(params).map_err(|e| ErrorShape::invalid(format!("invalid {method} params: {e}")))
}

/// Like [`read`] for lenient methods: whatever does not fit counts as absent.
pub fn read_lenient<T: DeserializeOwned + Default>(params: Value) -> T {
    serde_json::from_value(params).unwrap_or_default()
}

/// A whole number in any of its spellings: `5`, `5.0`, `5e0`; below zero is 0, beyond u64 is its largest.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    Ok(number.map(|n| n.as_u64().unwrap_or_else(|| n.as_f64().map_or(0, |f| f as u64))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::methods;
    use crate::protocol::schema::{Kind, Object};
    use serde_json::{Map, json};
    use std::fmt::Debug;

    /// A value of every field, none of them empty.
    fn sample(kind: &Kind, name: &str) -> Value {
        match kind {
            Kind::Any => json!({"any": name}),
            Kind::Bool => json!(true),
            Kind::Text { pattern: Some(_), .. } if name == "utcOffset" => json!("UTC+5:30"),
            Kind::Text { pattern: Some(_), .. } if name.ends_with("Date") => json!("2026-11-20"),
            Kind::Text { .. } => json!(format!("is-{name}")),
            Kind::Integer { .. } => json!(20.0),
            Kind::List { item, .. } => json!([sample(item, name)]),
            Kind::Map(item) => json!({"key": sample(item, name)}),
            Kind::Object(shape) => full(shape),
            Kind::OneOf(names) | Kind::Choice(names) => json!(names[0]),
            Kind::Constant(text) => json!(text),
        }
    }

    fn full(shape: &Object) -> Value {
        let fields = shape.fields.iter().map(|field| (field.name.to_owned(), sample(&field.kind, field.name)));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    fn reads<T: DeserializeOwned + Debug>(name: &str) {
        let method = methods::find(name).unwrap();
        let Params::Strict(shape) = method.params else { panic!("{name} is lenient") };
        let params = full(shape);
        check(method, &params, 3).unwrap();
        let read = format!("{:?}", read::<T>(name, params).unwrap());
        for lost in ["None", "[]", "\"\""] {
            assert!(!read.contains(lost), "{name} loses a field: {read}");
        }
    }

    #[test]
    fn every_field_of_the_tables_reaches_its_handler() {
        reads::<agent::AgentParams>("agent");
        reads::<agent::AgentWaitParams>("agent.wait");
        reads::<agents::AgentIdentityParams>("agent.identity.get");
        reads::<agents::SkillsStatusParams>("skills.status");
        reads::<chat::ChatSendParams>("chat.send");
        reads::<chat::ChatHistoryParams>("chat.history");
        reads::<chat::ChatAbortParams>("chat.abort");
        reads::<chat::ChatInjectParams>("chat.inject");
        reads::<config::ConfigSetParams>("config.set");
        reads::<config::ConfigApplyParams>("config.apply");
        reads::<config::ConfigApplyParams>("config.patch");
        reads::<config::ConfigSchemaLookupParams>("config.schema.lookup");
        reads::<cron::CronListParams>("cron.list");
        reads::<cron::CronRunsParams>("cron.runs");
        reads::<devices::PairRequestParams>("device.pair.approve");
        reads::<devices::PairRequestParams>("device.pair.reject");
        reads::<devices::PairRemoveParams>("device.pair.remove");
        reads::<devices::TokenRotateParams>("device.token.rotate");
        reads::<devices::TokenRevokeParams>("device.token.revoke");
        reads::<secrets::SecretsResolveParams>("secrets.resolve");
        reads::<sessions::SessionsListParams>("sessions.list");
        reads::<sessions::SessionsPreviewParams>("sessions.preview");
        reads::<sessions::SessionsUsageParams>("sessions.usage");
        reads::<system::LogsTailParams>("logs.tail");
        reads::<system::ChannelsStatusParams>("channels.status");
    }

    #[test]
    fn nothing_is_as_good_as_an_empty_object() {
        let health = methods::find("health").unwrap();
        assert_eq!(check(health, &json!(["x"]), 3), Ok(()));
        assert_eq!(read_lenient::<system::HealthParams>(json!("x")).probe, None);
        assert_eq!(read_lenient::<system::HealthParams>(json!({"probe": true, "x": 1})).probe, Some(true));
        assert_eq!(read_lenient::<system::UsageCostParams>(json!({"days": 30})).days, Some(30));
    }

    #[test]
    fn numbers_in_all_spellings() {
        for (text, limit) in [("5", 5), ("5.0", 5), ("5e0", 5), ("1e30", u64::MAX), ("-0.0", 0)] {
            let params: Value = serde_json::from_str(&format!("{{\"limit\":{text}}}")).unwrap();
            let read: sessions::SessionsListParams = read("sessions.list", params).unwrap();
            assert_eq!(read.limit, Some(limit), "{text}");
        }
    }
}
