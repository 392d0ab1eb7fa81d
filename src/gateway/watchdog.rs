//! The watchdog of a service manager (sd_notify(3)): it is fed only while the loops of hub, accept and reload move.
//!
//! `main` looks every third of the interval, and only where WATCHDOG_USEC asks for it. A look that finds every loop
//! moved since the last one feeds, and gives each a push, so that an idle loop has something to move for. What does not
//! move is named in the log once; the service manager ends the process when its patience is over.

use std::time::{Duration, Instant};

use super::life::Life;
use crate::reload::Reload;
use crate::sys::sd_notify;

/// Looks for each interval of the manager: one late look must not be the end.
const LOOKS: u32 = 3;

pub struct Watchdog {
    every: Duration,
    due: Instant,
    /// Counters of the loops at the last push; the life they belong to comes and goes.
    before: Vec<(&'static str, u64)>,
    /// Said already.
    stuck: bool,
}

impl Watchdog {
    /// None: nobody watches.
    pub fn new() -> Option<Watchdog> {
        let every = sd_notify::watchdog_interval()? / LOOKS;
        Some(Watchdog { every, due: Instant::now() + every, before: Vec::new(), stuck: false })
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// Feeds if it is time and everything moves.
    pub fn look(&mut self, life: Option<&Life>, reload: &Reload) {
        let now = Instant::now();
        if now < self.due {
            return;
        }
        self.due = now + self.every;
        let mut beats = life.map(Life::beats).unwrap_or_default();
        beats.push(("reload", reload.beats()));
        // A loop of a new life has another counter, which is as good as a move.
        let stuck: Vec<&str> = self.before.iter().filter(|beat| beats.contains(beat)).map(|(name, _)| *name).collect();
        if stuck.is_empty() {
            sd_notify::watchdog();
            self.before = beats;
        } else if !self.stuck {
            log::error!(
                target: "gateway",
                "watchdog: {} has not moved for {} ms; the service manager is not told that all is well",
                stuck.join(", "),
                self.every.as_millis()
            );
        }
        self.stuck = !stuck.is_empty();
        if let Some(life) = life {
            life.push();
        }
        reload.push();
    }
}
