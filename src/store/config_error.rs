//! Why a configuration was not written, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{atomic, config_audit};
use crate::config::{Issue, redact};

/// The last step; when it fails the new file is in place.
pub(super) const SYNC: &str = "sync the directory";

/// Why nothing was written (but see the steps of `Io`).
#[derive(Debug)]
pub enum WriteError {
    BaseHashMissing,
    BaseHashStale,
    /// The file can be neither read nor hashed.
    BaseHashUnavailable(io::Error),
    /// The text of a `Replace` is no JSON5.
    Syntax(String),
    /// The result, or with `require_valid` the present file, is not valid.
    Invalid {
        issues: Vec<Issue>,
        before: bool,
    },
    /// The present file cannot be read as an object; the place of the error.
    Unreadable(String),
    NotFound(String),
    Refused {
        reason: String,
        /// `replace` would allow it.
        replace_helps: bool,
    },
    /// A redaction sentinel with nothing behind it, by its path.
    Sentinel(String),
    /// The file changed while it was being changed here; nothing was written.
    LostRace,
    /// Another writer of ours holds the lock.
    Locked,
    Io {
        step: &'static str,
        path: PathBuf,
        error: io::Error,
    },
}

impl WriteError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            WriteError::Io { step: SYNC, .. } => {
                Some("The new file is in place, but a power cut may still undo it.".into())
            }
            WriteError::Io { error, path, .. } => {
                let what = match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "Free some space".to_owned(),
                    io::ErrorKind::ResourceBusy => {
                        "The file is a mount of its own, which cannot be replaced: mount its directory instead"
                            .to_owned()
                    }
                    _ => format!("Check owner, mode and mount of {}", atomic::parent(path).display()),
                };
                Some(format!("{what}; the configuration is as it was."))
            }
            WriteError::Unreadable(_) => {
                Some("Mend the file by hand, or put a copy that worked in its place (openclaw.json.bak).".into())
            }
            WriteError::Refused { replace_helps: true, .. } => Some("Add --replace if that is meant.".into()),
            WriteError::LostRace | WriteError::Locked => Some("Nothing was written; try again.".into()),
            _ => None,
        }
    }

    /// For the audit: `ENOSPC`.
    pub(super) fn code(&self) -> Option<String> {
        match self {
            WriteError::Io { error, .. } => Some(error.raw_os_error().map_or_else(
                || format!("{:?}", error.kind()),
                |number| config_audit::errno_name(number).map_or_else(|| number.to_string(), str::to_owned),
            )),
            _ => None,
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::BaseHashMissing => f.write_str("config base hash required; re-run config.get and retry"),
            WriteError::BaseHashStale => f.write_str("config changed since last load; re-run config.get and retry"),
            WriteError::BaseHashUnavailable(error) => write!(f, "the config file cannot be read: {error}"),
            WriteError::Syntax(message) | WriteError::Unreadable(message) => f.write_str(message),
            WriteError::Invalid { issues, .. } => {
                let lines: Vec<String> = issues.iter().map(Issue::line).collect();
                write!(f, "Config validation failed: {}", lines.join("; "))
            }
            WriteError::NotFound(path) => write!(f, "Config path not found: {path}"),
            WriteError::Refused { reason, .. } => write!(f, "Config write refused: {reason}"),
            WriteError::Sentinel(key) => {
                write!(f, "Sentinel value \"{}\" in key {key} is not valid as real data", redact::SENTINEL)
            }
            WriteError::LostRace => f.write_str("the config file was changed by another program meanwhile"),
            WriteError::Locked => f.write_str("another command is writing the config file"),
            WriteError::Io { step, path, error } => write!(f, "cannot {step}: {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for WriteError {}
