//! Whom a request of the OpenAI-like APIs means: agent, model, session (http 3.1).

use std::sync::Arc;

use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::session;
use crate::http::{Head, Reply};
use crate::ids;
use crate::limits::IDEMPOTENCY_KEY_CHARS;
use crate::server::http::{Request, api_error};

/// What stands for the default agent, and the first part of the names of all.
pub const MODEL: &str = "openclaw";
/// Sessions of ours, which a client may not enter by name.
const RESERVED: [&str; 3] = ["subagent:", "cron:", "acp:"];

const CHANNEL_CHARS: usize = 32;

/// Agent, model and session of one request.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub agent: String,
    /// In place of the agent's own model.
    pub model: Option<ModelRef>,
    pub session_key: String,
    /// Nobody named a session: nothing is kept.
    pub ephemeral: bool,
    /// The run's id where the client sent `Idempotency-Key`.
    pub once: Option<Arc<str>>,
}

impl Target {
    /// `api` is the part of session keys that names the interface (`openai`, `openresponses`), `id` the first part of
    /// the ids of its answers (`chatcmpl_`).
    pub fn of(
        request: &Request,
        body: &[u8],
        model: &str,
        user: Option<&str>,
        api: &str,
        id: &str,
    ) -> Result<Self, Reply> {
        let head = &request.head;
        let once = once(head, body, id)?;
        let unique = match &once {
            Some(run_id) => run_id.to_string(),
            None => ids::new_uuid(),
        };
        with_catalog(request, |catalog| {
            let agent = agent(head, model, catalog)?;
            let directory = session::agent_dir(catalog.config, &request.doors.ctx.paths, &agent);
            let model = match given(head, "x-openclaw-model") {
                Some(text) => Some(named_model(text, catalog, &directory)?),
                None => configured_model(model, &agent, catalog, &directory),
            };
            let (session_key, ephemeral) = match (given(head, "x-openclaw-session-key"), user) {
                (Some(key), _) => (session_key(key)?, false),
                (None, Some(user)) => (format!("agent:{agent}:{api}-user:{}", user.to_lowercase()), false),
                (None, None) => (format!("agent:{agent}:{api}:{unique}"), true),
            };
            Ok(Target { agent, model, session_key, ephemeral, once })
        })
    }

    /// The agent that a bare session key belongs to; a whole key names its own.
    pub fn agent_of_key(&self) -> Option<String> {
        let whole = self.session_key.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("agent:"));
        (!whole).then(|| self.agent.clone())
    }
}

/// The models of this moment.
pub fn with_catalog<T>(request: &Request, run: impl FnOnce(&Catalog<'_>) -> T) -> T {
    let env = |name: &str| request.live.var(name);
    run(&Catalog { config: &request.live.config, env: &env, dev: request.doors.ctx.dev })
}

/// A header that says something.
pub fn given<'a>(head: &'a Head, name: &str) -> Option<&'a str> {
    head.header(name).map(str::trim).filter(|text| !text.is_empty())
}

/// The channel that a client speaks for; part of the prompt, so no more than a word.
pub fn channel(head: &Head) -> Option<String> {
    let name = given(head, "x-openclaw-message-channel")?.to_lowercase();
    let word = name.len() <= CHANNEL_CHARS && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    word.then_some(name)
}

fn agent(head: &Head, model: &str, catalog: &Catalog<'_>) -> Result<String, Reply> {
    let named = given(head, "x-openclaw-agent-id").or_else(|| given(head, "x-openclaw-agent"));
    let agents = &catalog.config.agents;
    match named.or_else(|| agent_of_model(model)) {
        Some(text) => {
            let id = text.to_lowercase();
            if agents.knows(&id) {
                Ok(id)
            } else if named.is_none() && id == "default" {
                Ok(agents.default_id().to_owned())
            } else {
                Err(refuse(400, &format!("Unknown agent '{text}'.")))
            }
        }
        None => Ok(agents.default_id().to_owned()),
    }
}

/// `openclaw/<id>`, `openclaw:<id>`, `agent:<id>`; None for any other model.
pub fn agent_of_model(model: &str) -> Option<&str> {
    let lower = model.to_ascii_lowercase();
    let prefix = ["openclaw/", "openclaw:", "agent:"].into_iter().find(|prefix| lower.starts_with(prefix))?;
    Some(model[prefix.len()..].trim())
}

/// A model that is asked for by name has to be one that can be asked.
pub fn named_model(text: &str, catalog: &Catalog<'_>, directory: &std::path::Path) -> Result<ModelRef, Reply> {
    let id = catalog.find(text).filter(|id| catalog.names_a_model(text, id));
    let id = id.ok_or_else(|| refuse(404, &format!("Unknown model: {text}. `openclaw models list` shows them.")))?;
    catalog.allowed(&id).map_err(|why| refuse(400, &why))?;
    match catalog.endpoint(&id, directory) {
        Ok(_) => Ok(id),
        Err(why) => Err(refuse(404, why.text())),
    }
}

/// `model` of the body: an alias or a reference that the configuration knows; any other name means nothing.
fn configured_model(text: &str, agent: &str, catalog: &Catalog<'_>, directory: &std::path::Path) -> Option<ModelRef> {
    let id = catalog.find(text).filter(|id| catalog.names_a_model(text, id))?;
    let config = catalog.config;
    let same = |other: &str| catalog.find(other).as_ref() == Some(&id);
    let known = config.agents.defaults.models.keys().any(|other| same(other))
        || catalog.chain(agent, directory).contains(&id)
        || config
            .models
            .providers
            .iter()
            .any(|(provider, entry)| entry.models.iter().any(|model| same(&format!("{provider}/{}", model.id))));
    (known && catalog.allowed(&id).is_ok()).then_some(id)
}

fn session_key(key: &str) -> Result<String, Reply> {
    let lower = key.to_lowercase();
    let rest = match lower.strip_prefix("agent:") {
        Some(rest) => rest.split_once(':').map_or("", |(_, rest)| rest),
        None => &lower,
    };
    if RESERVED.iter().any(|prefix| rest.trim_start().starts_with(prefix)) {
        return Err(refuse(400, "Session keys that begin with subagent:, cron: or acp: belong to the gateway."));
    }
    Ok(key.to_owned())
}

/// The same key with the same request is the same run.
fn once(head: &Head, body: &[u8], prefix: &str) -> Result<Option<Arc<str>>, Reply> {
    let Some(key) = given(head, "idempotency-key") else { return Ok(None) };
    if key.chars().count() > IDEMPOTENCY_KEY_CHARS {
        let text = format!("`Idempotency-Key` has at most {IDEMPOTENCY_KEY_CHARS} characters.");
        return Err(refuse(400, &text));
    }
    let mut sum = ids::Sha256::new();
    let headers = ["x-openclaw-agent-id", "x-openclaw-agent", "x-openclaw-model", "x-openclaw-session-key"];
    let named = headers.map(|name| given(head, name).unwrap_or_default());
    for part in [head.path(), key].into_iter().chain(named) {
        sum.update(part.as_bytes());
        sum.update(b"\n");
    }
    sum.update(body);
    let hex = sum.hex();
    Ok(Some(format!("{prefix}{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]).into()))
}

fn refuse(status: u16, message: &str) -> Reply {
    api_error(status, message, "invalid_request_error")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn agents_in_model_names() {
        for (model, agent) in [
            ("openclaw/main", Some("main")),
            ("OpenClaw:Beta", Some("Beta")),
            ("agent:x", Some("x")),
            ("openclaw", None),
            ("openclaw-mini", None),
            ("gpt-4o", None),
            ("mock/mock-1", None),
            ("", None),
        ] {
            assert_eq!(agent_of_model(model), agent, "{model}");
        }
    }

    #[test]
    fn keys_of_the_gateway_are_refused() {
        for key in ["mykey", "agent:beta:z", "agent:main:main", "a:cron:b", "subagents"] {
            assert_eq!(session_key(key).ok().as_deref(), Some(key));
        }
        for key in ["subagent:x", "CRON:x", "acp:x", "agent:main:subagent:x", "agent:beta:cron:1"] {
            assert_eq!(session_key(key).err().map(|reply| reply.status()), Some(400), "{key}");
        }
    }

    #[test]
    fn a_model_name_counts_only_where_the_configuration_knows_it() {
        let mut config = Config::default();
        let listed = ["openai/gpt-4o", "builtin/echo"];
        config.agents.defaults.models = listed.map(|id| (id.to_owned(), Default::default())).into_iter().collect();
        let catalog = Catalog { config: &config, env: &|_| None, dev: false };
        let nowhere = std::path::Path::new("/nonexistent");
        for (name, known) in [
            ("openai/gpt-4o", true),
            ("builtin/echo", true),
            ("openai/gpt-5", false),
            ("gpt-4o", false),
            ("openclaw", false),
        ] {
            assert_eq!(configured_model(name, "main", &catalog, nowhere).is_some(), known, "{name}");
        }
        for (name, status) in [
            ("builtin/echo", None),
            // No key, not in the list, nobody's.
            ("openai/gpt-4o", Some(404)),
            ("openai/gpt-5", Some(400)),
            ("zz/zz", Some(404)),
        ] {
            assert_eq!(named_model(name, &catalog, nowhere).err().map(|reply| reply.status()), status, "{name}");
        }
    }
}
