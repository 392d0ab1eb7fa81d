//! Session keys and agent ids in their one canonical form, and which session a request means (agent 1, protocol 10).
//! Pure.

use crate::config::Config;
use crate::protocol::ErrorShape;
use crate::store::transcript::valid_session_id;

/// Longest key that is taken from a client.
const KEY_CHARS: usize = 512;
/// Longest agent id.
const AGENT_ID_CHARS: usize = 64;
/// The session of an agent that everything without a session of its own goes to (`session.mainKey` is forced to it).
pub const MAIN: &str = "main";
const GLOBAL: &str = "global";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// `agent:`, `agent::x`, `agent:x`, control characters, too long.
    Malformed,
}

/// A canonical key and the agent whose files hold the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub key: String,
    pub agent: String,
    /// Session id that a new session must get (`sessionId` of a request that no session has).
    pub session_id: Option<String>,
}

/// What a request says about its session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    pub session_key: Option<&'a str>,
    pub session_id: Option<&'a str>,
    pub agent_id: Option<&'a str>,
    pub to: Option<&'a str>,
}

/// Lower case; runs of other characters become one dash, dashes at the edges go; 64 characters; empty is `main`.
pub fn agent_id(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' | '-' => out.push(c),
            _ if out.ends_with('-') => {}
            _ => out.push('-'),
        }
    }
    let out = out.trim_matches('-');
    let out: String = out.chars().take(AGENT_ID_CHARS).collect();
    let out = out.trim_end_matches('-');
    // An id begins with a letter or digit.
    let out = out.trim_start_matches(['_', '-']);
    if out.is_empty() { MAIN.to_owned() } else { out.to_owned() }
}

/// The canonical form of a key as a client wrote it.
pub fn canonical(key: &str, config: &Config) -> Result<Route, KeyError> {
    let key = key.trim().to_lowercase();
    if key.chars().count() > KEY_CHARS || key.chars().any(char::is_control) {
        return Err(KeyError::Malformed);
    }
    let default = config.agents.default_id();
    let of_default = |key: String| Route { key, agent: default.to_owned(), session_id: None };
    match key.as_str() {
        "" | MAIN => return Ok(main_of(default, config)),
        GLOBAL | "unknown" => return Ok(of_default(key)),
        _ => {}
    }
    let Some(rest) = key.strip_prefix("agent:") else {
        return Ok(of_default(format!("agent:{default}:{key}")));
    };
    let Some((agent, rest)) = rest.split_once(':') else { return Err(KeyError::Malformed) };
    if agent.trim().is_empty() || rest.trim().is_empty() || rest.starts_with(':') {
        return Err(KeyError::Malformed);
    }
    let agent = agent_id(agent);
    if rest == MAIN {
        return Ok(main_of(&agent, config));
    }
    Ok(Route { key: format!("agent:{agent}:{rest}"), agent, session_id: None })
}

/// The main session of an agent; with `session.scope: "global"` there is one for all.
pub fn main_of(agent: &str, config: &Config) -> Route {
    let key = if config.session.global_scope { GLOBAL.to_owned() } else { format!("agent:{agent}:{MAIN}") };
    let agent = if config.session.global_scope { config.agents.default_id() } else { agent };
    Route { key, agent: agent.to_owned(), session_id: None }
}

/// The key of a `chat.*` request.
pub fn route_chat(method: &str, key: &str, config: &Config) -> Result<Route, ErrorShape> {
    let route = canonical(key, config)
        .map_err(|_| ErrorShape::invalid(format!("invalid {method} params: malformed session key \"{key}\"")))?;
    known_agent(method, &route.agent, &route.agent, config)?;
    Ok(route)
}

/// Which session an `agent` request means. `find` looks a session id up and gives its key and agent. None: the request
/// names nothing, which fails after it was accepted (DECISIONS 50).
pub fn route_agent(
    wanted: Wanted<'_>,
    config: &Config,
    find: &dyn Fn(&str) -> Option<(String, String)>,
) -> Result<Option<Route>, ErrorShape> {
    let given = |text: Option<&str>| text.map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned);
    let agent = match given(wanted.agent_id) {
        Some(text) => {
            let id = agent_id(&text);
            known_agent("agent", &id, &text, config)?;
            Some(id)
        }
        None => None,
    };
    let same_agent = |route: &Route| match &agent {
        Some(id) if *id != route.agent => Err(ErrorShape::invalid(format!(
            "invalid agent params: agent \"{id}\" does not match session key agent \"{}\"",
            route.agent
        ))),
        _ => Ok(()),
    };
    if let Some(key) = given(wanted.session_key) {
        // A bare key belongs to the agent that was named beside it.
        let full = match &agent {
            Some(id) if !key.to_lowercase().starts_with("agent:") => format!("agent:{id}:{key}"),
            _ => key.clone(),
        };
        let route = canonical(&full, config)
            .map_err(|_| ErrorShape::invalid(format!("invalid agent params: malformed session key \"{key}\"")))?;
        same_agent(&route)?;
        known_agent("agent", &route.agent, &route.agent, config)?;
        return Ok(Some(route));
    }
    if let Some(id) = given(wanted.session_id) {
        if let Some((key, agent)) = find(&id) {
            let route = Route { key, agent, session_id: None };
            same_agent(&route)?;
            return Ok(Some(route));
        }
        if !valid_session_id(&id) {
            return Err(ErrorShape::invalid(
                "invalid agent params: sessionId may hold letters, digits, \"-\", \"_\" and \".\" only",
            ));
        }
        let agent = agent.unwrap_or_else(|| config.agents.default_id().to_owned());
        let key = format!("agent:{agent}:explicit:{}", id.to_lowercase());
        return Ok(Some(Route { key, agent, session_id: Some(id) }));
    }
    if agent.is_some() || given(wanted.to).is_some() {
        return Ok(Some(main_of(agent.as_deref().unwrap_or(config.agents.default_id()), config)));
    }
    Ok(None)
}

fn known_agent(method: &str, id: &str, given: &str, config: &Config) -> Result<(), ErrorShape> {
    if config.agents.knows(id) {
        return Ok(());
    }
    Err(ErrorShape::invalid(format!("invalid {method} params: unknown agent id \"{given}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Agent;

    fn config(ids: &[&str]) -> Config {
        let mut config = Config::default();
        config.agents.list = ids.iter().map(|id| Agent { id: (*id).into(), ..Agent::default() }).collect();
        config
    }

    #[test]
    fn agent_ids() {
        for (text, want) in [
            ("main", "main"),
            (" Main ", "main"),
            ("", "main"),
            ("---", "main"),
            ("Büro 1!", "b-ro-1"),
            ("a//b", "a-b"),
            ("_x", "x"),
        ] {
            assert_eq!(agent_id(text), want, "{text}");
        }
        assert_eq!(agent_id(&"a".repeat(100)).len(), 64);
    }

    #[test]
    fn canonical_keys() {
        let config = config(&["main", "work"]);
        for (key, want) in [
            ("main", Ok("agent:main:main")),
            (" MAIN ", Ok("agent:main:main")),
            ("", Ok("agent:main:main")),
            ("agent:main:main", Ok("agent:main:main")),
            ("agent:Work:Main", Ok("agent:work:main")),
            ("Telegram:group:-1", Ok("agent:main:telegram:group:-1")),
            ("agent:main:cron:x:run:y", Ok("agent:main:cron:x:run:y")),
            ("global", Ok("global")),
            ("unknown", Ok("unknown")),
            ("agent:", Err(KeyError::Malformed)),
            ("agent::x", Err(KeyError::Malformed)),
            ("agent:x", Err(KeyError::Malformed)),
            ("agent:x:", Err(KeyError::Malformed)),
            ("agent:x::y", Err(KeyError::Malformed)),
            ("a\u{0}b", Err(KeyError::Malformed)),
        ] {
            assert_eq!(canonical(key, &config).map(|r| r.key).as_deref(), want.as_ref().map(|k| *k), "{key}");
        }
        let mut global = config.clone();
        global.session.global_scope = true;
        for key in ["main", "agent:main:main", "agent:work:main", "global"] {
            assert_eq!(canonical(key, &global).unwrap().key, "global");
        }
        assert_eq!(canonical("other", &global).unwrap().key, "agent:main:other");
    }

    #[test]
    fn routes_of_agent_requests() {
        let config = config(&["main", "work"]);
        let find = |id: &str| (id == "known").then(|| ("agent:work:x".to_owned(), "work".to_owned()));
        let table: [(Wanted<'_>, Result<Option<&str>, &str>); 14] = [
            (Wanted::default(), Ok(None)),
            (Wanted { to: Some("+1"), ..Wanted::default() }, Ok(Some("agent:main:main"))),
            (Wanted { to: Some(" "), ..Wanted::default() }, Ok(None)),
            (Wanted { agent_id: Some("Work"), ..Wanted::default() }, Ok(Some("agent:work:main"))),
            (
                Wanted { agent_id: Some("Nope"), ..Wanted::default() },
                Err("invalid agent params: unknown agent id \"Nope\""),
            ),
            (Wanted { session_key: Some("main"), ..Wanted::default() }, Ok(Some("agent:main:main"))),
            (
                Wanted { session_key: Some("main"), agent_id: Some("work"), ..Wanted::default() },
                Ok(Some("agent:work:main")),
            ),
            (
                Wanted { session_key: Some("agent:main:x"), agent_id: Some("work"), ..Wanted::default() },
                Err("invalid agent params: agent \"work\" does not match session key agent \"main\""),
            ),
            (
                Wanted { session_key: Some("agent::x"), ..Wanted::default() },
                Err("invalid agent params: malformed session key \"agent::x\""),
            ),
            (
                Wanted { session_key: Some("agent:ghost:x"), ..Wanted::default() },
                Err("invalid agent params: unknown agent id \"ghost\""),
            ),
            (Wanted { session_id: Some("known"), ..Wanted::default() }, Ok(Some("agent:work:x"))),
            (Wanted { session_id: Some("New-1"), ..Wanted::default() }, Ok(Some("agent:main:explicit:new-1"))),
            (
                Wanted { session_id: Some("../x"), ..Wanted::default() },
                Err("invalid agent params: sessionId may hold letters, digits, \"-\", \"_\" and \".\" only"),
            ),
            (
                Wanted { session_id: Some("known"), agent_id: Some("main"), ..Wanted::default() },
                Err("invalid agent params: agent \"main\" does not match session key agent \"work\""),
            ),
        ];
        for (wanted, want) in table {
            let got = route_agent(wanted, &config, &find);
            let got = got.as_ref().map(|r| r.as_ref().map(|r| r.key.as_str())).map_err(|e| e.message.as_str());
            assert_eq!(got, want, "{wanted:?}");
        }
    }
}
