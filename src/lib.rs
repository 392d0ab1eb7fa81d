//! The OpenClaw Gateway: one always-on process, one port, a few megabytes.
//!
//! A newcomer reads: README → this map → openclaw-gateway(8) → `protocol::methods` → `hub` → `server::connection`.
//!
//! Floors, arrows only downward (a test reads the `use` lines):
//!
//! | floor | rooms |
//! |---|---|
//! | 4 program | `cli` (commands), `gateway` (start order, control loop, stop order), `service` (service managers) |
//! | 3 doors | `server` (sockets, HTTP, WebSocket), `rpc` (method handlers) |
//! | 2 owners | `agent` (runs, models), `reload` (watches the configuration), `tailscale` (publishes the gateway), `discovery` (multicast DNS), `canvas` (pages that agents show), `hub` (clients, presence, events) |
//! | 1 stores | `store` (files, one owner each) |
//! | 0 pure | `policy`, `config`, `protocol`, `http`, `ws`, `text` |
//! | cellar | `log`, `sys`, `limits`, `error`, `ids`, `secret`, `sort`, `metrics` |
//!
//! Within the floors: cli → service, gateway → server → rpc → tailscale, discovery, canvas → agent, reload → hub → store → policy → config → protocol, http, ws, text.
//! Floor 0 has no sockets, files, threads, clock or randomness. A call that wants to go up is a message.
#![deny(unsafe_code)]

pub mod error;
pub mod ids;
pub mod limits;
pub mod metrics;
pub mod secret;
pub mod sort;

pub mod log;
pub mod sys;

pub mod config;
pub mod http;
pub mod policy;
pub mod protocol;
pub mod text;
pub mod ws;

pub mod store;

pub mod agent;
pub mod canvas;
pub mod discovery;
pub mod hub;
pub mod reload;
pub mod tailscale;

pub mod rpc;
pub mod server;

pub mod cli;
pub mod gateway;
pub mod service;

/// Version of this program (DECISIONS 20).
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
