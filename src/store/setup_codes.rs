//! One-time tokens of setup codes: `devices/bootstrap.json`, in the reference's shape.
//!
//! The command `openclaw qr` writes a token there, the gateway reads the file when somebody shows one: there is no copy in
//! memory, so neither has to tell the other. Every change happens under `bootstrap.json.lock` on a file that was just
//! read, and is on disk before the call returns. A wrong token costs one small read and no lock.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::atomic;
use super::device_record::secret_text;
use super::lock::FileLock;
use crate::policy::setup_code::Grant;
use crate::protocol::roles::{Role, Scopes};
use crate::secret::Secret;
use crate::{ids, limits};

/// A change takes milliseconds: a lock of a living process older than this is abandoned.
const LOCK_STALE: Duration = Duration::from_secs(10);
/// Pause between two looks at a lock that is held.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The tokens in force. Clones share the same file.
#[derive(Clone)]
pub struct SetupCodes {
    path: PathBuf,
    /// The lock file keeps other processes out, this our own threads. Held while a small file is written: only who shows
    /// a token that exists waits for it.
    gate: Arc<Mutex<()>>,
}

/// Who shows a token, and what for. The device's signature has been verified.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    pub device_id: &'a str,
    /// base64url.
    pub public_key: &'a str,
    pub role: Role,
    pub scopes: &'a Scopes,
}

/// By name in the file: the token's text, or any other.
type Records = Vec<(String, Record)>;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Record {
    #[serde(with = "secret_text")]
    token: Secret,
    ts: u64,
    issued_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
    /// The device that it belongs to: the first one that showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    /// What that device asked for with it; it cannot ask for more later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_profile: Option<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at_ms: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Profile {
    roles: Vec<String>,
    scopes: Vec<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

impl SetupCodes {
    pub fn open(state: &Path) -> SetupCodes {
        SetupCodes { path: state.join("devices").join("bootstrap.json"), gate: Arc::default() }
    }

    /// A new token for one phone, good for `limits::SETUP_CODE_TTL`.
    pub fn issue(&self, now_ms: u64) -> io::Result<Secret> {
        let token = ids::base64url(&ids::random_bytes::<32>());
        let record = Record {
            token: Secret::new(token.clone()),
            ts: now_ms,
            issued_at_ms: now_ms,
            profile: Some(Profile::of(&Grant::phone())),
            ..Record::default()
        };
        self.change(now_ms, |records| {
            while records.len() >= limits::SETUP_CODES {
                let oldest = (0..records.len()).min_by_key(|i| records[*i].1.ts).expect("there are some");
                records.remove(oldest);
            }
            records.push((token.clone(), record));
        })?;
        Ok(Secret::new(token))
    }

    /// Binds the token to the device that shows it; what it is worth. None: unknown, over, another device's, or not good
    /// for what is asked.
    pub fn claim(&self, token: &str, shown: &Shown, now_ms: u64) -> Option<Grant> {
        let known = self.read().map(|records| find(&in_force(records, now_ms), token).is_some());
        let claimed = match known {
            Ok(true) => self.change(now_ms, |records| {
                let at = find(records, token)?;
                records[at].1.claim(shown, now_ms)
            }),
            Ok(false) => Ok(None),
            Err(e) => Err(e),
        };
        claimed.unwrap_or_else(|e| {
            log::warn!(target: "store", "cannot look up a setup code in {}: {e}", self.path.display());
            None
        })
    }

    /// The token has let its device in and is good for nothing any more.
    pub fn spend(&self, token: &str, now_ms: u64) {
        self.forget(now_ms, |records| find(records, token).map(|at| records.remove(at)));
    }

    /// Somebody decided against the device: what it holds lets it in no more.
    pub fn revoke_of(&self, device_id: &str, now_ms: u64) {
        let bound = |record: &Record| record.device_id.as_deref() == Some(device_id);
        if self.read().is_ok_and(|records| records.iter().any(|(_, record)| bound(record))) {
            self.forget(now_ms, |records| records.retain(|(_, record)| !bound(record)));
        }
    }

    fn forget<T>(&self, now_ms: u64, change: impl FnOnce(&mut Records) -> T) {
        if let Err(e) = self.change(now_ms, change) {
            log::warn!(target: "store", "cannot take a setup code out of {}: {e}", self.path.display());
        }
    }

    /// Reads, drops what is over, changes, and writes if that made a difference.
    fn change<T>(&self, now_ms: u64, change: impl FnOnce(&mut Records) -> T) -> io::Result<T> {
        let _ours = self.gate.lock();
        atomic::create_dirs(atomic::parent(&self.path))?;
        let _everybodys = self.lock(now_ms)?;
        let before = match self.read() {
            Err(e) if matches!(e.kind(), io::ErrorKind::InvalidData | io::ErrorKind::FileTooLarge) => {
                atomic::set_aside_corrupt(&self.path, now_ms);
                Records::new()
            }
            read => read?,
        };
        let mut records = in_force(before.clone(), now_ms);
        let done = change(&mut records);
        if records != before {
            atomic::write(&self.path, &print(&records))?;
        }
        Ok(done)
    }

    fn lock(&self, now_ms: u64) -> io::Result<FileLock> {
        let deadline = Instant::now() + limits::SETUP_CODE_LOCK;
        loop {
            if let Some(lock) = FileLock::try_take(&self.path, LOCK_STALE, now_ms)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "another process keeps it locked"));
            }
            thread::sleep(LOCK_PAUSE);
        }
    }

    fn read(&self) -> io::Result<Records> {
        let bytes = match atomic::read_limited(&self.path, limits::STATE_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Records::new()),
            Err(e) => return Err(e),
        };
        let map: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        // What is no record has no age and counts as over.
        Ok(map.into_iter().filter_map(|(name, value)| Some((name, Record::deserialize(value).ok()?))).collect())
    }
}

impl Record {
    fn claim(&mut self, shown: &Shown, now_ms: u64) -> Option<Grant> {
        // The release that we follow wrote no profile: its codes were for phones, too.
        let grant = self.profile.as_ref().map_or_else(Grant::phone, |p| Grant::of(&p.roles, &p.scopes));
        let is = |bound: &Option<String>, shown: &str| bound.as_deref().is_none_or(|bound| bound == shown);
        let same_device = is(&self.device_id, shown.device_id) && is(&self.public_key, shown.public_key);
        if !same_device || !grant.allows(shown.role, shown.scopes) {
            return None;
        }
        let role = shown.role.name();
        let mut asked = self.pending_profile.clone().unwrap_or_default();
        if asked.roles.iter().any(|known| known == role) {
            let before = Scopes::new(&asked.scopes);
            // Only operators have scopes here, so what was asked before was asked for this role.
            let same = shown.role == Role::Node || before.sorted() == shown.scopes.sorted();
            return same.then_some(grant);
        }
        asked.roles.push(role.to_owned());
        asked.scopes.extend(shown.scopes.sorted().iter().map(str::to_owned));
        self.pending_profile = Some(asked);
        self.device_id = Some(shown.device_id.to_owned());
        self.public_key = Some(shown.public_key.to_owned());
        self.last_used_at_ms = Some(now_ms);
        Some(grant)
    }
}

impl Profile {
    fn of(grant: &Grant) -> Profile {
        Profile {
            roles: grant.roles().iter().map(|role| role.name().to_owned()).collect(),
            scopes: grant.scopes_of(Role::Operator).iter().map(str::to_owned).collect(),
            rest: Map::new(),
        }
    }
}

/// Those that are not over. One from the future counts as over, too: a clock that was set back must not make it last.
fn in_force(mut records: Records, now_ms: u64) -> Records {
    let ttl = limits::SETUP_CODE_TTL.as_millis() as u64;
    records.retain(|(_, record)| now_ms.abs_diff(record.ts.max(record.issued_at_ms)) <= ttl);
    records
}

/// Compared with every one, so that the time does not tell where the right one stands.
fn find(records: &Records, token: &str) -> Option<usize> {
    let token = token.trim();
    let mut found = None;
    for (at, (name, record)) in records.iter().enumerate() {
        let held = if record.token.is_empty() { &Secret::new(name.clone()) } else { &record.token };
        if held.matches(token) {
            found = Some(at);
        }
    }
    found.filter(|_| !token.is_empty())
}

fn print(records: &Records) -> Vec<u8> {
    let value = |record| serde_json::to_value(record).expect("records are plain data with string keys");
    let all: Map<String, Value> = records.iter().map(|(name, record)| (name.clone(), value(record))).collect();
    let mut bytes = serde_json::to_vec_pretty(&all).expect("a JSON value can always be printed");
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::atomic::tests::TempDir;
    use super::*;
    use crate::protocol::roles::{ADMIN, READ, WRITE};

    const NOW: u64 = 1_795_204_203_733;
    const TTL: u64 = limits::SETUP_CODE_TTL.as_millis() as u64;
    const NODE: (Role, &[&str]) = (Role::Node, &[]);
    const READER: (Role, &[&str]) = (Role::Operator, &[READ]);

    fn claim(codes: &SetupCodes, token: &str, device: &str, (role, scopes): (Role, &[&str]), now_ms: u64) -> bool {
        let scopes = Scopes::new(scopes);
        let shown = Shown { device_id: device, public_key: &format!("key of {device}"), role, scopes: &scopes };
        codes.claim(token, &shown, now_ms).is_some()
    }

    fn file(dir: &TempDir) -> Value {
        serde_json::from_slice(&fs::read(dir.join("devices/bootstrap.json")).unwrap()).unwrap()
    }

    #[test]
    fn the_file_is_the_references() {
        let dir = TempDir::new("setup-codes");
        let codes = SetupCodes::open(dir.path());
        let token = codes.issue(NOW).unwrap();
        let token = token.expose();
        assert_eq!(token.len(), 43);
        let scopes = json!(["operator.approvals", "operator.read", "operator.talk.secrets", "operator.write"]);
        let profile = json!({"roles": ["node", "operator"], "scopes": scopes});
        let record = json!({"token": token, "ts": NOW, "issuedAtMs": NOW, "profile": profile});
        assert_eq!(file(&dir), json!({token: record}));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = |name: &str| fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode("devices/bootstrap.json"), mode("devices")), (0o600, 0o700));
        }
        assert!(claim(&codes, &format!(" {token} "), "d1", READER, NOW + 5));
        let bound = &file(&dir)[token];
        assert_eq!((&bound["deviceId"], &bound["publicKey"]), (&json!("d1"), &json!("key of d1")));
        assert_eq!(bound["pendingProfile"], json!({"roles": ["operator"], "scopes": ["operator.read"]}));
        assert_eq!(bound["lastUsedAtMs"], NOW + 5);
        codes.spend(token, NOW + 6);
        assert_eq!(file(&dir), json!({}));
        assert!(!dir.join("devices/bootstrap.json.lock").exists());
    }

    #[test]
    fn the_first_device_and_nobody_else() {
        let dir = TempDir::new("setup-codes-first");
        let codes = SetupCodes::open(dir.path());
        let token = codes.issue(NOW).unwrap();
        let token = token.expose();
        for (case, shown, device, what, at, good) in [
            ("another token", "x", "d1", NODE, NOW, false),
            ("no token", " ", "d1", NODE, NOW, false),
            ("more than it is worth", token, "d1", (Role::Operator, &[ADMIN][..]), NOW, false),
            ("the first device", token, "d1", READER, NOW, true),
            ("again", token, "d1", READER, NOW + 1, true),
            ("another device", token, "d2", READER, NOW, false),
            ("more than it asked for", token, "d1", (Role::Operator, &[READ, WRITE]), NOW, false),
            ("less", token, "d1", (Role::Operator, &[]), NOW, false),
            ("its other role", token, "d1", NODE, NOW, true),
            ("its last moment", token, "d1", NODE, NOW + TTL, true),
            ("a clock that was set back", token, "d1", NODE, NOW - TTL - 1, false),
        ] {
            assert_eq!(claim(&codes, shown, device, what, at), good, "{case}");
        }
        assert!(!claim(&codes, token, "d1", NODE, NOW + TTL + 1), "over");
        codes.spend(token, NOW);
        assert!(!claim(&codes, token, "d1", NODE, NOW), "spent");
    }

    #[test]
    fn records_of_the_reference() {
        let dir = TempDir::new("setup-codes-reference");
        fs::create_dir_all(dir.join("devices")).unwrap();
        let path = dir.join("devices/bootstrap.json");
        let write = |value: Value| fs::write(&path, value.to_string()).unwrap();
        let codes = SetupCodes::open(dir.path());
        let key_only = json!({"issuedAtMs": NOW, "ts": NOW});
        let narrow = json!({"token": "n", "issuedAtMs": NOW, "profile": {"roles": ["node"], "scopes": [], "purpose": "p"}, "new": 1});
        let old = json!({"token": "o", "ts": NOW - TTL - 1, "issuedAtMs": NOW - TTL - 1});
        write(json!({"k": key_only, "id": narrow, "o": old, "bad": 7}));
        assert!(!claim(&codes, "o", "d", NODE, NOW));
        assert!(!claim(&codes, "id", "d", NODE, NOW), "the name counts only without a token");
        assert!(!claim(&codes, "n", "d", READER, NOW), "a node's token");
        assert!(claim(&codes, "n", "d", NODE, NOW) && claim(&codes, "k", "d", READER, NOW));
        let after = file(&dir);
        assert_eq!(after.as_object().unwrap().keys().collect::<Vec<_>>(), ["k", "id"], "what is over has gone");
        assert_eq!((&after["id"]["new"], &after["id"]["profile"]["purpose"]), (&json!(1), &json!("p")));
        fs::write(&path, "{").unwrap();
        assert!(!claim(&codes, "n", "d", NODE, NOW));
        let token = codes.issue(NOW).unwrap();
        assert!(claim(&codes, token.expose(), "d", NODE, NOW), "a damaged file is set aside");
        codes.revoke_of("other", NOW);
        assert!(claim(&codes, token.expose(), "d", NODE, NOW));
        codes.revoke_of("d", NOW);
        assert!(!claim(&codes, token.expose(), "d", NODE, NOW));
        for n in 0..limits::SETUP_CODES as u64 + 2 {
            codes.issue(NOW + n).unwrap();
        }
        assert_eq!(file(&dir).as_object().unwrap().len(), limits::SETUP_CODES);
    }

    #[test]
    fn of_many_at_once_one_wins_and_no_token_is_lost() {
        let dir = TempDir::new("setup-codes-race");
        // Two owners of one file, as two processes have it, would share a pid here: one store, many threads.
        let codes = SetupCodes::open(dir.path());
        let token = codes.issue(NOW).unwrap();
        let won = thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|n| {
                    let (codes, token) = (&codes, &token);
                    scope.spawn(move || {
                        codes.issue(NOW).unwrap();
                        claim(codes, token.expose(), &format!("d{n}"), NODE, NOW)
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!((won, file(&dir).as_object().unwrap().len()), (1, 9));
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_of_another_process_is_waited_for() {
        let dir = TempDir::new("setup-codes-lock");
        let codes = SetupCodes::open(dir.path());
        codes.issue(NOW).unwrap();
        let lock = dir.join("devices/bootstrap.json.lock");
        let parent = std::os::unix::process::parent_id();
        fs::write(&lock, format!("{{\"pid\":{parent}}}")).unwrap();
        let free = lock.clone();
        let other = thread::spawn(move || {
            thread::sleep(LOCK_PAUSE * 5);
            fs::remove_file(free).unwrap();
        });
        codes.issue(NOW).unwrap();
        other.join().unwrap();
        assert_eq!(file(&dir).as_object().unwrap().len(), 2);
        fs::write(&lock, format!("{{\"pid\":{parent}}}")).unwrap();
        assert_eq!(codes.issue(NOW).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(file(&dir).as_object().unwrap().len(), 2);
    }
}
