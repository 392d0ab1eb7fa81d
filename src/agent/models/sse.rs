//! The shell that every format with server-sent events shares: bytes in, the format's own events out, one end.

use serde_json::Value;

use super::fault::short_text;
use super::lines::SseData;
use super::wire::{ModelError, Reason, StopReason, StreamEvent};
use crate::limits::MODEL_LINE_BYTES;

/// What a format makes of the events of a stream.
pub trait SseAnswer: Default {
    /// One event; false ends the reading.
    fn event(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> bool;

    /// The answer is whole: gives what is still held back, usage and the stop.
    fn end(&mut self, out: &mut Vec<StreamEvent>);

    fn progress(&mut self) -> &mut Progress;

    /// Bytes of calls that are not whole yet.
    fn held(&self) -> usize;
}

/// How far an answer has come.
#[derive(Default)]
pub struct Progress {
    pub stop: Option<StopReason>,
    pub seen: bool,
    pub over: bool,
}

impl Progress {
    pub fn fail(&mut self, error: ModelError, out: &mut Vec<StreamEvent>) {
        self.over = true;
        out.push(StreamEvent::Error(error));
    }
}

pub struct SseParser<A> {
    sse: SseData,
    answer: A,
}

impl<A: SseAnswer> Default for SseParser<A> {
    fn default() -> Self {
        SseParser { sse: SseData::new(MODEL_LINE_BYTES), answer: A::default() }
    }
}

impl<A: SseAnswer> SseParser<A> {
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<StreamEvent>) {
        let answer = &mut self.answer;
        if answer.progress().over {
            return;
        }
        let fed = self.sse.feed(bytes, |data| answer.event(data, out));
        let progress = answer.progress();
        if fed.is_err() && !progress.over {
            progress
                .fail(ModelError::new(Reason::Format, "the model endpoint sent an event beyond the size limit"), out);
        }
    }

    pub fn held(&self) -> usize {
        self.answer.held()
    }

    /// The body has ended.
    pub fn finish(&mut self, out: &mut Vec<StreamEvent>) {
        let answer = &mut self.answer;
        if answer.progress().over {
            return;
        }
        self.sse.finish(|data| answer.event(data, out));
        let progress = answer.progress();
        if progress.over {
            return;
        }
        if progress.stop.is_some() {
            answer.end(out);
        } else if progress.seen {
            progress.fail(ModelError::new(Reason::Timeout, "the model endpoint ended its answer in the middle"), out);
        } else {
            progress.fail(not_a_stream(self.sse.stray()), out);
        }
    }
}

/// A 200 whose body is no event stream: a JSON error, a web page of a proxy, nothing.
pub(super) fn not_a_stream(stray: &[u8]) -> ModelError {
    if let Some(error) = serde_json::from_slice::<Value>(stray).ok().as_ref().and_then(|v| v.get("error")) {
        return ModelError::from_object(error, false);
    }
    let start = short_text(stray);
    let text = match start.as_str() {
        "" => "the model endpoint sent an empty answer".to_owned(),
        start => format!("the model endpoint sent no event stream but: {start}"),
    };
    ModelError::new(Reason::Timeout, text)
}
