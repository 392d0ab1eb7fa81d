//! `hooks` of the configuration (http 6): typed, with defaults and presets in place. What is wrong between its keys is
//! said by `cross` and `policy::hooks`.

use std::path::{Component, Path};

use serde_json::{Value, json};

use super::typed::At;
use crate::limits;
use crate::secret::Secret;

/// Ready-made mappings by name; they come after those of the configuration.
pub const PRESETS: [&str; 1] = ["gmail"];

#[derive(Clone, Debug, PartialEq)]
pub struct Hooks {
    pub enabled: bool,
    pub token: Option<Secret>,
    /// One slash at the start, none at the end; `/` is refused at the start.
    pub path: String,
    pub max_body_bytes: usize,
    pub default_session_key: Option<String>,
    pub allow_request_session_key: bool,
    /// Lower case; None: any key.
    pub allowed_session_key_prefixes: Option<Vec<String>>,
    /// Lower case; None: any agent.
    pub allowed_agent_ids: Option<Vec<String>>,
    pub transforms_dir: Option<String>,
    pub mappings: Vec<HookMapping>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookMapping {
    pub id: String,
    /// Name of the preset it comes from.
    pub preset: Option<&'static str>,
    /// Without slashes at its ends; None: every path.
    pub path: Option<String>,
    /// What `payload.source` must say; None: anything.
    pub source: Option<String>,
    /// `action: "wake"`; else a turn of an agent.
    pub wake: bool,
    pub next_heartbeat: bool,
    pub name: Option<String>,
    pub agent_id: Option<String>,
    pub session_key: Option<String>,
    pub message_template: String,
    pub text_template: String,
    pub deliver: bool,
    pub allow_unsafe_external_content: bool,
    pub channel: Option<String>,
    pub to: Option<String>,
    pub model: Option<String>,
    pub thinking: Option<String>,
    pub timeout_seconds: Option<u64>,
    pub transform: Option<HookTransform>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct HookTransform {
    /// Ours: an executable below the directory of transforms.
    pub command: Option<String>,
    /// A module of the reference, which cannot be run.
    pub module: Option<String>,
}

impl Default for Hooks {
    fn default() -> Self {
        Hooks::read(At(&Value::Null), None)
    }
}

impl Hooks {
    pub(super) fn read(at: At<'_>, token: Option<Secret>) -> Hooks {
        let lower = |items: Vec<String>| -> Vec<String> { items.iter().map(|item| item.to_lowercase()).collect() };
        let list = |key: &str| at.at(key).0.is_array().then(|| lower(at.at(key).texts()));
        let own = at.at("mappings").items().enumerate().map(|(index, at)| HookMapping::read(at, index));
        let mut mappings: Vec<HookMapping> = own.collect();
        for preset in at.at("presets").texts() {
            let value = preset_mapping(&preset);
            let Some(name) = PRESETS.into_iter().find(|name| *name == preset) else { continue };
            let allow = at.at("gmail.allowUnsafeExternalContent").bool().unwrap_or(false);
            let mapping = HookMapping::read(At(&value), mappings.len());
            mappings.push(HookMapping { preset: Some(name), allow_unsafe_external_content: allow, ..mapping });
        }
        Hooks {
            enabled: at.at("enabled").bool().unwrap_or(false),
            token,
            path: base_path(at.at("path").text().unwrap_or_default()),
            max_body_bytes: at
                .at("maxBodyBytes")
                .u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0)
                .unwrap_or(limits::HOOK_BODY_BYTES),
            default_session_key: at.at("defaultSessionKey").string(),
            allow_request_session_key: at.at("allowRequestSessionKey").bool().unwrap_or(false),
            // An empty list of prefixes is none, as in the reference; an empty list of agents is nobody.
            allowed_session_key_prefixes: list("allowedSessionKeyPrefixes").filter(|prefixes| !prefixes.is_empty()),
            allowed_agent_ids: list("allowedAgentIds").filter(|ids| !ids.iter().any(|id| id == "*")),
            transforms_dir: at.at("transformsDir").string(),
            mappings,
        }
    }
}

impl HookMapping {
    fn read(at: At<'_>, index: usize) -> HookMapping {
        let template = |key: &str| at.at(key).text().unwrap_or_default().to_owned();
        let transform = at.at("transform");
        HookMapping {
            id: at.at("id").string().unwrap_or_else(|| format!("mapping-{}", index + 1)),
            preset: None,
            path: at
                .at("match.path")
                .text()
                .map(|path| path.trim().trim_matches('/').to_owned())
                .filter(|p| !p.is_empty()),
            source: at.at("match.source").string(),
            wake: at.at("action").text() == Some("wake"),
            next_heartbeat: at.at("wakeMode").text() == Some("next-heartbeat"),
            name: at.at("name").string(),
            agent_id: at.at("agentId").string(),
            session_key: at.at("sessionKey").string(),
            message_template: template("messageTemplate"),
            text_template: template("textTemplate"),
            deliver: at.at("deliver").bool().unwrap_or(true),
            allow_unsafe_external_content: at.at("allowUnsafeExternalContent").bool().unwrap_or(false),
            channel: at.at("channel").string(),
            to: at.at("to").string(),
            model: at.at("model").string(),
            thinking: at.at("thinking").string(),
            timeout_seconds: at.at("timeoutSeconds").u64(),
            transform: transform.0.is_object().then(|| HookTransform {
                command: transform.at("command").string(),
                module: transform.at("module").string(),
            }),
        }
    }
}

/// Whether a path below the directory of transforms stays there: no `..`, not absolute, not empty.
pub fn stays_below(path: &str) -> bool {
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

fn base_path(text: &str) -> String {
    let text = if text.trim().is_empty() { "/hooks" } else { text.trim() };
    format!("/{}", text.trim_matches('/'))
}

fn preset_mapping(name: &str) -> Value {
    match name {
        "gmail" => json!({
            "id": "gmail",
            "match": {"path": "gmail"},
            "action": "agent",
            "wakeMode": "now",
            "name": "Gmail",
            "sessionKey": "hook:gmail:{{messages[0].id}}",
            "messageTemplate": "New email from {{messages[0].from}}\nSubject: {{messages[0].subject}}\n\
                                {{messages[0].snippet}}\n{{messages[0].body}}",
        }),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections() {
        let value = json!({
            "enabled": true, "path": "in//", "allowedAgentIds": ["Work"], "allowedSessionKeyPrefixes": [" Hook: "],
            "presets": ["gmail", "nope"],
            "mappings": [{"match": {"path": "/a/b/"}, "transform": {"command": "x"}}, {"id": "w", "action": "wake"}],
        });
        let hooks = Hooks::read(At(&value), None);
        assert_eq!((hooks.path.as_str(), hooks.max_body_bytes), ("/in", 262_144));
        assert_eq!(hooks.allowed_agent_ids.as_deref(), Some(&["work".to_owned()][..]));
        assert_eq!(hooks.allowed_session_key_prefixes.as_deref(), Some(&["hook:".to_owned()][..]));
        let ids: Vec<&str> = hooks.mappings.iter().map(|m| m.id.as_str()).collect();
        assert_eq!(ids, ["mapping-1", "w", "gmail"]);
        assert_eq!(hooks.mappings[0].path.as_deref(), Some("a/b"));
        assert_eq!(hooks.mappings[0].transform.as_ref().and_then(|t| t.command.as_deref()), Some("x"));
        assert!(hooks.mappings[1].wake && hooks.mappings[1].deliver && hooks.mappings[2].preset == Some("gmail"));
        let any = Hooks::read(At(&json!({"allowedAgentIds": ["*"], "allowedSessionKeyPrefixes": []})), None);
        assert_eq!((any.allowed_agent_ids, any.allowed_session_key_prefixes), (None, None));
    }

    #[test]
    fn paths() {
        for (text, want) in [("", "/hooks"), ("/", "/"), ("///", "/"), ("x", "/x"), ("/x/y/", "/x/y")] {
            assert_eq!(base_path(text), want, "{text}");
        }
        for (path, below) in [
            ("a", true),
            ("a/b.sh", true),
            ("./a", true),
            ("", false),
            ("/a", false),
            ("../a", false),
            ("a/../../b", false),
        ] {
            assert_eq!(stays_below(path), below, "{path}");
        }
    }
}
