//! The log: JSON-lines file, console, readers. API first; see each file.
//!
//! Callers use the `log` crate: `log::info!(target: "gateway", intervalMs = 1000; "text")`. The target is the subsystem.

use std::path::PathBuf;
use std::time::Duration;

pub mod console;
pub mod redact;
pub mod tail;
pub mod ws_lines;

pub use tail::Tail;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Silent,
    Fatal,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Everything that `init` needs; `Default` logs nothing to disk.
#[derive(Clone, Debug)]
pub struct Options {
    pub file_level: Level,
    pub console_level: Level,
    /// None: pretty on a terminal, else compact.
    pub style: Option<console::Style>,
    /// `logging.file`.
    pub file: Option<PathBuf>,
    /// `logging.maxFileBytes`; None = min(8 MiB, memory/64).
    pub max_file_bytes: Option<u64>,
    /// `logging.redactSensitive` is not `off`.
    pub redact: bool,
    pub redact_patterns: Vec<String>,
    /// `--no-color`.
    pub no_color: bool,
    /// Started by a supervisor (DECISIONS 86).
    pub supervised: bool,
    /// `--claude-cli-logs`: only these subsystems on the console.
    pub console_only: Option<Vec<String>>,
}

#[derive(Clone)]
pub struct LogHandle;

impl LogHandle {
    pub fn set_levels(&self, _file: Level, _console: Level) {}
    pub fn set_redaction(&self, _on: bool, _patterns: &[String]) {}
    pub fn reopen(&self) {}
    /// True when everything so far is in the file and on the console.
    pub fn flush(&self, _deadline: Duration) -> bool {
        false
    }
    /// None: the ring in memory.
    pub fn file_path(&self) -> Option<PathBuf> {
        None
    }
    pub fn tail(&self, _cursor: Option<u64>, _limit: usize, _max_bytes: u64) -> std::io::Result<Tail> {
        Ok(Tail::default())
    }
    pub fn dropped(&self) -> u64 {
        0
    }
}

/// Once per process, before other threads start.
pub fn init(_options: Options) -> std::io::Result<LogHandle> {
    Ok(LogHandle)
}

/// The handle of this process after `init`.
pub fn handle() -> Option<LogHandle> {
    None
}

/// `fatal!(target: "gateway", "text {}", x)`.
#[macro_export]
macro_rules! fatal {
    (target: $target:expr, $($arg:tt)+) => { ::log::error!(target: $target, fatal = true; $($arg)+) };
}
