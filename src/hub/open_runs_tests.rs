//! What clients and the owner of runs get, in order.

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
            followers: Vec::new(),
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
        let end = EndRun {
            run_id: id.into(),
            how,
            at_ms: 1000 + ms,
            text: text.map(str::to_owned),
            usage: None,
            answer,
            details: None,
        };
        self.runs.handle(RunEvent::End(end), self.now(ms));
    }

    /// Short forms of what left: `agent 2 assistant "a"`, `chat 2 delta "a"`, `answer`, `closed`.
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
            Output::Answer(reply, Answer::Ok(payload)) => {
                reply.ok(&payload);
                "answer".into()
            }
            Output::Answer(reply, Answer::Err { error, payload }) => {
                reply.err_with_payload(&error, &payload);
                "answer err".into()
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
            "closed",
            "agent 7 lifecycle end",
            "chat 7 delta word0 word1 word2 word3 word4",
            "chat 7 final word0 word1 word2 word3 word4",
            "answer",
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
    assert_eq!(t.left(), ["agent 1 lifecycle start", "closed", "agent 2 lifecycle end", "chat 2 final -", "answer"]);
}

#[test]
fn a_failure_shows_first_what_was_pending() {
    let mut t = Table::new();
    t.open("r", "k");
    t.delta("r", "half ", 0);
    t.delta("r", "an", 20);
    t.end("r", EndKind::Error("broken".into()), Some("half an"), 30);
    assert_eq!(
        t.left()[3..],
        [
            "agent 3 assistant half an",
            "closed",
            "agent 4 lifecycle error",
            "chat 4 delta half an",
            "chat 4 error -",
            "answer"
        ]
    );
}

#[test]
fn an_abort_does_not_show_half_a_silent_token() {
    let mut t = Table::new();
    t.open("r", "k");
    t.delta("r", "NO_RE", 0);
    let abort = AbortRuns {
        session_key: Some("k".into()),
        run_id: None,
        stop_reason: "rpc",
        at_ms: 1100,
        only_of: None,
        reply: None,
    };
    t.runs.handle(RunEvent::Abort(abort), t.now(10));
    assert_eq!(t.left()[1..4], ["closed NO_RE", "agent 2 lifecycle end", "chat 2 aborted -"]);
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
        ["closed half", "agent 3 lifecycle end", "chat 3 aborted half", "answer", "answer", "answer"],
        "and the late words of the thread are dropped"
    );
    let texts = t.memory.texts();
    assert!(texts[0].contains("unauthorized"));
    assert!(texts[1].contains("req-r"), "{}", texts[1]);
    assert!(texts[2].contains("\"aborted\":true,\"runIds\":[\"r\"]"), "{}", texts[2]);
    assert!(texts[3].contains("\"aborted\":false,\"runIds\":[]"), "{}", texts[3]);
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
        t.left();
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
    t.left();
    wait(&mut t, "w3", "r", 0);
    for (n, id) in [(1, "w1"), (3, "w3")] {
        let text = &t.memory.texts()[n];
        let want = "\"payload\":{\"runId\":\"r\",\"status\":\"error\",\"startedAt\":1000,\"endedAt\":1060,\"error\":\"401 bad key\"}";
        assert!(text.contains(id) && text.contains(want), "{text}");
    }
    t.runs.flush(t.now(11 * 60 * 1000));
    wait(&mut t, "w4", "r", 0);
    t.runs.flush(t.now(11 * 60 * 1000));
    assert!(t.memory.texts().last().unwrap().contains("timeout"), "forgotten after ten minutes");
}
