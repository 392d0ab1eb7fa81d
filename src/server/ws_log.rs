//! Lines about a connection's life (cli 7), logged under `gateway/ws`; those about requests are `rpc::dispatch`'s.

use std::time::Duration;

use crate::log::ws_lines::{self, Closed, Detail, Handshake};
use crate::policy::net;
use crate::ws::Close;

pub fn opened(detail: Detail, head: &net::Head, conn_id: &str) {
    say(ws_lines::open(detail, &head.peer.to_string(), conn_id));
}

pub fn closed(detail: Detail, end: &Close, lasted: Duration, conn: &str) {
    let (code, reason) = (end.code, end.reason.as_str());
    say(ws_lines::close(detail, Closed { code, reason, lasted, handshake: "connected", last: None, conn }));
}

pub fn refused(conn: &str, head: &net::Head, close: &Close) {
    let field = |name: &str| head.header(name).unwrap_or_default();
    let line = ws_lines::closed_before_connect(Handshake {
        conn,
        remote: &head.peer.to_string(),
        forwarded: field("x-forwarded-for"),
        origin: field("origin"),
        host: field("host"),
        user_agent: field("user-agent"),
        code: close.code,
        reason: &close.reason,
    });
    log::warn!(target: "gateway/ws", "{line}");
}

pub fn say(line: Option<String>) {
    if let Some(line) = line {
        log::info!(target: "gateway/ws", "{line}");
    }
}
