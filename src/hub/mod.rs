//! Who is connected: clients, fan-out, presence, open runs, the health snapshot. One thread owns them all.
//!
//! Everything that can happen here is one [`Event`]. The thread does no I/O but the non-blocking send of a frame,
//! waits for nobody, and takes up to [`limits::HUB_BATCH`] messages before it sends lists and text, so that many
//! changes make one event. Readers never ask it anything: it publishes a [`Snapshot`].

pub mod clients;
pub mod open_runs;
pub mod outbox;
pub mod reply;
pub mod run_events;
pub mod system_events;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::RwLock;
use serde_json::{Value, json};

use self::clients::{Client, Clients};
use self::open_runs::{Now, OpenRuns, Output};
use self::outbox::{Budget, EventFrame, Outbox};
use self::reply::Reply;
use self::run_events::{Answer, ClosedRun, RunEvent};
use crate::limits;
use crate::log::ws_lines::{self, Detail};
use crate::metrics::Metrics;
use crate::protocol::params::system::SystemEventParams;
use crate::protocol::presence::{ClientInfo, Moment, PresenceBook, SelfInfo};
use crate::protocol::roles::{Role, Scopes};
use crate::protocol::{connect, events, frame, methods};
use crate::ws::Close;

/// Everything that can happen to the hub.
pub enum Event {
    Register(Box<Registration>),
    Unregister {
        conn_id: Arc<str>,
    },
    /// `system-event`: presence changes, perhaps a line for the next turn, then the answer.
    SystemEvent {
        event: Box<SystemEventParams>,
        reply: Reply,
    },
    /// An event of the EVENTS table with a payload that the sender has made.
    Broadcast {
        event: &'static str,
        payload: Value,
    },
    /// A device's token was rotated or revoked, or the device removed: the answer, then its sockets close.
    Revoke(Box<Revocation>),
    Run(Box<RunEvent>),
    /// Sessions, agents, channels or configuration changed; the snapshot may be stale.
    HealthChanged,
    /// The `shutdown` event for everybody.
    Shutdown {
        reason: &'static str,
        restart_expected_ms: Option<u64>,
    },
    /// Closes every client and refuses new ones; the outboxes come back so that their last bytes can be awaited.
    CloseAll {
        close: Close,
        done: Sender<Vec<Arc<Outbox>>>,
    },
    /// Nothing to do but to move: a watchdog looks whether the loop does.
    Beat,
    /// The thread ends.
    End,
}

/// A client that has passed the handshake.
pub struct Registration {
    pub conn_id: Arc<str>,
    pub client: connect::Client,
    pub role: Role,
    pub scopes: Scopes,
    pub protocol: u32,
    pub device_id: Option<Arc<str>>,
    pub remote_ip: Option<String>,
    pub outbox: Arc<Outbox>,
    /// What it was judged by: a device's secret that changed meanwhile makes the registration stale. (A new shared
    /// secret comes with a new hub.)
    pub device_epoch: u64,
    pub request_id: String,
    /// Makes hello-ok from the snapshot that has this client in it. Runs on the hub's thread: memory only.
    pub hello: MakeHello,
    /// True: registered, hello-ok has left. False: refused, a close frame has left.
    pub done: Sender<bool>,
}

/// Makes the payload of hello-ok from a snapshot.
pub type MakeHello = Box<dyn FnOnce(&Snapshot) -> Vec<u8> + Send>;
/// Queues a line, with its time in milliseconds.
pub type QueueLine = Box<dyn Fn(&str, u64) + Send>;

pub struct Revocation {
    pub device_id: String,
    /// None: all roles (the device was removed).
    pub role: Option<Role>,
    /// The device's epoch from now on.
    pub epoch: u64,
    pub reason: &'static str,
    pub answer: Option<(Reply, Value)>,
}

/// Presence and health as last published, already serialised.
#[derive(Debug)]
pub struct Snapshot {
    /// A JSON array of entries.
    pub presence: Arc<[u8]>,
    pub presence_version: u64,
    pub health: Arc<[u8]>,
    pub health_version: u64,
}

/// What makes a health snapshot: memory only, called on the hub's thread.
pub trait HealthSource: Send {
    /// The payload, and a number that changes whenever something but its times changes.
    fn build(&self, now_ms: u64) -> (Vec<u8>, u64);
}

/// A test sees what a hub that hangs does to the watchdog.
#[cfg(debug_assertions)]
fn stop_if_told() {
    while std::env::var_os("OPENCLAW_TEST_STOP_HUB").is_some_and(|file| std::path::Path::new(&file).exists()) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[cfg(not(debug_assertions))]
fn stop_if_told() {}

/// What the hub is given at start.
pub struct Setup {
    /// Called on the hub's thread before its first message: the addresses of this machine take a while.
    pub me: Box<dyn FnOnce() -> SelfInfo + Send>,
    pub health: Box<dyn HealthSource>,
    pub budget: Arc<Budget>,
    pub ws_log: Detail,
    /// Where ended runs are reported.
    pub closed_runs: Sender<ClosedRun>,
    /// Queues a line for the next turn of the main session.
    pub queue_system_event: QueueLine,
    /// Called when the thread panics: the state is gone, the process has to end in order.
    pub on_death: Box<dyn FnOnce() + Send>,
    pub metrics: Arc<Metrics>,
}

/// The hub's address. Sending waits when the hub is behind; after its end nothing is sent and nobody is told.
#[derive(Clone)]
pub struct HubHandle {
    tx: Sender<Event>,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    beats: Arc<AtomicU64>,
}

impl HubHandle {
    pub fn send(&self, event: Event) {
        // A hub that is gone means that the gateway stops.
        let _ = self.tx.send(event);
    }

    /// The same without waiting: a hub that is behind will look by itself.
    pub fn nudge(&self, event: Event) {
        let _ = self.tx.try_send(event);
    }

    pub fn run(&self, event: RunEvent) {
        self.send(Event::Run(Box::new(event)));
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().clone()
    }

    /// Counts the hub's rounds: a watchdog sees whether it moves.
    pub fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

/// Starts the hub's thread. It ends with [`Event::End`].
///
/// The snapshot is empty until the hub takes its first message: it is for those who have registered.
pub fn start(setup: Setup) -> std::io::Result<(HubHandle, JoinHandle<()>)> {
    let (tx, rx) = bounded(limits::HUB_QUEUE);
    let empty = Snapshot { presence: [].into(), presence_version: 0, health: [].into(), health_version: 0 };
    let snapshot = Arc::new(RwLock::new(Arc::new(empty)));
    let handle = HubHandle { tx, snapshot: snapshot.clone(), beats: Arc::default() };
    let beats = handle.beats.clone();
    let thread = std::thread::Builder::new().name("hub".into()).spawn(move || {
        let _mourner = Mourner(Some(setup.on_death));
        let now = now();
        // Those of the hub before this one are gone with it.
        setup.metrics.ws_clients.clear();
        let mut presence = PresenceBook::new((setup.me)());
        let (health, fingerprint) = setup.health.build(now.millis);
        *snapshot.write() = Arc::new(Snapshot {
            presence: presence.list_json(moment(now, now.instant)).into(),
            presence_version: presence.version(),
            health: health.into(),
            health_version: 1,
        });
        let hub = Hub {
            clients: Clients::default(),
            runs: OpenRuns::default(),
            presence,
            presence_due: None,
            presence_sent: now.instant,
            presence_pause: PRESENCE_PAUSE,
            presence_replies: Vec::new(),
            published: 0,
            snapshot,
            health: setup.health,
            health_fingerprint: fingerprint,
            health_version: 1,
            health_due: now.instant + limits::MAINTENANCE,
            next_tick: now.instant + limits::TICK_INTERVAL,
            next_sweep: now.instant + limits::MAINTENANCE,
            started: now.instant,
            budget: setup.budget,
            ws_log: setup.ws_log,
            closed_runs: setup.closed_runs,
            queue_system_event: setup.queue_system_event,
            metrics: setup.metrics,
            beats,
            closing: false,
        };
        hub.run(&rx);
    })?;
    Ok((handle, thread))
}

/// Tells `main` when the thread that holds it panics.
struct Mourner(Option<Box<dyn FnOnce() + Send>>);

impl Drop for Mourner {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(tell) = self.0.take()
        {
            tell();
        }
    }
}

struct Hub {
    clients: Clients,
    runs: OpenRuns,
    presence: PresenceBook,
    /// The list is to be broadcast at this time.
    presence_due: Option<Instant>,
    presence_sent: Instant,
    presence_pause: Duration,
    /// Callers of `system-event` whose answer waits until `system-presence` shows it.
    presence_replies: Vec<Reply>,
    /// Presence version of the published snapshot.
    published: u64,
    snapshot: Arc<RwLock<Arc<Snapshot>>>,
    health: Box<dyn HealthSource>,
    health_fingerprint: u64,
    health_version: u64,
    health_due: Instant,
    next_tick: Instant,
    next_sweep: Instant,
    started: Instant,
    budget: Arc<Budget>,
    ws_log: Detail,
    closed_runs: Sender<ClosedRun>,
    queue_system_event: QueueLine,
    metrics: Arc<Metrics>,
    beats: Arc<AtomicU64>,
    closing: bool,
}

/// Disconnects that come together make one list; two lists for them come no closer than this. The pause doubles while
/// more come, so that a crowd that leaves slowly does not cost the square of its size.
const PRESENCE_PAUSE: Duration = Duration::from_millis(50);
const PRESENCE_PAUSE_MOST: Duration = Duration::from_secs(1);
/// Between a change of sessions and the health snapshot that shows it, so that a busy gateway does not make one per run.
const HEALTH_PAUSE: Duration = Duration::from_secs(1);

impl Hub {
    fn run(mut self, rx: &Receiver<Event>) {
        loop {
            let first = match rx.recv_deadline(self.next_deadline()) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = now();
            for event in first.into_iter().chain(rx.try_iter().take(limits::HUB_BATCH)) {
                if matches!(event, Event::End) {
                    return;
                }
                self.handle(event, now);
            }
            self.after_batch(now);
            self.beats.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn next_deadline(&self) -> Instant {
        let fixed = [self.next_tick, self.next_sweep, self.health_due];
        let due = self.presence_due.into_iter().chain(self.runs.next_deadline()).chain(self.clients.next_cut());
        due.chain(fixed).min().expect("the fixed deadlines are there")
    }

    fn handle(&mut self, event: Event, now: Now) {
        match event {
            Event::Register(registration) => self.register(*registration, now),
            Event::Unregister { conn_id } => self.unregister(&conn_id, now),
            Event::SystemEvent { event, reply } => {
                let moment = moment(now, self.started);
                if let Some(line) = self.presence.system_event(&event, moment).queued {
                    (self.queue_system_event)(&line, now.millis);
                }
                self.presence_due = Some(now.instant);
                self.presence_replies.push(reply);
            }
            Event::Broadcast { event, payload } => self.broadcast(event, &payload, now),
            Event::Revoke(revocation) => self.revoke(*revocation, now),
            Event::Run(event) => {
                self.runs.handle(*event, now);
                self.send_runs(now);
            }
            Event::HealthChanged => self.health_due = self.health_due.min(now.instant + HEALTH_PAUSE),
            Event::Shutdown { reason, restart_expected_ms } => {
                let payload = json!({"reason": reason, "restartExpectedMs": restart_expected_ms});
                self.broadcast("shutdown", &payload, now);
            }
            Event::CloseAll { close, done } => {
                self.closing = true;
                let outboxes = self.clients.close_all(&close);
                let _ = done.try_send(outboxes);
            }
            Event::Beat => stop_if_told(),
            Event::End => {}
        }
    }

    /// Lists, text and everything that time asks for.
    fn after_batch(&mut self, now: Now) {
        self.runs.flush(now);
        self.send_runs(now);
        if self.presence_due.is_some_and(|due| due <= now.instant) {
            self.publish_presence(now);
            for reply in self.presence_replies.drain(..) {
                reply.ok(&json!({"ok": true}));
            }
            let snapshot = self.snapshot.read().clone();
            let list = [b"{\"presence\":", &*snapshot.presence, b"}"].concat();
            self.broadcast_raw("presence", &list, Some(&snapshot), now);
            self.presence_due = None;
            let quiet = now.instant.saturating_duration_since(self.presence_sent) > self.presence_pause * 2;
            let longer = (self.presence_pause * 2).min(PRESENCE_PAUSE_MOST);
            self.presence_pause = if quiet { PRESENCE_PAUSE } else { longer };
            self.presence_sent = now.instant;
        }
        if self.health_due <= now.instant {
            self.refresh_health(now);
        }
        if self.next_tick <= now.instant {
            self.next_tick = now.instant + limits::TICK_INTERVAL;
            self.broadcast("tick", &json!({"ts": now.millis}), now);
        }
        if self.next_sweep <= now.instant {
            self.next_sweep = now.instant + limits::MAINTENANCE;
            self.publish_presence(now);
            crate::sys::memory::trim();
        }
        self.clients.cut_overdue(now.instant);
        let excess = self.budget.excess();
        if excess > 0 {
            self.clients.close_fattest(excess, now.instant);
        }
        let (skipped, slow) = self.clients.take_losses();
        self.metrics.events_skipped.add(skipped);
        self.metrics.slow_consumers.add(slow);
    }

    fn register(&mut self, r: Registration, now: Now) {
        let stale = r.device_id.as_ref().is_some_and(|id| self.clients.is_stale(id, r.device_epoch));
        if stale || self.closing {
            let close = match self.closing {
                true => Close::new(Close::RESTART, "service restart"),
                false => Close::policy("credentials changed during the handshake; connect again"),
            };
            r.outbox.close(&close);
            let _ = r.done.try_send(false);
            return;
        }
        let moment = moment(now, self.started);
        let info = ClientInfo {
            conn_id: &r.conn_id,
            client: &r.client,
            device_id: r.device_id.as_deref(),
            role: r.role,
            scopes: &r.scopes,
            remote_ip: r.remote_ip.as_deref(),
        };
        let presence_key = self.presence.connect(&info, moment);
        if self.presence.version() != self.published {
            self.publish_presence(now);
        }
        let snapshot = self.snapshot.read().clone();
        let hello = (r.hello)(&snapshot);
        r.outbox.answer(frame::response_ok_raw(&r.request_id, &hello));
        // The newcomer alone gets the snapshot as an event; the others have it already.
        let body = frame::event_body_raw(
            "health",
            &snapshot.health,
            Some((snapshot.presence_version, snapshot.health_version)),
        );
        r.outbox.event(&event_frame("health", body, None));
        let _ = r.done.try_send(true);
        self.log_hello(&r.conn_id, snapshot.presence_version);
        self.metrics.ws_connects.add(1);
        self.metrics.ws_clients.count(r.role.name(), "");
        self.clients.insert(Client {
            conn_id: r.conn_id,
            outbox: r.outbox,
            role: r.role,
            scopes: r.scopes,
            device_id: r.device_id,
            device_epoch: r.device_epoch,
            presence_key,
            ending: false,
        });
    }

    fn log_hello(&self, conn_id: &str, state_version: u64) {
        let (methods, events) = (methods::advertised().count(), events::advertised().count());
        let line = ws_lines::hello_ok(self.ws_log, methods, events, self.presence.len(), state_version, conn_id);
        if let Some(line) = line {
            log::info!(target: "gateway/ws", "{line}");
        }
    }

    fn unregister(&mut self, conn_id: &str, now: Now) {
        let Some(client) = self.clients.remove(conn_id) else { return };
        self.metrics.ws_clients.take_one(client.role.name(), "");
        if let Some(key) = client.presence_key
            && self.presence.disconnect(&key, moment(now, self.started))
        {
            let due = (self.presence_sent + self.presence_pause).max(now.instant);
            self.presence_due = Some(self.presence_due.map_or(due, |at| at.min(due)));
        }
    }

    fn revoke(&mut self, revocation: Revocation, now: Now) {
        let Revocation { device_id, role, epoch, reason, answer } = revocation;
        if let Some((reply, payload)) = answer {
            reply.ok(&payload);
        }
        self.clients.revoke(&device_id, role, epoch, &Close::policy(reason), now.instant);
    }

    fn send_runs(&mut self, now: Now) {
        let mut ended = false;
        for output in self.runs.take() {
            match output {
                Output::Event { event, payload, session_key: _ } => self.broadcast(event, &payload, now),
                Output::Answer(reply, Answer::Ok(payload)) => reply.ok(&payload),
                Output::Answer(reply, Answer::Err { error, payload }) => reply.err_with_payload(&error, &payload),
                Output::Closed(closed) => {
                    ended = true;
                    let _ = self.closed_runs.send(closed);
                }
            }
        }
        if ended {
            self.health_due = self.health_due.min(now.instant + HEALTH_PAUSE);
        }
    }

    fn refresh_health(&mut self, now: Now) {
        self.health_due = now.instant + limits::MAINTENANCE;
        let (health, fingerprint) = self.health.build(now.millis);
        let changed = fingerprint != self.health_fingerprint;
        self.health_fingerprint = fingerprint;
        self.health_version += u64::from(changed);
        let snapshot = self.publish(|s| Snapshot {
            presence: s.presence.clone(),
            presence_version: s.presence_version,
            health: health.into(),
            health_version: self.health_version,
        });
        if changed {
            self.broadcast_raw("health", &snapshot.health, Some(&snapshot), now);
        }
    }

    fn publish_presence(&mut self, now: Now) {
        let presence = self.presence.list_json(moment(now, self.started)).into();
        self.published = self.presence.version();
        let version = self.published;
        self.publish(|s| Snapshot {
            presence,
            presence_version: version,
            health: s.health.clone(),
            health_version: s.health_version,
        });
    }

    fn publish(&self, change: impl FnOnce(&Snapshot) -> Snapshot) -> Arc<Snapshot> {
        let mut slot = self.snapshot.write();
        *slot = Arc::new(change(&slot));
        slot.clone()
    }

    fn broadcast(&mut self, event: &'static str, payload: &Value, now: Now) {
        if !self.clients.is_empty() {
            let mut frame = event_frame(event, frame::event_body(event, payload, None), None);
            frame.droppable = events::droppable(event_kind(event), payload["state"].as_str());
            self.send_to_all(event, &frame, None, now);
        }
    }

    fn broadcast_raw(&mut self, event: &'static str, payload: &[u8], versions: Option<&Snapshot>, now: Now) {
        if !self.clients.is_empty() {
            let versions = versions.map(|s| (s.presence_version, s.health_version));
            let frame = event_frame(event, frame::event_body_raw(event, payload, versions), Some(event));
            self.send_to_all(event, &frame, versions, now);
        }
    }

    fn send_to_all(&mut self, name: &'static str, frame: &EventFrame, versions: Option<(u64, u64)>, now: Now) {
        self.clients.broadcast(name, frame, now.instant);
        let told = ws_lines::Event {
            name,
            seq: None,
            clients: self.clients.len(),
            drop_if_slow: frame.droppable,
            state_version: versions,
        };
        if let Some(line) = ws_lines::event(self.ws_log, told) {
            log::info!(target: "gateway/ws", "{line}");
        }
    }
}

/// The frame of an event as the table has it.
fn event_frame(event: &'static str, body: Vec<u8>, replaces: Option<&'static str>) -> EventFrame {
    EventFrame { body: body.into(), numbered: true, droppable: event_kind(event).droppable, replaces }
}

fn event_kind(event: &'static str) -> &'static events::EventKind {
    events::find(event).expect("only events of the table are sent")
}

fn moment(now: Now, start: Instant) -> Moment {
    Moment { wall_ms: now.millis, mono_ms: now.instant.saturating_duration_since(start).as_millis() as u64 }
}

fn now() -> Now {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    Now { instant: Instant::now(), millis }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
