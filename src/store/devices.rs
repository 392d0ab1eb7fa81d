//! Paired devices, requests to be paired, device tokens: in memory under one leaf lock, on disk at once.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::device_record::{DeviceToken, PairedDevice, PendingRequest};
use super::writer::Store;

/// The device store. Clones share the same state.
#[derive(Clone)]
pub struct Devices {
    inner: Arc<()>,
}

/// What a device asks for, already checked and bounded by the caller.
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
    pub scopes: Vec<String>,
    pub remote_ip: Option<String>,
    pub silent: bool,
}

/// What a connect may refresh in a paired record; `None` leaves the field.
#[derive(Clone, Debug, Default)]
pub struct Refresh {
    pub display_name: Option<String>,
    pub client_id: Option<String>,
    pub client_mode: Option<String>,
    pub role: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub remote_ip: Option<String>,
}

/// Result of comparing a presented device token.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenCheck {
    Valid {
        scopes: Vec<String>,
        approved_scopes: Vec<String>,
        epoch: u64,
    },
    /// Not paired, no token for that role, revoked, or different.
    Invalid,
}

/// Why a pairing was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `unknown requestId`, `unknown deviceId` or `unknown deviceId/role`.
    Unknown,
    /// The store holds `limits::PAIRED_DEVICES` devices.
    Full,
}

impl Devices {
    /// Reads `<state>/devices/`; damaged files are set aside.
    pub fn open(state: &Path, store: &Store, now_ms: u64) -> Devices {
        let _ = (state, store, now_ms);
        Devices { inner: Arc::new(()) }
    }

    /// One device; its clone holds the token texts.
    pub fn get(&self, device_id: &str) -> Option<PairedDevice> {
        let _ = (device_id, &self.inner);
        None
    }

    /// Changes when a token of the device is rotated or revoked, its key replaced, or the device removed. 0 is a valid epoch.
    pub fn epoch(&self, device_id: &str) -> u64 {
        let _ = device_id;
        0
    }

    /// Stores or merges the request of a device: one per device, the same `requestId`, roles and scopes united, `ts` renewed.
    /// The flag is true when it is new (only then `device.pair.requested` is sent).
    pub fn request(&self, request: PairRequest, now_ms: u64) -> (PendingRequest, bool) {
        let _ = (request, now_ms);
        Default::default()
    }

    /// Turns a request into a paired device and issues a token for the requested role with `token_scopes` (`None`: the scopes asked for).
    pub fn approve(
        &self,
        request_id: &str,
        token_scopes: Option<Vec<String>>,
        now_ms: u64,
    ) -> Result<PairedDevice, Refused> {
        let _ = (request_id, token_scopes, now_ms);
        Err(Refused::Unknown)
    }

    pub fn reject(&self, request_id: &str, now_ms: u64) -> Result<PendingRequest, Refused> {
        let _ = (request_id, now_ms);
        Err(Refused::Unknown)
    }

    /// The request as it stands, e.g. to check an approver's scopes against it.
    pub fn pending(&self, request_id: &str, now_ms: u64) -> Option<PendingRequest> {
        let _ = (request_id, now_ms);
        None
    }

    /// Forgets the device, its tokens and its request; its epoch changes.
    pub fn remove(&self, device_id: &str) -> Result<(), Refused> {
        let _ = device_id;
        Err(Refused::Unknown)
    }

    /// `openclaw devices clear`: forgets all devices; returns their ids.
    pub fn clear(&self) -> Vec<String> {
        Vec::new()
    }

    /// Metadata of a connect; written *soon*, and not at all when nothing differs. Returns whether something did.
    pub fn refresh(&self, device_id: &str, refresh: Refresh) -> bool {
        let _ = (device_id, refresh);
        false
    }

    /// Constant-time check of a presented token. Notes the time of use in memory.
    pub fn verify_token(&self, device_id: &str, role: &str, token: &str, now_ms: u64) -> TokenCheck {
        let _ = (device_id, role, token, now_ms);
        TokenCheck::Invalid
    }

    /// The token a connect returns: the one in force if it is valid and `covers` accepts its scopes, else a new one with exactly `scopes`.
    /// `Unknown` when the device is not paired for that role.
    pub fn ensure_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: &[String],
        covers: &dyn Fn(&[String]) -> bool,
        now_ms: u64,
    ) -> Result<DeviceToken, Refused> {
        let _ = (device_id, role, scopes, covers, now_ms);
        Err(Refused::Unknown)
    }

    /// A new token with these scopes (already decided); the old one is void and the epoch changes. `Unknown` for a role that was never approved.
    pub fn rotate_token(
        &self,
        device_id: &str,
        role: &str,
        scopes: Vec<String>,
        now_ms: u64,
    ) -> Result<DeviceToken, Refused> {
        let _ = (device_id, role, scopes, now_ms);
        Err(Refused::Unknown)
    }

    /// Returns `revokedAtMs`.
    pub fn revoke_token(&self, device_id: &str, role: &str, now_ms: u64) -> Result<u64, Refused> {
        let _ = (device_id, role, now_ms);
        Err(Refused::Unknown)
    }

    /// Payload of `device.pair.list`: `{pending:[…],paired:[…]}` without secrets, newest first.
    pub fn list(&self, now_ms: u64) -> serde_json::Value {
        let _ = now_ms;
        serde_json::Value::Null
    }

    /// Writes what waits (metadata, times of use).
    pub fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A device without its token texts, as `device.pair.list` and `.approve` show it.
pub fn public_view(device: &PairedDevice) -> serde_json::Value {
    let _ = device;
    serde_json::Value::Null
}
