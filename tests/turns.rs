//! Turns against the real binary: `agent` and what everybody sees of it (agent 3 and 11, protocol 7 and 8).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Client, Device, Hello};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, merge, wait_until};

/// How long nothing may come where nothing better than silence can be looked at.
const QUIET: Duration = Duration::from_millis(250);

/// A gateway with one model.
pub struct Place {
    pub model: Model,
    pub gateway: Gateway,
    pub home: Home,
}

impl Place {
    pub fn new(plays: Vec<Play>) -> Place {
        Place::with(plays, json!({}))
    }

    pub fn with(plays: Vec<Play>, more: Value) -> Place {
        let model = Model::start(plays);
        let home = Home::new();
        let mut config = model.config();
        merge(&mut config, more);
        home.configure(config);
        let gateway = Gateway::start(&home, &[]);
        Place { model, gateway, home }
    }

    pub fn client(&self) -> Client {
        Client::connect(self.gateway.port)
    }
}

pub fn send(client: &mut Client, session: &str, key: &str, message: &str) -> String {
    client.send_request("agent", json!({"message": message, "sessionKey": session, "idempotencyKey": key}))
}

/// Sends and waits for both answers.
pub fn turn(client: &mut Client, session: &str, key: &str, message: &str) -> Value {
    let id = send(client, session, key, message);
    let first = client.answer(&id);
    assert_eq!(first["payload"]["status"], "accepted", "{first}");
    client.answer(&id)
}

pub fn text_of(last: &Value) -> &str {
    last["payload"]["result"]["payloads"][0]["text"].as_str().unwrap_or_default()
}

/// Payload of the next event of a run that fits.
pub fn run_event(client: &mut Client, run: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let frame = client.take(&format!("{what} of {run}"), |f| {
        f["type"] == "event" && f["payload"]["runId"] == run && fits(&f["payload"])
    });
    frame["payload"].clone()
}

fn started(client: &mut Client, run: &str) {
    run_event(client, run, "lifecycle start", |p| p["stream"] == "lifecycle" && p["data"]["phase"] == "start");
}

pub fn chat_state(client: &mut Client, run: &str, state: &str) -> Value {
    run_event(client, run, &format!("chat {state}"), |p| p["state"] == state)
}

/// Events of a run in order, as short words; `frames` are everything that came.
fn events_of(frames: &[Value], run: &str) -> Vec<Value> {
    let of_run = |f: &&Value| f["type"] == "event" && f["payload"]["runId"] == run;
    frames.iter().filter(of_run).map(|f| f["payload"].clone()).collect()
}

fn frames_until_answer(client: &mut Client, id: &str) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = client.frame();
        let last = frame["id"] == id && frame["payload"]["status"] != "accepted";
        frames.push(frame);
        if last {
            return frames;
        }
    }
}

#[test]
fn events_and_answers_are_those_of_the_recording() {
    let words = "word0 word1 word2 word3 word4 word5 word6 word7 ";
    let place = Place::new(vec![Play::slow(words, Duration::from_millis(60))]);
    let (mut client, mut observer) = (place.client(), place.client());
    let id = send(&mut client, "main", "k1", "hello there");
    let frames = frames_until_answer(&mut client, &id);
    let ours = events_of(&frames, "k1");

    let accepted = frames.iter().find(|f| f["id"] == *id).expect("accepted");
    let keys: Vec<&String> = accepted["payload"].as_object().expect("a payload").keys().collect();
    assert_eq!(keys, ["runId", "status", "acceptedAt"]);
    assert!(frames.iter().position(|f| f["id"] == *id) < frames.iter().position(|f| f["event"] == "agent"));

    // Agent events are numbered from 1; a chat event carries the number of the agent event before it.
    let mut seq = 0;
    let mut text = String::new();
    let mut deltas = Vec::new();
    for event in &ours {
        assert_eq!(event["sessionKey"], "agent:main:main");
        if event["stream"].is_null() {
            assert_eq!(event["seq"], seq, "{event}");
            if event["state"] == "delta" {
                deltas.push(event["message"]["timestamp"].as_u64().expect("a time"));
                assert_eq!(event["message"]["content"][0]["text"], text.as_str(), "{event}");
            }
            continue;
        }
        seq += 1;
        assert_eq!(event["seq"], seq, "{event}");
        if event["stream"] == "assistant" {
            text.push_str(event["data"]["delta"].as_str().expect("a delta"));
            assert_eq!(event["data"]["text"], text.as_str());
            assert!(!text.ends_with(' '));
        }
    }
    assert_eq!(text, words.trim_end());
    assert_eq!(ours[0]["data"]["phase"], "start");
    assert!(deltas.len() >= 3, "{deltas:?}");
    // The one before the end is not bound to the pace.
    let paced = &deltas[..deltas.len() - 1];
    assert!(paced.windows(2).all(|two| two[1] - two[0] >= 149), "{deltas:?}");
    let shape: Vec<String> = ours[ours.len() - 3..]
        .iter()
        .map(|e| format!("{}{}", e["data"]["phase"].as_str().unwrap_or(""), e["state"].as_str().unwrap_or("")))
        .collect();
    assert!(shape == ["end", "delta", "final"] || shape[1..] == ["end", "final"], "{shape:?}");

    let meta_of = |last: &Value| last["payload"]["result"]["meta"].clone();
    let last = frames.last().expect("the final answer");
    let duration = meta_of(last)["durationMs"].as_u64().expect("a duration");
    let entry = client.call("sessions.list", json!({}))["sessions"][0].clone();
    assert!((400..20_000).contains(&duration), "{duration}");
    assert_eq!(
        last["payload"].to_string(),
        json!({"runId": "k1", "status": "ok", "summary": "completed", "result": {
            "payloads": [{"text": words.trim_end(), "mediaUrl": null}],
            "meta": {"durationMs": duration, "agentMeta": {
                "sessionId": entry["sessionId"], "provider": "mock", "model": "mock-1",
                "usage": {"input": 100, "output": 20, "total": 120},
                "lastCallUsage": {"input": 100, "output": 20, "cacheRead": 0, "cacheWrite": 0, "total": 120},
                "promptTokens": 100}, "aborted": false}}})
        .to_string(),
        "keys, order and values of the recording"
    );

    chat_state(&mut observer, "k1", "final");
    let mut theirs: Vec<Value> = events_of(&observer.kept(), "k1");
    theirs.push(ours.last().expect("final").clone());
    assert_eq!(theirs, ours, "others see the same");
    let answered = client.call("agent.wait", json!({"runId": "k1", "timeoutMs": 0}));
    assert_eq!((&answered["status"], answered["endedAt"].is_u64()), (&json!("ok"), true), "{answered}");
}

#[test]
fn a_repeated_key_is_one_run() {
    let place = Place::new(vec![Play::Stall(vec!["so far ".into()])]);
    let (mut client, mut other) = (place.client(), place.client());
    let id = send(&mut client, "main", "k", "hello");
    let accepted = client.answer(&id)["payload"].clone();
    chat_state(&mut client, "k", "delta");
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"});
    assert_eq!(other.call("agent", params.clone()), accepted, "in flight: the first answer again");
    assert_eq!(other.call("chat.send", params.clone()), json!({"runId": "k", "status": "in_flight"}));
    let waiting = other.send_request("agent.wait", json!({"runId": "k", "timeoutMs": 20_000}));
    let vain = other.call("agent.wait", json!({"runId": "no such run", "timeoutMs": 30}));
    assert_eq!(vain, json!({"runId": "no such run", "status": "timeout"}));
    let gone = client.call("chat.abort", json!({"sessionKey": "main", "runId": "k"}));
    assert_eq!(gone, json!({"ok": true, "aborted": true, "runIds": ["k"]}));
    assert_eq!(other.answer(&waiting)["payload"]["status"], "ok");
    let last = client.answer(&id)["payload"].clone();
    assert_eq!((last["result"]["meta"]["aborted"].clone(), place.model.served()), (json!(true), 1));
    assert_eq!(client.call("agent", params.clone()), last, "finished: the final answer again");
    assert_eq!(other.drain(QUIET).iter().filter(|f| f["type"] == "res").count(), 0, "and only one answer each");

    // The other way round, and at once: who has seen the end gets the end.
    place.model.set(vec![Play::words("done")]);
    let chat = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "c"});
    assert_eq!(client.call("chat.send", chat.clone())["status"], "started");
    chat_state(&mut client, "c", "final");
    assert_eq!(client.call("chat.send", chat), json!({"runId": "c", "status": "ok"}));
    for n in 0..20 {
        let key = format!("n{n}");
        let last = turn(&mut client, "main", &key, "hello");
        let again = client.call("agent", json!({"message": "hello", "sessionKey": "main", "idempotencyKey": key}));
        assert_eq!(again, last["payload"], "turn {n}");
    }
    assert_eq!(place.model.served(), 22);
}

#[test]
fn requests_without_a_session_fail_after_they_were_accepted() {
    let place = Place::new(vec![Play::words("x")]);
    let mut client = place.client();
    let text = "Error: Pass --to <E.164>, --session-id, or --agent to choose a session";
    let id = client.send_request("agent", json!({"message": "x", "idempotencyKey": "none"}));
    assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    let last = client.answer(&id);
    assert_eq!(last["payload"], json!({"runId": "none", "status": "error", "summary": text}));
    assert_eq!((last["ok"].clone(), last["error"]["code"].clone()), (json!(false), json!("UNAVAILABLE")));
    assert_eq!(last["error"]["message"], text);
    for (over, want) in [
        (json!({"message": ""}), "invalid agent params: at /message: must NOT have fewer than 1 characters"),
        (json!({"channel": "nochannel"}), "invalid agent params: unknown channel: nochannel"),
        (json!({"agentId": "ghost"}), "invalid agent params: unknown agent id \"ghost\""),
        (json!({"sessionKey": "agent::"}), "invalid agent params: malformed session key \"agent::\""),
        (
            json!({"agentId": "main", "sessionKey": "agent:other:main"}),
            "invalid agent params: agent \"main\" does not match session key agent \"other\"",
        ),
        (
            json!({"deliver": true, "sessionKey": "main"}),
            "Error: Channel is required (no configured channels detected).",
        ),
        (json!({"bogus": 1}), "invalid agent params: at root: unexpected property 'bogus'"),
    ] {
        let mut params = json!({"message": "x", "idempotencyKey": "p"});
        merge(&mut params, over);
        let answer = client.request("agent", params);
        assert_eq!(
            (answer["error"]["code"].as_str(), answer["error"]["message"].as_str()),
            (Some("INVALID_REQUEST"), Some(want))
        );
    }
    let no_key = client.request("agent", json!({"message": "x"}));
    assert_eq!(no_key["error"]["message"], "invalid agent params: must have required property 'idempotencyKey'");
    assert_eq!(place.model.served(), 0);
}

/// Lines of the newest transcript of an agent.
pub fn transcript(home: &Home, agent: &str) -> Vec<Value> {
    let directory = home.state().join("agents").join(agent).join("sessions");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("sessions")
        .flatten()
        .map(|f| f.path())
        .filter(|p| p.extension().is_some_and(|e| e == "jsonl") && !p.to_string_lossy().contains("sessions.json"))
        .collect();
    files.sort_by_key(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok());
    let text = std::fs::read_to_string(files.last().expect("a transcript")).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_run_ends_when_its_time_is_up() {
    let place = Place::with(
        vec![Play::Stall(vec![]), Play::Stall(vec!["as far as ".into(), "this".into()]), Play::words("next")],
        json!({"agents": {"defaults": {"timeoutSeconds": 1}}}),
    );
    let (mut client, mut observer) = (place.client(), place.client());
    let began = Instant::now();
    let last = turn(&mut client, "main", "silent", "hello");
    let text = "Request timed out before a response was generated. Please try again, or increase \
                `agents.defaults.timeoutSeconds` in your config.";
    assert_eq!((text_of(&last), &last["ok"]), (text, &json!(true)));
    assert_eq!(last["payload"]["result"]["meta"]["aborted"], true);
    assert!((Duration::from_millis(950)..Duration::from_secs(10)).contains(&began.elapsed()));
    let end = run_event(&mut observer, "silent", "end", |p| p["data"]["phase"] == "end");
    assert_eq!(end["data"]["aborted"], true);
    assert_eq!(chat_state(&mut observer, "silent", "aborted")["stopReason"], "timeout");
    let mut timed = |key: &str, seconds: u64| {
        let params = json!({"message": "x", "sessionKey": "main", "idempotencyKey": key, "timeout": seconds});
        let id = client.send_request("agent", params);
        client.answer(&id);
        client.answer(&id)
    };
    // Time enough for the words on a machine that is busy.
    assert_eq!(text_of(&timed("stalled", 4)), "as far as this", "what came is the answer");
    assert_eq!(text_of(&timed("next", 0)), "next", "the lane is free, and 0 is no limit");
    let waited = client.call("agent.wait", json!({"runId": "stalled", "timeoutMs": 0}));
    assert_eq!(waited["status"], "ok");
}

#[test]
fn one_turn_per_session_four_in_all_and_twenty_wait() {
    let place = Place::new(vec![Play::Stall(vec!["on it".into()])]);
    let mut client = place.client();
    for n in 0..5 {
        send(&mut client, &format!("s{n}"), &format!("r{n}"), "hello");
    }
    for n in 0..4 {
        chat_state(&mut client, &format!("r{n}"), "delta");
    }
    let early = |f: &Value| f["event"] == "agent" && f["payload"]["runId"] == "r4";
    assert!(!client.drain(QUIET).iter().any(early), "a fifth turn waits for a slot");
    client.call("chat.abort", json!({"sessionKey": "s2"}));
    started(&mut client, "r4");

    // The session s0 is busy: what comes now waits, first come first served.
    for n in 0..20 {
        let id = send(&mut client, "s0", &format!("q{n}"), &format!("waits {n}"));
        assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    }
    let full = client.request("agent", json!({"message": "one more", "sessionKey": "s0", "idempotencyKey": "q20"}));
    assert_eq!((&full["error"]["code"], &full["error"]["retryable"]), (&json!("UNAVAILABLE"), &json!(true)), "{full}");
    assert!(full["error"]["retryAfterMs"].is_u64());
    let elsewhere = send(&mut client, "s9", "e", "another session waits for a slot only");
    assert_eq!(client.answer(&elsewhere)["payload"]["status"], "accepted");
    place.model.set(vec![Play::words("quick")]);
    for key in ["s1", "s3", "s4"] {
        client.call("chat.abort", json!({"sessionKey": key}));
    }
    assert_eq!(text_of(&client.answer(&elsewhere)), "quick");
    client.call("chat.abort", json!({"sessionKey": "s0", "runId": "r0"}));
    chat_state(&mut client, "q19", "final");
    let order: Vec<String> = client
        .kept()
        .iter()
        .filter(|f| f["payload"]["data"]["phase"] == "start")
        .filter_map(|f| f["payload"]["runId"].as_str().map(str::to_owned))
        .filter(|run| run.starts_with('q'))
        .collect();
    assert_eq!(order, (0..20).map(|n| format!("q{n}")).collect::<Vec<_>>());
    let said: Vec<String> = place
        .model
        .requests()
        .iter()
        .filter_map(|r| r["messages"].as_array()?.last()?["content"].as_str().map(str::to_owned))
        .collect();
    let asked = |text: &String| (0..20).find(|n| text.ends_with(&format!("waits {n}")));
    assert_eq!(said.iter().filter_map(asked).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());

    // All of a session's turns end with one abort, those that wait included.
    place.model.set(vec![Play::Stall(vec!["x".into()])]);
    for n in 0..3 {
        let id = send(&mut client, "s0", &format!("w{n}"), "hello");
        assert_eq!(client.answer(&id)["payload"]["status"], "accepted");
    }
    started(&mut client, "w0");
    let gone = client.call("chat.abort", json!({"sessionKey": "s0"}));
    assert_eq!(gone["runIds"], json!(["w0", "w1", "w2"]));
    for n in 0..3 {
        chat_state(&mut client, &format!("w{n}"), "aborted");
    }
}

#[test]
fn who_sees_a_run_and_who_may_start_one() {
    let place = Place::new(vec![Play::Stall(vec!["go ".into()]), Play::words("after")]);
    let port = place.gateway.port;
    let with_scopes = |scopes: &[&str], max| Hello {
        scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        max,
        ..Hello::default()
    };
    let (mut deaf, _) = Client::connect_as(port, &with_scopes(&["operator.pairing"], 3), None);
    let (mut reader, _) = Client::connect_as(port, &with_scopes(&["operator.read"], 3), None);
    let (mut reader4, _) = Client::connect_as(port, &with_scopes(&["operator.read"], 4), None);
    let node = Hello {
        role: "node".into(),
        mode: "node".into(),
        client_id: "node-host".into(),
        scopes: vec![],
        ..Hello::default()
    };
    let (mut node, _) = Client::connect_as(port, &node, Some(&Device::new()));
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"});
    let refused = reader.request("agent", params.clone());
    assert_eq!(refused["error"], json!({"code": "INVALID_REQUEST", "message": "missing scope: operator.write"}));
    let refused = reader4.request("chat.send", params.clone());
    assert_eq!(
        (&refused["error"]["code"], &refused["error"]["message"]),
        (&json!("FORBIDDEN"), &json!("missing scope: operator.write"))
    );
    let details = json!({"code": "MISSING_SCOPE", "missingScope": "operator.write",
        "requiredScopes": ["operator.write"]});
    assert_eq!(refused["error"]["details"], details);
    assert_eq!(node.request("agent", params.clone())["error"]["message"], "unauthorized role: node");

    // Who asked goes away: the run goes on.
    let mut owner = place.client();
    let id = owner.send_request("agent", params);
    owner.answer(&id);
    chat_state(&mut owner, "k", "delta");
    drop(owner);
    chat_state(&mut reader, "k", "delta");
    let mut admin = place.client();
    assert_eq!(admin.call("agent.wait", json!({"runId": "k", "timeoutMs": 50}))["status"], "timeout");
    let (mut writer, _) = Client::connect_as(port, &with_scopes(&["operator.write"], 3), None);
    let foreign = writer.request("chat.abort", json!({"sessionKey": "main", "runId": "k"}));
    assert_eq!(foreign["error"]["message"], "unauthorized");
    let wrong = admin.request("chat.abort", json!({"sessionKey": "other", "runId": "k"}));
    assert_eq!(wrong["error"]["message"], "runId does not match sessionKey");
    admin.call("chat.abort", json!({"sessionKey": "agent:main:main"}));
    chat_state(&mut reader, "k", "aborted");
    for (name, client) in [("no read scope", &mut deaf), ("node", &mut node)] {
        let seen = client.drain(QUIET);
        assert!(!seen.iter().any(|f| f["event"] == "agent" || f["event"] == "chat"), "{name}: {seen:?}");
    }
}

#[test]
fn a_long_answer_costs_its_length_and_not_its_square() {
    let pieces: Vec<String> = (0..2000).map(|n| format!("{n:04} {}\n", "x".repeat(518))).collect();
    let text: String = pieces.concat();
    let place = Place::new(vec![Play::Text(pieces, Duration::ZERO)]);
    let mut client = place.client();
    let began = Instant::now();
    let id = send(&mut client, "main", "k", "write a lot");
    let frames = frames_until_answer(&mut client, &id);
    let sent: usize = frames.iter().map(|f| f.to_string().len()).sum();
    println!("a 1 MB answer: {} frames, {sent} bytes, {:?}", frames.len(), began.elapsed());
    assert_eq!(text_of(frames.last().expect("the end")), text.trim_end());
    let seconds = began.elapsed().as_secs_f64();
    // At most 20 assistant and 7 chat events a second, the three at the end, and the answer.
    let allowed = (seconds * 27.0 + 8.0) * (text.len() as f64 * 1.1);
    assert!((sent as f64) < allowed, "{sent} bytes in {seconds} s");
    let assistant = frames.iter().filter(|f| f["payload"]["stream"] == "assistant").count();
    assert!((assistant as f64) < 20.0 * seconds + 80.0, "{assistant} assistant events in {seconds} s");
}

#[test]
fn the_echo_model_answers_only_where_it_was_asked_for() {
    let home = Home::new();
    home.configure(json!({"agents": {"defaults": {"skipBootstrap": true, "model": {"primary": "builtin/echo"}}}}));
    let gateway = Gateway::start(&home, &[]);
    gateway.wait_line("agent model: builtin/echo");
    let mut client = Client::connect(gateway.port);
    let last = turn(&mut client, "main", "k", "hello there");
    assert_eq!(text_of(&last), "[builtin/echo] hello there");
    let usage = &last["payload"]["result"]["meta"]["agentMeta"]["usage"];
    assert!(usage["input"].as_u64() > Some(0) && usage["output"].as_u64() > Some(0), "{usage}");
    drop(gateway);
    let home = Home::new();
    let gateway = Gateway::start(&home, &["--dev", "--allow-unconfigured"]);
    gateway.wait_line("agent model: builtin/echo");
}

#[test]
fn an_agent_that_a_reload_brings_can_be_asked_at_once() {
    let place = Place::new(vec![Play::words("here")]);
    let mut client = place.client();
    let mut config = place.model.config();
    config["agents"]["list"] = json!([{"id": "main"}, {"id": "late"}]);
    place.home.configure(config);
    place.gateway.signal(openclaw::sys::process::Sig::Hup);
    wait_until("the new agent", || {
        client.call("agents.list", json!({}))["agents"].as_array().is_some_and(|all| all.len() == 2)
    });
    let last = turn(&mut client, "agent:late:main", "k", "hello");
    assert_eq!(text_of(&last), "here", "{last}");
    assert!(!transcript(&place.home, "late").is_empty());
}
