//! What handlers see: the state of the running gateway, and who is calling.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use serde_json::Value;

use super::jobs::Jobs;
use super::restart::Restarts;
use crate::agent::runs::RunsHandle;
use crate::agent::tools::Toolbox;
use crate::canvas::Canvas;
use crate::config::secret_ref::{self, Resolved};
use crate::config::{Config, Paths};
use crate::hub::HubHandle;
use crate::hub::system_events::SystemEvents;
use crate::log::LogHandle;
use crate::log::ws_lines::Detail;
use crate::metrics::Metrics;
use crate::policy::auth::ResolvedAuth;
use crate::policy::net::OriginRules;
use crate::policy::rate_limit::RateLimiter;
use crate::protocol::connect::Client;
use crate::protocol::roles::{Role, Scopes};
use crate::store::devices::Devices;
use crate::store::sessions::Sessions;
use crate::store::setup_codes::SetupCodes;

/// The configuration in force, with what is derived from it. Swapped as a whole.
pub struct Live {
    pub config: Arc<Config>,
    pub auth: ResolvedAuth,
    pub origins: OriginRules,
    /// Variables from `.env` files and the configuration.
    pub env: BTreeMap<String, String>,
    pub secrets: SecretsInForce,
    pub max_buffered: usize,
}

/// What references to secrets led to when the configuration came into force.
#[derive(Clone, Default)]
pub struct SecretsInForce {
    /// The configuration with its references; null when it has none.
    pub config: Arc<Value>,
    pub resolved: Arc<Resolved>,
}

impl SecretsInForce {
    pub fn of(effective: &Value, resolved: &Resolved) -> SecretsInForce {
        let some = !secret_ref::wanted(effective).is_empty();
        let config = if some { effective.clone() } else { Value::Null };
        SecretsInForce { config: config.into(), resolved: Arc::new(resolved.clone()) }
    }
}

impl Live {
    /// An environment variable of the process, or else of `.env` files and the configuration.
    pub fn var(&self, name: &str) -> Option<String> {
        let own = std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        own.or_else(|| self.env.get(name).cloned())
    }
}

/// One run of the gateway, as its handlers see it.
pub struct Context {
    pub paths: Paths,
    pub port: u16,
    pub started: Instant,
    /// The dev profile or `gateway --dev`.
    pub dev: bool,
    pub live: Arc<RwLock<Arc<Live>>>,
    pub hub: HubHandle,
    pub sessions: Sessions,
    pub devices: Devices,
    pub setup_codes: SetupCodes,
    pub runs: RunsHandle,
    pub tools: Toolbox,
    /// Of the whole process.
    pub metrics: Arc<Metrics>,
    pub jobs: Jobs,
    pub limiter: RateLimiter,
    /// Of the whole process.
    pub restarts: Arc<Restarts>,
    pub system_events: Arc<SystemEvents>,
    /// None: there is no canvas host.
    pub canvas: Option<Arc<Canvas>>,
    pub log: LogHandle,
    /// How much the log says of frames.
    pub ws_log: Detail,
    /// `set-heartbeats`.
    pub heartbeats: AtomicBool,
    /// Accepting: `/ready` says so.
    pub ready: AtomicBool,
    /// A stop or restart has begun: new requests are refused.
    pub draining: AtomicBool,
}

impl Context {
    pub fn live(&self) -> Arc<Live> {
        self.live.read().clone()
    }

    pub fn config(&self) -> Arc<Config> {
        self.live.read().config.clone()
    }

    pub fn uptime_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Milliseconds since 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// The connection that a request came on.
pub struct Caller {
    pub conn_id: Arc<str>,
    pub role: Role,
    pub scopes: Scopes,
    pub protocol: u32,
    pub device_id: Option<Arc<str>>,
    pub client: Client,
    pub caps_tool_events: bool,
    pub remote_ip: Option<String>,
}
