//! Open runs as clients see them: the text so far (kept once), `agent` and `chat` events at their pace, the final
//! answer, and who waits for the end (protocol 8 and 9; DECISIONS 51–56). Owned by the hub's thread; time is an
//! argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::reply::Reply;
use super::run_events::{AbortRuns, Answer, ClosedRun, EndKind, EndRun, OpenRun, RunEvent, TIMED_OUT};
use crate::limits;
use crate::protocol::ErrorShape;

/// The whole text of a silent reply; while a streamed text is a prefix of it nothing is shown.
const SILENT: &str = "NO_REPLY";

/// What leaves the table, in order.
pub enum Output {
    /// An event for everybody who may see the session.
    Event { event: &'static str, payload: Value, session_key: Arc<str> },
    /// The second response of `agent`.
    Final(Reply, Answer),
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
    opened: u64,
    started: Option<u64>,
    seq: u64,
    /// Visible text of all assistant messages; the current one begins at `message`.
    text: String,
    message: usize,
    /// Where the text of the last assistant event and of the last chat delta ended.
    assistant_shown: usize,
    chat_shown: usize,
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
            RunEvent::Wait { run_id, timeout_ms, reply } => self.wait(run_id, timeout_ms, reply, now),
        }
    }

    /// Shows pending text as far as the pace allows; called after every batch of messages and at `next_deadline`.
    pub fn flush(&mut self, now: Now) {
        for run_id in std::mem::take(&mut self.pending) {
            if let Some(run) = self.runs.get_mut(&run_id) {
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

    fn open(&mut self, open: OpenRun, now: Now) {
        let run_id = open.run_id.clone();
        let run = Run {
            open,
            opened: now.millis,
            started: None,
            seq: 0,
            text: String::new(),
            message: 0,
            assistant_shown: 0,
            chat_shown: 0,
            last_assistant: None,
            last_chat: None,
        };
        self.ended.retain(|e| e.run_id != run_id);
        self.runs.insert(run_id, run);
    }

    fn started(&mut self, run_id: &str, at_ms: u64) {
        if let Some(run) = self.runs.get_mut(run_id) {
            run.started = Some(at_ms);
            run.agent("lifecycle", json!({"phase": "start", "startedAt": at_ms}), at_ms, &mut self.out);
        }
    }

    fn message_end(&mut self, run_id: &str, now: Now) {
        if let Some(run) = self.runs.get_mut(run_id) {
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
        ids.sort_by_key(|id| self.runs[id].opened);
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
            };
            self.close(run, end, now);
        }
        if let Some(reply) = abort.reply {
            let ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
            reply.ok(&json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids}));
        }
    }

    /// The one way in which a run ends for everybody: lifecycle, last chat delta, chat end, final answer.
    fn close(&mut self, mut run: Run, end: EndRun, now: Now) {
        let at_ms = end.at_ms;
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
        let final_reply = run.open.final_reply.take();
        let partial = match end.how {
            EndKind::Aborted(_) => std::mem::take(&mut run.text),
            _ => String::new(),
        };
        let closed = ClosedRun {
            run_id: run.open.run_id,
            session_key: run.open.session_key,
            how: end.how,
            partial,
            at_ms,
            answer: end.answer.clone(),
        };
        // The owner of runs knows first: who has seen the final answer and asks again must find it there.
        self.out.push(Output::Closed(closed));
        self.out.extend(final_reply.map(|reply| Output::Final(reply, end.answer)));
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
                self.waiters.swap_remove(at).reply.ok(&done.answer());
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
mod tests {
    use super::*;
    use crate::hub::outbox::tests::{Memory, MemoryWire};
    use crate::hub::outbox::{Budget, Outbox};
    use crate::hub::run_events::Cancel;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Cancel for Flag {
        fn cancel(&self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    struct Table {
        runs: OpenRuns,
        start: Instant,
        memory: Arc<Memory>,
        outbox: Arc<Outbox>,
        cancel: Arc<Flag>,
    }

    impl Table {
        fn new() -> Table {
            let memory = Memory::with_credit(usize::MAX);
            let wire = Box::new(MemoryWire(memory.clone()));
            let outbox = Outbox::new("t".into(), wire, Budget::new(usize::MAX), usize::MAX);
            let cancel = Arc::<Flag>::default();
            Table { runs: OpenRuns::default(), start: Instant::now(), memory, outbox, cancel }
        }

        fn now(&self, ms: u64) -> Now {
            Now { instant: self.start + Duration::from_millis(ms), millis: 1000 + ms }
        }

        fn reply(&self, id: &str) -> Reply {
            Reply::new(self.outbox.clone(), id.into())
        }

        fn open(&mut self, id: &str, key: &str) {
            let open = OpenRun {
                run_id: id.into(),
                session_key: key.into(),
                conn_id: Some("c1".into()),
                device_id: None,
                final_reply: Some(self.reply(&format!("req-{id}"))),
                cancel: self.cancel.clone(),
            };
            self.runs.handle(RunEvent::Open(open), self.now(0));
            self.runs.handle(RunEvent::Started { run_id: id.into(), at_ms: 1000 }, self.now(0));
        }

        fn delta(&mut self, id: &str, text: &str, ms: u64) {
            self.runs.handle(RunEvent::Delta { run_id: id.into(), text: text.into() }, self.now(ms));
            self.runs.flush(self.now(ms));
        }

        fn end(&mut self, id: &str, how: EndKind, text: Option<&str>, ms: u64) {
            let answer = Answer::Ok(json!({"runId": id, "status": "ok"}));
            let end =
                EndRun { run_id: id.into(), how, at_ms: 1000 + ms, text: text.map(str::to_owned), usage: None, answer };
            self.runs.handle(RunEvent::End(end), self.now(ms));
        }

        /// Short forms of what left: `agent 2 assistant "a"`, `chat 2 delta "a"`, `final`, `closed`.
        fn left(&mut self) -> Vec<String> {
            let short = |output: Output| match output {
                Output::Event { event: "agent", payload, .. } => {
                    let what = payload["data"]["text"].as_str().or(payload["data"]["phase"].as_str());
                    format!("agent {} {} {}", payload["seq"], payload["stream"].as_str().unwrap(), what.unwrap())
                }
                Output::Event { payload, .. } => {
                    let text = payload["message"]["content"][0]["text"].as_str().unwrap_or("-").to_owned();
                    format!("chat {} {} {text}", payload["seq"], payload["state"].as_str().unwrap())
                }
                Output::Final(reply, Answer::Ok(payload)) => {
                    reply.ok(&payload);
                    "final".into()
                }
                Output::Final(reply, Answer::Err { error, payload }) => {
                    reply.err_with_payload(&error, &payload);
                    "final err".into()
                }
                Output::Closed(closed) => format!("closed {}", closed.partial).trim_end().to_owned(),
            };
            self.runs.take().into_iter().map(short).collect()
        }
    }

    #[test]
    fn order_and_pace_are_those_of_the_recording() {
        let mut t = Table::new();
        t.open("r", "agent:main:main");
        t.delta("r", "word0 ", 10);
        t.delta("r", "word1 ", 60);
        t.delta("r", "word2", 120);
        t.delta("r", " word3 ", 170);
        t.delta("r", "word4 ", 180);
        t.end("r", EndKind::Done, Some("word0 word1 word2 word3 word4 "), 200);
        assert_eq!(
            t.left(),
            [
                "agent 1 lifecycle start",
                "agent 2 assistant word0",
                "chat 2 delta word0",
                "agent 3 assistant word0 word1",
                "agent 4 assistant word0 word1 word2",
                "agent 5 assistant word0 word1 word2 word3",
                "chat 5 delta word0 word1 word2 word3",
                "agent 6 assistant word0 word1 word2 word3 word4",
                "agent 7 lifecycle end",
                "chat 7 delta word0 word1 word2 word3 word4",
                "chat 7 final word0 word1 word2 word3 word4",
                "closed",
                "final",
            ]
        );
        assert!(t.memory.texts()[0].contains("\"id\":\"req-r\""));
    }

    #[test]
    fn deltas_that_wait_together_become_one_event() {
        let mut t = Table::new();
        t.open("r", "k");
        for n in 0..100 {
            t.runs.handle(RunEvent::Delta { run_id: "r".into(), text: format!("{n} ") }, t.now(1));
        }
        t.runs.flush(t.now(1));
        assert_eq!(t.left().len(), 3, "start, one assistant event, one chat delta");
    }

    #[test]
    fn a_long_answer_stays_linear() {
        let mut t = Table::new();
        t.open("r", "k");
        let mut bytes = 0;
        for n in 0..2000 {
            t.delta("r", &"x".repeat(500), n / 10);
            for output in t.runs.take() {
                if let Output::Event { payload, .. } = output {
                    bytes += payload.to_string().len();
                }
            }
        }
        // 2,000 deltas of 500 bytes in 200 ms: a handful of events, not 2,000 of up to a megabyte.
        assert!(bytes < 12 << 20, "{bytes}");
        assert!(t.runs.next_deadline().is_some(), "the rest is shown even if nothing more comes");
    }

    #[test]
    fn another_assistant_message_begins_anew_but_chat_goes_on() {
        let mut t = Table::new();
        t.open("r", "k");
        t.delta("r", "Looking. ", 0);
        t.runs.handle(RunEvent::MessageEnd { run_id: "r".into() }, t.now(10));
        t.delta("r", "Found.", 200);
        assert_eq!(
            t.left()[1..],
            [
                "agent 2 assistant Looking.",
                "chat 2 delta Looking.",
                "agent 3 assistant Found.",
                "chat 3 delta Looking.Found."
            ]
        );
    }

    #[test]
    fn a_silent_reply_shows_nothing() {
        let mut t = Table::new();
        t.open("r", "k");
        for (n, part) in ["NO", "_RE", "PLY", "\n"].into_iter().enumerate() {
            t.delta("r", part, 200 * n as u64);
        }
        t.end("r", EndKind::Done, None, 900);
        assert_eq!(t.left(), ["agent 1 lifecycle start", "agent 2 lifecycle end", "chat 2 final -", "closed", "final"]);
    }

    #[test]
    fn nothing_follows_an_abort() {
        let mut t = Table::new();
        t.open("r", "k");
        t.delta("r", "half ", 0);
        let abort = |reply, only_of| AbortRuns {
            session_key: Some("k".into()),
            run_id: None,
            stop_reason: "rpc",
            at_ms: 1100,
            only_of,
            reply: Some(reply),
        };
        let stranger = Some(("c2".into(), None));
        t.runs.handle(RunEvent::Abort(abort(t.reply("a0"), stranger)), t.now(90));
        assert!(!t.cancel.0.load(Ordering::Relaxed));
        t.runs.handle(RunEvent::Abort(abort(t.reply("a1"), Some(("c1".into(), None)))), t.now(100));
        assert!(t.cancel.0.load(Ordering::Relaxed));
        t.delta("r", "a whole", 300);
        t.end("r", EndKind::Done, Some("half a whole"), 400);
        t.runs.handle(RunEvent::Abort(abort(t.reply("a2"), None)), t.now(500));
        assert_eq!(
            t.left()[3..],
            ["agent 3 lifecycle end", "chat 3 aborted half", "closed half", "final"],
            "and the late words of the thread are dropped"
        );
        let texts = t.memory.texts();
        assert!(texts[0].contains("unauthorized"));
        assert!(texts[1].contains("\"aborted\":true,\"runIds\":[\"r\"]"), "{}", texts[1]);
        assert!(texts[2].contains("\"aborted\":false,\"runIds\":[]"), "{}", texts[2]);
        assert!(texts[3].contains("req-r"), "{}", texts[3]);
    }

    #[test]
    fn an_abort_names_the_right_session() {
        let mut t = Table::new();
        t.open("r", "k");
        for (key, run, want) in [
            ("other", Some("r"), "runId does not match sessionKey"),
            ("k", Some("unknown"), "\"aborted\":false"),
            ("k", Some("r"), "\"aborted\":true"),
        ] {
            let abort = AbortRuns {
                session_key: Some(key.into()),
                run_id: run.map(str::to_owned),
                stop_reason: "rpc",
                at_ms: 0,
                only_of: None,
                reply: Some(t.reply("x")),
            };
            t.runs.handle(RunEvent::Abort(abort), t.now(0));
            assert!(t.memory.texts().last().unwrap().contains(want), "{want}");
        }
    }

    #[test]
    fn waiting_for_a_run() {
        let mut t = Table::new();
        t.open("r", "k");
        let wait = |t: &mut Table, id: &str, run: &str, ms| {
            let reply = t.reply(id);
            t.runs.handle(RunEvent::Wait { run_id: run.into(), timeout_ms: ms, reply }, t.now(0));
        };
        wait(&mut t, "w1", "r", 30_000);
        wait(&mut t, "w2", "unknown", 50);
        t.runs.flush(t.now(49));
        assert!(t.memory.texts().is_empty());
        t.runs.flush(t.now(50));
        assert!(t.memory.texts()[0].contains("\"id\":\"w2\"") && t.memory.texts()[0].contains("timeout"));
        t.end("r", EndKind::Error("401 bad key".into()), None, 60);
        wait(&mut t, "w3", "r", 0);
        for (n, id) in [(1, "w1"), (2, "w3")] {
            let text = &t.memory.texts()[n];
            let want = "\"payload\":{\"runId\":\"r\",\"status\":\"error\",\"startedAt\":1000,\"endedAt\":1060,\"error\":\"401 bad key\"}";
            assert!(text.contains(id) && text.contains(want), "{text}");
        }
        t.runs.flush(t.now(11 * 60 * 1000));
        wait(&mut t, "w4", "r", 0);
        t.runs.flush(t.now(11 * 60 * 1000));
        assert!(t.memory.texts().last().unwrap().contains("timeout"), "forgotten after ten minutes");
    }
}
