//! Records of `devices/pending.json` and `devices/paired.json` in the reference's shapes (protocol 2.6). Pure data.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids;
use crate::secret::Secret;
use crate::sort;

/// Names and addresses from the wire are cut here.
const METADATA_CHARS: usize = 256;

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

/// What a device asks for, already checked by the caller.
#[derive(Clone, Debug, Default)]
pub struct PairRequest {
    pub device_id: String,
    pub public_key: String,
    pub display_name: Option<String>,
    pub platform: Option<String>,
    pub device_family: Option<String>,
    pub client_id: Option<String>,
    pub client_mode: Option<String>,
    pub role: String,
    /// Further roles that come with a setup code; `scopes` are those of all roles together.
    pub more_roles: Vec<String>,
    pub scopes: Vec<String>,
    pub remote_ip: Option<String>,
    pub silent: bool,
}

impl PairedDevice {
    pub fn has_role(&self, role: &str) -> bool {
        self.role == role || self.roles.iter().any(|known| known == role)
    }

    /// A new token for `role` in place of an older one.
    pub(super) fn issue(&mut self, role: &str, scopes: Vec<String>, now_ms: u64) -> DeviceToken {
        let old = self.tokens.get(role);
        let token = DeviceToken {
            token: Secret::new(ids::base64url(&ids::random_bytes::<32>())),
            role: role.to_owned(),
            scopes: sorted(scopes),
            created_at_ms: old.map_or(now_ms, |old| old.created_at_ms),
            rotated_at_ms: old.map(|_| now_ms),
            revoked_at_ms: None,
            last_used_at_ms: old.and_then(|old| old.last_used_at_ms),
            rest: old.map(|old| old.rest.clone()).unwrap_or_default(),
        };
        self.tokens.insert(role.to_owned(), token.clone());
        token
    }
}

impl PendingRequest {
    pub(super) fn new(request_id: String, new: PairRequest, is_repair: bool, now_ms: u64) -> PendingRequest {
        let mut request = PendingRequest {
            request_id,
            device_id: new.device_id.clone(),
            silent: new.silent,
            ts: now_ms,
            ..PendingRequest::default()
        };
        request.merge(new, is_repair);
        request
    }

    pub(super) fn merge(&mut self, new: PairRequest, is_repair: bool) {
        self.public_key = new.public_key;
        for (field, new) in [
            (&mut self.display_name, new.display_name),
            (&mut self.platform, new.platform),
            (&mut self.device_family, new.device_family),
            (&mut self.client_id, new.client_id),
            (&mut self.client_mode, new.client_mode),
            (&mut self.remote_ip, new.remote_ip),
        ] {
            if let Some(new) = new {
                *field = Some(cut(new));
            }
        }
        add_missing(&mut self.roles, new.more_roles.iter().chain([&new.role]));
        add_missing(&mut self.scopes, &new.scopes);
        self.role = new.role;
        self.silent &= new.silent;
        self.is_repair = is_repair;
    }
}

pub(super) mod secret_text {
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

pub(super) fn add_missing<'a>(list: &mut Vec<String>, more: impl IntoIterator<Item = &'a String>) {
    for item in more {
        if !item.is_empty() && !list.contains(item) {
            list.push(item.clone());
        }
    }
}

pub(super) fn sorted(mut scopes: Vec<String>) -> Vec<String> {
    sort::by(&mut scopes, Ord::cmp);
    scopes.dedup();
    scopes
}

pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(METADATA_CHARS) {
        Some((end, _)) => text[..end].to_owned(),
        None => text,
    }
}
