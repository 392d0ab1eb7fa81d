use std::path::PathBuf;

use parking_lot::Mutex;

use serde_json::json;

use super::*;
use crate::agent::fake::{Act, Asked, Fake, done, stream_of, text, wait_until};
use crate::agent::history;
use crate::agent::models::client::{Timing, make_agent};
use crate::agent::world::SystemLine;
use crate::config::{Api, Config, Cost, Model, ModelChoice, Overrides, Paths, Provider};
use crate::hub::run_events::Cancel;
use crate::limits::QUEUED_RUNS_PER_SESSION;
use crate::secret::Secret;
use crate::store::{Sessions, Store};

/// The part of the hub that runs depend on: a table of open runs, the first end counts.
struct MiniHub {
    events: Sender<RunEvent>,
    log: Arc<Mutex<Vec<String>>>,
}

struct OpenEntry {
    session: Arc<str>,
    text: String,
    reply: Option<Reply>,
    cancel: Arc<dyn Cancel>,
}

impl MiniHub {
    fn start(closed: Sender<ClosedRun>) -> MiniHub {
        let (events, inbox) = unbounded();
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let said = log.clone();
        thread::spawn(move || {
            let mut open: HashMap<String, OpenEntry> = HashMap::new();
            let close = |open: &mut HashMap<String, OpenEntry>, id: &str, how: EndKind, at_ms, answer: Answer| {
                let Some(entry) = open.remove(id) else { return };
                if matches!(how, EndKind::Aborted(_)) {
                    entry.cancel.cancel();
                }
                said.lock().push(format!("end {id} {how:?} [{}]", entry.text));
                match (entry.reply, &answer) {
                    (Some(reply), Answer::Ok(payload)) => reply.ok(payload),
                    (Some(reply), Answer::Err { error, payload }) => reply.err_with_payload(error, payload),
                    (None, _) => {}
                }
                let _ = closed.send(ClosedRun {
                    run_id: id.into(),
                    session_key: entry.session,
                    how,
                    partial: entry.text,
                    at_ms,
                    answer,
                });
            };
            for event in inbox {
                match event {
                    RunEvent::Open(run) => {
                        said.lock().push(format!("open {}", run.run_id));
                        let entry = OpenEntry {
                            session: run.session_key,
                            text: String::new(),
                            reply: run.final_reply,
                            cancel: run.cancel,
                        };
                        open.insert(run.run_id.to_string(), entry);
                    }
                    RunEvent::Started { run_id, .. } if open.contains_key(&*run_id) => {
                        said.lock().push(format!("start {run_id}"));
                    }
                    RunEvent::Delta { run_id, text } => {
                        if let Some(entry) = open.get_mut(&*run_id) {
                            entry.text.push_str(&text);
                            said.lock().push(format!("delta {run_id} {text}"));
                        }
                    }
                    RunEvent::MessageEnd { run_id } if open.contains_key(&*run_id) => {
                        said.lock().push(format!("message {run_id}"));
                    }
                    RunEvent::End(end) => close(&mut open, &end.run_id, end.how, end.at_ms, end.answer),
                    RunEvent::Abort(abort) => {
                        let ids: Vec<String> = open
                            .iter()
                            .filter(|(id, e)| {
                                abort.session_key.as_ref().is_none_or(|key| *key == e.session)
                                    && abort.run_id.as_ref().is_none_or(|wanted| wanted == *id)
                            })
                            .map(|(id, _)| id.clone())
                            .collect();
                        for id in &ids {
                            let payload = json!({"runId": id, "status": "ok", "aborted": abort.stop_reason});
                            let how = EndKind::Aborted(abort.stop_reason);
                            close(&mut open, id, how, abort.at_ms, Answer::Ok(payload));
                        }
                        if let Some(reply) = abort.reply {
                            reply.ok(&json!({"ok": true, "aborted": !ids.is_empty(), "runIds": ids}));
                        }
                    }
                    _ => {}
                }
            }
        });
        MiniHub { events, log }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().clone()
    }

    fn saw(&self, line: &str) -> bool {
        self.log.lock().iter().any(|l| l.starts_with(line))
    }

    fn wait_for(&self, line: &str) {
        wait_until(line, || self.saw(line));
    }
}

/// A whole agent room in a directory of its own.
struct House {
    dir: PathBuf,
    hub: MiniHub,
    runs: Option<Runs>,
    config: Arc<Mutex<Arc<Config>>>,
    sessions: Sessions,
    store: Store,
    lines: Arc<Mutex<Vec<SystemLine>>>,
    chat_events: Arc<Mutex<Vec<Value>>>,
    paths: Paths,
}

impl House {
    fn new(url: &str, change: impl FnOnce(&mut Config)) -> House {
        House::with_agent(url, Arc::new(make_agent), change)
    }

    fn with_agent(
        url: &str,
        make_agent: crate::agent::models::client::MakeAgent,
        change: impl FnOnce(&mut Config),
    ) -> House {
        let dir = std::env::temp_dir().join(format!("openclaw-runs-{}", crate::ids::new_uuid()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut source = crate::config::source::MemorySource::new();
        source.vars.insert("HOME".into(), dir.display().to_string());
        source.vars.insert("OPENCLAW_STATE_DIR".into(), dir.join("state").display().to_string());
        let paths = Paths::resolve(&source, &Overrides::default()).unwrap();
        let mut config = Config::default();
        config.models.providers.insert("mock".into(), mock_provider(url));
        config.agents.defaults.model = Some(ModelChoice { primary: "mock/m1".into(), fallbacks: vec![] });
        config.agents.defaults.user_timezone = Some("UTC".into());
        change(&mut config);
        let config = Arc::new(Mutex::new(Arc::new(config)));
        let store = Store::start(Box::new(|| {})).unwrap();
        let file = session::store_file(&config.lock(), &paths, "main");
        let sessions = Sessions::open(&[("main".into(), file)], &store, 1);
        let (closed_tx, closed) = unbounded();
        let hub = MiniHub::start(closed_tx);
        let lines: Arc<Mutex<Vec<SystemLine>>> = Arc::default();
        let chat_events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (events, current, queued, chat) = (hub.events.clone(), config.clone(), lines.clone(), chat_events.clone());
        let world = World {
            hub: Box::new(move |event| drop(events.send(event))),
            system_lines: Box::new(move |_| std::mem::take(&mut *queued.lock())),
            chat_event: Box::new(move |event| chat.lock().push(event)),
            sessions: sessions.clone(),
            config: Box::new(move || current.lock().clone()),
            paths: paths.clone(),
            env: Box::new(|_| None),
            dev: false,
            host: "test".into(),
            now_ms: Box::new(|| 1_795_204_203_777),
            timing: Timing { retry_pause: Duration::from_millis(1), ..Timing::default() },
            make_agent,
            metrics: Arc::new(crate::metrics::Metrics::new(vec![], vec![], vec![])),
        };
        let runs = Runs::start(Arc::new(world), closed, Box::new(|| panic!("the runs thread died"))).unwrap();
        House { dir, hub, runs: Some(runs), config, sessions, store, lines, chat_events, paths }
    }

    fn handle(&self) -> &RunsHandle {
        &self.runs.as_ref().unwrap().handle
    }

    fn caller() -> Caller {
        Caller { conn_id: "c1".into(), device_id: None, admin: true }
    }

    fn agent(&self, key: &str, session: &str, message: &str) -> Asked {
        self.agent_with(AgentParams {
            message: message.into(),
            idempotency_key: key.into(),
            session_key: Some(session.into()),
            ..AgentParams::default()
        })
    }

    fn agent_with(&self, params: AgentParams) -> Asked {
        let (asked, reply) = Asked::new();
        self.handle().agent(params, House::caller(), reply);
        asked
    }

    fn chat(&self, key: &str, message: &str) -> Asked {
        let (asked, reply) = Asked::new();
        let params = ChatSendParams {
            session_key: "main".into(),
            message: message.into(),
            idempotency_key: key.into(),
            ..ChatSendParams::default()
        };
        self.handle().chat_send(params, House::caller(), reply);
        asked
    }

    fn abort(&self, run_id: &str, reason: &'static str) {
        let abort = AbortRuns {
            session_key: None,
            run_id: Some(run_id.into()),
            stop_reason: reason,
            at_ms: 5,
            only_of: None,
            reply: None,
        };
        self.hub.events.send(RunEvent::Abort(abort)).unwrap();
    }

    /// Types of the lines of the main session's transcript, roles for messages.
    fn transcript(&self, key: &str) -> Vec<Value> {
        let entry = self.sessions.get(key).expect("the session has an entry");
        let path = session::transcript_of(&self.config.lock(), &self.paths, &entry).unwrap();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn messages(&self, key: &str) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.transcript(key)
            .iter()
            .filter(|line| line["type"] == "message")
            .map(|line| {
                let message = &line["message"];
                let said: String =
                    message["content"].as_array().unwrap().iter().map(|block| text(&block["text"])).collect();
                (text(&message["role"]), said, text(&message["stopReason"]))
            })
            .collect()
    }

    fn idle(&self) {
        wait_until("all runs to end", || self.handle().active() == 0 && self.handle().queued() == 0);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(runs) = self.runs.take() {
            runs.stop(Duration::from_secs(10));
        }
        let _ = self.store.stop(Duration::from_secs(5));
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn mock_provider(url: &str) -> Provider {
    let model = |id: &str| Model {
        id: id.into(),
        name: id.into(),
        api: None,
        reasoning: false,
        input: vec!["text".into()],
        context_window: None,
        max_tokens: 1000,
        cost: Cost { input: 1.0, ..Cost::default() },
        headers: Vec::new(),
        max_tokens_field: None,
        supports_usage_in_streaming: None,
        supports_store: None,
    };
    Provider {
        base_url: format!("{url}/v1"),
        api_key: Some(Secret::new("k")),
        api_name: None,
        api: Some(Api::OpenAiCompletions),
        auth_header: false,
        headers: Vec::new(),
        models: vec![model("m1"), model("m2")],
    }
}

fn t(role: &str, text: &str, stop: &str) -> (String, String, String) {
    (role.into(), text.into(), stop.into())
}

#[test]
fn a_turn_from_request_to_transcript() {
    let fake = Fake::start(|_, _| stream_of(&["Hello", " from", " here "]));
    let house = House::new(&fake.url(), |_| {});
    let asked = house.agent("k1", "main", "hi there");
    assert_eq!(
        asked.answer(0)["payload"],
        json!({"runId": "k1", "status": "accepted", "acceptedAt": 1_795_204_203_777u64})
    );
    let last = asked.answer(1);
    assert_eq!(last["ok"], true);
    let payload = &last["payload"];
    assert_eq!(
        (&payload["runId"], &payload["status"], &payload["summary"]),
        (&json!("k1"), &json!("ok"), &json!("completed"))
    );
    assert_eq!(payload["result"]["payloads"], json!([{"text": "Hello from here", "mediaUrl": null}]));
    let meta = &payload["result"]["meta"];
    let entry = house.sessions.get("agent:main:main").unwrap();
    assert_eq!(
        meta["agentMeta"],
        json!({"sessionId": entry.session_id, "provider": "mock", "model": "m1",
            "usage": {"input": 100, "output": 20, "total": 120},
            "lastCallUsage": {"input": 100, "output": 20, "cacheRead": 0, "cacheWrite": 0, "total": 120},
            "promptTokens": 100})
    );
    assert_eq!(meta["aborted"], false);
    house.idle();
    let log = house.hub.log();
    assert_eq!(log[..2], ["open k1", "start k1"]);
    assert_eq!(log.last().unwrap(), "end k1 Done [Hello from here ]");
    let kinds: Vec<String> =
        house.transcript("agent:main:main").iter().map(|l| l["type"].as_str().unwrap().into()).collect();
    assert_eq!(kinds, ["session", "model_change", "thinking_level_change", "custom", "message", "message"]);
    assert_eq!(
        house.messages("agent:main:main"),
        [t("user", "[Fri 2026-11-20 19:50 UTC] hi there", ""), t("assistant", "Hello from here ", "stop")]
    );
    assert_eq!(
        (entry.input_tokens, entry.output_tokens, entry.total_tokens, entry.total_tokens_fresh),
        (Some(100), Some(20), Some(100), Some(true))
    );
    assert_eq!((entry.model_provider.as_deref(), entry.model.as_deref()), (Some("mock"), Some("m1")));
    let body = &fake.seen()[0].body;
    assert_eq!(body["messages"][1]["content"], "[Fri 2026-11-20 19:50 UTC] hi there");
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("# Project Context"));
}

#[test]
fn the_same_request_again() {
    let (gate_tx, gate) = bounded::<()>(0);
    let fake = Fake::start(move |_, _| Act::Gate(vec![text("a")], gate.clone(), vec![done()]));
    let house = House::new(&fake.url(), |_| {});
    let first = house.agent("k", "main", "hi");
    house.hub.wait_for("delta k a");
    let second = house.agent("k", "main", "hi");
    assert_eq!(second.answer(0)["payload"]["status"], "accepted");
    let chat = house.chat("k", "hi");
    assert_eq!(chat.answer(0)["payload"], json!({"runId": "k", "status": "in_flight"}));
    drop(gate_tx);
    let last = first.answer(1)["payload"].clone();
    house.idle();
    let third = house.agent("k", "main", "hi");
    assert_eq!(third.answer(0)["payload"], last);
    assert_eq!(second.answers().len(), 1);
    assert_eq!(fake.count(), 1);
    let chat = house.chat("c", "hi");
    assert_eq!(chat.answer(0)["payload"], json!({"runId": "c", "status": "started"}));
    house.idle();
    assert_eq!(house.chat("c", "hi").answer(0)["payload"], json!({"runId": "c", "status": "ok"}));
}

#[test]
fn one_session_takes_turns() {
    let (gate_tx, gate) = bounded::<()>(0);
    let fake = Fake::start(move |n, _| match n {
        0 => Act::Gate(vec![text("one")], gate.clone(), vec![done()]),
        _ => stream_of(&["two"]),
    });
    let house = House::new(&fake.url(), |_| {});
    let first = house.agent("a", "main", "first");
    let second = house.agent("b", "agent:main:main", "second");
    house.hub.wait_for("delta a one");
    assert_eq!(second.answer(0)["payload"]["status"], "accepted");
    assert_eq!((house.handle().active(), house.handle().queued()), (1, 1));
    assert!(!house.hub.saw("start b"));
    drop(gate_tx);
    first.answer(1);
    second.answer(1);
    house.idle();
    let messages = house.messages("agent:main:main");
    let texts: Vec<&str> = messages.iter().map(|(_, text, _)| text.split("] ").last().unwrap()).collect();
    assert_eq!(texts, ["first", "one", "second", "two"]);
    // The second turn saw the first one.
    assert_eq!(fake.seen()[1].body["messages"].as_array().unwrap().len(), 4);
}

#[test]
fn a_full_session_queue_refuses() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("x")]));
    let house = House::new(&fake.url(), |_| {});
    house.agent("k0", "main", "m");
    for n in 1..=QUEUED_RUNS_PER_SESSION {
        house.agent(&format!("k{n}"), "main", "m").answer(0);
    }
    let refused = house.agent("last", "main", "m").answer(0);
    assert_eq!((&refused["error"]["code"], &refused["error"]["retryable"]), (&json!("UNAVAILABLE"), &json!(true)));
    let other = house.agent("other", "agent:main:other", "m").answer(0);
    assert_eq!(other["ok"], true);
}

#[test]
fn four_turns_at_once() {
    let (gate_tx, gate) = bounded::<()>(0);
    let fake = Fake::start(move |_, _| Act::Gate(vec![text("x")], gate.clone(), vec![done()]));
    let house = House::new(&fake.url(), |_| {});
    let asked: Vec<Asked> = (0..5).map(|n| house.agent(&format!("k{n}"), &format!("s{n}"), "m")).collect();
    for n in 0..4 {
        house.hub.wait_for(&format!("delta k{n}"));
    }
    wait_until("the counts", || house.handle().active() == 4 && house.handle().queued() == 1);
    assert!(!house.hub.saw("start k4"));
    drop(gate_tx);
    for asked in &asked {
        assert_eq!(asked.answer(1)["ok"], true);
    }
}

#[test]
fn an_abort_frees_the_session_at_once_and_keeps_the_text() {
    let fake = Fake::start(|n, _| if n == 0 { Act::Stall(vec![text("par")]) } else { stream_of(&["next"]) });
    let house = House::new(&fake.url(), |_| {});
    house.agent("a", "main", "first");
    house.hub.wait_for("delta a par");
    house.abort("a", "rpc");
    house.hub.wait_for("end a Aborted");
    let next = house.agent("b", "main", "second");
    assert_eq!(next.answer(1)["payload"]["result"]["payloads"][0]["text"], "next");
    house.idle();
    assert_eq!(
        house.messages("agent:main:main"),
        [
            t("user", "[Fri 2026-11-20 19:50 UTC] first", ""),
            t("assistant", "par", "aborted"),
            t("user", "[Fri 2026-11-20 19:50 UTC] second", ""),
            t("assistant", "next", "stop"),
        ]
    );
}

#[test]
fn a_resolver_that_hangs_is_invisible_after_the_abort() {
    let (release, held) = bounded::<()>(0);
    let (asked_tx, was_asked) = bounded::<()>(1);
    let make = crate::agent::models::client::tests::hanging_resolver(asked_tx, held);
    let house = House::with_agent("http://never.example", make, |_| {});
    let first = house.agent("a", "main", "first");
    was_asked.recv().unwrap();
    house.abort("a", "rpc");
    assert_eq!(first.answer(1)["payload"]["aborted"], "rpc");
    wait_until("the slot", || house.handle().active() == 0);
    // The next turn of the session starts although the old thread still sits in the look-up.
    house.agent("b", "main", "second");
    was_asked.recv().unwrap();
    house.hub.wait_for("start b");
    house.abort("b", "rpc");
    house.hub.wait_for("end b");
    drop(release);
    house.idle();
    assert!(house.hub.log().iter().all(|line| !line.starts_with("delta")));
}

#[test]
fn threads_that_stay_behind_are_counted() {
    let (release, held) = bounded::<()>(0);
    let (asked_tx, was_asked) = bounded::<()>(1);
    let make = crate::agent::models::client::tests::hanging_resolver(asked_tx, held);
    let house = House::with_agent("http://never.example", make, |_| {});
    for n in 0..LEFTOVER_RUNS {
        let id = format!("k{n}");
        let asked = house.agent(&id, "main", "m");
        was_asked.recv().unwrap();
        house.abort(&id, "rpc");
        asked.answer(1);
    }
    house.idle();
    let refused = house.agent("last", "main", "m").answer(1);
    assert_eq!((&refused["ok"], &refused["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    // When they end, turns start again.
    drop(release);
    wait_until("a turn to be tried again", || {
        let key = crate::ids::new_uuid();
        house.agent(&key, "main", "m").answer(1)["ok"] == json!(true)
    });
}

#[cfg(unix)]
#[test]
fn a_store_that_cannot_be_written_refuses_the_turn() {
    let house = House::new("http://x.example", |config| {
        config.session.store = Some("/dev/null/{agentId}/sessions.json".into());
    });
    let last = house.agent("k", "main", "hi").answer(1);
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    let text = last["error"]["message"].as_str().unwrap();
    assert!(text.starts_with("Error: the session store cannot be written: "), "{text}");
}

#[test]
fn a_run_has_a_time_limit() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("par")]));
    let house = House::new(&fake.url(), |_| {});
    let asked = house.agent_with(AgentParams {
        message: "m".into(),
        idempotency_key: "k".into(),
        session_key: Some("main".into()),
        timeout: Some(1),
        ..AgentParams::default()
    });
    assert_eq!(asked.answer(1)["payload"]["aborted"], "timeout");
    house.idle();
    assert_eq!(house.messages("agent:main:main")[1], t("assistant", "par", "aborted"));
    assert_eq!(house.sessions.get("agent:main:main").unwrap().aborted_last_run, Some(true));
}

#[test]
fn a_failing_provider_is_an_answer() {
    let fake = Fake::start(|_, _| Act::Plain(401, "", "{\"error\":{\"message\":\"bad key\"}}".into()));
    let house = House::new(&fake.url(), |_| {});
    let last = house.agent("k", "main", "hi").answer(1);
    assert_eq!((&last["ok"], &last["payload"]["status"]), (&json!(true), &json!("ok")));
    assert_eq!(last["payload"]["result"]["payloads"], json!([{"text": "401 bad key", "mediaUrl": null}]));
    let meta = &last["payload"]["result"]["meta"]["agentMeta"];
    assert!(meta.get("usage").is_none() && meta.get("promptTokens").is_none());
    assert_eq!(meta["lastCallUsage"]["total"], 0);
    house.idle();
    assert!(house.hub.saw("end k Error(\"401 bad key\")"));
    let lines = house.transcript("agent:main:main");
    let message = &lines.last().unwrap()["message"];
    assert_eq!(
        (&message["content"], &message["stopReason"], &message["errorMessage"]),
        (&json!([]), &json!("error"), &json!("401 bad key"))
    );
}

#[test]
fn a_break_in_the_middle_keeps_what_was_said() {
    let fake = Fake::start(|_, _| Act::Break(vec![text("half of")]));
    let house = House::new(&fake.url(), |_| {});
    let last = house.agent("k", "main", "hi").answer(1);
    let payloads = &last["payload"]["result"]["payloads"];
    assert_eq!(payloads[0]["text"], "half of");
    assert!(payloads[1]["text"].as_str().unwrap().contains("in the middle"), "{payloads}");
    house.idle();
    assert_eq!(house.messages("agent:main:main")[1], t("assistant", "half of", "error"));
}

#[test]
fn a_missing_key_is_no_answer() {
    let house = House::new("http://x.example", |config| {
        config.agents.defaults.model = Some(ModelChoice { primary: "anthropic/c".into(), fallbacks: vec![] });
    });
    let last = house.agent("k", "main", "hi").answer(1);
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    let text = last["error"]["message"].as_str().unwrap();
    assert!(text.starts_with("FailoverError: No API key found for provider \"anthropic\". Auth store: "), "{text}");
    assert_eq!(last["payload"]["status"], "error");
    assert_eq!(house.agent("k", "main", "hi").answer(0)["error"]["message"], text);
}

#[test]
fn no_session_named() {
    let house = House::new("http://x.example", |_| {});
    let params = AgentParams { message: "m".into(), idempotency_key: "k".into(), ..AgentParams::default() };
    let asked = house.agent_with(params);
    assert_eq!(asked.answer(0)["payload"]["status"], "accepted");
    let last = asked.answer(1);
    let text = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session";
    assert_eq!(last["error"], json!({"code": "UNAVAILABLE", "message": text}));
    assert_eq!(last["payload"], json!({"runId": "k", "status": "error", "summary": text}));
}

#[test]
fn refusals() {
    let house = House::new("http://x.example", |_| {});
    for (session, message, want) in [
        ("agent::x", "m", "invalid chat.send params: malformed session key \"agent::x\""),
        ("agent:ghost:x", "m", "invalid chat.send params: unknown agent id \"ghost\""),
        ("main", " ", "message or attachment required"),
        ("main", "a\0b", "message must not contain null bytes"),
    ] {
        let (asked, reply) = Asked::new();
        let params = ChatSendParams {
            session_key: session.into(),
            message: message.into(),
            idempotency_key: "k".into(),
            ..ChatSendParams::default()
        };
        house.handle().chat_send(params, House::caller(), reply);
        let answer = asked.answer(0);
        assert_eq!(answer["error"]["message"], want);
        assert_eq!(answer["error"]["code"], "INVALID_REQUEST");
    }
}

#[test]
fn the_send_policy_of_a_session() {
    let fake = Fake::start(|_, _| stream_of(&["a"]));
    let house = House::new(&fake.url(), |_| {});
    house.agent("k", "main", "m").answer(1);
    house.sessions.update("agent:main:main", &mut |entry| entry.send_policy = Some("deny".into()));
    assert_eq!(house.chat("c", "m").answer(0)["error"]["message"], "send blocked by session policy");
    assert_eq!(house.agent("d", "main", "m").answer(0)["error"]["message"], "send blocked by session policy");
}

#[test]
fn a_stop_phrase_stops_the_session() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("x")]));
    let house = House::new(&fake.url(), |_| {});
    house.chat("c", "long please").answer(0);
    house.hub.wait_for("delta c x");
    let stop = house.chat("s", "Stop!");
    assert_eq!(stop.answer(0)["payload"], json!({"ok": true, "aborted": true, "runIds": ["c"]}));
    house.idle();
    assert!(house.hub.saw("end c Aborted(\"stop\")"));
}

#[test]
fn tools_are_answered_and_the_turn_goes_on() {
    let call = r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"read","arguments":"{\"path\":\"x\"}"}}]},"finish_reason":"tool_calls"}]}"#;
    let first = Act::Stream(vec![text("Looking. "), format!("{call}\n\n"), "data: [DONE]\n\n".into()]);
    let first = Mutex::new(Some(first));
    let fake = Fake::start(move |_, _| first.lock().take().unwrap_or_else(|| stream_of(&["Nothing there."])));
    let house = House::new(&fake.url(), |_| {});
    let last = house.agent("k", "main", "look").answer(1);
    assert_eq!(
        last["payload"]["result"]["payloads"],
        json!([{"text": "Looking.", "mediaUrl": null}, {"text": "Nothing there.", "mediaUrl": null}])
    );
    house.idle();
    let roles: Vec<(String, String)> =
        house.messages("agent:main:main").into_iter().map(|(role, _, stop)| (role, stop)).collect();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        roles,
        [pair("user", ""), pair("assistant", "toolUse"), pair("toolResult", ""), pair("assistant", "stop")]
    );
    let messages = fake.seen()[1].body["messages"].clone();
    assert_eq!(messages[3], json!({"role": "tool", "tool_call_id": "call_1", "content": "tool not available"}));
    let log = house.hub.log();
    let at = |line: &str| log.iter().position(|l| l.starts_with(line)).unwrap_or_else(|| panic!("{line}: {log:?}"));
    assert!(at("delta k Looking.") < at("message k") && at("message k") < at("delta k Nothing"));
}

#[test]
fn tools_for_ever_end() {
    let call = r#"data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"x"}}]},"finish_reason":"tool_calls"}]}"#;
    let fake = Fake::start(move |_, _| Act::Stream(vec![format!("{call}\n\ndata: [DONE]\n\n")]));
    let house = House::new(&fake.url(), |_| {});
    let last = house.agent("k", "main", "look").answer(1);
    assert_eq!(last["ok"], false);
    assert_eq!(fake.count(), crate::limits::TOOL_ROUNDS);
}

#[test]
fn silence_is_not_shown() {
    let fake = Fake::start(|_, _| stream_of(&["NO", "_REPLY"]));
    let house = House::new(&fake.url(), |_| {});
    let last = house.agent("k", "main", "hi").answer(1);
    assert_eq!(last["payload"]["result"]["payloads"], json!([]));
    house.idle();
    assert!(!house.hub.saw("delta"));
    assert_eq!(house.messages("agent:main:main")[1].1, "NO_REPLY");
}

#[test]
fn a_reset_begins_a_new_session() {
    let fake = Fake::start(|_, _| stream_of(&["ok"]));
    let house = House::new(&fake.url(), |_| {});
    house.agent("a", "main", "first").answer(1);
    house.idle();
    let old = house.sessions.get("agent:main:main").unwrap();
    house.agent("b", "main", "/new mock/m2 hello again").answer(1);
    house.idle();
    let new = house.sessions.get("agent:main:main").unwrap();
    assert_ne!(new.session_id, old.session_id);
    assert_eq!(house.messages("agent:main:main")[0].1, "[Fri 2026-11-20 19:50 UTC] hello again");
    assert_eq!(new.model.as_deref(), Some("m2"));
    let old_path = session::transcript_of(&house.config.lock(), &house.paths, &old).unwrap();
    assert!(!old_path.exists());
    let aside = format!("{}.reset.2026-11-20T19-50-03.777Z", old_path.display());
    assert!(PathBuf::from(aside).exists());
    house.agent("c", "main", "/reset").answer(1);
    house.idle();
    let greeting = fake.seen()[2].body["messages"][1]["content"].as_str().unwrap().to_owned();
    assert!(greeting.contains("A new session was started via /new or /reset."), "{greeting}");
    assert_eq!(fake.seen()[2].body["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn queued_system_lines_stand_before_the_message() {
    let fake = Fake::start(|_, _| stream_of(&["ok"]));
    let house = House::new(&fake.url(), |_| {});
    house.lines.lock().push(SystemLine { at_ms: 1_795_204_203_777, text: "disk\nfull".into() });
    house.agent("a", "main", "hi").answer(1);
    house.idle();
    assert_eq!(
        house.messages("agent:main:main")[0].1,
        "System: [2026-11-20 19:50:03 UTC] disk full\n\n[Fri 2026-11-20 19:50 UTC] hi"
    );
}

#[test]
fn the_next_model_of_the_chain() {
    let bad = Fake::start(|_, _| Act::Plain(402, "", "{\"error\":{\"message\":\"pay\"}}".into()));
    let good = Fake::start(|_, _| stream_of(&["ok"]));
    let url = good.url();
    let house = House::new(&bad.url(), move |config| {
        config.models.providers.insert("good".into(), mock_provider(&url));
        config.agents.defaults.model =
            Some(ModelChoice { primary: "mock/m1".into(), fallbacks: vec!["good/m2".into()] });
    });
    let last = house.agent("k", "main", "hi").answer(1);
    let meta = &last["payload"]["result"]["meta"]["agentMeta"];
    assert_eq!((&meta["provider"], &meta["model"]), (&json!("good"), &json!("m2")));
}

#[test]
fn an_injected_message() {
    let fake = Fake::start(|_, _| stream_of(&["ok"]));
    let house = House::new(&fake.url(), |_| {});
    let inject = |label: Option<&str>| {
        let (asked, reply) = Asked::new();
        let params = ChatInjectParams {
            session_key: "main".into(),
            message: "operator note".into(),
            label: label.map(str::to_owned),
        };
        house.handle().inject(params, reply);
        asked.answer(0)
    };
    assert_eq!(inject(None)["error"]["message"], "session not found");
    house.agent("k", "main", "hi").answer(1);
    house.idle();
    let id = inject(Some("note"))["payload"]["messageId"].as_str().unwrap().to_owned();
    let event = house.chat_events.lock()[0].clone();
    assert_eq!(event["runId"], format!("inject-{id}"));
    assert_eq!(
        (&event["sessionKey"], &event["seq"], &event["state"]),
        (&json!("agent:main:main"), &json!(0), &json!("final"))
    );
    assert_eq!(event["message"]["content"][0]["text"], "[note]\n\noperator note");
    let history = history::chat_history(&house.sessions, &house.config.lock(), &house.paths, "main", Some(5)).unwrap();
    assert_eq!(history["sessionKey"], "main");
    let texts: Vec<&str> =
        history["messages"].as_array().unwrap().iter().map(|m| m["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["hi", "ok", "[note]\n\noperator note"]);
    assert_eq!(history["messages"][1]["usage"]["cost"], json!({"total": 0.0001}));
    let keys = ["main".to_owned(), "agent:main:nosuch".to_owned()];
    let previews = history::previews(&house.sessions, &house.config.lock(), &house.paths, &keys, Some(2), Some(20));
    assert_eq!(
        previews,
        json!([{"key": "main", "status": "ok", "items": [
                {"role": "assistant", "text": "ok"}, {"role": "assistant", "text": "[note]\n\noperator ..."}]},
            {"key": "agent:main:nosuch", "status": "missing", "items": []}])
    );
}

#[test]
fn stopping_keeps_partial_texts() {
    let fake = Fake::start(|_, _| Act::Stall(vec![text("par")]));
    let mut house = House::new(&fake.url(), |_| {});
    house.agent("a", "main", "hi");
    house.agent("b", "main", "waits").answer(0);
    house.hub.wait_for("delta a par");
    let handle = house.handle().clone();
    assert!(house.runs.take().unwrap().stop(Duration::from_secs(10)));
    assert!(house.hub.saw("end a Aborted(\"restart\")") && house.hub.saw("end b Aborted(\"restart\")"));
    assert_eq!(house.messages("agent:main:main")[1], t("assistant", "par", "aborted"));
    let (asked, reply) = Asked::new();
    handle.agent(AgentParams::default(), House::caller(), reply);
    assert_eq!(asked.answer(0)["error"]["code"], "UNAVAILABLE");
}

#[test]
fn a_draining_gateway_takes_nothing_new() {
    let fake = Fake::start(|_, _| stream_of(&["ok"]));
    let house = House::new(&fake.url(), |_| {});
    house.handle().drain();
    assert_eq!(house.agent("k", "main", "hi").answer(0)["error"]["code"], "UNAVAILABLE");
    assert_eq!(fake.count(), 0);
}

#[test]
fn a_panic_ends_only_its_run() {
    let fake = Fake::start(|_, _| stream_of(&["ok"]));
    let house = House::with_agent(&fake.url(), Arc::new(|_| panic!("broken agent")), |_| {});
    let last = house.agent("k", "main", "hi").answer(1);
    assert_eq!((&last["ok"], &last["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")));
    house.idle();
    assert_eq!(house.agent("k2", "main", "hi").answer(1)["ok"], false);
}
