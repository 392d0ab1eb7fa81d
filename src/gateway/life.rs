//! One life of the gateway: everything between a start and the next stop or restart. Owners are started and stopped
//! here and nowhere else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use parking_lot::RwLock;

use super::settings::{self, Settings};
use super::{Boot, Control};
use crate::agent::models::client::{Timing, make_agent};
use crate::agent::runs::Runs;
use crate::agent::tools::Toolbox;
use crate::agent::world::{SystemLine, World};
use crate::agent::{keys, session};
use crate::canvas::{self, CANVAS_PATH, Canvas};
use crate::config::{Config, Paths};
use crate::error::{Error, Result};
use crate::hub::outbox::Budget;
use crate::hub::system_events::SystemEvents;
use crate::hub::{self, Event, HubHandle};
use crate::limits;
use crate::policy::rate_limit::RateLimiter;
use crate::policy::tools::idle_lists;
use crate::protocol::COMPAT_VERSION;
use crate::protocol::presence::SelfInfo;
use crate::rpc::context::{SecretsInForce, wall_ms};
use crate::rpc::health::Health;
use crate::rpc::jobs::{JobThreads, Jobs};
use crate::rpc::{Context, Live, restart};
use crate::server::Doors;
use crate::server::accept::Acceptor;
use crate::server::certificate::{self, Files, InForce};
use crate::server::http::compressed::Compressed;
use crate::server::listen::Bound;
use crate::server::pool::Pool;
use crate::server::reader::InboundBudget;
use crate::server::sockets::Sockets;
use crate::server::ws_log::WsLogger;
use crate::store::atomic;
use crate::store::devices::Devices;
use crate::store::sessions::{self, Sessions};
use crate::store::setup_codes::SetupCodes;
use crate::store::writer::Store;
use crate::sys::fds::Caps;
use crate::sys::{host, memory};
use crate::ws::Close;

pub struct Life {
    pub ctx: Arc<Context>,
    doors: Arc<Doors>,
    /// None: nobody is accepted any more.
    acceptor: Option<Acceptor>,
    store: Store,
    runs: Runs,
    /// Threads that end when what they serve has gone, by name.
    threads: Vec<(&'static str, JoinHandle<()>)>,
    job_threads: JobThreads,
}

/// Why a life ends: what clients are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Stop,
    Restart,
}

impl Life {
    /// Starts the owners from the stores up, then opens the doors.
    pub fn start(boot: &Boot, settings: &Settings, bound: &Bound) -> Result<Life> {
        let failed = |what: &str, e: std::io::Error| Error::new(format!("Gateway failed to start: Error: {what}: {e}"));
        let died = |who: &'static str| -> Box<dyn FnOnce() + Send> {
            let control = boot.control.clone();
            Box::new(move || drop(control.send(Control::Died(who))))
        };
        let store = Store::start(died("store")).map_err(|e| failed("store thread", e))?;
        let mut begun = Begun { store: Some(store.clone()), hub: None };
        let state = &boot.paths.state_dir;
        let now = wall_ms();
        let config = settings.config.clone();
        warn_of_tools(&config);
        atomic::sweep_temporary(state);
        let sessions = Sessions::open(&session_files(&config, &boot.paths), &store, now);
        let devices = Devices::open(state, &store, now);
        let live = Arc::new(RwLock::new(Arc::new(live(settings))));
        let system_events = boot.system_events.clone();
        restart::take_note(state, &config, &system_events);
        let budget = Budget::new(memory::total_buffered());
        let (closed_tx, closed_rx) = unbounded();
        let (hub, hub_thread) = hub::start(hub::Setup {
            me: Box::new(me),
            health: Box::new(Health { live: live.clone(), sessions: sessions.clone() }),
            budget: budget.clone(),
            ws_log: boot.ws_log,
            closed_runs: closed_tx,
            queue_system_event: queue_for_main(live.clone(), system_events.clone()),
            on_death: died("hub"),
            metrics: boot.metrics.clone(),
        })
        .map_err(|e| failed("hub thread", e))?;
        begun.hub = Some(hub.clone());
        sessions.set_on_change(tell_hub(&hub));
        let world = world(boot, &live, &hub, &sessions, &system_events);
        let runs = Runs::start(world.clone(), closed_rx, died("runs")).map_err(|e| failed("runs thread", e))?;
        let lanes = runs.handle.clone();
        let tools = Toolbox::new(world, Box::new(move || lanes.queued()));
        let (jobs, job_threads) = Jobs::new();
        let ctx = Arc::new(Context {
            paths: boot.paths.clone(),
            port: settings.port,
            dev: boot.dev,
            started: Instant::now(),
            live,
            hub,
            sessions,
            devices,
            setup_codes: SetupCodes::open(state),
            runs: runs.handle.clone(),
            tools,
            metrics: boot.metrics.clone(),
            jobs,
            limiter: RateLimiter::new(&config.gateway.auth.rate_limit),
            restarts: boot.restarts.clone(),
            system_events,
            canvas: open_canvas(boot, settings, bound),
            log: boot.log.clone(),
            ws_log: boot.ws_log,
            heartbeats: AtomicBool::new(true),
            ready: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        });
        let caps = Caps::here();
        let doors = Arc::new(Doors {
            ctx: ctx.clone(),
            sockets: Sockets::new(caps),
            pool: Pool::new(caps.http + caps.websockets + ACCEPT_SLACK),
            outgoing: budget,
            incoming: InboundBudget::new(memory::inbound_budget()),
            handshake_timeout: boot.handshake_timeout,
            ws_log: WsLogger { detail: boot.ws_log },
            compressed: Compressed::default(),
            ui_root: ui_root(boot, &config),
            replays: Arc::default(),
            past: Arc::default(),
            tls: settings.tls.as_ref().map(InForce::new),
            hooks: Default::default(),
        });
        let acceptor = Acceptor::start(&bound.listeners, doors.clone()).map_err(|e| failed("accept thread", e))?;
        let threads = vec![("hub", hub_thread)];
        ctx.ready.store(true, Ordering::Release);
        begun.finish();
        Ok(Life { ctx, doors, acceptor: Some(acceptor), store, runs, threads, job_threads })
    }

    /// Rounds of the loops so far, by name.
    pub fn beats(&self) -> Vec<(&'static str, u64)> {
        let accept = self.acceptor.iter().map(|acceptor| ("accept", acceptor.beats()));
        accept.chain([("hub", self.ctx.hub.beats())]).collect()
    }

    /// Gives each loop something to move for.
    pub fn push(&self) {
        self.acceptor.iter().for_each(Acceptor::push);
        self.ctx.hub.nudge(Event::Beat);
    }

    /// Greets new clients with the certificate that the files hold now. `asked`: somebody wants to hear of it in any
    /// case; otherwise files that are gone stay gone. Gives the fingerprint of another certificate than before.
    pub fn renew_certificate(&self, asked: bool) -> Option<String> {
        let tls = self.doors.tls.as_ref()?;
        let files = Files::of(&self.ctx.config().gateway.tls, &self.ctx.paths.state_dir);
        let loaded = match asked {
            true => files.load(wall_ms()),
            false => files.read(wall_ms()),
        };
        let loaded = loaded
            .inspect_err(|e| {
                let why = certificate::reason(e);
                log::warn!(target: "gateway", "tls certificate not renewed, the old one stays: {why}");
            })
            .ok()?;
        let other = tls.replace(&loaded);
        if other || asked {
            loaded.log_notes();
            log::info!(target: "gateway", "tls certificate read; fingerprint sha256:{}", loaded.fingerprint);
        }
        other.then_some(loaded.fingerprint)
    }

    /// Ends accepting; the listeners, and whoever waits in their backlog, are the caller's.
    pub fn stop_accepting(&mut self) {
        self.ctx.ready.store(false, Ordering::Release);
        self.acceptor = None;
    }

    /// Stops everything in order. Gives threads that had not ended by the deadline, by name.
    pub fn stop(mut self, end: End, deadline: Instant) -> Vec<&'static str> {
        self.stop_accepting();
        self.ctx.draining.store(true, Ordering::Release);
        let (reason, expected) = match end {
            End::Stop => ("gateway stopping", None),
            End::Restart => ("gateway restarting", Some(1500)),
        };
        self.ctx.hub.send(Event::Shutdown { reason, restart_expected_ms: expected });
        let Life { ctx, doors, store, runs, mut threads, job_threads, .. } = self;
        let mut late = Vec::new();
        if !runs.stop(left(deadline)) {
            late.push("runs");
        }
        for flushed in [ctx.sessions.flush(), ctx.devices.flush()] {
            if let Err(e) = flushed {
                log::error!(target: "gateway", "state could not be written at stop: {e}; the journal has the changes");
            }
        }
        close_clients(&ctx, &doors, deadline);
        ctx.canvas.iter().for_each(|canvas| canvas.close());
        doors.pool.close();
        // A process that ends takes them along; a new life must not share it with the threads of the old one.
        let ghosts = end == End::Restart;
        if ghosts && !none_left(&|| doors.pool.threads(), deadline) {
            late.push("conn");
        }
        if let Err(e) = store.stop(left(deadline)) {
            log::error!(target: "gateway", "store did not end in order: {e}");
        }
        ctx.hub.send(Event::End);
        let run_threads = ctx.runs.clone();
        // The pool ends when the last connection has dropped its share of the context.
        drop(ctx);
        drop(doors);
        threads.extend(job_threads.lock().drain(..).map(|thread| ("pool", thread)));
        late.extend(threads.into_iter().filter_map(|(name, t)| (!joined(t, deadline)).then_some(name)));
        if ghosts && !none_left(&|| run_threads.threads(), deadline) {
            late.push("run");
        }
        late
    }

    /// Takes a configuration over without a restart: what is read at use, and what its owners are told. Auth, origins
    /// and bounds stay as they are: whatever they hang on needs a restart, which ends the clients that they let in.
    /// `env` are the variables; None: theirs wait for a restart, too.
    pub fn adopt(&self, config: Arc<Config>, secrets: SecretsInForce, env: Option<BTreeMap<String, String>>) {
        let before = self.ctx.live();
        // An agent has its sessions before a request can name it.
        let files: BTreeMap<_, _> = session_files(&before.config, &self.ctx.paths).into_iter().collect();
        for (agent, path) in session_files(&config, &self.ctx.paths) {
            if files.get(&agent).is_some_and(|old| *old != path) {
                log::warn!(target: "reload", "session.store: the sessions of agent {agent} move with the next restart");
            }
            self.ctx.sessions.add_agent(&agent, &path, wall_ms());
        }
        // A secret that has changed behind its reference is in force when the sessions of the old one have ended.
        if config.tools != before.config.tools {
            warn_of_tools(&config);
        }
        let mut config = Config::clone(&config);
        config.gateway.auth = before.config.gateway.auth.clone();
        *self.ctx.live.write() = Arc::new(Live {
            config: Arc::new(config),
            auth: before.auth.clone(),
            origins: before.origins.clone(),
            env: env.unwrap_or_else(|| before.env.clone()),
            secrets,
            max_buffered: before.max_buffered,
        });
        self.ctx.runs.lanes_changed();
        self.ctx.hub.send(Event::HealthChanged);
    }
}

fn warn_of_tools(config: &Config) {
    for line in idle_lists(&config.tools) {
        log::warn!(target: "tools", "{line}");
    }
}

/// 1012 for everybody; their last bytes get a second, then the sockets are cut.
fn close_clients(ctx: &Context, doors: &Doors, deadline: Instant) {
    doors.sockets.close();
    let (done, outboxes) = crossbeam_channel::bounded(1);
    let close = Close::new(Close::RESTART, "service restart");
    ctx.hub.send(Event::CloseAll { close, done });
    let until = deadline.min(Instant::now() + limits::WRITERS_AT_STOP);
    if let Ok(outboxes) = outboxes.recv_deadline(until) {
        for outbox in outboxes {
            outbox.wait_sent(until);
        }
    }
    // Clients that answer the close are gone in a moment.
    while doors.sockets.open() > 0 && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
    doors.sockets.cut_all();
    while doors.sockets.open() > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
}

/// What is left of a budget, never quite nothing.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

/// Threads of the pool beyond the caps: newcomers that are being refused.
const ACCEPT_SLACK: usize = 8;

fn joined(thread: JoinHandle<()>, deadline: Instant) -> bool {
    let ended = none_left(&|| usize::from(!thread.is_finished()), deadline);
    if ended {
        let _ = thread.join();
    }
    ended
}

fn none_left(count: &dyn Fn() -> usize, deadline: Instant) -> bool {
    while count() > 0 {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(1));
    }
    true
}

/// Every agent with the file of its sessions.
fn session_files(config: &Config, paths: &Paths) -> Vec<(String, PathBuf)> {
    config.agents.ids().into_iter().map(|id| (id.to_owned(), session::store_file(config, paths, id))).collect()
}

/// What runs already while a life starts; a start that fails half-way leaves none of it.
struct Begun {
    store: Option<Store>,
    hub: Option<HubHandle>,
}

impl Begun {
    fn finish(mut self) {
        self.store = None;
        self.hub = None;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        // Runs and the pool's threads end with what they serve.
        if let Some(hub) = &self.hub {
            hub.send(Event::End);
        }
        if let Some(store) = &self.store {
            let _ = store.stop(limits::STOP_RESERVE);
        }
    }
}

fn live(settings: &Settings) -> Live {
    Live {
        config: settings.config.clone(),
        auth: settings.auth.clone(),
        origins: settings.origins.clone(),
        env: settings.env.clone(),
        secrets: SecretsInForce::of(&settings.loaded.effective, &settings.loaded.secrets),
        max_buffered: settings::max_buffered(&settings.config),
    }
}

/// The canvas host, where the configuration and the environment want one.
fn open_canvas(boot: &Boot, settings: &Settings, bound: &Bound) -> Option<Arc<Canvas>> {
    let rules = &settings.config.canvas;
    if !rules.enabled || settings.skips("OPENCLAW_SKIP_CANVAS_HOST") {
        return None;
    }
    let root = rules.root.as_ref().map_or_else(|| boot.paths.state_dir.join("canvas"), PathBuf::from);
    let shown = boot.paths.tilde(&root);
    match Canvas::open(root, &boot.paths.state_dir, rules.live_reload, settings.plan.canvas_port) {
        Ok(canvas) => {
            let scheme = if settings.config.gateway.tls.enabled { "https" } else { "http" };
            let host = SocketAddr::new(settings.plan.host(), settings.port);
            log::info!(target: "canvas", "host mounted at {scheme}://{host}{CANVAS_PATH}/ (root {shown})");
            let own_port = |address: &SocketAddr| Some(address.port()) == canvas.port;
            if let Some(address) = bound.addresses().into_iter().find(own_port) {
                log::info!(target: "canvas", "also at {scheme}://{address}{CANVAS_PATH}/");
            }
            Some(Arc::new(canvas))
        }
        Err(why) => {
            log::error!(target: "canvas", "not served: {why}; set canvasHost.root to a directory with nothing but pages in it");
            None
        }
    }
}

/// The operator's directory of the Control UI, unless it would show more than that.
fn ui_root(boot: &Boot, config: &Config) -> Option<PathBuf> {
    let root = PathBuf::from(config.gateway.control_ui.root.as_ref()?);
    if canvas::encloses(&root, &boot.paths.state_dir) {
        log::error!(
            target: "gateway",
            "Control UI not served: gateway.controlUi.root contains the state directory, whose files are secret; set it \
             to a directory with nothing but the UI in it"
        );
        return None;
    }
    Some(root)
}

fn me() -> SelfInfo {
    SelfInfo {
        host: host::hostname(),
        ip: host::lan_ipv4().map(|ip| ip.to_string()),
        version: COMPAT_VERSION.into(),
        platform: format!("{} {}", std::env::consts::OS, host::kernel_release()),
        device_family: Some(if cfg!(target_os = "macos") { "Mac" } else { "Linux" }.into()),
        model_identifier: Some(host::arch().into()),
    }
}

fn queue_for_main(live: Arc<RwLock<Arc<Live>>>, events: Arc<SystemEvents>) -> hub::QueueLine {
    Box::new(move |line, at_ms| {
        let config = live.read().config.clone();
        let main = keys::main_of(config.agents.default_id(), &config).key;
        events.push(&main, line, at_ms);
    })
}

/// What turns need of the rest.
fn world(
    boot: &Boot,
    live: &Arc<RwLock<Arc<Live>>>,
    hub: &HubHandle,
    sessions: &Sessions,
    events: &Arc<SystemEvents>,
) -> Arc<World> {
    let (to_hub, chat_hub, events) = (hub.clone(), hub.clone(), events.clone());
    let (config, env) = (live.clone(), live.clone());
    Arc::new(World {
        hub: Box::new(move |event| to_hub.run(event)),
        system_lines: Box::new(move |key| {
            let line = |e: crate::hub::system_events::SystemEvent| SystemLine { at_ms: e.at_ms, text: e.text };
            events.take(key).into_iter().map(line).collect()
        }),
        chat_event: Box::new(move |payload| chat_hub.send(Event::Broadcast { event: "chat", payload })),
        sessions: sessions.clone(),
        config: Box::new(move || config.read().config.clone()),
        paths: boot.paths.clone(),
        env: Box::new(move |name| env.read().clone().var(name)),
        dev: boot.dev,
        host: host::hostname(),
        now_ms: Box::new(wall_ms),
        timing: Timing::default(),
        make_agent: Arc::new(make_agent),
        metrics: boot.metrics.clone(),
    })
}

fn tell_hub(hub: &HubHandle) -> sessions::OnChange {
    let hub = hub.clone();
    Box::new(move |_version| hub.nudge(Event::HealthChanged))
}
