//! What a run says to the hub, and what the hub tells the owner of runs. Data only.
//!
//! Everything a client sees of a run goes through the hub in the order in which it was said. The hub keeps one
//! entry per open run; the first end (done, error, abort, time-out) closes it and whatever comes later is dropped.

use std::sync::Arc;

use serde_json::Value;

use super::reply::Reply;
use crate::protocol::ErrorShape;

/// Payload of a run that was stopped by its time limit before it said anything (agent 3).
pub const TIMED_OUT: &str = "Request timed out before a response was generated. Please try again, or increase \
                             `agents.defaults.timeoutSeconds` in your config.";

/// Interrupts a run from another thread: sets the flag, then wakes whatever the run blocks on.
pub trait Cancel: Send + Sync {
    /// Must not block: called by the hub.
    fn cancel(&self);
}

pub enum RunEvent {
    /// A run was accepted (it may still wait in its lane). Sent before its first answer leaves.
    Open(OpenRun),
    /// The run left its lane: `lifecycle start`.
    Started {
        run_id: Arc<str>,
        at_ms: u64,
    },
    /// A piece of visible text.
    Delta {
        run_id: Arc<str>,
        text: String,
    },
    /// The next delta belongs to another assistant message: `assistant.data.text` begins anew, `chat` goes on.
    MessageEnd {
        run_id: Arc<str>,
    },
    End(EndRun),
    /// `chat.abort`, a stop phrase, a time-out of the run, the stop of the gateway.
    Abort(AbortRuns),
    /// `agent.wait`.
    Wait {
        run_id: String,
        timeout_ms: u64,
        reply: Reply,
    },
}

pub struct OpenRun {
    pub run_id: Arc<str>,
    /// Canonical session key.
    pub session_key: Arc<str>,
    /// Who asked: for the rule that others than admins abort only their own runs.
    pub conn_id: Option<Arc<str>>,
    pub device_id: Option<Arc<str>>,
    /// Gets the second `res` of `agent`; `chat.send` has none.
    pub final_reply: Option<Reply>,
    pub cancel: Arc<dyn Cancel>,
}

pub struct EndRun {
    pub run_id: Arc<str>,
    pub how: EndKind,
    pub at_ms: u64,
    /// Whole visible text for `chat final`; None for a silent reply.
    pub text: Option<String>,
    pub usage: Option<Value>,
    /// What the second `res` carries.
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EndKind {
    Done,
    /// Raw text of the failure: `lifecycle error`, `chat error`.
    Error(String),
    /// `stopReason` for chat: `rpc`, `stop`, `timeout`, `restart`.
    Aborted(&'static str),
}

/// The final response of a run.
#[derive(Clone, Debug)]
pub enum Answer {
    Ok(Value),
    Err { error: ErrorShape, payload: Value },
}

pub struct AbortRuns {
    pub session_key: Option<Arc<str>>,
    /// One run of that session, or None for all of it.
    pub run_id: Option<String>,
    pub stop_reason: &'static str,
    pub at_ms: u64,
    /// `chat.abort` of a caller without operator.admin: only runs of this connection or device.
    pub only_of: Option<(Arc<str>, Option<Arc<str>>)>,
    pub reply: Option<Reply>,
}

/// From the hub to the owner of runs: this run is over for everybody. Its slot is free at once, even when its
/// thread has not ended.
pub struct ClosedRun {
    pub run_id: Arc<str>,
    pub session_key: Arc<str>,
    pub how: EndKind,
    /// Text so far of an aborted run, to be kept in the transcript.
    pub partial: String,
    pub at_ms: u64,
    /// The final answer as sent, for the dedupe table.
    pub answer: Answer,
}
