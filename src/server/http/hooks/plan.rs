//! What a webhook's request would do, worked out without doing it: for the gateway, and for `openclaw hooks test`.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::transform::Said;
use crate::agent::keys;
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::models::wire::Thinking;
use crate::config::Config;
use crate::config::hooks::HookMapping;
use crate::http::query;
use crate::ids;
use crate::limits;
use crate::policy::hooks::action::{Action, Turn, Wake};
use crate::policy::hooks::external::{self, Envelope};
use crate::policy::hooks::mapping;
use crate::policy::hooks::template::{Facts, cut};
use crate::policy::hooks::{self as rules, KeyFrom, SessionKey};
use crate::server::http::json_body;
use crate::text::untrusted;

/// Channels that a turn's answer can go to.
const CHANNELS: &[&str] = &[];
/// Headers that carry a secret: neither templates nor transforms see them.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "x-openclaw-token", "cookie"];

/// A request, without its connection.
pub struct Incoming<'a> {
    pub config: &'a Config,
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Dev profile or `gateway --dev`.
    pub dev: bool,
    pub payload: &'a Value,
    /// Below `hooks.path`.
    pub path: &'a str,
    pub headers: Map<String, Value>,
    pub query: Map<String, Value>,
    /// ISO time.
    pub now: String,
}

pub enum Plan {
    /// A transform says that nothing is to be done.
    Nothing,
    Wake(Wake),
    Run(Box<Run>),
}

/// A turn of an agent.
pub struct Run {
    pub name: String,
    pub agent: String,
    pub session: SessionKey,
    pub model: Option<ModelRef>,
    pub thinking: Option<Thinking>,
    pub timeout: Option<Duration>,
    /// As the model sees it.
    pub message: String,
    /// What a repetition of the request has in common with it.
    pub fingerprint: Value,
}

pub enum Refused {
    /// Nobody's path.
    NotFound,
    Bad(String),
    /// A transform failed; the text is for the log.
    Failed(String),
    Busy(String),
}

/// Runs the transform of a mapping.
pub type RunTransform<'a> = dyn Fn(&str, &Facts<'_>) -> Result<Said, Refused> + 'a;

impl<'a> Incoming<'a> {
    /// The mapping that the request fits.
    pub fn mapping(&self) -> Option<&'a HookMapping> {
        match self.path {
            "wake" | "agent" => None,
            path => mapping::find(&self.config.hooks.mappings, path, self.payload),
        }
    }

    pub fn plan(&self, transform: &RunTransform<'_>) -> Result<Plan, Refused> {
        match self.path {
            "wake" => Ok(wake(Wake::of(self.payload).map_err(Refused::Bad)?)),
            "agent" => {
                let turn = Turn::of(self.payload, CHANNELS).map_err(Refused::Bad)?;
                self.run(&turn, KeyFrom::Request)
            }
            _ => self.mapped(transform),
        }
    }

    fn mapped(&self, transform: &RunTransform<'_>) -> Result<Plan, Refused> {
        let found = self.mapping().ok_or(Refused::NotFound)?;
        let facts = Facts {
            path: self.path.trim_end_matches('/'),
            payload: self.payload,
            headers: &self.headers,
            query: &self.query,
            now: &self.now,
        };
        let command = found.transform.as_ref().and_then(|t| t.command.as_deref());
        let fields = match command.map(|command| transform(command, &facts)).transpose()? {
            Some(Said::Skip) => return Ok(Plan::Nothing),
            Some(Said::Fields(fields)) => Some(fields),
            None => None,
        };
        match mapping::act(found, &facts, fields.as_ref()).map_err(Refused::Bad)? {
            Action::Wake(text) => Ok(wake(text)),
            Action::Agent(turn) => {
                turn.check_channel(CHANNELS).map_err(Refused::Bad)?;
                self.run(&turn, KeyFrom::Mapping)
            }
        }
    }

    fn run(&self, turn: &Turn, from: KeyFrom) -> Result<Plan, Refused> {
        let id = ids::new_uuid();
        let (session, agent) = self.session(turn, from, &id).map_err(Refused::Bad)?;
        let model = turn.model.as_deref().map(|text| self.model(text)).transpose().map_err(Refused::Bad)?;
        let name = turn.shown_name();
        let email = session.key.to_lowercase().starts_with("hook:gmail:");
        let message = match turn.allow_unsafe_external_content {
            // Never the first word: that could be a command.
            true => format!("[hook:{id} {name}] {}", turn.message),
            false => external::wrap(
                &turn.message,
                &Envelope {
                    name: &name,
                    job_id: &id,
                    received: &self.now,
                    source: if email { "Email" } else { "Webhook" },
                    marker: &ids::hex(&ids::random_bytes::<8>()),
                },
            ),
        };
        Ok(Plan::Run(Box::new(Run {
            name,
            agent,
            session,
            model,
            thinking: turn.thinking.as_deref().and_then(Thinking::parse),
            timeout: turn.timeout_seconds.map(Duration::from_secs),
            message,
            fingerprint: turn.fingerprint(),
        })))
    }

    /// The session key, and the agent it belongs to. A key that names an agent is judged like `agentId`.
    pub fn session(&self, turn: &Turn, from: KeyFrom, id: &str) -> Result<(SessionKey, String), String> {
        let config = self.config;
        let unknown = |agent: &str| format!("unknown agentId \"{agent}\"");
        let named = turn.agent_id.as_deref().map(keys::agent_id);
        if let Some(agent) = &named {
            rules::check_agent(&config.hooks, agent)?;
            if !config.agents.knows(agent) {
                return Err(unknown(turn.agent_id.as_deref().unwrap_or_default()));
            }
        }
        let session = rules::session_key(&config.hooks, turn.session_key.as_deref(), from, id)?;
        let of_key = keys::canonical(&session.key, config).map_err(|_| "sessionKey is malformed".to_owned())?.agent;
        let names_agent = session.key.trim().to_lowercase().starts_with("agent:");
        if let Some(agent) = named {
            return match names_agent && agent != of_key {
                true => Err(format!("agentId \"{agent}\" does not match the agent of sessionKey")),
                false => Ok((session, agent)),
            };
        }
        if names_agent {
            rules::check_agent(&config.hooks, &of_key)?;
        }
        if config.agents.knows(&of_key) { Ok((session, of_key)) } else { Err(unknown(&of_key)) }
    }

    /// An alias or a reference to a model that may be used.
    pub fn model(&self, text: &str) -> Result<ModelRef, String> {
        let catalog = Catalog { config: self.config, env: self.env, dev: self.dev };
        let found = catalog.find(text).filter(|id| catalog.names_a_model(text, id));
        let found = found.ok_or_else(|| format!("unknown model \"{text}\""))?;
        catalog.allowed(&found).map_err(|_| format!("model \"{text}\" is not allowed by agents.defaults.models"))?;
        Ok(found)
    }
}

/// A body as hooks read it: what is neither an object nor a list is the empty object.
pub fn payload(bytes: &[u8]) -> Result<Value, String> {
    let value = json_body(bytes).map_err(|e| format!("the body cannot be read: {e}"))?;
    Ok(if value.is_object() || value.is_array() { value } else { json!({}) })
}

/// The headers as templates and transforms see them; several of one name are joined.
pub fn headers<'h>(all: impl Iterator<Item = (&'h str, &'h str)>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in all {
        let name = name.to_lowercase();
        if SECRET_HEADERS.contains(&name.as_str()) {
            continue;
        }
        match out.get_mut(&name) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(value);
            }
            _ => drop(out.insert(name, json!(value))),
        }
    }
    out
}

/// The query of a target, by name; of several the last counts.
pub fn query_of(target: &str) -> Map<String, Value> {
    query::pairs(target).into_iter().map(|(name, value)| (name, json!(value))).collect()
}

/// The text as the main session gets it: one line, in which nothing passes for a second one or for a marker of ours.
fn wake(mut wake: Wake) -> Plan {
    wake.text = untrusted::one_line(&wake.text, limits::HOOK_EVENT_BYTES);
    cut(&mut wake.text, limits::HOOK_EVENT_BYTES);
    Plan::Wake(wake)
}
