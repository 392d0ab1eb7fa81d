//! The part of the tree about webhooks: hooks, webhooks.

use argh::{ArgsInfo, FromArgs};

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Webhooks: what there is, whether it works, what a request would do.
#[argh(
    subcommand,
    name = "hooks",
    help_triggers("-h", "--help"),
    example = "openclaw hooks list",
    example = "openclaw hooks info gmail",
    example = "openclaw hooks test github --payload event.json"
)]
pub struct Hooks {
    #[argh(subcommand)]
    pub command: HooksCommand,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum HooksCommand {
    List(HooksList),
    Info(HooksInfo),
    Check(HooksCheck),
    Test(HooksTest),
    Enable(HooksEnable),
    Disable(HooksDisable),
    Install(HooksInstall),
    Update(HooksUpdate),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// List webhooks: those that are always there, mappings, presets.
#[argh(subcommand, name = "list", help_triggers("-h", "--help"), example = "openclaw hooks list --json")]
pub struct HooksList {
    /// only those that work
    #[argh(switch)]
    pub eligible: bool,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// also say what is wrong
    #[argh(switch, short = 'v')]
    pub verbose: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Show a webhook: its address, what it does, a call of it with curl.
#[argh(subcommand, name = "info", help_triggers("-h", "--help"), example = "openclaw hooks info wake")]
pub struct HooksInfo {
    /// name of the webhook, as in the list
    #[argh(positional)]
    pub name: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Look for what is wrong with the webhooks.
#[argh(
    subcommand,
    name = "check",
    help_triggers("-h", "--help"),
    example = "openclaw hooks check",
    note = "Exit status: 1 when something is wrong."
)]
pub struct HooksCheck {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Say what a request would do, without a gateway and without doing it. Transforms are run.
#[argh(
    subcommand,
    name = "test",
    help_triggers("-h", "--help"),
    example = "openclaw hooks test github --payload event.json",
    example = "openclaw hooks test ping --header \"X-Kind: push\" --query q=1",
    note = "Exit status: 1 when the request would be refused."
)]
pub struct HooksTest {
    /// path of the request below hooks.path
    #[argh(positional)]
    pub path: String,
    /// file with the body; - is standard input (default: {})
    #[argh(option, arg_name = "file")]
    pub payload: Option<String>,
    /// headers, as "name: value" (several may follow)
    #[argh(option, arg_name = "header...")]
    pub header: Vec<String>,
    /// parts of the query, as name=value (several may follow)
    #[argh(option, arg_name = "part...")]
    pub query: Vec<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// For hooks of OpenClaw that run inside its gateway; there are none here.
#[argh(subcommand, name = "enable", help_triggers("-h", "--help"), example = "openclaw config set hooks.enabled true")]
pub struct HooksEnable {
    /// name of the hook
    #[argh(positional)]
    pub name: String,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// For hooks of OpenClaw that run inside its gateway; there are none here.
#[argh(
    subcommand,
    name = "disable",
    help_triggers("-h", "--help"),
    example = "openclaw config set hooks.enabled false"
)]
pub struct HooksDisable {
    /// name of the hook
    #[argh(positional)]
    pub name: String,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// For packs of hooks of OpenClaw, which are JavaScript; they cannot be installed here.
#[argh(subcommand, name = "install", help_triggers("-h", "--help"), example = "openclaw help hooks")]
pub struct HooksInstall {
    /// directory or package
    #[argh(positional, arg_name = "path-or-spec")]
    pub spec: String,
    /// a link in place of a copy
    #[argh(switch, short = 'l')]
    pub link: bool,
    /// exactly that version
    #[argh(switch)]
    pub pin: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// For packs of hooks of OpenClaw, which are JavaScript; there are none here.
#[argh(subcommand, name = "update", help_triggers("-h", "--help"), example = "openclaw help hooks")]
pub struct HooksUpdate {
    /// the pack
    #[argh(positional)]
    pub id: Option<String>,
    /// every pack
    #[argh(switch)]
    pub all: bool,
    /// change nothing
    #[argh(switch)]
    pub dry_run: bool,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Helpers for the webhooks of services.
#[argh(subcommand, name = "webhooks", help_triggers("-h", "--help"), example = "openclaw hooks info gmail")]
pub struct Webhooks {
    #[argh(subcommand)]
    pub command: WebhooksCommand,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum WebhooksCommand {
    Gmail(WebhooksGmail),
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// News from Gmail. Not part of this gateway: mails come through the preset gmail, sent by another program.
#[argh(subcommand, name = "gmail", help_triggers("-h", "--help"), example = "openclaw webhooks gmail setup")]
pub struct WebhooksGmail {
    #[argh(subcommand)]
    pub command: WebhooksGmailCommand,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum WebhooksGmailCommand {
    Setup(WebhooksGmailSetup),
    Run(WebhooksGmailRun),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Not part of this gateway; says how mails reach it. Takes the options of OpenClaw.
#[argh(subcommand, name = "setup", help_triggers("-h", "--help"), example = "openclaw hooks info gmail")]
pub struct WebhooksGmailSetup {
    /// address of the mailbox
    #[argh(option, arg_name = "email")]
    pub account: Option<String>,
    /// project of Google Cloud
    #[argh(option, arg_name = "id")]
    pub project: Option<String>,
    /// topic of Pub/Sub
    #[argh(option, arg_name = "name")]
    pub topic: Option<String>,
    /// subscription of Pub/Sub
    #[argh(option, arg_name = "name")]
    pub subscription: Option<String>,
    /// label of the mails
    #[argh(option, arg_name = "label")]
    pub label: Option<String>,
    /// where the mails go
    #[argh(option, arg_name = "url")]
    pub hook_url: Option<String>,
    /// token for that place
    #[argh(option, arg_name = "token")]
    pub hook_token: Option<String>,
    /// token that Google shows
    #[argh(option, arg_name = "token")]
    pub push_token: Option<String>,
    /// address to listen on
    #[argh(option, arg_name = "host")]
    pub bind: Option<String>,
    /// port to listen on
    #[argh(option, arg_name = "port")]
    pub port: Option<String>,
    /// path to listen on
    #[argh(option, arg_name = "path")]
    pub path: Option<String>,
    /// with the text of the mails
    #[argh(switch)]
    pub include_body: bool,
    /// bytes of a text
    #[argh(option, arg_name = "n")]
    pub max_bytes: Option<String>,
    /// minutes between renewals
    #[argh(option, arg_name = "n")]
    pub renew_minutes: Option<String>,
    /// funnel, serve or off
    #[argh(option, arg_name = "mode")]
    pub tailscale: Option<String>,
    /// path in the tailnet
    #[argh(option, arg_name = "path")]
    pub tailscale_path: Option<String>,
    /// what it leads to
    #[argh(option, arg_name = "target")]
    pub tailscale_target: Option<String>,
    /// address for Google
    #[argh(option, arg_name = "url")]
    pub push_endpoint: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Not part of this gateway; says how mails reach it. Takes the options of OpenClaw.
#[argh(subcommand, name = "run", help_triggers("-h", "--help"), example = "openclaw hooks info gmail")]
pub struct WebhooksGmailRun {
    /// address of the mailbox
    #[argh(option, arg_name = "email")]
    pub account: Option<String>,
    /// topic of Pub/Sub
    #[argh(option, arg_name = "name")]
    pub topic: Option<String>,
    /// subscription of Pub/Sub
    #[argh(option, arg_name = "name")]
    pub subscription: Option<String>,
    /// label of the mails
    #[argh(option, arg_name = "label")]
    pub label: Option<String>,
    /// where the mails go
    #[argh(option, arg_name = "url")]
    pub hook_url: Option<String>,
    /// token for that place
    #[argh(option, arg_name = "token")]
    pub hook_token: Option<String>,
    /// token that Google shows
    #[argh(option, arg_name = "token")]
    pub push_token: Option<String>,
    /// address to listen on
    #[argh(option, arg_name = "host")]
    pub bind: Option<String>,
    /// port to listen on
    #[argh(option, arg_name = "port")]
    pub port: Option<String>,
    /// path to listen on
    #[argh(option, arg_name = "path")]
    pub path: Option<String>,
    /// with the text of the mails
    #[argh(switch)]
    pub include_body: bool,
    /// bytes of a text
    #[argh(option, arg_name = "n")]
    pub max_bytes: Option<String>,
    /// minutes between renewals
    #[argh(option, arg_name = "n")]
    pub renew_minutes: Option<String>,
    /// funnel, serve or off
    #[argh(option, arg_name = "mode")]
    pub tailscale: Option<String>,
    /// path in the tailnet
    #[argh(option, arg_name = "path")]
    pub tailscale_path: Option<String>,
    /// what it leads to
    #[argh(option, arg_name = "target")]
    pub tailscale_target: Option<String>,
}
