//! What an agent, or a caller of `POST /tools/invoke`, can have done: one table of tools with their parameters.
//!
//! Runs on the thread of whoever asks; a tool may take as long as its own limits say. Which tools a caller has is
//! decided in `policy::tools`.

mod agents;
mod sessions;
mod status;
mod web_fetch;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::fetch::Stopping;
use super::keys::{self, Route};
use super::world::World;
use crate::config::Config;
use crate::policy::tools::{Asker, admits};

/// One tool, as models and callers know it.
pub struct Tool {
    pub name: &'static str,
    pub description: &'static str,
    /// JSON schema of the arguments, an object.
    pub parameters: fn() -> Value,
    /// Switched on by its own setting.
    pub enabled: fn(&Config) -> bool,
    pub run: fn(&Call<'_>) -> Result<Output, ToolError>,
}

pub static TOOLS: &[Tool] =
    &[agents::AGENTS_LIST, status::SESSION_STATUS, sessions::HISTORY, sessions::LIST, web_fetch::WEB_FETCH];

/// What tools work with. One for the gateway.
pub struct Toolbox {
    world: Arc<World>,
    /// Turns that wait for a lane.
    queued: Box<dyn Fn() -> usize + Send + Sync>,
    pages: web_fetch::Pages,
}

/// One use of a tool.
pub struct Call<'a> {
    pub toolbox: &'a Toolbox,
    pub config: &'a Config,
    /// The session that asks.
    pub asker: &'a Route,
    pub args: &'a Map<String, Value>,
    pub stopping: Stopping,
}

/// What a tool gives: text for a model, and the same as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub text: String,
    pub details: Value,
}

/// Why a tool gave nothing. The texts are for whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolError {
    /// The arguments are to blame.
    Input(String),
    /// The world is.
    Failed(String),
}

impl Toolbox {
    pub fn new(world: Arc<World>, queued: Box<dyn Fn() -> usize + Send + Sync>) -> Toolbox {
        Toolbox { world, queued, pages: web_fetch::Pages::default() }
    }
}

/// The tools that this caller has.
pub fn offered<'c>(config: &'c Config, asker: Asker<'c>) -> impl Iterator<Item = &'static Tool> + 'c {
    TOOLS.iter().filter(move |tool| (tool.enabled)(config) && admits(&config.tools, asker, tool.name))
}

/// A session that was spawned by another one: its key says so.
pub fn is_subagent(key: &str) -> bool {
    key.split(':').nth(2) == Some("subagent")
}

impl Output {
    /// The data, and the same as indented text.
    pub fn json(details: Value) -> Output {
        let text = serde_json::to_string_pretty(&details).expect("values have string keys");
        Output { text, details }
    }
}

impl Call<'_> {
    /// A text argument, trimmed; blank counts as missing.
    fn text(&self, name: &str) -> Option<&str> {
        self.args.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str) -> Result<&str, ToolError> {
        self.text(name).ok_or_else(|| ToolError::Input(format!("{name} required")))
    }

    /// A whole number of at least one, also when it comes as text.
    fn count(&self, name: &str) -> Option<usize> {
        let value = self.args.get(name)?;
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
        (number.is_finite() && number >= 0.0).then(|| (number as usize).max(1))
    }

    fn flag(&self, name: &str) -> bool {
        self.args.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// The session that an argument names: a key, `main`, or a session's id.
    fn route(&self, given: &str) -> Result<Route, ToolError> {
        if given.eq_ignore_ascii_case(keys::MAIN) {
            return Ok(keys::main_of(&self.asker.agent, self.config));
        }
        if let Some(entry) = self.toolbox.world.sessions.find_session_id(given) {
            return Ok(Route { key: entry.key.to_string(), agent: entry.agent.to_string(), session_id: None });
        }
        keys::canonical(given, self.config).map_err(|_| ToolError::Input(format!("malformed session key \"{given}\"")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_describes_itself() {
        for tool in TOOLS {
            let parameters = (tool.parameters)();
            assert_eq!(parameters["type"], "object", "{}", tool.name);
            assert!(parameters["properties"].is_object() && tool.description.ends_with('.'), "{}", tool.name);
            let properties = parameters["properties"].as_object().unwrap();
            for required in parameters["required"].as_array().into_iter().flatten() {
                assert!(properties.contains_key(required.as_str().unwrap()), "{}", tool.name);
            }
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{} {name}", tool.name);
            }
        }
        let names: Vec<&str> = TOOLS.iter().map(|tool| tool.name).collect();
        assert!(names.is_sorted(), "{names:?}");
    }

    #[test]
    fn spawned_sessions() {
        for (key, want) in [
            ("agent:main:subagent:x", true),
            ("agent:main:main", false),
            ("agent:main:x:subagent:y", false),
            ("global", false),
        ] {
            assert_eq!(is_subagent(key), want, "{key}");
        }
    }
}
