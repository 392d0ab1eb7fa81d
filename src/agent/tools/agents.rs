//! `agents_list`: whom a session may give work to.

use serde_json::{Value, json};

use super::{Call, Output, Tool, ToolError};

pub const AGENTS_LIST: Tool = Tool {
    name: "agents_list",
    description: "Lists the agents that this session may give work to.",
    parameters: || json!({"type": "object", "properties": {}}),
    enabled: |_| true,
    run,
};

fn run(call: &Call<'_>) -> Result<Output, ToolError> {
    let (config, own) = (call.config, call.asker.agent.as_str());
    let allowed = config.tools.allow_agents.get(own).map(Vec::as_slice).unwrap_or_default();
    let any = allowed.iter().any(|id| id.trim() == "*");
    let mut others: Vec<String> = match any {
        true => config.agents.ids().into_iter().map(str::to_owned).collect(),
        false => allowed.iter().map(|id| crate::agent::keys::agent_id(id)).collect(),
    };
    crate::sort::by(&mut others, Ord::cmp);
    others.dedup();
    others.retain(|id| id != own);
    let row = |id: &str| {
        let mut row = json!({"id": id});
        if let Some(name) = config.agents.get(id).and_then(|agent| agent.name.as_deref()) {
            row["name"] = name.into();
        }
        row["configured"] = config.agents.knows(id).into();
        row
    };
    let rows: Vec<Value> = std::iter::once(own).chain(others.iter().map(String::as_str)).map(row).collect();
    Ok(Output::json(json!({"requester": own, "allowAny": any, "agents": rows})))
}
