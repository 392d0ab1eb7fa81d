//! Webhooks (http 6): `/hooks/wake`, `/hooks/agent` and mapped `/hooks/<name>`, behind a token of their own. What they mean
//! is decided in `policy::hooks`; here they are read, carried out and answered.

pub mod transform;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Answer, Exchange, Request, Route, is_below};
use crate::agent::keys;
use crate::agent::models::catalog::{Catalog, ModelRef};
use crate::agent::models::wire::Thinking;
use crate::agent::runs::Ask;
use crate::agent::world::Options;
use crate::config::RateLimit;
use crate::config::hooks::{HookMapping, Hooks};
use crate::http::{Head, Reply, query};
use crate::hub::run_events::{EndKind, Finish, Follow};
use crate::hub::system_events::SystemEvents;
use crate::ids;
use crate::limits;
use crate::policy::auth::bearer;
use crate::policy::hooks::action::{Action, Turn, Wake};
use crate::policy::hooks::external::{self, Envelope};
use crate::policy::hooks::replay::Replays;
use crate::policy::hooks::template::{Facts, cut};
use crate::policy::hooks::{self as rules, KeyFrom, mapping};
use crate::policy::rate_limit::{RateKey, RateLimiter, RateScope};
use crate::protocol::ErrorShape;
use crate::rpc::Context;
use crate::rpc::context::{Live, wall_ms};
use crate::store::transcript::iso_time;

use self::transform::Said;

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

/// Channels that a turn's answer can go to.
const CHANNELS: &[&str] = &[];
/// Headers that carry a secret: neither templates nor transforms see them.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "x-openclaw-token", "cookie"];
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
    if given.is_some_and(|given| right.is_some_and(|right| right.matches(given))) {
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
    let bytes = &exchange.body.bytes;
    let payload = match bytes.iter().all(u8::is_ascii_whitespace) {
        true => Value::Null,
        false => match serde_json::from_slice(bytes) {
            Ok(payload) => payload,
            Err(e) => return Answer::Now(error(400, &format!("the body is not JSON: {e}"))),
        },
    };
    let payload = if payload.is_object() || payload.is_array() { payload } else { json!({}) };
    let call = Call { request: exchange.request, payload: &payload, path: below(exchange.request) };
    let kind = if matches!(call.path, "wake" | "agent") { call.path } else { "mapped" };
    let reply = match call.path {
        "wake" => Wake::of(&payload).map_or_else(|e| error(400, &e), |wake| call.wake(wake)),
        "agent" => {
            let turn = Turn::of(&payload, CHANNELS);
            turn.map_or_else(|e| error(400, &e), |turn| call.agent(&turn, KeyFrom::Request))
        }
        _ => call.mapped(),
    };
    if reply.status() < 300 {
        call.ctx().metrics.webhooks.count(kind, "");
    }
    Answer::Now(reply)
}

/// One request that has passed the guard.
struct Call<'a> {
    request: &'a Request,
    payload: &'a Value,
    /// Below `hooks.path`.
    path: &'a str,
}

impl Call<'_> {
    fn ctx(&self) -> &Context {
        &self.request.doors.ctx
    }

    fn live(&self) -> &Live {
        &self.request.live
    }

    fn hooks(&self) -> &Hooks {
        &self.live().config.hooks
    }

    /// There are no heartbeats yet: also with mode `now` the text waits for the next turn of the main session.
    fn wake(&self, mut wake: Wake) -> Reply {
        cut(&mut wake.text, limits::HOOK_EVENT_BYTES);
        self.ctx().system_events.push(&self.main_session(), &wake.text, wall_ms());
        Reply::json(200, &json!({"ok": true, "mode": wake.mode()}))
    }

    fn main_session(&self) -> String {
        let config = &self.live().config;
        keys::main_of(config.agents.default_id(), config).key
    }

    fn mapped(&self) -> Reply {
        let Some(found) = mapping::find(&self.hooks().mappings, self.path, self.payload) else {
            return Reply::text(404, "Not Found");
        };
        let (headers, query) = (headers(&self.request.head), query_map(&self.request.head.target));
        let now = iso_time(wall_ms());
        let path = self.path.trim_end_matches('/');
        let facts = Facts { path, payload: self.payload, headers: &headers, query: &query, now: &now };
        let fields = match self.transformed(found, &facts) {
            Ok(Some(Said::Skip)) => return Reply::empty(204),
            Ok(Some(Said::Fields(fields))) => Some(fields),
            Ok(None) => None,
            Err(reply) => return reply,
        };
        match mapping::act(found, &facts, fields.as_ref()) {
            Err(text) => error(400, &text),
            Ok(Action::Wake(wake)) => self.wake(wake),
            Ok(Action::Agent(turn)) => match turn.check_channel(CHANNELS) {
                Err(text) => error(400, &text),
                Ok(()) => self.agent(&turn, KeyFrom::Mapping),
            },
        }
    }

    fn transformed(&self, found: &HookMapping, facts: &Facts<'_>) -> Result<Option<Said>, Reply> {
        let Some(command) = found.transform.as_ref().and_then(|t| t.command.as_deref()) else { return Ok(None) };
        let running = &self.request.doors.hooks.transforms;
        let _slot = Slot::take(running).ok_or_else(|| busy("too many transforms at once; try again later"))?;
        let dir = self.hooks().transforms_dir.as_deref();
        transform::run(&self.ctx().paths, dir, command, facts, Some(&self.ctx().draining)).map(Some).map_err(|why| {
            log::warn!(target: "hooks", "hook mapping failed: {}: {why}", found.id);
            error(500, "hook mapping failed")
        })
    }

    /// Starts a turn; its answer becomes a line for the main session.
    fn agent(&self, turn: &Turn, from: KeyFrom) -> Reply {
        let (config, ctx) = (&self.live().config, self.ctx());
        let id = ids::new_uuid();
        let (session, agent) = match self.session(turn, from, &id) {
            Ok(session) => session,
            Err(text) => return error(400, &text),
        };
        let model = match turn.model.as_deref().map(|text| self.model(text)).transpose() {
            Ok(model) => model,
            Err(text) => return error(400, &text),
        };
        if ctx.is_draining() {
            return busy("the gateway is restarting");
        }
        if ctx.runs.queued() >= limits::HOOK_RUNS_WAITING {
            return busy("too many turns wait; try again later");
        }
        let run_id = ids::new_uuid();
        if let Some(key) = self.idempotency_key() {
            let token = config.hooks.token.as_ref().map(|token| token.expose());
            let known = json!([token, self.path, key, turn.fingerprint()]).to_string();
            let known = ids::sha256_hex(known.as_bytes());
            if let Some(before) = self.request.doors.hooks.replays.seen(&known, &run_id, ctx.uptime_ms()) {
                return Reply::json(200, &json!({"ok": true, "runId": before}));
            }
        }
        let name = turn.shown_name();
        let email = session.key.to_lowercase().starts_with("hook:gmail:");
        let message = match turn.allow_unsafe_external_content {
            // Never the first word: that could be a command.
            true => format!("[hook:{id} {name}] {}", turn.message),
            false => external::wrap(
                &turn.message,
                &Envelope {
                    name: &name,
                    job_id: &id,
                    received: &iso_time(wall_ms()),
                    source: if email { "Email" } else { "Webhook" },
                    marker: &ids::hex(&ids::random_bytes::<8>()),
                },
            ),
        };
        log::info!(target: "hooks", "hook {name}: run {run_id} in session {} of agent {agent}", session.key);
        let ask = Ask {
            run_id: run_id.clone(),
            session_key: session.key,
            agent: Some(agent),
            message,
            images: Vec::new(),
            thinking: turn.thinking.as_deref().and_then(Thinking::parse),
            extra_system_prompt: None,
            timeout: turn.timeout_seconds.map(Duration::from_secs),
            // Nobody can go on with a session that was made for one turn.
            options: Options { ephemeral: session.fresh, model, ..Options::default() },
        };
        let outcome = Outcome { name, main: self.main_session(), events: ctx.system_events.clone(), run_id: run_id.clone() };
        ctx.runs.ask(ask, Box::new(outcome));
        Reply::json(200, &json!({"ok": true, "runId": run_id}))
    }

    /// The session key, and the agent it belongs to. A key that names an agent is judged like `agentId`.
    fn session(&self, turn: &Turn, from: KeyFrom, id: &str) -> Result<(rules::SessionKey, String), String> {
        let config = &self.live().config;
        let named = turn.agent_id.as_deref().map(keys::agent_id);
        if let Some(agent) = &named {
            rules::check_agent(&config.hooks, agent)?;
            if !config.agents.knows(agent) {
                return Err(format!("unknown agentId \"{}\"", turn.agent_id.as_deref().unwrap_or_default()));
            }
        }
        let session = rules::session_key(&config.hooks, turn.session_key.as_deref(), from, id)?;
        let malformed = |_| "sessionKey is malformed".to_owned();
        let of_key = keys::canonical(&session.key, config).map_err(malformed)?.agent;
        let names_agent = session.key.trim().to_lowercase().starts_with("agent:");
        match named {
            Some(agent) if names_agent && agent != of_key => {
                Err(format!("agentId \"{agent}\" does not match the agent of sessionKey"))
            }
            Some(agent) => Ok((session, agent)),
            None => {
                if names_agent {
                    rules::check_agent(&config.hooks, &of_key)?;
                }
                match config.agents.knows(&of_key) {
                    true => Ok((session, of_key)),
                    false => Err(format!("unknown agentId \"{of_key}\"")),
                }
            }
        }
    }

    fn model(&self, text: &str) -> Result<ModelRef, String> {
        let env = |name: &str| self.live().var(name);
        let catalog = Catalog { config: &self.live().config, env: &env, dev: self.ctx().dev };
        let found = catalog.find(text).filter(|id| catalog.names_a_model(text, id));
        let found = found.ok_or_else(|| format!("unknown model \"{text}\""))?;
        catalog.allowed(&found).map_err(|_| format!("model \"{text}\" is not allowed by agents.defaults.models"))?;
        Ok(found)
    }

    /// Longer keys than allowed count as none.
    fn idempotency_key(&self) -> Option<&str> {
        let head = &self.request.head;
        let named = ["idempotency-key", "x-openclaw-idempotency-key"].into_iter().find_map(|name| head.header(name));
        let key = named.or_else(|| self.payload["idempotencyKey"].as_str())?.trim();
        (!key.is_empty() && key.chars().count() <= limits::HOOK_KEY_CHARS).then_some(key)
    }
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
        let text = external::one_line(text, limits::HOOK_SUMMARY_CHARS);
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

/// The headers as templates and transforms see them; several of one name are joined.
fn headers(head: &Head) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in head.headers() {
        let name = name.to_lowercase();
        if SECRET_HEADERS.contains(&name.as_str()) {
            continue;
        }
        match out.get_mut(&name) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(value);
            }
            _ => drop(out.insert(name, json!(value))),
        }
    }
    out
}

fn query_map(target: &str) -> Map<String, Value> {
    query::pairs(target).into_iter().map(|(name, value)| (name, json!(value))).collect()
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, &json!({"ok": false, "error": text}))
}

fn busy(text: &str) -> Reply {
    error(503, text).header("Retry-After", "1")
}
