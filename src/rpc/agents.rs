//! agents.list and agent.identity.get.

use serde_json::{Map, Value, json};

use super::Payload;
use super::context::{Caller, Context};
use crate::agent::keys;
use crate::config::Identity;
use crate::protocol::ErrorShape;
use crate::protocol::params::agents::AgentIdentityParams;
use crate::protocol::params::read;

pub fn list(ctx: &Context, _caller: &Caller, _params: Value) -> Result<Payload, ErrorShape> {
    let config = ctx.config();
    let row = |id: &str| {
        let mut row = Map::new();
        row.insert("id".into(), id.into());
        if let Some(agent) = config.agents.get(id) {
            if let Some(name) = &agent.name {
                row.insert("name".into(), name.as_str().into());
            }
            let identity = identity_members(&agent.identity);
            if !identity.is_empty() {
                row.insert("identity".into(), identity.into());
            }
        }
        Value::Object(row)
    };
    Ok(json!({
        "defaultId": config.agents.default_id(),
        "mainKey": keys::MAIN,
        "scope": if config.session.global_scope { "global" } else { "per-sender" },
        "agents": config.agents.ids().into_iter().map(row).collect::<Vec<_>>(),
    })
    .into())
}

fn identity_members(identity: &Identity) -> Map<String, Value> {
    [("name", &identity.name), ("theme", &identity.theme), ("emoji", &identity.emoji), ("avatar", &identity.avatar)]
        .into_iter()
        .filter_map(|(key, value)| value.as_ref().map(|v| (key.to_owned(), v.as_str().into())))
        .collect()
}

/// Name and avatar of an agent: by id, by the session's key, or of the default agent.
pub fn identity_get(ctx: &Context, _caller: &Caller, params: Value) -> Result<Payload, ErrorShape> {
    let params: AgentIdentityParams = read("agent.identity.get", params)?;
    let config = ctx.config();
    let id = match (&params.agent_id, &params.session_key) {
        (Some(id), key) => {
            let id = keys::agent_id(id);
            let of_key = key.as_deref().map(|key| keys::route_chat("agent.identity.get", key, &config)).transpose()?;
            if let Some(route) = of_key.filter(|route| route.agent != id) {
                return Err(ErrorShape::invalid(format!(
                    "invalid agent.identity.get params: agent \"{id}\" does not match session key agent \"{}\"",
                    route.agent
                )));
            }
            id
        }
        (None, Some(key)) => keys::route_chat("agent.identity.get", key, &config)?.agent,
        (None, None) => config.agents.default_id().to_owned(),
    };
    let agent = config.agents.get(&id);
    let identity = agent.map(|a| a.identity.clone()).unwrap_or_default();
    let name = identity.name.or_else(|| agent.and_then(|a| a.name.clone())).unwrap_or_else(|| "Assistant".into());
    let initial = || name.chars().next().map_or("A".into(), |c| c.to_uppercase().to_string());
    let avatar = identity.avatar.or_else(|| identity.emoji.clone()).unwrap_or_else(initial);
    let mut answer = json!({"agentId": id, "name": name, "avatar": avatar});
    if let Some(emoji) = identity.emoji {
        answer["emoji"] = emoji.into();
    }
    Ok(answer.into())
}
