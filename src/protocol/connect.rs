//! The first request of a connection: its parameters, the range of protocols, who the client says it is, and the
//! text that its device has signed (protocol 2, 2.1, 2.4; DECISIONS 13-16).
//!
//! What is believed of all this is decided in `policy`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::params::whole;
use super::roles::Role;
use super::schema::{self, Field, Kind, NON_EMPTY, Object, TEXT, at_least, list, optional, required, strict};
use super::{ErrorShape, PROTOCOL_MAX, PROTOCOL_MIN};
use crate::secret::Secret;

pub const CLIENT_IDS: &[&str] = &[
    "webchat-ui",
    "openclaw-control-ui",
    "webchat",
    "cli",
    "gateway-client",
    "openclaw-macos",
    "openclaw-ios",
    "openclaw-android",
    "node-host",
    "test",
    "fingerprint",
    "openclaw-probe",
    "openclaw-tui",
];

pub const CLIENT_MODES: &[&str] = &["webchat", "cli", "ui", "backend", "node", "probe", "test"];

/// The capability that asks for tool events of one's own runs.
pub const CAP_TOOL_EVENTS: &str = "tool-events";

/// Close codes of the handshake.
pub const CLOSE_NORMAL: u16 = 1000;
pub const CLOSE_PROTOCOL: u16 = 1002;
pub const CLOSE_POLICY: u16 = 1008;

/// How a handshake ends badly: an answer, when the frame had an id, and a close frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub error: Option<ErrorShape>,
    pub close_code: u16,
    /// Not yet cut; `frame::cut_reason` does that.
    pub close_reason: String,
}

impl Refusal {
    /// Answer and close 1008 with the answer's message.
    pub fn policy(error: ErrorShape) -> Refusal {
        Refusal { close_code: CLOSE_POLICY, close_reason: error.message.clone(), error: Some(error) }
    }

    /// The ranges of protocols do not meet: 1002.
    pub fn protocol(error: ErrorShape) -> Refusal {
        Refusal { close_code: CLOSE_PROTOCOL, ..Refusal::policy(error) }
    }

    /// Not JSON: closed without a word.
    pub fn malformed() -> Refusal {
        Refusal { error: None, close_code: CLOSE_NORMAL, close_reason: String::new() }
    }

    /// JSON, but no request frame.
    pub fn invalid_frame() -> Refusal {
        Refusal { error: None, close_code: CLOSE_POLICY, close_reason: "invalid request frame".into() }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectParams {
    #[serde(deserialize_with = "number")]
    pub min_protocol: u64,
    #[serde(deserialize_with = "number")]
    pub max_protocol: u64,
    pub client: Client,
    pub caps: Vec<String>,
    pub commands: Option<Vec<String>>,
    pub permissions: Option<BTreeMap<String, bool>>,
    pub path_env: Option<String>,
    /// Absent = operator; checked by [`ConnectParams::role`].
    pub role: Option<String>,
    /// As sent: the device's signature covers them in this order.
    pub scopes: Vec<String>,
    pub device: Option<DeviceClaim>,
    pub auth: ConnectAuth,
    pub locale: Option<String>,
    pub user_agent: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Client {
    pub id: String,
    pub display_name: Option<String>,
    pub version: String,
    pub platform: String,
    pub device_family: Option<String>,
    pub model_identifier: Option<String>,
    pub mode: String,
    pub instance_id: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceClaim {
    pub id: String,
    pub public_key: String,
    pub signature: String,
    /// Milliseconds.
    #[serde(deserialize_with = "number")]
    pub signed_at: u64,
    pub nonce: String,
}

/// Credentials as sent. An empty text is kept, because the signature covers it, and counts as missing otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConnectAuth {
    #[serde(deserialize_with = "secret")]
    pub token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub bootstrap_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub device_token: Option<Secret>,
    #[serde(deserialize_with = "secret")]
    pub password: Option<Secret>,
}

impl ConnectAuth {
    /// The text that a device's signature covers.
    pub fn signed_token(&self) -> &str {
        let sent = self.token.as_ref().or(self.device_token.as_ref()).or(self.bootstrap_token.as_ref());
        sent.map_or("", Secret::expose)
    }
}

/// Which kind of client this is; decides hints in error texts and the rules for browsers.
impl Client {
    pub fn is_control_ui(&self) -> bool {
        self.id == "openclaw-control-ui"
    }

    /// Mode `webchat`, whatever the id, or one of the web chat's ids. The Control UI is one in practice.
    pub fn is_webchat(&self) -> bool {
        self.mode == "webchat" || matches!(self.id.as_str(), "webchat-ui" | "webchat")
    }

    /// Command line clients have no presence entry.
    pub fn is_cli(&self) -> bool {
        self.mode == "cli"
    }

    pub fn is_backend(&self) -> bool {
        self.id == "gateway-client" && self.mode == "backend"
    }
}

static CLIENT: Object = Object {
    fields: &[
        required("id", Kind::OneOf(CLIENT_IDS)),
        optional("displayName", NON_EMPTY),
        required("version", NON_EMPTY),
        required("platform", NON_EMPTY),
        optional("deviceFamily", NON_EMPTY),
        optional("modelIdentifier", NON_EMPTY),
        required("mode", Kind::OneOf(CLIENT_MODES)),
        optional("instanceId", NON_EMPTY),
    ],
    // Newer clients send more about themselves, whatever protocol they speak.
    extra: true,
};

static DEVICE: Object = strict(&[
    required("id", NON_EMPTY),
    required("publicKey", NON_EMPTY),
    required("signature", NON_EMPTY),
    required("signedAt", at_least(0)),
    required("nonce", NON_EMPTY),
]);

static AUTH: Object = strict(AUTH_FIELDS);
const AUTH_FIELDS: &[Field] = &[
    optional("token", TEXT),
    optional("bootstrapToken", TEXT),
    optional("deviceToken", TEXT),
    optional("password", TEXT),
];

static CONNECT: Object = strict(&[
    required("minProtocol", at_least(1)),
    required("maxProtocol", at_least(1)),
    required("client", Kind::Object(&CLIENT)),
    optional("caps", list(&NON_EMPTY)),
    optional("commands", list(&NON_EMPTY)),
    optional("permissions", Kind::Map(&Kind::Bool)),
    optional("pathEnv", TEXT),
    optional("role", NON_EMPTY),
    optional("scopes", list(&NON_EMPTY)),
    optional("device", Kind::Object(&DEVICE)),
    optional("auth", Kind::Object(&AUTH)),
    optional("locale", TEXT),
    optional("userAgent", TEXT),
]);

impl ConnectParams {
    /// Checks and reads the parameters of `connect`. Unknown keys: in `client` ignored for everybody, elsewhere
    /// refused unless the client speaks protocol 4 (DECISIONS 14).
    pub fn read(params: Value) -> Result<ConnectParams, ErrorShape> {
        schema::check("connect", &params, &CONNECT, speaks_v4(&params))?;
        super::params::read("connect", params)
    }

    /// None when the role is neither operator nor node; absent means operator.
    pub fn role(&self) -> Option<Role> {
        self.role.as_deref().map_or(Some(Role::Operator), Role::parse)
    }

    pub fn has_cap(&self, cap: &str) -> bool {
        self.caps.iter().any(|c| c == cap)
    }
}

/// Whether raw connect parameters say that the client speaks protocol 4 or more.
pub fn speaks_v4(params: &Value) -> bool {
    params.get("maxProtocol").and_then(Value::as_f64).is_some_and(|max| max >= 4.0)
}

/// The protocol of a connection whose client speaks `min..=max`, or why there is none (DECISIONS 15).
pub fn choose_protocol(min: u64, max: u64) -> Result<u32, ErrorShape> {
    if min <= max && max >= u64::from(PROTOCOL_MIN) && min <= u64::from(PROTOCOL_MAX) {
        return Ok(u32::try_from(max).unwrap_or(PROTOCOL_MAX).min(PROTOCOL_MAX));
    }
    let expected = if max < u64::from(PROTOCOL_MIN) { PROTOCOL_MIN } else { PROTOCOL_MAX };
    Err(ErrorShape::invalid("protocol mismatch").details(json!({
        "code": "PROTOCOL_MISMATCH",
        "clientMinProtocol": min,
        "clientMaxProtocol": max,
        "expectedProtocol": expected,
        "minimumProbeProtocol": PROTOCOL_MIN,
    })))
}

/// What a device signs, beside its own id.
#[derive(Clone, Copy, Debug)]
pub struct DevicePayload<'a> {
    pub device_id: &'a str,
    pub client_id: &'a str,
    pub client_mode: &'a str,
    pub role: Role,
    pub scopes: &'a [String],
    pub signed_at_ms: u64,
    pub token: &'a str,
    pub nonce: &'a str,
    pub platform: &'a str,
    pub device_family: &'a str,
}

impl DevicePayload<'_> {
    /// `v2|deviceId|clientId|clientMode|role|scope1,scope2|signedAtMs|token|nonce`.
    pub fn v2(&self) -> String {
        self.joined("v2")
    }

    /// The fields of v2, then `|platform|deviceFamily`, both trimmed and in ASCII lower case.
    pub fn v3(&self) -> String {
        let lower = |text: &str| text.trim().to_ascii_lowercase();
        format!("{}|{}|{}", self.joined("v3"), lower(self.platform), lower(self.device_family))
    }

    fn joined(&self, version: &str) -> String {
        let DevicePayload { device_id, client_id, client_mode, role, signed_at_ms, token, nonce, .. } = self;
        let (role, scopes) = (role.name(), self.scopes.join(","));
        format!("{version}|{device_id}|{client_id}|{client_mode}|{role}|{scopes}|{signed_at_ms}|{token}|{nonce}")
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(whole(deserializer)?.unwrap_or_default())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Value {
        json!({"minProtocol": 3, "maxProtocol": 3,
               "client": {"id": "test", "version": "1.0.0", "platform": "linux", "mode": "test"}})
    }

    fn with(pointer: &str, key: &str, value: Value) -> Value {
        let mut params = plain();
        params.pointer_mut(pointer).unwrap()[key] = value;
        params
    }

    fn message(params: Value) -> String {
        ConnectParams::read(params).map_or_else(|error| error.message, |_| String::new())
    }

    #[test]
    fn messages_of_the_recordings() {
        let device = |signature: &str| json!({"id": "i", "publicKey": "k", "signature": signature, "signedAt": 1795203837113u64, "nonce": "n"});
        for (params, text) in [
            (json!({"minProtocol": 3, "maxProtocol": 3}), "must have required property 'client'"),
            (
                json!({"minProtocol": 3, "maxProtocol": 3, "foo": 1,
                       "client": {"id": "nope", "version": "1", "platform": "linux", "mode": "test"}}),
                "at root: unexpected property 'foo'; at /client/id: must be equal to constant; \
                 at /client/id: must match a schema in anyOf",
            ),
            (with("", "device", device("")), "at /device/signature: must NOT have fewer than 1 characters"),
            (json!([]), "must be object"),
            (with("", "minProtocol", json!(0)), "at /minProtocol: must be >= 1"),
            (with("", "maxProtocol", json!("3")), "at /maxProtocol: must be integer"),
            (with("", "permissions", json!({"a/b": 1})), "at /permissions/a~1b: must be boolean"),
            (
                with("", "scopes", json!(["", 1])),
                "at /scopes/0: must NOT have fewer than 1 characters; at /scopes/1: must be string",
            ),
            (
                with("", "auth", json!({"token": 1, "x": 1})),
                "at /auth: unexpected property 'x'; at /auth/token: must be string",
            ),
            (
                with("", "device", json!({})),
                "at /device: must have required property 'id'; at /device: must have required property 'publicKey'; at /device: must have required property 'signature'; at /device: must have required property 'signedAt'; at /device: must have required property 'nonce'",
            ),
        ] {
            assert_eq!(message(params), format!("invalid connect params: {text}"));
        }
        assert_eq!(message(plain()), "");
    }

    #[test]
    fn unknown_keys_by_place_and_protocol() {
        let v4 = |mut params: Value| {
            params["maxProtocol"] = json!(4);
            params
        };
        let device = json!({"id": "i", "publicKey": "k", "signature": "s", "signedAt": 1, "nonce": "n", "new": 1});
        for (place, params, fine_in_v3) in [
            ("client", with("/client", "buildId", json!("b")), true),
            ("root", with("", "computerUse", json!({})), false),
            ("auth", with("", "auth", json!({"approvalRuntimeToken": "x"})), false),
            ("device", with("", "device", device), false),
        ] {
            assert_eq!(message(params.clone()).is_empty(), fine_in_v3, "{place}");
            assert_eq!(message(v4(params)), "", "{place}");
        }
        assert_ne!(message(v4(with("/client", "id", json!("nope")))), "", "wrong values are refused at both");
    }

    #[test]
    fn what_is_read() {
        let mut params = plain();
        params["client"]["mode"] = json!("webchat");
        params["client"]["id"] = json!("openclaw-tui");
        params["maxProtocol"] = json!(4.0);
        params["auth"] = json!({"token": "", "deviceToken": "d"});
        params["scopes"] = json!(["operator.write", "operator.admin"]);
        params["caps"] = json!(["tool-events"]);
        let read = ConnectParams::read(params).unwrap();
        assert_eq!((read.min_protocol, read.max_protocol), (3, 4));
        assert!(read.client.is_webchat() && !read.client.is_control_ui() && !read.client.is_cli());
        assert!(read.has_cap(CAP_TOOL_EVENTS));
        assert_eq!(read.scopes, ["operator.write", "operator.admin"]);
        assert_eq!(read.auth.signed_token(), "", "an empty token is still the first one that was sent");
        assert_eq!(read.role(), Some(Role::Operator));
        assert!(read.device.is_none());
    }

    #[test]
    fn ranges_of_protocols() {
        for (min, max, chosen) in [(3, 3, 3), (3, 4, 4), (4, 4, 4), (1, 9, 4), (1, 3, 3), (4, u64::MAX, 4)] {
            assert_eq!(choose_protocol(min, max).ok(), Some(chosen), "{min}..{max}");
        }
        for (min, max, expected) in [(1, 2, 3), (5, 6, 4), (4, 3, 4)] {
            let error = choose_protocol(min, max).unwrap_err();
            assert_eq!(error.message, "protocol mismatch");
            assert_eq!(
                error.details,
                Some(json!({"code": "PROTOCOL_MISMATCH", "clientMinProtocol": min, "clientMaxProtocol": max,
                            "expectedProtocol": expected, "minimumProbeProtocol": 3}))
            );
        }
    }

    #[test]
    fn signed_texts() {
        let scopes = ["operator.read".to_owned(), "operator.admin".to_owned()];
        let payload = DevicePayload {
            device_id: "dev",
            client_id: "cli",
            client_mode: "cli",
            role: Role::Operator,
            scopes: &scopes,
            signed_at_ms: 17,
            token: "tok",
            nonce: "n",
            platform: " Linux x86_64 ",
            device_family: "",
        };
        assert_eq!(payload.v2(), "v2|dev|cli|cli|operator|operator.read,operator.admin|17|tok|n");
        assert_eq!(payload.v3(), "v3|dev|cli|cli|operator|operator.read,operator.admin|17|tok|n|linux x86_64|");
        assert_eq!(DevicePayload { scopes: &[], ..payload }.v2(), "v2|dev|cli|cli|operator||17|tok|n");
    }
}
