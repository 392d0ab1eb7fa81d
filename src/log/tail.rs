//! Reading the log for `logs.tail` (protocol 12) and `openclaw logs`.
use std::path::Path;

/// The answer of `logs.tail`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tail {
    pub file: String,
    pub cursor: u64,
    pub size: u64,
    pub lines: Vec<String>,
    pub truncated: bool,
    pub reset: bool,
}

/// Also for the CLI when no gateway answers.
pub fn read(_file: &Path, _cursor: Option<u64>, _limit: usize, _max_bytes: u64) -> std::io::Result<Tail> {
    Ok(Tail::default())
}

/// One log line as `openclaw logs` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    pub time: Option<String>,
    pub level: Option<String>,
    pub subsystem: Option<String>,
    pub module: Option<String>,
    pub message: String,
}

/// None: not a JSON log line (print it raw).
pub fn parse_line(_line: &str) -> Option<LogLine> {
    None
}
