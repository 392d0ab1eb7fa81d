//! A client, where it comes from and what it shows, against the refusals that were recorded.

use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::auth::{AuthMethod, AuthOverrides, resolve_auth};
use super::connect_order::*;
use super::device::Challenge;
use super::net::{Caller, Head, OriginRules};
use super::pairing::{Pairing, PairingReason};
use super::rate_limit::RateLimiter;
use crate::config::model::{AuthMode, Gateway, RateLimit, TrustedProxy};
use crate::ids;
use crate::protocol::connect::{DevicePayload, Refusal};
use crate::protocol::frame;
use crate::protocol::roles::{ALL_OPERATOR, Role};
use crate::secret::Secret;

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
            claim: &|_, _| false,
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
    let mismatch =
        ("INVALID_REQUEST", "unauthorized: gateway token mismatch (provide gateway auth token)", "AUTH_TOKEN_MISMATCH");
    let missing =
        ("INVALID_REQUEST", "unauthorized: gateway token missing (provide gateway auth token)", "AUTH_TOKEN_MISSING");
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
    let proxied = [("Host", "gw"), ("x-user", "ann"), ("X-Forwarded-For", "1.2.3.4"), ("Origin", "https://ui.example")];
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
        ("backend without auth", client("gateway-client", "backend").at(|g| g.auth.mode = Some(AuthMode::None)), true),
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
        ("our page", client("openclaw-control-ui", "webchat").device().from(&[LOCAL, PAGE]), AuthMethod::Token, silent),
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
        claim: &|_, _| false,
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
