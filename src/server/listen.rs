//! Binding and accept errors.
use super::bind_plan::BindPlan;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::AtomicBool;

/// Listeners of one plan; kept by the caller across an in-process restart.
#[derive(Debug)]
pub struct Bound {
    pub plan: BindPlan,
    pub listeners: Vec<TcpListener>,
    pub warnings: Vec<String>,
}

impl Bound {
    /// The same plan: the listeners can stay open.
    pub fn serves(&self, plan: &BindPlan) -> bool {
        self.plan == *plan
    }
    pub fn addresses(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
    /// `ws://127.0.0.1:21120, ws://[::1]:21120`
    pub fn describe(&self, _tls: bool) -> String {
        String::new()
    }
}

pub fn bind(_plan: &BindPlan, _tls: bool, _stop: &AtomicBool) -> Result<Bound, BindError> {
    Err(BindError::Stopped)
}

#[derive(Debug)]
pub enum BindError {
    /// Display: `another gateway instance is already listening on ws://<host>:<port> (EADDRINUSE)`.
    InUse {
        url: String,
    },
    /// Display: `failed to bind gateway socket on ws://<host>:<port>: <error>`.
    Other {
        url: String,
        error: std::io::Error,
    },
    Stopped,
}

pub fn can_bind(_ip: IpAddr) -> bool {
    false
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptError {
    /// Nothing there (any more): wait for the listener.
    WouldBlock,
    /// That one connection is gone; accept the next one at once.
    Next,
    /// Out of a resource: cut the oldest unauthenticated socket, pause `limits::ACCEPT_PAUSE`.
    Pause,
}

pub fn classify_accept_error(_error: &std::io::Error) -> AcceptError {
    AcceptError::Pause
}
