//! A mark on the state directory while a gateway works with it. The instance lock lies below the TMPDIR of its user:
//! commands of another one, such as root's for a service, do not see it there. This one they see.
//!
//! `main` holds the mark; commands that replace the state look for it.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::atomic;

/// Held until it is dropped, or the process ends. None where the system has no such locks, or nothing can be written.
pub fn mark(state: &Path) -> Option<File> {
    atomic::create_dirs(&place(state)).ok()?;
    let directory = File::open(place(state)).ok()?;
    directory.try_lock_shared().ok()?;
    Some(directory)
}

/// Whether a gateway works with this state.
pub fn is_marked(state: &Path) -> bool {
    File::open(place(state)).is_ok_and(|directory| matches!(directory.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Not the state directory itself: who writes the configuration locks that for a moment.
fn place(state: &Path) -> PathBuf {
    state.join("agents")
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::atomic::tests::TempDir;
    use super::*;

    #[test]
    fn a_mark_is_seen_while_it_is_held() {
        let dir = TempDir::new("in-use");
        assert!(!is_marked(dir.path()));
        let (one, two) = (mark(dir.path()), mark(dir.path()));
        assert!(one.is_some() && two.is_some() && is_marked(dir.path()));
        drop(one);
        assert!(is_marked(dir.path()));
        drop(two);
        assert!(!is_marked(dir.path()));
        assert!(mark(Path::new("/proc/none")).is_none() && !is_marked(Path::new("/proc/none")));
    }
}
