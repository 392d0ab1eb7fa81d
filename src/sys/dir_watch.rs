//! Being told that something happened in a directory (inotify), for whoever would otherwise have to look often.
//!
//! One thread waits on it. What an event says is not read: the files themselves are looked at. Where there is no such
//! thing, or no more of it, `new` fails and the caller looks more often.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::poll::WakePipe;

#[cfg(target_os = "linux")]
pub use linux::DirWatch;

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::sys::poll;
    use std::ffi::CString;
    use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
    use std::os::unix::ffi::OsStrExt as _;

    /// Whatever changes what a path in the directory leads to, or what is written there.
    const EVENTS: u32 = libc::IN_MODIFY
        | libc::IN_ATTRIB
        | libc::IN_CLOSE_WRITE
        | libc::IN_CREATE
        | libc::IN_DELETE
        | libc::IN_MOVED_FROM
        | libc::IN_MOVED_TO
        | libc::IN_DELETE_SELF
        | libc::IN_MOVE_SELF;

    #[derive(Debug)]
    pub struct DirWatch {
        fd: OwnedFd,
    }

    impl DirWatch {
        /// Watches these directories. Errors: one of them does not exist, or the system has no watches left.
        pub fn new(dirs: &[PathBuf]) -> io::Result<DirWatch> {
            // SAFETY: no pointers; the descriptor is ours alone from here on.
            let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            // SAFETY: as above.
            let watch = DirWatch { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
            for dir in dirs {
                let path = CString::new(dir.as_os_str().as_bytes())?;
                // SAFETY: the path ends in a zero byte and lives through the call.
                let added =
                    unsafe { libc::inotify_add_watch(watch.fd.as_raw_fd(), path.as_ptr(), EVENTS | libc::IN_ONLYDIR) };
                if added < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(watch)
        }

        /// Forgets what happened so far.
        pub fn drain(&self) {
            let mut events = [0u8; 4096];
            // SAFETY: the buffer lives through the call, which writes at most its length.
            let read = |events: &mut [u8]| unsafe {
                libc::read(self.fd.as_raw_fd(), events.as_mut_ptr().cast(), events.len())
            };
            // Bounded: whoever writes without end must not keep us here.
            for _ in 0..64 {
                if read(&mut events) <= 0 {
                    return;
                }
            }
        }

        /// Blocks until something happens in one of the directories (true), `wake` was called, or the time is over.
        pub fn wait(&self, wake: &WakePipe, timeout: Duration) -> bool {
            poll::wait_fd(self.fd.as_raw_fd(), wake, Some(timeout)).is_ok_and(|ready| ready.listener)
        }
    }
}

/// Never there: `new` says so.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub struct DirWatch(std::convert::Infallible);

#[cfg(not(target_os = "linux"))]
impl DirWatch {
    pub fn new(_dirs: &[PathBuf]) -> io::Result<DirWatch> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn drain(&self) {}

    pub fn wait(&self, _wake: &WakePipe, _timeout: Duration) -> bool {
        match self.0 {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::sys::testing::TempDir;
    use std::fs;

    #[test]
    fn an_event_a_wake_up_or_the_time_ends_a_wait() {
        let dir = TempDir::new("dir-watch");
        let wake = WakePipe::new().unwrap();
        let watch = DirWatch::new(std::slice::from_ref(&dir.0)).unwrap();
        assert!(!watch.wait(&wake, Duration::from_millis(1)));
        let file = dir.0.join("file");
        for act in ["create", "write", "rename", "remove"] {
            match act {
                "create" | "write" => fs::write(&file, act).unwrap(),
                "rename" => fs::rename(&file, dir.0.join("other")).unwrap(),
                _ => fs::remove_file(dir.0.join("other")).unwrap(),
            }
            assert!(watch.wait(&wake, Duration::from_secs(20)), "{act}");
            watch.drain();
            assert!(!watch.wait(&wake, Duration::ZERO), "{act}: forgotten");
        }
        wake.wake();
        assert!(!watch.wait(&wake, Duration::from_secs(20)));
        assert!(DirWatch::new(&[dir.0.join("none")]).is_err());
    }
}
