//! Which tools a caller has: profiles, allow and deny lists of the configuration, and what is never offered over HTTP
//! (agent 10, http 5, LESSONS R17). Every filter can only narrow; a deny list wins over every allow list.

use crate::config::tools::{AgentToAgent, ToolRules, Tools, Visibility};

/// Who would use a tool.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    pub agent: &'a str,
    /// The session was spawned by another one.
    pub subagent: bool,
    /// Provider and model of the turn; None: no model asks.
    pub model: Option<(&'a str, &'a str)>,
    /// Through `POST /tools/invoke`.
    pub http: bool,
}

const FS: &[&str] = &["read", "write", "edit", "apply_patch"];
const RUNTIME: &[&str] = &["exec", "process"];
const WEB: &[&str] = &["web_search", "web_fetch"];
const MEMORY: &[&str] = &["memory_search", "memory_get"];
const SESSIONS: &[&str] = &[
    "sessions_list",
    "sessions_history",
    "sessions_send",
    "sessions_spawn",
    "sessions_yield",
    "subagents",
    "session_status",
];
const UI: &[&str] = &["browser", "canvas"];
const MESSAGING: &[&str] = &["message"];
const AUTOMATION: &[&str] = &["cron", "gateway"];
const NODES: &[&str] = &["nodes"];
const AGENTS: &[&str] = &["agents_list"];
const MEDIA: &[&str] = &["image", "tts"];

const GROUPS: [(&str, &[&str]); 11] = [
    ("group:fs", FS),
    ("group:runtime", RUNTIME),
    ("group:web", WEB),
    ("group:memory", MEMORY),
    ("group:sessions", SESSIONS),
    ("group:ui", UI),
    ("group:messaging", MESSAGING),
    ("group:automation", AUTOMATION),
    ("group:nodes", NODES),
    ("group:agents", AGENTS),
    ("group:media", MEDIA),
];
/// All groups but these two are OpenClaw's own.
const NOT_OWN: [&str; 2] = ["group:fs", "group:runtime"];

const MINIMAL: &[&str] = &["session_status"];
const CODING: &[&str] = &["group:fs", "group:runtime", "group:web", "group:memory", "group:sessions", "cron", "image"];
const MESSAGING_PROFILE: &[&str] = &["sessions_list", "sessions_history", "sessions_send", "session_status", "message"];

/// Not over HTTP unless `gateway.tools.allow` says so (DECISIONS 65).
pub const HTTP_DENY: [&str; 13] = [
    "exec",
    "spawn",
    "shell",
    "fs_write",
    "fs_delete",
    "fs_move",
    "apply_patch",
    "sessions_spawn",
    "sessions_send",
    "cron",
    "gateway",
    "nodes",
    "whatsapp_login",
];
/// Not for sessions that another one has spawned.
const SUBAGENT_DENY: [&str; 12] = [
    "gateway",
    "agents_list",
    "whatsapp_login",
    "session_status",
    "cron",
    "memory_search",
    "memory_get",
    "sessions_send",
    "subagents",
    "sessions_list",
    "sessions_history",
    "sessions_spawn",
];

/// Whether this caller has this tool. Says nothing about whether there is such a tool.
pub fn admits(tools: &Tools, asker: Asker<'_>, name: &str) -> bool {
    let name = canonical(name);
    let none = ToolRules::default();
    let (all, own) = (&tools.all, tools.agents.get(asker.agent).unwrap_or(&none));
    let (all_model, own_model) = (of_model(all, asker).unwrap_or(&none), of_model(own, asker).unwrap_or(&none));
    let also = if own.also_allow.is_empty() { &all.also_allow } else { &own.also_allow };
    let also_model = if own_model.also_allow.is_empty() { &all_model.also_allow } else { &own_model.also_allow };
    by_profile(own.profile.as_ref().or(all.profile.as_ref()), also, &name)
        && by_profile(own_model.profile.as_ref().or(all_model.profile.as_ref()), also_model, &name)
        && [all, all_model, own, own_model].into_iter().all(|rules| by_lists(rules, &name))
        && (!asker.subagent || by_default_deny(&SUBAGENT_DENY, &tools.subagents, &name))
        && (!asker.http || by_default_deny(&HTTP_DENY, &tools.http, &name))
}

/// Allow lists that name nothing that is known here: they are ignored, and somebody should know.
pub fn idle_lists(tools: &Tools) -> Vec<String> {
    let of_agents = tools.agents.iter().map(|(id, rules)| (format!("agents.list[{id}].tools.allow"), rules));
    std::iter::once(("tools.allow".to_owned(), &tools.all))
        .chain(of_agents)
        .filter(|(_, rules)| !rules.allow.is_empty() && !rules.allow.iter().any(|entry| is_known(entry)))
        .map(|(path, rules)| {
            let names = rules.allow.join(", ");
            format!("{path} names no tool that this gateway knows ({names}) and is ignored; name tools, groups or *")
        })
        .collect()
}

/// Lower case, and one name for those with two.
fn canonical(name: &str) -> String {
    let name = name.trim().to_lowercase();
    match name.as_str() {
        "bash" => "exec".into(),
        "apply-patch" => "apply_patch".into(),
        _ => name,
    }
}

fn of_model<'r>(rules: &'r ToolRules, asker: Asker<'_>) -> Option<&'r ToolRules> {
    let (provider, model) = asker.model?;
    let provider = provider.to_lowercase();
    let of_model = rules.by_provider.get(&format!("{provider}/{}", model.to_lowercase()));
    of_model.or_else(|| rules.by_provider.get(&provider))
}

fn by_profile(profile: Option<&String>, also: &[String], name: &str) -> bool {
    let listed = match profile.map(String::as_str) {
        Some("minimal") => MINIMAL,
        Some("coding") => CODING,
        Some("messaging") => MESSAGING_PROFILE,
        _ => return true,
    };
    listed.iter().any(|entry| matches(entry, name)) || lists(also, name)
}

fn by_lists(rules: &ToolRules, name: &str) -> bool {
    if lists(&rules.deny, name) {
        return false;
    }
    // A list of tools that nobody here knows was meant for another program: it must not take everything away.
    if !rules.allow.iter().any(|entry| is_known(entry)) {
        return true;
    }
    lists(&rules.allow, name)
        || lists(&rules.also_allow, name)
        || (name == "apply_patch" && lists(&rules.allow, "exec"))
}

fn by_default_deny(default: &[&str], rules: &ToolRules, name: &str) -> bool {
    let opened = lists(&rules.allow, name) || lists(&rules.also_allow, name);
    (opened || !default.contains(&name)) && !lists(&rules.deny, name)
}

fn lists(entries: &[String], name: &str) -> bool {
    entries.iter().any(|entry| matches(entry, name))
}

/// Whether an entry of a list means this tool. `name` is canonical.
fn matches(entry: &str, name: &str) -> bool {
    let entry = canonical(entry);
    if entry == "group:openclaw" {
        return GROUPS.iter().any(|(group, names)| !NOT_OWN.contains(group) && names.contains(&name));
    }
    match GROUPS.iter().find(|(group, _)| *group == entry) {
        Some((_, names)) => names.contains(&name),
        None => glob(entry.as_bytes(), name.as_bytes()),
    }
}

fn is_known(entry: &str) -> bool {
    let known = GROUPS.iter().flat_map(|(_, names)| *names).chain(&HTTP_DENY);
    known.into_iter().any(|name| matches(entry, name)) || entry.trim() == "group:openclaw"
}

/// `*` stands for any bytes. Linear: only the last star is tried again.
fn glob(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

/// A session, as the rules of visibility see it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub key: &'a str,
    pub agent: &'a str,
}

/// What is to be done with somebody's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    List,
    History,
    Status,
}

/// Whether the tools of one session may look at another one. `spawned`: the target descends from the asker. Err: what
/// the asker is told, in the words of the reference.
pub fn may_look(tools: &Tools, look: Look, asker: Place<'_>, target: Place<'_>, spawned: bool) -> Result<(), String> {
    let (name, lower, plural) = match look {
        Look::List => ("Session list", "listing", "visibility"),
        Look::History => ("Session history", "history", "access"),
        Look::Status => ("Session status", "status", "access"),
    };
    if asker.agent != target.agent {
        if tools.visibility != Visibility::All {
            return Err(format!(
                "{name} visibility is restricted. Set tools.sessions.visibility=all to allow cross-agent access."
            ));
        }
        let AgentToAgent { enabled, allow } = &tools.agent_to_agent;
        if !enabled {
            return Err(format!(
                "Agent-to-agent {lower} is disabled. Set tools.agentToAgent.enabled=true to allow cross-agent {plural}."
            ));
        }
        let named = |agent: &str| {
            let agent = agent.to_lowercase();
            let listed = |entry: &String| glob(entry.trim().to_lowercase().as_bytes(), agent.as_bytes());
            allow.as_ref().is_none_or(|list| list.iter().any(listed))
        };
        if !named(asker.agent) || !named(target.agent) {
            return Err(format!("Agent-to-agent {lower} denied by tools.agentToAgent.allow."));
        }
        return Ok(());
    }
    match tools.visibility {
        _ if asker.key == target.key => Ok(()),
        Visibility::Agent | Visibility::All => Ok(()),
        Visibility::Tree if spawned => Ok(()),
        Visibility::Own => {
            Err(format!("{name} visibility is restricted to the current session (tools.sessions.visibility=self)."))
        }
        Visibility::Tree => Err(format!(
            "{name} visibility is restricted to the current session tree (tools.sessions.visibility=tree)."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn tools(value: Value) -> Tools {
        let source = crate::config::source::MemorySource::new().with_var("HOME", "/h");
        let paths = crate::config::Paths::resolve(&source, &crate::config::Overrides::default()).unwrap();
        crate::config::typed::typed(&value, &Default::default(), &paths, &mut Vec::new()).tools
    }

    #[test]
    fn who_has_what() {
        let main = Asker { agent: "main", ..Asker::default() };
        let http = Asker { http: true, ..main };
        let ops = Asker { agent: "ops", ..main };
        let child = Asker { subagent: true, ..main };
        let gpt = Asker { model: Some(("OpenAI", "gpt")), ..main };
        let mini = Asker { model: Some(("openai", "mini")), ..main };
        for (config, asker, name, want) in [
            (json!({}), main, "web_fetch", true),
            (json!({}), main, "whatever", true),
            // Profiles.
            (json!({"tools": {"profile": "minimal"}}), main, "session_status", true),
            (json!({"tools": {"profile": "minimal"}}), main, "web_fetch", false),
            (json!({"tools": {"profile": "minimal", "alsoAllow": ["web_*"]}}), main, "web_fetch", true),
            (json!({"tools": {"profile": "coding"}}), main, "exec", true),
            (json!({"tools": {"profile": "coding"}}), main, "message", false),
            (json!({"tools": {"profile": "coding"}}), main, "agents_list", false),
            (json!({"tools": {"profile": "messaging"}}), main, "sessions_history", true),
            (json!({"tools": {"profile": "messaging"}}), main, "web_fetch", false),
            (json!({"tools": {"profile": "full"}}), main, "web_fetch", true),
            // The agent's profile takes the place of that of all; its lists only narrow.
            (
                json!({"tools": {"profile": "minimal"}, "agents": {"list": [{"id": "ops", "tools": {"profile": "full"}}]}}),
                ops,
                "web_fetch",
                true,
            ),
            (
                json!({"tools": {"deny": ["web_fetch"]}, "agents": {"list": [{"id": "ops", "tools": {"allow": ["web_fetch"]}}]}}),
                ops,
                "web_fetch",
                false,
            ),
            (json!({"agents": {"list": [{"id": "ops", "tools": {"deny": ["web_fetch"]}}]}}), ops, "web_fetch", false),
            (json!({"agents": {"list": [{"id": "ops", "tools": {"deny": ["web_fetch"]}}]}}), main, "web_fetch", true),
            // Lists.
            (json!({"tools": {"allow": ["web_search"]}}), main, "web_fetch", false),
            (json!({"tools": {"allow": ["group:web"]}}), main, "web_fetch", true),
            (json!({"tools": {"allow": ["group:openclaw"]}}), main, "web_fetch", true),
            (json!({"tools": {"allow": ["group:openclaw"]}}), main, "exec", false),
            (json!({"tools": {"allow": ["WEB_Fetch "]}}), main, "web_fetch", true),
            (json!({"tools": {"allow": ["web_fetch"], "deny": ["web_fetch"]}}), main, "web_fetch", false),
            (json!({"tools": {"deny": ["*"]}}), main, "web_fetch", false),
            (json!({"tools": {"deny": ["s*_l*t"]}}), main, "sessions_list", false),
            (json!({"tools": {"deny": ["s*_l*x"]}}), main, "sessions_list", true),
            (json!({"tools": {"deny": ["group:sessions"]}}), main, "session_status", false),
            (json!({"tools": {"deny": ["bash"]}}), main, "exec", false),
            (json!({"tools": {"allow": ["exec"]}}), main, "apply-patch", true),
            (json!({"tools": {"allow": ["somebody_elses"]}}), main, "web_fetch", true),
            (json!({"tools": {"allow": ["somebody_elses", "web_search"]}}), main, "web_fetch", false),
            // Of a model, and of all models of a provider.
            (json!({"tools": {"byProvider": {"openai/gpt": {"deny": ["web_fetch"]}}}}), gpt, "web_fetch", false),
            (json!({"tools": {"byProvider": {"openai/gpt": {"deny": ["web_fetch"]}}}}), mini, "web_fetch", true),
            (json!({"tools": {"byProvider": {"openai": {"profile": "minimal"}}}}), mini, "web_fetch", false),
            (json!({"tools": {"byProvider": {"openai": {"profile": "minimal"}}}}), main, "web_fetch", true),
            (
                json!({"agents": {"list": [{"id": "main", "tools": {"byProvider": {"openai": {"allow": ["exec"]}}}}]}}),
                gpt,
                "web_fetch",
                false,
            ),
            // Spawned sessions.
            (json!({}), child, "web_fetch", true),
            (json!({}), child, "session_status", false),
            (json!({}), child, "sessions_list", false),
            (
                json!({"tools": {"subagents": {"tools": {"alsoAllow": ["sessions_list"]}}}}),
                child,
                "sessions_list",
                true,
            ),
            (json!({"tools": {"subagents": {"tools": {"deny": ["web_fetch"]}}}}), child, "web_fetch", false),
            // Over HTTP.
            (json!({}), http, "web_fetch", true),
            (json!({}), http, "cron", false),
            (json!({}), http, "Sessions_Spawn", false),
            (json!({}), http, "bash", false),
            (json!({}), http, "whatsapp_login", false),
            (json!({}), main, "cron", true),
            (json!({"gateway": {"tools": {"allow": ["cron"]}}}), http, "cron", true),
            (json!({"gateway": {"tools": {"allow": ["cron"]}}}), http, "gateway", false),
            (json!({"gateway": {"tools": {"allow": ["cron"], "deny": ["cron"]}}}), http, "cron", false),
            (json!({"gateway": {"tools": {"deny": ["web_fetch"]}}}), http, "web_fetch", false),
            (json!({"gateway": {"tools": {"deny": ["web_fetch"]}}}), main, "web_fetch", true),
            // What HTTP opens the rest of the policy may still close.
            (json!({"gateway": {"tools": {"allow": ["cron"]}}, "tools": {"deny": ["cron"]}}), http, "cron", false),
        ] {
            assert_eq!(admits(&tools(config.clone()), asker, name), want, "{config} {asker:?} {name}");
        }
        for name in HTTP_DENY {
            assert!(!admits(&Tools::default(), http, name), "{name}");
        }
    }

    #[test]
    fn lists_that_name_nothing_are_told() {
        for (config, want) in [
            (json!({}), 0),
            (json!({"tools": {"allow": ["web_fetch", "theirs"]}}), 0),
            (json!({"tools": {"allow": ["*"]}}), 0),
            (json!({"tools": {"allow": ["group:openclaw"]}}), 0),
            (
                json!({"tools": {"allow": ["theirs"]}, "agents": {"list": [{"id": "a", "tools": {"allow": ["x", "y"]}}]}}),
                2,
            ),
        ] {
            assert_eq!(idle_lists(&tools(config.clone())).len(), want, "{config}");
        }
        assert_eq!(
            idle_lists(&tools(json!({"tools": {"allow": ["theirs"]}}))),
            ["tools.allow names no tool that this gateway knows (theirs) and is ignored; name tools, groups or *"]
        );
    }

    #[test]
    fn whose_sessions_are_seen() {
        let here = Place { key: "agent:main:main", agent: "main" };
        let other = Place { key: "agent:main:x", agent: "main" };
        let work = Place { key: "agent:work:main", agent: "work" };
        let sessions = |visibility: &str| json!({"tools": {"sessions": {"visibility": visibility}}});
        let cross = |allow: Value| json!({"tools": {"sessions": {"visibility": "all"}, "agentToAgent": {"enabled": true, "allow": allow}}});
        let tree =
            "Session history visibility is restricted to the current session tree (tools.sessions.visibility=tree).";
        for (config, target, spawned, want) in [
            (json!({}), here, false, ""),
            (json!({}), other, true, ""),
            (json!({}), other, false, tree),
            (sessions("self"), here, false, ""),
            (
                sessions("self"),
                other,
                true,
                "Session history visibility is restricted to the current session (tools.sessions.visibility=self).",
            ),
            (sessions("agent"), other, false, ""),
            (
                sessions("agent"),
                work,
                false,
                "Session history visibility is restricted. Set tools.sessions.visibility=all to allow cross-agent access.",
            ),
            (sessions("all"), other, false, ""),
            (
                sessions("all"),
                work,
                false,
                "Agent-to-agent history is disabled. Set tools.agentToAgent.enabled=true to allow cross-agent access.",
            ),
            (cross(json!(null)), work, false, ""),
            (cross(json!(["*"])), work, false, ""),
            (cross(json!(["main", "wo*"])), work, false, ""),
            (cross(json!(["work"])), work, false, "Agent-to-agent history denied by tools.agentToAgent.allow."),
            (cross(json!([])), work, false, "Agent-to-agent history denied by tools.agentToAgent.allow."),
        ] {
            let got = may_look(&tools(config.clone()), Look::History, here, target, spawned);
            assert_eq!(got.err().unwrap_or_default(), want, "{config} {target:?}");
        }
    }
}
