//! Device identity: is this client the holder of the key it names (protocol 2.4).

use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::json;

use crate::ids;
use crate::limits;
use crate::protocol::ErrorShape;
use crate::protocol::connect::{Client, DeviceClaim, DevicePayload};
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

impl PairedDevice<'_> {
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|approved| approved == role)
    }
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
    /// The `ts` of the challenge: a client without a clock of its own signs that.
    pub ts_ms: u64,
    pub now_ms: u64,
}

/// What the device has signed beside its own fields.
#[derive(Clone, Copy, Debug)]
pub struct SignedFields<'a> {
    pub client: &'a Client,
    pub role: Role,
    /// As sent, in that order.
    pub scopes: &'a [String],
    /// `ConnectAuth::signed_token`.
    pub token: &'a str,
}

/// The checks in their order, first failure wins.
pub fn verify(claim: &DeviceClaim, fields: SignedFields, challenge: Challenge) -> Result<VerifiedDevice, ErrorShape> {
    // A key that cannot be read has no id that could match.
    let key = read_public_key(&claim.public_key)
        .filter(|key| ids::sha256_hex(key) == claim.id)
        .ok_or_else(|| failed(Failure::IdMismatch))?;
    if !is_fresh(claim.signed_at, challenge) {
        return Err(failed(Failure::Expired));
    }
    let nonce = claim.nonce.trim();
    if nonce.is_empty() {
        return Err(failed(Failure::NonceMissing));
    }
    if nonce != challenge.nonce {
        return Err(failed(Failure::NonceMismatch));
    }
    let client = fields.client;
    let payload = DevicePayload {
        device_id: &claim.id,
        client_id: &client.id,
        client_mode: &client.mode,
        role: fields.role,
        scopes: fields.scopes,
        signed_at_ms: claim.signed_at,
        token: fields.token,
        nonce,
        platform: &client.platform,
        device_family: client.device_family.as_deref().unwrap_or_default(),
    };
    let signature = ids::decode_base64(&claim.signature).unwrap_or_default();
    let key_holder = UnparsedPublicKey::new(&ED25519, &key);
    let signed = |text: String| key_holder.verify(text.as_bytes(), &signature).is_ok();
    if !signed(payload.v3()) && !signed(payload.v2()) {
        return Err(failed(Failure::Signature));
    }
    Ok(VerifiedDevice { id: claim.id.clone(), public_key: ids::base64url(&key) })
}

fn is_fresh(signed_at: u64, challenge: Challenge) -> bool {
    let skew = u64::try_from(limits::SIGNATURE_SKEW.as_millis()).expect("two minutes fit");
    signed_at.abs_diff(challenge.now_ms) <= skew || signed_at.abs_diff(challenge.ts_ms) <= skew
}

#[derive(Clone, Copy)]
enum Failure {
    IdMismatch,
    Expired,
    NonceMissing,
    NonceMismatch,
    Signature,
}

fn failed(failure: Failure) -> ErrorShape {
    let (message, code, reason) = match failure {
        Failure::IdMismatch => ("device identity mismatch", "DEVICE_AUTH_DEVICE_ID_MISMATCH", "device-id-mismatch"),
        Failure::Expired => ("device signature expired", "DEVICE_AUTH_SIGNATURE_EXPIRED", "device-signature-stale"),
        Failure::NonceMissing => ("device nonce required", "DEVICE_AUTH_NONCE_REQUIRED", "device-nonce-missing"),
        Failure::NonceMismatch => ("device nonce mismatch", "DEVICE_AUTH_NONCE_MISMATCH", "device-nonce-mismatch"),
        Failure::Signature => ("device signature invalid", "DEVICE_AUTH_SIGNATURE_INVALID", "device-signature"),
    };
    ErrorShape::invalid(message).details(json!({"code": code, "reason": reason}))
}

/// DER in front of the 32 bytes of an ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The raw 32 bytes of a key in base64url, base64 or PEM (SPKI).
pub fn read_public_key(text: &str) -> Option<[u8; 32]> {
    if !text.contains("BEGIN") {
        return ids::decode_base64(text)?.try_into().ok();
    }
    let body: String = text.lines().map(str::trim).filter(|line| !line.contains("-----")).collect();
    ids::decode_base64(&body)?.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::ErrorCode;
    use crate::protocol::roles::ALL_OPERATOR;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    const NONCE: &str = "6e6cf760-3498-43eb-8d0b-610b495beca2";
    const NOW: u64 = 1_795_203_837_067;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn client() -> Client {
        Client {
            id: "test".into(),
            version: "1.0.0".into(),
            platform: " Linux".into(),
            mode: "test".into(),
            device_family: Some("RasPi".into()),
            ..Client::default()
        }
    }

    fn scopes() -> Vec<String> {
        ALL_OPERATOR.map(String::from).to_vec()
    }

    fn claim(version: &str, change: impl FnOnce(&mut DeviceClaim)) -> DeviceClaim {
        let key = pair();
        let mut claim = DeviceClaim {
            id: ids::sha256_hex(key.public_key().as_ref()),
            public_key: ids::base64url(key.public_key().as_ref()),
            signature: String::new(),
            signed_at: NOW,
            nonce: NONCE.into(),
        };
        change(&mut claim);
        let scopes = scopes().join(",");
        let (id, signed_at, nonce) = (&claim.id, claim.signed_at, &claim.nonce);
        let text = match version {
            "v2" => format!("v2|{id}|test|test|operator|{scopes}|{signed_at}|tok|{nonce}"),
            _ => format!("v3|{id}|test|test|operator|{scopes}|{signed_at}|tok|{nonce}|linux|raspi"),
        };
        if claim.signature.is_empty() {
            claim.signature = ids::base64url(key.sign(text.as_bytes()).as_ref());
        }
        claim
    }

    fn judge(claim: &DeviceClaim, now_ms: u64, ts_ms: u64) -> Result<VerifiedDevice, ErrorShape> {
        let (client, scopes) = (client(), scopes());
        let fields = SignedFields { client: &client, role: Role::Operator, scopes: &scopes, token: "tok" };
        verify(claim, fields, Challenge { nonce: NONCE, ts_ms, now_ms })
    }

    #[test]
    fn both_payloads_and_all_spellings_of_a_key_are_accepted() {
        for version in ["v2", "v3"] {
            let device = judge(&claim(version, |_| ()), NOW, NOW).unwrap();
            assert_eq!(device.id(), claim(version, |_| ()).id);
        }
        let raw = pair().public_key().as_ref().to_vec();
        let der = [&SPKI_PREFIX[..], &raw].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}==\n-----END PUBLIC KEY-----\n", ids::base64url(&der));
        for text in
            [pem, format!("{}=", ids::base64url(&raw)), ids::base64url(&raw).replace('-', "+").replace('_', "/")]
        {
            let device = judge(&claim("v3", |claim| claim.public_key = text.clone()), NOW, NOW).unwrap();
            assert_eq!(device.public_key(), ids::base64url(&raw), "{text}");
        }
        let standard = |claim: DeviceClaim| DeviceClaim {
            signature: format!("{}==", claim.signature.replace('-', "+").replace('_', "/")),
            ..claim
        };
        assert!(judge(&standard(claim("v3", |_| ())), NOW, NOW).is_ok());
    }

    #[test]
    fn a_recorded_device_key_gives_its_recorded_id() {
        let key = read_public_key("5NmyXS-7CagpR2bvUIPVLfQCnON4TvjBoO_9w9FKHVs").unwrap();
        assert_eq!(ids::sha256_hex(&key), "3e6a33db632a9c016c26a1c84762f59bc970c631725016fbbb079292663c668a");
    }

    #[test]
    fn a_recorded_signature_is_right() {
        // v2 payload of a client that showed no token.
        let claim = DeviceClaim {
            id: "3e6a33db632a9c016c26a1c84762f59bc970c631725016fbbb079292663c668a".into(),
            public_key: "5NmyXS-7CagpR2bvUIPVLfQCnON4TvjBoO_9w9FKHVs".into(),
            signature: "FfXPWNF7QR22CTWltCWvbTfWh5c4Q38PQE0hLEWT2adMGXPf62zk4GnTYS8MiGZ4swR9z0f2DD6abGN_J_6XAw".into(),
            signed_at: NOW,
            nonce: NONCE.into(),
        };
        let client = Client { platform: "linux".into(), device_family: None, ..client() };
        let scopes = scopes();
        let fields = SignedFields { client: &client, role: Role::Operator, scopes: &scopes, token: "" };
        assert!(verify(&claim, fields, Challenge { nonce: NONCE, ts_ms: NOW - 1, now_ms: NOW }).is_ok());
        let other = SignedFields { token: "x", ..fields };
        assert!(verify(&claim, other, Challenge { nonce: NONCE, ts_ms: NOW, now_ms: NOW }).is_err());
    }

    #[test]
    fn refusals_in_their_order() {
        let late = NOW - 121_000;
        type Change = fn(&mut DeviceClaim);
        let cases: [(&str, Change, &str, &str); 9] = [
            ("device identity mismatch", |c| c.id = "ab".repeat(32), "DEVICE_ID_MISMATCH", "device-id-mismatch"),
            ("device identity mismatch", |c| c.public_key = "!!!".into(), "DEVICE_ID_MISMATCH", "device-id-mismatch"),
            ("device identity mismatch", |c| c.id = c.id.to_uppercase(), "DEVICE_ID_MISMATCH", "device-id-mismatch"),
            (
                "device signature expired",
                |c| c.signed_at = NOW - 121_000,
                "SIGNATURE_EXPIRED",
                "device-signature-stale",
            ),
            (
                "device signature expired",
                |c| c.signed_at = NOW + 121_000,
                "SIGNATURE_EXPIRED",
                "device-signature-stale",
            ),
            ("device nonce required", |c| c.nonce = "  ".into(), "NONCE_REQUIRED", "device-nonce-missing"),
            ("device nonce mismatch", |c| c.nonce = "0000".into(), "NONCE_MISMATCH", "device-nonce-mismatch"),
            ("device signature invalid", |c| c.signature = "AAAA".into(), "SIGNATURE_INVALID", "device-signature"),
            ("device signature invalid", |c| c.signature = "%".into(), "SIGNATURE_INVALID", "device-signature"),
        ];
        for (message, change, code, reason) in cases {
            let error = judge(&claim("v3", change), NOW, NOW).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (ErrorCode::InvalidRequest, message));
            assert_eq!(error.details, Some(json!({"code": format!("DEVICE_AUTH_{code}"), "reason": reason})));
        }
        let both = claim("v3", |c| (c.signed_at, c.nonce) = (late, "x".into()));
        assert_eq!(judge(&both, NOW, NOW).unwrap_err().message, "device signature expired");
    }

    #[test]
    fn skew_is_measured_against_the_clock_or_the_challenge() {
        let claim = claim("v3", |_| ());
        for (now, ts, fresh) in [
            (NOW + 120_000, 0, true),
            (NOW + 120_001, 0, false),
            (0, NOW + 120_000, true),
            (NOW - 120_000, 0, true),
            (0, 0, false),
        ] {
            assert_eq!(judge(&claim, now, ts).is_ok(), fresh, "{now} {ts}");
        }
    }

    #[test]
    fn what_was_signed_cannot_be_changed() {
        let claim = claim("v3", |_| ());
        let (plain, asked) = (client(), scopes());
        let good = SignedFields { client: &plain, role: Role::Operator, scopes: &asked, token: "tok" };
        let challenge = Challenge { nonce: NONCE, ts_ms: NOW, now_ms: NOW };
        let other_platform = Client { platform: "android".into(), ..client() };
        let fewer = &asked[..2];
        assert!(verify(&claim, good, challenge).is_ok());
        for (what, fields) in [
            ("role", SignedFields { role: Role::Node, ..good }),
            ("scopes", SignedFields { scopes: fewer, ..good }),
            ("token", SignedFields { token: "tok2", ..good }),
            ("platform", SignedFields { client: &other_platform, ..good }),
        ] {
            assert!(verify(&claim, fields, challenge).is_err(), "{what}");
        }
    }

    #[test]
    fn keys_that_are_none() {
        for bad in ["", "AAAA", "-----BEGIN PUBLIC KEY-----", "BEGIN", "-----BEGIN X-----\nAAAA\n-----END X-----"] {
            assert_eq!(read_public_key(bad), None, "{bad}");
        }
    }
}
