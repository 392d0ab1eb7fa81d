//! Open runs as clients see them: the text so far (kept once), `agent` and `chat` events at their pace, the final
//! answer, and who waits for the end (protocol 8 and 9; DECISIONS 51–56). Owned by the hub's thread; time is an
//! argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::reply::Reply;
use super::run_events::{
    AbortRuns, Answer, ClosedRun, Details, EndKind, EndRun, Finish, Follow, OpenRun, RunEvent, TIMED_OUT,
};
use crate::protocol::ErrorShape;
use crate::{limits, sort};

/// The whole text of a silent reply; while a streamed text is a prefix of it nothing is shown.
const SILENT: &str = "NO_REPLY";

/// What leaves the table, in order.
pub enum Output {
    /// An event for everybody who may see the session.
    Event { event: &'static str, payload: Value, session_key: Arc<str> },
    /// The response of whoever asked, or of one who waited for the end.
    Answer(Reply, Answer),
    /// For the owner of runs.
    Closed(ClosedRun),
}

/// Both clocks, read once per batch.
#[derive(Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    pub millis: u64,
}

struct Run {
    open: OpenRun,
    /// Milliseconds, and the place among all runs.
    opened: u64,
    order: u64,
    started: Option<u64>,
    seq: u64,
    /// Visible text of all assistant messages; the current one begins at `message`.
    text: String,
    message: usize,
    /// Where the text of the last assistant event and of the last chat delta ended.
    assistant_shown: usize,
    chat_shown: usize,
    /// What the followers have been told.
    followed: usize,
    last_assistant: Option<Instant>,
    last_chat: Option<Instant>,
}

#[derive(Clone)]
struct Ended {
    run_id: Arc<str>,
    started: Option<u64>,
    ended: u64,
    error: Option<String>,
    forget: Instant,
}

struct Waiter {
    run_id: String,
    until: Instant,
    reply: Reply,
}

#[derive(Default)]
pub struct OpenRuns {
    /// Runs accepted so far.
    accepted: u64,
    runs: HashMap<Arc<str>, Run>,
    ended: VecDeque<Ended>,
    waiters: Vec<Waiter>,
    out: Vec<Output>,
    /// Runs with text that has not been shown.
    pending: Vec<Arc<str>>,
}

impl OpenRuns {
    /// Runs that have not ended.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// What has to leave since the last call.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.out)
    }

    pub fn handle(&mut self, event: RunEvent, now: Now) {
        match event {
            RunEvent::Open(open) => self.open(open, now),
            RunEvent::Started { run_id, at_ms } => self.started(&run_id, at_ms),
            RunEvent::Delta { run_id, text } => {
                if let Some(run) = self.runs.get_mut(&run_id) {
                    run.text.push_str(&text);
                    if !self.pending.contains(&run_id) {
                        self.pending.push(run_id);
                    }
                }
            }
            RunEvent::MessageEnd { run_id } => self.message_end(&run_id, now),
            RunEvent::End(end) => self.end(end, now),
            RunEvent::Abort(abort) => self.abort(abort, now),
            RunEvent::Follow { run_id, follower } => self.follow(&run_id, follower),
            RunEvent::Wait { run_id, timeout_ms, reply } => self.wait(run_id, timeout_ms, reply, now),
        }
    }

    /// Shows pending text as far as the pace allows; called after every batch of messages and at `next_deadline`.
    pub fn flush(&mut self, now: Now) {
        for run_id in std::mem::take(&mut self.pending) {
            if let Some(run) = self.runs.get_mut(&run_id) {
                run.tell_followers();
                run.show(now, false, &mut self.out);
                if run.has_pending() {
                    self.pending.push(run_id);
                }
            }
        }
        let mut at = 0;
        while at < self.waiters.len() {
            if self.waiters[at].until <= now.instant {
                let waiter = self.waiters.swap_remove(at);
                waiter.reply.ok(&json!({"runId": waiter.run_id, "status": "timeout"}));
            } else {
                at += 1;
            }
        }
        while self.ended.front().is_some_and(|e| e.forget <= now.instant) {
            self.ended.pop_front();
        }
    }

    /// When `flush` has something to do even if no message comes.
    pub fn next_deadline(&self) -> Option<Instant> {
        let text = self.pending.iter().filter_map(|id| self.runs.get(id)).map(Run::due);
        self.waiters.iter().map(|w| w.until).chain(text).min()
    }

    fn open(&mut self, mut open: OpenRun, now: Now) {
        self.accepted += 1;
        open.followers.iter_mut().for_each(|follower| follower.accepted());
        let run_id = open.run_id.clone();
        let run = Run {
            open,
            opened: now.millis,
            order: self.accepted,
            started: None,
            seq: 0,
            text: String::new(),
            message: 0,
            assistant_shown: 0,
            chat_shown: 0,
            followed: 0,
            last_assistant: None,
            last_chat: None,
        };
        self.ended.retain(|e| e.run_id != run_id);
        self.runs.insert(run_id, run);
    }

    fn follow(&mut self, run_id: &str, mut follower: Box<dyn Follow>) {
        match self.runs.get_mut(run_id) {
            Some(run) => {
                follower.accepted();
                if run.followed > 0 {
                    follower.text(&run.text[..run.followed]);
                }
                run.open.followers.push(follower);
            }
            None => follower.refuse(&ErrorShape::unavailable("the run that this request asks for is over")),
        }
    }

    fn started(&mut self, run_id: &str, at_ms: u64) {
        if let Some(run) = self.runs.get_mut(run_id) {
            run.started = Some(at_ms);
            run.agent("lifecycle", json!({"phase": "start", "startedAt": at_ms}), at_ms, &mut self.out);
        }
    }

    fn message_end(&mut self, run_id: &str, now: Now) {
        if let Some(run) = self.runs.get_mut(run_id) {
            run.tell_followers();
            run.show(now, true, &mut self.out);
            // Messages follow each other without a separator, as in the final text.
            run.text.truncate(run.text.trim_end().len().max(run.message));
            run.message = run.text.len();
            run.assistant_shown = run.text.len();
        }
    }

    fn end(&mut self, end: EndRun, now: Now) {
        let Some(mut run) = self.runs.remove(&end.run_id) else { return };
        run.show_assistant(now, &mut self.out);
        self.close(run, end, now);
    }

    fn abort(&mut self, abort: AbortRuns, now: Now) {
        let wanted = |run: &Run| {
            abort.session_key.as_ref().is_none_or(|key| *key == run.open.session_key)
                && abort.run_id.as_ref().is_none_or(|id| **id == *run.open.run_id)
        };
        if let Some(id) = &abort.run_id
            && let Some(run) = self.runs.get(id.as_str())
            && !wanted(run)
        {
            if let Some(reply) = abort.reply {
                reply.err(&ErrorShape::invalid("runId does not match sessionKey"));
            }
            return;
        }
        let mut ids: Vec<_> = self.runs.values().filter(|r| wanted(r)).map(|r| r.open.run_id.clone()).collect();
        sort::by_key(&mut ids, |id| self.runs[id].order);
        if let Some((conn, device)) = &abort.only_of {
            let own = |run: &Run| {
                run.open.conn_id.as_ref() == Some(conn) || (device.is_some() && run.open.device_id == *device)
            };
            let before = ids.len();
            ids.retain(|id| own(&self.runs[id]));
            if ids.is_empty() && before > 0 {
                if let Some(reply) = abort.reply {
                    reply.err(&ErrorShape::invalid("unauthorized"));
                }
                return;
            }
        }
        for id in &ids {
            let run = self.runs.remove(id).expect("the id was just listed");
            run.open.cancel.cancel();
            let end = EndRun {
                run_id: id.clone(),
                how: EndKind::Aborted(abort.stop_reason),
                at_ms: abort.at_ms,
                text: None,
                usage: None,
                answer: run.aborted_answer(abort.stop_reason, abort.at_ms),
                details: None,
            };
            self.close(run, end, now);
        }
        if let Some(reply) = abort.reply {
            let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
            let payload = json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids});
            self.out.push(Output::Answer(reply, Answer::Ok(payload)));
        }
    }

    /// The one way in which a run ends for everybody: lifecycle, last chat delta, chat end, answers. The owner of runs
    /// knows before all of them: whoever has seen the end and asks again must find it there.
    fn close(&mut self, mut run: Run, end: EndRun, now: Now) {
        let at_ms = end.at_ms;
        self.out.push(Output::Closed(ClosedRun {
            run_id: run.open.run_id.clone(),
            session_key: run.open.session_key.clone(),
            how: end.how.clone(),
            partial: if matches!(end.how, EndKind::Aborted(_)) { run.text.clone() } else { String::new() },
            at_ms,
            answer: end.answer.clone(),
        }));
        let data = match &end.how {
            EndKind::Done => json!({"phase": "end", "endedAt": at_ms}),
            EndKind::Error(error) => json!({"phase": "error", "error": error, "endedAt": at_ms}),
            EndKind::Aborted(reason) => {
                json!({"phase": "end", "endedAt": at_ms, "aborted": true, "stopReason": reason})
            }
        };
        run.agent("lifecycle", data, at_ms, &mut self.out);
        let mut chat = Map::new();
        // What was pending is shown before a failure, too: the error says nothing of it.
        if end.text.is_some() {
            run.show_chat(now, &mut self.out);
        }
        match &end.how {
            EndKind::Done => {
                chat.insert("state".into(), "final".into());
                if let Some(text) = &end.text {
                    chat.insert("message".into(), message(text, at_ms));
                }
            }
            EndKind::Error(error) => {
                chat.insert("state".into(), "error".into());
                chat.insert("errorMessage".into(), error.as_str().into());
            }
            EndKind::Aborted(reason) => {
                chat.insert("state".into(), "aborted".into());
                chat.insert("stopReason".into(), (*reason).into());
                let shown = run.shown();
                if shown > 0 {
                    chat.insert("message".into(), message(&run.text[..shown], at_ms));
                }
            }
        }
        if let Some(usage) = end.usage {
            chat.insert("usage".into(), usage);
        }
        run.chat(chat, &mut self.out);
        self.finished(&run, &end.how, at_ms, now);
        run.end_followers(&end.how, end.details.as_deref());
        self.out.extend(run.open.final_reply.map(|reply| Output::Answer(reply, end.answer)));
    }

    fn finished(&mut self, run: &Run, how: &EndKind, ended: u64, now: Now) {
        let error = match how {
            EndKind::Error(error) => Some(error.clone()),
            _ => None,
        };
        let done = Ended {
            run_id: run.open.run_id.clone(),
            started: run.started,
            ended,
            error,
            forget: now.instant + limits::RUN_RESULT_TTL,
        };
        let mut at = 0;
        while at < self.waiters.len() {
            if *self.waiters[at].run_id == *done.run_id {
                let waiter = self.waiters.swap_remove(at);
                self.out.push(Output::Answer(waiter.reply, Answer::Ok(done.answer())));
            } else {
                at += 1;
            }
        }
        if self.ended.len() == limits::DEDUPE_ENTRIES {
            self.ended.pop_front();
        }
        self.ended.push_back(done);
    }

    fn wait(&mut self, run_id: String, timeout_ms: u64, reply: Reply, now: Now) {
        if let Some(done) = self.ended.iter().find(|e| *e.run_id == *run_id) {
            return reply.ok(&done.answer());
        }
        // A day is for ever here, and keeps the sum of instants in range.
        let timeout = Duration::from_millis(timeout_ms.min(86_400_000));
        self.waiters.push(Waiter { run_id, until: now.instant + timeout, reply });
    }
}

impl Ended {
    /// The result of `agent.wait`.
    fn answer(&self) -> Value {
        let status = if self.error.is_some() { "error" } else { "ok" };
        let mut answer = json!({"runId": &*self.run_id, "status": status});
        if let Some(started) = self.started {
            answer["startedAt"] = started.into();
        }
        answer["endedAt"] = self.ended.into();
        if let Some(error) = &self.error {
            answer["error"] = error.as_str().into();
        }
        answer
    }
}

impl Run {
    fn has_pending(&self) -> bool {
        let shown = self.shown();
        shown > self.assistant_shown || shown > self.chat_shown
    }

    /// Length of the text that may be shown: trailing blanks wait for what follows them, and a text that may still
    /// become the silent token is held back.
    fn shown(&self) -> usize {
        let text = self.text.trim_end();
        if SILENT.starts_with(text.trim_start()) { 0 } else { text.len() }
    }

    /// At no pace: whoever follows one run wants its words as they come.
    fn tell_followers(&mut self) {
        let shown = self.shown();
        if shown > self.followed {
            for follower in &mut self.open.followers {
                follower.text(&self.text[self.followed..shown]);
            }
            self.followed = shown;
        }
    }

    fn end_followers(&mut self, how: &EndKind, details: Option<&Details>) {
        self.tell_followers();
        let none = Details::default();
        let text = &self.text[..self.shown()];
        for follower in self.open.followers.drain(..) {
            follower.end(&Finish { how, text, details: details.unwrap_or(&none) });
        }
    }

    /// When the pace allows the next event.
    fn due(&self) -> Instant {
        let chat = self.last_chat.map(|at| at + limits::CHAT_DELTA_EVERY);
        let assistant = self.last_assistant.map(|at| at + limits::ASSISTANT_EVENT_EVERY);
        let due = if self.shown() > self.assistant_shown { assistant } else { chat };
        due.unwrap_or_else(Instant::now)
    }

    /// Shows new text as an assistant event and, where the pace allows, as a chat delta.
    fn show(&mut self, now: Now, all: bool, out: &mut Vec<Output>) {
        let dense = self.text.len() - self.message > limits::ASSISTANT_DENSE_BYTES;
        let waits = dense && self.last_assistant.is_some_and(|at| now.instant < at + limits::ASSISTANT_EVENT_EVERY);
        if all || !waits {
            self.show_assistant(now, out);
        }
        if self.last_chat.is_none_or(|at| now.instant >= at + limits::CHAT_DELTA_EVERY) {
            self.show_chat(now, out);
        }
    }

    fn show_assistant(&mut self, now: Now, out: &mut Vec<Output>) {
        let shown = self.shown();
        if shown <= self.assistant_shown {
            return;
        }
        let data = json!({"text": &self.text[self.message..shown], "delta": &self.text[self.assistant_shown..shown]});
        self.assistant_shown = shown;
        self.last_assistant = Some(now.instant);
        self.agent("assistant", data, now.millis, out);
    }

    /// A delta with all text so far, if there is more than in the last one.
    fn show_chat(&mut self, now: Now, out: &mut Vec<Output>) {
        let shown = self.shown();
        if shown <= self.chat_shown {
            return;
        }
        self.chat_shown = shown;
        self.last_chat = Some(now.instant);
        let mut chat = Map::new();
        chat.insert("state".into(), "delta".into());
        chat.insert("message".into(), message(&self.text[..shown], now.millis));
        self.chat(chat, out);
    }

    fn agent(&mut self, stream: &'static str, data: Value, ts: u64, out: &mut Vec<Output>) {
        self.seq += 1;
        let payload = json!({
            "runId": &*self.open.run_id,
            "stream": stream,
            "data": data,
            "sessionKey": &*self.open.session_key,
            "seq": self.seq,
            "ts": ts,
        });
        let session_key = self.open.session_key.clone();
        out.push(Output::Event { event: "agent", payload, session_key });
    }

    /// A chat event; its `seq` is that of the agent event that caused it.
    fn chat(&self, rest: Map<String, Value>, out: &mut Vec<Output>) {
        let mut payload = Map::new();
        payload.insert("runId".into(), (*self.open.run_id).into());
        payload.insert("sessionKey".into(), (*self.open.session_key).into());
        payload.insert("seq".into(), self.seq.into());
        payload.extend(rest);
        let session_key = self.open.session_key.clone();
        out.push(Output::Event { event: "chat", payload: payload.into(), session_key });
    }

    /// What the second `res` of an aborted or timed-out `agent` run carries.
    fn aborted_answer(&self, reason: &str, at_ms: u64) -> Answer {
        let text = match (reason, &self.text[..self.shown()]) {
            ("timeout", "") => TIMED_OUT,
            (_, partial) => partial,
        };
        let payloads = if text.is_empty() { json!([]) } else { json!([{"text": text, "mediaUrl": null}]) };
        Answer::Ok(json!({
            "runId": &*self.open.run_id,
            "status": "ok",
            "summary": if reason == "timeout" { "completed" } else { "aborted" },
            "result": {
                "payloads": payloads,
                "meta": {"durationMs": at_ms.saturating_sub(self.opened), "aborted": true, "stopReason": reason},
            },
        }))
    }
}

fn message(text: &str, timestamp: u64) -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": text.trim_end()}], "timestamp": timestamp})
}

#[cfg(test)]
#[path = "open_runs_tests.rs"]
mod tests;
