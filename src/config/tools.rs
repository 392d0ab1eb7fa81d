//! `tools`, `gateway.tools` and the agents' own `tools`: which tools there are for whom, and how far they go.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::typed::At;
use crate::limits;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tools {
    pub all: ToolRules,
    /// `agents.list[].tools`, by id.
    pub agents: BTreeMap<String, ToolRules>,
    /// `tools.subagents.tools`
    pub subagents: ToolRules,
    /// `gateway.tools`: for callers of `POST /tools/invoke`.
    pub http: ToolRules,
    pub visibility: Visibility,
    pub agent_to_agent: AgentToAgent,
    /// `agents.list[].subagents.allowAgents`, by id.
    pub allow_agents: BTreeMap<String, Vec<String>>,
    pub fetch: WebFetch,
}

/// Names, `group:…`, and `*` for any letters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolRules {
    /// `minimal`, `coding`, `messaging` or `full`.
    pub profile: Option<String>,
    /// Empty: all.
    pub allow: Vec<String>,
    pub also_allow: Vec<String>,
    pub deny: Vec<String>,
    /// By `provider` or `provider/model`.
    pub by_provider: BTreeMap<String, ToolRules>,
}

/// Whose sessions the tools of a session may look at (`tools.sessions.visibility`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    Own,
    /// Its own and those that it has spawned.
    #[default]
    Tree,
    Agent,
    All,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentToAgent {
    pub enabled: bool,
    /// None: any agent; an empty list names nobody.
    pub allow: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct WebFetch {
    pub enabled: bool,
    pub max_chars: usize,
    pub max_chars_cap: usize,
    pub timeout: Duration,
    pub ttl: Duration,
    pub max_redirects: u32,
    pub user_agent: Option<String>,
    /// Of a page only what it is about.
    pub readability: bool,
}

impl Default for WebFetch {
    fn default() -> Self {
        WebFetch {
            enabled: true,
            max_chars: limits::WEB_FETCH_CHARS,
            max_chars_cap: limits::WEB_FETCH_CHARS,
            timeout: limits::WEB_FETCH_TIMEOUT,
            ttl: limits::WEB_FETCH_TTL,
            max_redirects: limits::WEB_FETCH_REDIRECTS,
            user_agent: None,
            readability: true,
        }
    }
}

/// Longest `tools.web.fetch.timeoutSeconds`, and the most redirects: whoever waits sits on a connection.
const TIMEOUT_MOST: Duration = Duration::from_secs(300);
const REDIRECTS_MOST: u32 = 10;

pub(super) fn read(root: &Value) -> Tools {
    let root = At(root);
    let at = root.at("tools");
    let mut tools = Tools {
        all: rules(at),
        subagents: rules(at.at("subagents.tools")),
        http: rules(root.at("gateway.tools")),
        visibility: match at.at("sessions.visibility").text() {
            Some("self") => Visibility::Own,
            Some("agent") => Visibility::Agent,
            Some("all") => Visibility::All,
            _ => Visibility::Tree,
        },
        agent_to_agent: AgentToAgent {
            enabled: at.at("agentToAgent.enabled").bool().unwrap_or(false),
            allow: at.at("agentToAgent.allow").0.is_array().then(|| at.at("agentToAgent.allow").texts()),
        },
        fetch: fetch(at.at("web.fetch")),
        ..Tools::default()
    };
    for at in root.at("agents.list").items() {
        let id = at.at("id").text().unwrap_or_default().trim().to_lowercase();
        tools.agents.insert(id.clone(), rules(at.at("tools")));
        tools.allow_agents.insert(id, at.at("subagents.allowAgents").texts());
    }
    tools
}

fn rules(at: At<'_>) -> ToolRules {
    let by_provider = at.at("byProvider").0.as_object().into_iter().flatten();
    ToolRules {
        profile: at.at("profile").string(),
        allow: at.at("allow").texts(),
        also_allow: at.at("alsoAllow").texts(),
        deny: at.at("deny").texts(),
        by_provider: by_provider.map(|(name, value)| (name.trim().to_lowercase(), rules(At(value)))).collect(),
    }
}

fn fetch(at: At<'_>) -> WebFetch {
    let default = WebFetch::default();
    let number = |key: &str| at.at(key).u64().and_then(|n| usize::try_from(n).ok());
    let ttl = at.at("cacheTtlMinutes").f64().filter(|n| (0.0..=1e6).contains(n));
    WebFetch {
        enabled: at.at("enabled").bool().unwrap_or(default.enabled),
        max_chars: number("maxChars").unwrap_or(default.max_chars),
        max_chars_cap: number("maxCharsCap").unwrap_or(default.max_chars_cap),
        timeout: at.at("timeoutSeconds").u64().map_or(default.timeout, Duration::from_secs).min(TIMEOUT_MOST),
        ttl: ttl.map_or(default.ttl, |minutes| Duration::from_secs_f64(minutes * 60.0)),
        max_redirects: at
            .at("maxRedirects")
            .u64()
            .map_or(default.max_redirects, |n| n.min(REDIRECTS_MOST.into()) as u32),
        user_agent: at.at("userAgent").string(),
        readability: at.at("readability").bool().unwrap_or(default.readability),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_configured() {
        let tools = read(&json!({
            "tools": {"profile": "coding", "alsoAllow": ["web_fetch"], "deny": ["group:fs"],
                "byProvider": {"OpenAI/gpt": {"allow": ["exec"]}},
                "sessions": {"visibility": "self"}, "agentToAgent": {"enabled": true, "allow": []},
                "subagents": {"tools": {"allow": ["sessions_list"]}},
                "web": {"fetch": {"maxChars": 10, "timeoutSeconds": 99999, "cacheTtlMinutes": 0.5, "maxRedirects": 0,
                    "userAgent": "x", "readability": false}}},
            "gateway": {"tools": {"allow": ["cron"], "deny": ["web_fetch"]}},
            "agents": {"list": [{"id": "Ops", "tools": {"profile": "minimal"}, "subagents": {"allowAgents": ["*"]}}]}
        }));
        assert_eq!((tools.all.profile.as_deref(), tools.all.deny), (Some("coding"), vec!["group:fs".to_owned()]));
        assert_eq!(tools.all.by_provider["openai/gpt"].allow, ["exec"]);
        assert_eq!((tools.visibility, tools.agent_to_agent.allow), (Visibility::Own, Some(vec![])));
        assert_eq!(tools.agents["ops"].profile.as_deref(), Some("minimal"));
        assert_eq!((&tools.allow_agents["ops"], tools.http.allow), (&vec!["*".to_owned()], vec!["cron".to_owned()]));
        assert_eq!(tools.subagents.allow, ["sessions_list"]);
        assert_eq!(
            tools.fetch,
            WebFetch {
                max_chars: 10,
                timeout: TIMEOUT_MOST,
                ttl: Duration::from_secs(30),
                max_redirects: 0,
                user_agent: Some("x".into()),
                readability: false,
                ..WebFetch::default()
            }
        );
        assert_eq!(read(&json!({"tools": [], "agents": {"list": 5}})), Tools::default());
    }
}
