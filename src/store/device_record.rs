//! Records of `devices/pending.json` and `devices/paired.json` in the reference's shapes (protocol 2.6). Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::secret::Secret;

/// A device that waits for somebody's approval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PendingRequest {
    pub request_id: String,
    pub device_id: String,
    /// base64url of the raw 32 bytes.
    pub public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    pub role: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    pub silent: bool,
    pub is_repair: bool,
    /// Milliseconds since 1970; expires `limits::PAIRING_REQUEST_TTL` later.
    pub ts: u64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A device that was approved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PairedDevice {
    pub device_id: String,
    pub public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_family: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_mode: Option<String>,
    pub role: String,
    pub roles: Vec<String>,
    pub scopes: Vec<String>,
    pub approved_scopes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_ip: Option<String>,
    /// By role.
    pub tokens: BTreeMap<String, DeviceToken>,
    pub created_at_ms: u64,
    pub approved_at_ms: u64,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// A token for one device and role.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DeviceToken {
    #[serde(with = "secret_text")]
    pub token: Secret,
    pub role: String,
    /// Sorted.
    pub scopes: Vec<String>,
    pub created_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotated_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revoked_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at_ms: Option<u64>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl DeviceToken {
    pub fn is_valid(&self) -> bool {
        self.revoked_at_ms.is_none() && !self.token.is_empty()
    }

    /// When the token in force was made: rotation, else creation.
    pub fn issued_at_ms(&self) -> u64 {
        self.rotated_at_ms.unwrap_or(self.created_at_ms)
    }
}

mod secret_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::secret::Secret;

    pub fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret::new)
    }
}

/// A device without its token texts and without fields we do not know, as `device.pair.list` and `.approve` show it.
pub fn public_view(device: &PairedDevice) -> Value {
    let mut view = object(PairedDevice { tokens: BTreeMap::new(), rest: Map::new(), ..device.clone() });
    view.shift_remove("tokens");
    view.shift_remove("approvedScopes");
    let tokens = device.tokens.values().map(|token| {
        let mut view = object(DeviceToken { token: Secret::default(), rest: Map::new(), ..token.clone() });
        view.shift_remove("token");
        Value::Object(view)
    });
    view.insert("tokens".into(), tokens.collect());
    Value::Object(view)
}

/// A request as `device.pair.list` and the `device.pair.requested` event show it.
pub fn pending_view(request: &PendingRequest) -> Value {
    Value::Object(object(PendingRequest { rest: Map::new(), ..request.clone() }))
}

fn object(record: impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}
