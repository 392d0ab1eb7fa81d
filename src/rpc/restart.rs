//! Restarts that a request asks for: when they are due, how often they may be, and the note that the next start finds.
//!
//! One `Restarts` for the process: its cool-down and its windows outlive the restart itself. `main` waits for the due
//! time in its control loop; handlers only say when.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::context::{Caller, Context, wall_ms};
use crate::agent::keys;
use crate::config::Config;
use crate::hub::system_events::SystemEvents;
use crate::limits;
use crate::policy::control_plane::ControlPlane;
use crate::protocol::ErrorShape;
use crate::store::atomic;

/// Tells `main` when a restart is due, and what for.
pub type Due = Box<dyn Fn(Instant, &'static str) + Send + Sync>;

pub struct Restarts {
    began: Instant,
    calls: ControlPlane,
    times: Mutex<Times>,
    due: Due,
}

#[derive(Default)]
struct Times {
    last: Option<Instant>,
    pending: Option<Instant>,
}

/// What became of a wish for a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub delay: Duration,
    /// One was pending that comes no later.
    pub coalesced: bool,
    /// Part of the delay: the rest of the pause after the last restart.
    pub cooldown: Duration,
}

impl Restarts {
    pub fn new(due: Due) -> Restarts {
        Restarts { began: Instant::now(), calls: ControlPlane::default(), times: Mutex::default(), due }
    }

    /// Counts a call of the control plane, before anything else is looked at (protocol 5).
    pub fn admit(&self, method: &str, caller: &Caller) -> Result<(), ErrorShape> {
        let who = match (&caller.device_id, &caller.remote_ip) {
            (None, None) => format!("conn:{}", caller.conn_id),
            (device, ip) => format!("{}|{}", device.as_deref().unwrap_or_default(), ip.as_deref().unwrap_or_default()),
        };
        self.calls.admit(&who, self.began.elapsed().as_millis() as u64).map_err(|retry_after_ms| {
            let seconds = retry_after_ms.div_ceil(1000);
            let limit = format!("{} per {}s", limits::CONTROL_PLANE_CALLS, limits::CONTROL_PLANE_WINDOW.as_secs());
            ErrorShape::unavailable(format!("rate limit exceeded for {method}; retry after {seconds}s"))
                .retry_after(retry_after_ms)
                .details(json!({"method": method, "limit": limit}))
        })
    }

    /// Plans a restart. One that is pending already stays, unless this one comes earlier.
    pub fn schedule(&self, delay: Duration, reason: &'static str, now: Instant) -> Scheduled {
        let mut times = self.times.lock();
        let cooldown =
            times.last.map_or(Duration::ZERO, |last| (last + limits::RESTART_COOLDOWN).saturating_duration_since(now));
        let due = now + delay + cooldown;
        if let Some(pending) = times.pending.filter(|pending| *pending <= due) {
            return Scheduled { delay: pending.saturating_duration_since(now), coalesced: true, cooldown };
        }
        times.pending = Some(due);
        drop(times);
        (self.due)(due, reason);
        Scheduled { delay: due - now, coalesced: false, cooldown }
    }

    /// A restart begins, whoever asked for it: what was planned so far is served by it.
    pub fn begins(&self) {
        self.times.lock().pending = None;
    }

    /// Whether what was planned for this time still is.
    pub fn is_planned(&self, due: Instant) -> bool {
        self.times.lock().pending == Some(due)
    }

    /// It has really happened: the pause starts.
    pub fn happened(&self, now: Instant) {
        self.times.lock().last = Some(now);
    }
}

// ── The note for the next start ────────────────────────────────────────────────────────────────────────────

/// `restart-sentinel.json` of the state directory.
pub fn sentinel_path(state_dir: &Path) -> PathBuf {
    state_dir.join("restart-sentinel.json")
}

/// Leaves a note for the next start; the `sentinel` of the answer. `method` is `config.patch` or `config.apply`.
pub fn leave_note(ctx: &Context, method: &str, session_key: Option<&str>, note: Option<&str>) -> Value {
    let session_key = session_key.map(str::trim).filter(|key| !key.is_empty());
    let note = note.map(str::trim).filter(|note| !note.is_empty());
    let mut payload = json!({"kind": method.replace('.', "-"), "status": "ok", "ts": wall_ms()});
    if let Some(key) = session_key {
        payload["sessionKey"] = json!(key);
        let entry = keys::canonical(key, &ctx.config()).ok().and_then(|route| ctx.sessions.get(&route.key));
        if let Some(context) = entry.and_then(|entry| entry.delivery_context.clone()) {
            payload["deliveryContext"] = Value::Object(context);
        }
    }
    payload["message"] = json!(note);
    payload["doctorHint"] = json!("Run: openclaw doctor --non-interactive");
    payload["stats"] = json!({"mode": method, "root": ctx.paths.config_path.display().to_string()});
    let path = sentinel_path(&ctx.paths.state_dir);
    let text = format!("{}\n", json!({"version": 1, "payload": payload}));
    let path = match atomic::write(&path, text.as_bytes()) {
        Ok(()) => json!(path.display().to_string()),
        Err(e) => {
            log::warn!(target: "gateway", "no note for the next start: {}: {e}", path.display());
            Value::Null
        }
    };
    json!({"path": path, "payload": payload})
}

/// Takes the note that was left before the restart: its session (the main one if it names none) is told in its next turn.
pub fn take_note(state_dir: &Path, config: &Config, events: &SystemEvents) {
    let path = sentinel_path(state_dir);
    let text = match atomic::read_limited(&path, limits::STATE_FILE_BYTES) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
        Err(e) => return log::warn!(target: "gateway", "{} cannot be read: {e}", path.display()),
    };
    if let Err(e) = std::fs::remove_file(&path) {
        log::warn!(target: "gateway", "{} cannot be removed: {e}; the note in it comes again", path.display());
    }
    let Ok(note) = serde_json::from_slice::<Value>(&text) else {
        return log::warn!(target: "gateway", "{} was damaged; removed", path.display());
    };
    let payload = &note["payload"];
    let main = || keys::main_of(config.agents.default_id(), config).key;
    let named = payload["sessionKey"].as_str().and_then(|key| keys::canonical(key, config).ok());
    let key = named.map_or_else(main, |route| route.key);
    events.push(&key, &note_line(payload), wall_ms());
}

fn note_line(payload: &Value) -> String {
    let word = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let what = word(&payload["stats"]["mode"], &word(&payload["kind"], "a request"));
    let mut line = format!("The gateway restarted after {what} ({}).", word(&payload["status"], "ok"));
    if let Some(message) = payload["message"].as_str().filter(|message| !message.trim().is_empty()) {
        line.push(' ');
        // A note may not pass for another line of the prompt.
        line.extend(message.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(NOTE_CHARS));
    }
    line
}

/// Of a note's text.
const NOTE_CHARS: usize = 2000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Config;
    use crate::store::atomic::tests::TempDir;

    #[test]
    fn delays_cool_down_and_coalescing() {
        let (sent, due) = crossbeam_channel::unbounded();
        let restarts = Restarts::new(Box::new(move |at, why| sent.send((at, why)).expect("the test reads")));
        let start = Instant::now();
        let ms = Duration::from_millis;
        let schedule = |delay, at| restarts.schedule(ms(delay), "config.patch", start + ms(at));
        let of = |delay, coalesced, cooldown| Scheduled { delay: ms(delay), coalesced, cooldown: ms(cooldown) };
        assert_eq!(schedule(2000, 0), of(2000, false, 0));
        assert_eq!(schedule(2000, 500), of(1500, true, 0));
        // An earlier one takes its place.
        assert_eq!(schedule(100, 600), of(100, false, 0));
        restarts.begins();
        restarts.happened(start + ms(1000));
        assert_eq!(schedule(0, 5112), of(25_888, false, 25_888));
        assert_eq!(schedule(500, 31_000), of(0, true, 0), "overdue");
        assert!(restarts.is_planned(start + ms(31_000)) && !restarts.is_planned(start + ms(700)));
        restarts.begins();
        assert!(!restarts.is_planned(start + ms(31_000)));
        assert_eq!(schedule(500, 31_001), of(500, false, 0));
        let sent: Vec<_> = due.try_iter().map(|(at, _)| (at - start).as_millis()).collect();
        assert_eq!(sent, [2000, 700, 31_000, 31_501]);
    }

    #[test]
    fn a_note_reaches_its_session_once() {
        let dir = TempDir::new("restart-note");
        let (events, config) = (SystemEvents::default(), Config::default());
        let take = || take_note(dir.path(), &config, &events);
        take();
        let note = |payload: Value| {
            atomic::write(&sentinel_path(dir.path()), json!({"version":1,"payload":payload}).to_string().as_bytes())
                .unwrap();
        };
        note(
            json!({"kind":"config-patch","status":"ok","sessionKey":"Work","message":"new\nkey","stats":{"mode":"config.patch"}}),
        );
        take();
        take();
        assert_eq!(events.texts("agent:main:work"), ["The gateway restarted after config.patch (ok). new key"]);
        note(json!({"kind":"restart","status":"ok","message":null}));
        take();
        assert_eq!(events.texts("agent:main:main"), ["The gateway restarted after restart (ok)."]);
        std::fs::write(sentinel_path(dir.path()), "{").unwrap();
        take();
        assert!(!sentinel_path(dir.path()).exists());
    }
}
