//! The HTTP APIs: which path is whose, in which order a request is judged, and how its answer leaves (http 1 and 2).
//!
//! Everything here runs on the connection's thread, which may wait; an answer that a run makes comes from the hub
//! through a [`Responder`].

pub mod canvas;
pub mod compressed;
pub mod control_ui;
pub mod cors;
pub mod files;
pub mod hooks;
pub mod metrics;
pub mod openai;
pub mod probes;
pub mod responder;
pub mod responses;
pub mod tools;

use std::cell::OnceCell;
use std::io::Read;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Value, json};

use self::responder::{Responder, Tally};
use super::Doors;
use super::input::Body;
use super::sockets::Ticket;
use crate::http::{Head, Reply, Shape};
use crate::hub::outbox::Outbox;
use crate::limits;
use crate::policy::auth::{self, AuthFailure, AuthMethod, Authenticated};
use crate::policy::net;
use crate::protocol::weight::has_more_values;
use crate::rpc::context::Live;

/// Somebody's paths.
pub struct Route {
    /// For logs and figures.
    pub name: &'static str,
    pub claims: fn(path: &str, live: &Live) -> bool,
    /// Others get 405; empty: the guard looks at it. HEAD comes with GET.
    pub methods: &'static [&'static str],
    /// Says who may pass, before the body is read.
    pub guard: fn(&Request) -> Result<(), Reply>,
    pub max_body: fn(&Live) -> usize,
    /// How this API words a body that cannot be read: 400, 408, 413, 503.
    pub refuse: fn(status: u16) -> Reply,
    pub handle: fn(Exchange<'_>) -> Answer,
}

/// In the order in which they are asked.
pub const ROUTES: &[&Route] = &[
    &hooks::HOOKS,
    &tools::INVOKE,
    &openai::chat::COMPLETIONS,
    &openai::models::MODELS,
    &openai::embeddings::EMBEDDINGS,
    &responses::RESPONSES,
    &metrics::PROMETHEUS,
    &canvas::CANVAS,
    &probes::PROBES,
    &control_ui::CONTROL_UI,
];

/// Below these nothing but the APIs answers, whatever else is served at the root.
const RESERVED: [&str; 7] = ["/v1", "/api", "/plugins", "/tools", "/hooks", "/__openclaw__", "/metrics"];

/// A request head, and what is known about whoever sent it.
pub struct Request {
    pub doors: Arc<Doors>,
    pub live: Arc<Live>,
    pub head: Head,
    peer: IpAddr,
    /// Made when it is first asked for: a probe needs none of it.
    who: OnceCell<(net::Head, net::Caller)>,
}

/// A request with its body, and the way back.
pub struct Exchange<'a> {
    pub request: &'a Request,
    pub body: Body,
    route: &'static str,
    outbox: &'a Arc<Outbox>,
    shape: &'a Shape,
}

/// What became of a request.
pub enum Answer {
    Now(Reply),
    /// The run of this id answers through the [`Responder`]; it is aborted when the client hangs up.
    Run(Arc<str>),
    /// Somebody answers through the [`Responder`] and goes on when the client hangs up: it may ask for the same again.
    Owed,
    /// Read while it is sent, by the connection's thread.
    Stream(Stream),
}

/// A body that is too long to be held. When it turns out to be shorter the connection ends.
pub struct Stream {
    pub head: Reply,
    pub length: u64,
    pub body: Box<dyn Read>,
}

impl Request {
    pub fn new(doors: &Arc<Doors>, head: Head, ticket: &Ticket) -> Request {
        Request { doors: doors.clone(), live: doors.ctx.live(), head, peer: ticket.address(), who: OnceCell::new() }
    }

    /// The head as `policy` reads it.
    pub fn from(&self) -> &net::Head {
        &self.who().0
    }

    /// Who is calling, as far as addresses tell.
    pub fn caller(&self) -> &net::Caller {
        &self.who().1
    }

    fn who(&self) -> &(net::Head, net::Caller) {
        self.who.get_or_init(|| {
            let headers = self.head.headers().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            let from = net::Head { peer: self.peer, headers };
            let fallback = self.live.config.gateway.allow_real_ip_fallback;
            let caller = net::Caller::resolve(&from, &self.live.auth.proxies, fallback);
            (from, caller)
        })
    }

    pub fn route(&self) -> Option<&'static Route> {
        ROUTES.iter().copied().find(|route| (route.claims)(self.head.path(), &self.live))
    }

    /// The refusal of a request that does not get as far as its body.
    pub fn judge(&self, route: &Route) -> Result<(), Reply> {
        let method = self.head.method.as_str();
        let known = route.methods.is_empty()
            || route.methods.contains(&method)
            || (method == "HEAD" && route.methods.contains(&"GET"));
        if !known {
            let mut allow = route.methods.join(", ");
            if route.methods.contains(&"GET") && !route.methods.contains(&"HEAD") {
                allow = allow.replace("GET", "GET, HEAD");
            }
            return Err(Reply::text(405, "Method Not Allowed").header("Allow", allow));
        }
        (route.guard)(self)
    }

    /// The answer to a path that nobody claims.
    pub fn not_found(&self) -> Reply {
        let path = self.head.path();
        match RESERVED.iter().find(|prefix| is_below(path, prefix)) {
            Some(&"/v1") => api_error(404, "Not found", "invalid_request_error"),
            _ => Reply::text(404, "Not Found"),
        }
    }

    /// The shared secret, or what the configured mode asks for in its place.
    pub fn authorize(&self) -> Result<Authenticated, AuthFailure> {
        let ctx = &self.doors.ctx;
        let passed =
            auth::authorize_bearer(&self.live.auth, self.from(), self.caller(), &ctx.limiter, ctx.uptime_ms())?;
        if !passed.by_shared_secret() {
            self.judge_page(passed.method()).map_err(AuthFailure::ForeignPage)?;
        }
        Ok(passed)
    }

    /// What proves nothing by a secret may have been sent by any page that a browser on this machine or in the house
    /// shows: across origins, or under a name that the page's owner has pointed at us (DNS rebinding).
    fn judge_page(&self, method: AuthMethod) -> Result<(), &'static str> {
        let (caller, rules, cors) = (self.caller(), &self.live.origins, &self.live.config.http.cors_origins);
        // Behind a proxy that knows its users the name is the proxy's business.
        if method == AuthMethod::None && self.head.header("host").is_some() {
            let host = caller.host.as_ref().ok_or(net::HOST_REFUSED)?;
            net::check_host(host, &rules.allowed, &crate::sys::host::hostname())?;
        }
        net::check_api_origin(caller, rules, cors)
    }
}

impl Exchange<'_> {
    /// Takes the answer along; the handler then returns [`Answer::Run`].
    pub fn responder(&self) -> Responder {
        let metrics = self.request.doors.ctx.metrics.clone();
        Responder::new(self.outbox.clone(), self.shape.clone(), Tally { metrics, route: self.route })
    }
}

/// Runs the handler; one that panics answers 500 and nothing else happens.
pub fn handle(request: &Request, route: &Route, body: Body, outbox: &Arc<Outbox>, shape: &Shape) -> Answer {
    let exchange = Exchange { request, body, route: route.name, outbox, shape };
    let before = outbox.pieces();
    catch_unwind(AssertUnwindSafe(|| (route.handle)(exchange))).unwrap_or_else(|_| {
        log::error!(target: "gateway/http", "{} {}: internal error", request.head.method, request.head.path());
        if outbox.pieces() > before {
            // Its responder has answered already.
            outbox.cut();
        }
        Answer::Now(Reply::text(500, "Internal Server Error"))
    })
}

/// Guard of the APIs: the secret of the gateway as a bearer token.
pub fn bearer(request: &Request) -> Result<(), Reply> {
    request.authorize().map(drop).map_err(|failure| {
        let (head, from) = (&request.head, request.caller().client.unwrap_or(request.peer));
        log::warn!(target: "gateway/http", "{} {} from {from}: {}", head.method, head.path(), failure.reason());
        unauthorized(&failure)
    })
}

/// 401, 403 or 429; the reason of a 401 is for the log only.
pub fn unauthorized(failure: &AuthFailure) -> Reply {
    match failure {
        AuthFailure::RateLimited(locked) => {
            let text = "Too many failed authentication attempts. Please try again later.";
            api_error(429, text, "rate_limited").header("Retry-After", locked.retry_after_seconds().to_string())
        }
        AuthFailure::ForeignPage(reason) => {
            let text = format!(
                "{reason}: use an IP address, localhost or this machine's name, or list the page's origin in \
                 gateway.controlUi.allowedOrigins"
            );
            api_error(403, &text, "forbidden")
        }
        _ => api_error(401, "Unauthorized", "unauthorized"),
    }
}

/// What a GET may bring: nobody asks for it, but some clients send a body with every request.
pub fn unasked(_: &Live) -> usize {
    limits::LINGER_BYTES
}

/// The body of a request; an empty one is `{}`. A list of numbers takes thirty times its length in memory: so many
/// values are refused. Err: why it cannot be read.
pub fn json_body(bytes: &[u8]) -> Result<Value, String> {
    if bytes.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    if has_more_values(bytes, limits::MESSAGE_VALUES) {
        return Err(format!("the body has more than {} values", limits::MESSAGE_VALUES));
    }
    serde_json::from_slice(bytes).map_err(|e| e.to_string())
}

/// An error in the shape of the OpenAI APIs.
pub fn api_error(status: u16, message: &str, kind: &str) -> Reply {
    Reply::json(status, &json!({"error": {"message": message, "type": kind}}))
}

/// How the APIs word a body that cannot be read.
pub fn refuse_api(status: u16) -> Reply {
    match status {
        408 => api_error(408, "Request body timeout", "invalid_request_error"),
        413 => api_error(413, "Payload too large", "invalid_request_error"),
        503 => {
            api_error(503, "too many large requests at once; try again later", "api_error").header("Retry-After", "1")
        }
        _ => api_error(400, "the request body is broken", "invalid_request_error"),
    }
}

/// The path belongs to the APIs, whether any of them claims it or not; in whatever case it is written.
pub fn is_reserved(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    RESERVED.iter().any(|prefix| is_below(&path, prefix))
}

/// `path` is `prefix` or below it.
pub fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
