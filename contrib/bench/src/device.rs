//! A paired device: an ed25519 key and the signature that `connect` wants.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::ws::{CLIENT_ID, CLIENT_MODE, ROLE, SCOPES};

pub struct Device {
    key: Ed25519KeyPair,
    id: String,
    public: String,
}

impl Device {
    /// A device of its own for each `seed`; the same seed gives the same device.
    pub fn from_seed(seed: u8) -> Device {
        let bytes = [seed.wrapping_add(1); 32];
        let key = Ed25519KeyPair::from_seed_unchecked(&bytes).expect("32 bytes are a seed");
        let public = key.public_key().as_ref();
        let hash = digest::digest(&digest::SHA256, public);
        let id = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let public = URL_SAFE_NO_PAD.encode(public);
        Device { key, id, public }
    }

    /// The `device` object of `connect`, signed in the third form of the payload. `ts` is the challenge's.
    pub fn sign(&self, token: &str, nonce: &str, ts: u64) -> String {
        let payload =
            format!("v3|{}|{CLIENT_ID}|{CLIENT_MODE}|{ROLE}|{}|{ts}|{token}|{nonce}|linux|", self.id, SCOPES.join(","));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(payload.as_bytes()));
        format!(
            "{{\"id\":\"{}\",\"publicKey\":\"{}\",\"signature\":\"{signature}\",\"signedAt\":{ts},\"nonce\":\"{nonce}\"}}",
            self.id, self.public
        )
    }
}
