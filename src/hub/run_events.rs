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

/// Follows one run to its end besides the clients, and makes an HTTP answer of it. Called on the hub's thread: memory
/// only.
pub trait Follow: Send {
    /// It is a run now; it may still wait for its turn.
    fn accepted(&mut self) {}
    /// More visible text.
    fn text(&mut self, piece: &str);
    fn end(self: Box<Self>, end: &Finish<'_>);
    /// It never became a run.
    fn refuse(self: Box<Self>, error: &ErrorShape);
}

/// The end of a run as a follower sees it.
pub struct Finish<'a> {
    pub how: &'a EndKind,
    /// All visible text.
    pub text: &'a str,
    pub details: &'a Details,
}

/// What only followers ask for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// Tokens of the whole run; `input` without what came from a cache.
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    /// The model stopped at its limit of tokens.
    pub truncated: bool,
    /// Functions of the client that the model calls; the client answers with a new request.
    pub calls: Vec<ClientCall>,
    /// What the provider answered, or what stands for it: HTTP status of a failure.
    pub status: Option<u16>,
    /// Seconds after which a provider that refused for now wants to be asked again.
    pub retry_after: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClientCall {
    pub id: String,
    pub name: String,
    /// JSON text.
    pub arguments: String,
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
    /// One more follower; what was said so far is told to it. A run that is over refuses it.
    Follow {
        run_id: Arc<str>,
        follower: Box<dyn Follow>,
    },
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
    pub followers: Vec<Box<dyn Follow>>,
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
    /// For followers; None when there are none.
    pub details: Option<Box<Details>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum EndKind {
    Done,
    /// Raw text of the failure: `lifecycle error`, `chat error`.
    Error(String),
    /// `stopReason` for chat: `rpc`, `stop`, `timeout`, `restart`, `disconnect`.
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
