//! The command tree: every command, option and one-line description, once. Help texts, the normaliser of the
//! command line and the test of the manual pages all read it as data through [`tree`].
//!
//! Nothing is done here; each command's work is in the file that carries its name. Options are what OpenClaw
//! 2026.3 registers for the same command, in the same order.

use argh::{ArgsInfo, FromArgs};

mod care;
mod first;
mod operate;

pub use care::*;
pub use first::*;
pub use operate::*;

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

// ── gateway ────────────────────────────────────────────────────────────────────────────────────────────

macro_rules! gateway_command {
    ($(#[$meta:meta])* $name:ident { $($more:tt)* }) => {
        #[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
        $(#[$meta])*
        pub struct $name {
            /// port to listen on, 1 to 65535 (otherwise OPENCLAW_GATEWAY_PORT, gateway.port, 18789)
            #[argh(option, arg_name = "port")]
            pub port: Option<String>,
            /// addresses to listen on: loopback, lan, tailnet, auto or custom (otherwise gateway.bind, loopback)
            #[argh(option, arg_name = "mode")]
            pub bind: Option<String>,
            /// shared token that clients must show (otherwise gateway.auth.token, OPENCLAW_GATEWAY_TOKEN)
            #[argh(option, arg_name = "token")]
            pub token: Option<String>,
            /// how clients authenticate: none, token, password or trusted-proxy
            #[argh(option, arg_name = "mode")]
            pub auth: Option<String>,
            /// password for --auth password; others can see it in the process list, better use --password-file
            #[argh(option, arg_name = "password")]
            pub password: Option<String>,
            /// file that holds the password
            #[argh(option, arg_name = "path")]
            pub password_file: Option<String>,
            /// publish through Tailscale: off, serve or funnel
            #[argh(option, arg_name = "mode")]
            pub tailscale: Option<String>,
            /// undo the Tailscale publication when the gateway stops
            #[argh(switch)]
            pub tailscale_reset_on_exit: bool,
            /// start although gateway.mode is not "local"; writes nothing
            #[argh(switch)]
            pub allow_unconfigured: bool,
            /// create a development configuration and workspace when there is none
            #[argh(switch)]
            pub dev: bool,
            /// with --dev: move configuration, credentials, sessions and workspace aside first
            #[argh(switch)]
            pub reset: bool,
            /// end whatever listens on the port, then start
            #[argh(switch)]
            pub force: bool,
            /// console at level debug, one line per WebSocket request
            #[argh(switch)]
            pub verbose: bool,
            /// console shows only the lines of the command-line agent back end
            #[argh(switch)]
            pub claude_cli_logs: bool,
            /// how WebSocket traffic is logged: auto, full or compact (default: auto)
            #[argh(option, arg_name = "style")]
            pub ws_log: Option<String>,
            /// the same as --ws-log compact
            #[argh(switch)]
            pub compact: bool,
            /// write the raw events of model streams to a file
            #[argh(switch)]
            pub raw_stream: bool,
            /// that file (otherwise logs/raw-stream.jsonl in the state directory)
            #[argh(option, arg_name = "path")]
            pub raw_stream_path: Option<String>,
            $($more)*
        }
    };
}

gateway_command! {
    /// Run the gateway in the foreground, or look after one that runs.
    #[argh(
        subcommand,
        name = "gateway",
        help_triggers("-h", "--help"),
        example = "openclaw gateway --port 18789",
        example = "openclaw gateway --bind lan --auth token",
        example = "openclaw gateway --force              take the port over",
        example = "openclaw gateway status --json",
        note = "Signals: TERM and INT stop it (a second one hurries), HUP reads the configuration again, USR1 restarts it in the same process, USR2 reopens the log file.",
        note = "Exit status: 0 stopped in order, 1 could not start, 70 a part of it died, 78 (only under a supervisor) invalid configuration or another gateway is there, 130 second Ctrl-C.",
        note = "The sub-commands inherit --port, --token, --password and --force.",
        note = "Files: configuration openclaw.json in the state directory (OPENCLAW_STATE_DIR, otherwise ~/.openclaw) or at OPENCLAW_CONFIG_PATH; log openclaw-YYYY-MM-DD.log in LOGS_DIRECTORY, otherwise /tmp/openclaw.",
        note = "Environment: OPENCLAW_GATEWAY_PORT, OPENCLAW_GATEWAY_TOKEN, OPENCLAW_GATEWAY_PASSWORD, OPENCLAW_LOG_LEVEL, and keys of model providers such as ANTHROPIC_API_KEY, OPENAI_API_KEY, OLLAMA_API_KEY; also from .env in the state directory."
    )]
    Gateway {
        #[argh(subcommand)]
        pub command: Option<GatewayCommand>,
    }
}

gateway_command! {
    /// Run the gateway in the foreground; the same as "openclaw gateway".
    #[argh(
        subcommand,
        name = "run",
        help_triggers("-h", "--help"),
        example = "openclaw gateway run --port 18789 --verbose"
    )]
    GatewayRun {}
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum GatewayCommand {
    Run(GatewayRun),
    Status(GatewayStatus),
    Install(GatewayInstall),
    Uninstall(GatewayUninstall),
    Start(GatewayStart),
    Stop(GatewayStop),
    Restart(GatewayRestart),
    Call(GatewayCall),
    Health(GatewayHealth),
    Probe(GatewayProbe),
    Discover(GatewayDiscover),
    UsageCost(GatewayUsageCost),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show the service, the configuration in use, the port and whether the gateway answers.
#[argh(
    subcommand,
    name = "status",
    help_triggers("-h", "--help"),
    example = "openclaw gateway status",
    example = "openclaw gateway status --json --require-rpc   for scripts",
    note = "Exit status: 0 also when the gateway does not answer; 1 then only with --require-rpc."
)]
pub struct GatewayStatus {
    /// address of the gateway (needs --token or --password)
    #[argh(option, arg_name = "url")]
    pub url: Option<String>,
    /// gateway token
    #[argh(option, arg_name = "token")]
    pub token: Option<String>,
    /// gateway password
    #[argh(option, arg_name = "password")]
    pub password: Option<String>,
    /// milliseconds to wait for an answer (default: 10000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// do not connect to the gateway
    #[argh(switch)]
    pub no_probe: bool,
    /// exit with 1 when the gateway does not answer
    #[argh(switch)]
    pub require_rpc: bool,
    /// also look for other gateway services of the whole system
    #[argh(switch)]
    pub deep: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Install the gateway as a service of this machine, start it, and start it again with the machine or the session.
#[argh(
    subcommand,
    name = "install",
    help_triggers("-h", "--help"),
    example = "openclaw gateway install",
    example = "openclaw --profile rescue gateway install --port 19789",
    example = "sudo env HOME=$HOME openclaw gateway install --system",
    note = "Service managers: systemd (of the user, or of the system), procd, OpenRC, launchd, Windows Task Scheduler.",
    note = "The service reads its token from the configuration; none is written into the file of the service."
)]
pub struct GatewayInstall {
    /// port that the service listens on
    #[argh(option, arg_name = "port")]
    pub port: Option<String>,
    /// node, bun or native: accepted, this program needs no runtime
    #[argh(option, arg_name = "runtime")]
    pub runtime: Option<String>,
    /// token to save in the configuration if it has none; others can see it in the process list
    #[argh(option, arg_name = "token")]
    pub token: Option<String>,
    /// write the service anew where it is installed already
    #[argh(switch)]
    pub force: bool,
    /// with systemd: a service of the system instead of the user's; needs root
    #[argh(switch)]
    pub system: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Stop the gateway's service and remove it; configuration and state stay.
#[argh(subcommand, name = "uninstall", help_triggers("-h", "--help"), example = "openclaw gateway uninstall")]
pub struct GatewayUninstall {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Start the gateway's service; one that runs is started anew.
#[argh(subcommand, name = "start", help_triggers("-h", "--help"), example = "openclaw gateway start")]
pub struct GatewayStart {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Stop the running gateway: the service, or the one that holds the lock of this configuration.
#[argh(subcommand, name = "stop", help_triggers("-h", "--help"), example = "openclaw gateway stop")]
pub struct GatewayStop {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Restart the running gateway; an unmanaged one restarts in its own process.
#[argh(subcommand, name = "restart", help_triggers("-h", "--help"), example = "openclaw gateway restart")]
pub struct GatewayRestart {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Older name of the commands for the gateway's service: "openclaw daemon start" is "openclaw gateway start".
#[argh(subcommand, name = "daemon", help_triggers("-h", "--help"), example = "openclaw daemon status")]
pub struct Daemon {
    #[argh(subcommand)]
    pub command: DaemonCommand,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum DaemonCommand {
    Status(GatewayStatus),
    Install(GatewayInstall),
    Uninstall(GatewayUninstall),
    Start(GatewayStart),
    Stop(GatewayStop),
    Restart(GatewayRestart),
}

macro_rules! call_command {
    ($(#[$meta:meta])* $name:ident { $($more:tt)* }) => {
        #[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
        $(#[$meta])*
        pub struct $name {
            $($more)*
            /// address of the gateway (needs --token or --password)
            #[argh(option, arg_name = "url")]
            pub url: Option<String>,
            /// gateway token
            #[argh(option, arg_name = "token")]
            pub token: Option<String>,
            /// gateway password
            #[argh(option, arg_name = "password")]
            pub password: Option<String>,
            /// milliseconds to wait for an answer (default: 10000)
            #[argh(option, arg_name = "ms")]
            pub timeout: Option<String>,
            /// wait for the final answer, not only for the acknowledgement
            #[argh(switch)]
            pub expect_final: bool,
            /// print JSON
            #[argh(switch)]
            pub json: bool,
        }
    };
}

call_command! {
    /// Call one method of the gateway and print its answer.
    #[argh(
        subcommand,
        name = "call",
        help_triggers("-h", "--help"),
        example = "openclaw gateway call health --json",
        example = "openclaw gateway call config.get"
    )]
    GatewayCall {
        /// name of the method, e.g. health, status, system-presence
        #[argh(positional)]
        pub method: String,
        /// parameters, a JSON object as text (default: an empty one)
        #[argh(option, arg_name = "json")]
        pub params: Option<String>,
    }
}

call_command! {
    /// Ask the gateway for its health.
    #[argh(subcommand, name = "health", help_triggers("-h", "--help"), example = "openclaw gateway health")]
    GatewayHealth {}
}

call_command! {
    /// Show the tokens and the cost that the gateway has counted.
    #[argh(
        subcommand,
        name = "usage-cost",
        help_triggers("-h", "--help"),
        example = "openclaw gateway usage-cost --days 7"
    )]
    GatewayUsageCost {
        /// how many days back (default: 30)
        #[argh(option, arg_name = "days")]
        pub days: Option<String>,
    }
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Try every gateway that this machine knows: the local one, the configured remote one and --url.
#[argh(
    subcommand,
    name = "probe",
    help_triggers("-h", "--help"),
    example = "openclaw gateway probe",
    example = "openclaw gateway probe --url ws://127.0.0.1:18790 --token T",
    note = "Exit status: 0 when at least one gateway is reachable, otherwise 1."
)]
pub struct GatewayProbe {
    /// address of one more gateway to try (needs --token or --password)
    #[argh(option, arg_name = "url")]
    pub url: Option<String>,
    /// probe through an SSH tunnel to user@host[:port]
    #[argh(option, arg_name = "target")]
    pub ssh: Option<String>,
    /// key file for --ssh
    #[argh(option, arg_name = "path")]
    pub ssh_identity: Option<String>,
    /// take the SSH target from the remote gateway's address
    #[argh(switch)]
    pub ssh_auto: bool,
    /// gateway token
    #[argh(option, arg_name = "token")]
    pub token: Option<String>,
    /// gateway password
    #[argh(option, arg_name = "password")]
    pub password: Option<String>,
    /// milliseconds for all probes together (default: 3000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Look for gateways in the local network, by multicast DNS.
#[argh(
    subcommand,
    name = "discover",
    help_triggers("-h", "--help"),
    example = "openclaw gateway discover",
    example = "openclaw gateway discover --timeout 4000 --json",
    note = "A gateway is found when its discovery.mdns.mode is minimal or full. What is found is what others say: check an address before a token goes there."
)]
pub struct GatewayDiscover {
    /// milliseconds to wait for answers (default: 2000)
    #[argh(option, arg_name = "ms")]
    pub timeout: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

// ── status, health, logs ───────────────────────────────────────────────────────────────────────────────

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

// ── agent, agents, models, sessions, channels ──────────────────────────────────────────────────────────

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
