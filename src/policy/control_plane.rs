//! How often somebody may change the gateway as a whole (protocol 5): a fixed window for each caller. No clock of its
//! own; one leaf lock, held for a few lines.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::limits;

/// Windows by caller.
#[derive(Default)]
pub struct ControlPlane {
    windows: Mutex<HashMap<String, Window>>,
}

struct Window {
    began_ms: u64,
    calls: u32,
}

impl ControlPlane {
    /// Counts a call. Err: milliseconds until the next one is allowed. `now_ms` is a monotonic clock.
    pub fn admit(&self, caller: &str, now_ms: u64) -> Result<(), u64> {
        let length = limits::CONTROL_PLANE_WINDOW.as_millis() as u64;
        let mut windows = self.windows.lock();
        let over = |window: &Window| now_ms.saturating_sub(window.began_ms) >= length;
        if windows.len() >= limits::RATE_ENTRIES && !windows.contains_key(caller) {
            windows.retain(|_, window| !over(window));
            // As many callers in one minute: none of them is forgotten, and newcomers wait.
            if windows.len() >= limits::RATE_ENTRIES {
                return Err(length);
            }
        }
        let window = windows.entry(caller.to_owned()).or_insert(Window { began_ms: now_ms, calls: 0 });
        if over(window) {
            *window = Window { began_ms: now_ms, calls: 0 };
        }
        if window.calls >= limits::CONTROL_PLANE_CALLS {
            return Err(window.began_ms + length - now_ms);
        }
        window.calls += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_calls_in_a_fixed_window() {
        let limiter = ControlPlane::default();
        for (caller, now, expected) in [
            ("a|1", 1_000, Ok(())),
            ("a|1", 1_500, Ok(())),
            ("a|1", 2_000, Ok(())),
            ("a|1", 26_209, Err(34_791)),
            ("b|1", 26_209, Ok(())),
            ("a|1", 60_999, Err(1)),
            ("a|1", 61_000, Ok(())),
            ("a|1", 61_001, Ok(())),
        ] {
            assert_eq!(limiter.admit(caller, now), expected, "{caller} at {now}");
        }
    }

    #[test]
    fn a_crowd_does_not_reset_anybody() {
        let limiter = ControlPlane::default();
        for n in 0..limits::RATE_ENTRIES {
            assert_eq!(limiter.admit(&n.to_string(), 5), Ok(()));
        }
        assert_eq!(limiter.admit("late", 6), Err(60_000));
        assert_eq!(limiter.admit("0", 6), Ok(()));
        assert_eq!(limiter.admit("late", 60_005), Ok(()));
    }
}
