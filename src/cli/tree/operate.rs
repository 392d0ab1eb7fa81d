//! The part of the tree that operates a gateway that runs: devices, system, config.

use argh::{ArgsInfo, FromArgs};

// ── devices ────────────────────────────────────────────────────────────────────────────────────────────

macro_rules! device_command {
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
            /// print JSON
            #[argh(switch)]
            pub json: bool,
        }
    };
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Decide which devices may use the gateway, and change their tokens.
#[argh(
    subcommand,
    name = "devices",
    help_triggers("-h", "--help"),
    example = "openclaw devices list",
    example = "openclaw devices approve            the newest request",
    example = "openclaw devices revoke --device ID --role operator"
)]
pub struct Devices {
    #[argh(subcommand)]
    pub command: Option<DevicesCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum DevicesCommand {
    List(DevicesList),
    Remove(DevicesRemove),
    Clear(DevicesClear),
    Approve(DevicesApprove),
    Reject(DevicesReject),
    Rotate(DevicesRotate),
    Revoke(DevicesRevoke),
}

device_command! {
    /// List pairing requests and paired devices.
    #[argh(subcommand, name = "list", help_triggers("-h", "--help"), example = "openclaw devices list --json")]
    DevicesList {}
}

device_command! {
    /// Forget a paired device; its connections end at once.
    #[argh(subcommand, name = "remove", help_triggers("-h", "--help"), example = "openclaw devices remove DEVICE")]
    DevicesRemove {
        /// id of the paired device
        #[argh(positional, arg_name = "deviceId")]
        pub device_id: String,
    }
}

device_command! {
    /// Forget all paired devices.
    #[argh(
        subcommand,
        name = "clear",
        help_triggers("-h", "--help"),
        example = "openclaw devices clear --yes --pending"
    )]
    DevicesClear {
        /// reject all open requests, too
        #[argh(switch)]
        pub pending: bool,
        /// really do it
        #[argh(switch)]
        pub yes: bool,
    }
}

device_command! {
    /// Accept a pairing request, the newest one when no id is given.
    #[argh(subcommand, name = "approve", help_triggers("-h", "--help"), example = "openclaw devices approve --latest")]
    DevicesApprove {
        /// id of the request
        #[argh(positional, arg_name = "requestId")]
        pub request_id: Option<String>,
        /// the newest request
        #[argh(switch)]
        pub latest: bool,
    }
}

device_command! {
    /// Refuse a pairing request.
    #[argh(subcommand, name = "reject", help_triggers("-h", "--help"), example = "openclaw devices reject REQUEST")]
    DevicesReject {
        /// id of the request
        #[argh(positional, arg_name = "requestId")]
        pub request_id: String,
    }
}

device_command! {
    /// Give a device a new token for a role; the old one ends at once.
    #[argh(
        subcommand,
        name = "rotate",
        help_triggers("-h", "--help"),
        example = "openclaw devices rotate --device ID --role operator --scope operator.read"
    )]
    DevicesRotate {
        /// id of the paired device
        #[argh(option, arg_name = "id")]
        pub device: String,
        /// role of the token
        #[argh(option, arg_name = "role")]
        pub role: String,
        /// scopes of the new token (several may follow)
        #[argh(option, arg_name = "scope...")]
        pub scope: Vec<String>,
    }
}

device_command! {
    /// Take a device's token for a role away.
    #[argh(
        subcommand,
        name = "revoke",
        help_triggers("-h", "--help"),
        example = "openclaw devices revoke --device ID --role operator"
    )]
    DevicesRevoke {
        /// id of the paired device
        #[argh(option, arg_name = "id")]
        pub device: String,
        /// role of the token
        #[argh(option, arg_name = "role")]
        pub role: String,
    }
}

// ── system ─────────────────────────────────────────────────────────────────────────────────────────────

macro_rules! system_command {
    ($(#[$meta:meta])* $name:ident { $($more:tt)* }) => {
        #[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
        $(#[$meta])*
        pub struct $name {
            $($more)*
            /// print JSON
            #[argh(switch)]
            pub json: bool,
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
    };
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// System events, presence and heartbeats.
#[argh(subcommand, name = "system", help_triggers("-h", "--help"), example = "openclaw system presence")]
pub struct System {
    #[argh(subcommand)]
    pub command: Option<SystemCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum SystemCommand {
    Event(SystemEvent),
    Heartbeat(Heartbeat),
    Presence(SystemPresence),
}

system_command! {
    /// Put a line before the main session's next turn, or wake it now.
    #[argh(
        subcommand,
        name = "event",
        help_triggers("-h", "--help"),
        example = "openclaw system event --text \"the backup is done\" --mode now"
    )]
    SystemEvent {
        /// the line
        #[argh(option, arg_name = "text")]
        pub text: String,
        /// now or next-heartbeat (default: next-heartbeat)
        #[argh(option, arg_name = "mode")]
        pub mode: Option<String>,
    }
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// The agents' heartbeats.
#[argh(subcommand, name = "heartbeat", help_triggers("-h", "--help"), example = "openclaw system heartbeat last")]
pub struct Heartbeat {
    #[argh(subcommand)]
    pub command: Option<HeartbeatCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum HeartbeatCommand {
    Last(HeartbeatLast),
    Enable(HeartbeatEnable),
    Disable(HeartbeatDisable),
}

system_command! {
    /// Show the last heartbeat.
    #[argh(subcommand, name = "last", help_triggers("-h", "--help"), example = "openclaw system heartbeat last")]
    HeartbeatLast {}
}

system_command! {
    /// Switch heartbeats on until the gateway restarts.
    #[argh(subcommand, name = "enable", help_triggers("-h", "--help"), example = "openclaw system heartbeat enable")]
    HeartbeatEnable {}
}

system_command! {
    /// Switch heartbeats off until the gateway restarts.
    #[argh(subcommand, name = "disable", help_triggers("-h", "--help"), example = "openclaw system heartbeat disable")]
    HeartbeatDisable {}
}

system_command! {
    /// Show who and what is connected.
    #[argh(subcommand, name = "presence", help_triggers("-h", "--help"), example = "openclaw system presence --json")]
    SystemPresence {}
}

// ── config ─────────────────────────────────────────────────────────────────────────────────────────────

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
/// Read, change and check the configuration file.
#[argh(subcommand, name = "config", help_triggers("-h", "--help"), example = "openclaw config validate")]
pub struct Config {
    #[argh(subcommand)]
    pub command: Option<ConfigCommand>,
}

#[derive(Debug, PartialEq, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub enum ConfigCommand {
    Get(ConfigGet),
    Set(ConfigSet),
    Unset(ConfigUnset),
    File(ConfigFile),
    Validate(ConfigValidate),
    Schema(ConfigSchema),
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Print one value of the configuration; secrets are masked.
#[argh(subcommand, name = "get", help_triggers("-h", "--help"), example = "openclaw config get gateway.port")]
pub struct ConfigGet {
    /// path of the value, with dots or brackets
    #[argh(positional)]
    pub path: String,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Set one value of the configuration; comments and order stay.
#[argh(subcommand, name = "set", help_triggers("-h", "--help"), example = "openclaw config set gateway.port 18789")]
pub struct ConfigSet {
    /// path of the value, with dots or brackets
    #[argh(positional)]
    pub path: String,
    /// JSON5, or else a text
    #[argh(positional)]
    pub value: String,
    /// the value must be JSON5
    #[argh(switch)]
    pub json: bool,
    /// the same as --json
    #[argh(switch)]
    pub strict_json: bool,
    /// allow to lose gateway.mode or more than half of the file
    #[argh(switch)]
    pub replace: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Take one value out of the configuration.
#[argh(subcommand, name = "unset", help_triggers("-h", "--help"), example = "openclaw config unset logging.level")]
pub struct ConfigUnset {
    /// path of the value, with dots or brackets
    #[argh(positional)]
    pub path: String,
    /// allow to lose gateway.mode or more than half of the file
    #[argh(switch)]
    pub replace: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Print which configuration file is in use.
#[argh(subcommand, name = "file", help_triggers("-h", "--help"), example = "openclaw config file")]
pub struct ConfigFile {}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Check the configuration file and name every mistake.
#[argh(subcommand, name = "validate", help_triggers("-h", "--help"), example = "openclaw config validate --json")]
pub struct ConfigValidate {
    /// print JSON
    #[argh(switch)]
    pub json: bool,
}

#[derive(Debug, Default, PartialEq, FromArgs, ArgsInfo)]
/// Say what a key means and which keys stand below it; without a path print the whole JSON Schema.
#[argh(
    subcommand,
    name = "schema",
    help_triggers("-h", "--help"),
    example = "openclaw config schema gateway.reload",
    example = "openclaw config schema --json > openclaw.schema.json"
)]
pub struct ConfigSchema {
    /// path of a key; "*" stands for any name, "[]" for any position
    #[argh(positional)]
    pub path: Option<String>,
    /// print JSON
    #[argh(switch)]
    pub json: bool,
    /// only the key paths that begin with this text, one per line
    #[argh(option, arg_name = "text")]
    pub complete: Option<String>,
}
