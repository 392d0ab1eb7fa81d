//! The command tree: every command, option and one-line description, once. Help texts, the normaliser of the
//! command line and the test of the manual pages all read it as data through [`tree`].
//!
//! Nothing is done here; each command's work is in the file that carries its name, its options are in the part of
//! the tree where its meaning puts it. Options are what OpenClaw 2026.3 registers for the same command, in the same order.

use argh::{ArgsInfo, FromArgs};

mod agents;
mod care;
mod first;
mod gateway;
mod hooks;
mod operate;
mod watch;

pub use agents::*;
pub use care::*;
pub use first::*;
pub use gateway::*;
pub use hooks::*;
pub use operate::*;
pub use watch::*;

pub use argh::{CommandInfoWithArgs as CommandInfo, FlagInfoKind, Optionality};

pub type FlagInfo = argh::FlagInfo<'static>;

/// The whole tree as data: name, description, options, arguments, commands, examples, notes.
pub fn tree() -> CommandInfo {
    Top::get_args_info()
}

/// Commands that do something without a sub-command, by their words; every other one with sub-commands prints its help.
pub const GROUPS_THAT_RUN: [&str; 2] = ["gateway", "agents"];

/// Options of `gateway` that its sub-commands inherit, before and after their name.
pub const GATEWAY_INHERITED: [&str; 4] = ["--port", "--token", "--password", "--force"];

/// Values that an option is limited to; the parser refuses others with the list.
pub const CHOICES: [(&str, &[&str]); 2] = [
    ("--log-level", &["silent", "fatal", "error", "warn", "info", "debug", "trace"]),
    ("--shell", &["zsh", "bash", "powershell", "fish"]),
];

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// One gateway for all your chat channels, agents and devices. Start it with "openclaw gateway", ask how it is
/// with "openclaw gateway status".
#[argh(
    name = "openclaw",
    help_triggers("-h", "--help"),
    example = "openclaw --dev gateway --allow-unconfigured   try it out, with its own state",
    example = "openclaw gateway                              run the gateway in this terminal",
    example = "openclaw gateway status                       is it running, does it answer",
    example = "openclaw logs --follow                        watch its log",
    example = "openclaw agent --agent main -m \"hello\"        one turn with an agent",
    note = "Options above work only before the first command word: \"openclaw --dev gateway\" uses the dev profile, \"openclaw gateway --dev\" is an option of gateway.",
    note = "Environment: OPENCLAW_STATE_DIR, OPENCLAW_CONFIG_PATH, OPENCLAW_PROFILE, OPENCLAW_GATEWAY_URL, OPENCLAW_GATEWAY_PORT, OPENCLAW_GATEWAY_TOKEN, OPENCLAW_GATEWAY_PASSWORD, OPENCLAW_LOG_LEVEL, NO_COLOR, FORCE_COLOR.",
    note = "Exit status: 0 success, 1 failure or wrong usage, 2 wrong use of --profile or --dev."
)]
pub struct Top {
    /// print the version and end
    #[argh(switch, short = 'V')]
    pub version: bool,
    /// use the profile "dev": state in ~/.openclaw-dev, port 19001
    #[argh(switch)]
    pub dev: bool,
    /// use a profile of its own: state in ~/.openclaw-<name>
    #[argh(option, arg_name = "name")]
    pub profile: Option<String>,
    /// silent, fatal, error, warn, info, debug or trace; wins over the configuration
    #[argh(option, arg_name = "level")]
    pub log_level: Option<String>,
    /// no colours
    #[argh(switch)]
    pub no_color: bool,
    #[argh(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum Command {
    Gateway(Gateway),
    Daemon(Daemon),
    Status(Status),
    Health(Health),
    Logs(Logs),
    Agent(Agent),
    Channels(Channels),
    Sessions(Sessions),
    Agents(Agents),
    Models(Models),
    Devices(Devices),
    System(System),
    Hooks(Hooks),
    Webhooks(Webhooks),
    Config(Config),
    Setup(Setup),
    Doctor(Doctor),
    Security(Security),
    Completion(Completion),
    Backup(Backup),
    Onboard(Onboard),
    Configure(Configure),
    Dashboard(Dashboard),
    Qr(Qr),
    Reset(Reset),
    Uninstall(Uninstall),
    Update(Update),
}
