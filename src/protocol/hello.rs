//! What the gateway says during the handshake: the challenge and hello-ok (protocol 2.2, DECISIONS 19).

use std::sync::LazyLock;

use serde::Serialize;

use super::frame::{EVENT_HEAD, StateVersion, event_body};
use super::roles::{Role, Scopes};
use super::{COMPAT_VERSION, events, methods};

/// Everything in hello-ok that is not the same for all. Presence and health come as JSON text and are copied.
#[derive(Clone, Copy, Debug)]
pub struct HelloParts<'a> {
    pub protocol: u32,
    pub conn_id: &'a str,
    /// A JSON array.
    pub presence: &'a [u8],
    /// A JSON object.
    pub health: &'a [u8],
    pub state_version: StateVersion,
    pub uptime_ms: u64,
    pub config_path: &'a str,
    pub state_dir: &'a str,
    pub session_defaults: SessionDefaults<'a>,
    /// Where the canvas is for this client, its capability included.
    pub canvas_host_url: Option<&'a str>,
    /// Name of the configured mode: none, token, password, trusted-proxy.
    pub auth_mode: &'a str,
    pub auth: HelloAuth<'a>,
    pub max_payload: u64,
    pub max_buffered_bytes: u64,
    pub tick_interval_ms: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionDefaults<'a> {
    pub default_agent_id: &'a str,
    pub main_key: &'a str,
    pub main_session_key: &'a str,
    /// `per-sender` or `global`.
    pub scope: &'a str,
}

/// How this client got in. Protocol 4 always hears it, protocol 3 only together with a device token.
#[derive(Clone, Copy, Debug)]
pub struct HelloAuth<'a> {
    /// none, token, password, trusted-proxy, tailscale, device-token, bootstrap-token.
    pub method: &'a str,
    pub role: Role,
    /// What the connection may do.
    pub scopes: &'a Scopes,
    pub device_token: Option<IssuedToken<'a>>,
    /// Tokens for the device's other roles, when it came with a setup code.
    pub handed_over: &'a [(Role, IssuedToken<'a>)],
}

#[derive(Clone, Copy, Debug)]
pub struct IssuedToken<'a> {
    pub token: &'a str,
    /// The token's own; sent sorted.
    pub scopes: &'a Scopes,
    pub issued_at_ms: u64,
}

/// The payload of a successful `connect`, as JSON text.
pub fn hello_ok(parts: &HelloParts) -> Vec<u8> {
    static FEATURES: LazyLock<String> = LazyLock::new(|| {
        let methods: Vec<_> = methods::advertised().collect();
        let events: Vec<_> = events::advertised().collect();
        serde_json::json!({"methods": methods, "events": events}).to_string()
    });
    let mut out = Out(Vec::with_capacity(2048 + FEATURES.len() + parts.presence.len() + parts.health.len()));
    out.text("{\"type\":\"hello-ok\",\"protocol\":").json(&parts.protocol);
    out.text(",\"server\":{\"version\":").json(COMPAT_VERSION).text(",\"connId\":").json(parts.conn_id);
    out.text("},\"features\":").text(&FEATURES);
    out.text(",\"snapshot\":{\"presence\":").raw(parts.presence).text(",\"health\":").raw(parts.health);
    out.text(",\"stateVersion\":{\"presence\":").json(&parts.state_version.0);
    out.text(",\"health\":").json(&parts.state_version.1).text("},\"uptimeMs\":").json(&parts.uptime_ms);
    out.text(",\"configPath\":").json(parts.config_path).text(",\"stateDir\":").json(parts.state_dir);
    out.text(",\"sessionDefaults\":").json(&parts.session_defaults).text(",\"authMode\":").json(parts.auth_mode);
    out.text("}");
    if let Some(url) = parts.canvas_host_url {
        out.text(",\"canvasHostUrl\":").json(url);
    }
    if let Some(auth) = AuthMember::of(parts) {
        out.text(",\"auth\":").json(&auth);
    }
    out.text(",\"policy\":{\"maxPayload\":").json(&parts.max_payload);
    out.text(",\"maxBufferedBytes\":").json(&parts.max_buffered_bytes);
    out.text(",\"tickIntervalMs\":").json(&parts.tick_interval_ms).text("}}");
    out.0
}

/// The first frame of every connection, whole: it takes no number.
pub fn challenge_frame(nonce: &str, ts_ms: u64) -> Vec<u8> {
    #[derive(Serialize)]
    struct Challenge<'a> {
        nonce: &'a str,
        ts: u64,
    }
    let mut frame = EVENT_HEAD.to_vec();
    frame.extend_from_slice(&event_body("connect.challenge", &Challenge { nonce, ts: ts_ms }, None));
    frame
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AuthMember<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_token: Option<&'a str>,
    role: Role,
    scopes: Scopes,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    device_tokens: Vec<OtherToken<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OtherToken<'a> {
    device_token: &'a str,
    role: Role,
    scopes: Scopes,
    issued_at_ms: u64,
}

impl<'a> AuthMember<'a> {
    fn of(parts: &HelloParts<'a>) -> Option<AuthMember<'a>> {
        let HelloAuth { method, role, scopes, device_token, handed_over } = parts.auth;
        if parts.protocol < 4 && device_token.is_none() {
            return None;
        }
        Some(AuthMember {
            method: (parts.protocol >= 4).then_some(method),
            device_token: device_token.map(|issued| issued.token),
            role,
            scopes: device_token.map_or_else(|| scopes.clone(), |issued| issued.scopes.sorted()),
            issued_at_ms: device_token.map(|issued| issued.issued_at_ms),
            device_tokens: handed_over.iter().map(OtherToken::of).collect(),
        })
    }
}

impl<'a> OtherToken<'a> {
    fn of((role, issued): &(Role, IssuedToken<'a>)) -> OtherToken<'a> {
        OtherToken {
            device_token: issued.token,
            role: *role,
            scopes: issued.scopes.sorted(),
            issued_at_ms: issued.issued_at_ms,
        }
    }
}

/// JSON text put together from pieces.
struct Out(Vec<u8>);

impl Out {
    fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> &mut Self {
        serde_json::to_writer(&mut self.0, value).expect("texts and numbers serialise");
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn hello(protocol: u32, scopes: &Scopes, device_token: Option<IssuedToken>) -> Value {
        hello_with(protocol, scopes, device_token, &[])
    }

    fn hello_with(
        protocol: u32,
        scopes: &Scopes,
        device_token: Option<IssuedToken>,
        handed_over: &[(Role, IssuedToken)],
    ) -> Value {
        let bytes = hello_ok(&HelloParts {
            protocol,
            conn_id: "9424dbfc",
            presence: br#"[{"ts":1}]"#,
            health: br#"{"ok":true}"#,
            state_version: (4, 11),
            uptime_ms: 190_358,
            config_path: "/home/user/.openclaw/openclaw.json",
            state_dir: "/home/user/.openclaw",
            session_defaults: SessionDefaults {
                default_agent_id: "main",
                main_key: "main",
                main_session_key: "agent:main:main",
                scope: "per-sender",
            },
            canvas_host_url: (protocol == 4).then_some("http://127.0.0.1:18789/__openclaw__/cap/c"),
            auth_mode: "token",
            auth: HelloAuth { method: "token", role: Role::Operator, scopes, device_token, handed_over },
            max_payload: 26_214_400,
            max_buffered_bytes: 52_428_800,
            tick_interval_ms: 30_000,
        });
        serde_json::from_slice(&bytes).unwrap()
    }

    #[test]
    fn a_hello_as_recorded() {
        let mut hello = hello(3, &Scopes::NONE, None);
        let features = hello.as_object_mut().unwrap().shift_remove("features").unwrap();
        assert_eq!(
            hello,
            json!({"type":"hello-ok","protocol":3,"server":{"version":"2026.3.13","connId":"9424dbfc"},
                "snapshot":{"presence":[{"ts":1}],"health":{"ok":true},"stateVersion":{"presence":4,"health":11},
                "uptimeMs":190358,"configPath":"/home/user/.openclaw/openclaw.json","stateDir":"/home/user/.openclaw",
                "sessionDefaults":{"defaultAgentId":"main","mainKey":"main","mainSessionKey":"agent:main:main",
                "scope":"per-sender"},"authMode":"token"},
                "policy":{"maxPayload":26214400,"maxBufferedBytes":52428800,"tickIntervalMs":30000}})
        );
        assert_eq!(features["methods"][0], "health");
        assert_eq!(features["events"][0], "connect.challenge");
    }

    #[test]
    fn auth_by_protocol_and_device() {
        let scopes = Scopes::new(["operator.write", "operator.admin"]);
        let token = IssuedToken { token: "dt", scopes: &scopes, issued_at_ms: 7 };
        let sorted = json!(["operator.admin", "operator.write"]);
        for (protocol, token, auth) in [
            (3, None, Value::Null),
            (3, Some(token), json!({"deviceToken":"dt","role":"operator","scopes":sorted,"issuedAtMs":7})),
            (4, None, json!({"method":"token","role":"operator","scopes":["operator.write","operator.admin"]})),
            (
                4,
                Some(token),
                json!({"method":"token","deviceToken":"dt","role":"operator","scopes":sorted,"issuedAtMs":7}),
            ),
        ] {
            let hello = hello(protocol, &scopes, token);
            assert_eq!(hello["auth"], auth, "{protocol}");
            let url = json!("http://127.0.0.1:18789/__openclaw__/cap/c");
            assert_eq!(hello.get("canvasHostUrl"), (protocol == 4).then_some(&url));
        }
    }

    #[test]
    fn tokens_of_other_roles() {
        let scopes = Scopes::new(["operator.write", "operator.read"]);
        let token = IssuedToken { token: "dt", scopes: &Scopes::NONE, issued_at_ms: 7 };
        let other = [(Role::Operator, IssuedToken { token: "op", scopes: &scopes, issued_at_ms: 8 })];
        assert_eq!(
            hello_with(3, &Scopes::NONE, Some(token), &other)["auth"]["deviceTokens"],
            json!([{"deviceToken":"op","role":"operator","scopes":["operator.read","operator.write"],"issuedAtMs":8}])
        );
    }

    #[test]
    fn the_challenge() {
        assert_eq!(
            challenge_frame("b2da", 1_795_203_836_900),
            br#"{"type":"event","event":"connect.challenge","payload":{"nonce":"b2da","ts":1795203836900}}"#
        );
    }
}
