//! Probes (http 7): no secret, no limiter, no body.

use std::sync::atomic::Ordering;

use serde_json::json;

use super::{Answer, Exchange, Request, Route, refuse_api, unasked};
use crate::http::reply::JSON;
use crate::http::{Bytes, Reply};

const LIVE: &[u8] = b"{\"ok\":true,\"status\":\"live\"}";

pub const PROBES: Route = Route {
    name: "probes",
    claims: |path, _| matches!(path, "/health" | "/healthz" | "/ready" | "/readyz"),
    methods: &["GET"],
    guard: |_| Ok(()),
    max_body: unasked,
    refuse: refuse_api,
    handle,
};

fn handle(exchange: Exchange<'_>) -> Answer {
    let request = exchange.request;
    let ctx = &request.doors.ctx;
    let reply = if request.head.path().starts_with("/health") {
        Reply::bytes(200, JSON, Bytes::Own(LIVE.to_vec()))
    } else {
        let ready = ctx.ready.load(Ordering::Relaxed) && !ctx.is_draining();
        let status = if ready { 200 } else { 503 };
        if may_see_details(request) {
            Reply::json(status, &json!({"ready": ready, "failing": [], "uptimeMs": ctx.uptime_ms()}))
        } else {
            Reply::json(status, &json!({"ready": ready}))
        }
    };
    Answer::Now(reply.header("Cache-Control", "no-store"))
}

/// A probe without a secret is no attempt to log in, and one with a wrong secret is charged.
fn may_see_details(request: &Request) -> bool {
    request.caller().local_direct || (request.head.header("authorization").is_some() && request.authorize().is_ok())
}
