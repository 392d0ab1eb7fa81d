//! The part of the tree for conversations: agent, agents, models, sessions, channels.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Run one turn of an agent through the gateway and print what it says.
#[argh(
    subcommand,
    name = "agent",
    help_triggers("-h", "--help"),
    example = "openclaw agent --agent main -m \"what is new?\"",
    example = "openclaw agent --to +15555550123 -m \"status\" --json",
    note = "On a terminal the answer appears while it is written; into a pipe goes only the final text. One of --to, --session-id and --agent is needed."
)]
pub struct Agent {
    /// what to say to the agent
    #[argh(option, short = 'm', arg_name = "text")]
    pub message: String,
    /// phone number (E.164) of the person whose session is meant
    #[argh(option, short = 't', arg_name = "number")]
    pub to: Option<String>,
    /// id of the session
    #[argh(option, arg_name = "id")]
    pub session_id: Option<String>,
    /// id of the agent, with its main session
    #[argh(option, arg_name = "id")]
    pub agent: Option<String>,
    /// how much the model thinks: off, minimal, low, medium, high
    #[argh(option, arg_name = "level")]
    pub thinking: Option<String>,
    /// keep the session's verbose mode on or off
    #[argh(option, arg_name = "on|off")]
    pub verbose: Option<String>,
    /// channel for --deliver
    #[argh(option, arg_name = "channel")]
    pub channel: Option<String>,
    /// deliver to this target instead
    #[argh(option, arg_name = "target")]
    pub reply_to: Option<String>,
    /// deliver through this channel instead
    #[argh(option, arg_name = "channel")]
    pub reply_channel: Option<String>,
    /// deliver from this account
    #[argh(option, arg_name = "id")]
    pub reply_account: Option<String>,
    /// without a gateway; this program always needs one and says so
    #[argh(switch)]
    pub local: bool,
    /// send the answer to the session's channel, too
    #[argh(switch)]
    pub deliver: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// seconds that the turn may take (default: 600)
    #[argh(option, arg_name = "seconds")]
    pub timeout: Option<String>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Look at the chat channels.
#[argh(subcommand, name = "channels", help_triggers("-h", "--help"), example = "openclaw channels status")]
pub struct Channels {
    #[argh(subcommand)]
    pub command: Option<ChannelsCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum ChannelsCommand {
    Status(ChannelsStatus),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show each account of each channel as the gateway sees it.
#[argh(subcommand, name = "status", help_triggers("-h", "--help"), example = "openclaw channels status --probe")]
pub struct ChannelsStatus {
    /// let the gateway try each account
    #[argh(switch)]
    pub probe: bool,
    /// milliseconds to wait for an answer (default: 10000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// List stored conversations, the latest first; reads the files, needs no gateway.
#[argh(
    subcommand,
    name = "sessions",
    help_triggers("-h", "--help"),
    example = "openclaw sessions --active 60",
    example = "openclaw sessions --all-agents --json"
)]
pub struct Sessions {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// more words
    #[argh(switch)]
    pub verbose: bool,
    /// this sessions.json instead of the configured one
    #[argh(option, arg_name = "path")]
    pub store: Option<String>,
    /// sessions of this agent (otherwise the default agent)
    #[argh(option, arg_name = "id")]
    pub agent: Option<String>,
    /// sessions of all agents
    #[argh(switch)]
    pub all_agents: bool,
    /// only sessions used in the last so many minutes
    #[argh(option, arg_name = "minutes")]
    pub active: Option<String>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Look at the configured agents.
#[argh(subcommand, name = "agents", help_triggers("-h", "--help"), example = "openclaw agents list")]
pub struct Agents {
    #[argh(subcommand)]
    pub command: Option<AgentsCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum AgentsCommand {
    List(AgentsList),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// List the agents with their directories and routing rules.
#[argh(subcommand, name = "list", help_triggers("-h", "--help"), example = "openclaw agents list --json")]
pub struct AgentsList {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// show each routing rule
    #[argh(switch)]
    pub bindings: bool,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Look at the models that agents can use.
#[argh(subcommand, name = "models", help_triggers("-h", "--help"), example = "openclaw models list")]
pub struct Models {
    #[argh(subcommand)]
    pub command: Option<ModelsCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum ModelsCommand {
    List(ModelsList),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// List models: the chosen ones, or everything that is known.
#[argh(subcommand, name = "list", help_triggers("-h", "--help"), example = "openclaw models list --all")]
pub struct ModelsList {
    /// every known model, not only the chosen ones
    #[argh(switch)]
    pub all: bool,
    /// only models on this machine or this network
    #[argh(switch)]
    pub local: bool,
    /// only this provider
    #[argh(option, arg_name = "name")]
    pub provider: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// names only, one per line
    #[argh(switch)]
    pub plain: bool,
}
