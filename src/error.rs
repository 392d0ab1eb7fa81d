//! Errors at the edge of the program: one line what happened, one line what to do.
//!
//! Inside, each room has its own type and its fate is fixed by that type: `protocol::ErrorShape` refuses a
//! request, `ws::Close` drops a connection, `agent::RunError` fails a run, and this one ends a command or the
//! start of the gateway with an exit code.

use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Ends a command or the start-up.
#[derive(Debug)]
pub struct Error {
    /// What happened, without a trailing full stop where programs match on the text.
    pub message: String,
    /// What to do; further lines, printed as they are.
    pub hints: Vec<String>,
    /// Exit code of the process (openclaw-gateway(8), EXIT STATUS).
    pub code: u8,
}

impl Error {
    pub fn new(message: impl Into<String>) -> Self {
        Error { message: message.into(), hints: Vec::new(), code: 1 }
    }

    pub fn hint(mut self, line: impl Into<String>) -> Self {
        self.hints.push(line.into());
        self
    }

    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for line in &self.hints {
            write!(f, "\n{line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(e: std::io::Error) -> Self {
        Error::new(e.to_string())
    }
}
