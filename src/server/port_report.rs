//! `Port N is already in use.` and its hints (cli 3.5).
use crate::sys::sockets::Listener;

/// The block; empty when nobody listens.
pub fn port_report(_port: u16, _listeners: &[Listener], _profile: Option<&str>) -> Vec<String> {
    Vec::new()
}

/// The hints alone, as in `gateway status --json`.
pub fn hints(_listeners: &[Listener], _profile: Option<&str>) -> Vec<String> {
    Vec::new()
}
