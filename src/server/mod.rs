//! The doors: listeners, connection threads, HTTP and WebSocket. What comes in is decided in `policy`, answered in
//! `rpc`; what goes out passes through an outbox.

pub mod accept;
pub mod bind_plan;
pub mod certificate;
pub mod closed;
pub mod connection;
pub mod force;
pub mod handshake;
pub mod http;
pub mod input;
pub mod link;
pub mod listen;
pub mod live_reload;
pub mod lock;
pub mod pool;
pub mod port_report;
pub mod reader;
pub mod sockets;
mod spare_lock;
pub mod tls;
pub mod websocket;
pub mod wire;
pub mod ws_log;
pub mod x509;

use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::certificate::InForce;
use self::http::compressed::Compressed;
use self::http::openai::replays::Replays;
use self::http::responses::past::Past;
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
    /// Static files.
    pub compressed: Compressed,
    /// `gateway.controlUi.root`, where it may be served.
    pub ui_root: Option<PathBuf>,
    /// Answers of the HTTP APIs that may be asked for again.
    pub replays: Arc<Replays>,
    /// Responses that may be gone on with.
    pub past: Arc<Past>,
    pub hooks: http::hooks::Door,
    /// None: clients come without TLS.
    pub tls: Option<InForce>,
}

impl Doors {
    /// The connection came in where nothing but the canvas is served.
    pub fn only_canvas(&self, stream: &TcpStream) -> bool {
        let port = self.ctx.canvas.as_ref().and_then(|canvas| canvas.port);
        port.is_some_and(|port| stream.local_addr().is_ok_and(|address| address.port() == port))
    }
}

/// An ordinary answer in place of what was asked for.
pub struct Refused(pub Reply);
