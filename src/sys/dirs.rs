//! Directories that are ours alone: state, logs, locks. Names under /tmp are predictable, so what stands there is judged
//! before it is used.
//!
//! Any thread.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Creates a directory (and its parents) with mode 0700; one that is there keeps its mode.
pub fn create_private(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(dir)
}

/// Creates the directory or checks the one that is there; Ok(true) when others could write to it and it was set to 0700.
/// The error says why it cannot be used.
pub fn make_usable(dir: &Path) -> Result<bool, String> {
    if fs::symlink_metadata(dir).is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
        create_private(dir).map_err(|e| e.to_string())?;
    }
    let too_open = check(dir)?;
    #[cfg(unix)]
    if too_open {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).map_err(|e| e.to_string())?;
    }
    Ok(too_open)
}

/// A real directory (no symbolic link) that belongs to us; Ok(true) when others can write to it.
#[cfg(unix)]
pub fn check(dir: &Path) -> Result<bool, String> {
    use std::os::unix::fs::MetadataExt as _;
    let there = fs::symlink_metadata(dir).map_err(|e| e.to_string())?;
    if !there.is_dir() {
        return Err("not a directory".into());
    }
    if Some(there.uid()) != super::process::uid() {
        return Err(format!("owned by {}", super::process::user_label(there.uid())));
    }
    Ok(there.mode() & 0o022 != 0)
}

/// Root that works on the state of a service leaves it readable for that service: what root just made gets owner and
/// group of `like`, the directory around it or the file that it replaces. Nothing happens where nothing differs, where
/// `like` is not there, or for anybody but root.
pub fn leave_theirs(made: &File, like: &Path) {
    #[cfg(unix)]
    if super::process::effective_uid() == 0 {
        use std::os::unix::fs::MetadataExt as _;
        let like = if like.as_os_str().is_empty() { Path::new(".") } else { like };
        let (Ok(theirs), Ok(mine)) = (fs::metadata(like), made.metadata()) else { return };
        let (owner, group) = (theirs.uid(), theirs.gid());
        // A directory of root's says nothing about the group of what lies in it; what has been given is not taken back.
        if mine.uid() == 0 && (owner != 0 || theirs.is_file()) && (owner, group) != (0, mine.gid()) {
            let _ = std::os::unix::fs::fchown(made, Some(owner), Some(group));
        }
    }
    #[cfg(not(unix))]
    let _ = (made, like);
}

/// Whose it is.
pub fn owner(path: &Path) -> Option<u32> {
    #[cfg(unix)]
    return fs::metadata(path).ok().map(|there| std::os::unix::fs::MetadataExt::uid(&there));
    #[cfg(not(unix))]
    {
        let _ = path;
        None
    }
}

/// Root's, and one group of a service may read it: /etc/openclaw/openclaw.json as packages install it.
#[cfg(unix)]
pub fn is_for_a_service(there: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    there.is_file() && there.uid() == 0 && there.gid() != 0 && there.mode() & 0o037 == 0
}

#[cfg(not(unix))]
pub fn is_for_a_service(_: &fs::Metadata) -> bool {
    false
}

/// Without owners and modes to look at: any directory will do.
#[cfg(not(unix))]
pub fn check(dir: &Path) -> Result<bool, String> {
    if dir.is_dir() { Ok(false) } else { Err("not a directory".into()) }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn only_a_real_directory_of_ours_will_do() {
        let dir = TempDir::new("private");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let fresh = dir.0.join("a/b");
        assert_eq!(make_usable(&fresh), Ok(false));
        assert_eq!(mode(&fresh), 0o700);
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o775)).unwrap();
        assert_eq!((check(&fresh), mode(&fresh)), (Ok(true), 0o775));
        assert_eq!((make_usable(&fresh), mode(&fresh)), (Ok(true), 0o700));
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!((make_usable(&fresh), mode(&fresh)), (Ok(false), 0o755));
        let link = dir.0.join("link");
        symlink(&fresh, &link).unwrap();
        assert_eq!(make_usable(&link), Err("not a directory".into()));
        if super::super::process::uid() != Some(0) {
            assert!(make_usable(Path::new("/usr")).is_err_and(|reason| reason.starts_with("owned by ")));
        }
    }
}
