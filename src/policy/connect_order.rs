//! The checks of a connect in their order (protocol 2, DECISIONS 12), so that `server` only does the I/O between
//! them: [`open`] reads the first frame, [`judge`] decides on origin, secret and device.
//!
//! `server`: frame → [`open`] → look up the device's record, ask `tailscale whois` when `auth::wants_whois` says so
//! → [`judge`] → what `Admission::pairing` asks for → hello-ok.

use serde_json::json;

use super::auth::{
    AuthFailure, AuthMethod, Authenticated, ConnectFacts, DeviceFacts, ResolvedAuth, authorize_connect,
    authorize_device,
};
use super::auth_failure::FailureContext;
use super::device::{self, Challenge, PairedDevice, SignedFields, VerifiedDevice};
use super::net::{Caller, Head, OriginRules, check_origin};
use super::pairing::{self, Pairing, PairingFacts};
use super::rate_limit::RateLimiter;
use crate::config::model::AuthMode;
use crate::protocol::connect::{ConnectParams, Refusal, choose_protocol, speaks_v4};
use crate::protocol::frame::Incoming;
use crate::protocol::roles::{Role, Scopes};
use crate::protocol::{ErrorCode, ErrorShape};

/// A connect that is well-formed: checks 2 to 7 passed.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Id of the request, for the answer.
    pub request_id: String,
    pub params: ConnectParams,
    pub protocol: u32,
    pub role: Role,
}

/// How it ends, and the id to answer to when there is an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenRefusal {
    pub request_id: String,
    pub refusal: Refusal,
}

/// Checks 2 to 7 on the first frame, which was parsed leniently.
pub fn open(first: Incoming) -> Result<Opening, Box<OpenRefusal>> {
    let unanswered = |refusal| Box::new(OpenRefusal { request_id: String::new(), refusal });
    let request = match first {
        Incoming::Request(request) => request,
        Incoming::Malformed => return Err(unanswered(Refusal::malformed())),
        Incoming::Invalid { .. } => return Err(unanswered(Refusal::invalid_frame())),
    };
    if request.extra_keys && !(request.method == "connect" && speaks_v4(&request.params)) {
        return Err(unanswered(Refusal::invalid_frame()));
    }
    let request_id = request.id;
    let refuse = |refusal| Box::new(OpenRefusal { request_id: request_id.clone(), refusal });
    let refuse_error = |error| refuse(Refusal::policy(error));
    if request.method != "connect" {
        return Err(refuse_error(ErrorShape::invalid("invalid handshake: first request must be connect")));
    }
    let params = ConnectParams::read(request.params).map_err(refuse_error)?;
    let protocol =
        choose_protocol(params.min_protocol, params.max_protocol).map_err(|error| refuse(Refusal::protocol(error)))?;
    let role = params.role().ok_or_else(|| refuse_error(ErrorShape::invalid("invalid role")))?;
    Ok(Opening { request_id, params, protocol, role })
}

/// What a connect is judged by; read once, before [`judge`].
#[derive(Clone, Copy)]
pub struct JudgeFacts<'a> {
    pub auth: &'a ResolvedAuth,
    pub origins: &'a OriginRules,
    /// `gateway.controlUi.allowInsecureAuth`: a local Control UI needs no device.
    pub allow_insecure_auth: bool,
    /// `gateway.controlUi.dangerouslyDisableDeviceAuth`: no Control UI does, nor needs it pairing.
    pub disable_device_auth: bool,
    pub head: &'a Head,
    pub caller: &'a Caller,
    pub challenge: Challenge<'a>,
    /// Record of `params.device.id`, with the token of the role asked for.
    pub paired: Option<PairedDevice<'a>>,
    /// The login for `auth::wants_whois`.
    pub whois: Option<&'a str>,
    /// Looks up the token of a setup code for a device and binds it (`auth::DeviceFacts::claim`).
    pub claim: &'a dyn Fn(&str, &VerifiedDevice) -> bool,
    /// Monotonic, for the limiter.
    pub mono_ms: u64,
}

/// Who has come in, unless `pairing` still says [`Pairing::Needed`].
#[derive(Clone, Debug)]
pub struct Admission {
    pub auth: Authenticated,
    pub device: Option<VerifiedDevice>,
    /// What the connection may do: what was asked for, or nothing for most clients without a device.
    pub scopes: Scopes,
    pub pairing: Pairing,
}

/// Checks 8 to 11, and the decision of 12.
pub fn judge(opening: &Opening, facts: &JudgeFacts, limiter: &RateLimiter) -> Result<Admission, Box<Refusal>> {
    Judge { opening, facts, limiter }.judge().map_err(|error| Box::new(Refusal::policy(error)))
}

struct Judge<'a> {
    opening: &'a Opening,
    facts: &'a JudgeFacts<'a>,
    limiter: &'a RateLimiter,
}

impl Judge<'_> {
    fn judge(&self) -> Result<Admission, ErrorShape> {
        let params = &self.opening.params;
        self.check_origin()?;
        let asked = Scopes::new(&params.scopes);
        let first = authorize_connect(&self.auth_facts(), self.limiter);
        let Some(claim) = &params.device else {
            let keeps_scopes = self.without_device(&first)?;
            let auth = first.map_err(|failure| self.unauthorized(&failure))?;
            let scopes = if keeps_scopes { asked } else { Scopes::NONE };
            return Ok(Admission { auth, device: None, scopes, pairing: Pairing::Skipped });
        };
        let signed = SignedFields {
            client: &params.client,
            role: self.opening.role,
            scopes: &params.scopes,
            token: params.auth.signed_token(),
        };
        let device = device::verify(claim, signed, self.facts.challenge)?;
        let wants = DeviceFacts {
            record: self.facts.paired.as_ref(),
            role: self.opening.role.name(),
            asked: &asked,
            claim: &|token| (self.facts.claim)(token, &device),
        };
        let auth = authorize_device(&self.auth_facts(), self.limiter, &wants, first)
            .map_err(|failure| self.unauthorized(&failure))?;
        let pairing = pairing::decide(&PairingFacts {
            paired: self.facts.paired,
            public_key: device.public_key(),
            client: &params.client,
            role: self.opening.role,
            asked: &asked,
            local_direct: self.facts.caller.local_direct,
            has_origin: self.facts.caller.has_origin(),
            may_skip: self.skips_pairing(&auth),
            by_setup_code: auth.method() == AuthMethod::BootstrapToken,
        });
        Ok(Admission { auth, device: Some(device), scopes: asked, pairing })
    }

    fn auth_facts(&self) -> ConnectFacts<'_> {
        ConnectFacts {
            auth: self.facts.auth,
            head: self.facts.head,
            caller: self.facts.caller,
            credentials: &self.opening.params.auth,
            protocol: self.opening.protocol,
            now_ms: self.facts.mono_ms,
            whois: self.facts.whois,
        }
    }

    fn unauthorized(&self, failure: &AuthFailure) -> ErrorShape {
        let params = &self.opening.params;
        failure.error(FailureContext {
            client: &params.client,
            credentials: &params.auth,
            has_device: params.device.is_some(),
        })
    }

    /// Check 8: user interfaces must come from an allowed page, and so must whoever comes from a page.
    fn check_origin(&self) -> Result<(), ErrorShape> {
        let client = &self.opening.params.client;
        if !self.facts.caller.has_origin() && !client.is_control_ui() && !client.is_webchat() {
            return Ok(());
        }
        check_origin(self.facts.caller, self.facts.origins).map_err(|reason| {
            ErrorShape::invalid(
                "origin not allowed (open the Control UI from the gateway host or allow it in \
                 gateway.controlUi.allowedOrigins)",
            )
            .details(json!({"code": "CONTROL_UI_ORIGIN_NOT_ALLOWED", "reason": reason}))
        })
    }

    /// Check 9: may this client come without a device, and does it keep the scopes it asks for (protocol 2.3,
    /// DECISIONS 22 and 23)? A wrong secret is no matter of this check.
    fn without_device(&self, first: &Result<Authenticated, AuthFailure>) -> Result<bool, ErrorShape> {
        let params = &self.opening.params;
        let (client, caller) = (&params.client, self.facts.caller);
        let operator = self.opening.role == Role::Operator;
        let by_proxy = first.as_ref().is_ok_and(|auth| auth.method() == AuthMethod::TrustedProxy);
        let by_secret = first.as_ref().is_ok_and(Authenticated::by_shared_secret);
        let local_program = caller.local_direct && !caller.has_origin();
        if client.is_control_ui() {
            if operator && (by_proxy || self.facts.disable_device_auth) {
                return Ok(true);
            }
            let insecure = self.facts.allow_insecure_auth && caller.local_direct && operator;
            if !insecure {
                return Err(ErrorShape::invalid(
                    "control ui requires device identity (use HTTPS or localhost secure context)",
                )
                .details(json!({"code": "CONTROL_UI_DEVICE_IDENTITY_REQUIRED"})));
            }
            if by_secret {
                return Ok(true);
            }
        }
        if operator && (by_secret || by_proxy) {
            return Ok(by_secret && local_program && !client.is_webchat() && !client.is_control_ui());
        }
        if operator && self.facts.auth.mode == AuthMode::None && client.is_backend() && local_program {
            return Ok(true);
        }
        let shown = [&params.auth.token, &params.auth.password].into_iter().flatten().any(|sent| !sent.is_empty());
        match first {
            Err(failure) if shown => Err(self.unauthorized(failure)),
            _ => Err(ErrorShape::new(ErrorCode::NotPaired, "device identity required")
                .details(json!({"code": "DEVICE_IDENTITY_REQUIRED"}))),
        }
    }

    /// Operators only (LESSONS R12): a backend client of this machine that showed the shared secret, a Control UI
    /// whose device auth is switched off, or one behind a trusted proxy.
    fn skips_pairing(&self, auth: &Authenticated) -> bool {
        let (client, caller) = (&self.opening.params.client, self.facts.caller);
        let backend = client.is_backend() && caller.local_direct && !caller.has_origin() && auth.by_shared_secret();
        let interface =
            client.is_control_ui() && (self.facts.disable_device_auth || auth.method() == AuthMethod::TrustedProxy);
        self.opening.role == Role::Operator && (backend || interface)
    }
}
