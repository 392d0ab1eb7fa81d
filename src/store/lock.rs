//! Lock files of the reference program: `<file>.lock` with the owner's pid as JSON (DECISIONS 71).
//!
//! Any thread. Taking one never waits: who finds it held comes back later.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::atomic;

/// `sessions.json.lock` of a living process older than this is abandoned.
pub const STORE_LOCK_STALE: Duration = Duration::from_secs(30);
/// `<transcript>.lock` of a living process older than this is abandoned.
pub const TRANSCRIPT_LOCK_STALE: Duration = Duration::from_secs(30 * 60);
/// A lock file is a few dozen bytes; whatever is longer is not one.
const LOCK_BYTES: u64 = 4096;

/// A lock file of ours, removed when dropped.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Owner {
    pid: u32,
}

impl FileLock {
    /// Takes `<file>.lock`, or `None` when another living process holds it.
    pub fn try_take(file: &Path, stale: Duration, now_ms: u64) -> io::Result<Option<FileLock>> {
        let path = lock_path(file);
        for _ in 0..2 {
            match atomic::new_private(&path) {
                Ok(mut lock) => {
                    let text = serde_json::json!({
                        "pid": std::process::id(),
                        "createdAt": super::transcript::iso_time(now_ms),
                    });
                    let taken = FileLock { path };
                    lock.write_all(text.to_string().as_bytes())?;
                    return Ok(Some(taken));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                    if is_held(file, stale) {
                        return Ok(None);
                    }
                    match fs::remove_file(&path) {
                        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                        _ => {}
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether another living process holds `<file>.lock`. Locks of dead processes, of ours from an earlier life, and stale ones do not count.
pub fn is_held(file: &Path, stale: Duration) -> bool {
    let path = lock_path(file);
    let Ok(metadata) = fs::symlink_metadata(&path) else { return false };
    let age = metadata.modified().ok().and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default();
    if age > stale {
        return false;
    }
    match atomic::read_limited(&path, LOCK_BYTES).ok().and_then(|b| serde_json::from_slice::<Owner>(&b).ok()) {
        Some(owner) => owner.pid != std::process::id() && is_alive(owner.pid),
        // Just created and not yet written: its owner is at work.
        None => age < Duration::from_secs(2),
    }
}

/// Whether a process with this pid exists. Where the system cannot say: yes, and age alone decides.
pub(crate) fn is_alive(pid: u32) -> bool {
    if cfg!(target_os = "linux") && Path::new("/proc/self").exists() {
        Path::new(&format!("/proc/{pid}")).exists()
    } else {
        true
    }
}

fn lock_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::atomic::tests::TempDir;
    use super::*;

    #[cfg(unix)]
    #[test]
    fn who_holds_a_lock() {
        let dir = TempDir::new("lock");
        let file = dir.join("sessions.json");
        let lock = dir.join("sessions.json.lock");
        let parent = std::os::unix::process::parent_id();
        for (content, held) in [
            (format!("{{\"pid\":{parent},\"createdAt\":\"x\",\"starttime\":1}}"), true),
            (format!("{{\"pid\":{}}}", std::process::id()), false),
            ("{\"pid\":4194999}".to_owned(), false),
            (String::new(), true),
        ] {
            fs::write(&lock, &content).unwrap();
            assert_eq!(is_held(&file, STORE_LOCK_STALE), held, "{content}");
            assert_eq!(FileLock::try_take(&file, STORE_LOCK_STALE, 0).unwrap().is_none(), held, "{content}");
            assert!(!is_held(&file, Duration::ZERO), "stale: {content}");
            let _ = fs::remove_file(&lock);
        }
        let taken = FileLock::try_take(&file, STORE_LOCK_STALE, 1_795_204_203_733).unwrap().unwrap();
        let text = fs::read_to_string(&lock).unwrap();
        assert_eq!(text, format!("{{\"pid\":{},\"createdAt\":\"2026-11-20T19:50:03.733Z\"}}", std::process::id()));
        drop(taken);
        assert!(!lock.exists());
    }
}
