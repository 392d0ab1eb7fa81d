//! The instance lock (cli 3.5, DECISIONS 93-94).
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Lock;

impl Lock {
    pub fn path(&self) -> Option<&Path> {
        None
    }
    /// Also done by Drop.
    pub fn release(self) {}
}

#[derive(Debug)]
pub enum LockError {
    /// Display: `gateway already running (pid N); lock held: <path>` or `…; lock timeout after 5000ms`.
    Held { pid: Option<u32>, path: PathBuf, waited: bool },
    /// Display: `failed to acquire gateway lock at <path>`.
    Unusable { path: PathBuf, error: std::io::Error },
}

/// The lock's file for a configuration file.
pub fn lock_path(_config_path: &Path) -> PathBuf {
    PathBuf::new()
}

/// `allow_multi` = OPENCLAW_ALLOW_MULTI_GATEWAY=1: a lock without a file.
pub fn acquire(_config_path: &Path, _port: u16, _allow_multi: bool) -> Result<Lock, LockError> {
    Ok(Lock)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    pub alive: bool,
    pub created_at: Option<String>,
    pub config_path: Option<String>,
    pub start_time: Option<u64>,
    pub lock_path: PathBuf,
}

/// Who holds the lock of this configuration, for `gateway stop|restart|status`.
pub fn owner(_config_path: &Path) -> Option<Owner> {
    None
}
