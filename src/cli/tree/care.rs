//! The part of the tree that sets an installation up and keeps it well: setup, doctor.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Create what a gateway needs: a small configuration with a token, the workspace and the directory of sessions.
/// What is there already stays as it is.
#[argh(
    subcommand,
    name = "setup",
    help_triggers("-h", "--help"),
    example = "openclaw setup && openclaw gateway",
    example = "openclaw setup --workspace ~/agent",
    example = "openclaw setup --mode remote --remote-url ws://127.0.0.1:18789"
)]
pub struct Setup {
    /// directory of the agent's files (stored as agents.defaults.workspace)
    #[argh(option, arg_name = "dir")]
    pub workspace: Option<String>,
    /// the defaults, too: this version asks no questions
    #[argh(switch)]
    pub wizard: bool,
    /// ask nothing; nothing is asked anyway
    #[argh(switch)]
    pub non_interactive: bool,
    /// local: this machine runs the gateway; remote: it uses another one
    #[argh(option, arg_name = "mode")]
    pub mode: Option<String>,
    /// address of that gateway
    #[argh(option, arg_name = "url")]
    pub remote_url: Option<String>,
    /// token for it; others can see it in the process list
    #[argh(option, arg_name = "token")]
    pub remote_token: Option<String>,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Look for what is wrong with the configuration and the state directory, and repair it when told to. Works without a
/// gateway and with a broken configuration.
#[argh(
    subcommand,
    name = "doctor",
    help_triggers("-h", "--help"),
    example = "openclaw doctor",
    example = "openclaw doctor --fix",
    example = "openclaw doctor --check --json     for monitoring",
    note = "Without --fix, --repair or --yes nothing is changed; on a terminal one question is asked."
)]
pub struct Doctor {
    /// make no suggestions about the workspace
    #[argh(switch)]
    pub no_workspace_suggestions: bool,
    /// repair, and ask nothing
    #[argh(switch)]
    pub yes: bool,
    /// the same as --fix
    #[argh(switch)]
    pub repair: bool,
    /// repair what can be repaired
    #[argh(switch)]
    pub fix: bool,
    /// with --fix: put the last good configuration back even where single repairs would do
    #[argh(switch)]
    pub force: bool,
    /// ask nothing
    #[argh(switch)]
    pub non_interactive: bool,
    /// make a token for the gateway if it has none
    #[argh(switch)]
    pub generate_gateway_token: bool,
    /// also look at each stored session
    #[argh(switch)]
    pub deep: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// exit status 1 when something is wrong
    #[argh(switch)]
    pub check: bool,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Look after the safety of the gateway.
#[argh(subcommand, name = "security", help_triggers("-h", "--help"), example = "openclaw security audit")]
pub struct Security {
    #[argh(subcommand)]
    pub command: SecurityCommand,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum SecurityCommand {
    Audit(SecurityAudit),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Check the configuration and the files for what makes the gateway unsafe.
#[argh(
    subcommand,
    name = "audit",
    help_triggers("-h", "--help"),
    example = "openclaw security audit",
    example = "openclaw security audit --fix",
    note = "Exit status: 0 also with findings."
)]
pub struct SecurityAudit {
    /// also ask the running gateway
    #[argh(switch)]
    pub deep: bool,
    /// close files that others can read and take back what opens the gateway to everybody
    #[argh(switch)]
    pub fix: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}
