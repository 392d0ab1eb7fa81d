//! Opening a file below a directory without following a link out of it, or anywhere.
//!
//! Any thread; a file system that hangs is the only thing waited for.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens the file or directory that these names lead to, for reading. Symbolic links below `root` are errors, the root
/// itself may be one. A name must not be empty, `.`, `..`, nor contain a separator: `InvalidInput`.
pub fn open(root: &Path, names: &[String]) -> io::Result<File> {
    let odd = |name: &String| name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']);
    if names.iter().any(odd) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    system::open(root, names)
}

/// A regular file that has no other name: nothing that stands elsewhere, too, and no device or pipe.
pub fn is_single_file(metadata: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        metadata.is_file() && metadata.nlink() == 1
    }
    #[cfg(not(unix))]
    metadata.is_file()
}

#[cfg(unix)]
mod system {
    use std::ffi::CString;
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    /// A pipe must not make the open wait, a terminal not become ours.
    const FLAGS: libc::c_int = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;

    pub fn open(root: &Path, names: &[String]) -> io::Result<File> {
        let path = CString::new(root.as_os_str().as_bytes())?;
        let root = open_at(libc::AT_FDCWD, &path, libc::O_DIRECTORY)?;
        if names.is_empty() {
            return Ok(root);
        }
        #[cfg(target_os = "linux")]
        match resolve_beneath(&root, names) {
            // An old kernel, or a filter that does not know the call.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOSYS | libc::EPERM | libc::EINVAL)) => {}
            opened => return opened,
        }
        step_by_step(root, names)
    }

    /// One name after the other, none of them a link.
    pub fn step_by_step(mut here: File, names: &[String]) -> io::Result<File> {
        for (at, name) in names.iter().enumerate() {
            let directory = if at + 1 < names.len() { libc::O_DIRECTORY } else { 0 };
            here = open_at(here.as_raw_fd(), &CString::new(name.as_bytes())?, directory | libc::O_NOFOLLOW)?;
        }
        Ok(here)
    }

    fn open_at(dir: libc::c_int, name: &CString, more: libc::c_int) -> io::Result<File> {
        // SAFETY: the name is NUL-terminated and lives until the call returns; the kernel checks the descriptor.
        let fd = unsafe { libc::openat(dir, name.as_ptr(), FLAGS | more) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and nobody else's.
        Ok(unsafe { File::from_raw_fd(fd) })
    }

    #[cfg(target_os = "linux")]
    fn resolve_beneath(root: &File, names: &[String]) -> io::Result<File> {
        /// `struct open_how` of the kernel, version 0.
        #[repr(C)]
        struct How {
            flags: u64,
            mode: u64,
            resolve: u64,
        }
        const NO_MAGICLINKS: u64 = 0x02;
        const NO_SYMLINKS: u64 = 0x04;
        const BENEATH: u64 = 0x08;
        let how = How { flags: FLAGS as u64, mode: 0, resolve: BENEATH | NO_SYMLINKS | NO_MAGICLINKS };
        let path = CString::new(names.join("/"))?;
        // SAFETY: path and structure live until the call returns, and the size is the structure's.
        let fd = unsafe {
            libc::syscall(libc::SYS_openat2, root.as_raw_fd(), path.as_ptr(), &raw const how, size_of::<How>())
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is fresh and nobody else's.
        Ok(unsafe { File::from_raw_fd(fd as libc::c_int) })
    }
}

#[cfg(not(unix))]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    /// Compares where the names lead with where they should.
    pub fn open(root: &Path, names: &[String]) -> io::Result<File> {
        let root = root.canonicalize()?;
        let path = names.iter().fold(root, |path, name| path.join(name));
        if path.canonicalize()? != path {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        File::open(path)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::fs;
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_lead_nowhere_whichever_way_it_is_opened() {
        let dir = TempDir::new("beneath");
        let root = dir.0.join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(root.join("a/b/c.txt"), "inside").unwrap();
        fs::write(dir.0.join("outside.txt"), "outside").unwrap();
        symlink("/etc/passwd", root.join("file")).unwrap();
        symlink("../outside.txt", root.join("relative")).unwrap();
        symlink(&dir.0, root.join("dir")).unwrap();
        symlink("a/b", root.join("inner")).unwrap();
        symlink(&root, dir.0.join("site")).unwrap();
        fs::hard_link(dir.0.join("outside.txt"), root.join("hard.txt")).unwrap();
        let stepwise = |root: &Path, names: &[String]| system::step_by_step(File::open(root)?, names);
        type Open<'a> = &'a dyn Fn(&Path, &[String]) -> io::Result<File>;
        for (way, opened) in [("open", &open as Open), ("step by step", &stepwise)] {
            let by = |root: &Path, path: &str| opened(root, &path.split('/').map(str::to_owned).collect::<Vec<_>>());
            let mut text = String::new();
            by(&root, "a/b/c.txt").unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{way}");
            assert!(by(&root, "a/b").unwrap().metadata().unwrap().is_dir(), "{way}");
            assert!(by(&dir.0.join("site"), "a/b/c.txt").is_ok(), "{way}: the root itself may be a link");
            for path in ["file", "relative", "dir", "dir/outside.txt", "inner/c.txt", "a/b/c.txt/d", "missing"] {
                assert!(by(&root, path).is_err(), "{way}: {path}");
            }
            let hard = by(&root, "hard.txt").unwrap().metadata().unwrap();
            assert!(hard.is_file() && !is_single_file(&hard), "{way}");
        }
        for name in ["..", ".", "", "a/b", "a\\b", "\0"] {
            assert_eq!(open(&root, &[name.to_owned()]).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }
}
