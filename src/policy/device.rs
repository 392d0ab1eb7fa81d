//! Device identity: is this client the holder of the key it names (protocol 2.4).

use crate::protocol::ErrorShape;
use crate::protocol::connect::{Client, DeviceClaim};
use crate::protocol::roles::{Role, Scopes};
use crate::secret::Secret;

/// What the store knows about a paired device.
#[derive(Clone, Copy, Debug)]
pub struct PairedDevice<'a> {
    /// base64url.
    pub public_key: &'a str,
    /// Roles that were approved.
    pub roles: &'a [String],
    /// Scopes that were approved, the baseline of every token.
    pub scopes: &'a Scopes,
    pub platform: Option<&'a str>,
    pub device_family: Option<&'a str>,
    /// The token of the role at hand.
    pub token: Option<TokenView<'a>>,
}

#[derive(Clone, Copy, Debug)]
pub struct TokenView<'a> {
    pub token: &'a Secret,
    pub scopes: &'a Scopes,
    pub revoked: bool,
}

/// A device whose signature was right. Only [`verify`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedDevice {
    id: String,
    public_key: String,
}

impl VerifiedDevice {
    pub fn id(&self) -> &str {
        &self.id
    }

    /// base64url without padding.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }
}

/// What the signature covers and what time it is.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    pub nonce: &'a str,
    /// The `ts` of the challenge.
    pub ts_ms: u64,
    pub now_ms: u64,
}

pub fn verify(
    claim: &DeviceClaim,
    client: &Client,
    role: Role,
    scopes: &[String],
    token: &str,
    challenge: Challenge,
) -> Result<VerifiedDevice, ErrorShape> {
    let _ = (claim, client, role, scopes, token, challenge);
    Err(ErrorShape::invalid("device signature invalid"))
}

/// The raw 32 bytes of a key in base64url, base64 or PEM (SPKI).
pub fn read_public_key(text: &str) -> Option<[u8; 32]> {
    let _ = text;
    None
}
