//! What the console says about WebSockets (cli 7): failures and slow answers always, everything with `--verbose`.

use std::time::Duration;

use crate::limits;
use crate::log::ws_lines::short_id;
use crate::policy::net;
use crate::rpc::{Answered, Caller};

/// `--ws-log`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Auto,
    Full,
    Compact,
}

impl Style {
    pub fn parse(text: &str) -> Option<Style> {
        [("auto", Style::Auto), ("full", Style::Full), ("compact", Style::Compact)]
            .into_iter()
            .find(|(name, _)| *name == text)
            .map(|(_, style)| style)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct WsLogger {
    pub style: Style,
    pub verbose: bool,
}

impl WsLogger {
    pub fn opened(&self, caller: &Caller) {
        if self.verbose && self.style == Style::Full {
            log::info!(
                target: "gateway/ws",
                "← connect client={} mode={} version={} protocol={} conn={}",
                caller.client.id, caller.client.mode, caller.client.version, caller.protocol, short_id(&caller.conn_id)
            );
        }
    }

    pub fn closed(&self, caller: &Caller, end: &str, after: Duration) {
        if self.verbose && self.style == Style::Full {
            let conn = short_id(&caller.conn_id);
            log::info!(target: "gateway/ws", "→ close conn={conn} durationMs={} reason={end}", after.as_millis());
        }
    }

    pub fn refused(&self, conn_id: &str, head: &net::Head, reason: &str) {
        let field = |name: &str| head.header(name).unwrap_or("n/a").chars().take(120).collect::<String>();
        log::warn!(
            target: "gateway/ws",
            "closed before connect conn={conn_id} remote={} fwd={} origin={} host={} ua={} reason={}",
            head.peer,
            field("x-forwarded-for"),
            field("origin"),
            field("host"),
            field("user-agent"),
            if reason.is_empty() { "n/a" } else { reason },
        );
    }

    pub fn answered(&self, caller: &Caller, method: &str, id: &str, answered: Answered, after: Duration) {
        let failed = matches!(answered, Answered::Error | Answered::WrongRole);
        if !(failed || self.verbose || after >= limits::WS_LOG_SLOW) {
            return;
        }
        let mark = match answered {
            Answered::Later => "…",
            _ if failed => "✗",
            _ => "✓",
        };
        let method: String = method.chars().take(limits::METHOD_NAME_CHARS).collect();
        let (conn, id) = (short_id(&caller.conn_id), short_id(id));
        log::info!(target: "gateway/ws", "⇄ res {mark} {method} {}ms conn={conn} id={id}", after.as_millis());
    }
}
