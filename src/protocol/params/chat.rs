//! `chat.send`, `chat.history`, `chat.abort`, `chat.inject`.

use serde::Deserialize;
use serde_json::Value;

use super::agent::INPUT_PROVENANCE;
use super::whole;
use crate::protocol::schema::*;

pub static CHAT_SEND: Object = strict(&[
    required("sessionKey", text(1, 512)),
    required("message", TEXT),
    optional("thinking", TEXT),
    optional("deliver", Kind::Bool),
    optional("attachments", list(&Kind::Any)),
    optional("timeoutMs", at_least(0)),
    optional("systemInputProvenance", Kind::Object(&INPUT_PROVENANCE)),
    optional("systemProvenanceReceipt", TEXT),
    required("idempotencyKey", NON_EMPTY),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChatSendParams {
    pub session_key: String,
    pub message: String,
    pub thinking: Option<String>,
    pub deliver: Option<bool>,
    pub attachments: Vec<Value>,
    #[serde(deserialize_with = "whole")]
    pub timeout_ms: Option<u64>,
    pub system_input_provenance: Option<Value>,
    pub system_provenance_receipt: Option<String>,
    /// Also the run's id.
    pub idempotency_key: String,
}

pub static CHAT_HISTORY: Object = strict(&[required("sessionKey", NON_EMPTY), optional("limit", between(1, 1000))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChatHistoryParams {
    pub session_key: String,
    /// Default 200.
    #[serde(deserialize_with = "whole")]
    pub limit: Option<u64>,
}

pub static CHAT_ABORT: Object = strict(&[required("sessionKey", NON_EMPTY), optional("runId", NON_EMPTY)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChatAbortParams {
    pub session_key: String,
    pub run_id: Option<String>,
}

pub static CHAT_INJECT: Object =
    strict(&[required("sessionKey", NON_EMPTY), required("message", NON_EMPTY), optional("label", text(0, 100))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChatInjectParams {
    pub session_key: String,
    pub message: String,
    pub label: Option<String>,
}
