//! Tests of the session store: the reference's shapes, every state that a crash can leave, other writers, size and speed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::atomic::tests::TempDir;
use super::entry::{Entry, NewEntry};
use super::journal::journal_path;
use super::sessions::{Query, Sessions, store_path};
use super::writer::Store;
use super::writer::tests::{quiet_store, until};
use crate::sys::testing::Random;

const LONG: Duration = Duration::from_secs(36_000);
const NOW: u64 = 1_795_204_203_733;

/// A file as the reference writes it, with everything that must survive.
const RECORDED: &str = r#"{
  "agent:main:main": {
    "sessionId": "76908dd1-e0f1-4422-bd7f-927dae191611",
    "updatedAt": 1795204030426,
    "skillsSnapshot": {
      "prompt": "fat \"}] text",
      "skills": [{"name": "x"}],
      "version": 0
    },
    "sessionFile": "/home/u/.openclaw/agents/main/sessions/76908dd1-e0f1-4422-bd7f-927dae191611.jsonl",
    "chatType": "direct",
    "deliveryContext": {"channel": "webchat", "to": "heartbeat"},
    "totalTokens": "odd",
    "inputTokens": 100,
    "futureField": {"deep": [1, 2.5, null]},
    "systemPromptReport": {"source": "run", "chars": 12345}
  },
  "agent:main:telegram:group:-100": {"sessionId": "old-style", "updatedAt": 1795204000000, "groupActivation": "always"},
  "note": "not an entry"
}"#;

struct Case {
    dir: TempDir,
    path: PathBuf,
}

impl Case {
    fn new(name: &str) -> Case {
        let dir = TempDir::new(name);
        let path = store_path(dir.path(), None, None, "main");
        Case { dir, path }
    }

    fn with_file(name: &str, content: impl AsRef<[u8]>) -> Case {
        let case = Case::new(name);
        fs::create_dir_all(case.path.parent().unwrap()).unwrap();
        fs::write(&case.path, content).unwrap();
        case
    }

    fn agents(&self) -> [(String, PathBuf); 1] {
        [("main".to_owned(), self.path.clone())]
    }

    fn open(&self) -> (Sessions, Store) {
        self.open_at(LONG)
    }

    fn open_at(&self, pace: Duration) -> (Sessions, Store) {
        let store = quiet_store(pace);
        (Sessions::open(&self.agents(), &store, NOW), store)
    }

    fn file(&self) -> Value {
        serde_json::from_slice(&fs::read(&self.path).unwrap()).unwrap()
    }

    /// Everything as another program finds it after kill -9: a copy of the directory as it is now.
    fn copy(&self) -> Case {
        let copy = Case::new("sessions-copy");
        let from = self.path.parent().unwrap();
        let to = copy.path.parent().unwrap();
        fs::create_dir_all(to).unwrap();
        for file in fs::read_dir(from).unwrap().flatten() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
        copy
    }
}

fn new(id: &str) -> NewEntry {
    NewEntry {
        session_id: id.into(),
        session_file: format!("/s/{id}.jsonl"),
        chat_type: Some("direct".into()),
        ..NewEntry::default()
    }
}

fn tokens(sessions: &Sessions, key: &str, updated_at: u64, input: u64) -> Arc<Entry> {
    sessions
        .update(key, &mut |entry| {
            entry.updated_at = updated_at;
            entry.input_tokens = Some(input);
        })
        .unwrap()
}

#[test]
fn the_references_file_is_read_and_kept() {
    let case = Case::with_file("sessions-shape", RECORDED);
    let (sessions, store) = case.open();
    let main = sessions.get("agent:main:main").unwrap();
    assert_eq!(
        (&*main.agent, main.updated_at, main.input_tokens, main.total_tokens),
        ("main", 1_795_204_030_426, Some(100), None)
    );
    assert!(main.rest.get("skillsSnapshot").is_none());
    assert!(sessions.get("note").is_none() && sessions.get("agent:main:nosuch").is_none());
    assert_eq!(sessions.find_session_id("76908dd1-e0f1-4422-bd7f-927dae191611").unwrap().key, main.key);
    assert_eq!(&*sessions.find_session_id("old-style").unwrap().key, "agent:main:telegram:group:-100");
    assert!(sessions.find_session_id("other").is_none());
    let summary = sessions.summary();
    assert_eq!((summary.agents[0].count, summary.agents[0].recent.len()), (2, 2));
    sessions.flush().unwrap();
    assert_eq!(fs::read_to_string(&case.path).unwrap(), RECORDED, "nothing changed, nothing written");

    tokens(&sessions, "agent:main:main", NOW, 7);
    store.stop(LONG).unwrap();
    let mut expected: Value = serde_json::from_str(RECORDED).unwrap();
    expected["agent:main:main"]["updatedAt"] = NOW.into();
    expected["agent:main:main"]["inputTokens"] = 7.into();
    assert_eq!(case.file(), expected, "all else is as it was, fat and unknown fields too");
    assert!(
        fs::read_to_string(&case.path).unwrap().contains("\n    \"chatType\": \"direct\",\n"),
        "two spaces a level"
    );
    assert!(!journal_path(&case.path).exists());
}

#[test]
fn a_new_entry_has_the_recorded_fields() {
    let case = Case::new("sessions-new");
    let (sessions, _store) = case.open();
    let origin = serde_json::json!({"provider": "webchat", "surface": "webchat", "chatType": "direct"});
    let delivery = serde_json::json!({"channel": "webchat"});
    let begun = sessions
        .begin(
            "main",
            "agent:main:main",
            NOW,
            NewEntry {
                origin: origin.as_object().cloned(),
                delivery_context: delivery.as_object().cloned(),
                last_channel: Some("webchat".into()),
                ..new("abc")
            },
        )
        .unwrap();
    assert_eq!((&*begun.session_id, begun.system_sent), ("abc", Some(false)));
    sessions.flush().unwrap();
    assert_eq!(
        fs::read_to_string(&case.path).unwrap(),
        r#"{
  "agent:main:main": {
    "sessionId": "abc",
    "updatedAt": 1795204203733,
    "sessionFile": "/s/abc.jsonl",
    "chatType": "direct",
    "deliveryContext": {
      "channel": "webchat"
    },
    "lastChannel": "webchat",
    "origin": {
      "provider": "webchat",
      "surface": "webchat",
      "chatType": "direct"
    },
    "systemSent": false,
    "abortedLastRun": false
  }
}"#
    );
    assert_eq!(
        sessions.begin("nobody", "agent:nobody:x", NOW, new("x")).unwrap_err().kind(),
        std::io::ErrorKind::NotFound
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&case.path), mode(case.path.parent().unwrap())), (0o600, 0o700));
    }
}

#[test]
fn a_new_session_in_an_old_entry() {
    let case = Case::new("sessions-reset");
    let (sessions, _store) = case.open();
    let key = "agent:main:main";
    sessions.begin("main", key, NOW, NewEntry { last_channel: Some("telegram".into()), ..new("one") }).unwrap();
    let level = |entry: &mut Entry| {
        entry.thinking_level = Some("high".into());
        entry.input_tokens = Some(5);
        entry.system_sent = Some(true);
    };
    sessions.update(key, &mut { level }).unwrap();
    let kept = sessions.begin("main", key, NOW + 1, NewEntry { keep_levels: true, ..new("two") }).unwrap();
    assert_eq!(
        (kept.thinking_level.as_deref(), kept.input_tokens, kept.system_sent),
        (Some("high"), None, Some(false))
    );
    let expired = sessions.begin("main", key, NOW + 2, new("three")).unwrap();
    assert_eq!((expired.thinking_level.as_deref(), expired.last_channel.as_deref()), (None, Some("telegram")));
    assert_eq!(sessions.summary().agents[0].count, 1);
}

#[test]
fn kill_at_any_moment_loses_nothing_finished() {
    let case = Case::with_file("sessions-kill", RECORDED);
    let (sessions, store) = case.open();
    sessions.begin("main", "agent:main:new", NOW, new("fresh")).unwrap();
    // Before anything else was written: the new key is there.
    let (after, _s) = case.copy().open();
    assert_eq!(after.get("agent:main:new").unwrap().session_id, "fresh");

    tokens(&sessions, "agent:main:new", NOW + 5, 42);
    let journal = journal_path(&case.path);
    until("the journal", || fs::read_to_string(&journal).unwrap().contains("\"inputTokens\":42"));
    let before_rewrite = fs::read(&case.path).unwrap();
    let lines = fs::read(&journal).unwrap();
    let killed = case.copy();
    fs::write(killed.path.with_file_name(".sessions.json.4194999-0123abcd.tmp"), "{\"half").unwrap();
    let (after, killed_store) = killed.open();
    assert_eq!(after.get("agent:main:new").unwrap().input_tokens, Some(42));
    assert_eq!(after.summary().agents[0].count, 3);
    assert_eq!(&*after.summary().agents[0].recent[0].key, "agent:main:new");
    killed_store.stop(LONG).unwrap();
    assert_eq!(fs::read_dir(killed.path.parent().unwrap()).unwrap().count(), 1, "no temporary file, no journal");
    assert_eq!(killed.file()["agent:main:main"]["systemPromptReport"]["chars"], 12345);

    // Between the rename of the new file and the removal of the journal.
    store.stop(LONG).unwrap();
    assert_ne!(fs::read(&case.path).unwrap(), before_rewrite);
    let rewritten = case.file();
    let torn = [&lines[..], b"{\"key\":\"agent:main:new\",\"entry\":{\"sess"].concat();
    fs::write(&journal, torn).unwrap();
    let (after, store) = case.open();
    assert_eq!(after.get("agent:main:new").unwrap().input_tokens, Some(42));
    store.stop(LONG).unwrap();
    assert_eq!(case.file(), rewritten);
}

#[test]
fn an_old_journal_does_not_undo_another_writers_work() {
    let case = Case::with_file("sessions-stale", RECORDED);
    let (sessions, store) = case.open();
    tokens(&sessions, "agent:main:main", NOW, 1);
    tokens(&sessions, "agent:main:telegram:group:-100", NOW, 2);
    until("the journal", || fs::read_to_string(journal_path(&case.path)).is_ok_and(|t| t.lines().count() == 3));
    let killed = case.copy();
    drop((sessions, store));
    // The reference runs in between and goes on with one of them.
    let mut theirs: Value = serde_json::from_str(RECORDED).unwrap();
    theirs["agent:main:main"]["updatedAt"] = (NOW + 1000).into();
    fs::write(&killed.path, theirs.to_string()).unwrap();
    let (sessions, _store) = killed.open();
    assert_eq!(sessions.get("agent:main:main").unwrap().input_tokens, Some(100), "theirs is newer");
    assert_eq!(sessions.get("agent:main:telegram:group:-100").unwrap().input_tokens, Some(2), "ours is newer");
}

#[test]
fn a_clock_that_went_back_loses_nothing() {
    let case = Case::with_file("sessions-1970", RECORDED);
    let (sessions, _store) = case.open();
    tokens(&sessions, "agent:main:main", 1000, 9);
    until("the journal", || {
        fs::read_to_string(journal_path(&case.path)).is_ok_and(|t| t.contains("\"inputTokens\":9"))
    });
    let (after, _s) = {
        // Same file, same stamp: the journal belongs to it.
        let copy = case.copy();
        let time = fs::metadata(&case.path).unwrap().modified().unwrap();
        fs::File::options().write(true).open(&copy.path).unwrap().set_modified(time).unwrap();
        copy.open()
    };
    let entry = after.get("agent:main:main").unwrap();
    assert_eq!((entry.updated_at, entry.input_tokens), (1000, Some(9)));
}

#[test]
fn another_program_writes_meanwhile() {
    let case = Case::with_file("sessions-merge", RECORDED);
    let (sessions, store) = case.open();
    tokens(&sessions, "agent:main:main", NOW, 1);
    tokens(&sessions, "agent:main:telegram:group:-100", NOW, 2);
    let mut theirs: Value = serde_json::from_str(RECORDED).unwrap();
    theirs["agent:main:main"]["lastHeartbeatText"] = "theirs".into();
    theirs["agent:main:telegram:group:-100"]["updatedAt"] = (NOW + 1).into();
    theirs["agent:main:added"] = serde_json::json!({"sessionId": "added", "updatedAt": NOW + 2});
    fs::write(&case.path, theirs.to_string()).unwrap();
    // While they hold the lock nothing is written, and nothing is lost.
    #[cfg(unix)]
    {
        let lock = case.path.with_file_name("sessions.json.lock");
        fs::write(&lock, format!("{{\"pid\":{}}}", std::os::unix::process::parent_id())).unwrap();
        store.flush().unwrap();
        assert_eq!(case.file(), theirs);
        fs::remove_file(lock).unwrap();
    }
    store.stop(LONG).unwrap();
    theirs["agent:main:main"]["updatedAt"] = NOW.into();
    theirs["agent:main:main"]["inputTokens"] = 1.into();
    assert_eq!(case.file(), theirs, "their fields stay, the newer entry wins");
    assert_eq!(sessions.get("agent:main:added").unwrap().session_id, "added");
    assert_eq!(sessions.summary().agents[0].count, 3);
}

#[test]
fn damaged_files_are_set_aside_and_the_journal_still_counts() {
    for content in [&b""[..], &[0; 4096], b"{\"a\":{\"sessionId\":\"x\"", b"[]", b"\xff", b"{\"a\":{\"sessionId\":x}}"]
    {
        let case = Case::new("sessions-damaged");
        let (sessions, store) = case.open();
        sessions.begin("main", "agent:main:kept", NOW, new("kept")).unwrap();
        let killed = case.copy();
        drop((sessions, store));
        fs::write(&killed.path, content).unwrap();
        let (sessions, store) = killed.open();
        assert_eq!(sessions.get("agent:main:kept").unwrap().session_id, "kept");
        assert_eq!(sessions.summary().agents[0].count, 1);
        let aside = killed.path.with_file_name(format!("sessions.json.corrupt-{NOW}"));
        assert_eq!(fs::read(aside).unwrap(), content);
        store.stop(LONG).unwrap();
        assert_eq!(killed.file()["agent:main:kept"]["sessionId"], "kept");
    }
}

#[test]
fn a_file_damaged_while_running_is_written_again_from_what_we_have() {
    let case = Case::with_file("sessions-zapped", RECORDED);
    let (sessions, store) = case.open();
    tokens(&sessions, "agent:main:main", NOW, 1);
    fs::remove_file(&case.path).unwrap();
    fs::write(&case.path, [0; 10]).unwrap();
    store.stop(LONG).unwrap();
    assert_eq!(case.file()["agent:main:telegram:group:-100"]["groupActivation"], "always");
    assert_eq!(case.file()["agent:main:main"]["systemPromptReport"]["chars"], 12345);
}

#[test]
fn a_disk_that_refuses() {
    let case = Case::new("sessions-readonly");
    fs::write(case.dir.join("agents"), "a file where the directory should be").unwrap();
    let (sessions, store) = case.open();
    assert!(sessions.begin("main", "agent:main:x", NOW, new("x")).is_err());
    assert!(sessions.get("agent:main:x").is_none(), "what was refused is not there");
    assert_eq!(sessions.summary().agents[0].count, 0);
    fs::remove_file(case.dir.join("agents")).unwrap();
    sessions.begin("main", "agent:main:x", NOW, new("x")).unwrap();
    // From now on changes stay in memory until they can be written.
    let journal = journal_path(&case.path);
    fs::remove_dir_all(case.path.parent().unwrap()).unwrap();
    fs::write(case.path.parent().unwrap(), "").unwrap();
    tokens(&sessions, "agent:main:x", NOW + 1, 3);
    assert!(sessions.flush().is_err());
    assert_eq!(sessions.get("agent:main:x").unwrap().input_tokens, Some(3));
    fs::remove_file(case.path.parent().unwrap()).unwrap();
    store.stop(LONG).unwrap();
    assert_eq!(case.file()["agent:main:x"]["inputTokens"], 3);
    assert!(!journal.exists());
}

#[test]
fn changes_are_told_and_counted() {
    let case = Case::new("sessions-hook");
    let (sessions, _store) = case.open();
    let last = Arc::new(AtomicU64::new(0));
    let seen = last.clone();
    sessions.set_on_change(Box::new(move |version| seen.store(version, Ordering::SeqCst)));
    for n in 0..25 {
        sessions.begin("main", &format!("agent:main:k{n}"), NOW + n, new("x")).unwrap();
        assert_eq!(last.load(Ordering::SeqCst), sessions.version());
    }
    let summary = sessions.summary();
    assert_eq!((summary.agents[0].count, summary.agents[0].recent.len()), (25, 10));
    assert_eq!(summary.version, sessions.version());
    assert_eq!(&*summary.agents[0].recent[0].key, "agent:main:k24");
    assert!(Arc::ptr_eq(&summary, &sessions.summary()), "nothing changed, nothing built");
    // An entry that grows older gives its place to another.
    sessions.update("agent:main:k24", &mut |entry| entry.updated_at = 1).unwrap();
    let recent = &sessions.summary().agents[0].recent;
    assert_eq!((&*recent[0].key, &*recent[9].key), ("agent:main:k23", "agent:main:k14"));
    assert!(sessions.update("agent:main:nosuch", &mut |_| {}).is_none());
    let version = sessions.version();
    sessions.update("agent:main:k1", &mut |_| {}).unwrap();
    assert_eq!(sessions.version(), version, "no change, no news");
}

#[test]
fn listing_and_agents() {
    let dir = TempDir::new("sessions-list");
    let store = quiet_store(LONG);
    let path = |agent: &str| store_path(dir.path(), None, None, agent);
    let shared = dir.join("shared.json");
    let agents =
        [("main".to_owned(), path("main")), ("a".to_owned(), shared.clone()), ("b".to_owned(), shared.clone())];
    let sessions = Sessions::open(&agents, &store, NOW);
    for n in 0..6 {
        let agent = ["main", "a", "b"][n as usize % 3];
        sessions.begin(agent, &format!("agent:{agent}:k{n}"), NOW + n, new(&format!("id{n}"))).unwrap();
    }
    let keys = |query, wanted: &mut dyn FnMut(&Entry) -> bool| {
        sessions.list(query, wanted).iter().map(|entry| entry.session_id.clone()).collect::<Vec<_>>()
    };
    assert_eq!(keys(Query::default(), &mut |_| true), ["id5", "id4", "id3", "id2", "id1", "id0"]);
    assert_eq!(keys(Query { limit: Some(2), ..Query::default() }, &mut |e| &*e.agent != "b"), ["id4", "id3"]);
    assert_eq!(keys(Query { agent: Some("a"), ..Query::default() }, &mut |_| true), ["id4", "id1"]);
    assert_eq!(keys(Query { updated_since: NOW + 4, ..Query::default() }, &mut |_| true), ["id5", "id4"]);
    assert!(keys(Query { agent: Some("nobody"), ..Query::default() }, &mut |_| true).is_empty());
    sessions.add_agent("late", &path("late"), NOW);
    sessions.begin("late", "agent:late:main", NOW, new("late")).unwrap();
    assert_eq!(sessions.summary().agents.len(), 4);
    store.stop(LONG).unwrap();
    assert!(path("late").exists() && shared.exists());
    let reader = Sessions::open_read_only(&agents);
    assert_eq!(reader.list(Query::default(), &mut |_| true).len(), 6);
    assert!(reader.begin("main", "agent:main:x", NOW, new("x")).is_err());
    assert!(reader.update("agent:main:k0", &mut |_| {}).is_none());
}

#[test]
fn where_the_file_is() {
    let (state, home) = (std::path::Path::new("/state"), Some(std::path::Path::new("/home/u")));
    for (configured, expected) in [
        (None, "/state/agents/ops/sessions/sessions.json"),
        (Some("  "), "/state/agents/ops/sessions/sessions.json"),
        (Some("~/s/{agentId}.json"), "/home/u/s/ops.json"),
        (Some("/var/one.json"), "/var/one.json"),
    ] {
        assert_eq!(store_path(state, home, configured, "ops"), PathBuf::from(expected));
    }
}

#[test]
fn the_file_follows_by_itself() {
    let case = Case::new("sessions-pace");
    let (sessions, store) = case.open_at(Duration::from_millis(5));
    sessions.begin("main", "agent:main:x", NOW, new("x")).unwrap();
    until("the file", || case.path.exists() && !journal_path(&case.path).exists());
    assert_eq!(case.file()["agent:main:x"]["sessionId"], "x");
    tokens(&sessions, "agent:main:x", NOW, 77);
    until("the next version", || fs::read_to_string(&case.path).unwrap().contains("77"));
    drop(store);
}

#[test]
fn many_threads_change_the_same_sessions() {
    let case = Case::new("sessions-threads");
    let (sessions, store) = case.open_at(Duration::from_millis(1));
    for n in 0..4 {
        sessions.begin("main", &format!("agent:main:k{n}"), NOW, new(&format!("id{n}"))).unwrap();
    }
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let sessions = sessions.clone();
            std::thread::spawn(move || {
                for n in 0..100 {
                    let key = format!("agent:main:k{}", n % 4);
                    sessions.update(&key, &mut |e| e.input_tokens = Some(e.input_tokens.unwrap_or(0) + 1)).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    store.stop(LONG).unwrap();
    for n in 0..4 {
        assert_eq!(case.file()[format!("agent:main:k{n}")]["inputTokens"], 100);
    }
    let (sessions, _store) = case.open();
    assert_eq!(sessions.get("agent:main:k3").unwrap().input_tokens, Some(100));
}

fn large_file(entries: usize) -> String {
    let mut text = String::from("{");
    for n in 0..entries {
        let id = format!("{n:08x}-e0f1-4422-bd7f-927dae191611");
        text.push_str(if n == 0 { "\n" } else { ",\n" });
        text.push_str(&format!(
            "  \"agent:main:telegram:direct:{n}\": {{\n    \"sessionId\": \"{id}\",\n    \"updatedAt\": {},\n    \"sessionFile\": \"/home/user/.openclaw/agents/main/sessions/{id}.jsonl\",\n    \"chatType\": \"direct\",\n    \"deliveryContext\": {{\n      \"channel\": \"telegram\",\n      \"to\": \"{n}\"\n    }},\n    \"inputTokens\": {n},\n    \"systemSent\": true,\n    \"abortedLastRun\": false\n  }}",
            NOW + n as u64
        ));
    }
    text + "\n}"
}

#[test]
fn ten_thousand_sessions() {
    let case = Case::with_file("sessions-large", large_file(10_000));
    let size = fs::metadata(&case.path).unwrap().len();
    let started = Instant::now();
    let (sessions, store) = case.open_at(Duration::from_millis(1));
    let loading = started.elapsed();
    // Release builds need about a tenth of this; debug builds on a busy machine must pass too.
    assert!(loading < Duration::from_secs(5), "{loading:?}");
    let summary = sessions.summary();
    assert_eq!(summary.agents[0].count, 10_000);
    assert_eq!(summary.agents[0].recent[9].input_tokens, Some(9990));
    assert_eq!(sessions.get("agent:main:telegram:direct:5000").unwrap().input_tokens, Some(5000));

    // A hundred turns write a hundred lines: the large file is not rewritten for them.
    let stamp = fs::metadata(&case.path).unwrap().modified().unwrap();
    for n in 0..100 {
        tokens(&sessions, "agent:main:telegram:direct:77", NOW + 20_000 + n, n);
    }
    let journal = journal_path(&case.path);
    until("the last line", || fs::read_to_string(&journal).is_ok_and(|text| text.contains("\"inputTokens\":99,")));
    assert_eq!(fs::metadata(&case.path).unwrap().modified().unwrap(), stamp);
    assert!(fs::metadata(&journal).unwrap().len() < 100 * 1024);

    store.stop(LONG).unwrap();
    let after = fs::metadata(&case.path).unwrap().len();
    assert!(after.abs_diff(size) < 100, "{size} {after}");
    let (sessions, _store) = case.open();
    assert_eq!(&*sessions.summary().agents[0].recent[0].key, "agent:main:telegram:direct:77");
    assert_eq!(sessions.list(Query { limit: Some(3), ..Query::default() }, &mut |_| true)[2].input_tokens, Some(9998));
    assert_eq!(sessions.find_session_id("00000007-e0f1-4422-bd7f-927dae191611").unwrap().input_tokens, Some(7));
}

#[test]
fn mutated_files_never_panic_and_never_vanish() {
    let case = Case::with_file("sessions-mutated", RECORDED);
    let store = quiet_store(LONG);
    let mut random = Random(17);
    for n in 0..300 {
        let content = random.mutated(RECORDED.as_bytes());
        fs::write(&case.path, &content).unwrap();
        let sessions = Sessions::open(&case.agents(), &store, n);
        sessions.list(Query::default(), &mut |_| true);
        sessions.summary();
        let aside = case.path.with_file_name(format!("sessions.json.corrupt-{n}"));
        assert!(case.path.exists() != aside.exists(), "read, or kept aside");
        let _ = fs::remove_file(aside);
    }
}
