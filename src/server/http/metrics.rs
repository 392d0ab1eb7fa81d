//! `GET /api/diagnostics/prometheus` (http 12): what happens in this gateway, for Prometheus.

use super::{Answer, Exchange, Route, bearer, refuse_api, unasked};
use crate::http::{Bytes, Reply};
use crate::metrics::Page;
use crate::protocol::COMPAT_VERSION;
use crate::server::Doors;
use crate::server::certificate::InForce;
use crate::sys::{fds, memory};

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub const PROMETHEUS: Route = Route {
    name: "/api/diagnostics/prometheus",
    claims: |path, _| path == "/api/diagnostics/prometheus",
    methods: &["GET"],
    guard: bearer,
    max_body: unasked,
    refuse: refuse_api,
    handle,
};

fn handle(exchange: Exchange<'_>) -> Answer {
    let text = page(&exchange.request.doors);
    let reply = Reply::bytes(200, CONTENT_TYPE, Bytes::Own(text.into_bytes()));
    Answer::Now(reply.header("Cache-Control", "no-store"))
}

fn page(doors: &Doors) -> String {
    let (ctx, metrics) = (&doors.ctx, &doors.ctx.metrics);
    let mut page = Page::default();
    let build = [("version", crate::VERSION), ("compat", COMPAT_VERSION)];
    page.family("openclaw_gateway_build_info", "gauge", "Which program this is.").sample(&build, 1.0);
    let uptime = metrics.began.elapsed().as_secs_f64();
    page.single("openclaw_gateway_uptime_seconds", "gauge", "Since the process began.", uptime);

    page.single("openclaw_gateway_connections_open", "gauge", "Open sockets of clients.", doors.sockets.open() as f64);
    let total = metrics.connections.get() as f64;
    page.single("openclaw_gateway_connections_total", "counter", "Sockets that were accepted.", total);
    let refused = metrics.connections_refused.get() as f64;
    let help = "Sockets that were turned away for want of room.";
    page.single("openclaw_gateway_connections_refused_total", "counter", help, refused);
    page.family("openclaw_gateway_ws_clients", "gauge", "WebSocket clients behind the handshake.").table(
        &metrics.ws_clients,
        "role",
        "",
    );
    let connects = metrics.ws_connects.get() as f64;
    page.single("openclaw_gateway_ws_connects_total", "counter", "Handshakes that succeeded.", connects);
    let pages = ctx.canvas.iter().filter_map(|canvas| canvas.watch.as_ref()).map(|watch| watch.pages()).sum::<usize>();
    let help = "Pages of the canvas that wait for changes.";
    page.single("openclaw_gateway_live_reload_clients", "gauge", help, pages as f64);
    if let Some(validity) = doors.tls.as_ref().and_then(InForce::validity) {
        let help = "When the certificate in force expires, since 1970.";
        page.single("openclaw_gateway_tls_certificate_expiry_seconds", "gauge", help, validity.until as f64);
    }
    page.family("openclaw_gateway_rpc_requests_total", "counter", "Requests over WebSocket; deferred: answered later.")
        .table(&metrics.rpc, "method", "outcome");
    page.family("openclaw_gateway_http_requests_total", "counter", "Answers over HTTP by class of status.").table(
        &metrics.http,
        "route",
        "status",
    );
    let bytes = doors.outgoing.unsent() as f64;
    page.single("openclaw_gateway_outbox_bytes", "gauge", "Bytes that wait for clients to read.", bytes);
    let skipped = metrics.events_skipped.get() as f64;
    let help = "Events that slow clients did not get.";
    page.single("openclaw_gateway_events_dropped_total", "counter", help, skipped);
    let slow = metrics.slow_consumers.get() as f64;
    let help = "Clients that were closed because they did not read.";
    page.single("openclaw_gateway_slow_consumers_total", "counter", help, slow);

    page.family("openclaw_run_completed_total", "counter", "Agent runs that ended, by outcome.").table(
        &metrics.runs,
        "",
        "outcome",
    );
    page.family("openclaw_run_duration_seconds", "histogram", "From its slot to the end of a run.")
        .histogram(&metrics.run_seconds);
    page.family("openclaw_model_tokens_total", "counter", "Tokens that models counted.").table(
        &metrics.tokens,
        "",
        "token_type",
    );
    let (active, queued) = (ctx.runs.active() as f64, ctx.runs.queued() as f64);
    let lanes = page.family("openclaw_queue_lane_size", "gauge", "Runs of the lane by state.");
    lanes.sample(&[("lane", "main"), ("state", "active")], active);
    lanes.sample(&[("lane", "main"), ("state", "queued")], queued);
    let slots = ctx.config().agents.defaults.max_concurrent.max(1) as f64;
    page.family("openclaw_queue_lane_slots", "gauge", "Runs that the lane takes at once.")
        .sample(&[("lane", "main")], slots);
    page.family("openclaw_tool_execution_total", "counter", "Tools that were used over HTTP.").table(
        &metrics.tools,
        "tool",
        "outcome",
    );
    page.family("openclaw_webhook_received_total", "counter", "Calls of webhooks that were taken.").table(
        &metrics.webhooks,
        "webhook",
        "",
    );
    page.family(
        "openclaw_config_reloads_total",
        "counter",
        "Changes of the configuration file, by what became of them.",
    )
    .table(&metrics.reloads, "", "outcome");

    process(&mut page, metrics.began_at);
    page.finish()
}

/// Under the names that every exporter has for them; what the system does not tell is left out.
fn process(page: &mut Page, began_at: f64) {
    page.single("process_start_time_seconds", "gauge", "When the process began, since 1970.", began_at);
    let facts = [
        ("process_resident_memory_bytes", "Memory that the process holds.", memory::rss_bytes().map(|n| n as f64)),
        ("process_threads", "Threads of the process.", memory::thread_count().map(|n| n as f64)),
        ("process_open_fds", "Open files and sockets.", fds::open_descriptors().map(|n| n as f64)),
        ("process_max_fds", "How many the process may have.", Some(fds::descriptor_limit() as f64)),
    ];
    for (name, help, value) in facts {
        if let Some(value) = value {
            page.single(name, "gauge", help, value);
        }
    }
}
