//! The part of the tree that shows how a gateway is: status, health, logs.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show the gateway, channels, agents and recent sessions at a glance.
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    example = "openclaw status",
    example = "openclaw status --all      a report that can be pasted; secrets are left out",
    example = "openclaw status --json"
)]
pub struct Status {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// the long report
    #[argh(switch)]
    pub all: bool,
    /// also show the usage that providers report
    #[argh(switch)]
    pub usage: bool,
    /// ask the gateway to probe its channels, show its health
    #[argh(switch)]
    pub deep: bool,
    /// milliseconds to wait for an answer (default: 10000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// also show how the gateway is reached
    #[argh(switch)]
    pub verbose: bool,
    /// the same as --verbose
    #[argh(switch)]
    pub debug: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Ask the running gateway for its health: channels, agents, sessions.
#[argh(subcommand, name = "health", help_triggers("-h", "--help"), example = "openclaw health --json")]
pub struct Health {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// milliseconds to wait for an answer (default: 10000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// show how the gateway is reached, probe the channels
    #[argh(switch)]
    pub verbose: bool,
    /// the same as --verbose
    #[argh(switch)]
    pub debug: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show the gateway's log; straight from the file when the gateway does not answer.
#[argh(
    subcommand,
    name = "logs",
    help_triggers("-h", "--help"),
    example = "openclaw logs --limit 50",
    example = "openclaw logs --follow",
    example = "openclaw logs --json | jq -r .message"
)]
pub struct Logs {
    /// lines at most (default: 200)
    #[argh(option, arg_name = "n")]
    pub limit: Option<String>,
    /// bytes of the log file at most (default: 250000)
    #[argh(option, arg_name = "n")]
    pub max_bytes: Option<String>,
    /// go on with new lines as they come
    #[argh(switch)]
    pub follow: bool,
    /// milliseconds between two looks with --follow (default: 1000)
    #[argh(option, arg_name = "ms")]
    pub interval: Option<String>,
    /// one JSON object per line
    #[argh(switch)]
    pub json: bool,
    /// the plain layout also on a terminal
    #[argh(switch)]
    pub plain: bool,
    /// no colours
    #[argh(switch)]
    pub no_color: bool,
    /// local time instead of UTC
    #[argh(switch)]
    pub local_time: bool,
    /// address of the gateway (needs --token)
    #[argh(option, arg_name = "url")]
    pub url: Option<String>,
    /// gateway token
    #[argh(option, arg_name = "token")]
    pub token: Option<String>,
    /// milliseconds to wait for an answer (default: 30000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// wait for the final answer, not only for the acknowledgement
    #[argh(switch)]
    pub expect_final: bool,
}
