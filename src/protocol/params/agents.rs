//! `agent.identity.get`, `agents.list`, `models.list`, `skills.status`.

use serde::Deserialize;

use crate::protocol::schema::*;

pub static AGENT_IDENTITY: Object = strict(&[optional("agentId", NON_EMPTY), optional("sessionKey", TEXT)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AgentIdentityParams {
    pub agent_id: Option<String>,
    pub session_key: Option<String>,
}

pub static SKILLS_STATUS: Object = strict(&[optional("agentId", NON_EMPTY)]);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SkillsStatusParams {
    pub agent_id: Option<String>,
}
