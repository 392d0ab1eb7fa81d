//! What turns leave on disk, and what of it survives: the reference's shapes, kill -9, wear (agent 2, DECISIONS 66–71).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use openclaw::ids;
use openclaw::sys::process::{self, Sig};
use serde_json::{Map, Value, json};

use crate::common::client::{Client, End};
use crate::common::model::{Model, Play};
use crate::common::{Gateway, Home, finish, merge, stderr, stdout, wait_until};

/// A turn of the session `main`; its reply.
fn turn(client: &mut Client, key: &str, message: &str) -> String {
    turn_in(client, "main", key, message)
}

fn turn_in(client: &mut Client, session: &str, key: &str, message: &str) -> String {
    let params = json!({"message": message, "sessionKey": session, "idempotencyKey": key});
    let id = client.send_request("agent", params);
    client.answer(&id);
    let last = client.answer(&id);
    last["payload"]["result"]["payloads"][0]["text"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

fn sessions_dir(home: &Home) -> PathBuf {
    home.state().join("agents/main/sessions")
}

fn sessions_json(home: &Home) -> Map<String, Value> {
    let text = fs::read_to_string(sessions_dir(home).join("sessions.json")).expect("sessions.json");
    serde_json::from_str(&text).expect("JSON")
}

/// Lines of a JSONL file, each of which must parse.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{}: {e}: {line}", path.display()));
    text.lines().map(parse).collect()
}

fn history(client: &mut Client, session: &str) -> Vec<String> {
    let messages = client.call("chat.history", json!({"sessionKey": session, "limit": 1000}))["messages"].clone();
    let text = |m: &Value| m["content"][0]["text"].as_str().unwrap_or_default().to_owned();
    messages.as_array().expect("messages").iter().map(text).collect()
}

/// Ids become numbers in the order in which they are defined, times and dates become marks; each is checked first.
fn normalise(line: &str, known: &mut Vec<String>, session: &str, workspace: &str) -> String {
    let value: Value = serde_json::from_str(line).expect("JSON");
    let mut line = line.replace(session, "<session>").replace(workspace, "<workspace>");
    if let Some(id) = value["id"].as_str().filter(|id| *id != session) {
        assert!(id.len() == 8 && id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{id}");
        known.push(id.to_owned());
    }
    for (n, id) in known.iter().enumerate() {
        line = line.replace(&format!("\"{id}\""), &format!("\"<id{}>\"", n + 1));
    }
    let iso = value["timestamp"].as_str().expect("a time");
    assert!(iso.len() == 24 && iso.ends_with('Z') && iso.parse::<jiff::Timestamp>().is_ok(), "{iso}");
    line = line.replace(iso, "<iso>");
    for at in [&value["message"]["timestamp"], &value["data"]["timestamp"]] {
        if let Some(ms) = at.as_u64() {
            assert!(ms > 1_700_000_000_000, "{ms}");
            line = line.replace(&ms.to_string(), "\"<ms>\"");
        }
    }
    if let Some(text) = value["message"]["content"][0]["text"].as_str().filter(|_| value["message"]["role"] == "user") {
        let (date, _) = text.split_once("] ").expect("a date");
        let words: Vec<&str> = date.trim_start_matches('[').split(' ').collect();
        assert!(words.len() == 4 && words[0].len() == 3 && words[1].len() == 10 && words[3] == "UTC", "{date}");
        line = line.replace(&format!("{date}] "), "<date>");
    }
    line
}

#[test]
fn a_turn_leaves_the_files_of_the_reference() {
    let unauthorized = r#"{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}"#;
    let model = Model::start(vec![
        Play::Tool("Looking. ", "exec", json!({"command": "echo hi there"})),
        Play::words("done"),
        Play::status(401, unauthorized),
    ]);
    let home = Home::new();
    home.configure(model.config_for("anthropic-messages"));
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let chat = |client: &mut Client, key: &str, message: &str, state: &str| {
        client.call("chat.send", json!({"sessionKey": "main", "message": message, "idempotencyKey": key}));
        client.take(state, |f| f["payload"]["runId"] == key && f["payload"]["state"] == state);
    };
    chat(&mut client, "k1", "hi", "final");
    chat(&mut client, "k2", "again", "error");
    client.call("chat.inject", json!({"sessionKey": "main", "message": "from outside"}));
    let shown = history(&mut client, "main");
    assert_eq!(gateway.stop(), Some(0));

    let all = sessions_json(&home);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["agent:main:main"]);
    let entry = all["agent:main:main"].as_object().expect("an entry");
    let session = entry["sessionId"].as_str().expect("an id").to_owned();
    let transcript = sessions_dir(&home).join(format!("{session}.jsonl"));
    let mut names: Vec<&str> = entry.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut want = [
        "sessionId",
        "updatedAt",
        "sessionFile",
        "chatType",
        "deliveryContext",
        "lastChannel",
        "origin",
        "modelProvider",
        "model",
        "contextTokens",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "totalTokensFresh",
        "cacheRead",
        "cacheWrite",
        "systemSent",
        "abortedLastRun",
    ];
    want.sort_unstable();
    assert_eq!(names, want);
    for (name, value) in [
        ("sessionFile", json!(transcript)),
        ("chatType", json!("direct")),
        ("deliveryContext", json!({"channel": "webchat"})),
        ("lastChannel", json!("webchat")),
        ("origin", json!({"provider": "webchat", "surface": "webchat", "chatType": "direct"})),
        ("modelProvider", json!("mock")),
        ("model", json!("mock-1")),
        ("contextTokens", json!(128_000)),
        // Those of the turn that succeeded: two calls, and the prompt of the last one.
        ("inputTokens", json!(200)),
        ("outputTokens", json!(40)),
        ("totalTokens", json!(115)),
        ("totalTokensFresh", json!(true)),
        ("systemSent", json!(true)),
        ("abortedLastRun", json!(false)),
    ] {
        assert_eq!(entry[name], value, "{name}");
    }
    let text = fs::read_to_string(sessions_dir(&home).join("sessions.json")).expect("text");
    assert!(text.starts_with("{\n  \"agent:main:main\": {\n    \"sessionId\": \""), "two blanks per level: {text}");
    assert!(!sessions_dir(&home).join("sessions.json.journal").exists(), "nothing waits after a stop");

    // The default directory's workspace, as this is the default state directory.
    let workspace = home.state().join("workspace");
    let mut ids = Vec::new();
    let written = fs::read_to_string(&transcript).expect("a transcript");
    let written: Vec<String> =
        written.lines().map(|l| normalise(l, &mut ids, &session, &workspace.display().to_string())).collect();
    let golden: Vec<&str> = include_str!("golden/transcript.jsonl").lines().collect();
    for (n, (ours, golden)) in written.iter().zip(&golden).enumerate() {
        assert_eq!(ours, golden, "line {}", n + 1);
    }
    assert_eq!(written.len(), golden.len());
    #[cfg(unix)]
    for path in tree(&home.state()) {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
        let private = if path.is_dir() { 0o700 } else { 0o600 };
        assert!(mode == private || path == home.config_path(), "{}: {mode:o}", path.display());
    }

    // Both are read back, by the gateway and by the command beside it.
    let listed: Value = serde_json::from_str(&stdout(&home.run(&["sessions", "--json"]))).expect("JSON");
    assert_eq!((&listed["count"], &listed["sessions"][0]["sessionId"]), (&json!(1), &json!(session)), "{listed}");
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    assert_eq!(history(&mut client, "main"), shown);
    model.set(vec![Play::words("third")]);
    assert_eq!(turn(&mut client, "k3", "and now?"), "third");
    let now = lines(&transcript);
    assert_eq!((now.len(), now[11]["parentId"].as_str()), (golden.len() + 2, now[10]["id"].as_str()), "no new head");
    let seen = model.requests().last().expect("a request")["messages"].to_string();
    assert!(seen.contains("Looking.") && seen.contains("from outside"), "{seen}");
}

/// Everything below a directory.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for path in fs::read_dir(next).expect("a directory").flatten().map(|f| f.path()) {
            if path.is_dir() {
                todo.push(path.clone());
            }
            all.push(path);
        }
    }
    all
}

#[test]
fn no_id_leads_out_of_the_sessions_directory() {
    let model = Model::start(vec![Play::words("inside")]);
    let home = Home::new();
    home.configure(model.config());
    let dir = sessions_dir(&home);
    fs::create_dir_all(&dir).expect("sessions");
    let outside = home.path().join("outside.jsonl");
    fs::write(&outside, "mine\n").expect("a file");
    let linked = ids::new_uuid();
    let entries = json!({
        "agent:main:up": {"sessionId": "../../../../outside", "updatedAt": 1, "sessionFile": outside},
        "agent:main:file": {"sessionId": ids::new_uuid(), "updatedAt": 1, "sessionFile": outside},
        "agent:main:link": {"sessionId": linked, "updatedAt": 1},
    });
    fs::write(dir.join("sessions.json"), entries.to_string()).expect("a file");
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, dir.join(format!("{linked}.jsonl"))).expect("a link");
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    for (n, id) in ["../../elsewhere", "/etc/passwd", "..", "a/b", "a\\b", "a\u{0}b", ""].into_iter().enumerate() {
        let params = json!({"message": "x", "sessionId": id, "idempotencyKey": format!("id{n}")});
        let request = client.send_request("agent", params);
        let first = client.answer(&request);
        let last = if first["ok"] == true { client.answer(&request) } else { first };
        assert_eq!(last["ok"], false, "{id:?}: {last}");
    }
    for session in ["up", "file", "link"] {
        let params = json!({"message": "x", "sessionKey": session, "idempotencyKey": session});
        let request = client.send_request("agent", params);
        client.answer(&request);
        let last = client.answer(&request);
        assert_eq!(last["ok"] == true, session != "link", "{session}: {last}");
        let shown = client.request("chat.history", json!({"sessionKey": session}));
        assert!(!shown.to_string().contains("mine"), "{shown}");
    }
    assert_eq!(fs::read_to_string(&outside).expect("text"), "mine\n");
    let strays = tree(home.path()).into_iter().filter(|p| p.extension().is_some_and(|e| e == "jsonl"));
    assert!(strays.into_iter().all(|p| p == outside || p.starts_with(&dir)));
}

#[test]
fn what_the_reference_wrote_and_we_do_not_know_stays() {
    let model = Model::start(vec![Play::words("ours")]);
    let home = Home::new();
    home.configure(model.config());
    let (id, other) = (ids::new_uuid(), ids::new_uuid());
    let dir = sessions_dir(&home);
    fs::create_dir_all(&dir).expect("sessions");
    let transcript = dir.join(format!("{id}.jsonl"));
    let skills = json!({"prompt": "<available_skills>…", "skills": [{"name": "weather", "primaryEnv": null}],
        "resolvedSkills": [{"name": "weather", "filePath": "/x/SKILL.md"}], "version": 3});
    let entry = |id: &str| {
        json!({"sessionId": id, "updatedAt": 1_795_203_905_369_u64, "systemSent": true, "abortedLastRun": false,
            "chatType": "direct", "deliveryContext": {"channel": "webchat", "future": {"a": [1, 2.5, null]}},
            "lastChannel": "webchat", "skillsSnapshot": skills,
            "origin": {"provider": "webchat", "surface": "webchat", "chatType": "direct"},
            "sessionFile": dir.join(format!("{id}.jsonl")), "queueMode": "collect", "memoryFlushAt": 17,
            "inputTokens": 1.5, "futureField": {"deep": [{"x": "ü\u{2028}"}]}, "groupActivation": null,
            "systemPromptReport": {"source": "run", "generatedAt": 1, "sandbox": {"mode": "off"}}})
    };
    let before = json!({"agent:main:main": entry(&id), "agent:main:old": entry(&other),
        "agent:main:odd": {"sessionId": 7, "updatedAt": "yesterday"},
        "agent:main:quiet": {"sessionId": ids::new_uuid(), "updatedAt": 1, "sendPolicy": "deny"}});
    let text = serde_json::to_string_pretty(&before).expect("JSON");
    fs::write(dir.join("sessions.json"), &text).expect("a file");
    let old_lines = [
        json!({"type": "session", "version": 3, "id": id, "timestamp": "2026-11-20T19:50:03.733Z", "cwd": "/w"}),
        json!({"type": "model_change", "id": "8ec8a29f", "parentId": null, "timestamp": "2026-11-20T19:50:03.753Z",
            "provider": "mock", "modelId": "mock-1"}),
        json!({"type": "future_kind", "id": "00000001", "parentId": "8ec8a29f", "payload": {"x": 1}}),
        json!({"type": "message", "id": "10002a87", "parentId": "00000001", "timestamp": "2026-11-20T19:50:03.777Z",
            "message": {"role": "user", "content": [{"type": "text", "text": "[Fri 2026-11-20 19:50 UTC] my name is Ada"}],
                "timestamp": 1_795_203_803_777_u64}}),
        json!({"type": "message", "id": "10002a88", "parentId": "10002a87", "timestamp": "2026-11-20T19:50:05.369Z",
            "message": {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm",
                "thinkingSignature": "sig"}, {"type": "text", "text": "Hello Ada"}], "api": "openai-completions",
                "provider": "mock", "model": "mock-1", "usage": {"input": 1, "output": 1, "cacheRead": 0,
                "cacheWrite": 0, "totalTokens": 2, "cost": {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0,
                "total": 0}}, "stopReason": "stop", "timestamp": 1_795_203_805_369_u64, "responseId": "r1"}}),
    ];
    let old_text: String = old_lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(&transcript, &old_text).expect("a file");

    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    assert_eq!(history(&mut client, "main")[0], "my name is Ada");
    assert_eq!(turn(&mut client, "k", "what is my name?"), "ours");
    assert!(model.requests()[0]["messages"].to_string().contains("Hello Ada"));
    for method in ["agent", "chat.send"] {
        let params = json!({"sessionKey": "quiet", "message": "psst", "idempotencyKey": method});
        assert_eq!(client.request(method, params)["error"]["message"], "send blocked by session policy");
    }
    drop(client);
    assert_eq!(gateway.stop(), Some(0));

    let after = sessions_json(&home);
    for untouched in ["agent:main:old", "agent:main:odd", "agent:main:quiet"] {
        assert_eq!(after[untouched].to_string(), before[untouched].to_string());
    }
    let changed = [
        "updatedAt",
        "modelProvider",
        "model",
        "contextTokens",
        "inputTokens",
        "outputTokens",
        "totalTokens",
        "totalTokensFresh",
        "cacheRead",
        "cacheWrite",
        "systemSent",
        "abortedLastRun",
    ];
    for (name, value) in before["agent:main:main"].as_object().expect("an entry") {
        if !changed.contains(&name.as_str()) {
            assert_eq!(after["agent:main:main"].get(name), Some(value), "{name}");
        }
    }
    assert_eq!(after["agent:main:main"]["model"], "mock-1");
    let now = fs::read_to_string(&transcript).expect("a transcript");
    assert!(now.starts_with(&old_text), "what stood there stands there");
    let new = lines(&transcript);
    assert_eq!(new[5]["parentId"], "10002a88");
}

/// A small generator, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

#[test]
fn kill_9_at_any_moment_loses_no_finished_turn() {
    let model = Model::start(vec![Play::slow("a b c d e f ", Duration::from_millis(3))]);
    let home = Home::new();
    home.configure(model.config());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut finished: Vec<(String, String)> = Vec::new();
    let mut number = 0;
    for life in 0..10 {
        let mut gateway = Gateway::start(&home, &[]);
        let mut client = Client::connect(gateway.port);
        for (session, message) in &finished {
            let all = history(&mut client, session);
            let at = all.iter().position(|text| text == message);
            let reply = at.and_then(|at| all.get(at + 1));
            assert_eq!(reply.map(|text| text.trim_end()), Some("a b c d e f"), "life {life}: {message} in {all:?}");
        }
        // Two turns are finished, a third is killed at a random instant.
        for _ in 0..2 {
            number += 1;
            let (session, message) = (format!("s{}", number % 3), format!("message {number}"));
            assert_eq!(turn_in(&mut client, &session, &format!("k{number}"), &message), "a b c d e f");
            finished.push((session, message));
        }
        number += 1;
        let params = json!({"message": format!("message {number}"), "sessionKey": format!("n{number}"),
            "idempotencyKey": format!("k{number}")});
        client.send_request("agent", params);
        std::thread::sleep(Duration::from_micros(dice.roll(60_000)));
        gateway.kill();
        for file in fs::read_dir(sessions_dir(&home)).expect("sessions").flatten() {
            let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
            let text = fs::read_to_string(&path).expect("text");
            match name.as_str() {
                "sessions.json" => drop(serde_json::from_str::<Value>(&text).expect("sessions.json")),
                _ if name.contains(".json") => {
                    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
                    for line in whole.lines() {
                        serde_json::from_str::<Value>(line)
                            .unwrap_or_else(|e| panic!("life {life}: {name}: {e}: {line}"));
                    }
                }
                _ => panic!("life {life}: left behind: {name}"),
            }
        }
    }
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    assert_eq!(turn_in(&mut client, "s1", "after", "still there?"), "a b c d e f");
    assert!(history(&mut client, "s1").len() >= 2 * finished.iter().filter(|(s, _)| s == "s1").count() + 2);
    assert_eq!(gateway.count_lines("damaged"), 0);
}

#[test]
fn torn_last_lines_are_cut_and_the_session_goes_on() {
    let model = Model::start(vec![Play::words("fine")]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    turn(&mut client, "k1", "first");
    gateway.kill();
    let journal = sessions_dir(&home).join("sessions.json.journal");
    assert!(journal.exists(), "the entry waits in the journal");
    let whole = fs::read_to_string(&journal).expect("the journal");
    let transcript: PathBuf = fs::read_dir(sessions_dir(&home))
        .expect("sessions")
        .flatten()
        .map(|f| f.path())
        .find(|p| p.extension().is_some_and(|e| e == "jsonl"))
        .expect("a transcript");
    let old = fs::read_to_string(&transcript).expect("text");
    for (path, torn) in
        [(&journal, &b"{\"key\":\"agent:main:x\",\"ent"[..]), (&transcript, b"{\"type\":\"message\",\"id\":\"123")]
    {
        let bytes = [&fs::read(path).expect("bytes")[..], torn].concat();
        fs::write(path, bytes).expect("a torn line");
    }
    let mut gateway = Gateway::start(&home, &[]);
    gateway.wait_line("sessions.json.journal: cut an unfinished last line");
    let mut client = Client::connect(gateway.port);
    assert_eq!(history(&mut client, "main"), ["first", "fine"]);
    assert_eq!(turn(&mut client, "k2", "second"), "fine");
    let name = transcript.file_name().expect("a name").to_string_lossy().into_owned();
    let said = || gateway.output().lines().any(|line| line.contains(&name) && line.contains("cut"));
    wait_until("a line about the transcript", said);
    assert!(fs::read_to_string(&transcript).expect("text").starts_with(&old));
    assert_eq!(lines(&transcript).len(), old.lines().count() + 2);
    let lines_now = || fs::read_to_string(&journal).expect("the journal").matches('\n').count();
    wait_until("the entry of the second turn", || lines_now() > whole.lines().count());
    lines(&journal);
    assert_eq!(gateway.stop(), Some(0));
    assert_eq!(sessions_json(&home).len(), 1);
}

#[test]
fn a_stop_during_a_turn_keeps_what_was_said() {
    let model = Model::start(vec![Play::Stall(vec!["half a ".into(), "word".into()])]);
    let home = Home::new();
    home.configure(model.config());
    let mut gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let params = json!({"message": "hello", "sessionKey": "main", "idempotencyKey": "k"});
    let id = client.send_request("agent", params);
    client.take("the text", |f| f["payload"]["state"] == "delta");
    client.take("all of it", |f| f["payload"]["data"]["text"] == "half a word");
    let begun = Instant::now();
    gateway.signal(Sig::Term);
    assert_eq!(client.event("shutdown")["payload"]["reason"], "gateway stopping");
    let gone = client.take("the end of the run", |f| f["payload"]["state"] == "aborted")["payload"].clone();
    assert_eq!(
        (&gone["stopReason"], &gone["message"]["content"][0]["text"]),
        (&json!("restart"), &json!("half a word"))
    );
    client.answer(&id);
    let last = client.answer(&id);
    assert_eq!(last["payload"]["result"]["meta"]["aborted"], true, "{last}");
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    assert_eq!(gateway.wait_exit().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(sessions_json(&home)["agent:main:main"]["abortedLastRun"], true);
    model.set(vec![Play::words("back")]);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    assert_eq!(history(&mut client, "main"), ["hello", "half a word"]);
    assert_eq!(turn(&mut client, "k2", "go on"), "back");
}

#[test]
fn a_restart_in_the_process_waits_for_turns_and_for_those_behind_them() {
    let model = Model::start(vec![Play::slow("one two three four ", Duration::from_millis(60))]);
    let home = Home::new();
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    let ids: Vec<String> = (0..3)
        .map(|n| {
            let key = format!("k{n}");
            client.send_request("agent", json!({"message": key, "sessionKey": "main", "idempotencyKey": key}))
        })
        .collect();
    client.take("the first words", |f| f["payload"]["state"] == "delta");
    gateway.signal(Sig::Usr1);
    gateway.wait_line("draining");
    for id in &ids {
        client.answer(id);
        let last = client.answer(id);
        assert_eq!(last["payload"]["result"]["payloads"][0]["text"], "one two three four", "{last}");
    }
    assert_eq!(client.event("shutdown")["payload"]["restartExpectedMs"], 1500);
    assert_eq!(client.end(), End::Close(1012, "service restart".into()));
    gateway.wait_line("restart mode: in-process restart");
    wait_until("it listens again", || gateway.count_lines("listening on ws://") == 2);
    let mut client = Client::connect(gateway.port);
    assert_eq!(history(&mut client, "main").len(), 6);
}

/// Ten thousand sessions of a year.
fn store_of(home: &Home, count: usize) {
    let dir = sessions_dir(home);
    fs::create_dir_all(&dir).expect("sessions");
    let mut all = Map::new();
    for n in 0..count {
        let id = ids::new_uuid();
        let entry = json!({"sessionId": id, "updatedAt": 1_795_000_000_000_u64 + n as u64, "chatType": "direct",
            "sessionFile": dir.join(format!("{id}.jsonl")), "modelProvider": "mock", "model": "mock-1",
            "contextTokens": 200_000, "inputTokens": 100, "outputTokens": 20, "totalTokens": 100,
            "totalTokensFresh": true, "cacheRead": 0, "cacheWrite": 0, "systemSent": true, "abortedLastRun": false,
            "deliveryContext": {"channel": "webchat"}, "lastChannel": "webchat"});
        all.insert(format!("agent:main:s{n}"), entry);
    }
    let text = serde_json::to_string_pretty(&Value::Object(all)).expect("JSON");
    fs::write(dir.join("sessions.json"), text).expect("sessions.json");
}

fn io_of(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).expect("io");
    let line = text.lines().find(|l| l.starts_with(&format!("{name}: "))).expect("a line");
    line[name.len() + 2..].parse().expect("a number")
}

#[cfg(target_os = "linux")]
#[test]
fn flash_is_spared_with_ten_thousand_sessions() {
    const TURNS: u64 = 100;
    let model = Model::start(vec![Play::words("word0 word1 word2 word3 word4 word5 word6 word7 ")]);
    let home = Home::new();
    let mut config = model.config();
    merge(&mut config, json!({"agents": {"defaults": {"maxConcurrent": 4}}}));
    home.configure(config);
    store_of(&home, 10_000);
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    turn_in(&mut client, "s5000", "warm", "hello");
    let (disk, calls) = (io_of(gateway.pid(), "write_bytes"), io_of(gateway.pid(), "wchar"));
    for n in 0..TURNS {
        // Half of them go on with a session of their own, half begin one.
        let session = if n % 2 == 0 { "s5000".to_owned() } else { format!("new{n}") };
        turn_in(&mut client, &session, &format!("k{n}"), "hello");
    }
    let disk = (io_of(gateway.pid(), "write_bytes") - disk) / TURNS;
    let calls = (io_of(gateway.pid(), "wchar") - calls) / TURNS;
    println!("per turn with 10,000 sessions: {disk} bytes to disk, {calls} bytes in write calls");
    assert!(disk <= 32 * 1024, "{disk} bytes per turn");
    assert!(calls <= 32 * 1024, "{calls} bytes per turn");
}

#[cfg(target_os = "linux")]
#[test]
fn a_turn_syncs_at_most_once() {
    const TURNS: usize = 20;
    let model = Model::start(vec![Play::words("word0 word1 word2 ")]);
    let home = Home::new();
    home.configure(model.config());
    let gateway = Gateway::start(&home, &[]);
    let mut client = Client::connect(gateway.port);
    turn(&mut client, "warm", "hello");
    let log = home.path().join("strace.txt");
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range", "-o"])
        .arg(&log)
        .args(["-p", &gateway.pid().to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut strace) = traced else {
        println!("skipped: no strace");
        return;
    };
    // Every thread: the one that starts the turns is not the first that is attached to.
    let traced = || {
        let tasks = fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("a process").flatten();
        tasks.into_iter().all(|task| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.contains("\nTracerPid:\t0\n")
        })
    };
    let waited = Instant::now();
    while !traced() && waited.elapsed() < Duration::from_secs(5) && strace.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(5));
    }
    if !traced() {
        println!("skipped: strace may not attach here");
        let _ = strace.kill();
        let _ = strace.wait();
        return;
    }
    for n in 0..TURNS {
        turn(&mut client, &format!("k{n}"), "hello");
    }
    // The last one comes after the answer.
    let count = || fs::read_to_string(&log).unwrap_or_default().lines().filter(|l| l.contains("sync(")).count();
    wait_until("the last sync", || count() >= TURNS);
    process::signal(strace.id(), Sig::Term).expect("our own child");
    let _ = strace.wait();
    let kinds: BTreeSet<String> = fs::read_to_string(&log)
        .expect("a trace")
        .lines()
        .filter_map(|l| l.split_whitespace().nth(1)?.split('(').next().map(str::to_owned))
        .collect();
    println!("{} syncs in {TURNS} turns: {kinds:?}", count());
    assert!(count() <= TURNS, "{} syncs in {TURNS} turns", count());
    assert!(!kinds.contains("fsync"), "{kinds:?}");
}

/// /var/lib/openclaw is the service's and root gives it commands: what root writes there, the service must be able to
/// read; and the configuration in /etc stays root's, readable for the service's group.
#[test]
fn what_root_writes_for_a_service_stays_the_services() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    const SERVICE: u32 = 65534;
    if openclaw::sys::process::uid() != Some(0) {
        return;
    }
    let home = Home::new();
    let (state, etc) = (home.path().join("lib"), home.path().join("etc"));
    fs::create_dir(&state).unwrap();
    fs::create_dir(&etc).unwrap();
    let config = etc.join("openclaw.json");
    fs::write(
        &config,
        r#"{gateway: {mode: "local", auth: {mode: "token", token: "0123456789abcdef0123456789abcdef"}}}"#,
    )
    .unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&config, Some(0), Some(SERVICE)).unwrap();
    chown(&state, Some(SERVICE), Some(SERVICE)).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    let run = |args: &[&str]| {
        let mut command = home.command(args);
        command.env("OPENCLAW_STATE_DIR", &state).env("OPENCLAW_CONFIG_PATH", &config);
        let output = finish(command);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    };
    let readable = |what: &str| {
        let meta = fs::metadata(&config).unwrap();
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (0, SERVICE, 0o640), "configuration after {what}");
        let mut dirs = vec![state.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let entry = entry.unwrap();
                let meta = entry.metadata().unwrap();
                assert_eq!((meta.uid(), meta.gid()), (SERVICE, SERVICE), "{} after {what}", entry.path().display());
                if meta.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
    };
    run(&["config", "set", "gateway.port", "18999"]);
    readable("config set");
    assert!(state.join("logs").is_dir());
    run(&["qr", "--url", "ws://10.0.0.1:18999"]);
    assert!(state.join("devices/bootstrap.json").is_file());
    run(&["setup"]);
    readable("setup");
    let found = run(&["doctor", "--fix", "--deep"]);
    assert!(!found.contains("open to other users") && !found.contains("another user"), "{found}");
    readable("doctor --fix");
    let audit = run(&["security", "audit"]);
    assert!(!audit.contains("readable by others") && !audit.contains("root's gateway"), "{audit}");
    let backup = home.path().join("b.tar").display().to_string();
    run(&["backup", "create", "--output", &backup]);
    run(&["backup", "restore", "--force", &backup]);
    readable("backup restore");
    assert_eq!(fs::metadata(&state).unwrap().uid(), SERVICE);

    // What an earlier command left is named, with the way to give it back.
    fs::write(state.join("devices/paired.json"), "{}").unwrap();
    fs::set_permissions(state.join("devices/paired.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let found = run(&["doctor", "--non-interactive"]);
    assert!(found.contains("another user") && found.contains("chown -R nobody"), "{found}");
}
