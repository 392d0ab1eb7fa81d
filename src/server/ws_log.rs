//! What the log says about WebSockets (cli 7): failures and slow answers always, the rest with `--verbose`. The lines
//! themselves are made in `log::ws_lines`.

use std::time::Duration;

use crate::hub::Snapshot;
use crate::log::ws_lines::{self, Client, Closed, Detail, Handshake};
use crate::policy::net;
use crate::protocol::{events, methods};
use crate::rpc::Caller;

#[derive(Clone, Copy, Debug)]
pub struct WsLogger {
    pub detail: Detail,
}

impl WsLogger {
    pub fn opened(self, caller: &Caller, remote: &str, auth: &str) {
        say(ws_lines::open(self.detail, remote, &caller.conn_id));
        let client = &caller.client;
        let told = Client {
            name: client.display_name.as_deref().unwrap_or(&client.id),
            id: &client.id,
            version: &client.version,
            mode: &client.mode,
            platform: &client.platform,
            auth,
        };
        say(ws_lines::connect(self.detail, told, &caller.conn_id));
    }

    pub fn greeted(self, caller: &Caller, snapshot: &Snapshot) {
        if self.detail != Detail::Full {
            return;
        }
        let entries = serde_json::from_slice::<Vec<serde::de::IgnoredAny>>(&snapshot.presence).map_or(0, |l| l.len());
        let (methods, events) = (methods::advertised().count(), events::advertised().count());
        let version = snapshot.presence_version;
        say(ws_lines::hello_ok(self.detail, methods, events, entries, version, &caller.conn_id));
    }

    pub fn closed(self, caller: &Caller, code: u16, reason: &str, lasted: Duration) {
        let closed = Closed { code, reason, lasted, handshake: "connected", last: None, conn: &caller.conn_id };
        say(ws_lines::close(self.detail, closed));
    }

    pub fn refused(self, conn: &str, head: &net::Head, code: u16, reason: &str) {
        let field = |name: &str| head.header(name).unwrap_or("");
        let line = ws_lines::closed_before_connect(Handshake {
            conn,
            remote: &head.peer.to_string(),
            forwarded: field("x-forwarded-for"),
            origin: field("origin"),
            host: field("host"),
            user_agent: field("user-agent"),
            code,
            reason,
        });
        log::warn!(target: "gateway/ws", "{line}");
    }

    pub fn asked(self, caller: &Caller, method: &str, id: &str) {
        say(ws_lines::request(self.detail, method, &caller.conn_id, id));
    }

    pub fn unreadable(self, caller: &Caller) {
        say(Some(ws_lines::parse_error("not JSON", &caller.conn_id)));
    }
}

fn say(line: Option<String>) {
    if let Some(line) = line {
        log::info!(target: "gateway/ws", "{line}");
    }
}
