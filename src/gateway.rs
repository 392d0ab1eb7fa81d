//! Start order, control loop and stop order of the gateway; the only file that starts owners.

use crate::error::Error;
use crate::secret::Secret;

/// What the command line said for `gateway [run]` (cli 3), unchecked: the checks are part of the start order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunOptions {
    // ── global options ──
    /// `--profile <name>`, already checked.
    pub profile: Option<String>,
    /// `openclaw --dev …`: the profile of that name.
    pub dev_profile: bool,
    pub log_level: Option<String>,
    pub no_color: bool,
    // ── options of `gateway [run]` ──
    pub port: Option<String>,
    pub bind: Option<String>,
    pub token: Option<Secret>,
    pub auth: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<String>,
    pub tailscale: Option<String>,
    pub tailscale_reset_on_exit: bool,
    pub allow_unconfigured: bool,
    /// `openclaw gateway --dev`: development configuration and workspace in the current profile.
    pub dev: bool,
    pub reset: bool,
    pub force: bool,
    pub verbose: bool,
    pub claude_cli_logs: bool,
    pub ws_log: Option<String>,
    pub compact: bool,
    pub raw_stream: bool,
    pub raw_stream_path: Option<String>,
}

/// Runs the gateway until it is asked to stop; the exit code of the process.
pub fn run(options: RunOptions) -> Result<u8, Error> {
    let _ = options;
    Err(Error::new("the gateway itself is not part of this build"))
}
