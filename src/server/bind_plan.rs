//! Which addresses are bound (cli 3.2), and the refusals of cli 3.1 that concern them. Pure.
use crate::config::model::Bind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Addresses in order; only the first one is fatal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindPlan {
    pub mode: Bind,
    pub addresses: Vec<SocketAddr>,
    pub warnings: Vec<String>,
}

/// `can_bind`: whether a socket can be bound to the address with any port. Err: text after `Gateway failed to start: Error: `.
pub fn plan(
    _mode: Bind,
    _custom_host: Option<&str>,
    _port: u16,
    _tailnet: Option<Ipv4Addr>,
    _can_bind: &dyn Fn(IpAddr) -> bool,
) -> Result<BindPlan, String> {
    Err(String::new())
}
