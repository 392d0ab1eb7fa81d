//! The lock of a day on which no lock file can be written: an flock on the configuration's directory, which needs no
//! room on a full disk and no permission on a read-only one. Runs on `main`, for `lock`.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

/// Whether this is a day of that sort; whatever else is wrong with a lock is somebody's mistake or malice.
pub fn is_needed(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

/// The directory to lock. None where it cannot be opened: not there, or a system that opens no directories.
pub fn open(config_path: &Path) -> Option<File> {
    File::open(config_path.parent()?).ok()
}

/// Whether a gateway that found no room for its lock file runs with this configuration.
pub fn is_held(config_path: &Path) -> bool {
    // Those who only ask do not disturb each other.
    open(config_path).is_some_and(|dir| matches!(dir.try_lock_shared(), Err(TryLockError::WouldBlock)))
}
