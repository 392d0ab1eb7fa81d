//! `tailscale whois`: the login behind an address of the tailnet, asked of the local daemon (cli 8).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Errors, Tool};

/// How long an answer is believed, and a failure.
const KNOWN: Duration = Duration::from_secs(60);
const FAILED: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(5);
const ENTRIES: usize = 256;

struct Cached {
    login: Option<String>,
    until: Instant,
}

static CACHE: Mutex<Option<HashMap<IpAddr, Cached>>> = Mutex::new(None);

/// Login name of the user whose machine has this address; None when tailscale does not know or is not there.
/// Blocks the caller for at most five seconds, and only when the answer is not cached.
pub fn whois(ip: IpAddr) -> Option<String> {
    let now = Instant::now();
    if let Some(cached) = CACHE.lock().as_ref().and_then(|cache| cache.get(&ip)).filter(|c| c.until > now) {
        return cached.login.clone();
    }
    let login = ask(ip);
    let until = now + if login.is_some() { KNOWN } else { FAILED };
    let mut slot = CACHE.lock();
    let cache = slot.get_or_insert_default();
    if cache.len() >= ENTRIES {
        cache.retain(|_, c| c.until > now);
    }
    if cache.len() < ENTRIES {
        cache.insert(ip, Cached { login: login.clone(), until });
    }
    login
}

fn ask(ip: IpAddr) -> Option<String> {
    let answer = Tool::find().ok()?.run(&["whois", "--json", &ip.to_string()], TIMEOUT, Errors::Dropped, None);
    login_in(&answer.ok()?)
}

/// `UserProfile.LoginName` of the command's output.
fn login_in(json: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(json).ok()?;
    let login = value.get("UserProfile")?.get("LoginName")?.as_str()?.trim();
    (!login.is_empty()).then(|| login.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_login() {
        for (json, want) in [
            (r#"{"Node":{},"UserProfile":{"LoginName":" ann@example.com "}}"#, Some("ann@example.com")),
            (r#"{"UserProfile":{"LoginName":""}}"#, None),
            (r#"{"UserProfile":[]}"#, None),
            ("not json", None),
        ] {
            assert_eq!(login_in(json.as_bytes()).as_deref(), want, "{json}");
        }
    }
}
