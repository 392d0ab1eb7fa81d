//! The part of the tree that runs a gateway, looks after its service, and asks it things: gateway, daemon.

use argh::{ArgsInfo, FromArgs};

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
    /// take the SSH target from the configuration, else from the local network
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
