//! `openclaw agents list`: the configured agents, straight from the configuration.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::Context;
use super::output::{json_pretty, plain};
use super::tree::{Agents, AgentsCommand, AgentsList};
use crate::agent::workspace;
use crate::config::{Agent, Config};
use crate::error::Result;
use crate::out;

/// One agent as both layouts show it.
struct Row {
    id: String,
    agent: Option<Agent>,
    workspace: PathBuf,
    agent_dir: PathBuf,
    is_default: bool,
    bindings: Vec<Value>,
}

pub fn run(cx: &Context, args: &Agents) -> Result<u8> {
    let list = match &args.command {
        Some(AgentsCommand::List(list)) => list,
        None => &AgentsList::default(),
    };
    let config = cx.config()?;
    let rows = rows(cx, config);
    if list.json {
        out!("{}", json_pretty(&rows.iter().map(|row| row.json(list.bindings)).collect::<Vec<_>>()));
        return Ok(0);
    }
    out!("Agents:");
    for row in &rows {
        row.lines(&|path| cx.short(path), list.bindings).iter().for_each(|line| out!("{line}"));
    }
    if !list.bindings {
        out!("Routing rules send channels, accounts or people to an agent; see --bindings.");
    }
    out!("Whether channels work: {}", cx.suggest("openclaw channels status --probe"));
    Ok(0)
}

fn rows(cx: &Context, config: &Config) -> Vec<Row> {
    let bindings = cx.loaded().resolved["bindings"].as_array().cloned().unwrap_or_default();
    let row = |id: &str| Row {
        id: id.to_string(),
        agent: config.agents.get(id).cloned(),
        workspace: workspace::directory(config, &cx.paths, id),
        agent_dir: agent_dir(cx, id),
        is_default: id == config.agents.default_id(),
        bindings: bindings
            .iter()
            .filter(|b| b["agentId"].as_str().is_some_and(|a| a.eq_ignore_ascii_case(id)))
            .cloned()
            .collect(),
    };
    config.agents.ids().into_iter().map(row).collect()
}

/// Where an agent keeps its keys.
pub fn agent_dir(cx: &Context, id: &str) -> PathBuf {
    let configured = cx.loaded().config.agents.get(id).and_then(|agent| agent.agent_dir.as_deref());
    let configured = configured.map(str::trim).filter(|dir| !dir.is_empty());
    configured.map_or_else(|| cx.paths.state_dir.join("agents").join(id).join("agent"), |dir| cx.paths.expand(dir))
}

impl Row {
    fn routes(&self) -> Vec<String> {
        if !self.bindings.is_empty() {
            return self.bindings.iter().map(route).collect();
        }
        if self.is_default { vec!["default (no explicit rules)".to_string()] } else { Vec::new() }
    }

    fn json(&self, details: bool) -> Value {
        let mut out = Map::new();
        out.insert("id".into(), self.id.clone().into());
        if let Some(agent) = &self.agent {
            for (key, value) in [
                ("name", agent.name.as_ref()),
                ("identityName", agent.identity.name.as_ref()),
                ("identityEmoji", agent.identity.emoji.as_ref()),
            ] {
                if let Some(value) = value {
                    out.insert(key.into(), value.clone().into());
                }
            }
        }
        out.insert("workspace".into(), self.workspace.display().to_string().into());
        out.insert("agentDir".into(), self.agent_dir.display().to_string().into());
        if let Some(model) = self.agent.as_ref().and_then(|agent| agent.model.as_ref()) {
            out.insert("model".into(), model.primary.clone().into());
        }
        out.insert("bindings".into(), self.bindings.len().into());
        if details && !self.bindings.is_empty() {
            out.insert("bindingDetails".into(), json!(self.bindings.iter().map(route).collect::<Vec<_>>()));
        }
        out.insert("isDefault".into(), self.is_default.into());
        let routes = self.routes();
        if !routes.is_empty() {
            out.insert("routes".into(), json!(routes));
        }
        Value::Object(out)
    }

    fn lines(&self, short: &dyn Fn(&std::path::Path) -> String, details: bool) -> Vec<String> {
        let name = self.agent.as_ref().and_then(|agent| agent.name.as_deref()).filter(|name| *name != self.id);
        let name = name.map_or(String::new(), |name| format!(" ({})", plain(name)));
        let mut lines = vec![format!("- {}{}{name}", self.id, if self.is_default { " (default)" } else { "" })];
        if let Some(agent) = &self.agent {
            let identity: Vec<String> =
                [&agent.identity.emoji, &agent.identity.name].into_iter().flatten().map(|text| plain(text)).collect();
            if !identity.is_empty() {
                lines.push(format!("  Identity: {}", identity.join(" ")));
            }
        }
        lines.push(format!("  Workspace: {}", short(&self.workspace)));
        lines.push(format!("  Agent dir: {}", short(&self.agent_dir)));
        if let Some(model) = self.agent.as_ref().and_then(|agent| agent.model.as_ref()) {
            lines.push(format!("  Model: {}", plain(&model.primary)));
        }
        lines.push(format!("  Routing rules: {}", self.bindings.len()));
        let routes = self.routes();
        if details && !self.bindings.is_empty() {
            lines.extend(routes.iter().map(|route| format!("  - {}", plain(route))));
        } else if !routes.is_empty() {
            lines.push(format!("  Routing: {}", plain(&routes.join(", "))));
        }
        lines
    }
}

/// `telegram accountId=work peer=group:-100`.
fn route(binding: &Value) -> String {
    let rule = &binding["match"];
    let mut words = vec![rule["channel"].as_str().unwrap_or("any").to_string()];
    if let Some(account) = rule["accountId"].as_str() {
        words.push(format!("accountId={account}"));
    }
    if let (Some(kind), Some(id)) = (rule["peer"]["kind"].as_str(), rule["peer"]["id"].as_str()) {
        words.push(format!("peer={kind}:{id}"));
    }
    for key in ["guildId", "teamId"] {
        if let Some(id) = rule[key].as_str() {
            words.push(format!("{key}={id}"));
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            id: "main".into(),
            agent: None,
            workspace: "/h/.openclaw/workspace".into(),
            agent_dir: "/h/.openclaw/agents/main/agent".into(),
            is_default: true,
            bindings: Vec::new(),
        }
    }

    #[test]
    fn the_recorded_list() {
        assert_eq!(
            row().lines(&|path| path.display().to_string().replace("/h", "~"), false),
            [
                "- main (default)",
                "  Workspace: ~/.openclaw/workspace",
                "  Agent dir: ~/.openclaw/agents/main/agent",
                "  Routing rules: 0",
                "  Routing: default (no explicit rules)",
            ]
        );
        assert_eq!(
            row().json(false),
            json!({"id": "main", "workspace": "/h/.openclaw/workspace", "agentDir": "/h/.openclaw/agents/main/agent",
                   "bindings": 0, "isDefault": true, "routes": ["default (no explicit rules)"]})
        );
    }

    #[test]
    fn routing_rules() {
        let mut row = row();
        row.bindings = vec![json!({"agentId": "main", "match": {"channel": "telegram", "accountId": "work",
                                   "peer": {"kind": "group", "id": "-100"}}})];
        assert_eq!(row.routes(), ["telegram accountId=work peer=group:-100"]);
        assert_eq!(row.json(true)["bindingDetails"][0], "telegram accountId=work peer=group:-100");
    }
}
