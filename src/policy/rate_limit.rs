//! How often somebody may guess a secret (protocol 2.5, http 2.1; DECISIONS 27-28, LESSONS R5 and R6). One leaf
//! lock, held for a few lines; no clock of its own.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use parking_lot::Mutex;

use super::net::Caller;
use crate::config::model::RateLimit;
use crate::limits;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RateScope {
    SharedSecret,
    DeviceToken,
    Hooks,
}

/// Loopback browsers share one address: any page of any browser on this machine can open a socket here.
pub const LOOPBACK_BROWSERS: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

/// Whom failures are charged to. What an unknown proxy on this machine brings has an account of its own: a program here
/// that shows the right secret does not clear it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateKey {
    /// None: behind a proxy that names nobody; all of those share one key.
    ip: Option<IpAddr>,
    /// On this machine, not a browser, not forwarded by a proxy that we do not know.
    local: bool,
}

impl RateKey {
    pub fn of(caller: &Caller) -> RateKey {
        let local = caller.is_here();
        if local && caller.has_origin() {
            return RateKey { ip: Some(LOOPBACK_BROWSERS), local: false };
        }
        RateKey { ip: caller.client, local: local && (!caller.forwarded || caller.peer_is_trusted_proxy) }
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
    max_attempts: usize,
    window_ms: u64,
    lockout_ms: u64,
    exempt_loopback: bool,
    records: Mutex<HashMap<(RateScope, RateKey), Record>>,
}

#[derive(Default)]
struct Record {
    failures: VecDeque<u64>,
    locked_until: Option<u64>,
    used_ms: u64,
}

impl Record {
    fn unlock_if_over(&mut self, now_ms: u64) {
        if self.locked_until.is_some_and(|until| until <= now_ms) {
            self.locked_until = None;
            self.failures.clear();
        }
    }

    fn forget_before(&mut self, oldest: u64) {
        while self.failures.front().is_some_and(|at| *at < oldest) {
            self.failures.pop_front();
        }
    }
}

impl RateLimiter {
    /// Numbers below one count as one.
    pub fn new(rules: &RateLimit) -> RateLimiter {
        RateLimiter {
            max_attempts: rules.max_attempts.max(1) as usize,
            window_ms: millis(rules.window),
            lockout_ms: millis(rules.lockout),
            exempt_loopback: rules.exempt_loopback,
            records: Mutex::new(HashMap::new()),
        }
    }

    /// Before a secret is looked at: a locked key is refused whatever it shows.
    pub fn check(&self, scope: RateScope, key: RateKey, now_ms: u64) -> Result<(), Locked> {
        if self.exempt(key) {
            return Ok(());
        }
        let mut records = self.records.lock();
        let Some(record) = records.get_mut(&(scope, key)) else { return Ok(()) };
        record.used_ms = now_ms;
        record.unlock_if_over(now_ms);
        match record.locked_until {
            Some(until) => Err(Locked { retry_after_ms: until - now_ms }),
            None => Ok(()),
        }
    }

    /// A wrong secret. A missing one is no failure, and none is added during a lock.
    pub fn failure(&self, scope: RateScope, key: RateKey, now_ms: u64) {
        if self.exempt(key) {
            return;
        }
        let mut records = self.records.lock();
        if records.len() >= limits::RATE_ENTRIES && !records.contains_key(&(scope, key)) {
            self.make_room(&mut records, now_ms);
        }
        let record = records.entry((scope, key)).or_default();
        record.used_ms = now_ms;
        record.unlock_if_over(now_ms);
        if record.locked_until.is_some() {
            return;
        }
        record.forget_before(now_ms.saturating_sub(self.window_ms));
        record.failures.push_back(now_ms);
        if record.failures.len() >= self.max_attempts {
            record.locked_until = Some(now_ms + self.lockout_ms);
        }
    }

    /// A right one clears the key.
    pub fn success(&self, scope: RateScope, key: RateKey) {
        self.records.lock().remove(&(scope, key));
    }

    /// Takes back the failure just charged: what looked like a wrong shared secret was a right device token.
    pub fn forgive(&self, scope: RateScope, key: RateKey) {
        if let Some(record) = self.records.lock().get_mut(&(scope, key)) {
            record.failures.pop_back();
            record.locked_until = None;
        }
    }

    /// Makes room for one more: what no longer matters goes first, then what is least useful.
    fn make_room(&self, records: &mut HashMap<(RateScope, RateKey), Record>, now_ms: u64) {
        let oldest = now_ms.saturating_sub(self.window_ms);
        records.retain(|_, record| {
            record.unlock_if_over(now_ms);
            record.forget_before(oldest);
            record.locked_until.is_some() || !record.failures.is_empty()
        });
        if records.len() >= limits::RATE_ENTRIES {
            forget_least_useful(records);
        }
    }

    fn exempt(&self, key: RateKey) -> bool {
        self.exempt_loopback && key.local
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 4).clamp(1, u64::MAX / 4)
}

/// Locks are kept longest: whoever floods the table with addresses shall not open one by it.
fn forget_least_useful(records: &mut HashMap<(RateScope, RateKey), Record>) {
    let least = records.iter().min_by_key(|(_, record)| (record.locked_until.is_some(), record.used_ms));
    if let Some(key) = least.map(|(key, _)| *key) {
        records.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::net::{Head, IpList};

    const SECRET: RateScope = RateScope::SharedSecret;

    fn key(ip: &str, headers: &[(&str, &str)]) -> RateKey {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        RateKey::of(&Caller::resolve(&Head { peer: ip.parse().unwrap(), headers }, &IpList::default(), false))
    }

    fn limiter(max_attempts: u32, exempt_loopback: bool) -> RateLimiter {
        RateLimiter::new(&RateLimit {
            max_attempts,
            window: Duration::from_secs(60),
            lockout: Duration::from_secs(300),
            exempt_loopback,
        })
    }

    #[test]
    fn the_tenth_failure_locks_for_five_minutes() {
        let limiter = limiter(10, true);
        let far = key("192.0.2.1", &[]);
        for n in 0..10 {
            assert_eq!(limiter.check(SECRET, far, n), Ok(()), "{n}");
            limiter.failure(SECRET, far, n);
        }
        let locked = limiter.check(SECRET, far, 9).unwrap_err();
        assert_eq!((locked.retry_after_ms, locked.retry_after_seconds()), (300_000, 300));
        limiter.failure(SECRET, far, 100_000);
        assert_eq!(limiter.check(SECRET, far, 300_008).unwrap_err().retry_after_seconds(), 1);
        assert_eq!(limiter.check(RateScope::DeviceToken, far, 9), Ok(()), "scopes are apart");
        assert_eq!(limiter.check(SECRET, key("192.0.2.2", &[]), 9), Ok(()), "addresses are apart");
        assert_eq!(limiter.check(SECRET, far, 300_009), Ok(()));
        limiter.failure(SECRET, far, 300_010);
        assert_eq!(limiter.check(SECRET, far, 300_011), Ok(()), "counting starts anew");
    }

    #[test]
    fn old_failures_do_not_count_and_success_clears() {
        let limiter = limiter(3, true);
        let far = key("192.0.2.1", &[]);
        for at in [0, 1, 60_002, 60_003] {
            limiter.failure(SECRET, far, at);
        }
        assert_eq!(limiter.check(SECRET, far, 60_004), Ok(()));
        limiter.success(SECRET, far);
        limiter.failure(SECRET, far, 60_005);
        limiter.failure(SECRET, far, 60_006);
        assert_eq!(limiter.check(SECRET, far, 60_007), Ok(()));
        limiter.failure(SECRET, far, 60_008);
        assert!(limiter.check(SECRET, far, 60_009).is_err());
        limiter.forgive(SECRET, far);
        assert_eq!(limiter.check(SECRET, far, 60_010), Ok(()));
    }

    #[test]
    fn loopback_is_exempt_but_its_browsers_and_unknown_proxies_are_not() {
        for (case, ip, headers, exempt_loopback, locked) in [
            ("loopback", "127.0.0.1", &[][..], true, false),
            ("v6 loopback", "::1", &[], true, false),
            ("not exempted", "127.0.0.1", &[], false, true),
            ("browser", "127.0.0.1", &[("Origin", "http://localhost")], true, true),
            ("forwarded", "127.0.0.1", &[("X-Forwarded-For", "1.2.3.4")], true, true),
            ("far", "192.0.2.1", &[], true, true),
        ] {
            let limiter = limiter(1, exempt_loopback);
            let key = key(ip, headers);
            limiter.failure(SECRET, key, 0);
            assert_eq!(limiter.check(SECRET, key, 1).is_err(), locked, "{case}");
        }
        let browser = key("::1", &[("Origin", "http://localhost")]);
        assert_eq!(browser, RateKey { ip: Some(LOOPBACK_BROWSERS), local: false });
    }

    #[test]
    fn memory_is_bounded_and_locks_are_kept() {
        let limiter = limiter(2, true);
        let locked = key("192.0.2.1", &[]);
        limiter.failure(SECRET, locked, 0);
        limiter.failure(SECRET, locked, 0);
        for n in 0..2 * limits::RATE_ENTRIES as u32 {
            limiter.failure(SECRET, key(&Ipv4Addr::from(0x0a00_0000 + n).to_string(), &[]), 1 + u64::from(n));
        }
        assert_eq!(limiter.records.lock().len(), limits::RATE_ENTRIES);
        assert!(limiter.check(SECRET, locked, 10).is_err());
        limiter.failure(SECRET, key("192.0.2.2", &[]), 200_000);
        assert_eq!(limiter.records.lock().len(), 2, "of the old ones only the lock is left");
        assert!(limiter.check(SECRET, locked, 200_000).is_err());
    }

    #[test]
    fn senseless_numbers_become_one() {
        let rules =
            RateLimit { max_attempts: 0, window: Duration::ZERO, lockout: Duration::ZERO, exempt_loopback: false };
        let limiter = RateLimiter::new(&rules);
        limiter.failure(SECRET, key("192.0.2.1", &[]), 0);
        assert_eq!(limiter.check(SECRET, key("192.0.2.1", &[]), 0).unwrap_err().retry_after_ms, 1);
    }
}
