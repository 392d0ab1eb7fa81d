//! The interfaces that clients of OpenAI speak (http 3): chat completions, models, embeddings.

pub mod addresses;
pub mod answering;
pub mod asked;
pub mod chat;
pub mod embeddings;
pub mod models;
pub mod replays;
pub mod request;
pub mod target;

use serde_json::{Value, json};

use super::{api_error, json_body};
use crate::http::Reply;
use crate::hub::run_events::{Details, EndKind};

/// In place of an answer without words.
pub const NO_WORDS: &str = "No response from OpenClaw.";
/// When a gateway that restarts may be there again.
const RESTART_SECONDS: u64 = 2;

/// Why a run has no answer, as a client is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Failed {
    pub status: u16,
    pub message: String,
    pub kind: &'static str,
    /// Seconds; None: asking again is of no use, a run is not repeated by itself.
    pub retry_after: Option<u64>,
}

impl Failed {
    /// None: it ended well.
    pub fn of(how: &EndKind, details: &Details) -> Option<Failed> {
        let failed = |status, message: &str, retry_after| {
            let kind = if status == 429 { "rate_limited" } else { "api_error" };
            Some(Failed { status, message: message.to_owned(), kind, retry_after })
        };
        match how {
            EndKind::Done => None,
            EndKind::Error(text) => failed(details.status.unwrap_or(500), text, details.retry_after),
            EndKind::Aborted("timeout") => failed(504, crate::hub::run_events::TIMED_OUT, None),
            EndKind::Aborted("restart") => failed(503, "the gateway is restarting", Some(RESTART_SECONDS)),
            EndKind::Aborted(_) => failed(500, "the run was stopped before it had an answer", None),
        }
    }

    pub fn object(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind}})
    }

    pub fn reply(&self) -> Reply {
        self.with_body(&self.object())
    }

    /// The same, told in another shape.
    pub fn with_body(&self, body: &Value) -> Reply {
        let reply = Reply::json(self.status, body);
        match self.retry_after {
            Some(seconds) => reply.header("Retry-After", seconds.to_string()),
            // Clients repeat 408, 409, 429 and 5xx by themselves; each would be a run more.
            None => reply.header("x-should-retry", "false"),
        }
    }
}

/// The body of a request as JSON.
pub fn parse_body(bytes: &[u8]) -> Result<Value, Reply> {
    json_body(bytes).map_err(|e| api_error(400, &e, "invalid_request_error"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_what_clients_are_told() {
        let error = EndKind::Error("401 bad key".into());
        let told = |how: &EndKind, status, retry_after| {
            let details = Details { status, retry_after, ..Details::default() };
            Failed::of(how, &details).map(|failed| (failed.status, failed.retry_after))
        };
        for (how, status, retry_after, want) in [
            (EndKind::Done, None, None, None),
            (error.clone(), Some(401), None, Some((401, None))),
            (error.clone(), Some(429), Some(7), Some((429, Some(7)))),
            (error, None, None, Some((500, None))),
            (EndKind::Aborted("timeout"), None, None, Some((504, None))),
            (EndKind::Aborted("restart"), None, None, Some((503, Some(2)))),
            (EndKind::Aborted("rpc"), None, None, Some((500, None))),
        ] {
            assert_eq!(told(&how, status, retry_after), want, "{how:?}");
        }
    }
}
