//! How often somebody may guess a secret (protocol 2.5, http 2.1; DECISIONS 27-28, LESSONS R5 and R6). Lives in a
//! leaf lock of whoever checks secrets; no clock of its own.

use std::net::{IpAddr, Ipv4Addr};

use super::net::Caller;
use crate::config::model::RateLimit;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateScope {
    SharedSecret,
    DeviceToken,
    Hooks,
}

/// Loopback browsers share one address: any page of any browser on this machine can open a socket here.
pub const LOOPBACK_BROWSERS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// Whom failures are charged to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateKey {
    /// None: behind a proxy that names nobody; all of those share one key.
    pub ip: Option<IpAddr>,
    /// A connection with an Origin header.
    pub browser: bool,
}

impl RateKey {
    pub fn of(caller: &Caller) -> RateKey {
        let _ = caller;
        RateKey { ip: None, browser: false }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    pub retry_after_ms: u64,
}

impl Locked {
    /// For `Retry-After`: rounded up.
    pub fn retry_after_seconds(self) -> u64 {
        self.retry_after_ms.div_ceil(1000)
    }
}

/// Sliding window of failures per (scope, address), and locks. `now_ms` is a monotonic clock.
pub struct RateLimiter {
    rules: RateLimit,
}

impl RateLimiter {
    pub fn new(rules: RateLimit) -> RateLimiter {
        RateLimiter { rules }
    }

    /// Values below one count as one; say so to the operator when [`clamped`] says so.
    pub fn rules(&self) -> &RateLimit {
        &self.rules
    }

    /// Before a secret is looked at.
    pub fn check(&mut self, scope: RateScope, key: RateKey, now_ms: u64) -> Result<(), Locked> {
        let _ = (scope, key, now_ms);
        Ok(())
    }

    /// A wrong secret. A missing one is no failure.
    pub fn failure(&mut self, scope: RateScope, key: RateKey, now_ms: u64) {
        let _ = (scope, key, now_ms);
    }

    /// A right one clears the key.
    pub fn success(&mut self, scope: RateScope, key: RateKey) {
        let _ = (scope, key);
    }

    /// Forgets what no longer matters; once a minute.
    pub fn prune(&mut self, now_ms: u64) {
        let _ = now_ms;
    }
}
