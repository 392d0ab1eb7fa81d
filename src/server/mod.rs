//! The doors: listeners, connection threads, HTTP and WebSocket. What comes in is decided in `policy`, answered in
//! `rpc`; what goes out passes through an outbox.

pub mod accept;
pub mod bind_plan;
pub mod closed;
pub mod connection;
pub mod force;
pub mod handshake;
pub mod http;
pub mod input;
pub mod link;
pub mod listen;
pub mod lock;
pub mod pool;
pub mod port_report;
pub mod reader;
pub mod sockets;
mod spare_lock;
pub mod websocket;
pub mod wire;
pub mod ws_log;

use std::sync::Arc;
use std::time::Duration;

use self::pool::Pool;
use self::reader::InboundBudget;
use self::sockets::Sockets;
use self::ws_log::WsLogger;
use crate::http::Reply;
use crate::hub::outbox::Budget;
use crate::rpc::Context;

/// What every connection shares.
pub struct Doors {
    pub ctx: Arc<Context>,
    pub sockets: Sockets,
    pub pool: Pool,
    /// Unsent bytes, and bytes of big inbound messages, of all connections together.
    pub outgoing: Arc<Budget>,
    pub incoming: Arc<InboundBudget>,
    /// `limits::HANDSHAKE_TIMEOUT`, or OPENCLAW_HANDSHAKE_TIMEOUT_MS.
    pub handshake_timeout: Duration,
    pub ws_log: WsLogger,
    pub hooks: http::hooks::Door,
}

/// An ordinary answer in place of what was asked for.
pub struct Refused(pub Reply);
