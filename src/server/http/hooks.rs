//! Webhooks (http 6): `/hooks/wake`, `/hooks/agent` and mapped `/hooks/<name>`, behind a token of their own. What they mean
//! is decided in `policy::hooks`; here they are read, carried out and answered.

pub mod plan;
pub mod transform;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use self::plan::{Incoming, Plan, Refused, Run};
use super::{Answer, Exchange, Request, Route, is_below};
use crate::agent::keys;
use crate::agent::runs::Ask;
use crate::agent::world::Options;
use crate::config::RateLimit;
use crate::http::{Head, Reply, query};
use crate::hub::run_events::{EndKind, Finish, Follow};
use crate::hub::system_events::SystemEvents;
use crate::ids;
use crate::limits;
use crate::policy::auth::{bearer, utf8_reading};
use crate::policy::hooks::action::Wake;
use crate::policy::hooks::replay::Replays;
use crate::policy::hooks::template::Facts;
use crate::policy::rate_limit::{RateKey, RateLimiter, RateScope};
use crate::protocol::ErrorShape;
use crate::rpc::context::wall_ms;
use crate::store::transcript::iso_time;
use crate::text::untrusted;

pub const HOOKS: Route = Route {
    name: "/hooks",
    claims: |path, live| live.config.hooks.enabled && is_below(path, &live.config.hooks.path),
    methods: &[],
    guard,
    max_body: |live| live.config.hooks.max_body_bytes,
    refuse: |status| match status {
        408 => error(408, "request body timeout"),
        413 => error(413, "payload too large"),
        503 => busy("too many large requests at once; try again later"),
        _ => error(400, "the request body is broken"),
    },
    handle,
};

const STOPPING: &str = "the gateway is restarting";
/// Distance of two lines in the log about wrong tokens.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// What hooks remember from request to request.
pub struct Door {
    limiter: RateLimiter,
    replays: Replays,
    transforms: AtomicUsize,
    /// Uptime before which the log says nothing more about wrong tokens.
    quiet_until: AtomicU64,
}

impl Default for Door {
    fn default() -> Self {
        let limiter = RateLimiter::new(&RateLimit {
            max_attempts: limits::HOOK_AUTH_FAILURES,
            window: limits::HOOK_AUTH_WINDOW,
            lockout: limits::HOOK_AUTH_WINDOW,
            exempt_loopback: false,
        });
        Door { limiter, replays: Replays::default(), transforms: AtomicUsize::new(0), quiet_until: AtomicU64::new(0) }
    }
}

/// In this order: a token in the address, the method, the token, the path.
fn guard(request: &Request) -> Result<(), Reply> {
    let head = &request.head;
    if query::pairs(&head.target).iter().any(|(name, _)| name == "token") {
        let text = "Hook token must be provided via Authorization: Bearer <token> or X-OpenClaw-Token header (query \
                    parameters are not allowed).";
        return Err(Reply::text(400, text));
    }
    if head.method != "POST" {
        return Err(Reply::text(405, "Method Not Allowed").header("Allow", "POST"));
    }
    authorize(request)?;
    match below(request).is_empty() {
        true => Err(Reply::text(404, "Not Found")),
        false => Ok(()),
    }
}

/// The right token passes whatever came before it; wrong ones are counted, a missing one is not.
fn authorize(request: &Request) -> Result<(), Reply> {
    let Door { limiter, quiet_until, .. } = &request.doors.hooks;
    let given = token(&request.head);
    let right = request.live.config.hooks.token.as_ref();
    let key = RateKey::of(request.caller());
    let now = request.doors.ctx.uptime_ms();
    let matches = |given: &str| right.is_some_and(|right| right.matches(given));
    if given.is_some_and(|given| matches(given) | utf8_reading(given).is_some_and(|given| matches(&given))) {
        limiter.success(RateScope::Hooks, key);
        return Ok(());
    }
    if let Err(locked) = limiter.check(RateScope::Hooks, key, now) {
        let seconds = locked.retry_after_seconds();
        if quiet_until.load(Ordering::Relaxed) <= now {
            quiet_until.store(now + LOG_EVERY.as_millis() as u64, Ordering::Relaxed);
            let from = request.caller().client.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string());
            log::warn!(target: "hooks", "hook auth throttled for {from}; retry-after={seconds}s");
        }
        return Err(Reply::text(429, "Too Many Requests").header("Retry-After", seconds.to_string()));
    }
    if given.is_some() {
        limiter.failure(RateScope::Hooks, key, now);
    }
    Err(Reply::text(401, "Unauthorized"))
}

fn token(head: &Head) -> Option<&str> {
    let own = || head.header("x-openclaw-token").map(str::trim).filter(|token| !token.is_empty());
    head.header("authorization").and_then(bearer).or_else(own)
}

/// The path below `hooks.path`.
fn below(request: &Request) -> &str {
    let base = &request.live.config.hooks.path;
    request.head.path().strip_prefix(base.as_str()).unwrap_or_default().trim_start_matches('/')
}

fn handle(exchange: Exchange<'_>) -> Answer {
    let payload = match plan::payload(&exchange.body.bytes) {
        Ok(payload) => payload,
        Err(text) => return Answer::Now(error(400, &text)),
    };
    let request = exchange.request;
    let (ctx, live) = (&request.doors.ctx, &request.live);
    let env = |name: &str| live.var(name);
    let incoming = Incoming {
        config: &live.config,
        env: &env,
        dev: ctx.dev,
        payload: &payload,
        path: below(request),
        headers: plan::headers(request.head.headers()),
        query: plan::query_of(&request.head.target),
        now: iso_time(wall_ms()),
    };
    let run = |command: &str, facts: &Facts<'_>| {
        let slot = Slot::take(&request.doors.hooks.transforms);
        let _slot = slot.ok_or_else(|| Refused::Busy("too many transforms at once; try again later".into()))?;
        let dir = live.config.hooks.transforms_dir.as_deref();
        transform::run(&ctx.paths, dir, command, facts, Some(&ctx.draining)).map_err(|why| match ctx.is_draining() {
            true => Refused::Busy(STOPPING.into()),
            false => Refused::Failed(why),
        })
    };
    let reply = match incoming.plan(&run) {
        Ok(Plan::Nothing) => Reply::empty(204),
        Ok(Plan::Wake(wake)) => tell(request, &wake),
        Ok(Plan::Run(run)) => begin(request, *run, &incoming),
        Err(Refused::NotFound) => Reply::text(404, "Not Found"),
        Err(Refused::Bad(text)) => error(400, &text),
        Err(Refused::Busy(text)) => busy(&text),
        Err(Refused::Failed(why)) => {
            let id = incoming.mapping().map_or("", |mapping| mapping.id.as_str());
            log::warn!(target: "hooks", "hook mapping failed: {id}: {why}");
            error(500, "hook mapping failed")
        }
    };
    if reply.status() < 300 {
        let kind = if matches!(incoming.path, "wake" | "agent") { incoming.path } else { "mapped" };
        ctx.metrics.webhooks.count(kind, "");
    }
    Answer::Now(reply)
}

/// There are no heartbeats yet: also with mode `now` the text waits for the next turn of the main session.
fn tell(request: &Request, wake: &Wake) -> Reply {
    request.doors.ctx.system_events.push(&main_session(request), &wake.text, wall_ms());
    Reply::json(200, &json!({"ok": true, "mode": wake.mode()}))
}

/// Starts a turn; its answer becomes a line for the main session.
fn begin(request: &Request, run: Run, incoming: &Incoming<'_>) -> Reply {
    let ctx = &request.doors.ctx;
    if ctx.is_draining() {
        return busy(STOPPING);
    }
    if ctx.runs.queued() >= limits::HOOK_RUNS_WAITING {
        return busy("too many turns wait; try again later");
    }
    let run_id = ids::new_uuid();
    if let Some(key) = idempotency_key(&request.head, incoming.payload) {
        let token = request.live.config.hooks.token.as_ref().map(|token| token.expose());
        let known = json!([token, incoming.path, key, run.fingerprint]).to_string();
        let known = ids::sha256_hex(known.as_bytes());
        if let Some(before) = request.doors.hooks.replays.seen(&known, &run_id, ctx.uptime_ms()) {
            return Reply::json(200, &json!({"ok": true, "runId": before}));
        }
    }
    let Run { name, agent, session, model, thinking, timeout, message, .. } = run;
    log::info!(target: "hooks", "hook {name}: run {run_id} in session {} of agent {agent}", session.key);
    let ask = Ask {
        run_id: run_id.clone(),
        session_key: session.key,
        agent: Some(agent),
        message,
        images: Vec::new(),
        thinking,
        extra_system_prompt: None,
        timeout,
        // Nobody can go on with a session that was made for one turn.
        options: Options { ephemeral: session.fresh, model, background: true, ..Options::default() },
    };
    let events = ctx.system_events.clone();
    let outcome = Outcome { name, main: main_session(request), events, run_id: run_id.clone() };
    ctx.runs.ask(ask, Box::new(outcome));
    Reply::json(200, &json!({"ok": true, "runId": run_id}))
}

fn main_session(request: &Request) -> String {
    let config = &request.live.config;
    keys::main_of(config.agents.default_id(), config).key
}

/// The first that is one: what is empty, and longer than allowed, counts as none.
fn idempotency_key<'a>(head: &'a Head, payload: &'a Value) -> Option<&'a str> {
    let named = ["idempotency-key", "x-openclaw-idempotency-key"].map(|name| head.header(name));
    let mut given = named.into_iter().chain([payload["idempotencyKey"].as_str()]).flatten().map(str::trim);
    given.find(|key| !key.is_empty() && key.chars().count() <= limits::HOOK_KEY_CHARS)
}

/// One of the few transforms that may run at once.
struct Slot<'a>(&'a AtomicUsize);

impl<'a> Slot<'a> {
    fn take(running: &'a AtomicUsize) -> Option<Slot<'a>> {
        let slot = Slot(running);
        (running.fetch_add(1, Ordering::SeqCst) < limits::HOOK_TRANSFORMS).then_some(slot)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells the main session what became of a turn.
struct Outcome {
    name: String,
    main: String,
    events: Arc<SystemEvents>,
    run_id: String,
}

impl Outcome {
    fn tell(&self, failed: bool, text: &str) {
        let status = if failed { " (error)" } else { "" };
        // What the model says of a stranger's text is as little to be trusted as the text.
        let text = untrusted::one_line(text, limits::HOOK_SUMMARY_CHARS);
        let text = if text.is_empty() { "ok".to_owned() } else { text };
        self.events.push(&self.main, &format!("Hook {}{status}: {text}", self.name), wall_ms());
        if failed {
            log::warn!(target: "hooks", "hook {}: run {} failed: {text}", self.name, self.run_id);
        }
    }
}

impl Follow for Outcome {
    fn text(&mut self, _piece: &str) {}

    fn end(self: Box<Self>, end: &Finish<'_>) {
        match end.how {
            EndKind::Done => self.tell(false, end.text),
            EndKind::Error(text) => self.tell(true, text),
            EndKind::Aborted(reason) => self.tell(true, &format!("stopped ({reason})")),
        }
    }

    fn refuse(self: Box<Self>, error: &ErrorShape) {
        self.tell(true, &error.message);
    }
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({"ok": false, "error": text}))
}

fn busy(text: &str) -> Reply {
    error(503, text).header("Retry-After", "1")
}
