//! Webhooks (http 6), decided: what a request asks for, which session and agent it may reach, and how text of strangers
//! is handed to a model. Requests are read and answered in `server::http::hooks`.

pub mod action;
pub mod external;
pub mod mapping;
pub mod replay;
pub mod template;

use crate::config::hooks::{HookMapping, Hooks};

/// What a session key of our own making begins with.
pub const OWN_PREFIX: &str = "hook:";

/// What forbids a start; texts are literal.
pub fn check(hooks: &Hooks) -> Result<(), String> {
    if !hooks.enabled {
        return Ok(());
    }
    if hooks.token.as_ref().is_none_or(|token| token.is_empty()) {
        return Err("hooks.enabled requires hooks.token".into());
    }
    if hooks.path == "/" {
        return Err("hooks.path may not be '/'".into());
    }
    let Some(prefixes) = &hooks.allowed_session_key_prefixes else {
        // A stranger's text may choose among sessions of hooks, but not leave them.
        return match hooks.mappings.iter().any(chooses_any_session) {
            true => Err("hooks.allowedSessionKeyPrefixes is required when a hook mapping sessionKey uses templates, \
                         even if hooks.allowRequestSessionKey=true"
                .into()),
            false => Ok(()),
        };
    };
    match &hooks.default_session_key {
        Some(key) if !begins_with(key, prefixes) => {
            Err("hooks.defaultSessionKey must match hooks.allowedSessionKeyPrefixes".into())
        }
        None if !begins_with("hook:example", prefixes) => {
            Err("hooks.allowedSessionKeyPrefixes must include 'hook:' when hooks.defaultSessionKey is unset".into())
        }
        _ => Ok(()),
    }
}

fn chooses_any_session(mapping: &HookMapping) -> bool {
    let key = mapping.session_key.as_deref().unwrap_or_default();
    template::has_expressions(key) && !key.trim().to_lowercase().starts_with(OWN_PREFIX)
}

/// Who named a session key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    Request,
    Mapping,
}

/// The session of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionKey {
    pub key: String,
    /// Made for this turn alone.
    pub fresh: bool,
}

/// Which session a turn goes to; the error is the answer's text. `id` makes the key when nobody names one.
pub fn session_key(hooks: &Hooks, asked: Option<&str>, from: KeyFrom, id: &str) -> Result<SessionKey, String> {
    let prefixes = hooks.allowed_session_key_prefixes.as_deref();
    let allowed = |key: &str, fresh: bool| match prefixes {
        Some(prefixes) if !begins_with(key, prefixes) => {
            Err(format!("sessionKey must start with one of: {}", prefixes.join(", ")))
        }
        _ => Ok(SessionKey { key: key.to_owned(), fresh }),
    };
    match asked.map(str::trim).filter(|key| !key.is_empty()) {
        Some(_) if from == KeyFrom::Request && !hooks.allow_request_session_key => {
            Err("sessionKey is disabled for external /hooks/agent payloads; set hooks.allowRequestSessionKey=true to \
                 enable"
                .into())
        }
        Some(key) => allowed(key, false),
        None => match &hooks.default_session_key {
            Some(key) => Ok(SessionKey { key: key.clone(), fresh: false }),
            None => allowed(&format!("{OWN_PREFIX}{id}"), true),
        },
    }
}

/// Whether hooks may name this agent (canonical id).
pub fn check_agent(hooks: &Hooks, agent: &str) -> Result<(), String> {
    match &hooks.allowed_agent_ids {
        Some(ids) if !ids.iter().any(|id| id == agent) => Err("agentId is not allowed by hooks.allowedAgentIds".into()),
        _ => Ok(()),
    }
}

fn begins_with(key: &str, prefixes: &[String]) -> bool {
    let key = key.trim().to_lowercase();
    prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn hooks() -> Hooks {
        Hooks { enabled: true, token: Some(Secret::new("h")), ..Hooks::default() }
    }

    fn prefixes(list: &[&str]) -> Option<Vec<String>> {
        Some(list.iter().map(|p| (*p).to_owned()).collect())
    }

    fn keyed(key: &str) -> Vec<HookMapping> {
        vec![HookMapping { session_key: Some(key.into()), ..HookMapping::default() }]
    }

    #[test]
    fn refused_starts() {
        let ok = "";
        for (case, hooks, want) in [
            ("plain", hooks(), ok),
            ("off", Hooks { enabled: false, path: "/".into(), token: None, ..hooks() }, ok),
            ("no token", Hooks { token: None, ..hooks() }, "hooks.enabled requires hooks.token"),
            ("root", Hooks { path: "/".into(), ..hooks() }, "hooks.path may not be '/'"),
            (
                "default",
                Hooks {
                    default_session_key: Some("x".into()),
                    allowed_session_key_prefixes: prefixes(&["hook:"]),
                    ..hooks()
                },
                "hooks.defaultSessionKey must match hooks.allowedSessionKeyPrefixes",
            ),
            (
                "no hook:",
                Hooks { allowed_session_key_prefixes: prefixes(&["a:"]), ..hooks() },
                "hooks.allowedSessionKeyPrefixes must include 'hook:' when hooks.defaultSessionKey is unset",
            ),
            (
                "other prefix with default",
                Hooks {
                    default_session_key: Some("A:b".into()),
                    allowed_session_key_prefixes: prefixes(&["a:"]),
                    ..hooks()
                },
                ok,
            ),
            ("confined template", Hooks { mappings: keyed("hook:gmail:{{id}}"), ..hooks() }, ok),
            (
                "open template",
                Hooks { mappings: keyed("{{id}}"), allow_request_session_key: true, ..hooks() },
                "hooks.allowedSessionKeyPrefixes is required when a hook mapping sessionKey uses templates, even if \
                 hooks.allowRequestSessionKey=true",
            ),
            (
                "open template with prefixes",
                Hooks { mappings: keyed("{{id}}"), allowed_session_key_prefixes: prefixes(&["hook:"]), ..hooks() },
                ok,
            ),
        ] {
            assert_eq!(check(&hooks).err().unwrap_or_default(), want, "{case}");
        }
    }

    #[test]
    fn session_keys() {
        use KeyFrom::*;
        let open = Hooks { allow_request_session_key: true, ..hooks() };
        let narrow = Hooks { allowed_session_key_prefixes: prefixes(&["hook:", "b:"]), ..open.clone() };
        let default = Hooks { default_session_key: Some("hook:all".into()), ..hooks() };
        let disabled = "sessionKey is disabled for external /hooks/agent payloads; set hooks.allowRequestSessionKey=true to enable";
        let prefix = "sessionKey must start with one of: hook:, b:";
        for (hooks, asked, from, want) in [
            (&hooks(), None, Request, Ok(("hook:id", true))),
            (&hooks(), Some(" "), Request, Ok(("hook:id", true))),
            (&hooks(), Some("a"), Request, Err(disabled)),
            (&hooks(), Some("a"), Mapping, Ok(("a", false))),
            (&open, Some(" a "), Request, Ok(("a", false))),
            (&narrow, Some("a"), Request, Err(prefix)),
            (&narrow, Some("a"), Mapping, Err(prefix)),
            (&narrow, Some("B:x"), Mapping, Ok(("B:x", false))),
            (&default, None, Mapping, Ok(("hook:all", false))),
        ] {
            let got = session_key(hooks, asked, from, "id");
            let got = got.as_ref().map(|s| (s.key.as_str(), s.fresh)).map_err(String::as_str);
            assert_eq!(got, want, "{asked:?} {from:?}");
        }
    }

    #[test]
    fn an_empty_list_of_agents_is_nobody() {
        for (list, agent, allowed) in [
            (None, "any", true),
            (Some(vec![]), "main", false),
            (prefixes(&["a"]), "a", true),
            (prefixes(&["a"]), "b", false),
        ] {
            assert_eq!(
                check_agent(&Hooks { allowed_agent_ids: list.clone(), ..hooks() }, agent).is_ok(),
                allowed,
                "{list:?}"
            );
        }
    }
}
