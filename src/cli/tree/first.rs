//! The part of the tree for the first and the last steps of an installation.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Print a script that completes commands, options and configuration keys in a shell, or install it.
#[argh(
    subcommand,
    name = "completion",
    help_triggers("-h", "--help"),
    example = "source <(openclaw completion bash)      this shell only",
    example = "openclaw completion --install           for good, for the shell in SHELL",
    example = "openclaw completion fish > ~/.config/fish/completions/openclaw.fish"
)]
pub struct Completion {
    /// zsh, bash, powershell or fish (default: zsh; with --install the one in SHELL)
    #[argh(option, short = 's', arg_name = "shell")]
    pub shell: Option<String>,
    /// make the shell load the script whenever it starts
    #[argh(switch, short = 'i')]
    pub install: bool,
    /// write the scripts of all shells to completions/ in the state directory
    #[argh(switch)]
    pub write_state: bool,
    /// install without asking
    #[argh(switch, short = 'y')]
    pub yes: bool,
    /// the shell, as with --shell
    #[argh(positional, arg_name = "shell")]
    pub name: Option<String>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Save configuration and state in one file, check it, put it back.
#[argh(
    subcommand,
    name = "backup",
    help_triggers("-h", "--help"),
    example = "openclaw backup create --output /mnt/usb",
    example = "openclaw backup verify /mnt/usb/*-openclaw-backup.tar"
)]
pub struct Backup {
    #[argh(subcommand)]
    pub command: Option<BackupCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum BackupCommand {
    Create(BackupCreate),
    Verify(BackupVerify),
    Restore(BackupRestore),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Write configuration and state to one tar file that only its owner can read. It holds secrets.
#[argh(
    subcommand,
    name = "create",
    help_triggers("-h", "--help"),
    example = "openclaw backup create --verify",
    note = "Left out: logs, locks, temporary files, sockets, links."
)]
pub struct BackupCreate {
    /// file to write, or the directory for it (default: DATE-openclaw-backup.tar here)
    #[argh(option, arg_name = "path")]
    pub output: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// only say what would be saved
    #[argh(switch)]
    pub dry_run: bool,
    /// read the backup again and compare
    #[argh(switch)]
    pub verify: bool,
    /// only the configuration and what it includes
    #[argh(switch)]
    pub only_config: bool,
    /// without the agents' workspaces
    #[argh(switch)]
    pub no_include_workspace: bool,
    /// with the logs in the state directory
    #[argh(switch)]
    pub include_logs: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Read a backup and compare each file with its sum.
#[argh(
    subcommand,
    name = "verify",
    help_triggers("-h", "--help"),
    example = "openclaw backup verify openclaw-backup.tar"
)]
pub struct BackupVerify {
    /// the backup
    #[argh(positional)]
    pub archive: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Put a backup in the place of configuration and state; what was there is kept aside.
#[argh(
    subcommand,
    name = "restore",
    help_triggers("-h", "--help"),
    example = "openclaw backup restore openclaw-backup.tar",
    example = "openclaw gateway stop && openclaw backup restore --force openclaw-backup.tar"
)]
pub struct BackupRestore {
    /// the backup
    #[argh(positional)]
    pub archive: String,
    /// replace the state that is there
    #[argh(switch)]
    pub force: bool,
    /// also while a gateway runs on that state
    #[argh(switch)]
    pub allow_running: bool,
    /// place of a workspace that was saved from outside the state directory
    #[argh(option, arg_name = "dir")]
    pub workspace: Option<String>,
    /// only verify and say what would be replaced
    #[argh(switch)]
    pub dry_run: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Set a gateway up: configuration, token, workspace, the key of a model provider. Asks on a terminal; answers can be
/// given as options.
#[argh(
    subcommand,
    name = "onboard",
    help_triggers("-h", "--help"),
    example = "openclaw onboard",
    example = "openclaw onboard --non-interactive --accept-risk --gateway-port 18789 --json",
    note = "Secrets given as options can be seen in the process list; answers on a terminal and the environment cannot."
)]
pub struct Onboard {
    /// directory of the agent's files
    #[argh(option, arg_name = "dir")]
    pub workspace: Option<String>,
    /// move what is there aside first
    #[argh(switch)]
    pub reset: bool,
    /// what --reset moves: config, config+creds+sessions or full (default: config+creds+sessions)
    #[argh(option, arg_name = "scope")]
    pub reset_scope: Option<String>,
    /// ask nothing; needs --accept-risk
    #[argh(switch)]
    pub non_interactive: bool,
    /// an agent can do harm with the tools it is given, and that is understood
    #[argh(switch)]
    pub accept_risk: bool,
    /// quickstart, advanced or manual; all ask the same here
    #[argh(option, arg_name = "flow")]
    pub flow: Option<String>,
    /// local or remote
    #[argh(option, arg_name = "mode")]
    pub mode: Option<String>,
    /// skip, apiKey (Anthropic), openai-api-key or custom-api-key
    #[argh(option, arg_name = "choice")]
    pub auth_choice: Option<String>,
    /// plaintext: keys go into the configuration; ref: they stay in the environment (default: plaintext)
    #[argh(option, arg_name = "mode")]
    pub secret_input_mode: Option<String>,
    /// key of Anthropic
    #[argh(option, arg_name = "key")]
    pub anthropic_api_key: Option<String>,
    /// key of OpenAI
    #[argh(option, arg_name = "key")]
    pub openai_api_key: Option<String>,
    /// address of another provider
    #[argh(option, arg_name = "url")]
    pub custom_base_url: Option<String>,
    /// its key
    #[argh(option, arg_name = "key")]
    pub custom_api_key: Option<String>,
    /// its model
    #[argh(option, arg_name = "id")]
    pub custom_model_id: Option<String>,
    /// its name here (default: custom)
    #[argh(option, arg_name = "id")]
    pub custom_provider_id: Option<String>,
    /// what it speaks: openai or anthropic (default: openai)
    #[argh(option, arg_name = "mode")]
    pub custom_compatibility: Option<String>,
    /// port of the gateway
    #[argh(option, arg_name = "port")]
    pub gateway_port: Option<String>,
    /// loopback, lan, tailnet, auto or custom
    #[argh(option, arg_name = "mode")]
    pub gateway_bind: Option<String>,
    /// token or password
    #[argh(option, arg_name = "mode")]
    pub gateway_auth: Option<String>,
    /// the token (otherwise the present or a new one)
    #[argh(option, arg_name = "token")]
    pub gateway_token: Option<String>,
    /// variable of the environment that holds the token
    #[argh(option, arg_name = "name")]
    pub gateway_token_ref_env: Option<String>,
    /// the password
    #[argh(option, arg_name = "password")]
    pub gateway_password: Option<String>,
    /// with --mode remote: address of the gateway
    #[argh(option, arg_name = "url")]
    pub remote_url: Option<String>,
    /// with --mode remote: its token
    #[argh(option, arg_name = "token")]
    pub remote_token: Option<String>,
    /// off, serve or funnel
    #[argh(option, arg_name = "mode")]
    pub tailscale: Option<String>,
    /// undo the Tailscale publication when the gateway stops
    #[argh(switch)]
    pub tailscale_reset_on_exit: bool,
    /// run the gateway as a service
    #[argh(switch)]
    pub install_daemon: bool,
    /// do not
    #[argh(switch)]
    pub no_install_daemon: bool,
    /// the same
    #[argh(switch)]
    pub skip_daemon: bool,
    /// accepted: the gateway is its own runtime
    #[argh(option, arg_name = "runtime")]
    pub daemon_runtime: Option<String>,
    /// accepted: channels are not asked for
    #[argh(switch)]
    pub skip_channels: bool,
    /// accepted: skills are not asked for
    #[argh(switch)]
    pub skip_skills: bool,
    /// accepted: search is not asked for
    #[argh(switch)]
    pub skip_search: bool,
    /// do not ask at the end whether the gateway answers
    #[argh(switch)]
    pub skip_health: bool,
    /// do not mention the dashboard
    #[argh(switch)]
    pub skip_ui: bool,
    /// accepted: nothing is installed with a package manager
    #[argh(option, arg_name = "name")]
    pub node_manager: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Change the answers of onboarding, one part or all; asks on a terminal.
#[argh(
    subcommand,
    name = "configure",
    help_triggers("-h", "--help"),
    example = "openclaw configure",
    example = "openclaw configure --section gateway"
)]
pub struct Configure {
    /// only this part: workspace, model, gateway or daemon; may be repeated
    #[argh(option, arg_name = "section")]
    pub section: Vec<String>,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Print the address of the Control UI with the token in it.
#[argh(subcommand, name = "dashboard", help_triggers("-h", "--help"), example = "openclaw dashboard --no-open")]
pub struct Dashboard {
    /// open no browser; none is opened anyway, for the token would stand in the process list
    #[argh(switch)]
    pub no_open: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Pair a phone: print a QR code and a setup code with the gateway's address and a one-time token.
#[argh(
    subcommand,
    name = "qr",
    help_triggers("-h", "--help"),
    example = "openclaw qr                                scan it with the app on the phone",
    example = "openclaw qr --setup-code-only              to be pasted instead",
    example = "openclaw qr --url wss://gateway.example    the way in through a proxy",
    note = "The code is good for 10 minutes and one device. It does not hold the gateway's own token or password.",
    note = "A phone cannot reach a gateway that listens on this machine only, and it takes plain ws:// to addresses of a private network only."
)]
pub struct Qr {
    /// tell gateway.remote.url or the Tailscale name, not plugins.entries.device-pair.config.publicUrl
    #[argh(switch)]
    pub remote: bool,
    /// address of the gateway to tell the phone
    #[argh(option, arg_name = "url")]
    pub url: Option<String>,
    /// the same; --url wins
    #[argh(option, arg_name = "url")]
    pub public_url: Option<String>,
    /// say that clients of the gateway use a token; it is not put into the code
    #[argh(option, arg_name = "token")]
    pub token: Option<String>,
    /// say that clients of the gateway use a password; it is not put into the code
    #[argh(option, arg_name = "password")]
    pub password: Option<String>,
    /// print nothing but the setup code
    #[argh(switch)]
    pub setup_code_only: bool,
    /// no picture
    #[argh(switch)]
    pub no_ascii: bool,
    /// print JSON: setupCode, gatewayUrl, auth, urlSource
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Move configuration, credentials and sessions aside, or the whole state, and begin again.
#[argh(
    subcommand,
    name = "reset",
    help_triggers("-h", "--help"),
    example = "openclaw reset --dry-run --scope full",
    example = "openclaw reset --scope config --yes"
)]
pub struct Reset {
    /// config, config+creds+sessions or full (otherwise asked for)
    #[argh(option, arg_name = "scope")]
    pub scope: Option<String>,
    /// do not ask whether
    #[argh(switch)]
    pub yes: bool,
    /// ask nothing; needs --scope and --yes
    #[argh(switch)]
    pub non_interactive: bool,
    /// only say what would be done
    #[argh(switch)]
    pub dry_run: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Remove what the gateway left on this machine: service, state, workspace. The program itself stays.
#[argh(
    subcommand,
    name = "uninstall",
    help_triggers("-h", "--help"),
    example = "openclaw uninstall --all --dry-run",
    example = "openclaw backup create && openclaw uninstall --all --yes"
)]
pub struct Uninstall {
    /// the service of the gateway
    #[argh(switch)]
    pub service: bool,
    /// state directory and configuration
    #[argh(switch)]
    pub state: bool,
    /// the agents' workspaces
    #[argh(switch)]
    pub workspace: bool,
    /// accepted: there is no desktop program
    #[argh(switch)]
    pub app: bool,
    /// all of these
    #[argh(switch)]
    pub all: bool,
    /// do not ask whether
    #[argh(switch)]
    pub yes: bool,
    /// ask nothing; needs --yes
    #[argh(switch)]
    pub non_interactive: bool,
    /// only say what would be removed
    #[argh(switch)]
    pub dry_run: bool,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Say what is installed and how it is brought up to date.
#[argh(subcommand, name = "update", help_triggers("-h", "--help"), example = "openclaw update status")]
pub struct Update {
    #[argh(subcommand)]
    pub command: Option<UpdateCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum UpdateCommand {
    Status(UpdateStatus),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show version and kind of this installation. No server is asked.
#[argh(subcommand, name = "status", help_triggers("-h", "--help"), example = "openclaw update status --json")]
pub struct UpdateStatus {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// accepted: nothing is waited for
    #[argh(option, arg_name = "seconds")]
    pub timeout: Option<String>,
}
