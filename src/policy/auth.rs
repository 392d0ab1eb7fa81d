//! Whether a caller has shown what the gateway asks for: the shared secret, a proxy's or Tailscale's word, a device
//! token (protocol 2.5, http 2-2.4; DECISIONS 22-28). [`Authenticated`] can only be made here (LESSONS R2).

use std::net::IpAddr;

use super::device::PairedDevice;
use super::net::{Caller, Head, IpList};
use super::rate_limit::{Locked, RateLimiter};
use crate::config::model::{AuthMode, Gateway, TrustedProxy};
use crate::protocol::ErrorShape;
use crate::protocol::connect::{Client, ConnectAuth};
use crate::protocol::roles::{Role, Scopes};
use crate::secret::Secret;

/// What command line and environment say about auth.
#[derive(Clone, Debug, Default)]
pub struct AuthOverrides {
    /// `--auth`.
    pub mode: Option<AuthMode>,
    /// `--token`, `--password` or `--password-file`.
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    /// `OPENCLAW_GATEWAY_TOKEN`, `OPENCLAW_GATEWAY_PASSWORD` (or the older names).
    pub env_token: Option<Secret>,
    pub env_password: Option<Secret>,
    /// `--tailscale`.
    pub tailscale_mode: Option<String>,
}

/// The rules that callers are judged by. Replaced as a whole when the configuration changes.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedAuth {
    pub mode: AuthMode,
    pub token: Option<Secret>,
    pub password: Option<Secret>,
    pub allow_tailscale: bool,
    pub trusted_proxy: Option<TrustedProxy>,
    pub proxies: IpList,
}

impl ResolvedAuth {
    /// The one secret that counts in this mode.
    pub fn shared_secret(&self) -> Option<&Secret> {
        match self.mode {
            AuthMode::Token => self.token.as_ref(),
            AuthMode::Password => self.password.as_ref(),
            AuthMode::None | AuthMode::TrustedProxy => None,
        }
    }
}

/// Mode: override, config, password if there is one, token. Secrets: override, config, environment (cli 2.3).
pub fn resolve_auth(gateway: &Gateway, over: &AuthOverrides) -> ResolvedAuth {
    let _ = (gateway, over);
    ResolvedAuth {
        mode: AuthMode::Token,
        token: None,
        password: None,
        allow_tailscale: false,
        trusted_proxy: None,
        proxies: IpList::default(),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMethod {
    None,
    Token,
    Password,
    TrustedProxy,
    Tailscale,
    DeviceToken,
}

impl AuthMethod {
    /// `auth.method` of hello-ok at protocol 4.
    pub fn name(self) -> &'static str {
        match self {
            AuthMethod::None => "none",
            AuthMethod::Token => "token",
            AuthMethod::Password => "password",
            AuthMethod::TrustedProxy => "trusted-proxy",
            AuthMethod::Tailscale => "tailscale",
            AuthMethod::DeviceToken => "device-token",
        }
    }
}

/// Proof that a caller passed. No code outside this module can make one.
#[derive(Clone, Debug, PartialEq)]
pub struct Authenticated {
    method: AuthMethod,
    /// Name given by the proxy or by Tailscale.
    user: Option<String>,
}

impl Authenticated {
    pub fn method(&self) -> AuthMethod {
        self.method
    }

    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The shared token or password was right.
    pub fn by_shared_secret(&self) -> bool {
        matches!(self.method, AuthMethod::Token | AuthMethod::Password)
    }
}

/// Why not. Names are the `authReason` of the error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    TokenMissing,
    TokenMismatch,
    TokenNotConfigured,
    PasswordMissing,
    PasswordMismatch,
    PasswordNotConfigured,
    BootstrapTokenInvalid,
    DeviceTokenMismatch,
    RateLimited(Locked),
    TailscaleUserMissing,
    TailscaleProxyMissing,
    TailscaleWhoisFailed,
    TailscaleUserMismatch,
    /// trusted_proxy_… reason, for the log and `authReason`.
    TrustedProxy(String),
}

/// What an answer to a failed connect depends on beside the reason.
#[derive(Clone, Copy, Debug)]
pub struct FailureContext<'a> {
    pub client: &'a Client,
    /// A device was presented, together with `auth.token` and without `auth.deviceToken`.
    pub can_retry_with_device_token: bool,
}

impl AuthFailure {
    pub fn error(&self, context: FailureContext) -> ErrorShape {
        let _ = context;
        ErrorShape::invalid("unauthorized")
    }
}

/// The facts that a connect is judged by.
pub struct ConnectFacts<'a> {
    pub auth: &'a ResolvedAuth,
    pub head: &'a Head,
    pub caller: &'a Caller,
    pub client: &'a Client,
    pub credentials: &'a ConnectAuth,
    pub protocol: u32,
    pub now_ms: u64,
    /// `tailscale whois` of an address: its login name.
    pub whois: &'a dyn Fn(IpAddr) -> Option<String>,
}

/// First half: mode none, limiter, Tailscale, trusted proxy, shared secret. A wrong secret is charged at once,
/// whatever else was sent (LESSONS R6).
pub fn authorize_connect(facts: &ConnectFacts, limiter: &mut RateLimiter) -> Result<Authenticated, AuthFailure> {
    let _ = (facts, limiter);
    Err(AuthFailure::TokenMissing)
}

/// Second half, for a device whose signature is verified: a bootstrap token, then a device token.
pub fn authorize_device_token(
    facts: &ConnectFacts,
    limiter: &mut RateLimiter,
    device: Option<&PairedDevice>,
    role: Role,
    asked: &Scopes,
    before: AuthFailure,
) -> Result<Authenticated, AuthFailure> {
    let _ = (facts, limiter, device, role, asked);
    Err(before)
}

/// HTTP: only `Authorization: Bearer <secret>`; nobody is exempt from auth, loopback is from the limiter.
pub fn authorize_bearer(
    auth: &ResolvedAuth,
    head: &Head,
    caller: &Caller,
    limiter: &mut RateLimiter,
    now_ms: u64,
) -> Result<Authenticated, AuthFailure> {
    let _ = (auth, head, caller, limiter, now_ms);
    Err(AuthFailure::TokenMissing)
}
