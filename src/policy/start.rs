//! What forbids a start: the auth guards of the command line and the checks just before the bind (cli 3.1, steps 10
//! and 13). Texts are literal, operators and scripts match on them.

use super::auth::ResolvedAuth;
use crate::config::model::{Bind, Config};

/// Lines for stderr, exit code 1.
#[derive(Clone, Debug, PartialEq)]
pub struct StartRefusal {
    pub lines: Vec<String>,
}

/// What the guards look at.
pub struct StartFacts<'a> {
    pub config: &'a Config,
    pub auth: &'a ResolvedAuth,
    pub bind: Bind,
    /// `--bind` was given: origins are not assumed then (DECISIONS 76).
    pub bind_from_flag: bool,
    /// The address that the plan resolved to.
    pub host: &'a str,
    pub port: u16,
    /// off, serve, funnel.
    pub tailscale_mode: &'a str,
    /// `--auth` or `gateway.auth.mode`.
    pub mode_was_set: bool,
    /// The config holds a `gateway.token`, which means nothing.
    pub stray_gateway_token: bool,
}

/// Step 10, before the lock. Ok carries warnings.
pub fn check_auth(facts: &StartFacts) -> Result<Vec<String>, StartRefusal> {
    let _ = facts;
    Ok(Vec::new())
}

/// Step 13, before the bind; the text goes behind `Gateway failed to start: Error: `.
pub fn check_runtime(facts: &StartFacts) -> Result<(), StartRefusal> {
    let _ = facts;
    Ok(())
}

/// Origins that are assumed when the config binds beyond loopback and names none (DECISIONS 76).
pub fn assumed_origins(facts: &StartFacts) -> Vec<String> {
    let _ = facts;
    Vec::new()
}
