//! The checks of a connect in their order (protocol 2, DECISIONS 12), so that `server` only does the I/O between
//! them: [`open`] reads the first frame, [`judge`] decides on origin, device and secret.

use std::net::IpAddr;

use super::auth::{Authenticated, ResolvedAuth};
use super::device::{Challenge, PairedDevice, VerifiedDevice};
use super::net::{Caller, Head, OriginRules};
use super::pairing::Pairing;
use super::rate_limit::RateLimiter;
use crate::protocol::connect::{ConnectParams, Refusal};
use crate::protocol::frame::Incoming;
use crate::protocol::roles::{Role, Scopes};

/// A connect that is well-formed: checks 2 to 7 passed.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Id of the request, for the answer.
    pub request_id: String,
    pub params: ConnectParams,
    pub protocol: u32,
    pub role: Role,
}

/// The id to answer to, when there is one, and how it ends.
pub type OpenRefusal = (Option<String>, Refusal);

/// Checks 2 to 7 on the first frame, parsed leniently.
pub fn open(first: Incoming) -> Result<Opening, Box<OpenRefusal>> {
    let _ = first;
    Err(Box::new((None, Refusal::malformed())))
}

/// What a connect is judged by; read once, before [`judge`].
pub struct JudgeFacts<'a> {
    pub auth: &'a ResolvedAuth,
    pub origins: &'a OriginRules,
    pub allow_insecure_auth: bool,
    pub disable_device_auth: bool,
    pub head: &'a Head,
    pub caller: &'a Caller,
    pub challenge: Challenge<'a>,
    /// Record of `params.device.id`, with the token of the role asked for.
    pub paired: Option<PairedDevice<'a>>,
    pub whois: &'a dyn Fn(IpAddr) -> Option<String>,
    /// Monotonic, for the limiter.
    pub mono_ms: u64,
}

/// Who has come in, unless `pairing` still says [`Pairing::Needed`].
#[derive(Clone, Debug)]
pub struct Admission {
    pub auth: Authenticated,
    pub device: Option<VerifiedDevice>,
    /// What the connection may do. Asked for, or none for most clients without a device.
    pub scopes: Scopes,
    pub pairing: Pairing,
}

/// Checks 8 to 11, and the decision of 12.
pub fn judge(opening: &Opening, facts: &JudgeFacts, limiter: &mut RateLimiter) -> Result<Admission, Box<Refusal>> {
    let _ = (opening, facts, limiter);
    Err(Box::new(Refusal::malformed()))
}
