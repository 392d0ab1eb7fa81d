//! The instance lock: one gateway per configuration file (cli 3.5, DECISIONS 93 and 94).
//!
//! Runs on `main`. The file is the one of the reference, which judges by pid, start time and port; on top of that we
//! hold an flock on it for as long as we live, so a killed gateway never leaves a live lock behind.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::spare_lock;
use crate::sys::{dirs, process};
use crate::{ids, limits};

/// Another starting gateway holds the flock for a moment while it judges an old lock.
const FLOCK_GRACE: Duration = Duration::from_millis(300);
const FLOCK_POLL: Duration = Duration::from_millis(20);
const PORT_PROBE: Duration = Duration::from_secs(1);

/// Held as long as it lives; `release` or drop removes the file.
#[derive(Debug)]
pub struct Lock {
    /// None with OPENCLAW_ALLOW_MULTI_GATEWAY.
    held: Option<(File, PathBuf)>,
    /// What is not as usual with it, for the log.
    pub warning: Option<String>,
}

impl Lock {
    pub fn path(&self) -> Option<&Path> {
        self.held.as_ref().map(|(_, path)| path.as_path())
    }

    pub fn release(self) {}
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Whatever stands at the path now may belong to another gateway.
        if let Some((file, path)) = &self.held
            && !path.is_dir()
            && is_at(file, path)
        {
            let _ = fs::remove_file(path);
        }
    }
}

#[derive(Debug)]
pub enum LockError {
    /// A live gateway owns the lock, or one that could not be judged in time. Exit 78 when supervised, else 1.
    Held { pid: Option<u32>, path: PathBuf, waited: bool },
    /// The directory or file cannot be used; `no_room`: for want of a disk that takes it.
    Unusable { path: PathBuf, reason: String, no_room: bool },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { pid, path, waited } => {
                f.write_str("gateway already running")?;
                if let Some(pid) = pid {
                    write!(f, " (pid {pid})")?;
                }
                if *waited {
                    write!(f, "; lock timeout after {}ms", limits::LOCK_WAIT.as_millis())
                } else {
                    write!(f, "; lock held: {}", path.display())
                }
            }
            LockError::Unusable { path, reason, .. } => {
                write!(f, "failed to acquire gateway lock at {} ({reason})", path.display())
            }
        }
    }
}

impl std::error::Error for LockError {}

/// Who stands in the lock of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// The pid still names the process that wrote the lock: it may be signalled.
    pub alive: bool,
    pub created_at: Option<String>,
    pub config_path: Option<String>,
    pub start_time: Option<u64>,
    pub lock_path: PathBuf,
}

/// The file's one JSON object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    pid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    start_time: Option<u64>,
}

/// `<tmp>/openclaw-<uid>/gateway.<first 8 hex of sha256(config path)>.lock`
pub fn lock_path(config_path: &Path) -> PathBuf {
    lock_path_in(&lock_dir(), config_path)
}

/// Takes the lock of a configuration file (absolute path). `port` is where the owner of an old lock would answer.
/// `allow_multi` = OPENCLAW_ALLOW_MULTI_GATEWAY is `1`: nothing is locked.
///
/// Returns at once unless the owner cannot be judged; then it waits `limits::LOCK_WAIT`.
pub fn acquire(config_path: &Path, port: u16, allow_multi: bool) -> Result<Lock, LockError> {
    if allow_multi {
        return Ok(Lock { held: None, warning: None });
    }
    acquire_in(&lock_dir(), config_path, port, limits::LOCK_WAIT)
}

/// Who holds the lock of this configuration, for `gateway stop|restart|status`. None without a readable lock.
pub fn owner(config_path: &Path) -> Option<Owner> {
    owner_in(&lock_dir(), config_path)
}

fn lock_dir() -> PathBuf {
    let name = process::uid().map_or_else(|| "openclaw".into(), |uid| format!("openclaw-{uid}"));
    std::env::temp_dir().join(name)
}

fn lock_path_in(dir: &Path, config_path: &Path) -> PathBuf {
    let digest = ids::sha256_hex(config_path.to_string_lossy().as_bytes());
    dir.join(format!("gateway.{}.lock", &digest[..8]))
}

fn owner_in(dir: &Path, config_path: &Path) -> Option<Owner> {
    let lock_path = lock_path_in(dir, config_path);
    let mut file = File::open(&lock_path).ok()?;
    let content = read_content(&mut file)?;
    let same_start = match (content.start_time, process::start_time(content.pid)) {
        (Some(then), Some(now)) => then == now,
        _ => process::command_line(content.pid).is_none_or(|arguments| process::is_gateway(&arguments)),
    };
    Some(Owner {
        pid: content.pid,
        alive: same_start && process::alive(content.pid),
        created_at: content.created_at,
        config_path: content.config_path,
        start_time: content.start_time,
        lock_path,
    })
}

fn acquire_in(dir: &Path, config_path: &Path, port: u16, wait: Duration) -> Result<Lock, LockError> {
    let held = |path: &Path| LockError::Held { pid: None, path: path.to_owned(), waited: false };
    let config_dir = config_path.parent().unwrap_or(config_path);
    if spare_lock::is_held(config_path) {
        return Err(held(config_dir));
    }
    match acquire_file(dir, config_path, port, wait) {
        Err(LockError::Unusable { path, reason, no_room: true }) => {
            let Some(spare) = spare_lock::open(config_path) else {
                return Err(LockError::Unusable { path, reason, no_room: true });
            };
            if !flock(&spare) {
                return Err(held(config_dir));
            }
            let warning =
                format!("no lock file: {}: {reason}; {} is locked in its place", path.display(), config_dir.display());
            Ok(Lock { held: Some((spare, config_dir.to_owned())), warning: Some(warning) })
        }
        other => other,
    }
}

fn acquire_file(dir: &Path, config_path: &Path, port: u16, wait: Duration) -> Result<Lock, LockError> {
    let path = lock_path_in(dir, config_path);
    let unusable = |reason: String, no_room| LockError::Unusable { path: path.clone(), reason, no_room };
    let failed = |error: io::Error| unusable(error.to_string(), spare_lock::is_needed(&error));
    // The name in /tmp is predictable: a directory of somebody else is not ours to use.
    dirs::make_usable(dir)
        .map_err(|reason| unusable(reason, dirs::create_private(dir).is_err_and(|e| spare_lock::is_needed(&e))))?;
    let deadline = Instant::now() + wait;
    loop {
        let (mut file, created) = match open(&path, true) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match open(&path, false) {
                Ok(file) => (file, false),
                // Removed in between.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(error)),
            },
            Err(error) => return Err(failed(error)),
        };
        if !flock(&file) {
            let pid = read_content(&mut file).map(|content| content.pid);
            return Err(LockError::Held { pid, path, waited: false });
        }
        // Another process may have removed the file between open and flock: then we locked nothing.
        if !is_at(&file, &path) {
            continue;
        }
        let content = read_content(&mut file);
        let verdict =
            if created { Verdict::Dead } else { judge(content.as_ref(), &look(content.as_ref(), &file, port)) };
        match verdict {
            Verdict::Alive => {
                return Err(LockError::Held { pid: content.map(|content| content.pid), path, waited: false });
            }
            Verdict::Dead => {
                let warning = match write_content(&mut file, config_path) {
                    Ok(()) => None,
                    // An empty file under an flock is a lock all the same.
                    Err(error) if spare_lock::is_needed(&error) => {
                        Some(format!("the lock file stays empty: {}: {error}", path.display()))
                    }
                    Err(error) => return Err(failed(error)),
                };
                if is_at(&file, &path) {
                    return Ok(Lock { held: Some((file, path)), warning });
                }
            }
            Verdict::Unknown if Instant::now() >= deadline => {
                return Err(LockError::Held { pid: content.map(|content| content.pid), path, waited: true });
            }
            Verdict::Unknown => {
                drop(file);
                std::thread::sleep(limits::LOCK_POLL);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Alive,
    Dead,
    Unknown,
}

/// What can be seen of the owner of a lock that nobody holds an flock on.
#[derive(Clone, Copy, Debug)]
struct Facts {
    is_self: bool,
    pid_alive: bool,
    start_time: Option<u64>,
    /// None: its arguments may not be seen.
    is_gateway: Option<bool>,
    port_answers: bool,
    age: Duration,
}

/// The rules of cli 3.5. A lock without an flock was left behind, or is one of the reference.
fn judge(content: Option<&Content>, facts: &Facts) -> Verdict {
    let stale = if facts.age >= limits::LOCK_STALE { Verdict::Dead } else { Verdict::Unknown };
    let Some(content) = content else { return stale };
    // Our own pid: from before an exec, or from an earlier life of the number.
    if facts.is_self || !facts.pid_alive || !facts.port_answers {
        return Verdict::Dead;
    }
    match (content.start_time, facts.start_time) {
        (Some(then), Some(now)) if then == now => Verdict::Alive,
        (Some(_), Some(_)) => Verdict::Dead,
        _ => match facts.is_gateway {
            Some(true) => Verdict::Alive,
            Some(false) => Verdict::Dead,
            None => stale,
        },
    }
}

fn look(content: Option<&Content>, file: &File, port: u16) -> Facts {
    let pid = content.map_or(0, |content| content.pid);
    let pid_alive = process::alive(pid);
    let created = content.and_then(|content| content.created_at.as_deref()?.parse::<jiff::Timestamp>().ok());
    let since = match created {
        Some(at) => Some(SystemTime::from(at)),
        None => file.metadata().and_then(|m| m.modified()).ok(),
    };
    Facts {
        is_self: pid == std::process::id(),
        pid_alive,
        start_time: process::start_time(pid),
        is_gateway: process::command_line(pid).map(|arguments| process::is_gateway(&arguments)),
        // The slow question only when it can change the answer.
        port_answers: pid_alive && answers(port),
        // A clock that was set back makes no lock young for ever.
        age: since.map_or(Duration::MAX, |at| SystemTime::now().duration_since(at).unwrap_or(Duration::MAX)),
    }
}

fn answers(port: u16) -> bool {
    TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), PORT_PROBE).is_ok()
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(create);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    if !create && !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    options.open(path)
}

/// False when another process keeps it locked. A file system without locks counts as free: the other rules decide then.
fn flock(file: &File) -> bool {
    let deadline = Instant::now() + FLOCK_GRACE;
    loop {
        match file.try_lock() {
            Ok(()) | Err(TryLockError::Error(_)) => return true,
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return false,
            Err(TryLockError::WouldBlock) => std::thread::sleep(FLOCK_POLL),
        }
    }
}

fn read_content(file: &mut File) -> Option<Content> {
    let mut bytes = Vec::new();
    file.rewind().ok()?;
    file.take(limits::LOCK_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    parse_content(&bytes)
}

fn parse_content(bytes: &[u8]) -> Option<Content> {
    serde_json::from_slice::<Content>(bytes).ok().filter(|content| content.pid > 0)
}

fn write_content(file: &mut File, config_path: &Path) -> io::Result<()> {
    let pid = std::process::id();
    let content = Content {
        pid,
        created_at: Some(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()),
        config_path: Some(config_path.to_string_lossy().into_owned()),
        start_time: process::start_time(pid),
    };
    let bytes = serde_json::to_vec(&content)?;
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(&bytes)
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// Elsewhere an open file cannot be removed under its owner.
#[cfg(not(unix))]
fn is_at(_file: &File, path: &Path) -> bool {
    path.exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::testing::Random;
    use crate::sys::testing::TempDir;
    use std::net::TcpListener;

    const CONFIG: &str = "/home/u/.openclaw/openclaw.json";
    const SOON: Duration = Duration::from_millis(150);

    fn take(dir: &TempDir, port: u16) -> Result<Lock, LockError> {
        acquire_in(&dir.0, Path::new(CONFIG), port, SOON)
    }

    fn write(dir: &TempDir, text: &str) -> PathBuf {
        let path = lock_path_in(&dir.0, Path::new(CONFIG));
        fs::write(&path, text).unwrap();
        path
    }

    /// A port where nobody listens.
    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn the_name_and_content_of_the_reference() {
        let dir = TempDir::new("lock");
        let digest = &ids::sha256_hex(CONFIG.as_bytes())[..8];
        let lock = take(&dir, free_port()).unwrap();
        let path = dir.0.join(format!("gateway.{digest}.lock"));
        assert_eq!(lock.path(), Some(path.as_path()));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with(&format!("{{\"pid\":{},\"createdAt\":\"20", std::process::id())), "{text}");
        assert!(text.contains(&format!("\"configPath\":\"{CONFIG}\"")) && !text.ends_with('\n'), "{text}");
        let owner = owner_in(&dir.0, Path::new(CONFIG)).unwrap();
        assert_eq!((owner.pid, owner.start_time), (std::process::id(), process::start_time(std::process::id())));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        if cfg!(target_os = "linux") {
            assert!(owner.alive);
        }
        lock.release();
        assert!(!path.exists());
        assert_eq!(owner_in(&dir.0, Path::new(CONFIG)), None);
    }

    #[test]
    fn a_held_flock_fails_at_once_with_the_pid() {
        let dir = TempDir::new("held");
        let lock = take(&dir, free_port()).unwrap();
        let path = lock.path().unwrap().to_owned();
        let start = Instant::now();
        let error = take(&dir, free_port()).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(4));
        assert_eq!(
            error.to_string(),
            format!("gateway already running (pid {}); lock held: {}", std::process::id(), path.display())
        );
        drop(lock);
        take(&dir, free_port()).unwrap();
    }

    #[test]
    fn locks_left_behind_are_taken_over() {
        let dir = TempDir::new("stale");
        for text in [
            // Gone, ourselves from before an exec, and a pid that lives but whose port is silent.
            r#"{"pid":999999999,"createdAt":"2026-11-20T19:42:16.405Z"}"#.to_owned(),
            format!(r#"{{"pid":{},"startTime":1}}"#, std::process::id()),
            r#"{"pid":1,"startTime":1}"#.to_owned(),
        ] {
            write(&dir, &text);
            let lock = take(&dir, free_port()).unwrap();
            assert_eq!(owner_in(&dir.0, Path::new(CONFIG)).unwrap().pid, std::process::id(), "{text}");
            drop(lock);
        }
    }

    #[test]
    fn an_unreadable_lock_is_waited_for_then_named_and_stale_when_old() {
        let dir = TempDir::new("unknown");
        let path = write(&dir, "");
        let error = take(&dir, free_port()).unwrap_err();
        assert_eq!(error.to_string(), "gateway already running; lock timeout after 5000ms");
        let old = SystemTime::now() - Duration::from_secs(31);
        File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        take(&dir, free_port()).unwrap();
    }

    #[test]
    fn a_lock_removed_under_its_owner_is_not_removed_again() {
        let dir = TempDir::new("removed");
        let first = take(&dir, free_port()).unwrap();
        fs::remove_file(first.path().unwrap()).unwrap();
        let second = take(&dir, free_port()).unwrap();
        let path = second.path().unwrap().to_owned();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn verdicts() {
        let content = |start_time| Content { pid: 5, created_at: None, config_path: None, start_time };
        let seen = Facts {
            is_self: false,
            pid_alive: true,
            start_time: Some(7),
            is_gateway: Some(true),
            port_answers: true,
            age: Duration::from_secs(1),
        };
        let blind = Facts { start_time: None, is_gateway: None, ..seen };
        let old = Duration::from_secs(30);
        for (content, facts, verdict) in [
            (Some(content(Some(7))), seen, Verdict::Alive),
            (Some(content(Some(8))), seen, Verdict::Dead),
            (Some(content(Some(7))), Facts { pid_alive: false, ..seen }, Verdict::Dead),
            (Some(content(Some(7))), Facts { port_answers: false, ..seen }, Verdict::Dead),
            (Some(content(Some(7))), Facts { is_self: true, ..seen }, Verdict::Dead),
            (Some(content(None)), seen, Verdict::Alive),
            (Some(content(None)), Facts { is_gateway: Some(false), ..seen }, Verdict::Dead),
            (Some(content(None)), blind, Verdict::Unknown),
            (Some(content(None)), Facts { age: old, ..blind }, Verdict::Dead),
            (None, seen, Verdict::Unknown),
            (None, Facts { age: old, ..seen }, Verdict::Dead),
        ] {
            assert_eq!(judge(content.as_ref(), &facts), verdict, "{content:?} {facts:?}");
        }
    }

    #[test]
    fn unusable_places_are_named() {
        let dir = TempDir::new("unusable");
        let file = dir.0.join("file");
        fs::write(&file, "").unwrap();
        let error = acquire_in(&file, Path::new(CONFIG), 1, SOON).unwrap_err();
        assert!(error.to_string().starts_with("failed to acquire gateway lock at "), "{error}");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&file, lock_path_in(&dir.0, Path::new(CONFIG))).unwrap();
            assert!(matches!(take(&dir, 1), Err(LockError::Unusable { .. })), "no symbolic link is followed");
        }
        assert!(acquire(Path::new(CONFIG), 1, true).unwrap().path().is_none());
    }

    #[test]
    fn mutated_locks_never_panic() {
        let good = br#"{"pid":12410,"createdAt":"2026-11-20T19:42:16.405Z","configPath":"/x","startTime":83528}"#;
        assert_eq!(parse_content(good).unwrap().start_time, Some(83528));
        let mut random = Random(0x5eed_0005);
        for _ in 0..5_000 {
            let mut bytes = good.to_vec();
            bytes = random.mutated(&bytes);
            let _ = parse_content(&bytes);
        }
    }
}
