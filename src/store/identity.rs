//! This state directory's own device: an ed25519 key for gateway and CLI (DECISIONS 36), and the tokens it was given (37).
//!
//! Any thread or process; whoever needs the key first creates it. No key text is ever logged.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::atomic::{self, Staged};
use crate::secret::Secret;
use crate::{ids, limits, sort};

/// PKCS#8 version 0 around a 32-byte seed, without the public part.
const PRIVATE_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
/// SubjectPublicKeyInfo around the 32 bytes of the public key.
const PUBLIC_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
/// Algorithm and key header inside PKCS#8, the same in version 0 and 1.
const SEED_MARK: [u8; 11] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// The key pair of `<state>/identity/device.json`.
pub struct Identity {
    device_id: String,
    keys: Ed25519KeyPair,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityFile {
    version: u32,
    device_id: String,
    public_key_pem: String,
    private_key_pem: String,
    created_at_ms: u64,
}

impl Identity {
    /// Reads the identity, or creates it 0600; two processes that do so at once end up with the same one.
    pub fn load_or_create(state: &Path, now_ms: u64) -> io::Result<Identity> {
        let path = state.join("identity").join("device.json");
        match atomic::read_limited(&path, limits::STATE_FILE_BYTES) {
            Ok(bytes) => match parse_identity(&bytes) {
                Some(identity) => return Ok(identity),
                None => drop(atomic::set_aside_corrupt(&path, now_ms)),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        create(&path, now_ms)
    }

    /// Lower-case hex of the SHA-256 of the raw public key.
    pub fn device_id(&self) -> &str {
        &self.device_id
    }

    /// base64url of the raw 32 bytes.
    pub fn public_key(&self) -> String {
        ids::base64url(self.keys.public_key().as_ref())
    }

    /// base64url of the signature.
    pub fn sign(&self, payload: &str) -> String {
        ids::base64url(self.keys.sign(payload.as_bytes()).as_ref())
    }

    fn from_seed(seed: &[u8]) -> Option<Identity> {
        let keys = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        Some(Identity { device_id: ids::sha256_hex(keys.public_key().as_ref()), keys })
    }
}

fn create(path: &Path, now_ms: u64) -> io::Result<Identity> {
    atomic::sweep_temporary(atomic::parent(path));
    let seed = ids::random_bytes::<32>();
    let identity = Identity::from_seed(&seed).expect("any 32 bytes are an ed25519 seed");
    let file = IdentityFile {
        version: 1,
        device_id: identity.device_id.clone(),
        public_key_pem: pem("PUBLIC KEY", &[&PUBLIC_PREFIX, identity.keys.public_key().as_ref()].concat()),
        private_key_pem: pem("PRIVATE KEY", &[&PRIVATE_PREFIX[..], &seed].concat()),
        created_at_ms: now_ms,
    };
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    let staged = Staged::create(path)?;
    staged.file().write_all(&bytes)?;
    if staged.commit_new()? {
        return Ok(identity);
    }
    // Somebody else was faster: theirs is the identity.
    let bytes = atomic::read_limited(path, limits::STATE_FILE_BYTES)?;
    parse_identity(&bytes)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", path.display())))
}

/// Reads both forms of the private key: 48 bytes, and the longer one with the public part.
fn parse_identity(bytes: &[u8]) -> Option<Identity> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Stored {
        private_key_pem: String,
    }
    let stored: Stored = serde_json::from_slice(bytes).ok()?;
    let body: String =
        stored.private_key_pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = STANDARD.decode(body).ok()?;
    // 30 <length> 02 01 <version>, then the mark and the seed.
    let [0x30, _, 2, 1, 0 | 1, rest @ ..] = &der[..] else { return None };
    Identity::from_seed(rest.strip_prefix(&SEED_MARK)?.get(..32)?)
}

fn pem(label: &str, der: &[u8]) -> String {
    // Both keys fit in one line of 64 characters.
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// What a connect returned for one role.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredToken {
    pub token: Secret,
    pub role: String,
    pub scopes: Vec<String>,
    pub updated_at_ms: u64,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    version: u32,
    device_id: String,
    tokens: BTreeMap<String, AuthToken>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthToken {
    token: String,
    role: String,
    scopes: Vec<String>,
    updated_at_ms: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// The token that an earlier connect of this device stored for `role`.
pub fn stored_token(state: &Path, device_id: &str, role: &str) -> Option<StoredToken> {
    let mut file = read_auth(&auth_path(state)).ok()??;
    if file.device_id != device_id {
        return None;
    }
    let AuthToken { token, scopes, updated_at_ms, .. } = file.tokens.remove(role)?;
    (!token.is_empty()).then(|| StoredToken { token: Secret::new(token), role: role.to_owned(), scopes, updated_at_ms })
}

/// Stores (or with `None` drops) the token of `role` in `identity/device-auth.json`. An unchanged one is not written again.
pub fn store_token(
    state: &Path,
    device_id: &str,
    role: &str,
    token: Option<(&Secret, &[String])>,
    now_ms: u64,
) -> io::Result<()> {
    let path = auth_path(state);
    let mut file = match read_auth(&path)? {
        Some(file) if file.device_id == device_id => file,
        Some(_) => AuthFile::default(),
        None => {
            if path.exists() {
                atomic::set_aside_corrupt(&path, now_ms);
            }
            AuthFile::default()
        }
    };
    match token {
        Some((token, scopes)) => {
            let mut scopes = scopes.to_vec();
            sort::by(&mut scopes, Ord::cmp);
            scopes.dedup();
            if file.tokens.get(role).is_some_and(|old| old.token == token.expose() && old.scopes == scopes) {
                return Ok(());
            }
            let entry = file.tokens.entry(role.to_owned()).or_default();
            entry.token = token.expose().to_owned();
            role.clone_into(&mut entry.role);
            entry.scopes = scopes;
            entry.updated_at_ms = now_ms;
        }
        None => {
            if file.tokens.remove(role).is_none() {
                return Ok(());
            }
        }
    }
    file.version = 1;
    device_id.clone_into(&mut file.device_id);
    let mut bytes = serde_json::to_vec_pretty(&file)?;
    bytes.push(b'\n');
    atomic::write(&path, &bytes)
}

/// `None`: missing or damaged.
fn read_auth(path: &Path) -> io::Result<Option<AuthFile>> {
    match atomic::read_limited(path, limits::STATE_FILE_BYTES) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn auth_path(state: &Path) -> PathBuf {
    state.join("identity").join("device-auth.json")
}

/// Whether this state directory has an identity already; asks nothing and creates nothing.
pub fn exists(state: &Path) -> bool {
    fs::symlink_metadata(state.join("identity").join("device.json")).is_ok()
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::super::atomic::tests::TempDir;
    use super::*;
    use crate::sys::testing::Random;

    fn file(dir: &TempDir) -> PathBuf {
        dir.join("identity/device.json")
    }

    #[test]
    fn it_is_created_once_and_signs() {
        let dir = TempDir::new("identity");
        assert!(!exists(dir.path()));
        let made = Identity::load_or_create(dir.path(), 7).unwrap();
        let read = Identity::load_or_create(dir.path(), 8).unwrap();
        assert!(exists(dir.path()));
        assert_eq!((made.device_id(), made.public_key()), (read.device_id(), read.public_key()));
        let public = ids::decode_base64(&made.public_key()).unwrap();
        assert_eq!(made.device_id(), ids::sha256_hex(&public));
        let signature = ids::decode_base64(&read.sign("v3|x")).unwrap();
        UnparsedPublicKey::new(&ED25519, &public).verify(b"v3|x", &signature).unwrap();

        let stored: IdentityFile = serde_json::from_slice(&fs::read(file(&dir)).unwrap()).unwrap();
        assert_eq!((stored.version, stored.created_at_ms, &*stored.device_id), (1, 7, made.device_id()));
        // What the reference writes: 48 and 44 bytes of DER in one line.
        assert!(stored.private_key_pem.starts_with("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEI"));
        assert!(stored.private_key_pem.ends_with("\n-----END PRIVATE KEY-----\n"));
        assert!(stored.public_key_pem.starts_with("-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(file(&dir)).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn the_long_form_is_read_too() {
        let dir = TempDir::new("identity-long");
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).unwrap();
        let keys = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let stored = serde_json::json!({"version": 1, "privateKeyPem": pem("PRIVATE KEY", pkcs8.as_ref()).replace('\n', "\r\n")});
        fs::create_dir_all(dir.join("identity")).unwrap();
        fs::write(file(&dir), stored.to_string()).unwrap();
        let identity = Identity::load_or_create(dir.path(), 0).unwrap();
        assert_eq!(identity.public_key(), ids::base64url(keys.public_key().as_ref()));
    }

    #[test]
    fn those_who_race_get_the_same_one() {
        let dir = TempDir::new("identity-race");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let state = dir.path().to_owned();
                std::thread::spawn(move || Identity::load_or_create(&state, 0).unwrap().device_id().to_owned())
            })
            .collect();
        let mut seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        seen.dedup();
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!(fs::read_dir(dir.join("identity")).unwrap().count(), 1);
    }

    #[test]
    fn a_damaged_one_is_set_aside() {
        let dir = TempDir::new("identity-damaged");
        fs::create_dir_all(dir.join("identity")).unwrap();
        for (now, content) in [(1, &b""[..]), (2, &[0; 32]), (3, b"{\"privateKeyPem\":\"x\"}")] {
            fs::write(file(&dir), content).unwrap();
            Identity::load_or_create(dir.path(), now).unwrap();
            assert_eq!(fs::read(dir.join(&format!("identity/device.json.corrupt-{now}"))).unwrap(), content);
        }
    }

    #[test]
    fn tokens_are_kept_by_role() {
        let dir = TempDir::new("identity-tokens");
        let (a, b) = (Secret::new("a"), Secret::new("b"));
        let scopes = ["operator.write".to_owned(), "operator.admin".to_owned()];
        store_token(dir.path(), "me", "operator", Some((&a, &scopes)), 5).unwrap();
        let path = dir.join("identity/device-auth.json");
        assert_eq!(
            serde_json::from_slice::<Value>(&fs::read(&path).unwrap()).unwrap().to_string(),
            r#"{"version":1,"deviceId":"me","tokens":{"operator":{"token":"a","role":"operator","scopes":["operator.admin","operator.write"],"updatedAtMs":5}}}"#
        );
        store_token(dir.path(), "me", "node", Some((&b, &[])), 6).unwrap();
        let found = stored_token(dir.path(), "me", "operator").unwrap();
        assert_eq!((found.token, found.updated_at_ms), (a, 5));
        let written = fs::read(&path).unwrap();
        store_token(dir.path(), "me", "node", Some((&b, &[])), 7).unwrap();
        assert_eq!(fs::read(&path).unwrap(), written, "an unchanged token is not written again");
        assert_eq!(stored_token(dir.path(), "somebody", "operator"), None);
        store_token(dir.path(), "me", "operator", None, 8).unwrap();
        assert_eq!(stored_token(dir.path(), "me", "operator"), None);
        assert_eq!(stored_token(dir.path(), "me", "node").unwrap().token, b);
        fs::write(&path, "{").unwrap();
        assert_eq!(stored_token(dir.path(), "me", "node"), None);
        store_token(dir.path(), "me", "node", Some((&b, &[])), 9).unwrap();
        assert!(
            stored_token(dir.path(), "me", "node").is_some()
                && dir.join("identity/device-auth.json.corrupt-9").exists()
        );
    }

    #[test]
    fn mutated_identities_never_panic() {
        let dir = TempDir::new("identity-mutated");
        Identity::load_or_create(dir.path(), 0).unwrap();
        let original = fs::read(file(&dir)).unwrap();
        let mut random = Random(11);
        for _ in 0..2000 {
            let _ = parse_identity(&random.mutated(&original));
        }
    }
}
