//! The checks of a connect in their order (protocol 2, DECISIONS 12), so that `server` only does the I/O between
//! them: [`open`] reads the first frame, [`judge`] decides on origin, secret and device.
//!
//! `server`: frame → [`open`] → look up the device's record, ask `tailscale whois` when `auth::wants_whois` says so
//! → [`judge`] → what `Admission::pairing` asks for → hello-ok.

use serde_json::json;

use super::auth::{
    AuthFailure, AuthMethod, Authenticated, ConnectFacts, ResolvedAuth, authorize_connect, authorize_device_token,
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
        let role = self.opening.role.name();
        let auth = first
            .or_else(|failure| {
                let paired = self.facts.paired.as_ref();
                authorize_device_token(&self.auth_facts(), self.limiter, paired, role, &asked, failure)
            })
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

#[cfg(test)]
mod tests {
    use super::super::auth::{AuthOverrides, resolve_auth};
    use super::super::pairing::PairingReason;
    use super::*;
    use crate::config::model::{Gateway, RateLimit, TrustedProxy};
    use crate::ids;
    use crate::protocol::connect::DevicePayload;
    use crate::protocol::frame;
    use crate::protocol::roles::ALL_OPERATOR;
    use crate::secret::Secret;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use serde_json::Value;

    const NONCE: &str = "nonce-1";
    const NOW: u64 = 1_795_203_837_000;

    fn first(text: &str) -> Result<Opening, Box<OpenRefusal>> {
        open(frame::parse(text.as_bytes(), true))
    }

    #[test]
    fn the_first_frame_as_recorded() {
        let connect = |more: &str| {
            format!(
                r#"{{"type":"req","id":"1","method":"connect","params":{{"minProtocol":3,"maxProtocol":3,
                "client":{{"id":"test","version":"1","platform":"linux","mode":"test"}}{more}}}}}"#
            )
        };
        let handshake = "invalid handshake: first request must be connect";
        let missing = "invalid connect params: must have required property 'client'";
        let mismatch = connect("").replace(":3,", ":5,");
        for (text, answered, close_code, reason) in [
            (r#"{"type":"req","id":"1","method":"health"}"#, true, 1008, handshake),
            (r#"{"type":"event","event":"x"}"#, false, 1008, "invalid request frame"),
            (r#"{"type":"req","method":"connect"}"#, false, 1008, "invalid request frame"),
            (r#"{"type":"req","id":"1","method":"health","x":1}"#, false, 1008, "invalid request frame"),
            ("{not json", false, 1000, ""),
            (
                r#"{"type":"req","id":"1","method":"connect","params":{"minProtocol":3,"maxProtocol":3}}"#,
                true,
                1008,
                missing,
            ),
            (&mismatch, true, 1002, "protocol mismatch"),
            (&connect(r#","role":"admin""#), true, 1008, "invalid role"),
            (&connect("").replace(r#""type""#, r#""traceparent":"x","type""#), false, 1008, "invalid request frame"),
        ] {
            let OpenRefusal { request_id, refusal } = *first(text).unwrap_err();
            assert_eq!((refusal.close_code, refusal.close_reason.as_str()), (close_code, reason), "{text}");
            assert_eq!(refusal.error.map(|e| e.message), answered.then(|| reason.to_owned()), "{text}");
            assert_eq!(request_id, if answered { "1" } else { "" }, "{text}");
        }
        let v4 = connect("").replace(r#"maxProtocol":3"#, r#"maxProtocol":4"#);
        let opening = first(&v4.replace(r#""type""#, r#""traceparent":"x","type""#)).unwrap();
        assert_eq!((opening.protocol, opening.role), (4, Role::Operator));
        assert_eq!(first(&connect(r#","role":"node""#)).unwrap().role, Role::Node);
    }

    /// A client, where it comes from and what it shows.
    #[derive(Clone)]
    struct Client {
        id: &'static str,
        mode: &'static str,
        role: &'static str,
        auth: Value,
        device: bool,
        peer: &'static str,
        headers: Vec<(&'static str, &'static str)>,
        max: u64,
        gateway: Gateway,
    }

    const LOCAL: (&str, &str) = ("Host", "127.0.0.1:18789");
    const PAGE: (&str, &str) = ("Origin", "http://127.0.0.1:18789");
    const EVIL: (&str, &str) = ("Origin", "https://evil.example");

    fn client(id: &'static str, mode: &'static str) -> Client {
        let mut gateway = Gateway::default();
        gateway.auth.token = Some(Secret::new("right"));
        Client {
            id,
            mode,
            role: "operator",
            auth: json!({"token": "right"}),
            device: false,
            peer: "127.0.0.1",
            headers: vec![LOCAL],
            max: 3,
            gateway,
        }
    }

    impl Client {
        fn shows(mut self, auth: Value) -> Client {
            self.auth = auth;
            self
        }

        fn device(mut self) -> Client {
            self.device = true;
            self
        }

        fn from(mut self, headers: &[(&'static str, &'static str)]) -> Client {
            self.headers = headers.to_vec();
            self
        }

        fn far(mut self) -> Client {
            self.peer = "192.0.2.9";
            self
        }

        fn node(mut self) -> Client {
            self.role = "node";
            self
        }

        fn at(mut self, change: impl FnOnce(&mut Gateway)) -> Client {
            change(&mut self.gateway);
            self
        }

        fn opening(&self) -> Opening {
            let mut params = json!({
                "minProtocol": 3, "maxProtocol": self.max, "role": self.role, "scopes": ALL_OPERATOR, "auth": self.auth,
                "client": {"id": self.id, "version": "1.0.0", "platform": "linux", "mode": self.mode},
            });
            if self.device {
                params["device"] = self.signature();
            }
            let frame = json!({"type": "req", "id": "1", "method": "connect", "params": params});
            first(&frame.to_string()).unwrap()
        }

        fn signature(&self) -> Value {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap();
            let key = pair.public_key().as_ref();
            let scopes = ALL_OPERATOR.map(String::from);
            let sent = ["token", "deviceToken", "bootstrapToken"].iter().find_map(|name| self.auth[name].as_str());
            let text = DevicePayload {
                device_id: &ids::sha256_hex(key),
                client_id: self.id,
                client_mode: self.mode,
                role: Role::parse(self.role).unwrap(),
                scopes: &scopes,
                signed_at_ms: NOW,
                token: sent.unwrap_or_default(),
                nonce: NONCE,
                platform: "linux",
                device_family: "",
            }
            .v3();
            json!({"id": ids::sha256_hex(key), "publicKey": ids::base64url(key), "signedAt": NOW, "nonce": NONCE,
                   "signature": ids::base64url(pair.sign(text.as_bytes()).as_ref())})
        }

        fn judged(&self) -> Result<Admission, Box<Refusal>> {
            let auth = resolve_auth(&self.gateway, &AuthOverrides::default());
            let headers = self.headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let head = Head { peer: self.peer.parse().unwrap(), headers };
            let caller = Caller::resolve(&head, &auth.proxies, false);
            let ui = &self.gateway.control_ui;
            let facts = JudgeFacts {
                auth: &auth,
                origins: &OriginRules { allowed: ui.allowed_origins.clone(), host_header_fallback: false },
                allow_insecure_auth: ui.allow_insecure_auth,
                disable_device_auth: ui.disable_device_auth,
                head: &head,
                caller: &caller,
                challenge: Challenge { nonce: NONCE, ts_ms: NOW, now_ms: NOW },
                paired: None,
                whois: None,
                mono_ms: 0,
            };
            judge(&self.opening(), &facts, &RateLimiter::new(&RateLimit::default()))
        }
    }

    const NO_DEVICE: (&str, &str, &str) = ("NOT_PAIRED", "device identity required", "DEVICE_IDENTITY_REQUIRED");
    const UI_DEVICE: (&str, &str, &str) = (
        "INVALID_REQUEST",
        "control ui requires device identity (use HTTPS or localhost secure context)",
        "CONTROL_UI_DEVICE_IDENTITY_REQUIRED",
    );
    const ORIGIN: (&str, &str, &str) = (
        "INVALID_REQUEST",
        "origin not allowed (open the Control UI from the gateway host or allow it in gateway.controlUi.allowedOrigins)",
        "CONTROL_UI_ORIGIN_NOT_ALLOWED",
    );

    #[test]
    fn refusals_as_recorded() {
        let mismatch = (
            "INVALID_REQUEST",
            "unauthorized: gateway token mismatch (provide gateway auth token)",
            "AUTH_TOKEN_MISMATCH",
        );
        let missing = (
            "INVALID_REQUEST",
            "unauthorized: gateway token missing (provide gateway auth token)",
            "AUTH_TOKEN_MISSING",
        );
        let mode_none = |gateway: &mut Gateway| gateway.auth.mode = Some(AuthMode::None);
        for (case, client, (code, message, details_code)) in [
            ("no token", client("test", "test").shows(json!({})), NO_DEVICE),
            ("no token cli", client("cli", "cli").shows(json!({})), NO_DEVICE),
            ("empty token", client("test", "test").shows(json!({"token": ""})), NO_DEVICE),
            ("bad token", client("test", "test").shows(json!({"token": "wrong"})), mismatch),
            ("password in token mode", client("test", "test").shows(json!({"password": "x"})), missing),
            ("no token, device", client("test", "test").shows(json!({})).device(), missing),
            ("bad token, device", client("test", "test").shows(json!({"token": "wrong"})).device(), mismatch),
            (
                "bad both",
                client("test", "test").shows(json!({"token": "wrong", "deviceToken": "x"})).device(),
                (
                    "INVALID_REQUEST",
                    "unauthorized: device token mismatch (rotate/reissue device token)",
                    "AUTH_DEVICE_TOKEN_MISMATCH",
                ),
            ),
            (
                "bootstrap",
                client("test", "test").shows(json!({"bootstrapToken": "x"})).device(),
                (
                    "INVALID_REQUEST",
                    "unauthorized: bootstrap token invalid or expired (scan a fresh setup code)",
                    "AUTH_BOOTSTRAP_TOKEN_INVALID",
                ),
            ),
            ("node without device", client("node-host", "node").node(), NO_DEVICE),
            ("ui without origin", client("openclaw-control-ui", "webchat"), ORIGIN),
            ("ui with foreign origin", client("openclaw-control-ui", "webchat").from(&[LOCAL, EVIL]), ORIGIN),
            ("anybody with foreign origin", client("test", "test").from(&[LOCAL, EVIL]), ORIGIN),
            ("foreign origin and no auth", client("cli", "cli").at(mode_none).from(&[LOCAL, EVIL]), ORIGIN),
            ("ui without device", client("openclaw-control-ui", "webchat").from(&[LOCAL, PAGE]), UI_DEVICE),
            ("mode none, no device", client("test", "test").at(mode_none), NO_DEVICE),
            ("mode none, cli, no device", client("cli", "cli").at(mode_none), NO_DEVICE),
            ("mode none, backend, far", client("gateway-client", "backend").at(mode_none).far(), NO_DEVICE),
            (
                "insecure ui, far",
                client("openclaw-control-ui", "webchat")
                    .from(&[LOCAL, PAGE])
                    .far()
                    .at(|g| g.control_ui.allow_insecure_auth = true)
                    .at(|g| g.control_ui.allowed_origins = vec!["*".into()]),
                UI_DEVICE,
            ),
        ] {
            let refusal = client.judged().map(|_| case).unwrap_err();
            let error = serde_json::to_value(refusal.error.unwrap()).unwrap();
            assert_eq!((&error["code"], &error["message"]), (&json!(code), &json!(message)), "{case}");
            assert_eq!(error["details"]["code"], details_code, "{case}");
            assert_eq!((refusal.close_code, refusal.close_reason.as_str()), (1008, message), "{case}");
        }
        let no_origin = client("openclaw-control-ui", "webchat").judged().unwrap_err();
        assert_eq!(no_origin.error.unwrap().details.unwrap()["reason"], "origin missing or invalid");
    }

    #[test]
    fn scopes_without_a_device() {
        let forwarded = ("X-Forwarded-For", "1.2.3.4");
        let proxy = |gateway: &mut Gateway| {
            gateway.auth.mode = Some(AuthMode::TrustedProxy);
            gateway.auth.trusted_proxy = Some(TrustedProxy { user_header: "x-user".into(), ..TrustedProxy::default() });
            gateway.trusted_proxies = vec!["127.0.0.1".into()];
            gateway.control_ui.allowed_origins = vec!["https://ui.example".into()];
        };
        let proxied =
            [("Host", "gw"), ("x-user", "ann"), ("X-Forwarded-For", "1.2.3.4"), ("Origin", "https://ui.example")];
        for (case, client, kept) in [
            ("cli", client("cli", "cli"), true),
            ("probe", client("cli", "probe"), true),
            ("anybody", client("test", "test"), true),
            ("tui", client("openclaw-tui", "ui"), true),
            ("cli, protocol 4", Client { max: 4, ..client("cli", "cli").shows(json!({"password": "right"})) }, true),
            ("from afar", client("cli", "cli").far(), false),
            ("foreign host", client("cli", "cli").from(&[("Host", "gateway.example")]), false),
            ("forwarded", client("cli", "cli").from(&[LOCAL, forwarded]), false),
            ("a page", client("cli", "cli").from(&[LOCAL, PAGE]), false),
            ("web chat", client("webchat-ui", "webchat").from(&[LOCAL, PAGE]), false),
            (
                "backend without auth",
                client("gateway-client", "backend").at(|g| g.auth.mode = Some(AuthMode::None)),
                true,
            ),
            (
                "insecure ui, here",
                client("openclaw-control-ui", "webchat")
                    .from(&[LOCAL, PAGE])
                    .at(|g| g.control_ui.allow_insecure_auth = true),
                true,
            ),
            (
                "ui without device auth",
                client("openclaw-control-ui", "webchat")
                    .from(&[LOCAL, PAGE])
                    .at(|g| g.control_ui.disable_device_auth = true),
                true,
            ),
            ("ui behind a proxy", client("openclaw-control-ui", "webchat").from(&proxied).at(proxy), true),
            ("other behind a proxy", client("test", "test").from(&proxied).at(proxy), false),
        ] {
            let admission = client.judged().map_err(|refusal| refusal.close_reason).expect(case);
            assert_eq!(admission.scopes.len(), if kept { ALL_OPERATOR.len() } else { 0 }, "{case}");
            assert_eq!((admission.pairing, admission.device), (Pairing::Skipped, None), "{case}");
        }
        let bypass = client("openclaw-control-ui", "webchat").from(&[LOCAL, PAGE]).node();
        let bypass = bypass.at(|g| g.control_ui.disable_device_auth = true);
        assert_eq!(bypass.judged().unwrap_err().close_reason, UI_DEVICE.1, "the bypass is for operators");
        let wrong = client("openclaw-control-ui", "webchat").from(&[LOCAL, PAGE]).shows(json!({"token": "x"}));
        let wrong = wrong.at(|g| g.control_ui.disable_device_auth = true);
        assert!(wrong.judged().unwrap_err().close_reason.starts_with("unauthorized: gateway token mismatch"));
    }

    #[test]
    fn pairing_with_a_device() {
        let silent = Pairing::Silent(PairingReason::NotPaired);
        let needed = Pairing::Needed(PairingReason::NotPaired);
        let none = |gateway: &mut Gateway| gateway.auth.mode = Some(AuthMode::None);
        for (case, client, method, pairing) in [
            ("here", client("test", "test").device(), AuthMethod::Token, silent),
            ("here, without auth", client("test", "test").device().at(none), AuthMethod::None, silent),
            (
                "foreign host",
                client("test", "test").device().from(&[("Host", "gateway.example")]),
                AuthMethod::Token,
                needed,
            ),
            (
                "forwarded",
                client("test", "test").device().from(&[LOCAL, ("X-Forwarded-For", "1.2.3.4")]),
                AuthMethod::Token,
                needed,
            ),
            ("far", client("test", "test").device().far(), AuthMethod::Token, needed),
            ("a page", client("cli", "cli").device().from(&[LOCAL, PAGE]), AuthMethod::Token, needed),
            (
                "our page",
                client("openclaw-control-ui", "webchat").device().from(&[LOCAL, PAGE]),
                AuthMethod::Token,
                silent,
            ),
            ("node", client("node-host", "node").device().node(), AuthMethod::Token, silent),
            ("backend", client("gateway-client", "backend").device(), AuthMethod::Token, Pairing::Skipped),
            ("backend as node", client("gateway-client", "backend").device().node(), AuthMethod::Token, silent),
            ("backend, far", client("gateway-client", "backend").device().far(), AuthMethod::Token, needed),
            ("backend without auth", client("gateway-client", "backend").device().at(none), AuthMethod::None, silent),
        ] {
            let admission = client.judged().map_err(|refusal| refusal.close_reason).expect(case);
            assert_eq!((admission.auth.method(), admission.pairing), (method, pairing), "{case}");
            assert!(admission.device.is_some() && admission.scopes.len() == ALL_OPERATOR.len(), "{case}");
        }
    }

    #[test]
    fn a_bad_signature_comes_before_a_wrong_secret() {
        let mut opening = client("test", "test").shows(json!({"token": "wrong"})).device().opening();
        opening.params.device.as_mut().unwrap().nonce = "other".into();
        let auth = resolve_auth(&client("test", "test").gateway, &AuthOverrides::default());
        let head = Head { peer: "192.0.2.9".parse().unwrap(), headers: vec![] };
        let caller = Caller::resolve(&head, &auth.proxies, false);
        let facts = JudgeFacts {
            auth: &auth,
            origins: &OriginRules::default(),
            allow_insecure_auth: false,
            disable_device_auth: false,
            head: &head,
            caller: &caller,
            challenge: Challenge { nonce: NONCE, ts_ms: NOW, now_ms: NOW },
            paired: None,
            whois: None,
            mono_ms: 0,
        };
        let limiter = RateLimiter::new(&RateLimit { max_attempts: 2, ..RateLimit::default() });
        for _ in 0..2 {
            assert_eq!(judge(&opening, &facts, &limiter).unwrap_err().close_reason, "device nonce mismatch");
        }
        // The guesses were counted all the same.
        opening.params.device = None;
        let locked = judge(&opening, &facts, &limiter).unwrap_err();
        assert_eq!(locked.close_reason, "unauthorized: too many failed authentication attempts (retry later)");
    }
}
