//! `agent` and `agent.wait`.

use serde::Deserialize;
use serde_json::Value;

use super::whole;
use crate::protocol::schema::*;

static INTERNAL_EVENT: Object = strict(&[
    required("type", Kind::Constant("task_completion")),
    required("source", Kind::Choice(&["subagent", "cron"])),
    required("childSessionKey", TEXT),
    optional("childSessionId", TEXT),
    required("announceType", TEXT),
    required("taskLabel", TEXT),
    required("status", Kind::Choice(&["ok", "timeout", "error", "unknown"])),
    required("statusLabel", TEXT),
    required("result", TEXT),
    optional("statsLine", TEXT),
    required("replyInstruction", TEXT),
]);

pub(super) static INPUT_PROVENANCE: Object = strict(&[
    required("kind", Kind::Choice(&["external_user", "inter_session", "internal_system"])),
    optional("originSessionId", TEXT),
    optional("sourceSessionKey", TEXT),
    optional("sourceChannel", TEXT),
    optional("sourceTool", TEXT),
]);

pub static AGENT: Object = strict(&[
    required("message", NON_EMPTY),
    optional("agentId", NON_EMPTY),
    optional("to", TEXT),
    optional("replyTo", TEXT),
    optional("sessionId", TEXT),
    optional("sessionKey", TEXT),
    optional("thinking", TEXT),
    optional("deliver", Kind::Bool),
    optional("attachments", list(&Kind::Any)),
    optional("channel", TEXT),
    optional("replyChannel", TEXT),
    optional("accountId", TEXT),
    optional("replyAccountId", TEXT),
    optional("threadId", TEXT),
    optional("groupId", TEXT),
    optional("groupChannel", TEXT),
    optional("groupSpace", TEXT),
    optional("timeout", at_least(0)),
    optional("bestEffortDeliver", Kind::Bool),
    optional("lane", TEXT),
    optional("extraSystemPrompt", TEXT),
    optional("internalEvents", list(&Kind::Object(&INTERNAL_EVENT))),
    optional("inputProvenance", Kind::Object(&INPUT_PROVENANCE)),
    required("idempotencyKey", NON_EMPTY),
    optional("label", text(1, 64)),
]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentParams {
    pub message: String,
    pub agent_id: Option<String>,
    pub to: Option<String>,
    pub reply_to: Option<String>,
    pub session_id: Option<String>,
    pub session_key: Option<String>,
    pub thinking: Option<String>,
    pub deliver: Option<bool>,
    pub attachments: Vec<Value>,
    pub channel: Option<String>,
    pub reply_channel: Option<String>,
    pub account_id: Option<String>,
    pub reply_account_id: Option<String>,
    pub thread_id: Option<String>,
    pub group_id: Option<String>,
    pub group_channel: Option<String>,
    pub group_space: Option<String>,
    /// Seconds.
    #[serde(deserialize_with = "whole")]
    pub timeout: Option<u64>,
    pub best_effort_deliver: Option<bool>,
    pub lane: Option<String>,
    pub extra_system_prompt: Option<String>,
    pub internal_events: Vec<Value>,
    pub input_provenance: Option<Value>,
    /// Also the run's id.
    pub idempotency_key: String,
    pub label: Option<String>,
}

pub static AGENT_WAIT: Object = strict(&[required("runId", NON_EMPTY), optional("timeoutMs", at_least(0))]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentWaitParams {
    pub run_id: String,
    /// Default 30000.
    #[serde(deserialize_with = "whole")]
    pub timeout_ms: Option<u64>,
}
