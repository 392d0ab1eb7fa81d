//! Lingering: without it systemd ends a user's services with the last session (cli 5.3).

use super::runner::Runner;
use super::words;

/// Some(false): the gateway stops when its user logs out. None: nobody can say.
pub fn is_on(user: &str) -> Option<bool> {
    let text = Runner.ask(&words(&["loginctl", "show-user", user, "-p", "Linger"])).ok()?;
    match text.lines().find_map(|line| line.trim().strip_prefix("Linger="))? {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// Directly, then as root if sudo asks for nothing.
pub fn enable(user: &str) -> Result<(), String> {
    let direct = ["loginctl", "enable-linger", user];
    let first = match Runner.ask(&words(&direct)) {
        Ok(_) => return Ok(()),
        Err(failure) => failure,
    };
    let by_sudo = [&["sudo", "-n"], &direct[..]].concat();
    Runner.ask(&words(&by_sudo)).map(drop).map_err(|_| first.detail())
}
