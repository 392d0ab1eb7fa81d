//! What the agent needs of the rest of the program, and what it was asked to do. Data and ports only; `gateway` fills
//! them in.

use std::sync::Arc;

use serde_json::Value;

use super::intake::Image;
use super::keys::Route;
use super::models::catalog::ModelRef;
use super::models::client::{MakeAgent, Timing};
use super::models::wire::{self, Sampling, Thinking, ToolChoice, ToolSpec};
use super::session::Source;
use crate::config::{Config, Paths};
use crate::hub::run_events::RunEvent;
use crate::metrics::Metrics;
use crate::store::Sessions;

/// A line that waits for the next turn of a session (DECISIONS 46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemLine {
    pub at_ms: u64,
    pub text: String,
}

/// Takes what is queued for a session key.
pub type TakeLines = Box<dyn Fn(&str) -> Vec<SystemLine> + Send + Sync>;
/// Value of an environment variable.
pub type Environment = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What turns need of the rest of the program; filled in by `gateway`.
pub struct World {
    pub hub: Box<dyn Fn(RunEvent) + Send + Sync>,
    /// Takes the queued lines of a session.
    pub system_lines: TakeLines,
    /// Broadcasts the payload of a `chat` event that belongs to no run (`chat.inject`).
    pub chat_event: Box<dyn Fn(Value) + Send + Sync>,
    pub sessions: Sessions,
    pub config: Box<dyn Fn() -> Arc<Config> + Send + Sync>,
    pub paths: Paths,
    pub env: Environment,
    /// Dev profile or `gateway --dev`.
    pub dev: bool,
    pub host: String,
    /// Milliseconds since 1970.
    pub now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
    pub timing: Timing,
    pub make_agent: MakeAgent,
    pub metrics: Arc<Metrics>,
}

/// What a request of the HTTP APIs says beyond its message.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Nothing of the run stays: no entry in the session store, no transcript, no starter files. Its session key must be
    /// one that nobody else uses.
    pub ephemeral: bool,
    /// The conversation before the message, as the client sent it, results of calls that end it included. A session that
    /// knows the conversation takes only what is new to it (`told`).
    pub history: Vec<wire::Message>,
    /// The message is no more than the results at the end of the history: there is nothing new from the user.
    pub continues: bool,
    /// Functions of the client: a call of one ends the run.
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    pub sampling: Sampling,
    /// In place of the agent's model; one that may not be chosen is passed over.
    pub model: Option<ModelRef>,
    /// The run's id was made of a client's key: once it has ended well it is not run again for five minutes.
    pub once: bool,
    /// Where the person is who asks; `webchat` if nobody says.
    pub channel: Option<String>,
    /// Nobody waits for it: it leaves one slot to those who do.
    pub background: bool,
}

/// A request that was accepted.
#[derive(Clone, Debug)]
pub struct Job {
    pub run_id: Arc<str>,
    pub route: Route,
    pub message: String,
    pub images: Vec<Image>,
    pub thinking: Option<Thinking>,
    pub extra_system_prompt: Option<String>,
    pub source: Source,
    /// None: nobody follows the run but the clients.
    pub options: Option<Box<Options>>,
}

impl Job {
    pub fn is_background(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.background)
    }
}
