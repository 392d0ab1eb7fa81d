//! Decisions only: who may connect, from where, with what, and how often they may guess. Facts come in as
//! arguments – headers, addresses, clocks, stored records – and verdicts go out; nothing here reads or waits.

pub mod auth;
pub mod auth_config;
pub mod auth_failure;
pub mod connect_order;
#[cfg(test)]
mod connect_order_tests;
pub mod control_plane;
pub mod device;
pub mod hooks;
pub mod net;
pub mod pairing;
pub mod rate_limit;
pub mod setup_code;
pub mod setup_url;
pub mod ssrf;
pub mod start;
pub mod tools;
